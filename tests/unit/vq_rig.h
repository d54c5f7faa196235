/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One virtqueue on hand-made guest memory, with the driver's side of it, for the
 * tests of virtio/. Nothing here checks what the driver writes: tests are as wrong
 * as they like.
 *
 *	guest address            UMEM offset
 *	A  0x100000  2 MiB        0x010000    rings and buffers
 *	B  0x300000  64 KiB       0x300000    behind A for the guest, apart in the UMEM
 *	C  0x310000  64 KiB       0x310000    behind B for both
 *	D  2^64 - 64 KiB          0x400000    the last byte of the address space
 *
 * What lies between them in this process cannot be touched without a signal.
 */
#ifndef XN_TESTS_VQ_RIG_H
#define XN_TESTS_VQ_RIG_H

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "tests/cmocka.h"
#include "virtio/vq.h"

#define A_GPA   0x100000ull
#define A_BYTES 0x200000ull
#define B_GPA   (A_GPA + A_BYTES)
#define C_GPA   (B_GPA + 0x10000ull)
#define C_END   (C_GPA + 0x10000ull)
#define D_GPA   (0ull - 0x10000ull)
#define BUF_GPA (A_GPA + 0x100000ull)   /* of A, free for buffers and tables */
#define HOLE    0x8000000ull

#define DESC_AT  0ull
#define AVAIL_AT 0x80000ull
#define USED_AT  0xa0000ull

#define RIG_BYTES 0x500000ull
#define RIG_PIECES (2 * XN_VQ_MAX_SIZE)
#define RIG_MIN_BYTES 60u    /* of a plain chain: test buffers are on both sides of it */

enum { RIG_EVENT = 1, RIG_INDIRECT = 2 };

struct rig {
	struct xn_mem mem;
	struct xn_counters ctr;
	struct xn_vq vq;
	struct vring_desc *desc;
	uint16_t *avail;           /* [0] flags, [1] idx, [2..] heads, used_event */
	struct vring_used *used;
	uint32_t size;
	uint16_t next_avail, next_used;
	uint16_t last_at;          /* where the last chain was offered; see ring.h */
	struct xn_chain chains[XN_VQ_MAX_SIZE];
	struct xn_piece pieces[RIG_PIECES], one;
};

static inline void rig_add_span(struct rig *r, uint64_t gpa, uint64_t bytes, uint64_t uoff)
{
	int err = mprotect(r->mem.base + uoff, bytes, PROT_READ | PROT_WRITE);

	assert_int_equal(err, 0);
	r->mem.spans[r->mem.n_spans++] = (struct xn_span){ gpa, bytes, uoff };
	r->mem.guest_bytes += bytes;
}

