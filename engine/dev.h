/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device: what the VMM said (features, rings), and its queue pairs.
 *
 *	created --set_features, set_vring--> ready --start--> running --stop--> ready
 *
 * A queue pair starts and stops by itself; the device runs while one of them does.
 */
#ifndef XN_ENGINE_DEV_H
#define XN_ENGINE_DEV_H

#include <linux/virtio_net.h>

#include "engine/queue.h"
#include "virtio/rx_mode.h"
#include "rss/config.h"

/* A ring as the VMM described it. */
struct xn_ring_setup {
	struct xn_vring v;     /* fds are our duplicates */
	bool set;
};

#define XN_BIT(n) (1ull << (n))

/* Rings are known by their vring index, but for that of the control queue, which moves. */
#define XN_CTRL_RING (2 * XN_MAX_PAIRS)

/* So many bytes of a command's data are copied at most: a table of 1364 MAC addresses is the
 * longest that is known. */
#define XN_CTRL_DATA_MAX 8192u

/* The control queue: engine/ctrl.c. */
struct xn_ctrl {
	struct xn_ring_side side;
	struct xn_piece *pieces;   /* max_pieces entries */
	uint32_t max_pieces;
	uint8_t copy[2 + XN_CTRL_DATA_MAX];   /* of a command */
	bool came;                 /* a driver, and has not been reset since */
	bool announce;             /* it is to announce itself, and has not yet */
	bool running;
	struct xn_counters ctr;
};

/* Which pair a frame is for, by those who may say it: engine/steer.c. */
struct xn_driver_rss {
	bool by_driver;            /* cfg is in force */
	unsigned pairs;            /* in use, from the first on */
	struct xn_rss_config cfg;
};
struct xn_vmm_rss {
	bool has_key, has_table;
	struct xn_rss_config cfg;  /* key and table */
};
struct xn_told_rss {               /* the port, last */
	bool ever, any;            /* told; a configuration */
	struct xn_rss_config cfg;
};

struct xn_dev {
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev_opts opts;
	uint64_t features;
	bool features_set;
	/* Of what the driver takes for received packets (VIRTIO_NET_F_GUEST_), what is in force now.
	 * Changes while queues run, which read it once a batch (xn_load_once64). */
	uint64_t guest_offloads;
	struct xn_ring_setup rings[2 * XN_MAX_PAIRS + 1];
	struct xn_queue *queues[XN_MAX_PAIRS];
	struct xn_ctrl ctrl;
	struct xn_rx_filter filter;
	struct xn_driver_rss driver_rss;
	struct xn_rss_config driver_hash;   /* of HASH_CONFIG; no types: none */
	struct xn_vmm_rss vmm_rss;
	struct xn_told_rss told_rss;
	struct xn_hold_said hold;
	struct xn_dev_hash hash;
	struct xn_dirty dirty;     /* map NULL: off */
};

static inline bool xn_dev_has(const struct xn_dev *dev, unsigned feature)
{
	return dev->features & XN_BIT(feature);
}

/* Nothing was ever taken from it, as far as its base says. */
static inline bool xn_ring_is_new(const struct xn_dev *dev, const struct xn_ring_setup *r)
{
	const uint32_t first = xn_dev_has(dev, VIRTIO_F_RING_PACKED) ? XN_VRING_NEW_PACKED : 0;

	return r->v.base == first || r->v.base == (first & UINT16_MAX);
}

/* Does the driver know of more than one pair? VIRTIO 1.3, 5.1.2 */
static inline bool xn_dev_many_pairs(const struct xn_dev *dev)
{
	return dev->features & (XN_BIT(VIRTIO_NET_F_MQ) | XN_BIT(VIRTIO_NET_F_RSS));
}

/* Of the virtio-net header of its packets. */
static inline uint32_t xn_dev_hdr_bytes(const struct xn_dev *dev)
{
	if (xn_dev_has(dev, VIRTIO_NET_F_HASH_REPORT))
		return XN_NET_HDR_HASH_BYTES;
	/* num_buffers is there with either (5.1.6). */
	return xn_dev_has(dev, VIRTIO_F_VERSION_1) || xn_dev_has(dev, VIRTIO_NET_F_MRG_RXBUF) ?
	       XN_NET_HDR_BYTES : XN_NET_HDR_LEGACY_BYTES;
}

/* Are segments put together, if what is in force now says so? (engine/gro.h) */
static inline bool xn_dev_gro(const struct xn_dev *dev)
{
	return dev->features & (XN_BIT(VIRTIO_NET_F_GUEST_TSO4) | XN_BIT(VIRTIO_NET_F_GUEST_TSO6) |
				XN_BIT(XN_NET_F_GUEST_USO4) | XN_BIT(XN_NET_F_GUEST_USO6)) &&
	       xn_dev_has(dev, VIRTIO_NET_F_GUEST_CSUM) && xn_dev_has(dev, VIRTIO_NET_F_MRG_RXBUF) &&
	       !xn_dev_has(dev, VIRTIO_F_IN_ORDER);
}

/* engine/steer.c: tells the port how frames find their pairs now, unless it knows. 0 or
 * -errno, and what was before stays. */
int  xn_dev_steer(struct xn_dev *dev);
/* engine/steer.c: what is hashed for reports now: what RSS hashes, else what HASH_CONFIG said. */
void xn_dev_report_hashes(struct xn_dev *dev);
/* engine/ctrl_announce.c: the driver has come from elsewhere. */
void xn_dev_ask_to_announce(struct xn_dev *dev);
/* engine/ctrl_rx.c: every frame is wanted again; the address is what it was. */
void xn_dev_forget_filter(struct xn_dev *dev);
/* What the driver has said is forgotten; all pairs are in use. */
void xn_dev_forget_driver(struct xn_dev *dev);

/* engine/dev.c: what every start needs; a ring's half of start and stop. 0 or -errno. */
int  xn_dev_check_start(const struct xn_dev *dev);
int  xn_ring_start(struct xn_dev *dev, struct xn_ring_side *s, const struct xn_ring_setup *r,
		   struct xn_counters *ctr);
/* The base is where the next start goes on. */
void xn_ring_end(struct xn_ring_side *s, struct xn_ring_setup *r);

/* engine/queue.c: publishes what was pushed, notifies the guest if it wants that. */
void xn_ring_flush(struct xn_dev *dev, struct xn_ring_side *s);
/* For used entries that were published: notifies, if the guest wants that. */
void xn_ring_decide_irq(struct xn_dev *dev, struct xn_ring_side *s);
/* For a stop: nothing of it is out any more; notifies. */
void xn_ring_take_back(struct xn_dev *dev, struct xn_ring_side *s);
/* Tells the VMM, once, of a ring that a fault has stopped. */
void xn_ring_tell_broken(struct xn_dev *dev, struct xn_ring_side *s);
/* Empties the eventfd that the guest signals. */
void xn_ring_drain_kick(const struct xn_ring_side *s);

#endif
