/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of a virtqueue that a driver cannot do harm with the chains that it offers, whichever
 * kind of ring it has: each case is run for both. (What only one of them has, and guests
 * that rewrite their rings all the time: test_vq_hostile.c, test_vq_packed_hostile.c.)
 *
 *   - every fault of base/faults.h that chains of both kinds can have is provoked; its counter,
 *     found by name, goes up by one and no other does; the id comes back exactly
 *     once with length 0, and the next good chain passes; or the queue is broken,
 *     and nothing is taken any more
 *   - what looks odd and is legal passes
 *   - a call ends soon, however long and many the wrong chains are
 *
 * gNN_ in a name is the number of a case in the checklist of hostile rings.
 */
#include "tests/unit/hostile.h"

/* A ring of 8, or 7, shortly before the end of both. */
static void open_dir(enum xn_vq_dir dir, unsigned flags)
{
	ring->open(&r, ring->any_size ? 7 : 8, dir, flags, ring->any_size ? 6 : 65535);
}

/* A transmit queue with indirect tables, unless a test wants something else. */
static void open_tx(void)
{
	open_dir(XN_VQ_FROM_GUEST, RIG_INDIRECT);
}

/* REFUSED("fault_...", { at, len, flags }, ...): such a chain is; PASSES(pieces, bytes, ...) */
#define REFUSED(fault, ...) do { OFFER(0, __VA_ARGS__); is_refused(fault); } while (0)
#define PASSES(n_pieces, bytes, ...) do { OFFER(0, __VA_ARGS__); passes(n_pieces, bytes); } while (0)

/* n buffers one behind the other, in a chain. */
static const struct seg *row(unsigned n)
{
	static struct seg s[64];

	assert_true(n <= XN_ARRAY_SIZE(s));
	for (unsigned i = 0; i < n; i++)
		s[i] = (struct seg){ BUF_GPA + 64 * i, 10, 0 };
	return s;
}

/* ---- the rings ---- */

/* Whatever is left of the number when it is cut to the ring names a good one. */
static void g02_id_beyond_the_ring_breaks(void **state)
{
	const uint16_t bad[] = { 7, 8, 9, 32767, 32768, 65535 };

	for (unsigned i = ring->any_size ? 0 : 1; i < XN_ARRAY_SIZE(bad); i++)
		for (unsigned odd = 0; odd < 3; odd++) {
			open_tx();
			good_chain_passes();
			for (unsigned k = 0; ring->chained && k < r.size; k++)
				rig_desc(&r, k, BUF_GPA, 100, 0, 0);
			if (odd == 2)   /* in a chain, which is wrong besides */
				OFFER(bad[i], { HOLE, 10, 0 }, { HOLE, 100, 0 });
			else
				offer1(bad[i], odd ? HOLE : BUF_GPA, 100, 0);
			broken_by("fault_head_range");
			rig_close(&r);
		}
}

static void g02_id_beyond_the_ring_waits_behind_good_ones(void **state)
{
	open_tx();
	for (unsigned i = 1; i < 4; i++)
		offer1((uint16_t)i, BUF_GPA, 60, 0);
	offer1((uint16_t)r.size, BUF_GPA, 60, 0);
	assert_int_equal(rig_pop(&r, 8), 3);
	assert_int_equal(rig_all_faults(&r), 0);
	assert_int_equal(r.vq.broken, XN_FAULT_NONE);
	xn_vq_unpop(&r.vq, r.chains, 3);
	assert_int_equal(rig_pop(&r, 8), 3);
	broken_by("fault_head_range");
	assert_int_equal(r.vq.outstanding, 3);   /* what was taken can still be given back */
	xn_vq_push(&r.vq, 1, 0);
	assert_true(xn_vq_publish(&r.vq));
	comes_back(1, 0);
	rig_close(&r);
}

/* ---- direct chains ---- */

static void g08_chain_of_the_whole_ring_passes(void **state)
{
	open_tx();
	offer(0, row(r.size), r.size);
	passes(r.size, 10 * r.size);
	rig_close(&r);
}

static void g09_empty_descriptor_with_wild_address_is_skipped(void **state)
{
	static const uint64_t wild[] = { 0, HOLE, UINT64_MAX, C_END, D_GPA };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(wild); i++) {
		open_tx();
		PASSES(1, 20, { wild[i], 0, 0 }, { BUF_GPA, 20, 0 }, { wild[i], 0, 0 });
		rig_close(&r);
	}
}

