/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * The judgement of one test frame: one piece of code for the sink's BPF program
 * and for the checker in user space, so that both ends of a run mean the same.
 *
 *	stamp and tail agree, our stream ----> judged by its seq:
 *	    seq = next           frames
 *	    seq > next           frames, and lost grows by the gap
 *	    seq < next, new      frames, reordered, and lost shrinks by one
 *	    seq < next, seen     duplicate
 *	stamp and tail agree, other stream --> foreign (an earlier run, another queue)
 *	stamp half right --------------------> corrupt
 *	nothing of it right -----------------> foreign
 *
 * So at every moment next = frames + lost. Frames that are lost at the very end
 * leave no gap: compare frames with what was sent.
 *
 * What is missing is a ring of 64 words of 64 bits: a frame in order leaves it alone,
 * except that the first of each 64 clears the word, which others have used before. A
 * late frame whose word belongs to others by now counts as duplicate: in doubt the
 * judgement is never the better one.
 */
#ifndef XN_BENCH_JUDGE_H
#define XN_BENCH_JUDGE_H

#include "bench/frame.h"

#define XN_CHECK_WINDOW 4096u   /* how far back a late frame is told from a duplicate */
#define XN_CHECK_WORDS  (XN_CHECK_WINDOW / 64)

/* Kept out of line: the judgement of a good frame in order stays at 30 instructions. */
#ifdef __bpf__
#define XN_SELDOM inline __attribute__((always_inline))
#else
#define XN_SELDOM __attribute__((noinline, cold, unused))
#endif

struct xn_check {
	xn_u32 stream;               /* whose frames */
	xn_u32 bytes;                /* their length */
	xn_u64 next;                 /* expected seq */
	xn_u64 frames, lost, reordered, duplicate, corrupt, foreign;
	xn_u64 missing[XN_CHECK_WORDS];
};

static inline xn_u64 *xn_check_word(struct xn_check *c, xn_u64 word)
{
	return &c->missing[word % XN_CHECK_WORDS];
}

/* The bits from..to - 1 of a word; from < 64, to <= 64. */
static inline xn_u64 xn_check_bits(xn_u32 from, xn_u32 to)
{
	return (to < 64 ? (1ull << to) - 1 : ~0ull) & ~((1ull << from) - 1);
}

/* seq > next: all from next to seq - 1 are missing so far. */
static inline void xn_check_gap(struct xn_check *c, xn_u64 seq)
{
	xn_u64 word = c->next / 64, last = seq / 64, *w;
	xn_u32 from = c->next % 64;

	c->lost += seq - c->next;
	if (last - word >= XN_CHECK_WORDS) {
		word = last - XN_CHECK_WORDS + 1;
		from = 0;
	}
	for (xn_u32 i = 0; i < XN_CHECK_WORDS && word <= last; i++, word++, from = 0) {
		w = xn_check_word(c, word);
		*w = (from ? *w : 0) | xn_check_bits(from, word == last ? seq % 64 : 64);
	}
}

static inline int xn_check_late(struct xn_check *c, xn_u64 seq)
{
	xn_u64 *w = xn_check_word(c, seq / 64), bit = 1ull << seq % 64;

	if ((c->next - 1) / 64 - seq / 64 >= XN_CHECK_WORDS || !(*w & bit)) {
		c->duplicate++;
		return 0;
	}
	*w &= ~bit;
	c->frames++;
	c->reordered++;
	c->lost--;
	return 1;
}

static XN_SELDOM int xn_check_jump(struct xn_check *c, xn_u64 seq)
{
	if (seq < c->next)
		return xn_check_late(c, seq);
	xn_check_gap(c, seq);
	c->next = seq + 1;
	c->frames++;
	return 1;
}

/* A frame that is not one of stream's good ones: damaged (1), or none of ours (0)? */
static inline int xn_check_damaged(xn_u32 stream, const struct xn_stamp *s,
				   xn_u32 tail, xn_u32 bytes)
{
	xn_u32 check = xn_stamp_check(s->stream, s->seq, bytes);

	if (s->stream == stream)
		return 1;
	return tail == ~s->check && s->check != check;
}

static XN_SELDOM int xn_check_bad(struct xn_check *c, const struct xn_stamp *s,
				  xn_u32 tail, xn_u32 bytes)
{
	if (xn_check_damaged(c->stream, s, tail, bytes))
		c->corrupt++;
	else
		c->foreign++;
	return 0;
}

/* 1: a good frame that was not there before. */
static inline int xn_check_stamp(struct xn_check *c, const struct xn_stamp *s,
				 xn_u32 tail, xn_u32 bytes)
{
	xn_u64 seq = s->seq;
	xn_u32 check = xn_stamp_check(c->stream, seq, bytes);

	if (__builtin_expect(s->stream != c->stream || s->check != check || tail != ~check ||
			     bytes != c->bytes, 0))
		return xn_check_bad(c, s, tail, bytes);
	if (__builtin_expect(seq != c->next, 0))
		return xn_check_jump(c, seq);
	/* The word's last user was 4096 frames ago. */
	if (__builtin_expect(seq % 64 == 0, 0))
		*xn_check_word(c, seq / 64) = 0;
	c->next = seq + 1;
	c->frames++;
	return 1;
}

#endif
