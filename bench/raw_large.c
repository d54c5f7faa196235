/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The raw loop with frames longer than a chunk: AF_XDP sends and receives them as several
 * descriptors, of which all but a frame's last have XDP_PKT_CONTD.
 *
 * Transmit buffers are the same places as for short frames. A frame takes a group of them that
 * lie one behind the other in the list, always the same ones and in the same order, so that what
 * has been written there once needs only its stamp and tail; free groups are a stack. With another length of frames
 * groups are others, once all that was sent is back.
 */
#include <string.h>

#include "bench/pieces.h"
#include "bench/raw.h"

/* Of a frame's pieces, those of equal length that a place has room for. */
static uint32_t pieces_of(const struct xn_near *w)
{
	return xn_pieces_count(w->bytes, XN_FRAME_BYTES_MAX);
}

static unsigned settle(struct xn_raw_queue *q)
{
	uint32_t idx, n = xsk_ring_cons__peek(&q->x.comp, XN_RING_SIZE, &idx);
	unsigned back = 0;

	if (!n)
		return 0;
	xsk_ring_cons__release(&q->x.comp, n);
	q->done += n;
	/* Frames of which all descriptors are done, in the order in which they were sent. */
	while ((q->gone_at + 1) * q->pieces <= q->done) {
		q->group[q->n_free++] = q->sent[q->gone_at++ % XN_RING_SIZE];
		back++;
	}
	return back;
}

static void make_groups(struct xn_raw_queue *q, uint32_t pieces)
{
	q->pieces = pieces;
	q->posted = q->done = q->sent_at = q->gone_at = 0;
	q->n_free = XN_RING_SIZE / pieces;
	for (uint32_t i = 0; i < q->n_free; i++)
		q->group[i] = (uint16_t)(q->n_free - 1 - i);
}

static void post(struct xn_near *w, struct xn_raw_queue *q, uint32_t idx)
{
	const uint16_t group = q->group[--q->n_free];
	const uint64_t *at = q->tx_at + group * q->pieces;
	const uint32_t len = (w->bytes + q->pieces - 1) / q->pieces;
	struct xn_guest_piece piece[XN_TX_PIECES_MAX];

	for (uint32_t i = 0; i < q->pieces; i++) {
		piece[i] = (struct xn_guest_piece){ xn_raw_at(w, at[i]), XN_MIN(len, w->bytes - i * len) };
		*xsk_ring_prod__tx_desc(&q->x.tx, idx + i) = (struct xdp_desc){
			.addr = at[i], .len = piece[i].bytes,
			.options = i + 1 < q->pieces ? XDP_PKT_CONTD : 0,
		};
	}
	xn_pieces_stamp(w, piece, q->pieces);
	q->posted += q->pieces;
	q->sent[q->sent_at++ % XN_RING_SIZE] = group;
}

unsigned xn_raw_large_tx(struct xn_near *w, unsigned n)
{
	struct xn_raw_queue *q = xn_raw_queue_of(w);
	const uint64_t t0 = xn_ticks();
	const unsigned done = q->pieces ? settle(q) : 0;
	uint32_t idx;

	if (n && q->pieces != pieces_of(w)) {
		if (q->posted == q->done)
			make_groups(q, pieces_of(w));
		else
			n = 0;
	}
	n = XN_MIN(n, XN_MIN(XN_TURN, q->n_free));
	if (n && !xsk_ring_prod__reserve(&q->x.tx, n * q->pieces, &idx))
		n = 0;
	for (unsigned i = 0; i < n; i++)
		post(w, q, idx + i * q->pieces);
	xn_raw_push(q, n * q->pieces);
	if (n || done)
		w->own_ticks += xn_ticks() - t0;
	w->packets += n;
	return n + done;
}

/* One frame: its descriptors. */
static void check(struct xn_near *w, const struct xdp_desc *d, unsigned n)
{
	struct xn_guest_piece piece[XN_TX_PIECES_MAX];

	if (n > XN_TX_PIECES_MAX) {
		w->check.foreign++;
		return;
	}
	for (unsigned i = 0; i < n; i++)
		piece[i] = (struct xn_guest_piece){
			xn_raw_at(w, xsk_umem__add_offset_to_addr(d[i].addr)), d[i].len };
	xn_pieces_check(&w->check, piece, n);
}

unsigned xn_raw_large_rx(struct xn_near *w)
{
	struct xn_raw_queue *q = xn_raw_queue_of(w);
	const uint64_t t0 = xn_ticks();
	struct xdp_desc d[4 * XN_TURN];
	unsigned frames = 0, whole = 0, n;
	uint32_t idx;

	n = xsk_ring_cons__peek(&q->x.rx, XN_ARRAY_SIZE(d), &idx);
	for (unsigned i = 0; i < n; i++) {
		d[i] = *xsk_ring_cons__rx_desc(&q->x.rx, idx + i);
		if (d[i].options & XDP_PKT_CONTD)
			continue;
		check(w, d + whole, i + 1 - whole);
		whole = i + 1;
		frames++;
	}
	/* The rest of a frame that was cut here is in the ring, too: frames come whole. */
	xsk_ring_cons__cancel(&q->x.rx, n - whole);
	if (!frames)
		return 0;
	xsk_ring_cons__release(&q->x.rx, whole);
	q->held += whole;
	xn_raw_give_back(q, d, whole);
	w->own_ticks += xn_ticks() - t0;
	w->packets += frames;
	return frames;
}
