/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves, over a socket pair and without root: a vhost-user session does what the
 * specification says of each message, refuses what is wrong without changing
 * anything, keeps or closes every fd, and moves frames meanwhile. (Of memory and rings:
 * test_session_mem.c, test_session_ring.c.)
 */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "tests/unit/session_rig.h"

/* ---- the usual life ---- */

static void a_whole_session_moves_frames(void **state)
{
	const unsigned before = open_fds();
	struct rig r;
	uint32_t base;

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

	rig_open(&r, "loopback", 1);
	for (unsigned i = 0; i < 1000; i++) {
		rig_negotiate(&r);
		rig_set_mem(&r);
		drv_reset_rings(&r.drv, 1);
		rig_start_pair(&r, 0);
		if (i % 100 == 0)
			rig_ping(&r, 0, 64);
		shutdown(r.f.fd, SHUT_RDWR);
		assert_int_equal(rig_ends(&r), -ENOTCONN);
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
	assert_int_equal(front_recv(&r.f, &back, &no, sizeof(no), NULL, NULL, WAIT_NS / 1000000), 0);
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
		assert_int_equal(front_recv(&r.f, &back, &v, 8, NULL, NULL, WAIT_NS / 1000000), 0);
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
			poll(&p, 1, WAIT_NS / 1000000);
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

/* A boot program from before virtio 1.0, and the driver of after. */
static void a_legacy_driver_is_served_and_so_is_the_next_one(void **state)
{
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	/* With the header of 12 bytes. */
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_FEATURES,
				       PROTOCOL | BIT(VIRTIO_NET_F_MRG_RXBUF)), 0);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 100);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	/* What such a driver cannot have said. */
	assert_int_not_equal(front_set_u64(&r.f, XN_VU_SET_FEATURES,
					   PROTOCOL | BIT(VIRTIO_F_RING_PACKED)), 0);
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_FEATURES, PROTOCOL | VERSION), 0);
	drv_reset_rings(&r.drv, 1);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 100);
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
	alarm(120);
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
		cmocka_unit_test(a_legacy_driver_is_served_and_so_is_the_next_one),
		cmocka_unit_test(the_configuration_space_can_be_read),
		cmocka_unit_test(the_mtu_is_what_fits_the_port),
		cmocka_unit_test(an_announcement_is_made_for_stations_only),
		cmocka_unit_test(a_change_of_configuration_is_told_and_never_waits),
		cmocka_unit_test(whoever_reads_the_back_channel_holds_nobody_up),
		cmocka_unit_test(ten_thousand_refusals_are_a_few_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
