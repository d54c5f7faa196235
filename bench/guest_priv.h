/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest model's rings, and how they are offered and taken back: what guest.c (theory there) and
 * guest_chain.c have in common.
 */
#ifndef XN_BENCH_GUEST_PRIV_H
#define XN_BENCH_GUEST_PRIV_H

#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/virtio_ring.h>

#include "base/atomics.h"
#include "base/types.h"
#include "bench/guest.h"
#include "bench/merge.h"

#define HDR_BYTES       XN_GUEST_HDR
#define NUM_BUFFERS_AT  10u
#define RX_BUF_BYTES    1536u
/* 27 cache lines: an odd number, so that neighbours do not share the few sets of the
 * first-level cache that a power of two would leave them (10 ns a packet). Linux's
 * heads of socket buffers are no powers of two either. */
#define TX_BUF_BYTES    1728u
#define TX_SPLIT_AT     64u     /* where the data is when it is apart from its header */
#define MAX_QUEUE       32768u
#define NO_RX           UINT16_MAX

#define WRAP    0x8000u   /* packed: wrap counter, in bit 15 of a position */
#define P_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define P_USED  (1u << VRING_PACKED_DESC_F_USED)

struct ring {
	struct vring_desc *desc;       /* packed: our own table */
	struct vring_avail *avail;
	const struct vring_used *used;
	uint16_t *used_event;          /* behind avail->ring: ours */
	const uint16_t *avail_event;   /* behind used->ring: the device's */
	uint64_t *slots;               /* packed: two words each */
	uint32_t *driver_event;
	const uint32_t *device_event;
	bool packed;
	uint32_t size;
	uint16_t mask, chain;   /* chain: descriptors of each ... */
	uint8_t *chain_of;      /* ... or, by head, of those that differ; else NULL */
	/* These are positions in a packed ring. */
	uint16_t next_avail;    /* ours, ahead of avail->idx until published */
	uint16_t published;     /* avail->idx */
	uint16_t next_used;     /* first used element that we have not looked at */
	uint16_t used_idx;      /* what we saw of used->idx last */
	int kick_fd, call_fd;
	uint64_t at;            /* offset of the ring's memory in RAM */
	uint64_t avail_at, used_at;
};

struct pair {
	struct ring rx;
	uint16_t continuations; /* buffers of the frame begun that are still to come */
	struct xn_merge merge;  /* for whoever wants whole frames */
	uint8_t **rx_buf;       /* by descriptor */

	struct ring tx XN_CACHE_ALIGNED;
	uint8_t *tx_buf;        /* of slot 0 */
	uint16_t *free;         /* stack of slots */
	uint16_t *rx_of_slot;   /* receive buffer that a slot forwards, or NO_RX */
	uint32_t n_free;
} XN_CACHE_ALIGNED;

struct xn_guest {
	struct xn_guest_cfg cfg;
	int fd;
	bool got_huge;
	uint8_t *ram;
	uint64_t ram_bytes;
	uint32_t tx_buf_bytes, tx_slots;
	uint16_t per_slot;      /* descriptors */
	uint8_t *data;          /* cfg.data_bytes */
	struct pair *pairs;
};

static inline uint64_t gpa_of(const struct xn_guest *g, const uint8_t *p)
{
	return g->cfg.gpa_base + (uint64_t)(p - g->ram);
}

/* ---- packed ones: positions, and what lies there ---- */

static inline uint16_t forth(const struct ring *r, uint16_t at, uint32_t slots)
{
	const uint32_t slot = (at & ~WRAP) + slots;

	return (uint16_t)(slot < r->size ? at + slots : ((at ^ WRAP) & WRAP) | (slot - r->size));
}

static inline uint64_t *slot_at(const struct ring *r, uint16_t at)
{
	return &r->slots[2 * (at & ~WRAP)];
}

/* Length, id and flags in one word. */
static inline uint64_t avail_word(const struct vring_desc *d, uint16_t id, uint16_t at)
{
	const uint64_t flags = d->flags | (at & WRAP ? P_AVAIL : P_USED);

	return flags << 48 | (uint64_t)id << 32 | d->len;
}

static inline bool is_used(uint64_t word, uint16_t at)
{
	return ((word >> 48 ^ (at & WRAP ? P_AVAIL | P_USED : 0)) & (P_AVAIL | P_USED)) == 0;
}

