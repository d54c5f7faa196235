/* SPDX-License-Identifier: BSD-2-Clause */
/* port/cross.h: frames between queues; two threads that start and stop as they like. */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "port/cross.h"
#include "tests/cmocka.h"

static struct xn_cross_frame frame_of(uint64_t i)
{
	return (struct xn_cross_frame){ .data = i * 7, .len = (uint32_t)i, .id_kind = (uint32_t)i + 1,
					.fill = i * 3 };
}

static void assert_frame(const struct xn_cross_frame *f, uint64_t i)
{
	const struct xn_cross_frame want = frame_of(i);

	assert_memory_equal(f, &want, sizeof(want));
}

static void frames_come_out_in_order_and_go_back_in_order(void **state)
{
	static struct xn_cross c;
	struct xn_cross_frame out[8];
	uint64_t next_in = 0, next_out = 0, next_back = 0, dropped = 0;

	(void)state;
	memset(&c, 0, sizeof(c));
	c.pushed = c.reclaimed = c.taken = UINT32_MAX - 500;   /* wraps on the way */
	assert_int_equal(xn_cross_listen(&c, true), 0);
	srand(1);
	while (next_back < 5000) {
		struct xn_cross_frame f = frame_of(next_in);
		uint32_t n;

		for (unsigned i = (unsigned)rand() % 40; i && xn_cross_push(&c, &f, 1); i--)
			f = frame_of(++next_in);
		assert_true(next_in - next_back <= XN_CROSS_SLOTS);
		assert_int_equal(xn_cross_waiting(&c), next_in - next_out);
		assert_true(xn_cross_claim(&c));
		assert_false(xn_cross_claim(&c));
		n = (uint32_t)rand() % (xn_cross_waiting(&c) + 1);
		for (uint32_t i = 0; i < n; i++)
			assert_frame(xn_cross_at(&c, i), next_out + i);
		xn_cross_done(&c, n);
		xn_cross_unclaim(&c);
		next_out += n;
		n = xn_cross_reclaim(&c, out, (unsigned)rand() % 9, &dropped);
		for (uint32_t i = 0; i < n; i++)
			assert_frame(&out[i], next_back++);
		assert_true(next_back <= next_out);
	}
	assert_int_equal(dropped, 0);
}

static void nothing_is_taken_where_nobody_listens_or_too_much_waits(void **state)
{
	static struct xn_cross c;
	const struct xn_cross_frame f = frame_of(1);
	struct xn_cross_frame out[XN_CROSS_SLOTS];
	uint64_t dropped = 0;

	(void)state;
	memset(&c, 0, sizeof(c));
	assert_false(xn_cross_push(&c, &f, 1));
	xn_cross_listen(&c, true);
	for (unsigned i = 0; i < XN_CROSS_SLOTS; i++)
		assert_true(xn_cross_push(&c, &f, 1));
	assert_false(xn_cross_push(&c, &f, 1));
	/* A slot is free when it is reclaimed, not when it is taken. */
	assert_true(xn_cross_claim(&c));
	xn_cross_done(&c, 1);
	xn_cross_unclaim(&c);
	assert_false(xn_cross_push(&c, &f, 1));
	assert_int_equal(xn_cross_reclaim(&c, out, XN_CROSS_SLOTS, &dropped), 1);
	assert_true(xn_cross_push(&c, &f, 1));
	assert_int_equal(xn_cross_listen(&c, false), XN_CROSS_SLOTS);
	assert_false(xn_cross_push(&c, &f, 1));
	assert_int_equal(xn_cross_reclaim(&c, out, XN_CROSS_SLOTS, &dropped), XN_CROSS_SLOTS);
	assert_int_equal(dropped, 0);      /* listen has told them */
}

/* The reader goes between the owner's look at `open` and his push. */
static void what_a_reader_has_left_behind_is_the_owners_again(void **state)
{
	static struct xn_cross c;
	struct xn_cross_frame f = frame_of(5), out[4];
	uint64_t dropped = 0;

	(void)state;
	memset(&c, 0, sizeof(c));
	xn_cross_listen(&c, true);
	assert_true(xn_cross_push(&c, &f, 1));
	xn_store_once32(&c.open, 0);       /* gone, and has not seen it */
	assert_true(xn_cross_claim(&c));   /* ... and is just going */
	assert_int_equal(xn_cross_reclaim(&c, out, 4, &dropped), 0);
	xn_cross_unclaim(&c);
	assert_int_equal(xn_cross_reclaim(&c, out, 4, &dropped), 1);
	assert_frame(&out[0], 5);
	assert_int_equal(dropped, 1);
	assert_int_equal(xn_cross_waiting(&c), 0);

	/* One that comes back does not find what was sent to the one before. */
	xn_cross_listen(&c, true);
	assert_true(xn_cross_push(&c, &f, 1));
	xn_store_once32(&c.open, 0);
	assert_int_equal(xn_cross_listen(&c, true), 1);
	assert_int_equal(xn_cross_waiting(&c), 0);
	assert_int_equal(xn_cross_reclaim(&c, out, 4, &dropped), 1);
	assert_int_equal(dropped, 1);
}

