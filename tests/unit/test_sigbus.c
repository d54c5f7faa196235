/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that memory whose file was truncated reads as zeroes where it is guarded, from any
 * thread and in the sandbox too; that what is not guarded ends the process as ever; and that
 * a signal which somebody only sends does nothing.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/types.h"
#include "tests/cmocka.h"
#include "vhost/sandbox.h"
#include "vhost/sigbus.h"

#define PAGES 4u
#define BYTES (PAGES * XN_PAGE_SIZE)

/* Sanitizers need system calls that the sandbox does not allow. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WITH_SANDBOX 1
#endif

/* Shared memory full of 'x', and its file. */
static char *shared(int *fd)
{
	char *p;

	*fd = memfd_create("shared", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, BYTES))
		return NULL;
	p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (p == MAP_FAILED)
		return NULL;
	memset(p, 'x', BYTES);
	return p;
}

/* What happens to a child that does this: 0, 100 + status, or the signal. */
static int child(int (*what)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		alarm(120);
		_exit(what());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WEXITSTATUS(status) ? 100 + WEXITSTATUS(status) : 0;
}

static char touch(const volatile char *p)
{
	return *p;
}

static int guarded_reads_zero(void)
{
	static const struct timespec now;
	struct pollfd p = { .events = POLLIN };
	char *a, *b;
	int fd[2];

	if (xn_sigbus_init())
		return 1;
	a = shared(&fd[0]);
	b = shared(&fd[1]);
	if (!a || !b)
		return 2;
	xn_sigbus_guard(a, BYTES);
	xn_sigbus_guard(b, BYTES - 5);      /* to the end of its page */
	p.fd = xn_sigbus_fd();
	if (ppoll(&p, 1, &now, NULL) || xn_sigbus_take())
		return 3;
	if (ftruncate(fd[0], XN_PAGE_SIZE) || touch(a) != 'x' || xn_sigbus_take())
		return 4;                   /* what is left of the file is still there */
	if (touch(a + 2 * XN_PAGE_SIZE + 7))
		return 5;
	if (ppoll(&p, 1, &now, NULL) != 1 || !xn_sigbus_take() || xn_sigbus_take())
		return 6;
	a[BYTES - 1] = 'y';                 /* all of it is ours now */
	if (touch(a) || touch(a + BYTES - 1) != 'y' || xn_sigbus_take())
		return 7;
	if (touch(b) != 'x' || ftruncate(fd[1], 0) || touch(b + BYTES - 1) || !xn_sigbus_take())
		return 8;
	/* Slots come free again. */
	xn_sigbus_unguard(a);
	xn_sigbus_unguard(b);
	for (unsigned i = 0; i < 100; i++) {
		a = shared(&fd[0]);
		if (!a)
			return 9;
		xn_sigbus_guard(a, BYTES);
		if (ftruncate(fd[0], 0) || touch(a) || !xn_sigbus_take())
			return 10;
		xn_sigbus_unguard(a);
		munmap(a, BYTES);
		close(fd[0]);
	}
	return 0;
}

static void *touch_all(void *arg)
{
	for (unsigned i = 0; i < PAGES; i++)
		touch((char *)arg + i * XN_PAGE_SIZE);
	return NULL;
}

static int threads_fault_at_once(void)
{
	pthread_t t[4];
	char *a;
	int fd;

	if (xn_sigbus_init())
		return 1;
	for (unsigned round = 0; round < 50; round++) {
		a = shared(&fd);
		if (!a)
			return 2;
		xn_sigbus_guard(a, BYTES);
		if (ftruncate(fd, 0))
			return 3;
		for (unsigned i = 0; i < XN_ARRAY_SIZE(t); i++)
			if (pthread_create(&t[i], NULL, touch_all, a))
				return 4;
		for (unsigned i = 0; i < XN_ARRAY_SIZE(t); i++)
			pthread_join(t[i], NULL);
		if (!xn_sigbus_take())
			return 5;
		xn_sigbus_unguard(a);
		munmap(a, BYTES);
		close(fd);
	}
	return 0;
}

