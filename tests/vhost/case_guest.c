/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a driver may do, however odd, and has to work; the virtio-net header; kicks and
 * calls; the life of a ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomics.h"
#include "tests/vhost/rig.h"

#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE

/* ---- one packet, and what becomes of it ---- */

struct packet {
	const char *id, *what;
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint32_t bytes;                 /* of the frame */
	const char *drop;               /* counter; NULL: has to come back whole */
	unsigned vlan;                  /* type at byte 12; 0: that of the loop */
	unsigned pieces;                /* 0: one descriptor; else the header in so many, frame behind */
	unsigned first;                 /* not 0: the first descriptor has so many bytes, then the rest */
};

/* Sends it; the used length is 0. */
static void send_packet(struct guest *g, const struct packet *p, uint8_t *frame)
{
	struct ring *r = &g->ring[TX];
	uint8_t *at = guest_at(g, g->free_at);
	struct seg s[16];
	unsigned n = 0;
	uint32_t head, len, total = HDR + p->bytes;

	memcpy(at, &p->hdr, HDR);
	memcpy(at + HDR, frame, p->bytes);
	if (p->pieces) {
		for (; n < p->pieces; n++)
			s[n] = (struct seg){ g->free_at + n, n + 1 < p->pieces ? 1 : HDR - n };
		s[n++] = (struct seg){ g->free_at + HDR, p->bytes };
	} else if (p->first) {
		s[n++] = (struct seg){ g->free_at, p->first };
		s[n++] = (struct seg){ g->free_at + p->first, total - p->first };
	} else {
		s[n++] = (struct seg){ g->free_at, total };
	}
	ring_post(r, s, n, 0);
	ring_kick(r);
	CHECK(ring_wait(r, &head, &len, SOON_MS), "the head does not come back");
	CHECK(!len && !r->twice, "used wrongly, length %u", len);
}

static void packet_case(const void *arg)
{
	const struct packet *p = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .features = BIT(VIRTIO_RING_F_INDIRECT_DESC) });
	const struct seg in = { g->rx_at, BUF_BYTES };
	uint64_t before = p->drop ? counter(&the_daemon, p->drop) : 0;
	static uint8_t frame[70000];
	uint32_t head, len;

	frame_write(frame, p->bytes, 3);
	if (p->vlan) {
		frame[12] = (uint8_t)(p->vlan >> 8);
		frame[13] = (uint8_t)p->vlan;
	}
	ring_post(&g->ring[RX], &in, 1, WRITE);
	ring_kick(&g->ring[RX]);
	nap_ms(1);
	send_packet(g, p, frame);
	if (p->drop) {
		CHECK(counter_reaches(&the_daemon, p->drop, before + 1), "%s does not count it", p->drop);
		CHECK(!ring_used(&g->ring[RX], &head, &len), "it was sent all the same");
		return;
	}
	CHECK(ring_wait(&g->ring[RX], &head, &len, SOON_MS), "it does not come back");
	CHECK(len >= HDR + p->bytes && len <= HDR + (p->bytes < 60 ? 60 : p->bytes),
	      "comes back with %u bytes", len);
	CHECK(!memcmp((uint8_t *)guest_at(g, in.at) + HDR, frame, p->bytes), "comes back changed");
}

#define PLAIN { { 0 }, 0 }
#define FLAGS(f) { { .flags = (f) }, 0 }
#define GSO(t) { { .gso_type = (t), .gso_size = 1400, .hdr_len = 54 }, 0 }

