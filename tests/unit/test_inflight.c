/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/inflight.c and of virtio/vq.c with it: a back end may be killed at any
 * moment, and each head is used exactly once.
 *
 * The two files are compiled into this one, with their stores to shared memory
 * replaced by stores that count: "killed" is a jump out of the n-th of them, after
 * which everything private is thrown away, and a new queue starts on what is left in
 * memory. Between two counted stores nothing becomes visible but used entries behind the
 * used index, which nobody looks at. (test_inflight_kill.c does it to the real code.)
 *
 *   - every moment of thousands of random schedules: taking, using in any order, un-taking,
 *     refusing, publishing, stopping, and the repair itself
 *   - every moment twice over, for small rings: killed again while it recovers
 *   - what is taken again comes in the order in which it had been offered, first
 *   - after an orderly stop nothing is out, and the base is the used index
 *   - whatever the region holds, the queue touches nothing but its own ring
 */
#include "tests/unit/life.h"

/* NOLINTBEGIN(bugprone-suspicious-include): that is the point */
#include "virtio/inflight.c"
#include "virtio/vq.c"
/* NOLINTEND(bugprone-suspicious-include) */

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

static void killed_at_any_store_each_head_is_used_once(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 4, 8, 64 };
	unsigned kills = 0;

	for (uint64_t s = 1; s <= 150; s++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++)
			for (long kill = 1; one_schedule(s * 0x9e3779b97f4a7c15ull, sizes[i], 60, kill, 0);
			     kill++)
				kills++;
	assert_true(kills > 20000);
}

static void killed_again_while_it_recovers(void **state)
{
	unsigned kills = 0;

	for (uint64_t s = 1; s <= 40; s++)
		for (uint32_t size = 1; size <= 4; size *= 2)
			for (long kill = 1; one_schedule(s * 0xd1342543de82ef95ull, size, 16, kill, 0); kill++)
				for (long second = 1; one_schedule(s * 0xd1342543de82ef95ull, size, 16,
								   kill, second); second++)
					kills++;
	assert_true(kills > 10000);
}

/* ---- an orderly stop ---- */

/* `out` heads 0.. were taken when the back end died; those of `used` are used after that. */
static void stop_after_crash(unsigned out, unsigned used, unsigned expect_given)
{
	seed = 9;
	open_rig(8, XN_VQ_TO_GUEST);
	be_start();
	for (unsigned i = 0; i < out; i++) {
		rig_desc(&r, i, BUF_GPA + 2048ull * i, 1536, VRING_DESC_F_WRITE, 0);
		rig_offer(&r, (uint16_t)i);
	}
	assert_int_equal(rig_pop(&r, 8), out);
	be_die();
	be_start();
	assert_int_equal(rig_pop(&r, 8), out);
	for (unsigned i = 0; i < out; i++)
		if (used >> i & 1)
			xn_vq_push(&r.vq, (uint16_t)i, 100);
	xn_vq_publish(&r.vq);
	assert_int_equal(xn_vq_reclaim_all(&r.vq), expect_given);
	assert_int_equal(r.vq.avail_next, r.used->idx);
	be_die();
	rig_close(&r);
}

static void stop_rewinds_over_heads_that_were_taken_again(void **state)
{
	stop_after_crash(4, 0x0, 0);   /* all of them */
	stop_after_crash(4, 0x1, 0);
	stop_after_crash(4, 0x2, 1);   /* up to the one that is used */
	stop_after_crash(4, 0x8, 3);
	stop_after_crash(8, 0x50, 5);
	stop_after_crash(4, 0xf, 0);
}

/* ---- regions that are wrong ---- */

static uint64_t ignored(void)
{
	return r.ctr.v[XN_C_inflight_ignored];
}

/* Starts on what `spoil` made of a region in which heads 0 and 1 of 4 offered are out. */
static unsigned start_on(void (*spoil)(struct xn_inflight_ring *g))
{
	unsigned again;

	seed = 11;
	open_rig(8, XN_VQ_TO_GUEST);
	be_start();
	for (unsigned i = 0; i < 4; i++) {
		rig_desc(&r, i, BUF_GPA + 2048ull * i, 1536, VRING_DESC_F_WRITE, 0);
		rig_offer(&r, (uint16_t)i);
	}
	assert_int_equal(rig_pop(&r, 2), 2);
	be_die();
	spoil(region());
	be_init();
	again = r.vq.again_left;
	/* Whatever it was: from here on all four are used, each once. */
	for (unsigned n, seen = 0; (n = rig_pop(&r, 8)); )
		for (unsigned i = 0; i < n; i++) {
			assert_false(seen >> r.chains[i].head & 1);
			seen |= 1u << r.chains[i].head;
			xn_vq_push(&r.vq, r.chains[i].head, 1);
		}
	xn_vq_publish(&r.vq);
	assert_int_equal(r.used->idx, r.next_avail);
	xn_vq_fini(&r.vq);
	rig_close(&r);
	return again;
}

