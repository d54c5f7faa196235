/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the code takes for granted about the kernel, asked of the kernel that runs:
 * a case for each fact, on a real veth pair in namespaces of its own. A kernel that
 * differs is noticed here, and not in a guest's memory.
 *
 * Where kernels are known to differ and the code is right with either, the case
 * says which of the two this one is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "tests/cmocka.h"
#include "base/atomics.h"
#include "base/log.h"
#include "tests/fake/kernel.h"
#include "tests/kernel/bed.h"
#include "xsk/zc.h"

#define ALL_S 900u    /* for all cases together */
#define CAP(x) (1ull << CAP_##x)

static struct bed bed;

/* Frames without a pause from the far end, by a thread. */
static struct {
	bool running;
	uint32_t stop;
	pthread_t thread;
} flood;

static void *flood_run(void *arg)
{
	uint8_t f[200];

	bed_frame(&bed, f, sizeof(f), 1);
	/* No two frames are alike: one that is written over another changes memory. */
	for (uint64_t seq = 0; !xn_load_acquire32(&flood.stop); seq++) {
		memcpy(f + 14, &seq, sizeof(seq));
		(void)!send(bed.far, f, sizeof(f), MSG_DONTWAIT);
	}
	return NULL;
}

static void flood_start(void)
{
	flood.stop = 0;
	assert_int_equal(pthread_create(&flood.thread, NULL, flood_run, NULL), 0);
	flood.running = true;
}

static void flood_stop(void)
{
	if (!flood.running)
		return;
	xn_store_release32(&flood.stop, 1);
	pthread_join(flood.thread, NULL);
	flood.running = false;
}

static int setup(void **state)
{
	bed_open(&bed, 1);
	return 0;
}

static int setup_two_queues(void **state)
{
	bed_open(&bed, 2);
	return 0;
}

static int teardown(void **state)
{
	flood_stop();
	bed_close(&bed);
	return 0;
}

/* Waits until a ring's word (of the kernel's) is at least v. */
static void wait_word(const uint32_t *word, uint32_t v)
{
	uint64_t end = xn_now_ns() + BED_WAIT_MS * 1000000ull;

	while ((int32_t)(xn_load_acquire32(word) - v) < 0)
		if (xn_now_ns() > end)
			fail_msg("a ring's index is %u, and should get to %u", *word, v);
}

static uint64_t base_of(uint64_t addr) { return addr & XSK_UNALIGNED_BUF_ADDR_MASK; }

/* ---- receive ---- */

/* One frame of `bytes` to fill entry `fill`; checks descriptor and all of the memory. */
static void receive_one(uint64_t fill, uint32_t bytes, uint32_t seed)
{
	uint8_t f[BED_FRAME];
	struct xdp_desc d;

	bed_frame(&bed, f, bytes, seed);
	bed_fill(&bed.x, &fill, 1);
	bed_far_send(&bed, f, bytes);
	d = bed_rx(&bed.x);
	assert_int_equal(d.len, bytes);
	assert_int_equal(base_of(d.addr), base_of(fill));
	assert_int_equal(xsk_umem__extract_offset(d.addr), bed.x.land);
	bed_wrote(&bed, base_of(fill) + bed.x.land, f, bytes);
	bed_check(&bed);
}

static void frame_lands_behind_the_headroom_at_any_address_and_nothing_else_is_written(void **state)
{
	static const uint64_t at[] = { 0, 1, 0x1000, 0x20001, 0x20ffe, 0x21777, 0x3fa03,
				       BED_RAM - XN_CHUNK_BYTES };
	static const uint32_t bytes[] = { 14, 15, 60, 61, 999, 1513, 1514 };
	uint32_t seed = 0;

	bed_socket(&bed, NULL);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(at); i++)
		for (unsigned j = 0; j < XN_ARRAY_SIZE(bytes); j++)
			receive_one(at[i], bytes[j], seed++);
}

static void longest_frame_is_exact_to_the_byte(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);
	struct xdp_statistics st;
	uint8_t f[BED_FRAME];

	cfg.frame_bytes = 1001;
	bed_socket(&bed, &cfg);
	receive_one(0x30003, 1001, 1);
	bed_fill(&bed.x, &(uint64_t){ 0x40001 }, 1);
	bed_frame(&bed, f, 1002, 2);
	bed_far_send(&bed, f, 1002);
	assert_true(bed_rx_none(&bed.x, BED_NONE_MS));
	bed_check(&bed);
	/* It took no fill entry: the next frame gets that. */
	bed_frame(&bed, f, 1001, 3);
	bed_far_send(&bed, f, 1001);
	assert_int_equal(base_of(bed_rx(&bed.x).addr), 0x40001);
	xn_xsk_statistics(&bed.x, &st);
	assert_int_equal(st.rx_dropped, 1);
}

static void frame_lands_at_the_end_of_a_chunk_of_2048_bytes_too(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);

	cfg.chunk_bytes = 2048;
	cfg.frame_bytes = 1536;
	bed_socket(&bed, &cfg);
	assert_int_equal(bed.x.land, 512);
	receive_one(0x20001, 1514, 1);
	receive_one(0x30000 - 512, 60, 2);
	receive_one(BED_RAM - 2048, 1514, 3);   /* the last chunk that is inside */
}

static void shortest_frame_bytes_are_accepted(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);

	cfg.frame_bytes = XN_FRAME_BYTES_MIN;
	bed_socket(&bed, &cfg);
	receive_one(0x30003, XN_FRAME_BYTES_MIN, 1);
	xn_steer_close(bed.steer);
	bed.steer = NULL;
	xn_xsk_close(&bed.x);
	cfg.frame_bytes = XN_FRAME_BYTES_MAX;
	bed_socket(&bed, &cfg);
	receive_one(0x30003, 1514, 2);
}

static void offset_bits_of_a_fill_entry_are_ignored(void **state)
{
	bed_socket(&bed, NULL);
	receive_one(0x20001 | 0x1234ull << XSK_UNALIGNED_BUF_OFFSET_SHIFT, 100, 1);
}

static void frames_come_in_the_order_of_the_fill_ring_with_its_addresses(void **state)
{
	uint64_t at[BED_FILL];
	uint8_t f[64];

	bed_socket(&bed, NULL);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < BED_FILL; i++)
			at[i] = 4096 + (i * 37 % BED_FILL) * 5003 + round;
		bed_fill(&bed.x, at, BED_FILL);
		for (unsigned i = 0; i < BED_FILL; i++) {
			bed_frame(&bed, f, 60, i);
			bed_far_send(&bed, f, 60);
		}
		for (unsigned i = 0; i < BED_FILL; i++) {
			struct xdp_desc d = bed_rx(&bed.x);

			bed_frame(&bed, f, 60, i);
			assert_int_equal(base_of(d.addr), at[i]);
			assert_memory_equal(bed.ram + at[i] + bed.x.land, f, 60);
		}
	}
}

