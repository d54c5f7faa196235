/* SPDX-License-Identifier: BSD-2-Clause */
/* Which buffers of a packed ring are out, in shared memory. Layout, order of stores and trust:
 * inflight_packed.h. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "virtio/inflight_packed.h"
#include "xsknet.h"

#define VERSION 1u
#define WRAP    0x8000u
#define F_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define F_USED  (1u << VRING_PACKED_DESC_F_USED)

size_t xn_inflight_packed_bytes(uint32_t size)
{
	return XN_ALIGN_UP(sizeof(struct xn_pflight_ring) +
			   (uint64_t)size * sizeof(struct xn_pflight_desc), XN_CACHE_LINE);
}

static inline uint64_t exchange(uint64_t word)
{
	return word << 32 | word >> 32;
}

/* ---- the two words ---- */

static void put_heads(struct xn_pflight *f, uint16_t head, uint16_t old)
{
	/* Orders the entries that it leads to, and the marks that went before, in front of it:
	 * what pairs with it is a process's end. */
	xn_store_release32(&f->g->free_heads, head | (uint32_t)old << 16);
}

/* Positions with the wrap counter in bit 15. */
static void put_used(struct xn_pflight *f, uint16_t used, uint16_t old)
{
	const uint64_t idx = (used & ~WRAP & 0xffff) | (uint64_t)(old & ~WRAP & 0xffff) << 16;
	const uint64_t wraps = (uint64_t)(used >> 15) | (uint64_t)(old >> 15) << 8;

	xn_store_release64(&f->g->used, idx | wraps << 32);
}

/* ---- a new region ---- */

/*
 * Makes one of it in which nothing is out. It is not one as long as the version is 0: whoever
 * is killed meanwhile leaves a region to be made new again.
 */
static void make_new(struct xn_pflight *f, uint16_t used_at)
{
	struct xn_pflight_ring *g = f->g;

	xn_store_once16(&g->version, 0);
	for (uint32_t i = 0; i < f->size; i++) {
		xn_store_once16(&g->desc[i].next, (uint16_t)(i + 1));   /* f->size: the end */
		xn_store_release8(&g->desc[i].inflight, 0);
		f->next[i] = (uint16_t)(i + 1);
	}
	xn_store_release64(&g->features, 0);
	put_heads(f, 0, 0);
	put_used(f, used_at, used_at);
	xn_store_release16(&g->desc_num, (uint16_t)f->size);
	xn_store_release16(&g->version, VERSION);   /* orders all that in front */
	f->free_head = 0;
	f->used_at = used_at;
}

/* ---- a region that is there ---- */

/* What it says, read once, and what is made of it. */
struct state {
	uint16_t head, old_head;
	uint16_t used, old_used;       /* positions */
	uint32_t moved;                /* slots from one to the other */
	bool published;                /* in progress, and so far */
	uint8_t *seen;                 /* by entry: FREE, CHAIN or 0 */
};

enum { FREE = 1, CHAIN };

static uint32_t slots_between(uint32_t size, uint16_t from, uint16_t to)
{
	return (to & ~WRAP) + ((from ^ to) & WRAP ? size : 0) - (from & ~WRAP);
}

static bool read_words(const struct xn_pflight *f, struct state *s)
{
	const uint32_t heads = xn_load_once32(&f->g->free_heads);
	const uint64_t used = xn_load_once64(&f->g->used);
	const uint16_t idx = (uint16_t)used, old_idx = (uint16_t)(used >> 16);
	const uint8_t wrap = (uint8_t)(used >> 32), old_wrap = (uint8_t)(used >> 40);

	s->head = (uint16_t)heads;
	s->old_head = (uint16_t)(heads >> 16);
	s->used = (uint16_t)(idx | (wrap ? WRAP : 0));
	s->old_used = (uint16_t)(old_idx | (old_wrap ? WRAP : 0));
	if (s->head > f->size || s->old_head > f->size || idx >= f->size || old_idx >= f->size ||
	    wrap > 1 || old_wrap > 1)
		return false;
	s->moved = slots_between(f->size, s->old_used, s->used);
	return s->moved <= f->size;
}

