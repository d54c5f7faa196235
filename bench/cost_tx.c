/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies behind the choice how a packet leaves (port/layout.h), measured on this machine: a
 * byte copied, a byte summed, and (as root) a further descriptor of a packet, on an AF_XDP
 * socket in copy mode on a veth pair in namespaces of its own. Then, what follows from it.
 *
 *	bytes of a copy that a descriptor is worth = (further descriptor) / (byte copied)
 *
 * Only one thing of that number matters to the engine: is it more than a chunk has? Then all
 * neighbours that fit one are copied together; else only some of them. So it is a constant
 * there, XN_DESC_BYTES_COPY: this program says whether it is on the right side.
 *
 * The same frames are sent as 1, 2, 3, 4 and 8 descriptors, in turns; what a further one costs
 * is the slope of the medians.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/csum.h"
#include "base/log.h"
#include "bench/clock.h"
#include "bench/lab.h"
#include "port/layout.h"

#define RAM_BYTES   (16u << 20)
#define CHUNK       XN_CHUNK_BYTES
#define FRAME       4000u
#define RING        2048u
#define BATCH       32u               /* packets a call */
#define BATCHES     4u                /* ... in a round, which is shorter than a time slice */
#define ROUNDS      301u
#define COPY_ROUNDS 25u

static const unsigned ways[] = { 1, 2, 3, 4, 8 };
#define WAYS XN_ARRAY_SIZE(ways)

static struct {
	struct xn_lab lab;
	int fd;
	struct xn_mem *mem;
	struct xn_xsk x;
	uint8_t *ram;
	uint32_t next;       /* frame of RAM that is sent next */
} rig = { .fd = -1, .x = { .fd = -1 } };

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[n / 2];
}

/* ---- memory ---- */

/* ns a byte, in chunks, through memory that is larger than caches are. */
static double per_byte(uint8_t *ram, void (*job)(uint8_t *to, const uint8_t *from, uint32_t n))
{
	const uint32_t half = RAM_BYTES / 2;
	double ns[COPY_ROUNDS];

	for (unsigned r = 0; r < COPY_ROUNDS; r++) {
		const uint64_t t = xn_ticks();

		for (uint32_t at = 0; at + CHUNK <= half; at += CHUNK)
			job(ram + at, ram + half + at, CHUNK);
		ns[r] = xn_ticks_ns(xn_ticks() - t) / half;
	}
	return median(ns, COPY_ROUNDS);
}

static volatile uint64_t sink;    /* so that no result is thrown away */

static void copy(uint8_t *to, const uint8_t *from, uint32_t n)
{
	memcpy(to, from, n);
	sink += *to;
}

static void sum(uint8_t *to, const uint8_t *from, uint32_t n)
{
	(void)to;
	sink += xn_sum_bytes(from, n).v;
}

static void copy_and_sum(uint8_t *to, const uint8_t *from, uint32_t n)
{
	sink += xn_sum_copy(to, from, n).v;
}

/* ---- descriptors ---- */

static int make_rig(void)
{
	struct xn_region region = { .size = RAM_BYTES };
	struct xn_xsk_cfg cfg = {
		.ifname = XN_LAB_NEAR, .chunk_bytes = CHUNK, .frame_bytes = XN_FRAME_BYTES_MAX,
		.fill_size = 64, .rx_size = 128, .tx_size = RING, .comp_size = 2 * RING,
		.mode = XN_XSK_COPY, .tx_budget = 1024, .share_fd = -1, .spare_fd = -1,
	};
	int err = xn_lab_create(&rig.lab, &(struct xn_lab_cfg){ .queues = 1, .mtu = FRAME });

	if (!err)
		err = xn_ram_create(&rig.fd, RAM_BYTES, XN_HUGE_AUTO, NULL);
	region.fd = rig.fd;
	if (!err)
		err = xn_mem_create(&rig.mem, &region, 1, NULL);
	if (!err)
		err = xn_lab_enter_near(&rig.lab);
	if (err)
		return err;
	cfg.ifindex = rig.lab.near_ifindex;
	cfg.mem = rig.mem;
	err = xn_xsk_open(&rig.x, &cfg);
	xn_lab_leave(&rig.lab);
	if (err)
		return err;
	rig.ram = xn_mem_ptr(rig.mem, 0, RAM_BYTES);
	for (uint32_t at = 0; at < RAM_BYTES; at += CHUNK) {
		memset(rig.ram + at, 0x5a, CHUNK);
		memcpy(rig.ram + at, rig.lab.far_mac, 6);
		memcpy(rig.ram + at + 6, rig.lab.near_mac, 6);
		rig.ram[at + 12] = 0x88;    /* IEEE 802 local experimental: nobody there takes it */
		rig.ram[at + 13] = 0xb5;
	}
	return 0;
}

static void unmake_rig(void)
{
	xn_xsk_close(&rig.x);
	if (rig.mem)
		xn_mem_destroy(rig.mem);
	if (rig.fd >= 0)
		close(rig.fd);
	xn_lab_destroy(&rig.lab);
}

/* Puts one packet into the ring, as so many descriptors. */
static void put(uint32_t slot, unsigned descs)
{
	const uint64_t at = (uint64_t)(rig.ram - rig.mem->base) + (uint64_t)rig.next * CHUNK;
	const uint32_t each = FRAME / descs;

	rig.next = (rig.next + 1) % (RAM_BYTES / CHUNK);
	for (unsigned i = 0; i < descs; i++)
		*xsk_ring_prod__tx_desc(&rig.x.tx, slot + i) = (struct xdp_desc){
			.addr = at + i * each, .len = i + 1 < descs ? each : FRAME - i * each,
			.options = i + 1 < descs ? XDP_PKT_CONTD : 0,
		};
}

