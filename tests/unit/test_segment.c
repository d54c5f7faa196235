/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of port/gather.h and port/segment.h: checksums and segments are, byte by byte,
 * what a slow and obvious program makes of the same packet (tests/fake/packet.c), however
 * the packet lies in memory and whichever way it leaves; guest memory is not written (it is
 * mapped read-only here), and what the guest writes to it after the check changes payload
 * at most.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "port/layout.h"
#include "port/segment.h"
#include "tests/cmocka.h"
#include "tests/fake/packet.h"
#include "virtio/offload.h"

#define GUEST_BYTES (1u << 20)
#define PIECES_MAX  1024u
#define CHUNKS_MAX  48u

static struct pkt pkt;
static struct pkt_spec spec;
static struct xn_offload off;
static uint32_t rnd = 2026;

/* Guest memory is there twice: as the guest sees it, and as the engine may. */
static uint8_t *guest, *base;
static struct xn_piece pieces[PIECES_MAX];
static unsigned n_pieces;

static uint8_t chunk[CHUNKS_MAX][4096 + 64];
static uint8_t *chunk_ptr[CHUNKS_MAX];
static uint8_t got[PKT_MAX], want[PKT_MAX];

static int set_up(void **state)
{
	int fd = memfd_create("guest", 0);

	if (fd < 0 || ftruncate(fd, GUEST_BYTES))
		return -1;
	guest = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	base = mmap(NULL, GUEST_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	return guest == MAP_FAILED || base == MAP_FAILED;
}

/* Lays the packet into guest memory, in pieces of these lengths: from near each other, at any
 * place. */
static void lay(uint32_t least, uint32_t most)
{
	uint32_t at = 0, place = pkt_random(&rnd) % 5000;

	for (n_pieces = 0; at < pkt.bytes; n_pieces++) {
		uint32_t n = least + pkt_random(&rnd) % (most - least + 1);

		n = XN_MIN(n, pkt.bytes - at);
		if (n_pieces == PIECES_MAX - 1)
			n = pkt.bytes - at;
		assert_true(place + n <= GUEST_BYTES);
		memcpy(guest + place, pkt.data + at, n);
		pieces[n_pieces] = (struct xn_piece){ .at = XN_UOFF(place), .len = n };
		at += n;
		place += n + pkt_random(&rnd) % 300;
	}
}

static void lay_by_chance(void)
{
	switch (pkt_random(&rnd) % 4) {
	case 0:  lay(pkt.bytes, pkt.bytes); break;
	case 1:  lay(1, 64 + pkt.bytes / 64); break;
	case 2:  lay(1, 1500 + pkt.bytes / 64); break;
	default: lay(pkt.payload_at, 4096 + pkt.bytes / 64); break;
	}
}

/* As a queue does it: header from memory, checked. */
static enum xn_offload_fault take(uint32_t max_frame)
{
	const struct xn_offload_rules r = { .features = ~0ull, .max_frame = max_frame };

	memset(&off, 0x77, sizeof(off));
	xn_gather_head(base, pieces, off.head, xn_offload_wants(&pkt.hdr, pkt.bytes));
	return xn_offload_check(&r, &pkt.hdr, pkt.bytes, &off);
}

static unsigned chunks_used;

/* Chunks for n bytes and one more, with a wall behind each. */
static struct xn_chunks chunks(uint32_t bytes, uint32_t n)
{
	chunks_used = xn_chunks_for(n, bytes) + 1;
	assert_true(chunks_used <= CHUNKS_MAX);
	memset(chunk, 0xee, sizeof(chunk[0]) * chunks_used);
	for (unsigned i = 0; i < CHUNKS_MAX; i++)
		chunk_ptr[i] = chunk[i];
	return (struct xn_chunks){ chunk_ptr, bytes };
}

/* What is in the chunks, as one; nothing is behind it. */
static void join(uint32_t n, uint32_t bytes)
{
	uint32_t left = n;

	for (unsigned i = 0; i < chunks_used; i++) {
		const uint32_t k = XN_MIN(left, bytes);

		memcpy(got + (n - left), chunk[i], k);
		left -= k;
		/* All behind it is as it was, if each byte is as the one before. */
		if (chunk[i][k] != 0xee ||
		    memcmp(chunk[i] + k, chunk[i] + k + 1, sizeof(chunk[i]) - k - 1))
			fail_msg("chunk %u was written behind its byte %u", i, k);
	}
	assert_int_equal(left, 0);
}

static void assert_segment(uint32_t i, uint32_t n)
{
	const uint32_t len = pkt_segment(pkt.data, pkt.bytes, pkt.ip_at, pkt.l4_at,
					 pkt_dst_at(&pkt, &spec), spec.udp, spec.gso_size, i, want);

	assert_int_equal(n, len);
	if (memcmp(got, want, n))
		for (uint32_t k = 0; k < n; k++)
			if (got[k] != want[k])
				fail_msg("segment %u of %u, byte %u (IP at %u, %s at %u, seed %u): "
					 "%02x, not %02x", i, off.segs, k, pkt.ip_at,
					 spec.udp ? "UDP" : "TCP", pkt.l4_at, spec.seed, got[k],
					 want[k]);
}

static void assert_all_segments_gathered(uint32_t chunk_bytes)
{
	struct xn_segs s;
	uint32_t i = 0;

	xn_segs_begin(&s, &off, base, pieces);
	for (; !xn_segs_done(&s); i++) {
		const struct xn_chunks to = chunks(chunk_bytes, xn_offload_seg_bytes(&off));
		const uint32_t n = xn_segs_gather(&s, &to);

		assert_true(n <= xn_offload_seg_bytes(&off));
		join(n, chunk_bytes);
		assert_segment(i, n);
	}
	assert_int_equal(i, off.segs);
	assert_int_equal(i, (pkt.bytes - pkt.payload_at + spec.gso_size - 1) / spec.gso_size);
}

/* Rules by chance, of ports as there are and as there are not. */
static struct xn_layout_rules some_rules(void)
{
	static const uint32_t prices[] = { 0, 300, XN_DESC_BYTES_COPY, XN_DESC_BYTES_ANY };

	return (struct xn_layout_rules){
		.chunk = pkt_random(&rnd) & 1 ? 4096 : 600 + pkt_random(&rnd) % 3000,
		.desc_bytes = prices[pkt_random(&rnd) % XN_ARRAY_SIZE(prices)],
		.max = XN_TX_PIECES_MAX, .in_page = pkt_random(&rnd) % 4 == 0,
	};
}

/* Frames for a layout's copies, `front` bytes of which are written already. */
static void frames(const struct xn_layout *l)
{
	assert_true(l->frames <= l->n && l->n <= XN_TX_PIECES_MAX);
	memset(chunk, 0xee, sizeof(chunk[0]) * (l->frames + 1));
	for (unsigned i = 0; i < CHUNKS_MAX; i++)
		chunk_ptr[i] = chunk[i];
}

/* What leaves, as one; nothing is behind the copies. */
static uint32_t join_layout(const struct xn_layout *l)
{
	uint32_t n = 0, f = 0;

	for (unsigned i = 0; i < l->n; i++) {
		const struct xn_part *p = &l->part[i];

		memcpy(got + n, p->copy ? chunk[f] : base + p->at.v, p->len);
		if (p->copy)
			assert_int_equal(chunk[f][p->len], 0xee);
		f += p->copy;
		n += p->len;
	}
	assert_int_equal(f, l->frames);
	return n;
}

/* How many were laid out, as opposed to copied. */
static uint32_t assert_all_segments_laid_out(void)
{
	const struct xn_layout_rules r = some_rules();
	uint32_t i = 0, laid = 0;
	struct xn_segs s;

	xn_segs_begin(&s, &off, base, pieces);
	for (; !xn_segs_done(&s); i++) {
		struct xn_layout l;
		xn_sum sum;

		if (!xn_layout(&l, &r, s.payload, xn_seg_payload(&off, i), off.payload_at)) {
			const struct xn_chunks to = chunks(4096, xn_offload_seg_bytes(&off));

			join(xn_segs_gather(&s, &to), 4096);
			continue;
		}
		laid++;
		frames(&l);
		sum = xn_layout_fill(&l, &s.payload, chunk_ptr, off.payload_at, off.payload_at);
		xn_segs_put_headers(&s, chunk[0], sum);
		assert_segment(i, join_layout(&l));
	}
	assert_int_equal(i, off.segs);
	return laid;
}

static void every_segment_is_what_a_slow_program_makes(void **state)
{
	unsigned tried = 0, laid = 0;

	for (unsigned i = 0; i < 10000; i++) {
		pkt_spec_random(&spec, &rnd, i % 50 ? 6000 : 65000);
		pkt_build(&pkt, &spec);
		lay_by_chance();
		if (take(1518) != XN_OFFLOAD_OK || off.gso == XN_GSO_NONE)
			continue;
		tried++;
		assert_all_segments_gathered(4096);
		laid += assert_all_segments_laid_out();
	}
	assert_true(tried > 3000 && laid > 10000);
}

static void segments_longer_than_a_chunk_go_on_in_the_next(void **state)
{
	static const uint32_t sizes[] = { 256, 511, 2048, 4096 };
	unsigned tried = 0, laid = 0;

	for (unsigned i = 0; i < 600; i++) {
		pkt_spec_random(&spec, &rnd, 30000);
		spec.gso_size = (uint16_t)(4000 + pkt_random(&rnd) % 5000);
		pkt_build(&pkt, &spec);
		lay_by_chance();
		if (take(9018) != XN_OFFLOAD_OK || off.gso == XN_GSO_NONE)
			continue;
		tried++;
		assert_all_segments_gathered(sizes[i % XN_ARRAY_SIZE(sizes)]);
		laid += assert_all_segments_laid_out();
	}
	assert_true(tried > 200 && laid > 1000);
}

/* Sequence numbers and identifications that wrap around; and the longest packets. */
static void numbers_wrap_around(void **state)
{
	for (unsigned i = 0; i < 40; i++) {
		spec = (struct pkt_spec){ .version = i & 1 ? 4 : 6, .udp = i % 4 == 3, .seed = i + 1,
					  .payload = i & 8 ? 65000 : 9000, .gso_size = 700,
					  .tcp_flags = 0xff };
		pkt_build(&pkt, &spec);
		memset(pkt.data + pkt.l4_at + 4, 0xff, spec.udp ? 0 : 3);
		if (spec.version == 4)
			pkt.data[pkt.ip_at + 4] = pkt.data[pkt.ip_at + 5] = 0xff;
		lay_by_chance();
		assert_int_equal(take(1518), XN_OFFLOAD_OK);
		assert_all_segments_gathered(4096);
	}
}

static void flags_of_first_and_last_are_only_theirs(void **state)
{
	struct xn_chunks to = chunks(4096, 4096);
	struct xn_segs s;

	for (unsigned flags = 0; flags < 256; flags++) {
		spec = (struct pkt_spec){ .version = 4, .payload = 300, .gso_size = 100,
					  .tcp_flags = (uint8_t)flags, .seed = 5 };
		pkt_build(&pkt, &spec);
		lay_by_chance();
		assert_int_equal(take(1518), XN_OFFLOAD_OK);
		xn_segs_begin(&s, &off, base, pieces);
		xn_segs_gather(&s, &to);
		assert_int_equal(chunk[0][34 + 13], flags & ~0x09u);
		xn_segs_gather(&s, &to);
		assert_int_equal(chunk[0][34 + 13], flags & ~0x89u);
		xn_segs_gather(&s, &to);
		assert_int_equal(chunk[0][34 + 13], flags & ~0x80u);
	}
}

/* UDP writes its other form, since 0 says that there is none; TCP does not (as Linux). */
static void a_segment_whose_checksum_is_zero_says_so_as_its_protocol_does(void **state)
{
	unsigned tcp = 0, udp = 0;

	for (unsigned i = 0; i < 500; i++) {
		const struct xn_chunks to = chunks(4096, 4096);
		struct xn_segs s;
		uint8_t *field;

		pkt_spec_random(&spec, &rnd, 3000);
		spec.payload += 2;
		pkt_build(&pkt, &spec);
		pkt_make_zero(&pkt, &spec);
		lay_by_chance();
		if (take(1518) != XN_OFFLOAD_OK || !off.gso)
			continue;
		assert_all_segments_gathered(4096);
		chunks(4096, 4096);
		xn_segs_begin(&s, &off, base, pieces);
		xn_segs_gather(&s, &to);
		field = chunk[0] + off.csum_at;
		assert_int_equal(field[0], spec.udp ? 0xff : 0);
		assert_int_equal(field[1], spec.udp ? 0xff : 0);
		tcp += !spec.udp;
		udp += spec.udp;
	}
	assert_true(tcp > 50 && udp > 20);
}

/* What Linux leaves there is needed for nothing; what other guests leave there differs. */
static void what_the_guest_left_in_rewritten_fields_does_not_matter(void **state)
{
	for (unsigned i = 0; i < 300; i++) {
		pkt_spec_random(&spec, &rnd, 4000);
		pkt_build(&pkt, &spec);
		pkt.data[pkt.ip_at + (spec.version == 4 ? 2 : 4)] ^= 0x5a;      /* length */
		if (spec.version == 4)
			pkt.data[pkt.ip_at + 10] ^= 0x77;                       /* checksum */
		pkt.data[pkt.l4_at + (spec.udp ? 6 : 16)] ^= 0x33;              /* checksum */
		if (spec.udp)
			pkt.data[pkt.l4_at + 4] ^= 0x11;                        /* length */
		lay_by_chance();
		if (take(1518) == XN_OFFLOAD_OK && off.gso)
			assert_all_segments_gathered(4096);
	}
}

/* Between the check and the copy the guest writes other headers to its memory. */
static void headers_are_those_that_were_checked(void **state)
{
	for (unsigned i = 0; i < 500; i++) {
		uint32_t left;

		pkt_spec_random(&spec, &rnd, 4000);
		pkt_build(&pkt, &spec);
		lay_by_chance();
		if (take(1518) != XN_OFFLOAD_OK || !off.gso)
			continue;
		left = pkt.payload_at;
		for (unsigned p = 0; left; p++) {
			const uint32_t n = XN_MIN(left, pieces[p].len);

			memset(guest + pieces[p].at.v, 0xff, n);
			left -= n;
		}
		assert_all_segments_gathered(4096);
		assert_all_segments_laid_out();
	}
}

/* ---- checksum alone ---- */

/* Any range of any bytes: `want` is the packet with the field as it has to be. */
static void build_range(uint32_t bytes, uint32_t start, uint32_t at)
{
	uint16_t sum;

	for (uint32_t i = 0; i < bytes; i++)
		pkt.data[i] = (uint8_t)pkt_random(&rnd);
	pkt.bytes = bytes;
	pkt.payload_at = XN_MIN(bytes, 54u);
	pkt.hdr = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					   .csum_start = (uint16_t)start,
					   .csum_offset = (uint16_t)(at - start) };
	memcpy(want, pkt.data, bytes);
	sum = (uint16_t)~pkt_sum(want + start, bytes - start);
	sum = sum ? sum : 0xffff;
	want[at] = (uint8_t)(sum >> 8);
	want[at + 1] = (uint8_t)sum;
}

