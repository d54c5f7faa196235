/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in pieces.h. */
#include <string.h>

#include "base/types.h"
#include "bench/pieces.h"

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

	if (bytes < XN_FRAME_MIN + XN_FILLER_BYTES) {
		xn_check_frame(c, p->data, XN_MIN(p->bytes, bytes));
		return;
	}
	if (p->bytes < XN_STAMP_AT + XN_STAMP_BYTES) {
		c->foreign++;
		return;
	}
	memcpy(&stamp, p->data + XN_STAMP_AT, sizeof(stamp));
	copy_at(p, bytes - XN_TAIL_BYTES, (uint8_t *)&tail, XN_TAIL_BYTES, false);
	at = xn_filler_at(stamp.seq, bytes);
	copy_at(p, at, filler, XN_FILLER_BYTES, false);
	if (stamp.stream == c->stream && !xn_filler_good(filler, at)) {
		c->corrupt++;
		return;
	}
	xn_check_stamp(c, &stamp, tail, bytes);
}
