/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread of a queue pair: run, and when there is nothing to do, wait in the way that
 * was asked for.
 *
 *	parked ---xn_worker_run---> running ---xn_worker_park---> parked
 *
 * A parked worker is in no call of the library, and touches no guest memory.
 */
#ifndef XN_VHOST_WORKER_H
#define XN_VHOST_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "xsknet.h"

struct xn_worker;

enum xn_poll {
	XN_POLL_ADAPTIVE,   /* spin while a peer answers, gather while frames stream, else sleep */
	XN_POLL_BUSY,       /* never sleeps (lets others run when idle) */
	XN_POLL_SLEEP,      /* sleeps whenever there is nothing to do */
};

struct xn_worker_opts {
	enum xn_poll poll;
	const unsigned *cpus;   /* worker i is pinned to cpus[i % n_cpus]; borrowed */
	unsigned n_cpus;        /* 0: not pinned */
};

struct xn_worker_stats {    /* since it was created */
	uint64_t turns, empty_turns, sleeps, gathers;
	uint64_t cpu_ns;        /* of the thread */
};

/* The thread begins parked. 0 or -errno with a message. */
int  xn_worker_create(struct xn_worker **w, unsigned i, const struct xn_worker_opts *opts);
/* Parks and ends it. NULL is allowed. */
void xn_worker_destroy(struct xn_worker *w);

/* Drives this queue from now on. The worker is parked. polled: one of the queue's rings has
 * no kick fd (the guest does not notify): it is looked at every millisecond at least. */
void xn_worker_run(struct xn_worker *w, struct xn_queue *q, bool polled);
/* The same for a queue that rarely has something to do: sleeps at once, however it polls else. */
void xn_worker_run_rare(struct xn_worker *w, struct xn_queue *q);
/* Returns when the thread is parked; also if it was. NULL is allowed. */
void xn_worker_park(struct xn_worker *w);

void xn_worker_get_stats(const struct xn_worker *w, struct xn_worker_stats *out);

#endif
