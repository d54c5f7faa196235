/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/packed.c that a driver cannot do harm with what it writes.
 *
 *   - every fault of base/faults.h that a packed ring can have is provoked; its counter,
 *     found by name, goes up by one and no other does; the buffer comes back exactly
 *     once with length 0, and the next good chain passes; or the queue is broken,
 *     and nothing is taken any more
 *   - what looks odd and is legal passes
 *   - a driver that gets its ids all wrong does not get the device's books wrong: what is
 *     taken and what is used stay within the ring
 *   - a call ends soon, however long and many the wrong chains are
 *   - a good driver in another thread misses nothing (the barriers, with ThreadSanitizer)
 *   - random guests, for a million steps; and a thread that rewrites descriptors and tables all
 *     the time: nothing but pieces inside guest memory, and books that balance
 *     (XN_MUTATE_SECONDS, default 2)
 *
 * gNN_ in a name is the number of a case in the checklist of hostile rings.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "tests/unit/packed_rig.h"

#define SIZE  7u
#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIR VRING_DESC_F_INDIRECT
#define TABLE (BUF_GPA + 0x80000)
#define MAX   UINT32_MAX

static struct rig r;

/* A transmit queue with indirect tables, one slot in front of the ring's end. */
static void open_tx(void)
{
	packed_open(&r, SIZE, XN_VQ_FROM_GUEST, RIG_INDIRECT, SIZE - 1, true);
}

static unsigned counter(const char *name)
{
	for (unsigned i = 0; i < XN_C_COUNT; i++)
		if (!strcmp(xn_counter_name(i), name))
			return i;
	fail_msg("no counter %s", name);
	return 0;
}

static void nothing_is_out(void)
{
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(r.vq.pk.slots_out, 0);
	assert_int_equal(r.vq.pk.used_at, r.vq.avail_next);
	for (uint32_t i = 0; i < r.size; i++)
		assert_true(!r.vq.state[i] && !r.vq.pk.more[i]);
}

/* A good chain goes through, with id 5. */
static void good_chain_passes(void)
{
	uint32_t id, len;

	packed_one(&r, BUF_GPA, 100, 5, r.vq.expect_flags);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].head, 5);
	assert_int_equal(r.chains[0].bytes, 100);
	xn_vq_push(&r.vq, 5, 9);
	assert_true(xn_vq_publish(&r.vq));
	assert_true(packed_used(&r, &id, &len));
	assert_true(id == 5 && len == 9);
	assert_false(packed_used(&r, &id, &len));
}

/* The chain of n descriptors, which are written, is refused for this reason. */
static void refused_as(const char *fault, uint16_t want_id, uint32_t n)
{
	uint64_t before = r.ctr.v[counter(fault)], all = rig_all_faults(&r);
	uint64_t dropped = r.ctr.v[XN_C_heads_dropped];
	uint32_t id, len;

	packed_offer(&r, want_id, n);
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
	assert_true(packed_used(&r, &id, &len));
	assert_true(id == want_id && len == 0);
	assert_false(packed_used(&r, &id, &len));
	good_chain_passes();
}

static void refused(const char *fault, uint32_t n)
{
	refused_as(fault, 0, n);
	nothing_is_out();
}

/* The chain of n descriptors is taken, with this many pieces and bytes, and given back. */
static void passes(uint32_t n, unsigned n_pieces, uint32_t bytes)
{
	uint32_t id, len;

	packed_offer(&r, 0, n);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].n_pieces, n_pieces);
	assert_int_equal(r.chains[0].bytes, bytes);
	xn_vq_push(&r.vq, 0, 0);
	assert_true(xn_vq_publish(&r.vq));
	assert_true(packed_used(&r, &id, &len) && id == 0);
	assert_int_equal(rig_all_faults(&r), 0);
	nothing_is_out();
}

/* The ring is what it is: the queue stops, now and for good. */
static void broken_by(const char *fault)
{
	uint16_t at = r.vq.avail_next;
	unsigned out = r.vq.outstanding;

	assert_int_equal(rig_pop(&r, 4), 0);
	assert_int_equal(r.ctr.v[counter(fault)], 1);
	assert_int_equal(rig_all_faults(&r), 1);
	assert_string_equal(xn_fault_name(r.vq.broken), fault);
	assert_true(xn_fault_stops_queue(r.vq.broken));
	p.avail = (struct place){ at & 0x7fff, at >> 15 };
	packed_one(&r, BUF_GPA, 100, 1, r.vq.expect_flags);
	assert_int_equal(rig_pop(&r, 4), 0);
	assert_int_equal(rig_all_faults(&r), 1);
	assert_int_equal(r.vq.avail_next, at);
	assert_int_equal(r.vq.outstanding, out);
	assert_false(xn_vq_publish(&r.vq));
	assert_true(xn_vq_enable_kick(&r.vq));
	rig_close(&r);
}

/* ---- the ring itself ---- */

static void g01_chain_without_an_end_breaks(void **state)
{
	open_tx();
	for (unsigned i = 0; i < SIZE; i++)
		packed_put(&r, i, BUF_GPA, 10, 0, NEXT);
	packed_offer(&r, 0, SIZE);
	broken_by("fault_avail_jump");
}

