/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RSS: hash, parser, configuration. The hash against published values and against its
 * definition, the parser against a slow model (tests/fake/rss.h), on frames whose memory ends
 * where they end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cmocka.h"
#include "base/types.h"
#include "tests/fake/rss.h"
#include "xsknet.h"

static struct xn_rss_image img;
static struct xn_rss_config cfg;

static int setup(void **state)
{
	xn_rss_default(&cfg, 4);
	xn_rss_image_make(&img, &cfg);
	return 0;
}

static void set_types(uint32_t types)
{
	cfg.types = types;
	xn_rss_image_make(&img, &cfg);
}

/* ---- hash ---- */

/*
 * Microsoft, "Verifying the RSS hash calculation" (Windows driver documentation, RSS): with
 * the key that is our default.
 */
static const struct vector {
	int family;
	const char *dst, *src;
	uint16_t dst_port, src_port;
	uint32_t addresses, tcp;
} vectors[] = {
	{ AF_INET, "161.142.100.80", "66.9.149.187", 1766, 2794, 0x323e8fc2, 0x51ccc178 },
	{ AF_INET, "65.69.140.83", "199.92.111.2", 4739, 14230, 0xd718262a, 0xc626b0ea },
	{ AF_INET, "12.22.207.184", "24.19.198.95", 38024, 12898, 0xd2d0a5de, 0x5c2b394a },
	{ AF_INET, "209.142.163.6", "38.27.205.30", 2217, 48228, 0x82989176, 0xafc7327f },
	{ AF_INET, "202.188.127.2", "153.39.163.191", 1303, 44251, 0x5d1809c5, 0x10e828a2 },
	{ AF_INET6, "3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x2cc18cd5,
	  0x40207d3d },
	{ AF_INET6, "ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0x0f0c461c,
	  0xdde51bbf },
	{ AF_INET6, "fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024,
	  44251, 0x4b61e985, 0x02d1feef },
};

/* A TCP segment without data from and to these addresses; its length. */
static unsigned vector_frame(const struct vector *v, uint8_t *frame)
{
	bool v4 = v->family == AF_INET;
	unsigned ip = 14, addr = v4 ? 4 : 16, l4 = ip + (v4 ? 20 : 40), src = ip + (v4 ? 12 : 8);
	uint16_t ports[2] = { htons(v->src_port), htons(v->dst_port) };

	rss_plain_frame(frame, l4 + 20, v4 ? XN_FLOW_TCPV4 : XN_FLOW_TCPV6, 0, 0);
	assert_int_equal(inet_pton(v->family, v->src, frame + src), 1);
	assert_int_equal(inet_pton(v->family, v->dst, frame + src + addr), 1);
	memcpy(frame + l4, ports, sizeof(ports));
	return l4 + 20;
}

static void microsofts_published_hashes_come_out(void **state)
{
	uint8_t frame[100];

	for (unsigned i = 0; i < XN_ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		bool v4 = v->family == AF_INET;
		unsigned n = vector_frame(v, frame), report;
		uint32_t hash;

		set_types(XN_RSS_TYPES_ALL);
		xn_rss_steer(&img, frame, n, &hash, &report);
		assert_int_equal(hash, v->tcp);
		assert_int_equal(report, v4 ? VIRTIO_NET_HASH_REPORT_TCPv4 :
					      VIRTIO_NET_HASH_REPORT_TCPv6);
		rss_model_hash(&cfg, frame, n, &hash);
		assert_int_equal(hash, v->tcp);

		set_types(VIRTIO_NET_RSS_HASH_TYPE_IPv4 | VIRTIO_NET_RSS_HASH_TYPE_IPv6);
		xn_rss_steer(&img, frame, n, &hash, &report);
		assert_int_equal(hash, v->addresses);
		assert_int_equal(report, v4 ? VIRTIO_NET_HASH_REPORT_IPv4 :
					      VIRTIO_NET_HASH_REPORT_IPv6);
		rss_model_hash(&cfg, frame, n, &hash);
		assert_int_equal(hash, v->addresses);
	}
}

static void tables_hash_as_the_definition_does_for_every_key_and_place(void **state)
{
	uint64_t seed = 1;

	for (unsigned round = 0; round < 300; round++) {
		uint8_t in[XN_RSS_INPUT_BYTES], zeroes[XN_RSS_INPUT_BYTES] = { 0 };
		unsigned at = rss_below(&seed, XN_RSS_INPUT_BYTES);
		unsigned n = 1 + rss_below(&seed, XN_RSS_INPUT_BYTES - at);

		rss_random_config(&seed, &cfg, 4);
		xn_toeplitz_make(&img.z, cfg.key);
		for (unsigned i = 0; i < sizeof(in); i++)
			in[i] = (uint8_t)rss_random(&seed);
		assert_int_equal(xn_toeplitz_part(&img.z, in, 0, sizeof(in)),
				 rss_model_toeplitz(cfg.key, in, sizeof(in)));
		/* A part of the input: what stands around it is nothing. */
		memcpy(zeroes + at, in + at, n);
		assert_int_equal(xn_toeplitz_part(&img.z, in + at, at, n),
				 rss_model_toeplitz(cfg.key, zeroes, sizeof(zeroes)));
	}
}

