/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves, over a socket pair and without root: a vhost-user session does what the
 * specification says of each message, refuses what is wrong without changing
 * anything, keeps or closes every fd, and moves frames meanwhile.
 */
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "base/atomics.h"
#include "engine/dev.h"
#include "tests/unit/session_rig.h"

/* ---- starts that fail ---- */

/* By the linker in the place of xn_queue_start. */
int __real_xn_queue_start(struct xn_queue *q);
int __wrap_xn_queue_start(struct xn_queue *q);

static uint32_t starts_to_fail;

int __wrap_xn_queue_start(struct xn_queue *q)
{
	const uint32_t left = xn_load_once32(&starts_to_fail);

	if (!left)
		return __real_xn_queue_start(q);
	xn_store_once32(&starts_to_fail, left - 1);
	return xn_fail(ENOBUFS, "memory cannot be pinned, says the test");
}

static void fail_starts(uint32_t n)
{
	xn_store_once32(&starts_to_fail, n);
}

/* ---- stops that take their time ---- */

int __real_xn_queue_stop(struct xn_queue *q);
int __wrap_xn_queue_stop(struct xn_queue *q);

static uint32_t stop_ms;

/* As one whose packets do not leave. */
int __wrap_xn_queue_stop(struct xn_queue *q)
{
	usleep(1000 * xn_load_once32(&stop_ms));
	return __real_xn_queue_stop(q);
}

/* ---- the usual life ---- */

static void a_whole_session_moves_frames(void **state)
{
	const unsigned before = open_fds();
	struct rig r;
	uint16_t base;

	rig_run(&r, "loopback");
	assert_int_equal(rig_info(&r).running, 1);
	for (unsigned i = 0; i < 10; i++)
		rig_ping(&r, 0, 60 + 100 * i);
	assert_true(rig_wait_signal(r.call[0]));
	assert_true(rig_wait_signal(r.call[1]));
	assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
	assert_int_equal(base, 10);
	assert_int_equal(front_stop_ring(&r.f, 1, &base), 0);
	assert_int_equal(base, 10);
	assert_int_equal(rig_info(&r).running, 0);
	rig_close(&r);
	assert_int_equal(open_fds(), before);
}

static void without_protocol_features_rings_are_enabled_from_the_start(void **state)
{
	struct rig r;

	rig_open(&r, "loopback", 1);
	assert_int_equal(front_set(&r.f, XN_VU_SET_OWNER, NULL, 0, NULL, 0), 0);
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_FEATURES, VERSION), 0);
	rig_set_mem(&r);
	rig_start_ring(&r, 0, 0);
	rig_start_ring(&r, 1, 0);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void two_pairs_are_two_pairs(void **state)
{
	struct rig r;
	uint64_t n;

	rig_open(&r, "loopback:queues=2", 2);
	rig_negotiate(&r);
	assert_true(r.f.features & BIT(VIRTIO_NET_F_MQ));
	/* Two pairs and a control queue. */
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_QUEUE_NUM, &n), 0);
	assert_int_equal(n, 5);
	rig_set_mem(&r);
	rig_start_pair(&r, 0);
	assert_int_equal(rig_info(&r).running, 1);
	rig_start_pair(&r, 1);
	assert_int_equal(rig_info(&r).running, 2);
	rig_ping(&r, 0, 100);
	rig_ping(&r, 1, 200);
	assert_int_equal(front_stop_ring(&r.f, 2, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 3, NULL), 0);
	assert_int_equal(rig_info(&r).running, 1);
	rig_ping(&r, 0, 300);
	rig_close(&r);
}

static void a_device_that_cannot_be_made_leaves_nothing(void **state)
{
	const unsigned no_cpu = 100000, before = open_fds();
	struct xn_vdev_opts opts = { .pairs = 2, .worker = { .cpus = &no_cpu, .n_cpus = 1 } };
	struct xn_port *port;
	struct xn_vdev *v;

	assert_int_equal(xn_port_open(&port, "null:queues=2", NULL), 0);
	assert_true(xn_vdev_create(&v, port, &opts) < 0);
	opts.pairs = 3;
	opts.worker.n_cpus = 0;
	assert_int_equal(xn_vdev_create(&v, port, &opts), -EINVAL);
	assert_null(v);
	opts.pairs = 2;
	assert_int_equal(xn_vdev_create(&v, port, &opts), 0);
	xn_vdev_destroy(v);
	xn_port_close(port);
	assert_int_equal(open_fds(), before);
}

/* 1000 front ends that come, run, and are gone without a word. */
static void a_thousand_front_ends_leave_nothing(void **state)
{
	struct rig r;
	unsigned before = 0;
	uint64_t began = 0;

	rig_open(&r, "loopback", 1);
	for (unsigned i = 0; i < 1000; i++) {
		rig_negotiate(&r);
		rig_set_mem(&r);
		drv_reset_rings(&r.drv, 1);
		rig_start_pair(&r, 0);
		if (i % 100 == 0)
			rig_ping(&r, 0, 64);
		began = xn_now_ns();
		shutdown(r.f.fd, SHUT_RDWR);
		assert_int_equal(rig_ends(&r), -ENOTCONN);
		assert_true(xn_now_ns() - began < 1000000000ull);
		rig_connect(&r);
		if (!i)
			before = open_fds();
	}
	assert_int_equal(open_fds(), before);
	rig_close(&r);
}

/* Who has made the socket may have asked for more than fds beside a message. */
static void what_else_a_socket_would_tell_is_not_asked_for(void **state)
{
	static const int options[] = { SO_PASSCRED, SO_PASSSEC, 76 /* SO_PASSPIDFD */ };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(options); i++) {
		unsigned before;
		struct rig r;

		rig_open(&r, "loopback", 1);
		assert_int_equal(rig_end(&r), 0);
		r.option = options[i];
		rig_connect(&r);
		rig_negotiate(&r);
		before = open_fds();
		for (unsigned k = 0; k < 10; k++)
			rig_settle(&r);
		assert_int_equal(open_fds(), before);
		rig_set_mem(&r);
		rig_start_pair(&r, 0);
		rig_ping(&r, 0, 100);
		rig_close(&r);
	}
}

/* ---- the stream ---- */

static void send_bytes(const struct rig *r, const void *p, size_t n, const int *fds, unsigned n_fds)
{
	char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)p, .iov_len = n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *c;

		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(r->f.fd, &m, MSG_NOSIGNAL), n);
}

static void a_message_may_come_in_pieces(void **state)
{
	struct rig r;
	struct xn_vu_header h = { XN_VU_SET_MEM_TABLE, XN_VU_VERSION | XN_VU_NEED_REPLY, 40 }, back;
	struct xn_vu_mem_table t = { .nregions = 1, .regions = { { 0, RAM, USER, 0 } } };
	unsigned char all[52];
	uint64_t no = 1;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	memcpy(all, &h, sizeof(h));
	memcpy(all + sizeof(h), &t, 40);
	for (unsigned i = 0; i < sizeof(all); i++) {
		send_bytes(&r, all + i, 1, &r.drv.fd, i ? 0 : 1);
		if (i % 13 == 5) {
			usleep(2000);
			assert_int_equal(front_recv(&r.f, &back, &no, sizeof(no), NULL, NULL, 0),
					 -ETIMEDOUT);
		}
	}
	assert_int_equal(front_recv(&r.f, &back, &no, sizeof(no), NULL, NULL, 2000), 0);
	assert_int_equal(back.request, XN_VU_SET_MEM_TABLE);
	assert_int_equal(back.flags, XN_VU_VERSION | XN_VU_REPLY);
	assert_int_equal(no, 0);
	assert_int_equal(rig_info(&r).regions, 1);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 77);
	rig_close(&r);
}

static void many_messages_in_one_piece_are_all_answered(void **state)
{
	struct xn_vu_header h[100], back;
	struct rig r;
	uint64_t v;

	rig_open(&r, "null", 1);
	for (unsigned i = 0; i < 100; i++)
		h[i] = (struct xn_vu_header){ XN_VU_GET_FEATURES, XN_VU_VERSION, 0 };
	send_bytes(&r, h, sizeof(h), NULL, 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(front_recv(&r.f, &back, &v, 8, NULL, NULL, 2000), 0);
	rig_close(&r);
}

static void what_is_no_message_ends_the_session(void **state)
{
	const struct {
		struct xn_vu_header h;
		unsigned fds, late_fds;
	} cases[] = {
		{ { XN_VU_GET_FEATURES, 0, 0 }, 0, 0 },
		{ { XN_VU_GET_FEATURES, 2, 0 }, 0, 0 },
		{ { XN_VU_GET_FEATURES, 3, 0 }, 1, 0 },
		{ { XN_VU_GET_FEATURES, XN_VU_VERSION | XN_VU_REPLY, 0 }, 0, 0 },
		{ { XN_VU_SET_FEATURES, XN_VU_VERSION, 273 }, 2, 0 },
		{ { XN_VU_SET_FEATURES, XN_VU_VERSION, 5000 }, 0, 0 },
		{ { XN_VU_SET_FEATURES, XN_VU_VERSION, 1u << 31 }, 0, 0 },
		{ { XN_VU_SET_FEATURES, XN_VU_VERSION, 0xffffffff }, 8, 0 },
		{ { XN_VU_SET_MEM_TABLE, XN_VU_VERSION, 264 }, 9, 0 },
		{ { XN_VU_SET_MEM_TABLE, XN_VU_VERSION, 264 }, 15, 0 },
		{ { XN_VU_SET_MEM_TABLE, XN_VU_VERSION, 40 }, 0, 1 },
		{ { XN_VU_SET_MEM_TABLE, XN_VU_VERSION, 40 }, 1, 1 },
		{ { XN_VU_SET_MEM_TABLE, XN_VU_VERSION | XN_VU_NEED_REPLY, 40 }, 1, 8 },
	};
	const char zeros[64] = { 0 };
	struct rig r;
	unsigned before;
	int fds[15];

	rig_open(&r, "null", 1);
	before = open_fds();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		for (unsigned k = 0; k < XN_ARRAY_SIZE(fds); k++)
			fds[k] = r.drv.fd;
		rig_negotiate(&r);
		send_bytes(&r, &cases[i].h, sizeof(cases[i].h), fds, cases[i].fds);
		if (cases[i].late_fds)
			send_bytes(&r, zeros, 40, fds, cases[i].late_fds);
		assert_int_equal(rig_ends(&r), -EPROTO);
		rig_connect(&r);
		assert_int_equal(open_fds(), before);
	}
	rig_negotiate(&r);
	rig_close(&r);
}

