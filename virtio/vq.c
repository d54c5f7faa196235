/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls of virtio/vq.h, and split rings. Rings, barriers (A)..(F) and contract there;
 * packed rings in virtio/packed.c, chains in virtio/walk.h.
 *
 * Two speeds. Nearly every chain of a network driver is one descriptor
 * that lies in the span of guest memory that the last one lay in: xn_vq_pop takes
 * these itself. Everything else (several descriptors, indirect tables, another
 * span, two spans, and all that is wrong) goes through odd_chain, which either
 * fills in the chain or names the first fault it meets:
 *
 *	avail ring entry    head_range, head_busy
 *	each descriptor     indirect_off, _nested, _next, _size, _unmapped  if INDIRECT, else
 *	                    readable or writable, chain_bytes, addr_wrap,
 *	                    addr_unmapped, chain_pieces; then
 *	its next            next_range or indirect_range, then chain_loop
 *	at the end          chain_empty
 *
 * Who is first. A chain that is wrong is consumed only at the front of a call, while
 * nothing has been taken yet; behind good ones the call ends in front of it. So the
 * chains that one pop returns are neighbours in the ring, and un-taking
 * some of them is a subtraction.
 *
 * Bounds. A call sees at most `size` chains, wrong ones included. But a guest decides
 * how long each is, and zero-length descriptors cost time without filling an array: so
 * a call looks at no more than XN_MAX_WALK descriptors plus one chain.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "virtio/vq_priv.h"

_Static_assert(sizeof(struct vring_used_elem) == 8, "VIRTIO 1.3, 2.7.8");

/* ---- set-up ---- */

/* Where a part of a ring lies in this process; NULL after xn_fail. */
void *xn_vq_map(const struct xn_mem *mem, const char *what, xn_gpa gpa, uint64_t bytes,
		uint64_t align)
{
	struct xn_mem_hit hit = { 0 };
	xn_uoff at;

	if (gpa.v & (align - 1)) {
		xn_fail(EINVAL, "%s: gpa %#" PRIx64 " is not a multiple of %" PRIu64, what, gpa.v,
			align);
		return NULL;
	}
	if (!xn_mem_find(mem, &hit, gpa, bytes, &at)) {
		xn_fail(EINVAL, "%s: %" PRIu64 " bytes at gpa %#" PRIx64
			" are not wholly inside one region of guest memory", what, bytes, gpa.v);
		return NULL;
	}
	return xn_mem_at(mem, at);
}

bool xn_vq_overlap(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes)
{
	uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

	return x - y < b_bytes || y - x < a_bytes;
}

/* VIRTIO 1.2, 2.7: sizes and alignments, with the event words at the ends. */
static int map_rings(struct xn_vq *vq, const struct xn_vq_cfg *cfg)
{
	const uint64_t desc_bytes = (uint64_t)XN_DESC_BYTES * cfg->size;
	const uint64_t avail_bytes = 6 + 2ull * cfg->size, used_bytes = 6 + 8ull * cfg->size;

	vq->g_desc = xn_vq_map(vq->mem, "descriptor table", cfg->desc, desc_bytes, 16);
	if (!vq->g_desc)
		return -EINVAL;
	vq->g_avail = xn_vq_map(vq->mem, "available ring", cfg->avail, avail_bytes, 2);
	if (!vq->g_avail)
		return -EINVAL;
	vq->g_used = xn_vq_map(vq->mem, "used ring", cfg->used, used_bytes, 4);
	if (!vq->g_used)
		return -EINVAL;
	if (xn_vq_overlap(vq->g_desc, desc_bytes, vq->g_avail, avail_bytes) ||
	    xn_vq_overlap(vq->g_desc, desc_bytes, vq->g_used, used_bytes) ||
	    xn_vq_overlap(vq->g_avail, avail_bytes, vq->g_used, used_bytes))
		return xn_fail(EINVAL, "descriptor table, available ring and used ring overlap");
	return 0;
}

