/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of port/rx_csum.h: a frame whose checksum was left unfinished is recognised, in
 * tunnels too, and finished to what a slow program says; a finished one is not touched; and
 * where both readings are possible, they come to the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "port/rx_csum.h"
#include "tests/cmocka.h"
#include "tests/fake/packet.h"

static struct pkt pkt;
static struct pkt_spec spec;
static uint32_t rnd = 515;

/* A copy that is exactly as long as what may be looked at: a sanitizer sees the rest. */
static unsigned unfinished_in(const uint8_t *frame, uint32_t bytes, struct xn_rx_csum c[2])
{
	const uint32_t have = XN_MIN(bytes, XN_HEAD_BYTES);
	uint8_t *head = malloc(have + 1);
	unsigned is;

	assert_non_null(head);
	memcpy(head + 1, frame, have);
	is = xn_rx_csum_unfinished(c, head + 1, have, bytes);
	free(head);
	return is;
}

/* Of frames in which it can only be one. */
static bool unfinished(const uint8_t *frame, uint32_t bytes, struct xn_rx_csum *c)
{
	struct xn_rx_csum both[2];
	const unsigned n = unfinished_in(frame, bytes, both);

	assert_in_range(n, 0, 1);
	*c = both[0];
	return n;
}

static bool find(const uint8_t *frame, uint32_t bytes, struct xn_rx_csum *c)
{
	return xn_rx_csum_find(c, frame, XN_MIN(bytes, XN_HEAD_BYTES), bytes);
}

static uint8_t *field(void) { return pkt.data + pkt.l4_at + (spec.udp ? 6 : 16); }

/* The checksum that this packet should have. */
static void finish_slowly(void)
{
	uint16_t sum;

	memset(field(), 0, 2);
	sum = (uint16_t)~pkt_sum_l4(pkt.data + pkt.ip_at, pkt.data + pkt_dst_at(&pkt, &spec),
				    spec.udp ? 17 : 6, pkt.data + pkt.l4_at, pkt.bytes - pkt.l4_at);
	sum = sum ? sum : 0xffff;
	field()[0] = (uint8_t)(sum >> 8);
	field()[1] = (uint8_t)sum;
}

static void build_by_chance(uint32_t max_payload)
{
	pkt_spec_random(&spec, &rnd, max_payload);
	pkt_build(&pkt, &spec);
}

static void an_unfinished_checksum_is_recognised_and_finished(void **state)
{
	static uint8_t ours[PKT_MAX];
	struct xn_rx_csum c;

	for (unsigned i = 0; i < 10000; i++) {
		build_by_chance(i % 50 ? 1500 : 60000);
		if (pkt.bytes - pkt.ip_at > 65535)
			continue;
		assert_true(unfinished(pkt.data, pkt.bytes, &c));
		assert_int_equal(c.start, pkt.l4_at);
		assert_int_equal(c.at, pkt.l4_at + (spec.udp ? 6 : 16));
		assert_int_equal(c.end, pkt.bytes);
		memcpy(ours, pkt.data, pkt.bytes);
		xn_rx_csum_finish(&c, ours);
		finish_slowly();
		assert_memory_equal(ours, pkt.data, pkt.bytes);
	}
}

static void a_finished_checksum_is_not_unfinished_but_good(void **state)
{
	unsigned chance = 0;
	struct xn_rx_csum c;

	for (unsigned i = 0; i < 10000; i++) {
		build_by_chance(1500);
		finish_slowly();
		chance += unfinished(pkt.data, pkt.bytes, &c);
		assert_true(find(pkt.data, pkt.bytes, &c));
		assert_true(xn_rx_csum_good(&c, xn_sum_bytes(pkt.data + c.start, c.end - c.start)));
		pkt.data[c.start + pkt_random(&rnd) % (c.end - c.start)] ^= 0x10;
		if (find(pkt.data, pkt.bytes, &c))   /* a bit of UDP's length may be the one */
			assert_false(xn_rx_csum_good(&c, xn_sum_bytes(pkt.data + c.start,
								      c.end - c.start)));
	}
	assert_true(chance < 5);
}

/* With 0 in an even place and `now` as checksum: what belongs there for it to be `want`. */
static uint16_t missing(uint16_t now, uint16_t want)
{
	return (uint16_t)(((uint32_t)now + 0xffff - want) % 0xffff);
}

