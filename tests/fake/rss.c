/* SPDX-License-Identifier: BSD-2-Clause */
/* The slow model of RSS, and frames for it. Contract in tests/fake/rss.h. */
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "tests/fake/rss.h"

/* ---- hash ---- */

static unsigned bit_of(const uint8_t *bytes, unsigned i)
{
	return bytes[i / 8] >> (7 - i % 8) & 1;
}

uint32_t rss_model_toeplitz(const uint8_t *key, const uint8_t *input, unsigned bytes)
{
	uint32_t hash = 0;

	for (unsigned i = 0; i < bytes * 8; i++) {
		uint32_t window = 0;

		for (unsigned k = 0; k < 32; k++)
			window = window << 1 | bit_of(key, i + k);
		if (bit_of(input, i))
			hash ^= window;
	}
	return hash;
}

/* ---- parser: what a frame is, as a list of facts ---- */

/* A part of the frame that gets shorter from the front. */
struct rest {
	const uint8_t *p;
	unsigned n;
};

static const uint8_t *take(struct rest *r, unsigned n)
{
	const uint8_t *p = r->p;

	if (r->n < n)
		return NULL;
	r->p += n;
	r->n -= n;
	return p;
}

static unsigned be16(const uint8_t *p)
{
	return p[0] * 256u + p[1];
}

struct facts {
	int version;              /* 4, 6; 0: no IP */
	bool extended;            /* IPv6 with extension headers */
	const uint8_t *src, *dst;
	const uint8_t *home, *route;
	bool tcp, udp;
	const uint8_t *ports;
	const uint8_t *ip;
	unsigned looks;           /* extension headers and options so far */
};

/* The two limits of rss/flow.h. */
static bool too_far(struct facts *f, const uint8_t *p)
{
	return ++f->looks > XN_FLOW_STEPS || p - f->ip > XN_FLOW_REACH;
}

static void upper_layer(struct facts *f, unsigned protocol, struct rest r)
{
	const uint8_t *header;

	if (protocol == IPPROTO_TCP && (header = take(&r, 20))) {
		f->tcp = true;
		f->ports = header;
	}
	if (protocol == IPPROTO_UDP && (header = take(&r, 8))) {
		f->udp = true;
		f->ports = header;
	}
}

static void ipv4(struct facts *f, struct rest r)
{
	struct rest whole = r;
	const uint8_t *h = take(&r, 20);
	unsigned header, total;

	if (!h || h[0] / 16 != 4)
		return;
	header = h[0] % 16 * 4;
	total = be16(h + 2);
	if (header < 20 || total < header)
		return;
	if (whole.n > total)
		whole.n = total;
	if (!take(&whole, header))
		return;
	f->version = 4;
	f->src = h + 12;
	f->dst = h + 16;
	/* Not a fragment: no more of them, and it begins at 0. */
	if (!(h[6] & 0x20) && be16(h + 6) % 8192 == 0)
		upper_layer(f, h[9], whole);
}

/* Looks for the first home address in the options of a destination options header. False:
 * there are more than anybody looks at. */
static bool home_address(struct facts *f, struct rest options)
{
	const uint8_t *type, *len, *data;

	while (options.n) {
		if (too_far(f, options.p))
			return false;
		type = take(&options, 1);
		if (*type == 0)    /* Pad1 */
			continue;
		len = take(&options, 1);
		data = len ? take(&options, *len) : NULL;
		if (!data)
			return true;
		if (*type == 201 && *len == 16) {
			f->home = data;
			return true;
		}
	}
	return true;
}

/* RFC 8200, 4.1, and IANA's list. */
static bool is_extension(unsigned next)
{
	switch (next) {
	case IPPROTO_HOPOPTS: case IPPROTO_ROUTING: case IPPROTO_FRAGMENT: case IPPROTO_ESP:
	case IPPROTO_AH: case IPPROTO_DSTOPTS: case IPPROTO_MH: case 139 /* HIP */:
	case 140 /* shim6 */:
		return true;
	}
	return false;
}

