/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packed virtqueue, device side (VIRTIO 1.3, 2.8). Picture, barriers (A)..(F) and contract
 * in virtio/vq.h.
 *
 * A position is the number of a slot, and in bit 15 the wrap counter of the lap: what
 * vhost-user calls a base, and what event suppression structures hold.
 *
 *	available in this lap    AVAIL = wrap counter, USED = not
 *	used in this lap         AVAIL = USED = wrap counter
 *
 * Both are judged by all of the pair: what remains of other laps is neither. Only a chain's
 * first descriptor is judged; for the others the standard has the driver write it last.
 *
 * Where a chain ends. Its id is in its last descriptor, and how many slots it takes is known
 * only there. So a chain that is wrong is followed to its end, to be given back; one that
 * has no end within the slots that a driver can have is avail_jump, and stops the
 * queue, as does an id that cannot be (head_range).
 *
 * What keeps memory in bounds. slots_out, the distance from used_at to avail_next, is at most
 * the ring's size: pop stops there. A publication moves used_at by one slot for each
 * entry and `more` of its id, and the sum of both over all that was taken is slots_out:
 * whatever ids the driver used, and however often.
 *
 * One word. Length, id and flags of a descriptor are read and written as 64 bits at once. A
 * reader that sees the flags in it sees length and id, which were stored before them.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "virtio/inflight_packed.h"
#include "virtio/vq_priv.h"

#define F_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define F_USED  (1u << VRING_PACKED_DESC_F_USED)
#define WRAP    0x8000u
#define SLOT    0x7fffu

#define ODD     (VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE)   /* see xn_walk_row */

#define EVENT_BYTES 4u   /* of an event suppression structure: position, then flags */

/* ---- positions ---- */

static inline uint16_t forth(const struct xn_vq *vq, uint16_t at, uint32_t slots)
{
	const uint32_t slot = (at & SLOT) + slots;

	return (uint16_t)(slot < vq->size ? at + slots : ((at ^ WRAP) & WRAP) | (slot - vq->size));
}

static inline uint16_t back(const struct xn_vq *vq, uint16_t at, uint32_t slots)
{
	const uint32_t slot = at & SLOT;

	return (uint16_t)(slot >= slots ? at - slots : ((at ^ WRAP) & WRAP) | (slot + vq->size - slots));
}

/* From one position forth to another, if that can be: at most the ring's size. */
static bool distance(const struct xn_vq *vq, uint16_t from, uint16_t to, uint32_t *slots)
{
	const uint32_t a = from & SLOT, b = to & SLOT, lap = (from ^ to) & WRAP ? vq->size : 0;

	*slots = b + lap - a;
	return a < vq->size && b < vq->size && *slots <= vq->size;
}

static inline uint64_t *slot_at(const struct xn_vq *vq, uint16_t at)
{
	return &vq->pk.g_ring[2 * (at & SLOT)];
}

static inline uint16_t avail_flags(uint16_t at)
{
	return at & WRAP ? F_AVAIL : F_USED;
}

static inline uint16_t used_flags(uint16_t at)
{
	return at & WRAP ? F_AVAIL | F_USED : 0;
}

/* Slots of an id's chains, beyond one for each. */
static inline void set_more(struct xn_vq_packed *pk, uint16_t id, uint32_t more)
{
	pk->longer += (uint32_t)(more != 0) - (uint32_t)(pk->more[id] != 0);
	pk->more[id] = (uint16_t)more;
}

/* ---- set-up ---- */

static int map_parts(struct xn_vq *vq, const struct xn_vq_cfg *cfg)
{
	const uint64_t bytes = (uint64_t)XN_DESC_BYTES * cfg->size;
	struct xn_vq_packed *pk = &vq->pk;

	pk->g_ring = xn_vq_map(vq->mem, "descriptor ring", cfg->desc, bytes, 16);
	if (!pk->g_ring)
		return -EINVAL;
	pk->g_driver_event = xn_vq_map(vq->mem, "driver event suppression", cfg->avail, EVENT_BYTES, 4);
	if (!pk->g_driver_event)
		return -EINVAL;
	pk->g_device_event = xn_vq_map(vq->mem, "device event suppression", cfg->used, EVENT_BYTES, 4);
	if (!pk->g_device_event)
		return -EINVAL;
	if (xn_vq_overlap(pk->g_ring, bytes, pk->g_driver_event, EVENT_BYTES) ||
	    xn_vq_overlap(pk->g_ring, bytes, pk->g_device_event, EVENT_BYTES) ||
	    xn_vq_overlap(pk->g_driver_event, EVENT_BYTES, pk->g_device_event, EVENT_BYTES))
		return xn_fail(EINVAL, "descriptor ring and event suppression structures overlap");
	return 0;
}

