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
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomics.h"
#include "tests/fake/ring.h"
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
static const struct fk_nic igb = { .zero_copy = true, .reach = 2048, .piece = 2048, .keep = 80,
				   .follows = follows };
static const struct fk_nic igb_stamps = { .zero_copy = true, .reach = 2048, .piece = 2048, .keep = 80,
					  .shift = 16, .follows = follows };

struct nic_case {
	const char *driver;
	const struct fk_nic *nic;
	uint32_t mtu, chunk, frame, reach, front;
	bool tx_in_page;
};

static const struct nic_case nics[] = {
	{ "virtio_net", &virtio, 1500, 2048, 1536, 1536, 12, false },
	{ "igb", &igb, 1500, 4096, 2048, 2048, 0, true },
};

static struct xn_xdp_port *xp(const struct rig *r)
{
	return XN_CONTAINER_OF(r->port, struct xn_xdp_port, port);
}

static struct xn_xdpq *xq(const struct rig *r)
{
	return xp(r)->queues[0];
}

/* As if the driver had proven itself: lends from the first buffer on. */
static void trust(const struct rig *r)
{
	xq(r)->watch.rx_proof = xq(r)->watch.tx_proof = xq(r)->watch.trial = 0;
	xn_xdp_set_rule(xq(r));
}

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

struct tx_want { uint64_t lent, chained, gathered, bounced, page, window; };

