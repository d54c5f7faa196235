/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What the generator's program and its user side share: two structs of its .bss. */
#ifndef XN_BENCH_GEN_H
#define XN_BENCH_GEN_H

#include "bench/frame.h"

/* A generator that was held up catches up so many frames, but not more than a millisecond:
 * a longer burst would test the receiver's rings and not the rate. Of the rates at which so
 * many frames are less than its own batch takes it catches up the time of a batch. */
#define XN_GEN_BURST    32ull
#define XN_GEN_BATCH_NS 64000ull
#define XN_GEN_LATE_NS  1000000ull

/* The page of a live frame has 4096 bytes; the kernel takes 256 for headroom, and the
 * rest of its two structures (Linux net/bpf/test_run.c, TEST_XDP_FRAME_SIZE). */
#define XN_GEN_BYTES_MAX 3400u

/* User space writes, the program reads. */
struct xn_gen_task {
	xn_u32 stop;
	xn_u32 stream;
	xn_u32 bytes;
	xn_u32 pad;
	xn_u64 limit;         /* no frame from this seq on, until it is raised; 0: none */
	xn_u64 period_q32;    /* ns from frame to frame, 32.32 fixed point; 0: no pacing */
	xn_u64 catch_up_ns;
};

static inline xn_u64 xn_gen_catch_up_ns(xn_u64 pace_pps)
{
	const xn_u64 burst_ns = XN_GEN_BURST * 1000000000ull / pace_pps;

	if (burst_ns < XN_GEN_BATCH_NS)
		return XN_GEN_BATCH_NS;
	return burst_ns < XN_GEN_LATE_NS ? burst_ns : XN_GEN_LATE_NS;
}

/* The program writes; user space sets it before a run and reads it after. */
struct xn_gen_state {
	xn_u64 seq;           /* of the next frame: frames stamped so far */
	xn_u64 first_ns;      /* CLOCK_MONOTONIC, first frame */
	xn_u64 due_ns;
	xn_u64 fraction;      /* of due_ns, 1 / 2^32 ns */
	xn_u64 idle;          /* frames not stamped since stop */
} __attribute__((aligned(64)));

#endif
