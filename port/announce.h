/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tells switches where a guest is now: a broadcast from its address makes them learn
 * the way to it. RARP (RFC 903) is what VMMs use for it: it asks for nothing that
 * anybody answers today, and says nothing about IP addresses.
 *
 * Through a packet socket of its own, because the guest's AF_XDP sockets belong to its
 * queues' threads; opened when privileges are there.
 */
#ifndef XN_PORT_ANNOUNCE_H
#define XN_PORT_ANNOUNCE_H

#include <stdint.h>

/* A packet socket (CAP_NET_RAW) on this interface that receives nothing and never
 * blocks; -1 in *fd on failure. 0 or -errno with a message. */
int xn_announce_open(int *fd, unsigned ifindex, const char *ifname);
/* One request for `mac`. 0, or -errno with a message: -ENETDOWN, -ENOBUFS. */
int xn_announce_send(int fd, const uint8_t mac[6], const char *ifname);

#endif
