/* SPDX-License-Identifier: BSD-2-Clause */
/* See packet.h. */
#include <linux/if_ether.h>
#include <netinet/in.h>

#include "base/packet.h"

#define TAG_BYTES   4u
#define IP4_BYTES   20u   /* without options */
#define IP6_BYTES   40u
#define EXT_BYTES   8u    /* of an extension header, at least (RFC 8200, 4.3) */
#define IP6_DST     24u

static void parse_ip4(struct xn_packet *p, const uint8_t *head, uint32_t have, uint32_t at)
{
	uint32_t bytes, total;

	if (at + IP4_BYTES > have || head[at] >> 4 != 4)
		return;
	bytes = 4u * (head[at] & 15u);
	if (bytes < IP4_BYTES || at + bytes > have)
		return;
	total = xn_be16(head + at + 2);
	p->version = 4;
	p->proto = head[at + 9];
	p->fragment = (xn_be16(head + at + 6) & 0x3fff) != 0;   /* offset, more fragments */
	p->ip_at = (uint16_t)at;
	p->l4_at = (uint16_t)(at + bytes);
	p->l4_bytes = (uint16_t)(total > bytes ? total - bytes : 0);
	p->dst_at = (uint16_t)(at + 16);
}

/*
 * With segments left the packet has not reached its destination yet, and its address is
 * in the header: first of the list for segment routing (type 4, RFC 8754), the only one
 * for mobility (type 2, RFC 6275).
 */
static uint16_t final_address(const uint8_t *head, uint32_t at, uint32_t bytes, uint16_t now)
{
	const uint8_t type = head[at + 2], left = head[at + 3];

	if (!left)
		return now;
	return (type == 4 || type == 2) && bytes >= EXT_BYTES + 16 ? (uint16_t)(at + EXT_BYTES) : 0;
}

static void parse_ip6(struct xn_packet *p, const uint8_t *head, uint32_t have, uint32_t ip)
{
	uint32_t at = ip + IP6_BYTES, payload, ext;
	uint16_t dst = (uint16_t)(ip + IP6_DST);
	uint8_t next;

	if (at > have || head[ip] >> 4 != 6)
		return;
	payload = xn_be16(head + ip + 4);
	next = head[ip + 6];
	while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT) {
		uint32_t bytes;

		if (at + EXT_BYTES > have)
			return;
		bytes = next == IPPROTO_FRAGMENT ? EXT_BYTES : EXT_BYTES * (head[at + 1] + 1u);
		if (at + bytes > have)
			return;
		if (next == IPPROTO_ROUTING)
			dst = final_address(head, at, bytes, dst);
		p->fragment |= next == IPPROTO_FRAGMENT;
		next = head[at];
		at += bytes;
	}
	ext = at - ip - IP6_BYTES;
	p->version = 6;
	p->proto = next;
	p->ip_at = (uint16_t)ip;
	p->l4_at = (uint16_t)at;
	p->l4_bytes = (uint16_t)(payload > ext ? payload - ext : 0);
	p->dst_at = dst;
}

void xn_packet_parse_ip(struct xn_packet *p, const uint8_t *head, uint32_t have, uint32_t at,
			uint16_t type)
{
	*p = (struct xn_packet){ 0 };
	if (type == ETH_P_IP)
		parse_ip4(p, head, have, at);
	else if (type == ETH_P_IPV6)
		parse_ip6(p, head, have, at);
}

void xn_packet_parse(struct xn_packet *p, const uint8_t *head, uint32_t have, uint32_t at)
{
	bool tagged = false;
	uint16_t type;

	*p = (struct xn_packet){ 0 };
	for (at += 2 * ETH_ALEN;; at += TAG_BYTES) {
		if (at + 2 > have)
			return;
		type = xn_be16(head + at);
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		tagged = true;
	}
	xn_packet_parse_ip(p, head, have, at + 2, type);
	p->tagged = tagged;
}
