/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the engine costs a packet, with no kernel in the way: descriptor in, ring
 * entry out, completion back. The port and the device are the real ones; the kernel
 * is played by a few lines that move descriptors between the rings and touch no frame.
 *
 *	rx   kernel: fill -> rx   [xn_queue_run]   driver: used -> available
 *	tx   driver: available    [xn_queue_run, in it the kernel: tx -> completion]
 *
 * Only what is in brackets is measured, the played kernel's share taken out again.
 * Batches of 64.
 *
 *	cost                     ns a packet: least and median of the rounds
 *	cost --instr N rx|tx     N packets of 64 bytes, once, to be counted:
 *		valgrind --tool=callgrind --collect-atstart=no \
 *			--toggle-collect=xn_cost_run --toggle-collect=xn_cost_kernel_send ...
 *	                         Each toggle turns counting off or on again where the
 *	                         function is entered and left, so the kernel in the middle
 *	                         of a run is not counted.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/types.h"
#include "bench/clock.h"
#include "bench/guest.h"
#include "port/xdp.h"

#define BATCH   64u
#define RING    1024u
#define ROUNDS  25u
#define BATCHES 2000u    /* in a round */

/* ---- the kernel ---- */

static struct kernel {
	struct xn_xsk *x;
	uint32_t fill_taken, rx_given, tx_taken, comp_given;   /* free running */
	uint64_t send_ticks;
} kernel;

unsigned xn_cost_run(struct xn_queue *q);
int xn_cost_kernel_send(struct xn_xsk *x);

/* n frames of `bytes` arrive. */
static void arrive(unsigned n, uint32_t bytes)
{
	const struct xn_xsk *x = kernel.x;
	const uint64_t *fill = x->fill.ring;
	struct xdp_desc *rx = x->rx.ring;

	n = XN_MIN(n, xn_load_acquire32(x->fill.producer) - kernel.fill_taken);
	for (unsigned i = 0; i < n; i++)
		rx[kernel.rx_given++ & x->rx.mask] = (struct xdp_desc){
			.addr = fill[kernel.fill_taken++ & x->fill.mask] |
				(uint64_t)x->land << XSK_UNALIGNED_BUF_OFFSET_SHIFT,
			.len = bytes,
		};
	xn_store_release32(x->fill.consumer, kernel.fill_taken);
	xn_store_release32(x->rx.producer, kernel.rx_given);
}

/* All that is posted is sent at once, and completed. */
__attribute__((noinline))
int xn_cost_kernel_send(struct xn_xsk *x)
{
	const uint64_t t = xn_ticks();
	const struct xdp_desc *tx = x->tx.ring;
	uint64_t *comp = x->comp.ring;
	const uint32_t posted = xn_load_acquire32(x->tx.producer);

	while (kernel.tx_taken != posted)
		comp[kernel.comp_given++ & x->comp.mask] = tx[kernel.tx_taken++ & x->tx.mask].addr;
	xn_store_release32(x->tx.consumer, kernel.tx_taken);
	xn_store_release32(x->comp.producer, kernel.comp_given);
	kernel.send_ticks += xn_ticks() - t;
	return 0;
}

/* Producer and consumer lie on lines of their own, as the kernel's do. */
static void *make_ring(uint32_t size, size_t entry, uint32_t **producer, uint32_t **consumer,
		       uint32_t **flags)
{
	uint8_t *p = aligned_alloc(XN_PAGE_SIZE, XN_ALIGN_UP(3 * 64 + size * entry, XN_PAGE_SIZE));

	if (!p)
		abort();
	memset(p, 0, 3 * 64 + size * entry);
	*producer = (uint32_t *)(void *)p;
	*consumer = (uint32_t *)(void *)(p + 64);
	*flags = (uint32_t *)(void *)(p + 128);
	return p + 192;
}

static void make_prod(struct xsk_ring_prod *r, uint32_t size, size_t entry)
{
	r->ring = make_ring(size, entry, &r->producer, &r->consumer, &r->flags);
	r->size = size;
	r->mask = size - 1;
	r->cached_cons = size;    /* libxdp's convention: always one size ahead */
}

static void make_cons(struct xsk_ring_cons *r, uint32_t size, size_t entry)
{
	r->ring = make_ring(size, entry, &r->producer, &r->consumer, &r->flags);
	r->size = size;
	r->mask = size - 1;
}

