/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue pair: two virtqueues on one side, one port queue on the other.
 *
 * One turn (xn_queue_run), always in this order:
 *
 *	rx  port -> guest   frames that arrived, header written, heads used
 *	    guest -> port   free buffers, posted
 *	tx  guest -> port   packets, posted; one kick
 *	    port -> guest   heads whose packets have left, used
 *	publish each ring once, decide once for each whether to notify
 *
 * Everything is in batches through arrays of the queue's own; nothing is allocated
 * between start and stop. The pair belongs to one thread at a time.
 *
 * Receive buffers of several pieces stand in bufs[head] while they are out, with the
 * further pieces in `rests`, a table of list nodes from a free list. Only the pieces
 * that header and longest frame can reach are kept. Those of one piece pass by.
 */
#ifndef XN_ENGINE_QUEUE_H
#define XN_ENGINE_QUEUE_H

#include "engine/gro.h"
#include "engine/hash.h"
#include "engine/hold.h"
#include "port/port.h"
#include "virtio/net.h"
#include "virtio/offload.h"
#include "virtio/vq.h"
#include "xsknet.h"

/* Packets with offloads that go to the port in one call. */
#define XN_OFFLOAD_BATCH 16u

/* What a driver is asked for by a started ring, for one direction. */
struct xn_ring_side {
	struct xn_vq vq;
	int kick_fd, call_fd;     /* -1: none */
	unsigned index;           /* vring: 2 * pair, or 2 * pair + 1 */
	bool missing;             /* not set by the VMM: does nothing */
	bool broken_told;
};

struct xn_queue {
	struct xn_ring_side rx, tx;
	struct xn_portq *port;
	const struct xn_portq_ops *ops;   /* port->ops */
	const struct xn_mem *mem;
	const struct xn_dirty *log;       /* NULL: off */
	uint32_t max_frame;               /* that the guest may send: port->tx_frame of this turn */
	struct xn_offload_rules rules;    /* what headers of packets may ask for */
	uint32_t hdr_bytes;               /* of the virtio-net header */
	uint32_t keep_bytes;              /* of a receive buffer: header and longest frame */
	/* The variant of xn_rx_deliver that what was negotiated needs. */
	unsigned (*deliver)(struct xn_queue *q, unsigned budget);
	/* The same, if `deliver` is what has to be done before: xn_rx_deliver_switched. */
	unsigned (*deliver_now)(struct xn_queue *q, unsigned budget);
	struct xn_hash_report *hash;      /* NULL: hashes are not reported */
	struct xn_gro *gro;               /* NULL: frames are given as they come */

	struct xn_rx_buf *bufs;           /* by head */
	struct xn_rx_rest *rests;         /* [0] unused */
	uint32_t rest_free;               /* free list through .next; 0: empty */
	uint32_t rests_left;              /* nodes on the free list */

	struct xn_chain chains[XN_BATCH_MAX];
	uint16_t ids[XN_BATCH_MAX];
	struct xn_rx_done *done;          /* max_done entries */
	struct xn_piece *pieces;          /* max_pieces entries */
	struct xn_offload *offloads;      /* XN_OFFLOAD_BATCH entries */
	uint32_t max_done, max_pieces;

	struct xn_counters ctr XN_CACHE_ALIGNED;
	struct xn_dev *dev;
	unsigned pair;
	bool running;                     /* between start and stop */
	bool unproven;                    /* its last stop has failed: xn_queue_stop tries again */
	bool rx_off, tx_off;              /* disabled: xn_queue_enable */
	bool holds;                       /* notifications may wait: negotiated */
	/* The last turn left heads that the port had no room for: kicks cannot help, only
	 * what the port's fds tell of. */
	bool rx_blocked, tx_blocked;
	struct xn_hold hold;              /* with holds */
};

/* engine/rx.c */
unsigned xn_rx_deliver(struct xn_queue *q, unsigned budget);
unsigned xn_rx_deliver_hashed(struct xn_queue *q, unsigned budget);
unsigned xn_rx_deliver_legacy(struct xn_queue *q, unsigned budget);
unsigned xn_rx_deliver_gro(struct xn_queue *q, unsigned budget);
unsigned xn_rx_deliver_gro_hashed(struct xn_queue *q, unsigned budget);
unsigned xn_rx_refill(struct xn_queue *q);
/* engine/guest_offloads.c: as the driver wants it now, for drivers that may change it */
unsigned xn_rx_deliver_switched(struct xn_queue *q, unsigned budget);
/* engine/tx.c */
unsigned xn_tx_send(struct xn_queue *q, unsigned budget);
unsigned xn_tx_reclaim(struct xn_queue *q);

/* engine/dev.c: the port wants it (port->restart). Afterwards it may not run any more. */
void xn_queue_restart(struct xn_queue *q);

/* engine/queue.c: tables for rings of these sizes. 0 or -ENOMEM. */
int  xn_queue_alloc(struct xn_queue *q, uint32_t rx_size, uint32_t tx_size);
void xn_queue_free(struct xn_queue *q);
/* Publishes what was pushed, notifies the guest if it wants that. */
void xn_queue_flush(struct xn_queue *q);
/* For a stop: takes all heads that are still out back from the port's side, which must
 * not use them any more (xn_vq_reclaim_all); notifies. */
void xn_queue_take_back(struct xn_queue *q);

#endif
