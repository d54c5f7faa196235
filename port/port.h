/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The seam between device and wire: batches in, batches out.
 *
 *	engine/ (the guest's side)                      a port (the wire's side)
 *	rx_post: heads with free buffers      --------> lends them, or keeps them
 *	                                                and lends frames of its own
 *	rx_poll: heads that hold a frame      <--------
 *	tx_post: packets as pieces of memory  --------> lends, chains, gathers
 *	tx_poll: heads that may be returned   <--------
 *
 * Life of a receive buffer (it is the port's from rx_post until its id comes out of
 * rx_poll, or the queue is stopped):
 *
 *	guest --pop--> engine --rx_post--> port --rx_poll--> engine --push--> guest
 *
 * The port decides what is lent and what is bounced, and counts why. The engine
 * knows nothing of AF_XDP, a port nothing of virtqueues.
 *
 * Calls of a queue come from one thread at a time. Counts cannot fail.
 */
#ifndef XN_PORT_PORT_H
#define XN_PORT_PORT_H

#include <linux/virtio_net.h>
#include <poll.h>

#include "base/atomics.h"
#include "base/counters.h"
#include "base/offload.h"
#include "base/types.h"
#include "umem/mem.h"

#define XN_BATCH_MAX 256u

#define XN_ETH_HDR_BYTES  14u
#define XN_VLAN_TAG_BYTES 4u
#define XN_MTU_MAX        65535u   /* what the config space of the device can say */

/*
 * A receive buffer that is not plainly lent: header room and data, 1 piece and more.
 * In a table by head, which is the engine's. The engine notes there the buffers of
 * several pieces before it posts them, the port those of one piece that it keeps.
 */
struct xn_rx_buf {
	xn_uoff  at;      /* first byte of the first piece */
	uint32_t len;     /* bytes of the first piece */
	uint32_t bytes;   /* of all pieces that are kept */
	uint32_t rest;    /* index of the next piece in `rests`; 0: there is none */
	uint32_t pad;
};

/* Further pieces of receive buffers: lists through one table; entry 0 is unused. */
struct xn_rx_rest {
	xn_uoff  at;
	uint32_t len;
	uint32_t next;    /* index; 0: the last */
};

/*
 * A receive buffer that comes back. A frame that is spread over several buffers
 * comes back as that many entries in a row, all but the last with XN_RX_MORE; a batch
 * never ends inside a frame. No flags: a whole frame in a buffer that was plainly lent.
 * An entry with XN_RX_EMPTY is of no frame, and stands between frames.
 */
struct xn_rx_done {
	xn_uoff  at;       /* of the buffer's first byte, without XN_RX_NOTED */
	uint32_t len;      /* bytes of the frame in this buffer (without header room) */
	union {
		struct { uint16_t id, flags; };
		uint32_t id_flags;
	};
	/* With XN_RX_CSUM, of the frame: where its checksum begins, and where it belongs from
	 * there on (VIRTIO 1.2, 5.1.6.4.1). */
	uint16_t csum_start, csum_offset;
	/* With XN_RX_GSO: payload of each segment, VIRTIO_NET_HDR_GSO_, bytes of headers. */
	uint16_t gso_size;
	uint8_t  gso_type, headers;
};
#define XN_RX_MORE  1u   /* the frame goes on in the next entry */
#define XN_RX_NOTED 2u   /* the buffer stands in the table, and may have several pieces */
#define XN_RX_CSUM  4u   /* a frame's first entry: its checksum is unfinished; cfg.guest_csum */
#define XN_RX_REST  16u  /* goes on with the frame of the entry before, which has XN_RX_MORE */
#define XN_RX_GSO   8u   /* a packet's first entry: made of segments (engine/gro.h); CSUM too */
#define XN_RX_EMPTY 32u  /* the buffer comes back unused; NOTED too, and len 0 (port/copy.h) */

/* Sum of `n` fields over batches goes to the counters once a batch. */
#define XN_COUNT(ctr, name, n) xn_count_add(&(ctr)->v[XN_C_##name], (n))

struct xn_port;
struct xn_rss_config;
struct xn_rx_filter;

