/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the zero-copy laboratory's programs share: a UMEM of any chunk size on pages of any
 * size, an AF_XDP socket in zero-copy mode on it, frames that prove themselves, and a packet
 * socket at the other end of the wire.
 *
 *	namespace of the program          namespace of the peer (a file, PEER_NS)
 *	eth0, AF_XDP, zero-copy  -- wire (QEMU's hub) --  eth1, AF_PACKET
 *
 * The socket is the laboratory's own, not xsk/xsk.h's: what is asked here is what a driver
 * does with chunks of other sizes than the product's.
 */
#ifndef XN_TESTS_ZC_H
#define XN_TESTS_ZC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/if_xdp.h>
#include <xdp/xsk.h>

#include "xsk/compat.h"

#define ZC_DEV     "eth0"
#define ZC_PEER    "eth1"
#define ZC_PEER_NS "/run/peer"
#define ZC_PAGE    4096u
#define ZC_HUGE    (2u << 20)
#define ZC_RING    4096u         /* entries of a ring, but the RX ring: a driver that must not */
#define ZC_RX_RING 64u           /* run dry is stopped by a full one (xsk/zc.h) */
#define ZC_CANARY  0xa5
#define ZC_MAX_FRAME 4096u
#define ZC_FRAME_LONG 1514u      /* at MTU 1500 */

/* Ends the program: the laboratory itself is broken, not what it looks at. */
void zc_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
uint64_t zc_now_us(void);

/* ---- zc/sock.c ---- */

struct zc_umem {
	uint8_t *base;
	uint64_t bytes;
	bool huge;                /* on pages of 2 MiB */
	bool unaligned;
	uint32_t chunk, frame;    /* frame: longest one; the headroom is what is left */
	uint32_t land;            /* a frame lands at (unaligned) fill address + land */
};

/* Maps it, shared, as a guest's RAM is, painted with canaries. */
void zc_umem_map(struct zc_umem *m, uint64_t bytes, bool huge);
/* chunk 4096: as xsk/xsk.h does; frame: longest frame that may be written. */
void zc_umem_shape(struct zc_umem *m, uint32_t chunk, uint32_t frame, bool unaligned);

struct zc_sock {
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons rx, comp;
	int fd;
	bool zero_copy;           /* what the kernel says */
	unsigned ebusy;           /* how often bind was refused with EBUSY */
	uint64_t bind_us;         /* how long all bind calls took together */
	struct { void *p; size_t bytes; } maps[4];
};

/* flags: XDP_ZEROCOPY, XDP_COPY. Tries again on EBUSY for 10 s. 0 or -errno. */
int  zc_open(struct zc_sock *s, const struct zc_umem *m, unsigned ifindex, unsigned flags);
void zc_close(struct zc_sock *s);
/* Entries of a ring that the kernel has consumed so far. */
uint32_t zc_consumed(const struct xsk_ring_prod *r);
void zc_fill(struct zc_sock *s, const uint64_t *addr, unsigned n);
/* Posts descriptors and has the kernel look at them. */
void zc_tx(struct zc_sock *s, const struct xdp_desc *d, unsigned n);
/* Wakes the driver if it wants to be, for both directions. */
void zc_kick(struct zc_sock *s);
uint64_t zc_tx_invalid(const struct zc_sock *s);

/* ---- zc/contig.c ---- */

/* Do the pages on both sides of this page border lie side by side for the device? */
bool zc_contiguous(struct zc_sock *s, uint64_t border);

/* ---- zc/wire.c ---- */

struct zc_wire {
	unsigned ifindex, peer_ifindex;
	uint8_t mac[6], peer_mac[6];
	int peer;                 /* packet socket on ZC_PEER */
	int home, away;           /* namespaces */
	uint32_t longest;         /* frame of those that are numbered; changes only when none is away */
	bool igb;
};

void zc_wire_open(struct zc_wire *w);
/* The calling thread goes into a namespace: w->home, w->away. */
void zc_enter(int ns);
/* Waits until the link is up for good (a bind may take it down), and forgets old frames. */
void zc_wire_settle(const struct zc_wire *w);

/* Sets the MTU of an interface of the thread's namespace; what it was. */
int zc_set_mtu(const char *ifname, int mtu);

/* Frames that an interface says it has lost, for whatever reason. */
struct zc_nic {
	uint64_t rx_drops, tx_drops;
};
void zc_nic(const struct zc_wire *w, bool peer, struct zc_nic *n);

struct zc_head {                  /* of each frame; payload behind it */
	uint8_t dst[6], src[6];
	uint16_t type;            /* 0x88b5 */
	uint32_t magic;
	uint64_t seq;
	uint32_t bytes;           /* of the whole frame */
} __attribute__((packed));

#define ZC_FRAME_MIN 60u

/* to_peer: from eth0 to eth1. */
void zc_frame(const struct zc_wire *w, uint8_t *f, uint32_t bytes, uint64_t seq, bool to_peer);
/* Is this such a frame, to the last byte? Its number, or UINT64_MAX if it is damaged. */
uint64_t zc_frame_seq(const uint8_t *f, uint32_t bytes);
/* Sends n frames from the peer, numbered from seq on; bytes[i] is the length of frame i. */
void zc_peer_send(const struct zc_wire *w, uint64_t seq, const uint32_t *bytes, unsigned n);
/* What has arrived at the peer: at most n frames of ZC_MAX_FRAME bytes each in buf. */
unsigned zc_peer_recv(const struct zc_wire *w, uint8_t *buf, uint32_t *bytes, unsigned n);

/* Marks number seq in a map with a bit for each; was it marked? */
static inline bool zc_seen_twice(uint8_t *seen, uint64_t seq)
{
	uint8_t bit = (uint8_t)(1u << (seq & 7)), *byte = &seen[seq / 8];
	bool was = *byte & bit;

	*byte |= bit;
	return was;
}

#endif
