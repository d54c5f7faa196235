/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of the port in zero-copy mode that it trusts no driver further than it has seen: a driver
 * proves itself before much is lent to it; one that writes beside a buffer, puts frames
 * elsewhere, or loses buffers and packets is found out, and all queues heed what one of
 * them noticed.
 */
#include "tests/unit/zc_rig.h"

/* ---- a driver proves itself ---- */

static void proves_itself_first(const struct nic_case *c, unsigned proof)
{
	const struct rig_opts o = opts_of(c, ",mode=zero-copy", 0);
	uint64_t lent = 0;
	struct rig r;

	all_follow();
	rig_open(&r, &o);
	exchange(&r, proof);
	assert_int_equal(stat(&r, "rx_lent"), 0);
	assert_int_equal(stat(&r, "rx_bounced"), proof);
	assert_true(stat(&r, "rx_bounce_probe") >= proof);
	exchange(&r, 64);           /* those that waited as bounced are through */
	lent = stat(&r, "rx_lent");
	exchange(&r, 100);          /* a trial: half of them are lent */
	assert_in_range(stat(&r, "rx_lent") - lent, 40, 60);
	exchange(&r, 4 * DRV_SIZE);
	lent = stat(&r, "rx_lent");
	exchange(&r, 1000);         /* all, but one in a ring: of 32 buffers here */
	assert_in_range(stat(&r, "rx_lent") - lent, 960, 970);
	assert_true(stat(&r, "rx_bounce_sentinel") > 0);
	rig_close(&r);
}

static void a_driver_proves_itself_before_it_is_lent_anything(void **state)
{
	(void)state;
	proves_itself_first(&nics[0], 16);
	proves_itself_first(&unproven, 256);
}

static void at_most_half_are_lent_until_some_have_come_back(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	xq(&r)->watch.rx_proof = 0;
	for (unsigned i = 0; i < DRV_SIZE; i++) {
		offer(&r, &(struct drv_seg){ DRV_FREE_AT + i * 4096, 2048 }, 1);
		if (rnd(2))
			xn_queue_run(r.q, 64);
	}
	xn_queue_run(r.q, 64);
	assert_int_equal(stat(&r, "rx_buf_lent"), DRV_SIZE / 2);
	rig_close(&r);
}

static const char *verdict_of(const struct rig *r)
{
	struct xn_port_mode m = { .sz = sizeof(m) };

	assert_int_equal(xn_port_get_mode(r->port, &m), 0);
	return m.verdict;
}

/* This NIC is not what the table says: nothing is ever lent to it. */
static void is_found_out(const struct nic_case *c, const struct fk_nic *nic)
{
	struct rig_opts o = opts_of(c, ",mode=zero-copy", 0);
	struct rig r;

	all_follow();
	o.nic = nic;
	rig_open(&r, &o);
	assert_string_equal(verdict_of(&r), "");
	exchange(&r, 600);
	assert_int_equal(stat(&r, "rx_buf_lent"), 0);
	assert_int_equal(stat(&r, "rx_lent"), 0);
	assert_true(stat(&r, "rx_bounce_forced") > 0);
	assert_string_not_equal(verdict_of(&r), "");
	assert_int_equal(stat(&r, "queue_restarts"), 0);    /* it had nothing of the guest's */
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_start(r.dev), 0);           /* and never again */
	exchange(&r, 300);
	assert_int_equal(stat(&r, "rx_lent"), 0);
	rig_close(&r);

	o.options = "";                                     /* mode=auto: copy mode is better */
	rig_open(&r, &o);
	assert_string_equal(mode_of(&r), "zero-copy");
	exchange(&r, 300);
	assert_string_equal(mode_of(&r), "copy");
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	assert_true(stat(&r, "rx_lent") > 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_string_equal(mode_of(&r), "copy");
	rig_close(&r);
}

static void a_driver_that_writes_beside_a_buffer_is_found_out(void **state)
{
	struct fk_nic nic = virtio;

	(void)state;
	nic.front = 20;      /* VIRTIO_NET_F_HASH_REPORT: 8 bytes before the guest's buffer */
	is_found_out(&nics[0], &nic);
	nic.front = 12;
	nic.reach = 1537;
	is_found_out(&nics[0], &nic);
	nic = ice;
	nic.front = 1;
	is_found_out(&unproven, &nic);
	nic.front = 0;
	nic.reach = 1536 + 128;
	is_found_out(&unproven, &nic);
}

