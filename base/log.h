/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the library speaks: through a callback, never by itself to stderr, and
 * never once a packet.
 *
 * A call that fails for a reason of the environment (kernel, memory, files)
 * returns -errno and leaves one line that says what to do. The line goes to the
 * log callback at level XN_LOG_ERROR, and stays readable through
 * xn_last_error() for the calling thread.
 */
#ifndef XN_BASE_LOG_H
#define XN_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include "xsknet.h"

/* Any thread. Formats, and hands the line to the callback if the level is on. */
void xn_log(enum xn_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Notes why a call fails, and returns -err, so that a function can end with
 *	return xn_fail(EINVAL, "region %u: ...", i);
 */
int xn_fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* While on, what fails in this thread is kept for xn_last_error() and not handed to the
 * callback: the caller tells it himself, or not every time. Returns what it was. */
bool xn_fail_silently(bool on);

/* A token bucket for lines that an outsider can provoke: `burst`, then 1/s. */
struct xn_log_limit {
	uint64_t last_ns;
	uint32_t tokens;
	uint32_t suppressed;
};
#define XN_LOG_BURST 5u

/* May a line be written now? Counts what it suppressed. Owner thread only. */
bool xn_log_allowed(struct xn_log_limit *l, uint64_t now_ns);

/* CLOCK_MONOTONIC, ns. */
uint64_t xn_now_ns(void);

#endif
