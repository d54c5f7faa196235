/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transmit half of the AF_XDP port: lend, gather or chain; kick; give back.
 * Theory in port/xdp.h.
 */
#include <errno.h>

#include "port/segment.h"
#include "port/xdp.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

#define DOWN_RETRY_NS 1000000u   /* how often a port that is down is tried again */

static inline struct xn_xdpq *xdpq(struct xn_portq *q)
{
	return XN_CONTAINER_OF(q, struct xn_xdpq, q);
}

/* Free slots of the TX ring: a slot is free again when its head has gone back. */
static inline uint32_t slots_free(const struct xn_xdpq *x)
{
	return x->xsk.tx.size - (x->tx_posted - x->tx_done);
}

unsigned xn_xdp_tx_room(struct xn_portq *q)
{
	struct xn_xdpq *x = xdpq(q);

	return XN_MIN(slots_free(x), x->q.cfg.tx_heads - x->n_tx_ready);
}

bool xn_xdp_tx_stuck(const struct xn_xdpq *x)
{
	return x->tx_posted != xn_load_acquire32(x->xsk.tx.consumer);
}

/*
 * The TX ring and its shadow, in locals: what is copied out of the queue's struct the
 * compiler need not load again after each store to a ring.
 */
struct post {
	struct xdp_desc *ring;
	uint64_t *sent;
	uint32_t mask, posted, end;   /* free running; posted == end: no room */
};

static inline struct post post_begin(const struct xn_xdpq *x)
{
	return (struct post){ x->xsk.tx.ring, x->sent, x->xsk.tx.mask, x->tx_posted,
			      x->tx_done + x->xsk.tx.size };
}

/* Writes one descriptor and its shadow; the caller knows that there is room. */
static inline void put(struct post *w, uint64_t addr, uint32_t len, uint32_t options,
		       uint16_t id, bool last, uint32_t frame)
{
	uint32_t slot = w->posted++ & w->mask;

	w->ring[slot] = (struct xdp_desc){ .addr = addr, .len = len, .options = options };
	w->sent[slot] = id | (last ? XN_SENT_LAST : 0) | (uint64_t)frame << XN_SENT_FRAME;
}

/*
 * Makes what was put visible: store-release of the producer index behind the
 * descriptors; pairs with the kernel's load-acquire in xskq_cons_peek_desc.
 */
static inline void post_end(struct xn_xdpq *x, const struct post *w)
{
	if (w->posted != x->tx_posted)
		xsk_ring_prod__submit(&x->xsk.tx, w->posted - x->tx_posted);
	x->tx_posted = w->posted;
}

/* Is every piece where the kernel can read it, and no longer than a chunk? Why not: a
 * counter; XN_C_tx_lent: it is. */
static enum xn_counter judge_pieces(const struct xn_xdpq *x, const struct xn_piece *p, unsigned n)
{
	enum xn_counter why = XN_C_tx_lent;

	if (x->bounce)
		return XN_C_tx_bounce_forced;
	if (x->watch.tx_proof)
		return XN_C_tx_bounce_probe;
	for (unsigned i = 0; i < n; i++) {
		if (!xn_mem_registered(x->mem, p[i].at, p[i].len) || p[i].len > x->xsk.chunk_bytes)
			return XN_C_tx_bounce_window;
		if (x->map && !xn_zc_whole_for_device(x->tx_map, p[i].at.v, p[i].len))
			why = XN_C_tx_bounce_page;
	}
	return why;
}

/* Copies the packet into one arena frame. False: no frame or slot is free now. */
static bool send_copied(struct xn_xdpq *x, struct post *w, const struct xn_chain *p,
			const struct xn_piece *pieces)
{
	uint32_t f;

	if (!x->n_tx_free || w->posted == w->end)
		return false;
	f = x->tx_free[--x->n_tx_free];
	xn_copy_packet(x->mem, xn_mem_at(x->mem, x->tx_frames[f]), p, pieces);
	if (x->watch.tx_proof)
		xn_xdp_tx_leaves(x, f);
	put(w, x->tx_frames[f].v, p->bytes, 0, p->head, true, f + 1);
	return true;
}

