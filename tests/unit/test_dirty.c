/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of the dirty page log: whatever way a frame takes to the guest, each page that
 * has changed has its bit when the turn is over; and no page has one that was not
 * written. The oracle compares all of guest memory before and after each turn, and knows
 * from the used rings alone what may have been written.
 *
 *   - bits and bytes of the map, at its end, at the end of the address space
 *   - used rings: entries that go round the end, index, wishes, of a ring of many pages
 *   - thousands of random turns: lent, bounced, merged, in pieces, through tables, sorted
 *     otherwise by the driver, outside the window, over loopback; with stops and starts
 *   - turned on and off while queues run
 */
#include "tests/unit/port_rig.h"
#include "umem/dirty.h"
#include "virtio/vq.h"

#define PAGES (RAM / 4096)

static struct rig r;
static uint8_t before[RAM];
static uint8_t log_map[PAGES / 8];
static bool allowed[PAGES];
static unsigned seed = 5;

static unsigned rnd(unsigned n) { return (unsigned)rand_r(&seed) % n; }

static bool bit(uint64_t page)
{
	return log_map[page / 8] >> page % 8 & 1;
}

/* ---- the map ---- */

static void bits_are_where_vhost_user_says(void **state)
{
	static const struct { uint64_t gpa, len, first, n; } t[] = {
		{ 0, 1, 0, 1 },           { 4095, 1, 0, 1 },        { 4095, 2, 0, 2 },
		{ 4096, 4096, 1, 1 },     { 0x7fff, 1, 7, 1 },      { 0x7fff, 2, 7, 2 },
		{ 0x8000, 0x8000, 8, 8 }, { 12345, 0, 0, 0 },       { 0x8000 - 1, 0x8002, 7, 10 },
	};
	struct xn_dirty d = { log_map, sizeof(log_map) };
	uint64_t missed = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(t); i++) {
		memset(log_map, 0, sizeof(log_map));
		xn_dirty_mark(&d, XN_GPA(t[i].gpa), t[i].len, &missed);
		for (uint64_t page = 0; page < PAGES; page++)
			assert_int_equal(bit(page), page - t[i].first < t[i].n);
	}
	assert_int_equal(missed, 0);
}

static void pages_beyond_the_map_are_counted_and_nothing_is_written_there(void **state)
{
	struct xn_dirty d = { log_map, 2 };
	uint64_t missed = 0;

	memset(log_map, 0, sizeof(log_map));
	xn_dirty_mark(&d, XN_GPA(15 * 4096), 3 * 4096, &missed);
	assert_int_equal(missed, 2);
	assert_int_equal(log_map[1], 0x80);
	for (unsigned i = 2; i < sizeof(log_map); i++)
		assert_int_equal(log_map[i], 0);
	xn_dirty_mark(&d, XN_GPA(0 - 4096ull), 4096, &missed);     /* ends at 2^64 */
	assert_int_equal(missed, 3);
	xn_dirty_mark(&d, XN_GPA(0 - 1ull), 1, &missed);
	assert_int_equal(missed, 4);
}

static void offsets_find_their_way_back_to_guest_addresses(void **state)
{
	static struct xn_mem m = {
		.n_spans = 2,
		.spans = { { 0x1000, 0x2000, 0x10000 }, { 0x5000, 0x1000, 0x12000 } },
	};
	struct xn_dirty d = { log_map, sizeof(log_map) };
	uint64_t missed = 0;
	xn_gpa gpa;

	assert_int_equal(xn_mem_gpa_of(&m, XN_UOFF(0x10800), 0x100, &gpa), 0x100);
	assert_int_equal(gpa.v, 0x1800);
	assert_int_equal(xn_mem_gpa_of(&m, XN_UOFF(0x11f00), 0x200, &gpa), 0x100);
	assert_int_equal(xn_mem_gpa_of(&m, XN_UOFF(0xffff), 1, &gpa), 0);
	assert_int_equal(xn_mem_gpa_of(&m, XN_UOFF(0x13000), 1, &gpa), 0);
	/* From one span into the other, and on into what is not the guest's. */
	memset(log_map, 0, sizeof(log_map));
	xn_dirty_mark_at(&d, &m, XN_UOFF(0x11ff0), 0x2000, &missed);
	for (uint64_t page = 0; page < PAGES; page++)
		assert_int_equal(bit(page), page == 2 || page == 5);
	xn_dirty_mark_at(&d, &m, XN_UOFF(0), 0x1000, &missed);
	assert_int_equal(missed, 0);
}

