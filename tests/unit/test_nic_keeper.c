/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that a process of its own programs a NIC as its maker would; that it puts everything
 * back when its maker ends, however; and that it does nothing else, whoever asks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "rss/keeper.h"
#include "tests/unit/nic_rig.h"

static struct xn_nic_cfg kept(struct fnic *n)
{
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4);

	cfg.keeper = true;
	return cfg;
}

static bool wait_until_same(const struct fnic *n, const struct fnic *before)
{
	for (unsigned ms = 0; ms < 20000 && !(fnic_same(n, before) && is_clean()); ms += 10)
		usleep(10000);
	return fnic_same(n, before) && is_clean();
}

static bool wait_until_gone(int pid)
{
	for (unsigned ms = 0; ms < 20000 && !kill(pid, 0); ms += 10)
		usleep(10000);
	return kill(pid, 0) && errno == ESRCH;
}

static void keeper_does_what_its_maker_would(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = kept(n);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told;
	bool again;

	assert_int_equal(xn_nic_check(x, &told, &again), -EINVAL);
	assert_non_null(strstr(xn_last_error(), "nothing was set yet"));
	told = set(x, &rss);
	expect_exact(n, &told, &rss, 0, 4);
	assert_int_not_equal(n->pid, getpid());
	assert_int_equal(xn_rss_set_table(&rss, "0,3,1,2", 4), 0);
	told = set(x, &rss);
	expect_exact(n, &told, &rss, 0, 4);
	fnic_forget(n, 8);
	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_true(again);
	expect_exact(n, &told, &rss, 0, 4);
	n->amnesia = true;
	assert_int_equal(xn_nic_repeat(x, &told), 0);
	expect_exact(n, &told, &rss, 0, 4);
	told = set(x, NULL);
	assert_int_equal(told.status, XN_NIC_EXACT);
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
	assert_true(is_clean());
	assert_true(wait_until_gone(n->pid));
}

static void what_keeps_the_nic_from_being_opened_is_told(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_nic_cfg cfg = kept(n), here = cfg_of(n, 0, 4);
	struct xn_nic *x = opened(&here), *y;

	assert_int_equal(xn_nic_open(&y, &cfg), -EBUSY);
	assert_null(y);
	assert_non_null(strstr(xn_last_error(), "another process has programmed this NIC"));
	xn_nic_close(x);
	assert_true(wait_until_gone(n->pid) || n->pid == getpid());
}

static char heard[1024];

static void hear(void *arg, enum xn_log_level level, const char *line)
{
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s\n", line);
}

static void what_it_has_to_say_its_maker_says(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_nic_cfg cfg = kept(n);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, &rss);

	assert_int_equal(told.status, XN_NIC_EXACT);
	heard[0] = 0;
	xn_set_log(hear, NULL, XN_LOG_WARN);
	n->fail_at = n->changes + 3;     /* the fields of two flows come first */
	n->fail_with = EIO;
	xn_nic_close(x);
	xn_set_log(NULL, NULL, XN_LOG_WARN);
	assert_string_equal(heard, "fake0: not all is as it was before: the driver refuses key and table "
			    "(Input/output error) (ethtool -x fake0 shows it)\n");
}

/* ---- ends ---- */

