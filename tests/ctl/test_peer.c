/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that `xsknetctl steer-peer` has each frame arrive on the receive queue that the guest
 * computes: frames of all kinds, of sockets and of others, whole and in pieces; on a real veth
 * pair, whose near end counts by an XDP program where an AF_XDP port would have its own. And
 * that it says what is in its way.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/types.h"
#include "bench/lab.h"
#include "rss/config.h"
#include "rss/nic.h"
#include "tests/cmocka.h"
#include "tests/ctl/run.h"
#include "tests/fake/rss.h"
#include "tests/net/queues.h"
#include "xsknet.h"

#define QUEUES 4u
#define MIN_FRAME 60u

/* To nobody, from nobody: what a stack would answer is no concern here. */
static const uint8_t addresses[12] = { 2, 255, 255, 255, 255, 255, 2, 1, 1, 1, 1, 1 };

static struct xn_lab lab;
static struct queues *near;
static unsigned next_number;

static void must(int err, const char *what)
{
	if (err)
		fail_msg("%s: %s", what, err < 0 ? strerror(-err) : xn_last_error());
}

static void in_near(void)
{
	must(xn_lab_enter_near(&lab), "enter near");
}

static void in_far(void)
{
	must(xn_lab_enter_far(&lab), "enter far");
}

__attribute__((format(printf, 1, 2)))
static void sh(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command))
		fail_msg("%s: failed", command);
}

/* In the far namespace; the words of xsknetctl have to contain `said`. */
static void expect(const struct run *r, int status, const char *said)
{
	if (r->status != status || !strstr(r->out, said))
		fail_msg("status %d, not %d: \"%s\" without \"%s\"", r->status, status, r->out, said);
}
#define STEER(status, said, ...) do { \
		struct run r_; \
		in_far(); \
		RUN(&r_, "steer-peer", __VA_ARGS__); \
		expect(&r_, status, said); \
	} while (0)

/* 10.NET.0.1 and fd0NET::1 near, .2 and ::2 far. */
static void give_addresses(const char *dev, unsigned net, unsigned host)
{
	sh("echo 0 > /proc/sys/net/ipv6/conf/%s/disable_ipv6; ip addr add 10.%u.0.%u/24 dev %s; "
	   "ip addr add fd0%u::%u/64 dev %s nodad", dev, net, host, dev, net, host, dev);
}

static int setup(void **state)
{
	/* What is mounted here, is only here. */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	lab = (struct xn_lab){ .home_ns = -1, .near_ns = -1, .far_ns = -1 };
	if (xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = QUEUES })) {
		printf("%s\n", xn_last_error());
		return -1;
	}
	in_near();
	if (queues_open(&near, lab.near_ifindex, true))
		return -1;
	give_addresses(XN_LAB_NEAR, 9, 1);
	in_far();
	give_addresses(XN_LAB_FAR, 9, 2);
	return 0;
}

static int teardown(void **state)
{
	queues_close(near);
	xn_lab_leave(&lab);
	xn_lab_destroy(&lab);
	return 0;
}

/* Each test begins like that, whatever the one before has left. */
static int start(void **state)
{
	struct run r;

	in_far();
	if (system("ip link del bridge 2>/dev/null"))
		errno = 0;
	RUN(&r, "steer-peer", XN_LAB_FAR, "--off");
	return r.status;
}

/* ---- frames ---- */

