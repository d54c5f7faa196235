/* SPDX-License-Identifier: BSD-2-Clause */
/* From what the threads of a round noted down to its figures. */
#include <math.h>
#include <stdlib.h>

#include "base/types.h"
#include "bench/round.h"

static int by_value(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void percentiles(struct xn_rtt *t, double *p50_us, double *p99_us)
{
	const unsigned n = XN_MIN(t->n, XN_RTT_KEEP);

	if (!n)
		return;
	qsort(t->ns, n, sizeof(*t->ns), by_value);
	*p50_us = t->ns[n / 2] / 1e3;
	*p99_us = t->ns[(unsigned)(0.99 * (n - 1))] / 1e3;
}

static double window_secs(const struct xn_worker *k)
{
	return xn_ticks_ns(k->mark[1].ticks - k->mark[0].ticks) / 1e9;
}

/*
 * What a packet costs: the turns that moved something; of a thread that sleeps, all that it
 * used; and the driver's threads, if it has some. On the engine's paths the time inside of xn_queue_run is
 * told apart from the time in sendto() within it, which is the kernel's.
 */
static void sum_cost(const struct xn_round *r, struct xn_sample *s)
{
	uint64_t packets = 0, own = 0, engine = 0, sending = 0, threads = 0;
	const struct xn_mark *m0 = r->worker[0].mark;

	for (unsigned i = 0; i < r->path->queues; i++) {
		const struct xn_mark *m = r->worker[i].mark;

		packets += m[1].packets - m[0].packets;
		own += m[1].own_ticks - m[0].own_ticks;
		engine += m[1].engine_ticks - m[0].engine_ticks;
		sending += m[1].send_ticks - m[0].send_ticks;
		threads += m[1].thread_ns - m[0].thread_ns;
	}
	if (!packets)
		return;
	s->cpu_ns = xn_ticks_ns(own) / (double)packets;
	if (r->sleeps && !r->path->ops->cpu_ns)
		s->cpu_ns = (double)threads / (double)packets;
	if (r->napi.n) {
		s->napi_ns = (double)(m0[1].napi_ns - m0[0].napi_ns) / (double)packets;
		s->cpu_ns += s->napi_ns;
	}
	if (r->path->kind <= XN_KIND_PACKED)
		s->engine_ns = xn_ticks_ns(engine - XN_MIN(engine, sending)) / (double)packets;
}

/* What another process has used between the marks of queue 0's thread. */
static void sum_backend(const struct xn_round *r, struct xn_sample *s)
{
	const struct xn_worker *k = &r->worker[0];
	const double ns = (double)(k->mark[1].backend_ns - k->mark[0].backend_ns);
	uint64_t packets = 0;

	for (unsigned i = 0; i < r->path->queues; i++)
		packets += r->worker[i].mark[1].packets - r->worker[i].mark[0].packets;
	s->backend_cpu = ns / (window_secs(k) * 1e9);
	if (!packets)
		return;
	s->backend_ns = ns / (double)packets;
	s->cpu_ns += s->backend_ns;
}

/* The near end is the receiver. */
static void sum_near(const struct xn_round *r, struct xn_sample *s)
{
	uint64_t good = 0;

	s->pps = s->corrupt = s->reordered = s->duplicate = 0;
	for (unsigned i = 0; i < r->path->queues; i++) {
		const struct xn_worker *k = &r->worker[i];
		const struct xn_check *c = &k->w.check;

		s->pps += (double)(k->mark[1].arrived - k->mark[0].arrived) / window_secs(k);
		s->corrupt += (double)c->corrupt;
		s->reordered += (double)c->reordered;
		s->duplicate += (double)c->duplicate;
		good += c->frames;
	}
	s->offered = (double)r->gen.offered;
	s->lost = fmax(0, s->offered - (double)good);
}

static void sum_far(const struct xn_round *r, struct xn_sample *s)
{
	const struct xn_worker *k = &r->worker[0];
	const struct xn_sink_counts *c = &r->far;

	s->pps = (double)(k->mark[1].far - k->mark[0].far) / window_secs(k);
	s->offered = (double)r->gen.offered;
	if (r->dir == XN_DIR_TX) {
		s->offered = s->offered_pps = 0;
		for (unsigned i = 0; i < r->path->queues; i++) {
			const struct xn_mark *m = r->worker[i].mark;

			s->offered += (double)r->worker[i].w.seq;
			s->offered_pps += (double)(m[1].seq - m[0].seq) / window_secs(&r->worker[i]);
		}
	}
	s->lost = fmax(0, s->offered - (double)c->frames);
	s->corrupt = (double)c->corrupt;
	s->reordered = (double)c->reordered;
	s->duplicate = (double)c->duplicate;
}

/* Nobody at the far end answers for what was lost or broken on the way. */
static void sum_alone(const struct xn_round *r, struct xn_sample *s)
{
	s->pps = 0;
	for (unsigned i = 0; i < r->path->queues; i++) {
		const struct xn_mark *m = r->worker[i].mark;
		const uint64_t n = r->dir == XN_DIR_RX ? m[1].arrived - m[0].arrived :
							 m[1].packets - m[0].packets;

		s->pps += (double)n / window_secs(&r->worker[i]);
	}
	if (r->dir == XN_DIR_TX)
		s->offered_pps = s->pps;
}

static void sum_trips(struct xn_round *r, struct xn_sample *s)
{
	struct xn_worker *k = &r->worker[r->rtt_queue];
	const struct xn_check *c = &k->w.check;

	s->pps = k->sleeping.n / window_secs(k);
	s->offered = (double)k->w.seq;
	s->lost = (double)(k->sleeping.lost + k->spinning.lost + k->quiet.lost);
	s->corrupt = (double)c->corrupt;
	s->reordered = (double)c->reordered;
	s->duplicate = (double)c->duplicate;
	s->idle_cpu = k->idle_cpu;
	percentiles(&k->sleeping, &s->sleep_p50_us, &s->sleep_p99_us);
	percentiles(&k->spinning, &s->spin_p50_us, &s->spin_p99_us);
	percentiles(&k->quiet, &s->quiet_p50_us, &s->quiet_p99_us);
}

void xn_round_copies(const struct xn_copies *a, const struct xn_copies *b, struct xn_sample *s)
{
	const double rx = (double)(b->rx - a->rx), tx = (double)(b->tx - a->tx);
	const double rx_copied = (double)(b->rx_copied - a->rx_copied);
	const double tx_copied = (double)(b->tx_copied - a->tx_copied);

	if (rx + tx <= 0)
		return;
	if (rx > 0)
		s->missteered = (double)(b->missteered - a->missteered) / rx;
	if (b->turns > a->turns) {
		s->frames_per_turn = (rx + tx) / (b->turns - a->turns);
		s->sleeps_per_frame = (b->sleeps - a->sleeps) / (rx + tx);
	}
	/* A forwarded packet goes both ways: its copies add up. */
	s->copies = (rx > 0 ? rx_copied / rx : 0) + (tx > 0 ? tx_copied / tx : 0);
	s->zero_copy_share = 1 - (rx_copied + tx_copied) / (rx + tx);
}

void xn_round_blank(struct xn_sample *s)
{
	for (double *v = (double *)s; v < (double *)(s + 1); v++)
		*v = NAN;
}

void xn_round_sample(struct xn_round *r, struct xn_sample *s)
{
	if (r->dir == XN_DIR_RTT) {
		sum_trips(r, s);
		return;
	}
	sum_cost(r, s);
	if (r->path->ops->cpu_ns)
		sum_backend(r, s);
	if (!r->path->far) {
		sum_alone(r, s);
		return;
	}
	if (r->gen.seconds > 0)
		s->offered_pps = (double)r->gen.offered / r->gen.seconds;
	if (r->dir == XN_DIR_RX)
		sum_near(r, s);
	else
		sum_far(r, s);
}
