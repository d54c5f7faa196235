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
 *
 * Who looks when? Each queue has a mailbox, with a bit for each of the others: "look at the
 * rings between us". One is sent behind a batch: of pushes, of copies, at the end of a reader.
 * So a turn looks at one word, not at all rings; and a thread that sleeps is woken:
 *
 *	sleeper                          sender
 *	asleep = 1                       ring, then bit         (one atomic operation)
 *	full barrier                     full barrier
 *	any bits? then it must not       asleep? then a write to the eventfd
 *	sleep on the eventfd
 *
 * At least one of the two sees what the other has written. Who writes to the eventfd is who
 * turned asleep to 0; the sleeper counts these, and reads as much out of it.
 *
 * Buffers that come back wake only an owner that has few left: one that has enough finds
 * them when the next frame wakes it.
 */
#ifndef XN_PORT_CROSS_H
#define XN_PORT_CROSS_H

#include <stdbool.h>

#include "base/atomics.h"
#include "base/types.h"

#define XN_CROSS_SLOTS 256u
#define XN_CROSS_MORE  (1u << 31)

/* A frame, and what its owner needs to know when it comes back. */
struct xn_cross_frame {
	uint64_t data;       /* where the frame lies, UMEM offset */
	uint32_t len;        /* XN_CROSS_MORE: it goes on in the next one */
	uint32_t id_kind;    /* the owner's, as in struct xn_lent */
	uint64_t fill;       /* likewise */
	uint32_t buf_len;    /* likewise: its `len` */
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

/* Hands a frame over, which lies in n pieces: all of them at once. False: nobody reads there, or too much waits; it is still the
 * owner's then, to be dropped. */
static inline bool xn_cross_push(struct xn_cross *c, const struct xn_cross_frame *f, unsigned n)
{
	if (!xn_load_once32(&c->open) || c->pushed - c->reclaimed + n > XN_CROSS_SLOTS)
		return false;
	for (unsigned i = 0; i < n; i++)
		c->slots[(c->pushed + i) % XN_CROSS_SLOTS] = f[i];
	/* The slots, and the frame's bytes (the kernel's release and our acquire of the RX ring
	 * come before), are visible before the index; pairs with xn_cross_waiting. */
	xn_store_release32(&c->pushed, c->pushed + n);
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

/* ---- mail ---- */

/* What a sleeper is woken for. */
enum xn_mail_for { XN_MAIL_FOR_FRAMES = 1, XN_MAIL_FOR_BUFFERS_TOO };

struct xn_mail {
	XN_CACHE_ALIGNED uint64_t from;   /* bits of those who have sent some */
	uint32_t asleep;                  /* 0, or enum xn_mail_for */
	/* The owner's thread: */
	XN_CACHE_ALIGNED uint32_t armed;
	uint32_t signals;                 /* writes to fd that were not read out of it yet */
	int fd;                           /* eventfd; readable: there is some */
};

/* 0 or -errno. */
int  xn_mail_open(struct xn_mail *m);
void xn_mail_close(struct xn_mail *m);

void xn_mail_wake(struct xn_mail *m);

/* Any thread: what it wrote to rings before is seen by who takes the bit. from < 64. */
static inline void xn_mail_send(struct xn_mail *m, unsigned from)
{
	/* The bit, before the look at asleep; pairs with the barrier in xn_mail_arm. */
	xn_or_full64(&m->from, 1ull << from);
	if (XN_UNLIKELY(xn_load_once32(&m->asleep)))
		xn_mail_wake(m);
}

/* The same, for buffers that are given back. */
static inline void xn_mail_send_back(struct xn_mail *m, unsigned from)
{
	xn_or_full64(&m->from, 1ull << from);
	if (XN_UNLIKELY(xn_load_once32(&m->asleep) == XN_MAIL_FOR_BUFFERS_TOO))
		xn_mail_wake(m);
}

/* The owner: who has sent mail since the last time? */
static inline uint64_t xn_mail_take(struct xn_mail *m)
{
	/* Acquire: rings are read behind it; pairs with xn_mail_send. */
	return xn_load_once64(&m->from) ? xn_swap_acquire64(&m->from, 0) : 0;
}

/* The owner is about to sleep on fd, which is readable if he must not: since `busy`, or since
 * there is mail. */
void xn_mail_arm(struct xn_mail *m, bool busy, enum xn_mail_for what);
void xn_mail_disarm(struct xn_mail *m);

/* The owner does not sleep any more. */
static inline void xn_mail_awake(struct xn_mail *m)
{
	if (XN_UNLIKELY(m->armed))
		xn_mail_disarm(m);
}

#endif
