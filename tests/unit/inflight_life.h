/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A back end may be killed at any moment, and each chain is used exactly once: the cases of
 * test_inflight.c and test_inflight_packed.c, behind the code that these compile into themselves
 * (life.h).
 *
 *   - every moment of thousands of random schedules: taking, using in any order, un-taking,
 *     refusing, publishing, stopping, and the repair itself
 *   - every moment twice over, for small rings: killed again while it recovers
 *   - what is taken again comes in the order in which it had been offered, first, with the bytes
 *     that it had (though a packed ring has been written over)
 *   - after an orderly stop nothing is out, and region, device and driver agree on the base
 *   - whatever the region holds, the queue touches nothing but its own ring
 */
#ifndef XN_TESTS_INFLIGHT_LIFE_H
#define XN_TESTS_INFLIGHT_LIFE_H

#include "tests/unit/life_end.h"
#include "base/log.h"
#include "tests/unit/inflight_rig.h"

/*
 * One schedule, made of `s`, in which the process dies behind its kill-th store; and
 * the next one, that finds its traces, behind its second-th (0: it does not). False: there
 * were not so many stores before the end.
 */
static bool one_schedule(uint64_t s, uint32_t size, unsigned steps, long kill, long second)
{
	static volatile int died;

	seed = s;
	died = 0;
	open_rig(size, s & 1 ? XN_VQ_TO_GUEST : XN_VQ_FROM_GUEST);
	life.left = kill;
	if (setjmp(life.out)) {
		be.up = false;
		life_free_all();
		/* What follows is another history for each moment of death. */
		seed = s * 77 + (uint64_t)kill * 1001 + (uint64_t)second + 1;
		died++;
		if (pick(2))
			drv_reap();
		while (pick(3) && drv_offer())
			;
		if (died == 1 && second)
			life.left = second;
	}
	be_start();
	for (unsigned i = 0; i < steps; i++)
		step();
	life.left = -1;
	finish();
	be_die();
	rig_close(&r);
	return died > (second ? 1 : 0);
}

static void killed_at_any_store_each_chain_is_used_once(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 3, 4, 7, 8, 64 };
	const uint64_t schedules = ring->any_size ? 80 : 200;
	unsigned kills = 0;

	for (uint64_t s = 1; s <= schedules; s++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++)
			for (long kill = 1; ring_takes_size(sizes[i]) &&
			     one_schedule(s * 0x9e3779b97f4a7c15ull, sizes[i], 60, kill, 0); kill++)
				kills++;
	print_message("%u deaths\n", kills);
	assert_true(kills > 20000);
}

static void killed_again_while_it_recovers(void **state)
{
	const uint64_t schedules = ring->any_size ? 12 : 60;
	unsigned kills = 0;

	for (uint64_t i = 1; i <= schedules; i++)
		for (uint32_t size = 1; size <= 4; size++) {
			const uint64_t s = i * 0xd1342543de82ef95ull;

			for (long kill = 1; ring_takes_size(size) && one_schedule(s, size, 16, kill, 0);
			     kill++)
				for (long second = 1; one_schedule(s, size, 16, kill, second); second++)
					kills++;
		}
	print_message("%u deaths\n", kills);
	assert_true(kills > 10000);
}

/* ---- an orderly stop ---- */

/* `out` chains of 1, 2, 3, 1, .. descriptors were taken when the back end died; those of `used`
 * are used after that. */
static void stop_after_crash(unsigned out, unsigned used, unsigned expect_given)
{
	const struct seg s = { BUF_GPA, 1536, WRITE }, row[] = { s, s, s };

	seed = 9;
	open_rig(32, XN_VQ_TO_GUEST);
	be_start();
	for (unsigned i = 0; i < out; i++)
		offer((uint16_t)(3 * i), row, i % 3 + 1);
	assert_int_equal(rig_pop(&r, 8), out);
	be_die();
	be_start();
	assert_int_equal(rig_pop(&r, 8), out);
	for (unsigned i = 0; i < out; i++)
		if (used >> i & 1)
			xn_vq_push(&r.vq, (uint16_t)(3 * i), 100);
	xn_vq_publish(&r.vq);
	assert_int_equal(xn_vq_reclaim_all(&r.vq), expect_given);
	assert_int_equal(r.vq.avail_next, r.vq.packed ? r.vq.pk.used_at : r.used->idx);
	be_die();
	rig_close(&r);
}

static void stop_rewinds_over_chains_that_were_taken_again(void **state)
{
	stop_after_crash(4, 0x0, 0);   /* all of them */
	stop_after_crash(4, 0x1, 0);
	stop_after_crash(4, 0x2, 1);   /* up to the one that is used */
	stop_after_crash(4, 0x8, 3);
	stop_after_crash(7, 0x28, 4);
	stop_after_crash(8, 0x50, 5);
	stop_after_crash(4, 0xf, 0);
}

/* ---- regions that are wrong ---- */

/* What is done to a region, how many are taken again then, and what is counted. */
struct spoil {
	void (*spoil)(void *region);
	unsigned again, ignored;
};

/* Starts on what `t` made of a region in which the first two of 4 offered are out, 0 of two
 * descriptors, and 2. Whatever it was: from here on all that was offered is used, each once. */
