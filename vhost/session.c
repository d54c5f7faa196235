/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session: messages come in, are looked up in a table, checked, done and answered.
 *
 *	             no answer of its own          answer of its own
 *	done         NEED_REPLY: u64 of 0          the answer
 *	failed       NEED_REPLY: u64 that is not   an answer that says so, where there is one;
 *	             0; else the session ends      else the session ends
 *
 * (NEED_REPLY counts when REPLY_ACK was agreed.) A failure that is not the peer's fault, a
 * port that is down, say, ends nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "vhost/fds.h"
#include "vhost/peerlog.h"
#include "vhost/session_priv.h"

#define MESSAGES_AT_ONCE 64u
#define TIME_AT_ONCE_NS  50000000ull    /* others wait for the main thread, too */
#define ANY (-1)                        /* no protocol feature is asked for */

struct request {
	const char *name;
	xn_request_fn *fn;
	uint16_t min, max;              /* bytes of payload */
	uint8_t  min_fds, max_fds;
	int8_t   feature;               /* of the protocol, that has to be agreed on */
	bool     answers;               /* has an answer of its own ... */
	uint16_t answer_bytes;          /* ... of this size */
};

#define U64    8, 8
#define NONE   0, 0
#define OF(t)  sizeof(struct t), sizeof(struct t)
#define MEM_TABLE_MIN offsetof(struct xn_vu_mem_table, regions)
#define CONFIG_MIN    offsetof(struct xn_vu_config, data)
/* Some front ends send it without the padding at its end. */
#define INFLIGHT_MIN  (offsetof(struct xn_vu_inflight, queue_size) + sizeof(uint16_t))

