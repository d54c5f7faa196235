/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receive half of the AF_XDP port: lend or hold, take back, bounce.
 * Theory in port/xdp.h.
 *
 * What is done for each buffer and frame is compiled several times: `zc`, `rss` and `sg` are
 * constants in each of them. In copy mode a buffer may lie anywhere, and a frame always lies where
 * the chunk says; in zero-copy mode both are looked at. With RSS a queue has two sockets on one
 * fill ring (port/xdp_rss.c). With sg a frame may come in several pieces (port/xdp_pieces.c).
 */
#include "port/rx_csum.h"
#include "port/xdp_rx.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

static void held_recount(struct xn_xdpq *x)
{
	x->held_frames = x->held_open = 0;
	for (uint32_t i = 0; i < xn_id_fifo_count(&x->held); i++)
		held_add(x, x->q.cfg.bufs[xn_id_fifo_at(&x->held, i)].bytes);
	x->held_stale = false;
}

static uint32_t beside_reserve(const struct xn_xdpq *x, const struct fill *f, uint32_t frames,
			       const bool rss)
{
	return rss ? xn_xdp_beside_reserve(x, f->posted, frames) : frames;
}

/*
 * Frames of several pieces: how many bounce frames there have to be for one to come at all. The
 * kernel takes an entry for each piece, and a buffer of the guest's is one entry however long
 * it is. Where nothing is lent none waits behind bounce frames, and there are as many as the
 * buffers may take; else no more than complete the longest frame.
 */
static uint32_t pieces_wanted(const struct xn_xdpq *x, const struct fill *f, const bool rss)
{
	const uint32_t lent = xn_xdp_guests_lent(x, f->posted);
	const uint32_t lack = x->pieces > lent ? x->pieces - lent : 0, one = XN_MIN(x->held_pieces, lack);

	/* Many that are held, though they could be lent, want no more than one each: with more of them
	 * hold_few would never come to an end. */
	if (lent || (!x->bounce && x->held_frames >= 2 * x->pieces))
		return one;
	return XN_MAX(one, beside_reserve(x, f, x->held_pieces, rss));
}

/* How many bounce frames may be in the fill ring: as many as held buffers take of the
 * longest frames. Buffers too short for one get a chance when nothing else is lent. */
static uint32_t bounce_limit(struct xn_xdpq *x, const struct fill *f, const bool rss)
{
	uint32_t frames = f->posted == x->rx_taken;

	if (x->held_stale && x->bounce_posted >= x->held_frames)
		held_recount(x);
	if (x->held_frames || !xn_id_fifo_count(&x->held))
		frames = beside_reserve(x, f, x->held_frames, rss);
	return x->sg ? XN_MAX(frames, pieces_wanted(x, f, rss)) : frames;
}

/*
 * Bounce frames stand in for held buffers. Never more of them than find room there (but
 * for pieces): a frame that lands in one would have nowhere to go, while buffers that are lent
 * wait behind it.
 */
static ALWAYS_INLINE void bounce_refill(struct xn_xdpq *x, struct fill *f, const bool rss)
{
	while (x->n_rx_frames && fill_room(x, f) && x->bounce_posted < bounce_limit(x, f, rss)) {
		/* The kernel may write frame_bytes at the end of the chunk. */
		fill_put(f, x->rx_frames[--x->n_rx_frames].v, 0, XN_LENT_BOUNCE);
		x->bounce_posted++;
	}
}

/*
 * Where a frame would land, and how many contiguous bytes are there: behind the
 * header, which may fill whole pieces of its own; `before`: how many of the header's.
 */
static uint32_t landing(const struct xn_portq_cfg *c, const struct xn_chain *buf, xn_uoff *at,
			uint32_t *before)
{
	const struct xn_rx_buf one = { .at = buf->at, .len = buf->bytes };
	const struct xn_rx_buf *b = buf->n_pieces > 1 ? &c->bufs[buf->head] : &one;
	uint32_t skip = c->hdr_bytes, len = b->len, rest = b->rest;

	*at = b->at;
	while (skip >= len && rest) {
		skip -= len;
		*at = c->rests[rest].at;
		len = c->rests[rest].len;
		rest = c->rests[rest].next;
	}
	at->v += skip;
	*before = skip;
	return len > skip ? len - skip : 0;
}

/*
 * Zero-copy mode: does the next buffer have to be held? For the engine's own entries that
 * are there without one, and whose frames would have nowhere to go; or because one at least
 * always is.
 */
