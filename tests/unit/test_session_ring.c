/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of a vhost-user session what it says of rings: their numbers and places, when they start and
 * stop, what they do meanwhile, faults of the guest, resets, the control queue.
 */
#include "tests/unit/session_rig.h"

/* ---- rings ---- */

static void bad_numbers_of_rings_are_refused(void **state)
{
	const uint32_t sizes[] = { 0, 3, 255, 32769, 65535, 65536, 0x10100, 0xffffffff };
	const uint32_t indices[] = { 3, 4, 255, 256, 0x10000, 0x10001, 0xffffffff };
	const uint64_t words[] = { 3, 255, 0x200, 0x10000, 1ull << 32, 1ull << 63, ~0ull };
	const uint32_t events[] = { XN_VU_SET_VRING_KICK, XN_VU_SET_VRING_CALL,
				    XN_VU_SET_VRING_ERR };
	struct rig r;
	unsigned before;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	before = open_fds();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++)
		assert_false(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, sizes[i]));
	for (uint32_t size = 1; size <= 32768; size *= 2)
		assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 2, size));
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_BASE, 0, 65536));
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_BASE, 0, 65535));
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_ENABLE, 0, 2));
	for (unsigned i = 0; i < XN_ARRAY_SIZE(indices); i++) {
		struct xn_vu_vring_addr addr = { .index = indices[i], .desc = USER,
						 .avail = USER + 0x1000, .used = USER + 0x2000 };

		assert_false(state_says_yes(&r, XN_VU_SET_VRING_NUM, indices[i], 256));
		assert_false(state_says_yes(&r, XN_VU_SET_VRING_BASE, indices[i], 0));
		assert_false(state_says_yes(&r, XN_VU_SET_VRING_ENABLE, indices[i], 1));
		assert_false(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0));
	}
	for (unsigned k = 0; k < XN_ARRAY_SIZE(events); k++) {
		const uint64_t none = XN_VU_VRING_NOFD, some = 0;

		for (unsigned i = 0; i < XN_ARRAY_SIZE(words); i++)
			assert_false(rig_says_yes(&r, events[k], &words[i], 8, &r.kick[0], 1));
		assert_false(rig_says_yes(&r, events[k], &none, 8, &r.kick[0], 1));
		assert_false(rig_says_yes(&r, events[k], &some, 8, NULL, 0));
	}
	assert_int_equal(open_fds(), before);
	rig_close(&r);
}

static bool addr_says_yes(struct rig *r, uint64_t desc, uint64_t avail, uint64_t used)
{
	const struct xn_vu_vring_addr a = { .index = 0, .desc = desc, .avail = avail, .used = used };

	return rig_says_yes(r, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
}

static void rings_lie_in_memory_or_nowhere(void **state)
{
	const uint64_t d = USER, a = USER + 0x1000, u = USER + 0x2000, end = USER + RAM;
	struct xn_vu_vring_addr flags = { .index = 0, .flags = 2, .desc = d, .avail = a, .used = u };
	struct front_region half[2];
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 256));
	assert_false(addr_says_yes(&r, d, a, u));                /* no memory yet */
	rig_set_mem(&r);
	assert_true(addr_says_yes(&r, d, a, u));
	assert_false(addr_says_yes(&r, d + 8, a, u));
	assert_false(addr_says_yes(&r, d, a + 1, u));
	assert_false(addr_says_yes(&r, d, a, u + 2));
	assert_false(addr_says_yes(&r, 0, a, u));
	assert_false(addr_says_yes(&r, d, 0, u));
	assert_false(addr_says_yes(&r, d, a, 0));
	assert_false(addr_says_yes(&r, d - 16, a, u));
	assert_false(addr_says_yes(&r, end, a, u));
	assert_false(addr_says_yes(&r, end - 4096 + 16, a, u));
	assert_true(addr_says_yes(&r, end - 4096, a, u));
	assert_false(addr_says_yes(&r, d, end - 516, u));
	assert_true(addr_says_yes(&r, d, end - 518, u));
	assert_false(addr_says_yes(&r, d, a, end - 2052));
	assert_true(addr_says_yes(&r, d, a, end - 2056));
	assert_false(addr_says_yes(&r, ~15ull, a, u));
	assert_false(addr_says_yes(&r, d, ~1ull, u));
	assert_false(addr_says_yes(&r, d, a, ~3ull));
	assert_false(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &flags, sizeof(flags), NULL, 0));
	flags.flags = XN_VU_VRING_LOG;
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &flags, sizeof(flags), NULL, 0));

	/* Neighbours for the guest, not for the front end. */
	half[0] = half[1] = rig_region(&r);
	half[0].size = half[1].size = RAM / 2;
	half[1].gpa = half[1].offset = RAM / 2;
	half[1].user_addr = USER + RAM;
	assert_int_equal(front_set_mem(&r.f, half, 2), 0);
	assert_false(addr_says_yes(&r, USER + RAM / 2 - 2048, a, u));
	assert_false(addr_says_yes(&r, USER + RAM / 2, a, u));
	assert_true(addr_says_yes(&r, USER + RAM, a, u));
	rig_close(&r);
}

