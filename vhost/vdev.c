/* SPDX-License-Identifier: BSD-2-Clause */
/* The device's life, features and events. Theory in vhost/vdev.h. */
#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/offload.h"
#include "base/types.h"
#include "vhost/proto.h"
#include "vhost/vdev_priv.h"

/* ---- from the library ------------------------------------------------------------- */

/* The thread that the ring belongs to. Its call fd changes only while that is parked. */
static void on_irq(void *arg, unsigned index)
{
	static const uint64_t one = 1;
	const struct xn_vdev *v = arg;

	/* It does not block: one that is full has been signalled already. */
	if (v->rings[index].call_fd >= 0)
		(void)!write(v->rings[index].call_fd, &one, sizeof(one));
}

static void on_event(void *arg, const struct xn_event *e)
{
	struct xn_vdev *v = arg;

	if (e->kind == XN_EVENT_QUEUE_BROKEN)
		xn_vdev_ring_broken(v, e->index, e->name);
	else if (e->kind == XN_EVENT_PAIRS)
		xn_vdev_set_active(v, e->index);
	else if (e->kind == XN_EVENT_PORT_GONE)
		xn_log(XN_LOG_WARN, "%s: the interface is gone, the guest has no network any more: "
		       "make it anew and restart", e->name);
	if (v->listener)
		v->listener(v->listener_arg, e);
}

/* ---- life ---------------------------------------------------------------------------- */

int xn_vdev_create(struct xn_vdev **out, struct xn_port *port, const struct xn_vdev_opts *opts)
{
	struct xn_dev_opts dev_opts = { .sz = sizeof(dev_opts), .pairs = opts->pairs,
					.irq = on_irq, .event = on_event };
	struct xn_vdev *v = calloc(1, sizeof(*v));
	int err;

	memcpy(dev_opts.mac, opts->mac, sizeof(dev_opts.mac));
	*out = NULL;
	if (!v)
		return xn_fail(ENOMEM, "out of memory for a device");
	v->port = port;
	v->opts = *opts;
	v->active = v->used = opts->pairs;
	for (unsigned i = 0; i < XN_VDEV_MAX_RINGS; i++)
		xn_vring_init(&v->rings[i]);
	dev_opts.arg = v;
	err = xn_dev_create(&v->dev, NULL, port, &dev_opts);
	for (unsigned p = 0; p < opts->pairs && !err; p++)
		err = xn_worker_create(&v->pairs[p].worker, p, &v->opts.worker);
	if (err) {
		xn_vdev_destroy(v);
		return err;
	}
	v->made = true;
	*out = v;
	return 0;
}

void xn_vdev_reset(struct xn_vdev *v)
{
	struct xn_vdev_ran ran;

	xn_vdev_stop_all(v, &ran);
	for (unsigned i = 0; i < XN_VDEV_MAX_RINGS; i++)
		xn_vring_fini(&v->rings[i]);
	for (unsigned p = 0; p < v->opts.pairs; p++)
		v->pairs[p].due_ns = 0;
	v->used_due_ns = 0;
	v->ctrl = (struct xn_ctrl_state){ 0 };
	xn_vdev_forget_areas(v);
	xn_vdev_forget_mem(v);
	v->features = 0;
	v->features_said = false;
	v->active = v->opts.pairs;
}

void xn_vdev_destroy(struct xn_vdev *v)
{
	if (!v)
		return;
	/* Half made, it has nothing yet. */
	if (v->made)
		xn_vdev_reset(v);
	for (unsigned p = 0; p < v->opts.pairs; p++)
		xn_worker_destroy(v->pairs[p].worker);
	xn_dev_destroy(v->dev);
	free(v);
}

/* ---- what others ask for ------------------------------------------------------------ */

struct xn_dev *xn_vdev_dev(struct xn_vdev *v)
{
	return v->dev;
}

const struct xn_worker *xn_vdev_worker(const struct xn_vdev *v, unsigned i)
{
	return v->pairs[i].worker;
}

struct xn_port *xn_vdev_port(const struct xn_vdev *v)
{
	return v->port;
}