/* One that ends, but beyond the slots that the driver can have. */
static void g01_chain_into_slots_that_are_out_breaks(void **state)
{
	for (unsigned out = 1; out < SIZE; out++) {
		open_tx();
		for (unsigned i = 0; i < out; i++)
			packed_one(&r, BUF_GPA, 100, (uint16_t)i, 0);
		assert_int_equal(rig_pop(&r, SIZE), out);
		for (unsigned i = 0; i <= SIZE - out; i++)
			packed_put(&r, i, BUF_GPA, 10, 6, i < SIZE - out ? NEXT : 0);
		packed_offer(&r, 6, SIZE - out + 1);
		broken_by("fault_avail_jump");
	}
}

/* All slots are out, and the driver says that there are more. */
static void g01_more_than_the_ring_breaks(void **state)
{
	open_tx();
	for (unsigned i = 0; i < SIZE; i++)
		packed_one(&r, BUF_GPA, 100, (uint16_t)i, 0);
	assert_int_equal(rig_pop(&r, SIZE), SIZE);
	packed_one(&r, BUF_GPA, 100, 0, 0);
	assert_false(xn_vq_enable_kick(&r.vq));
	broken_by("fault_avail_jump");
}

static void g01_more_than_the_ring_waits_behind_good_ones(void **state)
{
	open_tx();
	for (unsigned i = 0; i < SIZE + 1; i++)
		packed_one(&r, BUF_GPA, 100, (uint16_t)(i % SIZE), 0);
	/* The first of them is the last that was written there: of the next lap. */
	assert_int_equal(rig_pop(&r, 16), 0);
	assert_int_equal(rig_all_faults(&r), 0);
	p.ring[SIZE - 1].flags ^= P_AVAIL | P_USED;
	assert_int_equal(rig_pop(&r, 16), SIZE);
	p.ring[SIZE - 1].flags ^= P_AVAIL | P_USED;
	broken_by("fault_avail_jump");
}

static void g02_id_beyond_the_ring_breaks(void **state)
{
	static const uint16_t bad[] = { SIZE, SIZE + 1, 8, 9, 32767, 32768, 65535 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++)
		for (unsigned odd = 0; odd < 3; odd++) {
			open_tx();
			if (odd == 2)   /* in a chain, which is wrong besides */
				packed_put(&r, 0, HOLE, 10, 0, NEXT);
			packed_put(&r, odd / 2, odd ? HOLE : BUF_GPA, 100, bad[i], 0);
			packed_offer(&r, bad[i], 1 + odd / 2);
			broken_by("fault_head_range");
		}
}

static void g02_id_beyond_the_ring_waits_behind_good_ones(void **state)
{
	open_tx();
	for (unsigned i = 0; i < 3; i++)
		packed_one(&r, BUF_GPA, 100, (uint16_t)i, 0);
	packed_one(&r, BUF_GPA, 100, SIZE, 0);
	assert_int_equal(rig_pop(&r, 8), 3);
	assert_int_equal(rig_all_faults(&r), 0);
	broken_by("fault_head_range");
}

/* The flags of another lap, and those of none, are not available ones. */
static void flags_of_another_lap_are_nothing(void **state)
{
	for (unsigned lap = 0; lap < 2; lap++)
		for (unsigned bits = 0; bits < 4; bits++) {
			const uint16_t flags = (uint16_t)((bits & 1 ? P_AVAIL : 0) | (bits & 2 ? P_USED : 0));
			bool good = lap ? bits == 1 : bits == 2;

			packed_open(&r, SIZE, XN_VQ_FROM_GUEST, 0, 2, lap);
			p.ring[2] = (struct vring_packed_desc){ BUF_GPA, 100, 3, flags };
			assert_int_equal(xn_vq_enable_kick(&r.vq), !good);
			assert_int_equal(rig_pop(&r, 2), good);
			assert_int_equal(rig_all_faults(&r), 0);
			rig_close(&r);
		}
}

/* ---- ids that are out ---- */

/* Once more than it may be; both come back, in any order, and each once. */
static void g05_id_offered_twice_comes_back_twice(void **state)
{
	for (unsigned first = 1; first <= 3; first++)
		for (unsigned second = 1; second <= 3; second++) {
			uint32_t id, len;

			open_tx();
			for (unsigned i = 0; i < first; i++)
				packed_put(&r, i, BUF_GPA, 10, 2, i + 1 < first ? NEXT : 0);
			packed_offer(&r, 2, first);
			assert_int_equal(rig_pop(&r, 4), 1);
			for (unsigned i = 0; i < second; i++)
				packed_put(&r, i, BUF_GPA, 10, 2, i + 1 < second ? NEXT : 0);
			packed_offer(&r, 2, second);
			assert_int_equal(rig_pop(&r, 4), 0);
			assert_int_equal(rig_fault(&r, XN_FAULT_head_busy), 1);
			assert_int_equal(rig_all_faults(&r), 1);
			assert_int_equal(r.vq.outstanding, 1);
			assert_int_equal(r.vq.pk.slots_out, first + second);
			assert_true(xn_vq_publish(&r.vq));
			assert_true(packed_used(&r, &id, &len));
			assert_true(id == 2 && len == 0);
			/* How many slots that was, such a driver cannot know. */
			xn_vq_push(&r.vq, 2, 0);
			assert_true(xn_vq_publish(&r.vq));
			nothing_is_out();
			assert_int_equal(r.vq.avail_next, place_base(p.avail));
			rig_close(&r);
		}
}