static uint16_t *flags_of(uint64_t *g_ring, uint32_t slot)
{
	return (uint16_t *)&g_ring[2 * slot + 1] + 3;
}

/* Is what stands there a used descriptor of this lap, or already the driver's next? */
static bool is_used(uint64_t *g_ring, uint32_t slot, bool wrap)
{
	return !!(xn_load_once16(flags_of(g_ring, slot)) & F_USED) == wrap;
}

/* Goes through the free list. False: it cannot be one. */
static bool see_free(const struct xn_pflight *f, struct state *s, uint16_t head)
{
	for (uint32_t i = head; i != f->size; i = f->next[i]) {
		if (i > f->size || s->seen[i])
			return false;
		s->seen[i] = FREE;
		f->next[i] = xn_load_once16(&f->g->desc[i].next);
	}
	return true;
}

/* Goes through the chain that begins here. */
static bool see_chain(struct xn_pflight *f, struct state *s, uint16_t first)
{
	const uint16_t num = xn_load_once16(&f->g->desc[first].num);
	uint32_t i = first, last = first, id;

	if (!num)
		return false;
	for (uint32_t k = 0; k < num; k++) {
		if (i >= f->size || s->seen[i])
			return false;
		s->seen[i] = CHAIN;
		f->next[i] = xn_load_once16(&f->g->desc[i].next);
		last = i;
		i = f->next[i];
	}
	id = (uint16_t)xn_load_once64(&f->g->desc[last].word);
	if (last != xn_load_once16(&f->g->desc[first].last) || id >= f->size ||
	    f->entry[id] != XN_PFLIGHT_NONE)
		return false;
	f->entry[id] = first;
	f->last[first] = (uint16_t)last;
	f->num[first] = num;
	f->id[first] = (uint16_t)id;
	f->again[f->n_again++] = first;
	f->slots_again += num;
	return true;
}

/* Every entry is free, or part of a chain that is out. */
static bool see_all(struct xn_pflight *f, struct state *s, uint16_t head)
{
	if (!see_free(f, s, head))
		return false;
	for (uint32_t i = 0; i < f->size; i++)
		if (s->seen[i] != FREE && xn_load_once8(&f->g->desc[i].inflight) == 1 &&
		    !see_chain(f, s, (uint16_t)i))
			return false;
	for (uint32_t i = 0; i < f->size; i++)
		if (!s->seen[i])
			return false;
	return true;
}

/* Used descriptors that the driver was not yet to see: see inflight_packed.h. */
static void take_words_back(const struct xn_pflight *f, const struct state *s, uint64_t *g_ring)
{
	uint32_t slot = s->old_used & ~WRAP;
	bool wrap = s->old_used & WRAP;

	for (uint32_t n = s->moved; n; n--) {
		uint16_t *g = flags_of(g_ring, slot);

		if (is_used(g_ring, slot, wrap))
			xn_store_release16(g, wrap ? F_AVAIL : F_USED);
		if (++slot == f->size) {
			slot = 0;
			wrap = !wrap;
		}
	}
}

static void unmark_free(const struct xn_pflight *f, const struct state *s)
{
	for (uint32_t i = 0; i < f->size; i++)
		if (s->seen[i] == FREE && xn_load_once8(&f->g->desc[i].inflight))
			xn_store_release8(&f->g->desc[i].inflight, 0);
}

/* Doing any of it again does no harm: who is killed here is followed by another. */
static void repair(struct xn_pflight *f, const struct state *s, uint64_t *g_ring)
{
	if (s->published) {
		unmark_free(f, s);
		put_heads(f, s->head, s->head);
		put_used(f, s->used, s->used);
		f->used_at = s->used;
		f->free_head = s->head;
		return;
	}
	if (s->moved) {
		take_words_back(f, s, g_ring);
		put_used(f, s->old_used, s->old_used);
	}
	if (s->head != s->old_head)
		put_heads(f, s->old_head, s->old_head);
	unmark_free(f, s);
	f->used_at = s->old_used;
	f->free_head = s->old_head;
}

