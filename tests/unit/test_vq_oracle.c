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
 *
 * How all chains are enumerated: descriptors are chosen when the walker asks for them.
 * Each run replays the choices of the run before up to the last one that has another
 * alternative. So descriptors that no walker looks at are not multiplied; these hold
 * a trap, and whoever looks at them all the same comes to another verdict.
 */
#include <stdlib.h>

#include "tests/unit/vq_rig.h"

#define SIZE  4u
#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIR VRING_DESC_F_INDIRECT
#define TABLE (BUF_GPA + 0x80000)

/* Guest memory that nobody touches: large enough for sums beyond 32 bits. */
#define GIANT       (1ull << 40)
#define GIANT_BYTES (8ull << 30)

static struct rig r;

/* ---- choices ---- */

static struct {
	unsigned digit[64], base[64];
	unsigned at, n;
} odo;

/* One of 0..n-1; over all runs, each. */
static unsigned choose(unsigned n)
{
	if (odo.at == odo.n) {
		assert_true(odo.n < XN_ARRAY_SIZE(odo.digit));
		odo.digit[odo.n] = 0;
		odo.base[odo.n++] = n;
	}
	return odo.digit[odo.at++];
}

/* The next run. False: all have been. */
static bool choose_next(void)
{
	odo.at = 0;
	while (odo.n && odo.digit[odo.n - 1] + 1 == odo.base[odo.n - 1])
		odo.n--;
	if (!odo.n)
		return false;
	odo.digit[odo.n - 1]++;
	return true;
}

/* Where a descriptor comes from: chosen when it is asked for, or there already. */
static bool enumerating;
static unsigned table_entries;             /* 0: tables are not chosen entry by entry */
static bool chosen[SIZE], entry_chosen[SIZE];

struct where {
	uint64_t at;
	uint32_t len;
};

static const struct where buffers[] = {
	{ BUF_GPA, 100 },                  /* good */
	{ BUF_GPA, 0 },                    /* nothing */
	{ UINT64_MAX, 0 },                 /* nothing, nowhere */
	{ B_GPA - 40, 100 },               /* two pieces */
	{ C_GPA - 40, 100 },               /* two spans, one piece */
	{ B_GPA - 1, 0x10002 },            /* three spans, two pieces */
	{ UINT64_MAX, 1 },                 /* the last byte there is */
	{ GIANT, UINT32_MAX },             /* the longest */
	{ C_END - 40, 41 },                /* one byte too long */
	{ HOLE, 100 },
	{ UINT64_MAX - 9, 11 },            /* wraps */
};

static const struct where tables[] = {
	{ TABLE, 16 }, { TABLE, 32 }, { TABLE, 64 }, { B_GPA - 24, 64 }, { TABLE + 4, 32 },
	{ TABLE, 0 }, { TABLE, 8 }, { TABLE, 40 }, { TABLE, 80 }, { TABLE, UINT32_MAX & ~15u },
	{ HOLE, 32 }, { C_END - 16, 32 }, { UINT64_MAX - 15, 16 }, { UINT64_MAX - 15, 32 },
};

static const uint16_t nexts[] = { 0, 1, 2, 3, 4, 0xffff };

static struct vring_desc choose_desc(void)
{
	static const uint16_t flags[] = { 0, NEXT, WRITE, WRITE | NEXT, 0x8008,
					  INDIR, INDIR | WRITE, INDIR | NEXT };
	struct vring_desc d = { .flags = flags[choose(XN_ARRAY_SIZE(flags))] };
	struct where w;

	if (d.flags & INDIR)
		w = tables[choose(XN_ARRAY_SIZE(tables))];
	else
		w = buffers[choose(XN_ARRAY_SIZE(buffers))];
	d.addr = w.at;
	d.len = w.len;
	d.next = d.flags & NEXT ? nexts[choose(XN_ARRAY_SIZE(nexts))] : 0;
	return d;
}

static struct vring_desc choose_entry(void)
{
	static const uint16_t flags[] = { 0, NEXT, WRITE, WRITE | NEXT, INDIR };
	struct vring_desc d = { .flags = flags[choose(XN_ARRAY_SIZE(flags))] };
	struct where w = buffers[choose(XN_ARRAY_SIZE(buffers))];

