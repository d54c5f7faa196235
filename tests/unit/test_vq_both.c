/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of a virtqueue that a driver that keeps to the standard is served well, whichever kind
 * of ring it has: each case is run for both. (What only one of them has: test_vq.c,
 * test_vq_packed.c.)
 *
 *   - set-up: sizes; guest memory is not written
 *   - every layout of buffers comes out as its bytes in order, through the smallest and the
 *     largest rings, of sizes that are powers of two and (packed) that are not, across the ends
 *     of the ring and the wrap of the indices, with random batches, un-taking, and
 *     buffers given back in any order: each exactly once. Of a packed ring only words of used
 *     descriptors are written, where the driver expects them
 *   - kicks are asked for and not
 *   - after a stop each buffer has been given back once, or is taken again in order
 */
#include <stdlib.h>

#include "tests/unit/ring.h"

static uint64_t seed = 0x2545f4914f6cdd1dull;

static uint32_t pick(uint32_t n)
{
	return rig_random(&seed) % n;
}

/* ---- set-up ---- */

static void sizes_go_up_to_32768(void **state)
{
	struct xn_vq_cfg cfg;

	ring->open(&r, 1, XN_VQ_TO_GUEST, 0, 0);
	for (uint32_t n = 0; n <= 70000; n++) {
		if (n > 300 && n % 1024 > 1 && n % 1024 < 1023)
			continue;
		cfg = ring->cfg(n, XN_VQ_TO_GUEST, 0, XN_VRING_NEW_PACKED);
		assert_int_equal(rig_try(&r, &cfg), ring_takes_size(n) ? 0 : -EINVAL);
	}
	cfg = ring->cfg(1u << 31, XN_VQ_TO_GUEST, 0, XN_VRING_NEW_PACKED);
	assert_int_equal(rig_try(&r, &cfg), -EINVAL);
	rig_close(&r);
}

static void set_up_writes_nothing_and_goes_on_from_the_base(void **state)
{
	static uint8_t before[0x100000];
	const uint32_t base = ring->chained ? 1234 : 0x812b0003;
	const struct xn_vq_cfg cfg = ring->cfg(ring->any_size ? 300 : 256, XN_VQ_TO_GUEST, RIG_EVENT,
					       base);
	uint8_t *rings;
	struct xn_vq vq;

	ring->open(&r, 1, XN_VQ_TO_GUEST, 0, 0);
	rings = rig_at(&r, A_GPA);
	for (unsigned i = 0; i < sizeof(before); i++)
		before[i] = rings[i] = (uint8_t)rig_random(&seed);
	assert_int_equal(xn_vq_init(&vq, &r.mem, &r.ctr, &cfg), 0);
	assert_memory_equal(before, rings, sizeof(before));
	assert_int_equal(xn_vq_base(&vq), base);
	assert_false(xn_vq_publish(&vq));
	xn_vq_fini(&vq);
	assert_memory_equal(before, rings, sizeof(before));
	rig_close(&r);
}

/* ---- traffic against a reference ---- */

#define MAX_SEGS 5u

struct offered {
	uint16_t ids[MAX_SEGS];
	uint8_t n_segs, n_desc;
	struct seg seg[MAX_SEGS];
	uint16_t at;                           /* position */
};

/* What the driver made available, in order, and what it waits for. */
static struct {
	struct offered chain[XN_VQ_MAX_SIZE];
	uint32_t offered, taken;               /* free running, of chain[] */
	uint16_t free_ids[XN_VQ_MAX_SIZE];
	uint32_t n_free_ids, free_slots;
	uint16_t base;                         /* where the device is to go on */
	struct offered out[XN_VQ_MAX_SIZE];    /* by id */
	uint32_t expect_len[XN_VQ_MAX_SIZE];   /* of the used one with this id, ~0: not out */
} drv;

