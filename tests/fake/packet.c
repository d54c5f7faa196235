/* SPDX-License-Identifier: BSD-2-Clause */
/* See packet.h. Written to be read, not to be fast. */
#include <assert.h>
#include <string.h>

#include "tests/fake/packet.h"

#define EXT_HOP    1u
#define EXT_DST    2u
#define EXT_ROUTED 4u
#define EXT_ROUTE  8u

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8 & 0xff);
	p[1] = (uint8_t)(v & 0xff);
}

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] * 256 + p[1];
}

static void fill(uint8_t *p, uint32_t n, uint32_t *state)
{
	for (uint32_t i = 0; i < n; i++)
		p[i] = (uint8_t)(pkt_random(state) >> 11);
}

/* ---- sums ---- */

uint16_t pkt_sum(const uint8_t *p, uint32_t bytes)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < bytes; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] * 256;
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return (uint16_t)sum;
}

uint16_t pkt_sum_l4(const uint8_t *ip, const uint8_t *dst, uint8_t proto, const uint8_t *l4,
		    uint32_t bytes)
{
	const uint32_t n = ip[0] / 16 == 4 ? 4 : 16;
	uint8_t all[40 + PKT_MAX], *p = all;

	memset(all, 0, 40);
	memcpy(p, n == 4 ? ip + 12 : ip + 8, n);
	memcpy(p + n, dst, n);
	p += 2 * n;
	put16(p, bytes >> 16);
	put16(p + 2, bytes & 0xffff);
	p[7] = proto;
	p += 8;
	if (bytes && l4)
		memcpy(p, l4, bytes);
	return pkt_sum(all, (uint32_t)(p - all) + (l4 ? bytes : 0));
}

/* ---- a legal packet ---- */

void pkt_spec_random(struct pkt_spec *s, uint32_t *state, uint32_t max_payload)
{
	memset(s, 0, sizeof(*s));
	s->version = pkt_random(state) & 1 ? 4 : 6;
	s->udp = pkt_random(state) % 3 == 0;
	s->tags = pkt_random(state) % 4 == 0 ? 1 + pkt_random(state) % 2 : 0;
	if (s->version == 4 && pkt_random(state) % 3 == 0)
		s->ip4_options = (uint8_t)(pkt_random(state) % 11);
	if (s->version == 6 && pkt_random(state) % 3 == 0)
		s->ip6_ext = pkt_random(state) & 15;
	s->tcp_options = (uint8_t)(pkt_random(state) % 11);
	s->tcp_flags = (uint8_t)pkt_random(state);
	s->payload = pkt_random(state) % (max_payload + 1);
	s->gso_size = (uint16_t)(pkt_random(state) % 3 ? 500 + pkt_random(state) % 1000 :
							  8 + pkt_random(state) % 500);
	s->seed = pkt_random(state);
}

/* Extension header of this many bytes at p; returns what follows it. */
static uint8_t *put_ext(uint8_t *p, uint8_t **next, uint8_t kind, uint32_t bytes, uint32_t *state)
{
	fill(p, bytes, state);
	**next = kind;
	*next = p;
	p[1] = (uint8_t)(bytes / 8 - 1);
	return p + bytes;
}

static uint8_t *put_ip6(uint8_t *p, const struct pkt_spec *s, uint32_t *state)
{
	uint8_t *next = p + 6, *q = p + 40;

	fill(p, 40, state);
	p[0] = (uint8_t)(0x60 | (p[0] & 15));
	if (s->ip6_ext & EXT_HOP)
		q = put_ext(q, &next, 0, 8, state);
	if (s->ip6_ext & EXT_DST)
		q = put_ext(q, &next, 60, 24, state);
	if (s->ip6_ext & (EXT_ROUTED | EXT_ROUTE)) {
		uint8_t *r = q;

		q = put_ext(q, &next, 43, 40, state);
		r[2] = 4;
		r[3] = s->ip6_ext & EXT_ROUTE ? 1 : 0;
	}
	*next = s->udp ? 17 : 6;
	return q;
}

static uint8_t *put_ip4(uint8_t *p, const struct pkt_spec *s, uint32_t *state)
{
	const uint32_t n = 20 + 4u * s->ip4_options;

	fill(p, n, state);
	memset(p + 20, 1, n - 20);            /* options: no operation */
	p[0] = (uint8_t)(0x40 | n / 4);
	put16(p + 6, pkt_random(state) & 1 ? 0x4000 : 0);
	p[9] = s->udp ? 17 : 6;
	return p + n;
}

uint32_t pkt_dst_at(const struct pkt *p, const struct pkt_spec *s)
{
	if (s->version == 4)
		return p->ip_at + 16;
	/* The routing header is the last: of 40 bytes, with its list behind the first 8. */
	return s->ip6_ext & EXT_ROUTE ? p->l4_at - 32 : p->ip_at + 24;
}