static inline bool holds_next(const struct xn_xdpq *x)
{
	if (x->bounce_posted)
		return x->keep && x->bounce_posted > x->held_frames;
	return !xn_id_fifo_count(&x->held);
}

/* Zero-copy mode: why this buffer is not lent though it could be (port/xdp_watch.c). */
static enum xn_counter judge_watched(const struct xn_xdpq *x, const struct fill *f)
{
	const uint32_t lent = xn_xdp_guests_lent(x, f->posted);

	if (x->watch.rx_proof || (x->watch.trial && lent > xn_id_fifo_count(&x->held)))
		return XN_C_rx_bounce_probe;
	if (!holds_next(x))
		return XN_C_rx_buf_lent;
	return x->bounce_posted ? XN_C_rx_bounce_kept : XN_C_rx_bounce_sentinel;
}

/* Why this buffer cannot be lent: a counter; XN_C_rx_buf_lent: it can, at *at. */
static enum xn_counter judge(const struct xn_xdpq *x, const struct fill *f, const struct xn_chain *b,
			     xn_uoff *at)
{
	uint32_t before, room = landing(&x->q.cfg, b, at, &before);

	if (x->bounce)
		return x->collect ? XN_C_rx_bounce_pieces : x->ordered ? XN_C_rx_bounce_order :
		       XN_C_rx_bounce_forced;
	if (room < x->reach || before < x->front)   /* the one invariant of the engine (I1) */
		return XN_C_rx_bounce_short;
	if (!xn_mem_registered(x->mem, *at, x->reach))
		return XN_C_rx_bounce_window;
	if (!x->map)
		return XN_C_rx_buf_lent;
	if (!xn_zc_whole_for_device(x->map, at->v - x->xsk.land, x->xsk.chunk_bytes))
		return XN_C_rx_bounce_page;
	return judge_watched(x, f);
}

/*
 * IN_ORDER: a buffer that is held is used when a frame comes in a bounce frame, and those that
 * were lent behind it could not be given back until then; nor could a frame be spread over two
 * with a lent one between them. So from the first on that is held, all are.
 */
static void hold_from_here(struct xn_xdpq *x)
{
	x->tx_lends = true;
	x->bounce = x->ordered = true;
	xn_xdp_set_rule(x);
}

/* Any buffer: lent, or held and counted. False: no room in the fill ring. */
static __attribute__((noinline)) bool post_unusual(struct xn_xdpq *x, struct fill *f,
						   const struct xn_chain *b, uint64_t *held)
{
	xn_uoff at;
	enum xn_counter why = judge(x, f, b, &at);

	if (why != XN_C_rx_buf_lent) {
		if (x->q.cfg.in_order && !x->bounce)
			hold_from_here(x);
		hold(x, b);
		xn_count_add(&x->q.cfg.ctr->v[why], 1);
		++*held;
		return true;
	}
	if (!fill_room(x, f))
		return false;
	fill_put(f, at.v - x->xsk.land, b->head, b->n_pieces > 1 ? XN_LENT_NOTED : XN_LENT_PLAIN);
	if (x->sg)
		fill_last(f)->len = b->bytes;
	return true;
}

/* Buffers of one piece that can be lent: as many as there are in a row, and find room
 * in a row in the fill ring. */
static ALWAYS_INLINE unsigned post_usual(struct xn_xdpq *x, struct fill *f, const struct xn_chain *b,
					 unsigned n, const bool zc, const bool sg)
{
	const struct xn_lend_rule rule = x->rule;
	const struct xn_zc_map map = zc ? *x->map : (struct xn_zc_map){ 0 };
	const uint32_t chunk_bytes = x->xsk.chunk_bytes;
	const struct xn_chain *const first = b, *end;
	uint64_t *ring = &f->ring[f->posted & f->mask];
	struct xn_lent *lent = &f->lent[f->posted & f->mask];

	n = XN_MIN(n, fill_room(x, f));
	n = XN_MIN(n, xn_ring_stretch(f->posted, f->mask));
	for (end = b + n; b < end; b++, ring++, lent++) {
		if (XN_UNLIKELY(b->n_pieces != 1 || b->bytes < rule.min_len || b->at.v > rule.last_at))
			break;
		if (zc && XN_UNLIKELY(!xn_zc_whole_for_device(&map, b->at.v - rule.fill_before,
							      chunk_bytes)))
			break;
		*ring = lent->fill = b->at.v - rule.fill_before;
		lent->id_kind = b->head;   /* XN_LENT_PLAIN */
		if (zc)
			lent->no = f->posted + (uint32_t)(b - first);
		if (sg)
			lent->len = b->bytes;
	}
	f->posted += (uint32_t)(b - first);
	return (unsigned)(b - first);
}

