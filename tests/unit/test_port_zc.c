/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves, on a fake NIC whose driver is in zero-copy mode, and with a test driver as guest:
 *   - lent is what may be lent, and nothing else: not a byte is written outside of it, and
 *     no buffer or packet is lost at a page that does not follow; judged by a slow oracle
 *   - what is not lent has its reason counted, and arrives all the same
 *   - the mode is the one asked for, or the best that can be had, and says why
 *   - a driver that has to have buffers has them, whatever the guest posts
 * What drivers have to prove, and what a stop does: test_port_zc_proof.c, test_port_zc_stop.c.
 */
#include "tests/unit/zc_rig.h"

/* ---- the oracle: slow, and by bytes ---- */

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
					"rx_bounce_page", "rx_bounce_sentinel" };
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
	bool waits;           /* one that is not lent */
	struct rig r;

	some_follow(percent);
	o.window_bytes = window ? (1u << 20) + 4096 : 0;
	rig_open(&r, &o);
	trust(&r);
	/* Those of the engine's own that igb has to have are another rule. */
	waits = xq(&r)->keep;
	xq(&r)->keep = 0;
	fk()->nic.keep = 0;
	assert_int_equal(fk()->chunk_bytes, c->chunk);
	assert_int_equal(fk()->frame_bytes, c->frame);
	for (unsigned i = 0; i < 100; i++) {
		struct drv_seg segs[2];
		unsigned n = any_buffer(segs, i * 2);
		const char *v = expected_rx(&r, c, segs, n);

		if (!waits && !strcmp(v, "rx_buf_lent"))
			v = "rx_bounce_sentinel";
		waits = waits || strcmp(v, "rx_buf_lent") != 0;
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
	const unsigned pending = c->nic->keep ? 200 : 60;
	static uint8_t sent[64][FRAME_MAX], too_long[FRAME_MAX + 4000];
	uint64_t arrived = 0, delivered = 0;
	unsigned slot = 0;
	uint8_t got[80000];
	struct rig r;

	some_follow(percent);
	rig_open(&r, &o);
	if (rnd(2))
		trust(&r);
	for (unsigned round = 0; round < 800; round++) {
		uint32_t lens[64], len;
		unsigned n = 1 + rnd(8), ok = 0;

		while (drv_pending(&r.drv, RX) < pending && r.drv.q[RX].n_free > SEGS_MAX) {
			struct drv_seg segs[2];
			unsigned pieces = any_buffer(segs, slot++ % 500);

			offer(&r, segs, pieces);
		}
		xn_queue_run(r.q, 64);
		for (unsigned i = 0; i < n; i++) {
			lens[ok] = 14 + rnd(FRAME_MAX - 13);
			make_frame(sent[ok], lens[ok], round * 8 + i);
			ok += !fk_host_rx(0, sent[ok], lens[ok]);
			if (!rnd(10)) {
				uint32_t bytes = FRAME_MAX + 1 + rnd(4000);

				/* One that fills its last buffer too takes the next frame with it. */
				if (!c->nic->piece || bytes % (c->nic->piece - c->nic->shift))
					fk_host_rx(0, too_long, bytes);
			}
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
	const struct nic_case c = { "igb", &igb_stamps, 1500, 4096, 2048, 2048, 0, true };

	(void)state;
	random_receive(&c, 90, MRG);
}

/* ---- transmit ---- */


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
	trust(&r);
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
	/* Of more pieces than it takes, neighbours are copied together. */
	assert_int_equal(stat(&r, "tx_gathered") + stat(&r, "tx_mixed"), w.gathered);
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

/* Not one piece more than it takes: such a packet would not be sent. */
static void drivers_that_take_pieces_get_as_many_as_they_take(void **state)
{
	const struct nic_case c = { "ice", &virtio, 1500, 2048, 1536, 1536, 0, false };

	(void)state;
	random_transmit(&c, 8, 100, false);
	random_transmit(&c, 8, 70, true);
}

/* ---- modes ---- */

/* mode=auto with this NIC: which mode is it in? */
static const char *auto_mode(struct rig_opts o)
{
	const char *mode;
	struct rig r;

	rig_open(&r, &o);
	mode = mode_of(&r);
	assert_int_equal(fk()->zero_copy, !strcmp(mode, "zero-copy"));
	if (!fk()->zero_copy) {   /* nothing is left of what was tried */
		assert_false(xq(&r)->known || xq(&r)->keep || xq(&r)->map || xq(&r)->tx_map);
		exchange(&r, 40);
		assert_int_equal(stat(&r, "rx_lent"), 40);
		assert_int_equal(stat(&r, "rx_bounced") + stat(&r, "rx_drop_no_buffer"), 0);
	}
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

/* ---- pieces ---- */

static void drop_pieces(unsigned in_front)
{
	const struct rig_opts o = opts_of(&nics[1], ",mode=zero-copy", 0);
	unsigned left = 256 - in_front - 3;
	static uint8_t f[9000];
	uint8_t got[80000];
	struct rig r;

	all_follow();
	rig_open(&r, &o);
	trust(&r);
	for (unsigned i = 0; i < 256; i++)
		offer(&r, &(struct drv_seg){ DRV_FREE_AT + i * 8192, 4096 }, 1);
	xn_queue_run(r.q, 64);
	xn_queue_run(r.q, 64);
	make_frame(f, sizeof(f), 1);
	for (unsigned i = 0; i < in_front; i++) {   /* 144 come in bounce frames, then in lent ones */
		assert_int_equal(fk_host_rx(0, f, 60), 0);
		xn_queue_run(r.q, 64);
		assert_int_equal(take_frame(&r, got), 60);
	}
	fk_host_rx(0, f, 1518);
	fk_host_rx(0, f, 1519);                 /* 1 */
	fk_host_rx(0, f, 2047);                 /* 1 */
	fk_host_rx(0, f, 2048 + 900);           /* 2: the last looks like a frame */
	fk_host_rx(0, f, 1000);
	fk_host_rx(0, f, 3 * 2048 + 60);        /* 4 */
	fk_host_rx(0, f, 1518);
	xn_queue_run(r.q, 64);
	assert_int_equal(take_frame(&r, got), 1518);
	assert_int_equal(take_frame(&r, got), 1000);
	assert_memory_equal(got, f, 1000);
	assert_int_equal(take_frame(&r, got), 1518);
	assert_int_equal(take_frame(&r, got), 0);
	assert_int_equal(stat(&r, "rx_drop_too_long"), 8);
	assert_int_equal(stat(&r, "rx_packets"), in_front + 3);
	assert_int_equal(stat(&r, "rx_lent"), in_front > 144 ? in_front - 144 + 3 : 0);
	/* No buffer is lost: so many more frames find one. */
	for (unsigned i = 0; i < 1000; i++) {
		fk_host_rx(0, f, 60);
		xn_queue_run(r.q, 64);
		left -= take_frame(&r, got) == 60;
	}
	assert_int_equal(left, 0);
	rig_close(&r);
}

static void pieces_of_long_frames_are_dropped_by_name(void **state)
{
	(void)state;
	drop_pieces(0);
	drop_pieces(144 + 20);
}

/* ---- drivers that have to have buffers ---- */

/* Whatever the guest posts, and however slow: the fake driver looks at it with each frame. */
static void a_driver_always_has_the_buffers_that_it_needs(void **state)
{
	const struct rig_opts o = opts_of(&nics[1], ",mode=zero-copy", 0);
	uint64_t in = 0, out = 0;
	uint8_t got[80000];
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	trust(&r);
	assert_int_equal(fk()->rx.size, 64);
	for (unsigned i = 0; i < 20000; i++) {
		static const unsigned most[] = { 0, 1, 3, 60, 250 };
		unsigned level = most[i / 800 % XN_ARRAY_SIZE(most)];

		while (drv_pending(&r.drv, RX) < level)
			offer(&r, &(struct drv_seg){ DRV_FREE_AT + (uint64_t)(r.drv.q[RX].avail % 900) * 8192,
						     4096 }, 1);
		if (rnd(4))
			xn_queue_run(r.q, 64);
		make_frame(frame, 100, i);
		in += !fk_host_rx(0, frame, 100);
		if (rnd(2))
			xn_queue_run(r.q, 64);
		while (rnd(10) && take_frame(&r, got))
			out++;
	}
	xn_queue_run(r.q, 64);
	xn_queue_run(r.q, 64);
	while (take_frame(&r, got))
		out++;
	assert_int_equal(stat(&r, "rx_packets"), out);
	assert_int_equal(in, out + stat(&r, "rx_drop_no_buffer"));
	assert_true(stat(&r, "rx_drop_no_buffer") > 1000);
	assert_true(stat(&r, "rx_bounce_kept") > 100);
	rig_close(&r);
}

/* With buffers enough the engine's own go away, and all are lent. */
static void what_a_driver_needs_may_be_the_guests(void **state)
{
	const struct rig_opts o = opts_of(&nics[1], ",mode=zero-copy", 0);
	uint8_t got[80000];
	uint64_t lent = 0;
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	trust(&r);
	for (unsigned i = 0; i < 2000; i++) {
		while (r.drv.q[RX].n_free)
			offer(&r, &(struct drv_seg){ DRV_FREE_AT + (uint64_t)(r.drv.q[RX].avail % 900) * 8192,
						     4096 }, 1);
		xn_queue_run(r.q, 64);
		assert_int_equal(fk_host_rx(0, frame, 100), 0);
		xn_queue_run(r.q, 64);
		assert_int_equal(take_frame(&r, got), 100);
		if (i == 999)
			lent = stat(&r, "rx_lent");
	}
	assert_in_range(stat(&r, "rx_lent") - lent, 990, 1000);
	rig_close(&r);
}

static void too_few_frames_for_that_are_told(void **state)
{
	struct rig_opts o = opts_of(&nics[1], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	o.bounce_frames = 200;          /* half of them for each way */
	rig_prepare(&r, &o);
	assert_int_equal(rig_open_port(&r, &o), 0);
	assert_int_equal(rig_start(&r, &o), -ENOBUFS);
	assert_non_null(strstr(xn_last_error(), "bounce_frames"));
	rig_close(&r);
	o.options = "";
	rig_open(&r, &o);
	assert_string_equal(mode_of(&r), "copy");
	rig_close(&r);
}

/* ---- other kernels ---- */

static void kernels_that_cannot_be_asked_lend_only_inside_of_pages(void **state)
{
	struct fk_nic nic = virtio;
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	nic.by_piece = true;                    /* before 7.2: a piece a call */
	o.nic = &nic;
	rig_prepare(&r, &o);
	strcpy(fk_host.info.release, "6.18.44");
	assert_int_equal(rig_open_port(&r, &o), 0);
	assert_int_equal(rig_start(&r, &o), 0);
	assert_true(xq(&r)->map->following > 0);
	rig_close(&r);

	o = opts_of(&unproven, ",mode=zero-copy", 0);
	rig_prepare(&r, &o);
	strcpy(fk_host.info.release, "6.18.44");   /* this driver could send a piece */
	assert_int_equal(rig_open_port(&r, &o), 0);
	assert_int_equal(rig_start(&r, &o), 0);
	assert_int_equal(xq(&r)->map->following, 0);
	trust(&r);
	offer(&r, &(struct drv_seg){ DRV_FREE_AT, 2048 }, 1);          /* the sentinel */
	offer(&r, &(struct drv_seg){ DRV_FREE_AT + 8192 + 800, 2048 }, 1);
	offer(&r, &(struct drv_seg){ DRV_FREE_AT + 16384, 2048 }, 1);
	xn_queue_run(r.q, 64);
	assert_int_equal(stat(&r, "rx_buf_lent"), 1);
	assert_int_equal(stat(&r, "rx_bounce_page"), 2);
	rig_close(&r);
}

static void a_silent_driver_is_lent_only_inside_of_pages(void **state)
{
	struct fk_nic nic = virtio;
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	nic.deaf = true;
	o.nic = &nic;
	rig_open(&r, &o);
	assert_string_equal(mode_of(&r), "zero-copy");
	assert_int_equal(fk_host.opened, 2);    /* the first one was of no use any more */
	assert_int_equal(xq(&r)->map->following, 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	fk_host.nic.deaf = false;               /* there is a carrier now */
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_true(xq(&r)->map->following > 0);
	rig_close(&r);
}

static void a_carrier_may_come_a_while_after_the_port_was_opened(void **state)
{
	struct rig_opts o = opts_of(&nics[0], "", 0);
	struct fk_nic nic = virtio;
	struct rig r;

	(void)state;
	all_follow();
	nic.wakes_ns = xn_now_ns() + 150000000;
	o.nic = &nic;
	rig_prepare(&r, &o);
	fk_host.info.up = false;
	assert_int_equal(rig_open_port(&r, &o), 0);
	assert_int_equal(rig_start(&r, &o), 0);
	assert_string_equal(mode_of(&r), "zero-copy");
	rig_close(&r);
}

static void ring_indices_wrap_at_2_32(void **state)
{
	(void)state;
	preset = 0xffffff00u;
	random_receive(&nics[0], 90, MRG);
	random_transmit(&nics[0], 1, 90, true);
	preset = 0;
}

static void the_port_tells_its_mode_and_why(void **state)
{
	struct rig_opts o = opts_of(&nics[0], "", 0);
	struct xn_port_mode m = { .sz = sizeof(m) }, small = { .sz = offsetof(struct xn_port_mode, frame_bytes),
							       .frame_bytes = 77 };
	struct { struct xn_port_mode m; char more[16]; } large = { { .sz = sizeof(large) }, { 1, 2, 3 } };
	struct rig r;

	(void)state;
	all_follow();
	rig_prepare(&r, &o);
	assert_int_equal(rig_open_port(&r, &o), 0);
	assert_int_equal(xn_port_get_mode(r.port, &m), 0);
	assert_string_equal(m.why, "");
	assert_int_equal(rig_start(&r, &o), 0);
	assert_int_equal(xn_port_get_mode(r.port, &m), 0);
	assert_string_equal(m.why, xn_xdp_why(XN_WHY_LENDS));
	assert_string_equal(m.verdict, "");
	assert_int_equal(m.chunk_bytes, 2048);
	assert_int_equal(m.frame_bytes, 1536);
	assert_int_equal(m.pages_following, 1000);
	assert_int_equal(m.min_buf_bytes, 1548);
	assert_int_equal(xn_port_get_mode(r.port, &small), 0);
	assert_int_equal(small.chunk_bytes, 2048);
	assert_int_equal(small.frame_bytes, 77);
	assert_int_equal(xn_port_get_mode(r.port, &large.m), 0);
	assert_int_equal(large.more[0], 0);
	m.sz = 4;
	assert_int_equal(xn_port_get_mode(r.port, &m), -EINVAL);
	rig_close(&r);
	o.options = ",mode=copy";
	rig_open(&r, &o);
	m.sz = sizeof(m);
	assert_int_equal(xn_port_get_mode(r.port, &m), 0);
	assert_string_equal(m.why, xn_xdp_why(XN_WHY_ASKED));
	assert_int_equal(m.min_buf_bytes, 1530);
	rig_close(&r);
}

/* One that is kept back would be waited for by all behind it: IN_ORDER. */
static void in_order_no_frame_waits_for_a_buffer_that_is_kept_back(void **state)
{
	const uint64_t in_order = MRG | 1ull << VIRTIO_F_IN_ORDER;
	struct xn_port_mode m = { .sz = sizeof(m) };
	struct rig_opts o;
	struct rig r;

	(void)state;
	all_follow();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(nics); i++) {
		o = opts_of(&nics[i], ",mode=zero-copy", in_order);
		rig_open(&r, &o);
		exchange(&r, 200);
		assert_int_equal(stat(&r, "rx_buf_lent"), 0);
		assert_true(stat(&r, "rx_bounce_order") > 200);
		send_some(&r, 200);     /* the first ones prove the driver */
		assert_true(stat(&r, "tx_lent") > 0);
		rig_close(&r);
	}
	o = opts_of(&nics[0], "", in_order);
	rig_open(&r, &o);
	assert_int_equal(xn_port_get_mode(r.port, &m), 0);
	assert_string_equal(m.why, xn_xdp_why(XN_WHY_ORDER));
	exchange(&r, 200);
	assert_int_equal(stat(&r, "rx_lent"), 200);
	rig_close(&r);
}

static void a_driver_that_sleeps_is_woken(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	int pair[2], real;
	char byte;
	struct rig r;

	(void)state;
	rig_open(&r, &o);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
	real = xq(&r)->xsk.fd;
	xq(&r)->xsk.fd = pair[0];
	for (unsigned i = 0; i < 3; i++)        /* each wake-up takes one */
		assert_int_equal(send(pair[1], "x", 1, 0), 1);
	offer(&r, &(struct drv_seg){ DRV_FREE_AT, 2048 }, 1);
	fk()->fill.flags = 0;
	xn_queue_run(r.q, 64);                  /* it does not want to be */
	fk()->fill.flags = XDP_RING_NEED_WAKEUP;
	xn_queue_run(r.q, 64);                  /* it has not taken what was posted */
	fk_nic_refill(fk());
	fk()->fill.flags = XDP_RING_NEED_WAKEUP;
	xn_queue_run(r.q, 64);                  /* now it has */
	assert_int_equal(recv(pair[0], &byte, 1, 0), 1);
	assert_int_equal(recv(pair[0], &byte, 1, 0), 1);
	assert_int_equal(recv(pair[0], &byte, 1, 0), -1);
	xq(&r)->xsk.fd = real;
	close(pair[0]);
	close(pair[1]);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lent_or_not_is_what_the_rule_says),
		cmocka_unit_test(not_a_byte_is_written_outside_of_what_was_lent),
		cmocka_unit_test(frames_behind_a_timestamp_begin_where_they_should),
		cmocka_unit_test(packets_are_lent_where_pages_follow_and_leave_whole),
		cmocka_unit_test(drivers_that_take_pieces_get_as_many_as_they_take),
		cmocka_unit_test(auto_takes_zero_copy_where_most_can_be_lent),
		cmocka_unit_test(zero_copy_with_a_filter_is_refused),
		cmocka_unit_test(zero_copy_that_is_asked_for_is_had_or_fails),
		cmocka_unit_test(nothing_is_lent_to_unknown_drivers),
		cmocka_unit_test(pieces_of_long_frames_are_dropped_by_name),
		cmocka_unit_test(a_driver_always_has_the_buffers_that_it_needs),
		cmocka_unit_test(what_a_driver_needs_may_be_the_guests),
		cmocka_unit_test(too_few_frames_for_that_are_told),
		cmocka_unit_test(kernels_that_cannot_be_asked_lend_only_inside_of_pages),
		cmocka_unit_test(a_silent_driver_is_lent_only_inside_of_pages),
		cmocka_unit_test(a_carrier_may_come_a_while_after_the_port_was_opened),
		cmocka_unit_test(ring_indices_wrap_at_2_32),
		cmocka_unit_test(the_port_tells_its_mode_and_why),
		cmocka_unit_test(in_order_no_frame_waits_for_a_buffer_that_is_kept_back),
		cmocka_unit_test(a_driver_that_sleeps_is_woken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
