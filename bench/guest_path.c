/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The near end that this project is about: a guest's virtio-net driver and the
 * engine, over AF_XDP; its memory lent to the kernel, or (mode=bounce) every packet
 * copied once. Driver and engine take turns in one thread, so that two processors
 * are enough for the whole test; only the engine's share is booked.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "bench/driver.h"

#define F_MRG_RXBUF (1ull << 15)   /* VIRTIO 1.2, 5.1.3 */
#define F_VERSION_1 (1ull << 32)   /* VIRTIO 1.2, 6 */
#define F_PACKED    (1ull << 34)

struct guest_path {
	struct xn_path p;
	struct xn_port *port;
	struct xn_guest *guest;
	struct xn_mem *mem;
	struct xn_dev *dev;
	struct xn_queue *q[XN_QUEUES_MAX];
};

static struct guest_path *of(const struct xn_path *p)
{
	return XN_CONTAINER_OF(p, struct guest_path, p);
}

static int open_port(struct guest_path *g, struct xn_port_info *info)
{
	char spec[96];
	int err;

	snprintf(spec, sizeof(spec), "xdp:%s,queues=%u%s", g->p.ifname, g->p.queues,
		 g->p.kind == XN_KIND_BOUNCE ? ",mode=bounce" :
		 g->p.kind == XN_KIND_COPY ? ",mode=copy" : "");
	err = xn_port_open(&g->port, spec, NULL);
	if (!err)
		xn_port_get_info(g->port, info);
	return err;
}

static bool is_packed(const struct guest_path *g)
{
	return g->p.opts->packed || g->p.kind == XN_KIND_PACKED;
}

static int make_guest(struct guest_path *g, const struct xn_port_info *info)
{
	struct xn_guest_cfg cfg;
	const struct xn_mem_opts mo = {
		.sz = sizeof(mo), .bounce_frames = 2 * XN_RING_SIZE * g->p.queues,
	};
	struct xn_region region;
	int err;

	xn_driver_guest(&cfg, &g->p, info->max_frame);
	err = xn_guest_create(&g->guest, &cfg);
	if (err)
		return err;
	xn_guest_region(g->guest, &region);
	g->p.huge = xn_guest_got_huge(g->guest);
	return xn_mem_create(&g->mem, &region, 1, &mo);
}

static int start_dev(struct guest_path *g)
{
	const struct xn_dev_opts opts = { .sz = sizeof(opts), .pairs = g->p.queues };
	int err = xn_dev_create(&g->dev, g->mem, g->port, &opts);
	char table[24];

	if (!err)
		err = xn_dev_set_features(g->dev, xn_port_features(g->port) &
						  (F_MRG_RXBUF | F_VERSION_1 |
						   (is_packed(g) ? F_PACKED : 0)));
	/* A configuration that is the default, said aloud: flows are not to follow what is sent. */
	if (!err && g->p.queues > 1) {
		snprintf(table, sizeof(table), "equal:%u", g->p.queues);
		err = xn_dev_set_rss(g->dev, NULL, table);
	}
	for (unsigned i = 0; i < 2 * g->p.queues && !err; i++) {
		struct xn_vring ring;

		xn_guest_vring(g->guest, i, &ring);
		err = xn_dev_set_vring(g->dev, i, &ring);
	}
	for (unsigned i = 0; i < g->p.queues && !err; i++)
		xn_guest_start(g->guest, i);
	return err ? err : xn_dev_start(g->dev);
}

static int guest_open(struct xn_path *p)
{
	struct guest_path *g = of(p);
	struct xn_port_info info = { 0 };
	int err = open_port(g, &info);

	if (!err)
		err = make_guest(g, &info);
	if (!err)
		err = start_dev(g);
	if (err)
		return err;
	for (unsigned i = 0; i < p->queues; i++)
		g->q[i] = xn_dev_queue(g->dev, i);
	xn_port_get_info(g->port, &info);
	snprintf(p->attach, sizeof(p->attach), "%s", info.attach);
	snprintf(p->mode, sizeof(p->mode), "%s", info.mode);
	return 0;
}

static void guest_close(struct xn_path *p)
{
	struct guest_path *g = of(p);

	xn_dev_destroy(g->dev);
	xn_port_close(g->port);
	xn_mem_destroy(g->mem);
	xn_guest_destroy(g->guest);
}

/* Runs the engine, and books it if there was something to do. */
static inline unsigned run_engine(struct xn_near *w, struct guest_path *g)
{
	const uint64_t t = xn_ticks();
	const unsigned moved = xn_queue_run(g->q[w->queue], XN_TURN);

	if (moved) {
		const uint64_t took = xn_ticks() - t;

		w->own_ticks += took;
		w->engine_ticks += took;
	}
	return moved;
}

static unsigned guest_rx(struct xn_near *w)
{
	struct guest_path *g = of(w->path);
	const unsigned moved = run_engine(w, g);

	return moved + xn_driver_rx(w, g->guest);
}

static unsigned guest_tx(struct xn_near *w, unsigned n)
{
	struct guest_path *g = of(w->path);

	n = xn_driver_tx(w, g->guest, n);
	return run_engine(w, g) + n;
}

static unsigned guest_fwd(struct xn_near *w)
{
	struct guest_path *g = of(w->path);
	const unsigned moved = run_engine(w, g);

	return moved + xn_driver_fwd(w, g->guest);
}

static unsigned guest_tx_pending(const struct xn_near *w)
{
	return xn_guest_tx_pending(of(w->path)->guest, w->queue);
}

static uint64_t guest_send_one(struct xn_near *w)
{
	struct guest_path *g = of(w->path);
	const uint64_t t = xn_driver_send_one(w, g->guest);

	xn_queue_run(g->q[w->queue], XN_TURN);
	return t;
}

static uint64_t guest_look(struct xn_near *w)
{
	struct guest_path *g = of(w->path);

	xn_queue_run(g->q[w->queue], XN_TURN);
	return xn_driver_look(w, g->guest);
}

static void guest_sleep(struct xn_near *w, int ms)
{
	struct xn_queue *q = of(w->path)->q[w->queue];
	struct pollfd fds[6];

	if (xn_queue_arm(q))
		poll(fds, xn_queue_wait_fds(q, fds, XN_ARRAY_SIZE(fds)), ms);
}

static void guest_copies(struct xn_path *p, struct xn_copies *out)
{
	struct xn_stat st[256];
	unsigned n = xn_dev_stats(of(p)->dev, XN_ALL_PAIRS, st, XN_ARRAY_SIZE(st));

	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < XN_MIN(n, XN_ARRAY_SIZE(st)); i++)
		xn_copies_count(out, st[i].name, st[i].value);
}

static const struct xn_path_ops guest_ops = {
	.open = guest_open, .close = guest_close,
	.rx = guest_rx, .tx = guest_tx, .fwd = guest_fwd, .tx_pending = guest_tx_pending,
	.send_one = guest_send_one, .look = guest_look, .sleep = guest_sleep,
	.copies = guest_copies,
};

struct xn_path *xn_guest_path_new(void)
{
	struct guest_path *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->p.ops = &guest_ops;
	return &g->p;
}
