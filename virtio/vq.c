/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Split virtqueue, device side. Rings, barriers (A)..(F) and contract in virtio/vq.h.
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
 * chains that one pop returns are neighbours in the available ring, and un-taking
 * some of them is a subtraction.
 *
 * Bounds. A call sees at most `size` chains, wrong ones included. But a guest decides
 * how long each is, and zero-length descriptors cost time without filling an array: so
 * a call looks at no more than MAX_WALK descriptors plus one chain.
 *
 * Speculation. Numbers from the guest that index memory are masked after their
 * check, so that a mispredicted check cannot be used to read beyond a table.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "virtio/vq.h"

#define DESC_BYTES 16u
_Static_assert(sizeof(struct vring_desc) == DESC_BYTES, "VIRTIO 1.2, 2.7.5");
_Static_assert(sizeof(struct vring_used_elem) == 8, "VIRTIO 1.2, 2.7.8");

/* The longest legal chain: a table of `size` entries behind `size` - 1 descriptors. */
#define MAX_WALK (2 * XN_VQ_MAX_SIZE)

#define NOINLINE __attribute__((noinline))

/* ---- set-up ---- */

/* Where a ring lies in this process; NULL after xn_fail. */
static void *map_ring(const struct xn_mem *mem, const char *what, xn_gpa gpa, uint64_t bytes,
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

static bool overlap(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes)
{
	uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

	return x - y < b_bytes || y - x < a_bytes;
}

/* VIRTIO 1.2, 2.7: sizes and alignments, with the event words at the ends. */
static int map_rings(struct xn_vq *vq, const struct xn_vq_cfg *cfg)
{
	const uint64_t desc_bytes = (uint64_t)DESC_BYTES * cfg->size;
	const uint64_t avail_bytes = 6 + 2ull * cfg->size, used_bytes = 6 + 8ull * cfg->size;

	vq->g_desc = map_ring(vq->mem, "descriptor table", cfg->desc, desc_bytes, 16);
	if (!vq->g_desc)
		return -EINVAL;
	vq->g_avail = map_ring(vq->mem, "available ring", cfg->avail, avail_bytes, 2);
	if (!vq->g_avail)
		return -EINVAL;
	vq->g_used = map_ring(vq->mem, "used ring", cfg->used, used_bytes, 4);
	if (!vq->g_used)
		return -EINVAL;
	if (overlap(vq->g_desc, desc_bytes, vq->g_avail, avail_bytes) ||
	    overlap(vq->g_desc, desc_bytes, vq->g_used, used_bytes) ||
	    overlap(vq->g_avail, avail_bytes, vq->g_used, used_bytes))
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
	vq->again_left = vq->inflight->n_again;
	for (uint32_t i = 0; i < vq->again_left; i++)
		vq->state[vq->inflight->again[i]] = XN_VQ_AGAIN;
	/* All that was taken is used, or is out. */
	vq->avail_next = vq->avail_seen = (uint16_t)(vq->used_next + vq->again_left);
	vq->careful = true;
	xn_count_add(&vq->ctr->v[XN_C_inflight_resumed], vq->again_left);
	xn_count_add(&vq->ctr->v[XN_C_inflight_ignored], ignored);
	return 0;
}

static void set_up(struct xn_vq *vq, const struct xn_vq_cfg *cfg)
{
	vq->size = cfg->size;
	vq->mask = (uint16_t)(cfg->size - 1);
	vq->dir = cfg->dir;
	vq->expect_flags = cfg->dir == XN_VQ_TO_GUEST ? VRING_DESC_F_WRITE : 0;
	vq->min_bytes = XN_MAX(cfg->min_bytes, 1u);
	vq->event_idx = cfg->event_idx;
	vq->indirect = cfg->indirect;
	vq->kicks_on = true;   /* nothing is written here: the first disable does */
	vq->avail_next = vq->avail_seen = cfg->base;

	vq->used_gpa = cfg->used;
	vq->g_used_ring = (struct vring_used_elem *)((char *)vq->g_used + 4);
	vq->g_avail_event = (uint16_t *)&vq->g_used_ring[cfg->size];
	vq->g_used_event = &vq->g_avail[2 + cfg->size];
	vq->used_next = vq->used_published = xn_load_once16(&vq->g_used[1]);
	/*
	 * Who served the ring before may have died after it published and before it told
	 * the driver, which would then wait for an index that has gone by. At most a whole
	 * ring can be unread.
	 */
	vq->used_signalled = (uint16_t)(vq->used_next - vq->size);
}

int xn_vq_init(struct xn_vq *vq, const struct xn_mem *mem, struct xn_counters *ctr,
	       const struct xn_vq_cfg *cfg)
{
	int err;

	memset(vq, 0, sizeof(*vq));
	if (!xn_is_pow2(cfg->size) || cfg->size > XN_VQ_MAX_SIZE)
		return xn_fail(EINVAL, "ring of %u descriptors: want a power of two, 1 to %u",
			       cfg->size, XN_VQ_MAX_SIZE);
	vq->mem = mem;
	vq->ctr = ctr;
	err = map_rings(vq, cfg);
	if (err)
		return err;
	vq->state = calloc(cfg->size, sizeof(*vq->state));
	if (!vq->state)
		return xn_fail(ENOMEM, "out of memory for a ring of %u descriptors", cfg->size);
	set_up(vq, cfg);
	err = cfg->inflight ? go_on(vq, cfg->inflight) : 0;
	if (err)
		xn_vq_fini(vq);
	return err;
}

void xn_vq_fini(struct xn_vq *vq)
{
	xn_inflight_close(vq->inflight);
	free(vq->state);
	vq->inflight = NULL;
	vq->state = NULL;
}

/* ---- careful queues ---- */

/* Bytes [from, from + len) of the used ring have been written. */
static void mark_used(struct xn_vq *vq, uint64_t from, uint64_t len)
{
	xn_dirty_mark(vq->log, XN_GPA(vq->used_gpa.v + from), len,
		      &vq->ctr->v[XN_C_dirty_log_missed]);
}

void xn_vq_set_log(struct xn_vq *vq, const struct xn_dirty *log)
{
	vq->log = log;
	vq->careful = vq->inflight || log;
	if (log)
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

void xn_vq_publish_careful(struct xn_vq *vq)
{
	const uint16_t from = vq->used_published, to = vq->used_next;

	if (vq->log) {
		mark_entries(vq, from, to);
		mark_used_idx(vq);
	}
	if (vq->inflight)
		xn_inflight_batch(vq->inflight, vq->g_used_ring, from, to);
	vq->used_published = to;
	/* (C); and orders the batch's list in front of the index. */
	xn_store_release16(&vq->g_used[1], to);
	if (vq->log)
		mark_used_idx(vq);
	if (vq->inflight)
		xn_inflight_batch_done(vq->inflight, to);
}

/* Chains of the ring were taken, in order. */
static NOINLINE void note_taken(struct xn_vq *vq, const struct xn_chain *c, unsigned n)
{
	for (unsigned i = 0; vq->inflight && i < n; i++)
		xn_inflight_mark(vq->inflight, c[i].head);
}

/* ---- faults ---- */

static void count_fault(struct xn_vq *vq, enum xn_fault why)
{
	xn_count_add(&vq->ctr->v[XN_C_FAULTS + why - 1], 1);
}

static NOINLINE void stop_queue(struct xn_vq *vq, enum xn_fault why)
{
	count_fault(vq, why);
	vq->broken = why;
}

void xn_vq_refuse(struct xn_vq *vq, uint16_t head, enum xn_fault why)
{
	count_fault(vq, why);
	xn_count_add(&vq->ctr->v[XN_C_heads_dropped], 1);
	xn_vq_push(vq, head, 0);
}

/* ---- the odd chain ---- */

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static inline struct desc desc_of(uint64_t addr, uint64_t rest)
{
	return (struct desc){ .addr = addr, .len = (uint32_t)rest,
			      .flags = (uint16_t)(rest >> 32), .next = (uint16_t)(rest >> 48) };
}

/* One chain on its way into the caller's array of pieces. */
struct walk {
	struct xn_vq *vq;
	struct xn_piece *pieces;
	unsigned room, n;          /* pieces: left at the start, filled */
	unsigned steps;            /* descriptors looked at */
	uint64_t bytes;
	uint64_t readable;         /* of these, up to the first writable one */
	bool turned;               /* a writable one was seen, where both may be */
};

/* i if i < n, else 0, without a branch to mispredict. n <= XN_VQ_MAX_SIZE. */
static inline uint32_t index_nospec(uint32_t i, uint32_t n)
{
	return i & (uint32_t)((int32_t)(i - n) >> 31);
}

static inline enum xn_fault add_piece(struct walk *w, xn_uoff at, uint64_t len)
{
	if (w->n == w->room)
		return XN_FAULT_chain_pieces;
	w->pieces[w->n++] = (struct xn_piece){ .at = at, .len = (uint32_t)len };
	return XN_FAULT_NONE;
}

/* A buffer that does not lie in one span: the part in each is a piece, unless the
 * parts touch in the UMEM too. */
static NOINLINE enum xn_fault add_across_spans(struct walk *w, uint64_t addr, uint64_t len)
{
	const unsigned first = w->n;

	while (len) {
		xn_uoff at;
		uint64_t part = xn_mem_find_some(w->vq->mem, XN_GPA(addr), len, &at);
		struct xn_piece *last = w->n > first ? &w->pieces[w->n - 1] : NULL;

		if (!part)
			return XN_FAULT_addr_unmapped;
		if (last && last->at.v + last->len == at.v)
			last->len += (uint32_t)part;
		else if (add_piece(w, at, part))
			return XN_FAULT_chain_pieces;
		addr += part;
		len -= part;
	}
	return XN_FAULT_NONE;
}

static inline bool wraps(uint64_t addr, uint32_t len)
{
	return addr + (len - 1) < addr;   /* len >= 1; ending at 2^64 is no wrap */
}

/* Not of the direction that a chain of one has, or behind one that was not: a fault but
 * in queues of both directions, which turn once (VIRTIO 1.2, 2.7.4.2). */
static NOINLINE enum xn_fault other_direction(struct walk *w, struct desc d)
{
	if (w->vq->dir == XN_VQ_TO_GUEST)
		return XN_FAULT_readable;
	if (w->vq->dir == XN_VQ_FROM_GUEST)
		return XN_FAULT_writable;
	if (!(d.flags & VRING_DESC_F_WRITE))
		return XN_FAULT_order;
	if (!w->turned)
		w->readable = w->bytes;
	w->turned = true;
	return XN_FAULT_NONE;
}

/* A descriptor that is not INDIRECT. */
static enum xn_fault add_buffer(struct walk *w, struct desc d)
{
	struct xn_vq *vq = w->vq;
	xn_uoff at;

	if ((d.flags & VRING_DESC_F_WRITE) != vq->expect_flags || w->turned) {
		enum xn_fault why = other_direction(w, d);

		if (why)
			return why;
	}
	if (!d.len)
		return XN_FAULT_NONE;
	w->bytes += d.len;
	if (w->bytes > UINT32_MAX)
		return XN_FAULT_chain_bytes;
	if (wraps(d.addr, d.len))
		return XN_FAULT_addr_wrap;
	if (XN_LIKELY(xn_mem_find(vq->mem, &vq->hit, XN_GPA(d.addr), d.len, &at)))
		return add_piece(w, at, d.len);
	return add_across_spans(w, d.addr, d.len);
}

/* ---- indirect tables (VIRTIO 1.2, 2.7.5.3) ---- */

struct table {
	const uint64_t *g;   /* two words an entry; NULL: over several spans, or unaligned */
	uint64_t gpa;
	uint32_t n;          /* entries */
};

static bool wholly_mapped(const struct xn_mem *mem, uint64_t gpa, uint64_t len)
{
	while (len) {
		xn_uoff at;
		uint64_t part = xn_mem_find_some(mem, XN_GPA(gpa), len, &at);

		if (!part)
			return false;
		gpa += part;
		len -= part;
	}
	return true;
}

static enum xn_fault find_table(struct xn_vq *vq, struct desc d, struct table *t)
{
	xn_uoff at;

	if (!d.len || d.len % DESC_BYTES || d.len / DESC_BYTES > vq->size)
		return XN_FAULT_indirect_size;
	*t = (struct table){ .gpa = d.addr, .n = d.len / DESC_BYTES };
	if (wraps(d.addr, d.len))
		return XN_FAULT_indirect_unmapped;
	if (XN_LIKELY(xn_mem_find(vq->mem, &vq->hit, XN_GPA(d.addr), d.len, &at))) {
		if (XN_LIKELY(!(d.addr % sizeof(*t->g))))
			t->g = xn_mem_at(vq->mem, at);
		return XN_FAULT_NONE;
	}
	return wholly_mapped(vq->mem, d.addr, d.len) ? XN_FAULT_NONE : XN_FAULT_indirect_unmapped;
}

/* The standard asks for no alignment of a table, so that even one entry may lie in
 * two spans. Each byte is read once. */
static NOINLINE struct desc read_entry_bytes(const struct xn_mem *mem, uint64_t gpa)
{
	uint64_t words[2], part = 0;
	uint8_t *to = (uint8_t *)words;
	const uint8_t *g = NULL;

	for (uint64_t left = DESC_BYTES; left; left--, gpa++, part--) {
		if (!part) {
			xn_uoff at = { 0 };

			part = xn_mem_find_some(mem, XN_GPA(gpa), left, &at);
			g = xn_mem_at(mem, at);
			assert(part);   /* find_table saw all of it, and maps do not change */
		}
		*to++ = xn_load_once8(g++);
	}
	return desc_of(words[0], words[1]);
}

static inline struct desc read_entry(const struct xn_mem *mem, const struct table *t, uint32_t i)
{
	if (XN_LIKELY(t->g))
		return desc_of(xn_load_once64(&t->g[2 * i]), xn_load_once64(&t->g[2 * i + 1]));
	return read_entry_bytes(mem, t->gpa + (uint64_t)i * DESC_BYTES);
}

static enum xn_fault walk_table(struct walk *w, struct desc d)
{
	struct xn_vq *vq = w->vq;
	struct table t;
	enum xn_fault why = find_table(vq, d, &t);
	uint32_t i = 0;

	if (why)
		return why;
	for (uint32_t steps = 1;; steps++) {
		struct desc e = read_entry(vq->mem, &t, i);

		w->steps++;
		if (e.flags & VRING_DESC_F_INDIRECT)
			return XN_FAULT_indirect_nested;
		why = add_buffer(w, e);
		if (why || !(e.flags & VRING_DESC_F_NEXT))
			return why;
		if (e.next >= t.n)
			return XN_FAULT_indirect_range;
		if (steps == t.n)
			return XN_FAULT_chain_loop;
		i = index_nospec(e.next, t.n);
	}
}

/* ---- direct chains, and one table at their end (VIRTIO 1.2, 2.7.5.3.2) ---- */

static enum xn_fault walk_chain(struct walk *w, uint16_t head)
{
	struct xn_vq *vq = w->vq;
	uint16_t i = head;

	for (uint32_t steps = 1;; steps++) {
		const uint64_t *g = (const uint64_t *)&vq->g_desc[i];
		struct desc d = desc_of(xn_load_once64(&g[0]), xn_load_once64(&g[1]));
		enum xn_fault why;

		w->steps++;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (!vq->indirect)
				return XN_FAULT_indirect_off;
			if (d.flags & VRING_DESC_F_NEXT)
				return XN_FAULT_indirect_next;
			return walk_table(w, d);   /* WRITE is ignored here: 2.7.5.3.2 */
		}
		why = add_buffer(w, d);
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
	/* xn_chain.n_pieces has 16 bits. */
	struct walk w = { .vq = vq, .pieces = pieces, .room = XN_MIN(room, UINT16_MAX) };
	enum xn_fault why = walk_chain(&w, head);

	*walked += w.steps;
	if (why)
		return why;
	if (!w.n)
		return XN_FAULT_chain_empty;
	c->at = pieces[0].at;
	c->head = head;
	c->n_pieces = (uint16_t)w.n;
	c->bytes = (uint32_t)w.bytes;
	vq->readable = (uint32_t)(w.turned ? w.readable : w.bytes);
	return XN_FAULT_NONE;
}

/* The same for one that the ring names, where the head may be wrong too. */
static NOINLINE enum xn_fault odd_chain(struct xn_vq *vq, uint16_t head, struct xn_chain *c,
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
		stop_queue(vq, why);
		return false;
	}
	vq->avail_next++;
	if (why == XN_FAULT_head_busy) {
		/* Somebody has this head, and gives it back, once. */
		count_fault(vq, why);
		return true;
	}
	vq->outstanding++;   /* taken, and at once given back */
	if (vq->inflight)
		xn_inflight_mark(vq->inflight, head);
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
		stop_queue(vq, XN_FAULT_avail_jump);
		return 0;
	}
	vq->avail_seen = seen;
	return ready;
}

