/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of base/csum.h: each way to sum says what a loop over bytes says, bit by bit, for
 * every length and place, and copies what it sums; reads and writes not a byte beyond;
 * pieces that begin anywhere add up to the whole; no number of bytes overflows it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/csum.h"
#include "tests/cmocka.h"
#include "tests/fake/packet.h"

#define PAGE 4096u

/* Pages that can only be read, in front of one that cannot be touched at all. */
struct walled {
	uint8_t *begin, *end;
	size_t bytes;
};

static struct walled wall_in(uint32_t seed, size_t bytes)
{
	struct walled w = { .bytes = bytes };
	uint32_t state = seed;

	w.begin = mmap(NULL, bytes + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(w.begin != MAP_FAILED);
	w.end = w.begin + bytes;
	for (size_t i = 0; i < bytes; i++)
		w.begin[i] = (uint8_t)pkt_random(&state);
	assert_int_equal(mprotect(w.begin, bytes, PROT_READ), 0);
	assert_int_equal(mprotect(w.end, PAGE, PROT_NONE), 0);
	return w;
}

static void tear_down(const struct walled *w)
{
	munmap(w->begin, w->bytes + PAGE);
}

static uint16_t big(uint16_t v) { return __builtin_bswap16(v); }

/* Ways that this processor has. */
static unsigned ways(const struct xn_sum_way *out[XN_SUM_WAYS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < XN_SUM_WAYS; i++)
		if (xn_sum_ways[i].has())
			out[n++] = &xn_sum_ways[i];
	return n;
}

static void every_way_says_what_a_loop_over_bytes_says(void **state)
{
	struct walled w = wall_in(1, 2 * PAGE);
	const struct xn_sum_way *way[XN_SUM_WAYS];
	unsigned n = ways(way);

	assert_true(n >= 1);
	for (uint32_t len = 0; len <= 600; len++)
		for (uint32_t back = 0; back < 9; back++) {
			const uint8_t *p = w.end - len - back;
			const uint16_t want = big(pkt_sum(p, len));

			for (unsigned i = 0; i < n; i++)
				assert_int_equal(xn_sum_fold(way[i]->bytes(NULL, p, len)), want);
			assert_int_equal(xn_sum_fold(xn_sum_bytes(p, len)), want);
		}
	tear_down(&w);
}

static void a_copy_is_the_same_bytes_and_no_others_with_the_same_sum(void **state)
{
	struct walled w = wall_in(2, 2 * PAGE);
	const struct xn_sum_way *way[XN_SUM_WAYS];
	unsigned n = ways(way);
	uint8_t out[700];

	for (uint32_t len = 0; len <= 600; len++)
		for (uint32_t shift = 0; shift < 6; shift++) {
			const uint8_t *p = w.end - len - shift / 2;
			const uint16_t want = big(pkt_sum(p, len));

			for (unsigned i = 0; i < n; i++) {
				xn_sum s;

				memset(out, 0xee, sizeof(out));
				s = way[i]->copy(out + shift, p, len);
				assert_int_equal(xn_sum_fold(s), want);
				assert_memory_equal(out + shift, p, len);
				for (uint32_t k = 0; k < shift; k++)
					assert_int_equal(out[k], 0xee);
				for (uint32_t k = shift + len; k < shift + len + 70; k++)
					assert_int_equal(out[k], 0xee);
			}
			assert_int_equal(xn_sum_fold(xn_sum_copy(out + shift, p, len)), want);
		}
	tear_down(&w);
}

/* As receive coalescing does, inside of a buffer. */
static void a_copy_downwards_may_overlap(void **state)
{
	const struct xn_sum_way *way[XN_SUM_WAYS];
	const unsigned n = ways(way);
	uint8_t from[700], is[700];

	for (uint32_t i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 57 + i / 256);
	for (uint32_t len = 0; len <= 400; len += 1 + len / 40)
		for (uint32_t down = 1; down < 140; down++)
			for (unsigned i = 0; i < n; i++) {
				xn_sum s;

				memcpy(is, from, sizeof(is));
				s = way[i]->copy(is + 150 - down, is + 150, len);
				assert_int_equal(xn_sum_fold(s), big(pkt_sum(from + 150, len)));
				assert_memory_equal(is + 150 - down, from + 150, len);
			}
}

static void sums_of_zeros_are_zero_and_of_nothing_else(void **state)
{
	uint8_t *p = calloc(1, 70000);

	assert_non_null(p);
	assert_int_equal(xn_sum_fold(xn_sum_bytes(p, 70000)), 0);
	for (uint32_t i = 0; i < 200; i++) {
		p[i] = 1;
		assert_int_not_equal(xn_sum_fold(xn_sum_bytes(p, 200)), 0);
		p[i] = 0;
	}
	/* Zero the other way. */
	memset(p, 0xff, 70000);
	assert_int_equal(xn_sum_fold(xn_sum_bytes(p, 70000)), 0xffff);
	assert_int_equal(xn_sum_csum(xn_sum_bytes(p, 70000)), 0);
	assert_int_equal(xn_sum_csum_nonzero(xn_sum_bytes(p, 70000)), 0xffff);
	free(p);
}

static void many_bytes_of_the_greatest_value_do_not_overflow(void **state)
{
	const size_t bytes = (256u << 20) + 6;
	const struct xn_sum_way *way[XN_SUM_WAYS];
	unsigned n = ways(way);
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	memset(p, 0xff, bytes);
	p[bytes - 1] = 0x12;
	/* All words but the last are zero, modulo 65535: 0xff12 is left. */
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(xn_sum_fold(way[i]->bytes(NULL, p, bytes)), big(0xff12));
	munmap(p, bytes);
}

static void pieces_that_begin_anywhere_add_up_to_the_whole(void **state)
{
	struct walled w = wall_in(3, 4 * PAGE);
	uint8_t out[4 * PAGE];
	uint32_t rnd = 77;

	for (unsigned round = 0; round < 5000; round++) {
		const uint32_t len = pkt_random(&rnd) % 3000;
		const uint8_t *p = w.begin + pkt_random(&rnd) % PAGE;
		xn_sum summed = XN_SUM(0), copied = XN_SUM(0);

		for (uint32_t at = 0, n; at < len; at += n) {
			n = 1 + pkt_random(&rnd) % (pkt_random(&rnd) & 1 ? 20 : 900);
			n = XN_MIN(n, len - at);
			summed = xn_sum_add(summed, xn_sum_at(xn_sum_bytes(p + at, n), at));
			copied = xn_sum_add(copied, xn_sum_at(xn_sum_copy(out + at, p + at, n), at));
		}
		assert_int_equal(xn_sum_fold(summed), big(pkt_sum(p, len)));
		assert_int_equal(xn_sum_fold(copied), big(pkt_sum(p, len)));
		assert_memory_equal(out, p, len);
	}
	tear_down(&w);
}

static void folding_is_right_at_every_edge(void **state)
{
	static const struct { uint64_t v; uint16_t folded; } edges[] = {
		{ 0, 0 }, { 1, 1 }, { 0xffff, 0xffff }, { 0x10000, 1 }, { 0x1fffe, 0xffff },
		{ 0xffffffff, 0xffff }, { 0x100000000, 1 }, { 0xffffffff00000000, 0xffff },
		{ 0xfffffffffffffffe, 0xfffe }, { UINT64_MAX, 0xffff }, { 0xffff0000, 0xffff },
		{ 0x0001000000010001, 3 }, { 0x8000800080008000, 2 },
	};
	uint32_t rnd = 5;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(edges); i++)
		assert_int_equal(xn_sum_fold(XN_SUM(edges[i].v)), edges[i].folded);
	for (unsigned i = 0; i < 100000; i++) {
		const uint64_t v = (uint64_t)pkt_random(&rnd) << 32 | pkt_random(&rnd);
		const uint16_t f = xn_sum_fold(XN_SUM(v)), odd = xn_sum_fold(xn_sum_at(XN_SUM(v), 1));

		assert_int_equal(f % 65535, v % 65535);
		assert_true(f != 0 || v == 0);
		assert_int_equal(odd % 65535, v % 65535 * 256 % 65535);
	}
	assert_int_equal(xn_sum_add(XN_SUM(UINT64_MAX), XN_SUM(UINT64_MAX)).v, UINT64_MAX);
}