static int packet_socket(void)
{
	struct sockaddr_ll sa = { .sll_family = AF_PACKET, .sll_ifindex = (int)lab.far_ifindex };
	int fd;

	in_far();
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* Puts a number of its own behind a frame; its length then. */
static unsigned number_frame(uint8_t *frame, unsigned bytes, unsigned *number)
{
	struct queues_tail tail = { QUEUES_MAGIC, *number = next_number++ % QUEUES_NUMBERS };

	while (bytes < MIN_FRAME)
		frame[bytes++] = 0;
	memcpy(frame + bytes, &tail, sizeof(tail));
	return bytes + (unsigned)sizeof(tail);
}

static void expect_arrival(const struct xn_rss_config *rss, unsigned first, const uint8_t *frame,
			   unsigned bytes, unsigned number)
{
	unsigned want = first + rss_model_queue(rss, frame, bytes);
	int got = queues_wait(near, number);

	if (got != (int)want)
		fail_msg("frame %u of %u bytes, type %02x%02x: queue %d, not %u", number, bytes, frame[12], frame[13],
			 got, want);
}

static void send_frames(const struct xn_rss_config *rss, unsigned first, unsigned n, uint64_t seed)
{
	uint8_t frame[RSS_FRAME_MAX + MIN_FRAME + 8];
	unsigned seen[QUEUES] = { 0 };
	int fd = packet_socket();

	for (unsigned i = 0; i < n; i++) {
		unsigned number, bytes = rss_random_frame(&seed, frame);

		if (bytes >= sizeof(addresses))
			memcpy(frame, addresses, sizeof(addresses));
		bytes = number_frame(frame, bytes, &number);
		assert_int_equal(write(fd, frame, bytes), bytes);
		expect_arrival(rss, first, frame, bytes, number);
		seen[queues_of(near, number)]++;
	}
	close(fd);
	for (unsigned q = first; q < first + rss->max_tx; q++)
		assert_true(seen[q] > 0);
}

static void frames_of_all_kinds_arrive_where_the_guest_computes_them(void **state)
{
	struct xn_rss_config rss;

	STEER(0, "receive queues 0..3", XN_LAB_FAR, "--queues", "4");
	xn_rss_default(&rss, 4);
	send_frames(&rss, 0, 3000, 1);
	STEER(0, "steered; ", XN_LAB_FAR);
	/* Another key and table, from one frame to the next; and not the first queues. */
	STEER(0, "receive queues 1..3", XN_LAB_FAR, "--queues", "3", "--start", "1", "--rss-key",
	      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627");
	xn_rss_default(&rss, 3);
	assert_int_equal(xn_rss_set_key(&rss, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
					"2021222324252627"), 0);
	send_frames(&rss, 1, 2000, 2);
	STEER(0, "receive queues 0..3", XN_LAB_FAR, "--queues", "4", "--rss-table", "3,3,2,1,0,0,1,2", "--rss-key",
	      "symmetric");
	xn_rss_default(&rss, 4);
	assert_int_equal(xn_rss_set_table(&rss, "3,3,2,1,0,0,1,2", 4), 0);
	assert_int_equal(xn_rss_set_key(&rss, "symmetric"), 0);
	send_frames(&rss, 0, 2000, 3);
}

/* ---- frames in pieces ---- */

/* A tun device that makes of each piece that it is given a page of the frame, on a bridge with the
 * far end: what it sends reaches the program with little of it in one piece. */
static int open_pieces(void)
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_NAPI | IFF_NAPI_FRAGS };
	int fd;

	in_far();
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	strcpy(req.ifr_name, "pieces");
	if (ioctl(fd, TUNSETIFF, &req)) {
		close(fd);
		return -1;
	}
	/* Which would look into the frames. */
	sh("for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done");
	sh("ip link add bridge type bridge && ip link set pieces master bridge && ip link set %s master bridge && "
	   "ip link set bridge up && ip link set pieces up", XN_LAB_FAR);
	return fd;
}

static void close_pieces(int fd)
{
	in_far();
	sh("ip link del bridge");
	close(fd);
}

static void write_pieces(int fd, const uint8_t *frame, unsigned bytes)
{
	/* 14 and a few bytes in front, as tun demands; then pieces of any length. */
	struct iovec v[8];
	unsigned at = 0, n = 0;

	while (at < bytes) {
		unsigned len = n == 7 ? bytes - at : n ? 5 + n * 3 : 16;

		len = XN_MIN(len, bytes - at);
		v[n++] = (struct iovec){ (void *)(frame + at), len };
		at += len;
	}
	assert_int_equal(writev(fd, v, (int)n), bytes);
}

/* The kernel takes the first tag off what comes in by a device, and veth leaves it beside. */
static unsigned without_first_tag(uint8_t *frame, unsigned bytes)
{
	if (memcmp(frame + 12, "\x81\x00", 2) != 0 && memcmp(frame + 12, "\x88\xa8", 2) != 0)
		return bytes;
	memmove(frame + 12, frame + 16, bytes - 16);
	return bytes - 4;
}