static inline bool used_at(const struct ring *r, uint16_t at)
{
	return is_used(xn_load_acquire64(&slot_at(r, at)[1]), at);
}

static inline uint16_t chain_of(const struct ring *r, uint16_t head)
{
	return XN_UNLIKELY(r->chain_of != NULL) ? r->chain_of[head] : r->chain;
}

static inline void offer_slots(struct ring *r, uint16_t head)
{
	const struct vring_desc *d = &r->desc[head];
	const uint16_t first = r->next_avail, n = chain_of(r, head);

	for (uint16_t i = 1; i < n; i++) {
		const uint16_t at = forth(r, first, i);

		slot_at(r, at)[0] = d[i].addr;
		slot_at(r, at)[1] = avail_word(&d[i], head, at);
	}
	slot_at(r, first)[0] = d->addr;
	/* (A): the descriptor, and those behind it, before the flags. */
	xn_store_release64(&slot_at(r, first)[1], avail_word(d, head, first));
	r->next_avail = forth(r, first, n);
}

static inline bool take_slot(struct ring *r, struct vring_used_elem *e)
{
	/* (C), as in take_used. */
	const uint64_t word = xn_load_acquire64(&slot_at(r, r->next_used)[1]);

	if (!is_used(word, r->next_used))
		return false;
	/* A length without WRITE is none: 2.8.5. */
	*e = (struct vring_used_elem){ .id = (uint16_t)(word >> 32),
		.len = word >> 48 & VRING_DESC_F_WRITE ? (uint32_t)word : 0 };
	r->next_used = forth(r, r->next_used, chain_of(r, (uint16_t)e->id));
	return true;
}

/* 2.8.10: was the event's position passed between `before` and now? */
static inline bool wants_slot_kick(const struct ring *r, uint16_t before)
{
	const uint32_t wish = xn_load_once32(r->device_event), flags = wish >> 16;
	const uint16_t now = r->next_avail & ~WRAP;
	const uint16_t new = (uint16_t)(now + ((before ^ r->next_avail) & WRAP ? r->size : 0));
	uint16_t event = wish & ~WRAP & UINT16_MAX;

	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	if ((wish ^ before) & WRAP)
		event = (uint16_t)(event + r->size);
	return vring_need_event(event, new, before & ~WRAP);
}

/* ---- both ---- */

static inline bool wants_kick(const struct xn_guest *g, const struct ring *r, uint16_t before)
{
	if (r->packed)
		return wants_slot_kick(r, before);
	if (g->cfg.event_idx)
		return vring_need_event(xn_load_once16(r->avail_event), r->next_avail, before);
	return !(xn_load_once16(&r->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* Offers everything up to next_avail to the device; once a batch. */
static inline void publish(const struct xn_guest *g, struct ring *r)
{
	const uint16_t before = r->published;
	const uint64_t one = 1;
	ssize_t n;

	r->published = r->next_avail;
	/* (A): the entries before the index that covers them. */
	if (!r->packed)
		xn_store_release16(&r->avail->idx, r->next_avail);
	if (r->kick_fd < 0)
		return;
	/* (B): our index before its wish; pairs with the device's fence before sleep. */
	xn_fence_full();
	if (!wants_kick(g, r, before))
		return;
	/* It can only fail when 2^64 - 2 kicks are waiting already. */
	n = write(r->kick_fd, &one, sizeof(one));
	(void)n;
}

static inline void offer(struct ring *r, uint16_t head)
{
	if (r->packed)
		offer_slots(r, head);
	else
		r->avail->ring[r->next_avail++ & r->mask] = head;
}

/* The next used element, if there is one; looks at the shared index only when what it saw
 * last is used up. */
static inline bool take_used(struct ring *r, struct vring_used_elem *e)
{
	if (r->packed)
		return take_slot(r, e);
	if (r->used_idx == r->next_used) {
		/* (C): pairs with the device's release; its elements and data come after. */
		r->used_idx = xn_load_acquire16(&r->used->idx);
		if (r->used_idx == r->next_used)
			return false;
	}
	*e = r->used->ring[r->next_used++ & r->mask];
	return true;
}

#endif