static const struct packet packets[] = {
	{ "H2", "the header alone", PLAIN, 0, "tx_drop_short_chain", 0, 0, 0 },
	{ "H3", "header in 12 descriptors of a byte", PLAIN, 100, NULL, 0, 12, 0 },
	{ "H3", "header in 2 descriptors", PLAIN, 100, NULL, 0, 2, 0 },
	{ "H3", "header and frame apart", PLAIN, 100, NULL, 0, 1, 0 },
	{ "H3", "first descriptor has 1 byte of the header", PLAIN, 60, NULL, 0, 0, 1 },
	{ "H3", "first descriptor has 11 bytes of the header", PLAIN, 60, NULL, 0, 0, 11 },
	{ "H3", "first descriptor has the header and a byte", PLAIN, 60, NULL, 0, 0, 13 },
	{ "H3", "first descriptor ends in the frame's type", PLAIN, 1518, NULL, 0x8100, 0, 25 },
	{ "H5", "NEEDS_CSUM, which was not negotiated",
	  { { .flags = 1, .csum_start = 34, .csum_offset = 16 }, 0 }, 100, "tx_drop_bad_header", 0, 0, 0 },
	{ "H5", "NEEDS_CSUM that starts at the frame's end",
	  { { .flags = 1, .csum_start = 100, .csum_offset = 0 }, 0 }, 100, "tx_drop_bad_header", 0, 0, 0 },
	{ "H5", "NEEDS_CSUM that starts at the last byte",
	  { { .flags = 1, .csum_start = 99, .csum_offset = 0 }, 0 }, 100, "tx_drop_bad_header", 0, 0, 0 },
	{ "H5", "NEEDS_CSUM at 65535 and 65535",
	  { { .flags = 1, .csum_start = 65535, .csum_offset = 65535 }, 0 }, 100, "tx_drop_bad_header", 0, 0, 0 },
	{ "H5", "checksum fields without NEEDS_CSUM",
	  { { .csum_start = 65535, .csum_offset = 65535 }, 0 }, 100, NULL, 0, 0, 0 },
	{ "H8", "GSO type TCPv4", GSO(1), 1000, "tx_drop_bad_header", 0, 0, 0 },
	{ "H8", "GSO type UDP", GSO(3), 1000, "tx_drop_bad_header", 0, 0, 0 },
	{ "H8", "GSO type TCPv6", GSO(4), 1000, "tx_drop_bad_header", 0, 0, 0 },
	{ "H8", "GSO type UDP_L4", GSO(5), 1000, "tx_drop_bad_header", 0, 0, 0 },
	{ "H8", "unknown GSO type 2", GSO(2), 1000, "tx_drop_bad_header", 0, 0, 0 },
	{ "H8", "unknown GSO type 127", GSO(127), 1000, "tx_drop_bad_header", 0, 0, 0 },
	{ "H8", "GSO type ECN alone", GSO(0x80), 1000, "tx_drop_bad_header", 0, 0, 0 },
	{ "H8", "GSO type 255", GSO(255), 1000, "tx_drop_bad_header", 0, 0, 0 },
	{ "H9", "GSO type TCPv4, size 0", { { .gso_type = 1 }, 0 }, 1000, "tx_drop_bad_header", 0, 0, 0 },
	{ "H9", "GSO type TCPv4, size 1", { { .gso_type = 1, .gso_size = 1 }, 0 }, 1000,
	  "tx_drop_bad_header", 0, 0, 0 },
	{ "H9", "GSO size without a type", { { .gso_size = 1 }, 0 }, 1000, NULL, 0, 0, 0 },
	{ "H9", "hdr_len 65535 without a type", { { .hdr_len = 65535 }, 0 }, 1000, NULL, 0, 0, 0 },
	{ "H8", "flag DATA_VALID is ignored", FLAGS(2), 100, NULL, 0, 0, 0 },
	{ "H8", "flag RSC_INFO is ignored", FLAGS(4), 100, NULL, 0, 0, 0 },
	{ "H8", "unknown flags are ignored", FLAGS(0xfe), 100, NULL, 0, 0, 0 },
	{ "H10", "num_buffers 1 is ignored", { { 0 }, 1 }, 100, NULL, 0, 0, 0 },
	{ "H10", "num_buffers 65535 is ignored", { { 0 }, 65535 }, 100, NULL, 0, 0, 0 },
	{ "H12", "frame of 1 byte", PLAIN, 1, "tx_drop_runt", 0, 0, 0 },
	{ "H12", "frame of 6 bytes", PLAIN, 6, "tx_drop_runt", 0, 0, 0 },
	{ "H12", "frame of 13 bytes", PLAIN, 13, "tx_drop_runt", 0, 0, 0 },
	{ "H12", "frame of 13 bytes, apart from its header", PLAIN, 13, "tx_drop_runt", 0, 1, 0 },
	{ "H13", "frame of 14 bytes", PLAIN, 14, NULL, 0, 0, 0 },
	{ "H13", "frame of 15 bytes", PLAIN, 15, NULL, 0, 0, 0 },
	{ "H13", "frame of 59 bytes", PLAIN, 59, NULL, 0, 0, 0 },
	{ "H14", "longest frame", PLAIN, 1514, NULL, 0, 0, 0 },
	{ "H14", "a byte more than the longest frame", PLAIN, 1515, "tx_drop_too_long", 0, 0, 0 },
	{ "H14", "longest frame with a VLAN tag", PLAIN, 1518, NULL, 0x8100, 0, 0 },
	{ "H14", "longest frame with an 802.1ad tag", PLAIN, 1518, NULL, 0x88a8, 0, 0 },
	{ "H14", "a byte more, with a VLAN tag", PLAIN, 1519, "tx_drop_too_long", 0x8100, 0, 0 },
	{ "H14", "frame of 9000 bytes", PLAIN, 9000, "tx_drop_too_long", 0, 0, 0 },
	{ "H14", "frame of 65535 bytes", PLAIN, 65535, "tx_drop_too_long", 0, 0, 0 },
};

/* Chains that do not even have a header. */
static void no_header(const void *arg)
{
	const uint32_t *bytes = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t before = counter(&the_daemon, "tx_drop_short_chain");
	const struct seg s = { g->free_at, *bytes };
	uint32_t head, len;

	ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS) && !len, "the chain does not come back");
	CHECK(counter_reaches(&the_daemon, "tx_drop_short_chain", before + 1), "not counted");
	check_loop(g, 8);
}

/* In as many descriptors as the queue has, indirect or not. */
static void longest_chain(const void *arg)
{
	const bool *indirect = arg;
	struct guest *g = guest_open(&(struct guest_cfg){
		.features = *indirect ? BIT(VIRTIO_RING_F_INDIRECT_DESC) : 0 });
	struct ring *r = &g->ring[TX];
	uint8_t *p = guest_at(g, g->free_at);
	const struct seg in = { g->rx_at, BUF_BYTES };
	struct vring_desc *t = *indirect ? guest_at(g, g->free_at + 0x10000) : r->desc;
	uint32_t head, len;

	memset(p, 0, HDR);
	frame_write(p + HDR, 256 * 5 - HDR, 1);
	for (unsigned i = 0; i < 256; i++)
		t[i] = (struct vring_desc){ .addr = g->free_at + 5 * i, .len = 5,
					    .flags = i < 255 ? NEXT : 0,
					    .next = (uint16_t)(i < 255 ? i + 1 : 0) };
	if (*indirect)
		ring_desc(r, 0, g->free_at + 0x10000, 16 * 256, VRING_DESC_F_INDIRECT, 0);
	ring_post(&g->ring[RX], &in, 1, WRITE);
	ring_kick(&g->ring[RX]);
	nap_ms(1);
	ring_offer(r, 0);
	ring_kick(r);
	CHECK(ring_wait(r, &head, &len, SOON_MS) && !head && !len, "the chain does not come back");
	CHECK(ring_wait(&g->ring[RX], &head, &len, SOON_MS) && len == 256 * 5 &&
	      frame_good((uint8_t *)guest_at(g, in.at) + HDR, len - HDR, 1), "the frame does not arrive");
}

