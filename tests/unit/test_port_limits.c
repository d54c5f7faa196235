/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves what the AF_XDP port does when room runs out, which is where loops spin, frames get
 * lost without a name, and stops do not end: nothing to do means sleep, a buffer that waits
 * gets its frame, and every call comes back.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "base/atomics.h"
#include "tests/unit/port_rig.h"

static void run_dry(struct rig *r)
{
	while (xn_queue_run(r->q, 64))
		;
}

/* Of so many turns with nothing to do, how many would not let the thread sleep? */
static unsigned sleepless(struct rig *r)
{
	unsigned bad = 0;

	run_dry(r);
	for (unsigned i = 0; i < 100; i++)
		bad += !xn_queue_run(r->q, 64) && !xn_queue_arm(r->q);
	return bad;
}

static void more_pieces_than_can_be_noted_wait_asleep(void **state)
{
	struct drv_seg segs[16];
	uint8_t f[FRAME_MAX];
	struct rig r;
	unsigned n = 0;

	rig_open(&r, &(struct rig_opts){ .features = IND | MRG });
	fk()->may_write = NULL;
	for (unsigned b = 0; b < DRV_SIZE; b++) {
		for (unsigned i = 0; i < 16; i++)
			segs[i] = (struct drv_seg){ 0x100000 + b * 4096 + i * 110, 100 };
		r.offered[drv_post_indirect(&r.drv, RX, 0x400000 + b * 256, segs, 16)].n = 0;
	}
	assert_int_equal(sleepless(&r), 0);
	assert_true(stat(&r, "rx_bounce_short") < DRV_SIZE);    /* some do wait */
	make_frame(f, 1000, 1);
	for (unsigned i = 0; i < DRV_SIZE; i++) {               /* and get their turn */
		uint16_t head;
		uint32_t used;

		assert_int_equal(fk_host_rx(0, f, 1000), 0);
		run_dry(&r);
		while (drv_used(&r.drv, RX, &head, &used))
			n++;
	}
	assert_int_equal(n, DRV_SIZE);
	rig_close(&r);
}

static void bounce_frames_leave_the_ring_to_buffers_that_can_be_lent(void **state)
{
	uint8_t f[FRAME_MAX];
	uint16_t head;
	uint32_t used;
	struct rig r;

	rig_open(&r, &(struct rig_opts){ .features = MRG });
	fk()->may_write = NULL;
	make_frame(f, 1500, 1);
	for (unsigned i = 0; i < DRV_SIZE; i++)
		drv_post1(&r.drv, RX, 0x100000 + i * 4096, 800);
	run_dry(&r);
	for (unsigned i = 0; i < DRV_SIZE / 2; i++)             /* each takes two of them */
		assert_int_equal(fk_host_rx(0, f, 1500), 0);
	run_dry(&r);
	assert_int_equal(stat(&r, "rx_packets"), DRV_SIZE / 2);
	while (drv_used(&r.drv, RX, &head, &used))
		;
	for (unsigned i = 0; i < DRV_SIZE; i++)
		drv_post1(&r.drv, RX, 0x100000 + i * 4096, 2048);
	assert_int_equal(sleepless(&r), 0);
	assert_int_equal(stat(&r, "rx_buf_lent"), DRV_SIZE);    /* all of them */
	for (unsigned i = 0; i < DRV_SIZE; i++)
		assert_int_equal(fk_host_rx(0, f, 100), 0);
	run_dry(&r);
	assert_int_equal(stat(&r, "rx_drop_no_buffer"), 0);
	assert_int_equal(stat(&r, "rx_packets"), DRV_SIZE / 2 + DRV_SIZE);
	rig_close(&r);
}

static void one_short_mergeable_buffer_costs_no_frame(void **state)
{
	uint8_t f[FRAME_MAX];
	uint16_t head;
	uint32_t used;
	struct rig r;

	rig_open(&r, &(struct rig_opts){ .features = MRG });
	fk()->may_write = NULL;
	make_frame(f, 1500, 1);
	for (unsigned i = 0; i < 64; i++)
		drv_post1(&r.drv, RX, 0x100000 + i * 4096, i ? 2048 : 600);
	for (unsigned round = 0; round < 1000; round++) {
		run_dry(&r);
		assert_int_equal(fk_host_rx(0, f, 1500), 0);
		run_dry(&r);
		while (drv_used(&r.drv, RX, &head, &used))
			drv_post1(&r.drv, RX, 0x100000, 2048);
	}
	assert_int_equal(stat(&r, "rx_packets"), 1000);
	rig_close(&r);
}

/* Any mix of buffers and frames, never more frames than the free buffers hold one by one:
 * what was promised by a fill entry finds room. */
