/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From descriptors to pieces, for both kinds of rings. Private to virtio/.
 *
 * A ring's code reads descriptors, each once, and gives them to xn_walk_buffer or
 * xn_walk_table in the order of the chain; these check them and fill in pieces, or name
 * the first fault that they meet. Which descriptor comes next is the ring's affair, but
 * for indirect tables: their entries are linked by `next` in a split ring, and follow each
 * other in a packed one, which knows no flag in there but WRITE.
 *
 * Speculation. Numbers from the guest that index memory are masked after their check, so
 * that a mispredicted check cannot be used to read beyond a table.
 */
#ifndef XN_VIRTIO_WALK_H
#define XN_VIRTIO_WALK_H

#include "virtio/vq.h"

#define XN_DESC_BYTES 16u
_Static_assert(sizeof(struct vring_desc) == XN_DESC_BYTES, "VIRTIO 1.2, 2.7.5");
_Static_assert(sizeof(struct vring_packed_desc) == XN_DESC_BYTES, "VIRTIO 1.2, 2.8.13");

/* A call looks at so many descriptors, plus one chain: the longest legal chain of a split
 * ring is a table of `size` entries behind `size` - 1 descriptors. */
#define XN_MAX_WALK (2 * XN_VQ_MAX_SIZE)

#define XN_NOINLINE __attribute__((noinline))

/* A descriptor, read. */
struct xn_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;             /* of a packed ring: id */
};

static inline struct xn_desc xn_split_desc(uint64_t addr, uint64_t rest)
{
	return (struct xn_desc){ .addr = addr, .len = (uint32_t)rest,
				 .flags = (uint16_t)(rest >> 32), .next = (uint16_t)(rest >> 48) };
}

/* The last two change places. */
static inline struct xn_desc xn_packed_desc(uint64_t addr, uint64_t rest)
{
	return (struct xn_desc){ .addr = addr, .len = (uint32_t)rest,
				 .flags = (uint16_t)(rest >> 48), .next = (uint16_t)(rest >> 32) };
}

/* One chain on its way into the caller's array of pieces. */
struct xn_walk {
	struct xn_vq *vq;
	struct xn_piece *pieces;
	unsigned room, n;          /* pieces: left at the start, filled */
	unsigned steps;            /* descriptors looked at */
	uint64_t bytes;
	uint64_t readable;         /* of these, up to the first writable one */
	bool turned;               /* a writable one was seen, where both may be */
};

static inline struct xn_walk xn_walk_begin(struct xn_vq *vq, struct xn_piece *pieces, unsigned room)
{
	/* xn_chain.n_pieces has 16 bits. */
	return (struct xn_walk){ .vq = vq, .pieces = pieces, .room = XN_MIN(room, UINT16_MAX) };
}

/* At the end of a chain without a fault: what it is, but for .first. */
static inline enum xn_fault xn_walk_end(struct xn_walk *w, uint16_t head, struct xn_chain *c)
{
	if (!w->n)
		return XN_FAULT_chain_empty;
	c->at = w->pieces[0].at;
	c->head = head;
	c->n_pieces = (uint16_t)w->n;
	c->bytes = (uint32_t)w->bytes;
	w->vq->readable = (uint32_t)(w->turned ? w->readable : w->bytes);
	return XN_FAULT_NONE;
}

/* i if i < n, else 0, without a branch to mispredict. n <= XN_VQ_MAX_SIZE. */
static inline uint32_t xn_index_nospec(uint32_t i, uint32_t n)
{
	return i & (uint32_t)((int32_t)(i - n) >> 31);
}

static inline enum xn_fault xn_walk_piece(struct xn_walk *w, xn_uoff at, uint64_t len)
{
	if (w->n == w->room)
		return XN_FAULT_chain_pieces;
	w->pieces[w->n++] = (struct xn_piece){ .at = at, .len = (uint32_t)len };
	return XN_FAULT_NONE;
}

static inline bool xn_addr_wraps(uint64_t addr, uint32_t len)
{
	return addr + (len - 1) < addr;   /* len >= 1; ending at 2^64 is no wrap */
}

/* virtio/walk.c: the seldom ones of the next. */
enum xn_fault xn_walk_across_spans(struct xn_walk *w, uint64_t addr, uint64_t len);
enum xn_fault xn_walk_other_direction(struct xn_walk *w, struct xn_desc d);

/* A descriptor that is not INDIRECT. */
static inline enum xn_fault xn_walk_buffer(struct xn_walk *w, struct xn_desc d)
{
	struct xn_vq *vq = w->vq;
	xn_uoff at;

	if ((d.flags & VRING_DESC_F_WRITE) != vq->expect_flags || w->turned) {
		enum xn_fault why = xn_walk_other_direction(w, d);

		if (why)
			return why;
	}
	if (!d.len)
		return XN_FAULT_NONE;
	w->bytes += d.len;
	if (w->bytes > UINT32_MAX)
		return XN_FAULT_chain_bytes;
	if (xn_addr_wraps(d.addr, d.len))
		return XN_FAULT_addr_wrap;
	if (XN_LIKELY(xn_mem_find(vq->mem, &vq->hit, XN_GPA(d.addr), d.len, &at)))
		return xn_walk_piece(w, at, d.len);
	return xn_walk_across_spans(w, d.addr, d.len);
}

/*
 * Usual ones that lie in a row, of a packed ring or of a table of one.
 * *rest: the word of the first, which was read; in the end that of the last one taken.
 * Ends behind one that has none of the flags `more` (there is no such one where that is 0), and
 * in front of one whose flags among `odd` differ from a good one's, or that is not for here:
 * that one is read again. Returns how many.
 */
static inline uint32_t xn_walk_row(struct xn_walk *w, const uint64_t *g, uint32_t n, uint16_t more,
				   uint16_t odd, uint64_t *rest)
{
	const uint64_t expect = (uint64_t)w->vq->expect_flags << 48, differs = (uint64_t)odd << 48;
	const struct xn_mem_hit hit = w->vq->hit;
	struct xn_piece *const begin = w->pieces + w->n, *p = begin;
	struct xn_piece *const end = begin + (w->turned ? 0 : XN_MIN(n, w->room - w->n));
	uint64_t word = *rest;

	while (p < end) {
		const uint64_t addr = xn_load_once64(&g[0]), into = addr - hit.gpa;
		const uint32_t len = (uint32_t)word;

		if (XN_UNLIKELY((word ^ expect) & differs))
			break;
		/* into + len cannot overflow: a span is shorter than the address space. */
		if (XN_UNLIKELY(into >= hit.bytes || into + len > hit.bytes))
			break;
		if (XN_UNLIKELY(!len || w->bytes + len > UINT32_MAX))
			break;
		p->at.v = addr + hit.delta;
		p++->len = len;
		w->bytes += len;
		*rest = word;
		if (p == end || (more && !(word >> 48 & more)))
			break;
		g += 2;
		word = xn_load_once64(&g[1]);
	}
	w->n += (unsigned)(p - begin);
	w->steps += (unsigned)(p - begin);
	return (uint32_t)(p - begin);
}

/* The table that an INDIRECT descriptor names; its other flags do not matter. */
enum xn_fault xn_walk_table(struct xn_walk *w, struct xn_desc d);

#endif
