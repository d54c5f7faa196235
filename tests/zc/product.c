/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The product on a real driver: a guest's device on port xdp:eth0, traffic both ways with the
 * peer, every byte compared. Runs in the machine of tests/zc/run.
 *
 *	product [-m MODE] [-s SIZE[/MTU],...] [-r ROUNDS] [-w SECONDS] [-c FRAMES]
 *	        PAGES FRAMES
 *
 *	PAGES    4k or 2M: what the guest's RAM is made of
 *	FRAMES   each way, in all sizes together
 *	-m       mode of the port (zero-copy)
 *	-s       buffers of the guest, and the MTU if it is not 1500 (1536,2048,4096,1536/1382)
 *	-r, -w   rounds of stop and start in traffic, and how long RAM has to stay as it is
 *	-c       frames of each measurement of what a packet costs; 0: none
 *
 * Never more frames are on their way than there are buffers, so none has a reason to be
 * lost: what does not arrive has to be counted somewhere, by engine, kernel or NIC.
 *
 * Lines that begin with "@ " are for the table of tests/zc/run. Status 1 if anything is not
 * as it should be.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/types.h"
#include "tests/zc/guest.h"
#include "tests/zc/peer.h"
#include "xsknet.h"

#define WINDOW       128u         /* frames on their way; rings have 256 descriptors, */
#define WINDOW_IGB   48u          /* ... and the RX ring has 64 there, and what is more is dropped */
#define BATCH        64u
#define QUIET_US     3000000u     /* so long without any progress: what is on its way is lost. (igb
				   * looks every 2 s for interrupts that it has missed.) */
#define STUCK_US     300000000u   /* ... and so long: for ever */
#define FEATURES     (1ull << 32 | 1ull << 15)   /* VERSION_1, MRG_RXBUF */
#define STATS        256u
#define SHAPES       8u
#define STOP_FRAMES  4000u        /* that move before each stop */
#define STOP_US      300000000u   /* and how long they may take */
#define SLOW_FRAMES  6000u
#define SLOW_NAP_US  20000u
#define PROBE_FRAMES 2000u        /* after which the port has looked into the driver */
#define LOST_RUNS    8u
#define CPU_ROUNDS   3u           /* of each mode; */
#define CPU_MORE     15u          /* so many, as long as zero-copy mode seems to cost more ... */
#define MOST         0.9          /* ... where so much is lent */
#define USUAL_SIZE   1536u        /* of the buffers of Linux guests */
#define USUAL_MTU    1500u
#define FOREVER      (1ull << 62)

/* Of the guest's buffers, and at what MTU. */
struct shape {
	uint32_t size, mtu;
	char name[16];            /* in the table: "1536", "1536/1382" */
};

struct rig {
	const char *mode;
	uint64_t frames;
	unsigned rounds, wait_s;
	uint64_t cpu_frames;

	uint64_t window;
	struct zc_wire w;
	struct zg g;
	struct zp p;
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;
	struct xn_queue *q;
	uint64_t rx_off, tx_off;  /* written off: lost */
	unsigned restarts;        /* of the queue by the library: a driver that misbehaved */
	bool ok;
};

static void must(int err)
{
	if (err)
		zc_die("FAILED: %s", xn_last_error());
}

/* ---- the device ---- */

static void start(struct rig *r)
{
	for (unsigned i = 0; i < 2; i++) {
		struct xn_vring v = drv_vring(i);

		v.base = xn_dev_vring_base(r->dev, i);
		must(xn_dev_set_vring(r->dev, i, &v));
	}
	must(xn_dev_start(r->dev));
	r->q = xn_dev_queue(r->dev, 0);
}

static void on_event(void *arg, const struct xn_event *e)
{
	struct rig *r = arg;

	if (e->kind != XN_EVENT_QUEUE_RESTARTED && e->kind != XN_EVENT_QUEUE_STOPPED &&
	    e->kind != XN_EVENT_QUEUE_BROKEN)
		return;
	r->restarts++;
	r->ok = false;
	printf("FAILED: queue %s: %s\n", e->kind == XN_EVENT_QUEUE_RESTARTED ? "restarted" : "stopped",
	       e->name ? e->name : "");
}