static void drv_open(uint32_t size, enum xn_vq_dir dir, uint32_t at)
{
	ring->open(&r, size, dir, RIG_INDIRECT | RIG_EVENT, at);
	memset(&drv, 0, sizeof(drv));
	for (uint32_t i = size; i--; )
		drv.free_ids[drv.n_free_ids++] = (uint16_t)i;
	drv.free_slots = size;
	drv.base = ring->position(&r);
	memset(drv.expect_len, 0xff, sizeof(drv.expect_len));
}

static struct offered *chain_at(uint32_t i)
{
	return &drv.chain[i % r.size];
}

static void random_segs(struct offered *o)
{
	o->n_segs = (uint8_t)(pick(3) ? 1 : 1 + pick(MAX_SEGS));
	for (unsigned i = 0; i < o->n_segs; i++) {
		o->seg[i].len = 1 + pick(2000);
		o->seg[i].at = pick(8) ? BUF_GPA + pick(0x70000) :
			       pick(2) ? B_GPA - pick(2000) : C_GPA - pick(2000);
		o->seg[i].flags = r.vq.expect_flags;
	}
	if (o->n_segs > 1 && !pick(2))
		o->seg[0].len = 12;                /* the virtio header apart */
	if (o->n_segs > 1 && !pick(4)) {
		o->seg[pick(o->n_segs)].len = 0;   /* legal, and nothing */
		o->seg[0].len = XN_MAX(o->seg[0].len, 1u);
	}
	o->n_segs = (uint8_t)XN_MIN(o->n_segs, r.size);
	o->seg[0].len = XN_MAX(o->seg[0].len, 1u);
}

/* Ids of a chain: of each descriptor, or one and whatever may be in the others. */
static void take_ids(struct offered *o)
{
	drv.free_slots -= o->n_desc;
	for (unsigned i = 0; i < o->n_desc; i++) {
		uint32_t k;

		o->ids[i] = (uint16_t)rig_random(&seed);
		if (i && !ring->chained)
			continue;
		k = pick(drv.n_free_ids);
		o->ids[i] = drv.free_ids[k];
		drv.free_ids[k] = drv.free_ids[--drv.n_free_ids];
	}
}

static void free_ids(const struct offered *o)
{
	drv.free_slots += o->n_desc;
	for (unsigned i = 0; i < (ring->chained ? o->n_desc : 1u); i++)
		drv.free_ids[drv.n_free_ids++] = o->ids[i];
}

/* A table has a place of its own for each id of the smaller queues. */
static void offer_table(const struct offered *o)
{
	const struct seg t = { TABLE + 80ull * (o->ids[0] % 1024), 16u * o->n_segs,
			       INDIR | (pick(2) ? WRITE : 0) };
	struct seg entry[MAX_SEGS];

	for (unsigned i = 0; i < o->n_segs; i++) {
		entry[i] = o->seg[i];
		if (pick(2))
			entry[i].flags |= (uint16_t)rig_random(&seed) & ring->unknown_in_table;
	}
	ring->table(&r, t.at, entry, o->n_segs);
	ring->offer(&r, o->ids, &t, 1);
}

/* Makes one chain of a random layout available. False: no room. */
static bool drv_offer(void)
{
	const bool indirect = r.size <= 1024 && !pick(3);
	struct offered o = { .n_desc = 0 };

	random_segs(&o);
	o.n_desc = indirect ? 1 : o.n_segs;
	if (drv.free_slots < o.n_desc)
		return false;
	take_ids(&o);
	o.at = ring->position(&r);
	drv.out[o.ids[0]] = *chain_at(drv.offered++) = o;
	if (indirect)
		offer_table(&o);
	else
		ring->offer(&r, o.ids, o.seg, o.n_segs);
	return true;
}

