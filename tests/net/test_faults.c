/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that faults of the environment are told in one clear line, undone without a
 * trace, and survived: wrong options, missing things, links that go down and
 * interfaces that vanish under traffic, processes that are killed.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/cmocka.h"
#include "tests/net/rig.h"

#define RX  0u
#define TX  1u
#define ODD 0x100001u
#define MS  1000000ull

static void assert_message_has(const char *part)
{
	if (!strstr(xn_last_error(), part))
		fail_msg("message \"%s\" does not say \"%s\"", xn_last_error(), part);
}

static void wrong_specs_are_refused_with_the_word_that_is_wrong(void **state)
{
	static const struct { const char *spec, *says; int err; } bad[] = {
		{ "", "not known", EINVAL },
		{ "xpd:eth0", "xpd", EINVAL },
		{ "null:x", "only queues=N", EINVAL },
		{ "xdp", "which interface", EINVAL },
		{ "xdp:", "which interface", EINVAL },
		{ "xdp:,queues=1", "which interface", EINVAL },
		{ "xdp:a-name-that-is-too-long", "too long", EINVAL },
		{ "xdp:x,queues", "name=value", EINVAL },
		{ "xdp:x,queues=0", "from 1", EINVAL },
		{ "xdp:x,queues=65", "to 64", EINVAL },
		{ "xdp:x,queues=-1", "from 1", EINVAL },
		{ "xdp:x,queues=2x", "2x", EINVAL },
		{ "xdp:x,start=63,queues=2", "below 64", EINVAL },
		{ "xdp:x,mode=fast", "zero-copy", EINVAL },
		{ "xdp:x,attach=hw", "native", EINVAL },
		{ "xdp:x,filter=ip", "mac", EINVAL },
		{ "xdp:x,colour=red", "colour", EINVAL },
		{ "xdp:no-such-if", "no such interface", ENODEV },
	};
	struct xn_port *port;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		assert_int_equal(xn_port_open(&port, bad[i].spec, NULL), -bad[i].err);
		assert_null(port);
		assert_message_has(bad[i].says);
	}
}

static void what_the_interface_cannot_do_is_said(void **state)
{
	struct xn_lab lab;
	struct xn_port *port;

	assert_int_equal(xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = 1, .mtu = 9000 }), 0);
	assert_int_equal(xn_lab_enter_near(&lab), 0);
	assert_int_equal(xn_port_open(&port, "xdp:" XN_LAB_NEAR ",mode=zero-copy", NULL), -EMSGSIZE);
	assert_message_has("ip link set");
	assert_int_equal(xn_port_open(&port, "xdp:" XN_LAB_NEAR ",attach=native", NULL), 0);
	xn_port_close(port);
	xn_lab_leave(&lab);
	xn_lab_destroy(&lab);
}

/* Starts a device of its own on the rig's interface: error of the step that fails. */
static int start_second(struct rig *r, const char *spec)
{
	struct xn_port *port;
	int err;

	assert_int_equal(xn_lab_enter_near(&r->lab), 0);
	err = xn_port_open(&port, spec, NULL);
	xn_port_close(port);
	xn_lab_leave(&r->lab);
	return err;
}

static void second_program_on_an_interface_is_refused(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ 0 });
	assert_int_equal(start_second(&r, "xdp:" XN_LAB_NEAR), -EBUSY);
	assert_message_has("program");
	rig_close(&r);
}

/* The way out that the message names must not lead to another namespace's interface
 * that happens to have the same index. */
