/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VIRTIO_NET_CTRL_NOTF_COAL: how long used buffers may wait for their notification (VIRTIO 1.3,
 * 5.1.6.5.8; engine/hold.h). Any numbers are taken, and told again as they were: what they come
 * to is bounded where they are used.
 *
 *	TX_SET, RX_SET   max_packets, max_usecs           le32 each; for all rings of a kind
 *	VQ_SET           vring, reserved, the same two    le16 each
 *	VQ_GET           vring, reserved                  result: the two
 */
#include "engine/ctrl.h"

enum { TX_SET, RX_SET, VQ_SET, VQ_GET };

#define WISH_BYTES 8u
#define RING_BYTES 4u

static uint32_t le32(const uint8_t *p)
{
	return xn_ctrl_le16(p) | (uint32_t)xn_ctrl_le16(p + 2) << 16;
}

static void put_le32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static xn_hold_wish wish_at(const uint8_t *p)
{
	return xn_hold_wish_of(le32(p), le32(p + 4));
}

static bool set_all(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd, unsigned kind)
{
	if (!xn_dev_has(dev, XN_NET_F_NOTF_COAL) || cmd->bytes != WISH_BYTES)
		return false;
	xn_hold_say_all(dev, kind, wish_at(cmd->data));
	return true;
}

/* A ring that the driver knows of, and has enabled. */
static bool is_enabled(const struct xn_dev *dev, unsigned index)
{
	return index < (xn_dev_many_pairs(dev) ? 2 * dev->opts.pairs : 2) && dev->rings[index].set;
}

static bool set_ring(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	const unsigned index = xn_ctrl_le16(cmd->data);

	if (!xn_dev_has(dev, XN_NET_F_VQ_NOTF_COAL) || cmd->bytes != RING_BYTES + WISH_BYTES ||
	    !is_enabled(dev, index))
		return false;
	xn_hold_say(dev, index, wish_at(cmd->data + RING_BYTES));
	return true;
}

static bool get_ring(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	const unsigned index = xn_ctrl_le16(cmd->data);
	xn_hold_wish wish;

	if (!xn_dev_has(dev, XN_NET_F_VQ_NOTF_COAL) || cmd->bytes != RING_BYTES ||
	    !is_enabled(dev, index))
		return false;
	wish = xn_load_once64(&dev->hold.ring[index]);
	put_le32(cmd->result, (uint32_t)(wish >> 32));
	put_le32(cmd->result + 4, (uint32_t)wish);
	return true;
}

bool xn_ctrl_coal(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	switch (cmd->command) {
	case TX_SET: return set_all(dev, cmd, 1);
	case RX_SET: return set_all(dev, cmd, 0);
	case VQ_SET: return set_ring(dev, cmd);
	case VQ_GET: return get_ring(dev, cmd);
	default:     return false;
	}
}
