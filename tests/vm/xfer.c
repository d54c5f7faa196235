// SPDX-License-Identifier: BSD-2-Clause
/*
 * Traffic that proves itself, inside a guest and outside: a stream of numbers drawn from
 * a seed, which the receiver draws as well and compares, byte by byte. Linked statically,
 * it runs in an initramfs.
 *
 *	xfer serve PORT [FILE]             answers put and get, any number of them at once;
 *	                                   reads what is put only once FILE is there
 *	xfer put ADDR PORT BYTES SEED [MS] sends BYTES, or for MS milliseconds
 *	xfer get ADDR PORT BYTES SEED [MS] has them sent
 *	xfer echo PORT                     sends each UDP datagram back
 *	xfer trains PORT [gro]             answers trains of UDP datagrams with the same train; gro: takes
 *	                                   several in one piece (UDP_GRO)
 *	xfer train ADDR PORT N SIZE TIMES  sends trains of N datagrams of SIZE bytes, the last one
 *	                                   shorter, each in one piece that the kernel or the
 *	                                   device cuts (UDP_SEGMENT)
 *	xfer flood ADDR PORT SIZE BURST PPS MS
 *	                                   sends BURST datagrams at a time, so many a second, or as
 *	                                   fast as it can (0); prints how many
 *	xfer drink PORT MS [gro]           takes datagrams until none has come for MS milliseconds;
 *	                                   prints how many
 *	xfer queues DEV N FRAMES MS        on which of the N receive queues of DEV each flow
 *	                                   from 198.18.X.Y arrives: when so many frames have come,
 *	                                   or after the first none for MS milliseconds, lines
 *	                                   "X.Y QUEUE FRAMES"; "ready" when it has begun
 *
 * A datagram of a train that is not what was sent ends both sides with an error; trains of which
 * something is lost are sent again. train prints how many were, beside those that were asked for.
 *
 * put and get print the bytes and the milliseconds that they took; status 0 only if the
 * receiver has compared as many bytes as the sender has sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 60           /* without a byte, until it gives up */

