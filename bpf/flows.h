/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Automatic receive steering (VIRTIO 1.2, 5.1.6.5.5.1): a guest with several queue pairs and
 * without RSS gets the frames of a flow on the pair on which it sends that flow.
 *
 *	guest sends --> hash as the reply will have it --> slot[hash & 4095] = queue + 1
 *	frame comes --> hash                           --> queue, or where it came on
 *
 * Slots are guesses: two flows may share one, an old one may say what is long past. What that
 * costs is a copy. So they are written without a lock, and never cleared; and since a slot
 * is only a queue of this guest's, a guest that sends what it likes steers only what is its
 * own. The key is random, so that nobody else can choose flows that share one.
 */
#ifndef XN_BPF_FLOWS_H
#define XN_BPF_FLOWS_H

#include "rss/image.h"

#define XN_FLOW_SLOTS 4096u      /* a power of two */

/* The queue that a slot names; `from` if it names none, or not one of `pairs`. */
XN_RSS_INLINE __u32 xn_flow_queue(__u8 slot, __u32 from, __u32 pairs)
{
	const __u32 to = slot - 1u;

	return to < pairs ? to : from;
}

#ifndef __bpf__
#include <stdbool.h>
#include <stdint.h>

#include "base/atomics.h"

struct xn_flows {
	uint8_t on;                          /* frames are steered by them. Any thread */
	uint8_t *slot;                       /* XN_FLOW_SLOTS of them, which the XDP program reads */
	const struct xn_rss_image *image;    /* key and types */
};

/* The guest sends this on `queue`. The bytes must not change meanwhile; the first 128 do. Any
 * thread. */
static inline void xn_flows_learn(const struct xn_flows *f, const uint8_t *frame, uint32_t bytes,
				  unsigned queue)
{
	const uint8_t now = (uint8_t)(queue + 1);
	uint32_t hash;
	uint8_t *slot;

	if (!xn_rss_hash_back(f->image, frame, frame + bytes, &hash))
		return;
	slot = &f->slot[hash & (XN_FLOW_SLOTS - 1)];
	/* Only what is new dirties the line that programs on all processors read. */
	if (xn_load_once8(slot) != now)
		xn_store_once8(slot, now);
}

/* Where a frame that came on the host queue of guest queue `from` is steered: as the program
 * does, unless the slot was changed in between. */
static inline unsigned xn_flows_steer(const struct xn_flows *f, const void *frame, uint32_t bytes,
				      unsigned from, unsigned pairs)
{
	uint32_t hash;

	if (!xn_rss_hash(f->image, frame, (const uint8_t *)frame + bytes, &hash))
		return from;
	return xn_flow_queue(xn_load_once8(&f->slot[hash & (XN_FLOW_SLOTS - 1)]), from, pairs);
}
#endif

#endif
