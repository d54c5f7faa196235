/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/packed.c that a driver that keeps to the standard is served well, as far as
 * only packed rings have it: what both kinds have is in test_vq_both.c.
 *
 *   - set-up: alignments, places, bases
 *   - notifications are given as VIRTIO 1.3, 2.8.10 says, at every place of small rings, in both
 *     laps
 */
#include <stdlib.h>

#include "tests/unit/ring.h"

/* ---- set-up ---- */

static void parts_are_aligned_and_in_one_span(void **state)
{
	const uint64_t bytes = 16 * 300;
	const struct rig_places t[] = {
		{ A_GPA, B_GPA, C_GPA, NULL },
		{ B_GPA - bytes, B_GPA - bytes - 4, B_GPA, NULL },
		{ 0 - bytes, B_GPA - 4, C_END - 4, NULL },            /* ends with the address space */
		{ A_GPA + 8, B_GPA, C_GPA, "descriptor ring" },
		{ A_GPA, B_GPA + 2, C_GPA, "driver" },
		{ A_GPA, B_GPA, C_GPA + 2, "device" },
		{ B_GPA - bytes + 16, C_GPA, A_GPA, "descriptor ring" },   /* across two spans */
		{ HOLE, B_GPA, C_GPA, "descriptor ring" },
		{ A_GPA, HOLE, C_GPA, "driver" },
		{ A_GPA, B_GPA, C_END, "device" },
		{ 0 - bytes + 16, A_GPA, B_GPA, "descriptor ring" },       /* wraps */
		{ A_GPA, A_GPA + bytes - 4, B_GPA, "overlap" },
		{ A_GPA, B_GPA, A_GPA, "overlap" },
		{ A_GPA, B_GPA, B_GPA, "overlap" },
	};

	packed_open(&r, 1, XN_VQ_TO_GUEST, 0, 0, true);
	rig_try_places(&r, packed_cfg(300, XN_VQ_TO_GUEST, 0, XN_VRING_NEW_PACKED), t,
		       XN_ARRAY_SIZE(t));
	rig_close(&r);
}

/* All of them for a ring of 3: a base is good if the used position, gone forth by 0 to 3
 * slots, is the available one. */
static void bases_that_cannot_be_are_refused(void **state)
{
	packed_open(&r, 1, XN_VQ_TO_GUEST, 0, 0, true);
	for (uint32_t used = 0; used < 0x10000; used++)
		for (uint32_t avail = 0; avail < 0x10000; avail++) {
			struct xn_vq_cfg cfg = packed_cfg(3, XN_VQ_TO_GUEST, 0, used << 16 | avail);
			struct place at = place_of((uint16_t)used);
			bool good = false;

			if ((used & 0x7fff) == 5)
				used += 0x7fff - 6;   /* those in between are like their neighbours */
			if ((avail & 0x7fff) == 5)
				avail += 0x7fff - 6;
			cfg.base = used << 16 | avail;
			if (!used)
				at = place_of((uint16_t)avail);
			for (unsigned i = 0; i <= 3 && at.slot < 3; i++, place_move(&at, 3, 1))
				good |= place_base(at) == avail;
			assert_int_equal(rig_try(&r, &cfg), good ? 0 : -EINVAL);
		}
	rig_close(&r);
}

/* Front ends that know of the available position only. */
static void the_used_position_may_be_left_out(void **state)
{
	const struct xn_vq_cfg cfg = packed_cfg(300, XN_VQ_TO_GUEST, RIG_EVENT, 0x8003);
	struct xn_vq vq;

	packed_open(&r, 1, XN_VQ_TO_GUEST, 0, 0, true);
	assert_int_equal(xn_vq_init(&vq, &r.mem, &r.ctr, &cfg), 0);
	assert_int_equal(xn_vq_base(&vq), 0x80038003);
	xn_vq_fini(&vq);
	rig_close(&r);
}

/* ---- notifications to the guest ---- */

static void drain_used(void)
{
	uint32_t id, len;

	while (packed_used(&r, &id, &len))
		;
}

