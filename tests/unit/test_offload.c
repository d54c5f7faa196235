/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/offload.h and base/packet.h: every legal packet is understood, and its
 * headers found; every lie in a virtio-net header has its name, and none is believed; what
 * is to be ignored is; nothing behind the bytes that are there is looked at.
 */
#include <linux/virtio_config.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cmocka.h"
#include "tests/fake/packet.h"
#include "virtio/offload.h"

#define F(n) (1ull << (n))
#define ALL  (F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_TSO6) | \
	      F(VIRTIO_NET_F_HOST_ECN) | F(XN_NET_F_HOST_USO))

static const struct xn_offload_rules rules = { .features = ALL, .max_frame = 1518 };

static struct pkt pkt;
static struct xn_offload off;

static enum xn_offload_fault check_with(const struct xn_offload_rules *r)
{
	uint32_t n = xn_offload_wants(&pkt.hdr, pkt.bytes);

	/* What is there beyond would be legal too, and must not be looked at. */
	memset(&off, 0x45, sizeof(off));
	memcpy(off.head, pkt.data, n);
	return xn_offload_check(r, &pkt.hdr, pkt.bytes, &off);
}

static enum xn_offload_fault check(void) { return check_with(&rules); }

#define assert_fault(f) assert_string_equal(xn_offload_fault_name(check()), "tx_bad_hdr_" #f)
#define assert_ok()     assert_string_equal(xn_offload_fault_name(check()), "none")

static void build(struct pkt_spec s) { s.seed = 1234567; pkt_build(&pkt, &s); }

static void tcp4(uint32_t payload, uint16_t gso_size)
{
	build((struct pkt_spec){ .version = 4, .payload = payload, .gso_size = gso_size,
				 .tcp_options = 3, .tcp_flags = 0x18 });
}

static void udp4(uint32_t payload, uint16_t gso_size)
{
	build((struct pkt_spec){ .version = 4, .udp = true, .payload = payload,
				 .gso_size = gso_size });
}

/* ---- what is legal ---- */

static void every_legal_packet_is_understood(void **state)
{
	unsigned cut = 0, whole = 0, many = 0;
	struct pkt_spec s;
	uint32_t rnd = 4711;

	for (unsigned i = 0; i < 20000; i++) {
		uint32_t payload;

		pkt_spec_random(&s, &rnd, i % 20 ? 4000 : 65000);
		pkt_build(&pkt, &s);
		payload = pkt.bytes - pkt.payload_at;
		if (s.udp && payload > 128u * s.gso_size) {
			assert_fault(gso_segments);
			many++;
			continue;
		}
		if (pkt.bytes - pkt.ip_at > 65535 + (s.version == 6 ? 40 : 0)) {
			assert_fault(gso_too_long);
			continue;
		}
		if (payload > s.gso_size && pkt.payload_at + s.gso_size > 1514u + 4 * !!s.tags) {
			assert_fault(gso_too_long);
			continue;
		}
		if (payload > 2048u * s.gso_size) {
			assert_fault(gso_segments);
			many++;
			continue;
		}
		assert_ok();
		assert_true(off.csum);
		assert_int_equal(off.bytes, pkt.bytes);
		assert_int_equal(off.csum_start, pkt.l4_at);
		assert_int_equal(off.csum_at, pkt.l4_at + (s.udp ? 6 : 16));
		if (payload <= s.gso_size) {
			assert_int_equal(off.gso, XN_GSO_NONE);
			whole++;
			continue;
		}
		cut++;
		assert_int_equal(off.gso, s.udp ? XN_GSO_UDP : XN_GSO_TCP);
		assert_int_equal(off.gso_size, s.gso_size);
		assert_int_equal(off.segs, payload / s.gso_size + !!(payload % s.gso_size));
		assert_int_equal(off.payload_at, pkt.payload_at);
		assert_int_equal(off.at.version, s.version);
		assert_int_equal(off.at.ip_at, pkt.ip_at);
		assert_int_equal(off.at.l4_at, pkt.l4_at);
		assert_int_equal(off.at.l4_bytes, pkt.bytes - pkt.l4_at);
		assert_int_equal(off.at.dst_at, pkt_dst_at(&pkt, &s));
		assert_int_equal(off.at.tagged, s.tags != 0);
	}
	assert_true(cut > 5000 && whole > 1000 && many > 10);
}