/* The size comes after the addresses, and is too large for them. */
static void a_ring_that_does_not_fit_is_not_started(void **state)
{
	const uint64_t index = 0;
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	assert_true(addr_says_yes(&r, USER + RAM - 4096, USER + 0x1000, USER + 0x2000));
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 512));
	assert_false(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &index, 8, &r.kick[0], 1));
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 256));
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &index, 8, &r.kick[0], 1));
	rig_close(&r);
}

static void a_ring_that_runs_does_not_change(void **state)
{
	struct rig r;

	rig_run(&r, "loopback");
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 128));
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_BASE, 0, 7));
	assert_false(addr_says_yes(&r, USER + 0x10000, USER + 0x1000, USER + 0x2000));
	/* QEMU sends the same place again. */
	assert_true(addr_says_yes(&r, USER, USER + 0x1000, USER + 0x2000));
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void the_base_is_where_to_go_on(void **state)
{
	struct rig r;
	uint32_t base;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	/* Never started: what was set. */
	assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
	assert_int_equal(base, 0);
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_BASE, 0, 4711));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
		assert_int_equal(base, 4711);
	}
	/* Buffers that were lent come back: they count as not taken. */
	rig_start_pair(&r, 0);
	for (unsigned i = 0; i < 20; i++)
		drv_post1(&r.drv, 0, 0x100000 + 4096 * i, 2048);
	rig_kick(&r, 0);
	usleep(20000);
	assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
	assert_int_equal(base, 0);
	assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
	assert_int_equal(base, 0);
	assert_true(rig_send(&r, 0));
	assert_int_equal(front_stop_ring(&r.f, 1, &base), 0);
	assert_int_equal(base, 1);
	rig_close(&r);
}

static void a_ring_alone_starts_after_a_while(void **state)
{
	struct rig r;
	uint64_t began;
	unsigned early;
	uint16_t head;
	uint32_t len;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	began = xn_now_ns();
	rig_start_ring(&r, 1, 0);
	assert_int_equal(front_enable_ring(&r.f, 1, true), 0);
	early = rig_info(&r).running;
	/* Unless the machine has slept for so long itself. */
	if (xn_now_ns() - began < XN_VDEV_GRACE_MS * 1000000ull)
		assert_int_equal(early, 0);
	rig_wait_running(&r, 1);
	assert_true(xn_now_ns() - began >= XN_VDEV_GRACE_MS * 1000000ull);
	assert_true(rig_send(&r, 0));
	/* The other comes: at once, both. */
	rig_start_ring(&r, 0, 0);
	assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
	rig_ping(&r, 0, 100);
	/* And goes: the first stays, after a while. */
	drv_post1(&r.drv, 0, 0x100000, 2048);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	rig_wait_running(&r, 1);
	assert_true(rig_send(&r, 0));
	assert_false(drv_used(&r.drv, 0, &head, &len));
	rig_close(&r);
}

