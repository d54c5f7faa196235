/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file whose file system does not answer: FUSE, by hand, whose server lets it be
 * opened and says nothing more. Whoever asks for its state, or closes it, waits until the
 * server is killed. Contract in rig.h.
 *
 * The mount's root is the file itself, so there is nothing to look up; and it is seen in
 * the server's own name space only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/vhost/rig.h"

struct server {
	int dev, to;                    /* /dev/fuse; where the open file goes */
	char path[100];
};

static void send_fd(int to, int fd)
{
	char ok = fd >= 0;
	struct iovec iov = { &ok, 1 };
	union { struct cmsghdr c; char room[CMSG_SPACE(sizeof(int))]; } ctl;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	memset(&ctl, 0, sizeof(ctl));
	if (ok) {
		m.msg_control = &ctl;
		m.msg_controllen = sizeof(ctl);
		ctl.c.cmsg_level = SOL_SOCKET;
		ctl.c.cmsg_type = SCM_RIGHTS;
		ctl.c.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&ctl.c), &fd, sizeof(fd));
	}
	(void)!sendmsg(to, &m, MSG_NOSIGNAL);
}

static int recv_fd(int from)
{
	char ok = 0;
	struct iovec iov = { &ok, 1 };
	union { struct cmsghdr c; char room[CMSG_SPACE(sizeof(int))]; } ctl;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ctl,
			    .msg_controllen = sizeof(ctl) };
	int fd = -1;

	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) == 1 && ok && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

/* A process of its own, which ends with the server: it waits until then to close the file. The
 * server itself must not have it open, or it would wait for itself. */
static bool open_elsewhere(const struct server *s)
{
	pid_t pid = fork();

	if (pid)
		return pid > 0;
	close(s->dev);
	send_fd(s->to, open(s->path, O_RDWR | O_CLOEXEC));
	_exit(0);
}

static bool answer(int dev, uint64_t unique, const void *body, size_t bytes)
{
	struct { struct fuse_out_header h; uint8_t body[256]; } out = {
		.h = { .len = (uint32_t)(sizeof(out.h) + bytes), .unique = unique },
	};

	memcpy(out.body, body, bytes);
	return write(dev, &out, out.h.len) == (ssize_t)out.h.len;
}

static void serve(const void *arg)
{
	const struct server *s = arg;
	static uint8_t in[1 << 17];
	const struct fuse_in_header *h = (const struct fuse_in_header *)in;
	const struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION,
					    .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096 };
	const struct fuse_open_out opened = { .fh = 1 };
	char options[100];

	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0", s->dev);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("mute", s->path, "fuse", MS_NOSUID | MS_NODEV, options) ||
	    !open_elsewhere(s)) {
		send_fd(s->to, -1);
		return;
	}
	for (;;) {
		ssize_t n = read(s->dev, in, sizeof(in));

		if (n < (ssize_t)sizeof(*h))
			return;
		if (h->opcode == FUSE_INIT)
			answer(s->dev, h->unique, &init, sizeof(init));
		else if (h->opcode == FUSE_OPEN)
			answer(s->dev, h->unique, &opened, sizeof(opened));
	}
}

static void close_at_end(void *arg)
{
	int *fd = arg;

	if (*fd >= 0)
		close(*fd);
}

int mute_file(void)
{
	static struct server s;
	static int fd;
	int p[2];

	fd = -1;
	at_end(close_at_end, &fd);      /* behind the end of the server, which is spawned later */
	s.dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (s.dev < 0 || geteuid())
		skip("mounting FUSE needs root");
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), "socketpair: %s", strerror(errno));
	snprintf(s.path, sizeof(s.path), "%s/mute", getenv("XN_VHOST_DIR"));
	CHECK(!mknod(s.path, S_IFREG | 0600, 0) || errno == EEXIST, "%s: %s", s.path, strerror(errno));
	s.to = p[1];
	spawn(serve, &s);
	/* The server's alone: with its end all who wait are answered. */
	close(s.dev);
	close(p[1]);
	fd = recv_fd(p[0]);
	close(p[0]);
	if (fd < 0)
		skip("FUSE cannot be mounted here");
	return fd;
}
