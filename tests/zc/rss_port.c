/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The port with several queues on a real driver, all of it: a device of four queue pairs, whose
 * RSS is set through the port, gets each frame on the pair that its configuration names, uncopied;
 * and the NIC is as it was when the port is closed, when its process is killed, and when the
 * process that would put it back is killed as well. Runs in the machine of tests/zc/rss.
 *
 *	rss_port virtio | igb
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/types.h"
#include "port/port.h"
#include "rss/config.h"
#include "rss/program.h"
#include "tests/fake/driver.h"
#include "tests/fake/rss.h"
#include "tests/zc/nic.h"
#include "tests/zc/zc.h"

#define PAIRS     4u
#define FLOWS     240u
#define FRAME     128u
#define RAM       (8u << 20)
#define RX_AT     0x200000u
#define BUF       2048u
#define WAIT_US   200000000u
#define SPEC      "xdp:" ZC_DEV ",queues=4,mode=copy"
#define KEEPER    "xsknet-nic"

static struct zc_wire wire;
static struct xn_ethtool eth;
static struct xn_nic_setup before;
static struct drv drv;
static struct xn_mem *mem;

static void must(int err)
{
	if (err)
		zc_die("FAILED: %s", xn_last_error());
}

/* ---- the NIC ---- */

static bool is_as_before(void)
{
	static struct xn_nic_setup now;

	return !xn_prog_read(&eth, 0, &now) && xn_prog_same(&now, &before);
}

static void expect_as_before(const char *what)
{
	const uint64_t until = zc_now_us() + WAIT_US;

	while (!is_as_before() && zc_now_us() < until)
		usleep(20000);
	zc_check(is_as_before(), "%s: the NIC is as it was", what);
}

/* ---- the device ---- */

struct device { struct xn_port *port; struct xn_dev *dev; };

static void post(unsigned pair)
{
	for (unsigned i = 0; i < DRV_SIZE; i++)
		drv_post1(&drv, 2 * pair, RX_AT + ((uint64_t)pair * DRV_SIZE + i) * BUF, BUF);
}

static void up(struct device *d)
{
	const struct xn_dev_opts opts = { .sz = sizeof(opts), .pairs = PAIRS };

	must(xn_port_open(&d->port, SPEC, NULL));
	must(xn_dev_create(&d->dev, mem, d->port, &opts));
	must(xn_dev_set_features(d->dev, 1ull << 32 | 1ull << 15));
	for (unsigned i = 0; i < 2 * PAIRS; i++) {
		struct xn_vring v = drv_vring(i);

		v.base = xn_dev_vring_base(d->dev, i);
		must(xn_dev_set_vring(d->dev, i, &v));
	}
	must(xn_dev_start(d->dev));
	for (unsigned q = 0; q < PAIRS; q++)
		post(q);
}

static void down(struct device *d)
{
	xn_dev_destroy(d->dev);
	xn_port_close(d->port);
	drv_reset_rings(&drv, PAIRS);
}

static void run(struct device *d)
{
	for (unsigned q = 0; q < PAIRS; q++)
		xn_queue_run(xn_dev_queue(d->dev, q), 64);
}

/* ---- frames ---- */

static const unsigned classes[] = {
	XN_FLOW_TCPV4, XN_FLOW_UDPV4, XN_FLOW_IPV4, XN_FLOW_TCPV6, XN_FLOW_UDPV6, XN_FLOW_IPV6, XN_FLOW_NONE,
};

static void send_frame(unsigned i, uint8_t *frame)
{
	rss_plain_frame(frame, FRAME, classes[i % 7], i / 7 % 2, i * 1000003ull);
	memcpy(frame, wire.mac, 6);
	memcpy(frame + 6, wire.peer_mac, 6);
	memcpy(frame + FRAME - sizeof(i), &i, sizeof(i));
	if (send(wire.peer, frame, FRAME, 0) != (ssize_t)FRAME)
		zc_die("send: %s", strerror(errno));
}

/* The pair on which a frame with this number comes within `us`; PAIRS: on none. */
static unsigned receive(struct device *d, unsigned number, uint64_t us)
{
	const uint64_t until = zc_now_us() + us;

	do {
		run(d);
		for (unsigned q = 0; q < PAIRS; q++) {
			uint16_t head;
			uint32_t len;
			unsigned i;

			while (drv_used(&drv, 2 * q, &head, &len)) {
				const uint64_t at = drv_desc(&drv, 2 * q)[head].addr;

				/* igb takes tags off in hardware: four bytes less. */
				memcpy(&i, drv.ram + at + len - sizeof(i), sizeof(i));
				drv_post1(&drv, 2 * q, at, BUF);
				if (len >= DRV_HDR + FRAME - 4 && i == number)
					return q;
			}
		}
	} while (zc_now_us() < until);
	return PAIRS;
}

/* After a start: until frames arrive. */
static void settle(struct device *d)
{
	const uint64_t until = zc_now_us() + WAIT_US;
	uint8_t frame[FRAME];

	while (zc_now_us() < until) {
		send_frame(7 * 100000, frame);
		if (receive(d, 7 * 100000, 300000) < PAIRS)
			return;
	}
	zc_die("no frame arrives");
}

static uint64_t counter(struct device *d, const char *name)
{
	return drv_stat(d->dev, XN_ALL_PAIRS, name);
}

static uint64_t elsewhere(struct device *d)
{
	return counter(d, "steer_missteered") + counter(d, "steer_unfixed");
}