/* An id that is pushed, and offered again before it is published: with any lengths the
 * slots add up, also when the second one is un-taken. */
static void id_offered_between_push_and_publish(void **state)
{
	for (unsigned first = 1; first <= 3; first++)
		for (unsigned second = 1; second <= 3; second++)
			for (unsigned undo = 0; undo < 2; undo++) {
				open_tx();
				for (unsigned i = 0; i < first; i++)
					packed_put(&r, i, BUF_GPA, 100, 2, i + 1 < first ? NEXT : 0);
				packed_offer(&r, 2, first);
				assert_int_equal(rig_pop(&r, 4), 1);
				xn_vq_push(&r.vq, 2, 0);
				for (unsigned i = 0; i < second; i++)
					packed_put(&r, i, BUF_GPA, 100, 2, i + 1 < second ? NEXT : 0);
				packed_offer(&r, 2, second);
				assert_int_equal(rig_pop(&r, 4), 1);
				assert_int_equal(r.chains[0].slots, second);
				if (undo) {
					xn_vq_unpop(&r.vq, r.chains, 1);
					assert_int_equal(r.vq.pk.slots_out, first);
					assert_true(xn_vq_publish(&r.vq));
					assert_int_equal(r.vq.pk.slots_out, 0);
					assert_int_equal(rig_pop(&r, 4), 1);
				} else {
					assert_int_equal(r.vq.pk.slots_out, first + second);
				}
				xn_vq_push(&r.vq, 2, 0);
				assert_true(xn_vq_publish(&r.vq));
				nothing_is_out();
				assert_int_equal(r.vq.avail_next, place_base(p.avail));
				assert_int_equal(rig_all_faults(&r), 0);
				rig_close(&r);
			}
}

static void g05_stop_with_an_id_offered_twice(void **state)
{
	for (unsigned first = 1; first <= 3; first++) {
		open_tx();
		for (unsigned i = 0; i < first; i++)
			packed_put(&r, i, BUF_GPA, 10, 2, i + 1 < first ? NEXT : 0);
		packed_offer(&r, 2, first);
		assert_int_equal(rig_pop(&r, 4), 1);
		packed_one(&r, BUF_GPA, 10, 2, 0);
		assert_int_equal(rig_pop(&r, 4), 0);
		xn_vq_reclaim_all(&r.vq);
		nothing_is_out();
		rig_close(&r);
	}
}

/* The driver's word is where a stop looks, and no more: buffers that it renames are not
 * taken for others. */
static void stop_believes_no_id_that_was_changed(void **state)
{
	uint32_t id, len;

	open_tx();
	for (unsigned i = 0; i < 3; i++)
		packed_one(&r, BUF_GPA, 10, (uint16_t)i, 0);
	assert_int_equal(rig_pop(&r, 4), 3);
	for (unsigned i = 0; i < SIZE; i++)
		p.ring[i].id = 0;
	assert_int_equal(xn_vq_reclaim_all(&r.vq), 3);
	assert_int_equal(r.vq.avail_next, place_base(p.avail));
	for (unsigned i = 0; i < 3; i++)
		assert_true(packed_used(&r, &id, &len) && id == i && len == 0);
	nothing_is_out();
	rig_close(&r);
}

/* ---- chains ---- */

static void g08_chain_of_the_whole_ring_passes(void **state)
{
	open_tx();
	for (unsigned i = 0; i < SIZE; i++)
		packed_put(&r, i, BUF_GPA + 64 * i, 10, 0, i + 1 < SIZE ? NEXT : 0);
	passes(SIZE, SIZE, 10 * SIZE);
	rig_close(&r);
}

static void g09_empty_descriptor_with_wild_address_is_skipped(void **state)
{
	open_tx();
	packed_put(&r, 0, UINT64_MAX, 0, 0, NEXT);
	packed_put(&r, 1, BUF_GPA, 40, 0, NEXT);
	packed_put(&r, 2, HOLE, 0, 0, 0);
	passes(3, 1, 40);
	rig_close(&r);
}

static void g09_chain_without_a_byte_is_refused(void **state)
{
	open_tx();
	packed_put(&r, 0, BUF_GPA, 0, 0, 0);
	refused("fault_chain_empty", 1);
	packed_put(&r, 0, BUF_GPA, 0, 0, NEXT);
	packed_put(&r, 1, BUF_GPA, 0, 0, 0);
	refused("fault_chain_empty", 2);
	rig_close(&r);
}

