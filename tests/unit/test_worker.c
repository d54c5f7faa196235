/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves, without a kernel: the thread of a queue pair parks and runs when it is told,
 * never both, and loses nothing (ThreadSanitizer watches the hand-over); it sleeps when
 * there is nothing to do, whatever the fds that the guest gave say; and the judgement of
 * traffic (vhost/tempo.h) spins for talk, gathers streams, and sleeps for the rest.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "tests/cmocka.h"
#include "tests/fake/driver.h"
#include "vhost/tempo.h"
#include "vhost/worker.h"

#define RAM      (8u << 20)
#define RX       0u
#define TX       1u
#define RX_AT    0x100000u
#define TX_AT    0x400000u
#define NS_PER_MS 1000000ull
#define SOON_MS   20000u  /* what comes at all has come by then, on a busy machine too */

/* ---- tempo: traffic as numbers ---- */

struct sim {
	struct xn_tempo t;
	uint64_t now, rx, tx;
	unsigned spins, gathers, sleeps;
	uint64_t spun_ns, gathered_ns, slept_ns;
};

#define SIM_START  (1000 * NS_PER_MS)
#define TURN_NS    50u

/* Idle until `until`, as a worker would be: what it did is counted. */
static void sim_idle(struct sim *s, uint64_t until)
{
	uint64_t ns = 0;

	while (s->now < until) {
		switch (xn_tempo_idle(&s->t, s->now, &ns)) {
		case XN_TEMPO_SPIN:
			s->spins++;
			s->spun_ns += TURN_NS;
			s->now += TURN_NS;
			break;
		case XN_TEMPO_GATHER:
			s->gathers++;
			s->gathered_ns += ns;
			s->now += ns;
			xn_tempo_woke(&s->t, s->now);
			return;             /* what came meanwhile is seen afterwards */
		case XN_TEMPO_SLEEP:
			s->sleeps++;
			s->slept_ns += until - s->now;
			s->now = until;
			xn_tempo_woke(&s->t, s->now);
			break;
		}
	}
}

/* Frames at `pps` for `ms`, one way; looked at when the worker is awake. */
static void sim_stream(struct sim *s, uint64_t pps, unsigned ms)
{
	uint64_t end = s->now + ms * NS_PER_MS, gap = 1000000000ull / pps, next = s->now;

	while (s->now < end) {
		while (next <= s->now) {
			s->rx++;
			next += gap;
			xn_tempo_worked(&s->t, s->rx, s->tx);
		}
		sim_idle(s, next);
	}
}

/* One frame in flight: in, out after think_ns, in again after away_ns. */
static void sim_talk(struct sim *s, uint64_t think_ns, uint64_t away_ns, unsigned ms)
{
	uint64_t end = s->now + ms * NS_PER_MS;

	while (s->now < end) {
		s->rx++;
		xn_tempo_worked(&s->t, s->rx, s->tx);
		sim_idle(s, s->now + think_ns);
		s->tx++;
		xn_tempo_worked(&s->t, s->rx, s->tx);
		sim_idle(s, s->now + away_ns);
	}
}

static void sim_start(struct sim *s)
{
	*s = (struct sim){ .now = SIM_START };
	xn_tempo_start(&s->t, s->now, 0, 0);
}

static void sim_forget(struct sim *s)
{
	s->spins = s->gathers = s->sleeps = 0;
	s->spun_ns = s->gathered_ns = s->slept_ns = 0;
}

static void silence_sleeps(void **state)
{
	struct sim s;

	sim_start(&s);
	sim_idle(&s, s.now + 1000 * NS_PER_MS);
	assert_int_equal(s.gathers, 0);
	assert_int_equal(s.sleeps, 1);
	assert_true(s.spun_ns <= XN_TEMPO_MOMENT_NS + TURN_NS);
}

static void talk_spins_and_never_sleeps(void **state)
{
	struct sim s;

	sim_start(&s);
	sim_talk(&s, 3000, 9000, 2);
	sim_forget(&s);
	sim_talk(&s, 3000, 9000, 50);
	assert_int_equal(s.sleeps, 0);
	assert_int_equal(s.gathers, 0);
	/* Then nobody says anything any more. */
	sim_forget(&s);
	sim_idle(&s, s.now + 100 * NS_PER_MS);
	assert_true(s.sleeps >= 1);
	assert_true(s.spun_ns <= XN_TEMPO_SPIN_NS + TURN_NS);
}

