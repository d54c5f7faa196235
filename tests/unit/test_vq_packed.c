/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/packed.c that a driver that keeps to the standard is served well.
 *
 *   - set-up: sizes, alignments, places, bases; guest memory is not written
 *   - every layout of buffers comes out as its bytes in order, through rings of sizes that are
 *     powers of two and that are not, across the ends of the ring, with random batches,
 *     un-taking, and buffers given back in any order: each exactly once. Of the ring only
 *     words of used descriptors are written, where the driver expects them
 *   - a batch becomes visible at once
 *   - notifications in both directions are asked for and given as VIRTIO 1.3, 2.8.10 says, at
 *     every place of small rings, in both laps
 *   - after a stop each buffer has been given back once, or is taken again in order
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "tests/unit/packed_rig.h"

#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIR VRING_DESC_F_INDIRECT

static struct rig r;
static uint64_t seed = 0x2545f4914f6cdd1dull;

static uint32_t pick(uint32_t n)
{
	return rig_random(&seed) % n;
}

/* ---- set-up ---- */

static int try_init(const struct xn_vq_cfg *cfg)
{
	struct xn_vq vq;
	int err = xn_vq_init(&vq, &r.mem, &r.ctr, cfg);

	xn_vq_fini(&vq);
	return err;
}

static void sizes_are_any_number_up_to_32768(void **state)
{
	packed_open(&r, 1, XN_VQ_TO_GUEST, 0, 0, true);
	for (uint32_t n = 0; n <= 70000; n++) {
		const struct xn_vq_cfg cfg = packed_cfg(n, XN_VQ_TO_GUEST, 0, XN_VRING_NEW_PACKED);

		if (n > 300 && n % 1024 > 1 && n % 1024 < 1023)
			continue;
		assert_int_equal(try_init(&cfg), n && n <= 32768 ? 0 : -EINVAL);
	}
	rig_close(&r);
}

static void parts_are_aligned_and_in_one_span(void **state)
{
	const uint64_t ring = 16 * 300;
	const struct {
		uint64_t desc, driver, device;
		const char *word;     /* NULL: good */
	} t[] = {
		{ A_GPA, B_GPA, C_GPA, NULL },
		{ B_GPA - ring, B_GPA - ring - 4, B_GPA, NULL },
		{ 0 - ring, B_GPA - 4, C_END - 4, NULL },            /* ends with the address space */
		{ A_GPA + 8, B_GPA, C_GPA, "descriptor ring" },
		{ A_GPA, B_GPA + 2, C_GPA, "driver" },
		{ A_GPA, B_GPA, C_GPA + 2, "device" },
		{ B_GPA - ring + 16, C_GPA, A_GPA, "descriptor ring" },   /* across two spans */
		{ HOLE, B_GPA, C_GPA, "descriptor ring" },
		{ A_GPA, HOLE, C_GPA, "driver" },
		{ A_GPA, B_GPA, C_END, "device" },
		{ 0 - ring + 16, A_GPA, B_GPA, "descriptor ring" },       /* wraps */
		{ A_GPA, A_GPA + ring - 4, B_GPA, "overlap" },
		{ A_GPA, B_GPA, A_GPA, "overlap" },
		{ A_GPA, B_GPA, B_GPA, "overlap" },
	};

	packed_open(&r, 1, XN_VQ_TO_GUEST, 0, 0, true);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(t); i++) {
		struct xn_vq_cfg cfg = packed_cfg(300, XN_VQ_TO_GUEST, 0, XN_VRING_NEW_PACKED);

		cfg.desc.v = t[i].desc;
		cfg.avail.v = t[i].driver;
		cfg.used.v = t[i].device;
		assert_int_equal(try_init(&cfg), t[i].word ? -EINVAL : 0);
		if (t[i].word)
			assert_non_null(strstr(xn_last_error(), t[i].word));
	}
	rig_close(&r);
}

