/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon as a process: start, end, what it holds, what it says. Contract in rig.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/vhost/rig.h"

#define START_MS (2 * SOON_MS)  /* a sanitized program takes its time */
#define MAX_WORDS 24u

struct daemon the_daemon;
const char *daemon_program = "build/xsknetd";

/* A file name among those of this run: they lie in a directory whose name is short (main.c). */
static void name_file(char *to, size_t room, const char *name, const char *what)
{
	snprintf(to, room, "%s/%s.%s", getenv("XN_VHOST_DIR"), name, what);
}

static void become(const struct daemon *d, const char *port, const char *const *more)
{
	const char *words[MAX_WORDS] = { daemon_program, "--socket", d->sock, "--port", port,
					 "--ctl", d->ctl, "--poll", "sleep" };
	unsigned n = 9;
	int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	while (more && *more && n < MAX_WORDS - 1)
		words[n++] = *more++;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
		_exit(125);
	execv(daemon_program, (char **)words);
	dprintf(2, "%s: %s\n", daemon_program, strerror(errno));
	_exit(126);
}

static bool listens(const struct daemon *d)
{
	struct front f;
	bool yes = !front_connect(&f, d->sock, 0);

	front_close(&f);
	return yes && daemon_try_number(d, "messages", &(uint64_t){ 0 });
}

bool daemon_start(struct daemon *d, const char *name, const char *port, const char *const *more)
{
	struct wait w = { 0 };

	*d = (struct daemon){ 0 };
	name_file(d->sock, sizeof(d->sock), name, "sock");
	name_file(d->ctl, sizeof(d->ctl), name, "ctl");
	name_file(d->log, sizeof(d->log), name, "log");
	d->pid = fork();
	if (d->pid < 0)
		return false;
	if (!d->pid)
		become(d, port, more);
	while (waiting(&w, START_MS) && daemon_alive(d)) {
		if (listens(d))
			return true;
		nap_ms(5);
	}
	return false;
}

int daemon_run(const char *const *words, char *said, size_t room)
{
	const char *argv[MAX_WORDS] = { daemon_program };
	struct daemon d = { 0 };
	ssize_t got = 0;
	int p[2], status;

	for (unsigned n = 1; *words && n < MAX_WORDS - 1; n++)
		argv[n] = *words++;
	*said = 0;
	if (pipe2(p, O_CLOEXEC))
		return -1;
	d.pid = fork();
	if (!d.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(p[1], 1) >= 0 && dup2(p[1], 2) >= 0)
			execv(daemon_program, (char **)argv);
		_exit(126);
	}
	close(p[1]);
	status = d.pid > 0 ? daemon_end(&d, 0, START_MS) : -1;
	daemon_undo(&d);
	if (status != -1)
		got = read(p[0], said, room - 1);
	said[got > 0 ? got : 0] = 0;
	close(p[0]);
	return status;
}

bool daemon_alive(struct daemon *d)
{
	if (d->pid > 0 && waitpid(d->pid, &d->status, WNOHANG) == d->pid)
		d->pid = 0;
	return d->pid > 0;
}

int daemon_end(struct daemon *d, int sig, unsigned wait_ms)
{
	struct wait w = { 0 };
	int status;

	if (d->pid <= 0)
		return -2;
	kill(d->pid, sig);
	while (waiting(&w, wait_ms)) {
		if (waitpid(d->pid, &status, WNOHANG) == d->pid) {
			d->pid = 0;
			return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
		}
		nap_ms(1);
	}
	return -1;
}

void daemon_undo(void *d)
{
	struct daemon *x = d;

	if (x->pid > 0) {
		kill(x->pid, SIGKILL);
		waitpid(x->pid, NULL, 0);
		x->pid = 0;
	}
}

/* ---- what it holds ---- */

static FILE *proc_open(const struct daemon *d, const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)d->pid, file);
	return fopen(path, "re");
}

bool daemon_status(const struct daemon *d, const char *field, char *value, size_t room)
{
	FILE *f = proc_open(d, "status");
	size_t n = strlen(field);
	char line[256];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		found = !strncmp(line, field, n) && line[n] == ':';
		if (found) {
			line[strcspn(line, "\n")] = 0;
			snprintf(value, room, "%s", line + n + 1 + strspn(line + n + 1, "\t "));
		}
	}
	if (f)
		fclose(f);
	return found;
}

static unsigned count_fds(const struct daemon *d)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)d->pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* Counted page by page where that may be read: VmRSS may be wrong by some pages for each processor
 * (Linux 6.2 to 6.15). */
static uint64_t resident_kb(const struct daemon *d)
{
	FILE *file = proc_open(d, "smaps_rollup");
	unsigned long long kb = 0;
	char line[256];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "Rss: %llu kB", &kb) == 1;
	if (file)
		fclose(file);
	if (!found && daemon_status(d, "VmRSS", line, sizeof(line)))
		kb = strtoull(line, NULL, 10);
	return kb;
}