static void symmetric_key_hashes_both_directions_alike(void **state)
{
	uint64_t seed = 2;

	assert_int_equal(xn_rss_set_key(&cfg, "symmetric"), 0);
	xn_rss_image_make(&img, &cfg);
	for (unsigned i = 0; i < 200; i++) {
		static const unsigned classes[] = { XN_FLOW_TCPV4, XN_FLOW_UDPV6 };
		unsigned class = classes[i & 1], n = i & 1 ? 16 : 4, report;
		unsigned src = 14 + (i & 1 ? 8 : 12), l4 = src + 2 * n;
		uint8_t there[100], back[100];
		uint32_t a, b;

		rss_plain_frame(there, sizeof(there), class, 0, rss_random(&seed));
		memcpy(back, there, sizeof(back));
		memcpy(back + src, there + src + n, n);
		memcpy(back + src + n, there + src, n);
		memcpy(back + l4, there + l4 + 2, 2);
		memcpy(back + l4 + 2, there + l4, 2);
		xn_rss_steer(&img, there, sizeof(there), &a, &report);
		assert_int_equal(report, class);
		xn_rss_steer(&img, back, sizeof(back), &b, &report);
		assert_int_equal(a, b);
	}
}

/* ---- frames ---- */

/* Fast version and model agree, in memory that ends where the frame ends. */
static void compare(const uint8_t *frame, unsigned n)
{
	uint8_t *exact = malloc(n ? n : 1);
	unsigned report, queue, want_report = rss_model_hash(&cfg, frame, n, &(uint32_t){ 0 });
	uint32_t hash, want;

	memcpy(exact, frame, n);
	rss_model_hash(&cfg, frame, n, &want);
	queue = xn_rss_steer(&img, exact, n, &hash, &report);
	if (report != want_report || hash != want || queue != rss_model_queue(&cfg, frame, n)) {
		for (unsigned i = 0; i < n; i++)
			print_message("%02x%s", frame[i], i % 16 == 15 || i == n - 1 ? "\n" : " ");
		fail_msg("types 0x%x: report %u, hash %08x; the model says %u, %08x", cfg.types,
			 report, hash, want_report, want);
	}
	free(exact);
}

static void random_frames_have_the_hash_of_the_model(void **state)
{
	unsigned seen[XN_FLOW_CLASSES] = { 0 }, moved = 0;
	uint64_t seed = 3;

	for (unsigned i = 0; i < 200000; i++) {
		uint8_t frame[RSS_FRAME_MAX];
		unsigned n = rss_random_frame(&seed, frame);
		struct xn_flow f;

		if (i % 500 == 0) {
			rss_random_config(&seed, &cfg, 16);
			xn_rss_image_make(&img, &cfg);
		}
		compare(frame, n);
		xn_flow_parse(&f, frame, frame + n, 0);
		seen[f.class]++;
		moved += f.class >= XN_FLOW_IPV6_EX && (f.home || f.route);
	}
	/* The frames are of all kinds: else this would prove little. */
	for (unsigned c = 0; c < XN_FLOW_CLASSES; c++)
		assert_true(seen[c] > 2000);
	assert_true(moved > 10000);
}

static void frame_that_is_cut_off_anywhere_has_the_hash_of_the_model(void **state)
{
	uint64_t seed = 4;

	for (unsigned i = 0; i < 300; i++) {
		uint8_t frame[RSS_FRAME_MAX];
		unsigned n = rss_random_frame(&seed, frame);

		for (unsigned cut = 0; cut <= n; cut++)
			compare(frame, cut);
	}
}

