/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves: a guest that uses one queue pair of a daemon that has four (firmware, a driver
 * without MQ) gets what comes on any of the interface's queues. The pairs that it does not use
 * stand by for that, as long as it uses one.
 */
#include <poll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "tests/cmocka.h"
#include "tests/net/xd.h"

#define ALL_S     900u
#define QUEUES    4u
#define NS_PER_MS 1000000ull
#define FRAMES    100u           /* at least, of each queue */
#define PPS       5000u
#define BYTES     300u
#define UNDER_WAY 16u            /* no more than the guest keeps back for frames of other queues */

static struct {
	struct xn_lab lab;
	struct xd d;
	struct xd_guest g;
	uint64_t sent;
} t;

static int setup(void **state)
{
	t.sent = 0;
	assert_int_equal(xn_lab_create(&t.lab, &(struct xn_lab_cfg){ .queues = QUEUES }), 0);
	xd_init(&t.d);
	xd_start(&t.d, &(struct xd_how){ .lab = &t.lab }, "xdp:" XN_LAB_NEAR ",queues=4", NULL);
	xd_guest_init(&t.g);
	return 0;
}

static int teardown(void **state)
{
	xd_guest_fini(&t.g);
	xd_stop(&t.d);
	xd_fini(&t.d);
	xn_lab_destroy(&t.lab);
	return 0;
}

static void print_drops(void)
{
	json_t *all = xd_ask(&t.d, "{\"cmd\":\"stats\"}"), *c;
	const char *name;

	json_object_foreach(json_object_get(all, "counters"), name, c)
		if (json_integer_value(json_object_get(c, "value")))
			print_message("%s %lld\n", name, (long long)json_integer_value(json_object_get(c, "value")));
	json_decref(all);
}

/* Frames on this queue of the interface: each of them reaches the guest. */
static void comes_on(unsigned queue)
{
	const struct xn_gen_cfg cfg = { .bytes = BYTES,
					.pace_pps = PPS, .window = UNDER_WAY, .run_tag = queue,
					.cpu = -1 };
	uint64_t until = xn_now_ns() + 60000 * NS_PER_MS;
	struct xn_gen_counts c;
	struct xn_gen *gen;

	assert_int_equal(xn_gen_create(&gen, &t.lab, (int)queue), 0);
	assert_int_equal(xn_gen_start(gen, &cfg), 0);
	while (xn_gen_offered(gen) < FRAMES && xn_now_ns() < until) {
		xd_guest_reap(&t.g);
		xn_gen_allow(gen, t.g.got - t.sent);
	}
	xn_gen_stop(gen, &c);
	xn_gen_destroy(gen);
	t.sent += c.sent;
	assert_true(c.sent >= FRAMES);
	while (t.g.got < t.sent && xn_now_ns() < until)
		xd_guest_reap(&t.g);
	if (t.g.got != t.sent) {
		print_drops();
		fail_msg("queue %u: %llu of %llu came", queue, (unsigned long long)t.g.got,
			 (unsigned long long)t.sent);
	}
}

static void comes_on_all(void)
{
	xd_wait_stat(&t.d, "guest.standing_by", QUEUES - 1);
	for (unsigned q = 0; q < QUEUES; q++)
		comes_on(q);
	assert_int_equal(xd_stat(&t.d, "counters.steer_disabled"), 0);
}

static void one_pair_gets_what_comes_on_any_queue(void **state)
{
	xd_guest_feed(&t.g, 128);
	xd_guest_plug(&t.g, t.d.sock, -1);
	comes_on_all();
	assert_true(xd_stat(&t.d, "counters.rss_missteered") >= (QUEUES - 1) * FRAMES);
	assert_int_equal(xd_stat(&t.d, "counters.rss_missteered"),
			 xd_stat(&t.d, "counters.rss_handed_over"));
}

static void nobody_stands_by_for_nobody(void **state)
{
	uint32_t base;

	for (unsigned i = 0; i < 2; i++) {
		if (!i)
			xd_guest_feed(&t.g, 128);
		xd_guest_plug(&t.g, t.d.sock, -1);
		comes_on_all();
		/* Its only rings stop, but for the connection. */
		assert_int_equal(front_stop_ring(&t.g.f, 1, &base), 0);
		assert_int_equal(front_stop_ring(&t.g.f, 0, &base), 0);
		xd_wait_stat(&t.d, "guest.standing_by", 0);
		xd_guest_reap(&t.g);   /* what was taken back */
		assert_int_equal(t.g.drv.q[0].seen, base);
		xd_guest_unplug(&t.g);
		xd_wait_stat(&t.d, "guest.connected", 0);
	}
}

/* The guest's driver finds out about its second pair later than its firmware. */
static void a_pair_that_stood_by_is_started_and_others_stand_by_on(void **state)
{
	const uint64_t at = XD_BASE + 0x1c0000;
	uint32_t base;

	xd_guest_feed(&t.g, 128);
	xd_guest_plug(&t.g, t.d.sock, -1);
	comes_on_all();
	for (unsigned i = 2; i < 4; i++) {
		const uint64_t ring = at + (i - 2) * 0x8000;
		const struct front_ring r = {
			.index = i, .size = 256, .desc = ring, .avail = ring + 0x2000,
			.used = ring + 0x4000, .kick_fd = t.g.kick[0], .call_fd = -1, .err_fd = -1,
		};

		assert_int_equal(front_start_ring(&t.g.f, &r), 0);
	}
	xd_wait_stat(&t.d, "guest.running", 2);
	xd_wait_stat(&t.d, "guest.standing_by", QUEUES - 2);
	for (unsigned i = 2; i < 4; i++)
		assert_int_equal(front_stop_ring(&t.g.f, i, &base), 0);
	comes_on_all();
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		CASE(one_pair_gets_what_comes_on_any_queue),
		CASE(nobody_stands_by_for_nobody),
		CASE(a_pair_that_stood_by_is_started_and_others_stand_by_on),
	};

	alarm(ALL_S);
	if (!xd_find(argv[0]))
		return 1;
	return cmocka_run_group_tests_name("stand_by", tests, NULL, NULL);
}