static void up(struct rig *r, const char *mode, uint32_t size)
{
	const struct xn_dev_opts opts = { .sz = sizeof(opts), .pairs = 1, .event = on_event, .arg = r };
	char spec[64];

	zg_reset(&r->g, size);
	snprintf(spec, sizeof(spec), "xdp:" ZC_DEV ",mode=%s", mode);
	must(xn_port_open(&r->port, spec, NULL));
	must(xn_dev_create(&r->dev, r->mem, r->port, &opts));
	must(xn_dev_set_features(r->dev, FEATURES));
	start(r);
	zc_wire_settle(&r->w);
}

static void down(struct rig *r)
{
	xn_dev_destroy(r->dev);
	xn_port_close(r->port);
}

/* ---- traffic ---- */

/* What came to the peer, as it was sent or not. */
static uint64_t at_peer(struct rig *r)
{
	return xn_load_acquire64(&r->p.got) + xn_load_once64(&r->p.wrong) + xn_load_once64(&r->p.twice);
}

static void rest(struct rig *r)
{
	struct pollfd f[4];
	unsigned n;

	if (!xn_queue_arm(r->q))
		return;
	n = xn_queue_wait_fds(r->q, f, 4);
	poll(f, n, 1);
}

static uint64_t rx_away(const struct rig *r)
{
	int64_t n = (int64_t)(xn_load_acquire64(&r->p.sent) - r->g.got);

	return n > 0 ? (uint64_t)n : 0;   /* less, if some come twice */
}

static uint64_t tx_away(struct rig *r)
{
	int64_t n = (int64_t)(r->g.sent - at_peer(r));

	return n > 0 ? (uint64_t)n : 0;
}

/* One turn of guest and engine; how much was done. */
static unsigned turn(struct rig *r, uint64_t tx_goal)
{
	struct zg *g = &r->g;
	unsigned n = zg_receive(g) + zg_reap(g);
	uint64_t away = tx_away(r);

	/* What was written off may come late. */
	r->rx_off = XN_MIN(r->rx_off, rx_away(r));
	r->tx_off = XN_MIN(r->tx_off, away);
	away -= r->tx_off;
	zg_post(g);
	if (g->sent < tx_goal && away < r->window)
		n += zg_send(g, (unsigned)XN_MIN(XN_MIN(tx_goal - g->sent, r->window - away), BATCH));
	return n + xn_queue_run(r->q, BATCH);
}

static void stuck(struct rig *r)
{
	zc_die("FAILED: nothing moves: of %llu frames %llu have come, the peer may send %llu; of %llu sent "
	       "%llu are at the peer, and %llu buffers are back",
	       (unsigned long long)xn_load_acquire64(&r->p.sent), (unsigned long long)r->g.got,
	       (unsigned long long)r->p.credit, (unsigned long long)r->g.sent, (unsigned long long)at_peer(r),
	       (unsigned long long)r->g.done);
}

/* So many more frames each way, until all are there or written off. */
static void move(struct rig *r, uint64_t rx, uint64_t tx)
{
	const uint64_t rx_goal = r->p.sent + rx, tx_goal = r->g.sent + tx;
	uint64_t idle_from = 0, idle;

	for (;;) {
		unsigned n = turn(r, tx_goal);

		xn_store_release64(&r->p.credit, XN_MIN(rx_goal, r->g.got + r->rx_off + r->window));
		if ((int64_t)(rx_goal - r->g.got - r->rx_off) <= 0 &&
		    (int64_t)(tx_goal - at_peer(r) - r->tx_off) <= 0 && r->g.done == r->g.sent)
			return;
		if (n) {
			idle_from = 0;
			continue;
		}
		rest(r);
		if (!idle_from)
			idle_from = zc_now_us();
		idle = zc_now_us() - idle_from;
		if (idle > STUCK_US)
			stuck(r);
		if (idle > QUIET_US) {
			r->rx_off = rx_away(r);
			r->tx_off = tx_away(r);
		}
	}
}

/* ---- what was counted ---- */

struct tally {
	struct xn_stat s[STATS];
	unsigned n;
	struct zc_nic here, peer;
	uint64_t sent, got, good, tx_sent, tx_got, p_wrong, p_twice, unused;
	struct zg_faults bad;
};

