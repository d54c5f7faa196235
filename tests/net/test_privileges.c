/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that a process needs privileges only to open its ports: one that then becomes
 * nobody, without any capability and with no file that it could open, makes memory and
 * devices, starts, carries frames, stops, starts again, hears of links, reads counters and
 * announces its guest. Spare sockets are what it takes; when they are used up it is told.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cmocka.h"
#include "tests/net/rig.h"
#include "base/log.h"
#include "xsk/compat.h"

#define RX     0u
#define TX     1u
#define AT     0x100001u
#define SPARES 3u
/* One region, the engine's frames, and little more, fit this limit: so each start shows
 * that the one before has given back what it had pinned. */
#define FRAMES  256u
#define MEMLOCK (8u << 20)

/* What the child does is checked there: the first that does not hold ends it. */
#define HOLD(what) do { \
	if (!(what)) { \
		fprintf(stderr, "%s:%d: %s does not hold (%s)\n", __func__, __LINE__, #what, \
			xn_last_error()); \
		_exit(1); \
	} } while (0)

struct bed {
	struct rig r;              /* its lab, drv and far are the parent's, too */
	char root[32];             /* an empty directory */
	int ask;                   /* child: asks the parent to set the far link */
	unsigned down, up;
};

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* As much as a process can lose: paths, identity, capabilities, the way back. */
static void lose_everything(const char *empty_dir)
{
	const struct landlock_ruleset_attr all = { .handled_access_fs = (1ull << 13) - 1 };
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { { 0 } };
	const struct rlimit limit = { MEMLOCK, MEMLOCK };
	/* Locked memory is counted by user: one of this test's own. */
	const uid_t nobody = 60000 + (uid_t)getpid() % 5000;
	int fd;

	HOLD(!setrlimit(RLIMIT_MEMLOCK, &limit));
	HOLD(!chroot(empty_dir) && !chdir("/"));
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		HOLD(!prctl(PR_CAPBSET_DROP, cap, 0, 0, 0));
	HOLD(!setgroups(0, NULL) && !setresgid(nobody, nobody, nobody));
	HOLD(!setresuid(nobody, nobody, nobody));
	HOLD(!syscall(SYS_capset, &head, none));
	HOLD(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	if (fd >= 0) {     /* a kernel may be without it; the empty root stays */
		HOLD(!syscall(SYS_landlock_restrict_self, fd, 0));
		close(fd);
	}
	HOLD(socket(AF_XDP, SOCK_RAW, 0) < 0 && errno == EPERM);
	HOLD(open("/proc/self/maps", O_RDONLY) < 0);
}

static void on_event(void *arg, const struct xn_event *e)
{
	struct bed *b = arg;

	b->down += e->kind == XN_EVENT_LINK_DOWN;
	b->up += e->kind == XN_EVENT_LINK_UP;
}

static void make_device(struct bed *b)
{
	struct xn_region region = { .size = RIG_RAM, .fd = b->r.drv.fd };
	struct xn_dev_opts opts = { .sz = sizeof(opts), .event = on_event, .arg = b };
	struct xn_mem_opts mem = { .sz = sizeof(mem), .bounce_frames = FRAMES };

	HOLD(!xn_mem_create(&b->r.mem, &region, 1, &mem));
	HOLD(!xn_dev_create(&b->r.dev, b->r.mem, b->r.port, &opts));
	HOLD(!xn_dev_set_features(b->r.dev, 1ull << 32));
}

static uint32_t spares_left(struct rig *r)
{
	struct xn_port_info info;

	xn_port_get_info(r->port, &info);
	return info.spare_sockets;
}

static void start(struct rig *r)
{
	drv_reset_rings(&r->drv, 1);
	for (unsigned i = 0; i < 2; i++) {
		struct xn_vring v = drv_vring(i);

		HOLD(!xn_dev_set_vring(r->dev, i, &v));
	}
	HOLD(!xn_dev_start(r->dev));
}

/* A frame each way, in guest memory and out of it. */
static void exchange(struct rig *r)
{
	uint8_t f[200], got[2048];
	uint16_t head;
	uint32_t used;

	rig_frame(r, f, sizeof(f), 1);
	drv_post1(&r->drv, RX, AT, 1536);
	xn_queue_run(xn_dev_queue(r->dev, 0), 64);
	HOLD(send(r->far, f, sizeof(f), 0) == sizeof(f));
	HOLD(rig_wait_used(r, RX, &head, &used) && used == DRV_HDR + sizeof(f));
	HOLD(!memcmp(r->drv.ram + AT + DRV_HDR, f, sizeof(f)));

	memset(r->drv.ram + AT, 0, DRV_HDR);
	drv_post1(&r->drv, TX, AT, DRV_HDR + sizeof(f));
	HOLD(rig_wait_used(r, TX, &head, &used));
	HOLD(rig_far_recv(r, got, sizeof(got)) == sizeof(f) && !memcmp(got, f, sizeof(f)));
	drv_fill_pattern(&r->drv, AT, AT + 2048);
}

/* The parent sets the far link; the near one follows. */
static void hear_of(struct bed *b, char what, const unsigned *seen)
{
	struct pollfd p = { .fd = xn_dev_event_fd(b->r.dev), .events = POLLIN };
	uint64_t end = xn_now_ns() + RIG_SOON_MS * 1000000ull;   /* the kernel tells once a second */

	HOLD(write(b->ask, &what, 1) == 1);
	while (!*seen && xn_now_ns() < end)
		if (poll(&p, 1, 100) == 1)
			xn_dev_handle_events(b->r.dev);
	HOLD(*seen == 1);
}

static void announce(struct rig *r)
{
	static const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 };
	uint8_t f[128];
	struct pollfd p = { .fd = r->far, .events = POLLIN };
	ssize_t n = 0;

	HOLD(!xn_port_announce(r->port, mac));
	while (poll(&p, 1, RIG_SOON_MS) == 1) {
		n = recv(r->far, f, sizeof(f), 0);
		if (n > 14 && f[12] == 0x80 && f[13] == 0x35)
			break;
	}
	HOLD(n == 60 && f[12] == 0x80 && f[13] == 0x35);
	HOLD(!memcmp(f, "\xff\xff\xff\xff\xff\xff\2\1\2\3\4\5", 12));
	/* Ethernet, IPv4, 6, 4, "request reverse"; its MAC, no IP, its MAC, no IP. */
	HOLD(!memcmp(f + 14, "\0\1\x08\0\6\4\0\3" "\2\1\2\3\4\5\0\0\0\0" "\2\1\2\3\4\5\0\0\0\0", 28));
}

