/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves on a real veth pair: frames of every size arrive in and leave from guest
 * memory unchanged, at odd addresses, at the edges of regions; the kernel writes
 * nothing but the buffers that were lent (I1), nothing that is readable only (I2),
 * nothing after a stop (I4); each reason to bounce or to drop has its counter (I3, I8).
 */
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cmocka.h"
#include "base/log.h"
#include "tests/net/rig.h"

#define MRG   (1ull << VIRTIO_NET_F_MRG_RXBUF)
#define IND   (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define RX    0u
#define TX    1u
#define FRAME_MAX 1518u
#define ODD   0x100001u      /* an odd address, with room around it */

static void assert_untouched(const struct rig *r, uint64_t from, uint64_t to)
{
	uint64_t at = drv_first_changed(&r->drv, from, to);

	if (at != to)
		fail_msg("byte 0x%llx of guest memory was changed (range 0x%llx..0x%llx)",
			 (unsigned long long)at, (unsigned long long)from, (unsigned long long)to);
}

/* Sends one frame from the far end and checks that it lands in the buffer at `at`,
 * that was posted before, with a good header, and that nothing around it changed. */
static void receive_one(struct rig *r, uint64_t at, uint32_t buf_len, uint32_t len, uint32_t seed)
{
	uint8_t f[FRAME_MAX];
	const uint8_t hdr[DRV_HDR] = { [10] = 1 };
	uint16_t head;
	uint32_t used;

	rig_frame(r, f, len, seed);
	rig_far_send(r, f, len);
	if (!rig_wait_used(r, RX, &head, &used))
		fail_msg("frame of %u bytes did not arrive", len);
	assert_int_equal(used, DRV_HDR + len);
	assert_memory_equal(r->drv.ram + at, hdr, sizeof(hdr));
	assert_memory_equal(r->drv.ram + at + DRV_HDR, f, len);
	assert_untouched(r, at - 4096, at);
	assert_untouched(r, at + DRV_HDR + len, at + XN_MAX(buf_len, 1600u) + 4096);
	drv_fill_pattern(&r->drv, at, at + buf_len);
}

static void every_size_arrives_in_guest_memory_and_nothing_else_is_written(void **state)
{
	struct rig r;
	unsigned n = 0;

	rig_open(&r, &(struct rig_cfg){ .features = MRG });
	for (uint32_t len = 60; len <= 1514; len++, n++) {
		uint64_t at = ODD + (len * 37) % 8192;

		drv_post1(&r.drv, RX, at, 1536);
		receive_one(&r, at, 1536, len, len);
	}
	assert_int_equal(rig_stat(&r, "rx_lent"), n);
	assert_int_equal(rig_stat(&r, "rx_packets"), n);
	assert_int_equal(rig_stat(&r, "rx_bounced"), 0);
	rig_close(&r);
}

/* Sends one packet of these segments (header included) and compares what arrives. */
static void transmit_one(struct rig *r, const struct drv_seg *segs, unsigned n, const uint8_t *f,
			 uint32_t len)
{
	uint8_t packet[DRV_HDR + 2048] = { 0 }, got[2048];
	uint32_t off = 0, used, back;
	uint16_t head;

	memcpy(packet + DRV_HDR, f, len);
	for (unsigned i = 0; i < n; i++) {
		memcpy(r->drv.ram + segs[i].at, packet + off, segs[i].len);
		off += segs[i].len;
	}
	drv_post(&r->drv, TX, segs, n);
	assert_true(rig_wait_used(r, TX, &head, &used));
	assert_int_equal(used, 0);
	back = rig_far_recv(r, got, sizeof(got));
	if (back != len)
		fail_msg("sent %u bytes in %u pieces, %u arrived", len, n, back);
	assert_memory_equal(got, f, len);
	for (unsigned i = 0; i < n; i++)
		drv_fill_pattern(&r->drv, segs[i].at, segs[i].at + segs[i].len);
}

