/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of what a guest sends that is longer than a chunk, or lies in many pieces, from its
 * ring to the wire, over the fake kernel:
 *   - frames up to MTU 65535 leave whole, byte by byte, in their order, with the checksum
 *     and in the segments that were asked for; the guest's memory is as it was (I2)
 *   - never in more descriptors than the kernel takes (it would drop them), nor half of one
 *     while there is no room for the other half (I7), however few frames and slots there are
 *   - what no room can ever be enough for is dropped and counted, and so is what is too long:
 *     and nothing else, whatever is on its way
 *   - little is copied: headers, and what saves a descriptor
 */
#include <linux/if_ether.h>

#include "tests/fake/packet.h"
#include "tests/unit/port_rig.h"
#include "virtio/offload.h"

#define F(n) (1ull << (n))
#define ALL  (F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_TSO6) | \
	      F(VIRTIO_NET_F_HOST_ECN) | F(XN_NET_F_HOST_USO))
#define DATA_AT    0x400000ull   /* 4 MiB of RAM, in which packets lie */
#define DATA_BYTES 0x400000ull
#define SLOT_BYTES 0x40000u      /* for one packet, with gaps */
#define SLOTS      16u
#define TABLE_AT   0x200000ull
#define PIECES     200u

static unsigned seed = 31;
static unsigned rnd(unsigned n) { return (unsigned)rand_r(&seed) % n; }

static struct sent { struct pkt p; struct pkt_spec s; bool plain; uint32_t mtu; bool whole; } sent[SLOTS];
static uint32_t chance = 4711;

/* ---- what has to become of a packet ---- */

static uint32_t segments_of(const struct sent *q)
{
	const uint32_t payload = q->p.bytes - q->p.payload_at;
	const uint32_t longest = q->mtu + 14 + 4 * !!q->s.tags;

	if (q->plain || !q->s.gso_size || payload <= q->s.gso_size)
		return 1;
	if (q->whole && q->p.bytes <= longest)
		return 1;
	return (payload + q->s.gso_size - 1) / q->s.gso_size;
}

/* How many frames leave; 0: none. */
static uint32_t fate(const struct sent *q)
{
	const uint32_t longest = q->mtu + 14 + 4 * !!q->s.tags, n = segments_of(q);
	const bool gso = !q->plain && q->s.gso_size;

	if (gso && q->p.bytes - q->p.ip_at > 65535u + (q->s.version == 6 ? 40 : 0))
		return 0;
	if (n == 1)
		return q->p.bytes <= longest;
	return n <= (q->s.udp ? 128u : 2048u) && q->p.payload_at + q->s.gso_size <= longest ? n : 0;
}

/* Frame i of n, slow and obvious. Returns its length. */
static uint32_t want_frame(const struct sent *q, uint32_t i, uint32_t n, uint8_t *out)
{
	const uint32_t at = q->p.l4_at + (q->s.udp ? 6 : 16);
	uint16_t sum;

	if (n > 1)
		return pkt_segment(q->p.data, q->p.bytes, q->p.ip_at, q->p.l4_at, pkt_dst_at(&q->p, &q->s),
				   q->s.udp, q->s.gso_size, i, out);
	memcpy(out, q->p.data, q->p.bytes);
	if (q->plain)
		return q->p.bytes;
	sum = (uint16_t)~pkt_sum(out + q->p.l4_at, q->p.bytes - q->p.l4_at);
	sum = sum ? sum : 0xffff;
	out[at] = (uint8_t)(sum >> 8);
	out[at + 1] = (uint8_t)sum;
	return q->p.bytes;
}