static void frames_in_pieces_are_put_together(void **state)
{
	uint8_t frame[RSS_FRAME_MAX + MIN_FRAME + 8];
	struct xn_rss_config rss;
	int fd = open_pieces();
	unsigned ext = 0;
	uint64_t seed = 5;

	if (fd < 0) {
		print_message("skipped: no tun device that takes frames in pieces: %s\n", strerror(errno));
		skip();
	}
	STEER(0, "receive queues", XN_LAB_FAR, "--queues", "4");
	xn_rss_default(&rss, 4);
	for (unsigned i = 0; i < 600; i++) {
		unsigned number, bytes = rss_random_frame(&seed, frame);

		if (bytes < 60)
			continue;
		memcpy(frame, addresses, sizeof(addresses));
		bytes = number_frame(frame, bytes, &number);
		write_pieces(fd, frame, bytes);
		bytes = without_first_tag(frame, bytes);
		expect_arrival(&rss, 0, frame, bytes, number);
		ext += frame[12] == 0x86 && frame[13] == 0xdd && (frame[20] == 60 || frame[20] == 0 || frame[20] == 43);
	}
	close_pieces(fd);
	assert_true(ext > 20);
}

/* ---- sockets ---- */

struct flow {
	bool v6, tcp, vlan, connected;
};

static socklen_t address(struct sockaddr_storage *ss, const struct flow *f, unsigned host, unsigned port)
{
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *a4 = (struct sockaddr_in *)ss;
	char text[32];

	memset(ss, 0, sizeof(*ss));
	snprintf(text, sizeof(text), f->v6 ? "fd0%u::%u" : "10.%u.0.%u", f->vlan ? 8 : 9, host);
	if (f->v6) {
		*a6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
		assert_int_equal(inet_pton(AF_INET6, text, &a6->sin6_addr), 1);
		return sizeof(*a6);
	}
	*a4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	assert_int_equal(inet_pton(AF_INET, text, &a4->sin_addr), 1);
	return sizeof(*a4);
}

static int new_socket(const struct flow *f, unsigned host, unsigned port)
{
	int fd = socket(f->v6 ? AF_INET6 : AF_INET, (f->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0), on = 1;
	struct sockaddr_storage ss;
	socklen_t len = address(&ss, f, host, port);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&ss, len))
		fail_msg("bind to port %u: %s", port, strerror(errno));
	return fd;
}

/* The guest queue of what this flow sends. */
static unsigned queue_of_flow(const struct xn_rss_config *rss, const struct flow *f, unsigned from, unsigned to)
{
	unsigned class = (f->v6 ? XN_FLOW_IPV6 : XN_FLOW_IPV4) + (f->tcp ? 1 : 2);
	struct sockaddr_storage ss;
	uint8_t frame[100], *ip = frame + 14;

	rss_plain_frame(frame, sizeof(frame), class, 0, 0);
	for (unsigned end = 0; end < 2; end++) {
		address(&ss, f, end ? 1 : 2, 0);
		if (f->v6)
			memcpy(ip + 8 + 16 * end, &((struct sockaddr_in6 *)&ss)->sin6_addr, 16);
		else
			memcpy(ip + 12 + 4 * end, &((struct sockaddr_in *)&ss)->sin_addr, 4);
	}
	ip += f->v6 ? 40 : 20;
	ip[0] = (uint8_t)(from >> 8);
	ip[1] = (uint8_t)from;
	ip[2] = (uint8_t)(to >> 8);
	ip[3] = (uint8_t)to;
	return rss_model_queue(rss, frame, sizeof(frame));
}

static void send_datagram(const struct flow *f, int fd, const struct sockaddr_storage *to, socklen_t len,
			  unsigned *number)
{
	uint8_t payload[MIN_FRAME + sizeof(struct queues_tail)];
	unsigned bytes = number_frame(payload, 8, number);

	/* The frame ends with the number, whatever is in front. */
	if (f->connected)
		assert_int_equal(send(fd, payload, bytes, 0), bytes);
	else
		assert_int_equal(sendto(fd, payload, bytes, 0, (const struct sockaddr *)to, len), bytes);
}

static void try_udp(const struct xn_rss_config *rss, const struct flow *f, unsigned from, unsigned to_port)
{
	int fd = new_socket(f, 2, from);
	struct sockaddr_storage to;
	socklen_t len = address(&to, f, 1, to_port);

	if (f->connected)
		assert_int_equal(connect(fd, (struct sockaddr *)&to, len), 0);
	for (unsigned i = 0; i < 3; i++) {
		unsigned number, want = queue_of_flow(rss, f, from, to_port);

		send_datagram(f, fd, &to, len, &number);
		if (queues_wait(near, number) != (int)want)
			fail_msg("udp%s%s%s from %u: queue %d, not %u", f->v6 ? "6" : "4", f->vlan ? ", vlan" : "",
				 f->connected ? ", connected" : "", from, queues_of(near, number), want);
	}
	close(fd);
}

