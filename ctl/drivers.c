/* SPDX-License-Identifier: BSD-2-Clause */
/* xsknetctl drivers: what is known of zero-copy drivers, a line each (xsk/drivers.h). */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "base/types.h"
#include "ctl/ctl.h"
#include "ctl/lend.h"

#define MTU     1500u
#define MTU_MIN 68u
#define MTU_MAX 65535u
/* Releases of Linux between which xn_zc_map_askable makes a difference. */
#define FIRST   "6.6"
#define LATER   "7.2"

static int parse(uint32_t *mtu, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "mtu", required_argument, NULL, 'm' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t v;
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (c == ':')
			return xn_bad_usage("%s needs a value", argv[optind - 1]);
		if (c != 'm')
			return xn_bad_usage("drivers: \"%s\" is not known", argv[optind - 1]);
		if (!xn_number(optarg, 10, MTU_MIN, MTU_MAX, &v))
			return xn_bad_usage("--mtu %s: want %u to %u", optarg, MTU_MIN, MTU_MAX);
		*mtu = (uint32_t)v;
	}
	if (optind < argc)
		return xn_bad_usage("drivers: \"%s\" is one word too many", argv[optind]);
	return 0;
}

/* A number, or "-" for none. */
static const char *cell(char out[16], uint32_t v)
{
	snprintf(out, 16, v ? "%" PRIu32 : "-", v);
	return out;
}

static void print(const struct xn_zc_driver *d, uint32_t mtu)
{
	static const char *const trust[] = { [XN_ZC_DENIED] = "denied", [XN_ZC_IF_PROBED] = "if probed",
					     [XN_ZC_MEASURED] = "measured" };
	char chunk[16], from[16], usual[16];
	struct xn_zc_shape s;

	const char *asked = d->trust == XN_ZC_DENIED ? "-" : xn_zc_map_askable(d, FIRST) ? "yes" :
			    xn_zc_map_askable(d, LATER) ? LATER : "no";

	if (xn_zc_shape_choose(&s, d, mtu, ""))
		s = (struct xn_zc_shape){ 0 };
	printf("%-13s  %-9s  %5s  %5s  %12s  %14s  %s\n", d->name, trust[d->trust], asked,
	       cell(chunk, s.chunk_bytes), cell(from, s.chunk_bytes ? xn_lend_from(&s) : 0),
	       cell(usual, xn_lend_mtu(d, mtu, xn_lend_sizes[0])), d->source);
}

int xn_cmd_drivers(int argc, char **argv)
{
	uint32_t mtu = MTU;
	int err = parse(&mtu, argc, argv);

	if (err)
		return err;
	printf("for MTU %" PRIu32 "; sources: Linux drivers/net/\n%-13s  %-9s  %5s  %5s  %12s  %14s  %s\n", mtu, "driver",
	       "known", "pages", "chunk", "buffers from", "1536 up to MTU", "source");
	for (unsigned i = 0; i < XN_ARRAY_SIZE(xn_zc_drivers); i++)
		print(&xn_zc_drivers[i], mtu);
	return XN_EXIT_OK;
}
