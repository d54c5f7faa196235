/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in pieces.h; and how a near end stamps frames in one piece (path.h). */
#include <string.h>

#include "base/types.h"
#include "bench/pieces.h"

/* IPv4 total length, in network order (RFC 791, 3.1). */
#define IP_LENGTH_AT 16u

bool xn_near_is_built(const struct xn_near *w, const uint8_t *frame)
{
	uint32_t stream;
	uint16_t ip_bytes;

	memcpy(&stream, frame + XN_STAMP_AT, sizeof(stream));
	memcpy(&ip_bytes, frame + IP_LENGTH_AT, sizeof(ip_bytes));
	return stream == w->stream && ip_bytes == __builtin_bswap16((uint16_t)(w->bytes - 14));
}

void xn_near_stamp(struct xn_near *w, uint8_t *frame)
{
	if (xn_near_is_built(w, frame)) {
		xn_frame_stamp(frame, w->bytes, w->stream, w->seq++);
		return;
	}
	xn_frame_build(frame, w->bytes, w->path->far_mac, w->path->near_mac, w->stream, w->seq++);
	if (w->port)
		xn_frame_set_port(frame, w->port);
}

/* Copies n bytes of the frame, from `at` on; to or from buf. */
static void copy_at(const struct xn_guest_piece *p, uint32_t at, uint8_t *buf, uint32_t n, bool to_frame)
{
	for (; at >= p->bytes; p++)
		at -= p->bytes;
	for (uint32_t done = 0; done < n; p++, at = 0) {
		const uint32_t now = XN_MIN(n - done, p->bytes - at);

		if (to_frame)
			memcpy(p->data + at, buf + done, now);
		else
			memcpy(buf + done, p->data + at, now);
		done += now;
	}
}

static uint32_t length(const struct xn_guest_piece *p, unsigned n)
{
	uint32_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += p[i].bytes;
	return bytes;
}

void xn_pieces_stamp(struct xn_near *w, const struct xn_guest_piece *p, unsigned n)
{
	static _Thread_local uint8_t whole[XN_MTU_MAX + XN_ETH_BYTES];
	const struct xn_stamp stamp = { w->stream, w->seq, xn_stamp_check(w->stream, w->seq, w->bytes) };
	uint32_t tail = ~stamp.check;

	if (n == 1) {
		xn_near_stamp(w, p->data);
		return;
	}
	if (xn_near_is_built(w, p->data)) {
		memcpy(p->data + XN_STAMP_AT, &stamp, sizeof(stamp));
		copy_at(p, w->bytes - XN_TAIL_BYTES, (uint8_t *)&tail, XN_TAIL_BYTES, true);
		w->seq++;
		return;
	}
	memset(whole, 0, XN_STAMP_AT + XN_STAMP_BYTES);
	xn_near_stamp(w, whole);
	copy_at(p, 0, whole, w->bytes, true);
}

void xn_pieces_check(struct xn_check *c, const struct xn_guest_piece *p, unsigned n)
{
	const uint32_t bytes = length(p, n);
	uint8_t filler[XN_FILLER_BYTES];
	struct xn_stamp stamp;
	uint32_t tail, at;

	if (p->bytes < XN_STAMP_AT + XN_STAMP_BYTES || bytes < XN_FRAME_MIN) {
		c->foreign++;
		return;
	}
	memcpy(&stamp, p->data + XN_STAMP_AT, sizeof(stamp));
	copy_at(p, bytes - XN_TAIL_BYTES, (uint8_t *)&tail, XN_TAIL_BYTES, false);
	if (stamp.stream == c->stream && bytes >= XN_FRAME_MIN + XN_FILLER_BYTES) {
		at = xn_filler_at(stamp.seq, bytes);
		copy_at(p, at, filler, XN_FILLER_BYTES, false);
		if (!xn_filler_good(filler, at)) {
			c->corrupt++;
			return;
		}
	}
	xn_check_stamp(c, &stamp, tail, bytes);
}
