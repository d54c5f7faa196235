/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves, on a fake kernel that cuts frames into pieces, what the AF_XDP port promises where the
 * MTU is too long for a chunk:
 *   - a frame of any length that fits the guest's buffers arrives whole, once, in order, in as few
 *     of them as it takes, all but the last full (VIRTIO 1.2, 5.1.6.4.1)
 *   - what is not delivered is counted under one name
 *   - nothing is written but what the guest has offered and not got back
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#include "tests/fake/rss.h"
#include "tests/unit/port_rig.h"

#define LONGEST   65553u
#define FRAMES    8u          /* at a time */
#define SLOTS_AT  0x80000u
#define END_AT    0x700000u
#define CSUM      (1ull << VIRTIO_NET_F_GUEST_CSUM)
#define IN_ORDER  (1ull << 35)

static unsigned seed = 5;
static unsigned rnd(unsigned n) { return (unsigned)rand_r(&seed) % n; }

static struct {
	struct rig r;
	uint8_t out[RAM];                /* 1: offered, and not back */
	uint8_t was[RAM];                /* what is there else */
	uint8_t sent[FRAMES][LONGEST + 1];
	uint8_t got[LONGEST + 8192];
	uint32_t slot, slots, slot_bytes;
	bool in_order;                   /* buffers have to come back as they were offered: */
	uint16_t order[DRV_SIZE];
	unsigned n_offered, n_back, n_empty;
} t;

static bool offered_only(void *arg, uint64_t at, uint32_t bytes)
{
	if (at + bytes <= t.r.ram_uoff || at >= t.r.ram_uoff + RAM)
		return at + bytes <= t.r.mem->umem_bytes;
	at -= t.r.ram_uoff;
	return at + bytes <= RAM && !memchr(t.out + at, 0, bytes);
}

static void open_with(const struct rig_opts *o, uint32_t slot_bytes)
{
	memset(t.out, 0, sizeof(t.out));
	t.slot = t.n_offered = t.n_back = t.n_empty = 0;
	t.in_order = o->features & IN_ORDER;
	t.slot_bytes = slot_bytes;
	t.slots = (END_AT - SLOTS_AT) / slot_bytes;
	rig_open(&t.r, o);
	if (!o->window_bytes)            /* a smaller window has a check of its own (port_rig.h) */
		fk()->may_write = offered_only;
	memcpy(t.was, t.r.drv.ram, RAM);
}

/* Nothing that was not out has changed. (Rings lie in front.) */
static void check_memory(void)
{
	for (uint32_t at = DRV_FREE_AT; at < RAM; at++)
		if (!t.out[at] && t.r.drv.ram[at] != t.was[at])
			fail_msg("byte 0x%x of the guest's memory was written", at);
}

static void mark(const struct drv_seg *segs, unsigned n, bool out)
{
	for (unsigned i = 0; i < n; i++) {
		memset(t.out + segs[i].at, out, segs[i].len);
		if (!out)
			memcpy(t.was + segs[i].at, t.r.drv.ram + segs[i].at, segs[i].len);
	}
}

/* The next place for a buffer; false: what was there is not back. */
static bool next_slot(uint64_t *at)
{
	*at = SLOTS_AT + t.slot++ % t.slots * t.slot_bytes;
	return !memchr(t.out + *at, 1, t.slot_bytes);
}

static bool offer_marked(const struct drv_seg *segs, unsigned n)
{
	if (t.r.drv.q[RX].n_free < n)
		return false;
	offer(&t.r, segs, n);
	for (unsigned h = 0; h < DRV_SIZE; h++)
		if (t.r.offered[h].n && t.r.offered[h].segs[0].at == segs[0].at)
			t.order[t.n_offered++ % DRV_SIZE] = (uint16_t)h;
	mark(segs, n, true);
	return true;
}

/* The next buffer that is back; false: there is none. */
static bool take_back(uint16_t *head, uint32_t *used)
{
	if (!drv_used(&t.r.drv, RX, head, used))
		return false;
	assert_true(t.r.offered[*head].n);
	if (t.in_order)
		assert_int_equal(*head, t.order[t.n_back % DRV_SIZE]);
	t.n_back++;
	return true;
}

static void forget(struct buffer *b)
{
	mark(b->segs, b->n, false);
	b->n = 0;
}

/* Takes a frame from the used ring into t.got; its length, 0: there is none. *buffers: in how
 * many; flags and the two checksum fields in *hdr. Those in front of it that come back empty are
 * counted. */
static uint32_t take(unsigned *buffers, struct virtio_net_hdr_v1 *hdr)
{
	static uint8_t flat[80000];
	uint32_t used, sum = 0, skip = DRV_HDR;
	uint16_t head;

	*buffers = 1;
	for (unsigned k = 0; k < *buffers; k++, skip = 0) {
		struct buffer *b;
		uint32_t all = 0;

		do {
			if (!take_back(&head, &used)) {
				assert_int_equal(k, 0);
				return 0;
			}
			b = &t.r.offered[head];
			if (!used) {
				assert_int_equal(k, 0);
				t.n_empty++;
				forget(b);
			}
		} while (!used);
		for (unsigned s = 0; s < b->n; all += b->segs[s++].len)
			memcpy(flat + all, t.r.drv.ram + b->segs[s].at, b->segs[s].len);
		assert_true(used <= all);
		if (!k) {
			memcpy(hdr, flat, sizeof(*hdr));
			*buffers = hdr->num_buffers;
		}
		if (k + 1 < *buffers)
			assert_int_equal(used, all);
		else if (k)
			assert_true(used);      /* none too many */
		memcpy(t.got + sum, flat + skip, used - skip);
		sum += used - skip;
		forget(b);
	}
	return sum;
}

