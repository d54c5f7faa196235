/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest of the example: what a real guest's kernel would do, as small as it
 * goes. It knows only its RAM; nothing here calls xsknet.
 *
 * Buffer i lies at RX_AT + 2048 * i (receive) or TX_AT + 2048 * i (transmit), header
 * and frame together in one descriptor.
 */
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "guest.h"

#define BUF_BYTES 2048u
#define RX_AT     (1u << 20)
#define TX_AT     (2u << 20)
#define HDR       12u            /* sizeof(struct virtio_net_hdr_v1) */
#define MASK      (GUEST_RING_SIZE - 1)

enum { RX, TX };

static struct vring_desc *desc(struct guest *g, int q)
{
	return (struct vring_desc *)(g->ram + GUEST_DESC((unsigned)q));
}

static struct vring_avail *avail(struct guest *g, int q)
{
	return (struct vring_avail *)(g->ram + GUEST_AVAIL((unsigned)q));
}

static struct vring_used *used(struct guest *g, int q)
{
	return (struct vring_used *)(g->ram + GUEST_USED((unsigned)q));
}

/* Makes a descriptor available; the device sees it with the index. */
static void post(struct guest *g, int q, uint16_t *next, uint16_t id, uint32_t at, uint32_t len)
{
	desc(g, q)[id] = (struct vring_desc){ .addr = at, .len = len,
					      .flags = q == RX ? VRING_DESC_F_WRITE : 0 };
	avail(g, q)->ring[(*next)++ & MASK] = id;
	__atomic_store_n(&avail(g, q)->idx, *next, __ATOMIC_RELEASE);
}

void guest_boot(struct guest *g, void *ram, const uint8_t mac[6], const uint8_t ip[4])
{
	memset(g, 0, sizeof(*g));
	g->ram = ram;
	memcpy(g->mac, mac, sizeof(g->mac));
	memcpy(g->ip, ip, sizeof(g->ip));
	for (uint16_t i = 0; i < GUEST_RING_SIZE; i++) {
		post(g, RX, &g->rx_avail, i, RX_AT + i * BUF_BYTES, BUF_BYTES);
		g->tx_free[g->n_tx_free++] = i;
	}
}

/* ---- the network of the guest: ARP and ICMP echo ---- */

static uint16_t csum(const uint8_t *p, unsigned n)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static int is_arp_for_us(const struct guest *g, const uint8_t *f, uint32_t n)
{
	static const uint8_t request[] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };

	return n >= 42 && !memcmp(f + 12, request, sizeof(request)) && !memcmp(f + 38, g->ip, 4);
}

static int is_ping_for_us(const struct guest *g, const uint8_t *f, uint32_t n)
{
	return n >= 42 && f[12] == 8 && f[13] == 0 && f[14] == 0x45 && f[23] == 1 &&
	       !memcmp(f + 30, g->ip, 4) && f[34] == 8;
}

/* Turns the request in f into its answer, in place. 0: there is none. */
static uint32_t answer(struct guest *g, uint8_t *f, uint32_t n)
{
	if (is_arp_for_us(g, f, n)) {
		f[21] = 2;                       /* reply */
		memcpy(f + 32, f + 22, 10);      /* target = who asked */
		memcpy(f + 22, g->mac, 6);
		memcpy(f + 28, g->ip, 4);
		n = 42;
	} else if (is_ping_for_us(g, f, n)) {
		uint32_t ip_bytes = (uint32_t)f[16] << 8 | f[17];

		if (ip_bytes < 28 || ip_bytes > n - 14)
			return 0;
		f[34] = 0;                       /* echo reply */
		memcpy(f + 30, f + 26, 4);
		memcpy(f + 26, g->ip, 4);
		put16(f + 36, 0);
		put16(f + 36, csum(f + 34, ip_bytes - 20));
		put16(f + 24, 0);
		put16(f + 24, csum(f + 14, 20));
		n = ip_bytes + 14;
	} else {
		return 0;
	}
	memcpy(f, f + 6, 6);
	memcpy(f + 6, g->mac, 6);
	return n;
}

/* ---- the driver's turn ---- */

static void take_sent(struct guest *g)
{
	while (g->tx_seen != __atomic_load_n(&used(g, TX)->idx, __ATOMIC_ACQUIRE))
		g->tx_free[g->n_tx_free++] = (uint16_t)used(g, TX)->ring[g->tx_seen++ & MASK].id;
}

static void send(struct guest *g, const uint8_t *frame, uint32_t n)
{
	uint32_t at;
	uint16_t id;

	if (!g->n_tx_free)
		return;
	id = g->tx_free[--g->n_tx_free];
	at = TX_AT + id * BUF_BYTES;
	memset(g->ram + at, 0, HDR);
	memcpy(g->ram + at + HDR, frame, n);
	post(g, TX, &g->tx_avail, id, at, HDR + n);
	g->answered++;
}

unsigned guest_run(struct guest *g)
{
	unsigned frames = 0;

	take_sent(g);
	while (g->rx_seen != __atomic_load_n(&used(g, RX)->idx, __ATOMIC_ACQUIRE)) {
		const struct vring_used_elem *e = &used(g, RX)->ring[g->rx_seen++ & MASK];
		uint32_t at = RX_AT + e->id * BUF_BYTES, n;
		uint16_t id = (uint16_t)e->id;

		n = e->len > HDR ? answer(g, g->ram + at + HDR, e->len - HDR) : 0;
		if (n)
			send(g, g->ram + at + HDR, n);
		post(g, RX, &g->rx_avail, id, at, BUF_BYTES);
		frames++;
	}
	return frames;
}
