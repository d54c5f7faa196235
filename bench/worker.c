/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One round of one path: its threads, and the window in which they are measured.
 *
 *	|-- warm-up --|------------ window (--secs) ------------|-- drain --|
 *	              ^ mark 0                                   ^ mark 1
 *
 * Rates are what happened between the marks, by the clock of the thread that sets
 * them: no start or end effect, and a late wake-up of the main thread does not
 * matter. Loss, duplicates, reordering and corruption are judged over all frames of
 * the round, from the first to the last that was still under way (the drain ends
 * when nothing has moved for a while).
 *
 * Queue 0's thread also reads the far end's counters at its marks.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/types.h"
#include "bench/round.h"

#define WARM_UP_NS   10e6
#define QUIET_NS     1e6         /* the drain ends after this long without a frame */
#define DRAIN_MAX_NS 100e6
#define RTT_LOST_NS  100e6       /* a frame that is not back by then is lost */
#define RTT_WARM_UP  64u
#define IDLE_MS      100

/*
 * Forwarding without a pace is offered what it takes: a window of frames under way,
 * less than the rings hold. A flood of more than it can take would measure something
 * else: frames dropped at 3 million a second on one processor slow down the kernel's
 * sending on the other several times (they write to the same socket's memory).
 */
#define FWD_WINDOW (XN_RING_SIZE / 2)

/* ---- processors ---- */

static unsigned cpu_list(int *cpus, unsigned n)
{
	cpu_set_t set;
	unsigned found = 0;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set))
		CPU_SET(0, &set);
	for (int c = 0; c < CPU_SETSIZE && found < n; c++)
		if (CPU_ISSET(c, &set))
			cpus[found++] = c;
	return found;
}

/* veth picks the receive queue by the sender's processor, modulo queues: generator i
 * has to sit on processor i, whatever else is allowed. */
int xn_gen_cpu(unsigned queue)
{
	return (int)queue;
}

