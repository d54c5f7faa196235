/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest: RAM of its own and a virtio-net driver (split or packed rings) that works as
 * Linux's does, on the same memory that a VMM would give to the engine.
 *
 *	RAM   | rings | tx buffers | rx buffers at odd places ... |
 *
 * Receive buffers are 1536 bytes (12 header + 1524 room), one descriptor each, at
 * addresses as Linux's page_frag allocator gives: consecutive in a page pool, at
 * any offset, crossing page borders, and odd ones too, for the worst case; or exactly as
 * Linux does (rx_as_linux): cut from blocks of 32 KiB, powers of two at multiples of their
 * size. Transmit packets are one descriptor (header
 * and data together, as Linux does with VERSION_1 and headroom), or header and data
 * apart. The driver posts a buffer again as soon as it has looked at it.
 *
 * The driver is written for batches, as poll-mode drivers are: it prepares many and
 * publishes once. One thread drives a pair.
 */
#ifndef XN_BENCH_GUEST_H
#define XN_BENCH_GUEST_H

#include <stdbool.h>
#include <stdint.h>
#include "xsknet.h"

/* struct virtio_net_hdr with num_buffers (VIRTIO 1.3, 5.1.6.1), in front of each frame. */
#define XN_GUEST_HDR 12u

struct xn_guest_cfg {
	unsigned pairs;
	uint32_t queue_size;       /* descriptors of each ring; split: power of two */
	bool packed;               /* VIRTIO_F_RING_PACKED was accepted */
	enum xn_huge huge;
	uint32_t rx_buf_bytes;     /* 0: 1536 */
	bool rx_as_linux;          /* where Linux puts them; else at odd places, too */
	uint64_t ram_bytes;        /* 0: as much as is needed */
	uint64_t gpa_base;         /* where RAM begins for the guest (0 is fine) */
	bool split_tx_header;      /* header in a descriptor of its own */
	bool kicks;                /* eventfds for both directions, else polled */
	bool event_idx;            /* VIRTIO_F_EVENT_IDX was accepted */
	/* Packets of up to so many pieces (xn_guest_chain_*), from slots of so many bytes; 0: of one
	 * or two, as above. */
	uint16_t tx_pieces;
	uint32_t tx_slot_bytes;
	uint64_t data_bytes;       /* RAM for data of the caller's */
};

struct xn_guest;
int  xn_guest_create(struct xn_guest **g, const struct xn_guest_cfg *cfg);
void xn_guest_destroy(struct xn_guest *g);

/* For the VMM's side: the region (fd), and the rings of a pair. */
void xn_guest_region(const struct xn_guest *g, struct xn_region *r);
void xn_guest_vring(const struct xn_guest *g, unsigned index, struct xn_vring *v);
bool xn_guest_got_huge(const struct xn_guest *g);
/* cfg.data_bytes of RAM, at the start of a page; NULL: none. */
uint8_t *xn_guest_data(const struct xn_guest *g);

/* Driver: forgets everything and starts with empty rings, rx buffers all posted. */
void xn_guest_start(struct xn_guest *g, unsigned pair);

/*
 * Sleeping, with kicks only. A driver begins armed, and is called whenever the device uses
 * something. disarm: it polls from now on; calls that came are forgotten. arm: true: nothing
 * (receive), or too little to go on with (transmit: a quarter of what is pending is enough),
 * is there, and the call eventfd will be readable when that changes; false: look again.
 */
bool xn_guest_arm(struct xn_guest *g, unsigned pair, bool tx);
void xn_guest_disarm(struct xn_guest *g, unsigned pair, bool tx);
int  xn_guest_call_fd(const struct xn_guest *g, unsigned pair, bool tx);

/*
 * Receive: up to n frames that have arrived, as pointers into guest RAM; they stay
 * valid until xn_guest_rx_done, which posts their buffers again and publishes once.
 * Merged frames (num_buffers > 1) come as one entry each with `more`.
 */
struct xn_guest_frame {
	const uint8_t *data;
	uint32_t bytes;
	uint16_t buffers;    /* num_buffers of the header; 0: continuation */
	uint16_t id;
};
unsigned xn_guest_rx(struct xn_guest *g, unsigned pair, struct xn_guest_frame *f, unsigned n);
void     xn_guest_rx_done(struct xn_guest *g, unsigned pair, const struct xn_guest_frame *f, unsigned n);

/*
 * Transmit: reserve up to n buffers to write frames into; submit says how long they
 * are, in the same order, and publishes once. xn_guest_tx_reap takes used ones back;
 * reserve does so by itself when it runs short.
 */
unsigned xn_guest_tx_reserve(struct xn_guest *g, unsigned pair, uint8_t **data, unsigned n);
void     xn_guest_tx_submit(struct xn_guest *g, unsigned pair, const uint32_t *bytes, unsigned n);
unsigned xn_guest_tx_reap(struct xn_guest *g, unsigned pair);
/* Sent and not yet returned. */
unsigned xn_guest_tx_pending(const struct xn_guest *g, unsigned pair);

/*
 * Transmit packets of several pieces (cfg.tx_pieces), as Linux's driver does with headers and
 * page fragments. Each has a slot with memory of its own until it is returned; its pieces lie
 * there, or anywhere else in RAM. The first begins with the virtio-net header.
 *
 * begin: memory of the slot that add takes next; NULL: all are on their way. add: offers a
 * packet; what was added is published by push, once a batch.
 */
struct xn_guest_piece {
	uint8_t *data;
	uint32_t bytes;
};
uint8_t *xn_guest_chain_begin(struct xn_guest *g, unsigned pair);
void     xn_guest_chain_add(struct xn_guest *g, unsigned pair, const struct xn_guest_piece *p, unsigned n);
void     xn_guest_chain_push(struct xn_guest *g, unsigned pair);

/*
 * Forward without a copy: sends a received frame from its receive buffer (the
 * header in front of it is cleared), and posts that buffer for receive again when
 * the transmit has been returned. Returns how many were taken; the others are still
 * the caller's (rx_done). Stops at a merged frame: those are not forwarded. Not
 * between reserve and submit.
 */
unsigned xn_guest_forward(struct xn_guest *g, unsigned pair, const struct xn_guest_frame *f, unsigned n);

#endif
