/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves, on a fake kernel whose XDP program steers by the slow model, what an AF_XDP port
 * of several queues promises:
 *   - each frame comes to the guest queue that the configuration names, once and whole,
 *     whatever host queue it came on, and in the order of its flow
 *   - it is copied only if it came on another host queue than its own
 *   - what is not delivered is counted; every buffer comes back to the queue that owns it
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "base/atomics.h"
#include "port/cross.h"
#include "tests/fake/rss.h"
#include "tests/unit/port_rig.h"

#define PAIRS_MAX 16u
#define SLOT      1664u
#define BUF       1600u
#define BUFS_AT   0x100000u
#define BYTES     200u
#define SEQ_AT    (BYTES - 8)
#define FRAMES    (1u << 16)

static struct {
	struct rig r;
	unsigned pairs;
	struct xn_rss_config cfg;
	uint64_t seed;
	uint8_t posted[PAIRS_MAX][DRV_SIZE];  /* slots of a queue's that are posted */
	/* Of the frame with this number: */
	struct { uint8_t to, or, from, seen; } frames[FRAMES];   /* or: by another configuration */
	uint64_t sent, got;
	uint64_t last[PAIRS_MAX][PAIRS_MAX];   /* [from][to]: number + 1 of the newest received */
	uint64_t per_queue[PAIRS_MAX];
	unsigned empty;                      /* a queue whose guest posts nothing */
} t;

static unsigned reorder;

static uint64_t buffer(unsigned q, unsigned slot)
{
	return BUFS_AT + ((uint64_t)q * DRV_SIZE + slot) * SLOT;
}

/* The guest makes all its buffers of this queue available again, up to `most` of them. */
static void post(unsigned q, unsigned most)
{
	if (q == t.empty)
		return;
	for (unsigned s = 0; s < DRV_SIZE && drv_pending(&t.r.drv, 2 * q) < most; s++)
		if (!t.posted[q][s]) {
			t.posted[q][s] = 1;
			drv_post1(&t.r.drv, 2 * q, buffer(q, s), BUF);
		}
}

/* Takes what the device has used on this queue: each frame has to be one that was sent, and to
 * belong here. Returns how many frames. */
static unsigned take(unsigned q)
{
	unsigned n = 0;
	uint16_t head;
	uint32_t len;

	while (drv_used(&t.r.drv, 2 * q, &head, &len)) {
		const uint64_t at = drv_desc(&t.r.drv, 2 * q)[head].addr;
		const uint8_t *frame = t.r.drv.ram + at + DRV_HDR;
		uint64_t number;

		assert_in_range(at, buffer(q, 0), buffer(q, DRV_SIZE) - 1);
		t.posted[q][(at - buffer(q, 0)) / SLOT] = 0;
		if (!len)
			continue;
		assert_int_equal(len, DRV_HDR + BYTES);
		memcpy(&number, frame + SEQ_AT, sizeof(number));
		assert_true(number < t.sent);
		assert_true(t.frames[number % FRAMES].to == q || t.frames[number % FRAMES].or == q);
		assert_int_equal(t.frames[number % FRAMES].seen++, 0);
		/* Frames of a flow come on one host queue, and do not overtake each other. */
		assert_true(number >= t.last[t.frames[number % FRAMES].from][q]);
		t.last[t.frames[number % FRAMES].from][q] = number + 1;
		n++;
	}
	t.got += n;
	t.per_queue[q] += n;
	return n;
}

static bool may_write_any(void *arg, uint64_t at, uint32_t bytes)
{
	const struct rig *r = &t.r;

	if (at + bytes <= r->ram_uoff || at >= r->ram_uoff + RAM)
		return at + bytes <= r->mem->umem_bytes;   /* the arena is ours */
	at -= r->ram_uoff;
	for (unsigned q = 0; q < t.pairs; q++)
		for (unsigned s = 0; s < DRV_SIZE; s++)
			if (t.posted[q][s] && at >= buffer(q, s) && at + bytes <= buffer(q, s) + BUF)
				return true;
	return false;
}

static void on_open_any(struct fk *k, unsigned queue)
{
	k->may_write = may_write_any;
	k->reorder = reorder;
}

