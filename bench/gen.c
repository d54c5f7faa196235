/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The generator's user side: a thread in the far namespace, inside of one long
 * BPF_PROG_TEST_RUN with live frames as long as it generates.
 *
 * Each such call changes the kernel's XDP dispatcher and sets up a page pool; both
 * wait for RCU, at the beginning and at the end (8 to 20 ms). So there is one call for
 * a run, with a `repeat` that no run reaches, and nobody waits for its end:
 *
 *	task.stop = 1          from now on no frame is stamped, the program counts
 *	state.idle > a batch   so the batch with the last frame has been handed to veth:
 *	                       the run is over, xn_gen_stop returns
 *	SIGURG                 interrupts the call (Linux net/bpf/test_run.c,
 *	                       bpf_test_timer_continue); the next run waits for that
 *
 * SIGURG, since a process that knows nothing of it ignores it.
 *
 * A second thread wakes up on the same CPU every 2 ms, only to make the call yield:
 * the kernel runs frames inside of an RCU read section that ends at a reschedule, and
 * a paced run that nobody interrupts would hold up whoever waits for RCU (a socket
 * that is closed, membarrier()) for 100 ms and more.
 *
 * What is counted. Stamped: the program's own count. Taken by veth: what xn1 calls
 * tx_queue_N_xdp_xmit, which veth increases by the frames that it put into the
 * peer's ring. Frames come in bulks of 16; a bulk that does not fit loses its rest.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "bench/gen.h"
#include "bench/lab.h"
#include "bench/netlink.h"
#include "bench/sender.h"
#include "bench/gen.skel.h"

/* Frames between two flushes into veth; its ring takes 256 (VETH_RING_SIZE). */
#define BATCH_FRAMES 64
#define FOREVER      INT32_MAX
#define NS_PER_S     1000000000ull
#define START_NS     (2 * NS_PER_S)
#define NAP_NS       20000
#define TICK_NS      2000000

enum state { IDLE, GO, QUIT };

struct xn_gen {
	struct xn_sender *sender;   /* bound to a queue: the rest is unused */
	struct gen_bpf *bpf;
	const struct xn_lab *lab;
	pthread_t thread, ticker;
	bool has_thread, has_ticker;

	pthread_mutex_t lock;       /* of state and err; `changed` when they change */
	pthread_cond_t changed;
	enum state state;           /* GO: the thread is in a run, or on its way out of one */
	int err;                    /* of the last run, -errno */
	bool running;               /* between start and stop */

	struct xn_gen_cfg cfg;
	uint64_t start_sent;        /* veth's count when the run began */
	uint8_t frame[XN_GEN_BYTES_MAX];
};

static void on_signal(int sig)
{
}

/* Any handler does, so one that is there already may stay. */
static int catch_signal(void)
{
	struct sigaction sa;

	if (sigaction(SIGURG, NULL, &sa))
		return -errno;
	if (sa.sa_handler != SIG_DFL && sa.sa_handler != SIG_IGN)
		return 0;
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_signal;
	return sigaction(SIGURG, &sa, NULL) ? -errno : 0;
}

static void set_state(struct xn_gen *g, enum state state, int err)
{
	pthread_mutex_lock(&g->lock);
	g->state = state;
	g->err = err;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static enum state get_state(struct xn_gen *g)
{
	enum state state;

	pthread_mutex_lock(&g->lock);
	state = g->state;
	pthread_mutex_unlock(&g->lock);
	return state;
}

static enum state wait_while(struct xn_gen *g, enum state state)
{
	enum state now;

	pthread_mutex_lock(&g->lock);
	while (g->state == state)
		pthread_cond_wait(&g->changed, &g->lock);
	now = g->state;
	pthread_mutex_unlock(&g->lock);
	return now;
}

static void nap(long ns)
{
	const struct timespec t = { .tv_nsec = ns };

	nanosleep(&t, NULL);
}

/* After the signal the kernel needs a while to come back with the thread. */
static void leave_run(struct xn_gen *g)
{
	while (get_state(g) == GO) {
		pthread_kill(g->thread, SIGURG);
		nap(NAP_NS);
	}
}

/* ---- the thread ---------------------------------------------------------- */

static int run(struct xn_gen *g)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts,
		.data_in = g->frame,
		.data_size_in = g->cfg.bytes,
		.repeat = FOREVER,
		.flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		.batch_size = BATCH_FRAMES);
	int err;

	do
		err = bpf_prog_test_run_opts(bpf_program__fd(g->bpf->progs.generate), &opts);
	while (err == -EINTR && !xn_load_once32(&g->bpf->bss->task.stop));
	return err == -EINTR ? 0 : err;
}