/* What one call of pop may do, and has done. */
struct batch {
	struct xn_chain *chains;
	struct xn_piece *pieces;
	unsigned n, max_pieces;      /* the arrays' sizes */
	unsigned ready;              /* chains in the ring at the start, less refused ones */
	unsigned k, used;            /* chains and pieces taken */
	unsigned walked;             /* descriptors */
};

/*
 * Takes chains of the usual kind, as many as there are in a row. What it needs is
 * copied into locals, or each store could have changed it, for all the compiler
 * knows; tests that all have to be 0 are or-ed together: one branch for three.
 */
static inline void pop_usual(struct xn_vq *vq, struct batch *b)
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
static NOINLINE bool pop_odd(struct xn_vq *vq, struct batch *b)
{
	uint16_t head = xn_load_once16(&vq->g_avail[2 + (vq->avail_next & vq->mask)]);
	struct xn_chain *c = &b->chains[b->k];
	enum xn_fault why = odd_chain(vq, head, c, b->pieces + b->used,
				      b->max_pieces - b->used, &b->walked);

	if (XN_LIKELY(!why)) {
		c->first = b->used;
		if (c->n_pieces > 1)
			b->used += c->n_pieces;
		b->k++;
		vq->state[c->head] = XN_VQ_TAKEN | vq->avail_next++;
		vq->outstanding++;
	} else {
		if (b->k || !consume_wrong(vq, head, why))
			return false;
		b->ready--;
	}
	return b->walked < MAX_WALK;
}

