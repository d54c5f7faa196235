/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of port/layout.h: whatever pieces a packet lies in, it leaves whole and in order, in
 * descriptors that the kernel takes; what is copied is in frames of the engine's, the head
 * always. A slow program finds the cheapest layout by trying all: there is a layout where it
 * finds one; it is never dearer than copying all; where descriptors are dear, and packets
 * as Linux guests send them, it is the cheapest nine times in ten, and a tenth dearer at most.
 */
#include <string.h>

#include "port/layout.h"
#include "tests/cmocka.h"
#include "tests/fake/packet.h"

#define PIECES_MAX 1024u
#define PACKET_MAX 65600u

static struct xn_piece pieces[PIECES_MAX];
static unsigned n_pieces;
static uint32_t rnd = 77;
static const uint32_t prices[] = { 0, 20, 300, XN_DESC_BYTES_COPY, XN_DESC_BYTES_ANY };

static uint32_t below(uint32_t n) { return pkt_random(&rnd) % n; }

/* Pieces of `bytes` bytes in all, each of these lengths; at any place, some across pages. */
static void lay(uint32_t bytes, uint32_t least, uint32_t most)
{
	uint64_t place = below(100000);

	for (n_pieces = 0; bytes; n_pieces++) {
		uint32_t n = least + below(most - least + 1);

		n = n_pieces + 1 == PIECES_MAX ? bytes : XN_MIN(n, bytes);
		pieces[n_pieces] = (struct xn_piece){ .at = XN_UOFF(place), .len = n };
		place += n + below(3) * 61;
		bytes -= n;
	}
}

static bool some_follow(uint64_t page) { return page * 2654435761u >> 7 & 1; }

static struct xn_zc_map *some_map(void)
{
	static uint64_t bits[64];
	static struct xn_zc_map map;

	for (unsigned page = 0; page < 64 * 64; page++)
		if (some_follow(page))
			bits[page / 64] |= 1ull << page % 64;
	map = (struct xn_zc_map){ .bits = bits, .pages = 64 * 64 };
	return &map;
}

static bool may_be_lent(const struct xn_layout_rules *r, uint64_t at, uint32_t n)
{
	const bool crosses = at / XN_PAGE_SIZE != (at + n - 1) / XN_PAGE_SIZE;

	return !crosses || (!r->in_page && (!r->map || some_follow(at / XN_PAGE_SIZE)));
}

/* Is this all of the packet's bytes behind `head`, in order, and as the rules want it? */
static void assert_good(const struct xn_layout *l, const struct xn_layout_rules *r, uint32_t bytes,
			uint32_t head)
{
	uint32_t at = 0, into = 0, copied = 0, frames = 0;
	const struct xn_piece *p = pieces;

	assert_in_range(l->n, 1, r->max);
	assert_true(l->part[0].len >= 14 && (!head || (l->part[0].copy && l->part[0].len >= head)));
	for (unsigned i = 0; i < l->n; i++) {
		uint32_t left = l->part[i].len - (i ? 0 : head);

		assert_in_range(l->part[i].len, 1, r->chunk);
		if (!l->part[i].copy) {
			if (into == p->len) {
				p++;
				into = 0;
			}
			assert_int_equal(l->part[i].at.v, p->at.v + into);
			assert_true(left <= p->len - into);
			assert_true(may_be_lent(r, l->part[i].at.v, left));
		}
		frames += l->part[i].copy;
		copied += l->part[i].copy ? l->part[i].len : 0;
		for (at += left; left; ) {
			const uint32_t n = XN_MIN(left, p->len - into);

			left -= n;
			into += n;
			if (left) {
				p++;
				into = 0;
			}
		}
	}
	assert_int_equal(at, bytes);
	assert_int_equal(l->frames, frames);
	assert_int_equal(l->copied, copied);
}

static struct xn_layout_rules some_rules(uint32_t chunk)
{
	struct xn_layout_rules r = {
		.chunk = chunk, .desc_bytes = prices[below(XN_ARRAY_SIZE(prices))],
		.max = below(3) ? XN_TX_PIECES_MAX : 1 + below(XN_TX_PIECES_MAX),
		.first = below(2) ? chunk - chunk / 7 : 0,
		.in_page = below(4) == 0,
	};