/* A maker that has programmed, and waits. */
static pid_t start_maker(struct fnic *n)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct xn_nic_cfg cfg = kept(n);
		struct xn_rss_config rss = a_guest(4);
		struct xn_nic_told told;
		struct xn_nic *x;

		if (xn_nic_open(&x, &cfg) || xn_nic_set(x, &rss, &told) || told.status != XN_NIC_EXACT ||
		    write(ready[1], "y", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	/* Nothing but the maker has the other end: the keeper would keep it open. */
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void makers_that_are_killed_are_cleaned_up_after(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	pid_t maker = start_maker(n);
	struct xn_nic_cfg cfg = kept(n);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic_told told;
	struct xn_nic *x;
	int status;

	assert_false(fnic_same(n, &before));
	kill(maker, SIGKILL);
	assert_int_equal(waitpid(maker, &status, 0), maker);
	/* The next one is there at once, and waits for the last keeper. */
	x = opened(&cfg);
	told = set(x, &rss);
	expect_exact(n, &told, &rss, 0, 4);
	xn_nic_close(x);
	assert_true(wait_until_same(n, &before));
}

static void signals_for_whole_groups_do_not_end_it_before_its_maker(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	pid_t maker = start_maker(n);
	int status, keeper = n->pid;

	kill(keeper, SIGTERM);
	kill(keeper, SIGINT);
	kill(keeper, SIGHUP);
	usleep(50000);
	assert_int_equal(kill(keeper, 0), 0);
	assert_int_not_equal(getsid(keeper), getsid(0));
	kill(maker, SIGTERM);
	assert_int_equal(waitpid(maker, &status, 0), maker);
	assert_true(wait_until_same(n, &before));
	assert_true(wait_until_gone(keeper));
}

static void keeper_that_is_killed_is_told_and_put_back_later(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = kept(n);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, &rss);

	assert_int_equal(told.status, XN_NIC_EXACT);
	kill(n->pid, SIGKILL);
	assert_int_equal(xn_nic_set(x, &rss, &told), -EPIPE);
	expect_told(&told, XN_NIC_UNSUPPORTED, "the process that programs the NIC has gone");
	assert_int_equal(xn_nic_check(x, &told, NULL), -EPIPE);
	xn_nic_close(x);
	assert_false(fnic_same(n, &before));
	xn_nic_close(opened(&cfg));
	assert_true(fnic_same(n, &before));
	assert_true(is_clean());
}

static void driver_that_hangs_does_not_hang_the_maker(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = kept(n);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic_told told;
	int fd;

	assert_int_equal(xn_keeper_start(&fd, &cfg), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_usec = 50000 }, sizeof(struct timeval));
	n->hangs = true;
	assert_int_equal(xn_keeper_ask(&fd, XN_KEEPER_SET, &rss, &told, NULL), -ETIMEDOUT);
	expect_told(&told, XN_NIC_UNSUPPORTED, "does not answer");
	n->hangs = false;
	/* What it answers late is nobody's answer. */
	assert_int_equal(fd, -1);
	assert_int_equal(xn_keeper_ask(&fd, XN_KEEPER_CHECK, NULL, &told, NULL), -EPIPE);
	assert_true(wait_until_same(n, &before));
}

/* ---- what it does not do ---- */

static void nonsense_is_refused(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = kept(n);
	struct xn_rss_config sound = a_guest(4), bad;
	struct xn_nic_told told;
	int fd;

	assert_int_equal(xn_keeper_start(&fd, &cfg), 0);
#define REFUSED(change) do { \
		bad = sound; \
		change; \
		assert_int_equal(xn_keeper_ask(&fd, XN_KEEPER_SET, &bad, &told, NULL), -EINVAL); \
	} while (0)
	REFUSED(bad.entries = 0);
	REFUSED(bad.entries = 3);
	REFUSED(bad.entries = 1024);
	REFUSED(bad.table[127] = 4);
	REFUSED(bad.table[0] = 0xffff);
	REFUSED(bad.unclassified = 4);
	REFUSED(bad.key_bytes = 39);
	REFUSED(bad.key_bytes = XN_RSS_KEY_MAX + 1);
	REFUSED(bad.types = 1u << 9);
	assert_int_equal(xn_keeper_ask(&fd, (enum xn_keeper_request)77, NULL, &told, NULL), -EINVAL);
	assert_true(fnic_same(n, &before));
	assert_int_equal(n->changes, 0);
	assert_int_equal(xn_keeper_ask(&fd, XN_KEEPER_SET, &sound, &told, NULL), 0);
	assert_int_equal(told.status, XN_NIC_EXACT);
	/* A message of another length ends it, as its maker's end would. */
	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_true(wait_until_same(n, &before));
	assert_true(wait_until_gone(n->pid));
	close(fd);
}

static unsigned count_fds(int pid)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void keeper_has_one_capability_and_nothing_open(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_nic_cfg cfg = kept(n);
	struct xn_nic *x;
	char path[64], line[256];
	unsigned long long caps = ~0ull, mine = 0;
	int open_here[2];
	FILE *f;

	if (geteuid()) {
		print_message("skipped: only root may look into another's process\n");
		skip();
	}
	assert_int_equal(pipe(open_here), 0);
	x = opened(&cfg);
	/* stdin, stdout, stderr; socket, directory, and the locked file in it. */
	assert_int_equal(count_fds(n->pid), 6);
	for (unsigned who = 0; who < 2; who++) {
		snprintf(path, sizeof(path), "/proc/%d/status", who ? getpid() : n->pid);
		f = fopen(path, "re");
		assert_non_null(f);
		while (fgets(line, sizeof(line), f))
			sscanf(line, "CapPrm: %llx", who ? &mine : &caps);
		fclose(f);
	}
	assert_int_equal(caps, mine & 1ull << 12);     /* CAP_NET_ADMIN */
	xn_nic_close(x);
	close(open_here[0]);
	close(open_here[1]);
}

