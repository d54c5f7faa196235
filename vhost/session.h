/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One connection of a front end: its messages, checked, and turned into calls of vdev.
 *
 * The peer is not trusted: it may destroy its own guest, and nothing else. Every
 * message is checked as a whole (size, number of fds, index, numbers against each other,
 * what was negotiated) before anything changes; one that is wrong is answered with a
 * failure (REPLY_ACK) and changes nothing, or ends the session where it cannot be answered.
 * Every fd that comes is kept by name or closed.
 */
#ifndef XN_VHOST_SESSION_H
#define XN_VHOST_SESSION_H

#include "vhost/vdev.h"

struct xn_session;

/* fd: a connected stream socket of AF_UNIX; the session's from here on, also on failure.
 * It is set to O_NONBLOCK. 0 or -errno with a message. */
int  xn_session_open(struct xn_session **s, int fd, struct xn_vdev *v);
/* Resets the device (xn_vdev_reset), closes the socket and all fds. NULL is allowed. */
void xn_session_close(struct xn_session *s);

/* To wait for in the main loop: POLLIN on these (ctrl_fd, of the guest's control queue: -1 if
 * there is none, and another one from time to time); and, if not -1, at most so many ms. */
int  xn_session_fd(const struct xn_session *s);
int  xn_session_ctrl_fd(const struct xn_session *s);
int  xn_session_timeout_ms(const struct xn_session *s);

/* Handles what has come, and what is due; never blocks, and handles at most 64 messages.
 * 0: go on. -ENOTCONN: the front end has gone. -EPROTO: ended because of what it sent
 * (told in the log, at most some lines a second). */
int  xn_session_handle(struct xn_session *s);

/* The configuration space has changed: tells the front end, if it listens. Link changes the
 * session hears of by itself: all that the main loop does is call xn_dev_handle_events. */
void xn_session_config_changed(struct xn_session *s);

struct xn_session_info {
	uint64_t messages, refused;     /* refused: answered with a failure */
	uint64_t protocol_features;
	bool     owner;
	uint8_t  status;                /* as the front end set it, with NEEDS_RESET */
	bool     back_channel;
	uint16_t mtu;                   /* of the configuration space */
};
void xn_session_get_info(const struct xn_session *s, struct xn_session_info *info);

#endif
