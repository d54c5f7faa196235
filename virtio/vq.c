/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Split virtqueue, device side. Theory, ring picture and barriers: virtio/vq.h.
 *
 * The hot path (xn_vq_pop) handles the chain that nearly all are: one descriptor,
 * the right direction, in the span of guest memory that was hit last. Everything
 * else goes to the walk, which is slow, bounded and suspicious.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "virtio/vq.h"

/* A descriptor, read once. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/*
 * Reads a descriptor from guest memory in two loads that the compiler may neither
 * repeat nor tear: what is checked is what is used.
 */
static inline struct desc read_desc(const struct vring_desc *g)
{
	const uint64_t *words = (const uint64_t *)(const void *)g;
	uint64_t rest = xn_load_once64(&words[1]);

	return (struct desc){ .addr = xn_load_once64(&words[0]), .len = (uint32_t)rest,
			      .flags = (uint16_t)(rest >> 32), .next = (uint16_t)(rest >> 48) };
}

/* ---- the walk: chains of any shape ---- */

struct walk {
	struct xn_vq *vq;
	struct xn_piece *pieces;
	unsigned n, max;       /* pieces found, room for them */
	uint64_t bytes;
	bool no_room;          /* stopped for lack of room */
};

/* Adds the pieces of one descriptor: one, or more where it crosses spans. */
static enum xn_fault add_buffer(struct walk *w, const struct desc *d)
{
	uint64_t gpa = d->addr, left = d->len;

	if (!left)
		return XN_FAULT_NONE;   /* its address means nothing */
	if (gpa + left < gpa)
		return XN_FAULT_addr_wrap;
	w->bytes += left;
	if (w->bytes > UINT32_MAX)
		return XN_FAULT_chain_bytes;
	while (left) {
		xn_uoff at;
		uint64_t n = xn_mem_find(w->vq->mem, &w->vq->hit, XN_GPA(gpa), left, &at) ? left :
			     xn_mem_find_some(w->vq->mem, XN_GPA(gpa), left, &at);

		if (!n)
			return XN_FAULT_addr_unmapped;
		if (w->n == w->max) {
			w->no_room = true;
			return XN_FAULT_chain_pieces;
		}
		w->pieces[w->n++] = (struct xn_piece){ .at = at, .len = (uint32_t)n };
		gpa += n;
		left -= n;
	}
	return XN_FAULT_NONE;
}

/* The direction of a descriptor; others flags than NEXT, WRITE, INDIRECT are ignored. */
static enum xn_fault check_direction(const struct xn_vq *vq, const struct desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;

	if (vq->dir == XN_VQ_TO_GUEST)
		return writable ? XN_FAULT_NONE : XN_FAULT_readable;
	return writable ? XN_FAULT_writable : XN_FAULT_NONE;
}

/* Reads entry i of an indirect table, which may cross from one span into the next. */
static bool read_indirect(const struct xn_vq *vq, uint64_t table, uint32_t i, struct desc *d)
{
	uint8_t raw[sizeof(struct vring_desc)] __attribute__((aligned(8)));
	uint64_t gpa = table + (uint64_t)i * sizeof(raw);
	xn_uoff at;

	for (uint32_t got = 0; got < sizeof(raw);) {
		uint64_t n = xn_mem_find_some(vq->mem, XN_GPA(gpa + got), sizeof(raw) - got, &at);

		if (!n)
			return false;
		memcpy(raw + got, xn_mem_at(vq->mem, at), n);   /* the one read */
		got += (uint32_t)n;
	}
	*d = read_desc((const struct vring_desc *)(const void *)raw);
	return true;
}

/* VIRTIO 1.2, 2.7.5.3: a table of descriptors in memory of its own. */
static enum xn_fault walk_indirect(struct walk *w, const struct desc *table)
{
	uint32_t entries = table->len / sizeof(struct vring_desc), i = 0;
	enum xn_fault f;

