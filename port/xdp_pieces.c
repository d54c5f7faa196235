/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames that come in several pieces (XDP_USE_SG, MTU above what a chunk takes). */
#include "port/xdp_rx.h"

/* How many pieces the frame has; 0: the rest of it has not come yet. */
static uint32_t count_pieces(const struct xsk_ring_cons *rx, uint32_t idx, uint32_t avail)
{
	for (uint32_t k = 1; k <= avail; k++, idx++)
		if (!(xsk_ring_cons__rx_desc(rx, idx)->options & XDP_PKT_CONTD))
			return k;
	return 0;
}

unsigned xn_xdp_take_pieces(struct xn_xdpq *x, const struct xsk_ring_cons *rx, uint32_t idx,
			    uint32_t avail, struct xn_rx_done *done, unsigned max, unsigned *out)
{
	const uint32_t n = count_pieces(rx, idx, avail);

	for (uint32_t i = 0; i < n; i++) {
		const struct xn_lent *l = xn_xdp_entry_of(x, xsk_ring_cons__rx_desc(rx, idx + i));

		if (!l)
			continue;
		if (XN_LENT_KIND(l) != XN_LENT_BOUNCE) {
			xn_xdp_post_again(x);
			continue;
		}
		xn_xdp_take_bounce_frame(x, l->fill);
		x->rx_taken++;
	}
	XN_COUNT(x->q.cfg.ctr, rx_drop_too_long, n != 0);
	return n;
}
