/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/* What the generator's program and its user side share: two structs of its .bss. */
#ifndef XN_BENCH_GEN_H
#define XN_BENCH_GEN_H

#include "bench/frame.h"

#define XN_GEN_CATCH_UP_NS 1000000ull

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
};

/* The program writes; user space sets it before a run and reads it after. */
struct xn_gen_state {
	xn_u64 seq;           /* of the next frame: frames stamped so far */
	xn_u64 first_ns;      /* CLOCK_MONOTONIC, first frame */
	xn_u64 due_ns;
	xn_u64 fraction;      /* of due_ns, 1 / 2^32 ns */
	xn_u64 idle;          /* frames not stamped since stop */
} __attribute__((aligned(64)));

#endif
