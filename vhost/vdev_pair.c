/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When queue pairs run (the picture is in vhost/vdev.h), and how they are held still for
 * a change.
 *
 *	park     the worker is out of the library; the kernel still has guest buffers
 *	stop     nothing has: memory, rings and fds may change
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "vhost/peerlog.h"
#include "vhost/proto.h"
#include "vhost/vdev_priv.h"

#define NS_PER_MS     1000000ull

uint64_t xn_vdev_in_a_while(void)
{
	return xn_now_ns() + XN_VDEV_GRACE_MS * NS_PER_MS;
}

/* ---- one ring ---------------------------------------------------------------------- */

int xn_vdev_give_ring(struct xn_vdev *v, unsigned index)
{
	const struct xn_vring_state *r = &v->rings[index];
	/* Interrupts go through vdev.c (call eventfds change while rings run). */
	struct xn_vring ring = { .size = r->size, .base = xn_vdev_base(v, index),
				 .kick_fd = r->kick_fd, .call_fd = -1 };
	int err = xn_vdev_inflight_of(v, index, &ring.inflight);

	if (err)
		return err;
	if (!xn_vring_translate(r, xn_vdev_packed(v), v->regions, v->n_regions, &ring))
		return xn_fail(EINVAL, "vring %u does not lie in guest memory", index);
	return xn_dev_set_vring(v->dev, index, &ring);
}

void xn_vdev_take_ring(struct xn_vdev *v, unsigned index)
{
	v->rings[index].base = xn_dev_vring_base(v->dev, index);
	v->rings[index].has_base = true;
	(void)xn_dev_unset_vring(v->dev, index);
}

/* ---- a pair ------------------------------------------------------------------------- */

/* Bit 0, 1: its receive, transmit ring is ready. Without MQ, vring 2 may be the control queue. */
static unsigned ready_of(const struct xn_vdev *v, unsigned p)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < 2; i++)
		if (!xn_vdev_is_ctrl(v, 2 * p + i) && xn_vdev_ring_ready(v, 2 * p + i))
			ready |= 1u << i;
	return ready;
}

static bool enabled(const struct xn_vdev *v, unsigned index)
{
	/* Front ends that do not know of protocol features do not know of enabling. */
	return (v->rings[index].enabled || !xn_vdev_has(v, XN_VU_F_PROTOCOL_FEATURES)) &&
	       index / 2 < v->active;
}

static bool is_up(const struct xn_pair *pair)
{
	return pair->running || pair->stands_by;
}

static void run_worker(struct xn_vdev *v, unsigned p)
{
	struct xn_pair *pair = &v->pairs[p];
	bool polled = false;

	if (pair->stands_by) {
		xn_worker_run_rare(pair->worker, xn_dev_queue(v->dev, p));
		return;
	}
	for (unsigned i = 0; i < 2; i++)
		if (pair->running & 1u << i)
			polled |= v->rings[2 * p + i].kick_fd < 0;
	xn_worker_run(pair->worker, xn_dev_queue(v->dev, p), polled);
}

static void enable(struct xn_vdev *v, unsigned p)
{
	const bool rings = !v->pairs[p].stands_by;

	xn_queue_enable(xn_dev_queue(v->dev, p), rings && enabled(v, 2 * p), rings && enabled(v, 2 * p + 1));
}

static void stand_by_soon(struct xn_vdev *v)
{
	v->stand_due_ns = v->opts.pairs > 1 ? xn_vdev_in_a_while() : 0;
}

static int start_pair(struct xn_vdev *v, unsigned p, unsigned rings)
{
	struct xn_queue *q = xn_dev_queue(v->dev, p);
	int err = 0;

	for (unsigned i = 0; i < 2 && !err; i++)
		if (rings & 1u << i)
			err = xn_vdev_give_ring(v, 2 * p + i);
	v->pairs[p].stands_by = !rings;
	if (!err) {
		enable(v, p);
		err = xn_queue_start(q);
	}
	if (err) {
		v->pairs[p].stands_by = false;
		(void)xn_dev_unset_vring(v->dev, 2 * p);
		(void)xn_dev_unset_vring(v->dev, 2 * p + 1);
		return err;
	}
	v->pairs[p].running = rings;
	v->pairs[p].due_ns = 0;
	run_worker(v, p);
	if (rings)
		stand_by_soon(v);
	return 0;
}

/* The library has stopped it. */
static void pair_stopped(struct xn_vdev *v, unsigned p)
{
	struct xn_pair *pair = &v->pairs[p];

	for (unsigned i = 0; i < 2; i++)
		if (pair->running & 1u << i)
			xn_vdev_take_ring(v, 2 * p + i);
	pair->running = 0;
	pair->stands_by = false;
}

