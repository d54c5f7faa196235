/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Buffers used in the order in which they were made available (VIRTIO 1.3, 2.7.9 and
 * 2.8.8), for an engine that has them back in any order.
 *
 *	taken   heads in the order of the ring:   | A | B | C | D | E |
 *	                                            ^ first             ^ next
 *	pushed  A, B and D: A and B are published, D waits for C
 *
 * A driver that knows that may be told of the last of a batch only: "the skipped buffers are
 * assumed to have been used (read or written) by the device completely". That is
 * so for what was read; a buffer that a frame was written to needs its own length, so in
 * queues of other directions each is told of.
 *
 * No more heads wait than the ring has: whoever offers more is stopped (avail_jump).
 */
#ifndef XN_VIRTIO_ORDER_H
#define XN_VIRTIO_ORDER_H

#include <linux/virtio_ring.h>

#include "base/types.h"

struct xn_order {
	uint32_t mask;
	uint32_t first, next;             /* of taken[], free running */
	struct vring_used_elem *ready;    /* what a publication makes visible */
	/* For each head: how often it was pushed and is still here. More than once only if
	 * the driver offered it again in between. */
	uint32_t *times, *len;
	uint16_t taken[];
};

/* For heads up to mask. NULL: out of memory. */
struct xn_order *xn_order_create(uint32_t mask);
void xn_order_destroy(struct xn_order *o);

/* A head is taken. There is room. */
static inline void xn_order_take(struct xn_order *o, uint16_t head)
{
	o->taken[o->next++ & o->mask] = head;
}

/* The last one is un-taken. */
static inline void xn_order_untake(struct xn_order *o)
{
	o->next--;
}

/* The last one; there is one. */
static inline uint16_t xn_order_last(const struct xn_order *o)
{
	return o->taken[(o->next - 1) & o->mask];
}

static inline void xn_order_push(struct xn_order *o, uint16_t head, uint32_t len)
{
	o->times[head]++;
	o->len[head] = len;
}

/* Moves those whose turn it is to ready[]. Returns how many. */
uint32_t xn_order_emit(struct xn_order *o);

#endif