/* What any port can do that copies: checksums and segments. */
#define XN_SOFT_FEATURES \
	(1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM | \
	 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6 | \
	 1ull << VIRTIO_NET_F_HOST_ECN | 1ull << XN_NET_F_HOST_USO)

struct xn_portq_cfg {
	struct xn_mem *mem;
	unsigned index;                 /* queue pair */
	uint32_t rx_heads, tx_heads;    /* ids are below these: virtqueue sizes */
	uint32_t hdr_bytes;             /* room in front of a frame in its first buffer */
	bool merge;                     /* may a frame be spread over buffers? */
	bool in_order;                  /* ... those of a frame follow each other then, as posted */
	bool rx_off;                    /* starts as set_rx(q, false) leaves it */
	bool guest_csum;                /* the guest takes frames with unfinished checksums;
					   changes between two calls of a queue */
	bool segments;                  /* packets may have to be cut into segments */
	struct xn_rx_buf *bufs;         /* table by head; the engine's */
	const struct xn_rx_rest *rests; /* likewise */
	struct xn_counters *ctr;
};

/* A queue of a port. Ports embed it first in their own structs. */
struct xn_portq {
	const struct xn_portq_ops *ops;
	struct xn_port *port;
	/* Why the port wants this queue stopped and started again (a static string); NULL: it
	 * does not. Looked at once a turn. */
	const char *restart;
	/* Frames that the last rx_poll took for other queues: work of which nothing shows here. */
	uint32_t aside;
	struct xn_portq_cfg cfg;
};

struct xn_portq_ops {
	/* Lends buffers; of one with several pieces only head and n_pieces count, the rest
	 * is noted in bufs. Returns how many of them it took, in order. */
	unsigned (*rx_post)(struct xn_portq *q, const struct xn_chain *bufs, unsigned n);
	/* Up to `frames` frames back, in up to n entries, n >= rx_heads (so any frame
	 * fits). Returns how many entries. */
	unsigned (*rx_poll)(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames);
	/*
	 * Takes packets of XN_ETH_HDR_BYTES..tx_frame bytes; `pieces` is the array that
	 * those of several pieces refer to. Chains and array are the engine's again when
	 * it returns, the memory that they describe when tx_poll gives back the head.
	 * Returns how many, in order; the others did not fit now. Counts them: as
	 * tx_packets and tx_bytes, or under the reason of a drop.
	 */
	unsigned (*tx_post)(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			    const struct xn_piece *pieces);
	/*
	 * The same of packets that ask for something: offloads[i] is what pkts[i] wants, checked;
	 * it need not stay. What is copied is summed as it is copied; what is lent, as it
	 * was: a guest that changes it meanwhile sends a wrong checksum, and nothing worse: headers
	 * are copies. Guest memory is not written. A packet to be cut is taken whole
	 * or not at all, and its head comes back behind its last segment.
	 */
	unsigned (*tx_offload)(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			       const struct xn_piece *pieces, const struct xn_offload *offloads);
	/* Gets posted packets on their way: at most one system call. */
	void (*tx_kick)(struct xn_portq *q);
	/* Up to n ids whose memory is not needed any more. */
	unsigned (*tx_poll)(struct xn_portq *q, uint16_t *ids, unsigned n);
	/* How many packets tx_post takes for sure, each of one piece. */
	unsigned (*tx_room)(struct xn_portq *q);
	/* Before a sleep: whatever has to be waited for shows in one of the wait_fds. */
	void (*arm)(struct xn_portq *q);
	/* What to sleep on, the same from start to stop; returns how many of n entries it
	 * filled. */
	unsigned (*wait_fds)(struct xn_portq *q, struct pollfd *fds, unsigned n);
	/* Whether frames for this queue are received, or dropped and counted. What had arrived
	 * already may still come. Buffers stay lent. */
	void (*set_rx)(struct xn_portq *q, bool on);
	/*
	 * First half of a stop: no new frame arrives for this queue after it
	 * returns. rx_poll, tx_kick and tx_poll still work, to drain.
	 */
	void (*quiesce)(struct xn_portq *q);
	/* After quiesce: are there frames that rx_poll has not looked at yet? */
	bool (*rx_waiting)(struct xn_portq *q);
	/* After quiesce, when packets have had their time to leave: from now on tx_poll gives
	 * back all that the kernel has taken, whether or not it is done with them. */
	void (*tx_give_up)(struct xn_portq *q);
	/*
	 * Second half: after it returns nothing writes to guest memory and nothing
	 * reads it on behalf of this queue. All ids still lent are the engine's
	 * again. Frees q, whatever it returns.
	 * 0, or -ETIMEDOUT (or another -errno, with a message): that could not be had in
	 * time. What was lent may still be written, so it must not be given back.
	 */
	int  (*stop)(struct xn_portq *q);
};

