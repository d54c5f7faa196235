/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What steer.bpf.c and user space share, and the loader.
 *
 * The XDP program sends each frame to an AF_XDP socket of the queue on which it
 * arrived (the kernel allows no other: Linux net/xdp/xsk.c, xsk_rcv_check). Without RSS
 * that is the one socket of this queue; with RSS it is the one that the guest queue, which
 * the guest's own configuration names for this frame, has there: see steer.bpf.c. It is
 * attached by a bpf_link that is not pinned: it goes when the process goes.
 */
#ifndef XN_BPF_STEER_H
#define XN_BPF_STEER_H

#define XN_STEER_MAX_QUEUES 64
#define XN_STEER_IMAGES     16   /* RSS configurations that can be set without waiting */

/* Every way out of the program is counted, and each frame once. X(name, meaning) */
#define XN_STEER_EXITS(X) \
X(steer_to_guest,   "frames sent to the guest's socket") \
X(steer_too_long,   "frames dropped: longer than the longest frame of the guest's buffers") \
X(steer_no_socket,  "frames dropped: no guest queue is bound to the queue they came on") \
X(steer_not_ours,   "frames passed to the host: not for the guest (filter=mac)") \
X(steer_unwanted,   "frames dropped: the guest's driver does not want them (receive mode, MAC table, VLANs)") \
X(steer_missteered, "frames on another queue than RSS names: sent to the socket that mends it") \
X(steer_unfixed,    "frames on another queue than RSS names, and no socket mends it: sent there") \
X(steer_disabled,   "frames dropped: the queue that RSS names is disabled or being reset")

/* With RSS, for each guest queue that it names. A frame that finds a socket, or is dropped
 * for want of a queue, is in one of the first four. X(name, meaning) */
#define XN_STEER_QUEUE_COUNTERS(X) \
X(exact,        "frames that came on the host queue of this guest queue") \
X(missteered,   "frames that came on another one, and were sent to this queue's socket there") \
X(unfixed,      "frames that came on another one, where this queue has no socket: sent there") \
X(disabled,     "frames dropped: this queue, or the one that had to stand in for it, is disabled") \
X(unclassified, "frames for this queue that have no hash, wherever they ended")

enum xn_steer_exit {
#define XN_X(name, text) XN_E_##name,
	XN_STEER_EXITS(XN_X)
#undef XN_X
	XN_E_COUNT,
};

enum xn_steer_queue_counter {
#define XN_X(name, text) XN_Q_##name,
	XN_STEER_QUEUE_COUNTERS(XN_X)
#undef XN_X
	XN_Q_COUNT,
};

#ifndef __bpf__
#include <stdbool.h>
#include <stdint.h>

struct xn_flows;
struct xn_rss_config;
struct xn_rx_filter;
struct xn_steer;

enum xn_attach { XN_ATTACH_AUTO, XN_ATTACH_NATIVE, XN_ATTACH_GENERIC };

struct xn_steer_cfg {
	unsigned ifindex;
	const char *ifname;        /* for messages */
	enum xn_attach attach;
	uint32_t frame_bytes;      /* longer frames are dropped and counted */
	/* Frames may come from the driver in several parts (Linux 5.18): many drivers take a
	 * program for an MTU of more than a page only so. */
	bool frags;
	bool filter_mac;           /* only `mac`, broadcast and multicast are ours */
	uint8_t mac[6];
	unsigned rss_pairs;        /* guest queues that RSS can name; 0: no RSS, ever */
	unsigned first_queue;      /* with RSS: host queue of guest queue 0; the others follow */
	/* Without a configuration (at first, and after NULL) frames come on the queue on which the
	 * guest sends their flow: bpf/flows.h. */
	bool by_flow;
};

/*
 * Loads and attaches. Native mode first with AUTO, then generic (logged).
 * -EBUSY another program is attached (message: its id, and how to remove it)
 * -EPERM, -EOPNOTSUPP, -ENODEV, -ENOMEM with a message each.
 */
int  xn_steer_open(struct xn_steer **s, const struct xn_steer_cfg *cfg);
void xn_steer_close(struct xn_steer *s);

/* Id of the bpf_link by which this XDP program, whoever's, is attached to the interface; 0: it is
 * attached by netlink, or one may not know. */
uint32_t xn_steer_link_of(unsigned ifindex, uint32_t prog);

/* Frames of this queue go to this socket from now on. 0 or -errno. */
int  xn_steer_set(struct xn_steer *s, unsigned queue, int xsk_fd);
/* Frames of this queue are dropped from now on (see xn_xsk_barrier). */
void xn_steer_clear(struct xn_steer *s, unsigned queue);

/*
 * Frames that this filter does not take are dropped from now on; NULL, or a promiscuous one: all
 * are taken. With filter_mac it judges only what is to the guest. Copied. One thread at a time.
 */
void xn_steer_set_filter(struct xn_steer *s, const struct xn_rx_filter *f);

/* ---- RSS: for programs that were opened with rss_pairs ---- */

/*
 * From now on frames are steered by this configuration, NULL: as without RSS, or by_flow. A frame
 * sees the one before or this one, whole; when the call returns, only programs that run at this
 * moment may still have the one before. Takes microseconds; once in XN_STEER_IMAGES - 1 calls some
 * 10 ms, in which the caller sleeps. One thread at a time. Needs no privilege.
 * cfg is copied. On failure the one before stays in force. 0 or
 * -EINVAL it names queues that there are not, or the program was opened without RSS
 * -ENOMEM, or what the kernel says
 */
int  xn_steer_set_rss(struct xn_steer *s, const struct xn_rss_config *cfg);

/*
 * Frames for guest_queue that arrive on host_queue go to this socket, which has to be bound
 * to host_queue and shares its fill ring; it may be the same for several guest queues. On the
 * guest queue's own host queue that is xn_steer_set. Any thread. 0 or -errno.
 */
int  xn_steer_set_at(struct xn_steer *s, unsigned host_queue, unsigned guest_queue, int xsk_fd);
void xn_steer_clear_at(struct xn_steer *s, unsigned host_queue, unsigned guest_queue);

/*
 * A queue that is disabled gets no frames: neither those that RSS names it for, nor those for
 * which another one has no socket. They are dropped and counted. To be sure that none is on
 * its way any more: xn_xsk_barrier. All are enabled at first: who starts disables those
 * that do not run yet, or their frames go to the queue that they came on. Any thread.
 */
void xn_steer_enable(struct xn_steer *s, unsigned guest_queue, bool on);

/* The flows of a program that was opened by_flow; NULL else. As long as s lives. */
const struct xn_flows *xn_steer_flows(const struct xn_steer *s);

/* Sums over all processors. */
void xn_steer_queue_counters(const struct xn_steer *s, unsigned guest_queue,
			     uint64_t out[XN_Q_COUNT]);
const char *xn_steer_queue_counter_name(unsigned i);
const char *xn_steer_queue_counter_text(unsigned i);

/* ---- */

bool xn_steer_native(const struct xn_steer *s);
/* Sums over all processors. */
void xn_steer_counters(const struct xn_steer *s, uint64_t out[XN_E_COUNT]);
const char *xn_steer_exit_name(unsigned i);
const char *xn_steer_exit_text(unsigned i);
#endif
#endif
