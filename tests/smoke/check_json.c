/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is this what xsknet-bench --json promises? Every result has every key, with a
 * number where the figure applies and null where not; something moved, nothing was
 * corrupt, and the paths that lend did not copy.
 *	check_json FILE RESULTS      RESULTS: how many there have to be
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
		"queues_ratio", "missteered_share",
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
	if ((!strcmp(path, "zero-copy") || daemon) && (copies != 0 || share < 0.999))
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

int main(int argc, char **argv)
{
	json_error_t err;
	json_t *root, *results;

	if (argc != 3)
		return 2;
	root = json_load_file(argv[1], 0, &err);
	if (!root) {
		fprintf(stderr, "%s:%d: %s\n", argv[1], err.line, err.text);
		return 1;
	}
	results = json_object_get(root, "results");
	if (json_array_size(results) != strtoul(argv[2], NULL, 10)) {
		fprintf(stderr, "%zu results, expected %s\n", json_array_size(results), argv[2]);
		wrong++;
	}
	for (size_t i = 0; i < json_array_size(results); i++)
		check_result(i, json_array_get(results, i));
	json_decref(root);
	return wrong ? 1 : 0;
}