/* ---- traffic in all shapes ---- */

struct shape { const char *what; struct guest_cfg cfg; unsigned frames; uint32_t buf_bytes; };

static void traffic(const void *arg)
{
	const struct shape *s = arg;
	struct guest *g = guest_open(&s->cfg);
	uint64_t in = counter(&the_daemon, "tx_packets"), back = counter(&the_daemon, "rx_packets");

	if (s->buf_bytes)
		g->buf_bytes = s->buf_bytes;
	check_loop(g, s->frames);
	CHECK(counter_reaches(&the_daemon, "rx_packets", back + s->frames) &&
	      counter(&the_daemon, "tx_packets") == in + s->frames &&
	      counter(&the_daemon, "rx_packets") == back + s->frames, "packets are not all counted");
}

#define PACKED BIT(VIRTIO_F_RING_PACKED)

static const struct shape shapes[] = {
	{ "256 descriptors", { .size = 256 }, 1000, 0 },
	{ "rings of 1", { .size = 1 }, 50, 0 },
	{ "rings of 2", { .size = 2 }, 100, 0 },
	{ "rings of 4", { .size = 4 }, 200, 0 },
	{ "rings of 1024", { .size = 1024 }, 2000, 0 },
	{ "rings of 32768", { .size = 32768 }, 1000, 0 },
	{ "event index", { .features = BIT(VIRTIO_RING_F_EVENT_IDX) }, 1000, 0 },
	{ "indirect descriptors negotiated", { .features = BIT(VIRTIO_RING_F_INDIRECT_DESC) }, 500, 0 },
	{ "merged buffers", { .features = BIT(VIRTIO_NET_F_MRG_RXBUF) }, 1000, 0 },
	{ "merged buffers of 128 bytes", { .features = BIT(VIRTIO_NET_F_MRG_RXBUF) }, 500, 128 },
	{ "merged buffers of 24 bytes", { .features = BIT(VIRTIO_NET_F_MRG_RXBUF) }, 200, 24 },
	{ "buffers of 1530 bytes", { 0 }, 500, 1530 },
	{ "indices that wrap", { .base = 65000 }, 2000, 0 },
	/* (But for HASH_REPORT, with which headers are longer: tests/unit/test_hash.c.) */
	{ "all features", { .features = UINT64_MAX & ~BIT(XN_VU_F_LOG_ALL) &
					~BIT(VIRTIO_NET_F_HASH_REPORT) &
					~BIT(VIRTIO_F_RING_PACKED) & ~BIT(VIRTIO_F_IN_ORDER) }, 1000, 0 },
	{ "packed rings", { .features = PACKED }, 1000, 0 },
	{ "packed rings of 1", { .size = 1, .features = PACKED }, 50, 0 },
	{ "packed rings of 3", { .size = 3, .features = PACKED }, 100, 0 },
	{ "packed rings of 300", { .size = 300, .features = PACKED }, 2000, 0 },
	{ "packed rings of 32768", { .size = 32768, .features = PACKED }, 1000, 0 },
	{ "packed rings, merged buffers of 128 bytes", { .size = 257, .features = PACKED |
	  BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_RING_F_INDIRECT_DESC) }, 500, 128 },
	{ "packed rings, all features", { .features = UINT64_MAX & ~BIT(XN_VU_F_LOG_ALL) &
					~BIT(VIRTIO_NET_F_HASH_REPORT) &
					~BIT(VIRTIO_F_IN_ORDER) }, 1000, 0 },
	{ "two regions", { .n_regions = 2, .regions = {
		{ .gpa = GUEST_GPA, .size = 1 << 20, .user_addr = GUEST_USER },
		{ .gpa = 1ull << 32, .size = 1 << 20, .user_addr = GUEST_USER + (1ull << 32),
		  .offset = 1 << 20 } } }, 200, 0 },
	{ "70 000 frames", { 0 }, 70000, 0 },
};

/* The two regions of the shape above: where buffers lie has to be there. */
static void two_region_traffic(const void *arg)
{
	const struct shape *s = arg;
	struct guest *g = guest_open(&s->cfg);

	g->rx_at = 1ull << 32;
	check_loop(g, s->frames);
}

static void without_kicks(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .polled = true });

	check_loop(g, 100);
}

static void two_pairs(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });

	if (daemon_number(&the_daemon, "guest.pairs") < 2)
		skip("the daemon has one pair");
	guest_close(g);
	g = guest_open(&(struct guest_cfg){ .pairs = 2, .features = BIT(VIRTIO_NET_F_MQ) });
	check_loop(g, 100);
}

/* ---- kicks and calls ---- */

struct kick_arg { const char *what; enum { STORM, EMPTY, HUGE_VALUE, SEMAPHORE, PIPE, FULL_PIPE } how; };