static void g10_sum_of_lengths_beyond_32_bits(void **state)
{
	/* Wherever they are: the sum is looked at first. */
	open_tx();
	packed_put(&r, 0, BUF_GPA, 0x1000, 0, NEXT);
	packed_put(&r, 1, BUF_GPA, MAX, 0, 0);
	refused("fault_chain_bytes", 2);
	rig_close(&r);
}

static void g11_address_that_wraps(void **state)
{
	static const uint64_t at[] = { UINT64_MAX, UINT64_MAX - 8, D_GPA };
	static const uint32_t len[] = { 2, 10, 0x10001 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(at); i++) {
		open_tx();
		packed_put(&r, 0, at[i], len[i], 0, 0);
		refused("fault_addr_wrap", 1);
		rig_close(&r);
	}
}

static void g12_address_outside_of_guest_memory(void **state)
{
	static const uint64_t at[] = { 0, A_GPA - 1, HOLE, C_END - 9, C_END, D_GPA - 1 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(at); i++) {
		open_tx();
		packed_put(&r, 0, at[i], 10, 0, 0);
		refused("fault_addr_unmapped", 1);
		/* Its end is found all the same. */
		packed_put(&r, 0, at[i], 10, 77, NEXT);
		packed_put(&r, 1, BUF_GPA, 10, 78, NEXT);
		packed_put(&r, 2, at[i], MAX, 0, 0);
		refused("fault_addr_unmapped", 3);
		rig_close(&r);
	}
}

static void g14_buffer_across_spans_is_cut_where_it_must(void **state)
{
	open_tx();
	packed_put(&r, 0, B_GPA - 40, 100, 0, 0);
	passes(1, 2, 100);
	packed_put(&r, 0, C_GPA - 40, 100, 0, 0);
	passes(1, 1, 100);
	rig_close(&r);
}

static void g26_descriptors_of_the_wrong_direction(void **state)
{
	open_tx();
	packed_put(&r, 0, BUF_GPA, 50, 0, WRITE);
	refused("fault_writable", 1);
	packed_put(&r, 0, BUF_GPA, 50, 0, NEXT);
	packed_put(&r, 1, BUF_GPA, 50, 0, WRITE);
	refused("fault_writable", 2);
	rig_close(&r);
	packed_open(&r, SIZE, XN_VQ_TO_GUEST, 0, 0, true);
	packed_put(&r, 0, BUF_GPA, 50, 0, 0);
	refused("fault_readable", 1);
	packed_put(&r, 0, BUF_GPA, 0, 0, NEXT);
	packed_put(&r, 1, BUF_GPA, 50, 0, WRITE);
	refused("fault_readable", 2);
	rig_close(&r);
}

static void order_of_a_command(void **state)
{
	struct xn_chain c;
	uint32_t id, len;

	packed_open(&r, SIZE, XN_VQ_BOTH, 0, SIZE - 1, true);
	packed_put(&r, 0, BUF_GPA, 1, 0, WRITE | NEXT);
	packed_put(&r, 1, BUF_GPA, 2, 0, 0);
	packed_offer(&r, 0, 2);
	assert_false(xn_vq_pop_command(&r.vq, &c, r.pieces, 64));
	assert_int_equal(rig_fault(&r, XN_FAULT_order), 1);
	assert_true(xn_vq_publish(&r.vq));
	assert_true(packed_used(&r, &id, &len) && id == 0 && len == 0);
	nothing_is_out();
	rig_close(&r);
}

static void rx_header_is_refused_by_the_device(void **state)
{
	uint32_t id, len;

	packed_open(&r, SIZE, XN_VQ_TO_GUEST, 0, 0, true);
	packed_one(&r, BUF_GPA, 11, 0, WRITE);
	assert_int_equal(rig_pop(&r, 4), 1);
	xn_vq_refuse(&r.vq, 0, XN_FAULT_rx_header);
	assert_int_equal(r.ctr.v[counter("fault_rx_header")], 1);
	assert_int_equal(r.ctr.v[XN_C_heads_dropped], 1);
	xn_vq_publish(&r.vq);
	assert_true(packed_used(&r, &id, &len));
	assert_true(id == 0 && len == 0);
	good_chain_passes();
	nothing_is_out();
	rig_close(&r);
}

static void unknown_flags_are_ignored(void **state)
{
	const uint16_t unknown = (uint16_t)~(P_AVAIL | P_USED | NEXT | WRITE | INDIR);

	open_tx();
	packed_put(&r, 0, BUF_GPA, 40, 9, unknown | NEXT);
	packed_put(&r, 1, BUF_GPA, 2, 0, unknown);
	passes(2, 2, 42);
	rig_close(&r);
}

/* ---- indirect tables ---- */

static void put_entry(uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags)
{
	const struct vring_packed_desc d = { addr, len, 0x1234, flags };

	rig_write(&r, table + 16ull * i, &d, sizeof(d));
}

static void g15_table_across_two_spans(void **state)
{
	for (unsigned before = 0; before <= 64; before++) {
		uint64_t at = B_GPA - before;

		open_tx();
		for (unsigned i = 0; i < 4; i++)
			put_entry(at, i, BUF_GPA + 256 * i, 10 + i, 0);
		packed_put(&r, 0, at, 64, 0, INDIR);
		packed_offer(&r, 0, 1);
		assert_int_equal(rig_pop(&r, 4), 1);
		assert_int_equal(r.chains[0].n_pieces, 4);
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
		packed_put(&r, 0, bad[i], 32, 0, INDIR);
		refused("fault_indirect_unmapped", 1);
		rig_close(&r);
	}
}