struct opts {
	unsigned pairs;
	const char *more;
	uint32_t bounce_frames, spares;
	bool no_config;
	int away_error;
	const char *driver;
	const struct fk_nic *nic;
	unsigned empty;              /* queue whose guest has no buffers; 0: none */
};

/* Until nothing moves any more: one that hands frames over, or drops them, has moved nothing. */
static void run_all(void)
{
	for (unsigned idle = 0; idle < 10; idle++)
		for (unsigned q = 0; q < t.pairs; q++)
			if (xn_queue_run(xn_dev_queue(t.r.dev, q), 64))
				idle = 0;
}

static int set_rss(const struct xn_rss_config *cfg)
{
	return t.r.port->ops->set_rss(t.r.port, cfg);
}

static void open_rig(const struct opts *o)
{
	char options[64];
	struct xn_dev_opts dev = { .sz = sizeof(dev), .pairs = o->pairs };
	struct rig_opts ro = { .features = MRG, .dev = &dev, .options = options,
			       .bounce_frames = o->bounce_frames ? o->bounce_frames : 2048,
			       .spare_sockets = o->spares, .driver = o->driver, .nic = o->nic };

	memset(&t, 0, sizeof(t));
	snprintf(options, sizeof(options), ",queues=%u%s", o->pairs, o->more ? o->more : "");
	t.pairs = o->pairs;
	t.seed = 5;
	t.empty = o->empty ? o->empty : PAIRS_MAX;
	rig_prepare(&t.r, &ro);
	fk_host.away_error = o->away_error;
	fk_host.on_open = on_open_any;
	assert_int_equal(rig_open_port(&t.r, &ro), 0);
	assert_int_equal(rig_start(&t.r, &ro), 0);
	xn_rss_default(&t.cfg, o->pairs);
	if (!o->no_config)
		assert_int_equal(set_rss(&t.cfg), 0);
	for (unsigned q = 0; q < o->pairs; q++)
		post(q, DRV_SIZE);
	run_all();
}

static uint64_t all(const char *name)
{
	return drv_stat(t.r.dev, XN_ALL_PAIRS, name);
}

static uint64_t of(unsigned q, const char *name)
{
	return drv_stat(t.r.dev, q, name);
}

/* A frame of a random flow. Its number. */
static uint64_t make(uint8_t frame[BYTES], unsigned *to)
{
	static const uint8_t classes[] = { XN_FLOW_TCPV4, XN_FLOW_UDPV4, XN_FLOW_TCPV6,
					   XN_FLOW_UDPV6, XN_FLOW_IPV4, XN_FLOW_NONE };
	uint64_t number = t.sent++;
	/* (In this order with any compiler.) */
	unsigned class = classes[rss_below(&t.seed, sizeof(classes))], tags = rss_below(&t.seed, 3);

	rss_plain_frame(frame, BYTES, class, tags, rss_below(&t.seed, 500));
	memcpy(frame + SEQ_AT, &number, sizeof(number));
	*to = rss_model_queue(&t.cfg, frame, BYTES);
	t.frames[number % FRAMES].to = t.frames[number % FRAMES].or = (uint8_t)*to;
	t.frames[number % FRAMES].seen = 0;
	return number;
}

/* A frame of a random flow comes on its own queue, or any. As fk_host_rx. */
static int send_on(unsigned from_or_any)
{
	uint8_t frame[BYTES];
	unsigned to;
	uint64_t number = make(frame, &to);

	if (from_or_any == PAIRS_MAX)
		from_or_any = to;
	t.frames[number % FRAMES].from = (uint8_t)from_or_any;
	return fk_host_rx(from_or_any, frame, BYTES);
}
#define OWN PAIRS_MAX

static void take_all(void)
{
	for (unsigned q = 0; q < t.pairs; q++) {
		take(q);
		post(q, DRV_SIZE);
	}
}

static void close_rig(void)
{
	take_all();
	rig_close(&t.r);
}

/* ---- cases ---- */

