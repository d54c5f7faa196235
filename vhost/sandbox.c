/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits, user, capabilities, file systems. Contract in vhost/sandbox.h; system calls are in
 * vhost/seccomp.c.
 *
 * The order is given: the bounding set can only be emptied with CAP_SETPCAP, and the user
 * only changed with CAP_SETUID, so the capabilities go last of these; Landlock wants
 * no-new-privileges before it. All of it is without a library: the calls are few, and each
 * has its message.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "vhost/sandbox.h"

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT           47
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#endif

/* ---- limits ---- */

/* Raises a limit to `want`, the hard one too if that is allowed; to the hard one else. */
static bool raise_limit(int what, rlim_t want)
{
	struct rlimit l;

	if (getrlimit(what, &l))
		return false;
	if (l.rlim_cur >= want)
		return true;
	if (l.rlim_max < want && !setrlimit(what, &(struct rlimit){ want, want }))
		return true;
	l.rlim_cur = XN_MIN(want, l.rlim_max);
	return !setrlimit(what, &l) && l.rlim_cur >= want;
}

bool xn_sandbox_limits(unsigned fds)
{
	struct rlimit l = { 0 };

	if (!raise_limit(RLIMIT_NOFILE, fds)) {
		getrlimit(RLIMIT_NOFILE, &l);
		xn_log(XN_LOG_WARN, "%u files may be needed, and %llu are allowed (RLIMIT_NOFILE): "
		       "set LimitNOFILE=%u, or a smaller --spare-sockets", fds,
		       (unsigned long long)l.rlim_cur, fds);
	}
	return raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
}

static bool has_capability(unsigned cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct now[2] = { { 0 } };

	return !syscall(__NR_capget, &head, now) &&
	       (now[CAP_TO_INDEX(cap)].permitted & CAP_TO_MASK(cap));
}

bool xn_sandbox_needs_ipc_lock(void)
{
	bool has = has_capability(CAP_IPC_LOCK);
	struct rlimit l = { 0 };

	getrlimit(RLIMIT_MEMLOCK, &l);
	xn_log(XN_LOG_WARN, "no more than %llu MiB may be locked, and the limit cannot be raised "
	       "(RLIMIT_MEMLOCK, CAP_SYS_RESOURCE): %s; LimitMEMLOCK=infinity mends it",
	       (unsigned long long)l.rlim_cur >> 20,
	       has ? "CAP_IPC_LOCK is kept" : "a guest with more memory is refused");
	return has;
}

/* ---- user ---- */

static int become(const char *name)
{
	const struct passwd *p;

	errno = 0;
	p = getpwnam(name);
	if (!p)
		return xn_fail(errno ? errno : ENOENT, "--user %s: there is no such user", name);
	if (setgroups(0, NULL) || setresgid(p->pw_gid, p->pw_gid, p->pw_gid) ||
	    setresuid(p->pw_uid, p->pw_uid, p->pw_uid))
		return xn_fail(errno, "--user %s: cannot become this user: %s (start as root)", name,
			       strerror(errno));
	return 0;
}

/* ---- capabilities ---- */

/* What no exec could give back. Without CAP_SETPCAP it stays; then no-new-privileges alone
 * has to do. */
static void empty_bounding_set(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)) {
			xn_log(XN_LOG_INFO, "the bounding set of capabilities stays as it is "
			       "(CAP_SETPCAP would be needed to empty it)");
			return;
		}
}

static int drop_capabilities(bool keep_ipc_lock)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct left[2] = { { 0 } };

	if (keep_ipc_lock)
		left[CAP_TO_INDEX(CAP_IPC_LOCK)].permitted =
		left[CAP_TO_INDEX(CAP_IPC_LOCK)].effective = CAP_TO_MASK(CAP_IPC_LOCK);

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
		return xn_fail(errno, "sandbox: ambient capabilities: %s", strerror(errno));
	if (syscall(__NR_capset, &head, left))
		return xn_fail(errno, "sandbox: capset: %s", strerror(errno));
	return 0;
}

/* ---- file systems ---- */

/*
 * Landlock (Linux Documentation/userspace-api/landlock.rst), in numbers of our own: the
 * headers may be older than the kernel. Each version of the ABI added rights that can be
 * refused; a kernel wants to hear only of those that it knows.
 */
#define FS_RIGHTS_1    13u             /* execute, read, write, make, remove: bits 0..12 */
#define FS_REMOVE_FILE (1ull << 5)
#define NET_RIGHTS     3ull            /* TCP: bind and connect */
#define SCOPES         3ull            /* abstract AF_UNIX sockets, signals */

struct ruleset { uint64_t fs, net, scope; };
struct beneath { uint64_t allowed; int32_t fd; } __attribute__((packed));

static unsigned fs_rights(int abi)
{
	unsigned n = FS_RIGHTS_1;

	n += abi >= 2;      /* refer */
	n += abi >= 3;      /* truncate */
	n += abi >= 5;      /* ioctl on devices */
	return n;
}

static int restrict_files(const struct xn_sandbox *s)
{
	long abi = syscall(__NR_landlock_create_ruleset, NULL, 0, 1u /* its version */);
	struct ruleset rules = { 0 };
	int fd, err = 0;

	if (abi < 1) {
		xn_log(XN_LOG_WARN, "this kernel has no Landlock: that no file can be opened is up "
		       "to the list of system calls alone");
		return 0;
	}
	rules.fs = (1ull << fs_rights((int)abi)) - 1;
	rules.net = abi >= 4 ? NET_RIGHTS : 0;
	rules.scope = abi >= 6 ? SCOPES : 0;
	fd = (int)syscall(__NR_landlock_create_ruleset, &rules,
			  abi >= 6 ? sizeof(rules) : abi >= 4 ? 16 : 8, 0);
	if (fd < 0)
		return xn_fail(errno, "sandbox: Landlock: %s", strerror(errno));
	for (unsigned i = 0; i < s->n_dirs && !err; i++) {
		const struct beneath b = { .allowed = FS_REMOVE_FILE, .fd = s->dirs[i] };

		if (syscall(__NR_landlock_add_rule, fd, 1 /* beneath a path */, &b, 0))
			err = xn_fail(errno, "sandbox: Landlock rule: %s", strerror(errno));
	}
	if (!err && syscall(__NR_landlock_restrict_self, fd, 0))
		err = xn_fail(errno, "sandbox: Landlock: %s", strerror(errno));
	close(fd);
	return err;
}

/* ---- all of it ---- */

int xn_sandbox_drop(const struct xn_sandbox *s)
{
	int err = 0;

	empty_bounding_set();
	/* Another user has no capabilities, unless that is asked for before. */
	if (s->user && prctl(PR_SET_KEEPCAPS, s->keep_ipc_lock, 0, 0, 0))
		err = xn_fail(errno, "sandbox: PR_SET_KEEPCAPS: %s", strerror(errno));
	if (s->user && !err)
		err = become(s->user);
	if (!err)
		err = drop_capabilities(s->keep_ipc_lock);
	if (err)
		return err;
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	/* Nobody of the same user reads the guest's memory through /proc or ptrace. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return xn_fail(errno, "sandbox: prctl: %s", strerror(errno));
	return restrict_files(s);
}