/* Lends all pieces, as one packet of several descriptors; all of them or none (I7). */
static bool send_chained(struct post *w, const struct xn_chain *p, const struct xn_piece *piece)
{
	unsigned n = p->n_pieces;

	if (w->end - w->posted < n)
		return false;
	for (unsigned i = 0; i < n; i++, piece++) {
		bool last = i + 1 == n;

		put(w, piece->at.v, piece->len, last ? 0 : XDP_PKT_CONTD, p->head, last, 0);
	}
	return true;
}

static inline void count_sent(struct xn_xdpq *x, uint64_t packets, uint64_t bytes)
{
	XN_COUNT(x->q.cfg.ctr, tx_packets, packets);
	XN_COUNT(x->q.cfg.ctr, tx_bytes, bytes);
}

static bool drop(struct xn_xdpq *x, const struct xn_chain *p, enum xn_counter why)
{
	x->tx_ready[x->n_tx_ready++] = p->head;
	xn_count_add(&x->q.cfg.ctr->v[why], 1);
	return true;
}

/* Everything but the normal case. False: it does not fit now. */
static __attribute__((noinline)) bool send_unusual(struct xn_xdpq *x, struct post *w,
						   const struct xn_chain *p,
						   const struct xn_piece *all)
{
	struct xn_counters *ctr = x->q.cfg.ctr;
	struct xn_piece one;
	const struct xn_piece *pieces = xn_chain_pieces(p, all, &one);
	enum xn_counter why = judge_pieces(x, pieces, p->n_pieces);
	enum xn_counter how = p->n_pieces > 1 ? XN_C_tx_gathered : XN_C_tx_bounced;

	if (x->tx_down)
		return drop(x, p, XN_C_tx_drop_down);
	/* A first piece without the whole Ethernet header is what drivers stumble over. */
	if (why == XN_C_tx_lent && p->n_pieces > 1 && p->n_pieces <= x->tx_pieces &&
	    pieces[0].len >= XN_ETH_HDR_BYTES && (x->chain_tx || p->bytes > XN_CHUNK_BYTES)) {
		if (!send_chained(w, p, pieces))
			return false;
		XN_COUNT(ctr, tx_chained, 1);
		count_sent(x, 1, p->bytes);
		return true;
	}
	if (p->bytes > XN_CHUNK_BYTES)   /* fits no frame, and cannot be chained */
		return drop(x, p, XN_C_tx_drop_too_long);
	if (!send_copied(x, w, p, all))
		return false;
	count_sent(x, 1, p->bytes);
	xn_count_add(&ctr->v[how], 1);
	if (why != XN_C_tx_lent)
		xn_count_add(&ctr->v[why], 1);
	return true;
}

/* Packets of one piece that can be lent: as many as there are in a row, and find room
 * in a row in the TX ring. */
static ALWAYS_INLINE unsigned send_usual(const struct xn_xdpq *x, struct post *w,
					 const struct xn_chain *p, unsigned n, uint64_t *bytes,
					 const bool zc)
{
	const uint64_t umem_bytes = x->mem->umem_bytes;
	/* One piece of a chunk at most; nothing, where packets are copied or dropped. */
	const uint32_t longest = x->bounce || x->tx_down || (zc && x->watch.tx_proof) ? 0 :
				 zc ? x->xsk.chunk_bytes : XN_CHUNK_BYTES;
	const struct xn_zc_map map = zc ? *x->tx_map : (struct xn_zc_map){ 0 };
	const struct xn_chain *const first = p, *end;
	struct xdp_desc *d = &w->ring[w->posted & w->mask];
	uint64_t *sent = &w->sent[w->posted & w->mask], sum = 0;

	n = XN_MIN(n, w->end - w->posted);
	n = XN_MIN(n, xn_ring_stretch(w->posted, w->mask));
	for (end = p + n; p < end; p++, d++, sent++) {
		/* at + bytes cannot overflow: both are of guest memory that we have mapped. */
		if (XN_UNLIKELY(p->n_pieces != 1 || p->bytes > longest ||
				p->at.v + p->bytes > umem_bytes))
			break;
		if (zc && XN_UNLIKELY(!xn_zc_whole_for_device(&map, p->at.v, p->bytes)))
			break;
		*d = (struct xdp_desc){ .addr = p->at.v, .len = p->bytes };
		*sent = p->head | XN_SENT_LAST;
		sum += p->bytes;
	}
	w->posted += (uint32_t)(p - first);
	*bytes += sum;
	return (unsigned)(p - first);
}

