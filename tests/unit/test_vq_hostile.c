/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/vq.c that a driver cannot do harm with what it writes, as far as only split
 * rings have it: what both kinds have is in test_vq_both_hostile.c, and what is expected of each
 * fault in hostile.h.
 *
 *   - faults of the available ring, of `next`, and of tables in tables
 *   - a call ends soon, however long and many the loops are
 *   - a thread that rewrites descriptors, tables and available ring all the time gets
 *     nothing but pieces inside guest memory, and books that balance
 *     (XN_MUTATE_SECONDS, default 2)
 *
 * gNN_ in a name is the number of a case in the checklist of hostile rings.
 */
#include <pthread.h>

#include "tests/unit/hostile.h"

#define SIZE 8u

/* A transmit queue with indirect tables, unless a test wants something else. */
static void open_tx(void)
{
	rig_open(&r, SIZE, XN_VQ_FROM_GUEST, RIG_INDIRECT, 0);
}

/* The chain of head 0, whose descriptors are written. */
static void refused(const char *fault)
{
	rig_offer(&r, 0);
	is_refused(fault);
}

/* ---- the rings ---- */

static void g01_avail_index_jump_breaks(void **state)
{
	static const uint16_t jumps[] = { SIZE + 1, SIZE + 2, 32767, 32768, 65535 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(jumps); i++) {
		for (unsigned base = 0; base < 65536; base += 65529) {
			rig_open(&r, SIZE, XN_VQ_FROM_GUEST, 0, (uint16_t)base);
			r.avail[1] = (uint16_t)(base + jumps[i]);
			broken_by("fault_avail_jump");
			rig_close(&r);
		}
	}
}

static void g01_index_that_goes_back_breaks(void **state)
{
	open_tx();
	good_chain_passes();
	good_chain_passes();
	r.avail[1] = 1;
	broken_by("fault_avail_jump");
	rig_close(&r);
}

static void g05_head_offered_twice_is_given_back_once(void **state)
{
	uint32_t head, len;

	open_tx();
	rig_desc(&r, 2, BUF_GPA, 60, 0, 0);
	rig_desc(&r, 3, BUF_GPA, 61, 0, 0);
	rig_offer(&r, 2);
	rig_offer(&r, 2);
	rig_offer(&r, 2);
	rig_offer(&r, 3);
	assert_int_equal(rig_pop(&r, 8), 1);     /* in front of the second */
	assert_int_equal(rig_all_faults(&r), 0);
	assert_int_equal(rig_pop(&r, 8), 1);     /* both skipped */
	assert_int_equal(r.chains[0].head, 3);
	assert_int_equal(r.ctr.v[counter("fault_head_busy")], 2);
	assert_int_equal(rig_all_faults(&r), 2);
	assert_int_equal(r.ctr.v[XN_C_heads_dropped], 0);
	assert_int_equal(r.vq.outstanding, 2);
	assert_int_equal(r.vq.state[2], XN_VQ_TAKEN | 0);
	xn_vq_push(&r.vq, 2, 11);
	xn_vq_push(&r.vq, 3, 12);
	xn_vq_publish(&r.vq);
	assert_true(rig_used(&r, &head, &len));
	assert_true(head == 2 && len == 11);
	assert_true(rig_used(&r, &head, &len));
	assert_true(head == 3 && len == 12);
	assert_false(rig_used(&r, &head, &len));
	good_chain_passes();
	rig_close(&r);
}

static void g05_head_offered_twice_is_given_back_once_by_a_stop(void **state)
{
	uint32_t head, len;

	open_tx();
	rig_desc(&r, 2, BUF_GPA, 60, 0, 0);
	rig_offer(&r, 2);
	rig_offer(&r, 2);
	assert_int_equal(rig_pop(&r, 8), 1);
	assert_int_equal(rig_pop(&r, 8), 0);
	assert_int_equal(xn_vq_reclaim_all(&r.vq), 1);   /* the entry behind it was consumed */
	assert_int_equal(r.vq.avail_next, 2);
	assert_true(rig_used(&r, &head, &len));
	assert_true(head == 2 && len == 0);
	assert_false(rig_used(&r, &head, &len));
	good_chain_passes();
	rig_close(&r);
}

