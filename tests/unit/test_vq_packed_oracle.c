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
 * Descriptors are chosen when the walker asks for them, as in test_vq_oracle.c; behind a
 * fault, where only the chain's end still matters, among few.
 */
#include <stdlib.h>

#include "tests/unit/packed_rig.h"

#define SIZE  4u
#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIR VRING_DESC_F_INDIRECT
#define TABLE (BUF_GPA + 0x80000)
#define BUSY  2u               /* this id is out, if one is */

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

static bool enumerating;
static unsigned table_entries;             /* 0: tables are not chosen entry by entry */
static bool entry_chosen[SIZE];

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

static const struct xn_span *span_of(uint64_t gpa)
{
	for (unsigned i = 0; i < r.mem.n_spans; i++)
		if (gpa >= r.mem.spans[i].gpa && gpa - r.mem.spans[i].gpa < r.mem.spans[i].bytes)
			return &r.mem.spans[i];
	return NULL;
}

struct verdict {
	enum xn_fault fault;
	unsigned slots, id;
	unsigned n;
	uint64_t bytes;
	struct xn_piece piece[64];
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

		if (v->n > first && v->piece[v->n - 1].at.v + v->piece[v->n - 1].len == uoff)
			v->piece[v->n - 1].len += (uint32_t)n;
		else
			v->piece[v->n++] = (struct xn_piece){ { uoff }, (uint32_t)n, 0 };
		at += n;
		len -= n;
	}
}

static enum xn_fault judge_buffer(struct verdict *v, struct vring_packed_desc d)
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

static enum xn_fault judge_table(struct verdict *v, struct vring_packed_desc t)
{
	unsigned n = t.len / 16;

	if (t.len == 0 || t.len % 16 || n > SIZE)
		return XN_FAULT_indirect_size;
	if (!is_guest(t.addr, t.len))
		return XN_FAULT_indirect_unmapped;
	for (unsigned i = 0; i < n; i++) {
		enum xn_fault f = judge_buffer(v, get_entry(t.addr, i));

		if (f)
			return f;
	}
	return XN_FAULT_NONE;
}

static enum xn_fault judge_desc(struct verdict *v, struct vring_packed_desc d, unsigned i)
{
	if (!(d.flags & INDIR))
		return judge_buffer(v, d);
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

static uint64_t verdicts[XN_FAULT_COUNT];

static void differ(const struct verdict *v, const char *what)
{
	print_message("%s; the walker says %s, id %u, %u slots\n", what, xn_fault_name(v->fault),
		      v->id, v->slots);
	for (unsigned i = 0; i < SIZE; i++)
		print_message("slot %u: addr %#llx len %#x flags %#x id %u\n", i,
			      (unsigned long long)p.ring[i].addr, p.ring[i].len, p.ring[i].flags,
			      p.ring[i].id);
	for (unsigned i = XN_C_FAULTS; i < XN_C_COUNT; i++)
		if (r.ctr.v[i])
			print_message("the queue counted %s\n", xn_counter_name(i));
	fail();
}

static void check_pieces(const struct verdict *v)
{
	const struct xn_piece *q = rig_pieces(&r, &r.chains[0]);

	if (r.chains[0].n_pieces != v->n || r.chains[0].bytes != v->bytes ||
	    r.chains[0].head != v->id || r.chains[0].slots != v->slots)
		differ(v, "other pieces, bytes, id or slots");
	for (unsigned i = 0; i < v->n; i++)
		if (q[i].at.v != v->piece[i].at.v || q[i].len != v->piece[i].len)
			differ(v, "another piece");
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
	unsigned n;

	memset(&r.ctr, 0, sizeof(r.ctr));
	verdicts[v->fault]++;
	if (xn_fault_stops_queue(v->fault)) {
		const struct place here = p.avail;

		packed_offer(&r, 0, 1);
		p.avail = here;
	} else {
		packed_offer(&r, (uint16_t)v->id, v->slots);
	}
	n = rig_pop(&r, 2);
	if (n != !v->fault)
		differ(v, n ? "taken" : "not taken");
	if (v->fault && rig_fault(&r, v->fault) != 1)
		differ(v, "refused for another reason");
	if (rig_all_faults(&r) != !!v->fault)
		differ(v, "number of faults");
	if (n) {
		check_pieces(v);
		xn_vq_push(&r.vq, (uint16_t)v->id, 77);
	}
	if (xn_fault_stops_queue(v->fault))
		check_stopped(v, at);
	else
		check_given_back(v, n);
}

static void open_giant(enum xn_vq_dir dir, unsigned flags, bool out)
{
	packed_open(&r, SIZE, dir, flags, 3, true);
	/* Between C and D, so that the spans stay sorted. */
	r.mem.spans[4] = r.mem.spans[3];
	r.mem.spans[3] = (struct xn_span){ GIANT, GIANT_BYTES, GIANT };
	r.mem.n_spans = 5;
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

	open_giant(dir, flags, out);
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

/* Each fault that a chain can have came up in what was enumerated. */
static void every_verdict_came_up(void **state)
{
	for (unsigned f = 0; f < XN_FAULT_COUNT; f++) {
		/* There is no `next` in a packed ring, and nothing nested in its tables. */
		bool elsewhere = f == XN_FAULT_next_range || f == XN_FAULT_chain_loop ||
				 f == XN_FAULT_indirect_range || f == XN_FAULT_indirect_nested ||
				 f == XN_FAULT_chain_pieces || f == XN_FAULT_rx_header ||
				 f == XN_FAULT_order || f == XN_FAULT_ctrl_no_ack;

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

static struct vring_packed_desc random_desc(bool in_table)
{
	struct vring_packed_desc d = {
		.addr = random_address(),
		.len = pick(8) ? pick(200) : rig_random(&seed) >> pick(32),
		.id = (uint16_t)(pick(16) ? pick(SIZE) : pick(65536)),
		.flags = (uint16_t)((pick(8) ? r.vq.expect_flags : pick(65536)) |
				    (pick(3) ? 0 : NEXT)),
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
	for (unsigned k = 0; k < 1000000; k++) {
		static struct verdict v;

		if (k % 50000 == 0) {
			if (k)
				rig_close(&r);
			open_giant(k % 100000 ? XN_VQ_TO_GUEST : XN_VQ_FROM_GUEST, RIG_INDIRECT,
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
		cmocka_unit_test(all_chains_of_a_ring_of_four),
		cmocka_unit_test(all_tables_of_one_two_and_three),
		cmocka_unit_test(every_verdict_came_up),
		cmocka_unit_test(random_rings_and_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