static void half_a_message_is_forgotten_with_its_fds(void **state)
{
	const struct xn_vu_header h = { XN_VU_SET_MEM_TABLE, XN_VU_VERSION, 40 };
	struct rig r;
	unsigned before;
	int fds[8];

	rig_open(&r, "null", 1);
	before = open_fds();
	for (unsigned k = 0; k < 8; k++)
		fds[k] = r.drv.fd;
	for (size_t n = 1; n <= sizeof(h); n++) {
		send_bytes(&r, &h, n, fds, 8);
		front_close(&r.f);
		assert_int_equal(rig_ends(&r), -ENOTCONN);
		rig_connect(&r);
		assert_int_equal(open_fds(), before);
	}
	rig_close(&r);
}

static void a_front_end_that_does_not_read_is_let_go(void **state)
{
	const struct xn_vu_header h = { XN_VU_GET_FEATURES, XN_VU_VERSION, 0 };
	struct rig r;

	rig_open(&r, "null", 1);
	for (unsigned i = 0; i < 1000000; i++)
		if (send(r.f.fd, &h, sizeof(h), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(h)) {
			struct pollfd p = { .fd = r.f.fd, .events = POLLOUT };

			if (errno != EAGAIN)
				break;
			poll(&p, 1, 2000);
		}
	assert_int_equal(rig_ends(&r), -EPROTO);
	rig_connect(&r);
	rig_negotiate(&r);
	rig_close(&r);
}

/* ---- what each request looks like ---- */

static const struct shape {
	uint32_t request, min, max;
	unsigned min_fds, max_fds;
	int feature;                    /* of the protocol; -1: none */
} shapes[] = {
	{ XN_VU_GET_FEATURES, 0, 0, 0, 0, -1 },
	{ XN_VU_SET_FEATURES, 8, 8, 0, 0, -1 },
	{ XN_VU_SET_OWNER, 0, 0, 0, 0, -1 },
	{ XN_VU_RESET_OWNER, 0, 0, 0, 0, -1 },
	{ XN_VU_SET_MEM_TABLE, 8, 264, 0, 8, -1 },
	{ XN_VU_SET_LOG_BASE, 16, 16, 1, 1, XN_VU_P_LOG_SHMFD },
	{ XN_VU_SET_LOG_FD, 0, 8, 1, 1, -1 },
	{ XN_VU_SET_VRING_NUM, 8, 8, 0, 0, -1 },
	{ XN_VU_SET_VRING_ADDR, 40, 40, 0, 0, -1 },
	{ XN_VU_SET_VRING_BASE, 8, 8, 0, 0, -1 },
	{ XN_VU_GET_VRING_BASE, 8, 8, 0, 0, -1 },
	{ XN_VU_SET_VRING_KICK, 8, 8, 0, 1, -1 },
	{ XN_VU_SET_VRING_CALL, 8, 8, 0, 1, -1 },
	{ XN_VU_SET_VRING_ERR, 8, 8, 0, 1, -1 },
	{ XN_VU_GET_PROTOCOL_FEATURES, 0, 0, 0, 0, -1 },
	{ XN_VU_SET_PROTOCOL_FEATURES, 8, 8, 0, 0, -1 },
	{ XN_VU_GET_QUEUE_NUM, 0, 0, 0, 0, XN_VU_P_MQ },
	{ XN_VU_SET_VRING_ENABLE, 8, 8, 0, 0, -1 },
	{ XN_VU_SEND_RARP, 8, 8, 0, 0, XN_VU_P_RARP },
	{ XN_VU_NET_SET_MTU, 8, 8, 0, 0, XN_VU_P_MTU },
	{ XN_VU_SET_BACKEND_REQ_FD, 0, 0, 1, 1, XN_VU_P_BACKEND_REQ },
	{ XN_VU_GET_CONFIG, 12, 268, 0, 0, XN_VU_P_CONFIG },
	{ XN_VU_SET_CONFIG, 12, 268, 0, 0, XN_VU_P_CONFIG },
	{ XN_VU_GET_INFLIGHT_FD, 20, 24, 0, 0, XN_VU_P_INFLIGHT_SHMFD },
	{ XN_VU_SET_INFLIGHT_FD, 20, 24, 1, 1, XN_VU_P_INFLIGHT_SHMFD },
	{ XN_VU_RESET_DEVICE, 0, 0, 0, 0, XN_VU_P_RESET_DEVICE },
	{ XN_VU_GET_MAX_MEM_SLOTS, 0, 0, 0, 0, XN_VU_P_CONFIGURE_MEM_SLOTS },
	{ XN_VU_ADD_MEM_REG, 40, 40, 1, 1, XN_VU_P_CONFIGURE_MEM_SLOTS },
	{ XN_VU_REM_MEM_REG, 40, 40, 0, 1, XN_VU_P_CONFIGURE_MEM_SLOTS },
	{ XN_VU_SET_STATUS, 8, 8, 0, 0, XN_VU_P_STATUS },
	{ XN_VU_GET_STATUS, 0, 0, 0, 0, XN_VU_P_STATUS },
};

/* Has an answer of its own: a failure cannot be told. */
static bool is_question(uint32_t request)
{
	return request == XN_VU_GET_FEATURES || request == XN_VU_GET_PROTOCOL_FEATURES ||
	       request == XN_VU_GET_QUEUE_NUM || request == XN_VU_GET_VRING_BASE ||
	       request == XN_VU_GET_CONFIG || request == XN_VU_GET_INFLIGHT_FD ||
	       request == XN_VU_GET_MAX_MEM_SLOTS || request == XN_VU_GET_STATUS;
}

static void wrong_sizes_and_counts_of_fds_are_refused(void **state)
{
	const unsigned char zeros[272] = { 0 };
	struct xn_session_info info;
	struct rig r;
	unsigned before, refused = 0;
	int fds[8];

	rig_open(&r, "null", 1);
	rig_negotiate(&r);
	before = open_fds();
	for (unsigned k = 0; k < 8; k++)
		fds[k] = r.drv.fd;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(shapes); i++) {
		const struct shape *s = &shapes[i];

		if (is_question(s->request))
			continue;
		for (unsigned n = s->min; n-- > 0; refused++)
			assert_false(rig_says_yes(&r, s->request, zeros, n, fds, s->min_fds));
		for (unsigned n = s->max + 1; n <= sizeof(zeros); n++, refused++)
			assert_false(rig_says_yes(&r, s->request, zeros, n, fds, s->min_fds));
		for (unsigned n = s->max_fds + 1; n <= 8; n++, refused++)
			assert_false(rig_says_yes(&r, s->request, zeros, s->min, fds, n));
		for (unsigned n = s->min_fds; n-- > 0; refused++)
			assert_false(rig_says_yes(&r, s->request, zeros, s->min, fds, n));
	}
	assert_int_equal(rig_info(&r).regions, 0);
	assert_int_equal(open_fds(), before);
	info = rig_session_info(&r);
	assert_int_equal(info.refused, refused);
	rig_close(&r);
}

static void unknown_requests_are_refused(void **state)
{
	const uint32_t unknown[] = { 0, XN_VU_IOTLB_MSG, XN_VU_SET_VRING_ENDIAN, 26, 27,
				     XN_VU_POSTCOPY_ADVISE, XN_VU_POSTCOPY_LISTEN, XN_VU_POSTCOPY_END,
				     XN_VU_GPU_SET_SOCKET, XN_VU_VRING_KICK, 41, 42, 43, 255, 256,
				     0x10001, 0x80000001, 0xffffffff };
	const char zeros[40] = { 0 };
	struct rig r;
	unsigned before;

	rig_open(&r, "null", 1);
	rig_negotiate(&r);
	before = open_fds();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(unknown); i++) {
		assert_false(rig_says_yes(&r, unknown[i], zeros, 0, NULL, 0));
		assert_false(rig_says_yes(&r, unknown[i], zeros, sizeof(zeros), &r.drv.fd, 1));
	}
	assert_int_equal(open_fds(), before);
	rig_close(&r);
}

static void requests_of_features_not_agreed_on_are_refused(void **state)
{
	const unsigned char zeros[272] = { 0 };
	struct rig r;

	rig_open(&r, "null", 1);
	assert_int_equal(front_negotiate(&r.f, 0, VERSION, BIT(XN_VU_P_REPLY_ACK)), 0);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(shapes); i++)
		if (shapes[i].feature >= 0 && !is_question(shapes[i].request))
			assert_false(rig_says_yes(&r, shapes[i].request, zeros, shapes[i].min,
						  &r.drv.fd, shapes[i].min_fds));
	rig_close(&r);
}

/* Without a way to say no. */
/* NEED_REPLY changes nothing about them: a u64 would be taken for the answer. */
static void a_question_that_cannot_be_answered_ends_the_session(void **state)
{
	const unsigned char zeros[272] = { 0 };
	const struct xn_vu_vring_state no_ring = { 3, 0 };
	struct rig r;

	rig_open(&r, "null", 1);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(shapes); i++) {
		const struct xn_vu_header h = { shapes[i].request, XN_VU_VERSION | XN_VU_NEED_REPLY,
						shapes[i].max + 1 };

		if (!is_question(shapes[i].request))
			continue;
		rig_negotiate(&r);
		assert_int_equal(front_send(&r.f, &h, zeros, h.size, NULL, 0), 0);
		assert_int_equal(rig_ends(&r), -EPROTO);
		rig_connect(&r);
	}
	rig_negotiate(&r);
	assert_int_equal(front_send(&r.f, &(struct xn_vu_header){ XN_VU_GET_VRING_BASE,
				    XN_VU_VERSION | XN_VU_NEED_REPLY, sizeof(no_ring) }, &no_ring,
				    sizeof(no_ring), NULL, 0), 0);
	assert_int_equal(rig_ends(&r), -EPROTO);
	rig_connect(&r);
	rig_close(&r);
}

static void a_refusal_that_cannot_be_told_ends_the_session(void **state)
{
	struct rig r;

	rig_open(&r, "null", 1);
	rig_negotiate(&r);
	r.f.need_reply = false;
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_FEATURES, ALL), 0);
	assert_int_equal(rig_ends(&r), -EPROTO);

	/* NEED_REPLY, but REPLY_ACK was not agreed on: is not answered. */
	rig_connect(&r);
	assert_int_equal(front_negotiate(&r.f, 0, VERSION, 0), 0);
	r.f.need_reply = true;
	assert_int_equal(front_send(&r.f, &(struct xn_vu_header){ XN_VU_SET_OWNER,
				    XN_VU_VERSION | XN_VU_NEED_REPLY, 0 }, NULL, 0, NULL, 0), 0);
	assert_int_equal(rig_info(&r).regions, 0);
	assert_int_equal(front_send(&r.f, &(struct xn_vu_header){ 255,
				    XN_VU_VERSION | XN_VU_NEED_REPLY, 0 }, NULL, 0, NULL, 0), 0);
	assert_int_equal(rig_ends(&r), -EPROTO);
	rig_connect(&r);
	rig_close(&r);
}

