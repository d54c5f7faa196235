/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/inflight_packed.c, and of virtio/packed.c with it: a back end may be
 * killed at any moment, and each buffer is used exactly once.
 *
 * The files are compiled into this one: see life.h. (test_inflight_packed_kill.c does it to
 * the real code.)
 *
 *   - every moment of thousands of random schedules: taking, using in any order, un-taking,
 *     refusing, publishing, stopping, and the repair itself; in order, too
 *   - every moment twice over, for small rings: killed again while it recovers
 *   - what is taken again comes in the order in which it had been offered, first, with the
 *     bytes that it had, though the ring has been written over
 *   - after an orderly stop nothing is out, and region, device and driver agree on the base
 *   - whatever the region holds, the queue touches nothing but its own ring
 */
#include "tests/unit/life.h"

/* NOLINTBEGIN(bugprone-suspicious-include): that is the point */
#include "virtio/inflight_packed.c"
#include "virtio/packed.c"
#include "virtio/vq.c"
/* NOLINTEND(bugprone-suspicious-include) */

#include "tests/unit/life_end.h"
#include "base/log.h"
#include "tests/unit/inflight_packed_rig.h"

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

static void killed_at_any_store_each_buffer_is_used_once(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 3, 4, 7, 64 };
	unsigned kills = 0;

	for (uint64_t s = 1; s <= 80; s++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++)
			for (long kill = 1; one_schedule(s * 0x9e3779b97f4a7c15ull, sizes[i], 60, kill, 0);
			     kill++)
				kills++;
	print_message("%u deaths\n", kills);
	assert_true(kills > 20000);
}

static void killed_again_while_it_recovers(void **state)
{
	unsigned kills = 0;

	for (uint64_t s = 1; s <= 12; s++)
		for (uint32_t size = 1; size <= 4; size++)
			for (long kill = 1; one_schedule(s * 0xd1342543de82ef95ull, size, 16, kill, 0); kill++)
				for (long second = 1; one_schedule(s * 0xd1342543de82ef95ull, size, 16,
								   kill, second); second++)
					kills++;
	print_message("%u deaths\n", kills);
	assert_true(kills > 10000);
}

/* ---- an orderly stop ---- */

/* `out` chains with ids 0.. of 1, 2, 3, 1, .. descriptors were taken when the back end died;
 * those of `used` are used after that. */
