/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which queue pair a frame is for. Three may have a say; the first that has, decides:
 *
 *	the driver     VIRTIO_NET_CTRL_MQ_RSS_CONFIG, until it says VQ_PAIRS_SET or is reset
 *	the VMM        xn_dev_set_rss; over the pairs that are in use
 *	nobody         all pairs in use: the port returns a flow to the pair that sent it;
 *	               fewer: a table of ours, so that no frame is for a pair that is not
 *
 * What comes of it is told to the port when it differs from what the port was told last:
 * when the first pair starts, and when one of the three has changed his mind.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/dev.h"

/* ---- what is to be ---- */

/* A table of the VMM may name pairs that the driver does not use: their entries go to the others. */
static void fit_table(struct xn_rss_config *cfg, unsigned pairs)
{
	for (unsigned i = 0; i < cfg->entries; i++)
		if (cfg->table[i] >= pairs)
			cfg->table[i] = (uint16_t)(i % pairs);
}

/* True: frames come by this configuration. False: it is what would do, and the port is free. */
static bool wanted(const struct xn_dev *dev, struct xn_rss_config *cfg)
{
	const struct xn_driver_rss *d = &dev->driver_rss;
	const struct xn_vmm_rss *vmm = &dev->vmm_rss;

	if (d->by_driver) {
		*cfg = d->cfg;
		return true;
	}
	xn_rss_default(cfg, d->pairs);
	if (vmm->has_key) {
		cfg->key_bytes = vmm->cfg.key_bytes;
		memcpy(cfg->key, vmm->cfg.key, sizeof(cfg->key));
	}
	if (vmm->has_table) {
		cfg->entries = vmm->cfg.entries;
		memcpy(cfg->table, vmm->cfg.table, sizeof(cfg->table));
		fit_table(cfg, d->pairs);
	}
	return vmm->has_key || vmm->has_table || d->pairs < dev->port->n_queues;
}

static bool same(const struct xn_rss_config *a, const struct xn_rss_config *b)
{
	return a->types == b->types && a->entries == b->entries &&
	       a->unclassified == b->unclassified && a->max_tx == b->max_tx &&
	       a->key_bytes == b->key_bytes &&
	       !memcmp(a->table, b->table, a->entries * sizeof(a->table[0])) &&
	       !memcmp(a->key, b->key, a->key_bytes);
}

int xn_dev_steer(struct xn_dev *dev)
{
	struct xn_told_rss *told = &dev->told_rss;
	struct xn_rss_config cfg;
	bool any;
	int err;

	if (!dev->port->ops->set_rss || dev->port->n_queues == 1)
		return 0;
	any = wanted(dev, &cfg);
	if (told->ever && told->any == any && (!any || same(&told->cfg, &cfg)))
		return 0;
	err = dev->port->ops->set_rss(dev->port, any ? &cfg : NULL);
	if (!err)
		*told = (struct xn_told_rss){ .ever = true, .any = any, .cfg = cfg };
	return err;
}

void xn_dev_report_hashes(struct xn_dev *dev)
{
	const struct xn_rss_config *cfg = dev->driver_rss.by_driver ? &dev->driver_rss.cfg :
								      &dev->driver_hash;

	if (!same(cfg, &dev->hash.cfg))
		xn_hash_set(&dev->hash, cfg);
}

void xn_dev_forget_driver(struct xn_dev *dev)
{
	dev->driver_rss = (struct xn_driver_rss){ .pairs = dev->opts.pairs };
	dev->driver_hash = (struct xn_rss_config){ .entries = 1, .max_tx = 1 };
	xn_dev_report_hashes(dev);
	xn_dev_forget_filter(dev);
	xn_hold_forget(dev);
	dev->ctrl.came = dev->ctrl.announce = false;
	xn_store_once64(&dev->guest_offloads, dev->features);
}

/* ---- to the outside ---- */

