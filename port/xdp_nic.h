/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The NIC's part in steering: which queue a frame arrives on. Theory in rss/nic.h.
 *
 *	port opened, program attached   xn_nic_open    a process of its own keeps the privilege
 *	set_rss                         xn_nic_set     ... and once more, the first time: a driver
 *	                                               may not know what its NIC has forgotten
 *	                                               when the program was attached
 *	link comes up                   xn_nic_check   set again what was forgotten meanwhile
 *	port closed                     xn_nic_close   all is as it was
 *
 * What a NIC cannot do is no failure of the port: frames come on other queues then, and are
 * copied. It is told (xn_port_get_rss).
 */
#ifndef XN_PORT_XDP_NIC_H
#define XN_PORT_XDP_NIC_H

#include <pthread.h>

#include "port/port.h"
#include "rss/nic.h"

struct xn_xdp_port;

struct xn_xdp_nic {
	struct xn_nic *nic;              /* NULL: there is none, and told says why */
	pthread_mutex_t call;            /* held for a call, which may take seconds; and */
	bool asked;                      /* it was told what the guest wants */
	uint64_t missteered;             /* frames on a wrong queue, when it was looked last */
	pthread_mutex_t look;            /* ... for what others look at meanwhile */
	bool known;
	struct xn_nic_told told;
	unsigned logged;                 /* a bit for each status */
};

/* Mirror images; end accepts one that was not begun, or not opened. mac: as in xn_nic_cfg. */
void xn_xdp_nic_begin(struct xn_xdp_nic *w);
void xn_xdp_nic_open(struct xn_xdp_port *p);
void xn_xdp_nic_end(struct xn_xdp_nic *w);

/* As set_rss; never fails. May take as long as a driver takes. Ports of one queue: nothing. */
void xn_xdp_nic_set(struct xn_xdp_port *p, const struct xn_rss_config *rss);
/* The link is up. */
void xn_xdp_nic_check(struct xn_xdp_port *p);
void xn_xdp_get_rss(const struct xn_port *port, struct xn_port_rss *r);

/* Of struct xn_xdp_sys: xn_nic_open with a keeper, and with a directory for what is to be put
 * back, if it can be had. */
int  xn_xdp_nic_open_linux(struct xn_nic **n, const struct xn_nic_cfg *cfg);

#endif
