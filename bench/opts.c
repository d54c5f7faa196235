/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: words to struct xn_opts, and one clear line where they make no
 * sense. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "bench/bench.h"
#include "bench/frame.h"

const char *const xn_dir_names[XN_DIR_COUNT] = { "rx", "tx", "fwd", "rtt" };
const char *const xn_dir_words[XN_DIR_COUNT] = { "receive", "transmit", "forward", "round trip" };
const char *const xn_kind_names[XN_KIND_COUNT] = { "zero-copy", "bounce", "raw" };

static const char usage_text[] =
"usage: xsknet-bench [options]\n"
"\n"
"Measures packets in and out of guest memory over a veth pair: zero-copy, forced\n"
"bounce, and the raw AF_XDP loop without virtio, in turns. Needs root.\n"
"\n"
"  --dir rx|tx|fwd|rtt|all    what to measure: receive, transmit, forward,\n"
"                             round trip (default all; a list is fine: rx,tx)\n"
"  --size LIST                frame lengths in bytes (default 64,512,1514)\n"
"  --path zero-copy|bounce|raw|all   which paths (default all)\n"
"  --secs S                   seconds for one path in one round (default 0.2)\n"
"  --rounds N                 rounds; medians are over rounds (default 9)\n"
"  --pace PPS                 frames a second to offer (default: all that go)\n"
"  --queues N                 queue pairs, a thread each (default 1)\n"
"  --ifname IF                use this interface instead of a veth pair: only tx\n"
"                             and rx, without judging what nobody answers for\n"
"  --hugepages yes|no|auto    2 MiB pages for the guest's RAM (default auto)\n"
"  --json FILE|-              results as JSON; - : on stdout, the table on stderr\n"
"  --svg FILE                 results as a bar chart (needs gnuplot)\n"
"  --footprint                print what registering 1 and 4 GiB guests costs\n"
"  --help, --version\n"
"\n"
"The manual page xsknet-bench(1) says how each figure is measured.\n";

enum {
	O_DIR = 256, O_SIZE, O_PATH, O_SECS, O_ROUNDS, O_PACE, O_QUEUES, O_IFNAME, O_HUGE,
	O_JSON, O_SVG, O_FOOTPRINT, O_HELP, O_VERSION,
};

static const struct option long_opts[] = {
	{ "dir", required_argument, NULL, O_DIR },
	{ "size", required_argument, NULL, O_SIZE },
	{ "path", required_argument, NULL, O_PATH },
	{ "secs", required_argument, NULL, O_SECS },
	{ "rounds", required_argument, NULL, O_ROUNDS },
	{ "pace", required_argument, NULL, O_PACE },
	{ "queues", required_argument, NULL, O_QUEUES },
	{ "ifname", required_argument, NULL, O_IFNAME },
	{ "hugepages", required_argument, NULL, O_HUGE },
	{ "json", required_argument, NULL, O_JSON },
	{ "svg", required_argument, NULL, O_SVG },
	{ "footprint", no_argument, NULL, O_FOOTPRINT },
	{ "help", no_argument, NULL, O_HELP },
	{ "version", no_argument, NULL, O_VERSION },
	{ NULL, 0, NULL, 0 },
};

__attribute__((format(printf, 1, 2)))
static bool bad(const char *fmt, ...)
{
	va_list ap;

	fputs("xsknet-bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (see --help)\n", stderr);
	return false;
}

/* One word of `names`, or "all", or several with commas; `on` has n entries. */
static bool take_words(const char *opt, const char *arg, const char *const *names, bool *on,
		       unsigned n)
{
	const char *at = arg;

	memset(on, 0, n * sizeof(*on));
	for (;;) {
		size_t len = strcspn(at, ",");
		bool known = len == 3 && !strncmp(at, "all", 3);

		for (unsigned i = 0; i < n && known; i++)
			on[i] = true;
		for (unsigned i = 0; i < n && !known; i++)
			if (strlen(names[i]) == len && !strncmp(at, names[i], len))
				known = on[i] = true;
		if (!known)
			return bad("--%s %s: '%.*s' is not known", opt, arg, (int)len, at);
		if (!at[len])
			return true;
		at += len + 1;
	}
}

static bool take_number(const char *opt, const char *arg, uint64_t min, uint64_t max, uint64_t *v)
{
	char *end;

	errno = 0;
	*v = strtoull(arg, &end, 10);
	if (errno || end == arg || *end || arg[0] == '-' || *v < min || *v > max)
		return bad("--%s %s: must be a whole number from %llu to %llu", opt, arg,
			   (unsigned long long)min, (unsigned long long)max);
	return true;
}