	if (!w->vq->indirect)
		return XN_FAULT_indirect_off;
	if (table->flags & VRING_DESC_F_NEXT)
		return XN_FAULT_indirect_next;
	if (!entries || table->len % sizeof(struct vring_desc) || entries > w->vq->size)
		return XN_FAULT_indirect_size;
	if (table->addr + table->len < table->addr)
		return XN_FAULT_indirect_unmapped;

	for (uint32_t steps = 0; steps < entries; steps++) {
		struct desc d;

		if (!read_indirect(w->vq, table->addr, i, &d))
			return XN_FAULT_indirect_unmapped;
		if (d.flags & VRING_DESC_F_INDIRECT)
			return XN_FAULT_indirect_nested;
		f = check_direction(w->vq, &d);
		if (!f)
			f = add_buffer(w, &d);
		if (f)
			return f;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return XN_FAULT_NONE;
		if (d.next >= entries)
			return XN_FAULT_indirect_range;
		i = d.next;
	}
	return XN_FAULT_chain_loop;
}

static enum xn_fault walk_chain(struct walk *w, uint16_t head)
{
	uint16_t i = head;
	enum xn_fault f;

	for (uint32_t steps = 0; steps < w->vq->size; steps++) {
		struct desc d = read_desc(&w->vq->g_desc[i]);

		/* Directions mix nowhere in a network queue, so each is checked alone. */
		if (d.flags & VRING_DESC_F_INDIRECT)
			return walk_indirect(w, &d);
		f = check_direction(w->vq, &d);
		if (!f)
			f = add_buffer(w, &d);
		if (f)
			return f;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return XN_FAULT_NONE;
		if (d.next >= w->vq->size)
			return XN_FAULT_next_range;
		i = d.next;
	}
	return XN_FAULT_chain_loop;
}

/* ---- pop ---- */

static void count_fault(struct xn_vq *vq, enum xn_fault f)
{
	xn_count_add(&vq->ctr->v[XN_C_FAULTS + (unsigned)f - 1], 1);
}

static inline void take(struct xn_vq *vq, uint16_t head)
{
	vq->state[head] = XN_VQ_TAKEN | vq->avail_next;
	vq->outstanding++;
	vq->avail_next++;
}

void xn_vq_refuse(struct xn_vq *vq, uint16_t head, enum xn_fault why)
{
	count_fault(vq, why);
	xn_count_add(&vq->ctr->v[XN_C_heads_dropped], 1);
	xn_vq_push(vq, head, 0);
}

enum verdict { GOOD, REFUSED, STOP };

/*
 * A head that the hot path did not take. `first`: nothing was taken in this batch
 * before, so a wrong chain may be given back now; otherwise it waits for the next
 * call, so that the batch can be un-taken as a run.
 */
static __attribute__((noinline)) enum verdict
pop_unusual(struct xn_vq *vq, uint16_t head, bool first, struct walk *w)
{
	enum xn_fault f;

	if (head >= vq->size) {
		if (first) {
			vq->broken = XN_FAULT_head_range;
			count_fault(vq, XN_FAULT_head_range);
		}
		return STOP;
	}
	if (vq->state[head]) {
		if (!first)
			return STOP;
		/* Its owner gives it back, once; this entry is only counted. */
		count_fault(vq, XN_FAULT_head_busy);
		vq->avail_next++;
		return REFUSED;
	}
	f = walk_chain(w, head);
	if (!f && !w->bytes)
		f = XN_FAULT_chain_empty;
	if (!f) {
		take(vq, head);
		return GOOD;
	}
	if (!first)
		return STOP;     /* also for lack of room: the next call has all of it */
	take(vq, head);
	xn_vq_refuse(vq, head, f);
	return REFUSED;
}

/* How many entries the driver has made available and we have not taken. */
static uint16_t available(struct xn_vq *vq)
{
	uint16_t n = (uint16_t)(vq->avail_seen - vq->avail_next);

	if (n)
		return n;
	/* (B): orders this load before those of ring entries and descriptors; pairs with
	 * the driver's release of idx, (A). */
	vq->avail_seen = xn_load_acquire16(&vq->g_avail[1]);
	n = (uint16_t)(vq->avail_seen - vq->avail_next);
	if (XN_UNLIKELY(n > vq->size)) {
		vq->avail_seen = vq->avail_next;
		vq->broken = XN_FAULT_avail_jump;
		count_fault(vq, XN_FAULT_avail_jump);
		return 0;
	}
	return n;
}

