/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's life: parked on a condition variable, or turning its queue. Contract in
 * vhost/worker.h, when it spins and when it sleeps in vhost/tempo.h.
 *
 * The hand-over is under the lock: run() says which queue and leaves the parked state,
 * the thread alone enters it. A thread that is to leave its loop may be asleep in ppoll
 * or turning: `leave` is for the latter, wake_fd, in every set that it sleeps on, for the
 * former. What the main thread wrote before run() the thread sees through the lock, and the
 * other way round when park() returns. A call on an eventfd of the front end may not return:
 * park() sees to it that it does (vhost/nudge.h).
 *
 * Sleeping cannot be trusted to be sleep: an fd that came from a front end may be readable
 * for ever (a regular file, a pipe that was closed), or somebody may signal it a million
 * times a second. After FUTILE_MAX wake-ups in a row that brought no work, the thread naps
 * for NAP_NS without looking at any of them, until there is work again; after NAPS_MAX it
 * tries once more whether it can sleep.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "vhost/nudge.h"
#include "vhost/tempo.h"
#include "vhost/worker.h"

#define BUDGET       64u          /* what one turn takes of each ring */
#define YIELD_TURNS  64u          /* empty turns in a row, then somebody else may run */
#define POLLED_NS    1000000      /* a ring whose guest does not notify */
#define NAP_NS       1000000
#define FUTILE_MAX   16u
#define NAPS_MAX     64u
#define SLACK_NS     1000ul       /* the kernel's 50 us would double a gathering */
#define MAX_FDS      8u
#define NS_PER_S     1000000000ull

struct xn_worker {
	pthread_t thread;
	clockid_t clock;
	unsigned i;
	enum xn_poll poll;
	int wake_fd;

	struct xn_nudge nudge;          /* of the thread, which makes it before it parks first */
	int err;                        /* of that */

	/* -- under lock -- */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool parked, end;

	/* -- the main thread's while parked, else this thread's -- */
	struct xn_queue *q;
	bool polled;
	enum xn_poll now;               /* `poll`, or sleep */

	uint32_t leave;                 /* main thread: please park */

	/* -- this thread's; others read the counters -- */
	struct xn_tempo tempo;
	uint32_t empty;                 /* turns in a row */
	uint32_t futile, naps;          /* wake-ups in a row without work; naps since */
	bool woken;                     /* by an fd, and no turn has worked since */
	struct xn_worker_stats stats;
};

/* ---- waiting ---- */

/* Sleeps until an fd is ready, or for ns at most (0: for any time). Never on nothing. */
static void sleep_on(struct xn_worker *w, struct pollfd *fds, unsigned n, uint64_t ns)
{
	const struct timespec t = { .tv_nsec = (long)ns };

	fds[n] = (struct pollfd){ .fd = w->wake_fd, .events = POLLIN };
	w->woken = ppoll(fds, n + 1, ns ? &t : NULL, NULL) > 0;
	xn_tempo_woke(&w->tempo, xn_now_ns());
}

static void nap(struct xn_worker *w, uint64_t ns)
{
	struct pollfd fds[1];

	sleep_on(w, fds, 0, ns);
	w->woken = false;
}

static void sleep_armed(struct xn_worker *w)
{
	struct pollfd fds[MAX_FDS + 1];

	if (w->futile >= FUTILE_MAX) {
		nap(w, NAP_NS);
		if (++w->naps == NAPS_MAX) {
			w->futile--;
			w->naps = 0;
		}
		return;
	}
	if (!xn_queue_arm(w->q))
		return;
	xn_count_add(&w->stats.sleeps, 1);
	sleep_on(w, fds, xn_queue_wait_fds(w->q, fds, MAX_FDS), w->polled ? POLLED_NS : 0);
}

static void spin(struct xn_worker *w)
{
	if (w->empty % YIELD_TURNS)
		xn_relax();
	else
		sched_yield();
}

static void wait_adaptive(struct xn_worker *w)
{
	uint64_t ns = 0;

	switch (xn_tempo_idle(&w->tempo, xn_now_ns(), &ns)) {
	case XN_TEMPO_SPIN:
		spin(w);
		break;
	case XN_TEMPO_GATHER:
		xn_count_add(&w->stats.gathers, 1);
		nap(w, ns);
		break;
	case XN_TEMPO_SLEEP:
		sleep_armed(w);
		break;
	}
}

/* A turn found nothing to do. */
static void idle(struct xn_worker *w)
{
	xn_count_add(&w->stats.empty_turns, 1);
	w->empty++;
	if (w->woken && w->futile < FUTILE_MAX)
		w->futile++;
	w->woken = false;
	switch (w->now) {
	case XN_POLL_BUSY:
		spin(w);
		break;
	case XN_POLL_SLEEP:
		sleep_armed(w);
		break;
	case XN_POLL_ADAPTIVE:
		wait_adaptive(w);
		break;
	}
}

/* ---- the thread ---- */

static void serve(struct xn_worker *w)
{
	uint64_t rx, tx;

	xn_queue_moved(w->q, &rx, &tx);
	xn_tempo_start(&w->tempo, xn_now_ns(), rx, tx);
	w->empty = w->futile = w->naps = 0;
	w->woken = false;
	while (!xn_load_once32(&w->leave)) {
		unsigned work = xn_queue_run(w->q, BUDGET);

		xn_count_add(&w->stats.turns, 1);
		if (!work) {
			idle(w);
			continue;
		}
		w->empty = w->futile = w->naps = 0;
		w->woken = false;
		xn_queue_moved(w->q, &rx, &tx);
		xn_tempo_worked(&w->tempo, rx, tx);
	}
}

