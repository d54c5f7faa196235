/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packets that do not simply leave as they lie: those of several pieces or of more than a
 * chunk, and those that ask for a checksum or for segments.
 *
 *	judge    may the kernel be given the guest's memory at all, and this of it?
 *	lay      lent, copied, or of both, as is cheapest (port/layout.h)
 *	compact  all copied, in the fewest frames and descriptors that there can be: where
 *	         nothing may be lent, where it is cheapest, or where there is no room for more
 *	wait     there is no room for that either. There will be: what finds none when nothing
 *	         else is on its way is dropped, and counted
 *
 * A packet for which there are never frames enough to copy it leaves as it lies, as far as may
 * be, whatever that costs.
 *
 * All of a packet or nothing (I7): descriptors become visible when the whole batch is put, so
 * that what turns out to have no room is forgotten by setting two numbers back (struct mark).
 *
 * What a guest asked for is done on the way: sums are made while bytes are copied, and of what
 * is lent by reading it. Headers, and all that is summed in them, are copies: the guest may
 * change what is lent before the kernel reads it, and then sends a wrong checksum, which is
 * its own loss.
 */
#include <assert.h>

#include "port/segment.h"
#include "port/xdp_post.h"

/* What a packet wants that asks for nothing. */
static const struct xn_offload nothing;

/* Before a packet: how far the ring and the stack of frames were. */
struct mark {
	uint32_t posted, n_tx_free;
};

static struct mark mark(const struct xn_xdpq *x, const struct xn_post *w)
{
	return (struct mark){ w->posted, x->n_tx_free };
}

/* Nobody has seen anything of it; what was taken off the stack is still there. */
static bool undo(struct xn_xdpq *x, struct xn_post *w, struct mark m)
{
	w->posted = m.posted;
	x->n_tx_free = m.n_tx_free;
	return false;
}

/* One descriptor; `last` of its packet's; of the head's packet, if `back`; frame: index + 1. */
static inline void put(struct xn_post *w, uint64_t at, uint32_t len, bool last, uint16_t head,
		       bool back, uint32_t frame)
{
	const struct xdp_desc d = { .addr = at, .len = len, .options = last ? 0 : XDP_PKT_CONTD };

	xn_post_put(w, &d, head | (back ? XN_SENT_LAST : 0) | (uint64_t)frame << XN_SENT_FRAME);
}

/* An arena frame on its way to the ring: the caller knows that there is one. */
static inline uint8_t *frame_take(struct xn_xdpq *x, uint32_t *f)
{
	*f = x->tx_free[--x->n_tx_free];
	return xn_mem_at(x->mem, x->tx_frames[*f]);
}

/* n of them: addresses to at, indices to f. */
static void frames_take(struct xn_xdpq *x, unsigned n, uint8_t **at, uint32_t *f)
{
	for (unsigned i = 0; i < n; i++)
		at[i] = frame_take(x, &f[i]);
}

/* Puts a packet that lies in these frames, one after the other. */
static void put_frames(struct xn_xdpq *x, struct xn_post *w, const uint32_t *f, uint32_t bytes,
		       uint16_t head, bool back)
{
	const uint32_t chunk = x->lay.chunk;

	for (; bytes; f++) {
		const uint32_t n = XN_MIN(bytes, chunk);
		const bool last = n == bytes;

		if (x->watch.tx_proof)
			xn_xdp_tx_leaves(x, *f);
		put(w, x->tx_frames[*f].v, n, last, head, back && last, *f + 1);
		bytes -= n;
	}
}

/* Puts a packet that is laid out like this, its copies in frames. */
static void put_layout(struct xn_xdpq *x, struct xn_post *w, const struct xn_layout *l,
		       const uint32_t *f, uint16_t head, bool back)
{
	for (unsigned i = 0; i < l->n; i++) {
		const struct xn_part *p = &l->part[i];
		const bool last = i + 1 == l->n;
		const uint64_t at = p->copy ? x->tx_frames[*f].v : p->at.v;

		put(w, at, p->len, last, head, back && last, p->copy ? *f + 1 : 0);
		f += p->copy;
	}
}

static bool has_room(const struct xn_xdpq *x, const struct xn_post *w, uint32_t descs,
		     uint32_t frames)
{
	return descs <= xn_post_room(w) && frames <= x->n_tx_free;
}

/* ---- one packet, one frame on the wire ---- */

