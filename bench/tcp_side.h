/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All that one TCP connection between a guest model and this kernel takes:
 *
 *	near namespace                           far namespace
 *	[guest: bench/tcp.h] [engine] xn0 ------ xn1 [this kernel's TCP: bench/tcp_peer.h]
 *
 * The far end has no XDP program: what leaves the guest goes the way of all packets. The guest
 * opens the connection. Engine and guest take turns in the calling thread, as elsewhere.
 */
#ifndef XN_BENCH_TCP_SIDE_H
#define XN_BENCH_TCP_SIDE_H

#include "bench/tcp_peer.h"

struct xn_tcp_side_cfg {
	unsigned mtu;                 /* of both ends */
	bool tso, csum;               /* the guest asks for them */
	uint32_t tso_bytes;           /* payload of a packet; 0: XN_TCP_MOST */
	uint32_t piece_bytes;         /* as struct xn_tcp_cfg */
	uint32_t rx_buf_bytes;        /* 0: 1536, or where the MTU is longer 4096, as Linux */
	bool packed, verify;
	uint64_t refuse;              /* features that the driver does not accept */
	const char *options;          /* of the port: ",mode=bounce"; NULL: none */
	uint32_t drop_tx, drop_rx, rto_ms;   /* as struct xn_tcp_cfg */
	uint32_t peer_drop;           /* as struct xn_tcp_peer_cfg */
	int peer_cpu;
	enum xn_huge huge;
};

struct xn_tcp_side {
	struct xn_tcp_side_cfg cfg;
	struct xn_lab lab;
	bool has_lab;
	struct xn_guest *guest;
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;
	struct xn_queue *q;
	uint64_t features;            /* accepted */
	uint8_t *pattern;             /* in the guest's RAM */
	struct xn_tcp_peer *peer;
	struct xn_tcp tcp;
};

/* Makes all of it, and the connection: 0 or -errno (xn_last_error). Half-made ones are closed
 * by close, too. */
int      xn_tcp_side_open(struct xn_tcp_side *s, const struct xn_tcp_side_cfg *cfg);
void     xn_tcp_side_close(struct xn_tcp_side *s);
/* A turn of the guest and one of the engine; what they moved. */
unsigned xn_tcp_side_turn(struct xn_tcp_side *s);
uint64_t xn_tcp_side_stat(const struct xn_tcp_side *s, const char *name);

#endif
