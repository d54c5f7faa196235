/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What steer.bpf.c and user space share, and the loader.
 *
 * The XDP program sends each frame to the AF_XDP socket of the queue on which it
 * arrived (the kernel allows no other: Linux net/xdp/xsk.c, xsk_rcv_check). It is
 * attached by a bpf_link that is not pinned: it goes when the process goes.
 */
#ifndef XN_BPF_STEER_H
#define XN_BPF_STEER_H

#define XN_STEER_MAX_QUEUES 64

/* Every way out of the program is counted. X(name, meaning) */
#define XN_STEER_EXITS(X) \
X(steer_to_guest,   "frames sent to the guest's socket") \
X(steer_too_long,   "frames dropped: longer than the longest frame of the guest's buffers") \
X(steer_no_socket,  "frames dropped: no guest queue is bound to the queue they came on") \
X(steer_not_ours,   "frames passed to the host: not for the guest (filter=mac)")

enum xn_steer_exit {
#define XN_X(name, text) XN_E_##name,
	XN_STEER_EXITS(XN_X)
#undef XN_X
	XN_E_COUNT,
};

#ifndef __bpf__
#include <stdbool.h>
#include <stdint.h>

struct xn_steer;

enum xn_attach { XN_ATTACH_AUTO, XN_ATTACH_NATIVE, XN_ATTACH_GENERIC };

struct xn_steer_cfg {
	unsigned ifindex;
	const char *ifname;        /* for messages */
	enum xn_attach attach;
	uint32_t frame_bytes;      /* longer frames are dropped and counted */
	bool filter_mac;           /* only `mac`, broadcast and multicast are ours */
	uint8_t mac[6];
};

/*
 * Loads and attaches. Native mode first with AUTO, then generic (logged).
 * -EBUSY another program is attached (message: its id, and how to remove it)
 * -EPERM, -EOPNOTSUPP, -ENODEV, -ENOMEM with a message each.
 */
int  xn_steer_open(struct xn_steer **s, const struct xn_steer_cfg *cfg);
void xn_steer_close(struct xn_steer *s);

/* Frames of this queue go to this socket from now on. 0 or -errno. */
int  xn_steer_set(struct xn_steer *s, unsigned queue, int xsk_fd);
/* Frames of this queue are dropped from now on (see xn_xsk_barrier). */
void xn_steer_clear(struct xn_steer *s, unsigned queue);

bool xn_steer_native(const struct xn_steer *s);
/* Sums over all processors. */
void xn_steer_counters(const struct xn_steer *s, uint64_t out[XN_E_COUNT]);
const char *xn_steer_exit_name(unsigned i);
const char *xn_steer_exit_text(unsigned i);
#endif
#endif