static void talk_of_several_at_once_spins(void **state)
{
	struct sim s;

	sim_start(&s);
	for (unsigned i = 0; i < 2000; i++) {
		if (i == 200)
			sim_forget(&s);
		s.rx += 4;
		xn_tempo_worked(&s.t, s.rx, s.tx);
		sim_idle(&s, s.now + 5000);
		s.tx += 4;
		xn_tempo_worked(&s.t, s.rx, s.tx);
		sim_idle(&s, s.now + 10000);
	}
	assert_int_equal(s.sleeps + s.gathers, 0);
}

/* Each turn finds the next frame there already: no empty one between them. */
static void talk_without_a_pause_is_talk(void **state)
{
	struct sim s;

	sim_start(&s);
	for (unsigned i = 0; i < 2000; i++) {
		if (i == 20)
			sim_forget(&s);
		for (unsigned j = 0; j < 50; j++) {
			s.rx++;
			xn_tempo_worked(&s.t, s.rx, s.tx);
			s.tx++;
			xn_tempo_worked(&s.t, s.rx, s.tx);
			s.now += 3000;
		}
		sim_idle(&s, s.now + 5000);
	}
	assert_int_equal(s.sleeps + s.gathers, 0);
}

static void slow_answers_are_no_talk(void **state)
{
	struct sim s;

	sim_start(&s);
	sim_talk(&s, 3 * XN_TEMPO_TALK_GAP_NS, 3 * XN_TEMPO_TALK_GAP_NS, 100);
	assert_int_equal(s.gathers, 0);
	assert_true(s.spun_ns * 20 < s.slept_ns);
}

static void streams_are_gathered_in_batches_that_rings_can_hold(void **state)
{
	static const uint64_t rates[] = { 50000, 100000, 300000, 500000, 1000000, 3000000 };
	struct sim s;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(rates); i++) {
		uint64_t wakes, frames;

		sim_start(&s);
		sim_stream(&s, rates[i], 3);
		sim_forget(&s);
		frames = s.rx;
		sim_stream(&s, rates[i], 100);
		frames = s.rx - frames;
		wakes = s.gathers + s.sleeps;
		assert_true(s.gathers > 0);
		assert_true(s.sleeps <= s.gathers / 10);
		/* A wake-up is shared by 2 frames at least, and by 40 at most. */
		assert_in_range(frames / wakes, 2, 40);
		assert_true(s.spun_ns * 20 < 100 * NS_PER_MS);
	}
	/* The stream ends: at most one more gathering, then sleep. */
	sim_forget(&s);
	sim_idle(&s, s.now + 1000);
	sim_idle(&s, s.now + 100 * NS_PER_MS);
	sim_idle(&s, s.now + 100 * NS_PER_MS);
	assert_true(s.gathers <= 1);
	assert_true(s.sleeps >= 1);
}

static void a_stream_with_an_answer_for_each_batch_is_a_stream(void **state)
{
	struct sim s;

	sim_start(&s);
	for (unsigned i = 0; i < 4000; i++) {
		if (i == 1000)
			sim_forget(&s);
		s.rx += 20;
		xn_tempo_worked(&s.t, s.rx, s.tx);
		sim_idle(&s, s.now + 1000);
		s.tx += 1;
		xn_tempo_worked(&s.t, s.rx, s.tx);
		sim_idle(&s, s.now + 40000);
	}
	assert_true(s.gathers > 1000);
	assert_true(s.spun_ns < s.gathered_ns);
}

static void frames_too_fast_for_a_sleep_are_spun_for(void **state)
{
	struct sim s;

	sim_start(&s);
	sim_stream(&s, 5000000, 3);
	sim_forget(&s);
	sim_stream(&s, 5000000, 10);
	assert_int_equal(s.gathers + s.sleeps, 0);
}

/* ---- threads ---- */

struct rig {
	struct drv drv;
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;
	struct xn_queue *q;
	struct xn_worker *w;
	int kick[2];
};

