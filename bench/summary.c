/* SPDX-License-Identifier: BSD-2-Clause */
/* Many rounds to one line: medians of rates, costs and times, sums of what went wrong. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double xn_median(double *v, unsigned n)
{
	unsigned m = 0;

	for (unsigned i = 0; i < n; i++)
		if (!isnan(v[i]))
			v[m++] = v[i];
	if (!m)
		return NAN;
	qsort(v, m, sizeof(*v), by_value);
	return m % 2 ? v[m / 2] : (v[m / 2 - 1] + v[m / 2]) / 2;
}

const char *xn_size_word(const struct xn_cell *c, char word[8])
{
	snprintf(word, 8, c->bytes ? "%u" : "any", c->bytes);
	return word;
}

#define FIELD(s, at) (*(const double *)((const char *)(s) + (at)))
#define MEDIAN_OF(c, kind, member) \
	median_of((c)->s[kind], (c)->rounds, offsetof(struct xn_sample, member))
#define SUM_OF(c, kind, member) \
	sum_of((c)->s[kind], (c)->rounds, offsetof(struct xn_sample, member))

static double median_of(const struct xn_sample *s, unsigned n, size_t at)
{
	double v[XN_ROUNDS_MAX];

	for (unsigned i = 0; i < n; i++)
		v[i] = FIELD(&s[i], at);
	return xn_median(v, n);
}

static double sum_of(const struct xn_sample *s, unsigned n, size_t at)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += FIELD(&s[i], at);
	return sum;      /* NAN if any is */
}

/* Ratios within a round, then their median: what the machine did between two rounds
 * cancels out. */
static void compare(const struct xn_cell *c, enum xn_kind kind, struct xn_summary *out)
{
	const struct xn_sample *mine = c->s[kind], *raw = c->s[XN_KIND_RAW];
	const struct xn_sample *here = c->s[XN_KIND_ZERO_COPY];
	double v[XN_ROUNDS_MAX];

	out->process_ratio = NAN;
	if (here && xn_kind_compared(kind) && c->dir != XN_DIR_RTT) {
		for (unsigned i = 0; i < c->rounds; i++)
			v[i] = here[i].pps > 0 ? mine[i].pps / here[i].pps : NAN;
		out->process_ratio = xn_median(v, c->rounds);
	}

	out->scale = NAN;
	if (c->first != c && c->first->s[kind]) {
		for (unsigned i = 0; i < c->rounds; i++) {
			const double one = c->first->s[kind][i].pps;

			v[i] = one > 0 ? mine[i].pps / one : NAN;
		}
		out->scale = xn_median(v, c->rounds);
	}

	out->raw_ratio = out->ratio_min = out->ratio_max = NAN;
	if (!raw || c->dir == XN_DIR_RTT)
		return;
	for (unsigned i = 0; i < c->rounds; i++) {
		v[i] = raw[i].pps > 0 ? mine[i].pps / raw[i].pps : NAN;
		out->ratio_min = fmin(out->ratio_min, v[i]);
		out->ratio_max = fmax(out->ratio_max, v[i]);
	}
	out->raw_ratio = xn_median(v, c->rounds);
}

void xn_reasons_add(struct xn_reasons *r, const char *name, double count)
{
	unsigned i = 0;

	while (i < r->n && strcmp(r->of[i].name, name) != 0)
		i++;
	if (i == XN_REASONS_MAX || strlen(name) >= sizeof(r->of[0].name))
		return;
	if (i == r->n) {
		strcpy(r->of[i].name, name);
		r->of[i].count = 0;
		r->n++;
	}
	r->of[i].count += count;
}

double xn_reasons_count(const struct xn_reasons *r, const char *name)
{
	for (unsigned i = 0; i < r->n; i++)
		if (!strcmp(r->of[i].name, name))
			return r->of[i].count;
	return 0;
}

bool xn_summarize(const struct xn_cell *c, enum xn_kind kind, struct xn_summary *out)
{
	if (!c->s[kind] || !c->rounds)
		return false;
	*out = (struct xn_summary){ .cell = c, .kind = kind, .pps_min = NAN, .pps_max = NAN };
	out->pps = MEDIAN_OF(c, kind, pps);
	for (unsigned i = 0; i < c->rounds; i++) {
		out->pps_min = fmin(out->pps_min, c->s[kind][i].pps);
		out->pps_max = fmax(out->pps_max, c->s[kind][i].pps);
	}
	out->gbps = c->dir == XN_DIR_RTT || !c->bytes ? NAN : out->pps * c->bytes * 8 / 1e9;
	out->offered_pps = MEDIAN_OF(c, kind, offered_pps);
	compare(c, kind, out);
	out->lost = SUM_OF(c, kind, lost);
	out->lost_share = out->lost / SUM_OF(c, kind, offered);
	out->corrupt = SUM_OF(c, kind, corrupt);
	out->reordered = SUM_OF(c, kind, reordered);
	out->duplicate = SUM_OF(c, kind, duplicate);
	out->copies = MEDIAN_OF(c, kind, copies);
	out->zero_copy_share = MEDIAN_OF(c, kind, zero_copy_share);
	out->missteered = MEDIAN_OF(c, kind, missteered);
	out->engine_ns = MEDIAN_OF(c, kind, engine_ns);
	out->cpu_ns = MEDIAN_OF(c, kind, cpu_ns);
	out->napi_ns = MEDIAN_OF(c, kind, napi_ns);
	out->backend_ns = MEDIAN_OF(c, kind, backend_ns);
	out->frames_per_turn = MEDIAN_OF(c, kind, frames_per_turn);
	out->sleeps_per_frame = MEDIAN_OF(c, kind, sleeps_per_frame);
	out->backend_cpu = MEDIAN_OF(c, kind, backend_cpu);
	out->sleep_p50_us = MEDIAN_OF(c, kind, sleep_p50_us);
	out->sleep_p99_us = MEDIAN_OF(c, kind, sleep_p99_us);
	out->spin_p50_us = MEDIAN_OF(c, kind, spin_p50_us);
	out->spin_p99_us = MEDIAN_OF(c, kind, spin_p99_us);
	out->quiet_p50_us = MEDIAN_OF(c, kind, quiet_p50_us);
	out->quiet_p99_us = MEDIAN_OF(c, kind, quiet_p99_us);
	out->idle_cpu = MEDIAN_OF(c, kind, idle_cpu);
	return true;
}
