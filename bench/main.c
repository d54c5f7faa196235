/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsknet-bench: how fast packets go in and out of guest memory on this machine, next
 * to what raw AF_XDP can do on it. See bench.h for the parts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/clock.h"

static void on_signal(int sig)
{
	xn_stop = 1;
}

/* The first signal asks, a second one ends the process at once: the kernel cleans up
 * then (the laboratories belong to nobody but this process). */
static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Errors are told by whoever gets them back; warnings would be lost. */
static void on_log(void *arg, enum xn_log_level level, const char *line)
{
	if (level == XN_LOG_WARN)
		fprintf(stderr, "xsknet-bench: %s\n", line);
}

static int fail(void)
{
	fprintf(stderr, "xsknet-bench: %s\n", xn_last_error());
	return XN_EXIT_ENVIRONMENT;
}

/* Frames that arrived damaged are never normal; all else may be. */
static int judge(const struct xn_bench *b)
{
	int status = 0;

	for (unsigned i = 0; i < b->n_cells; i++)
		for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
			struct xn_summary s;

			if (!xn_summarize(&b->cells[i], k, &s) || !(s.corrupt > 0))
				continue;
			fprintf(stderr, "xsknet-bench: %.0f corrupt frames: %s, %s, %u bytes\n",
				s.corrupt, xn_dir_words[s.cell->dir], xn_kind_names[k],
				s.cell->bytes);
			status = XN_EXIT_BAD_FRAMES;
		}
	for (unsigned i = 0; i < b->n_tcp; i++) {
		if (!b->tcp[i].bad)
			continue;
		fprintf(stderr, "xsknet-bench: %llu wrong bytes: %s, MTU %u, %s\n",
			(unsigned long long)b->tcp[i].bad, b->tcp[i].dir, b->tcp[i].mtu, b->tcp[i].way);
		status = XN_EXIT_BAD_FRAMES;
	}
	return b->large && judge(b->large) ? XN_EXIT_BAD_FRAMES : status;
}

static int report(const struct xn_bench *b)
{
	const bool json_out = b->opts.json && !strcmp(b->opts.json, "-");
	int status = 0;

	if (b->n_cells)
		xn_report_table(b, json_out ? stderr : stdout);
	else
		xn_report_machine(json_out ? stderr : stdout);
	if (b->large && b->large->n_cells)
		xn_report_large(b->large, json_out ? stderr : stdout);
	xn_report_tcp(b, json_out ? stderr : stdout);
	if (b->opts.json && xn_report_json(b, b->opts.json))
		status = fail();
	if (b->opts.svg && xn_report_svg(b, b->opts.svg))
		status = fail();
	return status;
}

/* A file that cannot be written is better known before than after the run. */
static bool writable(const char *opt, const char *file)
{
	FILE *f;

	if (!file || !strcmp(file, "-"))
		return true;
	f = fopen(file, "a");
	if (!f) {
		fprintf(stderr, "xsknet-bench: --%s %s: %s\n", opt, file, strerror(errno));
		return false;
	}
	fclose(f);
	return true;
}

static int offload(struct xn_bench *b)
{
	const bool json_out = b->opts.json && !strcmp(b->opts.json, "-");
	int status = xn_offload_bench(b) ? fail() : 0;

	if (!status)
		xn_report_offload(b, json_out ? stderr : stdout);
	if (!status && b->opts.json && xn_report_json(b, b->opts.json))
		status = fail();
	return status ? status : xn_stop ? XN_EXIT_INTERRUPTED : 0;
}

static int measure(struct xn_bench *b)
{
	int err = xn_bench_run(b);

	if (!err)
		err = xn_tcp_bench(b);
	return err ? err : xn_large_bench(b);
}

int main(int argc, char **argv)
{
	struct xn_bench b = { 0 };
	int status = xn_opts_parse(&b.opts, argc, argv);

	if (status)
		return status - 1;
	if (!writable("json", b.opts.json) || !writable("svg", b.opts.svg))
		return XN_EXIT_ENVIRONMENT;
	catch_signals();
	xn_set_log(on_log, NULL, XN_LOG_WARN);
	xn_clock_init();
	if (b.opts.footprint)
		return xn_footprint(&b.opts) ? fail() : 0;
	if (b.opts.ask[XN_ASK_CSUM] || b.opts.ask[XN_ASK_TSO] || b.opts.ask[XN_ASK_USO])
		return offload(&b);
	if (b.opts.peer)
		fprintf(stderr, "xsknet-bench: attaches an XDP program to %s, which takes all that "
			"arrives there, and sends frames from it; detaches it at the end\n",
			b.opts.peer);
	if (measure(&b) && !xn_stop)
		status = fail();
	else
		status = report(&b);
	if (!status)
		status = judge(&b);
	xn_bench_free(&b);
	return status ? status : xn_stop ? XN_EXIT_INTERRUPTED : 0;
}
