/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/packed.c that a driver cannot do harm with what it writes, as far as only
 * packed rings have it: what both kinds have is in test_vq_both_hostile.c, and what is expected
 * of each fault in hostile.h.
 *
 *   - faults of the ring itself: no end, more than there is room for, flags of another lap
 *   - a driver that gets its ids all wrong does not get the device's books wrong: what is
 *     taken and what is used stay within the ring
 *   - a good driver in another thread misses nothing (the barriers, with ThreadSanitizer)
 *   - random guests, for a million steps; and a thread that rewrites descriptors and tables all
 *     the time: nothing but pieces inside guest memory, and books that balance
 *     (XN_MUTATE_SECONDS, default 2)
 *
 * gNN_ in a name is the number of a case in the checklist of hostile rings.
 */
#include <pthread.h>
#include <sched.h>

#include "tests/unit/hostile.h"

#define SIZE 7u

/* A transmit queue with indirect tables, one slot in front of the ring's end. */
static void open_tx(void)
{
	packed_open(&r, SIZE, XN_VQ_FROM_GUEST, RIG_INDIRECT, SIZE - 1, true);
}

/* A chain of n descriptors with this id. */
static void offer_chain(uint16_t id, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++)
		packed_put(&r, i, BUF_GPA, len, id, i + 1 < n ? NEXT : 0);
	packed_offer(&r, id, n);
}

/* ---- the ring itself ---- */

static void g01_chain_without_an_end_breaks(void **state)
{
	open_tx();
	for (unsigned i = 0; i < SIZE; i++)
		packed_put(&r, i, BUF_GPA, 10, 0, NEXT);
	packed_offer(&r, 0, SIZE);
	broken_by("fault_avail_jump");
	rig_close(&r);
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
		rig_close(&r);
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
	rig_close(&r);
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
	rig_close(&r);
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
			offer_chain(2, first, 10);
			assert_int_equal(rig_pop(&r, 4), 1);
			offer_chain(2, second, 10);
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
				offer_chain(2, first, 100);
				assert_int_equal(rig_pop(&r, 4), 1);
				xn_vq_push(&r.vq, 2, 0);
				offer_chain(2, second, 100);
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
		offer_chain(2, first, 10);
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

/* ---- indirect tables ---- */

/* What a split ring allows (2.7.5.3.2), a packed one does not (2.8.19). */
static void g22_indirect_at_the_end_of_a_chain(void **state)
{
	open_tx();
	PUT_TABLE(TABLE, { BUF_GPA, 50, 0 });
	OFFER(0, { BUF_GPA, 50, 0 }, { TABLE, 16, INDIR });
	is_refused("fault_indirect_next");
	rig_close(&r);
}

/* 2.8.7: of the flags in a table only WRITE means something, and ids nothing. */
static void g21_flags_in_a_table_are_ignored(void **state)
{
	open_tx();
	PUT_TABLE(TABLE, { BUF_GPA, 50, INDIR | NEXT | P_AVAIL }, { BUF_GPA + 64, 5, NEXT | P_USED });
	offer1(0, TABLE, 32, INDIR | WRITE);
	passes(2, 55);
	PUT_TABLE(TABLE, { BUF_GPA, 50, INDIR | NEXT | P_AVAIL }, { BUF_GPA + 64, 5, WRITE });
	offer1(0, TABLE, 32, INDIR);
	is_refused("fault_writable");
	rig_close(&r);
}

/* ---- any guest ---- */

static struct vring_packed_desc any_desc(uint64_t *seed, uint32_t size)
{
	uint32_t x = rig_random(seed), y = rig_random(seed);
	const struct seg s = any_seg(x);

	return (struct vring_packed_desc){
		.addr = s.at, .len = s.len, .flags = x & 3 ? 0 : s.flags,
		.id = (uint16_t)(y & 0xfff ? y >> 12 : x) % (y & 0xfff ? size : 65536u),
	};
}

/* What must hold at any time: the device is inside of its ring. */
static void books_balance(void)
{
	uint32_t sum = r.vq.outstanding + (uint16_t)(r.vq.used_next - r.vq.used_published);
	struct place at = place_of(r.vq.pk.used_at);

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
	switch (rig_random(seed) % 4) {
	case 0:
	case 1:
		take_any(seed);
		break;
	case 2:
		give_some_back(seed);
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
	const uint64_t end = mutate_until();
	uint64_t seed = 2463534242u, steps = 0, stops = 0;
	pthread_t thread;

	packed_open(&r, M_SIZE, XN_VQ_FROM_GUEST, RIG_INDIRECT | RIG_EVENT, 0, true);
	n_held = 0;
	stop_mutating = 0;
	assert_int_equal(pthread_create(&thread, NULL, mutate, NULL), 0);
	while (now_ns() < end || (rig_all_faults(&r) <= 100 && now_ns() < end + PATIENCE_NS)) {
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
		RING_TEST(g01_chain_without_an_end_breaks, packed),
		RING_TEST(g01_chain_into_slots_that_are_out_breaks, packed),
		RING_TEST(g01_more_than_the_ring_breaks, packed),
		RING_TEST(g01_more_than_the_ring_waits_behind_good_ones, packed),
		RING_TEST(flags_of_another_lap_are_nothing, packed),
		RING_TEST(g05_id_offered_twice_comes_back_twice, packed),
		RING_TEST(id_offered_between_push_and_publish, packed),
		RING_TEST(g05_stop_with_an_id_offered_twice, packed),
		RING_TEST(stop_believes_no_id_that_was_changed, packed),
		RING_TEST(g21_flags_in_a_table_are_ignored, packed),
		RING_TEST(g22_indirect_at_the_end_of_a_chain, packed),
		RING_TEST(random_guests_for_a_million_steps, packed),
		RING_TEST(a_driver_in_another_thread_misses_nothing, packed),
		RING_TEST(mutating_guest_gets_nothing, packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