/* Goes on from where a back end that died was: takes over what it noted. */
static int go_on(struct xn_vq *vq, void *region)
{
	uint64_t ignored;
	int err = xn_inflight_open(&vq->inflight, region, vq->size, vq->used_next,
				   xn_load_once16(&vq->g_avail[1]), &ignored);

	if (err)
		return err;
	vq->n_again = vq->again_left = vq->inflight->n_again;
	for (uint32_t i = 0; i < vq->again_left; i++)
		vq->state[vq->inflight->again[i]] = XN_VQ_AGAIN;
	/* All that was taken is used, or is out. */
	vq->avail_next = vq->avail_seen = (uint16_t)(vq->used_next + vq->again_left);
	xn_count_add(&vq->ctr->v[XN_C_inflight_resumed], vq->again_left);
	xn_count_add(&vq->ctr->v[XN_C_inflight_ignored], ignored);
	return 0;
}

static int split_init(struct xn_vq *vq, const struct xn_vq_cfg *cfg)
{
	int err = map_rings(vq, cfg);

	if (err)
		return err;
	if (cfg->base > UINT16_MAX)
		return xn_fail(EINVAL, "base %" PRIu32 " is no index of a split ring", cfg->base);
	vq->avail_next = vq->avail_seen = (uint16_t)cfg->base;
	vq->used_list = (struct vring_used_elem *)((char *)vq->g_used + 4);
	vq->g_avail_event = (uint16_t *)&vq->used_list[cfg->size];
	vq->g_used_event = &vq->g_avail[2 + cfg->size];
	vq->used_next = vq->used_published = xn_load_once16(&vq->g_used[1]);
	/*
	 * Who served the ring before may have died after it published and before it told
	 * the driver, which would then wait for an index that has gone by. At most a whole
	 * ring can be unread.
	 */
	vq->used_signalled = (uint16_t)(vq->used_next - vq->size);
	return cfg->inflight ? go_on(vq, cfg->inflight) : 0;
}

/* The i-th of the heads that a back end which died had out. */
static uint16_t again_head(const struct xn_vq *vq, uint32_t i)
{
	return vq->packed ? xn_packed_again_head(vq, i) : vq->inflight->again[i];
}

/* Heads that are out from the start are those to be taken again, in their order. */
static int keep_order(struct xn_vq *vq)
{
	vq->order = xn_order_create(vq->mask);
	if (!vq->order)
		return xn_fail(ENOMEM, "out of memory for a ring of %u descriptors", vq->size);
	for (uint32_t i = 0; i < vq->again_left; i++)
		xn_order_take(vq->order, again_head(vq, i));
	return 0;
}

/* Where push writes when that is not yet the used ring. */
static int own_list(struct xn_vq *vq)
{
	vq->own_list = calloc(vq->mask + 1u, sizeof(*vq->own_list));
	if (!vq->own_list)
		return xn_fail(ENOMEM, "out of memory for a ring of %u descriptors", vq->size);
	vq->used_list = vq->own_list;
	return 0;
}

static void set_careful(struct xn_vq *vq)
{
	vq->careful = vq->inflight || vq->log || vq->apart;
}

static int set_up(struct xn_vq *vq, const struct xn_vq_cfg *cfg)
{
	int err;

	vq->size = cfg->size;
	vq->mask = (uint16_t)(xn_pow2_up(cfg->size) - 1);
	vq->dir = cfg->dir;
	vq->expect_flags = cfg->dir == XN_VQ_TO_GUEST ? VRING_DESC_F_WRITE : 0;
	vq->min_bytes = XN_MAX(cfg->min_bytes, 1u);
	vq->packed = cfg->packed;
	vq->event_idx = cfg->event_idx;
	vq->indirect = cfg->indirect;
	vq->kicks_on = true;   /* nothing is written here: the first disable does */
	vq->desc_gpa = cfg->desc;
	vq->used_gpa = cfg->used;
	vq->state = calloc(vq->mask + 1u, sizeof(*vq->state));
	if (!vq->state)
		return xn_fail(ENOMEM, "out of memory for a ring of %u descriptors", cfg->size);
	for (uint32_t i = cfg->size; i <= vq->mask; i++)
		vq->state[i] = XN_VQ_NONE;
	err = cfg->packed ? xn_packed_init(vq, cfg) : split_init(vq, cfg);
	if (!err && cfg->in_order)
		err = keep_order(vq);
	if (!err && (cfg->packed || cfg->in_order))
		err = own_list(vq);
	vq->apart = cfg->packed || cfg->in_order;
	set_careful(vq);
	return err;
}

