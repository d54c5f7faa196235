/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vhost-user front end. Contract in front.h, messages in vhost/proto.h.
 *
 * The socket never blocks: each call has a deadline, and waits in poll() only. A
 * failure keeps its reason in front.error.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "bench/front.h"

#define RETRY_MS     5u
#define MAX_SEND_FDS 253u       /* SCM_MAX_FD of Linux */

static int fail(struct front *f, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int fail(struct front *f, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->error, sizeof(f->error), fmt, ap);
	va_end(ap);
	return -err;
}

static uint64_t deadline(int wait_ms)
{
	return xn_now_ns() + (uint64_t)wait_ms * 1000000;
}

/* ms until then, rounded up; 0: it has passed. */
static int left_ms(uint64_t until_ns)
{
	uint64_t now = xn_now_ns();

	return now >= until_ns ? 0 : (int)((until_ns - now + 999999) / 1000000);
}

/* ---- messages ---- */

int front_connect(struct front *f, const char *path, int wait_ms)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	uint64_t until = deadline(wait_ms);
	int err;

	*f = (struct front){ .fd = -1 };
	if (strlen(path) >= sizeof(a.sun_path))
		return fail(f, ENAMETOOLONG, "%s: longer than a socket's path may be", path);
	strcpy(a.sun_path, path);
	for (;;) {
		f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (f->fd < 0)
			return fail(f, errno, "socket: %s", strerror(errno));
		if (!connect(f->fd, (struct sockaddr *)&a, sizeof(a)))
			return 0;
		err = errno;
		front_close(f);
		/* Not there yet, nobody listens yet, or too many wait to be accepted. */
		if (!left_ms(until) || (err != ENOENT && err != ECONNREFUSED && err != EAGAIN))
			return fail(f, err, "connect to %s: %s", path, strerror(err));
		poll(NULL, 0, RETRY_MS);
	}
}

void front_close(struct front *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

/* One sendmsg, waiting for room. Bytes sent, or -errno. */
static ssize_t send_some(struct front *f, struct iovec *iov, unsigned n_iov, const int *fds,
			 unsigned n_fds, uint64_t until)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MAX_SEND_FDS * sizeof(int))];
	} control;
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = n_iov };
	struct pollfd p = { .fd = f->fd, .events = POLLOUT };
	ssize_t n;

	if (n_fds > MAX_SEND_FDS)
		return fail(f, EINVAL, "%u fds: more than a message can carry", n_fds);
	if (n_fds) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	while ((n = sendmsg(f->fd, &m, MSG_NOSIGNAL)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return fail(f, errno, "sendmsg: %s", strerror(errno));
		if (!left_ms(until))
			return fail(f, ETIMEDOUT, "the back end does not read");
		poll(&p, 1, left_ms(until));
	}
	return n;
}

int front_send(struct front *f, const struct xn_vu_header *h, const void *payload, size_t bytes,
	       const int *fds, unsigned n_fds)
{
	struct iovec iov[2] = {
		{ .iov_base = (void *)h, .iov_len = sizeof(*h) },
		{ .iov_base = (void *)payload, .iov_len = bytes },
	};
	uint64_t until = deadline(FRONT_WAIT_MS);
	size_t todo = sizeof(*h) + bytes;

	while (todo) {
		ssize_t n = send_some(f, iov, 2, fds, n_fds, until);

		if (n < 0)
			return (int)n;
		todo -= (size_t)n;
		n_fds = 0;   /* they went with the first byte */
		for (unsigned i = 0; i < 2; i++) {
			size_t cut = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

			iov[i].iov_base = (char *)iov[i].iov_base + cut;
			iov[i].iov_len -= cut;
			n -= (ssize_t)cut;
		}
	}
	return 0;
}

/* fds that came and have no owner yet. */
struct inbox {
	int fds[XN_VU_MAX_FDS];
	unsigned n;
};

/* All but the first `keep` are closed. */
static void inbox_cut(struct inbox *in, unsigned keep)
{
	while (in->n > keep)
		close(in->fds[--in->n]);
}

static void inbox_take(struct inbox *in, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (in->n < XN_VU_MAX_FDS)
				in->fds[in->n++] = fd;
			else
				close(fd);
		}
	}
}