static void every_set_of_hash_types_is_applied_as_the_specification_says(void **state)
{
	static const struct { uint32_t types; unsigned report; } tcp_ex[] = {
		{ VIRTIO_NET_RSS_HASH_TYPE_TCP_EX | VIRTIO_NET_RSS_HASH_TYPE_IP_EX,
		  VIRTIO_NET_HASH_REPORT_TCPv6_EX },
		{ VIRTIO_NET_RSS_HASH_TYPE_TCPv6 | VIRTIO_NET_RSS_HASH_TYPE_IP_EX,
		  VIRTIO_NET_HASH_REPORT_IPv6_EX },
		{ VIRTIO_NET_RSS_HASH_TYPE_TCPv6 | VIRTIO_NET_RSS_HASH_TYPE_UDP_EX,
		  VIRTIO_NET_HASH_REPORT_TCPv6 },
		{ VIRTIO_NET_RSS_HASH_TYPE_UDPv6 | VIRTIO_NET_RSS_HASH_TYPE_TCPv4,
		  VIRTIO_NET_HASH_REPORT_NONE },
	};
	uint64_t seed = 5;
	uint8_t frame[XN_FLOW_CLASSES][RSS_FRAME_MAX];
	unsigned n[XN_FLOW_CLASSES] = { 0 };
	struct xn_flow f;

	/* One of each class; those with extension headers have both addresses in them. */
	for (unsigned left = XN_FLOW_CLASSES; left;) {
		uint8_t one[RSS_FRAME_MAX];
		unsigned bytes = rss_random_frame(&seed, one);

		xn_flow_parse(&f, one, one + bytes, 0);
		if (n[f.class] || (f.class >= XN_FLOW_IPV6_EX && !(f.home && f.route)))
			continue;
		memcpy(frame[f.class], one, bytes);
		n[f.class] = bytes;
		left--;
	}
	for (uint32_t types = 0; types <= XN_RSS_TYPES_ALL; types++) {
		set_types(types);
		for (unsigned c = 0; c < XN_FLOW_CLASSES; c++)
			compare(frame[c], n[c]);
	}
	/* And once without the model: TCP with extension headers, by the four types there are. */
	for (unsigned i = 0; i < XN_ARRAY_SIZE(tcp_ex); i++) {
		set_types(tcp_ex[i].types);
		assert_int_equal(img.apply[XN_FLOW_TCPV6_EX] & XN_RSS_REPORT, tcp_ex[i].report);
	}
}

static unsigned class_of(const uint8_t *frame, unsigned n)
{
	struct xn_flow f;

	xn_flow_parse(&f, frame, frame + n, 0);
	return f.class;
}

static void what_is_no_whole_header_is_none(void **state)
{
	uint8_t f[120];

	/* 20 bytes of TCP and 8 of UDP are a header, 19 and 7 are none. */
	rss_plain_frame(f, sizeof(f), XN_FLOW_TCPV4, 0, 1);
	assert_int_equal(class_of(f, 14 + 40), XN_FLOW_TCPV4);
	assert_int_equal(class_of(f, 14 + 39), XN_FLOW_IPV4);
	assert_int_equal(class_of(f, 14 + 20), XN_FLOW_IPV4);
	assert_int_equal(class_of(f, 14 + 19), XN_FLOW_NONE);
	assert_int_equal(class_of(f, 13), XN_FLOW_NONE);
	rss_plain_frame(f, sizeof(f), XN_FLOW_UDPV6, 0, 1);
	assert_int_equal(class_of(f, 14 + 48), XN_FLOW_UDPV6);
	assert_int_equal(class_of(f, 14 + 47), XN_FLOW_IPV6);
	assert_int_equal(class_of(f, 14 + 39), XN_FLOW_NONE);

	/* What lies behind the end of the packet is padding. */
	rss_plain_frame(f, sizeof(f), XN_FLOW_TCPV4, 0, 1);
	f[14 + 2] = 0;
	f[14 + 3] = 39;
	assert_int_equal(class_of(f, sizeof(f)), XN_FLOW_IPV4);
	f[14 + 3] = 19;   /* shorter than its own header */
	assert_int_equal(class_of(f, sizeof(f)), XN_FLOW_NONE);
	rss_plain_frame(f, sizeof(f), XN_FLOW_UDPV6, 0, 1);
	f[14 + 4] = 0;
	f[14 + 5] = 7;
	assert_int_equal(class_of(f, sizeof(f)), XN_FLOW_IPV6);

	/* IPv4 header lengths of 0 to 16 bytes, and another version. */
	for (unsigned ihl = 0; ihl < 5; ihl++) {
		rss_plain_frame(f, sizeof(f), XN_FLOW_TCPV4, 0, 1);
		f[14] = (uint8_t)(0x40 | ihl);
		assert_int_equal(class_of(f, sizeof(f)), XN_FLOW_NONE);
	}
	f[14] = 0x65;
	assert_int_equal(class_of(f, sizeof(f)), XN_FLOW_NONE);
}

static void two_vlan_tags_are_looked_through_and_a_third_is_not(void **state)
{
	uint8_t f[120];

	for (unsigned tags = 0; tags < 5; tags++) {
		rss_plain_frame(f, sizeof(f), XN_FLOW_UDPV4, tags, 7);
		assert_int_equal(class_of(f, sizeof(f)), tags < 3 ? XN_FLOW_UDPV4 : XN_FLOW_NONE);
	}
	rss_plain_frame(f, sizeof(f), XN_FLOW_TCPV6, 2, 7);
	f[12] = 0x88;
	f[13] = 0xa8;
	assert_int_equal(class_of(f, sizeof(f)), XN_FLOW_TCPV6);
}