static void extensions(struct facts *f, unsigned next, struct rest r)
{
	while (is_extension(next)) {
		const uint8_t *h = r.n >= 8 ? r.p : NULL;
		unsigned bytes;

		f->extended = true;
		if (too_far(f, r.p) || !h || next == IPPROTO_ESP)
			return;
		bytes = next == IPPROTO_FRAGMENT ? 8 : next == IPPROTO_AH ? (h[1] + 2u) * 4 :
			(h[1] + 1u) * 8;
		if (!take(&r, bytes))
			return;
		/* Offset and the flag of more to come; two bits between them are reserved. */
		if (next == IPPROTO_FRAGMENT && (be16(h + 2) / 8 || h[3] % 2))
			return;
		if (next == IPPROTO_ROUTING && h[2] == 2 && bytes == 24 && h[3] == 1 && !f->route)
			f->route = h + 8;
		if (next == IPPROTO_DSTOPTS && !f->home &&
		    !home_address(f, (struct rest){ h + 2, bytes - 2 }))
			return;
		next = h[0];
	}
	upper_layer(f, next, r);
}

static void ipv6(struct facts *f, struct rest r)
{
	const uint8_t *h = take(&r, 40);

	if (!h || h[0] / 16 != 6)
		return;
	f->version = 6;
	f->ip = h;
	f->src = h + 8;
	f->dst = h + 24;
	if (r.n > be16(h + 4))
		r.n = be16(h + 4);
	extensions(f, h[6], r);
}

static struct facts look_at(const uint8_t *frame, unsigned bytes)
{
	struct rest r = { frame, bytes };
	struct facts f = { 0 };
	const uint8_t *type;

	if (!take(&r, 12))
		return f;
	type = take(&r, 2);
	for (unsigned tags = 0; type && tags < 2; tags++)
		if (be16(type) == 0x8100 || be16(type) == 0x88a8)
			type = take(&r, 2) ? take(&r, 2) : NULL;
	if (type && be16(type) == 0x0800)
		ipv4(&f, r);
	if (type && be16(type) == 0x86dd)
		ipv6(&f, r);
	return f;
}

/* ---- which type applies: sentence by sentence, VIRTIO 1.3, 5.1.6.4.3 ---- */

struct input {
	uint8_t bytes[36];
	unsigned n;
};

static void add(struct input *in, const uint8_t *p, unsigned n)
{
	memcpy(in->bytes + in->n, p, n);
	in->n += n;
}

static void add_all(struct input *in, const struct facts *f, bool homes, bool ports)
{
	unsigned n = f->version == 4 ? 4 : 16;

	add(in, homes && f->home ? f->home : f->src, n);
	add(in, homes && f->route ? f->route : f->dst, n);
	if (ports)
		add(in, f->ports, 4);
}

/* The numbers of VIRTIO_NET_HASH_TYPE_* and VIRTIO_NET_HASH_REPORT_*, as the text has them. */
enum { T_IPV4 = 1 << 0, T_TCPV4 = 1 << 1, T_UDPV4 = 1 << 2, T_IPV6 = 1 << 3, T_TCPV6 = 1 << 4,
       T_UDPV6 = 1 << 5, T_IP_EX = 1 << 6, T_TCP_EX = 1 << 7, T_UDP_EX = 1 << 8 };
enum { R_NONE, R_IPV4, R_TCPV4, R_UDPV4, R_IPV6, R_TCPV6, R_UDPV6, R_IPV6_EX, R_TCPV6_EX,
       R_UDPV6_EX };

