/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP and UDP checksums of frames that arrive. Theory in port/rx_csum.h. */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

#include "port/rx_csum.h"

#define TCP_BYTES 20u
#define TCP_CSUM  16u
#define UDP_BYTES 8u
#define UDP_LENGTH 4u
#define UDP_CSUM  6u
#define IP4_SRC   12u
#define IP6_SRC   8u

#define GRE_BYTES    4u
#define UDP_TUNNEL_BYTES 8u  /* VXLAN (RFC 7348, 5), Geneve without options (RFC 8926, 3.4) */

static uint16_t word_at(const uint8_t *p)
{
	uint16_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

static uint16_t pseudo_of(const struct xn_packet *p, const uint8_t *head)
{
	const uint32_t n = p->version == 4 ? 4 : 16;
	const uint8_t *src = head + p->ip_at + (p->version == 4 ? IP4_SRC : IP6_SRC);
	xn_sum s = xn_sum_add(xn_sum_address(src, n), xn_sum_address(head + p->dst_at, n));

	return xn_sum_fold(xn_sum_add(s, XN_SUM((uint32_t)htons(p->proto) + htons(p->l4_bytes))));
}

/* The field of these headers; may say "none". */
static bool field_of(struct xn_rx_csum *c, const struct xn_packet *p, const uint8_t *head,
		     uint32_t have, uint32_t bytes)
{
	const bool udp = p->proto == IPPROTO_UDP;

	if (!p->version || p->fragment || !p->dst_at || (!udp && p->proto != IPPROTO_TCP) ||
	    p->l4_bytes < (udp ? UDP_BYTES : TCP_BYTES) || (uint32_t)p->l4_at + p->l4_bytes > bytes)
		return false;
	c->start = p->l4_at;
	c->at = (uint16_t)(p->l4_at + (udp ? UDP_CSUM : TCP_CSUM));
	c->end = (uint32_t)p->l4_at + p->l4_bytes;
	if (c->at + 2u > have)
		return false;
	/* UDP has a length of its own, which goes into the sum. */
	if (udp && xn_be16(head + p->l4_at + UDP_LENGTH) != p->l4_bytes)
		return false;
	c->pseudo = pseudo_of(p, head);
	return true;
}

bool xn_rx_csum_find(struct xn_rx_csum *c, const uint8_t *head, uint32_t have, uint32_t bytes)
{
	struct xn_packet p;

	xn_packet_parse(&p, head, have, 0);
	return field_of(c, &p, head, have, bytes) &&
	       (p.proto != IPPROTO_UDP || word_at(head + c->at));
}

/* What lies in a tunnel: an Ethernet frame, or a packet of another type. */
static void parse_inner(struct xn_packet *in, const uint8_t *head, uint32_t have, uint32_t at,
			uint16_t type)
{
	if (type == ETH_P_TEB)
		xn_packet_parse(in, head, have, at);
	else
		xn_packet_parse_ip(in, head, have, at, type);
}

static void parse_udp_tunnel(struct xn_packet *in, const struct xn_packet *out,
			     const uint8_t *head, uint32_t have)
{
	const uint32_t at = out->l4_at + UDP_BYTES;
	uint16_t port;

	if (at + UDP_TUNNEL_BYTES > have)
		return;
	port = xn_be16(head + out->l4_at + 2);
	if (port == XN_VXLAN_PORT)
		parse_inner(in, head, have, at + UDP_TUNNEL_BYTES, ETH_P_TEB);
	else if (port == XN_GENEVE_PORT)
		parse_inner(in, head, have, at + UDP_TUNNEL_BYTES + 4u * (head[at] & 0x3f),
			    xn_be16(head + at + 2));
}

static void parse_gre(struct xn_packet *in, const struct xn_packet *out, const uint8_t *head,
		      uint32_t have)
{
	uint32_t bytes = GRE_BYTES;
	uint8_t flags;

	if (out->l4_at + GRE_BYTES > have)
		return;
	/* Checksum, key and sequence number are there or not (RFC 2784, RFC 2890); other
	 * flags and versions are not read. */
	flags = head[out->l4_at];
	if (flags & 0x4f || head[out->l4_at + 1])
		return;
	bytes += 4u * (!!(flags & 0x80) + !!(flags & 0x20) + !!(flags & 0x10));
	parse_inner(in, head, have, out->l4_at + bytes, xn_be16(head + out->l4_at + 2));
}

static void parse_tunnel(struct xn_packet *in, const struct xn_packet *out, const uint8_t *head,
			 uint32_t have)
{
	*in = (struct xn_packet){ 0 };
	if (!out->version || out->fragment)
		return;
	switch (out->proto) {
	case IPPROTO_UDP:  parse_udp_tunnel(in, out, head, have); break;
	case IPPROTO_GRE:  parse_gre(in, out, head, have); break;
	case IPPROTO_IPIP: parse_inner(in, head, have, out->l4_at, ETH_P_IP); break;
	case IPPROTO_IPV6: parse_inner(in, head, have, out->l4_at, ETH_P_IPV6); break;
	default: break;
	}
}

static bool unfinished(struct xn_rx_csum *c, const struct xn_packet *p, const uint8_t *head,
		       uint32_t have, uint32_t bytes)
{
	return field_of(c, p, head, have, bytes) && word_at(head + c->at) == c->pseudo;
}

unsigned xn_rx_csum_unfinished(struct xn_rx_csum c[2], const uint8_t *head, uint32_t have,
			       uint32_t bytes)
{
	struct xn_packet p, in;
	unsigned n = 0;

	xn_packet_parse(&p, head, have, 0);
	parse_tunnel(&in, &p, head, have);
	if (in.version && unfinished(&c[0], &in, head, have, bytes))
		n++;
	if (unfinished(&c[n], &p, head, have, bytes))
		n++;
	return n;
}

/* Of bytes [start, end) of what lies in n pieces. */
static xn_sum sum_pieces(const struct xn_rx_piece *p, unsigned n, uint32_t start, uint32_t end)
{
	xn_sum s = XN_SUM(0);
	uint32_t at = 0;

	for (const struct xn_rx_piece *const stop = p + n; p < stop && at < end; at += p++->len) {
		const uint32_t from = XN_MAX(start, at), to = XN_MIN(end, at + p->len);

		if (from < to)
			s = xn_sum_add(s, xn_sum_at(xn_sum_bytes(p->at + (from - at), to - from), from - start));
	}
	return s;
}

static void finish_pieces(const struct xn_rx_csum *c, const struct xn_rx_piece *p, unsigned n)
{
	const uint16_t v = xn_rx_csum_finished(sum_pieces(p, n, c->start, c->end));

	memcpy(p->at + c->at, &v, sizeof(v));
}

void xn_rx_csum_finish(const struct xn_rx_csum *c, uint8_t *frame)
{
	finish_pieces(c, &(struct xn_rx_piece){ frame, c->end }, 1);
}

/* ---- each frame ---- */

#define IP6_L4_AT (14u + 40u)

/* Other than IPv4 without options: what is seldom on a wire, or longer to look at. */
bool xn_rx_csum_suspect_other(const uint8_t *frame, uint32_t bytes)
{
	const uint8_t *ip = frame + XN_ETH_HDR;
	uint16_t type;
	uint8_t next;

	if (bytes < XN_RX_CSUM_LEAST)
		return false;
	type = xn_be16(frame + 2 * ETH_ALEN);
	if (type != ETH_P_IPV6 || bytes < IP6_L4_AT)
		/* With tags, or options: the parser has to find out. */
		return type == ETH_P_IP || type == ETH_P_IPV6 || type == ETH_P_8021Q ||
		       type == ETH_P_8021AD;
	next = ip[6];
	if (next == IPPROTO_ICMPV6)
		return false;
	if (next != IPPROTO_TCP && next != IPPROTO_UDP)
		return true;
	return xn_rx_csum_suspect_l4(frame + IP6_L4_AT, bytes - IP6_L4_AT, next == IPPROTO_UDP,
				     xn_sum_fold(xn_sum_address(ip + IP6_SRC, 32)) +
				     (uint64_t)word_at(ip + 4) + htons(next));
}

bool xn_rx_csum_settle(struct xn_rx_csum *c, uint8_t *frame, uint32_t bytes, bool guest_csum,
		       uint64_t *finished)
{
	return xn_rx_csum_settle_pieces(c, &(struct xn_rx_piece){ frame, bytes }, 1, bytes, guest_csum,
					finished);
}

bool xn_rx_csum_settle_pieces(struct xn_rx_csum *c, const struct xn_rx_piece *p, unsigned n_pieces,
			      uint32_t bytes, bool guest_csum, uint64_t *finished)
{
	const uint32_t have = XN_MIN(bytes, XN_HEAD_BYTES);
	uint8_t head[XN_HEAD_BYTES];
	struct xn_rx_csum both[2];
	unsigned n;
	bool hand;

	memcpy(head, p->at, have);
	n = xn_rx_csum_unfinished(both, head, have, bytes);
	if (!n)
		return false;
	*c = both[n - 1];
	hand = guest_csum && c->end == bytes;
	if (n == 2)   /* by chance, in a tunnel */
		finish_pieces(&both[0], p, n_pieces);
	if (!hand)
		finish_pieces(c, p, n_pieces);
	*finished += !hand;
	return hand;
}