/* The first ones of a batch complete the reserve. How many. */
static unsigned post_reserve(struct xn_xdpq *x, const struct fill *f, const struct xn_chain *b,
			     unsigned n)
{
	n = XN_MIN(n, xn_xdp_reserve_lacks(x, f->posted, n));
	for (unsigned i = 0; i < n; i++)
		hold(x, &b[i]);
	XN_COUNT(x->q.cfg.ctr, rx_bounce_reserve, n);
	return n;
}

/*
 * Frames of several pieces, and few buffers: lent, they are too few entries for the longest
 * frame, though one of them might take it. So they are held while they are fewer than two such
 * frames have pieces, as drivers are known to let half of a ring run dry before they fill it
 * again; and when they become more, until bounce frames that are lent have one each.
 */
static unsigned hold_few(struct xn_xdpq *x, const struct fill *f, const struct xn_chain *b, unsigned n)
{
	const uint32_t lent = xn_xdp_guests_lent(x, f->posted);

	if (x->bounce || x->all_rx_frames < x->pieces)
		return 0;
	if (lent + x->held_frames + n >= 2 * x->pieces)
		n = XN_MIN(n, x->bounce_posted > x->held_frames ? x->bounce_posted - x->held_frames : 0);
	for (unsigned i = 0; i < n; i++)
		hold(x, &b[i]);
	XN_COUNT(x->q.cfg.ctr, rx_bounce_few, n);
	return n;
}

static ALWAYS_INLINE unsigned rx_post(struct xn_portq *q, const struct xn_chain *bufs, unsigned n,
				      const bool zc, const bool rss, const bool sg)
{
	struct xn_xdpq *x = xdpq(q);
	const struct xn_chain *b = bufs, *const end = bufs + n;
	struct fill f = fill_begin(x);
	uint64_t held = 0;

	if (sg)
		held = hold_few(x, &f, b, n);
	if (rss)
		held += post_reserve(x, &f, b + held, n - (unsigned)held);
	b += held;
	for (;;) {
		unsigned most = zc && holds_next(x) ? 0 : (unsigned)(end - b);
		unsigned run = post_usual(x, &f, b, most, zc, sg);

		b += run;
		if (XN_LIKELY(b == end))
			break;
		if (!run && !post_unusual(x, &f, b, &held))
			break;
		b += !run;
	}
	XN_COUNT(q->cfg.ctr, rx_buf_lent, (uint64_t)(b - bufs) - held);
	bounce_refill(x, &f, rss);
	fill_end(x, &f);
	return (unsigned)(b - bufs);
}

unsigned xn_xdp_rx_post(struct xn_portq *q, const struct xn_chain *bufs, unsigned n)
{
	return rx_post(q, bufs, n, false, false, false);
}

unsigned xn_xdp_rx_post_sg(struct xn_portq *q, const struct xn_chain *bufs, unsigned n)
{
	return rx_post(q, bufs, n, false, false, true);
}

unsigned xn_xdp_rx_post_sg_rss(struct xn_portq *q, const struct xn_chain *bufs, unsigned n)
{
	return rx_post(q, bufs, n, false, true, true);
}

unsigned xn_xdp_rx_post_zc(struct xn_portq *q, const struct xn_chain *bufs, unsigned n)
{
	return rx_post(q, bufs, n, true, false, false);
}

unsigned xn_xdp_rx_post_rss(struct xn_portq *q, const struct xn_chain *bufs, unsigned n)
{
	return rx_post(q, bufs, n, false, true, false);
}

unsigned xn_xdp_rx_post_zc_rss(struct xn_portq *q, const struct xn_chain *bufs, unsigned n)
{
	return rx_post(q, bufs, n, true, true, false);
}

/*
 * The frame at `addr` is not that of the oldest entry (of those behind `ahead` others): finds
 * its own, and puts the oldest in its place, so that the shadow stays in step. NULL: an address
 * that was never posted or came twice; nothing is taken then.
 */
static struct xn_lent *find_lent(struct xn_xdpq *x, uint32_t ahead, uint64_t addr)
{
	struct xn_lent *oldest = &x->lent[(x->rx_taken + ahead) & x->lent_mask];