static void take(struct rig *r, struct tally *t)
{
	t->n = xn_dev_stats(r->dev, XN_ALL_PAIRS, t->s, STATS);
	if (t->n > STATS)
		zc_die("%u counters", t->n);
	zc_nic(&r->w, false, &t->here);
	zc_nic(&r->w, true, &t->peer);
	t->sent = xn_load_acquire64(&r->p.sent);
	t->bad = r->g.bad;
	t->got = r->g.got;
	t->good = r->g.got - r->g.bad.wrong - r->g.bad.twice;
	t->tx_sent = r->g.sent;
	t->tx_got = xn_load_acquire64(&r->p.got);
	t->p_wrong = r->p.wrong;
	t->p_twice = r->p.twice;
	t->unused = r->g.unused;
}

/* b - a */
static void subtract(struct tally *b, const struct tally *a)
{
	for (unsigned i = 0; i < b->n; i++)
		b->s[i].value -= a->s[i].value;
	b->here.rx_drops -= a->here.rx_drops;
	b->here.tx_drops -= a->here.tx_drops;
	b->peer.rx_drops -= a->peer.rx_drops;
	b->peer.tx_drops -= a->peer.tx_drops;
	b->sent -= a->sent;
	b->got -= a->got;
	b->good -= a->good;
	b->tx_sent -= a->tx_sent;
	b->tx_got -= a->tx_got;
	b->p_wrong -= a->p_wrong;
	b->p_twice -= a->p_twice;
	b->unused -= a->unused;
	b->bad.wrong -= a->bad.wrong;
	b->bad.twice -= a->bad.twice;
	b->bad.alien -= a->bad.alien;
	b->bad.late -= a->bad.late;
	b->bad.written -= a->bad.written;
	b->bad.stray -= a->bad.stray;
}

static uint64_t counter(const struct tally *t, const char *name)
{
	for (unsigned i = 0; i < t->n; i++)
		if (!strcmp(t->s[i].name, name))
			return t->s[i].value;
	zc_die("no counter has the name %s", name);
}

static uint64_t all_of(const struct tally *t, const char *prefix)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->n; i++)
		if (!strncmp(t->s[i].name, prefix, strlen(prefix)))
			sum += t->s[i].value;
	return sum;
}

/* Frames for the guest that somebody says he has dropped. */
static uint64_t rx_named(const struct tally *t)
{
	return all_of(t, "rx_drop_") + counter(t, "kernel_rx_dropped") + counter(t, "kernel_rx_ring_full") +
	       counter(t, "steer_too_long") + counter(t, "steer_no_socket") + t->here.rx_drops +
	       t->peer.tx_drops;
}

static uint64_t tx_named(const struct tally *t)
{
	return all_of(t, "tx_drop_") + counter(t, "tx_kick_drops") + t->here.tx_drops + t->peer.rx_drops;
}

static double part(uint64_t a, uint64_t all)
{
	return all ? (double)a / (double)all : 0;
}

static void say_reasons(const struct tally *t, const char *name, const char *way)
{
	char prefix[16], line[512] = "";
	size_t n = 0;

	snprintf(prefix, sizeof(prefix), "%s_bounce_", way);
	for (unsigned i = 0; i < t->n && n < sizeof(line) - 1; i++)
		if (t->s[i].value && !strncmp(t->s[i].name, prefix, strlen(prefix)))
			n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s %llu", n ? ", " : "",
					      t->s[i].name + strlen(prefix),
					      (unsigned long long)t->s[i].value);
	printf("@ %s.%s.reasons %s\n", name, way, n ? line : "-");
	if (n)
		printf("        not lent: %s\n", line);
}

/* Of frames: how many went, or came, without a copy. */
static double share_of(const struct tally *t, bool tx)
{
	uint64_t lent = tx ? counter(t, "tx_lent") + counter(t, "tx_chained") : counter(t, "rx_lent");

	return part(lent, tx ? counter(t, "tx_packets") : lent + counter(t, "rx_bounced"));
}