/* clang-format off */
static const struct request requests[XN_VU_REQUEST_END] = {
	/*                              name                     function                     payload                 fds   feature               answer */
	[XN_VU_GET_FEATURES]          = { "GET_FEATURES",          xn_vu_get_features,          NONE,                   0, 0, ANY,                  true, 8 },
	[XN_VU_SET_FEATURES]          = { "SET_FEATURES",          xn_vu_set_features,          U64,                    0, 0, ANY,                  false, 0 },
	[XN_VU_SET_OWNER]             = { "SET_OWNER",             xn_vu_set_owner,             NONE,                   0, 0, ANY,                  false, 0 },
	[XN_VU_RESET_OWNER]           = { "RESET_OWNER",           xn_vu_reset_owner,           NONE,                   0, 0, ANY,                  false, 0 },
	[XN_VU_SET_MEM_TABLE]         = { "SET_MEM_TABLE",         xn_vu_set_mem_table,         MEM_TABLE_MIN, sizeof(struct xn_vu_mem_table), 0, 8, ANY, false, 0 },
	[XN_VU_SET_LOG_BASE]          = { "SET_LOG_BASE",          xn_vu_set_log_base,          OF(xn_vu_log),          1, 1, XN_VU_P_LOG_SHMFD,    true, 8 },
	[XN_VU_SET_LOG_FD]            = { "SET_LOG_FD",            xn_vu_set_log_fd,            0, 8,                   1, 1, ANY,                  false, 0 },
	[XN_VU_SET_VRING_NUM]         = { "SET_VRING_NUM",         xn_vu_set_vring_num,         OF(xn_vu_vring_state),  0, 0, ANY,                  false, 0 },
	[XN_VU_SET_VRING_ADDR]        = { "SET_VRING_ADDR",        xn_vu_set_vring_addr,        OF(xn_vu_vring_addr),   0, 0, ANY,                  false, 0 },
	[XN_VU_SET_VRING_BASE]        = { "SET_VRING_BASE",        xn_vu_set_vring_base,        OF(xn_vu_vring_state),  0, 0, ANY,                  false, 0 },
	[XN_VU_GET_VRING_BASE]        = { "GET_VRING_BASE",        xn_vu_get_vring_base,        OF(xn_vu_vring_state),  0, 0, ANY,                  true, 8 },
	[XN_VU_SET_VRING_KICK]        = { "SET_VRING_KICK",        xn_vu_set_vring_kick,        U64,                    0, 1, ANY,                  false, 0 },
	[XN_VU_SET_VRING_CALL]        = { "SET_VRING_CALL",        xn_vu_set_vring_call,        U64,                    0, 1, ANY,                  false, 0 },
	[XN_VU_SET_VRING_ERR]         = { "SET_VRING_ERR",         xn_vu_set_vring_err,         U64,                    0, 1, ANY,                  false, 0 },
	[XN_VU_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", xn_vu_get_protocol_features, NONE,                   0, 0, ANY,                  true, 8 },
	[XN_VU_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", xn_vu_set_protocol_features, U64,                    0, 0, ANY,                  false, 0 },
	[XN_VU_GET_QUEUE_NUM]         = { "GET_QUEUE_NUM",         xn_vu_get_queue_num,         NONE,                   0, 0, XN_VU_P_MQ,           true, 8 },
	[XN_VU_SET_VRING_ENABLE]      = { "SET_VRING_ENABLE",      xn_vu_set_vring_enable,      OF(xn_vu_vring_state),  0, 0, ANY,                  false, 0 },
	[XN_VU_SEND_RARP]             = { "SEND_RARP",             xn_vu_send_rarp,             U64,                    0, 0, XN_VU_P_RARP,         false, 0 },
	[XN_VU_NET_SET_MTU]           = { "NET_SET_MTU",           xn_vu_net_set_mtu,           U64,                    0, 0, XN_VU_P_MTU,          false, 0 },
	[XN_VU_SET_BACKEND_REQ_FD]    = { "SET_BACKEND_REQ_FD",    xn_vu_set_backend_req_fd,    NONE,                   1, 1, XN_VU_P_BACKEND_REQ,  false, 0 },
	[XN_VU_GET_CONFIG]            = { "GET_CONFIG",            xn_vu_get_config,            CONFIG_MIN, sizeof(struct xn_vu_config), 0, 0, XN_VU_P_CONFIG, true, 0 },
	[XN_VU_SET_CONFIG]            = { "SET_CONFIG",            xn_vu_set_config,            CONFIG_MIN, sizeof(struct xn_vu_config), 0, 0, XN_VU_P_CONFIG, false, 0 },
	[XN_VU_GET_INFLIGHT_FD]       = { "GET_INFLIGHT_FD",       xn_vu_get_inflight_fd,       INFLIGHT_MIN, sizeof(struct xn_vu_inflight), 0, 0, XN_VU_P_INFLIGHT_SHMFD, true, 0 },
	[XN_VU_SET_INFLIGHT_FD]       = { "SET_INFLIGHT_FD",       xn_vu_set_inflight_fd,       INFLIGHT_MIN, sizeof(struct xn_vu_inflight), 1, 1, XN_VU_P_INFLIGHT_SHMFD, false, 0 },
	[XN_VU_RESET_DEVICE]          = { "RESET_DEVICE",          xn_vu_reset_device,          NONE,                   0, 0, XN_VU_P_RESET_DEVICE, false, 0 },
	[XN_VU_GET_MAX_MEM_SLOTS]     = { "GET_MAX_MEM_SLOTS",     xn_vu_get_max_mem_slots,     NONE,                   0, 0, XN_VU_P_CONFIGURE_MEM_SLOTS, true, 8 },
	[XN_VU_ADD_MEM_REG]           = { "ADD_MEM_REG",           xn_vu_add_mem_reg,           OF(xn_vu_mem_reg),      1, 1, XN_VU_P_CONFIGURE_MEM_SLOTS, false, 0 },
	[XN_VU_REM_MEM_REG]           = { "REM_MEM_REG",           xn_vu_rem_mem_reg,           OF(xn_vu_mem_reg),      0, 1, XN_VU_P_CONFIGURE_MEM_SLOTS, false, 0 },
	[XN_VU_SET_STATUS]            = { "SET_STATUS",            xn_vu_set_status,            U64,                    0, 0, XN_VU_P_STATUS,       false, 0 },
	[XN_VU_GET_STATUS]            = { "GET_STATUS",            xn_vu_get_status,            NONE,                   0, 0, XN_VU_P_STATUS,       true, 8 },
};
/* clang-format on */

/* ---- life -------------------------------------------------------------------------- */

/* Of the device. Queue threads call it, too, for what is not looked at here. */
static void on_event(void *arg, const struct xn_event *e)
{
	if (e->kind == XN_EVENT_LINK_UP || e->kind == XN_EVENT_LINK_DOWN ||
	    e->kind == XN_EVENT_PORT_GONE || e->kind == XN_EVENT_CONFIG)
		xn_session_config_changed(arg);
}

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76     /* Linux 6.5 */
#endif

/* What else may come beside a message takes the room of its fds, or is an fd itself: whoever has
 * made the socket (socket activation) may have asked for it. */
static void refuse_extras(int fd)
{
	static const int extras[] = { SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD };
	static const int off;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(extras); i++)
		(void)setsockopt(fd, SOL_SOCKET, extras[i], &off, sizeof(off));
}

int xn_session_open(struct xn_session **out, int fd, struct xn_vdev *v)
{
	struct xn_session *s = NULL;
	int flags = fcntl(fd, F_GETFL), err;

	*out = NULL;
	err = xn_fd_check_stream(fd, "front end");
	if (err)
		goto out_fd;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
		err = xn_fail(errno, "front end: cannot set O_NONBLOCK: %s", strerror(errno));
		goto out_fd;
	}
	refuse_extras(fd);
	s = calloc(1, sizeof(*s));
	if (!s) {
		err = xn_fail(ENOMEM, "out of memory for a session");
		goto out_fd;
	}
	s->v = v;
	s->back_fd = -1;
	s->mtu = xn_vdev_opts(v)->mtu;
	xn_io_init(&s->io, fd);
	xn_vdev_listen(v, on_event, s);
	*out = s;
	return 0;

out_fd:
	close(fd);
	return err;
}

