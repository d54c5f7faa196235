/* SPDX-License-Identifier: BSD-2-Clause */
/* See segments.h. Written to be read, not to be fast. */
#include <string.h>

#include "tests/fake/packet.h"
#include "tests/fake/segments.h"

#define FIN 1u
#define PSH 8u
#define ACK 16u
#define ECE 64u
#define CWR 128u
#define CANARY 0xa5u
#define TCP 6u
#define UDP 17u

/* ---- dice ---- */

uint32_t seg_roll_random(struct seg_dice *d, uint32_t n)
{
	return (pkt_random(&d->state) >> 7) % n;
}

uint32_t seg_roll_bytes(struct seg_dice *d, uint32_t n)
{
	uint32_t v = 0;

	for (uint32_t k = n - 1; k; k >>= 8)
		v = v << 8 | (d->at < d->end ? *d->at++ : 0);
	return v % n;
}

static bool once_in(struct seg_dice *d, uint32_t n)
{
	return d->roll(d, n) == n - 1;
}

/* ---- numbers in frames ---- */

static uint32_t get(const uint8_t *p, unsigned n)
{
	uint32_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

static void put(uint8_t *p, uint32_t v, unsigned n)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

static bool is6(const struct seg_frame *f) { return get(f->bytes + 12, 2) == 0x86dd; }
static uint32_t l4_of(const struct seg_frame *f) { return is6(f) ? 54 : 34; }
static uint8_t proto_of(const struct seg_frame *f) { return f->bytes[is6(f) ? 20 : 23]; }
static uint32_t csum_of(const struct seg_frame *f) { return proto_of(f) == UDP ? 6 : 16; }
static uint32_t payload_of(const struct seg_frame *f)
{
	if (proto_of(f) == UDP)
		return l4_of(f) + 8;
	return l4_of(f) + f->bytes[l4_of(f) + 12] / 16 * 4u;
}

static uint32_t size_of(const struct seg_frame *f) { return f->len - payload_of(f); }
static uint8_t flags_of(const struct seg_frame *f) { return f->bytes[l4_of(f) + 13]; }
static uint32_t seq_of(const struct seg_frame *f) { return get(f->bytes + l4_of(f) + 4, 4); }
static uint32_t id_of(const struct seg_frame *f) { return get(f->bytes + 18, 2); }
static bool df_of(const struct seg_frame *f) { return f->bytes[20] & 0x40; }

static void set_sums(struct seg_frame *f)
{
	uint8_t *ip = f->bytes + 14, *l4 = f->bytes + l4_of(f);
	const uint8_t *dst = is6(f) ? ip + 24 : ip + 16;
	const uint32_t bytes = f->len - l4_of(f);

	if (!is6(f)) {
		put(ip + 10, 0, 2);
		put(ip + 10, 0xffffu - pkt_sum(ip, 20), 2);
	}
	put(l4 + csum_of(f), 0, 2);
	if (f->unfinished)
		put(l4 + csum_of(f), pkt_sum_l4(ip, dst, proto_of(f), NULL, bytes), 2);
	else
		put(l4 + csum_of(f), 0xffffu - pkt_sum_l4(ip, dst, proto_of(f), l4, bytes), 2);
	if (proto_of(f) == UDP && !get(l4 + 6, 2))
		put(l4 + 6, 0xffff, 2);
}

/* ---- frames ---- */

struct connection {
	bool v6, udp, fixed_id, unfinished, copied;
	uint8_t ports, ttl, tos, options;
	uint16_t id, window, size;
	uint32_t seq, ack, stamp;
};

static void open_connection(struct connection *c, struct seg_dice *d, unsigned k, bool udp)
{
	*c = (struct connection){
		.v6 = d->roll(d, 2), .udp = udp, .fixed_id = once_in(d, 3), .unfinished = d->roll(d, 2),
		.ports = (uint8_t)(k / 2), .ttl = 64, .options = (uint8_t)(3 * d->roll(d, 3)),
		.id = (uint16_t)(65530 + d->roll(d, 8)), .window = 500,
		.size = (uint16_t)(100 + d->roll(d, 1300)),
		.seq = 0xffffff00u + d->roll(d, 256), .ack = 1000, .stamp = 77,
	};
	if (c->udp && once_in(d, 3))
		c->size = (uint16_t)(1 + d->roll(d, 64));
}

static void make_tcp(const struct connection *c, uint8_t flags, uint8_t *tcp)
{
	put(tcp + 4, c->seq, 4);
	put(tcp + 8, c->ack, 4);
	tcp[12] = (uint8_t)((5 + c->options) * 16);
	tcp[13] = flags;
	put(tcp + 14, c->window, 2);
	memset(tcp + 20, 1, 4u * c->options);
	if (c->options >= 3)
		put(tcp + 24, c->stamp, 4);
}

static void make_frame(struct seg_frame *f, struct connection *c, uint32_t size, uint8_t flags)
{
	const uint32_t header = c->udp ? 8 : 20 + 4u * c->options;
	const uint8_t proto = c->udp ? UDP : TCP;
	uint8_t *ip = f->bytes + 14, *l4;

	memset(f, 0, sizeof(*f));
	memset(f->bytes, 2, 12);
	put(f->bytes + 12, c->v6 ? 0x86dd : 0x0800, 2);
	l4 = f->bytes + (c->v6 ? 54 : 34);
	f->l4_at = (uint16_t)(l4 - f->bytes);
	f->csum_offset = c->udp ? 6 : 16;
	f->len = f->l4_at + header + size;
	if (c->v6) {
		put(ip, 0x60000000u | (uint32_t)c->tos << 20, 4);
		put(ip + 4, f->len - 54, 2);
		ip[6] = proto;
		ip[7] = c->ttl;
		memset(ip + 8, 0x11, 16);
		memset(ip + 24, 0x22, 16);
	} else {
		put(ip, 0x4500u | c->tos, 2);
		put(ip + 2, f->len - 14, 2);
		put(ip + 4, c->id, 2);
		ip[6] = 0x40;
		ip[8] = c->ttl;
		ip[9] = proto;
		put(ip + 12, 0x0a090001, 4);
		put(ip + 16, 0x0a090002, 4);
	}
	put(l4, 1000u + c->ports, 2);
	put(l4 + 2, 5001, 2);
	if (c->udp)
		put(l4 + 4, header + size, 2);
	else
		make_tcp(c, flags, l4);
	for (uint32_t i = 0; i < size; i++)
		l4[header + i] = (uint8_t)(c->seq + i * 7 + i / 256);
	f->unfinished = c->unfinished;
	f->copied = c->copied;
	set_sums(f);
	c->seq += size;
	c->id = (uint16_t)(c->id + !c->fixed_id);
}

/* One more of a connection; mostly what is expected, and nearly always if it is calm. */
static void next_frame(struct seg_frame *f, struct connection *c, struct seg_dice *d, bool calm)
{
	uint32_t size = c->size;
	uint8_t flags = ACK;

	switch (calm && d->roll(d, 16) ? 0 : d->roll(d, 64)) {
	case 63: size = d->roll(d, c->size + 1u); break;
	case 62: flags |= PSH; break;
	case 61: flags |= FIN; break;
	case 60: flags |= CWR; break;
	case 59: flags |= ECE; break;
	case 58: c->ack += 100; break;
	case 57: c->window++; break;
	case 56: c->stamp++; break;
	case 55: c->ttl--; break;
	case 54: c->tos ^= 2; break;
	case 53: c->id++; break;
	case 52: c->seq += c->size; break;       /* one is lost */
	case 51: c->seq -= c->size; break;       /* one comes twice */
	case 50: c->fixed_id = !c->fixed_id; break;
	case 49: c->unfinished = !c->unfinished; break;
	case 48: flags = (uint8_t)d->roll(d, 256); break;
	case 47: size += 8; break;
	case 45: c->copied = !c->copied; break;
	case 46: c->size = (uint16_t)(1 + d->roll(d, 1400)); break;
	default: break;
	}
	make_frame(f, c, size, flags);
}

/* What networks, or somebody on them, make of a frame. */
static void spoil(struct seg_frame *f, struct seg_dice *d)
{
	switch (d->roll(d, 9)) {
	case 7:
		if (proto_of(f) == UDP)          /* no checksum */
			put(f->bytes + f->l4_at + 6, 0, 2);
		break;
	case 0: f->bytes[f->len - 1 - d->roll(d, 40)] ^= (uint8_t)(1 + d->roll(d, 255)); break;
	case 1: f->bytes[24] ^= 1; break;        /* IPv4's checksum */
	case 2: f->bytes[20] ^= 0x20; set_sums(f); break;   /* a fragment */
	case 3: f->len += 4; break;              /* padding */
	case 4: f->copied = f->pieces = true; break;
	case 5: f->bytes[20] ^= 0x40; set_sums(f); break;   /* may be cut, or may not */
	case 6: f->len -= f->len > 60; break;
	default: f->bytes[d->roll(d, XN_MIN(f->len, 140u))] ^= (uint8_t)(1 + d->roll(d, 255)); break;
	}
}

void seg_make(struct seg_batch *b, struct seg_dice *d, unsigned connections)
{
	struct connection c[16];
	const bool calm = once_in(d, 3);
	unsigned k = 0;

	for (unsigned i = 0; i < connections; i++)
		/* One of TCP and one of UDP with the same numbers. */
		open_connection(&c[i], d, i, i & 1 ? !c[i - 1].udp : d->roll(d, 2));
	b->n = 1 + d->roll(d, SEG_FRAMES);
	b->tcp4 = d->roll(d, 8);
	b->tcp6 = d->roll(d, 8);
	b->ecn = d->roll(d, 2);
	b->udp4 = d->roll(d, 8);
	b->udp6 = d->roll(d, 8);
	for (unsigned i = 0; i < b->n; i++) {
		if (once_in(d, 4))
			k = d->roll(d, connections);
		next_frame(&b->f[i], &c[k], d, calm);
		if (b->mutations && once_in(d, 16))
			spoil(&b->f[i], d);
		if (i && once_in(d, 48)) {
			const struct seg_frame t = b->f[i];

			b->f[i] = b->f[i - 1];
			b->f[i - 1] = t;
		}
	}
}

/* ---- the model ---- */

/* One that may be put together with others at all. */
static bool fit(const struct seg_batch *b, const struct seg_frame *f)
{
	const uint8_t *ip = f->bytes + 14;
	uint32_t l4;

	if (f->pieces)
		return false;
	if (get(f->bytes + 12, 2) == 0x0800) {
		if (ip[0] != 0x45 || get(ip + 2, 2) != f->len - 14 ||
		    (get(ip + 6, 2) | 0x4000) != 0x4000 || pkt_sum(ip, 20) != 0xffff)
			return false;
	} else if (get(f->bytes + 12, 2) == 0x86dd) {
		if (ip[0] / 16 != 6 || get(ip + 4, 2) != f->len - 54)
			return false;
	} else {
		return false;
	}
	l4 = l4_of(f);
	if (payload_of(f) >= f->len)
		return false;
	if (proto_of(f) == UDP)
		return (is6(f) ? b->udp6 : b->udp4) && get(f->bytes + l4 + 4, 2) == f->len - l4 &&
		       get(f->bytes + l4 + 6, 2);
	return proto_of(f) == TCP && (is6(f) ? b->tcp6 : b->tcp4) && f->len >= XN_GRO_LEAST &&
	       f->bytes[l4 + 12] / 16 >= 5 && payload_of(f) <= XN_GRO_LEAST &&
	       (flags_of(f) & ~(FIN | PSH | ECE | CWR)) == ACK;
}

/* One that does not fit: may it be a datagram of the flow of this one? Of what is not looked at, nobody
 * knows. */
static bool may_be_of(const struct seg_frame *first, const struct seg_frame *f)
{
	struct seg_frame seen = *f;

	memset(seen.bytes + f->len, 0, sizeof(seen.bytes) - f->len);
	if (f->pieces)
		return true;
	if (is6(first))
		return get(seen.bytes + 12, 2) == 0x86dd && seen.bytes[20] != TCP &&
		       !memcmp(first->bytes + 22, seen.bytes + 22, 32);
	return get(seen.bytes + 12, 2) == 0x0800 && seen.bytes[23] == UDP &&
	       !memcmp(first->bytes + 26, seen.bytes + 26, 8);
}

static bool right_sum(const struct seg_frame *f)
{
	const uint32_t l4 = l4_of(f);
	const uint8_t *ip = f->bytes + 14;

	return (f->unfinished && f->l4_at == l4 && f->csum_offset == csum_of(f)) ||
	       pkt_sum_l4(ip, is6(f) ? ip + 24 : ip + 16, proto_of(f), f->bytes + l4, f->len - l4) == 0xffff;
}

static bool same_connection(const struct seg_frame *a, const struct seg_frame *b)
{
	const uint32_t at = is6(a) ? 22 : 26;

	return is6(a) == is6(b) && proto_of(a) == proto_of(b) && !memcmp(a->bytes + at, b->bytes + at, is6(a) ? 36 : 12);
}

/* A frame's headers, without what may differ in one packet. */
static uint32_t bare(const struct seg_frame *f, uint8_t *h)
{
	const uint32_t l4 = l4_of(f), n = payload_of(f);

	memcpy(h, f->bytes, n);
	if (is6(f)) {
		put(h + 18, 0, 2);
	} else {
		put(h + 16, 0, 4);
		put(h + 24, 0, 2);
	}
	if (proto_of(f) == UDP) {
		put(h + l4 + 4, 0, 4);
		return n;
	}
	put(h + l4 + 4, 0, 4);
	h[l4 + 13] &= (uint8_t)~(FIN | PSH | CWR);
	put(h + l4 + 16, 0, 2);
	return n;
}

static bool same_headers(const struct seg_frame *a, const struct seg_frame *b)
{
	uint8_t ha[200], hb[200];
	const uint32_t n = bare(a, ha);

	return n == bare(b, hb) && !memcmp(ha, hb, n);
}

/* A packet of these frames so far: may another one be the last? All but checksums. */
static bool may_join(const struct seg_batch *b, const uint8_t *members, unsigned n,
		     const struct seg_frame *f)
{
	const struct seg_frame *first = &b->f[members[0]], *last = &b->f[members[n - 1]];
	const bool fixed = df_of(f) && id_of(f) == id_of(first) &&
			   (n == 1 || id_of(last) == id_of(first));
	uint32_t bytes = first->len - 14 + size_of(f);
	bool counts = (uint16_t)(id_of(f) - id_of(first)) == n;

	for (unsigned i = 1; i < n; i++) {
		bytes += size_of(&b->f[members[i]]);
		counts = counts && (uint16_t)(id_of(&b->f[members[i]]) - id_of(first)) == i;
	}
	if (!same_headers(first, f) || size_of(last) != size_of(first) || size_of(f) > size_of(first) ||
	    bytes > 65535 || (!is6(f) && !fixed && !counts))
		return false;
	if (proto_of(f) == UDP)
		return n < XN_GRO_DATAGRAMS;
	return seq_of(last) + size_of(last) == seq_of(f) &&
	       !(flags_of(last) & (FIN | PSH)) && !(flags_of(f) & CWR) &&
	       (b->ecn || !(flags_of(first) & CWR));
}

bool seg_model(const struct seg_batch *b, uint8_t next[SEG_FRAMES])
{
	struct { uint8_t members[SEG_FRAMES]; unsigned n; bool closed; } open[SEG_FRAMES];
	unsigned n_open = 0, k;

	memset(next, 0, SEG_FRAMES);
	for (unsigned i = 0; i < b->n; i++) {
		const struct seg_frame *f = &b->f[i];

		if (!fit(b, f)) {
			for (k = 0; k < n_open; k++)
				if (proto_of(&b->f[open[k].members[0]]) == UDP &&
				    may_be_of(&b->f[open[k].members[0]], f))
					open[k].closed = true;
			continue;
		}
		for (k = 0; k < n_open; k++)
			if (same_connection(&b->f[open[k].members[0]], f))
				break;
		if (k < n_open && !open[k].closed && may_join(b, open[k].members, open[k].n, f) &&
		    right_sum(&b->f[open[k].members[0]])) {
			if (!right_sum(f)) {
				open[k].closed = true;
				continue;
			}
			next[open[k].members[open[k].n - 1]] = (uint8_t)i;
			open[k].members[open[k].n++] = (uint8_t)i;
			continue;
		}
		n_open += k == n_open;
		open[k].members[0] = (uint8_t)i;
		open[k].n = 1;
		open[k].closed = false;
	}
	return n_open <= XN_GRO_RUNS;
}

/* ---- the judge ---- */

struct xn_rx_buf seg_bufs[SEG_HEADS];

struct laid {
	struct xn_rx_done done[SEG_FRAMES];
	struct xn_chain bufs[SEG_FRAMES];
	bool back[SEG_FRAMES];            /* given to the guest, or to be lent again */
	bool seen[SEG_FRAMES];            /* frames */
	uint8_t *ram;
	uint64_t end;                     /* of what is used of it */
};

static void lay(struct laid *l, const struct seg_batch *b, struct seg_dice *d)
{
	uint64_t at = 64 + d->roll(d, 64);

	for (unsigned i = 0; i < b->n; i++) {
		const struct seg_frame *f = &b->f[i];
		const uint32_t bytes = SEG_HDR + f->len + (d->roll(d, 3) ? d->roll(d, 3000) : d->roll(d, 20));

		/* Heads in another order than places. */
		l->bufs[i] = (struct xn_chain){ .at = XN_UOFF(at), .bytes = bytes, .n_pieces = 1,
						.head = (uint16_t)((i * 37u + 5) % SEG_HEADS) };
		l->done[i] = (struct xn_rx_done){ .at = XN_UOFF(at), .len = f->len,
						  .id = l->bufs[i].head };
		if (f->copied) {
			/* Where it lies says the table, and nothing else. */
			seg_bufs[l->bufs[i].head] = (struct xn_rx_buf){ .at = XN_UOFF(at), .len = bytes,
									.bytes = bytes };
			l->done[i].at = XN_UOFF(~0ull);
			l->done[i].flags = XN_RX_NOTED;
			l->bufs[i].n_pieces = f->pieces ? 2 : 1;
		}
		if (f->unfinished) {
			l->done[i].flags |= XN_RX_CSUM;
			l->done[i].csum_start = f->l4_at;
			l->done[i].csum_offset = f->csum_offset;
		}
		at += bytes + 1 + d->roll(d, 40);
	}
	l->end = at + 64;
	memset(l->ram, CANARY, l->end);
	for (unsigned i = 0; i < b->n; i++)
		memcpy(l->ram + l->bufs[i].at.v + SEG_HDR, b->f[i].bytes, b->f[i].len);
}

static bool canaries_live(const struct laid *l, unsigned n)
{
	uint64_t at = 0;

	for (unsigned i = 0; i <= n; i++) {
		const uint64_t end = i < n ? l->bufs[i].at.v : l->end;

		for (; at < end; at++)
			if (l->ram[at] != CANARY)
				return false;
		if (i < n)
			at = end + l->bufs[i].bytes;
	}
	return true;
}

/* Notes that this buffer is back: false if it was before, or never was there. */
static bool comes_back(struct laid *l, unsigned n, uint16_t id, xn_uoff at, uint32_t *bytes)
{
	for (unsigned i = 0; i < n; i++)
		if (l->bufs[i].head == id) {
			if (l->back[i] || l->bufs[i].at.v != at.v)
				return false;
			l->back[i] = true;
			*bytes = l->bufs[i].bytes;
			return true;
		}
	return false;
}

/* A frame as it is once its checksum is finished. */
static void finished(const struct seg_frame *f, struct seg_frame *out)
{
	*out = *f;
	out->unfinished = false;
	if (f->unfinished)
		set_sums(out);
}

/* The packet's bytes, from as many entries as it has. */
static const char *gather(struct laid *l, const struct seg_batch *b, const struct xn_rx_done **at,
			  const struct xn_rx_done *end, uint8_t *data, uint32_t *bytes)
{
	uint32_t skip = SEG_HDR, room = 0;

	for (*bytes = 0;; (*at)++, skip = 0) {
		const struct xn_rx_done *d = *at;
		xn_uoff from;

		if (d == end)
			return "a packet does not end";
		from = d->flags & XN_RX_NOTED ? seg_bufs[d->id].at : d->at;
		if (!comes_back(l, b->n, d->id, from, &room))
			return "a buffer comes back twice, or was none";
		if (skip + d->len > room || !d->len)
			return "more bytes than the buffer has, or none";
		if (!!(d->flags & XN_RX_REST) == !!skip)
			return "an entry that does not say what it is";
		if (*bytes + d->len > PKT_MAX)
			return "a packet of more than 64 KiB";
		memcpy(data + *bytes, l->ram + from.v + skip, d->len);
		*bytes += d->len;
		if (!(d->flags & XN_RX_MORE))
			return NULL;
		if (skip + d->len != room)
			return "a buffer that is not full, and not the last";
	}
}

/* A packet that was made of the frames first, next[first], ... */
static const char *judge_made(const struct seg_batch *b, const struct xn_rx_done *d,
			      const uint8_t *data, uint32_t bytes, const uint8_t *members, unsigned n)
{
	const struct seg_frame *first = &b->f[members[0]];
	const uint8_t *ip = data + 14;
	static struct seg_frame want;
	static uint8_t cut[PKT_MAX];
	uint32_t l4 = l4_of(first), len;
	const bool udp = proto_of(first) == UDP;
	const uint8_t type = udp ? PKT_GSO_UDP : is6(first) ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;

	if (!(d->flags & XN_RX_GSO) || !(d->flags & XN_RX_CSUM) || d->csum_start != l4 ||
	    d->csum_offset != csum_of(first) || d->gso_size != size_of(first) || d->headers != payload_of(first) ||
	    d->gso_type != (type | (!udp && flags_of(first) & CWR ? VIRTIO_NET_HDR_GSO_ECN : 0)))
		return "a wrong virtio-net header";
	if (get(data + l4 + csum_of(first), 2) !=
	    pkt_sum_l4(ip, is6(first) ? ip + 24 : ip + 16, proto_of(first), NULL, bytes - l4))
		return "the checksum of the whole is not that of a pseudo-header";
	if (udp && get(data + l4 + 4, 2) != bytes - l4)
		return "UDP's length is not that of the whole";
	if (!is6(first) && pkt_sum(ip, 20) != 0xffff)
		return "the checksum of the IP header is wrong";
	for (unsigned i = 0; i < n; i++) {
		finished(&b->f[members[i]], &want);
		len = pkt_segment(data, bytes, 14, l4, is6(first) ? 38 : 30, udp, d->gso_size, i, cut);
		/* Where it is always the same a guest may count on: RFC 6864. */
		if (!is6(first) && id_of(&want) == id_of(first)) {
			put(cut + 18, id_of(&want), 2);
			put(cut + 24, 0, 2);
			put(cut + 24, 0xffffu - pkt_sum(cut + 14, 20), 2);
		}
		if (len != want.len || memcmp(cut, want.bytes, len))
			return "cut up again it is not what had come";
	}
	if (bytes != payload_of(first) + (uint32_t)(n - 1) * d->gso_size + size_of(&b->f[members[n - 1]]))
		return "the packet goes on";
	return NULL;
}

/* Which frame of those that were not seen yet is this one? Those of one connection come in order, so
 * the first that is equal. */
static unsigned find_frame(const struct laid *l, const struct seg_batch *b, const uint8_t *next,
			   const uint8_t *data, uint32_t bytes)
{
	bool follows[SEG_FRAMES] = { false };

	for (unsigned i = 0; i < b->n; i++)
		if (next[i])
			follows[next[i]] = true;
	for (unsigned i = 0; i < b->n; i++)
		if (!l->seen[i] && !follows[i] && !next[i] && b->f[i].len == bytes &&
		    !memcmp(b->f[i].bytes, data, bytes))
			return i;
	return SEG_FRAMES;
}

/* Datagrams of one flow come as they came, whatever was made of them. came[0..n): frames, in the order in
 * which they are given. */
static bool flows_in_order(const struct seg_batch *b, const uint8_t *came, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = i + 1; k < n; k++)
			if (came[k] < came[i] && proto_of(&b->f[came[i]]) == UDP &&
			    get(b->f[came[i]].bytes + 12, 2) == get(b->f[came[k]].bytes + 12, 2) &&
			    same_connection(&b->f[came[i]], &b->f[came[k]]))
				return false;
	return true;
}

