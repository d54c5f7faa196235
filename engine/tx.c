/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transmit: packets to the port, heads back to the guest. Theory in engine/queue.h.
 *
 * Packets that ask for nothing go to the port as they lie, those with a request (virtio-net
 * header) beside it, checked, in runs of their kind, so that they leave in their order:
 *
 *	chains      | p p p p | o o o |x| p p |      x: wrong, dropped
 *	            | tx_post | tx_offload |   | tx_post
 *
 * A header is copied once, and only the copy is looked at.
 */
#include <linux/if_ether.h>

#include "engine/queue.h"
#include "port/gather.h"

unsigned xn_tx_reclaim(struct xn_queue *q)
{
	unsigned n = q->ops->tx_poll(q->port, q->ids, XN_BATCH_MAX);
	struct xn_vq_run used = xn_vq_begin(&q->tx.vq);

	for (unsigned i = 0; i < n; i++)
		xn_vq_run_push(&used, q->ids[i], 0);
	xn_vq_end(&q->tx.vq, &used);
	return n;
}

/* Copies the header together where it is spread over pieces: what matters of it. */
static void read_header_split(const struct xn_queue *q, const struct xn_piece *p, uint8_t *hdr)
{
	uint32_t got = 0;

	for (; got < XN_NET_HDR_LEGACY_BYTES; p++) {
		uint32_t n = XN_MIN(p->len, XN_NET_HDR_LEGACY_BYTES - got);

		memcpy(hdr + got, xn_mem_at(q->mem, p->at), n);
		got += n;
	}
}

/* Cuts the header, so many bytes, off the front of the pieces. Returns how many pieces it filled. */
static unsigned cut_header(struct xn_piece *p, uint32_t left)
{
	unsigned used = 0;

	while (left >= p->len) {
		left -= p->len;
		p++;
		used++;
	}
	p->at.v += left;
	p->len -= left;
	return used;
}

/* A packet in several pieces: copies the header, and cuts it off. */
static void cut_pieces(struct xn_queue *q, struct xn_chain *c, uint8_t *hdr)
{
	struct xn_piece *p = &q->pieces[c->first];
	unsigned cut;

	read_header_split(q, p, hdr);
	cut = cut_header(p, q->hdr_bytes);
	c->at = p[cut].at;
	c->n_pieces = (uint16_t)(c->n_pieces - cut);
	c->first += cut;
}

static uint8_t packet_byte(const struct xn_queue *q, const struct xn_chain *c, uint32_t i)
{
	struct xn_piece one;
	const struct xn_piece *p = xn_chain_pieces(c, q->pieces, &one);

	for (; i >= p->len; p++)
		i -= p->len;
	return *((const uint8_t *)xn_mem_at(q->mem, p->at) + i);
}

/*
 * Packets that are longer or shorter than untagged frames are: the counter of why one
 * is dropped, XN_C_COUNT for one that may leave. The last 4 bytes of the longest frame
 * are for a VLAN tag: does it have one?
 */
static __attribute__((noinline)) enum xn_counter judge_length(const struct xn_queue *q,
							      const struct xn_chain *c)
{
	unsigned type;

	if (c->bytes < XN_ETH_HDR_BYTES)
		return XN_C_tx_drop_runt;
	if (c->bytes > q->max_frame)
		return XN_C_tx_drop_too_long;
	type = (unsigned)packet_byte(q, c, 2 * ETH_ALEN) << 8 | packet_byte(q, c, 2 * ETH_ALEN + 1);
	return type == ETH_P_8021Q || type == ETH_P_8021AD ? XN_C_COUNT : XN_C_tx_drop_too_long;
}

/* Lengths of untagged frames: XN_ETH_HDR_BYTES to that without a VLAN tag. */
static inline bool usual_length(const struct xn_queue *q, uint32_t bytes)
{
	return bytes - XN_ETH_HDR_BYTES <= q->max_frame - XN_VLAN_TAG_BYTES - XN_ETH_HDR_BYTES;
}

