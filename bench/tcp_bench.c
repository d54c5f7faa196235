/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --dir tcp-tx, tcp-rx: one TCP connection between a guest and this kernel, beside the raw AF_XDP
 * loop that sends frames of the same length.
 *
 *	tcp-tx	tso    packets of up to 64 KiB, which leave as segments (or whole, where the MTU allows it)
 *		csum   a packet a segment, with the checksum left to the device
 *		raw    frames as long as full segments, without TCP, to nobody who answers
 *	tcp-rx	joined what this kernel's TCP sends, to a guest that takes segments put together
 *		       (GUEST_TSO4)
 *		single the same to one that does not
 *
 * All are alive at once, each in a laboratory of its own; in each round they have a turn one right
 * after the other. A connection lives for the whole run: between its turns all that was sent is
 * acknowledged, so no timer of the kernel's runs.
 *
 * The guest and its engine are on one processor, and in tcp-tx the kernel's receiving TCP is
 * there too, up to the socket (it runs inside of the sender's system call); whoever reads the
 * socket, or writes to it, is on another. So tcp-tx tells what a guest's stream gets on one
 * processor with all that belongs to it; what the engine takes of it is engine ns/seg, and
 * --offload measures the same packets without a TCP behind them.
 */
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/types.h"
#include "bench/path.h"
#include "bench/tcp_side.h"

#define WARM_NS    30000000ull
#define DRAIN_NS   5000000000ull  /* what is lost at last waits for the kernel's timer, some times */
#define TS_BYTES   12u          /* of TCP options in each segment */
#define HEADS      (XN_TCP_HEAD - 14u)

enum { TSO, CSUM, JOINED, SINGLE, RAW, WAYS };
static const char *const way_names[WAYS] = { "tso", "csum", "joined", "single", "raw" };

#define F_GUEST_TSO4 (1ull << 7)   /* VIRTIO 1.3, 5.1.3 */

struct figures {
	double v[XN_TCP_FIGURES][XN_ROUNDS_MAX];
};

struct cell {
	bool rx;
	unsigned mtu;
	bool wanted[WAYS];
	struct xn_tcp_side side[WAYS];    /* but RAW */
	bool open[WAYS];
	struct xn_path *raw;
	struct figures *f[WAYS];
	uint64_t bad[WAYS];
};

/* ---- what is counted, at both ends of a window ---- */

struct mark {
	uint64_t ns, engine, sending;     /* ticks */
	uint64_t bytes, packets, frames, again;
	uint64_t segments, lent, chained, mixed, gathered;
};

/* Ticks inside of xn_queue_run, in turns that moved something, and of these in sendto(). */
struct spent {
	uint64_t engine, sending;
};

static void set_mark(const struct xn_tcp_side *s, bool rx, const struct spent *t, struct mark *m)
{
	const struct xn_tcp_counts *n = &s->tcp.n;

	*m = (struct mark){
		.ns = xn_now_ns(), .engine = t->engine, .sending = t->sending,
		.bytes = rx ? n->received : n->acked, .packets = n->packets, .again = n->again,
		.frames = n->frames,
		.segments = xn_tcp_side_stat(s, "tx_packets") - xn_tcp_side_stat(s, "tx_segmented") +
			    xn_tcp_side_stat(s, "tx_segments"),
		.lent = xn_tcp_side_stat(s, "tx_lent"), .chained = xn_tcp_side_stat(s, "tx_chained"),
		.mixed = xn_tcp_side_stat(s, "tx_mixed"), .gathered = xn_tcp_side_stat(s, "tx_gathered"),
	};
}

static double share(uint64_t part, uint64_t all)
{
	return all ? (double)part / (double)all : NAN;
}

static void take_figures(const struct cell *c, const struct mark *a, const struct mark *b,
			 double *v)
{
	const double secs = (double)(b->ns - a->ns) / 1e9, bytes = (double)(b->bytes - a->bytes);
	const uint64_t ways = b->lent - a->lent + b->chained - a->chained + b->mixed - a->mixed +
			      b->gathered - a->gathered;
	const uint64_t engine = b->engine - a->engine, sending = b->sending - a->sending;
	/* What arrives is counted by its bytes: frames may have been put together. */
	const double segs = c->rx ? bytes / (c->mtu - HEADS) : (double)(b->segments - a->segments);

	v[XN_TCP_GBPS] = bytes * 8 / secs / 1e9;
	v[XN_TCP_SEGS] = segs / secs;
	v[XN_TCP_CPU_NS] = xn_ticks_ns(engine) / segs;
	v[XN_TCP_ENGINE_NS] = xn_ticks_ns(engine - XN_MIN(engine, sending)) / segs;
	v[XN_TCP_MERGED] = c->rx ? segs / (double)(b->frames - a->frames) : NAN;
	if (c->rx)
		return;
	v[XN_TCP_CHAINS] = (double)(b->packets - a->packets) / (bytes / 65536);
	v[XN_TCP_AGAIN] = share(b->again - a->again, b->bytes - a->bytes);
	v[XN_TCP_LENT] = share(b->lent - a->lent, ways);
	v[XN_TCP_CHAINED] = share(b->chained - a->chained, ways);
	v[XN_TCP_MIXED] = share(b->mixed - a->mixed, ways);
	v[XN_TCP_GATHERED] = share(b->gathered - a->gathered, ways);
}

/* ---- a turn ---- */

static void run_until(struct xn_tcp_side *s, uint64_t end_ns, struct spent *spent)
{
	while (xn_now_ns() < end_ns) {
		uint64_t t, sending;

		xn_tcp_turn(&s->tcp);
		sending = xn_send_ticks();
		t = xn_ticks();
		if (!xn_queue_run(s->q, XN_TURN))
			continue;
		spent->engine += xn_ticks() - t;
		spent->sending += xn_send_ticks() - sending;
	}
}

/* Until all that was sent has arrived and is acknowledged. */
static int drain(struct xn_tcp_side *s, bool rx)
{
	const uint64_t end = xn_now_ns() + DRAIN_NS;
	struct xn_tcp_peer_counts c;

	s->tcp.limit = s->tcp.top;
	do {
		xn_tcp_peer_read(s->peer, &c);
		xn_tcp_peer_send(s->peer, c.sent, 0);
		xn_tcp_side_turn(s);
		if (rx ? s->tcp.n.received >= c.sent : s->tcp.una == s->tcp.top)
			return 0;
	} while (xn_now_ns() < end && s->tcp.state == XN_TCP_OPEN);
	return xn_fail(EIO, "TCP: %s does not get on: state %u, %llu of %llu bytes",
		       rx ? "this kernel" : "the guest", s->tcp.state,
		       (unsigned long long)(rx ? s->tcp.n.received : s->tcp.una),
		       (unsigned long long)(rx ? c.sent : s->tcp.top));
}

static int run_tcp(struct cell *c, int way, double secs, double *v)
{
	struct xn_tcp_side *s = &c->side[way];
	struct xn_tcp_peer_counts counts;
	struct spent spent = { 0 };
	struct mark a, b;
	int err;

	if (c->rx)
		xn_tcp_peer_send(s->peer, UINT64_MAX, 0);
	else
		s->tcp.limit = UINT64_MAX;
	run_until(s, xn_now_ns() + WARM_NS, &spent);
	set_mark(s, c->rx, &spent, &a);
	run_until(s, xn_now_ns() + (uint64_t)(secs * 1e9), &spent);
	set_mark(s, c->rx, &spent, &b);
	err = drain(s, c->rx);
	xn_tcp_peer_read(s->peer, &counts);
	c->bad[way] = counts.bad + s->tcp.n.bad;
	if (!err)
		take_figures(c, &a, &b, v);
	return err;
}

static void run_raw(struct cell *c, double secs, double *v)
{
	struct xn_path *p = c->raw;
	struct xn_near w = { .path = p, .bytes = c->mtu + 14 };
	uint64_t began, end = xn_now_ns() + WARM_NS;

	while (xn_now_ns() < end)
		p->ops->tx(&w, XN_TURN);
	w.packets = w.own_ticks = 0;
	began = xn_now_ns();
	end = began + (uint64_t)(secs * 1e9);
	while (xn_now_ns() < end)
		p->ops->tx(&w, XN_TURN);
	v[XN_TCP_SEGS] = (double)w.packets * 1e9 / (double)(xn_now_ns() - began);
	v[XN_TCP_CPU_NS] = w.packets ? xn_ticks_ns(w.own_ticks) / (double)w.packets : NAN;
	for (end = xn_now_ns() + DRAIN_NS; p->ops->tx_pending(&w) && xn_now_ns() < end;)
		p->ops->tx(&w, 0);
}

/* ---- a cell ---- */

static int run_round(struct cell *c, const struct xn_opts *o, unsigned round)
{
	double v[WAYS][XN_TCP_FIGURES];
	int err = 0;

	for (int i = 0; i < WAYS && !err; i++) {
		const int way = (i + (int)round) % WAYS;

		for (unsigned k = 0; k < XN_TCP_FIGURES; k++)
			v[way][k] = NAN;
		if (!c->wanted[way] || xn_stop)
			continue;
		if (way == RAW)
			run_raw(c, o->secs, v[way]);
		else
			err = run_tcp(c, way, o->secs, v[way]);
	}
	for (int way = 0; way < WAYS && !err; way++) {
		v[way][XN_TCP_RATIO] = v[way][XN_TCP_SEGS] / v[RAW][XN_TCP_SEGS];
		for (unsigned k = 0; k < XN_TCP_FIGURES && c->wanted[way]; k++)
			c->f[way]->v[k][round] = v[way][k];
	}
	return err;
}

static int open_cell(struct cell *c, const struct xn_opts *o)
{
	int err = 0;

	for (int way = 0; way < WAYS && !err; way++) {
		const struct xn_tcp_side_cfg cfg = {
			.mtu = c->mtu, .tso = way == TSO, .csum = true, .piece_bytes = o->piece_bytes,
			.packed = o->packed, .peer_cpu = xn_gen_cpu(0), .huge = o->huge,
			.rx_buf_bytes = o->buf_bytes, .refuse = way == SINGLE ? F_GUEST_TSO4 : 0,
		};

		if (!c->wanted[way])
			continue;
		c->f[way] = calloc(1, sizeof(*c->f[way]));
		if (!c->f[way])
			return xn_fail(ENOMEM, "out of memory");
		c->open[way] = way != RAW;
		if (way != RAW)
			err = xn_tcp_side_open(&c->side[way], &cfg);
		else
			err = xn_path_create(&c->raw, XN_KIND_RAW, o, 1, NULL);
		if (!err && way == RAW)
			err = xn_path_set_sink(c->raw, XN_SINK_STACK);
	}
	return err;
}

static void close_cell(struct cell *c)
{
	for (int way = 0; way < WAYS; way++) {
		if (c->open[way])
			xn_tcp_side_close(&c->side[way]);
		free(c->f[way]);
	}
	xn_path_destroy(c->raw);
}

static void keep(struct xn_bench *b, const struct cell *c, unsigned rounds)
{
	for (int way = 0; way < WAYS && rounds; way++) {
		struct xn_tcp_line *l = &b->tcp[b->n_tcp];

		if (!c->wanted[way])
			continue;
		b->n_tcp++;
		*l = (struct xn_tcp_line){ .dir = c->rx ? "tcp-rx" : "tcp-tx", .way = way_names[way],
					   .mtu = c->mtu, .rounds = rounds, .bad = c->bad[way] };
		for (unsigned k = 0; k < XN_TCP_FIGURES; k++)
			l->v[k] = xn_median(c->f[way]->v[k], rounds);
	}
}

static int run_cell(struct xn_bench *b, bool rx, unsigned mtu)
{
	struct cell *c = calloc(1, sizeof(*c));
	unsigned round = 0;
	int err;

	if (!c)
		return xn_fail(ENOMEM, "out of memory");
	*c = (struct cell){ .rx = rx, .mtu = mtu,
			    .wanted = { [TSO] = !rx, [CSUM] = !rx, [JOINED] = rx, [SINGLE] = rx,
					[RAW] = !rx } };
	err = open_cell(c, &b->opts);
	for (; round < b->opts.rounds && !err && !xn_stop; round++)
		err = run_round(c, &b->opts, round);
	if (!err)
		keep(b, c, xn_stop ? round - (round > 0) : round);
	close_cell(c);
	free(c);
	return err;
}

int xn_tcp_bench(struct xn_bench *b)
{
	cpu_set_t before, near;
	int err = 0;

	CPU_ZERO(&near);
	CPU_SET(xn_near_cpu(0), &near);
	sched_getaffinity(0, sizeof(before), &before);
	sched_setaffinity(0, sizeof(near), &near);
	for (unsigned d = 0; d < 2 && !err && !xn_stop; d++)
		if (b->opts.tcp[d])
			err = run_cell(b, d, b->opts.mtu);
	sched_setaffinity(0, sizeof(before), &before);
	return err;
}
