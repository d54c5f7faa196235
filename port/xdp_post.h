/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TX ring while packets are put into it: what port/xdp_tx.c (packets that leave as they
 * lie) and port/xdp_send.c (all others) share.
 */
#ifndef XN_PORT_XDP_POST_H
#define XN_PORT_XDP_POST_H

#include "port/xdp.h"

/*
 * The TX ring and its shadow, in locals: what is copied out of the queue's struct the
 * compiler need not load again after each store to a ring.
 */
struct xn_post {
	struct xdp_desc *ring;
	uint64_t *sent;
	uint32_t mask, posted, end;   /* free running; posted == end: no room */
};

static inline struct xn_post xn_post_begin(const struct xn_xdpq *x)
{
	return (struct xn_post){ x->xsk.tx.ring, x->sent, x->xsk.tx.mask, x->tx_posted,
				 x->tx_done + x->xsk.tx.size };
}

static inline uint32_t xn_post_room(const struct xn_post *w)
{
	return w->end - w->posted;
}

/* Writes one descriptor and its shadow; the caller knows that there is room. */
static inline void xn_post_put(struct xn_post *w, const struct xdp_desc *d, uint64_t sent)
{
	const uint32_t slot = w->posted++ & w->mask;

	w->ring[slot] = *d;
	w->sent[slot] = sent;
}

/*
 * Makes what was put visible: store-release of the producer index behind the
 * descriptors; pairs with the kernel's load-acquire in xskq_cons_peek_desc.
 */
static inline void xn_post_end(struct xn_xdpq *x, const struct xn_post *w)
{
	if (w->posted != x->tx_posted)
		xsk_ring_prod__submit(&x->xsk.tx, w->posted - x->tx_posted);
	x->tx_posted = w->posted;
}

/* Is nothing lent that is sent? */
static inline bool xn_xdp_tx_bounces(const struct xn_xdpq *x)
{
	return x->bounce && !x->tx_lends;
}

static inline void xn_count_sent(struct xn_xdpq *x, uint64_t packets, uint64_t bytes)
{
	XN_COUNT(x->q.cfg.ctr, tx_packets, packets);
	XN_COUNT(x->q.cfg.ctr, tx_bytes, bytes);
}

/* port/xdp_send.c: any packet, o NULL: that asks for nothing. False: it does not fit now, and
 * nothing of it was put. */
bool xn_xdp_send(struct xn_xdpq *x, struct xn_post *w, const struct xn_chain *p,
		 const struct xn_piece *all, const struct xn_offload *o);

#endif