int xn_dev_set_rss(struct xn_dev *dev, const char *key, const char *table)
{
	const struct xn_vmm_rss was = dev->vmm_rss;
	struct xn_vmm_rss next = { .has_key = key, .has_table = table };
	int err = 0;

	xn_rss_default(&next.cfg, dev->opts.pairs);
	if (key)
		err = xn_rss_set_key(&next.cfg, key);
	if (!err && table)
		err = xn_rss_set_table(&next.cfg, table, dev->opts.pairs);
	if (err)
		return err;
	if ((key || table) && dev->opts.pairs > 1 && !dev->port->ops->set_rss)
		return xn_fail(EOPNOTSUPP, "a port of the kind %s does not steer frames",
			       dev->port->ops->kind);
	dev->vmm_rss = next;
	err = dev->told_rss.ever ? xn_dev_steer(dev) : 0;
	if (err)
		dev->vmm_rss = was;
	return err;
}

int xn_dev_use_pairs(struct xn_dev *dev, unsigned pairs)
{
	const unsigned was = dev->driver_rss.pairs;
	int err;

	if (!pairs || pairs > dev->opts.pairs)
		return xn_fail(EINVAL, "%u queue pairs in use: the device has %u", pairs,
			       dev->opts.pairs);
	dev->driver_rss.pairs = pairs;
	err = dev->told_rss.ever ? xn_dev_steer(dev) : 0;
	if (err)
		dev->driver_rss.pairs = was;
	return err;
}

int xn_dev_reset(struct xn_dev *dev)
{
	if (dev->ctrl.running)
		return xn_fail(EINVAL, "the control queue runs: it has to be stopped before a reset");
	xn_dev_forget_driver(dev);
	return dev->told_rss.ever ? xn_dev_steer(dev) : 0;
}

/* What both of these fill may grow in a later version. */
static int copy_out(void *out, size_t sz, size_t least, const void *mine, size_t mine_sz,
		    const char *name)
{
	if (sz < least)
		return xn_fail(EINVAL, "%s: set .sz = sizeof(struct %s)", name, name);
	memset(out, 0, sz);
	memcpy(out, mine, XN_MIN(sz, mine_sz));
	return 0;
}

int xn_dev_get_rss_limits(const struct xn_dev *dev, struct xn_rss_limits_info *info)
{
	const struct xn_rss_limits l = XN_RSS_LIMITS((uint16_t)dev->opts.pairs);
	const struct xn_rss_limits_info mine = { .sz = info->sz, .hash_types = l.types,
						 .table_entries = l.entries,
						 .key_bytes = l.key_bytes };

	return copy_out(info, mine.sz, sizeof(mine), &mine, sizeof(mine), "xn_rss_limits_info");
}

int xn_dev_get_rss(const struct xn_dev *dev, struct xn_dev_rss *rss)
{
	struct xn_dev_rss mine = { .sz = rss->sz, .pairs = dev->driver_rss.pairs };
	struct xn_rss_config cfg;

	_Static_assert(sizeof(mine.key) == sizeof(cfg.key) && sizeof(mine.table) == sizeof(cfg.table),
		       "xsknet.h has room for any configuration");
	(void)wanted(dev, &cfg);
	mine.from = dev->driver_rss.by_driver ? XN_RSS_FROM_DRIVER :
		    dev->vmm_rss.has_key || dev->vmm_rss.has_table ? XN_RSS_FROM_VMM :
								     XN_RSS_FROM_NOBODY;
	mine.hash_types = cfg.types;
	mine.unclassified = cfg.unclassified;
	mine.max_tx = cfg.max_tx;
	mine.table_entries = cfg.entries;
	mine.key_bytes = cfg.key_bytes;
	memcpy(mine.table, cfg.table, sizeof(mine.table));
	memcpy(mine.key, cfg.key, sizeof(mine.key));
	return copy_out(rss, mine.sz, sizeof(mine), &mine, sizeof(mine), "xn_dev_rss");
}
