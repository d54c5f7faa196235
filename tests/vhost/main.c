/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs the cases: vhost [-l] [-f WORD] [-n ROUNDS] [-s SEED] [-v] [-d XSKNETD]. After
 * each, SURVIVE: the daemon lives, nothing of the case is left in it, and a fresh guest
 * gets its frames.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/vhost/rig.h"

#define MAX_CASES  1000u
#define MAX_UNDO   512u
#define CASE_LIMIT_S 600u

static struct {
	case_fn run;
	const void *arg;
	char id[12], name[116];
	char *why;              /* it has failed */
} cases[MAX_CASES];
static unsigned n_cases;

static struct {
	void (*undo)(void *arg);
	void *arg;
} undos[MAX_UNDO];
static unsigned n_undos;

static bool spawned;            /* a process of spawn */
static jmp_buf out;
static char reason[400];
static unsigned asked_rounds;
static uint64_t seed = 1, random_state;

enum { PASSED = 1, FAILED, SKIPPED };

void add_case(case_fn run, const void *arg, const char *id, const char *name, ...)
{
	va_list ap;

	if (n_cases == MAX_CASES)
		abort();
	cases[n_cases].run = run;
	cases[n_cases].arg = arg;
	snprintf(cases[n_cases].id, sizeof(cases[0].id), "%s", id);
	va_start(ap, name);
	vsnprintf(cases[n_cases].name, sizeof(cases[0].name), name, ap);
	va_end(ap);
	n_cases++;
}

void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	if (spawned)
		_exit(1);
	longjmp(out, FAILED);
}

void skip(const char *why)
{
	snprintf(reason, sizeof(reason), "%s", why);
	longjmp(out, SKIPPED);
}

void at_end(void (*undo)(void *arg), void *arg)
{
	CHECK(n_undos < MAX_UNDO, "the case holds too much");
	undos[n_undos].undo = undo;
	undos[n_undos++].arg = arg;
}

static void end_spawned(void *arg)
{
	pid_t pid = (pid_t)(intptr_t)arg;

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

bool spawn_kill(pid_t pid)
{
	siginfo_t info = { 0 };

	kill(pid, SIGKILL);
	/* Not reaped: its number stays its own until the case ends. */
	return !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) && info.si_code == CLD_KILLED;
}

pid_t spawn(case_fn fn, const void *arg)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		spawned = true;
		n_undos = 0;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn(arg);
		_exit(0);
	}
	at_end(end_spawned, (void *)(intptr_t)pid);
	return pid;
}

static void close_own(void *arg)
{
	close((int)(intptr_t)arg);
}

int own_fd(int fd)
{
	CHECK(fd >= 0, "the case cannot have an fd that it needs: %s", strerror(errno));
	at_end(close_own, (void *)(intptr_t)fd);
	return fd;
}

unsigned rounds(unsigned usual)
{
	return asked_rounds ? asked_rounds : usual;
}

/* xorshift64* */
uint64_t rnd(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dull;
}

uint32_t rnd_below(uint32_t n)
{
	return (uint32_t)((rnd() >> 32) * n >> 32);
}

uint64_t now_ms(void)
{
	return xn_now_ns() / 1000000;
}