/* Which numbers are missing, the first few runs of them. */
static void say_lost(const uint8_t *seen, uint64_t from, uint64_t to)
{
	printf("        lost:");
	for (unsigned runs = 0; from < to && runs < LOST_RUNS;) {
		uint64_t first = from;

		while (from < to && !(seen[from / 8] >> (from & 7) & 1))
			from++;
		if (from > first) {
			printf(" %llu-%llu", (unsigned long long)first, (unsigned long long)from - 1);
			runs++;
		}
		from++;
	}
	printf(" of those before %llu\n", (unsigned long long)to);
}

/* A direction of a size: how it went, and whether that is well. */
static void judge(struct rig *r, const struct tally *t, const char *name, bool tx, double share)
{
	const char *way = tx ? "tx" : "rx";
	uint64_t sent = tx ? t->tx_sent : t->sent, good = tx ? t->tx_got : t->good;
	uint64_t named = tx ? tx_named(t) : rx_named(t);
	uint64_t wrong = tx ? t->p_wrong : t->bad.wrong, twice = tx ? t->p_twice : t->bad.twice;
	bool ok = !wrong && !twice && sent - good <= named && (!tx || !counter(t, "kernel_tx_invalid"));

	printf("%s %s  sent %llu got %llu lost %lld named %llu twice %llu wrong %llu share %.4f%s\n", way, name,
	       (unsigned long long)sent, (unsigned long long)good, (long long)(sent - good),
	       (unsigned long long)named, (unsigned long long)twice, (unsigned long long)wrong, share,
	       ok ? "" : " FAILED");
	printf("@ %s.%s.share %.4f\n@ %s.%s.lost %lld\n", name, way, share, name, way, (long long)(sent - good));
	say_reasons(t, name, way);
	if (sent != good)
		say_lost(tx ? r->p.seen : r->g.seen, (tx ? r->g.sent : r->p.sent) - sent,
			 tx ? r->g.sent : r->p.sent);
	r->ok = r->ok && ok;
}

static void judge_memory(struct rig *r, const struct tally *t, const char *name)
{
	const struct zg_faults *f = &t->bad;
	bool ok = zg_well(f);

	printf("ram %s alien %llu, buffers changed: free %llu transmit %llu; other bytes %llu; behind a frame "
	       "at most %u; given back unused %llu%s\n", name, (unsigned long long)f->alien,
	       (unsigned long long)f->late, (unsigned long long)f->written, (unsigned long long)f->stray,
	       r->g.behind, (unsigned long long)t->unused, ok ? "" : " FAILED");
	r->ok = r->ok && ok;
}

/* What a program without faults has no reason to count. */
static void say_odd(const struct tally *t)
{
	static const char *const usual[] = {
		"rx_packets", "rx_bytes", "rx_lent", "rx_bounced", "rx_buf_lent", "tx_packets", "tx_bytes",
		"tx_lent", "tx_chained", "tx_gathered", "tx_bounced", "tx_kicks", "irqs_sent", "irqs_suppressed",
		"steer_to_guest",
	};

	for (unsigned i = 0; i < t->n; i++) {
		bool odd = t->s[i].value && !strstr(t->s[i].name, "x_bounce_");

		for (unsigned k = 0; k < XN_ARRAY_SIZE(usual); k++)
			odd = odd && strcmp(t->s[i].name, usual[k]);
		if (odd)
			printf("        %s %llu\n", t->s[i].name, (unsigned long long)t->s[i].value);
	}
}

/* The share of what came behind the port's probe: while that lasts, all is bounced. */
static double share_behind(const struct tally *all, const struct tally *probe, bool tx)
{
	static struct tally rest;

	rest = *all;
	subtract(&rest, probe);
	return share_of(&rest, tx);
}

static void set_mtu(struct rig *r, uint32_t mtu)
{
	zc_set_mtu(ZC_DEV, (int)mtu);
	r->w.longest = mtu + ZC_FRAME_LONG - USUAL_MTU;
}

