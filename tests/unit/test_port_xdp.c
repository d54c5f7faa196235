/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves, on a fake kernel and with a test driver as guest, what the AF_XDP port
 * promises whatever the kernel does:
 *   I1  every byte that the kernel may write lies in a buffer that the guest has
 *       offered and not got back, or in the engine's arena
 *   I2  transmit buffers are never written
 *   I3  every head comes back once, every packet is delivered or counted
 *   I7  no packet of several descriptors is ever published by half
 *   I8  each buffer that is not lent has its reason counted
 */
#include <errno.h>
#include <fcntl.h>

#include "tests/unit/port_rig.h"

static unsigned seed = 11;
static unsigned rnd(unsigned n) { return (unsigned)rand_r(&seed) % n; }

/* A receive buffer of any layout in the slot'th 8 KiB: pieces from 1 byte on. */
static void offer_random(struct rig *r, unsigned slot)
{
	struct drv_seg segs[SEGS_MAX];
	uint64_t at = RX_AT + slot * 8192 + rnd(64);
	unsigned n = rnd(3) ? 1 : 1 + rnd(SEGS_MAX);

	for (unsigned i = 0; i < n; i++) {
		uint32_t len = rnd(4) ? 1 + rnd(1600) : 1 + rnd(20);

		if (n == 1)
			len = rnd(2) ? 1536 : len;
		else
			len = rnd(8) ? XN_MIN(len, 900u) : 1 + rnd(30);
		segs[i] = (struct drv_seg){ at, len };
		at += segs[i].len + rnd(40);
	}
	/* At least the header has to fit: shorter ones are tested with the engine. */
	segs[0].len = XN_MAX(segs[0].len, 12u);
	for (unsigned i = 1; i < n; i++)
		segs[i].at = segs[i - 1].at + segs[i - 1].len + rnd(9);
	offer(r, segs, n);
}

/* Any frames into any buffers: all that were delivered are whole, in order, and
 * the rest is counted; may_write checks each fill entry meanwhile. */
static void random_receive(const struct rig_opts *o, unsigned reorder)
{
	static uint8_t sent[64][FRAME_MAX];
	uint8_t got[80000];
	struct rig r;
	uint64_t arrived = 0, delivered = 0;
	unsigned slot = 0;

	rig_open(&r, o);
	fk()->reorder = reorder;
	for (unsigned round = 0; round < 1500; round++) {
		uint32_t lens[64], len;
		unsigned n = 1 + rnd(8), ok = 0;

		while (drv_pending(&r.drv, RX) < 60 && r.drv.q[RX].n_free > SEGS_MAX)
			offer_random(&r, slot++ % 256);
		xn_queue_run(r.q, 64);
		for (unsigned i = 0; i < n; i++) {
			lens[ok] = 14 + rnd(FRAME_MAX - 13);
			make_frame(sent[ok], lens[ok], round * 8 + i);
			ok += !fk_host_rx(0, sent[ok], lens[ok]);
		}
		arrived += ok;
		while (xn_queue_run(r.q, 64))
			;
		/* What came is a subsequence of what was sent: drops leave gaps. */
		for (unsigned i = 0; (len = take_frame(&r, got)); i++) {
			while (i < ok && (lens[i] != len || memcmp(sent[i], got, len)))
				i++;
			if (i >= ok)
				fail_msg("round %u: a frame of %u bytes was never sent", round, len);
			delivered++;
		}
	}
	assert_int_equal(stat(&r, "rx_packets"), delivered);
	assert_int_equal(arrived, delivered + stat(&r, "rx_drop_no_buffer") +
			 stat(&r, "rx_drop_too_small") + stat(&r, "rx_drop_error"));
	assert_int_equal(stat(&r, "rx_lent") + stat(&r, "rx_bounced"), delivered);
	assert_int_equal(stat(&r, "rx_drop_error"), 0);
	assert_true(delivered > 300);
	assert_true(stat(&r, "rx_bounced") > 100);
	if (reorder)
		assert_true(stat(&r, "rx_out_of_order") > 0);
	else
		assert_int_equal(stat(&r, "rx_out_of_order"), 0);
	/* The heads that are still out are taken back: none is lost. */
	assert_int_equal(xn_dev_stop(r.dev), 0);
	rig_close(&r);
}