/* What a driver's answer is made to try, in the keeper: errno of each. */
enum { NOSY_OPEN, NOSY_SOCKET, NOSY_FORK, NOSY_EXEC, NOSY_KILL, NOSY_IOCTL, NOSY_MAP, NOSY_COUNT };
static int *nosy;
static int (*honest_call)(struct xn_ethtool *e, void *request);

static int nosy_call(struct xn_ethtool *e, void *request)
{
	static char *const nothing[] = { NULL };

	errno = 0;
	nosy[NOSY_OPEN] = open("/etc/passwd", O_RDONLY) < 0 ? errno : 0;
	nosy[NOSY_SOCKET] = socket(AF_UNIX, SOCK_DGRAM, 0) < 0 ? errno : 0;
	nosy[NOSY_FORK] = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) < 0 ? errno : 0;
	nosy[NOSY_EXEC] = execve("/proc/self/exe", nothing, nothing) < 0 ? errno : 0;
	nosy[NOSY_KILL] = kill(1, 0) ? errno : 0;
	nosy[NOSY_IOCTL] = ioctl(3, FIONREAD, &(int){ 0 }) ? errno : 0;
	nosy[NOSY_MAP] = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ?
			 errno : 0;
	return honest_call(e, request);
}

static void keeper_opens_makes_and_runs_nothing(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = kept(n);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic_told told;
	struct xn_nic *x;

	nosy = mmap(NULL, NOSY_COUNT * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(nosy != MAP_FAILED);
	honest_call = n->e.call;
	x = opened(&cfg);
	n->e.call = nosy_call;     /* from here on it is in the keeper, too */
	told = set(x, &rss);
	expect_exact(n, &told, &rss, 0, 4);
	for (unsigned i = 0; i < NOSY_COUNT; i++)
		if (nosy[i] != EPERM)
			fail_msg("%u: %s", i, strerror(nosy[i]));
	xn_nic_close(x);
	before.e.call = n->e.call;
	assert_true(fnic_same(n, &before));
	assert_true(is_clean());
	munmap(nosy, NOSY_COUNT * sizeof(int));
}

static void nic_that_is_to_be_kept_is_only_looked_at(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = kept(n);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic_told told;
	struct xn_nic *x;
	bool again;

	cfg.keep = true;
	x = opened(&cfg);
	told = set(x, &rss);
	/* Eight queues in turn, with a key of its own. */
	expect_told(&told, XN_NIC_UNSUPPORTED, "queues that are not the guest's");
	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_int_equal(xn_nic_repeat(x, &told), 0);
	assert_int_equal(told.status, XN_NIC_UNSUPPORTED);
	assert_int_equal(n->changes, 0);
	assert_true(is_clean());
	xn_nic_close(x);
	/* One that is as the guest wants it already. */
	cfg = kept(n);
	cfg.queues = 8;
	cfg.keep = true;
	xn_rss_default(&rss, 8);
	memcpy(n->ctx[0].key, rss.key, 40);
	n->fields[3] = n->fields[2];     /* of UDP as of TCP */
	n->fields[5] = n->fields[4];
	before = *n;
	x = opened(&cfg);
	told = set(x, &rss);
	expect_exact(n, &told, &rss, 0, 8);
	xn_nic_close(x);
	assert_int_equal(n->changes, 0);
	assert_true(fnic_same(n, &before));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeper_does_what_its_maker_would),
		cmocka_unit_test(what_keeps_the_nic_from_being_opened_is_told),
		cmocka_unit_test(what_it_has_to_say_its_maker_says),
		cmocka_unit_test(makers_that_are_killed_are_cleaned_up_after),
		cmocka_unit_test(signals_for_whole_groups_do_not_end_it_before_its_maker),
		cmocka_unit_test(keeper_that_is_killed_is_told_and_put_back_later),
		cmocka_unit_test(driver_that_hangs_does_not_hang_the_maker),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(keeper_has_one_capability_and_nothing_open),
		cmocka_unit_test(keeper_opens_makes_and_runs_nothing),
		cmocka_unit_test(nic_that_is_to_be_kept_is_only_looked_at),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
