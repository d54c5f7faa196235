/* SPDX-License-Identifier: BSD-2-Clause */
/* Receive: frames to the guest, free buffers to the port. Theory in engine/queue.h. */
#include "engine/queue.h"

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

/* Notes where the buffer of this chain lies. False: no room to note it now. */
static inline bool note_buf(struct xn_queue *q, const struct xn_chain *c)
{
	const struct xn_piece *p = &q->pieces[c->first];
	struct xn_rx_buf *b = &q->bufs[c->head];

	b->at = p->at;
	b->len = p->len;
	b->bytes = p->len;
	b->rest = 0;
	if (XN_LIKELY(c->n_pieces == 1 || p->len >= q->keep_bytes))
		return true;
	if (q->rests_left < XN_MIN((uint32_t)c->n_pieces, q->keep_bytes))
		return false;
	b->rest = rests_take(q, b, p + 1, c->n_pieces - 1);
	return true;
}

/*
 * Posts chains[0..n). Returns how many are settled: taken by the port, or refused
 * because the header does not fit. A refusal is only carried out when all chains
 * before it are settled, so that the others can be un-taken as a run.
 */
static unsigned post_chains(struct xn_queue *q, unsigned n)
{
	struct xn_vq *vq = &q->rx.vq;
	unsigned i = 0;

	while (i < n) {
		unsigned k = 0, taken;

		for (; i + k < n; k++) {
			const struct xn_chain *c = &q->chains[i + k];

			if (XN_UNLIKELY(c->bytes < XN_NET_HDR_BYTES) || !note_buf(q, c))
				break;
			q->ids[k] = c->head;
		}
		taken = k ? q->ops->rx_post(q->port, q->ids, k) : 0;
		for (unsigned j = taken; j < k; j++)
			rests_give(q, q->bufs[q->ids[j]].rest);
		i += taken;
		if (taken < k || i == n)
			break;
		if (q->chains[i].bytes >= XN_NET_HDR_BYTES)
			break;    /* out of list nodes: later */
		xn_vq_refuse(vq, q->chains[i].head, XN_FAULT_rx_header);
		i++;
	}
	return i;
}

unsigned xn_rx_refill(struct xn_queue *q)
{
	struct xn_vq *vq = &q->rx.vq;
	unsigned n = xn_vq_pop(vq, q->chains, XN_BATCH_MAX, q->pieces, q->max_pieces), settled;

	if (!n)
		return 0;
	settled = post_chains(q, n);
	if (settled < n)
		xn_vq_unpop(vq, q->chains + settled, n - settled);
	return settled;
}

/* ---- frames: port -> guest ---- */

/* Writes the header where it lies in pieces of its own. */
static void write_header_split(struct xn_queue *q, const struct xn_rx_buf *b, uint16_t buffers)
{
	uint8_t hdr[XN_NET_HDR_BYTES], *src = hdr;
	uint32_t left = sizeof(hdr), len = b->len, rest = b->rest;
	xn_uoff at = b->at;

	xn_net_hdr_write(hdr, buffers);
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

static inline void write_header(struct xn_queue *q, const struct xn_rx_buf *b, uint16_t buffers)
{
	if (XN_LIKELY(b->len >= XN_NET_HDR_BYTES))
		xn_net_hdr_write(xn_mem_at(q->mem, b->at), buffers);
	else
		write_header_split(q, b, buffers);
}

/* How many entries the frame that begins at `d` has. */
static inline uint16_t frame_buffers(const struct xn_rx_done *d)
{
	uint16_t n = 1;

	while (XN_UNLIKELY(d->more)) {
		d++;
		n++;
	}
	return n;
}

unsigned xn_rx_deliver(struct xn_queue *q, unsigned budget)
{
	unsigned n = q->ops->rx_poll(q->port, q->done, q->max_done, budget);
	uint64_t frames = 0, bytes = 0;
	bool first = true;

	for (unsigned i = 0; i < n; i++) {
		const struct xn_rx_done *d = &q->done[i];
		struct xn_rx_buf *b = &q->bufs[d->id];
		uint32_t used = d->len;

		if (XN_LIKELY(first)) {
			write_header(q, b, frame_buffers(d));
			used += XN_NET_HDR_BYTES;
			frames++;
		}
		first = !d->more;
		bytes += d->len;
		if (XN_UNLIKELY(b->rest))
			rests_give(q, b->rest);
		xn_vq_push(&q->rx.vq, d->id, used);
	}
	if (n) {
		XN_COUNT(&q->ctr, rx_packets, frames);
		XN_COUNT(&q->ctr, rx_bytes, bytes);
	}
	return n;
}
