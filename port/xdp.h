/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The AF_XDP port: a guest's buffers on the rings of AF_XDP sockets.
 *
 * Receive. A buffer whose bytes behind the virtio header are contiguous, inside the
 * registered memory, and at least as many as the longest frame, is lent: its fill
 * entry is chosen so that the frame lands behind the header (xsk/xsk.h). Any other
 * buffer waits in a fifo (port/copy.h), and a bounce frame is lent in its place.
 * In zero-copy mode less can be lent, and what was lent is watched: port/xdp_zc.h.
 *
 *	fill ring   | lent | lent | bounce | lent | ...      `lent` shadows it: slot by
 *	lent[]      | id 7 | id 3 | frame  | id 9 | ...      slot, which entry is whose
 *
 * In copy mode frames come back in the order of the fill ring, so the shadow is
 * read in step with the RX ring and its address only confirms; drivers in
 * zero-copy mode may differ, then the entry is searched for.
 *
 * Transmit. One piece inside the registered memory, of a chunk at most, is lent as it lies.
 * Of all others it is chosen packet by packet what is lent, and what is copied into arena frames
 * (port/xdp_send.c, port/layout.h). `sent` shadows the TX ring.
 *
 * What a guest wants done to a packet (checksum, segments) is done while it is copied: into
 * an arena frame, or as many segments into each as find room. That takes 23 frames for the
 * longest packet in segments of 1448 bytes, and ring slots for all of them, or it waits.
 * Segments, and packets, of more than a frame are copied only as far as saves a descriptor.
 *
 * Peers in this machine leave checksums unfinished: port/rx_csum.h. Where frames may come
 * from there (rx_csum), each is looked at.
 *
 * When may a transmitted buffer go back to the guest? In copy mode sendto() has
 * copied the data when it has consumed the descriptor (tx_copies): heads go back in
 * ring order, at once, and completions are only counted. Otherwise when it is
 * completed: completions lose bit 0 of an odd address (Linux 6.18, xsk_skb_destructor)
 * and need not come in order, so they are matched without that bit.
 *
 * With several queues and RSS each of them has a second socket, and they give each other
 * frames: port/xdp_rss.c.
 *
 * Everything that needs privileges, or a path, is opened with the port: the program and
 * its maps, netlink and packet sockets, and `spares`: one AF_XDP socket for each start
 * of a queue, since a socket that was bound cannot be bound again.
 */
#ifndef XN_PORT_XDP_H
#define XN_PORT_XDP_H

#include <net/if.h>
#include <pthread.h>

#include "base/log.h"
#include "bpf/steer.h"
#include "port/copy.h"
#include "port/layout.h"
#include "port/link.h"
#include "port/speed.h"
#include "port/port.h"
#include "port/xdp_nic.h"
#include "rss/image.h"
#include "xsk/xsk.h"
#include "xsk/zc.h"

enum xn_tx_multi { XN_TX_AUTO, XN_TX_GATHER, XN_TX_CHAIN };

struct xn_xdp_spec {
	char ifname[IF_NAMESIZE];
	unsigned queues, start, budget;
	enum xn_xsk_mode mode;
	bool bounce, filter_mac, nic_keep, by_arrival, whole;
	enum xn_attach attach;
	enum xn_tx_multi tx;
};

/* What an interface is like when the port is opened. */
struct xn_if_info {
	unsigned ifindex;
	uint32_t mtu;
	uint8_t mac[6];
	bool up;
	uint64_t netns;      /* which network namespace it is in; 0: not to be had */
	uint32_t rx_queues, tx_queues;   /* 0: the driver does not tell */
	uint32_t speed;      /* Mbit/s; 0: not known */
	bool full_duplex;
	char driver[32];
	char release[64];    /* of the kernel; "": not known */
};

/*
 * The kernel as the port sees it; tests put a fake one here, and the whole data
 * path runs without privileges.
 */