/* Is it a region, of a ring of this size, and whole? */
static bool understand(struct xn_pflight *f, struct state *s, uint64_t *g_ring)
{
	if (xn_load_once16(&f->g->version) != VERSION ||
	    xn_load_once16(&f->g->desc_num) != f->size || !read_words(f, s))
		return false;
	s->published = s->moved && is_used(g_ring, s->old_used & ~WRAP, s->old_used & WRAP);
	return see_all(f, s, s->published ? s->head : s->old_head);
}

/* ---- chains in the order in which they had been taken ---- */

/* Moves again[i] down to its place in the heap of n, whose latest is on top. */
static void sift_down(uint16_t *again, const uint64_t *counter, uint32_t i, uint32_t n)
{
	for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
		uint16_t x = again[i];

		if (child + 1 < n && counter[again[child]] < counter[again[child + 1]])
			child++;
		if (counter[x] >= counter[again[child]])
			return;
		again[i] = again[child];
		again[child] = x;
	}
}

/* Not qsort(), for the same reason as in inflight.c. */
static void sort(struct xn_pflight *f, uint64_t *counter)
{
	uint32_t n = f->n_again;

	for (uint32_t i = 0; i < n; i++)
		counter[f->again[i]] = xn_load_once64(&f->g->desc[f->again[i]].counter);
	for (uint32_t i = n / 2; i--;)
		sift_down(f->again, counter, i, n);
	while (n > 1) {
		uint16_t latest = f->again[0];

		f->again[0] = f->again[--n];
		f->again[n] = latest;
		sift_down(f->again, counter, 0, n);
	}
	f->counter = f->n_again ? counter[f->again[f->n_again - 1]] + 1 : 0;
}

/* ---- the start ---- */

static void forget_all(struct xn_pflight *f)
{
	memset(f->entry, 0xff, f->size * sizeof(*f->entry));
	f->n_again = f->slots_again = 0;
}

static bool take_over(struct xn_pflight *f, struct state *s, uint64_t *counter, uint64_t *g_ring,
		      uint16_t used_at, uint64_t *ignored)
{
	forget_all(f);
	if (!understand(f, s, g_ring)) {
		*ignored += xn_load_once16(&f->g->version) != 0;   /* else it is zeroed: new */
		forget_all(f);
		make_new(f, used_at);
		return false;
	}
	repair(f, s, g_ring);
	sort(f, counter);
	return true;
}

static bool make_tables(struct xn_pflight *f, uint32_t size)
{
	uint16_t **const tables[] = { &f->next, &f->last, &f->num, &f->id, &f->entry, &f->batch,
				      &f->at, &f->again };
	uint16_t *all = calloc(XN_ARRAY_SIZE(tables) * size, sizeof(*all));

	if (!all)
		return false;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(tables); i++)
		*tables[i] = all + i * size;
	return true;
}

int xn_pflight_open(struct xn_pflight **out, void *region, uint64_t *g_ring, uint32_t size,
		    uint16_t used_at, bool *fresh, uint64_t *ignored)
{
	struct xn_pflight *f = calloc(1, sizeof(*f));
	uint64_t *counter = calloc(size, sizeof(*counter));
	struct state s = { .seen = calloc(size, sizeof(*s.seen)) };

	*out = NULL;
	*ignored = 0;
	if (!f || !counter || !s.seen || !make_tables(f, size)) {
		xn_pflight_close(f);
		free(counter);
		free(s.seen);
		return xn_fail(ENOMEM, "out of memory to track a ring of %u descriptors", size);
	}
	f->g = region;
	f->size = size;
	*fresh = !take_over(f, &s, counter, g_ring, used_at, ignored);
	free(counter);
	free(s.seen);
	*out = f;
	return 0;
}

void xn_pflight_close(struct xn_pflight *f)
{
	if (f)
		free(f->next);   /* the first of the tables, which are one */
	free(f);
}

