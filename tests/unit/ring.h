/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of either kind of ring, for what is the same for both: chains of buffers go in, and
 * come back as used. What has to be written for that, and where, is in vq_rig.h and
 * packed_rig.h; struct ring has the same calls for both.
 *
 * A case that is written with these calls is run for each kind (RING_TESTS), and says in its
 * name for which.
 */
#ifndef XN_TESTS_RING_H
#define XN_TESTS_RING_H

#include "tests/unit/packed_rig.h"

#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIR VRING_DESC_F_INDIRECT
#define TABLE (BUF_GPA + 0x80000)   /* of A, free for tables */

/* A descriptor as a test wants it; NEXT is added where there is another one. */
struct seg {
	uint64_t at;
	uint32_t len;
	uint16_t flags;
};

struct ring {
	bool any_size;             /* or powers of two only */
	bool chained;              /* each descriptor of a chain has an id of its own */
	uint16_t unknown;          /* flags that mean nothing */
	uint16_t unknown_in_table;
	struct xn_vq_cfg (*cfg)(uint32_t size, enum xn_vq_dir dir, unsigned flags, uint32_t base);
	/* A queue that is empty, after `at` chains of one descriptor each. */
	void (*open)(struct rig *r, uint32_t size, enum xn_vq_dir dir, unsigned flags, uint32_t at);
	/* The driver's next position, as in xn_vq_cfg.base; another one, and what it said
	 * from there on is taken back; and what comes behind a chain of so many slots. */
	uint16_t (*position)(const struct rig *r);
	void (*go_back)(struct rig *r, uint16_t at);
	uint16_t (*behind)(const struct rig *r, uint16_t at, uint32_t slots);
	/* The chain of ids[0]; the others are those of its other descriptors, which a packed
	 * ring has no use for. They need not be below the size of the ring. */
	void (*offer)(struct rig *r, const uint16_t *ids, const struct seg *s, unsigned n);
	void (*table)(struct rig *r, uint64_t at, const struct seg *s, unsigned n);
	bool (*used)(struct rig *r, uint32_t *id, uint32_t *len);
	/* Would the driver kick for the chain that it offered last? */
	bool (*kicks)(const struct rig *r);
};

static struct rig r;
static const struct ring *ring;

/* ---- split ---- */

static inline struct xn_vq_cfg split_cfg(uint32_t size, enum xn_vq_dir dir, unsigned flags,
					 uint32_t base)
{
	return rig_cfg(size, dir, flags, (uint16_t)base);
}

static inline void split_open(struct rig *q, uint32_t size, enum xn_vq_dir dir, unsigned flags,
			      uint32_t at)
{
	rig_open(q, size, dir, flags, (uint16_t)at);
}

static inline uint16_t split_position(const struct rig *q)
{
	return q->next_avail;
}

static inline void split_go_back(struct rig *q, uint16_t at)
{
	q->avail[1] = q->next_avail = at;
}

static inline uint16_t split_behind(const struct rig *q, uint16_t at, uint32_t slots)
{
	return (uint16_t)(at + 1);
}

/* What `next` holds where there is no NEXT is nobody's affair. */
static inline void split_offer(struct rig *q, const uint16_t *ids, const struct seg *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bool more = i + 1 < n;

		rig_desc(q, ids[i] & (q->size - 1), s[i].at, s[i].len, s[i].flags | (more ? NEXT : 0),
			 more ? ids[i + 1] : 0xffff);
	}
	q->last_at = q->next_avail;
	rig_offer(q, ids[0]);
}

static inline void split_table(struct rig *q, uint64_t at, const struct seg *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bool more = i + 1 < n;

		rig_entry(q, at, i, s[i].at, s[i].len, s[i].flags | (more ? NEXT : 0),
			  more ? (uint16_t)(i + 1) : 0xffff);
	}
}

/* 2.7.7, 2.7.10. */
static inline bool split_kicks(const struct rig *q)
{
	const uint16_t wish = *q->vq.g_avail_event;

	if (!q->vq.event_idx)
		return !(q->used->flags & VRING_USED_F_NO_NOTIFY);
	for (uint16_t i = q->last_at; i != q->next_avail; i++)
		if (i == wish)
			return true;
	return false;
}

static const struct ring ring_split = {
	.chained = true,
	.unknown = 0xfff8, .unknown_in_table = 0xfff8,
	.cfg = split_cfg, .open = split_open, .position = split_position, .go_back = split_go_back,
	.behind = split_behind, .offer = split_offer, .table = split_table, .used = rig_used,
	.kicks = split_kicks,
};

/* ---- packed ---- */

static inline void ring_packed_open(struct rig *q, uint32_t size, enum xn_vq_dir dir, unsigned flags,
				    uint32_t at)
{
	packed_open(q, size, dir, flags, at % size, !(at / size & 1));
}