/* All of them for a ring of 3: a base is good if the used position, gone forth by 0 to 3
 * slots, is the available one. */
static void bases_that_cannot_be_are_refused(void **state)
{
	packed_open(&r, 1, XN_VQ_TO_GUEST, 0, 0, true);
	for (uint32_t used = 0; used < 0x10000; used++)
		for (uint32_t avail = 0; avail < 0x10000; avail++) {
			struct xn_vq_cfg cfg = packed_cfg(3, XN_VQ_TO_GUEST, 0, used << 16 | avail);
			struct place at = { used & 0x7fff, used >> 15 };
			bool good = false;

			if ((used & 0x7fff) == 5)
				used += 0x7fff - 6;   /* those in between are like their neighbours */
			if ((avail & 0x7fff) == 5)
				avail += 0x7fff - 6;
			cfg.base = used << 16 | avail;
			if (!used)
				at = (struct place){ avail & 0x7fff, avail >> 15 };
			for (unsigned i = 0; i <= 3 && at.slot < 3; i++, place_move(&at, 3, 1))
				good |= place_base(at) == avail;
			assert_int_equal(try_init(&cfg), good ? 0 : -EINVAL);
		}
	rig_close(&r);
}

static void set_up_writes_nothing_and_goes_on_from_the_base(void **state)
{
	static uint8_t before[0x100000];
	struct xn_vq_cfg cfg = packed_cfg(300, XN_VQ_TO_GUEST, RIG_EVENT, 0x812b0003);
	uint8_t *rings;
	struct xn_vq vq;

	packed_open(&r, 1, XN_VQ_TO_GUEST, 0, 0, true);
	rings = rig_at(&r, A_GPA);
	for (unsigned i = 0; i < sizeof(before); i++)
		rings[i] = (uint8_t)rig_random(&seed);
	memcpy(before, rings, sizeof(before));
	assert_int_equal(xn_vq_init(&vq, &r.mem, &r.ctr, &cfg), 0);
	assert_memory_equal(before, rings, sizeof(before));
	assert_int_equal(xn_vq_base(&vq), 0x812b0003);
	assert_false(xn_vq_publish(&vq));
	xn_vq_fini(&vq);
	assert_memory_equal(before, rings, sizeof(before));
	/* Front ends that know of the available position only. */
	cfg.base = 0x8003;
	assert_int_equal(xn_vq_init(&vq, &r.mem, &r.ctr, &cfg), 0);
	assert_int_equal(xn_vq_base(&vq), 0x80038003);
	xn_vq_fini(&vq);
	rig_close(&r);
}

/* ---- traffic against a reference ---- */

#define MAX_SEGS 5u

struct offered {
	uint16_t id;
	uint8_t n_segs, n_desc;
	struct { uint64_t at; uint32_t len; } seg[MAX_SEGS];
};

/* What the driver made available, in order, and what it waits for. */
static struct {
	struct offered chain[XN_VQ_MAX_SIZE];
	uint32_t offered, taken;               /* free running, of chain[] */
	uint16_t free_ids[XN_VQ_MAX_SIZE];
	uint32_t n_free_ids, free_slots;
	struct place base;                     /* where the device is to go on */
	uint32_t expect_len[XN_VQ_MAX_SIZE];   /* of the used descriptor of an id, ~0: not out */
	struct place offered_at[XN_VQ_MAX_SIZE];
} drv;

static void drv_open(uint32_t size, enum xn_vq_dir dir, uint32_t slot, bool wrap)
{
	packed_open(&r, size, dir, RIG_INDIRECT | RIG_EVENT, slot, wrap);
	memset(&drv, 0, sizeof(drv));
	for (uint32_t i = size; i--; )
		drv.free_ids[drv.n_free_ids++] = (uint16_t)i;
	drv.free_slots = size;
	drv.base = p.avail;
	memset(drv.expect_len, 0xff, sizeof(drv.expect_len));
}

static struct offered *chain_at(uint32_t i)
{
	return &drv.chain[i % r.size];
}