/* Any packet: one frame, long or short, with and without checksum, or one to be cut. */
static void build(struct sent *q, uint32_t mtu, bool whole)
{
	const unsigned kind = rnd(3);

	pkt_spec_random(&q->s, &chance, rnd(4) ? XN_MIN(mtu, 65000u) : 65300);
	q->mtu = mtu;
	q->whole = whole;
	q->plain = kind == 0;
	if (kind < 2)
		q->s.gso_size = 0;
	else if (rnd(2))
		q->s.gso_size = (uint16_t)(8 + rnd(XN_MIN(mtu, 20000u)));   /* shorter are refused */
	pkt_build(&q->p, &q->s);
	if (kind < 2)
		q->p.hdr.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	if (q->plain)
		memset(&q->p.hdr, 0, sizeof(q->p.hdr));
}

/* ---- how it gets there ---- */

/* How a packet lies in its slot of RAM: pieces of any of some kinds. */
static struct { struct drv_seg segs[PIECES]; unsigned n; } laid;

static void layout_of(const struct sent *q, unsigned slot)
{
	const uint64_t from = DATA_AT + (uint64_t)slot * SLOT_BYTES;
	const uint32_t total = DRV_HDR + q->p.bytes;
	const uint32_t kinds[] = { total, 100, 3000, 4096, 5000, 32768 };
	const uint32_t piece = kinds[rnd(6)], most = 1 + rnd(PIECES);
	uint64_t at = from + rnd(5000);
	unsigned n = 0;

	for (uint32_t done = 0; done < total; n++) {
		const uint32_t left = total - done;
		uint32_t len = n ? (piece == 4096 ? 4096 : 1 + rnd(piece)) : 1 + rnd(rnd(2) ? 100 : piece);

		len = n + 1 == most ? left : XN_MIN(len, left);
		laid.segs[n] = (struct drv_seg){ at, len };
		done += len;
		at += len + rnd(3) * 100;
		/* (Behind many short ones there may be little room.) */
		assert_true(at < from + SLOT_BYTES);
	}
	laid.n = n;
}

static uint16_t post(struct rig *r, const struct sent *q, unsigned slot)
{
	static uint8_t flat[DRV_HDR + PKT_MAX];
	uint32_t done = 0;

	layout_of(q, slot);
	memset(flat, 0, DRV_HDR);
	memcpy(flat, &q->p.hdr, sizeof(q->p.hdr));
	memcpy(flat + DRV_HDR, q->p.data, q->p.bytes);
	for (unsigned i = 0; i < laid.n; done += laid.segs[i++].len)
		memcpy(r->drv.ram + laid.segs[i].at, flat + done, laid.segs[i].len);
	return laid.n > 8 ? drv_post_indirect(&r->drv, TX, TABLE_AT + slot * 0x4000, laid.segs, laid.n) :
			    drv_post(&r->drv, TX, laid.segs, laid.n);
}

static uint64_t hash_data(const struct rig *r)
{
	const uint8_t *p = r->drv.ram + DATA_AT;
	uint64_t h = 14695981039346656037ull, w;

	for (uint64_t i = 0; i < DATA_BYTES; i += 8) {
		memcpy(&w, p + i, 8);
		h = (h ^ w) * 1099511628211ull;
	}
	return h;
}

/* All that left is what these n packets have to become, in order. */
static void assert_on_the_wire_of(const struct sent *q, unsigned n, unsigned pieces)
{
	static uint8_t want[PKT_MAX];
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		const uint32_t frames = fate(&q[i]);

		for (uint32_t k = 0; k < frames; k++, at++) {
			const struct fk_packet *p = &fk()->packets[at];
			const uint32_t bytes = want_frame(&q[i], k, frames, want);

			assert_true(at < fk()->n_packets);
			assert_int_equal(p->bytes, bytes);
			assert_memory_equal(p->data, want, bytes);
			assert_in_range(p->pieces, (bytes + 4095) / 4096, pieces);
		}
	}
	assert_int_equal(at, fk()->n_packets);
	fk_forget(fk());
}

static void assert_on_the_wire(unsigned n, unsigned pieces)
{
	assert_on_the_wire_of(sent, n, pieces);
}