/* One packet in any pieces at any place; what has to become of it. */
static uint32_t post_packet(struct rig *r, const struct nic_case *c, unsigned i, uint32_t id,
			    unsigned segments, struct tx_want *w)
{
	uint64_t at = TX_AT + (uint64_t)i * 12288 + rnd(8000);
	uint32_t len = 14 + rnd(1501), total = DRV_HDR + len, off = 0, skip = DRV_HDR;
	unsigned n = rnd(3) ? 1 : 1 + rnd(rnd(2) ? 4 : 12), pieces = 0;
	uint8_t flat[DRV_HDR + 1600] = { 0 };
	struct drv_seg segs[12];
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
			ok &= c->tx_in_page ? (r->ram_uoff + at + cut) % 4096 + part - cut <= 4096 :
					      whole(r->ram_uoff + at + cut, part - cut);
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

/* ---- a driver proves itself ---- */

static const struct fk_nic ice = { .zero_copy = true, .reach = 1536, .segments = 8, .follows = follows };
/* Read in its source, not measured. */
static const struct nic_case unproven = { "ice", &ice, 1500, 2048, 1536, 1536, 0, false };

static uint8_t frame[FRAME_MAX];

/* So many frames, one by one, into buffers that could be lent; all arrive. */
static void exchange(struct rig *r, unsigned frames)
{
	uint8_t got[80000];

	for (unsigned i = 0; i < frames; i++) {
		while (drv_pending(&r->drv, RX) < 32)
			offer(r, &(struct drv_seg){ DRV_FREE_AT + (uint64_t)(r->drv.q[RX].avail % 500) * 4096,
						    2048 }, 1);
		xn_queue_run(r->q, 64);
		make_frame(frame, FRAME_MAX, i);
		assert_int_equal(fk_host_rx(0, frame, FRAME_MAX), 0);
		xn_queue_run(r->q, 64);
		assert_int_equal(take_frame(r, got), FRAME_MAX);
		assert_memory_equal(got, frame, FRAME_MAX);
	}
}

static void proves_itself_first(const struct nic_case *c, unsigned proof)
{
	const struct rig_opts o = opts_of(c, ",mode=zero-copy", 0);
	uint64_t lent = 0;
	struct rig r;

	all_follow();
	rig_open(&r, &o);
	exchange(&r, proof);
	assert_int_equal(stat(&r, "rx_lent"), 0);
	assert_int_equal(stat(&r, "rx_bounced"), proof);
	assert_true(stat(&r, "rx_bounce_probe") >= proof);
	exchange(&r, 64);           /* those that waited as bounced are through */
	lent = stat(&r, "rx_lent");
	exchange(&r, 100);          /* a trial: half of them are lent */
	assert_in_range(stat(&r, "rx_lent") - lent, 40, 60);
	exchange(&r, 4 * DRV_SIZE);
	lent = stat(&r, "rx_lent");
	exchange(&r, 1000);         /* all, but one in a ring: of 32 buffers here */
	assert_in_range(stat(&r, "rx_lent") - lent, 960, 970);
	assert_true(stat(&r, "rx_bounce_sentinel") > 0);
	rig_close(&r);
}

static void a_driver_proves_itself_before_it_is_lent_anything(void **state)
{
	(void)state;
	proves_itself_first(&nics[0], 16);
	proves_itself_first(&unproven, 256);
}

static void at_most_half_are_lent_until_some_have_come_back(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	xq(&r)->watch.rx_proof = 0;
	for (unsigned i = 0; i < DRV_SIZE; i++) {
		offer(&r, &(struct drv_seg){ DRV_FREE_AT + i * 4096, 2048 }, 1);
		if (rnd(2))
			xn_queue_run(r.q, 64);
	}
	xn_queue_run(r.q, 64);
	assert_int_equal(stat(&r, "rx_buf_lent"), DRV_SIZE / 2);
	rig_close(&r);
}

static const char *verdict_of(const struct rig *r)
{
	struct xn_port_mode m = { .sz = sizeof(m) };

	assert_int_equal(xn_port_get_mode(r->port, &m), 0);
	return m.verdict;
}

/* This NIC is not what the table says: nothing is ever lent to it. */
static void is_found_out(const struct nic_case *c, const struct fk_nic *nic)
{
	struct rig_opts o = opts_of(c, ",mode=zero-copy", 0);
	struct rig r;

	all_follow();
	o.nic = nic;
	rig_open(&r, &o);
	assert_string_equal(verdict_of(&r), "");
	exchange(&r, 600);
	assert_int_equal(stat(&r, "rx_buf_lent"), 0);
	assert_int_equal(stat(&r, "rx_lent"), 0);
	assert_true(stat(&r, "rx_bounce_forced") > 0);
	assert_string_not_equal(verdict_of(&r), "");
	assert_int_equal(stat(&r, "queue_restarts"), 0);    /* it had nothing of the guest's */
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_start(r.dev), 0);           /* and never again */
	exchange(&r, 300);
	assert_int_equal(stat(&r, "rx_lent"), 0);
	rig_close(&r);

	o.options = "";                                     /* mode=auto: copy mode is better */
	rig_open(&r, &o);
	assert_string_equal(mode_of(&r), "zero-copy");
	exchange(&r, 300);
	assert_string_equal(mode_of(&r), "copy");
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	assert_true(stat(&r, "rx_lent") > 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_string_equal(mode_of(&r), "copy");
	rig_close(&r);
}

static void a_driver_that_writes_beside_a_buffer_is_found_out(void **state)
{
	struct fk_nic nic = virtio;

	(void)state;
	nic.front = 20;      /* VIRTIO_NET_F_HASH_REPORT: 8 bytes before the guest's buffer */
	is_found_out(&nics[0], &nic);
	nic.front = 12;
	nic.reach = 1537;
	is_found_out(&nics[0], &nic);
	nic = ice;
	nic.front = 1;
	is_found_out(&unproven, &nic);
	nic.front = 0;
	nic.reach = 1536 + 128;
	is_found_out(&unproven, &nic);
}

static void a_driver_that_puts_frames_elsewhere_is_found_out(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	uint8_t got[80000];
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	trust(&r);
	exchange(&r, 100);
	fk()->nic.shift = 2;         /* it begins to, in service */
	make_frame(frame, FRAME_MAX, 7);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fk_host_rx(0, frame, 1000), 0);
	while (xn_queue_run(r.q, 64) || !xn_queue_arm(r.q))   /* does not sleep over it */
		;
	assert_int_equal(take_frame(&r, got), 0);
	assert_int_equal(stat(&r, "rx_drop_error") + stat(&r, "rx_drop_stopped"), 3);
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	fk()->nic.shift = 0;
	exchange(&r, 100);           /* all buffers are back, and none is lent */
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	assert_true(stat(&r, "rx_bounce_forced") >= 32);
	assert_int_equal(xq(&r)->bounce_posted, xq(&r)->rx_posted - xq(&r)->rx_taken);
	rig_close(&r);
}