const char *seg_play(struct xn_gro *c, uint8_t *ram, const struct seg_batch *b, struct seg_dice *d)
{
	static uint8_t data[PKT_MAX];
	static struct laid l;
	const struct xn_rx_done *out, *end, *first;
	uint8_t next[SEG_FRAMES], members[SEG_FRAMES], came[SEG_FRAMES];
	const bool told = seg_model(b, next);
	unsigned frames = 0, made = 0, joined = 0, latest = 0;
	uint32_t bytes = 0;
	const char *wrong;

	memset(&l, 0, sizeof(l));
	l.ram = ram;
	lay(&l, b, d);
	xn_gro_note(c, l.bufs, b->n);
	c->n_spares = 0;
	c->tcp4 = b->tcp4;
	c->tcp6 = b->tcp6;
	c->ecn = b->ecn;
	c->udp4 = b->udp4;
	c->udp6 = b->udp6;
	out = xn_gro_batch(c, l.done, b->n);
	end = out + c->entries;
	if (!canaries_live(&l, b->n))
		return "somebody else's memory was written";
	if (!told)
		return NULL;
	for (; out < end; out++) {
		unsigned i, n = 0;

		first = out;
		wrong = gather(&l, b, &out, end, data, &bytes);
		if (wrong)
			return wrong;
		if (!(first->flags & XN_RX_GSO)) {
			i = find_frame(&l, b, next, data, bytes);
			if (i == SEG_FRAMES || first != out)
				return "a frame that had not come, or should have been joined";
			/* Packets come in the order of their first frames. */
			if (i < latest)
				return "a frame was overtaken";
			latest = i;
			l.seen[i] = true;
			came[frames++] = (uint8_t)i;
			continue;
		}
		for (i = latest; i < b->n && !(next[i] && !l.seen[i]); i++)
			;
		if (i == b->n)
			return "joined, and should not have been";
		latest = i;
		for (;; i = next[i]) {
			members[n++] = (uint8_t)i;
			l.seen[i] = true;
			if (!next[i])
				break;
		}
		wrong = judge_made(b, first, data, bytes, members, n);
		if (wrong)
			return wrong;
		memcpy(came + frames, members, n);
		frames += n;
		made++;
		joined += n - 1;
	}
	if (frames != b->n)
		return "a frame is missing";
	if (!flows_in_order(b, came, frames))
		return "a datagram was overtaken by one of its own flow";
	if (made != c->packets || joined != c->joined)
		return "wrongly counted";
	for (unsigned i = 0; i < c->n_spares; i++)
		if (!comes_back(&l, b->n, c->spares[i].head, c->spares[i].at, &bytes) ||
		    bytes != c->spares[i].bytes || c->spares[i].n_pieces != 1)
			return "a spare buffer that is none";
	for (unsigned i = 0; i < b->n; i++)
		if (!l.back[i])
			return "a buffer is missing";
	return NULL;
}
