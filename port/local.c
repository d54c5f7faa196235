/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two ports without a network; they need no privileges.
 *
 * loopback  what the guest sends comes back on the same queue pair, one copy later:
 *           the first thing to try, and a device's tests run on it.
 * null      takes every packet at once and never sends one: for guests that want a
 *           card without a network, and to measure what the device alone costs.
 *
 * Both take checksums and segments from the guest. Over loopback segments come back one
 * by one, with their checksums; and what a guest sends with a checksum that is unfinished
 * (port/rx_csum.h) comes back as it would from another guest's stack.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "port/copy.h"
#include "port/rx_csum.h"
#include "port/segment.h"

#define LOCAL_MAX_FRAME 1518u   /* as an Ethernet interface of MTU 1500, with a VLAN tag */

struct localq {
	struct xn_portq q;
	struct xn_id_fifo posted;     /* receive buffers of the guest, in order */
	struct xn_rx_done *back;      /* filled and not yet given back, whole frames */
	uint32_t n_back;
	uint16_t *sent;               /* ids of packets that may go back */
	uint32_t n_sent;
	bool loops, rx_off;
	uint8_t frame[LOCAL_MAX_FRAME];
};

static struct localq *localq(struct xn_portq *q)
{
	return XN_CONTAINER_OF(q, struct localq, q);
}

static unsigned rx_post(struct xn_portq *q, const struct xn_chain *bufs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		xn_hold_buf(&q->cfg, &localq(q)->posted, &bufs[i]);
	return n;
}

static unsigned rx_poll(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames)
{
	struct localq *x = localq(q);
	unsigned out = 0;

	while (frames && out < x->n_back) {
		done[out] = x->back[out];
		frames -= !(done[out++].flags & XN_RX_MORE);
	}
	x->n_back -= out;
	memmove(x->back, x->back + out, x->n_back * sizeof(*x->back));
	return out;
}

/* The way back of the frame in x->frame, or the reason why there is none. */
static void turn_around(struct localq *x, uint32_t bytes)
{
	struct xn_counters *ctr = x->q.cfg.ctr;
	struct xn_rx_done *first = x->back + x->n_back;
	struct xn_rx_csum c = { 0 };
	unsigned used = 0;
	bool hand = false;

	if (x->rx_off) {
		XN_COUNT(ctr, rx_drop_disabled, 1);
		return;
	}
	if (xn_rx_csum_suspect(x->frame, bytes))
		hand = xn_rx_csum_settle(&c, x->frame, bytes, x->q.cfg.guest_csum,
					 &ctr->v[XN_C_rx_csum_finished]);
	switch (xn_spread_frame(&x->q.cfg, &x->posted, x->frame, bytes, first,
				x->q.cfg.rx_heads - x->n_back, &used)) {
	case XN_SPREAD_OK:
		if (hand) {
			first->flags |= XN_RX_CSUM;
			first->csum_start = c.start;
			first->csum_offset = (uint16_t)(c.at - c.start);
			XN_COUNT(ctr, rx_csum_handed, 1);
		}
		XN_COUNT(ctr, rx_bounced, 1);
		if (used > 1)
			XN_COUNT(ctr, rx_merged, 1);
		break;
	case XN_SPREAD_TOO_SMALL:
		XN_COUNT(ctr, rx_drop_too_small, 1);
		break;
	default:
		XN_COUNT(ctr, rx_drop_no_buffer, 1);
		break;
	}
	x->n_back += used;
}

/* Carries out what a packet asks for. */
static void turn_around_offload(struct localq *x, const struct xn_piece *pieces,
				const struct xn_offload *o)
{
	const uint8_t *base = x->q.cfg.mem->base;
	uint8_t *frame = x->frame;
	const struct xn_chunks to = { &frame, LOCAL_MAX_FRAME };
	struct xn_segs s;

	if (o->gso == XN_GSO_NONE) {
		xn_gather_csum(o, base, pieces, &to);
		turn_around(x, o->bytes);
		return;
	}
	xn_segs_begin(&s, o, base, pieces);
	while (!xn_segs_done(&s))
		turn_around(x, xn_segs_gather(&s, &to));
}

static unsigned tx_room(struct xn_portq *q)
{
	return q->cfg.tx_heads - localq(q)->n_sent;
}

static unsigned tx_post(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			const struct xn_piece *pieces)
{
	struct localq *x = localq(q);
	uint64_t bytes = 0;

	n = XN_MIN(n, tx_room(q));
	for (unsigned i = 0; i < n; i++) {
		bytes += pkts[i].bytes;
		if (x->loops) {
			xn_copy_packet(q->cfg.mem, x->frame, &pkts[i], pieces);
			turn_around(x, pkts[i].bytes);
		}
		x->sent[x->n_sent++] = pkts[i].head;
	}
	XN_COUNT(q->cfg.ctr, tx_packets, n);
	XN_COUNT(q->cfg.ctr, tx_bytes, bytes);
	if (x->loops)
		XN_COUNT(q->cfg.ctr, tx_bounced, n);
	return n;
}

