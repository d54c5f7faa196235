/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One queue of the AF_XDP port: start, wait, quiesce, stop. Theory in port/xdp.h.
 *
 * Stop is in two halves, so that nothing is lost and nothing is written late (I4):
 * quiesce takes the socket out of the XSKMAP and waits until no kernel section can
 * still see it; the engine drains the rings; stop unmaps them and closes.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "port/xdp.h"

#define MIN_RING      64u
/* Descriptors of the TX ring where packets may take many, being cut or longer than a chunk: any
 * packet finds room (I7), and some tens of long ones. */
#define SEGMENTS_RING XN_OFFLOAD_SEGS_MAX
#define LONG_FRAMES   8u
#define RETRY_UP_NS   1000000l    /* a stuck TX ring is kicked again after 1 ms, */
#define RETRY_DOWN_NS 10000000l   /* one on an interface that is down after 10 ms */

static struct xn_xdpq *xdpq(struct xn_portq *q)
{
	return XN_CONTAINER_OF(q, struct xn_xdpq, q);
}

static struct xn_xdp_port *xdp_port(const struct xn_xdpq *x)
{
	return XN_CONTAINER_OF(x->q.port, struct xn_xdp_port, port);
}

/* One-shot timer for what no fd tells: that the kernel would take more packets. */
static void set_retry(const struct xn_xdpq *x, long ns)
{
	struct itimerspec t = { .it_value.tv_nsec = ns };

	timerfd_settime(x->retry_fd, 0, &t, NULL);
}

static void arm(struct xn_portq *q)
{
	struct xn_xdpq *x = xdpq(q);
	bool want = x->tx_posted != x->tx_done && !x->tx_gone;

	if (want || x->retry_set)
		set_retry(x, !want ? 0 : x->tx_down ? RETRY_DOWN_NS : RETRY_UP_NS);
	x->retry_set = want;
}

static void arm_rss(struct xn_portq *q)
{
	arm(q);
	xn_xdp_rss_arm(xdpq(q));
}

static unsigned wait_fds(struct xn_portq *q, struct pollfd *fds, unsigned n)
{
	const struct xn_xdpq *x = xdpq(q);
	/* Without its interface a socket has an error for ever. */
	const int all[] = {
		x->retry_fd, x->tx_gone ? -1 : x->xsk.fd,
		x->away ? xn_xdp_rss_fd(x) : -1, x->away && !x->tx_gone ? x->away->xsk.fd : -1,
	};
	unsigned k = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(all); i++)
		if (all[i] >= 0 && k < n)
			fds[k++] = (struct pollfd){ .fd = all[i], .events = POLLIN };
	return k;
}

/* Bind takes a queue that has no transmit side; what is sent there goes nowhere, without
 * an error (Linux 6.18, xsk_generic_xmit). */
static int check_host_queue(const struct xn_xdp_port *p, unsigned queue)
{
	const struct xn_if_info *i = &p->info;

	if ((!i->rx_queues || queue < i->rx_queues) && (!i->tx_queues || queue < i->tx_queues))
		return 0;
	return xn_fail(EINVAL, "%s: queue %u: there are %u to receive and %u to transmit "
		       "(ethtool -L changes that)", p->spec.ifname, queue, i->rx_queues, i->tx_queues);
}

static void set_rx(struct xn_portq *q, bool on)
{
	struct xn_xdpq *x = xdpq(q);

	if (!on)
		xn_xdp_steer_off(x);
	else
		(void)xn_xdp_steer_on(x);   /* it has said why not */
}

static void quiesce(struct xn_portq *q)
{
	struct xn_xdpq *x = xdpq(q);
	struct xn_xdp_port *p = xdp_port(x);
	int err;

	xn_xdp_steer_off(x);
	xn_xdp_rss_quiesce(x);
	err = p->sys->barrier();
	if (err)   /* then close() is the barrier, and frames on their way are lost */
		xn_log(XN_LOG_WARN, "%s: the kernel cannot tell when frames have arrived (%d)",
		       p->spec.ifname, -err);
}