static void send_compact(struct xn_xdpq *x, struct xn_post *w, const struct xn_chain *p,
			 const struct xn_piece *pieces, const struct xn_offload *o)
{
	const unsigned n = xn_chunks_for(p->bytes, x->lay.chunk);
	struct xn_cursor c = xn_cursor_at(x->mem->base, pieces);
	uint8_t *at[XN_TX_PIECES_MAX];
	const struct xn_chunks to = { at, x->lay.chunk };
	uint32_t f[XN_TX_PIECES_MAX];

	frames_take(x, n, at, f);
	if (o->csum)
		xn_gather_csum(o, x->mem->base, pieces, &to);
	else
		xn_gather(&c, &to, 0, p->bytes);
	put_frames(x, w, f, p->bytes, p->head, true);
	XN_COUNT(x->q.cfg.ctr, tx_copied_bytes, p->bytes);
}

static void send_layout(struct xn_xdpq *x, struct xn_post *w, const struct xn_chain *p,
			const struct xn_piece *pieces, const struct xn_offload *o,
			const struct xn_layout *l)
{
	struct xn_cursor c = xn_cursor_at(x->mem->base, pieces);
	uint8_t *at[XN_TX_PIECES_MAX];
	uint32_t f[XN_TX_PIECES_MAX] = { 0 };
	xn_sum sum;

	frames_take(x, l->frames, at, f);
	if (l->frames) {
		sum = xn_layout_fill(l, &c, at, 0, o->csum ? o->csum_start : p->bytes);
		if (o->csum)
			xn_put_csum(at[0] + o->csum_at, sum);
	}
	put_layout(x, w, l, f, p->head, true);
	XN_COUNT(x->q.cfg.ctr, tx_copied_bytes, l->copied);
}

/* What descriptors cost a packet that takes so many frames if all of it is copied: nothing, if
 * there are not so many. */
static const struct xn_layout_rules *rules_for(const struct xn_xdpq *x, uint32_t frames,
					       struct xn_layout_rules *lend)
{
	if (XN_LIKELY(frames <= x->all_tx_frames))
		return &x->lay;
	*lend = x->lay;
	lend->desc_bytes = 0;
	return lend;
}

/* What of a packet has to be copied, at its beginning: up to behind its checksum, and an Ethernet
 * header that is in pieces, if it cannot be copied whole. */
static uint32_t copied_head(const struct xn_xdpq *x, const struct xn_piece *pieces,
			    const struct xn_offload *o, uint32_t compact)
{
	if (o->csum)
		return XN_MAX(o->csum_at + 2, XN_ETH_HDR_BYTES);
	return compact > x->all_tx_frames && pieces->len < XN_ETH_HDR_BYTES ? XN_ETH_HDR_BYTES : 0;
}

/* How a packet left: the counter of it; XN_C_COUNT: there is no room for it now. */
static enum xn_counter send_one(struct xn_xdpq *x, struct xn_post *w, const struct xn_chain *p,
				const struct xn_piece *pieces, const struct xn_offload *o, bool lend)
{
	const uint32_t compact = xn_chunks_for(p->bytes, x->lay.chunk);
	const uint32_t head = copied_head(x, pieces, o, compact);
	struct xn_cursor c = xn_cursor_at(x->mem->base, pieces);
	struct xn_layout_rules lent;
	struct xn_layout l;

	if (compact > xn_post_room(w))   /* fewer there cannot be */
		return XN_C_COUNT;
	if (lend && p->bytes > head) {
		xn_cursor_skip(&c, head);
		if (xn_layout(&l, rules_for(x, compact, &lent), c, p->bytes - head, head) &&
		    has_room(x, w, l.n, l.frames)) {
			send_layout(x, w, p, pieces, o, &l);
			return !l.frames ? (l.n > 1 ? XN_C_tx_chained : XN_C_tx_lent) :
			       l.copied < p->bytes ? XN_C_tx_mixed : XN_C_tx_gathered;
		}
	}
	if (!has_room(x, w, compact, compact))
		return XN_C_COUNT;
	send_compact(x, w, p, pieces, o);
	return p->n_pieces > 1 || o != &nothing ? XN_C_tx_gathered : XN_C_tx_bounced;
}

/* ---- segments ---- */

/* Bytes from one segment to the next in an arena frame. */
static inline uint32_t segment_room(const struct xn_offload *o)
{
	return (uint32_t)XN_ALIGN_UP(xn_offload_seg_bytes(o), XN_CACHE_LINE);
}

/* How many have room in a frame; 0: one takes several frames. */
static inline uint32_t segments_in_frame(const struct xn_xdpq *x, const struct xn_offload *o)
{
	const uint32_t room = segment_room(o);

	assert(room);   /* the header was checked: there is a payload */
	return xn_offload_seg_bytes(o) > x->lay.chunk ? 0 : XN_MAX(XN_CHUNK_BYTES / room, 1u);
}