/*
 * Heads that were out when a back end died: taken again, before anything of the ring.
 * A chain that is wrong, now, is given back when it comes first, as those of the ring.
 */
static NOINLINE unsigned pop_again(struct xn_vq *vq, struct batch *b)
{
	const struct xn_inflight *f = vq->inflight;

	vq->plain = 0;
	while (!vq->broken && vq->again_left && b->k < b->n && b->used < b->max_pieces && b->walked < MAX_WALK) {
		uint16_t head = f->again[f->n_again - vq->again_left];
		struct xn_chain *c = &b->chains[b->k];
		enum xn_fault why = read_chain(vq, head, c, b->pieces + b->used,
					       b->max_pieces - b->used, &b->walked);

		if (why && b->k)
			break;
		vq->again_left--;
		vq->outstanding++;
		if (why) {
			xn_vq_refuse(vq, head, why);
			continue;
		}
		c->first = b->used;
		if (c->n_pieces > 1)
			b->used += c->n_pieces;
		b->k++;
	}
	return b->k;
}

unsigned xn_vq_pop(struct xn_vq *vq, struct xn_chain *chains, unsigned n,
		   struct xn_piece *pieces, unsigned max_pieces)
{
	struct batch b = { .chains = chains, .pieces = pieces, .n = n, .max_pieces = max_pieces };

