/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that changes everything while it is read: descriptors, rings, indirect tables
 * and headers, at the speed of a processor. No expectation but SURVIVE; what each
 * fault has to cause is in case_ring.c. Mostly plausible values, so that the daemon gets
 * far into a chain before it changes; now and then wild ones.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/atomics.h"
#include "tests/vhost/rig.h"

#define TABLES 8u               /* indirect tables, of 16 descriptors */

static struct mutator {
	struct guest *g;
	pthread_t thread;
	uint32_t stop;
	uint64_t state;
	unsigned set_ups;
	uint64_t settled_ms;
} m;

static uint64_t draw(void)
{
	m.state ^= m.state >> 12;
	m.state ^= m.state << 25;
	m.state ^= m.state >> 27;
	return m.state * 0x2545f4914f6cdd1dull >> 16;
}

static uint64_t some_addr(const struct guest *g)
{
	static const uint64_t wild[] = { 0, UINT64_MAX, UINT64_MAX - 100, 1ull << 40, 1ull << 63 };
	uint64_t r = draw();

	switch (r % 16) {
	case 0: return wild[(r >> 8) % ARRAY_SIZE(wild)];
	case 1: return GUEST_GPA + g->bytes - (r >> 8) % 4096;
	case 2: return g->ring[(r >> 8) % g->n_rings].desc_gpa + (r >> 16) % 12288;
	case 3: return g->free_at + 0x10000 + (r >> 8) % TABLES * 256;
	default: return g->rx_at + (r >> 8) % (512 * BUF_BYTES);
	}
}

static uint32_t some_len(void)
{
	static const uint32_t wild[] = { 0, 1, 11, 12, 13, 25, 26, 16, 256, 65536, 1u << 31, UINT32_MAX };
	uint64_t r = draw();

	return r % 4 ? (uint32_t)(r >> 8) % 2048 : wild[(r >> 8) % ARRAY_SIZE(wild)];
}

static struct vring_desc some_desc(const struct guest *g, unsigned ring, uint32_t size)
{
	uint64_t r = draw();
	uint16_t flags = ring == TX ? 0 : VRING_DESC_F_WRITE;

	if (!(r & 0x70))
		flags ^= VRING_DESC_F_WRITE;
	if (r & 1)
		flags |= VRING_DESC_F_NEXT;
	if (!(r & 0x700))
		flags |= VRING_DESC_F_INDIRECT;
	return (struct vring_desc){
		.addr = some_addr(g), .len = some_len(), .flags = flags,
		.next = (uint16_t)(r >> 16 & 0xff ? (r >> 24) % size : r >> 24),
	};
}

static void change_descriptor(struct guest *g, unsigned ring)
{
	struct ring *r = &g->ring[ring];

	r->desc[draw() % r->size] = some_desc(g, ring, r->size);
}

static void change_table(struct guest *g, unsigned ring)
{
	struct vring_desc *t = (struct vring_desc *)(g->ram + (g->free_at - GUEST_GPA) + 0x10000);

	t[draw() % (TABLES * 16)] = some_desc(g, ring, 16);
}

/* As far as there is room, else the ring would break at once. */
static void advance(struct ring *r, uint64_t x)
{
	uint16_t idx = xn_load_once16(&r->avail[1]);
	uint16_t out = (uint16_t)(idx - xn_load_once16(&r->used[1]));

	if (!(x % 65536))
		idx = (uint16_t)(x >> 32);
	else if (out + 16u < r->size)
		idx = (uint16_t)(idx + (x >> 16) % 16);
	xn_store_release16(&r->avail[1], idx);
}

static void change_available(struct guest *g, unsigned ring)
{
	struct ring *r = &g->ring[ring];
	uint64_t x = draw();

	switch (x % 8) {
	case 0:
		advance(r, x >> 8);
		break;
	case 1:
		xn_store_once16(&r->avail[0], (uint16_t)(x >> 8 & 1));
		break;
	case 2:
		xn_store_once16(&r->avail[2 + r->size], (uint16_t)(x >> 8));
		break;
	default:
		xn_store_once16(&r->avail[2 + (x >> 8) % r->size],
				(uint16_t)(x >> 16 & 0x3ffff ? (x >> 34) % r->size : x >> 32));
	}
}

