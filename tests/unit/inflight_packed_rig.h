/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of a packed ring that lives on while back ends come and die, for the tests of
 * inflight memory. It is the oracle: it knows what it has offered, and refuses to see a
 * buffer twice. The twin of inflight_rig.h.
 */
#ifndef XN_TESTS_INFLIGHT_PACKED_RIG_H
#define XN_TESTS_INFLIGHT_PACKED_RIG_H

#include <stdlib.h>

#include "tests/unit/packed_rig.h"
#include "virtio/inflight_packed.h"

#define MAX_SIZE  64u
#define REGION_AT 0x1c0000ull   /* of A: inflight memory, in what is shared anyway */

static struct rig r;
static struct xn_vq_cfg cfg;
static uint64_t seed;

static inline uint32_t pick(uint32_t n)
{
	return rig_random(&seed) % n;
}

static struct xn_pflight_ring *region(void)
{
	return rig_at(&r, A_GPA + REGION_AT);
}

/* ---- the driver, which lives on: what it offered, in order ---- */

static struct {
	bool out[MAX_SIZE];              /* offered, and not seen as used */
	uint32_t at[MAX_SIZE];           /* which offer it was */
	uint32_t bytes[MAX_SIZE];        /* of the chain; 0: it is a wrong one */
	uint32_t offered, used, free_slots;
} drv;

static inline bool drv_offer(void)
{
	uint32_t id = pick(r.size), n = pick(3) ? 1 : 1 + pick(3);
	uint64_t table = BUF_GPA + 0x40000;

	for (uint32_t i = 0; i < r.size && drv.out[id]; i++)
		id = (id + 1) % r.size;
	if (drv.out[id] || n > drv.free_slots)
		return false;
	table += 64ull * id;
	drv.out[id] = true;
	drv.at[id] = drv.offered++;
	drv.bytes[id] = 0;
	drv.free_slots -= n;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t len = 1 + pick(500);
		uint64_t at = BUF_GPA + 2048ull * id + 512 * i;
		uint16_t flags = r.vq.expect_flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0);

		drv.bytes[id] += len;
		if (n == 1 && !pick(3)) {
			const struct vring_packed_desc e = { at, len, 0, r.vq.expect_flags };

			rig_write(&r, table, &e, sizeof(e));
			at = table;
			len = sizeof(e);
			flags = VRING_DESC_F_INDIRECT;
		}
		packed_put(&r, i, at, len, (uint16_t)id, flags);
	}
	/* One in eight is wrong, and is given back by pop. */
	if (!pick(8)) {
		packed_put(&r, n - 1, HOLE, 10, (uint16_t)id, r.vq.expect_flags);
		drv.bytes[id] = 0;
	}
	packed_offer(&r, (uint16_t)id, n);
	return true;
}

static inline void drv_reap(void)
{
	uint32_t id, len;

	while (packed_used(&r, &id, &len)) {
		assert_in_range(id, 0, r.size - 1);
		assert_true(drv.out[id]);        /* offered, and not used before */
		assert_true(len == 0 || len == drv.bytes[id]);
		drv.out[id] = false;
		drv.used++;
		drv.free_slots += p.last_slots;
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

static inline void be_take(void)
{
	bool again = r.vq.again_left > 0;
	unsigned n = rig_pop(&r, 1 + pick(r.size)), back = n && !pick(3) ? pick(n + 1) : 0;

	for (unsigned i = 0; i < n; i++) {
		const struct xn_chain *c = &r.chains[i];

		assert_true(drv.out[c->head]);
		/* What came from the region is what stood in the ring. */
		assert_int_equal(c->bytes, drv.bytes[c->head]);
		assert_int_equal(c->slots, p.slots_of[c->head]);
		/* Those that are taken again come in the order of their offers. */
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

static inline void region_is_empty(void)
{
	const uint16_t base = place_base(p.used);
	const uint64_t used = (base & 0x7fffu) * 0x10001ull | (base >> 15) * 0x10100000000ull;
	unsigned free = 0;

	for (uint32_t i = 0; i < r.size; i++)
		assert_int_equal(region()->desc[i].inflight, 0);
	assert_int_equal(region()->free_heads & 0xffff, region()->free_heads >> 16);
	for (uint32_t i = region()->free_heads & 0xffff; i != r.size; i = region()->desc[i].next) {
		assert_true(i < r.size);
		free++;
	}
	assert_int_equal(free, r.size);
	assert_int_equal(region()->used & 0xffffffffffffull, used);
}

/* An orderly stop, after which nothing is out, and the next start. */
static inline void be_stop(void)
{
	xn_vq_reclaim_all(&r.vq);
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(r.vq.avail_next, r.vq.pk.used_at);
	drv_reap();
	assert_int_equal(r.vq.pk.used_at, place_base(p.used));
	region_is_empty();
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
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(r.vq.again_left, 0);
	assert_int_equal(r.vq.pk.slots_out, 0);
	assert_int_equal(r.vq.avail_next, place_base(p.avail));
	assert_int_equal(r.vq.pk.used_at, place_base(p.used));
	region_is_empty();
}

static inline void open_rig(uint32_t size, enum xn_vq_dir dir)
{
	const struct place at = { pick(size), pick(2) };

	packed_open(&r, size, dir, RIG_INDIRECT, at.slot, at.wrap);
	xn_vq_fini(&r.vq);
	memset(&drv, 0, sizeof(drv));
	drv.free_slots = size;
	cfg = packed_cfg(size, dir, RIG_INDIRECT, place_base(at) | (uint32_t)place_base(at) << 16);
	cfg.inflight = region();
}

#endif