/* Frames in a buffer that the guest has got back: the driver still has it. */
static void a_driver_that_uses_a_buffer_twice_is_found_out(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	trust(&r);
	exchange(&r, 100);
	assert_string_equal(verdict_of(&r), "");
	fk_rx_put(fk(), r.ram_uoff + DRV_FREE_AT + 600 * 4096, r.ram_uoff + DRV_FREE_AT + 600 * 4096 +
		  fk()->land, 100);
	xn_store_release32(&fk()->rx.producer, fk()->rx.at);
	while (xn_queue_run(r.q, 64) || !xn_queue_arm(r.q))
		;
	assert_int_equal(stat(&r, "rx_drop_error"), 1);
	assert_string_not_equal(verdict_of(&r), "");
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	exchange(&r, 100);
	rig_close(&r);
}

static void send_some(struct rig *r, unsigned packets)
{
	uint16_t head;
	uint32_t used;

	for (unsigned i = 0; i < packets; i++) {
		struct tx_want w = { 0 };

		post_packet(r, &nics[0], i % 20, i, 1, &w);
		xn_queue_run(r->q, 64);
		while (drv_used(&r->drv, TX, &head, &used))
			;
		fk_forget(fk());
	}
}

static void packets_prove_a_driver_too(void **state)
{
	struct rig_opts o = opts_of(&unproven, ",mode=zero-copy", 0);
	struct fk_nic nic = ice;
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	send_some(&r, 256);
	assert_int_equal(stat(&r, "tx_bounce_probe"), 256);
	assert_int_equal(stat(&r, "tx_lent") + stat(&r, "tx_chained"), 0);
	send_some(&r, 100);
	assert_true(stat(&r, "tx_lent") + stat(&r, "tx_chained") > 60);
	assert_string_equal(verdict_of(&r), "");
	rig_close(&r);

	nic.scribbles = true;
	o.nic = &nic;
	rig_open(&r, &o);
	send_some(&r, 600);
	assert_int_equal(stat(&r, "tx_lent") + stat(&r, "tx_chained"), 0);
	assert_string_not_equal(verdict_of(&r), "");
	rig_close(&r);
}

/* ---- what vanishes ---- */

static bool lose_across(uint64_t fill) { return fill / 4096 != (fill + 2047) / 4096; }
static bool lose_all(uint64_t fill)
{
	return fill + 4096 > rig_of_host->ram_uoff && fill < rig_of_host->ram_uoff + RAM;
}
static bool lose_some(uint64_t fill)   { return lose_across(fill) && fill / 4096 % 5 == 0; }

/* Buffers all over the place; returns when the queue has been restarted, or `most` frames
 * have come. All frames arrive. */
static unsigned until_restart(struct rig *r, unsigned most)
{
	const uint64_t before = stat(r, "queue_restarts");
	uint8_t got[80000];
	unsigned n = 0;

	while (n < most && stat(r, "queue_restarts") == before) {
		while (r->drv.q[RX].n_free)
			offer(r, &(struct drv_seg){ DRV_FREE_AT + (uint64_t)(r->drv.q[RX].avail % 1000) * 4096 +
						    rnd(2) * 2048, 2048 }, 1);
		xn_queue_run(r->q, 64);
		make_frame(frame, FRAME_MAX, n);
		if (fk_host_rx(0, frame, FRAME_MAX))
			return n;      /* starved */
		xn_queue_run(r->q, 64);
		if (take_frame(r, got))
			n++;
	}
	return n;
}

static void a_driver_loses(bool (*loses)(uint64_t), bool all)
{
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct fk_nic nic = virtio;
	uint64_t vanished, lent;
	unsigned n;
	struct rig r;

	all_follow();
	nic.loses = loses;
	o.nic = &nic;
	rig_open(&r, &o);
	n = until_restart(&r, 20000);
	assert_int_equal(stat(&r, "queue_restarts"), 1);
	assert_true(n < 4000);
	vanished = stat(&r, "rx_vanished");
	lent = stat(&r, "rx_lent");
	assert_true(vanished > 0);
	assert_string_not_equal(verdict_of(&r), "");
	/* All heads are back: as many are out as the guest has posted. Nothing more is lost. */
	assert_int_equal(until_restart(&r, 5000), 5000);
	assert_int_equal(stat(&r, "rx_vanished"), vanished);
	assert_int_equal(fk()->fill_lost, 0);
	assert_int_equal(drv_pending(&r.drv, RX), xn_id_fifo_count(&xq(&r)->held) +
			 (xq(&r)->rx_posted - xq(&r)->rx_taken - xq(&r)->bounce_posted));
	if (all)
		assert_int_equal(stat(&r, "rx_lent"), lent);
	else
		assert_true(stat(&r, "rx_lent") - lent > 1000);
	rig_close(&r);
}

