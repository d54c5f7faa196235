/* SPDX-License-Identifier: BSD-2-Clause */
/* Life cycle of the device: implements the middle of xsknet.h. States in engine/dev.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/opts.h"
#include "engine/dev.h"

#define DATA_PATH_FEATURES \
	(XN_BIT(VIRTIO_F_VERSION_1) | XN_BIT(VIRTIO_RING_F_INDIRECT_DESC) | \
	 XN_BIT(VIRTIO_RING_F_EVENT_IDX) | XN_BIT(VIRTIO_F_RING_PACKED) | \
	 XN_BIT(VIRTIO_F_IN_ORDER) | \
	 XN_BIT(VIRTIO_NET_F_MRG_RXBUF))
#define VMM_FEATURES \
	(XN_BIT(VIRTIO_NET_F_MAC) | XN_BIT(VIRTIO_NET_F_MTU) | XN_BIT(VIRTIO_NET_F_STATUS) | \
	 XN_BIT(VIRTIO_NET_F_CTRL_VQ) | XN_BIT(VIRTIO_NET_F_MQ) | \
	 XN_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | XN_BIT(VIRTIO_NET_F_SPEED_DUPLEX) | \
	 XN_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | XN_BIT(VIRTIO_F_RING_RESET))

#define FILTER_FEATURES \
	(XN_BIT(VIRTIO_NET_F_CTRL_RX) | XN_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | \
	 XN_BIT(VIRTIO_NET_F_CTRL_VLAN))
#define COAL_FEATURES (XN_BIT(XN_NET_F_NOTF_COAL) | XN_BIT(XN_NET_F_VQ_NOTF_COAL))
#define GRO_FEATURES \
	(XN_BIT(VIRTIO_NET_F_GUEST_TSO4) | XN_BIT(VIRTIO_NET_F_GUEST_TSO6) | \
	 XN_BIT(VIRTIO_NET_F_GUEST_ECN) | XN_BIT(XN_NET_F_GUEST_USO4) | XN_BIT(XN_NET_F_GUEST_USO6))
#define SEGMENT_FEATURES \
	(XN_BIT(VIRTIO_NET_F_HOST_TSO4) | XN_BIT(VIRTIO_NET_F_HOST_TSO6) | XN_BIT(XN_NET_F_HOST_USO))

#define STAND_BY_FRAMES 64u           /* that a pair without rings has for what comes for others */
#define DRAIN_NS       200000000ull   /* how long a stop waits for packets to leave */
#define DRAIN_PAUSE_NS 500000l

/* ---- create and destroy ---- */

uint64_t xn_port_features(const struct xn_port *port)
{
	uint64_t filter = port->ops->set_rx_filter ? FILTER_FEATURES : 0;
	/* Buffers that are held back for frames of other host queues would hold up all others. */
	const uint64_t no = port->ops->set_rss && port->n_queues > 1 ? XN_BIT(VIRTIO_F_IN_ORDER) : 0;

	if (filter && !port->fixed_mac)
		filter |= XN_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR);
	return (DATA_PATH_FEATURES & ~no) | GRO_FEATURES | VMM_FEATURES | port->features | filter |
	       XN_BIT(VIRTIO_NET_F_HASH_REPORT) | COAL_FEATURES |
	       (port->ops->set_rss ? XN_BIT(VIRTIO_NET_F_RSS) : 0);
}

static struct xn_queue *queue_create(struct xn_dev *dev, unsigned pair)
{
	struct xn_queue *q = aligned_alloc(XN_CACHE_LINE, XN_ALIGN_UP(sizeof(*q), XN_CACHE_LINE));

	if (!q)
		return NULL;
	memset(q, 0, sizeof(*q));
	q->dev = dev;
	q->pair = pair;
	q->rx.index = 2 * pair;
	q->tx.index = 2 * pair + 1;
	q->rx.kick_fd = q->rx.call_fd = q->tx.kick_fd = q->tx.call_fd = -1;
	q->max_frame = dev->port->tx_frame;
	q->hold.timer_fd = -1;
	return q;
}

static void queue_destroy(struct xn_queue *q)
{
	if (!q)
		return;
	xn_hold_close(&q->hold);
	free(q);
}

