/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The trial: an interface's queue 0 is bound in the driver's zero-copy mode, with memory as a
 * guest's, and the library is offered receive buffers all over it, as a guest's driver offers
 * them. What it lends of them is counted. Everything by the calls of xsknet.h, so that a guest
 * in this memory would fare no differently; afterwards the queue is given back.
 *
 * It takes the interface from the host while it lasts: some seconds at most.
 */
#ifndef XN_CTL_TRY_H
#define XN_CTL_TRY_H

#include "ctl/judge.h"
#include "ctl/lend.h"
#include "xsknet.h"

#define XN_TRY_REASONS 8u

struct xn_try_size {
	uint32_t bytes;              /* of a buffer */
	uint64_t offered;
	uint64_t lent;               /* or would be, as soon as frames arrive */
	struct { char name[32]; uint64_t count; } why[XN_TRY_REASONS];   /* not lent: counters */
	unsigned n_why;
};

struct xn_try {
	int err;                     /* -errno: could not be tried, and `why_not` says why */
	char why_not[256];
	bool huge;                   /* the memory lies on pages of 2 MiB */
	uint64_t ram_bytes;
	char mode[16];               /* as the kernel tells it */
	char auto_mode[16], auto_why[160];   /* what mode=auto took, and why; "": not asked */
	uint32_t following_permille; /* zero-copy: pages that the next one follows for the device */
	uint32_t min_buf_bytes;      /* shortest buffer that can be lent; 0: none */
	double start_secs;           /* bind, and whatever the port does before it lends */
	struct xn_try_size size[XN_LEND_SIZES];
};

struct xn_try_cfg {
	const char *ifname;
	/* Of the port. NULL: what mode=auto takes, and if that is not zero-copy, that behind it. */
	const char *mode;
	uint64_t ram_bytes;          /* a multiple of 2 MiB, at least XN_TRY_RAM_MIN */
	enum xn_huge huge;
};
#define XN_TRY_RAM_MIN (16ull << 20)
#define XN_TRY_RAM     (128ull << 20)   /* where nothing else was said */

void xn_try_run(struct xn_try *t, const struct xn_try_cfg *cfg);
/* Verdicts of it; appends to n, returns how many there are then. */
unsigned xn_try_judge(const struct xn_try *t, struct xn_verdict *v, unsigned n);

#endif
