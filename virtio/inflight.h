/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which heads of a ring are out, in memory that outlives this process: the vhost-user
 * specification, "Inflight I/O tracking", split virtqueues.
 *
 *	+-----------------+----------------------------------------+
 *	| features        |  for each descriptor of the ring:      |
 *	| version   1     |    inflight   1: the chain is out      |
 *	| desc_num        |    next       head pushed before it    |
 *	| last_batch_head |    counter    when it was taken        |
 *	| used_idx        |                                        |
 *	+-----------------+----------------------------------------+
 *
 * A process may be killed in front of any instruction; what it has stored until then
 * stays. So the order of the stores is everything:
 *
 *	take     counter, then inflight = 1, one head after the other in ring order, before
 *	         anybody acts on them; the first of them is the first to be marked
 *	un-take  inflight = 0, the last head first
 *	publish  for each used head: next = last_batch_head, then last_batch_head = head;
 *	         then the ring's used index;
 *	         then inflight = 0 for each; then used_idx = the ring's used index
 *
 * Then at any time "used index + heads marked" is how far the available ring has been
 * taken, but for one case: killed inside publish, behind the used index. It shows in
 * used_idx, which is not the ring's, and the list from last_batch_head, as long as they
 * differ, says which marks are too many. That is repaired by xn_inflight_open.
 *
 * A chain that was pushed and not published is still marked: it is taken again. So a
 * packet may leave twice (as networks may do), never a head be used twice.
 *
 * The memory is shared with the front end, which is not trusted: what is read, once, at
 * the start, is checked, and what cannot be is ignored and counted. While the ring runs it
 * is only written. Heads that it names wrongly are those of this guest's own ring.
 */
#ifndef XN_VIRTIO_INFLIGHT_H
#define XN_VIRTIO_INFLIGHT_H

#include <linux/virtio_ring.h>

#include "base/atomics.h"
#include "base/types.h"

struct xn_inflight_desc {
	uint8_t  inflight;
	uint8_t  padding[5];
	uint16_t next;
	uint64_t counter;
};
_Static_assert(sizeof(struct xn_inflight_desc) == 16, "DescStateSplit");

struct xn_inflight_ring {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct xn_inflight_desc desc[];
};
_Static_assert(sizeof(struct xn_inflight_ring) == 16, "QueueRegionSplit");

/* One ring's, as long as it is started. */
struct xn_inflight {
	struct xn_inflight_ring *g;    /* shared */
	uint64_t counter;              /* of the next head */
	uint32_t size;                 /* descriptors */
	uint16_t last;                 /* our last_batch_head */
	uint32_t n_again;              /* heads that were out at the start */
	uint32_t n_batch;
	uint16_t *batch;               /* heads of the batch that is being published */
	uint16_t again[];              /* `size` entries, as they had been taken; then batch */
};

/*
 * Takes over the region of a ring of `size` descriptors, whose indices in guest memory
 * are these: repairs it, or makes a new one of it. Says in again[] which heads are out.
 * *ignored: how much of it was not understood. 0 or -ENOMEM.
 */
int xn_inflight_open(struct xn_inflight **f, void *region, uint32_t size, uint16_t used_idx,
		     uint16_t avail_idx, uint64_t *ignored);
/* Leaves the region as it is. */
void xn_inflight_close(struct xn_inflight *f);

/* A head is taken. head < size. */
static inline void xn_inflight_mark(struct xn_inflight *f, uint16_t head)
{
	struct xn_inflight_desc *g = &f->g->desc[head];

	xn_store_once64(&g->counter, f->counter++);
	/* Orders the counter, and the marks of the heads before, in front of this one: what
	 * pairs with it is a process's end. */
	xn_store_release8(&g->inflight, 1);
}

/* It is not taken any more, or used. */
static inline void xn_inflight_unmark(struct xn_inflight *f, uint16_t head)
{
	/* Orders the marks that went before, and the used index, in front of this. */
	xn_store_release8(&f->g->desc[head].inflight, 0);
}

/*
 * First and second half of a publication: before and behind the store of the used index.
 * The entries [from, to) of the list, which has mask + 1. Where that is the used ring they
 * are read back, so the guest may have changed them: then wrong heads of its ring stay marked.
 */
void xn_inflight_batch(struct xn_inflight *f, const struct vring_used_elem *list, uint32_t mask,
		       uint16_t from, uint16_t to);
void xn_inflight_batch_done(struct xn_inflight *f, uint16_t used_idx);

#endif
