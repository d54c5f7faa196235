/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Zero-copy mode of real drivers: what may be lent, and when a stop has stopped.
 *
 * In copy mode the kernel copies each frame, so a buffer may lie anywhere. In zero-copy mode
 * the NIC writes it, at DMA addresses that the kernel has noted page by page. For each page
 * of a UMEM it keeps one bit: the next page follows at the next DMA address. A fill entry
 * whose chunk (all of it, not the frame) crosses into a page that does not follow is thrown
 * away silently; a TX descriptor is refused, counted, and completed as if it were sent
 * (Linux net/xdp/xsk_buff_pool.c, xp_check_dma_contiguity, xp_desc_crosses_non_contig_pg).
 *
 * That bit depends on hugepages, on the IOMMU, and on what was mapped before; no rule of
 * geometry foretells it. So it is asked of the kernel, once after each bind and before
 * anything of the guest's is lent: the map below is a copy of the kernel's bits, and a
 * buffer is lent only if its bit allows it.
 *
 *	page    |     0     |     1     |     2     |     3     |
 *	map           1           0           1           ?         1: the next one follows
 *	chunk      |<-------->|                                     lent
 *	chunk                  |<-------->|                         bounced: bit 1 is 0
 *	chunk                               |<---->|                inside a page: lent
 *
 * The shape of a bind - chunk, frame, how far a driver writes - follows from the table of
 * drivers (xsk/drivers.h) and the longest frame of the interface.
 */
#ifndef XN_XSK_ZC_H
#define XN_XSK_ZC_H

#include "umem/mem.h"
#include "xsk/drivers.h"
#include "xsk/xsk.h"

/* What a bind in zero-copy mode asks for, and what a lent buffer has to be like then. */
struct xn_zc_shape {
	const struct xn_zc_driver *driver;
	uint32_t chunk_bytes;     /* 2048 or 4096: the smaller crosses fewer borders */
	uint32_t frame_bytes;     /* what is behind headroom and 256 in a chunk */
	uint32_t whole;           /* longest frame that comes in one piece */
	uint32_t reach;           /* bytes from the landing on that may be written */
	uint32_t front;           /* bytes before the landing that are written */
	uint32_t keep;            /* buffers that stay with the driver: see below; 0: none */
	bool tx_in_page;          /* what is sent must not cross pages: xn_zc_whole_to_send */
};

/*
 * A ring that runs dry. igb (Linux 7.2; igb_xsk.c, igb_alloc_rx_buffers_zc) knows a frame by
 * the length in its descriptor, and forgets to clear that of the descriptor behind the last
 * buffer when the fill ring has not enough for the rest of its ring. A poll that gets there
 * hands out the buffers of the lap before, once more: frames twice, frames that another one
 * is being written over, and soon the kernel's memory is corrupt (oops). No guest may be
 * able to bring that about by posting slowly. So with a driver of keep != 0
 *
 *	posted - taken >= rx_size + keep        rx_size: entries of the RX ring, 64 is enough
 *
 * holds from before the first frame is steered to the socket to its end: a frame is taken
 * from the RX ring only after a buffer was posted in its place, of the guest's or, if it has
 * none, of the engine's own. Whoever is slow lets the RX ring run full; the driver then drops
 * frames and takes their buffers once more, and has `keep` of them at least. (It means to wait
 * instead, but loses the error code on the way: igb_run_xdp_zc. So the RX ring is all that
 * buffers a burst, and each drop is counted as rx_ring_full.)
 */

/*
 * The smallest shape in which frames of an interface of this MTU come whole.
 * -EOPNOTSUPP  driver unknown (NULL) or denied: nothing may be lent; the message says why
 * -EMSGSIZE    no chunk of at most 4096 bytes holds such a frame with this driver
 */
int xn_zc_shape_choose(struct xn_zc_shape *s, const struct xn_zc_driver *d, uint32_t mtu,
		       const char *ifname);

/* The kernel's bits: one for each page of the UMEM. All zero: nothing may cross a border. */
struct xn_zc_map {
	uint64_t *bits;           /* NULL: none was read */
	uint64_t pages;           /* of the UMEM */
	uint64_t following;       /* bits that are set */
	bool read;                /* the kernel was asked, and has answered sensibly */
};

/*
 * Asks the kernel for the bits of all pages of x's UMEM, over the TX ring of x (xsk/zc_map.c
 * tells how). x is bound in zero-copy mode, nothing is posted in its TX ring and nothing
 * waits in its completion ring, and no other socket is bound to its queue. No frame leaves.
 * Takes 0.02 us a page where all follow or none does; an interrupt for 8 pages at worst.
 *   patience_ms  how long to wait for a driver that takes nothing: it may have no carrier
 *                yet (some reset theirs at bind). What is not known after twice as long
 *                is left at 0
 *   release      of the kernel, as uname tells it; NULL: of the running one
 * 0        `read` tells whether it was asked and has answered sensibly; if not (driver that
 *          cannot be asked: xn_zc_map_askable), all bits are zero. The rings are idle again,
 *          their indices have moved on.
 * -EAGAIN  the kernel does not take what was posted: x is of no use any more (xn_zc_close).
 *          All bits are zero. With a message
 * -ENOMEM  with a message
 */
int  xn_zc_map_read(struct xn_zc_map *map, struct xn_xsk *x, uint64_t umem_bytes,
		    const struct xn_zc_driver *d, uint32_t patience_ms, const char *release);
void xn_zc_map_free(struct xn_zc_map *map);

/* Can this driver be asked, in a kernel of this release? */
bool xn_zc_map_askable(const struct xn_zc_driver *d, const char *release);

/* May [at, at + bytes) be lent, 1 <= bytes <= one page? Inside the UMEM; crosses one border
 * at most. */
static inline bool xn_zc_whole_for_device(const struct xn_zc_map *map, uint64_t at, uint32_t bytes)
{
	uint64_t page = at / XN_PAGE_SIZE;

	return (at + bytes - 1) / XN_PAGE_SIZE == page || (map->bits[page / 64] >> page % 64 & 1);
}

/* May it be sent as it lies? */
static inline bool xn_zc_whole_to_send(const struct xn_zc_shape *s, const struct xn_zc_map *map,
				       uint64_t at, uint32_t bytes)
{
	return s->tx_in_page ? at % XN_PAGE_SIZE + bytes <= XN_PAGE_SIZE :
			       xn_zc_whole_for_device(map, at, bytes);
}

/*
 * The end of a bind in zero-copy mode. Closing a socket does not end its DMA: a NIC goes on
 * for some 100 ms until the kernel takes the queue from it, in a work queue. Only a bind of
 * another socket to the same queue proves that it has (xsk/xsk.c). So x is closed, and a
 * socket with memory of its own is bound until that succeeds; then it is closed.
 *   fd   of xn_xsk_socket, is used up; -1: one is opened
 *   ms   how long to try
 * 0          nothing writes to the UMEM any more
 * -ETIMEDOUT the queue was not given back: the memory may still be written. Or -errno, of
 *            whatever made the proof impossible; the same holds then. With a message.
 */
int xn_zc_close(struct xn_xsk *x, unsigned ifindex, unsigned queue, const char *ifname, int fd,
		uint32_t ms);

#endif
