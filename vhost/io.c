/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages in and out. States in vhost/io.h. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/log.h"
#include "vhost/discard.h"
#include "vhost/io.h"

#define HEADER_BYTES sizeof(struct xn_vu_header)

/* Room for the control data of one message: exactly 8 fds. More are cut off by the
 * kernel, which closes them and says so (MSG_CTRUNC). */
union control {
	char buf[CMSG_SPACE(XN_VU_MAX_FDS * sizeof(int))];
	struct cmsghdr align;
};

void xn_io_init(struct xn_io *io, int fd)
{
	memset(io, 0, sizeof(*io));
	io->fd = fd;
}

void xn_io_fini(struct xn_io *io)
{
	for (unsigned i = 0; i < io->in.n_fds; i++)
		xn_discard(io->in.fds[i]);
	io->in.n_fds = 0;
}

/* The fds of one recvmsg, into the message as far as there is room. False: did not fit. */
static bool collect_fds(struct msghdr *m, struct xn_msg *in)
{
	bool fits = !(m->msg_flags & (MSG_CTRUNC | MSG_TRUNC));

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		const unsigned char *at = CMSG_DATA(c);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t left = c->cmsg_len - CMSG_LEN(0); left >= sizeof(int);
		     left -= sizeof(int), at += sizeof(int)) {
			int fd;

			memcpy(&fd, at, sizeof(fd));
			if (in->n_fds < XN_VU_MAX_FDS) {
				in->fds[in->n_fds++] = fd;
			} else {
				xn_discard(fd);
				fits = false;
			}
		}
	}
	return fits;
}

/* Up to `bytes` to `at`. > 0: so many; 0: nothing is there; -ENOTCONN, -EPROTO. */
static int recv_piece(struct xn_io *io, void *at, size_t bytes)
{
	union control control;
	struct iovec iov = { .iov_base = at, .iov_len = bytes };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	const unsigned fds_before = io->in.n_fds;
	ssize_t n;

	/* Without room the kernel drops the fds: they never become ours, and need no closing. */
	if (xn_discard_room() >= XN_VU_MAX_FDS) {
		m.msg_control = control.buf;
		m.msg_controllen = sizeof(control.buf);
	}
	do
		n = recvmsg(io->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -ENOTCONN;
	if (!collect_fds(&m, &io->in))
		return xn_fail(EPROTO, "more than %u fds with a message, or no room for them in "
			       "this process (RLIMIT_NOFILE, or earlier ones that cannot be closed)",
			       XN_VU_MAX_FDS);
	if (!n)
		return -ENOTCONN;
	if (io->got && io->in.n_fds > fds_before)
		return xn_fail(EPROTO, "fds in the middle of a message");
	return (int)n;
}

static int check_header(const struct xn_vu_header *h)
{
	if ((h->flags & XN_VU_VERSION_MASK) != XN_VU_VERSION)
		return xn_fail(EPROTO, "message of version %u, not %u",
			       h->flags & XN_VU_VERSION_MASK, XN_VU_VERSION);
	if (h->flags & XN_VU_REPLY)
		return xn_fail(EPROTO, "a reply (request %u), where nothing was asked", h->request);
	if (h->size > sizeof(union xn_vu_payload))
		return xn_fail(EPROTO, "request %u with %u bytes of payload: more than any message "
			       "has", h->request, h->size);
	return 0;
}

/* Reads on until `end` bytes of header and payload are there. 1, 0 or -errno. */
static int read_to(struct xn_io *io, size_t end)
{
	while (io->got < end) {
		char *at = io->got < HEADER_BYTES ? (char *)&io->in.h + io->got
						  : (char *)&io->in.p + (io->got - HEADER_BYTES);
		int n = recv_piece(io, at, end - io->got);

		if (n <= 0)
			return n;
		io->got += (size_t)n;
	}
	return 1;
}

int xn_io_recv(struct xn_io *io)
{
	int ret;

	if (io->got >= HEADER_BYTES && io->got == HEADER_BYTES + io->in.h.size) {
		xn_io_fini(io);
		xn_io_init(io, io->fd);
	}
	ret = read_to(io, HEADER_BYTES);
	if (ret <= 0)
		return ret;
	ret = check_header(&io->in.h);
	if (ret)
		return ret;
	return read_to(io, HEADER_BYTES + io->in.h.size);
}

int xn_io_send(int socket, const struct xn_vu_header *h, const void *payload, int fd)
{
	union control control;
	struct iovec iov[2] = { { .iov_base = (void *)h, .iov_len = sizeof(*h) },
				{ .iov_base = (void *)payload, .iov_len = h->size } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = h->size ? 2 : 1 };
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		m.msg_control = control.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(fd));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	do
		n = sendmsg(socket, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	/* A message is shorter than a socket's smallest unit: it goes as a whole or not at all. */
	if (n == (ssize_t)(sizeof(*h) + h->size))
		return 0;
	return n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK ? -EAGAIN : -ENOTCONN;
}
