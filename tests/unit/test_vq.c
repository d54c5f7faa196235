/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/vq.c that a driver that keeps to the standard is served well.
 *
 *   - set-up: sizes, alignments, places; guest memory is not written
 *   - every layout of buffers comes out as its bytes in order, through queues of 1, 2,
 *     256 and 32768, across the wrap of the indices, with random batches, un-taking,
 *     and heads given back in any order: each exactly once
 *   - notifications in both directions are asked for and given as VIRTIO 1.2, 2.7.7 and
 *     2.7.10 say, at every offset to the wrap
 *   - after a stop each head has been given back once, or is taken again in order
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "tests/unit/vq_rig.h"

#define NEXT  VRING_DESC_F_NEXT
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

static void sizes_are_powers_of_two(void **state)
{
	rig_open(&r, 1, XN_VQ_TO_GUEST, 0, 0);
	for (uint32_t n = 0; n <= 70000; n++) {
		const struct xn_vq_cfg cfg = rig_cfg(n, XN_VQ_TO_GUEST, 0, 0);
		bool good = n && !(n & (n - 1)) && n <= 32768;

		if (n > 300 && n % 1024 > 1 && n % 1024 < 1023)
			continue;
		assert_int_equal(try_init(&cfg), good ? 0 : -EINVAL);
	}
	assert_int_equal(try_init(&(struct xn_vq_cfg){ .size = 1u << 31 }), -EINVAL);
	rig_close(&r);
}

static void rings_are_aligned_and_in_one_span(void **state)
{
	const uint64_t desc = 16 * 256, avail = 6 + 2 * 256, used = 6 + 8 * 256;
	const struct {
		uint64_t desc, avail, used;
		const char *word;     /* NULL: good */
	} t[] = {
		{ A_GPA, B_GPA, C_GPA, NULL },
		{ B_GPA - desc, C_GPA, A_GPA, NULL },
		{ A_GPA, B_GPA - avail, C_GPA, NULL },
		{ A_GPA, B_GPA, C_END - XN_ALIGN_UP(used, 4), NULL },
		{ A_GPA, A_GPA + desc, A_GPA + desc + 520, NULL },
		{ 0 - desc, A_GPA, B_GPA, NULL },                 /* ends with the address space */
		{ A_GPA + 8, B_GPA, C_GPA, "descriptor" },
		{ A_GPA, B_GPA + 1, C_GPA, "available" },
		{ A_GPA, B_GPA, C_GPA + 2, "used" },
		{ B_GPA - desc + 16, C_GPA, A_GPA, "descriptor" },   /* across two spans */
		{ A_GPA, B_GPA - avail + 2, C_GPA, "available" },     /* just used_event is not */
		{ A_GPA, B_GPA, C_END - used + 2, "used" },
		{ A_GPA, B_GPA, C_GPA - XN_ALIGN_UP(used, 4) + 4, "used" },   /* touching spans */
		{ HOLE, B_GPA, C_GPA, "descriptor" },
		{ A_GPA, HOLE, C_GPA, "available" },
		{ A_GPA, B_GPA, HOLE, "used" },
		{ A_GPA, B_GPA, 0, "used" },
		{ 0 - desc + 16, A_GPA, B_GPA, "descriptor" },       /* wraps */
	};

	rig_open(&r, 1, XN_VQ_TO_GUEST, 0, 0);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(t); i++) {
		struct xn_vq_cfg cfg = rig_cfg(256, XN_VQ_TO_GUEST, 0, 0);

		cfg.desc.v = t[i].desc;
		cfg.avail.v = t[i].avail;
		cfg.used.v = t[i].used;
		assert_int_equal(try_init(&cfg), t[i].word ? -EINVAL : 0);
		if (t[i].word)
			assert_non_null(strstr(xn_last_error(), t[i].word));
	}
	rig_close(&r);
}

