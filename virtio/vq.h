/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtqueue, device side, split or packed (VIRTIO 1.3, 2.7 and 2.8).
 *
 * Prepare many, publish once; the same calls for both kinds of ring:
 *
 *	n = xn_vq_pop(vq, chains, ...)      taken, translated, checked
 *	xn_vq_push(vq, head, len)  x m      noted, not yet visible
 *	xn_vq_publish(vq)                   visible
 *	if (xn_vq_wants_irq(vq)) ...        one decision for the batch
 *
 * Split (virtio/vq.c):
 *
 *	 driver writes                      device writes
 *	+-----------------------+          +-----------------------+
 *	| descriptor table      |          | used ring             |
 *	|   addr len flags next |          |   flags idx           |
 *	+-----------------------+          |   {id len} x size     |
 *	| available ring        |          |   avail_event         |
 *	|   flags idx           |          +-----------------------+
 *	|   head x size         |
 *	|   used_event          |          a head is an index of the table
 *	+-----------------------+
 *
 * Packed (virtio/packed.c): one ring, which the driver writes and the device writes over.
 *
 *	 used          taken, or behind
 *	 by the device those that are used    available      free (old)
 *	+-------------+--------------------+--------------+--------------+
 *	| addr len id flags                |              |              |
 *	+-------------+--------------------+--------------+--------------+
 *	              ^ used_at            ^ avail_next             a head is a buffer's id
 *	              |<---- slots_out --->|
 *
 *	A chain takes as many slots as it has descriptors (an indirect one: one), and is used by
 *	one word at used_at, which then goes on by as many. In which lap a slot was written says
 *	its pair of flags AVAIL and USED, against a wrap counter that turns at the ring's end.
 *	What is taken is written over when something else is used, so a descriptor is
 *	never looked at again.
 *
 * (A)..(F) are the same for both:
 *
 *	(A) driver: descriptors, [ring,] *then* idx; packed: *then* the first one's flags --
 *	    pairs with (B)
 *	(B) device: load-acquire idx or flags, *then* all else
 *	(C) device: buffers, used entries, *then* store-release idx; packed: *then* the first
 *	    one's word -- pairs with (D)
 *	(D) driver: load idx or flags, *then* all else
 *	(E) device: what is used, full fence, the driver's wish for interrupts; the driver does
 *	    the mirror image, so that at least one of both sees the other's store
 *	(F) device: wish for kicks, full fence, what is available (before it sleeps)
 *
 * How one engine drives both without a branch a packet. What is done for each packet is the
 * same code: xn_vq_push writes an entry into a list, and where that list lies is the ring's
 * affair. In a split ring it is the used ring itself, and publishing is one store. In
 * a packed one, and where buffers have to be used in order, it is a list of our own, which
 * publishing carries over, in one call. pop looks once a call which ring it has.
 *
 * The driver is not trusted. Every word of guest memory is read once into a
 * local, checked, and only the local is used. A chain that is wrong is given
 * back by xn_vq_pop itself, with length 0, and counted; a ring that is wrong
 * stops this queue (vq->broken), and pop returns nothing from then on.
 *
 * Words that the guest shares carry the prefix g_.
 *
 * Careful queues. With memory that outlives the process (virtio/inflight.h), or a dirty
 * page log (umem/dirty.h), pop and publish note what they do: one test each a batch.
 * Heads that a back end which died had taken come out of pop first, in the order
 * in which they had been taken, in calls of their own. Where they stand in the
 * ring is not known, but for the last ones while nothing behind them has been
 * used: see xn_vq_reclaim_all.
 *
 * In order (VIRTIO_F_IN_ORDER; virtio/order.h). Heads may be pushed in any order; what is
 * pushed before its turn is kept back, and published when its turn has come. So one that
 * is out for long keeps all behind it: no more than a ring of them.
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

#define XN_VQ_MAX_SIZE 32768u   /* VIRTIO 1.3, 2.7 and 2.8 */

enum xn_vq_dir {
	XN_VQ_TO_GUEST,    /* buffers are device-writable: receive */
	XN_VQ_FROM_GUEST,  /* buffers are device-readable: transmit */
	XN_VQ_BOTH,        /* readable ones, then writable ones: control; xn_vq_pop_command */
};

