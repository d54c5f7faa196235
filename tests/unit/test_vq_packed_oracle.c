/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/packed.c that it judges every chain as a slow and obvious walker does,
 * which is written here from the text of VIRTIO 1.3, 2.8 and knows nothing of packed.c: the
 * same verdict, the same id and number of slots, and for a good chain the same pieces.
 *
 *   - all chains in a ring of 4 descriptors, for both directions, with and without indirect
 *     tables, with one buffer out or none: flags x id x (address, length) classes, at all
 *     slots of the ring and in both laps
 *   - all indirect tables of up to 3 entries, with a smaller choice of entries
 *   - random rings and tables
 *
 * Descriptors are chosen when the walker asks for them, see oracle.h; behind a
 * fault, where only the chain's end still matters, among few.
 */
#include <stdlib.h>

#include "tests/unit/oracle.h"

#define BUSY 2u                /* this id is out, if one is */

static void choose_where(struct vring_packed_desc *d, const struct where *all, unsigned n)
{
	const struct where *w = &all[choose(n)];

	d->addr = w->at;
	d->len = w->len;
}

/* Without AVAIL and USED. */
static struct vring_packed_desc choose_desc(bool matters)
{
	static const uint16_t flags[] = { 0, NEXT, WRITE, WRITE | NEXT, 0x4108,
					  INDIR, INDIR | WRITE, INDIR | NEXT };
	static const uint16_t ids[] = { 0, BUSY, SIZE - 1, SIZE, 0xffff };
	struct vring_packed_desc d = { .id = 0xffff };

	if (matters) {
		d.flags = flags[choose(XN_ARRAY_SIZE(flags))];
		if (d.flags & INDIR)
			choose_where(&d, tables, XN_ARRAY_SIZE(tables));
		else
			choose_where(&d, buffers, XN_ARRAY_SIZE(buffers));
	} else {
		d.flags = choose(2) ? NEXT : 0;
		d.addr = choose(2) ? HOLE : BUF_GPA;
		d.len = 100;
	}
	if (!(d.flags & NEXT))
		d.id = ids[choose(XN_ARRAY_SIZE(ids))];
	return d;
}

static struct vring_packed_desc choose_entry(void)
{
	/* Only WRITE means something in a table. */
	static const uint16_t flags[] = { 0, WRITE, NEXT, INDIR | P_USED, WRITE | NEXT | P_AVAIL };
	struct vring_packed_desc d = { .flags = flags[choose(XN_ARRAY_SIZE(flags))], .id = 77 };

	choose_where(&d, buffers, XN_ARRAY_SIZE(buffers));
	return d;
}

/* ---- the walker ---- */

static bool one_is_out;

static struct vring_packed_desc *slot_of(unsigned i)
{
	return &p.ring[(p.avail.slot + i) % SIZE];
}

/* The i-th descriptor of the chain. */
static struct vring_packed_desc get_desc(unsigned i, bool matters)
{
	struct vring_packed_desc d = { TABLE, 16 * table_entries, 1, INDIR };

	if (!enumerating)
		return *slot_of(i);
	if (!table_entries)
		d = choose_desc(matters);
	packed_put(&r, i, d.addr, d.len, d.id, d.flags);
	return d;
}

static struct vring_packed_desc get_entry(uint64_t table, unsigned i)
{
	struct vring_packed_desc d;

	if (enumerating && table_entries && !entry_chosen[i]) {
		entry_chosen[i] = true;
		d = choose_entry();
		rig_write(&r, table + 16 * i, &d, sizeof(d));
	}
	for (unsigned b = 0; b < sizeof(d); b++)
		((uint8_t *)&d)[b] = *(uint8_t *)rig_at(&r, table + 16 * i + b);
	return d;
}

static struct seg seg_of(struct vring_packed_desc d)
{
	return (struct seg){ d.addr, d.len, d.flags };
}

static enum xn_fault judge_table(struct verdict *v, struct vring_packed_desc t)
{
	enum xn_fault f = judge_table_at(seg_of(t));

	for (unsigned i = 0; !f && i < t.len / 16; i++)
		f = judge_buffer(v, seg_of(get_entry(t.addr, i)));
	return f;
}

static enum xn_fault judge_desc(struct verdict *v, struct vring_packed_desc d, unsigned i)
{
	if (!(d.flags & INDIR))
		return judge_buffer(v, seg_of(d));
	if (!r.vq.indirect)
		return XN_FAULT_indirect_off;
	if (i || d.flags & NEXT)
		return XN_FAULT_indirect_next;
	return judge_table(v, d);
}