static void set_up_writes_nothing_and_goes_on_from_the_used_index(void **state)
{
	static uint8_t before[0x100000];
	struct xn_vq_cfg cfg = rig_cfg(256, XN_VQ_TO_GUEST, RIG_EVENT, 1234);
	uint8_t *rings;
	struct xn_vq vq;

	rig_open(&r, 256, XN_VQ_TO_GUEST, 0, 0);
	rings = rig_at(&r, A_GPA);
	for (unsigned i = 0; i < sizeof(before); i++)
		rings[i] = (uint8_t)rig_random(&seed);
	r.used->idx = 65534;
	memcpy(before, rings, sizeof(before));
	assert_int_equal(xn_vq_init(&vq, &r.mem, &r.ctr, &cfg), 0);
	assert_memory_equal(before, rings, sizeof(before));
	assert_int_equal(vq.used_next, 65534);
	assert_int_equal(vq.avail_next, 1234);
	assert_false(xn_vq_publish(&vq));
	xn_vq_fini(&vq);
	assert_memory_equal(before, rings, sizeof(before));
	rig_close(&r);
}

/* ---- traffic against a reference ---- */

#define MAX_SEGS 5u

/* What the driver made available, in order. */
struct offered {
	uint16_t head;
	uint8_t n_segs, n_desc;
	struct { uint64_t at; uint32_t len; } seg[MAX_SEGS];
};

static struct {
	struct offered ring[XN_VQ_MAX_SIZE];   /* by available index modulo size */
	uint16_t free[XN_VQ_MAX_SIZE];         /* descriptors */
	uint32_t n_free;
	uint16_t desc_of[XN_VQ_MAX_SIZE][MAX_SEGS];   /* descriptors of the chain of a head */
	uint8_t  n_desc[XN_VQ_MAX_SIZE];
	uint16_t offered_at[XN_VQ_MAX_SIZE];   /* available index of a head's last offer */
	uint32_t expect_len[XN_VQ_MAX_SIZE];   /* of the used entry of a head, ~0: not out */
} drv;

static void drv_open(uint32_t size, enum xn_vq_dir dir, uint16_t base)
{
	rig_open(&r, size, dir, RIG_INDIRECT | RIG_EVENT, base);
	memset(&drv, 0, sizeof(drv));
	for (uint32_t i = size; i--; )
		drv.free[drv.n_free++] = (uint16_t)i;
	memset(drv.expect_len, 0xff, sizeof(drv.expect_len));
}

