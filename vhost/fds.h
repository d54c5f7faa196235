/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an fd from a front end is, found out without waiting for anybody: it may be a pipe,
 * a socket, a directory, /dev/null, a file of a file system that does not answer, ...
 */
#ifndef XN_VHOST_FDS_H
#define XN_VHOST_FDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Closes if >= 0: what is known. Other fds: vhost/discard.h. */
void xn_fd_close(int fd);
/* A duplicate of our own, closed on exec. fd or -errno with a message. */
int  xn_fd_dup(int fd);

/* An eventfd, or one of its like (epoll, timerfd, ...): no file of any file system. */
bool xn_fd_is_anonymous(int fd);
/* A file of memory (memfd, tmpfs, hugetlbfs), open for reading and writing. 0 or -EINVAL. */
int  xn_fd_check_memory(int fd, const char *what);
/* An eventfd, that we wait for (kick) or signal (call, err); sets O_NONBLOCK, which is shared
 * with who else has it. 0 or -EINVAL. */
int  xn_fd_check_event(int fd, bool we_wait, const char *what);
/* A connected stream socket of AF_UNIX. 0 or -EINVAL. */
int  xn_fd_check_stream(int fd, const char *what);

/* A file that a front end shares, mapped. */
struct xn_area {
	void    *at;                        /* NULL: none */
	uint64_t bytes;
	uint64_t mapped;                    /* whole pages of the file's, which may be huge */
};

/*
 * Maps `bytes` at `offset` (multiples of 1 and of the file's page) of a file of memory for
 * reading and writing, after looking whether the file is that long, and guards the mapping
 * (vhost/sigbus.h). 0; -EINVAL, -ENOMEM with a message, *a is empty then.
 */
int  xn_area_map(struct xn_area *a, int fd, uint64_t offset, uint64_t bytes, const char *what);
/* One that is empty is allowed; is empty afterwards. */
void xn_area_unmap(struct xn_area *a);

#endif