static int kick_fd_for(const struct kick_arg *k, int *writer)
{
	int p[2];

	if (k->how != PIPE && k->how != FULL_PIPE)
		return *writer = own_fd(eventfd(0, EFD_CLOEXEC | (k->how == SEMAPHORE ? EFD_SEMAPHORE : 0)));
	CHECK(!pipe2(p, O_CLOEXEC | O_NONBLOCK), "pipe: %s", strerror(errno));
	own_fd(p[0]);
	*writer = own_fd(p[1]);
	return p[0];
}

static void strange_kicks(const void *arg)
{
	const struct kick_arg *k = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t value = k->how == HUGE_VALUE ? UINT64_MAX - 1 : k->how == SEMAPHORE ? 1000000 : 1, v = TX;
	enum answer said;
	int writer, fd;

	check_loop(g, 4);
	fd = kick_fd_for(k, &writer);
	said = ask(g, XN_VU_SET_VRING_KICK, &v, sizeof(v), &fd, 1);
	/* The protocol knows pipes, for systems without eventfd. */
	CHECK(said == ACCEPTED || k->how == PIPE || k->how == FULL_PIPE, "should be accepted, is %s",
	      answer_name(said));
	if (said == CLOSED)
		return;
	if (k->how == STORM) {
		uint64_t until = now_ms() + 300;

		for (unsigned i = 0; now_ms() < until; i++)
			if (write(writer, &value, sizeof(value)) != sizeof(value))
				break;
	}
	for (unsigned i = 0; k->how == FULL_PIPE && write(writer, &value, sizeof(value)) > 0; i++)
		;
	if (k->how == HUGE_VALUE || k->how == SEMAPHORE || k->how == PIPE)
		CHECK(write(writer, &value, sizeof(value)) == sizeof(value), "kick");
	for (unsigned i = 0; k->how == EMPTY && i < 1000; i++)
		CHECK(write(writer, &value, sizeof(value)) == sizeof(value), "kick");
	/* A semaphore stays readable a million times over; the rest is quiet soon. */
	nap_ms(20);
	if (k->how != SEMAPHORE)
		CHECK(daemon_quiet(&the_daemon, 100, 100), "costs a processor also when it is over");
	CHECK(!front_set(&g->front, XN_VU_SET_VRING_KICK, &v, sizeof(v), &g->ring[TX].kick, 1), "%s",
	      g->front.error);
	check_loop(g, 16);
}

struct call_arg { const char *what; enum { FULL_CALL, FULL_BLOCKING, CALL_PIPE, DEAD_PIPE, NO_CALL } how;
		  uint32_t request; };

/* Whoever does not take his notifications stops nobody. */
static void strange_calls(const void *arg)
{
	const struct call_arg *c = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t full = UINT64_MAX - 1;
	int p[2], fd = -1;

	if (c->how == FULL_CALL || c->how == FULL_BLOCKING) {
		fd = own_fd(eventfd(0, EFD_CLOEXEC | (c->how == FULL_CALL ? EFD_NONBLOCK : 0)));
		CHECK(write(fd, &full, sizeof(full)) == sizeof(full), "write");
	} else if (c->how == CALL_PIPE || c->how == DEAD_PIPE) {
		CHECK(!pipe2(p, O_CLOEXEC), "pipe");
		own_fd(p[1]);
		if (c->how == DEAD_PIPE)
			close(p[0]);
		else
			own_fd(p[0]);
		fd = p[1];
	}
	for (uint64_t i = 0; i < 2; i++) {
		uint64_t v = i | (fd < 0 ? XN_VU_VRING_NOFD : 0);

		enum answer said = ask(g, c->request, &v, sizeof(v), &fd, fd >= 0);

		CHECK(said == ACCEPTED || c->how == CALL_PIPE || c->how == DEAD_PIPE,
		      "should be accepted, is %s", answer_name(said));
		if (said == CLOSED)
			return;
	}
	check_loop(g, 500);
	for (unsigned i = 0; c->how == CALL_PIPE && c->request == XN_VU_SET_VRING_CALL && i < 12; i++)
		check_loop(g, 1000);
	if (c->request == XN_VU_SET_VRING_ERR) {
		xn_store_release16(&g->ring[TX].avail[1], (uint16_t)(g->ring[TX].avail_next + 1000));
		ring_kick(&g->ring[TX]);
		nap_ms(20);
	}
	CHECK(daemon_number(&the_daemon, "messages"), "no statistics");
	CHECK(!guest_restart_rings(g), "%s", g->front.error);
	check_loop(g, 8);
}

/* Notifications are sent where they are wanted, and only there. */
static void notifications(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct ring *r = &g->ring[TX];
	const struct seg s = { g->free_at, HDR + 60 };
	uint32_t head, len;

	memset(guest_at(g, s.at), 0, 100);
	event_taken(r->call);
	ring_post(r, &s, 1, 0);
	ring_kick(r);
	CHECK(poll(&(struct pollfd){ .fd = r->call, .events = POLLIN }, 1, SOON_MS) == 1,
	      "no notification for a used buffer");
	CHECK(ring_used(r, &head, &len), "a notification, but no used buffer");
	event_taken(r->call);
	xn_store_release16(&r->avail[0], VRING_AVAIL_F_NO_INTERRUPT);
	ring_post(r, &s, 1, 0);
	ring_kick(r);
	for (unsigned i = 0; i < 1000 && !ring_used(r, &head, &len); i++)
		nap_ms(1);
	nap_ms(10);
	CHECK(!event_taken(r->call), "a notification, although none is wanted");
}

