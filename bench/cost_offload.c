/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What checksums and segments cost, with no kernel and no rings in the way: nanoseconds,
 * and the ratio to a plain copy of the same bytes, measured in turns with it. Figures are
 * the least and the median of rounds.
 *
 *	cache    source and destination in the first-level cache
 *	memory   the source goes through 64 MiB of "guest memory", the destination through
 *	         2048 chunks, as they do in a queue
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/csum.h"
#include "bench/clock.h"
#include "port/layout.h"
#include "port/rx_csum.h"
#include "port/segment.h"
#include "tests/fake/packet.h"
#include "virtio/offload.h"

#define GUEST_BYTES (64u << 20)
#define CHUNKS      2048u
#define CHUNK_BYTES 4096u
#define ROUNDS      15u
#define ROUND_BYTES (8u << 20)    /* that a round moves */

static uint8_t *guest, *arena;
static struct pkt pkt;
static struct xn_offload off;
static volatile uint64_t sink;    /* so that no result is thrown away */

/* ---- what is measured: all do n times the same job; `cold` moves on in memory ---- */

struct job {
	const char *name;
	void (*run)(const struct job *j, uint32_t n, bool cold);
	uint32_t bytes;               /* of a copy, of a packet */
	const struct xn_sum_way *way;
	uint32_t piece_bytes;         /* how a packet lies; 0: in one piece */
	double least, median;
	double ns[ROUNDS];
};

/* Where the i-th copy is from, and goes to; odd enough. */
static inline uint8_t *source(uint32_t bytes, uint32_t i, bool cold)
{
	return guest + 66 + (cold ? (uint64_t)i * (bytes + 66) % (GUEST_BYTES - bytes - 66) : 0);
}

static inline uint8_t *target(uint32_t i, bool cold)
{
	return arena + (cold ? (size_t)(i % CHUNKS) * CHUNK_BYTES : 0);
}

static void run_memcpy(const struct job *j, uint32_t n, bool cold)
{
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *dst = target(i, cold);

		memcpy(dst, source(j->bytes, i, cold), j->bytes);
		sink += *dst;
	}
}

static void run_copy_sum(const struct job *j, uint32_t n, bool cold)
{
	for (uint32_t i = 0; i < n; i++)
		sink += j->way->copy(target(i, cold), source(j->bytes, i, cold), j->bytes).v;
}

static void run_sum(const struct job *j, uint32_t n, bool cold)
{
	for (uint32_t i = 0; i < n; i++)
		sink += j->way->bytes(NULL, source(j->bytes, i, cold), j->bytes).v;
}

/* The packet's pieces at the i-th place of memory. */
static unsigned lay(const struct job *j, uint32_t i, bool cold, struct xn_piece *out)
{
	const uint64_t first = (uint64_t)(source(j->bytes, i, cold) - guest);
	unsigned k = 0;

	if (!j->piece_bytes) {
		out[0] = (struct xn_piece){ .at = XN_UOFF(first), .len = j->bytes };
		return 1;
	}
	/* Headers by themselves, as Linux sends them. */
	out[k++] = (struct xn_piece){ .at = XN_UOFF(first), .len = pkt.payload_at };
	for (uint32_t at = pkt.payload_at, len; at < j->bytes; at += len) {
		len = XN_MIN(j->piece_bytes, j->bytes - at);
		out[k++] = (struct xn_piece){ .at = XN_UOFF(first + at), .len = len };
	}
	return k;
}

/* n segments, of as many packets as they need. */
static void run_segments(const struct job *j, uint32_t n, bool cold)
{
	struct xn_piece pieces[80];
	struct xn_segs s;
	uint32_t i = 0, packet = 0;

	while (i < n) {
		lay(j, packet++, cold, pieces);
		xn_segs_begin(&s, &off, guest, pieces);
		while (!xn_segs_done(&s)) {
			uint8_t *dst = target(i++, cold);
			const struct xn_chunks to = { &dst, CHUNK_BYTES };

			sink += xn_segs_gather(&s, &to);
		}
	}
}

/* Header copied, payload summed where it lies: as in zero-copy mode, where there is no price
 * on a descriptor. */
static void run_segments_chained(const struct job *j, uint32_t n, bool cold)
{
	static const struct xn_layout_rules free_descs = { .chunk = CHUNK_BYTES,
							   .max = XN_TX_PIECES_MAX };
	struct xn_piece pieces[80];
	struct xn_layout l;
	struct xn_segs s;
	uint32_t i = 0, packet = 0;

	while (i < n) {
		lay(j, packet++, cold, pieces);
		xn_segs_begin(&s, &off, guest, pieces);
		while (!xn_segs_done(&s)) {
			uint8_t *dst = target(i++, cold);

			if (!xn_layout(&l, &free_descs, s.payload, xn_seg_payload(&off, s.next),
				       off.payload_at))
				abort();
			xn_segs_put_headers(&s, dst, xn_layout_fill(&l, &s.payload, &dst, off.payload_at,
								    off.payload_at));
			sink += l.n;
		}
	}
}

