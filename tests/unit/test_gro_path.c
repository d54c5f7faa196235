/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of receive coalescing from the wire to the guest's ring (engine/gro.h, engine/rx.c), on the
 * AF_XDP port over the fake kernel: the guest gets packets that are what had come, in fewer
 * buffers than frames; buffers that were emptied are lent again, and each comes back once; and
 * nothing of it without what it needs.
 */
#include "base/atomics.h"
#include "engine/dev.h"
#include "tests/fake/packet.h"
#include "tests/unit/port_rig.h"

#define F(n) (1ull << (n))
#define GRO  (F(VIRTIO_NET_F_GUEST_CSUM) | F(VIRTIO_NET_F_GUEST_TSO4) | F(VIRTIO_NET_F_GUEST_TSO6))
#define USO  (F(VIRTIO_NET_F_GUEST_CSUM) | F(XN_NET_F_GUEST_USO4) | F(XN_NET_F_GUEST_USO6))
#define BOTH (GRO | F(XN_NET_F_GUEST_USO4) | F(XN_NET_F_GUEST_USO6))
#define BUF  4096u
#define SIZE 1400u    /* of the payload of a segment */

static struct pkt pkt;
static struct pkt_spec spec;
static uint8_t got[PKT_MAX];

static void offer_buffers(struct rig *r, unsigned n, uint32_t bytes)
{
	while (n--) {
		const uint16_t head = r->drv.q[RX].free[r->drv.q[RX].n_free - 1];
		const struct drv_seg seg = { RX_AT + (uint64_t)head * BUF, bytes };

		offer(r, &seg, 1);
	}
}

static unsigned heads_out(const struct rig *r)
{
	unsigned n = 0;

	for (unsigned h = 0; h < DRV_SIZE; h++)
		n += r->offered[h].n != 0;
	return n;
}

/* A connection's next so many segments on the wire, or datagrams; at most 45. */
static void arrive_as(bool udp, uint8_t version, unsigned segments, uint32_t seed)
{
	static uint8_t frame[PKT_MAX];

	spec = (struct pkt_spec){ .version = version, .udp = udp, .tcp_options = 3, .tcp_flags = 0x18,
				  .gso_size = SIZE, .payload = segments * SIZE, .seed = seed };
	pkt_build(&pkt, &spec);
	for (unsigned i = 0; i < segments; i++) {
		const uint32_t n = pkt_segment(pkt.data, pkt.bytes, pkt.ip_at, pkt.l4_at,
					       pkt_dst_at(&pkt, &spec), udp, SIZE, i, frame);

		assert_int_equal(fk_rx(fk(), frame, n), 0);
	}
}

static void arrive(uint8_t version, unsigned segments, uint32_t seed)
{
	arrive_as(false, version, segments, seed);
}

static struct virtio_net_hdr_v1 next_header(struct rig *r)
{
	const struct vring_used *u = drv_used_ring(&r->drv, RX);
	const uint32_t head = u->ring[r->drv.q[RX].seen & (DRV_SIZE - 1)].id;
	struct virtio_net_hdr_v1 h;

	memcpy(&h, r->drv.ram + r->offered[head].segs[0].at, sizeof(h));
	return h;
}