unsigned xn_vq_pop(struct xn_vq *vq, struct xn_chain *chains, unsigned n,
		   struct xn_piece *pieces, unsigned max_pieces)
{
	unsigned out = 0, used = 0, left;

	if (XN_UNLIKELY(vq->broken != XN_FAULT_NONE))
		return 0;
	for (left = available(vq); left && out < n && used < max_pieces; left--) {
		uint16_t head = xn_load_once16(&vq->g_avail[2 + (vq->avail_next & vq->mask)]);
		struct xn_piece *p = &pieces[used];
		struct walk w;

		if (XN_LIKELY(head <= vq->mask && !vq->state[head])) {
			struct desc d = read_desc(&vq->g_desc[head]);

			if (XN_LIKELY(d.flags == vq->expect_flags && d.len &&
				      xn_mem_find_hit(&vq->hit, XN_GPA(d.addr), d.len, &p->at))) {
				p->len = d.len;
				chains[out++] = (struct xn_chain){ .head = head, .n_pieces = 1,
								   .bytes = d.len, .first = used++ };
				take(vq, head);
				continue;
			}
		}
		w = (struct walk){ .vq = vq, .pieces = p, .max = max_pieces - used };
		switch (pop_unusual(vq, head, !out, &w)) {
		case GOOD:
			chains[out++] = (struct xn_chain){ .head = head, .n_pieces = (uint16_t)w.n,
							   .bytes = (uint32_t)w.bytes, .first = used };
			used += w.n;
			break;
		case REFUSED:
			break;
		case STOP:
			return out;
		}
	}
	return out;
}

void xn_vq_unpop(struct xn_vq *vq, const struct xn_chain *last, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vq->state[last[i].head] = 0;
	vq->outstanding -= n;
	vq->avail_next = (uint16_t)(vq->avail_next - n);
}

/* ---- notifications ---- */

