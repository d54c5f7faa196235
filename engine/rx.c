/* SPDX-License-Identifier: BSD-2-Clause */
/* Receive: frames to the guest, free buffers to the port. Theory in engine/queue.h. */
#include "engine/dev.h"

/* ---- free buffers: guest -> port ---- */

static void rests_give(struct xn_queue *q, uint32_t first)
{
	while (first) {
		uint32_t next = q->rests[first].next;

		q->rests[first].next = q->rest_free;
		q->rest_free = first;
		q->rests_left++;
		first = next;
	}
}

/* Keeps the further pieces of a buffer, as far as a frame can reach. The caller
 * knows that there are nodes enough. Returns the first's index. */
static uint32_t rests_take(struct xn_queue *q, struct xn_rx_buf *b, const struct xn_piece *p,
			   unsigned n)
{
	uint32_t first = 0, *link = &first;

	for (unsigned i = 0; i < n && b->bytes < q->keep_bytes; i++) {
		uint32_t node = q->rest_free;

		q->rest_free = q->rests[node].next;
		q->rests_left--;
		q->rests[node] = (struct xn_rx_rest){ .at = p[i].at, .len = p[i].len };
		*link = node;
		link = &q->rests[node].next;
		b->bytes += p[i].len;
	}
	return first;
}

/* Notes where a buffer of several pieces lies. False: no room to note it now. */
static __attribute__((noinline)) bool note_pieces(struct xn_queue *q, const struct xn_chain *c)
{
	const struct xn_piece *p = &q->pieces[c->first];
	struct xn_rx_buf *b = &q->bufs[c->head];

	*b = (struct xn_rx_buf){ .at = p->at, .len = p->len, .bytes = p->len };
	if (p->len >= q->keep_bytes)
		return true;
	if (q->rests_left < XN_MIN((uint32_t)c->n_pieces, q->keep_bytes))
		return false;
	b->rest = rests_take(q, b, p + 1, c->n_pieces - 1);
	return true;
}

/* How many of chains[i..n) can be posted as they are: up to one whose header does not
 * fit, or whose pieces cannot be noted now. Those that pop called plain can. */
static inline unsigned good_run(struct xn_queue *q, unsigned i, unsigned n)
{
	unsigned k = XN_MAX(i, XN_MIN(q->rx.vq.plain, n));

	for (; k < n; k++) {
		const struct xn_chain *c = &q->chains[k];

		if (c->bytes < q->hdr_bytes || (c->n_pieces > 1 && !note_pieces(q, c)))
			break;
	}
	return k - i;
}

/* The port did not take these: their pieces are noted again another time. */
static void forget_pieces(struct xn_queue *q, const struct xn_chain *chains, unsigned n)
{
	for (unsigned i = 0; XN_UNLIKELY(i < n); i++)
		if (chains[i].n_pieces > 1)
			rests_give(q, q->bufs[chains[i].head].rest);
}

/*
 * Posts chains[0..n). Returns how many are settled: taken by the port, or refused
 * because the header does not fit. A refusal is only carried out when all chains
 * before it are settled, so that the others can be un-taken as a run.
 */
static unsigned post_chains(struct xn_queue *q, unsigned n)
{
	unsigned i = 0;

	while (i < n) {
		unsigned k = good_run(q, i, n);
		unsigned taken = k ? q->ops->rx_post(q->port, q->chains + i, k) : 0;

		forget_pieces(q, q->chains + i + taken, k - taken);
		i += taken;
		if (taken < k || i == n)
			break;
		if (q->chains[i].bytes >= q->hdr_bytes)
			break;    /* out of list nodes: later */
		xn_vq_refuse(&q->rx.vq, q->chains[i].head, XN_FAULT_rx_header);
		i++;
	}
	return i;
}

/* Lends those again that came back and are empty. True: there is none left. */
static bool relend(struct xn_queue *q)
{
	struct xn_gro *c = q->gro;
	unsigned n = c->n_spares ? q->ops->rx_post(q->port, c->spares, c->n_spares) : 0;

	c->n_spares -= n;
	if (XN_UNLIKELY(c->n_spares))
		memmove(c->spares, c->spares + n, c->n_spares * sizeof(*c->spares));
	return !c->n_spares;
}

unsigned xn_rx_refill(struct xn_queue *q)
{
	struct xn_vq *vq = &q->rx.vq;
	unsigned n, settled;

	q->rx_blocked = q->gro && !relend(q);
	if (XN_UNLIKELY(q->rx_blocked))
		return 0;
	n = xn_vq_pop(vq, q->chains, XN_BATCH_MAX, q->pieces, q->max_pieces);
	if (!n)
		return 0;
	if (q->gro)
		xn_gro_note(q->gro, q->chains, n);
	settled = post_chains(q, n);
	q->rx_blocked = settled < n;
	if (settled < n)
		xn_vq_unpop(vq, q->chains + settled, n - settled);
	return settled;
}

