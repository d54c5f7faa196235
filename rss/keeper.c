/* SPDX-License-Identifier: BSD-2-Clause */
/* A process that programs a NIC for another. Theory in rss/keeper.h. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <stddef.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

/*
 * The system calls that are left once the NIC is open. It may be root: so none that opens, makes or
 * runs anything. What is not there fails (EPERM), in whoever it is.
 */
static const struct { uint32_t nr, arg, mask, value; } calls[] = {
	{ __NR_ioctl, 1, UINT32_MAX, SIOCETHTOOL },
	{ __NR_recvfrom, 0, 0, 0 },      { __NR_sendto, 0, 0, 0 },
	{ __NR_pwrite64, 0, 0, 0 },      { __NR_ftruncate, 0, 0, 0 },     /* the state */
	{ __NR_unlinkat, 0, 0, 0 },      { __NR_close, 0, 0, 0 },
	{ __NR_mmap, 2, PROT_EXEC, 0 },  { __NR_munmap, 0, 0, 0 },        /* malloc */
	{ __NR_mremap, 0, 0, 0 },        { __NR_brk, 0, 0, 0 },
	{ __NR_rt_sigreturn, 0, 0, 0 },  { __NR_restart_syscall, 0, 0, 0 },
	{ __NR_exit_group, 0, 0, 0 },
};

/* Of struct seccomp_data; the lower half of an argument on a little-endian machine. */
#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
#define ARCH AUDIT_ARCH_AARCH64
#endif
#define ARG(n) ((uint32_t)(offsetof(struct seccomp_data, args) + 8 * (n)))

/*
 *	arch is ours?  else refuse
 *	of each call:  nr is its?  else the next
 *	               argument & mask is its?  else refuse
 *	               allow
 *	refuse
 */
static void seal(void)
{
#ifdef ARCH
	struct sock_filter f[4 + 6 * XN_ARRAY_SIZE(calls)], *at = f;
	struct sock_fprog prog = { .filter = f };

	*at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	*at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(calls); i++) {
		*at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].nr, 0, 4);
		*at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG(calls[i].arg));
		*at++ = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, calls[i].mask);
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].value, 0, 1);
		*at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	*at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	prog.len = (unsigned short)(at - f);
	if (!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0))
		return;
	xn_log(XN_LOG_WARN, "the process that programs the NIC keeps all system calls: %s", strerror(errno));
#endif
}

static void serve(int fd, const struct xn_nic_cfg *cfg)
{
	static struct answer a;
	static struct request q;
	struct xn_nic *n;
	int err;

	xn_set_log(collect, &a, XN_LOG_WARN);
	err = xn_nic_open(&n, cfg);
	if (!err)
		seal();
	answer(fd, &a, err);
	if (err)
		return;
	while (recv(fd, &q, sizeof(q), 0) == (ssize_t)sizeof(q) && q.what != XN_KEEPER_CLOSE)
		answer(fd, &a, obey(n, cfg, &q, &a));
	/* Lines of putting back are in the last answer, if there is somebody to read it. */
	xn_nic_close(n);
	answer(fd, &a, 0);
}

/* Of capabilities that it has: CAP_NET_ADMIN, if it is there and needed. */
static void drop_capabilities(bool net_admin)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct have[2] = { { 0 } }, keep[2] = { { 0 } };
	const unsigned at = CAP_TO_INDEX(CAP_NET_ADMIN);

	if (syscall(__NR_capget, &head, have))
		_exit(1);
	if (net_admin)
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
	umask(077);
	if (chdir("/"))
		_exit(1);
	prctl(PR_SET_NAME, NAME, 0, 0, 0);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	keep_only(&fd, &cfg.state_dir);
	drop_capabilities(!cfg.keep);
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

/* Signals that are handled end a wait. */
static int read_answer(int *fd, struct answer *a)
{
	const uint64_t until_ns = xn_now_ns() + ANSWER_S * 1000000000ull;
	ssize_t n;

	do
		n = recv(*fd, a, sizeof(*a), 0);
	while (n < 0 && errno == EINTR && xn_now_ns() < until_ns);
	if (n == (ssize_t)sizeof(*a)) {
		a->log[sizeof(a->log) - 1] = a->error[sizeof(a->error) - 1] = '\0';
		a->told.why[sizeof(a->told.why) - 1] = '\0';
		log_lines(a->log);
		return a->err ? xn_fail(-a->err, "%s", a->error) : 0;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		/* An answer that came later would be taken for that of the next request. */
		close(*fd);
		*fd = -1;
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
		err = read_answer(&pair[0], &a);
	if (!err)
		*out = pair[0];
	else if (pair[0] >= 0)
		close(pair[0]);
	return err;
}

int xn_keeper_ask(int *fd, enum xn_keeper_request what, const struct xn_rss_config *rss,
		  struct xn_nic_told *told, bool *again)
{
	struct request q = { .what = what, .has_rss = rss != NULL };
	struct answer a = { 0 };
	int err;

	if (rss)
		q.rss = *rss;
	/* If it has gone, reading says so. */
	send(*fd, &q, sizeof(q), MSG_NOSIGNAL);
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
