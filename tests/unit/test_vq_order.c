/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that with VIRTIO_F_IN_ORDER buffers are used in the order in which they were made
 * available, whatever the order in which they are given back: after each publication the
 * driver has been told of exactly those that come before the first one that is still out.
 * The oracle is a list, and a driver that reads it off the ring as VIRTIO 1.3, 2.7.9 and 2.8.8
 * say. Split and packed rings, both directions.
 */
#include "tests/unit/packed_rig.h"

#define SIZE   64u
#define BYTES  100u
#define STEPS  40000u

static struct rig r;

/* What the driver has made available, in that order, by number. */
static struct {
	bool packed;
	enum xn_vq_dir dir;
	uint32_t offered, taken, used;     /* free running: [used, offered) is in the ring */
	struct {
		uint16_t head;
		uint32_t slots, len;       /* len: pushed with */
		bool pushed;
	} of[4 * SIZE];
	bool head_out[SIZE];
	uint32_t slots_free;
	uint64_t seed;
} book;
#define BOOK(n) book.of[(n) % (4 * SIZE)]

static uint32_t pick(uint32_t n)
{
	return rig_random(&book.seed) % n;
}

static void open_ring(bool packed, enum xn_vq_dir dir, uint64_t seed)
{
	struct xn_vq_cfg cfg = packed ? packed_cfg(SIZE - 1, dir, 0, XN_VRING_NEW_PACKED) :
					rig_cfg(SIZE, dir, 0, 0);

	cfg.in_order = true;
	memset(&book, 0, sizeof(book));
	book.packed = packed;
	book.dir = dir;
	book.seed = seed;
	book.slots_free = cfg.size;
	if (packed) {
		packed_open_cfg(&r, &cfg, 0, true);
		return;
	}
	rig_open(&r, SIZE, dir, 0, 0);
	xn_vq_fini(&r.vq);
	assert_int_equal(xn_vq_init(&r.vq, &r.mem, &r.ctr, &cfg), 0);
}

/* One chain of up to three descriptors; split rings: of one. */
static void offer(void)
{
	const uint16_t flags = book.dir == XN_VQ_TO_GUEST ? VRING_DESC_F_WRITE : 0;
	const uint32_t n = book.packed ? 1 + pick(3) : 1;
	uint16_t head = (uint16_t)pick(r.size);

	if (n > book.slots_free)
		return;
	while (book.head_out[head])
		head = (uint16_t)((head + 1) % r.size);
	book.head_out[head] = true;
	book.slots_free -= n;
	BOOK(book.offered).head = head;
	BOOK(book.offered).slots = n;
	BOOK(book.offered).pushed = false;
	book.offered++;
	if (!book.packed) {
		rig_desc(&r, head, BUF_GPA + 4096ull * head, BYTES, flags, 0);
		rig_offer(&r, head);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		packed_put(&r, i, BUF_GPA + 4096ull * head + 200 * i, BYTES, head,
			   (uint16_t)(flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0)));
	packed_offer(&r, head, n);
}

static void take(unsigned n)
{
	const unsigned got = rig_pop(&r, n);
	const unsigned keep = got && pick(4) == 0 ? pick(got) : got;

	for (unsigned i = 0; i < got; i++)
		assert_int_equal(r.chains[i].head, BOOK(book.taken + i).head);
	if (keep < got)
		xn_vq_unpop(&r.vq, r.chains + keep, got - keep);
	book.taken += keep;
}

/* Any one that is out. */
static void give_back(void)
{
	const uint32_t out = book.taken - book.used;
	uint32_t n, i;

	if (!out)
		return;
	for (i = 0, n = book.used + pick(out); i < out && BOOK(n).pushed; i++)
		n = n + 1 == book.taken ? book.used : n + 1;
	if (BOOK(n).pushed)
		return;
	BOOK(n).pushed = true;
	BOOK(n).len = book.dir == XN_VQ_TO_GUEST ? 1 + pick(BYTES) : 0;
	xn_vq_push(&r.vq, BOOK(n).head, BOOK(n).len);
}

/* The driver knows this one, and all before it, to be used. */
static void driver_learns(uint32_t head, uint32_t len)
{
	uint32_t n = book.used;

	while (n != book.offered && BOOK(n).head != head)
		n++;
	assert_true(n != book.offered);
	/* Lengths of what was written count, so none is left out. */
	if (book.dir == XN_VQ_TO_GUEST)
		assert_int_equal(n, book.used);
	assert_int_equal(len, BOOK(n).len);
	for (; book.used != n + 1; book.used++) {
		assert_true(BOOK(book.used).pushed);
		book.head_out[BOOK(book.used).head] = false;
		book.slots_free += BOOK(book.used).slots;
	}
}

/* A used entry stands where the first of its batch would; the next one behind the last. */
static void look_split(void)
{
	const uint16_t idx = xn_load_acquire16(&r.used->idx);
	const struct vring_used_elem *ring = (const void *)((const char *)r.used + 4);

	while (r.next_used != idx) {
		const struct vring_used_elem e = ring[r.next_used & (SIZE - 1)];
		const uint32_t before = book.used;

		driver_learns(e.id, e.len);
		r.next_used = (uint16_t)(r.next_used + (book.used - before));
	}
}

