/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory as one UMEM.
 *
 * AF_XDP wants one contiguous range of this process's addresses. Guests have
 * several regions, so all of them are mapped side by side into one reservation,
 * with memory of the engine's own around them:
 *
 *   base                                                    base + map_bytes
 *   | arena_lo | guest spans in the window ... | arena_hi | spans outside ... |
 *   |<------------------ umem_bytes, registered ---------->|
 *   ^ UMEM offset 0, 2 MiB aligned
 *
 *   arena_lo  64 KiB and more of the engine: a fill entry lies up to one chunk
 *             in front of the guest buffer (KERNEL-wise: data = fill_addr + 256 +
 *             headroom), so the first guest byte needs room in front of it.
 *   arena_hi  64 KiB and more behind, and the bounce frames.
 *   spans     guest RAM in the order of guest addresses. Neighbours that touch in
 *             both address spaces are one span, whatever fds they came from.
 *   outside   guest RAM that the window option leaves out: this process can copy
 *             to and from it, the kernel cannot. Its offsets are >= umem_bytes, so
 *             "may this be lent?" is one comparison.
 *
 * Translation is one subtraction and one comparison against the span that was
 * hit last (struct xn_mem_hit, one for each user); a miss is a binary search.
 *
 * Gaps between spans (huge page alignment) are filled with memory of the
 * engine: registration refuses holes.
 */
#ifndef XN_UMEM_MEM_H
#define XN_UMEM_MEM_H

#include <assert.h>
#include "base/types.h"
#include "xsknet.h"

#define XN_CHUNK_BYTES  4096u               /* UMEM chunk = bounce frame */
#define XN_ARENA_GUARD  (64u << 10)         /* at both ends */
#define XN_MEM_MAX_SPANS (XN_MEM_MAX_REGIONS + 2u)  /* the window may cut two regions */

struct xn_span {
	uint64_t gpa;     /* first guest physical address */
	uint64_t bytes;
	uint64_t uoff;    /* UMEM offset of the first byte */
};

struct xn_mem {
	uint8_t *base;        /* address of UMEM offset 0 */
	uint64_t umem_bytes;  /* registered with the kernel: [0, umem_bytes) */
	uint64_t map_bytes;   /* reserved in all */
	uint64_t guest_bytes;
	unsigned n_spans;
	struct xn_span spans[XN_MEM_MAX_SPANS];   /* sorted by gpa */

	/* Bounce frames: frames_at + i * XN_CHUNK_BYTES, handed out from a stack. */
	uint64_t  frames_at;
	uint32_t  n_frames, n_free;
	uint32_t *free_frames;

	uint64_t window_gpa, window_bytes;   /* as applied; bytes 0: no window */
	unsigned n_regions, n_hugetlb;
	unsigned users;          /* devices that use it */
	uint32_t poisoned;       /* guest memory was replaced (xn_mem_poison) */
};

/* The span that was hit last. One for each user (not shared between threads). */
struct xn_mem_hit {
	uint64_t gpa, bytes;     /* bytes 0: nothing yet */
	uint64_t delta;          /* uoff - gpa, modulo 2^64 */
};

/* Slow path of xn_mem_find: searches all spans, remembers the hit. */
bool xn_mem_search(const struct xn_mem *m, struct xn_mem_hit *hit, xn_gpa gpa,
		   uint64_t len, xn_uoff *at);

/* Fast path of xn_mem_find: the span that was hit last, and nothing else. */
static inline bool xn_mem_find_hit(const struct xn_mem_hit *hit, xn_gpa gpa, uint64_t len,
				   xn_uoff *at)
{
	uint64_t into = gpa.v - hit->gpa;

	at->v = gpa.v + hit->delta;
	return into < hit->bytes && len <= hit->bytes - into;
}

/*
 * UMEM offset of guest bytes [gpa, gpa + len), len >= 1, if all of them lie in
 * one span. Addresses that wrap around are refused like all others outside.
 */
static inline bool xn_mem_find(const struct xn_mem *m, struct xn_mem_hit *hit, xn_gpa gpa,
			       uint64_t len, xn_uoff *at)
{
	return XN_LIKELY(xn_mem_find_hit(hit, gpa, len, at)) || xn_mem_search(m, hit, gpa, len, at);
}

/*
 * How many of `len` bytes from gpa on lie in one span, with the offset of the
 * first: 0 if none. For buffers that cross from one span into the next.
 */
uint64_t xn_mem_find_some(const struct xn_mem *m, xn_gpa gpa, uint64_t len, xn_uoff *at);

/*
 * The way back: how many of the bytes [at, at + len) lie in the span of guest memory in
 * which the first does, and that one's address: 0 if it is not the guest's.
 */
uint64_t xn_mem_gpa_of(const struct xn_mem *m, xn_uoff at, uint64_t len, xn_gpa *gpa);

static inline void *xn_mem_at(const struct xn_mem *m, xn_uoff at)
{
	return m->base + at.v;
}

/* May bytes [at, at + len) be given to the kernel? */
static inline bool xn_mem_registered(const struct xn_mem *m, xn_uoff at, uint64_t len)
{
	return at.v <= m->umem_bytes && len <= m->umem_bytes - at.v;
}

/* Takes up to n bounce frames (offsets of their first bytes); returns how many.
 * Any thread, as the next two. */
unsigned xn_mem_take_frames(struct xn_mem *m, xn_uoff *out, unsigned n);
/* Gives frames back. */
void xn_mem_give_frames(struct xn_mem *m, const xn_uoff *frames, unsigned n);
uint32_t xn_mem_free_frames(const struct xn_mem *m);

/* Index of the region-ordered span that holds this offset, for messages; -1. */
int xn_mem_span_of(const struct xn_mem *m, xn_uoff at);

#endif