/* A round: ns a packet; negative: the kernel does not go on. */
static double send_round(unsigned descs)
{
	uint64_t ticks = 0;

	for (unsigned b = 0; b < BATCHES; b++) {
		uint32_t slot, comp, n;
		unsigned calls = 0;
		uint64_t t;

		if (xsk_ring_prod__reserve(&rig.x.tx, BATCH * descs, &slot) != BATCH * descs)
			return -1;
		for (unsigned i = 0; i < BATCH; i++)
			put(slot + i * descs, descs);
		xsk_ring_prod__submit(&rig.x.tx, BATCH * descs);
		t = xn_ticks();
		while (xn_load_acquire32(rig.x.tx.consumer) != xn_load_once32(rig.x.tx.producer))
			if (rig.x.send(&rig.x) && ++calls > 10000)
				return -1;
		ticks += xn_ticks() - t;
		n = xsk_ring_cons__peek(&rig.x.comp, 2 * RING, &comp);
		xsk_ring_cons__release(&rig.x.comp, n);
	}
	return xn_ticks_ns(ticks) / (BATCH * BATCHES);
}

/* Slope by least squares. */
static double slope(const double *ns)
{
	double x = 0, y = 0, xx = 0, xy = 0;

	for (unsigned i = 0; i < WAYS; i++) {
		x += ways[i];
		y += ns[i];
		xx += (double)ways[i] * ways[i];
		xy += ways[i] * ns[i];
	}
	return (WAYS * xy - x * y) / (WAYS * xx - x * x);
}

/* ns that a further descriptor costs; negative: it could not be measured. */
static double per_descriptor(void)
{
	double ns[WAYS][ROUNDS], medians[WAYS];

	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned i = 0; i < WAYS; i++) {
			ns[i][r] = send_round(ways[i]);
			if (ns[i][r] < 0)
				return -1;
		}
	for (unsigned i = 0; i < WAYS; i++) {
		medians[i] = median(ns[i], ROUNDS);
		printf("packet of %u bytes, %u descriptor%s %9.1f ns\n", FRAME, ways[i],
		       ways[i] == 1 ? ": " : "s:", medians[i]);
	}
	return slope(medians);
}

/* ---- what follows ---- */

/* How packets that guests send leave, at this price. */
static void tell_choice(uint32_t desc_bytes)
{
	static const struct { uint32_t len[4]; const char *what; } examples[] = {
		{ { 54, 1448 }, "headers, 1448 bytes" }, { { 54, 4000 }, "headers, 4000 bytes" },
		{ { 9000 }, "9000 bytes" }, { { 54, 8946 }, "headers, 8946 bytes" },
		{ { 54, 32768, 31178 }, "headers, 32768 and 31178 bytes" },
		{ { 2000, 2000, 2000, 2000 }, "4 pieces of 2000 bytes" },
	};
	const struct xn_layout_rules r = { .chunk = CHUNK, .desc_bytes = desc_bytes,
					   .max = XN_TX_PIECES_MAX };

	printf("\nhow packets leave with a descriptor at %u bytes\n", desc_bytes);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(examples); i++) {
		struct xn_piece pieces[4];
		uint32_t bytes = 0;
		struct xn_layout l;

		for (unsigned k = 0; k < 4; k++) {
			pieces[k] = (struct xn_piece){ .at = XN_UOFF(k << 20), .len = examples[i].len[k] };
			bytes += examples[i].len[k];
		}
		if (xn_layout(&l, &r, xn_cursor_at(NULL, pieces), bytes, 0))
			printf("  %-32s %2u descriptors, %5u bytes copied\n", examples[i].what, l.n, l.copied);
		else
			printf("  %-32s %2u descriptors, all copied\n", examples[i].what,
			       xn_chunks_for(bytes, CHUNK));
	}
}

static void tell(double ns_desc, double ns_byte)
{
	const double worth = ns_desc / ns_byte;

	printf("a further descriptor %29.1f ns, as much as copying %.0f bytes\n", ns_desc, worth);
	printf("the engine takes it for %u: what fits a chunk (%u bytes) is copied together%s\n",
	       XN_DESC_BYTES_COPY, CHUNK, (worth > CHUNK) == (XN_DESC_BYTES_COPY > CHUNK) ?
	       ", as it should be here" : "; here, that is dearer than several descriptors: tx=chain");
	tell_choice(worth > 1 ? (uint32_t)worth : 1);
}

int main(void)
{
	uint8_t *ram = malloc(RAM_BYTES);
	double ns_byte, ns_desc;
	int err;

	xn_clock_init();
	if (!ram) {
		fprintf(stderr, "cost_tx: out of memory\n");
		return 1;
	}
	memset(ram, 1, RAM_BYTES);
	ns_byte = per_byte(ram, copy);
	printf("a byte copied        %29.4f ns\n", ns_byte);
	printf("a byte summed        %29.4f ns\n", per_byte(ram, sum));
	printf("a byte copied and summed %25.4f ns\n", per_byte(ram, copy_and_sum));
	free(ram);
	if (geteuid()) {
		printf("skipped: what a descriptor costs needs root (namespaces, AF_XDP)\n");
		tell_choice(XN_DESC_BYTES_COPY);
		return 0;
	}
	err = make_rig();
	ns_desc = err ? -1 : per_descriptor();
	if (ns_desc >= 0)
		tell(ns_desc, ns_byte);
	else
		fprintf(stderr, "cost_tx: %s\n", err ? xn_last_error() : "the kernel does not send");
	unmake_rig();
	return ns_desc >= 0 ? 0 : 1;
}