static void buffers_that_vanish_come_back_and_no_more_are_lent_there(void **state)
{
	(void)state;
	a_driver_loses(lose_across, false);
	a_driver_loses(lose_some, false);
	a_driver_loses(lose_all, true);
}

static void mode_auto_leaves_a_driver_that_loses_buffers(void **state)
{
	struct rig_opts o = opts_of(&nics[0], "", 0);
	struct fk_nic nic = virtio;
	struct rig r;

	(void)state;
	all_follow();
	nic.loses = lose_across;
	o.nic = &nic;
	rig_open(&r, &o);
	assert_string_equal(mode_of(&r), "zero-copy");
	until_restart(&r, 20000);
	assert_string_equal(mode_of(&r), "copy");
	assert_int_equal(until_restart(&r, 1000), 1000);
	rig_close(&r);
}

/* The network can have the same buffers overtaken again and again: by frames that the XDP
 * program drops. That is no loss. */
static void dropped_frames_are_not_taken_for_vanished_buffers(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	static uint8_t too_long[FRAME_MAX + 1];
	uint8_t got[80000];
	struct rig r;

	(void)state;
	all_follow();
	for (unsigned period = 60; period <= 66; period++) {
		rig_open(&r, &o);
		trust(&r);
		fk()->nic.ring = 64;
		for (unsigned i = 0; i < 4000; i++) {
			while (drv_pending(&r.drv, RX) < 100)
				offer(&r, &(struct drv_seg){ DRV_FREE_AT + (uint64_t)(r.drv.q[RX].avail % 1000) *
							     4096, 2048 }, 1);
			xn_queue_run(r.q, 64);
			if (i % period == 0)
				assert_int_equal(fk_host_rx(0, too_long, sizeof(too_long)), -EMSGSIZE);
			else
				assert_int_equal(fk_host_rx(0, too_long, FRAME_MAX), 0);
			xn_queue_run(r.q, 64);
			take_frame(&r, got);
		}
		assert_int_equal(stat(&r, "rx_vanished"), 0);
		assert_int_equal(stat(&r, "queue_restarts"), 0);
		rig_close(&r);
	}
}

static void packets_that_are_never_completed_are_given_up(void **state)
{
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct fk_nic nic = virtio;
	uint16_t head;
	uint32_t used;
	struct rig r;

	(void)state;
	all_follow();
	nic.forgets = 100;
	o.nic = &nic;
	rig_open(&r, &o);
	send_some(&r, 2050);
	assert_int_equal(stat(&r, "tx_vanished"), 2050 / 100);
	assert_string_not_equal(verdict_of(&r), "");
	rig_close(&r);

	/* Few packets of many pieces: not so many can be under way. */
	nic.forgets = 4;
	rig_open(&r, &o);
	send_some(&r, 5);
	assert_int_equal(stat(&r, "tx_vanished"), 0);
	assert_int_equal(drv_pending(&r.drv, TX), 2);        /* the other waits behind it */
	usleep(30000);
	xn_queue_run(r.q, 64);
	assert_int_equal(stat(&r, "tx_vanished"), 1);
	while (drv_used(&r.drv, TX, &head, &used))
		;
	assert_int_equal(drv_pending(&r.drv, TX), 0);
	rig_close(&r);
}

static void refused_packets_are_noticed(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	uint64_t page;
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	trust(&r);
	none_follows();              /* not as the kernel had said */
	send_some(&r, 5000);
	assert_true(stat(&r, "kernel_tx_invalid") > 0);
	assert_string_not_equal(verdict_of(&r), "");
	page = stat(&r, "tx_bounce_page");
	assert_true(page > 0);
	send_some(&r, 100);
	assert_true(stat(&r, "tx_bounce_page") > page);
	rig_close(&r);
}

/* ---- several queues ---- */