/* Tables have a place of their own for each id of the smaller queues. */
static uint64_t table_of(uint16_t id)
{
	return BUF_GPA + 0x80000 + 80ull * (id % 1024);
}

static void random_segs(struct offered *o)
{
	o->n_segs = (uint8_t)(pick(3) ? 1 : 1 + pick(MAX_SEGS));
	for (unsigned i = 0; i < o->n_segs; i++) {
		o->seg[i].len = 1 + pick(2000);
		o->seg[i].at = pick(8) ? BUF_GPA + pick(0x70000) :
			       pick(2) ? B_GPA - pick(2000) : C_GPA - pick(2000);
	}
	if (o->n_segs > 1 && !pick(2))
		o->seg[0].len = 12;                /* the virtio header apart */
	if (o->n_segs > 1 && !pick(4)) {
		o->seg[pick(o->n_segs)].len = 0;   /* legal, and nothing */
		o->seg[0].len = XN_MAX(o->seg[0].len, 1u);
	}
}

static void write_chain(const struct offered *o, bool indirect)
{
	for (unsigned i = 0; i < o->n_segs; i++) {
		uint16_t flags = r.vq.expect_flags;
		/* The standard wants the id in the last one only. */
		uint16_t id = i + 1u == o->n_segs ? o->id : (uint16_t)rig_random(&seed);
		struct vring_packed_desc e = { o->seg[i].at, o->seg[i].len, (uint16_t)pick(65536),
					       flags };

		if (indirect) {
			/* All flags but WRITE are ignored in there (2.8.7). */
			e.flags |= (uint16_t)(pick(2) ? rig_random(&seed) & ~WRITE : 0);
			rig_write(&r, table_of(o->id) + 16 * i, &e, sizeof(e));
		} else {
			packed_put(&r, i, o->seg[i].at, o->seg[i].len, id,
				   flags | (i + 1u < o->n_segs ? NEXT : 0));
		}
	}
	if (indirect)
		packed_put(&r, 0, table_of(o->id), 16u * o->n_segs, o->id,
			   (uint16_t)(INDIR | (pick(2) ? WRITE : 0)));
}

/* Makes one chain of a random layout available. False: no room. */
static bool drv_offer(void)
{
	const bool indirect = r.size <= 1024 && !pick(3);
	struct offered o = { 0 };
	uint32_t i;

	random_segs(&o);
	o.n_segs = (uint8_t)XN_MIN(o.n_segs, r.size);
	o.seg[0].len = XN_MAX(o.seg[0].len, 1u);
	o.n_desc = indirect ? 1 : o.n_segs;
	if (drv.free_slots < o.n_desc)
		return false;
	i = pick(drv.n_free_ids);
	o.id = drv.free_ids[i];
	drv.free_ids[i] = drv.free_ids[--drv.n_free_ids];
	drv.free_slots -= o.n_desc;
	drv.offered_at[o.id] = p.avail;
	*chain_at(drv.offered++) = o;
	write_chain(&o, indirect);
	packed_offer(&r, o.id, o.n_desc);
	return true;
}

