/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that what the engine makes of a guest's large TCP packets is what this kernel's TCP
 * takes, and what this kernel's TCP sends reaches a guest: on a real veth pair, every byte of
 * megabytes compared at the end where it arrives, with losses, odd sizes and closing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/types.h"
#include "bench/tcp_side.h"
#include "tests/cmocka.h"

#define LIMIT_NS  120000000000ull     /* of one transfer */
#define MiB       (1ull << 20)

#define F_GUEST_CSUM (1ull << 1)
#define F_GUEST_TSO4 (1ull << 7)

static struct xn_tcp_side side;
static uint8_t *pattern_before;

static void open_side(const struct xn_tcp_side_cfg *cfg)
{
	struct xn_tcp_side_cfg c = *cfg;

	c.verify = true;
	c.peer_cpu = -1;
	if (!c.mtu)
		c.mtu = 1500;
	if (xn_tcp_side_open(&side, &c))
		fail_msg("%s", xn_last_error());
	pattern_before = malloc(XN_TCP_PATTERN_BYTES);
	memcpy(pattern_before, side.pattern, XN_TCP_PATTERN_BYTES);
}

/* Nothing went wrong that nobody asked for, and the guest's payload is as it was. */
static void close_side(void)
{
	static const char *const never[] = { "tx_drop_bad_header", "tx_drop_too_long",
					     "tx_drop_segments", "tx_drop_short_chain", "heads_dropped" };

	assert_memory_equal(side.pattern, pattern_before, XN_TCP_PATTERN_BYTES);
	assert_int_equal(side.tcp.n.bad_sums, 0);
	assert_int_equal(side.tcp.n.bad_headers, 0);
	assert_int_equal(side.tcp.merge.wrong, 0);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(never); i++)
		assert_int_equal(xn_tcp_side_stat(&side, never[i]), 0);
	xn_tcp_side_close(&side);
	free(pattern_before);
}

static void show(const char *when)
{
	struct xn_tcp_peer_counts c;

	xn_tcp_peer_read(side.peer, &c);
	print_message("%s: state %d, una %llu nxt %llu top %llu limit %llu, again %llu; "
		      "peer got %llu (bad %llu), sent %llu; guest got %llu (bad %llu)\n", when,
		      side.tcp.state, (unsigned long long)side.tcp.una, (unsigned long long)side.tcp.nxt,
		      (unsigned long long)side.tcp.top, (unsigned long long)side.tcp.limit,
		      (unsigned long long)side.tcp.n.again, (unsigned long long)c.received,
		      (unsigned long long)c.bad, (unsigned long long)c.sent,
		      (unsigned long long)side.tcp.n.received, (unsigned long long)side.tcp.n.bad);
}

/* The guest sends so many bytes, and ends its stream; the peer its own, which is empty. */
static void send_and_close(uint64_t bytes)
{
	const uint64_t end = xn_now_ns() + LIMIT_NS;
	struct xn_tcp_peer_counts c;

	side.tcp.limit = bytes;
	xn_tcp_close(&side.tcp);
	xn_tcp_peer_shutdown(side.peer);
	while (side.tcp.state != XN_TCP_DONE && side.tcp.state != XN_TCP_CLOSED && xn_now_ns() < end)
		xn_tcp_side_turn(&side);
	/* What is acknowledged may wait in the socket still. */
	do
		xn_tcp_peer_read(side.peer, &c);
	while (!c.eof && xn_now_ns() < end);
	if (side.tcp.state != XN_TCP_DONE || !c.eof || c.received != bytes || c.bad) {
		show("guest to kernel");
		fail_msg("not all of %llu bytes arrived as they were", (unsigned long long)bytes);
	}
}

/* So many bytes since the connection began. */
static void receive(uint64_t bytes, uint32_t chunk)
{
	const uint64_t end = xn_now_ns() + LIMIT_NS;

	xn_tcp_peer_send(side.peer, bytes, chunk);
	while (side.tcp.n.received < bytes && xn_now_ns() < end)
		xn_tcp_side_turn(&side);
}