static int take_base(struct xn_vq *vq, uint32_t base)
{
	struct xn_vq_packed *pk = &vq->pk;

	vq->avail_next = (uint16_t)base;
	pk->used_at = base >> 16 ? (uint16_t)(base >> 16) : vq->avail_next;
	if (!distance(vq, pk->used_at, vq->avail_next, &pk->slots_out))
		return xn_fail(EINVAL, "base %#" PRIx32 " cannot be in a packed ring of %u descriptors",
			       base, vq->size);
	return 0;
}

/* Goes on from where a back end that died was: takes over what it noted. */
static int resume(struct xn_vq *vq, void *region)
{
	struct xn_vq_packed *pk = &vq->pk;
	struct xn_pflight *f;
	uint64_t ignored;
	bool fresh;
	int err = xn_pflight_open(&pk->inflight, region, pk->g_ring, vq->size, pk->used_at, &fresh,
				  &ignored);

	if (err)
		return err;
	xn_count_add(&vq->ctr->v[XN_C_inflight_ignored], ignored);
	if (fresh)
		return 0;
	f = pk->inflight;
	pk->used_at = f->used_at;
	pk->slots_out = f->slots_again;
	vq->avail_next = forth(vq, f->used_at, f->slots_again);   /* all that was taken is out */
	vq->n_again = vq->again_left = f->n_again;
	for (uint32_t i = 0; i < f->n_again; i++) {
		const uint16_t first = f->again[i];

		vq->state[f->id[first]] = XN_VQ_AGAIN;
		set_more(pk, f->id[first], f->num[first] - 1u);
	}
	xn_count_add(&vq->ctr->v[XN_C_inflight_resumed], f->n_again);
	return 0;
}

int xn_packed_init(struct xn_vq *vq, const struct xn_vq_cfg *cfg)
{
	struct xn_vq_packed *pk = &vq->pk;
	int err = map_parts(vq, cfg);

	if (!err)
		err = take_base(vq, cfg->base);
	if (err)
		return err;
	pk->event_idx = cfg->event_idx;
	vq->event_idx = true;   /* xn_vq_wants_irq then asks here */
	/* As in a split ring: who was here before may have died untold. */
	pk->untold = vq->size;
	vq->used_signalled = (uint16_t)-1;
	pk->more = calloc(vq->mask + 1u, sizeof(*pk->more));
	if (!pk->more)
		return xn_fail(ENOMEM, "out of memory for a ring of %u descriptors", vq->size);
	return cfg->inflight ? resume(vq, cfg->inflight) : 0;
}

void xn_packed_fini(struct xn_vq *vq)
{
	xn_pflight_close(vq->pk.inflight);
	vq->pk.inflight = NULL;
	free(vq->pk.more);
	vq->pk.more = NULL;
}

/* ---- taking ---- */

/* Is this word that of a descriptor that is available in this lap? */
static inline bool available(uint64_t rest, uint16_t at)
{
	return ((rest >> 48 ^ avail_flags(at)) & (F_AVAIL | F_USED)) == 0;
}

/* The descriptor at avail_next. (B): orders its flags before all else of the chain; pairs
 * with (A), the driver's store of these flags behind it. */
static inline uint64_t first_word(const struct xn_vq *vq)
{
	return xn_load_acquire64(&slot_at(vq, vq->avail_next)[1]);
}

bool xn_packed_waits(const struct xn_vq *vq)
{
	return available(first_word(vq), vq->avail_next);
}

/*
 * Takes chains of the usual kind, one descriptor each, from slots that lie in a row; the
 * locals as in virtio/vq.c. Returns how many.
 */
