/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TCP endpoint inside of a guest model, whose other end is a kernel's. It is a test peer, not
 * a TCP: one connection at a time, which it opens; then it sends a stream, or checks one, and
 * closes.
 *
 *	CLOSED --open: SYN--> OPENING --SYN,ACK--> OPEN --close: FIN behind the data--> CLOSING
 *	                                                   --ours acked, the peer's taken--> DONE
 *
 * Sending. As much as the peer's window allows leaves at once, up to 2 MiB, in packets of up to
 * tso_bytes; there is no congestion control. What is lost is sent again from the first byte that was not
 * acknowledged on ("go back n"): after three acknowledgements in a row that say nothing new,
 * or after rto_ms. Until all that was on its way then is acknowledged, further such
 * acknowledgements mean nothing: they are the echo of what has been sent twice.
 *
 * Receiving. Only what comes in its turn is taken; of all else nothing is kept. One
 * acknowledgement is sent for all that a turn brought, and one for each frame out of turn.
 *
 * Options: maximum segment size, window scale, and timestamps (RFC 7323), so that
 * segments are as long as Linux's own: 1448 bytes at MTU 1500. No SACK.
 *
 * The stream is a pattern, repeated, of a length that no segment's is a divisor of: byte i is
 * pattern[i % period]. It lies in guest RAM, and packets are sent from where it lies, as
 * sendfile() does: so the model costs next to nothing, and every byte can be checked. Behind
 * the period it goes on for XN_TCP_MORE bytes, so that no packet has to begin anew.
 *
 * Not here: reassembly, urgent data, keep-alive, path MTU, more than one
 * connection, and any distrust but of the bytes: the peer is this kernel.
 */
#ifndef XN_BENCH_TCP_H
#define XN_BENCH_TCP_H

#include "bench/merge.h"

#define XN_TCP_PERIOD 1048573u      /* a prime */
#define XN_TCP_MORE   (256u << 10)  /* as much as is sent, or compared, at once */
#define XN_TCP_PATTERN_BYTES (XN_TCP_PERIOD + XN_TCP_MORE)

/* Ethernet, IPv4, TCP with timestamps: in front of each packet's payload. */
#define XN_TCP_HEAD    66u
/* What IPv4's total length leaves for payload. */
#define XN_TCP_MOST    (65535u - 52u)
/* Of guests that are given to one: cfg.tx_pieces and cfg.tx_slot_bytes. */
#define XN_TCP_PIECES  18u
#define XN_TCP_SLOT    (XN_GUEST_HDR + XN_TCP_HEAD + 65536u)

enum xn_tcp_state { XN_TCP_CLOSED, XN_TCP_OPENING, XN_TCP_OPEN, XN_TCP_CLOSING, XN_TCP_DONE };

struct xn_tcp_cfg {
	struct xn_guest *guest;        /* pair 0 of it */
	const uint8_t *pattern;        /* in its RAM */
	uint8_t mac[6], peer_mac[6];
	uint32_t addr, peer_addr;      /* host order */
	uint16_t port, peer_port;
	uint16_t mtu;
	uint32_t tso_bytes;            /* payload of a packet, up to XN_TCP_MOST; 0: one segment */
	uint32_t piece_bytes;          /* of payload in a descriptor; 0: all in one, with the header */
	bool csum;                     /* asks for checksums (with tso_bytes: always) */
	bool verify;                   /* of all frames that come; costs time */
	uint32_t rto_ms;               /* 0: 200 */
	uint32_t drop_tx, drop_rx;     /* of 1024 packets, those that get lost, by chance */
};

struct xn_tcp_counts {
	uint64_t packets;              /* with payload, each one chain of a ring */
	uint64_t sent, again, acked;   /* bytes of payload; again: of those sent, more than once */
	uint64_t frames, merged;       /* with payload that came; of these, such with a gso_type */
	uint64_t received, bad;        /* bytes in turn; of these, wrong ones */
	uint64_t out_of_turn;          /* frames */
	uint64_t bad_sums, bad_headers;
	uint64_t dropped;              /* by chance */
};

struct xn_tcp {
	struct xn_tcp_cfg cfg;
	enum xn_tcp_state state;
	struct xn_tcp_counts n;
	uint64_t limit;                /* bytes of the stream that may be sent; the caller's */
	uint32_t mss;
	/* Places in the streams: bytes behind SYN. */
	uint64_t una, nxt, top;        /* acknowledged, next to be sent, sent at most */
	uint64_t wnd_end;              /* as far as the peer's window reaches */
	uint64_t recover;              /* acknowledgements below it are echoes */
	unsigned same;                 /* acknowledgements in a row that said nothing new */
	uint8_t peer_scale;
	bool want_fin, fin_sent, fin_acked, peer_fin;
	bool ack_due;
	unsigned acks_now;             /* besides, for frames out of turn */
	uint64_t rcv;                  /* next byte of the peer's stream */
	uint32_t isn, peer_isn, ts_recent;
	uint64_t moved_ns;             /* when something was acknowledged last, or sent into silence */
	uint32_t rnd;
	struct xn_merge merge;
};

/* Byte i at pattern[i]: all of XN_TCP_PATTERN_BYTES. */
void xn_tcp_pattern(uint8_t *pattern);
/* Is `data` what the stream has at `at`? n <= XN_TCP_MORE. */
bool xn_tcp_is_pattern(const uint8_t *pattern, uint64_t at, const void *data, uint32_t n);

/* cfg is copied; what it points to is borrowed. */
void xn_tcp_init(struct xn_tcp *t, const struct xn_tcp_cfg *cfg);
void xn_tcp_open(struct xn_tcp *t);
/* After limit bytes: nothing more is sent. */
void xn_tcp_close(struct xn_tcp *t);
/* Takes what has come, and sends what may be sent; returns how many frames and packets that
 * were. */
unsigned xn_tcp_turn(struct xn_tcp *t);

#endif