static void a_word_is_replaced_as_if_all_were_summed_again(void **state)
{
	uint32_t rnd = 9;
	uint16_t w[33];

	for (unsigned round = 0; round < 5000; round++) {
		uint16_t old;
		xn_sum s;
		unsigned k = pkt_random(&rnd) % XN_ARRAY_SIZE(w);

		for (unsigned i = 0; i < XN_ARRAY_SIZE(w); i++)
			w[i] = (uint16_t)(pkt_random(&rnd) % 5 ? pkt_random(&rnd) : 0xffff);
		s = xn_sum_bytes(w, sizeof(w));
		old = w[k];
		w[k] = (uint16_t)(pkt_random(&rnd) % 4 ? pkt_random(&rnd) : 0);
		assert_int_equal(xn_sum_fold(xn_sum_replace16(s, old, w[k])) % 65535,
				 xn_sum_fold(xn_sum_bytes(w, sizeof(w))) % 65535);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way_says_what_a_loop_over_bytes_says),
		cmocka_unit_test(a_copy_is_the_same_bytes_and_no_others_with_the_same_sum),
		cmocka_unit_test(a_copy_downwards_may_overlap),
		cmocka_unit_test(sums_of_zeros_are_zero_and_of_nothing_else),
		cmocka_unit_test(many_bytes_of_the_greatest_value_do_not_overflow),
		cmocka_unit_test(pieces_that_begin_anywhere_add_up_to_the_whole),
		cmocka_unit_test(folding_is_right_at_every_edge),
		cmocka_unit_test(a_word_is_replaced_as_if_all_were_summed_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