static void header_has_the_length_of_what_was_negotiated(void **state)
{
	assert_int_equal(xn_net_hdr_bytes(0), 10);
	assert_int_equal(xn_net_hdr_bytes(ALL), 10);
	assert_int_equal(xn_net_hdr_bytes(F(VIRTIO_NET_F_MRG_RXBUF)), 12);
	assert_int_equal(xn_net_hdr_bytes(F(VIRTIO_F_VERSION_1)), 12);
	assert_int_equal(xn_net_hdr_bytes(F(VIRTIO_F_VERSION_1) | F(XN_NET_F_HASH_REPORT)), 20);
}

static void without_a_request_nothing_is_asked_for(void **state)
{
	const struct xn_offload_rules none = { .max_frame = 1518 };

	tcp4(3000, 1000);
	memset(&pkt.hdr, 0xff, sizeof(pkt.hdr));      /* lengths and unknown flags */
	pkt.hdr.flags = (uint8_t)~VIRTIO_NET_HDR_F_NEEDS_CSUM;
	pkt.hdr.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	assert_int_equal(xn_offload_wants(&pkt.hdr, pkt.bytes), 0);
	assert_int_equal(check_with(&none), XN_OFFLOAD_OK);
	assert_false(off.csum);
	assert_int_equal(off.gso, XN_GSO_NONE);
	assert_int_equal(off.bytes, pkt.bytes);
}

static void hdr_len_is_a_hint_and_unknown_flags_are_ignored(void **state)
{
	static const uint16_t lens[] = { 0, 1, 13, 54, 65, 66, 67, 255, 256, 257, 3066, 65535 };

	tcp4(3000, 1000);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(lens); i++) {
		pkt.hdr.hdr_len = lens[i];
		pkt.hdr.flags = (uint8_t)(lens[i] | VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_ok();
		assert_int_equal(off.payload_at, 66);
		assert_int_equal(off.segs, 3);
	}
}

/* ---- checksum ---- */

static void checksum_without_the_feature_is_refused(void **state)
{
	const struct xn_offload_rules r = { .features = ALL & ~F(VIRTIO_NET_F_CSUM),
					    .max_frame = 1518 };

	udp4(100, 0);
	assert_int_equal(check_with(&r), XN_OFFLOAD_csum_feature);
	pkt.hdr.flags = 0;
	assert_int_equal(check_with(&r), XN_OFFLOAD_OK);
}

/* Every start and offset around the packet's ends, and the greatest. */
static void checksum_field_is_inside_the_packet_or_refused(void **state)
{
	static const uint16_t odd[] = { 0, 1, 2, 13, 14, 33, 34, 35, 140, 141, 142, 143, 144,
					32767, 32768, 65533, 65534, 65535 };

	udp4(100, 0);
	assert_int_equal(pkt.bytes, 142);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(odd); i++)
		for (unsigned k = 0; k < XN_ARRAY_SIZE(odd); k++) {
			pkt.hdr.csum_start = odd[i];
			pkt.hdr.csum_offset = odd[k];
			if (odd[i] + odd[k] + 2 > 142) {
				assert_fault(csum_range);
				continue;
			}
			assert_ok();
			assert_int_equal(off.csum_start, odd[i]);
			assert_int_equal(off.csum_at, odd[i] + odd[k]);
		}
	pkt.hdr.csum_start = pkt.hdr.csum_offset = 0;
	for (pkt.bytes = 0; pkt.bytes < 2; pkt.bytes++)
		assert_fault(csum_range);
	assert_ok();
}

/* ---- segmentation ---- */