/* More entries than the ring has, but never all at once: seen when they are taken again. */
static void g01_too_many_entries_after_a_stop_break(void **state)
{
	open_tx();
	for (unsigned i = 0; i < SIZE; i++)
		rig_desc(&r, i, BUF_GPA, 60, 0, 0);
	for (unsigned i = 0; i < SIZE; i++)
		rig_offer(&r, (uint16_t)i);
	assert_int_equal(rig_pop(&r, 1), 1);
	rig_offer(&r, 0);
	assert_int_equal(rig_pop(&r, SIZE), SIZE - 1);   /* in front of the second head 0 */
	assert_int_equal(xn_vq_reclaim_all(&r.vq), 0);
	assert_int_equal(r.vq.avail_next, 0);
	broken_by("fault_avail_jump");
	rig_close(&r);
}

static void g29_overlapping_rings_are_not_accepted(void **state)
{
	const uint64_t at = A_GPA, n = SIZE;
	/* The same place; the last two bytes of one; all inside of another. */
	const struct rig_places t[] = {
		{ at, at, at, "overlap" }, { at, at, at + 4096, "overlap" },
		{ at, at + 4096, at, "overlap" }, { at + 4096, at, at, "overlap" },
		{ at, at + 16 * n - 2, at + 4096, "overlap" },
		{ at, at + 4096, at + 16 * n - 4, "overlap" },
		{ at + 4096, at, at + 4 + 2 * n, "overlap" },
		{ at + 4096, at + 4 + 8 * n, at, "overlap" },
		{ at, at + 32, at + 4096, "overlap" }, { at, at + 4096, at + 16, "overlap" },
	};

	open_tx();
	rig_try_places(&r, rig_cfg(SIZE, XN_VQ_TO_GUEST, 0, 0), t, XN_ARRAY_SIZE(t));
	rig_close(&r);
}

/* ---- direct chains ---- */

static void g03_next_beyond_the_table(void **state)
{
	static const uint16_t nexts[] = { SIZE, SIZE + 1, 32768, 65535 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(nexts); i++) {
		open_tx();
		rig_desc(&r, 0, BUF_GPA, 10, NEXT, nexts[i]);
		refused("fault_next_range");
		rig_desc(&r, 0, BUF_GPA, 10, NEXT, 1);
		rig_desc(&r, 1, BUF_GPA, 10, NEXT, nexts[i]);
		refused("fault_next_range");
		rig_close(&r);
	}
}

static void g06_self_loop_is_returned_once(void **state)
{
	open_tx();
	rig_desc(&r, 0, BUF_GPA, 10, NEXT, 0);
	refused("fault_chain_loop");
	rig_close(&r);
}

static void g06_two_cycle_is_returned_once(void **state)
{
	open_tx();
	rig_desc(&r, 0, BUF_GPA, 10, NEXT, 1);
	rig_desc(&r, 1, BUF_GPA, 10, NEXT, 0);
	refused("fault_chain_loop");
	rig_desc(&r, 1, BUF_GPA, 10, NEXT, 2);   /* and a cycle behind the head */
	rig_desc(&r, 2, BUF_GPA, 10, NEXT, 1);
	refused("fault_chain_loop");
	rig_close(&r);
}

static void g06_loop_of_empty_descriptors_is_returned_once(void **state)
{
	open_tx();
	rig_desc(&r, 0, 0, 0, NEXT, 1);
	rig_desc(&r, 1, 0, 0, NEXT, 0);
	refused("fault_chain_loop");
	rig_close(&r);
}

static void g08_chain_longer_than_the_table_is_a_loop(void **state)
{
	rig_open(&r, SIZE, XN_VQ_FROM_GUEST, 0, 0);
	for (unsigned i = 0; i < SIZE; i++)
		rig_desc(&r, i, BUF_GPA + 64 * i, 10, NEXT, (uint16_t)((i + 1) % SIZE));
	refused("fault_chain_loop");
	rig_close(&r);
}

/* ---- indirect tables ---- */