static void every_size_leaves_from_guest_memory(void **state)
{
	uint8_t f[FRAME_MAX];
	struct rig r;
	unsigned n = 0;

	rig_open(&r, &(struct rig_cfg){ 0 });
	for (uint32_t len = 60; len <= 1514; len++, n++) {
		const struct drv_seg s = { ODD + (len * 41) % 8192, DRV_HDR + len };

		rig_frame(&r, f, len, len);
		transmit_one(&r, &s, 1, f, len);
	}
	assert_int_equal(rig_stat(&r, "tx_lent"), n);
	assert_int_equal(rig_stat(&r, "tx_packets"), n);
	assert_untouched(&r, DRV_FREE_AT, RIG_RAM);
	rig_close(&r);
}

static void short_frames_down_to_a_bare_header_leave_as_they_are(void **state)
{
	uint8_t f[FRAME_MAX];
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ 0 });
	for (uint32_t len = 14; len < 60; len++) {
		const struct drv_seg s = { ODD, DRV_HDR + len };

		rig_frame(&r, f, len, len);
		transmit_one(&r, &s, 1, f, len);
	}
	rig_close(&r);
}

/* Cuts `total` bytes from `at` on into n segments with gaps between them. */
static void cut(struct drv_seg *segs, unsigned n, uint64_t at, uint32_t total, unsigned seed)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t left = total - (n - 1 - i);   /* at least a byte for each other */
		uint32_t most = XN_MAX(2 * left / (n - i), 1u);
		uint32_t len = i + 1 == n ? total : 1 + (uint32_t)rand_r(&seed) % most;

		len = len > left ? left : len;
		segs[i] = (struct drv_seg){ at, len };
		at += len + 1 + (uint32_t)rand_r(&seed) % 300;
		total -= len;
	}
}

static void many_pieces(const char *options, const char *counter)
{
	uint8_t f[FRAME_MAX];
	struct drv_seg segs[19];
	struct rig r;
	unsigned packets = 0;

	rig_open(&r, &(struct rig_cfg){ .options = options, .features = IND });
	for (unsigned n = 3; n <= 18; n++)
		for (uint32_t len = 64; len <= 1514; len += 145, packets++) {
			cut(segs, n, ODD, DRV_HDR + len, len * 18 + n);
			rig_frame(&r, f, len, len + n);
			transmit_one(&r, segs, n, f, len);
		}
	assert_int_equal(rig_stat(&r, "tx_packets"), packets);
	/* Where the header fills pieces of its own, one piece may be left: lent. And a chain
	 * begins with a whole Ethernet header, or is gathered. */
	assert_int_equal(rig_stat(&r, "tx_chained") + rig_stat(&r, "tx_gathered") +
			 rig_stat(&r, "tx_lent"), packets);
	assert_true(rig_stat(&r, counter) > packets / 2);
	rig_close(&r);
}

static void packets_of_many_pieces_are_gathered(void **state)
{
	many_pieces(NULL, "tx_gathered");
}

static void packets_of_many_pieces_are_chained_on_request(void **state)
{
	many_pieces(",tx=chain", "tx_chained");
}

static void header_apart_is_lent_both_ways(void **state)
{
	uint8_t f[FRAME_MAX];
	struct rig r;
	uint16_t head;
	uint32_t used;
	struct drv_seg segs[2] = { { ODD + 16384, DRV_HDR }, { ODD, 1518 } };

	rig_open(&r, &(struct rig_cfg){ 0 });
	rig_frame(&r, f, 777, 5);
	drv_post(&r.drv, RX, segs, 2);
	rig_far_send(&r, f, 777);
	assert_true(rig_wait_used(&r, RX, &head, &used));
	assert_int_equal(used, DRV_HDR + 777);
	assert_memory_equal(r.drv.ram + ODD, f, 777);
	assert_untouched(&r, ODD + 777, ODD + 16384);
	assert_untouched(&r, ODD + 16384 + DRV_HDR, RIG_RAM);
	assert_int_equal(rig_stat(&r, "rx_lent"), 1);

	segs[1].len = 777;
	transmit_one(&r, segs, 2, f, 777);
	assert_int_equal(rig_stat(&r, "tx_lent"), 1);
	rig_close(&r);
}

