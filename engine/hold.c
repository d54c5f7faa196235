/* SPDX-License-Identifier: BSD-2-Clause */
/* When used buffers are told of, as the driver wishes. Theory in engine/hold.h. */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/dev.h"

#define NS_PER_S  1000000000ull
#define NS_PER_US 1000ull

/* ---- the queue's thread ---- */

/* The timer: at this time (CLOCK_MONOTONIC), or never with 0. */
static void set_timer(int fd, uint64_t at_ns)
{
	const struct itimerspec t = {
		.it_value = { (time_t)(at_ns / NS_PER_S), (long)(at_ns % NS_PER_S) },
	};

	(void)timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static const xn_hold_wish *wish_of(const struct xn_queue *q, const struct xn_ring_side *s)
{
	return &q->dev->hold.ring[s->index];
}

static void take_wish(struct xn_hold_ring *c, xn_hold_wish wish, uint32_t size)
{
	const uint32_t packets = (uint32_t)(wish >> 32), usecs = (uint32_t)wish;

	c->wish = wish;
	c->limit = packets;
	c->half = XN_MAX(size / 2, 1u);
	c->delay_ns = packets ? XN_MIN(usecs * NS_PER_US, XN_HOLD_MAX_NS) : 0;
}

static void begin(const struct xn_queue *q, const struct xn_ring_side *s, struct xn_hold_ring *c)
{
	*c = (struct xn_hold_ring){ .told = s->vq.used_published };
	take_wish(c, xn_load_once64(wish_of(q, s)), s->vq.size);
}

int xn_hold_start(struct xn_queue *q)
{
	struct xn_hold *c = &q->hold;

	if (c->timer_fd < 0)
		c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (c->timer_fd < 0)
		return xn_fail(errno, "timer of queue pair %u: %s", q->pair, strerror(errno));
	begin(q, &q->rx, &c->rx);
	begin(q, &q->tx, &c->tx);
	return 0;
}

static void tell(struct xn_queue *q, struct xn_ring_side *s, struct xn_hold_ring *c)
{
	c->since_ns = 0;
	c->told = s->vq.used_published;
	c->slots = 0;
	xn_ring_decide_irq(q->dev, s);
}

void xn_hold_settle(struct xn_queue *q)
{
	if (q->hold.rx.since_ns)
		tell(q, &q->rx, &q->hold.rx);
	if (q->hold.tx.since_ns)
		tell(q, &q->tx, &q->hold.tx);
}

/* May what has been used wait? */
static bool waits(const struct xn_ring_side *s, struct xn_hold_ring *c)
{
	uint64_t now;

	if (!c->delay_ns || (uint16_t)(s->vq.used_published - c->told) >= c->limit || c->slots >= c->half)
		return false;
	now = xn_now_ns();
	if (!c->since_ns)
		c->since_ns = now;
	return now - c->since_ns < c->delay_ns;
}

/* From one position of a packed ring to another that is not a lap further, or just one. */
static uint32_t slots_between(const struct xn_vq *vq, uint16_t from, uint16_t to)
{
	const uint32_t lap = (from ^ to) & 0x8000 ? vq->size : 0;

	return lap + (to & 0x7fffu) - (from & 0x7fffu);
}

static bool publish(struct xn_vq *vq, struct xn_hold_ring *c)
{
	const uint16_t used = vq->used_published, at = vq->pk.used_at;
	const bool more = xn_vq_publish(vq);

	c->slots += vq->packed ? slots_between(vq, at, vq->pk.used_at) : (uint16_t)(vq->used_published - used);
	return more;
}

static void flush(struct xn_queue *q, struct xn_ring_side *s, struct xn_hold_ring *c)
{
	const xn_hold_wish wish = xn_load_once64(wish_of(q, s));
	const bool more = publish(&s->vq, c);

	if (XN_UNLIKELY(wish != c->wish))
		take_wish(c, wish, s->vq.size);
	if (!more && !c->since_ns)
		return;
	if (!waits(s, c))
		tell(q, s, c);
	else if (more)
		XN_COUNT(s->vq.ctr, irqs_held, 1);
}

void xn_hold_flush(struct xn_queue *q)
{
	flush(q, &q->rx, &q->hold.rx);
	flush(q, &q->tx, &q->hold.tx);
}

/* When what waits has waited long enough; 0: nothing waits. */
static uint64_t due_ns(const struct xn_hold *c)
{
	const uint64_t rx = c->rx.since_ns ? c->rx.since_ns + c->rx.delay_ns : 0;
	const uint64_t tx = c->tx.since_ns ? c->tx.since_ns + c->tx.delay_ns : 0;

	return rx && tx ? XN_MIN(rx, tx) : rx | tx;
}

bool xn_hold_arm(struct xn_queue *q)
{
	struct xn_hold *c = &q->hold;
	const uint64_t due = due_ns(c);
	uint64_t v;

	/* Somebody may have set it off (xn_hold_say): then it is not set any more. */
	if (read(c->timer_fd, &v, sizeof(v)) == sizeof(v))
		c->armed_ns = 0;
	if (due != c->armed_ns)
		set_timer(c->timer_fd, due);
	c->armed_ns = due;
	/* Orders the timer's setting before the look at the wishes; pairs with the fence in
	 * wake: either it sets off the timer as it is now, or its wish is seen here. */
	xn_fence_full();
	return xn_load_once64(wish_of(q, &q->rx)) == c->rx.wish &&
	       xn_load_once64(wish_of(q, &q->tx)) == c->tx.wish;
}

void xn_hold_close(struct xn_hold *c)
{
	if (c->timer_fd >= 0)
		close(c->timer_fd);
	*c = (struct xn_hold){ .timer_fd = -1 };
}

/* ---- what the driver says ---- */

/* The queue of a ring whose wish has changed looks at it now. */
static void wake(const struct xn_dev *dev, unsigned index)
{
	const int fd = dev->queues[index / 2]->hold.timer_fd;

	/* Orders the wish before the timer; pairs with the one in xn_hold_arm. */
	xn_fence_full();
	if (fd >= 0)
		set_timer(fd, 1);
}

void xn_hold_say(struct xn_dev *dev, unsigned index, xn_hold_wish wish)
{
	if (xn_load_once64(&dev->hold.ring[index]) == wish)
		return;
	xn_store_once64(&dev->hold.ring[index], wish);
	wake(dev, index);
}

void xn_hold_say_all(struct xn_dev *dev, unsigned kind, xn_hold_wish wish)
{
	dev->hold.all[kind] = wish;
	for (unsigned pair = 0; pair < dev->opts.pairs; pair++)
		xn_hold_say(dev, 2 * pair + kind, wish);
}

void xn_hold_ring_is_new(struct xn_dev *dev, unsigned index)
{
	xn_store_once64(&dev->hold.ring[index], dev->hold.all[index % 2]);
}

void xn_hold_forget(struct xn_dev *dev)
{
	for (unsigned kind = 0; kind < 2; kind++)
		xn_hold_say_all(dev, kind, 0);
}
