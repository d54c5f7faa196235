/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves on a real veth with a large MTU that frames of any length arrive in the guest, byte by
 * byte, in buffers of all kinds, and that nothing else of its memory is written; and what becomes
 * of an MTU that changes meanwhile.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <net/if.h>
#include <unistd.h>

#include "tests/cmocka.h"
#include "base/log.h"
#include "tests/net/rig.h"

#define MRG       (1ull << VIRTIO_NET_F_MRG_RXBUF)
#define RX        0u
#define BUFS_AT   0x100000u
#define FRAME_MAX 65600u

static uint8_t frame[FRAME_MAX], got[FRAME_MAX + 8192];
static unsigned seed = 9;

/* ---- the guest ---- */

struct guest {
	struct rig r;
	const uint32_t *sizes;           /* of its buffers, in turn */
	unsigned n_sizes, posted;
	uint32_t slot_bytes, n_slots;
	struct { uint64_t at; uint32_t len; } bufs[DRV_SIZE];   /* by head; at 0: not out */
	uint8_t out[RIG_RAM];            /* 1: may be written */
};
static struct guest g;

static void post_all(unsigned most)
{
	for (unsigned i = 0; i < g.n_slots && drv_pending(&g.r.drv, RX) < most; i++, g.posted++) {
		const uint64_t at = BUFS_AT + (uint64_t)(g.posted % g.n_slots) * g.slot_bytes;
		const uint32_t len = g.sizes[g.posted % g.n_sizes];
		uint16_t head;

		assert_true(at + len <= RIG_RAM);
		if (memchr(g.out + at, 1, g.slot_bytes))
			continue;
		head = drv_post1(&g.r.drv, RX, at, len);
		g.bufs[head].at = at;
		g.bufs[head].len = len;
		memset(g.out + at, 1, len);
	}
}

/* The next frame, into `got`; its length, 0: none came. All its buffers but the last are full. */
static uint32_t take_frame(void)
{
	uint32_t used, sum = 0, skip = DRV_HDR;
	uint16_t head, buffers = 1;

	for (unsigned k = 0; k < buffers; k++, skip = 0) {
		const uint8_t *p;

		if (k ? !drv_used(&g.r.drv, RX, &head, &used) : !rig_wait_used(&g.r, RX, &head, &used)) {
			assert_int_equal(k, 0);
			return 0;
		}
		assert_true(g.bufs[head].at);
		p = g.r.drv.ram + g.bufs[head].at;
		if (!k)
			memcpy(&buffers, p + 10, 2);
		if (k + 1 < buffers)
			assert_int_equal(used, g.bufs[head].len);
		assert_true(used <= g.bufs[head].len);
		memcpy(got + sum, p + skip, used - skip);
		sum += used - skip;
		memset(g.out + g.bufs[head].at, 0, g.bufs[head].len);
		drv_fill_pattern(&g.r.drv, g.bufs[head].at, g.bufs[head].at + g.bufs[head].len);
		g.bufs[head].at = 0;
	}
	return sum;
}

static void nothing_came(void)
{
	uint16_t head;
	uint32_t used;

	rig_settle(&g.r, 5);
	assert_false(drv_used(&g.r.drv, RX, &head, &used));
}

static void check_memory(void)
{
	for (uint32_t at = BUFS_AT; at < RIG_RAM; at++)
		if (!g.out[at] && g.r.drv.ram[at] != drv_pattern(at))
			fail_msg("byte 0x%x of the guest's memory was written", at);
}

static void expect_frame(uint32_t bytes, uint32_t id)
{
	rig_frame(&g.r, frame, bytes, id);
	assert_int_equal(take_frame(), bytes);
	for (uint32_t i = 0; i < bytes; i++)
		if (got[i] != frame[i])
			fail_msg("of %u bytes, byte %u is %02x, not %02x", bytes, i, got[i], frame[i]);
}

static void send_frame(uint32_t bytes, uint32_t id)
{
	rig_frame(&g.r, frame, bytes, id);
	rig_far_send(&g.r, frame, bytes);
}