/* ---- features ---- */

static void only_what_was_offered_can_be_accepted(void **state)
{
	struct rig r;
	uint64_t f, p;

	rig_open(&r, "null", 1);
	rig_negotiate(&r);
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_FEATURES, &f), 0);
	assert_int_equal(f & (VERSION | PROTOCOL | LOG_ALL), VERSION | PROTOCOL | LOG_ALL);
	assert_true(f & BIT(VIRTIO_NET_F_MAC) && f & BIT(VIRTIO_NET_F_STATUS) &&
		    f & BIT(VIRTIO_NET_F_MTU) && f & BIT(VIRTIO_NET_F_CTRL_VQ) &&
		    f & BIT(VIRTIO_NET_F_GUEST_ANNOUNCE));
	assert_false(f & BIT(VIRTIO_NET_F_MQ));   /* one pair */
	for (unsigned b = 0; b < 64; b++)
		if (!(f & BIT(b))) {
			uint64_t v = f | BIT(b);

			assert_false(rig_says_yes(&r, XN_VU_SET_FEATURES, &v, 8, NULL, 0));
		}
	assert_int_equal(rig_info(&r).features, VERSION | PROTOCOL);
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_FEATURES, f), 0);
	assert_int_equal(rig_info(&r).features, f);

	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_PROTOCOL_FEATURES, &p), 0);
	assert_int_equal(p, BIT(XN_VU_P_MQ) | BIT(XN_VU_P_LOG_SHMFD) | BIT(XN_VU_P_RARP) |
			 BIT(XN_VU_P_REPLY_ACK) | BIT(XN_VU_P_MTU) | BIT(XN_VU_P_BACKEND_REQ) |
			 BIT(XN_VU_P_CONFIG) | BIT(XN_VU_P_INFLIGHT_SHMFD) |
			 BIT(XN_VU_P_RESET_DEVICE) | BIT(XN_VU_P_CONFIGURE_MEM_SLOTS) |
			 BIT(XN_VU_P_STATUS));
	for (unsigned b = 0; b < 64; b++)
		if (!(p & BIT(b))) {
			uint64_t v = p | BIT(b);

			assert_false(rig_says_yes(&r, XN_VU_SET_PROTOCOL_FEATURES, &v, 8, NULL, 0));
		}
	rig_close(&r);
}

static void features_do_not_change_while_a_ring_runs(void **state)
{
	const uint64_t same = VERSION | PROTOCOL, other = same | BIT(VIRTIO_NET_F_MRG_RXBUF);
	struct rig r;

	rig_run(&r, "loopback");
	assert_true(rig_says_yes(&r, XN_VU_SET_FEATURES, &same, 8, NULL, 0));
	assert_false(rig_says_yes(&r, XN_VU_SET_FEATURES, &other, 8, NULL, 0));
	rig_ping(&r, 0, 100);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	assert_true(rig_says_yes(&r, XN_VU_SET_FEATURES, &other, 8, NULL, 0));
	rig_close(&r);
}

/* A boot program of before virtio 1.0: it gets no network, the next driver does. */
static void a_legacy_driver_is_told_so_and_harms_nobody(void **state)
{
	struct rig r;
	struct front_ring ring;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_FEATURES, PROTOCOL), 0);
	ring = rig_ring(&r, 0, 0);
	assert_int_equal(front_start_ring(&r.f, &ring), -EREMOTEIO);
	assert_true(rig_wait_signal(r.err[0]));
	/* Nor does it end the session where that cannot be said. */
	r.f.need_reply = false;
	assert_int_equal(front_start_ring(&r.f, &ring), 0);
	assert_int_equal(rig_info(&r).running, 0);
	r.f.need_reply = true;
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_FEATURES, PROTOCOL | VERSION), 0);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

/* ---- memory ---- */

static int new_memory(uint64_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static const struct xn_mem *mem_of(struct rig *r)
{
	const struct xn_mem *mem;

	pthread_mutex_lock(&r->lock);
	mem = xn_vdev_dev(r->v)->mem;
	pthread_mutex_unlock(&r->lock);
	return mem;
}

static void bad_memory_tables_change_nothing(void **state)
{
	const struct {
		unsigned n;
		struct front_region r[2];
	} bad[] = {
		{ 1, { { .size = 0 } } },
		{ 1, { { .size = 1 } } },
		{ 1, { { .size = RAM - 1 } } },
		{ 1, { { .size = RAM + 4096 } } },
		{ 1, { { .size = UINT64_MAX } } },
		{ 1, { { .size = ~4095ull } } },
		{ 1, { { .size = 4096, .gpa = 1 } } },
		{ 1, { { .size = 4096, .gpa = ~4095ull, .user_addr = 1 } } },
		{ 1, { { .size = 8192, .gpa = ~4095ull } } },
		{ 1, { { .size = 8192, .user_addr = ~4095ull } } },
		{ 1, { { .size = 4096, .user_addr = 5 } } },
		{ 1, { { .size = 4096, .offset = 12 } } },
		{ 1, { { .size = 4096, .offset = RAM } } },
		{ 1, { { .size = 8192, .offset = ~4095ull } } },
		{ 1, { { .size = 4096, .offset = 1ull << 63 } } },
		{ 2, { { .size = 8192 }, { .size = 8192, .user_addr = USER } } },
		{ 2, { { .size = 8192 }, { .size = 4096, .gpa = 4096, .user_addr = USER } } },
		{ 2, { { .size = 8192 }, { .size = 8192, .gpa = RAM, .user_addr = 4096 } } },
		{ 2, { { .size = 8192 }, { .size = 8192, .gpa = RAM, .user_addr = 0 } } },
	};
	struct rig r;
	unsigned before;

	rig_run(&r, "loopback");
	before = open_fds();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		const struct xn_mem *mem = mem_of(&r);
		struct front_region t[2] = { bad[i].r[0], bad[i].r[1] };

		t[0].fd = t[1].fd = r.drv.fd;
		if (front_set_mem(&r.f, t, bad[i].n) != -EREMOTEIO)
			fail_msg("table %u", i);
		assert_ptr_equal(mem_of(&r), mem);
		assert_int_equal(open_fds(), before);
	}
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void bad_counts_of_regions_are_refused(void **state)
{
	const uint32_t counts[] = { 0, 2, 7, 8, 9, 0x10001, 0xffffffff };
	struct xn_vu_mem_table t = { .nregions = 1, .regions = { { 0, RAM, USER, 0 } } };
	struct rig r;
	int fds[8];

	rig_open(&r, "null", 1);
	rig_negotiate(&r);
	for (unsigned k = 0; k < 8; k++)
		fds[k] = r.drv.fd;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(counts); i++) {
		t.nregions = counts[i];
		assert_false(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 1));
	}
	t.nregions = 1;
	assert_false(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 0));
	assert_false(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 2));
	t.nregions = 2;
	assert_false(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, 40, fds, 2));
	t.nregions = 1;
	assert_true(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 1));
	rig_close(&r);
}

/* Every kind of fd that is none of ours. */
struct zoo {
	int fd[16];
	unsigned n;
};

static void zoo_open(struct zoo *z)
{
	const char name[] = "/tmp/xsknet-test-XXXXXX";
	char path[sizeof(name)];
	int p[2], s[2];

	memcpy(path, name, sizeof(name));
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	*z = (struct zoo){ .n = 0 };
	z->fd[z->n++] = p[0];
	z->fd[z->n++] = p[1];
	z->fd[z->n++] = s[0];
	z->fd[z->n++] = s[1];
	z->fd[z->n++] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	z->fd[z->n++] = open("/dev/null", O_RDWR | O_CLOEXEC);
	z->fd[z->n++] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	z->fd[z->n++] = open("/", O_PATH | O_CLOEXEC);
	z->fd[z->n++] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	z->fd[z->n++] = mkostemp(path, O_CLOEXEC);
	unlink(path);
	z->fd[z->n++] = epoll_create1(EPOLL_CLOEXEC);
	z->fd[z->n++] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	z->fd[z->n++] = (int)syscall(SYS_pidfd_open, getpid(), 0);
	for (unsigned i = 0; i < z->n; i++)
		assert_true(z->fd[i] >= 0);
}

static void zoo_close(const struct zoo *z)
{
	for (unsigned i = 0; i < z->n; i++)
		close(z->fd[i]);
}

