/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio-net header of a packet that the guest sends. Theory in virtio/offload.h. */
#include <netinet/in.h>

#include "virtio/offload.h"

#define TCP_BYTES      20u   /* without options */
#define UDP_BYTES      8u
#define TCP_CSUM       16u   /* place of the checksum in the header */
#define UDP_CSUM       6u
#define IP_LENGTH_MAX  65535u
#define IP6_BYTES      40u   /* which its length does not count */

/* What a kind of segmentation needs. */
struct kind {
	uint64_t feature;
	uint8_t  versions;       /* of IP: bits */
	uint8_t  proto, gso;
	uint16_t csum_offset;
	uint16_t min_size, max_segs;
};

#define BIT(n) (1ull << (n))

static const struct kind *kind_of(uint8_t type)
{
	static const struct kind tcp4 = {
		BIT(VIRTIO_NET_F_HOST_TSO4), 1u << 4, IPPROTO_TCP, XN_GSO_TCP, TCP_CSUM,
		XN_GSO_TCP_MIN, XN_GSO_TCP_SEGS_MAX,
	}, tcp6 = {
		BIT(VIRTIO_NET_F_HOST_TSO6), 1u << 6, IPPROTO_TCP, XN_GSO_TCP, TCP_CSUM,
		XN_GSO_TCP_MIN, XN_GSO_TCP_SEGS_MAX,
	}, udp = {
		BIT(XN_NET_F_HOST_USO), 1u << 4 | 1u << 6, IPPROTO_UDP, XN_GSO_UDP, UDP_CSUM,
		1, XN_GSO_UDP_SEGS_MAX,
	};

	switch (type) {
	case VIRTIO_NET_HDR_GSO_TCPV4: return &tcp4;
	case VIRTIO_NET_HDR_GSO_TCPV6: return &tcp6;
	case XN_NET_GSO_UDP_L4:        return &udp;
	default:                       return NULL;
	}
}

static enum xn_offload_fault check_csum(const struct xn_offload_rules *r,
					const struct virtio_net_hdr *h, uint32_t bytes,
					struct xn_offload *o)
{
	const uint32_t at = (uint32_t)h->csum_start + h->csum_offset;

	if (!(r->features & BIT(VIRTIO_NET_F_CSUM)))
		return XN_OFFLOAD_csum_feature;
	if (at + 2 > bytes)
		return XN_OFFLOAD_csum_range;
	o->csum = true;
	o->csum_start = h->csum_start;
	o->csum_at = at;
	return XN_OFFLOAD_OK;
}

/* Finds the headers in the copy, and where the payload begins. */
static enum xn_offload_fault find_headers(const struct kind *k, uint32_t have, struct xn_offload *o)
{
	uint32_t l4_bytes = UDP_BYTES;

	xn_packet_parse(&o->at, o->head, have, 0);
	if (o->at.fragment)
		return XN_OFFLOAD_gso_fragment;
	if (!(k->versions & 1u << o->at.version) || o->at.proto != k->proto || !o->at.dst_at ||
	    o->at.l4_at != o->csum_start)
		return XN_OFFLOAD_gso_headers;
	if (k->gso == XN_GSO_TCP) {
		if (o->at.l4_at + TCP_BYTES > have)
			return XN_OFFLOAD_gso_headers;
		l4_bytes = 4u * (o->head[o->at.l4_at + 12] >> 4);
		if (l4_bytes < TCP_BYTES)
			return XN_OFFLOAD_gso_headers;
	}
	if (o->at.l4_at + l4_bytes > have)
		return XN_OFFLOAD_gso_headers;
	o->payload_at = (uint16_t)(o->at.l4_at + l4_bytes);
	return XN_OFFLOAD_OK;
}

/* How long is the longest frame, with or without a tag? */
static uint32_t frame_limit(const struct xn_offload_rules *r, const struct xn_offload *o)
{
	return o->at.tagged ? r->max_frame : r->max_frame - XN_OFFLOAD_TAG_BYTES;
}

static enum xn_offload_fault check_gso(const struct xn_offload_rules *r, const struct kind *k,
				       const struct virtio_net_hdr *h, struct xn_offload *o)
{
	enum xn_offload_fault fault = find_headers(k, xn_offload_wants(h, o->bytes), o);
	uint32_t payload, segs;

	if (fault != XN_OFFLOAD_OK)
		return fault;
	if (h->gso_size < k->min_size)
		return XN_OFFLOAD_gso_size;
	payload = o->bytes - o->payload_at;
	if (o->bytes - o->at.ip_at > IP_LENGTH_MAX + (o->at.version == 6 ? IP6_BYTES : 0))
		return XN_OFFLOAD_gso_too_long;
	/* As Linux does (virtio_net_hdr_to_skb): such a packet is none to be segmented. */
	if (payload <= h->gso_size)
		return XN_OFFLOAD_OK;
	o->whole = r->whole && o->bytes <= frame_limit(r, o);
	if (o->whole)
		return XN_OFFLOAD_OK;
	segs = (payload + h->gso_size - 1) / h->gso_size;
	if (segs > k->max_segs)
		return XN_OFFLOAD_gso_segments;
	o->gso = k->gso;
	o->gso_size = h->gso_size;
	o->segs = (uint16_t)segs;
	return xn_offload_seg_bytes(o) > frame_limit(r, o) ? XN_OFFLOAD_gso_too_long :
							     XN_OFFLOAD_OK;
}

enum xn_offload_fault xn_offload_check(const struct xn_offload_rules *r,
				       const struct virtio_net_hdr *h, uint32_t bytes,
				       struct xn_offload *o)
{
	enum xn_offload_fault fault;
	const struct kind *k;
	bool ecn;

	o->bytes = bytes;
	o->csum = o->whole = false;
	o->gso = XN_GSO_NONE;
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		fault = check_csum(r, h, bytes, o);
		if (fault != XN_OFFLOAD_OK)
			return fault;
	}
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return XN_OFFLOAD_OK;
	ecn = h->gso_type & VIRTIO_NET_HDR_GSO_ECN;
	k = kind_of(h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN);
	if (!k || (ecn && k->gso != XN_GSO_TCP))
		return XN_OFFLOAD_gso_type;
	if (!(r->features & k->feature) || (ecn && !(r->features & BIT(VIRTIO_NET_F_HOST_ECN))))
		return XN_OFFLOAD_gso_feature;
	if (!o->csum || h->csum_offset != k->csum_offset)
		return XN_OFFLOAD_gso_csum;
	return check_gso(r, k, h, o);
}
