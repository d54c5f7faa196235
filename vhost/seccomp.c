/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls that are left once the daemon serves: one list, each with its reason.
 * Whatever is not there ends the process (SIGSYS), in all threads.
 *
 * What is not there, and why it is not missed: open (everything is open), socket
 * (AF_XDP sockets are kept in store, see --spare-sockets; asking for one fails), clone and
 * exec (threads are there), ioctl and prctl. mmap cannot make memory executable, mprotect
 * is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/types.h"
#include "vhost/sandbox.h"

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

/* An argument has to have this value, or none of these bits. */
enum check { ANY, IS, WITHOUT };

struct call {
	int nr;
	const char *name, *why;
	unsigned arg;
	enum check check;
	uint64_t v[6];      /* IS: one of these, up to the first 0 */
};
#define CALL(name, why)           { SCMP_SYS(name), #name, why, 0, ANY, { 0 } }
#define IF(name, why, arg, ...)   { SCMP_SYS(name), #name, why, arg, IS, { __VA_ARGS__ } }
#define NOT(name, why, arg, bits) { SCMP_SYS(name), #name, why, arg, WITHOUT, { bits } }

static const struct call calls[] = {
	/* messages and packets */
	CALL(read,         "eventfds: kicks, signalfd"),
	CALL(write,        "eventfds: calls to the guest; lines to stderr"),
	CALL(recvmsg,      "messages of front ends with fds; netlink: links"),
	CALL(sendmsg,      "answers with fds"),
	CALL(recvfrom,     "statistics socket; AF_XDP: receive wake-up"),
	CALL(sendto,       "AF_XDP: transmit; statistics, systemd, netlink"),
	CALL(accept4,      "front ends and readers of statistics"),
	/* waiting */
	CALL(ppoll,        "threads and main loop; state of one fd"),
	CALL(restart_syscall, "the same, after SIGSTOP and SIGCONT"),
	CALL(futex,        "parking of threads"),
	CALL(sched_yield,  "busy polling lets others run"),
	CALL(clock_gettime, "processor time of threads; time, where the vdso has none"),
	CALL(clock_nanosleep, "a queue that its last owner is still leaving"),
	/* guest memory, and our own */
	NOT(mmap,          "guest memory, rings of AF_XDP", 2, PROT_EXEC),
	CALL(munmap,       "the same"),
	CALL(mremap,       "realloc"),
	CALL(brk,          "malloc"),
	CALL(madvise,      "guest memory: not in core files, not in children"),
	IF(statx,          "is an fd of a front end an eventfd", 2, AT_EMPTY_PATH | AT_STATX_DONT_SYNC),
	CALL(fstatfs,      "is a file of a front end one that can be pinned"),
	CALL(fstat,        "size of such a file"),
	IF(newfstatat,     "the same in other versions of libc", 3, AT_EMPTY_PATH),
	IF(fcntl,          "flags and seals of such a file; copies of fds", 1,
	   F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS, F_ADD_SEALS),
	CALL(memfd_create, "inflight area"),
	CALL(ftruncate,    "the same"),
	CALL(timerfd_create, "a queue that waits for room, or to notify"),
	CALL(timerfd_settime, "the same"),
	CALL(timer_settime, "calls that a front end makes wait are ended"),
	CALL(close,        "everything"),
	/* AF_XDP */
	IF(setsockopt,     "UMEM and rings", 1, SOL_XDP, SOL_SOCKET),
	IF(getsockopt,     "offsets, mode, statistics", 1, SOL_XDP, SOL_SOCKET),
	CALL(bind,         "to a queue"),
	IF(bpf,            "map of sockets, counters", 0,
	   BPF_MAP_UPDATE_ELEM, BPF_MAP_DELETE_ELEM, BPF_MAP_LOOKUP_ELEM),
	CALL(membarrier,   "no program in the kernel uses an old socket any more"),
	/* signals and the end */
	IF(rt_sigaction,   "a SIGBUS that is not ours ends the process", 0, SIGBUS),
	CALL(rt_sigprocmask, "threads that end"),
	CALL(rt_sigreturn, "SIGBUS handler"),
	CALL(exit,         "threads"),
	CALL(exit_group,   "the process"),
};
_Static_assert(XN_ARRAY_SIZE(calls) <= 39, "at most 40 with unlinkat: each is a door");

