/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of base/: the tables of counters and faults are complete and name
 * nothing twice; the log honours its level and its rate limit; an error's text
 * belongs to the thread that failed; option structs of older and newer callers
 * are taken as xsknet.h says; the small arithmetic in types.h holds at its edges.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/atomics.h"
#include "base/counters.h"
#include "base/log.h"
#include "base/number.h"
#include "base/opts.h"
#include "base/types.h"

#define NS_PER_S 1000000000ull

/* ---- tables -------------------------------------------------------------- */

static void every_counter_has_name_unit_and_text(void **state)
{
	for (unsigned i = 0; i < XN_C_COUNT; i++) {
		assert_non_null(xn_counter_name(i));
		assert_non_null(xn_counter_unit(i));
		assert_non_null(xn_counter_text(i));
		assert_true(xn_counter_name(i)[0] && xn_counter_unit(i)[0]);
		assert_true(xn_counter_text(i)[0]);
		assert_null(strchr(xn_counter_name(i), ' '));
	}
}

static void no_counter_name_or_text_appears_twice(void **state)
{
	for (unsigned i = 0; i < XN_C_COUNT; i++)
		for (unsigned j = i + 1; j < XN_C_COUNT; j++) {
			assert_string_not_equal(xn_counter_name(i), xn_counter_name(j));
			assert_string_not_equal(xn_counter_text(i), xn_counter_text(j));
		}
}

static void every_fault_has_a_counter_of_its_own(void **state)
{
	unsigned stops = 0;

	assert_int_equal(XN_C_BAD_HEADERS - XN_C_FAULTS, XN_FAULT_COUNT - 1);
	for (unsigned f = XN_FAULT_NONE + 1; f < XN_FAULT_COUNT; f++) {
		unsigned c = XN_C_FAULTS + f - 1;

		assert_string_equal(xn_counter_name(c), xn_fault_name((enum xn_fault)f));
		assert_string_equal(xn_counter_text(c), xn_fault_text((enum xn_fault)f));
		assert_int_equal(strncmp(xn_fault_name((enum xn_fault)f), "fault_", 6), 0);
		/* A section of VIRTIO: starts with its chapter. */
		assert_in_range(xn_fault_section((enum xn_fault)f)[0], '1', '9');
		stops += xn_fault_stops_queue((enum xn_fault)f);
	}
	assert_true(xn_fault_stops_queue(XN_FAULT_avail_jump));
	assert_false(xn_fault_stops_queue(XN_FAULT_chain_loop));
	assert_false(xn_fault_stops_queue(XN_FAULT_NONE));
	assert_in_range(stops, 1, XN_FAULT_COUNT - 2);
}

static void every_refused_header_has_a_counter_of_its_own(void **state)
{
	assert_int_equal(XN_C_COUNT - XN_C_BAD_HEADERS, XN_OFFLOAD_FAULT_COUNT - 1);
	for (unsigned f = XN_OFFLOAD_OK + 1; f < XN_OFFLOAD_FAULT_COUNT; f++) {
		const unsigned c = XN_C_BAD_HEADERS + f - 1;

		assert_string_equal(xn_counter_name(c), xn_offload_fault_name((enum xn_offload_fault)f));
		assert_string_equal(xn_counter_text(c), xn_offload_fault_text((enum xn_offload_fault)f));
		assert_string_equal(xn_counter_unit(c), "packets");
		assert_int_equal(strncmp(xn_counter_name(c), "tx_bad_hdr_", 11), 0);
	}
}

static void version_string_is_made_of_the_headers_numbers(void **state)
{
	char want[32];

	snprintf(want, sizeof(want), "%d.%d.%d", XN_VERSION_MAJOR, XN_VERSION_MINOR,
		 XN_VERSION_PATCH);
	assert_string_equal(xn_version(), want);
}

/* ---- log ------------------------------------------------------------------ */

