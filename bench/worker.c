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
/* After this long without a frame none is under way any more; where threads have to hand
 * them over, it is longer than one may have to wait for its turn. */
#define QUIET_NS     1e6
#define QUIET_FAR_NS 10e6
#define DRAIN_MAX_NS 100e6
#define RTT_LOST_NS  100e6       /* a frame that is not back by then is lost */
#define RTT_WARM_UP  64u
#define NAP_MS       1           /* --wait sleep: what is paced becomes due meanwhile */
#define QUIET_TRIP_NS 500e3      /* silence before a quiet round trip */

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
 * has to sit on processor i, whatever else is allowed. One that is bound to its queue may be
 * anywhere. */
int xn_gen_cpu(unsigned queue)
{
	const long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return (int)(cpus > 0 ? queue % (unsigned)cpus : queue);
}

int xn_near_cpu(unsigned queue)
{
	int cpus[256];
	const unsigned n = cpu_list(cpus, XN_ARRAY_SIZE(cpus));

	return cpus[(n - 1 + n - queue % n) % n];
}

/*
 * A guest whose device is another process needs a place of its own. Two processors have
 * three to carry: generator, back end, guest.
 *
 *	streams      near: with the back end's worker, as the engine in this process has its
 *	             guest. The generator's processor is full (veth's receive side and the
 *	             kernel's copy run there), and a generator inside of the kernel gives way
 *	             once in milliseconds: a guest beside it takes a seventh of the frames.
 *	             Even for sending, with nothing to generate, apart is slower than together
 *	             (0.85 to 0.95): each frame and each ring's line has to go across.
 *	round trip   far: driver and worker look for each other's work at the same time;
 *	             together each hand-over would be a switch of threads (11 us and not 3)
 */