int xn_near_cpu(unsigned queue)
{
	int cpus[256];
	const unsigned n = cpu_list(cpus, XN_ARRAY_SIZE(cpus));

	return cpus[(n - 1 + n - queue % n) % n];
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

/* ---- streams of frames: rx, tx, fwd ---- */

static void set_mark(struct xn_worker *k)
{
	struct xn_mark *m = &k->mark[k->next_mark++];
	struct xn_path *p = k->w.path;

	if (p->sink && k->w.queue == 0) {
		struct xn_sink_counts c;

		xn_sink_read(p->sink, &c);
		m->far = c.frames;
	}
	m->ticks = xn_ticks();
	m->packets = k->w.packets;
	m->own_ticks = k->w.own_ticks;
	m->engine_ticks = k->w.engine_ticks;
	m->send_ticks = xn_send_ticks();
	m->arrived = k->w.check.frames + k->w.check.foreign * !p->has_lab;
	m->seq = k->w.seq;
}

/* How many frames may be sent now? */
static unsigned allowance(const struct xn_worker *k, uint64_t now)
{
	const struct xn_round *r = k->r;
	double due;

	if (k->next_mark == 2)
		return 0;
	if (r->pace_per_tick <= 0)
		return XN_TURN;
	due = (double)(now + xn_ns_ticks(WARM_UP_NS) - r->begin) * r->pace_per_tick -
	      (double)k->w.seq;
	return due < 1 ? 0 : due > XN_TURN ? XN_TURN : (unsigned)due;
}

/* A frame that is lost keeps its place in the window. When nothing has come for a
 * while, all that were under way are lost, and the window opens again. */
static unsigned forward(struct xn_worker *k, uint64_t now)
{
	struct xn_path *p = k->w.path;
	const unsigned n = p->ops->fwd(&k->w);

	if (p->opts->pace_pps)
		return n;
	if (n) {
		k->moved_at = now;
	} else if (now - k->moved_at > xn_ns_ticks(QUIET_NS)) {
		k->moved_at = now;
		k->gone += FWD_WINDOW;
	} else {
		return 0;
	}
	xn_gen_allow(p->gen[k->w.queue], k->w.packets + k->gone);
	return n;
}

static void stream(struct xn_worker *k)
{
	const struct xn_path_ops *ops = k->w.path->ops;
	struct xn_round *r = k->r;
	uint64_t moved_at = 0, drain_from = 0;

	for (;;) {
		const uint64_t now = xn_ticks();
		unsigned n;

		if (k->next_mark < 2 && (now >= (k->next_mark ? r->end : r->begin) || xn_stop))
			set_mark(k);
		if (r->dir == XN_DIR_RX)
			n = ops->rx(&k->w);
		else if (r->dir == XN_DIR_TX)
			n = ops->tx(&k->w, allowance(k, now));
		else
			n = forward(k, now);
		if (k->next_mark < 2 || !xn_load_acquire32(&r->drain))
			continue;
		if (!drain_from)
			drain_from = moved_at = now;
		if (n)
			moved_at = now;
		if (now - drain_from > xn_ns_ticks(DRAIN_MAX_NS) ||
		    (now - moved_at > xn_ns_ticks(QUIET_NS) && !ops->tx_pending(&k->w)))
			return;
	}
}

/* ---- round trips ---- */

/* One frame there and back; false: it is lost, or there was no room for it. */
static bool trip(struct xn_worker *k, bool sleeping, double *ns)
{
	const struct xn_path_ops *ops = k->w.path->ops;
	const uint64_t t0 = ops->send_one(&k->w);
	uint64_t t1;

	if (!t0)
		return false;
	while (!(t1 = ops->look(&k->w))) {
		if (sleeping)
			ops->sleep(&k->w, 10);
		if (xn_ticks() - t0 > xn_ns_ticks(RTT_LOST_NS) || xn_stop)
			return false;
	}
	*ns = xn_ticks_ns(t1 - t0);
	return true;
}

static void trips(struct xn_worker *k, struct xn_rtt *rtt, bool sleeping, uint64_t ticks)
{
	double ns;

	for (unsigned i = 0; i < RTT_WARM_UP && !xn_stop; i++)
		if (!trip(k, sleeping, &ns))
			break;
	for (const uint64_t end = xn_ticks() + ticks; xn_ticks() < end && !xn_stop;) {
		if (trip(k, sleeping, &ns))
			rtt->ns[rtt->n++ % XN_RTT_KEEP] = (uint32_t)fmin(ns, UINT32_MAX);
		else
			rtt->lost++;
	}
}

/* What the thread burns of a processor while it sleeps as it does between frames. */
static double idle_share(struct xn_worker *k)
{
	struct timespec a, b;
	const uint64_t t0 = xn_ticks();

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	k->w.path->ops->look(&k->w);
	k->w.path->ops->sleep(&k->w, IDLE_MS);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) /
	       xn_ticks_ns(xn_ticks() - t0);
}

static void round_trips(struct xn_worker *k)
{
	const uint64_t half = (k->r->end - k->r->begin) / 2;

	set_mark(k);
	trips(k, &k->sleeping, true, half);
	set_mark(k);
	trips(k, &k->spinning, false, half);
	k->idle_cpu = k->r->idle ? idle_share(k) : NAN;
}

/* ---- threads ---- */

static void *worker_main(void *arg)
{
	struct xn_worker *k = arg;

	pin(k->r->dir == XN_DIR_RTT ? xn_near_cpu(0) : xn_near_cpu(k->w.queue));
	if (k->r->dir == XN_DIR_RTT)
		round_trips(k);
	else
		stream(k);
	return NULL;
}

static int start_workers(struct xn_round *r, uint32_t bytes, uint32_t tag)
{
	for (unsigned i = 0; i < r->path->queues; i++) {
		struct xn_worker *k = &r->worker[i];
		int err;

		if (r->dir == XN_DIR_RTT && i != r->rtt_queue)
			continue;
		k->r = r;
		k->moved_at = xn_ticks();
		k->w = (struct xn_near){
			.path = r->path, .queue = i, .bytes = bytes, .stream = tag + i,
		};
		xn_check_reset(&k->w.check, tag + i, bytes);
		err = pthread_create(&k->thread, NULL, worker_main, k);
		if (err)
			return xn_fail(err, "thread: %s", strerror(err));
		k->started = true;
	}
	return 0;
}

static int start_gens(struct xn_round *r, uint32_t bytes, uint32_t tag, unsigned *n)
{
	const uint64_t pace = r->path->opts->pace_pps;
	int err = 0;

	for (*n = 0; *n < r->path->queues && !err; *n += !err) {
		const struct xn_gen_cfg cfg = {
			.bytes = bytes, .run_tag = tag + *n, .cpu = xn_gen_cpu(*n),
			.pace_pps = pace ? XN_MAX(pace / r->path->queues, 1) : 0,
			.window = r->dir == XN_DIR_FWD && !pace ? FWD_WINDOW : 0,
		};

		err = xn_gen_start(r->path->gen[*n], &cfg);
	}
	return err;
}

