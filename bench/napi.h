/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a driver's receive and transmit work takes of the processor, where it can be told:
 * the kernel's NAPI threads of an interface (echo 1 > /sys/class/net/IF/threaded), which are
 * called napi/IF-number. Elsewhere that work is done in whatever happens to run.
 */
#ifndef XN_BENCH_NAPI_H
#define XN_BENCH_NAPI_H

#include <time.h>
#include <stdint.h>

#define XN_NAPI_MAX 64u

struct xn_napi {
	clockid_t clock[XN_NAPI_MAX];
	unsigned n;              /* 0: there are none, or not to be seen */
};

/* A driver may make new ones when it is set up anew. */
void xn_napi_find(struct xn_napi *napi, const char *ifname);
/* Processor time of all of them so far. */
uint64_t xn_napi_ns(const struct xn_napi *napi);

#endif