int xn_dev_create(struct xn_dev **out, struct xn_mem *mem, struct xn_port *port,
		  const struct xn_dev_opts *in)
{
	struct xn_dev_opts opts;
	struct xn_dev *dev;

	*out = NULL;
	if (!xn_opts_take(&opts, sizeof(opts), in))
		return xn_fail(E2BIG, "xn_dev_opts: members that this library does not know "
			       "(set .sz = sizeof(struct xn_dev_opts), the rest to 0)");
	if (!opts.pairs)
		opts.pairs = 1;
	if (opts.pairs > port->n_queues || opts.pairs > XN_MAX_PAIRS)
		return xn_fail(EINVAL, "%u queue pairs wanted, the port serves %u",
			       opts.pairs, XN_MIN(port->n_queues, XN_MAX_PAIRS));
	if (port->in_use)
		return xn_fail(EBUSY, "the port has a device already");
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return xn_fail(ENOMEM, "out of memory for a device");
	dev->mem = mem;
	dev->port = port;
	dev->opts = opts;
	pthread_mutex_init(&dev->hash.lock, NULL);
	xn_dev_forget_driver(dev);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(dev->rings); i++)
		dev->rings[i].v.kick_fd = dev->rings[i].v.call_fd = -1;
	if (mem)
		mem->users++;
	port->in_use = true;
	for (unsigned i = 0; i < opts.pairs; i++) {
		dev->queues[i] = queue_create(dev, i);
		if (!dev->queues[i]) {
			xn_dev_destroy(dev);
			return xn_fail(ENOMEM, "out of memory for queue pair %u", i);
		}
	}
	*out = dev;
	return 0;
}

static bool pairs_run(const struct xn_dev *dev)
{
	for (unsigned i = 0; i < dev->opts.pairs; i++)
		if (dev->queues[i] && dev->queues[i]->running)
			return true;
	return false;
}

static bool unproven(const struct xn_dev *dev)
{
	for (unsigned i = 0; i < dev->opts.pairs; i++)
		if (dev->queues[i]->unproven)
			return true;
	return false;
}

static bool runs(const struct xn_dev *dev)
{
	return dev->ctrl.running || pairs_run(dev);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void xn_dev_destroy(struct xn_dev *dev)
{
	if (!dev)
		return;
	if (dev->ctrl.running)
		xn_dev_ctrl_stop(dev);
	if (pairs_run(dev))
		xn_dev_stop(dev);
	for (unsigned i = 0; i < dev->opts.pairs; i++)
		queue_destroy(dev->queues[i]);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(dev->rings); i++) {
		close_fd(dev->rings[i].v.kick_fd);
		close_fd(dev->rings[i].v.call_fd);
	}
	if (dev->mem)
		dev->mem->users--;
	dev->port->in_use = false;
	pthread_mutex_destroy(&dev->hash.lock);
	free(dev);
}

/* ---- what the VMM says ---- */

int xn_dev_set_mem(struct xn_dev *dev, struct xn_mem *mem)
{
	if (runs(dev))
		return xn_fail(EINVAL, "guest memory cannot change while the device runs");
	if (dev->mem)
		dev->mem->users--;
	if (mem)
		mem->users++;
	dev->mem = mem;
	return 0;
}

int xn_dev_set_features(struct xn_dev *dev, uint64_t features)
{
	uint64_t odd = features & ~xn_port_features(dev->port);
	const uint64_t modern = features & ~UINT64_C(0xffffffff);

	if (runs(dev))
		return xn_fail(EINVAL, "features cannot change while the device runs");
	if (odd)
		return xn_fail(EINVAL, "features 0x%llx were not offered", (unsigned long long)odd);
	/* Drivers from before virtio 1.0 cannot know of those. */
	if (modern && !(features & XN_BIT(VIRTIO_F_VERSION_1)))
		return xn_fail(EINVAL, "features 0x%llx need VIRTIO_F_VERSION_1",
			       (unsigned long long)modern);
	for (unsigned i = 0; i < dev->opts.pairs; i++)
		xn_hold_close(&dev->queues[i]->hold);
	dev->features = features;
	dev->features_set = true;
	xn_dev_forget_driver(dev);
	return 0;
}

/* Makes a duplicate that does not block (-1: of none). 0 or -errno. */
static int take_fd(int *mine, int theirs)
{
	int flags;

	*mine = -1;
	if (theirs < 0)
		return 0;
	*mine = fcntl(theirs, F_DUPFD_CLOEXEC, 3);
	if (*mine < 0)
		return -errno;
	flags = fcntl(*mine, F_GETFL);
	return flags < 0 || fcntl(*mine, F_SETFL, flags | O_NONBLOCK) ? -EINVAL : 0;
}