static void fds_of_the_wrong_kind_are_refused(void **state)
{
	const uint32_t events[] = { XN_VU_SET_VRING_KICK, XN_VU_SET_VRING_CALL,
				    XN_VU_SET_VRING_ERR };
	const struct xn_vu_log log = { 4096, 0 };
	const struct xn_vu_inflight inflight = { 1 << 16, 0, 2, 256 };
	const uint64_t index = 0;
	struct xn_vu_mem_reg reg = { .region = { 0x10000000, 4096, 0x1000, 0 } };
	struct front_region region;
	struct zoo z;
	struct rig r;
	unsigned before;
	int ro;

	rig_run(&r, "loopback");
	zoo_open(&z);
	z.fd[z.n++] = r.kick[5];   /* none of memory */
	before = open_fds();
	for (unsigned i = 0; i < z.n; i++) {
		if (z.fd[i] == r.kick[5])
			z.fd[i] = r.drv.fd;   /* none of events */
		for (unsigned k = 0; k < XN_ARRAY_SIZE(events); k++)
			if (rig_says_yes(&r, events[k], &index, 8, &z.fd[i], 1))
				fail_msg("event %u of kind %u", k, i);
		if (z.fd[i] == r.drv.fd)
			z.fd[i] = r.kick[5];
		region = rig_region(&r);
		region.fd = z.fd[i];
		assert_int_equal(front_set_mem(&r.f, &region, 1), -EREMOTEIO);
		assert_false(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &reg, sizeof(reg), &z.fd[i], 1));
		assert_false(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &log, sizeof(log), &z.fd[i], 1));
		assert_false(rig_says_yes(&r, XN_VU_SET_INFLIGHT_FD, &inflight, sizeof(inflight),
					  &z.fd[i], 1));
		if (i != 2 && i != 3)
			assert_false(rig_says_yes(&r, XN_VU_SET_BACKEND_REQ_FD, NULL, 0, &z.fd[i], 1));
	}
	assert_int_equal(open_fds(), before);
	z.n--;
	zoo_close(&z);

	/* Memory that may only be read. */
	ro = memfd_create("ro", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(ro, RAM), 0);
	assert_int_equal(fcntl(ro, F_ADD_SEALS, F_SEAL_WRITE), 0);
	region.fd = ro;
	assert_int_equal(front_set_mem(&r.f, &region, 1), -EREMOTEIO);
	assert_false(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &log, sizeof(log), &ro, 1));
	close(ro);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void the_same_table_again_keeps_the_memory(void **state)
{
	const struct xn_mem *mem;
	struct rig r;
	unsigned before;

	rig_run(&r, "loopback");
	before = open_fds();
	mem = mem_of(&r);
	rig_set_mem(&r);
	assert_ptr_equal(mem_of(&r), mem);
	assert_int_equal(open_fds(), before);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

struct guest {
	struct rig *r;
	uint32_t stop;
	uint32_t pings;             /* others read it */
	bool failed;
};

static void *ping_on(void *arg)
{
	struct guest *g = arg;

	while (!xn_load_acquire32(&g->stop) && !g->failed) {
		g->failed = !rig_try_ping(g->r, 0, 60 + g->pings % 1000);
		xn_store_once32(&g->pings, g->pings + 1);
	}
	return NULL;
}

/* It has begun. */
static void await_pings(struct guest *g)
{
	const uint64_t until = xn_now_ns() + WAIT_NS;

	while (xn_load_once32(&g->pings) < 2) {
		assert_true(xn_now_ns() < until);
		usleep(1000);
	}
}

static void memory_is_replaced_in_traffic(void **state)
{
	struct front_region whole, half[2];
	struct guest g = { .stop = 0 };
	pthread_t guest;
	struct rig r;

	rig_run(&r, "loopback");
	g.r = &r;
	whole = half[0] = half[1] = rig_region(&r);
	half[0].size = half[1].size = RAM / 2;
	half[1].gpa = half[1].offset = RAM / 2;
	half[1].user_addr = 0x10000000;
	assert_int_equal(pthread_create(&guest, NULL, ping_on, &g), 0);
	for (unsigned i = 0; i < 30; i++) {
		const struct xn_mem *mem = mem_of(&r);

		assert_int_equal(front_set_mem(&r.f, i & 1 ? &whole : half, i & 1 ? 1 : 2), 0);
		assert_ptr_not_equal(mem_of(&r), mem);
		assert_int_equal(rig_info(&r).running, 1);
		usleep(2000);
	}
	xn_store_release32(&g.stop, 1);
	pthread_join(guest, NULL);
	assert_false(g.failed);
	assert_true(g.pings > 30);
	assert_int_equal(rig_stat(&r, 0, "rx_packets"), g.pings);
	assert_int_equal(rig_stat(&r, 0, "tx_packets"),
			 g.pings + rig_stat(&r, 0, "rx_drop_no_buffer"));
	rig_close(&r);
}

/* A table without the rings that run, or with memory that their start cannot use. */
static void rings_that_run_keep_their_memory(void **state)
{
	struct front_region other;
	struct rig r;

	rig_run(&r, "loopback");
	other = rig_region(&r);
	other.user_addr += RAM;
	assert_int_equal(front_set_mem(&r.f, &other, 1), -EREMOTEIO);
	other = rig_region(&r);
	other.size = 0x3000;   /* ends inside of ring 0 */
	assert_int_equal(front_set_mem(&r.f, &other, 1), -EREMOTEIO);
	rig_ping(&r, 0, 100);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	assert_int_equal(front_set_mem(&r.f, &other, 1), 0);
	rig_close(&r);
}

/* The kernel cannot pin the new memory, say. */
static void a_table_that_cannot_be_started_with_changes_nothing(void **state)
{
	struct front_region half[2];
	const struct xn_mem *mem;
	struct rig r;
	unsigned before;

	rig_run(&r, "loopback");
	before = open_fds();
	mem = mem_of(&r);
	half[0] = half[1] = rig_region(&r);
	half[0].size = half[1].size = RAM / 2;
	half[1].gpa = half[1].offset = RAM / 2;
	half[1].user_addr = USER + RAM / 2;
	fail_starts(1);
	assert_int_equal(front_set_mem(&r.f, half, 2), -EREMOTEIO);
	assert_ptr_equal(mem_of(&r), mem);
	assert_int_equal(rig_info(&r).regions, 1);
	assert_int_equal(rig_info(&r).running, 1);
	assert_int_equal(open_fds(), before);
	rig_ping(&r, 0, 100);
	assert_false(signalled(r.err[0]));

	/* Nor in the old, now: tried once more after a while. */
	fail_starts(2);
	assert_int_equal(front_set_mem(&r.f, half, 2), -EREMOTEIO);
	assert_int_equal(rig_info(&r).running, 0);
	rig_wait_running(&r, 1);
	rig_ping(&r, 0, 100);
	/* And told, if that is in vain. */
	fail_starts(3);
	assert_int_equal(front_set_mem(&r.f, half, 2), -EREMOTEIO);
	assert_true(rig_wait_signal(r.err[0]));
	assert_true(rig_wait_signal(r.err[1]));
	assert_int_equal(rig_info(&r).running, 0);
	assert_int_equal(front_set_mem(&r.f, half, 2), 0);
	rig_wait_running(&r, 1);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

/* Whoever shares memory can take it away. */
static void memory_that_is_cut_off_harms_its_guest_only(void **state)
{
	struct pollfd p = { .events = POLLIN };
	struct front_region region;
	struct rig r;
	uint64_t features;
	int fd;

	assert_int_equal(xn_sigbus_init(), 0);
	xn_sigbus_take();
	rig_open(&r, "loopback", 1);
	fd = new_memory(RAM);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	rig_negotiate(&r);
	region = rig_region(&r);
	region.fd = fd;
	assert_int_equal(front_set_mem(&r.f, &region, 1), 0);
	rig_start_pair(&r, 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	rig_kick(&r, 0);
	rig_kick(&r, 1);
	p.fd = xn_sigbus_fd();
	assert_int_equal(poll(&p, 1, 2000), 1);
	/* It answers, and stops rings as ever. */
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_FEATURES, &features), 0);
	assert_int_equal(front_set_mem(&r.f, &region, 1), -EREMOTEIO);
	/* The memory is back: it begins anew. */
	assert_int_equal(ftruncate(fd, RAM), 0);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	assert_int_equal(front_set_mem(&r.f, &region, 1), 0);
	rig_start_pair(&r, 0);
	assert_int_equal(rig_info(&r).running, 1);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	rig_set_mem(&r);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 100);
	close(fd);
	rig_close(&r);
}

static void memory_slots_come_and_go(void **state)
{
	struct xn_vu_mem_reg reg = { .region = { 0, RAM / 2, USER, 0 } };
	struct xn_vu_mem_reg small = { .region = { 1ull << 32, 4096, 1ull << 32, RAM / 2 } };
	struct rig r;
	uint64_t slots;
	unsigned before;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	before = open_fds();
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_MAX_MEM_SLOTS, &slots), 0);
	assert_int_equal(slots, XN_MEM_MAX_REGIONS);
	assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &reg, sizeof(reg), &r.drv.fd, 1));
	assert_false(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &reg, sizeof(reg), &r.drv.fd, 1));
	rig_start_pair(&r, 0);
	for (unsigned i = 1; i < slots; i++, small.region.gpa += 8192, small.region.user_addr += 4096) {
		assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &small, sizeof(small), &r.drv.fd, 1));
		if (i % 8 == 0)
			rig_ping(&r, 0, 100);
	}
	assert_int_equal(rig_info(&r).regions, slots);
	assert_false(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &small, sizeof(small), &r.drv.fd, 1));
	/* Never there. */
	assert_false(rig_says_yes(&r, XN_VU_REM_MEM_REG, &small, sizeof(small), NULL, 0));
	for (unsigned i = 1; i < slots; i++) {
		small.region.gpa -= 8192;
		small.region.user_addr -= 4096;
		small.region.mmap_offset = 77;   /* is not looked at */
		assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &small, sizeof(small), &r.drv.fd,
					 i & 1));
	}
	rig_ping(&r, 0, 200);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &reg, sizeof(reg), NULL, 0));
	assert_int_equal(rig_info(&r).regions, 0);
	assert_null(mem_of(&r));
	/* Call and error eventfds of two rings stay. */
	assert_int_equal(open_fds(), before + 4);
	rig_close(&r);
}

/* As QEMU tells of a hole in the guest's memory map: away with it, then its parts. */
static void rings_wait_for_memory_that_was_removed(void **state)
{
	struct xn_vu_mem_reg all = { .region = { 0, RAM, USER, 0 } };
	struct xn_vu_mem_reg low = { .region = { 0, 0xa0000, USER, 0 } };
	struct xn_vu_mem_reg high = { .region = { 0xc0000, RAM - 0xc0000, USER + 0xc0000, 0xc0000 } };
	struct rig r;
	uint16_t base;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &all, sizeof(all), &r.drv.fd, 1));
	rig_start_pair(&r, 0);
	for (unsigned i = 0; i < 5; i++) {
		rig_ping(&r, 0, 100);
		assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &all, sizeof(all), NULL, 0));
		assert_int_equal(rig_info(&r).running, 0);
		assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &low, sizeof(low), &r.drv.fd, 1));
		assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &high, sizeof(high), &r.drv.fd, 1));
		rig_wait_running(&r, 1);
		rig_ping(&r, 0, 100);
		/* Both parts of it; the rings lie in the lower. */
		assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &high, sizeof(high), NULL, 0));
		assert_int_equal(rig_info(&r).running, 1);
		assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &low, sizeof(low), NULL, 0));
		assert_int_equal(rig_info(&r).running, 0);
		assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &all, sizeof(all), &r.drv.fd, 1));
	}
	/* It may be stopped while it waits, and knows where it was. */
	assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &all, sizeof(all), NULL, 0));
	assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
	assert_int_equal(base, 10);
	assert_int_equal(front_stop_ring(&r.f, 1, &base), 0);
	assert_int_equal(base, 10);
	rig_close(&r);
}

/* ---- rings ---- */

static bool state_says_yes(struct rig *r, unsigned request, uint32_t index, uint32_t num)
{
	const struct xn_vu_vring_state s = { index, num };

	return rig_says_yes(r, request, &s, sizeof(s), NULL, 0);
}

