/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty page log: which pages of guest memory were written while it migrates.
 *
 *	bit gpa / 4096 % 8 of byte gpa / 32768          (vhost-user, "Migration")
 *
 * Whoever migrates the guest takes bits away and then copies the pages, at any time. So
 * a page is marked *behind* the write:
 *
 *	here    write, then set the bit       -- pairs with
 *	there   clear the bit, then read the page
 *
 * In any order of these four the page is copied with the write in it, or its bit is set
 * in the end. Setting is a full barrier even where the bit is set already: looking
 * first, to save the store, could see the old bit while the write waits in a store buffer.
 *
 * And marked *before* the guest can learn of the write, so that who is killed in
 * between leaves no page that the guest has and the copy has not. For the used index
 * itself the two cannot both be: it is marked on both sides of its store, and the used
 * rings anew when a ring starts with a log.
 */
#ifndef XN_UMEM_DIRTY_H
#define XN_UMEM_DIRTY_H

#include "umem/mem.h"

/* The log of a device. Bits are set from several threads. */
struct xn_dirty {
	uint8_t *map;
	uint64_t bytes;     /* of the map; pages beyond are not marked */
};

/* Marks guest bytes [gpa, gpa + len). Pages beyond the map add to *missed, which is the
 * caller's counter. */
void xn_dirty_mark(const struct xn_dirty *d, xn_gpa gpa, uint64_t len, uint64_t *missed);

/* The same for bytes of the UMEM; what is not the guest's is passed over. */
void xn_dirty_mark_at(const struct xn_dirty *d, const struct xn_mem *m, xn_uoff at, uint64_t len,
		      uint64_t *missed);

#endif
