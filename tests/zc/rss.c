/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rss/nic.h on a real driver: what was set is there when it is read, frames of many flows arrive
 * on the queues that it says, and everything is as it was when it ends, whichever way. Runs in
 * the machine of tests/zc/rss.
 *
 *	rss virtio | igb
 *
 * virtio: key, table and types can be set. igb: the table, and TCP's and UDP's fields; in some
 * kernels the key, which is the kernel's in others, and a guest may have that too (netdev_rss_key).
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rss/config.h"
#include "rss/nic.h"
#include "rss/program.h"
#include "rss/saved.h"
#include "tests/fake/rss.h"
#include "tests/net/queues.h"
#include "tests/zc/nic.h"
#include "tests/zc/zc.h"
#include "xsknet.h"

#define QUEUES    4u
#define FLOWS     240u
#define FRAME     128u
#define SETTLE_US 200000000u

static struct zc_wire wire;
static struct queues *queues;
static struct xn_ethtool eth;
static struct xn_nic_setup before;
static int dir_fd;
static unsigned next_number;
static bool igb;

/* ---- the machine ---- */

static void set_link(bool up)
{
	struct ifreq r = { .ifr_name = ZC_DEV };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (ioctl(fd, SIOCGIFFLAGS, &r))
		zc_die("flags: %s", strerror(errno));
	r.ifr_flags = (short)(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
	if (ioctl(fd, SIOCSIFFLAGS, &r))
		zc_die("flags: %s", strerror(errno));
	close(fd);
}

/* A frame of the flow, numbered, to the NIC or to all. */
static unsigned send_frame(unsigned class, unsigned vlans, uint64_t flow, uint8_t *frame)
{
	struct queues_tail tail = { QUEUES_MAGIC, next_number++ };

	rss_plain_frame(frame, FRAME, class, vlans, flow);
	memcpy(frame, wire.mac, 6);
	memcpy(frame + 6, wire.peer_mac, 6);
	memcpy(frame + FRAME - sizeof(tail), &tail, sizeof(tail));
	if (send(wire.peer, frame, FRAME, 0) != (ssize_t)FRAME)
		zc_die("send: %s", strerror(errno));
	return tail.number;
}

/* After a change of queues or of the link: until frames arrive again. */
static void settle(void)
{
	uint64_t until = zc_now_us() + SETTLE_US;
	uint8_t frame[FRAME];

	while (zc_now_us() < until)
		if (queues_wait(queues, send_frame(XN_FLOW_TCPV4, 0, 1, frame)) >= 0)
			return;
	zc_die("no frame arrives any more");
}

/* virtio_net refuses it while a program is attached. */
static void change_channels(unsigned n)
{
	queues_close(queues);
	zc_set_channels(&eth, n);
	if (queues_open(&queues, wire.ifindex, true))
		zc_die("XDP: %s", strerror(errno));
	settle();
}

/* ---- where frames arrive ---- */

struct arrivals { unsigned right, wrong, outside, lost; };

static const unsigned classes[] = {
	XN_FLOW_TCPV4, XN_FLOW_UDPV4, XN_FLOW_IPV4, XN_FLOW_TCPV6, XN_FLOW_UDPV6, XN_FLOW_IPV6, XN_FLOW_NONE,
};

static struct arrivals count(const struct xn_rss_config *rss, unsigned start, unsigned n)
{
	unsigned numbers[FLOWS], want[FLOWS];
	struct arrivals a = { 0 };
	uint8_t frame[FRAME];

	for (unsigned i = 0; i < FLOWS; i++) {
		/* igb takes tags off in hardware, and a program does not see them: same hash. */
		numbers[i] = send_frame(classes[i % 7], i / 7 % 2, i * 1000003ull, frame);
		want[i] = start + rss_model_queue(rss, frame, FRAME);
		if (i % 16 == 15)
			queues_wait(queues, numbers[i]);
	}
	for (unsigned i = 0; i < FLOWS; i++) {
		int got = queues_wait(queues, numbers[i]);

		a.lost += got < 0;
		a.right += got == (int)want[i];
		a.wrong += got >= 0 && got != (int)want[i];
		a.outside += got >= 0 && (unsigned)got - start >= n;
		if (got != (int)want[i] && getenv("VERBOSE"))
			printf("class %u, %u tags: queue %d, not %u\n", classes[i % 7], i / 7 % 2, got, want[i]);
	}
	return a;
}

static void expect(struct xn_nic *nic, const struct xn_rss_config *rss, unsigned start, unsigned n,
		   enum xn_nic_status status, const char *what)
{
	struct xn_nic_told told;
	struct arrivals a;
	int err = xn_nic_set(nic, rss, &told);

	zc_check(!err && told.status == status, "%s: %s %s", what, xn_nic_status_name(told.status), told.why);
	a = count(rss, start, n);
	zc_check(!a.lost && !a.outside && (status != XN_NIC_EXACT || !a.wrong),
		 "%s: %u of %u frames on the queue that the guest computes, %u on another of its queues, %u outside, "
		 "%u lost", what, a.right, FLOWS, a.wrong - a.outside, a.outside, a.lost);
}

/* ---- the guest ---- */

static struct xn_nic *opened(unsigned start, unsigned n)
{
	const struct xn_nic_cfg cfg = { .ifname = ZC_DEV, .start = start, .queues = n, .state_dir = dir_fd };
	struct xn_nic *nic;

	if (xn_nic_open(&nic, &cfg))
		zc_die("%s", xn_last_error());
	return nic;
}

static void is_as_before(const char *what)
{
	static struct xn_nic_setup now;

	zc_check(!xn_prog_read(&eth, 0, &now) && xn_prog_same(&now, &before), "%s: all is as it was", what);
}

static void whole_nic(void)
{
	struct xn_nic *nic = opened(0, QUEUES);
	struct xn_rss_config rss;
	struct xn_nic_told told;
	bool again;
	int err;

	xn_rss_default(&rss, QUEUES);
	/* The kernel's key is not Microsoft's. */
	expect(nic, &rss, 0, QUEUES, before.key_fixed ? XN_NIC_CORRECTED : XN_NIC_EXACT, "a guest that has set nothing");
	zc_take_key(&rss, &before, "random");
	expect(nic, &rss, 0, QUEUES, XN_NIC_EXACT, "a guest with a key");
	xn_rss_set_table(&rss, "0,3,2,1,0,0,3,3", QUEUES);
	expect(nic, &rss, 0, QUEUES, XN_NIC_EXACT, "another table");
	/* Without ports. */
	rss.types = XN_RSS_TYPE(XN_FLOW_IPV4) | XN_RSS_TYPE(XN_FLOW_IPV6);
	expect(nic, &rss, 0, QUEUES, igb ? XN_NIC_CORRECTED : XN_NIC_EXACT, "addresses only");
	rss.types = XN_RSS_TYPES_ALL;
	expect(nic, &rss, 0, QUEUES, XN_NIC_EXACT, "with ports again");
	set_link(false);
	set_link(true);
	settle();
	err = xn_nic_check(nic, &told, &again);
	zc_check(!err, "after the link was down: %s %s, %s", xn_nic_status_name(told.status), told.why,
		 again ? "set again" : "was still there");
	expect(nic, &rss, 0, QUEUES, XN_NIC_EXACT, "after the link was down");
	xn_nic_close(nic);
	is_as_before("closed");
}

static void part_of_the_queues(void)
{
	struct xn_nic *nic = opened(1, 2);
	struct xn_rss_config rss;
	struct xn_nic_told told;
	unsigned elsewhere = 0;
	uint8_t frame[FRAME];
	int err;

	xn_rss_default(&rss, 2);
	zc_take_key(&rss, &before, "symmetric");
	err = xn_nic_set(nic, &rss, &told);
	zc_check(!err && told.status == XN_NIC_CORRECTED && strstr(told.why, "may come on queue 0"),
		 "queues 1 and 2: %s %s", xn_nic_status_name(told.status), told.why);
	/* All but the last class, ARP. */
	for (unsigned i = 0; i < 60; i++) {
		unsigned number = send_frame(classes[i % 6], 0, i * 77ull, frame);

		elsewhere += queues_wait(queues, number) != (int)(1 + rss_model_queue(&rss, frame, FRAME));
	}
	zc_check(!elsewhere, "queues 1 and 2: %u of 60 frames elsewhere than the guest computes", elsewhere);
	xn_nic_close(nic);
	is_as_before("a part of the queues, closed");
}

/* The owner dies, and cannot put anything back. */
static void dead_owner(void)
{
	static struct xn_nic_setup now;
	struct xn_rss_config rss;
	struct xn_nic_told told;
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct xn_nic *nic = opened(0, QUEUES);

		xn_rss_default(&rss, QUEUES);
		xn_rss_set_table(&rss, "3", QUEUES);
		if (xn_nic_set(nic, &rss, &told))
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	zc_check(WIFSIGNALED(status) && !xn_prog_read(&eth, 0, &now) && !xn_prog_same(&now, &before),
		 "an owner that was killed leaves what it had set");
	xn_nic_close(opened(0, QUEUES));
	is_as_before("the next owner");
}

static void give_up_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	if (syscall(__NR_capset, &head, none))
		zc_die("capset: %s", strerror(errno));
}

