/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Time in ticks: the processor's own counter where it can be trusted, because two
 * readings around every batch have to cost next to nothing; else CLOCK_MONOTONIC
 * (then a tick is a nanosecond). Calibrated once against CLOCK_MONOTONIC.
 */
#ifndef XN_BENCH_CLOCK_H
#define XN_BENCH_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

#if defined(__x86_64__)
#include <x86intrin.h>
/* rdtsc does not wait for loads before it (Intel SDM vol. 2, RDTSC): without the fence
 * a cache miss would be booked to whoever comes next. */
#define XN_CPU_TICKS() (_mm_lfence(), __rdtsc())
#elif defined(__aarch64__)
static inline uint64_t xn_cntvct(void)
{
	uint64_t v;

	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(v) : : "memory");
	return v;
}
#define XN_CPU_TICKS() xn_cntvct()
#else
#define XN_CPU_TICKS() xn_now_ns()
#endif

struct xn_clock {
	bool cpu_ticks;       /* false: CLOCK_MONOTONIC */
	double ns_per_tick;
};
extern struct xn_clock xn_clock;

/* Decides and calibrates; takes about 20 ms. Once, before anything else here. */
void xn_clock_init(void);

static inline uint64_t xn_ticks(void)
{
	return xn_clock.cpu_ticks ? XN_CPU_TICKS() : xn_now_ns();
}

static inline double xn_ticks_ns(uint64_t ticks)
{
	return (double)ticks * xn_clock.ns_per_tick;
}

static inline uint64_t xn_ns_ticks(double ns)
{
	return (uint64_t)(ns / xn_clock.ns_per_tick);
}

/* Ticks that the calling thread has spent in sendto() so far (sendto.c). */
uint64_t xn_send_ticks(void);

#endif
