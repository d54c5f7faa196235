/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the headers of a frame are: Ethernet, VLAN tags, IPv4 with options or IPv6 with
 * extension headers, and what they carry. Tells places and the few facts that checksums
 * depend on, and judges nothing: frames come from guests and from networks, and may be
 * anything.
 *
 * It is given the first bytes of the frame, in memory that nobody else can change, and
 * believes no length beyond them.
 */
#ifndef XN_BASE_PACKET_H
#define XN_BASE_PACKET_H

#include "base/types.h"

/* As many first bytes of a frame as are ever looked at: two tags, the longest IPv4 and TCP
 * headers take 142; for IPv6 it leaves 134 bytes of extension headers. */
#define XN_HEAD_BYTES 256u

struct xn_packet {
	uint8_t  version;     /* of IP, 4 or 6; 0: the headers are not IP's, or not whole */
	uint8_t  proto;       /* IPPROTO_ of what is at l4_at */
	bool     tagged;      /* with a VLAN tag, or more; told of every frame */
	bool     fragment;    /* one of several, or with a fragment header */
	uint16_t ip_at;
	uint16_t l4_at;       /* behind IP's own headers; at most as many bytes as there were */
	uint16_t l4_bytes;    /* as IP's length says, which may be wrong; 0: less than nothing */
	uint16_t dst_at;      /* final destination: what a pseudo-header has (RFC 8200, 8.1);
				 0: in a routing header of an unknown kind */
};

/* An Ethernet frame that begins at head + at, of which there is what lies in head[0..have),
 * have <= XN_HEAD_BYTES. Fills all of *p; places are counted from head. */
void xn_packet_parse(struct xn_packet *p, const uint8_t *head, uint32_t have, uint32_t at);
/* The same of an IP packet, of this Ethernet type. */
void xn_packet_parse_ip(struct xn_packet *p, const uint8_t *head, uint32_t have, uint32_t at,
			uint16_t type);

/* Numbers in network byte order, anywhere. */
static inline uint16_t xn_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t xn_be32(const uint8_t *p)
{
	return (uint32_t)xn_be16(p) << 16 | xn_be16(p + 2);
}

static inline void xn_put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void xn_put_be32(uint8_t *p, uint32_t v)
{
	xn_put_be16(p, (uint16_t)(v >> 16));
	xn_put_be16(p + 2, (uint16_t)v);
}

#endif
