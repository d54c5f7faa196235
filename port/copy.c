/* SPDX-License-Identifier: BSD-2-Clause */
/* The bounce path of every port. Theory in port/copy.h. */
#include <errno.h>
#include <stdlib.h>

#include "port/copy.h"

int xn_id_fifo_init(struct xn_id_fifo *f, uint32_t heads)
{
	f->mask = xn_pow2_up(heads) - 1;
	f->first = f->end = 0;
	f->ids = calloc(f->mask + 1, sizeof(*f->ids));
	return f->ids ? 0 : -ENOMEM;
}

void xn_id_fifo_fini(struct xn_id_fifo *f)
{
	free(f->ids);
	f->ids = NULL;
}

/* How many buffers from the front hold hdr_bytes + bytes; 0: they do not. */
static unsigned buffers_for(const struct xn_portq_cfg *c, const struct xn_id_fifo *fifo,
			    uint32_t bytes)
{
	unsigned n = c->merge ? xn_id_fifo_count(fifo) : XN_MIN(1u, xn_id_fifo_count(fifo));
	uint64_t need = (uint64_t)c->hdr_bytes + bytes;

	for (unsigned i = 0; i < n; i++) {
		uint32_t has = c->bufs[xn_id_fifo_at(fifo, i)].bytes;

		if (has >= need)
			return i + 1;
		need -= has;
	}
	return 0;
}

/* Copies `bytes` of src into a buffer that holds them behind its first `skip`. */
static void copy_to_buf(const struct xn_portq_cfg *c, const struct xn_rx_buf *buf, uint32_t skip,
			const uint8_t *src, uint32_t bytes)
{
	xn_uoff at = buf->at;
	uint32_t len = buf->len, rest = buf->rest;

	for (;;) {
		uint32_t pass = XN_MIN(skip, len);
		uint32_t n = XN_MIN(len - pass, bytes);

		memcpy(xn_mem_at(c->mem, XN_UOFF(at.v + pass)), src, n);
		src += n;
		bytes -= n;
		skip -= pass;
		if (!bytes || !rest)
			return;
		at = c->rests[rest].at;
		len = c->rests[rest].len;
		rest = c->rests[rest].next;
	}
}

unsigned xn_pass_by_first(const struct xn_portq_cfg *c, struct xn_id_fifo *fifo,
			  struct xn_rx_done *done)
{
	const uint16_t id = xn_id_fifo_at(fifo, 0);

	fifo->first++;
	if (!c->in_order) {
		xn_id_fifo_put(fifo, id);
		return 0;
	}
	*done = (struct xn_rx_done){ .id = id, .flags = XN_RX_NOTED | XN_RX_EMPTY };
	return 1;
}

enum xn_spread xn_spread_frame(const struct xn_portq_cfg *c, struct xn_id_fifo *fifo,
			       const uint8_t *frame, uint32_t bytes,
			       struct xn_rx_done *done, unsigned max, unsigned *used)
{
	unsigned n = buffers_for(c, fifo, bytes);
	uint32_t skip = c->hdr_bytes;

	*used = 0;
	if (!n && (c->merge || !xn_id_fifo_count(fifo)))
		return XN_SPREAD_NO_BUFFER;
	if (XN_MAX(n, 1u) > max)
		return XN_SPREAD_NO_ROOM;
	if (!n) {
		*used = xn_pass_by_first(c, fifo, done);
		return XN_SPREAD_TOO_SMALL;
	}

	for (unsigned i = 0; i < n; i++, skip = 0) {
		uint16_t id = xn_id_fifo_at(fifo, i);
		const struct xn_rx_buf *buf = &c->bufs[id];
		uint32_t part = XN_MIN(buf->bytes - skip, bytes);

		copy_to_buf(c, buf, skip, frame, part);
		done[i] = (struct xn_rx_done){
			.id = id, .len = part,
			.flags = i + 1 < n ? XN_RX_NOTED | XN_RX_MORE : XN_RX_NOTED,
		};
		frame += part;
		bytes -= part;
	}
	fifo->first += n;
	*used = n;
	return XN_SPREAD_OK;
}
