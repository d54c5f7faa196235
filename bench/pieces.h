/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Test frames that lie in several pieces: stamped, and judged as bench/judge.h says. Of a large
 * frame one more thing is looked at: a word of its filler, at a place that differs from frame to
 * frame, so that pieces in the wrong order, or one of another frame, do not go unnoticed.
 * The sink at the far end does the same (bench/sink.bpf.c).
 */
#ifndef XN_BENCH_PIECES_H
#define XN_BENCH_PIECES_H

#include "bench/path.h"

/* How a frame of so many bytes is cut into equal pieces of at most `most`. */
static inline unsigned xn_pieces_count(uint32_t bytes, uint32_t most)
{
	return (bytes + most - 1) / most;
}

/* As xn_near_stamp. The first piece holds the stamp. */
void xn_pieces_stamp(struct xn_near *w, const struct xn_guest_piece *p, unsigned n);
/* As xn_check_frame. */
void xn_pieces_check(struct xn_check *c, const struct xn_guest_piece *p, unsigned n);

#endif
