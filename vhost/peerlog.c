/* SPDX-License-Identifier: BSD-2-Clause */
/* Rate of lines about a front end. Contract in vhost/peerlog.h. */
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "vhost/peerlog.h"

void xn_peer_log(enum xn_log_level level, const char *fmt, ...)
{
	/* Of the process: a peer that connects again does not begin anew. */
	static struct xn_log_limit limit;
	char line[400];
	va_list ap;

	if (!xn_log_allowed(&limit, xn_now_ns()))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (limit.suppressed)
		xn_log(level, "%s (and %u lines not shown)", line, limit.suppressed);
	else
		xn_log(level, "%s", line);
	limit.suppressed = 0;
}
