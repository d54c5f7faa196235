/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-net header (VIRTIO 1.2, 5.1.6), VERSION_1 layout: 12 bytes, with
 * num_buffers also where MRG_RXBUF was not negotiated (then it is 1). With HASH_REPORT
 * negotiated 8 bytes more, in both directions; of those that the driver writes the device makes
 * nothing (VIRTIO 1.3, 5.1.6.2).
 */
#ifndef XN_VIRTIO_NET_H
#define XN_VIRTIO_NET_H

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "base/types.h"

#define XN_NET_HDR_BYTES 12u
_Static_assert(sizeof(struct virtio_net_hdr_v1) == XN_NET_HDR_BYTES, "VERSION_1 header");
/* Drivers from before virtio 1.0, without MRG_RXBUF, have none of num_buffers. It is what the others
 * begin with. */
#define XN_NET_HDR_LEGACY_BYTES 10u
_Static_assert(sizeof(struct virtio_net_hdr) == XN_NET_HDR_LEGACY_BYTES, "legacy header");
#define XN_NET_HDR_HASH_BYTES 20u
_Static_assert(sizeof(struct virtio_net_hdr_v1_hash) == XN_NET_HDR_HASH_BYTES, "HASH_REPORT");
#define XN_NET_HDR_MAX XN_NET_HDR_HASH_BYTES

/*
 * May this packet leave as it lies? Without CSUM and HOST_TSO/UFO/USO negotiated
 * the driver must not ask for a checksum or for segmentation (5.1.6.2.1);
 * unknown flag bits and num_buffers are ignored (5.1.6.2.2). One 16-bit load.
 */
static inline bool xn_net_hdr_plain(const void *g_hdr)
{
	uint16_t v;  /* flags in the low byte, gso_type in the high one */

	__builtin_memcpy(&v, g_hdr, sizeof(v));
	return !(v & (0xff00u | VIRTIO_NET_HDR_F_NEEDS_CSUM));
}

/* Writes a header without offloads for a frame in `buffers` receive buffers. */
static inline void xn_net_hdr_write(void *g_hdr, uint16_t buffers)
{
	const uint64_t none = 0;
	const uint32_t tail = (uint32_t)buffers << 16;  /* csum_offset, num_buffers */

	__builtin_memcpy(g_hdr, &none, sizeof(none));
	__builtin_memcpy((char *)g_hdr + 8, &tail, sizeof(tail));
}

static inline void xn_net_hdr_write_legacy(void *g_hdr)
{
	__builtin_memset(g_hdr, 0, XN_NET_HDR_LEGACY_BYTES);
}

/* The same for a frame whose checksum is unfinished: it begins at `start`, and belongs
 * `offset` behind that (5.1.6.4.1). The driver has to have accepted GUEST_CSUM. */
static inline void xn_net_hdr_write_csum(void *g_hdr, uint16_t buffers, uint16_t start,
					 uint16_t offset)
{
	const struct virtio_net_hdr_v1 h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = start, .csum_offset = offset,
		.num_buffers = buffers,
	};

	__builtin_memcpy(g_hdr, &h, sizeof(h));
}

/* The same of a packet that was made of segments of `size` bytes of payload; GUEST_TSO4 or _TSO6,
 * and with VIRTIO_NET_HDR_GSO_ECN in `type` GUEST_ECN. `headers`: of the packet's own, bytes. */
static inline void xn_net_hdr_write_gso(void *g_hdr, uint16_t buffers, uint16_t start, uint16_t offset,
					uint8_t type, uint16_t size, uint16_t headers)
{
	const struct virtio_net_hdr_v1 h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = start, .csum_offset = offset,
		.gso_type = type, .gso_size = size, .hdr_len = headers, .num_buffers = buffers,
	};

	__builtin_memcpy(g_hdr, &h, sizeof(h));
}

/* What follows it with HASH_REPORT. */
static inline void xn_net_hdr_write_hash(void *g_hdr, uint32_t hash, uint16_t report)
{
	const uint32_t tail = report;   /* and 2 bytes of padding */

	__builtin_memcpy((char *)g_hdr + XN_NET_HDR_BYTES, &hash, sizeof(hash));
	__builtin_memcpy((char *)g_hdr + XN_NET_HDR_BYTES + 4, &tail, sizeof(tail));
}

#endif