static void traffic(struct device *d, const struct xn_rss_config *rss, const char *what)
{
	uint64_t exact = counter(d, "steer_to_guest");
	const uint64_t away = elsewhere(d);
	const uint64_t lent = counter(d, "rx_lent");
	unsigned right = 0, lost = 0;
	uint8_t frame[FRAME];

	for (unsigned i = 0; i < FLOWS; i++) {
		unsigned q;

		send_frame(i, frame);
		q = receive(d, i, 1000000);
		lost += q == PAIRS;
		right += q == rss_model_queue(rss, frame, FRAME);
	}
	exact = counter(d, "steer_to_guest") - exact;
	zc_check(right == FLOWS && exact >= FLOWS && elsewhere(d) == away && counter(d, "rx_lent") - lent >= FLOWS,
		 "%s: %u of %u frames on the pair that the guest computes, %u lost, none copied", what, right, FLOWS, lost);
}

static void set(struct device *d, const struct xn_rss_config *rss, const char *what)
{
	struct xn_port_rss r = { .sz = sizeof(r) };

	must(d->port->ops->set_rss(d->port, rss));
	must(xn_port_get_rss(d->port, &r));
	zc_check(!strcmp(r.status, "exact"), "%s: %s %s", what, r.status, r.why);
}

/* ---- cases ---- */

static void frames_come_where_the_guest_computes(void)
{
	struct xn_rss_config rss;
	struct device d;

	up(&d);
	xn_rss_default(&rss, PAIRS);
	zc_take_key(&rss, &before, "random");
	set(&d, &rss, "a guest with a key");
	settle(&d);
	traffic(&d, &rss, "a guest with a key");
	xn_rss_set_table(&rss, "0,3,2,1,0,0,3,3", PAIRS);
	set(&d, &rss, "another table");
	traffic(&d, &rss, "another table");
	must(d.port->ops->set_rss(d.port, NULL));
	set(&d, &rss, "after a time without RSS");
	traffic(&d, &rss, "after a time without RSS");
	down(&d);
	expect_as_before("closed");
}

/* The keeper of our NIC. */
static pid_t find_keeper(void)
{
	DIR *dir = opendir("/proc");
	char path[300], name[32];
	pid_t found = 0;

	for (struct dirent *e; dir && !found && (e = readdir(dir));) {
		int fd;
		ssize_t n;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		fd = open(path, O_RDONLY);
		n = fd < 0 ? 0 : read(fd, name, sizeof(name) - 1);
		if (fd >= 0)
			close(fd);
		name[n > 0 ? n : 0] = '\0';
		if (!strcmp(name, KEEPER "\n"))
			found = (pid_t)strtol(e->d_name, NULL, 10);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* A process with a port whose NIC is programmed. */
static pid_t start_owner(void)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe(ready))
		zc_die("pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		struct xn_rss_config rss;
		struct xn_port *port;

		must(xn_port_open(&port, SPEC, NULL));
		xn_rss_default(&rss, PAIRS);
		xn_rss_set_table(&rss, "0,1,1,3", PAIRS);
		must(port->ops->set_rss(port, &rss));
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		zc_die("the owner has ended");
	close(ready[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void killed_owners_leave_nothing(void)
{
	struct xn_port *port;
	pid_t owner = start_owner(), keeper = find_keeper();

	zc_check(keeper && !is_as_before(), "a process has programmed the NIC, and another keeps it");
	end(owner);
	expect_as_before("its owner was killed");
	owner = start_owner();
	keeper = find_keeper();
	zc_check(keeper, "another one");
	kill(keeper, SIGKILL);
	end(owner);
	zc_check(!is_as_before(), "owner and keeper were killed: it stays programmed");
	must(xn_port_open(&port, SPEC, NULL));
	expect_as_before("the next port");
	xn_port_close(port);
	expect_as_before("and when that is closed");
}

static void nic_that_is_to_be_kept(void)
{
	struct xn_port_rss r = { .sz = sizeof(r) };
	struct xn_rss_config rss;
	struct xn_port *port;

	must(xn_port_open(&port, SPEC ",nic=keep", NULL));
	xn_rss_default(&rss, PAIRS);
	must(port->ops->set_rss(port, &rss));
	must(xn_port_get_rss(port, &r));
	zc_check(!strcmp(r.status, "corrected") && strstr(r.why, "nic=keep") && is_as_before(), "nic=keep: %s %s",
		 r.status, r.why);
	xn_port_close(port);
	expect_as_before("nic=keep");
}

static void log_line(void *arg, enum xn_log_level level, const char *line)
{
	printf("log: %s\n", line);
}

int main(int argc, char **argv)
{
	struct xn_region region = { .size = RAM };

	if (argc != 2)
		zc_die("usage: rss_port virtio | igb");
	xn_set_log(log_line, NULL, XN_LOG_INFO);
	zc_wire_open(&wire);
	if (xn_ethtool_open(&eth, ZC_DEV))
		zc_die("ethtool: %s", strerror(errno));
	zc_set_channels(&eth, PAIRS);
	drv_init(&drv, RAM, PAIRS);
	region.fd = drv.fd;
	must(xn_mem_create(&mem, &region, 1, NULL));
	if (xn_prog_read(&eth, 0, &before))
		zc_die("key and table: %s", strerror(errno));
	frames_come_where_the_guest_computes();
	killed_owners_leave_nothing();
	nic_that_is_to_be_kept();
	xn_mem_destroy(mem);
	printf("%u wrong\n", zc_wrong());
	return zc_wrong() != 0;
}
