/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of TCP connections, for people. */
#include <math.h>

#include "bench/bench.h"

static const struct {
	const char *above, *below;
	enum xn_tcp_figure figure;
	int width, digits;
	double times;
} columns[] = {
	{ "", "Gbit/s", XN_TCP_GBPS, 7, 2, 1 },
	{ "segs", "k/s", XN_TCP_SEGS, 7, 1, 1e-3 },
	{ "of", "raw", XN_TCP_RATIO, 6, 3, 1 },
	{ "engine", "ns/seg", XN_TCP_ENGINE_NS, 7, 1, 1 },
	{ "cpu", "ns/seg", XN_TCP_CPU_NS, 7, 0, 1 },
	{ "chains", "/64 KiB", XN_TCP_CHAINS, 8, 2, 1 },
	{ "lent", "%", XN_TCP_LENT, 6, 1, 100 },
	{ "chained", "%", XN_TCP_CHAINED, 8, 1, 100 },
	{ "mixed", "%", XN_TCP_MIXED, 6, 1, 100 },
	{ "gathered", "%", XN_TCP_GATHERED, 9, 1, 100 },
	{ "again", "%", XN_TCP_AGAIN, 6, 2, 100 },
	{ "segs", "/frame", XN_TCP_MERGED, 7, 1, 1 },
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static void heading(FILE *out)
{
	fprintf(out, "\nTCP between a guest and this kernel, on veth pairs\n%-22s", "");
	for (unsigned i = 0; i < COLUMNS; i++)
		fprintf(out, " %*s", columns[i].width, columns[i].above);
	fprintf(out, "\n%-9s %5s  %-6s", "direction", "MTU", "way");
	for (unsigned i = 0; i < COLUMNS; i++)
		fprintf(out, " %*s", columns[i].width, columns[i].below);
	fputs("   wrong\n", out);
}

static void line(FILE *out, const struct xn_tcp_line *l)
{
	fprintf(out, "%-9s %5u  %-6s", l->dir, l->mtu, l->way);
	for (unsigned i = 0; i < COLUMNS; i++) {
		const double v = l->v[columns[i].figure] * columns[i].times;

		if (isnan(v))
			fprintf(out, " %*s", columns[i].width, "-");
		else
			fprintf(out, " %*.*f", columns[i].width, columns[i].digits, v);
	}
	fprintf(out, " %7llu\n", (unsigned long long)l->bad);
}

void xn_report_tcp(const struct xn_bench *b, FILE *out)
{
	if (!b->n_tcp)
		return;
	heading(out);
	for (unsigned i = 0; i < b->n_tcp; i++)
		line(out, &b->tcp[i]);
	fprintf(out, "\nmedians of %u rounds, in turns. tso: packets of up to 64 KiB that the engine cuts where they are longer than\n"
		"the MTU; csum: a packet a segment; joined, single: this kernel's TCP sends, and the guest takes\n"
		"segments put together, or not; raw: the raw AF_XDP loop, frames of the same length and nobody who\n"
		"answers. Gbit/s: payload that was acknowledged, or arrived, each byte compared (wrong: those that\n"
		"differ). engine: inside the engine without sendto(); cpu: with it, and so in tcp-tx with this\n"
		"kernel's receiving TCP. again: bytes sent twice. segs/frame: full segments in what the guest got.\n"
		"lent, chained, mixed, gathered: how the guest's packets left, as in xsknet(7).\n",
		b->tcp[0].rounds);
}
