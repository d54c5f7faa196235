/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RSS through the whole device, on a veth pair of four queues: each queue pair has a thread
 * that runs it, sleeps where there is nothing to do, and plays its guest. The far end chooses
 * the queue on which a frame arrives (an AF_XDP socket on its transmit queue of the same
 * number). Each frame has to come to the pair that the slow model names, once, whole, and in
 * the order of its flow; and what does not come is counted.
 */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/cmocka.h"
#include "base/atomics.h"
#include "base/log.h"
#include "tests/fake/rss.h"
#include "tests/net/rig.h"
#include "xsk/xsk.h"

#define ALL_S    200u
#define PAIRS    4u
#define SLOT     1664u
#define BUF      1600u
#define BUFS_AT  0x100000u
#define BYTES    300u
#define SEQ_AT   (BYTES - 16)            /* number, and queue it was sent on */
#define FRAMES   40000u
#define LOT      48u                     /* frames under way: none of veth's rings overflows */
#define WAIT_MS  5000u
#define SLEEP_MS 3000                    /* of a thread: one that was not woken is too late */
#define FAR_RAM  (1u << 20)
#define FAR_CHUNKS 200u

struct pair {
	pthread_t thread;
	unsigned index;
	uint32_t restarts, restarted;    /* asked for; done */
	uint32_t got, failed;
	uint8_t posted[DRV_SIZE];
	uint8_t seen[FRAMES];
	uint64_t last[PAIRS];            /* by queue of arrival: newest number + 1 */
};

static struct {
	struct rig r;
	struct xn_mem far_mem;
	struct xn_xsk far[PAIRS];
	struct pair pairs[PAIRS];
	struct xn_rss_config cfg[2];     /* one of these is in force */
	bool ordered;                    /* only one is */
	uint64_t seed;
	uint64_t sent;
	uint32_t stop;
} t;

static void must(int err, const char *what)
{
	if (err)
		fail_msg("%s: %s", what, xn_last_error());
}

/* ---- a pair and its guest ---- */

static uint64_t buffer(unsigned q, unsigned slot)
{
	return BUFS_AT + ((uint64_t)q * DRV_SIZE + slot) * SLOT;
}

static void post(struct pair *p)
{
	for (unsigned s = 0; s < DRV_SIZE; s++)
		if (!p->posted[s]) {
			p->posted[s] = 1;
			drv_post1(&t.r.drv, 2 * p->index, buffer(p->index, s), BUF);
		}
}

/* Is this frame one that may come here, now? */
static bool is_right(struct pair *p, const uint8_t *frame, uint32_t bytes)
{
	uint64_t tail[2];

	if (bytes != BYTES)
		return false;
	memcpy(tail, frame + SEQ_AT, sizeof(tail));
	if (tail[0] >= FRAMES || tail[1] >= PAIRS || p->seen[tail[0]]++)
		return false;
	if (rss_model_queue(&t.cfg[0], frame, bytes) != p->index &&
	    rss_model_queue(&t.cfg[1], frame, bytes) != p->index)
		return false;
	if (t.ordered && tail[0] < p->last[tail[1]])
		return false;
	p->last[tail[1]] = tail[0] + 1;
	return true;
}

static unsigned take(struct pair *p)
{
	unsigned n = 0;
	uint16_t head;
	uint32_t len;

	while (drv_used(&t.r.drv, 2 * p->index, &head, &len)) {
		const uint64_t at = drv_desc(&t.r.drv, 2 * p->index)[head].addr;

		p->posted[(at - buffer(p->index, 0)) / SLOT] = 0;
		if (!len)
			continue;
		if (!is_right(p, t.r.drv.ram + at + DRV_HDR, len - DRV_HDR))
			xn_store_once32(&p->failed, p->failed + 1);
		n++;
	}
	return n;
}

static void restart(struct pair *p)
{
	struct xn_queue *q = xn_dev_queue(t.r.dev, p->index);

	if (xn_queue_stop(q) || xn_queue_start(q))
		xn_store_once32(&p->failed, p->failed + 1);
	/* (What it had counted before is seen by who sees this.) */
	xn_store_release32(&p->restarted, p->restarted + 1);
}

static void sleep_on(struct xn_queue *q)
{
	struct pollfd fds[6];
	unsigned n = xn_queue_wait_fds(q, fds, 6);

	poll(fds, n, t.sent ? SLEEP_MS : 10);
}