static void g09_chain_without_a_byte_is_refused(void **state)
{
	open_tx();
	REFUSED("fault_chain_empty", { BUF_GPA, 0, 0 });
	REFUSED("fault_chain_empty", { UINT64_MAX, 0, 0 }, { BUF_GPA, 0, 0 });
	PUT_TABLE(TABLE, { UINT64_MAX, 0, 0 });
	REFUSED("fault_chain_empty", { TABLE, 16, INDIR });
	rig_close(&r);
}

static void g09_empty_chain_is_refused_where_short_ones_are_plain(void **state)
{
	struct xn_vq_cfg cfg;

	open_tx();
	cfg = ring->cfg(r.size, XN_VQ_FROM_GUEST, 0, xn_vq_base(&r.vq));
	xn_vq_fini(&r.vq);
	cfg.min_bytes = 0;
	assert_int_equal(xn_vq_init(&r.vq, &r.mem, &r.ctr, &cfg), 0);
	good_chain_passes();
	REFUSED("fault_chain_empty", { BUF_GPA, 0, 0 });
	rig_close(&r);
}

#define GIANT (1ull << 40)

/* 8 GiB of guest memory that nobody looks at. */
static void open_with_giant_span(void)
{
	open_tx();
	r.mem.spans[3] = (struct xn_span){ GIANT, 8ull << 30, GIANT };
}

static void g10_sum_of_lengths_beyond_32_bits(void **state)
{
	open_with_giant_span();
	REFUSED("fault_chain_bytes", { GIANT, MAX, 0 }, { BUF_GPA, 1, 0 });
	REFUSED("fault_chain_bytes", { GIANT, 1u << 31, 0 }, { GIANT, 1u << 31, 0 });
	/* Wherever they are: the sum is looked at first. */
	REFUSED("fault_chain_bytes", { BUF_GPA, 0x1000, 0 }, { BUF_GPA, MAX, 0 });
	PUT_TABLE(TABLE, { GIANT, MAX, 0 }, { GIANT, MAX, 0 });
	REFUSED("fault_chain_bytes", { TABLE, 32, INDIR });
	rig_close(&r);
}

static void g10_longest_sum_passes(void **state)
{
	open_with_giant_span();
	PASSES(1, MAX, { GIANT, MAX, 0 });
	PASSES(2, MAX, { GIANT, MAX - 1, 0 }, { BUF_GPA, 1, 0 });
	rig_close(&r);
}

static void g10_longest_length_without_memory_behind_it(void **state)
{
	open_tx();
	REFUSED("fault_addr_unmapped", { BUF_GPA, MAX, 0 });
	rig_close(&r);
}