/* The payload is chosen so that the finished checksum is the sum of the pseudo-header: to
 * finish it "again" changes nothing. */
static void if_both_readings_are_possible_both_give_the_same_frame(void **state)
{
	static uint8_t ours[PKT_MAX];
	struct xn_rx_csum c;

	for (unsigned i = 0; i < 3000; i++) {
		uint8_t *word;
		uint16_t pseudo;

		build_by_chance(800);
		if (pkt.bytes - pkt.payload_at < 4)
			continue;
		pseudo = xn_be16(field());
		word = pkt.data + pkt.payload_at;
		memset(word, 0, 2);
		finish_slowly();
		xn_put_be16(word, missing(xn_be16(field()), pseudo));
		finish_slowly();
		assert_int_equal(xn_be16(field()) % 0xffff, pseudo % 0xffff);
		xn_put_be16(field(), pseudo);        /* of two zeros, the sender's */

		assert_true(find(pkt.data, pkt.bytes, &c));
		assert_true(xn_rx_csum_good(&c, xn_sum_bytes(pkt.data + c.start, c.end - c.start)));
		assert_true(unfinished(pkt.data, pkt.bytes, &c));
		memcpy(ours, pkt.data, pkt.bytes);
		xn_rx_csum_finish(&c, ours);
		assert_memory_equal(ours, pkt.data, pkt.bytes);
	}
}

static void padding_is_not_part_of_it(void **state)
{
	struct xn_rx_csum c;

	spec = (struct pkt_spec){ .version = 4, .seed = 3, .payload = 1 };
	pkt_build(&pkt, &spec);
	memset(pkt.data + pkt.bytes, 0xab, 5);
	assert_true(unfinished(pkt.data, pkt.bytes + 5, &c));
	assert_int_equal(c.end, pkt.bytes);
	xn_rx_csum_finish(&c, pkt.data);
	assert_true(xn_rx_csum_good(&c, xn_sum_bytes(pkt.data + c.start, c.end - c.start)));
}

static void what_has_no_checksum_field_is_left_alone(void **state)
{
	struct xn_rx_csum c;

	for (unsigned k = 0; k < 9; k++) {
		spec = (struct pkt_spec){ .version = k == 8 ? 6 : 4, .udp = k >= 6, .seed = 8,
					  .payload = 100 };
		pkt_build(&pkt, &spec);
		assert_true(unfinished(pkt.data, pkt.bytes, &c));
		switch (k) {
		case 0: pkt.data[20] |= 0x20; break;                   /* first fragment */
		case 1: pkt.data[21] = 9; break;                       /* a later one */
		case 2: pkt.data[23] = 1; break;                       /* ICMP */
		case 3: pkt.data[12] = 0x88; break;                    /* not IP */
		case 4: xn_put_be16(pkt.data + 16, 35); break;         /* IP: shorter than TCP */
		case 5: xn_put_be16(pkt.data + 16, 142); break;        /* IP: longer than the frame */
		case 6: xn_put_be16(pkt.data + 38, 107); break;        /* UDP: another length */
		case 7: xn_put_be16(field(), 0);                       /* UDP: none */
			assert_false(find(pkt.data, pkt.bytes, &c));
			break;
		default: pkt.data[20] = 44;                            /* IPv6 fragment */
		}
		assert_false(unfinished(pkt.data, pkt.bytes, &c));
	}
}

static void frames_that_are_cut_off_anywhere_are_left_alone(void **state)
{
	struct xn_rx_csum c;

	for (unsigned i = 0; i < 300; i++) {
		build_by_chance(50);
		for (uint32_t n = 0; n < pkt.bytes; n++)
			assert_false(unfinished(pkt.data, n, &c));
	}
}