static uint64_t stat(struct rig *r, const char *name)
{
	return drv_stat(r->dev, XN_ALL_PAIRS, name);
}

static void live_without_privileges(struct bed *b)
{
	struct xn_port_opts opts = { .sz = sizeof(opts), .spare_sockets = SPARES };
	struct rig *r = &b->r;
	struct xn_port_info info;
	unsigned fds = open_fds();

	HOLD(!xn_lab_enter_near(&r->lab));
	HOLD(!xn_port_open(&r->port, "xdp:" XN_LAB_NEAR, &opts));
	xn_port_get_info(r->port, &info);
	HOLD(info.speed == 10000 && info.full_duplex);   /* what veth says of itself */
	lose_everything(b->root);

	make_device(b);
	for (unsigned i = 0; i < SPARES; i++) {
		HOLD(spares_left(r) == SPARES - i);
		start(r);
		exchange(r);
		if (!i) {
			hear_of(b, 'd', &b->down);
			hear_of(b, 'u', &b->up);
			announce(r);
		}
		HOLD(stat(r, "rx_lent") == i + 1 && stat(r, "tx_lent") == i + 1);
		HOLD(stat(r, "steer_to_guest") == i + 1);
		HOLD(!xn_dev_stop(r->dev));
	}
	HOLD(spares_left(r) == 0);
	HOLD(xn_dev_start(r->dev) == -EPERM);
	HOLD(strstr(xn_last_error(), "spare sockets are used up (3 starts)"));

	xn_dev_destroy(r->dev);
	xn_mem_destroy(r->mem);
	xn_port_close(r->port);
	HOLD(open_fds() == fds);
	_exit(0);
}