	for (uint32_t i = ahead + 1; i < rx_outstanding(x); i++) {
		struct xn_lent *l = &x->lent[(x->rx_taken + i) & x->lent_mask];

		if (l->fill == addr) {
			struct xn_lent t = *l;

			*l = *oldest;
			*oldest = t;
			XN_COUNT(x->q.cfg.ctr, rx_out_of_order, 1);
			return oldest;
		}
	}
	return NULL;
}

/* ---- unfinished checksums ---- */

/* A suspect frame, which lies in a row; *d is its first buffer. */
static __attribute__((noinline)) void settle_csum(struct xn_xdpq *x, uint8_t *frame,
						  struct xn_rx_done *d)
{
	struct xn_rx_csum c;

	if (!xn_rx_csum_settle(&c, frame, d->len, x->q.cfg.guest_csum,
			       &x->q.cfg.ctr->v[XN_C_rx_csum_finished]))
		return;
	d->flags |= XN_RX_CSUM;
	d->csum_start = c.start;
	d->csum_offset = (uint16_t)(c.at - c.start);
}

/* Frames in lent buffers, each behind the room for its header. */
static __attribute__((noinline)) void settle_lent(struct xn_xdpq *x, struct xn_rx_done *d, unsigned n)
{
	const uint32_t hdr = x->q.cfg.hdr_bytes;
	uint64_t handed = 0;

	for (struct xn_rx_done *const end = d + n; d < end; d++) {
		uint8_t *frame = xn_mem_at(x->mem, XN_UOFF(d->at.v + hdr));

		if (XN_UNLIKELY(xn_rx_csum_suspect(frame, d->len)))
			settle_csum(x, frame, d);
		handed += d->flags / XN_RX_CSUM;
	}
	XN_COUNT(x->q.cfg.ctr, rx_csum_handed, handed);
}

enum xn_spread xn_xdp_spread(struct xn_xdpq *x, uint64_t data, uint32_t bytes,
			     struct xn_rx_done *done, unsigned max, unsigned *used)
{
	uint8_t *frame = xn_mem_at(x->mem, XN_UOFF(data));
	struct xn_rx_done csum = { .len = bytes };
	enum xn_spread how;

	/* Before it is copied; looked at again, if it does not fit, it is what it is then. */
	if (x->rx_csum && xn_rx_csum_suspect(frame, bytes))
		settle_csum(x, frame, &csum);
	how = xn_spread_frame(&x->q.cfg, &x->held, frame, bytes, done, max, used);
	if (how == XN_SPREAD_TOO_SMALL)
		held_take(x, *used, done, *used);
	if (how != XN_SPREAD_OK)
		return how;
	done[0].flags |= csum.flags;
	done[0].csum_start = csum.csum_start;
	done[0].csum_offset = csum.csum_offset;
	XN_COUNT(x->q.cfg.ctr, rx_csum_handed, csum.flags / XN_RX_CSUM);
	XN_COUNT(x->q.cfg.ctr, rx_merged, *used > 1);
	held_take(x, 1, done, *used);
	return how;
}

/*
 * A frame in a bounce frame goes to held buffers. Returns how many entries of
 * `done` it filled; false through *fits: not enough of them, try again later.
 */
static unsigned deliver_bounced(struct xn_xdpq *x, uint64_t fill, uint64_t data, uint32_t bytes,
				struct xn_rx_done *done, unsigned max, bool *fits)
{
	struct xn_counters *ctr = x->q.cfg.ctr;
	unsigned used = 0;

	*fits = true;
	switch (xn_xdp_spread(x, data, bytes, done, max, &used)) {
	case XN_SPREAD_OK:
		XN_COUNT(ctr, rx_bounced, 1);
		break;
	case XN_SPREAD_NO_BUFFER:
		XN_COUNT(ctr, rx_drop_no_buffer, 1);
		break;
	case XN_SPREAD_TOO_SMALL:
		XN_COUNT(ctr, rx_drop_too_small, 1);
		break;
	case XN_SPREAD_NO_ROOM:
		*fits = false;
		return 0;
	}
	xn_xdp_take_bounce_frame(x, fill);
	return used;
}

void xn_xdp_post_again(struct xn_xdpq *x)
{
	const struct xn_lent l = x->lent[x->rx_taken++ & x->lent_mask];
	struct fill f = fill_begin(x);

	fill_put(&f, l.fill, (uint16_t)l.id_kind, (uint16_t)XN_LENT_KIND(&l));
	if (x->sg)
		fill_last(&f)->len = l.len;
	fill_end(x, &f);
}