static inline uint32_t pop_row(struct xn_vq *vq, struct xn_chain *c, uint32_t n)
{
	const uint64_t expect = (uint64_t)(vq->expect_flags | avail_flags(vq->avail_next)) << 48;
	const uint64_t one_piece = 1ull << 48;
	const struct xn_mem_hit hit = vq->hit;
	const uint32_t mask = vq->mask, min_bytes = vq->min_bytes;
	const uint64_t *g = slot_at(vq, vq->avail_next);
	uint32_t *const state = vq->state;
	uint32_t taken = XN_VQ_TAKEN | vq->avail_next;
	struct xn_chain *const begin = c, *const end = c + n;

	for (; c < end; c++, g += 2, taken++) {
		/* (B), as in first_word. */
		uint64_t rest = xn_load_acquire64(&g[1]) ^ expect, addr = xn_load_once64(&g[0]);
		/* The id, and above it in which flags it differs from what is usual. */
		uint32_t id = (uint32_t)(rest >> 32), i = id & mask, len = (uint32_t)rest;
		uint64_t into = addr - hit.gpa;

		if (XN_UNLIKELY((id ^ i) | state[i]))
			break;
		/* into + len cannot overflow: a span is shorter than the address space. */
		if (XN_UNLIKELY(into >= hit.bytes || into + len > hit.bytes || len < min_bytes))
			break;
		c->at.v = addr + hit.delta;
		rest += one_piece;
		__builtin_memcpy(&c->bytes, &rest, sizeof(rest));   /* and head, and n_pieces */
		c->slots = 1;
		state[i] = taken;
	}
	return (uint32_t)(c - begin);
}

/* Slots behind avail_next are taken, by this many chains. */
static inline void took(struct xn_vq *vq, uint32_t slots, uint32_t chains)
{
	vq->avail_next = forth(vq, vq->avail_next, slots);
	vq->pk.slots_out += slots;
	vq->outstanding += chains;
}

static inline void pop_rows(struct xn_vq *vq, struct xn_batch *b)
{
	for (;;) {
		const uint32_t left = XN_MIN(b->n - b->k, vq->size - vq->pk.slots_out);
		const uint32_t n = XN_MIN(left, vq->size - (vq->avail_next & SLOT));
		const uint32_t got = pop_row(vq, b->chains + b->k, n);

		took(vq, got, got);
		b->k += got;
		if (got < n || n == left)
			return;
	}
}

/* What a chain is that was followed to its end. */
struct end {
	uint16_t id;
	uint32_t slots;
};

static enum xn_fault look_at(struct xn_walk *w, struct xn_desc d, bool first)
{
	if (!(d.flags & VRING_DESC_F_INDIRECT))
		return xn_walk_buffer(w, d);
	if (!w->vq->indirect)
		return XN_FAULT_indirect_off;
	if (!first || d.flags & VRING_DESC_F_NEXT)
		return XN_FAULT_indirect_next;   /* 2.8.19 */
	return xn_walk_table(w, d);
}

/* Follows the chain at avail_next, whose first word was read. The first fault that is met, if
 * the chain has an end: *end. */
static enum xn_fault walk_slots(struct xn_walk *w, uint64_t rest, struct end *end)
{
	struct xn_vq *vq = w->vq;
	const uint32_t room = vq->size - vq->pk.slots_out;
	enum xn_fault why = XN_FAULT_NONE;
	uint16_t at = vq->avail_next;
	uint32_t slots = 0;

	while (slots < room) {
		const uint64_t *g = slot_at(vq, at);
		const uint32_t in_row = XN_MIN(room - slots, vq->size - (at & SLOT));
		uint32_t n = why ? 0 : xn_walk_row(w, g, in_row, VRING_DESC_F_NEXT, ODD, &rest);

		if (!n) {
			n = 1;
			w->steps++;
			if (!why)
				why = look_at(w, xn_packed_desc(xn_load_once64(&g[0]), rest), !slots);
		}
		slots += n;
		if (!(rest >> 48 & VRING_DESC_F_NEXT)) {
			*end = (struct end){ .id = (uint16_t)(rest >> 32), .slots = slots };
			return why;
		}
		at = forth(vq, at, n);
		rest = xn_load_once64(&slot_at(vq, at)[1]);
	}
	return XN_FAULT_avail_jump;
}

