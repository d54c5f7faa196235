/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What systemd wants to hear (sd_notify(3)), and its watchdog. Without NOTIFY_SOCKET
 * nothing is said to anybody. By hand, because it is 50 lines, and the library brings
 * much more than that into the process.
 */
#ifndef XN_VHOST_NOTIFY_H
#define XN_VHOST_NOTIFY_H

#include <stdint.h>

struct xn_notify {
	int fd;                 /* -1: nobody listens */
	uint64_t period_ns;     /* say "WATCHDOG=1" that often; 0: never */
	uint64_t next_ns;
};

/* From the environment. A socket that cannot be reached is told once, and is no failure. */
void xn_notify_open(struct xn_notify *n);
void xn_notify_close(struct xn_notify *n);

/* "READY=1", "STATUS=..."; never blocks. */
void xn_notify_say(const struct xn_notify *n, const char *state);

/* The watchdog's turn; how long until the next, in ns, UINT64_MAX: never. */
uint64_t xn_notify_watchdog(struct xn_notify *n, uint64_t now_ns);

#endif
