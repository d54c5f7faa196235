/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of bench/: what measures the engine measures right.
 *
 *   - a built frame is a valid IPv4/UDP frame; stamping changes stamp and tail only
 *   - the checker tells loss, reordering, duplicates and corruption apart, any bit of
 *     stamp and tail included; on random streams it agrees with an obvious oracle
 *   - the guest's driver loses and doubles no buffer, whatever order the device
 *     returns them in, with merged frames, forwarding, empty returns, and across the
 *     wrap of the indices at 65535
 *   - it kicks when the device wants that, and only then; it asks to be called when it
 *     sleeps, and only then
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/virtio_ring.h>

#include "base/atomics.h"
#include "base/types.h"
#include "bench/guest.h"
#include "bench/lab.h"

#define HDR        12u
#define STREAM     0x5eed0000u
#define GPA_BASE   0x40000000ull
#define BATCH      32u

static const uint8_t MAC_A[6] = { 2, 0, 0, 0, 0, 0xa };
static const uint8_t MAC_B[6] = { 2, 0, 0, 0, 0, 0xb };

static uint64_t random_state = 88172645463325252ull;

/* xorshift64 (Marsaglia 2003): the same run each time. */
static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state % n);
}

/* ---- frames ------------------------------------------------------------------ */

static uint32_t sum16(const uint8_t *p, uint32_t bytes)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < bytes; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void frame_is_valid(void **state)
{
	static const uint32_t lengths[] = { XN_FRAME_MIN, 63, 64, 1514, 9014 };
	uint8_t f[9014 + 1];

	for (unsigned i = 0; i < XN_ARRAY_SIZE(lengths); i++) {
		uint32_t bytes = lengths[i];

		f[bytes] = 0x77;
		xn_frame_build(f, bytes, MAC_A, MAC_B, STREAM, 1);
		assert_int_equal(f[bytes], 0x77);
		assert_memory_equal(f, MAC_A, 6);
		assert_memory_equal(f + 6, MAC_B, 6);
		assert_int_equal(f[12] << 8 | f[13], 0x0800);
		assert_int_equal(f[14], 0x45);
		assert_int_equal(f[16] << 8 | f[17], bytes - 14);
		assert_int_equal(f[23], 17);
		assert_int_equal(sum16(f + 14, 20), 0xffff);
		assert_int_equal(f[38] << 8 | f[39], bytes - 34);
		assert_int_equal(f[40] << 8 | f[41], 0);
	}
}

static void stamp_changes_stamp_and_tail_only(void **state)
{
	const uint32_t filler = XN_STAMP_AT + XN_STAMP_BYTES;
	uint8_t built[200], stamped[200];

	xn_frame_build(built, 200, MAC_A, MAC_B, STREAM, 0x123456789abull);
	xn_frame_build(stamped, 200, MAC_A, MAC_B, STREAM + 9, 7);
	xn_frame_stamp(stamped, 200, STREAM, 0x123456789abull);
	assert_memory_equal(built, stamped, 200);
	xn_frame_stamp(stamped, 200, ~STREAM, 5);
	assert_memory_equal(built, stamped, XN_STAMP_AT);
	assert_memory_equal(built + filler, stamped + filler, 200 - filler - XN_TAIL_BYTES);
}

/* ---- checker ------------------------------------------------------------------ */

static uint8_t test_frame[64];

static void give(struct xn_check *c, uint64_t seq)
{
	xn_frame_stamp(test_frame, 64, c->stream, seq);
	xn_check_frame(c, test_frame, 64);
}

static void assert_counts(const struct xn_check *c, uint64_t frames, uint64_t lost,
			  uint64_t reordered, uint64_t duplicate)
{
	assert_int_equal(c->frames, frames);
	assert_int_equal(c->lost, lost);
	assert_int_equal(c->reordered, reordered);
	assert_int_equal(c->duplicate, duplicate);
	assert_int_equal(c->next, frames + lost);
}

static void new_checker(struct xn_check *c)
{
	xn_frame_build(test_frame, 64, MAC_A, MAC_B, STREAM, 0);
	xn_check_reset(c, STREAM, 64);
}