static void set_rings(struct rig *r)
{
	for (unsigned i = 0; i < 2; i++) {
		struct xn_vring v = drv_vring(i);

		v.kick_fd = r->kick[i];
		assert_int_equal(xn_dev_set_vring(r->dev, i, &v), 0);
	}
}

static void open_rig(struct rig *r, enum xn_poll poll, int rx_kick, int tx_kick)
{
	const struct xn_worker_opts wo = { .poll = poll };
	struct xn_region region = { .size = RAM };
	struct xn_mem_opts mo = { .sz = sizeof(mo), .bounce_frames = 64 };

	memset(r, 0, sizeof(*r));
	drv_init(&r->drv, RAM, 1);
	region.fd = r->drv.fd;
	r->kick[0] = rx_kick;
	r->kick[1] = tx_kick;
	assert_int_equal(xn_mem_create(&r->mem, &region, 1, &mo), 0);
	assert_int_equal(xn_port_open(&r->port, "loopback", NULL), 0);
	assert_int_equal(xn_dev_create(&r->dev, r->mem, r->port, NULL), 0);
	assert_int_equal(xn_dev_set_features(r->dev, 1ull << 32), 0);
	set_rings(r);
	assert_int_equal(xn_dev_start(r->dev), 0);
	r->q = xn_dev_queue(r->dev, 0);
	assert_int_equal(xn_worker_create(&r->w, 0, &wo), 0);
}

static void open_usual_rig(struct rig *r, enum xn_poll poll)
{
	open_rig(r, poll, eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC));
}

static void close_rig(struct rig *r)
{
	xn_worker_destroy(r->w);
	xn_dev_destroy(r->dev);
	xn_port_close(r->port);
	xn_mem_destroy(r->mem);
	drv_fini(&r->drv);
	for (unsigned i = 0; i < 2; i++)
		if (r->kick[i] >= 0)
			close(r->kick[i]);
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 }, NULL);
}

static void give_buffers(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		drv_post1(&r->drv, RX, RX_AT + i * 2048, 1536);
}

static bool wait_used(struct rig *r, unsigned q, unsigned ms)
{
	uint64_t until = xn_now_ns() + ms * NS_PER_MS;
	uint16_t head;
	uint32_t len;

	while (!drv_used(&r->drv, q, &head, &len))
		if (xn_now_ns() > until)
			return false;
	return true;
}

/* Sends one frame to itself, with a kick; it has to come back. */
static void ping(struct rig *r)
{
	memset(r->drv.ram + TX_AT, 0, 80);
	drv_post1(&r->drv, TX, TX_AT, 80);
	if (r->kick[TX] >= 0)
		assert_int_equal(eventfd_write(r->kick[TX], 1), 0);
	assert_true(wait_used(r, TX, SOON_MS));
	assert_true(wait_used(r, RX, SOON_MS));
	drv_post1(&r->drv, RX, RX_AT, 1536);
}

static void frames_pass(enum xn_poll poll)
{
	struct rig r;

	open_usual_rig(&r, poll);
	give_buffers(&r, 64);
	xn_worker_run(r.w, r.q, false);
	for (unsigned i = 0; i < 200; i++)
		ping(&r);
	for (unsigned i = 0; i < 5; i++) {          /* also out of sleep */
		pause_ms(3);
		ping(&r);
	}
	close_rig(&r);
}

static void frames_pass_adaptive(void **state) { frames_pass(XN_POLL_ADAPTIVE); }
static void frames_pass_busy(void **state)     { frames_pass(XN_POLL_BUSY); }
static void frames_pass_sleeping(void **state) { frames_pass(XN_POLL_SLEEP); }

/* Its thread does nothing any more. */
static void await_rest(const struct rig *r, struct xn_worker_stats *now)
{
	const uint64_t until = xn_now_ns() + SOON_MS * NS_PER_MS;
	struct xn_worker_stats was;

	xn_worker_get_stats(r->w, now);
	do {
		assert_true(xn_now_ns() < until);
		was = *now;
		pause_ms(20);
		xn_worker_get_stats(r->w, now);
	} while (was.turns != now->turns || was.cpu_ns != now->cpu_ns);
}

/* The queue is stopped and started, its rings changed, between park and run, again and
 * again, with traffic in between: what ThreadSanitizer wants to see. */
