/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of checksums and segments, from a guest's ring to the wire and back, on the AF_XDP
 * port over the fake kernel and on loopback:
 *   - what leaves is what a slow program makes of the guest's packet, in the order in which
 *     it was sent, whatever pieces it lies in; the guest's memory is as it was
 *   - every lie in a header drops that packet, under its name, and no other
 *   - a packet leaves whole or waits; its head comes back once, behind its last segment
 *   - a guest that changes a packet meanwhile sends what was summed
 *   - frames with unfinished checksums arrive as the guest can take them
 */
#include <pthread.h>

#include "base/atomics.h"
#include "tests/fake/packet.h"
#include "tests/unit/port_rig.h"
#include "virtio/offload.h"

#define F(n) (1ull << (n))
#define ALL  (F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_TSO6) | \
	      F(VIRTIO_NET_F_HOST_ECN) | F(XN_NET_F_HOST_USO))
#define TX_BYTES  0x40000u   /* of RAM, that a packet may lie in */
#define TABLE_AT  0x480000u
#define PIECES    20u

static unsigned seed = 29;
static unsigned rnd(unsigned n) { return (unsigned)rand_r(&seed) % n; }

static struct pkt pkt;
static struct pkt_spec spec;
static uint32_t chance = 8191;

static bool follows_all(uint64_t page) { return true; }

static const struct fk_nic nic = { .zero_copy = true, .front = 12, .reach = 1536,
				   .follows = follows_all };

/* ---- what has to become of a packet ---- */

/* How many frames leave; 0: none, and *why says under which name it is dropped. */
static uint32_t fate(const char **why)
{
	const uint32_t payload = pkt.bytes - pkt.payload_at, limit = 1514u + 4 * !!spec.tags;
	const uint32_t segs = spec.gso_size ? payload / spec.gso_size + !!(payload % spec.gso_size) : 0;

	const bool for_ip = pkt.bytes - pkt.ip_at <= 65535u + (spec.version == 6 ? 40 : 0);

	*why = NULL;
	if (segs <= 1 && (for_ip || !spec.gso_size)) {
		*why = pkt.bytes > limit ? "tx_drop_too_long" : NULL;
		return !*why;
	}
	if (for_ip && segs > (spec.udp ? 128u : 2048u))
		*why = "tx_bad_hdr_gso_segments";
	else if (!for_ip || pkt.payload_at + spec.gso_size > limit)
		*why = "tx_bad_hdr_gso_too_long";
	return *why ? 0 : segs;
}

/* Frame i of n. Returns its length. */
static uint32_t want_frame(uint32_t i, uint32_t n, uint8_t *out)
{
	const uint32_t at = pkt.l4_at + (spec.udp ? 6 : 16);
	uint16_t sum;

	if (n > 1)
		return pkt_segment(pkt.data, pkt.bytes, pkt.ip_at, pkt.l4_at, pkt_dst_at(&pkt, &spec),
				   spec.udp, spec.gso_size, i, out);
	memcpy(out, pkt.data, pkt.bytes);
	sum = (uint16_t)~pkt_sum(out + pkt.l4_at, pkt.bytes - pkt.l4_at);
	sum = sum ? sum : 0xffff;
	out[at] = (uint8_t)(sum >> 8);
	out[at + 1] = (uint8_t)sum;
	return pkt.bytes;
}

static void build_by_chance(uint32_t max_payload)
{
	pkt_spec_random(&spec, &chance, max_payload);
	if (rnd(4) == 0) {          /* a checksum, and nothing else */
		spec.gso_size = 0;
		spec.payload %= 1400;
	}
	pkt_build(&pkt, &spec);
	if (!spec.gso_size)
		pkt.hdr.gso_type = VIRTIO_NET_HDR_GSO_NONE;
}

/* ---- how it gets there ---- */