static void lead_the_child(struct bed *b, int asked)
{
	char what;

	while (read(asked, &what, 1) == 1) {
		assert_int_equal(xn_lab_enter_far(&b->r.lab), 0);
		assert_int_equal(xn_link_set(XN_LAB_FAR, what == 'u'), 0);
		assert_int_equal(xn_lab_leave(&b->r.lab), 0);
	}
}

static void bed_open(struct bed *b)
{
	memset(b, 0, sizeof(*b));
	b->r.pairs = 1;
	strcpy(b->root, "/tmp/xsknet-test-XXXXXX");
	assert_non_null(mkdtemp(b->root));
	assert_int_equal(xn_lab_create(&b->r.lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	drv_init(&b->r.drv, RIG_RAM, 1);
	b->r.far = rig_far_socket(&b->r.lab);
}

static void bed_close(struct bed *b)
{
	close(b->r.far);
	drv_fini(&b->r.drv);
	xn_lab_destroy(&b->r.lab);
	rmdir(b->root);
}

static void nobody_without_capabilities_and_files_runs_a_port_with_spare_sockets(void **state)
{
	struct bed b;
	int pipefd[2], status;
	pid_t pid;

	bed_open(&b);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(pipefd[0]);
		b.ask = pipefd[1];
		alarm(120);
		live_without_privileges(&b);
	}
	close(pipefd[1]);
	lead_the_child(&b, pipefd[0]);
	close(pipefd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	bed_close(&b);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The limit of open files is met in the middle: nothing stays open. */
static void too_few_files_for_the_spare_sockets_is_said_and_undone(void **state)
{
	struct xn_port_opts opts = { .sz = sizeof(opts), .spare_sockets = 1000 };
	unsigned fds = open_fds();
	struct rlimit was, few;
	struct xn_lab lab;
	struct xn_port *port;

	assert_int_equal(xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	assert_int_equal(xn_lab_enter_near(&lab), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = (struct rlimit){ 200, was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(xn_port_open(&port, "xdp:" XN_LAB_NEAR, &opts), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_non_null(strstr(xn_last_error(), "ulimit -n"));
	xn_lab_leave(&lab);
	xn_lab_destroy(&lab);
	assert_int_equal(open_fds(), fds);
}

static void announcing_on_a_link_that_is_down_or_gone_is_an_error_and_no_more(void **state)
{
	static const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 };
	struct xn_port *port;
	struct xn_lab lab;

	assert_int_equal(xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	assert_int_equal(xn_lab_enter_near(&lab), 0);
	assert_int_equal(xn_port_open(&port, "xdp:" XN_LAB_NEAR, NULL), 0);
	assert_int_equal(xn_link_set(XN_LAB_NEAR, false), 0);
	assert_int_equal(xn_port_announce(port, mac), -ENETDOWN);
	assert_int_equal(xn_link_set(XN_LAB_NEAR, true), 0);
	assert_int_equal(xn_port_announce(port, mac), 0);
	assert_int_equal(xn_link_delete(XN_LAB_NEAR), 0);
	assert_int_equal(xn_port_announce(port, mac), -ENETDOWN);
	xn_port_close(port);
	xn_lab_leave(&lab);
	xn_lab_destroy(&lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_without_capabilities_and_files_runs_a_port_with_spare_sockets),
		cmocka_unit_test(too_few_files_for_the_spare_sockets_is_said_and_undone),
		cmocka_unit_test(announcing_on_a_link_that_is_down_or_gone_is_an_error_and_no_more),
	};

	return cmocka_run_group_tests_name("privileges", tests, NULL, NULL);
}
