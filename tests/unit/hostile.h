/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of a chain that a hostile driver has offered, for the test_vq_*hostile.c: the
 * verdicts that a test expects, and what has to hold after each of them.
 */
#ifndef XN_TESTS_HOSTILE_H
#define XN_TESTS_HOSTILE_H

#include <stdlib.h>
#include <time.h>

#include "tests/unit/ring.h"

#define MAX UINT32_MAX

static inline unsigned counter(const char *name)
{
	for (unsigned i = 0; i < XN_C_COUNT; i++)
		if (!strcmp(xn_counter_name(i), name))
			return i;
	fail_msg("no counter %s", name);
	return 0;
}

/* A good chain goes through, with the last id of the ring. */
static inline void good_chain_passes(void)
{
	const uint16_t id = (uint16_t)(r.size - 1);

	offer1(id, BUF_GPA, 100, r.vq.expect_flags);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].head, id);
	assert_int_equal(r.chains[0].bytes, 100);
	xn_vq_push(&r.vq, id, 5);
	assert_true(xn_vq_publish(&r.vq));
	comes_back(id, 5);
	nothing_comes_back();
}

/* The chain with this id, which was offered, is refused for this reason. */
static inline void is_refused_as(const char *fault, uint16_t id)
{
	uint64_t before = r.ctr.v[counter(fault)], all = rig_all_faults(&r);
	uint64_t dropped = r.ctr.v[XN_C_heads_dropped];

	assert_int_equal(rig_pop(&r, 4), 0);
	if (r.ctr.v[counter(fault)] != before + 1)
		for (unsigned i = XN_C_FAULTS; i < XN_C_COUNT; i++)
			if (r.ctr.v[i])
				print_message("counted: %s\n", xn_counter_name(i));
	assert_int_equal(r.ctr.v[counter(fault)], before + 1);
	assert_int_equal(rig_all_faults(&r), all + 1);
	assert_int_equal(r.ctr.v[XN_C_heads_dropped], dropped + 1);
	assert_int_equal(r.vq.broken, XN_FAULT_NONE);
	assert_true(xn_vq_publish(&r.vq));
	comes_back(id, 0);
	nothing_comes_back();
	nothing_is_out();
	good_chain_passes();
	nothing_is_out();
}

static inline void is_refused(const char *fault)
{
	is_refused_as(fault, 0);
}

/* The chain of id 0, which was offered, is taken, with this many pieces and bytes. */
static inline void is_taken(unsigned n_pieces, uint32_t bytes)
{
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].head, 0);
	assert_int_equal(r.chains[0].n_pieces, n_pieces);
	assert_int_equal(r.chains[0].bytes, bytes);
	assert_int_equal(rig_all_faults(&r), 0);
}

/* And given back. */
static inline void passes(unsigned n_pieces, uint32_t bytes)
{
	is_taken(n_pieces, bytes);
	xn_vq_push(&r.vq, 0, 0);
	assert_true(xn_vq_publish(&r.vq));
	comes_back(0, 0);
	nothing_is_out();
	good_chain_passes();
}

/* The ring is what it is: the queue stops, now and for good. */
static inline void broken_by(const char *fault)
{
	uint16_t at = r.vq.avail_next;
	unsigned out = r.vq.outstanding;

	assert_int_equal(rig_pop(&r, 4), 0);
	assert_int_equal(r.ctr.v[counter(fault)], 1);
	assert_int_equal(rig_all_faults(&r), 1);
	assert_string_equal(xn_fault_name(r.vq.broken), fault);
	assert_true(xn_fault_stops_queue(r.vq.broken));
	ring->go_back(&r, at);
	offer1(1, BUF_GPA, 100, r.vq.expect_flags);
	assert_int_equal(rig_pop(&r, 4), 0);
	assert_int_equal(rig_all_faults(&r), 1);
	assert_int_equal(r.vq.avail_next, at);
	assert_int_equal(r.vq.outstanding, out);
	assert_false(xn_vq_publish(&r.vq));
	assert_true(xn_vq_enable_kick(&r.vq));
}

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Every chain of the largest ring is one that takes long to refuse, for this reason, and all
 * are offered with the ids in order. No call takes more than a few of them. */
