/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of the port in zero-copy mode that a stop that has answered leaves guest memory still,
 * that one which cannot be proven gives nothing back until it is, and that restarts are told.
 */
#include "tests/unit/zc_rig.h"

/* ---- the end ---- */

static void guest_memory_is_still_when_a_stop_has_answered(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	uint8_t f[FRAME_MAX], *before;
	struct rig r;

	(void)state;
	all_follow();
	make_frame(f, FRAME_MAX, 1);
	rig_open(&r, &o);
	fk()->nic.refusals = 5;
	for (unsigned i = 0; i < 60; i++)
		offer(&r, &(struct drv_seg){ DRV_FREE_AT + i * 4096, 2048 }, 1);
	xn_queue_run(r.q, 64);
	assert_int_equal(fk_host_rx(0, f, FRAME_MAX), 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(fk_host.proofs, 1);
	before = malloc(RAM);
	assert_non_null(before);
	memcpy(before, r.drv.ram, RAM);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(fk_host_rx(0, f, FRAME_MAX), -ENXIO);
	assert_memory_equal(before, r.drv.ram, RAM);
	free(before);
	assert_int_equal(xn_dev_vring_base(r.dev, RX), 1);   /* the others are lent again */
	rig_close(&r);
}

/* A driver that keeps the queue: nothing of what it has is given back. */
static void a_stop_that_cannot_be_proven_gives_nothing_back(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct tx_want w = { 0 };
	uint8_t f[FRAME_MAX];
	uint16_t head;
	uint32_t used;
	struct rig r;

	(void)state;
	all_follow();
	make_frame(f, FRAME_MAX, 1);
	rig_open(&r, &o);
	trust(&r);
	fk()->nic.refusals = FK_FOR_EVER;
	fk()->hold = true;
	for (unsigned i = 0; i < 40; i++)
		offer(&r, &(struct drv_seg){ DRV_FREE_AT + i * 4096, 2048 }, 1);
	for (unsigned i = 0; i < 5; i++)
		post_packet(&r, &nics[0], i, i, 1, &w);
	xn_queue_run(r.q, 64);
	assert_int_equal(fk_host_rx(0, f, FRAME_MAX), 0);
	fk_complete(fk(), 2);
	assert_int_equal(xn_dev_stop(r.dev), -ETIMEDOUT);
	/* What had come, and what was done with, is the guest's; all else is not. */
	assert_true(drv_used(&r.drv, RX, &head, &used));
	assert_false(drv_used(&r.drv, RX, &head, &used));
	assert_true(drv_used(&r.drv, TX, &head, &used));
	assert_true(drv_used(&r.drv, TX, &head, &used));
	assert_false(drv_used(&r.drv, TX, &head, &used));
	assert_int_equal(xn_dev_vring_base(r.dev, RX), 40);
	assert_int_equal(xn_dev_vring_base(r.dev, TX), 5);
	assert_int_equal(fk_host_rx(0, f, FRAME_MAX), 1);       /* it does write */

	assert_int_equal(xn_dev_stop(r.dev), -ETIMEDOUT);       /* tries again */
	assert_int_equal(xn_queue_stop(r.q), -ETIMEDOUT);
	assert_int_equal(xn_dev_start(r.dev), -ETIMEDOUT);
	assert_non_null(strstr(xn_last_error(), "keeps the queue"));
	fk_host.ghost[0].refusals = 3;
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_stop(r.dev), -EINVAL);          /* not started */
	assert_int_equal(xn_dev_start(r.dev), 0);
	trust(&r);
	offer(&r, &(struct drv_seg){ DRV_FREE_AT + 50 * 4096, 2048 }, 1);
	xn_queue_run(r.q, 64);
	assert_int_equal(fk_host_rx(0, f, FRAME_MAX), 0);
	xn_queue_run(r.q, 64);
	assert_true(drv_used(&r.drv, RX, &head, &used));
	assert_int_equal(used, DRV_HDR + FRAME_MAX);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	xn_dev_destroy(r.dev);
	xn_port_close(r.port);
	xn_mem_destroy(r.mem);
	drv_fini(&r.drv);
}