static void any_buffers_and_frames_meet_without_a_stray_byte(void **state)
{
	random_receive(&(struct rig_opts){ .features = MRG }, 0);
}

static void without_merging_too(void **state)
{
	random_receive(&(struct rig_opts){ 0 }, 0);
}

static void with_a_small_window_too(void **state)
{
	random_receive(&(struct rig_opts){ .features = MRG, .window_bytes = 2u << 20 }, 0);
}

static void with_few_bounce_frames_too(void **state)
{
	random_receive(&(struct rig_opts){ .features = MRG, .bounce_frames = 8 }, 0);
}

static void drivers_that_return_buffers_in_another_order_lose_no_head(void **state)
{
	/* In order of arrival frames are still whole, though not from the oldest buffer. */
	random_receive(&(struct rig_opts){ .features = MRG }, 7);
}

static void ring_indices_wrap_at_2_32(void **state)
{
	preset = 0xffffff00u;
	random_receive(&(struct rig_opts){ .features = MRG }, 0);
	preset = 0;
}

/* ---- the lend rule against an oracle ---- */

/* Slow and obvious: where does byte 12 lie, and is there room for the longest frame
 * in one piece of registered memory from there on? A buffer that the window's end
 * cuts is in two pieces: its first is short. */
static const char *expected(const struct rig *r, const struct drv_seg *segs, unsigned n)
{
	uint64_t end = r->mem->window_bytes ? r->mem->window_bytes : RAM;
	uint32_t skip = DRV_HDR, longest = 1500 + 18;

	for (unsigned i = 0; i < n; i++) {
		uint64_t at = segs[i].at, to = at + segs[i].len;

		if (skip >= segs[i].len && i + 1 < n) {
			skip -= segs[i].len;
			continue;
		}
		at += skip;
		if (to - at < longest || (at < end && end - at < longest))
			return "rx_bounce_short";
		return at >= end ? "rx_bounce_window" : "rx_buf_lent";
	}
	return "rx_bounce_short";
}

static void lent_or_not_is_what_the_rule_says(void **state)
{
	static const char *const verdicts[] = { "rx_buf_lent", "rx_bounce_short", "rx_bounce_window" };
	uint64_t want[3] = { 0 };
	struct rig r;

	for (unsigned run = 0; run < 40; run++) {
		rig_open(&r, &(struct rig_opts){ .features = MRG | IND,
						 .window_bytes = run % 2 ? 2u << 20 : 0 });
		memset(want, 0, sizeof(want));
		for (unsigned i = 0; i < 50; i++) {
			struct drv_seg segs[4];
			/* Around the window's end, and lengths around the limits. */
			uint64_t at = (2u << 20) - 4096 + rnd(8192);
			unsigned n = 1 + rnd(4);
			const char *v;

			if (n == 1) {
				segs[0] = (struct drv_seg){ at, 1528 + rnd(5) };
			} else {
				uint32_t hdr = 12;

				for (unsigned k = 0; k + 1 < n; k++) {
					uint32_t part = k + 2 == n ? hdr : 1 + rnd(hdr - (n - k - 2));

					part = XN_MIN(part, hdr - (n - k - 2));
					segs[k] = (struct drv_seg){ 0x300000 + i * 64 + k * 16, part };
					hdr -= part;
				}
				segs[n - 1] = (struct drv_seg){ at, 1516 + rnd(5) };
				/* A header that ends inside of the last piece. */
				if (rnd(2))
					segs[n - 2].len = XN_MAX(segs[n - 2].len / 2, 1u);
			}
			v = expected(&r, segs, n);
			for (unsigned k = 0; k < 3; k++)
				want[k] += !strcmp(v, verdicts[k]);
			offer(&r, segs, n);
			xn_queue_run(r.q, 64);
		}
		for (unsigned k = 0; k < 3; k++)
			if (stat(&r, verdicts[k]) != want[k])
				fail_msg("run %u: %s is %lu, the rule says %lu", run, verdicts[k],
					 (unsigned long)stat(&r, verdicts[k]), (unsigned long)want[k]);
		assert_true(want[0] && want[1] && (want[2] || !(run % 2)));
		rig_close(&r);
	}
}