/* ---- frames: port -> guest ---- */

/* Writes the header, wherever its bytes lie. */
static void write_header_split(struct xn_queue *q, const struct xn_rx_buf *b, const uint8_t *src)
{
	uint32_t left = q->hdr_bytes, len = b->len, rest = b->rest;
	xn_uoff at = b->at;

	for (;;) {
		uint32_t n = XN_MIN(len, left);

		memcpy(xn_mem_at(q->mem, at), src, n);
		src += n;
		left -= n;
		if (!left)
			return;
		at = q->rests[rest].at;     /* the buffer holds a header: checked at refill */
		len = q->rests[rest].len;
		rest = q->rests[rest].next;
	}
}

/* Marks what was written of a buffer that stands in the table: the first n bytes. */
static void log_noted(struct xn_queue *q, const struct xn_rx_buf *b, uint32_t n)
{
	uint32_t len = b->len, rest = b->rest;
	xn_uoff at = b->at;

	for (;;) {
		uint32_t part = XN_MIN(len, n);

		xn_dirty_mark_at(q->log, q->mem, at, part, &q->ctr.v[XN_C_dirty_log_missed]);
		n -= part;
		if (!n || !rest)
			return;
		at = q->rests[rest].at;
		len = q->rests[rest].len;
		rest = q->rests[rest].next;
	}
}

/* The same for those of a batch that are of one piece: header and frame. */
static __attribute__((noinline)) void log_plain(struct xn_queue *q, const struct xn_rx_done *done,
						unsigned n)
{
	for (const struct xn_rx_done *d = done; d < done + n; d++)
		if (!(d->flags & XN_RX_NOTED))
			xn_dirty_mark_at(q->log, q->mem, d->at, (uint64_t)q->hdr_bytes + d->len,
					 &q->ctr.v[XN_C_dirty_log_missed]);
}

/* How many entries the frame that begins at `d` has. */
static uint16_t frame_buffers(const struct xn_rx_done *d)
{
	uint16_t n = 1;

	for (; d->flags & XN_RX_MORE; d++)
		n++;
	return n;
}

/* ---- hash reports ---- */

/* Copies up to n bytes, from byte `skip` of a buffer that stands in the table on. */
static uint32_t copy_noted(const struct xn_queue *q, const struct xn_rx_buf *b, uint32_t skip,
			   uint8_t *to, uint32_t n)
{
	uint32_t len = b->len, rest = b->rest, got = 0;
	xn_uoff at = b->at;

	for (;;) {
		if (skip < len) {
			uint32_t part = XN_MIN(len - skip, n - got);

			memcpy(to + got, (const uint8_t *)xn_mem_at(q->mem, at) + skip, part);
			got += part;
		}
		skip -= XN_MIN(skip, len);
		if (got == n || !rest)
			return got;
		at = q->rests[rest].at;
		len = q->rests[rest].len;
		rest = q->rests[rest].next;
	}
}

/* The first bytes of the frame that begins at d, n at most; returns how many. */
static uint32_t copy_head(const struct xn_queue *q, const struct xn_rx_done *d, uint32_t n)
{
	uint8_t *const to = q->hash->head;
	uint32_t skip = q->hdr_bytes, got = 0;

	if (XN_LIKELY(!(d->flags & XN_RX_NOTED))) {
		n = XN_MIN(n, d->len);
		memcpy(to, (const uint8_t *)xn_mem_at(q->mem, d->at) + skip, n);
		return n;
	}
	for (;; d++, skip = 0) {
		got += copy_noted(q, &q->bufs[d->id], skip, to + got, XN_MIN(d->len, n - got));
		if (got == n || !(d->flags & XN_RX_MORE))
			return got;
	}
}

static uint32_t hash_frame(const struct xn_queue *q, const struct xn_rx_done *d, uint16_t *report)
{
	uint32_t n = copy_head(q, d, XN_HASH_USUAL);

	if (XN_UNLIKELY(n == XN_HASH_USUAL && xn_hash_goes_on(q->hash->head)))
		n = copy_head(q, d, XN_HASH_REACH);
	return xn_hash_of(q->hash, n, report);
}

/* ---- one batch ---- */

/* The header of the frame that begins at d: room for q->hdr_bytes. */
static void make_header(const struct xn_queue *q, const struct xn_rx_done *d, uint8_t *hdr)
{
	uint16_t report;

	if (d->flags & XN_RX_GSO)
		xn_net_hdr_write_gso(hdr, frame_buffers(d), d->csum_start, d->csum_offset,
				     d->gso_type, d->gso_size, d->headers);
	else if (d->flags & XN_RX_CSUM)
		xn_net_hdr_write_csum(hdr, frame_buffers(d), d->csum_start, d->csum_offset);
	else
		xn_net_hdr_write(hdr, frame_buffers(d));
	if (q->hash) {
		uint32_t hash = hash_frame(q, d, &report);

		xn_net_hdr_write_hash(hdr, hash, report);
	}
}

