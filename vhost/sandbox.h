/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon gives up before it reads the first byte from a front end. In this order:
 *
 *	user and groups   to an own user, if it was started as root and one is named
 *	capabilities      none: effective, permitted, inheritable, ambient, bounding
 *	no new privileges
 *	file systems      Landlock: none can be opened; network: none can be connected to
 *	limits            no core, no files that grow, no processes
 *	system calls      a list of those that it still needs; any other ends the process
 */
#ifndef XN_VHOST_SANDBOX_H
#define XN_VHOST_SANDBOX_H

#include <stdbool.h>

struct xn_sandbox_opts {
	const char *user;       /* NULL: stays who it is */
	bool log_only;          /* for tests: system calls that are not listed are logged by
				   the kernel, and answered with EPERM, instead of fatal */
};

/* All threads exist already, and are under it too. 0 or -errno with a message that says
 * which step failed. */
int xn_sandbox_enter(const struct xn_sandbox_opts *opts);

#endif
