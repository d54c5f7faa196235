/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves, on a fake NIC whose driver is in zero-copy mode, and with a test driver as guest:
 *   - lent is what may be lent, and nothing else: not a byte is written outside of it, and
 *     no buffer or packet is lost at a page that does not follow; judged by a slow oracle
 *   - what is not lent has its reason counted, and arrives all the same
 *   - the mode is the one asked for, or the best that can be had, and says why
 *   - memory is given back only when the driver has been proven to be gone
 */
#include <errno.h>

#include "tests/unit/port_rig.h"

static unsigned seed = 11;
static unsigned rnd(unsigned n) { return (unsigned)rand_r(&seed) % n; }

/* ---- NICs ---- */

#define PAGES_MAX 65536u

static bool map[PAGES_MAX];   /* the next page follows for the device */

static bool follows(uint64_t page)
{
	assert_true(page < PAGES_MAX);
	return map[page];
}

static void all_follow(void)  { memset(map, 1, sizeof(map)); }
static void none_follows(void) { memset(map, 0, sizeof(map)); }
static void some_follow(unsigned percent)
{
	for (unsigned i = 0; i < PAGES_MAX; i++)
		map[i] = rnd(100) < percent;
}

/* As xsk/drivers.h has them, at MTU 1500: chunk 2048, frame 1536; chunk 4096, frame 2048. */
static const struct fk_nic virtio = { .zero_copy = true, .front = 12, .reach = 1536, .follows = follows };
static const struct fk_nic igb = { .zero_copy = true, .reach = 2048, .piece = 2048, .follows = follows };
static const struct fk_nic igb_stamps = { .zero_copy = true, .reach = 2048, .piece = 2048, .shift = 16,
					  .follows = follows };

struct nic_case {
	const char *driver;
	const struct fk_nic *nic;
	uint32_t mtu, chunk, frame, reach, front;
};

static const struct nic_case nics[] = {
	{ "virtio_net", &virtio, 1500, 2048, 1536, 1536, 12 },
	{ "igb", &igb, 1500, 4096, 2048, 2048, 0 },
};

static struct rig_opts opts_of(const struct nic_case *n, const char *options, uint64_t features)
{
	return (struct rig_opts){ .driver = n->driver, .nic = n->nic, .mtu = n->mtu, .options = options,
				  .features = features };
}

/* ---- the oracle: slow, and by bytes ---- */

/* Does a chunk, or a packet, keep to pages that follow each other? */
static bool whole(uint64_t at, uint32_t bytes)
{
	for (uint64_t b = at; b + 1 < at + bytes; b++)
		if (b / 4096 != (b + 1) / 4096 && !map[b / 4096])
			return false;
	return true;
}

/* What has to become of a receive buffer of these pieces: a counter's name. */
static const char *expected_rx(const struct rig *r, const struct nic_case *c, const struct drv_seg *segs,
			       unsigned n)
{
	const uint64_t end = r->mem->window_bytes ? r->mem->window_bytes : RAM;
	uint32_t skip = DRV_HDR;

	for (unsigned i = 0; i < n; i++) {
		uint64_t land = segs[i].at + skip, to = segs[i].at + segs[i].len;

		if (skip >= segs[i].len && i + 1 < n) {
			skip -= segs[i].len;
			continue;
		}
		/* A buffer that the window's end cuts is in two pieces. */
		if (segs[i].at < end && to > end)
			to = end;
		if (land + c->reach > to || land - segs[i].at < c->front)
			return "rx_bounce_short";
		if (land >= end)
			return "rx_bounce_window";
		return whole(r->ram_uoff + land - (c->chunk - c->frame), c->chunk) ? "rx_buf_lent" :
		       "rx_bounce_page";
	}
	return "rx_bounce_short";
}

/* ---- receive: lent or not ---- */

static const char *const verdicts[] = { "rx_buf_lent", "rx_bounce_short", "rx_bounce_window",
					"rx_bounce_page" };
#define VERDICTS XN_ARRAY_SIZE(verdicts)

/* A buffer in the slot'th 8 KiB: of one piece mostly, of the lengths that guests use, at
 * their and at odd places; or with a header of its own. */
static unsigned any_buffer(struct drv_seg *segs, unsigned slot)
{
	static const uint32_t lens[] = { 1530, 1536, 1547, 1548, 1549, 2048, 2059, 2060, 4096, 6000 };
	uint64_t at = DRV_FREE_AT + (uint64_t)slot * 8192;
	uint32_t len = lens[rnd(XN_ARRAY_SIZE(lens))], before;

	at += rnd(2) ? rnd(4) * 512 : rnd(2100);
	if (rnd(4)) {
		segs[0] = (struct drv_seg){ at, len };
		return 1;
	}
	/* Up to the whole header before the piece that the frame lands in. */
	before = 1 + rnd(DRV_HDR);
	segs[0] = (struct drv_seg){ at, before };
	segs[1] = (struct drv_seg){ at + before + rnd(3) * 16, len - rnd(13) };
	return 2;
}