/* Any chain. Fills in *c (but for .first) and pieces[0..room), or names a fault; takes
 * nothing. Where the fault leaves the queue going, *end is known. */
static XN_NOINLINE enum xn_fault chain_of_slots(struct xn_vq *vq, uint64_t rest, struct xn_chain *c,
					   struct xn_batch *b, struct end *end)
{
	struct xn_walk w = xn_walk_begin(vq, b->pieces + b->used, b->max_pieces - b->used);
	enum xn_fault why = walk_slots(&w, rest, end);

	b->walked += w.steps;
	if (xn_fault_stops_queue(why))
		return why;
	if (end->id >= vq->size)
		return XN_FAULT_head_range;
	end->id &= vq->mask;
	if (vq->state[end->id])
		return XN_FAULT_head_busy;
	c->slots = end->slots;
	return why ? why : xn_walk_end(&w, end->id, c);
}

/*
 * Notes a chain that is taken. Its descriptors are read once more, and only copied: what
 * the driver may have changed meanwhile is judged when somebody takes it from there.
 */
static XN_NOINLINE void note_chain(struct xn_vq *vq, uint16_t at, uint16_t id, uint32_t slots)
{
	struct xn_pflight *f = vq->pk.inflight;

	xn_pflight_begin(f, id);
	for (; slots; slots--) {
		const uint64_t *g = slot_at(vq, at);

		xn_pflight_note(f, xn_load_once64(&g[0]), xn_load_once64(&g[1]));
		at = forth(vq, at, 1);
	}
	xn_pflight_take(f, id);
}

/* The same for those that one call has taken, the first at this position. */
static XN_NOINLINE void note_chains(struct xn_vq *vq, uint16_t at, const struct xn_batch *b)
{
	for (unsigned i = 0; i < b->k; i++) {
		note_chain(vq, at, b->chains[i].head, b->chains[i].slots);
		at = forth(vq, at, b->chains[i].slots);
	}
}

static void take(struct xn_vq *vq, const struct end *e)
{
	set_more(&vq->pk, e->id, vq->pk.more[e->id] + e->slots - 1);
	took(vq, e->slots, 1);
}

/*
 * The chain at the front of the ring is wrong: consumes it. False: the queue has
 * stopped. An id that is out already is given back for these slots too, and stays out:
 * it was offered twice.
 */
static bool consume_slots(struct xn_vq *vq, const struct end *e, enum xn_fault why)
{
	uint32_t state;

	if (xn_fault_stops_queue(why)) {
		xn_vq_stop(vq, why);
		return false;
	}
	state = vq->state[e->id];
	if (vq->pk.inflight && !state)
		note_chain(vq, vq->avail_next, e->id, e->slots);
	take(vq, e);
	if (vq->order)
		xn_order_take(vq->order, e->id);
	xn_vq_refuse(vq, e->id, why);
	vq->state[e->id] = state;   /* 0, but for head_busy */
	return true;
}

/* Takes or refuses one chain of any other kind. False: the call ends here. */
static XN_NOINLINE bool pop_slots(struct xn_vq *vq, struct xn_batch *b)
{
	const uint64_t rest = first_word(vq);
	struct xn_chain *c = &b->chains[b->k];
	struct end end = { 0 };
	enum xn_fault why;

	if (!available(rest, vq->avail_next))
		return false;
	why = chain_of_slots(vq, rest, c, b, &end);
	if (XN_LIKELY(!why)) {
		vq->state[end.id] = XN_VQ_TAKEN | vq->avail_next;
		take(vq, &end);
		xn_batch_add(b, c);
	} else if (b->k || !consume_slots(vq, &end, why)) {
		return false;
	}
	return b->walked < XN_MAX_WALK;
}

/* Where the chains of a call begin, of which the last ends at avail_next. */
static uint16_t began_at(const struct xn_vq *vq, const struct xn_batch *b)
{
	uint16_t at = vq->avail_next;

	for (unsigned i = b->k; i--; )
		at = back(vq, at, b->chains[i].slots);
	return at;
}

