/* SPDX-License-Identifier: BSD-2-Clause */
/* Transmit: packets to the port, heads back to the guest. Theory in engine/queue.h. */
#include <linux/if_ether.h>

#include "engine/queue.h"

unsigned xn_tx_reclaim(struct xn_queue *q)
{
	unsigned n = q->ops->tx_poll(q->port, q->ids, XN_BATCH_MAX);

	for (unsigned i = 0; i < n; i++)
		xn_vq_push(&q->tx.vq, q->ids[i], 0);
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

/* The last 4 bytes of the longest frame are for a VLAN tag: does it have one? Asked
 * only for frames that need them. */
static bool has_vlan_tag(const struct xn_queue *q, const struct xn_tx_pkt *p)
{
	uint8_t type[2];
	uint32_t at = 2 * ETH_ALEN;
	const struct xn_piece *piece = p->pieces;

	for (unsigned i = 0; i < sizeof(type); i++, at++) {
		while (at >= piece->len) {
			at -= piece->len;
			piece++;
		}
		type[i] = *((const uint8_t *)xn_mem_at(q->mem, piece->at) + at);
	}
	return (type[0] == ETH_P_8021Q >> 8 && type[1] == (ETH_P_8021Q & 0xff)) ||
	       (type[0] == ETH_P_8021AD >> 8 && type[1] == (ETH_P_8021AD & 0xff));
}

/*
 * Makes a packet of a chain. XN_C_COUNT: it can be sent; else the counter of why
 * it is dropped.
 */
static inline enum xn_counter make_packet(struct xn_queue *q, const struct xn_chain *c,
					  struct xn_tx_pkt *pkt)
{
	struct xn_piece *p = &q->pieces[c->first];
	unsigned cut = 0;

	if (XN_UNLIKELY(c->bytes <= XN_NET_HDR_BYTES))
		return XN_C_tx_drop_short_chain;
	if (XN_LIKELY(p->len > XN_NET_HDR_BYTES)) {
		if (XN_UNLIKELY(!xn_net_hdr_plain(xn_mem_at(q->mem, p->at))))
			return XN_C_tx_drop_bad_header;
		p->at.v += XN_NET_HDR_BYTES;
		p->len -= XN_NET_HDR_BYTES;
	} else {
		uint8_t hdr[XN_NET_HDR_BYTES];

		read_header_split(q, p, hdr);
		if (!xn_net_hdr_plain(hdr))
			return XN_C_tx_drop_bad_header;
		cut = cut_header(p);
	}
	pkt->id = c->head;
	pkt->n_pieces = (uint16_t)(c->n_pieces - cut);
	pkt->bytes = c->bytes - XN_NET_HDR_BYTES;
	pkt->pieces = p + cut;
	if (XN_UNLIKELY(pkt->bytes < XN_ETH_HDR_BYTES))
		return XN_C_tx_drop_runt;
	if (XN_UNLIKELY(pkt->bytes > q->max_frame - XN_VLAN_TAG_BYTES) &&
	    (pkt->bytes > q->max_frame || !has_vlan_tag(q, pkt)))
		return XN_C_tx_drop_too_long;
	return XN_C_COUNT;
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
	unsigned dropped = 0, k = 0;

	while (dropped + k < n) {
		const struct xn_chain *c = &q->chains[dropped + k];
		enum xn_counter why = make_packet(q, c, &q->pkts[k]);

		if (XN_LIKELY(why == XN_C_COUNT)) {
			k++;
			continue;
		}
		if (k)
			break;
		drop(q, c->head, why);
		dropped++;
	}
	return dropped + (k ? q->ops->tx_post(q->port, q->pkts, k) : 0);
}

unsigned xn_tx_send(struct xn_queue *q, unsigned budget)
{
	struct xn_vq *vq = &q->tx.vq;
	unsigned room = q->ops->tx_room(q->port), n, settled = 0;

	n = xn_vq_pop(vq, q->chains, XN_MIN(budget, room), q->pieces, q->max_pieces);
	if (n) {
		settled = send_chains(q, n);
		if (settled < n)
			xn_vq_unpop(vq, q->chains + settled, n - settled);
	}
	/* Also without new packets: earlier ones may still wait in the ring. */
	q->ops->tx_kick(q->port);
	return settled;
}
