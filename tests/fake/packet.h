/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packets as guests send them, and what has to become of them: a builder of legal
 * packets, and a segmenter that is slow and obvious. Neither knows anything of the
 * engine's own: they share not a line with base/packet.c, base/csum.c and port/segment.c.
 */
#ifndef XN_TESTS_FAKE_PACKET_H
#define XN_TESTS_FAKE_PACKET_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#define PKT_MAX       (65536u + 256u)
#define PKT_GSO_UDP   5u      /* VIRTIO_NET_HDR_GSO_UDP_L4 */

struct pkt_spec {
	uint8_t  version;         /* 4 or 6 */
	bool     udp;             /* else TCP */
	uint8_t  tags;            /* VLAN tags: 0..2 */
	uint8_t  ip4_options;     /* words: 0..10 */
	uint8_t  ip6_ext;         /* bits: hop-by-hop, destination options, routing (done),
				     routing of type 4 with a segment left */
	uint8_t  tcp_options;     /* words: 0..10 */
	uint8_t  tcp_flags;       /* FIN 1, PSH 8, ACK 16, CWR 128 */
	uint32_t payload;         /* bytes */
	uint16_t gso_size;        /* 0: none */
	uint32_t seed;            /* of addresses, numbers and payload */
};

struct pkt {
	struct virtio_net_hdr hdr;    /* asks for checksum, and for segmentation with gso_size */
	uint32_t bytes;
	uint32_t ip_at, l4_at, payload_at;
	uint8_t  data[PKT_MAX];       /* its checksum field is as a guest leaves it */
};

/* Numbers that look like chance, the same each time. */
static inline uint32_t pkt_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* A legal packet by chance, of up to so many bytes of payload. */
void pkt_spec_random(struct pkt_spec *s, uint32_t *state, uint32_t max_payload);
void pkt_build(struct pkt *p, const struct pkt_spec *s);

/* The Internet checksum, byte after byte, in host order: the complement is not taken. */
uint16_t pkt_sum(const uint8_t *p, uint32_t bytes);
/* The same with the pseudo-header of an IP packet in front; dst: final destination. */
uint16_t pkt_sum_l4(const uint8_t *ip, const uint8_t *dst, uint8_t proto, const uint8_t *l4,
		    uint32_t bytes);

/* Segment i of n of a packet, as it has to be on the wire. Returns its length. `dst`: where
 * the final destination's address lies in it. */
uint32_t pkt_segment(const uint8_t *data, uint32_t bytes, uint32_t ip_at, uint32_t l4_at,
		     uint32_t dst_at, bool udp, uint32_t gso_size, uint32_t i, uint8_t *out);
/* Changes the payload's first two bytes so that the checksum of its first segment (of the whole,
 * without gso_size) is zero, which protocols write in different ways. Payload of 2 and more. */
void pkt_make_zero(struct pkt *p, const struct pkt_spec *s);
/* Where the final destination's address lies in a packet that pkt_build made. */
uint32_t pkt_dst_at(const struct pkt *p, const struct pkt_spec *s);

#endif