static void start_on(const struct spoil *t)
{
	const struct seg s = { BUF_GPA, 100, WRITE };
	uint64_t seen = 0;

	seed = 11;
	open_rig(8, XN_VQ_TO_GUEST);
	be_start();
	OFFER(0, s, s);
	for (unsigned i = 2; i <= 4; i++)
		offer(i, &s, 1);
	assert_int_equal(rig_pop(&r, 2), 2);
	be_die();
	t->spoil(region());
	be_init();
	assert_int_equal(r.vq.again_left, t->again);
	assert_int_equal(r.ctr.v[XN_C_inflight_ignored], t->ignored);
	for (unsigned n; (n = rig_pop(&r, 8)); )
		for (unsigned i = 0; i < n; i++) {
			assert_false(seen >> r.chains[i].head & 1);
			seen |= 1u << r.chains[i].head;
			xn_vq_push(&r.vq, r.chains[i].head, 1);
		}
	xn_vq_publish(&r.vq);
	assert_int_equal(r.vq.avail_next, ring->position(&r));
	assert_int_equal(r.vq.packed ? r.vq.pk.used_at : r.used->idx, ring->position(&r));
	xn_vq_fini(&r.vq);
	rig_close(&r);
}

static void no_spoil(void *region) { }
static void zeroed(void *region) { memset(region, 0, region_bytes(8)); }

/* Publishes one, up to the n-th store. */
static void publish_and_die(long n)
{
	xn_vq_push(&r.vq, r.chains[0].head, 1);
	life.left = n;
	if (!setjmp(life.out))
		xn_vq_publish(&r.vq);
	life.left = -1;
}

/* A good one, with something out, and then some bytes. */
static void fill_with_some_of_it_wrong(uint8_t *g, size_t bytes)
{
	be_init();
	for (unsigned i = pick(2 * r.size); i && drv_offer(); i--)
		;
	rig_pop(&r, 1 + pick(r.size));
	if (pick(2) && r.vq.outstanding)
		publish_and_die(1 + pick(10));
	xn_vq_fini(&r.vq);
	for (unsigned i = pick(4); i; i--)
		g[pick((uint32_t)bytes)] = (uint8_t)pick(pick(2) ? 8 : 256);
}

#define SAME_PLACE(field) \
	(offsetof(struct xn_inflight_ring, field) == offsetof(struct xn_pflight_ring, field))
_Static_assert(SAME_PLACE(version) && SAME_PLACE(desc_num), "both begin with the same words");

/* Any, but mostly such that it is looked at. */
static void fill_with_anything(uint8_t *g, size_t bytes)
{
	struct xn_inflight_ring *split = (struct xn_inflight_ring *)g;

	for (size_t i = 0; i < bytes; i++)
		g[i] = (uint8_t)(pick(3) ? pick(2) : pick(256));
	if (pick(8)) {
		split->version = 1;
		split->desc_num = (uint16_t)r.size;
	}
	if (ring->chained && pick(2))
		split->used_idx = (uint16_t)(r.used->idx - pick(r.size + 1));
	for (unsigned i = pick(2 * r.size); i && drv_offer(); i--)
		;
}

/* Takes and uses, while bytes of the region change. */
static void live_on(uint8_t *g, size_t bytes)
{
	uint32_t id, len;

	for (unsigned i = 0; i < 20; i++) {
		unsigned n = rig_pop(&r, 1 + pick(r.size));

		assert_true(n <= r.size);
		assert_true(r.vq.pk.slots_out <= r.size);
		for (unsigned k = 0; k < n; k++)
			xn_vq_push(&r.vq, r.chains[k].head, 1);
		g[pick((uint32_t)bytes)] = (uint8_t)pick(256);
		xn_vq_publish(&r.vq);
		/* A driver that is told what it does not understand stops somewhere. */
		for (unsigned k = 0; k < r.size && ring->used(&r, &id, &len); k++) {
			assert_in_range(id, 0, r.size - 1);
			if (drv.out[id])
				drv_free(id);
		}
		while (pick(2) && drv_offer())
			;
	}
}

/*
 * A front end that writes there what it likes, at any time: the queue stays inside of
 * its ring and of the region, behind whose last byte there is nothing.
 */
static void any_bytes_in_a_region_harm_nobody_else(void **state)
{
	static const uint32_t sizes[2][3] = { { 1, 4, 64 }, { 1, 3, 64 } };
	uint8_t *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned believed = 0;

	assert_true(at != MAP_FAILED);
	assert_int_equal(mprotect(at + 4096, 4096, PROT_NONE), 0);
	for (uint64_t s = 1; s <= 20000; s++) {
		const uint32_t size = sizes[ring->any_size][s % 3];
		const size_t bytes = region_bytes(size);
		uint8_t *g = at + 4096 - bytes;

		seed = s * 0x2545f4914f6cdd1dull;
		open_rig(size, XN_VQ_TO_GUEST);
		cfg.inflight = g;
		memset(g, 0, bytes);
		if (pick(2))
			fill_with_some_of_it_wrong(g, bytes);
		else
			fill_with_anything(g, bytes);
		be_init();
		believed += r.vq.again_left > 0;
		live_on(g, bytes);
		xn_vq_reclaim_all(&r.vq);
		assert_int_equal(r.vq.pk.slots_out, 0);
		xn_vq_fini(&r.vq);
		rig_close(&r);
	}
	munmap(at, 8192);
	print_message("%u regions were believed, with something out\n", believed);
	assert_true(believed > 500);
}

/* regions_that_cannot_be_are_ignored_and_counted: each program has its own. */
#define LIFE_TESTS(kind) \
	RING_TEST(killed_at_any_store_each_chain_is_used_once, kind), \
	RING_TEST(killed_again_while_it_recovers, kind), \
	RING_TEST(stop_rewinds_over_chains_that_were_taken_again, kind), \
	RING_TEST(regions_that_cannot_be_are_ignored_and_counted, kind), \
	RING_TEST(any_bytes_in_a_region_harm_nobody_else, kind)

#endif
