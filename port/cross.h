/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames that arrived on the host queue of another guest queue.
 *
 * A host queue's fill ring belongs to one guest queue, so a frame that arrives there lies in
 * a buffer of that queue, whatever flow it is of. If its flow is another queue's, it has to
 * be copied there, and its buffer goes back to the owner. Each queue has a thread of its
 * own; for each pair of queues there is one ring, from the owner (who pushes) to the queue
 * that the frame is for (who copies):
 *
 *	owner's thread                           the other queue's thread
 *	push    ---->  | frame | frame | frame | ---->  claim, copy to guest buffers
 *	reclaim <----  ^reclaimed  ^taken      ^pushed  done
 *
 * There is no second ring for the way back: a slot stays as it is until its owner has
 * reclaimed it, and `taken` says up to where the copies are made.
 *
 * Life cycle. Each side may stop while the other runs. Who takes frames out holds the
 * `claim`, a lock that nobody ever waits for on the way of frames: the reader skips a
 * turn if he does not get it. The owner takes it when he stops, and when the reader has gone
 * and left frames behind; so after xn_cross_withdraw nobody looks at the owner's memory.
 *
 * What is not delivered is dropped where it is noticed, and its number is returned, to be
 * counted there. A frame never goes to a queue that it is not for.
 */
#ifndef XN_PORT_CROSS_H
#define XN_PORT_CROSS_H

#include <stdbool.h>

#include "base/atomics.h"
#include "base/types.h"

#define XN_CROSS_SLOTS 256u

/* A frame, and what its owner needs to know when it comes back. */
struct xn_cross_frame {
	uint64_t data;       /* where the frame lies, UMEM offset */
	uint32_t len;
	uint32_t id_kind;    /* the owner's, as in struct xn_lent */
	uint64_t fill;       /* likewise */
};

struct xn_cross {
	/* The owner writes these, ... */
	XN_CACHE_ALIGNED uint32_t pushed;    /* free running, as the others */
	uint32_t reclaimed;                  /* nobody else looks at it */
	/* ... who holds the claim these: */
	XN_CACHE_ALIGNED uint32_t taken;
	uint32_t open;                       /* the reader wants frames */
	uint32_t claim;
	XN_CACHE_ALIGNED struct xn_cross_frame slots[XN_CROSS_SLOTS];
};

/* ---- the owner ---- */

/* Hands a frame over. False: nobody reads there, or too much waits; it is still the
 * owner's then, to be dropped. */
static inline bool xn_cross_push(struct xn_cross *c, const struct xn_cross_frame *f)
{
	if (!xn_load_once32(&c->open) || c->pushed - c->reclaimed == XN_CROSS_SLOTS)
		return false;
	c->slots[c->pushed % XN_CROSS_SLOTS] = *f;
	/* The slot, and the frame's bytes (the kernel's release and our acquire of the RX ring
	 * come before), are visible before the index; pairs with xn_cross_waiting. */
	xn_store_release32(&c->pushed, c->pushed + 1);
	return true;
}

/*
 * Up to n frames whose buffers are the owner's again, in the order of the pushes. *dropped
 * grows by those that a reader has left behind.
 */
unsigned xn_cross_reclaim(struct xn_cross *c, struct xn_cross_frame *out, unsigned n,
			  uint64_t *dropped);

/* The owner stops: after it returns nobody reads his frames, and xn_cross_reclaim gives all of
 * them back. Returns how many were not delivered. Waits for one batch of the reader at most. */
unsigned xn_cross_withdraw(struct xn_cross *c);

/* ---- the reader ---- */

/* Is there anything? One load of a line that is shared only while frames cross. */
static inline uint32_t xn_cross_waiting(const struct xn_cross *c)
{
	/* Acquire: slots and frames are read behind it; pairs with xn_cross_push. */
	return xn_load_acquire32(&c->pushed) - xn_load_once32(&c->taken);
}

/* May frames be taken out now? If so, xn_cross_unclaim has to follow. */
static inline bool xn_cross_claim(struct xn_cross *c)
{
	return !xn_swap_acquire32(&c->claim, 1);
}

static inline void xn_cross_unclaim(struct xn_cross *c)
{
	/* What was done under the claim comes before; pairs with the swap of the next. */
	xn_store_release32(&c->claim, 0);
}

/* Claimed: the i-th frame that waits, i < xn_cross_waiting. Valid until done. */
static inline const struct xn_cross_frame *xn_cross_at(const struct xn_cross *c, uint32_t i)
{
	return &c->slots[(c->taken + i) % XN_CROSS_SLOTS];
}

/* Claimed: the first n are copied, and their buffers are the owner's. */
static inline void xn_cross_done(struct xn_cross *c, uint32_t n)
{
	/* Our reads of the frames come before; pairs with the acquire in xn_cross_reclaim. */
	xn_store_release32(&c->taken, c->taken + n);
}

/* The reader starts or stops: returns how many frames waited, which are dropped: what was
 * on its way before a queue was reset is not delivered after it. */
unsigned xn_cross_listen(struct xn_cross *c, bool on);

#endif