static void g11_address_that_wraps(void **state)
{
	static const struct seg bad[] = {
		{ UINT64_MAX, 2, 0 }, { UINT64_MAX - 8, 10, 0 }, { UINT64_MAX - 99, 101, 0 },
		{ D_GPA, 0x10001, 0 }, { UINT64_MAX, MAX, 0 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		open_tx();
		REFUSED("fault_addr_wrap", bad[i]);
		rig_close(&r);
	}
}

static void g11_buffer_that_ends_with_the_address_space_passes(void **state)
{
	open_tx();
	PASSES(1, 1, { UINT64_MAX, 1, 0 });
	PASSES(1, 0x10000, { D_GPA, 0x10000, 0 });
	rig_close(&r);
}

static void g12_address_outside_of_guest_memory(void **state)
{
	static const struct seg bad[] = {
		{ 0, 1, 0 }, { 0, 10, 0 }, { A_GPA - 1, 1, 0 }, { A_GPA - 1, 2, 0 },
		{ A_GPA - 1, 10, 0 }, { HOLE, 100, 0 }, { C_END, 1, 0 }, { C_END - 1, 2, 0 },
		{ C_END - 9, 10, 0 }, { C_GPA - 1, 0x10002, 0 }, { D_GPA - 1, 1, 0 },
		{ D_GPA - 1, 2, 0 }, { A_GPA, MAX / 2, 0 }, { UINT64_MAX / 2, 1, 0 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		open_tx();
		REFUSED("fault_addr_unmapped", bad[i]);
		REFUSED("fault_addr_unmapped", { BUF_GPA, 12, 0 }, bad[i]);
		/* Its end is found all the same. */
		REFUSED("fault_addr_unmapped", bad[i], { BUF_GPA, 10, 0 }, { HOLE, MAX, 0 });
		rig_close(&r);
	}
}

/* This buffer comes as these pieces. */
static void is_cut(struct seg s, const struct xn_piece *want, unsigned n)
{
	open_tx();
	offer(0, &s, 1);
	is_taken(n, s.len);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(rig_pieces(&r, &r.chains[0])[i].at.v, want[i].at.v);
		assert_int_equal(rig_pieces(&r, &r.chains[0])[i].len, want[i].len);
	}
	xn_vq_unpop(&r.vq, r.chains, 1);
	passes(n, s.len);
	rig_close(&r);
}

static void g14_buffer_across_spans_is_cut_where_it_must(void **state)
{
	const uint64_t a_end = 0x10000 + A_BYTES;
	const struct xn_piece a_b[] = { { { a_end - 30 }, 30, 0 }, { { 0x300000 }, 70, 0 } };
	const struct xn_piece b_c[] = { { { 0x310000 - 30 }, 100, 0 } };
	const struct xn_piece a_c[] = { { { a_end - 1 }, 1, 0 }, { { 0x300000 }, 0x10001, 0 } };

	is_cut((struct seg){ B_GPA - 30, 100, 0 }, a_b, 2);
	is_cut((struct seg){ C_GPA - 30, 100, 0 }, b_c, 1);       /* B and C touch: one piece */
	is_cut((struct seg){ B_GPA - 1, 0x10002, 0 }, a_c, 2);    /* all of B, a byte on each side */
}

static void neighbours_of_two_descriptors_stay_two_pieces(void **state)
{
	open_tx();
	PASSES(2, 112, { BUF_GPA, 12, 0 }, { BUF_GPA + 12, 100, 0 });
	rig_close(&r);
}

static void neighbour_of_a_buffer_across_spans_stays_a_piece(void **state)
{
	open_tx();
	PASSES(3, 140, { B_GPA - 80, 40, 0 }, { B_GPA - 40, 100, 0 });
	rig_close(&r);
}

static void g26_writable_descriptor_to_send(void **state)
{
	open_tx();
	memset(rig_at(&r, BUF_GPA), 0x5a, 200);
	REFUSED("fault_writable", { BUF_GPA, 100, WRITE });
	REFUSED("fault_writable", { BUF_GPA, 50, WRITE }, { BUF_GPA + 50, 50, 0 });
	REFUSED("fault_writable", { BUF_GPA, 50, 0 }, { BUF_GPA + 50, 50, WRITE });
	PUT_TABLE(TABLE, { BUF_GPA, 50, WRITE });
	REFUSED("fault_writable", { TABLE, 16, INDIR });
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(((uint8_t *)rig_at(&r, BUF_GPA))[i], 0x5a);
	rig_close(&r);
}

static void g26_readable_descriptor_to_receive(void **state)
{
	open_dir(XN_VQ_TO_GUEST, RIG_INDIRECT);
	REFUSED("fault_readable", { BUF_GPA, 1500, 0 });
	REFUSED("fault_readable", { BUF_GPA, 1500, WRITE }, { BUF_GPA, 1500, 0 });
	REFUSED("fault_readable", { BUF_GPA, 0, 0 }, { BUF_GPA, 50, WRITE });
	PUT_TABLE(TABLE, { BUF_GPA, 1500, WRITE }, { BUF_GPA, 1500, 0 });
	REFUSED("fault_readable", { TABLE, 32, INDIR | WRITE });
	rig_close(&r);
}

static void order_of_a_command(void **state)
{
	struct xn_chain c;

	open_dir(XN_VQ_BOTH, 0);
	OFFER(0, { BUF_GPA, 1, WRITE }, { BUF_GPA, 2, 0 });
	assert_false(xn_vq_pop_command(&r.vq, &c, r.pieces, 64));
	assert_int_equal(rig_fault(&r, XN_FAULT_order), 1);
	assert_true(xn_vq_publish(&r.vq));
	comes_back(0, 0);
	nothing_is_out();
	rig_close(&r);
}

static void rx_header_is_refused_by_the_device(void **state)
{
	open_dir(XN_VQ_TO_GUEST, 0);
	offer1(0, BUF_GPA, 11, WRITE);
	assert_int_equal(rig_pop(&r, 4), 1);
	xn_vq_refuse(&r.vq, 0, XN_FAULT_rx_header);
	assert_int_equal(r.ctr.v[counter("fault_rx_header")], 1);
	assert_int_equal(r.ctr.v[XN_C_heads_dropped], 1);
	xn_vq_publish(&r.vq);
	comes_back(0, 0);
	good_chain_passes();
	nothing_is_out();
	rig_close(&r);
}

static void unknown_flags_are_ignored(void **state)
{
	open_tx();
	PASSES(2, 42, { BUF_GPA, 40, ring->unknown }, { BUF_GPA, 2, ring->unknown });
	PUT_TABLE(TABLE, { BUF_GPA, 40, ring->unknown_in_table },
		  { BUF_GPA, 2, ring->unknown_in_table });
	PASSES(2, 42, { TABLE, 32, INDIR | ring->unknown });
	rig_close(&r);
}

/* ---- indirect tables ---- */

static void g15_table_across_two_spans(void **state)
{
	/* On a border between entries, inside one, and anywhere. */
	for (unsigned before = 0; before <= 64; before++) {
		uint64_t at = B_GPA - before;

		open_tx();
		PUT_TABLE(at, { BUF_GPA, 10, 0 }, { BUF_GPA + 256, 11, 0 }, { BUF_GPA + 512, 12, 0 },
			  { BUF_GPA + 768, 13, 0 });
		offer1(0, at, 64, INDIR);
		is_taken(4, 46);
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(rig_pieces(&r, &r.chains[0])[i].at.v,
					 0x10000 + BUF_GPA - A_GPA + 256 * i);
			assert_int_equal(rig_pieces(&r, &r.chains[0])[i].len, 10 + i);
		}
		xn_vq_unpop(&r.vq, r.chains, 1);
		passes(4, 46);
		rig_close(&r);
	}
}