/*
 * Zero-copy mode: what came with the oldest entry is no frame: too long, or a piece of
 * one that is. Some NICs cut what is longer than a buffer into pieces that each look like
 * a frame (xsk/drivers.h); all but the last fill a buffer to its end. If the last one does
 * too, the next frame goes with it.
 */
static bool is_piece(struct xn_xdpq *x, const struct xdp_desc *d)
{
	const bool goes_on = x->cut;

	x->cut = (d->addr >> XSK_UNALIGNED_BUF_OFFSET_SHIFT) + d->len == x->cut_at;
	return goes_on || x->cut || d->len > x->longest;
}

/* Zero-copy mode: does a frame lie where none can? */
static bool is_misplaced(const struct xn_xdpq *x, const struct xdp_desc *d)
{
	const uint64_t offset = d->addr >> XSK_UNALIGNED_BUF_OFFSET_SHIFT, land = x->xsk.land;

	if (!x->known)
		return offset + d->len > x->xsk.chunk_bytes;
	return (offset != land && offset != land + x->shift) || offset + d->len > land + x->reach;
}

/* What came with the oldest entry is of no use. */
static void drop_oldest(struct xn_xdpq *x, enum xn_counter why)
{
	const struct xn_lent *l = &x->lent[x->rx_taken & x->lent_mask];

	xn_count_add(&x->q.cfg.ctr->v[why], 1);
	if (XN_LENT_KIND(l) != XN_LENT_BOUNCE) {
		xn_xdp_post_again(x);
		return;
	}
	xn_xdp_take_bounce_frame(x, l->fill);
	x->rx_taken++;
}

/* Zero-copy mode: a frame in a lent buffer that begins later than it should, behind a
 * timestamp, is moved. */
static void move_to_landing(struct xn_xdpq *x, uint64_t addr, const struct xdp_desc *d)
{
	const uint64_t land = addr + x->xsk.land, data = xsk_umem__add_offset_to_addr(d->addr);

	if (data == land)
		return;
	memmove(xn_mem_at(x->mem, XN_UOFF(land)), xn_mem_at(x->mem, XN_UOFF(data)), d->len);
	XN_COUNT(x->q.cfg.ctr, rx_moved, 1);
}

struct xn_lent *xn_xdp_entry_at(struct xn_xdpq *x, uint32_t ahead, uint64_t addr)
{
	struct xn_lent *l = &x->lent[(x->rx_taken + ahead) & x->lent_mask];

	return rx_outstanding(x) > ahead && l->fill == addr ? l : find_lent(x, ahead, addr);
}

/*
 * The entry that a frame has come in, which is the oldest then. NULL: it is no frame that can
 * be given to anybody; that is counted, and done with.
 */
static struct xn_lent *entry_of(struct xn_xdpq *x, const struct xdp_desc *d)
{
	uint64_t addr = xsk_umem__extract_addr(d->addr);
	struct xn_lent *l = &x->lent[x->rx_taken & x->lent_mask];

	if (!rx_outstanding(x) || l->fill != addr)
		l = find_lent(x, 0, addr);
	if (!l) {
		XN_COUNT(x->q.cfg.ctr, rx_drop_error, 1);
		if (x->known)
			xn_xdp_misplaced(x);
		return NULL;
	}
	if (x->xsk.zero_copy && is_misplaced(x, d)) {
		drop_oldest(x, XN_C_rx_drop_error);
		if (x->known)
			xn_xdp_misplaced(x);
		return NULL;
	}
	if (x->xsk.zero_copy && is_piece(x, d)) {
		drop_oldest(x, XN_C_rx_drop_too_long);
		return NULL;
	}
	return l;
}

/* The guest gets the frame in the oldest entry. Adds to `done` at *out. False: the frame stays
 * for the next poll. */
static bool deliver(struct xn_xdpq *x, const struct xdp_desc *d, const struct xn_lent *l,
		    struct xn_rx_done *done, unsigned max, unsigned *out)
{
	uint64_t addr = xsk_umem__extract_addr(d->addr);
	bool fits = true;