struct xn_xdp_sys {
	int  (*if_info)(const char *ifname, struct xn_if_info *info);
	uint64_t (*netns)(void);   /* of the calling thread */
	int  (*steer_open)(struct xn_steer **s, const struct xn_steer_cfg *cfg);
	void (*steer_close)(struct xn_steer *s);
	int  (*steer_set)(struct xn_steer *s, unsigned queue, int xsk_fd);
	void (*steer_clear)(struct xn_steer *s, unsigned queue);
	bool (*steer_native)(const struct xn_steer *s);
	void (*steer_filter)(struct xn_steer *s, const struct xn_rx_filter *f);
	void (*steer_counters)(const struct xn_steer *s, uint64_t out[XN_E_COUNT]);
	const struct xn_flows *(*steer_flows)(const struct xn_steer *s);
	int  (*steer_set_rss)(struct xn_steer *s, const struct xn_rss_config *cfg);
	int  (*steer_set_at)(struct xn_steer *s, unsigned host_queue, unsigned guest_queue, int xsk_fd);
	void (*steer_clear_at)(struct xn_steer *s, unsigned host_queue, unsigned guest_queue);
	void (*steer_enable)(struct xn_steer *s, unsigned guest_queue, bool on);
	void (*steer_queue_counters)(const struct xn_steer *s, unsigned guest_queue,
				     uint64_t out[XN_Q_COUNT]);
	int  (*xsk_socket)(int *fd, const char *ifname);
	int  (*xsk_open)(struct xn_xsk *x, const struct xn_xsk_cfg *cfg);
	int  (*xsk_open_rx)(struct xn_xsk *x, const struct xn_xsk *of, const struct xn_xsk_cfg *cfg);
	void (*xsk_close)(struct xn_xsk *x);
	void (*xsk_statistics)(const struct xn_xsk *x, struct xdp_statistics *st);
	int  (*zc_close)(struct xn_xsk *x, unsigned ifindex, unsigned queue, const char *ifname,
			 int fd, uint32_t ms);
	int  (*barrier)(void);
	int  (*link_open)(struct xn_link *l, unsigned ifindex, const char *ifname);
	int  (*announce_open)(int *fd, unsigned ifindex, const char *ifname);
	int  (*nic_open)(struct xn_nic **n, const struct xn_nic_cfg *cfg);
	/* How long to wait for a driver in zero-copy mode: until it tells which pages follow
	 * each other, and until it has given a queue back. */
	uint32_t ask_ms, close_ms;
	uint32_t late_ms;                /* ... and for a completion that later ones have overtaken */
};
extern const struct xn_xdp_sys xn_xdp_sys_linux;

/* An entry of the fill ring: where it points, and whose buffer it is. */
struct xn_lent {
	uint64_t fill;      /* address as posted */
	uint32_t id_kind;   /* head, and XN_LENT_* << 16 */
	union {
		uint32_t no;    /* its number: of rx_posted (zero-copy mode) */
		uint32_t len;   /* of a buffer of one piece: its bytes (frames of several pieces) */
	};
};
#define XN_LENT_PLAIN  0u   /* a buffer of one piece: it begins at fill + rule.fill_before */
#define XN_LENT_NOTED  1u   /* a buffer of several pieces, in the table of bufs */
#define XN_LENT_BOUNCE 2u   /* a bounce frame */
#define XN_LENT_KIND(l) ((l)->id_kind >> 16)

/* An entry of the TX ring, in one word; its address stays readable in the ring:
 * head (16 bits), XN_SENT_*, arena frame to give back: index + 1 (32 bits; 0: none). */
#define XN_SENT_LAST  (1u << 16)   /* last descriptor of its packet: the head goes back */
#define XN_SENT_DONE  (1u << 17)   /* completed (only without tx_copies) */
#define XN_SENT_FRAME 32u          /* shift */

/*
 * The lend rule for a buffer of one piece, in two comparisons; made once, at start.
 * A buffer that fails it may still be lent (header in a piece of its own).
 */
struct xn_lend_rule {
	uint32_t min_len;       /* header, and what may be written behind it */
	uint64_t last_at;       /* last offset at which both are inside registered memory */
	uint64_t fill_before;   /* fill address = buffer - this */
};