struct heard {
	unsigned lines;
	enum xn_log_level level;
	char last[600];
};

static void hear(void *arg, enum xn_log_level level, const char *line)
{
	struct heard *h = arg;

	h->lines++;
	h->level = level;
	snprintf(h->last, sizeof(h->last), "%s", line);
}

static int log_off(void **state)
{
	xn_set_log(NULL, NULL, XN_LOG_ERROR);
	return 0;
}

static void lines_above_the_level_are_not_heard(void **state)
{
	struct heard h = { 0 };

	xn_set_log(hear, &h, XN_LOG_WARN);
	xn_log(XN_LOG_DEBUG, "debug");
	xn_log(XN_LOG_INFO, "info");
	assert_int_equal(h.lines, 0);
	xn_log(XN_LOG_WARN, "warn %d", 7);
	assert_int_equal(h.lines, 1);
	assert_int_equal(h.level, XN_LOG_WARN);
	assert_string_equal(h.last, "warn 7");
	xn_log(XN_LOG_ERROR, "error");
	assert_int_equal(h.lines, 2);
}

static void without_a_callback_nothing_happens(void **state)
{
	xn_set_log(NULL, NULL, XN_LOG_DEBUG);
	xn_log(XN_LOG_ERROR, "nobody %s", "hears");
	assert_int_equal(xn_fail(EIO, "quiet"), -EIO);
	assert_string_equal(xn_last_error(), "quiet");
}

static void failing_returns_minus_errno_and_is_heard(void **state)
{
	struct heard h = { 0 };

	xn_set_log(hear, &h, XN_LOG_ERROR);
	assert_int_equal(xn_fail(ENODEV, "no %s", "eth7"), -ENODEV);
	assert_string_equal(xn_last_error(), "no eth7");
	assert_string_equal(h.last, "no eth7");
	assert_int_equal(h.level, XN_LOG_ERROR);
}

static void a_failure_may_quote_the_failure_before_it(void **state)
{
	xn_fail(EIO, "inner");
	xn_fail(EIO, "outer: %s", xn_last_error());
	assert_string_equal(xn_last_error(), "outer: inner");
}

static void a_line_that_is_too_long_is_cut_not_overrun(void **state)
{
	char text[2000];
	struct heard h = { 0 };

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	xn_set_log(hear, &h, XN_LOG_ERROR);
	xn_fail(EIO, "%s", text);
	assert_int_equal(strlen(xn_last_error()), 511);
	assert_int_equal(strlen(h.last), 511);
}

static void *fail_elsewhere(void *arg)
{
	bool *clean = arg;

	*clean = !xn_last_error()[0];
	xn_fail(EIO, "elsewhere");
	return NULL;
}