static inline uint16_t packed_position(const struct rig *q)
{
	return place_base(p.avail);
}

static inline void packed_go_back(struct rig *q, uint16_t at)
{
	p.avail = place_of(at);
}

static inline uint16_t packed_behind(const struct rig *q, uint16_t at, uint32_t slots)
{
	struct place to = place_of(at);

	place_move(&to, q->size, slots);
	return place_base(to);
}

/* The standard wants the id in the last one only: in front of it are others. */
static inline void packed_offer_chain(struct rig *q, const uint16_t *ids, const struct seg *s,
				      unsigned n)
{
	q->last_at = place_base(p.avail);
	for (unsigned i = 0; i < n; i++) {
		bool more = i + 1 < n;

		packed_put(q, i, s[i].at, s[i].len, ids[more ? i + 1 : 0],
			   s[i].flags | (more ? NEXT : 0));
	}
	packed_offer(q, ids[0], n);
}

static inline void packed_table(struct rig *q, uint64_t at, const struct seg *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct vring_packed_desc d = { s[i].at, s[i].len, 0x1234, s[i].flags };

		rig_write(q, at + 16ull * i, &d, sizeof(d));
	}
}

static inline bool ring_packed_kicks(const struct rig *q)
{
	return packed_kicks(q, place_of(q->last_at), p.avail);
}

static const struct ring ring_packed = {
	.any_size = true,
	.unknown = (uint16_t)~(P_AVAIL | P_USED | NEXT | WRITE | INDIR),
	.unknown_in_table = (uint16_t)~WRITE,   /* 2.8.7 */
	.cfg = packed_cfg, .open = ring_packed_open, .position = packed_position,
	.go_back = packed_go_back, .behind = packed_behind, .offer = packed_offer_chain,
	.table = packed_table, .used = packed_used, .kicks = ring_packed_kicks,
};

/* ---- both ---- */

static inline bool ring_takes_size(uint32_t n)
{
	return n && n <= XN_VQ_MAX_SIZE && (ring->any_size || !(n & (n - 1)));
}

/* A chain with the id `head`, and what comes behind it in the table. */
static inline void offer(uint16_t head, const struct seg *s, unsigned n)
{
	uint16_t ids[64];

	assert_true(n && n <= XN_ARRAY_SIZE(ids));
	ids[0] = head;
	for (unsigned i = 1; i < n; i++)
		ids[i] = (uint16_t)((head + i) % r.size);
	ring->offer(&r, ids, s, n);
}

static inline void offer1(uint16_t head, uint64_t at, uint32_t len, uint16_t flags)
{
	ring->offer(&r, &head, &(struct seg){ at, len, flags }, 1);
}

/* OFFER(head, { at, len, flags }, ...) */
#define OFFER(head, ...) \
	offer(head, (const struct seg[]){ __VA_ARGS__ }, \
	      sizeof((const struct seg[]){ __VA_ARGS__ }) / sizeof(struct seg))
#define PUT_TABLE(at, ...) \
	ring->table(&r, at, (const struct seg[]){ __VA_ARGS__ }, \
		    sizeof((const struct seg[]){ __VA_ARGS__ }) / sizeof(struct seg))

/* The next one that is seen as used is this, and this many bytes were written. */
static inline void comes_back(uint32_t want_id, uint32_t want_len)
{
	uint32_t id, len;

	assert_true(ring->used(&r, &id, &len));
	assert_int_equal(id, want_id);
	assert_int_equal(len, want_len);
}

static inline void nothing_comes_back(void)
{
	uint32_t id, len;

	assert_false(ring->used(&r, &id, &len));
}

/* n buffers, with the ids from 0 on, go there and are used; the driver does not look. */
static inline void use(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		offer1((uint16_t)i, BUF_GPA, 100, r.vq.expect_flags);
	for (unsigned left = n; left; left -= rig_pop(&r, left))
		;
	for (unsigned i = 0; i < n; i++)
		xn_vq_push(&r.vq, (uint16_t)i, 0);
	assert_true(xn_vq_publish(&r.vq));
}

static inline void nothing_is_out(void)
{
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(rig_taken(&r), 0);
	if (!r.vq.packed)
		return;
	assert_int_equal(r.vq.pk.slots_out, 0);
	assert_int_equal(r.vq.pk.used_at, r.vq.avail_next);
	for (uint32_t i = 0; i < r.size; i++)
		assert_int_equal(r.vq.pk.more[i], 0);
}

static inline int ring_choose(void **state)
{
	ring = *state;
	return 0;
}

#define RING_TEST(f, kind) { #f " (" #kind ")", f, ring_choose, NULL, (void *)&ring_##kind }
#define RING_TESTS(f)      RING_TEST(f, split), RING_TEST(f, packed)

#endif