static void invalid_fill_entry_is_swallowed(void **state)
{
	const uint64_t at[] = { BED_RAM - XN_CHUNK_BYTES + 1, BED_RAM, 0x30001 };
	struct xdp_statistics st;
	uint8_t f[60];

	bed_socket(&bed, NULL);
	bed_fill(&bed.x, at, XN_ARRAY_SIZE(at));
	bed_frame(&bed, f, 60, 1);
	bed_far_send(&bed, f, 60);
	assert_int_equal(base_of(bed_rx(&bed.x).addr), 0x30001);
	wait_word(bed.x.fill.consumer, 3);   /* a little later than the frame */
	xn_xsk_statistics(&bed.x, &st);
	assert_int_equal(*bed.x.fill.consumer, 3);
	print_message("two invalid fill entries: %llu counted\n",
		      (unsigned long long)st.rx_invalid_descs);
}

/* Why the RX ring has to be larger than what is outstanding (xsk/xsk.h). */
static void entry_of_a_frame_that_found_the_rx_ring_full_is_used_again_first(void **state)
{
	const uint64_t stuck = 0x80001, fresh = 0x90001;
	uint8_t f[60];

	bed_socket(&bed, NULL);
	bed_frame(&bed, f, 60, 1);
	for (unsigned i = 0; i < BED_RX; i++) {
		bed_fill(&bed.x, &(uint64_t){ 0x20001 }, 1);
		bed_far_send(&bed, f, 60);
		wait_word(bed.x.rx.producer, i + 1);
	}
	bed_fill(&bed.x, &stuck, 1);
	bed_far_send(&bed, f, 60);
	bed_wait_full(&bed.x, 1);
	for (unsigned i = 0; i < BED_RX; i++)
		bed_rx(&bed.x);
	assert_true(bed_rx_none(&bed.x, BED_NONE_MS));
	bed_fill(&bed.x, &fresh, 1);
	bed_far_send(&bed, f, 60);
	bed_far_send(&bed, f, 60);
	assert_int_equal(base_of(bed_rx(&bed.x).addr), stuck);
	assert_int_equal(base_of(bed_rx(&bed.x).addr), fresh);
}

/* ---- transmit ---- */

static void sent_buffer_may_be_overwritten_as_soon_as_its_descriptor_is_consumed(void **state)
{
	uint8_t f[1514], got[2048], junk[1514];

	assert_true(xn_probe_tx_copies("veth"));
	bed_socket(&bed, NULL);
	memset(junk, 0xee, sizeof(junk));
	for (unsigned i = 0; i < 50; i++) {
		bed_frame(&bed, f, sizeof(f), i);
		bed_put(&bed, 0x30001, f, sizeof(f));
		bed_tx(&bed.x, &(struct xdp_desc){ .addr = 0x30001, .len = sizeof(f) }, 1);
		assert_int_equal(bed_send(&bed.x, NULL), 0);
		assert_int_equal(*bed.x.tx.consumer, i + 1);
		bed_put(&bed, 0x30001, junk, sizeof(junk));
		assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_WAIT_MS), sizeof(f));
		assert_memory_equal(got, f, sizeof(f));
	}
	bed_check(&bed);   /* and the kernel wrote nothing */
}

/* Linux 6.18: bit 0 of a packet's first address is lost in the completion ring. */
static void completions_carry_the_address_but_for_bit_0(void **state)
{
	const uint64_t at[] = { 0x30000, 0x31001, 0x32000, 0x33003 };
	uint64_t done[8];
	uint8_t f[60];

	bed_socket(&bed, NULL);
	bed_frame(&bed, f, sizeof(f), 1);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(at); i++) {
		bed_put(&bed, at[i], f, sizeof(f));
		bed_tx(&bed.x, &(struct xdp_desc){ .addr = at[i], .len = sizeof(f) }, 1);
	}
	assert_int_equal(bed_send(&bed.x, NULL), 0);
	assert_int_equal(bed_comp(&bed.x, done, 8, XN_ARRAY_SIZE(at)), XN_ARRAY_SIZE(at));
	for (unsigned i = 0; i < XN_ARRAY_SIZE(at); i++)
		assert_int_equal(done[i] | 1, at[i] | 1);
	print_message("odd addresses %s bit 0 in completions\n",
		      done[1] == at[1] ? "keep" : "lose");
}

/* Posts f in n pieces of at least one byte, from addresses apart and odd. */
static void tx_pieces(const uint8_t *f, uint32_t bytes, unsigned n)
{
	struct xdp_desc d[32];
	uint32_t from = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t to = bytes * (i + 1) / n;
		uint64_t at = 0x40001 + i * 0x2003ull;

		bed_put(&bed, at, f + from, to - from);
		d[i] = (struct xdp_desc){ .addr = at, .len = to - from,
					  .options = i + 1 < n ? XDP_PKT_CONTD : 0 };
		from = to;
	}
	bed_tx(&bed.x, d, n);
}

static void packet_may_have_18_pieces_without_XDP_USE_SG(void **state)
{
	uint8_t f[1514], got[2048];
	uint64_t done[64];

	bed_socket(&bed, NULL);
	for (unsigned n = 1; n <= XN_TX_PIECES_MAX; n++) {
		bed_frame(&bed, f, sizeof(f), n);
		tx_pieces(f, sizeof(f), n);
		assert_int_equal(bed_send(&bed.x, NULL), 0);
		assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_WAIT_MS), sizeof(f));
		assert_memory_equal(got, f, sizeof(f));
		assert_int_equal(bed_comp(&bed.x, done, 64, n), n);
	}
}

static void packet_of_19_pieces_is_dropped_and_counted_and_the_next_is_sent(void **state)
{
	uint8_t f[1514], got[2048];
	struct xdp_statistics st;
	uint64_t done[64];
	unsigned n;

	bed_socket(&bed, NULL);
	bed_frame(&bed, f, sizeof(f), 1);
	tx_pieces(f, sizeof(f), XN_TX_PIECES_MAX + 1);
	bed_send(&bed.x, NULL);
	assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_NONE_MS), 0);
	xn_xsk_statistics(&bed.x, &st);
	assert_true(st.tx_invalid_descs >= XN_TX_PIECES_MAX);
	n = bed_comp(&bed.x, done, 64, 1);
	print_message("19 pieces: %llu counted as invalid, %u completed\n",
		      (unsigned long long)st.tx_invalid_descs, n);
	tx_pieces(f, sizeof(f), 1);
	assert_int_equal(bed_send(&bed.x, NULL), 0);
	assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_WAIT_MS), sizeof(f));
}