/* What a packet with this header asks for, to *o. XN_C_COUNT, or why it is dropped. */
static enum xn_counter judge_request(struct xn_queue *q, const struct xn_chain *c,
				     const struct virtio_net_hdr *h, struct xn_offload *o)
{
	enum xn_offload_fault fault;
	struct xn_piece one;

	if (c->bytes < XN_ETH_HDR_BYTES)
		return XN_C_tx_drop_runt;
	xn_gather_head(q->mem->base, xn_chain_pieces(c, q->pieces, &one), o->head,
		       xn_offload_wants(h, c->bytes));
	fault = xn_offload_check(&q->rules, h, c->bytes, o);
	return fault == XN_OFFLOAD_OK ? XN_C_COUNT : (enum xn_counter)(XN_C_BAD_HEADERS + fault - 1);
}

/*
 * Makes a packet of a chain, in place: header looked at and cut off. XN_C_COUNT: it can
 * be sent, and if it asks for something, *o says for what; else the counter of why it is
 * dropped.
 */
static __attribute__((noinline)) enum xn_counter make_packet(struct xn_queue *q, struct xn_chain *c,
							     struct xn_offload *o, bool *asks)
{
	uint8_t hdr[XN_NET_HDR_LEGACY_BYTES];
	enum xn_counter why = XN_C_COUNT;
	struct virtio_net_hdr h;

	*asks = false;
	if (c->bytes <= q->hdr_bytes)
		return XN_C_tx_drop_short_chain;
	c->bytes -= q->hdr_bytes;
	if (c->n_pieces == 1) {
		memcpy(hdr, xn_mem_at(q->mem, c->at), sizeof(hdr));
		c->at.v += q->hdr_bytes;
	} else {
		cut_pieces(q, c, hdr);
	}
	if (!xn_net_hdr_plain(hdr)) {
		memcpy(&h, hdr, sizeof(h));
		why = judge_request(q, c, &h, o);
		*asks = why == XN_C_COUNT;
		if (!*asks || o->gso != XN_GSO_NONE)   /* its segments have been judged */
			return why;
	}
	return usual_length(q, c->bytes) ? XN_C_COUNT : judge_length(q, c);
}

/* The same for a run of chains that pop called plain; stops in front of one that is not
 * of the usual length, or not to be sent. Returns how many. */
static inline unsigned make_plain(struct xn_queue *q, struct xn_chain *c, unsigned n)
{
	const uint8_t *const base = q->mem->base;
	const uint32_t span = q->max_frame - XN_VLAN_TAG_BYTES - XN_ETH_HDR_BYTES;
	const uint32_t hdr = q->hdr_bytes;
	struct xn_chain *const first = c, *const end = c + n;

	for (; c < end; c++) {
		uint32_t bytes = c->bytes - hdr;

		if (XN_UNLIKELY(bytes - XN_ETH_HDR_BYTES > span ||
				!xn_net_hdr_plain(base + c->at.v)))
			break;
		c->bytes = bytes;
		c->at.v += hdr;
	}
	return (unsigned)(c - first);
}

static void drop(struct xn_queue *q, uint16_t head, enum xn_counter why)
{
	xn_vq_push(&q->tx.vq, head, 0);
	xn_count_add(&q->ctr.v[why], 1);
	if (why >= XN_C_BAD_HEADERS)   /* which of them, and that it is one */
		XN_COUNT(&q->ctr, tx_drop_bad_header, 1);
	XN_COUNT(&q->ctr, heads_dropped, 1);
}

/* Chains [begin, end) that are made, all of a kind. */
struct run {
	unsigned begin, end;
	bool asks;               /* offloads[i] is of chain begin + i */
};