int xn_vq_init(struct xn_vq *vq, const struct xn_mem *mem, struct xn_counters *ctr,
	       const struct xn_vq_cfg *cfg)
{
	int err;

	memset(vq, 0, sizeof(*vq));
	if (!cfg->size || cfg->size > XN_VQ_MAX_SIZE || (!cfg->packed && !xn_is_pow2(cfg->size)))
		return xn_fail(EINVAL, "%s ring of %u descriptors: want %s, 1 to %u",
			       cfg->packed ? "packed" : "split", cfg->size,
			       cfg->packed ? "any number" : "a power of two", XN_VQ_MAX_SIZE);
	vq->mem = mem;
	vq->ctr = ctr;
	err = set_up(vq, cfg);
	if (err)
		xn_vq_fini(vq);
	return err;
}

void xn_vq_fini(struct xn_vq *vq)
{
	xn_inflight_close(vq->inflight);
	xn_packed_fini(vq);
	xn_order_destroy(vq->order);
	free(vq->own_list);
	free(vq->state);
	vq->inflight = NULL;
	vq->order = NULL;
	vq->own_list = NULL;
	vq->state = NULL;
}

uint32_t xn_vq_base(const struct xn_vq *vq)
{
	return vq->packed ? (uint32_t)vq->pk.used_at << 16 | vq->avail_next : vq->avail_next;
}

/* ---- careful queues ---- */

/* These bytes of the ring have been written. */
void xn_vq_mark(struct xn_vq *vq, xn_gpa gpa, uint64_t len)
{
	xn_dirty_mark(vq->log, gpa, len, &vq->ctr->v[XN_C_dirty_log_missed]);
}

/* Bytes [from, from + len) of the used ring have been written. */
static void mark_used(struct xn_vq *vq, uint64_t from, uint64_t len)
{
	xn_vq_mark(vq, XN_GPA(vq->used_gpa.v + from), len);
}

void xn_vq_set_log(struct xn_vq *vq, const struct xn_dirty *log)
{
	vq->log = log;
	set_careful(vq);
	if (!log)
		return;
	if (vq->packed)
		xn_packed_mark_all(vq);
	else
		mark_used(vq, 0, 6 + 8ull * vq->size);
}

/* The entries [from, to) of the used ring, which may go round its end. */
static void mark_entries(struct xn_vq *vq, uint16_t from, uint16_t to)
{
	while (from != to) {
		uint32_t n = XN_MIN((uint16_t)(to - from), xn_ring_stretch(from, vq->mask));

		mark_used(vq, 4 + 8ull * (from & vq->mask), 8ull * n);
		from = (uint16_t)(from + n);
	}
}

static void mark_used_idx(struct xn_vq *vq)
{
	mark_used(vq, 2, 2);
}

/* In order: from the list to the used ring. A skipped entry is not written: 2.7.9. */
static void copy_entries(struct xn_vq *vq, const struct xn_used_run *r)
{
	struct vring_used_elem *g_ring = (struct vring_used_elem *)((char *)vq->g_used + 4);
	uint16_t at = vq->used_published;

	if (r->last_only) {
		g_ring[at & vq->mask] = xn_used_at(r, (uint16_t)(r->to - 1));
		return;
	}
	for (uint16_t i = r->from; i != r->to; i++)
		g_ring[at++ & vq->mask] = xn_used_at(r, i);
}

