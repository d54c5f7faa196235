/* SPDX-License-Identifier: BSD-2-Clause */
/* NICs whose driver has zero-copy, for the test_port_zc*.c. */
#ifndef XN_TESTS_ZC_RIG_H
#define XN_TESTS_ZC_RIG_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomics.h"
#include "tests/fake/ring.h"
#include "tests/unit/port_rig.h"

static unsigned seed = 11;
static inline unsigned rnd(unsigned n) { return (unsigned)rand_r(&seed) % n; }

/* ---- NICs ---- */

#define PAGES_MAX 65536u

static bool map[PAGES_MAX];   /* the next page follows for the device */

static inline bool follows(uint64_t page)
{
	assert_true(page < PAGES_MAX);
	return map[page];
}

static inline void all_follow(void)  { memset(map, 1, sizeof(map)); }
static inline void none_follows(void) { memset(map, 0, sizeof(map)); }
static inline void some_follow(unsigned percent)
{
	for (unsigned i = 0; i < PAGES_MAX; i++)
		map[i] = rnd(100) < percent;
}

/* As xsk/drivers.h has them, at MTU 1500: chunk 2048, frame 1536; chunk 4096, frame 2048. */
static const struct fk_nic virtio = { .zero_copy = true, .front = 12, .reach = 1536, .follows = follows };
static const struct fk_nic igb = { .zero_copy = true, .reach = 2048, .piece = 2048, .keep = 80,
				   .follows = follows };
static const struct fk_nic igb_stamps = { .zero_copy = true, .reach = 2048, .piece = 2048, .keep = 80,
					  .shift = 16, .follows = follows };

struct nic_case {
	const char *driver;
	const struct fk_nic *nic;
	uint32_t mtu, chunk, frame, reach, front;
	bool tx_in_page;
};

static const struct nic_case nics[] = {
	{ "virtio_net", &virtio, 1500, 2048, 1536, 1536, 12, false },
	{ "igb", &igb, 1500, 4096, 2048, 2048, 0, true },
};

static inline struct xn_xdp_port *xp(const struct rig *r)
{
	return XN_CONTAINER_OF(r->port, struct xn_xdp_port, port);
}

static inline struct xn_xdpq *xq(const struct rig *r)
{
	return xp(r)->queues[0];
}

/* As if the driver had proven itself: lends from the first buffer on. */
static inline void trust(const struct rig *r)
{
	xq(r)->watch.rx_proof = xq(r)->watch.tx_proof = xq(r)->watch.trial = 0;
	xn_xdp_set_rule(xq(r));
}

static inline struct rig_opts opts_of(const struct nic_case *n, const char *options, uint64_t features)
{
	return (struct rig_opts){ .driver = n->driver, .nic = n->nic, .mtu = n->mtu, .options = options,
				  .features = features };
}

static const struct fk_nic ice = { .zero_copy = true, .reach = 1536, .segments = 8, .follows = follows };

/* Read in its source, not measured. */
static const struct nic_case unproven = { "ice", &ice, 1500, 2048, 1536, 1536, 0, false };

/* Does a chunk, or a packet, keep to pages that follow each other? */
static inline bool whole(uint64_t at, uint32_t bytes)
{
	for (uint64_t b = at; b + 1 < at + bytes; b++)
		if (b / 4096 != (b + 1) / 4096 && !map[b / 4096])
			return false;
	return true;
}

/* ---- traffic ---- */

static uint8_t frame[FRAME_MAX];

struct tx_want { uint64_t lent, chained, gathered, bounced, page, window; };

/* One packet in any pieces at any place; what has to become of it. */
static inline uint32_t post_packet(struct rig *r, const struct nic_case *c, unsigned i, uint32_t id,
				   unsigned segments, struct tx_want *w)
{
	uint64_t at = TX_AT + (uint64_t)i * 12288 + rnd(8000);
	uint32_t len = 14 + rnd(1501), total = DRV_HDR + len, off = 0, skip = DRV_HDR;
	unsigned n = rnd(3) ? 1 : 1 + rnd(rnd(2) ? 4 : 12), pieces = 0;
	uint8_t flat[DRV_HDR + 1600] = { 0 };
	struct drv_seg segs[12];
	uint32_t first = 0;
	bool ok = true;

	make_frame(flat + DRV_HDR, len, id);
	for (unsigned k = 0; k < n; k++) {
		uint32_t left = total - off, part = k + 1 == n ? left : 1 + rnd(left - (n - 1 - k));
		uint32_t cut = XN_MIN(skip, part);

		segs[k] = (struct drv_seg){ at, part };
		memcpy(r->drv.ram + at, flat + off, part);
		skip -= cut;
		if (part > cut) {
			ok &= c->tx_in_page ? (r->ram_uoff + at + cut) % 4096 + part - cut <= 4096 :
					      whole(r->ram_uoff + at + cut, part - cut);
			first = pieces++ ? first : part - cut;
		}
		at += part + rnd(3) * 7;
		off += part;
	}
	drv_post(&r->drv, TX, segs, n);
	w->page += !ok;
	if (pieces == 1)
		w->lent += ok, w->bounced += !ok;
	else if (ok && pieces <= segments && first >= 14)
		w->chained++;
	else
		w->gathered++;
	return len;
}

static inline const char *mode_of(struct rig *r)
{
	struct xn_port_info info;

	xn_port_get_info(r->port, &info);
	return info.mode;
}

/* So many frames, one by one, into buffers that could be lent; all arrive. */
static inline void exchange(struct rig *r, unsigned frames)
{
	uint8_t got[80000];

	for (unsigned i = 0; i < frames; i++) {
		while (drv_pending(&r->drv, RX) < 32)
			offer(r, &(struct drv_seg){ DRV_FREE_AT + (uint64_t)(r->drv.q[RX].avail % 500) * 4096,
						    2048 }, 1);
		xn_queue_run(r->q, 64);
		make_frame(frame, FRAME_MAX, i);
		assert_int_equal(fk_host_rx(0, frame, FRAME_MAX), 0);
		xn_queue_run(r->q, 64);
		assert_int_equal(take_frame(r, got), FRAME_MAX);
		assert_memory_equal(got, frame, FRAME_MAX);
	}
}

static inline void send_some(struct rig *r, unsigned packets)
{
	uint16_t head;
	uint32_t used;

	for (unsigned i = 0; i < packets; i++) {
		struct tx_want w = { 0 };

		post_packet(r, &nics[0], i % 20, i, 1, &w);
		xn_queue_run(r->q, 64);
		while (drv_used(&r->drv, TX, &head, &used))
			;
		fk_forget(fk());
	}
}

static inline bool lose_across(uint64_t fill) { return fill / 4096 != (fill + 2047) / 4096; }

/* Buffers all over the place; returns when the queue has been restarted, or `most` frames
 * have come. All frames arrive. */
static inline unsigned until_restart(struct rig *r, unsigned most)
{
	const uint64_t before = stat(r, "queue_restarts");
	uint8_t got[80000];
	unsigned n = 0;

	while (n < most && stat(r, "queue_restarts") == before) {
		while (r->drv.q[RX].n_free)
			offer(r, &(struct drv_seg){ DRV_FREE_AT + (uint64_t)(r->drv.q[RX].avail % 1000) * 4096 +
						    rnd(2) * 2048, 2048 }, 1);
		xn_queue_run(r->q, 64);
		make_frame(frame, FRAME_MAX, n);
		if (fk_host_rx(0, frame, FRAME_MAX))
			return n;      /* starved */
		xn_queue_run(r->q, 64);
		if (take_frame(r, got))
			n++;
	}
	return n;
}

#endif
