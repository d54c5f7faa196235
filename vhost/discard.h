/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Closing fds of which nothing is known.
 *
 * close() asks the file system that a file belongs to, and waits for it, also for one that
 * the front end serves itself (FUSE) and leaves without an answer; no signal ends that. So
 * what does not close at once for certain is closed by a thread of its own, which may wait as
 * long as it likes.
 */
#ifndef XN_VHOST_DISCARD_H
#define XN_VHOST_DISCARD_H

/* The thread. Once, before the sandbox is sealed; without it all is closed at once.
 * 0 or -errno with a message. */
int  xn_discard_start(void);

/* Closes, now or later. -1 is allowed. Main thread. */
void xn_discard(int fd);

/* Places for fds that are waited for. Whoever has none should not take any fds. */
unsigned xn_discard_room(void);

#endif
