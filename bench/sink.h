/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What the sink's program and its user side share: structs of its .bss. */
#ifndef XN_BENCH_SINK_H
#define XN_BENCH_SINK_H

#include "bench/judge.h"

#define XN_SINK_MAX_QUEUES 64u

/* User space writes, the program reads. */
struct xn_sink_task {
	xn_u32 reflect;
	xn_u32 run_tag;       /* stream of queue 0 */
	xn_u32 streams;       /* 0: nothing is ours at present */
};

/* Of one stream. A stream comes through one queue, so it has one writer at a time. */
struct xn_sink_stream {
	struct xn_check check;
	xn_u64 bytes;
} __attribute__((aligned(64)));

/* Frames of no stream, by the queue that they came on: again one writer at a time. */
struct xn_sink_stray {
	xn_u64 foreign, corrupt;
} __attribute__((aligned(64)));

#endif