/* An extension header that grows pushes the field out of what is looked at. */
static void a_field_behind_what_is_looked_at_is_left_alone(void **state)
{
	static uint8_t frame[PKT_MAX];
	struct xn_rx_csum c;

	spec = (struct pkt_spec){ .version = 6, .ip6_ext = 1, .seed = 12, .payload = 300 };
	pkt_build(&pkt, &spec);
	for (uint32_t more = 0; more < 256; more += 8) {
		memcpy(frame, pkt.data, 62);
		memset(frame + 62, 0, more);
		memcpy(frame + 62 + more, pkt.data + 62, pkt.bytes - 62);
		frame[55] = (uint8_t)(more / 8);
		xn_put_be16(frame + 18, (uint16_t)(pkt.bytes - 54 + more));
		assert_int_equal(unfinished(frame, pkt.bytes + more, &c),
				 62 + more + 18 <= XN_HEAD_BYTES);
	}
}

/* ---- tunnels ---- */

/* The frame in pkt, behind these headers; of Ethernet frame or IP packet. */
static uint32_t wrap(uint8_t *out, const uint8_t *front, uint32_t n, bool with_ethernet)
{
	const uint32_t from = with_ethernet ? 0 : pkt.ip_at;

	memcpy(out, front, n);
	memcpy(out + n, pkt.data + from, pkt.bytes - from);
	return n + pkt.bytes - from;
}

static uint32_t outer(uint8_t *out, uint8_t version, uint8_t proto)
{
	const uint32_t n = version == 4 ? 34 : 54;

	memset(out, 0, n);
	xn_put_be16(out + 12, version == 4 ? 0x0800 : 0x86dd);
	out[14] = version == 4 ? 0x45 : 0x60;
	out[version == 4 ? 23 : 20] = proto;
	return n;
}

enum { VXLAN, GENEVE, GRE_IP, GRE_ETH, GRE_KEY, IPIP, KINDS };

static uint32_t tunnel(uint8_t *out, unsigned kind, uint8_t version)
{
	const uint16_t ip = spec.version == 4 ? 0x0800 : 0x86dd;
	uint8_t front[128] = { 0 }, *p;
	uint32_t n, bytes;
	bool eth = kind == VXLAN || kind == GENEVE || kind == GRE_ETH;

	n = outer(front, version, kind <= GENEVE ? 17 : kind <= GRE_KEY ? 47 :
		  spec.version == 4 ? 4 : 41);
	p = front + n;
	switch (kind) {
	case VXLAN:
		xn_put_be16(p + 2, 4789);
		p[8] = 8;
		n += 16;
		break;
	case GENEVE:
		xn_put_be16(p + 2, 6081);
		p[8] = 3;                            /* words of options */
		xn_put_be16(p + 10, 0x6558);
		n += 16 + 12;
		break;
	case GRE_IP:
		xn_put_be16(p + 2, ip);
		n += 4;
		break;
	case GRE_ETH:
		xn_put_be16(p + 2, 0x6558);
		n += 4;
		break;
	case GRE_KEY:
		p[0] = 0xb0;                         /* checksum, key, sequence number */
		xn_put_be16(p + 2, ip);
		n += 16;
		break;
	default:
		break;
	}
	bytes = wrap(out, front, n, eth);
	if (version == 4)
		xn_put_be16(out + 16, (uint16_t)(bytes - 14));
	else
		xn_put_be16(out + 18, (uint16_t)(bytes - 54));
	if (kind <= GENEVE)
		xn_put_be16(out + (version == 4 ? 34 : 54) + 4,
			    (uint16_t)(bytes - (version == 4 ? 34 : 54)));
	return bytes;
}

static void an_unfinished_checksum_in_a_tunnel_is_recognised(void **state)
{
	static uint8_t frame[PKT_MAX];
	unsigned seen[KINDS] = { 0 };
	struct xn_rx_csum c;

	for (unsigned i = 0; i < 6000; i++) {
		const unsigned kind = i % KINDS;
		uint32_t bytes, inner;

		build_by_chance(1000);
		bytes = tunnel(frame, kind, i & 8 ? 4 : 6);
		inner = bytes - (pkt.bytes - pkt.l4_at);
		if (inner + 20 > XN_HEAD_BYTES)
			continue;
		assert_true(unfinished(frame, bytes, &c));
		seen[kind]++;
		assert_int_equal(c.start, inner);
		assert_int_equal(c.end, bytes);
		xn_rx_csum_finish(&c, frame);
		finish_slowly();
		assert_memory_equal(frame + inner, pkt.data + pkt.l4_at, pkt.bytes - pkt.l4_at);
		assert_false(unfinished(frame, bytes, &c));
		for (uint32_t n = 0; n < bytes; n += 1 + n / 100)   /* cut off */
			assert_false(unfinished(frame, n, &c));
	}
	for (unsigned k = 0; k < KINDS; k++)
		assert_true(seen[k] > 300);
}