static void message_of_a_second_program_names_the_right_link(void **state)
{
	struct rig other, r;
	struct bpf_link_info info = { 0 };
	uint32_t bytes = sizeof(info), prog = 0, here = 1;
	unsigned said_prog = 0, said_link = 0;
	const char *p;
	int fd;

	rig_open(&other, &(struct rig_cfg){ 0 });
	rig_open(&r, &(struct rig_cfg){ 0 });
	assert_int_equal(other.lab.near_ifindex, r.lab.near_ifindex);
	assert_int_equal(start_second(&r, "xdp:" XN_LAB_NEAR), -EBUSY);
	p = strstr(xn_last_error(), "program id ");
	assert_non_null(p);
	said_prog = (unsigned)strtoul(p + strlen("program id "), NULL, 10);
	p = strstr(xn_last_error(), "detach id ");
	assert_non_null(p);
	said_link = (unsigned)strtoul(p + strlen("detach id "), NULL, 10);

	assert_int_equal(xn_lab_enter_near(&r.lab), 0);
	assert_int_equal(bpf_xdp_query_id((int)r.lab.near_ifindex, 0, &here), 0);
	xn_lab_leave(&r.lab);
	fd = bpf_link_get_fd_by_id(said_link);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &bytes), 0);
	close(fd);
	prog = info.prog_id;
	assert_int_equal(said_prog, here);
	assert_int_equal(prog, here);
	rig_close(&r);
	rig_close(&other);
}

static void zero_copy_is_refused_where_the_driver_has_none(void **state)
{
	struct rig r;
	struct xn_vring v;
	struct xn_dev *dev;
	struct xn_port *port;

	rig_open(&r, &(struct rig_cfg){ 0 });
	xn_dev_destroy(r.dev);
	xn_port_close(r.port);
	assert_int_equal(xn_lab_enter_near(&r.lab), 0);
	assert_int_equal(xn_port_open(&port, "xdp:" XN_LAB_NEAR ",mode=zero-copy", NULL), 0);
	assert_int_equal(xn_dev_create(&dev, r.mem, port, NULL), 0);
	assert_int_equal(xn_dev_set_features(dev, 1ull << 32), 0);
	for (unsigned i = 0; i < 2; i++) {
		v = drv_vring(i);
		assert_int_equal(xn_dev_set_vring(dev, i, &v), 0);
	}
	assert_int_equal(xn_dev_start(dev), -EOPNOTSUPP);
	assert_message_has("zero-copy");
	xn_dev_destroy(dev);
	xn_port_close(port);
	/* Nothing is left: copy mode starts at once. */
	assert_int_equal(xn_port_open(&r.port, "xdp:" XN_LAB_NEAR, NULL), 0);
	assert_int_equal(xn_dev_create(&r.dev, r.mem, r.port, NULL), 0);
	assert_int_equal(xn_dev_set_features(r.dev, 1ull << 32), 0);
	for (unsigned i = 0; i < 2; i++) {
		v = drv_vring(i);
		assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
	}
	assert_int_equal(xn_dev_start(r.dev), 0);
	xn_lab_leave(&r.lab);
	rig_close(&r);
}

/* Runs fn in a child of its own; its exit status. */
static int in_child(int (*fn)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		alarm(120);
		_exit(fn(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int open_without_privileges(void *arg)
{
	struct rig *r = arg;
	struct xn_port *port;

	if (xn_lab_enter_near(&r->lab) || setgroups(0, NULL) || setgid(65534) || setuid(65534))
		return 10;
	if (xn_port_open(&port, "xdp:" XN_LAB_NEAR, NULL) != -EPERM)
		return 11;
	return strstr(xn_last_error(), "CAP_") ? 0 : 12;
}

static void start_in_another_namespace_is_refused(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ 0 });
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_start(r.dev), -EXDEV);
	assert_message_has("network namespace");
	assert_int_equal(xn_lab_enter_near(&r.lab), 0);
	assert_int_equal(xn_dev_start(r.dev), 0);
	xn_lab_leave(&r.lab);
	rig_close(&r);
}

static void missing_privileges_are_named(void **state)
{
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ 0 });
	xn_dev_destroy(r.dev);
	xn_port_close(r.port);
	assert_int_equal(in_child(open_without_privileges, &r), 0);
	r.dev = NULL;
	r.port = NULL;
	rig_close(&r);
}