static void indirect_tables_work_both_ways(void **state)
{
	const struct drv_seg rx[2] = { { ODD, 5 }, { ODD + 100, 1525 } };
	struct drv_seg tx[3] = { { ODD + 4096, DRV_HDR }, { ODD + 5000, 14 }, { ODD + 6001, 486 } };
	uint8_t f[FRAME_MAX], got[2048], zero[DRV_HDR] = { 0 };
	struct rig r;
	uint16_t head;
	uint32_t used;

	rig_open(&r, &(struct rig_cfg){ .features = IND });
	rig_frame(&r, f, 500, 9);
	drv_post_indirect(&r.drv, RX, 0x200000, rx, 2);
	rig_far_send(&r, f, 500);
	assert_true(rig_wait_used(&r, RX, &head, &used));
	assert_int_equal(used, DRV_HDR + 500);
	assert_memory_equal(r.drv.ram + ODD + 100 + 7, f, 500);
	assert_int_equal(rig_stat(&r, "rx_lent"), 1);

	memcpy(r.drv.ram + tx[0].at, zero, DRV_HDR);
	memcpy(r.drv.ram + tx[1].at, f, 14);
	memcpy(r.drv.ram + tx[2].at, f + 14, 486);
	drv_post_indirect(&r.drv, TX, 0x210000, tx, 3);
	assert_true(rig_wait_used(&r, TX, &head, &used));
	assert_int_equal(rig_far_recv(&r, got, sizeof(got)), 500);
	assert_memory_equal(got, f, 500);
	rig_close(&r);
}

static void buffers_at_the_edges_of_regions_are_lent(void **state)
{
	/* Two regions apart in guest addresses, neighbours in the memfd. */
	const uint64_t half = RIG_RAM / 2;
	const struct rig_cfg cfg = { .n_regions = 2, .regions = {
		{ .gpa = 0, .size = half }, { .gpa = 0x10000000, .size = half, .fd_offset = half } } };
	const uint64_t places[] = { half - 1536, 0x10000000, 0x10000000 + half - 1536 };
	struct rig r;
	uint8_t f[FRAME_MAX];
	uint16_t head;
	uint32_t used;

	rig_open(&r, &cfg);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(places); i++) {
		uint64_t at = places[i] >= 0x10000000 ? places[i] - 0x10000000 + half : places[i];

		drv_post1(&r.drv, RX, places[i], 1536);
		rig_frame(&r, f, 1514, i);
		rig_far_send(&r, f, 1514);
		assert_true(rig_wait_used(&r, RX, &head, &used));
		assert_memory_equal(r.drv.ram + at + DRV_HDR, f, 1514);
		drv_fill_pattern(&r.drv, at, at + DRV_HDR + 1514);
		assert_untouched(&r, DRV_FREE_AT, RIG_RAM);
	}
	assert_int_equal(rig_stat(&r, "rx_lent"), XN_ARRAY_SIZE(places));
	rig_close(&r);
}

static void short_buffers_are_bounced_and_merged(void **state)
{
	uint8_t f[FRAME_MAX], got[FRAME_MAX];
	struct rig r;
	uint32_t used, sum = 0;
	uint16_t head, buffers;

	rig_open(&r, &(struct rig_cfg){ .features = MRG });
	for (unsigned i = 0; i < 20; i++)
		drv_post1(&r.drv, RX, ODD + i * 512, 100);
	rig_frame(&r, f, 1000, 1);
	rig_settle(&r, 1);
	rig_far_send(&r, f, 1000);
	assert_true(rig_wait_used(&r, RX, &head, &used));
	memcpy(&buffers, r.drv.ram + ODD + 10, 2);
	assert_int_equal(buffers, 11);          /* 88 + 9 * 100 + 12 */
	for (unsigned i = 0; i < buffers; i++) {
		uint32_t skip = i ? 0 : DRV_HDR;

		memcpy(got + sum, r.drv.ram + ODD + i * 512 + skip, used - skip);
		sum += used - skip;
		assert_untouched(&r, ODD + i * 512 + used, ODD + (i + 1) * 512);
		if (i + 1 < buffers)
			assert_true(drv_used(&r.drv, RX, &head, &used));
	}
	assert_int_equal(sum, 1000);
	assert_memory_equal(got, f, 1000);
	assert_int_equal(rig_stat(&r, "rx_bounce_short"), 20);
	assert_int_equal(rig_stat(&r, "rx_bounced"), 1);
	assert_int_equal(rig_stat(&r, "rx_merged"), 1);
	rig_close(&r);
}