static double traffic(struct rig *r, const struct shape *s, uint64_t frames)
{
	static struct tally before, steady, after;
	struct xn_port_mode mode = { .sz = sizeof(mode) };
	struct xn_port_info info;
	uint64_t from;
	double rx;

	if (s->mtu != USUAL_MTU)
		set_mtu(r, s->mtu);
	up(r, r->mode, s->size);
	xn_port_get_info(r->port, &info);
	must(xn_port_get_mode(r->port, &mode));
	take(r, &before);
	r->g.behind = 0;
	from = zc_now_us();
	move(r, PROBE_FRAMES, PROBE_FRAMES);
	take(r, &steady);
	move(r, frames, frames);
	from = zc_now_us() - from;
	zg_scan(&r->g);
	take(r, &after);
	subtract(&steady, &before);
	subtract(&after, &before);
	printf("== %s: mode %s, %u of 1000 pages follow, buffers of %u bytes and more; %llu frames each way in "
	       "%.1f s\n", s->name, info.mode, mode.pages_following, mode.min_buf_bytes,
	       (unsigned long long)frames, (double)from / 1e6);
	if (strcmp(r->mode, "auto") && strcmp(info.mode, r->mode)) {
		printf("FAILED: mode %s was asked for\n", r->mode);
		r->ok = false;
	}
	rx = share_behind(&after, &steady, false);
	judge(r, &after, s->name, false, rx);
	judge(r, &after, s->name, true, share_behind(&after, &steady, true));
	judge_memory(r, &after, s->name);
	say_odd(&after);
	fflush(stdout);
	down(r);
	if (s->mtu != USUAL_MTU)
		set_mtu(r, USUAL_MTU);
	printf("@ %s.follow %u\n", s->name, mode.pages_following);
	return rx;
}

/* ---- stops in traffic ---- */

/* nap_us: the guest is slow, and looks at its rings only so often. */
static void flood(struct rig *r, uint64_t frames, unsigned nap_us)
{
	uint64_t want = r->g.got + frames, until = zc_now_us() + STOP_US;

	xn_store_release64(&r->p.credit, FOREVER);
	while (r->g.got < want) {
		unsigned n = turn(r, FOREVER);

		if (nap_us)
			usleep(nap_us);
		else if (!n)
			rest(r);
		/* Who floods, loses. */
		if (r->g.sent - at_peer(r) - r->tx_off >= r->window && r->g.done == r->g.sent)
			r->tx_off = r->g.sent - at_peer(r);
		if (zc_now_us() > until)
			zc_die("FAILED: %llu of %llu frames in %u s", (unsigned long long)(r->g.got + frames - want),
			       (unsigned long long)frames, STOP_US / 1000000);
	}
}

/* The peer stops sending, and what was lost meanwhile is forgotten. */
static void end_flood(struct rig *r)
{
	xn_store_release64(&r->p.credit, 0);
	usleep(QUIET_US);
	r->rx_off = xn_load_acquire64(&r->p.sent) - r->g.got;
	r->tx_off = r->g.sent - at_peer(r);
}

static uint64_t changed_bytes(const uint8_t *a, const uint8_t *b, uint64_t n)
{
	uint64_t changed = 0;

	if (!memcmp(a, b, n))
		return 0;
	for (uint64_t i = 0; i < n; i++)
		changed += a[i] != b[i];
	return changed;
}

static void judge_flood(struct rig *r, const struct zg_faults *before, const char *when)
{
	const struct zg_faults *f = &r->g.bad;

	if (!memcmp(before, f, sizeof(*f)))
		return;
	printf("%s: wrong %llu twice %llu alien %llu late %llu written %llu stray %llu FAILED\n", when,
	       (unsigned long long)(f->wrong - before->wrong), (unsigned long long)(f->twice - before->twice),
	       (unsigned long long)(f->alien - before->alien), (unsigned long long)(f->late - before->late),
	       (unsigned long long)(f->written - before->written),
	       (unsigned long long)(f->stray - before->stray));
	r->ok = false;
}

/* A flood for a guest that posts its buffers late, so that the NIC has none again and again. */
static void slow_guest(struct rig *r, uint32_t size)
{
	struct zg_faults before = r->g.bad;
	uint64_t from = r->g.got;

	up(r, r->mode, size);
	flood(r, SLOW_FRAMES, SLOW_NAP_US);
	end_flood(r);
	zg_scan(&r->g);
	printf("slow guest: %llu frames, which it looked for every %u ms\n",
	       (unsigned long long)(r->g.got - from), SLOW_NAP_US / 1000);
	judge_flood(r, &before, "slow guest");
	down(r);
}

