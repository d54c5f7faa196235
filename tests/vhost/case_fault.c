/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that end, stop or fight; memory that disappears; floods of nonsense; the
 * sandbox; and that none of it reaches another guest.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/vhost/rig.h"

/* ---- front ends that die ---- */

static void traffic_for_ever(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });

	for (;;)
		check_loop(g, 64);
}

static void half_a_table(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct { struct xn_vu_header h; uint32_t n, padding; } m = {
		{ XN_VU_SET_MEM_TABLE, XN_VU_VERSION, 40 }, 1, 0,
	};
	const struct xn_vu_header *h = &m.h;

	check_loop(g, 64);
	front_send(&g->front, h, &m.n, 8, &g->fd, 1);
	for (;;)
		pause();
}

static void front_killed(const void *arg)
{
	case_fn how = arg ? half_a_table : traffic_for_ever;

	for (unsigned i = 0; i < 10; i++) {
		pid_t pid = spawn(how, NULL);
		struct guest *g;
		uint64_t from;

		nap_ms(30 + rnd_below(20));
		CHECK(spawn_kill(pid), "the front end has ended before");
		from = now_ms();
		g = guest_open(&(struct guest_cfg){ 0 });
		check_loop(g, 8);
		CHECK(now_ms() - from < SOON_MS, "served again after %llu ms",
		      (unsigned long long)(now_ms() - from));
		guest_close(g);
	}
}

/* Connections that get to different points, and end. */
static void connects(const void *arg)
{
	static const enum stage stages[] = { CONNECTED, NEGOTIATED, MEMORY, STARTED };
	unsigned n = rounds(1000);
	struct footprint a = { 0 }, b;

	for (unsigned i = 0; i < n; i++) {
		struct front f;

		if (i == 100) {
			nap_ms(50);
			daemon_footprint(&the_daemon, &a);
		}
		if (i % 10 == 0) {
			struct guest *g = guest_open(&(struct guest_cfg){ .stage = stages[i / 10 % 4] });

			guest_close(g);
			continue;
		}
		CHECK(!front_connect(&f, the_daemon.sock, FRONT_WAIT_MS), "%s", f.error);
		if (i % 3)
			front_get_u64(&f, XN_VU_GET_FEATURES, &(uint64_t){ 0 });
		front_close(&f);
	}
	CHECK(!daemon_grew(&the_daemon, &a, &b, 1024),
	      "%u fds, %llu KiB became %u, %llu", a.fds, (unsigned long long)a.rss_kb, b.fds,
	      (unsigned long long)b.rss_kb);
}

static void second_front_end(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 }), *next;
	uint64_t v;
	struct front f;
	int rc;

	check_loop(g, 8);
	rc = front_connect(&f, the_daemon.sock, SOON_MS);
	if (!rc) {
		/* Closed at once, or left waiting; not served. */
		const struct xn_vu_header h = { XN_VU_GET_FEATURES, XN_VU_VERSION, 0 };
		struct xn_vu_header back;

		front_send(&f, &h, NULL, 0, NULL, 0);
		rc = front_recv(&f, &back, &v, sizeof(v), NULL, NULL, 200);
		front_close(&f);
		CHECK(rc, "two front ends are served");
	}
	check_loop(g, 64);
	guest_close(g);
	next = guest_open(&(struct guest_cfg){ 0 });
	check_loop(next, 8);
}

/* ---- the daemon itself ---- */

/* NULL: it does not start. */
static struct daemon *own_daemon_started(const char *name, const char *port)
{
	static const char *const unboxed[] = { "--sandbox", "off", NULL };
	static struct daemon d[3];
	static unsigned next;
	struct daemon *mine = &d[next++ % ARRAY_SIZE(d)];

	if (daemon_start(mine, name, port, SANITIZED ? unboxed : NULL))
		return mine;
	daemon_undo(mine);
	return NULL;
}

struct daemon *own_daemon(const char *name, const char *port)
{
	struct daemon *d = own_daemon_started(name, port);

	CHECK(d, "does not start: see the log of %s", name);
	at_end(daemon_undo, d);
	return d;
}

static bool exists(const char *path)
{
	struct stat s;

	return !lstat(path, &s);
}

