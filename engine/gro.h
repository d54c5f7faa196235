/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receive coalescing (VIRTIO_NET_F_GUEST_TSO4, _TSO6, _ECN; _USO4, _USO6): segments of a TCP connection
 * that follow one another are given to the guest as one packet of up to 64 KiB, as GRO would make it; and so
 * are datagrams of a UDP flow.
 *
 * A stage between port and ring, on what one rx_poll has returned. There is no timer, nothing is
 * kept for later, and no frame waits for another.
 *
 *	came     [ h | A1 . . . ]  [ h | B1 . . . ]  [ h | A2 . . . ]  [ h | A3 . . . ]
 *	given    [ H | A1 | A2 | A ] [ 3 . . . . ]   [ h | B1 . . . ]
 *	spare    [ . . . . . . . . ]   (that of A2: it is lent once more)
 *
 * The first segment's buffer stays as it is, but for what its headers have to say now (H). The
 * payload of those that join it goes behind it, in the same buffer while there is room, then in
 * their own, from the first byte on: there is no header in the second buffer of a packet (VIRTIO
 * 1.3, 5.1.6.4). B1 comes later than it did; the data of one connection stays in its order (a frame without any,
 * which is not looked at, may come behind data that it was in front of).
 *
 * That costs a copy, and is worth it for the buffers, not for GRO: a guest has GRO of its own,
 * which is about as fast as taking a packet of 45 buffers. But Linux offers buffers as long as its
 * packets are on average, up to a page, so three segments find room in one: it has a third of the
 * buffers to take, to allocate and to offer, and they are full, which is what the room in a
 * socket's receive buffer is counted by. (Measured with one buffer a segment: no gain, and TCP
 * collapsed its queues for lack of room.)
 *
 * Datagrams are another matter: Linux leaves them alone unless the socket has asked for packets of several
 * (UDP_GRO), and cuts those up that come so for any other (net/ipv4/udp.c, udp_queue_rcv_skb). That is
 * cheaper than what it saves: one way from driver to socket for all. (Measured in a guest under TCG, in
 * bursts of 32: a datagram of 64 bytes costs 0.9 of the time, one of 1472 as much as before; with UDP_GRO 0.8
 * and 0.9. Where too many come, more of them are received.)
 *
 * What joins is what Linux's GRO can join (net/ipv4/tcp_offload.c, udp_offload.c, af_inet.c,
 * net/ipv6/ip6_offload.c), so that cutting the packet up gives the frames that had come, to
 * the byte: Ethernet, IPv4 without options and fragments or IPv6 without extension headers,
 * and TCP with any options or UDP with a checksum; everything in the headers is equal but lengths and
 * checksums; the sequence number is the next; IPv4's identification too, or it is always the same where
 * fragments are forbidden (a guest that cuts such a packet up counts on, which means nothing there:
 * RFC 6864, 4.1); payloads are equally long, the last may be shorter. PSH and FIN may be in the
 * last, CWR in the first. Datagrams have no number to tell their order by: one that is left alone, or may be of
 * the flow, ends what is being put together, so that none of a flow overtakes another.
 *
 * The guest does not look at the checksum of the whole (NEEDS_CSUM), so the segments' own are
 * checked here, in the pass that copies them. One whose checksum is wrong never joins, and is given
 * as it came. Where the port has found them unfinished (XN_RX_CSUM) there is nothing to check.
 *
 * Frames lie in guest memory. Headers are read once, into locals, and no length is ever read from
 * there again: what a guest writes to frames meanwhile spoils its own data.
 *
 * Left alone: VLAN tags; frames in several buffers, or in one of several pieces; TCP in frames shorter than
 * XN_GRO_LEAST, which nearly always hold no data: without UDP they are not even looked at. Needs
 * buffers that may be merged (MRG_RXBUF), and used in any order (no IN_ORDER: buffers of a packet
 * might not follow one another).
 */
#ifndef XN_ENGINE_GRO_H
#define XN_ENGINE_GRO_H

#include "port/port.h"

