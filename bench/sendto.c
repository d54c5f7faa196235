/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The time in sendto(). The program is linked with --wrap=sendto: whoever calls it,
 * the library too, comes through here, so the kernel's time is measured where it is
 * spent and can be told from the engine's.
 */
#include <sys/socket.h>

#include "bench/clock.h"

static _Thread_local uint64_t send_ticks;

uint64_t xn_send_ticks(void)
{
	return send_ticks;
}

ssize_t __real_sendto(int fd, const void *buf, size_t len, int flags,
		      const struct sockaddr *to, socklen_t to_len);
ssize_t __wrap_sendto(int fd, const void *buf, size_t len, int flags,
		      const struct sockaddr *to, socklen_t to_len);

ssize_t __wrap_sendto(int fd, const void *buf, size_t len, int flags,
		      const struct sockaddr *to, socklen_t to_len)
{
	uint64_t t = xn_ticks();
	ssize_t n = __real_sendto(fd, buf, len, flags, to, to_len);

	send_ticks += xn_ticks() - t;
	return n;
}