/* ---- buffers of all kinds ---- */

static uint32_t one_of(const uint32_t *a, unsigned n) { return a[rnd(n)]; }

static void offer_linux(void)
{
	static const uint32_t sizes[] = { 1536, 1536, 1600, 2048, 2304, 4096, 4096 };
	struct drv_seg s = { .len = one_of(sizes, XN_ARRAY_SIZE(sizes)) };

	if (next_slot(&s.at))
		offer_marked(&s, 1);
}

/* Anything: pieces from one byte on, at odd addresses. */
static void offer_any(void)
{
	static const uint32_t sizes[] = { 12, 13, 600, 1535, 1536, 1537, 3851, 3852, 4096, 6000, 8000 };
	unsigned n = rnd(3) ? 1 : 1 + rnd(SEGS_MAX);
	struct drv_seg segs[SEGS_MAX];
	uint64_t at;

	if (!next_slot(&at))
		return;
	at += rnd(64);
	for (unsigned i = 0; i < n; i++) {
		segs[i].at = at;
		segs[i].len = n == 1 ? one_of(sizes, XN_ARRAY_SIZE(sizes)) : rnd(2) ? 1 + rnd(20) : 1 + rnd(980);
		if (i && i + 1 == n && rnd(2))
			segs[i].len = 1500 + rnd(2500);
		at += segs[i].len + rnd(9);
	}
	segs[0].len = XN_MAX(segs[0].len, 12u);
	for (unsigned i = 1; i < n; i++)
		segs[i].at = segs[i - 1].at + segs[i - 1].len + rnd(9);
	offer_marked(segs, n);
}

/* As Linux without merging: a header's piece, and pages. */
static void offer_big(void)
{
	struct drv_seg segs[2] = { { .len = DRV_HDR }, { .len = rnd(8) ? LONGEST : 1 + rnd(LONGEST) } };

	if (!next_slot(&segs[0].at))
		return;
	segs[1].at = segs[0].at + 24;
	offer_marked(segs, 2);
}

static void offer_long_in_two(void)
{
	struct drv_seg segs[2] = { { .len = 30000 }, { .len = LONGEST + DRV_HDR - 30000 } };

	if (!next_slot(&segs[0].at))
		return;
	segs[1].at = segs[0].at + 30001;
	offer_marked(segs, 2);
}

static void offer_big_in_one(void)
{
	struct drv_seg s = { .len = DRV_HDR + LONGEST };

	if (!next_slot(&s.at))
		return;
	s.at += rnd(9);
	offer_marked(&s, 1);
}

/* ---- random frames ---- */

static uint32_t any_length(uint32_t max)
{
	const uint32_t any = 14 + rnd(max - 13), small = 14 + rnd(1600), around = rnd(5) - 2;
	const uint32_t pieces = around + (rnd(2) ? 1524 * (1 + rnd(8)) : 3840 * (1 + rnd(17)));

	switch (rnd(4)) {
	case 0:  return XN_MIN(max, small);
	case 1:  return any;
	default: return XN_MIN(max, pieces);
	}
}

struct kind {
	struct rig_opts o;
	void (*offer)(void);
	uint32_t slot_bytes;
	unsigned rounds, pending, least;   /* least: frames that have to arrive */
	unsigned reorder;
	bool fits;                         /* what a bounce frame takes finds room */
};

static void receive_any(const struct kind *k)
{
	const uint32_t max = k->o.mtu + 18;
	uint64_t tried = 0, arrived = 0, delivered = 0, bytes = 0, pieces = 0;
	struct virtio_net_hdr_v1 hdr;

	open_with(&k->o, k->slot_bytes);
	fk()->reorder = k->reorder;
	for (unsigned round = 0; round < k->rounds; round++) {
		uint32_t lens[FRAMES], len;
		unsigned n = 1 + rnd(FRAMES), ok = 0, buffers;

		for (unsigned i = 0; i < 300 && drv_pending(&t.r.drv, RX) < k->pending; i++)
			k->offer();
		xn_queue_run(t.r.q, 64);
		for (unsigned i = 0; i < n; i++) {
			lens[ok] = any_length(max);
			make_frame(t.sent[ok], lens[ok], round * FRAMES + i);
			tried++;
			ok += !fk_host_rx(0, t.sent[ok], lens[ok]);
		}
		arrived += ok;
		/* Fewer at a time than a frame has pieces. One that is dropped is no work. */
		while (xn_queue_run(t.r.q, 1 + rnd(4)) || fk()->rx.producer != fk()->rx.consumer)
			;
		for (unsigned i = 0; (len = take(&buffers, &hdr)); i++) {
			while (i < ok && (lens[i] != len || memcmp(t.sent[i], t.got, len)))
				i++;
			if (i >= ok)
				fail_msg("round %u: a frame of %u bytes was never sent", round, len);
			delivered++;
			bytes += len;
			pieces += len > fk()->frame_bytes ? (len - 1) / fk()->frame_bytes + 1 : 0;
		}
		if (round % 64 == 0)
			check_memory();
	}
	check_memory();
	/* Nothing comes back empty but for a frame, and in order only. */
	assert_int_equal(t.n_empty, t.in_order ? stat(&t.r, "rx_drop_too_small") : 0);
	assert_int_equal(stat(&t.r, "heads_dropped"), t.n_empty);
	assert_int_equal(stat(&t.r, "rx_packets"), delivered);
	assert_int_equal(stat(&t.r, "rx_bytes"), bytes);
	if (k->fits)
		assert_int_equal(stat(&t.r, "rx_drop_no_buffer"), 0);
	assert_int_equal(stat(&t.r, "rx_pieces"), pieces);
	assert_int_equal(arrived, delivered + stat(&t.r, "rx_drop_no_buffer") + stat(&t.r, "rx_drop_too_small"));
	assert_int_equal(stat(&t.r, "rx_lent") + stat(&t.r, "rx_shifted") + stat(&t.r, "rx_bounced"), delivered);
	assert_int_equal(tried - arrived, stat(&t.r, "kernel_rx_dropped") + stat(&t.r, "kernel_fill_empty") +
			 stat(&t.r, "kernel_rx_ring_full"));
	if (delivered < k->least)
		fail_msg("%lu frames of %lu came", (unsigned long)delivered, (unsigned long)tried);
	assert_int_equal(xn_dev_stop(t.r.dev), 0);
	rig_close(&t.r);
}