static int unguarded_dies(void)
{
	int fd, guarded;
	char *a = shared(&fd), *b = shared(&guarded);

	if (xn_sigbus_init() || !a || !b)
		return 1;
	xn_sigbus_guard(b, BYTES);
	if (ftruncate(fd, 0))
		return 2;
	return touch(a) + 3;
}

static int unguarded_again_dies(void)
{
	char *a;
	int fd;

	if (xn_sigbus_init())
		return 1;
	a = shared(&fd);
	if (!a)
		return 2;
	xn_sigbus_guard(a, BYTES);
	xn_sigbus_unguard(a);
	if (ftruncate(fd, 0))
		return 3;
	return touch(a) + 4;
}

static int sent_is_ignored(void)
{
	if (xn_sigbus_init())
		return 1;
	raise(SIGBUS);
	kill(getpid(), SIGBUS);
	return xn_sigbus_take() ? 2 : 0;
}

/* A bad page somewhere in it, which we have not touched: the rest is as good as ever. */
static int optional_is_ignored(void)
{
	siginfo_t info = { .si_signo = SIGBUS, .si_code = BUS_MCEERR_AO };
	char *a;
	int fd;

	if (xn_sigbus_init())
		return 1;
	a = shared(&fd);
	if (!a)
		return 2;
	xn_sigbus_guard(a, BYTES);
	info.si_addr = a + XN_PAGE_SIZE;
	if (syscall(SYS_rt_sigqueueinfo, getpid(), SIGBUS, &info))
		return 3;
	return touch(a) == 'x' && !xn_sigbus_take() ? 0 : 4;
}

static int guest_memory_reads_zero(void)
{
	struct xn_mem_opts mo = { .sz = sizeof(mo), .bounce_frames = 8 };
	struct xn_region r = { .size = BYTES };
	struct xn_mem *mem;
	char *a, *p;

	a = shared(&r.fd);
	if (xn_sigbus_init() || !a || xn_mem_create(&mem, &r, 1, &mo))
		return 1;
	p = xn_mem_ptr(mem, 0, BYTES);
	xn_sigbus_guard_mem(mem);
	if (!p || touch(p) != 'x' || ftruncate(r.fd, 0) || touch(p) || !xn_sigbus_take() ||
	    !xn_mem_poisoned(mem))
		return 2;
	xn_sigbus_guard_mem(NULL);
	xn_mem_destroy(mem);
	return 0;
}

#ifdef WITH_SANDBOX
static int sealed(int (*what)(void))
{
	const struct xn_sandbox box = { 0 };

	if (xn_sigbus_init() || xn_sandbox_drop(&box) || xn_sandbox_seal(&box))
		return 50;
	return what();
}

static int sealed_guarded(void)   { return sealed(guarded_reads_zero); }
static int sealed_unguarded(void) { return sealed(unguarded_dies); }

static void the_sandbox_changes_nothing_of_it(void **state)
{
	assert_int_equal(child(sealed_guarded), 0);
	assert_int_equal(child(sealed_unguarded), SIGBUS);
}
#endif

static void what_is_guarded_reads_zero(void **state)
{
	assert_int_equal(child(guarded_reads_zero), 0);
}

static void several_threads_may_fault_at_once(void **state)
{
	assert_int_equal(child(threads_fault_at_once), 0);
}

static void guest_memory_is_replaced_as_a_whole(void **state)
{
	assert_int_equal(child(guest_memory_reads_zero), 0);
}

static void what_is_not_guarded_ends_the_process(void **state)
{
	assert_int_equal(child(unguarded_dies), SIGBUS);
	assert_int_equal(child(unguarded_again_dies), SIGBUS);
}

static void a_signal_that_is_sent_does_nothing(void **state)
{
	assert_int_equal(child(sent_is_ignored), 0);
	assert_int_equal(child(optional_is_ignored), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_guarded_reads_zero),
		cmocka_unit_test(several_threads_may_fault_at_once),
		cmocka_unit_test(guest_memory_is_replaced_as_a_whole),
		cmocka_unit_test(what_is_not_guarded_ends_the_process),
		cmocka_unit_test(a_signal_that_is_sent_does_nothing),
#ifdef WITH_SANDBOX
		cmocka_unit_test(the_sandbox_changes_nothing_of_it),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