/* The pieces of a chain are the bytes that the driver wrote, in order. */
static void check_chain(const struct xn_chain *c, const struct offered *o)
{
	const struct xn_piece *q = rig_pieces(&r, c), *end = q + c->n_pieces;
	uint32_t bytes = 0, into = 0;

	assert_int_equal(c->head, o->id);
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

	while (packed_used(&r, &id, &len)) {
		assert_true(id < r.size);
		assert_true(drv.expect_len[id] != UINT32_MAX);   /* pushed, and seen once */
		assert_int_equal(len, drv.expect_len[id]);
		drv.expect_len[id] = UINT32_MAX;
		drv.free_ids[drv.n_free_ids++] = (uint16_t)id;
		drv.free_slots += p.last_slots;
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
	struct place at = drv.base;
	unsigned waiting = drv.offered - drv.taken, room = 1 + pick(4 * max);
	unsigned n = xn_vq_pop(&r.vq, r.chains, max, r.pieces, XN_MAX(room, 2 * MAX_SEGS)), keep;

	assert_true(n <= max && n <= waiting);
	assert_true(n || !waiting);
	for (unsigned i = 0; i < n; i++) {
		check_chain(&r.chains[i], chain_at(drv.taken + i));
		assert_int_equal(r.vq.state[r.chains[i].head], XN_VQ_TAKEN | place_base(at));
		place_move(&at, r.size, r.chains[i].slots);
		if (i < r.vq.plain)
			assert_true(r.chains[i].n_pieces == 1 && r.chains[i].bytes >= RIG_MIN_BYTES);
	}
	assert_true(r.vq.plain <= n);
	assert_int_equal(r.vq.avail_next, place_base(at));
	keep = pick(3) ? n : pick(n + 1);
	xn_vq_unpop(&r.vq, r.chains + keep, n - keep);
	for (unsigned i = 0; i < keep; i++) {
		held[n_held++] = r.chains[i].head;
		place_move(&drv.base, r.size, r.chains[i].slots);
	}
	drv.taken += keep;
	assert_int_equal(r.vq.avail_next, place_base(drv.base));
	assert_int_equal(r.vq.outstanding, n_held);
	return keep;
}

static void nothing_is_out(void)
{
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(r.vq.pk.slots_out, 0);
	for (uint32_t i = 0; i < r.size; i++)
		assert_true(!r.vq.state[i] && !r.vq.pk.more[i]);
	assert_int_equal(r.vq.pk.used_at, r.vq.avail_next);
}

static void run_traffic(uint32_t size, enum xn_vq_dir dir, uint64_t packets)
{
	const uint32_t most = size > 1024 ? 4096 : 64;
	uint64_t taken = 0, collected = 0;

	drv_open(size, dir, pick(size), pick(2));
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
	assert_int_equal(r.vq.pk.used_at, place_base(p.used));
	rig_close(&r);
}

static void traffic_with_random_layouts(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 3, 4, 5, 7, 100, 256, 257, 1000 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++) {
		run_traffic(sizes[i], XN_VQ_FROM_GUEST, 50000);
		run_traffic(sizes[i], XN_VQ_TO_GUEST, 50000);
	}
}

static void traffic_with_random_layouts_of_the_largest_rings(void **state)
{
	static const uint32_t sizes[] = { 32767, 32768, 16385 };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++) {
		run_traffic(sizes[i], XN_VQ_FROM_GUEST, 200000);
		run_traffic(sizes[i], XN_VQ_TO_GUEST, 200000);
	}
}

/* All slots of the ring out at once, and all back: over many ends of the ring. */
static void full_rings(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 256, 257, 32767, 32768 };

	for (unsigned k = 0; k < XN_ARRAY_SIZE(sizes); k++) {
		const uint32_t size = sizes[k];

		packed_open(&r, size, XN_VQ_TO_GUEST, RIG_EVENT, size / 2, k & 1);
		for (unsigned round = 0; round < 6; round++) {
			uint32_t id, len;

			for (uint32_t i = 0; i < size; i++)
				packed_one(&r, BUF_GPA + i, 1 + i, (uint16_t)(size - 1 - i), WRITE);
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
				assert_true(packed_used(&r, &id, &len) && id == i && len == i);
			assert_false(packed_used(&r, &id, &len));
		}
		assert_int_equal(rig_all_faults(&r), 0);
		nothing_is_out();
		rig_close(&r);
	}
}