	d.addr = w.at;
	d.len = w.len;
	d.next = d.flags & NEXT ? nexts[choose(XN_ARRAY_SIZE(nexts))] : 0;
	return d;
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

static const struct xn_span *span_of(uint64_t gpa)
{
	for (unsigned i = 0; i < r.mem.n_spans; i++)
		if (gpa >= r.mem.spans[i].gpa && gpa - r.mem.spans[i].gpa < r.mem.spans[i].bytes)
			return &r.mem.spans[i];
	return NULL;
}

struct verdict {
	enum xn_fault fault;
	unsigned n;
	uint64_t bytes;
	struct xn_piece p[64];
};

/* Is every one of these bytes guest memory? */
static bool is_guest(uint64_t at, uint64_t len)
{
	while (len) {
		const struct xn_span *s = span_of(at);
		uint64_t n;

		if (!s)
			return false;
		n = s->bytes - (at - s->gpa);
		if (n >= len)
			return true;
		at += n;
		len -= n;
		if (!at)
			return false;    /* around the end of the address space */
	}
	return true;
}

/* Pieces of a buffer that is guest memory: cut at each span's end, then joined again
 * where two of this buffer's parts touch. */
static void cut(struct verdict *v, uint64_t at, uint64_t len)
{
	unsigned first = v->n;

	while (len) {
		const struct xn_span *s = span_of(at);
		uint64_t n = XN_MIN(len, s->bytes - (at - s->gpa)), uoff = s->uoff + (at - s->gpa);

		if (v->n > first && v->p[v->n - 1].at.v + v->p[v->n - 1].len == uoff)
			v->p[v->n - 1].len += (uint32_t)n;
		else
			v->p[v->n++] = (struct xn_piece){ { uoff }, (uint32_t)n, 0 };
		at += n;
		len -= n;
	}
}

static enum xn_fault judge_buffer(struct verdict *v, struct vring_desc d)
{
	bool receive = r.vq.dir == XN_VQ_TO_GUEST, writable = d.flags & WRITE;

	if (receive && !writable)
		return XN_FAULT_readable;
	if (!receive && writable)
		return XN_FAULT_writable;
	if (d.len == 0)
		return XN_FAULT_NONE;
	v->bytes += d.len;
	if (v->bytes >= 1ull << 32)
		return XN_FAULT_chain_bytes;
	if (d.addr && (uint64_t)d.len > 0 - d.addr)
		return XN_FAULT_addr_wrap;
	if (!is_guest(d.addr, d.len))
		return XN_FAULT_addr_unmapped;
	cut(v, d.addr, d.len);
	return XN_FAULT_NONE;
}

static enum xn_fault judge_table(struct verdict *v, struct vring_desc t)
{
	unsigned n = t.len / 16, i = 0;