/* Posts a run. False: the port has not taken all of it; what it has is out of the run. */
static bool post_run(struct xn_queue *q, struct run *r)
{
	const struct xn_chain *c = q->chains + r->begin;
	const unsigned n = r->end - r->begin;
	unsigned taken = 0;

	if (n && r->asks)
		taken = q->ops->tx_offload(q->port, c, n, q->pieces, q->offloads);
	else if (n)
		taken = q->ops->tx_post(q->port, c, n, q->pieces);
	r->begin += taken;
	r->asks = false;
	return taken == n;
}

/* Where the request of the run's next chain goes: behind the run's others. Those of another
 * run are not wanted any more when it is posted, as this one is. */
static struct xn_offload *next_offload(struct xn_queue *q, const struct run *r)
{
	return &q->offloads[r->asks ? r->end - r->begin : 0];
}

static bool run_is_full(const struct run *r)
{
	return r->asks && r->end - r->begin == XN_OFFLOAD_BATCH;
}

/* Sends chains[0..n), of which so many from the first on are made and ask for nothing, in
 * runs; drops what is wrong between them. */
static __attribute__((noinline)) unsigned send_mixed(struct xn_queue *q, unsigned n, unsigned made)
{
	const unsigned plain = XN_MIN(q->tx.vq.plain, n);
	struct run r = { .end = made };

	for (;;) {
		enum xn_counter why;
		bool asks;

		if (r.end < plain && !r.asks)
			r.end += make_plain(q, q->chains + r.end, plain - r.end);
		if (XN_LIKELY(r.end == n))
			break;
		if (run_is_full(&r) && !post_run(q, &r))
			return r.begin;
		why = make_packet(q, &q->chains[r.end], next_offload(q, &r), &asks);
		if (why == XN_C_COUNT && asks == r.asks) {
			r.end++;
			continue;
		}
		if (!post_run(q, &r))
			return r.begin;
		r.asks = asks && why == XN_C_COUNT;
		if (why != XN_C_COUNT)
			drop(q, q->chains[r.begin++].head, why);
		r.end++;
	}
	post_run(q, &r);
	return r.begin;
}

/* Returns how many chains are settled; the others can be un-taken, since nothing was done
 * about them. */
static inline unsigned send_chains(struct xn_queue *q, unsigned n)
{
	unsigned made = make_plain(q, q->chains, XN_MIN(q->tx.vq.plain, n));

	if (XN_LIKELY(made == n))
		return q->ops->tx_post(q->port, q->chains, n, q->pieces);
	return send_mixed(q, n, made);
}

/* The pair is disabled: packets are taken, and go nowhere. */
static __attribute__((noinline)) unsigned drop_chains(struct xn_queue *q, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		drop(q, q->chains[i].head, XN_C_tx_drop_disabled);
	return n;
}

/* The MTU has changed: what is taken from now on has to keep to it. */
static __attribute__((noinline)) void heed_mtu(struct xn_queue *q, uint32_t longest)
{
	q->max_frame = q->rules.max_frame = longest;
}

unsigned xn_tx_send(struct xn_queue *q, unsigned budget)
{
	const uint32_t longest = xn_load_once32(&q->port->port->tx_frame);
	struct xn_vq *vq = &q->tx.vq;
	unsigned room = q->ops->tx_room(q->port), n, settled = 0;

	if (XN_UNLIKELY(longest != q->max_frame))
		heed_mtu(q, longest);
	q->tx_blocked = !room;
	n = xn_vq_pop(vq, q->chains, XN_MIN(budget, room), q->pieces, q->max_pieces);
	if (n) {
		settled = XN_UNLIKELY(q->tx_off) ? drop_chains(q, n) : send_chains(q, n);
		if (settled < n) {
			xn_vq_unpop(vq, q->chains + settled, n - settled);
			/* What was only refused in front of others is none of that. */
			q->tx_blocked = !settled;
		}
	}
	/* Also without new packets: earlier ones may still wait in the ring. */
	q->ops->tx_kick(q->port);
	return settled;
}
