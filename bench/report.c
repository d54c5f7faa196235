/* SPDX-License-Identifier: BSD-2-Clause */
/* The table for people. */
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"

static void read_cpu(char *out, size_t bytes)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(out, bytes, "unknown CPU");
	while (f && fgets(line, sizeof(line), f)) {
		char *at = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !at)
			continue;
		at += strspn(at, ": ");
		at[strcspn(at, "\n")] = 0;
		snprintf(out, bytes, "%s", at);
		break;
	}
	if (f)
		fclose(f);
}

void xn_machine_get(struct xn_machine *m)
{
	struct utsname u;
	struct tm tm;
	time_t now = time(NULL);

	memset(m, 0, sizeof(*m));
	if (!uname(&u)) {
		snprintf(m->kernel, sizeof(m->kernel), "%s %s", u.sysname, u.release);
		snprintf(m->arch, sizeof(m->arch), "%s", u.machine);
	}
	read_cpu(m->cpu, sizeof(m->cpu));
	m->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (gmtime_r(&now, &tm))
		strftime(m->date, sizeof(m->date), "%Y-%m-%d %H:%M UTC", &tm);
}

/* A figure in its column; "-" where there is none. */
static void cell(FILE *out, int width, int digits, double v)
{
	char text[32] = "-";

	if (!isnan(v))
		snprintf(text, sizeof(text), "%.*f", digits, v);
	fprintf(out, " %*s", width, text);
}

static void range(FILE *out, int width, double lo, double hi)
{
	char text[48] = "-";

	if (!isnan(lo))
		snprintf(text, sizeof(text), "%.2f-%.2f", lo, hi);
	fprintf(out, " %*s", width, text);
}

/* The kernel's two modes of a socket; mode=bounce of a port is copy mode. */
static bool is_driver_mode(const struct xn_bench *b, unsigned kind)
{
	return !strcmp(b->place.mode[kind], "zero-copy");
}

/* Whose sockets are in this mode? Returns how many. */
static unsigned in_mode(const struct xn_bench *b, bool driver, char *names, size_t bytes)
{
	unsigned n = 0;

	names[0] = 0;
	for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
		if (!b->place.mode[k][0] || is_driver_mode(b, k) != driver)
			continue;
		snprintf(names + strlen(names), bytes - strlen(names), "%s%s", n ? ", " : "",
			 xn_kind_names[k]);
		n++;
	}
	return n;
}

static void modes(const struct xn_bench *b, FILE *out)
{
	char driver[160], copy[160];
	const unsigned n = in_mode(b, true, driver, sizeof(driver));
	const unsigned m = in_mode(b, false, copy, sizeof(copy));

	if (n && m)
		fprintf(out, "AF_XDP zero-copy mode (%s) and copy mode (%s), ", driver, copy);
	else if (n || m)
		fprintf(out, "AF_XDP %s mode, ", n ? "zero-copy" : "copy");
}

void xn_report_machine(FILE *out)
{
	struct xn_machine m;

	xn_machine_get(&m);
	fprintf(out, "xsknet-bench %s, %s\n", xn_version(), m.date);
	fprintf(out, "%s %s, %s, %u processors%s\n", m.kernel, m.arch, m.cpu, m.cpus,
		m.cpus < 2 ? " (too few: generator and engine share one)" : "");
}

static void head(const struct xn_bench *b, FILE *out)
{
	const struct xn_opts *o = &b->opts;

	xn_report_machine(out);
	fprintf(out, "%s, ", o->ifname ? o->ifname : o->peer ? o->peer : "veth pair");
	if (o->mtu != XN_MTU_DEFAULT)
		fprintf(out, "MTU %u, ", o->mtu);
	if (b->place.attach[0])
		fprintf(out, "XDP %s, ", b->place.attach);
	modes(b, out);
	fprintf(out, "guest RAM on %s pages, ", b->place.huge ? "2 MiB" : "4 KiB");
	if (o->buf_bytes)
		fprintf(out, "receive buffers of %u bytes, ", o->buf_bytes);
	for (unsigned i = 0; i < o->n_counts; i++)
		fprintf(out, "%s%u", !i ? "" : i + 1 < o->n_counts ? ", " : " and ", o->count[i]);
	fprintf(out, " queue%s\n", o->queues > 1 ? "s" : "");
	if (o->bound)
		fputs("more queues than processors: frames come from AF_XDP sockets, which make fewer\n", out);
	fprintf(out, "medians of %s%u rounds of %.3g s, paths in turns", b->partial ? "up to " : "",
		o->rounds, o->secs);
	fprintf(out, "; the run took %.0f s\n", b->seconds);
	if (b->partial)
		fprintf(out, "PARTIAL: stopped by a signal; only complete rounds are shown\n");
}

static void line_head(const struct xn_summary *s, FILE *out)
{
	fprintf(out, "%-10s%5s  %-13s", xn_dir_words[s->cell->dir],
		xn_size_word(s->cell, (char[8]){ 0 }), xn_kind_names[s->kind]);
}

