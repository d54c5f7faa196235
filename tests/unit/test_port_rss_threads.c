/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queue pairs with a thread each, on the fake kernel: frames cross from one to the other while
 * pairs stop and start, and configurations change. Made for ThreadSanitizer; on any build it
 * proves that each frame comes where it may come, or is counted.
 */
#include <unistd.h>

#include "base/atomics.h"
#include "tests/fake/pairs.h"
#include "tests/unit/port_rig.h"

#define LOT     40u
#define WAIT_MS 20000u

static struct rig r;
static struct pairs p;

static void open_pairs(void)
{
	static const struct xn_dev_opts dev = { .sz = sizeof(dev), .pairs = PAIRS };
	const struct rig_opts o = { .features = MRG, .dev = &dev, .options = ",queues=4",
				    .bounce_frames = 2048 };

	rig_prepare(&r, &o);
	fk_host.on_open = NULL;
	assert_int_equal(rig_open_port(&r, &o), 0);
	assert_int_equal(rig_start(&r, &o), 0);
	/* The fake's sockets are never ready: nobody sleeps for long. */
	p = (struct pairs){ .dev = r.dev, .drv = &r.drv, .seed = 3, .ordered = true, .sleep_ms = 1 };
	xn_rss_default(&p.cfg[0], PAIRS);
	xn_rss_default(&p.cfg[1], PAIRS);
	assert_int_equal(xn_rss_set_table(&p.cfg[1], "3,2,1,0,0,0,1,1", PAIRS), 0);
	assert_int_equal(xn_dev_set_rss(r.dev, NULL, "equal:4"), 0);
	pairs_start(&p);
}

static void close_pairs(void)
{
	pairs_stop(&p);
	rig_close(&r);
}

/* Frames that the kernel does not take are counted by the fake as by a kernel. */
static void send_lot(unsigned n)
{
	uint8_t frame[PAIRS_BYTES];

	for (; n; n--) {
		const unsigned from = pairs_frame(&p, frame, false);

		(void)fk_host_rx(from, frame, sizeof(frame));
	}
}

static void wait_for_all(bool may_drop)
{
	if (!pairs_wait(&p, may_drop, WAIT_MS))
		fail_msg("%llu sent, %lld came, %llu dropped", (unsigned long long)p.sent,
			 (long long)pairs_got(&p), (unsigned long long)pairs_dropped(&p));
}

static void frames_cross_between_threads_in_order(void **state)
{
	open_pairs();
	while (p.sent < 12000) {
		send_lot(LOT);
		wait_for_all(false);
	}
	assert_true(stat(&r, "rss_missteered") > p.sent / 2);
	assert_int_equal(pairs_dropped(&p), 0);
	close_pairs();
}

static void pairs_stop_and_start_while_frames_cross(void **state)
{
	open_pairs();
	for (unsigned round = 0; round < 150; round++) {
		pairs_restart(&p, round % PAIRS);
		if (round % 3 == 0)
			pairs_restart(&p, (round + 1) % PAIRS);
		send_lot(2 * LOT);
		assert_true(pairs_restarted(&p, round % PAIRS, WAIT_MS));
		assert_true(pairs_restarted(&p, (round + 1) % PAIRS, WAIT_MS));
		wait_for_all(true);
	}
	assert_true(pairs_got(&p) > (int64_t)p.sent / 2);
	close_pairs();
}

static void configurations_change_while_frames_cross(void **state)
{
	open_pairs();
	p.ordered = false;
	for (unsigned swap = 0; swap < 1000; swap++) {
		send_lot(LOT / 2);
		assert_int_equal(xn_dev_set_rss(r.dev, NULL, swap & 1 ? "equal:4" : "3,2,1,0,0,0,1,1"), 0);
		send_lot(LOT / 2 - 10);
		if (swap % 2)
			wait_for_all(false);
	}
	wait_for_all(false);
	assert_int_equal(pairs_dropped(&p), 0);
	close_pairs();
}

#define CASE(f) cmocka_unit_test(f)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(frames_cross_between_threads_in_order),
		CASE(pairs_stop_and_start_while_frames_cross),
		CASE(configurations_change_while_frames_cross),
	};

	alarm(900);
	return cmocka_run_group_tests_name("port_rss_threads", tests, NULL, NULL);
}