static void frames_that_come_on_their_own_queue_are_never_copied(void **state)
{
	for (unsigned pairs = 1; pairs <= PAIRS_MAX; pairs *= 2) {
		open_rig(&(struct opts){ .pairs = pairs });
		for (unsigned i = 0; i < 4000; i++) {
			assert_int_equal(send_on(OWN), 0);
			if (i % 16 == 15) {
				run_all();
				take_all();
			}
		}
		run_all();
		take_all();
		assert_int_equal(t.got, 4000);
		assert_int_equal(all("rx_lent"), 4000);
		assert_int_equal(all("rx_bounced"), 0);
		assert_int_equal(all("steer_to_guest"), 4000);
		close_rig();
	}
}

static uint64_t dropped(void)
{
	static const char *const names[] = {
		"rx_drop_no_buffer", "rx_drop_too_small", "rx_drop_too_long", "rx_drop_stopped",
		"rx_drop_error", "rx_drop_missteered", "rx_drop_cross_full",
	};
	uint64_t sum = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++)
		sum += all(names[i]);
	return sum;
}

/* Frames that were taken by the kernel have been delivered, or are counted. */
static void assert_conserved(uint64_t accepted)
{
	assert_int_equal(t.got, all("rx_packets"));
	assert_int_equal(accepted, t.got + dropped());
	assert_int_equal(all("rx_drop_error"), 0);
}

/* Frames of any flow on any queue, in small lots; each turns up where it is named for. */
static void scatter(const struct opts *o, unsigned lots, unsigned lot)
{
	uint64_t accepted = 0;

	open_rig(o);
	for (unsigned i = 0; i < lots; i++) {
		for (unsigned k = rss_below(&t.seed, lot) + 1; k; k--)
			accepted += !send_on(rss_below(&t.seed, t.pairs));
		run_all();
		take_all();
		run_all();
	}
	assert_int_equal(accepted, t.sent);
	assert_int_equal(t.got, t.sent);
	assert_conserved(accepted);
	assert_int_equal(all("rss_handed_over"), all("rss_missteered"));
	assert_int_equal(all("steer_missteered"), all("rss_missteered"));
	assert_int_equal(all("steer_unfixed"), 0);
	if (t.pairs > 2)
		assert_true(all("rss_missteered") > t.got / 3);
}

static void missteered_frames_are_copied_to_the_queue_that_is_named(void **state)
{
	static const unsigned pairs[] = { 2, 3, 4, 8, 16 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(pairs); i++) {
		scatter(&(struct opts){ .pairs = pairs[i] }, 1500, 16);
		/* Both rings of a queue are read in the order of its fill ring: nothing is searched. */
		assert_int_equal(all("rx_out_of_order"), 0);
		/* Own frames pass without a copy; others with one. */
		assert_int_equal(all("rx_bounced"), 0);
		assert_int_equal(all("rx_lent") + all("rss_missteered"), t.got);
		close_rig();
	}
}

static void the_same_where_everything_is_bounced(void **state)
{
	scatter(&(struct opts){ .pairs = 4, .more = ",mode=bounce" }, 1500, 16);
	assert_int_equal(all("rx_lent"), 0);
	close_rig();
}

static void the_same_where_the_driver_returns_buffers_in_another_order(void **state)
{
	reorder = 7;
	scatter(&(struct opts){ .pairs = 4 }, 1500, 16);
	reorder = 0;
	close_rig();
}

static void the_same_in_zero_copy_mode(void **state)
{
	static const struct { const char *driver; struct fk_nic nic; bool lends; } nics[] = {
		/* As in tests/unit/test_port_zc.c; igb wants longer buffers than these. */
		{ "virtio_net", { .zero_copy = true, .front = 12, .reach = 1536 }, true },
		{ "igb", { .zero_copy = true, .reach = 2048, .piece = 2048, .keep = 80 }, false },
		{ "none", { .zero_copy = true }, false },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(nics); i++) {
		scatter(&(struct opts){ .pairs = 4, .more = ",mode=zero-copy", .driver = nics[i].driver,
					.nic = &nics[i].nic, .bounce_frames = 4096 }, 1500, 8);
		assert_int_equal(all("rx_lent") > 0, nics[i].lends);
		assert_int_equal(all("rx_vanished"), 0);
		close_rig();
	}
}

/* In lots that the reserves take. How many were dropped by the program. */
static unsigned scatter_lots(unsigned lots)
{
	unsigned lost = 0;

	for (; lots; lots--) {
		for (unsigned i = 0; i < 20; i++)
			lost += send_on(rss_below(&t.seed, t.pairs)) == -ENXIO;
		run_all();
		take_all();
		run_all();
	}
	return lost;
}

