/* SPDX-License-Identifier: BSD-2-Clause */
/* Segmentation. Theory in port/segment.h. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "port/segment.h"

/* Places in headers. */
#define IP4_LENGTH 2u
#define IP4_ID     4u
#define IP4_CSUM   10u
#define IP4_SRC    12u
#define IP6_LENGTH 4u
#define IP6_SRC    8u
#define IP6_BYTES  40u
#define TCP_SEQ    4u
#define TCP_FLAGS  12u   /* the word with data offset and flags */
#define TCP_CSUM   16u
#define UDP_LENGTH 4u
#define UDP_CSUM   6u

#define TCP_FIN 0x01u    /* in the second byte of that word */
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u

#define HEADER_MAX 60u   /* of IPv4 and TCP: 15 words */

/* A word as it lies in memory, and one in it. */
static inline uint16_t word_at(const uint8_t *p)
{
	uint16_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

static inline void put_word(uint8_t *p, uint16_t w)
{
	memcpy(p, &w, sizeof(w));
}

/* Of IP's header without length, identification and checksum. */
static xn_sum sum_ip4(const struct xn_offload *o)
{
	const uint32_t n = o->at.l4_at - o->at.ip_at;
	uint8_t h[HEADER_MAX];

	memcpy(h, o->head + o->at.ip_at, n);
	put_word(h + IP4_LENGTH, 0);
	put_word(h + IP4_ID, 0);
	put_word(h + IP4_CSUM, 0);
	return xn_sum_bytes(h, n);
}

/* Of addresses and protocol: the pseudo-header without its length. */
static xn_sum sum_pseudo(const struct xn_offload *o)
{
	const uint32_t bytes = o->at.version == 4 ? 4 : 16;
	const uint8_t *src = o->head + o->at.ip_at + (o->at.version == 4 ? IP4_SRC : IP6_SRC);
	xn_sum s = xn_sum_add(xn_sum_address(src, bytes),
			      xn_sum_address(o->head + o->at.dst_at, bytes));

	return xn_sum_add16(s, htons(o->at.proto));
}

/* Of TCP's or UDP's header without what differs and without checksum. */
static xn_sum sum_l4(const struct xn_offload *o)
{
	const uint32_t n = o->payload_at - o->at.l4_at;
	uint8_t h[HEADER_MAX];

	memcpy(h, o->head + o->at.l4_at, n);
	if (o->gso == XN_GSO_TCP) {
		memset(h + TCP_SEQ, 0, 4);
		put_word(h + TCP_FLAGS, 0);
		put_word(h + TCP_CSUM, 0);
	} else {
		put_word(h + UDP_LENGTH, 0);
		put_word(h + UDP_CSUM, 0);
	}
	return xn_sum_bytes(h, n);
}

void xn_segs_begin(struct xn_segs *s, const struct xn_offload *o, const uint8_t *base,
		   const struct xn_piece *pieces)
{
	s->o = o;
	s->payload = xn_cursor_at(base, pieces);
	xn_cursor_skip(&s->payload, o->payload_at);
	s->next = 0;
	s->l4_sum = xn_sum_add(sum_pseudo(o), sum_l4(o));
	if (o->at.version == 4) {
		s->ip_sum = sum_ip4(o);
		s->id = xn_be16(o->head + o->at.ip_at + IP4_ID);
	}
	if (o->gso == XN_GSO_TCP)
		s->seq = xn_be32(o->head + o->at.l4_at + TCP_SEQ);
}

static inline void write_ip(const struct xn_segs *s, uint8_t *head, uint32_t frame_bytes)
{
	const struct xn_packet *at = &s->o->at;
	uint8_t *ip = head + at->ip_at;
	uint16_t length, id;

	if (at->version == 6) {
		put_word(ip + IP6_LENGTH, htons((uint16_t)(frame_bytes - at->ip_at - IP6_BYTES)));
		return;
	}
	length = htons((uint16_t)(frame_bytes - at->ip_at));
	id = htons((uint16_t)(s->id + s->next));
	put_word(ip + IP4_LENGTH, length);
	put_word(ip + IP4_ID, id);
	put_word(ip + IP4_CSUM, xn_sum_csum(xn_sum_add(s->ip_sum, XN_SUM((uint32_t)length + id))));
}

/* `sum` is the payload's, which follows the header; both begin at even places. */
static inline void write_tcp(const struct xn_segs *s, uint8_t *head, uint16_t l4_bytes, xn_sum sum)
{
	const struct xn_offload *o = s->o;
	uint8_t *tcp = head + o->at.l4_at;
	const uint32_t seq = htonl(s->seq + s->next * o->gso_size);
	uint8_t off = 0;   /* flags that this segment does not have */
	uint16_t flags;

	if (s->next)
		off |= TCP_CWR;
	if (s->next + 1 < o->segs)
		off |= TCP_FIN | TCP_PSH;
	flags = word_at(o->head + o->at.l4_at + TCP_FLAGS) & (uint16_t)~(off << 8);
	memcpy(tcp + TCP_SEQ, &seq, sizeof(seq));
	put_word(tcp + TCP_FLAGS, flags);
	sum = xn_sum_add(sum, xn_sum_add(s->l4_sum,
					 XN_SUM((uint64_t)seq + flags + htons(l4_bytes))));
	put_word(tcp + TCP_CSUM, xn_sum_csum(sum));
}

static inline void write_udp(const struct xn_segs *s, uint8_t *head, uint16_t l4_bytes, xn_sum sum)
{
	uint8_t *udp = head + s->o->at.l4_at;
	const uint16_t length = htons(l4_bytes);

	put_word(udp + UDP_LENGTH, length);
	/* Twice: it is in the pseudo-header too. */
	sum = xn_sum_add(sum, xn_sum_add(s->l4_sum, XN_SUM(2u * length)));
	put_word(udp + UDP_CSUM, xn_sum_csum_nonzero(sum));
}

/* All headers of the next segment, whose payload has this length and sum. */
static inline uint32_t write_headers(const struct xn_segs *s, uint8_t *head, uint32_t payload,
				     xn_sum sum)
{
	const struct xn_offload *o = s->o;
	const uint32_t bytes = o->payload_at + payload;
	const uint16_t l4_bytes = (uint16_t)(bytes - o->at.l4_at);

	memcpy(head, o->head, o->payload_at);
	write_ip(s, head, bytes);
	if (o->gso == XN_GSO_TCP)
		write_tcp(s, head, l4_bytes, sum);
	else
		write_udp(s, head, l4_bytes, sum);
	return bytes;
}

uint32_t xn_segs_gather(struct xn_segs *s, const struct xn_chunks *to)
{
	const uint32_t payload = xn_seg_payload(s->o, s->next);
	const xn_sum sum = xn_gather_sum(&s->payload, to, s->o->payload_at, payload);
	const uint32_t bytes = write_headers(s, to->at[0], payload, sum);

	s->next++;
	return bytes;
}

void xn_segs_put_headers(struct xn_segs *s, uint8_t *head, xn_sum sum)
{
	write_headers(s, head, xn_seg_payload(s->o, s->next), sum);
	s->next++;
}