static inline void no_call_is_held(enum xn_fault fault)
{
	uint64_t shortest = UINT64_MAX;
	uint32_t id, len, calls = 0, back = 0;

	for (; calls < 100; calls++) {
		uint64_t t = now_ns();

		assert_int_equal(rig_pop(&r, 64), 0);
		shortest = XN_MIN(shortest, now_ns() - t);
		xn_vq_publish(&r.vq);
		assert_false(xn_vq_enable_kick(&r.vq));   /* there is more: nobody sleeps */
		while (ring->used(&r, &id, &len))
			assert_int_equal(id, back++);
	}
	assert_int_equal(back, rig_fault(&r, fault));
	assert_true(back >= calls && back <= 3 * calls);
	/* Each call does the same; 65536 descriptors and one chain are below 1 ms, but a
	 * sanitizer, or a slow machine that is busy, takes its share. */
	assert_true(shortest < 1000000000u);
}

/* ---- any guest ---- */

/* Mostly plausible, so that chains get far; sometimes anything. */
static inline struct seg any_seg(uint32_t x)
{
	static const uint64_t at[] = { BUF_GPA, B_GPA - 5, C_GPA - 5, D_GPA, UINT64_MAX - 5, HOLE,
				       TABLE, TABLE + 1024, B_GPA - 24, C_END - 8 };
	static const uint32_t len[] = { 0, 1, 16, 32, 64, 1500, 0x10000, MAX };

	return (struct seg){ at[(x >> 8) % XN_ARRAY_SIZE(at)], len[(x >> 16) % XN_ARRAY_SIZE(len)],
			     (uint16_t)(x >> 24 & 7) };
}

static inline void pieces_are_guest_memory(const struct xn_chain *c)
{
	uint64_t bytes = 0;

	assert_true(c->n_pieces >= 1);
	for (unsigned i = 0; i < c->n_pieces; i++) {
		const struct xn_piece *q = &rig_pieces(&r, c)[i];
		bool inside = false;

		for (unsigned s = 0; s < r.mem.n_spans; s++) {
			uint64_t into = q->at.v - r.mem.spans[s].uoff;
			/* B and C touch, so that a piece may lie in both. */
			uint64_t room = s == 1 ? 0x20000 : r.mem.spans[s].bytes;

			inside |= into < room && q->len <= room - into;
		}
		assert_true(inside);
		assert_true(q->len > 0);
		bytes += q->len;
	}
	assert_int_equal(bytes, c->bytes);
}

/* How long a guest rewrites its rings: XN_MUTATE_SECONDS; and how much longer on a slow machine, until
 * enough has come of it. */
#define PATIENCE_NS 60000000000ull
static inline uint64_t mutate_until(void)
{
	const char *s = getenv("XN_MUTATE_SECONDS");

	return now_ns() + 1000000000ull * (s ? strtoul(s, NULL, 10) : 2);
}

/* The next of the calls that a device may make, with what it holds. */
static uint16_t held[XN_VQ_MAX_SIZE];
static unsigned n_held;

/* Takes up to 16, checks them, and un-takes some. Returns how many were kept. */
static inline unsigned take_any(uint64_t *seed)
{
	unsigned n = rig_pop(&r, rig_random(seed) % 17), back;

	for (unsigned i = 0; i < n; i++)
		pieces_are_guest_memory(&r.chains[i]);
	back = n ? rig_random(seed) % (n + 1) : 0;
	xn_vq_unpop(&r.vq, r.chains + n - back, back);
	for (unsigned i = 0; i < n - back; i++)
		held[n_held++] = r.chains[i].head;
	return n - back;
}

/* Gives back some of those that are held, in any order. Returns how many. */
static inline unsigned give_some_back(uint64_t *seed)
{
	const unsigned n = rig_random(seed) % (n_held + 1);

	for (unsigned k = n; k; k--) {
		unsigned i = rig_random(seed) % n_held;

		xn_vq_push(&r.vq, held[i], 0);
		held[i] = held[--n_held];
	}
	return n;
}

#endif