static void assert_csum_gathered(uint32_t chunk_bytes)
{
	const struct xn_chunks to = chunks(chunk_bytes, pkt.bytes);

	xn_gather_csum(&off, base, pieces, &to);
	join(pkt.bytes, chunk_bytes);
	assert_memory_equal(got, want, pkt.bytes);
}

/* False: copied is cheaper, or the only way. */
static bool assert_csum_laid_out(void)
{
	const uint32_t head = XN_MAX(off.csum_at + 2, 14u);
	const struct xn_layout_rules r = some_rules();
	struct xn_cursor c = xn_cursor_at(base, pieces), rest = c;
	struct xn_layout l;
	xn_sum sum;

	if (head >= pkt.bytes)
		return false;
	xn_cursor_skip(&rest, head);
	if (!xn_layout(&l, &r, rest, pkt.bytes - head, head))
		return false;
	frames(&l);
	sum = xn_layout_fill(&l, &c, chunk_ptr, 0, off.csum_start);
	xn_put_csum(chunk[0] + off.csum_at, sum);
	assert_int_equal(join_layout(&l), pkt.bytes);
	assert_memory_equal(got, want, pkt.bytes);
	return true;
}

static void any_range_of_any_packet_is_summed(void **state)
{
	unsigned laid = 0;

	for (unsigned i = 0; i < 20000; i++) {
		const uint32_t bytes = 2 + pkt_random(&rnd) % (i % 20 ? 1600 : 12000);
		const uint32_t start = pkt_random(&rnd) % (bytes - 1);
		const uint32_t at = start + pkt_random(&rnd) % XN_MIN(bytes - 1 - start, 3000u);

		build_range(bytes, start, at);
		lay_by_chance();
		assert_int_equal(take(1518), XN_OFFLOAD_OK);
		assert_csum_gathered(i & 1 ? 4096 : 300 + i % 100);
		laid += assert_csum_laid_out();
	}
	assert_true(laid > 4000);
}