/* Why half a packet is never published. */
static void unfinished_packet_is_glued_to_the_next_descriptor(void **state)
{
	uint8_t f[200], got[2048];

	bed_socket(&bed, NULL);
	bed_frame(&bed, f, sizeof(f), 1);
	bed_put(&bed, 0x30001, f, sizeof(f));
	bed_tx(&bed.x, &(struct xdp_desc){ .addr = 0x30001, .len = 100, .options = XDP_PKT_CONTD },
	       1);
	assert_int_equal(bed_send(&bed.x, NULL), 0);
	assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_NONE_MS), 0);
	bed_tx(&bed.x, &(struct xdp_desc){ .addr = 0x30001 + 100, .len = 100 }, 1);
	assert_int_equal(bed_send(&bed.x, NULL), 0);
	assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_WAIT_MS), 200);
	assert_memory_equal(got, f, sizeof(f));
}

static void tx_reaches_to_the_last_byte_of_the_umem_and_not_beyond(void **state)
{
	uint8_t f[60], got[2048];
	struct xdp_statistics st;
	uint64_t done[8];

	bed_socket(&bed, NULL);
	bed_frame(&bed, f, sizeof(f), 1);
	bed_put(&bed, BED_RAM - sizeof(f), f, sizeof(f));
	bed_tx(&bed.x, &(struct xdp_desc){ .addr = BED_RAM - sizeof(f), .len = sizeof(f) }, 1);
	assert_int_equal(bed_send(&bed.x, NULL), 0);
	assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_WAIT_MS), sizeof(f));
	bed_comp(&bed.x, done, 8, 1);

	bed_tx(&bed.x, &(struct xdp_desc){ .addr = BED_RAM - 59, .len = sizeof(f) }, 1);
	bed_send(&bed.x, NULL);
	assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_NONE_MS), 0);
	xn_xsk_statistics(&bed.x, &st);
	assert_int_equal(st.tx_invalid_descs, 1);
	print_message("invalid descriptor: consumed %u, completed %u\n", *bed.x.tx.consumer - 1,
		      bed_comp(&bed.x, done, 8, 0));
}

/* They would vanish without a trace: so the engine drops and counts them itself. */
static void too_short_and_too_long_packets_complete_and_are_nowhere(void **state)
{
	static const uint32_t bytes[] = { 1, 13, 1519, XN_CHUNK_BYTES };
	uint64_t done[8];
	uint8_t got[5000];

	bed_socket(&bed, NULL);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bytes); i++) {
		bed_tx(&bed.x, &(struct xdp_desc){ .addr = 0x30001, .len = bytes[i] }, 1);
		bed_send(&bed.x, NULL);
		assert_int_equal(bed_comp(&bed.x, done, 8, 1), 1);
		assert_int_equal(bed_far_recv(&bed, got, sizeof(got), 1), 0);
	}
}

/* How many calls it takes to send 200 packets. */
static unsigned calls_for_200(void)
{
	struct xdp_desc d[200];
	uint8_t f[60];
	unsigned calls;

	bed_frame(&bed, f, sizeof(f), 1);
	bed_put(&bed, 0x30001, f, sizeof(f));
	for (unsigned i = 0; i < 200; i++)
		d[i] = (struct xdp_desc){ .addr = 0x30001, .len = sizeof(f) };
	bed_tx(&bed.x, d, 200);
	assert_int_equal(bed_send(&bed.x, &calls), 0);
	assert_int_equal(*bed.x.tx.consumer, 200);
	return calls;
}

static void system_call_sends_32_descriptors_unless_the_budget_is_raised(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);

	cfg.tx_budget = 0;
	bed_socket(&bed, &cfg);
	assert_int_equal(calls_for_200(), 7);
	if (!xn_probe_tx_budget()) {
		print_message("skipped: no XDP_MAX_TX_SKB_BUDGET (Linux 6.17)\n");
		skip();
	}
	xn_steer_close(bed.steer);
	bed.steer = NULL;
	xn_xsk_close(&bed.x);
	cfg.tx_budget = 1024;   /* more than the ring has: taken down to that */
	bed_socket(&bed, &cfg);
	assert_int_equal(calls_for_200(), 1);
}

static void packet_that_the_device_drops_is_EBUSY_and_completed(void **state)
{
	uint64_t done[8];
	uint8_t f[60];
	int err;

	bed_socket(&bed, NULL);
	bed_frame(&bed, f, sizeof(f), 1);
	bed_put(&bed, 0x30001, f, sizeof(f));
	assert_int_equal(xn_lab_enter_far(&bed.lab), 0);
	assert_int_equal(xn_link_set(XN_LAB_FAR, false), 0);
	assert_int_equal(xn_lab_enter_near(&bed.lab), 0);
	for (unsigned i = 0; i < 2; i++)
		bed_tx(&bed.x, &(struct xdp_desc){ .addr = 0x30001, .len = sizeof(f) }, 1);
	err = bed.x.send(&bed.x);
	assert_int_equal(err, -EBUSY);
	assert_int_equal(bed_comp(&bed.x, done, 8, 1), 1);   /* it stops after each */
	print_message("after EBUSY the consumer index is %u of 1\n", *bed.x.tx.consumer);
	assert_int_equal(bed.x.send(&bed.x), -EBUSY);
	assert_int_equal(bed_comp(&bed.x, done, 8, 1), 1);
	bed.x.send(&bed.x);
	assert_int_equal(*bed.x.tx.consumer, 2);
}

static void full_completion_ring_is_EAGAIN_and_loses_nothing(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);
	uint64_t done[64];
	uint8_t f[60];

	cfg.comp_size = 32;
	bed_socket(&bed, &cfg);
	bed_frame(&bed, f, sizeof(f), 1);
	bed_put(&bed, 0x30001, f, sizeof(f));
	for (unsigned i = 0; i < 40; i++)
		bed_tx(&bed.x, &(struct xdp_desc){ .addr = 0x30001, .len = sizeof(f) }, 1);
	assert_int_equal(bed.x.send(&bed.x), -EAGAIN);
	assert_int_equal(*bed.x.tx.consumer, 32);
	assert_int_equal(bed_comp(&bed.x, done, 64, 32), 32);
	assert_int_equal(bed_send(&bed.x, NULL), 0);
	assert_int_equal(bed_comp(&bed.x, done, 64, 8), 8);
}

/* ---- end of a socket ---- */