static void every_lent_chunk_lies_in_the_umem(void **state)
{
	struct rig r;
	const struct drv_seg first = { DRV_FREE_AT, 1536 }, last = { RAM - 1530, 1530 };
	uint8_t f[FRAME_MAX];

	rig_open(&r, &(struct rig_opts){ 0 });
	offer(&r, &first, 1);
	offer(&r, &last, 1);
	xn_queue_run(r.q, 64);
	make_frame(f, FRAME_MAX, 1);
	assert_int_equal(fk_host_rx(0, f, FRAME_MAX), 0);
	assert_int_equal(fk_host_rx(0, f, FRAME_MAX), 0);
	assert_int_equal(fk()->stat.rx_invalid_descs, 0);
	assert_int_equal(stat(&r, "rx_buf_lent"), 2);
	rig_close(&r);
}

/* ---- transmit ---- */

static uint32_t post_random_packet(struct rig *r, uint64_t at, unsigned max_pieces, uint32_t id)
{
	struct drv_seg segs[SEGS_MAX];
	uint32_t len = 14 + rnd(1501), total = DRV_HDR + len, off = 0;
	uint8_t flat[DRV_HDR + 1600] = { 0 };
	unsigned n = 1 + rnd(max_pieces);

	make_frame(flat + DRV_HDR, len, id);
	for (unsigned i = 0; i < n; i++) {
		uint32_t left = total - off, part = i + 1 == n ? left : 1 + rnd(left - (n - 1 - i));

		segs[i] = (struct drv_seg){ at, part };
		memcpy(r->drv.ram + at, flat + off, part);
		at += part + rnd(50);
		off += part;
	}
	drv_post(&r->drv, TX, segs, n);
	return len;
}

static uint64_t sum_of(const uint8_t *p, uint64_t n)
{
	uint64_t sum = 14695981039346656037ull;

	while (n--)
		sum = (sum ^ *p++) * 1099511628211ull;
	return sum;
}

/* Packets in any pieces, with the kernel in this or that mood: all leave in order,
 * whole, once; heads come back; transmit memory is as it was. */
static void random_transmit(const struct rig_opts *o, void (*mood)(struct fk *k))
{
	uint32_t lens[64];
	uint8_t want[1600];
	struct rig r;
	uint64_t total = 0, back = 0;
	uint16_t head;
	uint32_t used;

	rig_open(&r, o);
	for (unsigned round = 0; round < 400; round++) {
		unsigned n = 1 + rnd(20);
		uint64_t before;

		for (unsigned i = 0; i < n; i++)
			lens[i] = post_random_packet(&r, TX_AT + i * 4096, SEGS_MAX, round * 32 + i);
		before = sum_of(r.drv.ram + TX_AT, 24 * 4096);
		for (unsigned turn = 0; turn < 400 && drv_pending(&r.drv, TX); turn++) {
			if (mood)
				mood(fk());
			xn_queue_run(r.q, 64);
			while (drv_used(&r.drv, TX, &head, &used)) {
				assert_int_equal(used, 0);
				back++;
			}
		}
		assert_int_equal(drv_pending(&r.drv, TX), 0);
		assert_true(before == sum_of(r.drv.ram + TX_AT, 24 * 4096));   /* I2 */
		assert_int_equal(fk()->n_packets + fk()->tx_lost, n);
		for (unsigned i = 0, k = 0; i < fk()->n_packets; i++, k++) {
			const struct fk_packet *p = &fk()->packets[i];

			for (; k < n; k++) {
				make_frame(want, lens[k], round * 32 + k);
				if (lens[k] == p->bytes && !memcmp(want, p->data, p->bytes))
					break;
			}
			if (k == n)
				fail_msg("round %u: packet %u is none of those sent, or late", round, i);
		}
		fk_forget(fk());
		total += n;
		fk()->tx_lost = 0;
	}
	assert_int_equal(back, total);
	assert_int_equal(stat(&r, "tx_packets"), total);
	assert_int_equal(stat(&r, "tx_lent") + stat(&r, "tx_gathered") + stat(&r, "tx_chained") +
			 stat(&r, "tx_bounced"), total);
	assert_int_equal(fk()->stat.tx_invalid_descs, 0);
	rig_close(&r);
}

