/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's side of AF_XDP, played on plain memory: with it the whole data path
 * runs without root, and does on request what a kernel does only now and then. In zero-copy
 * mode the driver is played too: tests/fake/nic.c.
 *
 *	      test                     fake kernel                   engine
 *	fk_rx(frame) ------> takes a fill entry, writes the  ------> rx ring
 *	                     frame at fill + headroom + 256
 *	fk_packet(i) <------ copies, completes              <------- tx ring, x->send()
 *
 * It follows Linux 6.18 in copy mode, net/xdp/xsk.c and xsk_buff_pool.h:
 *   - a fill entry counts without its upper 16 bits; one that is not wholly inside
 *     the UMEM is swallowed;
 *   - a frame longer than frame_bytes is dropped before it takes an entry; one that
 *     finds the RX ring full has written its entry, which is used again first;
 *   - an invalid TX descriptor is consumed, counted, completed, and ends the call;
 *   - a packet is copied when its last descriptor is consumed;
 *   - the first address of a packet loses bit 0 in the completion ring.
 *
 * Where the engine would break a promise that the kernel cannot check, the fake
 * does: `may_write`, and rings that are filled beyond their size.
 *
 * Rings are shared as with the kernel, by acquire and release: frames may come from
 * another thread than that which sends. The members of struct fk under "modes" may
 * be changed between calls.
 */
#ifndef XN_TESTS_FAKE_KERNEL_H
#define XN_TESTS_FAKE_KERNEL_H

#include "base/filter.h"
#include "bpf/flows.h"
#include "port/xdp.h"
#include "rss/config.h"
#include "xsk/xsk.h"

#define FK_BUDGET     32u    /* Linux net/xdp/xsk.c, TX_BATCH_SIZE */
#define FK_AHEAD_MAX  64u

/* One ring: the shared words on lines of their own, then the entries. */
struct fk_ring {
	XN_CACHE_ALIGNED uint32_t producer;
	XN_CACHE_ALIGNED uint32_t consumer;
	XN_CACHE_ALIGNED uint32_t flags;
	XN_CACHE_ALIGNED uint32_t at;   /* of the fake's own side, free running */
	uint32_t size, mask;
	void *entries;
};

/* A packet that was sent. */
struct fk_packet {
	uint8_t *data;
	uint32_t bytes, pieces;
};

/* A packet on its way: addresses that will be completed. */
struct fk_flying {
	uint64_t addr[XN_TX_PIECES_MAX];
	uint32_t len[XN_TX_PIECES_MAX];   /* zero-copy mode: the memory is read only at the end */
	unsigned n;
	bool refused;                     /* ... and this one is not sent */
};

/*
 * A NIC, and its driver in zero-copy mode. What it does follows Linux 7.2
 * (net/xdp/xsk_buff_pool.c, xsk_queue.h) and tests/zc:
 *   - fill entries go into the NIC's own ring first. One whose chunk crosses into a page
 *     that does not follow is gone, without a trace;
 *   - a frame is written into the oldest of them, before the XDP program has seen it. If
 *     that drops it, the buffer goes to the pool's free list, which is used first;
 *   - TX descriptors that cross such a page are refused: counted, completed, not sent. A
 *     packet of more pieces than it takes is not sent, whatever becomes of its pieces;
 *   - memory that is sent is read when it is completed;
 *   - after close() it goes on with what it has in its ring, until the queue is taken from
 *     it; that may take some attempts to bind it again.
 */
struct fk_nic {
	bool zero_copy;         /* has the mode at all */
	uint32_t ring;          /* buffers that it holds; 0: 64 */
	uint32_t front;         /* bytes that it writes before each frame ... */
	uint32_t reach;         /* ... and up to where from the landing on; 0: the frame only */
	uint32_t shift;         /* so much later each frame begins, behind a timestamp */
	uint32_t piece;         /* longer frames come in pieces; 0: they are dropped by the NIC */
	unsigned segments;      /* pieces of a packet in transmit; 0: 1 */
	bool by_piece;          /* a kernel before 7.2: of a broken packet, a piece a call */
	bool deaf;              /* takes nothing from the TX ring */
	uint64_t wakes_ns;      /* ... nor before this time (xn_now_ns) */
	bool scribbles;         /* writes to what it sends */
	unsigned forgets;       /* each so many'th packet is never completed */
	bool (*follows)(uint64_t page);   /* does the next page follow? NULL: all do */
	bool (*loses)(uint64_t fill);     /* forgets this buffer. NULL: none */
	unsigned keep;          /* buffers that it has to have at any time, beside the RX ring's */
	unsigned refusals;      /* attempts to bind that fail after a close */
};
#define FK_FOR_EVER (~0u)
#define FK_NIC_RING 4096u