static void fill_all(struct xn_xsk *x)
{
	uint64_t at[BED_FILL];

	for (unsigned n = 0; n < x->fill.size; n += BED_FILL) {
		for (unsigned i = 0; i < BED_FILL; i++)
			at[i] = i * 8191;
		bed_fill(x, at, BED_FILL);
	}
}

/* More fill entries than a flood can use up while a test looks on. */
#define FLOOD_FILL 65536u
#define TURNS      200u

static void flood_socket(void)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);

	cfg.fill_size = FLOOD_FILL;
	cfg.rx_size = 2 * FLOOD_FILL;
	bed_socket(&bed, &cfg);
}

static uint32_t entries_left(void)
{
	return *bed.x.fill.producer - *bed.x.fill.consumer;
}

/* From now on nothing may change, though frames keep coming. True: nothing did. */
static bool memory_is_still(void)
{
	memcpy(bed.want, bed.ram, BED_RAM);
	usleep(30000);
	return !memcmp(bed.want, bed.ram, BED_RAM);
}

static void drain_rx(void)
{
	uint32_t idx;
	unsigned n;

	while ((n = xsk_ring_cons__peek(&bed.x.rx, BED_RX, &idx)))
		xsk_ring_cons__release(&bed.x.rx, n);
}

/* One turn of it; frames keep coming all the time. False: this process slept so long that they had
 * used up all entries, and the turn says nothing. */
static bool remove_in_full_flight(unsigned turn)
{
	uint32_t seen;
	bool in_flight;

	fill_all(&bed.x);
	wait_word(bed.x.rx.producer, turn * FLOOD_FILL + 8);
	xn_steer_clear(bed.steer, 0);
	assert_int_equal(xn_xsk_barrier(), 0);
	seen = *bed.x.rx.producer;
	in_flight = entries_left() > 0;
	assert_true(memory_is_still());
	assert_int_equal(seen, *bed.x.rx.producer);
	/* And goes on as if nothing had been, up to the last entry. */
	assert_int_equal(xn_steer_set(bed.steer, 0, bed.x.fd), 0);
	wait_word(bed.x.rx.producer, (turn + 1) * FLOOD_FILL);
	drain_rx();
	return in_flight;
}

static void after_removal_from_the_map_and_membarrier_nothing_is_written(void **state)
{
	unsigned good = 0;

	assert_true(xn_probe_membarrier());
	flood_socket();
	flood_start();
	for (unsigned i = 0; good < 5; i++) {
		assert_true(i < TURNS);
		good += remove_in_full_flight(i);
	}
}

static void after_close_nothing_is_written(void **state)
{
	unsigned good = 0;

	flood_start();
	for (unsigned i = 0; good < 5; i++) {
		assert_true(i < TURNS);
		flood_socket();
		fill_all(&bed.x);
		wait_word(bed.x.rx.producer, 8);
		/* Else this process has slept meanwhile, and the turn says nothing. */
		good += entries_left() > FLOOD_FILL / 2;
		xn_xsk_close(&bed.x);
		assert_true(memory_is_still());
		xn_steer_close(bed.steer);
		bed.steer = NULL;
	}
}

static void ring_that_stays_mapped_keeps_the_queue(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);
	void *p;

	assert_int_equal(xn_xsk_open(&bed.x, &cfg), 0);
	p = mmap(NULL, XN_PAGE_SIZE, PROT_READ, MAP_SHARED, bed.x.fd, XDP_PGOFF_RX_RING);
	assert_true(p != MAP_FAILED);
	xn_xsk_close(&bed.x);
	cfg.busy_ms = 200;
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), -EBUSY);
	assert_non_null(strstr(xn_last_error(), "taken"));
	munmap(p, XN_PAGE_SIZE);
	cfg.busy_ms = 0;
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), 0);
}

static void queue_is_free_again_a_moment_after_close(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);

	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(xn_xsk_open(&bed.x, &cfg), 0);
		xn_xsk_close(&bed.x);
	}
}

/* The end of a bind in zero-copy mode, on a wire where there is none: the same calls. */
static void barrier_of_a_stop_is_that_the_queue_can_be_bound_again(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);
	struct xn_xsk other;
	const unsigned n = bed.lab.near_ifindex;
	int spare;

	for (unsigned i = 0; i < 4; i++) {
		spare = -1;
		assert_int_equal(xn_xsk_open(&bed.x, &cfg), 0);
		if (i % 2)
			assert_int_equal(xn_xsk_socket(&spare, XN_LAB_NEAR), 0);
		assert_int_equal(xn_zc_close(&bed.x, n, 0, XN_LAB_NEAR, spare, BED_WAIT_MS), 0);
		assert_int_equal(bed.x.fd, -1);
		assert_true(spare < 0 || fcntl(spare, F_GETFD) < 0);   /* used up */
	}

	/* Somebody keeps the queue. */
	assert_int_equal(xn_xsk_open(&other, &cfg), 0);
	bed.x = (struct xn_xsk){ .fd = -1 };
	assert_int_equal(xn_xsk_socket(&spare, XN_LAB_NEAR), 0);
	assert_int_equal(xn_zc_close(&bed.x, n, 0, XN_LAB_NEAR, spare, 100), -ETIMEDOUT);
	assert_non_null(strstr(xn_last_error(), "guest memory may still be written"));
	assert_true(fcntl(spare, F_GETFD) < 0);
	xn_xsk_close(&other);

	/* Who is gone does not write. */
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), 0);
	assert_int_equal(xn_link_delete(XN_LAB_NEAR), 0);
	assert_int_equal(xn_zc_close(&bed.x, n, 0, XN_LAB_NEAR, -1, 100), 0);
}

static void deleted_interface_is_told_by_SO_ERROR_and_not_by_poll(void **state)
{
	struct pollfd p;

	bed_socket(&bed, NULL);
	assert_int_equal(xn_xsk_error(&bed.x), 0);
	assert_int_equal(xn_link_delete(XN_LAB_NEAR), 0);
	p = (struct pollfd){ .fd = bed.x.fd, .events = POLLIN };
	print_message("poll says %s\n", poll(&p, 1, BED_NONE_MS) ? "something" : "nothing");
	assert_int_equal(xn_xsk_error(&bed.x), -ENETDOWN);
	assert_int_equal(bed.x.send(&bed.x), -ENXIO);
}

/* ---- memory that can be registered ---- */

