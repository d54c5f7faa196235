/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of engine/gro.h: what is put together is what a slow program puts together, and cut up
 * again it is what had come, whatever networks have done to it; every buffer comes back once;
 * nothing is written but the buffers of the batch, whatever the guest writes to them meanwhile.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomics.h"
#include "tests/cmocka.h"
#include "tests/fake/packet.h"
#include "tests/fake/segments.h"

static struct seg_batch batch;

struct bench {
	uint8_t *ram;
	struct xn_mem mem;
	struct xn_gro *c;
	struct seg_dice dice;
	uint64_t datagram_packets;
};

static void setup(struct bench *t, uint32_t seed)
{
	memset(t, 0, sizeof(*t));
	t->ram = malloc(SEG_RAM);
	assert_non_null(t->ram);
	t->mem.base = t->ram;
	t->c = xn_gro_create(&t->mem, seg_bufs, SEG_HDR, SEG_HEADS, SEG_FRAMES);
	assert_non_null(t->c);
	t->dice = (struct seg_dice){ .roll = seg_roll_random, .state = seed };
}

static void finish(struct bench *t)
{
	xn_gro_destroy(t->c);
	free(t->ram);
}

/* Says how many frames have joined others. */
static uint64_t play(struct bench *t, unsigned rounds, unsigned connections, unsigned mutations)
{
	uint64_t joined = 0;
	const char *wrong;

	for (unsigned i = 0; i < rounds; i++) {
		const uint32_t state = t->dice.state;

		batch.mutations = mutations;
		seg_make(&batch, &t->dice, 1 + (connections > 1 ? i % connections : 0));
		wrong = seg_play(t->c, t->ram, &batch, &t->dice);
		if (wrong)
			fail_msg("round %u, dice %u: %s", i, state, wrong);
		joined += t->c->joined;
		for (unsigned k = 0; t->c->joined && k < t->c->entries; k++)
			t->datagram_packets += t->c->out[k].flags & XN_RX_GSO &&
					       t->c->out[k].gso_type == PKT_GSO_UDP;
	}
	return joined;
}

static void what_is_put_together_is_what_a_slow_program_puts_together(void **state)
{
	struct bench t;

	setup(&t, 11);
	/* Most of them: 32 frames a batch. */
	assert_true(play(&t, 4000, 1, 0) > 64000);
	assert_true(play(&t, 12000, 8, 0) > 64000);
	assert_true(t.datagram_packets > 8000);
	finish(&t);
}

static void damaged_and_foreign_frames_are_left_as_they_came(void **state)
{
	struct bench t;

	setup(&t, 12);
	assert_true(play(&t, 12000, 8, 1) > 48000);
	assert_true(t.datagram_packets > 4000);
	finish(&t);
}

/* More connections than are followed at a time: the judge says nothing of what should have joined,
 * so it is looked at here that all that came is there. */
static void with_more_connections_than_places_nothing_is_lost(void **state)
{
	struct bench t;

	setup(&t, 13);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t bytes = 0, given = 0;
		const struct xn_rx_done *out = t.c->out;

		batch.mutations = 0;
		seg_make(&batch, &t.dice, 16);
		assert_null(seg_play(t.c, t.ram, &batch, &t.dice));
		for (unsigned k = 0; k < batch.n; k++)
			bytes += batch.f[k].len;
		if (!t.c->joined)
			continue;
		for (unsigned k = 0; k < t.c->entries; k++)
			given += out[k].len;
		assert_int_equal(bytes, given + t.c->header_bytes);
		assert_int_equal(t.c->entries + t.c->n_spares, batch.n);
	}
	finish(&t);
}

/* What a long frame's second buffer holds may look like a frame. */
static void what_goes_on_with_a_frame_is_no_frame(void **state)
{
	struct xn_rx_done done[3], was[3];
	struct xn_chain bufs[3];
	struct bench t;

	setup(&t, 14);
	do {
		batch.mutations = 0;
		seg_make(&batch, &t.dice, 1);
	} while (batch.n < 2 || !batch.tcp4 || !batch.tcp6 || !batch.udp4 || !batch.udp6 ||
		 seg_play(t.c, t.ram, &batch, &t.dice) || !t.c->joined || !(t.c->out[0].flags & XN_RX_GSO));
	for (unsigned i = 0; i < 3; i++) {
		const struct seg_frame *f = &batch.f[i == 2];

		bufs[i] = (struct xn_chain){ .at = XN_UOFF(4096 * i), .bytes = 4000, .n_pieces = 1, .head = (uint16_t)i };
		seg_bufs[i] = (struct xn_rx_buf){ .at = bufs[i].at, .len = 4000, .bytes = 4000 };
		memcpy(t.ram + 4096 * i + SEG_HDR, f->bytes, f->len);
		done[i] = (struct xn_rx_done){ .at = bufs[i].at, .len = f->len, .id = (uint16_t)i,
					       .flags = i ? XN_RX_NOTED | (i == 1 ? XN_RX_MORE : 0) : 0 };
	}
	/* The first one by itself, then a frame of two buffers. */
	memset(t.ram + 4096 + SEG_HDR, 0, 64);
	xn_gro_note(t.c, bufs, 3);
	t.c->n_spares = 0;
	memcpy(was, done, sizeof(was));
	assert_ptr_equal(xn_gro_batch(t.c, done, 3), done);
	assert_int_equal(t.c->entries, 3);
	assert_memory_equal(done, was, sizeof(was));
	finish(&t);
}