/* Tables have a place of their own for each head of the smaller queues. */
static uint64_t table_of(uint16_t head)
{
	return BUF_GPA + 0x80000 + 80ull * (head % 1024);
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

/* Makes one chain of a random layout available. False: no room. */
static bool drv_offer(void)
{
	const uint16_t dir = r.vq.expect_flags;
	bool indirect = r.size <= 1024 && !pick(3);
	struct offered o;

	random_segs(&o);
	o.n_segs = (uint8_t)XN_MIN(o.n_segs, r.size);
	o.seg[0].len = XN_MAX(o.seg[0].len, 1u);
	o.n_desc = indirect ? 1 : o.n_segs;
	if (drv.n_free < o.n_desc)
		return false;
	o.head = drv.free[drv.n_free - 1];
	drv.n_desc[o.head] = o.n_desc;
	drv.offered_at[o.head] = r.next_avail;
	for (unsigned i = 0; i < o.n_desc; i++)
		drv.desc_of[o.head][i] = drv.free[--drv.n_free];
	for (unsigned i = 0; i < o.n_segs; i++) {
		bool more = i + 1 < o.n_segs;
		uint16_t flags = dir | (more ? NEXT : 0);

		if (indirect)
			rig_entry(&r, table_of(o.head), i, o.seg[i].at, o.seg[i].len, flags,
				  (uint16_t)(i + 1));
		else
			rig_desc(&r, drv.desc_of[o.head][i], o.seg[i].at, o.seg[i].len, flags,
				 more ? drv.desc_of[o.head][i + 1] : 0);
	}
	if (indirect)
		rig_desc(&r, o.head, table_of(o.head), 16u * o.n_segs, INDIR, 0);
	drv.ring[r.next_avail & (r.size - 1)] = o;
	rig_offer(&r, o.head);
	return true;
}

/* The pieces of a chain are the bytes that the driver wrote, in order. */
static void check_chain(const struct xn_chain *c, const struct offered *o)
{
	const struct xn_piece *p = rig_pieces(&r, c), *end = p + c->n_pieces;
	uint32_t bytes = 0, into = 0;

	assert_int_equal(c->head, o->head);
	for (unsigned i = 0; i < o->n_segs; i++) {
		for (uint32_t done = 0; done < o->seg[i].len; ) {
			uint32_t n;

			assert_true(p < end);
			n = XN_MIN(o->seg[i].len - done, p->len - into);
			assert_ptr_equal((uint8_t *)xn_mem_at(&r.mem, p->at) + into,
					 rig_at(&r, o->seg[i].at + done));
			done += n;
			into += n;
			if (into == p->len) {
				p++;
				into = 0;
			}
		}
		assert_int_equal(into, 0);   /* a piece is never of two descriptors */
		bytes += o->seg[i].len;
	}
	assert_ptr_equal(p, end);
	assert_int_equal(c->bytes, bytes);
}

static void drv_collect(uint64_t *collected)
{
	uint32_t head, len;

	while (rig_used(&r, &head, &len)) {
		assert_true(head < r.size);
		assert_true(drv.expect_len[head] != UINT32_MAX);   /* pushed, and seen once */
		assert_int_equal(len, drv.expect_len[head]);
		drv.expect_len[head] = UINT32_MAX;
		for (unsigned i = drv.n_desc[head]; i--; )
			drv.free[drv.n_free++] = drv.desc_of[head][i];
		++*collected;
	}
}

static uint16_t held[XN_VQ_MAX_SIZE];
static unsigned n_held;

static void push_one(unsigned i)
{
	uint16_t head = held[i];

	drv.expect_len[head] = rig_random(&seed) >> 1;
	xn_vq_push(&r.vq, head, drv.expect_len[head]);
	held[i] = held[--n_held];
}

/* The same for k of them through the interface for runs. */
static void push_run(unsigned k)
{
	struct xn_vq_run run = xn_vq_begin(&r.vq);

	while (k--) {
		unsigned i = pick(n_held);
		uint16_t head = held[i];

		drv.expect_len[head] = rig_random(&seed) >> 1;
		xn_vq_run_push(&run, head, drv.expect_len[head]);
		held[i] = held[--n_held];
	}
	xn_vq_end(&r.vq, &run);
}

/* The device takes a batch, keeps the front of it, and checks all of it. */
static unsigned take_some(unsigned max)
{
	uint16_t at = r.vq.avail_next;
	unsigned waiting = (uint16_t)(r.next_avail - at), room = 1 + pick(4 * max);
	unsigned n = xn_vq_pop(&r.vq, r.chains, max, r.pieces, XN_MAX(room, 2 * MAX_SEGS)), keep;

	assert_true(n <= max);
	assert_true(n || !waiting);
	for (unsigned i = 0; i < n; i++) {
		check_chain(&r.chains[i], &drv.ring[(at + i) & (r.size - 1)]);
		assert_int_equal(r.vq.state[r.chains[i].head], XN_VQ_TAKEN | (uint16_t)(at + i));
		if (i < r.vq.plain)
			assert_true(r.chains[i].n_pieces == 1 && r.chains[i].bytes >= RIG_MIN_BYTES);
	}
	assert_true(r.vq.plain <= n);
	keep = pick(3) ? n : pick(n + 1);
	xn_vq_unpop(&r.vq, r.chains + keep, n - keep);
	assert_int_equal(r.vq.avail_next, (uint16_t)(at + keep));
	for (unsigned i = 0; i < keep; i++)
		held[n_held++] = r.chains[i].head;
	assert_int_equal(r.vq.outstanding, n_held);
	return keep;
}

static void run_traffic(uint32_t size, enum xn_vq_dir dir, uint64_t packets)
{
	const uint32_t most = size > 1024 ? 4096 : 64;
	uint64_t taken = 0, collected = 0;

	drv_open(size, dir, 65000);
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
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(rig_all_faults(&r), 0);
	assert_int_equal(rig_taken(&r), 0);
	rig_close(&r);
}

static void traffic_with_random_layouts_size_1(void **state)
{
	run_traffic(1, XN_VQ_FROM_GUEST, 200000);
	run_traffic(1, XN_VQ_TO_GUEST, 70000);
}

static void traffic_with_random_layouts_size_2(void **state)
{
	run_traffic(2, XN_VQ_FROM_GUEST, 200000);
	run_traffic(2, XN_VQ_TO_GUEST, 70000);
}

static void traffic_with_random_layouts_size_256(void **state)
{
	run_traffic(256, XN_VQ_FROM_GUEST, 200000);
	run_traffic(256, XN_VQ_TO_GUEST, 200000);
}

static void traffic_with_random_layouts_size_32768(void **state)
{
	run_traffic(32768, XN_VQ_FROM_GUEST, 200000);
	run_traffic(32768, XN_VQ_TO_GUEST, 200000);
}

/* All heads of the ring out at once, over the wrap, and all back. */
static void full_rings_at_every_size(void **state)
{
	for (uint32_t size = 1; size <= XN_VQ_MAX_SIZE; size *= 2) {
		rig_open(&r, size, XN_VQ_TO_GUEST, RIG_EVENT, (uint16_t)(65535 - size / 2));
		for (unsigned round = 0; round < 5; round++) {
			uint32_t head, len;

			for (uint32_t i = 0; i < size; i++) {
				rig_desc(&r, i, BUF_GPA + i, 1 + i, VRING_DESC_F_WRITE, 0);
				rig_offer(&r, (uint16_t)(size - 1 - i));
			}
			assert_int_equal(rig_pop(&r, size), size);
			assert_int_equal(r.vq.outstanding, size);
			assert_int_equal(rig_pop(&r, 1), 0);
			for (uint32_t i = 0; i < size; i++) {
				assert_int_equal(r.chains[i].head, size - 1 - i);
				xn_vq_push(&r.vq, (uint16_t)i, i);
			}
			assert_true(xn_vq_publish(&r.vq));
			for (uint32_t i = 0; i < size; i++)
				assert_true(rig_used(&r, &head, &len) && head == i && len == i);
			assert_false(rig_used(&r, &head, &len));
		}
		assert_int_equal(rig_all_faults(&r), 0);
		rig_close(&r);
	}
}

static void used_entries_are_seen_after_publish_only(void **state)
{
	uint32_t head, len;

	drv_open(8, XN_VQ_FROM_GUEST, 0);
	rig_desc(&r, 0, BUF_GPA, 64, 0, 0);
	rig_offer(&r, 0);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_false(xn_vq_publish(&r.vq));
	xn_vq_push(&r.vq, 0, 9);
	assert_false(rig_used(&r, &head, &len));
	assert_true(xn_vq_publish(&r.vq));
	assert_false(xn_vq_publish(&r.vq));
	assert_true(rig_used(&r, &head, &len));
	rig_close(&r);
}

/* Plain are those from the first on that have one piece, not too short a one. */
static void plain_chains_are_counted(void **state)
{
	drv_open(8, XN_VQ_FROM_GUEST, 65535);
	for (unsigned i = 0; i < 6; i++) {
		rig_desc(&r, i, BUF_GPA, i == 3 ? RIG_MIN_BYTES - 1 : RIG_MIN_BYTES, 0, 0);
		rig_offer(&r, (uint16_t)i);
	}
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
	drv_open(8, XN_VQ_FROM_GUEST, 65533);
	for (unsigned i = 0; i < 5; i++) {
		rig_desc(&r, i, BUF_GPA, 64, 0, 0);
		rig_offer(&r, (uint16_t)i);
		if (i == 1)
			assert_int_equal(rig_pop(&r, 1), 1);
	}
	assert_int_equal(rig_pop(&r, 8), 4);     /* one seen before, three new */
	rig_close(&r);
}

static void asking_for_nothing_takes_nothing(void **state)
{
	drv_open(8, XN_VQ_FROM_GUEST, 0);
	rig_desc(&r, 0, HOLE, 64, 0, 0);      /* wrong: not even this is refused */
	rig_offer(&r, 0);
	assert_int_equal(xn_vq_pop(&r.vq, r.chains, 0, r.pieces, 16), 0);
	assert_int_equal(rig_all_faults(&r), 0);
	assert_int_equal(r.vq.avail_next, 0);
	rig_close(&r);
}

/* ---- room for pieces ---- */

static void chain_that_does_not_fit_waits_for_the_next_call(void **state)
{
	static const unsigned pieces[] = { 2, 3, 2 };
	unsigned desc = 0;

	rig_open(&r, 8, XN_VQ_FROM_GUEST, 0, 0);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(pieces); i++) {
		rig_offer(&r, (uint16_t)desc);
		for (unsigned k = pieces[i]; k; k--, desc++)
			rig_desc(&r, desc, BUF_GPA + 64 * desc, 10, k > 1 ? NEXT : 0,
				 (uint16_t)(desc + 1));
	}
	for (unsigned room = 2; room <= 8; room++) {
		unsigned n = room < 5 ? 1 : room < 7 ? 2 : 3;

		assert_int_equal(xn_vq_pop(&r.vq, r.chains, 8, r.pieces, room), n);
		for (unsigned i = 0; i < n; i++) {
			const struct xn_piece *p = rig_pieces(&r, &r.chains[i]);

			assert_int_equal(r.chains[i].n_pieces, pieces[i]);
			assert_true(p + pieces[i] <= r.pieces + room);
		}
		xn_vq_unpop(&r.vq, r.chains, n);
	}
	assert_int_equal(rig_all_faults(&r), 0);
	rig_close(&r);
}