/* Compiled twice: `zc` is a constant in each of them. */
static ALWAYS_INLINE unsigned tx_post(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
				      const struct xn_piece *pieces, const bool zc)
{
	struct xn_xdpq *x = xdpq(q);
	const struct xn_chain *p = pkts, *const end = pkts + n;
	struct post w = post_begin(x);
	uint64_t bytes = 0, unusual = 0;

	for (;;) {
		unsigned run = send_usual(x, &w, p, (unsigned)(end - p), &bytes, zc);

		p += run;
		if (XN_LIKELY(p == end))
			break;
		if (!run && !send_unusual(x, &w, p, pieces))
			break;
		p += !run;
		unusual += !run;
	}
	post_end(x, &w);
	if (zc && XN_UNLIKELY(x->tx_posted - x->watch.tx_looked > XN_XDP_LOOK_PKTS))
		xn_xdp_tx_look(x);
	n = (unsigned)(p - pkts);
	XN_COUNT(q->cfg.ctr, tx_lent, n - unusual);
	count_sent(x, n - unusual, bytes);
	return n;
}

unsigned xn_xdp_tx_post(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			const struct xn_piece *pieces)
{
	return tx_post(q, pkts, n, pieces, false);
}

unsigned xn_xdp_tx_post_zc(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			   const struct xn_piece *pieces)
{
	return tx_post(q, pkts, n, pieces, true);
}

/* ---- packets that ask for something ---- */

/* An arena frame on its way to the ring: the caller knows that there is one. */
static inline uint8_t *frame_take(struct xn_xdpq *x, uint32_t *f)
{
	*f = x->tx_free[--x->n_tx_free];
	return xn_mem_at(x->mem, x->tx_frames[*f]);
}

/* Copied, with its checksum, into one arena frame. False: no frame or slot is free now. */
static bool send_csum(struct xn_xdpq *x, struct post *w, const struct xn_chain *p,
		      const struct xn_piece *pieces, const struct xn_offload *o)
{
	uint8_t *at;
	uint32_t f;

	if (!x->n_tx_free || w->posted == w->end)
		return false;
	at = frame_take(x, &f);
	xn_gather_csum(o, x->mem->base, pieces, &(struct xn_chunks){ &at, XN_CHUNK_BYTES });
	if (x->watch.tx_proof)
		xn_xdp_tx_leaves(x, f);
	put(w, x->tx_frames[f].v, p->bytes, 0, p->head, true, f + 1);
	return true;
}

/* Bytes from one segment to the next in an arena frame. */
static inline uint32_t segment_room(const struct xn_offload *o)
{
	return (uint32_t)XN_ALIGN_UP(xn_offload_seg_bytes(o), XN_CACHE_LINE);
}

static inline uint32_t segments_in_frame(const struct xn_offload *o)
{
	return XN_MAX(XN_CHUNK_BYTES / segment_room(o), 1u);
}

/* The next segments, as many as one arena frame has room for. */
static void send_frame_of_segments(struct xn_xdpq *x, struct post *w, struct xn_segs *s,
				   uint16_t head)
{
	const uint32_t room = segment_room(s->o);
	uint32_t f, at = 0, left = segments_in_frame(s->o);
	uint8_t *frame = frame_take(x, &f);

	for (; left && !xn_segs_done(s); left--, at += room) {
		uint8_t *to = frame + at;
		uint32_t bytes = xn_segs_gather(s, &(struct xn_chunks){ &to, XN_CHUNK_BYTES - at });
		bool last = xn_segs_done(s);

		/* The frame is free again when its last segment has left. */
		put(w, x->tx_frames[f].v + at, bytes, 0, head, last, left == 1 || last ? f + 1 : 0);
	}
	if (x->watch.tx_proof)
		xn_xdp_tx_leaves(x, f);
}