struct order {                  /* of the client to the server */
	uint32_t get;
	uint32_t ms;
	uint64_t bytes, seed;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* xorshift64*, eight bytes a number; *state is never 0. */
static void draw(uint64_t *state, void *buf, size_t bytes)
{
	uint64_t x = *state, v;

	for (size_t i = 0; i < bytes; i += 8) {
		x ^= x >> 12;
		x ^= x << 25;
		x ^= x >> 27;
		v = x * 0x2545f4914f6cdd1d;
		memcpy((char *)buf + i, &v, bytes - i < 8 ? bytes - i : 8);
	}
	*state = x;
}

static bool all(int fd, void *buf, size_t bytes, bool out)
{
	for (size_t at = 0; at < bytes;) {
		ssize_t n = out ? send(fd, (char *)buf + at, bytes - at, MSG_NOSIGNAL) :
				  recv(fd, (char *)buf + at, bytes - at, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

/* What the receiver has compared comes back as eight bytes. */
static int stream_out(int fd, const struct order *o)
{
	static char buf[1 << 16];
	uint64_t state = o->seed | 1, sent = 0, seen = 0, end = now_ms() + o->ms;

	while (sent < o->bytes && (!o->ms || now_ms() < end)) {
		size_t n = o->bytes - sent < sizeof(buf) ? (size_t)(o->bytes - sent) : sizeof(buf);

		draw(&state, buf, n);
		if (!all(fd, buf, n, true)) {
			fprintf(stderr, "sending stopped after %llu bytes: %s\n",
				(unsigned long long)sent, strerror(errno));
			return 1;
		}
		sent += n;
	}
	if (shutdown(fd, SHUT_WR) || !all(fd, &seen, sizeof(seen), false)) {
		fprintf(stderr, "no answer after %llu bytes: %s\n", (unsigned long long)sent,
			strerror(errno));
		return 1;
	}
	if (seen != sent)
		fprintf(stderr, "sent %llu bytes, the receiver has compared %llu\n",
			(unsigned long long)sent, (unsigned long long)seen);
	else
		printf("%llu bytes", (unsigned long long)sent);
	return seen != sent;
}

static int stream_in(int fd, const struct order *o)
{
	static char got[1 << 16], want[1 << 16];
	uint64_t state = o->seed | 1, seen = 0;
	int bad = 0;

	while (!bad) {
		/* In the sender's pieces: a number is never drawn in two halves. */
		size_t n = 0;

		while (n < sizeof(got)) {
			ssize_t r = recv(fd, got + n, sizeof(got) - n, 0);

			if (r < 0 && errno == EINTR)
				continue;
			if (r < 0) {
				fprintf(stderr, "receiving stopped after %llu bytes: %s\n",
					(unsigned long long)seen + n, strerror(errno));
				bad = 1;
			}
			if (r <= 0)
				break;
			n += (size_t)r;
		}
		draw(&state, want, n);
		for (size_t i = 0; i < n && !bad; i++, seen++)
			if (got[i] != want[i]) {
				fprintf(stderr, "byte %llu is %02x, not %02x\n",
					(unsigned long long)seen, (uint8_t)got[i], (uint8_t)want[i]);
				bad = 1;
				break;
			}
		if (n < sizeof(got))
			break;
	}
	if (!all(fd, &seen, sizeof(seen), true) && !bad) {
		fprintf(stderr, "the sender is gone: %s\n", strerror(errno));
		bad = 1;
	}
	if (!bad && !o->ms && seen != o->bytes) {
		fprintf(stderr, "the stream ends after %llu bytes of %llu\n", (unsigned long long)seen,
			(unsigned long long)o->bytes);
		bad = 1;
	}
	if (!bad)
		printf("%llu bytes", (unsigned long long)seen);
	return bad;
}

static int tuned(int fd)
{
	struct timeval t = { .tv_sec = PATIENCE_S };
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return fd;
}

static int bound(int type, const char *port)
{
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, type, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&me, sizeof(me)) ||
	    (type == SOCK_STREAM && listen(fd, 16))) {
		perror(port);
		exit(1);
	}
	return fd;
}

static void __attribute__((noreturn)) serve(const char *port, const char *file)
{
	int listener = bound(SOCK_STREAM, port);

	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		struct order o;

		if (fd < 0)
			continue;
		if (fork()) {
			close(fd);
			continue;
		}
		if (!all(tuned(fd), &o, sizeof(o), false))
			_exit(1);
		while (file && access(file, F_OK))
			usleep(10000);
		_exit(o.get ? stream_out(fd, &o) : stream_in(fd, &o));
	}
}

static int client(bool get, char **argv, int n)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
	struct order o = { .get = get, .bytes = strtoull(argv[2], NULL, 0),
			   .seed = strtoull(argv[3], NULL, 0),
			   .ms = n > 4 ? (uint32_t)atoi(argv[4]) : 0 };
	int fd = tuned(socket(AF_INET, SOCK_STREAM, 0)), bad;
	uint64_t began = now_ms();

	inet_pton(AF_INET, argv[0], &to.sin_addr);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) || !all(fd, &o, sizeof(o), true)) {
		perror(argv[0]);
		return 1;
	}
	bad = get ? stream_in(fd, &o) : stream_out(fd, &o);
	if (!bad)
		printf(" %llu ms\n", (unsigned long long)(now_ms() - began));
	return bad;
}

static void __attribute__((noreturn)) echo(const char *port)
{
	int fd = bound(SOCK_DGRAM, port);
	struct sockaddr_in who;
	char buf[2048];

	for (;;) {
		socklen_t len = sizeof(who);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&who, &len);

		if (n >= 0)
			sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&who, len);
	}
}

/* ---- trains ---- */

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#define TRAIN_MAX   64u
#define TRAIN_BYTES 65000u
#define ANSWER_MS   400
#define AGAIN_MAX   100u

