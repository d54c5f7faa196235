/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The only place with atomic operations and fences.
 *
 * C11 terms. A store-release makes everything written before it visible to
 * whoever reads that word with a load-acquire. At each use a comment says what
 * is ordered before what, and with which access of the other side it pairs.
 *
 *   once     one access, not torn, not repeated by the compiler; no ordering.
 *            For words that somebody else may change at any time, above all
 *            guest memory: read once into a local, check the local, use the local.
 *   acquire  a once-load; later accesses stay behind it
 *   release  a once-store; earlier accesses stay before it
 *   full     store-load fence (mfence on x86): the only thing that keeps a
 *            store before a *later load*; needed where both sides write their
 *            own flag and then look at the other's (notification suppression).
 */
#ifndef XN_BASE_ATOMICS_H
#define XN_BASE_ATOMICS_H

#include <stdint.h>

#define XN_DEFINE_ATOMICS(bits)                                                \
	static inline uint##bits##_t xn_load_once##bits(const uint##bits##_t *p)   \
	{                                                                          \
		return __atomic_load_n(p, __ATOMIC_RELAXED);                           \
	}                                                                          \
	static inline uint##bits##_t xn_load_acquire##bits(const uint##bits##_t *p)\
	{                                                                          \
		return __atomic_load_n(p, __ATOMIC_ACQUIRE);                           \
	}                                                                          \
	static inline void xn_store_once##bits(uint##bits##_t *p, uint##bits##_t v)\
	{                                                                          \
		__atomic_store_n(p, v, __ATOMIC_RELAXED);                              \
	}                                                                          \
	static inline void xn_store_release##bits(uint##bits##_t *p, uint##bits##_t v) \
	{                                                                          \
		__atomic_store_n(p, v, __ATOMIC_RELEASE);                              \
	}

XN_DEFINE_ATOMICS(8)
XN_DEFINE_ATOMICS(16)
XN_DEFINE_ATOMICS(32)
XN_DEFINE_ATOMICS(64)
#undef XN_DEFINE_ATOMICS

static inline void xn_fence_full(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void xn_fence_release(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/* Sets bits in a byte that others change too. Full order, since nothing may be
 * reordered across it in either direction: see umem/dirty.h. */
static inline void xn_or_full8(uint8_t *p, uint8_t bits)
{
	__atomic_fetch_or(p, bits, __ATOMIC_SEQ_CST);
}

/* The same in a word of 64. */
static inline void xn_or_full64(uint64_t *p, uint64_t bits)
{
	__atomic_fetch_or(p, bits, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Puts v in place of what is there, which is returned. Acquire: later accesses stay
 * behind it; a lock is taken so. */
static inline uint32_t xn_swap_acquire32(uint32_t *p, uint32_t v)
{
	return __atomic_exchange_n(p, v, __ATOMIC_ACQUIRE);
}
static inline uint64_t xn_swap_acquire64(uint64_t *p, uint64_t v)
{
	return __atomic_exchange_n(p, v, __ATOMIC_ACQUIRE);
}

/* A counter with one writer: readers in other threads see whole values. */
static inline void xn_count_add(uint64_t *p, uint64_t n)
{
	xn_store_once64(p, xn_load_once64(p) + n);
}

/* Tell the processor that this is a spin loop. */
static inline void xn_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