static void lent_or_not(const struct nic_case *c, unsigned percent, bool window)
{
	struct rig_opts o = opts_of(c, ",mode=zero-copy", MRG | IND);
	uint64_t want[VERDICTS] = { 0 };
	struct rig r;

	some_follow(percent);
	o.window_bytes = window ? (1u << 20) + 4096 : 0;
	rig_open(&r, &o);
	assert_int_equal(fk()->chunk_bytes, c->chunk);
	assert_int_equal(fk()->frame_bytes, c->frame);
	for (unsigned i = 0; i < 100; i++) {
		struct drv_seg segs[2];
		unsigned n = any_buffer(segs, i * 2);
		const char *v = expected_rx(&r, c, segs, n);

		for (unsigned k = 0; k < VERDICTS; k++)
			want[k] += !strcmp(v, verdicts[k]);
		offer(&r, segs, n);
		if (rnd(3))
			xn_queue_run(r.q, 64);
	}
	xn_queue_run(r.q, 64);
	for (unsigned k = 0; k < VERDICTS; k++)
		if (stat(&r, verdicts[k]) != want[k])
			fail_msg("%s, %u %%: %s is %lu, the rule says %lu", c->driver, percent, verdicts[k],
				 (unsigned long)stat(&r, verdicts[k]), (unsigned long)want[k]);
	rig_close(&r);
}

static void lent_or_not_is_what_the_rule_says(void **state)
{
	static const unsigned percent[] = { 0, 3, 50, 97, 100 };

	(void)state;
	for (unsigned run = 0; run < 10; run++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(nics); i++)
			for (unsigned k = 0; k < XN_ARRAY_SIZE(percent); k++)
				lent_or_not(&nics[i], percent[k], run % 2);
}

/* Frames into any buffers: what may_write allows is all that is written, nothing posted is
 * lost, and all frames arrive whole and in order, or have a counter. Those that are too long
 * never arrive, nor does a piece of one; their buffers come again. */
static void random_receive(const struct nic_case *c, unsigned percent, uint64_t features)
{
	const struct rig_opts o = opts_of(c, ",mode=zero-copy", features);
	static uint8_t sent[64][FRAME_MAX], too_long[FRAME_MAX + 4000];
	uint64_t arrived = 0, delivered = 0;
	unsigned slot = 0;
	uint8_t got[80000];
	struct rig r;

	some_follow(percent);
	rig_open(&r, &o);
	for (unsigned round = 0; round < 800; round++) {
		uint32_t lens[64], len;
		unsigned n = 1 + rnd(8), ok = 0;

		while (drv_pending(&r.drv, RX) < 60 && r.drv.q[RX].n_free > SEGS_MAX) {
			struct drv_seg segs[2];
			unsigned pieces = any_buffer(segs, slot++ % 500);

			offer(&r, segs, pieces);
		}
		xn_queue_run(r.q, 64);
		for (unsigned i = 0; i < n; i++) {
			lens[ok] = 14 + rnd(FRAME_MAX - 13);
			make_frame(sent[ok], lens[ok], round * 8 + i);
			ok += !fk_host_rx(0, sent[ok], lens[ok]);
			if (!rnd(10))
				fk_host_rx(0, too_long, FRAME_MAX + 1 + rnd(4000));
		}
		arrived += ok;
		while (xn_queue_run(r.q, 64))
			;
		for (unsigned i = 0; (len = take_frame(&r, got)); i++) {
			while (i < ok && (lens[i] != len || memcmp(sent[i], got, len)))
				i++;
			if (i >= ok)
				fail_msg("round %u: a frame of %u bytes was never sent", round, len);
			delivered++;
		}
	}
	assert_int_equal(fk()->fill_lost, 0);
	assert_int_equal(fk()->fill_invalid, 0);
	assert_int_equal(stat(&r, "rx_packets"), delivered);
	assert_int_equal(stat(&r, "rx_lent") + stat(&r, "rx_bounced"), delivered);
	assert_int_equal(arrived, delivered + stat(&r, "rx_drop_no_buffer") +
			 stat(&r, "rx_drop_too_small") + stat(&r, "rx_drop_error"));
	assert_int_equal(stat(&r, "rx_drop_error"), 0);
	assert_true(delivered > 300);
	assert_true(stat(&r, "rx_lent") > 20);
	assert_true(stat(&r, "rx_bounced") > 100);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	rig_close(&r);
}

