/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Split virtqueue, device side (VIRTIO 1.2, 2.7).
 *
 *	 driver writes                      device writes
 *	+-----------------------+          +-----------------------+
 *	| descriptor table      |          | used ring             |
 *	|   addr len flags next |          |   flags idx           |
 *	+-----------------------+          |   {id len} x size     |
 *	| available ring        |          |   avail_event         |
 *	|   flags idx           |          +-----------------------+
 *	|   head x size         |
 *	|   used_event          |
 *	+-----------------------+
 *
 *	(A) driver: descriptors, ring[], *then* idx   -- pairs with (B)
 *	(B) device: load-acquire idx, *then* ring[], descriptors
 *	(C) device: buffers, used ring[], *then* store-release idx -- pairs with (D)
 *	(D) driver: load idx, *then* used ring[], buffers
 *	(E) device: used idx, full fence, used_event/flags; the driver does the
 *	    mirror image, so that at least one of both sees the other's store
 *	(F) device: avail_event/flags, full fence, avail idx (before it sleeps)
 *
 * Prepare many, publish once:
 *
 *	n = xn_vq_pop(vq, chains, ...)      taken, translated, checked
 *	xn_vq_push(vq, head, len)  x m      written, not yet visible
 *	xn_vq_publish(vq)                   visible
 *	if (xn_vq_wants_irq(vq)) ...        one decision for the batch
 *
 * The driver is not trusted. Every word of guest memory is read once into a
 * local, checked, and only the local is used. A chain that is wrong is given
 * back by xn_vq_pop itself, with length 0, and counted; a ring that is wrong
 * stops this queue (vq->broken), and pop returns nothing from then on.
 *
 * Words that the guest shares carry the prefix g_. Not done here: packed rings,
 * VIRTIO_F_IN_ORDER.
 *
 * Careful queues. With memory that outlives the process (virtio/inflight.h), or a dirty
 * page log (umem/dirty.h), pop and publish note what they do: one test each a batch.
 * Heads that a back end which died had taken come out of pop first, in the order
 * in which they had been taken, in calls of their own. Where they stand in the
 * available ring is not known, but for the last ones while nothing behind them has been
 * used: see xn_vq_reclaim_all.
 */
#ifndef XN_VIRTIO_VQ_H
#define XN_VIRTIO_VQ_H

#include <linux/virtio_ring.h>

#include "base/atomics.h"
#include "base/counters.h"
#include "base/types.h"
#include "umem/dirty.h"
#include "umem/mem.h"
#include "virtio/inflight.h"

#define XN_VQ_MAX_SIZE 32768u   /* VIRTIO 1.2, 2.7 */

enum xn_vq_dir {
	XN_VQ_TO_GUEST,    /* buffers are device-writable: receive */
	XN_VQ_FROM_GUEST,  /* buffers are device-readable: transmit */
	XN_VQ_BOTH,        /* readable ones, then writable ones: control; xn_vq_pop_command */
};

struct xn_vq_cfg {
	uint32_t size;                 /* power of two, 1..XN_VQ_MAX_SIZE */
	xn_gpa desc, avail, used;
	uint16_t base;                 /* available index to go on from; not with inflight */
	enum xn_vq_dir dir;
	bool event_idx, indirect;      /* as negotiated */
	uint32_t min_bytes;            /* shorter chains are not plain, see .plain */
	void *inflight;                /* NULL, or xn_inflight_bytes(size) bytes */
};

struct xn_vq {
	/* -- what pop touches -- */
	const struct vring_desc *g_desc;
	const uint16_t *g_avail;       /* [0] flags, [1] idx, [2..] heads, then used_event */
	uint32_t *state;               /* for each head: 0, XN_VQ_TAKEN | avail index, or
					  XN_VQ_AGAIN */
	const struct xn_mem *mem;
	struct xn_mem_hit hit;
	uint16_t mask;
	uint16_t avail_next;           /* next available entry to take, free running */
	uint16_t avail_seen;           /* driver's idx when last read */
	uint16_t expect_flags;         /* a chain of one good descriptor has just these */
	uint32_t min_bytes;
	uint32_t plain;                /* so many of the last pop, from the first on, were of
					  one piece, of min_bytes at least */
	enum xn_fault broken;          /* not NONE: stopped until it is set up again */
	uint32_t again_left;           /* heads to be taken again, before the ring's */
	/* -- what push touches -- */
	struct vring_used_elem *g_used_ring;
	uint16_t *g_used;              /* [0] flags, [1] idx */
	uint16_t used_next;            /* next used entry to write, free running */
	uint16_t used_published;       /* driver's view */
	uint16_t used_signalled;       /* used_next at the last decision to notify */
	uint16_t *g_avail_event;       /* behind the used ring */
	const uint16_t *g_used_event;  /* behind the available ring */
	struct xn_counters *ctr;
	uint32_t size;
	enum xn_vq_dir dir;
	bool event_idx, indirect, kicks_on;
	bool careful;                  /* there is one of the two below */
	uint32_t outstanding;          /* heads taken and not given back */
	struct xn_inflight *inflight;  /* NULL: not noted */
	const struct xn_dirty *log;    /* NULL: off */
	xn_gpa used_gpa;
	uint32_t readable;             /* bytes to read in the last command's chain */
};

#define XN_VQ_TAKEN 0x10000u
#define XN_VQ_AGAIN 0x20000u   /* taken by a back end that died; where, is not known */