void xn_session_close(struct xn_session *s)
{
	if (!s)
		return;
	xn_vdev_listen(s->v, NULL, NULL);
	xn_vdev_reset(s->v);
	xn_io_fini(&s->io);
	xn_fd_close(s->back_fd);
	close(s->io.fd);
	free(s);
}

int xn_session_fd(const struct xn_session *s)
{
	return s->io.fd;
}

int xn_session_ctrl_fd(const struct xn_session *s)
{
	return xn_vdev_ctrl_fd(s->v);
}

int xn_session_timeout_ms(const struct xn_session *s)
{
	return xn_vdev_timeout_ms(s->v);
}

void xn_session_get_info(const struct xn_session *s, struct xn_session_info *info)
{
	*info = (struct xn_session_info){
		.messages = s->messages, .refused = s->refused, .protocol_features = s->protocol,
		.owner = s->owner, .back_channel = s->back_fd >= 0, .mtu = s->mtu,
		.status = s->status | (xn_vdev_needs_reset(s->v) ? XN_VU_STATUS_NEEDS_RESET : 0),
	};
}

/* ---- one message ---------------------------------------------------------------------- */

static const struct request *find(uint32_t number)
{
	return number < XN_ARRAY_SIZE(requests) && requests[number].fn ? &requests[number] : NULL;
}

static int check(const struct xn_session *s, const struct request *r, const struct xn_msg *m)
{
	if (!r)
		return xn_fail(EINVAL, "request %" PRIu32 " is not known", m->h.request);
	if (r->feature != ANY && !xn_session_has(s, (unsigned)r->feature))
		return xn_fail(EINVAL, "its protocol feature (bit %d) was not agreed on", r->feature);
	if (m->h.size < r->min || m->h.size > r->max)
		return xn_fail(EINVAL, "%" PRIu32 " bytes of payload, not %u to %u", m->h.size, r->min,
			       r->max);
	if (m->n_fds < r->min_fds || m->n_fds > r->max_fds)
		return xn_fail(EINVAL, "%u fds, not %u to %u", m->n_fds, r->min_fds, r->max_fds);
	return 0;
}

static int send_reply(struct xn_session *s, const struct xn_msg *m, const void *payload,
		      uint32_t bytes, int fd)
{
	const struct xn_vu_header h = { .request = m->h.request, .size = bytes,
					.flags = XN_VU_VERSION | XN_VU_REPLY };
	int err = xn_io_send(s->io.fd, &h, payload, fd);

	return err == -EAGAIN ? xn_fail(EPROTO, "it does not read its answers") : err;
}

/* Answers what was done (err 0), or was not. 0; -EPROTO, -ENOTCONN: the session ends. */
static int answer(struct xn_session *s, const struct request *r, const struct xn_msg *m,
		  const struct xn_answer *a, int err)
{
	/* A u64 would be taken for the answer that was asked for; that of SET_LOG_BASE is one. */
	const bool can_confirm = !r || !r->answers || m->h.request == XN_VU_SET_LOG_BASE;
	const bool confirm = can_confirm && m->h.flags & XN_VU_NEED_REPLY &&
			     xn_session_has(s, XN_VU_P_REPLY_ACK);
	const uint64_t verdict = err != 0;

	if (r && r->answers && !err)
		return send_reply(s, m, &a->p, a->size, a->fd);
	if (confirm)
		return send_reply(s, m, &verdict, sizeof(verdict), -1);
	return err && !a->forgiven ? -EPROTO : 0;
}

static int handle_message(struct xn_session *s, struct xn_msg *m)
{
	const struct request *r = find(m->h.request);
	struct xn_answer a = { .fd = -1, .size = r ? r->answer_bytes : 0 };
	int err = check(s, r, m), ret;

	s->messages++;
	if (!err)
		err = r->fn(s, m, &a);
	if (err || a.refused) {
		s->refused++;
		xn_peer_log(XN_LOG_WARN, "front end: %s refused: %s", r ? r->name : "message",
			    xn_last_error());
	}
	/* Before the answer: whoever reads it may look whether an fd was closed. */
	xn_io_fini(&s->io);
	ret = answer(s, r, m, &a, err);
	xn_fd_close(a.fd);
	return ret;
}

static int handle_messages(struct xn_session *s)
{
	const uint64_t until = xn_now_ns() + TIME_AT_ONCE_NS;

	for (unsigned i = 0; i < MESSAGES_AT_ONCE && xn_now_ns() < until; i++) {
		int ret = xn_io_recv(&s->io);

		if (ret <= 0)
			return ret;
		ret = handle_message(s, &s->io.in);
		if (ret)
			return ret;
	}
	return 0;
}

int xn_session_handle(struct xn_session *s)
{
	/* What fails because of a peer is told at the rate of peerlog. */
	const bool silent = xn_fail_silently(true);
	int ret = handle_messages(s);

	if (!ret)
		xn_vdev_handle(s->v);
	else if (ret == -EPROTO)
		xn_peer_log(XN_LOG_WARN, "front end: session ended: %s", xn_last_error());
	xn_fail_silently(silent);
	return ret;
}
