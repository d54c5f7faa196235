/* SPDX-License-Identifier: BSD-2-Clause */
/* Log callback, last error, rate limit. Theory in base/log.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"

#define LINE_BYTES 512
#define NS_PER_S   1000000000ull

/*
 * One callback for the process. It is set once at start (xn_set_log), before
 * other threads use the library; this is the only global of the library, since
 * lines also come from calls that have no handle yet.
 */
static struct {
	xn_log_fn fn;
	void *arg;
	enum xn_log_level level;
} sink;

static _Thread_local char last_error[LINE_BYTES];
static _Thread_local bool silent;

void xn_set_log(xn_log_fn fn, void *arg, enum xn_log_level level)
{
	sink.fn = fn;
	sink.arg = arg;
	sink.level = level;
}

const char *xn_last_error(void)
{
	return last_error;
}

void xn_log(enum xn_log_level level, const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;

	if (!sink.fn || level > sink.level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	sink.fn(sink.arg, level, line);
}

int xn_fail(int err, const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;

	/* Not straight into last_error: it may be one of the arguments. */
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	memcpy(last_error, line, sizeof(line));
	if (sink.fn && XN_LOG_ERROR <= sink.level && !silent)
		sink.fn(sink.arg, XN_LOG_ERROR, last_error);
	return -err;
}

bool xn_fail_silently(bool on)
{
	bool was = silent;

	silent = on;
	return was;
}

bool xn_log_allowed(struct xn_log_limit *l, uint64_t now_ns)
{
	uint64_t refill = l->last_ns ? (now_ns - l->last_ns) / NS_PER_S : XN_LOG_BURST;

	if (refill) {
		l->tokens = (uint32_t)XN_MIN(l->tokens + refill, (uint64_t)XN_LOG_BURST);
		l->last_ns = now_ns;
	}
	if (!l->tokens) {
		l->suppressed++;
		return false;
	}
	l->tokens--;
	return true;
}

uint64_t xn_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}