unsigned xn_sandbox_calls(void)
{
	return XN_ARRAY_SIZE(calls);
}

const char *xn_sandbox_call(unsigned i, const char **why)
{
	*why = calls[i].why;
	return calls[i].name;
}

static int allow_if(scmp_filter_ctx ctx, int nr, unsigned arg, uint64_t mask, uint64_t v)
{
	const struct scmp_arg_cmp c = SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, v);

	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, 1, &c);
}

/* An int: the kernel does not look at the upper half, where anything may be. */
static int allow_int(scmp_filter_ctx ctx, int nr, unsigned arg, uint64_t v)
{
	return allow_if(ctx, nr, arg, UINT32_MAX, v);
}

/* With EPERM, unless that is what everything gets that is not allowed. */
static int refuse_int(scmp_filter_ctx ctx, int nr, unsigned arg, uint64_t v)
{
	const struct scmp_arg_cmp c = SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, v);
	uint32_t otherwise = 0;
	int err = seccomp_attr_get(ctx, SCMP_FLTATR_ACT_DEFAULT, &otherwise);

	if (err || otherwise == SCMP_ACT_ERRNO(EPERM))
		return err;
	return seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPERM), nr, 1, &c);
}

static int add_call(scmp_filter_ctx ctx, const struct call *c)
{
	int err = 0;

	switch (c->check) {
	case ANY:
		return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, c->nr, 0, NULL);
	case WITHOUT:
		return allow_if(ctx, c->nr, c->arg, c->v[0], 0);
	case IS:
		for (unsigned i = 0; i < XN_ARRAY_SIZE(c->v) && !err && (c->v[i] || !i); i++)
			err = allow_int(ctx, c->nr, c->arg, c->v[i]);
		return err;
	}
	return -EINVAL;
}

/* What depends on how the daemon was started. */
static int add_extra(scmp_filter_ctx ctx, const struct xn_sandbox *s)
{
	int err = 0;

	/* Names of our sockets, when they end: are they still ours, and away with them. */
	for (unsigned i = 0; i < s->n_dirs && !err; i++) {
		err = allow_int(ctx, SCMP_SYS(unlinkat), 0, (unsigned)s->dirs[i]);
		if (!err)
			err = allow_int(ctx, SCMP_SYS(newfstatat), 0, (unsigned)s->dirs[i]);
	}
	/* When the store of AF_XDP sockets is empty the library asks for more, and is told no. */
	if (!err)
		err = refuse_int(ctx, SCMP_SYS(socket), 0, AF_XDP);
	if (!s->dials && !err)
		err = refuse_int(ctx, SCMP_SYS(socket), 0, AF_UNIX);
	if (s->dials && !err)
		err = allow_int(ctx, SCMP_SYS(socket), 0, AF_UNIX);
	if (s->dials && !err)
		err = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(connect), 0, NULL);
	return err;
}

int xn_sandbox_seal(const struct xn_sandbox *s)
{
	scmp_filter_ctx ctx = seccomp_init(s->log_only ? SCMP_ACT_ERRNO(EPERM) :
					   SCMP_ACT_KILL_PROCESS);
	int err;

	if (!ctx)
		return xn_fail(ENOMEM, "sandbox: out of memory");
	err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err && s->log_only)
		err = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(calls) && !err; i++)
		err = add_call(ctx, &calls[i]);
	if (!err)
		err = add_extra(ctx, s);
	if (!err)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err ? xn_fail(-err, "sandbox: list of system calls: %s (--sandbox=off goes without)",
			     strerror(-err)) : 0;
}
