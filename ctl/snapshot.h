/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One look at a daemon, out of its answer. What is missing, or of another type, is 0 or
 * empty: older and newer daemons are shown as far as they are understood.
 */
#ifndef XN_CTL_SNAPSHOT_H
#define XN_CTL_SNAPSHOT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define XN_SNAP_COUNTERS 256u
#define XN_SNAP_WORKERS  64u

struct xn_snap_counter {
	char name[40], unit[16], text[120];
	uint64_t value;
};

struct xn_snap_worker {
	uint64_t turns, empty_turns, sleeps, gathers, cpu_ns;
};

struct xn_snap {
	char version[24];
	uint64_t uptime_ns, sessions, messages, refused;
	struct {
		char kind[16], spec[128], attach[16], mode[16], mac[24];
		char why[160], verdict[160];   /* of the mode; what the driver did wrong */
		uint64_t mtu, speed, spare_sockets, following_permille, min_buf;
		bool link;
	} port;
	struct {
		bool connected, logging, inflight;
		char features[24];
		uint64_t bytes, regions, pairs, running, broken;
	} guest;
	struct {
		char status[16], why[512], from[16];
	} rss;
	struct xn_snap_counter counters[XN_SNAP_COUNTERS];
	unsigned n_counters;
	struct xn_snap_worker workers[XN_SNAP_WORKERS];
	unsigned n_workers;
};

void xn_snap_read(struct xn_snap *s, const json_t *answer);
/* Value of a counter; 0 if there is none of that name. */
uint64_t xn_snap_value(const struct xn_snap *s, const char *name);

/* How much came between two looks: never negative, since a daemon may have started anew.
 * `then` NULL: since the start. */
uint64_t xn_snap_since(const struct xn_snap *now, const struct xn_snap *then, const char *name);
/* Seconds between them, at least 1e-9. */
double xn_snap_seconds(const struct xn_snap *now, const struct xn_snap *then);

#endif
