/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order of things. Machines change their speed by the minute, most of all shared
 * ones, so paths are only compared within a round, where they run one right after
 * the other; the order rotates from round to round.
 *
 *	round 1   zero-copy  bounce     xsknetd    raw
 *	round 2   bounce     xsknetd    raw        zero-copy
 *	round 3   xsknetd    raw        zero-copy  bounce       ...
 *
 * All paths are alive at once, each in a laboratory of its own, and idle when it is
 * not their turn; processes are frozen then. Only an interface of the user's (--ifname) is too
 * good for that: it can carry one XDP program, so a path lives for one turn there. The far
 * end of its wire (--peer) lives as long as the run.
 *
 * Numbers of queues are compared as paths are: within a round, which plays the cells that
 * differ in nothing else one after the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "bench/path.h"

volatile sig_atomic_t xn_stop;

#define WARM_UP_SECS 0.1
#define WARM_UPS     30u

struct cast {
	struct xn_bench *b;
	struct xn_path *path[XN_COUNTS_MAX][XN_KIND_COUNT];   /* by number of queues */
	struct xn_far *far;       /* of --ifname with --peer */
	unsigned done, all;       /* turns */
	bool tty;
};

static bool wanted(const struct cast *c, unsigned kind)
{
	return c->b->opts.kind[kind];
}

static bool takes_part(const struct cast *c, enum xn_dir dir, unsigned queues, unsigned kind)
{
	const struct xn_opts *o = &c->b->opts;

	/* veth gives the frame that comes back to the queue of the sender's processor: whose
	 * that is in another process, with several, is its own affair. */
	if (dir == XN_DIR_RTT && xn_kind_external(kind) && queues > 1)
		return false;
	return wanted(c, kind) && (dir == XN_DIR_RTT || !o->rtt_only[kind]);
}

static void note_place(struct cast *c, const struct xn_path *p)
{
	struct xn_place *pl = &c->b->place;

	snprintf(pl->mode[p->kind], sizeof(pl->mode[0]), "%s", p->mode);
	/* The engine's own path tells best, then raw. */
	if ((pl->attach[0] || !p->attach[0]) && p->kind != XN_KIND_ZERO_COPY)
		return;
	snprintf(pl->ifname, sizeof(pl->ifname), "%s", p->ifname);
	snprintf(pl->attach, sizeof(pl->attach), "%s", p->attach);
	pl->huge = p->huge;
}

static void show_progress(const struct cast *c, const struct xn_cell *cell, unsigned round)
{
	if (!c->tty)
		return;
	fprintf(stderr, "\r\033[K%3u %%  %s, %s bytes, %u queues, round %u of %u",
		c->done * 100 / XN_MAX(c->all, 1u), xn_dir_words[cell->dir],
		xn_size_word(cell, (char[8]){ 0 }), cell->queues, round + 1, c->b->opts.rounds);
	fflush(stderr);
}

static void show_cell(const struct cast *c, const struct xn_cell *cell)
{
	if (c->tty)
		return;
	fprintf(stderr, "xsknet-bench: %3u %%  %s, %s bytes",
		c->done * 100 / XN_MAX(c->all, 1u), xn_dir_words[cell->dir],
		xn_size_word(cell, (char[8]){ 0 }));
	if (c->b->opts.n_counts > 1)
		fprintf(stderr, ", %u queue%s", cell->queues, cell->queues > 1 ? "s" : "");
	fputc(':', stderr);
	for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
		struct xn_summary s;

		if (!xn_summarize(cell, k, &s))
			continue;
		if (cell->dir == XN_DIR_RTT)
			fprintf(stderr, "  %s %.2f us", xn_kind_names[k], s.sleep_p50_us);
		else
			fprintf(stderr, "  %s %.3f Mpps", xn_kind_names[k], s.pps / 1e6);
	}
	fputc('\n', stderr);
}

/* A driver in zero-copy mode has to prove itself to the engine with frames that arrive, and
 * is lent less meanwhile (rx_bounce_probe). That is no figure of a path that is new in each
 * turn. */
