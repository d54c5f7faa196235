/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines about a front end, which it can provoke as fast as it likes: all together a few
 * at once, then one a second (xn_log_allowed). How many were left out is told in the next.
 */
#ifndef XN_VHOST_PEERLOG_H
#define XN_VHOST_PEERLOG_H

#include "xsknet.h"

/* Main thread. */
void xn_peer_log(enum xn_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