struct xn_port_ops {
	const char *kind;
	/* Makes queue cfg->index ready. 0 or -errno. */
	int  (*start)(struct xn_port *p, const struct xn_portq_cfg *cfg, struct xn_portq **q);
	/* After a stop of this queue that has failed, and likewise: 0 if what was lent to it
	 * is not written any more. start does the same first, and fails if it does. May be
	 * NULL where stops do not fail. */
	int  (*settle)(struct xn_port *p, unsigned index);
	void (*get_info)(const struct xn_port *p, struct xn_port_info *info);
	/* xn_port_get_mode; zeroed before. May be NULL. */
	void (*get_mode)(const struct xn_port *p, struct xn_port_mode *m);
	/*
	 * How frames find their queues from now on: as cfg says (rss/config.h), which names queues
	 * below n_queues and is copied. NULL: the guest does not say; then a flow comes on the
	 * queue pair on which the guest sends it, as far as the port can have it so, and on the
	 * one of its arrival else. Each frame sees what was before or this, whole. Queues may be
	 * started, stopped, and run meanwhile; one call at a time, which may sleep.
	 * 0, or -errno with a message: what was before stays. NULL: the port does not steer.
	 */
	int  (*set_rss)(struct xn_port *p, const struct xn_rss_config *cfg);
	/*
	 * Which frames the guest's driver wants from now on (base/filter.h), of those that are for
	 * the guest at all; copied. NULL: all. Others are dropped, and counted, before they reach
	 * guest memory where that can be had. Cannot fail; one call at a time; queues may run.
	 * NULL: the port does not filter.
	 */
	void (*set_rx_filter)(struct xn_port *p, const struct xn_rx_filter *f);
	/* xn_port_get_rss; zeroed before. May be NULL. */
	void (*get_rss)(const struct xn_port *p, struct xn_port_rss *r);
	/* Port-wide counters beyond the queues'; appends up to n, returns how many
	 * there are. May be NULL. */
	unsigned (*stats)(struct xn_port *p, struct xn_stat *out, unsigned n);
	/* Readable when handle_events has something to do; -1: never. */
	int  (*event_fd)(const struct xn_port *p);
	void (*handle_events)(struct xn_port *p, void (*event)(void *arg, const struct xn_event *),
			      void *arg);
	/* xn_port_announce. May be NULL: there is nobody to tell. */
	int  (*announce)(struct xn_port *p, const uint8_t mac[6]);
	void (*close)(struct xn_port *p);
};

/* Ports embed it first in their own structs. */
struct xn_port {
	const struct xn_port_ops *ops;
	uint32_t max_frame;     /* longest frame without FCS, bytes */
	uint32_t tx_frame;      /* ... that can be sent now: as long, or shorter, if the MTU has become
				   less since. Any thread */
	uint32_t n_queues;
	uint64_t features;      /* of the virtio-net device (VIRTIO 1.2, 5.1.3), those that the
				   port has to do something for */
	bool whole;             /* what was to be cut leaves whole, where it fits a frame */
	bool fixed_mac;         /* frames to another address never reach the guest */
	bool in_use;            /* has a device */
};

/* The kinds, each in its own file. `rest` is what follows "kind:" (or ""). */
int xn_port_open_xdp(struct xn_port **port, const char *rest, const struct xn_port_opts *opts);
int xn_port_open_null(struct xn_port **port, const char *rest, const struct xn_port_opts *opts);
int xn_port_open_loopback(struct xn_port **port, const char *rest, const struct xn_port_opts *opts);

#endif