/* What is watched of a driver in zero-copy mode: port/xdp_watch.c. */
struct xn_xdp_watch {
	uint32_t rx_proof, tx_proof;     /* frames that still have to pass through the port's own */
	uint32_t trial;                  /* ... and then to come in lent buffers: half are lent */
	uint32_t verdict;                /* of the port, as this queue has seen it */
	uint32_t patience;               /* entries that may overtake another one */
	uint64_t drops;                  /* behind the NIC, when it was looked at them last */
	uint64_t refused;                /* TX descriptors, likewise */
	uint32_t tx_looked;              /* at tx_posted */
	uint32_t tx_late;                /* descriptor whose completion is missing ... */
	uint64_t tx_late_ns;             /* ... until when; 0: none is */
	uint64_t *tx_sums;               /* of arena frames on their way, while tx_proof */
};

/* Which queue sends which flow: port/xdp_flow.c. */
struct xn_xdp_learn {
	const struct xn_flows *flows;    /* NULL: it is not learnt */
	unsigned (*tx_post)(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			    const struct xn_piece *pieces);
	struct xn_portq_ops ops;         /* the queue's, but for tx_post */
	unsigned turn;                   /* free running: which packet of a batch is looked at */
};

/* With several queues, what each of them has beside its own socket: port/xdp_rss.c. */
struct xn_xdp_away {
	struct xn_xsk xsk;               /* for frames of other guest queues; fd -1: none */
	uint64_t owed;                   /* guest queues that have buffers of this one, a bit each */
	uint64_t tell;                   /* ... and have been given some in this turn */
	uint64_t in;                     /* queues that may have frames for this one */
	uint32_t crossing;               /* buffers that other threads have */
	uint32_t reserve;                /* buffers to be held back */
	uint32_t turn;
	uint32_t generation;             /* of the configuration below */
	uint8_t off;                     /* as set_rx left it. Any thread */
	bool steered;                    /* by `image`; else a frame is for where it came */
	struct xn_rss_image image;       /* a copy of its own */
	uint8_t frame[XN_CHUNK_BYTES];   /* what of a frame is looked at */
};

struct xn_xdpq {
	struct xn_portq q;
	struct xn_xsk xsk;
	bool bounce;             /* nothing is lent */
	bool collect;            /* ... because of how the guest takes frames of several pieces */
	bool ordered;            /* ... because it has buffers back in order, and one cannot be lent */
	bool tx_copies;          /* consumed means copied */
	bool sg;                 /* frames may come in several pieces: port/xdp_pieces.c */
	uint32_t pieces;         /* ... so many at most; else 1 */
	bool chain_tx;           /* several pieces are chained where possible */
	uint16_t tx_pieces;      /* ... so many at most */
	uint32_t longest;        /* frame, or piece of one, that is received; longer ones have no place */
	uint32_t reach;          /* bytes from a landing on that the kernel or the NIC may write */

	/* -- receive -- */
	struct xn_lend_rule rule;
	struct xn_lent *lent;
	uint32_t lent_mask;
	uint32_t rx_posted, rx_taken;    /* free running: fill entries posted, taken back */
	uint32_t bounce_posted;          /* of the outstanding ones, bounce frames */
	struct xn_id_fifo held;          /* buffers that wait for a bounced frame */
	/* How many of the longest frames, or pieces of one, the held buffers take, at least; and the
	 * bytes behind the last of them that are no whole frame. */
	uint32_t held_frames, held_open;
	uint32_t held_pieces;            /* sg: of the longest frames that fit them, each */
	bool held_stale;                 /* short frames have left more than is counted */
	xn_uoff *rx_frames;              /* stack of free bounce frames */
	xn_uoff *rx_all;                 /* all of them, for the stop */
	uint32_t n_rx_frames, all_rx_frames;
	uint8_t *aside;                  /* sg: where a frame is copied that lies in both kinds */