static void split_publish(struct xn_vq *vq, const struct xn_used_run *r)
{
	const uint16_t from = vq->used_published, to = (uint16_t)(from + (uint16_t)(r->to - r->from));

	if (vq->log) {
		mark_entries(vq, from, to);
		mark_used_idx(vq);
	}
	if (vq->inflight)
		xn_inflight_batch(vq->inflight, r->list, r->mask, r->from, r->to);
	/* (C); and orders the batch's list in front of the index. */
	xn_store_release16(&vq->g_used[1], to);
	if (vq->log)
		mark_used_idx(vq);
	if (vq->inflight)
		xn_inflight_batch_done(vq->inflight, to);
}

/* What was pushed waits for its turn; *r: what need not. */
static void put_in_order(struct xn_vq *vq, struct xn_used_run *r)
{
	struct xn_order *o = vq->order;

	for (uint16_t i = r->from; i != r->to; i++) {
		struct vring_used_elem e = xn_used_at(r, i);

		xn_order_push(o, (uint16_t)e.id, e.len);
	}
	*r = (struct xn_used_run){ .list = o->ready, .mask = UINT32_MAX,
				   .to = (uint16_t)xn_order_emit(o),
				   .last_only = vq->dir == XN_VQ_FROM_GUEST };
}

bool xn_vq_publish_careful(struct xn_vq *vq)
{
	struct xn_used_run r = { .list = vq->used_list, .mask = vq->mask,
				 .from = vq->used_published, .to = vq->used_next };
	uint16_t n;

	if (vq->order)
		put_in_order(vq, &r);
	n = (uint16_t)(r.to - r.from);
	if (!n) {
		vq->used_next = vq->used_published;   /* all of it is kept back */
		return false;
	}
	if (vq->packed) {
		xn_packed_publish(vq, &r);
	} else {
		if (vq->order)
			copy_entries(vq, &r);
		split_publish(vq, &r);
	}
	/* In order the list begins anew, at what the driver sees. */
	vq->used_published = (uint16_t)(vq->used_published + n);
	vq->used_next = vq->used_published;
	return true;
}

/* Chains of the ring were taken, in order. */
static XN_NOINLINE void note_taken(struct xn_vq *vq, const struct xn_chain *c, unsigned n)
{
	for (unsigned i = 0; vq->inflight && i < n; i++)
		xn_inflight_mark(vq->inflight, c[i].head);
	for (unsigned i = 0; vq->order && i < n; i++)
		xn_order_take(vq->order, c[i].head);
}

/* A chain was un-taken, the last of the ring. */
static void forget_taken(struct xn_vq *vq, uint16_t head)
{
	vq->state[head] = 0;
	vq->outstanding--;
	if (vq->inflight)
		xn_inflight_unmark(vq->inflight, head);
	if (vq->order)
		xn_order_untake(vq->order);
}

/* ---- faults ---- */

void xn_vq_count_fault(struct xn_vq *vq, enum xn_fault why)
{
	xn_count_add(&vq->ctr->v[XN_C_FAULTS + why - 1], 1);
}

XN_NOINLINE void xn_vq_stop(struct xn_vq *vq, enum xn_fault why)
{
	xn_vq_count_fault(vq, why);
	vq->broken = why;
}

void xn_vq_refuse(struct xn_vq *vq, uint16_t head, enum xn_fault why)
{
	xn_vq_count_fault(vq, why);
	xn_count_add(&vq->ctr->v[XN_C_heads_dropped], 1);
	xn_vq_push(vq, head, 0);
}

/* ---- direct chains, and one table at their end (VIRTIO 1.2, 2.7.5.3.2) ---- */

static enum xn_fault walk_chain(struct xn_walk *w, uint16_t head)
{
	struct xn_vq *vq = w->vq;
	uint16_t i = head;