/*
 * Makes a queue on rings in guest memory. The used index goes on from what
 * guest memory says (a ring that another back end has served before). Guest
 * memory is not written; inflight memory is repaired, or made new.
 * 0; -EINVAL: size, alignment, a ring not wholly in one span, rings that overlap
 * (message). -ENOMEM.
 */
int xn_vq_init(struct xn_vq *vq, const struct xn_mem *mem, struct xn_counters *ctr,
	       const struct xn_vq_cfg *cfg);
void xn_vq_fini(struct xn_vq *vq);

/* From now on what is written to the used ring is marked in this log (NULL: off), which
 * is borrowed; and all of the ring at once, for what whoever was killed did not mark. */
void xn_vq_set_log(struct xn_vq *vq, const struct xn_dirty *log);

/*
 * Takes up to n chains in ring order. Those of several pieces have them in
 * pieces[0..max_pieces), max_pieces >= 1; a descriptor that crosses from one span into
 * another has a piece in each. Zero-length descriptors are skipped, whatever their
 * address. Returns how many chains: less than n when the ring is empty, when the next
 * chain's pieces do not fit behind the others, in front of a chain that is wrong, or
 * after 65536 descriptors.
 *
 * Chains that are wrong are consumed when they come first in a call, up to `size` of
 * them: counted, and given back with length 0. Two kinds are not given back: a head
 * that is taken already (head_busy) is only counted, its owner returns it once; and a
 * fault of the ring itself stops the queue. A chain whose pieces do not even fit
 * into the empty array is chain_pieces: max_pieces >= 2 * size is enough for all
 * chains that do not cross spans.
 */
unsigned xn_vq_pop(struct xn_vq *vq, struct xn_chain *chains, unsigned n,
		   struct xn_piece *pieces, unsigned max_pieces);

/* The same for one chain of a queue of both directions: *c, of which the first
 * vq->readable bytes are the driver's, the others to be written. True: there was one. */
bool xn_vq_pop_command(struct xn_vq *vq, struct xn_chain *c, struct xn_piece *pieces,
		       unsigned max_pieces);

/* Un-takes the last n chains of the last pop, none of which was given back: the next
 * pop takes them again. */
void xn_vq_unpop(struct xn_vq *vq, const struct xn_chain *last, unsigned n);

/* Gives a taken chain back with length 0 for this reason. Not yet published. */
void xn_vq_refuse(struct xn_vq *vq, uint16_t head, enum xn_fault why);

/*
 * Writes a used entry: `len` bytes were written to the chain of this head, which
 * must be taken. The guest sees it after xn_vq_publish.
 */
static inline void xn_vq_push(struct xn_vq *vq, uint16_t head, uint32_t len)
{
	struct vring_used_elem *e = &vq->g_used_ring[vq->used_next++ & vq->mask];

	/* The guest must not look at entries beyond idx, so plain stores do. */
	*e = (struct vring_used_elem){ .id = head, .len = len };
	vq->state[head] = 0;
	vq->outstanding--;
}

/*
 * The same for a run of heads: what push changes is kept in locals, which the
 * compiler need not store and load again around each store to guest memory. Between
 * begin and end nothing else is done with the queue.
 */
struct xn_vq_run {
	struct vring_used_elem *g_ring;
	uint32_t *state;
	uint32_t mask, next;
};

static inline struct xn_vq_run xn_vq_begin(const struct xn_vq *vq)
{
	return (struct xn_vq_run){ vq->g_used_ring, vq->state, vq->mask, vq->used_next };
}

static inline void xn_vq_run_push(struct xn_vq_run *r, uint16_t head, uint32_t len)
{
	r->g_ring[r->next++ & r->mask] = (struct vring_used_elem){ .id = head, .len = len };
	r->state[head] = 0;
}

static inline void xn_vq_end(struct xn_vq *vq, const struct xn_vq_run *r)
{
	vq->outstanding -= (uint16_t)(r->next - vq->used_next);
	vq->used_next = (uint16_t)r->next;
}

/* xn_vq_publish on a careful queue. */
void xn_vq_publish_careful(struct xn_vq *vq);

/* Makes all pushed entries visible: one store, (C) above. True if there were any. */
static inline bool xn_vq_publish(struct xn_vq *vq)
{
	if (vq->used_next == vq->used_published)
		return false;
	if (XN_UNLIKELY(vq->careful)) {
		xn_vq_publish_careful(vq);
		return true;
	}
	vq->used_published = vq->used_next;
	xn_store_release16(&vq->g_used[1], vq->used_next);
	return true;
}

/* After publish: does the driver want a notification for what it has not been
 * told of yet? (E) above; VIRTIO 1.2, 2.7.7 and 2.7.10. The first answer after
 * xn_vq_init includes what an earlier back end may have published untold. */
bool xn_vq_wants_irq(struct xn_vq *vq);

/* Asks the driver to kick from now on. False: there is work already. (F) above. A
 * broken queue asks for nothing and has no work. */
bool xn_vq_enable_kick(struct xn_vq *vq);
/* Tells the driver that kicks are not needed (a hint). */
void xn_vq_disable_kick(struct xn_vq *vq);

/*
 * For a stop: un-takes as many outstanding heads as can be taken again in the
 * same order (those behind the last one that was given back), and gives back
 * the others with length 0 (counted in heads_dropped). Publishes. Returns how many
 * were given back. Nothing is out then, and inflight memory says so.
 */
unsigned xn_vq_reclaim_all(struct xn_vq *vq);

#endif