static void a_driver_that_puts_frames_elsewhere_is_found_out(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	uint8_t got[80000];
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	trust(&r);
	exchange(&r, 100);
	fk()->nic.shift = 2;         /* it begins to, in service */
	make_frame(frame, FRAME_MAX, 7);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fk_host_rx(0, frame, 1000), 0);
	while (xn_queue_run(r.q, 64) || !xn_queue_arm(r.q))   /* does not sleep over it */
		;
	assert_int_equal(take_frame(&r, got), 0);
	assert_int_equal(stat(&r, "rx_drop_error") + stat(&r, "rx_drop_stopped"), 3);
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	fk()->nic.shift = 0;
	exchange(&r, 100);           /* all buffers are back, and none is lent */
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	assert_true(stat(&r, "rx_bounce_forced") >= 32);
	assert_int_equal(xq(&r)->bounce_posted, xq(&r)->rx_posted - xq(&r)->rx_taken);
	rig_close(&r);
}

/* Frames in a buffer that the guest has got back: the driver still has it. */
static void a_driver_that_uses_a_buffer_twice_is_found_out(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	trust(&r);
	exchange(&r, 100);
	assert_string_equal(verdict_of(&r), "");
	fk_rx_put(fk(), r.ram_uoff + DRV_FREE_AT + 600 * 4096, r.ram_uoff + DRV_FREE_AT + 600 * 4096 +
		  fk()->land, 100);
	xn_store_release32(&fk()->rx.producer, fk()->rx.at);
	while (xn_queue_run(r.q, 64) || !xn_queue_arm(r.q))
		;
	assert_int_equal(stat(&r, "rx_drop_error"), 1);
	assert_string_not_equal(verdict_of(&r), "");
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	exchange(&r, 100);
	rig_close(&r);
}

static void packets_prove_a_driver_too(void **state)
{
	struct rig_opts o = opts_of(&unproven, ",mode=zero-copy", 0);
	struct fk_nic nic = ice;
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	send_some(&r, 256);
	assert_int_equal(stat(&r, "tx_bounce_probe"), 256);
	assert_int_equal(stat(&r, "tx_lent") + stat(&r, "tx_chained"), 0);
	send_some(&r, 100);
	assert_true(stat(&r, "tx_lent") + stat(&r, "tx_chained") > 60);
	assert_string_equal(verdict_of(&r), "");
	rig_close(&r);

	nic.scribbles = true;
	o.nic = &nic;
	rig_open(&r, &o);
	send_some(&r, 600);
	assert_int_equal(stat(&r, "tx_lent") + stat(&r, "tx_chained"), 0);
	assert_string_not_equal(verdict_of(&r), "");
	rig_close(&r);
}

/* ---- what vanishes ---- */

static bool lose_all(uint64_t fill)
{
	return fill + 4096 > rig_of_host->ram_uoff && fill < rig_of_host->ram_uoff + RAM;
}
static bool lose_some(uint64_t fill)   { return lose_across(fill) && fill / 4096 % 5 == 0; }

static void a_driver_loses(bool (*loses)(uint64_t), bool all)
{
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct fk_nic nic = virtio;
	uint64_t vanished, lent;
	unsigned n;
	struct rig r;

	all_follow();
	nic.loses = loses;
	o.nic = &nic;
	rig_open(&r, &o);
	n = until_restart(&r, 20000);
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	assert_true(n < 4000);
	vanished = stat(&r, "rx_vanished");
	lent = stat(&r, "rx_lent");
	assert_true(vanished > 0);
	assert_string_not_equal(verdict_of(&r), "");
	/* All heads are back: as many are out as the guest has posted. Nothing more is lost. */
	assert_int_equal(until_restart(&r, 5000), 5000);
	assert_int_equal(stat(&r, "rx_vanished"), vanished);
	assert_int_equal(fk()->fill_lost, 0);
	assert_int_equal(drv_pending(&r.drv, RX), xn_id_fifo_count(&xq(&r)->held) +
			 (xq(&r)->rx_posted - xq(&r)->rx_taken - xq(&r)->bounce_posted));
	if (all)
		assert_int_equal(stat(&r, "rx_lent"), lent);
	else
		assert_true(stat(&r, "rx_lent") - lent > 1000);
	rig_close(&r);
}

static void buffers_that_vanish_come_back_and_no_more_are_lent_there(void **state)
{
	(void)state;
	a_driver_loses(lose_across, false);
	a_driver_loses(lose_some, false);
	a_driver_loses(lose_all, true);
}