static void a_bounced_frame_always_finds_room(void **state)
{
	unsigned seed = 5;
	uint8_t f[FRAME_MAX];
	struct rig r;

	for (unsigned merge = 0; merge < 2; merge++) {
		rig_open(&r, &(struct rig_opts){ .features = merge ? MRG : 0 });
		fk()->may_write = NULL;
		make_frame(f, FRAME_MAX, 1);
		for (unsigned i = 0; i < 30000; i++) {
			uint32_t len = 14 + (uint32_t)rand_r(&seed) % 1500, used;
			uint16_t head;

			if (r.drv.q[RX].n_free)
				drv_post1(&r.drv, RX, 0x100000 + i % 512 * 4096,
					  merge && rand_r(&seed) % 2 ?
					  12 + (uint32_t)rand_r(&seed) % 1600 : 1530);
			xn_queue_run(r.q, 64);
			if (rand_r(&seed) % 3)
				fk_host_rx(0, f, len);
			xn_queue_run(r.q, 64);
			while (drv_used(&r.drv, RX, &head, &used))
				;
		}
		/* Only while nothing else is lent a buffer that may be too short is risked. */
		assert_true(stat(&r, "rx_drop_no_buffer") <= (merge ? stat(&r, "rx_packets") / 50 : 0));
		assert_int_equal(stat(&r, "rx_drop_too_small"), 0);
		assert_true(stat(&r, "rx_packets") > 10000);
		rig_close(&r);
	}
}

static void stalled_transmit_sleeps_until_its_timer(void **state)
{
	struct drv_seg segs[3];
	struct pollfd fds[4];
	unsigned n;
	struct rig r;

	rig_open(&r, &(struct rig_opts){ .bounce_frames = 64 });
	memset(r.drv.ram + TX_AT, 0, 0x200000);
	n = xn_queue_wait_fds(r.q, fds, 4);                     /* asked for once */
	fk()->send_error = -EAGAIN;
	for (unsigned i = 0; i < 60; i++) {                     /* more than there are frames */
		for (unsigned k = 0; k < 3; k++)
			segs[k] = (struct drv_seg){ TX_AT + i * 4096 + k * 100, k ? 60 : 12 };
		drv_post(&r.drv, TX, segs, 3);
	}
	assert_int_equal(sleepless(&r), 0);
	assert_true(drv_pending(&r.drv, TX) > 0);
	fk()->send_error = 0;
	for (unsigned i = 0; i < 60 && poll(fds, n, 20000) > 0; i++) {
		uint16_t head;
		uint32_t used;

		run_dry(&r);
		while (drv_used(&r.drv, TX, &head, &used))
			;
		xn_queue_arm(r.q);
		if (!drv_pending(&r.drv, TX))
			break;
	}
	assert_int_equal(stat(&r, "tx_packets"), 60);
	assert_int_equal(drv_pending(&r.drv, TX), 0);
	assert_int_equal(poll(fds, n, 20), 0);                  /* and then it is quiet */
	rig_close(&r);
}

static void sends_that_take_nothing_are_counted(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_opts){ 0 });
	memset(r.drv.ram + TX_AT, 0, 100);
	drv_post1(&r.drv, TX, TX_AT, 72);
	fk()->send_error = -EIO;
	xn_queue_run(r.q, 64);
	assert_int_equal(stat(&r, "tx_kick_errors"), 1);
	fk()->send_error = 0;
	rig_close(&r);
}

static void queues_that_the_interface_has_not_are_refused(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_opts){ .options = ",start=1" });   /* not told: tried */
	assert_int_equal(xn_dev_stop(r.dev), 0);
	((struct xn_xdp_port *)r.port)->info.rx_queues = 2;
	((struct xn_xdp_port *)r.port)->info.tx_queues = 1;
	assert_int_equal(xn_dev_start(r.dev), -EINVAL);
	assert_non_null(strstr(xn_last_error(), "1 to transmit"));
	((struct xn_xdp_port *)r.port)->info.tx_queues = 2;
	assert_int_equal(xn_dev_start(r.dev), 0);
	rig_close(&r);
}

/* The longest chain that there is, 2^32 - 1 bytes. */
static void forced_bounce_has_no_exception_for_length(void **state)
{
	struct xn_region regions[2] = { { .size = RAM }, { .gpa = 8ull << 30, .size = 4ull << 30 } };
	struct xn_mem *two;
	struct rig r;

	rig_open(&r, &(struct rig_opts){ .options = ",mode=bounce" });
	regions[0].fd = r.drv.fd;
	assert_int_equal(xn_ram_create(&regions[1].fd, regions[1].size, XN_HUGE_NO, NULL), 0);
	assert_int_equal(xn_mem_create(&two, regions, 2, NULL), 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_set_mem(r.dev, two), 0);
	assert_int_equal(xn_dev_start(r.dev), 0);
	drv_post1(&r.drv, RX, regions[1].gpa, UINT32_MAX);
	run_dry(&r);
	assert_int_equal(stat(&r, "rx_bounce_forced"), 1);
	assert_int_equal(stat(&r, "rx_buf_lent"), 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_set_mem(r.dev, r.mem), 0);
	xn_mem_destroy(two);
	close(regions[1].fd);
	rig_close(&r);
}

