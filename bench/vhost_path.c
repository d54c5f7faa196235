/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The near end as a back end of its own process sees it from outside: this side is VMM
 * (front end) and guest, over vhost-user.
 *
 *	this process                         another process
 *	 front end ----- socket ------------- messages
 *	 guest's RAM ---- memfd ------------- the same pages
 *	 driver ---- kick, call eventfds ---- rings ---- xn0
 *
 * The process is xsknetd, or whatever --backend says, run in the laboratory's near
 * namespace; or one that listens already (--socket). Between its turns a process of ours
 * is frozen: one that polls would slow down the other paths.
 *
 * The driver polls while there is something to do, and asks to be called when there is not
 * (EVENT_IDX if the back end has it), as drivers do. On a processor that others need it
 * gives way at each empty turn; else it looks again for a while before it sleeps.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/types.h"
#include "bench/backend.h"
#include "bench/ctl.h"
#include "bench/driver.h"
#include "bench/front.h"

#define F_MRG_RXBUF (1ull << 15)   /* VIRTIO 1.2, 5.1.3 */
#define F_EVENT_IDX (1ull << 29)   /* VIRTIO 1.2, 6 */
#define F_VERSION_1 (1ull << 32)
#define F_PACKED    (1ull << 34)

/* Where the guest's memory is for the front end: no address of ours, any number does. */
#define USER_BASE   0x100000000ull

#define START_MS    20000     /* DPDK's start takes seconds */
#define RETRY_MS    50
#define IDLE_TURNS  64u       /* empty ones in a row before the driver sleeps */
#define SPIN_TURNS  64u       /* looks in one of them, if nobody needs the processor */
#define NAP_MS      1

struct vhost_path {
	struct xn_path p;
	struct xn_backend process;
	struct front front;
	struct xn_guest *guest;
	bool open;
	clockid_t clock;         /* of the other process; -1: not known */
	unsigned empty[XN_QUEUES_MAX];
};

static struct vhost_path *of(const struct xn_path *p)
{
	return XN_CONTAINER_OF(p, struct vhost_path, p);
}

/* Is it xsknetd, of whose statistics we know? */
static bool has_ctl(const struct xn_path *p)
{
	return p->kind != XN_KIND_BACKEND;
}

/* ---- the process ---- */

static int start(struct vhost_path *v)
{
	static const char *const commands[XN_KIND_COUNT] = {
#define XSKNETD "exec '{program}' --socket {socket} --ctl {ctl} " \
		"--port xdp:{if},queues={queues} --cpus {cpus} --poll "
		[XN_KIND_XSKNETD] = XSKNETD "adaptive",
		[XN_KIND_XSKNETD_BUSY] = XSKNETD "busy",
		[XN_KIND_XSKNETD_SLEEP] = XSKNETD "sleep",
	};
	const struct xn_opts *o = v->p.opts;
	char cpus[8 * XN_QUEUES_MAX] = "";
	const struct xn_backend_words words = {
		.ifname = v->p.ifname, .cpus = cpus, .queues = v->p.queues,
		.program = v->p.kind == XN_KIND_BACKEND ? NULL : o->xsknetd,
	};

	for (unsigned i = 0; i < v->p.queues; i++)
		snprintf(cpus + strlen(cpus), 8, i ? ",%d" : "%d", xn_near_cpu(i));
	if (words.program && strchr(words.program, '\''))
		return xn_fail(EINVAL, "%s: cannot run a program whose path has a quote in it",
			       words.program);
	return xn_backend_start(&v->process, v->p.kind == XN_KIND_BACKEND ? o->backend :
				commands[v->p.kind], &words);
}

/* Until it listens, or has ended. */
static int connect_to(struct vhost_path *v)
{
	const char *path = v->p.opts->socket ? v->p.opts->socket : v->process.socket;
	int err = 0;

	for (int waited = 0; waited <= START_MS && !xn_stop; waited += RETRY_MS) {
		err = front_connect(&v->front, path, RETRY_MS);
		if (!err)
			return 0;
		if (v->p.opts->socket || !xn_backend_alive(&v->process))
			break;
	}
	if (v->p.opts->socket)
		return xn_fail(-err, "%s: is a vhost-user back end listening there?",
			       v->front.error);
	if (xn_backend_alive(&v->process))
		return xn_fail(ETIMEDOUT, "the back end does not listen on its socket (in a "
			       "command, {socket} stands for its path): %s", v->front.error);
	return xn_fail(ECHILD, "the back end has ended before it listened on its socket");
}

