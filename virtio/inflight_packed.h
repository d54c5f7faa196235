/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which buffers of a packed ring are out, in memory that outlives this process: the
 * vhost-user specification, "Inflight I/O tracking", packed virtqueues. (Split ones:
 * virtio/inflight.h, where what both have in common is said.)
 *
 *	+-------------------------+------------------------------------------+
 *	| features                |  for each of as many entries as slots:   |
 *	| version 1, desc_num     |    inflight  1: a chain that is out      |
 *	| free_head, its old      |              begins here                 |
 *	| used_idx, its old       |    next      entry: of the chain, or of  |
 *	| used_wrap_counter, its  |              the free list               |
 *	|   old                   |    last, num of the chain; counter       |
 *	|                         |    id flags len addr: a descriptor       |
 *	+-------------------------+------------------------------------------+
 *
 * Descriptors are copied, as a used one may be written over them. Where they stood does
 * not matter: the ring from its used to its available position is out, so the available
 * one is the used one plus all entries of chains that are out.
 *
 * The order of the stores is everything. (..) is one store.
 *
 *	take     entries from the front of the free list are filled; then
 *	         (free_head, old_free_head = the entry behind them)
 *	un-take  last's next = free_head; (free_head, old_free_head = its first); inflight = 0
 *	publish  each chain to the front of the list: last's next; (free_head);
 *	         (used_idx and its wrap counter; the old ones as they are): in progress;
 *	         used descriptors behind the first; the first: published;
 *	         inflight = 0 for each; (old_free_head); (old used_idx and its wrap counter)
 *
 * What counts is old_free_head: chains that it leads to are free, whatever they say of
 * themselves. Killed in progress: the ring says whether it was published, by the flags of
 * the slot at the old position, which are those of a used one, or of the driver's next
 * lap. Then the rest is done; else nothing was, but for used descriptors behind the first,
 * to which the driver would come later: they are made available ones again, before the
 * region says that nothing is in progress. What they were they are not any more.
 *
 * The memory is shared with the front end, which is not trusted: at the start all of it is
 * read and checked, and is taken only if it can be as a whole; else it is made new, and
 * counted. Then it is only written, but for the descriptors of chains to be taken again,
 * which are checked as if they stood in the ring.
 */
#ifndef XN_VIRTIO_INFLIGHT_PACKED_H
#define XN_VIRTIO_INFLIGHT_PACKED_H

#include "base/atomics.h"
#include "base/types.h"

struct xn_pflight_desc {
	uint8_t  inflight;
	uint8_t  padding;
	uint16_t next, last, num;
	uint64_t counter;
	uint64_t word;                 /* id, flags (16 bits each), len: as in the ring, but for
					  the halves, which are exchanged */
	uint64_t addr;
};
_Static_assert(sizeof(struct xn_pflight_desc) == 32, "DescStatePacked");

/* Members that change together are in one word each. */
struct xn_pflight_ring {
	uint64_t features;
	uint16_t version, desc_num;
	uint32_t free_heads;           /* free_head, old_free_head */
	/* used_idx, old_used_idx; used_wrap_counter, old_used_wrap_counter; and padding */
	uint64_t used;
	uint8_t  padding[8];
	struct xn_pflight_desc desc[];
};
_Static_assert(sizeof(struct xn_pflight_ring) == 32, "QueueRegionPacked");

#define XN_PFLIGHT_NONE UINT16_MAX

/* One ring's, as long as it is started. */
struct xn_pflight {
	struct xn_pflight_ring *g;     /* shared */
	uint64_t counter;              /* of the next chain */
	uint32_t size;                 /* slots, and entries */
	uint16_t used_at;              /* position that the region says; wrap counter in bit 15 */
	uint16_t free_head;
	/* Of the chain that is being noted: next entry, last one and its word, how many. */
	uint16_t taking, taken;
	uint32_t n_taking;
	uint64_t taken_rest;
	uint32_t n_batch;
	uint16_t *next, *last, *num, *id;   /* ours, by entry; id: of chains out at the start */
	uint16_t *entry;               /* by id: first entry of the chain that is out, or NONE */
	uint16_t *batch;               /* first entries that are being published */
	uint16_t *at;                  /* for who publishes: `size` positions */
	uint32_t n_again, slots_again; /* chains that were out at the start; their entries */
	uint16_t *again;               /* first entries, as they had been taken */
};

/*
 * Takes over the region of a ring of `size` slots: repairs it and, in the ring, what a
 * publication that was broken off has left; or makes a new one of it, for a ring whose next
 * used descriptor is written at used_at. *fresh: it was made new. *ignored: how much of it
 * cannot be. 0 or -ENOMEM.
 */
int xn_pflight_open(struct xn_pflight **f, void *region, uint64_t *g_ring, uint32_t size,
		    uint16_t used_at, bool *fresh, uint64_t *ignored);
/* Leaves the region as it is. */
void xn_pflight_close(struct xn_pflight *f);

/* A descriptor of a chain that was out at the start: the first of the i-th chain is entry
 * again[i], which is one of num[again[i]] and has the id id[again[i]]; next[] goes on. */
void xn_pflight_desc(const struct xn_pflight *f, uint16_t entry, uint64_t *addr, uint64_t *rest);

/* A chain with this id is taken: begin; each of its descriptors, in order (the word as it
 * stands in the ring); take. There are entries for as many slots as the ring has. */
void xn_pflight_begin(struct xn_pflight *f, uint16_t id);
void xn_pflight_note(struct xn_pflight *f, uint64_t addr, uint64_t rest);
void xn_pflight_take(struct xn_pflight *f, uint16_t id);
/* It is not taken any more. */
void xn_pflight_untake(struct xn_pflight *f, uint16_t id);

/* A publication: all ids; where the next used descriptor is written then, and the ring's
 * words may be written; behind the first of them. */
void xn_pflight_batch(struct xn_pflight *f, uint16_t id);
void xn_pflight_batch_begins(struct xn_pflight *f, uint16_t used_at);
void xn_pflight_batch_done(struct xn_pflight *f);

#endif
