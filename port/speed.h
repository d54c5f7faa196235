/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How fast an interface is, asked again and again: by ethtool over netlink, on a socket that is
 * opened once. (The ioctl needs a socket of another kind, and a system call more: what has given
 * up its privileges may have neither.) Asking takes none.
 */
#ifndef XN_PORT_SPEED_H
#define XN_PORT_SPEED_H

#include <stdbool.h>
#include <stdint.h>

struct mnl_socket;

struct xn_speed {
	struct mnl_socket *nl;   /* NULL: not to be had (Linux without CONFIG_ETHTOOL_NETLINK) */
	uint16_t family;
	uint32_t seq;            /* of the last question */
};

/* In the calling thread's network namespace. No reason to fail: see nl. */
void xn_speed_open(struct xn_speed *s);
void xn_speed_close(struct xn_speed *s);
/* Mbit/s (0: the driver does not know now) and duplex. False: no answer, nothing is
 * written. Waits for no answer that the kernel does not have; but for rtnl, if somebody holds it. */
bool xn_speed_read(struct xn_speed *s, unsigned ifindex, uint32_t *mbps, bool *full_duplex);

#endif