/* What is told after the kick may complete a ring, too. */
static void the_order_of_messages_does_not_matter(void **state)
{
	const uint64_t rx = 0, tx = 1;
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &rx, 8, &r.kick[0], 1));
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &tx, 8, &r.kick[1], 1));
	rig_set_mem(&r);
	for (uint32_t i = 0; i < 2; i++) {
		const struct xn_vring v = drv_vring(i);
		const struct xn_vu_vring_addr a = { .index = i, .desc = USER + v.desc_gpa,
						    .avail = USER + v.avail_gpa,
						    .used = USER + v.used_gpa };

		assert_true(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
		assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, i, v.size));
		assert_int_equal(front_enable_ring(&r.f, i, true), 0);
	}
	rig_wait_running(&r, 1);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void eventfds_change_while_the_ring_runs(void **state)
{
	const uint64_t rx = 0, none = XN_VU_VRING_NOFD;
	struct rig r;

	rig_run(&r, "loopback");
	rig_ping(&r, 0, 100);
	assert_true(rig_wait_signal(r.call[0]));
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_CALL, &rx, 8, &r.call[5], 1));
	rig_ping(&r, 0, 100);
	assert_true(rig_wait_signal(r.call[5]));
	assert_false(signalled(r.call[0]));
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_CALL, &none, 8, NULL, 0));
	rig_ping(&r, 0, 100);
	assert_false(signalled(r.call[5]));
	/* Who stops polling is woken once: something may have come meanwhile. */
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_CALL, &rx, 8, &r.call[6], 1));
	assert_true(rig_wait_signal(r.call[6]));
	/* Another kick. */
	assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &rx, 8, &r.kick[5], 1));
	rig_ping(&r, 0, 100);
	assert_int_equal(rig_info(&r).running, 1);
	rig_close(&r);
}

static void rings_without_kick_are_polled(void **state)
{
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	for (unsigned i = 0; i < 2; i++) {
		struct front_ring ring = rig_ring(&r, i, 0);

		ring.kick_fd = ring.call_fd = ring.err_fd = -1;
		assert_int_equal(front_start_ring(&r.f, &ring), 0);
		assert_int_equal(front_enable_ring(&r.f, i, true), 0);
	}
	for (unsigned i = 0; i < 5; i++) {
		usleep(5000);
		rig_ping(&r, 0, 100);
	}
	rig_close(&r);
}

static void a_disabled_ring_drops(void **state)
{
	struct rig r;
	uint64_t was;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	rig_start_ring(&r, 0, 0);
	rig_start_ring(&r, 1, 0);
	rig_wait_running(&r, 1);          /* in a while, enabled or not */
	assert_true(rig_send(&r, 0));
	assert_int_equal(rig_stat(&r, 0, "tx_drop_disabled"), 1);
	assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
	assert_int_equal(front_enable_ring(&r.f, 1, true), 0);
	rig_ping(&r, 0, 100);
	assert_int_equal(front_enable_ring(&r.f, 0, false), 0);
	was = rig_stat(&r, 0, "rx_packets");
	drv_post1(&r.drv, 0, 0x180000, 2048);
	rig_kick(&r, 0);
	assert_true(rig_send(&r, 0));
	assert_int_equal(rig_stat(&r, 0, "rx_packets"), was);
	/* All of them at once, as old front ends did. */
	assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
	assert_int_equal(front_set(&r.f, XN_VU_RESET_OWNER, NULL, 0, NULL, 0), 0);
	was = rig_stat(&r, 0, "tx_drop_disabled");
	assert_true(rig_send(&r, 0));
	assert_int_equal(rig_stat(&r, 0, "tx_drop_disabled"), was + 1);
	rig_close(&r);
}

/* Front ends start both rings, then enable them. A driver that goes on after a reconnect
 * has packets waiting all the while. */
static void what_waits_for_rings_to_be_enabled_is_sent(void **state)
{
	unsigned in_time = 0;
	struct rig r;

	for (unsigned i = 0; i < 20 || !in_time; i++) {
		uint64_t began;

		rig_open(&r, "null", 1);
		rig_negotiate(&r);
		rig_set_mem(&r);
		memset(r.drv.ram + 0x200000, 0, 12);
		drv_post1(&r.drv, 1, 0x200000, 72);
		began = xn_now_ns();
		rig_start_ring(&r, 0, 0);
		rig_start_ring(&r, 1, 0);
		assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
		assert_int_equal(front_enable_ring(&r.f, 1, true), 0);
		assert_int_equal(rig_info(&r).running, 1);
		/* On a busy machine the grace may be over before. */
		if (xn_now_ns() - began < XN_VDEV_GRACE_MS * 1000000ull) {
			while (!rig_stat(&r, 0, "tx_packets"))
				assert_int_equal(rig_stat(&r, 0, "tx_drop_disabled"), 0);
			in_time++;
		}
		rig_close(&r);
	}
}