static void order_is_good(void **state)
{
	struct xn_check c;

	new_checker(&c);
	for (uint64_t i = 0; i < 20000; i++)
		give(&c, i);
	assert_counts(&c, 20000, 0, 0, 0);
	assert_int_equal(c.corrupt + c.foreign, 0);
}

static void loss_and_late_arrival(void **state)
{
	struct xn_check c;

	new_checker(&c);
	give(&c, 3);
	assert_counts(&c, 1, 3, 0, 0);
	give(&c, 1);
	assert_counts(&c, 2, 2, 1, 0);
	give(&c, 1);
	assert_counts(&c, 2, 2, 1, 1);
	give(&c, 3);
	assert_counts(&c, 2, 2, 1, 2);
	give(&c, 1000000);
	assert_counts(&c, 3, 999998, 1, 2);
	/* Far back: cannot be known, so it is no good news. */
	give(&c, 0);
	assert_counts(&c, 3, 999998, 1, 3);
	give(&c, 1000000 - 4000);
	assert_counts(&c, 4, 999997, 2, 3);
}

/* Each gap from 0 to past the window, then all of it late, then all of it again. */
static void every_gap(void **state)
{
	static const uint64_t gaps[] = { 0, 1, 62, 63, 64, 65, 127, 128, 1000, 4031 };
	struct xn_check c;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(gaps); i++) {
		for (uint64_t start = 0; start < 70; start++) {
			uint64_t n = gaps[i];

			new_checker(&c);
			for (uint64_t s = 0; s < start; s++)
				give(&c, s);
			give(&c, start + n);
			assert_counts(&c, start + 1, n, 0, 0);
			for (uint64_t s = start; s < start + n; s++)
				give(&c, s);
			assert_counts(&c, start + 1 + n, 0, n, 0);
			for (uint64_t s = start; s <= start + n; s++)
				give(&c, s);
			assert_counts(&c, start + 1 + n, 0, n, n + 1);
		}
	}
}

/* A word that marked losses once means nothing when its bits stand for others. */
static void stale_marks_are_forgotten(void **state)
{
	struct xn_check c;
	uint64_t seq;

	new_checker(&c);
	give(&c, 64);
	for (seq = 65; seq < XN_CHECK_WINDOW + 64; seq++)
		give(&c, seq);
	assert_counts(&c, XN_CHECK_WINDOW, 64, 0, 0);
	give(&c, XN_CHECK_WINDOW + 5);
	assert_counts(&c, XN_CHECK_WINDOW, 64, 0, 1);
	give(&c, XN_CHECK_WINDOW * 3 + 70);
	give(&c, XN_CHECK_WINDOW * 3 + 69);
	give(&c, XN_CHECK_WINDOW * 3 + 69);
	assert_int_equal(c.reordered, 1);
	assert_int_equal(c.duplicate, 2);
}

#define ORACLE_SEQS 40000u

/* Sends 0..n-1 with random losses, repetitions and delays below the window. */
static void random_streams_agree_with_oracle(void **state)
{
	uint8_t *seen = malloc(ORACLE_SEQS);

	for (unsigned round = 0; round < 20; round++) {
		uint64_t high = 0, good = 0, late = 0, twice = 0;
		struct xn_check c;

		memset(seen, 0, ORACLE_SEQS);
		new_checker(&c);
		for (uint64_t i = 0; i < ORACLE_SEQS; i++) {
			uint64_t back = random_below(4) ? 0 : random_below(round % 2 ? 3900 : 90);
			uint64_t seq = i < back ? 0 : i - back;

			if (!random_below(10))
				continue;
			give(&c, seq);
			late += !seen[seq] && seq < high;
			twice += seen[seq];
			good += !seen[seq];
			seen[seq] = 1;
			high = XN_MAX(high, seq + 1);
		}
		assert_counts(&c, good, high - good, late, twice);
	}
	free(seen);
}

