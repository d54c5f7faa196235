/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsknetd: one process for one guest. The main thread, which is all that listens to anybody.
 *
 *	limits, signals, sockets, port     as who started it, often root
 *	xn_sandbox_drop                    from here on nobody
 *	xn_vdev_create                     threads, parked
 *	xn_sandbox_seal                    from here on a few system calls
 *	READY                              front ends come and go
 *	SIGTERM                            heads returned, XDP detached, names removed
 *
 * The loop is one ppoll, and then everybody's turn in a fixed order; whoever is called does
 * what it can without blocking. The session's turn comes before the listener's: a front end
 * that was killed and is back at once finds its place free.
 *
 * There is one session at a time. A second front end is let in and shown out, so that it
 * knows; waiting in the listener's queue it would believe to be served. Whatever a front
 * end does ends its session at most. What ends the process is a signal, or, where it was
 * given a connected socket and nothing else, the end of that connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "vhost/ctl.h"
#include "vhost/daemon.h"
#include "vhost/discard.h"
#include "vhost/listen.h"
#include "vhost/notify.h"
#include "vhost/nudge.h"
#include "vhost/peerlog.h"
#include "vhost/sandbox.h"
#include "vhost/session.h"
#include "vhost/sigbus.h"
#include "vhost/status.h"

#define NS_PER_MS      1000000ull
#define NS_PER_S       1000000000ull
#define DIAL_MIN_NS    (100 * NS_PER_MS)
#define DIAL_MAX_NS    NS_PER_S
#define ACCEPT_WAIT_NS (100 * NS_PER_MS)
#define MAX_FDS        (8 + XN_CTL_FDS)
#define FDS_A_PAIR     19u      /* eventfds and their copies, sockets, rings, a timer */
#define FDS_OTHER      256u

struct daemon {
	const struct xn_daemon_opts *o;
	uint64_t began_ns;
	int sig_fd;
	struct xn_nudge nudge;
	struct xn_notify notify;
	const char *status, *status_told;   /* what systemd shows; what it knows */
	uint64_t status_ns;                 /* not told before */

	struct xn_port *port;
	struct xn_port_info info;       /* as last told */
	unsigned pairs, spares;         /* sockets in store at the start */
	bool spares_told, may_lock;
	uint8_t mac[6];
	uint16_t mtu;
	struct xn_vdev *vdev;

	/* Where front ends come from: one of the three. */
	struct xn_listen listen;
	uint64_t accept_ns;             /* not before */
	bool dials;
	uint64_t dial_ns, dial_wait_ns; /* when next; how long after that */
	int connected_fd;               /* until it is a session */
	bool once;                      /* it was, and no other will come */

	struct xn_session *session;
	uint64_t sessions, messages, refused;
	struct xn_ctl *ctl;
	uint64_t ctl_ns;                /* it wants to be called then */
};

/* ---- before the first front end ---- */

static json_t *stats_of(void *arg)
{
	const struct daemon *d = arg;
	const struct xn_status s = {
		.spec = d->o->port, .port = d->port, .vdev = d->vdev, .mac = d->mac,
		.mtu = d->mtu, .session = d->session, .sessions = d->sessions,
		.messages = d->messages, .refused = d->refused,
		.uptime_ns = xn_now_ns() - d->began_ns,
	};

	return xn_status_json(&s);
}

/* What ends us comes by an fd; unless whoever started us wants it ignored (nohup). What would
 * end us besides is an error of the call that it belongs to: a peer that has gone, a file that
 * gets too long. All others have to come through: SIGBUS, nudges. */
static int take_signals(struct daemon *d)
{
	static const int ends[] = { SIGTERM, SIGINT, SIGHUP };
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&set);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(ends); i++) {
		struct sigaction was;

		if (ends[i] == SIGTERM || (!sigaction(ends[i], NULL, &was) && was.sa_handler != SIG_IGN))
			sigaddset(&set, ends[i]);
	}
	sigprocmask(SIG_SETMASK, &set, NULL);
	d->sig_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return d->sig_fd < 0 ? xn_fail(errno, "signalfd: %s", strerror(errno)) : 0;
}