static uint8_t *put_l4(uint8_t *p, const struct pkt_spec *s, uint32_t *state)
{
	const uint32_t n = s->udp ? 8 : 20 + 4u * s->tcp_options;

	fill(p, n, state);
	if (s->udp) {
		put16(p + 4, 8 + s->payload);
	} else {
		memset(p + 20, 1, n - 20);
		p[12] = (uint8_t)(n / 4 * 16);
		p[13] = s->tcp_flags;
	}
	return p + n;
}

void pkt_build(struct pkt *p, const struct pkt_spec *s)
{
	uint32_t state = s->seed | 1;
	uint8_t *q = p->data, *field;

	fill(q, 12, &state);
	q += 12;
	for (unsigned i = 0; i < s->tags; i++, q += 4) {
		put16(q, s->tags == 2 && !i ? 0x88a8 : 0x8100);
		put16(q + 2, (pkt_random(&state) & 0xe000) | (1 + i));
	}
	put16(q, s->version == 4 ? 0x0800 : 0x86dd);
	q += 2;
	p->ip_at = (uint32_t)(q - p->data);
	q = s->version == 4 ? put_ip4(q, s, &state) : put_ip6(q, s, &state);
	p->l4_at = (uint32_t)(q - p->data);
	q = put_l4(q, s, &state);
	p->payload_at = (uint32_t)(q - p->data);
	assert(p->payload_at + s->payload <= PKT_MAX);
	fill(q, s->payload, &state);
	p->bytes = p->payload_at + s->payload;

	q = p->data + p->ip_at;
	put16(q + (s->version == 4 ? 2 : 4),
	      s->version == 4 ? p->bytes - p->ip_at : p->bytes - p->ip_at - 40);
	if (s->version == 4) {
		put16(q + 10, 0);
		put16(q + 10, 0xffff - pkt_sum(q, p->l4_at - p->ip_at));
	}
	field = p->data + p->l4_at + (s->udp ? 6 : 16);
	put16(field, pkt_sum_l4(q, p->data + pkt_dst_at(p, s), s->udp ? 17 : 6, NULL,
				p->bytes - p->l4_at));
	p->hdr = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = (uint16_t)p->l4_at, .csum_offset = s->udp ? 6 : 16,
	};
	if (s->gso_size) {
		p->hdr.gso_size = s->gso_size;
		p->hdr.hdr_len = (uint16_t)p->payload_at;
		p->hdr.gso_type = s->udp ? PKT_GSO_UDP :
			s->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	}
}

/* ---- a segment ---- */

uint32_t pkt_segment(const uint8_t *data, uint32_t bytes, uint32_t ip_at, uint32_t l4_at,
		     uint32_t dst_at, bool udp, uint32_t gso_size, uint32_t i, uint8_t *out)
{
	const uint32_t payload_at = l4_at + (udp ? 8 : data[l4_at + 12] / 16 * 4);
	const uint32_t from = payload_at + i * gso_size;
	const bool last = bytes - from <= gso_size;
	const uint32_t payload = last ? bytes - from : gso_size, n = payload_at + payload;
	uint8_t *ip = out + ip_at, *l4 = out + l4_at;
	uint32_t sum;

	memcpy(out, data, payload_at);
	memcpy(out + payload_at, data + from, payload);
	if (ip[0] / 16 == 4) {
		put16(ip + 2, n - ip_at);
		put16(ip + 4, get16(ip + 4) + i);
		put16(ip + 10, 0);
		put16(ip + 10, 0xffff - pkt_sum(ip, l4_at - ip_at));
	} else {
		put16(ip + 4, n - ip_at - 40);
	}
	if (udp) {
		put16(l4 + 4, n - l4_at);
		put16(l4 + 6, 0);
		sum = 0xffff - pkt_sum_l4(ip, out + dst_at, 17, l4, n - l4_at);
		put16(l4 + 6, sum ? sum : 0xffff);
		return n;
	}
	/* The sequence number, byte after byte, with carry. */
	sum = i * gso_size;
	for (int k = 7; k >= 4; k--) {
		const uint64_t v = (uint64_t)l4[k] + sum;

		l4[k] = (uint8_t)v;
		sum = (uint32_t)(v >> 8);
	}
	if (!last)
		l4[13] &= 0xff - 1 - 8;
	if (i)
		l4[13] &= 0xff - 128;
	put16(l4 + 16, 0);
	put16(l4 + 16, 0xffff - pkt_sum_l4(ip, out + dst_at, 6, l4, n - l4_at));
	return n;
}

void pkt_make_zero(struct pkt *p, const struct pkt_spec *s)
{
	static uint8_t out[PKT_MAX];
	uint8_t *word = p->data + p->payload_at, *field = out + p->l4_at + (s->udp ? 6 : 16);
	const uint32_t size = s->gso_size ? s->gso_size : PKT_MAX;

	/* Without it the checksum is as much as is missing. */
	put16(word, 0);
	pkt_segment(p->data, p->bytes, p->ip_at, p->l4_at, pkt_dst_at(p, s), s->udp, size, 0, out);
	put16(word, get16(field));
}