static void what_one_queue_notices_all_queues_heed(void **state)
{
	const struct xn_dev_opts two = { .sz = sizeof(two), .pairs = 2 };
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy,queues=2", 0);
	struct xn_queue *second;
	uint16_t head;
	uint32_t used;
	struct rig r;

	(void)state;
	some_follow(90);
	o.dev = &two;
	rig_open(&r, &o);
	second = xn_dev_queue(r.dev, 1);
	assert_ptr_equal(xq(&r)->map, xp(&r)->queues[1]->map);   /* one memory, one map */
	for (unsigned q = 0; q < 2; q++) {
		struct xn_xdpq *x = xp(&r)->queues[q];

		x->watch.rx_proof = x->watch.trial = 0;
		xn_xdp_set_rule(x);
	}
	for (unsigned i = 0; i < 64; i++) {
		offer(&r, &(struct drv_seg){ DRV_FREE_AT + i * 8192 + 600, 2048 }, 1);
		drv_post1(&r.drv, 2, 0x200000 + i * 4096 + 600, 2048);
	}
	xn_queue_run(r.q, 64);
	xn_queue_run(second, 64);
	make_frame(frame, FRAME_MAX, 1);
	fk()->nic.shift = 1;
	assert_int_equal(fk_host_rx(0, frame, 100), 0);          /* a bounced one */
	assert_int_equal(fk_host_rx(0, frame, 100), 0);
	fk_host.q[1].may_write = NULL;
	xn_queue_run(r.q, 64);
	xn_queue_run(second, 64);
	xn_queue_run(r.q, 64);
	xn_queue_run(second, 64);
	assert_int_equal(drv_stat(r.dev, 0, "queue_restarts"), 1);
	assert_int_equal(drv_stat(r.dev, 1, "queue_restarts"), 1);
	assert_true(xp(&r)->queues[0]->bounce && xp(&r)->queues[1]->bounce);
	/* One stops, the other goes on. */
	assert_int_equal(xn_queue_stop(r.q), 0);
	fk_host.q[1].may_write = NULL;
	assert_int_equal(fk_host_rx(1, frame, 100), 0);
	xn_queue_run(second, 64);
	assert_true(drv_used(&r.drv, 2, &head, &used));
	assert_int_equal(used, DRV_HDR + 100);
	rig_close(&r);
}

/* A queue restarts in its own thread. Others meanwhile look at statistics, and start and stop
 * another queue of the same port. */
static struct { struct rig *r; uint32_t done; } alone;

static void *run_until_restart(void *arg)
{
	(void)arg;
	until_restart(alone.r, 20000);
	xn_store_release32(&alone.done, 1);
	return NULL;
}