/* Outer and inner UDP of the frame, as they have to be on a wire. */
static void finish_both_slowly(uint8_t *frame, uint32_t bytes)
{
	uint16_t sum;

	finish_slowly();
	memcpy(frame + 50 + pkt.l4_at, pkt.data + pkt.l4_at, pkt.bytes - pkt.l4_at);
	memset(frame + 40, 0, 2);
	sum = (uint16_t)~pkt_sum_l4(frame + 14, frame + 30, 17, frame + 34, bytes - 34);
	xn_put_be16(frame + 40, sum ? sum : 0xffff);
}

/* Two frames that look the same so far as the fields go: in one the outer checksum is finished
 * and the inner is not, in the other it is the other way round. Payload and VXLAN's number make
 * the finished one what the unfinished one would be. */
static void in_a_tunnel_it_does_not_matter_which_of_two_is_unfinished(void **state)
{
	static uint8_t frame[PKT_MAX], wire[PKT_MAX];
	struct xn_rx_csum c[2];

	for (unsigned i = 0; i < 400; i++) {
		uint16_t pseudo_in, pseudo_out;
		uint32_t bytes;

		build_by_chance(500);
		if (pkt.bytes - pkt.payload_at < 4 || 50 + pkt.l4_at + 20 > XN_HEAD_BYTES)
			continue;
		pseudo_in = xn_be16(field());
		bytes = tunnel(frame, VXLAN, 4);
		pseudo_out = pkt_sum_l4(frame + 14, frame + 30, 17, NULL, bytes - 34);
		if (i & 1) {
			/* Outer is finished, to P, by VXLAN's reserved bytes. */
			finish_both_slowly(frame, bytes);
			xn_put_be16(frame + 44, missing(xn_be16(frame + 40), pseudo_out));
			finish_both_slowly(frame, bytes);
		} else {
			/* Inner is, by its payload. */
			memset(pkt.data + pkt.payload_at, 0, 2);
			finish_slowly();
			xn_put_be16(pkt.data + pkt.payload_at, missing(xn_be16(field()), pseudo_in));
			memcpy(frame + 50, pkt.data, pkt.bytes);
			finish_both_slowly(frame, bytes);
		}
		memcpy(wire, frame, bytes);
		assert_int_equal(xn_be16(frame + (i & 1 ? 40 : 50 + pkt.l4_at +
						  (spec.udp ? 6 : 16))) % 0xffff,
				 (i & 1 ? pseudo_out : pseudo_in) % 0xffff);
		xn_put_be16(frame + 50 + pkt.l4_at + (spec.udp ? 6 : 16), pseudo_in);
		xn_put_be16(frame + 40, pseudo_out);

		assert_int_equal(unfinished_in(frame, bytes, c), 2);
		xn_rx_csum_finish(&c[0], frame);
		xn_rx_csum_finish(&c[1], frame);
		assert_memory_equal(frame, wire, bytes);
	}
}

/* The quick look overlooks nothing, and is quick for what is finished. */
static void what_is_unfinished_is_always_suspect(void **state)
{
	unsigned seen = 0, idle = 0, finished = 0;
	static uint8_t frame[PKT_MAX];
	struct xn_rx_csum c[2];

	for (unsigned i = 0; i < 60000; i++) {
		const uint8_t *f = pkt.data;
		uint32_t bytes;

		build_by_chance(600);
		bytes = pkt.bytes;
		if (i % 3 == 0) {
			bytes = tunnel(frame, pkt_random(&rnd) % KINDS, i & 8 ? 4 : 6);
			f = frame;
		} else if (i % 3 == 1) {
			finish_slowly();
			if (!unfinished_in(f, bytes, c)) {
				finished++;
				idle += xn_rx_csum_suspect(f, bytes) && !spec.tags && !spec.ip4_options &&
					!spec.ip6_ext;
			}
		}
		if (i % 4 == 3)      /* of IP's header, or the next */
			((uint8_t *)f)[pkt_random(&rnd) % 80] = (uint8_t)pkt_random(&rnd);
		if (i % 16 == 5)
			bytes = pkt_random(&rnd) % (bytes + 1);
		if (unfinished_in(f, bytes, c)) {
			seen++;
			assert_true(xn_rx_csum_suspect(f, bytes));
		}
	}
	assert_true(seen > 20000 && finished > 10000);
	assert_true(idle < finished / 1000);
}