static void g18_indirect_without_the_feature(void **state)
{
	packed_open(&r, SIZE, XN_VQ_FROM_GUEST, 0, 0, true);
	put_entry(TABLE, 0, BUF_GPA, 50, 0);
	packed_put(&r, 0, TABLE, 16, 0, INDIR);
	refused("fault_indirect_off", 1);
	packed_put(&r, 0, TABLE, 16, 0, INDIR | NEXT);
	packed_put(&r, 1, BUF_GPA, 16, 0, 0);
	refused("fault_indirect_off", 2);
	rig_close(&r);
}

static void g19_g20_table_of_a_wrong_size(void **state)
{
	static const uint32_t bad[] = { 0, 1, 15, 17, 31, 16 * SIZE + 1, 16 * (SIZE + 1), 16 * 65536,
					16 * 65536 + 16, MAX - 15, MAX };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		open_tx();
		put_entry(TABLE, 0, BUF_GPA, 50, 0);
		packed_put(&r, 0, TABLE, bad[i], 0, INDIR);
		refused("fault_indirect_size", 1);
		rig_close(&r);
	}
}

static void g22_indirect_in_a_chain(void **state)
{
	open_tx();
	put_entry(TABLE, 0, BUF_GPA, 50, 0);
	packed_put(&r, 0, TABLE, 16, 0, INDIR | NEXT);
	packed_put(&r, 1, BUF_GPA, 50, 0, 0);
	refused("fault_indirect_next", 2);
	/* What a split ring allows (2.7.5.3.2), a packed one does not (2.8.19). */
	packed_put(&r, 0, BUF_GPA, 50, 0, NEXT);
	packed_put(&r, 1, TABLE, 16, 0, INDIR);
	refused("fault_indirect_next", 2);
	rig_close(&r);
}

/* 2.8.7: of the flags in a table only WRITE means something, and ids nothing. */
static void g21_flags_in_a_table_are_ignored(void **state)
{
	open_tx();
	put_entry(TABLE, 0, BUF_GPA, 50, INDIR | NEXT | P_AVAIL);
	put_entry(TABLE, 1, BUF_GPA + 64, 5, NEXT | P_USED);
	packed_put(&r, 0, TABLE, 32, 0, INDIR | WRITE);
	passes(1, 2, 55);
	put_entry(TABLE, 1, BUF_GPA + 64, 5, WRITE);
	packed_put(&r, 0, TABLE, 32, 0, INDIR);
	refused("fault_writable", 1);
	rig_close(&r);
}

/* ---- room and time ---- */

static void chain_with_more_pieces_than_the_array_is_refused(void **state)
{
	uint32_t id, len;

	open_tx();
	for (unsigned i = 0; i < 4; i++)   /* each has two pieces */
		packed_put(&r, i, B_GPA - 10, 20, 0, i < 3 ? NEXT : 0);
	packed_offer(&r, 0, 4);
	assert_int_equal(xn_vq_pop(&r.vq, r.chains, 4, r.pieces, 8), 1);
	xn_vq_unpop(&r.vq, r.chains, 1);
	assert_int_equal(xn_vq_pop(&r.vq, r.chains, 4, r.pieces, 7), 0);
	assert_int_equal(r.ctr.v[counter("fault_chain_pieces")], 1);
	assert_int_equal(rig_all_faults(&r), 1);
	xn_vq_publish(&r.vq);
	assert_true(packed_used(&r, &id, &len) && id == 0 && len == 0);
	good_chain_passes();
	nothing_is_out();
	rig_close(&r);
}

static void many_wrong_chains_are_refused_a_ring_at_a_time(void **state)
{
	uint32_t id, len;

	open_tx();
	for (unsigned i = 0; i < SIZE; i++)
		packed_one(&r, HOLE, 10, (uint16_t)i, 0);
	assert_int_equal(rig_pop(&r, 64), 0);
	assert_int_equal(rig_fault(&r, XN_FAULT_addr_unmapped), SIZE);
	assert_int_equal(r.vq.outstanding, 0);
	xn_vq_publish(&r.vq);
	for (unsigned i = 0; i < SIZE; i++)
		assert_true(packed_used(&r, &id, &len) && id == i && len == 0);
	good_chain_passes();
	nothing_is_out();
	rig_close(&r);
}

