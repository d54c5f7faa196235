/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receive half of the AF_XDP port: lend or hold, take back, bounce.
 * Theory in port/xdp.h.
 */
#include <sys/socket.h>

#include "port/xdp.h"

static inline struct xn_xdpq *xdpq(struct xn_portq *q)
{
	return XN_CONTAINER_OF(q, struct xn_xdpq, q);
}

static inline uint32_t rx_outstanding(const struct xn_xdpq *x)
{
	return x->rx_posted - x->rx_taken;
}

/* Slots of the fill ring that are free for new entries. */
static inline uint32_t rx_room(const struct xn_xdpq *x)
{
	return x->lent_mask + 1 - rx_outstanding(x);
}

/* Posts one fill entry; the caller knows that there is room, and submits later. */
static inline void fill_put(struct xn_xdpq *x, uint64_t fill, uint32_t id)
{
	struct xn_lent *l = &x->lent[x->rx_posted & x->lent_mask];

	l->fill = fill;
	l->id = id;
	*xsk_ring_prod__fill_addr(&x->xsk.fill, x->rx_posted++) = fill;
}

/*
 * Makes the entries since `from` visible to the kernel, and wakes a zero-copy
 * driver that has gone to sleep for lack of them. xsk_ring_prod__submit is a
 * store-release that orders the entries before the producer index; it pairs with
 * the kernel's load-acquire in xskq_cons_peek.
 */