static void buffers_of_linux_are_lent_and_frames_put_together_in_them(void **state)
{
	const struct kind k = { { .features = MRG, .mtu = 9000 }, offer_linux, 4096, 6000, 200, 20000, 0, false };

	receive_any(&k);
}

static void with_frames_of_64_kib_too(void **state)
{
	const struct kind k = { { .features = MRG, .mtu = 65535 }, offer_linux, 4096, 4000, 250, 5000, 0, false };

	receive_any(&k);
}

static void any_buffers_and_frames_meet(void **state)
{
	const struct kind k = { { .features = MRG, .mtu = 9000 }, offer_any, 24576, 8000, 80, 15000, 0, false };

	receive_any(&k);
}

static void with_frames_of_64_kib_and_any_buffers_too(void **state)
{
	const struct kind k = { { .features = MRG, .mtu = 65535 }, offer_any, 24576, 6000, 120, 6000, 0, false };

	receive_any(&k);
}

static void without_merging_too(void **state)
{
	const struct kind k = { { .mtu = 65535 }, offer_big, 68000, 4000, 40, 8000, 0, false },
			  one = { { .mtu = 9000 }, offer_big_in_one, 68000, 3000, 40, 8000, 0, false };

	receive_any(&k);
	receive_any(&one);
}

static void in_bounce_mode_too(void **state)
{
	const struct kind k = { { .features = MRG, .mtu = 9000, .options = ",mode=bounce" }, offer_any, 24576,
				4000, 80, 4000, 0, false },
			  fits = { { .features = MRG, .mtu = 1500, .options = ",mode=bounce" }, offer_linux,
				   4096, 3000, 12, 1000, 0, true };

	receive_any(&k);
	receive_any(&fits);
}

static void with_a_small_window_too(void **state)
{
	const struct kind k = { { .features = MRG, .mtu = 9000, .window_bytes = 3u << 20 }, offer_any, 24576,
				4000, 80, 4000, 0, false };

	receive_any(&k);
}

static void with_few_bounce_frames_too(void **state)
{
	const struct kind k = { { .features = MRG, .mtu = 9000, .bounce_frames = 16 }, offer_any, 24576,
				4000, 80, 4000, 0, false };

	receive_any(&k);
}

static void in_order_buffers_come_back_as_they_were_offered(void **state)
{
	const struct kind k = { { .features = MRG | IN_ORDER, .mtu = 9000 }, offer_any, 24576, 4000, 80, 4000, 0, false },
			  none = { { .features = IN_ORDER, .mtu = 9000 }, offer_big_in_one, 68000, 2000, 40,
				   4000, 0, false },
			  plain = { { .features = MRG | IN_ORDER, .mtu = 1500 }, offer_any, 24576, 3000, 80,
				    4000, 0, false },
			  short_ones = { { .features = IN_ORDER, .mtu = 65535 }, offer_big, 68000, 3000, 40,
					 6000, 0, false },
			  short_plain = { { .features = IN_ORDER, .mtu = 1500 }, offer_any, 24576, 3000, 80,
					  3000, 0, false };

	receive_any(&k);
	receive_any(&none);
	receive_any(&plain);
	receive_any(&short_ones);
	receive_any(&short_plain);
}

