/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What could make the daemon wait for ever, or never wait: fds that block although they
 * said they would not, files whose file system does not answer, eventfds that are always
 * readable, no fds left, directories that somebody has locked.
 *
 * Expected of all: the statistics socket answers meanwhile, the next front
 * end is served as soon as this one has gone, and nobody uses a processor for nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/atomics.h"
#include "tests/vhost/rig.h"

#define CTRL 4u                 /* behind two pairs */

static struct guest *open_with_ctrl(void)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	uint64_t offered = g->front.features;

	guest_close(g);
	if (!(offered & BIT(VIRTIO_NET_F_CTRL_VQ)))
		skip("CTRL_VQ is not offered");
	return guest_open(&(struct guest_cfg){
		.pairs = 2, .ctrl = true, .features = BIT(VIRTIO_NET_F_MQ) });
}

static void check_answers(void)
{
	CHECK(daemon_number(&the_daemon, "messages"), "no statistics");
}

/* ---- eventfds that block after all ---- */

/* O_NONBLOCK is a flag of the open file, which the front end shares with the daemon: it can
 * take it away behind the daemon's back. */
static void make_blocking(int fd)
{
	CHECK(!fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), "F_SETFL: %s", strerror(errno));
}

static void fill(int fd)
{
	const uint64_t full = UINT64_MAX - 1;

	event_taken(fd);
	CHECK(write(fd, &full, sizeof(full)) == sizeof(full), "write: %s", strerror(errno));
}

struct block_arg {
	const char *what;
	unsigned ring;
	enum { KICK, CALL, ERR } which;
};

/* Gives the daemon reason to touch that eventfd. */
static void provoke(struct guest *g, const struct block_arg *a)
{
	struct ring *r = &g->ring[a->ring];
	const struct seg s = { g->free_at, HDR + 60 };

	if (a->which == ERR)
		xn_store_release16(&r->avail[1], (uint16_t)(r->avail_next + 1000));
	else if (a->which == CALL)
		ring_post(r, &s, 1, 0);
	/* An empty one blocks who reads it: the other ring of the pair wakes the thread up. */
	ring_kick(a->which == KICK && a->ring != CTRL ? &g->ring[a->ring ^ 1] : r);
}

static void blocks_after_all(const void *arg)
{
	const struct block_arg *a = arg;
	struct guest *g = a->ring == CTRL ? open_with_ctrl() : guest_open(&(struct guest_cfg){ 0 });
	struct ring *r = &g->ring[a->ring];
	int fd = a->which == KICK ? r->kick : a->which == CALL ? r->call : r->err;
	uint64_t from;

	check_loop(g, 8);
	if (a->which == KICK)
		event_taken(fd);
	else
		fill(fd);
	make_blocking(fd);
	provoke(g, a);
	nap_ms(50);
	check_answers();
	/* Not guest_hang_up: the fds stay open, and as they are. */
	from = now_ms();
	guest_hang_up(g);
	guest_open(&(struct guest_cfg){ 0 });
	CHECK(now_ms() - from < SOON_MS, "the next front end is served after %llu ms",
	      (unsigned long long)(now_ms() - from));
	check_answers();
}

/* ---- a file system that does not answer ---- */

struct mute_arg {
	const char *name;
	uint32_t request, bytes;
};

/* The fd in a message that wants another kind, or none. Whether it is refused or the session
 * ends: nobody waits for that file system. */
