/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several queues: which frames come to which of them.
 *
 * The XDP program chooses the socket (bpf/steer.bpf.c). A guest queue that does not run, or is
 * switched off, is disabled there: frames that RSS names it for are dropped and counted
 * (steer_disabled), and never go elsewhere. Without a configuration a frame goes to the queue
 * that it came on; there the same is done by an empty place in the map (steer_no_socket).
 */
#include <errno.h>
#include <stdlib.h>

#include "port/xdp.h"
#include "rss/config.h"

struct xn_xdp_rss {
	pthread_mutex_t turn;            /* one configuration after the other */
};

static struct xn_xdp_port *xdp_port(const struct xn_xdpq *x)
{
	return XN_CONTAINER_OF(x->q.port, struct xn_xdp_port, port);
}

int xn_xdp_rss_open(struct xn_xdp_port *p)
{
	if (p->spec.queues == 1)
		return 0;
	p->rss = calloc(1, sizeof(*p->rss));
	if (!p->rss)
		return xn_fail(ENOMEM, "%s: out of memory", p->spec.ifname);
	pthread_mutex_init(&p->rss->turn, NULL);
	return 0;
}

void xn_xdp_rss_close(struct xn_xdp_port *p)
{
	if (!p->rss)
		return;
	pthread_mutex_destroy(&p->rss->turn);
	free(p->rss);
}

void xn_xdp_rss_begin(struct xn_xdp_port *p)
{
	for (unsigned g = 0; p->rss && g < p->spec.queues; g++)
		p->sys->steer_enable(p->steer, g, false);
}

int xn_xdp_set_rss(struct xn_port *port, const struct xn_rss_config *cfg)
{
	struct xn_xdp_port *p = XN_CONTAINER_OF(port, struct xn_xdp_port, port);
	int err;

	if (!p->rss)   /* all frames go to the one queue, whatever is said */
		return 0;
	pthread_mutex_lock(&p->rss->turn);
	err = p->sys->steer_set_rss(p->steer, cfg);
	if (!err)
		xn_xdp_nic_set(p, cfg);
	pthread_mutex_unlock(&p->rss->turn);
	return err;
}

int xn_xdp_steer_on(const struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	int err = p->sys->steer_set(p->steer, x->host_queue, x->xsk.fd);

	if (!err && p->rss)
		p->sys->steer_enable(p->steer, x->q.cfg.index, true);
	return err;
}

void xn_xdp_steer_off(const struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);

	if (p->rss)
		p->sys->steer_enable(p->steer, x->q.cfg.index, false);
	p->sys->steer_clear(p->steer, x->host_queue);
}

uint64_t xn_xdp_unclassified(const struct xn_xdp_port *p)
{
	uint64_t sum = 0, v[XN_Q_COUNT];

	for (unsigned g = 0; p->rss && g < p->spec.queues; g++) {
		p->sys->steer_queue_counters(p->steer, g, v);
		sum += v[XN_Q_unclassified];
	}
	return sum;
}
