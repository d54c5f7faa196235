/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TCP and UDP checksums of frames that arrive.
 *
 * A peer in the host's own stack leaves the checksum to the hardware that it thinks is
 * below it (Linux CHECKSUM_PARTIAL). Over veth there is none: the frame arrives with the
 * folded sum of its pseudo-header in the field, and a guest that checks it drops it. An
 * XDP program is not told (Linux 6.18 has no kfunc for it), so the field itself has to say:
 * it is unfinished if it is the sum of the pseudo-header, `P`.
 *
 * What if a finished checksum happens to be P, as one of 65535 is?
 *
 *   The frame is intact. Then the sum of everything, with P in the field, is zero (modulo
 *   65535): P + P + rest = 0. Finishing the frame once more writes -(P + rest) = P: the
 *   field stays as it is. So to call it unfinished is right however it is read: the guest
 *   that trusts it receives intact bytes, the guest that passes it on completes it to what
 *   it was, and without GUEST_CSUM nothing changes.
 *
 *   The frame is damaged (and only by chance, of 65535 damaged frames one, has P in its
 *   field). To call it unfinished hides the damage. To call it finished would be right
 *   here, and would lose each and every frame that is really unfinished. A checksum lets
 *   one damaged frame of 65535 pass anyway, so the odds become two of 65535. And on a link
 *   between two ends in one machine's memory nothing is damaged on the way.
 *
 *   Somebody makes such a frame on purpose. He could as well write the right checksum: it
 *   protects from accidents, not from people.
 *
 * So P means unfinished, wherever frames may come from this machine's stack. On a port whose
 * frames come from a wire they cannot be unfinished: nothing of this is asked there, and
 * the odds stay as they are. Whether VIRTIO_NET_HDR_F_DATA_VALID can be said is another
 * matter: only of a checksum that was summed up here, xn_rx_csum_good.
 *
 * P is never 0 (IP's protocol number is in it), so UDP's "none" is not mistaken for it.
 *
 * Tunnels: one field of a frame is left unfinished, the innermost that the sender's stack
 * made; an outer one is right once the inner is (Linux lco_csum). If both are P, one of them
 * is so by chance, and it shows that it does not matter which: finish the inner first. If it
 * was the unfinished one, the frame is intact now, and finishing the outer changes nothing;
 * if not, that changed nothing, and the outer is to be finished. One level of VXLAN, Geneve,
 * GRE, and IP in IP is looked into.
 *
 * Not seen: deeper tunnels, fragments (which are sent finished), SCTP, whose checksum is
 * not this one; there the peer has to be told: ethtool -K IFNAME tx off.
 */
#ifndef XN_PORT_RX_CSUM_H
#define XN_PORT_RX_CSUM_H

#include <string.h>

#include "base/csum.h"
#include "base/packet.h"

/* A checksum field, and what it is about: bytes [start, end) of the frame. */
struct xn_rx_csum {
	uint16_t start;
	uint16_t at;         /* of the field: csum_offset of virtio-net is at - start */
	uint32_t end;        /* bytes behind it are padding */
	uint16_t pseudo;     /* P, as it lies in memory */
};

/*
 * The checksum field of a frame of `bytes` bytes, if it has one, TCP's or UDP's, of which
 * enough is in head[0..have), have <= XN_HEAD_BYTES (memory that nobody else changes).
 * False also if UDP's says "none".
 */
bool xn_rx_csum_find(struct xn_rx_csum *c, const uint8_t *head, uint32_t have, uint32_t bytes);

/*
 * Those of them that are unfinished, in a tunnel too: returns how many.
 * 1: with GUEST_CSUM the guest gets NEEDS_CSUM, start, and at - start; unless there is padding
 *    (end < bytes), which it might take for payload. Then, and without, it has to be finished
 *    here.
 * 2: by chance, in a tunnel: finish the first here, then do with the second as above.
 */
unsigned xn_rx_csum_unfinished(struct xn_rx_csum c[2], const uint8_t *head, uint32_t have,
			       uint32_t bytes);

/*
 * What is asked of every frame: may it be unfinished? False: it is not, for sure. Believes
 * nothing: whatever it reads may be anything, and may change. IPv4 without options is
 * what it takes the fewest instructions for.
 */
#define XN_VXLAN_PORT    4789u
#define XN_GENEVE_PORT   6081u
#define XN_ETH_HDR       14u
#define XN_RX_CSUM_LEAST (XN_ETH_HDR + 20u + 8u)   /* UDP in IPv4, without data */

bool xn_rx_csum_suspect_other(const uint8_t *frame, uint32_t bytes);

/* Is the word at `at` this sum, modulo 65535? (One multiplication; 0 is no sum of a
 * pseudo-header, but who is suspect is looked at again.) */
static inline bool xn_rx_csum_is(const uint8_t *at, uint64_t sum)
{
	uint16_t field;

	memcpy(&field, at, sizeof(field));
	return (sum + 0xffff - field) % 0xffff == 0;
}

/* UDP or TCP, whose pseudo-header has this sum. */
static inline bool xn_rx_csum_suspect_l4(const uint8_t *l4, uint32_t l4_bytes, bool udp, uint64_t sum)
{
	uint16_t port;

	if (!udp)
		return l4_bytes >= 18 && xn_rx_csum_is(l4 + 16, sum);
	if (l4_bytes < 8)
		return false;
	port = xn_be16(l4 + 2);
	return xn_rx_csum_is(l4 + 6, sum) || port == XN_VXLAN_PORT || port == XN_GENEVE_PORT;
}

static inline bool xn_rx_csum_suspect(const uint8_t *frame, uint32_t bytes)
{
	const uint8_t *ip = frame + XN_ETH_HDR;
	uint32_t type, src, dst;
	uint16_t length;

	if (bytes < XN_RX_CSUM_LEAST)
		return false;
	memcpy(&type, ip - 2, sizeof(type));
	if ((type & 0xffffff) != 0x450008)   /* ETH_P_IP, and version 4 with 5 words */
		return xn_rx_csum_suspect_other(frame, bytes);
	if (ip[9] != 6 && ip[9] != 17)       /* IPPROTO_TCP, _UDP; _ICMP has no such field */
		return ip[9] != 1;
	memcpy(&length, ip + 2, sizeof(length));
	memcpy(&src, ip + 12, sizeof(src));
	memcpy(&dst, ip + 16, sizeof(dst));
	/* Less the header's 20 bytes: modulo 65535, in words as they lie in memory. */
	return xn_rx_csum_suspect_l4(ip + 20, bytes - XN_ETH_HDR - 20, ip[9] == 17,
				     (uint64_t)src + dst + length + ((uint32_t)ip[9] << 8) +
				     0xffff - (20u << 8));
}

/* A frame that does not lie in a row lies in several pieces. */
struct xn_rx_piece {
	uint8_t *at;
	uint32_t len;
};

/*
 * A suspect frame, which lies in a row, and may be written (by its guest, too, meanwhile): is
 * finished, if it is unfinished, as far as the guest must not have it so. True: *c is of
 * a field that it may have as it is, and guest_csum. *finished: more by one, if something
 * was finished.
 */
bool xn_rx_csum_settle(struct xn_rx_csum *c, uint8_t *frame, uint32_t bytes, bool guest_csum,
		       uint64_t *finished);

/* The same of a frame in n pieces, which are `bytes` together. If there are several, the first
 * has XN_HEAD_BYTES at least. */
bool xn_rx_csum_settle_pieces(struct xn_rx_csum *c, const struct xn_rx_piece *p, unsigned n,
			      uint32_t bytes, bool guest_csum, uint64_t *finished);

/* What belongs in an unfinished field, as it lies in memory. `sum` is of bytes [start, end)
 * as they are, the field among them. */
static inline uint16_t xn_rx_csum_finished(xn_sum sum)
{
	return xn_sum_csum_nonzero(sum);
}

/* Is a finished one right? Then DATA_VALID may be said; not of a frame with a tunnel in it,
 * whose guest might take it for the inner one's. */
static inline bool xn_rx_csum_good(const struct xn_rx_csum *c, xn_sum sum)
{
	return xn_sum_fold(xn_sum_add16(sum, c->pseudo)) == 0xffff;
}

/* Finishes a frame that lies in a row, in memory that may be written. */
void xn_rx_csum_finish(const struct xn_rx_csum *c, uint8_t *frame);

#endif