bool xn_vq_wants_irq(struct xn_vq *vq)
{
	uint16_t old = vq->used_signalled, now = vq->used_published;

	/* (E): our store of used idx before the loads below; pairs with the driver's
	 * fence between its store of used_event (or flags) and its load of used idx. */
	xn_fence_full();
	vq->used_signalled = now;
	if (!vq->event_idx)
		return !(xn_load_once16(&vq->g_avail[0]) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(xn_load_once16(vq->g_used_event), now, old);
}

bool xn_vq_enable_kick(struct xn_vq *vq)
{
	if (vq->broken != XN_FAULT_NONE)
		return true;
	vq->kicks_on = true;
	if (vq->event_idx)
		xn_store_once16(vq->g_avail_event, vq->avail_next);
	else
		xn_store_once16(&vq->g_used[0], 0);
	/* (F): the store above before the load below; pairs with the driver's fence
	 * between its store of avail idx and its load of avail_event (or flags). */
	xn_fence_full();
	return xn_load_once16(&vq->g_avail[1]) == vq->avail_next;
}

void xn_vq_disable_kick(struct xn_vq *vq)
{
	vq->kicks_on = false;
	/* With EVENT_IDX the event index simply stays behind (VIRTIO 1.2, 2.7.10). */
	if (!vq->event_idx)
		xn_store_once16(&vq->g_used[0], VRING_USED_F_NO_NOTIFY);
}

/* ---- stop ---- */

unsigned xn_vq_reclaim_all(struct xn_vq *vq)
{
	unsigned rewound, given = 0;

	/*
	 * The entry before avail_next can be taken again if its head is still out; then
	 * the one before that, and so on. Heads are found by their avail index; at most
	 * `outstanding` steps, each over all heads at worst: stops are rare.
	 */
	for (rewound = 0; vq->outstanding; rewound++) {
		uint32_t want = XN_VQ_TAKEN | (uint16_t)(vq->avail_next - 1), h;
		/* Where a well-behaved driver has it; anywhere else, a search. */
		uint16_t guess = xn_load_once16(&vq->g_avail[2 + ((vq->avail_next - 1) & vq->mask)]);

		for (h = guess & vq->mask; vq->state[h] != want;) {
			h = (h + 1) & vq->mask;
			if (h == (guess & vq->mask))
				goto rewound_all;
		}
		vq->state[h] = 0;
		vq->outstanding--;
		vq->avail_next--;
	}
rewound_all:
	vq->avail_seen = vq->avail_next;   /* read anew by the next pop */
	for (uint32_t h = 0; vq->outstanding && h < vq->size; h++)
		if (vq->state[h]) {
			xn_vq_push(vq, (uint16_t)h, 0);
			xn_count_add(&vq->ctr->v[XN_C_heads_dropped], 1);
			given++;
		}
	xn_vq_publish(vq);
	return given;
}

/* ---- set-up ---- */

static int find_ring(const struct xn_vq *vq, const char *what, xn_gpa gpa, uint64_t bytes,
		     uint64_t align, void **p)
{
	struct xn_mem_hit hit = { 0 };
	xn_uoff at;

	if (gpa.v % align)
		return xn_fail(EINVAL, "%s at 0x%llx is not aligned to %llu bytes", what,
			       (unsigned long long)gpa.v, (unsigned long long)align);
	if (!xn_mem_find(vq->mem, &hit, gpa, bytes, &at))
		return xn_fail(EINVAL, "%s at 0x%llx (%llu bytes) is not wholly inside one region "
			       "of guest memory", what, (unsigned long long)gpa.v,
			       (unsigned long long)bytes);
	*p = xn_mem_at(vq->mem, at);
	return 0;
}

int xn_vq_init(struct xn_vq *vq, const struct xn_mem *mem, struct xn_counters *ctr,
	       const struct xn_vq_cfg *cfg)
{
	uint64_t n = cfg->size;
	void *desc, *avail, *used;
	int err;

	memset(vq, 0, sizeof(*vq));
	if (!xn_is_pow2(n) || n > XN_VQ_MAX_SIZE)
		return xn_fail(EINVAL, "queue size %llu: want a power of two up to %u",
			       (unsigned long long)n, XN_VQ_MAX_SIZE);
	vq->mem = mem;
	/* Sizes and alignments: VIRTIO 1.2, 2.7; with the event words behind the rings. */
	err = find_ring(vq, "descriptor table", cfg->desc, 16 * n, 16, &desc);
	if (!err)
		err = find_ring(vq, "available ring", cfg->avail, 6 + 2 * n, 2, &avail);
	if (!err)
		err = find_ring(vq, "used ring", cfg->used, 6 + 8 * n, 4, &used);
	if (err)
		return err;
	vq->state = calloc(n, sizeof(*vq->state));
	if (!vq->state)
		return xn_fail(ENOMEM, "out of memory for a queue of %llu", (unsigned long long)n);

	vq->g_desc = desc;
	vq->g_avail = avail;
	vq->g_used_event = &vq->g_avail[2 + n];
	vq->g_used = used;
	vq->g_used_ring = (struct vring_used_elem *)(void *)&vq->g_used[2];
	vq->g_avail_event = &vq->g_used[2 + 4 * n];
	vq->size = cfg->size;
	vq->mask = (uint16_t)(n - 1);
	vq->dir = cfg->dir;
	vq->expect_flags = cfg->dir == XN_VQ_TO_GUEST ? VRING_DESC_F_WRITE : 0;
	vq->event_idx = cfg->event_idx;
	vq->indirect = cfg->indirect;
	vq->ctr = ctr;
	vq->kicks_on = true;   /* until the first turn that has work */
	vq->avail_next = vq->avail_seen = cfg->base;
	vq->used_next = vq->used_published = vq->used_signalled = xn_load_once16(&vq->g_used[1]);
	return 0;
}

void xn_vq_fini(struct xn_vq *vq)
{
	free(vq->state);
	vq->state = NULL;
}