static void link_down_and_up_a_hundred_times_loses_no_head(void **state)
{
	uint8_t f[1500];
	struct rig r;
	uint16_t head;
	uint32_t used;

	rig_open(&r, &(struct rig_cfg){ 0 });
	rig_frame(&r, f, 200, 1);
	for (unsigned i = 0; i < 100; i++) {
		drv_post1(&r.drv, RX, ODD + i * 2048, 1536);
		memset(r.drv.ram + 0x300000, 0, DRV_HDR);
		memcpy(r.drv.ram + 0x300000 + DRV_HDR, f, 200);

		assert_int_equal(xn_lab_enter_near(&r.lab), 0);
		assert_int_equal(xn_link_set(XN_LAB_NEAR, false), 0);
		for (unsigned k = 0; k < 3; k++) {
			drv_post1(&r.drv, TX, 0x300000, DRV_HDR + 200);
			xn_queue_run(xn_dev_queue(r.dev, 0), 64);
			while (drv_used(&r.drv, TX, &head, &used))
				;
		}
		assert_int_equal(xn_link_set(XN_LAB_NEAR, true), 0);
		xn_lab_leave(&r.lab);

		rig_settle(&r, 12);      /* a port that is down is tried again every 10 ms */
		rig_far_send(&r, f, 200);
		if (!rig_wait_used(&r, RX, &head, &used))
			fail_msg("no frame after round %u", i);
	}
	while (drv_pending(&r.drv, TX))
		assert_true(rig_wait_used(&r, TX, &head, &used));
	assert_int_equal(drv_pending(&r.drv, RX), 0);
	assert_int_equal(rig_stat(&r, "tx_packets") + rig_stat(&r, "tx_drop_down"), 300);
	rig_close(&r);
}

struct seen { unsigned gone, down, up; };

static void on_event(void *arg, const struct xn_event *e)
{
	struct seen *s = arg;

	s->gone += e->kind == XN_EVENT_PORT_GONE;
	s->down += e->kind == XN_EVENT_LINK_DOWN;
	s->up += e->kind == XN_EVENT_LINK_UP;
}

static void wait_event(struct rig *r, unsigned *what)
{
	struct pollfd p = { .fd = xn_dev_event_fd(r->dev), .events = POLLIN };
	uint64_t end = xn_now_ns() + RIG_SOON_MS * MS;

	while (!*what && xn_now_ns() < end) {
		rig_settle(r, 0);
		xn_queue_run(xn_dev_queue(r->dev, 0), 64);
		if (poll(&p, 1, 1) == 1)
			xn_dev_handle_events(r->dev);
	}
}

static void link_changes_are_told(void **state)
{
	struct seen seen = { 0 };
	struct xn_port_info info;
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ .event = on_event, .arg = &seen });
	xn_port_get_info(r.port, &info);
	assert_true(info.link_up);
	xn_lab_enter_far(&r.lab);
	assert_int_equal(xn_link_set(XN_LAB_FAR, false), 0);
	xn_lab_leave(&r.lab);
	wait_event(&r, &seen.down);   /* the kernel tells of carriers once a second */
	assert_int_equal(seen.down, 1);
	xn_lab_enter_far(&r.lab);
	assert_int_equal(xn_link_set(XN_LAB_FAR, true), 0);
	xn_lab_leave(&r.lab);
	wait_event(&r, &seen.up);
	assert_int_equal(seen.up, 1);
	rig_close(&r);
}

static void deleted_interface_is_noticed_and_heads_come_back(void **state)
{
	struct seen seen = { 0 };
	struct rig r;
	uint8_t f[1500];
	uint16_t head;
	uint32_t used;

	rig_open(&r, &(struct rig_cfg){ .event = on_event, .arg = &seen });
	rig_frame(&r, f, 200, 1);
	for (unsigned i = 0; i < 50; i++)
		drv_post1(&r.drv, RX, ODD + i * 2048, 1536);
	rig_settle(&r, 1);
	for (unsigned i = 0; i < 20; i++)
		rig_far_send(&r, f, 200);
	rig_wait_stat(&r, "rx_packets", 20);

	xn_lab_enter_near(&r.lab);
	assert_int_equal(xn_link_delete(XN_LAB_NEAR), 0);
	xn_lab_leave(&r.lab);
	wait_event(&r, &seen.gone);
	assert_int_equal(seen.gone, 1);

	memset(r.drv.ram + ODD + 0x80000, 0, DRV_HDR);
	/* The guest goes on sending into the void: all comes back, counted. */
	for (unsigned i = 0; i < 1000; i++) {
		drv_post1(&r.drv, TX, ODD + 0x80000, DRV_HDR + 200);
		xn_queue_run(xn_dev_queue(r.dev, 0), 64);
		while (drv_used(&r.drv, TX, &head, &used))
			;
	}
	assert_int_equal(drv_pending(&r.drv, TX), 0);
	assert_int_equal(rig_stat(&r, "tx_drop_down") + rig_stat(&r, "tx_kick_drops"), 1000);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	while (drv_used(&r.drv, RX, &head, &used))
		assert_int_equal(used, DRV_HDR + 200);
	assert_int_equal(drv_pending(&r.drv, RX), 30);
	rig_close(&r);
}

