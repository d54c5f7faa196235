/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/vq.c that a driver cannot do harm with what it writes.
 *
 *   - every fault of base/faults.h that a virtqueue can see is provoked; its counter,
 *     found by name, goes up by one and no other does; the head comes back exactly
 *     once with length 0, and the next good chain passes; or the queue is broken,
 *     and nothing is taken any more
 *   - what looks odd and is legal passes
 *   - a call ends soon, however long and many the wrong chains are
 *   - a thread that rewrites descriptors, tables and available ring all the time gets
 *     nothing but pieces inside guest memory, and books that balance
 *     (XN_MUTATE_SECONDS, default 2)
 *
 * gNN_ in a name is the number of a case in the checklist of hostile rings.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "tests/unit/vq_rig.h"

#define SIZE  8u
#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIR VRING_DESC_F_INDIRECT
#define TABLE (BUF_GPA + 0x80000)
#define MAX   UINT32_MAX

static struct rig r;

/* A transmit queue with indirect tables, unless a test wants something else. */
static void open_tx(void)
{
	rig_open(&r, SIZE, XN_VQ_FROM_GUEST, RIG_INDIRECT, 0);
}

static unsigned counter(const char *name)
{
	for (unsigned i = 0; i < XN_C_COUNT; i++)
		if (!strcmp(xn_counter_name(i), name))
			return i;
	fail_msg("no counter %s", name);
	return 0;
}

/* A good chain goes through, with head 7. */
static void good_chain_passes(void)
{
	uint32_t head, len;

	rig_desc(&r, SIZE - 1, BUF_GPA, 100, r.vq.expect_flags, 0);
	rig_offer(&r, SIZE - 1);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].head, SIZE - 1);
	assert_int_equal(r.chains[0].bytes, 100);
	xn_vq_push(&r.vq, SIZE - 1, 5);
	assert_true(xn_vq_publish(&r.vq));
	assert_true(rig_used(&r, &head, &len));
	assert_int_equal(head, SIZE - 1);
	assert_int_equal(len, 5);
	assert_false(rig_used(&r, &head, &len));
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(rig_taken(&r), 0);
}

/* The chain of head 0, whose descriptors are written, is refused for this reason. */
static void refused(const char *fault)
{
	uint64_t before = r.ctr.v[counter(fault)], all = rig_all_faults(&r);
	uint64_t dropped = r.ctr.v[XN_C_heads_dropped];
	uint32_t head, len;

	rig_offer(&r, 0);
	assert_int_equal(rig_pop(&r, 4), 0);
	if (r.ctr.v[counter(fault)] != before + 1)
		for (unsigned i = XN_C_FAULTS; i < XN_C_COUNT; i++)
			if (r.ctr.v[i])
				print_message("counted: %s\n", xn_counter_name(i));
	assert_int_equal(r.ctr.v[counter(fault)], before + 1);
	assert_int_equal(rig_all_faults(&r), all + 1);
	assert_int_equal(r.ctr.v[XN_C_heads_dropped], dropped + 1);
	assert_int_equal(r.vq.broken, XN_FAULT_NONE);
	assert_true(xn_vq_publish(&r.vq));
	assert_true(rig_used(&r, &head, &len));
	assert_int_equal(head, 0);
	assert_int_equal(len, 0);
	assert_false(rig_used(&r, &head, &len));
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(rig_taken(&r), 0);
	good_chain_passes();
}

/* The ring is what it is: the queue stops, now and for good. */
static void broken_by(const char *fault)
{
	uint16_t at = r.vq.avail_next;

	assert_int_equal(rig_pop(&r, 4), 0);
	assert_int_equal(r.ctr.v[counter(fault)], 1);
	assert_int_equal(rig_all_faults(&r), 1);
	assert_string_equal(xn_fault_name(r.vq.broken), fault);
	assert_true(xn_fault_stops_queue(r.vq.broken));
	r.avail[1] = at;
	rig_desc(&r, 1, BUF_GPA, 100, r.vq.expect_flags, 0);
	r.next_avail = at;
	rig_offer(&r, 1);
	assert_int_equal(rig_pop(&r, 4), 0);
	assert_int_equal(rig_all_faults(&r), 1);
	assert_int_equal(r.vq.avail_next, at);
	assert_int_equal(r.vq.outstanding, 0);
	assert_false(xn_vq_publish(&r.vq));
	assert_true(xn_vq_enable_kick(&r.vq));
}

