/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames that come in several pieces: where the MTU is too long for a chunk (XDP_USE_SG, copy
 * mode).
 *
 *	fill ring  |  A  |  B  |  C  |  D  |  ...          lent, each of 12 + piece bytes at least
 *	RX ring    | A + | B + |  C  |                     one frame: + has XDP_PKT_CONTD
 *
 *	landed     A: ............aaaaaaaaaaaaaaa...       each behind room for a header
 *	           B: ............bbbbbbbbbbbbbbb...
 *	           C: ............cccc
 *	given      A: hhhhhhhhhhhhaaaaaaaaaaaaaaabbb       moved together, in place
 *	           B: bbbbbbbbbbbbcccc                     C goes back to the fill ring
 *
 * Why moved? Only a frame's first buffer begins with a header, so all other pieces lie wrong in
 * any case; and a device has to use all buffers of a frame but the last up to their full length
 * (VIRTIO 1.2, 5.1.6.4.1), which no driver known relies on, but whoever reads the standard may. It
 * costs about as much as to copy from bounce frames, without the second copy in the caches: some
 * 20 ns a KiB, where the kernel takes 200 for the same.
 *
 * Each buffer holds its own piece and what belongs in front of it: a byte's place in the row of
 * buffers is never behind that where it landed. So the bytes can be moved from the first on, and
 * none is written over before it was read.
 *
 * Pieces in bounce frames go to held buffers, as whole frames do. If a frame has landed in both
 * kinds, it is copied aside first: that is seldom, guests post buffers of a kind.
 *
 * Few buffers are held and not lent, long as they may be: the kernel wants an entry for each
 * piece (rx_bounce_few; port/xdp_rx.c).
 *
 * Where nothing is lent (rx_bounce_pieces): without merging a frame goes into one buffer, and a
 * long one would take as many of them as it has pieces, to fill one. And IN_ORDER, with which
 * buffers that a frame has left empty would have to be used before those that came behind
 * them: held buffers are used as they were posted.
 *
 * The kernel publishes all pieces of a frame together, and takes fill entries for all or none.
 * A frame whose end is not there yet waits for it all the same: nothing is ever given in part.
 */
#include <assert.h>

#include "port/xdp_rx.h"

/* A place in a row of pieces. */
struct cursor {
	const struct xn_rx_piece *p;
	uint32_t skip;      /* bytes of it that were taken */
};

uint32_t xn_xdp_frames_in(struct xsk_ring_cons *rx)
{
	uint32_t idx, frames = 0, n;

	/* (A peek looks for new ones only when it knows of none.) Acquire: as in it. */
	rx->cached_prod = xn_load_acquire32(rx->producer);
	n = xsk_ring_cons__peek(rx, rx->size, &idx);
	for (uint32_t i = 0; i < n; i++)
		frames += !(xsk_ring_cons__rx_desc(rx, idx + i)->options & XDP_PKT_CONTD);
	xsk_ring_cons__cancel(rx, n);
	return frames;
}

/* How many pieces the frame has; 0: the rest of it has not come yet. */
static uint32_t count_pieces(const struct xsk_ring_cons *rx, uint32_t idx, uint32_t avail)
{
	for (uint32_t k = 1; k <= avail; k++, idx++)
		if (!(xsk_ring_cons__rx_desc(rx, idx)->options & XDP_PKT_CONTD))
			return k;
	return 0;
}

void xn_xdp_frame_add(struct xn_xdp_frame *f, const struct xn_mem *mem, uint64_t data, uint32_t bytes)
{
	f->p[f->n++] = (struct xn_rx_piece){ xn_mem_at(mem, XN_UOFF(data)), bytes };
	f->bytes += bytes;
}

static struct xn_lent *entry(const struct xn_xdpq *x, uint32_t i)
{
	return &x->lent[(x->rx_taken + i) & x->lent_mask];
}

/* Its n pieces are those of the oldest entries then. False: they are not, or there are more
 * than the program lets pass. *known: how many of the oldest entries are this frame's. */
