/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a worker should wait when a turn found nothing to do: the judgement behind
 * XN_POLL_ADAPTIVE. Only numbers, no calls: it can be shown any traffic.
 *
 *	what the last millisecond was like       what to do when idle
 *	----------------------------------       --------------------
 *	talk: the directions answer each other   SPIN for SPIN_NS: the answer is near, and
 *	      within TALK_GAP_NS                 a sleep would be most of the round trip;
 *	                                         then SLEEP
 *	stream: GATHER_PPS and more, one way     GATHER: do not look, and ask nobody to
 *	                                         notify, for as long as GATHER_FRAMES take
 *	                                         to come; if then there is nothing, SLEEP
 *	else (silence, single frames)            SPIN for a moment, then SLEEP
 *
 * SLEEP asks guest and kernel to wake us up: no time is lost, and none is used, but each
 * wake-up costs microseconds of processor, ours and the guest's. Gathering is what a
 * network card's interrupt moderation does: the cost of a wake-up is shared by the frames
 * of some ten microseconds, so that what a stream costs follows its rate. Spinning buys
 * latency with a whole processor; so it is for those only who wait for an answer.
 *
 * Whether it is talk is asked of the frames themselves: when a frame goes the other way
 * than the one before it and soon after it, that is an answer. Talk has an answer for at
 * least every TALK_FRAMES frames. A bulk transfer over TCP has answers too, one for a
 * whole batch: it is a stream.
 *
 * The clock is read in empty turns only, and after a sleep: a worker that has its hands full
 * has no time for it. So what is known of the time in a turn that works is when the last of
 * these was.
 *
 * The times were chosen on a virtual machine with two processors, where a sleep of 50 us
 * takes 70 and costs 13 us of processor. A single frame's round trip is below 20 us there
 * between processes, so SPIN_NS is more than two of them. In GATHER_NS, and the 20 us that
 * it takes longer, a guest's ring of 256 holds what comes at 3.5 million frames a second,
 * should a stream get faster while nobody looks.
 */
#ifndef XN_VHOST_TEMPO_H
#define XN_VHOST_TEMPO_H

#include <stdbool.h>
#include <stdint.h>

#define XN_TEMPO_WINDOW_NS      1000000u  /* what "lately" means */
#define XN_TEMPO_TALK_GAP_NS    50000u
#define XN_TEMPO_TALK_FRAMES    8u
#define XN_TEMPO_SPIN_NS        50000u
#define XN_TEMPO_MOMENT_NS      2000u
#define XN_TEMPO_GATHER_PPS     40000u
#define XN_TEMPO_GATHER_FRAMES  32u       /* an eighth of the ring of a usual guest */
#define XN_TEMPO_GATHER_NS      100000u   /* not longer */
#define XN_TEMPO_GATHER_MIN_NS  10000u    /* shorter is no use: sleeping takes as long */

enum xn_tempo_do { XN_TEMPO_SPIN, XN_TEMPO_GATHER, XN_TEMPO_SLEEP };

enum xn_tempo_way { XN_TEMPO_NONE = 0, XN_TEMPO_RX = 1, XN_TEMPO_TX = 2 };

struct xn_tempo {
	uint64_t rx, tx;                /* frames in all, when last looked */
	unsigned way;                   /* of those that moved last: bits of xn_tempo_way */
	bool fresh, answered;           /* since the last look at the clock: moved; an answer */
	bool gathered;                  /* nothing has come since the last GATHER */

	uint64_t now_ns;                /* the clock, when last looked at */
	uint64_t moved_ns;              /* when frames were last seen to have moved */
	uint64_t answered_ns;
	uint64_t window_ns;             /* when this window began */
	uint64_t frames, answers;       /* in it */
	uint64_t old_frames, old_answers;   /* in the one before */
	uint64_t rate_pps;              /* likewise */
};

void xn_tempo_start(struct xn_tempo *t, uint64_t now_ns, uint64_t rx, uint64_t tx);

/* A turn has worked; so far the queue has moved so many frames. */
void xn_tempo_worked(struct xn_tempo *t, uint64_t rx, uint64_t tx);

/* The worker has slept or gathered, as it was told. */
static inline void xn_tempo_woke(struct xn_tempo *t, uint64_t now_ns)
{
	t->now_ns = now_ns;
}

/* A turn was empty. *gather_ns: how long, if the answer is GATHER. */
enum xn_tempo_do xn_tempo_idle(struct xn_tempo *t, uint64_t now_ns, uint64_t *gather_ns);

#endif