/* The hash of a frame with a fragment field, by all types. */
static uint32_t hash_with_fragment(unsigned field, unsigned *report)
{
	uint8_t f[120];
	uint32_t hash;

	rss_plain_frame(f, sizeof(f), XN_FLOW_UDPV4, 0, 9);
	f[14 + 6] = (uint8_t)(field >> 8);
	f[14 + 7] = (uint8_t)field;
	if (field & 0x1fff)   /* then these are no ports, and differ */
		memset(f + 34, 0xee, 8);
	xn_rss_steer(&img, f, sizeof(f), &hash, report);
	return hash;
}

static void all_fragments_of_a_packet_go_the_same_way(void **state)
{
	unsigned report;
	uint32_t first = hash_with_fragment(0x2000, &report);

	assert_int_equal(report, VIRTIO_NET_HASH_REPORT_IPv4);
	assert_int_equal(hash_with_fragment(0x2001, &report), first);
	assert_int_equal(hash_with_fragment(0x0005, &report), first);
	assert_int_equal(hash_with_fragment(0x3fff, &report), first);
	/* The flag that forbids fragments makes none. */
	assert_int_not_equal(hash_with_fragment(0x4000, &report), first);
	assert_int_equal(report, VIRTIO_NET_HASH_REPORT_UDPv4);
}

/* An IPv6 frame with these bytes between IPv6 header and a TCP header; its length. */
static unsigned with_extension(uint8_t *f, unsigned type, const uint8_t *ext, unsigned n)
{
	rss_plain_frame(f, 14 + 40 + n + 20, XN_FLOW_TCPV6, 0, 11);
	f[14 + 6] = (uint8_t)type;
	memcpy(f + 54, ext, n);
	memset(f + 54 + n, 0x77, 20);
	return 14 + 40 + n + 20;
}

/* In whose place which address stands: the offsets in the frame, 0 for its own. */
static void expect_extension(const char *what, unsigned type, const uint8_t *ext, unsigned n,
			     unsigned class, unsigned home, unsigned route)
{
	uint8_t f[600];
	unsigned bytes = with_extension(f, type, ext, n);
	struct xn_flow flow;

	xn_flow_parse(&flow, f, f + bytes, 0);
	if (flow.class != class || flow.home != home || flow.route != route)
		fail_msg("%s: class %u, addresses at %u and %u; should be %u, %u and %u", what,
			 flow.class, flow.home, flow.route, class, home, route);
	compare(f, bytes);
}

#define A16 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, \
	0xae, 0xaf