/* The chain of head 0 is taken, with this many pieces and bytes, and given back. */
static void passes(unsigned n_pieces, uint32_t bytes)
{
	uint32_t head, len;

	rig_offer(&r, 0);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].head, 0);
	assert_int_equal(r.chains[0].n_pieces, n_pieces);
	assert_int_equal(r.chains[0].bytes, bytes);
	assert_int_equal(rig_all_faults(&r), 0);
	xn_vq_push(&r.vq, 0, 0);
	xn_vq_publish(&r.vq);
	assert_true(rig_used(&r, &head, &len));
	assert_int_equal(head, 0);
	good_chain_passes();
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

static void g02_head_beyond_the_table_breaks(void **state)
{
	static const uint16_t heads[] = { SIZE, SIZE + 1, 32768, 65535 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(heads); i++) {
		open_tx();
		good_chain_passes();
		/* Whatever is left of the number when it is cut to the table names a good one. */
		for (unsigned k = 0; k < SIZE; k++)
			rig_desc(&r, k, BUF_GPA, 100, 0, 0);
		rig_offer(&r, heads[i]);
		broken_by("fault_head_range");
		rig_close(&r);
	}
}

static void g02_head_beyond_the_table_waits_behind_good_ones(void **state)
{
	open_tx();
	rig_desc(&r, 1, BUF_GPA, 60, 0, 0);
	rig_offer(&r, 1);
	rig_offer(&r, SIZE);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.vq.broken, XN_FAULT_NONE);
	xn_vq_unpop(&r.vq, r.chains, 1);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(rig_pop(&r, 4), 0);
	assert_int_equal(r.vq.broken, XN_FAULT_head_range);
	assert_int_equal(r.vq.outstanding, 1);   /* what was taken can still be given back */
	xn_vq_push(&r.vq, 1, 0);
	assert_true(xn_vq_publish(&r.vq));
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
	const uint64_t rings[][3] = {
		{ at, at, at }, { at, at, at + 4096 }, { at, at + 4096, at }, { at + 4096, at, at },
		{ at, at + 16 * n - 2, at + 4096 }, { at, at + 4096, at + 16 * n - 4 },
		{ at + 4096, at, at + 4 + 2 * n }, { at + 4096, at + 4 + 8 * n, at },
		{ at, at + 32, at + 4096 }, { at, at + 4096, at + 16 },
	};
	struct xn_vq vq;

	open_tx();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(rings); i++) {
		struct xn_vq_cfg cfg = rig_cfg(SIZE, XN_VQ_TO_GUEST, 0, 0);

		cfg.desc.v = rings[i][0];
		cfg.avail.v = rings[i][1];
		cfg.used.v = rings[i][2];
		assert_int_equal(xn_vq_init(&vq, &r.mem, &r.ctr, &cfg), -EINVAL);
		assert_non_null(strstr(xn_last_error(), "overlap"));
		xn_vq_fini(&vq);
	}
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

static void g08_chain_of_the_whole_table_passes_one_more_does_not(void **state)
{
	rig_open(&r, SIZE, XN_VQ_FROM_GUEST, 0, 0);
	for (unsigned i = 0; i < SIZE; i++)
		rig_desc(&r, i, BUF_GPA + 64 * i, 10, i + 1 < SIZE ? NEXT : 0, (uint16_t)(i + 1));
	passes(SIZE, 10 * SIZE);
	for (unsigned i = 0; i < SIZE; i++)
		rig_desc(&r, i, BUF_GPA + 64 * i, 10, NEXT, (uint16_t)((i + 1) % SIZE));
	refused("fault_chain_loop");
	rig_close(&r);
}

static void g09_empty_descriptor_with_wild_address_is_skipped(void **state)
{
	static const uint64_t wild[] = { 0, HOLE, UINT64_MAX, C_END, D_GPA };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(wild); i++) {
		open_tx();
		rig_desc(&r, 0, wild[i], 0, NEXT, 1);
		rig_desc(&r, 1, BUF_GPA, 20, NEXT, 2);
		rig_desc(&r, 2, wild[i], 0, 0, 0);
		passes(1, 20);
		rig_close(&r);
	}
}