static void packets_leave_in_order_and_whole(void **state)
{
	random_transmit(&(struct rig_opts){ .features = IND }, NULL);
}

static void chained_packets_leave_in_order_and_whole(void **state)
{
	random_transmit(&(struct rig_opts){ .features = IND, .options = ",tx=chain" }, NULL);
}

static void bounced_packets_leave_in_order_and_whole(void **state)
{
	random_transmit(&(struct rig_opts){ .options = ",mode=bounce", .bounce_frames = 16 }, NULL);
}

static void packets_outside_of_the_window_leave_too(void **state)
{
	random_transmit(&(struct rig_opts){ .window_bytes = (5u << 20) + 8192, .options = ",tx=chain" }, NULL);
}

static void small_budget(struct fk *k) { k->budget = 1 + rnd(5); }
static void lossy(struct fk *k)        { k->drop = rnd(3); }
static void moody(struct fk *k)
{
	static const int errors[] = { 0, 0, 0, 0, -EAGAIN, -ENOBUFS, -EINTR };

	k->send_error = errors[rnd(7)];
	k->budget = rnd(10);
}

static void late_completions(struct fk *k)
{
	k->hold = true;
	fk_complete(k, rnd(4));
}

static void shuffled_completions(struct fk *k)
{
	k->shuffle = true;
	late_completions(k);
}

static void kernel_that_takes_a_few_at_a_time_gets_all(void **state)
{
	random_transmit(&(struct rig_opts){ 0 }, small_budget);
}

static void chains_are_never_cut_by_a_budget(void **state)
{
	random_transmit(&(struct rig_opts){ .options = ",tx=chain" }, small_budget);
}

static void packets_that_the_device_drops_are_counted(void **state)
{
	random_transmit(&(struct rig_opts){ 0 }, lossy);
}

static void passing_errors_of_the_kernel_lose_nothing(void **state)
{
	random_transmit(&(struct rig_opts){ 0 }, moody);
}

static void drivers_that_keep_pages_get_them_until_completion(void **state)
{
	random_transmit(&(struct rig_opts){ .driver = "virtio_net" }, late_completions);
}

static void completions_in_any_order_lose_no_head(void **state)
{
	random_transmit(&(struct rig_opts){ .driver = "unknown", .options = ",tx=chain" },
			shuffled_completions);
}

static void heads_wait_for_the_completion_where_the_driver_keeps_pages(void **state)
{
	struct rig r;
	uint16_t head;
	uint32_t used;

	rig_open(&r, &(struct rig_opts){ .driver = "unknown" });
	fk()->hold = true;
	post_random_packet(&r, TX_AT, 1, 1);
	xn_queue_run(r.q, 64);
	assert_int_equal(fk()->n_packets, 1);
	assert_false(drv_used(&r.drv, TX, &head, &used));
	fk_complete(fk(), 1);
	xn_queue_run(r.q, 64);
	assert_true(drv_used(&r.drv, TX, &head, &used));
	rig_close(&r);

	rig_open(&r, &(struct rig_opts){ 0 });   /* veth copies: at once */
	fk()->hold = true;
	post_random_packet(&r, TX_AT, 1, 1);
	xn_queue_run(r.q, 64);
	assert_true(drv_used(&r.drv, TX, &head, &used));
	rig_close(&r);
}