static void a_queue_that_is_switched_off_drops_and_counts(void **state)
{
	unsigned lost;

	open_rig(&(struct opts){ .pairs = 4 });
	xn_queue_enable(xn_dev_queue(t.r.dev, 2), false, true);
	lost = scatter_lots(10);
	assert_true(lost > 20);
	assert_int_equal(t.got, 200 - lost);
	assert_int_equal(t.per_queue[2], 0);
	assert_int_equal(of(2, "rx_packets"), 0);
	assert_int_equal(all("steer_disabled"), lost);
	xn_queue_enable(xn_dev_queue(t.r.dev, 2), true, true);
	assert_int_equal(scatter_lots(10), 0);
	assert_int_equal(t.got, 400 - lost);
	assert_int_equal(all("steer_disabled"), lost);
	close_rig();
}

/* A frame for guest queue `to`. */
static int send_to(unsigned to, unsigned from)
{
	uint8_t frame[BYTES];
	uint64_t number;
	unsigned named;

	do {
		number = make(frame, &named);
		t.frames[number % FRAMES].from = (uint8_t)from;
	} while (named != to);
	return fk_host_rx(from, frame, BYTES);
}

static struct xn_queue *queue(unsigned q)
{
	return xn_dev_queue(t.r.dev, q);
}

static void run(unsigned q)
{
	while (xn_queue_run(queue(q), 64))
		;
}

static void a_queue_that_is_off_receives_for_others_without_buffers_of_its_guest(void **state)
{
	const uint64_t frames = 1000;

	open_rig(&(struct opts){ .pairs = 4, .empty = 2 });
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(send_to(1, 2), -ENOMEM);      /* nothing is lent there */
	xn_queue_enable(queue(2), false, true);
	run(2);
	for (unsigned i = 0; i < frames; i++) {
		assert_int_equal(send_to(i % 2, 2), 0);
		if (i % 32 == 31) {
			run_all();
			take_all();
			run_all();
		}
	}
	run_all();
	take_all();
	assert_int_equal(t.got, frames);
	/* ... and its own frames find a buffer when it is on again. */
	xn_queue_enable(queue(2), true, true);
	t.empty = PAIRS_MAX;
	take_all();
	run_all();
	for (unsigned i = 0; i < frames; i++) {
		assert_int_equal(send_to(2, 2), 0);
		if (i % 32 == 31) {
			run_all();
			take_all();
			run_all();
		}
	}
	run_all();
	take_all();
	assert_int_equal(t.got, 2 * frames);
	close_rig();
}

static void a_queue_that_does_not_keep_up_gets_no_more_than_a_ring_of_frames(void **state)
{
	uint64_t accepted = 0;

	open_rig(&(struct opts){ .pairs = 2 });
	xn_queue_enable(queue(0), false, true);   /* it lends frames of its own, too */
	run(0);
	for (unsigned i = 0; i < 600; i++) {
		accepted += !send_to(1, 0);
		xn_queue_run(queue(0), 64);
	}
	assert_int_equal(of(0, "rss_handed_over"), XN_CROSS_SLOTS);
	assert_true(of(0, "rx_drop_cross_full") > 0);
	assert_int_equal(accepted, XN_CROSS_SLOTS + of(0, "rx_drop_cross_full"));
	assert_int_equal(accepted, 600);          /* what was dropped was lent again */
	run_all();
	take_all();
	assert_int_equal(t.got, of(1, "rss_missteered"));
	assert_true(t.got >= DRV_SIZE / 8);
	assert_conserved(accepted);
	close_rig();
}