const struct xn_vdev_opts *xn_vdev_opts(const struct xn_vdev *v)
{
	return &v->opts;
}

unsigned xn_vdev_rings(const struct xn_vdev *v)
{
	return 2 * v->opts.pairs + 1;
}

void xn_vdev_listen(struct xn_vdev *v, void (*fn)(void *arg, const struct xn_event *e), void *arg)
{
	/* Queue threads read both. */
	xn_vdev_park(v);
	v->listener = fn;
	v->listener_arg = arg;
	xn_vdev_unpark(v);
}

void xn_vdev_get_info(const struct xn_vdev *v, struct xn_vdev_info *info)
{
	*info = (struct xn_vdev_info){
		.regions = v->n_regions, .pairs = v->opts.pairs, .features = v->features,
		.logging = v->log.at && xn_vdev_has(v, XN_VU_F_LOG_ALL),
		.inflight = v->inflight.at,
	};
	for (unsigned i = 0; i < v->n_regions; i++)
		info->guest_bytes += v->regions[i].r.size;
	for (unsigned p = 0; p < v->opts.pairs; p++) {
		info->running += v->pairs[p].running != 0;
		info->standing_by += v->pairs[p].stands_by;
	}
	for (unsigned i = 0; i < xn_vdev_rings(v); i++)
		info->broken += xn_load_once8(&v->rings[i].broken);
}

/* ---- features -------------------------------------------------------------------------- */

uint64_t xn_vdev_offered(const struct xn_vdev *v)
{
	uint64_t f = xn_port_features(v->port) | XN_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);

	/* GET_VRING_BASE could tell of one ring's reset, and then all would be well; but QEMU, which
	 * takes this bit from us, tells nobody but taps (hw/net/virtio-net.c, virtio_net_queue_reset):
	 * the ring would go on in memory that the guest uses for something else. */
	f &= ~XN_BIT(VIRTIO_F_RING_RESET);

	if (!(v->opts.gro & XN_PUT_TCP))
		f &= ~(XN_BIT(VIRTIO_NET_F_GUEST_TSO4) | XN_BIT(VIRTIO_NET_F_GUEST_TSO6) |
		       XN_BIT(VIRTIO_NET_F_GUEST_ECN));
	if (!(v->opts.gro & XN_PUT_UDP))
		f &= ~(XN_BIT(XN_NET_F_GUEST_USO4) | XN_BIT(XN_NET_F_GUEST_USO6));
	if (v->opts.pairs == 1)
		f &= ~(XN_BIT(VIRTIO_NET_F_MQ) | XN_BIT(VIRTIO_NET_F_RSS));
	return f | XN_BIT(XN_VU_F_LOG_ALL) | XN_BIT(XN_VU_F_PROTOCOL_FEATURES);
}

bool xn_vdev_any_ready(const struct xn_vdev *v)
{
	for (unsigned i = 0; i < xn_vdev_rings(v); i++)
		if (xn_vdev_ring_ready(v, i))
			return true;
	return false;
}

int xn_vdev_set_features(struct xn_vdev *v, uint64_t features)
{
	const uint64_t odd = features & ~xn_vdev_offered(v), change = features ^ v->features;
	const uint64_t log = XN_BIT(XN_VU_F_LOG_ALL);
	int err = 0;

	if (odd)
		return xn_fail(EINVAL, "features %#llx were not offered", (unsigned long long)odd);
	if (change & ~log && xn_vdev_any_ready(v))
		return xn_fail(EBUSY, "features %#llx cannot change while rings run",
			       (unsigned long long)(change & ~log));
	if (change & log & features)
		err = xn_vdev_check_log(v, v->regions, v->n_regions);
	if (err)
		return err;
	if (change & ~log || !v->features_said) {
		err = xn_dev_set_features(v->dev, features & xn_port_features(v->port));
		if (err)
			return err;
		v->used = v->opts.pairs;   /* as the library begins */
	}
	v->features = features;
	v->features_said = true;
	if (change & log)
		xn_vdev_apply_log(v);
	xn_vdev_look_again(v);
	return 0;
}