/* Columns that not all tables have. */
struct columns {
	bool queues;
	bool external;       /* of other processes */
	bool compared;       /* with zero-copy */
	bool napi;           /* of the driver's threads */
};

static void flow_line(const struct xn_summary *s, FILE *out, struct columns with)
{
	line_head(s, out);
	if (with.queues)
		fprintf(out, " %6u", s->cell->queues);
	cell(out, 6, 3, s->pps / 1e6);
	range(out, 10, s->pps_min / 1e6, s->pps_max / 1e6);
	cell(out, 7, 2, s->gbps);
	cell(out, 6, 3, s->raw_ratio);
	if (with.queues) {
		cell(out, 6, 2, s->scale);
		cell(out, 5, 1, s->missteered * 100);
	}
	if (with.compared)
		cell(out, 6, 3, s->process_ratio);
	cell(out, 6, 1, s->lost_share * 100);
	cell(out, 5, 0, s->corrupt);
	cell(out, 5, 0, s->reordered + s->duplicate);
	cell(out, 6, 3, s->copies);
	cell(out, 6, 1, s->zero_copy_share * 100);
	cell(out, 6, 1, s->engine_ns);
	cell(out, 6, 0, s->cpu_ns);
	if (with.napi)
		cell(out, 6, 0, s->napi_ns);
	if (with.external) {
		cell(out, 6, 0, s->backend_ns);
		cell(out, 6, 1, s->backend_cpu * 100);
	}
	fputc('\n', out);
}

static void trip_line(const struct xn_summary *s, FILE *out)
{
	line_head(s, out);
	cell(out, 9, 2, s->sleep_p50_us);
	cell(out, 9, 2, s->sleep_p99_us);
	cell(out, 9, 2, s->spin_p50_us);
	cell(out, 9, 2, s->spin_p99_us);
	cell(out, 8, 2, s->quiet_p50_us);
	cell(out, 8, 2, s->quiet_p99_us);
	cell(out, 6, 0, s->lost);
	cell(out, 5, 0, s->corrupt);
	cell(out, 7, 3, s->copies);
	cell(out, 7, 1, s->zero_copy_share * 100);
	cell(out, 7, 1, s->idle_cpu * 100);
	fputc('\n', out);
}

static void pace_line(const struct xn_summary *s, FILE *out, struct columns with)
{
	line_head(s, out);
	if (with.queues)
		fprintf(out, " %6u", s->cell->queues);
	cell(out, 8, 1, (double)s->cell->pace_pps / 1e3);
	cell(out, 8, 1, s->offered_pps / 1e3);
	cell(out, 8, 1, s->pps / 1e3);
	cell(out, 6, 0, s->lost);
	cell(out, 5, 0, s->corrupt);
	cell(out, 5, 0, s->reordered + s->duplicate);
	cell(out, 6, 3, s->copies);
	cell(out, 6, 1, s->zero_copy_share * 100);
	cell(out, 6, 0, s->cpu_ns);
	if (with.napi)
		cell(out, 6, 0, s->napi_ns);
	cell(out, 7, 0, s->backend_ns);
	cell(out, 7, 1, s->backend_cpu * 100);
	fputc('\n', out);
}

/* Two lines: above the common columns, and what follows them. */
static void heading(FILE *out, const char *above, const char *below)
{
	fprintf(out, "\n%-30s%s\ndirection bytes  path          %s\n", "", above, below);
}

static void flow_heading(FILE *out, struct columns with)
{
	char above[192], below[192];

	snprintf(above, sizeof(above), "%s%s%s%s%s%s", with.queues ? "       " : "",
		 "  Mpps  (min-max)  Gbit/s    of", with.queues ? "     of  miss" : "",
		 with.compared ? "     of" : "",
		 "   lost corru moved copies   lent engine    cpu", with.napi ? "   napi" : "");
	snprintf(below, sizeof(below), "%s%s%s%s%s%s", with.queues ? "queues " : "",
		 "median       Mpps  frames   raw", with.queues ? "  first st. %" : "",
		 with.compared ? " inproc" : "",
		 "      %    pt  late   /pkt      % ns/pkt ns/pkt", with.napi ? " ns/pkt" : "");
	if (with.external) {
		strcat(above, "   back   end");
		strcat(below, " ns/pkt CPU %");
	}
	heading(out, above, below);
}

static void pace_heading(FILE *out, struct columns with)
{
	char above[192], below[192];

	snprintf(above, sizeof(above), "%s%s%s%s", with.queues ? "       " : "",
		 "     pace  offered  arrived   lost corru moved copies   lent    cpu",
		 with.napi ? "   napi" : "", "    back    end");
	snprintf(below, sizeof(below), "%s%s%s%s", with.queues ? "queues " : "",
		 "    k/s      k/s      k/s  frames    pt  late   /pkt      % ns/pkt",
		 with.napi ? " ns/pkt" : "", "  ns/pkt  CPU %");
	heading(out, above, below);
}

static const char trip_above[] =
	"   asleep    asleep  spinning  spinning    quiet    quiet   lost corru  copies    lent    idle";