static void event_idx_extremes(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .features = BIT(VIRTIO_RING_F_EVENT_IDX) });
	static const uint16_t values[] = { 65535, 32768, 1, 0, 300, 256 };

	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		for (unsigned q = 0; q < 2; q++)
			xn_store_release16(&g->ring[q].avail[2 + g->ring[q].size], values[i]);
		check_loop(g, 50);
	}
}

/* ---- the life of a ring ---- */

static void base_is_right(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .base = 65530 });
	uint32_t base;

	check_loop(g, 40);
	CHECK(!front_stop_ring(&g->front, TX, &base), "%s", g->front.error);
	CHECK(base == (uint16_t)(65530 + 40), "base %u", base);
	CHECK(!front_stop_ring(&g->front, TX, &base) && base == (uint16_t)(65530 + 40),
	      "base %u when asked again", base);
	CHECK(!front_stop_ring(&g->front, RX, &base), "%s", g->front.error);
	/* 40 were used; those that are posted and unused are to be taken again. */
	CHECK(base == ring_used_idx(&g->ring[RX]), "receive base %u, used %u", base,
	      ring_used_idx(&g->ring[RX]));
	CHECK(!guest_start_rings(g), "%s", g->front.error);
	check_loop(g, 40);
}

static void base_of_stopped(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	const struct xn_vu_vring_state set = { TX, 4321 };
	uint32_t base;

	CHECK(!front_stop_ring(&g->front, TX, &base), "%s", g->front.error);
	check_accepted(ask(g, XN_VU_SET_VRING_BASE, &set, sizeof(set), NULL, 0));
	CHECK(!front_stop_ring(&g->front, TX, &base) && base == 4321, "base %u, was set to 4321", base);
}

/* 300 slots: 40 chains are in the first lap, 340 in the second, whose wrap counter is 0. */
static void packed_base_is_right(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .features = PACKED, .size = 300 });
	uint32_t base;

	check_loop(g, 40);
	CHECK(!front_stop_ring(&g->front, TX, &base), "%s", g->front.error);
	CHECK(base == 0x80288028u, "base %#x", base);
	CHECK(!front_stop_ring(&g->front, RX, &base) && base == 0x80288028u, "receive base %#x", base);
	for (unsigned i = 0; i < 2; i++) {
		struct front_ring fr = guest_front_ring(g, i);

		fr.base = base;
		CHECK(!front_start_ring(&g->front, &fr), "%s", g->front.error);
		ring_kick(&g->ring[i]);
	}
	check_loop(g, 300);
	CHECK(!front_stop_ring(&g->front, TX, &base), "%s", g->front.error);
	CHECK(base == 0x00280028u, "base %#x in the second lap", base);
}

/* What DPDK's virtio-user says: bits 0 to 15 only. */
static void packed_base_of_16_bits(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY, .features = PACKED, .size = 300 });
	const struct xn_vu_vring_state size = { TX, 301 };

	for (unsigned i = 0; i < 2; i++) {
		struct front_ring fr = guest_front_ring(g, i);

		fr.base = 0x8000;
		CHECK(!front_start_ring(&g->front, &fr), "%s", g->front.error);
		ring_kick(&g->ring[i]);
	}
	CHECK(!guest_enable(g), "%s", g->front.error);
	check_loop(g, 700);
	check_nack(g, ask(g, XN_VU_SET_VRING_NUM, &size, sizeof(size), NULL, 0));
}

/* A position that the ring does not have: it does not start, and begins anew when told better. */
static void packed_base_is_nowhere(const void *arg)
{
	static const uint32_t nowhere[] = { 0x812c812c, 0x8000812c, 0x812c8000, 0x80008001, 0x00018000 };
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY, .features = PACKED, .size = 300 });

	for (unsigned n = 0; n < ARRAY_SIZE(nowhere); n++) {
		for (unsigned i = 0; i < 2; i++) {
			struct front_ring fr = guest_front_ring(g, i);

			fr.base = nowhere[n];
			front_start_ring(&g->front, &fr);
			front_enable_ring(&g->front, i, true);
		}
		check_in_step(g);
		for (unsigned i = 0; i < 2; i++)
			CHECK(!front_stop_ring(&g->front, i, NULL), "%s", g->front.error);
	}
	CHECK(!guest_restart_rings(g), "%s", g->front.error);
	check_loop(g, 40);
}

static void stop_start(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });

	for (unsigned i = 0; i < 50; i++) {
		check_loop(g, 20);
		CHECK(!front_stop_ring(&g->front, TX, NULL) && !front_stop_ring(&g->front, RX, NULL) &&
		      !guest_start_rings(g), "%s", g->front.error);
	}
	check_loop(g, 20);
}

/* Nothing is written once GET_VRING_BASE has been answered. */
static void stopped_means_stopped(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct seg s = { g->free_at, HDR + 60 };
	uint16_t used[2];

	check_loop(g, 50);
	CHECK(!front_stop_ring(&g->front, RX, NULL) && !front_stop_ring(&g->front, TX, NULL), "%s",
	      g->front.error);
	for (unsigned q = 0; q < 2; q++)
		used[q] = ring_used_idx(&g->ring[q]);
	memset(guest_at(g, g->rx_at), 0x77, 256 * BUF_BYTES);
	for (unsigned i = 0; i < 20; i++)
		ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	ring_kick(&g->ring[RX]);
	nap_ms(20);
	for (unsigned q = 0; q < 2; q++)
		CHECK(used[q] == ring_used_idx(&g->ring[q]), "ring %u goes on", q);
	for (unsigned i = 0; i < 256 * BUF_BYTES; i++)
		CHECK(((uint8_t *)guest_at(g, g->rx_at))[i] == 0x77, "a buffer was written");
}