/* Lays header and packet into RAM, in pieces by chance, and makes it available. */
static uint16_t post_packet(struct rig *r, uint64_t from)
{
	uint8_t *flat = malloc(DRV_HDR + pkt.bytes);
	const unsigned most = 1 + rnd(PIECES);
	uint64_t at = from + rnd(64);
	struct drv_seg segs[PIECES];
	uint32_t done = 0, total = DRV_HDR + pkt.bytes;
	unsigned n = 0;
	uint16_t head;

	assert_non_null(flat);
	memcpy(flat, &pkt.hdr, sizeof(pkt.hdr));
	flat[10] = (uint8_t)rnd(256);        /* num_buffers: ignored */
	flat[11] = (uint8_t)rnd(256);
	memcpy(flat + DRV_HDR, pkt.data, pkt.bytes);
	while (done < total) {
		const uint32_t left = total - done;
		uint32_t len = n + 1 == most ? left : 1 + rnd(n ? left : XN_MIN(left, 80u));

		segs[n++] = (struct drv_seg){ at, len };
		memcpy(r->drv.ram + at, flat + done, len);
		done += len;
		at += len + rnd(100);
	}
	assert_true(at < from + TX_BYTES);
	free(flat);
	head = n > 1 && rnd(2) ? drv_post_indirect(&r->drv, TX, TABLE_AT, segs, n) :
				 drv_post(&r->drv, TX, segs, n);
	return head;
}

static uint32_t hash_tx(const struct rig *r)
{
	const uint8_t *p = r->drv.ram + 0x500000;
	uint32_t h = 2166136261u;

	for (uint32_t i = 0; i < 2 * TX_BYTES; i += 4) {
		uint32_t w;

		memcpy(&w, p + i, 4);
		h = (h ^ w) * 16777619u;
	}
	return h;
}

/* All that is to do, and then one packet's head is back. */
static void run_until_back(struct rig *r, uint16_t head)
{
	uint16_t back;
	uint32_t used;

	for (unsigned i = 0; i < 200; i++) {
		xn_queue_run(r->q, 64);
		if (drv_used(&r->drv, TX, &back, &used)) {
			assert_int_equal(back, head);
			assert_int_equal(used, 0);
			assert_false(drv_used(&r->drv, TX, &back, &used));
			return;
		}
	}
	fail_msg("the packet's head did not come back");
}

static void assert_on_the_wire(uint32_t n)
{
	static uint8_t want[PKT_MAX];

	assert_int_equal(fk()->n_packets, n);
	for (uint32_t i = 0; i < n; i++) {
		const struct fk_packet *p = &fk()->packets[i];

		assert_int_equal(p->bytes, want_frame(i, n, want));
		assert_memory_equal(p->data, want, p->bytes);
	}
	fk_forget(fk());
}

static void send_by_chance(struct rig *r, unsigned rounds)
{
	uint64_t sent = 0, frames = 0, cut = 0;

	for (unsigned i = 0; i < rounds; i++) {
		const char *why;
		uint64_t before;
		uint32_t n, hash = 0;
		uint16_t head;

		build_by_chance(i % 20 ? 4000 : 65000);
		n = fate(&why);
		before = why ? stat(r, why) : 0;
		head = post_packet(r, 0x500000);
		if (i % 16 == 0)
			hash = hash_tx(r);
		run_until_back(r, head);
		if (i % 16 == 0)
			assert_int_equal(hash_tx(r), hash);     /* I2 */
		assert_on_the_wire(n);
		if (why)
			assert_int_equal(stat(r, why), before + 1);
		sent += n != 0;
		cut += n > 1;
		frames += n > 1 ? n : 0;
	}
	assert_true(sent > rounds / 2 && cut > rounds / 4);
	assert_int_equal(stat(r, "tx_packets"), sent);
	assert_int_equal(stat(r, "tx_csum"), sent);
	assert_int_equal(stat(r, "tx_segmented"), cut);
	assert_int_equal(stat(r, "tx_segments"), frames);
	assert_int_equal(stat(r, "tx_packets") + stat(r, "tx_drop_bad_header") +
			 stat(r, "tx_drop_too_long"), rounds);
}

static void every_legal_packet_leaves_as_a_slow_program_makes_it(void **state)
{
	const struct rig_opts o = { .features = ALL | IND, .bounce_frames = 4096 };
	struct rig r;

	rig_open(&r, &o);
	send_by_chance(&r, 20000);
	rig_close(&r);
}

static void the_same_in_bounce_mode_and_outside_of_the_window(void **state)
{
	const struct rig_opts bounce = { .features = ALL | IND, .bounce_frames = 4096,
					 .options = ",mode=bounce" };
	const struct rig_opts window = { .features = ALL | IND, .bounce_frames = 4096,
					 .window_bytes = 1u << 20 };
	struct rig r;

	rig_open(&r, &bounce);
	send_by_chance(&r, 2000);
	rig_close(&r);
	rig_open(&r, &window);
	send_by_chance(&r, 2000);
	rig_close(&r);
}