static void g16_table_outside_of_guest_memory(void **state)
{
	static const uint64_t bad[] = { 0, HOLE, A_GPA - 16, C_END - 16, C_END, D_GPA - 16,
					UINT64_MAX, UINT64_MAX - 15 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		open_tx();
		REFUSED("fault_indirect_unmapped", { bad[i], 32, INDIR });
		rig_close(&r);
	}
}

static void g18_indirect_without_the_feature(void **state)
{
	open_dir(XN_VQ_FROM_GUEST, 0);
	PUT_TABLE(TABLE, { BUF_GPA, 50, 0 });
	REFUSED("fault_indirect_off", { TABLE, 16, INDIR });
	REFUSED("fault_indirect_off", { TABLE, 16, INDIR }, { BUF_GPA, 16, 0 });
	rig_close(&r);
}

static void g19_table_of_a_wrong_size(void **state)
{
	open_tx();
	PUT_TABLE(TABLE, { BUF_GPA, 50, 0 });
	for (unsigned i = 0; i < 10; i++) {
		const uint32_t bad[10] = { 1, 15, 17, 31, 16 * r.size + 1, 16 * (r.size + 1), 16 * 65536,
					   16 * 65536 + 16, MAX - 15, MAX };

		REFUSED("fault_indirect_size", { TABLE, bad[i], INDIR });
	}
	rig_close(&r);
}

static void g20_table_without_an_entry(void **state)
{
	open_tx();
	REFUSED("fault_indirect_size", { TABLE, 0, INDIR });
	REFUSED("fault_indirect_size", { HOLE, 0, INDIR });
	rig_close(&r);
}

static void g22_indirect_and_next(void **state)
{
	open_tx();
	PUT_TABLE(TABLE, { BUF_GPA, 50, 0 });
	REFUSED("fault_indirect_next", { TABLE, 16, INDIR }, { BUF_GPA, 50, 0 });
	rig_close(&r);
}

/* ---- room ---- */

static void chain_with_more_pieces_than_the_array_is_refused(void **state)
{
	open_tx();
	/* Each has two pieces. */
	OFFER(0, { B_GPA - 10, 20, 0 }, { B_GPA - 10, 20, 0 }, { B_GPA - 10, 20, 0 },
	      { B_GPA - 10, 20, 0 });
	assert_int_equal(xn_vq_pop(&r.vq, r.chains, 4, r.pieces, 8), 1);
	xn_vq_unpop(&r.vq, r.chains, 1);
	assert_int_equal(xn_vq_pop(&r.vq, r.chains, 4, r.pieces, 7), 0);
	assert_int_equal(r.ctr.v[counter("fault_chain_pieces")], 1);
	assert_int_equal(rig_all_faults(&r), 1);
	xn_vq_publish(&r.vq);
	comes_back(0, 0);
	good_chain_passes();
	nothing_is_out();
	rig_close(&r);
}