static void not_a_byte_is_written_outside_of_what_was_lent(void **state)
{
	(void)state;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(nics); i++) {
		random_receive(&nics[i], 50, MRG);
		random_receive(&nics[i], 90, 0);
	}
}

static void frames_behind_a_timestamp_begin_where_they_should(void **state)
{
	const struct nic_case c = { "igb", &igb_stamps, 1500, 4096, 2048, 2048, 0 };

	(void)state;
	random_receive(&c, 90, MRG);
}

/* ---- transmit ---- */

struct tx_want { uint64_t lent, chained, gathered, bounced, page, window; };

/* One packet in any pieces at any place; what has to become of it. */
static uint32_t post_packet(struct rig *r, const struct nic_case *c, unsigned i, uint32_t id,
			    unsigned segments, struct tx_want *w)
{
	uint64_t at = TX_AT + (uint64_t)i * 12288 + rnd(8000);
	uint32_t len = 14 + rnd(1501), total = DRV_HDR + len, off = 0, skip = DRV_HDR;
	unsigned n = rnd(3) ? 1 : 1 + rnd(4), pieces = 0;
	uint8_t flat[DRV_HDR + 1600] = { 0 };
	struct drv_seg segs[4];
	uint32_t first = 0;
	bool ok = true;

	make_frame(flat + DRV_HDR, len, id);
	for (unsigned k = 0; k < n; k++) {
		uint32_t left = total - off, part = k + 1 == n ? left : 1 + rnd(left - (n - 1 - k));
		uint32_t cut = XN_MIN(skip, part);

		segs[k] = (struct drv_seg){ at, part };
		memcpy(r->drv.ram + at, flat + off, part);
		skip -= cut;
		if (part > cut) {
			ok &= whole(r->ram_uoff + at + cut, part - cut);
			first = pieces++ ? first : part - cut;
		}
		at += part + rnd(3) * 7;
		off += part;
	}
	drv_post(&r->drv, TX, segs, n);
	w->page += !ok;
	if (pieces == 1)
		w->lent += ok, w->bounced += !ok;
	else if (ok && pieces <= segments && first >= 14)
		w->chained++;
	else
		w->gathered++;
	(void)c;
	return len;
}

static void random_transmit(const struct nic_case *c, unsigned segments, unsigned percent, bool late)
{
	struct rig_opts o = opts_of(c, ",mode=zero-copy", 0);
	struct fk_nic nic = *c->nic;
	struct tx_want w = { 0 };
	uint64_t total = 0, back = 0;
	uint32_t lens[32], used;
	uint8_t want[1600];
	uint16_t head;
	struct rig r;

	some_follow(percent);
	nic.segments = segments;
	o.nic = &nic;
	rig_open(&r, &o);
	fk()->hold = late;
	for (unsigned round = 0; round < 200; round++) {
		unsigned n = 1 + rnd(20);

		for (unsigned i = 0; i < n; i++)
			lens[i] = post_packet(&r, c, i, round * 32 + i, segments, &w);
		for (unsigned turn = 0; turn < 200 && drv_pending(&r.drv, TX); turn++) {
			xn_queue_run(r.q, 64);
			if (late)
				fk_complete(fk(), rnd(4));
			while (drv_used(&r.drv, TX, &head, &used))
				back++;
		}
		assert_int_equal(drv_pending(&r.drv, TX), 0);
		assert_int_equal(fk()->n_packets, n);
		for (unsigned i = 0; i < n; i++) {   /* read by the NIC when it completed them */
			make_frame(want, lens[i], round * 32 + i);
			assert_int_equal(fk()->packets[i].bytes, lens[i]);
			assert_memory_equal(fk()->packets[i].data, want, lens[i]);
		}
		fk_forget(fk());
		total += n;
	}
	assert_int_equal(back, total);
	assert_int_equal(stat(&r, "kernel_tx_invalid"), 0);
	assert_int_equal(stat(&r, "tx_lent"), w.lent);
	assert_int_equal(stat(&r, "tx_bounced"), w.bounced);
	assert_int_equal(stat(&r, "tx_chained"), w.chained);
	assert_int_equal(stat(&r, "tx_gathered"), w.gathered);
	assert_int_equal(stat(&r, "tx_bounce_page"), w.page);
	rig_close(&r);
}

static void packets_are_lent_where_pages_follow_and_leave_whole(void **state)
{
	static const unsigned percent[] = { 0, 50, 100 };

	(void)state;
	for (unsigned k = 0; k < XN_ARRAY_SIZE(percent); k++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(nics); i++) {
			random_transmit(&nics[i], 1, percent[k], false);
			random_transmit(&nics[i], 1, percent[k], true);
		}
}

