/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments of a TCP connection, datagrams of a UDP flow put together. Theory in engine/gro.h. */
#include <arpa/inet.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "base/csum.h"
#include "engine/gro.h"
#include "virtio/offload.h"

#define IP_AT     14u
#define IP4_BYTES 20u
#define IP6_BYTES 40u
#define TCP_CSUM  16u
#define UDP_CSUM  6u
#define UDP_BYTES 8u
#define L3_MOST   65535u
#define FIRST     (XN_GRO_LEAST / 2)   /* read of a frame at first: all headers of a datagram */

#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_ACK 0x10u
#define TCP_ECE 0x40u
#define TCP_CWR 0x80u
#define LAST_ONLY (TCP_FIN | TCP_PSH)

/* Only here: the entry belongs behind the one that it has joined; next[] says which one belongs
 * behind this one. */
#define JOINED 0x4000u
#define LINKED 0x8000u

/* ---- what a frame is ---- */

/* Of the headers, what has to be equal. */
#define ALL 0xff
#define TCP_MASK (uint8_t)~(LAST_ONLY | TCP_CWR)
static const uint8_t equal4[XN_GRO_LEAST] = {
	[0 ... 15] = ALL,                               /* IPv4: length, identification */
	[20 ... 23] = ALL,                              /* checksum */
	[26 ... 37] = ALL,                              /* TCP: sequence number */
	[42 ... 46] = ALL, [47] = TCP_MASK, [48 ... 49] = ALL,   /* checksum */
	[52 ... XN_GRO_LEAST - 1] = ALL,
};
static const uint8_t equal6[XN_GRO_LEAST] = {
	[0 ... 17] = ALL,                               /* IPv6: length */
	[20 ... 57] = ALL,                              /* the same of TCP */
	[62 ... 66] = ALL, [67] = TCP_MASK, [68 ... 69] = ALL,
	[72 ... XN_GRO_LEAST - 1] = ALL,
};
static const uint8_t equal4_udp[FIRST] = {
	[0 ... 15] = ALL, [20 ... 23] = ALL, [26 ... 37] = ALL,   /* length, checksum */
};
static const uint8_t equal6_udp[FIRST] = {
	[0 ... 17] = ALL, [20 ... 57] = ALL,
};