struct setting {
	const char *options, *driver;
	uint32_t mtu, frames;
	uint64_t window;
	bool whole, tight;      /* tight: the kernel takes few descriptors at a time */
};

static void send_by_chance(const struct setting *s, unsigned rounds)
{
	const struct rig_opts o = {
		.features = ALL | IND, .options = s->options, .driver = s->driver, .mtu = s->mtu,
		.bounce_frames = s->frames ? s->frames : 4096, .window_bytes = s->window,
	};
	uint64_t packets = 0, dropped = 0, frames = 0, bytes = 0, ways;
	unsigned back = 0, posted = 0;
	struct rig r;

	rig_open(&r, &o);
	for (unsigned i = 0; i < rounds; i++) {
		const unsigned n = 1 + rnd(s->tight ? SLOTS : 4);
		uint64_t hash;

		for (unsigned k = 0; k < n; k++) {
			uint32_t f;

			build(&sent[k], s->mtu, s->whole);
			f = fate(&sent[k]);
			packets += f > 0;
			bytes += f ? sent[k].p.bytes : 0;
			dropped += !f;
			frames += f;
			post(&r, &sent[k], k);
		}
		posted += n;
		hash = i % 8 ? 0 : hash_data(&r);
		for (unsigned turn = 0; back < posted; turn++) {
			uint16_t head;
			uint32_t used;

			assert_true(turn < 5000);
			fk()->budget = s->tight ? 1 + rnd(40) : 0;
			fk()->hold = s->tight && s->driver && rnd(2);
			xn_queue_run(r.q, 64);
			if (s->driver)
				fk_complete(fk(), s->tight ? rnd(20) : 1000);
			while (drv_used(&r.drv, TX, &head, &used)) {
				assert_int_equal(used, 0);
				back++;
			}
		}
		if (i % 8 == 0)
			assert_true(hash == hash_data(&r));                /* I2 */
		assert_on_the_wire(n, s->driver ? XN_TX_PIECES_MAX - 1 : XN_TX_PIECES_MAX);
	}
	ways = stat(&r, "tx_lent") + stat(&r, "tx_chained") + stat(&r, "tx_mixed") +
	       stat(&r, "tx_gathered") + stat(&r, "tx_bounced");
	assert_int_equal(ways, packets);
	assert_int_equal(stat(&r, "tx_packets"), packets);
	assert_int_equal(stat(&r, "tx_bytes"), bytes);
	assert_int_equal(stat(&r, "tx_drop_too_long") + stat(&r, "tx_drop_bad_header"), dropped);
	assert_int_equal(stat(&r, "tx_packets") - stat(&r, "tx_segmented") + stat(&r, "tx_segments"), frames);
	assert_int_equal(stat(&r, "kernel_tx_invalid"), 0);
	assert_true(packets > rounds / 2);
	rig_close(&r);
}

static void long_frames_leave_as_a_slow_program_makes_them(void **state)
{
	static const uint32_t mtus[] = { 1500, 3822, 3823, 4078, 4079, 9000, 65535 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(mtus); i++)
		send_by_chance(&(struct setting){ .mtu = mtus[i] }, 1500);
}

static void the_same_however_descriptors_are_priced(void **state)
{
	send_by_chance(&(struct setting){ .mtu = 9000, .options = ",tx=chain" }, 1000);
	send_by_chance(&(struct setting){ .mtu = 9000, .options = ",tx=gather" }, 1000);
	send_by_chance(&(struct setting){ .mtu = 65535, .options = ",tx=chain" }, 1000);
	send_by_chance(&(struct setting){ .mtu = 65535, .options = ",tx=gather" }, 1000);
}