static void terminated(const void *arg)
{
	const int *sig = arg;
	struct daemon *d = own_daemon("term", "loopback");
	struct guest *g = guest_open(&(struct guest_cfg){ .daemon = d });
	struct ring *tx = &g->ring[TX];
	uint32_t head, len;
	int status;

	check_loop(g, 64);
	for (unsigned i = 0; i < 100; i++) {
		const struct seg s = { g->free_at, HDR + 60 };

		ring_post(tx, &s, 1, 0);
	}
	ring_kick(tx);
	status = daemon_end(d, *sig, SOON_MS);
	CHECK(!status, "exit status %d", status);
	while (ring_used(tx, &head, &len))
		;
	CHECK(!tx->twice, "a head was used twice");
	/* Heads that it has not taken are the next daemon's: it goes on at the used index. */
	CHECK(ring_used_idx(tx) == (uint16_t)(tx->avail_next - tx->pending), "heads are missing");
	CHECK(!exists(d->sock) && !exists(d->ctl), "its sockets are still there");
}

static void terminated_idle(const void *arg)
{
	struct daemon *d = own_daemon("idle", "null");
	int status = daemon_end(d, SIGTERM, SOON_MS);

	CHECK(!status, "exit status %d", status);
	CHECK(!exists(d->sock) && !exists(d->ctl), "its sockets are still there");
}

static void second_instance(const void *arg)
{
	const char *const words[] = { "--socket", the_daemon.sock, "--port", "loopback", NULL };
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	char said[500];
	int status;

	check_loop(g, 8);
	status = daemon_run(words, said, sizeof(said));
	CHECK(status > 0, "exit status %d", status);
	CHECK(strstr(said, the_daemon.sock), "it does not say why: %s", said);
	check_loop(g, 64);
}

static void stopped_and_continued(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const struct seg s = { g->free_at, HDR + 60 };
	uint32_t head, len;

	check_loop(g, 64);
	kill(the_daemon.pid, SIGSTOP);
	for (unsigned i = 0; i < 50; i++)
		ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	nap_ms(300);
	kill(the_daemon.pid, SIGCONT);
	for (unsigned i = 0; i < 50; i++)
		CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS), "heads stay behind");
	CHECK(!guest_restart_rings(g), "%s", g->front.error);
	check_loop(g, 64);
}

/* ---- what it inherits ---- */

/* A file that gets too long ends a process, unless it ignores that. */
static void small_files(const void *arg)
{
	struct xn_vu_inflight want = { .num_queues = 2, .queue_size = 32768 }, got;
	struct rlimit was, now;
	struct daemon *d;
	struct guest *g;
	size_t bytes;
	int fd = -1;

	CHECK(!getrlimit(RLIMIT_FSIZE, &was), "getrlimit");
	now = (struct rlimit){ 65536, was.rlim_max };
	setrlimit(RLIMIT_FSIZE, &now);
	d = own_daemon_started("small", "loopback");
	setrlimit(RLIMIT_FSIZE, &was);
	CHECK(d, "does not start");
	at_end(daemon_undo, d);
	g = guest_open(&(struct guest_cfg){ .daemon = d, .stage = MEMORY });
	CHECK(!front_get(&g->front, XN_VU_GET_INFLIGHT_FD, &want, sizeof(want), &got, sizeof(got),
			 &bytes, &fd), "%s", g->front.error);
	if (fd >= 0)
		close(fd);
	CHECK(fd < 0 && !got.mmap_size, "an inflight area, in spite of the limit");
	check_in_step(g);
	CHECK(daemon_alive(d), "the daemon has died");
}

/* Signals that its parent has blocked: it takes those that it needs all the same. */
static void blocked_signals(const void *arg)
{
	sigset_t all, old;
	struct daemon *d;
	struct guest *g;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	d = own_daemon_started("blocked", "loopback");
	sigprocmask(SIG_SETMASK, &old, NULL);
	CHECK(d, "does not start");
	at_end(daemon_undo, d);
	g = guest_open(&(struct guest_cfg){ .daemon = d });
	check_loop(g, 8);
	CHECK(!ftruncate(g->fd, 0), "ftruncate: %s", strerror(errno));
	ring_kick(&g->ring[TX]);
	nap_ms(50);
	CHECK(daemon_alive(d), "memory that was lost has ended the daemon");
	CHECK(!daemon_end(d, SIGTERM, SOON_MS), "SIGTERM does not end it");
}