/* One packet, which is what `pkt` was. */
static void expect_packet(struct rig *r, uint8_t gso)
{
	const struct virtio_net_hdr_v1 h = next_header(r);
	const unsigned before = heads_out(r);

	assert_int_equal(take_frame(r, got), pkt.bytes);
	assert_int_equal(before - heads_out(r), h.num_buffers);
	assert_int_equal(h.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(h.gso_type, gso);
	assert_int_equal(h.gso_size, SIZE);
	assert_int_equal(h.hdr_len, pkt.payload_at);
	assert_int_equal(h.csum_start, pkt.l4_at);
	assert_int_equal(h.csum_offset, gso == PKT_GSO_UDP ? 6 : 16);
	assert_memory_equal(got, pkt.data, pkt.bytes);
}

/* Rounds of packets of 2 to 45 segments, through 100 buffers. */
static void pass_packets(struct rig *r, uint32_t buf_bytes, bool udp)
{
	uint64_t frames = 0, bytes = 0;

	offer_buffers(r, 100, buf_bytes);
	for (unsigned i = 0; i < 400; i++) {
		const unsigned segments = 2 + i % 44;
		const uint8_t version = i & 1 ? 4 : 6;
		unsigned before, needed;

		xn_queue_run(r->q, 64);
		assert_int_equal(fk_fill_level(fk()), 100);   /* what was emptied is lent again */
		arrive_as(udp, version, segments, i + 1);
		xn_queue_run(r->q, 64);
		before = heads_out(r);
		expect_packet(r, udp ? PKT_GSO_UDP : version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6);
		needed = (DRV_HDR + pkt.bytes + buf_bytes - 1) / buf_bytes;
		assert_int_equal(before - heads_out(r), needed);
		offer_buffers(r, before - heads_out(r), buf_bytes);
		frames += segments;
		bytes += segments * pkt.payload_at + pkt.bytes - pkt.payload_at;
	}
	assert_int_equal(stat(r, "rx_packets"), frames);
	assert_int_equal(stat(r, "rx_bytes"), bytes);
	assert_int_equal(stat(r, "rx_coalesced"), frames);
	assert_int_equal(stat(r, "rx_coalesced_packets"), 400);
}

static void packets_arrive_whole_in_full_buffers(void **state)
{
	const struct rig_opts o = { .features = MRG | GRO, .driver = "veth" };
	struct rig r;

	rig_open(&r, &o);
	pass_packets(&r, BUF, false);
	rig_close(&r);
}

static void so_they_do_in_buffers_that_hold_one_frame(void **state)
{
	const struct rig_opts o = { .features = MRG | GRO, .driver = "veth" };
	struct rig r;

	rig_open(&r, &o);
	pass_packets(&r, 1536, false);
	rig_close(&r);
}

/* A port that does not look at checksums: they are finished, and looked at here. */
static void frames_from_a_wire_are_checked_and_put_together(void **state)
{
	const struct rig_opts o = { .features = MRG | GRO, .driver = "igb" };
	struct rig r;

	rig_open(&r, &o);
	pass_packets(&r, BUF, false);
	rig_close(&r);
}

static void datagrams_arrive_as_whole_packets_too(void **state)
{
	static const struct { const char *driver; uint32_t buf_bytes; } ways[] = {
		{ "veth", BUF }, { "veth", 1536 }, { "igb", BUF },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(ways); i++) {
		const struct rig_opts o = { .features = MRG | USO, .driver = ways[i].driver };
		struct rig r;

		rig_open(&r, &o);
		pass_packets(&r, ways[i].buf_bytes, true);
		rig_close(&r);
	}
}

/* Emptied buffers that nobody has lent again yet are given back by a stop like any other. */
static void a_stop_gives_back_what_was_emptied(void **state)
{
	const struct rig_opts o = { .features = MRG | GRO, .driver = "veth" };
	unsigned untaken;
	struct rig r;

	rig_open(&r, &o);
	offer_buffers(&r, 60, BUF);
	xn_queue_run(r.q, 64);
	arrive(4, 45, 1);
	assert_int_equal(xn_dev_stop(r.dev), 0);       /* it drains, and lends nothing more */
	expect_packet(&r, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(take_frame(&r, got), 0);      /* but for what comes back empty */
	untaken = (uint16_t)(drv_avail(&r.drv, RX)->idx - xn_dev_vring_base(r.dev, 0));
	assert_int_equal(heads_out(&r), untaken);
	rig_close(&r);
}

/* ---- not without what it needs ---- */

static void expect_single_frames(struct rig *r, unsigned n, bool udp)
{
	while (n--) {
		const struct virtio_net_hdr_v1 h = next_header(r);

		assert_int_equal(h.gso_type, VIRTIO_NET_HDR_GSO_NONE);
		assert_int_equal(h.num_buffers, 1);
		assert_int_equal(take_frame(r, got), (udp ? 42 : 66) + SIZE);
	}
}

static void whoever_has_not_accepted_it_gets_frames(void **state)
{
	static const struct { uint64_t features; bool udp; } ways[] = {
		{ MRG, false }, { MRG | (GRO & ~F(VIRTIO_NET_F_GUEST_CSUM)), false }, { GRO, false },
		{ MRG | GRO | F(VIRTIO_F_IN_ORDER), false }, { MRG | (GRO & ~F(VIRTIO_NET_F_GUEST_TSO4)), false },
		{ MRG | USO, false },
		{ MRG | GRO, true }, { MRG | (USO & ~F(VIRTIO_NET_F_GUEST_CSUM)), true }, { USO, true },
		{ MRG | USO | F(VIRTIO_F_IN_ORDER), true }, { MRG | (USO & ~F(XN_NET_F_GUEST_USO4)), true },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(ways); i++) {
		const struct rig_opts o = { .features = ways[i].features, .driver = "veth" };
		struct rig r;

		rig_open(&r, &o);
		offer_buffers(&r, 30, BUF);
		xn_queue_run(r.q, 64);
		arrive_as(ways[i].udp, 4, 20, 1);
		xn_queue_run(r.q, 64);
		expect_single_frames(&r, 20, ways[i].udp);
		assert_int_equal(stat(&r, "rx_coalesced"), 0);
		rig_close(&r);
	}
}

static void what_is_switched_off_meanwhile_ends_with_the_next_batch(void **state)
{
	const struct rig_opts o = { .features = MRG | BOTH, .driver = "veth" };
	struct rig r;

	rig_open(&r, &o);
	offer_buffers(&r, 60, BUF);
	for (unsigned i = 0; i < 12; i++) {
		const bool on = i % 3 == 0, udp = i >= 6;
		const uint64_t one = udp ? F(XN_NET_F_GUEST_USO4) : F(VIRTIO_NET_F_GUEST_TSO4);
		const uint64_t less = i % 3 == 1 ? one : F(VIRTIO_NET_F_GUEST_CSUM);
		unsigned before;

		xn_store_once64(&r.dev->guest_offloads, on ? BOTH : BOTH & ~less);
		xn_queue_run(r.q, 64);
		arrive_as(udp, 4, 20, i + 1);
		xn_queue_run(r.q, 64);
		before = heads_out(&r);
		if (on)
			expect_packet(&r, udp ? PKT_GSO_UDP : VIRTIO_NET_HDR_GSO_TCPV4);
		else
			expect_single_frames(&r, 20, udp);
		offer_buffers(&r, before - heads_out(&r), BUF);
	}
	rig_close(&r);
}

static void each_page_that_a_packet_was_put_together_in_is_marked(void **state)
{
	static uint8_t map[RAM / XN_PAGE_SIZE / 8];
	const struct rig_opts o = { .features = MRG | GRO, .driver = "veth" };
	struct vring_used *u;
	struct rig r;

	rig_open(&r, &o);
	offer_buffers(&r, 60, BUF);
	xn_queue_run(r.q, 64);
	memset(map, 0, sizeof(map));
	xn_dev_set_dirty_log(r.dev, map, sizeof(map));
	memset(map, 0, sizeof(map));
	arrive(4, 45, 1);
	xn_queue_run(r.q, 64);
	u = drv_used_ring(&r.drv, RX);
	assert_true(u->idx >= 16);
	for (unsigned i = 0; i < u->idx; i++) {
		const uint64_t at = r.offered[u->ring[i].id].segs[0].at;

		for (uint64_t page = at / XN_PAGE_SIZE; page <= (at + u->ring[i].len - 1) / XN_PAGE_SIZE; page++)
			assert_true(map[page / 8] >> page % 8 & 1);
	}
	expect_packet(&r, VIRTIO_NET_HDR_GSO_TCPV4);
	xn_dev_set_dirty_log(r.dev, NULL, 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_arrive_whole_in_full_buffers),
		cmocka_unit_test(so_they_do_in_buffers_that_hold_one_frame),
		cmocka_unit_test(frames_from_a_wire_are_checked_and_put_together),
		cmocka_unit_test(datagrams_arrive_as_whole_packets_too),
		cmocka_unit_test(a_stop_gives_back_what_was_emptied),
		cmocka_unit_test(whoever_has_not_accepted_it_gets_frames),
		cmocka_unit_test(what_is_switched_off_meanwhile_ends_with_the_next_batch),
		cmocka_unit_test(each_page_that_a_packet_was_put_together_in_is_marked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