/* An owner that may do nothing any more has it done, and is cleaned up after. */
static void owner_without_capabilities(void)
{
	const struct xn_nic_cfg cfg = { .ifname = ZC_DEV, .queues = QUEUES, .state_dir = dir_fd, .keeper = true };
	static struct xn_nic_setup now;
	uint64_t until;
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct xn_rss_config rss;
		struct xn_nic *nic;

		if (xn_nic_open(&nic, &cfg))
			zc_die("%s", xn_last_error());
		give_up_capabilities();
		xn_rss_default(&rss, QUEUES);
		zc_take_key(&rss, &before, "random");
		expect(nic, &rss, 0, QUEUES, XN_NIC_EXACT, "without capabilities");
		/* By itself it could not. */
		zc_check(xn_eth_rss_set(&eth, 0, &before.rss, XN_ETH_TABLE_RESET) == -EPERM, "without capabilities: no ioctl");
		fflush(stdout);
		if (!zc_wrong())
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	zc_check(WIFSIGNALED(status), "an owner without capabilities was killed");
	queues_forget(queues);   /* the numbers of its frames are the next ones here */
	for (until = zc_now_us() + SETTLE_US; zc_now_us() < until; usleep(10000))
		if (!xn_prog_read(&eth, 0, &now) && xn_prog_same(&now, &before))
			break;
	is_as_before("its keeper");
}