	if (XN_LENT_KIND(l) != XN_LENT_BOUNCE) {
		if (x->xsk.zero_copy)
			move_to_landing(x, addr, d);
		if (x->watch.trial)
			xn_xdp_trial_rx(x, 1);
		done[(*out)++] = (struct xn_rx_done){
			.at = XN_UOFF(addr + x->rule.fill_before), .len = d->len,
			.id = (uint16_t)l->id_kind,
			.flags = XN_LENT_KIND(l) == XN_LENT_NOTED ? XN_RX_NOTED : 0,
		};
		if (x->rx_csum)
			settle_lent(x, &done[*out - 1], 1);
		XN_COUNT(x->q.cfg.ctr, rx_lent, 1);
	} else {
		*out += deliver_bounced(x, addr, xsk_umem__add_offset_to_addr(d->addr), d->len,
					done + *out, max - *out, &fits);
	}
	x->rx_taken += fits;
	if (XN_UNLIKELY(x->watch.rx_proof) && fits)
		xn_xdp_prove_rx(x, addr);
	return fits;
}

/*
 * A frame that is not where the oldest entry points, or lies in a bounce frame. Adds
 * to `done` at *out. False: the frame stays for the next poll.
 */
static __attribute__((noinline)) bool poll_unusual(struct xn_xdpq *x, const struct xdp_desc *d,
						   struct xn_rx_done *done, unsigned max, unsigned *out)
{
	const struct xn_lent *l = entry_of(x, d);

	return !l || deliver(x, d, l, done, max, out);
}

/*
 * Frames of several pieces: a frame may have more of them than frames are wanted. The kernel's
 * index is looked at each time, even if entries are left from the last one: they may be a frame
 * that lacks its end. Acquire, as in xsk_cons_nb_avail.
 */
static uint32_t peek_all(struct xsk_ring_cons *rx, uint32_t *idx)
{
	rx->cached_prod = xn_load_acquire32(rx->producer);
	return (uint32_t)xsk_ring_cons__peek(rx, rx->size, idx);
}

/* ---- RSS: the second socket ---- */

/* What a turn finds in its RX ring. */
struct away {
	uint32_t idx, avail, i;
};

/*
 * A frame that came for another guest queue: handed to its thread, and its entry with it. Or
 * for this one after all: the configuration is a new one. False: it stays for the next poll.
 */
static bool away_frame(struct xn_xdpq *x, const struct xdp_desc *d, struct xn_rx_done *done,
		       unsigned max, unsigned *out)
{
	const struct xn_lent *l = entry_of(x, d);
	const uint64_t data = xsk_umem__add_offset_to_addr(d->addr);
	enum xn_counter what;
	unsigned to;

	if (!l)
		return true;
	to = xn_xdp_named(x, data, d->len);
	if (to == x->q.cfg.index)
		return *out < max && deliver(x, d, l, done, max, out);
	what = xn_xdp_hand_over(x, to, data, d->len, l);
	if (what != XN_C_rss_handed_over) {
		drop_oldest(x, what);
		return true;
	}
	if (XN_UNLIKELY(x->watch.trial) && XN_LENT_KIND(l) != XN_LENT_BOUNCE)
		xn_xdp_trial_rx(x, 1);
	x->rx_taken++;
	return true;
}

/* Frames there that came in the oldest entries, one after the other; or all of them. Was there
 * one? */
static bool away_poll(struct xn_xdpq *x, struct away *a, bool any, struct xn_rx_done *done,
		      unsigned max, unsigned *out)
{
	const uint32_t before = a->i;

	for (; a->i < a->avail; a->i++) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(&x->away->xsk.rx, a->idx + a->i);

		if (!any && (!rx_outstanding(x) || xsk_umem__extract_addr(d->addr) !=
			     x->lent[x->rx_taken & x->lent_mask].fill))
			break;
		if (d->options & XDP_PKT_CONTD) {
			uint32_t k = xn_xdp_take_away_pieces(x, a->idx + a->i, a->avail - a->i, done,
							     max, out);

			if (!k)
				break;
			a->i += k - 1;
			continue;
		}
		if (!away_frame(x, d, done, max, out))
			break;
	}
	return a->i != before;
}

static struct away away_begin(struct xn_xdpq *x, unsigned frames)
{
	struct away a = { 0 };

	if (x->away->xsk.fd >= 0)
		a.avail = x->sg ? peek_all(&x->away->xsk.rx, &a.idx) :
				  xsk_ring_cons__peek(&x->away->xsk.rx, frames, &a.idx);
	return a;
}

/* As for the own socket. */
static void away_end(struct xn_xdpq *x, const struct away *a)
{
	if (x->away->xsk.fd < 0)
		return;
	xsk_ring_cons__cancel(&x->away->xsk.rx, a->avail - a->i);
	xsk_ring_cons__release(&x->away->xsk.rx, a->i);
}

