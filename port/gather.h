/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packets that lie in several pieces of guest memory, gathered into chunks of the
 * engine's own, or summed where they lie: in one pass, with the checksum that the guest
 * asked for (base/offload.h). Guest memory is only read.
 *
 * Where only some of a packet is copied, and the rest lent: port/layout.h.
 */
#ifndef XN_PORT_GATHER_H
#define XN_PORT_GATHER_H

#include <string.h>

#include "base/csum.h"
#include "base/offload.h"

/* A place in a packet's pieces; only moves forward. Whoever moves it knows that there are
 * so many bytes left. */
struct xn_cursor {
	const uint8_t *base;            /* of UMEM offsets: struct xn_mem */
	const struct xn_piece *piece;
	uint32_t into;                  /* bytes of *piece that are passed */
};

static inline struct xn_cursor xn_cursor_at(const uint8_t *base, const struct xn_piece *pieces)
{
	return (struct xn_cursor){ base, pieces, 0 };
}

/* Passes up to n bytes that lie in a row, n >= 1: the first's address, and how many. */
static inline const uint8_t *xn_cursor_run(struct xn_cursor *c, uint32_t n, uint32_t *got)
{
	const uint8_t *p;

	if (c->into == c->piece->len) {
		c->piece++;
		c->into = 0;
	}
	p = c->base + c->piece->at.v + c->into;
	*got = XN_MIN(n, c->piece->len - c->into);
	c->into += *got;
	return p;
}

void xn_cursor_skip(struct xn_cursor *c, uint32_t n);
/* Of the next n bytes, which begin at an even place of what is summed. */
xn_sum xn_cursor_sum(struct xn_cursor *c, uint32_t n);

/* Where gathered bytes go: chunks of equal size, which are filled one after the other. */
struct xn_chunks {
	uint8_t *const *at;
	uint32_t bytes;        /* of each */
};

/* How many chunks n bytes need. */
static inline uint32_t xn_chunks_for(uint32_t n, uint32_t chunk_bytes)
{
	return (n + chunk_bytes - 1) / chunk_bytes;
}

/* Copies the next n bytes of the packet to [at, at + n) of the chunks: plainly, or with
 * their sum, of what begins at an even place. */
void   xn_gather(struct xn_cursor *c, const struct xn_chunks *to, uint32_t at, uint32_t n);
xn_sum xn_gather_sum(struct xn_cursor *c, const struct xn_chunks *to, uint32_t at, uint32_t n);

/* The first n bytes of a packet, to look at: reads each once. */
void xn_gather_head(const uint8_t *base, const struct xn_piece *pieces, uint8_t *head, uint32_t n);

/* A whole packet with o->csum and without gso into chunks, its checksum finished. */
void xn_gather_csum(const struct xn_offload *o, const uint8_t *base, const struct xn_piece *pieces,
		    const struct xn_chunks *to);

/* The checksum of this sum, into its field; 0 is written as 0xffff. */
static inline void xn_put_csum(uint8_t *field, xn_sum sum)
{
	const uint16_t csum = xn_sum_csum_nonzero(sum);

	memcpy(field, &csum, sizeof(csum));
}

#endif
