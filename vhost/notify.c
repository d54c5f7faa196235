/* SPDX-License-Identifier: BSD-2-Clause */
/* sd_notify(3) by hand. Contract in vhost/notify.h. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "vhost/notify.h"

/* Twice as often as it has to be (sd_watchdog_enabled(3)). 0: not asked for. */
static uint64_t watchdog_period_ns(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (!usec || (pid && strtol(pid, NULL, 10) != getpid()))
		return 0;
	return strtoull(usec, NULL, 10) * 1000 / 2;
}

void xn_notify_open(struct xn_notify *n)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const char *to = getenv("NOTIFY_SOCKET");
	size_t bytes = to ? strlen(to) : 0;

	*n = (struct xn_notify){ .fd = -1 };
	if (!bytes)
		return;
	if (bytes >= sizeof(a.sun_path) || (to[0] != '/' && to[0] != '@')) {
		xn_log(XN_LOG_WARN, "NOTIFY_SOCKET=%s is not understood: nobody is notified", to);
		return;
	}
	memcpy(a.sun_path, to, bytes);
	if (to[0] == '@')           /* an abstract name */
		a.sun_path[0] = '\0';
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (n->fd < 0 || connect(n->fd, (struct sockaddr *)&a,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes))) {
		xn_log(XN_LOG_WARN, "NOTIFY_SOCKET=%s: %s: nobody is notified", to, strerror(errno));
		xn_notify_close(n);
		return;
	}
	n->period_ns = watchdog_period_ns();
}

void xn_notify_close(struct xn_notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	*n = (struct xn_notify){ .fd = -1 };
}

void xn_notify_say(const struct xn_notify *n, const char *state)
{
	if (n->fd >= 0)
		(void)!send(n->fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT);
}

uint64_t xn_notify_watchdog(struct xn_notify *n, uint64_t now_ns)
{
	if (!n->period_ns)
		return UINT64_MAX;
	if (now_ns >= n->next_ns) {
		xn_notify_say(n, "WATCHDOG=1");
		n->next_ns = now_ns + n->period_ns;
	}
	return n->next_ns - now_ns;
}
