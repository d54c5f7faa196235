/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages as such: their form, their numbers, their order, and the fds that come with
 * them. Expected is what docs/interop/vhost-user.rst says; where it says nothing, that
 * the session stays in step or ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/vhost/rig.h"

#define NEED (XN_VU_VERSION | XN_VU_NEED_REPLY)

/* Every request, with the length of its payload (of the shortest one). */
static const struct form {
	uint32_t request, bytes;
	const char *name;
} forms[] = {
	{ XN_VU_GET_FEATURES, 0, "GET_FEATURES" },
	{ XN_VU_SET_FEATURES, 8, "SET_FEATURES" },
	{ XN_VU_SET_OWNER, 0, "SET_OWNER" },
	{ XN_VU_RESET_OWNER, 0, "RESET_OWNER" },
	{ XN_VU_SET_MEM_TABLE, 8 + 32, "SET_MEM_TABLE" },
	{ XN_VU_SET_LOG_BASE, 16, "SET_LOG_BASE" },
	{ XN_VU_SET_LOG_FD, 0, "SET_LOG_FD" },
	{ XN_VU_SET_VRING_NUM, 8, "SET_VRING_NUM" },
	{ XN_VU_SET_VRING_ADDR, 40, "SET_VRING_ADDR" },
	{ XN_VU_SET_VRING_BASE, 8, "SET_VRING_BASE" },
	{ XN_VU_GET_VRING_BASE, 8, "GET_VRING_BASE" },
	{ XN_VU_SET_VRING_KICK, 8, "SET_VRING_KICK" },
	{ XN_VU_SET_VRING_CALL, 8, "SET_VRING_CALL" },
	{ XN_VU_SET_VRING_ERR, 8, "SET_VRING_ERR" },
	{ XN_VU_GET_PROTOCOL_FEATURES, 0, "GET_PROTOCOL_FEATURES" },
	{ XN_VU_SET_PROTOCOL_FEATURES, 8, "SET_PROTOCOL_FEATURES" },
	{ XN_VU_GET_QUEUE_NUM, 0, "GET_QUEUE_NUM" },
	{ XN_VU_SET_VRING_ENABLE, 8, "SET_VRING_ENABLE" },
	{ XN_VU_SEND_RARP, 8, "SEND_RARP" },
	{ XN_VU_NET_SET_MTU, 8, "NET_SET_MTU" },
	{ XN_VU_SET_BACKEND_REQ_FD, 0, "SET_BACKEND_REQ_FD" },
	{ XN_VU_GET_CONFIG, 12 + 6, "GET_CONFIG" },
	{ XN_VU_SET_CONFIG, 12 + 6, "SET_CONFIG" },
	{ XN_VU_GET_INFLIGHT_FD, 20, "GET_INFLIGHT_FD" },
	{ XN_VU_SET_INFLIGHT_FD, 20, "SET_INFLIGHT_FD" },
	{ XN_VU_RESET_DEVICE, 0, "RESET_DEVICE" },
	{ XN_VU_GET_MAX_MEM_SLOTS, 0, "GET_MAX_MEM_SLOTS" },
	{ XN_VU_ADD_MEM_REG, 40, "ADD_MEM_REG" },
	{ XN_VU_REM_MEM_REG, 40, "REM_MEM_REG" },
	{ XN_VU_SET_STATUS, 8, "SET_STATUS" },
	{ XN_VU_GET_STATUS, 0, "GET_STATUS" },
};

/* A payload whose numbers are good, so that only the form is wrong. */
static void good_payload(const struct guest *g, uint32_t request, union xn_vu_payload *p)
{
	memset(p, 0, sizeof(*p));
	switch (request) {
	case XN_VU_SET_FEATURES: p->u64 = g->front.acked; break;
	case XN_VU_SET_PROTOCOL_FEATURES: p->u64 = g->front.protocol_acked; break;
	case XN_VU_SET_VRING_NUM: p->state.num = 256; break;
	case XN_VU_SET_VRING_ENABLE: p->state.num = 1; break;
	case XN_VU_SET_VRING_KICK:
	case XN_VU_SET_VRING_CALL:
	case XN_VU_SET_VRING_ERR: p->u64 = XN_VU_VRING_NOFD; break;
	case XN_VU_NET_SET_MTU: p->u64 = 1500; break;
	case XN_VU_GET_CONFIG:
	case XN_VU_SET_CONFIG: p->config.size = 6; break;
	case XN_VU_GET_INFLIGHT_FD: p->inflight.num_queues = 2; p->inflight.queue_size = 256; break;
	default: break;
	}
}