static void the_same_in_bounce_mode_and_outside_of_the_window(void **state)
{
	send_by_chance(&(struct setting){ .mtu = 9000, .options = ",mode=bounce" }, 1000);
	send_by_chance(&(struct setting){ .mtu = 65535, .options = ",mode=bounce" }, 500);
	send_by_chance(&(struct setting){ .mtu = 9000, .window = 6u << 20 }, 1000);
	send_by_chance(&(struct setting){ .mtu = 65535, .window = 6u << 20 }, 500);
}

/* One that sends the UMEM's pages: 17 of them are a packet, at most. */
static void the_same_with_a_driver_that_keeps_pages(void **state)
{
	send_by_chance(&(struct setting){ .mtu = 9000, .driver = "virtio_net" }, 1000);
	send_by_chance(&(struct setting){ .mtu = 65535, .driver = "virtio_net" }, 1000);
	send_by_chance(&(struct setting){ .mtu = 65535, .driver = "virtio_net", .options = ",tx=chain" }, 500);
	send_by_chance(&(struct setting){ .mtu = 65535, .driver = "virtio_net", .tight = true }, 60);
}

static void a_packet_waits_whole_however_little_room_there_is(void **state)
{
	static const uint32_t frames[] = { 300, 600, 4096 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(frames); i++) {
		send_by_chance(&(struct setting){ .mtu = 9000, .frames = frames[i], .tight = true }, 60);
		send_by_chance(&(struct setting){ .mtu = 65535, .frames = frames[i], .tight = true }, 60);
		send_by_chance(&(struct setting){ .mtu = 65535, .frames = frames[i], .tight = true,
						  .options = ",tx=chain" }, 60);
	}
}

static void packets_to_be_cut_leave_whole_where_that_was_asked_for(void **state)
{
	send_by_chance(&(struct setting){ .mtu = 65535, .options = ",gso=whole", .whole = true }, 1500);
	send_by_chance(&(struct setting){ .mtu = 9000, .options = ",gso=whole", .whole = true }, 1000);
}

/* ---- few frames: what can be sent at all is sent ---- */

#define FEW_FRAMES 10u

/* Into how many descriptors the packet in slot k comes at most, if nothing of it but its headers
 * is copied. */
static unsigned descs_as_it_lies(const struct sent *q, unsigned sown, unsigned slot)
{
	const unsigned was = seed;
	unsigned n = 2;   /* headers, and the rest of the piece that they end in */

	seed = sown;
	layout_of(q, slot);
	for (unsigned i = 0; i < laid.n; i++)
		n += (laid.segs[i].len + 4095) / 4096;
	seed = was;
	return n;
}

/* All that was posted comes back; how many packets have left. */
static uint64_t send_all(struct rig *r, unsigned n, bool tight)
{
	const uint64_t before = stat(r, "tx_packets");
	uint16_t head;
	uint32_t used;

	for (unsigned turn = 0, back = 0; back < n; turn++) {
		assert_true(turn < 5000);
		fk()->budget = tight ? 1 + rnd(40) : 0;
		xn_queue_run(r->q, 64);
		while (drv_used(&r->drv, TX, &head, &used))
			back++;
	}
	return stat(r, "tx_packets") - before;
}

static void with_few_frames_a_packet_is_dropped_only_if_it_never_could_leave(void **state)
{
	const struct rig_opts o = { .features = ALL | IND | MRG, .mtu = 65535, .bounce_frames = 2 * FEW_FRAMES };
	unsigned long_ones = 0, dropped = 0;
	struct rig r;

	rig_open(&r, &o);
	for (unsigned round = 0; round < 80; round++) {
		unsigned sown[SLOTS], k = 0;

		while (k < SLOTS) {
			const bool one = (build(&sent[k], 65535, false), fate(&sent[k]) == 1);
			bool leaves;

			if (!fate(&sent[k]))
				continue;
			sown[k] = seed;
			post(&r, &sent[k], k);
			leaves = send_all(&r, 1, false);   /* alone */
			if (leaves)
				assert_on_the_wire_of(&sent[k], 1, XN_TX_PIECES_MAX);
			if (one && (sent[k].p.bytes <= 4096 * FEW_FRAMES ||
				    descs_as_it_lies(&sent[k], sown[k], k) <= XN_TX_PIECES_MAX))
				assert_true(leaves);
			long_ones += one && leaves && sent[k].p.bytes > 4096 * FEW_FRAMES;
			dropped += !leaves;
			k += leaves;
		}
		/* The same together. */
		for (k = 0; k < SLOTS; k++) {
			seed = sown[k];
			post(&r, &sent[k], k);
		}
		assert_int_equal(send_all(&r, SLOTS, true), SLOTS);
		assert_on_the_wire(SLOTS, XN_TX_PIECES_MAX);
	}
	assert_int_equal(stat(&r, "tx_drop_frames") + stat(&r, "tx_drop_segments"), dropped);
	assert_true(long_ones > 20 && dropped > 20);
	rig_close(&r);
}