static bool find_pieces(struct xn_xdpq *x, const struct xsk_ring_cons *rx, uint32_t idx, uint32_t n,
			struct xn_xdp_frame *f, uint32_t *known)
{
	*f = (struct xn_xdp_frame){ 0 };
	*known = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(rx, idx + i);

		if (!xn_xdp_entry_at(x, *known, xsk_umem__extract_addr(d->addr)))
			continue;
		++*known;
		if (f->n < XN_RX_PIECES_MAX)
			xn_xdp_frame_add(f, x->mem, xsk_umem__add_offset_to_addr(d->addr), d->len);
	}
	return f->n == n && f->bytes <= x->q.port->max_frame;
}

/* The n oldest entries are done with: the first `own` of the guest's have the frame, the others
 * are posted again. */
static void settle_entries(struct xn_xdpq *x, uint32_t n, unsigned own)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct xn_lent *l = entry(x, 0);

		if (XN_LENT_KIND(l) == XN_LENT_BOUNCE) {
			xn_xdp_take_bounce_frame(x, l->fill);
			x->rx_taken++;
		} else if (own) {
			own--;
			x->rx_taken++;
		} else {
			xn_xdp_post_again(x);
		}
	}
}

/* ---- where it goes ---- */

struct places {
	unsigned own, held;     /* buffers in which it landed, the first; and of the fifo */
	uint16_t id[XN_RX_PIECES_MAX];   /* of the own ones */
};

/* The guest's buffers among the first n entries, noted as those of several pieces are. */
static void note_own(const struct xn_xdpq *x, struct places *to, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct xn_lent *l = entry(x, i);

		if (XN_LENT_KIND(l) == XN_LENT_BOUNCE)
			continue;
		to->id[to->own++] = (uint16_t)l->id_kind;
		if (XN_LENT_KIND(l) == XN_LENT_PLAIN)
			x->q.cfg.bufs[(uint16_t)l->id_kind] = (struct xn_rx_buf){
				.at = XN_UOFF(l->fill + x->rule.fill_before),
				.len = l->len, .bytes = l->len,
			};
	}
}

static uint16_t place(const struct xn_xdpq *x, const struct places *to, unsigned i)
{
	return i < to->own ? to->id[i] : xn_id_fifo_at(&x->held, i - to->own);
}

/* As many of them as the frame takes. Of one that has landed in both kinds a held buffer takes the
 * end, if it can: else one would stay for ever, and its bounce frame be in every so many frames. */
static enum xn_spread choose_places(const struct xn_xdpq *x, struct places *to, uint32_t bytes, bool mixed)
{
	const struct xn_portq_cfg *c = &x->q.cfg;
	const unsigned all = to->own + xn_id_fifo_count(&x->held), most = c->merge ? all : XN_MIN(all, 1u);
	uint64_t need = (uint64_t)c->hdr_bytes + bytes;

	for (unsigned i = 0; i < most; i++) {
		const uint32_t has = c->bufs[place(x, to, i)].bytes;

		if (has < need) {
			need -= has;
			continue;
		}
		to->held = i < to->own ? 0 : i + 1 - to->own;
		to->own = XN_MIN(to->own, i + 1);
		if (mixed && !to->held && xn_id_fifo_count(&x->held) &&
		    c->bufs[xn_id_fifo_at(&x->held, 0)].bytes >= need) {
			to->own--;
			to->held = 1;
		}
		return XN_SPREAD_OK;
	}
	return most && !c->merge ? XN_SPREAD_TOO_SMALL : XN_SPREAD_NO_BUFFER;
}

/* ---- its bytes ---- */

/* The next n bytes; they may lie there, or further on. */
static struct cursor move_bytes(uint8_t *to, struct cursor c, uint32_t n)
{
	while (n) {
		const uint32_t part = XN_MIN(n, c.p->len - c.skip);

		assert(c.p->at);   /* they are n bytes at least */
		if (to != c.p->at + c.skip)
			memmove(to, c.p->at + c.skip, part);
		to += part;
		n -= part;
		c.skip += part;
		if (c.skip == c.p->len)
			c = (struct cursor){ c.p + 1, 0 };
	}
	return c;
}