/* One chain of the whole ring, from each slot. */
static void a_chain_of_all_slots(void **state)
{
	for (uint32_t size = 1; size <= 6; size++)
		for (uint32_t slot = 0; slot < size; slot++) {
			uint32_t id, len;

			packed_open(&r, size, XN_VQ_FROM_GUEST, 0, slot, true);
			for (unsigned round = 0; round < 5; round++) {
				for (uint32_t i = 0; i < size; i++)
					packed_put(&r, i, BUF_GPA + 64 * i, 10, 0, i + 1 < size ? NEXT : 0);
				packed_offer(&r, 0, size);
				assert_int_equal(rig_pop(&r, 2), 1);
				assert_int_equal(r.chains[0].n_pieces, size);
				xn_vq_unpop(&r.vq, r.chains, 1);
				assert_int_equal(rig_pop(&r, 2), 1);
				xn_vq_push(&r.vq, 0, 0);
				assert_true(xn_vq_publish(&r.vq));
				assert_true(packed_used(&r, &id, &len));
				assert_false(packed_used(&r, &id, &len));
			}
			nothing_is_out();
			rig_close(&r);
		}
}

/*
 * Of all guest memory a publication changes length, id and flags of the slots where
 * used descriptors belong, and nothing before it.
 */
static void only_words_of_used_descriptors_are_written(void **state)
{
	static uint8_t before[A_BYTES];
	uint8_t *a;

	drv_open(7, XN_VQ_TO_GUEST, 5, true);
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

/* Plain are those from the first on that have one piece, not too short a one. */
static void plain_chains_are_counted(void **state)
{
	packed_open(&r, 9, XN_VQ_FROM_GUEST, 0, 7, true);
	for (unsigned i = 0; i < 6; i++)
		packed_one(&r, BUF_GPA, i == 3 ? RIG_MIN_BYTES - 1 : RIG_MIN_BYTES, (uint16_t)i, 0);
	assert_int_equal(rig_pop(&r, 1), 1);     /* searches the span: not counted */
	assert_int_equal(rig_pop(&r, 8), 5);
	assert_int_equal(r.vq.plain, 2);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(r.chains[i].head, i + 1);
	assert_int_equal(rig_pop(&r, 8), 0);
	assert_int_equal(r.vq.plain, 0);
	rig_close(&r);
}

static void asking_for_nothing_takes_nothing(void **state)
{
	packed_open(&r, 8, XN_VQ_FROM_GUEST, 0, 0, true);
	packed_one(&r, HOLE, 64, 0, 0);      /* wrong: not even this is refused */
	assert_int_equal(xn_vq_pop(&r.vq, r.chains, 0, r.pieces, 16), 0);
	assert_int_equal(rig_all_faults(&r), 0);
	assert_int_equal(r.vq.avail_next, 0x8000);
	rig_close(&r);
}

static void chain_that_does_not_fit_waits_for_the_next_call(void **state)
{
	static const unsigned pieces[] = { 2, 3, 2 };

	packed_open(&r, 10, XN_VQ_FROM_GUEST, 0, 6, false);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(pieces); i++) {
		for (unsigned k = 0; k < pieces[i]; k++)
			packed_put(&r, k, BUF_GPA + 64 * k, 10, (uint16_t)i, k + 1 < pieces[i] ? NEXT : 0);
		packed_offer(&r, (uint16_t)i, pieces[i]);
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
	uint32_t id, len;

	packed_open(&r, 5, XN_VQ_BOTH, RIG_INDIRECT, 3, true);
	for (unsigned round = 0; round < 20; round++) {
		if (round & 1) {
			struct vring_packed_desc t[3] = { { BUF_GPA, 2, 9, 0 }, { BUF_GPA + 16, 4, 9, 0 },
							  { BUF_GPA + 32, 1, 9, WRITE } };

			rig_write(&r, BUF_GPA + 256, t, sizeof(t));
			packed_one(&r, BUF_GPA + 256, sizeof(t), 2, INDIR);
		} else {
			packed_put(&r, 0, BUF_GPA, 6, 0, NEXT);
			packed_put(&r, 1, BUF_GPA + 32, 1, 2, WRITE);
			packed_offer(&r, 2, 2);
		}
		assert_true(xn_vq_pop_command(&r.vq, &c, r.pieces, 64));
		assert_int_equal(c.head, 2);
		assert_int_equal(c.bytes, 7);
		assert_int_equal(r.vq.readable, 6);
		assert_false(xn_vq_pop_command(&r.vq, &c, r.pieces, 64));
		xn_vq_push(&r.vq, 2, 1);
		assert_true(xn_vq_publish(&r.vq));
		assert_true(packed_used(&r, &id, &len) && id == 2 && len == 1);
	}
	nothing_is_out();
	rig_close(&r);
}

/* ---- notifications to the guest ---- */

/* Uses n buffers and publishes. */
static void use(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		packed_one(&r, BUF_GPA, 100, (uint16_t)i, r.vq.expect_flags);
	for (unsigned left = n; left; left -= rig_pop(&r, left))
		;
	for (unsigned i = 0; i < n; i++)
		xn_vq_push(&r.vq, (uint16_t)i, 0);
	assert_true(xn_vq_publish(&r.vq));
}

static void drain_used(void)
{
	uint32_t id, len;

	while (packed_used(&r, &id, &len))
		;
}

/* The event is due when the slot it names is among the new ones, in the lap it names. */
static void event_at_every_place_of_the_ring(void **state)
{
	for (uint32_t size = 1; size <= 7; size++)
		for (uint32_t from = 0; from < 2 * size; from++)
			for (unsigned n = 1; n <= size; n++)
				for (uint32_t event = 0; event < 2 * (size + 3); event++) {
					const uint32_t slot = event % (size + 3);
					struct place at = { from % size, from >= size };
					bool wrap = event >= size + 3, due = false;

					packed_open(&r, size, XN_VQ_FROM_GUEST, RIG_EVENT, at.slot, at.wrap);
					r.vq.pk.untold = 0;     /* all told so far */
					p.driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
					p.driver->off_wrap = (uint16_t)(slot | (wrap ? 0x8000 : 0));
					use(n);
					for (unsigned i = 0; i < n; i++, place_move(&at, size, 1))
						due |= at.slot == slot && at.wrap == wrap;
					assert_int_equal(xn_vq_wants_irq(&r.vq), due);
					assert_false(xn_vq_wants_irq(&r.vq));   /* decided, once */
					rig_close(&r);
				}
}

/* What was not asked for in several publications is not forgotten. */
static void slots_add_up_until_somebody_asks(void **state)
{
	packed_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, 14, true);
	p.driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
	p.driver->off_wrap = 15 | 0x8000;
	r.vq.pk.untold = 0;
	use(1);
	drain_used();
	use(3);
	drain_used();
	use(2);
	assert_true(xn_vq_wants_irq(&r.vq));
	rig_close(&r);
}