static void the_reserve_grows_where_frames_are_dropped_for_want_of_it(void **state)
{
	uint64_t before, lots = 0;

	open_rig(&(struct opts){ .pairs = 2 });
	assert_int_equal(of(1, "rx_bounce_reserve"), 64);
	/* Frames of its own free buffers, too: lots of 100 fit in the end. */
	do {
		before = all("rx_drop_missteered");
		for (unsigned i = 0; i < 100; i++) {
			assert_int_equal(send_to(1, 0), 0);
			assert_int_equal(send_to(1, 1), 0);
		}
		run_all();
		take_all();
		run_all();
	} while (all("rx_drop_missteered") > before && ++lots < 20);
	assert_in_range(lots, 1, 8);
	/* A new configuration begins anew. */
	assert_int_equal(set_rss(&t.cfg), 0);
	run_all();
	for (unsigned i = 0; i < 10; i++) {
		if (i == 3)
			before = all("rx_bounced");   /* what was held is lent by now */
		for (unsigned k = 0; k < 100; k++)
			assert_int_equal(send_to(1, 1), 0);
		run_all();
		take_all();
		run_all();
	}
	assert_int_equal(all("rx_bounced"), before);
	assert_conserved(2 * 100 * (lots + 1) + 1000);
	close_rig();
}

/*
 * Linux (virtnet_receive) posts buffers when more than 32 of them are with it. All frames come
 * on the other host queue: what is lent never comes back, and lasting for more than those 32 is
 * up to the reserve.
 */
static void a_driver_that_keeps_buffers_never_waits_for_ever(void **state)
{
	open_rig(&(struct opts){ .pairs = 2 });
	for (unsigned i = 0; i < 2000; i++) {
		assert_int_equal(send_to(1, 0), 0);
		run_all();
		take(1);
		if (t.r.drv.q[2].n_free > 32)
			post(1, DRV_SIZE);
	}
	run_all();
	take_all();
	assert_int_equal(all("rx_drop_missteered"), 0);
	assert_int_equal(t.got, 2000);
	close_rig();
}

static void without_a_buffer_a_frame_is_dropped_and_its_buffer_comes_back(void **state)
{
	open_rig(&(struct opts){ .pairs = 2, .empty = 1 });
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(send_to(1, 0), 0);
		run_all();
	}
	assert_int_equal(of(1, "rx_drop_missteered"), 1000);
	assert_int_equal(of(0, "rss_handed_over"), 1000);
	assert_conserved(1000);
	close_rig();
}

/* ---- stop ---- */

static void what_is_on_its_way_when_a_queue_stops_is_counted(void **state)
{
	uint64_t accepted = 0;

	open_rig(&(struct opts){ .pairs = 3 });
	for (unsigned round = 0; round < 200; round++) {
		const unsigned q = round % 3;

		for (unsigned i = 0; i < 60; i++)
			accepted += !send_on(rss_below(&t.seed, 3));
		/* Some have been handed over, and are not copied yet. */
		for (unsigned k = 0; k < rss_below(&t.seed, 4); k++)
			xn_queue_run(queue(rss_below(&t.seed, 3)), 1 + rss_below(&t.seed, 20));
		assert_int_equal(xn_queue_stop(queue(q)), 0);
		/* All its buffers are its guest's again, which may use them for anything. */
		take(q);
		for (unsigned s = 0; s < DRV_SIZE; s++)
			if (t.posted[q][s])
				memset(t.r.drv.ram + buffer(q, s), 0x77, BUF);
		for (unsigned i = 0; i < 20; i++)
			accepted += !send_on(rss_below(&t.seed, 3));
		run_all();
		for (unsigned s = 0; s < DRV_SIZE; s++)
			for (unsigned i = 0; t.posted[q][s] && i < BUF; i++)
				assert_int_equal(t.r.drv.ram[buffer(q, s) + i], 0x77);
		assert_int_equal(xn_queue_start(queue(q)), 0);
		take_all();
		run_all();
	}
	take_all();
	assert_true(all("steer_disabled") > 0);
	assert_int_equal(accepted + all("steer_disabled"), t.sent);
	assert_conserved(accepted);
	assert_true(all("rx_drop_stopped") > 0);
	close_rig();
}

static void all_may_stop_at_once(void **state)
{
	uint64_t accepted = 0;

	open_rig(&(struct opts){ .pairs = 4 });
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 100; i++)
			accepted += !send_on(rss_below(&t.seed, 4));
		for (unsigned q = 0; q < 4; q++)
			xn_queue_run(queue(q), 10);
		assert_int_equal(xn_dev_stop(t.r.dev), 0);
		take_all();
		assert_int_equal(xn_dev_start(t.r.dev), 0);
		run_all();
	}
	take_all();
	assert_conserved(accepted);
	close_rig();
}