static void g09_chain_without_a_byte_is_refused(void **state)
{
	open_tx();
	rig_desc(&r, 0, BUF_GPA, 0, 0, 0);
	refused("fault_chain_empty");
	rig_desc(&r, 0, UINT64_MAX, 0, NEXT, 1);
	rig_desc(&r, 1, BUF_GPA, 0, 0, 0);
	refused("fault_chain_empty");
	rig_entry(&r, TABLE, 0, UINT64_MAX, 0, 0, 0);
	rig_desc(&r, 0, TABLE, 16, INDIR, 0);
	refused("fault_chain_empty");
	rig_close(&r);
}

static void g09_empty_chain_is_refused_where_short_ones_are_plain(void **state)
{
	struct xn_vq_cfg cfg = rig_cfg(SIZE, XN_VQ_FROM_GUEST, 0, 0);

	open_tx();
	xn_vq_fini(&r.vq);
	cfg.min_bytes = 0;
	assert_int_equal(xn_vq_init(&r.vq, &r.mem, &r.ctr, &cfg), 0);
	good_chain_passes();
	rig_desc(&r, 0, BUF_GPA, 0, 0, 0);
	refused("fault_chain_empty");
	rig_close(&r);
}

/* 8 GiB of guest memory that nobody looks at. */
static void open_with_giant_span(void)
{
	open_tx();
	r.mem.spans[3] = (struct xn_span){ 1ull << 40, 8ull << 30, 1ull << 40 };
}

static void g10_sum_of_lengths_beyond_32_bits(void **state)
{
	open_with_giant_span();
	rig_desc(&r, 0, 1ull << 40, MAX, NEXT, 1);
	rig_desc(&r, 1, BUF_GPA, 1, 0, 0);
	refused("fault_chain_bytes");
	rig_desc(&r, 0, 1ull << 40, 1u << 31, NEXT, 1);
	rig_desc(&r, 1, 1ull << 40, 1u << 31, 0, 0);
	refused("fault_chain_bytes");
	rig_entry(&r, TABLE, 0, 1ull << 40, MAX, NEXT, 1);
	rig_entry(&r, TABLE, 1, 1ull << 40, MAX, NEXT, 0);
	rig_desc(&r, 0, TABLE, 32, INDIR, 0);
	refused("fault_chain_bytes");
	rig_close(&r);
}

static void g10_longest_sum_passes(void **state)
{
	open_with_giant_span();
	rig_desc(&r, 0, 1ull << 40, MAX, 0, 0);
	passes(1, MAX);
	rig_desc(&r, 0, 1ull << 40, MAX - 1, NEXT, 1);
	rig_desc(&r, 1, BUF_GPA, 1, 0, 0);
	passes(2, MAX);
	rig_close(&r);
}

static void g10_longest_length_without_memory_behind_it(void **state)
{
	open_tx();
	rig_desc(&r, 0, BUF_GPA, MAX, 0, 0);
	refused("fault_addr_unmapped");
	rig_close(&r);
}

static void g11_address_that_wraps(void **state)
{
	static const struct { uint64_t at; uint32_t len; } bad[] = {
		{ UINT64_MAX, 2 }, { UINT64_MAX - 99, 101 }, { D_GPA, 0x10001 },
		{ UINT64_MAX, MAX },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		open_tx();
		rig_desc(&r, 0, bad[i].at, bad[i].len, 0, 0);
		refused("fault_addr_wrap");
		rig_close(&r);
	}
}

static void g11_buffer_that_ends_with_the_address_space_passes(void **state)
{
	open_tx();
	rig_desc(&r, 0, UINT64_MAX, 1, 0, 0);
	passes(1, 1);
	rig_desc(&r, 0, D_GPA, 0x10000, 0, 0);
	passes(1, 0x10000);
	rig_close(&r);
}