static void give_frames(struct xn_xdpq *x)
{
	/* All of them: the kernel has forgotten those that were still posted. */
	xn_mem_give_frames(x->mem, x->rx_all, x->all_rx_frames);
	xn_mem_give_frames(x->mem, x->tx_frames, x->all_tx_frames);
}

/* Nobody finds the queue any more; what it counted stays. */
static void take_out(struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);

	pthread_mutex_lock(&p->lock);
	p->queues[x->q.cfg.index] = NULL;
	if (x->xsk.fd >= 0)
		xn_xdp_add_statistics(&p->past, x);
	pthread_mutex_unlock(&p->lock);
}

/* Of a queue that may be half made; under p->setup. */
static int end(struct xn_xdpq *x)
{
	int err;

	if (x->xsk.fd >= 0) {
		xn_xdp_steer_off(x);
		if (x->xsk.rx.ring)   /* what a drain had no time for */
			XN_COUNT(x->q.cfg.ctr, rx_drop_stopped, xn_xdp_frames_in(&x->xsk.rx));
	}
	xn_xdp_rss_stop(x);
	take_out(x);
	xn_xdp_rss_end(x);   /* a queue is free when both of its sockets are closed */
	err = xn_xdp_unbind(x);
	if (!err)   /* else they may still be written, and stay away */
		give_frames(x);
	xn_xdp_watch_end(x);
	xn_id_fifo_fini(&x->held);
	if (x->retry_fd >= 0)
		close(x->retry_fd);
	free(x->lent);
	free(x->sent);
	free(x->tx_ready);
	free(x->tx_free);
	free(x->tx_frames);
	free(x->rx_frames);
	free(x->rx_all);
	free(x->aside);
	free(x);
	return err;
}

static int stop(struct xn_portq *q)
{
	struct xn_xdp_port *p = xdp_port(xdpq(q));
	int err;

	pthread_mutex_lock(&p->setup);
	err = end(xdpq(q));
	pthread_mutex_unlock(&p->setup);
	return err;
}

int xn_xdp_queue_settle(struct xn_port *port, unsigned index)
{
	struct xn_xdp_port *p = XN_CONTAINER_OF(port, struct xn_xdp_port, port);
	int err;

	pthread_mutex_lock(&p->setup);
	err = p->unproven >> index & 1 ? xn_xdp_settle(p, index) : 0;
	pthread_mutex_unlock(&p->setup);
	return err;
}

#define COMMON_OPS \
	.tx_offload = xn_xdp_tx_offload, \
	.tx_kick = xn_xdp_tx_kick, .tx_room = xn_xdp_tx_room, \
	.wait_fds = wait_fds, .set_rx = set_rx, .quiesce = quiesce, \
	.rx_waiting = xn_xdp_rx_waiting, .tx_give_up = xn_xdp_tx_give_up, .stop = stop

/* [copy mode; zero-copy mode, where a driver is lent what can be lent; copy mode, frames of
 * several pieces][several queues] */
enum { OPS_COPY, OPS_ZERO_COPY, OPS_PIECES };
static const struct xn_portq_ops queue_ops[3][2] = {
	{ { COMMON_OPS, .arm = arm, .rx_post = xn_xdp_rx_post, .rx_poll = xn_xdp_rx_poll,
	    .tx_post = xn_xdp_tx_post, .tx_poll = xn_xdp_tx_poll },
	  { COMMON_OPS, .arm = arm_rss, .rx_post = xn_xdp_rx_post_rss, .rx_poll = xn_xdp_rx_poll_rss,
	    .tx_post = xn_xdp_tx_post, .tx_poll = xn_xdp_tx_poll } },
	{ { COMMON_OPS, .arm = arm, .rx_post = xn_xdp_rx_post_zc, .rx_poll = xn_xdp_rx_poll_zc,
	    .tx_post = xn_xdp_tx_post_zc, .tx_poll = xn_xdp_tx_poll_zc },
	  { COMMON_OPS, .arm = arm_rss, .rx_post = xn_xdp_rx_post_zc_rss,
	    .rx_poll = xn_xdp_rx_poll_zc_rss, .tx_post = xn_xdp_tx_post_zc,
	    .tx_poll = xn_xdp_tx_poll_zc } },
	{ { COMMON_OPS, .arm = arm, .rx_post = xn_xdp_rx_post_sg, .rx_poll = xn_xdp_rx_poll_sg,
	    .tx_post = xn_xdp_tx_post, .tx_poll = xn_xdp_tx_poll },
	  { COMMON_OPS, .arm = arm_rss, .rx_post = xn_xdp_rx_post_sg_rss,
	    .rx_poll = xn_xdp_rx_poll_sg_rss, .tx_post = xn_xdp_tx_post, .tx_poll = xn_xdp_tx_poll } },
};