/* In front of each datagram; what follows is drawn from seed and index. */
struct car {
	uint32_t seed;
	uint16_t index, count, size, last;      /* bytes of the datagrams, and of the last one */
};

struct train {
	struct car head;                        /* of its first car */
	uint64_t there;                         /* cars, a bit each */
	uint8_t bytes[TRAIN_BYTES + 8];         /* draw() writes eight at a time */
};

static unsigned car_bytes(const struct car *c)
{
	return c->index + 1u == c->count ? c->last : c->size;
}

static bool car_good(const struct car *c)
{
	return c->count && c->count <= TRAIN_MAX && c->index < c->count && c->last > sizeof(*c) &&
	       c->last <= c->size && (uint32_t)c->count * c->size <= TRAIN_BYTES;
}

static void make_car(const struct car *c, uint8_t *to)
{
	uint64_t state = (uint64_t)c->seed << 16 | (c->index + 1u);

	memcpy(to, c, sizeof(*c));
	draw(&state, to + sizeof(*c), car_bytes(c) - sizeof(*c));
}

/* In one piece; in single ones where the kernel does not cut (Linux before 6.11, for an interface
 * without checksums). */
static void send_train(int fd, struct train *t, const struct sockaddr_in *to)
{
	union {
		char room[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr h;
	} c = { .h = { .cmsg_level = IPPROTO_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof(uint16_t)) } };
	struct iovec iov = { .iov_base = t->bytes };
	struct msghdr m = { .msg_name = (void *)(uintptr_t)to, .msg_namelen = to ? sizeof(*to) : 0,
			    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	struct car car = t->head;

	for (car.index = 0; car.index < car.count; car.index++) {
		make_car(&car, t->bytes + iov.iov_len);
		iov.iov_len += car_bytes(&car);
	}
	memcpy(CMSG_DATA(&c.h), &car.size, sizeof(car.size));
	if (sendmsg(fd, &m, 0) >= 0 || errno != EIO)
		return;
	m.msg_control = NULL;
	m.msg_controllen = 0;
	for (car.index = 0; car.index < car.count; car.index++) {
		iov = (struct iovec){ t->bytes + car.index * car.size, car_bytes(&car) };
		(void)!sendmsg(fd, &m, 0);
	}
}

/* A datagram that has come. False: it is not what it says. */
static bool take_car(struct train *t, const uint8_t *p, size_t n)
{
	static uint8_t want[TRAIN_BYTES + 8];
	struct car c;

	memcpy(&c, p, n < sizeof(c) ? 0 : sizeof(c));
	if (n < sizeof(c) || !car_good(&c) || n != car_bytes(&c))
		return false;
	make_car(&c, want);
	if (memcmp(want, p, n))
		return false;
	if (c.seed != t->head.seed) {
		t->head = c;
		t->there = 0;
	}
	t->there |= 1ull << c.index;
	return true;
}

static bool train_there(const struct train *t)
{
	return t->head.count && t->there == ~0ull >> (64 - t->head.count);
}

/* A socket for many datagrams, with UDP_GRO several of them in one piece. */
static int bound_for_many(const char *port, bool gro)
{
	int fd = bound(SOCK_DGRAM, port), room = 8 << 20, one = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (gro && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one))) {
		perror("UDP_GRO");
		exit(1);
	}
	return fd;
}

/* What has come, in datagrams of *size bytes of which the last one may be shorter. */
static ssize_t take_many(int fd, uint8_t *buf, size_t room, struct sockaddr_in *who, size_t *size)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr h;
	} c;
	struct iovec iov = { buf, room };
	struct msghdr m = { .msg_name = who, .msg_namelen = sizeof(*who), .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &c, .msg_controllen = sizeof(c) };
	const ssize_t n = recvmsg(fd, &m, 0);

	*size = n > 0 ? (size_t)n : 1;
	for (struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL; h; h = CMSG_NXTHDR(&m, h)) {
		int said = 0;

		if (h->cmsg_level != IPPROTO_UDP || h->cmsg_type != UDP_GRO)
			continue;
		memcpy(&said, CMSG_DATA(h), sizeof(said));
		if (said > 0)
			*size = (size_t)said;
	}
	return n;
}