static void g21_table_inside_a_table(void **state)
{
	open_tx();
	rig_entry(&r, TABLE, 0, TABLE, 16, INDIR, 0);
	rig_desc(&r, 0, TABLE, 16, INDIR, 0);
	refused("fault_indirect_nested");
	rig_entry(&r, TABLE, 0, BUF_GPA, 16, NEXT, 1);
	rig_entry(&r, TABLE, 1, TABLE, 16, INDIR, 0);
	rig_desc(&r, 0, TABLE, 32, INDIR, 0);
	refused("fault_indirect_nested");
	rig_close(&r);
}

static void g25_next_beyond_the_table_of_an_indirect(void **state)
{
	static const uint16_t nexts[] = { 2, 3, SIZE, 32768, 65535 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(nexts); i++) {
		open_tx();
		rig_entry(&r, TABLE, 0, BUF_GPA, 50, NEXT, nexts[i]);
		rig_entry(&r, TABLE, 1, BUF_GPA, 50, 0, 0);
		rig_desc(&r, 0, TABLE, 32, INDIR, 0);
		refused("fault_indirect_range");
		rig_close(&r);
	}
}

static void g25_loop_inside_a_table(void **state)
{
	open_tx();
	rig_entry(&r, TABLE, 0, BUF_GPA, 50, NEXT, 0);
	rig_desc(&r, 0, TABLE, 16, INDIR, 0);
	refused("fault_chain_loop");
	rig_entry(&r, TABLE, 0, BUF_GPA, 0, NEXT, 1);
	rig_entry(&r, TABLE, 1, BUF_GPA, 0, NEXT, 0);
	rig_desc(&r, 0, TABLE, 32, INDIR, 0);
	refused("fault_chain_loop");
	rig_close(&r);
}

static void table_behind_direct_descriptors_passes(void **state)
{
	open_tx();   /* VIRTIO 1.2, 2.7.5.3.2; WRITE on the table's descriptor is ignored */
	for (unsigned i = 0; i < SIZE; i++)
		rig_entry(&r, TABLE, i, BUF_GPA + 64 * i, 10, i + 1 < SIZE ? NEXT : 0,
			  (uint16_t)(i + 1));
	for (unsigned i = 0; i < SIZE - 1; i++)
		rig_desc(&r, i, BUF_GPA + 64 * i, 1, NEXT, (uint16_t)(i + 1));
	rig_desc(&r, SIZE - 1, TABLE, 16 * SIZE, INDIR | WRITE, 0);
	rig_offer(&r, 0);
	assert_int_equal(rig_pop(&r, 1), 1);
	assert_int_equal(r.chains[0].n_pieces, 2 * SIZE - 1);
	assert_int_equal(r.chains[0].bytes, SIZE - 1 + 10 * SIZE);
	rig_close(&r);
}

/* ---- time ---- */

/* Every head of a table of 32768 begins a loop through the whole table. */
static void g27_long_loops_do_not_hold_a_call(void **state)
{
	const uint32_t size = XN_VQ_MAX_SIZE;

	rig_open(&r, size, XN_VQ_FROM_GUEST, 0, 0);
	for (unsigned i = 0; i < size; i++)
		rig_desc(&r, i, BUF_GPA, 0, NEXT, (uint16_t)((i + 1) % size));
	for (unsigned i = 0; i < size; i++)
		rig_offer(&r, (uint16_t)i);
	no_call_is_held(XN_FAULT_chain_loop);
	rig_close(&r);
}

/* ---- memory that changes while it is read ---- */

#define M_SIZE   64u
#define M_TABLES 4u

static uint32_t stop_mutating;

static struct vring_desc any_desc(uint64_t *seed)
{
	uint32_t x = rig_random(seed);
	const struct seg s = any_seg(x);

	return (struct vring_desc){
		.addr = s.at, .len = s.len, .flags = x & 1 ? 0 : s.flags,
		.next = (uint16_t)((x & 0xf0) ? x >> 20 & (M_SIZE - 1) : x >> 12),
	};
}

/* Each field on its own, so that the device sees halves of old and new. */
static void put_desc(struct vring_desc *d, struct vring_desc v)
{
	xn_store_once32(&d->len, v.len);
	xn_store_once64((uint64_t *)&d->addr, v.addr);
	xn_store_once16(&d->next, v.next);
	xn_store_once16(&d->flags, v.flags);
}