static void open_guest(const char *options, uint64_t features, unsigned mtu, const uint32_t *sizes,
		       unsigned n_sizes, uint32_t slot_bytes)
{
	memset(&g, 0, sizeof(g));
	g.sizes = sizes;
	g.n_sizes = n_sizes;
	g.slot_bytes = slot_bytes;
	g.n_slots = (RIG_RAM - BUFS_AT) / slot_bytes;
	rig_open(&g.r, &(struct rig_cfg){ .options = options, .features = features, .mtu = mtu });
}

/* ---- frames ---- */

static void any_frame(const char *options, uint64_t features, unsigned mtu, const uint32_t *sizes,
		      unsigned n_sizes, uint32_t slot_bytes, unsigned bufs)
{
	static const uint32_t lens[] = { 60, 1514, 1523, 1524, 1525, 3839, 3840, 3841, 4096, 9000, 9014,
					 12192, 12193, 32768, 64000, 65535, 65549 };
	unsigned sent = 0;

	open_guest(options, features, mtu, sizes, n_sizes, slot_bytes);
	for (unsigned i = 0; i < 300; i++) {
		const uint32_t any = 14 + (uint32_t)rand_r(&seed) % (mtu + 1);
		const uint32_t bytes = i < XN_ARRAY_SIZE(lens) ? lens[i] : any;

		if (bytes > mtu + 14)
			continue;
		post_all(bufs);
		send_frame(bytes, i);
		expect_frame(bytes, i);
		sent++;
	}
	check_memory();
	assert_int_equal(rig_stat(&g.r, "rx_packets"), sent);
	assert_int_equal(rig_stat(&g.r, "rx_lent") + rig_stat(&g.r, "rx_shifted") +
			 rig_stat(&g.r, "rx_bounced"), sent);
	rig_close(&g.r);
}

static const uint32_t linux_sizes[] = { 1536, 1536, 4096, 2304 }, pages[] = { 4096 }, small[] = { 700 },
		      big[] = { 65600 };

static void frames_of_any_length_arrive(void **state)
{
	any_frame("", MRG, 9000, linux_sizes, 4, 4096, 200);
	any_frame("", MRG, 65535, pages, 1, 4099, 200);
	any_frame("", MRG, 65535, linux_sizes, 4, 4097, 200);   /* lent and bounced ones mixed */
}

static void the_same_bounced(void **state)
{
	any_frame(",mode=bounce", MRG, 9000, linux_sizes, 4, 4096, 200);
	any_frame("", MRG, 65535, small, 1, 800, 200);          /* too short for anything else */
}

static void the_same_without_merging(void **state)
{
	any_frame("", 0, 9000, big, 1, 65600, 20);
	any_frame("", 0, 65535, big, 1, 65601, 20);
}

static void the_same_in_generic_mode(void **state)
{
	any_frame(",attach=generic", MRG, 9000, linux_sizes, 4, 4096, 200);
	any_frame(",attach=generic", MRG, 65535, pages, 1, 4099, 200);
}

/* Above what drivers do with a program that knows no frames of several parts, but in one chunk. */
static void an_mtu_of_nearly_a_chunk_is_native(void **state)
{
	any_frame(",attach=native", MRG, 3822, pages, 1, 4096, 200);
	any_frame(",attach=native", 0, 3600, pages, 1, 4096, 200);
}

/* Several frames wait before one is taken. */
static void paced_bursts_lose_nothing(void **state)
{
	static const struct { uint32_t mtu, bytes; unsigned burst; } runs[] = {
		{ 9000, 9014, 25 }, { 65535, 64000, 10 },
	};

	for (unsigned k = 0; k < XN_ARRAY_SIZE(runs); k++) {
		open_guest("", MRG, runs[k].mtu, pages, 1, 4096);
		for (unsigned round = 0; round < 100; round++) {
			post_all(220);
			for (unsigned i = 0; i < runs[k].burst; i++)
				send_frame(runs[k].bytes - i, round * 100 + i);
			for (unsigned i = 0; i < runs[k].burst; i++)
				expect_frame(runs[k].bytes - i, round * 100 + i);
		}
		check_memory();
		assert_int_equal(rig_stat(&g.r, "rx_shifted"), 100 * runs[k].burst);
		rig_close(&g.r);
	}
}