static void *pair_run(void *arg)
{
	struct pair *p = arg;
	struct xn_queue *q = xn_dev_queue(t.r.dev, p->index);

	if (xn_lab_enter_near(&t.r.lab))
		xn_store_once32(&p->failed, 1);
	while (!xn_load_acquire32(&t.stop)) {
		unsigned moved = xn_queue_run(q, 64), got = take(p);

		xn_store_release32(&p->got, p->got + got);
		post(p);
		if (p->restarted != xn_load_acquire32(&p->restarts))
			restart(p);
		else if (!moved && !got && xn_queue_arm(q) && !xn_load_acquire32(&t.stop))
			sleep_on(q);
	}
	return NULL;
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

static void far_send(unsigned from, const uint8_t *frame)
{
	struct xn_xsk *x = &t.far[from];
	const uint64_t addr = t.sent % FAR_CHUNKS * XN_CHUNK_BYTES;
	uint32_t at = 0, n;

	memcpy(t.far_mem.base + addr, frame, BYTES);
	assert_int_equal(xsk_ring_prod__reserve(&x->tx, 1, &at), 1);
	*xsk_ring_prod__tx_desc(&x->tx, at) = (struct xdp_desc){ .addr = addr, .len = BYTES };
	xsk_ring_prod__submit(&x->tx, 1);
	assert_int_equal(x->send(x), 0);
	n = xsk_ring_cons__peek(&x->comp, 64, &at);
	xsk_ring_cons__release(&x->comp, n);
}

/* A frame of some flow; on the queue that it is named for, or on any. */
static void send_one(bool exact)
{
	static const uint8_t classes[] = { XN_FLOW_TCPV4, XN_FLOW_UDPV4, XN_FLOW_TCPV6,
					   XN_FLOW_UDPV6, XN_FLOW_IPV4, XN_FLOW_NONE };
	uint8_t frame[BYTES];
	uint64_t tail[2] = { t.sent, rss_below(&t.seed, PAIRS) };

	rss_plain_frame(frame, BYTES, classes[rss_below(&t.seed, sizeof(classes))],
			rss_below(&t.seed, 3), rss_below(&t.seed, 1000));
	if (exact)
		tail[1] = rss_model_queue(&t.cfg[0], frame, BYTES);
	memcpy(frame + SEQ_AT, tail, sizeof(tail));
	assert_true(t.sent < FRAMES);
	t.sent++;
	far_send((unsigned)tail[1], frame);
}

/* ---- conservation ---- */

static uint64_t got(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PAIRS; i++) {
		n += xn_load_acquire32(&t.pairs[i].got);
		assert_int_equal(xn_load_once32(&t.pairs[i].failed), 0);
	}
	return n;
}

static uint64_t dropped(void)
{
	static const char *const names[] = {
		"rx_drop_no_buffer", "rx_drop_too_small", "rx_drop_too_long", "rx_drop_stopped",
		"rx_drop_error", "rx_drop_missteered", "rx_drop_cross_full", "steer_disabled",
		"steer_no_socket", "kernel_rx_dropped", "kernel_rx_ring_full", "kernel_fill_empty",
	};
	uint64_t sum = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++)
		sum += rig_stat(&t.r, names[i]);
	return sum;
}

/* All that was sent has come, or is counted. Not while a pair is being restarted. */
static void wait_for_all(bool may_drop)
{
	const uint64_t end = xn_now_ns() + WAIT_MS / 2 * 1000000ull;

	while (got() + (may_drop ? dropped() : 0) != t.sent && xn_now_ns() < end)
		;
	if (got() + dropped() != t.sent)
		fail_msg("%llu sent, %llu came, %llu dropped", (unsigned long long)t.sent,
			 (unsigned long long)got(), (unsigned long long)dropped());
}

/* ---- life ---- */

static int setup(void **state)
{
	memset(&t, 0, sizeof(t));
	t.seed = 17;
	t.ordered = true;
	for (unsigned i = 0; i < PAIRS; i++)
		t.far[i].fd = -1;
	rig_open(&t.r, &(struct rig_cfg){ .pairs = PAIRS, .features = 1ull << 15,
					  .options = ",mode=copy" });
	open_far();
	for (unsigned i = 0; i < 2; i++)
		xn_rss_default(&t.cfg[i], PAIRS);
	must(xn_dev_set_rss(t.r.dev, "symmetric", "equal:4"), "xn_dev_set_rss");
	for (unsigned i = 0; i < 2; i++) {
		must(xn_rss_set_key(&t.cfg[i], "symmetric"), "key");
		must(xn_rss_set_table(&t.cfg[i], "equal:4", PAIRS), "table");
	}
	for (unsigned i = 0; i < PAIRS; i++) {
		t.pairs[i].index = i;
		post(&t.pairs[i]);
		xn_queue_run(xn_dev_queue(t.r.dev, i), 64);
		assert_int_equal(pthread_create(&t.pairs[i].thread, NULL, pair_run, &t.pairs[i]), 0);
	}
	usleep(50000);   /* the interface's own packets have come and gone */
	return 0;
}

