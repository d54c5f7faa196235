/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What receive coalescing (engine/gro.h) costs this side: nanoseconds for each frame of a batch, in
 * buffers that go through 64 MiB of "guest memory". Figures are the least and the median of rounds,
 * which take turns.
 *
 *	joins      45 segments of a connection, or datagrams; their checksums finished, or left to the guest
 *	looks      frames that are looked at and left alone
 *	move       the payload of a segment to where its buffer begins, and nothing else
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/clock.h"
#include "tests/fake/packet.h"
#include "tests/fake/segments.h"

#define GUEST_BYTES (64u << 20)
#define STRIDE      4096u         /* of buffers: pages, as Linux has them */
#define BATCH       64u
#define ROUNDS      21u
#define BATCHES     100u          /* a round */
#define HDR         12u
#define SIZE        1448u

static uint8_t *guest;
static struct xn_mem mem;
static struct xn_gro *gro;
static struct xn_rx_buf bufs[BATCH];
static volatile uint64_t sink;    /* so that no result is thrown away */

struct job {
	const char *name;
	unsigned frames;              /* of a batch */
	uint32_t buf_bytes;           /* of a buffer */
	struct pkt_spec spec;
	bool unfinished, move, no_udp;
	double ns[ROUNDS];
};

static uint8_t frames[BATCH][2048];
static uint32_t lens[BATCH];

static void make_frames(const struct job *j)
{
	static struct pkt pkt;
	struct pkt_spec s = j->spec;

	if (!s.gso_size)
		s.payload /= j->frames;
	pkt_build(&pkt, &s);
	for (unsigned i = 0; i < j->frames; i++) {
		if (!s.gso_size) {
			lens[i] = pkt.bytes;
			memcpy(frames[i], pkt.data, pkt.bytes);
			if (s.version == 6)
				frames[i][21] = (uint8_t)(64 + i % 2);   /* hop limit: none joins the one before */
			continue;
		}
		lens[i] = pkt_segment(pkt.data, pkt.bytes, pkt.ip_at, pkt.l4_at, pkt_dst_at(&pkt, &s), s.udp,
				      s.gso_size, i, frames[i]);
	}
}