static void stop_after_crash(unsigned out, unsigned used, unsigned expect_given)
{
	seed = 9;
	open_rig(16, XN_VQ_TO_GUEST);
	be_start();
	for (unsigned i = 0; i < out; i++) {
		for (unsigned k = 0; k <= i % 3; k++)
			packed_put(&r, k, BUF_GPA + 2048ull * i, 1536, (uint16_t)i,
				   VRING_DESC_F_WRITE | (k < i % 3 ? VRING_DESC_F_NEXT : 0));
		packed_offer(&r, (uint16_t)i, i % 3 + 1);
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
	assert_int_equal(r.vq.avail_next, r.vq.pk.used_at);
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
	stop_after_crash(4, 0xf, 0);
}

/* ---- a driver that is wrong ---- */

static void offer(uint16_t id, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		packed_put(&r, i, BUF_GPA, 10, id, VRING_DESC_F_WRITE | (i + 1 < n ? VRING_DESC_F_NEXT : 0));
	packed_offer(&r, id, n);
}

static unsigned free_entries(void)
{
	unsigned n = 0;

	for (uint32_t i = region()->free_heads & 0xffff; i < r.size && n <= r.size; i = region()->desc[i].next)
		n++;
	return n;
}

/* An id is offered again while it is out, or pushed and not published: no entry is lost, and
 * what a back end finds that comes then can be. */
static void ids_that_are_out_twice_lose_no_entry(void **state)
{
	for (unsigned first = 1; first <= 3; first++)
		for (unsigned second = 1; second <= 3; second++)
			for (unsigned pushed = 0; pushed < 2; pushed++)
				for (unsigned die = 0; die < 2; die++) {
					seed = first;
					open_rig(7, XN_VQ_TO_GUEST);
					be_start();
					offer(2, first);
					assert_int_equal(rig_pop(&r, 4), 1);
					if (pushed)
						xn_vq_push(&r.vq, 2, 0);
					offer(2, second);
					assert_int_equal(rig_pop(&r, 4), pushed);
					if (die) {
						be_die();
						be_start();
					}
					xn_vq_reclaim_all(&r.vq);
					assert_int_equal(free_entries(), 7);
					be_die();
					be_start();
					assert_int_equal(r.vq.again_left, 0);
					be_die();
					rig_close(&r);
				}
}

/* ---- regions that are wrong ---- */

static uint64_t ignored(void)
{
	return r.ctr.v[XN_C_inflight_ignored];
}

/* Starts on what `spoil` made of a region in which ids 0 and 1 of 4 offered are out, the
 * first of two descriptors. Returns how many are taken again. */
static unsigned start_on(void (*spoil)(struct xn_pflight_ring *g))
{
	unsigned again;

	seed = 11;
	open_rig(8, XN_VQ_TO_GUEST);
	be_start();
	for (unsigned i = 0; i < 4; i++) {
		packed_put(&r, 0, BUF_GPA, 100, 0, VRING_DESC_F_WRITE | (i ? 0 : VRING_DESC_F_NEXT));
		packed_put(&r, i ? 0 : 1, BUF_GPA, 100, (uint16_t)i, VRING_DESC_F_WRITE);
		packed_offer(&r, (uint16_t)i, i ? 1 : 2);
	}
	assert_int_equal(rig_pop(&r, 2), 2);
	be_die();
	spoil(region());
	be_init();
	again = r.vq.again_left;
	/* Whatever it was: it is at one end of what was offered, and all is used from there. */
	for (unsigned n, seen = 0; (n = rig_pop(&r, 8)); )
		for (unsigned i = 0; i < n; i++) {
			assert_false(seen >> r.chains[i].head & 1);
			seen |= 1u << r.chains[i].head;
			xn_vq_push(&r.vq, r.chains[i].head, 1);
		}
	xn_vq_publish(&r.vq);
	assert_int_equal(r.vq.avail_next, place_base(p.avail));
	assert_int_equal(r.vq.pk.used_at, place_base(p.avail));
	xn_vq_fini(&r.vq);
	rig_close(&r);
	return again;
}

static void no_spoil(struct xn_pflight_ring *g) { }
static void zeroed(struct xn_pflight_ring *g) { memset(g, 0, xn_inflight_packed_bytes(8)); }
static void version_2(struct xn_pflight_ring *g) { g->version = 2; }
static void other_size(struct xn_pflight_ring *g) { g->desc_num = 16; }
static void free_head_far(struct xn_pflight_ring *g) { g->free_heads = 9 | 9 << 16; }
static void free_list_loops(struct xn_pflight_ring *g) { g->desc[5].next = 4; }
static void free_list_short(struct xn_pflight_ring *g) { g->desc[5].next = 8; }
static void free_list_into_a_chain(struct xn_pflight_ring *g) { g->desc[7].next = 1; }
static void chain_without_end(struct xn_pflight_ring *g) { g->desc[0].num = 9; }
static void chain_of_none(struct xn_pflight_ring *g) { g->desc[0].num = 0; }
static void chain_shorter(struct xn_pflight_ring *g) { g->desc[0].num = 1; }
static void chain_elsewhere(struct xn_pflight_ring *g) { g->desc[0].last = 5; }
static void id_far(struct xn_pflight_ring *g) { g->desc[1].word |= 8; }
static void id_twice(struct xn_pflight_ring *g) { g->desc[2].word &= ~0xffffull; }
static void used_far(struct xn_pflight_ring *g) { g->used |= 0x80008; }
static void wrap_of_two(struct xn_pflight_ring *g) { g->used |= 0x020200000000ull; }
static void batch_backwards(struct xn_pflight_ring *g) { g->used = 0x00040003; }

static void regions_that_cannot_be_are_ignored_and_counted(void **state)
{
	static void (*const bad[])(struct xn_pflight_ring *g) = {
		version_2, other_size, free_head_far, free_list_loops, free_list_short,
		free_list_into_a_chain, chain_without_end, chain_of_none, chain_shorter,
		chain_elsewhere, id_far, id_twice, used_far, wrap_of_two, batch_backwards,
	};

	assert_int_equal(start_on(no_spoil), 2);
	assert_int_equal(ignored(), 0);
	assert_int_equal(start_on(zeroed), 0);
	assert_int_equal(ignored(), 0);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		assert_int_equal(start_on(bad[i]), 0);
		assert_int_equal(ignored(), 1);
	}
}