/* nohup, and jobs in the background of a script. */
static void ignored_signals(const void *arg)
{
	struct daemon *d;

	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	d = own_daemon_started("nohup", "loopback");
	signal(SIGHUP, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	CHECK(d, "does not start");
	at_end(daemon_undo, d);
	CHECK(daemon_end(d, SIGHUP, 100) == -1 && daemon_end(d, SIGINT, 100) == -1,
	      "it ends by a signal that it was told to ignore");
	CHECK(!daemon_end(d, SIGTERM, SOON_MS), "SIGTERM does not end it");
}

static void null_port(const void *arg)
{
	struct daemon *d = own_daemon("null", "null");
	struct guest *g = guest_open(&(struct guest_cfg){ .daemon = d });
	const struct seg in = { g->rx_at, BUF_BYTES }, s = { g->free_at, HDR + 60 };
	uint32_t head, len;

	memset(guest_at(g, s.at), 0, 100);
	ring_post(&g->ring[RX], &in, 1, VRING_DESC_F_WRITE);
	ring_kick(&g->ring[RX]);
	for (unsigned i = 0; i < 1000; i++) {
		ring_post(&g->ring[TX], &s, 1, 0);
		ring_kick(&g->ring[TX]);
		CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS) && !len, "packet %u stays", i);
	}
	CHECK(!ring_used(&g->ring[RX], &head, &len), "it receives something");
	CHECK(counter(d, "tx_packets") == 1000, "packets are not counted");
}

static void idle_costs_nothing(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });

	check_loop(g, 100);
	nap_ms(100);
	CHECK(daemon_quiet(&the_daemon, 500, 40), "it takes more than 20 ms of processor in 500 ms");
}

/* ---- memory that disappears ---- */

enum loss { ALL_AT_WORK, BUFFERS_AT_WORK, BEFORE_START, HOLE, PENDING };

static void memory_lost(const void *arg)
{
	const enum loss how = *(const enum loss *)arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = how == BEFORE_START ? MEMORY : ENABLED });
	const struct seg s = { g->tx_at, HDR + 60 };
	uint64_t keep = how == BUFFERS_AT_WORK ? g->rx_at - GUEST_GPA : 0;

	if (how != BEFORE_START)
		check_loop(g, 64);
	for (unsigned i = 0; i < 100 && how != HOLE; i++)
		ring_post(&g->ring[TX], &s, 1, 0);
	if (how == PENDING)
		ring_kick(&g->ring[TX]);
	if (how == HOLE) {
		CHECK(!fallocate(g->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)(g->rx_at - GUEST_GPA), 256 * BUF_BYTES), "fallocate: %s",
		      strerror(errno));
		check_loop(g, 64);
		return;
	}
	/* From here on this process must not touch what is gone, either. */
	CHECK(!ftruncate(g->fd, (off_t)keep), "ftruncate: %s", strerror(errno));
	ring_kick(&g->ring[TX]);
	ring_kick(&g->ring[RX]);
	if (how == BEFORE_START) {
		const struct front_ring rings[] = {
			{ RX, 256, GUEST_USER + (g->ring[RX].desc_gpa - GUEST_GPA),
			  GUEST_USER + (g->ring[RX].avail_gpa - GUEST_GPA),
			  GUEST_USER + (g->ring[RX].used_gpa - GUEST_GPA), 0, g->ring[RX].kick,
			  g->ring[RX].call, g->ring[RX].err },
			{ TX, 256, GUEST_USER + (g->ring[TX].desc_gpa - GUEST_GPA),
			  GUEST_USER + (g->ring[TX].avail_gpa - GUEST_GPA),
			  GUEST_USER + (g->ring[TX].used_gpa - GUEST_GPA), 0, g->ring[TX].kick,
			  g->ring[TX].call, g->ring[TX].err },
		};

		for (unsigned i = 0; i < 2 && !front_start_ring(&g->front, &rings[i]); i++)
			front_enable_ring(&g->front, i, true);
	}
	nap_ms(20);
	CHECK(daemon_alive(&the_daemon), "the daemon has died");
	CHECK(daemon_number(&the_daemon, "messages"), "no statistics");
	check_in_step(g);
}

/* ---- floods ---- */

