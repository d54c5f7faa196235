/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the code takes for granted about frames that are longer than a chunk (XDP_USE_SG), asked
 * of the kernel that runs. As test_facts.c.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/cmocka.h"
#include "base/atomics.h"
#include "base/log.h"
#include "tests/kernel/bed.h"

#define ALL_S     900u
#define MTU       65535u
#define FRAME_MAX (MTU + 14u)
#define PIECE     1524u
#define STEP      4001u     /* between fill entries: odd addresses, nothing overlaps */
#define FIRST_AT  0x3001u

static struct bed bed;
static uint8_t frame[FRAME_MAX];

static int setup(void **state)
{
	bed_open_mtu(&bed, 1, MTU);
	return 0;
}

static int teardown(void **state)
{
	bed_close(&bed);
	return 0;
}

static struct xn_xsk_cfg with_sg(uint32_t piece)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);

	cfg.frame_bytes = piece;
	cfg.sg = true;
	return cfg;
}

static uint64_t entry(unsigned i)
{
	return FIRST_AT + (uint64_t)i * STEP;
}

static void fill(unsigned first, unsigned n)
{
	uint64_t at[BED_FILL];

	for (unsigned i = 0; i < n; i++)
		at[i] = entry(first + i);
	bed_fill(&bed.x, at, n);
}

static void send_frame(uint32_t bytes, uint32_t id)
{
	bed_frame(&bed, frame, bytes, id);
	bed_far_send(&bed, frame, bytes);
}

/* The next frame, `bytes` long, in entries from `first` on; how many. */
static unsigned expect_pieces(unsigned first, uint32_t bytes, uint32_t piece)
{
	const unsigned n = (bytes - 1) / piece + 1;
	uint32_t off = 0;

	for (unsigned i = 0; i < n; i++, off += piece) {
		const struct xdp_desc d = bed_rx(&bed.x);

		assert_int_equal(d.addr & XSK_UNALIGNED_BUF_ADDR_MASK, entry(first + i));
		assert_int_equal(xsk_umem__extract_offset(d.addr), bed.x.land);
		assert_int_equal(d.len, i + 1 < n ? piece : bytes - off);
		assert_int_equal(d.options, i + 1 < n ? XDP_PKT_CONTD : 0);
		bed_wrote(&bed, entry(first + i) + bed.x.land, frame + off, d.len);
	}
	bed_check(&bed);
	return n;
}

static void pieces_fill_entries_in_order_and_nothing_else_is_written(void **state)
{
	static const uint32_t bytes[] = { 60, 1523, 1524, 1525, 3048, 3049, 3841, 9014, 32000, 64000, FRAME_MAX };
	const struct xn_xsk_cfg cfg = with_sg(PIECE);

	bed_socket(&bed, &cfg);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bytes); i++) {
		const unsigned n = (bytes[i] - 1) / PIECE + 1;

		fill(i, n);
		send_frame(bytes[i], i);
		assert_int_equal(expect_pieces(i, bytes[i], PIECE), n);
		/* The kernel publishes what it has taken a little later than the frame. */
		while (xn_load_acquire32(bed.x.fill.consumer) != *bed.x.fill.producer)
			;
	}
}

static void longest_pieces_are_of_3840_bytes(void **state)
{
	const struct xn_xsk_cfg cfg = with_sg(XN_FRAME_BYTES_MAX);

	bed_socket(&bed, &cfg);
	fill(0, 18);
	send_frame(FRAME_MAX, 1);
	assert_int_equal(expect_pieces(0, FRAME_MAX, XN_FRAME_BYTES_MAX), 18);
}

/* All or nothing, and counted as dropped, not as an empty fill ring. */
static void frame_without_entries_for_all_pieces_takes_none(void **state)
{
	const struct xn_xsk_cfg cfg = with_sg(PIECE);
	struct xdp_statistics st;

	bed_socket(&bed, &cfg);
	fill(0, 5);
	send_frame(6 * PIECE, 1);
	assert_true(bed_rx_none(&bed.x, BED_NONE_MS));
	bed_check(&bed);
	send_frame(5 * PIECE, 2);
	assert_int_equal(expect_pieces(0, 5 * PIECE, PIECE), 5);
	xn_xsk_statistics(&bed.x, &st);
	assert_int_equal(st.rx_dropped, 1);
	assert_int_equal(st.rx_fill_ring_empty_descs, 0);
}