	for (uint32_t steps = 1;; steps++) {
		const uint64_t *g = (const uint64_t *)&vq->g_desc[i];
		struct xn_desc d = xn_split_desc(xn_load_once64(&g[0]), xn_load_once64(&g[1]));
		enum xn_fault why;

		w->steps++;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (!vq->indirect)
				return XN_FAULT_indirect_off;
			if (d.flags & VRING_DESC_F_NEXT)
				return XN_FAULT_indirect_next;
			return xn_walk_table(w, d);   /* WRITE is ignored here: 2.7.5.3.2 */
		}
		why = xn_walk_buffer(w, d);
		if (why || !(d.flags & VRING_DESC_F_NEXT))
			return why;
		if (d.next > vq->mask)
			return XN_FAULT_next_range;
		if (steps == vq->size)
			return XN_FAULT_chain_loop;
		i = d.next & vq->mask;
	}
}

/*
 * Any chain. Fills in *c (but for .first) and pieces[0..room), or names a fault;
 * takes nothing. *walked grows by the descriptors looked at.
 */
static enum xn_fault read_chain(struct xn_vq *vq, uint16_t head, struct xn_chain *c,
				struct xn_piece *pieces, unsigned room, unsigned *walked)
{
	struct xn_walk w = xn_walk_begin(vq, pieces, room);
	enum xn_fault why = walk_chain(&w, head);

	*walked += w.steps;
	return why ? why : xn_walk_end(&w, head, c);
}

/* The same for one that the ring names, where the head may be wrong too. */
static XN_NOINLINE enum xn_fault odd_chain(struct xn_vq *vq, uint16_t head, struct xn_chain *c,
					   struct xn_piece *pieces, unsigned room, unsigned *walked)
{
	if (head > vq->mask)
		return XN_FAULT_head_range;
	head &= vq->mask;
	if (vq->state[head])
		return XN_FAULT_head_busy;
	return read_chain(vq, head, c, pieces, room, walked);
}

/*
 * The chain at the front of the ring is wrong: consumes it. False: the queue has
 * stopped.
 */
static bool consume_wrong(struct xn_vq *vq, uint16_t head, enum xn_fault why)
{
	if (xn_fault_stops_queue(why)) {
		xn_vq_stop(vq, why);
		return false;
	}
	vq->avail_next++;
	if (why == XN_FAULT_head_busy) {
		/* Somebody has this head, and gives it back, once. */
		xn_vq_count_fault(vq, why);
		return true;
	}
	vq->outstanding++;   /* taken, and at once given back */
	if (vq->inflight)
		xn_inflight_mark(vq->inflight, head);
	if (vq->order)
		xn_order_take(vq->order, head);
	xn_vq_refuse(vq, head, why);
	return true;
}

/* ---- taking ---- */

/* Looks at the driver's index. Returns how many chains wait. */
static unsigned look(struct xn_vq *vq)
{
	uint16_t seen, ready;

	/* (B): orders idx before ring[] and descriptors; pairs with (A), the driver's
	 * store of idx behind them. */
	seen = xn_load_acquire16(&vq->g_avail[1]);
	ready = (uint16_t)(seen - vq->avail_next);
	if (XN_UNLIKELY(ready > vq->size)) {
		xn_vq_stop(vq, XN_FAULT_avail_jump);
		return 0;
	}
	vq->avail_seen = seen;
	return ready;
}

/*
 * Takes chains of the usual kind, as many as there are in a row. What it needs is
 * copied into locals, or each store could have changed it, for all the compiler
 * knows; tests that all have to be 0 are or-ed together: one branch for three.
 */