void daemon_footprint(const struct daemon *d, struct footprint *f)
{
	unsigned long utime = 0, stime = 0;
	char text[600];
	FILE *file;

	*f = (struct footprint){ .fds = count_fds(d) };
	file = proc_open(d, "maps");
	while (file && fgets(text, sizeof(text), file)) {
		f->maps++;
		f->memfd_maps += !!strstr(text, "/memfd:");
	}
	if (file)
		fclose(file);
	f->rss_kb = resident_kb(d);
	file = proc_open(d, "stat");
	if (file && fgets(text, sizeof(text), file) && strrchr(text, ')') &&
	    sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &utime, &stime) == 2)
		f->cpu_ms = (utime + stime) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
	if (file)
		fclose(file);
}

bool daemon_grew(const struct daemon *d, const struct footprint *a, struct footprint *b, unsigned kb)
{
	struct wait w = { 0 };

	/* What it lets go, it lets go a little later than it answers. */
	while (waiting(&w, SOON_MS)) {
		daemon_footprint(d, b);
		if (b->fds <= a->fds && b->memfd_maps <= a->memfd_maps &&
		    (SANITIZED || (b->maps <= a->maps + 8 && b->rss_kb <= a->rss_kb + kb)))
			return false;
		nap_ms(10);
	}
	return true;
}

bool daemon_quiet(const struct daemon *d, unsigned ms, unsigned permille)
{
	struct footprint a, b;
	struct wait w = { 0 };

	while (waiting(&w, SOON_MS)) {
		const uint64_t from = now_ms();

		daemon_footprint(d, &a);
		nap_ms(ms);
		daemon_footprint(d, &b);
		if ((b.cpu_ms - a.cpu_ms) * 1000 <= permille * (now_ms() - from))
			return true;
	}
	return false;
}

bool daemon_settled(const struct daemon *d, const struct footprint *idle)
{
	struct wait w = { 0 };
	struct footprint f;

	while (waiting(&w, SOON_MS)) {
		daemon_footprint(d, &f);
		if (f.fds <= idle->fds && f.memfd_maps <= idle->memfd_maps)
			return true;
		nap_ms(2);
	}
	return false;
}

unsigned daemon_log_lines(const struct daemon *d)
{
	FILE *f = fopen(d->log, "re");
	unsigned n = 0;
	int c;

	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/* ---- what it says ---- */

int daemon_ctl_connect(const struct daemon *d)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", d->ctl);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* One line. */
static bool read_line(int fd, char *line, size_t room)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct wait w = { 0 };
	size_t n = 0;

	while (waiting(&w, SOON_MS) && n + 1 < room) {
		ssize_t got;

		if (poll(&p, 1, 100) <= 0)
			continue;
		got = read(fd, line + n, room - 1 - n);
		if (got <= 0)
			return false;
		n += (size_t)got;
		line[n] = 0;
		if (line[n - 1] == '\n')
			return true;
	}
	return false;
}

static json_t *stats(const struct daemon *d)
{
	static const char ask_for[] = "{\"cmd\":\"stats\"}\n";
	static char line[1u << 17];
	int fd = daemon_ctl_connect(d);
	json_t *j = NULL;

	if (fd < 0)
		return NULL;
	if (send(fd, ask_for, sizeof(ask_for) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(ask_for) - 1 &&
	    read_line(fd, line, sizeof(line)))
		j = json_loads(line, 0, NULL);
	close(fd);
	return j;
}

bool daemon_try_number(const struct daemon *d, const char *path, uint64_t *v)
{
	json_t *all = stats(d), *at = all;
	char word[64];
	bool found;

	while (at && *path) {
		size_t n = strcspn(path, ".");

		snprintf(word, sizeof(word), "%.*s", (int)n, path);
		at = json_object_get(at, word);
		path += n + (path[n] == '.');
	}
	found = json_is_number(at) || json_is_boolean(at);
	*v = !found ? 0 : json_is_boolean(at) ? json_is_true(at) : (uint64_t)json_number_value(at);
	json_decref(all);
	return found;
}

uint64_t daemon_number(const struct daemon *d, const char *path)
{
	uint64_t v;

	CHECK(daemon_try_number(d, path, &v), "statistics socket does not say %s", path);
	return v;
}

uint64_t counter(const struct daemon *d, const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), "counters.%s.value", name);
	return daemon_number(d, path);
}

bool counter_reaches(const struct daemon *d, const char *name, uint64_t v)
{
	struct wait w = { 0 };

	while (waiting(&w, SOON_MS)) {
		if (counter(d, name) >= v)
			return true;
		nap_ms(2);
	}
	return false;
}
