/* SPDX-License-Identifier: BSD-2-Clause */
/* One look at a daemon. Contract in ctl/snapshot.h. */
#include <string.h>

#include "base/types.h"
#include "ctl/client.h"
#include "ctl/snapshot.h"

static uint64_t number(const json_t *o, const char *name)
{
	json_int_t v = json_integer_value(json_object_get(o, name));

	return v > 0 ? (uint64_t)v : 0;
}

static bool yes(const json_t *o, const char *name)
{
	return json_is_true(json_object_get(o, name));
}

static void text(char *out, size_t bytes, const json_t *o, const char *name)
{
	xn_client_clean(out, bytes, json_string_value(json_object_get(o, name)));
}
#define TEXT(out, o, name) text(out, sizeof(out), o, name)

static void read_counters(struct xn_snap *s, json_t *counters)
{
	const char *name;
	json_t *c;

	json_object_foreach(counters, name, c) {
		struct xn_snap_counter *out = &s->counters[s->n_counters];

		if (s->n_counters == XN_SNAP_COUNTERS)
			return;
		xn_client_clean(out->name, sizeof(out->name), name);
		TEXT(out->unit, c, "unit");
		TEXT(out->text, c, "text");
		out->value = number(c, "value");
		s->n_counters++;
	}
}

static void read_workers(struct xn_snap *s, const json_t *workers)
{
	for (size_t i = 0; i < json_array_size(workers) && i < XN_SNAP_WORKERS; i++) {
		const json_t *w = json_array_get(workers, i);

		s->workers[s->n_workers++] = (struct xn_snap_worker){
			.turns = number(w, "turns"), .empty_turns = number(w, "empty_turns"),
			.sleeps = number(w, "sleeps"), .gathers = number(w, "gathers"),
			.cpu_ns = number(w, "cpu_ns"),
		};
	}
}

void xn_snap_read(struct xn_snap *s, const json_t *answer)
{
	const json_t *port = json_object_get(answer, "port"), *guest = json_object_get(answer, "guest");
	const json_t *rss = json_object_get(answer, "rss");

	memset(s, 0, sizeof(*s));
	TEXT(s->version, answer, "version");
	s->uptime_ns = number(answer, "uptime_ns");
	s->sessions = number(answer, "sessions");
	s->messages = number(answer, "messages");
	s->refused = number(answer, "refused");

	TEXT(s->port.kind, port, "kind");
	TEXT(s->port.spec, port, "spec");
	TEXT(s->port.attach, port, "attach");
	TEXT(s->port.mode, port, "mode");
	TEXT(s->port.mac, port, "mac");
	TEXT(s->port.why, port, "mode_why");
	TEXT(s->port.verdict, port, "driver_verdict");
	s->port.following_permille = number(port, "pages_following_permille");
	s->port.min_buf = number(port, "min_buf_bytes");
	s->port.mtu = number(port, "mtu");
	s->port.speed = number(port, "speed");
	s->port.spare_sockets = number(port, "spare_sockets");
	s->port.link = yes(port, "link");

	TEXT(s->rss.status, rss, "status");
	TEXT(s->rss.why, rss, "why");
	TEXT(s->rss.from, rss, "from");

	s->guest.connected = yes(guest, "connected");
	s->guest.logging = yes(guest, "logging");
	s->guest.inflight = yes(guest, "inflight");
	TEXT(s->guest.features, guest, "features");
	s->guest.bytes = number(guest, "bytes");
	s->guest.regions = number(guest, "regions");
	s->guest.pairs = number(guest, "pairs");
	s->guest.running = number(guest, "running");
	s->guest.broken = number(guest, "broken");

	read_counters(s, json_object_get(answer, "counters"));
	read_workers(s, json_object_get(answer, "workers"));
}

uint64_t xn_snap_value(const struct xn_snap *s, const char *name)
{
	for (unsigned i = 0; i < s->n_counters; i++)
		if (!strcmp(s->counters[i].name, name))
			return s->counters[i].value;
	return 0;
}

uint64_t xn_snap_since(const struct xn_snap *now, const struct xn_snap *then, const char *name)
{
	uint64_t v = xn_snap_value(now, name), was = then ? xn_snap_value(then, name) : 0;

	return v > was ? v - was : 0;
}

double xn_snap_seconds(const struct xn_snap *now, const struct xn_snap *then)
{
	uint64_t from = then && then->uptime_ns < now->uptime_ns ? then->uptime_ns : 0;

	return (double)XN_MAX(now->uptime_ns - from, (uint64_t)1) / 1e9;
}