/* The clock of whoever listened: its threads' processor time, in nanoseconds. */
static void find_clock(struct vhost_path *v)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	v->clock = -1;
	if (getsockopt(v->front.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.pid <= 0)
		return;
	if (clock_getcpuclockid(peer.pid, &v->clock))
		v->clock = -1;
}

/* ---- front end ---- */

static int front_failed(const struct vhost_path *v, int err, const char *what)
{
	return xn_fail(-err, "the back end, %s: %s", what, v->front.error);
}

static int negotiate(struct vhost_path *v)
{
	const uint64_t protocol = 1ull << XN_VU_P_REPLY_ACK | 1ull << XN_VU_P_MQ;
	uint64_t most = 1;      /* pairs or vrings: back ends do not agree */
	const uint64_t must = F_VERSION_1 | (v->p.opts->packed ? F_PACKED : 0);
	int err = front_negotiate(&v->front, F_MRG_RXBUF | F_EVENT_IDX, must, protocol);

	if (!err && v->front.protocol_acked >> XN_VU_P_MQ & 1)
		err = front_get_u64(&v->front, XN_VU_GET_QUEUE_NUM, &most);
	if (err)
		return front_failed(v, err, "features");
	if (v->p.queues > most)
		return xn_fail(EINVAL, "--queues %u: the back end has %llu", v->p.queues,
			       (unsigned long long)most);
	return 0;
}

static int give_memory(struct vhost_path *v)
{
	struct xn_guest_cfg cfg;
	struct front_region region;
	struct xn_region r;
	int err;

	xn_driver_guest(&cfg, &v->p, 0);
	cfg.kicks = true;
	cfg.event_idx = v->front.acked & F_EVENT_IDX;
	err = xn_guest_create(&v->guest, &cfg);
	if (err)
		return err;
	v->p.huge = xn_guest_got_huge(v->guest);
	xn_guest_region(v->guest, &r);
	region = (struct front_region){ .gpa = r.gpa, .size = r.size, .fd = r.fd,
					.user_addr = USER_BASE + r.gpa, .offset = r.fd_offset };
	err = front_set_mem(&v->front, &region, 1);
	return err ? front_failed(v, err, "memory") : 0;
}

static int start_ring(struct vhost_path *v, unsigned i)
{
	struct front_ring ring;
	struct xn_vring r;
	int err;

	xn_guest_vring(v->guest, i, &r);
	ring = (struct front_ring){
		.index = i, .size = r.size, .desc = USER_BASE + r.desc_gpa,
		.avail = USER_BASE + r.avail_gpa, .used = USER_BASE + r.used_gpa, .base = r.base,
		.kick_fd = r.kick_fd, .call_fd = r.call_fd, .err_fd = -1,
	};
	err = front_start_ring(&v->front, &ring);
	/* Without protocol features a ring is enabled when it starts. */
	if (!err && v->front.acked >> XN_VU_F_PROTOCOL_FEATURES & 1)
		err = front_enable_ring(&v->front, i, true);
	return err ? front_failed(v, err, "rings") : 0;
}

static int start_rings(struct vhost_path *v)
{
	uint64_t features;
	int err = 0;

	for (unsigned i = 0; i < v->p.queues; i++) {
		xn_guest_start(v->guest, i);
		xn_guest_disarm(v->guest, i, false);
		xn_guest_disarm(v->guest, i, true);
	}
	for (unsigned i = 0; i < 2 * v->p.queues && !err; i++)
		err = start_ring(v, i);
	if (err)
		return err;
	/* An answer to this says that all before it was read. */
	err = front_get_u64(&v->front, XN_VU_GET_FEATURES, &features);
	if (err)
		return front_failed(v, err, "start");
	/* Whoever does not confirm requests has threads that begin when they like. */
	if (!v->front.need_reply)
		poll(NULL, 0, 2 * RETRY_MS);
	return 0;
}

static int vhost_open(struct xn_path *p)
{
	struct vhost_path *v = of(p);
	int err = p->opts->socket ? 0 : start(v);

	if (!err)
		err = connect_to(v);
	if (err)
		return err;
	find_clock(v);
	err = negotiate(v);
	if (!err)
		err = give_memory(v);
	if (!err)
		err = start_rings(v);
	if (err)
		return err;
	if (has_ctl(p))
		xn_ctl_place(v->process.ctl, p->attach, p->mode);
	xn_backend_freeze(&v->process, true);
	v->open = true;
	return 0;
}

