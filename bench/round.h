/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A round while it runs: what the threads of worker.c note down, and what sample.c
 * makes of it.
 */
#ifndef XN_BENCH_ROUND_H
#define XN_BENCH_ROUND_H

#include <pthread.h>

#include "bench/napi.h"
#include "bench/path.h"

#define XN_RTT_KEEP (1u << 16)   /* round trips that are kept for the percentiles */

struct xn_mark {
	uint64_t ticks, packets, own_ticks, engine_ticks, send_ticks;
	uint64_t arrived;     /* good frames here (rx) */
	uint64_t seq;         /* frames made here (tx) */
	uint64_t far;         /* good frames at the far end; queue 0 only */
	uint64_t backend_ns;  /* processor time of another process; queue 0 only */
	uint64_t napi_ns;     /* of the interface's NAPI threads; queue 0 only */
	uint64_t thread_ns;   /* of this thread */
};

struct xn_rtt {
	uint32_t *ns;
	unsigned n;           /* free running */
	uint64_t lost;
};

struct xn_round;

struct xn_worker {
	struct xn_near w;
	struct xn_round *r;
	pthread_t thread;
	bool started;
	unsigned next_mark;
	uint64_t moved_at, gone;       /* fwd: last frame (ticks); frames given up as lost */
	struct xn_mark mark[2];
	struct xn_rtt sleeping, spinning, quiet;
	double idle_cpu;
};

struct xn_round {
	struct xn_path *path;
	enum xn_dir dir;
	bool sleeps;                   /* near ends of this process, when there is nothing to do */
	bool idle;                     /* rtt: measure what sleeping costs, too */
	double secs;                   /* of the window */
	uint64_t pace_pps;             /* of all queues; 0: as fast as it goes */
	unsigned rtt_queue;            /* the only one that works in rtt */
	uint64_t begin, end;           /* of the window, ticks */
	double pace_per_tick;          /* of one queue; 0: as fast as it goes */
	uint32_t drain;                /* set by the main thread: nothing new comes */
	struct xn_napi napi;           /* of the near end's interface */
	struct xn_worker worker[XN_QUEUES_MAX];
	struct xn_gen_counts gen;      /* of all generators */
	struct xn_sink_counts far;     /* after the drain */
};

void xn_round_blank(struct xn_sample *s);
void xn_round_sample(struct xn_round *r, struct xn_sample *s);
void xn_round_copies(const struct xn_copies *a, const struct xn_copies *b, struct xn_sample *s);

#endif