static inline void pop_usual(struct xn_vq *vq, struct xn_batch *b)
{
	const uint16_t *const g_heads = vq->g_avail + 2;
	const struct vring_desc *const g_desc = vq->g_desc;
	const uint64_t expect = (uint64_t)vq->expect_flags << 32, flags = 0xffffull << 32;
	const struct xn_mem_hit hit = vq->hit;
	const uint32_t mask = vq->mask, min_bytes = vq->min_bytes;
	uint32_t *const state = vq->state;
	struct xn_chain *c = b->chains + b->k, *const end = b->chains + XN_MIN(b->n, b->ready);
	uint32_t next = vq->avail_next;

	for (; c < end; c++, next++) {
		uint32_t head = xn_load_once16(&g_heads[next & mask]), i = head & mask;
		const uint64_t *g = (const uint64_t *)&g_desc[i];
		uint64_t addr = xn_load_once64(&g[0]), rest = xn_load_once64(&g[1]);
		uint64_t into = addr - hit.gpa;
		uint32_t len = (uint32_t)rest;

		if (XN_UNLIKELY((head ^ i) | state[i] | ((rest ^ expect) & flags)))
			break;
		/* into + len cannot overflow: a span is shorter than the address space. */
		if (XN_UNLIKELY(into >= hit.bytes || into + len > hit.bytes || len < min_bytes))
			break;
		c->at.v = addr + hit.delta;
		c->bytes = len;
		c->head = (uint16_t)i;
		c->n_pieces = 1;
		state[i] = XN_VQ_TAKEN | (uint16_t)next;
	}
	vq->outstanding += (uint16_t)(next - vq->avail_next);
	vq->avail_next = (uint16_t)next;
	b->k = (unsigned)(c - b->chains);
}

/* Takes or refuses one chain of any other kind. False: the call ends here. */
static XN_NOINLINE bool pop_odd(struct xn_vq *vq, struct xn_batch *b)
{
	uint16_t head = xn_load_once16(&vq->g_avail[2 + (vq->avail_next & vq->mask)]);
	struct xn_chain *c = &b->chains[b->k];
	enum xn_fault why = odd_chain(vq, head, c, b->pieces + b->used,
				      b->max_pieces - b->used, &b->walked);

	if (XN_LIKELY(!why)) {
		xn_batch_add(b, c);
		vq->state[c->head] = XN_VQ_TAKEN | vq->avail_next++;
		vq->outstanding++;
	} else {
		if (b->k || !consume_wrong(vq, head, why))
			return false;
		b->ready--;
	}
	return b->walked < XN_MAX_WALK;
}

static inline unsigned split_pop(struct xn_vq *vq, struct xn_batch *b)
{
	b->ready = (uint16_t)(vq->avail_seen - vq->avail_next);
	if (b->ready < b->n)
		b->ready = look(vq);
	pop_usual(vq, b);
	vq->plain = b->k;
	while (XN_UNLIKELY(b->k < XN_MIN(b->n, b->ready) && b->used < b->max_pieces) &&
	       pop_odd(vq, b))
		pop_usual(vq, b);
	if (XN_UNLIKELY(vq->careful))
		note_taken(vq, b->chains, b->k);
	return b->k;
}

static enum xn_fault read_again(struct xn_vq *vq, uint32_t i, struct xn_chain *c,
				struct xn_piece *pieces, unsigned room, unsigned *walked)
{
	if (vq->packed)
		return xn_packed_read_again(vq, i, c, pieces, room, walked);
	return read_chain(vq, again_head(vq, i), c, pieces, room, walked);
}

/*
 * Heads that were out when a back end died: taken again, before anything of the ring.
 * A chain that is wrong, now, is given back when it comes first, as those of the ring.
 */
static unsigned pop_again(struct xn_vq *vq, struct xn_batch *b)
{
	vq->plain = 0;
	while (!vq->broken && vq->again_left && b->k < b->n && b->used < b->max_pieces &&
	       b->walked < XN_MAX_WALK) {
		uint32_t i = vq->n_again - vq->again_left;
		uint16_t head = again_head(vq, i);
		struct xn_chain *c = &b->chains[b->k];
		enum xn_fault why = read_again(vq, i, c, b->pieces + b->used,
					       b->max_pieces - b->used, &b->walked);

		if (why && b->k)
			break;
		vq->again_left--;
		vq->outstanding++;
		if (why)
			xn_vq_refuse(vq, head, why);
		else
			xn_batch_add(b, c);
	}
	return b->k;
}