static void stop_pair(struct xn_vdev *v, unsigned p)
{
	xn_worker_park(v->pairs[p].worker);
	(void)xn_queue_stop(xn_dev_queue(v->dev, p));
	pair_stopped(v, p);
}

void xn_vdev_apply_enable(struct xn_vdev *v, unsigned p)
{
	xn_worker_park(v->pairs[p].worker);
	enable(v, p);
	if (is_up(&v->pairs[p]))
		run_worker(v, p);
}

void xn_vdev_set_active(struct xn_vdev *v, unsigned pairs)
{
	v->active = pairs;
	for (unsigned p = 0; p < v->opts.pairs; p++)
		xn_vdev_apply_enable(v, p);
}

/* ---- when ---------------------------------------------------------------------------------- */

int xn_vdev_ring_is_ready(struct xn_vdev *v, unsigned index)
{
	const unsigned p = index / 2;

	if (xn_vdev_is_ctrl(v, index))
		return xn_vdev_ctrl_start(v);
	v->pairs[p].due_ns = xn_vdev_in_a_while();
	return xn_vdev_start_whole(v, p);
}

/* If it fails it is still due: what there is goes on in a while. */
int xn_vdev_start_whole(struct xn_vdev *v, unsigned p)
{
	if (!v->pairs[p].due_ns || ready_of(v, p) != 3 || !enabled(v, 2 * p) ||
	    !enabled(v, 2 * p + 1))
		return 0;
	stand_by_soon(v);   /* as well if it fails */
	if (is_up(&v->pairs[p]))
		stop_pair(v, p);
	return start_pair(v, p, 3);
}

void xn_vdev_look_again(struct xn_vdev *v)
{
	for (unsigned p = 0; p < v->opts.pairs; p++)
		if (ready_of(v, p) & ~v->pairs[p].running && !v->pairs[p].due_ns)
			v->pairs[p].due_ns = xn_vdev_in_a_while();
	xn_vdev_ctrl_look_again(v);
}

bool xn_vdev_ring_runs(const struct xn_vdev *v, unsigned index)
{
	if (xn_vdev_is_ctrl(v, index))
		return v->ctrl.running;
	return index < 2 * v->opts.pairs && v->pairs[index / 2].running & 1u << index % 2;
}

static bool any_runs(const struct xn_vdev *v)
{
	for (unsigned p = 0; p < v->opts.pairs; p++)
		if (v->pairs[p].running)
			return true;
	return false;
}

bool xn_vdev_runs(const struct xn_vdev *v)
{
	return any_runs(v) || v->ctrl.running;
}

/* Nobody is left for whom they could take frames. */
static void stand_down(struct xn_vdev *v)
{
	bool any = false;

	v->stand_due_ns = 0;
	for (unsigned p = 0; p < v->opts.pairs; p++) {
		any |= v->pairs[p].stands_by;
		xn_worker_park(v->pairs[p].worker);
	}
	if (any)
		(void)xn_dev_stop(v->dev);
	for (unsigned p = 0; p < v->opts.pairs; p++)
		pair_stopped(v, p);
}

void xn_vdev_ring_halt(struct xn_vdev *v, unsigned index)
{
	if (!xn_vdev_ring_runs(v, index)) {
		if (!any_runs(v))   /* the last start has failed */
			stand_down(v);
		return;
	}
	if (xn_vdev_is_ctrl(v, index)) {
		xn_vdev_ctrl_stop(v);
		return;
	}
	if (v->pairs[index / 2].running == 3)
		v->pairs[index / 2].due_ns = xn_vdev_in_a_while();
	stop_pair(v, index / 2);
	if (any_runs(v))
		stand_by_soon(v);
	else
		stand_down(v);
}

/* ---- all of it -------------------------------------------------------------------------------- */

void xn_vdev_stop_all(struct xn_vdev *v, struct xn_vdev_ran *ran)
{
	bool any = false;

	*ran = (struct xn_vdev_ran){ .ctrl = v->ctrl.running };
	for (unsigned p = 0; p < v->opts.pairs; p++) {
		ran->pairs[p] = v->pairs[p].running;
		any |= is_up(&v->pairs[p]);
	}
	v->stand_due_ns = 0;
	if (any) {
		/* Together: packets that do not leave are waited for once, not pair by pair. */
		xn_vdev_park(v);
		(void)xn_dev_stop(v->dev);
		for (unsigned p = 0; p < v->opts.pairs; p++)
			pair_stopped(v, p);
	}
	if (v->ctrl.running)
		xn_vdev_ctrl_stop(v);
}