	/* -- transmit -- */
	bool tx_lends;                   /* bounce is only for what is received (no merging) */
	struct xn_layout_rules lay;      /* of packets that do not leave as they lie */
	uint64_t *sent;
	uint32_t tx_posted, tx_done;     /* free running: descriptors */
	uint32_t tx_hint;                /* where the next completion is looked for first */
	uint32_t *tx_free;               /* stack of indices of free arena frames */
	xn_uoff *tx_frames;
	uint32_t n_tx_free, all_tx_frames;
	bool rx_csum;                    /* frames may come with unfinished checksums */
	uint16_t *tx_ready;              /* ids that may go back though nothing was sent */
	uint32_t n_tx_ready;
	uint64_t tx_retry_ns;            /* while down: not before this time */
	bool tx_down;                    /* the kernel said that the interface is down */
	bool tx_gone;                    /* ... that the socket is unbound: for good */
	int retry_fd;                    /* timerfd: when to kick again a stuck ring */
	bool retry_set;

	struct xn_mem *mem;
	unsigned host_queue;

	struct xn_xdp_away *away;        /* NULL: one queue */

	/* -- zero-copy mode -- */
	const struct xn_zc_map *map;     /* which pages a lent chunk may cross; NULL: copy mode */
	const struct xn_zc_map *tx_map;  /* likewise, what is sent */
	bool known;                      /* the driver is: else nothing is lent, nothing watched */
	uint32_t front, shift;           /* of the driver (xsk/drivers.h) */
	uint32_t keep;                   /* fill entries that are never fewer (xsk/zc.h); 0: any */
	uint32_t cut_at;                 /* where a piece of a longer frame ends in its chunk */
	bool cut;                        /* the last one did: what comes next is of that frame */
	uint64_t refused;                /* TX descriptors, when it was asked which pages follow */
	int end_fd;                      /* socket that proves the end (xn_zc_close); -1: none */
	struct xn_xdp_watch watch;

	struct xn_xdp_learn learn;
};

/* Why the mode is what it is. X(name, text) */
#define XN_MODE_WHYS(X) \
X(ASKED,   "as asked for") \
X(LENDS,   "most pages follow each other for the device, so that they can be lent to its driver") \
X(DRIVER,  "nothing can be lent to its driver in zero-copy mode") \
X(FRAME,   "its driver takes no frames of this MTU whole in zero-copy mode") \
X(FILTER,  "with filter=mac the card would write frames of others into guest memory") \
X(GENERIC, "the XDP program is attached in generic mode") \
X(PIECES,  "frames of this MTU come in several pieces, which are for copy mode only") \
X(ORDER,   "the guest has its buffers back in order (IN_ORDER), and zero-copy mode keeps some back") \
X(BIND,    "its driver refused zero-copy mode") \
X(PAGES,   "too few pages follow each other for the device: most chunks could not be lent") \
X(SILENT,  "its driver took nothing that was asked in zero-copy mode: is there a carrier?") \
X(FRAMES,  "there are too few bounce frames for its driver in zero-copy mode") \
X(LOST,    "its driver lost buffers in zero-copy mode") \
X(DENIED,  "its driver did something else with memory in zero-copy mode than what is known of it")

enum xn_mode_why {
#define XN_X(name, text) XN_WHY_##name,
	XN_MODE_WHYS(XN_X)
#undef XN_X
};

/* What its driver has done so far decides what it is lent. */
enum xn_verdict {
	XN_VERDICT_ALL,                  /* what the shape and the map allow */
	XN_VERDICT_IN_PAGE,              /* nothing that crosses into another page */
	XN_VERDICT_NONE,
};

/* What the port knows of zero-copy mode on its interface: port/xdp_mode.c. */
struct xn_xdp_mode {
	const struct xn_zc_driver *driver;   /* NULL: not known */
	struct xn_zc_shape shape;        /* driver NULL: nothing can be lent */
	struct xn_zc_map map;            /* of the memory that is bound; bits NULL: none */
	struct xn_zc_map none;           /* as large, and no page follows */
	uint32_t map_users;              /* queues that are bound in zero-copy mode */
	/* Of the bind that was last: */
	uint32_t chunk_bytes, frame_bytes, reach, permille, hdr_bytes;
	bool lends;
	bool zero_copy;                  /* as bound last */
	uint32_t verdict;                /* XN_VERDICT_*; only grows. Any thread */
	uint64_t attached_ns;            /* when the program was: some drivers reset their NIC then */
	bool told;
	enum xn_mode_why cannot;         /* why not zero-copy mode, whatever it is; ASKED: it can be */
	enum xn_mode_why why;            /* of the mode bound last */
};

