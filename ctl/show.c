/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A look at a daemon as text: what it is, how fast it goes, and then only what is not 0:
 * what was lost, what was copied and why, what the guest did wrong. Which counter belongs
 * where is told by its name, so that those of other versions find their place, too.
 */
#include <inttypes.h>
#include <string.h>

#include "base/types.h"
#include "ctl/show.h"

static bool is_copy(const char *name)
{
	return strstr(name, "_bounce_") || !strcmp(name, "tx_gathered");
}

/* Of frames on another queue than RSS names. */
static bool is_elsewhere(const char *name)
{
	return strstr(name, "missteered") || !strcmp(name, "steer_unfixed");
}

static bool is_fault(const char *name)
{
	return !strncmp(name, "fault_", 6);
}

static bool is_loss(const char *name)
{
	return strstr(name, "drop") || strstr(name, "vanished") || !strncmp(name, "kernel_", 7) ||
	       !strcmp(name, "queue_restarts") ||
	       !strcmp(name, "steer_too_long") || !strcmp(name, "steer_no_socket") ||
	       !strcmp(name, "steer_disabled") || !strcmp(name, "dirty_log_missed");
}

/* ---- what it is ---- */

static void show_port(FILE *out, const struct xn_snap *s)
{
	fprintf(out, "port      %s", s->port.spec[0] ? s->port.spec : s->port.kind);
	if (s->port.attach[0])
		fprintf(out, " (%s, %s)", s->port.attach, s->port.mode);
	fprintf(out, ", MTU %" PRIu64 ", MAC %s, link %s", s->port.mtu, s->port.mac,
		s->port.link ? "up" : "down");
	if (s->port.speed)
		fprintf(out, ", %g Gbit/s", (double)s->port.speed / 1e3);
	if (s->port.attach[0])
		fprintf(out, ", %" PRIu64 " spare sockets", s->port.spare_sockets);
	fputc('\n', out);
}

/* Known once a guest has started a queue pair. */
static void show_mode(FILE *out, const struct xn_snap *s)
{
	if (s->port.why[0]) {
		fprintf(out, "mode      %s: %s", s->port.mode, s->port.why);
		if (!strcmp(s->port.mode, "zero-copy"))
			fprintf(out, "; %" PRIu64 " of 1000 pages are followed by the next",
				s->port.following_permille);
		if (s->port.min_buf)
			fprintf(out, "; buffers of %" PRIu64 " bytes and more", s->port.min_buf);
		fputc('\n', out);
	}
	if (s->port.verdict[0])
		fprintf(out, "driver    %s\n", s->port.verdict);
}

/* Of a port with several queues, once a guest has started them. */
static void show_rss(FILE *out, const struct xn_snap *s)
{
	if (!s->rss.status[0])
		return;
	fprintf(out, "RSS       %s", s->rss.status);
	if (!strcmp(s->rss.from, "nobody"))
		fputs(", set by nobody", out);
	else if (s->rss.from[0])
		fprintf(out, ", set by the %s", s->rss.from);
	fprintf(out, "%s%s\n", s->rss.why[0] ? ": " : "", s->rss.why);
}

static void show_guest(FILE *out, const struct xn_snap *s)
{
	if (!s->guest.connected) {
		fputs("guest     not connected\n", out);
		return;
	}
	fprintf(out, "guest     %" PRIu64 " MiB in %" PRIu64 " region%s, %" PRIu64 " of %" PRIu64
		" queue pairs running", s->guest.bytes >> 20, s->guest.regions,
		s->guest.regions == 1 ? "" : "s", s->guest.running, s->guest.pairs);
	if (s->guest.broken)
		fprintf(out, ", %" PRIu64 " rings broken", s->guest.broken);
	if (s->guest.logging)
		fputs(", dirty pages are logged", out);
	fputc('\n', out);
}

static void show_head(FILE *out, const struct xn_snap *s)
{
	fprintf(out, "xsknetd   %s, up %.0f s, %" PRIu64 " messages, %" PRIu64 " refused\n",
		s->version[0] ? s->version : "?", (double)s->uptime_ns / 1e9, s->messages,
		s->refused);
	show_port(out, s);
	show_mode(out, s);
	show_rss(out, s);
	show_guest(out, s);
}

/* ---- how fast ---- */