static void disabled(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const struct seg s = { g->free_at, HDR + 60 };
	uint64_t drops = counter(&the_daemon, "tx_drop_disabled");
	uint32_t head, len;

	check_loop(g, 8);
	memset(guest_at(g, s.at), 0, 100);
	CHECK(!front_enable_ring(&g->front, TX, false), "%s", g->front.error);
	for (unsigned i = 0; i < 10; i++)
		ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	for (unsigned i = 0; i < 10; i++)
		CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS), "packets of a disabled ring stay");
	CHECK(counter(&the_daemon, "tx_drop_disabled") == drops + 10, "not counted");
	CHECK(!ring_used(&g->ring[RX], &head, &len), "packets of a disabled ring are sent");
	CHECK(!front_enable_ring(&g->front, TX, true), "%s", g->front.error);
	check_loop(g, 8);
}

static void rx_disabled(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const struct seg s = { g->free_at, HDR + 60 };
	uint32_t head, len;

	check_loop(g, 8);
	memset(guest_at(g, s.at), 0, 100);
	CHECK(!front_enable_ring(&g->front, RX, false), "%s", g->front.error);
	ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS), "the packet stays");
	CHECK(!ring_wait(&g->ring[RX], &head, &len, 20), "a disabled ring receives");
	CHECK(!front_enable_ring(&g->front, RX, true), "%s", g->front.error);
	check_loop(g, 8);
}

/* Before ENABLE: a ring of a front end with protocol features begins disabled. */
static void begins_disabled(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = STARTED });
	const struct seg s = { g->free_at, HDR + 60 }, in = { g->rx_at, BUF_BYTES };
	uint32_t head, len;

	memset(guest_at(g, s.at), 0, 100);
	ring_post(&g->ring[RX], &in, 1, WRITE);
	ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[RX]);
	ring_kick(&g->ring[TX]);
	CHECK(!ring_wait(&g->ring[RX], &head, &len, 50), "a ring that was not enabled receives");
}

static void enable_values(const void *arg)
{
	const uint32_t *num = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const struct xn_vu_vring_state s = { TX, *num };

	ask(g, XN_VU_SET_VRING_ENABLE, &s, sizeof(s), NULL, 0);
	check_in_step(g);
}

static void toggled(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });

	for (unsigned i = 0; i < 100; i++) {
		CHECK(!front_enable_ring(&g->front, i & 1, false) && !front_enable_ring(&g->front, i & 1, true),
		      "%s", g->front.error);
		check_loop(g, 4);
	}
}

static void only_tx(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	const struct seg s = { g->free_at, HDR + 60 };
	uint32_t head, len;

	memset(guest_at(g, s.at), 0, 100);
	CHECK(!guest_start_ring(g, TX) && !front_enable_ring(&g->front, TX, true), "%s", g->front.error);
	for (unsigned i = 0; i < 50; i++)
		ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	for (unsigned i = 0; i < 50; i++)
		CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS),
		      "without a receive ring packet %u does not come back", i);
}

