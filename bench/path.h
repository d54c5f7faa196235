/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A path: one way to get packets between a program and the wire, with all that it
 * needs of its own, so that several are alive at once and rounds can alternate
 * between them without any set-up.
 *
 *	xn_path   laboratory (namespaces, veth, generators, sink) + the near end
 *	xn_near   the thread that drives one queue of the near end, for one round
 *
 * Near ends: guest_path.c (guest driver + engine, lending or bouncing), vhost_path.c (guest
 * driver here, the rest in another process) and raw.c (the plain AF_XDP loop). A turn is
 * one pass of at most XN_TURN frames through the near end. What it costs is booked by one
 * rule for all: everything that the thread does for a packet, stamping and checking
 * included, only not the guest's driver; and what another process has used meanwhile. Checking has to be in: the first to touch a received frame pays for
 * fetching it from the other processor, and that is the engine (which writes a
 * header in front of it) on one path and the check on the other.
 */
#ifndef XN_BENCH_PATH_H
#define XN_BENCH_PATH_H

#include <string.h>

#include "bench/bench.h"
#include "bench/clock.h"
#include "bench/guest.h"
#include "bench/lab.h"

#define XN_TURN      64u
/* Descriptors of a ring: a third of a millisecond of frames at 3 Mpps. */
#define XN_RING_SIZE 1024u
#define XN_VNET_HDR  12u      /* virtio-net header (VIRTIO 1.2, 5.1.6) */

struct xn_path;

/* The far end of a wire: of a path's own laboratory, or the only one that there is (--peer),
 * which paths then have by turns. */
struct xn_far {
	struct xn_lab lab;
	unsigned queues;
	struct xn_gen *gen[XN_QUEUES_MAX];
	struct xn_sink *sink;        /* NULL until there is somebody at the near end */
	enum xn_sink_mode sink_mode;
};
/* The wire. 0 or -errno (xn_last_error). destroy takes NULL. */
int  xn_far_create(struct xn_far **f, const struct xn_opts *o, unsigned queues);
void xn_far_destroy(struct xn_far *f);

struct xn_near {
	struct xn_path *path;
	unsigned queue;
	uint32_t bytes, stream;
	uint16_t port;               /* of its flow; 0: any */
	uint64_t seq;                /* tx: next frame's number */
	bool crowded;                /* shares its processor with who works for it, or generates */
	struct xn_check check;       /* rx, rtt: the judgement of what arrived */

	uint64_t packets;            /* moved by turns */
	uint64_t own_ticks;          /* all but the guest's driver, in turns that moved something */
	uint64_t engine_ticks;       /* of these, inside of xn_queue_run; raw: 0 */
};

struct xn_copies {
	uint64_t rx, rx_copied, tx, tx_copied, missteered;   /* packets */
	double turns, sleeps;    /* xsknetd's: turns that moved something, and waits */
	struct xn_reasons why;
};

struct xn_path_ops {
	/* In the near end's namespace. 0 or -errno. close accepts half-made ones. */
	int  (*open)(struct xn_path *p);
	void (*close)(struct xn_path *p);

	/* Turns; return how many frames they moved, 0: there was nothing to do. */
	unsigned (*rx)(struct xn_near *w);
	/* Sends up to n new frames; 0: only looks after those on their way. */
	unsigned (*tx)(struct xn_near *w, unsigned n);
	unsigned (*fwd)(struct xn_near *w);
	/* Frames that this queue has sent and not got back. */
	unsigned (*tx_pending)(const struct xn_near *w);

	/* Round trip. Sends one frame, returns the time at which it was handed over
	 * (0: no room). look: the time at which it came back, 0: not yet. */
	uint64_t (*send_one)(struct xn_near *w);
	uint64_t (*look)(struct xn_near *w);
	/* Sleeps until something may have arrived. */
	void (*sleep)(struct xn_near *w, int ms);