/* ---- the oracle ---- */

static void allow(uint64_t at, uint64_t len)
{
	for (uint64_t page = at / 4096; len && page <= (at + len - 1) / 4096; page++)
		allowed[page] = true;
}

/* What a ring may have got between these indices: entries, index, wish. */
static void allow_used(uint64_t used_gpa, uint32_t size, uint16_t from, uint16_t to)
{
	for (; from != to; from++)
		allow(used_gpa + 4 + 8ull * (from % size), 8);
	allow(used_gpa, 4);
	allow(used_gpa + 4 + 8ull * size, 2);
}

static void begin_turn(void)
{
	memset(log_map, 0, sizeof(log_map));
	memset(allowed, 0, sizeof(allowed));
	memcpy(before, r.drv.ram, RAM);
}

/* Returns how many bits there are. */
static unsigned end_turn(bool on)
{
	unsigned bits = 0;

	for (uint64_t page = 0; page < PAGES; page++) {
		bool changed = memcmp(before + page * 4096, r.drv.ram + page * 4096, 4096) != 0;

		if (on && changed && !bit(page))
			fail_msg("page %#lx changed, and is not marked", (unsigned long)page);
		if (bit(page) && !(on && allowed[page]))
			fail_msg("page %#lx is marked, and nobody wrote there", (unsigned long)page);
		bits += bit(page);
	}
	return bits;
}

/* ---- a used ring of many pages ---- */

#define BIG      32768u
#define BIG_DESC 0x200000u
#define BIG_AVAIL 0x300000u
#define BIG_USED 0x400ffcu      /* flags and index on one page, entries on the next */

static void used_ring_of_many_pages(uint16_t event)
{
	const struct xn_dirty d = { log_map, sizeof(log_map) };
	const struct xn_vq_cfg cfg = { .size = BIG, .desc = XN_GPA(BIG_DESC), .dir = XN_VQ_TO_GUEST,
				       .avail = XN_GPA(BIG_AVAIL), .used = XN_GPA(BIG_USED),
				       .event_idx = event };
	static struct xn_counters ctr;
	static struct xn_chain c[2000];
	struct xn_piece pieces[4];
	struct vring_desc *desc;
	uint16_t *avail;
	struct xn_vq vq;

	rig_open(&r, &(struct rig_opts){ 0 });
	memset(r.drv.ram + BIG_DESC, 0, 0x400000);
	desc = (struct vring_desc *)(r.drv.ram + BIG_DESC);
	avail = (uint16_t *)(r.drv.ram + BIG_AVAIL);
	for (unsigned i = 0; i < BIG; i++) {
		desc[i] = (struct vring_desc){ 0x100000, 2048, VRING_DESC_F_WRITE, 0 };
		avail[2 + i] = (uint16_t)i;
	}
	assert_int_equal(xn_vq_init(&vq, r.mem, &ctr, &cfg), 0);

	begin_turn();
	xn_vq_set_log(&vq, &d);
	allow(BIG_USED, 6 + 8 * BIG);
	assert_int_equal(end_turn(true), (6 + 8 * BIG + 4095) / 4096 + 1);   /* all of it at once */
	for (unsigned round = 0; round < 600; round++) {
		const uint16_t from = vq.used_next;
		unsigned n = rnd(8) ? rnd(40) : rnd(2000);

		avail[1] = (uint16_t)(avail[1] + n);
		begin_turn();
		assert_int_equal(xn_vq_pop(&vq, c, n, pieces, 4), n);
		while (n--)
			xn_vq_push(&vq, c[n].head, rnd(2048) + 1);
		if (!rnd(4))
			xn_vq_enable_kick(&vq);
		if (!rnd(4))
			xn_vq_disable_kick(&vq);
		xn_vq_publish(&vq);
		allow_used(BIG_USED, BIG, from, vq.used_next);
		end_turn(true);
	}
	/* Heads that a stop gives back are written too. */
	avail[1] = (uint16_t)(avail[1] + 10);
	begin_turn();
	assert_int_equal(xn_vq_pop(&vq, c, 10, pieces, 4), 10);
	xn_vq_push(&vq, c[9].head, 1);
	assert_int_equal(xn_vq_reclaim_all(&vq), 9);
	allow_used(BIG_USED, BIG, (uint16_t)(vq.used_next - 10), vq.used_next);
	assert_true(end_turn(true) >= 2);
	xn_vq_fini(&vq);
	rig_close(&r);
}

