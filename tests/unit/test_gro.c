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
#include "tests/fake/segments.h"

static struct seg_batch batch;

struct bench {
	uint8_t *ram;
	struct xn_mem mem;
	struct xn_gro *c;
	struct seg_dice dice;
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
	finish(&t);
}

static void damaged_and_foreign_frames_are_left_as_they_came(void **state)
{
	struct bench t;

	setup(&t, 12);
	assert_true(play(&t, 12000, 8, 1) > 48000);
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
	} while (batch.n < 2 || !batch.tcp4 || !batch.tcp6 || seg_play(t.c, t.ram, &batch, &t.dice) ||
		 !(t.c->out[0].flags & XN_RX_GSO) || !t.c->joined);
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
	t.c->tcp4 = t.c->tcp6 = t.c->ecn = true;
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
		cmocka_unit_test(a_guest_that_writes_meanwhile_harms_only_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
