/* SPDX-License-Identifier: BSD-2-Clause */
/* The raw loop's state, for raw.c (theory there) and raw_large.c. */
#ifndef XN_BENCH_RAW_H
#define XN_BENCH_RAW_H

#include "base/types.h"
#include "bench/path.h"
#include "bpf/steer.h"
#include "xsk/zc.h"

#define XN_RAW_FLIGHT_MAX (2 * XN_RING_SIZE)   /* all buffers of both kinds */

struct xn_raw_flight {
	uint64_t addr;       /* of a transmit buffer; of a receive buffer: its fill address */
	bool rx;
};

struct xn_raw_queue {
	struct xn_xsk x;
	uint64_t rx_at[XN_RING_SIZE];      /* where frames land */
	uint64_t tx_at[XN_RING_SIZE];      /* free transmit buffers, a stack; large frames: all of them */
	uint32_t n_free;
	uint32_t held, held_max;           /* receive buffers that are not with the driver */
	struct xn_raw_flight flight[XN_RAW_FLIGHT_MAX];  /* being sent, in order */
	uint32_t posted, done;             /* free running: entries of flight[]; large frames:
					    * descriptors */
	/* Large frames: raw_large.c. */
	uint32_t pieces;                   /* of each; 0: none was sent yet */
	uint16_t group[XN_RING_SIZE];      /* free ones, a stack of n_free */
	uint16_t sent[XN_RING_SIZE];       /* on their way, in order */
	uint32_t sent_at, gone_at;         /* free running: entries of sent[] */
};

struct xn_raw_path {
	struct xn_path p;
	struct xn_guest *guest;
	struct xn_mem *mem;
	struct xn_steer *steer;
	struct xn_raw_queue *q;
	unsigned n_open;
	struct xn_zc_shape shape;          /* of the sockets */
	bool in_chunks;                    /* buffers are chunks of their own */
	uint32_t longest;                  /* frame, with a VLAN tag and FCS */
	bool sg, frags;                    /* frames come in several pieces; and the driver's are */
};

static inline struct xn_raw_path *xn_raw_of(const struct xn_path *p)
{
	return XN_CONTAINER_OF(p, struct xn_raw_path, p);
}

static inline struct xn_raw_queue *xn_raw_queue_of(const struct xn_near *w)
{
	return &xn_raw_of(w->path)->q[w->queue];
}

static inline uint8_t *xn_raw_at(const struct xn_near *w, uint64_t uoff)
{
	return xn_mem_at(xn_raw_of(w->path)->mem, XN_UOFF(uoff));
}

/* Puts the buffers of n received descriptors back on the fill ring. */
void xn_raw_give_back(struct xn_raw_queue *q, const struct xdp_desc *d, unsigned n);
/* n descriptors more; one system call if something waits. */
void xn_raw_push(struct xn_raw_queue *q, unsigned n);

/* raw_large.c: as the slots of struct xn_path_ops. */
unsigned xn_raw_large_rx(struct xn_near *w);
unsigned xn_raw_large_tx(struct xn_near *w, unsigned n);

#endif