/* The header's size and the payload are longer or shorter than the request's. */
static void wrong_size(const struct form *f, int more)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	union xn_vu_payload p;
	uint32_t size = (uint32_t)((int)f->bytes + more);

	good_payload(g, f->request, &p);
	check_nack(g, ask_raw(g, f->request, NEED, size, &p, size, NULL, 0));
}

static void too_short(const void *arg) { wrong_size(arg, -1); }
static void too_long(const void *arg) { wrong_size(arg, 9); }

/* fds that nobody wants. They may be refused or closed; main looks that none stays. */
static void eight_fds(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	const struct form *f = arg;
	union xn_vu_payload p;
	int fds[8];

	for (unsigned i = 0; i < 8; i++)
		fds[i] = own_fd(eventfd(0, EFD_CLOEXEC));
	good_payload(g, f->request, &p);
	ask_raw(g, f->request, NEED, f->bytes, &p, f->bytes, fds, 8);
	check_in_step(g);
}

/* ---- framing ---- */

struct frame_arg { uint32_t request, flags, size, bytes; };

static void refused_frame(const void *arg)
{
	const struct frame_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	static const uint8_t zero[8192];

	check_nack(g, ask_raw(g, a->request, a->flags, a->size, zero, a->bytes, NULL, 0));
}

/* Not to be refused with certainty; the session stays in step, or ends. */
static void odd_frame(const void *arg)
{
	const struct frame_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	static const uint8_t zero[64];

	ask_raw(g, a->request, a->flags, a->size, zero, a->bytes, NULL, 0);
	check_in_step(g);
}

static void hang_up_after(const void *arg)
{
	const unsigned *bytes = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED });
	const struct xn_vu_header h = { XN_VU_SET_FEATURES, NEED, 8 };
	uint8_t m[20] = { 0 };
	int fd = own_fd(eventfd(0, EFD_CLOEXEC));

	memcpy(m, &h, sizeof(h));
	CHECK(send(g->front.fd, m, *bytes, MSG_NOSIGNAL) == (ssize_t)*bytes, "send");
	nap_ms(5);
	guest_hang_up(g);
	(void)fd;
}

/* One byte at a time, with an fd on each byte if asked for. */
static void dribble(struct guest *g, const void *m, size_t bytes, int fd)
{
	for (size_t i = 0; i < bytes; i++) {
		struct iovec iov = { .iov_base = (char *)m + i, .iov_len = 1 };
		union { struct cmsghdr c; char room[CMSG_SPACE(sizeof(int))]; } ctl;
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

		if (fd >= 0) {
			memset(&ctl, 0, sizeof(ctl));
			msg.msg_control = &ctl;
			msg.msg_controllen = sizeof(ctl);
			ctl.c.cmsg_level = SOL_SOCKET;
			ctl.c.cmsg_type = SCM_RIGHTS;
			ctl.c.cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(&ctl.c), &fd, sizeof(fd));
		}
		if (sendmsg(g->front.fd, &msg, MSG_NOSIGNAL) != 1)
			return;         /* closed: as good */
		if (i % 7 == 3)
			nap_ms(1);
	}
}

static void slow_message(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED });
	const struct xn_vu_header h = { XN_VU_GET_FEATURES, XN_VU_VERSION, 0 };
	struct xn_vu_header back;
	uint64_t v;

	dribble(g, &h, sizeof(h), -1);
	CHECK(!front_recv(&g->front, &back, &v, sizeof(v), NULL, NULL, SOON_MS),
	      "no answer: %s", g->front.error);
	CHECK(back.request == XN_VU_GET_FEATURES && back.size == 8, "a wrong answer");
}