/* ---- datagrams ---- */

#define STRIDE 2048u

/* The same datagram n times, its checksum unfinished. (There is no identification in IPv6.) */
static void lay_datagrams(struct bench *t, struct xn_rx_done *done, unsigned n, uint32_t size)
{
	const struct pkt_spec spec = { .version = 6, .udp = true, .payload = size, .seed = 1 };
	static struct pkt pkt;

	pkt_build(&pkt, &spec);
	for (unsigned i = 0; i < n; i++) {
		const struct xn_chain buf = { .at = XN_UOFF((uint64_t)i * STRIDE), .bytes = STRIDE - 100,
					      .n_pieces = 1, .head = (uint16_t)i };

		memcpy(t->ram + buf.at.v + SEG_HDR, pkt.data, pkt.bytes);
		done[i] = (struct xn_rx_done){ .at = buf.at, .len = pkt.bytes, .id = buf.head, .flags = XN_RX_CSUM,
					       .csum_start = (uint16_t)pkt.l4_at, .csum_offset = 6 };
		xn_gro_note(t->c, &buf, 1);
	}
}

/* No more than Linux cuts up again, and no more than IP's 64 KiB. */
static void packets_have_no_more_datagrams_than_linux_takes(void **state)
{
	static const struct { uint16_t size; unsigned n, packets; } ways[] = {
		{ 1, 64, 1 }, { 1, 66, 2 }, { 20, 127, 2 }, { 20, 128, 2 }, { 100, 128, 2 }, { 1000, 128, 2 },
		{ 1100, 59, 1 }, { 1100, 61, 2 }, { 1400, 46, 1 }, { 1400, 48, 2 },
	};
	struct xn_rx_done done[SEG_HEADS];
	struct bench t;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(ways); i++) {
		const struct xn_rx_done *out;
		uint64_t bytes = 0;

		setup(&t, 15);
		xn_gro_destroy(t.c);
		t.c = xn_gro_create(&t.mem, seg_bufs, SEG_HDR, SEG_HEADS, SEG_HEADS);
		assert_non_null(t.c);
		t.c->udp6 = true;
		lay_datagrams(&t, done, ways[i].n, ways[i].size);
		out = xn_gro_batch(t.c, done, ways[i].n);
		assert_int_equal(t.c->packets, ways[i].packets);
		assert_int_equal(t.c->joined, ways[i].n - ways[i].packets);
		for (unsigned k = 0; k < t.c->entries; k++)
			bytes += out[k].len;
		assert_int_equal(bytes, ways[i].n * ways[i].size + 62 * ways[i].packets);
		finish(&t);
	}
}

/* What comes between two datagrams of a flow, and may be one of it, is not overtaken; what cannot is. */
static void a_datagram_that_is_left_alone_is_not_overtaken(void **state)
{
	static const struct { uint8_t at, value; uint16_t flags; uint32_t len; bool may_be; } ways[] = {
		{ 60, 0, 0, 0, true }, { 59, 9, 0, 0, true },           /* its checksum, its length */
		{ 20, 44, 0, 0, true }, { 20, 0, 0, 0, true },          /* a fragment, options */
		{ 0, 0, 0, 62, true }, { 0, 0, 0, 55, true },           /* no payload, cut off */
		{ 0, 0, XN_RX_NOTED, 0, true },                         /* not looked at */
		{ 21, 3, 0, 0, true }, { 0, 4, 0, 0, true },            /* another hop limit, another station */
		{ 20, 6, 0, 0, false },                                 /* TCP */
		{ 30, 77, 0, 0, false }, { 53, 77, 0, 0, false },       /* other addresses */
		{ 12, 8, 0, 0, false },                                 /* something else */
		{ 12, 0x81, 0, 0, true }, { 12, 0x88, 0, 0, false },    /* VLAN 0: a priority; VLAN 5 */
		{ 55, 77, 0, 0, false },                                /* another port: a flow of its own */
	};
	struct xn_rx_done done[3];
	struct bench t;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(ways); i++) {
		uint8_t *odd;

		setup(&t, 16);
		t.c->udp6 = true;
		lay_datagrams(&t, done, 3, 100);
		odd = t.ram + done[1].at.v + SEG_HDR;
		odd[ways[i].at] = ways[i].value;
		if (ways[i].at == 60)
			odd[61] = 0;
		if (ways[i].value == 0x81)
			memcpy(odd + 13, "\0\x60\0", 3);
		if (ways[i].value == 0x88)
			memcpy(odd + 13, "\xa8\x60\5", 3);
		if (ways[i].len)
			done[1].len = ways[i].len;
		done[1].flags |= ways[i].flags;
		if (ways[i].flags)
			xn_gro_note(t.c, &(struct xn_chain){ .head = 1, .n_pieces = 2 }, 1);
		xn_gro_batch(t.c, done, 3);
		if (t.c->joined != !ways[i].may_be)
			fail_msg("byte %u, value %u: %u joined", ways[i].at, ways[i].value, t.c->joined);
		finish(&t);
	}
}