/* Is this the control queue's, for this driver? It may hide one that a pair has for others. */
static bool is_ctrl(const struct xn_dev *dev, unsigned index)
{
	return (dev->features & XN_BIT(VIRTIO_NET_F_CTRL_VQ)) && index == xn_dev_ctrl_index(dev);
}

/* Where in dev->rings this vring stands. */
static unsigned ring_slot(const struct xn_dev *dev, unsigned index)
{
	return is_ctrl(dev, index) ? XN_CTRL_RING : index;
}

static enum xn_vq_dir slot_dir(unsigned slot)
{
	if (slot == XN_CTRL_RING)
		return XN_VQ_BOTH;
	return slot & 1 ? XN_VQ_FROM_GUEST : XN_VQ_TO_GUEST;
}

static struct xn_vq_cfg ring_cfg(const struct xn_dev *dev, unsigned slot, const struct xn_vring *v)
{
	return (struct xn_vq_cfg){
		.size = v->size, .desc = XN_GPA(v->desc_gpa), .avail = XN_GPA(v->avail_gpa),
		.used = XN_GPA(v->used_gpa), .base = v->base,
		.dir = slot_dir(slot),
		.packed = dev->features & XN_BIT(VIRTIO_F_RING_PACKED),
		.in_order = dev->features & XN_BIT(VIRTIO_F_IN_ORDER),
		.event_idx = dev->features & XN_BIT(VIRTIO_RING_F_EVENT_IDX),
		.indirect = dev->features & XN_BIT(VIRTIO_RING_F_INDIRECT_DESC),
		.min_bytes = xn_dev_hdr_bytes(dev),
		.inflight = v->inflight,
	};
}

/* There is such a vring, and it may change now. */
static int check_vring(const struct xn_dev *dev, unsigned index)
{
	bool ctrl = is_ctrl(dev, index);

	if (!ctrl && index >= 2 * dev->opts.pairs)
		return xn_fail(EINVAL, "vring %u: the device has %u", index, 2 * dev->opts.pairs);
	if (ctrl ? dev->ctrl.running : dev->queues[index / 2]->running)
		return xn_fail(EINVAL, "vring %u cannot change while it runs", index);
	return 0;
}

int xn_dev_set_vring(struct xn_dev *dev, unsigned index, const struct xn_vring *ring)
{
	struct xn_ring_setup *r;
	int err, kick = -1, call = -1;
	struct xn_vq_cfg cfg;
	struct xn_vq trial;
	unsigned slot;

	err = check_vring(dev, index);
	if (err)
		return err;
	if (!dev->mem)
		return xn_fail(EINVAL, "vring %u: guest memory first (xn_dev_set_mem)", index);
	if ((uintptr_t)ring->inflight % XN_CACHE_LINE)
		return xn_fail(EINVAL, "vring %u: inflight memory is not aligned to %u bytes",
			       index, XN_CACHE_LINE);
	slot = ring_slot(dev, index);
	/* Set up once and thrown away: errors belong here, not to the start. What a start
	 * would find noted stays for it. */
	cfg = ring_cfg(dev, slot, ring);
	cfg.inflight = NULL;
	err = xn_vq_init(&trial, dev->mem, &dev->ctrl.ctr, &cfg);   /* counts nothing */
	if (err)
		return err;
	xn_vq_fini(&trial);

	r = &dev->rings[slot];
	err = take_fd(&kick, ring->kick_fd);
	if (!err)
		err = take_fd(&call, ring->call_fd);
	if (err) {
		close_fd(kick);
		close_fd(call);
		return xn_fail(-err, "vring %u: kick or call fd is not usable", index);
	}
	close_fd(r->v.kick_fd);
	close_fd(r->v.call_fd);
	r->v.kick_fd = kick;
	r->v.call_fd = call;
	r->v.size = ring->size;
	r->v.desc_gpa = ring->desc_gpa;
	r->v.avail_gpa = ring->avail_gpa;
	r->v.used_gpa = ring->used_gpa;
	r->v.base = ring->base;
	r->v.inflight = ring->inflight;
	r->set = true;
	if (slot != XN_CTRL_RING && xn_dev_has(dev, VIRTIO_F_RING_RESET) && xn_ring_is_new(dev, r))
		xn_hold_ring_is_new(dev, index);
	return 0;
}