/* ---- notifications to the guest ---- */

/* Uses n buffers and publishes. */
static void use(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		rig_desc(&r, 0, BUF_GPA, 100, r.vq.expect_flags, 0);
		rig_offer(&r, 0);
		assert_int_equal(rig_pop(&r, 1), 1);
		xn_vq_push(&r.vq, 0, 0);
	}
	assert_true(xn_vq_publish(&r.vq));
}

/* 2.7.10: the event is due when the entry with index used_event is among the new ones. */
static void event_idx_at_every_offset_to_the_wrap(void **state)
{
	for (unsigned base = 65520; base < 65536 + 8; base++)
		for (unsigned n = 1; n <= 16; n++)
			for (int event = -20; event <= 20; event++) {
				bool due = event >= 0 && event < (int)n;

				rig_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, (uint16_t)base);
				r.avail[2 + 16] = (uint16_t)(base - 1);
				r.vq.used_signalled = (uint16_t)base;   /* all told so far */
				use(n);
				r.avail[2 + 16] = (uint16_t)(base + (unsigned)event);
				assert_int_equal(xn_vq_wants_irq(&r.vq), due);
				assert_false(xn_vq_wants_irq(&r.vq));   /* decided, once */
				rig_close(&r);
			}
}

static void no_interrupt_flag_is_obeyed_without_event_idx(void **state)
{
	rig_open(&r, 16, XN_VQ_FROM_GUEST, 0, 65530);
	for (unsigned i = 0; i < 20; i++) {
		use(3);
		r.avail[0] = i & 1 ? VRING_AVAIL_F_NO_INTERRUPT : 0;
		r.avail[2 + 16] = (uint16_t)rig_random(&seed);   /* means nothing */
		assert_int_equal(xn_vq_wants_irq(&r.vq), !(i & 1));
		assert_false(xn_vq_wants_irq(&r.vq));
	}
	rig_close(&r);
}

