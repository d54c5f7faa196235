/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches one interface by rtnetlink: AF_XDP sockets do not tell when theirs goes
 * down, is deleted or gets another MTU (poll() stays silent; Linux 6.18), only netlink does.
 */
#ifndef XN_PORT_LINK_H
#define XN_PORT_LINK_H

#include <stdbool.h>
#include <stdint.h>

struct mnl_socket;

struct xn_link {
	struct mnl_socket *nl;   /* NULL: not watching */
	unsigned ifindex;
	bool up, gone;
	uint32_t mtu;            /* 0: not told yet */
	unsigned told;           /* how often something was said of it */
	unsigned ups;            /* how often it came up: also if it was down only between two reads */
};

/* Starts watching, in the calling thread's network namespace. 0 or -errno. */
int  xn_link_open(struct xn_link *l, unsigned ifindex, const char *ifname);
void xn_link_close(struct xn_link *l);
/* Readable when xn_link_read has something to do; -1: not watching. */
int  xn_link_fd(const struct xn_link *l);
/* Takes what has come; updates up, gone and mtu. Never blocks. */
void xn_link_read(struct xn_link *l);

#endif