static void segmentation_without_its_feature_is_refused(void **state)
{
	static const struct { uint8_t type; unsigned feature; } need[] = {
		{ VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4 },
		{ VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6 },
		{ XN_NET_GSO_UDP_L4, XN_NET_F_HOST_USO },
		{ VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, VIRTIO_NET_F_HOST_ECN },
		{ VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN, VIRTIO_NET_F_HOST_ECN },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(need); i++) {
		struct xn_offload_rules r = rules;

		build((struct pkt_spec){ .version = need[i].type & 4 && need[i].type != 5 ? 6 : 4,
					 .udp = need[i].type == 5, .payload = 2000,
					 .gso_size = 1000 });
		pkt.hdr.gso_type = need[i].type;
		assert_int_equal(check_with(&r), XN_OFFLOAD_OK);
		assert_int_equal(off.segs, 2);
		r.features &= ~F(need[i].feature);
		assert_int_equal(check_with(&r), XN_OFFLOAD_gso_feature);
	}
}

static void unknown_kinds_of_segmentation_are_refused(void **state)
{
	for (unsigned type = 1; type < 256; type++) {
		tcp4(2000, 1000);
		pkt.hdr.gso_type = (uint8_t)type;
		switch (type) {
		case VIRTIO_NET_HDR_GSO_TCPV4:
		case VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN:
			assert_ok();
			break;
		case VIRTIO_NET_HDR_GSO_TCPV6:
		case VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN:
			assert_fault(gso_headers);
			break;
		case XN_NET_GSO_UDP_L4:
			assert_fault(gso_csum);
			break;
		default:
			assert_fault(gso_type);
		}
	}
}

static void segmentation_wants_the_checksum_of_its_protocol(void **state)
{
	tcp4(2000, 1000);
	pkt.hdr.flags = 0;
	assert_fault(gso_csum);
	tcp4(2000, 1000);
	for (unsigned offset = 0; offset < 40; offset++) {
		pkt.hdr.csum_offset = (uint16_t)offset;
		if (offset == 16)
			assert_ok();
		else
			assert_fault(gso_csum);
	}
	udp4(2000, 1000);
	pkt.hdr.csum_offset = 16;
	assert_fault(gso_csum);
}

static void headers_have_to_be_where_csum_start_says(void **state)
{
	for (unsigned start = 0; start < 100; start++) {
		tcp4(2000, 1000);
		pkt.hdr.csum_start = (uint16_t)start;
		if (start == 34)
			assert_ok();
		else
			assert_fault(gso_headers);
	}
}

static void headers_have_to_be_those_of_the_kind(void **state)
{
	static const struct { uint32_t at; uint8_t value; } lies[] = {
		{ 12, 0x86 }, { 13, 0x06 },          /* another Ethernet type */
		{ 14, 0x65 }, { 14, 0x44 }, { 14, 0x40 }, { 14, 0x46 },   /* version, length */
		{ 23, IPPROTO_UDP }, { 23, 0 },      /* protocol */
		{ 46, 0x40 }, { 46, 0x00 },          /* TCP's length */
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(lies); i++) {
		tcp4(2000, 1000);
		pkt.data[lies[i].at] = lies[i].value;
		assert_fault(gso_headers);
	}
	for (unsigned doff = 5; doff < 16; doff++) {
		tcp4(2000, 1000);
		pkt.data[46] = (uint8_t)(doff << 4);
		assert_ok();
		assert_int_equal(off.payload_at, 34 + 4 * doff);
	}
}

static void ipv6_extension_headers_are_walked_as_far_as_they_are_known(void **state)
{
	const struct pkt_spec s = { .version = 6, .ip6_ext = 15, .payload = 2000, .gso_size = 1000 };

	build(s);
	assert_ok();
	/* Order: hop-by-hop at 54, destination at 62, routing at 86, TCP at 126. */
	assert_int_equal(pkt.l4_at, 126);
	pkt.data[86 + 2] = 3;              /* a kind whose destination is not known */
	assert_fault(gso_headers);
	pkt.data[86 + 3] = 0;              /* no segment left: it does not matter */
	assert_ok();
	assert_int_equal(off.at.dst_at, 14 + 24);
	for (unsigned next = 0; next < 256; next++) {
		build(s);
		pkt.data[86] = (uint8_t)next;      /* what follows the routing header */
		if (next == IPPROTO_TCP)
			assert_ok();
		else if (next == IPPROTO_FRAGMENT)
			assert_fault(gso_fragment);
		else
			assert_fault(gso_headers);
	}
	build(s);
	pkt.data[55] = 255;                /* longer than all that is looked at */
	assert_fault(gso_headers);
	/* Headers that name each other as the next come to an end. */
	build(s);
	memset(pkt.data + 54, 0, 300);
	assert_fault(gso_headers);
}