static void the_same_with_a_driver_in_zero_copy_mode(void **state)
{
	const struct rig_opts o = { .features = ALL | IND, .bounce_frames = 4096, .nic = &nic,
				    .driver = "virtio_net", .options = ",mode=zero-copy" };
	struct rig r;

	rig_open(&r, &o);
	send_by_chance(&r, 5000);
	rig_close(&r);
}

/* ---- lies ---- */

#define LIE(flags_, type, size, start, offset) \
	{ .flags = (flags_), .gso_type = (type), .gso_size = (size), .csum_start = (start), \
	  .csum_offset = (offset) }

static void every_lie_drops_its_packet_under_its_name_and_no_other(void **state)
{
	static const struct {
		uint64_t without;      /* features */
		struct virtio_net_hdr h;
		const char *name;
	} lies[] = {
/* flags, kind, size, start, offset: good are 1, 1, 1000, 34, 16 */
		{ F(VIRTIO_NET_F_CSUM), LIE(1, 0, 1000, 34, 16), "tx_bad_hdr_csum_feature" },
		{ 0, LIE(1, 0, 1000, 65535, 16), "tx_bad_hdr_csum_range" },
		{ 0, LIE(1, 0, 1000, 3066, 16), "tx_bad_hdr_csum_range" },
		{ 0, LIE(1, 0, 1000, 3065, 0), "tx_bad_hdr_csum_range" },
		{ 0, LIE(1, 1, 1000, 34, 65535), "tx_bad_hdr_csum_range" },
		{ F(VIRTIO_NET_F_HOST_TSO4), LIE(1, 1, 1000, 34, 16), "tx_bad_hdr_gso_feature" },
		{ F(VIRTIO_NET_F_HOST_ECN), LIE(1, 0x81, 1000, 34, 16), "tx_bad_hdr_gso_feature" },
		{ F(XN_NET_F_HOST_USO), LIE(1, 5, 1000, 34, 6), "tx_bad_hdr_gso_feature" },
		{ 0, LIE(1, 2, 1000, 34, 16), "tx_bad_hdr_gso_type" },
		{ 0, LIE(1, 3, 1000, 34, 16), "tx_bad_hdr_gso_type" },   /* UFO was never offered */
		{ 0, LIE(1, 127, 1000, 34, 16), "tx_bad_hdr_gso_type" },
		{ 0, LIE(1, 0x80, 1000, 34, 16), "tx_bad_hdr_gso_type" },
		{ 0, LIE(1, 255, 1000, 34, 16), "tx_bad_hdr_gso_type" },
		{ 0, LIE(0, 1, 1000, 34, 16), "tx_bad_hdr_gso_csum" },
		{ 0, LIE(1, 1, 1000, 34, 6), "tx_bad_hdr_gso_csum" },
		{ 0, LIE(1, 1, 1000, 33, 16), "tx_bad_hdr_gso_headers" },
		{ 0, LIE(1, 4, 1000, 34, 16), "tx_bad_hdr_gso_headers" },   /* this is IPv4 */
		{ 0, LIE(1, 1, 0, 34, 16), "tx_bad_hdr_gso_size" },
		{ 0, LIE(1, 1, 1, 34, 16), "tx_bad_hdr_gso_size" },
		{ 0, LIE(1, 1, 1500, 34, 16), "tx_bad_hdr_gso_too_long" },
	};
	static struct pkt good;
	uint64_t dropped = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(lies); i++) {
		const struct rig_opts o = { .features = (ALL | IND) & ~lies[i].without,
					    .bounce_frames = 1024 };
		struct rig r;
		uint16_t head;

		spec = (struct pkt_spec){ .version = 4, .payload = 3000, .gso_size = 1000,
					  .tcp_options = 3, .seed = 7 };
		rig_open(&r, &o);
		for (unsigned k = 0; k < 5; k++) {
			pkt_build(&pkt, &spec);
			good = pkt;
			pkt.hdr = lies[i].h;
			run_until_back(&r, post_packet(&r, 0x500000));
			assert_int_equal(fk()->n_packets, 0);
			dropped++;
			/* The next good one, plain, leaves. */
			pkt = good;
			pkt.bytes = 100 + k;
			memset(&pkt.hdr, 0, sizeof(pkt.hdr));
			pkt.hdr.flags = 0xfe;        /* unknown ones */
			pkt.hdr.hdr_len = 65535;
			head = post_packet(&r, 0x500000);
			run_until_back(&r, head);
			assert_int_equal(fk()->n_packets, 1);
			assert_memory_equal(fk()->packets[0].data, good.data, pkt.bytes);
			fk_forget(fk());
		}
		assert_int_equal(stat(&r, lies[i].name), 5);
		assert_int_equal(stat(&r, "tx_drop_bad_header"), 5);
		assert_int_equal(stat(&r, "heads_dropped"), 5);
		rig_close(&r);
	}
	assert_int_equal(dropped, 5 * XN_ARRAY_SIZE(lies));
}