/* The next segments, as many as one arena frame has room for. */
static void send_frame_of_segments(struct xn_xdpq *x, struct xn_post *w, struct xn_segs *s,
				   uint16_t head)
{
	const uint32_t room = segment_room(s->o);
	uint32_t f, at = 0, left = segments_in_frame(x, s->o);
	uint8_t *frame = frame_take(x, &f);

	for (; left && !xn_segs_done(s); left--, at += room) {
		uint8_t *to = frame + at;
		uint32_t bytes = xn_segs_gather(s, &(struct xn_chunks){ &to, XN_CHUNK_BYTES - at });
		bool last = xn_segs_done(s);

		/* The frame is free again when its last segment has left. */
		put(w, x->tx_frames[f].v + at, bytes, true, head, last, left == 1 || last ? f + 1 : 0);
	}
	if (x->watch.tx_proof)
		xn_xdp_tx_leaves(x, f);
}

/* The next segment, in several frames. */
static void send_long_segment(struct xn_xdpq *x, struct xn_post *w, struct xn_segs *s, uint16_t head)
{
	const unsigned n = xn_chunks_for(s->o->payload_at + xn_seg_payload(s->o, s->next), x->lay.chunk);
	uint8_t *at[XN_TX_PIECES_MAX];
	uint32_t f[XN_TX_PIECES_MAX], bytes;

	frames_take(x, n, at, f);
	bytes = xn_segs_gather(s, &(struct xn_chunks){ at, x->lay.chunk });
	put_frames(x, w, f, bytes, head, xn_segs_done(s));
}

/* Frames and descriptors that a packet's segments take, all copied. */
static uint32_t frames_for(const struct xn_xdpq *x, const struct xn_offload *o)
{
	const uint32_t in_frame = segments_in_frame(x, o);

	return in_frame ? (o->segs + in_frame - 1) / in_frame :
	       o->segs * xn_chunks_for(xn_offload_seg_bytes(o), x->lay.chunk);
}

static uint32_t descs_for(const struct xn_xdpq *x, const struct xn_offload *o)
{
	return o->segs * xn_chunks_for(xn_offload_seg_bytes(o), x->lay.chunk);
}

static bool send_segments_compact(struct xn_xdpq *x, struct xn_post *w, struct xn_segs *s,
				  uint16_t head)
{
	if (!has_room(x, w, descs_for(x, s->o), frames_for(x, s->o)))
		return false;
	while (!xn_segs_done(s))
		if (segments_in_frame(x, s->o))
			send_frame_of_segments(x, w, s, head);
		else
			send_long_segment(x, w, s, head);
	return true;
}

/* The next segment: its headers from a copy, its payload where it lies, as far as is cheapest.
 * How many bytes are copied; 0: there is no room. */
static uint32_t send_segment_layout(struct xn_xdpq *x, struct xn_post *w, struct xn_segs *s,
				    const struct xn_layout_rules *rules, uint16_t head)
{
	const uint32_t at_byte = s->o->payload_at, payload = xn_seg_payload(s->o, s->next);
	uint8_t *at[XN_TX_PIECES_MAX];
	uint32_t f[XN_TX_PIECES_MAX] = { 0 };
	struct xn_layout l;
	xn_sum sum;

	if (!xn_layout(&l, rules, s->payload, payload, at_byte)) {
		const uint32_t n = xn_chunks_for(at_byte + payload, x->lay.chunk);

		if (!has_room(x, w, n, n))
			return 0;
		send_long_segment(x, w, s, head);
		return at_byte + payload;
	}
	if (!has_room(x, w, l.n, l.frames))
		return 0;
	frames_take(x, l.frames, at, f);
	sum = xn_layout_fill(&l, &s->payload, at, at_byte, at_byte);
	xn_segs_put_headers(s, at[0], sum);
	put_layout(x, w, &l, f, head, xn_segs_done(s));
	return l.copied;
}

/* All segments, and how many bytes of them are copied; 0: they do not fit. */
static uint64_t send_segments_layout(struct xn_xdpq *x, struct xn_post *w, struct xn_segs *s,
				     const struct xn_layout_rules *rules, uint16_t head)
{
	const struct mark before = mark(x, w);
	uint64_t copied = 0;

	while (!xn_segs_done(s)) {
		const uint32_t n = send_segment_layout(x, w, s, rules, head);

		if (!n) {
			undo(x, w, before);
			return 0;
		}
		copied += n;
	}
	return copied;
}