static inline void rig_map(struct rig *r)
{
	memset(&r->mem, 0, sizeof(r->mem));
	r->mem.base = mmap(NULL, RIG_BYTES, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(r->mem.base != MAP_FAILED);
	r->mem.umem_bytes = r->mem.map_bytes = RIG_BYTES;
	rig_add_span(r, A_GPA, A_BYTES, 0x10000);
	rig_add_span(r, B_GPA, 0x10000, 0x300000);
	rig_add_span(r, C_GPA, 0x10000, 0x310000);
	rig_add_span(r, D_GPA, 0x10000, 0x400000);
}

/* Where this process sees a guest address that lies in one of the spans. */
static inline void *rig_at(struct rig *r, uint64_t gpa)
{
	for (unsigned i = 0; i < r->mem.n_spans; i++) {
		const struct xn_span *s = &r->mem.spans[i];

		if (gpa - s->gpa < s->bytes)
			return r->mem.base + s->uoff + (gpa - s->gpa);
	}
	fail_msg("no guest memory at %#llx", (unsigned long long)gpa);
	return NULL;
}

/* Writes guest bytes that may lie in several spans. */
static inline void rig_write(struct rig *r, uint64_t gpa, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*(uint8_t *)rig_at(r, gpa + i) = ((const uint8_t *)from)[i];
}

static inline struct xn_vq_cfg rig_cfg(uint32_t size, enum xn_vq_dir dir, unsigned flags,
				       uint16_t base)
{
	return (struct xn_vq_cfg){
		.size = size, .base = base, .dir = dir,
		.desc = XN_GPA(A_GPA + DESC_AT), .avail = XN_GPA(A_GPA + AVAIL_AT),
		.used = XN_GPA(A_GPA + USED_AT),
		.min_bytes = RIG_MIN_BYTES,
		.event_idx = flags & RIG_EVENT, .indirect = flags & RIG_INDIRECT,
	};
}

/* A queue on rings that have been in use up to index `base`, and are empty. */
static inline void rig_open(struct rig *r, uint32_t size, enum xn_vq_dir dir, unsigned flags,
			    uint16_t base)
{
	const struct xn_vq_cfg cfg = rig_cfg(size, dir, flags, base);

	rig_map(r);
	memset(&r->ctr, 0, sizeof(r->ctr));
	r->size = size;
	r->desc = rig_at(r, cfg.desc.v);
	r->avail = rig_at(r, cfg.avail.v);
	r->used = rig_at(r, cfg.used.v);
	r->next_avail = r->next_used = base;
	r->avail[1] = base;
	r->used->idx = base;
	assert_int_equal(xn_vq_init(&r->vq, &r->mem, &r->ctr, &cfg), 0);
}

static inline void rig_close(struct rig *r)
{
	xn_vq_fini(&r->vq);
	munmap(r->mem.base, RIG_BYTES);
}

static inline void rig_desc(struct rig *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
			    uint16_t next)
{
	r->desc[i] = (struct vring_desc){ addr, len, flags, next };
}

static inline void rig_entry(struct rig *r, uint64_t table, unsigned i, uint64_t addr, uint32_t len,
			     uint16_t flags, uint16_t next)
{
	const struct vring_desc d = { addr, len, flags, next };

	rig_write(r, table + 16ull * i, &d, sizeof(d));
}

static inline void rig_offer(struct rig *r, uint16_t head)
{
	r->avail[2 + (r->next_avail++ & (r->size - 1))] = head;
	xn_store_release16(&r->avail[1], r->next_avail);   /* (A) in virtio/vq.h */
}

/* Takes up to n chains with an array of pieces that is large enough. */
static inline unsigned rig_pop(struct rig *r, unsigned n)
{
	return xn_vq_pop(&r->vq, r->chains, n, r->pieces, XN_MAX(2 * r->size, 64u));
}

/* The pieces of a chain that was taken; valid until the next call. */
static inline const struct xn_piece *rig_pieces(struct rig *r, const struct xn_chain *c)
{
	return xn_chain_pieces(c, r->pieces, &r->one);
}

/* Next used entry that is published; none: all ones. */
static inline bool rig_used(struct rig *r, uint32_t *head, uint32_t *len)
{
	const struct vring_used_elem *e;

	*head = *len = UINT32_MAX;
	if (r->next_used == xn_load_acquire16(&r->used->idx))   /* (D) */
		return false;
	e = &((const struct vring_used_elem *)((const char *)r->used + 4))
		[r->next_used++ & (r->size - 1)];
	*head = e->id;
	*len = e->len;
	return true;
}

static inline uint64_t rig_fault(const struct rig *r, enum xn_fault f)
{
	return r->ctr.v[XN_C_FAULTS + f - 1];
}

static inline uint64_t rig_all_faults(const struct rig *r)
{
	uint64_t sum = 0;

	for (unsigned i = XN_C_FAULTS; i < XN_C_COUNT; i++)
		sum += r->ctr.v[i];
	return sum;
}

/* Heads that the queue says are taken. */
static inline unsigned rig_taken(const struct rig *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->size; i++)
		n += r->vq.state[i] != 0;
	return n;
}

/* Does set-up take this? Nothing is left of it. */
static inline int rig_try(struct rig *r, const struct xn_vq_cfg *cfg)
{
	struct xn_vq vq;
	int err = xn_vq_init(&vq, &r->mem, &r->ctr, cfg);

	xn_vq_fini(&vq);
	return err;
}

/* Where the three parts of a ring are, and a word of what set-up says to that (NULL: good). */
struct rig_places {
	uint64_t desc, avail, used;
	const char *word;
};

static inline void rig_try_places(struct rig *r, struct xn_vq_cfg cfg, const struct rig_places *t,
				  unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		cfg.desc.v = t[i].desc;
		cfg.avail.v = t[i].avail;
		cfg.used.v = t[i].used;
		assert_int_equal(rig_try(r, &cfg), t[i].word ? -EINVAL : 0);
		if (t[i].word)
			assert_non_null(strstr(xn_last_error(), t[i].word));
	}
}

/* xorshift: tests are the same every time. */
static inline uint32_t rig_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint32_t)(*seed >> 16);
}

#endif