void xn_packed_pop(struct xn_vq *vq, struct xn_batch *b)
{
	pop_rows(vq, b);
	vq->plain = b->k;
	while (b->k < b->n && b->used < b->max_pieces && pop_slots(vq, b))
		if (!(first_word(vq) >> 48 & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)))
			pop_rows(vq, b);
	if (XN_UNLIKELY(vq->pk.inflight != NULL))
		note_chains(vq, began_at(vq, b), b);
}

void xn_packed_pop_command(struct xn_vq *vq, struct xn_batch *b)
{
	while (!b->k && pop_slots(vq, b))
		;
	if (vq->pk.inflight)
		note_chains(vq, began_at(vq, b), b);
}

/* A chain that a back end which died had taken, as it was then. */
enum xn_fault xn_packed_read_again(struct xn_vq *vq, uint32_t i, struct xn_chain *c,
				   struct xn_piece *pieces, unsigned room, unsigned *walked)
{
	const struct xn_pflight *f = vq->pk.inflight;
	const uint16_t first = f->again[i], num = f->num[first];
	struct xn_walk w = xn_walk_begin(vq, pieces, room);
	enum xn_fault why = XN_FAULT_NONE;
	uint16_t e = first;

	for (uint32_t k = 0; k < num && !why; k++, e = f->next[e]) {
		uint64_t addr, rest;

		w.steps++;
		xn_pflight_desc(f, e, &addr, &rest);
		why = look_at(&w, xn_packed_desc(addr, rest), num == 1);
	}
	*walked += w.steps;
	c->slots = num;
	return why ? why : xn_walk_end(&w, f->id[first], c);
}

uint16_t xn_packed_again_head(const struct xn_vq *vq, uint32_t i)
{
	const struct xn_pflight *f = vq->pk.inflight;

	return f->id[f->again[i]];
}

/* Slots in front of avail_next are un-taken, those of one chain. */
static void untake(struct xn_vq *vq, uint16_t head, uint32_t slots)
{
	assert(vq->pk.more[head] >= slots - 1);
	set_more(&vq->pk, head, vq->pk.more[head] - (slots - 1));
	vq->pk.slots_out -= slots;
	vq->avail_next = back(vq, vq->avail_next, slots);
	if (vq->pk.inflight)
		xn_pflight_untake(vq->pk.inflight, head);
}

void xn_packed_unpop(struct xn_vq *vq, const struct xn_chain *c)
{
	untake(vq, c->head, c->slots);
}

/* ---- giving back ---- */

/* The word of a used descriptor (2.8.5): length and id are an entry with its halves changed. */
static inline uint64_t used_word(struct vring_used_elem e, uint16_t at)
{
	const uint32_t flags = used_flags(at) | (e.len ? VRING_DESC_F_WRITE : 0);

	return (uint64_t)flags << 48 | (uint64_t)e.id << 32 | e.len;
}

/* How many slots an entry stands for; they are accounted for then. */
static inline uint32_t slots_of(struct xn_vq *vq, uint32_t id)
{
	const uint32_t more = vq->pk.more[id];

	if (XN_UNLIKELY(more))
		set_more(&vq->pk, (uint16_t)id, 0);
	return 1 + more;
}

/* used_word as above, of entries that are read as one word, all of which have a length, or none. */
static inline uint32_t write_alike(uint64_t *g, const struct vring_used_elem *e, uint32_t n,
				   uint64_t flags, bool written)
{
	const struct vring_used_elem *const begin = e, *const end = e + n;

	for (; e < end; e++, g += 2) {
		uint64_t entry;

		if (XN_UNLIKELY((e->len != 0) != written))
			break;
		__builtin_memcpy(&entry, e, sizeof(entry));
		xn_store_once64(g, (entry << 32 | entry >> 32) | flags);
	}
	return (uint32_t)(e - begin);
}

/*
 * The usual kind: chains of one slot, entries and slots that lie in a row each, and of one
 * kind: received, or sent. Returns how many, up to one of another kind.
 */