static void mode_auto_leaves_a_driver_that_loses_buffers(void **state)
{
	struct rig_opts o = opts_of(&nics[0], "", 0);
	struct fk_nic nic = virtio;
	struct rig r;

	(void)state;
	all_follow();
	nic.loses = lose_across;
	o.nic = &nic;
	rig_open(&r, &o);
	assert_string_equal(mode_of(&r), "zero-copy");
	until_restart(&r, 20000);
	assert_string_equal(mode_of(&r), "copy");
	assert_int_equal(until_restart(&r, 1000), 1000);
	rig_close(&r);
}

/* The network can have the same buffers overtaken again and again: by frames that the XDP
 * program drops. That is no loss. */
static void dropped_frames_are_not_taken_for_vanished_buffers(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	static uint8_t too_long[FRAME_MAX + 1];
	uint8_t got[80000];
	struct rig r;

	(void)state;
	all_follow();
	for (unsigned period = 60; period <= 66; period++) {
		rig_open(&r, &o);
		trust(&r);
		fk()->nic.ring = 64;
		for (unsigned i = 0; i < 4000; i++) {
			while (drv_pending(&r.drv, RX) < 100)
				offer(&r, &(struct drv_seg){ DRV_FREE_AT + (uint64_t)(r.drv.q[RX].avail % 1000) *
							     4096, 2048 }, 1);
			xn_queue_run(r.q, 64);
			if (i % period == 0)
				assert_int_equal(fk_host_rx(0, too_long, sizeof(too_long)), -EMSGSIZE);
			else
				assert_int_equal(fk_host_rx(0, too_long, FRAME_MAX), 0);
			xn_queue_run(r.q, 64);
			take_frame(&r, got);
		}
		assert_int_equal(stat(&r, "rx_vanished"), 0);
		assert_int_equal(stat(&r, "queue_restarts"), 0);
		rig_close(&r);
	}
}

static void packets_that_are_never_completed_are_given_up(void **state)
{
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct fk_nic nic = virtio;
	uint16_t head;
	uint32_t used;
	struct rig r;

	(void)state;
	all_follow();
	nic.forgets = 100;
	o.nic = &nic;
	rig_open(&r, &o);
	send_some(&r, 2050);
	assert_int_equal(stat(&r, "tx_vanished"), 2050 / 100);
	assert_string_not_equal(verdict_of(&r), "");
	rig_close(&r);

	/* Few packets of many pieces: not so many can be under way. */
	nic.forgets = 4;
	rig_open(&r, &o);
	send_some(&r, 5);
	assert_int_equal(stat(&r, "tx_vanished"), 0);
	assert_int_equal(drv_pending(&r.drv, TX), 2);        /* the other waits behind it */
	usleep(30000);
	xn_queue_run(r.q, 64);
	assert_int_equal(stat(&r, "tx_vanished"), 1);
	while (drv_used(&r.drv, TX, &head, &used))
		;
	assert_int_equal(drv_pending(&r.drv, TX), 0);
	rig_close(&r);
}

static void refused_packets_are_noticed(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	uint64_t page;
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	trust(&r);
	none_follows();              /* not as the kernel had said */
	send_some(&r, 5000);
	assert_true(stat(&r, "kernel_tx_invalid") > 0);
	assert_string_not_equal(verdict_of(&r), "");
	page = stat(&r, "tx_bounce_page");
	assert_true(page > 0);
	send_some(&r, 100);
	assert_true(stat(&r, "tx_bounce_page") > page);
	rig_close(&r);
}

/* ---- several queues ---- */

