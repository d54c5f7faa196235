/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segmentation: one packet of the guest, cut into frames that the port can send.
 *
 *	guest memory   | headers | payload, in any pieces                     |
 *	                 checked   | gso_size  | gso_size  | ...  | the rest  |
 *	                 copy        v           v                  v
 *	frames         | header 0 | ... |  | header 1 | ... |      | header n-1 | ... |
 *
 * Each header is the checked copy of the guest's (o->head), with what differs in it:
 *
 *	IPv4   total length, identification + i, header checksum
 *	IPv6   payload length
 *	TCP    sequence number + i * gso_size; FIN and PSH only in the last, CWR only in
 *	       the first; checksum
 *	UDP    length, checksum
 *
 * which is what Linux does (net/ipv4/af_inet.c, inet_gso_segment; tcp_offload.c;
 * udp_offload.c), byte by byte. Checksums are made anew, addresses of the pseudo-header
 * included: what the guest left in the fields does not matter. All of it that is the same
 * in every segment is summed once, in xn_segs_begin.
 *
 * Every frame is a packet of its own: there is no harm in sending some now and others
 * later, as long as the guest's head is not given back before the last. *o, the pieces and
 * the memory stay until then.
 */
#ifndef XN_PORT_SEGMENT_H
#define XN_PORT_SEGMENT_H

#include "port/gather.h"

struct xn_segs {
	const struct xn_offload *o;
	struct xn_cursor payload;   /* of segment `next` */
	uint32_t next;              /* 0..o->segs */
	uint32_t seq;               /* TCP: of the first segment */
	uint16_t id;                /* IPv4: likewise */
	xn_sum ip_sum;              /* of an IPv4 header, without what differs */
	xn_sum l4_sum;              /* of pseudo-header and header, without what differs */
};

/* o->gso != XN_GSO_NONE; pieces of the whole packet, from its first byte on. */
void xn_segs_begin(struct xn_segs *s, const struct xn_offload *o, const uint8_t *base,
		   const struct xn_piece *pieces);

static inline bool xn_segs_done(const struct xn_segs *s)
{
	return s->next == s->o->segs;
}

/* Payload of segment i. */
static inline uint32_t xn_seg_payload(const struct xn_offload *o, uint32_t i)
{
	const uint32_t at = i * o->gso_size, all = o->bytes - o->payload_at;

	return XN_MIN(all - at, o->gso_size);
}

/* The next segment, copied into chunks in one pass. Returns its length, at most
 * xn_offload_seg_bytes(o), for which the chunks have room; the first has it for the
 * headers. */
uint32_t xn_segs_gather(struct xn_segs *s, const struct xn_chunks *to);

/* The next segment's headers (o->payload_at bytes, to head), where somebody else has seen to
 * its payload: s->payload is behind it, and this is its sum. */
void xn_segs_put_headers(struct xn_segs *s, uint8_t *head, xn_sum sum);

#endif
