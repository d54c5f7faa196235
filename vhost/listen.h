/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A listening socket of AF_UNIX with a name in the file system.
 *
 * A name that is left over from a process that died is replaced, one that somebody
 * listens on is not. The directory is locked meanwhile (flock, for two seconds at most), so that
 * of two who start at once one loses and says so. At the end the name is taken away, if it is still ours.
 */
#ifndef XN_VHOST_LISTEN_H
#define XN_VHOST_LISTEN_H

#include <sys/types.h>

struct xn_listen_cfg {
	const char *path;
	mode_t mode;            /* of the socket: who may connect */
	gid_t group;            /* (gid_t)-1: the process's own */
};

struct xn_listen {
	int fd;                 /* non-blocking; -1: not open */
	int dir;                /* where its name is; -1: it was given, the name is not ours */
	char name[108];         /* in that directory */
	dev_t dev;
	ino_t ino;
};

/* Not open: what xn_listen_close takes. */
#define XN_LISTEN_NONE ((struct xn_listen){ .fd = -1, .dir = -1 })

/* 0 or -errno with a message: -EADDRINUSE somebody listens there; -EEXIST no socket;
 * -EAGAIN the directory stays locked. */
int  xn_listen_open(struct xn_listen *l, const struct xn_listen_cfg *cfg);
/* A socket that listens already (socket activation, --fd). Taken. */
void xn_listen_adopt(struct xn_listen *l, int fd);
void xn_listen_close(struct xn_listen *l);

/* The next who waits: an fd, -EAGAIN (nobody), or -errno. */
int  xn_listen_accept(const struct xn_listen *l);

/* The other way round: a connected, non-blocking fd, or -errno without a message. */
int  xn_listen_dial(const char *path);

#endif
