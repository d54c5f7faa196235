/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starting, freezing and ending a back end. Theory in backend.h.
 *
 * The bench has threads when it forks: the keeper calls only what is async-signal-safe
 * (signal-safety(7)) before, and instead of, exec.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "bench/backend.h"

#define TERM_MS  5000      /* a clean end may take so long */
#define LOOK_MS  5
#define SAID_MAX 2000      /* bytes of its last words that are shown */
#define GONE     127       /* the shell's status if there is no such program */

enum { FREEZE = 'f', THAW = 't' };

/* ---- the command ---- */

static int put(char *out, size_t room, size_t *at, const char *word, size_t len)
{
	if (*at + len >= room)
		return xn_fail(E2BIG, "the back end's command is too long");
	memcpy(out + *at, word, len);
	*at += len;
	out[*at] = 0;
	return 0;
}

int xn_backend_expand(const char *command, const struct xn_backend_words *w, char *out,
		      size_t room)
{
	char queues[16];
	const struct { const char *name, *value; } words[] = {
		{ "{socket}", w->socket }, { "{ctl}", w->ctl }, { "{if}", w->ifname },
		{ "{cpus}", w->cpus }, { "{queues}", queues }, { "{program}", w->program },
	};
	size_t at = 0;
	int err = 0;

	snprintf(queues, sizeof(queues), "%u", w->queues);
	for (out[0] = 0; *command && !err;) {
		const char *word = command;
		size_t len = *command == '{' ? 0 : strcspn(command, "{"), skip = len;

		for (unsigned i = 0; !len && i < XN_ARRAY_SIZE(words); i++) {
			if (!words[i].value ||
			    strncmp(command, words[i].name, strlen(words[i].name)))
				continue;
			word = words[i].value;
			len = strlen(word);
			skip = strlen(words[i].name);
			break;
		}
		if (!skip)
			return xn_fail(EINVAL, "the back end's command: %.*s is none of {socket}, "
				       "{ctl}, {if}, {cpus}, {queues}",
				       (int)strcspn(command, "} ") + 1, command);
		err = put(out, room, &at, word, len);
		command += skip;
	}
	return err;
}

/* ---- the keeper ---- */

static bool ended(pid_t pid)
{
	siginfo_t si = { .si_pid = 0 };

	/* It stays a zombie, so that its number, which the group has too, stays taken. */
	return !waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) && si.si_pid == pid;
}

static void let_end(pid_t pid)
{
	kill(-pid, SIGTERM);
	kill(-pid, SIGCONT);
	for (int waited = 0; !ended(pid) && waited < TERM_MS; waited += LOOK_MS)
		poll(NULL, 0, LOOK_MS);
}

/* Until the leash ends, or the back end does; then nothing of it is left. */
static void keep(pid_t pid, int leash)
{
	struct pollfd p = { .fd = leash, .events = POLLIN };
	char order;

	while (!ended(pid)) {
		if (poll(&p, 1, 20 * LOOK_MS) <= 0)
			continue;
		if (read(leash, &order, 1) != 1) {
			let_end(pid);
			break;
		}
		kill(-pid, order == FREEZE ? SIGSTOP : SIGCONT);
		/* So that who asked can rely on it. */
		if (write(leash, &order, 1) != 1)
			continue;
	}
	kill(-pid, SIGKILL);
	while (waitpid(-pid, NULL, 0) > 0)
		continue;
}

/* Signals as a program expects them; nothing open but what is meant for it. */
static void become(const char *command, int in, int out)
{
	sigset_t none;

	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	dup2(in, 0);
	dup2(out, 1);
	dup2(out, 2);
	syscall(SYS_close_range, 3u, ~0u, 0u);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(GONE);
}

static void remove_sockets(const struct xn_backend *b)
{
	unlink(b->socket);
	unlink(b->ctl);
	rmdir(b->dir);
}

/* A child of the bench. Its back end's stdin is a pipe that stays open and empty: some
 * programs end when theirs does. */
static void keeper_main(const struct xn_backend *b, const char *command, int leash)
{
	pid_t pid;
	int in[2];

	/* A signal from the terminal is for the bench, which ends the leash then. */
	setpgid(0, 0);
	/* Whatever it forks is ours when it ends. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (pipe(in))
		_exit(GONE);
	pid = fork();
	if (!pid)
		become(command, in[0], b->out);
	if (pid > 0) {
		setpgid(pid, pid);
		/* The laboratory's namespaces go with the bench's fds of them, not ours. */
		dup2(leash, 0);
		dup2(in[1], 1);
		syscall(SYS_close_range, 2u, ~0u, 0u);
		keep(pid, 0);
	}
	remove_sockets(b);
	_exit(0);
}