static void packets_too_short_for_what_they_ask_are_dropped(void **state)
{
	const struct rig_opts o = { .features = ALL | IND, .bounce_frames = 1024 };
	struct rig r;

	rig_open(&r, &o);
	for (uint32_t bytes = 0; bytes < 14; bytes++) {
		spec = (struct pkt_spec){ .version = 4, .payload = 3000, .gso_size = 1000, .seed = 7 };
		pkt_build(&pkt, &spec);
		pkt.bytes = bytes;
		run_until_back(&r, post_packet(&r, 0x500000));
	}
	assert_int_equal(stat(&r, "tx_drop_short_chain"), 1);
	assert_int_equal(stat(&r, "tx_drop_runt"), 13);
	assert_int_equal(fk()->n_packets, 0);
	rig_close(&r);
}

/* ---- order, back pressure ---- */

#define MANY 40u

static struct { struct pkt p; struct pkt_spec s; } queue[MANY];

/* So many packets at once, of any kind; how many frames they make. */
static uint32_t post_many(struct rig *r, unsigned n, uint32_t payload, uint16_t *heads)
{
	uint32_t frames = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct drv_seg seg = { 0x500000 + i * 0x11000ull, 0 };
		struct drv_seg one = seg;
		const char *why;

		do {
			build_by_chance(payload);
			if (rnd(3) == 0) {           /* asks for nothing */
				spec.gso_size = 0;
				spec.payload %= 1000;
				pkt_build(&pkt, &spec);
				memset(&pkt.hdr, 0, sizeof(pkt.hdr));
			}
		} while (!fate(&why));
		frames += fate(&why);
		queue[i].p = pkt;
		queue[i].s = spec;
		memcpy(r->drv.ram + seg.at, &pkt.hdr, sizeof(pkt.hdr));
		memcpy(r->drv.ram + seg.at + DRV_HDR, pkt.data, pkt.bytes);
		one.len = DRV_HDR + pkt.bytes;
		heads[i] = drv_post(&r->drv, TX, &one, 1);
	}
	return frames;
}

/* What is on the wire so far is a beginning of what was sent; how many packets of `n` have
 * left with all their frames. */
static unsigned check_wire(unsigned n)
{
	static uint8_t want[PKT_MAX];
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		const char *why;
		uint32_t frames;

		pkt = queue[i].p;
		spec = queue[i].s;
		frames = fate(&why);
		for (uint32_t k = 0; k < frames; k++, at++) {
			uint32_t bytes;

			if (at == fk()->n_packets)
				return i;
			if (pkt.hdr.flags)
				bytes = want_frame(k, frames, want);
			else
				memcpy(want, pkt.data, bytes = pkt.bytes);
			assert_int_equal(fk()->packets[at].bytes, bytes);
			assert_memory_equal(fk()->packets[at].data, want, bytes);
		}
	}
	assert_int_equal(at, fk()->n_packets);
	return n;
}

/* A kernel that takes a few descriptors a call, few frames, completions in their own time:
 * nothing is lost, nothing overtakes, no head comes back too early. */