/* Buffers of the guest's that the kernel has, or other threads with a frame in them; `posted` so
 * far. */
static inline uint32_t xn_xdp_guests_lent(const struct xn_xdpq *x, uint32_t posted)
{
	return posted - x->rx_taken + (x->away ? x->away->crossing : 0) - x->bounce_posted;
}

struct xn_xdp_port {
	struct xn_port port;
	struct xn_xdp_spec spec;
	const struct xn_xdp_sys *sys;
	struct xn_if_info info;
	bool sg;             /* the longest frame is longer than a chunk: it comes in pieces */
	/* A queue may be restarted by its own thread. `setup`: held for as long as a queue
	 * starts or stops; `lock`: for what others look at meanwhile, queues and mode. */
	pthread_mutex_t setup, lock;
	struct xn_steer *steer;
	struct xn_link link;
	struct xn_speed speed;
	struct xn_xdpq *queues[XN_STEER_MAX_QUEUES];
	struct xdp_statistics past;      /* of sockets that are closed */
	int *spares;                     /* stack of sockets for later starts */
	uint32_t n_spares, spares_spent;
	uint8_t had_carrier;             /* there was one, some time. Any thread */
	uint64_t unproven;               /* queues whose stop has failed, a bit each */
	int announce_fd;                 /* -1: none */
	struct xn_xdp_mode mode;
	struct xn_xdp_rss *rss;          /* NULL: one queue, nothing to steer. port/xdp_rss.c */
	struct xn_xdp_nic nic;           /* with several queues */
};

/* May frames come from a stack in this machine, which leaves checksums to a card that is not
 * there? */
bool xn_xdp_soft_peer(const struct xn_xdp_port *p);
/* Adds what the kernel counted for x's socket. */
void xn_xdp_add_statistics(struct xdp_statistics *sum, const struct xn_xdpq *x);
int xn_xdp_spec_parse(struct xn_xdp_spec *spec, const char *rest);
int xn_port_open_xdp_on(struct xn_port **port, const char *rest, const struct xn_port_opts *opts,
			const struct xn_xdp_sys *sys);

/* port/xdp_rx.c */
bool     xn_xdp_rx_waiting(struct xn_portq *q);
unsigned xn_xdp_rx_post(struct xn_portq *q, const struct xn_chain *bufs, unsigned n);
unsigned xn_xdp_rx_poll(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames);
unsigned xn_xdp_rx_post_zc(struct xn_portq *q, const struct xn_chain *bufs, unsigned n);
unsigned xn_xdp_rx_poll_zc(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames);
unsigned xn_xdp_rx_post_rss(struct xn_portq *q, const struct xn_chain *bufs, unsigned n);
unsigned xn_xdp_rx_poll_rss(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames);
unsigned xn_xdp_rx_post_sg(struct xn_portq *q, const struct xn_chain *bufs, unsigned n);
unsigned xn_xdp_rx_post_sg_rss(struct xn_portq *q, const struct xn_chain *bufs, unsigned n);
unsigned xn_xdp_rx_poll_sg(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames);
unsigned xn_xdp_rx_poll_sg_rss(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames);
unsigned xn_xdp_rx_post_zc_rss(struct xn_portq *q, const struct xn_chain *bufs, unsigned n);
unsigned xn_xdp_rx_poll_zc_rss(struct xn_portq *q, struct xn_rx_done *done, unsigned n, unsigned frames);
/* port/xdp_tx.c */
/* When x is bound: how its packets leave. */
void     xn_xdp_tx_begin(struct xn_xdpq *x, const struct xn_xdp_spec *spec);
unsigned xn_xdp_tx_post(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			const struct xn_piece *pieces);
unsigned xn_xdp_tx_post_zc(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			   const struct xn_piece *pieces);
unsigned xn_xdp_tx_offload(struct xn_portq *q, const struct xn_chain *pkts, unsigned n,
			   const struct xn_piece *pieces, const struct xn_offload *offloads);