static void fds_on_each_byte(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	struct { struct xn_vu_header h; uint64_t v; } m = {
		{ XN_VU_SET_VRING_CALL, XN_VU_VERSION, 8 }, 0,
	};

	dribble(g, &m, 20, own_fd(eventfd(0, EFD_CLOEXEC)));
	nap_ms(20);
	guest_hang_up(g);
}

static void fds_on_payload(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	const struct xn_vu_header h = { XN_VU_SET_VRING_CALL, XN_VU_VERSION, 8 };
	const uint64_t v = 0;
	int fd = own_fd(eventfd(0, EFD_CLOEXEC));

	CHECK(send(g->front.fd, &h, sizeof(h), MSG_NOSIGNAL) == sizeof(h), "send");
	nap_ms(5);
	dribble(g, &v, 1, fd);
	nap_ms(5);
	guest_hang_up(g);
}

static void many_fds(const void *arg)
{
	const unsigned *n = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	const uint64_t v = 0;
	int fds[253], one = own_fd(eventfd(0, EFD_CLOEXEC));

	for (unsigned i = 0; i < *n; i++)
		fds[i] = one;
	check_nack(g, ask(g, XN_VU_SET_VRING_CALL, &v, sizeof(v), fds, *n));
}

static void two_at_once(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED });
	const struct xn_vu_header h[2] = { { XN_VU_GET_FEATURES, XN_VU_VERSION, 0 },
					   { XN_VU_GET_PROTOCOL_FEATURES, XN_VU_VERSION, 0 } };
	struct xn_vu_header back;
	uint64_t v;

	CHECK(send(g->front.fd, h, sizeof(h), MSG_NOSIGNAL) == sizeof(h), "send");
	for (unsigned i = 0; i < 2; i++) {
		CHECK(!front_recv(&g->front, &back, &v, sizeof(v), NULL, NULL, SOON_MS),
		      "no answer: %s", g->front.error);
		CHECK(back.request == h[i].request, "answers are out of order");
	}
}

/* A thousand questions before the first answer is read. */
static void unread_answers(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED });
	const struct xn_vu_header h = { XN_VU_GET_FEATURES, XN_VU_VERSION, 0 };
	unsigned sent = 0;

	while (sent < 100000 && send(g->front.fd, &h, sizeof(h), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		sent++;
	CHECK(daemon_number(&the_daemon, "messages") > 0, "no statistics");
	CHECK(sent > 100, "only %u questions were taken", sent);
}

static void no_reply_ack_unknown(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .no_reply_ack = true });

	ask_raw(g, 250, XN_VU_VERSION, 0, NULL, 0, NULL, 0);
	check_in_step(g);
}

static void need_reply_not_agreed(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .no_reply_ack = true, .stage = MEMORY });
	const struct xn_vu_header h = { XN_VU_SET_OWNER, NEED, 0 };

	CHECK(!front_send(&g->front, &h, NULL, 0, NULL, 0), "%s", g->front.error);
	check_in_step(g);
}

/* ---- features ---- */

static void unoffered_feature(const void *arg)
{
	const unsigned *bit = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	uint64_t v = g->front.acked | BIT(*bit);

	CHECK(!(g->front.features & BIT(*bit)), "it is offered");
	check_nack(g, ask(g, XN_VU_SET_FEATURES, &v, sizeof(v), NULL, 0));
}

static void unoffered_protocol_feature(const void *arg)
{
	const unsigned *bit = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	uint64_t v = g->front.protocol_acked | BIT(*bit);

	CHECK(!(g->front.protocol_features & BIT(*bit)), "it is offered");
	check_nack(g, ask(g, XN_VU_SET_PROTOCOL_FEATURES, &v, sizeof(v), NULL, 0));
}

static void all_features(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t v = UINT64_MAX;

	check_nack(g, ask(g, XN_VU_SET_FEATURES, &v, sizeof(v), NULL, 0));
}