static void g12_address_outside_of_guest_memory(void **state)
{
	static const struct { uint64_t at; uint32_t len; } bad[] = {
		{ 0, 1 }, { A_GPA - 1, 1 }, { A_GPA - 1, 2 }, { HOLE, 100 },
		{ C_END, 1 }, { C_END - 1, 2 }, { C_GPA - 1, 0x10002 }, { D_GPA - 1, 1 },
		{ D_GPA - 1, 2 }, { A_GPA, MAX / 2 }, { UINT64_MAX / 2, 1 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		open_tx();
		rig_desc(&r, 0, bad[i].at, bad[i].len, 0, 0);
		refused("fault_addr_unmapped");
		rig_desc(&r, 0, BUF_GPA, 12, NEXT, 1);
		rig_desc(&r, 1, bad[i].at, bad[i].len, 0, 0);
		refused("fault_addr_unmapped");
		rig_close(&r);
	}
}

static void g14_buffer_across_spans_is_cut_where_it_must(void **state)
{
	open_tx();
	rig_desc(&r, 0, B_GPA - 30, 100, 0, 0);
	passes(2, 100);
	rig_offer(&r, 0);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(rig_pieces(&r, &r.chains[0])[0].at.v, 0x10000 + A_BYTES - 30);
	assert_int_equal(rig_pieces(&r, &r.chains[0])[0].len, 30);
	assert_int_equal(rig_pieces(&r, &r.chains[0])[1].at.v, 0x300000);
	assert_int_equal(rig_pieces(&r, &r.chains[0])[1].len, 70);
	xn_vq_unpop(&r.vq, r.chains, 1);

	rig_desc(&r, 0, C_GPA - 30, 100, 0, 0);   /* B and C touch: one piece */
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].n_pieces, 1);
	assert_int_equal(rig_pieces(&r, &r.chains[0])[0].at.v, 0x310000 - 30);
	assert_int_equal(rig_pieces(&r, &r.chains[0])[0].len, 100);
	xn_vq_unpop(&r.vq, r.chains, 1);

	rig_desc(&r, 0, B_GPA - 1, 0x10002, 0, 0);   /* all of B, a byte on each side */
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].n_pieces, 2);
	assert_int_equal(rig_pieces(&r, &r.chains[0])[1].len, 0x10001);
	rig_close(&r);
}

static void neighbours_of_two_descriptors_stay_two_pieces(void **state)
{
	open_tx();
	rig_desc(&r, 0, BUF_GPA, 12, NEXT, 1);
	rig_desc(&r, 1, BUF_GPA + 12, 100, 0, 0);
	passes(2, 112);
	rig_close(&r);
}

static void neighbour_of_a_buffer_across_spans_stays_a_piece(void **state)
{
	open_tx();
	rig_desc(&r, 0, B_GPA - 80, 40, NEXT, 1);
	rig_desc(&r, 1, B_GPA - 40, 100, 0, 0);
	passes(3, 140);
	rig_close(&r);
}

static void g26_writable_descriptor_to_send(void **state)
{
	open_tx();
	memset(rig_at(&r, BUF_GPA), 0x5a, 200);
	rig_desc(&r, 0, BUF_GPA, 100, WRITE, 0);
	refused("fault_writable");
	rig_desc(&r, 0, BUF_GPA, 50, WRITE | NEXT, 1);
	rig_desc(&r, 1, BUF_GPA + 50, 50, 0, 0);
	refused("fault_writable");
	rig_desc(&r, 0, BUF_GPA, 50, NEXT, 1);
	rig_desc(&r, 1, BUF_GPA + 50, 50, WRITE, 0);
	refused("fault_writable");
	rig_entry(&r, TABLE, 0, BUF_GPA, 50, WRITE, 0);
	rig_desc(&r, 0, TABLE, 16, INDIR, 0);
	refused("fault_writable");
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(((uint8_t *)rig_at(&r, BUF_GPA))[i], 0x5a);
	rig_close(&r);
}

static void g26_readable_descriptor_to_receive(void **state)
{
	rig_open(&r, SIZE, XN_VQ_TO_GUEST, RIG_INDIRECT, 0);
	rig_desc(&r, 0, BUF_GPA, 1500, 0, 0);
	refused("fault_readable");
	rig_desc(&r, 0, BUF_GPA, 1500, WRITE | NEXT, 1);
	rig_desc(&r, 1, BUF_GPA, 1500, 0, 0);
	refused("fault_readable");
	rig_entry(&r, TABLE, 0, BUF_GPA, 1500, WRITE | NEXT, 1);
	rig_entry(&r, TABLE, 1, BUF_GPA, 1500, 0, 0);
	rig_desc(&r, 0, TABLE, 32, INDIR | WRITE, 0);
	refused("fault_readable");
	rig_close(&r);
}