	r.map = !r.in_page && below(4) == 0 ? some_map() : NULL;
	return r;
}

/* Of all kinds: 1 piece to 1024, bytes up to the longest that there are. */
static void any_packet_leaves_whole_in_descriptors_that_the_kernel_takes(void **state)
{
	unsigned laid = 0, chained = 0, mixed = 0, refused = 0;

	(void)state;
	for (unsigned i = 0; i < 60000; i++) {
		const uint32_t head = below(2) ? 0 : 14 + below(200);
		const uint32_t bytes = 14 + below(i % 4 ? 12000 : PACKET_MAX - 14);
		const struct xn_layout_rules r = some_rules(below(2) ? 4096 : 2048);
		struct xn_layout l;

		switch (below(5)) {
		case 0:  lay(bytes, bytes, bytes); break;
		case 1:  lay(bytes, 1, 2 * bytes / PIECES_MAX + 1); break;
		case 2:  lay(bytes, 4096, 4096); break;
		case 3:  lay(bytes, 1, 9000); break;
		default: lay(bytes, 3000, 4500); break;
		}
		if (!xn_layout(&l, &r, xn_cursor_at(NULL, pieces), bytes, head)) {
			refused++;
			continue;
		}
		assert_good(&l, &r, bytes, head);
		laid++;
		chained += !l.frames;
		mixed += l.frames && l.copied < bytes + head;
	}
	assert_true(laid > 15000 && chained > 3000 && mixed > 3000 && refused > 3000);
}

/* ---- the cheapest ---- */

#define SMALL_CHUNK 48u
#define SMALL_MAX   320u
#define NONE        (1u << 30)

static uint32_t fewest_copied[SMALL_MAX + 1][XN_TX_PIECES_MAX + 1];

/* Bytes from position p on, of [0, bytes), that can be lent in one descriptor. */
static uint32_t lendable(const struct xn_layout_rules *r, uint32_t p)
{
	const struct xn_piece *q = pieces;
	uint32_t n = 0;

	for (; p >= q->len; q++)
		p -= q->len;
	while (n < r->chunk && p + n < q->len && may_be_lent(r, q->at.v + p, n + 1))
		n++;
	return n;
}

static uint64_t price(const struct xn_layout_rules *r, unsigned descs, uint32_t copied)
{
	return (uint64_t)descs * r->desc_bytes + copied;
}

/* The least that `bytes` bytes behind a head can cost; all ways are tried. UINT64_MAX: there
 * is none. */
static uint64_t cheapest(const struct xn_layout_rules *r, uint32_t bytes, uint32_t head)
{
	uint64_t best = UINT64_MAX;

	for (unsigned d = 0; d <= r->max; d++)
		fewest_copied[bytes][d] = d ? NONE : 0;
	for (uint32_t p = bytes; p--; ) {
		const uint32_t lend = lendable(r, p), copy = XN_MIN(r->chunk, bytes - p);

		fewest_copied[p][0] = NONE;
		for (unsigned d = 1; d <= r->max; d++) {
			uint32_t least = NONE;

			for (uint32_t n = 1; n <= copy; n++)
				least = XN_MIN(least, fewest_copied[p + n][d - 1] + n);
			for (uint32_t n = 1; n <= lend; n++)
				least = XN_MIN(least, fewest_copied[p + n][d - 1]);
			fewest_copied[p][d] = least;
		}
	}
	/* The first one: with the head, or of an Ethernet header at least. */
	for (unsigned d = 1; d <= r->max; d++)
		for (uint32_t n = head ? 0 : 14; n <= bytes && head + n <= r->chunk; n++) {
			const bool lent = !head && n <= lendable(r, 0);
			const uint32_t copied = fewest_copied[n][d - 1] + (lent ? 0 : head + n);

			if (copied < NONE)
				best = XN_MIN(best, price(r, d, copied));
		}
	return best;
}

