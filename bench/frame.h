/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * The test frame, the same on both sides (BPF and user space).
 *
 *	 0  Ethernet, IPv4, UDP: constant, so that anybody can look at it
 *	42  stream   4 bytes   who sends: a random run tag, plus the stream's number
 *	46  seq      8 bytes   counts from 0 in each stream
 *	54  check    4 bytes   mix of stream, seq and length
 *	58  filler
 *	    tail     the last 4 bytes: check, inverted: the end arrived too
 *
 * A receiver finds loss, duplicates, reordering and corruption from these alone.
 */
#ifndef XN_BENCH_FRAME_H
#define XN_BENCH_FRAME_H

#ifdef __bpf__
#include <linux/types.h>
typedef __u32 xn_u32;
typedef __u64 xn_u64;
#else
#include <stdint.h>
typedef uint32_t xn_u32;
typedef uint64_t xn_u64;
#endif

#define XN_STAMP_AT      42u
#define XN_STAMP_BYTES   16u
#define XN_TAIL_BYTES    4u
#define XN_FRAME_MIN     62u   /* shortest frame with stamp and tail */

struct xn_stamp {
	xn_u32 stream;
	xn_u64 seq;
	xn_u32 check;
} __attribute__((packed));
_Static_assert(sizeof(struct xn_stamp) == XN_STAMP_BYTES, "stamp is 16 bytes");

/*
 * Of large frames this many bytes of the filler are looked at, each byte of which is its place;
 * somewhere else in each frame. bytes >= XN_FRAME_MIN + XN_FILLER_BYTES.
 */
#define XN_FILLER_AT    (XN_STAMP_AT + XN_STAMP_BYTES)
#define XN_FILLER_BYTES 4u

static inline xn_u32 xn_filler_at(xn_u64 seq, xn_u32 bytes)
{
	const xn_u32 room = bytes - XN_FILLER_AT - XN_TAIL_BYTES - XN_FILLER_BYTES + 1;

	/* The upper half of the product: of all places, each as often. */
	return XN_FILLER_AT + (xn_u32)(((xn_u64)((xn_u32)seq * 0x9e3779b1u) * room) >> 32);
}

static inline int xn_filler_good(const unsigned char *filler, xn_u32 at)
{
	int good = 1;

	for (xn_u32 i = 0; i < XN_FILLER_BYTES; i++)
		good &= filler[i] == (unsigned char)(at + i);
	return good;
}

static inline xn_u32 xn_stamp_check(xn_u32 stream, xn_u64 seq, xn_u32 bytes)
{
	xn_u64 x = (seq + bytes) * 0x9e3779b97f4a7c15ull ^ stream;

	return (xn_u32)(x >> 32) ^ (xn_u32)x;
}

#endif