static const uint64_t values[] = {
	0, 1, 2, 3, 255, 256, 257, 4095, 4096, 65535, 65536, 1ull << 20, 1ull << 31, UINT32_MAX,
	1ull << 32, 1ull << 40, 1ull << 63, UINT64_MAX, UINT64_MAX - 4095, GUEST_GPA, GUEST_USER,
	GUEST_USER + 4096, 1ull << XN_VU_F_PROTOCOL_FEATURES | 1ull << 32, 0xffff, 8, 1024,
};

static uint64_t value(void)
{
	return rnd_below(8) ? values[rnd_below(ARRAY_SIZE(values))] : rnd();
}

static uint32_t request_bytes(uint32_t request)
{
	static const uint8_t bytes[42] = {
		[2] = 8, [5] = 40, [6] = 16, [8] = 8, [9] = 40, [10] = 8, [11] = 8, [12] = 8, [13] = 8,
		[14] = 8, [16] = 8, [18] = 8, [19] = 8, [20] = 8, [24] = 18, [25] = 18, [31] = 20,
		[32] = 24, [37] = 40, [38] = 40, [39] = 8,
	};

	return request < ARRAY_SIZE(bytes) ? bytes[request] : 8;
}

/* One message, more or less wrong, with fds that fit or not. */
static int nonsense(struct front *f, const int *fds, unsigned n_kinds)
{
	uint32_t request = rnd_below(16) ? rnd_below(44) : (uint32_t)rnd();
	uint32_t bytes = request_bytes(request), half[2];
	union { uint64_t v[64]; uint8_t b[512]; } payload;
	struct xn_vu_header h = { request, XN_VU_VERSION | (rnd_below(8) ? XN_VU_NEED_REPLY : 0), 0 };
	unsigned n = rnd_below(4) ? rnd_below(2) : rnd_below(10);
	int with[10];

	for (unsigned i = 0; i < ARRAY_SIZE(payload.v); i++)
		payload.v[i] = value();
	for (unsigned i = 0; i < 2; i++)
		half[i] = (uint32_t)value();
	if (rnd_below(2))
		memcpy(payload.b, half, sizeof(half));
	if (!rnd_below(3))
		payload.v[0] = rnd_below(4) | (uint64_t)rnd_below(300) << 32;
	if (!rnd_below(6))
		bytes = rnd_below(sizeof(payload));
	h.size = rnd_below(12) ? bytes : (uint32_t)value();
	if (!rnd_below(30))
		h.flags = (uint32_t)rnd();
	for (unsigned i = 0; i < n; i++)
		with[i] = fds[rnd_below(n_kinds)];
	return front_send(f, &h, payload.b, bytes, with, n);
}

/* Reads answers, the first of which may take a moment. False: the session has ended. */
static bool drain(struct front *f)
{
	struct xn_vu_header h;
	uint8_t b[512];
	int wait_ms = 2, rc;

	while (!(rc = front_recv(f, &h, b, sizeof(b), NULL, NULL, wait_ms)))
		wait_ms = 0;
	return rc == -ETIMEDOUT;
}

static unsigned make_fds(int *fds, unsigned room)
{
	unsigned n = 0;
	int p[2];

	fds[n++] = own_fd(memfd_create("nonsense", MFD_CLOEXEC));
	CHECK(!ftruncate(fds[0], 1 << 21), "ftruncate");
	fds[n++] = fds[0];
	fds[n++] = own_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	fds[n++] = own_fd(open("/dev/null", O_RDWR | O_CLOEXEC));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), "socketpair");
	fds[n++] = own_fd(p[0]);
	own_fd(p[1]);
	CHECK(n <= room, "room");
	return n;
}

/* Some sessions begin like a VMM's. */
static void begin(struct front *f)
{
	front_connect(f, the_daemon.sock, FRONT_WAIT_MS);
	if (rnd_below(4))
		front_negotiate(f, rnd(), BIT(VIRTIO_F_VERSION_1), UINT64_MAX);
	f->need_reply = false;
}