static unsigned choose(struct input *in, const struct facts *f, uint32_t types)
{
	if (f->version == 4) {
		if (types & T_TCPV4 && f->tcp)
			return add_all(in, f, false, true), R_TCPV4;
		if (types & T_UDPV4 && f->udp)
			return add_all(in, f, false, true), R_UDPV4;
		if (types & T_IPV4)
			return add_all(in, f, false, false), R_IPV4;
		return R_NONE;
	}
	if (f->version != 6)
		return R_NONE;
	if (f->extended) {
		if (types & T_TCP_EX && f->tcp)
			return add_all(in, f, true, true), R_TCPV6_EX;
		if (types & T_UDP_EX && f->udp)
			return add_all(in, f, true, true), R_UDPV6_EX;
		if (types & T_IP_EX)
			return add_all(in, f, true, false), R_IPV6_EX;
	}
	if (types & T_TCPV6 && f->tcp)
		return add_all(in, f, false, true), R_TCPV6;
	if (types & T_UDPV6 && f->udp)
		return add_all(in, f, false, true), R_UDPV6;
	if (types & T_IPV6)
		return add_all(in, f, false, false), R_IPV6;
	return R_NONE;
}

unsigned rss_model_hash(const struct xn_rss_config *cfg, const uint8_t *frame, unsigned bytes,
			uint32_t *hash)
{
	struct facts f = look_at(frame, bytes);
	struct input in = { .n = 0 };
	unsigned report = choose(&in, &f, cfg->types);

	*hash = report ? rss_model_toeplitz(cfg->key, in.bytes, in.n) : 0;
	return report;
}

unsigned rss_model_queue(const struct xn_rss_config *cfg, const uint8_t *frame, unsigned bytes)
{
	uint32_t hash;

	if (!rss_model_hash(cfg, frame, bytes, &hash))
		return cfg->unclassified;
	return cfg->table[hash % cfg->entries];
}

/* ---- random numbers, configurations, frames ---- */

uint64_t rss_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

unsigned rss_below(uint64_t *state, unsigned n)
{
	return (unsigned)(rss_random(state) >> 33) % n;
}

static void random_bytes(uint64_t *s, uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)(rss_random(s) >> 56);
}

void rss_random_config(uint64_t *s, struct xn_rss_config *cfg, unsigned pairs)
{
	xn_rss_default(cfg, pairs);
	random_bytes(s, cfg->key, XN_RSS_KEY_BYTES);
	cfg->types = rss_below(s, 3) ? rss_below(s, XN_RSS_TYPES_ALL + 1) : XN_RSS_TYPES_ALL;
	cfg->entries = (uint16_t)(1u << rss_below(s, 10));
	for (unsigned i = 0; i < cfg->entries; i++)
		cfg->table[i] = (uint16_t)rss_below(s, pairs);
	cfg->unclassified = (uint16_t)rss_below(s, pairs);
}

/* A frame while it is made. */
struct draft {
	uint64_t *s;
	uint8_t *p;
	unsigned n;
};

