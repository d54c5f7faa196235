/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-net header of a packet that the guest sends (VIRTIO 1.2, 5.1.6.2), checked.
 *
 * What the guest asks for is believed only as far as it harms nobody:
 *
 *   checksum       any range inside the packet, whatever is in there: the guest could
 *                  have written any bytes itself.
 *   segmentation   the headers have to be what gso_type says, since every one of them
 *                  is rewritten in each segment; csum_start and csum_offset have to
 *                  agree with them. hdr_len is a hint, and not looked at (5.1.6.2.1).
 *                  What one packet can cause is bounded: XN_GSO_*_MAX.
 *   flags          unknown ones are ignored, and so is num_buffers (5.1.6.2.2).
 *
 * Nothing here reads guest memory. The caller copies the header, and for segmentation
 * the packet's first bytes, and only these copies are looked at and used later (I5).
 */
#ifndef XN_VIRTIO_OFFLOAD_H
#define XN_VIRTIO_OFFLOAD_H

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "base/faults.h"
#include "base/offload.h"

/* Linux headers before 6.2 do not have these (VIRTIO 1.2, 5.1.3 and 5.1.6). */
#define XN_NET_F_HASH_REPORT 57
#define XN_NET_GSO_UDP_L4    5

/*
 * Most segments of a packet. UDP: as in Linux (UDP_MAX_SEGMENTS, include/linux/udp.h), so
 * that segments may be as short as an application wants. TCP: 64 KiB in the shortest
 * segments that Linux makes, 48 bytes of which 12 are options (TCP_MIN_MSS, include/net/tcp.h).
 */
#define XN_GSO_UDP_SEGS_MAX 128u
#define XN_GSO_TCP_SEGS_MAX XN_OFFLOAD_SEGS_MAX
/* Shortest segments of TCP: Linux's TCP_MIN_GSO_SIZE, 48 bytes less all options. */
#define XN_GSO_TCP_MIN      8u

struct xn_offload_rules {
	uint64_t features;      /* negotiated */
	uint32_t max_frame;     /* longest frame of the port, of which XN_OFFLOAD_TAG_BYTES are for
				   a VLAN tag: frames without one are shorter */
	/* Packets that are to be segmented and fit a frame leave whole, with one checksum: for
	 * links to whose far end large frames are welcome, and that end there, since the size
	 * that the guest's TCP agreed upon is lost. */
	bool     whole;
};
#define XN_OFFLOAD_TAG_BYTES 4u

/* Bytes of the header that goes before each packet, both ways. num_buffers is there with
 * VERSION_1 or MRG_RXBUF, the hash with HASH_REPORT. */
static inline uint32_t xn_net_hdr_bytes(uint64_t features)
{
	if (features & 1ull << XN_NET_F_HASH_REPORT)
		return 20;
	return features & (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_NET_F_MRG_RXBUF) ? 12 : 10;
}

/* How many of a packet's first bytes have to be in o->head for the check. */
static inline uint32_t xn_offload_wants(const struct virtio_net_hdr *h, uint32_t bytes)
{
	return h->gso_type == VIRTIO_NET_HDR_GSO_NONE ? 0 : XN_MIN(bytes, XN_HEAD_BYTES);
}

/*
 * Checks the header of a packet of `bytes` bytes, of which xn_offload_wants are in o->head.
 * XN_OFFLOAD_OK: all else of *o is filled in. Without gso the length of the packet is for
 * the caller to judge, as that of all others: also a packet that was to be segmented and
 * is short enough to be one segment has none.
 */
enum xn_offload_fault xn_offload_check(const struct xn_offload_rules *r,
				       const struct virtio_net_hdr *h, uint32_t bytes,
				       struct xn_offload *o);

#endif