static void addresses_in_extension_headers_are_found_where_they_are_valid(void **state)
{
	static const uint8_t home[] = { 6, 2, 1, 2, 0, 0, 0xc9, 16, A16 };
	static const uint8_t pad1[] = { 6, 2, 0, 0, 0, 0, 0xc9, 16, A16 };
	static const uint8_t home_short[] = { 6, 2, 1, 2, 0, 0, 0xc9, 15, A16 };
	static const uint8_t home_out[] = { 6, 1, 1, 2, 0, 0, 0xc9, 16, 0, 1, 2, 3, 4, 5, 6, 7 };
	static const uint8_t twice[] = { 6, 4, 1, 0, 0xc9, 16, A16, 0xc9, 16, A16, 1, 0 };
	static const uint8_t two_headers[] = { 60, 2, 1, 2, 0, 0, 0xc9, 16, A16,
					       6, 2, 1, 2, 0, 0, 0xc9, 16, A16 };
	static const uint8_t route[] = { 6, 2, 2, 1, 0, 0, 0, 0, A16 };
	static const uint8_t route_done[] = { 6, 2, 2, 0, 0, 0, 0, 0, A16 };
	static const uint8_t route_0[] = { 6, 2, 0, 1, 0, 0, 0, 0, A16 };
	static const uint8_t both[] = { 43, 2, 1, 2, 0, 0, 0xc9, 16, A16,
					6, 2, 2, 1, 0, 0, 0, 0, A16 };
	static const uint8_t hop[] = { 6, 2, 1, 2, 0, 0, 0xc9, 16, A16 };
	static const uint8_t whole[] = { 6, 0, 0, 0, 1, 2, 3, 4 };
	static const uint8_t reserved[] = { 6, 0, 0, 6, 1, 2, 3, 4 };
	static const uint8_t first[] = { 6, 0, 0, 1, 1, 2, 3, 4 };
	static const uint8_t last[] = { 6, 0, 1, 0, 1, 2, 3, 4 };
	static const uint8_t ah[] = { 6, 4, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8,
				      1, 2, 3, 4 };
	static const uint8_t long_one[] = { 6, 255, 1, 2, 0, 0, 0xc9, 16, A16 };
#define TRY(name, type, class, h, r) \
	expect_extension(#name, type, name, sizeof(name), XN_FLOW_##class, h, r)

	TRY(home, 60, TCPV6_EX, 48, 0);
	TRY(pad1, 60, TCPV6_EX, 48, 0);
	TRY(home_short, 60, TCPV6_EX, 0, 0);
	TRY(home_out, 60, TCPV6_EX, 0, 0);
	TRY(twice, 60, TCPV6_EX, 46, 0);
	TRY(two_headers, 60, TCPV6_EX, 48, 0);
	TRY(route, 43, TCPV6_EX, 0, 48);
	TRY(route_done, 43, TCPV6_EX, 0, 0);
	TRY(route_0, 43, TCPV6_EX, 0, 0);
	TRY(both, 60, TCPV6_EX, 48, 72);
	TRY(hop, 0, TCPV6_EX, 0, 0);       /* not in this header */
	TRY(whole, 44, TCPV6_EX, 0, 0);
	TRY(reserved, 44, TCPV6_EX, 0, 0); /* two bits without a meaning */
	TRY(first, 44, IPV6_EX, 0, 0);
	TRY(last, 44, IPV6_EX, 0, 0);
	TRY(ah, 51, TCPV6_EX, 0, 0);
	TRY(ah, 50, IPV6_EX, 0, 0);        /* ESP: encrypted */
	TRY(long_one, 60, IPV6_EX, 0, 0);  /* goes on behind the end of the packet */
	TRY(home, 59, IPV6, 0, 0);         /* no next header */
	TRY(home, 17, UDPV6, 0, 0);
#undef TRY
}

static void endless_chains_end(void **state)
{
	uint8_t f[14 + 40 + 8 * 100 + 20], *ext = f + 54;
	unsigned steps = XN_FLOW_STEPS;

	/* As many headers as are looked at; the TCP header behind them is found. */
	rss_plain_frame(f, sizeof(f), XN_FLOW_TCPV6, 0, 13);
	f[14 + 6] = 0;
	memset(ext, 0, sizeof(f) - 54);
	ext[8 * (steps - 1)] = 6;
	assert_int_equal(class_of(f, sizeof(f)), XN_FLOW_TCPV6_EX);
	compare(f, sizeof(f));
	ext[8 * (steps - 1)] = 0;
	ext[8 * steps] = 6;
	assert_int_equal(class_of(f, sizeof(f)), XN_FLOW_IPV6_EX);
	compare(f, sizeof(f));
	/* A destination options header full of single paddings, and a home address behind. */
	memset(ext, 0, sizeof(f) - 54);
	f[14 + 6] = 60;
	ext[0] = 6;
	ext[1] = 20;
	ext[2 + steps] = 0xc9;
	ext[3 + steps] = 16;
	assert_int_equal(class_of(f, sizeof(f)), XN_FLOW_IPV6_EX);
	compare(f, sizeof(f));
}

static void table_shorter_than_the_longest_is_used_by_its_own_mask(void **state)
{
	uint64_t seed = 6;

	for (unsigned i = 0; i < 200; i++) {
		uint32_t hash = (uint32_t)rss_random(&seed);

		rss_random_config(&seed, &cfg, 64);
		xn_rss_image_make(&img, &cfg);
		assert_int_equal(xn_rss_queue(&img, hash), cfg.table[hash & (cfg.entries - 1u)]);
	}
}

/* ---- what a driver sends ---- */

struct command {
	uint8_t bytes[XN_RSS_COMMAND_BYTES + 8];
	unsigned n;
};

static void put(struct command *c, uint32_t v, unsigned bytes)
{
	for (; bytes; bytes--, v >>= 8)
		c->bytes[c->n++] = (uint8_t)v;
}

/* What Linux sends for 4 pairs, with a table of `entries` and a key of `key` bytes. */
static struct command command(unsigned entries, unsigned key)
{
	struct command c = { .n = 0 };

	put(&c, 0x3f, 4);
	put(&c, entries - 1, 2);
	put(&c, 3, 2);
	for (unsigned i = 0; i < entries; i++)
		put(&c, i % 4, 2);
	put(&c, 4, 2);
	put(&c, key, 1);
	for (unsigned i = 0; i < key; i++)
		put(&c, 0x40 + i, 1);
	return c;
}

static struct xn_rss_limits limits(void)
{
	struct xn_rss_limits l = XN_RSS_LIMITS(4);

	l.entries = 512;
	l.key_bytes = 52;
	return l;
}

/* From memory that ends where the command ends. */
static enum xn_rss_error read_it(struct xn_rss_config *out, const struct command *c, unsigned n)
{
	const struct xn_rss_limits l = limits();
	uint8_t *exact = malloc(n ? n : 1);
	enum xn_rss_error e;

	memcpy(exact, c->bytes, n);
	e = xn_rss_read_config(out, exact, n, &l);
	free(exact);
	return e;
}

static void what_a_driver_sends_is_read_field_by_field(void **state)
{
	static const unsigned entries[] = { 1, 2, 128, 512 }, keys[] = { 40, 41, 52 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(entries); i++)
		for (unsigned k = 0; k < XN_ARRAY_SIZE(keys); k++) {
			struct command c = command(entries[i], keys[k]);

			assert_int_equal(read_it(&cfg, &c, c.n), XN_RSS_OK);
			assert_int_equal(cfg.types, 0x3f);
			assert_int_equal(cfg.entries, entries[i]);
			assert_int_equal(cfg.unclassified, 3);
			assert_int_equal(cfg.max_tx, 4);
			assert_int_equal(cfg.key_bytes, keys[k]);
			for (unsigned e = 0; e < entries[i]; e++)
				assert_int_equal(cfg.table[e], e % 4);
			for (unsigned b = 0; b < keys[k]; b++)
				assert_int_equal(cfg.key[b], 0x40 + b);
		}
}

/* One field is wrong (bytes `at`.. are v): the error has this name, and nothing changes. */
static void expect_error(enum xn_rss_error want, unsigned entries, unsigned key, unsigned at,
			 uint32_t v, unsigned bytes)
{
	struct command c = command(entries, key);
	struct xn_rss_config before = cfg;
	enum xn_rss_error got;
	unsigned n = c.n;

	c.n = at;
	put(&c, v, bytes);
	got = read_it(&cfg, &c, n);
	if (got != want)
		fail_msg("%u at byte %u: %s, and should be %s", v, at, xn_rss_error_name(got),
			 xn_rss_error_name(want));
	assert_memory_equal(&cfg, &before, sizeof(cfg));
}

static void every_wrong_field_has_its_name_and_changes_nothing(void **state)
{
	unsigned max_tx = 8 + 2 * 16, key = max_tx + 2;

	expect_error(XN_R_rss_types, 16, 40, 0, 0x200, 4);
	expect_error(XN_R_rss_types, 16, 40, 0, 0x80000001, 4);
	expect_error(XN_R_rss_mask, 16, 40, 4, 14, 2);
	expect_error(XN_R_rss_mask, 16, 40, 4, 0xfffe, 2);
	expect_error(XN_R_rss_entries, 16, 40, 4, 0xffff, 2);
	expect_error(XN_R_rss_entries, 16, 40, 4, 1023, 2);
	expect_error(XN_R_rss_unclassified, 16, 40, 6, 4, 2);
	expect_error(XN_R_rss_unclassified, 16, 40, 6, 0x8000, 2);   /* the reserved bit */
	expect_error(XN_R_rss_queue, 16, 40, 8, 4, 2);
	expect_error(XN_R_rss_queue, 16, 40, 8 + 2 * 15, 0xffff, 2);
	expect_error(XN_R_rss_queue, 16, 40, 8 + 2 * 7, 0x8000, 2);
	expect_error(XN_R_rss_max_tx, 16, 40, max_tx, 0, 2);
	expect_error(XN_R_rss_max_tx, 16, 40, max_tx, 5, 2);
	expect_error(XN_R_rss_max_tx, 16, 40, max_tx, 0xffff, 2);
	expect_error(XN_R_rss_key, 16, 40, key, 0, 1);
	expect_error(XN_R_rss_key, 16, 40, key, 39, 1);
	expect_error(XN_R_rss_key, 16, 40, key, 53, 1);
	expect_error(XN_R_rss_key, 16, 40, key, 255, 1);
	expect_error(XN_R_rss_short, 16, 40, key, 41, 1);
	expect_error(XN_R_rss_long, 16, 42, key, 40, 1);
	/* A table that is said to be longer than what is there, or shorter. */
	expect_error(XN_R_rss_short, 16, 40, 4, 255, 2);
	expect_error(XN_R_rss_max_tx, 16, 40, 4, 7, 2);   /* there, a table entry stands */
}

static void command_of_any_other_length_is_refused(void **state)
{
	struct command c = command(32, 40);
	struct xn_rss_config before = cfg;
	unsigned whole = c.n;

	for (c.n = 0; c.n < whole; c.n++)
		assert_int_equal(read_it(&cfg, &c, c.n), XN_R_rss_short);
	for (c.n = whole + 2; c.n < whole + 8; c.n++)
		assert_int_equal(read_it(&cfg, &c, c.n), XN_R_rss_long);
	assert_memory_equal(&cfg, &before, sizeof(cfg));
	assert_int_equal(read_it(&cfg, &c, whole), XN_RSS_OK);
}

/* Linux 6.15 and newer: with the byte that its struct is padded with, behind the key or before. */
static void padding_of_linux_is_no_part_of_the_key(void **state)
{
	struct command c = command(32, 40), padded = c;
	struct xn_rss_config want, got;
	uint8_t *key = padded.bytes + c.n - 40;

	assert_int_equal(read_it(&want, &c, c.n), XN_RSS_OK);
	assert_int_equal(read_it(&got, &padded, c.n + 1), XN_RSS_OK);
	assert_memory_equal(&got, &want, sizeof(got));
	memmove(key + 1, key, 40);
	key[0] = 0;
	assert_true(key[40]);
	memset(&got, 0, sizeof(got));
	assert_int_equal(read_it(&got, &padded, c.n + 1), XN_RSS_OK);
	assert_int_equal(got.key_bytes, 40);
	assert_memory_equal(got.key, want.key, 40);
}

static void no_hash_type_at_all_is_a_configuration(void **state)
{
	struct command c = command(4, 40);
	uint8_t frame[60];
	uint32_t hash;
	unsigned report;

	memset(c.bytes, 0, 4);
	assert_int_equal(read_it(&cfg, &c, c.n), XN_RSS_OK);
	xn_rss_image_make(&img, &cfg);
	rss_plain_frame(frame, sizeof(frame), XN_FLOW_TCPV4, 0, 1);
	assert_int_equal(xn_rss_steer(&img, frame, sizeof(frame), &hash, &report), 3);
	assert_int_equal(report, VIRTIO_NET_HASH_REPORT_NONE);
	assert_int_equal(hash, 0);
}

static void hash_configuration_is_read_with_its_reserved_fields_ignored(void **state)
{
	const struct xn_rss_limits l = limits();
	struct xn_rss_config before;
	struct command c = { .n = 0 };

	put(&c, 0x1ff, 4);
	put(&c, 0, 4);
	put(&c, 0x10000, 4);   /* as Linux 5.18 does */
	put(&c, 40, 1);
	for (unsigned i = 0; i < 40; i++)
		put(&c, i, 1);
	assert_int_equal(xn_rss_read_hash(&cfg, c.bytes, c.n, &l), XN_RSS_OK);
	assert_int_equal(cfg.types, 0x1ff);
	assert_int_equal(cfg.key_bytes, 40);
	assert_int_equal(cfg.key[39], 39);
	assert_int_equal(cfg.entries, 1);
	assert_int_equal(cfg.table[0], 0);
	before = cfg;
	for (unsigned n = 0; n < c.n; n++)
		assert_int_equal(xn_rss_read_hash(&cfg, c.bytes, n, &l), XN_R_rss_short);
	assert_int_equal(xn_rss_read_hash(&cfg, c.bytes, c.n + 2, &l), XN_R_rss_long);
	c.bytes[12] = 39;
	assert_int_equal(xn_rss_read_hash(&cfg, c.bytes, c.n - 1, &l), XN_R_rss_key);
	c.bytes[1] = 2;
	assert_int_equal(xn_rss_read_hash(&cfg, c.bytes, c.n, &l), XN_R_rss_types);
	assert_memory_equal(&cfg, &before, sizeof(cfg));
}

static void every_error_has_a_name_and_a_meaning(void **state)
{
	for (unsigned e = 0; e < XN_RSS_ERROR_COUNT; e++) {
		assert_memory_equal(xn_rss_error_name(e), "rss_", 4);
		assert_true(strlen(xn_rss_error_text(e)) > 10);
	}
}

static void usual_limits_are_what_every_linux_guest_survives(void **state)
{
	struct xn_rss_limits l = XN_RSS_LIMITS(16);

	assert_int_equal(l.entries, 128);
	assert_int_equal(l.key_bytes, 40);
	assert_int_equal(l.types, 0x1ff);
}

/* ---- what nobody sent ---- */

static void default_table_gives_each_queue_its_share(void **state)
{
	for (unsigned pairs = 1; pairs <= XN_RSS_PAIRS_MAX; pairs++) {
		unsigned n[XN_RSS_PAIRS_MAX] = { 0 };

		xn_rss_default(&cfg, pairs);
		assert_true(xn_is_pow2(cfg.entries));
		assert_int_equal(cfg.max_tx, pairs);
		for (unsigned i = 0; i < cfg.entries; i++)
			n[cfg.table[i]]++;
		for (unsigned q = 0; q < pairs; q++)
			assert_in_range(n[q], cfg.entries / pairs, cfg.entries / pairs + 1);
	}
}

static void keys_are_parsed_and_others_refused(void **state)
{
	char text[3 * XN_RSS_KEY_MAX + 8];
	struct xn_rss_config before;

	for (unsigned n = 1; n <= XN_RSS_KEY_MAX + 1; n++)
		for (unsigned colons = 0; colons < 2; colons++) {
			unsigned at = 0;

			for (unsigned i = 0; i < n; i++)
				at += (unsigned)sprintf(text + at, "%s%02X",
							colons && i ? ":" : "", i + 0x60);
			before = cfg;
			if (n >= XN_RSS_KEY_BYTES && n <= XN_RSS_KEY_MAX) {
				assert_int_equal(xn_rss_set_key(&cfg, text), 0);
				assert_int_equal(cfg.key_bytes, n);
				assert_int_equal(cfg.key[0], 0x60);
				assert_int_equal(cfg.key[n - 1], n + 0x5f);
			} else {
				assert_int_equal(xn_rss_set_key(&cfg, text), -EINVAL);
				assert_non_null(strstr(xn_last_error(), "40 to 64 bytes"));
				assert_memory_equal(&cfg, &before, sizeof(cfg));
			}
		}
	memset(text, 'a', 80);
	text[80] = 0;
	assert_int_equal(xn_rss_set_key(&cfg, text), 0);
	assert_int_equal(xn_rss_set_key(&cfg, text + 1), -EINVAL);   /* half a byte */
	text[40] = 'g';
	assert_int_equal(xn_rss_set_key(&cfg, text), -EINVAL);
	text[40] = ':';
	assert_int_equal(xn_rss_set_key(&cfg, text), -EINVAL);
	assert_int_equal(xn_rss_set_key(&cfg, ""), -EINVAL);
	assert_int_equal(xn_rss_set_key(&cfg, "Symmetric"), -EINVAL);
	for (unsigned i = 0; i < 160; i += 3)
		memcpy(text + i, "aa:", 4);   /* ends with a colon */
	assert_int_equal(xn_rss_set_key(&cfg, text), -EINVAL);

	assert_int_equal(xn_rss_set_key(&cfg, "random"), 0);
	before = cfg;
	assert_int_equal(xn_rss_set_key(&cfg, "random"), 0);
	assert_int_equal(cfg.key_bytes, XN_RSS_KEY_BYTES);
	assert_memory_not_equal(cfg.key, before.key, XN_RSS_KEY_BYTES);
}

static void tables_are_parsed_and_others_refused(void **state)
{
	static const char *const bad[] = {
		"", ",", "0,", "0,1,2", "0,,1", "4,0", "0 ,1", "-1,0", "0,1x", "a", "equal",
		"equal:", "equal:0", "equal:5", "equal:4,", "99999999999999999999,0", "0x1,0",
		"1,equal:2",
	};
	char text[4 * XN_RSS_TABLE_MAX + 8];
	struct xn_rss_config before = cfg;
	unsigned at = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		assert_int_equal(xn_rss_set_table(&cfg, bad[i], 4), -EINVAL);
		assert_memory_equal(&cfg, &before, sizeof(cfg));
	}
	assert_non_null(strstr(xn_last_error(), "each below 4"));
	assert_int_equal(xn_rss_set_table(&cfg, "3", 4), 0);
	assert_int_equal(cfg.entries, 1);
	assert_int_equal(cfg.table[0], 3);
	assert_int_equal(xn_rss_set_table(&cfg, "3,1,0,00", 4), 0);
	assert_int_equal(cfg.entries, 4);
	assert_int_equal(cfg.table[1], 1);
	assert_int_equal(xn_rss_set_table(&cfg, "equal:3", 4), 0);
	assert_int_equal(cfg.entries, 128);
	assert_int_equal(cfg.table[5], 2);
	for (unsigned i = 0; i < XN_RSS_TABLE_MAX; i++)
		at += (unsigned)sprintf(text + at, "%s%u", i ? "," : "", i % 4);
	assert_int_equal(xn_rss_set_table(&cfg, text, 4), 0);
	assert_int_equal(cfg.entries, XN_RSS_TABLE_MAX);
	strcpy(text + at, ",1");
	assert_int_equal(xn_rss_set_table(&cfg, text, 4), -EINVAL);
}

