/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Address types that do not mix, and the few macros that everybody uses.
 *
 * Three address spaces meet in this engine. Each has a type of its own, so
 * that passing one where another belongs does not compile:
 *
 *   xn_gpa   what the guest writes in a descriptor (guest physical address)
 *   xn_uoff  offset into the UMEM, which is what AF_XDP descriptors carry
 *   void *   where this process sees the byte (host virtual address)
 *
 *        gpa --(umem/map.c: checked)--> uoff --(umem->base +)--> pointer
 */
#ifndef XN_BASE_TYPES_H
#define XN_BASE_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

typedef struct { uint64_t v; } xn_gpa;
typedef struct { uint64_t v; } xn_uoff;

#define XN_GPA(x)  ((xn_gpa){ (uint64_t)(x) })
#define XN_UOFF(x) ((xn_uoff){ (uint64_t)(x) })

/* A run of bytes in the UMEM's address space: part of a guest buffer. */
struct xn_piece {
	xn_uoff  at;
	uint32_t len;  /* bytes, never 0 */
	uint32_t pad;
};

/*
 * A guest's buffer or packet, checked and translated: what virtqueues yield and ports
 * take. A chain of several pieces has them in an array beside.
 */
struct xn_chain {
	xn_uoff  at;         /* of the first piece */
	uint32_t bytes;      /* of all pieces */
	uint16_t head;       /* names it on its way, until it is given back */
	uint16_t n_pieces;   /* 1 and more */
	uint32_t first;      /* with several pieces: index of the first in the array */
	uint32_t slots;      /* of a packed ring: how many of its descriptors it is */
};
/* Bytes, head and number of pieces stand as a packed descriptor has length, id and flags. */
_Static_assert(offsetof(struct xn_chain, head) == offsetof(struct xn_chain, bytes) + 4 &&
	       offsetof(struct xn_chain, n_pieces) == offsetof(struct xn_chain, bytes) + 6, "one word");

/* The pieces of a chain, where there may be only one (which is not in the array). */
static inline const struct xn_piece *xn_chain_pieces(const struct xn_chain *c,
						     const struct xn_piece *pieces,
						     struct xn_piece *one)
{
	if (c->n_pieces > 1)
		return &pieces[c->first];
	*one = (struct xn_piece){ .at = c->at, .len = c->bytes };
	return one;
}

#define XN_LIKELY(x)   __builtin_expect(!!(x), 1)
#define XN_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define XN_ARRAY_SIZE(a)     (sizeof(a) / sizeof((a)[0]))
#define XN_MIN(a, b)         ((a) < (b) ? (a) : (b))
#define XN_MAX(a, b)         ((a) > (b) ? (a) : (b))
#define XN_ALIGN_UP(x, a)    (((x) + ((a) - 1)) & ~((uint64_t)(a) - 1))
#define XN_ALIGN_DOWN(x, a)  ((x) & ~((uint64_t)(a) - 1))
#define XN_CONTAINER_OF(p, type, member) \
	((type *)((char *)(p) - offsetof(type, member)))

#define XN_CACHE_LINE   64u
#define XN_PAGE_SIZE    4096u
#define XN_HUGE_SIZE    (2u << 20)
#define XN_CACHE_ALIGNED __attribute__((aligned(64)))

/* How many entries of a ring lie in a row from this free-running index on: loops over
 * rings run over such stretches, with pointers instead of masked indices. */
static inline uint32_t xn_ring_stretch(uint32_t index, uint32_t mask)
{
	return mask + 1 - (index & mask);
}

/* Smallest power of two >= x, for x in 1..2^31. */
static inline uint32_t xn_pow2_up(uint32_t x)
{
	return x <= 1 ? 1u : 1u << (32 - __builtin_clz(x - 1));
}

static inline bool xn_is_pow2(uint64_t x)
{
	return x && !(x & (x - 1));
}

/*
 * Virtio (VIRTIO 1.2, 1.4) and the structures that we share with it are little
 * endian. Only little-endian hosts are supported: nothing else was ever tested.
 */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian host needed");

#endif