/* What would open a file at the first need, and cannot any more by then: hash seeds, and
 * the heaps of threads (glibc reads /proc to shrink one). */
static void prepare_libraries(void)
{
	mallopt(M_ARENA_MAX, 1);
	json_object_seed(0);
}

/* What whoever started us has left open is nobody's business in here, but for the socket
 * that was given; and 0 to 2 are open, lest a socket become standard error. */
static void tidy_fds(int keep)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close(fd);
	if (keep < 0) {
		close_range(STDERR_FILENO + 1, ~0u, 0);
		return;
	}
	if (keep > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned)keep - 1, 0);
	close_range((unsigned)keep + 1, ~0u, 0);
}

/* How many queue pairs the port will have: its spec says, and xn_port_open checks. */
static unsigned pairs_of(const char *spec)
{
	const char *at = strstr(spec, "queues=");
	unsigned long n = at ? strtoul(at + strlen("queues="), NULL, 10) : 1;

	return (unsigned)XN_MAX(XN_MIN(n, (unsigned long)XN_MAX_PAIRS), 1ul);
}

static int listen_at(struct xn_listen *l, const struct xn_daemon_opts *o, const char *path)
{
	return xn_listen_open(l, &(struct xn_listen_cfg){ path, o->mode, o->group });
}

/* A socket that was given: listening, or connected already. */
static int adopt(struct daemon *d, int fd)
{
	int domain = 0, type = 0, listens = 0;
	socklen_t n = sizeof(int);
	struct sockaddr_un peer;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n))
		return xn_fail(errno, "fd %d is no socket", fd);
	if (domain != AF_UNIX || type != SOCK_STREAM)
		return xn_fail(EINVAL, "fd %d must be a stream socket of AF_UNIX", fd);
	if (listens) {
		xn_listen_adopt(&d->listen, fd);
		return 0;
	}
	n = sizeof(peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &n))
		return xn_fail(errno, "fd %d is a socket that neither listens nor is connected", fd);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	d->connected_fd = fd;
	return 0;
}

static int open_sockets(struct daemon *d)
{
	const struct xn_daemon_opts *o = d->o;
	struct xn_listen ctl;
	int err = 0;

	if (o->fd >= 0)
		err = adopt(d, o->fd);
	else if (o->client)
		d->dials = true;
	else
		err = listen_at(&d->listen, o, o->socket);
	if (err || !o->ctl)
		return err;
	err = listen_at(&ctl, o, o->ctl);
	return err ? err : xn_ctl_open(&d->ctl, &ctl, stats_of, d);
}

static int open_port(struct daemon *d)
{
	struct xn_port_opts po = { .sz = sizeof(po) };
	static const uint8_t nobodys[6] = { 2, 0, 0, 0, 0, 1 };
	int err;

	memcpy(po.mac, d->o->mac, 6);
	d->pairs = pairs_of(d->o->port);
	if (d->o->sandbox != XN_SANDBOX_OFF)
		/* Each start of several takes one more. */
		po.spare_sockets = d->pairs * d->o->spares_a_pair * (d->pairs > 1 ? 2 : 1);
	d->may_lock = xn_sandbox_limits(FDS_OTHER + FDS_A_PAIR * d->pairs + po.spare_sockets);
	err = xn_port_open(&d->port, d->o->port, &po);
	if (err)
		return err;
	xn_port_get_info(d->port, &d->info);
	d->spares = d->info.spare_sockets;
	d->pairs = d->info.queues;
	memcpy(d->mac, d->info.mac, 6);
	if (d->o->mac_given)
		memcpy(d->mac, d->o->mac, 6);
	else if (!memcmp(d->mac, "\0\0\0\0\0\0", 6))    /* loopback and null have none */
		memcpy(d->mac, nobodys, 6);
	d->mtu = d->o->mtu ? d->o->mtu : d->info.mtu;
	if (d->mtu > d->info.mtu)
		return xn_fail(EINVAL, "--mtu %u: the MTU of %s is %u: raise that first", d->mtu,
			       d->o->port, d->info.mtu);
	return 0;
}