struct xn_vq_cfg {
	uint32_t size;                 /* 1..XN_VQ_MAX_SIZE; split: power of two */
	/* Packed: descriptor ring; the driver's event suppression structure; the device's. */
	xn_gpa desc, avail, used;
	/*
	 * Where to go on; not with inflight. Split: the available index. Packed, as vhost-user
	 * has it: bits 0..14 position of the next one to take, 15 its wrap counter; 16..30
	 * position of the next one to use, 31 its wrap counter. Bits 16..31 all 0: as the
	 * lower ones (there are front ends that know of those only).
	 */
	uint32_t base;
	enum xn_vq_dir dir;
	bool packed, event_idx, indirect, in_order;   /* as negotiated */
	uint32_t min_bytes;            /* shorter chains are not plain, see .plain */
	/* NULL, or xn_inflight_bytes(size) bytes; packed: xn_inflight_packed_bytes(size) */
	void *inflight;
};

struct xn_order;
struct xn_pflight;   /* virtio/inflight_packed.h */

/* What only a packed ring has. Positions have the wrap counter in bit 15. */
struct xn_vq_packed {
	uint64_t *g_ring;              /* two words a descriptor */
	const uint32_t *g_driver_event;
	uint32_t *g_device_event;
	bool event_idx;
	/*
	 * For each id: how many slots its chains that are taken or pushed have, beyond one for
	 * each chain. (A driver may be as wrong as to offer an id again that was pushed and is
	 * not yet published. Then nobody can tell which slots are whose, but the sum is right.)
	 */
	uint16_t *more;
	uint32_t longer;               /* ids of which that is not 0 */
	uint32_t slots_out;            /* from used_at to avail_next */
	uint32_t untold;               /* slots used since the last decision to notify */
	uint16_t used_at;              /* where the next used descriptor is written */
	struct xn_pflight *inflight;   /* NULL: not noted */
};

struct xn_vq {
	/* -- what pop touches -- */
	const struct vring_desc *g_desc;
	const uint16_t *g_avail;       /* [0] flags, [1] idx, [2..] heads, then used_event */
	uint32_t *state;               /* for each head: 0, XN_VQ_TAKEN | avail_next as it was,
					  or XN_VQ_AGAIN; mask + 1 of them */
	const struct xn_mem *mem;
	struct xn_mem_hit hit;
	uint16_t mask;                 /* of heads; in a packed ring not all below are heads */
	uint16_t avail_next;           /* next one to take: available entry, free running;
					  packed: position */
	uint16_t avail_seen;           /* driver's idx when last read */
	uint16_t expect_flags;         /* WRITE, where a chain of one good descriptor has it */
	uint32_t min_bytes;
	uint32_t plain;                /* so many of the last pop, from the first on, were of
					  one piece, of min_bytes at least */
	enum xn_fault broken;          /* not NONE: stopped until it is set up again */
	uint32_t again_left;           /* heads to be taken again, before the ring's */
	bool apart;                    /* packed, or in order */
	/* -- what push touches -- */
	struct vring_used_elem *used_list;   /* the used ring; or our own: packed, in order */
	uint16_t *g_used;              /* [0] flags, [1] idx */
	uint16_t used_next;            /* next entry of the list to write, free running */
	uint16_t used_published;       /* in order: those that are kept back count as published */
	uint16_t used_signalled;       /* used_next at the last decision to notify */
	uint16_t *g_avail_event;       /* behind the used ring */
	const uint16_t *g_used_event;  /* behind the available ring */
	struct xn_counters *ctr;
	uint32_t size;
	enum xn_vq_dir dir;
	bool packed, event_idx, indirect, kicks_on;
	bool careful;                  /* publishing is more than one store */
	uint32_t outstanding;          /* heads taken and not given back */
	struct xn_inflight *inflight;  /* NULL: not noted */
	const struct xn_dirty *log;    /* NULL: off */
	xn_gpa desc_gpa, used_gpa;
	uint32_t readable;             /* bytes to read in the last command's chain */
	uint32_t n_again;              /* again_left as it was at the start */
	struct xn_order *order;        /* NULL: any order will do */
	struct vring_used_elem *own_list;   /* NULL: used_list is the guest's */
	struct xn_vq_packed pk;
};