void     xn_xdp_tx_kick(struct xn_portq *q);
unsigned xn_xdp_tx_poll(struct xn_portq *q, uint16_t *ids, unsigned n);
unsigned xn_xdp_tx_poll_zc(struct xn_portq *q, uint16_t *ids, unsigned n);
unsigned xn_xdp_tx_room(struct xn_portq *q);
/* Zero-copy mode: posts bounce frames until there are as many entries as have to be. */
void     xn_xdp_keep_up(struct xn_xdpq *x);
/* Are there descriptors that the kernel has not taken yet? */
bool     xn_xdp_tx_stuck(const struct xn_xdpq *x);
void     xn_xdp_tx_give_up(struct xn_portq *q);

/* port/xdp_pieces.c: frames in an RX ring, those of several pieces counted once. */
uint32_t xn_xdp_frames_in(struct xsk_ring_cons *rx);

/* port/xdp_mode.c: in what mode queues are bound */
/* When the port is opened: chooses the shape of a bind in zero-copy mode. -EINVAL: what was
 * asked for cannot be. */
int  xn_xdp_mode_choose(struct xn_xdp_port *p);
/* How many fill entries there may have to be, beside the guest's: 0 in copy mode. */
uint32_t xn_xdp_mode_keeps(const struct xn_xdp_port *p);
/* In how many pieces the longest frame comes. */
uint32_t xn_xdp_mode_pieces(const struct xn_xdp_port *p);
/* Longest frame, or piece of one, that the XDP program has to let through. */
uint32_t xn_xdp_mode_passes(const struct xn_xdp_port *p);
/* What the XDP program's attachment says to that. 0 or -EOPNOTSUPP. */
int  xn_xdp_mode_attached(struct xn_xdp_port *p);
/* Binds x's socket, in the mode asked for or the best that can be had; sets all that
 * depends on it. On failure nothing is open. */
int  xn_xdp_bind(struct xn_xdpq *x, uint32_t fill_size, uint32_t tx_size);
/* A spare socket; -1 in *fd: one has to be opened. 0 or -EXDEV. */
int  xn_xdp_take_spare(struct xn_xdp_port *p, int *fd);
/* Closes it. 0, or as the stop of a queue. */
int  xn_xdp_unbind(struct xn_xdpq *x);
/* The queue of a port that was unbound, and has not been proven to be free: tries again. */
int  xn_xdp_settle(struct xn_xdp_port *p, unsigned index);
void xn_xdp_get_mode(const struct xn_port *port, struct xn_port_mode *m);
const char *xn_xdp_why(enum xn_mode_why why);

/* port/xdp_watch.c */
/* When x is bound, and its rings are empty. 0 or -ENOMEM. */
int  xn_xdp_watch_begin(struct xn_xdpq *x);
void xn_xdp_watch_end(struct xn_xdpq *x);
/* Sets x's lend rule by what may be lent now. */
void xn_xdp_set_rule(struct xn_xdpq *x);
/* The verdict is another one than this queue has seen. */
void xn_xdp_heed(struct xn_xdpq *x);
/* A frame has come in this bounce frame: is nothing written around it? Once there is, nothing
 * is lent any more. While rx_proof. */
void xn_xdp_prove_rx(struct xn_xdpq *x, uint64_t fill);
/* Frames have come in lent buffers while only half of them were lent. */
void xn_xdp_trial_rx(struct xn_xdpq *x, uint32_t frames);
/* A lent buffer, or a bounce frame, came back with a frame where none can be. */
void xn_xdp_misplaced(struct xn_xdpq *x);
/* The oldest entry was overtaken by more than watch.patience others. */
void xn_xdp_overtaken(struct xn_xdpq *x);
/* An arena frame is sent, or has been: while tx_proof. */
void xn_xdp_tx_leaves(struct xn_xdpq *x, uint32_t frame);
void xn_xdp_tx_back(struct xn_xdpq *x, uint32_t frame);
/* The oldest completion has not come, though the ahead'th behind it has; and: a look at what
 * was refused. */