int xn_dev_unset_vring(struct xn_dev *dev, unsigned index)
{
	struct xn_ring_setup *r;
	int err = check_vring(dev, index);

	if (err)
		return err;
	r = &dev->rings[ring_slot(dev, index)];
	close_fd(r->v.kick_fd);
	close_fd(r->v.call_fd);
	*r = (struct xn_ring_setup){ .v = { .kick_fd = -1, .call_fd = -1 } };
	return 0;
}

uint32_t xn_dev_vring_base(const struct xn_dev *dev, unsigned index)
{
	unsigned slot = ring_slot(dev, index);

	assert(slot < XN_ARRAY_SIZE(dev->rings));
	return dev->rings[slot].v.base;
}

struct xn_queue *xn_dev_queue(struct xn_dev *dev, unsigned pair)
{
	return pair < dev->opts.pairs ? dev->queues[pair] : NULL;
}

/* ---- start and stop ---- */

/* A ring that is not set is like one that was stopped before it began, of which nobody
 * needs to be told: nothing is taken from it, it asks for no kick, there is nothing to stop. */
static void leave_out(struct xn_ring_side *s, struct xn_counters *ctr)
{
	s->vq = (struct xn_vq){ .broken = XN_FAULT_COUNT, .ctr = ctr };
	s->broken_told = true;
}

/* What the log is for those who mark; NULL: off. */
static const struct xn_dirty *dirty_log(const struct xn_dev *dev)
{
	return dev->dirty.map ? &dev->dirty : NULL;
}

int xn_ring_start(struct xn_dev *dev, struct xn_ring_side *s, const struct xn_ring_setup *r,
		  struct xn_counters *ctr)
{
	const struct xn_vq_cfg cfg = ring_cfg(dev, (unsigned)(r - dev->rings), &r->v);
	int err;

	s->kick_fd = r->v.kick_fd;
	s->call_fd = r->v.call_fd;
	s->missing = !r->set;
	s->broken_told = false;
	if (s->missing) {
		leave_out(s, ctr);
		return 0;
	}
	err = xn_vq_init(&s->vq, dev->mem, ctr, &cfg);
	if (!err)
		xn_vq_set_log(&s->vq, dirty_log(dev));
	return err;
}

void xn_ring_end(struct xn_ring_side *s, struct xn_ring_setup *r)
{
	if (!s->missing)
		r->v.base = xn_vq_base(&s->vq);
	xn_vq_fini(&s->vq);
}

static void set_log(struct xn_queue *q)
{
	q->log = dirty_log(q->dev);
	if (!q->rx.missing)
		xn_vq_set_log(&q->rx.vq, q->log);
	if (!q->tx.missing)
		xn_vq_set_log(&q->tx.vq, q->log);
}

void xn_dev_set_dirty_log(struct xn_dev *dev, void *bitmap, uint64_t bytes)
{
	dev->dirty = (struct xn_dirty){ .map = bitmap, .bytes = bytes };
	for (unsigned i = 0; i < dev->opts.pairs; i++)
		if (dev->queues[i]->running)
			set_log(dev->queues[i]);
	if (dev->ctrl.running)
		xn_vq_set_log(&dev->ctrl.side.vq, dirty_log(dev));
}

/*
 * Buffers that are there already are lent before the first turn: a frame that comes at
 * once finds one. No more than a ring of them: a guest that takes refused ones back at once
 * could go on for ever.
 */
static void lend_first(struct xn_queue *q, uint32_t left)
{
	while (left) {
		unsigned n = xn_rx_refill(q);

		if (!n)
			break;
		left -= XN_MIN(n, left);
	}
	xn_queue_flush(q);
}

/* Without a ring it is there for frames that come on its host queue for others. */
static bool stands_by(const struct xn_dev *dev, const struct xn_queue *q)
{
	return !dev->rings[q->rx.index].set && !dev->rings[q->tx.index].set;
}

/* What is not negotiated costs nothing. */
static unsigned (*deliver_variant(const struct xn_queue *q))(struct xn_queue *, unsigned)
{
	const bool gro = xn_dev_gro(q->dev);

	switch (q->hdr_bytes) {
	case XN_NET_HDR_LEGACY_BYTES: return xn_rx_deliver_legacy;   /* buffers are not merged there */
	case XN_NET_HDR_HASH_BYTES:
		return gro ? xn_rx_deliver_gro_hashed : xn_rx_deliver_hashed;
	default:
		return gro ? xn_rx_deliver_gro : xn_rx_deliver;
	}
}

/* A longer frame than a chunk takes several. */
static uint32_t stand_by_frames(const struct xn_dev *dev)
{
	return STAND_BY_FRAMES * (1 + dev->port->max_frame / XN_CHUNK_BYTES);
}

