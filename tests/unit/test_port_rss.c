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
	struct { uint8_t to, from, seen; } frames[FRAMES];
	uint64_t sent, got;
	uint64_t last[PAIRS_MAX][PAIRS_MAX];   /* [from][to]: number + 1 of the newest received */
	uint64_t per_queue[PAIRS_MAX];
} t;

static uint64_t buffer(unsigned q, unsigned slot)
{
	return BUFS_AT + ((uint64_t)q * DRV_SIZE + slot) * SLOT;
}

/* The guest makes all its buffers of this queue available again, up to `most` of them. */
static void post(unsigned q, unsigned most)
{
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
		assert_int_equal(t.frames[number % FRAMES].to, q);
		assert_int_equal(rss_model_queue(&t.cfg, frame, BYTES), q);
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
}

struct opts {
	unsigned pairs;
	const char *more;
	uint32_t bounce_frames, spares;
	bool no_config;
	int away_error;
};

static void run_all(void)
{
	bool again;

	do {
		again = false;
		for (unsigned q = 0; q < t.pairs; q++)
			again |= xn_queue_run(xn_dev_queue(t.r.dev, q), 64) != 0;
	} while (again);
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
			       .spare_sockets = o->spares };

	memset(&t, 0, sizeof(t));
	snprintf(options, sizeof(options), ",queues=%u%s", o->pairs, o->more ? o->more : "");
	t.pairs = o->pairs;
	t.seed = 5;
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

	rss_plain_frame(frame, BYTES, classes[rss_below(&t.seed, sizeof(classes))],
			rss_below(&t.seed, 3), rss_below(&t.seed, 500));
	memcpy(frame + SEQ_AT, &number, sizeof(number));
	*to = rss_model_queue(&t.cfg, frame, BYTES);
	t.frames[number % FRAMES].to = (uint8_t)*to;
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

static void a_queue_that_is_switched_off_drops_and_counts(void **state)
{
	unsigned lost = 0;

	open_rig(&(struct opts){ .pairs = 4 });
	xn_queue_enable(xn_dev_queue(t.r.dev, 2), false, true);
	for (unsigned i = 0; i < 100; i++)
		lost += send_on(OWN) == -ENXIO;
	run_all();
	take_all();
	assert_true(lost > 10);
	assert_int_equal(t.got, 100 - lost);
	assert_int_equal(t.per_queue[2], 0);
	assert_int_equal(of(2, "rx_packets"), 0);
	assert_int_equal(all("steer_disabled"), lost);
	xn_queue_enable(xn_dev_queue(t.r.dev, 2), true, true);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(send_on(OWN), 0);
	run_all();
	take_all();
	assert_int_equal(t.got, 200 - lost);
	assert_int_equal(all("steer_disabled"), lost);
	close_rig();
}

#define CASE(f) cmocka_unit_test(f)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(frames_that_come_on_their_own_queue_are_never_copied),
		CASE(a_queue_that_is_switched_off_drops_and_counts),
	};

	alarm(120);
	return cmocka_run_group_tests_name("port_rss", tests, NULL, NULL);
}