static void used_rings_are_marked_where_they_are_written(void **state)
{
	used_ring_of_many_pages(0);
	used_ring_of_many_pages(1);
}

/* ---- turns of a device ---- */

/* A receive buffer of any layout in the slot'th 8 KiB: pieces from 1 byte on. */
static void offer_any(unsigned slot)
{
	struct drv_seg segs[SEGS_MAX];
	unsigned n = rnd(2) ? 1 : 1 + rnd(SEGS_MAX);
	uint64_t at = RX_AT + slot * 8192ull + rnd(n == 1 ? 6000 : 64);
	uint16_t head;

	for (unsigned i = 0; i < n; i++) {
		uint32_t len = n == 1 && rnd(3) ? 1536 : 1 + rnd(rnd(4) ? 900 : 20);

		segs[i] = (struct drv_seg){ at, i ? len : XN_MAX(len, DRV_HDR) };
		at += segs[i].len + rnd(9);
	}
	if (rnd(2)) {
		offer(&r, segs, n);
		return;
	}
	head = drv_post_indirect(&r.drv, RX, 0x600000 + slot * 256ull, segs, n);
	memcpy(r.offered[head].segs, segs, n * sizeof(*segs));
	r.offered[head].n = n;
}

static void send_any(void)
{
	static const uint8_t hdr[DRV_HDR];
	uint64_t at = TX_AT + rnd(64) * 2048ull;
	uint32_t len = 14 + rnd(1500);

	memcpy(r.drv.ram + at, hdr, DRV_HDR);
	make_frame(r.drv.ram + at + DRV_HDR, len, rnd(1000));
	drv_post1(&r.drv, TX, at, DRV_HDR + len);
}

/* Pages of the bytes that each used buffer says were written to it. */
static void allow_frames(uint16_t from)
{
	const struct vring_used *u = drv_used_ring(&r.drv, RX);

	for (; from != u->idx; from++) {
		const struct buffer *b = &r.offered[u->ring[from % DRV_SIZE].id];
		uint32_t left = u->ring[from % DRV_SIZE].len;

		assert_true(b->n);
		for (unsigned i = 0; i < b->n && left; i++) {
			uint32_t part = XN_MIN(left, b->segs[i].len);

			allow(b->segs[i].at, part);
			left -= part;
		}
		assert_int_equal(left, 0);
	}
}

static void take_all(void)
{
	uint32_t len;
	uint16_t head;

	while (drv_used(&r.drv, RX, &head, &len))
		r.offered[head].n = 0;
	while (drv_used(&r.drv, TX, &head, &len))
		;
}

/* On or off, in traffic or while the device is stopped. */
static void turn_log(bool on)
{
	bool stopped = !rnd(4);

	if (stopped) {
		assert_int_equal(xn_dev_stop(r.dev), 0);
		begin_turn();    /* what that did, was with the log as it had been */
	}
	xn_dev_set_dirty_log(r.dev, on ? log_map : NULL, on ? sizeof(log_map) : 0);
	if (stopped)
		assert_int_equal(xn_dev_start(r.dev), 0);
}

