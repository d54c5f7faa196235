/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control queue, where a front end forwards it. It has no thread: the main thread looks
 * at it when its kick fd is readable.
 *
 * That may be for ever (a semaphore, or somebody who writes all the time), and commands are
 * seldom: after FUTILE_MAX kicks in a row that brought none the fd is left alone for REST_MS,
 * and again after each that brings none.
 */
#include <linux/virtio_net.h>
#include <poll.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "vhost/peerlog.h"
#include "vhost/vdev_priv.h"

#define NS_PER_MS     1000000ull
#define BATCH         64u   /* xn_dev_ctrl_run does at most so many */
#define POLL_MS       10    /* of a queue that does not kick */
#define REST_MS       10
#define FUTILE_MAX    16u

unsigned xn_vdev_ctrl_index(const struct xn_vdev *v)
{
	/* As xn_dev_ctrl_index, for features that the library has not been told yet. */
	return xn_vdev_many_pairs(v) ? 2 * v->opts.pairs : 2;
}

static const struct xn_vring_state *ring(const struct xn_vdev *v)
{
	return &v->rings[xn_vdev_ctrl_index(v)];
}

/* There is one that can be started, or is. */
static bool ready(const struct xn_vdev *v)
{
	return xn_vdev_has(v, VIRTIO_NET_F_CTRL_VQ) && xn_vdev_ring_ready(v, xn_vdev_ctrl_index(v));
}

/* What a broken queue kicks for is not looked at: it would stay readable. */
static bool serves(const struct xn_vdev *v)
{
	return v->ctrl.running && !xn_load_once8(&ring(v)->broken);
}

/* ---- start and stop ---- */

/* If the port cannot do it, frames go on to come as they did: no reason to fail. */
static void forget_driver(struct xn_vdev *v)
{
	(void)xn_dev_reset(v->dev);
	v->used = v->opts.pairs;
}

int xn_vdev_ctrl_start(struct xn_vdev *v)
{
	const unsigned index = xn_vdev_ctrl_index(v);
	/* One that has said something already may have said that to somebody else. */
	const bool begins = xn_vdev_ring_is_new(v, index) && !v->ctrl.began;
	int err = xn_vdev_give_ring(v, index);

	if (!err && begins)
		forget_driver(v);
	if (!err)
		err = xn_dev_ctrl_start(v->dev);
	if (err) {
		(void)xn_dev_unset_vring(v->dev, index);
		return err;
	}
	/* What was kicked for before may be there: not in the fd any more. */
	v->ctrl = (struct xn_ctrl_state){ .running = true, .began = true, .more = true };
	/* A driver that has just begun uses one pair until it says otherwise (VIRTIO 1.3,
	 * 5.1.6.5.5); any other all pairs, or what it has said to us. */
	if (xn_vdev_many_pairs(v) && begins)
		xn_vdev_set_active(v, 1);
	return 0;
}

void xn_vdev_ctrl_stop(struct xn_vdev *v)
{
	(void)xn_dev_ctrl_stop(v->dev);
	v->ctrl.running = v->ctrl.more = false;
	xn_vdev_take_ring(v, xn_vdev_ctrl_index(v));
}

void xn_vdev_ctrl_look_again(struct xn_vdev *v)
{
	if (!v->ctrl.running && !v->ctrl.due_ns && ready(v))
		v->ctrl.due_ns = xn_vdev_in_a_while();
}

/* ---- its turn ---- */

int xn_vdev_ctrl_fd(const struct xn_vdev *v)
{
	return serves(v) && xn_now_ns() >= v->ctrl.rest_ns ? xn_dev_ctrl_fd(v->dev) : -1;
}

uint64_t xn_vdev_ctrl_due_ns(const struct xn_vdev *v, uint64_t now_ns)
{
	if (!serves(v))
		return v->ctrl.due_ns;
	if (v->ctrl.more)
		return now_ns;
	if (ring(v)->kick_fd < 0)
		return now_ns + POLL_MS * NS_PER_MS;
	return v->ctrl.rest_ns > now_ns ? v->ctrl.rest_ns : 0;
}

static void start_due(struct xn_vdev *v)
{
	v->ctrl.due_ns = 0;
	if (v->ctrl.running || !ready(v) || !xn_vdev_ctrl_start(v))
		return;
	xn_peer_log(XN_LOG_ERROR, "the control queue does not start: %s", xn_last_error());
	xn_vdev_ring_error(v, xn_vdev_ctrl_index(v));
}

static bool is_kicked(const struct xn_vdev *v)
{
	static const struct timespec now;
	struct pollfd p = { .fd = xn_vdev_ctrl_fd(v), .events = POLLIN };

	return ppoll(&p, 1, &now, NULL) == 1;
}

void xn_vdev_ctrl_handle(struct xn_vdev *v, uint64_t now_ns)
{
	struct xn_ctrl_state *c = &v->ctrl;
	bool kicked;
	unsigned n;

	if (c->due_ns && c->due_ns <= now_ns)
		start_due(v);
	if (!serves(v))
		return;
	kicked = is_kicked(v);
	if (!kicked && !c->more && ring(v)->kick_fd >= 0)
		return;
	n = xn_dev_ctrl_run(v->dev);
	c->more = n >= BATCH;
	if (n)
		c->futile = 0;
	else if (kicked && c->futile < FUTILE_MAX)
		c->futile++;
	else if (kicked)
		c->rest_ns = now_ns + REST_MS * NS_PER_MS;
}