/* The pieces of a chain are the bytes that the driver wrote, in order. */
static void check_chain(const struct xn_chain *c, const struct offered *o)
{
	const struct xn_piece *q = rig_pieces(&r, c), *end = q + c->n_pieces;
	uint32_t bytes = 0, into = 0;

	assert_int_equal(c->head, o->ids[0]);
	if (r.vq.packed)
		assert_int_equal(c->slots, o->n_desc);
	for (unsigned i = 0; i < o->n_segs; i++) {
		for (uint32_t done = 0; done < o->seg[i].len; ) {
			uint32_t n;

			assert_true(q < end);
			n = XN_MIN(o->seg[i].len - done, q->len - into);
			assert_ptr_equal((uint8_t *)xn_mem_at(&r.mem, q->at) + into,
					 rig_at(&r, o->seg[i].at + done));
			done += n;
			into += n;
			if (into == q->len) {
				q++;
				into = 0;
			}
		}
		assert_int_equal(into, 0);   /* a piece is never of two descriptors */
		bytes += o->seg[i].len;
	}
	assert_ptr_equal(q, end);
	assert_int_equal(c->bytes, bytes);
}

static void drv_collect(uint64_t *collected)
{
	uint32_t id, len;

	while (ring->used(&r, &id, &len)) {
		assert_true(id < r.size);
		assert_true(drv.expect_len[id] != UINT32_MAX);   /* pushed, and seen once */
		assert_int_equal(len, drv.expect_len[id]);
		drv.expect_len[id] = UINT32_MAX;
		free_ids(&drv.out[id]);
		++*collected;
	}
}

static uint16_t held[XN_VQ_MAX_SIZE];
static unsigned n_held;

static void push_one(unsigned i)
{
	uint16_t id = held[i];

	drv.expect_len[id] = pick(8) ? rig_random(&seed) >> 1 : 0;
	xn_vq_push(&r.vq, id, drv.expect_len[id]);
	held[i] = held[--n_held];
}

/* The same for k of them through the interface for runs. */
static void push_run(unsigned k)
{
	struct xn_vq_run run = xn_vq_begin(&r.vq);

	while (k--) {
		unsigned i = pick(n_held);
		uint16_t id = held[i];

		drv.expect_len[id] = rig_random(&seed) >> 1;
		xn_vq_run_push(&run, id, drv.expect_len[id]);
		held[i] = held[--n_held];
	}
	xn_vq_end(&r.vq, &run);
}

/* The device takes a batch, keeps the front of it, and checks all of it. */
static unsigned take_some(unsigned max)
{
	uint16_t at = drv.base;
	unsigned waiting = drv.offered - drv.taken, room = 1 + pick(4 * max);
	unsigned n = xn_vq_pop(&r.vq, r.chains, max, r.pieces, XN_MAX(room, 2 * MAX_SEGS)), keep;

	assert_true(n <= max && n <= waiting);
	assert_true(n || !waiting);
	for (unsigned i = 0; i < n; i++) {
		check_chain(&r.chains[i], chain_at(drv.taken + i));
		assert_int_equal(r.vq.state[r.chains[i].head], XN_VQ_TAKEN | at);
		at = ring->behind(&r, at, chain_at(drv.taken + i)->n_desc);
		if (i < r.vq.plain)
			assert_true(r.chains[i].n_pieces == 1 && r.chains[i].bytes >= RIG_MIN_BYTES);
	}
	assert_true(r.vq.plain <= n);
	assert_int_equal(r.vq.avail_next, at);
	keep = pick(3) ? n : pick(n + 1);
	xn_vq_unpop(&r.vq, r.chains + keep, n - keep);
	for (unsigned i = 0; i < keep; i++) {
		held[n_held++] = r.chains[i].head;
		drv.base = ring->behind(&r, drv.base, chain_at(drv.taken++)->n_desc);
	}
	assert_int_equal(r.vq.avail_next, drv.base);
	assert_int_equal(r.vq.outstanding, n_held);
	return keep;
}