/*
 * In order a driver can have offered no more than the ring has room for behind what it has
 * seen as used; so no more has to be kept back. (Where order does not matter, look does: a
 * head that is out is not taken twice.)
 */
static bool order_has_room(struct xn_vq *vq)
{
	const unsigned waiting = (uint16_t)(xn_load_acquire16(&vq->g_avail[1]) - vq->used_published);

	if (waiting <= vq->size)
		return true;
	xn_vq_stop(vq, XN_FAULT_avail_jump);
	return false;
}

/* What is not a split ring and nothing else. */
static XN_NOINLINE unsigned pop_apart(struct xn_vq *vq, struct xn_batch *b)
{
	if (vq->broken | vq->again_left)
		return pop_again(vq, b);
	if (vq->packed) {
		xn_packed_pop(vq, b);
		if (vq->order)
			note_taken(vq, b->chains, b->k);
		return b->k;
	}
	return order_has_room(vq) ? split_pop(vq, b) : 0;
}

unsigned xn_vq_pop(struct xn_vq *vq, struct xn_chain *chains, unsigned n,
		   struct xn_piece *pieces, unsigned max_pieces)
{
	struct xn_batch b = { .chains = chains, .pieces = pieces, .n = n, .max_pieces = max_pieces };

	if (XN_UNLIKELY(vq->broken | vq->again_left | vq->apart))
		return pop_apart(vq, &b);
	return split_pop(vq, &b);
}

bool xn_vq_pop_command(struct xn_vq *vq, struct xn_chain *c, struct xn_piece *pieces,
		       unsigned max_pieces)
{
	struct xn_batch b = { .chains = c, .pieces = pieces, .n = 1, .max_pieces = max_pieces };

	assert(vq->dir == XN_VQ_BOTH);
	if (vq->broken | vq->again_left)
		return pop_again(vq, &b) == 1;
	/* Never by pop_usual, which knows one direction. */
	if (vq->packed) {
		xn_packed_pop_command(vq, &b);
	} else if (!vq->order || order_has_room(vq)) {
		b.ready = look(vq);
		while (!b.k && b.ready && pop_odd(vq, &b))
			;
	}
	note_taken(vq, c, b.k);
	return b.k == 1;
}

/* One that was taken again has no place in the ring to be put back to. */
static void unpop_again(struct xn_vq *vq, unsigned n)
{
	vq->again_left += n;
	vq->outstanding -= n;
}

void xn_vq_unpop(struct xn_vq *vq, const struct xn_chain *last, unsigned n)
{
	if (XN_UNLIKELY(n && vq->state[last[0].head] == XN_VQ_AGAIN)) {
		unpop_again(vq, n);
		return;
	}
	for (unsigned i = n; i--; ) {
		const struct xn_chain *c = &last[i];

		if (vq->packed)
			xn_packed_unpop(vq, c);
		else
			vq->avail_next--;
		assert(vq->state[c->head] == (XN_VQ_TAKEN | vq->avail_next));
		forget_taken(vq, c->head);
	}
}

/* ---- notifications ---- */

bool xn_vq_wants_irq(struct xn_vq *vq)
{
	const uint16_t now = vq->used_published, before = vq->used_signalled;

	if (now == before)
		return false;
	/*
	 * (E): orders what is used before the driver's wish; pairs with the driver's
	 * fence between its wish and its look at what is used.
	 */
	xn_fence_full();
	vq->used_signalled = now;
	if (!vq->event_idx)
		return !(xn_load_once16(&vq->g_avail[0]) & VRING_AVAIL_F_NO_INTERRUPT);
	if (vq->packed)
		return xn_packed_wants_irq(vq);
	return vring_need_event(xn_load_once16(vq->g_used_event), now, before);
}