/* Names that are ours have to be removed at the end, by whoever we are then. */
static void sandbox_of(const struct daemon *d, struct xn_sandbox *s)
{
	const struct xn_listen *const l[] = { &d->listen, d->ctl ? xn_ctl_listen(d->ctl) : NULL };

	*s = (struct xn_sandbox){
		.user = d->o->user, .dials = d->dials,
		.log_only = d->o->sandbox == XN_SANDBOX_LOG,
	};
	for (unsigned i = 0; i < XN_ARRAY_SIZE(l); i++)
		if (l[i] && l[i]->dir >= 0)
			s->dirs[s->n_dirs++] = l[i]->dir;
}

static void warn_of_names(const struct xn_sandbox *s)
{
	for (unsigned i = 0; i < s->n_dirs; i++)
		if (faccessat(s->dirs[i], ".", W_OK | X_OK, AT_EACCESS)) {
			xn_log(XN_LOG_INFO, "the directory of a socket is not writable for this user: "
			       "its name stays when xsknetd ends, and is replaced by the next");
			return;
		}
}

/* Gives up what is not needed any more; the threads come in between. */
static int settle_in(struct daemon *d)
{
	const struct xn_daemon_opts *o = d->o;
	struct xn_vdev_opts vo = {
		.pairs = d->pairs, .mtu = d->mtu, .gro = o->gro,
		.worker = { .poll = o->poll, .cpus = o->cpus, .n_cpus = o->n_cpus },
	};
	struct xn_sandbox box;
	int err = 0;

	memcpy(vo.mac, d->mac, 6);
	sandbox_of(d, &box);
	if (o->sandbox != XN_SANDBOX_OFF) {
		/* Only AF_XDP pins memory. */
		if (!d->may_lock && !strcmp(d->info.kind, "xdp"))
			box.keep_ipc_lock = xn_sandbox_needs_ipc_lock();
		err = xn_sandbox_drop(&box);
		if (!err)
			warn_of_names(&box);
	}
	if (!err)
		err = xn_discard_start();
	if (!err)
		err = xn_vdev_create(&d->vdev, d->port, &vo);
	if (!err && (o->rss_key || o->rss_table))
		err = xn_dev_set_rss(xn_vdev_dev(d->vdev), o->rss_key, o->rss_table);
	if (!err && o->sandbox != XN_SANDBOX_OFF)
		err = xn_sandbox_seal(&box);
	return err;
}

static int start(struct daemon *d)
{
	int err = 0;

	umask(077);
	tidy_fds(d->o->fd);
	/* Before others come that could have its number. */
	if (d->o->fd >= 0 && fcntl(d->o->fd, F_GETFD) < 0)
		err = xn_fail(errno, "fd %d is not open", d->o->fd);
	if (!err)
		err = take_signals(d);
	prepare_libraries();
	if (!err)
		err = xn_nudge_create(&d->nudge);
	if (!err)
		err = xn_sigbus_init();
	xn_notify_open(&d->notify);
	if (!err)
		err = open_sockets(d);
	if (!err)
		err = open_port(d);
	if (!err)
		err = settle_in(d);
	return err;
}

/* ---- sessions ---- */

static void begin_session(struct daemon *d, int fd)
{
	if (xn_session_open(&d->session, fd, d->vdev)) {
		d->once = d->once || !(d->dials || d->listen.fd >= 0);
		return;
	}
	d->sessions++;
	xn_peer_log(XN_LOG_INFO, "a front end is connected");
	d->status = "STATUS=A front end is connected.";
}

static void end_session(struct daemon *d, const char *why)
{
	struct xn_session_info c;

	if (!d->session)
		return;
	xn_session_get_info(d->session, &c);
	d->messages += c.messages;
	d->refused += c.refused;
	xn_session_close(d->session);
	d->session = NULL;
	xn_sigbus_take();       /* what faulted was this session's: not the next one's fault */
	d->once = !d->dials && d->listen.fd < 0;
	xn_peer_log(XN_LOG_INFO, "%s", why);
	d->status = "STATUS=Waiting for a front end.";
}