/* The parts of a ring lie on each other: found out at the start. */
static void a_ring_that_cannot_start_is_told_by_its_eventfd(void **state)
{
	struct front_ring ring;
	struct rig r;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	assert_int_equal(front_enable_ring(&r.f, 0, true), 0);
	assert_int_equal(front_enable_ring(&r.f, 1, true), 0);
	rig_start_ring(&r, 0, 0);
	ring = rig_ring(&r, 1, 0);
	ring.avail = ring.desc;
	assert_int_equal(front_start_ring(&r.f, &ring), -EREMOTEIO);
	assert_true(rig_wait_signal(r.err[1]));
	assert_false(signalled(r.err[0]));
	rig_wait_running(&r, 1);          /* the other one, alone */
	r.f.need_reply = false;
	assert_int_equal(front_start_ring(&r.f, &ring), 0);
	assert_true(rig_wait_signal(r.err[1]));
	r.f.need_reply = true;
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	rig_start_ring(&r, 0, 0);
	fail_starts(1);
	ring = rig_ring(&r, 1, 0);
	assert_int_equal(front_start_ring(&r.f, &ring), -EREMOTEIO);
	assert_true(rig_wait_signal(r.err[1]));
	rig_wait_running(&r, 1);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 100);

	/* Alone, and nobody asks. */
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	fail_starts(1);
	assert_int_equal(front_start_ring(&r.f, &ring), 0);
	assert_true(rig_wait_signal(r.err[1]));
	assert_int_equal(rig_info(&r).running, 0);
	rig_close(&r);
}

/* ---- faults of the guest, status, reset ---- */

static void a_broken_ring_is_told_and_begins_anew(void **state)
{
	struct rig r;
	uint64_t status;

	rig_run(&r, "loopback");
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_STATUS, 15), 0);
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_STATUS, &status), 0);
	assert_int_equal(status, 15);
	drv_avail(&r.drv, 0)->idx = 5000;
	rig_kick(&r, 0);
	assert_true(rig_wait_signal(r.err[0]));
	rig_kick(&r, 0);
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_STATUS, &status), 0);
	assert_int_equal(status, 15 | XN_VU_STATUS_NEEDS_RESET);
	assert_int_equal(rig_info(&r).broken, 1);
	/* A front end that adds to the status sends that bit back. */
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_STATUS, status), 0);
	assert_true(rig_send(&r, 0));     /* the other ring goes on */
	assert_false(signalled(r.err[0]));
	assert_false(signalled(r.err[1]));

	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	drv_reset_rings(&r.drv, 1);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 100);
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_STATUS, &status), 0);
	assert_int_equal(status, 15);
	assert_int_equal(front_set_u64(&r.f, XN_VU_SET_STATUS, 256), -EREMOTEIO);
	rig_close(&r);
}

static void reset_in_traffic(struct rig *r, int request, unsigned bytes)
{
	const uint64_t zero = 0;
	struct guest g = { .r = r };
	pthread_t guest;
	uint32_t base;

	assert_int_equal(pthread_create(&guest, NULL, ping_on, &g), 0);
	await_pings(&g, 2);
	assert_true(rig_says_yes(r, (unsigned)request, &zero, bytes, NULL, 0));
	assert_int_equal(rig_info(r).running, 0);
	xn_store_release32(&g.stop, 1);
	pthread_join(guest, NULL);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(front_stop_ring(&r->f, i, &base), 0);
		assert_int_equal(base, 0);
	}
	drv_reset_rings(&r->drv, 1);
}