static void no_spoil(struct xn_inflight_ring *g) { }
static void zeroed(struct xn_inflight_ring *g) { memset(g, 0, xn_inflight_bytes(8)); }
static void version_2(struct xn_inflight_ring *g) { g->version = 2; }
static void other_size(struct xn_inflight_ring *g) { g->desc_num = 16; }
static void far_batch(struct xn_inflight_ring *g) { g->used_idx -= 9; }
static void no_such_head(struct xn_inflight_ring *g) { g->used_idx--; g->last_batch_head = 8; }

static void more_out_than_offered(struct xn_inflight_ring *g)
{
	for (unsigned i = 0; i < 8; i++)
		g->desc[i].inflight = 1;
}

static void regions_that_cannot_be_are_ignored_and_counted(void **state)
{
	assert_int_equal(start_on(no_spoil), 2);
	assert_int_equal(ignored(), 0);
	assert_int_equal(start_on(zeroed), 0);
	assert_int_equal(ignored(), 0);
	assert_int_equal(start_on(version_2), 0);
	assert_int_equal(ignored(), 1);
	assert_int_equal(start_on(other_size), 0);
	assert_int_equal(ignored(), 1);
	assert_int_equal(start_on(far_batch), 0);
	assert_int_equal(ignored(), 1);
	assert_int_equal(start_on(no_such_head), 0);
	assert_int_equal(ignored(), 1);
	assert_int_equal(start_on(more_out_than_offered), 0);
	assert_int_equal(ignored(), 8);
}

/*
 * A front end that writes there what it likes, at any time: the queue stays inside of
 * its ring and of the region, behind whose last byte there is nothing.
 */
static void any_bytes_in_a_region_harm_nobody_else(void **state)
{
	static const uint32_t sizes[] = { 1, 4, 64 };
	uint8_t *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(at != MAP_FAILED);
	assert_int_equal(mprotect(at + 4096, 4096, PROT_NONE), 0);
	for (uint64_t s = 1; s <= 6000; s++) {
		const uint32_t size = sizes[s % 3];
		const size_t bytes = xn_inflight_bytes(size);
		struct xn_inflight_ring *g = (struct xn_inflight_ring *)(at + 4096 - bytes);
		uint32_t head, len;

		seed = s * 0x2545f4914f6cdd1dull;
		open_rig(size, XN_VQ_TO_GUEST);
		for (size_t i = 0; i < bytes; i++)
			((uint8_t *)g)[i] = (uint8_t)(pick(3) ? pick(2) : pick(256));
		if (pick(8)) {
			g->version = 1;
			g->desc_num = (uint16_t)size;
		}
		if (pick(2))
			g->used_idx = (uint16_t)(r.used->idx - pick(size + 1));
		cfg.inflight = g;
		for (unsigned i = pick(2 * size); i && drv_offer(); i--)
			;
		be_init();
		for (unsigned i = 0; i < 20; i++) {
			unsigned n = rig_pop(&r, 1 + pick(size));

			assert_true(n <= size);
			for (unsigned k = 0; k < n; k++)
				xn_vq_push(&r.vq, r.chains[k].head, 1);
			((uint8_t *)g)[pick((uint32_t)bytes)] = (uint8_t)pick(256);
			xn_vq_publish(&r.vq);
			while (rig_used(&r, &head, &len)) {
				assert_in_range(head, 0, size - 1);
				drv.out[head] = false;
			}
			while (pick(2) && drv_offer())
				;
		}
		xn_vq_reclaim_all(&r.vq);
		xn_vq_fini(&r.vq);
		rig_close(&r);
	}
	munmap(at, 8192);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_store_each_head_is_used_once),
		cmocka_unit_test(killed_again_while_it_recovers),
		cmocka_unit_test(stop_rewinds_over_heads_that_were_taken_again),
		cmocka_unit_test(regions_that_cannot_be_are_ignored_and_counted),
		cmocka_unit_test(any_bytes_in_a_region_harm_nobody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