static void fill_submit(struct xn_xdpq *x, uint32_t from)
{
	if (x->rx_posted == from)
		return;
	xsk_ring_prod__submit(&x->xsk.fill, x->rx_posted - from);
	if (x->xsk.zero_copy && xsk_ring_prod__needs_wakeup(&x->xsk.fill))
		(void)recvfrom(x->xsk.fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/*
 * Bounce frames stand in for held buffers, one for one while there are frames.
 * Never more than there are held buffers: a frame that lands in one would have
 * nowhere to go, while buffers that are lent wait behind it.
 */
static void bounce_refill(struct xn_xdpq *x)
{
	uint32_t held = xn_id_fifo_count(&x->held);

	while (x->bounce_posted < held && x->n_rx_frames && rx_room(x)) {
		/* The kernel may write frame_bytes at the end of the chunk. */
		fill_put(x, x->rx_frames[--x->n_rx_frames].v, XN_LENT_BOUNCE);
		x->bounce_posted++;
	}
}

/*
 * Where a frame would land, and how many contiguous bytes are there: behind the
 * header, which may fill whole pieces of its own.
 */
static uint32_t landing(const struct xn_portq_cfg *c, const struct xn_rx_buf *b, xn_uoff *at)
{
	uint32_t skip = c->hdr_bytes, len = b->len, rest = b->rest;

	*at = b->at;
	while (skip >= len && rest) {
		skip -= len;
		*at = c->rests[rest].at;
		len = c->rests[rest].len;
		rest = c->rests[rest].next;
	}
	at->v += skip;
	return len > skip ? len - skip : 0;
}

/* Why this buffer cannot be lent: a counter; XN_C_rx_buf_lent: it can, at *at. */
static inline enum xn_counter judge(const struct xn_xdpq *x, const struct xn_rx_buf *b, xn_uoff *at)
{
	const struct xn_portq_cfg *c = &x->q.cfg;
	uint32_t room;

	if (XN_LIKELY(b->len > c->hdr_bytes)) {
		*at = XN_UOFF(b->at.v + c->hdr_bytes);
		room = b->len - c->hdr_bytes;
	} else {
		room = landing(c, b, at);
	}
	if (XN_UNLIKELY(x->bounce))
		return XN_C_rx_bounce_forced;
	if (XN_UNLIKELY(room < x->xsk.frame_bytes))   /* the one invariant of the engine (I1) */
		return XN_C_rx_bounce_short;
	if (XN_UNLIKELY(!xn_mem_registered(x->mem, *at, x->xsk.frame_bytes)))
		return XN_C_rx_bounce_window;
	return XN_C_rx_buf_lent;
}

unsigned xn_xdp_rx_post(struct xn_portq *q, const uint16_t *ids, unsigned n)
{
	struct xn_xdpq *x = xdpq(q);
	const struct xn_rx_buf *bufs = q->cfg.bufs;
	const uint32_t land = x->xsk.land;
	uint32_t from = x->rx_posted, room = rx_room(x), lent = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		xn_uoff at;
		enum xn_counter why = judge(x, &bufs[ids[i]], &at);

		if (XN_LIKELY(why == XN_C_rx_buf_lent)) {
			if (lent == room)
				break;
			fill_put(x, at.v - land, ids[i]);
			lent++;
			continue;
		}
		xn_id_fifo_put(&x->held, ids[i]);
		xn_count_add(&q->cfg.ctr->v[why], 1);
	}
	XN_COUNT(q->cfg.ctr, rx_buf_lent, lent);
	bounce_refill(x);
	fill_submit(x, from);
	return i;
}

/*
 * The frame at `addr` is not that of the oldest entry: finds its own, and puts the
 * oldest in its place, so that the shadow stays in step. NULL: an address that was
 * never posted or came twice; nothing is taken then.
 */
static struct xn_lent *find_lent(struct xn_xdpq *x, uint64_t addr)
{
	struct xn_lent *oldest = &x->lent[x->rx_taken & x->lent_mask];

	for (uint32_t i = 1; i < rx_outstanding(x); i++) {
		struct xn_lent *l = &x->lent[(x->rx_taken + i) & x->lent_mask];

		if (l->fill == addr) {
			struct xn_lent t = *l;

			*l = *oldest;
			*oldest = t;
			XN_COUNT(x->q.cfg.ctr, rx_out_of_order, 1);
			return oldest;
		}
	}
	return NULL;
}

/*
 * A frame in a bounce frame goes to held buffers. Returns how many entries of
 * `done` it filled; false through *fits: not enough of them, try again later.
 */
static unsigned deliver_bounced(struct xn_xdpq *x, uint64_t fill, uint64_t data, uint32_t bytes,
				struct xn_rx_done *done, unsigned max, bool *fits)
{
	struct xn_counters *ctr = x->q.cfg.ctr;
	unsigned used = 0;

	*fits = true;
	switch (xn_spread_frame(&x->q.cfg, &x->held, xn_mem_at(x->mem, XN_UOFF(data)), bytes,
				done, max, &used)) {
	case XN_SPREAD_OK:
		XN_COUNT(ctr, rx_bounced, 1);
		if (used > 1)
			XN_COUNT(ctr, rx_merged, 1);
		break;
	case XN_SPREAD_NO_BUFFER:
		XN_COUNT(ctr, rx_drop_no_buffer, 1);
		break;
	case XN_SPREAD_TOO_SMALL:
		XN_COUNT(ctr, rx_drop_too_small, 1);
		break;
	case XN_SPREAD_NO_ROOM:
		*fits = false;
		return 0;
	}
	x->rx_frames[x->n_rx_frames++] = XN_UOFF(fill);
	x->bounce_posted--;
	return used;
}

unsigned xn_xdp_rx_poll(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames)
{
	struct xn_xdpq *x = xdpq(q);
	uint32_t idx, avail = xsk_ring_cons__peek(&x->xsk.rx, frames, &idx), taken, lent = 0;
	unsigned out = 0;

	if (!avail)
		return 0;
	for (taken = 0; taken < avail && out < n; taken++) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(&x->xsk.rx, idx + taken);
		uint64_t addr = xsk_umem__extract_addr(d->addr);
		struct xn_lent *l = &x->lent[x->rx_taken & x->lent_mask];

		if (XN_UNLIKELY(l->fill != addr || !rx_outstanding(x))) {
			l = find_lent(x, addr);
			if (!l) {
				XN_COUNT(q->cfg.ctr, rx_drop_error, 1);
				continue;
			}
		}
		if (XN_LIKELY(l->id != XN_LENT_BOUNCE)) {
			done[out++] = (struct xn_rx_done){ .id = (uint16_t)l->id, .len = d->len };
			lent++;
		} else {
			bool fits;

			out += deliver_bounced(x, addr, xsk_umem__add_offset_to_addr(d->addr),
					       d->len, done + out, n - out, &fits);
			if (!fits)
				break;
		}
		x->rx_taken++;
	}
	/*
	 * Not looked at: given back to the next poll. The release stores the consumer
	 * index behind our reads of the descriptors; pairs with the kernel's
	 * load-acquire in xskq_prod_is_full / xskq_prod_reserve.
	 */
	xsk_ring_cons__cancel(&x->xsk.rx, avail - taken);
	xsk_ring_cons__release(&x->xsk.rx, taken);
	XN_COUNT(q->cfg.ctr, rx_lent, lent);

	if (x->bounce_posted < xn_id_fifo_count(&x->held)) {
		uint32_t from = x->rx_posted;

		bounce_refill(x);
		fill_submit(x, from);
	}
	return out;
}