static unsigned tx_offload(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			   const struct xn_piece *pieces, const struct xn_offload *offloads)
{
	struct xn_counters *ctr = q->cfg.ctr;
	struct localq *x = localq(q);
	uint64_t bytes = 0, cut = 0, segments = 0;

	n = XN_MIN(n, tx_room(q));
	for (unsigned i = 0; i < n; i++) {
		const struct xn_offload *o = &offloads[i];
		struct xn_piece one;

		bytes += o->bytes;
		cut += o->gso != XN_GSO_NONE;
		segments += o->gso != XN_GSO_NONE ? o->segs : 0u;
		if (x->loops)
			turn_around_offload(x, xn_chain_pieces(&pkts[i], pieces, &one), o);
		x->sent[x->n_sent++] = pkts[i].head;
	}
	XN_COUNT(ctr, tx_packets, n);
	XN_COUNT(ctr, tx_bytes, bytes);
	XN_COUNT(ctr, tx_csum, n);
	XN_COUNT(ctr, tx_segmented, cut);
	XN_COUNT(ctr, tx_segments, segments);
	if (x->loops)
		XN_COUNT(ctr, tx_gathered, n);
	return n;
}

static unsigned tx_poll(struct xn_portq *q, uint16_t *ids, unsigned n)
{
	struct localq *x = localq(q);

	/* In the order in which they came: a driver that recovers its rings from the used
	 * index alone relies on it. */
	n = XN_MIN(n, x->n_sent);
	memcpy(ids, x->sent, n * sizeof(*ids));
	x->n_sent -= n;
	memmove(x->sent, x->sent + n, x->n_sent * sizeof(*ids));
	return n;
}

static void set_rx(struct xn_portq *q, bool on)
{
	localq(q)->rx_off = !on;
}

static unsigned wait_fds(struct xn_portq *q, struct pollfd *fds, unsigned n)
{
	return 0;   /* everything happens in tx_post */
}

/* There is nothing to wait for, or to be left over. */
static void nothing(struct xn_portq *q)
{
}

static bool rx_waiting(struct xn_portq *q)
{
	return localq(q)->n_back;
}

static int stop(struct xn_portq *q)
{
	struct localq *x = localq(q);

	xn_id_fifo_fini(&x->posted);
	free(x->back);
	free(x->sent);
	free(x);
	return 0;
}

static const struct xn_portq_ops queue_ops = {
	.rx_post = rx_post, .rx_poll = rx_poll, .tx_post = tx_post, .tx_kick = nothing,
	.tx_offload = tx_offload,
	.tx_poll = tx_poll, .tx_room = tx_room, .wait_fds = wait_fds,
	.set_rx = set_rx, .arm = nothing, .quiesce = nothing, .rx_waiting = rx_waiting,
	.tx_give_up = nothing, .stop = stop,
};

static const struct xn_port_ops null_ops, loopback_ops;

static int start(struct xn_port *port, const struct xn_portq_cfg *cfg, struct xn_portq **q)
{
	struct localq *x = calloc(1, sizeof(*x));

	*q = NULL;
	if (!x)
		return xn_fail(ENOMEM, "%s: out of memory", port->ops->kind);
	x->q = (struct xn_portq){ .ops = &queue_ops, .port = port, .cfg = *cfg };
	x->loops = port->ops == &loopback_ops;
	x->rx_off = cfg->rx_off;
	x->back = calloc(cfg->rx_heads, sizeof(*x->back));
	x->sent = calloc(cfg->tx_heads, sizeof(*x->sent));
	if (xn_id_fifo_init(&x->posted, cfg->rx_heads) || !x->back || !x->sent) {
		(void)stop(&x->q);
		return xn_fail(ENOMEM, "%s: out of memory", port->ops->kind);
	}
	*q = &x->q;
	return 0;
}

static void get_info(const struct xn_port *p, struct xn_port_info *info)
{
	info->mtu = LOCAL_MAX_FRAME - XN_ETH_HDR_BYTES - XN_VLAN_TAG_BYTES;
	info->link_up = true;
}

static void port_close(struct xn_port *p)
{
	free(p);
}

/* No frame ever comes: each of them goes where it should. */
static int null_set_rss(struct xn_port *p, const struct xn_rss_config *cfg)
{
	return 0;
}

static void null_set_rx_filter(struct xn_port *p, const struct xn_rx_filter *f)
{
}

static const struct xn_port_ops null_ops = {
	.kind = "null", .start = start, .get_info = get_info, .close = port_close,
	.set_rss = null_set_rss, .set_rx_filter = null_set_rx_filter,
};

static const struct xn_port_ops loopback_ops = {
	.kind = "loopback", .start = start, .get_info = get_info, .close = port_close,
};

static int open_local(struct xn_port **port, const struct xn_port_ops *ops, const char *rest)
{
	unsigned queues = 1;
	char end;

	*port = NULL;
	if (*rest && (sscanf(rest, "queues=%3u%c", &queues, &end) != 1 || !queues ||
		      queues > XN_MAX_PAIRS))
		return xn_fail(EINVAL, "%s: \"%s\": only queues=N is known, 1 to %u", ops->kind,
			       rest, XN_MAX_PAIRS);
	*port = calloc(1, sizeof(**port));
	if (!*port)
		return xn_fail(ENOMEM, "%s: out of memory", ops->kind);
	**port = (struct xn_port){ .ops = ops, .max_frame = LOCAL_MAX_FRAME,
				   .tx_frame = LOCAL_MAX_FRAME,
				   .n_queues = queues, .features = XN_SOFT_FEATURES };
	return 0;
}

int xn_port_open_null(struct xn_port **port, const char *rest, const struct xn_port_opts *opts)
{
	return open_local(port, &null_ops, rest);
}

int xn_port_open_loopback(struct xn_port **port, const char *rest, const struct xn_port_opts *opts)
{
	return open_local(port, &loopback_ops, rest);
}
