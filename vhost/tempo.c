/* SPDX-License-Identifier: BSD-2-Clause */
/* When to spin, gather or sleep. Theory in vhost/tempo.h. */
#include "base/types.h"
#include "vhost/tempo.h"

#define NS_PER_S 1000000000ull

void xn_tempo_start(struct xn_tempo *t, uint64_t now_ns, uint64_t rx, uint64_t tx)
{
	*t = (struct xn_tempo){ .rx = rx, .tx = tx, .now_ns = now_ns, .moved_ns = now_ns,
				.window_ns = now_ns };
}

void xn_tempo_worked(struct xn_tempo *t, uint64_t rx, uint64_t tx)
{
	const unsigned both = XN_TEMPO_RX | XN_TEMPO_TX;
	unsigned way = (rx != t->rx ? XN_TEMPO_RX : 0) | (tx != t->tx ? XN_TEMPO_TX : 0);

	if (!way)
		return;     /* the guest gave buffers, or got some back */
	t->frames += (rx - t->rx) + (tx - t->tx);
	if (t->way && (way | t->way) == both &&
	    t->now_ns - t->moved_ns <= XN_TEMPO_TALK_GAP_NS) {
		t->answers++;
		t->answered = true;
	}
	t->rx = rx;
	t->tx = tx;
	t->way = way;
	t->moved_ns = t->now_ns;
	t->fresh = true;
}

/* What the clock says to what has moved since it was read. */
static void look(struct xn_tempo *t, uint64_t now_ns)
{
	t->now_ns = now_ns;
	if (!t->fresh)
		return;
	t->moved_ns = now_ns;
	if (t->answered)
		t->answered_ns = now_ns;
	t->fresh = t->answered = t->gathered = false;
}

static void turn_window(struct xn_tempo *t, uint64_t now_ns)
{
	uint64_t ns = now_ns - t->window_ns;

	if (ns < XN_TEMPO_WINDOW_NS)
		return;
	t->rate_pps = t->frames * NS_PER_S / ns;
	t->old_frames = t->frames;
	t->old_answers = t->answers;
	t->frames = t->answers = 0;
	t->window_ns = now_ns;
}

static bool is_talk(const struct xn_tempo *t, uint64_t now_ns)
{
	return t->answered_ns && now_ns - t->answered_ns < XN_TEMPO_WINDOW_NS &&
	       (t->old_answers + t->answers) * XN_TEMPO_TALK_FRAMES >= t->old_frames + t->frames;
}

enum xn_tempo_do xn_tempo_idle(struct xn_tempo *t, uint64_t now_ns, uint64_t *gather_ns)
{
	uint64_t idle_ns;

	look(t, now_ns);
	turn_window(t, now_ns);
	idle_ns = now_ns - t->moved_ns;
	if (is_talk(t, now_ns))
		return idle_ns < XN_TEMPO_SPIN_NS ? XN_TEMPO_SPIN : XN_TEMPO_SLEEP;
	if (t->rate_pps >= XN_TEMPO_GATHER_PPS && !t->gathered) {
		*gather_ns = XN_MIN(XN_TEMPO_GATHER_FRAMES * NS_PER_S / t->rate_pps,
				    (uint64_t)XN_TEMPO_GATHER_NS);
		if (*gather_ns < XN_TEMPO_GATHER_MIN_NS)
			return idle_ns < XN_TEMPO_SPIN_NS ? XN_TEMPO_SPIN : XN_TEMPO_SLEEP;
		t->gathered = true;
		return XN_TEMPO_GATHER;
	}
	return idle_ns < XN_TEMPO_MOMENT_NS ? XN_TEMPO_SPIN : XN_TEMPO_SLEEP;
}