/* Other addresses of running rings, as QEMU does when it switches logging: the same ones. */
static void same_addresses(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });

	check_loop(g, 8);
	for (unsigned i = 0; i < 2; i++) {
		const struct front_ring r = guest_front_ring(g, i);
		const struct xn_vu_vring_addr a = { i, 0, r.desc, r.used, r.avail, 0 };

		check_accepted(ask(g, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
		check_loop(g, 8);
	}
}

static void other_addresses(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const struct xn_vu_vring_addr a = { TX, 0, 1ull << 40, 1ull << 41, 1ull << 42, 0 };

	check_loop(g, 8);
	check_nack(g, ask(g, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
}

static void reset_in_traffic(const void *arg)
{
	const uint32_t *request = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	enum answer a;

	for (unsigned i = 0; i < 10; i++) {
		check_loop(g, 50);
		a = ask(g, *request, NULL, 0, NULL, 0);
		if (a == CLOSED)
			return;
		check_in_step(g);
		CHECK(!front_set_u64(&g->front, XN_VU_SET_FEATURES, g->front.acked) && !guest_set_mem(g) &&
		      !guest_restart_rings(g), "cannot be set up again: %s", g->front.error);
	}
	check_loop(g, 50);
}

/* ---- configuration space and the like ---- */

struct config_arg { const char *what; uint32_t offset, size, bytes; bool set, good; };

static void config(const void *arg)
{
	const struct config_arg *c = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct xn_vu_config m = { .offset = c->offset, .size = c->size };
	enum answer a = ask_raw(g, c->set ? XN_VU_SET_CONFIG : XN_VU_GET_CONFIG,
				XN_VU_VERSION | XN_VU_NEED_REPLY, 12 + c->bytes, &m, 12 + c->bytes, NULL, 0);

	if (c->good)
		check_accepted(a);
	else
		check_nack(g, a);
	check_loop(g, 4);
}

static const struct config_arg configs[] = {
	{ "GET_CONFIG: the address", 0, 6, 6, false, true },
	{ "GET_CONFIG: address, status, pairs, MTU", 0, 12, 12, false, true },
	{ "GET_CONFIG at 2^32-1", UINT32_MAX, 1, 1, false, false },
	{ "GET_CONFIG of 2^32-1 bytes", 0, UINT32_MAX, 6, false, false },
	{ "GET_CONFIG of 257 bytes", 0, 257, 256, false, false },
	{ "GET_CONFIG whose end wraps", 0xfffffff0u, 0x20, 0x20, false, false },
	{ "GET_CONFIG at 256", 256, 1, 1, false, false },
	{ "GET_CONFIG with less payload than it says", 0, 12, 6, false, false },
	{ "SET_CONFIG of the address, which is read-only", 0, 6, 6, true, false },
	{ "SET_CONFIG of status", 6, 2, 2, true, false },
	{ "SET_CONFIG at 2^32-1", UINT32_MAX, 1, 1, true, false },
	{ "SET_CONFIG of 2^32-1 bytes", 0, UINT32_MAX, 6, true, false },
};

static void config_is_right(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	struct xn_vu_config m = { .size = 12 }, back;
	uint16_t mtu;
	size_t got;

	CHECK(!front_get(&g->front, XN_VU_GET_CONFIG, &m, 24, &back, sizeof(back), &got, NULL), "%s",
	      g->front.error);
	CHECK(got == 24 && back.size == 12 && !back.offset, "answered with %zu bytes", got);
	CHECK(!(back.data[0] & 1), "the address is a multicast one");
	memcpy(&mtu, back.data + 10, sizeof(mtu));
	CHECK(!(g->front.features & BIT(VIRTIO_NET_F_MTU)) || (mtu >= 68 && mtu <= 1500), "MTU %u", mtu);
}

struct mtu_arg { uint64_t mtu; bool good; };

static void set_mtu(const void *arg)
{
	const struct mtu_arg *m = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .features = BIT(VIRTIO_NET_F_MTU) });
	enum answer a;

	if (!(g->front.protocol_acked & BIT(XN_VU_P_MTU)))
		skip("MTU is not offered");
	a = ask(g, XN_VU_NET_SET_MTU, &m->mtu, sizeof(m->mtu), NULL, 0);
	if (!m->good) {
		check_nack(g, a);
		return;
	}
	check_accepted(a);
	CHECK(daemon_number(&the_daemon, "port.mtu") == m->mtu, "statistics tell another MTU");
}

static void rarp(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const uint64_t mac = 0x0000563412000202ull;

	if (!(g->front.protocol_acked & BIT(XN_VU_P_RARP)))
		skip("RARP is not offered");
	for (unsigned i = 0; i < 20; i++)
		check_accepted(ask(g, XN_VU_SEND_RARP, &mac, sizeof(mac), NULL, 0));
	check_loop(g, 8);
}

static void status_word(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t back;

	if (!(g->front.protocol_acked & BIT(XN_VU_P_STATUS)))
		skip("STATUS is not offered");
	for (uint64_t s = 1; s <= 15; s = 2 * s + 1) {
		CHECK(!front_set_u64(&g->front, XN_VU_SET_STATUS, s) &&
		      !front_get_u64(&g->front, XN_VU_GET_STATUS, &back), "%s", g->front.error);
		CHECK((back & 15) == s, "status %#llx is told as %#llx", (unsigned long long)s,
		      (unsigned long long)back);
	}
	check_loop(g, 8);
}

static void odd_status(const void *arg)
{
	const uint64_t *s = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });

	ask(g, XN_VU_SET_STATUS, s, sizeof(*s), NULL, 0);
	check_in_step(g);
}

