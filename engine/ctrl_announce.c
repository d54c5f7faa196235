/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VIRTIO_NET_CTRL_ANNOUNCE (VIRTIO 1.3, 5.1.6.5.4): a driver that has come here from elsewhere is
 * asked, by a bit of its configuration space, to tell the network where it is, and says when it
 * has.
 */
#include "engine/ctrl.h"

void xn_dev_ask_to_announce(struct xn_dev *dev)
{
	const struct xn_dev_opts *o = &dev->opts;

	if (!xn_dev_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return;
	dev->ctrl.announce = true;
	if (o->event)
		o->event(o->arg, &(struct xn_event){ XN_EVENT_CONFIG, 0, "" });
}

bool xn_ctrl_announce(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	if (!xn_dev_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE) ||
	    cmd->command != VIRTIO_NET_CTRL_ANNOUNCE_ACK || cmd->bytes)
		return false;
	dev->ctrl.announce = false;
	return true;
}

uint16_t xn_dev_get_status(const struct xn_dev *dev)
{
	struct xn_port_info info;

	xn_port_get_info(dev->port, &info);
	return (uint16_t)((info.link_up ? VIRTIO_NET_S_LINK_UP : 0) |
			  (dev->ctrl.announce ? VIRTIO_NET_S_ANNOUNCE : 0));
}