/* Each stop waits for the kernel: one for all of them takes no longer than one. */
static void pairs_are_stopped_together(void **state)
{
	struct rig r;

	rig_open(&r, "loopback:queues=4", 4);
	rig_negotiate(&r);
	rig_set_mem(&r);
	for (unsigned p = 0; p < 4; p++)
		rig_start_pair(&r, p);
	assert_int_equal(rig_info(&r).running, 4);
	xn_store_once32(&stops_one_by_one, 0);
	assert_true(rig_says_yes(&r, XN_VU_RESET_DEVICE, NULL, 0, NULL, 0));
	assert_int_equal(rig_info(&r).running, 0);
	assert_in_range(xn_load_once32(&stops_one_by_one), 0, 1);
	drv_reset_rings(&r.drv, 4);
	for (unsigned p = 0; p < 4; p++)
		rig_start_pair(&r, p);
	rig_ping(&r, 3, 100);
	xn_store_once32(&stops_one_by_one, 0);
	rig_close(&r);
	assert_in_range(xn_load_once32(&stops_one_by_one), 0, 1);
}

static void a_reset_leaves_what_front_ends_do_not_say_again(void **state)
{
	const struct { int request; unsigned bytes; } how[] = { { XN_VU_RESET_DEVICE, 0 },
								{ XN_VU_SET_STATUS, 8 } };
	struct rig r;

	rig_run(&r, "loopback");
	for (unsigned i = 0; i < XN_ARRAY_SIZE(how); i++) {
		reset_in_traffic(&r, how[i].request, how[i].bytes);
		/* As QEMU starts again: no memory slots, no calls, no protocol features. */
		for (unsigned k = 0; k < 2; k++) {
			const struct front_ring ring = rig_ring(&r, k, 0);
			const struct xn_vu_vring_addr a = { .index = k, .desc = ring.desc,
							    .avail = ring.avail, .used = ring.used };
			const uint64_t index = k;

			assert_int_equal(front_enable_ring(&r.f, k, true), 0);
			assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, k, ring.size));
			assert_true(rig_says_yes(&r, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
			assert_true(rig_says_yes(&r, XN_VU_SET_VRING_KICK, &index, 8, &r.kick[k], 1));
		}
		while (signalled(r.call[0]))
			;
		rig_ping(&r, 0, 100);
		assert_true(rig_wait_signal(r.call[0]));
	}
	rig_close(&r);
}

/* ---- the control queue ---- */

#define CTRL_AT 0x380000ull

/* VQ_PAIRS_SET (VIRTIO 1.2, 5.1.6.5.5) on vring q; what is acknowledged. */
static uint8_t ctrl_pairs(struct rig *r, unsigned q, uint16_t pairs)
{
	uint8_t *at = r->drv.ram + CTRL_AT;
	const struct vring_desc chain[] = { { CTRL_AT, 2, VRING_DESC_F_NEXT, 1 },
					    { CTRL_AT + 2, 2, VRING_DESC_F_NEXT, 2 },
					    { CTRL_AT + 4, 1, VRING_DESC_F_WRITE, 0 } };
	struct vring_avail *avail = drv_avail(&r->drv, q);
	const uint16_t idx = avail->idx;
	const uint64_t until = xn_now_ns() + WAIT_NS;

	at[0] = VIRTIO_NET_CTRL_MQ;
	at[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
	memcpy(at + 2, &pairs, sizeof(pairs));
	at[4] = 0x55;
	memcpy(drv_desc(&r->drv, q), chain, sizeof(chain));
	avail->ring[idx % DRV_SIZE] = 0;
	xn_store_release16(&avail->idx, (uint16_t)(idx + 1));
	rig_kick(r, q);
	while (xn_load_acquire16(&drv_used_ring(&r->drv, q)->idx) != (uint16_t)(idx + 1)) {
		if (xn_now_ns() > until)
			return 0xff;
		usleep(100);
	}
	return at[4];
}

static void the_control_queue_says_how_many_pairs_are_used(void **state)
{
	const uint64_t features = BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ);
	struct rig r;
	uint64_t was;

	rig_open(&r, "loopback:queues=2", 2);
	assert_int_equal(front_negotiate(&r.f, features, VERSION | features, ALL), 0);
	rig_set_mem(&r);
	memset(r.drv.ram + 4 * DRV_RING_BYTES, 0, DRV_RING_BYTES);
	rig_start_pair(&r, 0);
	rig_start_pair(&r, 1);
	rig_start_ring(&r, 4, 0);
	/* A driver that has said nothing yet uses one. */
	rig_ping(&r, 0, 100);
	was = rig_stat(&r, 1, "tx_drop_disabled");
	assert_true(rig_send(&r, 1));
	assert_int_equal(rig_stat(&r, 1, "tx_drop_disabled"), was + 1);
	assert_int_equal(ctrl_pairs(&r, 4, 2), VIRTIO_NET_OK);
	rig_ping(&r, 1, 100);
	assert_int_equal(ctrl_pairs(&r, 4, 3), VIRTIO_NET_ERR);
	assert_int_equal(ctrl_pairs(&r, 4, 0), VIRTIO_NET_ERR);
	rig_ping(&r, 1, 100);
	/* Memory goes on, the number stays. */
	{
		struct front_region half[2] = { rig_region(&r), rig_region(&r) };

		half[0].size = half[1].size = RAM / 2;
		half[1].gpa = half[1].offset = RAM / 2;
		half[1].user_addr = USER + RAM / 2;
		assert_int_equal(front_set_mem(&r.f, half, 2), 0);
	}
	rig_ping(&r, 1, 100);
	assert_int_equal(ctrl_pairs(&r, 4, 1), VIRTIO_NET_OK);
	was = rig_stat(&r, 1, "tx_drop_disabled");
	assert_true(rig_send(&r, 1));
	assert_int_equal(rig_stat(&r, 1, "tx_drop_disabled"), was + 1);
	assert_int_equal(front_stop_ring(&r.f, 4, NULL), 0);
	rig_close(&r);
}