int xn_vdev_start_again(struct xn_vdev *v, const struct xn_vdev_ran *ran)
{
	int err = 0;

	for (unsigned p = 0; p < v->opts.pairs; p++) {
		const unsigned rings = ran->pairs[p] & ready_of(v, p);
		int e = rings ? start_pair(v, p, rings) : 0;

		if (e)
			v->pairs[p].due_ns = xn_vdev_in_a_while();
		err = err ? err : e;
	}
	if (ran->ctrl && xn_vdev_ring_ready(v, xn_vdev_ctrl_index(v))) {
		int e = xn_vdev_ctrl_start(v);

		if (e)
			v->ctrl.due_ns = xn_vdev_in_a_while();
		err = err ? err : e;
	}
	return err;
}

void xn_vdev_park(struct xn_vdev *v)
{
	for (unsigned p = 0; p < v->opts.pairs; p++)
		xn_worker_park(v->pairs[p].worker);
}

void xn_vdev_unpark(struct xn_vdev *v)
{
	for (unsigned p = 0; p < v->opts.pairs; p++)
		if (is_up(&v->pairs[p]))
			run_worker(v, p);
}

void xn_vdev_park_ring(struct xn_vdev *v, unsigned index)
{
	if (index < 2 * v->opts.pairs)
		xn_worker_park(v->pairs[index / 2].worker);
}

void xn_vdev_unpark_ring(struct xn_vdev *v, unsigned index)
{
	if (index < 2 * v->opts.pairs && is_up(&v->pairs[index / 2]))
		run_worker(v, index / 2);
}

/* ---- where frames may come ----------------------------------------------------------------- */

/* Pairs from the first on that take frames. */
static unsigned used(const struct xn_vdev *v)
{
	unsigned n = 0;

	while (n < v->opts.pairs && ready_of(v, n) & 1 && enabled(v, 2 * n))
		n++;
	return n;
}

/* Front ends tell of one ring after the other: the library is told once of all of them. */
static void look_at_used(struct xn_vdev *v, uint64_t now_ns)
{
	const unsigned n = used(v);

	if (!n || n == v->used) {
		v->used_due_ns = 0;
	} else if (!v->used_due_ns) {
		v->used_due_ns = xn_vdev_in_a_while();
	} else if (v->used_due_ns <= now_ns) {
		v->used_due_ns = 0;
		v->used = n;
		if (xn_dev_use_pairs(v->dev, n))
			xn_peer_log(XN_LOG_WARN, "frames may come on queue pairs that the guest does "
				    "not use: %s", xn_last_error());
	}
}

/* ---- what is due --------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a && (!b || a < b) ? a : b;
}

int xn_vdev_timeout_ms(const struct xn_vdev *v)
{
	const uint64_t now = xn_now_ns();
	uint64_t due = xn_vdev_ctrl_due_ns(v, now);

	for (unsigned p = 0; p < v->opts.pairs; p++)
		due = earlier(due, v->pairs[p].due_ns);
	due = earlier(due, v->used_due_ns);
	due = earlier(due, v->stand_due_ns);
	if (!due)
		return -1;
	return due <= now ? 0 : (int)((due - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* Stops and starts with all that is ready. */
static void start_due(struct xn_vdev *v, unsigned p)
{
	const unsigned ready = ready_of(v, p);

	v->pairs[p].due_ns = 0;
	if (ready == v->pairs[p].running)
		return;
	if (is_up(&v->pairs[p]))
		stop_pair(v, p);
	stand_by_soon(v);   /* as well if it fails */
	if (!ready || !start_pair(v, p, ready))
		return;
	xn_peer_log(XN_LOG_ERROR, "queue pair %u does not start: %s", p, xn_last_error());
	for (unsigned i = 0; i < 2; i++)
		if (ready & 1u << i)
			xn_vdev_ring_error(v, 2 * p + i);
}

/* One pair a turn: a start registers guest memory with the kernel, and others wait meanwhile. */
static void stand_by(struct xn_vdev *v)
{
	unsigned p = 0;

	v->stand_due_ns = 0;
	if (!any_runs(v)) {
		stand_down(v);
		return;
	}
	while (p < v->opts.pairs && (is_up(&v->pairs[p]) || v->pairs[p].due_ns))
		p++;
	if (p == v->opts.pairs)
		return;
	if (!start_pair(v, p, 0)) {
		v->stand_due_ns = xn_now_ns();
	} else {
		xn_peer_log(XN_LOG_WARN, "queue pair %u is not used by the guest, and cannot take what "
			    "comes on its host queue for others: %s", p, xn_last_error());
	}
}

void xn_vdev_handle(struct xn_vdev *v)
{
	const uint64_t now = xn_now_ns();

	for (unsigned p = 0; p < v->opts.pairs; p++)
		if (v->pairs[p].due_ns && v->pairs[p].due_ns <= now)
			start_due(v, p);
	if (v->stand_due_ns && v->stand_due_ns <= now)
		stand_by(v);
	xn_vdev_ctrl_handle(v, now);
	look_at_used(v, now);
}
