/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile virtio-net headers and packets: header check, parser, gather and segments; and
 * the same bytes as a received frame. What is accepted has to come out as the slow program
 * makes it (tests/fake/packet.c), whatever it is; guest memory stays as it was; nothing is
 * touched beyond the bytes that there are (each buffer is as long as it has to be).
 *
 * An input is a struct setup and the packet's first bytes; the rest of it is made up.
 */
#include <stdlib.h>
#include <string.h>

#include "port/layout.h"
#include "port/rx_csum.h"
#include "port/segment.h"
#include "tests/fake/packet.h"
#include "virtio/offload.h"

struct setup {
	uint8_t features;
	uint8_t frame;           /* longest: 60 + 80 * this, the highest 65553; bit 0 also: leave whole */
	uint8_t chunk;           /* bytes: 256 + 16 * this */
	uint8_t cut;             /* where pieces end */
	uint16_t more;           /* bytes of packet behind those of the input */
	struct virtio_net_hdr hdr;   /* hdr_len, at which nobody looks, also says how the packet
				        is laid out: layout_rules */
};

static struct {
	uint8_t *packet;         /* as the guest made it */
	uint8_t *memory;         /* as it lies: exactly as long */
	uint32_t bytes;
	struct xn_piece pieces[64];
} in;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static uint8_t *take_exactly(const uint8_t *from, uint32_t n)
{
	uint8_t *p = malloc(n ? n : 1);

	must(p != NULL);
	if (from && n)
		memcpy(p, from, n);
	return p;
}

/* Pieces, the last one first in memory. */
static void lay(uint8_t cut)
{
	uint32_t at = 0, left = in.bytes, k = 0;

	in.memory = take_exactly(NULL, in.bytes);
	while (left) {
		uint32_t n = k == XN_ARRAY_SIZE(in.pieces) - 1 ? left :
			1 + (cut * (k + 1) * 37u + cut) % (cut & 1 ? 4096 : 64 + in.bytes / 32);

		n = XN_MIN(n, left);
		left -= n;
		memcpy(in.memory + left, in.packet + at, n);
		in.pieces[k++] = (struct xn_piece){ .at = XN_UOFF(left), .len = n };
		at += n;
	}
}

static uint64_t features(uint8_t bits)
{
	return (bits & 1 ? 0 : 1ull << VIRTIO_NET_F_CSUM) |
	       (bits & 2 ? 0 : 1ull << VIRTIO_NET_F_HOST_TSO4) |
	       (bits & 4 ? 0 : 1ull << VIRTIO_NET_F_HOST_TSO6) |
	       (bits & 8 ? 0 : 1ull << VIRTIO_NET_F_HOST_ECN) |
	       (bits & 16 ? 0 : 1ull << XN_NET_F_HOST_USO);
}

/* ---- chunks that are exactly as long as they have to be ---- */

struct out {
	uint8_t *at[512];
	uint32_t n, chunk;
};

static struct xn_chunks out_begin(struct out *o, uint32_t bytes, uint32_t chunk)
{
	o->chunk = chunk;
	o->n = 0;
	for (; bytes; o->n++) {
		const uint32_t k = XN_MIN(bytes, chunk);

		must(o->n < XN_ARRAY_SIZE(o->at));
		o->at[o->n] = take_exactly(NULL, k);
		bytes -= k;
	}
	return (struct xn_chunks){ o->at, chunk };
}

/* Compares, and frees. */
static void out_end(struct out *o, const uint8_t *want, uint32_t bytes)
{
	for (uint32_t i = 0; i < o->n; i++) {
		const uint32_t k = XN_MIN(bytes, o->chunk);

		must(!memcmp(o->at[i], want, k));
		free(o->at[i]);
		want += k;
		bytes -= k;
	}
	must(!bytes);
}

/* ---- packets over descriptors ---- */

static struct xn_layout_rules layout_rules(uint32_t chunk, uint8_t bits)
{
	static const uint32_t prices[] = { 0, 300, XN_DESC_BYTES_COPY, XN_DESC_BYTES_ANY };

	return (struct xn_layout_rules){ .chunk = chunk, .desc_bytes = prices[bits & 3],
					 .max = 1 + bits % XN_TX_PIECES_MAX, .in_page = bits & 64,
					 .first = bits & 32 ? chunk / 8 * 7 : 0 };
}

/* Frames exactly as long as the copies of a layout that keeps to its rules. */
static void layout_frames(struct out *o, const struct xn_layout *l, const struct xn_layout_rules *r)
{
	must(l->n >= 1 && l->n <= r->max && l->part[0].len >= 14);
	o->n = 0;
	for (unsigned i = 0; i < l->n; i++) {
		const struct xn_part *p = &l->part[i];

		must(p->len && p->len <= r->chunk);
		must(p->copy || !r->in_page || p->at.v % 4096 + p->len <= 4096);
		if (p->copy)
			o->at[o->n++] = take_exactly(NULL, p->len);
	}
	must(o->n == l->frames);
}

/* Compares what leaves, and frees. */
static void layout_end(struct out *o, const struct xn_layout *l, const uint8_t *want, uint32_t bytes)
{
	uint32_t f = 0;

	for (unsigned i = 0; i < l->n; i++) {
		const struct xn_part *p = &l->part[i];

		must(bytes >= p->len && !memcmp(p->copy ? o->at[f] : in.memory + p->at.v, want, p->len));
		if (p->copy)
			free(o->at[f++]);
		want += p->len;
		bytes -= p->len;
	}
	must(!bytes);
}