void xn_xdp_tx_overtaken(struct xn_xdpq *x, uint32_t ahead);
void xn_xdp_tx_look(struct xn_xdpq *x);
#define XN_XDP_LOOK_PKTS 4096u   /* so often */

/* port/xdp_rss.c: with several queues, which frames come to which of them */
/* Before the XDP program is opened. 0 or -errno. */
int  xn_xdp_rss_open(struct xn_xdp_port *p);
void xn_xdp_rss_close(struct xn_xdp_port *p);
/* All queues are disabled at first. */
void xn_xdp_rss_begin(struct xn_xdp_port *p);
int  xn_xdp_set_rss(struct xn_port *port, const struct xn_rss_config *cfg);
/* Frames that RSS names no queue for, of all queues. */
uint64_t xn_xdp_unclassified(const struct xn_xdp_port *p);
/* Queues whose second socket could not be had, a bit each, and (of one) why: what comes there
 * for others stays there. Under p->lock. */
uint64_t xn_xdp_unmended(const struct xn_xdp_port *p, const char **why);

/* Frames for x come from now on, or are dropped and counted. Without RSS these are those of
 * its host queue, with RSS those that are named for it. 0 or -errno. */
int  xn_xdp_steer_on(struct xn_xdpq *x);
void xn_xdp_steer_off(struct xn_xdpq *x);
/* Once x is bound, and before it is steered to: 0 or -errno. */
int  xn_xdp_rss_start(struct xn_xdpq *x);
/* No frames of others come on x's host queue from the next barrier on. */
void xn_xdp_rss_quiesce(const struct xn_xdpq *x);
/* All that other threads have of x's is back, and they give it nothing any more. */
void xn_xdp_rss_stop(struct xn_xdpq *x);
void xn_xdp_rss_end(struct xn_xdpq *x);

/* The rest is for queues that have x->away. */
void xn_xdp_rss_arm(struct xn_xdpq *x);
int  xn_xdp_rss_fd(const struct xn_xdpq *x);
/* Of all rings that lead to x: has any of them frames in it? */
bool xn_xdp_away_waiting(struct xn_xdpq *x);
/* A turn begins: looks who has sent frames, takes back what others are done with. */
void xn_xdp_rss_turn(struct xn_xdpq *x);
/* ... and ends: tells those who got some. */
void xn_xdp_rss_tell(struct xn_xdpq *x);
/* Up to `frames` frames that came on other queues, copied to held buffers. As rx_poll. */
unsigned xn_xdp_cross_in(struct xn_xdpq *x, struct xn_rx_done *done, unsigned n, unsigned frames);
/* Guest queue of a frame that came out of the second socket. */
unsigned xn_xdp_named(struct xn_xdpq *x, uint64_t data, uint32_t bytes);
/* Gives this frame, which came in entry l, to guest queue `to`: rss_handed_over, and the entry
 * is not x's for now; or why not. */
enum xn_counter xn_xdp_hand_over(struct xn_xdpq *x, unsigned to, uint64_t data, uint32_t bytes,
				 const struct xn_lent *l);
/* `posted` entries so far, and n buffers come: how many of these have to be held, for frames
 * that come on other queues? */
uint32_t xn_xdp_reserve_lacks(const struct xn_xdpq *x, uint32_t posted, uint32_t n);
/* Of `frames` frames, or pieces, that the held buffers take: how many beside the reserve. */
uint32_t xn_xdp_beside_reserve(const struct xn_xdpq *x, uint32_t posted, uint32_t frames);

/* port/xdp_flow.c: x has its ops */
void xn_xdp_learn_begin(struct xn_xdpq *x);

/* port/xdp_queue.c */
int  xn_xdp_queue_start(struct xn_port *port, const struct xn_portq_cfg *cfg, struct xn_portq **q);
int  xn_xdp_queue_settle(struct xn_port *port, unsigned index);

#endif
