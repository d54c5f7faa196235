/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest of the laboratory: RAM full of canaries, and a virtio-net driver that looks at
 * every byte of it.
 *
 *	RAM   | rings |rx|tx|  |tx|rx|tx| ...     blocks of 32 KiB, taken in no order
 *	rx    a block cut into buffers as Linux guests cut them:
 *	      1536   21 in a block, across its pages; the last has the rest, 2048
 *	      2048   16, aligned
 *	      4096    8, aligned
 *	tx    header and frame in one buffer of the same sizes, somewhere in it
 *
 * There are four times as many buffers as the ring has descriptors, and they are used in
 * turn, neighbours never together. So a buffer that has come back lies painted for a while:
 * what is written to it then, or beside the others, shows when it is posted the next time,
 * and what the NIC reads of it then, at the other end of the wire.
 */
#ifndef XN_TESTS_ZC_GUEST_H
#define XN_TESTS_ZC_GUEST_H

#include "tests/fake/driver.h"
#include "tests/zc/zc.h"

#define ZG_BUFS      1024u
#define ZG_RAM_BYTES (32ull * ZC_HUGE)
#define ZG_HDR       DRV_HDR
#define ZG_NUMBERS   (1u << 25)    /* frames of a direction that can be told apart */

struct zg_buf {
	uint64_t at;
	uint32_t len;
	uint32_t off;             /* transmit: where the header is */
	uint32_t bytes;           /* transmit: of the frame */
	uint64_t seq;
	bool lent;
};

struct zg_way {
	struct zg_buf bufs[ZG_BUFS];
	unsigned n;
	uint16_t turn[ZG_BUFS];   /* of buffers that are not lent */
	unsigned first, end;      /* free running */
	uint16_t of_head[DRV_SIZE];
};

/* What must not happen. */
struct zg_faults {
	uint64_t wrong;           /* a frame or its header not as sent */
	uint64_t twice;           /* frames that came twice */
	uint64_t alien;           /* used elements for what was not posted */
	uint64_t late;            /* buffers changed after they had come back, or by neighbours */
	uint64_t written;         /* transmit buffers that were changed */
	uint64_t stray;           /* other bytes of RAM that were changed (zg_scan) */
};

struct zg {
	struct drv d;             /* RAM and rings */
	const struct zc_wire *w;
	struct zg_way rx, tx;
	uint8_t *seen;            /* a bit for each number */
	bool light;               /* only counts: to measure what others cost */
	uint64_t got, unused;     /* frames received; buffers given back without one */
	uint64_t sent, done;      /* frames sent; their buffers given back */
	uint32_t behind;          /* most bytes that were changed behind a frame, in its buffer */
	struct zg_faults bad;
};

/* Maps RAM so that its pages do not follow each other as they do for the guest. */
void zg_map(struct zg *g, const struct zc_wire *w, bool huge);
/* Empty rings, clean RAM, buffers of this size. Counts go on. */
void zg_reset(struct zg *g, uint32_t size);
/* Posts receive buffers, as many as the ring takes. */
void zg_post(struct zg *g);
/* Looks at what has arrived; how many frames, and buffers given back. */
unsigned zg_receive(struct zg *g);
/* Sends up to n frames; how many found room. */
unsigned zg_send(struct zg *g, unsigned n);
/* Takes transmit buffers back; how many. */
unsigned zg_reap(struct zg *g);
/* Looks at all of RAM but rings and what is lent: bytes that are no canaries (counted as
 * faults, and painted over). */
uint64_t zg_scan(struct zg *g);
bool zg_well(const struct zg_faults *f);

/* Length of frame seq: all from 60 bytes to the longest in turn, neighbours unlike each other. */
static inline uint32_t zg_length(const struct zc_wire *w, uint64_t seq)
{
	return ZC_FRAME_MIN + (uint32_t)(seq * 619 % (w->longest + 1 - ZC_FRAME_MIN));
}

#endif
