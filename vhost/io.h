/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whole vhost-user messages in and out of a socket that is never waited for.
 *
 * A stream has no borders: header and payload may come in any number of pieces, and the
 * next message may be behind them. So the state of a message that has begun is kept, and
 * never more is read than belongs to it. fds travel with the first byte.
 *
 *	empty --first byte, fds--> header --12 bytes--> payload --size bytes--> whole
 *
 * What cannot be a message ends the stream, since nobody knows where the next one
 * would begin.
 */
#ifndef XN_VHOST_IO_H
#define XN_VHOST_IO_H

#include <stddef.h>

#include "vhost/proto.h"

struct xn_msg {
	struct xn_vu_header h;
	union xn_vu_payload p;          /* h.size bytes are the peer's, the rest is 0 */
	int fds[XN_VU_MAX_FDS];         /* the receiver's; -1: was taken */
	unsigned n_fds;                 /* that came */
};

struct xn_io {
	int fd;
	size_t got;                     /* bytes of header and payload */
	struct xn_msg in;
};

/* fd: a stream socket of AF_UNIX, borrowed. */
void xn_io_init(struct xn_io *io, int fd);
/* Closes the fds of a message that has begun. */
void xn_io_fini(struct xn_io *io);

/*
 * 1: a message is in io->in, until the next call, which closes those of its fds that
 * were not taken. 0: there is none yet. -ENOTCONN: the peer has closed. -EPROTO with a message:
 * version, reply flag, size, more fds than 8, fds in the middle.
 */
int xn_io_recv(struct xn_io *io);

/* Sends header and h->size bytes of payload, with fd (borrowed) if it is not -1. 0; -ENOTCONN:
 * the peer has closed; -EAGAIN: there is no room, the peer does not read. */
int xn_io_send(int socket, const struct xn_vu_header *h, const void *payload, int fd);

#endif