	/* A turn has moved nothing: lets others run, or sleeps for a while. NULL: no need. */
	void (*idle)(struct xn_near *w);
	/* Before and after a round: this path's turn begins, ends. NULL: no need. */
	int  (*rouse)(struct xn_path *p);
	void (*rest)(struct xn_path *p);
	/* Processor time of another process so far. NULL: there is none. */
	uint64_t (*cpu_ns)(struct xn_path *p);

	/* Packets so far, and copies made of them in user space. NULL: unknown. */
	void (*copies)(struct xn_path *p, struct xn_copies *out);
};

struct xn_path {
	const struct xn_path_ops *ops;
	const struct xn_opts *opts;
	enum xn_kind kind;
	unsigned queues;

	struct xn_far *far;          /* NULL: nobody answers for what arrives there */
	bool own_far;                /* in a laboratory of this path's own */

	const char *ifname;          /* near end */
	uint8_t near_mac[6], far_mac[6];
	char attach[16], mode[16];   /* of the near end, once open */
	bool huge;
};

/* far: borrowed; NULL: it has one of its own, or none (--ifname without --peer).
 * 0 or -errno (xn_last_error). destroy takes NULL. */
int  xn_path_create(struct xn_path **p, enum xn_kind kind, const struct xn_opts *o,
		    unsigned queues, struct xn_far *far);
void xn_path_destroy(struct xn_path *p);
/* What the far end does with frames from now on. 0 or -errno. */
int  xn_path_set_sink(struct xn_path *p, enum xn_sink_mode mode);
/* The mode in which frames that it sends are counted there. */
enum xn_sink_mode xn_path_counting(const struct xn_path *p);
/* Longer frames than fit a page each are sent and received, in pieces. */
static inline bool xn_path_is_large(const struct xn_path *p)
{
	return p->opts->mtu > XN_MTU_DEFAULT;
}
/* Waits until both ends of a wire of the user's have a carrier. 0 or -errno. */
int  xn_path_settle(const struct xn_path *p);

/* The two near ends make their objects with these. */
struct xn_path *xn_guest_path_new(void);
struct xn_path *xn_raw_path_new(void);
struct xn_path *xn_vhost_path_new(void);

/* Adds a counter of the engine's (docs/xsknet.7), if it is one that says of copies or why. */
void xn_copies_count(struct xn_copies *c, const char *name, uint64_t value);

/* Makes `frame` the next one of w's stream: writes all of it where it is not one of
 * this stream and length yet, else only its stamp. Then counts. */
void xn_near_stamp(struct xn_near *w, uint8_t *frame);
/* Is it one of w's stream and length already? Looks at its first 46 bytes only. */
bool xn_near_is_built(const struct xn_near *w, const uint8_t *frame);

/* Before a frame is sent back over a wire of the user's: cards take only what is addressed to
 * them. On veth nobody looks, and the frame is left as it is. */
static inline void xn_near_turn_round(const struct xn_near *w, uint8_t *frame)
{
	uint8_t dst[6];

	if (!w->path->opts->ifname)
		return;
	memcpy(dst, frame, 6);
	memcpy(frame, frame + 6, 6);
	memcpy(frame + 6, dst, 6);
}

/* ---- worker.c: the threads of one round ---- */

/* Which processors: generators from the first on, near ends from the last. A guest whose
 * near end is another process: see worker.c. */
int xn_gen_cpu(unsigned queue);
int xn_near_cpu(unsigned queue);
int xn_guest_cpu(enum xn_guest_on on, enum xn_dir dir, unsigned queue);

/* A flow (UDP source port of a test frame) that the default configuration of RSS, for so many
 * pairs, names this guest queue for. */
uint16_t xn_flow_port(unsigned pairs, unsigned queue);

struct xn_load {
	enum xn_dir dir;
	uint32_t bytes;
	uint64_t pace_pps;       /* 0: none */
	double secs;             /* 0: as the options say */
	bool idle;               /* rtt: measures too what a path takes that has nothing to do */
};
/* One round of one path; adds to *why. 0 or -errno; after xn_stop the sample is not whole. */
int xn_round_run(struct xn_path *p, const struct xn_load *load, struct xn_sample *out,
		 struct xn_reasons *why);

#endif