static void stops(struct rig *r, uint32_t size)
{
	uint8_t *copy = malloc(r->g.d.bytes);
	struct zg_faults before = r->g.bad;
	uint64_t worst = 0;

	if (!copy)
		zc_die("no memory");
	up(r, r->mode, size);
	for (unsigned i = 0; i < r->rounds; i++) {
		uint64_t from, took, sent, changed;

		flood(r, STOP_FRAMES, 0);
		from = zc_now_us();
		must(xn_dev_stop(r->dev));
		took = zc_now_us() - from;
		worst = XN_MAX(worst, took);
		memcpy(copy, r->g.d.ram, r->g.d.bytes);
		sent = xn_load_acquire64(&r->p.sent);
		sleep(r->wait_s);
		sent = xn_load_acquire64(&r->p.sent) - sent;
		changed = changed_bytes(copy, r->g.d.ram, r->g.d.bytes);
		printf("stop %u: %.1f ms, then %llu bytes of RAM changed in %u s, while the peer sent %llu frames%s\n", i,
		       (double)took / 1e3, (unsigned long long)changed, r->wait_s, (unsigned long long)sent,
		       changed || !sent ? " FAILED" : "");
		r->ok = r->ok && !changed && sent;
		fflush(stdout);
		start(r);
		zc_wire_settle(&r->w);
	}
	flood(r, STOP_FRAMES, 0);
	must(xn_dev_stop(r->dev));
	zg_receive(&r->g);
	zg_reap(&r->g);
	zg_scan(&r->g);
	end_flood(r);
	printf("@ stop %.0f\n", (double)worst / 1e3);
	judge_flood(r, &before, "in stops");
	down(r);
	free(copy);
}

/* ---- what a packet costs ---- */

/* Processor time that this machine has used so far. Only who runs it knows: for itself it runs
 * also while others have the processor. tests/zc/run answers (Machine.watch). */
static double machine_us(void)
{
	FILE *f = fopen("/dev/ttyS1", "re");
	double us;

	printf("?cpu\n");
	fflush(stdout);
	if (!f || fscanf(f, "%lf", &us) != 1)
		zc_die("tests/zc/run does not answer");
	fclose(f);
	return us;
}

static double busy_us(struct rig *r, uint64_t rx, uint64_t tx)
{
	double from = machine_us();

	move(r, rx, tx);
	return machine_us() - from;
}

/* What a packet costs in a mode, in receive and transmit: the least that was measured, as
 * whatever else the machine does only adds to it. */
struct cost {
	double rx, tx;
};

static void cost_once(struct rig *r, const char *mode, uint32_t size, struct cost *least)
{
	double rx, tx;

	up(r, mode, size);
	move(r, PROBE_FRAMES, PROBE_FRAMES);
	rx = busy_us(r, r->cpu_frames, 0) / (double)r->cpu_frames;
	tx = busy_us(r, 0, r->cpu_frames) / (double)r->cpu_frames;
	printf("cpu %4u %-9s rx %6.1f us, tx %6.1f us a packet\n", size, mode, rx, tx);
	fflush(stdout);
	down(r);
	least->rx = XN_MIN(least->rx, rx);
	least->tx = XN_MIN(least->tx, tx);
}

/* more: if zero-copy mode seems to cost more, it is measured again, so often. */
static void costs(struct rig *r, uint32_t size, unsigned more)
{
	struct cost zc = { 1e9, 1e9 }, copy = zc;

	for (unsigned i = 0; i < CPU_ROUNDS || (i < more && (zc.rx >= copy.rx || zc.tx >= copy.tx)); i++) {
		if (i % 2)
			cost_once(r, "copy", size, &copy);
		cost_once(r, r->mode, size, &zc);
		if (i % 2 == 0)
			cost_once(r, "copy", size, &copy);
	}
	printf("cpu %u %s takes of what copy takes (least of each): rx %.2f, tx %.2f\n", size, r->mode,
	       zc.rx / copy.rx, zc.tx / copy.tx);
	printf("@ cpu.%u.rx %.2f\n@ cpu.%u.tx %.2f\n", size, zc.rx / copy.rx, size, zc.tx / copy.tx);
}

