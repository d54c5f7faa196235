/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in virtio/rx_mode.h. */
#include <endian.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "virtio/net.h"
#include "virtio/rx_mode.h"

/* Unicast addresses that are kept at most: the others are for groups. */
#define UNI_MAX (XN_FILTER_MACS / 2)

void xn_rx_mode_reset(struct xn_rx_filter *f, const struct xn_rx_mode_rules *rules,
		      const uint8_t mac[6])
{
	*f = (struct xn_rx_filter){ .promisc = true, .vlan = rules->vlan };
	memcpy(f->mac, mac, sizeof(f->mac));
}

static uint8_t mode(struct xn_rx_filter *f, const struct xn_rx_mode_rules *rules, uint8_t command,
		    const uint8_t *data, uint32_t bytes)
{
	bool *const flags[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
	};

	if (!rules->rx || command >= XN_ARRAY_SIZE(flags) || bytes != 1 || data[0] > 1)
		return VIRTIO_NET_ERR;
	if (command > VIRTIO_NET_CTRL_RX_ALLMULTI && !rules->rx_extra)
		return VIRTIO_NET_ERR;
	*flags[command] = data[0];
	return VIRTIO_NET_OK;
}

struct table {
	const uint8_t *macs;
	uint32_t n;
};

/* Cuts a table off the front: its number of entries, and they. */
static bool cut_table(struct table *t, const uint8_t **data, uint32_t *bytes)
{
	if (*bytes < 4)
		return false;
	memcpy(&t->n, *data, 4);
	t->n = le32toh(t->n);
	*data += 4;
	*bytes -= 4;
	if (t->n > *bytes / 6)
		return false;
	t->macs = *data;
	*data += 6 * t->n;
	*bytes -= 6 * t->n;
	return true;
}

static uint8_t mac_table(struct xn_rx_filter *f, const uint8_t *data, uint32_t bytes)
{
	struct table uni, multi;

	if (!cut_table(&uni, &data, &bytes) || !cut_table(&multi, &data, &bytes) || bytes)
		return VIRTIO_NET_ERR;
	f->many_uni = uni.n > UNI_MAX;
	f->n_uni = f->many_uni ? 0 : (uint16_t)uni.n;
	f->many_multi = multi.n > XN_FILTER_MACS - f->n_uni;
	f->n_multi = f->many_multi ? 0 : (uint16_t)multi.n;
	memcpy(f->macs, uni.macs, 6u * f->n_uni);
	memcpy(f->macs + f->n_uni, multi.macs, 6u * f->n_multi);
	return VIRTIO_NET_OK;
}

static uint8_t mac(struct xn_rx_filter *f, const struct xn_rx_mode_rules *rules, uint8_t command,
		   const uint8_t *data, uint32_t bytes)
{
	if (command == VIRTIO_NET_CTRL_MAC_TABLE_SET && rules->rx)
		return mac_table(f, data, bytes);
	/* An address of one: not a group's (5.1.6.5.2). */
	if (command != VIRTIO_NET_CTRL_MAC_ADDR_SET || !rules->mac_addr || bytes != 6 || data[0] & 1)
		return VIRTIO_NET_ERR;
	memcpy(f->mac, data, 6);
	return VIRTIO_NET_OK;
}

static uint8_t vlan(struct xn_rx_filter *f, const struct xn_rx_mode_rules *rules, uint8_t command,
		    const uint8_t *data, uint32_t bytes)
{
	unsigned id;
	uint64_t bit;

	if (!rules->vlan || bytes != 2 || command > VIRTIO_NET_CTRL_VLAN_DEL)
		return VIRTIO_NET_ERR;
	id = data[0] | (unsigned)data[1] << 8;
	if (id > 4095)
		return VIRTIO_NET_ERR;
	bit = 1ull << id % 64;
	if (command == VIRTIO_NET_CTRL_VLAN_ADD)
		f->vlans[id / 64] |= bit;
	else
		f->vlans[id / 64] &= ~bit;
	return VIRTIO_NET_OK;
}

uint8_t xn_rx_mode_command(struct xn_rx_filter *f, const struct xn_rx_mode_rules *rules,
			   uint8_t class, uint8_t command, const uint8_t *data, uint32_t bytes)
{
	switch (class) {
	case VIRTIO_NET_CTRL_RX:
		return mode(f, rules, command, data, bytes);
	case VIRTIO_NET_CTRL_MAC:
		return mac(f, rules, command, data, bytes);
	case VIRTIO_NET_CTRL_VLAN:
		return vlan(f, rules, command, data, bytes);
	}
	return VIRTIO_NET_ERR;
}
