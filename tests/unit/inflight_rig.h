/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of either kind of ring that lives on while back ends come and die, for the tests of
 * inflight memory. It is the oracle: it knows what it has offered, and refuses to see a
 * chain twice.
 */
#ifndef XN_TESTS_INFLIGHT_RIG_H
#define XN_TESTS_INFLIGHT_RIG_H

#include <stdlib.h>

#include "tests/unit/ring.h"
#include "virtio/inflight_packed.h"

#define MAX_SIZE  64u
#define MAX_DESC  3u
#define REGION_AT 0x1c0000ull   /* of A: inflight memory, in what is shared anyway */

static struct xn_vq_cfg cfg;
static uint64_t seed;

static inline uint32_t pick(uint32_t n)
{
	return rig_random(&seed) % n;
}

/* ---- the region ---- */

static inline void *region(void)
{
	return rig_at(&r, A_GPA + REGION_AT);
}

static inline size_t region_bytes(uint32_t size)
{
	return ring->chained ? xn_inflight_bytes(size) : xn_inflight_packed_bytes(size);
}

static inline void split_region_is_empty(const struct xn_inflight_ring *g)
{
	for (uint32_t i = 0; i < r.size; i++)
		assert_int_equal(g->desc[i].inflight, 0);
}

/* And says where the driver looks next; all entries are free. */
static inline void packed_region_is_empty(const struct xn_pflight_ring *g)
{
	const uint16_t base = place_base(p.used);
	const uint64_t used = (base & 0x7fffu) * 0x10001ull | (base >> 15) * 0x10100000000ull;
	unsigned free = 0;

	for (uint32_t i = 0; i < r.size; i++)
		assert_int_equal(g->desc[i].inflight, 0);
	assert_int_equal(g->free_heads & 0xffff, g->free_heads >> 16);
	for (uint32_t i = g->free_heads & 0xffff; i != r.size; i = g->desc[i].next) {
		assert_true(i < r.size);
		free++;
	}
	assert_int_equal(free, r.size);
	assert_int_equal(g->used & 0xffffffffffffull, used);
}

/* ---- the driver, which lives on: what it offered, in order ---- */

static struct {
	bool out[MAX_SIZE];              /* offered, and not seen as used */
	bool taken[MAX_SIZE];            /* this id is that of a descriptor that is out */
	uint16_t ids[MAX_SIZE][MAX_DESC];
	uint32_t n_desc[MAX_SIZE];
	uint32_t at[MAX_SIZE];           /* which offer it was */
	uint32_t bytes[MAX_SIZE];        /* of the chain; 0: it is a wrong one */
	uint32_t offered, used, free_slots;
} drv;

/* An id that may be offered; ids are as many as slots, and each of them is one or more. */
static inline uint16_t drv_take_id(void)
{
	uint32_t id = pick(r.size);

	while (drv.taken[id])
		id = (id + 1) % r.size;
	drv.taken[id] = true;
	return (uint16_t)id;
}

static inline bool drv_offer(void)
{
	const uint32_t n = pick(3) ? 1 : 1 + pick(MAX_DESC);
	struct seg s[MAX_DESC];
	uint16_t ids[MAX_DESC] = { 0 }, id;

	if (n > drv.free_slots)
		return false;
	for (uint32_t i = 0; i < (ring->chained ? n : 1); i++)
		ids[i] = drv_take_id();
	id = ids[0];
	memcpy(drv.ids[id], ids, sizeof(ids));
	drv.n_desc[id] = n;
	drv.out[id] = true;
	drv.at[id] = drv.offered++;
	drv.bytes[id] = 0;
	drv.free_slots -= n;
	for (uint32_t i = 0; i < n; i++) {
		s[i] = (struct seg){ BUF_GPA + 2048ull * id + 512 * i, 1 + pick(500),
				     r.vq.expect_flags };
		drv.bytes[id] += s[i].len;
	}
	/* One in eight is wrong, and is given back by pop. */
	if (!pick(8)) {
		s[n - 1].at = HOLE;
		drv.bytes[id] = 0;
	} else if (n == 1 && !pick(3)) {
		const uint64_t table = BUF_GPA + 0x40000 + 64ull * id;

		ring->table(&r, table, s, 1);
		s[0] = (struct seg){ table, 16, INDIR };
	}
	ring->offer(&r, ids, s, n);
	return true;
}