static void vhost_close(struct xn_path *p)
{
	struct vhost_path *v = of(p);

	xn_backend_freeze(&v->process, false);
	front_close(&v->front);
	xn_backend_stop(&v->process, !v->open);
	xn_guest_destroy(v->guest);
}

static int vhost_rouse(struct xn_path *p)
{
	struct vhost_path *v = of(p);

	if (v->process.keeper && !xn_backend_alive(&v->process))
		return xn_fail(ECHILD, "the back end has ended");
	xn_backend_freeze(&v->process, false);
	return 0;
}

static void vhost_rest(struct xn_path *p)
{
	xn_backend_freeze(&of(p)->process, true);
}

/* ---- turns ---- */

static unsigned vhost_rx(struct xn_near *w)
{
	return xn_driver_rx(w, of(w->path)->guest);
}

static unsigned vhost_tx(struct xn_near *w, unsigned n)
{
	return xn_driver_tx(w, of(w->path)->guest, n);
}

static unsigned vhost_fwd(struct xn_near *w)
{
	return xn_driver_fwd(w, of(w->path)->guest);
}

static unsigned vhost_tx_pending(const struct xn_near *w)
{
	return xn_guest_tx_pending(of(w->path)->guest, w->queue);
}

static uint64_t vhost_send_one(struct xn_near *w)
{
	return xn_driver_send_one(w, of(w->path)->guest);
}

static uint64_t vhost_look(struct xn_near *w)
{
	const uint64_t t = xn_driver_look(w, of(w->path)->guest);

	if (!t && w->crowded)
		sched_yield();
	return t;
}

/* Until the receive ring has something, or with tx the transmit ring room. */
static void doze(struct xn_near *w, bool tx, int ms)
{
	struct xn_guest *g = of(w->path)->guest;
	struct pollfd fds[2] = {
		{ .fd = xn_guest_call_fd(g, w->queue, false), .events = POLLIN },
		{ .fd = xn_guest_call_fd(g, w->queue, true), .events = POLLIN },
	};

	if (xn_guest_arm(g, w->queue, false) && (!tx || xn_guest_arm(g, w->queue, true)))
		poll(fds, tx ? 2 : 1, ms);
	xn_guest_disarm(g, w->queue, false);
	if (tx)
		xn_guest_disarm(g, w->queue, true);
}

static void vhost_sleep(struct xn_near *w, int ms)
{
	doze(w, false, ms);
}

static void vhost_idle(struct xn_near *w)
{
	unsigned *empty = &of(w->path)->empty[w->queue];

	if (++*empty % IDLE_TURNS == 0) {
		/* Not for long: guests have timers, too. */
		doze(w, xn_guest_tx_pending(of(w->path)->guest, w->queue) > 0, NAP_MS);
	} else if (w->crowded) {
		sched_yield();
	} else {
		for (unsigned i = 0; i < SPIN_TURNS; i++)
			xn_relax();
	}
}

static uint64_t vhost_cpu_ns(struct xn_path *p)
{
	struct timespec t;

	if (of(p)->clock == -1 || clock_gettime(of(p)->clock, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void vhost_copies(struct xn_path *p, struct xn_copies *out)
{
	memset(out, 0, sizeof(*out));
	if (has_ctl(p))
		xn_ctl_copies(of(p)->process.ctl, out);
}

static const struct xn_path_ops vhost_ops = {
	.open = vhost_open, .close = vhost_close, .rouse = vhost_rouse, .rest = vhost_rest,
	.rx = vhost_rx, .tx = vhost_tx, .fwd = vhost_fwd, .tx_pending = vhost_tx_pending,
	.send_one = vhost_send_one, .look = vhost_look, .sleep = vhost_sleep, .idle = vhost_idle,
	.cpu_ns = vhost_cpu_ns, .copies = vhost_copies,
};

struct xn_path *xn_vhost_path_new(void)
{
	struct vhost_path *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->p.ops = &vhost_ops;
	v->process = (struct xn_backend){ .leash = -1, .out = -1 };
	v->front.fd = -1;
	v->clock = -1;
	return &v->p;
}
