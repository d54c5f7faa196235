/* SPDX-License-Identifier: BSD-2-Clause */
/* What virtio/vq.c and virtio/packed.c share. Private to virtio/. */
#ifndef XN_VIRTIO_VQ_PRIV_H
#define XN_VIRTIO_VQ_PRIV_H

#include "virtio/order.h"
#include "virtio/walk.h"

/* What one call of pop may do, and has done. */
struct xn_batch {
	struct xn_chain *chains;
	struct xn_piece *pieces;
	unsigned n, max_pieces;      /* the arrays' sizes */
	unsigned ready;              /* split: chains in the ring at the start, less refused ones */
	unsigned k, used;            /* chains and pieces taken */
	unsigned walked;             /* descriptors */
};

/* Entries of a list that one publication makes visible, [from, to) in this order. */
struct xn_used_run {
	const struct vring_used_elem *list;
	uint32_t mask;
	uint16_t from, to;
	bool last_only;              /* the driver is told of the last, which says all: order.h */
};

static inline struct vring_used_elem xn_used_at(const struct xn_used_run *r, uint16_t i)
{
	return r->list[i & r->mask];
}

/* virtio/vq.c */
void *xn_vq_map(const struct xn_mem *mem, const char *what, xn_gpa gpa, uint64_t bytes,
		uint64_t align);
bool xn_vq_overlap(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes);
void xn_vq_stop(struct xn_vq *vq, enum xn_fault why);
void xn_vq_count_fault(struct xn_vq *vq, enum xn_fault why);
void xn_vq_mark(struct xn_vq *vq, xn_gpa gpa, uint64_t len);
/* The chain at the front of the ring is wrong, and known: gives it back. */
void xn_vq_give_back_wrong(struct xn_vq *vq, uint16_t head, enum xn_fault why);

/* A chain that was just checked is taken. */
static inline void xn_batch_add(struct xn_batch *b, struct xn_chain *c)
{
	c->first = b->used;
	if (c->n_pieces > 1)
		b->used += c->n_pieces;
	b->k++;
}

/* virtio/packed.c: a packed ring's part of what virtio/vq.h promises. */
int  xn_packed_init(struct xn_vq *vq, const struct xn_vq_cfg *cfg);
void xn_packed_fini(struct xn_vq *vq);
void xn_packed_pop(struct xn_vq *vq, struct xn_batch *b);
void xn_packed_pop_command(struct xn_vq *vq, struct xn_batch *b);
uint16_t xn_packed_again_head(const struct xn_vq *vq, uint32_t i);
enum xn_fault xn_packed_read_again(struct xn_vq *vq, uint32_t i, struct xn_chain *c,
				   struct xn_piece *pieces, unsigned room, unsigned *walked);
void xn_packed_unpop(struct xn_vq *vq, const struct xn_chain *c);
void xn_packed_publish(struct xn_vq *vq, const struct xn_used_run *r);
bool xn_packed_wants_irq(struct xn_vq *vq);
void xn_packed_wish(struct xn_vq *vq, bool kicks);
bool xn_packed_waits(const struct xn_vq *vq);
void xn_packed_mark_all(struct xn_vq *vq);
/* The head whose chain ends in front of avail_next, if the driver's word can be trusted:
 * only a hint. And un-takes that chain. */
uint16_t xn_packed_last(const struct xn_vq *vq);
bool xn_packed_rewind(struct xn_vq *vq, uint16_t head);

#endif