/* A buffer that is held is waited for by all that were offered later. */
static void in_order_nothing_waits_for_a_short_buffer(void **state)
{
	const struct rig_opts o = { .features = MRG | IN_ORDER, .mtu = 1500 };
	static const uint32_t lens[] = { 1600, 1600, 600, 1600, 600, 1600, 1600 };
	struct virtio_net_hdr_v1 hdr;
	unsigned buffers;

	open_with(&o, 4096);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(lens); i++) {
		struct drv_seg s = { .len = lens[i] };

		assert_true(next_slot(&s.at));
		assert_true(offer_marked(&s, 1));
	}
	xn_queue_run(t.r.q, 64);
	assert_int_equal(stat(&t.r, "rx_buf_lent"), 2);
	assert_int_equal(stat(&t.r, "rx_bounce_short"), 1);
	assert_int_equal(stat(&t.r, "rx_bounce_order"), 4);
	for (unsigned i = 0; i < 4; i++) {   /* in: 1600, 1600, 600 + 1600, 600 + 1600 */
		make_frame(t.sent[0], 1400, i);
		assert_int_equal(fk_host_rx(0, t.sent[0], 1400), 0);
		xn_queue_run(t.r.q, 64);
		assert_int_equal(take(&buffers, &hdr), 1400);
		assert_memory_equal(t.got, t.sent[0], 1400);
		assert_int_equal(buffers, i < 2 ? 1 : 2);
	}
	assert_int_equal(xn_dev_stop(t.r.dev), 0);
	rig_close(&t.r);
}

/* What comes next on the used ring: a frame of so many bytes, or an empty buffer. */
static void expect_used(uint32_t bytes)
{
	struct virtio_net_hdr_v1 hdr;
	const unsigned empty = t.n_empty;
	unsigned buffers;

	assert_int_equal(take(&buffers, &hdr), bytes);
	assert_int_equal(t.n_empty, empty + !bytes);
	assert_memory_equal(t.got, t.sent[0], bytes);
}

static void short_buffers_without_merging(uint32_t mtu, const char *options)
{
	const struct rig_opts o = { .features = IN_ORDER, .mtu = mtu, .options = options };
	const uint32_t longest = mtu + 18, fits = longest + DRV_HDR;
	const uint32_t lens[] = { fits, 600, 600, fits, 600, fits };
	/* Frames, and what becomes of them: nothing waits for a buffer that cannot have it. */
	const struct { uint32_t bytes, comes; } frames[] = {
		{ longest, longest }, { longest, 0 }, { 500, 500 }, { longest, longest }, { 600, 0 },
		{ 500, 500 },
	};

	open_with(&o, 68000);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(lens); i++) {
		struct drv_seg s = { .len = lens[i] };

		assert_true(next_slot(&s.at));
		assert_true(offer_marked(&s, 1));
	}
	xn_queue_run(t.r.q, 64);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(frames); i++) {
		make_frame(t.sent[0], frames[i].bytes, i);
		assert_int_equal(fk_host_rx(0, t.sent[0], frames[i].bytes), 0);
		xn_queue_run(t.r.q, 64);
		expect_used(frames[i].comes);
	}
	assert_int_equal(stat(&t.r, "rx_packets"), 4);
	assert_int_equal(stat(&t.r, "rx_drop_too_small"), 2);
	assert_int_equal(stat(&t.r, "heads_dropped"), 2);
	assert_int_equal(xn_dev_stop(t.r.dev), 0);
	rig_close(&t.r);
}

static void in_order_a_short_buffer_costs_one_frame_without_merging(void **state)
{
	short_buffers_without_merging(1500, "");
	short_buffers_without_merging(1500, ",mode=bounce");
	short_buffers_without_merging(65535, "");
}

static void out_of_order_too(void **state)
{
	const struct kind k = { { .features = MRG, .mtu = 9000 }, offer_any, 24576, 4000, 80, 4000, 5, false };

	receive_any(&k);
}

static void ring_indices_wrap_at_2_32(void **state)
{
	const struct kind k = { { .features = MRG, .mtu = 65535 }, offer_linux, 4096, 1000, 250, 1000, 0, false };

	preset = 0xfffffe00u;
	receive_any(&k);
	preset = 0;
}

/* ---- checksums ---- */