struct fk {
	struct fk_ring fill, rx, tx, comp;
	struct fk_ring away;    /* RX ring of a second socket on this queue; size 0: none */
	struct fk_ring *to;     /* where the next frame goes; NULL: rx */
	uint8_t *umem;
	uint64_t umem_bytes;
	uint32_t chunk_bytes, frame_bytes, land;
	bool zero_copy, sg;

	/* -- modes: receive -- */
	/* May the engine have lent [at, at + bytes)? Called with all that the kernel
	 * might write for a fill entry; false ends the test (assert). NULL: no check. */
	bool (*may_write)(void *arg, uint64_t at, uint32_t bytes);
	void *arg;
	unsigned reorder;       /* take the next frame's entry from any of so many (0: in order) */

	/* -- modes: transmit -- */
	bool capture;           /* keep copies of what is sent (default) */
	unsigned budget;        /* descriptors a call takes before it says EAGAIN (0: no limit) */
	unsigned drop;          /* so many next packets are lost by the device: EBUSY */
	int send_error;         /* -errno: the call does nothing but return it */
	bool hold;              /* complete only when fk_complete is called */
	bool shuffle;           /* ... in any order */
	bool keep_bit0;         /* a kernel that completes odd addresses as they are */
	struct fk_nic nic;      /* zero-copy mode */

	/* -- what happened -- */
	struct xdp_statistics stat;
	uint64_t away_full;             /* dropped: the second socket's ring was full */
	uint64_t fill_invalid;          /* invalid entries swallowed: no kernel counter has them */
	uint64_t fill_lost;             /* zero-copy mode: crossed pages, or were forgotten */
	uint64_t taken;                 /* buffers that went into the NIC's ring from the fill ring */
	uint64_t rx_frames, tx_packets, tx_bytes, tx_lost, sends;
	struct fk_packet *packets;
	size_t n_packets, max_packets;

	/* -- inner state -- */
	uint64_t ahead[FK_AHEAD_MAX];   /* entries taken from the ring and not used yet */
	unsigned n_ahead;
	struct xdp_desc chain[XN_TX_PIECES_MAX];   /* the packet that is being put together */
	unsigned n_chain;
	bool chain_bad;                 /* ... has too many pieces: dropped up to its end */
	struct fk_flying *flying;
	unsigned n_flying;
	uint32_t comp_reserved;
	uint64_t nic_ring[FK_NIC_RING];   /* oldest first */
	unsigned n_nic;
	uint64_t left;                    /* packets that were sent */
	bool draining;                    /* pieces of a packet that is not sent */
	uint64_t random;
};

/*
 * Makes rings as cfg says and sets up x on them, with the fake's send and an fd that
 * never gets ready. Fails the test when memory is short. The fk must not move.
 */
void fk_init(struct fk *k, struct xn_xsk *x, const struct xn_xsk_cfg *cfg);
/* x must not be used any more. Accepts a zeroed fk. */
void fk_fini(struct fk *k, struct xn_xsk *x);

/*
 * A frame arrives. 0, or as in the kernel: -ENOSPC longer than frame_bytes, -ENOMEM no
 * fill entry, -ENOBUFS rx ring full (counted in stat, too).
 */
int fk_rx(struct fk *k, const void *frame, uint32_t bytes);
/* n frames of `bytes` arrive, without a byte being written; how many found an entry
 * and room. For measuring: costs a few ns each. */
unsigned fk_rx_many(struct fk *k, unsigned n, uint32_t bytes);

/* What x->send does; the engine calls it through x. */
int fk_send(struct xn_xsk *x);
/* Posts completions of up to n packets that are held back; how many. */
unsigned fk_complete(struct fk *k, unsigned n);
/* Forgets the packets captured so far. */
void fk_forget(struct fk *k);