static void stuck_ring_pushes_back_and_costs_one_call_a_turn(void **state)
{
	struct rig r;
	uint16_t head;
	uint32_t used;
	unsigned back = 0;
	uint64_t sends;

	rig_open(&r, &(struct rig_opts){ 0 });
	fk()->send_error = -EAGAIN;
	for (unsigned i = 0; i < 200; i++)
		post_random_packet(&r, TX_AT + i * 2048, 1, i);
	for (unsigned i = 0; i < 50; i++)
		xn_queue_run(r.q, 64);
	assert_false(drv_used(&r.drv, TX, &head, &used));
	sends = fk()->sends;
	xn_queue_run(r.q, 64);
	assert_int_equal(fk()->sends, sends + 1);
	fk()->send_error = 0;
	for (unsigned i = 0; i < 50; i++)
		xn_queue_run(r.q, 64);
	while (drv_used(&r.drv, TX, &head, &used))
		back++;
	assert_int_equal(back, 200);
	assert_int_equal(fk()->tx_packets, 200);
	rig_close(&r);
}

static void port_comes_back_though_somebody_else_has_sent_what_was_stuck(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_opts){ 0 });
	fk()->send_error = -ENETDOWN;
	for (unsigned i = 0; i < 3; i++) {
		post_random_packet(&r, TX_AT + i * 2048, 1, i);
		xn_queue_run(r.q, 64);
	}
	assert_int_equal(stat(&r, "tx_drop_down"), 2);   /* the first waits in the ring */
	fk()->send_error = 0;
	assert_int_equal(fk_send(fk_host.xsk[0]), 0);    /* as the kernel's poll() does */
	assert_int_equal(fk()->tx_packets, 1);
	xn_queue_run(r.q, 64);
	post_random_packet(&r, TX_AT, 1, 9);
	xn_queue_run(r.q, 64);
	assert_int_equal(fk()->tx_packets, 2);
	rig_close(&r);
}

static void one_call_a_batch(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_opts){ 0 });
	for (unsigned i = 0; i < 64; i++)
		post_random_packet(&r, TX_AT + i * 2048, 1, i);
	xn_queue_run(r.q, 64);
	assert_int_equal(fk()->sends, 1);
	assert_int_equal(stat(&r, "tx_kicks"), 1);
	xn_queue_run(r.q, 64);
	xn_queue_run(r.q, 64);
	assert_int_equal(fk()->sends, 1);        /* nothing to send: no call */
	rig_close(&r);
}

static void stop_rewinds_what_could_not_be_sent(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_opts){ 0 });
	fk()->send_error = -EAGAIN;
	for (unsigned i = 0; i < 10; i++)
		post_random_packet(&r, TX_AT + i * 2048, 1, i);
	xn_queue_run(r.q, 64);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_vring_base(r.dev, TX), 0);
	assert_int_equal(xn_dev_start(r.dev), 0);   /* a new socket: all ten leave now */
	for (unsigned i = 0; i < 4; i++)
		xn_queue_run(r.q, 64);
	assert_int_equal(fk()->tx_packets, 10);
	rig_close(&r);
}

/* Buffers of which a later one was used first cannot be rewound: they come back empty,
 * and the guest is told. */
static void stop_gives_back_what_it_cannot_rewind_and_notifies(void **state)
{
	const struct drv_seg small = { RX_AT, 100 }, large = { RX_AT + 4096, 1536 };
	struct rig r;
	uint8_t f[FRAME_MAX];
	uint16_t head;
	uint32_t used;
	uint64_t irqs;

	rig_open(&r, &(struct rig_opts){ 0 });
	offer(&r, &small, 1);       /* held, with a bounce frame in its place */
	offer(&r, &large, 1);       /* lent */
	xn_queue_run(r.q, 64);
	make_frame(f, 1000, 1);
	assert_int_equal(fk_host_rx(0, f, 1000), 0);   /* one is too long for the small buffer, */
	assert_int_equal(fk_host_rx(0, f, 1000), 0);   /* the other arrives in the large one */
	xn_queue_run(r.q, 64);
	assert_true(drv_used(&r.drv, RX, &head, &used));
	assert_int_equal(used, DRV_HDR + 1000);
	irqs = stat(&r, "irqs_sent");
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_true(drv_used(&r.drv, RX, &head, &used));
	assert_int_equal(used, 0);
	assert_int_equal(stat(&r, "irqs_sent"), irqs + 1);
	assert_int_equal(xn_dev_vring_base(r.dev, RX), 2);
	rig_close(&r);
}

