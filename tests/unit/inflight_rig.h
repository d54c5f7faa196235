/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver that lives on while back ends come and die, for the tests of inflight
 * memory. It is the oracle: it knows what it has offered, and refuses to see a head twice.
 */
#ifndef XN_TESTS_INFLIGHT_RIG_H
#define XN_TESTS_INFLIGHT_RIG_H

#include <stdlib.h>

#include "tests/unit/vq_rig.h"

#define MAX_SIZE 64u
#define REGION_AT 0x1c0000ull   /* of A: inflight memory, in what is shared anyway */

static struct rig r;
static struct xn_vq_cfg cfg;
static uint64_t seed;

static inline uint32_t pick(uint32_t n)
{
	return rig_random(&seed) % n;
}

static struct xn_inflight_ring *region(void)
{
	return rig_at(&r, A_GPA + REGION_AT);
}

/* ---- the driver, which lives on: what it offered, in order ---- */

static struct {
	bool out[MAX_SIZE];              /* offered, and not seen as used */
	uint16_t at[MAX_SIZE];           /* available index of the last offer */
	uint32_t offered, used;
} drv;

static inline bool drv_offer(void)
{
	uint32_t head = pick(r.size);

	for (uint32_t i = 0; i < r.size && drv.out[head]; i++)
		head = (head + 1) % r.size;
	if (drv.out[head])
		return false;
	drv.out[head] = true;
	drv.at[head] = r.next_avail;
	drv.offered++;
	/* One in eight is wrong, and is given back by pop. */
	rig_desc(&r, head, pick(8) ? BUF_GPA + 2048ull * head : HOLE, 1 + pick(2000),
		 r.vq.expect_flags, 0);
	rig_offer(&r, (uint16_t)head);
	return true;
}

static inline void drv_reap(void)
{
	uint32_t head, len;

	while (rig_used(&r, &head, &len)) {
		assert_in_range(head, 0, r.size - 1);
		assert_true(drv.out[head]);      /* offered, and not used before */
		drv.out[head] = false;
		drv.used++;
	}
}

/* ---- the back end: what one process holds ---- */

static struct {
	struct xn_chain held[2 * MAX_SIZE];
	unsigned n;
	bool up;
} be;

/* An assertion of cmocka's may return, for all that the analyzer knows. */
static inline void be_init(void)
{
	if (xn_vq_init(&r.vq, &r.mem, &r.ctr, &cfg))
		abort();
}

static inline void be_start(void)
{
	be.n = 0;
	be.up = false;
	be_init();
	be.up = true;
	assert_int_equal(r.ctr.v[XN_C_inflight_ignored], 0);
}

/* What a process that is killed leaves: nothing. */
static inline void be_die(void)
{
	if (be.up)
		xn_vq_fini(&r.vq);
	be.up = false;
}

/* Heads that are taken again come in the order of their offers. */
static inline void check_order(unsigned n, bool again)
{
	for (unsigned i = 1; again && i < n; i++)
		assert_true((int16_t)(drv.at[r.chains[i].head] - drv.at[r.chains[i - 1].head]) > 0);
}

static inline void be_take(void)
{
	bool again = r.vq.again_left > 0;
	unsigned n = rig_pop(&r, 1 + pick(r.size)), back = n && !pick(3) ? pick(n + 1) : 0;

	check_order(n, again);
	for (unsigned i = 0; i < n; i++)
		assert_true(drv.out[r.chains[i].head]);
	if (back)
		xn_vq_unpop(&r.vq, r.chains + n - back, back);
	for (unsigned i = 0; i < n - back; i++)
		be.held[be.n++] = r.chains[i];
}

/* Gives back one of those that are held, any. */
static inline void be_use(void)
{
	unsigned i = pick(be.n);
	uint16_t head = be.held[i].head;

	be.held[i] = be.held[--be.n];
	if (!r.vq.state)
		abort();        /* likewise */
	if (pick(4))
		xn_vq_push(&r.vq, head, pick(1500));
	else
		xn_vq_refuse(&r.vq, head, XN_FAULT_rx_header);
}

/* An orderly stop, after which nothing is out, and the next start. */
static inline void be_stop(void)
{
	xn_vq_reclaim_all(&r.vq);
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(r.vq.avail_next, r.used->idx);
	for (uint32_t i = 0; i < r.size; i++)
		assert_int_equal(region()->desc[i].inflight, 0);
	be_die();
	be_start();
	assert_int_equal(r.vq.again_left, 0);
}

static inline void step(void)
{
	uint32_t what = pick(10);

	if (what < 3)
		drv_offer();
	else if (what < 5)
		be_take();
	else if (what < 8 && be.n)
		be_use();
	else if (what < 9)
		xn_vq_publish(&r.vq);
	else if (pick(8))
		drv_reap();
	else
		be_stop();
}

/* Everything that is there is taken and used; then nothing is out anywhere. */
static inline void finish(void)
{
	do {
		be_take();
		while (be.n)
			be_use();
		xn_vq_publish(&r.vq);
		drv_reap();
	} while (drv.offered != drv.used);
	assert_int_equal(r.used->idx, r.next_avail);
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(r.vq.again_left, 0);
	assert_int_equal(r.vq.avail_next, r.vq.used_next);
	for (uint32_t i = 0; i < r.size; i++)
		assert_int_equal(region()->desc[i].inflight, 0);
}

static inline void open_rig(uint32_t size, enum xn_vq_dir dir)
{
	const uint16_t base = (uint16_t)(0 - pick(8));   /* the wrap is near */

	rig_open(&r, size, dir, 0, base);
	xn_vq_fini(&r.vq);
	memset(&drv, 0, sizeof(drv));
	cfg = rig_cfg(size, dir, 0, (uint16_t)pick(65536));   /* the base is not asked */
	cfg.inflight = region();
}

#endif