/* A chain passes the event by with all of its slots. */
static void event_inside_of_a_chain(void **state)
{
	for (unsigned event = 0; event < 8; event++) {
		packed_open(&r, 8, XN_VQ_FROM_GUEST, RIG_EVENT, 2, true);
		r.vq.pk.untold = 0;
		p.driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
		p.driver->off_wrap = (uint16_t)(event | 0x8000);
		for (unsigned i = 0; i < 3; i++)
			packed_put(&r, i, BUF_GPA, 10, 5, i < 2 ? NEXT : 0);
		packed_offer(&r, 5, 3);
		assert_int_equal(rig_pop(&r, 2), 1);
		xn_vq_push(&r.vq, 5, 0);
		assert_true(xn_vq_publish(&r.vq));
		assert_int_equal(xn_vq_wants_irq(&r.vq), event >= 2 && event <= 4);
		rig_close(&r);
	}
}

static void enable_and_disable_are_obeyed_and_nonsense_is_no_silence(void **state)
{
	for (unsigned flags = 0; flags <= RIG_EVENT; flags += RIG_EVENT)
		for (unsigned wish = 0; wish < 8; wish++) {
			bool silent = (wish & 3) == VRING_PACKED_EVENT_FLAG_DISABLE ||
				      ((wish & 3) == VRING_PACKED_EVENT_FLAG_DESC && flags);

			packed_open(&r, 16, XN_VQ_FROM_GUEST, flags, 3, true);
			r.vq.pk.untold = 0;
			p.driver->off_wrap = 9 | 0x8000;   /* not reached */
			p.driver->flags = (uint16_t)wish;  /* reserved bits mean nothing */
			use(2);
			assert_int_equal(xn_vq_wants_irq(&r.vq), !silent);
			assert_false(xn_vq_wants_irq(&r.vq));
			rig_close(&r);
		}
}

