/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VIRTIO_NET_CTRL_MQ: how many queue pairs the driver uses, and how frames find them (VIRTIO 1.3,
 * 5.1.6.5.6). Of the two ways the command that came last decides:
 *
 *	VQ_PAIRS_SET   so many pairs; how frames find them is ours to choose
 *	RSS_CONFIG     by the driver's key and table; the pairs are those that it names there
 *	               for frames, or sends on
 *	HASH_CONFIG    steers nothing: what is reported of frames while RSS is not in force
 *
 * A configuration that is refused leaves the one before in force, and is counted by the reason.
 */
#include "engine/ctrl.h"

static void tell_pairs(const struct xn_dev *dev, unsigned pairs)
{
	if (dev->opts.event)
		dev->opts.event(dev->opts.arg, &(struct xn_event){ XN_EVENT_PAIRS, pairs, "" });
}

/*
 * Frames come as `next` says, on pairs that are on: those that are new to the driver are on
 * before the first frame comes there, those that it gives up are off behind the last one.
 */
static bool change(struct xn_dev *dev, const struct xn_driver_rss *next)
{
	const struct xn_driver_rss was = dev->driver_rss;
	const bool grows = next->pairs > was.pairs;

	if (grows)
		tell_pairs(dev, next->pairs);
	dev->driver_rss = *next;
	if (xn_dev_steer(dev)) {
		dev->driver_rss = was;
		if (grows)
			tell_pairs(dev, was.pairs);
		return false;
	}
	xn_dev_report_hashes(dev);
	if (!grows)
		tell_pairs(dev, next->pairs);
	return true;
}

static bool set_pairs(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	struct xn_driver_rss next = { .pairs = xn_ctrl_le16(cmd->data) };

	if (!xn_dev_many_pairs(dev) || cmd->bytes != 2 ||
	    next.pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || next.pairs > dev->opts.pairs)
		return false;
	return change(dev, &next);
}

/* True: there is none. Counts the others. */
static bool no_error(struct xn_dev *dev, enum xn_rss_error err)
{
	static const enum xn_counter counters[XN_RSS_ERROR_COUNT] = {
#define XN_X(name, text) [XN_R_##name] = XN_C_##name,
		XN_RSS_ERRORS(XN_X)
#undef XN_X
	};

	if (err)
		xn_count_add(&dev->ctrl.ctr.v[counters[err]], 1);
	return !err;
}

/* Pairs from the first on, up to the last one that the driver receives or sends on. */
static unsigned pairs_of(const struct xn_rss_config *cfg)
{
	unsigned pairs = XN_MAX(cfg->max_tx, cfg->unclassified + 1u);

	for (unsigned i = 0; i < cfg->entries; i++)
		pairs = XN_MAX(pairs, cfg->table[i] + 1u);
	return pairs;
}

static bool set_rss(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	const struct xn_rss_limits limits = XN_RSS_LIMITS((uint16_t)dev->opts.pairs);
	struct xn_driver_rss next = { .by_driver = true };

	if (!xn_dev_has(dev, VIRTIO_NET_F_RSS) ||
	    !no_error(dev, xn_rss_read_config(&next.cfg, cmd->data, cmd->bytes, &limits)))
		return false;
	next.pairs = pairs_of(&next.cfg);
	if (!change(dev, &next)) {
		XN_COUNT(&dev->ctrl.ctr, rss_port, 1);
		return false;
	}
	XN_COUNT(&dev->ctrl.ctr, rss_configs, 1);
	return true;
}

static bool set_hash(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	const struct xn_rss_limits limits = XN_RSS_LIMITS((uint16_t)dev->opts.pairs);

	if (!xn_dev_has(dev, VIRTIO_NET_F_HASH_REPORT) ||
	    !no_error(dev, xn_rss_read_hash(&dev->driver_hash, cmd->data, cmd->bytes, &limits)))
		return false;
	xn_dev_report_hashes(dev);
	return true;
}

bool xn_ctrl_mq(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	switch (cmd->command) {
	case VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET: return set_pairs(dev, cmd);
	case VIRTIO_NET_CTRL_MQ_RSS_CONFIG:   return set_rss(dev, cmd);
	case VIRTIO_NET_CTRL_MQ_HASH_CONFIG:  return set_hash(dev, cmd);
	default:                              return false;
	}
}