static void features_while_running(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t v = g->front.acked | BIT(VIRTIO_NET_F_MRG_RXBUF);

	CHECK(g->front.features & BIT(VIRTIO_NET_F_MRG_RXBUF), "MRG_RXBUF is not offered");
	check_loop(g, 4);
	check_nack(g, ask(g, XN_VU_SET_FEATURES, &v, sizeof(v), NULL, 0));
}

static void same_features_while_running(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t v = g->front.acked;

	check_loop(g, 4);
	check_accepted(ask(g, XN_VU_SET_FEATURES, &v, sizeof(v), NULL, 0));
	check_loop(g, 4);
}

static void without_version_1(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	uint64_t v = BIT(XN_VU_F_PROTOCOL_FEATURES);

	/* QEMU says this when a guest resets its device: not to be used, not to be refused
	 * for certain. */
	ask(g, XN_VU_SET_FEATURES, &v, sizeof(v), NULL, 0);
	check_in_step(g);
}

static void offers(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	const uint64_t must = BIT(VIRTIO_F_VERSION_1) | BIT(XN_VU_F_PROTOCOL_FEATURES);
	const uint64_t never = BIT(VIRTIO_F_ACCESS_PLATFORM) | BIT(VIRTIO_NET_F_RSC_EXT);

	CHECK((g->front.features & must) == must, "VERSION_1 or protocol features are not offered");
	CHECK(!(g->front.features & never), "features are offered that do not exist: %#llx",
	      (unsigned long long)(g->front.features & never));
	CHECK(g->front.protocol_features & BIT(XN_VU_P_REPLY_ACK), "REPLY_ACK is not offered");
	CHECK(!(g->front.protocol_features & (BIT(XN_VU_P_PAGEFAULT) | BIT(XN_VU_P_CRYPTO_SESSION) |
					      BIT(XN_VU_P_HOST_NOTIFIER))),
	      "protocol features are offered that do not exist");
}

/* Cloud Hypervisor refuses a back end that has fewer than its vrings (2 for one pair); crosvm
 * makes a device with so many, and hands the last one over as the control queue. */
static void counts_vrings(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	uint64_t n, pairs = daemon_number(&the_daemon, "guest.pairs");

	CHECK(!front_get_u64(&g->front, XN_VU_GET_QUEUE_NUM, &n), "%s", g->front.error);
	CHECK(n == 2 * pairs + !!(g->front.features & BIT(VIRTIO_NET_F_CTRL_VQ)), "%llu for %llu pairs",
	      (unsigned long long)n, (unsigned long long)pairs);
}

/* ---- order ---- */

/* As the very first message, before anything was agreed. */
static void first_message(const void *arg)
{
	const struct form *f = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED });
	union xn_vu_payload p;

	good_payload(g, f->request, &p);
	ask_raw(g, f->request, XN_VU_VERSION, f->bytes, &p, f->bytes, NULL, 0);
	check_in_step(g);
}

/* Its protocol feature was not agreed. */
static void gated(const void *arg)
{
	const struct form *f = arg;
	struct guest *g = guest_open(&(struct guest_cfg){
		.stage = NEGOTIATED, .without_protocol = ~BIT(XN_VU_P_REPLY_ACK) });
	union xn_vu_payload p;

	good_payload(g, f->request, &p);
	check_nack(g, ask(g, f->request, &p, f->bytes, NULL, 0));
}

static void owner_twice(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });

	ask(g, XN_VU_SET_OWNER, NULL, 0, NULL, 0);
	check_in_step(g);
	if (g->front.fd >= 0 && !front_get_u64(&g->front, XN_VU_GET_FEATURES, &(uint64_t){ 0 }))
		check_loop(g, 4);
}

