/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RSS through the whole device, on a veth pair of four queues: each queue pair has a thread
 * that runs it, sleeps where there is nothing to do, and plays its guest. The far end chooses
 * the queue on which a frame arrives (an AF_XDP socket on its transmit queue of the same
 * number). Each frame has to come to the pair that the slow model names, once, whole, and in
 * the order of its flow; and what does not come is counted.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/cmocka.h"
#include "base/atomics.h"
#include "base/log.h"
#include "tests/fake/pairs.h"
#include "tests/net/rig.h"
#include "xsk/xsk.h"

#define ALL_S      900u
#define FRAMES     20000u
#define SWAPS      10000u
#define LOT        48u          /* frames under way: none of veth's rings overflows */
#define WAIT_MS    (PAIRS_LATE_MS - 500)
#define FAR_RAM    (1u << 20)
#define FAR_CHUNKS 200u

static struct {
	struct rig r;
	struct xn_mem far_mem;
	struct xn_xsk far[PAIRS];
	struct pairs p;
} t;

static void must(int err, const char *what)
{
	if (err)
		fail_msg("%s: %s", what, xn_last_error());
}

/* ---- the far end ---- */

static void open_far(void)
{
	t.far_mem = (struct xn_mem){ .umem_bytes = FAR_RAM, .map_bytes = FAR_RAM };
	t.far_mem.base = mmap(NULL, FAR_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(t.far_mem.base != MAP_FAILED);
	must(xn_lab_enter_far(&t.r.lab), "enter far");
	for (unsigned q = 0; q < PAIRS; q++) {
		const struct xn_xsk_cfg c = {
			.ifindex = t.r.lab.far_ifindex, .ifname = XN_LAB_FAR, .queue = q, .mem = &t.far_mem,
			.frame_bytes = 1518, .fill_size = 64, .rx_size = 128, .tx_size = 256,
			.comp_size = 512, .mode = XN_XSK_COPY, .share_fd = q ? t.far[0].fd : -1,
			.spare_fd = -1,
		};

		must(xn_xsk_open(&t.far[q], &c), "xn_xsk_open far");
	}
	must(xn_lab_leave(&t.r.lab), "leave far");
}

static void send_lot(bool exact, unsigned n)
{
	for (; n; n--) {
		const uint64_t addr = t.p.sent % FAR_CHUNKS * XN_CHUNK_BYTES;
		struct xn_xsk *x = &t.far[pairs_frame(&t.p, t.far_mem.base + addr, exact)];
		uint32_t at = 0, done;

		assert_int_equal(xsk_ring_prod__reserve(&x->tx, 1, &at), 1);
		*xsk_ring_prod__tx_desc(&x->tx, at) = (struct xdp_desc){ .addr = addr,
									 .len = PAIRS_BYTES };
		xsk_ring_prod__submit(&x->tx, 1);
		assert_int_equal(x->send(x), 0);
		done = xsk_ring_cons__peek(&x->comp, 64, &at);
		xsk_ring_cons__release(&x->comp, done);
	}
}

/* All that was sent has come, or is counted. Not while a pair is being restarted. */
static void wait_for_all(bool may_drop)
{
	if (!pairs_wait(&t.p, may_drop, WAIT_MS))
		fail_msg("%llu sent, %lld came, %llu dropped", (unsigned long long)t.p.sent,
			 (long long)pairs_got(&t.p), (unsigned long long)pairs_dropped(&t.p));
}

/* ---- life ---- */

static void enter_near(void *arg)
{
	must(xn_lab_enter_near(arg), "enter near");
}

static int setup(void **state)
{
	memset(&t, 0, sizeof(t));
	for (unsigned i = 0; i < PAIRS; i++)
		t.far[i].fd = -1;
	rig_open(&t.r, &(struct rig_cfg){ .pairs = PAIRS, .features = 1ull << 15,
					  .options = ",mode=copy" });
	open_far();
	t.p.dev = t.r.dev;
	t.p.drv = &t.r.drv;
	t.p.enter = enter_near;
	t.p.arg = &t.r.lab;
	t.p.seed = 17;
	t.p.ordered = true;
	must(xn_dev_set_rss(t.r.dev, "symmetric", "equal:4"), "xn_dev_set_rss");
	xn_rss_default(&t.p.cfg[0], PAIRS);
	must(xn_rss_set_key(&t.p.cfg[0], "symmetric"), "key");
	must(xn_rss_set_table(&t.p.cfg[0], "equal:4", PAIRS), "table");
	pairs_start(&t.p);
	return 0;
}

static int teardown(void **state)
{
	pairs_stop(&t.p);
	for (unsigned i = 0; i < PAIRS; i++)
		xn_xsk_close(&t.far[i]);
	if (t.far_mem.base)
		munmap(t.far_mem.base, FAR_RAM);
	rig_close(&t.r);
	return 0;
}

/* ---- cases ---- */

static void flows_that_come_on_their_own_queue_are_never_copied(void **state)
{
	while (t.p.sent < FRAMES) {
		send_lot(true, LOT);
		wait_for_all(false);
	}
	assert_int_equal(rig_stat(&t.r, "rx_bounced") + rig_stat(&t.r, "rss_missteered"), 0);
	assert_int_equal(rig_stat(&t.r, "steer_to_guest"), t.p.sent);
	assert_int_equal(rig_stat(&t.r, "rx_lent"), t.p.sent);
	assert_int_equal(pairs_dropped(&t.p), 0);
}

static void flows_that_come_anywhere_reach_the_pair_that_is_named(void **state)
{
	while (t.p.sent < FRAMES) {
		send_lot(false, LOT);
		wait_for_all(false);
	}
	assert_true(rig_stat(&t.r, "rss_missteered") > t.p.sent / 2);
	assert_int_equal(rig_stat(&t.r, "rss_missteered"), rig_stat(&t.r, "rss_handed_over"));
	assert_int_equal(rig_stat(&t.r, "rx_lent") + rig_stat(&t.r, "rss_missteered"), t.p.sent);
	assert_int_equal(rig_stat(&t.r, "rx_bounced"), 0);
	assert_int_equal(rig_stat(&t.r, "steer_unfixed"), 0);
	assert_int_equal(pairs_dropped(&t.p), 0);
}

static void a_pair_that_is_restarted_100_times_loses_nothing_without_a_name(void **state)
{
	for (unsigned round = 0; round < 100; round++) {
		pairs_restart(&t.p, round % PAIRS);   /* a frame wakes it, if it sleeps */
		send_lot(false, 2 * LOT);
		assert_true(pairs_restarted(&t.p, round % PAIRS, 2 * WAIT_MS));
		wait_for_all(true);
	}
	assert_true(rig_stat(&t.r, "steer_disabled") > 0);
	assert_true(pairs_got(&t.p) > (int64_t)t.p.sent / 2);
}

struct swapper {
	pthread_t thread;
	uint32_t stop, swaps, failed;
};

static void *swap_run(void *arg)
{
	struct swapper *s = arg;

	while (!xn_load_acquire32(&s->stop)) {
		const bool odd = s->swaps & 1;

		if (xn_dev_set_rss(t.r.dev, odd ? "symmetric" : NULL, odd ? "equal:4" : "3,2,1,0,0,0,1,1"))
			xn_store_once32(&s->failed, 1);
		xn_store_release32(&s->swaps, s->swaps + 1);
	}
	return NULL;
}

static void nothing_is_lost_while_10000_configurations_are_swapped(void **state)
{
	struct swapper s = { .stop = 0 };

	t.p.ordered = false;
	xn_rss_default(&t.p.cfg[1], PAIRS);
	must(xn_rss_set_table(&t.p.cfg[1], "3,2,1,0,0,0,1,1", PAIRS), "table");
	assert_int_equal(pthread_create(&s.thread, NULL, swap_run, &s), 0);
	/* As many frames as there are, over all of the swaps: whoever is faster waits. */
	while (t.p.sent + LOT < PAIRS_FRAMES && xn_load_acquire32(&s.swaps) < SWAPS &&
	       !xn_load_once32(&s.failed)) {
		if (t.p.sent / (PAIRS_FRAMES / SWAPS) > xn_load_acquire32(&s.swaps)) {
			sched_yield();
			continue;
		}
		send_lot(false, LOT);
		wait_for_all(true);
	}
	xn_store_release32(&s.stop, 1);
	pthread_join(s.thread, NULL);
	assert_int_equal(s.failed, 0);
	print_message(">> rss: %u configurations under %llu frames\n", s.swaps,
		      (unsigned long long)t.p.sent);
	assert_true(s.swaps >= SWAPS);
	assert_int_equal(pairs_dropped(&t.p), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(flows_that_come_on_their_own_queue_are_never_copied),
		CASE(flows_that_come_anywhere_reach_the_pair_that_is_named),
		CASE(a_pair_that_is_restarted_100_times_loses_nothing_without_a_name),
		CASE(nothing_is_lost_while_10000_configurations_are_swapped),
	};

	alarm(ALL_S);
	return cmocka_run_group_tests_name("rss_port", tests, NULL, NULL);
}