/* A channel back that nobody reads, that is full, or closed at the other end. */
static void back_channel(const void *arg)
{
	const unsigned *how = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .features = BIT(VIRTIO_NET_F_MTU) });
	uint64_t mtu = 1400;
	int p[2];

	if (!(g->front.protocol_acked & BIT(XN_VU_P_BACKEND_REQ)))
		skip("BACKEND_REQ is not offered");
	for (unsigned i = 0; i < 50; i++) {
		char junk[4096] = { 0 };

		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), "socketpair");
		if (*how == 1)
			while (send(p[1], junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
				;
		if (*how == 2)
			close(p[0]);
		ask(g, XN_VU_SET_BACKEND_REQ_FD, NULL, 0, &p[1], 1);
		close(p[1]);
		ask(g, XN_VU_NET_SET_MTU, &mtu, sizeof(mtu), NULL, 0);
		if (*how == 3 && send(p[0], junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			nap_ms(1);
		if (*how != 2)
			close(p[0]);
		check_loop(g, 2);
	}
	check_in_step(g);
}

/* ---- registration ---- */

static void add_life_cases(void)
{
	static const uint32_t reset_owner = XN_VU_RESET_OWNER, reset_device = XN_VU_RESET_DEVICE;
	static const uint32_t enable[] = { 2, 256, UINT32_MAX };

	add_case(base_is_right, NULL, "V23", "GET_VRING_BASE tells what was taken, also twice");
	add_case(base_of_stopped, NULL, "V23", "GET_VRING_BASE of a ring that never ran");
	add_case(packed_base_is_right, NULL, "V31", "GET_VRING_BASE of packed rings: positions, wrap counters");
	add_case(packed_base_of_16_bits, NULL, "V31", "SET_VRING_BASE of packed rings, 16 bits: works");
	add_case(packed_base_is_nowhere, NULL, "V31", "SET_VRING_BASE of packed rings, behind their end");
	add_case(stop_start, NULL, "V23", "stop and start 50 times: no frame is lost");
	add_case(stopped_means_stopped, NULL, "V23", "behind GET_VRING_BASE nothing changes");
	add_case(disabled, NULL, "V18", "disabled transmit ring: taken, dropped, counted");
	add_case(rx_disabled, NULL, "V18", "disabled receive ring: nothing comes");
	add_case(begins_disabled, NULL, "V18", "a ring begins disabled");
	add_case(toggled, NULL, "V18", "disabled and enabled 100 times");
	for (unsigned i = 0; i < ARRAY_SIZE(enable); i++)
		add_case(enable_values, &enable[i], "V18", "SET_VRING_ENABLE %u", enable[i]);
	add_case(only_tx, NULL, "V7", "a transmit ring without a receive ring");
	add_case(same_addresses, NULL, "V14", "SET_VRING_ADDR with the same addresses while running");
	add_case(other_addresses, NULL, "V14", "SET_VRING_ADDR outside of memory while running: NACK");
	add_case(reset_in_traffic, &reset_owner, "V32", "RESET_OWNER in traffic, and on again");
	add_case(reset_in_traffic, &reset_device, "V32", "RESET_DEVICE in traffic, and on again");
}

static void add_notice_cases(void)
{
	static const struct kick_arg kicks[] = {
		{ "a storm", STORM }, { "a thousand with nothing to do", EMPTY },
		{ "an eventfd that says 2^64-2", HUGE_VALUE },
		{ "a semaphore that says a million", SEMAPHORE }, { "a pipe", PIPE },
		{ "a full pipe", FULL_PIPE },
	};
	static const struct call_arg calls[] = {
		{ "full", FULL_CALL, XN_VU_SET_VRING_CALL },
		{ "full, and would block", FULL_BLOCKING, XN_VU_SET_VRING_CALL },
		{ "a pipe that nobody reads", CALL_PIPE, XN_VU_SET_VRING_CALL },
		{ "a pipe whose reader has gone", DEAD_PIPE, XN_VU_SET_VRING_CALL },
		{ "none", NO_CALL, XN_VU_SET_VRING_CALL },
		{ "full, and would block", FULL_BLOCKING, XN_VU_SET_VRING_ERR },
		{ "a pipe whose reader has gone", DEAD_PIPE, XN_VU_SET_VRING_ERR },
		{ "none", NO_CALL, XN_VU_SET_VRING_ERR },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(kicks); i++)
		add_case(strange_kicks, &kicks[i], "G37", "kicks: %s", kicks[i].what);
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		add_case(strange_calls, &calls[i], "V17", "%s eventfd: %s",
			 calls[i].request == XN_VU_SET_VRING_CALL ? "call" : "error", calls[i].what);
	add_case(without_kicks, NULL, "G38", "a guest without kick fds is served");
	add_case(notifications, NULL, "G36", "notifications as the driver wants them");
	add_case(event_idx_extremes, NULL, "G36", "used_event at its extremes");
}

static void add_config_cases(void)
{
	static const struct mtu_arg mtus[] = {
		{ 0, false }, { 67, false }, { 65536, false }, { 65535, false }, { 9000, false },
		{ UINT64_MAX, false }, { BIT(32) | 1500, false }, { 68, true }, { 1500, true },
	};
	static const uint64_t status[] = { 0, 0x80, 0x40, 255, 256, UINT64_MAX };
	static const unsigned ways[] = { 0, 1, 2, 3 };
	static const char *const back[] = { "unread", "full", "closed at the other end",
					    "full of nonsense" };

	add_case(config_is_right, NULL, "V33", "configuration space says what is so");
	for (unsigned i = 0; i < ARRAY_SIZE(configs); i++)
		add_case(config, &configs[i], "V33", "%s%s", configs[i].what,
			 configs[i].good ? "" : ": NACK");
	for (unsigned i = 0; i < ARRAY_SIZE(mtus); i++)
		add_case(set_mtu, &mtus[i], "V32", "NET_SET_MTU %llu%s", (unsigned long long)mtus[i].mtu,
			 mtus[i].good ? "" : ": NACK");
	add_case(rarp, NULL, "V32", "SEND_RARP 20 times");
	add_case(status_word, NULL, "V32", "GET_STATUS tells what SET_STATUS said");
	for (unsigned i = 0; i < ARRAY_SIZE(status); i++)
		add_case(odd_status, &status[i], "V32", "SET_STATUS %#llx while running",
			 (unsigned long long)status[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++)
		add_case(back_channel, &ways[i], "V34", "back channel: %s", back[i]);
}

void add_guest_cases(void)
{
	static const uint32_t shorts[] = { 1, 4, 11 };
	static const bool direct = false, indirect = true;

	for (unsigned i = 0; i < ARRAY_SIZE(packets); i++)
		add_case(packet_case, &packets[i], packets[i].id, "packet: %s%s", packets[i].what,
			 packets[i].drop ? ": DROP1" : ": sent");
	for (unsigned i = 0; i < ARRAY_SIZE(shorts); i++)
		add_case(no_header, &shorts[i], "H1", "packet: %u bytes of a header: DROP1", shorts[i]);
	add_case(longest_chain, &direct, "H3", "packet: 256 descriptors of 5 bytes: sent");
	add_case(longest_chain, &indirect, "H3", "packet: indirect table of 256 descriptors: sent");
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++)
		add_case(shapes[i].cfg.n_regions ? two_region_traffic : traffic, &shapes[i], "H16",
			 "traffic: %s", shapes[i].what);
	add_case(two_pairs, NULL, "H16", "traffic: two pairs");
	add_notice_cases();
	add_life_cases();
	add_config_cases();
}