/* Connects, sends so much that it leaves in large pieces, and closes. */
static void try_tcp(const struct xn_rss_config *rss, const struct flow *f, int listener, unsigned from,
		    unsigned to_port)
{
	static uint8_t data[200000], sink[65536];
	int fd, other;
	struct sockaddr_storage to;
	socklen_t len = address(&to, f, 1, to_port);
	size_t got = 0;
	ssize_t n;

	in_far();
	fd = new_socket(f, 2, from);
	if (connect(fd, (struct sockaddr *)&to, len))
		fail_msg("connect: %s", strerror(errno));
	other = accept(listener, NULL, NULL);
	assert_true(other >= 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (size_t sent = 0; got < sizeof(data); ) {
		n = sent < sizeof(data) ? send(fd, data + sent, sizeof(data) - sent, 0) : 0;
		sent += n > 0 ? (size_t)n : 0;
		if (poll(&(struct pollfd){ .fd = other, .events = POLLIN }, 1, 20000) != 1)
			fail_msg("after %zu bytes nothing more came", got);
		n = recv(other, sink, sizeof(sink), 0);
		assert_true(n > 0);
		got += (size_t)n;
	}
	close(fd);
	close(other);
	if (queues_of_port(near, from) != 1u << queue_of_flow(rss, f, from, to_port))
		fail_msg("tcp%s%s from %u: queues %x, not %u", f->v6 ? "6" : "4", f->vlan ? ", vlan" : "", from,
			 queues_of_port(near, from), queue_of_flow(rss, f, from, to_port));
}

/* 16 flows of each kind of UDP, 8 of each kind of TCP. */
static void try_flows(bool vlan)
{
	struct xn_rss_config rss;
	unsigned port = 20000;

	STEER(0, "receive queues", XN_LAB_FAR, "--queues", "4");
	xn_rss_default(&rss, 4);
	queues_forget(near);
	for (unsigned i = 0; i < 4; i++) {
		const struct flow udp = { .v6 = i & 1, .vlan = vlan, .connected = i & 2 };

		in_far();
		for (unsigned k = 0; k < 16; k++)
			try_udp(&rss, &udp, port++, 7000 + k);
	}
	for (unsigned i = 0; i < 2; i++) {
		const struct flow tcp = { .v6 = i, .vlan = vlan, .tcp = true };
		int listener;

		in_near();
		listener = new_socket(&tcp, 1, 8000 + i);
		assert_int_equal(listen(listener, 8), 0);
		for (unsigned k = 0; k < 8; k++)
			try_tcp(&rss, &tcp, listener, port++, 8000 + i);
		close(listener);
	}
}

static void flows_of_sockets_arrive_where_the_guest_computes_them(void **state)
{
	try_flows(false);
}

/* The tag is not in the frame when the program sees it: the far end puts it in. */
static void flows_on_a_vlan_too(void **state)
{
	in_far();
	if (system("ip link add link " XN_LAB_FAR " name vlan5 type vlan id 5 2>/dev/null")) {
		/* Nothing is left out that this kernel can do: no "skipped". */
		print_message("not tried: this kernel has no VLAN devices (VLAN_8021Q)\n");
		return;
	}
	sh("ip link set vlan5 up");
	give_addresses("vlan5", 8, 2);
	in_near();
	sh("ip link add link " XN_LAB_NEAR " name vlan5 type vlan id 5 && ip link set vlan5 up");
	give_addresses("vlan5", 8, 1);
	try_flows(true);
	in_near();
	sh("ip link del vlan5");
	in_far();
	sh("ip link del vlan5");
}

/* ---- off, and on again ---- */

static void off_is_as_if_it_had_never_been(void **state)
{
	const struct flow udp = { 0 };
	struct sockaddr_storage to;
	socklen_t len = address(&to, &udp, 1, 7000);
	struct xn_rss_config rss;
	unsigned right = 0, tries = 0, number;
	struct run r;

	STEER(0, "was not steered", XN_LAB_FAR, "--off");
	STEER(0, "not steered", XN_LAB_FAR);
	/* The far end may have something of its own to say to its neighbours in between: not each time. */
	do {
		assert_true(tries++ < 50);
		STEER(0, "receive queues", XN_LAB_FAR, "--queues", "4");
		in_far();
		RUN(&r, "steer-peer", XN_LAB_FAR);
		expect(&r, 0, "steered; ");
		STEER(0, "not steered any more", XN_LAB_FAR, "--off");
	} while (!strstr(r.out, "steered; 0 frames"));
	xn_rss_default(&rss, 4);
	for (unsigned port = 30000; port < 30064; port++) {
		int fd = new_socket(&udp, 2, port);

		send_datagram(&udp, fd, &to, len, &number);
		right += queues_wait(near, number) == (int)queue_of_flow(&rss, &udp, port, 7000);
		close(fd);
	}
	/* A quarter, by chance. */
	assert_true(right < 40);
}

static void new_table_is_in_force_with_the_next_frame(void **state)
{
	const struct flow udp = { 0 };
	struct sockaddr_storage to;
	socklen_t len = address(&to, &udp, 1, 7000);
	static const char *const tables[] = { "0", "1", "2", "3" };
	unsigned number;
	int fd;

	in_far();
	fd = new_socket(&udp, 2, 31000);
	for (unsigned i = 0; i < 12; i++) {
		STEER(0, "receive queues", XN_LAB_FAR, "--queues", "4", "--rss-table", tables[i % 4]);
		send_datagram(&udp, fd, &to, len, &number);
		assert_int_equal(queues_wait(near, number), i % 4);
	}
	close(fd);
}

/* ---- a daemon that says how ---- */

static void answer_once(const char *path, const char *answer)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
	pid_t pid;
	char line[256];

	strcpy(sa.sun_path, path);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(RUN_S);
		c = accept(fd, NULL, NULL);
		if (recv(c, line, sizeof(line), 0) > 0)
			send(c, answer, strlen(answer), MSG_NOSIGNAL);
		recv(c, line, sizeof(line), 0);
		_exit(0);
	}
	close(fd);
}