static void fragments_are_not_segmented(void **state)
{
	tcp4(2000, 1000);
	pkt.data[20] = 0x40;                       /* may not be fragmented */
	pkt.data[21] = 0;
	assert_ok();
	pkt.data[20] = 0x20;                       /* more follow */
	assert_fault(gso_fragment);
	pkt.data[20] = 0;
	pkt.data[21] = 1;                          /* not the first */
	assert_fault(gso_fragment);
	pkt.data[20] = 0x1f;
	assert_fault(gso_fragment);
}

static void segments_have_a_least_size(void **state)
{
	tcp4(2000, 0);
	pkt.hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	for (unsigned size = 0; size < 8; size++) {
		pkt.hdr.gso_size = (uint16_t)size;
		assert_fault(gso_size);
	}
	pkt.hdr.gso_size = 8;
	assert_ok();
	assert_int_equal(off.segs, 250);
	udp4(100, 0);
	pkt.hdr.gso_type = XN_NET_GSO_UDP_L4;
	assert_fault(gso_size);
	pkt.hdr.gso_size = 1;
	assert_ok();
	assert_int_equal(off.segs, 100);
}

static void one_packet_makes_a_bounded_number_of_segments(void **state)
{
	tcp4(2048 * 16, 16);
	assert_ok();
	assert_int_equal(off.segs, 2048);
	tcp4(2048 * 16 + 1, 16);
	assert_fault(gso_segments);
	udp4(128 * 10, 10);
	assert_ok();
	assert_int_equal(off.segs, 128);
	udp4(128 * 10 + 1, 10);
	assert_fault(gso_segments);
}

static void a_packet_that_fits_one_segment_is_none_to_be_cut(void **state)
{
	static const uint16_t sizes[] = { 1000, 1001, 1448, 9000, 65535 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++) {
		tcp4(1000, sizes[i]);
		assert_ok();
		assert_true(off.csum);
		assert_int_equal(off.gso, XN_GSO_NONE);
	}
	tcp4(0, 1000);
	assert_ok();
	assert_int_equal(off.gso, XN_GSO_NONE);
	tcp4(1000, 999);
	assert_ok();
	assert_int_equal(off.segs, 2);
}

static void segments_are_no_longer_than_a_frame(void **state)
{
	struct pkt_spec s = { .version = 4, .payload = 5000, .gso_size = 1460 };

	build(s);
	assert_ok();
	s.gso_size = 1461;
	build(s);
	assert_fault(gso_too_long);
	/* A tag has room of its own; two of them have not. */
	s.gso_size = 1460;
	s.tags = 1;
	build(s);
	assert_ok();
	assert_int_equal(xn_offload_seg_bytes(&off), 1518);
	s.tags = 2;
	build(s);
	assert_fault(gso_too_long);
}

static void a_packet_is_no_longer_than_ip_can_say(void **state)
{
	const struct xn_offload_rules r = { .features = ALL, .max_frame = 1u << 20 };
	struct pkt_spec s = { .version = 4, .payload = 65535 - 40, .gso_size = 1000 };

	build(s);
	assert_int_equal(check_with(&r), XN_OFFLOAD_OK);
	s.payload++;
	build(s);
	assert_int_equal(check_with(&r), XN_OFFLOAD_gso_too_long);
	s.version = 6;
	s.payload = 65535 - 20;
	build(s);
	assert_int_equal(check_with(&r), XN_OFFLOAD_OK);
	s.payload++;
	build(s);
	assert_int_equal(check_with(&r), XN_OFFLOAD_gso_too_long);
	pkt.bytes = UINT32_MAX;
	assert_int_equal(check_with(&r), XN_OFFLOAD_gso_too_long);
}

