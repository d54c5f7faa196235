/* SPDX-License-Identifier: BSD-2-Clause */
/* See clock.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/clock.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

struct xn_clock xn_clock = { .cpu_ticks = false, .ns_per_tick = 1.0 };

/* Does the kernel itself keep time by the processor's counter? Then so may we. */
static bool kernel_trusts_counter(void)
{
	char name[32] = "";
	FILE *f = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "r");

	if (!f)
		return false;
	if (!fgets(name, sizeof(name), f))
		name[0] = 0;
	fclose(f);
	return !strncmp(name, "tsc", 3) || !strncmp(name, "kvm-clock", 9) ||
	       !strncmp(name, "arch_sys_counter", 16);
}

static bool counter_is_steady(void)
{
#if defined(__x86_64__)
	unsigned a, b, c, d;

	/* Advanced power management leaf, invariant TSC (Intel SDM vol. 2, CPUID). */
	if (__get_cpuid(0x80000007, &a, &b, &c, &d) && (d & (1u << 8)))
		return true;
#elif defined(__aarch64__)
	return true;     /* the architected counter, by definition (Arm ARM, D12.1) */
#endif
	return kernel_trusts_counter();
}

void xn_clock_init(void)
{
	struct timespec nap = { .tv_nsec = 20000000 };
	uint64_t ns0, ns1, t0, t1;

	if (!counter_is_steady())
		return;
	ns0 = xn_now_ns();
	t0 = XN_CPU_TICKS();
	nanosleep(&nap, NULL);
	ns1 = xn_now_ns();
	t1 = XN_CPU_TICKS();
	if (t1 <= t0 || ns1 <= ns0)
		return;
	xn_clock.ns_per_tick = (double)(ns1 - ns0) / (double)(t1 - t0);
	xn_clock.cpu_ticks = true;
}