static void lay_segment(struct xn_segs *s, const struct xn_layout_rules *r, const uint8_t *want,
			uint32_t bytes)
{
	const uint32_t from = s->o->payload_at;
	struct xn_layout l;
	struct out out;
	xn_sum sum;

	if (!xn_layout(&l, r, s->payload, bytes - from, from))
		return;
	layout_frames(&out, &l, r);
	sum = xn_layout_fill(&l, &s->payload, out.at, from, from);
	xn_segs_put_headers(s, out.at[0], sum);
	layout_end(&out, &l, want, bytes);
}

static void lay_csum(const struct xn_offload *o, const struct xn_layout_rules *r, const uint8_t *want)
{
	const uint32_t head = o->csum ? XN_MAX(o->csum_at + 2, 14u) : 0;
	struct xn_cursor c = xn_cursor_at(in.memory, in.pieces), rest = c;
	struct xn_layout l;
	struct out out;
	xn_sum sum;

	if (head >= in.bytes)
		return;
	xn_cursor_skip(&rest, head);
	if (!xn_layout(&l, r, rest, in.bytes - head, head))
		return;
	layout_frames(&out, &l, r);
	sum = xn_layout_fill(&l, &c, out.at, 0, o->csum ? o->csum_start : in.bytes);
	if (o->csum)
		xn_put_csum(out.at[0] + o->csum_at, sum);
	layout_end(&out, &l, want, in.bytes);
}

static void check_segments(const struct xn_offload *o, const struct xn_layout_rules *r)
{
	static uint8_t want[PKT_MAX];
	struct xn_segs s, laid;
	struct out out;

	must(o->segs >= 2 && o->segs <= XN_GSO_TCP_SEGS_MAX && o->payload_at <= XN_HEAD_BYTES);
	xn_segs_begin(&s, o, in.memory, in.pieces);
	for (uint32_t i = 0; i < o->segs; i++) {
		const uint32_t n = o->payload_at + xn_seg_payload(o, i);
		const struct xn_chunks to = out_begin(&out, n, r->chunk);

		must(!xn_segs_done(&s));
		laid = s;
		must(xn_segs_gather(&s, &to) == n);
		must(pkt_segment(in.packet, in.bytes, o->at.ip_at, o->at.l4_at, o->at.dst_at,
				 o->gso == XN_GSO_UDP, o->gso_size, i, want) == n);
		out_end(&out, want, n);
		lay_segment(&laid, r, want, n);
	}
	must(xn_segs_done(&s));
}

static void check_csum(const struct xn_offload *o, const struct xn_layout_rules *r)
{
	uint8_t *want = take_exactly(in.packet, in.bytes);
	const uint16_t sum = (uint16_t)~pkt_sum(want + o->csum_start, in.bytes - o->csum_start);
	struct xn_chunks to;
	struct out out;

	xn_put_be16(want + o->csum_at, sum ? sum : 0xffff);
	to = out_begin(&out, in.bytes, r->chunk);
	xn_gather_csum(o, in.memory, in.pieces, &to);
	out_end(&out, want, in.bytes);
	lay_csum(o, r, want);
	free(want);
}

static void check_received(void)
{
	uint8_t *head = take_exactly(in.packet, XN_MIN(in.bytes, XN_HEAD_BYTES));
	uint8_t *frame = take_exactly(in.packet, in.bytes);
	struct xn_rx_csum c[2];
	unsigned n = xn_rx_csum_unfinished(c, head, XN_MIN(in.bytes, XN_HEAD_BYTES), in.bytes);

	must(n <= 2);
	for (unsigned k = 0; k < n; k++) {
		must(c[k].start < c[k].at && c[k].at + 2u <= c[k].end && c[k].end <= in.bytes);
		xn_rx_csum_finish(&c[k], frame);
		must(xn_rx_csum_good(&c[k], xn_sum_bytes(frame + c[k].start, c[k].end - c[k].start)));
	}
	free(head);
	free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct xn_offload off;
	struct xn_offload_rules rules;
	struct xn_layout_rules lay_rules;
	struct setup s;

	if (bytes < sizeof(s))
		return 0;
	memcpy(&s, data, sizeof(s));
	data += sizeof(s);
	bytes -= sizeof(s);
	in.bytes = (uint32_t)XN_MIN(bytes + s.more, 65535u + 100);
	in.packet = take_exactly(NULL, in.bytes);
	memcpy(in.packet, data, XN_MIN(bytes, in.bytes));
	for (size_t i = bytes; i < in.bytes; i++)
		in.packet[i] = (uint8_t)(i * 7 + (i >> 8));
	lay(s.cut);
	lay_rules = layout_rules(256 + 16u * s.chunk, (uint8_t)s.hdr.hdr_len);
	rules = (struct xn_offload_rules){ features(s.features), s.frame > 253 ? 65553u : 60 + 80u * s.frame,
					   s.frame & 1 };

	xn_gather_head(in.memory, in.pieces, off.head, xn_offload_wants(&s.hdr, in.bytes));
	if (xn_offload_check(&rules, &s.hdr, in.bytes, &off) == XN_OFFLOAD_OK) {
		must(!off.csum || off.csum_at + 2 <= in.bytes);
		if (off.gso != XN_GSO_NONE) {
			must(xn_offload_seg_bytes(&off) <= rules.max_frame);
			check_segments(&off, &lay_rules);
		} else if (!off.csum) {
			lay_csum(&off, &lay_rules, in.packet);
		} else {
			check_csum(&off, &lay_rules);
		}
	}
	check_received();

	/* Back together it is what it was. */
	for (uint32_t at = 0, k = 0; at < in.bytes; at += in.pieces[k++].len)
		must(!memcmp(in.packet + at, in.memory + in.pieces[k].at.v, in.pieces[k].len));
	free(in.packet);
	free(in.memory);
	return 0;
}
