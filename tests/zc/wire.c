/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames that prove themselves, and the other end of the wire (zc.h). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tests/zc/zc.h"
#include "xsk/xsk.h"

#define TYPE    0x88b5    /* IEEE: for experiments */
#define MAGIC   0x7a636c62u
#define BATCH   64u
#define PHASES  251u      /* a prime: neighbours' payloads differ everywhere */
#define RCVBUF  (64 << 20)
#define SETTLE_US 200000000u
#define STEADY_US 800000u

static uint8_t noise[ZC_MAX_FRAME + PHASES];

static void make_noise(void)
{
	uint64_t x = 0x9e3779b97f4a7c15;

	for (size_t i = 0; i < sizeof(noise); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		noise[i] = (uint8_t)x;
	}
}

static void ask(const char *ifname, unsigned *ifindex, uint8_t *mac)
{
	struct ifreq r = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", ifname);
	*ifindex = if_nametoindex(ifname);
	if (!*ifindex || ioctl(fd, SIOCGIFHWADDR, &r))
		zc_die("%s: %s", ifname, strerror(errno));
	memcpy(mac, r.ifr_hwaddr.sa_data, 6);
	close(fd);
}

static int packet_socket(unsigned ifindex)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(TYPE),
				 .sll_ifindex = (int)ifindex };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), bytes = RCVBUF, one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)))
		zc_die("packet socket: %s", strerror(errno));
	return fd;
}

void zc_enter(int ns)
{
	if (setns(ns, CLONE_NEWNET))
		zc_die("network namespace: %s", strerror(errno));
}

void zc_wire_open(struct zc_wire *w)
{
	char driver[32];

	w->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	w->away = open(ZC_PEER_NS, O_RDONLY | O_CLOEXEC);
	make_noise();
	w->igb = !xn_probe_driver(ZC_DEV, driver, sizeof(driver)) && !strcmp(driver, "igb");
	w->longest = ZC_FRAME_LONG;
	ask(ZC_DEV, &w->ifindex, w->mac);
	zc_enter(w->away);
	ask(ZC_PEER, &w->peer_ifindex, w->peer_mac);
	w->peer = packet_socket(w->peer_ifindex);
	zc_enter(w->home);
}

int zc_set_mtu(const char *ifname, int mtu)
{
	struct ifreq was = { .ifr_mtu = 0 }, r = { .ifr_mtu = mtu };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", ifname);
	snprintf(was.ifr_name, sizeof(was.ifr_name), "%s", ifname);
	if (ioctl(fd, SIOCGIFMTU, &was) || ioctl(fd, SIOCSIFMTU, &r))
		zc_die("%s: MTU %d: %s", ifname, mtu, strerror(errno));
	close(fd);
	return was.ifr_mtu;
}

void zc_nic(const struct zc_wire *w, bool peer, struct zc_nic *n)
{
	unsigned long long rx[8], tx[8];
	char line[512], name[16] = "";
	FILE *f;

	if (peer)
		zc_enter(w->away);
	/* Of the thread's own namespace; errors, drops, and no room (linux/Documentation/filesystems/proc). */
	f = fopen("/proc/thread-self/net/dev", "r");
	while (f && strcmp(name, peer ? ZC_PEER : ZC_DEV)) {
		if (!fgets(line, sizeof(line), f))
			zc_die("/proc/net/dev: %s is not there", peer ? ZC_PEER : ZC_DEV);
		if (sscanf(line, " %15[^:]: %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", name,
			   &rx[0], &rx[1], &rx[2], &rx[3], &rx[4], &rx[5], &rx[6], &rx[7],
			   &tx[0], &tx[1], &tx[2], &tx[3], &tx[4]) != 14)
			name[0] = '\0';
	}
	if (!f)
		zc_die("/proc/net/dev: %s", strerror(errno));
	fclose(f);
	if (peer)
		zc_enter(w->home);
	n->rx_drops = rx[2] + rx[3];
	n->tx_drops = tx[2] + tx[3];
}

void zc_frame(const struct zc_wire *w, uint8_t *f, uint32_t bytes, uint64_t seq, bool to_peer)
{
	struct zc_head h = { .type = htons(TYPE), .magic = MAGIC, .seq = seq, .bytes = bytes };

	memcpy(h.dst, to_peer ? w->peer_mac : w->mac, 6);
	memcpy(h.src, to_peer ? w->mac : w->peer_mac, 6);
	memcpy(f, &h, sizeof(h));
	memcpy(f + sizeof(h), noise + seq % PHASES, bytes - sizeof(h));
}

uint64_t zc_frame_seq(const uint8_t *f, uint32_t bytes)
{
	struct zc_head h;

	if (bytes < sizeof(h))
		return UINT64_MAX;
	memcpy(&h, f, sizeof(h));
	if (h.magic != MAGIC || h.bytes != bytes ||
	    memcmp(f + sizeof(h), noise + h.seq % PHASES, bytes - sizeof(h)))
		return UINT64_MAX;
	return h.seq;
}

void zc_peer_send(const struct zc_wire *w, uint64_t seq, const uint32_t *bytes, unsigned n)
{
	static uint8_t buf[BATCH][ZC_MAX_FRAME];
	struct mmsghdr m[BATCH] = { 0 };
	struct iovec v[BATCH];

	for (unsigned i = 0; i < n; i++) {
		zc_frame(w, buf[i], bytes[i], seq + i, false);
		v[i] = (struct iovec){ buf[i], bytes[i] };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &v[i], .msg_iovlen = 1 };
	}
	for (unsigned i = 0; i < n;) {
		int r = sendmmsg(w->peer, m + i, n - i, 0);

		if (r > 0)
			i += (unsigned)r;
		else if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
			zc_die("sending at the peer: %s", strerror(errno));
	}
}

unsigned zc_peer_recv(const struct zc_wire *w, uint8_t *buf, uint32_t *bytes, unsigned n)
{
	struct mmsghdr m[BATCH] = { 0 };
	struct iovec v[BATCH];
	int r;

	if (n > BATCH)
		n = BATCH;
	for (unsigned i = 0; i < n; i++) {
		v[i] = (struct iovec){ buf + (size_t)i * ZC_MAX_FRAME, ZC_MAX_FRAME };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &v[i], .msg_iovlen = 1 };
	}
	r = recvmmsg(w->peer, m, n, MSG_DONTWAIT, NULL);
	for (int i = 0; i < r; i++)
		bytes[i] = m[i].msg_len;
	return r > 0 ? (unsigned)r : 0;
}

/* As it is now: the state of the interface follows later. */
static bool has_carrier(void)
{
	char c = 0;
	int fd = open("/sys/class/net/" ZC_DEV "/carrier", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, &c, 1) != 1)
		c = 0;   /* not while it is down */
	if (fd >= 0)
		close(fd);
	return c == '1';
}

void zc_wire_settle(const struct zc_wire *w)
{
	static uint8_t buf[BATCH][ZC_MAX_FRAME];
	const uint64_t until = zc_now_us() + SETTLE_US;
	uint32_t bytes[BATCH];
	uint64_t now, since = until;

	/* igb's comes, goes and comes after its reset. */
	while ((now = zc_now_us()) < since + (w->igb ? STEADY_US : STEADY_US / 8)) {
		if (!has_carrier())
			since = until;
		else if (since == until)
			since = now;
		if (now > until)
			zc_die("%s does not come up", ZC_DEV);
		usleep(10000);
	}
	while (zc_peer_recv(w, buf[0], bytes, BATCH))
		;
}
