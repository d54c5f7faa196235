/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Automatic receive steering: which queue pair sends which flow is learnt from what the guest
 * sends. Theory in bpf/flows.h.
 *
 * One packet of each batch is looked at, in another place of the batch each time: a flow that is
 * quiet is a batch of its own, one that is busy is met soon. So what it costs is for a batch,
 * not for a packet; and a port of one queue has another tx_post, which knows nothing of it.
 */
#include "bpf/flows.h"
#include "port/xdp.h"

#define HEAD_BYTES 128u   /* Ethernet, tags, the longest IPv4 header, or IPv6's and TCP's */

/* The first bytes of a packet, read once: the guest may write there. How many. */
static uint32_t copy_head(uint8_t head[HEAD_BYTES], const struct xn_mem *m, const struct xn_chain *p,
			  const struct xn_piece *pieces)
{
	struct xn_piece one;
	const struct xn_piece *piece = xn_chain_pieces(p, pieces, &one);
	uint32_t have = 0;

	for (unsigned i = 0; i < p->n_pieces && have < HEAD_BYTES; i++, piece++) {
		uint32_t n = XN_MIN(piece->len, HEAD_BYTES - have);

		memcpy(head + have, xn_mem_at(m, piece->at), n);
		have += n;
	}
	return have;
}

/* From a batch of which so many packets are sent. */
static unsigned learn(struct xn_xdpq *x, const struct xn_chain *pkts, unsigned took,
		      const struct xn_piece *pieces)
{
	struct xn_xdp_learn *l = &x->learn;
	uint8_t head[HEAD_BYTES];

	if (took && xn_load_once8(&l->flows->on)) {
		const uint32_t bytes = copy_head(head, x->mem, &pkts[l->turn++ % took], pieces);

		xn_flows_learn(l->flows, head, bytes, x->q.cfg.index);
	}
	return took;
}

static unsigned tx_post(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			const struct xn_piece *pieces)
{
	struct xn_xdpq *x = XN_CONTAINER_OF(q, struct xn_xdpq, q);

	return learn(x, pkts, x->learn.tx_post(q, pkts, n, pieces), pieces);
}

static unsigned tx_offload(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			   const struct xn_piece *pieces, const struct xn_offload *offloads)
{
	struct xn_xdpq *x = XN_CONTAINER_OF(q, struct xn_xdpq, q);

	return learn(x, pkts, xn_xdp_tx_offload(q, pkts, n, pieces, offloads), pieces);
}

void xn_xdp_learn_begin(struct xn_xdpq *x)
{
	const struct xn_xdp_port *p = XN_CONTAINER_OF(x->q.port, struct xn_xdp_port, port);

	x->learn.flows = p->rss ? p->sys->steer_flows(p->steer) : NULL;
	if (!x->learn.flows)
		return;
	x->learn.tx_post = x->q.ops->tx_post;
	x->learn.ops = *x->q.ops;
	x->learn.ops.tx_post = tx_post;
	x->learn.ops.tx_offload = tx_offload;
	x->q.ops = &x->learn.ops;
}