/* ---- sleep ---- */

/* Does one of the queue's fds say that there is something to do? */
static bool is_woken(unsigned q)
{
	struct pollfd fds[6];
	unsigned n = xn_queue_wait_fds(queue(q), fds, 6);

	return poll(fds, n, 0) > 0;
}

static void go_to_sleep(unsigned q)
{
	while (xn_queue_run(queue(q), 64) || !xn_queue_arm(queue(q)))
		;
}

static void a_queue_that_sleeps_is_woken_by_frames_that_came_elsewhere(void **state)
{
	open_rig(&(struct opts){ .pairs = 2 });
	for (unsigned i = 0; i < 100; i++) {
		go_to_sleep(0);
		go_to_sleep(1);
		/* (The fake's sockets are never ready.) A wake-up in vain may be left over. */
		if (is_woken(0))
			go_to_sleep(0);
		if (is_woken(1))
			go_to_sleep(1);
		assert_false(is_woken(0));
		assert_false(is_woken(1));
		assert_int_equal(send_to(1, 0), 0);
		xn_queue_run(queue(0), 64);
		assert_true(is_woken(1));
		assert_true(xn_queue_arm(queue(0)));
		assert_int_equal(take(1), 0);
		run(1);
		assert_int_equal(take(1), 1);
		/* The owner sleeps on: it has others for the next frame. */
		assert_false(is_woken(0));
		post(1, DRV_SIZE);
	}
	/* An owner most of whose buffers are away is woken when they are back. */
	go_to_sleep(0);
	for (unsigned n = 0; n < DRV_SIZE / 2; n++) {
		assert_int_equal(send_to(1, 0), 0);
		xn_queue_run(queue(0), 64);
	}
	go_to_sleep(0);
	assert_false(is_woken(0));
	xn_queue_run(queue(1), 1);
	assert_true(is_woken(0));
	run_all();
	take_all();
	post(1, DRV_SIZE);
	/* One that has frames left does not fall asleep. */
	assert_int_equal(send_to(1, 0), 0);
	run(0);
	xn_queue_arm(queue(1));
	assert_true(is_woken(1));
	run_all();
	take_all();
	close_rig();
}

/* ---- configurations ---- */

static void a_frame_is_steered_by_the_configuration_before_or_by_this_one(void **state)
{
	struct xn_rss_config a, b;
	uint8_t frame[BYTES];
	unsigned swaps;

	open_rig(&(struct opts){ .pairs = 4 });
	assert_false(xn_port_features(t.r.port) & 1ull << VIRTIO_F_IN_ORDER);   /* see engine/dev.c */
	swaps = fk_host.swaps;
	a = t.cfg;
	xn_rss_default(&b, 4);
	assert_int_equal(xn_rss_set_key(&b, "symmetric"), 0);
	assert_int_equal(xn_rss_set_table(&b, "3,2,1,0,0,0,1,1", 4), 0);
	for (unsigned i = 0; i < 10000; i++) {
		const struct xn_rss_config *now = i & 1 ? &a : &b, *next = i & 1 ? &b : &a;

		for (unsigned k = 0; k < 8; k++) {
			unsigned to, from = rss_below(&t.seed, 4);
			uint64_t number;

			t.cfg = *now;
			if (k == 4)
				assert_int_equal(set_rss(next), 0);
			if (k >= 4)
				t.cfg = *next;
			number = make(frame, &to);
			t.frames[number % FRAMES].from = (uint8_t)from;
			t.frames[number % FRAMES].or =
				(uint8_t)rss_model_queue(k < 4 ? next : now, frame, BYTES);
			assert_int_equal(fk_host_rx(from, frame, BYTES), 0);
			if (rss_below(&t.seed, 8) == 0)
				xn_queue_run(queue(rss_below(&t.seed, 4)), 64);
		}
		run_all();
		memset(t.last, 0, sizeof(t.last));   /* flows have moved */
		take_all();
		run_all();
	}
	assert_int_equal(fk_host.swaps, swaps + 10000);
	assert_int_equal(t.got, t.sent);
	assert_conserved(t.sent);
	close_rig();
}

