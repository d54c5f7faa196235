/* SPDX-License-Identifier: BSD-2-Clause */
/* From descriptors to pieces: what is seldom, and indirect tables. Theory in virtio/walk.h. */
#include <assert.h>

#include "virtio/walk.h"

/* A buffer that does not lie in one span: the part in each is a piece, unless the
 * parts touch in the UMEM too. */
XN_NOINLINE enum xn_fault xn_walk_across_spans(struct xn_walk *w, uint64_t addr, uint64_t len)
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
		else if (xn_walk_piece(w, at, part))
			return XN_FAULT_chain_pieces;
		addr += part;
		len -= part;
	}
	return XN_FAULT_NONE;
}

/* Not of the direction that a chain of one has, or behind one that was not: a fault but
 * in queues of both directions, which turn once (VIRTIO 1.2, 2.7.4.2). */
XN_NOINLINE enum xn_fault xn_walk_other_direction(struct xn_walk *w, struct xn_desc d)
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

/* ---- indirect tables (VIRTIO 1.2, 2.7.5.3 and 2.8.7) ---- */

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

static enum xn_fault find_table(struct xn_vq *vq, struct xn_desc d, struct table *t)
{
	xn_uoff at;

	if (!d.len || d.len % XN_DESC_BYTES || d.len / XN_DESC_BYTES > vq->size)
		return XN_FAULT_indirect_size;
	*t = (struct table){ .gpa = d.addr, .n = d.len / XN_DESC_BYTES };
	if (xn_addr_wraps(d.addr, d.len))
		return XN_FAULT_indirect_unmapped;
	if (XN_LIKELY(xn_mem_find(vq->mem, &vq->hit, XN_GPA(d.addr), d.len, &at))) {
		if (XN_LIKELY(!(d.addr % sizeof(*t->g))))
			t->g = xn_mem_at(vq->mem, at);
		return XN_FAULT_NONE;
	}
	return wholly_mapped(vq->mem, d.addr, d.len) ? XN_FAULT_NONE : XN_FAULT_indirect_unmapped;
}

struct entry {
	uint64_t addr, rest;
};

/* The standard asks for no alignment of a table, so that even one entry may lie in
 * two spans. Each byte is read once. */
static XN_NOINLINE struct entry read_entry_bytes(const struct xn_mem *mem, uint64_t gpa)
{
	struct entry e;
	uint64_t part = 0;
	uint8_t *to = (uint8_t *)&e;
	const uint8_t *g = NULL;

	for (uint64_t left = XN_DESC_BYTES; left; left--, gpa++, part--) {
		if (!part) {
			xn_uoff at = { 0 };

			part = xn_mem_find_some(mem, XN_GPA(gpa), left, &at);
			g = xn_mem_at(mem, at);
			assert(part);   /* find_table saw all of it, and maps do not change */
		}
		*to++ = xn_load_once8(g++);
	}
	return e;
}

static inline struct entry read_entry(const struct xn_mem *mem, const struct table *t, uint32_t i)
{
	if (XN_LIKELY(t->g))
		return (struct entry){ xn_load_once64(&t->g[2 * i]), xn_load_once64(&t->g[2 * i + 1]) };
	return read_entry_bytes(mem, t->gpa + (uint64_t)i * XN_DESC_BYTES);
}

/* Entries that are linked. */
static enum xn_fault walk_links(struct xn_walk *w, const struct table *t)
{
	uint32_t i = 0;

	for (uint32_t steps = 1;; steps++) {
		const struct entry e = read_entry(w->vq->mem, t, i);
		const struct xn_desc d = xn_split_desc(e.addr, e.rest);
		enum xn_fault why;

		w->steps++;
		if (d.flags & VRING_DESC_F_INDIRECT)
			return XN_FAULT_indirect_nested;
		why = xn_walk_buffer(w, d);
		if (why || !(d.flags & VRING_DESC_F_NEXT))
			return why;
		if (d.next >= t->n)
			return XN_FAULT_indirect_range;
		if (steps == t->n)
			return XN_FAULT_chain_loop;
		i = xn_index_nospec(d.next, t->n);
	}
}

/* Entries one after the other, all of them: 2.8.7. */
static enum xn_fault walk_row(struct xn_walk *w, const struct table *t)
{
	for (uint32_t i = 0; i < t->n; ) {
		struct entry e = read_entry(w->vq->mem, t, i);
		enum xn_fault why;
		uint32_t n = 0;

		if (XN_LIKELY(t->g))
			n = xn_walk_row(w, &t->g[2 * i], t->n - i, 0, VRING_DESC_F_WRITE, &e.rest);
		i += n;
		if (n)
			continue;
		w->steps++;
		why = xn_walk_buffer(w, xn_packed_desc(e.addr, e.rest));
		if (why)
			return why;
		i++;
	}
	return XN_FAULT_NONE;
}

enum xn_fault xn_walk_table(struct xn_walk *w, struct xn_desc d)
{
	struct table t;
	enum xn_fault why = find_table(w->vq, d, &t);

	if (why)
		return why;
	return w->vq->packed ? walk_row(w, &t) : walk_links(w, &t);
}
