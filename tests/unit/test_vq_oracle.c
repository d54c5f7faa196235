/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/vq.c that it judges every chain as a slow and obvious walker does,
 * which is written here from the text of VIRTIO 1.2 and knows nothing of vq.c: the
 * same verdict, and for a good chain the same pieces.
 *
 *   - all chains of a queue of 4 descriptors, for both directions, with and without
 *     indirect tables: flags x next x (address, length) classes
 *   - all indirect tables of up to 3 entries, with a smaller choice of entries
 *   - random rings and tables
 * (How they are enumerated: oracle.h.)
 */
#include <stdlib.h>

#include "tests/unit/oracle.h"

static bool chosen[SIZE];

static const uint16_t nexts[] = { 0, 1, 2, 3, 4, 0xffff };

static struct vring_desc choose_rest(uint16_t flags, struct where w)
{
	return (struct vring_desc){ .addr = w.at, .len = w.len, .flags = flags,
				    .next = flags & NEXT ? nexts[choose(XN_ARRAY_SIZE(nexts))] : 0 };
}

static struct vring_desc choose_desc(void)
{
	static const uint16_t all[] = { 0, NEXT, WRITE, WRITE | NEXT, 0x8008,
					INDIR, INDIR | WRITE, INDIR | NEXT };
	const uint16_t flags = all[choose(XN_ARRAY_SIZE(all))];

	return choose_rest(flags, flags & INDIR ? tables[choose(XN_ARRAY_SIZE(tables))] :
						  buffers[choose(XN_ARRAY_SIZE(buffers))]);
}

static struct vring_desc choose_entry(void)
{
	static const uint16_t all[] = { 0, NEXT, WRITE, WRITE | NEXT, INDIR };
	const uint16_t flags = all[choose(XN_ARRAY_SIZE(all))];

	return choose_rest(flags, buffers[choose(XN_ARRAY_SIZE(buffers))]);
}

/* ---- the walker ---- */

static struct vring_desc get_desc(unsigned i)
{
	if (enumerating && !chosen[i]) {
		chosen[i] = true;
		if (table_entries && !i)
			r.desc[0] = (struct vring_desc){ TABLE, 16 * table_entries, INDIR, 0 };
		else
			r.desc[i] = choose_desc();
	}
	return r.desc[i];
}

static struct vring_desc get_entry(uint64_t table, unsigned i)
{
	struct vring_desc d;

	if (enumerating && table_entries && !entry_chosen[i]) {
		entry_chosen[i] = true;
		d = choose_entry();
		rig_write(&r, table + 16 * i, &d, sizeof(d));
	}
	for (unsigned b = 0; b < sizeof(d); b++)
		((uint8_t *)&d)[b] = *(uint8_t *)rig_at(&r, table + 16 * i + b);
	return d;
}

static struct seg seg_of(struct vring_desc d)
{
	return (struct seg){ d.addr, d.len, d.flags };
}

static enum xn_fault judge_table(struct verdict *v, struct vring_desc t)
{
	enum xn_fault f;
	unsigned n = t.len / 16, i = 0;

	if (!r.vq.indirect)
		return XN_FAULT_indirect_off;
	if (t.flags & NEXT)
		return XN_FAULT_indirect_next;
	f = judge_table_at(seg_of(t));
	if (f)
		return f;
	for (unsigned seen = 0; seen < n; seen++) {
		struct vring_desc d = get_entry(t.addr, i);

		f = d.flags & INDIR ? XN_FAULT_indirect_nested : judge_buffer(v, seg_of(d));
		if (f || !(d.flags & NEXT))
			return f;
		if (d.next >= n)
			return XN_FAULT_indirect_range;
		i = d.next;
	}
	return XN_FAULT_chain_loop;    /* all entries seen, and still there is a next one */
}

static enum xn_fault judge_chain(struct verdict *v)
{
	unsigned i = 0;

	for (unsigned seen = 0; seen < SIZE; seen++) {
		struct vring_desc d = get_desc(i);
		enum xn_fault f = d.flags & INDIR ? judge_table(v, d) : judge_buffer(v, seg_of(d));

		if (f || d.flags & INDIR || !(d.flags & NEXT))
			return f;
		if (d.next >= SIZE)
			return XN_FAULT_next_range;
		i = d.next;
	}
	return XN_FAULT_chain_loop;
}

static void judge(struct verdict *v)
{
	*v = (struct verdict){ .n = 0 };
	v->fault = judge_chain(v);
	if (!v->fault && !v->bytes)
		v->fault = XN_FAULT_chain_empty;
}

/* ---- comparison ---- */

static void differ(const struct verdict *v, const char *what)
{
	print_message("%s; the walker says %s\n", what, xn_fault_name(v->fault));
	for (unsigned i = 0; i < SIZE; i++)
		print_message("desc %u: addr %#llx len %#x flags %#x next %u\n", i,
			      (unsigned long long)r.desc[i].addr, r.desc[i].len, r.desc[i].flags,
			      r.desc[i].next);
	differ_in(what);
}