/* ---- time ---- */

/* Every buffer of the largest ring is a table of as many entries without a byte. */
static void g27_long_tables_do_not_hold_a_call(void **state)
{
	static struct seg s[XN_VQ_MAX_SIZE];
	const uint32_t size = XN_VQ_MAX_SIZE;

	ring->open(&r, size, XN_VQ_FROM_GUEST, RIG_INDIRECT, 5);
	for (unsigned i = 0; i < size; i++)
		s[i] = (struct seg){ BUF_GPA, 0, 0 };
	ring->table(&r, TABLE, s, size);
	for (unsigned i = 0; i < size; i++)
		offer1((uint16_t)i, TABLE, 16 * size, INDIR);
	no_call_is_held(XN_FAULT_chain_empty);
	rig_close(&r);
}

static void many_wrong_chains_are_refused_a_ring_at_a_time(void **state)
{
	open_tx();
	for (unsigned i = 0; i < r.size; i++)
		offer1((uint16_t)i, HOLE, 10, 0);
	assert_int_equal(rig_pop(&r, 64), 0);
	assert_int_equal(rig_fault(&r, XN_FAULT_addr_unmapped), r.size);
	assert_int_equal(r.vq.outstanding, 0);
	xn_vq_publish(&r.vq);
	for (unsigned i = 0; i < r.size; i++)
		comes_back(i, 0);
	good_chain_passes();
	nothing_is_out();
	rig_close(&r);
}

static void wrong_chain_between_good_ones_waits_for_its_turn(void **state)
{
	open_tx();
	for (unsigned i = 0; i < 5; i++)
		offer1((uint16_t)i, i == 2 ? HOLE : BUF_GPA, 10, 0);
	assert_int_equal(rig_pop(&r, 8), 2);
	assert_int_equal(rig_all_faults(&r), 0);
	assert_int_equal(rig_pop(&r, 8), 2);
	assert_int_equal(r.chains[0].head, 3);
	assert_int_equal(rig_fault(&r, XN_FAULT_addr_unmapped), 1);
	assert_int_equal(r.vq.outstanding, 4);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TESTS(g02_id_beyond_the_ring_breaks),
		RING_TESTS(g02_id_beyond_the_ring_waits_behind_good_ones),
		RING_TESTS(g08_chain_of_the_whole_ring_passes),
		RING_TESTS(g09_empty_descriptor_with_wild_address_is_skipped),
		RING_TESTS(g09_chain_without_a_byte_is_refused),
		RING_TESTS(g09_empty_chain_is_refused_where_short_ones_are_plain),
		RING_TESTS(g10_sum_of_lengths_beyond_32_bits),
		RING_TESTS(g10_longest_sum_passes),
		RING_TESTS(g10_longest_length_without_memory_behind_it),
		RING_TESTS(g11_address_that_wraps),
		RING_TESTS(g11_buffer_that_ends_with_the_address_space_passes),
		RING_TESTS(g12_address_outside_of_guest_memory),
		RING_TESTS(g14_buffer_across_spans_is_cut_where_it_must),
		RING_TESTS(g15_table_across_two_spans),
		RING_TESTS(g16_table_outside_of_guest_memory),
		RING_TESTS(g18_indirect_without_the_feature),
		RING_TESTS(g19_table_of_a_wrong_size),
		RING_TESTS(g20_table_without_an_entry),
		RING_TESTS(g22_indirect_and_next),
		RING_TESTS(g26_writable_descriptor_to_send),
		RING_TESTS(g26_readable_descriptor_to_receive),
		RING_TESTS(g27_long_tables_do_not_hold_a_call),
		RING_TESTS(neighbours_of_two_descriptors_stay_two_pieces),
		RING_TESTS(neighbour_of_a_buffer_across_spans_stays_a_piece),
		RING_TESTS(order_of_a_command),
		RING_TESTS(rx_header_is_refused_by_the_device),
		RING_TESTS(unknown_flags_are_ignored),
		RING_TESTS(chain_with_more_pieces_than_the_array_is_refused),
		RING_TESTS(many_wrong_chains_are_refused_a_ring_at_a_time),
		RING_TESTS(wrong_chain_between_good_ones_waits_for_its_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