static void flag_is_not_looked_at_with_event_idx(void **state)
{
	rig_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, 0);
	r.avail[0] = VRING_AVAIL_F_NO_INTERRUPT;
	r.avail[2 + 16] = 0;
	use(1);
	assert_true(xn_vq_wants_irq(&r.vq));
	rig_close(&r);
}

/* A back end that died after publish and before the notification. */
static void untold_entries_of_an_earlier_back_end_are_told(void **state)
{
	struct xn_vq_cfg cfg = rig_cfg(16, XN_VQ_FROM_GUEST, RIG_EVENT, 65534);

	for (unsigned behind = 1; behind <= 16; behind++) {
		rig_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, 65534);
		r.avail[2 + 16] = (uint16_t)(65534 - behind);   /* waits for this one */
		use(1);
		assert_true(xn_vq_wants_irq(&r.vq));
		use(1);
		assert_false(xn_vq_wants_irq(&r.vq));
		rig_close(&r);
	}
	/* One that waits for a later entry is left alone, also at first. */
	rig_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, cfg.base);
	r.avail[2 + 16] = (uint16_t)(cfg.base + 1);
	use(1);
	assert_false(xn_vq_wants_irq(&r.vq));
	use(1);
	assert_true(xn_vq_wants_irq(&r.vq));
	rig_close(&r);
}

