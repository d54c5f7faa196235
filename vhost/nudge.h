/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An end to calls that a front end makes wait.
 *
 * Eventfds are set to O_NONBLOCK when they come (vhost/fds.h). But that is a flag of the open
 * file, which the front end shares with us: it can take the flag away again at any time, and
 * no way to read or write an eventfd does without it. So a thread that has to get on whatever
 * such fds do has a timer, and while that is on it gets a signal now and then, which does
 * nothing, but ends a call that waits (EINTR).
 *
 * The main thread has it on while it handles a session, and turns on that of a worker while
 * it waits for the worker to park. Nothing of this costs anything while nobody is waited for.
 */
#ifndef XN_VHOST_NUDGE_H
#define XN_VHOST_NUDGE_H

#include <signal.h>
#include <stdbool.h>
#include <time.h>

#define XN_NUDGE_SIGNAL   SIGUSR2     /* not SIGALRM: who starts us may have set an alarm */
#define XN_NUDGE_AFTER_MS 20u       /* what is handled in time is not disturbed */
#define XN_NUDGE_EVERY_MS 1u

struct xn_nudge {
	timer_t timer;
	bool made;
};

/* For the calling thread, which can be nudged from now on. 0 or -errno with a message.
 * There is no opposite: what deletes a timer would be one more call that the sandbox had to
 * allow, and the process's end does it. */
int  xn_nudge_create(struct xn_nudge *n);

/* Any thread. Of one that is not made (zeroed) they do nothing. */
void xn_nudge_start(const struct xn_nudge *n);
void xn_nudge_stop(const struct xn_nudge *n);

#endif