static uint32_t sum16(const uint8_t *p, uint32_t n, uint32_t sum)
{
	for (uint32_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* UDP in IPv4, with the sum of its pseudo-header in the field. Returns that which belongs there. */
static uint16_t make_udp(uint8_t *f, uint32_t bytes, uint32_t id)
{
	const uint16_t ip = htons((uint16_t)(bytes - 14)), udp = htons((uint16_t)(bytes - 34));
	static const uint8_t type[] = { 8, 0, 0x45, 0 }, middle[] = { 0, 0, 0, 0, 64, IPPROTO_UDP };
	uint32_t pseudo, sum;
	uint16_t field;

	make_frame(f, bytes, id);
	memcpy(f + 12, type, sizeof(type));
	memcpy(f + 16, &ip, 2);
	memcpy(f + 18, middle, sizeof(middle));
	memcpy(f + 38, &udp, 2);
	pseudo = sum16(f + 26, 8, IPPROTO_UDP + ntohs(udp));
	field = htons((uint16_t)pseudo);
	memcpy(f + 40, &field, 2);
	sum = sum16(f + 34, bytes - 34, 0);
	return sum == 0xffff ? 0xffff : (uint16_t)~sum;
}

static void unfinished(uint64_t features, const char *options, void (*offer_one)(void), uint32_t slot_bytes)
{
	struct virtio_net_hdr_v1 hdr;
	unsigned buffers, got = 0;

	open_with(&(struct rig_opts){ .features = features, .mtu = 65535, .options = options }, slot_bytes);
	for (unsigned i = 0; i < 1500; i++) {
		const uint32_t bytes = 42 + any_length(65535 - 28);
		const uint16_t sum = make_udp(t.sent[0], bytes, i);
		uint16_t field;

		for (unsigned k = 0; k < 300 && drv_pending(&t.r.drv, RX) < 120; k++)
			offer_one();
		xn_queue_run(t.r.q, 64);
		if (fk_host_rx(0, t.sent[0], bytes))
			continue;
		xn_queue_run(t.r.q, 64);
		if (!take(&buffers, &hdr))
			continue;
		got++;
		memcpy(&field, t.got + 40, 2);
		if (features & CSUM) {
			assert_int_equal(hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
			assert_int_equal(hdr.csum_start, 34);
			assert_int_equal(hdr.csum_offset, 6);
		} else {
			assert_int_equal(hdr.flags, 0);
			assert_int_equal(ntohs(field), sum);
			memcpy(t.got + 40, t.sent[0] + 40, 2);
		}
		assert_memory_equal(t.got, t.sent[0], bytes);
	}
	assert_true(got > 1000);
	assert_int_equal(stat(&t.r, features & CSUM ? "rx_csum_handed" : "rx_csum_finished"), got);
	rig_close(&t.r);
}

static void checksums_that_are_unfinished_are_handed_on_or_finished(void **state)
{
	unfinished(MRG, NULL, offer_linux, 4096);
	unfinished(MRG | CSUM, NULL, offer_linux, 4096);
	unfinished(MRG, ",mode=bounce", offer_any, 24576);
	unfinished(0, NULL, offer_big_in_one, 68000);
	unfinished(CSUM, NULL, offer_big_in_one, 68000);
}

/* ---- several queues ---- */

#define PAIRS   3u
#define LEAST   100u            /* bytes of a frame: its number is in */
#define NUMBER  88u

static struct {
	struct xn_rss_config cfg;
	uint64_t at[PAIRS][DRV_SIZE];    /* buffers by head */
	uint64_t last[PAIRS][PAIRS];     /* [from][to]: number of the newest */
	uint64_t got;
} many;

/* The frame with this number: everything follows from it. Its length; the queue it came on. */
static uint32_t make_numbered(uint8_t *f, uint64_t number, uint32_t longest, unsigned *from)
{
	uint64_t state = number + 1;
	const uint32_t around = rss_below(&state, 2) ? 1522 * (1 + rss_below(&state, 7)) + rss_below(&state, 9) :
						       rss_below(&state, longest);
	const uint32_t bytes = XN_MAX(XN_MIN(around, longest), LEAST);

	*from = rss_below(&state, PAIRS);
	make_frame(f, bytes, (uint32_t)number);
	rss_plain_frame(f, LEAST, XN_FLOW_UDPV4, 0, rss_below(&state, 40));
	memcpy(f + NUMBER, &number, sizeof(number));
	return bytes;
}

static void offer_to_all(unsigned pending)
{
	for (unsigned q = 0; q < PAIRS; q++)
		for (unsigned i = 0; i < t.slots && drv_pending(&t.r.drv, 2 * q) < pending; i++) {
			struct drv_seg s = { .len = 1536 + 2560 * rnd(2) };

			if (!next_slot(&s.at))
				continue;
			many.at[q][drv_post1(&t.r.drv, 2 * q, s.at, s.len)] = s.at;
			mark(&s, 1, true);
			t.was[s.at] = (uint8_t)(s.len == 4096);   /* the guest's own note */
		}
}

/* A frame of this queue's guest is checked. False: there is none. */
static bool take_numbered(unsigned q, uint32_t longest)
{
	uint32_t used, sum = 0, skip = DRV_HDR, bytes;
	uint16_t head, buffers = 1;
	uint64_t number;
	unsigned from;

	for (unsigned k = 0; k < buffers; k++, skip = 0) {
		struct drv_seg s;

		if (!drv_used(&t.r.drv, 2 * q, &head, &used)) {
			assert_int_equal(k, 0);
			return false;
		}
		s = (struct drv_seg){ many.at[q][head], 0 };
		s.len = t.was[s.at] ? 4096 : 1536;
		assert_true(s.at && t.out[s.at]);
		if (!k)
			memcpy(&buffers, t.r.drv.ram + s.at + 10, 2);
		if (k + 1 < buffers)
			assert_int_equal(used, s.len);
		memcpy(t.got + sum, t.r.drv.ram + s.at + skip, used - skip);
		sum += used - skip;
		mark(&s, 1, false);
	}
	memcpy(&number, t.got + NUMBER, sizeof(number));
	bytes = make_numbered(t.sent[0], number, longest, &from);
	assert_int_equal(sum, bytes);
	assert_memory_equal(t.got, t.sent[0], bytes);
	assert_int_equal(rss_model_queue(&many.cfg, t.got, bytes), q);
	assert_true(number >= many.last[from][q]);
	many.last[from][q] = number + 1;
	many.got++;
	return true;
}

static void cross(uint32_t mtu, unsigned frames, unsigned least)
{
	static const char *const drops[] = { "rx_drop_no_buffer", "rx_drop_missteered", "rx_drop_cross_full" };
	const struct xn_dev_opts dev = { .sz = sizeof(dev), .pairs = PAIRS };
	const struct rig_opts o = { .features = MRG, .mtu = mtu, .dev = &dev, .options = ",queues=3",
				    .bounce_frames = 4096 };
	uint64_t accepted = 0, dropped = 0;

	memset(&many, 0, sizeof(many));
	open_with(&o, 4096);
	for (unsigned q = 0; q < PAIRS; q++)
		fk_host.q[q].may_write = offered_only;
	xn_rss_default(&many.cfg, PAIRS);
	assert_int_equal(t.r.port->ops->set_rss(t.r.port, &many.cfg), 0);
	for (unsigned i = 0; i < frames; i++) {
		unsigned from;
		const uint32_t bytes = make_numbered(t.sent[1], i, mtu + 18, &from);

		accepted += !fk_host_rx(from, t.sent[1], bytes);
		if (rnd(4))
			continue;
		for (unsigned idle = 0; idle < 6; idle++)
			for (unsigned q = 0; q < PAIRS; q++)
				if (xn_queue_run(xn_dev_queue(t.r.dev, q), 1 + rnd(5)))
					idle = 0;
		for (unsigned q = 0; q < PAIRS; q++)
			while (take_numbered(q, mtu + 18))
				;
		offer_to_all(230);
	}
	for (unsigned n = 0; n < 20; n++)
		for (unsigned q = 0; q < PAIRS; q++)
			xn_queue_run(xn_dev_queue(t.r.dev, q), 64);
	for (unsigned q = 0; q < PAIRS; q++)
		while (take_numbered(q, mtu + 18))
			;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(drops); i++)
		dropped += stat(&t.r, drops[i]);
	assert_int_equal(stat(&t.r, "rx_packets"), many.got);
	assert_int_equal(accepted, many.got + dropped);
	assert_true(stat(&t.r, "rss_missteered") > least);
	assert_true(stat(&t.r, "rx_shifted") > least / 2);
	assert_int_equal(stat(&t.r, "rx_out_of_order"), 0);   /* both sockets, read as one */
	if (many.got < frames / 2)
		fail_msg("%lu frames of %u came", (unsigned long)many.got, frames);
	assert_int_equal(xn_dev_stop(t.r.dev), 0);
	rig_close(&t.r);
}

static void frames_that_come_on_other_queues_cross_whole(void **state)
{
	cross(9000, 20000, 4000);
	cross(65535, 4000, 300);
}

/* ---- single cases ---- */

static void offer_pages(unsigned n)
{
	struct drv_seg s = { .len = 4096 };

	for (unsigned i = 0; i < n; i++)
		assert_true(next_slot(&s.at) && offer_marked(&s, 1));
	xn_queue_run(t.r.q, 64);
}

static void a_frame_whose_end_is_missing_waits_for_it(void **state)
{
	struct virtio_net_hdr_v1 hdr;
	unsigned buffers;

	open_with(&(struct rig_opts){ .features = MRG, .mtu = 9000 }, 4096);
	offer_pages(20);
	make_frame(t.sent[0], 9000, 1);
	make_frame(t.sent[1], 100, 2);
	assert_int_equal(fk_host_rx(0, t.sent[1], 100), 0);
	assert_int_equal(fk_host_rx(0, t.sent[0], 9000), 0);
	for (uint32_t hidden = 5; hidden; hidden--) {
		fk()->rx.producer -= hidden;
		xn_queue_run(t.r.q, 64);
		if (hidden == 5)
			assert_int_equal(take(&buffers, &hdr), 100);
		assert_int_equal(take(&buffers, &hdr), 0);
		fk()->rx.producer += hidden;
	}
	xn_queue_run(t.r.q, 64);
	assert_int_equal(take(&buffers, &hdr), 9000);
	assert_int_equal(buffers, 3);
	assert_memory_equal(t.got, t.sent[0], 9000);
	rig_close(&t.r);
}

static void buffers_that_a_frame_leaves_empty_are_lent_again(void **state)
{
	struct virtio_net_hdr_v1 hdr;
	unsigned buffers;

	open_with(&(struct rig_opts){ .features = MRG, .mtu = 9000 }, 4096);
	offer_pages(12);                 /* fewer are not lent */
	for (unsigned i = 0; i < 2; i++) {
		make_frame(t.sent[0], 9000, i);
		assert_int_equal(fk_fill_level(fk()), 12);
		assert_int_equal(fk_host_rx(0, t.sent[0], 9000), 0);   /* 6 pieces of 1524 bytes */
		assert_int_equal(fk_fill_level(fk()), 6);
		xn_queue_run(t.r.q, 64);
		assert_int_equal(take(&buffers, &hdr), 9000);
		assert_int_equal(buffers, 3);
		assert_memory_equal(t.got, t.sent[0], 9000);
		offer_pages(3);
	}
	assert_int_equal(stat(&t.r, "rx_shifted"), 2);
	rig_close(&t.r);
}

/* ---- few buffers, and long ones ---- */

static bool offer_long(bool in_one)
{
	const unsigned before = t.n_offered;

	if (in_one)
		offer_big_in_one();
	else
		offer_long_in_two();
	return t.n_offered != before;
}

/* A guest that never has more than n buffers out gets as many of the longest frames, at a time or
 * one by one. */
static void few_buffers(const struct rig_opts *o, unsigned n, bool in_one, bool one_by_one)
{
	struct virtio_net_hdr_v1 hdr;
	unsigned buffers;

	open_with(o, 68000);
	for (unsigned i = 0; i < 12; i++) {
		/* One after the other: the engine may look at the ring meanwhile. */
		while (drv_pending(&t.r.drv, RX) < n) {
			assert_true(offer_long(in_one));
			xn_queue_run(t.r.q, 64);
		}
		for (unsigned k = 0; k < n; k++) {
			const uint32_t bytes = i % 3 == 1 ? 14 + rnd(LONGEST - 13) : LONGEST;

			make_frame(t.sent[0], bytes, i * n + k);
			assert_int_equal(fk_host_rx(0, t.sent[0], bytes), 0);
			if (one_by_one)
				xn_queue_run(t.r.q, 64);
		}
		xn_queue_run(t.r.q, 64);
		for (unsigned k = 0; k < n; k++)
			assert_true(take(&buffers, &hdr) >= 14);
		assert_memory_equal(t.got, t.sent[0], LONGEST * (i % 3 != 1));
		assert_int_equal(take(&buffers, &hdr), 0);
	}
	check_memory();
	assert_int_equal(stat(&t.r, "rx_packets"), 12 * n);
	assert_int_equal(stat(&t.r, "rx_drop_no_buffer") + stat(&t.r, "kernel_rx_dropped"), 0);
	rig_close(&t.r);
}

static void a_few_long_buffers_take_the_longest_frames(void **state)
{
	static const uint64_t features[] = { 0, MRG, IN_ORDER, MRG | IN_ORDER };
	static const char *const options[] = { "", ",mode=bounce" };
	static const uint32_t rings[] = { 0, 256, 8 };   /* 0: a split one */

	for (unsigned f = 0; f < XN_ARRAY_SIZE(features); f++)
		for (unsigned m = 0; m < XN_ARRAY_SIZE(options); m++)
			for (unsigned r = 0; r < XN_ARRAY_SIZE(rings); r++)
				for (unsigned n = 1; n <= 8; n++) {
					const struct rig_opts o = {
						.features = features[f], .options = options[m],
						.mtu = 65535, .packed = rings[r],
					};

					few_buffers(&o, (n + 1) / 2, n & 1, r & 1);
				}
}

static void with_several_queues_too(void **state)
{
	const struct xn_dev_opts dev = { .sz = sizeof(dev), .pairs = 2 };
	const struct rig_opts o = { .features = MRG, .mtu = 65535, .dev = &dev, .options = ",queues=2",
				    .bounce_frames = 4096 };

	/* (What there is, frames that come on other queues share.) */
	for (unsigned n = 1; n <= 4; n++)
		few_buffers(&o, n, true, true);
}

/* Bounce frames are lent already, as many as long frames in few buffers want; and then there are
 * more buffers. */
static void when_few_buffers_become_more_no_short_frame_is_lost(void **state)
{
	struct virtio_net_hdr_v1 hdr;
	unsigned buffers, got = 0;

	open_with(&(struct rig_opts){ .features = MRG, .mtu = 65535 }, 68000);
	for (unsigned i = 0; i < 90; i++) {
		struct drv_seg s = { .len = i < 4 ? 65600 : 4096 };

		assert_true(next_slot(&s.at));
		assert_true(offer_marked(&s, 1));
		if (i < 4)
			xn_queue_run(t.r.q, 64);
	}
	xn_queue_run(t.r.q, 64);
	for (unsigned i = 0; i < 90; i++) {
		make_frame(t.sent[0], 1000, i);
		assert_int_equal(fk_host_rx(0, t.sent[0], 1000), 0);
	}
	while (xn_queue_run(t.r.q, 64))
		;
	while (take(&buffers, &hdr) == 1000)
		got++;
	assert_int_equal(got, 90);
	assert_true(stat(&t.r, "rx_buf_lent"));
	rig_close(&t.r);
}

/* Pages until so many are out, the engine running after every eight: a driver that offers them
 * while it is polled. */
static void offer_in_eights(unsigned pending)
{
	while (drv_pending(&t.r.drv, RX) < pending) {
		struct drv_seg s = { .len = 4096 };

		for (unsigned i = 0; i < 8 && drv_pending(&t.r.drv, RX) < pending; i++) {
			while (!next_slot(&s.at))
				;
			assert_true(offer_marked(&s, 1));
		}
		xn_queue_run(t.r.q, 64);
	}
}

/* Frames until none has room any more. How many. */
static unsigned run_dry(uint32_t bytes)
{
	struct virtio_net_hdr_v1 hdr;
	unsigned buffers, sent = 0, got = 0;

	make_frame(t.sent[0], bytes, 7);
	for (; !fk_host_rx(0, t.sent[0], bytes); sent++) {
		assert_true(sent < 1000 && "bounce frames only, which never run out");
		xn_queue_run(t.r.q, 64);
	}
	while (xn_queue_run(t.r.q, 64))
		;
	for (uint32_t n; (n = take(&buffers, &hdr)) != 0; got++) {
		assert_int_equal(n, bytes);
		assert_memory_equal(t.got, t.sent[0], bytes);
	}
	return got;
}

/* Those that are held because they are few are the exception, and not for ever: from an empty ring
 * on, and from one that has run dry. */
static void buffers_that_come_a_few_at_a_time_are_lent(void **state)
{
	static const uint32_t mtus[] = { 9000, 65535 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(mtus); i++) {
		const unsigned a_frame = (mtus[i] + 26 + 4095) / 4096;
		unsigned frames = 0;

		open_with(&(struct rig_opts){ .features = MRG, .mtu = mtus[i] }, 4096);
		for (unsigned round = 0; round < 10; round++) {
			offer_in_eights(200);
			frames += run_dry(mtus[i] + 14);
		}
		assert_true(frames >= 10 * (200 / a_frame - 4));
		/* All but a few in each round; and the frames that landed in these. */
		assert_true(stat(&t.r, "rx_bounce_few") <= 10 * 100);
		assert_true(stat(&t.r, "rx_buf_lent") >= 10 * 100);
		if (stat(&t.r, "rx_shifted") < frames / 2)
			fail_msg("MTU %u: of %u frames %u landed in the guest's buffers", mtus[i], frames,
				 (unsigned)stat(&t.r, "rx_shifted"));
		rig_close(&t.r);
	}
}

static void the_longest_frame_and_one_byte_more(void **state)
{
	static const uint32_t mtus[] = { 3823, 9000, 12174, 12175, 65535 };
	struct virtio_net_hdr_v1 hdr;
	unsigned buffers;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(mtus); i++) {
		const uint32_t most = mtus[i] + 18;

		open_with(&(struct rig_opts){ .features = MRG, .mtu = mtus[i] }, 4096);
		offer_pages(60);
		make_frame(t.sent[0], most + 1, i);
		assert_int_equal(fk_host_rx(0, t.sent[0], most + 1), -EMSGSIZE);
		assert_int_equal(fk_host_rx(0, t.sent[0], most), 0);
		xn_queue_run(t.r.q, 64);
		assert_int_equal(take(&buffers, &hdr), most);
		assert_memory_equal(t.got, t.sent[0], most);
		assert_int_equal(buffers, (most + 12 + 4095) / 4096);
		rig_close(&t.r);
	}
}

static void stop_counts_frames_and_not_pieces(void **state)
{
	open_with(&(struct rig_opts){ .features = MRG, .mtu = 9000, .options = ",mode=bounce" }, 4096);
	offer_pages(60);
	make_frame(t.sent[0], 9000, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fk_host_rx(0, t.sent[0], 9000), 0);
	/* A drain takes them all. */
	assert_int_equal(xn_dev_stop(t.r.dev), 0);
	assert_int_equal(stat(&t.r, "rx_packets"), 3);
	rig_close(&t.r);
}

static void zero_copy_mode_and_pieces_never_meet(void **state)
{
	const struct fk_nic nic = { .zero_copy = true };
	const struct rig_opts insists = { .features = MRG, .mtu = 3823, .driver = "ice", .nic = &nic,
					  .options = ",mode=zero-copy" },
			      automatic = { .features = MRG, .mtu = 3823, .driver = "ice", .nic = &nic };
	struct xn_port_mode m = { .sz = sizeof(m) };

	rig_prepare(&t.r, &insists);
	assert_int_equal(rig_open_port(&t.r, &insists), -EMSGSIZE);
	xn_mem_destroy(t.r.mem);
	drv_fini(&t.r.drv);
	open_with(&automatic, 4096);
	assert_false(fk()->zero_copy);
	assert_true(fk()->sg);
	assert_int_equal(xn_port_get_mode(t.r.port, &m), 0);
	assert_non_null(strstr(m.why, "several pieces"));
	rig_close(&t.r);
}

static void where_a_frame_fits_a_chunk_nothing_is_different(void **state)
{
	open_with(&(struct rig_opts){ .features = MRG, .mtu = 3822 }, 4096);
	assert_false(fk()->sg);
	assert_int_equal(fk()->frame_bytes, 3840);
	rig_close(&t.r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buffers_of_linux_are_lent_and_frames_put_together_in_them),
		cmocka_unit_test(with_frames_of_64_kib_too),
		cmocka_unit_test(any_buffers_and_frames_meet),
		cmocka_unit_test(with_frames_of_64_kib_and_any_buffers_too),
		cmocka_unit_test(without_merging_too),
		cmocka_unit_test(in_bounce_mode_too),
		cmocka_unit_test(with_a_small_window_too),
		cmocka_unit_test(with_few_bounce_frames_too),
		cmocka_unit_test(in_order_buffers_come_back_as_they_were_offered),
		cmocka_unit_test(in_order_nothing_waits_for_a_short_buffer),
		cmocka_unit_test(in_order_a_short_buffer_costs_one_frame_without_merging),
		cmocka_unit_test(out_of_order_too),
		cmocka_unit_test(ring_indices_wrap_at_2_32),
		cmocka_unit_test(checksums_that_are_unfinished_are_handed_on_or_finished),
		cmocka_unit_test(frames_that_come_on_other_queues_cross_whole),
		cmocka_unit_test(a_frame_whose_end_is_missing_waits_for_it),
		cmocka_unit_test(buffers_that_a_frame_leaves_empty_are_lent_again),
		cmocka_unit_test(a_few_long_buffers_take_the_longest_frames),
		cmocka_unit_test(with_several_queues_too),
		cmocka_unit_test(when_few_buffers_become_more_no_short_frame_is_lost),
		cmocka_unit_test(buffers_that_come_a_few_at_a_time_are_lent),
		cmocka_unit_test(the_longest_frame_and_one_byte_more),
		cmocka_unit_test(stop_counts_frames_and_not_pieces),
		cmocka_unit_test(zero_copy_mode_and_pieces_never_meet),
		cmocka_unit_test(where_a_frame_fits_a_chunk_nothing_is_different),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
