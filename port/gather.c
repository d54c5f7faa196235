/* SPDX-License-Identifier: BSD-2-Clause */
/* Pieces to chunks, with checksums. Theory in port/gather.h. */
#include "port/gather.h"

void xn_cursor_skip(struct xn_cursor *c, uint32_t n)
{
	uint32_t got;

	for (; n; n -= got)
		xn_cursor_run(c, n, &got);
}

xn_sum xn_cursor_sum(struct xn_cursor *c, uint32_t n)
{
	xn_sum sum = XN_SUM(0);
	uint32_t got;

	for (uint32_t done = 0; done < n; done += got) {
		const uint8_t *src = xn_cursor_run(c, n - done, &got);

		sum = xn_sum_add(sum, xn_sum_at(xn_sum_bytes(src, got), done));
	}
	return sum;
}

/* The chunks' byte `at`, and how many there are from it on in its chunk. */
static inline uint8_t *chunk_at(const struct xn_chunks *to, uint32_t at, uint32_t *room)
{
	uint32_t i = 0;

	/* Nearly always there is one: no division. */
	for (; XN_UNLIKELY(at >= to->bytes); at -= to->bytes)
		i++;
	*room = to->bytes - at;
	return to->at[i] + at;
}

void xn_gather(struct xn_cursor *c, const struct xn_chunks *to, uint32_t at, uint32_t n)
{
	uint32_t got, room;

	for (uint32_t end = at + n; at < end; at += got) {
		uint8_t *dst = chunk_at(to, at, &room);
		const uint8_t *src = xn_cursor_run(c, XN_MIN(end - at, room), &got);

		memcpy(dst, src, got);
	}
}

xn_sum xn_gather_sum(struct xn_cursor *c, const struct xn_chunks *to, uint32_t at, uint32_t n)
{
	xn_sum sum = XN_SUM(0);
	uint32_t got, room;

	for (uint32_t done = 0; done < n; done += got) {
		uint8_t *dst = chunk_at(to, at + done, &room);
		const uint8_t *src = xn_cursor_run(c, XN_MIN(n - done, room), &got);

		sum = xn_sum_add(sum, xn_sum_at(xn_sum_copy(dst, src, got), done));
	}
	return sum;
}

void xn_gather_head(const uint8_t *base, const struct xn_piece *pieces, uint8_t *head, uint32_t n)
{
	struct xn_cursor c = xn_cursor_at(base, pieces);
	const struct xn_chunks to = { &head, n };

	xn_gather(&c, &to, 0, n);
}

/* Each byte by itself: the field may lie across the end of a chunk. */
static void write_csum(const struct xn_chunks *to, uint32_t at, xn_sum sum)
{
	const uint16_t csum = xn_sum_csum_nonzero(sum);
	uint8_t b[2];
	uint32_t room;

	memcpy(b, &csum, sizeof(b));
	*chunk_at(to, at, &room) = b[0];
	*chunk_at(to, at + 1, &room) = b[1];
}

void xn_gather_csum(const struct xn_offload *o, const uint8_t *base, const struct xn_piece *pieces,
		    const struct xn_chunks *to)
{
	struct xn_cursor c = xn_cursor_at(base, pieces);

	xn_gather(&c, to, 0, o->csum_start);
	write_csum(to, o->csum_at,
		   xn_gather_sum(&c, to, o->csum_start, o->bytes - o->csum_start));
}