static void frames_without_room_are_dropped_by_name(void **state)
{
	uint8_t f[FRAME_MAX];
	struct rig r;
	uint16_t head;
	uint32_t used;

	/* Not mergeable: 1000 bytes do not fit 100, the buffer waits for a smaller one. */
	rig_open(&r, &(struct rig_cfg){ 0 });
	drv_post1(&r.drv, RX, ODD, 100);
	rig_settle(&r, 1);
	rig_frame(&r, f, 1000, 1);
	rig_far_send(&r, f, 1000);
	rig_wait_stat(&r, "rx_drop_too_small", 1);
	rig_far_send(&r, f, 80);
	assert_true(rig_wait_used(&r, RX, &head, &used));
	assert_int_equal(used, DRV_HDR + 80);
	rig_close(&r);

	/* Mergeable: three short buffers do not hold it either. */
	rig_open(&r, &(struct rig_cfg){ .features = MRG });
	for (unsigned i = 0; i < 3; i++)
		drv_post1(&r.drv, RX, ODD + i * 512, 100);
	rig_settle(&r, 1);
	rig_far_send(&r, f, 1000);
	rig_wait_stat(&r, "rx_drop_no_buffer", 1);
	rig_far_send(&r, f, 280);               /* just fits: 88 + 100 + 92 */
	assert_true(rig_wait_used(&r, RX, &head, &used));
	assert_int_equal(rig_stat(&r, "rx_packets"), 1);
	rig_close(&r);

	/* No buffer at all: the kernel says so. */
	rig_open(&r, &(struct rig_cfg){ 0 });
	rig_far_send(&r, f, 1000);
	rig_wait_stat(&r, "kernel_fill_empty", 1);
	rig_close(&r);
}

static void outside_the_window_is_bounced_both_ways(void **state)
{
	const struct rig_cfg cfg = { .mem = { .window_gpa = 0, .window_bytes = 1 << 20 } };
	const struct drv_seg s = { 0x200001, DRV_HDR + 900 };
	uint8_t f[FRAME_MAX];
	struct rig r;

	rig_open(&r, &cfg);
	rig_frame(&r, f, 900, 3);
	drv_post1(&r.drv, RX, 0x180001, 1536);
	rig_settle(&r, 1);
	receive_one(&r, 0x180001, 1536, 900, 7);
	assert_int_equal(rig_stat(&r, "rx_bounce_window"), 1);
	assert_int_equal(rig_stat(&r, "rx_bounced"), 1);
	transmit_one(&r, &s, 1, f, 900);
	assert_int_equal(rig_stat(&r, "tx_bounce_window"), 1);
	assert_int_equal(rig_stat(&r, "tx_bounced"), 1);
	rig_close(&r);
}

static void bounce_mode_lends_nothing(void **state)
{
	const struct drv_seg s = { ODD + 8192, DRV_HDR + 1514 };
	uint8_t f[FRAME_MAX];
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ .options = ",mode=bounce" });
	drv_post1(&r.drv, RX, ODD, 1536);
	rig_settle(&r, 1);
	receive_one(&r, ODD, 1536, 1514, 7);
	rig_frame(&r, f, 1514, 3);
	transmit_one(&r, &s, 1, f, 1514);
	assert_int_equal(rig_stat(&r, "rx_bounce_forced"), 1);
	assert_int_equal(rig_stat(&r, "tx_bounce_forced"), 1);
	assert_int_equal(rig_stat(&r, "rx_lent") + rig_stat(&r, "tx_lent"), 0);
	rig_close(&r);
}