/* As send_one. */
static enum xn_counter send_segments(struct xn_xdpq *x, struct xn_post *w, const struct xn_chain *p,
				     const struct xn_piece *pieces, const struct xn_offload *o, bool lend)
{
	const uint64_t all = (uint64_t)o->segs * o->payload_at + o->bytes - o->payload_at;
	struct xn_counters *ctr = x->q.cfg.ctr;
	struct xn_layout_rules lent;
	const struct xn_layout_rules *rules = rules_for(x, frames_for(x, o), &lent);
	/* One that fits a chunk costs a descriptor more than its copy, where it is lent. */
	const bool lay = lend && (!segments_in_frame(x, o) || rules->desc_bytes < o->gso_size);
	struct xn_segs first, s;
	uint64_t copied = 0;

	if (descs_for(x, o) > xn_post_room(w))   /* fewer there cannot be */
		return XN_C_COUNT;
	xn_segs_begin(&first, o, x->mem->base, pieces);
	s = first;
	if (lay)
		copied = send_segments_layout(x, w, &s, rules, p->head);
	if (!copied) {
		if (!send_segments_compact(x, w, &first, p->head))
			return XN_C_COUNT;
		copied = all;
	}
	XN_COUNT(ctr, tx_segmented, 1);
	XN_COUNT(ctr, tx_segments, o->segs);
	XN_COUNT(ctr, tx_copied_bytes, copied);
	return copied < all ? XN_C_tx_mixed : XN_C_tx_gathered;
}

/* ---- any packet ---- */

static bool drop(struct xn_xdpq *x, const struct xn_chain *p, enum xn_counter why)
{
	x->tx_ready[x->n_tx_ready++] = p->head;
	xn_count_add(&x->q.cfg.ctr->v[why], 1);
	return true;
}

/* May the kernel have the memory of all pieces? Why not: a counter; XN_C_tx_lent: it may. */
static enum xn_counter judge_pieces(const struct xn_xdpq *x, const struct xn_piece *p, unsigned n)
{
	enum xn_counter why = XN_C_tx_lent;

	if (xn_xdp_tx_bounces(x))
		return XN_C_tx_bounce_forced;
	if (x->watch.tx_proof)
		return XN_C_tx_bounce_probe;
	for (unsigned i = 0; i < n; i++) {
		if (!xn_mem_registered(x->mem, p[i].at, p[i].len))
			return XN_C_tx_bounce_window;
		/* (Longer ones are cut where they cross into such a page.) */
		if (x->map && p[i].len <= x->lay.chunk &&
		    !xn_zc_whole_for_device(x->tx_map, p[i].at.v, p[i].len))
			why = XN_C_tx_bounce_page;
	}
	return why;
}

/* Does a frame of it take more descriptors than there may be, however it is laid out? */
static bool too_long(const struct xn_xdpq *x, const struct xn_chain *p, const struct xn_offload *o)
{
	const uint32_t whole = o->gso != XN_GSO_NONE ? xn_offload_seg_bytes(o) : p->bytes;

	return xn_chunks_for(whole, x->lay.chunk) > x->lay.max;
}

/* There is no room for it. False: there may be, when something is done with. */
static bool drop_if_hopeless(struct xn_xdpq *x, const struct xn_post *w, const struct xn_chain *p,
			     const struct xn_offload *o)
{
	if (xn_post_room(w) <= w->mask)
		return false;
	return drop(x, p, o->gso != XN_GSO_NONE ? XN_C_tx_drop_segments : XN_C_tx_drop_frames);
}

bool xn_xdp_send(struct xn_xdpq *x, struct xn_post *w, const struct xn_chain *p,
		 const struct xn_piece *all, const struct xn_offload *asked)
{
	const struct xn_offload *o = asked ? asked : &nothing;
	struct xn_counters *ctr = x->q.cfg.ctr;
	const uint32_t before = w->posted;
	enum xn_counter why, how;
	struct xn_piece one;
	const struct xn_piece *pieces = xn_chain_pieces(p, all, &one);

	if (XN_UNLIKELY(x->tx_down))
		return drop(x, p, XN_C_tx_drop_down);
	if (XN_UNLIKELY(too_long(x, p, o)))
		return drop(x, p, XN_C_tx_drop_too_long);
	why = judge_pieces(x, pieces, p->n_pieces);
	how = o->gso != XN_GSO_NONE ? send_segments(x, w, p, pieces, o, why == XN_C_tx_lent) :
				      send_one(x, w, p, pieces, o, why == XN_C_tx_lent);
	if (how == XN_C_COUNT)
		return drop_if_hopeless(x, w, p, o);
	xn_count_sent(x, 1, p->bytes);
	xn_count_add(&ctr->v[how], 1);
	XN_COUNT(ctr, tx_descs, w->posted - before);
	XN_COUNT(ctr, tx_csum, asked != NULL);
	XN_COUNT(ctr, tx_whole, o->whole);
	/* (What fits a chunk is copied with its checksum, wherever it lies.) */
	if (why != XN_C_tx_lent && (!asked || p->bytes > x->lay.chunk))
		xn_count_add(&ctr->v[why], 1);
	return true;
}