/* A driver that resets everything when its queues change. */
static void fewer_queues(void)
{
	struct xn_nic *nic = opened(0, 2);
	struct xn_rss_config rss;
	struct xn_nic_told told;
	struct arrivals a;
	bool again;
	int err;

	xn_rss_default(&rss, 2);
	zc_take_key(&rss, &before, "random");
	expect(nic, &rss, 0, 2, XN_NIC_EXACT, "two queues of four");
	change_channels(2);
	/* igb's driver sets its table anew, and says so. virtio_net, with a program attached, sets
	 * the number of queues, by which RSS ends, and says nothing. */
	a = count(&rss, 0, 2);
	err = xn_nic_check(nic, &told, &again);
	zc_check(!err && a.wrong && again == igb, "two queues of two: %u of %u frames on the queue that the guest computes; %s",
		 a.right, FLOWS, again ? "set again" : "the driver says that all is as it was");
	err = xn_nic_repeat(nic, &told);
	zc_check(!err && told.status == XN_NIC_EXACT, "repeated: %s %s", xn_nic_status_name(told.status), told.why);
	expect(nic, &rss, 0, 2, XN_NIC_EXACT, "repeated");
	xn_nic_close(nic);
	change_channels(QUEUES);
	is_as_before("four queues again");
}

/* Neither has rules by address (igb: from the i350 on; QEMU's is an 82576): the guest has to have
 * all queues then, and a part of them is told as what it is. */
static void shared_by_address(unsigned n, enum xn_nic_status status)
{
	const struct xn_nic_cfg cfg = { .ifname = ZC_DEV, .queues = n, .mac = wire.mac, .state_dir = dir_fd };
	struct xn_rss_config rss;
	struct xn_nic_told told;
	struct xn_nic *nic;
	int err;

	if (xn_nic_open(&nic, &cfg))
		zc_die("%s", xn_last_error());
	xn_rss_default(&rss, n);
	zc_take_key(&rss, &before, "random");
	err = xn_nic_set(nic, &rss, &told);
	zc_check(!err && told.status == status, "shared by address, %u queues of %u: %s %s", n, QUEUES,
		 xn_nic_status_name(told.status), told.why);
	xn_nic_close(nic);
	is_as_before("shared by address, closed");
}

static void log_line(void *arg, enum xn_log_level level, const char *line)
{
	printf("log: %s\n", line);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		zc_die("usage: rss virtio | igb");
	igb = !strcmp(argv[1], "igb");
	xn_set_log(log_line, NULL, XN_LOG_WARN);
	zc_wire_open(&wire);
	if (xn_ethtool_open(&eth, ZC_DEV) || xn_saved_dir(&dir_fd, "/run/xsknet"))
		zc_die("%s", xn_last_error());
	zc_set_channels(&eth, QUEUES);
	if (queues_open(&queues, wire.ifindex, true))
		zc_die("XDP: %s", strerror(errno));
	settle();
	if (xn_prog_read(&eth, 0, &before))
		zc_die("key and table: %s", strerror(errno));
	printf("%s: table of %u, key of %u bytes%s, %u queues\n", before.driver, before.rss.table_len,
	       before.rss.key_len, before.key_fixed ? " that cannot be set" : "", before.rings);
	whole_nic();
	part_of_the_queues();
	dead_owner();
	owner_without_capabilities();
	fewer_queues();
	shared_by_address(QUEUES, XN_NIC_EXACT);
	shared_by_address(2, XN_NIC_UNSUPPORTED);
	queues_close(queues);
	printf("%u wrong\n", zc_wrong());
	return zc_wrong() != 0;
}