/* This one is not out any more. */
static inline void drv_free(uint32_t id)
{
	drv.out[id] = false;
	drv.free_slots += drv.n_desc[id];
	for (uint32_t i = 0; i < (ring->chained ? drv.n_desc[id] : 1); i++)
		drv.taken[drv.ids[id][i]] = false;
}

static inline void drv_reap(void)
{
	uint32_t id, len;

	while (ring->used(&r, &id, &len)) {
		assert_in_range(id, 0, r.size - 1);
		assert_true(drv.out[id]);        /* offered, and not used before */
		assert_true(len == 0 || len == drv.bytes[id]);
		drv_free(id);
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
	if (xn_vq_init(&r.vq, &r.mem, &r.ctr, &cfg) || !r.vq.state)
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

static inline void be_take(void)
{
	bool again = r.vq.again_left > 0;
	unsigned n = rig_pop(&r, 1 + pick(r.size)), back = n && !pick(3) ? pick(n + 1) : 0;

	for (unsigned i = 0; i < n; i++) {
		const struct xn_chain *c = &r.chains[i];

		assert_true(drv.out[c->head]);
		/* What is taken again is what stood in the ring (packed: stands in the region). */
		assert_int_equal(c->bytes, drv.bytes[c->head]);
		if (r.vq.packed)
			assert_int_equal(c->slots, drv.n_desc[c->head]);
		/* It comes in the order of the offers. */
		if (i && again)
			assert_true(drv.at[c->head] > drv.at[c[-1].head]);
	}
	if (back)
		xn_vq_unpop(&r.vq, r.chains + n - back, back);
	for (unsigned i = 0; i < n - back; i++)
		be.held[be.n++] = r.chains[i];
}

/* Gives back one of those that are held, any. */
static inline void be_use(void)
{
	unsigned i = pick(be.n);
	struct xn_chain c = be.held[i];

	be.held[i] = be.held[--be.n];
	if (!r.vq.state)
		abort();        /* likewise */
	if (pick(4))
		xn_vq_push(&r.vq, c.head, c.bytes);
	else
		xn_vq_refuse(&r.vq, c.head, XN_FAULT_rx_header);
}

/* Where the device goes on is where it has used all, for the driver and for the region too. */
static inline void all_is_used(void)
{
	nothing_is_out();
	if (r.vq.packed) {
		assert_int_equal(r.vq.avail_next, r.vq.pk.used_at);
		assert_int_equal(r.vq.pk.used_at, place_base(p.used));
		packed_region_is_empty(region());
	} else {
		assert_int_equal(r.vq.avail_next, r.vq.used_next);
		assert_int_equal(r.vq.avail_next, r.used->idx);
		assert_int_equal(r.vq.avail_next, r.next_used);
		split_region_is_empty(region());
	}
}

/* An orderly stop, after which nothing is out, and the next start. */
static inline void be_stop(void)
{
	xn_vq_reclaim_all(&r.vq);
	drv_reap();
	all_is_used();
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
	assert_int_equal(drv.free_slots, r.size);
	assert_int_equal(r.vq.again_left, 0);
	assert_int_equal(r.vq.avail_next, ring->position(&r));
	all_is_used();
}

/* A ring that was in use, and a region that is new. */
static inline void open_rig(uint32_t size, enum xn_vq_dir dir)
{
	/* The wrap is near, and the end of the ring. */
	ring->open(&r, size, dir, RIG_INDIRECT, 65536u - pick(XN_MAX(2 * size, 8u)));
	xn_vq_fini(&r.vq);
	memset(&drv, 0, sizeof(drv));
	drv.free_slots = size;
	/* A split ring's base is not asked. */
	cfg = ring->cfg(size, dir, RIG_INDIRECT,
			ring->chained ? pick(65536) : ring->position(&r) * 0x10001u);
	cfg.inflight = region();
}

#endif
