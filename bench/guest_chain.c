/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packets of many pieces. Slot s owns the descriptors s * tx_pieces and up, of which a packet
 * uses as many as it has pieces, linked one to the next.
 */
#include <assert.h>

#include "bench/guest_priv.h"

uint8_t *xn_guest_chain_begin(struct xn_guest *g, unsigned pair)
{
	struct pair *p = &g->pairs[pair];

	if (!p->n_free && !xn_guest_tx_reap(g, pair))
		return NULL;
	return p->tx_buf + (uint64_t)p->free[p->n_free - 1] * g->tx_buf_bytes;
}

void xn_guest_chain_add(struct xn_guest *g, unsigned pair, const struct xn_guest_piece *piece,
			unsigned n)
{
	struct pair *p = &g->pairs[pair];
	const uint16_t head = (uint16_t)(p->free[p->n_free - 1] * g->per_slot);

	assert(n && n <= g->per_slot && "more pieces than a slot has descriptors");
	p->n_free--;
	for (unsigned i = 0; i < n; i++)
		p->tx.desc[head + i] = (struct vring_desc){
			.addr = gpa_of(g, piece[i].data), .len = piece[i].bytes,
			.flags = i + 1 < n ? VRING_DESC_F_NEXT : 0, .next = (uint16_t)(head + i + 1),
		};
	p->tx.chain_of[head] = (uint8_t)n;
	offer(&p->tx, head);
}

void xn_guest_chain_push(struct xn_guest *g, unsigned pair)
{
	publish(g, &g->pairs[pair].tx);
}