static void malformed(const void *arg)
{
	unsigned n = rounds(10) * 1000, lines = daemon_log_lines(&the_daemon), sessions = 0;
	struct front f = { .fd = -1 };
	struct footprint a = { 0 }, b;
	uint64_t from = now_ms(), taken = daemon_number(&the_daemon, "messages");
	int fds[8];
	unsigned n_fds = make_fds(fds, ARRAY_SIZE(fds));

	for (unsigned i = 0; i < n; i++) {
		if (f.fd < 0) {
			begin(&f);
			sessions++;
		}
		if (i == n / 10) {
			front_close(&f);
			begin(&f);
			daemon_footprint(&the_daemon, &a);
		}
		if (nonsense(&f, fds, n_fds) || !drain(&f) || !rnd_below(25))
			front_close(&f);
	}
	front_close(&f);
	nap_ms(100);
	lines = daemon_log_lines(&the_daemon) - lines;
	taken = daemon_number(&the_daemon, "messages") - taken;
	printf(" (%u sessions, %llu messages taken, %u log lines in %llu ms)", sessions,
	       (unsigned long long)taken, lines, (unsigned long long)(now_ms() - from));
	CHECK(taken > n / 2, "only %llu of %u messages were read", (unsigned long long)taken, n);
	CHECK(!daemon_grew(&the_daemon, &a, &b, 2048),
	      "%u fds, %u mappings, %llu KiB became %u, %u, %llu", a.fds, a.maps,
	      (unsigned long long)a.rss_kb, b.fds, b.maps, (unsigned long long)b.rss_kb);
	/* Ten a second, and what may come at once at the beginning. */
	CHECK(lines <= 20 + 10 * (now_ms() - from) / 1000, "%u log lines in %llu ms", lines,
	      (unsigned long long)(now_ms() - from));
}

static void log_rate(const void *arg)
{
	unsigned lines = daemon_log_lines(&the_daemon);
	uint64_t from = now_ms();

	while (now_ms() < from + 1000) {
		struct front f;

		CHECK(!front_connect(&f, the_daemon.sock, FRONT_WAIT_MS), "%s", f.error);
		front_close(&f);
	}
	lines = daemon_log_lines(&the_daemon) - lines;
	CHECK(lines <= 20 + 20 * (now_ms() - from) / 1000, "connections alone: %u log lines in %llu ms",
	      lines, (unsigned long long)(now_ms() - from));
}

/* ---- the statistics socket ---- */

struct ctl_arg { const char *what, *text; unsigned repeat; };

static void ctl_abuse(const void *arg)
{
	const struct ctl_arg *c = arg;
	int fd = own_fd(daemon_ctl_connect(&the_daemon));

	for (unsigned i = 0; i < c->repeat; i++)
		if (send(fd, c->text, strlen(c->text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
	CHECK(daemon_number(&the_daemon, "messages"), "another client gets no answer");
}

static void ctl_crowd(const void *arg)
{
	int fds[40];

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = daemon_ctl_connect(&the_daemon);
	/* Some may have been refused; those that wait must not keep others out for ever. */
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	CHECK(daemon_number(&the_daemon, "messages"), "no answer behind a crowd");
}

/* ---- the sandbox ---- */

static void each_thread(const char *field, const char *want)
{
	char path[64], line[256];
	DIR *tasks;
	struct dirent *e;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)the_daemon.pid);
	tasks = opendir(path);
	CHECK(tasks, "opendir %s", path);
	while ((e = readdir(tasks))) {
		struct daemon one = { .pid = atoi(e->d_name) };
		bool good;

		if (e->d_name[0] == '.')
			continue;
		good = daemon_status(&one, field, line, sizeof(line)) && !strcmp(line, want);
		if (!good) {
			closedir(tasks);
			fail("%s of a thread is %s, not %s", field, line, want);
		}
	}
	closedir(tasks);
}

static void sandboxed(const void *arg)
{
	char line[64];

	each_thread("CapEff", "0000000000000000");
	each_thread("CapPrm", "0000000000000000");
	each_thread("CapInh", "0000000000000000");
	each_thread("CapAmb", "0000000000000000");
	each_thread("NoNewPrivs", "1");
	each_thread("Seccomp", "2");
	if (geteuid() == 0)
		each_thread("CapBnd", "0000000000000000");
	CHECK(daemon_status(&the_daemon, "FDSize", line, sizeof(line)), "no status");
}

/* ---- guest A attacks, guest B works ---- */

static struct daemon *victim_of;

static void attack(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){
		.daemon = victim_of, .features = BIT(VIRTIO_NET_F_MRG_RXBUF) |
						 BIT(VIRTIO_RING_F_INDIRECT_DESC) });

	mutate_start(g, 42);
	for (;;)
		mutate_turn(g);
}