/* ---- tests/fake/nic.c: zero-copy mode ---- */

/* What the XDP program does with a frame, or piece of one: 0, or -errno as fk_host_rx. */
typedef int fk_program(void *arg, uint32_t bytes);
/* A frame comes from the wire. 0, or why (the last piece of) it did not get to the RX ring:
 * as fk_rx, or what the program says. */
int  fk_nic_rx(struct fk *k, const void *frame, uint32_t bytes, fk_program *program, void *arg);
/* The NIC fetches buffers. */
void fk_nic_refill(struct fk *k);
/* What x->send does in zero-copy mode. */
int  fk_nic_send(struct xn_xsk *x);

/* Entries of the fill ring, and descriptors of the TX ring, that were not taken yet. */
uint32_t fk_fill_level(const struct fk *k);
uint32_t fk_tx_level(const struct fk *k);

/* ---- a host: the port's view of a kernel with one interface ---- */

#define FK_QUEUES 16u

struct fk_host {
	struct xn_if_info info;         /* what if_info says */
	struct fk_nic nic;              /* of all queues: copied at each open */
	int open_error;                 /* -errno for xsk_open */
	int zc_error;                   /* ... for one in zero-copy mode */
	int socket_error;               /* -errno for every new socket: xsk_socket, and
					   xsk_open without a spare one */
	unsigned sockets_left;          /* ... after so many were opened */
	struct xn_steer_cfg steer;      /* as given to steer_open */
	struct fk q[FK_QUEUES];
	struct xn_xsk *xsk[FK_QUEUES];  /* NULL: not open */
	int steered[FK_QUEUES];         /* socket's fd; -1: none */
	struct xn_rx_filter filter;     /* noted, and nothing else */
	bool filters;
	uint64_t exits[XN_E_COUNT];     /* without what RSS has steered */
	/* -- RSS, as far as steer.rss_pairs says; columns and counters by guest queue -- */
	bool rss_on;
	struct xn_rss_config rss;
	int grid[FK_QUEUES][FK_QUEUES]; /* [host queue][guest queue]: fd; -1: none */
	bool disabled[FK_QUEUES];
	uint64_t queue_exits[FK_QUEUES][XN_Q_COUNT];
	struct xn_xsk *away[FK_QUEUES]; /* second sockets */
	int away_error;                 /* -errno for opening one */
	unsigned swaps;                 /* configurations so far */
	/* Steering by flow, while rss_on is false: as bpf/flows.h has it. */
	struct xn_flows flows;
	uint8_t slots[XN_FLOW_SLOTS];
	struct xn_rss_config flow_rss;
	struct xn_ethtool *eth;         /* its key, table and rules (tests/fake/ethtool.h); NULL: none */
	int eth_state;                  /* directory for what they were; -1: none */
	unsigned barriers, opened, closed;
	unsigned proofs;                /* zc_close calls that proved the end */
	/* What a NIC goes on with after close(), until the queue is taken from it. */
	struct {
		struct fk *k;           /* NULL: nothing */
		unsigned refusals;      /* left */
	} ghost[FK_QUEUES];
	/* Called for each attempt to bind a queue that a ghost has. */
	void (*on_attempt)(unsigned queue);
	/* Called for a socket that has just been opened: sets modes of its fk. */
	void (*on_open)(struct fk *k, unsigned queue);
};

/* The callbacks of struct xn_xdp_sys have no argument: there is one host. It may be used by
 * several threads, where each queue has one of its own and frames come from another: a lock
 * stands for what the kernel's read-copy-update does. */
extern struct fk_host fk_host;
extern const struct xn_xdp_sys fk_host_sys;

/* An interface "fake0" of MTU 1500, driver veth, up, 10 Gbit/s. Nothing open. */
void fk_host_reset(void);
/* The next frame that was announced on the port opened last; its length, 0: none. */
uint32_t fk_host_announced(void *frame, uint32_t max);
/* A frame comes to this queue of the interface, and through the XDP program. As
 * fk_rx; -ENXIO: not steered anywhere, -EMSGSIZE: dropped by the program as too long.
 * Without a socket it may be a ghost's: then it is written, and 1 returned. */
int fk_host_rx(unsigned queue, const void *frame, uint32_t bytes);

#endif