/* The next n bytes into a buffer that holds them behind its first `skip`. */
static struct cursor move_to_buf(const struct xn_portq_cfg *cfg, const struct xn_rx_buf *buf, uint32_t skip,
				 struct cursor c, uint32_t n)
{
	uint32_t len = buf->len, rest = buf->rest;
	xn_uoff at = buf->at;

	for (;;) {
		const uint32_t pass = XN_MIN(skip, len), part = XN_MIN(len - pass, n);

		c = move_bytes(xn_mem_at(cfg->mem, XN_UOFF(at.v + pass)), c, part);
		n -= part;
		skip -= pass;
		if (!n || !rest)
			return c;
		at = cfg->rests[rest].at;
		len = cfg->rests[rest].len;
		rest = cfg->rests[rest].next;
	}
}

/* The frame in a row, in memory of its own. */
static void copy_aside(const struct xn_xdpq *x, struct xn_xdp_frame *f)
{
	(void)move_bytes(x->aside, (struct cursor){ f->p, 0 }, f->bytes);
	f->p[0] = (struct xn_rx_piece){ x->aside, f->bytes };
	f->n = 1;
}

static void fill_places(const struct xn_xdpq *x, const struct xn_xdp_frame *f, const struct places *to,
			struct xn_rx_done *done)
{
	const struct xn_portq_cfg *cfg = &x->q.cfg;
	const unsigned n = to->own + to->held;
	struct cursor c = { f->p, 0 };
	uint32_t skip = cfg->hdr_bytes, left = f->bytes;

	for (unsigned i = 0; i < n; i++, skip = 0) {
		const uint16_t id = place(x, to, i);
		const struct xn_rx_buf *buf = &cfg->bufs[id];
		const uint32_t part = XN_MIN(buf->bytes - skip, left);

		c = move_to_buf(cfg, buf, skip, c, part);
		left -= part;
		done[i] = (struct xn_rx_done){
			.id = id, .len = part,
			.flags = i + 1 < n ? XN_RX_NOTED | XN_RX_MORE : XN_RX_NOTED,
		};
	}
}

/* ---- checksums ---- */

/* Headers are in the first piece, if there are several. */
static void settle_csum(struct xn_xdpq *x, const struct xn_xdp_frame *f, struct xn_rx_done *first)
{
	struct xn_rx_csum c;

	if (!xn_rx_csum_suspect(f->p[0].at, f->bytes) ||
	    !xn_rx_csum_settle_pieces(&c, f->p, f->n, f->bytes, x->q.cfg.guest_csum,
				      &x->q.cfg.ctr->v[XN_C_rx_csum_finished]))
		return;
	first->flags |= XN_RX_CSUM;
	first->csum_start = c.start;
	first->csum_offset = (uint16_t)(c.at - c.start);
	XN_COUNT(x->q.cfg.ctr, rx_csum_handed, 1);
}

/* ---- a frame ---- */

/* What has landed in held_pieces bounce frames, of this queue or of another one, and else in
 * to->own buffers; *to: which of them it goes to, and how many of the fifo's. As xn_spread_frame. */
static enum xn_spread spread(struct xn_xdpq *x, struct xn_xdp_frame *f, struct places *to,
			     unsigned held_pieces, struct xn_rx_done *done, unsigned max,
			     unsigned *used)
{
	const bool mixed = to->own && held_pieces;
	struct xn_rx_done csum = { 0 };
	enum xn_spread how = choose_places(x, to, f->bytes, mixed);

	*used = 0;
	if (how == XN_SPREAD_NO_BUFFER)
		return how;
	if (XN_MAX(to->own + to->held, 1u) > max)
		return XN_SPREAD_NO_ROOM;
	if (how == XN_SPREAD_TOO_SMALL) {
		*used = xn_pass_by_first(&x->q.cfg, &x->held, done);
		held_take(x, *used, done, *used);
		return how;
	}
	if (x->rx_csum)
		settle_csum(x, f, &csum);
	XN_COUNT(x->q.cfg.ctr, rx_pieces, f->n);
	if (mixed)
		copy_aside(x, f);
	fill_places(x, f, to, done);
	done[0].flags |= csum.flags;
	done[0].csum_start = csum.csum_start;
	done[0].csum_offset = csum.csum_offset;
	x->held.first += to->held;
	held_take(x, held_pieces, done + to->own, to->held);
	*used = to->own + to->held;
	XN_COUNT(x->q.cfg.ctr, rx_merged, *used > 1);
	return XN_SPREAD_OK;
}