/* Front ends may come and go as fast as they like: what there is to tell is told once a second. */
static void tell_status(struct daemon *d, uint64_t now_ns)
{
	if (d->status == d->status_told || now_ns < d->status_ns)
		return;
	xn_notify_say(&d->notify, d->status);
	d->status_told = d->status;
	d->status_ns = now_ns + NS_PER_S;
}

static void handle_session(struct daemon *d, bool lost_memory)
{
	int err;

	if (lost_memory) {
		xn_peer_log(XN_LOG_WARN, "the front end took away memory that it had shared (its "
			    "file was truncated): its session is ended");
		end_session(d, "the front end was disconnected");
		return;
	}
	err = xn_session_handle(d->session);
	if (err)
		end_session(d, err == -ENOTCONN ? "the front end has gone" :
						  "the front end was disconnected");
}

static void session_turn(struct daemon *d)
{
	const bool lost_memory = xn_sigbus_take();

	if (!d->session)
		return;
	xn_nudge_start(&d->nudge);
	handle_session(d, lost_memory);
	xn_nudge_stop(&d->nudge);
}

/* The next front end comes to us. */
static void listener_turn(struct daemon *d, bool ready, uint64_t now_ns)
{
	int fd;

	if (!ready)
		return;
	fd = xn_listen_accept(&d->listen);
	if (fd < 0) {
		/* Out of fds or memory, perhaps: not at full speed. */
		if (fd != -EAGAIN)
			d->accept_ns = now_ns + ACCEPT_WAIT_NS;
		return;
	}
	if (!d->session) {
		begin_session(d, fd);
		return;
	}
	close(fd);
	xn_peer_log(XN_LOG_WARN, "a second front end was turned away: this device is in use");
}

/* We go to the next front end. */
static void dial_turn(struct daemon *d, uint64_t now_ns)
{
	int fd;

	if (!d->dials || d->session || now_ns < d->dial_ns)
		return;
	fd = xn_listen_dial(d->o->socket);
	if (fd >= 0) {
		d->dial_wait_ns = DIAL_MIN_NS;
		begin_session(d, fd);
	} else {
		if (!d->dial_wait_ns)
			xn_log(XN_LOG_INFO, "nobody listens at %s yet (%s): trying again",
			       d->o->socket, strerror(-fd));
		d->dial_wait_ns = XN_MAX(XN_MIN(2 * d->dial_wait_ns, DIAL_MAX_NS), DIAL_MIN_NS);
	}
	d->dial_ns = now_ns + d->dial_wait_ns;
}

/* ---- the loop ---- */

static void port_turn(struct daemon *d, bool ready)
{
	struct xn_port_info before = d->info;

	if (ready)
		xn_dev_handle_events(xn_vdev_dev(d->vdev));
	xn_port_get_info(d->port, &d->info);
	if (d->info.link_up != before.link_up)
		xn_log(XN_LOG_INFO, "%s: link %s", d->o->port, d->info.link_up ? "up" : "down");
	if (d->info.spare_sockets < d->spares / 8 && !d->spares_told) {
		d->spares_told = true;
		xn_log(XN_LOG_WARN, "%u AF_XDP sockets are left in store, each start of a queue takes "
		       "one: restart xsknetd when it suits, or use a larger --spare-sockets",
		       d->info.spare_sockets);
	}
}

static void soonest(uint64_t *wait_ns, uint64_t at_ns, uint64_t now_ns)
{
	*wait_ns = XN_MIN(*wait_ns, at_ns > now_ns ? at_ns - now_ns : 0);
}

static uint64_t wait_of(struct daemon *d, uint64_t now_ns)
{
	uint64_t wait_ns = xn_notify_watchdog(&d->notify, now_ns);
	int ms = d->session ? xn_session_timeout_ms(d->session) : -1;

	if (ms >= 0)
		wait_ns = XN_MIN(wait_ns, (uint64_t)ms * NS_PER_MS);
	if (d->dials && !d->session)
		soonest(&wait_ns, d->dial_ns, now_ns);
	if (d->accept_ns > now_ns)
		soonest(&wait_ns, d->accept_ns, now_ns);
	if (d->ctl_ns != UINT64_MAX)
		soonest(&wait_ns, d->ctl_ns, now_ns);
	if (d->status != d->status_told)
		soonest(&wait_ns, d->status_ns, now_ns);
	return wait_ns;
}

