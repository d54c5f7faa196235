/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When does a driver in zero-copy mode stop writing? The peer keeps sending while the socket
 * is closed with a thousand buffers posted. Runs in the machine of tests/zc/run.
 *
 *	stop PAGES ROUNDS     PAGES: 4k or 2M, of the memory that is lent
 *
 *	close   rings unmapped and socket closed, nothing else: how many buffers were written
 *	        after close() had returned, and how late the last of them
 *	rebind  the same, and then a socket with memory of its own is bound to the queue until
 *	        that succeeds: not a byte may change from there on, for 5 s
 *
 * Status 1 if one does.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "base/log.h"
#include "bpf/steer.h"
#include "tests/zc/zc.h"

#define LENT_BYTES  (8ull * ZC_HUGE)
#define OWN_BYTES   (1ull * ZC_HUGE)
#define BUFS        1024u
#define FRAMES      1000u         /* that arrive before the end */
#define START_US    100000000u
#define AFTER_US    5000000u
#define PROBE       64u           /* bytes of a buffer that show whether a frame came */
#define FLOOD       32u

struct after {
	uint64_t close_us, bind_us;
	unsigned busy;
	unsigned writes;          /* after close() had returned */
	uint64_t last_us;
	uint64_t changed;         /* bytes, after the re-bind */
};

static pid_t flood(const struct zc_wire *w)
{
	uint32_t bytes[FLOOD];
	pid_t p = fork();

	if (p)
		return p;
	for (unsigned i = 0; i < FLOOD; i++)
		bytes[i] = 1514;
	for (uint64_t seq = 0;; seq += FLOOD)
		zc_peer_send(w, seq, bytes, FLOOD);
}

static uint64_t chunk_at(unsigned i)
{
	return (uint64_t)i * 2 * ZC_PAGE;
}

/* Posts all buffers, and has frames come and go. */
static void traffic(struct zc_sock *s)
{
	uint64_t until = zc_now_us() + START_US;

	for (unsigned i = 0; i < BUFS; i++) {
		uint64_t at = chunk_at(i);

		zc_fill(s, &at, 1);
	}
	for (unsigned n = 0; n < FRAMES;) {
		uint32_t at;
		unsigned got = (unsigned)xsk_ring_cons__peek(&s->rx, FLOOD, &at);

		for (unsigned i = 0; i < got; i++) {
			uint64_t a = xsk_ring_cons__rx_desc(&s->rx, at + i)->addr & XSK_UNALIGNED_BUF_ADDR_MASK;

			zc_fill(s, &a, 1);
		}
		xsk_ring_cons__release(&s->rx, got);
		n += got;
		zc_kick(s);
		if (zc_now_us() > until)
			zc_die("%u frames in 10 s", n);
	}
}

/* Buffers in which something has landed since the last look. */
static unsigned written(const struct zc_umem *m)
{
	static const uint8_t clean[PROBE] = { [0 ... PROBE - 1] = ZC_CANARY };
	unsigned n = 0;

	for (unsigned i = 0; i < BUFS; i++) {
		uint8_t *p = m->base + chunk_at(i) + m->land;

		if (!memcmp(p, clean, PROBE))
			continue;
		memset(p, ZC_CANARY, PROBE);
		n++;
	}
	return n;
}

static void look_for(const struct zc_umem *m, uint64_t closed, uint64_t us, struct after *a)
{
	uint64_t now;

	while ((now = zc_now_us()) < closed + us) {
		unsigned n = written(m);

		a->writes += n;
		if (n)
			a->last_us = now - closed;
	}
}

static void all_quiet(const struct zc_umem *m, struct after *a)
{
	memset(m->base, ZC_CANARY, m->bytes);
	usleep(AFTER_US);
	for (uint64_t i = 0; i < m->bytes; i++)
		a->changed += m->base[i] != ZC_CANARY;
}

static struct after one(const struct zc_umem *lent, const struct zc_umem *own, const struct zc_wire *w,
			struct xn_steer *steer, bool rebind)
{
	struct after a = { 0 };
	struct zc_sock s, next;
	uint64_t from, closed;
	/* The child is made before the socket: whoever inherits that keeps it alive. */
	pid_t peer = flood(w);
	int err = zc_open(&s, lent, w->ifindex, XDP_ZEROCOPY);

	if (err || !s.zero_copy || xn_steer_set(steer, 0, s.fd))
		zc_die("bind for zero-copy: %s", strerror(-err));
	traffic(&s);
	from = zc_now_us();
	xn_steer_clear(steer, 0);
	zc_close(&s);
	closed = zc_now_us();
	a.close_us = closed - from;
	written(lent);
	if (rebind) {
		err = zc_open(&next, own, w->ifindex, XDP_ZEROCOPY);
		if (err)
			zc_die("binding again: %s", strerror(-err));
		a.bind_us = zc_now_us() - closed;
		a.busy = next.ebusy;
		all_quiet(lent, &a);
		zc_close(&next);
	} else {
		look_for(lent, closed, AFTER_US, &a);
	}
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
	return a;
}

int main(int argc, char **argv)
{
	struct xn_steer_cfg sc = { .ifname = ZC_DEV, .attach = XN_ATTACH_NATIVE, .frame_bytes = 65535 };
	struct zc_umem lent, own;
	struct xn_steer *steer;
	struct zc_wire w;
	uint64_t changed = 0;

	if (argc != 3)
		zc_die("usage: stop 4k|2M ROUNDS");
	zc_wire_open(&w);
	sc.ifindex = w.ifindex;
	if (xn_steer_open(&steer, &sc))
		zc_die("%s", xn_last_error());
	zc_umem_map(&lent, LENT_BYTES, !strcmp(argv[1], "2M"));
	zc_umem_map(&own, OWN_BYTES, false);
	zc_umem_shape(&lent, ZC_PAGE, 2048, true);
	zc_umem_shape(&own, ZC_PAGE, 2048, true);
	for (int i = 0; i < 2 * atoi(argv[2]); i++) {
		struct after a = one(&lent, &own, &w, steer, i % 2);

		changed += a.changed;
		if (i % 2)
			printf("stop: close() %llu us; bound again %llu us after it, refused %u times; then %llu "
			       "bytes changed in 5 s%s\n", (unsigned long long)a.close_us,
			       (unsigned long long)a.bind_us, a.busy, (unsigned long long)a.changed,
			       a.changed ? " FAILED" : "");
		else
			printf("stop: close() %llu us; %u buffers written after it, the last %llu us after it\n",
			       (unsigned long long)a.close_us, a.writes, (unsigned long long)a.last_us);
		fflush(stdout);
	}
	xn_steer_close(steer);
	return changed != 0;
}