static void run_traffic(uint32_t size, enum xn_vq_dir dir, uint64_t packets)
{
	const uint32_t most = size > 1024 ? 4096 : 64;
	uint64_t taken = 0, collected = 0;

	drv_open(size, dir, 65000 + pick(2 * size));
	n_held = 0;
	while (taken < packets) {
		for (unsigned k = pick(most); k && drv_offer(); k--)
			;
		taken += take_some(1 + pick(most));
		if (pick(2))
			push_run(pick(n_held + 1));
		for (unsigned k = pick(n_held + 1); k; k--)
			push_one(pick(n_held));
		assert_int_equal(r.vq.outstanding, n_held);
		if (pick(4))
			xn_vq_publish(&r.vq);
		if (pick(3))
			drv_collect(&collected);
	}
	while (n_held)
		push_one(n_held - 1);
	xn_vq_publish(&r.vq);
	drv_collect(&collected);
	assert_int_equal(collected, taken);
	assert_int_equal(rig_all_faults(&r), 0);
	nothing_is_out();
	rig_close(&r);
}

/* More than 65536, so that indices wrap. */
static void traffic_with_random_layouts(void **state)
{
	static const struct {
		uint32_t size, from_guest, to_guest;
	} t[] = {
		{ 1, 200000, 70000 }, { 2, 200000, 70000 }, { 3, 50000, 50000 }, { 4, 70000, 50000 },
		{ 5, 50000, 50000 }, { 7, 50000, 50000 }, { 100, 50000, 50000 },
		{ 256, 200000, 200000 }, { 257, 50000, 50000 }, { 1000, 50000, 50000 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(t); i++)
		if (ring_takes_size(t[i].size)) {
			run_traffic(t[i].size, XN_VQ_FROM_GUEST, t[i].from_guest);
			run_traffic(t[i].size, XN_VQ_TO_GUEST, t[i].to_guest);
		}
}

static void traffic_with_random_layouts_of_the_largest_rings(void **state)
{
	static const uint32_t sizes[] = { 32767, 32768, 16385 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++)
		if (ring_takes_size(sizes[i])) {
			run_traffic(sizes[i], XN_VQ_FROM_GUEST, 200000);
			run_traffic(sizes[i], XN_VQ_TO_GUEST, 200000);
		}
}

/* All ids of the ring out at once, and all back: over many ends of the ring. */
static void full_ring(uint32_t size, uint32_t at)
{
	ring->open(&r, size, XN_VQ_TO_GUEST, RIG_EVENT, at);
	for (unsigned round = 0; round < 6; round++) {
		for (uint32_t i = 0; i < size; i++)
			offer1((uint16_t)(size - 1 - i), BUF_GPA + i, 1 + i, WRITE);
		assert_int_equal(rig_pop(&r, size), size);
		assert_int_equal(r.vq.outstanding, size);
		assert_int_equal(rig_pop(&r, 1), 0);
		assert_true(xn_vq_enable_kick(&r.vq));
		for (uint32_t i = 0; i < size; i++) {
			assert_int_equal(r.chains[i].head, size - 1 - i);
			xn_vq_push(&r.vq, (uint16_t)i, i);
		}
		assert_true(xn_vq_publish(&r.vq));
		for (uint32_t i = 0; i < size; i++)
			comes_back(i, i);
		nothing_comes_back();
	}
	assert_int_equal(rig_all_faults(&r), 0);
	nothing_is_out();
	rig_close(&r);
}

static void full_rings_at_every_size(void **state)
{
	static const uint32_t odd[] = { 3, 5, 6, 7, 9, 255, 257, 32767 };

	for (uint32_t size = 1; size <= XN_VQ_MAX_SIZE; size *= 2)
		full_ring(size, 65535 - size / 2);
	for (unsigned k = 0; k < XN_ARRAY_SIZE(odd); k++)
		if (ring_takes_size(odd[k]))
			full_ring(odd[k], odd[k] / 2 + (k & 1 ? 0 : odd[k]));
}

/* One chain of the whole ring, from each slot. */
static void a_chain_of_all_slots(void **state)
{
	struct seg s[6];

	for (unsigned i = 0; i < XN_ARRAY_SIZE(s); i++)
		s[i] = (struct seg){ BUF_GPA + 64 * i, 10, 0 };
	for (uint32_t size = 1; size <= XN_ARRAY_SIZE(s); size++)
		for (uint32_t slot = 0; slot < size && ring_takes_size(size); slot++) {
			ring->open(&r, size, XN_VQ_FROM_GUEST, 0, slot);
			for (unsigned round = 0; round < 5; round++) {
				offer((uint16_t)(ring->chained ? slot : 0), s, size);
				assert_int_equal(rig_pop(&r, 2), 1);
				assert_int_equal(r.chains[0].n_pieces, size);
				xn_vq_unpop(&r.vq, r.chains, 1);
				assert_int_equal(rig_pop(&r, 2), 1);
				xn_vq_push(&r.vq, r.chains[0].head, 0);
				assert_true(xn_vq_publish(&r.vq));
				comes_back(r.chains[0].head, 0);
				nothing_comes_back();
			}
			nothing_is_out();
			rig_close(&r);
		}
}

/*
 * Of all guest memory a publication changes length, id and flags of the slots where
 * used descriptors belong, and nothing before it. (Packed.)
 */
static void only_words_of_used_descriptors_are_written(void **state)
{
	static uint8_t before[A_BYTES];
	uint8_t *a;

	drv_open(7, XN_VQ_TO_GUEST, 5);
	a = rig_at(&r, A_GPA);
	n_held = 0;
	for (unsigned k = 0; k < 3000; k++) {
		struct place at = p.used;
		uint16_t ids[7];
		unsigned n = 0;
		uint64_t collected = 0;

		while (pick(4) && drv_offer())
			;
		memcpy(before, a, A_BYTES);
		take_some(7);
		for (unsigned i = pick(n_held + 1); i; i--) {
			ids[n++] = held[0];
			push_one(0);
		}
		assert_memory_equal(before, a, A_BYTES);
		assert_int_equal(xn_vq_publish(&r.vq), n > 0);
		for (unsigned i = 0; i < n; i++) {
			struct vring_packed_desc *d = &((struct vring_packed_desc *)before)[at.slot];
			uint32_t len = drv.expect_len[ids[i]];

			d->id = ids[i];
			d->len = len;
			d->flags = (at.wrap ? P_AVAIL | P_USED : 0) | (len ? WRITE : 0);
			place_move(&at, r.size, p.slots_of[ids[i]]);
		}
		assert_memory_equal(before, a, A_BYTES);
		drv_collect(&collected);
		assert_int_equal(collected, n);
	}
	rig_close(&r);
}

static void used_ones_are_seen_after_publish_only(void **state)
{
	ring->open(&r, 8, XN_VQ_FROM_GUEST, RIG_EVENT, 0);
	offer1(0, BUF_GPA, 64, 0);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_false(xn_vq_publish(&r.vq));
	xn_vq_push(&r.vq, 0, 9);
	nothing_comes_back();
	assert_true(xn_vq_publish(&r.vq));
	assert_false(xn_vq_publish(&r.vq));
	comes_back(0, 9);
	rig_close(&r);
}

/* Plain are those from the first on that have one piece, not too short a one. */
static void plain_chains_are_counted(void **state)
{
	ring->open(&r, 8, XN_VQ_FROM_GUEST, 0, 65535);
	for (unsigned i = 0; i < 6; i++)
		offer1((uint16_t)i, BUF_GPA, i == 3 ? RIG_MIN_BYTES - 1 : RIG_MIN_BYTES, 0);
	assert_int_equal(rig_pop(&r, 1), 1);     /* searches the span: not counted */
	assert_int_equal(rig_pop(&r, 8), 5);
	assert_int_equal(r.vq.plain, 2);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(r.chains[i].head, i + 1);
	assert_int_equal(rig_pop(&r, 8), 0);
	assert_int_equal(r.vq.plain, 0);
	rig_close(&r);
}

static void one_call_takes_all_that_wait(void **state)
{
	ring->open(&r, 8, XN_VQ_FROM_GUEST, 0, 65533);
	for (unsigned i = 0; i < 5; i++) {
		offer1((uint16_t)i, BUF_GPA, 64, 0);
		if (i == 1)
			assert_int_equal(rig_pop(&r, 1), 1);
	}
	assert_int_equal(rig_pop(&r, 8), 4);     /* one seen before, three new */
	rig_close(&r);
}

static void asking_for_nothing_takes_nothing(void **state)
{
	uint16_t at;

	ring->open(&r, 8, XN_VQ_FROM_GUEST, 0, 0);
	at = r.vq.avail_next;
	offer1(0, HOLE, 64, 0);              /* wrong: not even this is refused */
	assert_int_equal(xn_vq_pop(&r.vq, r.chains, 0, r.pieces, 16), 0);
	assert_int_equal(rig_all_faults(&r), 0);
	assert_int_equal(r.vq.avail_next, at);
	rig_close(&r);
}

static void chain_that_does_not_fit_waits_for_the_next_call(void **state)
{
	static const struct seg s[] = { { BUF_GPA, 10, 0 }, { BUF_GPA + 64, 10, 0 },
					{ BUF_GPA + 128, 10, 0 } };
	static const unsigned pieces[] = { 2, 3, 2 };
	uint16_t head = 0;

	ring->open(&r, 8, XN_VQ_FROM_GUEST, 0, 4);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(pieces); i++) {
		offer(head, s, pieces[i]);
		head += (uint16_t)pieces[i];
	}
	for (unsigned room = 2; room <= 8; room++) {
		unsigned n = room < 5 ? 1 : room < 7 ? 2 : 3;

		assert_int_equal(xn_vq_pop(&r.vq, r.chains, 8, r.pieces, room), n);
		for (unsigned i = 0; i < n; i++) {
			const struct xn_piece *q = rig_pieces(&r, &r.chains[i]);

			assert_int_equal(r.chains[i].n_pieces, pieces[i]);
			assert_true(q + pieces[i] <= r.pieces + room);
		}
		xn_vq_unpop(&r.vq, r.chains, n);
	}
	assert_int_equal(rig_all_faults(&r), 0);
	rig_close(&r);
}