static void *gen_thread(void *arg)
{
	struct xn_gen *g = arg;
	sigset_t set;

	/* Any other signal would end the run as well, and is meant for somebody else. */
	sigfillset(&set);
	sigdelset(&set, SIGURG);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	/* The kernel looks the way out up in the namespace that we are in. */
	set_state(g, IDLE, xn_lab_enter_far(g->lab));
	for (;;) {
		enum state state = wait_while(g, IDLE);

		if (state == QUIT)
			return NULL;
		set_state(g, IDLE, run(g));
	}
}

static void *tick_thread(void *arg)
{
	struct xn_gen *g = arg;
	sigset_t set;

	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	while (wait_while(g, IDLE) != QUIT)
		nap(TICK_NS);
	return NULL;
}

/* ---- life ---------------------------------------------------------------- */

static int load(struct xn_gen *g)
{
	uint32_t key = 0, ifindex = g->lab->far_ifindex;
	int err, back;

	g->bpf = gen_bpf__open_and_load();
	if (!g->bpf)
		return xn_fail(errno, "cannot load the generator's BPF program: %s; CAP_BPF and "
			       "CAP_NET_ADMIN are needed", strerror(errno));
	/* A devmap takes interfaces of the namespace of whoever writes it. */
	err = xn_lab_visit(g->lab->far_ns, &back);
	if (err)
		return err;
	if (bpf_map_update_elem(bpf_map__fd(g->bpf->maps.way_out), &key, &ifindex, 0))
		err = errno;
	xn_lab_return(back);
	return err ? xn_fail(err, "cannot send to %s: %s", g->lab->far_name, strerror(err)) : 0;
}

static int start_threads(struct xn_gen *g)
{
	int err = -catch_signal();

	if (err)
		return xn_fail(err, "cannot catch SIGURG: %s", strerror(err));
	g->state = GO;
	err = pthread_create(&g->thread, NULL, gen_thread, g);
	if (err)
		return xn_fail(err, "cannot start the generator's thread: %s", strerror(err));
	g->has_thread = true;
	wait_while(g, GO);
	err = pthread_create(&g->ticker, NULL, tick_thread, g);
	if (err)
		return xn_fail(err, "cannot start the generator's thread: %s", strerror(err));
	g->has_ticker = true;
	if (g->err)
		return xn_fail(-g->err, "the generator cannot enter the far namespace: %s",
			       strerror(-g->err));
	return 0;
}

int xn_gen_create(struct xn_gen **out, const struct xn_lab *lab, int queue)
{
	struct xn_gen *g = calloc(1, sizeof(*g));
	int err;

	*out = NULL;
	if (!g)
		return xn_fail(ENOMEM, "no memory for a generator");
	g->lab = lab;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	err = queue < 0 ? load(g) : xn_sender_create(&g->sender, lab, (unsigned)queue);
	if (!err && queue < 0)
		err = start_threads(g);
	if (err) {
		xn_gen_destroy(g);
		return err;
	}
	*out = g;
	return 0;
}