/* The event is due when the slot it names is among the new ones, in the lap it names. */
static void event_at_every_place_of_the_ring(void **state)
{
	for (uint32_t size = 1; size <= 7; size++)
		for (uint32_t from = 0; from < 2 * size; from++)
			for (unsigned n = 1; n <= size; n++)
				for (uint32_t event = 0; event < 2 * (size + 3); event++) {
					const uint32_t slot = event % (size + 3);
					struct place at = { from % size, from >= size };
					bool wrap = event >= size + 3, due = false;

					packed_open(&r, size, XN_VQ_FROM_GUEST, RIG_EVENT, at.slot, at.wrap);
					r.vq.pk.untold = 0;     /* all told so far */
					p.driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
					p.driver->off_wrap = (uint16_t)(slot | (wrap ? 0x8000 : 0));
					use(n);
					for (unsigned i = 0; i < n; i++, place_move(&at, size, 1))
						due |= at.slot == slot && at.wrap == wrap;
					assert_int_equal(xn_vq_wants_irq(&r.vq), due);
					assert_false(xn_vq_wants_irq(&r.vq));   /* decided, once */
					rig_close(&r);
				}
}

/* What was not asked for in several publications is not forgotten. */
static void slots_add_up_until_somebody_asks(void **state)
{
	packed_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, 14, true);
	p.driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
	p.driver->off_wrap = 15 | 0x8000;
	r.vq.pk.untold = 0;
	use(1);
	drain_used();
	use(3);
	drain_used();
	use(2);
	assert_true(xn_vq_wants_irq(&r.vq));
	rig_close(&r);
}

/* A chain passes the event by with all of its slots. */
static void event_inside_of_a_chain(void **state)
{
	for (unsigned event = 0; event < 8; event++) {
		packed_open(&r, 8, XN_VQ_FROM_GUEST, RIG_EVENT, 2, true);
		r.vq.pk.untold = 0;
		p.driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
		p.driver->off_wrap = (uint16_t)(event | 0x8000);
		OFFER(5, { BUF_GPA, 10, 0 }, { BUF_GPA, 10, 0 }, { BUF_GPA, 10, 0 });
		assert_int_equal(rig_pop(&r, 2), 1);
		xn_vq_push(&r.vq, 5, 0);
		assert_true(xn_vq_publish(&r.vq));
		assert_int_equal(xn_vq_wants_irq(&r.vq), event >= 2 && event <= 4);
		rig_close(&r);
	}
}

static void enable_and_disable_are_obeyed_and_nonsense_is_no_silence(void **state)
{
	for (unsigned flags = 0; flags <= RIG_EVENT; flags += RIG_EVENT)
		for (unsigned wish = 0; wish < 8; wish++) {
			bool silent = (wish & 3) == VRING_PACKED_EVENT_FLAG_DISABLE ||
				      ((wish & 3) == VRING_PACKED_EVENT_FLAG_DESC && flags);

			packed_open(&r, 16, XN_VQ_FROM_GUEST, flags, 3, true);
			r.vq.pk.untold = 0;
			p.driver->off_wrap = 9 | 0x8000;   /* not reached */
			p.driver->flags = (uint16_t)wish;  /* reserved bits mean nothing */
			use(2);
			assert_int_equal(xn_vq_wants_irq(&r.vq), !silent);
			assert_false(xn_vq_wants_irq(&r.vq));
			rig_close(&r);
		}
}

/* A back end that died after publish and before the notification. */
static void untold_slots_of_an_earlier_back_end_are_told(void **state)
{
	for (unsigned behind = 0; behind < 32; behind++) {
		struct place at = { 15, false };

		packed_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, 14, true);
		p.driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
		/* From the slot that is used next, 15 back; then it is one of the next lap. */
		place_move(&at, 16, behind);
		p.driver->off_wrap = place_base(at);
		use(1);
		assert_int_equal(xn_vq_wants_irq(&r.vq), behind <= 15);
		use(1);
		assert_int_equal(xn_vq_wants_irq(&r.vq), behind == 16);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(parts_are_aligned_and_in_one_span, packed),
		RING_TEST(bases_that_cannot_be_are_refused, packed),
		RING_TEST(the_used_position_may_be_left_out, packed),
		RING_TEST(event_at_every_place_of_the_ring, packed),
		RING_TEST(slots_add_up_until_somebody_asks, packed),
		RING_TEST(event_inside_of_a_chain, packed),
		RING_TEST(enable_and_disable_are_obeyed_and_nonsense_is_no_silence, packed),
		RING_TEST(untold_slots_of_an_earlier_back_end_are_told, packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
