/* SPDX-License-Identifier: BSD-2-Clause */
/* xsknetd in tests. Contract in xd.h. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "tests/cmocka.h"
#include "tests/net/xd.h"

#define NS_PER_MS    1000000ull
#define LIFE_S       600        /* then a daemon ends by itself, whatever the test does */
#define VERSION_1    (1ull << 32)

static char program[PATH_MAX];

static void pause_ms(unsigned ms)
{
	poll(NULL, 0, (int)ms);
}

static uint64_t deadline(unsigned ms)
{
	return xn_now_ns() + ms * NS_PER_MS;
}

/* ---- the process ---- */

bool xd_find(const char *argv0)
{
	char here[PATH_MAX];
	int n;

	if (!realpath(argv0, here))
		return false;
	n = snprintf(program, sizeof(program), "%s/../../xsknetd", dirname(here));
	return n < (int)sizeof(program) && !access(program, X_OK);
}

const char *xd_program(void)
{
	return program;
}

void xd_init(struct xd *d)
{
	*d = (struct xd){ .dir = "/tmp/xsknetd-test-XXXXXX" };
	assert_non_null(mkdtemp(d->dir));
	snprintf(d->sock, sizeof(d->sock), "%s/vhost.sock", d->dir);
	snprintf(d->ctl, sizeof(d->ctl), "%s/ctl.sock", d->dir);
	snprintf(d->log, sizeof(d->log), "%s/log", d->dir);
}

void xd_fini(struct xd *d)
{
	struct dirent *e;
	DIR *dir;

	if (d->pid) {
		kill(d->pid, SIGKILL);
		waitpid(d->pid, NULL, 0);
		d->pid = 0;
	}
	dir = opendir(d->dir);
	while (dir && (e = readdir(dir)))
		unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(d->dir);
}

/* What systemd does for User= (some user), AmbientCapabilities= and CapabilityBoundingSet=. */
static void become_unit(void)
{
	static const int caps[] = { CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON, CAP_SETPCAP };
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct set[2] = { { 0 } };
	bool ok;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(caps); i++)
		set[CAP_TO_INDEX(caps[i])].permitted |= CAP_TO_MASK(caps[i]);
	for (unsigned i = 0; i < 2; i++)
		set[i].effective = set[i].inheritable = set[i].permitted;
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(set[CAP_TO_INDEX(cap)].permitted & CAP_TO_MASK(cap)))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	ok = !prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) && !setgroups(0, NULL) &&
	     !setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534) &&
	     !syscall(__NR_capset, &head, set);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(caps); i++)
		ok = ok && !prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, caps[i], 0, 0);
	if (!ok)
		_exit(102);
}

static void become_daemon(struct xd *d, const struct xd_how *how, char **argv)
{
	char pid[16];
	int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	int file = open(program, O_PATH | O_CLOEXEC);   /* nobody may not find it by its path */

	alarm(LIFE_S);
	dup2(log, STDERR_FILENO);
	dup2(log, STDOUT_FILENO);
	dup2(log, XD_LEAKED_FD);
	if (how && how->lab && xn_lab_enter_near(how->lab))
		_exit(100);
	for (unsigned i = 0; how && how->env && how->env[i]; i++)
		putenv((char *)how->env[i]);
	if (how && how->fd3) {
		dup2(how->fd3, 3);
		fcntl(3, F_SETFD, 0);   /* it may have been 3 before */
	}
	if (how && how->activated) {
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", "1", 1);
	}
	if (how && how->as_unit)
		become_unit();
	fexecve(file, argv, environ);
	_exit(101);
}

void xd_spawn(struct xd *d, const struct xd_how *how, const char *const *args)
{
	const char *argv[40] = { "xsknetd" };
	unsigned n = 1;

	assert_int_equal(d->pid, 0);
	unlink(d->log);
	if (XD_SANITIZED) {
		argv[n++] = "--sandbox";
		argv[n++] = "off";
	}
	for (; *args && n < XN_ARRAY_SIZE(argv) - 3; args++)
		argv[n++] = !strcmp(*args, "@S") ? d->sock :
			    !strcmp(*args, "@C") ? d->ctl : *args;
	assert_null(*args);
	d->pid = fork();
	assert_true(d->pid >= 0);
	if (!d->pid)
		become_daemon(d, how, (char **)argv);
}