/* ---- a guest that writes to its buffers meanwhile ---- */

#define BURST 32u

struct scribbler {
	uint8_t *ram;
	uint32_t stop;
};

static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	uint32_t state = 99;

	while (!xn_load_once32(&s->stop)) {
		for (unsigned i = 0; i < BURST; i++) {
			state ^= state << 13;
			state ^= state >> 17;
			state ^= state << 5;
			/* Headers more often than anything else. */
			xn_store_once8(s->ram + (state % SEG_FRAMES) * 2048 +
				       (state >> 8 & 3 ? (state >> 10) % 100 : (state >> 10) % 2000),
				       (uint8_t)(state >> 24));
		}
		usleep(1);   /* or nothing is whole for long enough to join */
	}
	return NULL;
}

#if defined(__SANITIZE_THREAD__)
static void a_guest_that_writes_meanwhile_harms_only_itself(void **state)
{
	skip();   /* frames are plain memory: that they change is the point */
}
#else
static void a_guest_that_writes_meanwhile_harms_only_itself(void **state)
{
	struct xn_rx_done done[SEG_FRAMES];
	struct xn_chain bufs[SEG_FRAMES];
	struct scribbler s;
	uint64_t joined = 0;
	pthread_t thread;
	struct bench t;

	setup(&t, 14);
	s = (struct scribbler){ .ram = t.ram };
	t.c->tcp4 = t.c->tcp6 = t.c->ecn = t.c->udp4 = t.c->udp6 = true;
	assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
	for (unsigned round = 0; round < 10000; round++) {
		bool back[SEG_HEADS] = { false };
		const struct xn_rx_done *out;

		if (round % 8 == 0)
			seg_make(&batch, &t.dice, 2);
		for (unsigned i = 0; i < batch.n; i++) {
			bufs[i] = (struct xn_chain){ .at = XN_UOFF(i * 2048), .bytes = 2000, .n_pieces = 1,
						     .head = (uint16_t)i };
			done[i] = (struct xn_rx_done){ .at = bufs[i].at, .len = batch.f[i].len, .id = (uint16_t)i };
			for (uint32_t k = 0; k < batch.f[i].len; k++)
				xn_store_once8(t.ram + bufs[i].at.v + SEG_HDR + k, batch.f[i].bytes[k]);
		}
		xn_gro_note(t.c, bufs, batch.n);
		t.c->n_spares = 0;
		out = xn_gro_batch(t.c, done, batch.n);
		joined += t.c->joined;
		assert_int_equal(t.c->entries + t.c->n_spares, batch.n);
		for (unsigned i = 0; i < t.c->entries; i++) {
			assert_false(back[out[i].id]);
			back[out[i].id] = true;
			assert_true(out[i].len && out[i].len + (out[i].flags & XN_RX_REST ? 0 : SEG_HDR) <= 2000);
		}
		for (unsigned i = 0; i < t.c->n_spares; i++) {
			assert_false(back[t.c->spares[i].head]);
			back[t.c->spares[i].head] = true;
		}
	}
	xn_store_once32(&s.stop, 1);
	pthread_join(thread, NULL);
	print_message("%llu joined\n", (unsigned long long)joined);
	assert_true(joined > 1000);
	finish(&t);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_together_is_what_a_slow_program_puts_together),
		cmocka_unit_test(damaged_and_foreign_frames_are_left_as_they_came),
		cmocka_unit_test(with_more_connections_than_places_nothing_is_lost),
		cmocka_unit_test(what_goes_on_with_a_frame_is_no_frame),
		cmocka_unit_test(packets_have_no_more_datagrams_than_linux_takes),
		cmocka_unit_test(a_datagram_that_is_left_alone_is_not_overtaken),
		cmocka_unit_test(a_guest_that_writes_meanwhile_harms_only_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
