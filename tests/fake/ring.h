/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's side of a ring: what the two halves of the fake kernel share. */
#ifndef XN_TESTS_FAKE_RING_H
#define XN_TESTS_FAKE_RING_H

#include <assert.h>

#include "base/atomics.h"
#include "tests/fake/kernel.h"

/* Entries that the engine has produced and we have not taken. The acquire pairs with
 * the release in xsk_ring_prod__submit: the entries are read behind it. */
static inline uint32_t fk_ring_level(const struct fk_ring *r)
{
	uint32_t n = xn_load_acquire32(&r->producer) - r->at;

	assert(n <= r->size && "more produced than the ring holds");
	return n;
}

/* Entries that we may still produce. The acquire pairs with xsk_ring_cons__release:
 * the engine has read what was in them. */
static inline uint32_t fk_ring_room(const struct fk_ring *r)
{
	uint32_t used = r->at - xn_load_acquire32(&r->consumer);

	assert(used <= r->size && "more consumed than was produced");
	return r->size - used;
}

/* What we took or produced so far. Release: our reads or writes of the entries come
 * before; pairs with the acquire in xsk_prod_nb_free or xsk_cons_nb_avail. */
static inline void fk_ring_publish(const struct fk_ring *r, uint32_t *word)
{
	xn_store_release32(word, r->at);
}

/* ---- tests/fake/kernel.c, for nic.c ---- */

uint64_t fk_random(struct fk *k);
/* Next valid entry of the fill ring; invalid ones are gone. False: the ring is empty. */
bool fk_fill_take(struct fk *k, uint32_t *level, uint64_t *addr);
/* The entry that the next frame is written to. False: there is none. */
bool fk_entry_take(struct fk *k, uint64_t *addr);
/* Where it goes. */
static inline struct fk_ring *fk_rx_ring(struct fk *k)
{
	return k->to ? k->to : &k->rx;
}
/* tests/fake/sg.c: one longer than a chunk takes. As fk_rx. */
int fk_sg_rx(struct fk *k, const uint8_t *frame, uint32_t bytes);
/* Has the RX ring room where the next frame goes? Counted, if not. */
bool fk_rx_room(struct fk *k);
/* A frame in the RX ring: at `at`, in the buffer of this fill entry. */
void fk_rx_put(struct fk *k, uint64_t fill, uint64_t at, uint32_t bytes);
bool fk_desc_valid(const struct fk *k, const struct xdp_desc *d);
/* Completes a packet whose memory is read now, if it is in zero-copy mode. */
void fk_finish(struct fk *k, const struct fk_flying *f);
void fk_capture(struct fk *k, const uint64_t *addr, const uint32_t *len, unsigned n);

#endif