static void show_way(FILE *out, const struct xn_snap *now, const struct xn_snap *then, bool rx)
{
	const char *packets = rx ? "rx_packets" : "tx_packets", *bytes = rx ? "rx_bytes" : "tx_bytes";
	uint64_t n = xn_snap_since(now, then, packets), b = xn_snap_since(now, then, bytes);
	uint64_t lent = rx ? xn_snap_since(now, then, "rx_lent") :
			xn_snap_since(now, then, "tx_lent") + xn_snap_since(now, then, "tx_chained");
	double s = xn_snap_seconds(now, then);
	char share[16] = "-";

	if (n)
		snprintf(share, sizeof(share), "%.1f", 100.0 * (double)XN_MIN(lent, n) / (double)n);
	fprintf(out, "%-9s %12.1f %10.3f %12s %18" PRIu64 "\n", rx ? "receive" : "transmit",
		(double)n / s, (double)b * 8 / 1e9 / s, share, xn_snap_value(now, packets));
}

static uint64_t cpu_ns(const struct xn_snap *s)
{
	uint64_t sum = 0;

	for (unsigned i = 0; s && i < s->n_workers; i++)
		sum += s->workers[i].cpu_ns;
	return sum;
}

static void show_rates(FILE *out, const struct xn_snap *now, const struct xn_snap *then)
{
	uint64_t packets = xn_snap_since(now, then, "rx_packets") +
			   xn_snap_since(now, then, "tx_packets");
	uint64_t cpu = cpu_ns(now) - XN_MIN(cpu_ns(then), cpu_ns(now));

	fprintf(out, "\n%-9s %12s %10s %12s %18s\n", then ? "now" : "so far", "packets/s", "Gbit/s",
		"zero-copy %", "packets in all");
	show_way(out, now, then, true);
	show_way(out, now, then, false);
	if (packets)
		fprintf(out, "CPU       %12.0f ns a packet\n", (double)cpu / (double)packets);
}

/* ---- what is not 0 ---- */

static void show_counters(FILE *out, const char *title, bool (*belongs)(const char *name),
			  const struct xn_snap *now, const struct xn_snap *then)
{
	double s = xn_snap_seconds(now, then);
	bool any = false;

	for (unsigned i = 0; i < now->n_counters; i++) {
		const struct xn_snap_counter *c = &now->counters[i];

		if (!c->value || !belongs(c->name))
			continue;
		if (!any)
			fprintf(out, "\n%-22s %9s %14s\n", title, "/s", "in all");
		any = true;
		fprintf(out, "%-22s %9.1f %14" PRIu64 "  %s: %s\n", c->name,
			(double)xn_snap_since(now, then, c->name) / s, c->value, c->unit, c->text);
	}
}

static void show_workers(FILE *out, const struct xn_snap *now, const struct xn_snap *then)
{
	double s = xn_snap_seconds(now, then);

	if (now->n_workers)
		fprintf(out, "\n%-9s %8s %12s %8s %10s %11s\n", "worker", "CPU %", "turns/s",
			"empty %", "sleeps/s", "gathers/s");
	for (unsigned i = 0; i < now->n_workers; i++) {
		const struct xn_snap_worker *n = &now->workers[i];
		struct xn_snap_worker t = { 0 };

		if (then && i < then->n_workers && then->workers[i].turns <= n->turns)
			t = then->workers[i];
		fprintf(out, "%-9u %8.1f %12.1f %8.1f %10.1f %11.1f\n", i,
			(double)(n->cpu_ns - XN_MIN(t.cpu_ns, n->cpu_ns)) / s / 1e7,
			(double)(n->turns - t.turns) / s,
			n->turns == t.turns ? 0.0 :
			100.0 * (double)(n->empty_turns - XN_MIN(t.empty_turns, n->empty_turns)) /
			(double)(n->turns - t.turns),
			(double)(n->sleeps - XN_MIN(t.sleeps, n->sleeps)) / s,
			(double)(n->gathers - XN_MIN(t.gathers, n->gathers)) / s);
	}
}

void xn_show(FILE *out, const struct xn_snap *now, const struct xn_snap *then)
{
	show_head(out, now);
	show_rates(out, now, then);
	show_counters(out, "lost", is_loss, now, then);
	show_counters(out, "copied, because", is_copy, now, then);
	show_counters(out, "on another queue", is_elsewhere, now, then);
	show_counters(out, "faults of the guest", is_fault, now, then);
	show_workers(out, now, then);
}
