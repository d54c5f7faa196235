/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/vq.c that a driver that keeps to the standard is served well, as far as
 * only split rings have it: what both kinds have is in test_vq_both.c.
 *
 *   - set-up: alignments, places; the used index is the ring's
 *   - notifications are given as VIRTIO 1.2, 2.7.7 and 2.7.10 say, at every offset to the wrap
 */
#include <stdlib.h>

#include "tests/unit/ring.h"

static uint64_t seed = 0x2545f4914f6cdd1dull;

/* ---- set-up ---- */

static void rings_are_aligned_and_in_one_span(void **state)
{
	const uint64_t desc = 16 * 256, avail = 6 + 2 * 256, used = 6 + 8 * 256;
	const struct rig_places t[] = {
		{ A_GPA, B_GPA, C_GPA, NULL },
		{ B_GPA - desc, C_GPA, A_GPA, NULL },
		{ A_GPA, B_GPA - avail, C_GPA, NULL },
		{ A_GPA, B_GPA, C_END - XN_ALIGN_UP(used, 4), NULL },
		{ A_GPA, A_GPA + desc, A_GPA + desc + 520, NULL },
		{ 0 - desc, A_GPA, B_GPA, NULL },                 /* ends with the address space */
		{ A_GPA + 8, B_GPA, C_GPA, "descriptor" },
		{ A_GPA, B_GPA + 1, C_GPA, "available" },
		{ A_GPA, B_GPA, C_GPA + 2, "used" },
		{ B_GPA - desc + 16, C_GPA, A_GPA, "descriptor" },   /* across two spans */
		{ A_GPA, B_GPA - avail + 2, C_GPA, "available" },     /* just used_event is not */
		{ A_GPA, B_GPA, C_END - used + 2, "used" },
		{ A_GPA, B_GPA, C_GPA - XN_ALIGN_UP(used, 4) + 4, "used" },   /* touching spans */
		{ HOLE, B_GPA, C_GPA, "descriptor" },
		{ A_GPA, HOLE, C_GPA, "available" },
		{ A_GPA, B_GPA, HOLE, "used" },
		{ A_GPA, B_GPA, 0, "used" },
		{ 0 - desc + 16, A_GPA, B_GPA, "descriptor" },       /* wraps */
	};

	rig_open(&r, 1, XN_VQ_TO_GUEST, 0, 0);
	rig_try_places(&r, rig_cfg(256, XN_VQ_TO_GUEST, 0, 0), t, XN_ARRAY_SIZE(t));
	rig_close(&r);
}

static void set_up_goes_on_from_the_used_index(void **state)
{
	const struct xn_vq_cfg cfg = rig_cfg(256, XN_VQ_TO_GUEST, RIG_EVENT, 1234);
	struct xn_vq vq;

	rig_open(&r, 256, XN_VQ_TO_GUEST, 0, 0);
	r.used->idx = 65534;
	assert_int_equal(xn_vq_init(&vq, &r.mem, &r.ctr, &cfg), 0);
	assert_int_equal(vq.used_next, 65534);
	assert_int_equal(vq.avail_next, 1234);
	assert_false(xn_vq_publish(&vq));
	xn_vq_fini(&vq);
	assert_int_equal(r.used->idx, 65534);
	rig_close(&r);
}

/* ---- notifications to the guest ---- */

/* 2.7.10: the event is due when the entry with index used_event is among the new ones. */
static void event_idx_at_every_offset_to_the_wrap(void **state)
{
	for (unsigned base = 65520; base < 65536 + 8; base++)
		for (unsigned n = 1; n <= 16; n++)
			for (int event = -20; event <= 20; event++) {
				bool due = event >= 0 && event < (int)n;

				rig_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, (uint16_t)base);
				r.avail[2 + 16] = (uint16_t)(base - 1);
				r.vq.used_signalled = (uint16_t)base;   /* all told so far */
				use(n);
				r.avail[2 + 16] = (uint16_t)(base + (unsigned)event);
				assert_int_equal(xn_vq_wants_irq(&r.vq), due);
				assert_false(xn_vq_wants_irq(&r.vq));   /* decided, once */
				rig_close(&r);
			}
}

static void no_interrupt_flag_is_obeyed_without_event_idx(void **state)
{
	rig_open(&r, 16, XN_VQ_FROM_GUEST, 0, 65530);
	for (unsigned i = 0; i < 20; i++) {
		use(3);
		r.avail[0] = i & 1 ? VRING_AVAIL_F_NO_INTERRUPT : 0;
		r.avail[2 + 16] = (uint16_t)rig_random(&seed);   /* means nothing */
		assert_int_equal(xn_vq_wants_irq(&r.vq), !(i & 1));
		assert_false(xn_vq_wants_irq(&r.vq));
	}
	rig_close(&r);
}

static void flag_is_not_looked_at_with_event_idx(void **state)
{
	rig_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, 0);
	r.avail[0] = VRING_AVAIL_F_NO_INTERRUPT;
	r.avail[2 + 16] = 0;
	use(1);
	assert_true(xn_vq_wants_irq(&r.vq));
	rig_close(&r);
}

/* A back end that died after publish and before the notification. */
static void untold_entries_of_an_earlier_back_end_are_told(void **state)
{
	struct xn_vq_cfg cfg = rig_cfg(16, XN_VQ_FROM_GUEST, RIG_EVENT, 65534);

	for (unsigned behind = 1; behind <= 16; behind++) {
		rig_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, 65534);
		r.avail[2 + 16] = (uint16_t)(65534 - behind);   /* waits for this one */
		use(1);
		assert_true(xn_vq_wants_irq(&r.vq));
		use(1);
		assert_false(xn_vq_wants_irq(&r.vq));
		rig_close(&r);
	}
	/* One that waits for a later entry is left alone, also at first. */
	rig_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, cfg.base);
	r.avail[2 + 16] = (uint16_t)(cfg.base + 1);
	use(1);
	assert_false(xn_vq_wants_irq(&r.vq));
	use(1);
	assert_true(xn_vq_wants_irq(&r.vq));
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(rings_are_aligned_and_in_one_span, split),
		RING_TEST(set_up_goes_on_from_the_used_index, split),
		RING_TEST(event_idx_at_every_offset_to_the_wrap, split),
		RING_TEST(no_interrupt_flag_is_obeyed_without_event_idx, split),
		RING_TEST(flag_is_not_looked_at_with_event_idx, split),
		RING_TEST(untold_entries_of_an_earlier_back_end_are_told, split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
