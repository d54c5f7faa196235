/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Contract in tcp_peer.h. One thread: it accepts, then reads whatever comes, and writes as long
 * as it has been told to and the socket takes it. Its words are written by one side each.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "bench/tcp_peer.h"

#define RCV_BYTES  (4 << 20)     /* of the socket */
#define SND_BYTES  (1 << 20)
#define POLL_MS    5
#define NETMASK    0xffff0000u

struct xn_tcp_peer {
	struct xn_tcp_peer_cfg cfg;
	int listener, fd;
	pthread_t thread;
	bool started;
	uint8_t *buf;                 /* XN_TCP_MORE */
	/* -- written by the thread -- */
	uint64_t received, bad, sent;
	uint32_t connected, eof;
	bool shut;
	/* -- written by the caller -- */
	uint64_t limit;
	uint32_t chunk, stop, shutdown;
};

/* ---- the thread ---- */

static void receive(struct xn_tcp_peer *p)
{
	const ssize_t n = recv(p->fd, p->buf, XN_TCP_MORE, MSG_DONTWAIT);

	if (!n)
		xn_store_release32(&p->eof, 1);
	if (n <= 0)
		return;
	if (!xn_tcp_is_pattern(p->cfg.pattern, p->received, p->buf, (uint32_t)n))
		xn_store_once64(&p->bad, p->bad + (uint64_t)n);
	xn_store_once64(&p->received, p->received + (uint64_t)n);
}

/* True: it has to wait until the socket takes more. */
static bool transmit(struct xn_tcp_peer *p)
{
	const uint64_t limit = xn_load_once64(&p->limit);
	const uint32_t most = xn_load_once32(&p->chunk);
	ssize_t n;

	/* It may have been lowered to less than has been sent. */
	if (limit <= p->sent)
		return false;
	n = send(p->fd, p->cfg.pattern + p->sent % XN_TCP_PERIOD, XN_MIN(limit - p->sent, most),
		 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		xn_store_once64(&p->sent, p->sent + (uint64_t)n);
	return true;
}

static void *peer_thread(void *arg)
{
	struct xn_tcp_peer *p = arg;

	while (!xn_load_acquire32(&p->stop)) {
		struct pollfd fd = { .fd = p->fd, .events = POLLIN };

		if (p->eof)
			fd.events = 0;
		if (transmit(p))
			fd.events |= POLLOUT;
		else if (xn_load_acquire32(&p->shutdown) && !p->shut)
			p->shut = !shutdown(p->fd, SHUT_WR);
		if (poll(&fd, 1, POLL_MS) == 1 && fd.revents & POLLIN && !p->eof)
			receive(p);
	}
	return NULL;
}

/* Drops some of the segments that are longer than an acknowledgement: before TCP sees them
 * (Linux net/ipv4/tcp_ipv4.c, tcp_filter). */
static int set_drop(int fd, uint32_t of_65536)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 40, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xffff),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, of_65536, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog prog = { XN_ARRAY_SIZE(code), code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) ? -errno : 0;
}

static void *accept_thread(void *arg)
{
	struct xn_tcp_peer *p = arg;
	const int one = 1;

	while (!xn_load_acquire32(&p->stop)) {
		struct pollfd fd = { .fd = p->listener, .events = POLLIN };

		if (poll(&fd, 1, POLL_MS) == 1)
			p->fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
		if (p->fd < 0)
			continue;
		setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (p->cfg.drop && set_drop(p->fd, p->cfg.drop))
			return NULL;
		xn_store_release32(&p->connected, 1);
		return peer_thread(p);
	}
	return NULL;
}

/* ---- the far namespace ---- */

static struct sockaddr_in ip4(uint32_t addr, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(addr) };
}

static int set_address(int fd, const char *ifname, unsigned long request, uint32_t addr)
{
	const struct sockaddr_in sin = ip4(addr, 0);
	struct ifreq ifr = { 0 };

	memcpy(ifr.ifr_name, ifname, strnlen(ifname, IFNAMSIZ - 1));
	memcpy(&ifr.ifr_addr, &sin, sizeof(sin));
	return ioctl(fd, request, &ifr) ? xn_fail(errno, "address of %s: %s", ifname, strerror(errno)) : 0;
}