/* ---- kicks by the guest ---- */

/* Would the driver kick after it made n more chains available? 2.7.7, 2.7.10. */
static bool driver_kicks(uint16_t before, uint16_t now, bool event_idx)
{
	uint16_t wish = *r.vq.g_avail_event;

	if (!event_idx)
		return !(r.used->flags & VRING_USED_F_NO_NOTIFY);
	for (uint16_t i = before; i != now; i++)
		if (i == wish)
			return true;
	return false;
}

static void kicks_are_asked_for_and_not(void **state)
{
	for (unsigned flags = 0; flags <= RIG_EVENT; flags += RIG_EVENT)
		for (unsigned base = 65500; base < 65536 + 20; base++) {
			uint16_t was;

			rig_open(&r, 16, XN_VQ_FROM_GUEST, flags, (uint16_t)base);
			assert_true(xn_vq_enable_kick(&r.vq));
			was = r.next_avail;
			rig_desc(&r, 0, BUF_GPA, 100, 0, 0);
			rig_offer(&r, 0);
			assert_true(driver_kicks(was, r.next_avail, flags));
			assert_false(xn_vq_enable_kick(&r.vq));      /* there is work */
			assert_int_equal(rig_pop(&r, 4), 1);
			xn_vq_disable_kick(&r.vq);
			for (unsigned i = 1; i < 16; i++) {
				was = r.next_avail;
				rig_desc(&r, i, BUF_GPA, 100, 0, 0);
				rig_offer(&r, (uint16_t)i);
				assert_false(driver_kicks(was, r.next_avail, flags));
			}
			assert_false(xn_vq_enable_kick(&r.vq));
			assert_int_equal(rig_pop(&r, 16), 15);
			assert_true(xn_vq_enable_kick(&r.vq));
			rig_close(&r);
		}
}

static void un_taken_chains_are_work(void **state)
{
	rig_open(&r, 16, XN_VQ_FROM_GUEST, RIG_EVENT, 65535);
	rig_desc(&r, 0, BUF_GPA, 100, 0, 0);
	rig_offer(&r, 0);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_true(xn_vq_enable_kick(&r.vq));
	xn_vq_unpop(&r.vq, r.chains, 1);
	assert_false(xn_vq_enable_kick(&r.vq));
	rig_close(&r);
}

/* ---- stop ---- */

static bool is_held(uint16_t head)
{
	for (unsigned i = 0; i < n_held; i++)
		if (held[i] == head)
			return true;
	return false;
}

/*
 * A device with random heads out stops; another one goes on from its index. Every head
 * that was out is given back, once, or comes again, in the order it was offered in.
 */
static void stop_and_go_on(uint32_t size, uint16_t base)
{
	struct xn_vq_cfg cfg;
	uint64_t collected = 0;
	unsigned given, out, rewound;
	uint64_t before;
	uint16_t at;

	drv_open(size, XN_VQ_FROM_GUEST, base);
	n_held = 0;
	for (unsigned turn = pick(6) + 1; turn; turn--) {
		for (unsigned k = pick(2 * size) + 1; k && drv_offer(); k--)
			;
		take_some(1 + pick(size));
		for (unsigned k = pick(n_held + 1); k; k--)
			push_one(pick(2) ? 0 : pick(n_held));
		xn_vq_publish(&r.vq);
		drv_collect(&collected);
	}
	out = r.vq.outstanding;
	at = r.vq.avail_next;
	/* The longest run at the end that is still out. */
	for (rewound = 0; rewound < out; rewound++) {
		uint16_t i = (uint16_t)(at - 1 - rewound);

		uint16_t h = drv.ring[i & (size - 1)].head;

		if (drv.offered_at[h] != i || !is_held(h))
			break;
	}
	for (unsigned i = 0; i < n_held; i++)
		drv.expect_len[held[i]] = 0;
	before = collected;
	given = xn_vq_reclaim_all(&r.vq);
	assert_int_equal(r.vq.avail_next, (uint16_t)(at - rewound));
	assert_int_equal(given, out - rewound);
	assert_int_equal(r.ctr.v[XN_C_heads_dropped], given);
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(rig_taken(&r), 0);
	drv_collect(&collected);                 /* published; each expected, and once */
	assert_int_equal(collected - before, given);

	at = r.vq.avail_next;
	xn_vq_fini(&r.vq);
	cfg = rig_cfg(size, XN_VQ_FROM_GUEST, RIG_INDIRECT | RIG_EVENT, at);
	assert_int_equal(xn_vq_init(&r.vq, &r.mem, &r.ctr, &cfg), 0);
	n_held = 0;
	while (r.vq.avail_next != r.next_avail)
		take_some(64);                   /* checks heads, order and bytes */
	assert_int_equal(rig_all_faults(&r), 0);
	while (n_held)
		push_one(n_held - 1);
	xn_vq_publish(&r.vq);
	drv_collect(&collected);
	assert_int_equal(drv.n_free, size);      /* nothing lost, nothing twice */
	rig_close(&r);
}

