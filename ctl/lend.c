/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in ctl/lend.h. */
#include "ctl/lend.h"

#define FRAG_BYTES 32768u    /* of which Linux cuts buffers */
#define VNET_HDR   12u       /* virtio-net header (VIRTIO 1.2, 5.1.6) */
#define MTU_MIN    68u       /* RFC 791 */

const uint32_t xn_lend_sizes[XN_LEND_SIZES] = { 1536, 2048, 4096 };

uint64_t xn_lend_place(uint32_t buf_bytes, uint64_t i)
{
	const uint32_t each = FRAG_BYTES / buf_bytes;

	return i / each * FRAG_BYTES + i % each * buf_bytes;
}

uint32_t xn_lend_length(uint32_t buf_bytes, uint64_t i)
{
	const uint32_t each = FRAG_BYTES / buf_bytes;

	return i % each == each - 1 ? FRAG_BYTES - (each - 1) * buf_bytes : buf_bytes;
}

uint64_t xn_lend_count(uint32_t buf_bytes, uint64_t bytes)
{
	return bytes / FRAG_BYTES * (FRAG_BYTES / buf_bytes);
}

uint32_t xn_lend_from(const struct xn_zc_shape *s)
{
	return XN_MAX(VNET_HDR, s->front) + s->reach;
}

bool xn_lend_long_enough(const struct xn_zc_shape *s, uint32_t buf_bytes)
{
	return s->front <= VNET_HDR && buf_bytes >= xn_lend_from(s);
}

double xn_lend_share(const struct xn_zc_shape *s, uint32_t buf_bytes, uint32_t run_pages)
{
	/* Far enough from address 0 that a chunk may begin before its buffer. */
	const uint64_t base = XN_HUGE_SIZE, room = 64 * XN_HUGE_SIZE;
	const uint64_t all = xn_lend_count(buf_bytes, room);
	uint64_t lent = 0;

	for (uint64_t i = 0; i < all; i++) {
		const uint64_t end = base + xn_lend_place(buf_bytes, i) + VNET_HDR + s->frame_bytes;
		const uint64_t page = (end - s->chunk_bytes) / XN_PAGE_SIZE;

		if (xn_lend_long_enough(s, xn_lend_length(buf_bytes, i)))
			lent += (end - 1) / XN_PAGE_SIZE == page || (page + 1) % run_pages;
	}
	return (double)lent / (double)all;
}

uint32_t xn_lend_mtu(const struct xn_zc_driver *d, uint32_t mtu, uint32_t buf_bytes)
{
	struct xn_zc_shape s;

	for (; mtu >= MTU_MIN; mtu--)
		if (!xn_zc_shape_choose(&s, d, mtu, "") && xn_lend_long_enough(&s, buf_bytes))
			return mtu;
	return 0;
}
