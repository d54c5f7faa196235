/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Notification coalescing of a driver whose control queue the front end forwards (VIRTIO 1.3,
 * 5.1.6.5.8), on the loopback port: the call eventfd is signalled when so many buffers are used,
 * or so much time has gone by, while the daemon's thread sleeps; whatever a driver asks for, what
 * it is owed comes.
 */
#include <poll.h>
#include <string.h>

#include "tests/vhost/rig.h"

#define PAIRS 2u
#define CTRL  (2 * PAIRS)
#define COAL  (BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_NOTF_COAL) | BIT(F_VQ_NOTF_COAL))
#define CLASS 6
#define MOST  0xffffffffu

enum command { TX_SET, RX_SET, VQ_SET, VQ_GET };

struct numbers {
	uint32_t packets, usecs;
};

/* Command and ring in one descriptor, the answer, behind what it tells, in another. */
static uint8_t run(struct guest *g, enum command what, const void *data, uint32_t n,
		   struct numbers *told)
{
	struct ring *r = &g->ring[CTRL];
	uint8_t *p = guest_at(g, g->free_at), *answer = p + 4096;
	uint16_t a = ring_take(r), b = ring_take(r);
	const uint32_t room = told ? sizeof(*told) + 1 : 1;
	uint32_t head, len;

	p[0] = CLASS;
	p[1] = (uint8_t)what;
	memcpy(p + 2, data, n);
	memset(answer, 0x5a, room);
	ring_desc(r, a, g->free_at, n + 2, VRING_DESC_F_NEXT, b);
	ring_desc(r, b, g->free_at + 4096, room, VRING_DESC_F_WRITE, 0);
	ring_offer(r, a);
	ring_kick(r);
	CHECK(ring_wait(r, &head, &len, SOON_MS), "the command is not answered");
	CHECK(head == a && !r->twice && len == room, "head %u comes back instead of %u", head, a);
	if (told)
		memcpy(told, answer, sizeof(*told));
	return answer[room - 1];
}

static void set(struct guest *g, enum command what, uint32_t packets, uint32_t usecs)
{
	uint8_t ack = run(g, what, &(struct numbers){ packets, usecs }, 8, NULL);

	CHECK(ack == VIRTIO_NET_OK, "%u packets, %u us: answered with %u", packets, usecs, ack);
}

static struct guest *open_guest(const struct daemon *d)
{
	struct guest *g = guest_open(&(struct guest_cfg){
		.daemon = d, .pairs = PAIRS, .ctrl = true, .features = COAL });

	CHECK((g->front.acked & COAL) == COAL, "features %#llx are not offered",
	      (unsigned long long)(COAL & ~g->front.acked));
	return g;
}

/* n packets; they are used at once. */
static void send(struct guest *g, unsigned n)
{
	struct ring *r = &g->ring[TX];
	const uint16_t want = (uint16_t)(ring_used_idx(r) + n);
	const struct seg s = { g->tx_at, HDR + 60 };
	struct wait w = { 0 };

	memset(guest_at(g, g->tx_at), 0, HDR + 60);
	for (unsigned i = 0; i < n; i++)
		ring_post(r, &s, 1, 0);
	ring_kick(r);
	while (waiting(&w, SOON_MS) && ring_used_idx(r) != want)
		;
	CHECK(ring_used_idx(r) == want, "%u packets are not used", n);
}

/* The call comes, within so many ms, but not before. */
static void is_called(struct guest *g, unsigned from_ms, unsigned to_ms, uint64_t since)
{
	struct pollfd p = { .fd = g->ring[TX].call, .events = POLLIN };
	uint64_t ms;

	CHECK(poll(&p, 1, (int)to_ms) == 1, "nobody is told within %u ms", to_ms);
	ms = now_ms() - since;
	CHECK(event_taken(p.fd) == 1, "told more than once");
	CHECK(ms + 1 >= from_ms, "told after %llu ms, not %u", (unsigned long long)ms, from_ms);
}