/* What finds no buffers is counted by the kernel, whole; and the next frame is whole again. */
static void frames_that_find_no_buffers_are_dropped_whole(void **state)
{
	open_guest("", MRG, 9000, pages, 1, 4096);
	post_all(14);
	send_frame(9000, 0);               /* six pieces each; before the queue is turned again: */
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(send(g.r.far, frame, 9000, 0), 9000);
	expect_frame(9000, 0);
	expect_frame(9000, 0);
	rig_wait_stat(&g.r, "kernel_rx_dropped", 2);
	nothing_came();
	assert_int_equal(rig_stat(&g.r, "kernel_fill_empty"), 0);
	send_frame(9000, 4);
	expect_frame(9000, 4);
	check_memory();
	rig_close(&g.r);
}

/* ---- an MTU that changes ---- */

static void set_mtu(const char *ifname, int mtu)
{
	struct ifreq req = { .ifr_mtu = mtu };
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(req.ifr_name, ifname);
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &req), 0);
	close(fd);
}

static void set_both(int mtu)
{
	assert_int_equal(xn_lab_enter_far(&g.r.lab), 0);
	set_mtu(XN_LAB_FAR, mtu);
	xn_lab_leave(&g.r.lab);
	assert_int_equal(xn_lab_enter_near(&g.r.lab), 0);
	set_mtu(XN_LAB_NEAR, mtu);
	xn_lab_leave(&g.r.lab);
}

static unsigned told;

static void on_event(void *arg, const struct xn_event *e)
{
	told += e->kind == XN_EVENT_CONFIG;
}

static uint16_t mtu_now(void)
{
	struct pollfd p = { .fd = xn_dev_event_fd(g.r.dev), .events = POLLIN };
	struct xn_port_info info = { 0 };

	while (poll(&p, 1, 100) == 1)
		xn_dev_handle_events(g.r.dev);
	xn_port_get_info(g.r.port, &info);
	return info.mtu;
}

static unsigned warnings;

static void count_warnings(void *arg, enum xn_log_level level, const char *text)
{
	warnings += level <= XN_LOG_WARN && strstr(text, "its MTU is 65535 now");
}

static void an_mtu_that_changes_is_noticed(void **state)
{
	memset(&g, 0, sizeof(g));
	g.sizes = pages;
	g.n_sizes = 1;
	g.slot_bytes = 4096;
	g.n_slots = (RIG_RAM - BUFS_AT) / 4096;
	rig_open(&g.r, &(struct rig_cfg){ .features = MRG, .mtu = 9000, .event = on_event });
	post_all(200);
	assert_int_equal(mtu_now(), 9000);
	told = warnings = 0;
	xn_set_log(count_warnings, NULL, XN_LOG_INFO);
	set_both(65535);
	assert_int_equal(mtu_now(), 9000);       /* for which the port was opened */
	assert_int_equal(told, 1);
	assert_int_equal(warnings, 1);
	xn_set_log(NULL, NULL, XN_LOG_WARN);
	/* The kernel writes no byte more than before. */
	send_frame(9019, 1);
	send_frame(64000, 2);
	rig_wait_stat(&g.r, "steer_too_long", 2);
	nothing_came();
	send_frame(9018, 3);
	expect_frame(9018, 3);
	set_both(1400);
	assert_int_equal(mtu_now(), 1400);
	assert_int_equal(told, 2);
	send_frame(1414, 4);
	expect_frame(1414, 4);
	check_memory();
	rig_close(&g.r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_of_any_length_arrive),
		cmocka_unit_test(the_same_bounced),
		cmocka_unit_test(the_same_without_merging),
		cmocka_unit_test(the_same_in_generic_mode),
		cmocka_unit_test(an_mtu_of_nearly_a_chunk_is_native),
		cmocka_unit_test(paced_bursts_lose_nothing),
		cmocka_unit_test(frames_that_find_no_buffers_are_dropped_whole),
		cmocka_unit_test(an_mtu_that_changes_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