/* Parked, until there is a queue. False: the thread is to end. */
static bool wait_for_queue(struct xn_worker *w)
{
	bool end;

	pthread_mutex_lock(&w->lock);
	w->parked = true;
	pthread_cond_broadcast(&w->changed);
	while (w->parked && !w->end)
		pthread_cond_wait(&w->changed, &w->lock);
	end = w->end;
	pthread_mutex_unlock(&w->lock);
	return !end;
}

static void *thread_main(void *arg)
{
	struct xn_worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "xn-q%u", w->i % 1000);
	pthread_setname_np(pthread_self(), name);
	prctl(PR_SET_TIMERSLACK, SLACK_NS);
	w->err = xn_nudge_create(&w->nudge);
	while (wait_for_queue(w))
		serve(w);
	return NULL;
}

/* ---- the main thread's side ---- */

static void await_parked(struct xn_worker *w)
{
	while (!w->parked)
		pthread_cond_wait(&w->changed, &w->lock);
}

static void run(struct xn_worker *w, struct xn_queue *q, bool polled, enum xn_poll poll)
{
	uint64_t v;

	pthread_mutex_lock(&w->lock);
	assert(w->parked && !w->end);
	(void)!read(w->wake_fd, &v, sizeof(v));
	xn_store_once32(&w->leave, 0);
	w->q = q;
	w->polled = polled;
	w->now = poll;
	w->parked = false;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

void xn_worker_run(struct xn_worker *w, struct xn_queue *q, bool polled)
{
	run(w, q, polled, w->poll);
}

void xn_worker_run_rare(struct xn_worker *w, struct xn_queue *q)
{
	run(w, q, false, XN_POLL_SLEEP);
}

void xn_worker_park(struct xn_worker *w)
{
	static const uint64_t one = 1;

	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	if (!w->parked) {
		xn_store_once32(&w->leave, 1);
		(void)!write(w->wake_fd, &one, sizeof(one));
		xn_nudge_start(&w->nudge);
		await_parked(w);
		xn_nudge_stop(&w->nudge);
	}
	pthread_mutex_unlock(&w->lock);
}

/* No signal of the process is handled in a worker; faults of its own are, and its nudges. */
static void block_signals(sigset_t *old)
{
	static const int own[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT,
				  XN_NUDGE_SIGNAL };
	sigset_t all;

	sigfillset(&all);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(own); i++)
		sigdelset(&all, own[i]);
	pthread_sigmask(SIG_SETMASK, &all, old);
}

static int start_thread(struct xn_worker *w, const struct xn_worker_opts *opts)
{
	pthread_attr_t attr;
	sigset_t old;
	int err = 0;

	pthread_attr_init(&attr);
	if (opts->n_cpus) {
		unsigned cpu = opts->cpus[w->i % opts->n_cpus];
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		err = pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	block_signals(&old);
	if (!err)
		err = pthread_create(&w->thread, &attr, thread_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err == EINVAL && opts->n_cpus)
		return xn_fail(EINVAL, "thread of queue pair %u: processor %u is not there, or not "
			       "for this process (see --cpus)", w->i, opts->cpus[w->i % opts->n_cpus]);
	return err ? xn_fail(err, "thread of queue pair %u: %s", w->i, strerror(err)) : 0;
}

int xn_worker_create(struct xn_worker **out, unsigned i, const struct xn_worker_opts *opts)
{
	struct xn_worker *w = aligned_alloc(XN_CACHE_LINE, XN_ALIGN_UP(sizeof(*w), XN_CACHE_LINE));
	int err;

	*out = NULL;
	if (!w)
		return xn_fail(ENOMEM, "out of memory for a thread");
	memset(w, 0, sizeof(*w));
	w->i = i;
	w->poll = opts->poll;
	w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->wake_fd < 0) {
		err = xn_fail(errno, "eventfd: %s", strerror(errno));
		goto out_free;
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	err = start_thread(w, opts);
	if (err)
		goto out_lock;
	pthread_getcpuclockid(w->thread, &w->clock);
	/* What it does before its first rest needs system calls that are not on the
	 * sandbox's list. */
	pthread_mutex_lock(&w->lock);
	await_parked(w);
	err = w->err;
	pthread_mutex_unlock(&w->lock);
	if (err) {
		xn_worker_destroy(w);
		return err;
	}
	*out = w;
	return 0;

out_lock:
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	close(w->wake_fd);
out_free:
	free(w);
	return err;
}

void xn_worker_destroy(struct xn_worker *w)
{
	if (!w)
		return;
	xn_worker_park(w);
	pthread_mutex_lock(&w->lock);
	w->end = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	close(w->wake_fd);
	free(w);
}

void xn_worker_get_stats(const struct xn_worker *w, struct xn_worker_stats *out)
{
	struct timespec t = { 0 };

	clock_gettime(w->clock, &t);
	*out = (struct xn_worker_stats){
		.turns = xn_load_once64(&w->stats.turns),
		.empty_turns = xn_load_once64(&w->stats.empty_turns),
		.sleeps = xn_load_once64(&w->stats.sleeps),
		.gathers = xn_load_once64(&w->stats.gathers),
		.cpu_ns = (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec,
	};
}
