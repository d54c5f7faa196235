/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The far end of a veth pair: what peer.bpf.c and user space share, and the loader.
 *
 * The program is attached to the interface itself (tcx, Linux 6.6), without a link or a
 * pinned file: it stays when the process ends, until it is taken off or the interface goes.
 */
#ifndef XN_BPF_PEER_H
#define XN_BPF_PEER_H

/* Of all frames that the interface sends. */
enum xn_peer_count { XN_PEER_hashed, XN_PEER_unclassified, XN_PEER_COUNTS };

#ifndef __bpf__
#include <stdbool.h>
#include <stdint.h>

struct xn_rss_image;

struct xn_peer_state {
	bool on;
	unsigned others;                     /* programs of others at the same place */
	uint64_t count[XN_PEER_COUNTS];      /* frames since it was attached */
};

/*
 * Attaches the program with this configuration (copied): the guest's queue 0 is receive queue
 * first_queue. Takes the place of one of ours that is there, at once for all frames. In the
 * calling thread's network namespace.
 * -EPERM CAP_NET_ADMIN or CAP_BPF is missing, -EOPNOTSUPP the kernel has no tcx, -ENOMEM, ...
 * with a message.
 */
int xn_peer_attach(unsigned ifindex, const char *ifname, const struct xn_rss_image *image,
		   unsigned first_queue);
/* -ENOENT: none of ours is there (no message); else -errno with a message. */
int xn_peer_detach(unsigned ifindex, const char *ifname);
int xn_peer_look(unsigned ifindex, const char *ifname, struct xn_peer_state *st);
#endif
#endif
