/* SPDX-License-Identifier: BSD-2-Clause */
/* xsknetctl doctor: facts gathered, judged, and printed, a line each. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/types.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/judge.h"
#include "ctl/try.h"

struct opts {
	const char *ifname;
	uint64_t guest_ram;
	bool json, try;
	enum xn_huge huge;
};

/* 512M, 4G, 4GiB, bytes. 0: not understood. */
static uint64_t parse_size(const char *s)
{
	static const char units[] = "KMGT";
	char *end;
	unsigned long long v = strtoull(s, &end, 10);
	const char *u = *end ? strchr(units, *end & ~0x20) : NULL;
	unsigned shift = u ? 10 * (unsigned)(u - units + 1) : 0;

	if (end == s || *s == '-' || (*end && !u))
		return 0;
	end += u != NULL;
	if (u && !strcmp(end, "iB"))
		end += 2;
	else if (u && !strcmp(end, "B"))
		end++;
	if (*end || v > UINT64_MAX >> shift || v << shift > 1ull << 50)
		return 0;
	return v << shift;
}

static int parse(struct opts *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "guest-ram", required_argument, NULL, 'g' },
		{ "json", no_argument, NULL, 'j' },
		{ "try", no_argument, NULL, 't' },
		{ "pages", required_argument, NULL, 'p' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*o = (struct opts){ .huge = XN_HUGE_AUTO };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		switch (c) {
		case 'g':
			o->guest_ram = parse_size(optarg);
			if (!o->guest_ram)
				return xn_bad_usage("--guest-ram %s: want a size: 512M, 4G", optarg);
			break;
		case 'j':
			o->json = true;
			break;
		case 't':
			o->try = true;
			break;
		case 'p':
			if (strcmp(optarg, "4k") != 0 && strcmp(optarg, "2M") != 0)
				return xn_bad_usage("--pages %s: want 4k or 2M", optarg);
			o->huge = optarg[0] == '2' ? XN_HUGE_YES : XN_HUGE_NO;
			break;
		case ':':
			return xn_bad_usage("%s needs a value", argv[optind - 1]);
		default:
			return xn_bad_usage("doctor: \"%s\" is not known", argv[optind - 1]);
		}
	}
	if (optind == argc)
		return xn_bad_usage("doctor: which interface?");
	o->ifname = argv[optind++];
	if (optind < argc)
		return xn_bad_usage("doctor: \"%s\" is one word too many", argv[optind]);
	if (o->huge != XN_HUGE_AUTO && !o->try)
		return xn_bad_usage("doctor: --pages is for --try");
	if (o->try && o->guest_ram && o->guest_ram < XN_TRY_RAM_MIN)
		return xn_bad_usage("doctor: --try wants a guest of 16M and more");
	return 0;
}

static void print_lines(const struct xn_verdict *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		printf("%-4s  %s: %s%s%s\n", xn_level_word(v[i].level), v[i].subject, v[i].found,
		       v[i].mend[0] ? "; what to do: " : "", v[i].mend);
}

/* {"mode":"zero-copy","guest_ram":134217728,"pages":"2M","lent":{"1536":0.0,...}} */
static json_t *try_json(const struct xn_try *t)
{
	json_t *lent = json_object(), *why = json_object(), *o;

	if (t->err) {
		json_decref(lent);
		json_decref(why);
		return json_pack("{s:s}", "error", t->why_not);
	}
	for (unsigned i = 0; i < XN_LEND_SIZES; i++) {
		const struct xn_try_size *s = &t->size[i];
		json_t *of = json_object();
		char bytes[16];

		snprintf(bytes, sizeof(bytes), "%u", s->bytes);
		json_object_set_new(lent, bytes, json_real((double)s->lent / (double)s->offered));
		for (unsigned k = 0; k < s->n_why; k++)
			json_object_set_new(of, s->why[k].name, json_integer((json_int_t)s->why[k].count));
		json_object_set_new(why, bytes, of);
	}
	o = json_pack("{s:s, s:I, s:s, s:f, s:f, s:i}", "mode", t->mode, "guest_ram",
		      (json_int_t)t->ram_bytes, "pages", t->huge ? "2M" : "4k", "start_seconds",
		      t->start_secs, "pages_following", t->following_permille / 1000.0, "min_buf_bytes",
		      (int)t->min_buf_bytes);
	json_object_set_new(o, "auto", json_pack("{s:s, s:s}", "mode", t->auto_mode, "why", t->auto_why));
	json_object_set_new(o, "lent", lent);
	json_object_set_new(o, "not_lent", why);
	return o;
}

static void print_json(const char *ifname, const struct xn_verdict *v, unsigned n, unsigned bad,
		       const struct xn_try *t)
{
	json_t *list = json_array(), *all;

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}",
						      "level", xn_level_word(v[i].level),
						      "subject", v[i].subject, "found", v[i].found,
						      "mend", v[i].mend));
	all = json_pack("{s:s, s:o, s:i}", "interface", ifname, "verdicts", list, "bad", (int)bad);
	if (t)
		json_object_set_new(all, "try", try_json(t));
	json_dumpf(all, stdout, JSON_COMPACT);
	fputc('\n', stdout);
	json_decref(all);
}

static void try_it(struct xn_try *t, const struct opts *o)
{
	const uint64_t ram = o->guest_ram ? o->guest_ram : XN_TRY_RAM;
	const struct xn_try_cfg cfg = { .ifname = o->ifname, .huge = o->huge,
					.ram_bytes = XN_ALIGN_UP(ram, XN_HUGE_SIZE) };

	xn_try_run(t, &cfg);
}

int xn_cmd_doctor(int argc, char **argv)
{
	struct xn_verdict v[XN_VERDICTS_MAX];
	static struct xn_try trial;
	bool tried = false;
	char name[64];
	struct xn_facts f = { 0 };
	struct opts o;
	unsigned n, bad = 0;
	int err = parse(&o, argc, argv);

	if (err)
		return err;
	xn_client_clean(name, sizeof(name), o.ifname);
	f.guest_ram = o.guest_ram;
	if (xn_nic_gather(&f.nic, o.ifname)) {
		xn_judge_missing(v, name, xn_last_error());
		n = 1;
	} else {
		xn_device_gather(&f.dev, f.nic.bus);
		xn_host_gather(&f.host, f.nic.bus);
		n = xn_judge(&f, v);
		tried = o.try;
	}
	if (tried) {
		try_it(&trial, &o);
		n = xn_try_judge(&trial, v, n);
	}
	for (unsigned i = 0; i < n; i++)
		bad += v[i].level == XN_LEVEL_BAD;
	if (o.json)
		print_json(name, v, n, bad, tried ? &trial : NULL);
	else
		print_lines(v, n);
	return bad ? XN_EXIT_BAD : XN_EXIT_OK;
}