static void every_damaged_bit_is_found(void **state)
{
	struct xn_check c;
	unsigned damaged = 0;

	new_checker(&c);
	for (uint32_t at = XN_STAMP_AT; at < 64; at++) {
		if (at >= XN_STAMP_AT + XN_STAMP_BYTES && at < 64 - XN_TAIL_BYTES)
			continue;
		for (unsigned bits = 1; bits < 256; bits++) {
			xn_frame_stamp(test_frame, 64, STREAM, 0);
			test_frame[at] ^= (uint8_t)bits;
			xn_check_frame(&c, test_frame, 64);
			damaged++;
		}
	}
	assert_int_equal(c.corrupt, damaged);
	assert_counts(&c, 0, 0, 0, 0);
	assert_int_equal(c.foreign, 0);
}

static void wrong_length_is_found(void **state)
{
	uint8_t f[128] = { 0 };
	struct xn_check c;

	new_checker(&c);
	xn_frame_stamp(test_frame, 64, STREAM, 0);
	memcpy(f, test_frame, 64);
	xn_check_frame(&c, f, 63);
	xn_check_frame(&c, f, 65);
	xn_check_frame(&c, f, 128);
	assert_int_equal(c.corrupt, 3);
	/* Right in itself, but not the length of this stream. */
	xn_frame_stamp(f, 128, STREAM, 0);
	xn_check_frame(&c, f, 128);
	assert_int_equal(c.corrupt, 4);
	assert_int_equal(c.frames, 0);
}

static void others_are_foreign(void **state)
{
	uint8_t f[64];
	struct xn_check c;

	new_checker(&c);
	xn_frame_stamp(test_frame, 64, STREAM + 1, 0);
	xn_check_frame(&c, test_frame, 64);
	memset(f, 0, sizeof(f));
	xn_check_frame(&c, f, 64);
	memset(f, 0xff, sizeof(f));
	xn_check_frame(&c, f, 64);
	xn_check_frame(&c, f, XN_FRAME_MIN - 1);
	xn_check_frame(&c, f, 0);
	assert_int_equal(c.foreign, 5);
	assert_int_equal(c.corrupt + c.frames, 0);
}

/* ---- a device, as small as can be --------------------------------------------- */

struct dev_ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t mask, next_avail, next_used;
	int kick_fd;
};

struct dev {
	struct xn_guest *g;
	uint8_t *ram;
	uint64_t bytes;
	struct dev_ring rx, tx;
};

static void *dev_ptr(struct dev *d, uint64_t gpa, uint64_t bytes)
{
	assert_true(gpa >= GPA_BASE && gpa - GPA_BASE + bytes <= d->bytes);
	return d->ram + (gpa - GPA_BASE);
}

static void dev_ring_open(struct dev *d, struct dev_ring *r, unsigned index)
{
	struct xn_vring v;

	xn_guest_vring(d->g, index, &v);
	assert_int_equal(v.desc_gpa % 16, 0);
	assert_int_equal(v.avail_gpa % 2, 0);
	assert_int_equal(v.used_gpa % 4, 0);
	r->desc = dev_ptr(d, v.desc_gpa, 16ull * v.size);
	r->avail = dev_ptr(d, v.avail_gpa, 6 + 2ull * v.size);
	r->used = dev_ptr(d, v.used_gpa, 6 + 8ull * v.size);
	r->mask = (uint16_t)(v.size - 1);
	r->next_avail = r->next_used = v.base;
	r->kick_fd = v.kick_fd;
}

static void dev_open(struct dev *d, const struct xn_guest_cfg *cfg)
{
	struct xn_region region;

	memset(d, 0, sizeof(*d));
	assert_int_equal(xn_guest_create(&d->g, cfg), 0);
	xn_guest_region(d->g, &region);
	assert_int_equal(region.gpa, GPA_BASE);
	d->bytes = region.size;
	d->ram = mmap(NULL, d->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd,
		      (off_t)region.fd_offset);
	assert_true(d->ram != MAP_FAILED);
	dev_ring_open(d, &d->rx, 0);
	dev_ring_open(d, &d->tx, 1);
}

static void dev_close(struct dev *d)
{
	munmap(d->ram, d->bytes);
	xn_guest_destroy(d->g);
}

static unsigned dev_avail(struct dev_ring *r)
{
	return (uint16_t)(xn_load_acquire16(&r->avail->idx) - r->next_avail);
}