/* The same bytes from the same pieces to the same chunks, and nothing else. */
static void run_plain_cut(const struct job *j, uint32_t n, bool cold)
{
	struct xn_piece pieces[80];
	struct xn_cursor c;
	uint32_t i = 0, packet = 0;

	while (i < n) {
		lay(j, packet++, cold, pieces);
		c = xn_cursor_at(guest, pieces);
		xn_cursor_skip(&c, off.payload_at);
		for (uint32_t k = 0; k < off.segs; k++) {
			uint8_t *dst = target(i++, cold);
			const struct xn_chunks to = { &dst, CHUNK_BYTES };

			memcpy(dst, off.head, off.payload_at);
			xn_gather(&c, &to, off.payload_at, xn_seg_payload(&off, k));
			sink += *dst;
		}
	}
}

static void run_gather_csum(const struct job *j, uint32_t n, bool cold)
{
	struct xn_piece pieces[80];

	for (uint32_t i = 0; i < n; i++) {
		uint8_t *dst = target(i, cold);
		const struct xn_chunks to = { &dst, CHUNK_BYTES };

		lay(j, i, cold, pieces);
		xn_gather_csum(&off, guest, pieces, &to);
		sink += *dst;
	}
}

static const struct xn_offload_rules rules = { .features = ~0ull, .max_frame = 1518 };

static void run_check(const struct job *j, uint32_t n, bool cold)
{
	static struct xn_offload o;

	(void)j;
	(void)cold;
	for (uint32_t i = 0; i < n; i++) {
		memcpy(o.head, pkt.data, xn_offload_wants(&pkt.hdr, pkt.bytes));
		sink += xn_offload_check(&rules, &pkt.hdr, pkt.bytes, &o);
	}
}

static void run_recognise(const struct job *j, uint32_t n, bool cold)
{
	uint8_t head[XN_HEAD_BYTES];
	struct xn_rx_csum c[2];

	(void)cold;
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t have = XN_MIN(j->bytes, 128u);

		memcpy(head, pkt.data, have);
		sink += xn_rx_csum_unfinished(c, head, have, j->bytes);
	}
}

/* ---- in turns ---- */

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Jobs of `bytes` a time, one round each in turns. */
static void measure(struct job *jobs, unsigned n_jobs, uint32_t bytes, bool cold)
{
	const uint32_t n = XN_MIN(ROUND_BYTES / (bytes + 64), 40000u);

	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned k = 0; k < n_jobs; k++) {
			const uint64_t t = xn_ticks();

			jobs[k].run(&jobs[k], n, cold);
			jobs[k].ns[r] = xn_ticks_ns(xn_ticks() - t) / n;
		}
	for (unsigned k = 0; k < n_jobs; k++) {
		qsort(jobs[k].ns, ROUNDS, sizeof(jobs[k].ns[0]), by_value);
		jobs[k].least = jobs[k].ns[0];
		jobs[k].median = jobs[k].ns[ROUNDS / 2];
	}
}

/* The first job is what the others are compared with, if they are. */
static void print(const struct job *jobs, unsigned n, uint32_t bytes, const char *where,
		  bool compare)
{
	for (unsigned k = 0; k < n; k++) {
		printf("%-36s %-7s %6u %9.1f %9.1f", jobs[k].name, where, bytes, jobs[k].least,
		       jobs[k].median);
		if (compare)
			printf(" %7.2f", jobs[k].median / jobs[0].median);
		putchar('\n');
	}
}

static void copies(void)
{
	static const uint32_t sizes[] = { 64, 256, 1448, 4096, 65536 };
	const struct xn_sum_way *w = xn_sum_ways;

	for (unsigned cold = 0; cold < 2; cold++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++) {
			struct job jobs[1 + 2 * XN_SUM_WAYS] = {
				{ .name = "memcpy", .run = run_memcpy, .bytes = sizes[i] } };
			char names[2 * XN_SUM_WAYS][40];
			unsigned n = 1;

			for (unsigned k = 0; k < XN_SUM_WAYS; k++) {
				if (!w[k].has())
					continue;
				snprintf(names[n - 1], sizeof(names[0]), "copy and sum, %s",
					 w[k].name);
				jobs[n] = (struct job){ .name = names[n - 1], .run = run_copy_sum,
						    .bytes = sizes[i], .way = &w[k] };
				n++;
				snprintf(names[n - 1], sizeof(names[0]), "sum, %s", w[k].name);
				jobs[n] = (struct job){ .name = names[n - 1], .run = run_sum,
						    .bytes = sizes[i], .way = &w[k] };
				n++;
			}
			measure(jobs, n, sizes[i], cold);
			print(jobs, n, sizes[i], cold ? "memory" : "cache", true);
		}
}