/* What mode=auto makes of it, by now. */
static void choose(struct rig *r, uint32_t size)
{
	struct xn_port_mode mode = { .sz = sizeof(mode) };
	struct xn_port_info info;

	up(r, "auto", size);
	xn_port_get_info(r->port, &info);
	must(xn_port_get_mode(r->port, &mode));
	printf("auto: mode %s: %s; %u of 1000 pages follow\n@ auto %s\n@ auto.follow %u\n", info.mode, mode.why,
	       mode.pages_following, info.mode, mode.pages_following);
	down(r);
}

/* ---- all of it ---- */

static void create_mem(struct rig *r)
{
	const struct xn_region region = { .size = r->g.d.bytes, .fd = r->g.d.fd };
	const struct xn_mem_opts opts = { .sz = sizeof(opts), .bounce_frames = 1024 };

	must(xn_mem_create(&r->mem, &region, 1, &opts));
}

static void log_line(void *arg, enum xn_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	printf("        log: %s\n", line);
}

/* SIZE[/MTU],... */
static unsigned parse_shapes(struct shape *out, unsigned max, const char *s)
{
	unsigned n = 0;

	for (int len = 0; n < max && *s; s += len + (s[len] == ',')) {
		struct shape *o = &out[n++];

		*o = (struct shape){ .mtu = USUAL_MTU };
		len = (int)strcspn(s, ",");
		if (sscanf(s, "%u/%u", &o->size, &o->mtu) < 1 || len >= (int)sizeof(o->name))
			zc_die("no sizes: %s", s);
		memcpy(o->name, s, (size_t)len);
	}
	return n;
}

int main(int argc, char **argv)
{
	static struct rig r = { .mode = "zero-copy", .rounds = 3, .wait_s = 5, .cpu_frames = 30000, .ok = true };
	const char *sizes = "1536,2048,4096,1536/1382";
	struct shape shapes[SHAPES];
	uint32_t best = 0;
	double share = -1;
	unsigned n;

	for (int c; (c = getopt(argc, argv, "m:s:r:w:c:")) != -1;) {
		switch (c) {
		case 'm': r.mode = optarg; break;
		case 's': sizes = optarg; break;
		case 'r': r.rounds = (unsigned)atoi(optarg); break;
		case 'w': r.wait_s = (unsigned)atoi(optarg); break;
		case 'c': r.cpu_frames = strtoull(optarg, NULL, 0); break;
		default: optind = argc;
		}
	}
	if (argc - optind != 2)
		zc_die("usage: product [-m MODE] [-s SIZE[/MTU],...] [-r ROUNDS] [-w SECONDS] [-c FRAMES] 4k|2M FRAMES");
	xn_set_log(log_line, NULL, XN_LOG_WARN);
	r.frames = strtoull(argv[optind + 1], NULL, 0);
	zc_wire_open(&r.w);
	r.window = r.w.igb ? WINDOW_IGB : WINDOW;
	zg_map(&r.g, &r.w, !strcmp(argv[optind], "2M"));
	zp_start(&r.p, &r.w);
	create_mem(&r);
	n = parse_shapes(shapes, SHAPES, sizes);
	for (unsigned i = 0; i < n; i++) {
		double got = traffic(&r, &shapes[i], r.frames / n);

		if (shapes[i].mtu == USUAL_MTU && got > share) {
			share = got;
			best = shapes[i].size;
		}
	}
	slow_guest(&r, best);
	if (r.rounds)
		stops(&r, best);
	choose(&r, best);
	if (r.cpu_frames) {
		r.g.light = true;
		zp_go_light(&r.p);
		printf("@ cpu.size %u\n", best);
		costs(&r, best, share > MOST ? CPU_MORE : 0);
		if (best != USUAL_SIZE)
			costs(&r, USUAL_SIZE, 0);
	}
	zp_stop(&r.p);
	xn_mem_destroy(r.mem);
	return !r.ok;
}