#define XN_VQ_TAKEN 0x10000u
#define XN_VQ_AGAIN 0x20000u   /* taken by a back end that died; where, is not known */
#define XN_VQ_NONE  0x40000u   /* no head: mask + 1 is larger than size */

/*
 * Makes a queue on rings in guest memory. The used index of a split ring goes on from what
 * guest memory says (a ring that another back end has served before). Guest
 * memory is not written; inflight memory is repaired, or made new.
 * 0; -EINVAL: size, alignment, base, a ring not wholly in one span, rings that overlap
 * (message). -ENOMEM.
 */
int xn_vq_init(struct xn_vq *vq, const struct xn_mem *mem, struct xn_counters *ctr,
	       const struct xn_vq_cfg *cfg);
void xn_vq_fini(struct xn_vq *vq);

/* Where another back end would go on: xn_vq_cfg.base. After xn_vq_reclaim_all that says all. */
uint32_t xn_vq_base(const struct xn_vq *vq);

/* From now on what is written to the ring is marked in this log (NULL: off), which
 * is borrowed; and all that is ever written at once, for what whoever was killed did not
 * mark. */
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
 * them: counted, and given back with length 0. Two kinds are not given back: a head of a
 * split ring that is taken already (head_busy) is only counted, its owner returns it once;
 * and a fault of the ring itself stops the queue. In a packed ring that same fault is
 * given back like others, as its slots are, and the owner returns the id too: so often
 * was it offered. A chain whose pieces do not even fit
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
 * pop takes them again. Nothing was published since. */
void xn_vq_unpop(struct xn_vq *vq, const struct xn_chain *last, unsigned n);

/* Gives a taken chain back with length 0 for this reason. Not yet published. */
void xn_vq_refuse(struct xn_vq *vq, uint16_t head, enum xn_fault why);

/*
 * Notes a used entry: `len` bytes were written to the chain of this head, which
 * must be taken. The guest sees it after xn_vq_publish.
 */
static inline void xn_vq_push(struct xn_vq *vq, uint16_t head, uint32_t len)
{
	struct vring_used_elem *e = &vq->used_list[vq->used_next++ & vq->mask];

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
	struct vring_used_elem *list;
	uint32_t *state;
	uint32_t mask, next;
};

static inline struct xn_vq_run xn_vq_begin(const struct xn_vq *vq)
{
	return (struct xn_vq_run){ vq->used_list, vq->state, vq->mask, vq->used_next };
}

static inline void xn_vq_run_push(struct xn_vq_run *r, uint16_t head, uint32_t len)
{
	r->list[r->next++ & r->mask] = (struct vring_used_elem){ .id = head, .len = len };
	r->state[head] = 0;
}

static inline void xn_vq_end(struct xn_vq *vq, const struct xn_vq_run *r)
{
	vq->outstanding -= (uint16_t)(r->next - vq->used_next);
	vq->used_next = (uint16_t)r->next;
}

/* xn_vq_publish where there is more to do. */
bool xn_vq_publish_careful(struct xn_vq *vq);

/* Makes all pushed entries visible, (C) above; in order: those whose turn it is. True if
 * there were any. */
static inline bool xn_vq_publish(struct xn_vq *vq)
{
	if (vq->used_next == vq->used_published)
		return false;
	if (XN_UNLIKELY(vq->careful))
		return xn_vq_publish_careful(vq);
	vq->used_published = vq->used_next;
	xn_store_release16(&vq->g_used[1], vq->used_next);
	return true;
}

/* After publish: does the driver want a notification for what it has not been
 * told of yet? (E) above; VIRTIO 1.3, 2.7.7, 2.7.10 and 2.8.10. The first answer after
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
 * the others with length 0 (counted in heads_dropped). Publishes, also what was kept back
 * for the sake of order. Returns how many were given back. Nothing is out then, and
 * inflight memory says so.
 */
unsigned xn_vq_reclaim_all(struct xn_vq *vq);

#endif