	if (XN_UNLIKELY(vq->broken | vq->again_left))
		return pop_again(vq, &b);
	b.ready = (uint16_t)(vq->avail_seen - vq->avail_next);
	if (b.ready < n)
		b.ready = look(vq);
	pop_usual(vq, &b);
	vq->plain = b.k;
	while (XN_UNLIKELY(b.k < XN_MIN(n, b.ready) && b.used < max_pieces) && pop_odd(vq, &b))
		pop_usual(vq, &b);
	if (XN_UNLIKELY(vq->careful))
		note_taken(vq, b.chains, b.k);
	return b.k;
}

bool xn_vq_pop_command(struct xn_vq *vq, struct xn_chain *c, struct xn_piece *pieces,
		       unsigned max_pieces)
{
	struct batch b = { .chains = c, .pieces = pieces, .n = 1, .max_pieces = max_pieces };

	assert(vq->dir == XN_VQ_BOTH);
	if (vq->broken)
		return false;
	if (vq->again_left)
		return pop_again(vq, &b) == 1;
	b.ready = look(vq);
	/* Never by pop_usual, which knows one direction. */
	while (!b.k && b.ready && pop_odd(vq, &b))
		;
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
		vq->avail_next--;
		assert(vq->state[last[i].head] == (XN_VQ_TAKEN | vq->avail_next));
		vq->state[last[i].head] = 0;
		vq->outstanding--;
		if (vq->inflight)
			xn_inflight_unmark(vq->inflight, last[i].head);
	}
}