static uint16_t dev_pop(struct dev_ring *r)
{
	assert_true(dev_avail(r) > 0);
	return r->avail->ring[r->next_avail++ & r->mask];
}

static void dev_push(struct dev_ring *r, uint16_t head, uint32_t bytes)
{
	r->used->ring[r->next_used++ & r->mask] = (struct vring_used_elem){ head, bytes };
	xn_store_release16(&r->used->idx, r->next_used);
}

/* Writes a frame into a receive buffer as the device does, and returns it. */
static void dev_deliver(struct dev *d, uint16_t head, uint64_t seq, uint32_t bytes)
{
	struct vring_desc *desc = &d->rx.desc[head];
	uint8_t *p = dev_ptr(d, desc->addr, desc->len);

	assert_int_equal(desc->flags, VRING_DESC_F_WRITE);
	assert_true(HDR + bytes <= desc->len);
	/* Rubbish where the driver must not look, and must clear before it forwards. */
	memset(p, 0xaa, HDR);
	p[10] = 1;
	p[11] = 0;
	xn_frame_build(p + HDR, bytes, MAC_A, MAC_B, STREAM, seq);
	dev_push(&d->rx, head, HDR + bytes);
}

/* Takes one packet from the transmit ring: gathers it, checks its header. */
static uint32_t dev_take(struct dev *d, uint8_t *out, uint16_t *head, unsigned *pieces)
{
	static const uint8_t zero[HDR];
	uint16_t i = *head = dev_pop(&d->tx);
	uint8_t all[4096];
	uint32_t n = 0;

	for (*pieces = 1;; i = d->tx.desc[i].next, ++*pieces) {
		struct vring_desc *desc = &d->tx.desc[i];

		assert_true(n + desc->len <= sizeof(all));
		assert_int_equal(desc->flags & VRING_DESC_F_WRITE, 0);
		memcpy(all + n, dev_ptr(d, desc->addr, desc->len), desc->len);
		n += desc->len;
		if (!(desc->flags & VRING_DESC_F_NEXT))
			break;
	}
	assert_true(n > HDR);
	assert_memory_equal(all, zero, HDR);
	memcpy(out, all + HDR, n - HDR);
	return n - HDR;
}

static void shuffle(uint16_t *v, unsigned n)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned j = random_below(i);
		uint16_t t = v[i - 1];

		v[i - 1] = v[j];
		v[j] = t;
	}
}

static struct xn_guest_cfg guest_cfg(uint32_t size)
{
	return (struct xn_guest_cfg){ .pairs = 1, .queue_size = size, .gpa_base = GPA_BASE };
}

/* ---- guest ---------------------------------------------------------------------- */