static void a_restart_disturbs_nobody(void **state)
{
	const struct xn_dev_opts two = { .sz = sizeof(two), .pairs = 2 };
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy,queues=2", 0);
	struct xn_port_mode m = { .sz = sizeof(m) };
	struct fk_nic nic = virtio;
	unsigned rounds = 0;
	pthread_t thread;
	struct rig r;

	(void)state;
	all_follow();
	nic.loses = lose_some;
	o.nic = &nic;
	o.dev = &two;
	rig_open(&r, &o);
	alone.r = &r;
	alone.done = 0;
	assert_int_equal(pthread_create(&thread, NULL, run_until_restart, NULL), 0);
	while (!xn_load_acquire32(&alone.done) || !rounds) {
		struct xn_queue *other = xn_dev_queue(r.dev, 1);
		struct xn_stat stats[256];
		struct xn_port_info info;

		assert_true(xn_dev_stats(r.dev, XN_ALL_PAIRS, stats, 256) < 256);
		xn_port_get_info(r.port, &info);
		assert_string_equal(info.mode, "zero-copy");
		assert_int_equal(xn_port_get_mode(r.port, &m), 0);
		assert_int_equal(xn_queue_stop(other), 0);
		assert_int_equal(xn_queue_start(other), 0);
		rounds++;
	}
	pthread_join(thread, NULL);
	assert_int_equal(drv_stat(r.dev, 0, "queue_restarts"), 1);
	assert_int_equal(drv_stat(r.dev, 1, "queue_restarts"), 0);
	rig_close(&r);
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

/* A driver that keeps the queue: nothing of what it has is given back. */
static void a_stop_that_cannot_be_proven_gives_nothing_back(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct tx_want w = { 0 };
	uint8_t f[FRAME_MAX];
	uint16_t head;
	uint32_t used;
	struct rig r;

	(void)state;
	all_follow();
	make_frame(f, FRAME_MAX, 1);
	rig_open(&r, &o);
	trust(&r);
	fk()->nic.refusals = FK_FOR_EVER;
	fk()->hold = true;
	for (unsigned i = 0; i < 40; i++)
		offer(&r, &(struct drv_seg){ DRV_FREE_AT + i * 4096, 2048 }, 1);
	for (unsigned i = 0; i < 5; i++)
		post_packet(&r, &nics[0], i, i, 1, &w);
	xn_queue_run(r.q, 64);
	assert_int_equal(fk_host_rx(0, f, FRAME_MAX), 0);
	fk_complete(fk(), 2);
	assert_int_equal(xn_dev_stop(r.dev), -ETIMEDOUT);
	/* What had come, and what was done with, is the guest's; all else is not. */
	assert_true(drv_used(&r.drv, RX, &head, &used));
	assert_false(drv_used(&r.drv, RX, &head, &used));
	assert_true(drv_used(&r.drv, TX, &head, &used));
	assert_true(drv_used(&r.drv, TX, &head, &used));
	assert_false(drv_used(&r.drv, TX, &head, &used));
	assert_int_equal(xn_dev_vring_base(r.dev, RX), 40);
	assert_int_equal(xn_dev_vring_base(r.dev, TX), 5);
	assert_int_equal(fk_host_rx(0, f, FRAME_MAX), 1);       /* it does write */

	assert_int_equal(xn_dev_stop(r.dev), -ETIMEDOUT);       /* tries again */
	assert_int_equal(xn_queue_stop(r.q), -ETIMEDOUT);
	assert_int_equal(xn_dev_start(r.dev), -ETIMEDOUT);
	assert_non_null(strstr(xn_last_error(), "keeps the queue"));
	fk_host.ghost[0].refusals = 3;
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_stop(r.dev), -EINVAL);          /* not started */
	assert_int_equal(xn_dev_start(r.dev), 0);
	trust(&r);
	offer(&r, &(struct drv_seg){ DRV_FREE_AT + 50 * 4096, 2048 }, 1);
	xn_queue_run(r.q, 64);
	assert_int_equal(fk_host_rx(0, f, FRAME_MAX), 0);
	xn_queue_run(r.q, 64);
	assert_true(drv_used(&r.drv, RX, &head, &used));
	assert_int_equal(used, DRV_HDR + FRAME_MAX);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	xn_dev_destroy(r.dev);
	xn_port_close(r.port);
	xn_mem_destroy(r.mem);
	drv_fini(&r.drv);
}

static void a_start_finds_out_what_a_stop_could_not(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	fk()->nic.refusals = 30;             /* longer than a stop tries, not than two */
	assert_int_equal(xn_dev_stop(r.dev), -ETIMEDOUT);
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	xn_dev_destroy(r.dev);
	xn_port_close(r.port);
	xn_mem_destroy(r.mem);
	drv_fini(&r.drv);
}

static void packets_come_back_to_the_guest_behind_the_proof(void **state)
{
	const struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct tx_want w = { 0 };
	uint16_t head;
	uint32_t used;
	struct rig r;

	(void)state;
	all_follow();
	rig_open(&r, &o);
	fk()->hold = true;
	for (unsigned i = 0; i < 5; i++)
		post_packet(&r, &nics[0], i, i, 1, &w);
	xn_queue_run(r.q, 64);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_true(drv_used(&r.drv, TX, &head, &used));
	assert_int_equal(xn_dev_vring_base(r.dev, TX), 5);   /* not sent a second time */
	rig_close(&r);
}

static uint32_t spares_left(const struct rig *r)
{
	struct xn_port_info info;

	xn_port_get_info(r->port, &info);
	return info.spare_sockets;
}

static void each_start_in_zero_copy_mode_takes_two_sockets(void **state)
{
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct rig r;

	(void)state;
	all_follow();
	o.spare_sockets = 6;
	rig_open(&r, &o);
	fk_host.socket_error = -EPERM;           /* from here on no socket can be opened */
	assert_int_equal(spares_left(&r), 4);    /* one is for the stop */
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(spares_left(&r), 4);
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(fk_host.proofs, 2);
	xp(&r)->n_spares--;                      /* one is not enough: a stop would lack it */
	close(xp(&r)->spares[xp(&r)->n_spares]);
	assert_int_equal(spares_left(&r), 1);
	assert_int_equal(xn_dev_start(r.dev), -EPERM);
	rig_close(&r);

	o.options = "";
	none_follows();
	fk_host.socket_error = 0;
	rig_open(&r, &o);                        /* two tries, and copy mode has no end to prove */
	assert_string_equal(mode_of(&r), "copy");
	assert_int_equal(spares_left(&r), 4);
	rig_close(&r);
}

