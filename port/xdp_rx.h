/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two receiving files of the AF_XDP port share: the fill ring, held buffers. */
#ifndef XN_PORT_XDP_RX_H
#define XN_PORT_XDP_RX_H

#include <sys/socket.h>

#include "port/rx_csum.h"
#include "port/xdp.h"

/* Of the longest frame: what port/xdp_mode.c chooses for an MTU of 65535. */
#define XN_RX_PIECES_MAX 18u

static inline struct xn_xdpq *xdpq(struct xn_portq *q)
{
	return XN_CONTAINER_OF(q, struct xn_xdpq, q);
}

static inline uint32_t rx_outstanding(const struct xn_xdpq *x)
{
	return x->rx_posted - x->rx_taken;
}

/*
 * The fill ring and its shadow, in locals: what is copied out of the queue's struct
 * the compiler need not load again after each store to a ring. The shadow has as
 * many slots as the ring.
 */
struct fill {
	uint64_t *ring;
	struct xn_lent *lent;
	uint32_t mask, posted;
};

static inline struct fill fill_begin(const struct xn_xdpq *x)
{
	return (struct fill){ x->xsk.fill.ring, x->lent, x->lent_mask, x->rx_posted };
}

/* What other threads have (port/xdp_rss.c) is not in the fill ring, and waits if it is full. */
static inline uint32_t fill_room(const struct xn_xdpq *x, const struct fill *f)
{
	return f->mask + 1 - (f->posted - x->rx_taken);
}

/* Posts one fill entry; the caller knows that there is room, and submits later. */
static inline void fill_put(struct fill *f, uint64_t fill, uint16_t id, uint16_t kind)
{
	uint32_t slot = f->posted++ & f->mask;

	f->ring[slot] = fill;
	f->lent[slot].fill = fill;
	f->lent[slot].id_kind = id | (uint32_t)kind << 16;
	f->lent[slot].no = f->posted - 1;
}

/* The entry that was put last. */
static inline struct xn_lent *fill_last(const struct fill *f)
{
	return &f->lent[(f->posted - 1) & f->mask];
}

static inline void wake(const struct xn_xdpq *x)
{
	(void)recvfrom(x->xsk.fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/*
 * Makes the new entries visible to the kernel, and wakes a zero-copy
 * driver that has gone to sleep for lack of them. xsk_ring_prod__submit is a
 * store-release that orders the entries before the producer index; it pairs with
 * the kernel's load-acquire in xskq_cons_peek.
 */
static inline void fill_end(struct xn_xdpq *x, const struct fill *f)
{
	uint32_t n = f->posted - x->rx_posted;

	if (!n)
		return;
	x->rx_posted = f->posted;
	xsk_ring_prod__submit(&x->xsk.fill, n);
	if (x->xsk.zero_copy && xsk_ring_prod__needs_wakeup(&x->xsk.fill))
		wake(x);
}

/* In how many pieces the longest frame is that a buffer takes by itself. */
static inline uint32_t pieces_of_buf(const struct xn_xdpq *x, uint16_t id)
{
	return XN_MIN((x->q.cfg.bufs[id].bytes - 1) / x->longest + 1, x->pieces);
}

/* One more held buffer of so many bytes: how many longest frames do they take now? */
static inline void held_add(struct xn_xdpq *x, uint32_t bytes)
{
	const uint32_t need = x->q.cfg.hdr_bytes + x->longest;

	if (x->q.cfg.merge && XN_MIN(bytes, need) + x->held_open < need) {
		x->held_open += bytes;
		return;
	}
	x->held_frames++;
	x->held_open = 0;
}

static inline void hold(struct xn_xdpq *x, const struct xn_chain *b)
{
	xn_hold_buf(&x->q.cfg, &x->held, b);
	held_add(x, x->q.cfg.bufs[b->head].bytes);
	if (x->sg)
		x->held_pieces += pieces_of_buf(x, b->head);
}

/*
 * So many frames, or pieces of one, have taken the n buffers done[] from the front: at most those
 * that were counted for as many longest ones. All behind them still hold what they held, so one
 * less is never too many; a short frame leaves more than that, which is counted anew when it is
 * wanted.
 */
static inline void held_take(struct xn_xdpq *x, uint32_t frames, const struct xn_rx_done *done, unsigned n)
{
	x->held_frames -= XN_MIN(x->held_frames, frames);
	x->held_stale = true;
	for (unsigned i = 0; x->sg && i < n; i++)
		x->held_pieces -= pieces_of_buf(x, done[i].id);
}

/* A bounce frame came back, and is free. */
static inline void xn_xdp_take_bounce_frame(struct xn_xdpq *x, uint64_t fill)
{
	x->rx_frames[x->n_rx_frames++] = XN_UOFF(fill);
	x->bounce_posted--;
}

/* port/xdp_rx.c: the entry posted with this address, which is the oldest behind `ahead` others
 * then. NULL: there is none. */
struct xn_lent *xn_xdp_entry_at(struct xn_xdpq *x, uint32_t ahead, uint64_t addr);
/* The oldest entry is posted once more: nothing of use has come in it. */
void xn_xdp_post_again(struct xn_xdpq *x);

/* port/xdp_pieces.c: a frame of several pieces begins at idx of an RX ring, and `avail` entries are
 * there. Returns how many of them it has taken; 0: it stays for the next poll. Adds to
 * `done` at *out, up to max. */
unsigned xn_xdp_take_pieces(struct xn_xdpq *x, const struct xsk_ring_cons *rx, uint32_t idx,
			    uint32_t avail, struct xn_rx_done *done, unsigned max, unsigned *out);

/* The same of the second socket's RX ring, where a frame may be for another guest queue. */
unsigned xn_xdp_take_away_pieces(struct xn_xdpq *x, uint32_t idx, uint32_t avail, struct xn_rx_done *done,
				 unsigned max, unsigned *out);

/* A frame that lies in several pieces, none of which is empty. */
struct xn_xdp_frame {
	struct xn_rx_piece p[XN_RX_PIECES_MAX];
	unsigned n;
	uint32_t bytes;
};

/* One more piece: there is room. */
void xn_xdp_frame_add(struct xn_xdp_frame *f, const struct xn_mem *mem, uint64_t data, uint32_t bytes);
/* As xn_xdp_spread, of such a frame, whose pieces are not x's; f is of no use afterwards. */
enum xn_spread xn_xdp_spread_pieces(struct xn_xdpq *x, struct xn_xdp_frame *f, struct xn_rx_done *done,
				    unsigned max, unsigned *used);
/* port/xdp_rss.c: as xn_xdp_hand_over, of such a frame: all of it or nothing. lent[i]: the entry
 * that piece i came in. */
enum xn_counter xn_xdp_hand_over_pieces(struct xn_xdpq *x, unsigned to, const struct xn_xdp_frame *f,
					const struct xn_lent *lent);

/* port/xdp_rx.c: a frame, wherever it lies in the registered memory, goes to held buffers; as
 * xn_spread_frame. An unfinished checksum is seen to. */
enum xn_spread xn_xdp_spread(struct xn_xdpq *x, uint64_t data, uint32_t bytes,
			     struct xn_rx_done *done, unsigned max, unsigned *used);

#endif
