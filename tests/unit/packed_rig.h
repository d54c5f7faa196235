/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver's side of a packed virtqueue, on the guest memory of vq_rig.h. It keeps its own
 * books as VIRTIO 1.3, 2.8 says, and nothing of the device's: where it writes next and where it
 * looks next, each with a wrap counter, and how many slots each id has. What it writes it
 * does not check: tests are as wrong as they like.
 */
#ifndef XN_TESTS_PACKED_RIG_H
#define XN_TESTS_PACKED_RIG_H

#include "tests/unit/vq_rig.h"

#define P_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define P_USED  (1u << VRING_PACKED_DESC_F_USED)

/* Where a side is in its ring. */
struct place {
	uint32_t slot;
	bool wrap;
};

struct packed {
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver, *device;
	struct place avail, used;
	uint16_t first_flags;          /* of the chain that is being written */
	uint32_t slots_of[65536];      /* of the last chain with this id */
	uint32_t last_slots;           /* of the last one that was seen as used */
};

static struct packed p;

static inline void place_move(struct place *at, uint32_t size, uint32_t slots)
{
	at->slot += slots;
	if (at->slot >= size) {
		at->slot -= size;
		at->wrap = !at->wrap;
	}
}

static inline uint16_t place_base(struct place at)
{
	return (uint16_t)(at.slot | (at.wrap ? 0x8000u : 0));
}

static inline struct place place_of(uint16_t base)
{
	return (struct place){ base & 0x7fff, base >> 15 };
}

/* Flags of a descriptor that is available there. */
static inline uint16_t place_flags(struct place at)
{
	return at.wrap ? P_AVAIL : P_USED;
}

static inline struct xn_vq_cfg packed_cfg(uint32_t size, enum xn_vq_dir dir, unsigned flags,
					  uint32_t base)
{
	struct xn_vq_cfg cfg = rig_cfg(size, dir, flags, 0);

	cfg.packed = true;
	cfg.base = base;
	return cfg;
}

/*
 * A queue on a ring that has been in use up to slot `slot` of a lap with this wrap counter,
 * and is empty: everything is as the driver would have left it.
 */
static inline void packed_open_cfg(struct rig *r, const struct xn_vq_cfg *cfg, uint32_t slot, bool wrap)
{
	struct place old = { 0, !wrap };

	rig_map(r);
	memset(&r->ctr, 0, sizeof(r->ctr));
	memset(&p, 0, sizeof(p));
	r->size = cfg->size;
	p.ring = rig_at(r, cfg->desc.v);
	p.driver = rig_at(r, cfg->avail.v);
	p.device = rig_at(r, cfg->used.v);
	p.avail = p.used = (struct place){ slot, wrap };
	/* All slots behind are used ones of the lap before, those in front of this one. (In the
	 * very first lap they are zeros, which is the same thing.) */
	for (uint32_t i = 0; i < cfg->size; i++) {
		old.wrap = i < slot ? wrap : !wrap;
		p.ring[i].flags = old.wrap ? P_AVAIL | P_USED : 0;
	}
	assert_int_equal(xn_vq_init(&r->vq, &r->mem, &r->ctr, cfg), 0);
}

static inline void packed_open(struct rig *r, uint32_t size, enum xn_vq_dir dir, unsigned flags,
			       uint32_t slot, bool wrap)
{
	const struct place at = { slot, wrap };
	const struct xn_vq_cfg cfg = packed_cfg(size, dir, flags,
						place_base(at) | (uint32_t)place_base(at) << 16);

	packed_open_cfg(r, &cfg, slot, wrap);
}

/* Writes the i-th descriptor of the next chain: `flags` without AVAIL and USED. */
static inline void packed_put(struct rig *r, uint32_t i, uint64_t addr, uint32_t len, uint16_t id,
			      uint16_t flags)
{
	struct place at = p.avail;
	struct vring_packed_desc *d;

	place_move(&at, r->size, i);
	d = &p.ring[at.slot];
	/* The device may look at any time, but believes only what is available. */
	xn_store_once64((uint64_t *)&d->addr, addr);
	xn_store_once32(&d->len, len);
	xn_store_once16(&d->id, id);
	if (i)
		xn_store_once16(&d->flags, flags | place_flags(at));
	else
		p.first_flags = flags;    /* written by packed_offer */
}

/* Makes what packed_put wrote available, as a chain of n descriptors with this id. */
static inline void packed_offer(struct rig *r, uint16_t id, uint32_t n)
{
	const uint16_t flags = (uint16_t)(p.first_flags | place_flags(p.avail));

	/* (A) in virtio/vq.h. */
	xn_store_release16(&p.ring[p.avail.slot].flags, flags);
	place_move(&p.avail, r->size, n);
	p.slots_of[id] = n;
}

/* A chain of one descriptor. */
static inline void packed_one(struct rig *r, uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	packed_put(r, 0, addr, len, id, flags);
	packed_offer(r, id, 1);
}

/* Length, id and flags of the descriptor where the driver looks next. Is it a used one?
 * 2.8.21. */
static inline bool packed_next(struct vring_packed_desc *d)
{
	const uint64_t rest = xn_load_acquire64((const uint64_t *)&p.ring[p.used.slot] + 1);   /* (D) */

	*d = (struct vring_packed_desc){ .len = (uint32_t)rest, .id = (uint16_t)(rest >> 32),
					 .flags = (uint16_t)(rest >> 48) };
	return !!(d->flags & P_AVAIL) == p.used.wrap && !!(d->flags & P_USED) == p.used.wrap;
}

static inline bool packed_is_used(void)
{
	struct vring_packed_desc d;

	return packed_next(&d);
}

/* Next used descriptor; none: all ones. A length without WRITE is nothing to be looked at. */
static inline bool packed_used(struct rig *r, uint32_t *id, uint32_t *len)
{
	struct vring_packed_desc d;

	*id = *len = UINT32_MAX;
	if (!packed_next(&d))
		return false;
	*id = d.id;
	*len = d.flags & VRING_DESC_F_WRITE ? d.len : 0;
	p.last_slots = p.slots_of[d.id];
	place_move(&p.used, r->size, p.last_slots);
	return true;
}

/* Would the driver kick after it went from one place to another? 2.8.10. */
static inline bool packed_kicks(const struct rig *r, struct place from, struct place to)
{
	const uint16_t flags = p.device->flags, at = p.device->off_wrap;

	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	for (; place_base(from) != place_base(to); place_move(&from, r->size, 1))
		if (place_base(from) == at)
			return true;
	return false;
}

#endif