static void commands_have_two_directions(void **state)
{
	struct xn_chain c;

	ring->open(&r, ring->any_size ? 5 : 4, XN_VQ_BOTH, RIG_INDIRECT, 3);
	for (unsigned round = 0; round < 20; round++) {
		if (round & 1) {
			PUT_TABLE(BUF_GPA + 256, { BUF_GPA, 2, 0 }, { BUF_GPA + 16, 4, 0 },
				  { BUF_GPA + 32, 1, WRITE });
			offer1(2, BUF_GPA + 256, 3 * 16, INDIR);
		} else {
			OFFER(2, { BUF_GPA, 6, 0 }, { BUF_GPA + 32, 1, WRITE });
		}
		assert_true(xn_vq_pop_command(&r.vq, &c, r.pieces, 64));
		assert_int_equal(c.head, 2);
		assert_int_equal(c.bytes, 7);
		assert_int_equal(r.vq.readable, 6);
		assert_false(xn_vq_pop_command(&r.vq, &c, r.pieces, 64));
		xn_vq_push(&r.vq, 2, 1);
		assert_true(xn_vq_publish(&r.vq));
		comes_back(2, 1);
	}
	nothing_is_out();
	rig_close(&r);
}

/* ---- kicks by the guest ---- */

/* What a driver does that offers one with this id. */
static bool kick_for(uint16_t id)
{
	offer1(id, BUF_GPA, 100, 0);
	return ring->kicks(&r);
}