static const char trip_below[] =
	"  p50 us    p99 us    p50 us    p99 us   p50 us   p99 us          pt    /pkt       %   CPU %";

static void flow_legend(const struct xn_bench *b, FILE *out, struct columns with)
{
	fputs("\nof raw: against the raw AF_XDP loop in the same round, median. lost: offered and not arrived; a\n"
	      "receiver that is offered more than it can take loses the rest. engine: inside the engine without\n"
	      "sendto(); cpu: all that the near end does for a packet, checking it and the kernel included, the\n", out);
	fputs(b->opts.sleeps ? "guest's driver too, whose thread sleeps when there is nothing to do.\n" :
	      b->opts.queues > 1 ? "guest's driver excluded (where there are more threads than processors: included).\n" :
	      "guest's driver excluded.\n", out);
	if (with.napi)
		fputs("napi: of that, the driver's work in the kernel's threads.\n", out);
	if (with.queues)
		fputs("of first: against the first number of queues in the same round; miss st.: frames that arrived\n"
		      "on another queue than the guest's RSS names, and were copied over.\n", out);
	if (with.compared)
		fputs("of inproc: against zero-copy in this process, in the same round.\n", out);
	if (with.external)
		fputs("back end: processor time of the other process, polling included.\n", out);
}

static void trip_legend(FILE *out)
{
	fputs("\none frame in flight; asleep: poll() when there is nothing; spinning: never sleeps; quiet: each\n"
	      "after 500 us without a frame; idle: processor time of the near end while nothing arrives\n", out);
}

enum part { FLOWS, PACED, TRIPS };

static enum part part_of(const struct xn_cell *c)
{
	return c->dir == XN_DIR_RTT ? TRIPS : c->pace_pps ? PACED : FLOWS;
}

static void lines(const struct xn_bench *b, FILE *out, enum part part, struct columns with)
{
	bool any = false;

	for (unsigned i = 0; i < b->n_cells; i++)
		for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
			struct xn_summary s;

			if (part_of(&b->cells[i]) != part || !xn_summarize(&b->cells[i], k, &s))
				continue;
			if (!any && part == FLOWS)
				flow_heading(out, with);
			else if (!any && part == PACED)
				pace_heading(out, with);
			else if (!any)
				heading(out, trip_above, trip_below);
			any = true;
			if (part == FLOWS)
				flow_line(&s, out, with);
			else if (part == PACED)
				pace_line(&s, out, with);
			else
				trip_line(&s, out);
		}
	if (any && part == FLOWS)
		flow_legend(b, out, with);
	if (any && part == TRIPS)
		trip_legend(out);
}

/* Which of them are there to be shown? */
static struct columns columns_of(const struct xn_bench *b)
{
	struct columns with = { 0 };

	with.queues = b->opts.queues > 1;
	for (unsigned k = 0; k < XN_KIND_COUNT; k++)
		with.external |= b->opts.kind[k] && xn_kind_external(k);
	for (unsigned k = 0; k < XN_KIND_COUNT; k++)
		with.compared |= b->opts.kind[k] && xn_kind_compared(k);
	for (unsigned i = 0; i < b->n_cells; i++)
		for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
			struct xn_summary s;

			with.napi |= xn_summarize(&b->cells[i], k, &s) && !isnan(s.napi_ns);
		}
	return with;
}

/* What was copied or dropped, for other reasons than that it was asked for. */
static void reasons(const struct xn_bench *b, FILE *out)
{
	bool any = false;

	for (unsigned i = 0; i < b->n_cells; i++)
		for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
			const struct xn_cell *c = &b->cells[i];
			const struct xn_reasons *r = &c->why[k];

			for (unsigned j = 0; j < r->n; j++) {
				if (!(r->of[j].count > 0) || strstr(r->of[j].name, "_forced"))
					continue;
				if (!any)
					fputs("\ncopied or dropped by the engine, because (see xsknet(7)):\n", out);
				any = true;
				fprintf(out, "%-10s%5s  %-13s %s %.0f\n", xn_dir_words[c->dir],
					xn_size_word(c, (char[8]){ 0 }), xn_kind_names[k],
					r->of[j].name, r->of[j].count);
			}
		}
}

void xn_report_large(const struct xn_bench *b, FILE *out)
{
	fprintf(out, "\nlarge packets: MTU %u, medians of %u rounds\n", b->opts.mtu, b->opts.rounds);
	lines(b, out, FLOWS, columns_of(b));
	reasons(b, out);
}

void xn_report_table(const struct xn_bench *b, FILE *out)
{
	const struct columns with = columns_of(b);

	head(b, out);
	if (b->opts.ifname && !b->opts.peer)
		fprintf(out, "No far end answers on %s: loss, order and corruption are not measured, tx counts\n"
			"frames given to the kernel, rx counts whatever arrives.\n", b->opts.ifname);
	if (!b->opts.xsknetd && b->opts.missed_xsknetd)
		fputs("xsknetd is not there (looked for beside xsknet-bench): that path is left out.\n", out);
	for (unsigned part = FLOWS; part <= TRIPS; part++)
		lines(b, out, part, with);
	reasons(b, out);
}