static void stop_gens(struct xn_round *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct xn_gen_counts c;

		xn_gen_stop(r->path->gen[i], &c);
		r->gen.sent += c.sent;
		r->gen.offered += c.offered;
		r->gen.seconds = fmax(r->gen.seconds, c.seconds);
	}
}

/* Until the window is over; woken by a signal that wants us to stop. */
static void wait_until(uint64_t ticks)
{
	while (!xn_stop && xn_ticks() < ticks) {
		const double ns = xn_ticks_ns(ticks - xn_ticks());
		const struct timespec nap = {
			.tv_sec = (time_t)(ns / 1e9), .tv_nsec = (long)fmod(ns, 1e9),
		};

		if (ns > 0 && ns < 1e13)
			nanosleep(&nap, NULL);
	}
}

static int play(struct xn_round *r, uint32_t bytes, uint32_t tag)
{
	const bool needs_gen = r->path->has_lab && (r->dir == XN_DIR_RX || r->dir == XN_DIR_FWD);
	unsigned gens = 0;
	int err = needs_gen ? start_gens(r, bytes, tag, &gens) : 0;

	r->begin = xn_ticks() + xn_ns_ticks(WARM_UP_NS);
	r->end = r->begin + xn_ns_ticks(r->path->opts->secs * 1e9);
	if (!err)
		err = start_workers(r, bytes, tag);
	if (!err && r->dir != XN_DIR_RTT)
		wait_until(r->end);
	if (err)
		r->end = r->begin;
	stop_gens(r, gens);
	xn_store_release32(&r->drain, 1);
	for (unsigned i = 0; i < r->path->queues; i++)
		if (r->worker[i].started)
			pthread_join(r->worker[i].thread, NULL);
	if (r->path->sink)
		xn_sink_read(r->path->sink, &r->far);
	return err;
}

/* Stream numbers are never used twice: a late frame of an earlier round is foreign. */
static uint32_t next_tag(void)
{
	static uint32_t tag;

	if (!tag)
		tag = (uint32_t)xn_now_ns() << 8;
	return tag += XN_QUEUES_MAX;
}

int xn_round_run(struct xn_path *p, enum xn_dir dir, uint32_t bytes, bool idle,
		 struct xn_sample *out)
{
	struct xn_round *r = calloc(1, sizeof(*r));
	struct xn_copies before = { 0 }, after = { 0 };
	const uint32_t tag = next_tag();
	struct xn_worker *k;
	int err = 0;

	xn_round_blank(out);
	if (!r)
		return xn_fail(ENOMEM, "out of memory");
	*r = (struct xn_round){ .path = p, .dir = dir, .idle = idle };
	/* The reflected frame comes back on the queue that veth picks for the processor on
	 * which the far end runs: ours. */
	r->rtt_queue = (unsigned)xn_near_cpu(0) % p->queues;
	k = &r->worker[r->rtt_queue];
	r->pace_per_tick = (double)p->opts->pace_pps / p->queues * xn_clock.ns_per_tick / 1e9;
	if (dir == XN_DIR_RTT) {
		k->sleeping.ns = calloc(XN_RTT_KEEP, sizeof(uint32_t));
		k->spinning.ns = calloc(XN_RTT_KEEP, sizeof(uint32_t));
		if (!k->sleeping.ns || !k->spinning.ns)
			err = xn_fail(ENOMEM, "out of memory");
	}
	if (!err)
		err = xn_path_set_sink(p, dir == XN_DIR_RTT ? XN_SINK_REFLECT : XN_SINK_COUNT);
	if (!err && p->sink)
		xn_sink_reset(p->sink, tag);
	if (!err && p->ops->copies)
		p->ops->copies(p, &before);
	if (!err)
		err = play(r, bytes, tag);
	if (!err) {
		xn_round_sample(r, out);
		if (p->ops->copies) {
			p->ops->copies(p, &after);
			xn_round_copies(&before, &after, out);
		}
	}
	free(k->sleeping.ns);
	free(k->spinning.ns);
	free(r);
	return err;
}
