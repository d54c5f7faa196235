/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Notification coalescing (VIRTIO 1.3, 5.1.6.5.8): the driver is told of used buffers when
 * max_packets of them are there, or max_usecs after the first one; until then they are visible,
 * and wait. Off where either is 0. Whether the driver wants to be told at all is decided then, and
 * as ever (xn_vq_wants_irq covers all that was used since the last decision).
 *
 *	control queue's thread                       queue's thread
 *	xn_hold_say: wish, fence, timer fires ---->  a turn reads the wish, decides
 *	                                             xn_hold_arm: timer set, fence, wish read
 *
 * While the queue's thread is in its turns it looks at the clock itself; the timer, one for both
 * rings of a pair, wakes it from its sleep. It is made when a pair first starts with the feature
 * negotiated, and closed when features are set anew: so others may set it off at any time.
 *
 * Buffers are counted, so a frame in several of them counts as several, and no more of them wait
 * than take half of the ring: a driver that asks for more than its ring has would run dry before it
 * is told. In a packed ring that is half of its slots. In a split one it is as many buffers, as
 * nobody knows how many descriptors they had: a driver whose buffers take several each (without
 * indirect ones) still can run dry; it gets what it has asked for, and is told in time. Nor
 * does anything wait for more than XN_HOLD_MAX_NS. (A device may notify more often than it was
 * asked to.) A stop tells of all that waits.
 *
 * Costs one test a turn where it is not negotiated.
 */
#ifndef XN_ENGINE_HOLD_H
#define XN_ENGINE_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "xsknet.h"

/* Linux headers before 6.6 do not have all of these. */
#define XN_NET_F_VQ_NOTF_COAL 52
#define XN_NET_F_NOTF_COAL    53

#define XN_HOLD_MAX_NS 1000000000ull

/* What a driver asks for: max_packets in the upper half, max_usecs in the lower one; a word, so
 * that it changes at once. 0: nothing. */
typedef uint64_t xn_hold_wish;

static inline xn_hold_wish xn_hold_wish_of(uint32_t max_packets, uint32_t max_usecs)
{
	return (uint64_t)max_packets << 32 | max_usecs;
}

/* Of all rings; written by the thread of xn_dev_ctrl_run. */
struct xn_hold_said {
	xn_hold_wish all[2];                  /* of receive and of transmit rings that begin anew */
	xn_hold_wish ring[2 * XN_MAX_PAIRS];  /* in force; queues' threads read them */
};

struct xn_hold_ring {
	xn_hold_wish wish;        /* that the next two were made of */
	uint32_t limit;           /* buffers */
	uint32_t half;            /* of the ring: slots, or buffers of a split one */
	uint32_t slots;           /* of these, used since `told` */
	uint64_t delay_ns;        /* 0: nothing waits */
	uint64_t since_ns;        /* the first that waits was used then; 0: none waits */
	uint16_t told;            /* vq.used_published when nothing waited */
};

struct xn_hold {
	int timer_fd;             /* -1: not made yet */
	uint64_t armed_ns;        /* it fires then; 0: not set */
	struct xn_hold_ring rx, tx;
};

struct xn_dev;
struct xn_queue;

/* For a start with the feature negotiated: 0 or -errno. */
int  xn_hold_start(struct xn_queue *q);
/* Tells of what waits: nothing does afterwards. */
void xn_hold_settle(struct xn_queue *q);
/* xn_queue_flush, with the driver's wishes. */
void xn_hold_flush(struct xn_queue *q);
/* Before a sleep: sets the timer. False: the wishes have changed. */
bool xn_hold_arm(struct xn_queue *q);
/* For new features, and the end of the device. */
void xn_hold_close(struct xn_hold *c);

/* The driver has said: for vring `index`; for all rings like it (receive: 0, transmit: 1).
 * The thread of xn_dev_ctrl_run. */
void xn_hold_say(struct xn_dev *dev, unsigned index, xn_hold_wish wish);
void xn_hold_say_all(struct xn_dev *dev, unsigned kind, xn_hold_wish wish);
/* A ring was reset: it begins as all rings like it. */
void xn_hold_ring_is_new(struct xn_dev *dev, unsigned index);
/* The device was reset: nothing was said. */
void xn_hold_forget(struct xn_dev *dev);

#endif