static int open_with_256_KiB_of_memlock(void *arg)
{
	const struct rlimit lim = { 256 << 10, 256 << 10 };
	struct xn_xsk_cfg cfg = bed_cfg(&bed);
	struct xn_xsk x;

	if (setrlimit(RLIMIT_MEMLOCK, &lim))
		return 50;
	if (xn_xsk_open(&x, &cfg) != -ENOBUFS)
		return 51;
	if (!strstr(xn_last_error(), "1048576") || !strstr(xn_last_error(), "ulimit -l 1024"))
		return 52;
	return 0;
}

static void memlock_limit_is_ENOBUFS_and_the_message_has_the_bytes(void **state)
{
	assert_int_equal(bed_child(open_with_256_KiB_of_memlock, NULL, CAP(IPC_LOCK)), 0);
}

/* An unnamed file on a file system of this kind; -1: none at hand. */
static int file_on_ext4(void)
{
	static const char *const dirs[] = { "/var/tmp", "/tmp", "." };
	struct statfs fs;
	int fd;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(dirs); i++) {
		if (statfs(dirs[i], &fs) || fs.f_type != EXT4_SUPER_MAGIC)
			continue;
		fd = open(dirs[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

static void file_on_a_disk_cannot_be_pinned_and_the_message_has_its_place(void **state)
{
	const uint64_t at = BED_RAM / 2 + 3 * XN_PAGE_SIZE;
	struct xn_xsk_cfg cfg = bed_cfg(&bed);
	int fd = file_on_ext4();
	char want[32];
	void *p;

	if (fd < 0) {
		print_message("skipped: no ext4 for temporary files here\n");
		skip();
	}
	assert_int_equal(ftruncate(fd, 65536), 0);
	p = mmap(bed.ram + at, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	close(fd);
	assert_true(p != MAP_FAILED);
	bed.mem.n_spans = 2;
	bed.mem.spans[0] = (struct xn_span){ .gpa = 0, .bytes = 0x10000 };
	bed.mem.spans[1] = (struct xn_span){ .gpa = 0xabc00000, .bytes = BED_RAM - 0x10000,
					     .uoff = 0x10000 };
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), -EFAULT);
	snprintf(want, sizeof(want), "0x%llx ", 0xabc00000ull + at - 0x10000);
	assert_non_null(strstr(xn_last_error(), want));
}

/* ---- modes, sharing, privileges ---- */

static void veth_has_no_zero_copy(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);

	cfg.mode = XN_XSK_ZERO_COPY;
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), -EOPNOTSUPP);
	assert_int_equal(bed.x.fd, -1);
	cfg.mode = XN_XSK_AUTO;   /* falls back without a word, and says so when asked */
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), 0);
	assert_false(bed.x.zero_copy);
}

static void what_is_not_there_is_refused_with_its_own_error(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);

	cfg.queue = 1;
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), -EINVAL);
	cfg.queue = 0;
	cfg.ifindex = 12345;
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), -ENODEV);
	assert_int_equal(bed.x.fd, -1);
	assert_int_equal(xn_steer_open(&bed.steer, &(struct xn_steer_cfg){
		.ifindex = 12345, .ifname = "none", .frame_bytes = 2000 }), -ENODEV);
	assert_null(bed.steer);
}

/* A second socket on the same memory, and at the far end one for each queue, since
 * on veth the sender's TX queue is the receiver's RX queue. */
static void second_queue_shares_the_umem_with_rings_of_its_own(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed), far_cfg;
	struct xn_xsk second, far[2];
	uint8_t f[60], got[128];

	bed_socket(&bed, NULL);
	cfg.queue = 1;
	cfg.share_fd = bed.x.fd;
	assert_int_equal(xn_xsk_open(&second, &cfg), 0);
	assert_int_equal(xn_steer_set(bed.steer, 1, second.fd), 0);

	assert_int_equal(xn_lab_enter_far(&bed.lab), 0);
	for (unsigned i = 0; i < 2; i++) {
		far_cfg = bed_cfg(&bed);
		far_cfg.ifindex = bed.lab.far_ifindex;
		far_cfg.ifname = XN_LAB_FAR;
		far_cfg.queue = i;
		assert_int_equal(xn_xsk_open(&far[i], &far_cfg), 0);
	}
	bed_fill(&bed.x, &(uint64_t){ 0x50001 }, 1);
	bed_fill(&second, &(uint64_t){ 0x60001 }, 1);
	for (unsigned i = 0; i < 2; i++) {
		bed_frame(&bed, f, sizeof(f), i);
		bed_put(&bed, 0x30000 + i * 4096, f, sizeof(f));
		bed_tx(&far[i], &(struct xdp_desc){ .addr = 0x30000 + i * 4096, .len = sizeof(f) },
		       1);
		assert_int_equal(bed_send(&far[i], NULL), 0);
	}
	assert_int_equal(base_of(bed_rx(&bed.x).addr), 0x50001);
	assert_int_equal(base_of(bed_rx(&second).addr), 0x60001);
	for (unsigned i = 0; i < 2; i++) {
		bed_frame(&bed, f, sizeof(f), i);
		bed_wrote(&bed, 0x50001 + i * 0x10000 + bed.x.land, f, sizeof(f));
		xn_xsk_close(&far[i]);
	}
	bed_check(&bed);

	bed_tx(&second, &(struct xdp_desc){ .addr = 0x31000, .len = sizeof(f) }, 1);
	assert_int_equal(bed_send(&second, NULL), 0);
	assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_WAIT_MS), sizeof(f));
	/* The first may go first: the memory stays registered for the other. */
	xn_xsk_close(&bed.x);
	bed_tx(&second, &(struct xdp_desc){ .addr = 0x31000, .len = sizeof(f) }, 1);
	assert_int_equal(bed_send(&second, NULL), 0);
	assert_int_equal(bed_far_recv(&bed, got, sizeof(got), BED_WAIT_MS), sizeof(f));
	xn_xsk_close(&second);
}

/* One frame to each socket of a queue in turns: buffers come from the first's fill ring, in its
 * order, whichever socket gets the frame. */
static void further_socket_of_a_queue_gets_frames_in_the_buffers_of_the_first(void **state)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);
	uint64_t fill[8];
	struct xn_xsk also;
	uint8_t f[60];

	bed_socket(&bed, NULL);
	assert_int_equal(xn_xsk_open_rx(&also, &bed.x, &cfg), 0);
	assert_false(also.zero_copy);
	assert_null(also.fill.ring);
	for (unsigned i = 0; i < 8; i++)
		fill[i] = 0x20001 + i * 0x3000;
	bed_fill(&bed.x, fill, 8);
	for (unsigned i = 0; i < 8; i++) {
		struct xn_xsk *to = i % 2 ? &also : &bed.x;

		assert_int_equal(xn_steer_set(bed.steer, 0, to->fd), 0);
		bed_frame(&bed, f, sizeof(f), i);
		bed_far_send(&bed, f, sizeof(f));
		assert_int_equal(base_of(bed_rx(to).addr), fill[i]);
		bed_wrote(&bed, fill[i] + bed.x.land, f, sizeof(f));
	}
	bed_check(&bed);

	/* The queue is taken as long as one of them is open. */
	xn_xsk_close(&bed.x);
	cfg.busy_ms = 100;
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), -EBUSY);
	xn_xsk_close(&also);
	cfg.busy_ms = 0;
	assert_int_equal(xn_xsk_open(&bed.x, &cfg), 0);
}