/* ---- the bench's side ---- */

static int make_dir(struct xn_backend *b)
{
	const char *tmp = getenv("TMPDIR");
	int n;

	if (!tmp || tmp[0] != '/')
		tmp = "/tmp";
	n = snprintf(b->dir, sizeof(b->dir), "%s/xsknet-bench.XXXXXX", tmp);
	/* Sockets lie in it, whose paths are short (struct sockaddr_un). */
	if (n >= (int)sizeof(b->dir) || !mkdtemp(b->dir)) {
		int err = n >= (int)sizeof(b->dir) ? ENAMETOOLONG : errno;

		b->dir[0] = 0;
		return xn_fail(err, "cannot make a directory in %s: %s (another place: "
			       "TMPDIR=DIR)", tmp, strerror(err));
	}
	snprintf(b->socket, sizeof(b->socket), "%s/vhost.sock", b->dir);
	snprintf(b->ctl, sizeof(b->ctl), "%s/ctl.sock", b->dir);
	return 0;
}

static int fork_keeper(struct xn_backend *b, const char *command)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return xn_fail(errno, "socketpair: %s", strerror(errno));
	b->keeper = fork();
	if (!b->keeper)
		keeper_main(b, command, ends[1]);
	close(ends[1]);
	b->leash = ends[0];
	if (b->keeper > 0)
		return 0;
	b->keeper = 0;
	return xn_fail(errno, "fork: %s", strerror(errno));
}

int xn_backend_start(struct xn_backend *b, const char *command,
		     const struct xn_backend_words *given)
{
	struct xn_backend_words words = *given;
	char line[8192];
	int err;

	*b = (struct xn_backend){ .leash = -1, .out = -1 };
	err = make_dir(b);
	words.socket = b->socket;
	words.ctl = b->ctl;
	if (!err)
		err = xn_backend_expand(command, &words, line, sizeof(line));
	if (!err) {
		b->out = memfd_create("back end's words", MFD_CLOEXEC);
		if (b->out < 0)
			err = xn_fail(errno, "memfd_create: %s", strerror(errno));
		else
			fcntl(b->out, F_SETFL, O_APPEND);
	}
	if (!err)
		err = fork_keeper(b, line);
	if (err)
		xn_backend_stop(b, false);
	return err;
}

static void show_words(const struct xn_backend *b)
{
	char said[SAID_MAX + 1];
	off_t end = b->out >= 0 ? lseek(b->out, 0, SEEK_END) : 0;
	ssize_t n = end > 0 ? pread(b->out, said, SAID_MAX, XN_MAX(end - SAID_MAX, 0)) : 0;

	if (n <= 0)
		return;
	said[n] = 0;
	fprintf(stderr, "xsknet-bench: what the back end said:\n%s%s", said,
		said[n - 1] == '\n' ? "" : "\n");
}

void xn_backend_stop(struct xn_backend *b, bool show)
{
	const bool dead = b->keeper && !xn_backend_alive(b);

	if (b->leash >= 0)
		close(b->leash);
	if (b->keeper)
		waitpid(b->keeper, NULL, 0);
	else if (b->dir[0])
		remove_sockets(b);
	if (dead || show)
		show_words(b);
	if (b->out >= 0)
		close(b->out);
	*b = (struct xn_backend){ .leash = -1, .out = -1 };
}

/* The keeper's end of the leash closes when it has nothing to keep any more. */
bool xn_backend_alive(struct xn_backend *b)
{
	struct pollfd p = { .fd = b->leash, .events = POLLIN };

	return b->keeper && !(poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)));
}

void xn_backend_freeze(struct xn_backend *b, bool frozen)
{
	struct pollfd p = { .fd = b->leash, .events = POLLIN };
	char order = frozen ? FREEZE : THAW;

	if (!b->keeper || send(b->leash, &order, 1, MSG_NOSIGNAL) != 1)
		return;
	if (poll(&p, 1, 1000) > 0 && read(b->leash, &order, 1) != 1)
		return;     /* dead: whoever uses it next will see */
}
