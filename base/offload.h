/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's packet asks for beyond being sent as it lies: the virtio-net header,
 * checked (virtio/offload.h), as ports carry it out (port/gather.h, port/segment.h).
 * Whoever has one need not doubt any of its numbers.
 *
 *	packet  | Ethernet, IP | TCP or UDP       | payload                          |
 *	        0              csum_start   csum_at      payload_at              bytes
 */
#ifndef XN_BASE_OFFLOAD_H
#define XN_BASE_OFFLOAD_H

#include "base/packet.h"

/* Linux headers before 6.2 do not have it (VIRTIO 1.2, 5.1.3). */
#define XN_NET_F_HOST_USO   56
#define XN_NET_F_GUEST_USO4 54
#define XN_NET_F_GUEST_USO6 55

/* Most segments of a packet (virtio/offload.h says why). */
#define XN_OFFLOAD_SEGS_MAX 2048u

enum xn_gso { XN_GSO_NONE, XN_GSO_TCP, XN_GSO_UDP };

struct xn_offload {
	uint32_t bytes;        /* of the packet, without virtio-net header */
	/* The checksum of [csum_start, bytes), with what is in the field now, goes to the two
	 * bytes at csum_at, which lie in there. With csum: always so with gso. */
	bool     csum;
	bool     whole;        /* was to be cut, and leaves as it is: see xn_offload_rules */
	uint8_t  gso;          /* enum xn_gso: cut into segments */
	uint16_t csum_start;
	uint32_t csum_at;

	/* -- only with gso -- */
	uint16_t gso_size;     /* bytes of payload in each segment but the last */
	uint16_t segs;         /* 2 and more */
	uint16_t payload_at;   /* up to here all headers; at most XN_HEAD_BYTES */
	struct xn_packet at;   /* l4_at is csum_start */
	/* The packet's first bytes, read once: what was checked, and what the segments'
	 * headers are made from, whatever the guest's memory says by then. */
	uint8_t  head[XN_HEAD_BYTES];
};

/* Longest segment, headers included. */
static inline uint32_t xn_offload_seg_bytes(const struct xn_offload *o)
{
	return (uint32_t)o->payload_at + o->gso_size;
}

#endif