/* ---- mail ---- */

static bool readable(const struct xn_mail *m)
{
	struct pollfd p = { .fd = m->fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void who_sleeps_is_woken_once_and_not_for_what_he_has_seen(void **state)
{
	struct xn_mail m;

	(void)state;
	assert_int_equal(xn_mail_open(&m), 0);
	xn_mail_send(&m, 3);
	xn_mail_send(&m, 63);
	assert_false(readable(&m));                 /* he is awake */
	assert_int_equal(xn_mail_take(&m), 1ull << 3 | 1ull << 63);
	assert_int_equal(xn_mail_take(&m), 0);
	for (unsigned i = 0; i < 3; i++) {
		xn_mail_arm(&m, false, XN_MAIL_FOR_FRAMES);
		xn_mail_arm(&m, false, XN_MAIL_FOR_FRAMES); /* twice is once */
		assert_false(readable(&m));
		xn_mail_send(&m, 1);
		xn_mail_send(&m, 2);
		assert_true(readable(&m));
		xn_mail_awake(&m);
		assert_false(readable(&m));
		assert_int_equal(xn_mail_take(&m), 6);
	}
	/* What came before he slept keeps him awake, and so does what he says himself. */
	xn_mail_send(&m, 1);
	xn_mail_arm(&m, false, XN_MAIL_FOR_FRAMES);
	assert_true(readable(&m));
	xn_mail_awake(&m);
	assert_int_equal(xn_mail_take(&m), 2);
	xn_mail_arm(&m, true, XN_MAIL_FOR_FRAMES);
	assert_true(readable(&m));
	xn_mail_awake(&m);
	assert_false(readable(&m));
	/* A write that comes late is read the next time, and disturbs one sleep only. */
	xn_mail_arm(&m, false, XN_MAIL_FOR_FRAMES);
	m.asleep = 0;                               /* somebody is about to write */
	xn_mail_awake(&m);
	assert_int_equal(write(m.fd, &(uint64_t){ 1 }, 8), 8);
	xn_mail_arm(&m, false, XN_MAIL_FOR_FRAMES);
	assert_true(readable(&m));
	xn_mail_awake(&m);
	xn_mail_arm(&m, false, XN_MAIL_FOR_FRAMES);
	assert_false(readable(&m));
	xn_mail_close(&m);
}

static void buffers_wake_only_who_has_few(void **state)
{
	struct xn_mail m;

	(void)state;
	assert_int_equal(xn_mail_open(&m), 0);
	xn_mail_arm(&m, false, XN_MAIL_FOR_FRAMES);
	xn_mail_send_back(&m, 5);
	assert_false(readable(&m));
	xn_mail_awake(&m);
	assert_int_equal(xn_mail_take(&m), 1ull << 5);      /* but it is not forgotten */
	xn_mail_arm(&m, false, XN_MAIL_FOR_FRAMES);
	xn_mail_send_back(&m, 5);
	xn_mail_send(&m, 6);
	assert_true(readable(&m));
	xn_mail_awake(&m);
	assert_int_equal(xn_mail_take(&m), 3ull << 5);
	xn_mail_arm(&m, false, XN_MAIL_FOR_BUFFERS_TOO);
	xn_mail_send_back(&m, 5);
	assert_true(readable(&m));
	xn_mail_awake(&m);
	assert_int_equal(xn_mail_take(&m), 1ull << 5);
	xn_mail_close(&m);
}

#define LETTERS 20000u

static struct {
	struct xn_mail m;
	uint32_t work;          /* what the mail is about */
	uint32_t missed;
} post;

static void *sleeper(void *arg)
{
	uint32_t seen = 0;

	(void)arg;
	while (seen < LETTERS) {
		struct pollfd p = { .fd = post.m.fd, .events = POLLIN };

		if (xn_mail_take(&post.m)) {
			seen = xn_load_once32(&post.work);
			continue;
		}
		xn_mail_arm(&post.m, false, XN_MAIL_FOR_BUFFERS_TOO);
		if (!poll(&p, 1, 20000))
			xn_store_once32(&post.missed, 1);
		xn_mail_awake(&post.m);
	}
	return NULL;
}

static void no_letter_is_missed_by_a_sleeper(void **state)
{
	pthread_t t;

	(void)state;
	alarm(900);
	assert_int_equal(xn_mail_open(&post.m), 0);
	assert_int_equal(pthread_create(&t, NULL, sleeper, NULL), 0);
	for (uint32_t i = 1; i <= LETTERS && !xn_load_once32(&post.missed); i++) {
		xn_store_once32(&post.work, i);
		(i / 64 % 2 ? xn_mail_send : xn_mail_send_back)(&post.m, i % 64);
		for (unsigned k = 0; k < i % 200; k++)
			xn_relax();
	}
	pthread_join(t, NULL);
	assert_int_equal(post.missed, 0);
	xn_mail_close(&post.m);
}

/* ---- two threads ---- */

#define BUFS    64u
#define FRAMES  50000u

static struct {
	struct xn_cross c;
	uint64_t memory[BUFS];        /* a frame's bytes: its number */
	uint64_t copied, dropped_by_reader, wrong;
	uint32_t stop;
} w;

static void *reader(void *arg)
{
	unsigned seed = 9;
	uint64_t last = 0;

	(void)arg;
	while (!xn_load_acquire32(&w.stop)) {
		uint32_t n = xn_cross_waiting(&w.c);

		if ((unsigned)rand_r(&seed) % 500 == 0) {
			w.dropped_by_reader += xn_cross_listen(&w.c, false);
			w.dropped_by_reader += xn_cross_listen(&w.c, true);
			continue;
		}
		if (!n || !xn_cross_claim(&w.c))
			continue;
		n = xn_cross_waiting(&w.c);    /* the owner may have been here */
		for (uint32_t i = 0; i < n; i++) {
			const struct xn_cross_frame *f = xn_cross_at(&w.c, i);
			uint64_t number = w.memory[f->data];

			/* Not lent again while we look; in order; never twice. */
			w.wrong += number <= last || f->fill != number;
			last = number;
		}
		w.copied += n;
		xn_cross_done(&w.c, n);
		xn_cross_unclaim(&w.c);
	}
	w.dropped_by_reader += xn_cross_listen(&w.c, false);
	return NULL;
}

static void each_frame_is_copied_or_dropped_once_and_its_buffer_comes_back_once(void **state)
{
	uint64_t pushed = 0, refused = 0, back = 0, dropped = 0;
	struct xn_cross_frame out[BUFS];
	uint32_t free_bufs[BUFS], n_free = BUFS;
	bool lent[BUFS] = { 0 };
	pthread_t t;

	(void)state;
	alarm(900);
	memset(&w, 0, sizeof(w));
	for (uint32_t i = 0; i < BUFS; i++)
		free_bufs[i] = i;
	xn_cross_listen(&w.c, true);
	assert_int_equal(pthread_create(&t, NULL, reader, NULL), 0);
	for (uint64_t number = 1; number <= FRAMES || back < pushed;) {
		unsigned n;

		if (n_free && number <= FRAMES) {
			uint32_t b = free_bufs[--n_free];
			struct xn_cross_frame f = { .data = b, .fill = number };

			w.memory[b] = number++;
			if (xn_cross_push(&w.c, &f, 1)) {
				lent[b] = true;
				pushed++;
			} else {
				free_bufs[n_free++] = b;
				refused++;
			}
		}
		if (number % 10000 == 0)
			dropped += xn_cross_withdraw(&w.c);
		n = xn_cross_reclaim(&w.c, out, BUFS, &dropped);
		for (unsigned i = 0; i < n; i++) {
			assert_true(lent[out[i].data]);
			lent[out[i].data] = false;
			w.memory[out[i].data] = 0;   /* the reader would see it */
			free_bufs[n_free++] = (uint32_t)out[i].data;
		}
		back += n;
	}
	xn_store_release32(&w.stop, 1);
	pthread_join(t, NULL);
	assert_int_equal(pushed + refused, FRAMES);
	assert_int_equal(w.copied + w.dropped_by_reader + dropped, pushed);
	assert_int_equal(n_free, BUFS);
	assert_int_equal(w.wrong, 0);
	assert_true(w.copied > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_come_out_in_order_and_go_back_in_order),
		cmocka_unit_test(nothing_is_taken_where_nobody_listens_or_too_much_waits),
		cmocka_unit_test(what_a_reader_has_left_behind_is_the_owners_again),
		cmocka_unit_test(who_sleeps_is_woken_once_and_not_for_what_he_has_seen),
		cmocka_unit_test(buffers_wake_only_who_has_few),
		cmocka_unit_test(no_letter_is_missed_by_a_sleeper),
		cmocka_unit_test(each_frame_is_copied_or_dropped_once_and_its_buffer_comes_back_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