static unsigned add_fd(struct pollfd *fds, unsigned n, int fd)
{
	fds[n] = (struct pollfd){ .fd = fd, .events = POLLIN };
	return n + 1;
}

/* One turn of the loop. False: a signal came, it is over. */
static bool turn(struct daemon *d)
{
	struct pollfd fds[MAX_FDS];
	unsigned n = 0, port, listener, ctl;
	uint64_t now_ns = xn_now_ns(), wait_ns = wait_of(d, now_ns);
	const struct timespec t = { (time_t)(wait_ns / NS_PER_S), (long)(wait_ns % NS_PER_S) };

	n = add_fd(fds, n, d->sig_fd);
	n = add_fd(fds, n, xn_sigbus_fd());
	port = n;
	n = add_fd(fds, n, xn_dev_event_fd(xn_vdev_dev(d->vdev)));
	n = add_fd(fds, n, d->session ? xn_session_fd(d->session) : -1);
	n = add_fd(fds, n, d->session ? xn_session_ctrl_fd(d->session) : -1);
	listener = n;
	n = add_fd(fds, n, d->accept_ns > now_ns ? -1 : d->listen.fd);
	ctl = n;
	if (d->ctl)
		n += xn_ctl_fds(d->ctl, &fds[n]);
	if (ppoll(fds, n, wait_ns == UINT64_MAX ? NULL : &t, NULL) < 0)
		for (unsigned i = 0; i < n; i++)        /* EINTR: what it left there is nothing */
			fds[i].revents = 0;
	if (fds[0].revents)
		return false;

	now_ns = xn_now_ns();
	port_turn(d, fds[port].revents);
	session_turn(d);
	listener_turn(d, fds[listener].revents, now_ns);
	dial_turn(d, now_ns);
	tell_status(d, now_ns);
	if (d->ctl) {
		uint64_t ns = xn_ctl_handle(d->ctl, &fds[ctl], n - ctl, now_ns);

		d->ctl_ns = ns == UINT64_MAX ? ns : now_ns + ns;
	}
	return !d->once;
}

static void serve(struct daemon *d)
{
	xn_log(XN_LOG_INFO, "%s%s%s%s%s, %u queue pair%s, MTU %u, %02x:%02x:%02x:%02x:%02x:%02x: ready",
	       d->o->port, *d->info.attach ? ", " : "", d->info.attach, *d->info.mode ? " " : "",
	       d->info.mode, d->pairs, d->pairs == 1 ? "" : "s", d->mtu, d->mac[0], d->mac[1],
	       d->mac[2], d->mac[3], d->mac[4], d->mac[5]);
	xn_notify_say(&d->notify, "READY=1\nSTATUS=Waiting for a front end.");
	if (d->connected_fd >= 0) {
		begin_session(d, d->connected_fd);
		d->connected_fd = -1;
	}
	while (!d->once && turn(d))
		;
	xn_notify_say(&d->notify, "STOPPING=1");
}

static void stop(struct daemon *d)
{
	xn_nudge_start(&d->nudge);
	xn_session_close(d->session);
	xn_vdev_destroy(d->vdev);
	xn_port_close(d->port);
	xn_ctl_close(d->ctl);
	xn_listen_close(&d->listen);
	xn_notify_close(&d->notify);
	if (d->connected_fd >= 0)
		close(d->connected_fd);
	if (d->sig_fd >= 0)
		close(d->sig_fd);
}

int xn_daemon_run(const struct xn_daemon_opts *o)
{
	struct daemon d = {
		.o = o, .began_ns = xn_now_ns(), .sig_fd = -1, .notify = { .fd = -1 },
		.listen = XN_LISTEN_NONE, .connected_fd = -1, .ctl_ns = UINT64_MAX,
	};
	int err = start(&d);

	if (!err)
		serve(&d);
	stop(&d);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