/* What xn_layout comes to; copying all of it, where it says so. UINT64_MAX: there is no way. */
static uint64_t found(const struct xn_layout_rules *r, uint32_t bytes, uint32_t head)
{
	const unsigned all = xn_chunks_for(bytes + head, r->chunk);
	struct xn_layout l;

	if (xn_layout(&l, r, xn_cursor_at(NULL, pieces), bytes, head)) {
		assert_good(&l, r, bytes, head);
		return price(r, l.n, l.copied);
	}
	return all > r->max ? UINT64_MAX : price(r, all, bytes + head);
}

static void there_is_a_layout_where_there_is_one_and_none_is_dearer_than_a_copy(void **state)
{
	unsigned best = 0, rounds = 4000;

	(void)state;
	for (unsigned i = 0; i < rounds; i++) {
		const uint32_t head = below(2) ? 0 : 14 + below(SMALL_CHUNK - 14);
		const uint32_t bytes = 14 + below(SMALL_MAX - 14);
		struct xn_layout_rules r = some_rules(SMALL_CHUNK);
		uint64_t least, is;

		r.desc_bytes = r.desc_bytes == XN_DESC_BYTES_COPY ? 82 : r.desc_bytes;
		lay(bytes, 1, 1 + below(2) * 20 + below(2) * 120);
		least = cheapest(&r, bytes, head);
		is = found(&r, bytes, head);
		assert_int_equal(is == UINT64_MAX, least == UINT64_MAX);
		if (is == UINT64_MAX || is == least) {
			best++;
			continue;
		}
		assert_true(is > least);
		/* Never dearer than copying all of it, if that can be. */
		if (xn_chunks_for(bytes + head, r.chunk) <= r.max)
			assert_true(is <= price(&r, xn_chunks_for(bytes + head, r.chunk), bytes + head));
	}
	assert_true(best > rounds / 2);
}

/* Headers, then pieces of which each is longer than a chunk, or as long. */
static void for_packets_of_linux_guests_it_is_nearly_always_the_cheapest(void **state)
{
	unsigned best = 0;

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		struct xn_layout_rules r = { .chunk = SMALL_CHUNK, .desc_bytes = 82,
					     .max = XN_TX_PIECES_MAX, .first = 40 * below(2) };
		const bool own = below(2);        /* are the headers the engine's? */
		const uint32_t head = 14 + below(10);
		const uint32_t bytes = SMALL_CHUNK + below(SMALL_MAX - 24 - SMALL_CHUNK);
		uint64_t is, least;

		switch (below(3)) {
		case 0:  lay(bytes, bytes, bytes); break;
		case 1:  lay(bytes, SMALL_CHUNK, SMALL_CHUNK); break;
		default: lay(bytes, 3 * SMALL_CHUNK, 3 * SMALL_CHUNK); break;
		}
		if (!own) {
			memmove(pieces + 1, pieces, n_pieces++ * sizeof(*pieces));
			pieces[0] = (struct xn_piece){ .at = XN_UOFF(200000), .len = head };
		}
		is = found(&r, bytes + (own ? 0 : head), own ? head : 0);
		least = cheapest(&r, bytes + (own ? 0 : head), own ? head : 0);
		assert_true(is >= least && 100 * is <= 110 * least);
		best += is == least;
	}
	assert_true(best > 2500);
}

/* ---- examples ---- */

static void assert_layout(uint32_t bytes, uint32_t head, unsigned n, uint32_t copied)
{
	static const struct xn_layout_rules copy_mode = {
		.chunk = 4096, .desc_bytes = XN_DESC_BYTES_COPY, .max = XN_TX_PIECES_MAX,
	};
	struct xn_layout l;

	assert_true(xn_layout(&l, &copy_mode, xn_cursor_at(NULL, pieces), bytes, head));
	assert_good(&l, &copy_mode, bytes, head);
	assert_int_equal(l.n, n);
	assert_int_equal(l.copied, copied);
}

