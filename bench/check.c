/* SPDX-License-Identifier: BSD-2-Clause */
/* Test frames in user space: writing and judging them. Theory in judge.h. */
#include <arpa/inet.h>
#include <assert.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <string.h>

#include "bench/lab.h"

#define IP_AT  14u
#define UDP_AT (IP_AT + 20u)

/* The network for benchmarks (RFC 2544, appendix C.2.2) and the discard port (RFC 863). */
#define SRC_ADDR 0xc6120001u   /* 198.18.0.1 */
#define DST_ADDR 0xc6120002u
#define PORT     9u

_Static_assert(UDP_AT + sizeof(struct udphdr) == XN_STAMP_AT, "stamp follows UDP");

void xn_check_reset(struct xn_check *c, uint32_t stream, uint32_t bytes)
{
	memset(c, 0, sizeof(*c));
	c->stream = stream;
	c->bytes = bytes;
}

void xn_check_frame(struct xn_check *c, const void *frame, uint32_t bytes)
{
	const struct xn_stamp *stamp = (const void *)((const uint8_t *)frame + XN_STAMP_AT);
	uint32_t tail;

	if (__builtin_expect(bytes < XN_FRAME_MIN, 0)) {
		c->foreign++;
		return;
	}
	memcpy(&tail, (const uint8_t *)frame + bytes - sizeof(tail), sizeof(tail));
	xn_check_stamp(c, stamp, tail, bytes);
}

/* RFC 1071, over an IPv4 header without options whose checksum field is 0. */
static uint16_t ip_checksum(const struct iphdr *ip)
{
	uint16_t words[10];
	uint32_t sum = 0;

	memcpy(words, ip, sizeof(words));
	for (unsigned i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return (uint16_t)~sum;
}

void xn_frame_build(void *frame, uint32_t bytes, const uint8_t dst[6], const uint8_t src[6],
		    uint32_t stream, uint64_t seq)
{
	struct ethhdr eth = { .h_proto = htons(ETH_P_IP) };
	struct iphdr ip = {
		.version = 4, .ihl = 5, .ttl = 64, .protocol = 17, .frag_off = htons(0x4000),
		.tot_len = htons((uint16_t)(bytes - IP_AT)),
		.saddr = htonl(SRC_ADDR), .daddr = htonl(DST_ADDR),
	};
	/* No UDP checksum (RFC 768 allows that over IPv4): it would change with each stamp. */
	struct udphdr udp = {
		.source = htons(PORT), .dest = htons(PORT), .len = htons((uint16_t)(bytes - UDP_AT)),
	};
	uint8_t *p = frame;

	assert(bytes >= XN_FRAME_MIN && bytes <= UINT16_MAX + IP_AT);
	memcpy(eth.h_dest, dst, 6);
	memcpy(eth.h_source, src, 6);
	ip.check = ip_checksum(&ip);
	memcpy(p, &eth, sizeof(eth));
	memcpy(p + IP_AT, &ip, sizeof(ip));
	memcpy(p + UDP_AT, &udp, sizeof(udp));
	for (uint32_t i = XN_STAMP_AT; i < bytes; i++)
		p[i] = (uint8_t)i;
	xn_frame_stamp(frame, bytes, stream, seq);
}

void xn_frame_set_port(void *frame, uint16_t port)
{
	const uint16_t source = htons(port);

	memcpy((uint8_t *)frame + UDP_AT, &source, sizeof(source));
}

void xn_frame_stamp(void *frame, uint32_t bytes, uint32_t stream, uint64_t seq)
{
	struct xn_stamp stamp = { stream, seq, xn_stamp_check(stream, seq, bytes) };
	uint32_t tail = ~stamp.check;

	memcpy((uint8_t *)frame + XN_STAMP_AT, &stamp, sizeof(stamp));
	memcpy((uint8_t *)frame + bytes - sizeof(tail), &tail, sizeof(tail));
}
