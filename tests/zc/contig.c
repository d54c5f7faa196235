/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which neighbouring pages of a UMEM lie side by side for the device, asked of the kernel
 * without a frame on the wire (zc.h).
 *
 * The kernel keeps one bit a page: the next one follows at the next DMA address. With it
 * it refuses TX descriptors, and counts them in tx_invalid_descs, and fill entries, and
 * counts them nowhere (Linux net/xdp/xsk_buff_pool.c, xp_check_dma_contiguity; xsk_queue.h,
 * xp_unaligned_validate_desc). So a descriptor across a border is posted as the first of a
 * packet (XDP_PKT_CONTD) which is wrong in any case, its second being empty: the packet is
 * thrown away whole, and the count says whether one or both were refused.
 *
 * Only where the driver takes packets in batches and has xdp_zc_max_segs 1, or the kernel
 * drains broken packets (Linux 7.2): elsewhere the first piece might be sent.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "tests/zc/zc.h"

#define SIDE       64u            /* bytes of the piece on each side of the border */
#define PATIENCE_US 60000000u     /* a carrier may come and go for a while after a bind */

/* Has the kernel look at both pieces, and throws their completions away: these come behind
 * the ring's index, and who does not wait for them takes them for those of frames. */
static bool taken(struct zc_sock *s)
{
	uint64_t until = zc_now_us() + PATIENCE_US;
	unsigned done = 0;
	uint32_t at;

	while (done < 2 && zc_now_us() < until) {
		unsigned n = (unsigned)xsk_ring_cons__peek(&s->comp, 2, &at);

		(void)sendto(s->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
		if (n)
			xsk_ring_cons__release(&s->comp, n);
		done += n;
	}
	return done == 2 && zc_consumed(&s->tx) == *s->tx.producer;
}

bool zc_contiguous(struct zc_sock *s, uint64_t border)
{
	const struct xdp_desc packet[2] = {
		{ .addr = border - SIDE, .len = 2 * SIDE, .options = XDP_PKT_CONTD },
		{ .addr = border, .len = 0 },
	};
	uint64_t before = zc_tx_invalid(s), refused;

	zc_tx(s, packet, 2);
	if (!taken(s))
		zc_die("the kernel does not take a broken packet");
	refused = zc_tx_invalid(s) - before;
	if (refused != 1 && refused != 2)
		zc_die("a broken packet of two pieces: %llu refused", (unsigned long long)refused);
	return refused == 1;
}
