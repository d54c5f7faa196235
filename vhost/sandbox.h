/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon gives up before it reads the first byte from a front end.
 *
 *	port opened, sockets listening
 *	xn_sandbox_drop   user and groups, no new privileges, file systems (Landlock: none
 *	                  can be opened), core files, capabilities (all sets empty)
 *	threads created   they inherit the above, which is each thread's own in Linux
 *	xn_sandbox_seal   system calls: a list of those that are still needed, for all threads;
 *	                  any other ends the process. No further processes.
 */
#ifndef XN_VHOST_SANDBOX_H
#define XN_VHOST_SANDBOX_H

#include <stdbool.h>

/* user: to become, when started as root; NULL: stays who it is. Called with one thread.
 * 0 or -errno with a message that says which step failed. */
int xn_sandbox_drop(const char *user);

/* log_only (for tests): a call that is not on the list is logged by the kernel and
 * answered with EPERM instead. */
int xn_sandbox_seal(bool log_only);

#endif