static bool take_sizes(struct xn_opts *o, const char *arg)
{
	const char *at = arg;

	o->n_sizes = 0;
	for (;;) {
		char word[16] = "";
		size_t len = strcspn(at, ",");
		uint64_t v;

		if (len >= sizeof(word))
			return bad("--size %s: not a list of numbers", arg);
		memcpy(word, at, len);
		if (!take_number("size", word, XN_FRAME_MIN, XN_SIZE_MAX, &v))
			return false;
		if (o->n_sizes == XN_SIZES_MAX)
			return bad("--size %s: at most %u sizes", arg, XN_SIZES_MAX);
		o->size[o->n_sizes++] = (uint32_t)v;
		if (!at[len])
			return true;
		at += len + 1;
	}
}

static bool take_secs(struct xn_opts *o, const char *arg)
{
	char *end;

	o->secs = strtod(arg, &end);
	if (end == arg || *end || !isfinite(o->secs) || o->secs < 0.01 || o->secs > 3600)
		return bad("--secs %s: must be a number from 0.01 to 3600", arg);
	return true;
}

static bool take_huge(struct xn_opts *o, const char *arg)
{
	if (!strcmp(arg, "yes"))
		o->huge = XN_HUGE_YES;
	else if (!strcmp(arg, "no"))
		o->huge = XN_HUGE_NO;
	else if (!strcmp(arg, "auto"))
		o->huge = XN_HUGE_AUTO;
	else
		return bad("--hugepages %s: must be yes, no or auto", arg);
	return true;
}

static bool take_ifname(struct xn_opts *o, const char *arg)
{
	if (!arg[0] || strlen(arg) >= IFNAMSIZ || strchr(arg, ','))
		return bad("--ifname %s: not the name of an interface", arg);
	o->ifname = arg;
	return true;
}

static bool take(struct xn_opts *o, int c, const char *arg)
{
	uint64_t v = 0;

	switch (c) {
	case O_DIR:
		return take_words("dir", arg, xn_dir_names, o->dir, XN_DIR_COUNT);
	case O_PATH:
		return take_words("path", arg, xn_kind_names, o->kind, XN_KIND_COUNT);
	case O_SIZE:
		return take_sizes(o, arg);
	case O_SECS:
		return take_secs(o, arg);
	case O_ROUNDS:
		if (!take_number("rounds", arg, 1, XN_ROUNDS_MAX, &v))
			return false;
		o->rounds = (unsigned)v;
		return true;
	case O_PACE:
		return take_number("pace", arg, 1, 1000000000, &o->pace_pps);
	case O_QUEUES:
		if (!take_number("queues", arg, 1, XN_QUEUES_MAX, &v))
			return false;
		o->queues = (unsigned)v;
		return true;
	case O_IFNAME:
		return take_ifname(o, arg);
	case O_HUGE:
		return take_huge(o, arg);
	case O_JSON:
		o->json = arg;
		return true;
	case O_SVG:
		o->svg = arg;
		return strcmp(arg, "-") ? true : bad("--svg -: needs the name of a file");
	default:
		o->footprint = true;
		return true;
	}
}

/* With an interface of the user's, only what one end alone can see makes sense. */
static bool settle(struct xn_opts *o, bool dir_given)
{
	if (!o->ifname)
		return true;
	if (o->footprint)
		return bad("--footprint measures on a veth pair of its own: leave out --ifname");
	if (!dir_given)
		o->dir[XN_DIR_FWD] = o->dir[XN_DIR_RTT] = false;
	if (o->dir[XN_DIR_FWD] || o->dir[XN_DIR_RTT])
		return bad("--ifname %s: fwd and rtt need a far end of our own; use --dir rx,tx",
			   o->ifname);
	return true;
}

int xn_opts_parse(struct xn_opts *o, int argc, char **argv)
{
	bool dir_given = false;
	int c;

	*o = (struct xn_opts){
		.dir = { true, true, true, true }, .kind = { true, true, true },
		.size = { 64, 512, 1514 }, .n_sizes = 3,
		.secs = 0.2, .rounds = 9, .queues = 1, .huge = XN_HUGE_AUTO,
	};
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", long_opts, NULL)) != -1) {
		switch (c) {
		case 'h':
		case O_HELP:
			fputs(usage_text, stdout);
			return 1;
		case O_VERSION:
			printf("xsknet-bench %s\n", xn_version());
			return 1;
		case '?':
			bad("%s: no such option", argv[optind - 1]);
			return 1 + XN_EXIT_USAGE;
		case ':':
			bad("%s: needs a value", argv[optind - 1]);
			return 1 + XN_EXIT_USAGE;
		}
		dir_given |= c == O_DIR;
		if (!take(o, c, optarg))
			return 1 + XN_EXIT_USAGE;
	}
	if (optind < argc) {
		bad("%s: not understood", argv[optind]);
		return 1 + XN_EXIT_USAGE;
	}
	return settle(o, dir_given) ? 0 : 1 + XN_EXIT_USAGE;
}