static void a_stop_delivers_what_stands_behind_drops(void **state)
{
	uint8_t f[FRAME_MAX];
	struct rig r;
	unsigned in = 0;

	rig_open(&r, &(struct rig_opts){ 0 });                  /* buffers are not merged */
	fk()->may_write = NULL;
	for (unsigned i = 0; i < 100; i++)
		drv_post1(&r.drv, RX, 0x100000 + i * 4096, 100);
	for (unsigned i = 100; i < DRV_SIZE; i++)
		drv_post1(&r.drv, RX, 0x100000 + i * 4096, 2048);
	run_dry(&r);
	make_frame(f, 1000, 1);
	while (in < DRV_SIZE && !fk_host_rx(0, f, 1000))
		in++;
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(stat(&r, "rx_packets") + stat(&r, "rx_drop_too_small") +
			 stat(&r, "rx_drop_no_buffer") + stat(&r, "rx_drop_stopped"), in);
	assert_int_equal(stat(&r, "rx_packets"), DRV_SIZE - 100);
	rig_close(&r);
}

/* A driver that keeps pages may complete late: what it has is not sent again. */
static void what_the_kernel_has_taken_is_not_sent_twice(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_opts){ .driver = "virtio_net" });
	fk()->hold = true;
	memset(r.drv.ram + TX_AT, 0, 0x1000);
	for (unsigned i = 0; i < 10; i++)
		drv_post1(&r.drv, TX, TX_AT, 72);
	run_dry(&r);
	assert_int_equal(fk()->tx_packets, 10);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_vring_base(r.dev, TX), 10);
	rig_close(&r);
}

static void small_first_pieces_are_gathered_not_chained(void **state)
{
	struct drv_seg segs[3] = { { TX_AT, 12 }, { TX_AT + 100, 13 }, { TX_AT + 200, 60 } };
	struct rig r;

	rig_open(&r, &(struct rig_opts){ .options = ",tx=chain" });
	memset(r.drv.ram + TX_AT, 0, 0x1000);
	drv_post(&r.drv, TX, segs, 3);
	segs[1].len = 14;
	drv_post(&r.drv, TX, segs, 3);
	run_dry(&r);
	assert_int_equal(stat(&r, "tx_gathered"), 1);
	assert_int_equal(stat(&r, "tx_chained"), 1);
	rig_close(&r);
}

/* A guest that takes every refused buffer back at once. */
static struct { struct rig *r; uint32_t stop; } eager;

static void *post_again_and_again(void *arg)
{
	struct drv *d = &eager.r->drv;

	(void)arg;
	while (!xn_load_acquire32(&eager.stop)) {
		uint16_t idx = (uint16_t)(xn_load_acquire16((uint16_t *)&drv_used_ring(d, RX)->idx) +
					  DRV_SIZE);

		xn_store_release16((uint16_t *)&drv_avail(d, RX)->idx, idx);
	}
	return NULL;
}

static void a_start_ends_whatever_the_guest_posts(void **state)
{
	pthread_t guest;
	struct rig r;

	rig_open(&r, &(struct rig_opts){ 0 });
	assert_int_equal(xn_dev_stop(r.dev), 0);
	for (unsigned i = 0; i < DRV_SIZE; i++)                 /* no header fits */
		drv_post1(&r.drv, RX, 0x100000, 1);
	eager.r = &r;
	eager.stop = 0;
	assert_int_equal(pthread_create(&guest, NULL, post_again_and_again, NULL), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(xn_dev_start(r.dev), 0);       /* alarm() ends a hang */
		assert_int_equal(xn_dev_stop(r.dev), 0);
	}
	xn_store_release32(&eager.stop, 1);
	pthread_join(guest, NULL);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_pieces_than_can_be_noted_wait_asleep),
		cmocka_unit_test(bounce_frames_leave_the_ring_to_buffers_that_can_be_lent),
		cmocka_unit_test(one_short_mergeable_buffer_costs_no_frame),
		cmocka_unit_test(a_bounced_frame_always_finds_room),
		cmocka_unit_test(stalled_transmit_sleeps_until_its_timer),
		cmocka_unit_test(sends_that_take_nothing_are_counted),
		cmocka_unit_test(queues_that_the_interface_has_not_are_refused),
		cmocka_unit_test(forced_bounce_has_no_exception_for_length),
		cmocka_unit_test(a_stop_delivers_what_stands_behind_drops),
		cmocka_unit_test(what_the_kernel_has_taken_is_not_sent_twice),
		cmocka_unit_test(small_first_pieces_are_gathered_not_chained),
		cmocka_unit_test(a_start_ends_whatever_the_guest_posts),
	};

	alarm(600);
	return cmocka_run_group_tests_name("port limits", tests, NULL, NULL);
}
