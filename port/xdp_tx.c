/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transmit half of the AF_XDP port: lend, gather or chain; kick; give back.
 * Theory in port/xdp.h.
 */
#include <errno.h>

#include "port/xdp.h"

#define DOWN_RETRY_NS 1000000u   /* how often a port that is down is tried again */

static inline struct xn_xdpq *xdpq(struct xn_portq *q)
{
	return XN_CONTAINER_OF(q, struct xn_xdpq, q);
}

/* Free slots of the TX ring: a slot is free again when its head has gone back. */
static inline uint32_t slots_free(const struct xn_xdpq *x)
{
	return x->xsk.tx.size - (x->tx_posted - x->tx_done);
}

unsigned xn_xdp_tx_room(struct xn_portq *q)
{
	struct xn_xdpq *x = xdpq(q);

	return XN_MIN(slots_free(x), x->q.cfg.tx_heads - x->n_tx_ready);
}

bool xn_xdp_tx_stuck(const struct xn_xdpq *x)
{
	return x->tx_posted != xn_load_acquire32(x->xsk.tx.consumer);
}

/* Writes one descriptor and its shadow; the caller knows that there is room. */
static inline void put(struct xn_xdpq *x, uint64_t addr, uint32_t len, uint32_t options,
		       uint16_t id, bool last, uint32_t frame)
{
	uint32_t slot = x->tx_posted++;
	struct xdp_desc *d = xsk_ring_prod__tx_desc(&x->xsk.tx, slot);
	struct xn_sent *s = &x->sent[slot & x->xsk.tx.mask];

	d->addr = addr;
	d->len = len;
	d->options = options;
	*s = (struct xn_sent){ .addr = addr, .id = id, .last = last, .frame = frame };
}

/* Is every piece where the kernel can read it, and no longer than a chunk? */
static bool pieces_lendable(const struct xn_xdpq *x, const struct xn_tx_pkt *p)
{
	for (unsigned i = 0; i < p->n_pieces; i++)
		if (!xn_mem_registered(x->mem, p->pieces[i].at, p->pieces[i].len) ||
		    p->pieces[i].len > XN_CHUNK_BYTES)
			return false;
	return true;
}

/* Copies the packet into one arena frame. False: no frame or slot is free now. */
static bool send_copied(struct xn_xdpq *x, const struct xn_tx_pkt *p)
{
	uint32_t f;

	if (!x->n_tx_free || !slots_free(x))
		return false;
	f = x->tx_free[--x->n_tx_free];
	xn_copy_from_pkt(x->mem, xn_mem_at(x->mem, x->tx_frames[f]), p);
	put(x, x->tx_frames[f].v, p->bytes, 0, p->id, true, f + 1);
	return true;
}

/* Lends all pieces, as one packet of several descriptors; all of them or none (I7). */
static bool send_chained(struct xn_xdpq *x, const struct xn_tx_pkt *p)
{
	unsigned n = p->n_pieces;

	if (slots_free(x) < n)
		return false;
	for (unsigned i = 0; i < n; i++) {
		bool last = i + 1 == n;

		put(x, p->pieces[i].at.v, p->pieces[i].len, last ? 0 : XDP_PKT_CONTD, p->id, last, 0);
	}
	return true;
}

static inline void count_sent(struct xn_xdpq *x, uint64_t packets, uint64_t bytes)
{
	XN_COUNT(x->q.cfg.ctr, tx_packets, packets);
	XN_COUNT(x->q.cfg.ctr, tx_bytes, bytes);
}

/* Everything but the normal case. False: it does not fit now. */
static bool send_unusual(struct xn_xdpq *x, const struct xn_tx_pkt *p)
{
	struct xn_counters *ctr = x->q.cfg.ctr;
	bool lendable = pieces_lendable(x, p);
	enum xn_counter how = p->n_pieces > 1 ? XN_C_tx_gathered : XN_C_tx_bounced;

	if (x->tx_down) {
		x->tx_ready[x->n_tx_ready++] = p->id;
		XN_COUNT(ctr, tx_drop_down, 1);
		return true;
	}
	if (!x->bounce && lendable && p->n_pieces > 1 && p->n_pieces <= XN_TX_PIECES_MAX &&
	    (x->chain_tx || p->bytes > XN_CHUNK_BYTES)) {
		if (!send_chained(x, p))
			return false;
		XN_COUNT(ctr, tx_chained, 1);
		count_sent(x, 1, p->bytes);
		return true;
	}
	if (p->bytes > XN_CHUNK_BYTES) {   /* fits no frame, and cannot be chained */
		x->tx_ready[x->n_tx_ready++] = p->id;
		XN_COUNT(ctr, tx_drop_too_long, 1);
		return true;
	}
	if (!send_copied(x, p))
		return false;
	count_sent(x, 1, p->bytes);
	xn_count_add(&ctr->v[how], 1);
	if (x->bounce)
		XN_COUNT(ctr, tx_bounce_forced, 1);
	else if (!lendable)
		XN_COUNT(ctr, tx_bounce_window, 1);
	return true;
}

