/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other end of bench/tcp.h: a TCP socket of this kernel, in a laboratory's far namespace, with
 * a thread that reads and compares, or writes. The far interface gets an address, and knows the
 * guest's: no ARP is spoken.
 */
#ifndef XN_BENCH_TCP_PEER_H
#define XN_BENCH_TCP_PEER_H

#include "bench/lab.h"
#include "bench/tcp.h"

/* In the network for benchmarks (RFC 2544, C.2.2). */
#define XN_TCP_GUEST_ADDR 0xc6120001u   /* 198.18.0.1 */
#define XN_TCP_PEER_ADDR  0xc6120002u
#define XN_TCP_GUEST_PORT 40000u
#define XN_TCP_PEER_PORT  5001u

struct xn_tcp_peer_cfg {
	const struct xn_lab *lab;
	const uint8_t *pattern;
	uint32_t drop;        /* of 65536 segments with data, those that the socket drops by chance */
	int cpu;              /* where its thread runs; -1: anywhere */
};

struct xn_tcp_peer_counts {
	uint64_t received, bad;   /* bytes; of these, wrong ones */
	uint64_t sent;            /* bytes that the socket took */
	bool connected, eof;      /* eof: the guest's FIN, behind all that it sent */
};

struct xn_tcp_peer;
/* Listens. 0 or -errno (xn_last_error). close takes NULL; a connection is reset. */
int  xn_tcp_peer_open(struct xn_tcp_peer **p, const struct xn_tcp_peer_cfg *cfg);
void xn_tcp_peer_close(struct xn_tcp_peer *p);
/* What it does from now on; up to `limit` bytes of its stream are written, in writes of up
 * to `chunk` (0: the most). It always reads. */
void xn_tcp_peer_send(struct xn_tcp_peer *p, uint64_t limit, uint32_t chunk);
/* Ends its stream (FIN), behind what it has been told to send. */
void xn_tcp_peer_shutdown(struct xn_tcp_peer *p);
void xn_tcp_peer_read(struct xn_tcp_peer *p, struct xn_tcp_peer_counts *out);

#endif
