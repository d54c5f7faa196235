/* SPDX-License-Identifier: BSD-2-Clause */
/* xsknetd as a whole, behind its command line. */
#ifndef XN_VHOST_DAEMON_H
#define XN_VHOST_DAEMON_H

#include "vhost/opts.h"

/* Serves until SIGTERM or SIGINT. Exit status: 0, or 1 when it could not start (told in
 * the log). */
int xn_daemon_run(const struct xn_daemon_opts *o);

#endif