/* ---- checksums of whatever the guest says, and lies ---- */

/* Random bytes, whose checksum the header asks for from `start` on, to `at`; in any pieces. */
static uint16_t post_range(struct rig *r, uint32_t bytes, uint32_t start, uint32_t at)
{
	sent[0] = (struct sent){ .mtu = 65535 };
	sent[0].p.bytes = bytes;
	for (uint32_t i = 0; i < bytes; i++)
		sent[0].p.data[i] = (uint8_t)pkt_random(&chance);
	sent[0].p.hdr = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = (uint16_t)start,
		.csum_offset = (uint16_t)(at - start),
	};
	return post(r, &sent[0], 0);
}

static bool returned(struct rig *r, uint16_t head)
{
	uint16_t back;
	uint32_t used;

	for (unsigned i = 0; i < 4; i++)
		xn_queue_run(r->q, 64);
	return drv_used(&r->drv, TX, &back, &used) && back == head && !used;
}

static void any_range_of_a_long_packet_is_summed(void **state)
{
	static const char *const options[] = { "", ",tx=chain", ",mode=bounce" };
	static uint8_t want[PKT_MAX];

	for (unsigned k = 0; k < XN_ARRAY_SIZE(options); k++) {
		const struct rig_opts o = { .features = ALL | IND, .bounce_frames = 4096, .mtu = 65535,
					    .options = options[k] };
		struct rig r;

		rig_open(&r, &o);
		for (unsigned i = 0; i < 1500; i++) {
			const uint32_t bytes = 14 + rnd(i % 3 ? 12000 : 65549 - 13);
			const uint32_t start = rnd(XN_MIN(bytes - 1, i % 4 ? 100u : 65535u));
			const uint32_t at = start + rnd(XN_MIN(bytes - 1 - start, i % 4 ? 100u : 65535u));
			uint16_t sum;

			assert_true(returned(&r, post_range(&r, bytes, start, at)));
			memcpy(want, sent[0].p.data, bytes);
			sum = (uint16_t)~pkt_sum(want + start, bytes - start);
			sum = sum ? sum : 0xffff;
			want[at] = (uint8_t)(sum >> 8);
			want[at + 1] = (uint8_t)sum;
			assert_int_equal(fk()->n_packets, 1);
			assert_int_equal(fk()->packets[0].bytes, bytes);
			assert_memory_equal(fk()->packets[0].data, want, bytes);
			fk_forget(fk());
		}
		rig_close(&r);
	}
}

