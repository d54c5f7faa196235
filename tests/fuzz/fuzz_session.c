/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vhost-user stream of a hostile front end: messages with any bytes and any fds, on a
 * device with the loopback port; rings that get started are driven between messages.
 *
 * An input is a row of records: request, flags, fds, two bytes of length, payload. After
 * each input the session is closed: no fd may be left over.
 *
 * The workers of vhost/worker.h are played here, in the one thread that there is.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/types.h"
#include "vhost/proto.h"
#include "vhost/session.h"

#define RAM          (256u << 10)
#define MAX_MESSAGES 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* ---- workers ---- */

struct xn_worker { struct xn_queue *q; };

int xn_worker_create(struct xn_worker **w, unsigned i, const struct xn_worker_opts *opts)
{
	*w = calloc(1, sizeof(**w));
	return *w ? 0 : -1;
}

void xn_worker_destroy(struct xn_worker *w)
{
	free(w);
}

void xn_worker_run(struct xn_worker *w, struct xn_queue *q, bool polled)
{
	assert(!w->q);
	w->q = q;
}

void xn_worker_run_rare(struct xn_worker *w, struct xn_queue *q)
{
	xn_worker_run(w, q, false);
}

void xn_worker_park(struct xn_worker *w)
{
	w->q = NULL;
}

void xn_worker_get_stats(const struct xn_worker *w, struct xn_worker_stats *out)
{
	memset(out, 0, sizeof(*out));
}

/* ---- the device and its peer ---- */

static struct {
	struct xn_port *port;
	struct xn_vdev *v;
	int fds[8];               /* what a peer may send along */
} rig;

static int memory(unsigned bytes, unsigned seals)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, bytes) || fcntl(fd, F_ADD_SEALS, seals))
		abort();
	return fd;
}

static void rig_init(void)
{
	static const unsigned cpu = 0;
	const struct xn_vdev_opts opts = { .pairs = 2, .mtu = 1500, .worker = { .cpus = &cpu } };
	int pair[2];

	if (rig.v)
		return;
	rig.fds[0] = memory(RAM, F_SEAL_SHRINK | F_SEAL_GROW);
	rig.fds[1] = memory(4096, 0);
	rig.fds[2] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	rig.fds[3] = eventfd(0, EFD_CLOEXEC);
	rig.fds[4] = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	rig.fds[5] = pair[0];
	rig.fds[6] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	rig.fds[7] = memory(RAM, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	if (xn_port_open(&rig.port, "loopback:queues=2", NULL) ||
	    xn_vdev_create(&rig.v, rig.port, &opts))
		abort();
}

struct record {
	uint8_t request, flags, fds;   /* fds: how many (low 2 bits), the first (3 bits), step */
	uint8_t length[2];
};

/* Sends one message: its size as it is, or another than what follows. */
static size_t send_one(int fd, const uint8_t *data, size_t left)
{
	const struct record *r = (const struct record *)data;
	size_t bytes = (size_t)(r->length[0] | r->length[1] << 8) % 512;
	struct xn_vu_header h = { .request = r->request & 0x7f, .flags = XN_VU_VERSION };
	struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)(uintptr_t)(data + sizeof(*r)), 0 } };
	union { char room[CMSG_SPACE(3 * sizeof(int))]; struct cmsghdr align; } control = { 0 };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	unsigned n = r->fds & 3u;

	bytes = XN_MIN(bytes, left - sizeof(*r));
	h.size = (uint32_t)bytes + (r->flags & 0x10 ? 8 : 0);
	h.flags ^= (r->flags & 0xfu) ^ XN_VU_VERSION ^ (r->request & 0x80 ? XN_VU_VERSION : 0);
	iov[1].iov_len = bytes;
	if (n) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		for (unsigned i = 0; i < n; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int),
			       &rig.fds[((r->fds >> 2 & 7u) + i * (r->fds >> 5)) % 8], sizeof(int));
	}
	(void)!sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sizeof(*r) + bytes;
}

/* Reads answers, and closes the fds in them. */
static void drain(int fd)
{
	union { char room[CMSG_SPACE(8 * sizeof(int))]; struct cmsghdr align; } control;
	uint8_t buf[1024];

	for (;;) {
		struct iovec iov = { buf, sizeof(buf) };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				      .msg_controllen = sizeof(control) };

		if (recvmsg(fd, &msg, MSG_DONTWAIT) <= 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			for (size_t i = 0; i < n; i++) {
				int got;

				memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
				close(got);
			}
		}
	}
}

static void drive(void)
{
	for (unsigned p = 0; p < 2; p++) {
		struct xn_queue *q = xn_vdev_worker(rig.v, p)->q;

		for (unsigned i = 0; q && i < 3; i++)
			xn_queue_run(q, 16);
	}
}

/* What the daemon asks for, and says, between messages. */
static void ask(struct xn_session *s)
{
	struct xn_session_info info;
	struct xn_vdev_info v;

	xn_session_config_changed(s);
	xn_session_get_info(s, &info);
	xn_vdev_get_info(rig.v, &v);
	if (v.running > v.pairs || xn_session_timeout_ms(s) < -1 || xn_session_ctrl_fd(s) < -1)
		abort();
}

static int lowest_free_fd(void)
{
	int fd = fcntl(rig.fds[4], F_DUPFD, 0);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct xn_session *s;
	int pair[2], before, err = 0;

	rig_init();
	before = lowest_free_fd();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) ||
	    xn_session_open(&s, pair[0], rig.v))
		abort();
	for (unsigned i = 0; i < MAX_MESSAGES && bytes > sizeof(struct record) && !err; i++) {
		size_t used = send_one(pair[1], data, bytes);

		data += used;
		bytes -= used;
		err = xn_session_handle(s);
		ask(s);
		drain(pair[1]);
		drive();
	}
	close(pair[1]);
	xn_session_handle(s);
	xn_session_close(s);
	if (lowest_free_fd() != before)
		abort();
	return 0;
}