void nap_ms(unsigned ms)
{
	const struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

bool waiting(struct wait *w, unsigned ms)
{
	if (!w->until) {
		w->until = now_ms() + ms + 1;
		return true;
	}
	return now_ms() < w->until;
}

/* ---- running ---- */

static void survives(void)
{
	struct guest *g;

	CHECK(daemon_alive(&the_daemon), "the daemon has died: see %s", the_daemon.log);
	g = guest_open(&(struct guest_cfg){ 0 });
	check_loop(g, 8);
}

/* Runs fn under the jump; what it holds is let go. PASSED, FAILED, SKIPPED. */
static int guarded(case_fn fn, const void *arg)
{
	volatile int how = PASSED;

	switch (setjmp(out)) {
	case 0:
		alarm(CASE_LIMIT_S);
		fn(arg);
		break;
	case SKIPPED:
		how = SKIPPED;
		break;
	default:
		how = FAILED;
	}
	while (n_undos) {
		n_undos--;
		undos[n_undos].undo(undos[n_undos].arg);
	}
	alarm(0);
	return how;
}

static void survive_case(const void *arg)
{
	survives();
}

static void settled_case(const void *idle)
{
	const struct footprint *was = idle;
	struct footprint f;

	if (daemon_settled(&the_daemon, was))
		return;
	daemon_footprint(&the_daemon, &f);
	fail("something is left in the daemon: %u fds, %u mappings of memfds (idle: %u, %u)", f.fds,
	     f.memfd_maps, was->fds, was->memfd_maps);
}

static void restart_daemon(struct footprint *idle)
{
	daemon_undo(&the_daemon);
	if (!daemon_start(&the_daemon, "main", "loopback:queues=2", NULL)) {
		printf("%s does not start: see %s\n", daemon_program, the_daemon.log);
		exit(1);
	}
	/* What is made once, with the first guest, is not a leak. */
	if (guarded(survive_case, NULL) != PASSED)
		printf("a good guest is not served: %s\n", reason);
	nap_ms(50);
	daemon_footprint(&the_daemon, idle);
}

static void show_log(void)
{
	FILE *f = fopen(the_daemon.log, "re");
	char line[300];

	/* The last lines. */
	if (f && !fseek(f, -2000, SEEK_END) && !fgets(line, sizeof(line), f))
		clearerr(f);
	while (f && fgets(line, sizeof(line), f))
		printf("        | %s", line);
	if (f)
		fclose(f);
}

static void say_dead(void)
{
	bool alive = daemon_alive(&the_daemon);
	int s = the_daemon.status;

	if (!alive)
		printf("        the daemon has died: %s %d\n", WIFSIGNALED(s) ? "signal" : "exit status",
		       WIFSIGNALED(s) ? WTERMSIG(s) : WEXITSTATUS(s));
}

static int run_case(unsigned i, struct footprint *idle, bool verbose)
{
	uint64_t from = now_ms();
	int how;

	random_state = seed * 0x9e3779b97f4a7c15ull + i + 1;
	printf("%-4s %s", cases[i].id, cases[i].name);
	fflush(stdout);
	how = guarded(cases[i].run, cases[i].arg);
	if (how == SKIPPED)
		printf("\nskipped: %s\n", reason);
	if (how == PASSED || how == SKIPPED) {
		int after = guarded(survive_case, NULL);

		if (after == PASSED)
			after = guarded(settled_case, idle);
		if (after != PASSED)
			how = after;
	}
	if (how == PASSED && verbose)
		printf("  (%llu ms)\n", (unsigned long long)(now_ms() - from));
	else if (how == PASSED)
		printf("\n");
	if (how == FAILED) {
		printf("\n        FAILED: %s\n", reason);
		cases[i].why = strdup(reason);
		say_dead();
		show_log();
	}
	if (how == FAILED || !daemon_alive(&the_daemon))
		restart_daemon(idle);
	fflush(stdout);
	return how;
}

/* Those that have failed once more, as tests/check shows them at the end. */
static void tell_failed(void)
{
	for (unsigned i = 0; i < n_cases; i++) {
		if (cases[i].why)
			printf("failed: %s %s\n    %s\n", cases[i].id, cases[i].name, cases[i].why);
		free(cases[i].why);
	}
}

static void add_all(void)
{
	add_front_cases();
	add_msg_cases();
	add_mem_cases();
	add_ring_cases();
	add_guest_cases();
	add_ctrl_cases();
	add_steer_cases();
	add_coal_cases();
	add_gro_cases();
	add_inflight_cases();
	add_mutate_cases();
	add_fault_cases();
	add_wait_cases();
}

static void usage(void)
{
	puts("vhost [-l] [-f WORD] [-n ROUNDS] [-s SEED] [-v] [-d XSKNETD]\n"
	     "  -l  list the cases        -f  only those with WORD in id or name\n"
	     "  -n  rounds, or seconds, of cases that repeat something\n"
	     "  -s  seed (1)              -v  times        -d  the program (build/xsknetd)");
}

/* Sockets and logs of this run; those of a run that failed stay. */
static void make_dir(char *dir)
{
	if (!mkdtemp(dir) || setenv("XN_VHOST_DIR", dir, 1)) {
		perror(dir);
		exit(1);
	}
}

static void remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

int main(int argc, char **argv)
{
	char dir[] = "/tmp/xnv.XXXXXX";
	const char *filter = "";
	bool list = false, verbose = false;
	unsigned count[4] = { 0 };
	struct footprint idle;
	int c;

	while ((c = getopt(argc, argv, "lf:n:s:vd:h")) != -1) {
		switch (c) {
		case 'l': list = true; break;
		case 'f': filter = optarg; break;
		case 'n': asked_rounds = (unsigned)strtoul(optarg, NULL, 0); break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'v': verbose = true; break;
		case 'd': daemon_program = optarg; break;
		default: usage(); return c == 'h' ? 0 : 2;
		}
	}
	signal(SIGPIPE, SIG_IGN);
	add_all();
	if (!list) {
		make_dir(dir);
		restart_daemon(&idle);
	}
	for (unsigned i = 0; i < n_cases; i++) {
		if (!strstr(cases[i].name, filter) && !strstr(cases[i].id, filter))
			continue;
		if (list)
			printf("%-4s %s\n", cases[i].id, cases[i].name);
		else
			count[run_case(i, &idle, verbose)]++;
	}
	if (list)
		return 0;
	daemon_undo(&the_daemon);
	if (!count[FAILED])
		remove_dir(dir);
	tell_failed();
	printf("%u passed, %u failed, %u skipped\n", count[PASSED], count[FAILED], count[SKIPPED]);
	return count[FAILED] || !count[PASSED];
}
