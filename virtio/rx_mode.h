/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands of the control queue that say which frames the driver wants (VIRTIO 1.3, 5.1.6.5.1
 * receive mode, 5.1.6.5.2 MAC addresses, 5.1.6.5.3 VLANs), made into a filter (base/filter.h).
 *
 * A device that was not told anything is promiscuous: a driver that does not know these
 * commands gets what it always got. (Linux says what it wants when the interface is set up.)
 */
#ifndef XN_VIRTIO_RX_MODE_H
#define XN_VIRTIO_RX_MODE_H

#include "base/filter.h"

/* Which of the classes were negotiated. */
struct xn_rx_mode_rules {
	bool rx, rx_extra;         /* VIRTIO_NET_F_CTRL_RX, _CTRL_RX_EXTRA */
	bool mac_addr;             /* VIRTIO_NET_F_CTRL_MAC_ADDR: the address may be set */
	bool vlan;                 /* VIRTIO_NET_F_CTRL_VLAN */
};

/* As the device starts: with `vlan` no VLAN is in the table (5.1.6.5.3). */
void xn_rx_mode_reset(struct xn_rx_filter *f, const struct xn_rx_mode_rules *rules,
		      const uint8_t mac[6]);

/*
 * A command of class VIRTIO_NET_CTRL_RX, _MAC or _VLAN; `data`: its `bytes` bytes, which nobody
 * else can change. VIRTIO_NET_OK, and *f says what is in force from now on, or VIRTIO_NET_ERR
 * and *f is as it was.
 */
uint8_t xn_rx_mode_command(struct xn_rx_filter *f, const struct xn_rx_mode_rules *rules,
			   uint8_t class, uint8_t command, const uint8_t *data, uint32_t bytes);

#endif