static void what_fits_a_frame_is_left_whole_only_if_asked_to(void **state)
{
	struct xn_offload_rules r = { .features = ALL, .max_frame = 9018 };

	tcp4(8948, 1448);
	assert_int_equal(check_with(&r), XN_OFFLOAD_OK);
	assert_int_equal(off.segs, 7);
	r.whole = true;
	assert_int_equal(check_with(&r), XN_OFFLOAD_OK);
	assert_int_equal(off.gso, XN_GSO_NONE);
	assert_true(off.csum);
	tcp4(8949, 1448);
	assert_int_equal(check_with(&r), XN_OFFLOAD_OK);
	assert_int_equal(off.gso, XN_GSO_TCP);
}

/* What check() puts behind the bytes that there are looks like a header, too. */
static void headers_that_are_cut_off_are_not_made_up(void **state)
{
	struct pkt_spec s;
	uint32_t rnd = 31;

	for (unsigned i = 0; i < 300; i++) {
		uint32_t whole;

		pkt_spec_random(&s, &rnd, 10);
		s.gso_size = 1000;
		pkt_build(&pkt, &s);
		whole = pkt.payload_at;
		for (pkt.bytes = 0; pkt.bytes < whole; pkt.bytes++) {
			enum xn_offload_fault f = check();

			assert_true(f == XN_OFFLOAD_csum_range || f == XN_OFFLOAD_gso_headers);
		}
		assert_ok();
	}
}

/* The parser by itself: what it says does not depend on bytes that are not there. */
static void no_place_is_beyond_the_bytes_that_there_are(void **state)
{
	struct pkt_spec s;
	uint32_t rnd = 41;

	for (unsigned i = 0; i < 2000; i++) {
		uint8_t a[XN_HEAD_BYTES + 300], b[XN_HEAD_BYTES + 300];
		struct xn_packet p, q;
		uint32_t have;

		pkt_spec_random(&s, &rnd, 400);
		pkt_build(&pkt, &s);
		have = pkt_random(&rnd) % XN_HEAD_BYTES;
		if (i & 1)
			pkt.data[pkt_random(&rnd) % 100] = (uint8_t)pkt_random(&rnd);
		for (uint32_t k = 0; k < sizeof(a); k++) {
			a[k] = k < have ? pkt.data[k] : (uint8_t)(k & 1 ? 6 : 0);
			b[k] = k < have ? pkt.data[k] : 0x11;
		}
		xn_packet_parse(&p, a, have, 0);
		xn_packet_parse(&q, b, have, 0);
		assert_memory_equal(&p, &q, sizeof(p));
		if (p.version) {
			assert_true(p.ip_at < p.l4_at && p.l4_at <= have);
			assert_true(p.dst_at + (p.version == 4 ? 4u : 16u) <= p.l4_at);
		}
	}
}

static void a_length_of_ip_that_is_too_short_is_none(void **state)
{
	struct xn_packet p;

	for (unsigned v = 0; v < 2; v++) {
		build((struct pkt_spec){ .version = v ? 6 : 4, .ip6_ext = 1, .payload = 100 });
		for (unsigned n = 0; n < 30; n++) {
			const unsigned headers = v ? 8 : 20;

			xn_put_be16(pkt.data + (v ? 18 : 16), (uint16_t)n);
			xn_packet_parse(&p, pkt.data, 100, 0);
			assert_int_equal(p.version, v ? 6 : 4);
			assert_int_equal(p.l4_bytes, n > headers ? n - headers : 0);
		}
	}
}

static void headers_longer_than_the_copy_are_refused(void **state)
{
	build((struct pkt_spec){ .version = 6, .ip6_ext = 1, .payload = 2000, .gso_size = 500 });
	/* A hop-by-hop header of 8 + 8 * n bytes, with TCP behind it. */
	for (unsigned n = 0; n < 30; n++) {
		const uint32_t l4 = 54 + 8 + 8 * n;

		pkt.data[55] = (uint8_t)n;
		pkt.data[l4 + 12] = 0x50;
		pkt.hdr.csum_start = (uint16_t)l4;
		if (l4 + 20 <= XN_HEAD_BYTES)
			assert_ok();
		else
			assert_fault(gso_headers);
	}
}