static int warm_up(struct xn_path *p, uint32_t bytes)
{
	const enum xn_dir dirs[] = { XN_DIR_RX, XN_DIR_TX };
	int err = 0;

	if (!p->far || p->kind == XN_KIND_RAW || strcmp(p->mode, "zero-copy") != 0)
		return 0;
	for (unsigned d = 0; d < XN_ARRAY_SIZE(dirs); d++) {
		const struct xn_load load = { .dir = dirs[d], .bytes = bytes, .secs = WARM_UP_SECS };
		bool probed = true;

		for (unsigned i = 0; i < WARM_UPS && probed && !err && !xn_stop; i++) {
			struct xn_reasons why = { 0 };
			struct xn_sample s;

			err = xn_round_run(p, &load, &s, &why);
			probed = s.pps > 0 && (xn_reasons_count(&why, "rx_bounce_probe") > 0 ||
					       xn_reasons_count(&why, "tx_bounce_probe") > 0);
		}
	}
	return err;
}

static struct xn_path **path_of(struct cast *c, unsigned queues, unsigned kind)
{
	unsigned i = 0;

	while (c->b->opts.count[i] != queues)
		i++;
	return &c->path[i][kind];
}

static int run_turn(struct cast *c, struct xn_cell *cell, unsigned kind, unsigned round)
{
	struct xn_path **path = path_of(c, cell->queues, kind);
	const struct xn_load load = { .dir = cell->dir, .bytes = cell->bytes,
				      .pace_pps = cell->pace_pps, .idle = round == 0 };
	int err = 0;

	if (c->b->opts.ifname) {
		err = xn_path_create(path, kind, &c->b->opts, cell->queues, c->far);
		if (err)
			return err;
		note_place(c, *path);
		err = warm_up(*path, cell->bytes);
	}
	if (!err)
		err = xn_round_run(*path, &load, &cell->s[kind][round],
				   &cell->why[kind]);
	if (c->b->opts.ifname) {
		xn_path_destroy(*path);
		*path = NULL;
	}
	c->done++;
	return err;
}

static int run_round(struct cast *c, struct xn_cell *cell, unsigned round)
{
	int err = 0;

	show_progress(c, cell, round);
	for (unsigned i = 0; i < XN_KIND_COUNT && !err && !xn_stop; i++) {
		const unsigned kind = (i + round) % XN_KIND_COUNT;

		if (cell->s[kind])
			err = run_turn(c, cell, kind, round);
	}
	return err;
}

/* n cells that are compared with each other. */
static int run_cells(struct cast *c, struct xn_cell *cells, unsigned n)
{
	int err = 0;

	for (unsigned round = 0; round < c->b->opts.rounds && !err && !xn_stop; round++) {
		for (unsigned i = 0; i < n && !err && !xn_stop; i++)
			err = run_round(c, &cells[(i + round) % n], round);
		/* A round that was cut short compares nothing. */
		for (unsigned i = 0; i < n && !err && !xn_stop; i++)
			cells[i].rounds = round + 1;
	}
	for (unsigned i = 0; i < n && !err; i++)
		show_cell(c, &cells[i]);
	return err;
}

static int make_cell(struct cast *c, enum xn_dir dir, uint32_t bytes, uint64_t pace_pps,
		     unsigned queues)
{
	struct xn_cell *cell = &c->b->cells[c->b->n_cells++];

	*cell = (struct xn_cell){ .dir = dir, .bytes = bytes, .pace_pps = pace_pps,
				  .queues = queues, .first = cell };
	for (unsigned k = 0; k < XN_KIND_COUNT; k++) {
		if (!takes_part(c, dir, queues, k))
			continue;
		cell->s[k] = calloc(c->b->opts.rounds, sizeof(*cell->s[k]));
		if (!cell->s[k])
			return xn_fail(ENOMEM, "out of memory");
		c->all += c->b->opts.rounds;
	}
	return 0;
}