static void judge(struct verdict *v)
{
	const unsigned room = SIZE - one_is_out;
	enum xn_fault first = XN_FAULT_NONE;

	*v = (struct verdict){ .n = 0 };
	for (unsigned i = 0; ; i++) {
		struct vring_packed_desc d;

		if (i == room) {
			v->fault = XN_FAULT_avail_jump;    /* no end */
			return;
		}
		d = get_desc(i, !first);
		if (!first)
			first = judge_desc(v, d, i);
		v->slots++;
		v->id = d.id;
		if (!(d.flags & NEXT))
			break;
	}
	if (v->id >= SIZE)
		v->fault = XN_FAULT_head_range;
	else if (one_is_out && v->id == BUSY)
		v->fault = XN_FAULT_head_busy;
	else if (first)
		v->fault = first;
	else if (!v->bytes)
		v->fault = XN_FAULT_chain_empty;
}

/* ---- comparison ---- */

static void differ(const struct verdict *v, const char *what)
{
	print_message("%s; the walker says %s, id %u, %u slots\n", what, xn_fault_name(v->fault),
		      v->id, v->slots);
	for (unsigned i = 0; i < SIZE; i++)
		print_message("slot %u: addr %#llx len %#x flags %#x id %u\n", i,
			      (unsigned long long)p.ring[i].addr, p.ring[i].len, p.ring[i].flags,
			      p.ring[i].id);
	differ_in(what);
}

/* The i-th slot ahead as the device left it in the lap before: not available. */
static void lay_off(unsigned i)
{
	struct place at = p.avail;

	place_move(&at, SIZE, i);
	slot_of(i)->flags = at.wrap ? 0 : P_AVAIL | P_USED;
}

/* It stopped, for this chain: it is where it was. As it was, for the next. */
static void check_stopped(const struct verdict *v, uint16_t at)
{
	if (r.vq.broken != v->fault || r.vq.avail_next != at || packed_is_used())
		differ(v, "not stopped as it should be");
	r.vq.broken = XN_FAULT_NONE;
	for (unsigned i = 0; i < SIZE - one_is_out; i++)
		lay_off(i);
}

static void check_given_back(const struct verdict *v, bool taken)
{
	uint32_t id, len;

	xn_vq_publish(&r.vq);
	if (!packed_used(&r, &id, &len) || id != v->id || len != (taken ? 77u : 0) ||
	    packed_used(&r, &id, &len) || r.vq.outstanding != one_is_out || r.vq.broken)
		differ(v, "not given back as it should be");
	if (r.vq.pk.slots_out != one_is_out || r.vq.avail_next != place_base(p.avail))
		differ(v, "another place in the ring");
}

/* The queue takes the chain that is written at p.avail, and must agree. */
static void compare(const struct verdict *v)
{
	const uint16_t at = r.vq.avail_next;
	bool taken;

	memset(&r.ctr, 0, sizeof(r.ctr));
	if (xn_fault_stops_queue(v->fault)) {
		const struct place here = p.avail;

		packed_offer(&r, 0, 1);
		p.avail = here;
	} else {
		packed_offer(&r, (uint16_t)v->id, v->slots);
	}
	taken = taken_as(v);
	if (taken) {
		check_pieces(v);
		xn_vq_push(&r.vq, (uint16_t)v->id, 77);
	}
	if (xn_fault_stops_queue(v->fault))
		check_stopped(v, at);
	else
		check_given_back(v, taken);
}

static void open_ring(enum xn_vq_dir dir, unsigned flags, bool out)
{
	open_giant(dir, flags, 3);
	one_is_out = out;
	if (out) {
		packed_one(&r, BUF_GPA, 64, BUSY, r.vq.expect_flags);
		assert_int_equal(rig_pop(&r, 2), 1);
	}
}

/* Nobody looks at it, unless a chain goes there. */
static void set_traps(void)
{
	memset(entry_chosen, 0, sizeof(entry_chosen));
	/* Tables: good entries, then a bad one, then a good one. */
	for (unsigned t = 0; t < 3; t++) {
		static const uint64_t at[] = { TABLE, B_GPA - 24, C_END - 16 };
		const struct vring_packed_desc e[] = {
			{ BUF_GPA, 10, 1, r.vq.expect_flags }, { BUF_GPA + 64, 20, 2, r.vq.expect_flags },
			{ HOLE, 13, 3, r.vq.expect_flags }, { B_GPA - 5, 30, 4, r.vq.expect_flags },
		};

		rig_write(&r, at[t], e, at[t] == C_END - 16 ? 16 : sizeof(e));
	}
}

