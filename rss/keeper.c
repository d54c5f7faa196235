/* SPDX-License-Identifier: BSD-2-Clause */
/* A process that programs a NIC for another. Theory in rss/keeper.h. */
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "rss/config.h"
#include "rss/keeper.h"

#define ANSWER_S  10
#define LOG_BYTES 1024u
#define NAME      "xsknet-nic"

struct request {
	uint32_t what;
	bool has_rss;
	struct xn_rss_config rss;
};

struct answer {
	int32_t err;
	bool again;
	struct xn_nic_told told;
	char error[512];
	char log[LOG_BYTES];          /* lines that end in \n */
};

/* ---- the keeper ---- */

/* What it would say goes with the next answer, or with nobody left to hear it, nowhere. */
static void collect(void *arg, enum xn_log_level level, const char *line)
{
	struct answer *a = arg;
	size_t at = strlen(a->log);

	snprintf(a->log + at, sizeof(a->log) - at, "%s\n", line);
}

static bool is_sound(const struct xn_rss_config *rss, unsigned queues)
{
	if (!rss->entries || rss->entries > XN_RSS_TABLE_MAX || rss->entries & (rss->entries - 1) ||
	    rss->unclassified >= queues || rss->key_bytes < XN_RSS_KEY_BYTES ||
	    rss->key_bytes > XN_RSS_KEY_MAX || rss->types & ~XN_RSS_TYPES_ALL)
		return false;
	for (unsigned i = 0; i < rss->entries; i++)
		if (rss->table[i] >= queues)
			return false;
	return true;
}

static int obey(struct xn_nic *n, const struct xn_nic_cfg *cfg, const struct request *q, struct answer *a)
{
	switch (q->what) {
	case XN_KEEPER_SET:
		if (q->has_rss && !is_sound(&q->rss, cfg->queues))
			return xn_fail(EINVAL, "%s: this RSS configuration makes no sense", cfg->ifname);
		return xn_nic_set(n, q->has_rss ? &q->rss : NULL, &a->told);
	case XN_KEEPER_CHECK:
		return xn_nic_check(n, &a->told, &a->again);
	case XN_KEEPER_REPEAT:
		return xn_nic_repeat(n, &a->told);
	default:
		return xn_fail(EINVAL, "no such request");
	}
}

static void answer(int fd, struct answer *a, int err)
{
	a->err = err;
	if (err)
		snprintf(a->error, sizeof(a->error), "%s", xn_last_error());
	send(fd, a, sizeof(*a), MSG_NOSIGNAL);
	memset(a, 0, sizeof(*a));
}

static void serve(int fd, const struct xn_nic_cfg *cfg)
{
	static struct answer a;
	static struct request q;
	struct xn_nic *n;
	int err;

	xn_set_log(collect, &a, XN_LOG_WARN);
	err = xn_nic_open(&n, cfg);
	answer(fd, &a, err);
	if (err)
		return;
	while (recv(fd, &q, sizeof(q), 0) == (ssize_t)sizeof(q) && q.what != XN_KEEPER_CLOSE)
		answer(fd, &a, obey(n, cfg, &q, &a));
	/* Lines of putting back are in the last answer, if there is somebody to read it. */
	xn_nic_close(n);
	answer(fd, &a, 0);
}

/* Of capabilities that it has: CAP_NET_ADMIN, if it is there. */
static void drop_all_but_net_admin(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct have[2] = { { 0 } }, keep[2] = { { 0 } };
	const unsigned at = CAP_TO_INDEX(CAP_NET_ADMIN);

	if (syscall(__NR_capget, &head, have))
		_exit(1);
	keep[at].permitted = keep[at].effective = have[at].permitted & CAP_TO_MASK(CAP_NET_ADMIN);
	if (syscall(__NR_capset, &head, keep) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		_exit(1);
}

/* Nothing else that the maker has open stays open because of us: a program would stay attached, a
 * socket bound. */
static void keep_only(int *fd, int *state_dir)
{
	int high[2] = { dup(*fd), *state_dir < 0 ? -1 : dup(*state_dir) };

	if (high[0] < 0 || (*state_dir >= 0 && high[1] < 0) || dup2(high[0], 3) < 0 ||
	    (high[1] >= 0 && dup2(high[1], 4) < 0))
		_exit(1);
	*fd = 3;
	*state_dir = high[1] >= 0 ? 4 : -1;
	syscall(__NR_close_range, high[1] >= 0 ? 5u : 4u, ~0u, 0u);
}

__attribute__((noreturn))
static void be_keeper(int fd, const struct xn_nic_cfg *given)
{
	struct xn_nic_cfg cfg = *given;

	cfg.keeper = false;
	setsid();
	prctl(PR_SET_NAME, NAME, 0, 0, 0);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	keep_only(&fd, &cfg.state_dir);
	drop_all_but_net_admin();
	serve(fd, &cfg);
	_exit(0);
}

/* ---- its maker ---- */

static void log_lines(char *text)
{
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		xn_log(XN_LOG_WARN, "%s", line);
	}
}

static int read_answer(int fd, struct answer *a)
{
	ssize_t n = recv(fd, a, sizeof(*a), 0);

	if (n == (ssize_t)sizeof(*a)) {
		a->log[sizeof(a->log) - 1] = a->error[sizeof(a->error) - 1] = '\0';
		a->told.why[sizeof(a->told.why) - 1] = '\0';
		log_lines(a->log);
		return a->err ? xn_fail(-a->err, "%s", a->error) : 0;
	}
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		/* An answer that came later would be taken for that of the next request. */
		shutdown(fd, SHUT_RDWR);
		return xn_fail(ETIMEDOUT, "the process that programs the NIC does not answer: a driver may hang");
	}
	return xn_fail(EPIPE, "the process that programs the NIC has gone: start anew to have it programmed");
}

/* The keeper is a child of a child that ends at once: nobody has to wait for it later. */
static int spawn(int fd, const struct xn_nic_cfg *cfg)
{
	pid_t pid = fork();
	int status = 0;

	if (pid < 0)
		return xn_fail(errno, "cannot start a process to program the NIC: %s", strerror(errno));
	if (!pid) {
		pid = fork();
		if (!pid)
			be_keeper(fd, cfg);
		_exit(pid < 0 ? 1 : 0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		return xn_fail(EAGAIN, "cannot start a process to program the NIC: too many processes");
	return 0;
}

int xn_keeper_start(int *out, const struct xn_nic_cfg *cfg)
{
	const struct timeval limit = { .tv_sec = ANSWER_S };
	struct answer a = { 0 };
	int pair[2], err;

	*out = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return xn_fail(errno, "cannot make a socket: %s", strerror(errno));
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	err = spawn(pair[1], cfg);
	close(pair[1]);
	if (!err)
		err = read_answer(pair[0], &a);
	if (err)
		close(pair[0]);
	else
		*out = pair[0];
	return err;
}

int xn_keeper_ask(int fd, enum xn_keeper_request what, const struct xn_rss_config *rss,
		  struct xn_nic_told *told, bool *again)
{
	struct request q = { .what = what, .has_rss = rss != NULL };
	struct answer a = { 0 };
	int err;

	if (rss)
		q.rss = *rss;
	/* If it has gone, reading says so. */
	send(fd, &q, sizeof(q), MSG_NOSIGNAL);
	err = read_answer(fd, &a);
	if (told)
		*told = a.told;
	if (again)
		*again = a.again;
	if (err && told && !told->why[0]) {
		told->status = XN_NIC_UNSUPPORTED;
		snprintf(told->why, sizeof(told->why), "%s", xn_last_error());
	}
	return err;
}