static void any_mix_leaves_in_order_however_little_room_there_is(void **state)
{
	static const uint32_t frames[] = { 256, 400, 4096 };
	enum { ROUNDS = 60 };

	for (unsigned c = 0; c < 6; c++) {
		const bool zc = c >= 3;
		const struct rig_opts o = {
			.features = ALL | IND, .bounce_frames = frames[c % 3],
			.nic = zc ? &nic : NULL, .driver = zc ? "virtio_net" : "veth",
			.options = zc ? ",mode=zero-copy" : "",
		};
		struct rig r;

		rig_open(&r, &o);
		for (unsigned round = 0; round < ROUNDS; round++) {
			uint16_t heads[MANY], head;
			unsigned back = 0, idle = 0;
			uint32_t used;

			fk()->budget = rnd(3) ? 1 + rnd(60) : 0;
			fk()->hold = zc && rnd(2);
			post_many(&r, MANY, round % 2 ? 60000 : 3000, heads);
			while (back < MANY && idle < 5000) {
				const unsigned whole = (xn_queue_run(r.q, 64), check_wire(MANY));

				if (fk()->hold)
					fk_complete(fk(), 1 + rnd(40));
				idle++;
				while (drv_used(&r.drv, TX, &head, &used)) {
					idle = 0;
					assert_int_equal(head, heads[back++]);
					assert_true(back <= (fk()->zero_copy ? check_wire(MANY) : whole));
				}
			}
			assert_int_equal(back, MANY);
			assert_int_equal(check_wire(MANY), MANY);
			fk_forget(fk());
		}
		assert_int_equal(stat(&r, "tx_packets"), ROUNDS * MANY);
		rig_close(&r);
	}
}

static void a_packet_that_no_frames_are_enough_for_is_dropped_and_counted(void **state)
{
	const struct rig_opts o = { .features = ALL | IND, .bounce_frames = 40 };
	struct rig r;

	rig_open(&r, &o);
	spec = (struct pkt_spec){ .version = 4, .payload = 64000, .gso_size = 1448, .seed = 3 };
	for (unsigned i = 0; i < 3; i++) {
		pkt_build(&pkt, &spec);
		run_until_back(&r, post_packet(&r, 0x500000));
		assert_int_equal(fk()->n_packets, 0);
	}
	assert_int_equal(stat(&r, "tx_drop_segments"), 3);
	spec.payload = 20000;           /* 14 segments, 7 frames */
	pkt_build(&pkt, &spec);
	run_until_back(&r, post_packet(&r, 0x500000));
	assert_on_the_wire(14);
	rig_close(&r);
}

/* Each shortest segment that is legal: the ring takes all of them at once. */
static void the_most_segments_that_a_packet_may_have_leave(void **state)
{
	const struct rig_opts o = { .features = ALL | IND, .bounce_frames = 4096 };
	struct rig r;

	rig_open(&r, &o);
	spec = (struct pkt_spec){ .version = 6, .payload = 2048 * 8, .gso_size = 8, .seed = 3 };
	pkt_build(&pkt, &spec);
	run_until_back(&r, post_packet(&r, 0x500000));
	assert_on_the_wire(2048);
	rig_close(&r);
}

/* ---- a guest that does not keep still ---- */

static uint32_t stop_scribbling;
static uint8_t *scribble_at;

static void *scribble(void *arg)
{
	for (uint32_t i = 0; !xn_load_once32(&stop_scribbling); i = i * 1103515245u + 12345)
		xn_store_once8(&scribble_at[i >> 8 & 0x3fff], (uint8_t)(i >> 3));
	return NULL;
}

static void what_is_sent_is_what_was_summed_whatever_the_guest_does(void **state)
{
	const struct rig_opts o = { .features = ALL | IND, .bounce_frames = 4096 };
	uint64_t frames = 0;
	pthread_t t;
	struct rig r;

	rig_open(&r, &o);
	scribble_at = r.drv.ram + 0x500000 + 200;   /* behind the headers */
	xn_store_once32(&stop_scribbling, 0);
	assert_int_equal(pthread_create(&t, NULL, scribble, NULL), 0);
	for (unsigned i = 0; i < 1500; i++) {
		const struct drv_seg seg = { 0x500000, DRV_HDR + 54 + (i & 1 ? 1400 : 16000) };
		uint16_t head;
		uint32_t used;

		spec = (struct pkt_spec){ .version = 4, .payload = i & 1 ? 1400 : 16000, .seed = i + 1,
					  .gso_size = i & 1 ? 0 : 1000 };
		pkt_build(&pkt, &spec);
		if (i & 1)
			pkt.hdr.gso_type = 0;
		memcpy(r.drv.ram + seg.at, &pkt.hdr, sizeof(pkt.hdr));
		memcpy(r.drv.ram + seg.at + DRV_HDR, pkt.data, 200);
		drv_post(&r.drv, TX, &seg, 1);
		while (!drv_used(&r.drv, TX, &head, &used))
			xn_queue_run(r.q, 64);
		for (size_t k = 0; k < fk()->n_packets; k++, frames++) {
			const uint8_t *f = fk()->packets[k].data;

			assert_int_equal(pkt_sum_l4(f + 14, f + 30, 6, f + 34,
						    fk()->packets[k].bytes - 34), 0xffff);
		}
		fk_forget(fk());
	}
	xn_store_once32(&stop_scribbling, 1);
	pthread_join(t, NULL);
	assert_int_equal(frames, 750 * 17);
	rig_close(&r);
}