static void rx_header_is_refused_by_the_device(void **state)
{
	uint32_t head, len;

	rig_open(&r, SIZE, XN_VQ_TO_GUEST, 0, 0);
	rig_desc(&r, 0, BUF_GPA, 11, WRITE, 0);
	rig_offer(&r, 0);
	assert_int_equal(rig_pop(&r, 4), 1);
	xn_vq_refuse(&r.vq, 0, XN_FAULT_rx_header);
	assert_int_equal(r.ctr.v[counter("fault_rx_header")], 1);
	assert_int_equal(r.ctr.v[XN_C_heads_dropped], 1);
	xn_vq_publish(&r.vq);
	assert_true(rig_used(&r, &head, &len));
	assert_true(head == 0 && len == 0);
	good_chain_passes();
	rig_close(&r);
}

static void unknown_flags_are_ignored(void **state)
{
	open_tx();
	rig_desc(&r, 0, BUF_GPA, 40, 0xfff8 | NEXT, 1);
	rig_desc(&r, 1, BUF_GPA, 2, 0x8080, 5);
	passes(2, 42);
	rig_close(&r);
}

/* ---- indirect tables ---- */

static void g15_table_across_two_spans(void **state)
{
	/* On a border between entries, inside one, and anywhere. */
	for (unsigned before = 0; before <= 64; before++) {
		uint64_t at = B_GPA - before;

		open_tx();
		for (unsigned i = 0; i < 4; i++)
			rig_entry(&r, at, i, BUF_GPA + 256 * i, 10 + i, i < 3 ? NEXT : 0,
				  (uint16_t)(i + 1));
		rig_desc(&r, 0, at, 64, INDIR, 0);
		passes(4, 46);
		rig_offer(&r, 0);
		assert_int_equal(rig_pop(&r, 4), 1);
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(rig_pieces(&r, &r.chains[0])[i].at.v,
					 0x10000 + BUF_GPA - A_GPA + 256 * i);
			assert_int_equal(rig_pieces(&r, &r.chains[0])[i].len, 10 + i);
		}
		rig_close(&r);
	}
}

static void g16_table_outside_of_guest_memory(void **state)
{
	static const uint64_t bad[] = { 0, HOLE, A_GPA - 16, C_END - 16, C_END, D_GPA - 16,
					UINT64_MAX, UINT64_MAX - 15 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		open_tx();
		rig_desc(&r, 0, bad[i], 32, INDIR, 0);
		refused("fault_indirect_unmapped");
		rig_close(&r);
	}
}

static void g18_indirect_without_the_feature(void **state)
{
	rig_open(&r, SIZE, XN_VQ_FROM_GUEST, 0, 0);
	rig_entry(&r, TABLE, 0, BUF_GPA, 50, 0, 0);
	rig_desc(&r, 0, TABLE, 16, INDIR, 0);
	refused("fault_indirect_off");
	rig_desc(&r, 0, TABLE, 16, INDIR | NEXT, 1);
	refused("fault_indirect_off");
	rig_close(&r);
}

static void g19_table_of_a_wrong_size(void **state)
{
	static const uint32_t bad[] = { 1, 15, 17, 31, 16 * SIZE + 1, 16 * (SIZE + 1), 16 * 65536,
					16 * 65536 + 16, MAX - 15, MAX };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		open_tx();
		rig_entry(&r, TABLE, 0, BUF_GPA, 50, 0, 0);
		rig_desc(&r, 0, TABLE, bad[i], INDIR, 0);
		refused("fault_indirect_size");
		rig_close(&r);
	}
}

static void g20_table_without_an_entry(void **state)
{
	open_tx();
	rig_desc(&r, 0, TABLE, 0, INDIR, 0);
	refused("fault_indirect_size");
	rig_desc(&r, 0, HOLE, 0, INDIR, 0);
	refused("fault_indirect_size");
	rig_close(&r);
}

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