/* ---- set-up ---- */

static void failed_start_leaves_nothing_behind(void **state)
{
	struct rig r;
	struct xn_mem_info info;

	rig_open(&r, &(struct rig_opts){ 0 });
	assert_int_equal(xn_dev_stop(r.dev), 0);
	fk_host.open_error = -EBUSY;
	assert_int_equal(xn_dev_start(r.dev), -EBUSY);
	xn_mem_get_info(r.mem, &info);
	assert_int_equal(info.bounce_frames_free, info.bounce_frames);
	fk_host.open_error = 0;
	assert_int_equal(xn_dev_start(r.dev), 0);
	rig_close(&r);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static uint32_t spares_left(const struct rig *r)
{
	struct xn_port_info info;

	xn_port_get_info(r->port, &info);
	return info.spare_sockets;
}

static void each_start_takes_a_spare_socket_also_one_that_fails(void **state)
{
	unsigned fds;
	struct rig r;

	rig_open(&r, &(struct rig_opts){ 0 });   /* the fake's own fds are there, from here on */
	rig_close(&r);
	fds = open_fds();
	rig_open(&r, &(struct rig_opts){ .spare_sockets = 4 });
	fk_host.socket_error = -EPERM;           /* from here on no socket can be opened */
	assert_int_equal(spares_left(&r), 3);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	fk_host.open_error = -EBUSY;
	assert_int_equal(xn_dev_start(r.dev), -EBUSY);
	assert_int_equal(spares_left(&r), 2);
	fk_host.open_error = 0;
	for (unsigned left = 2; left--; ) {
		assert_int_equal(xn_dev_start(r.dev), 0);
		assert_int_equal(spares_left(&r), left);
		assert_int_equal(xn_dev_stop(r.dev), 0);
	}
	assert_int_equal(xn_dev_start(r.dev), -EPERM);
	fk_host.socket_error = 0;                /* who has the right opens more */
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(spares_left(&r), 0);
	rig_close(&r);
	assert_int_equal(open_fds(), fds);
}

static void spare_sockets_that_cannot_be_had_leave_nothing_open(void **state)
{
	const struct xn_port_opts opts = { .spare_sockets = 10 };
	struct xn_port *port;
	unsigned fds;

	fk_host_reset();
	assert_int_equal(xn_port_open_xdp_on(&port, "fake0", &opts, &fk_host_sys), 0);
	fds = open_fds() - 11;                   /* they, and the packet socket */
	xn_port_close(port);
	assert_int_equal(open_fds(), fds);
	fk_host.socket_error = -EMFILE;
	for (unsigned n = 0; n < 10; n++) {
		fk_host.sockets_left = n;
		assert_int_equal(xn_port_open_xdp_on(&port, "fake0", &opts, &fk_host_sys), -EMFILE);
		assert_null(port);
		assert_int_equal(open_fds(), fds);
	}
}

/* Where the thread is matters only if a socket has to be opened, and can be told. */
static void only_a_new_socket_wants_the_port_s_namespace(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_opts){ .spare_sockets = 2 });
	assert_int_equal(xn_dev_stop(r.dev), 0);
	fk_host.info.netns = 2;
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_start(r.dev), -EXDEV);
	fk_host.info.netns = 0;
	assert_int_equal(xn_dev_start(r.dev), 0);
	rig_close(&r);
}

static void announcement_is_a_broadcast_rarp_request_of_the_guest(void **state)
{
	static const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 };
	static const uint8_t want[60] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 1, 2, 3, 4, 5, 0x80, 0x35,
		0, 1, 8, 0, 6, 4, 0, 3,          /* Ethernet, IPv4, request reverse */
		2, 1, 2, 3, 4, 5, 0, 0, 0, 0, 2, 1, 2, 3, 4, 5, 0, 0, 0, 0,
	};
	struct xn_port *null;
	struct rig r;
	uint8_t f[128];

	rig_open(&r, &(struct rig_opts){ 0 });
	assert_int_equal(fk_host_announced(f, sizeof(f)), 0);
	assert_int_equal(xn_port_announce(r.port, mac), 0);
	assert_int_equal(fk_host_announced(f, sizeof(f)), sizeof(want));
	assert_memory_equal(f, want, sizeof(want));
	assert_int_equal(fk_host_announced(f, sizeof(f)), 0);
	rig_close(&r);
	assert_int_equal(xn_port_open(&null, "null", NULL), 0);
	assert_int_equal(xn_port_announce(null, mac), 0);
	xn_port_close(null);
}

