/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VIRTIO_NET_CTRL_RX, _MAC and _VLAN: which frames the driver wants (virtio/rx_mode.h), told to
 * the port, which drops the others before they cost the guest anything.
 */
#include "engine/ctrl.h"

static struct xn_rx_mode_rules rules_of(const struct xn_dev *dev)
{
	return (struct xn_rx_mode_rules){
		.rx = xn_dev_has(dev, VIRTIO_NET_F_CTRL_RX),
		.rx_extra = xn_dev_has(dev, VIRTIO_NET_F_CTRL_RX_EXTRA),
		.mac_addr = xn_dev_has(dev, VIRTIO_NET_F_CTRL_MAC_ADDR),
		.vlan = xn_dev_has(dev, VIRTIO_NET_F_CTRL_VLAN),
	};
}

static bool command(struct xn_dev *dev, uint8_t class, const struct xn_ctrl_cmd *cmd)
{
	const struct xn_rx_mode_rules rules = rules_of(dev);

	/* A table that is longer than what is copied: Linux says so in its log, and goes on
	 * with what was in force. */
	if (cmd->bytes > XN_CTRL_DATA_MAX ||
	    xn_rx_mode_command(&dev->filter, &rules, class, cmd->command, cmd->data,
			       (uint32_t)cmd->bytes) != VIRTIO_NET_OK)
		return false;
	if (dev->port->ops->set_rx_filter)
		dev->port->ops->set_rx_filter(dev->port, &dev->filter);
	return true;
}

bool xn_ctrl_rx(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	return command(dev, VIRTIO_NET_CTRL_RX, cmd);
}

bool xn_ctrl_mac(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	return command(dev, VIRTIO_NET_CTRL_MAC, cmd);
}

bool xn_ctrl_vlan(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	return command(dev, VIRTIO_NET_CTRL_VLAN, cmd);
}

void xn_dev_forget_filter(struct xn_dev *dev)
{
	static const uint8_t none[6];
	const struct xn_rx_mode_rules rules = rules_of(dev);
	const uint8_t *mac = dev->opts.mac;
	struct xn_port_info info;

	if (!memcmp(mac, none, sizeof(none))) {
		xn_port_get_info(dev->port, &info);
		mac = info.mac;
	}
	xn_rx_mode_reset(&dev->filter, &rules, mac);
	if (dev->port->ops->set_rx_filter)
		dev->port->ops->set_rx_filter(dev->port, NULL);
}

void xn_dev_get_mac(const struct xn_dev *dev, uint8_t mac[6])
{
	memcpy(mac, dev->filter.mac, 6);
}