static void post_tx(struct rig *r, uint32_t payload, uint8_t flags, uint8_t gso)
{
	memset(r->drv.ram + ODD, 0, DRV_HDR + payload);
	r->drv.ram[ODD] = flags;
	r->drv.ram[ODD + 1] = gso;
	drv_post1(&r->drv, TX, ODD, DRV_HDR + payload);
}

static void wrong_packets_are_dropped_by_name_and_the_next_good_one_leaves(void **state)
{
	static const struct {
		uint32_t payload; uint8_t flags, gso; const char *counter;
	} bad[] = {
		{ 0, 0, 0, "tx_drop_short_chain" },
		{ 1, 0, 0, "tx_drop_runt" },
		{ 13, 0, 0, "tx_drop_runt" },
		{ 1515, 0, 0, "tx_drop_too_long" },      /* needs a VLAN tag to be legal */
		{ 1519, 0, 0, "tx_drop_too_long" },
		{ 4000, 0, 0, "tx_drop_too_long" },
		{ 64, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, "tx_drop_bad_header" },
		{ 64, 0, VIRTIO_NET_HDR_GSO_TCPV4, "tx_drop_bad_header" },
		{ 64, 0, 0x77, "tx_drop_bad_header" },
	};
	const struct drv_seg s = { ODD + 8192, DRV_HDR + 100 };
	uint8_t f[FRAME_MAX];
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ 0 });
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		uint64_t before = rig_stat(&r, bad[i].counter);
		uint16_t head;
		uint32_t used;

		post_tx(&r, bad[i].payload, bad[i].flags, bad[i].gso);
		assert_true(rig_wait_used(&r, TX, &head, &used));
		assert_int_equal(used, 0);
		assert_int_equal(rig_stat(&r, bad[i].counter), before + 1);
		rig_frame(&r, f, 100, i);
		transmit_one(&r, &s, 1, f, 100);
	}
	/* Unknown flag bits are ignored (VIRTIO 1.2, 5.1.6.2.2). */
	rig_frame(&r, f, 100, 99);
	memset(r.drv.ram + ODD, 0, DRV_HDR);
	r.drv.ram[ODD] = 0xf0;
	memcpy(r.drv.ram + ODD + DRV_HDR, f, 100);
	drv_post1(&r.drv, TX, ODD, DRV_HDR + 100);
	rig_wait_stat(&r, "tx_packets", XN_ARRAY_SIZE(bad) + 1);
	assert_int_equal(rig_stat(&r, "kernel_tx_invalid"), 0);
	rig_close(&r);
}

static void longest_frame_with_vlan_tag_leaves(void **state)
{
	const struct drv_seg s = { ODD, DRV_HDR + 1518 };
	static const uint8_t tag[] = { 0x81, 0x00, 0x00, 0x07, 0x88, 0xb5 };
	uint8_t f[FRAME_MAX], got[2048];
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ 0 });
	rig_frame(&r, f, 1518, 4);
	memcpy(f + 12, tag, sizeof(tag));
	memcpy(r.drv.ram + s.at + DRV_HDR, f, 1518);
	memset(r.drv.ram + s.at, 0, DRV_HDR);
	drv_post(&r.drv, TX, &s, 1);
	rig_wait_stat(&r, "tx_lent", 1);
	/* The far end's stack takes the tag out before a raw socket sees the frame. */
	assert_int_equal(rig_far_recv(&r, got, sizeof(got)), 1514);
	assert_memory_equal(got, f, 12);
	assert_memory_equal(got + 12, f + 16, 1502);
	rig_close(&r);
}

/* Something has come for the first queue, and waits there. */
static bool frame_waits(const struct rig *r)
{
	struct pollfd fds[8];
	unsigned n = xn_queue_wait_fds(xn_dev_queue(r->dev, 0), fds, XN_ARRAY_SIZE(fds));

	return poll(fds, n, RIG_SOON_MS) > 0;
}

