/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon gives up before it reads the first byte from a front end.
 *
 *	xn_sandbox_limits  locked memory and files, while that is still allowed
 *	port opened, sockets listening
 *	xn_sandbox_drop    user and groups, no new privileges, file systems (Landlock: none
 *	                   can be opened), core files, capabilities (all sets empty)
 *	threads created    they inherit the above, which is each thread's own in Linux
 *	xn_sandbox_seal    system calls: a list of those that are still needed, for all threads;
 *	                   any other ends the process. No further processes.
 */
#ifndef XN_VHOST_SANDBOX_H
#define XN_VHOST_SANDBOX_H

#include <stdbool.h>

#define XN_SANDBOX_DIRS 2u

struct xn_sandbox {
	const char *user;       /* to become, when started as root; NULL: stays who it is */
	/* For tests: a call that is not on the list is logged by the kernel and answered
	 * with EPERM instead. */
	bool log_only;
	bool dials;             /* connects to a front end: needs new sockets of AF_UNIX */
	/* CAP_IPC_LOCK stays, and nothing else: guest memory has to be pinned, and the limit
	 * of locked memory could not be raised. */
	bool keep_ipc_lock;
	/* Directories (fds) in which names may be removed: those of our own sockets. */
	int dirs[XN_SANDBOX_DIRS];
	unsigned n_dirs;
};

/* At least so many fds (if they cannot be had, that is told as a warning), and locked memory
 * without a limit: false, if that cannot be had. */
bool xn_sandbox_limits(unsigned fds);
/* After false: warns, and says whether CAP_IPC_LOCK is there to make up for it. */
bool xn_sandbox_needs_ipc_lock(void);

/* Called with one thread. 0 or -errno with a message that says which step failed. */
int xn_sandbox_drop(const struct xn_sandbox *s);
int xn_sandbox_seal(const struct xn_sandbox *s);

/* How many system calls the list has, for tests; the name of the i-th and what it is for. */
unsigned xn_sandbox_calls(void);
const char *xn_sandbox_call(unsigned i, const char **why);

#endif
