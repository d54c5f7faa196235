/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The third table of a run without further words: large packets, on veth pairs with the largest
 * MTU, and TCP between a guest and this kernel, with the usual and with the largest one. Short:
 * it takes no more than 25 of the run's seconds.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/types.h"
#include "bench/bench.h"

#define ROUNDS 5u

static void narrow(struct xn_opts *o, const struct xn_opts *all)
{
	*o = *all;
	o->mtu = XN_MTU_MAX;
	o->rounds = XN_MIN(all->rounds, ROUNDS);
	o->n_sizes = 2;
	o->size[0] = 9014;
	o->size[1] = 64000;
	o->dir[XN_DIR_FWD] = o->dir[XN_DIR_RTT] = false;
	for (unsigned k = 0; k < XN_KIND_COUNT; k++)
		o->kind[k] = k == XN_KIND_ZERO_COPY || k == XN_KIND_BOUNCE || k == XN_KIND_RAW;
}

int xn_large_bench(struct xn_bench *b)
{
	struct xn_opts o = b->opts;
	int err;

	if (!b->opts.large || xn_stop)
		return 0;
	b->large = calloc(1, sizeof(*b->large));
	if (!b->large)
		return xn_fail(ENOMEM, "out of memory");
	narrow(&b->large->opts, &b->opts);
	err = xn_bench_run(b->large);
	b->partial |= b->large->partial;
	b->opts = b->large->opts;
	b->opts.tcp[XN_TCP_TX] = b->opts.tcp[XN_TCP_RX] = true;
	b->opts.mtu = XN_MTU_DEFAULT;
	if (!err)
		err = xn_tcp_bench(b);
	b->opts.mtu = XN_MTU_MAX;
	if (!err)
		err = xn_tcp_bench(b);
	b->opts = o;
	return err;
}