static void bad_numbers_of_rings_are_refused(void **state)
{
	const uint32_t sizes[] = { 0, 3, 255, 32769, 65535, 65536, 0x10100, 0xffffffff };
	const uint32_t indices[] = { 3, 4, 255, 256, 0x10000, 0x10001, 0xffffffff };
	const uint64_t words[] = { 3, 255, 0x200, 0x10000, 1ull << 32, 1ull << 63, ~0ull };
	const uint32_t events[] = { XN_VU_SET_VRING_KICK, XN_VU_SET_VRING_CALL,
				    XN_VU_SET_VRING_ERR };
	struct rig r;
	unsigned before;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	before = open_fds();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++)
		assert_false(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, sizes[i]));
	for (uint32_t size = 1; size <= 32768; size *= 2)
		assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 2, size));
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_BASE, 0, 65536));
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_BASE, 0, 65535));
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_ENABLE, 0, 2));
	for (unsigned i = 0; i < XN_ARRAY_SIZE(indices); i++) {
		struct xn_vu_vring_addr addr = { .index = indices[i], .desc = USER,
						 .avail = USER + 0x1000, .used = USER + 0x2000 };

		assert_false(state_says_yes(&r, XN_VU_SET_VRING_NUM, indices[i], 256));
		assert_false(state_says_yes(&r, XN_VU_SET_VRING_BASE, indices[i], 0));
		assert_false(state_says_yes(&r, XN_VU_SET_VRING_ENABLE, indices[i], 1));
		assert_false(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0));
	}
	for (unsigned k = 0; k < XN_ARRAY_SIZE(events); k++) {
		const uint64_t none = XN_VU_VRING_NOFD, some = 0;

		for (unsigned i = 0; i < XN_ARRAY_SIZE(words); i++)
			assert_false(rig_says_yes(&r, events[k], &words[i], 8, &r.kick[0], 1));
		assert_false(rig_says_yes(&r, events[k], &none, 8, &r.kick[0], 1));
		assert_false(rig_says_yes(&r, events[k], &some, 8, NULL, 0));
	}
	assert_int_equal(open_fds(), before);
	rig_close(&r);
}

static bool addr_says_yes(struct rig *r, uint64_t desc, uint64_t avail, uint64_t used)
{
	const struct xn_vu_vring_addr a = { .index = 0, .desc = desc, .avail = avail, .used = used };

	return rig_says_yes(r, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
}

static void rings_lie_in_memory_or_nowhere(void **state)
{
	const uint64_t d = USER, a = USER + 0x1000, u = USER + 0x2000, end = USER + RAM;
	struct xn_vu_vring_addr flags = { .index = 0, .flags = 2, .desc = d, .avail = a, .used = u };
	struct front_region half[2];
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 256));
	assert_false(addr_says_yes(&r, d, a, u));                /* no memory yet */
	rig_set_mem(&r);
	assert_true(addr_says_yes(&r, d, a, u));
	assert_false(addr_says_yes(&r, d + 8, a, u));
	assert_false(addr_says_yes(&r, d, a + 1, u));
	assert_false(addr_says_yes(&r, d, a, u + 2));
	assert_false(addr_says_yes(&r, 0, a, u));
	assert_false(addr_says_yes(&r, d, 0, u));
	assert_false(addr_says_yes(&r, d, a, 0));
	assert_false(addr_says_yes(&r, d - 16, a, u));
	assert_false(addr_says_yes(&r, end, a, u));
	assert_false(addr_says_yes(&r, end - 4096 + 16, a, u));
	assert_true(addr_says_yes(&r, end - 4096, a, u));
	assert_false(addr_says_yes(&r, d, end - 516, u));
	assert_true(addr_says_yes(&r, d, end - 518, u));
	assert_false(addr_says_yes(&r, d, a, end - 2052));
	assert_true(addr_says_yes(&r, d, a, end - 2056));
	assert_false(addr_says_yes(&r, ~15ull, a, u));
	assert_false(addr_says_yes(&r, d, ~1ull, u));
	assert_false(addr_says_yes(&r, d, a, ~3ull));
	assert_false(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &flags, sizeof(flags), NULL, 0));
	flags.flags = XN_VU_VRING_LOG;
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &flags, sizeof(flags), NULL, 0));

	/* Neighbours for the guest, not for the front end. */
	half[0] = half[1] = rig_region(&r);
	half[0].size = half[1].size = RAM / 2;
	half[1].gpa = half[1].offset = RAM / 2;
	half[1].user_addr = USER + RAM;
	assert_int_equal(front_set_mem(&r.f, half, 2), 0);
	assert_false(addr_says_yes(&r, USER + RAM / 2 - 2048, a, u));
	assert_false(addr_says_yes(&r, USER + RAM / 2, a, u));
	assert_true(addr_says_yes(&r, USER + RAM, a, u));
	rig_close(&r);
}

/* The size comes after the addresses, and is too large for them. */
static void a_ring_that_does_not_fit_is_not_started(void **state)
{
	const uint64_t index = 0;
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	assert_true(addr_says_yes(&r, USER + RAM - 4096, USER + 0x1000, USER + 0x2000));
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 512));
	assert_false(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &index, 8, &r.kick[0], 1));
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 256));
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &index, 8, &r.kick[0], 1));
	rig_close(&r);
}

static void a_ring_that_runs_does_not_change(void **state)
{
	struct rig r;

	rig_run(&r, "loopback");
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 128));
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_BASE, 0, 7));
	assert_false(addr_says_yes(&r, USER + 0x10000, USER + 0x1000, USER + 0x2000));
	/* QEMU sends the same place again. */
	assert_true(addr_says_yes(&r, USER, USER + 0x1000, USER + 0x2000));
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void the_base_is_where_to_go_on(void **state)
{
	struct rig r;
	uint16_t base;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	/* Never started: what was set. */
	assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
	assert_int_equal(base, 0);
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_BASE, 0, 4711));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
		assert_int_equal(base, 4711);
	}
	/* Buffers that were lent come back: they count as not taken. */
	rig_start_pair(&r, 0);
	for (unsigned i = 0; i < 20; i++)
		drv_post1(&r.drv, 0, 0x100000 + 4096 * i, 2048);
	rig_kick(&r, 0);
	usleep(20000);
	assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
	assert_int_equal(base, 0);
	assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
	assert_int_equal(base, 0);
	assert_true(rig_send(&r, 0));
	assert_int_equal(front_stop_ring(&r.f, 1, &base), 0);
	assert_int_equal(base, 1);
	rig_close(&r);
}

static void a_ring_alone_starts_after_a_while(void **state)
{
	struct rig r;
	uint64_t began;
	uint16_t head;
	uint32_t len;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	began = xn_now_ns();
	rig_start_ring(&r, 1, 0);
	assert_int_equal(front_enable_ring(&r.f, 1, true), 0);
	assert_int_equal(rig_info(&r).running, 0);
	rig_wait_running(&r, 1);
	assert_true(xn_now_ns() - began >= XN_VDEV_GRACE_MS * 1000000ull);
	assert_true(rig_send(&r, 0));
	/* The other comes: at once, both. */
	rig_start_ring(&r, 0, 0);
	assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
	rig_ping(&r, 0, 100);
	/* And goes: the first stays, after a while. */
	drv_post1(&r.drv, 0, 0x100000, 2048);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	rig_wait_running(&r, 1);
	assert_true(rig_send(&r, 0));
	assert_false(drv_used(&r.drv, 0, &head, &len));
	rig_close(&r);
}

/* What is told after the kick may complete a ring, too. */
static void the_order_of_messages_does_not_matter(void **state)
{
	const uint64_t rx = 0, tx = 1;
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &rx, 8, &r.kick[0], 1));
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &tx, 8, &r.kick[1], 1));
	rig_set_mem(&r);
	for (uint32_t i = 0; i < 2; i++) {
		const struct xn_vring v = drv_vring(i);
		const struct xn_vu_vring_addr a = { .index = i, .desc = USER + v.desc_gpa,
						    .avail = USER + v.avail_gpa,
						    .used = USER + v.used_gpa };

		assert_true(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
		assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, i, v.size));
		assert_int_equal(front_enable_ring(&r.f, i, true), 0);
	}
	rig_wait_running(&r, 1);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void eventfds_change_while_the_ring_runs(void **state)
{
	const uint64_t rx = 0, none = XN_VU_VRING_NOFD;
	struct rig r;

	rig_run(&r, "loopback");
	rig_ping(&r, 0, 100);
	assert_true(rig_wait_signal(r.call[0]));
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_CALL, &rx, 8, &r.call[5], 1));
	rig_ping(&r, 0, 100);
	assert_true(rig_wait_signal(r.call[5]));
	assert_false(signalled(r.call[0]));
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_CALL, &none, 8, NULL, 0));
	rig_ping(&r, 0, 100);
	assert_false(signalled(r.call[5]));
	/* Who stops polling is woken once: something may have come meanwhile. */
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_CALL, &rx, 8, &r.call[6], 1));
	assert_true(rig_wait_signal(r.call[6]));
	/* Another kick. */
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &rx, 8, &r.kick[5], 1));
	rig_ping(&r, 0, 100);
	assert_int_equal(rig_info(&r).running, 1);
	rig_close(&r);
}

static void rings_without_kick_are_polled(void **state)
{
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	for (unsigned i = 0; i < 2; i++) {
		struct front_ring ring = rig_ring(&r, i, 0);

		ring.kick_fd = ring.call_fd = ring.err_fd = -1;
		assert_int_equal(front_start_ring(&r.f, &ring), 0);
		assert_int_equal(front_enable_ring(&r.f, i, true), 0);
	}
	for (unsigned i = 0; i < 5; i++) {
		usleep(5000);
		rig_ping(&r, 0, 100);
	}
	rig_close(&r);
}

static void a_disabled_ring_drops(void **state)
{
	struct rig r;
	uint64_t was;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	rig_start_ring(&r, 0, 0);
	rig_start_ring(&r, 1, 0);
	rig_wait_running(&r, 1);          /* in a while, enabled or not */
	assert_true(rig_send(&r, 0));
	assert_int_equal(rig_stat(&r, 0, "tx_drop_disabled"), 1);
	assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
	assert_int_equal(front_enable_ring(&r.f, 1, true), 0);
	rig_ping(&r, 0, 100);
	assert_int_equal(front_enable_ring(&r.f, 0, false), 0);
	was = rig_stat(&r, 0, "rx_packets");
	drv_post1(&r.drv, 0, 0x180000, 2048);
	rig_kick(&r, 0);
	assert_true(rig_send(&r, 0));
	assert_int_equal(rig_stat(&r, 0, "rx_packets"), was);
	/* All of them at once, as old front ends did. */
	assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
	assert_int_equal(front_set(&r.f, XN_VU_RESET_OWNER, NULL, 0, NULL, 0), 0);
	was = rig_stat(&r, 0, "tx_drop_disabled");
	assert_true(rig_send(&r, 0));
	assert_int_equal(rig_stat(&r, 0, "tx_drop_disabled"), was + 1);
	rig_close(&r);
}

