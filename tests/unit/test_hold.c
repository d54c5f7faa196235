/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of notification coalescing (engine/hold.c): the driver is told when max_packets are used
 * or max_usecs have gone by, not before, once, and whether or not the queue's thread sleeps; no
 * wish makes anything wait for ever; what it wants besides (suppression, EVENT_IDX) holds as
 * without; a change of the wish counts at once, and none is lost. Twice: on split rings, and on
 * packed ones.
 */
#include <linux/virtio_net.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/types.h"
#include "engine/dev.h"
#include "tests/cmocka.h"
#include "tests/fake/driver.h"

#define RAM      (8u << 20)
#define VERSION  (1ull << 32)
#define EVENT    (1ull << VIRTIO_RING_F_EVENT_IDX)
#define PACKED   (1ull << VIRTIO_F_RING_PACKED)
#define IN_ORDER (1ull << VIRTIO_F_IN_ORDER)
#define RESET    (1ull << VIRTIO_F_RING_RESET)
#define COAL     (1ull << XN_NET_F_NOTF_COAL)
#define RX       0u
#define TX       1u
#define TX_AT    0x400003u
#define RX_AT    0x100001u
#define LONG_US  1000000u  /* longer than any of these tests takes up to the point */
#define MS       1000000ull
#define SOON_MS 20000           /* what comes at all has come by then */

static bool packed;   /* what this run is about */

static struct {
	struct drv drv;
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;
	struct xn_queue *q;
	unsigned irqs[2];
} r;

static void on_irq(void *arg, unsigned index)
{
	r.irqs[index]++;
}

static struct xn_vring vring_of(unsigned i)
{
	struct xn_vring v = drv_vring(i);

	if (packed) {
		v.base = XN_VRING_NEW_PACKED;
		v.size = DRV_SIZE - 6;   /* no power of two */
	}
	return v;
}

static unsigned ring_size(void)
{
	return vring_of(TX).size;
}

static void set_ring(unsigned i)
{
	struct xn_vring v = vring_of(i);

	assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
}

static void open_rig(const char *port, uint64_t features)
{
	struct xn_region region = { .size = RAM };
	struct xn_mem_opts mo = { .sz = sizeof(mo), .bounce_frames = 64 };
	struct xn_dev_opts opts = { .sz = sizeof(opts), .irq = on_irq };

	memset(&r, 0, sizeof(r));
	drv_init(&r.drv, RAM, 1);
	if (packed)
		drv_use_packed(&r.drv, 1, ring_size());
	region.fd = r.drv.fd;
	assert_int_equal(xn_mem_create(&r.mem, &region, 1, &mo), 0);
	assert_int_equal(xn_port_open(&r.port, port, NULL), 0);
	assert_int_equal(xn_dev_create(&r.dev, r.mem, r.port, &opts), 0);
	assert_int_equal(xn_dev_set_features(r.dev, VERSION | (packed ? PACKED : 0) | features), 0);
	set_ring(RX);
	set_ring(TX);
	assert_int_equal(xn_dev_start(r.dev), 0);
	r.q = xn_dev_queue(r.dev, 0);
}

static void close_rig(void)
{
	xn_dev_destroy(r.dev);
	xn_port_close(r.port);
	xn_mem_destroy(r.mem);
	drv_fini(&r.drv);
}

static void wish(unsigned ring, uint32_t packets, uint32_t usecs)
{
	xn_hold_say(r.dev, ring, xn_hold_wish_of(packets, usecs));
}

static void send_one(void)
{
	memset(r.drv.ram + TX_AT, 0, 100);
	drv_post1(&r.drv, TX, TX_AT, 100);
	while (xn_queue_run(r.q, 64))
		;
}

static void take_all(unsigned ring)
{
	uint16_t head;
	uint32_t used;

	while (drv_used(&r.drv, ring, &head, &used))
		;
}

static uint64_t count(const char *name)
{
	return drv_stat(r.dev, 0, name);
}

/* Is there something to be awake for within so many ms? */
static bool woken(int ms)
{
	struct pollfd fds[8];

	return poll(fds, xn_queue_wait_fds(r.q, fds, 8), ms) > 0;
}

/* The same, asked as a queue's thread does before it sleeps. */
static bool sleeps(int ms)
{
	return !xn_queue_arm(r.q) || woken(ms);
}