static void last_error_belongs_to_the_thread_that_failed(void **state)
{
	bool clean = false;
	pthread_t t;

	xn_fail(EIO, "here");
	assert_int_equal(pthread_create(&t, NULL, fail_elsewhere, &clean), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_true(clean);
	assert_string_equal(xn_last_error(), "here");
}

static void rate_limit_lets_a_burst_through_then_one_a_second(void **state)
{
	struct xn_log_limit l = { 0 };
	uint64_t now = 1000 * NS_PER_S;

	for (unsigned i = 0; i < XN_LOG_BURST; i++)
		assert_true(xn_log_allowed(&l, now + i));
	for (unsigned i = 0; i < 100; i++)
		assert_false(xn_log_allowed(&l, now + 100 + i));
	assert_int_equal(l.suppressed, 100);
	assert_false(xn_log_allowed(&l, now + NS_PER_S - 1));
	assert_true(xn_log_allowed(&l, now + NS_PER_S));
	assert_false(xn_log_allowed(&l, now + NS_PER_S + 1));
}

static void rate_limit_never_saves_more_than_a_burst(void **state)
{
	struct xn_log_limit l = { 0 };
	unsigned let = 0;

	xn_log_allowed(&l, 5 * NS_PER_S);
	for (unsigned i = 0; i < 50; i++)
		let += xn_log_allowed(&l, 100000 * NS_PER_S + i);
	assert_int_equal(let, XN_LOG_BURST);
}

static void clock_goes_forward(void **state)
{
	uint64_t a = xn_now_ns(), b = xn_now_ns();

	assert_true(a > 0 && b >= a);
}

/* ---- options --------------------------------------------------------------- */

struct opts_v1 { size_t sz; uint32_t a; uint32_t b; };
struct opts_v2 { size_t sz; uint32_t a; uint32_t b; uint64_t c; };

/* Callers of a library are compiled by themselves: hide from the compiler that
 * it could look through to the smaller struct (false warnings of gcc 12). */
static bool take(void *out, size_t bytes, const void *in)
{
	const void *volatile hidden = in;

	return xn_opts_take(out, bytes, hidden);
}

static void no_options_are_all_defaults(void **state)
{
	struct opts_v2 o = { 1, 2, 3, 4 };

	assert_true(take(&o, sizeof(o), NULL));
	assert_true(!o.sz && !o.a && !o.b && !o.c);
}

static void an_older_callers_options_are_filled_up_with_zeros(void **state)
{
	struct opts_v1 in = { sizeof(in), 5, 6 };
	struct opts_v2 o = { 1, 2, 3, 4 };

	assert_true(take(&o, sizeof(o), &in));
	assert_true(o.a == 5 && o.b == 6 && o.c == 0);
}

static void a_newer_callers_options_are_taken_if_the_unknown_is_zero(void **state)
{
	struct opts_v2 in = { sizeof(in), 5, 6, 0 };
	struct { struct opts_v1 o; uint64_t canary; } out = { .canary = 0x5a5a };

	assert_true(take(&out.o, sizeof(out.o), &in));
	assert_true(out.o.a == 5 && out.o.b == 6 && out.canary == 0x5a5a);
}

static void a_newer_callers_options_are_refused_if_the_unknown_is_set(void **state)
{
	struct opts_v1 o;

	for (unsigned bit = 0; bit < 64; bit++) {
		struct opts_v2 in = { sizeof(in), 5, 6, 1ull << bit };

		assert_false(take(&o, sizeof(o), &in));
	}
}

static void options_without_a_size_are_refused(void **state)
{
	struct opts_v1 in = { 0, 5, 6 }, o;

	assert_false(take(&o, sizeof(o), &in));
	in.sz = sizeof(size_t) - 1;
	assert_false(take(&o, sizeof(o), &in));
	in.sz = sizeof(size_t);
	assert_true(take(&o, sizeof(o), &in));
	assert_true(!o.a && !o.b);
}

/* ---- types and atomics -------------------------------------------------------- */

static void powers_of_two_are_rounded_up_at_every_edge(void **state)
{
	assert_int_equal(xn_pow2_up(1), 1);
	for (unsigned s = 1; s < 31; s++) {
		uint32_t p = 1u << s;

		assert_int_equal(xn_pow2_up(p), p);
		assert_int_equal(xn_pow2_up(p + 1), 2 * p);
		assert_int_equal(xn_pow2_up(p - 1), s == 1 ? 1 : p);
		assert_true(xn_is_pow2(p));
		assert_int_equal(xn_is_pow2(p + 1), false);
	}
	assert_int_equal(xn_pow2_up(1u << 31), 1u << 31);
	assert_false(xn_is_pow2(0));
	assert_true(xn_is_pow2(1ull << 63));
}

static void aligning_works_beyond_32_bits(void **state)
{
	assert_int_equal(XN_ALIGN_UP(0x100000001ull, 4096), 0x100001000ull);
	assert_int_equal(XN_ALIGN_DOWN(0x1fffff001ull, XN_HUGE_SIZE), 0x1ffe00000ull);
	assert_int_equal(XN_ALIGN_UP(0x100000000ull, 4096), 0x100000000ull);
}

static void counters_carry_and_words_keep_their_width(void **state)
{
	uint64_t count = ~0u;
	uint16_t w = 0;

	xn_count_add(&count, 1);
	assert_int_equal(xn_load_once64(&count), 1ull << 32);
	xn_store_release16(&w, 65535);
	assert_int_equal(xn_load_acquire16(&w), 65535);
}

/* ---- number.h ---- */

static void numbers_are_all_of_the_word_and_within_their_bounds(void **state)
{
	static const struct {
		const char *text;
		int base;
		uint64_t min, max;
		bool good;
		uint64_t v;
	} t[] = {
		{ "0", 10, 0, 9, true, 0 }, { "9", 10, 0, 9, true, 9 }, { "007", 10, 7, 7, true, 7 },
		{ "660", 8, 0, 0777, true, 0660 }, { "ff", 16, 0, 255, true, 255 },
		{ "18446744073709551615", 10, 0, UINT64_MAX, true, UINT64_MAX },
		{ "18446744073709551616", 10, 0, UINT64_MAX, false, 0 },
		{ "10", 10, 0, 9, false, 0 }, { "1", 10, 2, 9, false, 0 }, { "8", 8, 0, 9, false, 0 },
		{ "", 10, 0, 9, false, 0 }, { "x", 10, 0, 9, false, 0 }, { "5x", 10, 0, 9, false, 0 },
		{ "5 ", 10, 0, 9, false, 0 }, { " 5", 10, 0, 9, false, 0 }, { "+5", 10, 0, 9, false, 0 },
		{ "-1", 10, 0, UINT64_MAX, false, 0 }, { " -1", 10, 0, UINT64_MAX, false, 0 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(t); i++) {
		uint64_t v = 77;

		assert_int_equal(xn_number(t[i].text, t[i].base, t[i].min, t[i].max, &v), t[i].good);
		assert_true(v == (t[i].good ? t[i].v : 77));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_counter_has_name_unit_and_text),
		cmocka_unit_test(no_counter_name_or_text_appears_twice),
		cmocka_unit_test(every_fault_has_a_counter_of_its_own),
		cmocka_unit_test(every_refused_header_has_a_counter_of_its_own),
		cmocka_unit_test(version_string_is_made_of_the_headers_numbers),
		cmocka_unit_test_teardown(lines_above_the_level_are_not_heard, log_off),
		cmocka_unit_test_teardown(without_a_callback_nothing_happens, log_off),
		cmocka_unit_test_teardown(failing_returns_minus_errno_and_is_heard, log_off),
		cmocka_unit_test_teardown(a_failure_may_quote_the_failure_before_it, log_off),
		cmocka_unit_test_teardown(a_line_that_is_too_long_is_cut_not_overrun, log_off),
		cmocka_unit_test(last_error_belongs_to_the_thread_that_failed),
		cmocka_unit_test(rate_limit_lets_a_burst_through_then_one_a_second),
		cmocka_unit_test(rate_limit_never_saves_more_than_a_burst),
		cmocka_unit_test(clock_goes_forward),
		cmocka_unit_test(no_options_are_all_defaults),
		cmocka_unit_test(an_older_callers_options_are_filled_up_with_zeros),
		cmocka_unit_test(a_newer_callers_options_are_taken_if_the_unknown_is_zero),
		cmocka_unit_test(a_newer_callers_options_are_refused_if_the_unknown_is_set),
		cmocka_unit_test(options_without_a_size_are_refused),
		cmocka_unit_test(numbers_are_all_of_the_word_and_within_their_bounds),
		cmocka_unit_test(powers_of_two_are_rounded_up_at_every_edge),
		cmocka_unit_test(aligning_works_beyond_32_bits),
		cmocka_unit_test(counters_carry_and_words_keep_their_width),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