/* VIRTIO 1.2, 5.1.2: it is vring 2 then, however many pairs there could be. */
static void without_mq_the_control_queue_is_behind_the_first_pair(void **state)
{
	const uint64_t ctrl = BIT(VIRTIO_NET_F_CTRL_VQ);
	struct rig r;

	rig_open(&r, "loopback:queues=2", 2);
	assert_int_equal(front_negotiate(&r.f, ctrl, VERSION | ctrl, ALL), 0);
	rig_set_mem(&r);
	memset(r.drv.ram + 4 * DRV_RING_BYTES, 0, DRV_RING_BYTES);
	rig_start_pair(&r, 0);
	rig_start_ring(&r, 2, 0);
	/* What is told of another ring lets the device look for pairs to start. */
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 4, 256));
	usleep(3 * XN_VDEV_GRACE_MS * 1000);
	assert_int_equal(rig_info(&r).running, 1);
	assert_false(signalled(r.err[2]));
	assert_int_equal(ctrl_pairs(&r, 2, 1), VIRTIO_NET_ERR);
	rig_ping(&r, 0, 100);
	assert_int_equal(front_stop_ring(&r.f, 2, NULL), 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_numbers_of_rings_are_refused),
		cmocka_unit_test(rings_lie_in_memory_or_nowhere),
		cmocka_unit_test(a_ring_that_does_not_fit_is_not_started),
		cmocka_unit_test(a_ring_that_runs_does_not_change),
		cmocka_unit_test(the_base_is_where_to_go_on),
		cmocka_unit_test(a_ring_alone_starts_after_a_while),
		cmocka_unit_test(the_order_of_messages_does_not_matter),
		cmocka_unit_test(eventfds_change_while_the_ring_runs),
		cmocka_unit_test(rings_without_kick_are_polled),
		cmocka_unit_test(a_disabled_ring_drops),
		cmocka_unit_test(what_waits_for_rings_to_be_enabled_is_sent),
		cmocka_unit_test(a_ring_that_cannot_start_is_told_by_its_eventfd),
		cmocka_unit_test(a_broken_ring_is_told_and_begins_anew),
		cmocka_unit_test(pairs_are_stopped_together),
		cmocka_unit_test(a_reset_leaves_what_front_ends_do_not_say_again),
		cmocka_unit_test(the_control_queue_says_how_many_pairs_are_used),
		cmocka_unit_test(without_mq_the_control_queue_is_behind_the_first_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