/* How many arena frames a packet's segments take. */
static uint32_t frames_for(const struct xn_offload *o)
{
	const uint32_t in_frame = segments_in_frame(o);

	return (o->segs + in_frame - 1) / in_frame;
}

/* All segments of a packet, or none of them (I7): false, if they do not fit now. */
static bool send_segments(struct xn_xdpq *x, struct post *w, const struct xn_chain *p,
			  const struct xn_piece *pieces, const struct xn_offload *o)
{
	struct xn_counters *ctr = x->q.cfg.ctr;
	struct xn_segs s;

	if (frames_for(o) > x->n_tx_free || o->segs > w->end - w->posted)
		return false;
	xn_segs_begin(&s, o, x->mem->base, pieces);
	while (!xn_segs_done(&s))
		send_frame_of_segments(x, w, &s, p->head);
	XN_COUNT(ctr, tx_segmented, 1);
	XN_COUNT(ctr, tx_segments, o->segs);
	return true;
}

/* False: it does not fit now. */
static bool send_offload(struct xn_xdpq *x, struct post *w, const struct xn_chain *p,
			 const struct xn_piece *all, const struct xn_offload *o)
{
	const bool cut = o->gso != XN_GSO_NONE;
	struct xn_piece one;
	const struct xn_piece *pieces = xn_chain_pieces(p, all, &one);

	if (x->tx_down)
		return drop(x, p, XN_C_tx_drop_down);
	if (cut && frames_for(o) > x->all_tx_frames)   /* it would wait for ever */
		return drop(x, p, XN_C_tx_drop_segments);
	if (cut ? !send_segments(x, w, p, pieces, o) : !send_csum(x, w, p, pieces, o))
		return false;
	count_sent(x, 1, p->bytes);
	XN_COUNT(x->q.cfg.ctr, tx_gathered, 1);
	XN_COUNT(x->q.cfg.ctr, tx_csum, 1);
	return true;
}

unsigned xn_xdp_tx_offload(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			   const struct xn_piece *pieces, const struct xn_offload *offloads)
{
	struct xn_xdpq *x = xdpq(q);
	struct post w = post_begin(x);
	unsigned i = 0;

	/* As many frames as a turn has packets, and the rest of one: sending them takes the kernel
	 * microseconds each, and what has arrived waits meanwhile. */
	while (i < n && w.posted - x->tx_posted < XN_BATCH_MAX &&
	       send_offload(x, &w, &pkts[i], pieces, &offloads[i]))
		i++;
	post_end(x, &w);
	return i;
}

/* Interface down or gone: from now on packets are dropped, and it is tried again. */
static void went_down(struct xn_xdpq *x)
{
	x->tx_down = true;
	x->tx_retry_ns = xn_now_ns() + DOWN_RETRY_NS;
}

void xn_xdp_tx_give_up(struct xn_portq *q)
{
	/* As in drivers that copy: taken means done. What is still on its way has references to
	 * its pages; the guest may see its own later bytes go out, nobody else's. */
	xdpq(q)->tx_copies = true;
}

void xn_xdp_tx_kick(struct xn_portq *q)
{
	struct xn_xdpq *x = xdpq(q);
	uint32_t before;

	if (x->tx_gone)
		return;
	if (!xn_xdp_tx_stuck(x)) {
		/* Also a poll() on the socket sends (Linux xsk_poll): the interface may have
		 * come back without our call. The next packet tries again. */
		x->tx_down = false;
		return;
	}
	if (x->xsk.zero_copy && !xsk_ring_prod__needs_wakeup(&x->xsk.tx))
		return;
	if (x->tx_down && xn_now_ns() < x->tx_retry_ns)
		return;
	XN_COUNT(q->cfg.ctr, tx_kicks, 1);
	before = xn_load_once32(x->xsk.tx.consumer);
	switch (x->xsk.send(&x->xsk)) {
	case 0:
		x->tx_down = false;
		if (XN_UNLIKELY(before == xn_load_once32(x->xsk.tx.consumer)))
			XN_COUNT(q->cfg.ctr, tx_kick_stuck, 1);
		break;
	case -EAGAIN:   /* budget used up, or the device is busy: nothing is lost */
		x->tx_down = false;
		XN_COUNT(q->cfg.ctr, tx_kick_again, 1);
		break;
	case -EBUSY:    /* the device dropped one packet, and the kernel stopped there */
		x->tx_down = false;
		XN_COUNT(q->cfg.ctr, tx_kick_drops, 1);
		break;
	case -ENXIO:    /* unbound: the interface is gone, nothing is read any more */
		x->tx_gone = true;
		XN_COUNT(q->cfg.ctr, tx_kick_drops, x->tx_posted - xn_load_once32(x->xsk.tx.consumer));
		went_down(x);
		break;
	case -ENETDOWN:
		went_down(x);
		break;
	default:        /* ENOBUFS, ENOMEM, EINTR: passing; the next turn kicks again */
		XN_COUNT(q->cfg.ctr, tx_kick_errors, 1);
		break;
	}
}