static void addr_before_memory(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	struct front_ring r = guest_front_ring(g, TX);
	struct xn_vu_vring_addr a = { .index = TX, .desc = r.desc, .used = r.used, .avail = r.avail };

	ask(g, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	check_in_step(g);
}

static void kick_first(const void *arg)
{
	const enum stage *stage = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = *stage });
	const uint64_t v = TX;

	ring_kick(&g->ring[TX]);
	ask(g, XN_VU_SET_VRING_KICK, &v, sizeof(v), &g->ring[TX].kick, 1);
	check_in_step(g);
	nap_ms(5);
}

/* The usual order turned round: enabled first, kick, then addresses. */
static void reversed_order(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	uint64_t v;

	guest_enable(g);
	for (unsigned i = 0; i < 2; i++) {
		v = i;
		ask(g, XN_VU_SET_VRING_KICK, &v, sizeof(v), &g->ring[i].kick, 1);
	}
	guest_start_rings(g);
	check_in_step(g);
}

static void rings_without_features(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED });

	front_set(&g->front, XN_VU_SET_OWNER, NULL, 0, NULL, 0);
	guest_set_mem(g);
	guest_start_rings(g);
	check_in_step(g);
}

/* ---- vring index and number ---- */

struct state_arg { uint32_t request, index, num; };

static void refused_state(const void *arg)
{
	const struct state_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	const struct xn_vu_vring_state s = { a->index, a->num };

	check_nack(g, ask(g, a->request, &s, sizeof(s), NULL, 0));
}

static void refused_addr(const void *arg)
{
	const uint32_t *index = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	struct front_ring r = guest_front_ring(g, TX);
	struct xn_vu_vring_addr a = { .index = *index, .desc = r.desc, .used = r.used,
				      .avail = r.avail };

	check_nack(g, ask(g, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
}

struct u64_arg { uint32_t request; uint64_t v; };

static void refused_u64(const void *arg)
{
	const struct u64_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	int fd = own_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

	check_nack(g, ask(g, a->request, &a->v, sizeof(a->v), &fd, 1));
}

static void refused_u64_no_fd(const void *arg)
{
	const struct u64_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });

	check_nack(g, ask(g, a->request, &a->v, sizeof(a->v), NULL, 0));
}

static void change_while_running(const void *arg)
{
	const struct state_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const struct xn_vu_vring_state s = { a->index, a->num };

	check_loop(g, 4);
	check_nack(g, ask(g, a->request, &s, sizeof(s), NULL, 0));
}

static void legal_num(const void *arg)
{
	const struct state_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	const struct xn_vu_vring_state s = { a->index, a->num };

	check_accepted(ask(g, XN_VU_SET_VRING_NUM, &s, sizeof(s), NULL, 0));
}

/* ---- over and over ---- */

static void num_over_and_over(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	struct footprint a = { 0 }, b;

	for (unsigned i = 0; i < 20000; i++) {
		const struct xn_vu_vring_state s = { i & 1, i & 2 ? 32768 : 256 };

		if (i == 1000)
			daemon_footprint(&the_daemon, &a);
		CHECK(!front_set(&g->front, XN_VU_SET_VRING_NUM, &s, sizeof(s), NULL, 0), "%s",
		      g->front.error);
	}
	CHECK(!daemon_grew(&the_daemon, &a, &b, 512), "grew from %u fds, %llu KiB to %u, %llu",
	      a.fds, (unsigned long long)a.rss_kb, b.fds, (unsigned long long)b.rss_kb);
}

static void fds_over_and_over(const void *arg)
{
	const uint32_t *request = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct footprint a = { 0 }, b;
	int fd = own_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

	for (unsigned i = 0; i < 2000; i++) {
		const uint64_t v = i & 1;

		if (i == 10)
			daemon_footprint(&the_daemon, &a);
		ask(g, *request, &v, sizeof(v), &fd, 1);
	}
	daemon_footprint(&the_daemon, &b);
	CHECK(b.fds <= a.fds, "grew from %u fds to %u", a.fds, b.fds);
	check_in_step(g);
}

/* ---- registration ---- */