/* Exactly as long as it is: a sanitizer sees whoever looks beyond. */
static void frames_of_any_length_are_looked_at_and_settled_within_it(void **state)
{
	uint64_t done = 0;
	struct xn_rx_csum c;

	for (unsigned i = 0; i < 20000; i++) {
		uint32_t bytes;
		uint8_t *f;

		build_by_chance(200);
		bytes = pkt_random(&rnd) % (pkt.bytes + 1);
		f = malloc(bytes + 1);
		assert_non_null(f);
		memcpy(f + 1, pkt.data, bytes);
		if (xn_rx_csum_suspect(f + 1, bytes))
			(void)xn_rx_csum_settle(&c, f + 1, bytes, i & 1, &done);
		free(f);
	}
}

static void what_a_guest_takes_unfinished_is_handed_on_and_all_else_finished(void **state)
{
	static uint8_t frame[PKT_MAX];
	uint64_t done = 0, expected = 0;
	struct xn_rx_csum c;

	for (unsigned i = 0; i < 10000; i++) {
		const bool takes = i & 1, padded = i & 2;
		uint32_t bytes;

		build_by_chance(i % 50 ? 1500 : 60000);
		if (pkt.bytes - pkt.ip_at > 65535)
			continue;
		bytes = pkt.bytes + (padded ? 3 : 0);
		memcpy(frame, pkt.data, pkt.bytes);
		memset(frame + pkt.bytes, 0, 3);
		assert_int_equal(xn_rx_csum_settle(&c, frame, bytes, takes, &done), takes && !padded);
		if (takes && !padded) {
			assert_int_equal(c.start, pkt.l4_at);
			assert_int_equal(c.at, pkt.l4_at + (spec.udp ? 6 : 16));
		} else {
			finish_slowly();
			expected++;
		}
		assert_memory_equal(frame, pkt.data, pkt.bytes);
		assert_int_equal(done, expected);
	}
}

static void any_bytes_are_survived(void **state)
{
	static uint8_t frame[2048];
	struct xn_rx_csum c[2];
	unsigned n;

	for (unsigned i = 0; i < 100000; i++) {
		uint32_t bytes;

		if (i % 8 == 0) {
			build_by_chance(600);
			tunnel(frame, pkt_random(&rnd) % KINDS, i & 8 ? 4 : 6);
		}
		frame[pkt_random(&rnd) % 130] = (uint8_t)pkt_random(&rnd);
		bytes = pkt_random(&rnd) % 800;
		n = unfinished_in(frame, bytes, c);
		assert_in_range(n, 0, 2);
		for (unsigned k = 0; k < n; k++) {
			assert_true(c[k].start < c[k].at && c[k].at + 2u <= c[k].end);
			assert_true(c[k].end <= bytes);
			xn_rx_csum_finish(&c[k], frame);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unfinished_checksum_is_recognised_and_finished),
		cmocka_unit_test(a_finished_checksum_is_not_unfinished_but_good),
		cmocka_unit_test(if_both_readings_are_possible_both_give_the_same_frame),
		cmocka_unit_test(padding_is_not_part_of_it),
		cmocka_unit_test(what_has_no_checksum_field_is_left_alone),
		cmocka_unit_test(frames_that_are_cut_off_anywhere_are_left_alone),
		cmocka_unit_test(a_field_behind_what_is_looked_at_is_left_alone),
		cmocka_unit_test(an_unfinished_checksum_in_a_tunnel_is_recognised),
		cmocka_unit_test(in_a_tunnel_it_does_not_matter_which_of_two_is_unfinished),
		cmocka_unit_test(what_is_unfinished_is_always_suspect),
		cmocka_unit_test(frames_of_any_length_are_looked_at_and_settled_within_it),
		cmocka_unit_test(what_a_guest_takes_unfinished_is_handed_on_and_all_else_finished),
		cmocka_unit_test(any_bytes_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