void xn_pflight_desc(const struct xn_pflight *f, uint16_t entry, uint64_t *addr, uint64_t *rest)
{
	const struct xn_pflight_desc *g = &f->g->desc[entry];

	*addr = xn_load_once64(&g->addr);
	*rest = exchange(xn_load_once64(&g->word));
}

/* ---- taking ---- */

void xn_pflight_begin(struct xn_pflight *f, uint16_t id)
{
	/* A driver that offers an id again before it was published: the entries go to the
	 * second chain. */
	if (f->entry[id] != XN_PFLIGHT_NONE)
		xn_pflight_untake(f, id);
	f->taking = f->free_head;
	f->n_taking = 0;
}

void xn_pflight_note(struct xn_pflight *f, uint64_t addr, uint64_t rest)
{
	struct xn_pflight_desc *g = &f->g->desc[f->taking];

	/* It is free: nobody looks at what it says before xn_pflight_take. */
	xn_store_once64(&g->addr, addr);
	xn_store_once64(&g->word, exchange(rest));
	f->taken_rest = rest;
	f->taken = f->taking;
	f->taking = f->next[f->taking];
	f->n_taking++;
}

void xn_pflight_take(struct xn_pflight *f, uint16_t id)
{
	const uint16_t first = f->free_head;
	struct xn_pflight_desc *g = &f->g->desc[first];

	f->entry[id] = first;
	f->last[first] = f->taken;
	f->num[first] = (uint16_t)f->n_taking;
	/* What the driver wrote there meanwhile is not who it is for us. */
	xn_store_once64(&f->g->desc[f->taken].word,
			exchange((f->taken_rest & ~(0xffffull << 32)) | (uint64_t)id << 32));
	xn_store_once16(&g->last, f->taken);
	xn_store_once16(&g->num, (uint16_t)f->n_taking);
	xn_store_once64(&g->counter, f->counter++);
	xn_store_once8(&g->inflight, 1);
	f->free_head = f->taking;
	put_heads(f, f->free_head, f->free_head);
}

/* A chain is put in front of the list that begins with `head`; ours, and its next word. */
static void put_in_front(struct xn_pflight *f, uint16_t first, uint16_t head)
{
	const uint16_t last = f->last[first];

	f->next[last] = head;
	xn_store_release16(&f->g->desc[last].next, head);
}

void xn_pflight_untake(struct xn_pflight *f, uint16_t id)
{
	const uint16_t first = f->entry[id];

	if (first == XN_PFLIGHT_NONE)
		return;
	f->entry[id] = XN_PFLIGHT_NONE;
	put_in_front(f, first, f->free_head);
	f->free_head = first;
	put_heads(f, first, first);
	xn_store_release8(&f->g->desc[first].inflight, 0);
}

/* ---- a publication ---- */

void xn_pflight_batch(struct xn_pflight *f, uint16_t id)
{
	const uint16_t first = f->entry[id];

	/* The driver offered it again before that was published, or while it was out. */
	if (first == XN_PFLIGHT_NONE)
		return;
	f->entry[id] = XN_PFLIGHT_NONE;
	put_in_front(f, first, f->n_batch ? f->batch[f->n_batch - 1] : f->free_head);
	f->batch[f->n_batch++] = first;
}

void xn_pflight_batch_begins(struct xn_pflight *f, uint16_t used_at)
{
	const uint16_t head = f->n_batch ? f->batch[f->n_batch - 1] : f->free_head;

	put_heads(f, head, f->free_head);
	put_used(f, used_at, f->used_at);
	f->used_at = used_at;
	f->free_head = head;
}

void xn_pflight_batch_done(struct xn_pflight *f)
{
	for (uint32_t i = 0; i < f->n_batch; i++)
		xn_store_release8(&f->g->desc[f->batch[i]].inflight, 0);
	f->n_batch = 0;
	put_heads(f, f->free_head, f->free_head);
	put_used(f, f->used_at, f->used_at);
}