static uint64_t enumerate(enum xn_vq_dir dir, unsigned flags, bool out, unsigned entries)
{
	uint64_t n = 0;

	open_ring(dir, flags, out);
	enumerating = true;
	table_entries = entries;
	memset(&odo, 0, sizeof(odo));
	do {
		static struct verdict v;

		set_traps();
		judge(&v);
		compare(&v);
		n++;
	} while (choose_next());
	enumerating = false;
	rig_close(&r);
	return n;
}

static void all_chains_of_a_ring_of_four(void **state)
{
	uint64_t n = 0;

	memset(verdicts, 0, sizeof(verdicts));
	for (unsigned out = 0; out < 2; out++)
		for (unsigned flags = 0; flags <= RIG_INDIRECT; flags += RIG_INDIRECT) {
			n += enumerate(XN_VQ_FROM_GUEST, flags, out, 0);
			n += enumerate(XN_VQ_TO_GUEST, flags, out, 0);
		}
	print_message("%llu chains, %llu of them good\n", (unsigned long long)n,
		      (unsigned long long)verdicts[XN_FAULT_NONE]);
	assert_true(n > 100000);
}

static void all_tables_of_one_two_and_three(void **state)
{
	uint64_t n = 0;

	for (unsigned entries = 1; entries <= 3; entries++) {
		n += enumerate(XN_VQ_FROM_GUEST, RIG_INDIRECT, false, entries);
		n += enumerate(XN_VQ_TO_GUEST, RIG_INDIRECT, false, entries);
	}
	print_message("%llu tables\n", (unsigned long long)n);
}

/* There is no `next` in a packed ring, and nothing nested in its tables. */
static void every_verdict_came_up(void **state)
{
	static const enum xn_fault elsewhere[] = {
		XN_FAULT_next_range, XN_FAULT_chain_loop, XN_FAULT_indirect_range,
		XN_FAULT_indirect_nested, XN_FAULT_chain_pieces, XN_FAULT_rx_header,
		XN_FAULT_order, XN_FAULT_ctrl_no_ack,
	};

	every_one_came_up_but(elsewhere, XN_ARRAY_SIZE(elsewhere));
}

static struct vring_packed_desc random_desc(bool in_table)
{
	const struct seg s = random_seg(in_table, 4);

	return (struct vring_packed_desc){ s.at, s.len,
					   (uint16_t)(pick(16) ? pick(SIZE) : pick(65536)), s.flags };
}

static void random_rings_and_tables(void **state)
{
	for (unsigned k = 0; k < 1000000; k++) {
		static struct verdict v;

		if (k % 50000 == 0) {
			if (k)
				rig_close(&r);
			open_ring(k % 100000 ? XN_VQ_TO_GUEST : XN_VQ_FROM_GUEST, RIG_INDIRECT,
				  k % 200000 < 100000);
		}
		for (unsigned i = 0; i < SIZE; i++) {
			struct vring_packed_desc d = random_desc(true);

			rig_write(&r, TABLE + pick(3) * 4 + 16 * i, &d, sizeof(d));
			d = random_desc(true);
			rig_write(&r, B_GPA - 64 + pick(65) + 16 * i, &d, sizeof(d));
		}
		for (unsigned i = 0; i < SIZE - one_is_out; i++) {
			struct vring_packed_desc d = random_desc(false);

			d.flags &= (uint16_t)~(P_AVAIL | P_USED);
			packed_put(&r, i, d.addr, d.len, d.id, d.flags);
			if (!i)
				slot_of(0)->flags = d.flags;   /* for the walker */
		}
		judge(&v);
		/* What is behind the chain would be another one. */
		for (unsigned i = v.slots; i < SIZE - one_is_out; i++)
			lay_off(i);
		compare(&v);
	}
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(all_chains_of_a_ring_of_four, packed),
		RING_TEST(all_tables_of_one_two_and_three, packed),
		RING_TEST(every_verdict_came_up, packed),
		RING_TEST(random_rings_and_tables, packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