static int open_without_privileges(void *arg)
{
	struct xn_xsk_cfg cfg = bed_cfg(&bed);
	struct xn_steer *s;
	struct xn_xsk x;

	if (xn_xsk_open(&x, &cfg) != -EPERM || !strstr(xn_last_error(), "CAP_NET_RAW"))
		return 50;
	if (xn_steer_open(&s, &(struct xn_steer_cfg){ .ifindex = cfg.ifindex, .ifname = "xn0",
						      .frame_bytes = 2000 }) != -EPERM ||
	    !strstr(xn_last_error(), "CAP_BPF"))
		return 51;
	return xn_probe_af_xdp() ? 52 : 0;
}

static void missing_privileges_are_named(void **state)
{
	assert_int_equal(bed_child(open_without_privileges, NULL,
				   CAP(NET_RAW) | CAP(NET_ADMIN) | CAP(BPF) | CAP(SYS_ADMIN)), 0);
}

static void probes_know_this_kernel(void **state)
{
	char driver[32];

	assert_true(xn_probe_af_xdp());
	assert_true(xn_probe_unaligned());
	assert_int_equal(xn_probe_driver(XN_LAB_NEAR, driver, sizeof(driver)), 0);
	assert_string_equal(driver, "veth");
	assert_int_equal(xn_probe_driver("none", driver, sizeof(driver)), -ENODEV);
	assert_false(xn_probe_tx_copies("virtio_net"));
	assert_false(xn_probe_tx_copies("some_new_driver"));
}

/* ---- the steering program ---- */

static void program_opens(const struct xn_steer_cfg *cfg)
{
	struct xn_xsk_cfg x = bed_cfg(&bed);

	assert_int_equal(xn_xsk_open(&bed.x, &x), 0);
	assert_int_equal(xn_steer_open(&bed.steer, cfg), 0);
}

static uint64_t exits(enum xn_steer_exit e)
{
	uint64_t v[XN_E_COUNT];

	xn_steer_counters(bed.steer, v);
	return v[e];
}

/* Counted when the kernel gets to the frame. */
static void expect_exits(enum xn_steer_exit e, uint64_t n)
{
	uint64_t end = xn_now_ns() + BED_WAIT_MS * 1000000ull;

	while (exits(e) < n && xn_now_ns() < end)
		;
	assert_int_equal(exits(e), n);
}

static void each_way_out_of_the_program_is_counted(void **state)
{
	const struct xn_steer_cfg cfg = { .ifindex = bed.lab.near_ifindex, .ifname = XN_LAB_NEAR,
					  .frame_bytes = 1000 };
	uint8_t f[1514];

	program_opens(&cfg);
	assert_true(xn_steer_native(bed.steer));
	fill_all(&bed.x);
	bed_frame(&bed, f, sizeof(f), 1);
	bed_far_send(&bed, f, 60);
	assert_true(bed_rx_none(&bed.x, BED_NONE_MS));
	expect_exits(XN_E_steer_no_socket, 1);
	assert_int_equal(xn_steer_set(bed.steer, 0, bed.x.fd), 0);
	bed_far_send(&bed, f, 1001);
	bed_far_send(&bed, f, 1000);
	assert_int_equal(bed_rx(&bed.x).len, 1000);
	expect_exits(XN_E_steer_too_long, 1);
	expect_exits(XN_E_steer_to_guest, 1);
	assert_int_equal(exits(XN_E_steer_not_ours), 0);
	xn_steer_clear(bed.steer, 0);
	xn_steer_clear(bed.steer, 0);   /* of what is empty: nothing happens */
	bed_far_send(&bed, f, 60);
	assert_true(bed_rx_none(&bed.x, BED_NONE_MS));
	expect_exits(XN_E_steer_no_socket, 2);
	assert_int_equal(xn_steer_set(bed.steer, XN_STEER_MAX_QUEUES, bed.x.fd), -EINVAL);
}

static void filter_takes_the_guests_mac_broadcast_and_multicast(void **state)
{
	static const struct { uint8_t mac[6]; bool ours; } to[] = {
		{ { 2, 1, 2, 3, 4, 5 }, true },
		{ { 2, 1, 2, 3, 4, 6 }, false },
		{ { 2, 1, 2, 3, 5, 5 }, false },
		{ { 4, 1, 2, 3, 4, 5 }, false },
		{ { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, true },
		{ { 0x33, 0x33, 0, 0, 0, 1 }, true },
		{ { 0x01, 0x00, 0x5e, 0, 0, 1 }, true },
	};
	const struct xn_steer_cfg cfg = { .ifindex = bed.lab.near_ifindex, .ifname = XN_LAB_NEAR,
					  .frame_bytes = 1000, .filter_mac = true,
					  .mac = { 2, 1, 2, 3, 4, 5 } };
	uint64_t not_ours = 0;
	uint8_t f[1514];

	program_opens(&cfg);
	assert_int_equal(xn_steer_set(bed.steer, 0, bed.x.fd), 0);
	fill_all(&bed.x);
	bed_frame(&bed, f, sizeof(f), 1);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(to); i++) {
		memcpy(f, to[i].mac, 6);
		bed_far_send(&bed, f, 60);
		if (to[i].ours)
			assert_int_equal(bed_rx(&bed.x).len, 60);
		else
			assert_true(bed_rx_none(&bed.x, 10));
		not_ours += !to[i].ours;
		expect_exits(XN_E_steer_not_ours, not_ours);
	}
	/* Long frames of the host are the host's business. */
	memcpy(f, to[1].mac, 6);
	bed_far_send(&bed, f, 1514);
	assert_true(bed_rx_none(&bed.x, BED_NONE_MS));
	expect_exits(XN_E_steer_not_ours, not_ours + 1);
	assert_int_equal(exits(XN_E_steer_too_long), 0);
}