static void told_when_so_many_are_used(void **state)
{
	static const uint64_t kinds[] = { 0, EVENT, IN_ORDER, EVENT | IN_ORDER };

	for (unsigned k = 0; k < XN_ARRAY_SIZE(kinds); k++) {
		open_rig("null", COAL | kinds[k]);
		wish(TX, 8, LONG_US);
		for (unsigned i = 1; i <= 80; i++) {
			send_one();
			assert_int_equal(r.irqs[TX], i / 8);
			take_all(TX);                       /* visible at once, all the same */
			assert_int_equal(drv_pending(&r.drv, TX), 0);
			if (kinds[k] & EVENT)
				drv_want_call_after(&r.drv, TX, 0);
		}
		assert_int_equal(r.irqs[RX], 0);
		close_rig();
	}
}

/* A driver that asks for more than its ring has: half a ring of slots, however few chains. */
static void told_before_the_ring_runs_dry(void **state)
{
	static const uint64_t kinds[] = { 0, IN_ORDER };
	struct drv_seg segs[10];

	for (unsigned k = 0; k < XN_ARRAY_SIZE(kinds); k++) {
		const unsigned n = packed ? XN_ARRAY_SIZE(segs) : 1, most = ring_size() / 2 / n;

		open_rig("null", COAL | kinds[k]);
		memset(r.drv.ram + TX_AT, 0, 100);
		for (unsigned i = 0; i < n; i++)
			segs[i] = (struct drv_seg){ TX_AT + 10 * i, i + 1 < n ? 10 : 100 - 10 * i };
		wish(TX, 10000, LONG_US);
		for (unsigned lap = 1; lap <= 5; lap++) {
			const uint64_t began = xn_now_ns();

			for (unsigned i = 0; r.irqs[TX] < lap; i++) {
				assert_true(i <= most);
				drv_post(&r.drv, TX, segs, n);
				while (xn_queue_run(r.q, 64))
					;
				/* Nor too early, unless the machine has slept for so long. */
				assert_true(r.irqs[TX] < lap || i + 1 >= most ||
					    xn_now_ns() - began >= LONG_US * 1000ull);
			}
			take_all(TX);
		}
		close_rig();
	}
}

static void told_when_it_is_time(void **state)
{
	unsigned told, in_time = 0;
	uint64_t began;

	open_rig("null", COAL);
	wish(TX, 1000, 20000);
	while (in_time < 3) {
		told = r.irqs[TX];
		began = xn_now_ns();
		send_one();
		/* Unless the machine has slept for so long itself. */
		if (xn_now_ns() - began < 20 * MS) {
			assert_int_equal(r.irqs[TX], told);
			assert_true(sleeps(SOON_MS));
			assert_true(xn_now_ns() - began >= 20 * MS);
			in_time++;
		}
		xn_queue_run(r.q, 64);
		assert_int_equal(r.irqs[TX], told + 1);
		assert_false(sleeps(0));                /* nothing left to wake up for */
		xn_queue_run(r.q, 64);
		assert_int_equal(r.irqs[TX], told + 1);
		take_all(TX);
	}
	close_rig();
}

/* Who polls tells without the timer. */
static void told_in_time_by_turns_alone(void **state)
{
	uint64_t began;

	open_rig("null", COAL);
	wish(TX, 1000, 5000);
	send_one();
	for (began = xn_now_ns(); !r.irqs[TX]; assert_true(xn_now_ns() - began < SOON_MS * MS))
		xn_queue_run(r.q, 64);
	close_rig();
}

/* The time is that of the first one that waits, of both rings the earlier. */
static bool counted_from_the_first_that_waits(void)
{
	const struct timespec ms5 = { .tv_nsec = 5 * MS };
	uint64_t began;
	bool in_time;

	open_rig("loopback", COAL);
	wish(TX, 1000, 100000);
	wish(RX, 1000, 400000);
	began = xn_now_ns();
	for (unsigned i = 0; i < 10; i++) {
		drv_post1(&r.drv, RX, RX_AT + 2048 * i, 1536);
		send_one();
		nanosleep(&ms5, NULL);
	}
	in_time = xn_now_ns() - began < 100 * MS;
	if (in_time) {
		assert_true(sleeps(SOON_MS));
		assert_true(xn_now_ns() - began >= 100 * MS);
		xn_queue_run(r.q, 64);
		in_time = xn_now_ns() - began < 400 * MS;
	}
	if (in_time) {
		assert_int_equal(r.irqs[TX], 1);
		assert_int_equal(r.irqs[RX], 0);
		assert_true(sleeps(SOON_MS));
		assert_true(xn_now_ns() - began >= 400 * MS);
		xn_queue_run(r.q, 64);
		assert_int_equal(r.irqs[TX], 1);
		assert_int_equal(r.irqs[RX], 1);
	}
	close_rig();
	return in_time;
}

