/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon in numbers: the answer of the statistics socket. xsknetd(8) lists them. */
#ifndef XN_VHOST_STATUS_H
#define XN_VHOST_STATUS_H

#include <jansson.h>

#include "vhost/session.h"

struct xn_status {
	const char *spec;               /* of the port */
	const struct xn_port *port;
	struct xn_vdev *vdev;
	const uint8_t *mac;             /* of the guest */
	uint16_t mtu;                   /* as the guest is told */
	const struct xn_session *session;   /* NULL: no front end is connected */
	uint64_t messages, refused;     /* of sessions that have ended */
	uint64_t sessions;              /* in all */
	uint64_t uptime_ns;
};

/* NULL: out of memory. The caller's. */
json_t *xn_status_json(const struct xn_status *s);

#endif