static void lies_about_long_packets_drop_them_and_no_other(void **state)
{
	const struct rig_opts o = { .features = ALL | IND, .bounce_frames = 1024, .mtu = 65535 };
	const struct { uint32_t bytes, start, at; } lies[] = {
		{ 65549, 65535, 65548 }, { 65549, 60000, 65550 }, { 9000, 9000, 9000 }, { 9000, 8999, 8999 },
		{ 9000, 0, 65535 }, { 4097, 4096, 4096 },
	};
	struct rig r;

	rig_open(&r, &o);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(lies); i++) {
		assert_true(returned(&r, post_range(&r, lies[i].bytes, lies[i].start, lies[i].at)));
		assert_int_equal(fk()->n_packets, 0);
		assert_int_equal(stat(&r, "tx_bad_hdr_csum_range"), i + 1);
		assert_true(returned(&r, post_range(&r, lies[i].bytes, 0, lies[i].bytes - 2)));
		assert_int_equal(fk()->n_packets, 1);
		fk_forget(fk());
	}
	rig_close(&r);
}

/* ---- how much is copied, and in how many descriptors ---- */

/* One packet in these pieces (the virtio header in one of its own), and what it took. */
static void send_pieces(struct rig *r, const uint32_t *lens, unsigned n, unsigned descs, uint32_t copied)
{
	const uint64_t descs_before = stat(r, "tx_descs"), copied_before = stat(r, "tx_copied_bytes");
	struct drv_seg segs[40] = { { DATA_AT, DRV_HDR } };
	const uint64_t packets = fk()->tx_packets;
	uint64_t at = DATA_AT + 4096;
	uint32_t used, sum = 0;
	uint16_t head;

	memcpy(r->drv.ram + DATA_AT, &sent[0].p.hdr, sizeof(sent[0].p.hdr));
	memset(r->drv.ram + DATA_AT + sizeof(sent[0].p.hdr), 0, 2);
	for (unsigned i = 0; i < n; i++, at += 70000) {
		segs[i + 1] = (struct drv_seg){ at, lens[i] };
		memcpy(r->drv.ram + at, sent[0].p.data + sum, lens[i]);
		sum += lens[i];
	}
	assert_int_equal(sum, sent[0].p.bytes);
	drv_post(&r->drv, TX, segs, n + 1);
	xn_queue_run(r->q, 64);
	xn_queue_run(r->q, 64);
	assert_true(drv_used(&r->drv, TX, &head, &used));
	assert_int_equal(fk()->tx_packets, packets + fate(&sent[0]));
	assert_on_the_wire(1, XN_TX_PIECES_MAX);
	assert_int_equal(stat(r, "tx_descs") - descs_before, descs);
	assert_int_equal(stat(r, "tx_copied_bytes") - copied_before, copied);
}

static void make(uint32_t bytes, uint16_t gso_size, bool plain)
{
	sent[0] = (struct sent){ .mtu = 65535, .plain = plain };
	sent[0].s = (struct pkt_spec){ .version = 4, .payload = bytes - 54, .gso_size = gso_size, .seed = 9 };
	pkt_build(&sent[0].p, &sent[0].s);
	assert_int_equal(sent[0].p.bytes, bytes);
	if (!gso_size)
		sent[0].p.hdr.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	if (plain)
		memset(&sent[0].p.hdr, 0, sizeof(sent[0].p.hdr));
}

static void little_is_copied(void **state)
{
	const struct rig_opts o = { .features = ALL | IND, .bounce_frames = 4096, .mtu = 65535 };
	uint32_t lens[17];
	struct rig r;

	rig_open(&r, &o);
	make(9000, 0, true);
	send_pieces(&r, (uint32_t[]){ 9000 }, 1, 3, 0);
	assert_int_equal(stat(&r, "tx_chained"), 1);
	send_pieces(&r, (uint32_t[]){ 54, 8946 }, 2, 3, 808);
	assert_int_equal(stat(&r, "tx_mixed"), 1);
	make(9000, 0, false);                               /* with a checksum */
	send_pieces(&r, (uint32_t[]){ 9000 }, 1, 3, 808);
	send_pieces(&r, (uint32_t[]){ 54, 8946 }, 2, 3, 808);
	assert_int_equal(stat(&r, "tx_mixed"), 3);
	/* 8 segments, the last of 1364 bytes. */
	make(54 + 64000, 8948, false);
	send_pieces(&r, (uint32_t[]){ 54, 64000 }, 2, 7 * 3 + 1, 7 * (54 + 756) + 54 + 1364);
	assert_int_equal(stat(&r, "tx_mixed"), 4);
	rig_close(&r);

	rig_open(&r, &o);
	make(64600, 0, true);
	for (unsigned i = 0; i < 17; i++)
		lens[i] = 3800;
	send_pieces(&r, lens, 17, 17, 0);
	assert_int_equal(stat(&r, "tx_chained"), 1);
	rig_close(&r);
}