static void time_counts_from_the_first_that_waits(void **state)
{
	/* Again, where the machine has slept for so long itself. */
	while (!counted_from_the_first_that_waits())
		;
}

static void nothing_is_put_off_unless_both_are_asked_for(void **state)
{
	static const uint32_t off[][2] = { { 0, 0 }, { 0, LONG_US }, { 100, 0 }, { 1, LONG_US } };

	open_rig("null", COAL);
	for (unsigned k = 0; k < XN_ARRAY_SIZE(off); k++) {
		wish(TX, off[k][0], off[k][1]);
		r.irqs[TX] = 0;
		for (unsigned i = 1; i <= 5; i++) {
			send_one();
			assert_int_equal(r.irqs[TX], i);
		}
		take_all(TX);
	}
	assert_int_equal(count("irqs_held"), 0);
	close_rig();

	open_rig("null", 0);                            /* not negotiated: never looked at */
	wish(TX, 100, LONG_US);
	send_one();
	assert_int_equal(r.irqs[TX], 1);
	close_rig();
}

/* What a hostile driver can ask for waits for a bounded time, and leaves half the ring. */
static void no_wish_is_unbounded(void **state)
{
	uint64_t began;

	open_rig("null", COAL);
	wish(TX, UINT32_MAX, UINT32_MAX);
	for (unsigned i = 1; i < ring_size() / 2; i++) {
		send_one();
		assert_int_equal(r.irqs[TX], 0);
	}
	send_one();
	assert_int_equal(r.irqs[TX], 1);
	take_all(TX);
	began = xn_now_ns();
	send_one();
	assert_true(sleeps(SOON_MS));
	assert_true(xn_now_ns() - began >= XN_HOLD_MAX_NS);
	xn_queue_run(r.q, 64);
	assert_int_equal(r.irqs[TX], 2);
	close_rig();
}

static void who_wants_no_notification_gets_none_in_time_either(void **state)
{
	open_rig("null", COAL);
	wish(TX, 4, LONG_US);
	drv_want_calls(&r.drv, TX, false);
	for (unsigned i = 0; i < 4; i++)
		send_one();
	assert_int_equal(r.irqs[TX], 0);
	assert_int_equal(count("irqs_suppressed"), 1);
	assert_int_equal(count("irqs_held"), 3);
	drv_want_calls(&r.drv, TX, true);
	for (unsigned i = 0; i < 4; i++)
		send_one();
	assert_int_equal(r.irqs[TX], 1);
	close_rig();

	/* The index that it waits for was passed long before the time came. */
	open_rig("null", COAL | EVENT);
	wish(TX, 4, LONG_US);
	drv_want_call_after(&r.drv, TX, 1);
	for (unsigned i = 1; i <= 4; i++) {
		send_one();
		assert_int_equal(r.irqs[TX], i / 4);
	}
	drv_want_call_after(&r.drv, TX, 20);            /* and this one not by then */
	for (unsigned i = 0; i < 8; i++)
		send_one();
	assert_int_equal(r.irqs[TX], 1);
	close_rig();
}

static void a_stop_tells_of_what_waits(void **state)
{
	open_rig("null", COAL);
	wish(TX, 100, LONG_US);
	send_one();
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(r.irqs[TX], 1);
	take_all(TX);
	assert_int_equal(xn_dev_start(r.dev), 0);       /* and what was asked for holds */
	send_one();
	assert_int_equal(r.irqs[TX], 1);
	assert_int_equal(xn_dev_reset(r.dev), 0);       /* until the driver resets the device */
	xn_queue_run(r.q, 64);
	assert_int_equal(r.irqs[TX], 2);
	send_one();
	assert_int_equal(r.irqs[TX], 3);
	close_rig();
}