static inline uint32_t write_row(uint64_t *g, const struct vring_used_elem *e, uint32_t n, uint16_t at)
{
	const uint64_t flags = (uint64_t)used_flags(at) << 48, write = (uint64_t)VRING_DESC_F_WRITE << 48;

	return e->len ? write_alike(g, e, n, flags | write, true) : write_alike(g, e, n, flags, false);
}

/* Where some chains have several slots. */
static XN_NOINLINE uint16_t write_apart(struct xn_vq *vq, const struct xn_used_run *r)
{
	uint16_t at = vq->pk.used_at, *const more = vq->pk.more;
	uint32_t longer = 0;

	for (uint16_t i = r->from; i != r->to; i++) {
		const struct vring_used_elem e = xn_used_at(r, i);
		const uint32_t n = more[e.id];

		if (i != r->from)
			xn_store_once64(&slot_at(vq, at)[1], used_word(e, at));
		more[e.id] = 0;
		longer += n != 0;
		at = forth(vq, at, 1 + n);
	}
	vq->pk.longer -= longer;
	return at;
}

/* Writes used descriptors behind the first, which only that one lets the driver look at.
 * Returns the position behind the last. */
static inline uint16_t write_rest(struct xn_vq *vq, const struct xn_used_run *r)
{
	uint16_t at = forth(vq, vq->pk.used_at, 1);

	if (XN_UNLIKELY(vq->pk.longer))
		return write_apart(vq, r);
	for (uint16_t i = (uint16_t)(r->from + 1); i != r->to; i++) {
		struct vring_used_elem e;
		/* Less one: the list may have as many as there are numbers. */
		const uint32_t in_list = xn_ring_stretch(i, r->mask) - 1;
		const uint32_t n = XN_MIN(XN_MIN((uint16_t)(r->to - i) - 1u, in_list) + 1,
					  vq->size - (at & SLOT));
		const uint32_t k = write_row(slot_at(vq, at) + 1, &r->list[i & r->mask], n, at);

		at = forth(vq, at, k);
		i = (uint16_t)(i + k);
		if (i == r->to)
			break;
		e = xn_used_at(r, i);
		xn_store_once64(&slot_at(vq, at)[1], used_word(e, at));
		at = forth(vq, at, 1);
	}
	return at;
}

/* In order: the last one speaks for all (2.8.8). */
static uint16_t skip_all(struct xn_vq *vq, const struct xn_used_run *r)
{
	uint16_t at = vq->pk.used_at;

	for (uint16_t i = r->from; i != r->to; i++)
		at = forth(vq, at, slots_of(vq, xn_used_at(r, i).id));
	return at;
}

/*
 * All that is published is noted, before the first of its words is written: also those
 * behind it must not be found by a driver when nobody knows of them any more.
 */
static XN_NOINLINE uint16_t write_noted(struct xn_vq *vq, const struct xn_used_run *r)
{
	struct xn_pflight *f = vq->pk.inflight;
	uint16_t at = vq->pk.used_at;
	uint32_t n = 0;

	for (uint16_t i = r->from; i != r->to; i++) {
		const uint32_t id = xn_used_at(r, i).id;

		f->at[n++] = at;
		xn_pflight_batch(f, (uint16_t)id);
		at = forth(vq, at, slots_of(vq, id));
	}
	xn_pflight_batch_begins(f, at);
	for (uint32_t i = 1; i < n && !r->last_only; i++)
		xn_store_once64(&slot_at(vq, f->at[i])[1],
				used_word(xn_used_at(r, (uint16_t)(r->from + i)), f->at[i]));
	return at;
}

/* Returns the position behind all of them. */
static inline uint16_t write_behind_first(struct xn_vq *vq, const struct xn_used_run *r)
{
	if (XN_UNLIKELY(vq->pk.inflight != NULL))
		return write_noted(vq, r);
	return r->last_only ? skip_all(vq, r) : write_rest(vq, r);
}

/* These slots have been written, or some of them. */
static void mark_slots(struct xn_vq *vq, uint16_t at, uint32_t slots)
{
	while (slots) {
		const uint32_t slot = at & SLOT, n = XN_MIN(slots, vq->size - slot);

		xn_vq_mark(vq, XN_GPA(vq->desc_gpa.v + 16ull * slot), 16ull * n);
		slots -= n;
		at = forth(vq, at, n);
	}
}

