/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transmit half of the AF_XDP port: packets that are lent as they lie; kick; give back. All
 * other packets: port/xdp_send.c. Theory in port/xdp.h.
 */
#include <errno.h>

#include "port/xdp_post.h"

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

void xn_xdp_tx_begin(struct xn_xdpq *x, const struct xn_xdp_spec *spec)
{
	const bool pages = !x->xsk.zero_copy && !x->tx_copies;
	const bool fewest = x->xsk.zero_copy || spec->tx == XN_TX_GATHER;

	x->tx_lends |= x->sg && !spec->bounce;
	x->lay = (struct xn_layout_rules){
		.chunk = x->xsk.chunk_bytes,
		.desc_bytes = x->chain_tx ? 0 : fewest ? XN_DESC_BYTES_ANY : XN_DESC_BYTES_COPY,
		/* A device that sends the UMEM's pages has place for so many of them, whatever is
		 * in how many descriptors, and none for a linear part (Linux net/xdp/xsk.c,
		 * xsk_build_skb_zerocopy). */
		.max = pages ? XN_MIN(x->tx_pieces, XN_TX_PIECES_MAX - 1) : x->tx_pieces,
		.first = x->xsk.zero_copy ? 0 : XN_FIRST_BYTES,
		.in_page = pages,
		.map = x->tx_map,
	};
}

bool xn_xdp_tx_stuck(const struct xn_xdpq *x)
{
	return x->tx_posted != xn_load_acquire32(x->xsk.tx.consumer);
}

/* Packets of one piece that can be lent: as many as there are in a row, and find room
 * in a row in the TX ring. */
static ALWAYS_INLINE unsigned send_usual(const struct xn_xdpq *x, struct xn_post *w,
					 const struct xn_chain *p, unsigned n, uint64_t *bytes,
					 const bool zc)
{
	const uint64_t umem_bytes = x->mem->umem_bytes;
	/* One piece of a chunk at most; nothing, where packets are copied or dropped. */
	const uint32_t longest = xn_xdp_tx_bounces(x) || x->tx_down || (zc && x->watch.tx_proof) ? 0 :
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
	struct xn_post w = xn_post_begin(x);
	uint64_t bytes = 0, unusual = 0;

	for (;;) {
		unsigned run = send_usual(x, &w, p, (unsigned)(end - p), &bytes, zc);

		p += run;
		if (XN_LIKELY(p == end))
			break;
		/* Long ones take the kernel microseconds each, and what has arrived waits: so many
		 * descriptors a turn. */
		if (!run && (w.posted - x->tx_posted >= XN_BATCH_MAX ||
			     !xn_xdp_send(x, &w, p, pieces, NULL)))
			break;
		p += !run;
		unusual += !run;
	}
	xn_post_end(x, &w);
	if (zc && XN_UNLIKELY(x->tx_posted - x->watch.tx_looked > XN_XDP_LOOK_PKTS))
		xn_xdp_tx_look(x);
	n = (unsigned)(p - pkts);
	XN_COUNT(q->cfg.ctr, tx_lent, n - unusual);
	xn_count_sent(x, n - unusual, bytes);
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

/* Packets that ask for something. */
unsigned xn_xdp_tx_offload(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			   const struct xn_piece *pieces, const struct xn_offload *offloads)
{
	struct xn_xdpq *x = xdpq(q);
	struct xn_post w = xn_post_begin(x);
	unsigned i = 0;

	/* As many frames as a turn has packets, and the rest of one: sending them takes the kernel
	 * microseconds each, and what has arrived waits meanwhile. */
	while (i < n && w.posted - x->tx_posted < XN_BATCH_MAX &&
	       xn_xdp_send(x, &w, &pkts[i], pieces, &offloads[i]))
		i++;
	xn_post_end(x, &w);
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
	const struct xdp_desc *ring = x->xsk.tx.ring;
	uint32_t end;

	if (x->tx_gone)
		return x->tx_posted;
	/*
	 * Acquire: what the kernel did with these descriptors is done, before their
	 * memory goes back to the guest. Pairs with the kernel's store-release of the
	 * consumer index in __xskq_cons_release.
	 */
	if (x->tx_copies) {
		end = xn_load_acquire32(x->xsk.tx.consumer);
		/* Whole packets only. A call may end inside of one; and when the device is busy at
		 * its end, the next takes it back to its beginning, which it has copied (Linux
		 * __xsk_generic_xmit, xskq_cons_cancel_n), and copies it again. */
		while (end != x->tx_done &&
		       ring[(end - 1) & x->xsk.tx.mask].options & XDP_PKT_CONTD)
			end--;
		return end;
	}
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