/* May a packet take more descriptors than it has pieces? */
static bool many_descs(const struct xn_xdpq *x)
{
	return x->q.cfg.segments || x->q.port->max_frame > XN_CHUNK_BYTES;
}

/* Arena frames to send from: one for each packet, or for each segment. */
static uint32_t most_tx_frames(const struct xn_xdpq *x)
{
	const uint32_t heads = x->q.cfg.tx_heads;

	return many_descs(x) ? XN_MAX(heads, SEGMENTS_RING) : heads;
}

static int alloc_tables(struct xn_xdpq *x, uint32_t fill_size, uint32_t tx_size, uint32_t rx_frames)
{
	const struct xn_portq_cfg *c = &x->q.cfg;

	x->lent_mask = fill_size - 1;
	x->lent = calloc(fill_size, sizeof(*x->lent));
	x->sent = calloc(tx_size, sizeof(*x->sent));
	x->rx_all = calloc(rx_frames, sizeof(*x->rx_all));
	x->rx_frames = calloc(rx_frames, sizeof(*x->rx_frames));
	x->tx_frames = calloc(most_tx_frames(x), sizeof(*x->tx_frames));
	x->tx_free = calloc(most_tx_frames(x), sizeof(*x->tx_free));
	x->tx_ready = calloc(c->tx_heads, sizeof(*x->tx_ready));
	x->retry_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (xdp_port(x)->sg)
		x->aside = malloc(x->q.port->max_frame);
	if ((xdp_port(x)->sg && !x->aside) || !x->lent || !x->sent || !x->rx_all || !x->rx_frames || !x->tx_frames ||
	    !x->tx_free || !x->tx_ready || xn_id_fifo_init(&x->held, c->rx_heads))
		return xn_fail(ENOMEM, "out of memory for a queue of %u and %u descriptors",
			       c->rx_heads, c->tx_heads);
	if (x->retry_fd < 0)
		return xn_fail(errno, "cannot make a timer: raise the limit of open files");
	return 0;
}

/* May frames come without bounce frames? (As xn_xdp_bind has it, in copy mode.) */
static bool lends_some(const struct xn_xdp_port *p, const struct xn_portq_cfg *c)
{
	return !p->sg || (c->merge && !c->in_order && !p->spec.bounce);
}

/* This queue's share of the bounce frames: half for each direction. */
static int take_frames(struct xn_xdpq *x, uint32_t rx_frames)
{
	const struct xn_portq_cfg *c = &x->q.cfg;
	struct xn_mem_info mem;
	const uint32_t least = lends_some(xdp_port(x), c) ? 1 : xn_xdp_mode_pieces(xdp_port(x));
	uint32_t share;

	xn_mem_get_info(x->mem, &mem);
	share = mem.bounce_frames_free / (x->q.port->n_queues - c->index);
	x->all_rx_frames = xn_mem_take_frames(x->mem, x->rx_all, XN_MIN(rx_frames, share / 2));
	x->all_tx_frames = xn_mem_take_frames(x->mem, x->tx_frames, XN_MIN(most_tx_frames(x), share / 2));
	if (x->all_rx_frames < least || !x->all_tx_frames)
		return xn_fail(ENOBUFS, "no bounce frames left for queue pair %u: raise "
			       "xn_mem_opts.bounce_frames (now %u)", c->index, mem.bounce_frames);
	memcpy(x->rx_frames, x->rx_all, x->all_rx_frames * sizeof(*x->rx_frames));
	x->n_rx_frames = x->all_rx_frames;
	for (x->n_tx_free = 0; x->n_tx_free < x->all_tx_frames; x->n_tx_free++)
		x->tx_free[x->n_tx_free] = x->n_tx_free;
	return 0;
}