/* Exactly `bytes`, and what fds come with them. */
static int recv_all(struct front *f, void *to, size_t bytes, struct inbox *in, uint64_t until)
{
	struct pollfd p = { .fd = f->fd, .events = POLLIN };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(XN_VU_MAX_FDS * sizeof(int))];
	} control;

	while (bytes) {
		struct iovec iov = { .iov_base = to, .iov_len = bytes };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				    .msg_controllen = sizeof(control) };
		ssize_t got = recvmsg(f->fd, &m, MSG_CMSG_CLOEXEC);

		if (got > 0) {
			inbox_take(in, &m);
			to = (char *)to + got;
			bytes -= (size_t)got;
		} else if (!got || errno == ECONNRESET) {
			return fail(f, ECONNRESET, "the back end closed the connection");
		} else if (errno == EAGAIN) {
			if (!left_ms(until))
				return fail(f, ETIMEDOUT, "the back end does not answer");
			poll(&p, 1, left_ms(until));
		} else if (errno != EINTR) {
			return fail(f, errno, "recvmsg: %s", strerror(errno));
		}
	}
	return 0;
}

/* One message. The inbox is empty if it fails. */
static int recv_message(struct front *f, struct xn_vu_header *h, void *payload, size_t room,
			struct inbox *in, int wait_ms)
{
	uint64_t until = deadline(wait_ms);
	size_t left, n;
	char rest[256];
	int rc;

	in->n = 0;
	rc = recv_all(f, h, sizeof(*h), in, until);
	n = !rc && h->size < room ? h->size : room;
	left = rc ? 0 : h->size - n;
	if (!rc)
		rc = recv_all(f, payload, n, in, until);
	for (; !rc && left; left -= n) {
		n = left < sizeof(rest) ? left : sizeof(rest);
		rc = recv_all(f, rest, n, in, until);
	}
	if (rc)
		inbox_cut(in, 0);
	return rc;
}

int front_recv(struct front *f, struct xn_vu_header *h, void *payload, size_t room,
	       int *fds, unsigned *n_fds, int wait_ms)
{
	struct inbox in;
	int rc = recv_message(f, h, payload, room, &in, wait_ms);

	inbox_cut(&in, n_fds ? *n_fds : 0);
	if (in.n)
		memcpy(fds, in.fds, in.n * sizeof(int));
	if (n_fds)
		*n_fds = in.n;
	return rc;
}

/* ---- requests, in their proper form ---- */

/* The answer to `request`; the same about the inbox. */
static int recv_reply(struct front *f, unsigned request, struct xn_vu_header *h, void *payload,
		      size_t room, struct inbox *in)
{
	int rc = recv_message(f, h, payload, room, in, FRONT_WAIT_MS);

	if (rc)
		return rc;
	if (h->request == request && (h->flags & (XN_VU_VERSION_MASK | XN_VU_REPLY)) ==
				     (XN_VU_VERSION | XN_VU_REPLY))
		return 0;
	inbox_cut(in, 0);
	return fail(f, EPROTO, "request %u was answered with message %u, flags %#x", request,
		    h->request, h->flags);
}

int front_set(struct front *f, unsigned request, const void *payload, size_t bytes,
	      const int *fds, unsigned n_fds)
{
	struct xn_vu_header h = { request, XN_VU_VERSION | (f->need_reply ? XN_VU_NEED_REPLY : 0),
				  (uint32_t)bytes };
	struct inbox in;
	uint64_t failed;
	int rc = front_send(f, &h, payload, bytes, fds, n_fds);

	if (rc || !f->need_reply)
		return rc;
	rc = recv_reply(f, request, &h, &failed, sizeof(failed), &in);
	if (rc)
		return rc;
	inbox_cut(&in, 0);
	if (h.size != sizeof(failed))
		return fail(f, EPROTO, "request %u was confirmed with %u bytes", request, h.size);
	return failed ? fail(f, EREMOTEIO, "the back end refused request %u", request) : 0;
}

int front_get(struct front *f, unsigned request, const void *payload, size_t bytes,
	      void *reply, size_t room, size_t *got, int *fd)
{
	struct xn_vu_header h = { request, XN_VU_VERSION, (uint32_t)bytes };
	struct inbox in = { .n = 0 };
	int rc;

	if (fd)
		*fd = -1;
	rc = front_send(f, &h, payload, bytes, NULL, 0);
	if (!rc)
		rc = recv_reply(f, request, &h, reply, room, &in);
	if (!rc && (got ? h.size > room : h.size != room))
		rc = fail(f, EPROTO, "request %u was answered with %u bytes", request, h.size);
	inbox_cut(&in, !rc && fd ? 1 : 0);
	if (fd && in.n)
		*fd = in.fds[0];
	if (!rc && got)
		*got = h.size;
	return rc;
}