static void kicks_are_asked_for_and_not(void **state)
{
	for (unsigned flags = 0; flags <= RIG_EVENT; flags += RIG_EVENT)
		for (uint32_t at = 65500; at < 65536 + 20; at++) {
			ring->open(&r, 16, XN_VQ_FROM_GUEST, flags, at);
			assert_true(xn_vq_enable_kick(&r.vq));
			assert_true(kick_for(0));
			assert_int_equal(kick_for(1), !flags);       /* once */
			assert_false(xn_vq_enable_kick(&r.vq));      /* there is work */
			assert_int_equal(rig_pop(&r, 4), 2);
			xn_vq_disable_kick(&r.vq);
			for (unsigned i = 2; i < 16; i++)
				assert_false(kick_for((uint16_t)i));
			assert_false(xn_vq_enable_kick(&r.vq));
			assert_int_equal(rig_pop(&r, 16), 14);
			assert_true(xn_vq_enable_kick(&r.vq));
			/* Some are out, and stay so. */
			for (unsigned i = 0; i < 3; i++)
				xn_vq_push(&r.vq, (uint16_t)i, 0);
			xn_vq_publish(&r.vq);
			assert_true(kick_for(0));
			rig_close(&r);
		}
}

static void un_taken_chains_are_work(void **state)
{
	ring->open(&r, 4, XN_VQ_FROM_GUEST, RIG_EVENT, 65535);
	offer1(0, BUF_GPA, 100, 0);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_true(xn_vq_enable_kick(&r.vq));
	xn_vq_unpop(&r.vq, r.chains, 1);
	assert_false(xn_vq_enable_kick(&r.vq));
	rig_close(&r);
}