/* How many bounce frames it takes at least: for some of the longest frames, since a guest with few
 * buffers is lent nothing else, however long these are. */
static uint32_t bounced_pieces(const struct xn_xdp_port *p)
{
	return p->sg ? LONG_FRAMES * xn_xdp_mode_pieces(p) : 1;
}

static int start(struct xn_xdp_port *p, const struct xn_portq_cfg *cfg, struct xn_portq **q)
{
	const uint32_t keep = xn_xdp_mode_keeps(p);
	const uint32_t rx_frames = XN_MAX(cfg->rx_heads, XN_MAX(keep, bounced_pieces(p)));
	/* For each buffer of the guest's, and for those that a driver always has to have. */
	uint32_t fill_size = xn_pow2_up(XN_MAX(rx_frames, XN_MAX(cfg->rx_heads + keep, MIN_RING)));
	struct xn_xdpq *x = calloc(1, sizeof(*x));
	uint32_t tx_size;
	int err;

	if (!x)
		return xn_fail(ENOMEM, "%s: out of memory", p->spec.ifname);
	err = check_host_queue(p, p->spec.start + cfg->index);
	if (err) {
		free(x);
		return err;
	}
	x->q = (struct xn_portq){ .port = &p->port, .cfg = *cfg };
	tx_size = xn_pow2_up(XN_MAX(cfg->tx_heads, many_descs(x) ? SEGMENTS_RING : MIN_RING));
	x->mem = cfg->mem;
	x->xsk.fd = x->retry_fd = x->end_fd = -1;
	x->pieces = 1;
	x->host_queue = p->spec.start + cfg->index;

	err = alloc_tables(x, fill_size, tx_size, rx_frames);
	if (!err)
		err = take_frames(x, rx_frames);
	if (!err)
		err = xn_xdp_bind(x, fill_size, tx_size);
	if (err)
		goto out_queue;
	/* Indices run on from wherever the rings are. */
	x->rx_posted = x->rx_taken = *x->xsk.fill.producer;
	x->tx_posted = x->tx_done = x->tx_hint = *x->xsk.tx.producer;
	x->q.ops = &queue_ops[x->map ? OPS_ZERO_COPY : x->sg ? OPS_PIECES : OPS_COPY][p->rss != NULL];
	xn_xdp_learn_begin(x);
	x->rx_csum = xn_xdp_soft_peer(p);
	xn_xdp_tx_begin(x, &p->spec);
	err = xn_xdp_watch_begin(x);
	if (!err && x->keep)   /* before a frame can come */
		xn_xdp_keep_up(x);
	if (!err)
		err = xn_xdp_rss_start(x);
	if (!err && !cfg->rx_off)
		err = xn_xdp_steer_on(x);
	if (err)
		goto out_queue;
	pthread_mutex_lock(&p->lock);
	p->queues[cfg->index] = x;
	pthread_mutex_unlock(&p->lock);
	*q = &x->q;
	return 0;

out_queue:
	(void)end(x);
	return err;
}

int xn_xdp_queue_start(struct xn_port *port, const struct xn_portq_cfg *cfg, struct xn_portq **q)
{
	struct xn_xdp_port *p = XN_CONTAINER_OF(port, struct xn_xdp_port, port);
	int err = xn_xdp_queue_settle(port, cfg->index);

	*q = NULL;
	if (err)
		return err;
	pthread_mutex_lock(&p->setup);
	err = start(p, cfg, q);
	pthread_mutex_unlock(&p->setup);
	return err;
}