/* Publishes one, up to the n-th store. */
static void publish_and_die(long n)
{
	xn_vq_push(&r.vq, r.chains[0].head, 1);
	life.left = n;
	if (!setjmp(life.out))
		xn_vq_publish(&r.vq);
	life.left = -1;
}

/*
 * A front end that writes there what it likes, at any time: the queue stays inside of
 * its ring and of the region, behind whose last byte there is nothing.
 */
static void any_bytes_in_a_region_harm_nobody_else(void **state)
{
	static const uint32_t sizes[] = { 1, 3, 64 };
	uint8_t *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned believed = 0;

	assert_true(at != MAP_FAILED);
	assert_int_equal(mprotect(at + 4096, 4096, PROT_NONE), 0);
	for (uint64_t s = 1; s <= 20000; s++) {
		const uint32_t size = sizes[s % 3];
		const size_t bytes = xn_inflight_packed_bytes(size);
		struct xn_pflight_ring *g = (struct xn_pflight_ring *)(at + 4096 - bytes);
		uint32_t id, len;

		seed = s * 0x2545f4914f6cdd1dull;
		open_rig(size, XN_VQ_TO_GUEST);
		cfg.inflight = g;
		memset(g, 0, bytes);
		if (pick(2)) {        /* a good one, with something out, and then some bytes */
			be_init();
			for (unsigned i = pick(2 * size); i && drv_offer(); i--)
				;
			rig_pop(&r, 1 + pick(size));
			if (pick(2) && r.vq.outstanding)
				publish_and_die(1 + pick(10));
			xn_vq_fini(&r.vq);
			for (unsigned i = pick(4); i; i--)
				((uint8_t *)g)[pick((uint32_t)bytes)] = (uint8_t)pick(pick(2) ? 8 : 256);
		} else {
			for (size_t i = 0; i < bytes; i++)
				((uint8_t *)g)[i] = (uint8_t)(pick(3) ? pick(2) : pick(256));
			g->version = 1;
			g->desc_num = (uint16_t)size;
		}
		be_init();
		believed += r.vq.again_left > 0;
		for (unsigned i = 0; i < 20; i++) {
			unsigned n = rig_pop(&r, 1 + pick(size));

			assert_true(n <= size);
			assert_true(r.vq.pk.slots_out <= size);
			for (unsigned k = 0; k < n; k++)
				xn_vq_push(&r.vq, r.chains[k].head, 1);
			((uint8_t *)g)[pick((uint32_t)bytes)] = (uint8_t)pick(256);
			xn_vq_publish(&r.vq);
			/* A driver that is told what it does not understand stops somewhere. */
			for (unsigned k = 0; k < size && packed_used(&r, &id, &len); k++) {
				assert_in_range(id, 0, size - 1);
				drv.out[id] = false;
			}
			while (pick(2) && drv_offer())
				;
		}
		xn_vq_reclaim_all(&r.vq);
		assert_int_equal(r.vq.pk.slots_out, 0);
		xn_vq_fini(&r.vq);
		rig_close(&r);
	}
	munmap(at, 8192);
	print_message("%u regions were believed, with something out\n", believed);
	assert_true(believed > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_store_each_buffer_is_used_once),
		cmocka_unit_test(killed_again_while_it_recovers),
		cmocka_unit_test(stop_rewinds_over_chains_that_were_taken_again),
		cmocka_unit_test(ids_that_are_out_twice_lose_no_entry),
		cmocka_unit_test(regions_that_cannot_be_are_ignored_and_counted),
		cmocka_unit_test(any_bytes_in_a_region_harm_nobody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
