/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/inflight_packed.c, and of virtio/packed.c with it: a back end may be
 * killed at any moment, and each chain of a packed ring is used exactly once. The
 * cases: inflight_life.h, and
 *
 *   - ids that are offered again while they are out: no entry of the region is lost
 *
 * The files are compiled into this one: see life.h. (test_inflight_kill.c does it to the
 * real code.)
 */
#include "tests/unit/life.h"

/* NOLINTBEGIN(bugprone-suspicious-include): that is the point */
#include "virtio/inflight_packed.c"
#include "virtio/packed.c"
#include "virtio/vq.c"
/* NOLINTEND(bugprone-suspicious-include) */

#include "tests/unit/inflight_life.h"

/* ---- a driver that is wrong ---- */

static unsigned free_entries(void)
{
	const struct xn_pflight_ring *g = region();
	unsigned n = 0;

	for (uint32_t i = g->free_heads & 0xffff; i < r.size && n <= r.size; i = g->desc[i].next)
		n++;
	return n;
}

/* The id 2 is offered with `first` descriptors, taken, perhaps pushed, and offered again. */
static void offered_twice(unsigned first, unsigned second, bool pushed, bool die)
{
	const struct seg s = { BUF_GPA, 10, WRITE }, row[] = { s, s, s };

	seed = first;
	open_rig(7, XN_VQ_TO_GUEST);
	be_start();
	offer(2, row, first);
	assert_int_equal(rig_pop(&r, 4), 1);
	if (pushed)
		xn_vq_push(&r.vq, 2, 0);
	offer(2, row, second);
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

/* An id is offered again while it is out, or pushed and not published: no entry is lost, and
 * what a back end finds that comes then can be. */
static void ids_that_are_out_twice_lose_no_entry(void **state)
{
	for (unsigned first = 1; first <= 3; first++)
		for (unsigned second = 1; second <= 3; second++)
			for (unsigned how = 0; how < 4; how++)
				offered_twice(first, second, how & 1, how & 2);
}

/* ---- regions that are wrong ---- */

#define SPOIL(name, ...) static void name(void *v) { struct xn_pflight_ring *g = v; __VA_ARGS__; }

SPOIL(version_2, g->version = 2)
SPOIL(other_size, g->desc_num = 16)
SPOIL(free_head_far, g->free_heads = 9 | 9 << 16)
SPOIL(free_list_loops, g->desc[5].next = 4)
SPOIL(free_list_short, g->desc[5].next = 8)
SPOIL(free_list_into_a_chain, g->desc[7].next = 1)
SPOIL(chain_without_end, g->desc[0].num = 9)
SPOIL(chain_of_none, g->desc[0].num = 0)
SPOIL(chain_shorter, g->desc[0].num = 1)
SPOIL(chain_elsewhere, g->desc[0].last = 5)
SPOIL(id_far, g->desc[1].word |= 8)
SPOIL(id_twice, g->desc[2].word &= ~0xffffull)
SPOIL(used_far, g->used |= 0x80008)
SPOIL(wrap_of_two, g->used |= 0x020200000000ull)
SPOIL(batch_backwards, g->used = 0x00040003)

static void regions_that_cannot_be_are_ignored_and_counted(void **state)
{
	static const struct spoil t[] = {
		{ no_spoil, 2, 0 }, { zeroed, 0, 0 }, { version_2, 0, 1 }, { other_size, 0, 1 },
		{ free_head_far, 0, 1 }, { free_list_loops, 0, 1 }, { free_list_short, 0, 1 },
		{ free_list_into_a_chain, 0, 1 }, { chain_without_end, 0, 1 }, { chain_of_none, 0, 1 },
		{ chain_shorter, 0, 1 }, { chain_elsewhere, 0, 1 }, { id_far, 0, 1 },
		{ id_twice, 0, 1 }, { used_far, 0, 1 }, { wrap_of_two, 0, 1 }, { batch_backwards, 0, 1 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(t); i++)
		start_on(&t[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIFE_TESTS(packed),
		RING_TEST(ids_that_are_out_twice_lose_no_entry, packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