static void a_start_finds_out_what_a_stop_could_not(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	fk()->nic.refusals = 30;             /* longer than a stop tries, not than two */
	assert_int_equal(xn_dev_stop(r.dev), -ETIMEDOUT);
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	xn_dev_destroy(r.dev);
	xn_port_close(r.port);
	xn_mem_destroy(r.mem);
	drv_fini(&r.drv);
}

static void packets_come_back_to_the_guest_behind_the_proof(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct tx_want w = { 0 };
	uint16_t head;
	uint32_t used;
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	fk()->hold = true;
	for (unsigned i = 0; i < 5; i++)
		post_packet(&r, &nics[0], i, i, 1, &w);
	xn_queue_run(r.q, 64);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_true(drv_used(&r.drv, TX, &head, &used));
	assert_int_equal(xn_dev_vring_base(r.dev, TX), 5);   /* not sent a second time */
	rig_close(&r);
}

static uint32_t spares_left(const struct rig *r)
{
	struct xn_port_info info;

	xn_port_get_info(r->port, &info);
	return info.spare_sockets;
}

static void each_start_in_zero_copy_mode_takes_two_sockets(void **state)
{
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	o.spare_sockets = 6;
	rig_open(&r, &o);
	fk_host.socket_error = -EPERM;           /* from here on no socket can be opened */
	assert_int_equal(spares_left(&r), 4);    /* one is for the stop */
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(spares_left(&r), 4);
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(fk_host.proofs, 2);
	xp(&r)->n_spares--;                      /* one is not enough: a stop would lack it */
	close(xp(&r)->spares[xp(&r)->n_spares]);
	assert_int_equal(spares_left(&r), 1);
	assert_int_equal(xn_dev_start(r.dev), -EPERM);
	rig_close(&r);

	o.options = "";
	none_follows();
	fk_host.socket_error = 0;
	rig_open(&r, &o);                        /* two tries, and copy mode has no end to prove */
	assert_string_equal(mode_of(&r), "copy");
	assert_int_equal(spares_left(&r), 4);
	rig_close(&r);
}

static struct { unsigned restarted, stopped; } events;

static void on_event(void *arg, const struct xn_event *e)
{
	(void)arg;
	assert_int_equal(e->index, 0);
	assert_non_null(e->name);
	events.restarted += e->kind == XN_EVENT_QUEUE_RESTARTED;
	events.stopped += e->kind == XN_EVENT_QUEUE_STOPPED;
}

static void the_vmm_is_told_of_restarts_also_of_those_that_fail(void **state)
{
	const struct xn_dev_opts dev = { .sz = sizeof(dev), .event = on_event };
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct fk_nic nic = virtio;
	struct pollfd fds[4];
	struct rig r;

	(void)state;
	all_follow();
	nic.loses = lose_across;
	o.nic = &nic;
	o.dev = &dev;
	memset(&events, 0, sizeof(events));
	rig_open(&r, &o);
	until_restart(&r, 20000);
	assert_int_equal(events.restarted, 1);
	assert_int_equal(events.stopped, 0);
	rig_close(&r);

	memset(&events, 0, sizeof(events));
	rig_open(&r, &o);
	fk_host.open_error = -ENODEV;
	until_restart(&r, 20000);
	assert_int_equal(events.restarted, 0);
	assert_int_equal(events.stopped, 1);
	assert_int_equal(xn_queue_run(r.q, 64), 0);
	assert_true(xn_queue_arm(r.q));
	assert_int_equal(xn_queue_wait_fds(r.q, fds, 4), 0);
	assert_int_equal(xn_dev_stop(r.dev), -EINVAL);      /* it is stopped, and still */
	fk_host.open_error = 0;
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(until_restart(&r, 500), 500);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_memory_is_still_when_a_stop_has_answered),
		cmocka_unit_test(a_stop_that_cannot_be_proven_gives_nothing_back),
		cmocka_unit_test(a_start_finds_out_what_a_stop_could_not),
		cmocka_unit_test(packets_come_back_to_the_guest_behind_the_proof),
		cmocka_unit_test(each_start_in_zero_copy_mode_takes_two_sockets),
		cmocka_unit_test(the_vmm_is_told_of_restarts_also_of_those_that_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