/* Front ends start both rings, then enable them. A driver that goes on after a reconnect
 * has packets waiting all the while. */
static void what_waits_for_rings_to_be_enabled_is_sent(void **state)
{
	unsigned in_time = 0;
	struct rig r;

	for (unsigned i = 0; i < 20 || !in_time; i++) {
		uint64_t began;

		rig_open(&r, "null", 1);
		rig_negotiate(&r);
		rig_set_mem(&r);
		memset(r.drv.ram + 0x200000, 0, 12);
		drv_post1(&r.drv, 1, 0x200000, 72);
		began = xn_now_ns();
		rig_start_ring(&r, 0, 0);
		rig_start_ring(&r, 1, 0);
		assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
		assert_int_equal(front_enable_ring(&r.f, 1, true), 0);
		assert_int_equal(rig_info(&r).running, 1);
		/* On a busy machine the grace may be over before. */
		if (xn_now_ns() - began < XN_VDEV_GRACE_MS * 1000000ull) {
			while (!rig_stat(&r, 0, "tx_packets"))
				assert_int_equal(rig_stat(&r, 0, "tx_drop_disabled"), 0);
			in_time++;
		}
		rig_close(&r);
	}
}

/* The parts of a ring lie on each other: found out at the start. */
static void a_ring_that_cannot_start_is_told_by_its_eventfd(void **state)
{
	struct front_ring ring;
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
	assert_int_equal(front_enable_ring(&r.f, 1, true), 0);
	rig_start_ring(&r, 0, 0);
	ring = rig_ring(&r, 1, 0);
	ring.avail = ring.desc;
	assert_int_equal(front_start_ring(&r.f, &ring), -EREMOTEIO);
	assert_true(rig_wait_signal(r.err[1]));
	assert_false(signalled(r.err[0]));
	rig_wait_running(&r, 1);          /* the other one, alone */
	r.f.need_reply = false;
	assert_int_equal(front_start_ring(&r.f, &ring), 0);
	assert_true(rig_wait_signal(r.err[1]));
	r.f.need_reply = true;
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	rig_start_ring(&r, 0, 0);
	fail_starts(1);
	ring = rig_ring(&r, 1, 0);
	assert_int_equal(front_start_ring(&r.f, &ring), -EREMOTEIO);
	assert_true(rig_wait_signal(r.err[1]));
	rig_wait_running(&r, 1);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 100);

	/* Alone, and nobody asks. */
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	fail_starts(1);
	assert_int_equal(front_start_ring(&r.f, &ring), 0);
	assert_true(rig_wait_signal(r.err[1]));
	assert_int_equal(rig_info(&r).running, 0);
	rig_close(&r);
}

/* ---- faults of the guest, status, reset ---- */

static void a_broken_ring_is_told_and_begins_anew(void **state)
{
	struct rig r;
	uint64_t status;

	rig_run(&r, "loopback");
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_STATUS, 15), 0);
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_STATUS, &status), 0);
	assert_int_equal(status, 15);
	drv_avail(&r.drv, 0)->idx = 5000;
	rig_kick(&r, 0);
	assert_true(rig_wait_signal(r.err[0]));
	rig_kick(&r, 0);
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_STATUS, &status), 0);
	assert_int_equal(status, 15 | XN_VU_STATUS_NEEDS_RESET);
	assert_int_equal(rig_info(&r).broken, 1);
	/* A front end that adds to the status sends that bit back. */
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_STATUS, status), 0);
	assert_true(rig_send(&r, 0));     /* the other ring goes on */
	assert_false(signalled(r.err[0]));
	assert_false(signalled(r.err[1]));

	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	drv_reset_rings(&r.drv, 1);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 100);
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_STATUS, &status), 0);
	assert_int_equal(status, 15);
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_STATUS, 256), -EREMOTEIO);
	rig_close(&r);
}

static void reset_in_traffic(struct rig *r, int request, unsigned bytes)
{
	const uint64_t zero = 0;
	struct guest g = { .r = r };
	pthread_t guest;
	uint16_t base;

	assert_int_equal(pthread_create(&guest, NULL, ping_on, &g), 0);
	await_pings(&g);
	assert_true(rig_says_yes(r, (unsigned)request, &zero, bytes, NULL, 0));
	assert_int_equal(rig_info(r).running, 0);
	xn_store_release32(&g.stop, 1);
	pthread_join(guest, NULL);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(front_stop_ring(&r->f, i, &base), 0);
		assert_int_equal(base, 0);
	}
	drv_reset_rings(&r->drv, 1);
}

static void pairs_are_stopped_together(void **state)
{
	uint64_t from;
	struct rig r;

	rig_open(&r, "loopback:queues=4", 4);
	rig_negotiate(&r);
	rig_set_mem(&r);
	for (unsigned p = 0; p < 4; p++)
		rig_start_pair(&r, p);
	assert_int_equal(rig_info(&r).running, 4);
	xn_store_once32(&stop_ms, 200);
	from = xn_now_ns();
	assert_true(rig_says_yes(&r, XN_VU_RESET_DEVICE, NULL, 0, NULL, 0));
	assert_int_equal(rig_info(&r).running, 0);
	assert_true(xn_now_ns() - from < 400000000);
	drv_reset_rings(&r.drv, 4);
	for (unsigned p = 0; p < 4; p++)
		rig_start_pair(&r, p);
	rig_ping(&r, 3, 100);
	from = xn_now_ns();
	rig_close(&r);
	assert_true(xn_now_ns() - from < 400000000);
	xn_store_once32(&stop_ms, 0);
}

static void a_reset_leaves_what_front_ends_do_not_say_again(void **state)
{
	const struct { int request; unsigned bytes; } how[] = { { XN_VU_RESET_DEVICE, 0 },
								{ XN_VU_SET_STATUS, 8 } };
	struct rig r;

	rig_run(&r, "loopback");
	for (unsigned i = 0; i < XN_ARRAY_SIZE(how); i++) {
		reset_in_traffic(&r, how[i].request, how[i].bytes);
		/* As QEMU starts again: no memory slots, no calls, no protocol features. */
		for (unsigned k = 0; k < 2; k++) {
			const struct front_ring ring = rig_ring(&r, k, 0);
			const struct xn_vu_vring_addr a = { .index = k, .desc = ring.desc,
							    .avail = ring.avail, .used = ring.used };
			const uint64_t index = k;

			assert_int_equal(front_enable_ring(&r.f, k, true), 0);
			assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, k, ring.size));
			assert_true(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
			assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &index, 8, &r.kick[k], 1));
		}
		while (signalled(r.call[0]))
			;
		rig_ping(&r, 0, 100);
		assert_true(rig_wait_signal(r.call[0]));
	}
	rig_close(&r);
}

/* ---- configuration space ---- */

static size_t get_config(struct rig *r, uint32_t offset, uint32_t size, uint32_t bytes,
			 struct xn_vu_config *out)
{
	struct xn_vu_config ask = { .offset = offset, .size = size };
	size_t got = 99999;

	assert_int_equal(front_get(&r->f, XN_VU_GET_CONFIG, &ask, bytes, out, sizeof(*out), &got,
				   NULL), 0);
	return got;
}

static void the_configuration_space_can_be_read(void **state)
{
	const struct { uint32_t offset, size, bytes; } bad[] = {
		{ 0, 257, 268 }, { 1, 256, 268 }, { 0xffffffff, 1, 13 }, { 0xffffffff, 256, 268 },
		{ 1, 0xffffffff, 13 }, { 0xffffffff, 0xffffffff, 12 }, { 0, 12, 23 }, { 0, 12, 25 },
		{ 257, 0, 12 },
	};
	struct xn_vu_config c;
	struct virtio_net_config net;
	struct rig r;

	rig_open(&r, "loopback:queues=2", 2);
	rig_negotiate(&r);
	assert_int_equal(get_config(&r, 0, 256, 268, &c), 268);
	memcpy(&net, c.data, sizeof(net));
	assert_memory_equal(net.mac, rig_mac, 6);
	assert_int_equal(net.status, VIRTIO_NET_S_LINK_UP);
	assert_int_equal(net.max_virtqueue_pairs, 2);
	assert_int_equal(net.mtu, 1500);
	assert_int_equal(net.speed, 0xffffffff);
	assert_int_equal(net.duplex, 0xff);
	for (unsigned i = sizeof(net); i < 256; i++)
		assert_int_equal(c.data[i], 0);
	assert_int_equal(get_config(&r, 10, 2, 14, &c), 14);
	assert_int_equal(c.data[0] | c.data[1] << 8, 1500);
	assert_int_equal(get_config(&r, 256, 0, 12, &c), 12);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_int_equal(get_config(&r, bad[i].offset, bad[i].size, bad[i].bytes, &c), 0);

	c = (struct xn_vu_config){ .size = 6 };
	assert_false(rig_says_yes(&r, XN_VU_SET_CONFIG, &c, 18, NULL, 0));
	c.flags = 1;
	assert_false(rig_says_yes(&r, XN_VU_SET_CONFIG, &c, 18, NULL, 0));
	/* A guest that writes there does not end the session. */
	r.f.need_reply = false;
	assert_int_equal(front_set(&r.f, XN_VU_SET_CONFIG, &c, 18, NULL, 0), 0);
	assert_int_equal(get_config(&r, 0, 6, 18, &c), 18);
	assert_memory_equal(c.data, rig_mac, 6);
	rig_close(&r);
}

static void the_mtu_is_what_fits_the_port(void **state)
{
	const uint64_t bad[] = { 0, 1, 67, 1501, 65535, 65536, 65636, 1ull << 32 | 1500, ~0ull };
	struct xn_vu_config c;
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_int_equal(front_set_u64(&r.f, XN_VU_NET_SET_MTU, bad[i]), -EREMOTEIO);
	assert_int_equal(front_set_u64(&r.f, XN_VU_NET_SET_MTU, 68), 0);
	assert_int_equal(get_config(&r, 10, 2, 14, &c), 14);
	assert_int_equal(c.data[0] | c.data[1] << 8, 68);
	assert_int_equal(front_set_u64(&r.f, XN_VU_NET_SET_MTU, 1500), 0);
	rig_close(&r);
}