static void frame_that_finds_no_room_in_the_rx_ring_takes_no_entry(void **state)
{
	struct xn_xsk_cfg cfg = with_sg(PIECE);
	struct xdp_statistics st;

	cfg.fill_size = 16;
	cfg.rx_size = 32;
	bed_socket(&bed, &cfg);
	for (unsigned i = 0; i < 30; i += 10) {
		fill(i, 10);
		send_frame(10 * PIECE, i);
		while (xn_load_acquire32(bed.x.fill.consumer) != i + 10)
			;
	}
	fill(30, 5);
	send_frame(5 * PIECE, 3);
	bed_wait_full(&bed.x, 1);
	for (unsigned i = 0; i < 30; i += 10) {
		bed_frame(&bed, frame, 10 * PIECE, i);
		for (unsigned k = 0; k < 10; k++) {
			const struct xdp_desc d = bed_rx(&bed.x);

			bed_wrote(&bed, entry(i + k) + bed.x.land, frame + k * PIECE, d.len);
		}
	}
	assert_true(bed_rx_none(&bed.x, BED_NONE_MS));
	xn_xsk_statistics(&bed.x, &st);
	assert_int_equal(st.rx_ring_full, 1);
	send_frame(5 * PIECE, 4);
	assert_int_equal(expect_pieces(30, 5 * PIECE, PIECE), 5);
}

static uint32_t stop;

static void *send_many(void *arg)
{
	while (!xn_load_acquire32(&stop))
		(void)!send(bed.far, frame, 20 * PIECE, 0);
	return NULL;
}

/* Whatever the producer index is when it is looked at, a frame ends there. */
static void pieces_of_a_frame_are_published_together(void **state)
{
	const struct xn_xsk_cfg cfg = with_sg(PIECE);
	const uint64_t end = xn_now_ns() + 120000000000ull;
	unsigned seen = 0, frames = 0;
	uint32_t taken = 0;
	pthread_t thread;

	bed_socket(&bed, &cfg);
	fill(0, BED_FILL);
	bed_frame(&bed, frame, 20 * PIECE, 1);
	stop = 0;
	assert_int_equal(pthread_create(&thread, NULL, send_many, NULL), 0);
	while (frames < 1000 && xn_now_ns() < end) {
		const uint32_t now = xn_load_acquire32(bed.x.rx.producer), n = now - taken;
		uint32_t idx;

		if (!n)
			continue;
		assert_false(xsk_ring_cons__rx_desc(&bed.x.rx, now - 1)->options & XDP_PKT_CONTD);
		seen++;
		assert_int_equal(xsk_ring_cons__peek(&bed.x.rx, n, &idx), n);
		/* (The kernel publishes what it has taken from the fill ring a little later.) */
		while (xsk_ring_prod__reserve(&bed.x.fill, n, &idx) != n)
			;
		for (uint32_t i = 0; i < n; i++, taken++) {
			const struct xdp_desc *d = xsk_ring_cons__rx_desc(&bed.x.rx, taken);

			frames += !(d->options & XDP_PKT_CONTD);
			*xsk_ring_prod__fill_addr(&bed.x.fill, idx + i) = d->addr & XSK_UNALIGNED_BUF_ADDR_MASK;
		}
		xsk_ring_cons__release(&bed.x.rx, n);
		xsk_ring_prod__submit(&bed.x.fill, n);
	}
	xn_store_release32(&stop, 1);
	pthread_join(thread, NULL);
	print_message("%u frames of 20 pieces, looked at %u times\n", frames, seen);
	assert_true(frames >= 1000);
}