static void mute_fd(const void *arg)
{
	const struct mute_arg *a = arg;
	/* First: its server has all fds that are open by then. */
	int fd = mute_file();
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	union xn_vu_payload p;
	uint64_t from;

	memset(&p, 0, sizeof(p));
	if (a->request == XN_VU_SET_MEM_TABLE) {
		p.mem.nregions = 1;
		p.mem.regions[0] = (struct xn_vu_region){ GUEST_GPA, 1 << 20, GUEST_USER, 0 };
	} else if (a->request == XN_VU_SET_LOG_BASE) {
		p.log.mmap_size = 4096;
	} else if (a->request == XN_VU_SET_INFLIGHT_FD) {
		p.inflight = (struct xn_vu_inflight){ 1 << 16, 0, 2, 256 };
	}
	from = now_ms();
	CHECK(ask(g, a->request, &p, a->bytes, &fd, 1) != SILENT, "no answer");
	check_answers();
	guest_hang_up(g);
	guest_open(&(struct guest_cfg){ 0 });
	CHECK(now_ms() - from < SOON_MS, "the next front end is served after %llu ms",
	      (unsigned long long)(now_ms() - from));
}

/* Their server has ended: the daemon gets rid of them, one after the other, in no time, but
 * not in none. Until then it has no room for those of others. */
static void until_they_are_closed(void *arg)
{
	const struct footprint *was = arg;
	struct footprint now;

	for (unsigned ms = 0; ms < SOON_MS; ms += 10) {
		daemon_footprint(&the_daemon, &now);
		if (now.fds <= was->fds)
			return;
		nap_ms(10);
	}
}

/* More of them than anybody would keep. */
static void many_mute_fds(const void *arg)
{
	static struct footprint was;
	int fd, fds[8];

	daemon_footprint(&the_daemon, &was);
	at_end(until_they_are_closed, &was);    /* behind the end of the server, which comes later */
	fd = mute_file();
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = fd;
	for (unsigned i = 0; i < 20; i++) {
		struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED });

		ask_raw(g, XN_VU_SET_OWNER, XN_VU_VERSION, 0, NULL, 0, fds, ARRAY_SIZE(fds));
		guest_hang_up(g);
		check_answers();
	}
}

/* ---- an eventfd that is always readable ---- */

/* A semaphore is read one by one. (Of the other rings: "kicks" in case_guest.c.) */
static void ctrl_always_readable(const void *arg)
{
	static const uint64_t many = 1ull << 40;
	static const uint8_t set_pairs[] = { 4, 0, 2, 0 };
	struct guest *g = open_with_ctrl();
	struct ring *r = &g->ring[CTRL];
	int fd = own_fd(eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE));
	const uint64_t v = CTRL;
	uint16_t a, b;
	uint32_t head, len;

	CHECK(write(fd, &many, sizeof(many)) == sizeof(many), "write");
	check_accepted(ask(g, XN_VU_SET_VRING_KICK, &v, sizeof(v), &fd, 1));
	nap_ms(50);
	CHECK(daemon_quiet(&the_daemon, 300, 333), "more than 100 ms of processor in 300 ms");
	/* Commands are answered all the same. */
	a = ring_take(r);
	b = ring_take(r);
	memcpy(guest_at(g, g->free_at), set_pairs, sizeof(set_pairs));
	ring_desc(r, a, g->free_at, sizeof(set_pairs), VRING_DESC_F_NEXT, b);
	ring_desc(r, b, g->free_at + 4096, 1, VRING_DESC_F_WRITE, 0);
	ring_offer(r, a);
	CHECK(ring_wait(r, &head, &len, SOON_MS) && len == 1, "the command is not answered");
	check_loop(g, 8);
}

/* ---- the statistics socket ---- */

static void silent_clients(const void *arg)
{
	for (unsigned i = 0; i < 8; i++)
		own_fd(daemon_ctl_connect(&the_daemon));
	nap_ms(1100);
	check_answers();
}

static void restore_limit(void *arg)
{
	prlimit(the_daemon.pid, RLIMIT_NOFILE, arg, NULL);
}