/* Where the guest is. */
static int set_neighbour(int fd, const struct xn_lab *lab)
{
	const struct sockaddr_in sin = ip4(XN_TCP_GUEST_ADDR, 0);
	struct arpreq a = { .arp_flags = ATF_PERM | ATF_COM };

	memcpy(&a.arp_pa, &sin, sizeof(sin));
	a.arp_ha.sa_family = ARPHRD_ETHER;
	memcpy(a.arp_ha.sa_data, lab->near_mac, 6);
	memcpy(a.arp_dev, lab->far_name, strnlen(lab->far_name, sizeof(a.arp_dev) - 1));
	return ioctl(fd, SIOCSARP, &a) ? xn_fail(errno, "neighbour of %s: %s", lab->far_name,
						 strerror(errno)) : 0;
}

static int listen_far(struct xn_tcp_peer *p)
{
	const struct sockaddr_in sin = ip4(XN_TCP_PEER_ADDR, XN_TCP_PEER_PORT);
	const int one = 1, rcv = RCV_BYTES, snd = SND_BYTES;
	int err;

	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->listener < 0)
		return xn_fail(errno, "socket: %s", strerror(errno));
	err = set_address(p->listener, p->cfg.lab->far_name, SIOCSIFADDR, XN_TCP_PEER_ADDR);
	if (!err)
		err = set_address(p->listener, p->cfg.lab->far_name, SIOCSIFNETMASK, NETMASK);
	if (!err)
		err = set_neighbour(p->listener, p->cfg.lab);
	if (err)
		return err;
	setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* What is accepted inherits them. */
	setsockopt(p->listener, SOL_SOCKET, SO_RCVBUFFORCE, &rcv, sizeof(rcv));
	setsockopt(p->listener, SOL_SOCKET, SO_SNDBUFFORCE, &snd, sizeof(snd));
	if (bind(p->listener, (const struct sockaddr *)&sin, sizeof(sin)) || listen(p->listener, 1))
		return xn_fail(errno, "cannot listen in the far namespace: %s", strerror(errno));
	return 0;
}

/* ---- life ---- */

static int start(struct xn_tcp_peer *p)
{
	pthread_attr_t attr;
	cpu_set_t set;
	int err;

	pthread_attr_init(&attr);
	CPU_ZERO(&set);
	if (p->cfg.cpu >= 0) {
		CPU_SET((unsigned)p->cfg.cpu, &set);
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	err = pthread_create(&p->thread, &attr, accept_thread, p);
	pthread_attr_destroy(&attr);
	p->started = !err;
	return err ? xn_fail(err, "cannot start a TCP peer: %s", strerror(err)) : 0;
}

int xn_tcp_peer_open(struct xn_tcp_peer **out, const struct xn_tcp_peer_cfg *cfg)
{
	struct xn_tcp_peer *p = calloc(1, sizeof(*p));
	int err, back = -1;

	*out = NULL;
	if (!p)
		return xn_fail(ENOMEM, "no memory for a TCP peer");
	p->cfg = *cfg;
	p->listener = p->fd = -1;
	p->chunk = XN_TCP_MORE;
	p->buf = malloc(XN_TCP_MORE);
	err = p->buf ? xn_lab_visit(cfg->lab->far_ns, &back) :
		       xn_fail(ENOMEM, "no memory for a TCP peer");
	if (!err) {
		err = listen_far(p);
		xn_lab_return(back);
	}
	if (!err)
		err = start(p);
	if (err) {
		xn_tcp_peer_close(p);
		return err;
	}
	*out = p;
	return 0;
}

void xn_tcp_peer_close(struct xn_tcp_peer *p)
{
	const struct linger now = { .l_onoff = 1 };

	if (!p)
		return;
	xn_store_release32(&p->stop, 1);
	if (p->started)
		pthread_join(p->thread, NULL);
	if (p->fd >= 0) {
		setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(p->fd);
	}
	if (p->listener >= 0)
		close(p->listener);
	free(p->buf);
	free(p);
}

void xn_tcp_peer_send(struct xn_tcp_peer *p, uint64_t limit, uint32_t chunk)
{
	xn_store_once32(&p->chunk, chunk ? chunk : XN_TCP_MORE);
	xn_store_once64(&p->limit, limit);
}

void xn_tcp_peer_shutdown(struct xn_tcp_peer *p)
{
	xn_store_release32(&p->shutdown, 1);
}

void xn_tcp_peer_read(struct xn_tcp_peer *p, struct xn_tcp_peer_counts *out)
{
	/* Before all others: what has been received by then is all that there is. Pairs with the
	 * release in receive(). */
	const bool eof = xn_load_acquire32(&p->eof);

	*out = (struct xn_tcp_peer_counts){
		.eof = eof, .connected = xn_load_acquire32(&p->connected),
		.received = xn_load_once64(&p->received), .bad = xn_load_once64(&p->bad),
		.sent = xn_load_once64(&p->sent),
	};
}
