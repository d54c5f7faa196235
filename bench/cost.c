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
 *	cost [packed]            ns a packet: least and median of the rounds
 *	cost --instr N rx|tx|rx-soft [packed]   N packets of 64 bytes, once, to be counted
 *	                         (rx-soft: from a peer in this machine, whose checksums have to
 *	                         be looked at):
 *		valgrind --tool=callgrind --collect-atstart=no \
 *			--toggle-collect=xn_cost_run --toggle-collect=xn_cost_kernel_send ...
 *	                         Each toggle turns counting off or on again where the
 *	                         function is entered and left, so the kernel in the middle
 *	                         of a run is not counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "base/types.h"
#include "bench/clock.h"
#include "bench/guest.h"
#include "port/xdp.h"
#include "tests/fake/kernel.h"

#define BATCH   64u
#define RING    1024u
#define ROUNDS  25u
#define BATCHES 2000u    /* in a round */
#define USAGE   "usage: cost [--instr PACKETS rx|tx|rx-soft] [packed]\n"

/* ---- the kernel: the tests' fake one, that moves descriptors and copies nothing ---- */

static uint64_t send_ticks;

unsigned xn_cost_run(struct xn_queue *q);
int xn_cost_kernel_send(struct xn_xsk *x);

/* sendto(), under a name of its own for callgrind, and booked. */
__attribute__((noinline))
int xn_cost_kernel_send(struct xn_xsk *x)
{
	const uint64_t t = xn_ticks();
	const int err = fk_send(x);

	send_ticks += xn_ticks() - t;
	return err;
}

static void on_open(struct fk *k, unsigned queue)
{
	k->capture = false;
	fk_host.xsk[queue]->send = xn_cost_kernel_send;
}

/* ---- engine and guest ---- */

static struct {
	struct xn_port *port;
	struct xn_guest *guest;
	struct xn_mem *mem;
	struct xn_dev *dev;
	struct xn_queue *q;
} rig;

static int make_rig(bool packed, bool soft_peer)
{
	const struct xn_port_opts po = { .sz = sizeof(po) };
	const struct xn_guest_cfg gc = { .pairs = 1, .queue_size = RING, .huge = XN_HUGE_AUTO,
					 .packed = packed };
	struct xn_region region;
	struct xn_vring ring;
	int err;

	fk_host_reset();
	/* Whose frames come from a wire; else each is looked at (port/rx_csum.h). */
	if (!soft_peer)
		strcpy(fk_host.info.driver, "ixgbe");
	fk_host.on_open = on_open;
	err = xn_port_open_xdp_on(&rig.port, "fake0", &po, &fk_host_sys);
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
						   (1ull << 32 | 1ull << 15 | (packed ? 1ull << 34 : 0)));
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

static void unmake_rig(void)
{
	xn_dev_destroy(rig.dev);
	xn_port_close(rig.port);
	xn_mem_destroy(rig.mem);
	xn_guest_destroy(rig.guest);
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

	fk_rx_many(&fk_host.q[0], n, bytes);
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
	send_ticks = 0;
	t = xn_ticks();
	xn_cost_run(rig.q);
	*ticks += xn_ticks() - t - send_ticks;
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

/* UDP over IPv4 lies in every receive buffer: nobody writes frames there any more. */
static void lay_udp(void)
{
	static const uint8_t udp[] = {
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
		0x45, 0, 0, 50, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x12, 0x34, 0x56, 0x78, 0, 30, 0xab, 0xcd,
	};
	struct xn_guest_frame f[BATCH];

	for (unsigned n = 0; n < RING; n += BATCH) {
		unsigned got;

		fk_rx_many(&fk_host.q[0], BATCH, 64);
		xn_queue_run(rig.q, BATCH);
		got = xn_guest_rx(rig.guest, 0, f, BATCH);
		for (unsigned i = 0; i < got; i++)
			memcpy((uint8_t *)(uintptr_t)f[i].data, udp, sizeof(udp));
		xn_guest_rx_done(rig.guest, 0, f, got);
	}
}

static int count_mode(const char *count, const char *dir)
{
	const bool tx = !strcmp(dir, "tx");
	char *end;
	uint64_t n = strtoull(count, &end, 10), left = n, ticks = 0;

	if (*end || !n || (!tx && strcmp(dir, "rx") && strcmp(dir, "rx-soft"))) {
		fprintf(stderr, USAGE);
		return 2;
	}
	xn_queue_run(rig.q, BATCH);    /* lends all receive buffers */
	if (!tx)
		lay_udp();
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
	const bool packed = (argc == 2 || argc == 5) && !strcmp(argv[argc - 1], "packed");
	const bool count = argc - packed == 4 && !strcmp(argv[1], "--instr");
	int status;

	if (argc - packed != 1 && !count) {
		fprintf(stderr, USAGE);
		return 2;
	}
	xn_clock_init();
	if (make_rig(packed, count && !strcmp(argv[3], "rx-soft"))) {
		fprintf(stderr, "cost: %s\n", xn_last_error());
		return 1;
	}
	status = count ? count_mode(argv[2], argv[3]) : measure_all();
	unmake_rig();
	return status;
}
