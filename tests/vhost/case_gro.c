/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsknetd --gro on: a guest that has accepted GUEST_TSO4 sends segments of TCP to itself, over the
 * loopback port, and gets them put together (as many as have come at a time): each byte of the
 * connection once, in order, in headers that make sense, and each buffer back. And one that
 * rewrites everything meanwhile.
 */
#include <string.h>

#include "tests/vhost/rig.h"

#define GRO (BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | \
	     BIT(VIRTIO_NET_F_GUEST_ECN))
#define USO (BIT(54) | BIT(55))  /* GUEST_USO4, _USO6 */
#define HEADS   54u              /* bytes of Ethernet, IPv4 and TCP */
#define SIZE    1000u            /* of a payload */
#define SEGS    20u
#define TX_AT   0x20000u         /* in what is the case's own */

static struct daemon *gro_daemon(const char *what)
{
	const char *const words[] = { "--gro", what, SANITIZED ? "--sandbox" : NULL, "off", NULL };
	static struct daemon d;

	CHECK(daemon_start(&d, "gro", "loopback", words), "does not start");
	at_end(daemon_undo, &d);
	return &d;
}

static struct guest *open_guest(const struct daemon *d, uint64_t features)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .daemon = d, .features = features });

	CHECK((g->front.acked & features) == features, "features %#llx are not offered",
	      (unsigned long long)(features & ~g->front.acked));
	return g;
}

static void offered(const void *arg)
{
	const char *what = arg;
	const uint64_t all = GRO | USO | BIT(VIRTIO_NET_F_GUEST_UFO);
	const uint64_t want = BIT(VIRTIO_NET_F_GUEST_CSUM) | (strcmp(what, "udp") && strcmp(what, "off") ? GRO : 0) |
			      (strcmp(what, "tcp") && strcmp(what, "off") ? USO : 0);
	struct guest *g = guest_open(&(struct guest_cfg){ .daemon = gro_daemon(what), .features = all });

	CHECK((g->front.acked & all) == want, "of those %#llx are offered",
	      (unsigned long long)(g->front.acked & all));
}

/* ---- segments ---- */

