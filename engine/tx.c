/* SPDX-License-Identifier: BSD-2-Clause */
/* Transmit: packets to the port, heads back to the guest. Theory in engine/queue.h. */
#include <linux/if_ether.h>

#include "engine/queue.h"

unsigned xn_tx_reclaim(struct xn_queue *q)
{
	unsigned n = q->ops->tx_poll(q->port, q->ids, XN_BATCH_MAX);
	struct xn_vq_run used = xn_vq_begin(&q->tx.vq);

	for (unsigned i = 0; i < n; i++)
		xn_vq_run_push(&used, q->ids[i], 0);
	xn_vq_end(&q->tx.vq, &used);
	return n;
}

/* Copies the header together where it is spread over pieces. */
static void read_header_split(const struct xn_queue *q, const struct xn_piece *p, uint8_t *hdr)
{
	uint32_t got = 0;

	for (; got < XN_NET_HDR_BYTES; p++) {
		uint32_t n = XN_MIN(p->len, XN_NET_HDR_BYTES - got);

		memcpy(hdr + got, xn_mem_at(q->mem, p->at), n);
		got += n;
	}
}

/* Cuts the header off the front of the pieces. Returns how many pieces it filled. */
static unsigned cut_header(struct xn_piece *p)
{
	uint32_t left = XN_NET_HDR_BYTES;
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

/* A packet in several pieces: cuts the header off. Was it plain? */
static __attribute__((noinline)) bool cut_pieces(struct xn_queue *q, struct xn_chain *c)
{
	struct xn_piece *p = &q->pieces[c->first];
	uint8_t hdr[XN_NET_HDR_BYTES];
	unsigned cut;

	read_header_split(q, p, hdr);
	cut = cut_header(p);
	c->at = p[cut].at;
	c->n_pieces = (uint16_t)(c->n_pieces - cut);
	c->first += cut;
	return xn_net_hdr_plain(hdr);
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

/*
 * Makes a packet of a chain, in place: header looked at and cut off. XN_C_COUNT: it can
 * be sent; else the counter of why it is dropped.
 */
static __attribute__((noinline)) enum xn_counter make_packet(struct xn_queue *q, struct xn_chain *c)
{
	if (c->bytes <= XN_NET_HDR_BYTES)
		return XN_C_tx_drop_short_chain;
	c->bytes -= XN_NET_HDR_BYTES;
	if (c->n_pieces == 1) {
		if (!xn_net_hdr_plain(xn_mem_at(q->mem, c->at)))
			return XN_C_tx_drop_bad_header;
		c->at.v += XN_NET_HDR_BYTES;
	} else if (!cut_pieces(q, c)) {
		return XN_C_tx_drop_bad_header;
	}
	return usual_length(q, c->bytes) ? XN_C_COUNT : judge_length(q, c);
}

/* The same for a run of chains that pop called plain; stops in front of one that is not
 * of the usual length, or not to be sent. Returns how many. */
static inline unsigned make_plain(struct xn_queue *q, struct xn_chain *c, unsigned n)
{
	const uint8_t *const base = q->mem->base;
	const uint32_t span = q->max_frame - XN_VLAN_TAG_BYTES - XN_ETH_HDR_BYTES;
	struct xn_chain *const first = c, *const end = c + n;

	for (; c < end; c++) {
		uint32_t bytes = c->bytes - XN_NET_HDR_BYTES;

		if (XN_UNLIKELY(bytes - XN_ETH_HDR_BYTES > span ||
				!xn_net_hdr_plain(base + c->at.v)))
			break;
		c->bytes = bytes;
		c->at.v += XN_NET_HDR_BYTES;
	}
	return (unsigned)(c - first);
}

static void drop(struct xn_queue *q, uint16_t head, enum xn_counter why)
{
	xn_vq_push(&q->tx.vq, head, 0);
	xn_count_add(&q->ctr.v[why], 1);
	XN_COUNT(&q->ctr, heads_dropped, 1);
}

/*
 * Sends chains[0..n): drops what is wrong in front, posts the good run behind it,
 * up to the next wrong one. Returns how many chains are settled; the others can be
 * un-taken, since nothing was done about them.
 */
static unsigned send_chains(struct xn_queue *q, unsigned n)
{
	const unsigned plain = XN_MIN(q->tx.vq.plain, n);
	unsigned begin = 0, i = 0;   /* of the good run; and its end so far */

	for (;;) {
		enum xn_counter why;

		if (i < plain)
			i += make_plain(q, q->chains + i, plain - i);
		if (XN_LIKELY(i == n))
			break;
		why = make_packet(q, &q->chains[i]);
		if (why == XN_C_COUNT) {
			i++;
			continue;
		}
		if (i > begin)
			break;
		drop(q, q->chains[i].head, why);
		begin = ++i;
	}
	if (i > begin)
		begin += q->ops->tx_post(q->port, q->chains + begin, i - begin, q->pieces);
	return begin;
}

/* The pair is disabled: packets are taken, and go nowhere. */
static __attribute__((noinline)) unsigned drop_chains(struct xn_queue *q, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		drop(q, q->chains[i].head, XN_C_tx_drop_disabled);
	return n;
}

unsigned xn_tx_send(struct xn_queue *q, unsigned budget)
{
	struct xn_vq *vq = &q->tx.vq;
	unsigned room = q->ops->tx_room(q->port), n, settled = 0;

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