/* ---- stop ---- */

static bool is_held(uint16_t id)
{
	for (unsigned i = 0; i < n_held; i++)
		if (held[i] == id)
			return true;
	return false;
}

/* How many chains at the end are all still out; and leaves drv as the device will. */
static unsigned rewind_drv(void)
{
	unsigned n = 0;

	while (n < n_held) {
		const uint16_t id = chain_at(drv.taken - 1)->ids[0];
		const struct offered *last = &drv.out[id];   /* this one, or it was offered since */

		if (!is_held(id) || ring->behind(&r, last->at, last->n_desc) != drv.base)
			break;
		drv.base = last->at;
		drv.taken--;
		n++;
	}
	return n;
}

/*
 * A device with random buffers out stops; another one goes on from its base. Every one
 * that was out is given back, once, or comes again, in the order it was offered in.
 */
static void stop_and_go_on(uint32_t size, uint32_t at)
{
	uint64_t collected = 0, before;
	unsigned given, out, rewound;
	struct xn_vq_cfg cfg;

	drv_open(size, XN_VQ_FROM_GUEST, at);
	n_held = 0;
	for (unsigned turn = pick(6) + 1; turn; turn--) {
		for (unsigned k = pick(2 * size) + 1; k && drv_offer(); k--)
			;
		take_some(1 + pick(size));
		for (unsigned k = pick(n_held + 1); k; k--)
			push_one(pick(2) ? 0 : pick(n_held));
		if (turn > 1 || pick(2))
			xn_vq_publish(&r.vq);
		drv_collect(&collected);
	}
	xn_vq_publish(&r.vq);
	drv_collect(&collected);
	out = r.vq.outstanding;
	rewound = rewind_drv();
	for (unsigned i = 0; i < n_held; i++)
		drv.expect_len[held[i]] = 0;
	before = collected;
	given = xn_vq_reclaim_all(&r.vq);
	assert_int_equal(given, out - rewound);
	assert_int_equal(r.vq.avail_next, drv.base);
	assert_int_equal(r.ctr.v[XN_C_heads_dropped], given);
	nothing_is_out();
	drv_collect(&collected);                 /* published; each expected, and once */
	assert_int_equal(collected - before, given);

	cfg = ring->cfg(size, XN_VQ_FROM_GUEST, RIG_INDIRECT | RIG_EVENT, xn_vq_base(&r.vq));
	assert_int_equal(cfg.base & 0xffff, drv.base);
	if (cfg.packed) {
		assert_int_equal(cfg.base >> 16, cfg.base & 0xffff);
		if (pick(2))
			cfg.base &= 0xffff;      /* a front end that keeps only this */
	}
	xn_vq_fini(&r.vq);
	assert_int_equal(xn_vq_init(&r.vq, &r.mem, &r.ctr, &cfg), 0);
	n_held = 0;
	while (drv.taken != drv.offered)
		take_some(64);                   /* checks ids, order and bytes */
	assert_int_equal(rig_all_faults(&r), 0);
	while (n_held)
		push_one(n_held - 1);
	xn_vq_publish(&r.vq);
	drv_collect(&collected);
	assert_int_equal(drv.n_free_ids, size);  /* nothing lost, nothing twice */
	assert_int_equal(drv.free_slots, size);
	rig_close(&r);
}

