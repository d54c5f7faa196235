/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's receive-side scaling is for a NIC, and how near to it a NIC is.
 *
 *	guest   hash & (entries - 1) -> table[] -> its receive queue q
 *	NIC     hash & (entries - 1) -> table[] -> host queue        has to be start + q
 *
 * Both compute the hash of Toeplitz: it has to be over the same fields, with the same key. The
 * tables may differ in length: a guest's table that repeats itself after p entries says the
 * same as the first p of them, and p entries can be written into any table of which p is a
 * divisor. For queues of which only one is ever chosen neither hash nor length matter.
 *
 * Frames that no hash type of the guest covers go to its unclassified queue; NICs put them on
 * their first queue, or where hash 0 points: exact is a NIC for which both are the same.
 *
 * Nothing here asks a kernel: facts in, words out.
 */
#ifndef XN_RSS_PLAN_H
#define XN_RSS_PLAN_H

#include "rss/ethtool.h"

enum xn_nic_status {
	XN_NIC_EXACT,            /* each frame arrives on the queue that the guest computes */
	XN_NIC_CORRECTED,        /* on one of the guest's queues: the engine copies it over */
	XN_NIC_UNSUPPORTED,      /* the NIC cannot be told at all */
};
const char *xn_nic_status_name(enum xn_nic_status s);

/* The answer to how well a NIC does what a guest wants. */
struct xn_nic_told {
	enum xn_nic_status status;
	char why[512];           /* one line: what is not as it should be, and what to do; "" if exact */
};

/* In the order in which they are set: virtio_net (Linux 7.2) forgets all others when those of
 * whole IP are set, and sets them with TCP's and UDP's. */
enum xn_nic_flow {
	XN_NIC_TCP4, XN_NIC_UDP4, XN_NIC_TCP6, XN_NIC_UDP6, XN_NIC_IP4, XN_NIC_IP6,
	XN_NIC_FLOWS
};
/* As ethtool's ioctl has them (TCP_V4_FLOW, ...). */
uint32_t xn_nic_flow_type(enum xn_nic_flow flow);

struct xn_nic_want {
	const struct xn_rss_config *rss;   /* NULL: the guest leaves it to us */
	unsigned start, queues;            /* host queues start..start + queues - 1 */
};

/* A NIC, or one RSS context of it. */
struct xn_nic_setup {
	char ifname[IF_NAMESIZE], driver[32];
	unsigned rings;                    /* receive queues in use */
	bool shared;                       /* with others: what follows is ours, as a rule leads there */
	bool fixed, key_fixed;             /* nothing, or not the key, can be set */
	struct xn_eth_rss rss;
	bool fields_told[XN_NIC_FLOWS];
	uint64_t fields[XN_NIC_FLOWS];
};

/* What `now` should be. Only what can be set differs from now: rss, and fields. */
void xn_plan_make(struct xn_nic_setup *plan, const struct xn_nic_want *w,
		  const struct xn_nic_setup *now);
/* What it is. */
void xn_plan_judge(struct xn_nic_told *told, const struct xn_nic_want *w,
		   const struct xn_nic_setup *now);

/* Appends to why: "; " between reasons. Not better than `status` from now on. */
void xn_nic_say(struct xn_nic_told *told, enum xn_nic_status status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
