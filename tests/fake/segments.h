/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames of TCP connections and UDP flows as a network brings them, with all that can go wrong; what receive
 * coalescing (engine/gro.h) has to make of them, found out in a slow and obvious way; and a
 * judge, who looks at what it has made. The model shares nothing with it but its limits.
 */
#ifndef XN_TESTS_FAKE_SEGMENTS_H
#define XN_TESTS_FAKE_SEGMENTS_H

#include "engine/gro.h"

#define SEG_FRAMES    64u
#define SEG_FRAME_MAX 1600u
#define SEG_HDR       12u
#define SEG_HEADS     128u

struct seg_frame {
	uint8_t  bytes[SEG_FRAME_MAX];
	uint32_t len;
	uint16_t l4_at, csum_offset;
	bool     unfinished;      /* its checksum; told by the port, with these */
	bool     copied;          /* to a buffer that is noted: XN_RX_NOTED */
	bool     pieces;          /* which has several of them, so it is left alone */
};

struct seg_batch {
	struct seg_frame f[SEG_FRAMES];
	unsigned n;
	bool tcp4, tcp6, ecn, udp4, udp6;   /* what the guest takes */
	unsigned mutations;       /* of its headers, at most */
};

/* Numbers from 0 to n - 1, by chance or by somebody's will. */
struct seg_dice {
	uint32_t (*roll)(struct seg_dice *d, uint32_t n);
	uint32_t state;
	const uint8_t *at, *end;
};
uint32_t seg_roll_random(struct seg_dice *d, uint32_t n);
uint32_t seg_roll_bytes(struct seg_dice *d, uint32_t n);   /* zeros, when there are none left */

/* Up to SEG_FRAMES frames of up to `connections` connections, out of order, lost, doubled,
 * wrong and changed as the dice say. */
void seg_make(struct seg_batch *b, struct seg_dice *d, unsigned connections);

/*
 * Which frames belong together: next[i], the place of the one that follows i, or 0. False: more
 * connections at a time than there is room for, so nothing is said.
 */
bool seg_model(const struct seg_batch *b, uint8_t next[SEG_FRAMES]);

/* The engine's table of buffers, by head. */
extern struct xn_rx_buf seg_bufs[SEG_HEADS];

/* Gives a batch to it, in buffers as the dice say, and looks at what comes: every frame once, in the order
 * of its connection, cut up again to what it was; written is nothing but these buffers; joined
 * are those of which the model says so. NULL, or what is wrong. */
const char *seg_play(struct xn_gro *c, uint8_t *ram, const struct seg_batch *b, struct seg_dice *d);
/* How much memory that takes, and so many entries. */
#define SEG_RAM     (SEG_FRAMES * 8192u)

#endif