/* Frames in plain buffers, where the oldest entries point: as many as there are in a
 * row, and lie in a row in both rings. */
static ALWAYS_INLINE unsigned poll_usual(struct xn_xdpq *x, uint32_t idx, unsigned n,
					 struct xn_rx_done *done, const bool zc, const bool sg)
{
	const struct xdp_desc *d = xsk_ring_cons__rx_desc(&x->xsk.rx, idx);
	const struct xn_lent *l = &x->lent[x->rx_taken & x->lent_mask], *const first = l;
	const uint64_t to_buf = x->rule.fill_before;
	const uint64_t offset = zc ? (uint64_t)x->xsk.land << XSK_UNALIGNED_BUF_OFFSET_SHIFT : 0;
	const uint32_t longest = x->longest;
	const struct xn_lent *end;

	n = XN_MIN(n, rx_outstanding(x));
	n = XN_MIN(n, xn_ring_stretch(idx, x->xsk.rx.mask));
	n = XN_MIN(n, xn_ring_stretch(x->rx_taken, x->lent_mask));
	for (end = l + n; l < end; l++, d++, done++) {
		/* In zero-copy mode a frame that lies elsewhere has no such address. */
		uint64_t addr = zc ? d->addr - offset : xsk_umem__extract_addr(d->addr);
		uint32_t id_kind = l->id_kind;

		if (XN_UNLIKELY(l->fill != addr || id_kind >= XN_LENT_NOTED << 16))
			break;
		if (zc && XN_UNLIKELY(d->len > longest))
			break;
		if (sg && XN_UNLIKELY(d->options & XDP_PKT_CONTD))
			break;
		done->at.v = addr + to_buf;
		done->len = d->len;
		done->id_flags = id_kind;   /* plain: no flags */
	}
	x->rx_taken += (uint32_t)(l - first);
	return (unsigned)(l - first);
}

static inline bool is_first_of(const struct xsk_ring_cons *rx, uint32_t idx)
{
	return xsk_ring_cons__rx_desc(rx, idx)->options & XDP_PKT_CONTD;
}

bool xn_xdp_rx_waiting(struct xn_portq *q)
{
	struct xn_xdpq *x = xdpq(q);

	return xsk_cons_nb_avail(&x->xsk.rx, 1) || (x->away && xn_xdp_away_waiting(x));
}

/* In front of the release of what was taken from the RX ring: the driver finds new buffers
 * before it has room for more frames. */
void xn_xdp_keep_up(struct xn_xdpq *x)
{
	struct fill f = fill_begin(x);

	/* (What other threads have, they may have of these.) */
	while (f.posted - x->rx_taken < x->keep && x->n_rx_frames) {
		fill_put(&f, x->rx_frames[--x->n_rx_frames].v, 0, XN_LENT_BOUNCE);
		x->bounce_posted++;
	}
	fill_end(x, &f);
}

/* Zero-copy mode, once a turn: another queue may have noticed something. */
static inline void watch_port(struct xn_xdpq *x)
{
	const struct xn_xdp_port *p = XN_CONTAINER_OF(x->q.port, struct xn_xdp_port, port);

	if (XN_UNLIKELY(xn_load_once32(&p->mode.verdict) != x->watch.verdict))
		xn_xdp_heed(x);
}

/* Zero-copy mode: the driver wants to be told of buffers, and has not taken all of them. It
 * could not be woken when they were posted, perhaps: it was down. */
static inline void wake_starved(const struct xn_xdpq *x)
{
	if (XN_UNLIKELY(xsk_ring_prod__needs_wakeup(&x->xsk.fill)) &&
	    xn_load_once32(x->xsk.fill.consumer) != x->rx_posted)
		wake(x);
}

/* Zero-copy mode, once a batch: what frames have come in, and has one been overtaken? */
static inline void watch_rx(struct xn_xdpq *x, uint32_t lent)
{
	const struct xn_lent *oldest = &x->lent[x->rx_taken & x->lent_mask];

	if (XN_UNLIKELY(x->watch.trial && lent))
		xn_xdp_trial_rx(x, lent);
	if (rx_outstanding(x) && XN_UNLIKELY(x->rx_taken - oldest->no > x->watch.patience))
		xn_xdp_overtaken(x);
}