/* Packets there and back, one every millisecond: each of them comes, whole, and in order. How many
 * a second? */
static unsigned paced(struct guest *g, unsigned n)
{
	uint64_t from = now_ms(), next = from;

	for (unsigned i = 0; i < n; i++) {
		check_loop(g, 1);
		next++;
		while (now_ms() < next)
			nap_ms(1);
	}
	return (unsigned)(n * 1000ull / (now_ms() - from + 1));
}

/* (The rates are told: which of two programs a busy machine runs is not ours to judge.) */
static void isolated(const void *arg)
{
	struct guest *b = guest_open(&(struct guest_cfg){ 0 });
	unsigned before, during;
	pid_t pid;

	victim_of = own_daemon("a", "loopback");
	before = paced(b, 300);
	pid = spawn(attack, NULL);
	nap_ms(50);
	during = paced(b, 300);
	CHECK(spawn_kill(pid), "the attacker gave up");
	printf(" (%u a second, %u under attack)", before, during);
	CHECK(daemon_alive(victim_of), "the attacked daemon has died");
}

void add_fault_cases(void)
{
	static const int term = SIGTERM, intr = SIGINT, half = 1;
	static const enum loss losses[] = { ALL_AT_WORK, BUFFERS_AT_WORK, BEFORE_START, HOLE, PENDING };
	static const char *const lost[] = {
		"truncated in traffic", "truncated to its rings", "truncated before the rings start",
		"a hole punched into buffers", "truncated with packets pending",
	};
	static const struct ctl_arg ctl[] = {
		{ "nonsense", "\x01\xff{[}]\"\n", 100 }, { "a line that never ends", "aaaaaaaaaaaaaaaa", 100000 },
		{ "half a command", "{\"cmd\":", 1 }, { "an unknown command", "{\"cmd\":\"exit\"}\n", 100 },
		{ "a command that is no text", "{\"cmd\":{\"cmd\":[1]}}\n", 100 },
		{ "commands whose answers nobody reads", "{\"cmd\":\"stats\"}\n", 1000 },
		{ "deep nesting", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 2000 },
	};

	add_case(front_killed, NULL, "F1", "front end killed in traffic, ten times");
	add_case(front_killed, &half, "V31", "front end killed inside SET_MEM_TABLE, ten times");
	add_case(connects, NULL, "F21", "1000 connections: nothing grows");
	add_case(second_front_end, NULL, "F5", "a second front end is not served, and disturbs nothing");
	add_case(terminated, &term, "F2", "SIGTERM in traffic: drained, sockets gone, exit 0");
	add_case(terminated, &intr, "F2", "SIGINT in traffic: drained, sockets gone, exit 0");
	add_case(terminated_idle, NULL, "F2", "SIGTERM without a front end");
	add_case(second_instance, NULL, "F22", "a second daemon on the same socket fails, and says why");
	add_case(stopped_and_continued, NULL, "F16", "SIGSTOP and SIGCONT in traffic");
	add_case(small_files, NULL, "P8", "a small limit of the size of files: an inflight area is refused");
	add_case(blocked_signals, NULL, "P8", "signals blocked by who started it");
	add_case(ignored_signals, NULL, "P8", "SIGHUP and SIGINT ignored by who started it");
	add_case(null_port, NULL, "H16", "port null takes everything");
	add_case(idle_costs_nothing, NULL, "F6", "an idle guest costs no processor");
	for (unsigned i = 0; i < ARRAY_SIZE(losses); i++)
		add_case(memory_lost, &losses[i], "V30", "guest memory %s", lost[i]);
	add_case(malformed, NULL, "V6", "10 000 malformed messages: nothing grows, the log stays short");
	add_case(log_rate, NULL, "V6", "connections at full speed: the log stays short");
	for (unsigned i = 0; i < ARRAY_SIZE(ctl); i++)
		add_case(ctl_abuse, &ctl[i], "P7", "statistics socket: %s", ctl[i].what);
	add_case(ctl_crowd, NULL, "P7", "statistics socket: 40 clients");
	add_case(isolated, NULL, "F7", "guest A attacks, guest B loses nothing");
	add_case(sandboxed, NULL, "P1", "no capabilities, no new privileges, seccomp, in all threads");
}