static int fake_xsk_open(struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	memset(x, 0, sizeof(*x));
	make_prod(&x->fill, cfg->fill_size, sizeof(uint64_t));
	make_prod(&x->tx, cfg->tx_size, sizeof(struct xdp_desc));
	make_cons(&x->rx, cfg->rx_size, sizeof(struct xdp_desc));
	make_cons(&x->comp, cfg->comp_size, sizeof(uint64_t));
	x->send = xn_cost_kernel_send;
	x->fd = eventfd(0, EFD_CLOEXEC);
	x->frame_bytes = cfg->frame_bytes;
	x->land = XN_CHUNK_BYTES - cfg->frame_bytes;
	kernel = (struct kernel){ .x = x };
	return 0;
}

static void fake_xsk_close(struct xn_xsk *x)
{
	if (x->fd >= 0)
		close(x->fd);
	x->fd = -1;
}

static int fake_if_info(const char *ifname, struct xn_if_info *info)
{
	*info = (struct xn_if_info){ .ifindex = 1, .mtu = 1500, .up = true, .driver = "veth" };
	return 0;
}

static int fake_steer_open(struct xn_steer **s, const struct xn_steer_cfg *cfg)
{
	*s = NULL;
	return 0;
}

static void fake_steer_close(struct xn_steer *s) { }
static int  fake_steer_set(struct xn_steer *s, unsigned queue, int fd) { return 0; }
static void fake_steer_clear(struct xn_steer *s, unsigned queue) { }
static bool fake_steer_native(const struct xn_steer *s) { return true; }
static void fake_counters(const struct xn_steer *s, uint64_t out[XN_E_COUNT])
{
	memset(out, 0, XN_E_COUNT * sizeof(*out));
}
static void fake_statistics(const struct xn_xsk *x, struct xdp_statistics *st)
{
	memset(st, 0, sizeof(*st));
}
static int fake_barrier(void) { return 0; }
static int fake_link_open(struct xn_link *l, unsigned ifindex, const char *ifname)
{
	*l = (struct xn_link){ .ifindex = ifindex, .up = true };
	return 0;
}

static const struct xn_xdp_sys fake_sys = {
	.if_info = fake_if_info, .steer_open = fake_steer_open, .steer_close = fake_steer_close,
	.steer_set = fake_steer_set, .steer_clear = fake_steer_clear,
	.steer_native = fake_steer_native, .steer_counters = fake_counters,
	.xsk_open = fake_xsk_open, .xsk_close = fake_xsk_close,
	.xsk_statistics = fake_statistics, .barrier = fake_barrier, .link_open = fake_link_open,
};

/* ---- engine and guest ---- */

static struct {
	struct xn_port *port;
	struct xn_guest *guest;
	struct xn_mem *mem;
	struct xn_dev *dev;
	struct xn_queue *q;
} rig;

static int make_rig(void)
{
	const struct xn_port_opts po = { .sz = sizeof(po) };
	const struct xn_guest_cfg gc = { .pairs = 1, .queue_size = RING, .huge = XN_HUGE_AUTO };
	struct xn_region region;
	struct xn_vring ring;
	int err = xn_port_open_xdp_on(&rig.port, "fake,queues=1", &po, &fake_sys);

	if (!err)
		err = xn_guest_create(&rig.guest, &gc);
	if (err)
		return err;
	xn_guest_region(rig.guest, &region);
	err = xn_mem_create(&rig.mem, &region, 1, NULL);
	if (!err)
		err = xn_dev_create(&rig.dev, rig.mem, rig.port, NULL);
	if (!err)
		err = xn_dev_set_features(rig.dev, xn_port_features(rig.port) &
						   (1ull << 32 | 1ull << 15));
	for (unsigned i = 0; i < 2 && !err; i++) {
		xn_guest_vring(rig.guest, i, &ring);
		err = xn_dev_set_vring(rig.dev, i, &ring);
	}
	xn_guest_start(rig.guest, 0);
	if (!err)
		err = xn_dev_start(rig.dev);
	rig.q = xn_dev_queue(rig.dev, 0);
	return err;
}