static uint8_t *grow(struct draft *d, unsigned n)
{
	uint8_t *p = d->p + d->n;

	random_bytes(d->s, p, n);
	d->n += n;
	return p;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned one_of(uint64_t *s, const uint8_t *choices, unsigned n)
{
	return choices[rss_below(s, n)];
}

static unsigned random_protocol(uint64_t *s)
{
	static const uint8_t all[] = { IPPROTO_TCP, IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP,
				       IPPROTO_UDP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_GRE,
				       IPPROTO_ICMPV6, IPPROTO_NONE, 132, 255 };

	return one_of(s, all, sizeof(all));
}

/* Room for a whole TCP header most of the time. */
static void draft_payload(struct draft *d)
{
	grow(d, rss_below(d->s, 4) ? 20 + rss_below(d->s, 30) : rss_below(d->s, 20));
}

static void draft_ipv4(struct draft *d)
{
	unsigned at = d->n, options = rss_below(d->s, 3) ? 0 : rss_below(d->s, 11);
	uint8_t *h = grow(d, 20);

	h[0] = (uint8_t)(0x45 + options);
	put16(h + 6, rss_below(d->s, 4) ? 0x4000 * rss_below(d->s, 2) :
	      rss_below(d->s, 2) ? 0x2000 : rss_below(d->s, 0x10000));
	h[9] = (uint8_t)random_protocol(d->s);
	grow(d, options * 4);
	draft_payload(d);
	put16(h + 2, d->n - at);
}

/* Options of a destination options header, `bytes` of them. */
static void draft_options(struct draft *d, unsigned bytes)
{
	while (bytes) {
		static const uint8_t types[] = { 0, 1, 1, 4, 5, 201, 201, 201, 0xc2 };
		unsigned type = one_of(d->s, types, sizeof(types));
		unsigned len = type == 201 && rss_below(d->s, 8) ? 16 : rss_below(d->s, 20);
		uint8_t *o = grow(d, 1);

		o[0] = (uint8_t)type;
		bytes--;
		if (!type || !bytes)
			continue;
		if (len > bytes - 1 && rss_below(d->s, 8))
			len = bytes - 1;
		grow(d, 1)[0] = (uint8_t)len;
		bytes--;
		len = len > bytes ? bytes : len;
		grow(d, len);
		bytes -= len;
	}
}

/* One extension header of type `type`; returns where the type of what follows it goes. */
static uint8_t *draft_extension(struct draft *d, unsigned type)
{
	unsigned units = type == IPPROTO_ROUTING ? 2 : type == IPPROTO_FRAGMENT ? 0 :
			 type == IPPROTO_AH ? 4 : rss_below(d->s, 6);
	uint8_t *h = grow(d, 8);

	h[1] = (uint8_t)units;
	if (type == IPPROTO_DSTOPTS) {
		d->n -= 6;
		draft_options(d, 6 + units * 8);
	} else if (type == IPPROTO_AH) {
		grow(d, (units + 2) * 4 - 8);
	} else {
		grow(d, units * 8);
	}
	if (type == IPPROTO_ROUTING && rss_below(d->s, 4)) {
		h[2] = 2;
		h[3] = 1;
	}
	if (type == IPPROTO_FRAGMENT)
		put16(h + 2, rss_below(d->s, 2) ? rss_below(d->s, 8) : rss_below(d->s, 0x10000));
	return h;
}

static void draft_ipv6(struct draft *d)
{
	static const uint8_t ext[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_ROUTING,
				       IPPROTO_FRAGMENT, IPPROTO_AH, IPPROTO_DSTOPTS,
				       IPPROTO_DSTOPTS, IPPROTO_DSTOPTS, IPPROTO_MH, 139, 140,
				       IPPROTO_ESP };
	unsigned at = d->n, headers = rss_below(d->s, 2) ? 0 : 1 + rss_below(d->s, 4);
	uint8_t *h = grow(d, 40), *next = h + 6;

	h[0] = (uint8_t)(0x60 | h[0] % 16);
	while (headers-- && d->n < RSS_FRAME_MAX - 120) {
		*next = (uint8_t)one_of(d->s, ext, sizeof(ext));
		next = draft_extension(d, *next);
	}
	*next = (uint8_t)random_protocol(d->s);
	draft_payload(d);
	put16(h + 4, d->n - at - 40);
}

/* What a network, or somebody who means harm, makes of a frame. */
static void spoil(struct draft *d, unsigned l3)
{
	switch (rss_below(d->s, 8)) {
	case 0:   /* cut off */
		d->n = 14 + rss_below(d->s, d->n - 13);
		break;
	case 1:   /* padded */
		grow(d, rss_below(d->s, RSS_FRAME_MAX - d->n));
		break;
	case 2:   /* a byte of it is another one */
		d->p[12 + rss_below(d->s, d->n - 12)] = (uint8_t)rss_below(d->s, 256);
		break;
	case 3:   /* ... of the IP header */
		if (d->n > l3 + 8)
			d->p[l3 + rss_below(d->s, 8)] = (uint8_t)rss_below(d->s, 256);
		break;
	case 4:   /* a length that is a little wrong */
		if (d->n > l3 + 6)
			d->p[l3 + 3 + 2 * rss_below(d->s, 2)] += (uint8_t)rss_below(d->s, 41) - 20;
		break;
	}
}

unsigned rss_random_frame(uint64_t *s, uint8_t frame[RSS_FRAME_MAX])
{
	static const uint16_t other[] = { 0x0806, 0x8100, 0x88a8, 0x9100, 0x8847, 46, 0x0800,
					  0x86dd };
	struct draft d = { .s = s, .p = frame };
	unsigned tags = rss_below(s, 3) ? 0 : rss_below(s, 4), kind = rss_below(s, 16), l3;

	grow(&d, 12);
	for (unsigned i = 0; i < tags; i++) {
		put16(grow(&d, 2), rss_below(s, 2) ? 0x8100 : 0x88a8);
		grow(&d, 2);
	}
	put16(grow(&d, 2), kind < 6 ? 0x0800 : kind < 15 ? 0x86dd :
	      other[rss_below(s, sizeof(other) / sizeof(other[0]))]);
	l3 = d.n;
	if (kind < 6)
		draft_ipv4(&d);
	else if (kind < 15)
		draft_ipv6(&d);
	else
		grow(&d, rss_below(s, 60));
	spoil(&d, l3);
	return d.n;
}

void rss_plain_frame(uint8_t *frame, unsigned bytes, unsigned class, unsigned vlans, uint64_t flow)
{
	bool v4 = class < XN_FLOW_IPV6, tcp = class == XN_FLOW_TCPV4 || class == XN_FLOW_TCPV6;
	uint8_t *p = frame + 12, *l4;

	memset(frame, 0, bytes);
	memset(frame, 2, 12);
	for (; vlans; vlans--, p += 4)
		put16(p, 0x8100);
	put16(p, class == XN_FLOW_NONE ? 0x0806 : v4 ? 0x0800 : 0x86dd);
	p += 2;
	if (class == XN_FLOW_NONE)
		return;
	if (v4) {
		p[0] = 0x45;
		put16(p + 2, (unsigned)(frame + bytes - p));
		p[9] = class == XN_FLOW_IPV4 ? IPPROTO_ICMP : tcp ? IPPROTO_TCP : IPPROTO_UDP;
		random_bytes(&flow, p + 12, 8);
		l4 = p + 20;
	} else {
		p[0] = 0x60;
		put16(p + 4, (unsigned)(frame + bytes - p) - 40);
		p[6] = class == XN_FLOW_IPV6 ? IPPROTO_ICMPV6 : tcp ? IPPROTO_TCP : IPPROTO_UDP;
		random_bytes(&flow, p + 8, 32);
		l4 = p + 40;
	}
	random_bytes(&flow, l4, 4);
}

static void change_places(uint8_t *a, uint8_t *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const uint8_t was = a[i];

		a[i] = b[i];
		b[i] = was;
	}
}

void rss_turn_round(uint8_t *frame, unsigned class, unsigned vlans)
{
	uint8_t *ip = frame + XN_ETH_BYTES + vlans * XN_VLAN_BYTES, *ports;

	change_places(frame, frame + 6, 6);
	switch (class) {
	case XN_FLOW_IPV4:
	case XN_FLOW_TCPV4:
	case XN_FLOW_UDPV4:
		change_places(ip + 12, ip + 16, 4);
		ports = ip + XN_IPV4_BYTES;
		break;
	default:
		change_places(ip + 8, ip + 24, 16);
		ports = ip + XN_IPV6_BYTES;
		break;
	}
	if (class != XN_FLOW_IPV4 && class != XN_FLOW_IPV6)
		change_places(ports, ports + 2, 2);
}
