/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/inflight.c and of virtio/vq.c with it: a back end may be killed at any
 * moment, and each chain of a split ring is used exactly once. The cases: inflight_life.h.
 *
 * The two files are compiled into this one, with their stores to shared memory
 * replaced by stores that count: "killed" is a jump out of the n-th of them, after
 * which everything private is thrown away, and a new queue starts on what is left in
 * memory. Between two counted stores nothing becomes visible but used entries behind the
 * used index, which nobody looks at. (test_inflight_kill.c does it to the real code.)
 */
#include "tests/unit/life.h"

/* NOLINTBEGIN(bugprone-suspicious-include): that is the point */
#include "virtio/inflight.c"
#include "virtio/vq.c"
/* NOLINTEND(bugprone-suspicious-include) */

#include "tests/unit/inflight_life.h"

#define SPOIL(name, ...) static void name(void *v) { struct xn_inflight_ring *g = v; __VA_ARGS__; }

SPOIL(version_2, g->version = 2)
SPOIL(other_size, g->desc_num = 16)
SPOIL(far_batch, g->used_idx -= 9)
SPOIL(no_such_head, g->used_idx--; g->last_batch_head = 8)
SPOIL(more_out_than_offered, for (unsigned i = 0; i < 8; i++) g->desc[i].inflight = 1)

static void regions_that_cannot_be_are_ignored_and_counted(void **state)
{
	static const struct spoil t[] = {
		{ no_spoil, 2, 0 }, { zeroed, 0, 0 }, { version_2, 0, 1 }, { other_size, 0, 1 },
		{ far_batch, 0, 1 }, { no_such_head, 0, 1 }, { more_out_than_offered, 0, 8 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(t); i++)
		start_on(&t[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { LIFE_TESTS(split) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