/* ---- too long, and too much ---- */

static void post_long(struct rig *r, uint32_t bytes, bool tagged)
{
	uint8_t *p = r->drv.ram + DATA_AT;
	uint16_t head;
	uint32_t used;

	memset(p, 0, DRV_HDR + bytes);
	if (tagged) {
		p[DRV_HDR + 12] = ETH_P_8021Q >> 8;
		p[DRV_HDR + 13] = ETH_P_8021Q & 0xff;
	}
	drv_post1(&r->drv, TX, DATA_AT, DRV_HDR + bytes);
	xn_queue_run(r->q, 64);
	xn_queue_run(r->q, 64);
	assert_true(drv_used(&r->drv, TX, &head, &used));
}

static void frames_longer_than_the_mtu_are_dropped_and_counted(void **state)
{
	static const uint32_t mtus[] = { 1500, 9000, 65535 };

	for (unsigned i = 0; i < 3; i++) {
		const struct rig_opts o = { .mtu = mtus[i], .bounce_frames = 1024 };
		struct rig r;

		rig_open(&r, &o);
		post_long(&r, mtus[i] + 14, false);
		post_long(&r, mtus[i] + 18, true);
		assert_int_equal(fk()->n_packets, 2);
		post_long(&r, mtus[i] + 15, false);
		post_long(&r, mtus[i] + 18, false);
		post_long(&r, mtus[i] + 19, true);
		post_long(&r, 200000, true);
		assert_int_equal(fk()->n_packets, 2);
		assert_int_equal(stat(&r, "tx_drop_too_long"), 4);
		rig_close(&r);
	}
}

/* 20 frames are 10 to send from: never enough for such a packet outside of the window. */
static void a_packet_that_no_frames_are_enough_for_is_dropped_and_counted(void **state)
{
	const struct rig_opts o = { .features = MRG, .mtu = 65535, .bounce_frames = 20,
				    .window_bytes = 1u << 20 };
	struct rig r;

	rig_open(&r, &o);
	for (unsigned i = 0; i < 3; i++)
		post_long(&r, 60000, false);
	assert_int_equal(fk()->n_packets, 0);
	assert_int_equal(stat(&r, "tx_drop_frames"), 3);
	post_long(&r, 20000, false);
	assert_int_equal(fk()->n_packets, 1);
	assert_int_equal(stat(&r, "tx_bounced"), 1);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_frames_leave_as_a_slow_program_makes_them),
		cmocka_unit_test(the_same_however_descriptors_are_priced),
		cmocka_unit_test(the_same_in_bounce_mode_and_outside_of_the_window),
		cmocka_unit_test(the_same_with_a_driver_that_keeps_pages),
		cmocka_unit_test(a_packet_waits_whole_however_little_room_there_is),
		cmocka_unit_test(packets_to_be_cut_leave_whole_where_that_was_asked_for),
		cmocka_unit_test(any_range_of_a_long_packet_is_summed),
		cmocka_unit_test(lies_about_long_packets_drop_them_and_no_other),
		cmocka_unit_test(little_is_copied),
		cmocka_unit_test(frames_longer_than_the_mtu_are_dropped_and_counted),
		cmocka_unit_test(with_few_frames_a_packet_is_dropped_only_if_it_never_could_leave),
		cmocka_unit_test(a_packet_that_no_frames_are_enough_for_is_dropped_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