static ALWAYS_INLINE unsigned rx_poll(struct xn_portq *q, struct xn_rx_done *done, unsigned n,
				      unsigned frames, const bool zc, const bool rss, const bool sg)
{
	struct xn_xdpq *x = xdpq(q);
	uint32_t idx = 0, avail = sg ? peek_all(&x->xsk.rx, &idx) : xsk_ring_cons__peek(&x->xsk.rx, frames, &idx);
	uint32_t i = 0;
	struct away a = { 0 };
	unsigned out = 0;
	uint64_t lent = 0, spread = 0;

	if (rss)   /* behind the peek: an entry that was posted earlier is more likely to be seen */
		a = away_begin(x, frames);
	if (zc)
		watch_port(x);
	if (!avail && !(rss && a.avail)) {
		if (zc)
			wake_starved(x);
		return 0;
	}
	for (;;) {
		unsigned most = zc && x->cut ? 0 : XN_MIN(avail - i, n - out);
		unsigned run, k;

		if (sg)
			most = XN_MIN(most, frames - (unsigned)(lent + spread));
		run = poll_usual(x, idx + i, most, done + out, zc, sg);
		if (XN_UNLIKELY(x->rx_csum))
			settle_lent(x, done + out, run);
		i += run;
		out += run;
		lent += run;
		if (XN_LIKELY(i == avail || out == n))
			break;
		if (sg && lent + spread == frames)
			break;
		if (rss && !run && away_poll(x, &a, false, done, n, &out))
			continue;
		if (sg && !run && is_first_of(&x->xsk.rx, idx + i)) {
			k = xn_xdp_take_pieces(x, &x->xsk.rx, idx + i, avail - i, done, n, &out);
			if (!k)
				break;
			i += k;
			spread++;
			continue;
		}
		if (!run && !poll_unusual(x, xsk_ring_cons__rx_desc(&x->xsk.rx, idx + i), done, n, &out))
			break;
		i += !run;
		spread += !run;
	}
	/* Those behind own frames that are not read yet wait for them. */
	if (rss)
		away_poll(x, &a, i == avail && !xsk_cons_nb_avail(&x->xsk.rx, 1), done, n, &out);
	/*
	 * Not looked at: given back to the next poll. The release stores the consumer
	 * index behind our reads of the descriptors; pairs with the kernel's
	 * load-acquire in xskq_prod_is_full / xskq_prod_reserve.
	 */
	if (zc)
		xn_xdp_keep_up(x);
	xsk_ring_cons__cancel(&x->xsk.rx, avail - i);
	xsk_ring_cons__release(&x->xsk.rx, i);
	if (rss) {
		x->q.aside = a.i;
		away_end(x, &a);
	}
	XN_COUNT(q->cfg.ctr, rx_lent, lent);
	if (zc)
		watch_rx(x, (uint32_t)lent);

	if (xn_id_fifo_count(&x->held)) {
		struct fill f = fill_begin(x);

		bounce_refill(x, &f, rss);
		fill_end(x, &f);
	}
	return out;
}

unsigned xn_xdp_rx_poll(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames)
{
	return rx_poll(q, done, n, frames, false, false, false);
}

unsigned xn_xdp_rx_poll_zc(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames)
{
	return rx_poll(q, done, n, frames, true, false, false);
}

unsigned xn_xdp_rx_poll_sg(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames)
{
	return rx_poll(q, done, n, frames, false, false, true);
}

/* Frames that came on this queue, and those that came on others: who comes first has as many as
 * he likes, in turns. */
static ALWAYS_INLINE unsigned rx_poll_rss(struct xn_portq *q, struct xn_rx_done *done, unsigned n,
					  unsigned frames, const bool zc, const bool sg)
{
	struct xn_xdpq *x = xdpq(q);
	unsigned out = 0;

	x->q.aside = 0;
	xn_xdp_rss_turn(x);
	if (x->away->turn++ & 1)
		out = xn_xdp_cross_in(x, done, n, frames);
	if (out < frames)
		out += rx_poll(q, done + out, n - out, frames - out, zc, true, sg);
	if (x->away->turn & 1 && out < frames)
		out += xn_xdp_cross_in(x, done + out, n - out, frames - out);
	xn_xdp_rss_tell(x);
	return out;
}

unsigned xn_xdp_rx_poll_rss(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames)
{
	return rx_poll_rss(q, done, n, frames, false, false);
}

unsigned xn_xdp_rx_poll_sg_rss(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames)
{
	return rx_poll_rss(q, done, n, frames, false, true);
}

unsigned xn_xdp_rx_poll_zc_rss(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames)
{
	return rx_poll_rss(q, done, n, frames, true, false);
}