/* Marks the first descriptor of this address in [from, to) that is not marked yet. */
static bool mark_in(struct xn_xdpq *x, uint32_t from, uint32_t to, uint64_t addr)
{
	for (uint32_t k = from; k != to; k++) {
		uint64_t *s = &x->sent[k & x->xsk.tx.mask];

		if (!(*s & XN_SENT_DONE) && (xsk_ring_prod__tx_desc(&x->xsk.tx, k)->addr & ~1ull) == addr) {
			*s |= XN_SENT_DONE;
			x->tx_hint = k + 1;
			return true;
		}
	}
	return false;
}

/* Most completions come in order: the next is looked for behind the last, then from the
 * oldest on. */
static void mark_done(struct xn_xdpq *x, uint64_t addr)
{
	if (x->tx_hint - x->tx_done > x->tx_posted - x->tx_done)
		x->tx_hint = x->tx_done;   /* it has been given back */
	if (!mark_in(x, x->tx_hint, x->tx_posted, addr))
		mark_in(x, x->tx_done, x->tx_hint, addr);
}

/* Is the oldest descriptor not completed, though later ones are? In zero-copy mode
 * completions come in the order of the ring (Linux xsk_tx_peek_release_desc_batch). */
static inline void look_behind(struct xn_xdpq *x)
{
	const uint32_t ahead = x->tx_hint - x->tx_done;

	if (x->xsk.zero_copy && ahead && ahead <= x->tx_posted - x->tx_done &&
	    XN_UNLIKELY(!(x->sent[x->tx_done & x->xsk.tx.mask] & XN_SENT_DONE)))
		xn_xdp_tx_overtaken(x, ahead);
}

/* Takes completions; without tx_copies, marks whose they are, and takes only some: in any
 * order, each may have to be looked for in the whole ring. */
static void take_completions(struct xn_xdpq *x)
{
	uint32_t most = x->tx_copies ? x->xsk.comp.size : XN_BATCH_MAX;
	uint32_t idx, n = xsk_ring_cons__peek(&x->xsk.comp, most, &idx);

	for (uint32_t i = 0; !x->tx_copies && i < n; i++)
		mark_done(x, *xsk_ring_cons__comp_addr(&x->xsk.comp, idx + i) & ~1ull);
	if (n)
		xsk_ring_cons__release(&x->xsk.comp, n);
}

/* Up to where the kernel is done with descriptors, in ring order. */
static uint32_t done_up_to(const struct xn_xdpq *x)
{
	uint32_t end;

	if (x->tx_gone)
		return x->tx_posted;
	/*
	 * Acquire: what the kernel did with these descriptors is done, before their
	 * memory goes back to the guest. Pairs with the kernel's store-release of the
	 * consumer index in __xskq_cons_release.
	 */
	if (x->tx_copies)
		return xn_load_acquire32(x->xsk.tx.consumer);
	for (end = x->tx_done; end != x->tx_posted; end++)
		if (!(x->sent[end & x->xsk.tx.mask] & XN_SENT_DONE))
			break;
	return end;
}

/* Gives back what a descriptor holds beside a whole packet of the guest's memory: an
 * arena frame, a packet's earlier piece, a completion mark. Returns how many heads. */
