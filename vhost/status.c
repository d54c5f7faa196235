/* SPDX-License-Identifier: BSD-2-Clause */
/* Statistics as JSON. Contract in vhost/status.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "vhost/status.h"

#define MAX_STATS 256u

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *bits(uint64_t v)
{
	return json_sprintf("0x%" PRIx64, v);
}

static json_t *counters_json(struct xn_dev *dev, unsigned pair)
{
	struct xn_stat s[MAX_STATS];
	unsigned n = xn_dev_stats(dev, pair, s, MAX_STATS);
	json_t *o = json_object();

	for (unsigned i = 0; i < n && i < MAX_STATS; i++)
		json_object_set_new(o, s[i].name,
				    json_pack("{s:o, s:s, s:s}", "value", number(s[i].value),
					      "unit", s[i].unit, "text", s[i].text));
	return o;
}

static json_t *port_json(const struct xn_status *s, const struct xn_session_info *c)
{
	struct xn_port_mode m = { .sz = sizeof(m), .why = "", .verdict = "" };
	struct xn_port_info p;
	json_t *o;
	char mac[18];

	xn_port_get_info(s->port, &p);
	(void)xn_port_get_mode(s->port, &m);
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", s->mac[0], s->mac[1], s->mac[2],
		 s->mac[3], s->mac[4], s->mac[5]);
	o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:b, s:o, s:b, s:o}",
		      "kind", p.kind, "spec", s->spec, "attach", p.attach, "mode", p.mode,
		      "queues", (int)p.queues, "mtu", s->session ? c->mtu : s->mtu,
		      "max_frame", (int)p.max_frame, "mac", mac,
		      "link", p.link_up, "speed", number(p.speed), "full_duplex", p.full_duplex,
		      "spare_sockets", number(p.spare_sockets));
	json_object_set_new(o, "mode_why", json_string(m.why));
	json_object_set_new(o, "driver_verdict", json_string(m.verdict));
	json_object_set_new(o, "chunk_bytes", number(m.chunk_bytes));
	json_object_set_new(o, "pages_following_permille", number(m.pages_following));
	json_object_set_new(o, "min_buf_bytes", number(m.min_buf_bytes));
	return o;
}

static json_t *guest_json(const struct xn_status *s, const struct xn_session_info *c,
			  const struct xn_vdev_info *v)
{
	return json_pack("{s:b, s:o, s:o, s:i, s:o, s:i, s:i, s:i, s:i, s:i, s:b, s:b}",
			 "connected", s->session != NULL, "features", bits(v->features),
			 "protocol_features", bits(c->protocol_features), "status", (int)c->status,
			 "bytes", number(v->guest_bytes), "regions", (int)v->regions,
			 "pairs", (int)v->pairs, "running", (int)v->running,
			 "standing_by", (int)v->standing_by, "broken", (int)v->broken,
			 "logging", v->logging, "inflight", v->inflight);
}

static json_t *workers_json(const struct xn_status *s, unsigned pairs)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < pairs; i++) {
		struct xn_worker_stats w;

		xn_worker_get_stats(xn_vdev_worker(s->vdev, i), &w);
		json_array_append_new(a, json_pack("{s:o, s:o, s:o, s:o, s:o}",
						   "turns", number(w.turns),
						   "empty_turns", number(w.empty_turns),
						   "sleeps", number(w.sleeps),
						   "gathers", number(w.gathers),
						   "cpu_ns", number(w.cpu_ns)));
	}
	return a;
}

static json_t *pairs_json(const struct xn_status *s, unsigned pairs)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < pairs; i++)
		json_array_append_new(a, json_pack("{s:o}", "counters",
						   counters_json(xn_vdev_dev(s->vdev), i)));
	return a;
}

/* A port's first host queue: its spec says. */
static unsigned start_of(const char *spec)
{
	const char *at = strstr(spec, "start=");

	return at ? (unsigned)strtoul(at + strlen("start="), NULL, 10) : 0;
}

static json_t *key_json(const struct xn_dev_rss *r)
{
	char text[3 * sizeof(r->key) + 1] = "";

	for (unsigned i = 0; i < r->key_bytes; i++)
		sprintf(text + 3 * i - (i > 0), "%s%02x", i ? ":" : "", r->key[i]);
	return json_string(text);
}

/* How frames find their queues: `xsknetctl steer-peer --ctl` does the same on the other end. */
static json_t *rss_json(const struct xn_status *s)
{
	static const char *const from[] = {
		[XN_RSS_FROM_NOBODY] = "nobody", [XN_RSS_FROM_VMM] = "options",
		[XN_RSS_FROM_DRIVER] = "driver",
	};
	struct xn_port_rss p = { .sz = sizeof(p), .status = "" };
	struct xn_dev_rss r = { .sz = sizeof(r) };
	json_t *table = json_array();

	(void)xn_port_get_rss(s->port, &p);
	(void)xn_dev_get_rss(xn_vdev_dev(s->vdev), &r);
	for (unsigned i = 0; i < r.table_entries; i++)
		json_array_append_new(table, json_integer(r.table[i]));
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:o, s:o}",
			 "status", p.status, "why", p.why, "from", from[r.from],
			 "queues", (int)r.pairs, "start", (int)start_of(s->spec),
			 "types", (int)r.hash_types, "unclassified", (int)r.unclassified,
			 "max_tx", (int)r.max_tx, "key", key_json(&r), "table", table);
}

json_t *xn_status_json(const struct xn_status *s)
{
	struct xn_session_info c = { 0 };
	struct xn_vdev_info v;

	if (s->session)
		xn_session_get_info(s->session, &c);
	xn_vdev_get_info(s->vdev, &v);
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "version", xn_version(), "port", port_json(s, &c), "rss", rss_json(s),
			 "guest", guest_json(s, &c, &v),
			 "counters", counters_json(xn_vdev_dev(s->vdev), XN_ALL_PAIRS),
			 "pairs", pairs_json(s, v.pairs), "workers", workers_json(s, v.pairs),
			 "sessions", number(s->sessions),
			 "messages", number(s->messages + c.messages),
			 "refused", number(s->refused + c.refused),
			 "uptime_ns", number(s->uptime_ns));
}