static void __attribute__((noreturn)) trains(const char *port, bool gro)
{
	static struct train t;
	static uint8_t buf[1 << 16];
	int fd = bound_for_many(port, gro);
	struct sockaddr_in who;

	for (;;) {
		size_t size;
		ssize_t n = take_many(fd, buf, sizeof(buf), &who, &size);

		for (ssize_t at = 0; at < n; at += (ssize_t)size) {
			const size_t left = (size_t)(n - at), one = left < size ? left : size;

			if (!take_car(&t, buf + at, one)) {
				fprintf(stderr, "a datagram of %zu bytes that nobody has sent\n", one);
				exit(1);
			}
			if (!train_there(&t))
				continue;
			send_train(fd, &t, &who);
			t.there = 0;            /* sent again, it is answered again */
		}
	}
}

/* Sends one until all of it has come back. Returns how often; 0: something else has come, or nothing. */
static unsigned train_round(int fd, struct train *t)
{
	static uint8_t buf[TRAIN_BYTES];
	const struct car head = t->head;

	for (unsigned tries = 1; tries <= AGAIN_MAX; tries++) {
		struct pollfd p = { fd, POLLIN, 0 };

		t->head = head;
		send_train(fd, t, NULL);
		while (poll(&p, 1, ANSWER_MS) == 1) {
			ssize_t n = recv(fd, buf, sizeof(buf), 0);
			struct car c;

			if (n < 0)
				continue;       /* nobody listens yet */
			memcpy(&c, buf, (size_t)n < sizeof(c) ? 0 : sizeof(c));
			if ((size_t)n >= sizeof(c) && c.seed < head.seed)
				continue;       /* late, of the one before */
			if (!take_car(t, buf, (size_t)n) || t->head.seed != head.seed) {
				fprintf(stderr, "a datagram of %zd bytes that nobody has sent\n", n);
				return 0;
			}
			if (train_there(t))
				return tries;
		}
	}
	fprintf(stderr, "no answer\n");
	return 0;
}

static int train(char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
	const unsigned n = (unsigned)atoi(argv[2]), size = (unsigned)atoi(argv[3]), times = (unsigned)atoi(argv[4]);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;
	static struct train t;
	unsigned again = 0;

	inet_pton(AF_INET, argv[0], &to.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		perror(argv[0]);
		return 1;
	}
	for (unsigned i = 0; i < times; i++) {
		unsigned sent;

		/* The seed tells trains apart, also from those of the process before. */
		t.head = (struct car){ .seed = (uint32_t)(now_ms() & 0xffffff) << 8 | (i & 255),
				       .count = (uint16_t)n, .size = (uint16_t)size,
				       .last = (uint16_t)(size / 2 + sizeof(struct car) + i % 7) };
		t.there = 0;
		if (!car_good(&t.head))
			return 2;
		sent = train_round(fd, &t);
		if (!sent)
			return 1;
		again += sent - 1;
	}
	printf("%u trains of %u datagrams of %u bytes, %u sent again\n", times, n, size, again);
	return 0;
}

/* ---- which queue? ---- */

#define QUEUES_MAX 16

