/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's driver with frames that no page holds, as Linux's has them:
 *
 *	transmit  | virtio-net header, first 64 bytes | block | block | ... |
 *	receive   buffers of 4096 bytes from blocks of 32 KiB, as many for a frame as it takes
 *
 * Blocks are 32 KiB, the order of pages from which Linux's TCP cuts what programs send. Those of a
 * packet lie one after the other downwards, so that no two of them are one piece. --piece says
 * another length (4096: pages, as of a file that is sent), or that all of a packet is one piece.
 * Frames that fit 1500 bytes are one piece in any case.
 */
#include "base/types.h"
#include "bench/driver_large.h"
#include "bench/merge.h"
#include "bench/pieces.h"
#include "xsk/xsk.h"

#define HEAD_BYTES  64u
#define RX_BYTES    4096u
#define ONE_PIECE   (XN_MTU_DEFAULT + XN_ETH_BYTES)
#define PIECES_MAX  (1 + (XN_MTU_MAX + XN_ETH_BYTES) / XN_PIECE_MIN + 1)

/* Behind the head. */
static unsigned blocks(const struct xn_opts *o, uint32_t bytes)
{
	return o->piece_bytes ? xn_pieces_count(bytes - HEAD_BYTES, o->piece_bytes) : 0;
}

void xn_driver_large_guest(struct xn_guest_cfg *cfg, const struct xn_opts *o)
{
	const uint32_t most = o->mtu + XN_ETH_BYTES;
	const uint64_t one = XN_ALIGN_UP(XN_GUEST_HDR + most, XN_PAGE_SIZE);

	cfg->tx_pieces = (uint16_t)(1 + blocks(o, most));
	cfg->tx_slot_bytes = o->piece_bytes ? XN_PAGE_SIZE + blocks(o, most) * o->piece_bytes : (uint32_t)one;
	if (!cfg->rx_buf_bytes)
		cfg->rx_buf_bytes = RX_BYTES;
	cfg->rx_as_linux = true;
}

/* Pieces of a frame in a slot's memory; the first without its virtio-net header. */
static unsigned lay_out(const struct xn_opts *o, uint8_t *slot, uint32_t bytes, struct xn_guest_piece *p)
{
	const unsigned n = bytes > ONE_PIECE ? blocks(o, bytes) : 0;
	uint32_t left = bytes;

	p[0] = (struct xn_guest_piece){ slot + XN_GUEST_HDR, n ? HEAD_BYTES : bytes };
	left -= p[0].bytes;
	for (unsigned i = 0; i < n; i++) {
		p[1 + i].data = slot + XN_PAGE_SIZE + (n - 1 - i) * o->piece_bytes;
		p[1 + i].bytes = XN_MIN(left, o->piece_bytes);
		left -= p[1 + i].bytes;
	}
	return 1 + n;
}

/* How many more may be on their way: in all as many as frames of the raw loop are, whose ring is
 * full then. (A guest has its own limits, as TCP's small queues.) */
static unsigned allowance(const struct xn_near *w, const struct xn_guest *g)
{
	const unsigned most = XN_RING_SIZE / xn_pieces_count(w->bytes, XN_FRAME_BYTES_MAX);

	return most - XN_MIN(most, xn_guest_tx_pending(g, w->queue));
}

unsigned xn_driver_large_tx(struct xn_near *w, struct xn_guest *g, unsigned n)
{
	struct xn_guest_piece p[PIECES_MAX];
	unsigned sent = 0;

	xn_guest_tx_reap(g, w->queue);     /* first, as in driver.c */
	n = XN_MIN(XN_MIN(n, XN_TURN), allowance(w, g));
	for (; sent < n; sent++) {
		uint8_t *slot = xn_guest_chain_begin(g, w->queue);
		unsigned pieces;
		uint64_t t;

		if (!slot)
			break;
		pieces = lay_out(w->path->opts, slot, w->bytes, p);
		t = xn_ticks();
		xn_pieces_stamp(w, p, pieces);
		w->own_ticks += xn_ticks() - t;
		p[0].data -= XN_GUEST_HDR;
		p[0].bytes += XN_GUEST_HDR;
		xn_guest_chain_add(g, w->queue, p, pieces);
	}
	if (sent)
		xn_guest_chain_push(g, w->queue);
	w->packets += sent;
	return sent;
}

static void check(struct xn_near *w, const struct xn_merged *m)
{
	struct xn_guest_piece p[XN_MERGE_MOST];

	for (unsigned i = 0; i < m->n; i++)
		p[i] = (struct xn_guest_piece){ (uint8_t *)m->f[i].data, m->f[i].bytes };
	xn_pieces_check(&w->check, p, m->n);
}

unsigned xn_driver_large_rx(struct xn_near *w, struct xn_guest *g)
{
	struct xn_merge *m = xn_guest_merge(g, w->queue);
	struct xn_merged f;
	unsigned n = 0;
	uint64_t t;

	if (!xn_merge_fetch(m, g, w->queue))
		return 0;
	t = xn_ticks();
	for (; xn_merge_next(m, &f); n++)
		check(w, &f);
	w->own_ticks += xn_ticks() - t;
	xn_merge_done(m, g, w->queue);
	/* A num_buffers that cannot be. */
	w->check.corrupt += m->wrong;
	m->wrong = 0;
	w->packets += n;
	return n;
}