void xd_start(struct xd *d, const struct xd_how *how, const char *port, const char *const *more)
{
	const char *args[32] = { "--socket", "@S", "--ctl", "@C", "--port", port };
	unsigned n = 6;

	for (; more && *more && n < XN_ARRAY_SIZE(args) - 1; more++)
		args[n++] = *more;
	xd_spawn(d, how, args);
	if (!xd_said(d, ": ready", XD_SOON_MS))
		fail_msg("xsknetd did not start: see %s", d->log);
}

static char *log_of(const struct xd *d, char *text, size_t room)
{
	int fd = open(d->log, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, room - 1);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

bool xd_said(const struct xd *d, const char *part, unsigned ms)
{
	uint64_t until = deadline(ms);
	static char text[1u << 16];

	while (!strstr(log_of(d, text, sizeof(text)), part)) {
		if (xn_now_ns() > until || (ms && !xd_alive(d) && !strstr(log_of(d, text, sizeof(text)), part))) {
			print_message("xsknetd said:\n%s\n", text);
			return false;
		}
		pause_ms(2);
	}
	return true;
}

unsigned xd_count(const struct xd *d, const char *part)
{
	static char text[1u << 16];
	unsigned n = 0;

	for (char *at = log_of(d, text, sizeof(text)); (at = strstr(at, part)); at++)
		n++;
	return n;
}

int xd_wait(struct xd *d, unsigned ms)
{
	uint64_t until = deadline(ms);
	int status;

	for (;;) {
		if (waitpid(d->pid, &status, WNOHANG) == d->pid)
			break;
		if (xn_now_ns() > until)
			return -1;
		pause_ms(1);
	}
	d->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

void xd_stop(struct xd *d)
{
	assert_int_equal(kill(d->pid, SIGTERM), 0);
	assert_int_equal(xd_wait(d, XD_SOON_MS), 0);
}

bool xd_alive(const struct xd *d)
{
	siginfo_t si = { 0 };

	return !waitid(P_PID, (id_t)d->pid, &si, WEXITED | WNOHANG | WNOWAIT) && !si.si_pid;
}

/* ---- statistics ---- */

static int dial(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	close(fd);
	return -1;
}

json_t *xd_ask(const struct xd *d, const char *line)
{
	static char text[1u << 20];
	uint64_t until = deadline(XD_SOON_MS);
	struct pollfd p = { .fd = dial(d->ctl), .events = POLLIN };
	size_t n = 0;
	json_t *j = NULL;

	if (p.fd < 0)
		return NULL;
	if (send(p.fd, line, strlen(line), MSG_NOSIGNAL) < 0 || send(p.fd, "\n", 1, MSG_NOSIGNAL) < 0)
		goto out;
	while (!memchr(text, '\n', n) && n < sizeof(text) && xn_now_ns() < until) {
		ssize_t got;

		if (poll(&p, 1, 50) != 1)
			continue;
		got = read(p.fd, text + n, sizeof(text) - n);
		if (got <= 0)
			goto out;
		n += (size_t)got;
	}
	j = json_loadb(text, n, JSON_DISABLE_EOF_CHECK, NULL);
out:
	close(p.fd);
	return j;
}

uint64_t xd_stat(const struct xd *d, const char *path)
{
	json_t *all = xd_ask(d, "{\"cmd\":\"stats\"}"), *at = all;
	char copy[128], *word, *rest = copy;
	uint64_t v;

	assert_non_null(all);
	strcpy(copy, path);
	while ((word = strsep(&rest, ".")))
		at = json_is_array(at) ? json_array_get(at, strtoul(word, NULL, 10)) :
					 json_object_get(at, word);
	if (json_is_object(at))
		at = json_object_get(at, "value");
	if (!at)
		fail_msg("the statistics have no %s", path);
	v = json_is_boolean(at) ? json_is_true(at) : (uint64_t)json_integer_value(at);
	json_decref(all);
	return v;
}

void xd_wait_stat(const struct xd *d, const char *path, uint64_t v)
{
	uint64_t until = deadline(XD_SOON_MS), now;

	while ((now = xd_stat(d, path)) != v) {
		if (xn_now_ns() > until)
			fail_msg("%s is %llu, not %llu", path, (unsigned long long)now,
				 (unsigned long long)v);
		pause_ms(5);
	}
}

/* ---- what the kernel says of it ---- */

uint64_t xd_cpu_ns(const struct xd *d)
{
	char path[64];
	struct dirent *e;
	uint64_t sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)d->pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir))) {
		unsigned long long ns = 0;
		char stat[400];
		FILE *f;

		snprintf(stat, sizeof(stat), "%s/%s/schedstat", path, e->d_name);
		f = e->d_name[0] == '.' ? NULL : fopen(stat, "re");
		if (f && fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		if (f)
			fclose(f);
	}
	closedir(dir);
	return sum;
}