void xn_gen_destroy(struct xn_gen *g)
{
	struct xn_gen_counts counts;

	if (!g)
		return;
	xn_sender_destroy(g->sender);
	if (g->has_thread) {
		xn_gen_stop(g, &counts);
		leave_run(g);
		set_state(g, QUIT, 0);
		pthread_join(g->thread, NULL);
	}
	if (g->has_ticker)
		pthread_join(g->ticker, NULL);
	gen_bpf__destroy(g->bpf);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* ---- a run --------------------------------------------------------------- */

static int pin(struct xn_gen *g, int cpu)
{
	cpu_set_t set;
	int err;

	/* The kernel takes from a full set what this process may have. */
	memset(&set, cpu < 0 ? 0xff : 0, sizeof(set));
	if (cpu >= 0)
		CPU_SET((unsigned)cpu, &set);
	err = pthread_setaffinity_np(g->thread, sizeof(set), &set);
	if (!err)
		err = pthread_setaffinity_np(g->ticker, sizeof(set), &set);
	return err ? xn_fail(err, "the generator cannot run on CPU %d: %s", cpu, strerror(err)) : 0;
}

/* veth puts our frames into the receive queue that the CPU's number gives
 * (Linux drivers/net/veth.c, veth_select_rxq). */
static int read_sent(struct xn_gen *g, uint64_t *sent)
{
	char queue[32] = "tx_queue_";
	int err, back;

	if (g->cfg.cpu >= 0)
		snprintf(queue, sizeof(queue), "tx_queue_%u_", (unsigned)g->cfg.cpu % g->lab->cfg.queues);
	err = xn_lab_visit(g->lab->far_ns, &back);
	if (err)
		return err;
	err = xn_nl_ethtool_sum(g->lab->far_name, queue, "xdp_xmit", sent);
	xn_lab_return(back);
	/* An interface that is no veth has no such counters. */
	if (!err || g->lab->adopted)
		return 0;
	return xn_fail(-err, "cannot read the counters of %s: %s", g->lab->far_name, strerror(-err));
}

static void prepare(struct xn_gen *g)
{
	struct gen_bpf__bss *bss = g->bpf->bss;

	memset(&bss->task, 0, sizeof(bss->task));
	memset(&bss->state, 0, sizeof(bss->state));
	bss->task.stream = g->cfg.run_tag;
	bss->task.bytes = g->cfg.bytes;
	bss->task.limit = g->cfg.window;
	if (g->cfg.pace_pps) {
		bss->task.period_q32 = (uint64_t)(((__uint128_t)NS_PER_S << 32) / g->cfg.pace_pps);
		bss->task.catch_up_ns = xn_gen_catch_up_ns(g->cfg.pace_pps);
	}
	xn_frame_build(g->frame, g->cfg.bytes, g->lab->near_mac, g->lab->far_mac, g->cfg.run_tag, 0);
	if (g->cfg.port)
		xn_frame_set_port(g->frame, g->cfg.port);
}

/* Until the first frame is stamped: what the kernel has against the call shows here. */
static int wait_first(struct xn_gen *g)
{
	uint64_t end_ns = xn_now_ns() + START_NS;
	struct xn_gen_counts counts;
	int err = ETIMEDOUT;

	while (xn_now_ns() < end_ns) {
		if (xn_load_once64(&g->bpf->bss->state.seq))
			return 0;
		if (get_state(g) == IDLE) {
			err = -g->err;
			break;
		}
		nap(NAP_NS);
	}
	xn_gen_stop(g, &counts);
	return xn_fail(err, "cannot generate frames of %u bytes: %s; BPF_PROG_TEST_RUN with live "
		       "frames needs Linux 5.18", g->cfg.bytes, strerror(err));
}

int xn_gen_start(struct xn_gen *g, const struct xn_gen_cfg *cfg)
{
	int err;

	if (cfg->bytes < XN_FRAME_MIN || (cfg->bytes > XN_GEN_BYTES_MAX && !g->sender))
		return xn_fail(EINVAL, "the generator makes frames of %u to %u bytes, not %u",
			       XN_FRAME_MIN, XN_GEN_BYTES_MAX, cfg->bytes);
	if (g->sender)
		return xn_sender_start(g->sender, cfg);
	if (g->running)
		return xn_fail(EBUSY, "the generator is running: stop it first");
	leave_run(g);
	g->cfg = *cfg;
	err = pin(g, cfg->cpu);
	if (!err)
		err = read_sent(g, &g->start_sent);
	if (err)
		return err;
	prepare(g);
	g->running = true;
	set_state(g, GO, 0);
	return wait_first(g);
}

void xn_gen_stop(struct xn_gen *g, struct xn_gen_counts *out)
{
	struct gen_bpf__bss *bss;
	uint64_t sent, stop_ns = xn_now_ns();

	memset(out, 0, sizeof(*out));
	if (g->sender)
		xn_sender_stop(g->sender, out);
	if (!g->running || !g->bpf)
		return;
	bss = g->bpf->bss;
	g->running = false;
	xn_store_once32(&bss->task.stop, 1);
	while (xn_load_once64(&bss->state.idle) <= BATCH_FRAMES && get_state(g) == GO)
		nap(NAP_NS);
	pthread_kill(g->thread, SIGURG);
	out->offered = xn_load_once64(&bss->state.seq);
	if (!read_sent(g, &sent))
		out->sent = sent - g->start_sent;
	if (out->offered && stop_ns > bss->state.first_ns)
		out->seconds = (double)(stop_ns - bss->state.first_ns) / (double)NS_PER_S;
}

void xn_gen_allow(struct xn_gen *g, uint64_t arrived)
{
	if (g->sender)
		xn_sender_allow(g->sender, arrived);
	else
		xn_store_once64((uint64_t *)&g->bpf->bss->task.limit, arrived + g->cfg.window);
}

uint64_t xn_gen_offered(const struct xn_gen *g)
{
	return g->sender ? xn_sender_offered(g->sender) : xn_load_once64(&g->bpf->bss->state.seq);
}
