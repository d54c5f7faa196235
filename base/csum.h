/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Internet checksum (RFC 1071): of bytes where they lie, and of bytes that are being
 * copied, in one pass.
 *
 * A sum is the sum of a run's 16-bit words, modulo 65535, as they lie in memory: it does
 * not matter in which order a word's two bytes are read, as long as the result is written
 * in the same order (RFC 1071, 2 (B)). It is kept in 64 bits and folded to 16 at the end.
 * A sum is 0 only if all bytes are: that makes the result the same, bit by bit, as that of
 * the slow way, where 0 and 0xffff are both zero.
 *
 * A packet is summed in pieces. A piece that begins at an odd place of what is summed has
 * all its bytes in the other half of the words: its sum is multiplied by 256, which
 * modulo 65535 is a rotation by 8 bits, also of all 64 (65535 divides 2^64 - 1).
 *
 *	xn_sum s = xn_sum_add(xn_sum_copy(dst, a, 7), xn_sum_at(xn_sum_copy(dst + 7, b, n), 7));
 *
 * Nothing here writes to what it sums.
 */
#ifndef XN_BASE_CSUM_H
#define XN_BASE_CSUM_H

#include "base/types.h"

typedef struct { uint64_t v; } xn_sum;

#define XN_SUM(x) ((xn_sum){ (uint64_t)(x) })

/* Of n bytes, n < 2^32. */
xn_sum xn_sum_bytes(const void *p, size_t n);
/* The same of bytes that are copied: of what was written to dst, even if src changes
 * meanwhile. The two do not overlap, or dst begins in front of src: each byte is read before
 * it is written over. */
xn_sum xn_sum_copy(void *dst, const void *src, size_t n);

static inline xn_sum xn_sum_add(xn_sum a, xn_sum b)
{
	uint64_t s = a.v + b.v;

	return XN_SUM(s + (s < b.v));   /* 2^64 is 1, modulo 65535 */
}

/* Of bytes that begin at this place of the whole. */
static inline xn_sum xn_sum_at(xn_sum s, size_t place)
{
	return place & 1 ? XN_SUM(s.v << 8 | s.v >> 56) : s;
}

/* With a word more; the word as it lies in memory. */
static inline xn_sum xn_sum_add16(xn_sum s, uint16_t word)
{
	return xn_sum_add(s, XN_SUM(word));
}

/* With another word in place of one that is in it (RFC 1624). May turn 0 to 0xffff. */
static inline xn_sum xn_sum_replace16(xn_sum s, uint16_t old, uint16_t new)
{
	return xn_sum_add(s, XN_SUM((uint32_t)(uint16_t)~old + new));
}

/* Of an address, 4 or 16 bytes: too few to call somebody. */
static inline xn_sum xn_sum_address(const uint8_t *p, uint32_t n)
{
	uint64_t s = 0;
	uint32_t w;

	for (uint32_t i = 0; i < n; i += 4) {
		__builtin_memcpy(&w, p + i, sizeof(w));
		s += w;
	}
	return XN_SUM(s);
}

/* In 16 bits, as they lie in memory. */
static inline uint16_t xn_sum_fold(xn_sum s)
{
	uint32_t v = (uint32_t)(s.v >> 32), w = (uint32_t)s.v + v;

	w += w < v;
	w = (w >> 16) + (w & 0xffff);
	return (uint16_t)(w + (w >> 16));
}

/* What belongs in the checksum field; the field itself was summed as 0, or as what a
 * pseudo-header leaves there. */
static inline uint16_t xn_sum_csum(xn_sum s)
{
	return (uint16_t)~xn_sum_fold(s);
}

/* The same where 0 in the field means "none" (UDP, RFC 768): 0xffff is the other zero, and
 * right for every protocol. */
static inline uint16_t xn_sum_csum_nonzero(xn_sum s)
{
	uint16_t c = xn_sum_csum(s);

	return c ? c : 0xffff;
}

/*
 * The ways in which it is done: for tests and for measuring. The first that the processor
 * has is the one that is used; the last works everywhere.
 */
struct xn_sum_way {
	const char *name;
	bool (*has)(void);
	xn_sum (*bytes)(void *unused, const void *src, size_t n);
	xn_sum (*copy)(void *dst, const void *src, size_t n);
};
#define XN_SUM_WAYS 2u
extern const struct xn_sum_way xn_sum_ways[XN_SUM_WAYS];

#endif