static void parked_is_parked(enum xn_poll poll)
{
	struct xn_worker_stats before, after;
	struct rig r;

	open_usual_rig(&r, poll);
	give_buffers(&r, 64);
	for (unsigned i = 0; i < 300; i++) {
		uint16_t base[2];

		xn_worker_run(r.w, r.q, false);
		if (i % 3)
			ping(&r);
		xn_worker_park(r.w);
		xn_worker_park(r.w);                    /* it already is */
		assert_int_equal(xn_dev_stop(r.dev), 0);
		for (unsigned v = 0; v < 2; v++) {
			struct xn_vring ring = drv_vring(v);

			base[v] = xn_dev_vring_base(r.dev, v);
			ring.base = base[v];
			ring.kick_fd = r.kick[v];
			assert_int_equal(xn_dev_set_vring(r.dev, v, &ring), 0);
		}
		assert_int_equal(xn_dev_start(r.dev), 0);
	}
	await_rest(&r, &before);
	drv_post1(&r.drv, TX, TX_AT, 80);
	assert_int_equal(eventfd_write(r.kick[TX], 1), 0);
	pause_ms(20);
	xn_worker_get_stats(r.w, &after);
	assert_int_equal(before.turns, after.turns);
	assert_int_equal(before.cpu_ns, after.cpu_ns);
	assert_int_equal(drv_stat(r.dev, 0, "tx_packets"), 200);
	xn_worker_run(r.w, r.q, false);
	assert_true(wait_used(&r, TX, SOON_MS));        /* nor was the kick lost */
	close_rig(&r);
}

static void parked_is_parked_adaptive(void **state) { parked_is_parked(XN_POLL_ADAPTIVE); }
static void parked_is_parked_busy(void **state)     { parked_is_parked(XN_POLL_BUSY); }
static void parked_is_parked_sleeping(void **state) { parked_is_parked(XN_POLL_SLEEP); }

static double idle_share(struct rig *r, unsigned ms, uint64_t *turns)
{
	struct xn_worker_stats a, b;
	uint64_t from, ns;

	xn_worker_get_stats(r->w, &a);
	from = xn_now_ns();
	pause_ms(ms);
	ns = xn_now_ns() - from;
	xn_worker_get_stats(r->w, &b);
	*turns = b.turns - a.turns;
	return (double)(b.cpu_ns - a.cpu_ns) / (double)ns;
}

/* There are so many ms in which it takes less than `share` of a processor, and with `asleep` no
 * turn at all. On a busy machine they may come late; a thread that goes on and on has none. */
static bool rests(struct rig *r, unsigned ms, double share, bool asleep)
{
	const uint64_t until = xn_now_ns() + SOON_MS * NS_PER_MS;
	uint64_t turns;

	do
		if (idle_share(r, ms, &turns) < share && !(asleep && turns))
			return true;
	while (xn_now_ns() < until);
	return false;
}

static void a_silent_guest_costs_nothing(void **state)
{
	static const enum xn_poll polls[] = { XN_POLL_ADAPTIVE, XN_POLL_SLEEP };
	struct rig r;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(polls); i++) {
		open_usual_rig(&r, polls[i]);
		give_buffers(&r, 64);
		xn_worker_run(r.w, r.q, false);
		ping(&r);
		assert_true(rests(&r, 300, 0.005, true));
		close_rig(&r);
	}
}

static void a_ring_without_kicks_is_polled(void **state)
{
	struct xn_worker_stats before, now;
	const uint64_t until = xn_now_ns() + 2 * SOON_MS * NS_PER_MS;
	struct rig r;

	open_rig(&r, XN_POLL_ADAPTIVE, -1, -1);
	give_buffers(&r, 64);
	xn_worker_run(r.w, r.q, true);
	ping(&r);
	pause_ms(20);
	for (unsigned i = 0; i < 10; i++) {
		pause_ms(2);
		ping(&r);
	}
	xn_worker_get_stats(r.w, &before);
	assert_true(rests(&r, 300, 0.1, false));
	do {
		xn_worker_get_stats(r.w, &now);
		assert_true(xn_now_ns() < until);
	} while (now.turns - before.turns < 100);
	close_rig(&r);
}

