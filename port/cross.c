/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames that change the queue: the ends of it. Theory in port/cross.h. */
#include <sched.h>

#include "port/cross.h"

#define SPINS 1000u   /* before the processor is given to whoever holds the claim */

/* Gets the claim. Whoever has it holds it for a batch at most. */
static void claim_surely(struct xn_cross *c)
{
	for (unsigned i = 0; !xn_cross_claim(c); i++) {
		xn_relax();
		if (i >= SPINS)
			sched_yield();
	}
}

/* Claimed: nothing waits any more. */
static unsigned drop_all(struct xn_cross *c)
{
	uint32_t n = xn_cross_waiting(c);

	xn_cross_done(c, n);
	return n;
}

unsigned xn_cross_reclaim(struct xn_cross *c, struct xn_cross_frame *out, unsigned n,
			  uint64_t *dropped)
{
	uint32_t end;
	unsigned k;

	/* The reader has gone while we pushed: nobody will take these out but we. */
	if (XN_UNLIKELY(!xn_load_once32(&c->open) && c->pushed != xn_load_once32(&c->taken)) &&
	    xn_cross_claim(c)) {
		if (!c->open)
			*dropped += drop_all(c);
		xn_cross_unclaim(c);
	}
	/* Acquire: the copies are made before the buffers are lent again; pairs with
	 * xn_cross_done. */
	end = xn_load_acquire32(&c->taken);
	for (k = 0; k < n && c->reclaimed != end; k++)
		out[k] = c->slots[c->reclaimed++ % XN_CROSS_SLOTS];
	return k;
}

unsigned xn_cross_withdraw(struct xn_cross *c)
{
	unsigned n;

	claim_surely(c);
	n = drop_all(c);
	xn_cross_unclaim(c);
	return n;
}

unsigned xn_cross_listen(struct xn_cross *c, bool on)
{
	unsigned n;

	claim_surely(c);
	n = drop_all(c);
	xn_store_once32(&c->open, on);
	xn_cross_unclaim(c);
	return n;
}