static void g22_indirect_and_next(void **state)
{
	open_tx();
	rig_entry(&r, TABLE, 0, BUF_GPA, 50, 0, 0);
	rig_desc(&r, 0, TABLE, 16, INDIR | NEXT, 1);
	rig_desc(&r, 1, BUF_GPA, 50, 0, 0);
	refused("fault_indirect_next");
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

/* ---- room ---- */

static void chain_with_more_pieces_than_the_array_is_refused(void **state)
{
	open_tx();
	for (unsigned i = 0; i < 4; i++)   /* each has two pieces */
		rig_desc(&r, i, B_GPA - 10, 20, i < 3 ? NEXT : 0, (uint16_t)(i + 1));
	rig_offer(&r, 0);
	assert_int_equal(xn_vq_pop(&r.vq, r.chains, 4, r.pieces, 8), 1);
	xn_vq_unpop(&r.vq, r.chains, 1);
	assert_int_equal(xn_vq_pop(&r.vq, r.chains, 4, r.pieces, 7), 0);
	assert_int_equal(r.ctr.v[counter("fault_chain_pieces")], 1);
	assert_int_equal(rig_all_faults(&r), 1);
	xn_vq_publish(&r.vq);
	assert_int_equal(r.used->idx, 1);
	r.next_used = 1;
	good_chain_passes();
	rig_close(&r);
}

/* ---- time ---- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Every head of a table of 32768 begins a loop through the whole table. */
static void g27_long_loops_do_not_hold_a_call(void **state)
{
	const uint32_t size = XN_VQ_MAX_SIZE;
	uint64_t shortest = UINT64_MAX;
	uint32_t head, len, calls = 0, back = 0;

	rig_open(&r, size, XN_VQ_FROM_GUEST, 0, 0);
	for (unsigned i = 0; i < size; i++)
		rig_desc(&r, i, BUF_GPA, 0, NEXT, (uint16_t)((i + 1) % size));
	for (unsigned i = 0; i < size; i++)
		rig_offer(&r, (uint16_t)i);
	for (; calls < 100; calls++) {
		uint64_t t = now_ns();

		assert_int_equal(rig_pop(&r, 64), 0);
		shortest = XN_MIN(shortest, now_ns() - t);
		xn_vq_publish(&r.vq);
		assert_false(xn_vq_enable_kick(&r.vq));   /* there is more: nobody sleeps */
		while (rig_used(&r, &head, &len))
			assert_int_equal(head, back++);
	}
	assert_int_equal(back, rig_fault(&r, XN_FAULT_chain_loop));
	assert_true(back >= calls && back <= 3 * calls);
	/* Each call does the same; 65536 descriptors and one chain are below 1 ms, but a
	 * sanitizer or a busy machine takes its share. */
	assert_true(shortest < 100000000u);
	rig_close(&r);
}

static void many_wrong_chains_are_refused_a_ring_at_a_time(void **state)
{
	open_tx();
	for (unsigned i = 0; i < SIZE; i++)
		rig_desc(&r, i, HOLE, 10, 0, 0);
	for (unsigned i = 0; i < SIZE; i++)
		rig_offer(&r, (uint16_t)i);
	assert_int_equal(rig_pop(&r, 64), 0);
	assert_int_equal(rig_fault(&r, XN_FAULT_addr_unmapped), SIZE);
	assert_int_equal(r.vq.outstanding, 0);
	xn_vq_publish(&r.vq);
	r.next_used = SIZE;
	good_chain_passes();
	rig_close(&r);
}

static void wrong_chain_between_good_ones_waits_for_its_turn(void **state)
{
	open_tx();
	for (unsigned i = 0; i < 5; i++)
		rig_desc(&r, i, i == 2 ? HOLE : BUF_GPA, 10, 0, 0);
	for (unsigned i = 0; i < 5; i++)
		rig_offer(&r, (uint16_t)i);
	assert_int_equal(rig_pop(&r, 8), 2);
	assert_int_equal(rig_all_faults(&r), 0);
	assert_int_equal(rig_pop(&r, 8), 2);
	assert_int_equal(r.chains[0].head, 3);
	assert_int_equal(rig_fault(&r, XN_FAULT_addr_unmapped), 1);
	assert_int_equal(r.vq.outstanding, 4);
	rig_close(&r);
}

/* ---- memory that changes while it is read ---- */

#define M_SIZE   64u
#define M_TABLES 4u

static uint32_t stop_mutating;

/* Mostly plausible, so that chains get far; sometimes anything. */
static struct vring_desc any_desc(uint64_t *seed)
{
	static const uint64_t at[] = { BUF_GPA, B_GPA - 5, C_GPA - 5, D_GPA, UINT64_MAX - 5, HOLE,
				       TABLE, TABLE + 1024, B_GPA - 24, C_END - 8 };
	static const uint32_t len[] = { 0, 1, 16, 32, 64, 1500, 0x10000, MAX };
	uint32_t x = rig_random(seed);

	return (struct vring_desc){
		.addr = at[(x >> 8) % XN_ARRAY_SIZE(at)],
		.len = len[(x >> 16) % XN_ARRAY_SIZE(len)],
		.flags = (uint16_t)(x & 1 ? 0 : x >> 24 & 7),
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

static void pieces_are_guest_memory(const struct xn_chain *c)
{
	uint64_t bytes = 0;

	assert_true(c->n_pieces >= 1);
	for (unsigned i = 0; i < c->n_pieces; i++) {
		const struct xn_piece *p = &rig_pieces(&r, c)[i];
		bool inside = false;

		for (unsigned s = 0; s < r.mem.n_spans; s++) {
			uint64_t into = p->at.v - r.mem.spans[s].uoff;
			/* B and C touch, so that a piece may lie in both. */
			uint64_t room = s == 1 ? 0x20000 : r.mem.spans[s].bytes;

			inside |= into < room && p->len <= room - into;
		}
		assert_true(inside);
		assert_true(p->len > 0);
		bytes += p->len;
	}
	assert_int_equal(bytes, c->bytes);
}

/* Gives back some of the held heads, in any order. Returns how many are left. */
static unsigned give_some_back(uint16_t *held, unsigned n, uint64_t *seed)
{
	for (unsigned k = rig_random(seed) % (n + 1); k; k--) {
		unsigned i = rig_random(seed) % n;

		xn_vq_push(&r.vq, held[i], 0);
		held[i] = held[--n];
	}
	return n;
}

static void mutating_guest_gets_nothing(void **state)
{
	const char *s = getenv("XN_MUTATE_SECONDS");
	uint64_t seconds = s ? strtoul(s, NULL, 10) : 2, end = now_ns() + 1000000000ull * seconds;
	uint64_t seed = 2463534242u;
	uint64_t taken = 0, unpopped = 0, pushed = 0, offered = 0;
	static uint16_t held[M_SIZE];
	unsigned n_held = 0;
	pthread_t thread;

	rig_open(&r, M_SIZE, XN_VQ_FROM_GUEST, RIG_INDIRECT, 65000);
	stop_mutating = 0;
	assert_int_equal(pthread_create(&thread, NULL, mutate, NULL), 0);
	while (now_ns() < end) {
		for (unsigned turn = 0; turn < 256; turn++) {
			uint16_t waiting = (uint16_t)(r.next_avail - r.vq.avail_next);
			unsigned before = r.vq.outstanding, n, k;

			for (k = rig_random(&seed) % (M_SIZE - waiting + 1); k; k--, offered++)
				xn_store_release16(&r.avail[1], ++r.next_avail);
			n = rig_pop(&r, rig_random(&seed) % 17);
			assert_int_equal(r.vq.outstanding, before + n);
			for (unsigned i = 0; i < n; i++)
				pieces_are_guest_memory(&r.chains[i]);
			k = n ? rig_random(&seed) % (n + 1) : 0;
			xn_vq_unpop(&r.vq, r.chains + n - k, k);
			for (unsigned i = 0; i < n - k; i++)
				held[n_held++] = r.chains[i].head;
			taken += n;
			unpopped += k;
			pushed += n_held;
			n_held = give_some_back(held, n_held, &seed);
			pushed -= n_held;
			xn_vq_publish(&r.vq);
			assert_int_equal(r.vq.outstanding, n_held);
			assert_int_equal(r.vq.broken, XN_FAULT_NONE);
		}
		assert_int_equal(rig_taken(&r), n_held);
	}
	xn_store_once32(&stop_mutating, 1);
	pthread_join(thread, NULL);
	print_message("%llu entries offered, %llu chains taken, %llu faults\n",
		      (unsigned long long)offered, (unsigned long long)(taken - unpopped),
		      (unsigned long long)rig_all_faults(&r));
	assert_true(taken > 1000);
	/* Each entry consumed is a chain that was taken, or a fault. */
	assert_int_equal((uint16_t)(r.vq.avail_next - 65000),
			 (uint16_t)(taken - unpopped + rig_all_faults(&r)));
	assert_int_equal((uint16_t)(r.vq.used_next - 65000),
			 (uint16_t)(pushed + r.ctr.v[XN_C_heads_dropped]));
	assert_int_equal(taken - unpopped, pushed + n_held);
	xn_vq_reclaim_all(&r.vq);
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(rig_taken(&r), 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(g01_avail_index_jump_breaks),
		cmocka_unit_test(g01_index_that_goes_back_breaks),
		cmocka_unit_test(g01_too_many_entries_after_a_stop_break),
		cmocka_unit_test(g02_head_beyond_the_table_breaks),
		cmocka_unit_test(g02_head_beyond_the_table_waits_behind_good_ones),
		cmocka_unit_test(g03_next_beyond_the_table),
		cmocka_unit_test(g05_head_offered_twice_is_given_back_once),
		cmocka_unit_test(g05_head_offered_twice_is_given_back_once_by_a_stop),
		cmocka_unit_test(g06_self_loop_is_returned_once),
		cmocka_unit_test(g06_two_cycle_is_returned_once),
		cmocka_unit_test(g06_loop_of_empty_descriptors_is_returned_once),
		cmocka_unit_test(g08_chain_of_the_whole_table_passes_one_more_does_not),
		cmocka_unit_test(g09_empty_descriptor_with_wild_address_is_skipped),
		cmocka_unit_test(g09_chain_without_a_byte_is_refused),
		cmocka_unit_test(g09_empty_chain_is_refused_where_short_ones_are_plain),
		cmocka_unit_test(g10_sum_of_lengths_beyond_32_bits),
		cmocka_unit_test(g10_longest_sum_passes),
		cmocka_unit_test(g10_longest_length_without_memory_behind_it),
		cmocka_unit_test(g11_address_that_wraps),
		cmocka_unit_test(g11_buffer_that_ends_with_the_address_space_passes),
		cmocka_unit_test(g12_address_outside_of_guest_memory),
		cmocka_unit_test(g14_buffer_across_spans_is_cut_where_it_must),
		cmocka_unit_test(g15_table_across_two_spans),
		cmocka_unit_test(g16_table_outside_of_guest_memory),
		cmocka_unit_test(g18_indirect_without_the_feature),
		cmocka_unit_test(g19_table_of_a_wrong_size),
		cmocka_unit_test(g20_table_without_an_entry),
		cmocka_unit_test(g21_table_inside_a_table),
		cmocka_unit_test(g22_indirect_and_next),
		cmocka_unit_test(g25_next_beyond_the_table_of_an_indirect),
		cmocka_unit_test(g25_loop_inside_a_table),
		cmocka_unit_test(g26_writable_descriptor_to_send),
		cmocka_unit_test(g26_readable_descriptor_to_receive),
		cmocka_unit_test(g27_long_loops_do_not_hold_a_call),
		cmocka_unit_test(g29_overlapping_rings_are_not_accepted),
		cmocka_unit_test(neighbours_of_two_descriptors_stay_two_pieces),
		cmocka_unit_test(neighbour_of_a_buffer_across_spans_stays_a_piece),
		cmocka_unit_test(rx_header_is_refused_by_the_device),
		cmocka_unit_test(unknown_flags_are_ignored),
		cmocka_unit_test(table_behind_direct_descriptors_passes),
		cmocka_unit_test(chain_with_more_pieces_than_the_array_is_refused),
		cmocka_unit_test(many_wrong_chains_are_refused_a_ring_at_a_time),
		cmocka_unit_test(wrong_chain_between_good_ones_waits_for_its_turn),
		cmocka_unit_test(mutating_guest_gets_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