static void jumbo_frames_are_lent_but_for_what_saves_a_descriptor(void **state)
{
	(void)state;
	lay(9000, 9000, 9000);
	assert_layout(9000, 0, 3, 0);
	lay(8946, 8946, 8946);                       /* headers in a piece of their own: */
	memmove(pieces + 1, pieces, n_pieces++ * sizeof(*pieces));
	pieces[0] = (struct xn_piece){ .at = XN_UOFF(200000), .len = 54 };
	assert_layout(9000, 0, 3, 54 + 754);         /* ... and what is too much for 2 chunks */
	lay(8948, 8948, 8948);
	assert_layout(8948, 54, 3, 54 + 756);        /* a segment */
	lay(64000, 3800, 3800);
	assert_int_equal(n_pieces, 17);
	assert_layout(64000, 0, 17, 0);
	lay(65550, 65550, 65550);
	assert_layout(65550, 0, 17, 0);
}

static void a_first_descriptor_is_not_too_long_if_that_takes_no_more_of_them(void **state)
{
	const struct { uint32_t bytes, first; unsigned n; } want[] = {
		{ 9000, XN_FIRST_BYTES, 3 }, { 64000, XN_FIRST_BYTES, 16 }, { 4097, XN_FIRST_BYTES, 2 },
		{ 4096 + XN_FIRST_BYTES, XN_FIRST_BYTES, 2 }, { 4097 + XN_FIRST_BYTES, 4096, 2 },
		{ 8192, 4096, 2 }, { 4096, 4096, 1 }, { 3000, 3000, 1 },
	};
	const struct xn_layout_rules r = { .chunk = 4096, .desc_bytes = XN_DESC_BYTES_COPY,
					   .max = XN_TX_PIECES_MAX, .first = XN_FIRST_BYTES };

	(void)state;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(want); i++) {
		struct xn_layout l;

		lay(want[i].bytes, want[i].bytes, want[i].bytes);
		assert_true(xn_layout(&l, &r, xn_cursor_at(NULL, pieces), want[i].bytes, 0));
		assert_good(&l, &r, want[i].bytes, 0);
		assert_int_equal(l.n, want[i].n);
		assert_int_equal(l.part[0].len, want[i].first);
		assert_int_equal(l.copied, 0);
	}
}

static void too_many_pieces_are_copied_together(void **state)
{
	static const struct xn_layout_rules copy_mode = {
		.chunk = 4096, .desc_bytes = XN_DESC_BYTES_COPY, .max = XN_TX_PIECES_MAX,
	};
	struct xn_layout l;

	(void)state;
	lay(65536, 64, 64);
	assert_int_equal(n_pieces, 1024);
	assert_layout(65536, 0, 16, 65536);
	/* No two of them fit a chunk, and there are 32. */
	lay(65552, 2049, 2049);
	assert_false(xn_layout(&l, &copy_mode, xn_cursor_at(NULL, pieces), 65552, 0));
}

static void a_first_part_has_an_ethernet_header(void **state)
{
	static const struct xn_layout_rules by_page = {
		.chunk = 4096, .desc_bytes = 0, .max = XN_TX_PIECES_MAX, .in_page = true,
	};
	struct xn_layout l;

	(void)state;
	n_pieces = 1;
	for (uint32_t before = 1; before < 30; before++) {   /* bytes in front of a page's end */
		pieces[0] = (struct xn_piece){ .at = XN_UOFF(4096 - before), .len = 3000 };
		assert_int_equal(xn_layout(&l, &by_page, xn_cursor_at(NULL, pieces), 3000, 0),
				 before >= 14);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_packet_leaves_whole_in_descriptors_that_the_kernel_takes),
		cmocka_unit_test(there_is_a_layout_where_there_is_one_and_none_is_dearer_than_a_copy),
		cmocka_unit_test(for_packets_of_linux_guests_it_is_nearly_always_the_cheapest),
		cmocka_unit_test(jumbo_frames_are_lent_but_for_what_saves_a_descriptor),
		cmocka_unit_test(a_first_descriptor_is_not_too_long_if_that_takes_no_more_of_them),
		cmocka_unit_test(too_many_pieces_are_copied_together),
		cmocka_unit_test(a_first_part_has_an_ethernet_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