static void add_form_cases(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];

		if (f->bytes)
			add_case(too_short, f, "V2", "%s one byte short: NACK", f->name);
		if (f->request != XN_VU_GET_CONFIG && f->request != XN_VU_SET_CONFIG)
			add_case(too_long, f, "V2", "%s nine bytes long: NACK", f->name);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++)
		add_case(eight_fds, &forms[i], "V3", "%s with 8 fds: none stays", forms[i].name);
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++)
		add_case(first_message, &forms[i], "V7", "%s as the first message", forms[i].name);
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++)
		switch (forms[i].request) {
		case XN_VU_SET_LOG_BASE:
		case XN_VU_SEND_RARP:
		case XN_VU_NET_SET_MTU:
		case XN_VU_SET_BACKEND_REQ_FD:
		case XN_VU_GET_CONFIG:
		case XN_VU_SET_CONFIG:
		case XN_VU_GET_INFLIGHT_FD:
		case XN_VU_SET_INFLIGHT_FD:
		case XN_VU_RESET_DEVICE:
		case XN_VU_GET_MAX_MEM_SLOTS:
		case XN_VU_ADD_MEM_REG:
		case XN_VU_REM_MEM_REG:
		case XN_VU_SET_STATUS:
		case XN_VU_GET_STATUS:
			add_case(gated, &forms[i], "V7", "%s whose feature was not agreed: NACK",
				 forms[i].name);
			break;
		default:
			break;
		}
}