static void a_field_across_two_chunks_is_written_to_both(void **state)
{
	build_range(400, 100, 255);
	lay(400, 400);
	assert_int_equal(take(1518), XN_OFFLOAD_OK);
	assert_csum_gathered(256);
}

/* As UDP wants it, and everybody takes: RFC 768. */
static void a_checksum_of_zero_is_written_as_its_other_form(void **state)
{
	build_range(100, 50, 60);
	memset(pkt.data + 50, 0, 50);
	pkt.data[70] = pkt.data[71] = 0xff;
	memcpy(want, pkt.data, 100);
	want[60] = want[61] = 0xff;
	lay(100, 100);
	assert_int_equal(take(1518), XN_OFFLOAD_OK);
	assert_csum_gathered(4096);
}

/* The same bytes as segments have: a packet that fits one. */
static void a_packet_with_an_unfinished_checksum_is_finished(void **state)
{
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t n;

		pkt_spec_random(&spec, &rnd, 1400);
		spec.gso_size = 1400;
		pkt_build(&pkt, &spec);
		lay_by_chance();
		assert_int_equal(take(1518), XN_OFFLOAD_OK);
		assert_int_equal(off.gso, XN_GSO_NONE);
		n = pkt_segment(pkt.data, pkt.bytes, pkt.ip_at, pkt.l4_at, pkt_dst_at(&pkt, &spec),
				spec.udp, 1400, 0, want);
		assert_int_equal(n, pkt.bytes);
		/* Segments of TCP may have 0 where this writes its other form. */
		if (!want[off.csum_at] && !want[off.csum_at + 1])
			want[off.csum_at] = want[off.csum_at + 1] = 0xff;
		assert_csum_gathered(4096);
		assert_csum_laid_out();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_segment_is_what_a_slow_program_makes),
		cmocka_unit_test(segments_longer_than_a_chunk_go_on_in_the_next),
		cmocka_unit_test(numbers_wrap_around),
		cmocka_unit_test(flags_of_first_and_last_are_only_theirs),
		cmocka_unit_test(a_segment_whose_checksum_is_zero_says_so_as_its_protocol_does),
		cmocka_unit_test(what_the_guest_left_in_rewritten_fields_does_not_matter),
		cmocka_unit_test(headers_are_those_that_were_checked),
		cmocka_unit_test(any_range_of_any_packet_is_summed),
		cmocka_unit_test(a_field_across_two_chunks_is_written_to_both),
		cmocka_unit_test(a_checksum_of_zero_is_written_as_its_other_form),
		cmocka_unit_test(a_packet_with_an_unfinished_checksum_is_finished),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