static uint32_t sum(const uint8_t *p, uint32_t n, uint32_t s)
{
	for (uint32_t i = 0; i < n; i++)
		s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

static void put(uint8_t *p, unsigned width, uint32_t v)
{
	while (width--) {
		p[width] = (uint8_t)v;
		v >>= 8;
	}
}

static uint8_t pattern(uint32_t at) { return (uint8_t)(at * 31 + at / 256 * 7); }

/* The segment that begins with this byte of the connection. */
static void write_segment(uint8_t *p, uint32_t at)
{
	static const uint8_t ip[] = { 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2 };

	memset(p, 2, 12);
	put(p + 12, 2, 0x0800);
	memcpy(p + 14, ip, sizeof(ip));
	put(p + 16, 2, 40 + SIZE);
	put(p + 18, 2, at / SIZE);
	put(p + 24, 2, 0xffff - sum(p + 14, 20, 0));
	memset(p + 34, 0, 20);
	put(p + 34, 4, 1000u << 16 | 2000u);
	put(p + 38, 4, at);
	p[46] = 0x50;
	p[47] = 0x10;
	put(p + 48, 2, 500);
	for (uint32_t i = 0; i < SIZE; i++)
		p[HEADS + i] = pattern(at + i);
	put(p + 50, 2, 0xffff - sum(p + 34, 20 + SIZE, sum(p + 26, 8, 6 + 20 + SIZE)));
}

static void send_segments(struct guest *g, uint32_t from)
{
	for (unsigned i = 0; i < SEGS; i++) {
		const struct seg s = { g->free_at + TX_AT + i * BUF_BYTES, HDR + HEADS + SIZE };
		uint8_t *p = guest_at(g, s.at);

		memset(p, 0, HDR);
		write_segment(p + HDR, from + i * SIZE);
		ring_post(&g->ring[TX], &s, 1, 0);
	}
	ring_kick(&g->ring[TX]);
}

/* One packet of the connection, which goes on at `at`: how many bytes of it. */
static uint32_t receive_packet(struct guest *g, uint64_t *where, uint32_t at)
{
	static uint8_t data[65536 + 100];
	const struct virtio_net_hdr_v1 *h = (const void *)data;
	uint32_t head, len, n = 0, bytes;
	unsigned buffers = 1;

	for (unsigned i = 0; i < buffers; i++) {
		CHECK(ring_wait(&g->ring[RX], &head, &len, SOON_MS), "buffer %u of %u does not come", i, buffers);
		CHECK(!g->ring[RX].twice && len && len <= BUF_BYTES && n + len <= sizeof(data), "head %u, length %u",
		      head, len);
		memcpy(data + n, guest_at(g, where[head]), len);
		n += len;
		CHECK(n >= HDR, "no header");
		buffers = h->num_buffers;
		CHECK(i + 1 >= buffers || len == BUF_BYTES, "buffer %u of %u is not full", i, buffers);
	}
	bytes = n - HDR - HEADS;
	CHECK(n > HDR + HEADS && bytes % SIZE == 0, "%u bytes", n);
	for (unsigned i = 0; i < 4; i++)
		CHECK(data[HDR + 38 + i] == (uint8_t)(at >> (24 - 8 * i)), "another sequence number");
	if (bytes == SIZE) {
		CHECK(h->gso_type == VIRTIO_NET_HDR_GSO_NONE, "gso type %u", h->gso_type);
	} else {
		CHECK(h->gso_type == VIRTIO_NET_HDR_GSO_TCPV4 && h->gso_size == SIZE && h->hdr_len == HEADS &&
		      h->flags == VIRTIO_NET_HDR_F_NEEDS_CSUM && h->csum_start == 34 && h->csum_offset == 16,
		      "type %u, size %u, headers %u, flags %u, checksum of %u at %u", h->gso_type, h->gso_size,
		      h->hdr_len, h->flags, h->csum_start, h->csum_offset);
		CHECK(sum(data + HDR + 14, 20, 0) == 0xffff, "checksum of the IP header");
	}
	for (uint32_t i = 0; i < bytes; i++)
		CHECK(data[HDR + HEADS + i] == pattern(at + i), "byte %u is wrong", at + i);
	return bytes;
}

static void connection(const void *arg)
{
	struct daemon *d = gro_daemon("on");
	struct guest *g = open_guest(d, GRO | BIT(VIRTIO_NET_F_MRG_RXBUF));
	uint64_t where[256];
	uint32_t at = 0, head, len;

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = g->ring[RX].pending; i < 30; i++) {
			struct seg s;

			/* A place that no buffer has that is still out. */
			s = (struct seg){ g->free_at + (uint64_t)g->ring[RX].free[g->ring[RX].n_free - 1] % 64 * BUF_BYTES,
					  BUF_BYTES };
			head = ring_post(&g->ring[RX], &s, 1, VRING_DESC_F_WRITE);
			where[head] = s.at;
		}
		ring_kick(&g->ring[RX]);
		send_segments(g, at);
		for (uint32_t until = at + SEGS * SIZE; at < until; )
			at += receive_packet(g, where, at);
		while (g->ring[TX].pending)
			CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS), "a packet does not come back");
	}
	CHECK(counter(d, "rx_coalesced") > 400, "only %llu were put together",
	      (unsigned long long)counter(d, "rx_coalesced"));
	CHECK(counter(d, "rx_packets") == 200 * SEGS, "not as many as were sent");
}

static void mutated(const void *arg)
{
	struct daemon *d = gro_daemon("on");
	struct guest *g = open_guest(d, GRO | BIT(VIRTIO_NET_F_MRG_RXBUF));
	const uint64_t until = now_ms() + rounds(10) * 100;

	mutate_start(g, rnd());
	while (now_ms() < until) {
		mutate_turn(g);
		CHECK(daemon_alive(d), "the daemon has died");
	}
}

void add_gro_cases(void)
{
	add_case(offered, "on", "V8", "--gro on: offers GUEST_TSO4, _TSO6, _ECN, _USO4 and _USO6, and not UFO");
	add_case(offered, "tcp", "V8", "--gro tcp: GUEST_TSO4, _TSO6 and _ECN");
	add_case(offered, "udp", "V8", "--gro udp: GUEST_USO4 and _USO6");
	add_case(offered, "off", "V8", "--gro off: none of these");
	add_case(connection, NULL, "H16", "--gro on: a connection's bytes come once, in order, in full buffers");
	add_case(mutated, NULL, "G30", "--gro on: rings and frames rewritten while they are read");
}