int xn_guest_cpu(enum xn_guest_on on, enum xn_dir dir, unsigned queue)
{
	if (on == XN_GUEST_AUTO)
		on = dir == XN_DIR_RTT ? XN_GUEST_FAR : XN_GUEST_NEAR;
	return on == XN_GUEST_NEAR ? xn_near_cpu(queue) : xn_gen_cpu(queue);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

/* ---- streams of frames: rx, tx, fwd ---- */

/* Processor time of the calling thread so far. */
static uint64_t thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void set_mark(struct xn_worker *k)
{
	struct xn_mark *m = &k->mark[k->next_mark++];
	struct xn_path *p = k->w.path;

	if (p->far && k->w.queue == 0) {
		struct xn_sink_counts c;

		xn_sink_read(p->far->sink, &c);
		m->far = c.frames;
	}
	if (p->ops->cpu_ns && k == &k->r->worker[0])
		m->backend_ns = p->ops->cpu_ns(p);
	if (k == &k->r->worker[0])
		m->napi_ns = xn_napi_ns(&k->r->napi);
	m->thread_ns = thread_ns();
	m->ticks = xn_ticks();
	m->packets = k->w.packets;
	m->own_ticks = k->w.own_ticks;
	m->engine_ticks = k->w.engine_ticks;
	m->send_ticks = xn_send_ticks();
	m->arrived = k->w.check.frames + k->w.check.foreign * !p->far;
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

static uint64_t quiet_ticks(const struct xn_path *p)
{
	return xn_ns_ticks(xn_kind_external(p->kind) ? QUIET_FAR_NS : QUIET_NS);
}

/* A frame that is lost keeps its place in the window. When nothing has come for a
 * while, all that were under way are lost, and the window opens again. */
static unsigned forward(struct xn_worker *k, uint64_t now)
{
	struct xn_path *p = k->w.path;
	const unsigned n = p->ops->fwd(&k->w);

	if (k->r->pace_pps)
		return n;
	if (n) {
		k->moved_at = now;
	} else if (now - k->moved_at > quiet_ticks(p)) {
		k->moved_at = now;
		k->gone = xn_gen_offered(p->far->gen[k->w.queue]) - k->w.packets;
	} else {
		return 0;
	}
	xn_gen_allow(p->far->gen[k->w.queue], k->w.packets + k->gone);
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
		if (!n && ops->idle)
			ops->idle(&k->w);
		else if (!n && r->sleeps)
			ops->sleep(&k->w, NAP_MS);
		if (k->next_mark < 2 || !xn_load_acquire32(&r->drain))
			continue;
		if (!drain_from)
			drain_from = moved_at = now;
		if (n)
			moved_at = now;
		if (now - drain_from > xn_ns_ticks(DRAIN_MAX_NS) ||
		    (now - moved_at > quiet_ticks(k->w.path) && !ops->tx_pending(&k->w)))
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

/* The driver has other things to do meanwhile: it does not look, and does not sleep (it is
 * the near end's waking up that is measured, not ours). */
static void be_quiet(void)
{
	for (const uint64_t end = xn_ticks() + xn_ns_ticks(QUIET_TRIP_NS); xn_ticks() < end;)
		xn_relax();
}

static void trips(struct xn_worker *k, struct xn_rtt *rtt, bool sleeping, bool quiet,
		  uint64_t ticks)
{
	double ns;

	for (unsigned i = 0; i < RTT_WARM_UP && !quiet && !xn_stop; i++)
		if (!trip(k, sleeping, &ns))
			break;
	for (const uint64_t end = xn_ticks() + ticks; xn_ticks() < end && !xn_stop;) {
		if (quiet)
			be_quiet();
		if (trip(k, sleeping, &ns))
			rtt->ns[rtt->n++ % XN_RTT_KEEP] = (uint32_t)fmin(ns, UINT32_MAX);
		else
			rtt->lost++;
	}
}

/* Processor time of the other process, if the work is done by one, else of this thread. */
static uint64_t used_ns(const struct xn_worker *k)
{
	return k->w.path->ops->cpu_ns ? k->w.path->ops->cpu_ns(k->w.path) : thread_ns();
}

/* What is burnt of a processor while the thread sleeps as it does between frames. */
static double idle_share(struct xn_worker *k)
{
	const uint64_t end = xn_ticks() + xn_ns_ticks(k->r->path->opts->idle_secs * 1e9);
	const uint64_t t0 = xn_ticks(), used = used_ns(k);

	/* In short naps, for whoever wants to stop. */
	for (uint64_t now = t0; now < end && !xn_stop; now = xn_ticks()) {
		k->w.path->ops->look(&k->w);
		k->w.path->ops->sleep(&k->w, (int)fmin(xn_ticks_ns(end - now) / 1e6 + 1, 500));
	}
	return (double)(used_ns(k) - used) / xn_ticks_ns(xn_ticks() - t0);
}

static void round_trips(struct xn_worker *k)
{
	const uint64_t third = (k->r->end - k->r->begin) / 3;

	set_mark(k);
	trips(k, &k->sleeping, true, false, third);
	set_mark(k);
	trips(k, &k->spinning, false, false, third);
	trips(k, &k->quiet, false, true, third);
	k->idle_cpu = k->r->idle ? idle_share(k) : NAN;
}

/* ---- threads ---- */

static int worker_cpu(const struct xn_round *r, unsigned queue)
{
	const struct xn_path *p = r->path;

	if (r->dir == XN_DIR_RTT)
		queue = 0;
	return xn_kind_external(p->kind) ? xn_guest_cpu(p->opts->guest_on, r->dir, queue) :
					   xn_near_cpu(queue);
}

static void *worker_main(void *arg)
{
	struct xn_worker *k = arg;

	pin(worker_cpu(k->r, k->w.queue));
	if (k->r->dir == XN_DIR_RTT)
		round_trips(k);
	else
		stream(k);
	return NULL;
}

/* Of a guest whose device is another process: is there somebody who needs its processor? */
static bool is_crowded(const struct xn_round *r, unsigned queue)
{
	const bool gens = r->dir == XN_DIR_RX || r->dir == XN_DIR_FWD;
	const int cpu = worker_cpu(r, queue);

	for (unsigned i = 0; i < r->path->queues; i++)
		if (cpu == xn_near_cpu(i) || (gens && cpu == xn_gen_cpu(i)))
			return true;
	return false;
}

/*
 * Where there are more threads than processors, who has nothing to do must not keep one from
 * who has: there near ends sleep whether or not that was asked for.
 */
static bool sleeps(const struct xn_round *r)
{
	const bool gens = r->path->far && r->dir != XN_DIR_TX;
	const long threads = (long)r->path->queues * (1 + gens);

	return r->path->opts->sleeps ||
	       (r->path->queues > 1 && threads > sysconf(_SC_NPROCESSORS_ONLN));
}

/* Does RSS choose the queues of what this path receives? */
static bool steers(const struct xn_path *p)
{
	return p->queues > 1 && !xn_kind_external(p->kind) && p->kind != XN_KIND_RAW;
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
			.crowded = is_crowded(r, i),
			.port = steers(r->path) ? xn_flow_port(r->path->queues, i) : 0,
		};
		xn_check_reset(&k->w.check, tag + i, bytes);
		err = pthread_create(&k->thread, NULL, worker_main, k);
		if (err)
			return xn_fail(err, "thread: %s", strerror(err));
		k->started = true;
	}
	return 0;
}

/*
 * The flow of generator i, and the guest queue where it ends: RSS names its own queue, or with
 * --missteer the next one.
 */
static unsigned flow_of(const struct xn_round *r, unsigned i, struct xn_gen_cfg *cfg)
{
	const struct xn_path *p = r->path;
	const unsigned queue = steers(p) && p->opts->missteer ? (i + 1) % p->queues : i;

	if (steers(p))
		cfg->port = xn_flow_port(p->queues, queue);
	return queue;
}

static int start_gens(struct xn_round *r, uint32_t bytes, uint32_t tag, unsigned *n)
{
	const uint64_t pace = r->pace_pps;
	int err = 0;

	for (*n = 0; *n < r->path->queues && !err; *n += !err) {
		struct xn_gen_cfg cfg = {
			.bytes = bytes, .cpu = xn_gen_cpu(*n),
			.pace_pps = pace ? XN_MAX(pace / r->path->queues, 1) : 0,
			.window = r->dir == XN_DIR_FWD && !pace ? FWD_WINDOW : 0,
		};

		cfg.run_tag = tag + flow_of(r, *n, &cfg);
		err = xn_gen_start(r->path->far->gen[*n], &cfg);
	}
	return err;
}

static void stop_gens(struct xn_round *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct xn_gen_counts c;

		xn_gen_stop(r->path->far->gen[i], &c);
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
	const bool needs_gen = r->path->far && (r->dir == XN_DIR_RX || r->dir == XN_DIR_FWD);
	unsigned gens = 0;
	int err = needs_gen ? start_gens(r, bytes, tag, &gens) : 0;

	r->begin = xn_ticks() + xn_ns_ticks(WARM_UP_NS);
	r->end = r->begin + xn_ns_ticks(r->secs * 1e9);
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
	if (r->path->far)
		xn_sink_read(r->path->far->sink, &r->far);
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

/* Memory for round trips: only of the queue that makes them. */
static int make_trips(struct xn_worker *k)
{
	k->sleeping.ns = calloc(XN_RTT_KEEP, sizeof(uint32_t));
	k->spinning.ns = calloc(XN_RTT_KEEP, sizeof(uint32_t));
	k->quiet.ns = calloc(XN_RTT_KEEP, sizeof(uint32_t));
	if (!k->sleeping.ns || !k->spinning.ns || !k->quiet.ns)
		return xn_fail(ENOMEM, "out of memory");
	return 0;
}

/* Plays it, between two looks at the counters of copies. */
static int play_counted(struct xn_round *r, uint32_t bytes, struct xn_sample *out,
			struct xn_reasons *why)
{
	struct xn_copies before = { 0 }, after = { 0 };
	const uint32_t tag = next_tag();
	struct xn_path *p = r->path;
	int err = xn_path_set_sink(p, r->dir == XN_DIR_RTT ? XN_SINK_REFLECT : xn_path_counting(p));

	if (!err && p->far)
		xn_sink_reset(p->far->sink, tag);
	if (!err && p->ops->copies)
		p->ops->copies(p, &before);
	if (!err)
		err = play(r, bytes, tag);
	if (err)
		return err;
	xn_round_sample(r, out);
	if (p->ops->copies) {
		p->ops->copies(p, &after);
		xn_round_copies(&before, &after, out);
		for (unsigned i = 0; i < after.why.n; i++)
			xn_reasons_add(why, after.why.of[i].name, after.why.of[i].count);
		for (unsigned i = 0; i < before.why.n; i++)
			xn_reasons_add(why, before.why.of[i].name, -before.why.of[i].count);
	}
	return 0;
}

int xn_round_run(struct xn_path *p, const struct xn_load *load, struct xn_sample *out,
		 struct xn_reasons *why)
{
	struct xn_round *r = calloc(1, sizeof(*r));
	struct xn_worker *k;
	int err = 0;

	xn_round_blank(out);
	if (!r)
		return xn_fail(ENOMEM, "out of memory");
	*r = (struct xn_round){ .path = p, .dir = load->dir, .idle = load->idle,
				.pace_pps = load->pace_pps,
				.secs = load->secs > 0 ? load->secs : p->opts->secs };
	/* The reflected frame comes back on the queue that veth picks for the processor on
	 * which the far end runs: ours. */
	r->rtt_queue = (unsigned)xn_near_cpu(0) % p->queues;
	k = &r->worker[r->rtt_queue];
	r->sleeps = sleeps(r);
	xn_napi_find(&r->napi, p->ifname);
	r->pace_per_tick = (double)r->pace_pps / p->queues * xn_clock.ns_per_tick / 1e9;
	if (r->dir == XN_DIR_RTT)
		err = make_trips(k);
	if (!err && p->ops->rouse)
		err = p->ops->rouse(p);
	if (!err)
		err = play_counted(r, load->bytes, out, why);
	if (p->ops->rest)
		p->ops->rest(p);
	free(k->sleeping.ns);
	free(k->spinning.ns);
	free(k->quiet.ns);
	free(r);
	return err;
}
