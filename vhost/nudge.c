/* SPDX-License-Identifier: BSD-2-Clause */
/* Timers that end calls. Theory in vhost/nudge.h. */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "vhost/nudge.h"

#define NS_PER_MS 1000000l

#ifndef sigev_notify_thread_id      /* glibc before 2.35 has it only inside of a union */
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void nothing(int sig)
{
}

int xn_nudge_create(struct xn_nudge *n)
{
	/* Without SA_RESTART: the call is to end. */
	const struct sigaction sa = { .sa_handler = nothing };
	struct sigevent e = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = XN_NUDGE_SIGNAL };
	sigset_t set;

	e.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	sigemptyset(&set);
	sigaddset(&set, XN_NUDGE_SIGNAL);
	if (sigaction(XN_NUDGE_SIGNAL, &sa, NULL) || timer_create(CLOCK_MONOTONIC, &e, &n->timer))
		return xn_fail(errno, "cannot make a timer: %s (RLIMIT_SIGPENDING)", strerror(errno));
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	n->made = true;
	return 0;
}

static void set(const struct xn_nudge *n, long after_ms, long every_ms)
{
	const struct itimerspec t = { .it_value.tv_nsec = after_ms * NS_PER_MS,
				      .it_interval.tv_nsec = every_ms * NS_PER_MS };

	if (n->made)
		timer_settime(n->timer, 0, &t, NULL);
}

void xn_nudge_start(const struct xn_nudge *n)
{
	set(n, XN_NUDGE_AFTER_MS, XN_NUDGE_EVERY_MS);
}

void xn_nudge_stop(const struct xn_nudge *n)
{
	set(n, 0, 0);
}