unsigned xn_xdp_tx_post(struct xn_portq *q, const struct xn_tx_pkt *pkts, unsigned n)
{
	struct xn_xdpq *x = xdpq(q);
	bool plain = !x->bounce && !x->tx_down;
	uint32_t from = x->tx_posted, lent = 0;
	uint64_t bytes = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		const struct xn_tx_pkt *p = &pkts[i];

		if (XN_LIKELY(plain && p->n_pieces == 1 && p->bytes <= XN_CHUNK_BYTES &&
			      xn_mem_registered(x->mem, p->pieces[0].at, p->bytes))) {
			if (!slots_free(x))
				break;
			put(x, p->pieces[0].at.v, p->bytes, 0, p->id, true, 0);
			lent++;
			bytes += p->bytes;
		} else if (!send_unusual(x, p)) {
			break;
		}
	}
	/* Store-release of the producer index behind the descriptors; pairs with the
	 * kernel's load-acquire in xskq_cons_peek_desc. */
	if (x->tx_posted != from)
		xsk_ring_prod__submit(&x->xsk.tx, x->tx_posted - from);
	XN_COUNT(q->cfg.ctr, tx_lent, lent);
	count_sent(x, lent, bytes);
	return i;
}

/* Interface down or gone: from now on packets are dropped, and it is tried again. */
static void went_down(struct xn_xdpq *x)
{
	x->tx_down = true;
	x->tx_retry_ns = xn_now_ns() + DOWN_RETRY_NS;
}

void xn_xdp_tx_kick(struct xn_portq *q)
{
	struct xn_xdpq *x = xdpq(q);

	if (!xn_xdp_tx_stuck(x) || x->tx_gone)
		return;
	if (x->xsk.zero_copy && !xsk_ring_prod__needs_wakeup(&x->xsk.tx))
		return;
	if (x->tx_down && xn_now_ns() < x->tx_retry_ns)
		return;
	XN_COUNT(q->cfg.ctr, tx_kicks, 1);
	switch (x->xsk.send(&x->xsk)) {
	case 0:
		x->tx_down = false;
		break;
	case -EAGAIN:   /* budget used up, or the device is busy: nothing is lost */
		x->tx_down = false;
		XN_COUNT(q->cfg.ctr, tx_kick_again, 1);
		break;
	case -EBUSY:    /* the device dropped one packet, and the kernel stopped there */
		x->tx_down = false;
		XN_COUNT(q->cfg.ctr, tx_kick_drops, 1);
		break;
	case -ENXIO:    /* unbound: the interface is gone, nothing is read any more */
		x->tx_gone = true;
		XN_COUNT(q->cfg.ctr, tx_kick_drops, x->tx_posted - xn_load_once32(x->xsk.tx.consumer));
		went_down(x);
		break;
	case -ENETDOWN:
		went_down(x);
		break;
	default:        /* ENOBUFS, ENOMEM, EINTR: passing; the next turn kicks again */
		break;
	}
}

/* Gives back what entry `s` holds. True: *id is a head that may be returned. */
static inline bool give_back(struct xn_xdpq *x, const struct xn_sent *s, uint16_t *id)
{
	if (s->frame)
		x->tx_free[x->n_tx_free++] = s->frame - 1;
	*id = s->id;
	return s->last;
}

/* Takes all completions; without tx_copies, marks whose they are. */
static void take_completions(struct xn_xdpq *x)
{
	uint32_t idx, n = xsk_ring_cons__peek(&x->xsk.comp, x->xsk.comp.size, &idx);

	if (!n)
		return;
	for (uint32_t i = 0; !x->tx_copies && i < n; i++) {
		uint64_t addr = *xsk_ring_cons__comp_addr(&x->xsk.comp, idx + i) & ~1ull;

		for (uint32_t k = x->tx_done; k != x->tx_posted; k++) {
			struct xn_sent *s = &x->sent[k & x->xsk.tx.mask];

			if (!s->done && (s->addr & ~1ull) == addr) {
				s->done = 1;
				break;
			}
		}
	}
	xsk_ring_cons__release(&x->xsk.comp, n);
}

unsigned xn_xdp_tx_poll(struct xn_portq *q, uint16_t *ids, unsigned n)
{
	struct xn_xdpq *x = xdpq(q);
	unsigned out = 0;
	uint32_t end;

	take_completions(x);
	while (x->n_tx_ready && out < n)
		ids[out++] = x->tx_ready[--x->n_tx_ready];
	/*
	 * Acquire: what the kernel did with these descriptors is done, before their
	 * memory goes back to the guest. Pairs with the kernel's store-release of the
	 * consumer index in __xskq_cons_release.
	 */
	end = x->tx_copies && !x->tx_gone ? xn_load_acquire32(x->xsk.tx.consumer) : x->tx_posted;
	while (x->tx_done != end && out < n) {
		const struct xn_sent *s = &x->sent[x->tx_done & x->xsk.tx.mask];

		if (!x->tx_copies && !s->done && !x->tx_gone)
			break;
		x->tx_done++;
		if (XN_LIKELY(give_back(x, s, &ids[out])))
			out++;
	}
	return out;
}