static void any_header_of_any_bytes_is_judged(void **state)
{
	unsigned good = 0, faults[XN_OFFLOAD_FAULT_COUNT] = { 0 };
	struct pkt_spec s;
	uint32_t rnd = 99;

	for (unsigned i = 0; i < 200000; i++) {
		enum xn_offload_fault f;

		if (i % 16 == 0) {
			pkt_spec_random(&s, &rnd, 3000);
			pkt_build(&pkt, &s);
		}
		((uint8_t *)&pkt.hdr)[pkt_random(&rnd) % sizeof(pkt.hdr)] = (uint8_t)pkt_random(&rnd);
		pkt.data[pkt_random(&rnd) % 100] = (uint8_t)pkt_random(&rnd);
		f = check();
		assert_in_range(f, 0, XN_OFFLOAD_FAULT_COUNT - 1);
		faults[f]++;
		if (f != XN_OFFLOAD_OK)
			continue;
		good++;
		assert_true(!off.csum || off.csum_at + 2 <= pkt.bytes);
		if (off.gso == XN_GSO_NONE)
			continue;
		assert_in_range(off.segs, 2, 2048);
		assert_in_range(off.payload_at, 42, XN_HEAD_BYTES);
		assert_true(off.payload_at < pkt.bytes);
		assert_true((off.segs - 1u) * off.gso_size < pkt.bytes - off.payload_at);
		assert_true((uint32_t)off.segs * off.gso_size >= pkt.bytes - off.payload_at);
		assert_true(xn_offload_seg_bytes(&off) <= 1518);
	}
	assert_true(good > 1000);
	for (unsigned f = 1; f < XN_OFFLOAD_FAULT_COUNT; f++)
		if (f != XN_OFFLOAD_csum_feature && f != XN_OFFLOAD_gso_feature)
			assert_true(faults[f] > 0);
}

static void every_fault_has_a_name_and_a_meaning_of_its_own(void **state)
{
	for (unsigned i = 0; i < XN_OFFLOAD_FAULT_COUNT; i++)
		for (unsigned k = 0; k < i; k++) {
			assert_string_not_equal(xn_offload_fault_name(i), xn_offload_fault_name(k));
			assert_string_not_equal(xn_offload_fault_text(i), xn_offload_fault_text(k));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_legal_packet_is_understood),
		cmocka_unit_test(header_has_the_length_of_what_was_negotiated),
		cmocka_unit_test(without_a_request_nothing_is_asked_for),
		cmocka_unit_test(hdr_len_is_a_hint_and_unknown_flags_are_ignored),
		cmocka_unit_test(checksum_without_the_feature_is_refused),
		cmocka_unit_test(checksum_field_is_inside_the_packet_or_refused),
		cmocka_unit_test(segmentation_without_its_feature_is_refused),
		cmocka_unit_test(unknown_kinds_of_segmentation_are_refused),
		cmocka_unit_test(segmentation_wants_the_checksum_of_its_protocol),
		cmocka_unit_test(headers_have_to_be_where_csum_start_says),
		cmocka_unit_test(headers_have_to_be_those_of_the_kind),
		cmocka_unit_test(ipv6_extension_headers_are_walked_as_far_as_they_are_known),
		cmocka_unit_test(fragments_are_not_segmented),
		cmocka_unit_test(segments_have_a_least_size),
		cmocka_unit_test(one_packet_makes_a_bounded_number_of_segments),
		cmocka_unit_test(a_packet_that_fits_one_segment_is_none_to_be_cut),
		cmocka_unit_test(segments_are_no_longer_than_a_frame),
		cmocka_unit_test(a_packet_is_no_longer_than_ip_can_say),
		cmocka_unit_test(what_fits_a_frame_is_left_whole_only_if_asked_to),
		cmocka_unit_test(headers_that_are_cut_off_are_not_made_up),
		cmocka_unit_test(no_place_is_beyond_the_bytes_that_there_are),
		cmocka_unit_test(a_length_of_ip_that_is_too_short_is_none),
		cmocka_unit_test(headers_longer_than_the_copy_are_refused),
		cmocka_unit_test(any_header_of_any_bytes_is_judged),
		cmocka_unit_test(every_fault_has_a_name_and_a_meaning_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