static void wrong_chain_between_good_ones_waits_for_its_turn(void **state)
{
	open_tx();
	for (unsigned i = 0; i < 5; i++)
		packed_one(&r, i == 2 ? HOLE : BUF_GPA, 10, (uint16_t)i, 0);
	assert_int_equal(rig_pop(&r, 8), 2);
	assert_int_equal(rig_all_faults(&r), 0);
	assert_int_equal(rig_pop(&r, 8), 2);
	assert_int_equal(r.chains[0].head, 3);
	assert_int_equal(rig_fault(&r, XN_FAULT_addr_unmapped), 1);
	assert_int_equal(r.vq.outstanding, 4);
	rig_close(&r);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Every buffer of the largest ring is a table of as many entries without a byte. */
static void g27_long_tables_do_not_hold_a_call(void **state)
{
	const uint32_t size = XN_VQ_MAX_SIZE;
	uint64_t shortest = UINT64_MAX;
	uint32_t id, len, calls = 0, back = 0;

	packed_open(&r, size, XN_VQ_FROM_GUEST, RIG_INDIRECT, 5, true);
	for (unsigned i = 0; i < size; i++)
		put_entry(TABLE, i, BUF_GPA, 0, 0);
	for (unsigned i = 0; i < size; i++)
		packed_one(&r, TABLE, 16 * size, (uint16_t)i, INDIR);
	for (; calls < 100; calls++) {
		uint64_t t = now_ns();

		assert_int_equal(rig_pop(&r, 64), 0);
		shortest = XN_MIN(shortest, now_ns() - t);
		xn_vq_publish(&r.vq);
		assert_false(xn_vq_enable_kick(&r.vq));   /* there is more: nobody sleeps */
		while (packed_used(&r, &id, &len))
			assert_int_equal(id, back++);
	}
	assert_int_equal(back, rig_fault(&r, XN_FAULT_chain_empty));
	assert_true(back >= calls && back <= 3 * calls);
	/* Each call does the same; 65536 entries and one table are below 1 ms, but a
	 * sanitizer or a busy machine takes its share. */
	assert_true(shortest < 100000000u);
	rig_close(&r);
}

/* ---- any guest ---- */

static void pieces_are_guest_memory(const struct xn_chain *c)
{
	uint64_t bytes = 0;

	assert_true(c->n_pieces >= 1);
	for (unsigned i = 0; i < c->n_pieces; i++) {
		const struct xn_piece *q = &rig_pieces(&r, c)[i];
		bool inside = false;

		for (unsigned s = 0; s < r.mem.n_spans; s++) {
			uint64_t into = q->at.v - r.mem.spans[s].uoff;
			/* B and C touch, so that a piece may lie in both. */
			uint64_t room = s == 1 ? 0x20000 : r.mem.spans[s].bytes;

			inside |= into < room && q->len <= room - into;
		}
		assert_true(inside);
		assert_true(q->len > 0);
		bytes += q->len;
	}
	assert_int_equal(bytes, c->bytes);
}

/* Mostly plausible, so that chains get far; sometimes anything. */
static struct vring_packed_desc any_desc(uint64_t *seed, uint32_t size)
{
	static const uint64_t at[] = { BUF_GPA, B_GPA - 5, C_GPA - 5, D_GPA, UINT64_MAX - 5, HOLE,
				       TABLE, TABLE + 1024, B_GPA - 24, C_END - 8 };
	static const uint32_t len[] = { 0, 1, 16, 32, 64, 1500, 0x10000, MAX };
	uint32_t x = rig_random(seed), y = rig_random(seed);

	return (struct vring_packed_desc){
		.addr = at[(x >> 8) % XN_ARRAY_SIZE(at)],
		.len = len[(x >> 16) % XN_ARRAY_SIZE(len)],
		.flags = (uint16_t)(x & 3 ? 0 : x >> 24 & 7),
		.id = (uint16_t)(y & 0xfff ? y >> 12 : x) % (y & 0xfff ? size : 65536u),
	};
}

static uint16_t held[XN_VQ_MAX_SIZE];
static unsigned n_held;

/* What must hold at any time: the device is inside of its ring. */
static void books_balance(void)
{
	uint32_t sum = r.vq.outstanding + (uint16_t)(r.vq.used_next - r.vq.used_published);
	struct place at = { r.vq.pk.used_at & 0x7fff, r.vq.pk.used_at >> 15 };

	for (uint32_t i = 0; i < r.size; i++)
		sum += r.vq.pk.more[i];
	assert_int_equal(sum, r.vq.pk.slots_out);
	assert_true(r.vq.pk.slots_out <= r.size);
	place_move(&at, r.size, r.vq.pk.slots_out);
	assert_int_equal(place_base(at), r.vq.avail_next);
	assert_int_equal(r.vq.outstanding, n_held);
}

/* One step of the device: any of its calls. */
static void device_step(uint64_t *seed)
{
	unsigned n, k;

	switch (rig_random(seed) % 4) {
	case 0:
	case 1:
		n = rig_pop(&r, rig_random(seed) % 17);
		for (unsigned i = 0; i < n; i++)
			pieces_are_guest_memory(&r.chains[i]);
		k = n ? rig_random(seed) % (n + 1) : 0;
		xn_vq_unpop(&r.vq, r.chains + n - k, k);
		for (unsigned i = 0; i < n - k; i++)
			held[n_held++] = r.chains[i].head;
		break;
	case 2:
		for (k = rig_random(seed) % (n_held + 1); k; k--) {
			unsigned i = rig_random(seed) % n_held;

			xn_vq_push(&r.vq, held[i], 0);
			held[i] = held[--n_held];
		}
		break;
	default:
		xn_vq_publish(&r.vq);
		xn_vq_wants_irq(&r.vq);
	}
}

/* A ring that broke begins anew, at any place. */
static void begin_anew(uint64_t *seed, uint32_t size)
{
	const struct place at = { rig_random(seed) % size, rig_random(seed) & 1 };
	struct xn_vq_cfg cfg = packed_cfg(size, XN_VQ_FROM_GUEST, RIG_INDIRECT | RIG_EVENT,
					  place_base(at) | (uint32_t)place_base(at) << 16);

	xn_vq_fini(&r.vq);
	assert_int_equal(xn_vq_init(&r.vq, &r.mem, &r.ctr, &cfg), 0);
	p.avail = at;
	n_held = 0;
}

static void random_guests_for_a_million_steps(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 3, 5, 8, 13, 64 };
	uint64_t seed = 88172645463325252ull, stops = 0;

	for (unsigned k = 0; k < XN_ARRAY_SIZE(sizes); k++) {
		const uint32_t size = sizes[k];

		packed_open(&r, size, XN_VQ_FROM_GUEST, RIG_INDIRECT | RIG_EVENT, 0, true);
		n_held = 0;
		for (unsigned step = 0; step < 150000; step++) {
			const struct vring_packed_desc d = any_desc(&seed, size);
			uint32_t x = rig_random(&seed);

			if (x & 1) {
				packed_put(&r, 0, d.addr, d.len, d.id, d.flags);
				packed_offer(&r, d.id, 1);
			} else if (x & 2) {
				p.ring[(x >> 4) % size] = d;
				p.ring[(x >> 4) % size].flags |= (uint16_t)(x >> 8 & (P_AVAIL | P_USED));
			} else {
				rig_write(&r, TABLE + 16 * (x >> 4 & 3), &d, sizeof(d));
				memcpy(p.driver, &x, sizeof(x));
			}
			device_step(&seed);
			books_balance();
			if (r.vq.broken || !(x >> 2 & 0xff)) {
				stops += r.vq.broken != XN_FAULT_NONE;
				xn_vq_reclaim_all(&r.vq);
				nothing_is_out();
				begin_anew(&seed, size);
			}
		}
		rig_close(&r);
	}
	assert_true(stops > 1000);
}