/* What happens between two looks at memory. */
static void happen(bool loopback)
{
	uint8_t f[FRAME_MAX];

	for (unsigned i = rnd(8); i && !loopback; i--) {
		uint32_t len = 14 + rnd(FRAME_MAX - 13);

		make_frame(f, len, rnd(1000));
		fk_host_rx(0, f, len);
	}
	while (xn_queue_run(r.q, 1 + rnd(64)))
		;
	if (!rnd(3))
		xn_queue_arm(r.q);
	if (!rnd(20)) {
		assert_int_equal(xn_dev_stop(r.dev), 0);
		assert_int_equal(xn_dev_start(r.dev), 0);
	}
}

static void random_turns(bool loopback)
{
	const uint16_t *rx_idx = &drv_used_ring(&r.drv, RX)->idx, *tx_idx = &drv_used_ring(&r.drv, TX)->idx;
	unsigned slot = 0, bits = 0;
	bool on = false;

	for (unsigned round = 0; round < 700; round++) {
		uint16_t rx_from, tx_from;

		take_all();
		while (drv_pending(&r.drv, RX) < 40 && r.drv.q[RX].n_free > SEGS_MAX)
			offer_any(slot++ % 64);
		for (unsigned i = rnd(6); i && r.drv.q[TX].n_free; i--)
			send_any();
		begin_turn();
		rx_from = *rx_idx;
		tx_from = *tx_idx;
		if (on != (rnd(8) > 0)) {
			on = !on;
			turn_log(on);
		}
		happen(loopback);
		allow_used(drv_vring(RX).used_gpa, DRV_SIZE, rx_from, *rx_idx);
		allow_used(drv_vring(TX).used_gpa, DRV_SIZE, tx_from, *tx_idx);
		allow_frames(rx_from);
		bits += end_turn(on);
	}
	assert_true(bits > 2000);
	assert_true(stat(&r, "rx_packets") > 500);
	assert_int_equal(stat(&r, "dirty_log_missed"), 0);
	xn_dev_set_dirty_log(r.dev, log_map, 0);
	happen(loopback);
	assert_true(stat(&r, "dirty_log_missed") > 0);
}

static void turns_of_the_af_xdp_port(void **state)
{
	static const struct rig_opts o[] = {
		{ .features = MRG | IND },
		{ .features = IND | 1ull << VIRTIO_RING_F_EVENT_IDX },
		{ .features = MRG | IND, .window_bytes = 0x140000 },
		{ .features = MRG | IND, .options = ",mode=bounce" },
		{ .features = MRG | IND },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(o); i++) {
		rig_open(&r, &o[i]);
		fk()->reorder = i + 1 == XN_ARRAY_SIZE(o) ? 7 : 0;
		random_turns(false);
		rig_close(&r);
	}
}

static void turns_of_loopback(void **state)
{
	struct xn_port *xdp;

	rig_open(&r, &(struct rig_opts){ .features = MRG | IND });
	/* The same rig on another port. */
	xn_dev_destroy(r.dev);
	xdp = r.port;
	assert_int_equal(xn_port_open(&r.port, "loopback", NULL), 0);
	assert_int_equal(xn_dev_create(&r.dev, r.mem, r.port, NULL), 0);
	assert_int_equal(xn_dev_set_features(r.dev, VERSION | MRG | IND), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct xn_vring v = drv_vring(i);

		assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
	}
	assert_int_equal(xn_dev_start(r.dev), 0);
	r.q = xn_dev_queue(r.dev, 0);
	random_turns(true);
	rig_close(&r);
	xn_port_close(xdp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_are_where_vhost_user_says),
		cmocka_unit_test(pages_beyond_the_map_are_counted_and_nothing_is_written_there),
		cmocka_unit_test(offsets_find_their_way_back_to_guest_addresses),
		cmocka_unit_test(used_rings_are_marked_where_they_are_written),
		cmocka_unit_test(turns_of_the_af_xdp_port),
		cmocka_unit_test(turns_of_loopback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
