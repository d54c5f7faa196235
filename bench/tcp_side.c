/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in tcp_side.h. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/types.h"
#include "bench/tcp_side.h"

#define RING     1024u
#define BUDGET   64u
#define OPEN_NS  3000000000ull

/* VIRTIO 1.3, 5.1.3 and 6. */
#define F_CSUM       (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_GUEST_TSO4 (1ull << 7)
#define F_HOST_TSO4  (1ull << 11)
#define F_MRG_RXBUF  (1ull << 15)
#define F_VERSION_1  (1ull << 32)
#define F_PACKED     (1ull << 34)

static uint64_t wanted(const struct xn_tcp_side *s)
{
	return (F_VERSION_1 | F_MRG_RXBUF | F_GUEST_CSUM | F_GUEST_TSO4 | F_CSUM |
		(s->cfg.tso ? F_HOST_TSO4 : 0) | (s->cfg.packed ? F_PACKED : 0)) & ~s->cfg.refuse;
}

static int make_guest(struct xn_tcp_side *s)
{
	const uint32_t buf = s->cfg.mtu > 1500 ? XN_PAGE_SIZE : 0;
	const struct xn_guest_cfg cfg = {
		.pairs = 1, .queue_size = RING, .huge = s->cfg.huge, .packed = s->cfg.packed,
		.rx_buf_bytes = s->cfg.rx_buf_bytes ? s->cfg.rx_buf_bytes : buf, .rx_as_linux = true,
		.tx_pieces = XN_TCP_PIECES, .tx_slot_bytes = XN_TCP_SLOT,
		.data_bytes = XN_TCP_PATTERN_BYTES,
	};
	struct xn_region region;
	int err = xn_guest_create(&s->guest, &cfg);

	if (err)
		return err;
	s->pattern = xn_guest_data(s->guest);
	xn_tcp_pattern(s->pattern);
	xn_guest_region(s->guest, &region);
	return xn_mem_create(&s->mem, &region, 1, NULL);
}

static int start_dev(struct xn_tcp_side *s)
{
	int err = xn_dev_create(&s->dev, s->mem, s->port, NULL);

	if (err)
		return err;
	s->features = xn_port_features(s->port) & wanted(s);
	err = xn_dev_set_features(s->dev, s->features);
	for (unsigned i = 0; i < 2 && !err; i++) {
		struct xn_vring ring;

		xn_guest_vring(s->guest, i, &ring);
		err = xn_dev_set_vring(s->dev, i, &ring);
	}
	if (!err)
		err = xn_dev_start(s->dev);
	s->q = xn_dev_queue(s->dev, 0);
	return err;
}

static int open_near(struct xn_tcp_side *s)
{
	char spec[96];
	int err = xn_lab_enter_near(&s->lab);

	if (err)
		return err;
	snprintf(spec, sizeof(spec), "xdp:" XN_LAB_NEAR "%s", s->cfg.options ? s->cfg.options : "");
	err = xn_port_open(&s->port, spec, NULL);
	if (!err)
		err = start_dev(s);
	if (xn_lab_leave(&s->lab) && !err)
		err = xn_fail(EIO, "cannot return to the network namespace we came from");
	return err;
}

/* ---- the connection ---- */

static void init_tcp(struct xn_tcp_side *s)
{
	struct xn_tcp_cfg cfg = {
		.guest = s->guest, .pattern = s->pattern,
		.addr = XN_TCP_GUEST_ADDR, .peer_addr = XN_TCP_PEER_ADDR,
		.port = XN_TCP_GUEST_PORT, .peer_port = XN_TCP_PEER_PORT, .mtu = (uint16_t)s->cfg.mtu,
		.piece_bytes = s->cfg.piece_bytes, .verify = s->cfg.verify,
		.csum = s->cfg.csum && s->features & F_CSUM,
		.drop_tx = s->cfg.drop_tx, .drop_rx = s->cfg.drop_rx, .rto_ms = s->cfg.rto_ms,
	};

	if (s->features & F_HOST_TSO4)
		cfg.tso_bytes = s->cfg.tso_bytes ? s->cfg.tso_bytes : XN_TCP_MOST;
	memcpy(cfg.mac, s->lab.near_mac, 6);
	memcpy(cfg.peer_mac, s->lab.far_mac, 6);
	xn_tcp_init(&s->tcp, &cfg);
}

static int connect_tcp(struct xn_tcp_side *s)
{
	const uint64_t end = xn_now_ns() + OPEN_NS;
	struct xn_tcp_peer_counts c;

	xn_tcp_open(&s->tcp);
	do {
		xn_tcp_side_turn(s);
		xn_tcp_peer_read(s->peer, &c);
		if (c.connected && s->tcp.state == XN_TCP_OPEN)
			return 0;
	} while (xn_now_ns() < end);
	return xn_fail(ETIMEDOUT, "no TCP connection between the guest model and this kernel");
}

int xn_tcp_side_open(struct xn_tcp_side *s, const struct xn_tcp_side_cfg *cfg)
{
	const struct xn_lab_cfg lab = { .queues = 1, .mtu = cfg->mtu };
	int err;

	*s = (struct xn_tcp_side){ .cfg = *cfg };
	err = xn_lab_create(&s->lab, &lab);
	s->has_lab = !err;
	if (!err)
		err = make_guest(s);
	if (!err)
		err = open_near(s);
	if (!err) {
		const struct xn_tcp_peer_cfg pc = { .lab = &s->lab, .pattern = s->pattern,
						    .drop = cfg->peer_drop, .cpu = cfg->peer_cpu };

		err = xn_tcp_peer_open(&s->peer, &pc);
	}
	if (err)
		return err;
	init_tcp(s);
	return connect_tcp(s);
}

void xn_tcp_side_close(struct xn_tcp_side *s)
{
	xn_tcp_peer_close(s->peer);
	xn_dev_destroy(s->dev);
	xn_port_close(s->port);
	xn_mem_destroy(s->mem);
	xn_guest_destroy(s->guest);
	if (s->has_lab)
		xn_lab_destroy(&s->lab);
	*s = (struct xn_tcp_side){ 0 };
}

unsigned xn_tcp_side_turn(struct xn_tcp_side *s)
{
	const unsigned n = xn_tcp_turn(&s->tcp);

	return n + xn_queue_run(s->q, BUDGET);
}

uint64_t xn_tcp_side_stat(const struct xn_tcp_side *s, const char *name)
{
	struct xn_stat st[320];
	const unsigned n = XN_MIN(xn_dev_stats(s->dev, XN_ALL_PAIRS, st, XN_ARRAY_SIZE(st)),
				  (unsigned)XN_ARRAY_SIZE(st));

	for (unsigned i = 0; i < n; i++)
		if (!strcmp(st[i].name, name))
			return st[i].value;
	assert(!"no such counter");
	return 0;
}
