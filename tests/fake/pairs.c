/* SPDX-License-Identifier: BSD-2-Clause */
/* Pairs with a thread each. Contract in tests/fake/pairs.h. */
#include <assert.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "tests/fake/pairs.h"
#include "tests/fake/rss.h"

#define SLOT    1664u
#define BUF     1600u
#define BUFS_AT 0x100000u
#define TAIL_AT (PAIRS_BYTES - 16)   /* number, and queue that it was sent on */

static uint64_t buffer(unsigned q, unsigned slot)
{
	return BUFS_AT + ((uint64_t)q * DRV_SIZE + slot) * SLOT;
}

static void post(struct pair *p)
{
	for (unsigned s = 0; s < DRV_SIZE; s++)
		if (!p->posted[s]) {
			p->posted[s] = 1;
			drv_post1(p->all->drv, 2 * p->index, buffer(p->index, s), BUF);
		}
}

/* Is this frame one that may come here, now? */
static bool is_right(struct pair *p, const uint8_t *frame, uint32_t bytes)
{
	const struct pairs *all = p->all;
	uint64_t tail[2];

	if (bytes != PAIRS_BYTES)
		return false;
	memcpy(tail, frame + TAIL_AT, sizeof(tail));
	if (tail[0] >= PAIRS_FRAMES || tail[1] >= PAIRS || p->seen[tail[0]]++)
		return false;
	if (rss_model_queue(&all->cfg[0], frame, bytes) != p->index &&
	    (all->ordered || rss_model_queue(&all->cfg[1], frame, bytes) != p->index))
		return false;
	if (all->ordered && tail[0] < p->last[tail[1]])
		return false;
	p->last[tail[1]] = tail[0] + 1;
	return true;
}

static unsigned take(struct pair *p)
{
	struct drv *d = p->all->drv;
	unsigned n = 0;
	uint16_t head;
	uint32_t len;

	while (drv_used(d, 2 * p->index, &head, &len)) {
		const uint64_t at = drv_desc(d, 2 * p->index)[head].addr;

		p->posted[(at - buffer(p->index, 0)) / SLOT] = 0;
		if (!len)
			continue;
		if (!is_right(p, d->ram + at + DRV_HDR, len - DRV_HDR))
			xn_store_once32(&p->failed, 1);
		n++;
	}
	return n;
}

static void restart(struct pair *p, struct xn_queue *q)
{
	if (xn_queue_stop(q) || xn_queue_start(q))
		xn_store_once32(&p->failed, 1);
	/* What it has counted is seen by who sees this. */
	xn_store_release32(&p->restarted, p->restarted + 1);
}

static void sleep_on(const struct pairs *all, struct xn_queue *q)
{
	struct pollfd fds[8] = { { .fd = all->stop_fd, .events = POLLIN } };
	unsigned n = 1 + xn_queue_wait_fds(q, fds + 1, 7);

	poll(fds, n, all->sleep_ms ? all->sleep_ms : PAIRS_LATE_MS);
}

static void *pair_run(void *arg)
{
	struct pair *p = arg;
	struct pairs *all = p->all;
	struct xn_queue *q = xn_dev_queue(all->dev, p->index);

	if (all->enter)
		all->enter(all->arg);
	while (!xn_load_acquire32(&all->stop)) {
		unsigned moved = xn_queue_run(q, 64), got = take(p);

		xn_store_release32(&p->got, p->got + got);
		post(p);
		if (p->restarted != xn_load_acquire32(&p->restarts))
			restart(p, q);
		else if (!moved && !got && xn_queue_arm(q) && !xn_load_acquire32(&all->stop))
			sleep_on(all, q);
	}
	return NULL;
}

void pairs_start(struct pairs *all)
{
	all->stop_fd = eventfd(0, EFD_CLOEXEC);
	assert(all->stop_fd >= 0);
	for (unsigned i = 0; i < PAIRS; i++) {
		all->pair[i].all = all;
		all->pair[i].index = i;
		post(&all->pair[i]);
		xn_queue_run(xn_dev_queue(all->dev, i), 64);
	}
	for (unsigned i = 0; i < PAIRS; i++) {
		struct pair *p = &all->pair[i];

		p->runs = !pthread_create(&p->thread, NULL, pair_run, p);
		assert(p->runs);
	}
}

void pairs_stop(struct pairs *all)
{
	xn_store_release32(&all->stop, 1);
	eventfd_write(all->stop_fd, 1);
	for (unsigned i = 0; i < PAIRS; i++)
		if (all->pair[i].runs)
			pthread_join(all->pair[i].thread, NULL);
	close(all->stop_fd);
}

unsigned pairs_frame(struct pairs *p, uint8_t frame[PAIRS_BYTES], bool exact)
{
	static const uint8_t classes[] = { XN_FLOW_TCPV4, XN_FLOW_UDPV4, XN_FLOW_TCPV6,
					   XN_FLOW_UDPV6, XN_FLOW_IPV4, XN_FLOW_NONE };
	/* (In this order with any compiler.) */
	unsigned class = classes[rss_below(&p->seed, sizeof(classes))], tags = rss_below(&p->seed, 3);
	uint64_t tail[2] = { p->sent++, rss_below(&p->seed, PAIRS) };

	assert(p->sent <= PAIRS_FRAMES);
	rss_plain_frame(frame, PAIRS_BYTES, class, tags, rss_below(&p->seed, 1000));
	if (exact)
		tail[1] = rss_model_queue(&p->cfg[0], frame, PAIRS_BYTES);
	memcpy(frame + TAIL_AT, tail, sizeof(tail));
	return (unsigned)tail[1];
}

int64_t pairs_got(struct pairs *p)
{
	int64_t n = 0;

	for (unsigned i = 0; i < PAIRS; i++) {
		n += xn_load_acquire32(&p->pair[i].got);
		if (xn_load_once32(&p->pair[i].failed))
			return -1;
	}
	return n;
}

uint64_t pairs_dropped(struct pairs *p)
{
	static const char *const names[] = {
		"rx_drop_no_buffer", "rx_drop_too_small", "rx_drop_too_long", "rx_drop_stopped",
		"rx_drop_error", "rx_drop_missteered", "rx_drop_cross_full", "steer_disabled",
		"steer_no_socket", "kernel_rx_dropped", "kernel_rx_ring_full", "kernel_fill_empty",
	};
	uint64_t sum = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++)
		sum += drv_stat(p->dev, XN_ALL_PAIRS, names[i]);
	return sum;
}

bool pairs_wait(struct pairs *p, bool may_drop, unsigned ms)
{
	const uint64_t end = xn_now_ns() + ms * 1000000ull;
	bool all;

	do
		all = pairs_got(p) + (int64_t)(may_drop ? pairs_dropped(p) : 0) == (int64_t)p->sent;
	while (!all && xn_now_ns() < end && !sched_yield());
	return all;
}

void pairs_restart(struct pairs *p, unsigned i)
{
	xn_store_release32(&p->pair[i].restarts, p->pair[i].restarts + 1);
}

bool pairs_restarted(struct pairs *p, unsigned i, unsigned ms)
{
	const uint64_t end = xn_now_ns() + ms * 1000000ull;

	while (xn_load_acquire32(&p->pair[i].restarted) != p->pair[i].restarts)
		if (xn_now_ns() > end)
			return false;
	return true;
}