/* Writes our wish. */
static void split_wish(struct xn_vq *vq, bool kicks)
{
	/* With EVENT_IDX: an index that has gone by is no wish (VIRTIO 1.3, 2.7.10), for
	 * the next 65535 chains. */
	if (vq->event_idx)
		xn_store_once16(vq->g_avail_event, (uint16_t)(vq->avail_next - !kicks));
	else
		xn_store_once16(&vq->g_used[0], kicks ? 0 : VRING_USED_F_NO_NOTIFY);
	if (XN_LIKELY(!vq->log))
		return;
	if (vq->event_idx)
		mark_used(vq, 4 + 8ull * vq->size, 2);
	else
		mark_used(vq, 0, 2);
}

static void wish(struct xn_vq *vq, bool kicks)
{
	vq->kicks_on = kicks;
	if (vq->packed)
		xn_packed_wish(vq, kicks);
	else
		split_wish(vq, kicks);
}

bool xn_vq_enable_kick(struct xn_vq *vq)
{
	if (vq->broken)
		return true;   /* there is nothing that a kick could help */
	wish(vq, true);
	/*
	 * (F): orders our wish before the look at what is available; pairs with the driver's
	 * fence between what it made available and its look at the wish.
	 */
	xn_fence_full();
	if (vq->again_left)
		return false;
	return vq->packed ? !xn_packed_waits(vq) : xn_load_once16(&vq->g_avail[1]) == vq->avail_next;
}

void xn_vq_disable_kick(struct xn_vq *vq)
{
	wish(vq, false);
}

/* ---- stop ---- */

/*
 * Is the chain in front of avail_next still out, and would it be taken again? Then it is
 * put back.
 *
 * A head that was taken again after a crash counts too. Our note does not say where it
 * stood, but if the ring names it in front of avail_next, it is there: nothing behind that
 * place has been used, so the driver has not written over it; and a head
 * that is out was not offered a second time.
 */
static bool put_back_last(struct xn_vq *vq)
{
	const uint16_t at = (uint16_t)(vq->avail_next - 1);
	uint16_t head;
	uint32_t state;

	/* The guest's word is only a hint where to look: our own must agree. */
	head = vq->packed ? xn_packed_last(vq) : xn_load_once16(&vq->g_avail[2 + (at & vq->mask)]);
	if (head > vq->mask)
		return false;
	head &= vq->mask;
	if (vq->packed) {
		if (!xn_packed_rewind(vq, head))
			return false;
	} else {
		state = vq->state[head];
		if (state != (XN_VQ_TAKEN | at) && state != XN_VQ_AGAIN)
			return false;
		vq->avail_next = at;
	}
	forget_taken(vq, head);
	return true;
}

/*
 * Heads that can be put back only with length 0 could also be left marked in the inflight
 * memory, for the next start to take them again. They are not: what is asked of a stop
 * (GET_VRING_BASE) is one number, and whoever goes on from it may be another back end,
 * on another host, that has no such memory. Nothing out, and the base is the used index:
 * then that number says all.
 */
unsigned xn_vq_reclaim_all(struct xn_vq *vq)
{
	unsigned given = 0;

	vq->outstanding += vq->again_left;   /* they have no owner yet */
	vq->again_left = 0;
	xn_vq_publish(vq);
	while (vq->outstanding && put_back_last(vq))
		;
	vq->avail_seen = vq->avail_next;   /* read anew, and judged, by the next pop */
	for (uint32_t h = 0; vq->outstanding && h < vq->size; h++)
		if (vq->state[h]) {
			xn_vq_push(vq, (uint16_t)h, 0);
			given++;
		}
	xn_count_add(&vq->ctr->v[XN_C_heads_dropped], given);
	xn_vq_publish(vq);
	return given;
}