/* ---- a driver in another thread, first a good one ---- */

#define T_SIZE  11u
#define T_COUNT 300000u

/* The device gives each buffer back with its own length, in batches, some out of order. */
static void *device_thread(void *arg)
{
	uint32_t *stop = arg;
	uint64_t s = 99;

	while (!xn_load_once32(stop)) {
		unsigned n = rig_pop(&r, 1 + rig_random(&s) % T_SIZE);

		for (unsigned i = 0; i < n; i++) {
			const struct xn_chain *c = &r.chains[i ^ (n & 1 ? 0 : 1)];

			xn_vq_push(&r.vq, c->head, c->bytes);
		}
		if (!xn_vq_publish(&r.vq))
			sched_yield();
	}
	return NULL;
}

static void a_driver_in_another_thread_misses_nothing(void **state)
{
	uint64_t seed = 0x2545f4914f6cdd1dull;
	uint32_t len_of[T_SIZE] = { 0 }, free_slots = T_SIZE, offered = 0, used = 0, stop = 0;
	pthread_t thread;

	packed_open(&r, T_SIZE, XN_VQ_TO_GUEST, 0, 4, true);
	assert_int_equal(pthread_create(&thread, NULL, device_thread, &stop), 0);
	while (used < T_COUNT) {
		uint32_t id, len;
		bool idle = true;

		for (id = 0; id < T_SIZE && offered < T_COUNT; id++) {
			uint32_t n = 1 + rig_random(&seed) % 3;

			if (len_of[id] || n > free_slots)
				continue;
			for (uint32_t i = 0; i < n; i++) {
				len = 1 + rig_random(&seed) % 1000;
				len_of[id] += len;
				packed_put(&r, i, BUF_GPA, len, (uint16_t)id, WRITE | (i + 1 < n ? NEXT : 0));
			}
			packed_offer(&r, (uint16_t)id, n);
			free_slots -= n;
			offered++;
			idle = false;
		}
		while (packed_used(&r, &id, &len)) {
			assert_true(id < T_SIZE);
			assert_true(len && len == len_of[id]);
			len_of[id] = 0;
			free_slots += p.last_slots;
			used++;
			idle = false;
		}
		if (idle)
			sched_yield();
	}
	xn_store_once32(&stop, 1);
	pthread_join(thread, NULL);
	assert_int_equal(rig_all_faults(&r), 0);
	nothing_is_out();
	rig_close(&r);
}

/* ---- memory that changes while it is read ---- */

#define M_SIZE   61u
#define M_TABLES 4u

static uint32_t stop_mutating;

/* Each field on its own, so that the device sees halves of old and new. */
static void put_desc(struct vring_packed_desc *d, struct vring_packed_desc v)
{
	xn_store_once32(&d->len, v.len);
	xn_store_once64((uint64_t *)&d->addr, v.addr);
	xn_store_once16(&d->id, v.id);
	xn_store_once16(&d->flags, v.flags);
}

