/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a packet is laid out over descriptors: what of it is lent where it lies, and what is
 * copied into arena frames.
 *
 *	guest's pieces   |54|      8946                    |
 *	descriptors      | copy: 54 + 754 | lent | lent   |      3, 808 bytes copied
 *
 * A descriptor takes a chunk at most, so what is longer takes several of them; and of those
 * that are shorter than a chunk, neighbours may be copied together into one. Both ways cost:
 * a descriptor more, or the copy. Which is dearer differs by mode and driver, so the price of
 * a descriptor is given in bytes of a copy (desc_bytes), and each choice is a comparison:
 *
 *	copy mode        the kernel allocates a page for each further descriptor. Measured (make
 *	                 bench-cost; veth, Linux 6.18): 400 ns for the second, 240 ns for each
 *	                 behind it, and a byte copied 0.04 to 0.06 ns, so 5000 to 9000 bytes.
 *	                 7000, then: what matters is that it is more than a chunk. So a packet
 *	                 leaves in the fewest descriptors that there can be, or nearly, and of
 *	                 those layouts in the one that copies least
 *	zero-copy mode   a descriptor is a few writes to a ring, here and in the driver: 0, where
 *	                 a packet may have several. Nobody has measured it, for want of such a NIC
 *	tx=chain         0: nothing is copied but what has to be
 *	tx=gather        dearer than any copy: the fewest descriptors
 *
 * The walk is from front to back, with one look at each piece: with headers in front of long
 * pieces it finds the cheapest layout nine times in ten, and one that is a tenth dearer at most
 * (tests/unit/test_layout.c tries them all). Where copying all of it is cheaper, or nothing
 * else fits into `max` descriptors, it says so.
 */
#ifndef XN_PORT_LAYOUT_H
#define XN_PORT_LAYOUT_H

#include "port/gather.h"
#include "port/port.h"
#include "xsk/xsk.h"
#include "xsk/zc.h"

#define XN_DESC_BYTES_COPY 7000u          /* see above */
#define XN_DESC_BYTES_ANY  (1u << 20)     /* dearer than any copy */

/*
 * Copy mode: of how many bytes a packet's first descriptor had better be, if there are others
 * anyway. The kernel allocates memory for it with headroom in front and 320 bytes behind it
 * (Linux net/xdp/xsk.c, xsk_build_skb; struct skb_shared_info): 4096 in all come cheaper than
 * more. Measured (veth, Linux 6.18), 64000 bytes in 16: 2 to 4 % less time with 3712 than with
 * 4096 in the first one, but nothing at some offsets in a page; 9000 in 3: 4 %. Headroom is 64 on
 * veth, and 256 at most on most cards.
 */
#define XN_FIRST_BYTES (4096u - 320 - 256)

struct xn_layout_rules {
	uint32_t chunk;                   /* bytes of a descriptor, at most: XN_CHUNK_BYTES, or less */
	uint32_t desc_bytes;              /* what one more costs */
	unsigned max;                     /* descriptors of a packet; at most XN_TX_PIECES_MAX */
	uint32_t first;                   /* of the first one, if that takes no more of them; 0: any */
	bool in_page;                     /* none may cross into another page */
	const struct xn_zc_map *map;      /* ... but into those that follow; NULL: into any */
};

/* One descriptor's share of the packet. */
struct xn_part {
	xn_uoff  at;                      /* lent: where it lies */
	uint32_t len;
	bool     copy;                    /* into an arena frame */
};

struct xn_layout {
	struct xn_part part[XN_TX_PIECES_MAX];
	unsigned n;
	unsigned frames;                  /* parts that are copies */
	uint32_t copied;                  /* bytes, head included */
};

/*
 * Lays out `head` bytes that are to be copied (0: none), and the `bytes` that follow c, which
 * may be lent wherever they lie; one of both at least. The head is in the first part, which is
 * a copy then. False: copying all of it is cheaper, or the only way.
 */
bool xn_layout(struct xn_layout *l, const struct xn_layout_rules *r, struct xn_cursor c,
	       uint32_t bytes, uint32_t head);

/*
 * Copies what is to be copied of the packet from byte `from` on, which is in the first part, to
 * frames[0..l->frames): those of the parts that are copies, in their order. c is at that byte,
 * and at the packet's end then. Returns the sum of all bytes from sum_from on, copied or not;
 * from <= sum_from; nothing is summed where sum_from is not in the packet.
 */
xn_sum xn_layout_fill(const struct xn_layout *l, struct xn_cursor *c, uint8_t *const *frames,
		      uint32_t from, uint32_t sum_from);

#endif