static int teardown(void **state)
{
	xn_store_release32(&t.stop, 1);
	for (unsigned i = 0; i < PAIRS; i++)
		if (t.pairs[i].thread)
			pthread_join(t.pairs[i].thread, NULL);
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
	while (t.sent < FRAMES / 2) {
		for (unsigned i = 0; i < LOT; i++)
			send_one(true);
		wait_for_all(false);
	}
	assert_int_equal(rig_stat(&t.r, "rx_bounced") + rig_stat(&t.r, "rss_missteered"), 0);
	assert_int_equal(rig_stat(&t.r, "steer_to_guest"), t.sent);
	assert_int_equal(rig_stat(&t.r, "rx_lent"), t.sent);
	assert_int_equal(dropped(), 0);
}

static void flows_that_come_anywhere_reach_the_pair_that_is_named(void **state)
{
	while (t.sent < FRAMES / 2) {
		for (unsigned i = 0; i < LOT; i++)
			send_one(false);
		wait_for_all(false);
	}
	assert_true(rig_stat(&t.r, "rss_missteered") > t.sent / 2);
	assert_int_equal(rig_stat(&t.r, "rss_missteered"), rig_stat(&t.r, "rss_handed_over"));
	assert_int_equal(rig_stat(&t.r, "rx_lent") + rig_stat(&t.r, "rss_missteered"), t.sent);
	assert_int_equal(rig_stat(&t.r, "rx_bounced"), 0);
	assert_int_equal(rig_stat(&t.r, "steer_unfixed"), 0);
	assert_int_equal(dropped(), 0);
}

static void a_pair_that_is_restarted_100_times_loses_nothing_without_a_name(void **state)
{
	for (unsigned round = 0; round < 100; round++) {
		struct pair *p = &t.pairs[round % PAIRS];
		/* It may sleep; a frame wakes it, or its own restart does not come before. */
		const uint32_t want = p->restarts + 1;
		uint64_t end = xn_now_ns() + WAIT_MS * 1000000ull;

		xn_store_release32(&p->restarts, want);
		for (unsigned i = 0; i < 2 * LOT; i++)
			send_one(false);
		for (unsigned i = 0; xn_load_acquire32(&p->restarted) != want; i++)
			if (xn_now_ns() > end)
				fail_msg("pair %u was not restarted", p->index);
		wait_for_all(true);
	}
	/* Each has handed over and received, before and after. */
	assert_true(rig_stat(&t.r, "steer_disabled") > 0);
	assert_true(got() > t.sent / 2);
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

static void nothing_is_lost_while_configurations_are_swapped(void **state)
{
	struct swapper s = { .stop = 0 };

	t.ordered = false;
	xn_rss_default(&t.cfg[1], PAIRS);
	must(xn_rss_set_table(&t.cfg[1], "3,2,1,0,0,0,1,1", PAIRS), "table");
	assert_int_equal(pthread_create(&s.thread, NULL, swap_run, &s), 0);
	while (t.sent + LOT < FRAMES && xn_load_acquire32(&s.swaps) < 300) {
		for (unsigned i = 0; i < LOT; i++)
			send_one(false);
		wait_for_all(true);
	}
	xn_store_release32(&s.stop, 1);
	pthread_join(s.thread, NULL);
	assert_int_equal(s.failed, 0);
	assert_true(s.swaps >= 20);
	assert_int_equal(dropped(), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(flows_that_come_on_their_own_queue_are_never_copied),
		CASE(flows_that_come_anywhere_reach_the_pair_that_is_named),
		CASE(a_pair_that_is_restarted_100_times_loses_nothing_without_a_name),
		CASE(nothing_is_lost_while_configurations_are_swapped),
	};

	alarm(ALL_S);
	return cmocka_run_group_tests_name("rss_port", tests, NULL, NULL);
}
