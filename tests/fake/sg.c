/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fake kernel with XDP_USE_SG: a frame that is longer than a chunk takes comes in several
 * pieces (Linux 6.18, net/xdp/xsk.c, __xsk_rcv). Fill entries for all of them, and as many
 * places in the RX ring, or it takes none; the lack of entries is counted as a frame dropped,
 * not as an empty fill ring.
 */
#include <errno.h>
#include <string.h>

#include "tests/fake/ring.h"

int fk_sg_rx(struct fk *k, const uint8_t *frame, uint32_t bytes)
{
	const uint32_t n = (bytes - 1) / k->frame_bytes + 1;
	struct fk_ring *r = fk_rx_ring(k);
	struct xdp_desc *rx = r->entries;

	if (fk_ring_level(&k->fill) + k->n_ahead < n) {
		k->stat.rx_dropped++;
		return -ENOMEM;
	}
	if (fk_ring_room(r) < n) {
		k->stat.rx_ring_full++;
		return -ENOBUFS;
	}
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t part = XN_MIN(bytes, k->frame_bytes);
		uint64_t fill, at;
		bool there = fk_entry_take(k, &fill);

		assert(there && "an invalid fill entry was posted");
		at = fill + k->land;
		assert(!k->may_write || k->may_write(k->arg, at, k->frame_bytes));
		memcpy(k->umem + at, frame, part);
		frame += part;
		bytes -= part;
		rx[r->at++ & r->mask] = (struct xdp_desc){
			.addr = fill | (uint64_t)k->land << XSK_UNALIGNED_BUF_OFFSET_SHIFT,
			.len = part, .options = bytes ? XDP_PKT_CONTD : 0,
		};
	}
	fk_ring_publish(r, &r->producer);   /* xsk_flush: all of them at once */
	k->rx_frames++;
	return 0;
}