/* Any buffer: writes the header if it is the frame's first, frees the list nodes of one that
 * stands in the table. Returns what counts as used beside the frame's bytes. */
static __attribute__((noinline)) uint32_t finish_unusual(struct xn_queue *q,
							 const struct xn_rx_done *d, bool first)
{
	const struct xn_rx_buf *b = &q->bufs[d->id];
	const uint32_t bytes = first ? q->hdr_bytes : 0;
	uint8_t hdr[XN_NET_HDR_MAX];

	if (d->flags & XN_RX_EMPTY) {
		XN_COUNT(&q->ctr, heads_dropped, 1);
		rests_give(q, b->rest);
		return 0;
	}
	if (!(d->flags & XN_RX_NOTED)) {
		if (!first)
			return 0;
		/* The frame lies right behind it. */
		make_header(q, d, hdr);
		memcpy(xn_mem_at(q->mem, d->at), hdr, bytes);
		return bytes;
	}
	if (first) {
		make_header(q, d, hdr);
		write_header_split(q, b, hdr);
	}
	if (q->log)
		log_noted(q, b, bytes + d->len);
	rests_give(q, b->rest);
	return bytes;
}

/* The n entries that rx_poll has returned, put together as far as the driver takes it now. */
static const struct xn_rx_done *put_together(struct xn_queue *q, unsigned n)
{
	const struct xn_rx_done *done;

	xn_gro_allow(q->gro, xn_load_once64(&q->dev->guest_offloads));
	done = xn_gro_batch(q->gro, q->done, n);

	XN_COUNT(&q->ctr, rx_coalesced, q->gro->joined + q->gro->packets);
	XN_COUNT(&q->ctr, rx_coalesced_packets, q->gro->packets);
	return done;
}

/* hdr_bytes is a constant, q's, and so is `gro`: of the routines that come of it none does
 * anything for what is not negotiated. */
static inline __attribute__((always_inline)) unsigned deliver(struct xn_queue *q, unsigned budget,
							      const uint32_t hdr_bytes,
							      const bool gro)
{
	const bool hashed = hdr_bytes == XN_NET_HDR_HASH_BYTES;
	const unsigned n = q->ops->rx_poll(q->port, q->done, q->max_done, budget);
	const struct xn_rx_done *const done = gro ? put_together(q, n) : q->done;
	const unsigned entries = gro ? q->gro->entries : n;
	const struct xn_rx_done *d = done, *const end = done + entries;
	struct xn_vq_run used = xn_vq_begin(&q->rx.vq);
	uint8_t *const base = q->mem->base;
	uint64_t bytes = 0, continued = 0;
	bool first = true;

	if (!n)
		return 0;
	if (hashed)
		xn_hash_look(q->hash);
	for (; d < end; d++) {
		uint32_t hdr = hdr_bytes;

		if (XN_LIKELY(!d->flags)) {
			if (hashed) {
				uint16_t report;
				uint32_t hash = hash_frame(q, d, &report);

				xn_net_hdr_write_hash(base + d->at.v, hash, report);
			}
			if (hdr_bytes == XN_NET_HDR_LEGACY_BYTES)
				xn_net_hdr_write_legacy(base + d->at.v);
			else
				xn_net_hdr_write(base + d->at.v, 1);
		} else {
			hdr = finish_unusual(q, d, first);
			first = !(d->flags & XN_RX_MORE);
			continued += !!(d->flags & (XN_RX_MORE | XN_RX_EMPTY));   /* no frame's last */
		}
		bytes += d->len;
		xn_vq_run_push(&used, d->id, d->len + hdr);
	}
	xn_vq_end(&q->rx.vq, &used);
	if (XN_UNLIKELY(q->log))
		log_plain(q, done, entries);
	if (gro) {   /* counted are the frames that came */
		continued -= q->gro->joined;
		bytes += q->gro->header_bytes;
	}
	XN_COUNT(&q->ctr, rx_packets, entries - continued);
	XN_COUNT(&q->ctr, rx_bytes, bytes);
	return n;
}

unsigned xn_rx_deliver(struct xn_queue *q, unsigned budget)
{
	return deliver(q, budget, XN_NET_HDR_BYTES, false);
}

unsigned xn_rx_deliver_hashed(struct xn_queue *q, unsigned budget)
{
	return deliver(q, budget, XN_NET_HDR_HASH_BYTES, false);
}

unsigned xn_rx_deliver_legacy(struct xn_queue *q, unsigned budget)
{
	return deliver(q, budget, XN_NET_HDR_LEGACY_BYTES, false);
}

unsigned xn_rx_deliver_gro(struct xn_queue *q, unsigned budget)
{
	return deliver(q, budget, XN_NET_HDR_BYTES, true);
}

unsigned xn_rx_deliver_gro_hashed(struct xn_queue *q, unsigned budget)
{
	return deliver(q, budget, XN_NET_HDR_HASH_BYTES, true);
}
