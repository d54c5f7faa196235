/* SPDX-License-Identifier: BSD-2-Clause */
/* The other end of the wire, in a thread of its own (peer.h). */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/types.h"
#include "tests/zc/guest.h"
#include "tests/zc/peer.h"

#define BATCH 64u

static unsigned send_some(struct zp *p)
{
	/* Pairs with the guest's release; orders nothing, as frames are made of their number. */
	int64_t room = (int64_t)(xn_load_acquire64(&p->credit) - p->sent);
	unsigned n = room > 0 ? (unsigned)XN_MIN(room, (int64_t)BATCH) : 0;
	uint32_t bytes[BATCH];

	for (unsigned i = 0; i < n; i++)
		bytes[i] = zg_length(p->sent + i);
	if (!n)
		return 0;
	if (xn_load_once32(&p->light))
		zc_peer_send_again(p->w, n);
	else
		zc_peer_send(p->w, p->sent, bytes, n);
	xn_store_release64(&p->sent, p->sent + n);
	return n;
}

static unsigned take_some(struct zp *p)
{
	static uint8_t buf[BATCH][ZC_MAX_FRAME];
	const bool light = xn_load_once32(&p->light);
	uint32_t bytes[BATCH];
	unsigned n = zc_peer_recv(p->w, buf[0], bytes, BATCH);
	uint64_t got = p->got;

	for (unsigned i = 0; i < n; i++) {
		uint64_t seq = light ? 0 : zc_frame_seq(buf[i], bytes[i]);

		if (light)
			got++;
		else if (seq >= ZG_NUMBERS)
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

static void *work(void *arg)
{
	struct zp *p = arg;

	while (!xn_load_once32(&p->ends)) {
		struct pollfd f = { .fd = p->w->peer, .events = POLLIN };

		if (!(take_some(p) + send_some(p)))
			poll(&f, 1, 1);
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
	free(p->seen);
}