/* All objects are unmade, so that leak checkers have nothing to say. */
static void unmake_rig(void)
{
	struct xn_xsk *x = kernel.x;
	void *const rings[] = { x ? x->fill.producer : NULL, x ? x->tx.producer : NULL,
				x ? x->rx.producer : NULL, x ? x->comp.producer : NULL };

	xn_dev_destroy(rig.dev);
	xn_port_close(rig.port);
	xn_mem_destroy(rig.mem);
	xn_guest_destroy(rig.guest);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(rings); i++)
		free(rings[i]);
}

/* What is measured, under a name of its own for callgrind. */
__attribute__((noinline))
unsigned xn_cost_run(struct xn_queue *q)
{
	return xn_queue_run(q, BATCH);
}

/* One batch; returns how many packets it moved, and adds up what the engine took. */
static unsigned rx_batch(unsigned n, uint32_t bytes, uint64_t *ticks)
{
	struct xn_guest_frame f[BATCH];
	uint64_t t;
	unsigned got;

	arrive(n, bytes);
	t = xn_ticks();
	xn_cost_run(rig.q);
	*ticks += xn_ticks() - t;
	got = xn_guest_rx(rig.guest, 0, f, BATCH);
	xn_guest_rx_done(rig.guest, 0, f, got);
	return got;
}

static unsigned tx_batch(unsigned n, uint32_t bytes, uint64_t *ticks)
{
	uint8_t *data[BATCH];
	uint32_t lens[BATCH];
	uint64_t t;

	n = xn_guest_tx_reserve(rig.guest, 0, data, n);
	for (unsigned i = 0; i < n; i++)
		lens[i] = bytes;
	xn_guest_tx_submit(rig.guest, 0, lens, n);
	kernel.send_ticks = 0;
	t = xn_ticks();
	xn_cost_run(rig.q);
	*ticks += xn_ticks() - t - kernel.send_ticks;
	return n;
}

static unsigned batch(bool tx, unsigned n, uint32_t bytes, uint64_t *ticks)
{
	return tx ? tx_batch(n, bytes, ticks) : rx_batch(n, bytes, ticks);
}

/* ---- what to print ---- */

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(bool tx, uint32_t bytes)
{
	double ns[ROUNDS];

	for (unsigned r = 0; r < ROUNDS; r++) {
		uint64_t ticks = 0, packets = 0;

		for (unsigned i = 0; i < BATCHES; i++)
			packets += batch(tx, BATCH, bytes, &ticks);
		ns[r] = packets ? xn_ticks_ns(ticks) / (double)packets : 0;
	}
	qsort(ns, ROUNDS, sizeof(ns[0]), by_value);
	printf("%-9s %5u %8.1f %8.1f\n", tx ? "transmit" : "receive", bytes, ns[0],
	       ns[ROUNDS / 2]);
}

static int count_mode(const char *count, const char *dir)
{
	const bool tx = !strcmp(dir, "tx");
	char *end;
	uint64_t n = strtoull(count, &end, 10), left = n, ticks = 0;

	if (*end || !n || (!tx && strcmp(dir, "rx"))) {
		fprintf(stderr, "usage: cost [--instr PACKETS rx|tx]\n");
		return 2;
	}
	xn_queue_run(rig.q, BATCH);    /* lends all receive buffers */
	while (left) {
		const unsigned done = batch(tx, (unsigned)XN_MIN(left, BATCH), 64, &ticks);

		if (!done)
			break;
		left -= done;
	}
	printf("packets %llu\n", (unsigned long long)(n - left));
	return left ? 1 : 0;
}

static int measure_all(void)
{
	static const uint32_t sizes[] = { 64, 512, 1514 };

	printf("engine only, ns a packet, batches of %u, %u rounds of %u packets\n\n"
	       "direction bytes    least   median\n", BATCH, ROUNDS, BATCH * BATCHES);
	for (unsigned tx = 0; tx < 2; tx++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++)
			measure(tx, sizes[i]);
	return 0;
}

int main(int argc, char **argv)
{
	int status;

	if (argc != 1 && (argc != 4 || strcmp(argv[1], "--instr"))) {
		fprintf(stderr, "usage: cost [--instr PACKETS rx|tx]\n");
		return 2;
	}
	xn_clock_init();
	if (make_rig()) {
		fprintf(stderr, "cost: %s\n", xn_last_error());
		return 1;
	}
	status = argc == 1 ? measure_all() : count_mode(argv[2], argv[3]);
	unmake_rig();
	return status;
}