static void stop_with_any_buffers_out_loses_none(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 4, 16, 256, 3, 5, 100 };
	const unsigned n = ring->any_size ? 8 : 5;

	for (unsigned i = 0; i < 3000; i++)      /* around the wrap of the indices */
		stop_and_go_on(sizes[i % n], 65536 + pick(100) - pick(600));
}

static void stop_of_the_largest_rings(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		stop_and_go_on(XN_VQ_MAX_SIZE - (ring->any_size ? i % 2 : 0), rig_random(&seed));
}

/* One old buffer stays out while `others` go by it, and the indices around and more. */
static void one_is_out_for(uint32_t others)
{
	ring->open(&r, 4, XN_VQ_TO_GUEST, 0, 100);
	offer1(3, BUF_GPA + 2048 * 3, 1536, WRITE);
	assert_int_equal(rig_pop(&r, 1), 1);
	for (uint32_t i = 0; i < others; i++) {
		const uint16_t id = (uint16_t)(i % 3);

		offer1(id, BUF_GPA + 2048 * id, 1536, WRITE);
		assert_int_equal(rig_pop(&r, 4), 1);
		xn_vq_push(&r.vq, id, 64);
		xn_vq_publish(&r.vq);
		comes_back(id, 64);
	}
	offer1(0, BUF_GPA, 1536, WRITE);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(xn_vq_reclaim_all(&r.vq), 1);
	comes_back(3, 0);
	nothing_comes_back();
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].head, 0);
	rig_close(&r);
}

static void buffer_that_is_out_for_65536_others_is_given_back(void **state)
{
	one_is_out_for(65535 + 3);
	one_is_out_for(70000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TESTS(sizes_go_up_to_32768),
		RING_TESTS(set_up_writes_nothing_and_goes_on_from_the_base),
		RING_TESTS(traffic_with_random_layouts),
		RING_TESTS(traffic_with_random_layouts_of_the_largest_rings),
		RING_TESTS(full_rings_at_every_size),
		RING_TESTS(a_chain_of_all_slots),
		RING_TEST(only_words_of_used_descriptors_are_written, packed),
		RING_TESTS(used_ones_are_seen_after_publish_only),
		RING_TESTS(plain_chains_are_counted),
		RING_TESTS(one_call_takes_all_that_wait),
		RING_TESTS(asking_for_nothing_takes_nothing),
		RING_TESTS(chain_that_does_not_fit_waits_for_the_next_call),
		RING_TESTS(commands_have_two_directions),
		RING_TESTS(kicks_are_asked_for_and_not),
		RING_TESTS(un_taken_chains_are_work),
		RING_TESTS(stop_with_any_buffers_out_loses_none),
		RING_TESTS(stop_of_the_largest_rings),
		RING_TESTS(buffer_that_is_out_for_65536_others_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