static void an_announcement_is_made_for_stations_only(void **state)
{
	uint64_t mac = 0;
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	assert_int_equal(front_set_u64(&r.f, XN_VU_SEND_RARP, 0), -EREMOTEIO);
	assert_int_equal(front_set_u64(&r.f, XN_VU_SEND_RARP, ~0ull), -EREMOTEIO);
	memcpy(&mac, rig_mac, sizeof(rig_mac));
	assert_int_equal(front_set_u64(&r.f, XN_VU_SEND_RARP, mac), 0);
	rig_close(&r);
}

static void a_change_of_configuration_is_told_and_never_waits(void **state)
{
	struct xn_session_info info;
	struct xn_vu_header h;
	struct rig r;
	unsigned before;
	int back[2];

	rig_open(&r, "null", 1);
	rig_negotiate(&r);
	before = open_fds();
	rig_config_changed(&r);   /* nobody listens */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, back), 0);
		assert_true(rig_says_yes(&r, XN_VU_SET_BACKEND_REQ_FD, NULL, 0, &back[1], 1));
		close(back[1]);
		if (i != 2)
			close(back[0]);
	}
	rig_info(&r);
	rig_config_changed(&r);
	assert_int_equal(read(back[0], &h, sizeof(h)), sizeof(h));
	assert_int_equal(h.request, XN_VU_BACK_CONFIG_CHANGE_MSG);
	assert_int_equal(h.flags, XN_VU_VERSION);
	assert_int_equal(h.size, 0);
	/* It asks where nothing was asked; and does not read. */
	assert_int_equal(write(back[0], &h, sizeof(h)), sizeof(h));
	for (unsigned i = 0; i < 100000; i++)
		rig_config_changed(&r);
	info = rig_session_info(&r);
	assert_true(info.back_channel);
	close(back[0]);
	rig_config_changed(&r);
	info = rig_session_info(&r);
	assert_false(info.back_channel);
	assert_int_equal(open_fds(), before);
	rig_close(&r);
}

/* A page whose first access waits until somebody answers for it. NULL: cannot be had. */
static void *page_that_waits(int *uffd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	void *p = mmap(NULL, XN_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	reg.range.start = (uintptr_t)p;
	reg.range.len = XN_PAGE_SIZE;
	if (*uffd < 0 || p == MAP_FAILED || ioctl(*uffd, UFFDIO_API, &api) ||
	    ioctl(*uffd, UFFDIO_REGISTER, &reg))
		return NULL;
	return p;
}

struct reader { int fd; void *to; };

static void *read_into(void *arg)
{
	const struct reader *r = arg;

	(void)!recv(r->fd, r->to, 8, 0);
	return NULL;
}

static void whoever_reads_the_back_channel_holds_nobody_up(void **state)
{
	struct uffdio_zeropage zero = { .range.len = XN_PAGE_SIZE };
	struct reader reader;
	pthread_t t;
	struct rig r;
	int back[2], uffd;

	reader.to = page_that_waits(&uffd);
	if (!reader.to)
		skip();     /* userfaultfd, for accesses by the kernel, needs a privilege */
	rig_open(&r, "null", 1);
	rig_negotiate(&r);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, back), 0);
	assert_true(rig_says_yes(&r, XN_VU_SET_BACKEND_REQ_FD, NULL, 0, &back[1], 1));
	/* The front end reads at our end, and waits with what it reads in its hands. */
	assert_int_equal(write(back[0], "12345678", 8), 8);
	reader.fd = back[1];
	assert_int_equal(pthread_create(&t, NULL, read_into, &reader), 0);
	usleep(20000);
	alarm(10);
	rig_config_changed(&r);
	alarm(0);
	zero.range.start = (uintptr_t)reader.to;
	assert_int_equal(ioctl(uffd, UFFDIO_ZEROPAGE, &zero), 0);
	pthread_join(t, NULL);
	munmap(reader.to, XN_PAGE_SIZE);
	close(uffd);
	close(back[0]);
	close(back[1]);
	rig_close(&r);
}

/* ---- dirty log, inflight area ---- */

static void bad_logs_are_refused(void **state)
{
	const struct xn_vu_log bad[] = {
		{ 0, 0 }, { 255, 0 }, { 4097, 0 }, { 4096, 4096 }, { 4096, 8 }, { 4096, 1ull << 63 },
		{ UINT64_MAX - 4095, 8192 }, { UINT64_MAX, 0 }, { 4096, ~4095ull },
	};
	struct rig r;
	unsigned before;
	int fd;

	rig_run(&r, "loopback");
	fd = new_memory(4096);
	before = open_fds();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_false(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &bad[i], sizeof(bad[i]), &fd, 1));
	assert_true(rig_says_yes(&r, XN_VU_SET_LOG_FD, NULL, 0, &r.kick[5], 1));
	assert_int_equal(open_fds(), before);
	close(fd);
	rig_close(&r);
}

static void pages_that_are_written_are_logged(void **state)
{
	const uint64_t logged = VERSION | PROTOCOL | LOG_ALL, not_logged = VERSION | PROTOCOL;
	const struct xn_vu_log log = { RAM / 4096 / 8, 4096 };
	const unsigned page = 0x100000 / 4096, used_page = 0x2000 / 4096;
	struct rig r;
	uint8_t *bits;
	int fd;

	rig_run(&r, "loopback");
	fd = new_memory(8192);
	bits = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(bits, MAP_FAILED);
	assert_true(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &log, sizeof(log), &fd, 1));
	rig_ping(&r, 0, 100);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(bits[i], 0);
	assert_true(rig_says_yes(&r, XN_VU_SET_FEATURES, &logged, 8, NULL, 0));
	assert_true(rig_info(&r).logging);
	rig_ping(&r, 0, 100);
	assert_true(bits[4096 + page / 8] >> page % 8 & 1);
	assert_true(bits[4096 + used_page / 8] >> used_page % 8 & 1);
	/* The next log, in traffic. */
	memset(bits, 0, 8192);
	assert_true(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &log, sizeof(log), &fd, 1));
	rig_ping(&r, 0, 100);
	assert_true(bits[4096 + page / 8] >> page % 8 & 1);
	memset(bits, 0, 8192);
	assert_true(rig_says_yes(&r, XN_VU_SET_FEATURES, &not_logged, 8, NULL, 0));
	assert_false(rig_info(&r).logging);
	rig_ping(&r, 0, 100);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(bits[i], 0);
	munmap(bits, 8192);
	close(fd);
	rig_close(&r);
}

static int get_inflight(struct rig *r, struct xn_vu_inflight *i)
{
	int fd = -1;

	assert_int_equal(front_get(&r->f, XN_VU_GET_INFLIGHT_FD, i, sizeof(*i), i, sizeof(*i), NULL,
				   &fd), 0);
	return fd;
}

static void inflight_areas_are_made_as_asked(void **state)
{
	const struct { uint16_t n, size; } bad[] = { { 0, 256 }, { 4, 256 }, { 129, 256 },
						     { 65535, 256 }, { 2, 0 }, { 2, 32769 },
						     { 2, 65535 } };
	struct xn_vu_inflight i;
	struct rig r;
	unsigned before, maps;
	int fd;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	before = open_fds();
	for (unsigned k = 0; k < XN_ARRAY_SIZE(bad); k++) {
		i = (struct xn_vu_inflight){ .num_queues = bad[k].n, .queue_size = bad[k].size };
		assert_int_equal(get_inflight(&r, &i), -1);
		assert_int_equal(i.mmap_size, 0);
	}
	for (maps = 0; maps < 1000; maps++) {
		i = (struct xn_vu_inflight){ .num_queues = 2, .queue_size = 256 };
		fd = get_inflight(&r, &i);
		assert_true(fd >= 0);
		assert_true(i.mmap_size >= 2 * xn_inflight_bytes(256));
		assert_int_equal(i.mmap_offset, 0);
		assert_int_equal(ftruncate(fd, 0), -1);   /* sealed */
		close(fd);
	}
	assert_true(rig_info(&r).inflight);
	assert_int_equal(open_fds(), before);
	rig_close(&r);
}

static bool set_inflight(struct rig *r, uint64_t size, uint64_t offset, uint16_t n, uint16_t rings,
			 int fd)
{
	const struct xn_vu_inflight i = { size, offset, n, rings };

	return rig_says_yes(r, XN_VU_SET_INFLIGHT_FD, &i, sizeof(i), &fd, 1);
}

static void bad_inflight_areas_are_refused(void **state)
{
	const uint64_t needed = 2 * xn_inflight_bytes(256), all = 0x4000;
	struct rig r;
	unsigned before;
	int fd;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	fd = new_memory(all);
	before = open_fds();
	assert_false(set_inflight(&r, all, 0, 0, 256, fd));
	assert_false(set_inflight(&r, all, 0, 4, 256, fd));
	assert_false(set_inflight(&r, all, 0, 65535, 256, fd));
	assert_false(set_inflight(&r, all, 0, 2, 0, fd));
	assert_false(set_inflight(&r, all, 0, 2, 65535, fd));
	assert_false(set_inflight(&r, all, 0, 2, 32768, fd));
	assert_false(set_inflight(&r, needed - 1, 0, 2, 256, fd));
	assert_false(set_inflight(&r, 0, 0, 2, 256, fd));
	assert_false(set_inflight(&r, all + 4096, 0, 2, 256, fd));
	assert_false(set_inflight(&r, all, 4096, 2, 256, fd));
	assert_false(set_inflight(&r, needed, 64, 2, 256, fd));
	assert_false(set_inflight(&r, ~4095ull, 8192, 2, 256, fd));
	assert_int_equal(open_fds(), before);
	assert_true(set_inflight(&r, needed, 0, 2, 256, fd));
	/* Rings that do not fit it; it does not fit rings. */
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 512));
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 256));
	assert_false(set_inflight(&r, all, 0, 2, 128, fd));
	rig_start_pair(&r, 0);
	assert_false(set_inflight(&r, needed, 0, 2, 256, fd));
	rig_ping(&r, 0, 100);
	close(fd);
	rig_close(&r);
}

