/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Toeplitz hash, from tables. Compiles for user space and for BPF.
 *
 * The hash of a row of bits is the exclusive-or of 32-bit windows of the key: bit i of
 * the input, if it is set, contributes bits i..i+31 of the key. So each byte of the input
 * contributes one of 256 values, whatever the other bytes are. They are worked out
 * when the key is set:
 *
 *	input   | byte 0 | byte 1 | byte 2 | ...        at most 36: two IPv6 addresses, two ports
 *	tables    t[0]     t[1]     t[2]     ...        256 values each
 *	hash    = t[0][byte 0] ^ t[1][byte 1] ^ ...
 *
 * Five instructions a byte, which depend on each other only in the last. Tables of half
 * bytes would be 1.5 KiB instead of 12 (for IPv4) and 4.5 instead of 36 (for IPv6), with
 * twice the loads and shifts in between: 17 ns instead of 10 for TCP/IPv4 in XDP, 45 instead
 * of 26 for UDP/IPv6 (the hash, its parser and its caller; BPF_PROG_TEST_RUN, Linux 6.18).
 */
#ifndef XN_RSS_TOEPLITZ_H
#define XN_RSS_TOEPLITZ_H

#include <linux/types.h>

#define XN_RSS_INPUT_BYTES 36u   /* the longest input: addresses and ports of IPv6 */
#define XN_RSS_KEY_BYTES   40u   /* what of a key takes part: 36 bytes, and a window of 4 */

#define XN_RSS_INLINE static inline __attribute__((always_inline))

/* Loops that have to be gone: their bodies are loads at constant places. */
#if defined(__clang__)
#define XN_RSS_UNROLL _Pragma("clang loop unroll(full)")
#else
#define XN_RSS_UNROLL _Pragma("GCC unroll 36")
#endif

struct xn_toeplitz {
	__u32 t[XN_RSS_INPUT_BYTES][256];
};

/* What n bytes contribute that stand at place `at` of the input. */
XN_RSS_INLINE __u32 xn_toeplitz_part(const struct xn_toeplitz *z, const __u8 *p, unsigned at,
				     unsigned n)
{
	__u32 hash = 0;

	XN_RSS_UNROLL
	for (unsigned i = 0; i < n; i++)
		hash ^= z->t[at + i][p[i]];
	return hash;
}

#ifndef __bpf__
/* The tables of a key of at least XN_RSS_KEY_BYTES bytes. */
static inline void xn_toeplitz_make(struct xn_toeplitz *z, const __u8 *key)
{
	for (unsigned i = 0; i < XN_RSS_INPUT_BYTES; i++) {
		/* The 39 bits of the key that the 8 bits of this byte meet. */
		__u64 k = (__u64)key[i] << 32 | (__u64)key[i + 1] << 24 | (__u64)key[i + 2] << 16 |
			  (__u64)key[i + 3] << 8 | key[i + 4];

		z->t[i][0] = 0;
		/* Of a byte the highest bit comes first; each other value is one that has been
		 * made, and one bit more. */
		for (unsigned bit = 0; bit < 8; bit++)
			for (unsigned v = 0; v < 1u << bit; v++)
				z->t[i][v | 1u << bit] = z->t[i][v] ^ (__u32)(k >> (bit + 1));
	}
}
#endif

#endif