static int always_readable_file(void)
{
	FILE *f = tmpfile();
	int fd;

	assert_non_null(f);
	fd = dup(fileno(f));
	fclose(f);
	return fd;
}

static int closed_pipe(void)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	close(p[1]);
	return p[0];
}

static void fds_that_are_always_readable_do_not_burn_a_processor(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig r;

		open_rig(&r, XN_POLL_ADAPTIVE, -1, i ? closed_pipe() : always_readable_file());
		give_buffers(&r, 64);
		xn_worker_run(r.w, r.q, false);
		pause_ms(20);
		assert_true(rests(&r, 300, 0.1, false));
		memset(r.drv.ram + TX_AT, 0, 80);
		drv_post1(&r.drv, TX, TX_AT, 80);
		assert_true(wait_used(&r, TX, SOON_MS)); /* and the guest is still served */
		close_rig(&r);
	}
}

static void a_storm_of_kicks_costs_little_and_is_forgotten(void **state)
{
	struct xn_worker_stats a, b;
	uint64_t from, ns;
	struct rig r;

	open_usual_rig(&r, XN_POLL_ADAPTIVE);
	give_buffers(&r, 64);
	xn_worker_run(r.w, r.q, false);
	ping(&r);
	pause_ms(10);
	xn_worker_get_stats(r.w, &a);
	from = xn_now_ns();
	while ((ns = xn_now_ns() - from) < 300 * NS_PER_MS)
		assert_int_equal(eventfd_write(r.kick[TX], 1), 0);
	xn_worker_get_stats(r.w, &b);
	assert_true((b.cpu_ns - a.cpu_ns) * 5 < ns);
	assert_true(b.turns - a.turns < 1000 + 1000 * (ns / (300 * NS_PER_MS)));
	/* Then it can sleep again, though there has been no work. */
	assert_true(rests(&r, 200, 1, true));
	ping(&r);
	close_rig(&r);
}

static void a_processor_that_is_not_there_is_told(void **state)
{
	static const unsigned cpus[] = { 1000 };
	const struct xn_worker_opts wo = { .cpus = cpus, .n_cpus = 1 };
	struct xn_worker *w;

	assert_int_equal(xn_worker_create(&w, 0, &wo), -EINVAL);
	assert_null(w);
	assert_non_null(strstr(xn_last_error(), "processor 1000"));
	xn_worker_destroy(NULL);
}

static void a_pinned_worker_runs(void **state)
{
	const unsigned cpus[] = { (unsigned)sched_getcpu() };   /* one that this process may use */
	const struct xn_worker_opts wo = { .cpus = cpus, .n_cpus = 1 };
	struct rig r;

	open_usual_rig(&r, XN_POLL_ADAPTIVE);
	xn_worker_destroy(r.w);
	assert_int_equal(xn_worker_create(&r.w, 7, &wo), 0);
	give_buffers(&r, 64);
	xn_worker_run(r.w, r.q, false);
	ping(&r);
	close_rig(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_sleeps),
		cmocka_unit_test(talk_spins_and_never_sleeps),
		cmocka_unit_test(talk_of_several_at_once_spins),
		cmocka_unit_test(talk_without_a_pause_is_talk),
		cmocka_unit_test(slow_answers_are_no_talk),
		cmocka_unit_test(streams_are_gathered_in_batches_that_rings_can_hold),
		cmocka_unit_test(a_stream_with_an_answer_for_each_batch_is_a_stream),
		cmocka_unit_test(frames_too_fast_for_a_sleep_are_spun_for),
		cmocka_unit_test(frames_pass_adaptive),
		cmocka_unit_test(frames_pass_busy),
		cmocka_unit_test(frames_pass_sleeping),
		cmocka_unit_test(parked_is_parked_adaptive),
		cmocka_unit_test(parked_is_parked_busy),
		cmocka_unit_test(parked_is_parked_sleeping),
		cmocka_unit_test(a_silent_guest_costs_nothing),
		cmocka_unit_test(a_ring_without_kicks_is_polled),
		cmocka_unit_test(fds_that_are_always_readable_do_not_burn_a_processor),
		cmocka_unit_test(a_storm_of_kicks_costs_little_and_is_forgotten),
		cmocka_unit_test(a_processor_that_is_not_there_is_told),
		cmocka_unit_test(a_pinned_worker_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
