/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The few rtnetlink requests and the one ethtool request that a laboratory needs.
 *
 * Each call opens a socket of its own, in the network namespace that the calling
 * thread is in, and closes it: set-up is rare, and no socket is left behind that
 * would keep a namespace alive. All return 0 or -errno as the kernel gave it, and
 * leave the message to the caller, who knows what it was for. Any thread.
 */
#ifndef XN_BENCH_NETLINK_H
#define XN_BENCH_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

/* One end of a veth pair. Both ends are down at first: the kernel cannot set a
 * veth up that does not know its peer yet (Linux drivers/net/veth.c, veth_open). */
struct xn_nl_veth {
	const char *ifname;
	const uint8_t *mac;      /* 6 bytes */
	int ns;                  /* fd of the namespace it goes to; -1: the caller's */
};

int xn_nl_veth_create(const struct xn_nl_veth *a, const struct xn_nl_veth *b,
		      unsigned queues, unsigned mtu);
/* ifindex of an interface of this namespace. */
int xn_nl_link_index(const char *ifname, unsigned *ifindex);
int xn_nl_link_set(const char *ifname, bool up);
int xn_nl_link_delete(const char *ifname);

/*
 * Sum of the driver's ethtool counters whose names begin with `prefix` and end
 * with `suffix`: the per-queue counters of veth are nowhere else.
 */
int xn_nl_ethtool_sum(const char *ifname, const char *prefix, const char *suffix, uint64_t *sum);

#endif