static void receive_and_close(uint64_t bytes, uint32_t chunk)
{
	const uint64_t end = xn_now_ns() + LIMIT_NS;

	receive(bytes, chunk);
	xn_tcp_peer_shutdown(side.peer);
	xn_tcp_close(&side.tcp);
	while (side.tcp.state != XN_TCP_DONE && side.tcp.state != XN_TCP_CLOSED && xn_now_ns() < end)
		xn_tcp_side_turn(&side);
	if (side.tcp.state != XN_TCP_DONE || side.tcp.n.received != bytes || side.tcp.n.bad) {
		show("kernel to guest");
		fail_msg("not all of %llu bytes arrived as they were", (unsigned long long)bytes);
	}
}

/* ---- guest to kernel ---- */

static void packets_of_64_kib_reach_a_kernels_tcp(void **state)
{
	static const uint32_t pieces[] = { 4096, 32768, 0 };

	for (unsigned packed = 0; packed < 2; packed++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(pieces); i++) {
			uint64_t again;

			open_side(&(struct xn_tcp_side_cfg){ .tso = true, .csum = true, .packed = packed,
							     .piece_bytes = pieces[i] });
			send_and_close(64 * MiB);
			again = side.tcp.n.again;
			/* One chain for 45 segments, but where the window closes. */
			assert_true(side.tcp.n.packets < (64 * MiB + again) / 1448 / 8);
			assert_true(xn_tcp_side_stat(&side, "tx_segments") > 64 * MiB / 1448);
			close_side();
		}
}

/* Segments of several descriptors, and packets that need not be cut at all. */
static void packets_of_64_kib_reach_it_over_a_large_mtu(void **state)
{
	static const struct { unsigned mtu; uint32_t piece; } ways[] = {
		{ 9000, 4096 }, { 9000, 0 }, { 3800, 32768 }, { 65535, 4096 }, { 65535, 0 },
	};

	for (unsigned packed = 0; packed < 2; packed++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(ways); i++) {
			open_side(&(struct xn_tcp_side_cfg){ .mtu = ways[i].mtu, .tso = true, .csum = true,
							     .piece_bytes = ways[i].piece, .packed = packed });
			send_and_close(32 * MiB + i);
			close_side();
		}
}

static void segments_that_are_lost_are_sent_again(void **state)
{
	open_side(&(struct xn_tcp_side_cfg){ .tso = true, .csum = true, .piece_bytes = 4096,
					     .peer_drop = 20, .drop_tx = 5, .drop_rx = 5, .rto_ms = 20 });
	send_and_close(16 * MiB);
	assert_true(side.tcp.n.again > 0);
	assert_true(side.tcp.n.dropped > 0);
	close_side();
}

static void packets_of_any_length_arrive(void **state)
{
	/* Last packets of each length around a segment's and two; and packets of lengths at which
	 * the last segment is a byte, or one short. */
	static const uint64_t bytes[] = { 1, 2, 1447, 1448, 1449, 2895, 2896, 2897, 65159, 65160, 65161 };
	static const uint32_t tso[] = { 2896, 4344, 14480, 60816 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bytes); i++) {
		open_side(&(struct xn_tcp_side_cfg){ .tso = true, .csum = true,
						     .piece_bytes = i % 2 ? 4096 : 999 * 8 });
		send_and_close(bytes[i]);
		close_side();
	}
	for (unsigned i = 0; i < XN_ARRAY_SIZE(tso); i++) {
		open_side(&(struct xn_tcp_side_cfg){ .tso = true, .csum = true, .piece_bytes = 4097,
						     .tso_bytes = tso[i] });
		send_and_close(4 * MiB + i);
		close_side();
	}
}

static void single_segments_arrive_summed_by_either_side(void **state)
{
	for (unsigned csum = 0; csum < 2; csum++) {
		open_side(&(struct xn_tcp_side_cfg){ .csum = csum, .piece_bytes = 4096 });
		send_and_close(8 * MiB + 1);
		assert_int_equal(xn_tcp_side_stat(&side, "tx_segments"), 0);
		close_side();
	}
}

