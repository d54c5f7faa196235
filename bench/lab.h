/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A laboratory: two network namespaces and a veth pair between them.
 *
 *	  near namespace                          far namespace
 *	  [engine or raw loop] xn0 ----------- xn1 [generator] [sink]
 *
 * The namespaces have no name and no process: only the fds of this process keep
 * them. However the process ends, SIGKILL included, the kernel removes them and
 * the pair with them. Nothing outside of them is touched.
 *
 * The generator runs in the kernel (BPF_PROG_TEST_RUN with live frames: a program
 * stamps a frame and redirects it into xn1), the sink is an XDP program on xn1 that
 * checks and counts, or sends back.
 */
#ifndef XN_BENCH_LAB_H
#define XN_BENCH_LAB_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/judge.h"

#define XN_LAB_NEAR "xn0"
#define XN_LAB_FAR  "xn1"

struct xn_lab_cfg {
	unsigned queues;     /* rx and tx queues of both ends, 1 and more */
	unsigned mtu;        /* 0: 1500 */
};

struct xn_lab {
	int home_ns, near_ns, far_ns;       /* fds */
	unsigned near_ifindex, far_ifindex;
	uint8_t near_mac[6], far_mac[6];
	const char *far_name;
	bool adopted;
	struct xn_lab_cfg cfg;
};

/* Needs CAP_SYS_ADMIN and CAP_NET_ADMIN. The calling thread ends up where it was.
 * IPv6 is off on both ends: no frame of the kernel's own disturbs the count.
 * 0 or -errno (xn_last_error). */
int  xn_lab_create(struct xn_lab *lab, const struct xn_lab_cfg *cfg);
/*
 * A wire that is there already. `peer` is its far end, where generator and sink attach: an
 * interface of the calling thread's namespace, or of that which `peer_ns` names (a file, or
 * what `ip netns` calls it). `near` is its near end, an interface of the calling thread's
 * namespace; frames bear the addresses that both have. NULL: it is somebody else's, anywhere.
 * Nothing is made, set up or down, or deleted. Names are borrowed. -ENODEV; else as above.
 */
int  xn_lab_adopt(struct xn_lab *lab, const char *near, const char *peer, const char *peer_ns,
		  const struct xn_lab_cfg *cfg);
/* Address of an interface of the calling thread's namespace. 0 or -errno. */
int  xn_lab_mac(const char *ifname, uint8_t mac[6]);
/* Accepts a half-made lab (fds -1). Deletes the pair at once. */
void xn_lab_destroy(struct xn_lab *lab);

/* Moves the calling thread. 0 or -errno. */
int xn_lab_enter_near(const struct xn_lab *lab);
int xn_lab_enter_far(const struct xn_lab *lab);
int xn_lab_leave(const struct xn_lab *lab);   /* back home */

/* For a call in between: to a namespace of the lab, and back to where the thread was,
 * which *back (an fd) remembers; on failure the thread has not moved and *back is -1. */
int  xn_lab_visit(int ns, int *back);
void xn_lab_return(int back);

/* Sets an interface of the calling thread's namespace up or down; deletes it. 0 or -errno. */
int xn_link_set(const char *ifname, bool up);
int xn_link_delete(const char *ifname);

/* ---- sink: what happens to frames that arrive at the far end ---- */

/* REFLECT sends good frames back with their addresses swapped. veth takes them only
 * as long as the near end has an XDP program too (as an AF_XDP port has).
 * STACK counts like COUNT, but where the network stack begins (tc, ingress), on an interface
 * without an XDP program, which veth makes a copy of each large frame for; and looks at some of
 * the filler (bench/frame.h). */
enum xn_sink_mode { XN_SINK_COUNT, XN_SINK_REFLECT, XN_SINK_STACK };

struct xn_sink_counts {
	uint64_t frames, bytes;      /* with a good stamp, each counted once */
	uint64_t lost, reordered, duplicate, corrupt;
	uint64_t foreign;            /* without our stamp */
};

struct xn_sink;
int  xn_sink_attach(struct xn_sink **s, const struct xn_lab *lab, enum xn_sink_mode mode);
void xn_sink_detach(struct xn_sink *s);
/* Starts a new run: counters to 0, streams run_tag..run_tag + queues - 1 are ours,
 * each expected from seq 0 on. */
void xn_sink_reset(struct xn_sink *s, uint32_t run_tag);
void xn_sink_read(struct xn_sink *s, struct xn_sink_counts *out);

/* ---- generator: frames that arrive at the near end ---- */

struct xn_gen_cfg {
	uint32_t bytes;         /* frame length, XN_FRAME_MIN.. */
	uint64_t pace_pps;      /* 0: as fast as it goes */
	uint32_t window;        /* frames under way at most, see xn_gen_allow; 0: any number */
	uint32_t run_tag;       /* stream of this generator */
	int cpu;                /* where it runs; unless it is bound also decides veth's
				   receive queue (cpu modulo queues). -1: not pinned */
	uint16_t port;          /* UDP source port: the flow; 0: as xn_frame_build has it */
};

struct xn_gen_counts {
	uint64_t sent;          /* frames that veth took: its own count, exact as long as
				   generators of one lab do not share a queue */
	uint64_t offered;       /* frames stamped (sent + dropped on the way in) */
	double   seconds;       /* first frame to stop */
};

struct xn_gen;
/* The near end needs an XDP program, else veth takes no frame: sent stays 0.
 * Loads what is needed and starts a thread; it generates between start and stop.
 * queue >= 0: bound to this transmit queue, and so to the near end's receive queue, whatever
 * processor it runs on: an AF_XDP socket (bench/sender.h), which is slower. */
int  xn_gen_create(struct xn_gen **g, const struct xn_lab *lab, int queue);
void xn_gen_destroy(struct xn_gen *g);
/* Returns when the first frame is under way. -EINVAL: length; or what the kernel says. */
int  xn_gen_start(struct xn_gen *g, const struct xn_gen_cfg *cfg);
/* With a window: `arrived` frames are through, `window` more may be under way. Cheap,
 * any thread. */
void xn_gen_allow(struct xn_gen *g, uint64_t arrived);
/* Frames stamped so far in this run. Any thread. */
uint64_t xn_gen_offered(const struct xn_gen *g);
/* Returns when the last frame has been handed over. */
void xn_gen_stop(struct xn_gen *g, struct xn_gen_counts *out);

/* ---- checker: the same judgement in user space, for frames that arrive near ---- */

/* struct xn_check and what its counters mean: bench/judge.h. */
void xn_check_reset(struct xn_check *c, uint32_t stream, uint32_t bytes);
/* Judges one frame: reads its stamp and its tail. */
void xn_check_frame(struct xn_check *c, const void *frame, uint32_t bytes);
/* Writes a whole test frame (addresses, IPv4, UDP, filler, stamp, tail). */
void xn_frame_build(void *frame, uint32_t bytes, const uint8_t dst[6], const uint8_t src[6],
		    uint32_t stream, uint64_t seq);
/* Makes it one of another flow. */
void xn_frame_set_port(void *frame, uint16_t port);
/* Changes only stamp and tail of a frame that xn_frame_build made. */
void xn_frame_stamp(void *frame, uint32_t bytes, uint32_t stream, uint64_t seq);

#endif