static bool take(const struct pkt_spec *s)
{
	pkt_build(&pkt, s);
	memcpy(off.head, pkt.data, xn_offload_wants(&pkt.hdr, pkt.bytes));
	return xn_offload_check(&rules, &pkt.hdr, pkt.bytes, &off) == XN_OFFLOAD_OK;
}

/* 45 segments of 1448 bytes with time stamps: what Linux sends at most. */
static const struct pkt_spec tso = { .version = 4, .tcp_options = 3, .tcp_flags = 0x18,
				     .payload = 45 * 1448, .gso_size = 1448, .seed = 1 };
static const uint32_t ways_to_lie[] = { 0, 4096, 32768 };

static bool segments(void)
{
	if (!take(&tso))
		return false;
	for (unsigned cold = 0; cold < 2; cold++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(ways_to_lie); i++) {
			const uint32_t piece = ways_to_lie[i];
			char where[32];
			struct job jobs[] = {
				{ .name = "cut, plainly copied", .run = run_plain_cut },
				{ .name = "segment, gathered", .run = run_segments },
				{ .name = "segment, chained", .run = run_segments_chained },
			};

			for (unsigned k = 0; k < XN_ARRAY_SIZE(jobs); k++) {
				jobs[k].bytes = pkt.bytes;
				jobs[k].piece_bytes = piece;
			}
			measure(jobs, XN_ARRAY_SIZE(jobs), 1514, cold);
			snprintf(where, sizeof(where), "%s/%u", cold ? "mem" : "cache",
				 piece ? piece / 1024 : 64);
			print(jobs, XN_ARRAY_SIZE(jobs), 1514, where, true);
		}
	return true;
}

static bool packets(void)
{
	static const uint32_t sizes[] = { 0, 1448 };

	for (unsigned cold = 0; cold < 2; cold++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++) {
			const struct pkt_spec s = { .version = 4, .tcp_options = 3, .seed = 2,
						    .payload = sizes[i] };
			struct job jobs[] = {
				{ .name = "memcpy", .run = run_memcpy },
				{ .name = "packet, gathered with checksum", .run = run_gather_csum },
				{ .name = "packet of 2 pieces, likewise", .run = run_gather_csum,
				  .piece_bytes = 65536 },
			};

			if (!take(&s))
				return false;
			for (unsigned k = 0; k < XN_ARRAY_SIZE(jobs); k++)
				jobs[k].bytes = pkt.bytes;
			measure(jobs, sizes[i] ? 3 : 2, pkt.bytes, cold);
			print(jobs, sizes[i] ? 3 : 2, pkt.bytes, cold ? "memory" : "cache", true);
		}
	return true;
}

static bool headers(void)
{
	struct job check = { .name = "header checked, to be segmented", .run = run_check };
	struct job plain = { .name = "header checked, checksum only", .run = run_check };
	struct job seen = { .name = "received frame, unfinished?", .run = run_recognise };
	struct pkt_spec s = tso;

	if (!take(&s))
		return false;
	measure(&check, 1, 200, false);
	print(&check, 1, pkt.bytes, "cache", false);
	s.gso_size = 0;
	s.payload = 1448;
	if (!take(&s))
		return false;
	measure(&plain, 1, 200, false);
	print(&plain, 1, pkt.bytes, "cache", false);
	seen.bytes = pkt.bytes;
	measure(&seen, 1, 200, false);
	print(&seen, 1, pkt.bytes, "cache", false);
	return true;
}

int main(void)
{
	uint32_t state = 7;

	xn_clock_init();
	guest = malloc(GUEST_BYTES + 65536);
	arena = malloc((CHUNKS + 16) * CHUNK_BYTES);
	if (!guest || !arena) {
		fprintf(stderr, "cost_offload: out of memory\n");
		return 1;
	}
	for (uint32_t i = 0; i < GUEST_BYTES + 65536; i += 4) {
		const uint32_t r = pkt_random(&state);

		memcpy(guest + i, &r, 4);
	}
	memset(arena, 1, (CHUNKS + 16) * CHUNK_BYTES);
	printf("ns each, %u rounds in turns; where: cache or memory / KiB a piece\n\n"
	       "%-36s %-7s %6s %9s %9s %7s\n", ROUNDS, "what", "where", "bytes", "least", "median",
	       "ratio");
	copies();
	if (!segments() || !packets() || !headers()) {
		fprintf(stderr, "cost_offload: a packet that should be legal is refused\n");
		return 1;
	}
	free(guest);
	free(arena);
	return 0;
}