static void nothing_is_written_after_a_stop_and_the_next_start_goes_on(void **state)
{
	uint8_t f[FRAME_MAX];
	struct rig r;
	uint16_t head;
	uint32_t used;

	rig_open(&r, &(struct rig_cfg){ .features = MRG });
	for (unsigned i = 0; i < 64; i++)
		drv_post1(&r.drv, RX, ODD + i * 2048, 1536);
	rig_settle(&r, 1);
	rig_frame(&r, f, 1000, 1);
	for (unsigned i = 0; i < 9; i++)
		rig_far_send(&r, f, 1000);
	rig_wait_stat(&r, "rx_packets", 9);
	/* And one that the kernel has brought, and nobody has looked at. */
	rig_far_send(&r, f, 1000);
	assert_true(frame_waits(&r));
	assert_int_equal(xn_dev_stop(r.dev), 0);
	while (drv_used(&r.drv, RX, &head, &used))
		assert_int_equal(used, DRV_HDR + 1000);   /* what had arrived is delivered */
	assert_int_equal(rig_stat(&r, "rx_packets"), 10);
	assert_int_equal(drv_pending(&r.drv, RX), 54);
	assert_int_equal(xn_dev_vring_base(r.dev, RX), 10);

	drv_fill_pattern(&r.drv, DRV_FREE_AT, RIG_RAM);
	for (unsigned i = 0; i < 1000; i++)
		rig_far_send(&r, f, 1000);
	assert_untouched(&r, DRV_FREE_AT, RIG_RAM);

	assert_int_equal(xn_lab_enter_near(&r.lab), 0);
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(xn_lab_leave(&r.lab), 0);
	rig_settle(&r, 1);
	for (unsigned i = 0; i < 54; i++) {
		rig_far_send(&r, f, 1000);
		assert_true(rig_wait_used(&r, RX, &head, &used));
		assert_int_equal(used, DRV_HDR + 1000);
	}
	assert_int_equal(drv_pending(&r.drv, RX), 0);
	rig_close(&r);
}

static void two_queues_share_one_umem(void **state)
{
	uint8_t f[FRAME_MAX];
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ .pairs = 2 });
	for (unsigned q = 0; q < 2; q++)
		for (unsigned i = 0; i < 100; i++)
			drv_post1(&r.drv, 2 * q, ODD + (q * 100 + i) * 2048, 1536);
	rig_settle(&r, 1);
	rig_frame(&r, f, 500, 1);
	/* Of 100 buffers a quarter is kept for frames that come on the other queue. */
	for (unsigned i = 0; i < 75; i++) {
		f[40] = (uint8_t)i;
		rig_far_send(&r, f, 500);
	}
	rig_wait_stat(&r, "rx_lent", 75);
	assert_int_equal(rig_stat(&r, "rx_bounced"), 0);

	for (unsigned q = 0; q < 2; q++) {
		uint8_t got[2048];

		rig_frame(&r, f, 300, q);
		memset(r.drv.ram + 0x300000, 0, DRV_HDR);
		memcpy(r.drv.ram + 0x300000 + DRV_HDR, f, 300);
		drv_post1(&r.drv, 2 * q + 1, 0x300000, DRV_HDR + 300);
		rig_settle(&r, 2);
		assert_int_equal(rig_far_recv(&r, got, sizeof(got)), 300);
		assert_memory_equal(got, f, 300);
	}
	rig_close(&r);
}

static void generic_mode_gives_the_same(void **state)
{
	const struct drv_seg s = { ODD + 8192, DRV_HDR + 1514 };
	struct xn_port_info info;
	uint8_t f[FRAME_MAX];
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ .options = ",attach=generic" });
	xn_port_get_info(r.port, &info);
	assert_string_equal(info.attach, "generic");
	for (uint32_t len = 60; len <= 1514; len += 97) {
		drv_post1(&r.drv, RX, ODD, 1536);
		rig_settle(&r, 1);
		receive_one(&r, ODD, 1536, len, len);
	}
	rig_frame(&r, f, 1514, 3);
	transmit_one(&r, &s, 1, f, 1514);
	assert_int_equal(rig_stat(&r, "rx_bounced"), 0);
	rig_close(&r);
}