static struct { unsigned restarted, stopped; } events;

static void on_event(void *arg, const struct xn_event *e)
{
	(void)arg;
	assert_int_equal(e->index, 0);
	assert_non_null(e->name);
	events.restarted += e->kind == XN_EVENT_QUEUE_RESTARTED;
	events.stopped += e->kind == XN_EVENT_QUEUE_STOPPED;
}

static void the_vmm_is_told_of_restarts_also_of_those_that_fail(void **state)
{
	const struct xn_dev_opts dev = { .sz = sizeof(dev), .event = on_event };
	struct rig_opts o = opts_of(&nics[0], ",mode=zero-copy", 0);
	struct fk_nic nic = virtio;
	struct pollfd fds[4];
	struct rig r;

	(void)state;
	all_follow();
	nic.loses = lose_across;
	o.nic = &nic;
	o.dev = &dev;
	memset(&events, 0, sizeof(events));
	rig_open(&r, &o);
	until_restart(&r, 20000);
	assert_int_equal(events.restarted, 1);
	assert_int_equal(events.stopped, 0);
	rig_close(&r);

	memset(&events, 0, sizeof(events));
	rig_open(&r, &o);
	fk_host.open_error = -ENODEV;
	until_restart(&r, 20000);
	assert_int_equal(events.restarted, 0);
	assert_int_equal(events.stopped, 1);
	assert_int_equal(xn_queue_run(r.q, 64), 0);
	assert_true(xn_queue_arm(r.q));
	assert_int_equal(xn_queue_wait_fds(r.q, fds, 4), 0);
	assert_int_equal(xn_dev_stop(r.dev), -EINVAL);      /* it is stopped, and still */
	fk_host.open_error = 0;
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(until_restart(&r, 500), 500);
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
		cmocka_unit_test(a_driver_proves_itself_before_it_is_lent_anything),
		cmocka_unit_test(at_most_half_are_lent_until_some_have_come_back),
		cmocka_unit_test(a_driver_that_writes_beside_a_buffer_is_found_out),
		cmocka_unit_test(a_driver_that_puts_frames_elsewhere_is_found_out),
		cmocka_unit_test(a_driver_that_uses_a_buffer_twice_is_found_out),
		cmocka_unit_test(packets_prove_a_driver_too),
		cmocka_unit_test(buffers_that_vanish_come_back_and_no_more_are_lent_there),
		cmocka_unit_test(mode_auto_leaves_a_driver_that_loses_buffers),
		cmocka_unit_test(dropped_frames_are_not_taken_for_vanished_buffers),
		cmocka_unit_test(packets_that_are_never_completed_are_given_up),
		cmocka_unit_test(refused_packets_are_noticed),
		cmocka_unit_test(what_one_queue_notices_all_queues_heed),
		cmocka_unit_test(a_restart_disturbs_nobody),
		cmocka_unit_test(pieces_of_long_frames_are_dropped_by_name),
		cmocka_unit_test(a_driver_always_has_the_buffers_that_it_needs),
		cmocka_unit_test(what_a_driver_needs_may_be_the_guests),
		cmocka_unit_test(too_few_frames_for_that_are_told),
		cmocka_unit_test(kernels_that_cannot_be_asked_lend_only_inside_of_pages),
		cmocka_unit_test(a_silent_driver_is_lent_only_inside_of_pages),
		cmocka_unit_test(a_carrier_may_come_a_while_after_the_port_was_opened),
		cmocka_unit_test(ring_indices_wrap_at_2_32),
		cmocka_unit_test(the_port_tells_its_mode_and_why),
		cmocka_unit_test(a_driver_that_sleeps_is_woken),
		cmocka_unit_test(guest_memory_is_still_when_a_stop_has_answered),
		cmocka_unit_test(a_stop_that_cannot_be_proven_gives_nothing_back),
		cmocka_unit_test(a_start_finds_out_what_a_stop_could_not),
		cmocka_unit_test(packets_come_back_to_the_guest_behind_the_proof),
		cmocka_unit_test(each_start_in_zero_copy_mode_takes_two_sockets),
		cmocka_unit_test(the_vmm_is_told_of_restarts_also_of_those_that_fail),
	};

	alarm(100);
	return cmocka_run_group_tests_name("port, zero-copy", tests, NULL, NULL);
}