static void without_a_configuration_frames_stay_where_they_come(void **state)
{
	uint8_t frame[BYTES];

	open_rig(&(struct opts){ .pairs = 4, .no_config = true });
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 100; i++) {
			unsigned to, from = rss_below(&t.seed, 4);
			uint64_t number = make(frame, &to);

			t.frames[number % FRAMES].from = (uint8_t)from;
			t.frames[number % FRAMES].to = t.frames[number % FRAMES].or = (uint8_t)from;
			assert_int_equal(fk_host_rx(from, frame, BYTES), 0);
		}
		run_all();
		take_all();
		run_all();
		assert_int_equal(t.got, t.sent);
		/* One that comes and goes changes nothing, but for what is on its way. */
		assert_int_equal(set_rss(&t.cfg), 0);
		run_all();
		assert_int_equal(send_to(2, 1), 0);
		for (uint64_t n = t.got; n < t.sent; n++)
			t.frames[n % FRAMES].or = 1;
		assert_int_equal(set_rss(NULL), 0);
		run_all();
		take_all();
		t.got = t.sent;
	}
	assert_int_equal(all("rss_missteered"), 0);
	close_rig();
}

/* ---- what is not to be had ---- */

static void without_second_sockets_frames_stay_where_they_come_and_it_is_told(void **state)
{
	const char *why;
	uint8_t frame[BYTES];
	unsigned wrong = 0;

	open_rig(&(struct opts){ .pairs = 2, .away_error = -EOPNOTSUPP });
	for (unsigned i = 0; i < 100; i++) {
		unsigned to, from = rss_below(&t.seed, 2);
		uint64_t number = make(frame, &to);

		t.frames[number % FRAMES].from = (uint8_t)from;
		t.frames[number % FRAMES].or = (uint8_t)from;
		wrong += to != from;
		assert_int_equal(fk_host_rx(from, frame, BYTES), 0);
	}
	run_all();
	take_all();
	assert_int_equal(t.got, 100);
	assert_int_equal(all("steer_unfixed"), wrong);
	assert_int_equal(xn_xdp_unmended(XN_CONTAINER_OF(t.r.port, struct xn_xdp_port, port), &why), 3);
	close_rig();
}

static void a_start_takes_a_second_spare_socket_where_there_are_several_queues(void **state)
{
	struct xn_port_info info;

	open_rig(&(struct opts){ .pairs = 4, .spares = 20 });
	xn_port_get_info(t.r.port, &info);
	assert_int_equal(info.spare_sockets, 20 - 2 * 4);
	close_rig();
	open_rig(&(struct opts){ .pairs = 1, .spares = 20 });
	xn_port_get_info(t.r.port, &info);
	assert_int_equal(info.spare_sockets, 19);
	close_rig();
}

#define CASE(f) cmocka_unit_test(f)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(frames_that_come_on_their_own_queue_are_never_copied),
		CASE(missteered_frames_are_copied_to_the_queue_that_is_named),
		CASE(the_same_where_everything_is_bounced),
		CASE(the_same_where_the_driver_returns_buffers_in_another_order),
		CASE(the_same_in_zero_copy_mode),
		CASE(a_queue_that_is_off_receives_for_others_without_buffers_of_its_guest),
		CASE(a_queue_that_does_not_keep_up_gets_no_more_than_a_ring_of_frames),
		CASE(the_reserve_grows_where_frames_are_dropped_for_want_of_it),
		CASE(a_driver_that_keeps_buffers_never_waits_for_ever),
		CASE(without_a_buffer_a_frame_is_dropped_and_its_buffer_comes_back),
		CASE(what_is_on_its_way_when_a_queue_stops_is_counted),
		CASE(all_may_stop_at_once),
		CASE(a_queue_that_sleeps_is_woken_by_frames_that_came_elsewhere),
		CASE(a_frame_is_steered_by_the_configuration_before_or_by_this_one),
		CASE(without_a_configuration_frames_stay_where_they_come),
		CASE(without_second_sockets_frames_stay_where_they_come_and_it_is_told),
		CASE(a_start_takes_a_second_spare_socket_where_there_are_several_queues),
		CASE(a_queue_that_is_switched_off_drops_and_counts),
	};

	alarm(900);
	return cmocka_run_group_tests_name("port_rss", tests, NULL, NULL);
}