/* ---- notifications ---- */

bool xn_vq_wants_irq(struct xn_vq *vq)
{
	const uint16_t now = vq->used_published, before = vq->used_signalled;

	if (now == before)
		return false;
	/*
	 * (E): orders our used idx before the driver's wish; pairs with the driver's
	 * fence between its wish and its look at used idx.
	 */
	xn_fence_full();
	vq->used_signalled = now;
	if (!vq->event_idx)
		return !(xn_load_once16(&vq->g_avail[0]) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(xn_load_once16(vq->g_used_event), now, before);
}

/* Our wish for kicks, or for none, has been written. */
static void mark_wish(struct xn_vq *vq)
{
	if (XN_LIKELY(!vq->log))
		return;
	if (vq->event_idx)
		mark_used(vq, 4 + 8ull * vq->size, 2);
	else
		mark_used(vq, 0, 2);
}

bool xn_vq_enable_kick(struct xn_vq *vq)
{
	if (vq->broken)
		return true;   /* there is nothing that a kick could help */
	vq->kicks_on = true;
	if (vq->event_idx)
		xn_store_once16(vq->g_avail_event, vq->avail_next);
	else
		xn_store_once16(&vq->g_used[0], 0);
	mark_wish(vq);
	/*
	 * (F): orders our wish before the look at avail idx; pairs with the driver's
	 * fence between its avail idx and its look at the wish.
	 */
	xn_fence_full();
	return xn_load_once16(&vq->g_avail[1]) == vq->avail_next && !vq->again_left;
}

void xn_vq_disable_kick(struct xn_vq *vq)
{
	vq->kicks_on = false;
	/* With EVENT_IDX: an index that has gone by is no wish (VIRTIO 1.2, 2.7.10), for
	 * the next 65535 chains. */
	if (vq->event_idx)
		xn_store_once16(vq->g_avail_event, (uint16_t)(vq->avail_next - 1));
	else
		xn_store_once16(&vq->g_used[0], VRING_USED_F_NO_NOTIFY);
	mark_wish(vq);
}

/* ---- stop ---- */

/*
 * Is the chain in front of avail_next still out, and would it be taken again?
 *
 * A head that was taken again after a crash counts too. Our note does not say where it
 * stood, but if the ring names it in front of avail_next, it is there: nothing behind that
 * place has been used, so the driver has not written over it; and a head
 * that is out was not offered a second time.
 */
static bool last_is_out(const struct xn_vq *vq, uint16_t *head)
{
	const uint16_t at = (uint16_t)(vq->avail_next - 1);
	uint32_t state;

	/* The guest's word is only a hint where to look: our own must agree. */
	*head = xn_load_once16(&vq->g_avail[2 + (at & vq->mask)]);
	if (*head > vq->mask)
		return false;
	state = vq->state[*head & vq->mask];
	return state == (XN_VQ_TAKEN | at) || state == XN_VQ_AGAIN;
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
	uint16_t head;

	vq->outstanding += vq->again_left;   /* they have no owner yet */
	vq->again_left = 0;
	while (vq->outstanding && last_is_out(vq, &head)) {
		vq->state[head] = 0;
		vq->outstanding--;
		vq->avail_next--;
		if (vq->inflight)
			xn_inflight_unmark(vq->inflight, head);
	}
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
