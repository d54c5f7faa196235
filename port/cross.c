/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames that change the queue: the ends of it. Theory in port/cross.h. */
#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "port/cross.h"

#define SPINS 1000u   /* before the processor is given to whoever holds the claim */

/* Gets the claim. Whoever has it holds it for a batch at most. */
static void claim_surely(struct xn_cross *c)
{
	for (unsigned i = 0; !xn_cross_claim(c); i++) {
		xn_relax();
		if (i >= SPINS)
			sched_yield();
	}
}

/* Claimed: nothing waits any more. How many frames that were, of those whose end was there. */
static unsigned drop_all(struct xn_cross *c)
{
	const uint32_t n = xn_cross_waiting(c);
	unsigned frames = 0;

	for (uint32_t i = 0; i < n; i++)
		frames += !(xn_cross_at(c, i)->len & XN_CROSS_MORE);
	xn_cross_done(c, n);
	return frames;
}

unsigned xn_cross_reclaim(struct xn_cross *c, struct xn_cross_frame *out, unsigned n,
			  uint64_t *dropped)
{
	uint32_t end;
	unsigned k;

	/* The reader has gone while we pushed: nobody will take these out but we. */
	if (XN_UNLIKELY(!xn_load_once32(&c->open) && c->pushed != xn_load_once32(&c->taken)) &&
	    xn_cross_claim(c)) {
		if (!c->open)
			*dropped += drop_all(c);
		xn_cross_unclaim(c);
	}
	/* Acquire: the copies are made before the buffers are lent again; pairs with
	 * xn_cross_done. */
	end = xn_load_acquire32(&c->taken);
	for (k = 0; k < n && c->reclaimed != end; k++)
		out[k] = c->slots[c->reclaimed++ % XN_CROSS_SLOTS];
	return k;
}

unsigned xn_cross_withdraw(struct xn_cross *c)
{
	unsigned n;

	claim_surely(c);
	n = drop_all(c);
	xn_cross_unclaim(c);
	return n;
}

unsigned xn_cross_listen(struct xn_cross *c, bool on)
{
	unsigned n;

	claim_surely(c);
	n = drop_all(c);
	xn_store_once32(&c->open, on);
	xn_cross_unclaim(c);
	return n;
}

/* ---- mail ---- */

int xn_mail_open(struct xn_mail *m)
{
	*m = (struct xn_mail){ .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
	return m->fd < 0 ? -errno : 0;
}

void xn_mail_close(struct xn_mail *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

static void signal_fd(const struct xn_mail *m)
{
	static const uint64_t one = 1;

	(void)!write(m->fd, &one, sizeof(one));   /* far from full: one each sleep */
}

void xn_mail_wake(struct xn_mail *m)
{
	if (xn_swap_acquire32(&m->asleep, 0))
		signal_fd(m);
}

void xn_mail_arm(struct xn_mail *m, bool busy, enum xn_mail_for what)
{
	if (m->armed)
		xn_mail_disarm(m);
	m->armed = 1;
	xn_store_once32(&m->asleep, what);
	/* asleep, before the look for mail; pairs with that in xn_mail_send. */
	xn_fence_full();
	if (!busy && !xn_load_once64(&m->from))
		return;
	m->signals++;
	signal_fd(m);
}

void xn_mail_disarm(struct xn_mail *m)
{
	uint64_t n;

	m->armed = 0;
	/* Who has turned it to 0 has written to fd, or is about to. */
	m->signals += !xn_swap_acquire32(&m->asleep, 0);
	if (m->signals && read(m->fd, &n, sizeof(n)) == sizeof(n))
		m->signals -= (uint32_t)n;
}