/* ---- modes ---- */

static const char *mode_of(struct rig *r)
{
	struct xn_port_info info;

	xn_port_get_info(r->port, &info);
	return info.mode;
}

/* mode=auto with this NIC: which mode is it in? */
static const char *auto_mode(struct rig_opts o)
{
	const char *mode;
	struct rig r;

	rig_open(&r, &o);
	mode = mode_of(&r);
	assert_int_equal(fk()->zero_copy, !strcmp(mode, "zero-copy"));
	rig_close(&r);
	return mode;
}

static void auto_takes_zero_copy_where_most_can_be_lent(void **state)
{
	const struct nic_case *c = &nics[0];
	struct fk_nic nic = virtio;
	struct rig_opts o = opts_of(c, "", 0);

	(void)state;
	all_follow();
	assert_string_equal(auto_mode(o), "zero-copy");
	some_follow(94);
	assert_string_equal(auto_mode(o), "zero-copy");
	some_follow(80);
	assert_string_equal(auto_mode(o), "copy");
	none_follows();
	assert_string_equal(auto_mode(o), "copy");

	all_follow();
	o.options = ",filter=mac";
	assert_string_equal(auto_mode(o), "copy");
	o.options = ",mode=copy";
	assert_string_equal(auto_mode(o), "copy");
	o.options = "";
	o.driver = "gve";          /* denied */
	assert_string_equal(auto_mode(o), "copy");
	o.driver = "unknown";
	assert_string_equal(auto_mode(o), "copy");
	o.driver = "virtio_net";
	nic.zero_copy = false;
	o.nic = &nic;
	assert_string_equal(auto_mode(o), "copy");
	nic.zero_copy = true;
	nic.deaf = true;
	assert_string_equal(auto_mode(o), "copy");
}

static void zero_copy_with_a_filter_is_refused(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy,filter=mac", 0);
	struct rig r;

	(void)state;
	rig_prepare(&r, &o);
	assert_int_equal(rig_open_port(&r, &o), -EINVAL);
	assert_non_null(strstr(xn_last_error(), "filter=mac"));
	assert_null(r.port);
	xn_mem_destroy(r.mem);
	drv_fini(&r.drv);
}

static void zero_copy_that_is_asked_for_is_had_or_fails(void **state)
{
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct fk_nic nic = virtio;
	struct rig r;

	(void)state;
	none_follows();
	rig_open(&r, &o);
	assert_string_equal(mode_of(&r), "zero-copy");
	rig_close(&r);
	nic.zero_copy = false;
	o.nic = &nic;
	rig_prepare(&r, &o);
	assert_int_equal(rig_open_port(&r, &o), 0);
	assert_int_equal(rig_start(&r, &o), -EOPNOTSUPP);
	rig_close(&r);
}

/* Nothing of the guest's for drivers that nobody has looked into. */
static void nothing_is_lent_to_unknown_drivers(void **state)
{
	static const char *const drivers[] = { "unknown", "gve", "tsnep" };
	const struct drv_seg s = { DRV_FREE_AT, 4096 };

	(void)state;
	all_follow();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(drivers); i++) {
		const struct rig_opts o = { .driver = drivers[i], .nic = &virtio, .options = ",mode=zero-copy" };
		struct tx_want w = { 0 };
		struct rig r;

		rig_open(&r, &o);
		offer(&r, &s, 1);
		post_packet(&r, &nics[0], 0, 1, 1, &w);
		xn_queue_run(r.q, 64);
		assert_int_equal(stat(&r, "rx_buf_lent"), 0);
		assert_int_equal(stat(&r, "rx_bounce_forced"), 1);
		assert_int_equal(stat(&r, "tx_lent") + stat(&r, "tx_chained"), 0);
		assert_int_equal(stat(&r, "tx_bounce_forced"), 1);
		rig_close(&r);
	}
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lent_or_not_is_what_the_rule_says),
		cmocka_unit_test(not_a_byte_is_written_outside_of_what_was_lent),
		cmocka_unit_test(frames_behind_a_timestamp_begin_where_they_should),
		cmocka_unit_test(packets_are_lent_where_pages_follow_and_leave_whole),
		cmocka_unit_test(auto_takes_zero_copy_where_most_can_be_lent),
		cmocka_unit_test(zero_copy_with_a_filter_is_refused),
		cmocka_unit_test(zero_copy_that_is_asked_for_is_had_or_fails),
		cmocka_unit_test(nothing_is_lent_to_unknown_drivers),
		cmocka_unit_test(guest_memory_is_still_when_a_stop_has_answered),
	};

	return cmocka_run_group_tests_name("port, zero-copy", tests, NULL, NULL);
}