static inline uint64_t word_at(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

static inline bool is_udp(const struct xn_segment_run *r)
{
	return r->proto == IPPROTO_UDP;
}

static inline uint32_t csum_offset(const struct xn_segment_run *r)
{
	return is_udp(r) ? UDP_CSUM : TCP_CSUM;
}

/* Do all headers say the same, where they should? */
static bool equal_headers(const struct xn_segment_run *a, const struct xn_segment_run *b)
{
	const uint8_t *const mask = is_udp(a) ? a->v6 ? equal6_udp : equal4_udp :
					       a->v6 ? equal6 : equal4;
	const uint32_t n = a->payload_at;
	uint64_t differ = 0;
	uint32_t i;

	if (b->payload_at != n)
		return false;
	for (i = 0; i + 8 <= n; i += 8)
		differ |= (word_at(a->head + i) ^ word_at(b->head + i)) & word_at(mask + i);
	if (n & 7)   /* the last word begins earlier: all heads are longer than 8 bytes */
		differ |= (word_at(a->head + n - 8) ^ word_at(b->head + n - 8)) & word_at(mask + n - 8);
	return !differ;
}

/* Addresses and ports, which lie in a row. */
static bool same_connection(const struct xn_segment_run *a, const struct xn_segment_run *b)
{
	const uint32_t at = b->v6 ? IP_AT + 8 : IP_AT + 12;

	if (a->v6 != b->v6 || a->proto != b->proto || word_at(a->head + at + 4) != word_at(b->head + at + 4))
		return false;
	return !memcmp(a->head + at, b->head + at, b->v6 ? 36 : 12);
}

static bool parse_ip4(struct xn_segment_run *s, uint32_t l3_bytes)
{
	const uint8_t *ip = s->head + IP_AT;
	const uint16_t frag = xn_be16(ip + 6);

	if (xn_be16(ip + 2) != l3_bytes || frag & ~0x4000u ||
	    xn_sum_fold(xn_sum_address(ip, IP4_BYTES)) != 0xffff)
		return false;
	s->proto = ip[9];
	s->df = frag;
	s->id = xn_be16(ip + 4);
	s->l4_at = IP_AT + IP4_BYTES;
	return true;
}

static bool parse_ip6(struct xn_segment_run *s, uint32_t l3_bytes)
{
	const uint8_t *ip = s->head + IP_AT;

	if (ip[0] >> 4 != 6 || xn_be16(ip + 4) + IP6_BYTES != l3_bytes)
		return false;
	s->proto = ip[6];
	s->l4_at = IP_AT + IP6_BYTES;
	return true;
}

static bool parse_tcp(struct xn_segment_run *s, const uint8_t *frame, uint32_t bytes)
{
	const uint8_t *tcp = s->head + s->l4_at;

	if (bytes < XN_GRO_LEAST)
		return false;
	memcpy(s->head + FIRST, frame + FIRST, XN_GRO_LEAST - FIRST);
	s->payload_at = (uint8_t)(s->l4_at + (tcp[12] >> 4) * 4u);
	s->flags = tcp[13];
	if (tcp[12] >> 4 < 5 || s->payload_at > XN_GRO_LEAST || s->payload_at >= bytes ||
	    (s->flags & ~(LAST_ONLY | TCP_ECE | TCP_CWR)) != TCP_ACK)
		return false;
	s->size = (uint16_t)(bytes - s->payload_at);
	s->seq = xn_be32(tcp + 4) + s->size;
	return true;
}

static bool parse_udp(struct xn_segment_run *s, uint32_t bytes)
{
	const uint8_t *udp = s->head + s->l4_at;

	s->payload_at = (uint8_t)(s->l4_at + UDP_BYTES);
	/* Without a checksum it could not be said of the whole that there is none. */
	if (s->payload_at >= bytes || xn_be16(udp + 4) != bytes - s->l4_at || !xn_be16(udp + UDP_CSUM))
		return false;
	s->flags = 0;
	s->size = (uint16_t)(bytes - s->payload_at);
	s->seq = 0;
	return true;
}

/* Can others join this frame, or it others? s: it alone; all but places. */
static bool parse(const struct xn_gro *c, struct xn_segment_run *s, const uint8_t *frame,
		  uint32_t bytes)
{
	uint32_t type;

	/* The guest may write there: all that follows is about this copy. */
	if (XN_LIKELY(bytes >= FIRST)) {
		memcpy(s->head, frame, FIRST);
	} else {
		memset(s->head, 0, FIRST);
		memcpy(s->head, frame, bytes);
	}
	memcpy(&type, s->head + IP_AT - 2, sizeof(type));
	s->v6 = (type & 0xffff) == htons(0x86dd);
	if (s->v6 ? !parse_ip6(s, bytes - IP_AT) :
	    (type & 0xffffff) != 0x450008 || !parse_ip4(s, bytes - IP_AT))
		return false;
	s->l3_bytes = bytes - IP_AT;
	switch (s->proto) {
	case IPPROTO_TCP: return (s->v6 ? c->tcp6 : c->tcp4) && parse_tcp(s, frame, bytes);
	case IPPROTO_UDP: return (s->v6 ? c->udp6 : c->udp4) && parse_udp(s, bytes);
	default:          return false;
	}
}

/* ---- checksums ---- */

/* Addresses, protocol and length of TCP or UDP, as the checksum has them. */
static xn_sum pseudo_sum(const struct xn_segment_run *r, uint32_t l4_bytes)
{
	const uint8_t *ip = r->head + IP_AT;

	return xn_sum_add(r->v6 ? xn_sum_address(ip + 8, 32) : xn_sum_address(ip + 12, 8),
			  XN_SUM((uint32_t)htons(r->proto) + htons((uint16_t)l4_bytes)));
}

/* Is the checksum of this one frame right? `payload` is the sum of its payload. */
static bool is_good(const struct xn_segment_run *s, xn_sum payload)
{
	/* Both headers are of whole words. */
	const xn_sum l4 = xn_sum_add(xn_sum_address(s->head + s->l4_at, s->payload_at - s->l4_at), payload);

	return xn_sum_fold(xn_sum_add(l4, pseudo_sum(s, s->l3_bytes + IP_AT - s->l4_at))) == 0xffff;
}

/* A frame that the port has found unfinished, and all of TCP or UDP as it says. */
static bool unfinished(const struct xn_rx_done *d, const struct xn_segment_run *s)
{
	return d->flags & XN_RX_CSUM && d->csum_start == s->l4_at && d->csum_offset == csum_offset(s);
}

static uint8_t *frame_of(const struct xn_gro *c, const struct xn_rx_done *d)
{
	return (uint8_t *)xn_mem_at(c->mem, d->at) + c->hdr_bytes;
}

/* The first of a run, when another one is about to join it. */
static bool first_is_good(const struct xn_gro *c, struct xn_segment_run *r,
			  const struct xn_rx_done *d)
{
	if (!r->good)
		r->good = unfinished(d, r) ||
			  is_good(r, xn_sum_bytes(frame_of(c, d) + r->payload_at, r->size));
	return r->good;
}

/* ---- joining ---- */

static bool id_follows(const struct xn_segment_run *r, const struct xn_segment_run *s)
{
	const uint16_t ahead = (uint16_t)(s->id - r->id);

	if (r->v6)
		return true;
	if (r->count == 1)
		return ahead == 1 || (ahead == 0 && r->df);
	return ahead == (r->fixed_id ? 0 : r->count);
}

/* s, which is of the same connection. */
static bool follows(const struct xn_segment_run *r, const struct xn_segment_run *s)
{
	return !r->ended && (is_udp(s) ? r->count < XN_GRO_DATAGRAMS : s->seq - s->size == r->seq) &&
	       s->size <= r->size && !(s->flags & TCP_CWR) && r->l3_bytes + s->size <= L3_MOST &&
	       id_follows(r, s) && equal_headers(r, s);
}

/* Copies payload, wherever it goes; with its sum, if somebody wants it. */
static xn_sum copy(uint8_t *to, const uint8_t *from, uint32_t n, bool sum)
{
	if (sum)
		return xn_sum_copy(to, from, n);
	memmove(to, from, n);
	return XN_SUM(0);
}

/* Bytes that are left in the buffer of the entry that a run ends with, behind what is in it. */
static uint8_t *room_behind(const struct xn_gro *c, const struct xn_segment_run *r,
			    const struct xn_rx_done *last, uint32_t *room)
{
	const uint32_t used = last->len + (r->last == r->first ? c->hdr_bytes : 0);
	const uint32_t bytes = c->buf_bytes[last->id];

	*room = bytes > used ? bytes - used : 0;
	return (uint8_t *)xn_mem_at(c->mem, last->at) + used;
}

/*
 * Moves the payload of a frame to behind a run, and what has no room there to where its own buffer
 * begins: *left. (All buffers of a packet but the last are to be full: VIRTIO 1.3, 5.1.6.4.1.) False:
 * its checksum is wrong, and all is as it was. (That second copy goes downwards: what it has not
 * read yet, it has not written either.)
 */
static bool move_payload(const struct xn_gro *c, const struct xn_segment_run *r,
			 const struct xn_segment_run *s, const struct xn_rx_done *done, uint16_t i,
			 uint32_t *left)
{
	uint8_t *const buf = xn_mem_at(c->mem, done[i].at), *const frame = buf + c->hdr_bytes;
	uint8_t *const payload = frame + s->payload_at, *behind;
	const bool check = !unfinished(&done[i], s);
	uint32_t n;
	xn_sum sum;

	behind = room_behind(c, r, &done[r->last], &n);
	n = XN_MIN(n, s->size);
	*left = s->size - n;
	sum = copy(behind, payload, n, check);
	sum = xn_sum_add(sum, xn_sum_at(copy(buf, payload + n, *left, check), n));
	if (!check || XN_LIKELY(is_good(s, sum)))
		return true;
	memmove(payload + n, buf, *left);
	memmove(payload, behind, n);
	memcpy(frame, s->head, s->payload_at);
	return false;
}

/* Nothing is in the buffer of this entry any more. */
static void give_up(struct xn_gro *c, const struct xn_rx_done *d)
{
	c->spares[c->n_spares++] = (struct xn_chain){
		.at = d->at, .bytes = c->buf_bytes[d->id], .head = d->id, .n_pieces = 1, .slots = 1,
	};
	c->entries--;
}

/* s has joined r, and has left so many bytes of payload in its own buffer. */
static void join(struct xn_gro *c, struct xn_segment_run *r, const struct xn_segment_run *s,
		 struct xn_rx_done *done, uint16_t i, uint32_t left)
{
	done[r->last].len += s->size - left;
	done[i].flags = XN_RX_REST | JOINED;
	if (left) {
		done[r->last].flags |= LINKED;
		c->next[r->last] = i;
		done[i].len = left;
		r->last = i;
	} else {
		give_up(c, &done[i]);
	}
	r->fixed_id = r->fixed_id || (r->count == 1 && s->id == r->id);
	r->count++;
	r->seq = s->seq;
	r->l3_bytes += s->size;
	r->flags |= s->flags;
	r->ended = s->flags & LAST_ONLY || s->size < r->size;
	c->joined++;
	c->header_bytes += s->payload_at;
}

/* ---- runs ---- */

/* The IP header of the whole. */
static void write_ip(const struct xn_segment_run *r, uint8_t *ip)
{
	uint8_t ip4[IP4_BYTES];
	uint16_t csum;

	if (r->v6) {
		xn_put_be16(ip + 4, (uint16_t)(r->l3_bytes - IP6_BYTES));
		return;
	}
	memcpy(ip4, r->head + IP_AT, sizeof(ip4));
	xn_put_be16(ip4 + 2, (uint16_t)r->l3_bytes);
	memset(ip4 + 10, 0, 2);
	csum = xn_sum_csum(xn_sum_address(ip4, sizeof(ip4)));
	memcpy(ip4 + 10, &csum, sizeof(csum));
	memcpy(ip, ip4, sizeof(ip4));
}

/* Nothing joins it any more: its first frame's headers say what it is now. */
static void run_end(struct xn_gro *c, const struct xn_segment_run *r, struct xn_rx_done *done)
{
	struct xn_rx_done *d = &done[r->first];
	uint8_t *const frame = frame_of(c, d), *const l4 = frame + r->l4_at;
	const uint32_t l4_bytes = r->l3_bytes + IP_AT - r->l4_at;
	uint16_t csum;

	if (r->count == 1)
		return;
	write_ip(r, frame + IP_AT);
	if (is_udp(r))
		xn_put_be16(l4 + 4, (uint16_t)l4_bytes);
	else
		l4[13] = r->flags;
	csum = xn_sum_fold(pseudo_sum(r, l4_bytes));
	memcpy(l4 + csum_offset(r), &csum, sizeof(csum));
	d->flags |= XN_RX_CSUM | XN_RX_GSO;
	d->csum_start = r->l4_at;
	d->csum_offset = (uint16_t)csum_offset(r);
	d->gso_size = r->size;
	d->gso_type = is_udp(r) ? XN_NET_GSO_UDP_L4 :
		      r->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	if (r->flags & TCP_CWR)
		d->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	d->headers = r->payload_at;
	c->packets++;
}

/* The spare one, which has been parsed, takes this place. */
static void run_begin(struct xn_gro *c, unsigned slot, uint16_t i)
{
	struct xn_segment_run *r = c->spare;

	c->spare = c->open[slot];
	c->open[slot] = r;
	r->first = r->last = i;
	r->count = 1;
	r->good = false;
	r->fixed_id = false;
	r->ended = r->flags & LAST_ONLY || (r->flags & TCP_CWR && !c->ecn);
}

/* May the frame of which so much was read be a datagram of this flow, also if nothing can be done with it?
 * Fragments have no ports, and what is behind IPv6's extension headers is not looked for. */
static bool may_be_of(const struct xn_segment_run *r, const struct xn_segment_run *s)
{
	const uint16_t type = xn_be16(s->head + IP_AT - 2);

	/* With a priority alone (VLAN 0) it goes where those without a tag go. */
	if ((type == 0x8100 || type == 0x88a8) && !(xn_be16(s->head + IP_AT) & 0x0fff))
		return true;
	if (r->v6)
		return type == 0x86dd && s->head[IP_AT + 6] != IPPROTO_TCP &&
		       !memcmp(s->head + IP_AT + 8, r->head + IP_AT + 8, 32);
	return type == 0x0800 && s->head[IP_AT + 9] == IPPROTO_UDP &&
	       !memcmp(s->head + IP_AT + 12, r->head + IP_AT + 12, 8);
}

/* A frame is left alone; s: what it is, if that was looked at. There is no sequence number in datagrams:
 * if it may be one of a flow, those behind it must not overtake it. */
static void leave_alone(struct xn_gro *c, const struct xn_segment_run *s)
{
	if (!c->udp4 && !c->udp6)
		return;
	for (unsigned k = 0; k < c->n_open; k++)
		if (is_udp(c->open[k]) && (!s || may_be_of(c->open[k], s)))
			c->open[k]->ended = true;
}

static void take_frame(struct xn_gro *c, struct xn_rx_done *done, uint16_t i)
{
	struct xn_segment_run *s = c->spare, *r;
	uint32_t left;
	unsigned k;

	if (!parse(c, s, frame_of(c, &done[i]), done[i].len)) {
		leave_alone(c, s);
		return;
	}
	for (k = 0; k < c->n_open && !same_connection(c->open[k], s); k++)
		;
	if (k < c->n_open) {
		r = c->open[k];
		if (follows(r, s) && first_is_good(c, r, &done[r->first])) {
			if (move_payload(c, r, s, done, i, &left))
				join(c, r, s, done, i, left);
			else
				r->ended = true;   /* later ones must not overtake it */
			return;
		}
		run_end(c, r, done);
	} else if (c->n_open < XN_GRO_RUNS) {
		c->n_open++;
	} else {
		k = c->evict++ % XN_GRO_RUNS;
		run_end(c, c->open[k], done);
	}
	run_begin(c, k, i);
}

/* The entries of one packet in a row, packets in the order of their first frames. */
static struct xn_rx_done *sort(struct xn_gro *c, const struct xn_rx_done *done, unsigned n)
{
	struct xn_rx_done *out = c->out;

	for (unsigned i = 0; i < n; i++) {
		unsigned k = i;

		if (done[i].flags & JOINED)
			continue;
		for (;; k = c->next[k], out++) {
			*out = done[k];
			out->flags &= (uint16_t)~(JOINED | LINKED);
			if (!(done[k].flags & LINKED))
				break;
			out->flags |= XN_RX_MORE;
		}
		out++;
	}
	return c->out;
}

/* A frame that was copied to a buffer of one piece lies there as if that had been lent. */
static void look_up(const struct xn_gro *c, struct xn_rx_done *d)
{
	if ((d->flags & (XN_RX_NOTED | XN_RX_MORE)) != XN_RX_NOTED || !c->buf_bytes[d->id])
		return;
	d->at = c->bufs[d->id].at;
	d->flags &= (uint16_t)~XN_RX_NOTED;
}

struct xn_rx_done *xn_gro_batch(struct xn_gro *c, struct xn_rx_done *done, unsigned n)
{
	const uint32_t least = c->udp4 || c->udp6 ? IP_AT : XN_GRO_LEAST;
	bool goes_on = false;   /* from the entry before */

	c->n_open = 0;
	c->joined = c->packets = c->header_bytes = 0;
	c->entries = n;
	for (unsigned i = 0; i < n; i++) {
		struct xn_rx_done *d = &done[i];

		if (!goes_on && d->len >= least) {
			look_up(c, d);
			if (!(d->flags & ~XN_RX_CSUM)) {
				take_frame(c, done, (uint16_t)i);
				continue;
			}
			leave_alone(c, NULL);
		}
		goes_on = d->flags & XN_RX_MORE;
	}
	if (!c->joined)
		return done;
	for (unsigned k = 0; k < c->n_open; k++)
		run_end(c, c->open[k], done);
	return sort(c, done, n);
}

/* ---- life ---- */

struct xn_gro *xn_gro_create(const struct xn_mem *mem, const struct xn_rx_buf *bufs,
			     uint32_t hdr_bytes, uint32_t heads, uint32_t max_done)
{
	struct xn_gro *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->mem = mem;
	c->bufs = bufs;
	c->hdr_bytes = hdr_bytes;
	for (unsigned i = 0; i < XN_GRO_RUNS; i++)
		c->open[i] = &c->runs[i];
	c->spare = &c->runs[XN_GRO_RUNS];
	c->next = calloc(max_done, sizeof(*c->next));
	c->out = calloc(max_done, sizeof(*c->out));
	c->spares = calloc(heads, sizeof(*c->spares));
	c->buf_bytes = calloc(heads, sizeof(*c->buf_bytes));
	if (c->next && c->out && c->spares && c->buf_bytes)
		return c;
	xn_gro_destroy(c);
	return NULL;
}

void xn_gro_destroy(struct xn_gro *c)
{
	if (!c)
		return;
	free(c->next);
	free(c->out);
	free(c->spares);
	free(c->buf_bytes);
	free(c);
}