/* A second socket of the queue gets pieces, too, though it was not asked for them. */
static void sockets_that_share_get_pieces(void **state)
{
	const struct xn_xsk_cfg cfg = with_sg(PIECE);
	struct xn_xsk_cfg rx_cfg = cfg;
	struct xn_xsk second, first;

	rx_cfg.spare_fd = -1;
	bed_socket(&bed, &cfg);
	assert_int_equal(xn_xsk_open_rx(&second, &bed.x, &rx_cfg), 0);
	assert_int_equal(xn_steer_set(bed.steer, 0, second.fd), 0);
	fill(0, 6);
	send_frame(9000, 1);
	first = bed.x;
	bed.x.rx = second.rx;
	expect_pieces(0, 9000, PIECE);
	bed.x.rx = first.rx;
	xn_xsk_close(&second);
}

static void without_the_flag_a_longer_frame_is_dropped(void **state)
{
	struct xn_xsk_cfg cfg = with_sg(XN_FRAME_BYTES_MAX);
	struct xdp_statistics st;

	cfg.sg = false;
	bed_socket(&bed, &cfg);
	fill(0, 20);
	send_frame(XN_FRAME_BYTES_MAX + 1, 1);
	assert_true(bed_rx_none(&bed.x, BED_NONE_MS));
	bed_check(&bed);
	/* One that comes in several parts, and fits, comes in one piece without it. */
	assert_true(xn_steer_native(bed.steer));
	send_frame(XN_FRAME_BYTES_MAX, 2);
	assert_int_equal(expect_pieces(0, XN_FRAME_BYTES_MAX, XN_FRAME_BYTES_MAX), 1);
	xn_xsk_statistics(&bed.x, &st);
	assert_int_equal(st.rx_dropped, 1);
}

/* Headers are in what the program sees, and so is the length. */
static void program_knows_the_length_of_all_parts(void **state)
{
	const struct xn_xsk_cfg cfg = with_sg(PIECE);
	const struct xn_steer_cfg short_cfg = { .ifindex = bed.lab.near_ifindex, .ifname = XN_LAB_NEAR,
						.frame_bytes = 30000, .frags = true, .filter_mac = true,
						.mac = { bed.lab.near_mac[0], bed.lab.near_mac[1],
							 bed.lab.near_mac[2], bed.lab.near_mac[3],
							 bed.lab.near_mac[4], bed.lab.near_mac[5] } };
	uint64_t exits[XN_E_COUNT];

	bed_socket(&bed, &cfg);
	xn_steer_close(bed.steer);
	bed.steer = NULL;
	assert_int_equal(xn_steer_open(&bed.steer, &short_cfg), 0);
	assert_int_equal(xn_steer_set(bed.steer, 0, bed.x.fd), 0);
	fill(0, 30);
	send_frame(30001, 1);
	send_frame(30000, 2);
	expect_pieces(0, 30000, PIECE);
	xn_steer_counters(bed.steer, exits);
	assert_int_equal(exits[XN_E_steer_too_long], 1);
	assert_int_equal(exits[XN_E_steer_to_guest], 1);
}

/* Why the loader marks the program: veth takes no other natively. */
static void without_the_mark_there_is_no_native_program_for_long_frames(void **state)
{
	const struct xn_steer_cfg plain = { .ifindex = bed.lab.near_ifindex, .ifname = XN_LAB_NEAR,
					    .frame_bytes = 1518, .attach = XN_ATTACH_NATIVE };
	struct xn_steer *s;
	bool loud = xn_fail_silently(true);

	assert_int_equal(xn_steer_open(&s, &plain), -EOPNOTSUPP);
	xn_fail_silently(loud);
}

#define FACT(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FACT(pieces_fill_entries_in_order_and_nothing_else_is_written),
		FACT(longest_pieces_are_of_3840_bytes),
		FACT(frame_without_entries_for_all_pieces_takes_none),
		FACT(frame_that_finds_no_room_in_the_rx_ring_takes_no_entry),
		FACT(pieces_of_a_frame_are_published_together),
		FACT(sockets_that_share_get_pieces),
		FACT(without_the_flag_a_longer_frame_is_dropped),
		FACT(program_knows_the_length_of_all_parts),
		FACT(without_the_mark_there_is_no_native_program_for_long_frames),
	};

	alarm(ALL_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