static void generic_mode_works_and_is_what_auto_falls_back_to(void **state)
{
	struct xn_steer_cfg cfg = { .ifindex = bed.lab.near_ifindex, .ifname = XN_LAB_NEAR,
				    .frame_bytes = 2000, .attach = XN_ATTACH_GENERIC };

	program_opens(&cfg);
	assert_false(xn_steer_native(bed.steer));
	assert_int_equal(xn_steer_set(bed.steer, 0, bed.x.fd), 0);
	receive_one(0x70001, 1514, 1);
	xn_steer_close(bed.steer);

	/* The loopback interface has no native XDP. */
	cfg = (struct xn_steer_cfg){ .ifindex = 1, .ifname = "lo", .frame_bytes = 2000,
				     .attach = XN_ATTACH_NATIVE };
	assert_int_equal(xn_steer_open(&bed.steer, &cfg), -EOPNOTSUPP);
	assert_non_null(strstr(xn_last_error(), "native"));
	cfg.attach = XN_ATTACH_AUTO;
	assert_int_equal(xn_steer_open(&bed.steer, &cfg), 0);
	assert_false(xn_steer_native(bed.steer));
}

/* An XDP program that passes everything. */
static int pass_program(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", insns, XN_ARRAY_SIZE(insns), NULL);

	assert_true(fd >= 0);
	return fd;
}

static void attached_program_is_never_replaced_and_the_message_says_how_to_remove_it(void **state)
{
	const struct xn_steer_cfg cfg = { .ifindex = bed.lab.near_ifindex, .ifname = XN_LAB_NEAR,
					  .frame_bytes = 2000 };
	static const uint32_t modes[] = { XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE };
	static const char *const words[] = { "ip link set dev xn0 xdp off",
					     "ip link set dev xn0 xdpgeneric off" };
	int ifindex = (int)cfg.ifindex, fd = pass_program();
	struct xn_steer *s;

	assert_int_equal(xn_steer_open(&bed.steer, &cfg), 0);
	assert_int_equal(xn_steer_open(&s, &cfg), -EBUSY);
	assert_null(s);
	assert_non_null(strstr(xn_last_error(), "bpftool link detach id"));
	xn_steer_close(bed.steer);
	bed.steer = NULL;

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(bpf_xdp_attach(ifindex, fd, modes[i], NULL), 0);
		assert_int_equal(xn_steer_open(&s, &cfg), -EBUSY);
		assert_non_null(strstr(xn_last_error(), words[i]));
		assert_int_equal(bpf_xdp_detach(ifindex, modes[i], NULL), 0);
	}
	close(fd);
	assert_int_equal(xn_steer_open(&bed.steer, &cfg), 0);
}

static uint32_t attached_id(void)
{
	uint32_t id = 0;

	assert_int_equal(bpf_xdp_query_id((int)bed.lab.near_ifindex, 0, &id), 0);
	return id;
}

static void program_goes_with_a_process_that_is_killed(void **state)
{
	const struct xn_steer_cfg cfg = { .ifindex = bed.lab.near_ifindex, .ifname = XN_LAB_NEAR,
					  .frame_bytes = 2000 };
	struct xn_steer *s;
	int ready[2], status;
	char c;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(120);
		c = xn_steer_open(&s, &cfg) ? 'n' : 'y';
		(void)!write(ready[1], &c, 1);
		pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	if (c == 'y')
		assert_int_not_equal(attached_id(), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(c, 'y');
	for (unsigned i = 0; i < BED_WAIT_MS && attached_id(); i++)
		usleep(1000);
	assert_int_equal(attached_id(), 0);
}

static libbpf_print_fn_t print_of_the_vmm(void)
{
	libbpf_print_fn_t now = libbpf_set_print(NULL);

	libbpf_set_print(now);
	return now;
}

static int vmm_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static void libbpf_print_function_of_the_process_is_left_as_it_was(void **state)
{
	const struct xn_steer_cfg cfg = { .ifindex = bed.lab.near_ifindex, .ifname = XN_LAB_NEAR,
					  .frame_bytes = 2000 };
	libbpf_print_fn_t before = libbpf_set_print(vmm_print);
	struct xn_steer *s;

	assert_int_equal(xn_steer_open(&bed.steer, &cfg), 0);
	assert_ptr_equal(print_of_the_vmm(), vmm_print);
	assert_int_equal(xn_steer_open(&s, &cfg), -EBUSY);
	assert_ptr_equal(print_of_the_vmm(), vmm_print);
	libbpf_set_print(before);
}

/* ---- the fake kernel of the unit tests, beside the real one ---- */

struct twin {
	struct bed *b;
	struct fk *fk;        /* NULL: the real one */
	struct xn_xsk *x;
};

static void twin_frame(struct twin *t, uint32_t bytes, uint32_t seed)
{
	uint8_t f[1514];

	bed_frame(t->b, f, bytes, seed);
	if (t->fk)
		fk_rx(t->fk, f, bytes);
	else
		bed_far_send(t->b, f, bytes);
}

/* The same receive story on both: what the rings and counters say, into `log`. */
static void twin_receive(struct twin *t, uint64_t *log, unsigned *n)
{
	const uint64_t at[] = { 1, 0x20001 | 7ull << 48, BED_RAM - 4095, 0x30003, 0x40000,
				0x50005 };
	const uint32_t bytes[] = { 60, 1514, 1001, 1000, 14 };
	struct xdp_statistics st;

	bed_fill(t->x, at, XN_ARRAY_SIZE(at));
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bytes); i++)
		twin_frame(t, bytes[i], i);
	for (unsigned i = 0; i < 3; i++) {
		struct xdp_desc d = bed_rx(t->x);

		log[(*n)++] = d.addr;
		log[(*n)++] = d.len;
		log[(*n)++] = d.options;
	}
	assert_true(bed_rx_none(t->x, BED_NONE_MS));
	if (t->fk)
		st = t->fk->stat;
	else
		xn_xsk_statistics(t->x, &st);
	log[(*n)++] = st.rx_dropped;
	log[(*n)++] = st.rx_invalid_descs;
	log[(*n)++] = *t->x->fill.consumer;
	log[(*n)++] = *t->x->rx.producer;
}

/* The same transmit story: an unfinished packet, one of 18 pieces, an invalid one, and
 * one of 19. */