int front_set_u64(struct front *f, unsigned request, uint64_t v)
{
	return front_set(f, request, &v, sizeof(v), NULL, 0);
}

int front_get_u64(struct front *f, unsigned request, uint64_t *v)
{
	return front_get(f, request, NULL, 0, v, sizeof(*v), NULL, NULL);
}

/* ---- the life of a VMM ---- */

int front_negotiate(struct front *f, uint64_t want, uint64_t must, uint64_t protocol_want)
{
	const uint64_t with_protocol = 1ull << XN_VU_F_PROTOCOL_FEATURES;
	int rc = front_set(f, XN_VU_SET_OWNER, NULL, 0, NULL, 0);

	if (!rc)
		rc = front_get_u64(f, XN_VU_GET_FEATURES, &f->features);
	if (rc)
		return rc;
	if (must & ~f->features)
		return fail(f, ENOTSUP, "the back end does not offer features %#llx",
			    (unsigned long long)(must & ~f->features));
	f->acked = f->features & (want | must | with_protocol);
	if (f->features & with_protocol) {
		rc = front_get_u64(f, XN_VU_GET_PROTOCOL_FEATURES, &f->protocol_features);
		f->protocol_acked = f->protocol_features & protocol_want;
		if (!rc)
			rc = front_set_u64(f, XN_VU_SET_PROTOCOL_FEATURES, f->protocol_acked);
		if (rc)
			return rc;
		f->need_reply = f->protocol_acked >> XN_VU_P_REPLY_ACK & 1;
	}
	return front_set_u64(f, XN_VU_SET_FEATURES, f->acked);
}

int front_set_mem(struct front *f, const struct front_region *r, unsigned n)
{
	struct xn_vu_mem_table t = { .nregions = n };
	int fds[XN_VU_MAX_REGIONS];

	if (n > XN_VU_MAX_REGIONS)
		return fail(f, EINVAL, "%u regions: more than a memory table has", n);
	for (unsigned i = 0; i < n; i++) {
		t.regions[i] = (struct xn_vu_region){ r[i].gpa, r[i].size, r[i].user_addr,
						      r[i].offset };
		fds[i] = r[i].fd;
	}
	return front_set(f, XN_VU_SET_MEM_TABLE, &t, 8 + n * sizeof(t.regions[0]), fds, n);
}

/* SET_VRING_KICK, _CALL or _ERR. */
static int set_ring_fd(struct front *f, unsigned request, unsigned index, int fd)
{
	uint64_t v = index | (fd < 0 ? XN_VU_VRING_NOFD : 0);

	return front_set(f, request, &v, sizeof(v), &fd, fd < 0 ? 0 : 1);
}

int front_start_ring(struct front *f, const struct front_ring *r)
{
	struct xn_vu_vring_state num = { r->index, r->size }, base = { r->index, r->base };
	struct xn_vu_vring_addr addr = { .index = r->index, .desc = r->desc, .used = r->used,
					 .avail = r->avail };
	int rc = front_set(f, XN_VU_SET_VRING_NUM, &num, sizeof(num), NULL, 0);

	if (!rc)
		rc = front_set(f, XN_VU_SET_VRING_BASE, &base, sizeof(base), NULL, 0);
	if (!rc)
		rc = front_set(f, XN_VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	if (!rc)
		rc = set_ring_fd(f, XN_VU_SET_VRING_CALL, r->index, r->call_fd);
	if (!rc)
		rc = set_ring_fd(f, XN_VU_SET_VRING_ERR, r->index, r->err_fd);
	/* Last: this is what starts it. */
	return rc ? rc : set_ring_fd(f, XN_VU_SET_VRING_KICK, r->index, r->kick_fd);
}

int front_enable_ring(struct front *f, unsigned index, bool on)
{
	struct xn_vu_vring_state s = { index, on };

	return front_set(f, XN_VU_SET_VRING_ENABLE, &s, sizeof(s), NULL, 0);
}

int front_stop_ring(struct front *f, unsigned index, uint32_t *base)
{
	struct xn_vu_vring_state s = { index, 0 };
	int rc = front_get(f, XN_VU_GET_VRING_BASE, &s, sizeof(s), &s, sizeof(s), NULL, NULL);

	if (!rc && s.index != index)
		return fail(f, EPROTO, "ring %u was stopped instead of %u", s.index, index);
	if (!rc && base)
		*base = s.num;
	return rc;
}