/* The queue takes the chain of head 0, which is written, and must agree. */
static void compare(const struct verdict *v)
{
	uint32_t head, len;
	bool taken;

	memset(&r.ctr, 0, sizeof(r.ctr));
	rig_offer(&r, 0);
	taken = taken_as(v);
	if (taken) {
		check_pieces(v);
		xn_vq_push(&r.vq, 0, 77);
	}
	xn_vq_publish(&r.vq);
	if (!rig_used(&r, &head, &len) || head != 0 || len != (taken ? 77u : 0) ||
	    rig_used(&r, &head, &len) || r.vq.outstanding || r.vq.broken)
		differ(v, "not given back as it should be");
}

/* Nobody looks at it, unless a choice points there. */
static void set_traps(void)
{
	memset(chosen, 0, sizeof(chosen));
	memset(entry_chosen, 0, sizeof(entry_chosen));
	for (unsigned i = 0; i < SIZE; i++)
		rig_desc(&r, i, HOLE, 13, r.vq.expect_flags, 0);
	/* Tables in the middle of a chain: one good and one bad entry, then a good one. */
	for (unsigned t = 0; t < 3; t++) {
		static const uint64_t at[] = { TABLE, B_GPA - 24, C_END - 16 };

		rig_entry(&r, at[t], 0, BUF_GPA, 10, r.vq.expect_flags | NEXT, 1);
		if (at[t] == C_END - 16)
			continue;
		rig_entry(&r, at[t], 1, BUF_GPA + 64, 20, r.vq.expect_flags | NEXT, 3);
		rig_entry(&r, at[t], 2, HOLE, 13, r.vq.expect_flags, 0);
		rig_entry(&r, at[t], 3, B_GPA - 5, 30, r.vq.expect_flags, 0);
	}
}

static uint64_t enumerate(enum xn_vq_dir dir, unsigned flags, unsigned entries)
{
	uint64_t n = 0;

	open_giant(dir, flags, 65500);
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

static void all_chains_of_a_queue_of_four(void **state)
{
	uint64_t n = 0;

	memset(verdicts, 0, sizeof(verdicts));
	n += enumerate(XN_VQ_FROM_GUEST, RIG_INDIRECT, 0);
	n += enumerate(XN_VQ_TO_GUEST, RIG_INDIRECT, 0);
	n += enumerate(XN_VQ_FROM_GUEST, 0, 0);
	n += enumerate(XN_VQ_TO_GUEST, 0, 0);
	print_message("%llu chains, %llu of them good\n", (unsigned long long)n,
		      (unsigned long long)verdicts[XN_FAULT_NONE]);
}

static void all_tables_of_one_two_and_three(void **state)
{
	uint64_t n = 0;

	for (unsigned entries = 1; entries <= 3; entries++) {
		n += enumerate(XN_VQ_FROM_GUEST, RIG_INDIRECT, entries);
		n += enumerate(XN_VQ_TO_GUEST, RIG_INDIRECT, entries);
	}
	print_message("%llu tables\n", (unsigned long long)n);
}

static void every_verdict_came_up(void **state)
{
	static const enum xn_fault elsewhere[] = {
		XN_FAULT_avail_jump, XN_FAULT_head_range, XN_FAULT_head_busy,
		XN_FAULT_chain_pieces, XN_FAULT_rx_header, XN_FAULT_order, XN_FAULT_ctrl_no_ack,
	};

	every_one_came_up_but(elsewhere, XN_ARRAY_SIZE(elsewhere));
}

static struct vring_desc random_desc(bool in_table)
{
	const struct seg s = random_seg(in_table, 9);

	return (struct vring_desc){ s.at, s.len, s.flags,
				    (uint16_t)(pick(16) ? pick(SIZE) : pick(65536)) };
}

static void random_rings_and_tables(void **state)
{
	for (unsigned k = 0; k < 200000; k++) {
		static struct verdict v;

		if (k % 50000 == 0) {
			if (k)
				rig_close(&r);
			open_giant(k % 100000 ? XN_VQ_TO_GUEST : XN_VQ_FROM_GUEST, RIG_INDIRECT,
				   65500);
		}
		for (unsigned i = 0; i < SIZE; i++) {
			struct vring_desc d = random_desc(true);

			r.desc[i] = random_desc(false);
			rig_write(&r, TABLE + pick(3) * 4 + 16 * i, &d, sizeof(d));
			d = random_desc(true);
			rig_write(&r, B_GPA - 64 + pick(65) + 16 * i, &d, sizeof(d));
		}
		judge(&v);
		compare(&v);
	}
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TEST(all_chains_of_a_queue_of_four, split),
		RING_TEST(all_tables_of_one_two_and_three, split),
		RING_TEST(every_verdict_came_up, split),
		RING_TEST(random_rings_and_tables, split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
