/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside of a session: what it remembers, and one function for each request, by subject:
 *
 *	session.c         life, dispatch, answers
 *	session_setup.c   features, owner, status, reset
 *	session_mem.c     memory, dirty log, inflight area
 *	session_ring.c    vrings
 *	session_config.c  configuration space, MTU, announcement, back channel
 */
#ifndef XN_VHOST_SESSION_PRIV_H
#define XN_VHOST_SESSION_PRIV_H

#include "vhost/io.h"
#include "vhost/session.h"

struct xn_session {
	struct xn_vdev *v;
	struct xn_io io;                /* io.fd is the session's */
	int      back_fd;               /* for requests of ours; -1: none */
	uint64_t protocol;              /* features accepted */
	bool     owner;
	uint8_t  status;
	uint16_t mtu;                   /* of the configuration space */
	uint64_t messages, refused;
};

/* What a request is answered with, if it has an answer of its own. */
struct xn_answer {
	union xn_vu_payload p;
	uint32_t size;                  /* of the payload; what the table says, if not set */
	int  fd;                        /* sent along, then closed; -1: none */
	bool refused;                   /* the answer says no; the session goes on */
	bool forgiven;                  /* failed, and not by the peer's fault: without a way to say
	                                 * so, the session goes on */
};

/* Size, number of fds and protocol feature were checked. fds that it keeps it sets to -1.
 * 0, or -errno with a message in xn_last_error(): nothing has changed. */
typedef int xn_request_fn(struct xn_session *s, struct xn_msg *m, struct xn_answer *a);

/* session_setup.c */
xn_request_fn xn_vu_get_features, xn_vu_set_features, xn_vu_get_protocol_features,
	xn_vu_set_protocol_features, xn_vu_set_owner, xn_vu_reset_owner, xn_vu_get_queue_num,
	xn_vu_reset_device, xn_vu_set_status, xn_vu_get_status;
/* session_mem.c */
xn_request_fn xn_vu_set_mem_table, xn_vu_get_max_mem_slots, xn_vu_add_mem_reg,
	xn_vu_rem_mem_reg, xn_vu_set_log_base, xn_vu_set_log_fd, xn_vu_get_inflight_fd,
	xn_vu_set_inflight_fd;
/* session_ring.c */
xn_request_fn xn_vu_set_vring_num, xn_vu_set_vring_addr, xn_vu_set_vring_base,
	xn_vu_get_vring_base, xn_vu_set_vring_kick, xn_vu_set_vring_call, xn_vu_set_vring_err,
	xn_vu_set_vring_enable;
/* session_config.c */
xn_request_fn xn_vu_get_config, xn_vu_set_config, xn_vu_net_set_mtu, xn_vu_send_rarp,
	xn_vu_set_backend_req_fd;

static inline bool xn_session_has(const struct xn_session *s, unsigned protocol_feature)
{
	return s->protocol >> protocol_feature & 1;
}

#endif