static void twin_transmit(struct twin *t, uint64_t *log, unsigned *n)
{
	struct xdp_desc d[XN_TX_PIECES_MAX + 1];
	struct xdp_statistics st;
	uint64_t done[64];
	unsigned got;

	bed_tx(t->x, &(struct xdp_desc){ .addr = 0x30001, .len = 60 }, 1);
	bed_tx(t->x, &(struct xdp_desc){ .addr = 0x30000, .len = 60, .options = XDP_PKT_CONTD }, 1);
	log[(*n)++] = (uint64_t)(int64_t)bed_send(t->x, NULL);
	log[(*n)++] = *t->x->tx.consumer;
	bed_tx(t->x, &(struct xdp_desc){ .addr = 0x30101, .len = 60 }, 1);
	for (unsigned i = 0; i < XN_TX_PIECES_MAX; i++)
		d[i] = (struct xdp_desc){ .addr = 0x40001 + i * 4096, .len = 60,
					  .options = i + 1 < XN_TX_PIECES_MAX ? XDP_PKT_CONTD : 0 };
	bed_tx(t->x, d, XN_TX_PIECES_MAX);
	log[(*n)++] = (uint64_t)(int64_t)bed_send(t->x, NULL);
	bed_tx(t->x, &(struct xdp_desc){ .addr = BED_RAM - 59, .len = 60 }, 1);
	bed_tx(t->x, &(struct xdp_desc){ .addr = 0x30001, .len = 60 }, 1);
	log[(*n)++] = (uint64_t)(int64_t)bed_send(t->x, NULL);
	log[(*n)++] = *t->x->tx.consumer;
	log[(*n)++] = (uint64_t)(int64_t)bed_send(t->x, NULL);
	log[(*n)++] = *t->x->tx.consumer;
	d[XN_TX_PIECES_MAX - 1].options = XDP_PKT_CONTD;   /* one more than a packet may have */
	d[XN_TX_PIECES_MAX] = (struct xdp_desc){ .addr = 0x20001, .len = 60 };
	bed_tx(t->x, d, XN_TX_PIECES_MAX + 1);
	log[(*n)++] = (uint64_t)(int64_t)bed_send(t->x, NULL);
	log[(*n)++] = *t->x->tx.consumer;
	got = bed_comp(t->x, done, 64, 42);
	log[(*n)++] = got;
	for (unsigned i = 0; i < got; i++)
		log[(*n)++] = done[i];
	if (t->fk)
		st = t->fk->stat;
	else
		xn_xsk_statistics(t->x, &st);
	log[(*n)++] = st.tx_invalid_descs;
}

static void fake_kernel_of_the_unit_tests_does_as_this_kernel_does(void **state)
{
	static struct fk fk;
	struct xn_xsk_cfg cfg = bed_cfg(&bed);
	uint64_t real[128], fake[128];
	unsigned n_real = 0, n_fake = 0;
	struct xn_xsk x;
	struct twin r = { &bed, NULL, &bed.x }, f = { &bed, &fk, &x };

	cfg.frame_bytes = 1000;
	bed_socket(&bed, &cfg);
	twin_receive(&r, real, &n_real);
	memcpy(bed.want, bed.ram, BED_RAM);   /* what the real one wrote */
	for (uint32_t i = 0; i < BED_RAM; i++)
		bed.ram[i] = (uint8_t)(i * 167u + (i >> 8) * 13u + 1);
	fk_init(&fk, &x, &cfg);
	twin_receive(&f, fake, &n_fake);
	bed_check(&bed);
	twin_transmit(&r, real, &n_real);
	twin_transmit(&f, fake, &n_fake);
	for (unsigned i = 0; i < XN_MIN(n_real, n_fake); i++)
		if (real[i] != fake[i])
			print_message("entry %u: real 0x%llx, fake 0x%llx\n", i,
				      (unsigned long long)real[i], (unsigned long long)fake[i]);
	fk_fini(&fk, &x);
	assert_int_equal(n_real, n_fake);
	assert_memory_equal(real, fake, n_real * sizeof(real[0]));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(frame_lands_behind_the_headroom_at_any_address_and_nothing_else_is_written),
		CASE(longest_frame_is_exact_to_the_byte),
		CASE(frame_lands_at_the_end_of_a_chunk_of_2048_bytes_too),
		CASE(shortest_frame_bytes_are_accepted),
		CASE(offset_bits_of_a_fill_entry_are_ignored),
		CASE(frames_come_in_the_order_of_the_fill_ring_with_its_addresses),
		CASE(invalid_fill_entry_is_swallowed),
		CASE(entry_of_a_frame_that_found_the_rx_ring_full_is_used_again_first),
		CASE(sent_buffer_may_be_overwritten_as_soon_as_its_descriptor_is_consumed),
		CASE(completions_carry_the_address_but_for_bit_0),
		CASE(packet_may_have_18_pieces_without_XDP_USE_SG),
		CASE(packet_of_19_pieces_is_dropped_and_counted_and_the_next_is_sent),
		CASE(unfinished_packet_is_glued_to_the_next_descriptor),
		CASE(tx_reaches_to_the_last_byte_of_the_umem_and_not_beyond),
		CASE(too_short_and_too_long_packets_complete_and_are_nowhere),
		CASE(system_call_sends_32_descriptors_unless_the_budget_is_raised),
		CASE(packet_that_the_device_drops_is_EBUSY_and_completed),
		CASE(full_completion_ring_is_EAGAIN_and_loses_nothing),
		CASE(after_removal_from_the_map_and_membarrier_nothing_is_written),
		CASE(after_close_nothing_is_written),
		CASE(ring_that_stays_mapped_keeps_the_queue),
		CASE(queue_is_free_again_a_moment_after_close),
		CASE(barrier_of_a_stop_is_that_the_queue_can_be_bound_again),
		CASE(deleted_interface_is_told_by_SO_ERROR_and_not_by_poll),
		CASE(memlock_limit_is_ENOBUFS_and_the_message_has_the_bytes),
		CASE(file_on_a_disk_cannot_be_pinned_and_the_message_has_its_place),
		CASE(veth_has_no_zero_copy),
		CASE(what_is_not_there_is_refused_with_its_own_error),
		cmocka_unit_test_setup_teardown(
			second_queue_shares_the_umem_with_rings_of_its_own, setup_two_queues,
			teardown),
		CASE(further_socket_of_a_queue_gets_frames_in_the_buffers_of_the_first),
		CASE(missing_privileges_are_named),
		CASE(probes_know_this_kernel),
		CASE(each_way_out_of_the_program_is_counted),
		CASE(filter_takes_the_guests_mac_broadcast_and_multicast),
		CASE(generic_mode_works_and_is_what_auto_falls_back_to),
		CASE(attached_program_is_never_replaced_and_the_message_says_how_to_remove_it),
		CASE(program_goes_with_a_process_that_is_killed),
		CASE(libbpf_print_function_of_the_process_is_left_as_it_was),
		CASE(fake_kernel_of_the_unit_tests_does_as_this_kernel_does),
	};

	alarm(ALL_S);
	return cmocka_run_group_tests_name("kernel facts", tests, NULL, NULL);
}