/* A ring that is reset has what all of its kind have (VIRTIO 1.3, 5.1.6.5.8). */
static void a_ring_that_is_reset_forgets_its_own(void **state)
{
	open_rig("null", COAL | RESET);
	xn_hold_say_all(r.dev, 1, xn_hold_wish_of(4, LONG_US));
	wish(TX, 8, LONG_US);
	for (unsigned i = 1; i <= 8; i++) {
		send_one();
		assert_int_equal(r.irqs[TX], i / 8);
	}
	assert_int_equal(xn_dev_stop(r.dev), 0);
	drv_reset_ring(&r.drv, TX);
	set_ring(TX);
	assert_int_equal(xn_dev_start(r.dev), 0);
	r.irqs[TX] = 0;
	for (unsigned i = 1; i <= 8; i++) {
		send_one();
		assert_int_equal(r.irqs[TX], i / 4);
	}
	close_rig();
}

static void another_wish_counts_at_once(void **state)
{
	open_rig("null", COAL);
	wish(TX, 100, LONG_US);
	for (unsigned i = 0; i < 10; i++)
		send_one();
	assert_false(sleeps(0));
	wish(TX, 8, LONG_US);                           /* of which ten are there already */
	assert_true(woken(SOON_MS));
	xn_queue_run(r.q, 64);
	assert_int_equal(r.irqs[TX], 1);
	assert_false(sleeps(0));

	send_one();
	wish(TX, 8, 0);
	assert_false(xn_queue_arm(r.q));                /* between turn and sleep */
	xn_queue_run(r.q, 64);
	assert_int_equal(r.irqs[TX], 2);

	wish(TX, 8, LONG_US);                           /* woken for nothing: once */
	assert_false(xn_queue_arm(r.q));
	xn_queue_run(r.q, 64);
	assert_false(sleeps(0));
	close_rig();
}

#define CHANGES 3000u

static void *change_wishes(void *arg)
{
	for (unsigned i = 0; i < CHANGES; i++)
		wish(TX, 2 + i % 50, i % 7 ? 200 * (i % 7) : UINT32_MAX);
	wish(TX, 2, 100);
	return NULL;
}

/* However a change falls into turn and sleep: with the last wish all is told of soon. */
static void no_change_is_lost_between_threads(void **state)
{
	pthread_t other;
	unsigned sent = 0;
	uint64_t end;

	open_rig("null", COAL);
	assert_int_equal(pthread_create(&other, NULL, change_wishes, NULL), 0);
	for (end = xn_now_ns() + 300 * MS; xn_now_ns() < end || sent <= 10; sent++) {
		send_one();
		sleeps(1);
		xn_queue_run(r.q, 64);
		take_all(TX);
	}
	assert_int_equal(pthread_join(other, NULL), 0);
	xn_queue_run(r.q, 64);
	send_one();
	if (r.q->hold.tx.since_ns) {
		unsigned before = r.irqs[TX];

		assert_true(sleeps(SOON_MS));
		xn_queue_run(r.q, 64);
		assert_int_equal(r.irqs[TX], before + 1);
	}
	assert_int_equal(r.q->hold.tx.since_ns, 0);
	close_rig();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(told_when_so_many_are_used),
		cmocka_unit_test(told_before_the_ring_runs_dry),
		cmocka_unit_test(told_when_it_is_time),
		cmocka_unit_test(told_in_time_by_turns_alone),
		cmocka_unit_test(time_counts_from_the_first_that_waits),
		cmocka_unit_test(nothing_is_put_off_unless_both_are_asked_for),
		cmocka_unit_test(no_wish_is_unbounded),
		cmocka_unit_test(who_wants_no_notification_gets_none_in_time_either),
		cmocka_unit_test(a_stop_tells_of_what_waits),
		cmocka_unit_test(a_ring_that_is_reset_forgets_its_own),
		cmocka_unit_test(another_wish_counts_at_once),
		cmocka_unit_test(no_change_is_lost_between_threads),
	};
	int failed = cmocka_run_group_tests_name("hold", tests, NULL, NULL);

	packed = true;
	return cmocka_run_group_tests_name("hold, packed rings", tests, NULL, NULL) + failed;
}