/* ---- kernel to guest ---- */

static void a_kernels_tcp_reaches_a_guest(void **state)
{
	/* Checksums left to the guest, finished, segments put together, in buffers of any length. */
	static const struct {
		unsigned mtu;
		uint64_t refuse;
		bool packed;
		const char *options;
		uint32_t buf;
	} ways[] = {
		{ 1500, 0, false, NULL, 0 }, { 1500, F_GUEST_TSO4, false, NULL, 0 },
		{ 1500, F_GUEST_TSO4 | F_GUEST_CSUM, false, NULL, 0 }, { 1500, 0, true, NULL, 4096 },
		{ 1500, 0, false, ",mode=bounce", 0 },
		{ 9000, 0, false, NULL, 0 }, { 9000, F_GUEST_TSO4 | F_GUEST_CSUM, true, NULL, 1536 },
		{ 9000, 0, false, ",mode=bounce", 0 }, { 3800, 0, false, NULL, 1536 },
		{ 65535, 0, false, NULL, 0 }, { 65535, F_GUEST_CSUM | F_GUEST_TSO4, true, NULL, 4096 },
		{ 65535, 0, true, NULL, 1536 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(ways); i++) {
		bool never, surely;

		open_side(&(struct xn_tcp_side_cfg){ .mtu = ways[i].mtu, .csum = true, .piece_bytes = 4096,
			.refuse = ways[i].refuse, .packed = ways[i].packed, .options = ways[i].options,
			.rx_buf_bytes = ways[i].buf });
		receive_and_close(16 * MiB + i, 0);
		/* What is spread over buffers, or bounced, is left alone. */
		never = !(side.features & F_GUEST_TSO4);
		surely = !never && ways[i].mtu == 1500 && !ways[i].options;
		if (side.tcp.n.merged ? never : surely)
			fail_msg("MTU %u, buffers of %u: %llu of %llu frames were put together", ways[i].mtu,
				 ways[i].buf, (unsigned long long)side.tcp.n.merged,
				 (unsigned long long)side.tcp.n.frames);
		close_side();
	}
}

static void what_a_guest_loses_the_kernel_sends_again(void **state)
{
	/* One by one, and many at once where they have been put together. */
	static const struct { uint64_t refuse; uint32_t drop; } ways[] = {
		{ F_GUEST_TSO4, 4 }, { 0, 40 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(ways); i++) {
		uint64_t bytes = 0;

		open_side(&(struct xn_tcp_side_cfg){ .csum = true, .piece_bytes = 4096,
						     .refuse = ways[i].refuse, .drop_rx = ways[i].drop });
		/* Each loss may take a timeout of the kernel's: few of them. */
		while (side.tcp.n.dropped < 3 && bytes < 64 * MiB)
			receive(bytes += MiB, 0);
		receive_and_close(bytes + 1, 0);
		assert_true(side.tcp.n.dropped > 0 && side.tcp.n.out_of_turn > 0);
		close_side();
	}
}

static void small_writes_of_a_kernels_tcp_arrive(void **state)
{
	open_side(&(struct xn_tcp_side_cfg){ .csum = true, .piece_bytes = 4096 });
	receive_and_close(1 * MiB + 7, 333);
	close_side();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_of_64_kib_reach_a_kernels_tcp),
		cmocka_unit_test(packets_of_64_kib_reach_it_over_a_large_mtu),
		cmocka_unit_test(segments_that_are_lost_are_sent_again),
		cmocka_unit_test(packets_of_any_length_arrive),
		cmocka_unit_test(single_segments_arrive_summed_by_either_side),
		cmocka_unit_test(a_kernels_tcp_reaches_a_guest),
		cmocka_unit_test(what_a_guest_loses_the_kernel_sends_again),
		cmocka_unit_test(small_writes_of_a_kernels_tcp_arrive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