/* A back end that died after publish and before the notification. */
static void untold_slots_of_an_earlier_back_end_are_told(void **state)
{
	for (unsigned behind = 0; behind < 32; behind++) {
		struct place at = { 15, false };

		packed_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, 14, true);
		p.driver->flags = VRING_PACKED_EVENT_FLAG_DESC;
		/* From the slot that is used next, 15 back; then it is one of the next lap. */
		place_move(&at, 16, behind);
		p.driver->off_wrap = place_base(at);
		use(1);
		assert_int_equal(xn_vq_wants_irq(&r.vq), behind <= 15);
		use(1);
		assert_int_equal(xn_vq_wants_irq(&r.vq), behind == 16);
		rig_close(&r);
	}
}

/* ---- kicks by the guest ---- */

static void kicks_are_asked_for_and_not(void **state)
{
	for (unsigned flags = 0; flags <= RIG_EVENT; flags += RIG_EVENT)
		for (unsigned slot = 0; slot < 32; slot++) {
			struct place was;

			packed_open(&r, 16, XN_VQ_FROM_GUEST, flags, slot % 16, slot / 16);
			assert_true(xn_vq_enable_kick(&r.vq));
			was = p.avail;
			packed_one(&r, BUF_GPA, 100, 0, 0);
			assert_true(packed_kicks(&r, was, p.avail));
			was = p.avail;
			packed_one(&r, BUF_GPA, 100, 1, 0);
			assert_int_equal(packed_kicks(&r, was, p.avail), !flags);   /* once */
			assert_false(xn_vq_enable_kick(&r.vq));      /* there is work */
			assert_int_equal(rig_pop(&r, 4), 2);
			xn_vq_disable_kick(&r.vq);
			for (unsigned i = 2; i < 16; i++) {
				was = p.avail;
				packed_one(&r, BUF_GPA, 100, (uint16_t)i, 0);
				assert_false(packed_kicks(&r, was, p.avail));
			}
			assert_false(xn_vq_enable_kick(&r.vq));
			assert_int_equal(rig_pop(&r, 16), 14);
			assert_true(xn_vq_enable_kick(&r.vq));
			/* Some are out, and stay so. */
			for (unsigned i = 0; i < 3; i++)
				xn_vq_push(&r.vq, (uint16_t)i, 0);
			xn_vq_publish(&r.vq);
			was = p.avail;
			packed_one(&r, BUF_GPA, 100, 0, 0);
			assert_true(packed_kicks(&r, was, p.avail));
			rig_close(&r);
		}
}

static void un_taken_chains_are_work(void **state)
{
	packed_open(&r, 3, XN_VQ_FROM_GUEST, RIG_EVENT, 2, true);
	packed_one(&r, BUF_GPA, 100, 0, 0);
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
	struct place at = drv.base;
	unsigned n = 0;

	while (n < n_held) {
		const struct offered *o = chain_at(drv.taken - 1);
		struct place begin = drv.offered_at[o->id], end = begin;

		place_move(&end, r.size, o->n_desc);
		if (!is_held(o->id) || place_base(end) != place_base(at))
			break;
		at = begin;
		drv.taken--;
		n++;
	}
	drv.base = at;
	return n;
}

/*
 * A device with random buffers out stops; another one goes on from its base. Every one
 * that was out is given back, once, or comes again, in the order it was offered in.
 */