static int start_queue(struct xn_dev *dev, struct xn_queue *q)
{
	const struct xn_portq_cfg cfg = {
		.mem = dev->mem, .index = q->pair,
		/* 1 for a ring that is missing. */
		.rx_heads = stands_by(dev, q) ? stand_by_frames(dev) : XN_MAX(dev->rings[q->rx.index].v.size, 1u),
		.tx_heads = XN_MAX(dev->rings[q->tx.index].v.size, 1u),
		.hdr_bytes = xn_dev_hdr_bytes(dev),
		.merge = dev->features & XN_BIT(VIRTIO_NET_F_MRG_RXBUF),
		.in_order = dev->features & XN_BIT(VIRTIO_F_IN_ORDER),
		.rx_off = q->rx_off || stands_by(dev, q),
		.guest_csum = dev->features & XN_BIT(VIRTIO_NET_F_GUEST_CSUM),
		.segments = dev->features & SEGMENT_FEATURES,
		.ctr = &q->ctr,
	};
	struct xn_portq_cfg with_tables = cfg;
	int err;

	q->hdr_bytes = cfg.hdr_bytes;
	q->keep_bytes = cfg.hdr_bytes + dev->port->max_frame;
	q->deliver = deliver_variant(q);
	if (xn_dev_has(dev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)) {
		q->deliver_now = q->deliver;
		q->deliver = xn_rx_deliver_switched;
	}
	err = xn_queue_alloc(q, cfg.rx_heads, cfg.tx_heads);
	q->mem = dev->mem;
	q->log = dirty_log(dev);
	q->rules = (struct xn_offload_rules){ .features = dev->features, .max_frame = q->max_frame,
					      .whole = dev->port->whole };
	if (err)
		goto out_tables;
	err = xn_ring_start(dev, &q->rx, &dev->rings[q->rx.index], &q->ctr);
	if (err)
		goto out_tables;
	err = xn_ring_start(dev, &q->tx, &dev->rings[q->tx.index], &q->ctr);
	if (err)
		goto out_rx;
	q->holds = dev->features & COAL_FEATURES;
	err = q->holds ? xn_hold_start(q) : 0;
	if (err)
		goto out_tx;
	with_tables.bufs = q->bufs;
	with_tables.rests = q->rests;
	err = dev->port->ops->start(dev->port, &with_tables, &q->port);
	if (err)
		goto out_tx;
	q->unproven = false;
	q->ops = q->port->ops;
	q->running = true;
	lend_first(q, cfg.rx_heads);
	return 0;

out_tx:
	xn_ring_end(&q->tx, &dev->rings[q->tx.index]);
out_rx:
	xn_ring_end(&q->rx, &dev->rings[q->rx.index]);
out_tables:
	xn_queue_free(q);
	return err;
}

/* What has arrived is delivered; what was posted for sending gets time to leave. */
static void drain(struct xn_queue *q, uint64_t deadline)
{
	const struct timespec pause = { .tv_nsec = DRAIN_PAUSE_NS };

	q->ops->quiesce(q->port);
	/* A batch of nothing but drops delivers nothing, and is not the end. */
	while (q->deliver(q, XN_BATCH_MAX) || (q->ops->rx_waiting(q->port) && xn_now_ns() < deadline))
		;
	for (;;) {
		unsigned back = 0, n;

		q->ops->tx_kick(q->port);
		while ((n = xn_tx_reclaim(q)))
			back += n;
		if (!q->tx.vq.outstanding || xn_now_ns() > deadline)
			break;
		if (!back)
			nanosleep(&pause, NULL);
	}
	xn_queue_flush(q);
	/* Those that the kernel has are not sent a second time: they count as used, once
	 * nobody reads them any more. */
	q->ops->tx_give_up(q->port);
	while (xn_tx_reclaim(q))
		;
}

/*
 * 0, or what the port says: then it may still write to what it was lent. None of that is
 * given back to the guest, neither as used, nor for the next start by going back over it.
 */
static int stop_queue(struct xn_dev *dev, struct xn_queue *q, uint64_t deadline)
{
	int err;

	drain(q, deadline);
	if (q->holds)
		xn_hold_settle(q);
	err = q->ops->stop(q->port);
	q->port = NULL;
	q->running = false;
	q->unproven = err != 0;
	if (!err)
		xn_queue_take_back(q);
	xn_ring_end(&q->tx, &dev->rings[q->tx.index]);
	xn_ring_end(&q->rx, &dev->rings[q->rx.index]);
	xn_queue_free(q);
	return err;
}

