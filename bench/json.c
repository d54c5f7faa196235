/* SPDX-License-Identifier: BSD-2-Clause */
/* The same for programs: {"machine": ..., "settings": ..., "results": [...], "tcp": [...],
 * "offload": [...]}. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "bench/bench.h"

/* Takes a figure; json has no NAN, so what was not measured is null. */
static void put(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, isnan(v) ? json_null() : json_real(v));
}

static void put_count(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, isnan(v) ? json_null() : json_integer((json_int_t)v));
}

/* Of the zero-copy path, if there is one. */
static const char *main_mode(const struct xn_bench *b)
{
	for (unsigned k = 0; k < XN_KIND_COUNT; k++)
		if (b->place.mode[k][0])
			return b->place.mode[k];
	return "";
}

static json_t *machine(const struct xn_bench *b)
{
	struct xn_machine m;

	xn_machine_get(&m);
	return json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:b}",
			 "kernel", m.kernel, "arch", m.arch, "cpu", m.cpu, "cpus", (int)m.cpus,
			 "date", m.date,
			 "interface", b->opts.ifname ? b->opts.ifname :
			 b->opts.peer ? b->opts.peer : "veth",
			 "attach", b->place.attach, "mode", main_mode(b),
			 "hugepages", (int)b->place.huge);
}

static json_t *settings(const struct xn_bench *b)
{
	const struct xn_opts *o = &b->opts;
	json_t *paces = json_array();
	json_t *j = json_pack("{s:s, s:i, s:f, s:i, s:i, s:i, s:f, s:b}",
			      "version", xn_version(), "rounds", (int)o->rounds, "secs", o->secs,
			      "queues", (int)o->queues, "generator_cpu", b->place.gen_cpu,
			      "near_cpu", b->place.near_cpu, "run_seconds", b->seconds,
			      "partial", (int)b->partial);

	put_count(j, "buf_bytes", o->buf_bytes ? o->buf_bytes : NAN);
	json_object_set_new(j, "wait", json_string(o->sleeps ? "sleep" : "spin"));
	json_object_set_new(j, "guest_cpu", json_string(xn_guest_on_names[o->guest_on]));
	json_object_set_new(j, "backend", o->backend ? json_string(o->backend) : json_null());
	for (unsigned i = 0; i < o->n_paces && o->pace_pps[0]; i++)
		json_array_append_new(paces, json_integer((json_int_t)o->pace_pps[i]));
	json_object_set_new(j, "pace_pps", paces);
	return j;
}

static json_t *reasons(const struct xn_reasons *r)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < r->n; i++)
		if (r->of[i].count > 0)
			json_object_set_new(o, r->of[i].name, json_integer((json_int_t)r->of[i].count));
	return o;
}

static json_t *result(const struct xn_bench *b, const struct xn_summary *s)
{
	const double bytes = s->cell->bytes ? s->cell->bytes : NAN;
	const char *mode = b->place.mode[s->kind];
	json_t *j = json_pack("{s:s, s:s}", "dir", xn_dir_names[s->cell->dir],
			      "path", xn_kind_names[s->kind]);

	json_object_set_new(j, "mode", mode[0] ? json_string(mode) : json_null());
	put_count(j, "size_bytes", bytes);
	put_count(j, "mtu", b->opts.ifname || b->opts.peer ? NAN : b->opts.mtu);
	put_count(j, "pace_pps", s->cell->pace_pps ? (double)s->cell->pace_pps : NAN);
	put_count(j, "queues", s->cell->dir == XN_DIR_RTT ? 1 : s->cell->queues);
	put(j, "pps", s->pps);
	put(j, "gbps", s->gbps);
	put(j, "offered_pps", s->offered_pps);
	put_count(j, "lost", s->lost);
	put_count(j, "corrupt", s->corrupt);
	put_count(j, "reordered", s->reordered);
	put(j, "raw_ratio", s->raw_ratio);
	put(j, "queues_ratio", s->scale);
	put(j, "missteered_share", s->missteered);
	put(j, "user_copies_per_packet", s->copies);
	put(j, "zero_copy_share", s->zero_copy_share);
	put(j, "engine_ns_per_packet", s->engine_ns);
	put(j, "cpu_ns_per_packet", s->cpu_ns);
	put(j, "napi_cpu_ns_per_packet", s->napi_ns);
	put(j, "backend_cpu_ns_per_packet", s->backend_ns);
	put(j, "backend_cpu", s->backend_cpu);
	put(j, "backend_frames_per_turn", s->frames_per_turn);
	put(j, "backend_sleeps_per_frame", s->sleeps_per_frame);
	put(j, "in_process_ratio", s->process_ratio);
	put(j, "rtt_p50_us", s->sleep_p50_us);
	put(j, "rtt_p99_us", s->sleep_p99_us);
	/* -- beyond the table's columns -- */
	put(j, "rtt_spin_p50_us", s->spin_p50_us);
	put(j, "rtt_spin_p99_us", s->spin_p99_us);
	put(j, "rtt_quiet_p50_us", s->quiet_p50_us);
	put(j, "rtt_quiet_p99_us", s->quiet_p99_us);
	put(j, "idle_cpu", s->idle_cpu);
	put(j, "pps_min", s->pps_min);
	put(j, "pps_max", s->pps_max);
	put(j, "raw_ratio_min", s->ratio_min);
	put(j, "raw_ratio_max", s->ratio_max);
	put(j, "lost_share", s->lost_share);
	put_count(j, "duplicate", s->duplicate);
	put_count(j, "rounds", s->cell->rounds);
	json_object_set_new(j, "reasons", reasons(&s->cell->why[s->kind]));
	return j;
}