unsigned xd_fds(const struct xd *d)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)d->pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

/* ---- a guest ---- */

void xd_guest_init(struct xd_guest *g)
{
	*g = (struct xd_guest){ .f = { .fd = -1 } };
	drv_init(&g->drv, XD_RAM, 1);
	for (unsigned i = 0; i < 2; i++) {
		g->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		g->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_true(g->kick[i] >= 0 && g->call[i] >= 0);
	}
}

void xd_guest_unplug(struct xd_guest *g)
{
	front_close(&g->f);
}

void xd_guest_fini(struct xd_guest *g)
{
	xd_guest_unplug(g);
	drv_fini(&g->drv);
	for (unsigned i = 0; i < 2; i++) {
		close(g->kick[i]);
		close(g->call[i]);
	}
}

static void must(struct xd_guest *g, int rc, const char *what)
{
	if (rc)
		fail_msg("%s: %d: %s", what, rc, g->f.error);
}

int xd_guest_try(struct xd_guest *g, const char *path, int fd)
{
	struct front_region region = { .size = XD_RAM, .user_addr = XD_BASE, .fd = g->drv.fd };
	int err = 0;

	if (fd < 0)
		err = front_connect(&g->f, path, FRONT_WAIT_MS);
	else
		g->f = (struct front){ .fd = fd };
	if (!err)
		err = front_negotiate(&g->f, VERSION_1 | 1ull << XN_VU_F_PROTOCOL_FEATURES, VERSION_1,
				      1ull << XN_VU_P_REPLY_ACK);
	if (!err)
		err = front_set_mem(&g->f, &region, 1);
	for (unsigned i = 0; i < 2 && !err; i++) {
		struct xn_vring v = drv_vring(i);
		struct front_ring r = {
			.index = i, .size = v.size, .desc = XD_BASE + v.desc_gpa,
			.avail = XD_BASE + v.avail_gpa, .used = XD_BASE + v.used_gpa,
			.base = g->drv.q[i].seen, .kick_fd = g->kick[i], .call_fd = g->call[i],
			.err_fd = -1,
		};

		err = front_start_ring(&g->f, &r);
		if (!err)
			err = front_enable_ring(&g->f, i, true);
	}
	return err;
}

void xd_guest_plug(struct xd_guest *g, const char *path, int fd)
{
	must(g, xd_guest_try(g, path, fd), "a guest");
}

void xd_guest_feed(struct xd_guest *g, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		drv_post1(&g->drv, 0, XD_RX_AT + i * 2048, 1536);
	eventfd_write(g->kick[0], 1);
}

bool xd_guest_send(struct xd_guest *g, uint32_t bytes)
{
	if (!g->drv.q[1].n_free)
		return false;
	memset(g->drv.ram + XD_TX_AT, 0, DRV_HDR);
	drv_post1(&g->drv, 1, XD_TX_AT, DRV_HDR + bytes);
	eventfd_write(g->kick[1], 1);
	return true;
}

void xd_guest_reap(struct xd_guest *g)
{
	uint16_t head;
	uint32_t len;

	while (drv_used(&g->drv, 1, &head, &len))
		g->sent++;
	while (drv_used(&g->drv, 0, &head, &len)) {
		g->got += len > 0;
		drv_post1(&g->drv, 0, drv_desc(&g->drv, 0)[head].addr, 1536);
	}
}

bool xd_guest_ping(struct xd_guest *g, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t got = g->got, sent = g->sent, until = deadline(XD_SOON_MS);

		if (!xd_guest_send(g, 60))
			return false;
		while (g->got == got || g->sent == sent) {
			xd_guest_reap(g);
			if (xn_now_ns() > until)
				return false;
		}
	}
	return true;
}
