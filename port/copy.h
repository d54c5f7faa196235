/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copies between a frame and a guest's buffers: the bounce path of every port.
 *
 * Buffers that are not lent wait in a fifo, in the order in which the guest posted
 * them. A frame that has to be copied takes the first one, and, where buffers may
 * be merged, as many more as it needs.
 *
 * A buffer that is too short for a frame, where buffers may not be merged, waits for a shorter
 * one behind the others. In order (VIRTIO_F_IN_ORDER) it cannot: what frames are put into behind
 * it would wait for it too. It comes back empty then, and the frame is dropped as well.
 */
#ifndef XN_PORT_COPY_H
#define XN_PORT_COPY_H

#include <string.h>

#include "port/port.h"

/* A fifo of buffer ids; never overfull, since an id is in it at most once. */
struct xn_id_fifo {
	uint16_t *ids;
	uint32_t first, end, mask;   /* free running; end - first are in it */
};

/* For ids 0..heads-1. 0 or -ENOMEM. */
int  xn_id_fifo_init(struct xn_id_fifo *f, uint32_t heads);
void xn_id_fifo_fini(struct xn_id_fifo *f);

static inline uint32_t xn_id_fifo_count(const struct xn_id_fifo *f)
{
	return f->end - f->first;
}

static inline void xn_id_fifo_put(struct xn_id_fifo *f, uint16_t id)
{
	f->ids[f->end++ & f->mask] = id;
}

static inline uint16_t xn_id_fifo_at(const struct xn_id_fifo *f, uint32_t i)
{
	return f->ids[(f->first + i) & f->mask];
}

enum xn_spread { XN_SPREAD_OK, XN_SPREAD_NO_BUFFER, XN_SPREAD_TOO_SMALL, XN_SPREAD_NO_ROOM };

/*
 * Copies a frame into the first buffers of the fifo and takes these out of it; the
 * first keeps cfg->hdr_bytes free. Fills done[0..*used), *used <= max. Otherwise
 * nothing is written, and *used is 0:
 * NO_BUFFER  the fifo's buffers together do not hold it
 * TOO_SMALL  the first does not, and merging is off; the next is first now. In order it
 *            is taken out, and done[0..*used), *used 1, gives it back
 * NO_ROOM    more buffers are needed than `max`
 */
enum xn_spread xn_spread_frame(const struct xn_portq_cfg *c, struct xn_id_fifo *fifo,
			       const uint8_t *frame, uint32_t bytes,
			       struct xn_rx_done *done, unsigned max, unsigned *used);

/* The first buffer of the fifo is too short for a frame, and may not be merged with others: the
 * next one is first then. How many entries of done are filled, 0 or 1; max >= 1. */
unsigned xn_pass_by_first(const struct xn_portq_cfg *c, struct xn_id_fifo *fifo,
			  struct xn_rx_done *done);

/* Holds a buffer: notes it if it has one piece (others are noted), puts it at the end. */
static inline void xn_hold_buf(const struct xn_portq_cfg *c, struct xn_id_fifo *f,
			       const struct xn_chain *b)
{
	if (b->n_pieces == 1)
		c->bufs[b->head] = (struct xn_rx_buf){ .at = b->at, .len = b->bytes,
						       .bytes = b->bytes };
	xn_id_fifo_put(f, b->head);
}

/* Copies all pieces of a packet, one after the other, to dst. */
static inline void xn_copy_packet(const struct xn_mem *m, uint8_t *dst, const struct xn_chain *p,
				  const struct xn_piece *pieces)
{
	struct xn_piece one;
	const struct xn_piece *piece = xn_chain_pieces(p, pieces, &one);

	for (unsigned i = 0; i < p->n_pieces; i++, piece++) {
		memcpy(dst, xn_mem_at(m, piece->at), piece->len);
		dst += piece->len;
	}
}

#endif
