/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters to the outside: names, units and sums. The list is base/counters.h. */
#include "engine/dev.h"

static uint64_t sum(const struct xn_dev *dev, unsigned pair, unsigned counter)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < dev->opts.pairs; i++)
		if (pair == XN_ALL_PAIRS || pair == i)
			v += xn_load_once64(&dev->queues[i]->ctr.v[counter]);
	if (pair == XN_ALL_PAIRS)
		v += xn_load_once64(&dev->ctrl.ctr.v[counter]);
	return v;
}

unsigned xn_dev_stats(struct xn_dev *dev, unsigned pair, struct xn_stat *out, unsigned n)
{
	unsigned k;

	for (k = 0; k < XN_C_COUNT && k < n; k++)
		out[k] = (struct xn_stat){ xn_counter_name(k), xn_counter_unit(k),
					   xn_counter_text(k), sum(dev, pair, k) };
	k = XN_C_COUNT;
	if (pair == XN_ALL_PAIRS && dev->port->ops->stats)
		k += dev->port->ops->stats(dev->port, out + XN_MIN(k, n), n > k ? n - k : 0);
	return k;
}