/* ---- receive ---- */

/* The header in front of the frame that arrived in the buffer of this head. */
static struct virtio_net_hdr_v1 header_of(const struct rig *r, uint16_t head)
{
	const struct buffer *b = &r->offered[head];
	struct virtio_net_hdr_v1 h;
	uint8_t flat[sizeof(h)];
	uint32_t got = 0;

	for (unsigned s = 0; got < sizeof(h); s++) {
		uint32_t n = XN_MIN(b->segs[s].len, (uint32_t)sizeof(h) - got);

		memcpy(flat + got, r->drv.ram + b->segs[s].at, n);
		got += n;
	}
	memcpy(&h, flat, sizeof(h));
	return h;
}

static void receive_by_chance(const char *options, const char *driver, bool takes, bool looks)
{
	const struct rig_opts o = { .features = MRG | IND | (takes ? F(VIRTIO_NET_F_GUEST_CSUM) : 0),
				    .options = options, .driver = driver, .bounce_frames = 1024 };
	uint64_t handed = 0, finished = 0;
	static uint8_t want[PKT_MAX], got[PKT_MAX];
	struct rig r;

	rig_open(&r, &o);
	for (unsigned i = 0; i < 3000; i++) {
		const unsigned layout = rnd(3);
		const bool padded = rnd(4) == 0, whole = rnd(3) == 0;
		struct drv_seg segs[2] = { { RX_AT + rnd(64), 1536 } };
		struct virtio_net_hdr_v1 h;
		uint32_t bytes;
		uint16_t head;

		do {
			build_by_chance(1200);
		} while (pkt.bytes > 1490);
		want_frame(0, 1, want);
		if (whole)
			memcpy(pkt.data, want, pkt.bytes);
		bytes = pkt.bytes + (padded ? 5 : 0);
		memset(pkt.data + pkt.bytes, 0, 5);
		memset(want + pkt.bytes, 0, 5);
		if (layout == 1) {                   /* header in a piece of its own */
			segs[0].len = DRV_HDR;
			segs[1] = (struct drv_seg){ RX_AT + 8192, 1530 };
		} else if (layout == 2) {            /* too short to be lent: two of them */
			segs[0].len = 800;
		}
		head = r.drv.q[RX].free[r.drv.q[RX].n_free - 1];
		offer(&r, segs, layout == 1 ? 2 : 1);
		if (layout == 2) {
			const struct drv_seg second = { RX_AT + 16384, 1536 };

			offer(&r, &second, 1);
		}
		xn_queue_run(r.q, 64);
		if (fk_rx(fk(), pkt.data, bytes)) {
			fail_msg("the frame found no buffer");
			break;
		}
		xn_queue_run(r.q, 64);
		/* Of two buffers of which one is lent, that may be the one. */
		if (layout == 2 && drv_used_ring(&r.drv, RX)->ring[r.drv.q[RX].seen & (DRV_SIZE - 1)].id != head)
			head = (uint16_t)drv_used_ring(&r.drv, RX)->ring[r.drv.q[RX].seen & (DRV_SIZE - 1)].id;
		h = header_of(&r, head);
		assert_int_equal(take_frame(&r, got), bytes);
		assert_int_equal(h.gso_type, 0);
		if (looks && !whole && takes && !padded) {
			assert_int_equal(h.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
			assert_int_equal(h.csum_start, pkt.l4_at);
			assert_int_equal(h.csum_offset, spec.udp ? 6 : 16);
			assert_memory_equal(got, pkt.data, bytes);
			handed++;
		} else {
			assert_int_equal(h.flags, 0);
			assert_int_equal(h.csum_start, 0);
			assert_memory_equal(got, looks ? want : pkt.data, bytes);
			finished += looks && !whole;
		}
		/* What is left over goes back, through a stop. */
		assert_int_equal(xn_dev_stop(r.dev), 0);
		drv_reset_rings(&r.drv, 1);
		memset(r.offered, 0, sizeof(r.offered));
		for (unsigned k = 0; k < 2; k++) {
			struct xn_vring v = drv_vring(k);

			assert_int_equal(xn_dev_set_vring(r.dev, k, &v), 0);
		}
		assert_int_equal(xn_dev_start(r.dev), 0);
	}
	assert_int_equal(stat(&r, "rx_csum_handed"), handed);
	assert_int_equal(stat(&r, "rx_csum_finished"), finished);
	assert_true(!looks || finished > 300);
	rig_close(&r);
}

static void unfinished_checksums_of_a_peer_here_are_handed_on_or_finished(void **state)
{
	receive_by_chance("", "veth", true, true);
	receive_by_chance("", "veth", false, true);
	receive_by_chance(",mode=bounce", "veth", true, true);
	receive_by_chance(",mode=bounce", "veth", false, true);
}

static void frames_from_a_wire_are_left_as_they_are(void **state)
{
	receive_by_chance("", "ixgbe", true, false);
	receive_by_chance(",mode=bounce", "ixgbe", false, false);
}

/* ---- loopback, null ---- */

static void over_loopback_segments_come_back_one_by_one(void **state)
{
	struct xn_region region = { .size = RAM };
	struct xn_mem_opts mo = { .sz = sizeof(mo), .bounce_frames = 64 };
	static const char *const ports[] = { "loopback", "null" };

	for (unsigned kind = 0; kind < 2; kind++) {
		static uint8_t want[PKT_MAX];
		uint64_t cut = 0;
		struct rig r;

		memset(&r, 0, sizeof(r));
		drv_init(&r.drv, RAM, 1);
		region.fd = r.drv.fd;
		assert_int_equal(xn_mem_create(&r.mem, &region, 1, &mo), 0);
		assert_int_equal(xn_port_open(&r.port, ports[kind], NULL), 0);
		assert_int_equal(xn_dev_create(&r.dev, r.mem, r.port, NULL), 0);
		assert_int_equal(xn_dev_set_features(r.dev, VERSION | ALL | IND), 0);
		for (unsigned i = 0; i < 2; i++) {
			struct xn_vring v = drv_vring(i);

			assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
		}
		assert_int_equal(xn_dev_start(r.dev), 0);
		r.q = xn_dev_queue(r.dev, 0);
		for (unsigned i = 0; i < 3000; i++) {
			uint32_t n, used;
			const char *why;
			uint16_t head;

			build_by_chance(i % 20 ? 4000 : 40000);
			n = fate(&why);
			if (n > 100)
				continue;
			for (uint32_t k = 0; !kind && k < n; k++)
				drv_post1(&r.drv, RX, RX_AT + k * 1600, 1536);
			head = post_packet(&r, 0x500000);
			run_until_back(&r, head);
			cut += n > 1;
			while (xn_queue_run(r.q, 64))
				;
			for (uint32_t k = 0; !kind && k < n; k++) {
				const uint32_t bytes = want_frame(k, n, want);

				assert_true(drv_used(&r.drv, RX, &head, &used));
				assert_int_equal(used, DRV_HDR + bytes);
				assert_memory_equal(r.drv.ram + RX_AT + k * 1600 + DRV_HDR, want, bytes);
			}
			assert_false(drv_used(&r.drv, RX, &head, &used));
		}
		assert_true(cut > 500);
		assert_int_equal(stat(&r, "tx_segmented"), cut);
		xn_dev_destroy(r.dev);
		xn_port_close(r.port);
		xn_mem_destroy(r.mem);
		drv_fini(&r.drv);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_legal_packet_leaves_as_a_slow_program_makes_it),
		cmocka_unit_test(the_same_in_bounce_mode_and_outside_of_the_window),
		cmocka_unit_test(the_same_with_a_driver_in_zero_copy_mode),
		cmocka_unit_test(every_lie_drops_its_packet_under_its_name_and_no_other),
		cmocka_unit_test(packets_too_short_for_what_they_ask_are_dropped),
		cmocka_unit_test(any_mix_leaves_in_order_however_little_room_there_is),
		cmocka_unit_test(a_packet_that_no_frames_are_enough_for_is_dropped_and_counted),
		cmocka_unit_test(the_most_segments_that_a_packet_may_have_leave),
		cmocka_unit_test(what_is_sent_is_what_was_summed_whatever_the_guest_does),
		cmocka_unit_test(unfinished_checksums_of_a_peer_here_are_handed_on_or_finished),
		cmocka_unit_test(frames_from_a_wire_are_left_as_they_are),
		cmocka_unit_test(over_loopback_segments_come_back_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
