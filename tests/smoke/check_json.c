/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is this what xsknet-bench --json promises? Every result has every key, with a
 * number where the figure applies and null where not; something moved, nothing was
 * corrupt, and the paths that lend did not copy.
 *	check_json FILE RESULTS [TCP [OFFLOAD]]      how many there have to be of each
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned wrong;

static void complain(size_t i, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void complain(size_t i, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "results[%zu]: ", i);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	wrong++;
}

/* The number of this key, `or` if it is null; complains if it is neither. */
static double number(size_t i, const json_t *o, const char *key, double or)
{
	const json_t *v = json_object_get(o, key);

	if (json_is_number(v))
		return json_number_value(v);
	if (!v || !json_is_null(v))
		complain(i, "%s: neither number nor null", key);
	return or;
}

static const char *word(size_t i, const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s)
		complain(i, "%s: no string", key);
	return s ? s : "";
}

static void check_result(size_t i, const json_t *o)
{
	static const char *const other[] = {
		"size_bytes", "queues", "gbps", "lost", "reordered", "raw_ratio",
		"engine_ns_per_packet", "cpu_ns_per_packet", "pace_pps",
		"backend_cpu_ns_per_packet", "backend_cpu", "backend_frames_per_turn",
		"backend_sleeps_per_frame", "in_process_ratio", "rtt_spin_p50_us",
		"rtt_spin_p99_us", "idle_cpu", "napi_cpu_ns_per_packet",
		"queues_ratio", "missteered_share", "mtu",
	};
	const char *path = word(i, o, "path");
	const bool rtt = !strcmp(word(i, o, "dir"), "rtt");
	const bool daemon = !strncmp(path, "xsknetd", 7);
	const double quiet = number(i, o, "rtt_quiet_p50_us", -1);
	double p50 = number(i, o, "rtt_p50_us", -1), p99 = number(i, o, "rtt_p99_us", -1);
	double copies = number(i, o, "user_copies_per_packet", -1);
	double share = number(i, o, "zero_copy_share", -1);

	/* Of veth there is one mode only; other back ends do not tell theirs. */
	if (strcmp(path, "backend") && strcmp(path, "bounce") && strcmp(word(i, o, "mode"), "copy") != 0)
		complain(i, "mode of the socket: %s", word(i, o, "mode"));
	if (!json_is_object(json_object_get(o, "reasons")))
		complain(i, "reasons: no object");
	if (!strcmp(path, "bounce") != (json_object_get(json_object_get(o, "reasons"), "rx_bounce_forced") ||
					json_object_get(json_object_get(o, "reasons"), "tx_bounce_forced")))
		complain(i, "reasons not to lend: on the wrong path, or none");
	for (size_t k = 0; k < sizeof(other) / sizeof(other[0]); k++)
		(void)number(i, o, other[k], 0);
	(void)number(i, o, "offered_pps", 0);
	if (number(i, o, "pps", -1) <= 0)
		complain(i, "nothing moved");
	if (number(i, o, "corrupt", -1) != 0)
		complain(i, "corrupt frames, or not counted");
	/* Of a large frame some pieces may be copied: where that is cheaper. */
	if ((!strcmp(path, "zero-copy") || daemon) && number(i, o, "size_bytes", 0) <= 1514 && (copies != 0 || share < 0.999))
		complain(i, "path that lends: %g copies a packet, share %g", copies, share);
	if (!strcmp(path, "bounce") && copies <= 0)
		complain(i, "bounce path: %g copies a packet", copies);
	/* Whose processor time is told: only another process's. */
	if (!rtt && daemon != (number(i, o, "backend_cpu_ns_per_packet", -1) > 0))
		complain(i, "processor time of another process: on the wrong path, or none");
	if (!rtt && daemon != (number(i, o, "backend_frames_per_turn", -1) > 0))
		complain(i, "statistics of xsknetd: on the wrong path, or none");
	if (rtt != (quiet > 0))
		complain(i, "round trip after silence: %g", quiet);
	if (rtt ? p50 <= 0 || p99 < p50 : p50 != -1 || p99 != -1)
		complain(i, "round trip times: %g, %g", p50, p99);
}

static void check_numbers(size_t i, const json_t *o, const char *const *keys)
{
	for (; *keys; keys++)
		(void)number(i, o, *keys, 0);
}

static void check_tcp(size_t i, const json_t *o)
{
	static const char *const keys[] = {
		"mtu", "rounds", "engine_ns_per_segment", "cpu_ns_per_segment", "lent_share",
		"chained_share", "mixed_share", "gathered_share", "again_share", "segments_per_frame", NULL,
	};
	const char *way = word(i, o, "way");
	const bool raw = !strcmp(way, "raw"), tx = !strcmp(word(i, o, "dir"), "tcp-tx");
	const double chains = number(i, o, "chains_per_64k", -1), mtu = number(i, o, "mtu", 0);

	check_numbers(i, o, keys);
	if (number(i, o, "wrong_bytes", -1) != 0)
		complain(i, "wrong bytes, or not counted");
	if (raw != (number(i, o, "gbps", -1) < 0) || number(i, o, "segments_per_second", -1) <= 0)
		complain(i, "nothing moved");
	if (tx != (number(i, o, "raw_ratio", -1) > 0))
		complain(i, "compared with the raw loop: in the wrong direction, or not");
	/* 1 and 45; but what was sent and what was acknowledged in a short run differ by a window. */
	if (!strcmp(way, "tso") && (chains < 0.2 || chains > 8))
		complain(i, "%g chains for 64 KiB of large packets", chains);
	if (!strcmp(way, "csum") && mtu <= 1500 && (chains < 9 || chains > 225))
		complain(i, "%g chains for 64 KiB of small packets", chains);
}

static void check_offload(size_t i, const json_t *o)
{
	static const char *const keys[] = {
		"engine_ns_per_frame", "cpu_ns_per_frame", "chains_per_frame", "lent_share",
		"chained_share", "mixed_share", "gathered_share", NULL,
	};

	check_numbers(i, o, keys);
	(void)word(i, o, "ask");
	if (number(i, o, "frames_per_second", -1) <= 0 || number(i, o, "raw_ratio", -1) <= 0)
		complain(i, "nothing moved");
}

/* Each element of the array, of which there have to be so many. */
static void check_array(const json_t *root, const char *key, const char *want,
			void (*check)(size_t i, const json_t *o))
{
	const json_t *a = json_object_get(root, key);

	if (json_array_size(a) != strtoul(want, NULL, 10)) {
		fprintf(stderr, "%s: %zu, expected %s\n", key, json_array_size(a), want);
		wrong++;
	}
	for (size_t i = 0; i < json_array_size(a); i++)
		check(i, json_array_get(a, i));
}

int main(int argc, char **argv)
{
	json_error_t err;
	json_t *root;

	if (argc < 3)
		return 2;
	root = json_load_file(argv[1], 0, &err);
	if (!root) {
		fprintf(stderr, "%s:%d: %s\n", argv[1], err.line, err.text);
		return 1;
	}
	check_array(root, "results", argv[2], check_result);
	check_array(root, "tcp", argc > 3 ? argv[3] : "0", check_tcp);
	check_array(root, "offload", argc > 4 ? argv[4] : "0", check_offload);
	json_decref(root);
	return wrong ? 1 : 0;
}