struct server { struct xn_lab lab; struct drv drv; int ready; };

/* In the child: a device on the parent's veth, busy until the end. */
static void serve_forever(struct server *s)
{
	struct xn_region region = { .size = RIG_RAM, .fd = s->drv.fd };
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;

	alarm(120);
	if (xn_lab_enter_near(&s->lab) || xn_mem_create(&mem, &region, 1, NULL) ||
	    xn_port_open(&port, "xdp:" XN_LAB_NEAR, NULL) || xn_dev_create(&dev, mem, port, NULL) ||
	    xn_dev_set_features(dev, 1ull << 32))
		_exit(2);
	for (unsigned i = 0; i < 2; i++) {
		struct xn_vring v = drv_vring(i);

		if (xn_dev_set_vring(dev, i, &v))
			_exit(3);
	}
	if (xn_dev_start(dev) || write(s->ready, "x", 1) != 1)
		_exit(4);
	for (;;)
		xn_queue_run(xn_dev_queue(dev, 0), 64);
}

static void killed_process_leaves_no_program_behind(void **state)
{
	struct server s;
	int ready[2];
	char c;

	assert_int_equal(xn_lab_create(&s.lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	drv_init(&s.drv, RIG_RAM, 1);
	for (unsigned round = 0; round < 5; round++) {
		uint32_t prog = 1;
		pid_t pid;

		assert_int_equal(pipe(ready), 0);
		s.ready = ready[1];
		drv_reset_rings(&s.drv, 1);
		pid = fork();
		if (!pid)
			serve_forever(&s);
		close(ready[1]);
		assert_int_equal(read(ready[0], &c, 1), 1);
		close(ready[0]);
		xn_lab_enter_near(&s.lab);
		assert_int_equal(bpf_xdp_query_id((int)s.lab.near_ifindex, 0, &prog), 0);
		assert_int_not_equal(prog, 0);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		/* The kernel detaches when it drops the last reference: soon. */
		for (unsigned i = 0; i < RIG_SOON_MS / 10 && prog; i++) {
			usleep(10000);
			assert_int_equal(bpf_xdp_query_id((int)s.lab.near_ifindex, 0, &prog), 0);
		}
		assert_int_equal(prog, 0);
		xn_lab_leave(&s.lab);
	}
	drv_fini(&s.drv);
	xn_lab_destroy(&s.lab);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void starting_and_stopping_leaks_no_fd(void **state)
{
	struct rig r;
	unsigned before;

	rig_open(&r, &(struct rig_cfg){ 0 });
	before = open_fds();
	xn_lab_enter_near(&r.lab);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(xn_dev_stop(r.dev), 0);
		assert_int_equal(xn_dev_start(r.dev), 0);
	}
	xn_lab_leave(&r.lab);
	assert_int_equal(open_fds(), before);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_specs_are_refused_with_the_word_that_is_wrong),
		cmocka_unit_test(what_the_interface_cannot_do_is_said),
		cmocka_unit_test(second_program_on_an_interface_is_refused),
		cmocka_unit_test(message_of_a_second_program_names_the_right_link),
		cmocka_unit_test(zero_copy_is_refused_where_the_driver_has_none),
		cmocka_unit_test(start_in_another_namespace_is_refused),
		cmocka_unit_test(missing_privileges_are_named),
		cmocka_unit_test(link_down_and_up_a_hundred_times_loses_no_head),
		cmocka_unit_test(link_changes_are_told),
		cmocka_unit_test(deleted_interface_is_noticed_and_heads_come_back),
		cmocka_unit_test(killed_process_leaves_no_program_behind),
		cmocka_unit_test(starting_and_stopping_leaks_no_fd),
	};

	return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