static __attribute__((noinline)) unsigned give_back_unusual(struct xn_xdpq *x, uint64_t sent, uint16_t *id)
{
	if (sent >> XN_SENT_FRAME) {
		if (x->watch.tx_proof)
			xn_xdp_tx_back(x, (uint32_t)(sent >> XN_SENT_FRAME) - 1);
		x->tx_free[x->n_tx_free++] = (uint32_t)(sent >> XN_SENT_FRAME) - 1;
	}
	*id = (uint16_t)sent;
	return (sent & XN_SENT_LAST) != 0;   /* a chain's others have no head */
}

/* Gives back what n descriptors hold; returns how many heads. */
static inline unsigned give_back(struct xn_xdpq *x, const uint64_t *sent, uint32_t n, uint16_t *ids)
{
	const uint64_t *const end = sent + n;
	uint16_t *const first = ids;

	for (; sent < end; sent++) {
		const uint64_t s = *sent;

		*ids = (uint16_t)s;
		if (XN_LIKELY(s >> 16 == XN_SENT_LAST >> 16))
			ids++;
		else
			ids += give_back_unusual(x, s, ids);
	}
	return (unsigned)(ids - first);
}

unsigned xn_xdp_tx_poll(struct xn_portq *q, uint16_t *ids, unsigned n)
{
	struct xn_xdpq *x = xdpq(q);
	const uint32_t mask = x->xsk.tx.mask;
	uint32_t done = x->tx_done, end;
	unsigned out = 0;

	if (done == x->tx_posted && !x->n_tx_ready)
		return 0;
	take_completions(x);
	if (!x->tx_copies)
		look_behind(x);
	while (x->n_tx_ready && out < n)
		ids[out++] = x->tx_ready[--x->n_tx_ready];
	end = done_up_to(x);
	while (done != end && out < n) {
		/* Each yields one id at most; segments but the last of a packet, none. */
		uint32_t stretch = XN_MIN(XN_MIN(end - done, n - out), xn_ring_stretch(done, mask));

		out += give_back(x, &x->sent[done & mask], stretch, ids + out);
		done += stretch;
	}
	x->tx_done = done;
	return out;
}

/*
 * Completions of lent packets in the order of the ring, which is how they come in zero-copy
 * mode: as many as there are in a row, and lie in a row in both rings.
 */
static inline unsigned poll_usual(struct xn_xdpq *x, uint16_t *ids, unsigned n)
{
	const struct xdp_desc *d = xsk_ring_prod__tx_desc(&x->xsk.tx, x->tx_done);
	const uint64_t *s = &x->sent[x->tx_done & x->xsk.tx.mask], *const first = s, *end;
	const __u64 *comp;
	uint32_t idx, avail;

	n = XN_MIN(n, XN_MIN(x->tx_posted - x->tx_done, xn_ring_stretch(x->tx_done, x->xsk.tx.mask)));
	avail = n ? xsk_ring_cons__peek(&x->xsk.comp, n, &idx) : 0;
	if (!avail)
		return 0;
	comp = xsk_ring_cons__comp_addr(&x->xsk.comp, idx);
	end = s + XN_MIN(avail, xn_ring_stretch(idx, x->xsk.comp.mask));
	for (; s < end; s++, d++, comp++, ids++) {
		/* Neither of several pieces, nor of an arena frame, nor completed already. */
		if (XN_UNLIKELY(*comp != d->addr || *s >> 16 != XN_SENT_LAST >> 16))
			break;
		*ids = (uint16_t)*s;
	}
	n = (unsigned)(s - first);
	x->tx_done += n;
	xsk_ring_cons__cancel(&x->xsk.comp, avail - n);
	xsk_ring_cons__release(&x->xsk.comp, n);
	return n;
}

unsigned xn_xdp_tx_poll_zc(struct xn_portq *q, uint16_t *ids, unsigned n)
{
	struct xn_xdpq *x = xdpq(q);
	unsigned out = x->tx_copies ? 0 : poll_usual(x, ids, n);

	return out ? out : xn_xdp_tx_poll(q, ids, n);
}
