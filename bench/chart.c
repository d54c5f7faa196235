/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The picture: bars in groups, one group for each direction and size, one bar for
 * each path; whiskers show the range over rounds. Round trips have a panel of their
 * own, since less is better there: those of a driver that spins, since asleep only a driver
 * with another process behind it has anything to wait for. Drawn by gnuplot, which gets a script on stdin.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "bench/bench.h"

static const char *const colours[XN_KIND_COUNT] = {
	[XN_KIND_ZERO_COPY] = "#1b7f5c", [XN_KIND_COPY] = "#5bb08f", [XN_KIND_BOUNCE] = "#e0a458",
	[XN_KIND_PACKED] = "#9bc53d", [XN_KIND_XSKNETD] = "#4f7cac", [XN_KIND_XSKNETD_BUSY] = "#7fa8d1",
	[XN_KIND_XSKNETD_SLEEP] = "#b5cbe3", [XN_KIND_BACKEND] = "#a06cd5", [XN_KIND_RAW] = "#8a94a6",
};
static const char *const titles[XN_KIND_COUNT] = {
	[XN_KIND_ZERO_COPY] = "zero-copy", [XN_KIND_COPY] = "zero-copy, in the kernel's copy mode",
	[XN_KIND_BOUNCE] = "bounce, one copy in user space", [XN_KIND_PACKED] = "zero-copy, packed rings",
	[XN_KIND_XSKNETD] = "xsknetd, another process", [XN_KIND_XSKNETD_BUSY] = "xsknetd, busy",
	[XN_KIND_XSKNETD_SLEEP] = "xsknetd, sleep", [XN_KIND_BACKEND] = "other back end",
	[XN_KIND_RAW] = "raw AF_XDP, no guest",
};

/* What is paced shows its pace: no bars for that. */
static bool drawn(const struct xn_cell *c, bool trips)
{
	return c->rounds && !c->pace_pps && (c->dir == XN_DIR_RTT) == trips;
}

static unsigned count(const struct xn_bench *b, bool trips)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b->n_cells; i++)
		n += drawn(&b->cells[i], trips);
	return n;
}

/* One named block of lines: label, then value, low and high of each path. */
static void data(const struct xn_bench *b, bool trips, FILE *out)
{
	fprintf(out, "$%s << EOD\n", trips ? "trips" : "flows");
	for (unsigned i = 0; i < b->n_cells; i++) {
		const struct xn_cell *c = &b->cells[i];

		if (!drawn(c, trips))
			continue;
		fprintf(out, "\"%s\\n%s B\"", xn_dir_words[c->dir],
			xn_size_word(c, (char[8]){ 0 }));
		for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
			struct xn_summary s;

			if (!xn_summarize(c, k, &s) || isnan(trips ? s.spin_p50_us : s.pps))
				fputs(" NaN NaN NaN", out);
			else if (trips)
				fprintf(out, " %.3f %.3f %.3f", s.spin_p50_us, s.spin_p50_us,
					s.spin_p99_us);
			else
				fprintf(out, " %.4f %.4f %.4f", s.pps / 1e6, s.pps_min / 1e6,
					s.pps_max / 1e6);
		}
		fputc('\n', out);
	}
	fputs("EOD\n", out);
}

static void panel(const struct xn_bench *b, bool trips, FILE *out)
{
	const char *between = "";

	fprintf(out, "set ylabel '%s'\n",
		trips ? "microseconds (p50, whisker to p99)" : "million frames a second");
	fprintf(out, "set title '%s'\n", trips ? "Round trip, driver spinning: less is better" :
						 "Frames a second: more is better");
	fputs("plot ", out);
	for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
		if (!b->opts.kind[k] || b->opts.rtt_only[k])
			continue;
		fprintf(out, "%s$%s using %u:%u:%u%s title \"%s\" lc rgb '%s'",
			between, trips ? "trips" : "flows", 2 + 3 * k, 3 + 3 * k, 4 + 3 * k,
			between[0] ? "" : ":xtic(1)", titles[k], colours[k]);
		between = ", ";
	}
	fputs("\n", out);
}

/* A string for gnuplot, in single quotes: a quote inside is doubled. */
static void quoted(const char *s, FILE *out)
{
	fputc('\'', out);
	for (; *s; s++) {
		if (*s == '\'')
			fputc('\'', out);
		fputc(*s, out);
	}
	fputc('\'', out);
}

static void script(const struct xn_bench *b, const char *file, FILE *out)
{
	const unsigned flows = count(b, false), trips = count(b, true);
	const double share = flows + trips ? (double)flows / (flows + trips) : 1;
	struct xn_machine m;
	char line[512];

	xn_machine_get(&m);
	snprintf(line, sizeof(line), "xsknet-bench %s on %s: %s, %u processors, %s %s, %.10s",
		 xn_version(), b->opts.ifname ? b->opts.ifname : b->opts.peer ? b->opts.peer :
		 "veth", m.cpu, m.cpus, m.kernel,
		 m.arch, m.date);
	data(b, false, out);
	data(b, true, out);
	fputs("set terminal svg size 1280,560 font 'Helvetica,13' background '#ffffff' noenhanced\n"
	      "set encoding utf8\nset output ", out);
	quoted(file, out);
	fputs("\nset style data histograms\nset style histogram errorbars gap 1.5 linewidth 1\n"
	      "set style fill solid 0.95 noborder\nset errorbars 0.6 lc rgb '#333333'\nset boxwidth 0.95\n"
	      "set grid ytics lc rgb '#dddddd'\nset border 3 lc rgb '#555555'\n"
	      "set xtics nomirror scale 0 \nset ytics nomirror\nset yrange [0:*]\n"
	      "set key at screen 0.5,0.90 center center vertical maxrows 1 samplen 1.2\n"
	      "set label 1 ", out);
	quoted(line, out);
	fputs(" at screen 0.5,0.965 center font 'Helvetica,15'\nset multiplot\n", out);
	if (flows) {
		fprintf(out, "set lmargin at screen 0.06\nset rmargin at screen %.3f\n"
			"set tmargin at screen 0.79\nset bmargin at screen 0.12\n",
			trips ? 0.02 + 0.90 * share : 0.98);
		panel(b, false, out);
	}
	fprintf(out, "unset label 1\nset lmargin at screen %.3f\nset rmargin at screen 0.98\n"
		"set tmargin at screen 0.79\nset bmargin at screen 0.12\n",
		flows ? 0.09 + 0.90 * share : 0.06);
	if (trips) {
		if (flows)
			fputs("unset key\n", out);
		panel(b, true, out);
	}
	fputs("unset multiplot\n", out);
}

int xn_report_svg(const struct xn_bench *b, const char *file)
{
	FILE *p;
	int status;

	if (!count(b, false) && !count(b, true))
		return xn_fail(ENODATA, "--svg %s: no complete round, nothing to draw", file);
	p = popen("gnuplot", "we");
	if (!p)
		return xn_fail(errno, "--svg %s: cannot run gnuplot: %s", file, strerror(errno));
	script(b, file, p);
	status = pclose(p);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return xn_fail(ENOENT, "--svg %s: gnuplot is not installed (apt or dnf package "
			       "gnuplot-nox, or gnuplot)", file);
	if (status)
		return xn_fail(EIO, "--svg %s: gnuplot failed", file);
	return 0;
}