enum xn_spread xn_xdp_spread_pieces(struct xn_xdpq *x, struct xn_xdp_frame *f, struct xn_rx_done *done,
				    unsigned max, unsigned *used)
{
	struct places to = { 0 };

	return spread(x, f, &to, f->n, done, max, used);
}

static enum xn_counter reason(enum xn_spread how)
{
	return how == XN_SPREAD_TOO_SMALL ? XN_C_rx_drop_too_small : XN_C_rx_drop_no_buffer;
}

static void drop(struct xn_xdpq *x, uint32_t n, enum xn_counter why)
{
	settle_entries(x, n, 0);
	xn_count_add(&x->q.cfg.ctr->v[why], 1);
}

/* The frame in the n oldest entries. False: it stays. */
static bool deliver(struct xn_xdpq *x, struct xn_xdp_frame *f, uint32_t n, struct xn_rx_done *done,
		    unsigned max, unsigned *out)
{
	struct xn_counters *ctr = x->q.cfg.ctr;
	struct places to = { 0 };
	enum xn_spread how;
	unsigned landed, used;

	note_own(x, &to, n);
	landed = to.own;
	how = spread(x, f, &to, n - landed, done + *out, max - *out, &used);
	if (how == XN_SPREAD_NO_ROOM)
		return false;
	*out += used;
	if (how != XN_SPREAD_OK) {
		drop(x, n, reason(how));
		return true;
	}
	settle_entries(x, n, to.own);
	XN_COUNT(ctr, rx_shifted, landed == n);
	XN_COUNT(ctr, rx_bounced, landed < n);
	return true;
}

unsigned xn_xdp_take_pieces(struct xn_xdpq *x, const struct xsk_ring_cons *rx, uint32_t idx,
			    uint32_t avail, struct xn_rx_done *done, unsigned max, unsigned *out)
{
	const uint32_t n = count_pieces(rx, idx, avail);
	struct xn_xdp_frame f;
	uint32_t known;

	if (!n)
		return 0;
	if (!find_pieces(x, rx, idx, n, &f, &known)) {
		drop(x, known, XN_C_rx_drop_error);
		return n;
	}
	return deliver(x, &f, n, done, max, out) ? n : 0;
}

unsigned xn_xdp_take_away_pieces(struct xn_xdpq *x, uint32_t idx, uint32_t avail, struct xn_rx_done *done,
				 unsigned max, unsigned *out)
{
	const struct xsk_ring_cons *rx = &x->away->xsk.rx;
	const uint32_t n = count_pieces(rx, idx, avail);
	struct xn_lent lent[XN_RX_PIECES_MAX];
	struct xn_xdp_frame f;
	enum xn_counter what;
	uint32_t known;
	unsigned to;

	if (!n)
		return 0;
	if (!find_pieces(x, rx, idx, n, &f, &known)) {
		drop(x, known, XN_C_rx_drop_error);
		return n;
	}
	to = xn_xdp_named(x, xsk_umem__add_offset_to_addr(xsk_ring_cons__rx_desc(rx, idx)->addr), f.p[0].len);
	if (to == x->q.cfg.index)
		return *out < max && deliver(x, &f, n, done, max, out) ? n : 0;
	for (uint32_t i = 0; i < n; i++)
		lent[i] = *entry(x, i);
	what = xn_xdp_hand_over_pieces(x, to, &f, lent);
	if (what == XN_C_rss_handed_over)
		x->rx_taken += n;
	else
		drop(x, n, what);
	return n;
}