/* What is read of a frame with TCP, and so its least length: Ethernet, IPv6, TCP with 54 bytes. */
#define XN_GRO_LEAST 128u
/* Connections and flows of which frames are put together at a time: as many as GRO has in a bucket. */
#define XN_GRO_RUNS  8u
/* Most datagrams of a packet: what Linux cuts (UDP_MAX_SEGMENTS, which was 64 before it was 128). */
#define XN_GRO_DATAGRAMS 64u

/* A segment or datagram, and those that have joined it. */
struct xn_segment_run {
	uint8_t  head[XN_GRO_LEAST];   /* of the first frame, as it came */
	uint8_t  l4_at, payload_at;
	uint8_t  proto;
	uint8_t  flags;        /* of TCP, of all segments; of the first when it is parsed */
	bool     v6, df;
	bool     good;         /* the first one's checksum is right, or was never finished */
	bool     ended;        /* nothing joins it any more */
	bool     fixed_id;
	uint16_t id, size;     /* of the first: identification; payload, bytes */
	uint16_t first, last;  /* entries that it begins and ends in */
	uint16_t count;
	uint32_t seq;          /* TCP: of what is next */
	uint32_t l3_bytes;     /* IP header and all behind it */
};

struct xn_gro {
	const struct xn_mem *mem;
	const struct xn_rx_buf *bufs;      /* by head */
	uint32_t hdr_bytes;                /* of the virtio-net header, in front of a frame */
	bool tcp4, tcp6, ecn, udp4, udp6;  /* what the guest takes now */
	/* Of the last batch: frames that have joined others, packets made of them, and the bytes
	 * of headers that went. */
	uint32_t joined, packets, header_bytes;
	unsigned entries;                  /* that are to be given to the guest */
	/* Buffers that were emptied, and are to be lent again: n_spares of heads. */
	struct xn_chain *spares;
	unsigned n_spares;
	uint32_t *buf_bytes;               /* of the buffer of each head; 0: of several pieces */

	struct xn_segment_run *open[XN_GRO_RUNS], *spare;
	unsigned n_open, evict;
	struct xn_segment_run runs[XN_GRO_RUNS + 1];
	uint16_t *next;                    /* places in the batch */
	struct xn_rx_done *out;
};

/* For batches of up to max_done entries, in buffers of heads below `heads`. NULL: out of memory. */
struct xn_gro *xn_gro_create(const struct xn_mem *mem, const struct xn_rx_buf *bufs,
			     uint32_t hdr_bytes, uint32_t heads, uint32_t max_done);
void xn_gro_destroy(struct xn_gro *c);

/* These buffers are about to be lent. */
static inline void xn_gro_note(struct xn_gro *c, const struct xn_chain *bufs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		c->buf_bytes[bufs[i].head] = bufs[i].n_pieces == 1 ? bufs[i].bytes : 0;
}

/* From now on: what these bits (VIRTIO_NET_F_GUEST_) say. */
static inline void xn_gro_allow(struct xn_gro *c, uint64_t offloads)
{
	const bool csum = offloads >> VIRTIO_NET_F_GUEST_CSUM & 1;   /* the others need it */

	c->tcp4 = csum && offloads >> VIRTIO_NET_F_GUEST_TSO4 & 1;
	c->tcp6 = csum && offloads >> VIRTIO_NET_F_GUEST_TSO6 & 1;
	c->ecn = offloads >> VIRTIO_NET_F_GUEST_ECN & 1;
	c->udp4 = csum && offloads >> XN_NET_F_GUEST_USO4 & 1;
	c->udp6 = csum && offloads >> XN_NET_F_GUEST_USO6 & 1;
}

/*
 * Puts together what can be in a batch done[0..n). Returns the c->entries entries that are to be
 * given to the guest: `done`, if there was nothing. The first entry of a packet that was made here
 * has XN_RX_GSO. Buffers that are empty now are added to c->spares, and stay the engine's.
 */
struct xn_rx_done *xn_gro_batch(struct xn_gro *c, struct xn_rx_done *done, unsigned n);

#endif