/* One for each number of queues; round trips use one. */
static int make_group(struct cast *c, enum xn_dir dir, uint32_t bytes, uint64_t pace_pps)
{
	const struct xn_opts *o = &c->b->opts;
	const struct xn_cell *first = &c->b->cells[c->b->n_cells];
	const unsigned n = dir == XN_DIR_RTT ? 1 : o->n_counts;
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		err = make_cell(c, dir, bytes, pace_pps, o->count[i]);
		c->b->cells[c->b->n_cells - 1].first = first;
	}
	return err;
}

static int make_cells(struct cast *c)
{
	struct xn_bench *b = c->b;
	const struct xn_opts *o = &b->opts;
	const bool alone = o->ifname && !o->peer;

	b->cells = calloc(XN_DIR_COUNT * o->n_sizes * o->n_paces * o->n_counts, sizeof(*b->cells));
	if (!b->cells)
		return xn_fail(ENOMEM, "out of memory");
	for (unsigned d = 0; d < XN_DIR_COUNT; d++)
		for (unsigned i = 0; i < o->n_sizes * o->n_paces && o->dir[d]; i++) {
			int err;

			/* Whatever arrives, of whatever length: once is enough. */
			if (alone && d == XN_DIR_RX && i)
				break;
			/* A round trip has its own pace. */
			if (d == XN_DIR_RTT && i % o->n_paces)
				continue;
			err = make_group(c, d, alone && d == XN_DIR_RX ? 0 :
						       o->size[i / o->n_paces],
					 d == XN_DIR_RTT ? 0 : o->pace_pps[i % o->n_paces]);
			if (err)
				return err;
		}
	return 0;
}

static int make_paths(struct cast *c)
{
	const struct xn_opts *o = &c->b->opts;
	int err = 0;

	for (unsigned i = 0; i < o->n_counts && c->b->n_cells && !o->ifname; i++)
		for (unsigned k = 0; k < XN_KIND_COUNT && !err; k++) {
			if (!wanted(c, k))
				continue;
			err = xn_path_create(&c->path[i][k], k, o, o->count[i], NULL);
			if (!err)
				note_place(c, c->path[i][k]);
		}
	return err;
}

static int check_cpus(const struct xn_opts *o)
{
	const long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (!o->peer || (long)o->queues <= cpus)
		return 0;
	return xn_fail(EINVAL, "--queues %u with --peer: needs as many processors, this machine "
		       "has %ld", o->queues, cpus);
}

int xn_bench_run(struct xn_bench *b)
{
	struct cast c = { .b = b, .tty = isatty(STDERR_FILENO) };
	const uint64_t t0 = xn_now_ns();
	int err = check_cpus(&b->opts);

	b->place.gen_cpu = xn_gen_cpu(0);
	b->place.near_cpu = xn_near_cpu(0);
	if (!err)
		err = make_cells(&c);
	if (!err && b->opts.ifname && b->opts.peer)
		err = xn_far_create(&c.far, &b->opts, b->opts.queues);
	if (!err)
		err = make_paths(&c);
	for (unsigned i = 0, n; i < b->n_cells && !err && !xn_stop; i += n) {
		for (n = 1; i + n < b->n_cells && b->cells[i + n].first == &b->cells[i];)
			n++;
		err = run_cells(&c, &b->cells[i], n);
	}
	if (c.tty)
		fputs("\r\033[K", stderr);
	for (unsigned i = 0; i < XN_COUNTS_MAX; i++)
		for (unsigned k = 0; k < XN_KIND_COUNT; k++)
			xn_path_destroy(c.path[i][k]);
	xn_far_destroy(c.far);
	b->partial = xn_stop;
	b->seconds = (double)(xn_now_ns() - t0) / 1e9;
	return err;
}

void xn_bench_free(struct xn_bench *b)
{
	for (unsigned i = 0; i < b->n_cells; i++)
		for (unsigned k = 0; k < XN_KIND_COUNT; k++)
			free(b->cells[i].s[k]);
	free(b->cells);
	b->cells = NULL;
	b->n_cells = 0;
}