static void put_share(json_t *o, const struct xn_tcp_line *l)
{
	static const struct { const char *key; enum xn_tcp_figure figure; } keys[] = {
		{ "gbps", XN_TCP_GBPS }, { "segments_per_second", XN_TCP_SEGS },
		{ "raw_ratio", XN_TCP_RATIO }, { "engine_ns_per_segment", XN_TCP_ENGINE_NS },
		{ "cpu_ns_per_segment", XN_TCP_CPU_NS }, { "chains_per_64k", XN_TCP_CHAINS },
		{ "lent_share", XN_TCP_LENT }, { "chained_share", XN_TCP_CHAINED },
		{ "mixed_share", XN_TCP_MIXED },
		{ "gathered_share", XN_TCP_GATHERED }, { "again_share", XN_TCP_AGAIN },
		{ "segments_per_frame", XN_TCP_MERGED },
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		put(o, keys[i].key, l->v[keys[i].figure]);
}

static json_t *tcp(const struct xn_bench *b)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < b->n_tcp; i++) {
		const struct xn_tcp_line *l = &b->tcp[i];
		json_t *o = json_pack("{s:s, s:s, s:i, s:i, s:I}", "dir", l->dir, "way", l->way,
				      "mtu", (int)l->mtu, "rounds", (int)l->rounds,
				      "wrong_bytes", (json_int_t)l->bad);

		put_share(o, l);
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *offload(const struct xn_bench *b)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < b->n_ask; i++) {
		const struct xn_ask_line *l = &b->ask[i];
		json_t *o = json_pack("{s:s}", "ask", l->name);

		put(o, "frames_per_second", l->fps);
		put(o, "raw_ratio", l->ratio);
		put(o, "engine_ns_per_frame", l->engine_ns);
		put(o, "cpu_ns_per_frame", l->ns);
		put(o, "chains_per_frame", l->chains);
		put(o, "lent_share", l->lent);
		put(o, "chained_share", l->chained);
		put(o, "mixed_share", l->mixed);
		put(o, "gathered_share", l->gathered);
		json_array_append_new(a, o);
	}
	return a;
}

static void put_results(json_t *results, const struct xn_bench *b)
{
	for (unsigned i = 0; i < b->n_cells; i++)
		for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
			struct xn_summary s;

			if (xn_summarize(&b->cells[i], k, &s))
				json_array_append_new(results, result(b, &s));
		}
}

int xn_report_json(const struct xn_bench *b, const char *file)
{
	json_t *root = json_object(), *results = json_array();
	const bool to_stdout = !strcmp(file, "-");
	FILE *f = to_stdout ? stdout : fopen(file, "w");
	int err = 0;

	json_object_set_new(root, "machine", machine(b));
	json_object_set_new(root, "settings", settings(b));
	json_object_set_new(root, "results", results);
	put_results(results, b);
	if (b->large)
		put_results(results, b->large);
	json_object_set_new(root, "tcp", tcp(b));
	json_object_set_new(root, "offload", offload(b));
	if (!f || json_dumpf(root, f, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) ||
	    fputc('\n', f) == EOF || fflush(f))
		err = xn_fail(errno ? errno : EIO, "--json %s: %s", file,
			      strerror(errno ? errno : EIO));
	if (f && !to_stdout)
		fclose(f);
	json_decref(root);
	return err;
}