static void add_frame_cases(void)
{
	static const unsigned cut[] = { 1, 4, 11, 12, 15, 19 };
	static const uint32_t sizes[] = { 5000, 1u << 31, UINT32_MAX, 65536 };
	static struct frame_arg size_args[2 * ARRAY_SIZE(sizes)];
	static const uint32_t unknown[] = {
		0, XN_VU_IOTLB_MSG, XN_VU_SET_VRING_ENDIAN, 26, 27, XN_VU_POSTCOPY_ADVISE,
		XN_VU_POSTCOPY_LISTEN, XN_VU_POSTCOPY_END, XN_VU_GPU_SET_SOCKET, XN_VU_VRING_KICK, 41,
		42, 43, 255, 256 + XN_VU_SET_OWNER, 1u << 31, UINT32_MAX,
	};
	static struct frame_arg unknown_args[ARRAY_SIZE(unknown)];
	static const struct frame_arg reply = { XN_VU_SET_OWNER, NEED | XN_VU_REPLY, 0, 0 },
		v0 = { XN_VU_SET_OWNER, XN_VU_NEED_REPLY, 0, 0 },
		v2 = { XN_VU_SET_OWNER, XN_VU_NEED_REPLY | 2, 0, 0 },
		v3 = { XN_VU_SET_OWNER, XN_VU_NEED_REPLY | 3, 0, 0 },
		high = { XN_VU_SET_OWNER, NEED | 0xfffffff0u, 0, 0 };
	static const unsigned n_fds[] = { 9, 64, 253 };

	for (unsigned i = 0; i < ARRAY_SIZE(cut); i++)
		add_case(hang_up_after, &cut[i], "V1", "front end hangs up after byte %u of 20", cut[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_args[2 * i] = (struct frame_arg){ XN_VU_SET_FEATURES, NEED, sizes[i], 0 };
		size_args[2 * i + 1] = (struct frame_arg){ XN_VU_SET_FEATURES, NEED, sizes[i], 5000 };
		add_case(refused_frame, &size_args[2 * i], "V2", "header promises %u bytes: NACK",
			 sizes[i]);
		add_case(refused_frame, &size_args[2 * i + 1], "V2",
			 "header promises %u bytes, 5000 follow: NACK", sizes[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
		unknown_args[i] = (struct frame_arg){ unknown[i], NEED, 0, 0 };
		add_case(refused_frame, &unknown_args[i], "V6", "unknown request %u: NACK", unknown[i]);
	}
	add_case(odd_frame, &reply, "V6", "reply flag in a request");
	add_case(odd_frame, &v0, "V6", "version 0");
	add_case(odd_frame, &v2, "V6", "version 2");
	add_case(odd_frame, &v3, "V6", "version 3");
	add_case(odd_frame, &high, "V6", "unknown flags");
	add_case(no_reply_ack_unknown, NULL, "V6", "unknown request without REPLY_ACK");
	add_case(need_reply_not_agreed, NULL, "V6", "need_reply without REPLY_ACK");
	add_case(slow_message, NULL, "V1", "message in single bytes: works");
	add_case(two_at_once, NULL, "V1", "two messages in one piece: both are answered, in order");
	add_case(unread_answers, NULL, "V1", "questions whose answers nobody reads");
	add_case(fds_on_each_byte, NULL, "V3", "an fd on each byte of a message: none stays");
	add_case(fds_on_payload, NULL, "V3", "an fd beside the payload, which never ends: none stays");
	for (unsigned i = 0; i < ARRAY_SIZE(n_fds); i++)
		add_case(many_fds, &n_fds[i], "V3", "SET_VRING_CALL with %u fds: NACK", n_fds[i]);
}

static void add_feature_cases(void)
{
	static const unsigned bits[] = {
		VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6,
		VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_HOST_UFO, VIRTIO_F_ANY_LAYOUT, 31,
		VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_RESET, 38, 41,
		VIRTIO_NET_F_RSS,
		VIRTIO_NET_F_RSC_EXT, VIRTIO_NET_F_STANDBY,
	};
	static const unsigned protocol[] = {
		XN_VU_P_CROSS_ENDIAN, XN_VU_P_CRYPTO_SESSION, XN_VU_P_PAGEFAULT,
		XN_VU_P_HOST_NOTIFIER, XN_VU_P_INBAND_NOTIFICATIONS, 17, 40, 63,
	};

	add_case(offers, NULL, "V8", "offers what it must and nothing that it cannot");
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		add_case(unoffered_feature, &bits[i], "V8", "SET_FEATURES with unoffered bit %u: NACK",
			 bits[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(protocol); i++)
		add_case(unoffered_protocol_feature, &protocol[i], "V8",
			 "SET_PROTOCOL_FEATURES with unoffered bit %u: NACK", protocol[i]);
	add_case(all_features, NULL, "V8", "SET_FEATURES with all bits while running: NACK");
	add_case(features_while_running, NULL, "V8", "SET_FEATURES with other bits while running: NACK");
	add_case(same_features_while_running, NULL, "V8", "SET_FEATURES with the same bits while running");
	add_case(without_version_1, NULL, "V8", "SET_FEATURES without VERSION_1");
}

static void add_order_cases(void)
{
	static const enum stage negotiated = NEGOTIATED, memory = MEMORY;

	add_case(counts_vrings, NULL, "V7", "GET_QUEUE_NUM counts vrings, with the control queue");
	add_case(owner_twice, NULL, "V7", "SET_OWNER twice");
	add_case(addr_before_memory, NULL, "V7", "SET_VRING_ADDR before SET_MEM_TABLE");
	add_case(kick_first, &negotiated, "V7", "SET_VRING_KICK before memory");
	add_case(kick_first, &memory, "V7", "SET_VRING_KICK before NUM and ADDR");
	add_case(reversed_order, NULL, "V7", "ENABLE and KICK before NUM and ADDR");
	add_case(rings_without_features, NULL, "V7", "rings started without SET_FEATURES");
}

static void add_number_cases(void)
{
	static const struct { uint32_t request; const char *name; } state[] = {
		{ XN_VU_SET_VRING_NUM, "SET_VRING_NUM" }, { XN_VU_SET_VRING_BASE, "SET_VRING_BASE" },
		{ XN_VU_GET_VRING_BASE, "GET_VRING_BASE" },
		{ XN_VU_SET_VRING_ENABLE, "SET_VRING_ENABLE" },
	}, u64s[] = {
		{ XN_VU_SET_VRING_KICK, "SET_VRING_KICK" }, { XN_VU_SET_VRING_CALL, "SET_VRING_CALL" },
		{ XN_VU_SET_VRING_ERR, "SET_VRING_ERR" },
	};
	static const uint32_t index[] = { 5, 130, 256, 0x10000, 0x10001, 0x80000000u, UINT32_MAX };
	static const uint64_t u64_index[] = { 5, 0xff, 0x10001, BIT(32), BIT(63) | 1 };
	static const uint32_t num[] = { 0, 3, 255, 32769, 65535, 65536, 65536 + 256, UINT32_MAX };
	static const uint32_t good_num[] = { 1, 2, 32768 };
	static const uint32_t base[] = { 65536, 0x80000001u, UINT32_MAX };
	static struct state_arg args[128];
	static struct u64_arg u64_args[64];
	unsigned a = 0, u = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(index); i++) {
		for (unsigned r = 0; r < ARRAY_SIZE(state); r++) {
			args[a] = (struct state_arg){ state[r].request, index[i], 1 };
			add_case(refused_state, &args[a++], "V11", "%s of vring %#x: NACK",
				 state[r].name, index[i]);
		}
		add_case(refused_addr, &index[i], "V11", "SET_VRING_ADDR of vring %#x: NACK", index[i]);
	}
	for (unsigned r = 0; r < ARRAY_SIZE(u64s); r++) {
		for (unsigned i = 0; i < ARRAY_SIZE(u64_index); i++) {
			u64_args[u] = (struct u64_arg){ u64s[r].request, u64_index[i] };
			add_case(refused_u64, &u64_args[u++], "V11", "%s of %#llx: NACK", u64s[r].name,
				 (unsigned long long)u64_index[i]);
		}
		u64_args[u] = (struct u64_arg){ u64s[r].request, TX };
		add_case(refused_u64_no_fd, &u64_args[u++], "V4", "%s without its fd: NACK", u64s[r].name);
		u64_args[u] = (struct u64_arg){ u64s[r].request, TX | XN_VU_VRING_NOFD };
		add_case(refused_u64, &u64_args[u++], "V4", "%s says no fd and has one: NACK",
			 u64s[r].name);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(num); i++) {
		args[a] = (struct state_arg){ XN_VU_SET_VRING_NUM, TX, num[i] };
		add_case(refused_state, &args[a++], "V12", "SET_VRING_NUM %u: NACK", num[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(good_num); i++) {
		args[a] = (struct state_arg){ 0, TX, good_num[i] };
		add_case(legal_num, &args[a++], "V12", "SET_VRING_NUM %u: works", good_num[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(base); i++) {
		args[a] = (struct state_arg){ XN_VU_SET_VRING_BASE, TX, base[i] };
		add_case(refused_state, &args[a++], "V11", "SET_VRING_BASE %u: NACK", base[i]);
	}
	args[a] = (struct state_arg){ XN_VU_SET_VRING_NUM, TX, 128 };
	add_case(change_while_running, &args[a++], "V12", "SET_VRING_NUM smaller while running: NACK");
	args[a] = (struct state_arg){ XN_VU_SET_VRING_NUM, RX, 32768 };
	add_case(change_while_running, &args[a++], "V12", "SET_VRING_NUM larger while running: NACK");
	args[a] = (struct state_arg){ XN_VU_SET_VRING_BASE, TX, 77 };
	add_case(change_while_running, &args[a++], "V12", "SET_VRING_BASE while running: NACK");
}

void add_msg_cases(void)
{
	static const uint32_t kick = XN_VU_SET_VRING_KICK, call = XN_VU_SET_VRING_CALL,
			      err = XN_VU_SET_VRING_ERR;

	add_frame_cases();
	add_form_cases();
	add_feature_cases();
	add_order_cases();
	add_number_cases();
	add_case(num_over_and_over, NULL, "V13", "SET_VRING_NUM 20 000 times: nothing grows");
	add_case(fds_over_and_over, &kick, "V13", "SET_VRING_KICK 2000 times: nothing grows");
	add_case(fds_over_and_over, &call, "V13", "SET_VRING_CALL 2000 times: nothing grows");
	add_case(fds_over_and_over, &err, "V13", "SET_VRING_ERR 2000 times: nothing grows");
}
