/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VIRTIO_NET_CTRL_GUEST_OFFLOADS: what the driver takes of received packets from now on, of what
 * it has negotiated (VIRTIO 1.3, 5.1.6.5.7): unfinished checksums, packets made of segments. Linux
 * switches it when an XDP program comes to its interface, and by ethtool -K rx-gro-hw.
 *
 * One word, dev->guest_offloads, which queues read once a batch: where this was negotiated by a
 * step in front of delivery, so that those who have not pay nothing.
 */
#include "engine/ctrl.h"

#define OFFLOADS (XN_BIT(VIRTIO_NET_F_GUEST_CSUM) | XN_BIT(VIRTIO_NET_F_GUEST_TSO4) | \
		  XN_BIT(VIRTIO_NET_F_GUEST_TSO6) | XN_BIT(VIRTIO_NET_F_GUEST_ECN) | \
		  XN_BIT(VIRTIO_NET_F_GUEST_UFO) | XN_BIT(XN_NET_F_GUEST_USO4) | \
		  XN_BIT(XN_NET_F_GUEST_USO6))

static uint64_t le64(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 8; i--; )
		v = v << 8 | p[i];
	return v;
}

bool xn_ctrl_guest_offloads(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	const uint64_t wish = le64(cmd->data);

	if (!xn_dev_has(dev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || cmd->bytes != sizeof(wish) ||
	    cmd->command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || wish & ~(dev->features & OFFLOADS))
		return false;
	xn_store_once64(&dev->guest_offloads, wish);
	return true;
}

unsigned xn_rx_deliver_switched(struct xn_queue *q, unsigned budget)
{
	const uint64_t offloads = xn_load_once64(&q->dev->guest_offloads);

	q->port->cfg.guest_csum = offloads & XN_BIT(VIRTIO_NET_F_GUEST_CSUM);
	return q->deliver_now(q, budget);
}