/* Nanoseconds for each frame, without laying them. */
static double run(const struct job *j)
{
	struct xn_rx_done done[BATCH];
	struct xn_chain chains[BATCH];
	uint64_t ticks = 0, t;
	unsigned place = 0;

	make_frames(j);
	gro->udp4 = gro->udp6 = !j->no_udp;
	for (unsigned k = 0; k < BATCHES; k++) {
		for (unsigned i = 0; i < j->frames; i++, place = (place + 1) % (GUEST_BYTES / STRIDE)) {
			const xn_uoff at = XN_UOFF((uint64_t)place * STRIDE);

			memcpy(guest + at.v + HDR, frames[i], lens[i]);
			chains[i] = (struct xn_chain){ .at = at, .bytes = j->buf_bytes, .n_pieces = 1,
						       .head = (uint16_t)i };
			done[i] = (struct xn_rx_done){ .at = at, .len = lens[i], .id = (uint16_t)i };
			if (j->unfinished) {
				done[i].flags = XN_RX_CSUM;
				done[i].csum_start = 34;
				done[i].csum_offset = j->spec.udp ? 6 : 16;
			}
		}
		xn_gro_note(gro, chains, j->frames);
		gro->n_spares = 0;
		t = xn_ticks();
		if (j->move)
			for (unsigned i = 0; i < j->frames; i++)
				memmove(guest + done[i].at.v, guest + done[i].at.v + 78, SIZE);
		else
			sink += xn_gro_batch(gro, done, j->frames)->len;
		ticks += xn_ticks() - t;
	}
	return xn_ticks_ns(ticks) / BATCHES / j->frames;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	static const struct pkt_spec tcp = { .version = 4, .tcp_options = 3, .tcp_flags = 0x10,
					     .payload = 45 * SIZE, .gso_size = SIZE, .seed = 1 };
	static const struct pkt_spec udp = { .version = 4, .udp = true, .payload = 45 * SIZE, .seed = 1 };
	static struct pkt_spec short_udp, alone, v6, udp6, train, short_train;
	struct job jobs[14];
	const unsigned n = XN_ARRAY_SIZE(jobs);

	short_udp = udp;
	short_udp.payload = 64 * 18;
	alone = tcp;
	alone.tcp_flags = 0x18;
	alone.gso_size = 0;
	v6 = tcp;
	v6.version = 6;
	udp6 = udp;
	udp6.version = 6;
	train = udp;
	train.gso_size = SIZE;
	short_train = short_udp;
	short_train.gso_size = 64;
	short_train.payload = 64 * 64;
	jobs[0] = (struct job){ .name = "move, 1448 bytes", .frames = 45, .buf_bytes = 4096, .spec = tcp, .move = true };
	jobs[1] = (struct job){ .name = "joins, unfinished, 4096", .frames = 45, .buf_bytes = 4096, .spec = tcp,
				.unfinished = true };
	jobs[2] = (struct job){ .name = "joins, checked, 4096", .frames = 45, .buf_bytes = 4096, .spec = tcp };
	jobs[3] = (struct job){ .name = "joins, checked, 1536", .frames = 45, .buf_bytes = 1536, .spec = tcp };
	jobs[4] = (struct job){ .name = "joins, checked, IPv6, 4096", .frames = 45, .buf_bytes = 4096, .spec = v6 };
	jobs[5] = (struct job){ .name = "looks, TCP with PSH, TCP only", .frames = 45, .buf_bytes = 4096, .spec = alone,
				.no_udp = true };
	jobs[6] = (struct job){ .name = "looks, UDP 1448, TCP only", .frames = 45, .buf_bytes = 4096, .spec = udp,
				.no_udp = true };
	jobs[7] = (struct job){ .name = "looks, UDP 60, TCP only", .frames = 64, .buf_bytes = 4096, .spec = short_udp,
				.no_udp = true };
	jobs[8] = (struct job){ .name = "looks, TCP with PSH, both", .frames = 45, .buf_bytes = 4096, .spec = alone };
	jobs[9] = (struct job){ .name = "looks, UDP 1448", .frames = 45, .buf_bytes = 4096, .spec = udp6 };
	jobs[10] = (struct job){ .name = "joins, UDP 1448, checked", .frames = 45, .buf_bytes = 4096, .spec = train };
	jobs[11] = (struct job){ .name = "joins, UDP 1448, unfinished", .frames = 45, .buf_bytes = 4096, .spec = train,
				 .unfinished = true };
	jobs[12] = (struct job){ .name = "joins, UDP 64, checked", .frames = 64, .buf_bytes = 4096, .spec = short_train };
	jobs[13] = (struct job){ .name = "joins, UDP 64, unfinished", .frames = 64, .buf_bytes = 4096, .spec = short_train,
				 .unfinished = true };
	xn_clock_init();
	guest = malloc(GUEST_BYTES + STRIDE);
	if (!guest)
		return 1;
	memset(guest, 0, GUEST_BYTES + STRIDE);
	mem.base = guest;
	gro = xn_gro_create(&mem, bufs, HDR, BATCH, BATCH);
	if (!gro)
		return 1;
	gro->tcp4 = gro->tcp6 = true;
	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned k = 0; k < n; k++)
			jobs[k].ns[r] = run(&jobs[k]);
	printf("ns a frame                      least    median\n");
	for (unsigned k = 0; k < n; k++) {
		qsort(jobs[k].ns, ROUNDS, sizeof(jobs[k].ns[0]), by_value);
		printf("%-28s %8.1f  %8.1f\n", jobs[k].name, jobs[k].ns[0], jobs[k].ns[ROUNDS / 2]);
	}
	xn_gro_destroy(gro);
	free(guest);
	return 0;
}
