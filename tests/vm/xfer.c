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
 *	xfer queues DEV N MS               on which of the N receive queues of DEV each flow
 *	                                   from 198.18.X.Y arrives: after MS milliseconds lines
 *	                                   "X.Y QUEUE FRAMES"; "ready" when it has begun
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

#define PATIENCE_S 30           /* without a byte, until it gives up */

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

static int queues(const char *dev, unsigned n, uint64_t ms)
{
	static unsigned frames[QUEUES_MAX][1 << 16];
	struct pollfd p[QUEUES_MAX];
	const uint64_t end = now_ms() + ms;
	uint8_t head[64];

	if (!n || n > QUEUES_MAX)
		return 2;
	for (unsigned q = 0; q < n; q++)
		p[q] = (struct pollfd){ queue_socket(if_nametoindex(dev), q), POLLIN, 0 };
	printf("ready\n");
	fflush(stdout);
	while (now_ms() < end) {
		poll(p, n, 50);
		for (unsigned q = 0; q < n; q++)
			while (recv(p[q].fd, head, sizeof(head), 0) >= 34)
				if (head[26] == 198 && head[27] == 18)
					frames[q][head[28] << 8 | head[29]]++;
	}
	for (unsigned q = 0; q < n; q++)
		for (unsigned f = 0; f < 1 << 16; f++)
			if (frames[q][f])
				printf("%u.%u %u %u\n", f >> 8, f & 255, q, frames[q][f]);
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
	if (!strcmp(what, "queues") && argc == 5)
		return queues(argv[2], (unsigned)atoi(argv[3]), strtoull(argv[4], NULL, 0));
	fprintf(stderr, "usage: xfer queues DEV N MS | serve PORT [FILE] | echo PORT | put|get ADDR PORT BYTES SEED [MS]\n");
	return 2;
}