	if (!r.vq.indirect)
		return XN_FAULT_indirect_off;
	if (t.flags & NEXT)
		return XN_FAULT_indirect_next;
	if (t.len == 0 || t.len % 16 || n > SIZE)
		return XN_FAULT_indirect_size;
	if (!is_guest(t.addr, t.len))
		return XN_FAULT_indirect_unmapped;
	for (unsigned seen = 0; seen < n; seen++) {
		struct vring_desc d = get_entry(t.addr, i);
		enum xn_fault f = d.flags & INDIR ? XN_FAULT_indirect_nested : judge_buffer(v, d);

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
		enum xn_fault f = d.flags & INDIR ? judge_table(v, d) : judge_buffer(v, d);

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
	v->n = 0;
	v->bytes = 0;
	v->fault = judge_chain(v);
	if (!v->fault && !v->bytes)
		v->fault = XN_FAULT_chain_empty;
}

/* ---- comparison ---- */

static uint64_t verdicts[XN_FAULT_COUNT];

static void differ(const struct verdict *v, const char *what)
{
	print_message("%s; the walker says %s\n", what, xn_fault_name(v->fault));
	for (unsigned i = 0; i < SIZE; i++)
		print_message("desc %u: addr %#llx len %#x flags %#x next %u\n", i,
			      (unsigned long long)r.desc[i].addr, r.desc[i].len, r.desc[i].flags,
			      r.desc[i].next);
	for (unsigned i = XN_C_FAULTS; i < XN_C_COUNT; i++)
		if (r.ctr.v[i])
			print_message("the queue counted %s\n", xn_counter_name(i));
	fail();
}

/* The queue takes the chain of head 0, which is written, and must agree. */
static void compare(const struct verdict *v)
{
	const struct xn_piece *p;
	uint32_t head, len;
	unsigned n;

	memset(&r.ctr, 0, sizeof(r.ctr));
	rig_offer(&r, 0);
	n = rig_pop(&r, 2);
	verdicts[v->fault]++;
	if (n != !v->fault)
		differ(v, n ? "taken" : "not taken");
	if (v->fault && rig_fault(&r, v->fault) != 1)
		differ(v, "refused for another reason");
	if (rig_all_faults(&r) != !!v->fault)
		differ(v, "number of faults");
	if (n) {
		if (r.chains[0].n_pieces != v->n || r.chains[0].bytes != v->bytes ||
		    r.chains[0].head != 0)
			differ(v, "other pieces or bytes");
		p = rig_pieces(&r, &r.chains[0]);
		for (unsigned i = 0; i < v->n; i++)
			if (p[i].at.v != v->p[i].at.v || p[i].len != v->p[i].len)
				differ(v, "another piece");
		xn_vq_push(&r.vq, 0, 77);
	}
	xn_vq_publish(&r.vq);
	if (!rig_used(&r, &head, &len) || head != 0 || len != (n ? 77u : 0) ||
	    rig_used(&r, &head, &len) || r.vq.outstanding || r.vq.broken)
		differ(v, "not given back as it should be");
}

static void open_giant(enum xn_vq_dir dir, unsigned flags)
{
	rig_open(&r, SIZE, dir, flags, 65500);
	/* Between C and D, so that the spans stay sorted. */
	r.mem.spans[4] = r.mem.spans[3];
	r.mem.spans[3] = (struct xn_span){ GIANT, GIANT_BYTES, GIANT };
	r.mem.n_spans = 5;
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

	open_giant(dir, flags);
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

/* Each fault that a chain can have came up in what was enumerated. */
static void every_verdict_came_up(void **state)
{
	for (unsigned f = 0; f < XN_FAULT_COUNT; f++) {
		bool elsewhere = f == XN_FAULT_avail_jump || f == XN_FAULT_head_range ||
				 f == XN_FAULT_head_busy || f == XN_FAULT_chain_pieces ||
				 f == XN_FAULT_rx_header || f == XN_FAULT_order ||
				 f == XN_FAULT_ctrl_no_ack;

		if (!elsewhere && !verdicts[f])
			fail_msg("never: %s", xn_fault_name((enum xn_fault)f));
	}
}

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint32_t pick(uint32_t n)
{
	return rig_random(&seed) % n;
}

/* Near a border of the guest's memory, for the most part. */
static uint64_t random_address(void)
{
	static const uint64_t at[] = { A_GPA, BUF_GPA, B_GPA, C_GPA, C_END, D_GPA, 0, GIANT,
				       TABLE };

	if (!pick(16))
		return (uint64_t)rig_random(&seed) << 32 | rig_random(&seed);
	return at[pick(XN_ARRAY_SIZE(at))] + pick(200) - 100;
}

static struct vring_desc random_desc(bool in_table)
{
	struct vring_desc d = {
		.addr = random_address(),
		.len = pick(8) ? pick(200) : rig_random(&seed) >> pick(32),
		.flags = (uint16_t)((pick(8) ? r.vq.expect_flags : pick(65536)) |
				    (pick(4) ? NEXT : 0)),
		.next = (uint16_t)(pick(16) ? pick(SIZE) : pick(65536)),
	};

	if (pick(in_table ? 16 : 3))
		d.flags &= (uint16_t)~INDIR;
	else {
		d.flags = (uint16_t)((d.flags | INDIR) & ~(pick(8) ? NEXT : 0));
		d.addr = pick(4) ? TABLE + pick(3) * 4 : B_GPA - pick(64);
		d.len = pick(8) ? 16 * (1 + pick(SIZE)) : d.len;
	}
	return d;
}

static void random_rings_and_tables(void **state)
{
	for (unsigned k = 0; k < 200000; k++) {
		static struct verdict v;

		if (k % 50000 == 0) {
			if (k)
				rig_close(&r);
			open_giant(k % 100000 ? XN_VQ_TO_GUEST : XN_VQ_FROM_GUEST, RIG_INDIRECT);
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
		cmocka_unit_test(all_chains_of_a_queue_of_four),
		cmocka_unit_test(all_tables_of_one_two_and_three),
		cmocka_unit_test(every_verdict_came_up),
		cmocka_unit_test(random_rings_and_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