static void stop_and_go_on(uint32_t size)
{
	uint64_t collected = 0, before;
	unsigned given, out, rewound;
	struct xn_vq_cfg cfg;

	drv_open(size, XN_VQ_FROM_GUEST, pick(size), pick(2));
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
	assert_int_equal(r.vq.avail_next, place_base(drv.base));
	assert_int_equal(r.ctr.v[XN_C_heads_dropped], given);
	nothing_is_out();
	drv_collect(&collected);                 /* published; each expected, and once */
	assert_int_equal(collected - before, given);

	cfg = packed_cfg(size, XN_VQ_FROM_GUEST, RIG_INDIRECT | RIG_EVENT, xn_vq_base(&r.vq));
	assert_int_equal(cfg.base >> 16, cfg.base & 0xffff);
	if (pick(2))
		cfg.base &= 0xffff;              /* a front end that keeps only this */
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
	static const uint32_t sizes[] = { 1, 2, 3, 4, 5, 16, 100, 256 };

	for (unsigned i = 0; i < 3000; i++)
		stop_and_go_on(sizes[i % XN_ARRAY_SIZE(sizes)]);
}

static void stop_of_the_largest_rings(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		stop_and_go_on(32768 - i % 2);
}

/* One old buffer stays out while the ring goes round thousands of times. */
static void buffer_that_is_out_for_many_laps_is_given_back(void **state)
{
	uint32_t id, len;

	packed_open(&r, 4, XN_VQ_TO_GUEST, 0, 1, true);
	packed_one(&r, BUF_GPA, 1536, 3, WRITE);
	assert_int_equal(rig_pop(&r, 1), 1);
	for (unsigned i = 0; i < 70000; i++) {
		packed_one(&r, BUF_GPA, 1536, (uint16_t)(i % 3), WRITE);
		assert_int_equal(rig_pop(&r, 4), 1);
		xn_vq_push(&r.vq, (uint16_t)(i % 3), 64);
		xn_vq_publish(&r.vq);
		assert_true(packed_used(&r, &id, &len) && id == i % 3);
	}
	packed_one(&r, BUF_GPA, 1536, 0, WRITE);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(xn_vq_reclaim_all(&r.vq), 1);
	assert_true(packed_used(&r, &id, &len));
	assert_true(id == 3 && len == 0);
	assert_false(packed_used(&r, &id, &len));
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].head, 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_any_number_up_to_32768),
		cmocka_unit_test(parts_are_aligned_and_in_one_span),
		cmocka_unit_test(bases_that_cannot_be_are_refused),
		cmocka_unit_test(set_up_writes_nothing_and_goes_on_from_the_base),
		cmocka_unit_test(traffic_with_random_layouts),
		cmocka_unit_test(traffic_with_random_layouts_of_the_largest_rings),
		cmocka_unit_test(full_rings),
		cmocka_unit_test(a_chain_of_all_slots),
		cmocka_unit_test(only_words_of_used_descriptors_are_written),
		cmocka_unit_test(plain_chains_are_counted),
		cmocka_unit_test(asking_for_nothing_takes_nothing),
		cmocka_unit_test(chain_that_does_not_fit_waits_for_the_next_call),
		cmocka_unit_test(commands_have_two_directions),
		cmocka_unit_test(event_at_every_place_of_the_ring),
		cmocka_unit_test(slots_add_up_until_somebody_asks),
		cmocka_unit_test(event_inside_of_a_chain),
		cmocka_unit_test(enable_and_disable_are_obeyed_and_nonsense_is_no_silence),
		cmocka_unit_test(untold_slots_of_an_earlier_back_end_are_told),
		cmocka_unit_test(kicks_are_asked_for_and_not),
		cmocka_unit_test(un_taken_chains_are_work),
		cmocka_unit_test(stop_with_any_buffers_out_loses_none),
		cmocka_unit_test(stop_of_the_largest_rings),
		cmocka_unit_test(buffer_that_is_out_for_many_laps_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