static void *mutate(void *arg)
{
	struct place at = { 0, true };
	uint64_t seed = 88172645463325252ull;

	while (!xn_load_once32(&stop_mutating)) {
		uint32_t x = rig_random(&seed);
		struct vring_packed_desc *table = rig_at(&r, TABLE + 1024 * (x >> 8 & (M_TABLES - 1)));
		struct vring_packed_desc d = any_desc(&seed, M_SIZE);

		/* Round and round, as a driver would, so that the device goes on; and anywhere. */
		place_move(&at, M_SIZE, 1);
		d.flags |= place_flags(at);
		put_desc(&p.ring[at.slot], d);
		if (!(x & 0x70))
			put_desc(&p.ring[x % M_SIZE], any_desc(&seed, M_SIZE));
		put_desc(&table[x >> 16 & 3], any_desc(&seed, M_SIZE));
		if (!(x & 0x3000))
			xn_store_once32((uint32_t *)p.driver, rig_random(&seed));
	}
	return NULL;
}

static void mutating_guest_gets_nothing(void **state)
{
	const char *s = getenv("XN_MUTATE_SECONDS");
	uint64_t seconds = s ? strtoul(s, NULL, 10) : 2, end = now_ns() + 1000000000ull * seconds;
	uint64_t seed = 2463534242u, steps = 0, stops = 0;
	pthread_t thread;

	packed_open(&r, M_SIZE, XN_VQ_FROM_GUEST, RIG_INDIRECT | RIG_EVENT, 0, true);
	n_held = 0;
	stop_mutating = 0;
	assert_int_equal(pthread_create(&thread, NULL, mutate, NULL), 0);
	while (now_ns() < end) {
		for (unsigned turn = 0; turn < 256; turn++, steps++) {
			device_step(&seed);
			books_balance();
			if (r.vq.broken) {
				stops++;
				xn_vq_reclaim_all(&r.vq);
				nothing_is_out();
				begin_anew(&seed, M_SIZE);
			}
		}
	}
	xn_store_once32(&stop_mutating, 1);
	pthread_join(thread, NULL);
	print_message("%llu steps, %llu stops, %llu faults\n", (unsigned long long)steps,
		      (unsigned long long)stops, (unsigned long long)rig_all_faults(&r));
	assert_true(rig_all_faults(&r) > 100);
	xn_vq_reclaim_all(&r.vq);
	nothing_is_out();
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(g01_chain_without_an_end_breaks),
		cmocka_unit_test(g01_chain_into_slots_that_are_out_breaks),
		cmocka_unit_test(g01_more_than_the_ring_breaks),
		cmocka_unit_test(g01_more_than_the_ring_waits_behind_good_ones),
		cmocka_unit_test(g02_id_beyond_the_ring_breaks),
		cmocka_unit_test(g02_id_beyond_the_ring_waits_behind_good_ones),
		cmocka_unit_test(flags_of_another_lap_are_nothing),
		cmocka_unit_test(g05_id_offered_twice_comes_back_twice),
		cmocka_unit_test(id_offered_between_push_and_publish),
		cmocka_unit_test(g05_stop_with_an_id_offered_twice),
		cmocka_unit_test(stop_believes_no_id_that_was_changed),
		cmocka_unit_test(g08_chain_of_the_whole_ring_passes),
		cmocka_unit_test(g09_empty_descriptor_with_wild_address_is_skipped),
		cmocka_unit_test(g09_chain_without_a_byte_is_refused),
		cmocka_unit_test(g10_sum_of_lengths_beyond_32_bits),
		cmocka_unit_test(g11_address_that_wraps),
		cmocka_unit_test(g12_address_outside_of_guest_memory),
		cmocka_unit_test(g14_buffer_across_spans_is_cut_where_it_must),
		cmocka_unit_test(g15_table_across_two_spans),
		cmocka_unit_test(g16_table_outside_of_guest_memory),
		cmocka_unit_test(g18_indirect_without_the_feature),
		cmocka_unit_test(g19_g20_table_of_a_wrong_size),
		cmocka_unit_test(g21_flags_in_a_table_are_ignored),
		cmocka_unit_test(g22_indirect_in_a_chain),
		cmocka_unit_test(g26_descriptors_of_the_wrong_direction),
		cmocka_unit_test(g27_long_tables_do_not_hold_a_call),
		cmocka_unit_test(order_of_a_command),
		cmocka_unit_test(rx_header_is_refused_by_the_device),
		cmocka_unit_test(unknown_flags_are_ignored),
		cmocka_unit_test(chain_with_more_pieces_than_the_array_is_refused),
		cmocka_unit_test(many_wrong_chains_are_refused_a_ring_at_a_time),
		cmocka_unit_test(wrong_chain_between_good_ones_waits_for_its_turn),
		cmocka_unit_test(random_guests_for_a_million_steps),
		cmocka_unit_test(a_driver_in_another_thread_misses_nothing),
		cmocka_unit_test(mutating_guest_gets_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