static void what_one_queue_notices_all_queues_heed(void **state)
{
	const struct xn_dev_opts two = { .sz = sizeof(two), .pairs = 2 };
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy,queues=2", 0);
	struct xn_queue *second;
	uint16_t head;
	uint32_t used;
	struct rig r;

	(void)state;
	some_follow(90);
	o.dev = &two;
	rig_open(&r, &o);
	second = xn_dev_queue(r.dev, 1);
	assert_ptr_equal(xq(&r)->map, xp(&r)->queues[1]->map);   /* one memory, one map */
	for (unsigned q = 0; q < 2; q++) {
		struct xn_xdpq *x = xp(&r)->queues[q];

		x->watch.rx_proof = x->watch.trial = 0;
		xn_xdp_set_rule(x);
	}
	for (unsigned i = 0; i < 64; i++) {
		offer(&r, &(struct drv_seg){ DRV_FREE_AT + i * 8192 + 600, 2048 }, 1);
		drv_post1(&r.drv, 2, 0x200000 + i * 4096 + 600, 2048);
	}
	xn_queue_run(r.q, 64);
	xn_queue_run(second, 64);
	make_frame(frame, FRAME_MAX, 1);
	fk()->nic.shift = 1;
	assert_int_equal(fk_host_rx(0, frame, 100), 0);          /* a bounced one */
	assert_int_equal(fk_host_rx(0, frame, 100), 0);
	fk_host.q[1].may_write = NULL;
	xn_queue_run(r.q, 64);
	xn_queue_run(second, 64);
	xn_queue_run(r.q, 64);
	xn_queue_run(second, 64);
	assert_int_equal(drv_stat(r.dev, 0, "queue_restarts"), 1);
	assert_int_equal(drv_stat(r.dev, 1, "queue_restarts"), 1);
	assert_true(xp(&r)->queues[0]->bounce && xp(&r)->queues[1]->bounce);
	/* One stops, the other goes on. */
	assert_int_equal(xn_queue_stop(r.q), 0);
	fk_host.q[1].may_write = NULL;
	assert_int_equal(fk_host_rx(1, frame, 100), 0);
	xn_queue_run(second, 64);
	assert_true(drv_used(&r.drv, 2, &head, &used));
	assert_int_equal(used, DRV_HDR + 100);
	rig_close(&r);
}

/* A queue restarts in its own thread. Others meanwhile look at statistics, and start and stop
 * another queue of the same port. */
static struct { struct rig *r; uint32_t done; } alone;

static void *run_until_restart(void *arg)
{
	(void)arg;
	until_restart(alone.r, 20000);
	xn_store_release32(&alone.done, 1);
	return NULL;
}

static void a_restart_disturbs_nobody(void **state)
{
	const struct xn_dev_opts two = { .sz = sizeof(two), .pairs = 2 };
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy,queues=2", 0);
	struct xn_port_mode m = { .sz = sizeof(m) };
	struct fk_nic nic = virtio;
	unsigned rounds = 0;
	pthread_t thread;
	struct rig r;

	(void)state;
	all_follow();
	nic.loses = lose_some;
	o.nic = &nic;
	o.dev = &two;
	rig_open(&r, &o);
	alone.r = &r;
	alone.done = 0;
	assert_int_equal(pthread_create(&thread, NULL, run_until_restart, NULL), 0);
	while (!xn_load_acquire32(&alone.done) || !rounds) {
		struct xn_queue *other = xn_dev_queue(r.dev, 1);
		struct xn_stat stats[256];
		struct xn_port_info info;

		assert_true(xn_dev_stats(r.dev, XN_ALL_PAIRS, stats, 256) < 256);
		xn_port_get_info(r.port, &info);
		assert_string_equal(info.mode, "zero-copy");
		assert_int_equal(xn_port_get_mode(r.port, &m), 0);
		assert_int_equal(xn_queue_stop(other), 0);
		assert_int_equal(xn_queue_start(other), 0);
		rounds++;
	}
	pthread_join(thread, NULL);
	assert_int_equal(drv_stat(r.dev, 0, "queue_restarts"), 1);
	assert_int_equal(drv_stat(r.dev, 1, "queue_restarts"), 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_driver_proves_itself_before_it_is_lent_anything),
		cmocka_unit_test(at_most_half_are_lent_until_some_have_come_back),
		cmocka_unit_test(a_driver_that_writes_beside_a_buffer_is_found_out),
		cmocka_unit_test(a_driver_that_puts_frames_elsewhere_is_found_out),
		cmocka_unit_test(a_driver_that_uses_a_buffer_twice_is_found_out),
		cmocka_unit_test(packets_prove_a_driver_too),
		cmocka_unit_test(buffers_that_vanish_come_back_and_no_more_are_lent_there),
		cmocka_unit_test(mode_auto_leaves_a_driver_that_loses_buffers),
		cmocka_unit_test(dropped_frames_are_not_taken_for_vanished_buffers),
		cmocka_unit_test(packets_that_are_never_completed_are_given_up),
		cmocka_unit_test(refused_packets_are_noticed),
		cmocka_unit_test(what_one_queue_notices_all_queues_heed),
		cmocka_unit_test(a_restart_disturbs_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