/* As many fds as are open, and not one more: nobody can be let in. */
static void no_fds_left(const void *arg)
{
	static struct rlimit was;
	struct footprint f;
	struct rlimit none;
	struct front front;
	int ctl;

	daemon_footprint(&the_daemon, &f);
	CHECK(!prlimit(the_daemon.pid, RLIMIT_NOFILE, NULL, &was), "prlimit: %s", strerror(errno));
	none = (struct rlimit){ f.fds - 2, was.rlim_max };    /* without . and .. */
	CHECK(!prlimit(the_daemon.pid, RLIMIT_NOFILE, &none, NULL), "prlimit: %s", strerror(errno));
	at_end(restore_limit, &was);
	ctl = own_fd(daemon_ctl_connect(&the_daemon));
	CHECK(!front_connect(&front, the_daemon.sock, SOON_MS), "%s", front.error);
	own_fd(front.fd);
	CHECK(ctl >= 0, "connect");
	CHECK(daemon_quiet(&the_daemon, 300, 200), "more than 60 ms of processor in 300 ms");
	restore_limit(&was);
	nap_ms(150);
	check_answers();
}

/* ---- a directory that somebody has locked ---- */

static void locked_directory(const void *arg)
{
	const char *dir = getenv("XN_VHOST_DIR");
	char path[100], said[500];
	const char *const words[] = { "--socket", path, "--port", "loopback", NULL };
	uint64_t from = now_ms();
	int fd, status;

	CHECK(dir, "no directory");
	fd = own_fd(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	snprintf(path, sizeof(path), "%s/locked.sock", dir);
	CHECK(!flock(fd, LOCK_EX), "flock: %s", strerror(errno));
	status = daemon_run(words, said, sizeof(said));
	CHECK(status == 1, "exit status %d", status);
	CHECK(now_ms() - from < SOON_MS, "%llu ms", (unsigned long long)(now_ms() - from));
	CHECK(strstr(said, "locked"), "it does not say why: %s", said);
}

void add_wait_cases(void)
{
	static const struct mute_arg mutes[] = {
		{ "SET_VRING_KICK", XN_VU_SET_VRING_KICK, 8 }, { "SET_VRING_CALL", XN_VU_SET_VRING_CALL, 8 },
		{ "SET_VRING_ERR", XN_VU_SET_VRING_ERR, 8 }, { "SET_MEM_TABLE", XN_VU_SET_MEM_TABLE, 40 },
		{ "SET_LOG_BASE", XN_VU_SET_LOG_BASE, 16 },
		{ "SET_INFLIGHT_FD", XN_VU_SET_INFLIGHT_FD, 20 },
		{ "SET_BACKEND_REQ_FD", XN_VU_SET_BACKEND_REQ_FD, 0 },
		{ "SET_OWNER, which takes none", XN_VU_SET_OWNER, 0 },
	};
	static const struct block_arg blocks[] = {
		{ "kick eventfd of a transmit ring", TX, KICK }, { "call eventfd of a transmit ring", TX, CALL },
		{ "error eventfd of a transmit ring", TX, ERR }, { "kick eventfd of a receive ring", RX, KICK },
		{ "kick eventfd of the control queue", CTRL, KICK },
		{ "call eventfd of the control queue", CTRL, CALL },
		{ "error eventfd of the control queue", CTRL, ERR },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
		add_case(blocks_after_all, &blocks[i], "V16", "%s is made to block", blocks[i].what);
	for (unsigned i = 0; i < ARRAY_SIZE(mutes); i++)
		add_case(mute_fd, &mutes[i], "V4", "fd of a file system that does not answer: %s",
			 mutes[i].name);
	add_case(ctrl_always_readable, NULL, "G37", "kicks of the control queue: a semaphore that says 2^40");
	add_case(silent_clients, NULL, "P7", "statistics socket: 8 clients that say nothing");
	add_case(no_fds_left, NULL, "P7", "no fds are left for whoever connects");
	add_case(locked_directory, NULL, "F22", "the socket's directory is locked by somebody: told at the start");
	add_case(many_mute_fds, NULL, "V4", "fds of a file system that does not answer: 160");
}