#define CASE(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(microsofts_published_hashes_come_out),
		CASE(tables_hash_as_the_definition_does_for_every_key_and_place),
		CASE(symmetric_key_hashes_both_directions_alike),
		CASE(random_frames_have_the_hash_of_the_model),
		CASE(frame_that_is_cut_off_anywhere_has_the_hash_of_the_model),
		CASE(every_set_of_hash_types_is_applied_as_the_specification_says),
		CASE(what_is_no_whole_header_is_none),
		CASE(two_vlan_tags_are_looked_through_and_a_third_is_not),
		CASE(all_fragments_of_a_packet_go_the_same_way),
		CASE(addresses_in_extension_headers_are_found_where_they_are_valid),
		CASE(endless_chains_end),
		CASE(table_shorter_than_the_longest_is_used_by_its_own_mask),
		CASE(what_a_driver_sends_is_read_field_by_field),
		CASE(every_wrong_field_has_its_name_and_changes_nothing),
		CASE(command_of_any_other_length_is_refused),
		CASE(padding_of_linux_is_no_part_of_the_key),
		CASE(no_hash_type_at_all_is_a_configuration),
		CASE(hash_configuration_is_read_with_its_reserved_fields_ignored),
		CASE(every_error_has_a_name_and_a_meaning),
		CASE(usual_limits_are_what_every_linux_guest_survives),
		CASE(default_table_gives_each_queue_its_share),
		CASE(keys_are_parsed_and_others_refused),
		CASE(tables_are_parsed_and_others_refused),
	};

	return cmocka_run_group_tests_name("rss", tests, NULL, NULL);
}