static void daemon_says_how(void **state)
{
	static const struct { const char *answer; int status; const char *said; } cases[] = {
		{ "{\"rss\":{\"queues\":2,\"start\":1,\"types\":511,\"unclassified\":1,\"table\":[1,0],\"key\":\"6d:5a:56:da:"
		  "25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:"
		  "01:fa\"}}\n", 0, "receive queues 1..2" },
		{ "{\"version\":\"0.2.0\"}\n", 1, "does not tell its RSS" },
		{ "{\"rss\":{\"queues\":2,\"table\":[0,2],\"key\":\"00\"}}\n", 1, "does not tell its RSS" },
		{ "{\"rss\":{\"queues\":-2,\"table\":[0,2,1]}}\n", 1, "does not tell its RSS" },
		{ "{\"error\":\"no\"}\n", 1, "no" },
	};
	char path[64];
	struct xn_rss_config rss;

	snprintf(path, sizeof(path), "/tmp/xsknet-test-peer-%d.sock", (int)getpid());
	for (unsigned i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		int status;

		answer_once(path, cases[i].answer);
		STEER(cases[i].status, cases[i].said, XN_LAB_FAR, "--ctl", path);
		assert_true(wait(&status) > 0);
		if (cases[i].status)
			continue;
		xn_rss_default(&rss, 2);
		rss.entries = 2;
		rss.table[0] = rss.unclassified = 1;
		rss.table[1] = 0;
		send_frames(&rss, 1, 500, 9);
	}
	unlink(path);
}

/* ---- the guest's end ---- */

static void veth_itself_is_told_as_corrected_with_the_way_out(void **state)
{
	const struct xn_nic_cfg cfg = { .ifname = XN_LAB_NEAR, .queues = QUEUES, .state_dir = -1 };
	const struct xn_nic_cfg missing = { .ifname = "nosuch", .queues = 1, .state_dir = -1 };
	struct xn_rss_config rss;
	struct xn_nic_told told;
	struct xn_nic *nic;
	struct run r;

	in_near();
	xn_rss_default(&rss, QUEUES);
	must(xn_nic_open(&nic, &cfg), "open");
	must(xn_nic_set(nic, &rss, &told), "set");
	assert_int_equal(told.status, XN_NIC_CORRECTED);
	assert_string_equal(told.why, "veth has no RSS, the sender's transmit queue decides: at the peer, xsknetctl "
			    "steer-peer makes it exact");
	must(xn_nic_check(nic, &told, NULL), "check");
	assert_int_equal(told.status, XN_NIC_CORRECTED);
	xn_nic_close(nic);
	must(xn_nic_foresee(&cfg, NULL, &told), "foresee");
	assert_int_equal(told.status, XN_NIC_CORRECTED);
	assert_int_equal(xn_nic_open(&nic, &missing), -ENODEV);
	RUN(&r, "doctor", XN_LAB_NEAR);
	expect(&r, 1, "RSS: corrected: veth has no RSS");
	expect(&r, 1, "there: xsknetctl steer-peer PEER --queues 4");
}

