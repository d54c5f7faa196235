/* SPDX-License-Identifier: BSD-2-Clause */
/* The other end of the wire, in a thread of its own (peer.h). */
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "tests/zc/guest.h"
#include "tests/zc/peer.h"

#define BATCH      64u
#define LIGHT_MEM  (2ull * ZC_HUGE)
#define LIGHT_FILL 512u          /* chunks for frames that come; TX has those before */
#define LIGHT_AWAY 1024u         /* frames on their way, at most */
#define LIGHT_NAP_US 200u
#define SETTLE_US  200000000u
#define STEADY_US  1500000u       /* longer than the kernel takes to tell that a carrier has gone */

/* How many frames, up to a batch. */
static unsigned may_send(const struct zp *p)
{
	/* Pairs with the guest's release; orders nothing, as frames are made of their number. */
	int64_t room = (int64_t)(xn_load_acquire64(&p->credit) - p->sent);

	return room > 0 ? (unsigned)XN_MIN(room, (int64_t)BATCH) : 0;
}

/* All lengths, short to long. */
static uint32_t light_length(unsigned i)
{
	return ZC_FRAME_MIN + i * (ZC_FRAME_LONG - ZC_FRAME_MIN) / (BATCH - 1);
}

static unsigned send_some(struct zp *p)
{
	const uint64_t first = p->sent;
	unsigned n = may_send(p);
	uint32_t bytes[BATCH];

	for (unsigned i = 0; i < n; i++)
		bytes[i] = zg_length(p->w, first + i);
	if (!n)
		return 0;
	/* In front of them: never fewer were sent than have come. */
	xn_store_release64(&p->sent, first + n);
	zc_peer_send(p->w, first, bytes, n);
	return n;
}

static unsigned take_some(struct zp *p)
{
	static uint8_t buf[BATCH][ZC_MAX_FRAME];
	uint32_t bytes[BATCH];
	unsigned n = zc_peer_recv(p->w, buf[0], bytes, BATCH);
	uint64_t got = p->got;

	for (unsigned i = 0; i < n; i++) {
		uint64_t seq = zc_frame_seq(buf[i], bytes[i]);

		if (seq >= ZG_NUMBERS)
			xn_count_add(&p->wrong, 1);
		else if (zc_seen_twice(p->seen, seq))
			xn_count_add(&p->twice, 1);
		else
			got++;
	}
	/* Behind the other counts: who sees the last frame sees what was wrong with others. */
	xn_store_release64(&p->got, got);
	return n;
}

/* ---- light ---- */

static unsigned send_light(struct zp *p)
{
	struct xdp_desc d[BATCH];
	uint64_t room = LIGHT_AWAY - (p->posted - p->done);
	unsigned n = XN_MIN(may_send(p), (unsigned)XN_MIN(room, BATCH)), back;
	uint32_t at;

	for (unsigned i = 0; i < n; i++)
		d[i] = (struct xdp_desc){ .addr = i * p->m.chunk + p->m.land, .len = light_length(i) };
	xn_store_release64(&p->sent, p->sent + n);
	zc_tx(&p->s, d, n);
	p->posted += n;
	back = (unsigned)xsk_ring_cons__peek(&p->s.comp, LIGHT_AWAY, &at);
	if (back)
		xsk_ring_cons__release(&p->s.comp, back);
	p->done += back;
	if (!n && p->posted != p->done)
		zc_kick(&p->s);
	return n + back;
}

static unsigned count_light(struct zp *p)
{
	uint64_t exits[XN_E_COUNT], got;

	xn_steer_counters(p->steer, exits);
	got = p->got_before + exits[XN_E_steer_no_socket];
	if (got == p->got)
		return 0;
	xn_store_release64(&p->got, got);
	return 1;
}

/* igb's carrier goes and comes when its queues change. */
static void settle(const struct zp *p)
{
	const uint64_t until = zc_now_us() + SETTLE_US;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	uint64_t now, since = zc_now_us();
	struct ifreq r = { .ifr_flags = 0 };

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", ZC_PEER);
	while (p->w->igb && (now = zc_now_us()) < since + STEADY_US) {
		if (ioctl(fd, SIOCGIFFLAGS, &r) || now > until)
			zc_die("%s does not come up", ZC_PEER);
		if (!(r.ifr_flags & IFF_RUNNING))
			since = now;
		usleep(10000);
	}
	close(fd);
}

void zp_go_light(struct zp *p)
{
	const struct xn_steer_cfg cfg = { .ifindex = p->w->peer_ifindex, .ifname = ZC_PEER,
					  .attach = XN_ATTACH_NATIVE, .frame_bytes = 65535 };

	zc_umem_map(&p->m, LIGHT_MEM, false);
	zc_umem_shape(&p->m, ZC_PAGE, 2048, false);
	for (unsigned i = 0; i < BATCH; i++)
		zc_frame(p->w, p->m.base + (uint64_t)i * ZC_PAGE + p->m.land, light_length(i), i, false);
	zc_enter(p->w->away);
	p->mtu = zc_set_mtu(ZC_PEER, 1500);   /* of longer ones, zero-copy mode takes none */
	if (xn_steer_open(&p->steer, &cfg))
		zc_die("%s", xn_last_error());
	if (zc_open(&p->s, &p->m, p->w->peer_ifindex, XDP_ZEROCOPY))
		zc_die("the peer has no zero-copy mode");
	/* Each is dropped, and posted again by the kernel. */
	for (unsigned i = 0; i < LIGHT_FILL; i++) {
		uint64_t at = (uint64_t)(BATCH + i) * ZC_PAGE;

		zc_fill(&p->s, &at, 1);
	}
	zc_kick(&p->s);
	settle(p);
	zc_enter(p->w->home);
	p->got_before = xn_load_acquire64(&p->got);
	/* Release: the peer's thread finds all that ready. */
	xn_store_release32(&p->light, 1);
}

static void end_light(struct zp *p)
{
	zc_enter(p->w->away);
	xn_steer_close(p->steer);
	zc_close(&p->s);
	zc_set_mtu(ZC_PEER, p->mtu);
	settle(p);
	zc_enter(p->w->home);
}

static void *work(void *arg)
{
	struct zp *p = arg;

	while (!xn_load_once32(&p->ends)) {
		struct pollfd f = { .fd = p->w->peer, .events = POLLIN };

		if (xn_load_acquire32(&p->light)) {
			if (!(count_light(p) + send_light(p)))
				usleep(LIGHT_NAP_US);
		} else if (!(take_some(p) + send_some(p))) {
			poll(&f, 1, 1);
		}
	}
	return NULL;
}

void zp_start(struct zp *p, const struct zc_wire *w)
{
	memset(p, 0, sizeof(*p));
	p->w = w;
	p->seen = calloc(1, ZG_NUMBERS / 8);
	if (!p->seen || pthread_create(&p->thread, NULL, work, p))
		zc_die("no thread for the peer");
}

void zp_stop(struct zp *p)
{
	xn_store_once32(&p->ends, 1);
	pthread_join(p->thread, NULL);
	if (p->light)
		end_light(p);
	free(p->seen);
}