/* All IPv4 frames of one receive queue: the driver's word for it, which counts from 1. */
static int queue_socket(unsigned ifindex, unsigned queue)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_QUEUE)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, queue + 1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 64),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog prog = { 4, code };
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				  .sll_ifindex = (int)ifindex };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0), room = 4 << 20;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	/* The filter first: from then on nothing else comes. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at))) {
		perror("packet socket");
		exit(1);
	}
	return fd;
}

static int queues(const char *dev, unsigned n, unsigned most, int ms)
{
	static unsigned frames[QUEUES_MAX][1 << 16];
	struct pollfd p[QUEUES_MAX];
	unsigned come = 0;
	uint8_t head[64];

	if (!n || n > QUEUES_MAX)
		return 2;
	for (unsigned q = 0; q < n; q++)
		p[q] = (struct pollfd){ queue_socket(if_nametoindex(dev), q), POLLIN, 0 };
	printf("ready\n");
	fflush(stdout);
	while (come < most && poll(p, n, come ? ms : 1000 * PATIENCE_S) > 0) {
		for (unsigned q = 0; q < n; q++)
			while (recv(p[q].fd, head, sizeof(head), 0) >= 34)
				if (head[26] == 198 && head[27] == 18) {
					frames[q][head[28] << 8 | head[29]]++;
					come++;
				}
	}
	for (unsigned q = 0; q < n; q++)
		for (unsigned f = 0; f < 1 << 16; f++)
			if (frames[q][f])
				printf("%u.%u %u %u\n", f >> 8, f & 255, q, frames[q][f]);
	return 0;
}

/* ---- as many datagrams as somebody takes ---- */

#define BURST_MAX 64u

static int flood(char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])) };
	const uint64_t pps = strtoull(argv[4], NULL, 0), ms = strtoull(argv[5], NULL, 0);
	static uint8_t buf[1 << 16];
	struct iovec iov = { buf, (size_t)atoi(argv[2]) };
	unsigned burst = (unsigned)atoi(argv[3]);
	struct mmsghdr m[BURST_MAX] = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	uint64_t sent = 0, began;

	inet_pton(AF_INET, argv[0], &to.sin_addr);
	if (!burst || burst > BURST_MAX || iov.iov_len > sizeof(buf))
		return 2;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		perror(argv[0]);
		return 1;
	}
	for (unsigned i = 0; i < burst; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
	for (began = now_ms(); now_ms() < began + ms; ) {
		int n;

		if (pps && sent > (now_ms() - began) * pps / 1000) {
			usleep(200);
			continue;
		}
		n = sendmmsg(fd, m, burst, 0);
		sent += n > 0 ? (uint64_t)n : 0;
	}
	printf("%llu\n", (unsigned long long)sent);
	return 0;
}

static int drink(const char *port, int ms, bool gro)
{
	struct pollfd p = { .fd = bound_for_many(port, gro), .events = POLLIN };
	static uint8_t buf[1 << 16];
	struct sockaddr_in who;
	uint64_t taken = 0;
	size_t size;

	while (poll(&p, 1, taken ? ms : PATIENCE_S * 1000) == 1) {
		const ssize_t n = take_many(p.fd, buf, sizeof(buf), &who, &size);

		if (n > 0)
			taken += ((size_t)n + size - 1) / size;
	}
	printf("%llu\n", (unsigned long long)taken);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "serve") && argc >= 3)
		serve(argv[2], argv[3]);
	if (!strcmp(what, "echo") && argc == 3)
		echo(argv[2]);
	if ((!strcmp(what, "put") || !strcmp(what, "get")) && argc >= 6)
		return client(*what == 'g', argv + 2, argc - 2);
	if (!strcmp(what, "trains") && argc >= 3)
		trains(argv[2], argc > 3);
	if (!strcmp(what, "flood") && argc == 8)
		return flood(argv + 2);
	if (!strcmp(what, "drink") && argc >= 4)
		return drink(argv[2], atoi(argv[3]), argc > 4);
	if (!strcmp(what, "train") && argc == 7)
		return train(argv + 2);
	if (!strcmp(what, "queues") && argc == 6)
		return queues(argv[2], (unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]), atoi(argv[5]));
	fprintf(stderr, "usage: xfer queues DEV N FRAMES MS | flood ADDR PORT SIZE BURST PPS MS | drink PORT MS [gro] | trains PORT [gro] | train ADDR PORT N SIZE TIMES | serve PORT [FILE] | echo PORT | put|get ADDR PORT BYTES SEED [MS]\n");
	return 2;
}