static void stop_with_any_heads_out_loses_none(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 4, 16, 256 };

	for (unsigned i = 0; i < 1500; i++) {
		uint16_t base = (uint16_t)(pick(100) - pick(600));   /* around the wrap */

		stop_and_go_on(sizes[i % XN_ARRAY_SIZE(sizes)], base);
	}
}

static void stop_of_the_largest_ring(void **state)
{
	for (unsigned i = 0; i < 4; i++)
		stop_and_go_on(32768, (uint16_t)(rig_random(&seed)));
}

/* One old head keeps its place while the indices go all the way around. */
static void head_that_is_out_for_65536_others_is_given_back(void **state)
{
	uint32_t head, len;

	rig_open(&r, 4, XN_VQ_TO_GUEST, 0, 100);
	for (unsigned i = 0; i < 4; i++)
		rig_desc(&r, i, BUF_GPA + 2048 * i, 1536, VRING_DESC_F_WRITE, 0);
	rig_offer(&r, 3);
	assert_int_equal(rig_pop(&r, 1), 1);
	for (unsigned i = 0; i < 65535 + 3; i++) {
		rig_offer(&r, (uint16_t)(i % 3));
		assert_int_equal(rig_pop(&r, 4), 1);
		xn_vq_push(&r.vq, (uint16_t)(i % 3), 64);
		xn_vq_publish(&r.vq);
		assert_true(rig_used(&r, &head, &len));
	}
	rig_offer(&r, 0);
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(xn_vq_reclaim_all(&r.vq), 1);
	assert_true(rig_used(&r, &head, &len));
	assert_true(head == 3 && len == 0);
	assert_false(rig_used(&r, &head, &len));
	assert_int_equal(rig_pop(&r, 4), 1);
	assert_int_equal(r.chains[0].head, 0);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_powers_of_two),
		cmocka_unit_test(rings_are_aligned_and_in_one_span),
		cmocka_unit_test(set_up_writes_nothing_and_goes_on_from_the_used_index),
		cmocka_unit_test(traffic_with_random_layouts_size_1),
		cmocka_unit_test(traffic_with_random_layouts_size_2),
		cmocka_unit_test(traffic_with_random_layouts_size_256),
		cmocka_unit_test(traffic_with_random_layouts_size_32768),
		cmocka_unit_test(full_rings_at_every_size),
		cmocka_unit_test(used_entries_are_seen_after_publish_only),
		cmocka_unit_test(plain_chains_are_counted),
		cmocka_unit_test(one_call_takes_all_that_wait),
		cmocka_unit_test(asking_for_nothing_takes_nothing),
		cmocka_unit_test(chain_that_does_not_fit_waits_for_the_next_call),
		cmocka_unit_test(event_idx_at_every_offset_to_the_wrap),
		cmocka_unit_test(no_interrupt_flag_is_obeyed_without_event_idx),
		cmocka_unit_test(flag_is_not_looked_at_with_event_idx),
		cmocka_unit_test(untold_entries_of_an_earlier_back_end_are_told),
		cmocka_unit_test(kicks_are_asked_for_and_not),
		cmocka_unit_test(un_taken_chains_are_work),
		cmocka_unit_test(stop_with_any_heads_out_loses_none),
		cmocka_unit_test(stop_of_the_largest_ring),
		cmocka_unit_test(head_that_is_out_for_65536_others_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