/* In the queue's own thread. What is shared with other queues, the port guards. */
void xn_queue_restart(struct xn_queue *q)
{
	const char *why = q->port->restart;
	const struct xn_dev_opts *o = &q->dev->opts;
	struct xn_event e = { .kind = XN_EVENT_QUEUE_RESTARTED, .index = q->pair, .name = why };
	int err = stop_queue(q->dev, q, xn_now_ns() + DRAIN_NS);

	XN_COUNT(&q->ctr, queue_restarts, 1);
	if (!err)
		err = start_queue(q->dev, q);
	if (err)
		e.kind = XN_EVENT_QUEUE_STOPPED;
	xn_log(err ? XN_LOG_ERROR : XN_LOG_WARN, "queue pair %u was stopped%s: %s", q->pair,
	       err ? ", and cannot be started again" : " and started again", why);
	if (o->event)
		o->event(o->arg, &e);
}

/* A queue that has stopped, but has not been proven to be still. */
static int settle(struct xn_queue *q)
{
	const struct xn_port_ops *ops = q->dev->port->ops;
	int err = q->unproven && ops->settle ? ops->settle(q->dev->port, q->pair) : 0;

	q->unproven = err != 0;
	return err;
}

/* What every start needs. */
int xn_dev_check_start(const struct xn_dev *dev)
{
	if (!dev->features_set)
		return xn_fail(EINVAL, "features first (xn_dev_set_features), then start");
	if (!dev->mem)
		return xn_fail(EINVAL, "guest memory first (xn_dev_set_mem), then start");
	if (xn_mem_poisoned(dev->mem))
		return xn_fail(EFAULT, "the file of guest memory was truncated: it has to be given anew");
	return 0;
}

int xn_queue_start(struct xn_queue *q)
{
	struct xn_dev *dev = q->dev;
	int err;

	if (q->running)
		return xn_fail(EINVAL, "queue pair %u runs already", q->pair);
	err = xn_dev_check_start(dev);
	if (err)
		return err;
	(void)xn_dev_steer(dev);   /* if it fails, frames come as before: known from xn_port_get_rss */
	return start_queue(dev, q);
}

int xn_queue_stop(struct xn_queue *q)
{
	if (q->unproven)
		return settle(q);
	if (!q->running)
		return xn_fail(EINVAL, "queue pair %u does not run", q->pair);
	return stop_queue(q->dev, q, xn_now_ns() + DRAIN_NS);
}

int xn_dev_start(struct xn_dev *dev)
{
	int err;

	if (pairs_run(dev))
		return xn_fail(EINVAL, "the device runs already");
	for (unsigned i = 0; i < 2 * dev->opts.pairs; i++)
		if (!dev->rings[i].set)
			return xn_fail(EINVAL, "vring %u is not set (xn_dev_set_vring)", i);
	for (unsigned i = 0; i < dev->opts.pairs; i++) {
		err = xn_queue_start(dev->queues[i]);
		if (err) {
			while (i--)
				xn_queue_stop(dev->queues[i]);
			return err;
		}
	}
	return 0;
}

int xn_dev_stop(struct xn_dev *dev)
{
	uint64_t deadline = xn_now_ns() + DRAIN_NS;   /* for all of them */
	int first = 0;

	if (!pairs_run(dev) && !unproven(dev))
		return xn_fail(EINVAL, "the device does not run");
	for (unsigned i = 0; i < dev->opts.pairs; i++) {
		struct xn_queue *q = dev->queues[i];
		int err = q->running ? stop_queue(dev, q, deadline) : settle(q);

		first = first ? first : err;
	}
	return first;
}

void xn_queue_enable(struct xn_queue *q, bool rx, bool tx)
{
	bool changed = q->rx_off == rx;

	q->rx_off = !rx;
	q->tx_off = !tx;
	if (q->running && changed)
		q->ops->set_rx(q->port, rx);
}

/* ---- events ---- */

int xn_dev_event_fd(const struct xn_dev *dev)
{
	return dev->port->ops->event_fd ? dev->port->ops->event_fd(dev->port) : -1;
}

void xn_dev_handle_events(struct xn_dev *dev)
{
	if (dev->port->ops->handle_events)
		dev->port->ops->handle_events(dev->port, dev->opts.event, dev->opts.arg);
}