static void *mutate(void *arg)
{
	uint64_t seed = 88172645463325252ull;

	while (!xn_load_once32(&stop_mutating)) {
		uint32_t x = rig_random(&seed);
		struct vring_desc *table = rig_at(&r, TABLE + 1024 * (x >> 8 & (M_TABLES - 1)));

		put_desc(&r.desc[x & (M_SIZE - 1)], any_desc(&seed));
		put_desc(&table[x >> 16 & 3], any_desc(&seed));
		if (!(x & 0x30000000))
			xn_store_once16(&r.avail[2 + (x >> 4 & (M_SIZE - 1))],
					(uint16_t)(x >> 20 & (M_SIZE - 1)));
	}
	return NULL;
}

static void mutating_guest_gets_nothing(void **state)
{
	const uint64_t end = mutate_until();
	uint64_t seed = 2463534242u, kept = 0, pushed = 0, offered = 0;
	pthread_t thread;

	rig_open(&r, M_SIZE, XN_VQ_FROM_GUEST, RIG_INDIRECT, 65000);
	n_held = 0;
	stop_mutating = 0;
	assert_int_equal(pthread_create(&thread, NULL, mutate, NULL), 0);
	while (now_ns() < end || (kept <= 1000 && now_ns() < end + PATIENCE_NS)) {
		for (unsigned turn = 0; turn < 256; turn++) {
			uint16_t waiting = (uint16_t)(r.next_avail - r.vq.avail_next);

			for (unsigned k = rig_random(&seed) % (M_SIZE - waiting + 1); k; k--, offered++)
				xn_store_release16(&r.avail[1], ++r.next_avail);
			kept += take_any(&seed);
			assert_int_equal(r.vq.outstanding, n_held);
			pushed += give_some_back(&seed);
			xn_vq_publish(&r.vq);
			assert_int_equal(r.vq.outstanding, n_held);
			assert_int_equal(r.vq.broken, XN_FAULT_NONE);
		}
		assert_int_equal(rig_taken(&r), n_held);
	}
	xn_store_once32(&stop_mutating, 1);
	pthread_join(thread, NULL);
	print_message("%llu entries offered, %llu chains taken, %llu faults\n",
		      (unsigned long long)offered, (unsigned long long)kept,
		      (unsigned long long)rig_all_faults(&r));
	assert_true(kept > 1000);
	/* Each entry consumed is a chain that was taken, or a fault. */
	assert_int_equal((uint16_t)(r.vq.avail_next - 65000),
			 (uint16_t)(kept + rig_all_faults(&r)));
	assert_int_equal((uint16_t)(r.vq.used_next - 65000),
			 (uint16_t)(pushed + r.ctr.v[XN_C_heads_dropped]));
	assert_int_equal(kept, pushed + n_held);
	xn_vq_reclaim_all(&r.vq);
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(rig_taken(&r), 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(g01_avail_index_jump_breaks, split),
		RING_TEST(g01_index_that_goes_back_breaks, split),
		RING_TEST(g01_too_many_entries_after_a_stop_break, split),
		RING_TEST(g03_next_beyond_the_table, split),
		RING_TEST(g05_head_offered_twice_is_given_back_once, split),
		RING_TEST(g05_head_offered_twice_is_given_back_once_by_a_stop, split),
		RING_TEST(g06_self_loop_is_returned_once, split),
		RING_TEST(g06_two_cycle_is_returned_once, split),
		RING_TEST(g06_loop_of_empty_descriptors_is_returned_once, split),
		RING_TEST(g08_chain_longer_than_the_table_is_a_loop, split),
		RING_TEST(g21_table_inside_a_table, split),
		RING_TEST(g25_next_beyond_the_table_of_an_indirect, split),
		RING_TEST(g25_loop_inside_a_table, split),
		RING_TEST(g27_long_loops_do_not_hold_a_call, split),
		RING_TEST(g29_overlapping_rings_are_not_accepted, split),
		RING_TEST(table_behind_direct_descriptors_passes, split),
		RING_TEST(mutating_guest_gets_nothing, split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