/* ---- what is in the way ---- */

static void xps_is_refused_and_told(void **state)
{
	in_far();
	sh("mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/%s/queues/tx-1/xps_cpus", XN_LAB_FAR);
	STEER(1, "XPS chooses its transmit queues, and comes first: echo 0 > /sys/class/net/xn1/queues/tx-1/xps_cpus",
	      XN_LAB_FAR, "--queues", "4");
	STEER(0, "not steered", XN_LAB_FAR);
	sh("echo 0 > /sys/class/net/%s/queues/tx-1/xps_cpus", XN_LAB_FAR);
	STEER(0, "receive queues", XN_LAB_FAR, "--queues", "4");
	/* Set later: a look tells. */
	sh("echo 1 > /sys/class/net/%s/queues/tx-0/xps_rxqs", XN_LAB_FAR);
	STEER(1, "XPS chooses its transmit queues", XN_LAB_FAR);
	sh("echo 0 > /sys/class/net/%s/queues/tx-0/xps_rxqs; umount /sys", XN_LAB_FAR);
}

static void what_cannot_be_steered_is_told(void **state)
{
	in_far();
	sh("ip link add other type bridge");
	STEER(1, "nosuch: No such device", "nosuch", "--queues", "2");
	STEER(1, "lo: Operation not supported", "lo", "--queues", "2");
	STEER(1, "other is no veth (bridge)", "other", "--queues", "2");
	sh("ip link del other");
	STEER(1, "xn1 sends on 4 queues, and the guest receives on 0..4: ethtool -L xn1 tx 5", XN_LAB_FAR, "--queues", "5");
	STEER(1, "receives on 3..4", XN_LAB_FAR, "--queues", "2", "--start", "3");
}

static void wrong_words_are_told(void **state)
{
	STEER(2, "which interface", NULL);
	STEER(2, "\"two\" is one word too many", "one", "two");
	STEER(2, "--queues N is missing", XN_LAB_FAR, "--rss-table", "0,1");
	STEER(2, "want a number from 1 to 64", XN_LAB_FAR, "--queues", "0");
	STEER(2, "want a number from 1 to 64", XN_LAB_FAR, "--queues", "-1");
	STEER(2, "want a number from 0 to 63", XN_LAB_FAR, "--queues", "1", "--start", "x");
	STEER(2, "--rss-key 00: want 40 to 64 bytes", XN_LAB_FAR, "--queues", "2", "--rss-key", "00");
	STEER(2, "--rss-table 0,2: want queues below 2", XN_LAB_FAR, "--queues", "2", "--rss-table", "0,2");
	STEER(2, "--off takes nothing else", XN_LAB_FAR, "--off", "--queues", "2");
	STEER(2, "the daemon says all the rest", XN_LAB_FAR, "--ctl", "x", "--queues", "2");
	STEER(2, "--queues needs a value", XN_LAB_FAR, "--queues");
	STEER(2, "\"--bad\" is not known", XN_LAB_FAR, "--bad");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(frames_of_all_kinds_arrive_where_the_guest_computes_them, start),
		cmocka_unit_test_setup(frames_in_pieces_are_put_together, start),
		cmocka_unit_test_setup(flows_of_sockets_arrive_where_the_guest_computes_them, start),
		cmocka_unit_test_setup(flows_on_a_vlan_too, start),
		cmocka_unit_test_setup(off_is_as_if_it_had_never_been, start),
		cmocka_unit_test_setup(new_table_is_in_force_with_the_next_frame, start),
		cmocka_unit_test_setup(daemon_says_how, start),
		cmocka_unit_test_setup(veth_itself_is_told_as_corrected_with_the_way_out, start),
		cmocka_unit_test_setup(xps_is_refused_and_told, start),
		cmocka_unit_test_setup(what_cannot_be_steered_is_told, start),
		cmocka_unit_test_setup(wrong_words_are_told, start),
	};

	run_init(argv[0]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
