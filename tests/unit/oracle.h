/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the walkers of test_vq_oracle.c and test_vq_packed_oracle.c have in common: how all
 * chains are enumerated, and what a buffer of a chain comes to. Nothing of it is the device's.
 *
 * How all chains are enumerated: descriptors are chosen when the walker asks for them.
 * Each run replays the choices of the run before up to the last one that has another
 * alternative. So descriptors that no walker looks at are not multiplied; these hold
 * a trap, and whoever looks at them all the same comes to another verdict.
 */
#ifndef XN_TESTS_ORACLE_H
#define XN_TESTS_ORACLE_H

#include "tests/unit/ring.h"

#define SIZE 4u

/* Guest memory that nobody touches: large enough for sums beyond 32 bits. */
#define GIANT       (1ull << 40)
#define GIANT_BYTES (8ull << 30)

/* ---- choices ---- */

static struct {
	unsigned digit[64], base[64];
	unsigned at, n;
} odo;

/* One of 0..n-1; over all runs, each. */
static inline unsigned choose(unsigned n)
{
	if (odo.at == odo.n) {
		assert_true(odo.n < XN_ARRAY_SIZE(odo.digit));
		odo.digit[odo.n] = 0;
		odo.base[odo.n++] = n;
	}
	return odo.digit[odo.at++];
}

/* The next run. False: all have been. */
static inline bool choose_next(void)
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

/* ---- the walker: one buffer ---- */

/* A chain's fault, or its pieces; packed: its slots and its id. */
struct verdict {
	enum xn_fault fault;
	unsigned slots, id;
	unsigned n;
	uint64_t bytes;
	struct xn_piece piece[64];
};

static inline const struct xn_span *span_of(uint64_t gpa)
{
	for (unsigned i = 0; i < r.mem.n_spans; i++)
		if (gpa >= r.mem.spans[i].gpa && gpa - r.mem.spans[i].gpa < r.mem.spans[i].bytes)
			return &r.mem.spans[i];
	return NULL;
}

/* Is every one of these bytes guest memory? */
static inline bool is_guest(uint64_t at, uint64_t len)
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
static inline void cut(struct verdict *v, uint64_t at, uint64_t len)
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

static inline enum xn_fault judge_buffer(struct verdict *v, struct seg d)
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
	if (d.at && (uint64_t)d.len > 0 - d.at)
		return XN_FAULT_addr_wrap;
	if (!is_guest(d.at, d.len))
		return XN_FAULT_addr_unmapped;
	cut(v, d.at, d.len);
	return XN_FAULT_NONE;
}

/* Where both kinds of tables are wrong in the same way; NONE if it is not one of these. */
static inline enum xn_fault judge_table_at(struct seg t)
{
	if (t.len == 0 || t.len % 16 || t.len / 16 > SIZE)
		return XN_FAULT_indirect_size;
	return is_guest(t.at, t.len) ? XN_FAULT_NONE : XN_FAULT_indirect_unmapped;
}

/* ---- comparison ---- */

static uint64_t verdicts[XN_FAULT_COUNT];

/* The queue has come to another verdict than this one; the test has said which. */
static inline void differ_in(const char *what)
{
	for (unsigned i = XN_C_FAULTS; i < XN_C_COUNT; i++)
		if (r.ctr.v[i])
			print_message("the queue counted %s\n", xn_counter_name(i));
	fail_msg("%s", what);
}

static void differ(const struct verdict *v, const char *what);

/* Takes what was offered. Is it one, or a fault, as it should be? */
static inline bool taken_as(const struct verdict *v)
{
	unsigned n = rig_pop(&r, 2);

	verdicts[v->fault]++;
	if (n != !v->fault)
		differ(v, n ? "taken" : "not taken");
	if (v->fault && rig_fault(&r, v->fault) != 1)
		differ(v, "refused for another reason");
	if (rig_all_faults(&r) != !!v->fault)
		differ(v, "number of faults");
	return n;
}

static inline void check_pieces(const struct verdict *v)
{
	const struct xn_piece *q = rig_pieces(&r, &r.chains[0]);

	if (r.chains[0].n_pieces != v->n || r.chains[0].bytes != v->bytes ||
	    r.chains[0].head != v->id || (r.vq.packed && r.chains[0].slots != v->slots))
		differ(v, "other pieces, bytes, id or slots");
	for (unsigned i = 0; i < v->n; i++)
		if (q[i].at.v != v->piece[i].at.v || q[i].len != v->piece[i].len)
			differ(v, "another piece");
}

static inline void open_giant(enum xn_vq_dir dir, unsigned flags, uint32_t at)
{
	ring->open(&r, SIZE, dir, flags, at);
	/* Between C and D, so that the spans stay sorted. */
	r.mem.spans[4] = r.mem.spans[3];
	r.mem.spans[3] = (struct xn_span){ GIANT, GIANT_BYTES, GIANT };
	r.mem.n_spans = 5;
}

/* Each fault that a chain of this kind can have came up in what was enumerated. */
static inline void every_one_came_up_but(const enum xn_fault *elsewhere, unsigned n)
{
	for (unsigned f = 0; f < XN_FAULT_COUNT; f++) {
		bool expected = true;

		for (unsigned i = 0; i < n; i++)
			expected &= f != elsewhere[i];
		if (expected && !verdicts[f])
			fail_msg("never: %s", xn_fault_name((enum xn_fault)f));
	}
}

/* ---- at random ---- */

static uint64_t seed = 0x9e3779b97f4a7c15ull;

static inline uint32_t pick(uint32_t n)
{
	return rig_random(&seed) % n;
}

/* Near a border of the guest's memory, for the most part. */
static inline uint64_t random_address(void)
{
	static const uint64_t at[] = { A_GPA, BUF_GPA, B_GPA, C_GPA, C_END, D_GPA, 0, GIANT,
				       TABLE };

	if (!pick(16))
		return (uint64_t)rig_random(&seed) << 32 | rig_random(&seed);
	return at[pick(XN_ARRAY_SIZE(at))] + pick(200) - 100;
}

/* A descriptor, or an entry of a table; of twelve, so many go on. */
static inline struct seg random_seg(bool in_table, unsigned next)
{
	struct seg d = {
		.at = random_address(),
		.len = pick(8) ? pick(200) : rig_random(&seed) >> pick(32),
		.flags = (uint16_t)((pick(8) ? r.vq.expect_flags : pick(65536)) |
				    (pick(12) < next ? NEXT : 0)),
	};

	if (pick(in_table ? 16 : 3))
		d.flags &= (uint16_t)~INDIR;
	else {
		d.flags = (uint16_t)((d.flags | INDIR) & ~(pick(8) ? NEXT : 0));
		d.at = pick(4) ? TABLE + pick(3) * 4 : B_GPA - pick(64);
		d.len = pick(8) ? 16 * (1 + pick(SIZE)) : d.len;
	}
	return d;
}

#endif