static void told_in_time(const void *arg)
{
	struct daemon *d = own_daemon("coal", "loopback:queues=2");
	struct guest *g = open_guest(d);
	uint64_t since;

	set(g, TX_SET, 1000, 150000);
	for (unsigned i = 0; i < 3; i++) {
		event_taken(g->ring[TX].call);
		since = now_ms();
		send(g, 5);
		is_called(g, 150, SOON_MS, since);
	}
	CHECK(counter_reaches(d, "irqs_held", 3), "nothing was held back");
}

static void told_by_count(const void *arg)
{
	struct guest *g = open_guest(own_daemon("coal", "loopback:queues=2"));
	uint64_t since = now_ms();

	set(g, TX_SET, 8, 900000);
	event_taken(g->ring[TX].call);
	send(g, 8);
	is_called(g, 0, SOON_MS, since);
	send(g, 3);
	set(g, TX_SET, 3, 900000);             /* so many are there: at once */
	is_called(g, 0, SOON_MS, since);
	set(g, TX_SET, 0, 0);
	send(g, 1);
	is_called(g, 0, SOON_MS, since);
}

static void whatever_is_asked_for(const void *arg)
{
	static const struct numbers odd[] = {
		{ MOST, MOST }, { MOST, 0 }, { 0, MOST }, { 1, MOST }, { MOST, 1 }, { 65536, 65536 },
		{ 1u << 31, 1u << 31 },
	};
	struct guest *g = open_guest(own_daemon("coal", "loopback:queues=2"));
	struct numbers told;

	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		const uint16_t ring[6] = { TX, 0, (uint16_t)odd[i].packets, (uint16_t)(odd[i].packets >> 16),
					   (uint16_t)odd[i].usecs, (uint16_t)(odd[i].usecs >> 16) };

		set(g, RX_SET, odd[i].packets, odd[i].usecs);
		CHECK(run(g, VQ_SET, ring, 12, NULL) == VIRTIO_NET_OK, "VQ_SET fails");
		CHECK(run(g, VQ_GET, ring, 4, &told) == VIRTIO_NET_OK, "VQ_GET fails");
		CHECK(!memcmp(&told, &odd[i], sizeof(told)), "%u packets, %u us were set, not %u, %u",
		      told.packets, told.usecs, odd[i].packets, odd[i].usecs);
		check_loop(g, 300);
	}
}

/* A stop owes nothing: what was put off is told of. */
static void told_at_a_stop(const void *arg)
{
	struct guest *g = open_guest(own_daemon("coal", "loopback:queues=2"));
	const uint64_t since = now_ms();
	uint32_t base;

	set(g, TX_SET, 1000, 900000);
	event_taken(g->ring[TX].call);
	send(g, 1);
	CHECK(!front_stop_ring(&g->front, TX, &base), "%s", g->front.error);
	is_called(g, 0, SOON_MS, since);
}

/* Wishes that change all the time wake the thread, and keep nobody from being served. */
static void set_a_thousand_times(const void *arg)
{
	struct guest *g = open_guest(own_daemon("coal", "loopback:queues=2"));

	for (unsigned i = 0; i < 1000; i++) {
		struct ring *r = &g->ring[CTRL];

		set(g, i & 1 ? TX_SET : RX_SET, rnd_below(300), rnd_below(3000));
		r->n_free = 0;
		while (r->n_free < r->size) {
			r->free[r->n_free] = (uint16_t)(r->size - 1 - r->n_free);
			r->n_free++;
		}
		if (i % 50 == 0)
			check_loop(g, 20);
	}
}

void add_coal_cases(void)
{
	add_case(told_in_time, NULL, "C11", "coalescing: told in time");
	add_case(told_by_count, NULL, "C11", "coalescing: told when so many are used");
	add_case(whatever_is_asked_for, NULL, "C11", "coalescing: numbers beyond reason");
	add_case(told_at_a_stop, NULL, "C11", "coalescing: told at a stop");
	add_case(set_a_thousand_times, NULL, "C11", "coalescing: set a thousand times");
}