static void with_filter_mac_only_the_guests_frames_are_taken(void **state)
{
	uint8_t f[FRAME_MAX];
	struct rig r;
	uint16_t head;
	uint32_t used;

	rig_open(&r, &(struct rig_cfg){ .options = ",filter=mac" });
	for (unsigned i = 0; i < 8; i++)
		drv_post1(&r.drv, RX, ODD + i * 2048, 1536);
	rig_settle(&r, 1);
	rig_frame(&r, f, 100, 1);
	f[5] ^= 0x55;                           /* somebody else's */
	rig_far_send(&r, f, 100);
	rig_wait_stat(&r, "steer_not_ours", 1);
	f[5] ^= 0x55;
	rig_far_send(&r, f, 100);               /* ours */
	memset(f, 0xff, 6);
	rig_far_send(&r, f, 100);               /* broadcast */
	f[0] = 0x33, f[1] = 0x33;
	rig_far_send(&r, f, 100);               /* multicast */
	rig_wait_stat(&r, "steer_to_guest", 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(rig_wait_used(&r, RX, &head, &used));
	assert_false(drv_used(&r.drv, RX, &head, &used));
	rig_close(&r);
}

static void guests_that_post_one_buffer_at_a_time_lose_by_name_only(void **state)
{
	uint8_t f[FRAME_MAX];
	struct rig r;
	uint16_t head;
	uint32_t used;
	unsigned got = 0;
	uint64_t end;

	rig_open(&r, &(struct rig_cfg){ 0 });
	rig_frame(&r, f, 100, 1);
	drv_post1(&r.drv, RX, ODD, 1536);
	rig_settle(&r, 1);
	for (unsigned i = 0; i < 500; i++) {
		rig_far_send(&r, f, 100);
		if (i % 5 == 4 && rig_wait_used(&r, RX, &head, &used)) {
			got++;
			drv_post1(&r.drv, RX, ODD, 1536);
			rig_settle(&r, 0);
			xn_queue_run(xn_dev_queue(r.dev, 0), 64);
		}
	}
	for (end = xn_now_ns() + RIG_SOON_MS * 1000000ull; xn_now_ns() < end;) {
		rig_settle(&r, 0);
		if (rig_stat(&r, "rx_packets") + rig_stat(&r, "kernel_fill_empty") >= 500)
			break;
	}
	assert_int_equal(rig_stat(&r, "rx_packets") + rig_stat(&r, "kernel_fill_empty"), 500);
	assert_int_equal(got, 100);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_arrives_in_guest_memory_and_nothing_else_is_written),
		cmocka_unit_test(every_size_leaves_from_guest_memory),
		cmocka_unit_test(short_frames_down_to_a_bare_header_leave_as_they_are),
		cmocka_unit_test(packets_of_many_pieces_are_gathered),
		cmocka_unit_test(packets_of_many_pieces_are_chained_on_request),
		cmocka_unit_test(header_apart_is_lent_both_ways),
		cmocka_unit_test(indirect_tables_work_both_ways),
		cmocka_unit_test(buffers_at_the_edges_of_regions_are_lent),
		cmocka_unit_test(short_buffers_are_bounced_and_merged),
		cmocka_unit_test(frames_without_room_are_dropped_by_name),
		cmocka_unit_test(outside_the_window_is_bounced_both_ways),
		cmocka_unit_test(bounce_mode_lends_nothing),
		cmocka_unit_test(wrong_packets_are_dropped_by_name_and_the_next_good_one_leaves),
		cmocka_unit_test(longest_frame_with_vlan_tag_leaves),
		cmocka_unit_test(nothing_is_written_after_a_stop_and_the_next_start_goes_on),
		cmocka_unit_test(two_queues_share_one_umem),
		cmocka_unit_test(generic_mode_gives_the_same),
		cmocka_unit_test(with_filter_mac_only_the_guests_frames_are_taken),
		cmocka_unit_test(guests_that_post_one_buffer_at_a_time_lose_by_name_only),
	};

	return cmocka_run_group_tests_name("veth", tests, NULL, NULL);
}