void xn_packed_publish(struct xn_vq *vq, const struct xn_used_run *r)
{
	const struct vring_used_elem e = xn_used_at(r, r->last_only ? (uint16_t)(r->to - 1) : r->from);
	struct xn_vq_packed *pk = &vq->pk;
	const uint16_t first = pk->used_at, next = write_behind_first(vq, r);
	uint32_t slots;

	distance(vq, first, next, &slots);
	if (vq->log)
		mark_slots(vq, first, slots);
	/* (C); and orders in front of it the words behind it, which the driver does not look at
	 * before this one, and what was noted. */
	xn_store_release64(&slot_at(vq, first)[1], used_word(e, first));
	if (vq->log)
		mark_slots(vq, first, 1);
	if (pk->inflight)
		xn_pflight_batch_done(pk->inflight);
	pk->used_at = next;
	pk->slots_out -= slots;
	pk->untold = XN_MIN(pk->untold + slots, vq->size);
}

void xn_packed_mark_all(struct xn_vq *vq)
{
	xn_vq_mark(vq, vq->desc_gpa, 16ull * vq->size);
	xn_vq_mark(vq, vq->used_gpa, EVENT_BYTES);
}

/* ---- notifications (2.8.10) ---- */

static inline uint32_t event(uint32_t flags, uint16_t at)
{
	return flags << 16 | at;
}

/* Is the driver's event among the slots that were used since the last decision? */
bool xn_packed_wants_irq(struct xn_vq *vq)
{
	struct xn_vq_packed *pk = &vq->pk;
	const uint32_t wish = xn_load_once32(pk->g_driver_event), flags = wish >> 16 & 3;
	const uint32_t untold = pk->untold;
	uint32_t ago;

	pk->untold = 0;
	/* A wish that means nothing is none for silence. */
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !pk->event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	return distance(vq, (uint16_t)wish, pk->used_at, &ago) && ago && ago <= untold;
}

void xn_packed_wish(struct xn_vq *vq, bool kicks)
{
	struct xn_vq_packed *pk = &vq->pk;
	uint32_t flags = VRING_PACKED_EVENT_FLAG_DISABLE;

	if (kicks)
		flags = pk->event_idx ? VRING_PACKED_EVENT_FLAG_DESC : VRING_PACKED_EVENT_FLAG_ENABLE;
	/* Both halves at once: the driver may read them so. */
	xn_store_once32(pk->g_device_event, event(flags, vq->avail_next));
	if (XN_UNLIKELY(vq->log != NULL))
		xn_vq_mark(vq, vq->used_gpa, EVENT_BYTES);
}

/* ---- stop ---- */

uint16_t xn_packed_last(const struct xn_vq *vq)
{
	const uint64_t rest = xn_load_once64(&slot_at(vq, back(vq, vq->avail_next, 1))[1]);

	return (uint16_t)(rest >> 32);
}

/*
 * Do the slots in front of avail_next hold what was noted of this chain? They do not where a
 * back end was killed while it published: some used descriptors are written then.
 */
static bool still_there(const struct xn_vq *vq, uint16_t head, uint32_t slots)
{
	const struct xn_pflight *f = vq->pk.inflight;
	uint16_t at = back(vq, vq->avail_next, slots), e = f->entry[head];

	if (e == XN_PFLIGHT_NONE || f->num[e] != slots)
		return false;
	for (; slots; slots--, e = f->next[e], at = forth(vq, at, 1)) {
		const uint64_t *g = slot_at(vq, at);
		uint64_t addr, rest;

		xn_pflight_desc(f, e, &addr, &rest);
		if (xn_load_once64(&g[0]) != addr || xn_load_once64(&g[1]) != rest)
			return false;
	}
	return true;
}

bool xn_packed_rewind(struct xn_vq *vq, uint16_t head)
{
	const uint32_t slots = 1u + vq->pk.more[head], state = vq->state[head];

	if (slots > vq->pk.slots_out)
		return false;
	if (state == XN_VQ_AGAIN ? !still_there(vq, head, slots) :
				   state != (XN_VQ_TAKEN | back(vq, vq->avail_next, slots)))
		return false;
	untake(vq, head, slots);
	return true;
}
