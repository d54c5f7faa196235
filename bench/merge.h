/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames that a device has spread over several receive buffers (VIRTIO 1.3, 5.1.6.4): the
 * entries of xn_guest_rx, put together again. A frame of which only some entries have been
 * fetched waits for the rest.
 *
 *	xn_merge_fetch --> entries in f[] --xn_merge_next--> frames --xn_merge_done--> posted again
 */
#ifndef XN_BENCH_MERGE_H
#define XN_BENCH_MERGE_H

#include "bench/guest.h"

#define XN_MERGE_FETCH 64u    /* entries at a time */
#define XN_MERGE_MOST  64u    /* of one frame: 64 KiB in the shortest buffers are 43 */

struct xn_merge {
	struct xn_guest_frame f[XN_MERGE_FETCH + XN_MERGE_MOST];
	unsigned n;           /* entries fetched */
	unsigned at;          /* of these, behind the frames that next has given out */
	uint64_t wrong;       /* num_buffers that cannot be */
};

struct xn_merged {
	const struct xn_guest_frame *f;   /* pieces, in order */
	unsigned n;
	uint32_t bytes;                   /* of all of them */
};

/* One that belongs to the pair, and is emptied when it starts. */
struct xn_merge *xn_guest_merge(struct xn_guest *g, unsigned pair);

/* Returns how many entries there are now. */
unsigned xn_merge_fetch(struct xn_merge *m, struct xn_guest *g, unsigned pair);
/* The next whole frame; false: there is none. Valid until done. */
bool     xn_merge_next(struct xn_merge *m, struct xn_merged *out);
/* Gives back the buffers of all frames that next gave out. */
void     xn_merge_done(struct xn_merge *m, struct xn_guest *g, unsigned pair);

/* The first piece's virtio-net header. */
static inline const uint8_t *xn_merged_hdr(const struct xn_merged *m)
{
	return m->f[0].data - XN_GUEST_HDR;
}

#endif