static void port_tells_speed_and_duplex(void **state)
{
	struct xn_port_info info;
	struct rig r;

	rig_open(&r, &(struct rig_opts){ 0 });
	xn_port_get_info(r.port, &info);
	assert_int_equal(info.speed, 10000);
	assert_true(info.full_duplex);
	rig_close(&r);
}

static void frames_longer_than_buffers_never_reach_them(void **state)
{
	struct rig r;
	const struct drv_seg s = { RX_AT, 1536 };
	uint8_t f[2000];

	rig_open(&r, &(struct rig_opts){ 0 });
	offer(&r, &s, 1);
	xn_queue_run(r.q, 64);
	make_frame(f, sizeof(f), 1);
	assert_int_equal(fk_host_rx(0, f, 1519), -EMSGSIZE);
	assert_int_equal(fk_rx(fk(), f, 1519), -ENOSPC);   /* nor if the program let it pass */
	assert_int_equal(fk_host_rx(0, f, 1518), 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_buffers_and_frames_meet_without_a_stray_byte),
		cmocka_unit_test(without_merging_too),
		cmocka_unit_test(with_a_small_window_too),
		cmocka_unit_test(with_few_bounce_frames_too),
		cmocka_unit_test(drivers_that_return_buffers_in_another_order_lose_no_head),
		cmocka_unit_test(ring_indices_wrap_at_2_32),
		cmocka_unit_test(lent_or_not_is_what_the_rule_says),
		cmocka_unit_test(every_lent_chunk_lies_in_the_umem),
		cmocka_unit_test(packets_leave_in_order_and_whole),
		cmocka_unit_test(chained_packets_leave_in_order_and_whole),
		cmocka_unit_test(bounced_packets_leave_in_order_and_whole),
		cmocka_unit_test(packets_outside_of_the_window_leave_too),
		cmocka_unit_test(kernel_that_takes_a_few_at_a_time_gets_all),
		cmocka_unit_test(chains_are_never_cut_by_a_budget),
		cmocka_unit_test(packets_that_the_device_drops_are_counted),
		cmocka_unit_test(passing_errors_of_the_kernel_lose_nothing),
		cmocka_unit_test(drivers_that_keep_pages_get_them_until_completion),
		cmocka_unit_test(completions_in_any_order_lose_no_head),
		cmocka_unit_test(heads_wait_for_the_completion_where_the_driver_keeps_pages),
		cmocka_unit_test(stuck_ring_pushes_back_and_costs_one_call_a_turn),
		cmocka_unit_test(port_comes_back_though_somebody_else_has_sent_what_was_stuck),
		cmocka_unit_test(one_call_a_batch),
		cmocka_unit_test(stop_rewinds_what_could_not_be_sent),
		cmocka_unit_test(stop_gives_back_what_it_cannot_rewind_and_notifies),
		cmocka_unit_test(failed_start_leaves_nothing_behind),
		cmocka_unit_test(each_start_takes_a_spare_socket_also_one_that_fails),
		cmocka_unit_test(spare_sockets_that_cannot_be_had_leave_nothing_open),
		cmocka_unit_test(only_a_new_socket_wants_the_port_s_namespace),
		cmocka_unit_test(announcement_is_a_broadcast_rarp_request_of_the_guest),
		cmocka_unit_test(port_tells_speed_and_duplex),
		cmocka_unit_test(frames_longer_than_buffers_never_reach_them),
	};

	return cmocka_run_group_tests_name("port_xdp", tests, NULL, NULL);
}