/* The same. */
static void look_packed(void)
{
	struct vring_packed_desc d;

	while (packed_next(&d)) {
		const uint32_t before = book.slots_free;

		driver_learns(d.id, d.flags & VRING_DESC_F_WRITE ? d.len : 0);
		place_move(&p.used, r.size, book.slots_free - before);
	}
}

static uint32_t first_that_is_out(void)
{
	uint32_t n = book.used;

	while (n != book.taken && BOOK(n).pushed)
		n++;
	return n;
}

static void publish(void)
{
	const uint32_t until = first_that_is_out(), before = book.used;
	const bool any = xn_vq_publish(&r.vq);

	assert_int_equal(any, until != before);
	if (book.packed)
		look_packed();
	else
		look_split();
	assert_int_equal(book.used, until);
}

static void play(bool packed, enum xn_vq_dir dir, uint64_t seed)
{
	uint32_t most = 0;

	open_ring(packed, dir, seed);
	for (unsigned i = 0; i < STEPS; i++) {
		switch (pick(5)) {
		case 0:
		case 1:
			offer();
			break;
		case 2:
			/* With something unpublished pushed nothing may be un-taken. */
			publish();
			take(1 + pick(8));
			break;
		case 3:
			give_back();
			break;
		default:
			publish();
		}
		most = XN_MAX(most, book.taken - book.used);
	}
	assert_true(book.used > STEPS / 20 && most > SIZE / 4);
	/* What is still out comes back with a stop, in order, or is un-taken. */
	publish();
	xn_vq_reclaim_all(&r.vq);
	for (uint32_t n = book.used; n != book.taken; n++)
		if (!BOOK(n).pushed) {
			BOOK(n).pushed = true;
			BOOK(n).len = 0;
		}
	if (book.packed)
		look_packed();
	else
		look_split();
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(rig_all_faults(&r), 0);
	if (packed)
		assert_int_equal(xn_vq_base(&r.vq) >> 16, xn_vq_base(&r.vq) & 0xffff);
	else
		assert_int_equal(xn_vq_base(&r.vq), r.used->idx);
	rig_close(&r);
}

static void split_rings_are_used_in_order(void **state)
{
	play(false, XN_VQ_TO_GUEST, 3);
	play(false, XN_VQ_FROM_GUEST, 5);
}

static void packed_rings_are_used_in_order(void **state)
{
	play(true, XN_VQ_TO_GUEST, 7);
	play(true, XN_VQ_FROM_GUEST, 11);
}

/* One that is wrong is given back at once, but not before its turn. */
static void a_chain_that_is_wrong_waits_for_its_turn(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		uint32_t head, len;

		open_ring(packed, XN_VQ_FROM_GUEST, 13);
		for (uint16_t i = 0; i < 3; i++) {
			const uint64_t at = i == 1 ? HOLE : BUF_GPA;

			if (packed) {
				packed_one(&r, at, BYTES, i, 0);
			} else {
				rig_desc(&r, i, at, BYTES, 0, 0);
				rig_offer(&r, i);
			}
		}
		assert_int_equal(rig_pop(&r, 3), 1);       /* in front of the wrong one */
		assert_int_equal(rig_pop(&r, 3), 1);       /* and behind it */
		assert_int_equal(rig_fault(&r, XN_FAULT_addr_unmapped), 1);
		assert_false(xn_vq_publish(&r.vq));
		xn_vq_push(&r.vq, 2, 0);
		assert_false(xn_vq_publish(&r.vq));
		xn_vq_push(&r.vq, 0, 0);
		assert_true(xn_vq_publish(&r.vq));
		assert_true(packed ? packed_used(&r, &head, &len) : rig_used(&r, &head, &len));
		assert_int_equal(head, 2);                  /* speaks for all three */
		if (!packed)
			assert_int_equal(r.used->idx, 3);
		rig_close(&r);
	}
}

/* A driver that offers more than a ring behind what it has seen is stopped: nothing more can
 * be kept back. */
static void more_than_a_ring_is_not_kept_back(void **state)
{
	open_ring(false, XN_VQ_FROM_GUEST, 17);
	for (uint16_t i = 0; i < SIZE; i++) {
		rig_desc(&r, i, BUF_GPA, BYTES, 0, 0);
		rig_offer(&r, i);
	}
	assert_int_equal(rig_pop(&r, SIZE), SIZE);
	for (uint16_t i = 1; i < SIZE; i++)
		xn_vq_push(&r.vq, i, 0);
	assert_false(xn_vq_publish(&r.vq));
	rig_offer(&r, 5);
	assert_int_equal(rig_pop(&r, SIZE), 0);
	assert_int_equal(r.vq.broken, XN_FAULT_avail_jump);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_rings_are_used_in_order),
		cmocka_unit_test(packed_rings_are_used_in_order),
		cmocka_unit_test(a_chain_that_is_wrong_waits_for_its_turn),
		cmocka_unit_test(more_than_a_ring_is_not_kept_back),
	};

	return cmocka_run_group_tests_name("vq, in order", tests, NULL, NULL);
}
