/* SPDX-License-Identifier: BSD-2-Clause */
/* A queue pair's turn, its sleep, its tables. Theory in engine/queue.h. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/dev.h"

#define RESTS_A_HEAD 8u   /* list nodes for the further pieces of receive buffers */

int xn_queue_alloc(struct xn_queue *q, uint32_t rx_size, uint32_t tx_size)
{
	uint32_t larger = XN_MAX(rx_size, tx_size);
	/* Several for each buffer; and a buffer of one-byte pieces takes keep_bytes nodes:
	 * always enough for one. */
	uint32_t nodes = RESTS_A_HEAD * rx_size + q->keep_bytes + 1;

	q->max_done = XN_MAX(rx_size, XN_BATCH_MAX);
	q->max_pieces = XN_MAX(2 * larger, 2 * XN_BATCH_MAX);
	q->bufs = calloc(rx_size, sizeof(*q->bufs));
	q->rests = calloc(nodes, sizeof(*q->rests));
	q->done = calloc(q->max_done, sizeof(*q->done));
	q->pieces = calloc(q->max_pieces, sizeof(*q->pieces));
	q->offloads = calloc(XN_OFFLOAD_BATCH, sizeof(*q->offloads));
	if (xn_dev_has(q->dev, VIRTIO_NET_F_HASH_REPORT)) {
		q->hash = calloc(1, sizeof(*q->hash));
		if (q->hash)
			q->hash->dev = &q->dev->hash;
	}
	if (xn_dev_gro(q->dev) && q->bufs)
		q->gro = xn_gro_create(q->dev->mem, q->bufs, q->hdr_bytes, rx_size, q->max_done);
	if (!q->bufs || !q->rests || !q->done || !q->pieces || !q->offloads ||
	    (xn_dev_gro(q->dev) && !q->gro) ||
	    (xn_dev_has(q->dev, VIRTIO_NET_F_HASH_REPORT) && !q->hash))
		return xn_fail(ENOMEM, "out of memory for rings of %u and %u descriptors",
			       rx_size, tx_size);
	for (uint32_t i = 1; i + 1 < nodes; i++)
		q->rests[i].next = i + 1;
	q->rest_free = 1;
	q->rests_left = nodes - 1;
	return 0;
}

void xn_queue_free(struct xn_queue *q)
{
	free(q->bufs);
	free(q->rests);
	free(q->done);
	free(q->pieces);
	free(q->offloads);
	free(q->hash);
	xn_gro_destroy(q->gro);
	q->gro = NULL;
	q->hash = NULL;
	q->bufs = NULL;
	q->rests = NULL;
	q->done = NULL;
	q->pieces = NULL;
	q->offloads = NULL;
}

/* Tells the guest that the ring has used buffers. */
static void notify(struct xn_dev *dev, const struct xn_ring_side *s)
{
	const struct xn_dev_opts *o = &dev->opts;
	static const uint64_t one = 1;

	XN_COUNT(s->vq.ctr, irqs_sent, 1);
	if (o->irq)
		o->irq(o->arg, s->index);
	/* It does not block: one that is full has been signalled already. */
	if (s->call_fd >= 0)
		(void)!write(s->call_fd, &one, sizeof(one));
}

void xn_ring_decide_irq(struct xn_dev *dev, struct xn_ring_side *s)
{
	if (xn_vq_wants_irq(&s->vq))
		notify(dev, s);
	else
		XN_COUNT(s->vq.ctr, irqs_suppressed, 1);
}

void xn_ring_flush(struct xn_dev *dev, struct xn_ring_side *s)
{
	if (xn_vq_publish(&s->vq))
		xn_ring_decide_irq(dev, s);
}

void xn_queue_flush(struct xn_queue *q)
{
	xn_ring_flush(q->dev, &q->rx);
	xn_ring_flush(q->dev, &q->tx);
}

void xn_ring_take_back(struct xn_dev *dev, struct xn_ring_side *s)
{
	xn_ring_flush(dev, s);
	if (xn_vq_reclaim_all(&s->vq))
		xn_ring_decide_irq(dev, s);
}

void xn_queue_take_back(struct xn_queue *q)
{
	xn_ring_take_back(q->dev, &q->rx);
	xn_ring_take_back(q->dev, &q->tx);
}

void xn_ring_tell_broken(struct xn_dev *dev, struct xn_ring_side *s)
{
	const struct xn_dev_opts *o = &dev->opts;
	struct xn_event e = { .kind = XN_EVENT_QUEUE_BROKEN, .index = s->index };

	if (s->broken_told)
		return;
	s->broken_told = true;
	e.name = xn_fault_name(s->vq.broken);
	if (o->event)
		o->event(o->arg, &e);
}

unsigned xn_queue_run(struct xn_queue *q, unsigned budget)
{
	unsigned work;

	if (XN_UNLIKELY(!q->running))
		return 0;
	if (XN_UNLIKELY(q->port->restart != NULL)) {
		xn_queue_restart(q);
		return 1;   /* the caller looks again, at other fds */
	}
	budget = XN_MIN(budget, XN_BATCH_MAX);

	work = q->deliver(q, budget);
	work += q->port->aside + xn_rx_refill(q);
	work += xn_tx_send(q, budget);
	work += xn_tx_reclaim(q);
	/* Also chains that were refused, which are no work. */
	if (XN_UNLIKELY(q->holds))
		xn_hold_flush(q);
	else
		xn_queue_flush(q);
	if (XN_UNLIKELY(q->rx.vq.broken != XN_FAULT_NONE))
		xn_ring_tell_broken(q->dev, &q->rx);
	if (XN_UNLIKELY(q->tx.vq.broken != XN_FAULT_NONE))
		xn_ring_tell_broken(q->dev, &q->tx);
	if (!work)
		return 0;
	if (q->rx.vq.kicks_on)
		xn_vq_disable_kick(&q->rx.vq);
	if (q->tx.vq.kicks_on)
		xn_vq_disable_kick(&q->tx.vq);
	return work;
}

void xn_ring_drain_kick(const struct xn_ring_side *s)
{
	uint64_t v;

	/* It does not block (xn_dev_set_vring). */
	if (s->kick_fd >= 0)
		(void)!read(s->kick_fd, &v, sizeof(v));
}

bool xn_queue_arm(struct xn_queue *q)
{
	bool idle;

	if (!q->running)
		return true;
	/* First emptied, then asked for: a kick that comes after is not lost. */
	xn_ring_drain_kick(&q->rx);
	xn_ring_drain_kick(&q->tx);
	idle = xn_vq_enable_kick(&q->rx.vq) || q->rx_blocked;
	idle &= xn_vq_enable_kick(&q->tx.vq) || q->tx_blocked;
	q->ops->arm(q->port);
	if (q->holds)
		idle &= xn_hold_arm(q);
	return idle && !q->port->restart;
}

unsigned xn_queue_wait_fds(struct xn_queue *q, struct pollfd *fds, unsigned n)
{
	const int own[] = { q->rx.kick_fd, q->tx.kick_fd, q->holds ? q->hold.timer_fd : -1 };
	unsigned k = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(own); i++)
		if (own[i] >= 0 && k < n)
			fds[k++] = (struct pollfd){ .fd = own[i], .events = POLLIN };
	if (q->running)
		k += q->ops->wait_fds(q->port, fds + k, n - k);
	return k;
}

void xn_queue_moved(const struct xn_queue *q, uint64_t *rx_frames, uint64_t *tx_pkts)
{
	*rx_frames = q->ctr.v[XN_C_rx_packets];
	*tx_pkts = q->ctr.v[XN_C_tx_packets];
}
