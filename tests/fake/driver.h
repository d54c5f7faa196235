/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio-net driver for tests: it posts any descriptors that a test wants, well
 * behaved or not, and remembers nothing but what is free.
 *
 * Rings of pair p lie in the first bytes of RAM; the rest is the test's. RAM may be
 * one region or several (see struct drv_region), all in one memfd.
 *
 * Rings are split ones, or packed ones: drv_use_packed. The same calls post to both, and look
 * for what was used.
 */
#ifndef XN_TESTS_FAKE_DRIVER_H
#define XN_TESTS_FAKE_DRIVER_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "xsknet.h"

#define DRV_SIZE       256u           /* descriptors of each ring */
#define DRV_RING_BYTES 0x4000u        /* one ring's room */
#define DRV_PAIRS      16u
#define DRV_FREE_AT    0x40000u       /* first byte of RAM that tests may use, with 8 pairs */
#define DRV_HDR        12u

struct drv_seg {
	uint64_t at;                  /* guest physical */
	uint32_t len;
};

struct drv {
	uint8_t *ram;                 /* offset x of the memfd */
	uint64_t bytes;
	int fd;
	bool packed;
	uint32_t size;                /* of each ring: DRV_SIZE; packed: up to that */
	struct {
		uint16_t avail, seen;             /* free running; packed: positions, with the
						     wrap counter in bit 15 */
		uint16_t n_pending, next[DRV_SIZE];   /* packed: of the ids of a chain */
		uint16_t free[DRV_SIZE], n_free;
		uint16_t chain[DRV_SIZE];         /* descriptors of the chain of a head */
	} q[2 * DRV_PAIRS];
};

/* RAM of `bytes`, filled with a pattern; rings of `pairs` pairs empty. */
void drv_init(struct drv *d, uint64_t bytes, unsigned pairs);
void drv_fini(struct drv *d);
void drv_reset_rings(struct drv *d, unsigned pairs);
void drv_reset_ring(struct drv *d, unsigned q);
/* Packed rings of this size from now on, empty ones. */
void drv_use_packed(struct drv *d, unsigned pairs, uint32_t size);
/* What to give to xn_dev_set_vring for vring i (gpa = offset in the memfd). A packed ring's
 * base is XN_VRING_NEW_PACKED when it is new. */
struct xn_vring drv_vring(unsigned i);

/* Makes a chain of these segments available on vring q; its head. Writable on
 * receive queues (even q), readable on transmit queues. */
uint16_t drv_post(struct drv *d, unsigned q, const struct drv_seg *segs, unsigned n);
/* One segment. */
uint16_t drv_post1(struct drv *d, unsigned q, uint64_t at, uint32_t len);
/* The same through an indirect table written at `table`. */
uint16_t drv_post_indirect(struct drv *d, unsigned q, uint64_t table, const struct drv_seg *segs,
			   unsigned n);
/* Next used entry of vring q; false: none. Frees its descriptors. */
bool drv_used(struct drv *d, unsigned q, uint16_t *head, uint32_t *len);
/* Chains available and not used. */
unsigned drv_pending(const struct drv *d, unsigned q);

/* Does the driver want to be notified? Without EVENT_IDX. */
void drv_want_calls(struct drv *d, unsigned q, bool want);
/* With it: when so many more chains have been used, behind the next one. (Packed: chains of
 * one slot.) */
void drv_want_call_after(struct drv *d, unsigned q, unsigned more);
/* Offers more than a ring can have: fault_avail_jump. */
void drv_break(struct drv *d, unsigned q);
/* Does the device want to be kicked? Without EVENT_IDX. */
bool drv_is_to_kick(const struct drv *d, unsigned q);

struct vring_desc  *drv_desc(const struct drv *d, unsigned q);
struct vring_avail *drv_avail(const struct drv *d, unsigned q);
struct vring_used  *drv_used_ring(const struct drv *d, unsigned q);

/* A counter of the device by name (xn_dev_stats); a name that does not exist is a
 * mistake in the test (assert). */
uint64_t drv_stat(struct xn_dev *dev, unsigned pair, const char *name);

/* The byte that drv_init writes at offset x. */
static inline uint8_t drv_pattern(uint64_t x)
{
	return (uint8_t)(x * 167u + (x >> 8) * 13u + 1);
}
/* First byte in [from, to) that is not the pattern; `to` if all are. */
uint64_t drv_first_changed(const struct drv *d, uint64_t from, uint64_t to);
void drv_fill_pattern(struct drv *d, uint64_t from, uint64_t to);

#endif