/* The process that had the rings is gone; what it had taken is in the area. */
static void rings_go_on_behind_what_was_in_flight(void **state)
{
	struct xn_vu_inflight i = { .num_queues = 2, .queue_size = DRV_SIZE };
	struct rig r;
	int fd;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	fd = get_inflight(&r, &i);
	assert_true(fd >= 0);
	rig_set_mem(&r);
	rig_start_pair(&r, 0);
	for (unsigned k = 0; k < 5; k++)
		rig_ping(&r, 0, 100);
	shutdown(r.f.fd, SHUT_RDWR);
	assert_int_equal(rig_ends(&r), -ENOTCONN);
	rig_connect(&r);
	rig_negotiate(&r);
	rig_set_mem(&r);
	assert_true(set_inflight(&r, i.mmap_size, i.mmap_offset, 2, DRV_SIZE, fd));
	rig_start_pair(&r, 0);            /* the base says 0; the area knows better */
	for (unsigned k = 0; k < 5; k++)
		rig_ping(&r, 0, 100);
	assert_int_equal(drv_pending(&r.drv, 0), 0);
	close(fd);
	rig_close(&r);
}

/* ---- the control queue ---- */

#define CTRL_AT 0x380000ull

/* VQ_PAIRS_SET (VIRTIO 1.2, 5.1.6.5.5) on vring q; what is acknowledged. */
static uint8_t ctrl_pairs(struct rig *r, unsigned q, uint16_t pairs)
{
	uint8_t *at = r->drv.ram + CTRL_AT;
	const struct vring_desc chain[] = { { CTRL_AT, 2, VRING_DESC_F_NEXT, 1 },
					    { CTRL_AT + 2, 2, VRING_DESC_F_NEXT, 2 },
					    { CTRL_AT + 4, 1, VRING_DESC_F_WRITE, 0 } };
	struct vring_avail *avail = drv_avail(&r->drv, q);
	const uint16_t idx = avail->idx;
	const uint64_t until = xn_now_ns() + WAIT_NS;

	at[0] = VIRTIO_NET_CTRL_MQ;
	at[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
	memcpy(at + 2, &pairs, sizeof(pairs));
	at[4] = 0x55;
	memcpy(drv_desc(&r->drv, q), chain, sizeof(chain));
	avail->ring[idx % DRV_SIZE] = 0;
	xn_store_release16(&avail->idx, (uint16_t)(idx + 1));
	rig_kick(r, q);
	while (xn_load_acquire16(&drv_used_ring(&r->drv, q)->idx) != (uint16_t)(idx + 1)) {
		if (xn_now_ns() > until)
			return 0xff;
		usleep(100);
	}
	return at[4];
}

static void the_control_queue_says_how_many_pairs_are_used(void **state)
{
	const uint64_t features = BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ);
	struct rig r;
	uint64_t was;

	rig_open(&r, "loopback:queues=2", 2);
	assert_int_equal(front_negotiate(&r.f, features, VERSION | features, ALL), 0);
	rig_set_mem(&r);
	memset(r.drv.ram + 4 * DRV_RING_BYTES, 0, DRV_RING_BYTES);
	rig_start_pair(&r, 0);
	rig_start_pair(&r, 1);
	rig_start_ring(&r, 4, 0);
	/* A driver that has said nothing yet uses one. */
	rig_ping(&r, 0, 100);
	was = rig_stat(&r, 1, "tx_drop_disabled");
	assert_true(rig_send(&r, 1));
	assert_int_equal(rig_stat(&r, 1, "tx_drop_disabled"), was + 1);
	assert_int_equal(ctrl_pairs(&r, 4, 2), VIRTIO_NET_OK);
	rig_ping(&r, 1, 100);
	assert_int_equal(ctrl_pairs(&r, 4, 3), VIRTIO_NET_ERR);
	assert_int_equal(ctrl_pairs(&r, 4, 0), VIRTIO_NET_ERR);
	rig_ping(&r, 1, 100);
	/* Memory goes on, the number stays. */
	{
		struct front_region half[2] = { rig_region(&r), rig_region(&r) };

		half[0].size = half[1].size = RAM / 2;
		half[1].gpa = half[1].offset = RAM / 2;
		half[1].user_addr = USER + RAM / 2;
		assert_int_equal(front_set_mem(&r.f, half, 2), 0);
	}
	rig_ping(&r, 1, 100);
	assert_int_equal(ctrl_pairs(&r, 4, 1), VIRTIO_NET_OK);
	was = rig_stat(&r, 1, "tx_drop_disabled");
	assert_true(rig_send(&r, 1));
	assert_int_equal(rig_stat(&r, 1, "tx_drop_disabled"), was + 1);
	assert_int_equal(front_stop_ring(&r.f, 4, NULL), 0);
	rig_close(&r);
}

/* VIRTIO 1.2, 5.1.2: it is vring 2 then, however many pairs there could be. */
static void without_mq_the_control_queue_is_behind_the_first_pair(void **state)
{
	const uint64_t ctrl = BIT(VIRTIO_NET_F_CTRL_VQ);
	struct rig r;

	rig_open(&r, "loopback:queues=2", 2);
	assert_int_equal(front_negotiate(&r.f, ctrl, VERSION | ctrl, ALL), 0);
	rig_set_mem(&r);
	memset(r.drv.ram + 4 * DRV_RING_BYTES, 0, DRV_RING_BYTES);
	rig_start_pair(&r, 0);
	rig_start_ring(&r, 2, 0);
	/* What is told of another ring lets the device look for pairs to start. */
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 4, 256));
	usleep(3 * XN_VDEV_GRACE_MS * 1000);
	assert_int_equal(rig_info(&r).running, 1);
	assert_false(signalled(r.err[2]));
	assert_int_equal(ctrl_pairs(&r, 2, 1), VIRTIO_NET_ERR);
	rig_ping(&r, 0, 100);
	assert_int_equal(front_stop_ring(&r.f, 2, NULL), 0);
	rig_close(&r);
}

/* ---- what is said in the log ---- */

static void count_line(void *arg, enum xn_log_level level, const char *line)
{
	++*(unsigned *)arg;
}

static void ten_thousand_refusals_are_a_few_lines(void **state)
{
	const uint64_t began = xn_now_ns();
	struct front_region bad;
	struct rig r;
	unsigned lines = 0, before;

	rig_run(&r, "loopback");
	bad = rig_region(&r);
	bad.offset = 1;
	before = open_fds();
	xn_set_log(count_line, &lines, XN_LOG_DEBUG);
	for (unsigned i = 0; i < 5000; i++) {
		assert_int_equal(front_set_u64(&r.f, XN_VU_SET_FEATURES, ALL), -EREMOTEIO);
		assert_int_equal(front_set_mem(&r.f, &bad, 1), -EREMOTEIO);
	}
	xn_set_log(NULL, NULL, XN_LOG_ERROR);
	assert_true(lines <= 10 * (1 + (xn_now_ns() - began) / 1000000000ull));
	assert_int_equal(open_fds(), before);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_session_moves_frames),
		cmocka_unit_test(without_protocol_features_rings_are_enabled_from_the_start),
		cmocka_unit_test(two_pairs_are_two_pairs),
		cmocka_unit_test(a_device_that_cannot_be_made_leaves_nothing),
		cmocka_unit_test(a_thousand_front_ends_leave_nothing),
		cmocka_unit_test(what_else_a_socket_would_tell_is_not_asked_for),
		cmocka_unit_test(a_message_may_come_in_pieces),
		cmocka_unit_test(many_messages_in_one_piece_are_all_answered),
		cmocka_unit_test(what_is_no_message_ends_the_session),
		cmocka_unit_test(half_a_message_is_forgotten_with_its_fds),
		cmocka_unit_test(a_front_end_that_does_not_read_is_let_go),
		cmocka_unit_test(wrong_sizes_and_counts_of_fds_are_refused),
		cmocka_unit_test(unknown_requests_are_refused),
		cmocka_unit_test(requests_of_features_not_agreed_on_are_refused),
		cmocka_unit_test(a_question_that_cannot_be_answered_ends_the_session),
		cmocka_unit_test(a_refusal_that_cannot_be_told_ends_the_session),
		cmocka_unit_test(only_what_was_offered_can_be_accepted),
		cmocka_unit_test(features_do_not_change_while_a_ring_runs),
		cmocka_unit_test(a_legacy_driver_is_told_so_and_harms_nobody),
		cmocka_unit_test(bad_memory_tables_change_nothing),
		cmocka_unit_test(bad_counts_of_regions_are_refused),
		cmocka_unit_test(fds_of_the_wrong_kind_are_refused),
		cmocka_unit_test(the_same_table_again_keeps_the_memory),
		cmocka_unit_test(memory_is_replaced_in_traffic),
		cmocka_unit_test(rings_that_run_keep_their_memory),
		cmocka_unit_test(a_table_that_cannot_be_started_with_changes_nothing),
		cmocka_unit_test(memory_that_is_cut_off_harms_its_guest_only),
		cmocka_unit_test(memory_slots_come_and_go),
		cmocka_unit_test(rings_wait_for_memory_that_was_removed),
		cmocka_unit_test(bad_numbers_of_rings_are_refused),
		cmocka_unit_test(rings_lie_in_memory_or_nowhere),
		cmocka_unit_test(a_ring_that_does_not_fit_is_not_started),
		cmocka_unit_test(a_ring_that_runs_does_not_change),
		cmocka_unit_test(the_base_is_where_to_go_on),
		cmocka_unit_test(a_ring_alone_starts_after_a_while),
		cmocka_unit_test(the_order_of_messages_does_not_matter),
		cmocka_unit_test(eventfds_change_while_the_ring_runs),
		cmocka_unit_test(rings_without_kick_are_polled),
		cmocka_unit_test(a_disabled_ring_drops),
		cmocka_unit_test(what_waits_for_rings_to_be_enabled_is_sent),
		cmocka_unit_test(a_ring_that_cannot_start_is_told_by_its_eventfd),
		cmocka_unit_test(a_broken_ring_is_told_and_begins_anew),
		cmocka_unit_test(pairs_are_stopped_together),
		cmocka_unit_test(a_reset_leaves_what_front_ends_do_not_say_again),
		cmocka_unit_test(the_configuration_space_can_be_read),
		cmocka_unit_test(the_mtu_is_what_fits_the_port),
		cmocka_unit_test(an_announcement_is_made_for_stations_only),
		cmocka_unit_test(a_change_of_configuration_is_told_and_never_waits),
		cmocka_unit_test(whoever_reads_the_back_channel_holds_nobody_up),
		cmocka_unit_test(bad_logs_are_refused),
		cmocka_unit_test(pages_that_are_written_are_logged),
		cmocka_unit_test(inflight_areas_are_made_as_asked),
		cmocka_unit_test(bad_inflight_areas_are_refused),
		cmocka_unit_test(rings_go_on_behind_what_was_in_flight),
		cmocka_unit_test(the_control_queue_says_how_many_pairs_are_used),
		cmocka_unit_test(without_mq_the_control_queue_is_behind_the_first_pair),
		cmocka_unit_test(ten_thousand_refusals_are_a_few_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