static int by_addr(const void *a, const void *b)
{
	const struct vring_desc *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* As Linux's: odd places, crossing pages, no two overlapping, all posted. */
static void rx_buffers_lie_as_linux_puts_them(void **state)
{
	struct xn_guest_cfg cfg = guest_cfg(256);
	struct vring_desc desc[256];
	unsigned odd = 0, crossing = 0, adjacent = 0;
	struct dev d;

	dev_open(&d, &cfg);
	assert_int_equal(dev_avail(&d.rx), 256);
	assert_int_equal(dev_avail(&d.tx), 0);
	assert_true(d.rx.avail->flags & VRING_AVAIL_F_NO_INTERRUPT);
	memcpy(desc, d.rx.desc, sizeof(desc));
	qsort(desc, 256, sizeof(*desc), by_addr);
	for (unsigned i = 0; i < 256; i++) {
		assert_int_equal(desc[i].len, 1536);
		dev_ptr(&d, desc[i].addr, desc[i].len);
		odd += desc[i].addr % 2;
		crossing += desc[i].addr / 4096 != (desc[i].addr + 1535) / 4096;
		if (i) {
			assert_true(desc[i].addr >= desc[i - 1].addr + 1536);
			adjacent += desc[i].addr == desc[i - 1].addr + 1536;
		}
	}
	assert_true(odd >= 64 && odd <= 192);
	assert_true(crossing > 64);
	assert_true(adjacent > 192);
	dev_close(&d);
}

/* Frames in all kinds of order, more than 65536 of them: every buffer comes back. */
static void rx_any_order(uint32_t size, bool disorder)
{
	struct xn_guest_cfg cfg = guest_cfg(size);
	struct xn_guest_frame f[BATCH];
	struct xn_check c;
	uint64_t sent = 0;
	struct dev d;

	dev_open(&d, &cfg);
	xn_check_reset(&c, STREAM, 100);
	while (sent < 150000) {
		unsigned n = random_below(dev_avail(&d.rx) + 1), got;
		uint16_t heads[256];

		for (unsigned i = 0; i < n; i++)
			heads[i] = dev_pop(&d.rx);
		if (disorder)
			shuffle(heads, n);
		for (unsigned i = 0; i < n; i++)
			dev_deliver(&d, heads[i], sent++, 100);
		while ((got = xn_guest_rx(d.g, 0, f, 1 + random_below(BATCH)))) {
			for (unsigned i = 0; i < got; i++) {
				assert_int_equal(f[i].bytes, 100);
				assert_int_equal(f[i].buffers, 1);
				xn_check_frame(&c, f[i].data, f[i].bytes);
			}
			xn_guest_rx_done(d.g, 0, f, got);
		}
		assert_int_equal(dev_avail(&d.rx), size);
	}
	assert_int_equal(c.frames, sent);
	assert_int_equal(c.lost + c.duplicate + c.corrupt + c.foreign + c.reordered, 0);
	dev_close(&d);
}

static void rx_in_order(void **state)
{
	rx_any_order(2, false);
	rx_any_order(8, false);
	rx_any_order(256, false);
}

static void rx_out_of_order(void **state)
{
	rx_any_order(4, true);
	rx_any_order(256, true);
}

static void rx_merged_and_empty(void **state)
{
	struct xn_guest_cfg cfg = guest_cfg(8);
	struct xn_guest_frame f[8];
	uint16_t head[4];
	struct dev d;
	uint8_t *p;

	dev_open(&d, &cfg);
	for (unsigned i = 0; i < 4; i++)
		head[i] = dev_pop(&d.rx);
	p = dev_ptr(&d, d.rx.desc[head[0]].addr, 1536);
	memset(p, 0, HDR);
	p[10] = 3;
	memset(p + HDR, 1, 1524);
	dev_push(&d.rx, head[0], 1536);
	memset(dev_ptr(&d, d.rx.desc[head[1]].addr, 1536), 2, 1536);
	dev_push(&d.rx, head[1], 1536);
	/* The caller may take a frame in two turns. */
	assert_int_equal(xn_guest_rx(d.g, 0, f, 8), 2);
	memset(dev_ptr(&d, d.rx.desc[head[2]].addr, 1536), 3, 7);
	dev_push(&d.rx, head[2], 7);
	assert_int_equal(xn_guest_rx(d.g, 0, f + 2, 6), 1);
	assert_int_equal(f[0].buffers, 3);
	assert_int_equal(f[1].buffers, 0);
	assert_int_equal(f[2].buffers, 0);
	assert_int_equal(f[0].bytes, 1524);
	assert_int_equal(f[1].bytes, 1536);
	assert_int_equal(f[2].bytes, 7);
	assert_int_equal(f[0].data[0], 1);
	assert_int_equal(f[1].data[0], 2);
	assert_int_equal(f[2].data[6], 3);
	assert_int_equal(xn_guest_forward(d.g, 0, f, 3), 0);
	/* A buffer that comes back empty is no frame, and is posted again at once. */
	dev_push(&d.rx, head[3], 0);
	assert_int_equal(dev_avail(&d.rx), 4);
	assert_int_equal(xn_guest_rx(d.g, 0, f + 3, 5), 0);
	assert_int_equal(dev_avail(&d.rx), 5);
	xn_guest_rx_done(d.g, 0, f, 3);
	assert_int_equal(dev_avail(&d.rx), 8);
	dev_close(&d);
}

static void guest_sends(struct dev *d, uint64_t *seq, unsigned n)
{
	uint32_t bytes[BATCH];
	uint8_t *data[BATCH];

	n = xn_guest_tx_reserve(d->g, 0, data, n);
	for (unsigned i = 0; i < n; i++) {
		bytes[i] = 200;
		xn_frame_build(data[i], 200, MAC_A, MAC_B, STREAM, (*seq)++);
	}
	xn_guest_tx_submit(d->g, 0, bytes, n);
}

static void tx_any_order(uint32_t size, bool split, bool disorder)
{
	struct xn_guest_cfg cfg = guest_cfg(size);
	uint16_t held[256];
	unsigned n_held = 0, slots = split ? size / 2 : size;
	struct xn_check c;
	uint64_t seq = 0;
	struct dev d;

	cfg.split_tx_header = split;
	dev_open(&d, &cfg);
	xn_check_reset(&c, STREAM, 200);
	while (seq < 100000) {
		guest_sends(&d, &seq, random_below(BATCH) + 1);
		while (dev_avail(&d.tx)) {
			unsigned pieces;
			uint8_t f[4096];
			uint32_t bytes = dev_take(&d, f, &held[n_held++], &pieces);

			assert_int_equal(pieces, split ? 2 : 1);
			xn_check_frame(&c, f, bytes);
		}
		assert_int_equal(xn_guest_tx_pending(d.g, 0), n_held);
		assert_true(n_held <= slots);
		if (disorder)
			shuffle(held, n_held);
		for (unsigned n = random_below(n_held + 1); n; n--) {
			dev_push(&d.tx, held[0], 0);
			memmove(held, held + 1, --n_held * sizeof(*held));
		}
		xn_guest_tx_reap(d.g, 0);
		assert_int_equal(xn_guest_tx_pending(d.g, 0), n_held);
	}
	assert_int_equal(c.frames, seq);
	assert_int_equal(c.lost + c.duplicate + c.corrupt + c.foreign + c.reordered, 0);
	dev_close(&d);
}

static void tx_in_order(void **state)
{
	tx_any_order(2, false, false);
	tx_any_order(256, false, false);
	tx_any_order(2, true, false);
	tx_any_order(64, true, false);
}

static void tx_out_of_order(void **state)
{
	tx_any_order(4, false, true);
	tx_any_order(256, false, true);
	tx_any_order(64, true, true);
}

/* The device sends frames in, the guest sends them back from where they lie. */
static void forwards(uint32_t size, bool split)
{
	struct xn_guest_cfg cfg = guest_cfg(size);
	struct xn_guest_frame f[BATCH];
	struct xn_check c;
	uint64_t sent = 0;
	struct dev d;

	cfg.split_tx_header = split;
	dev_open(&d, &cfg);
	xn_check_reset(&c, STREAM, 80);
	while (sent < 100000) {
		unsigned n = random_below(dev_avail(&d.rx) + 1), got, taken;

		while (n--)
			dev_deliver(&d, dev_pop(&d.rx), sent++, 80);
		while (c.next < sent) {
			got = xn_guest_rx(d.g, 0, f, BATCH);
			for (taken = 0; taken < got;) {
				unsigned now = xn_guest_forward(d.g, 0, f + taken, got - taken);

				for (unsigned i = 0; i < now; i++) {
					unsigned pieces;
					uint8_t out[4096];
					uint16_t head;
					uint32_t bytes = dev_take(&d, out, &head, &pieces);

					xn_check_frame(&c, out, bytes);
					dev_push(&d.tx, head, 0);
				}
				taken += now;
			}
		}
		assert_int_equal(c.frames, sent);
		xn_guest_tx_reap(d.g, 0);
		assert_int_equal(xn_guest_tx_pending(d.g, 0), 0);
		assert_int_equal(dev_avail(&d.rx), size);
	}
	assert_int_equal(c.lost + c.duplicate + c.corrupt + c.foreign + c.reordered, 0);
	dev_close(&d);
}

static void forward_returns_every_buffer(void **state)
{
	forwards(4, false);
	forwards(256, false);
	forwards(64, true);
}

static unsigned kicks(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? (unsigned)n : 0;
}

static void kicks_only_when_wanted(void **state)
{
	struct xn_guest_cfg cfg = guest_cfg(16);
	uint64_t seq = 0;
	struct dev d;

	cfg.kicks = true;
	dev_open(&d, &cfg);
	assert_int_equal(d.rx.avail->flags, 0);
	assert_int_equal(kicks(d.rx.kick_fd), 1);
	guest_sends(&d, &seq, 5);
	assert_int_equal(kicks(d.tx.kick_fd), 1);
	d.tx.used->flags = VRING_USED_F_NO_NOTIFY;
	guest_sends(&d, &seq, 5);
	assert_int_equal(kicks(d.tx.kick_fd), 0);
	d.tx.used->flags = 0;
	guest_sends(&d, &seq, 5);
	guest_sends(&d, &seq, 1);
	assert_int_equal(kicks(d.tx.kick_fd), 2);
	/* Full: nothing is submitted, nobody is told. */
	guest_sends(&d, &seq, 1);
	assert_int_equal(seq, 16);
	assert_int_equal(kicks(d.tx.kick_fd), 0);
	dev_close(&d);
}

/* Takes and returns what there is in the transmit ring, publishing one at a time; returns
 * after how many the driver's wish to be called was met. */
static unsigned called_after(struct dev *d)
{
	unsigned met = 0, n = 0;

	while (dev_avail(&d->tx)) {
		const uint16_t before = d->tx.next_used, wish = d->tx.avail->ring[d->tx.mask + 1u];

		dev_push(&d->tx, dev_pop(&d->tx), 0);
		n++;
		if (!met && vring_need_event(wish, d->tx.next_used, before))
			met = n;
	}
	return met;
}

static void event_idx_kicks_when_its_index_is_passed(void **state)
{
	struct xn_guest_cfg cfg = guest_cfg(16);
	uint64_t seq = 0;
	uint16_t *event;
	struct dev d;

	cfg.kicks = cfg.event_idx = true;
	dev_open(&d, &cfg);
	event = (uint16_t *)&d.tx.used->ring[16];
	*event = 0;
	guest_sends(&d, &seq, 1);
	assert_int_equal(kicks(d.tx.kick_fd), 1);
	/* 0 has gone by; the flag means nothing. */
	guest_sends(&d, &seq, 3);
	assert_int_equal(kicks(d.tx.kick_fd), 0);
	*event = 6;
	guest_sends(&d, &seq, 2);
	assert_int_equal(kicks(d.tx.kick_fd), 0);
	guest_sends(&d, &seq, 3);
	assert_int_equal(kicks(d.tx.kick_fd), 1);
	d.tx.used->flags = VRING_USED_F_NO_NOTIFY;
	*event = 9;
	guest_sends(&d, &seq, 1);
	assert_int_equal(kicks(d.tx.kick_fd), 1);
	dev_close(&d);
}

static void an_armed_driver_is_called_and_no_other(void **state)
{
	struct xn_guest_cfg cfg = guest_cfg(16);
	uint64_t seq = 0;
	struct dev d;

	cfg.kicks = cfg.event_idx = true;
	dev_open(&d, &cfg);
	xn_guest_disarm(d.g, 0, true);
	guest_sends(&d, &seq, 12);
	assert_int_equal(called_after(&d), 0);
	/* Something is there: no sleep. */
	assert_false(xn_guest_arm(d.g, 0, true));
	assert_int_equal(xn_guest_tx_reap(d.g, 0), 12);
	xn_guest_disarm(d.g, 0, true);
	/* Three quarters of twelve, and one. */
	guest_sends(&d, &seq, 12);
	assert_true(xn_guest_arm(d.g, 0, true));
	assert_int_equal(called_after(&d), 10);
	assert_int_equal(xn_guest_tx_reap(d.g, 0), 12);
	/* Receive: the first. */
	assert_true(xn_guest_arm(d.g, 0, false));
	assert_int_equal(d.rx.avail->ring[16], 0);
	dev_deliver(&d, dev_pop(&d.rx), 0, 64);
	assert_false(xn_guest_arm(d.g, 0, false));
	dev_close(&d);
}

static void without_event_idx_a_flag_is_the_wish(void **state)
{
	struct xn_guest_cfg cfg = guest_cfg(16);
	struct dev d;

	cfg.kicks = true;
	dev_open(&d, &cfg);
	xn_guest_disarm(d.g, 0, false);
	assert_int_equal(d.rx.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	assert_true(xn_guest_arm(d.g, 0, false));
	assert_int_equal(d.rx.avail->flags, 0);
	dev_deliver(&d, dev_pop(&d.rx), 0, 64);
	assert_false(xn_guest_arm(d.g, 0, false));
	dev_close(&d);
}

/* A call that came before the driver went on polling does not wake it up later. */
static void disarming_forgets_calls(void **state)
{
	struct xn_guest_cfg cfg = guest_cfg(16);
	const uint64_t one = 1;
	struct dev d;
	int fd;

	cfg.kicks = true;
	dev_open(&d, &cfg);
	fd = xn_guest_call_fd(d.g, 0, false);
	assert_true(fd >= 0 && fd != xn_guest_call_fd(d.g, 0, true));
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	xn_guest_disarm(d.g, 0, false);
	assert_int_equal(kicks(fd), 0);
	dev_close(&d);
}

static void start_forgets_everything(void **state)
{
	struct xn_guest_cfg cfg = guest_cfg(16);
	struct xn_guest_frame f[4];
	uint64_t seq = 0;
	struct dev d;

	dev_open(&d, &cfg);
	dev_deliver(&d, dev_pop(&d.rx), 0, 100);
	dev_deliver(&d, dev_pop(&d.rx), 1, 100);
	assert_int_equal(xn_guest_rx(d.g, 0, f, 1), 1);
	guest_sends(&d, &seq, 7);
	xn_guest_start(d.g, 0);
	dev_ring_open(&d, &d.rx, 0);
	dev_ring_open(&d, &d.tx, 1);
	assert_int_equal(dev_avail(&d.rx), 16);
	assert_int_equal(dev_avail(&d.tx), 0);
	assert_int_equal(xn_guest_tx_pending(d.g, 0), 0);
	assert_int_equal(xn_guest_rx(d.g, 0, f, 4), 0);
	dev_close(&d);
}

static void wrong_settings_are_refused(void **state)
{
	struct xn_guest_cfg cfg = guest_cfg(100);
	struct xn_guest *g;

	assert_int_equal(xn_guest_create(&g, &cfg), -EINVAL);
	cfg = guest_cfg(65536);
	assert_int_equal(xn_guest_create(&g, &cfg), -EINVAL);
	cfg = guest_cfg(64);
	cfg.pairs = 0;
	assert_int_equal(xn_guest_create(&g, &cfg), -EINVAL);
	cfg = guest_cfg(64);
	cfg.ram_bytes = 65536;
	assert_int_equal(xn_guest_create(&g, &cfg), -EINVAL);
	cfg = guest_cfg(64);
	cfg.rx_buf_bytes = 12;
	assert_int_equal(xn_guest_create(&g, &cfg), -EINVAL);
	assert_null(g);
	xn_guest_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame_is_valid),
		cmocka_unit_test(stamp_changes_stamp_and_tail_only),
		cmocka_unit_test(order_is_good),
		cmocka_unit_test(loss_and_late_arrival),
		cmocka_unit_test(every_gap),
		cmocka_unit_test(stale_marks_are_forgotten),
		cmocka_unit_test(random_streams_agree_with_oracle),
		cmocka_unit_test(every_damaged_bit_is_found),
		cmocka_unit_test(wrong_length_is_found),
		cmocka_unit_test(others_are_foreign),
		cmocka_unit_test(rx_buffers_lie_as_linux_puts_them),
		cmocka_unit_test(rx_in_order),
		cmocka_unit_test(rx_out_of_order),
		cmocka_unit_test(rx_merged_and_empty),
		cmocka_unit_test(tx_in_order),
		cmocka_unit_test(tx_out_of_order),
		cmocka_unit_test(forward_returns_every_buffer),
		cmocka_unit_test(kicks_only_when_wanted),
		cmocka_unit_test(event_idx_kicks_when_its_index_is_passed),
		cmocka_unit_test(an_armed_driver_is_called_and_no_other),
		cmocka_unit_test(without_event_idx_a_flag_is_the_wish),
		cmocka_unit_test(disarming_forgets_calls),
		cmocka_unit_test(start_forgets_everything),
		cmocka_unit_test(wrong_settings_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