/* Of the device: it keeps its own. */
static void change_used(struct guest *g, unsigned ring, uint64_t x)
{
	struct ring *r = &g->ring[ring];
	unsigned at = x % (3 + 4 * r->size);

	if (at != 1 || !(x >> 16 & 0xff))
		xn_store_once16(&r->used[at], (uint16_t)(x >> 32));
}

static void change_header(struct guest *g)
{
	g->ram[g->rx_at - GUEST_GPA + draw() % (512 * BUF_BYTES)] = (uint8_t)draw();
}

static void *mutate(void *arg)
{
	struct guest *g = arg;

	while (!xn_load_once32(&m.stop)) {
		uint64_t x = draw();
		unsigned ring = (unsigned)(x >> 8) % g->n_rings;

		switch (x % 16) {
		case 0: change_used(g, ring, x >> 16); break;
		case 1: case 2: change_header(g); break;
		case 3: case 4: change_table(g, ring); break;
		case 5: case 6: case 7: case 8: change_available(g, ring); break;
		default: change_descriptor(g, ring); break;
		}
	}
	return NULL;
}

static void mutate_stop(void *arg)
{
	xn_store_once32(&m.stop, 1);
	pthread_join(m.thread, NULL);
}

void mutate_start(struct guest *g, uint64_t seed)
{
	m = (struct mutator){ .g = g, .state = seed | 1, .settled_ms = now_ms() };
	for (unsigned i = 0; i < g->n_rings; i++)
		for (unsigned n = 0; n < g->ring[i].size; n++)
			g->ring[i].desc[n] = some_desc(g, i, g->ring[i].size);
	CHECK(!pthread_create(&m.thread, NULL, mutate, g), "no thread");
	at_end(mutate_stop, NULL);
}

unsigned mutate_turn(struct guest *g)
{
	bool broken = now_ms() > m.settled_ms + 200;    /* the device's used index is lost at times */

	for (unsigned i = 0; i < g->n_rings; i++) {
		ring_kick(&g->ring[i]);
		event_taken(g->ring[i].call);
		broken |= event_taken(g->ring[i].err) != 0;
	}
	if (broken) {
		CHECK(!guest_restart_rings(g), "not set up again: %s", g->front.error);
		m.set_ups++;
		m.settled_ms = now_ms();
	}
	return m.set_ups;
}

/* ---- cases ---- */

struct run { const char *what; uint64_t features; bool ctrl; unsigned seconds_of_10; };

static uint64_t taken_so_far(void)
{
	return counter(&the_daemon, "heads_dropped") + counter(&the_daemon, "tx_packets");
}

static void mutated(const void *arg)
{
	const struct run *r = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .pairs = r->ctrl ? 2 : 1, .ctrl = r->ctrl,
							  .features = r->features });
	uint64_t until = now_ms() + rounds(10) * 100 * r->seconds_of_10, before = taken_so_far(), taken = 0;
	struct wait w = { 0 };
	unsigned n = 0;

	mutate_start(g, rnd());
	do {
		do {
			n = mutate_turn(g);
			CHECK(daemon_alive(&the_daemon), "the daemon has died");
		} while (now_ms() < until);
		taken = taken_so_far() - before;
	} while ((!n || taken <= 100) && waiting(&w, SOON_MS));
	printf(" (%llu chains, %u set-ups)", (unsigned long long)taken, n);
	CHECK(n, "no ring broke in all that time");
	CHECK(taken > 100, "the daemon took hardly anything");
}

void add_mutate_cases(void)
{
	static const struct run runs[] = {
		{ "rings", 0, false, 3 },
		{ "rings, merged buffers, indirect tables, event index",
		  BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
		  BIT(VIRTIO_RING_F_EVENT_IDX), false, 5 },
		{ "two pairs and a control queue",
		  BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_RING_F_INDIRECT_DESC), true, 2 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(runs); i++)
		add_case(mutated, &runs[i], "G30", "rewritten while they are read: %s", runs[i].what);
}
