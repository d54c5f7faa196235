/* SPDX-License-Identifier: BSD-2-Clause */
/* See driver.h. Stamping and checking are booked, what the driver does is not. */
#include "base/types.h"
#include "bench/driver.h"
#include "bench/driver_large.h"

static void check(struct xn_near *w, const struct xn_guest_frame *f, unsigned n)
{
	const uint64_t t = xn_ticks();

	for (unsigned i = 0; i < n; i++)
		xn_check_frame(&w->check, f[i].data, f[i].bytes);
	w->own_ticks += xn_ticks() - t;
}

static void stamp(struct xn_near *w, uint8_t **data, uint32_t *bytes, unsigned n)
{
	const uint64_t t = xn_ticks();

	for (unsigned i = 0; i < n; i++) {
		xn_near_stamp(w, data[i]);
		bytes[i] = w->bytes;
	}
	w->own_ticks += xn_ticks() - t;
}

static unsigned short_rx(struct xn_near *w, struct xn_guest *g)
{
	struct xn_guest_frame f[XN_TURN];
	unsigned n = xn_guest_rx(g, w->queue, f, XN_TURN);

	if (!n)
		return 0;
	check(w, f, n);
	xn_guest_rx_done(g, w->queue, f, n);
	w->packets += n;
	return n;
}

void xn_driver_guest(struct xn_guest_cfg *cfg, const struct xn_path *p, uint32_t max_frame)
{
	const struct xn_opts *o = p->opts;
	const uint32_t room = XN_VNET_HDR + max_frame + 4;

	*cfg = (struct xn_guest_cfg){
		.pairs = p->queues, .queue_size = XN_RING_SIZE, .huge = o->huge,
		.packed = o->packed || p->kind == XN_KIND_PACKED,
		.rx_buf_bytes = o->buf_bytes, .rx_as_linux = o->buf_bytes != 0,
	};
	if (xn_path_is_large(p))
		xn_driver_large_guest(cfg, o);
	else if (!o->buf_bytes && max_frame && room > 1536)
		cfg->rx_buf_bytes = (uint32_t)XN_ALIGN_UP(room, 64);
}

unsigned xn_driver_rx(struct xn_near *w, struct xn_guest *g)
{
	return xn_path_is_large(w->path) ? xn_driver_large_rx(w, g) : short_rx(w, g);
}

static unsigned short_tx(struct xn_near *w, struct xn_guest *g, unsigned n)
{
	uint8_t *data[XN_TURN];
	uint32_t bytes[XN_TURN];

	/* What was sent comes back first, so that its memory is used again while it is in the caches: as
	 * Linux's driver does (drivers/net/virtio_net.c, start_xmit). */
	xn_guest_tx_reap(g, w->queue);
	n = xn_guest_tx_reserve(g, w->queue, data, XN_MIN(n, XN_TURN));
	if (!n)
		return 0;
	stamp(w, data, bytes, n);
	xn_guest_tx_submit(g, w->queue, bytes, n);
	w->packets += n;
	return n;
}

unsigned xn_driver_tx(struct xn_near *w, struct xn_guest *g, unsigned n)
{
	return xn_path_is_large(w->path) ? xn_driver_large_tx(w, g, n) : short_tx(w, g, n);
}

unsigned xn_driver_fwd(struct xn_near *w, struct xn_guest *g)
{
	struct xn_guest_frame f[XN_TURN];
	unsigned n, taken;

	/* Each turn: a receive buffer is posted again when its transmit is back. */
	xn_guest_tx_reap(g, w->queue);
	n = xn_guest_rx(g, w->queue, f, XN_TURN);
	for (unsigned i = 0; i < n; i++)
		xn_near_turn_round(w, (uint8_t *)f[i].data);   /* the guest's own memory */
	taken = n ? xn_guest_forward(g, w->queue, f, n) : 0;
	if (taken < n)
		xn_guest_rx_done(g, w->queue, f + taken, n - taken);
	w->packets += taken;
	return n;
}

uint64_t xn_driver_send_one(struct xn_near *w, struct xn_guest *g)
{
	uint8_t *data;
	uint64_t t;

	if (!xn_guest_tx_reserve(g, w->queue, &data, 1))
		return 0;
	xn_near_stamp(w, data);
	t = xn_ticks();
	xn_guest_tx_submit(g, w->queue, &w->bytes, 1);
	return t;
}

uint64_t xn_driver_look(struct xn_near *w, struct xn_guest *g)
{
	const uint64_t good = w->check.frames;
	struct xn_guest_frame f[XN_TURN];
	const unsigned n = xn_guest_rx(g, w->queue, f, XN_TURN);
	uint64_t t;

	if (!n)
		return 0;
	t = xn_ticks();
	check(w, f, n);
	xn_guest_rx_done(g, w->queue, f, n);
	return w->check.frames > good ? t : 0;
}
