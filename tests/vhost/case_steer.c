/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RSS, hash reports and receive filters of a driver whose control queue the front end forwards:
 * on the null port, which takes them all. A good command is taken, then a wrong one refused,
 * then the good one is taken again; nothing is left, and the statistics tell why.
 */
#include <stdio.h>
#include <string.h>

#include "tests/vhost/rig.h"

#define PAIRS 2u
#define CTRL  (2 * PAIRS)
#define STEER (BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_RSS) | BIT(VIRTIO_NET_F_HASH_REPORT))
#define FILTER (BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | \
		BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))

#define OFFLOADS (BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT(VIRTIO_NET_F_GUEST_CSUM))

struct command {
	uint8_t bytes[2048];
	uint32_t n;
};

static void put(struct command *c, unsigned width, uint64_t v)
{
	for (unsigned i = 0; i < width; i++)
		c->bytes[c->n++] = (uint8_t)(v >> 8 * i);
}

/* RSS_CONFIG as Linux sends it. */
struct rss {
	uint32_t types;
	uint16_t mask, unclassified, entry, max_tx;   /* entry: the last of the table */
	unsigned entries;
	uint8_t key;
	unsigned key_sent;
};
static const struct rss good_rss = { 0x1ff, 127, 0, 1, PAIRS, 128, 40, 40 };

static struct command make_rss(const struct rss *r)
{
	struct command c = { { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG }, 2 };

	put(&c, 4, r->types);
	put(&c, 2, r->mask);
	put(&c, 2, r->unclassified);
	for (unsigned i = 0; i < r->entries; i++)
		put(&c, 2, i + 1 < r->entries ? i % PAIRS : r->entry);
	put(&c, 2, r->max_tx);
	put(&c, 1, r->key);
	for (unsigned i = 0; i < r->key_sent; i++)
		put(&c, 1, i + 1);
	return c;
}

/* The command in one descriptor, the answer in another. */
static uint8_t run(struct guest *g, const struct command *c)
{
	struct ring *r = &g->ring[CTRL];
	uint8_t *p = guest_at(g, g->free_at);
	uint16_t a = ring_take(r), b = ring_take(r);
	uint32_t head, len;

	memcpy(p, c->bytes, c->n);
	p[4096] = 0x5a;
	ring_desc(r, a, g->free_at, c->n, VRING_DESC_F_NEXT, b);
	ring_desc(r, b, g->free_at + 4096, 1, VRING_DESC_F_WRITE, 0);
	ring_offer(r, a);
	ring_kick(r);
	CHECK(ring_wait(r, &head, &len, SOON_MS), "the command is not answered");
	CHECK(head == a && !r->twice, "head %u comes back instead of %u", head, a);
	return p[4096];
}

static struct guest *open_guest(const struct daemon *d, uint64_t features)
{
	struct guest *g = guest_open(&(struct guest_cfg){
		.daemon = d, .pairs = PAIRS, .ctrl = true, .features = features });

	CHECK((g->front.acked & features) == features, "features %#llx are not offered",
	      (unsigned long long)(features & ~g->front.acked));
	return g;
}

static void must(struct guest *g, const struct command *c, const char *what)
{
	uint8_t ack = run(g, c);

	CHECK(ack == VIRTIO_NET_OK, "%s: answered with %u", what, ack);
}

/* ---- RSS ---- */

struct lie {
	const char *id, *what, *counter;
	struct rss r;
};

/* The fields in their order; good_rss, but for one or two of them. */
static const struct lie lies[] = {
	{ "C1", "a table entry that is no pair", "rss_queue", { 0x1ff, 127, 0, PAIRS, PAIRS, 128, 40, 40 } },
	{ "C1", "a table entry of 65535", "rss_queue", { 0x1ff, 127, 0, 65535, PAIRS, 128, 40, 40 } },
	{ "C1", "a table entry that is a transmit queue", "rss_queue", { 0x1ff, 127, 0, 2 * PAIRS - 1, PAIRS, 128, 40, 40 } },
	{ "C2", "mask 5", "rss_mask", { 0x1ff, 5, 0, 1, PAIRS, 128, 40, 40 } },
	{ "C2", "mask 65535 with a short table", "rss_entries", { 0x1ff, 65535, 0, 1, PAIRS, 128, 40, 40 } },
	{ "C2", "a table of 256", "rss_entries", { 0x1ff, 255, 0, 1, PAIRS, 256, 40, 40 } },
	{ "C2", "a table of which nothing is sent", "rss_short", { 0x1ff, 127, 0, 1, PAIRS, 0, 40, 0 } },
	{ "C3", "no key", "rss_key", { 0x1ff, 127, 0, 1, PAIRS, 128, 0, 0 } },
	{ "C3", "a key of 39", "rss_key", { 0x1ff, 127, 0, 1, PAIRS, 128, 39, 39 } },
	{ "C3", "a key of 41", "rss_key", { 0x1ff, 127, 0, 1, PAIRS, 128, 41, 41 } },
	{ "C3", "a key of 255", "rss_key", { 0x1ff, 127, 0, 1, PAIRS, 128, 255, 255 } },
	{ "C3", "a key that is not all there", "rss_short", { 0x1ff, 127, 0, 1, PAIRS, 128, 40, 39 } },
	{ "C4", "unclassified frames to no pair", "rss_unclassified", { 0x1ff, 127, PAIRS, 1, PAIRS, 128, 40, 40 } },
	{ "C5", "max_tx 0", "rss_max_tx", { 0x1ff, 127, 0, 1, 0, 128, 40, 40 } },
	{ "C5", "max_tx 65535", "rss_max_tx", { 0x1ff, 127, 0, 1, 65535, 128, 40, 40 } },
	{ "C5", "hash types that are not offered", "rss_types", { 0x80000000, 127, 0, 1, PAIRS, 128, 40, 40 } },
};

static void rss_lie(const void *arg)
{
	const struct lie *l = arg;
	const struct command good = make_rss(&good_rss), wrong = make_rss(&l->r);
	struct daemon *d = own_daemon("steer", "null:queues=2");
	struct guest *g = open_guest(d, STEER);
	uint64_t configs;
	uint8_t ack;

	must(g, &good, "a good configuration");
	CHECK(counter_reaches(d, "rss_configs", 1), "it is not counted");
	ack = run(g, &wrong);
	CHECK(ack == VIRTIO_NET_ERR, "answered with %u", ack);
	CHECK(counter_reaches(d, l->counter, 1), "%s is %llu", l->counter,
	      (unsigned long long)counter(d, l->counter));
	configs = counter(d, "rss_configs");
	CHECK(configs == 1, "%llu configurations were put in force", (unsigned long long)configs);
	must(g, &good, "the good one again");
}

static void rss_then_pairs(const void *arg)
{
	const struct command good = make_rss(&good_rss);
	struct command pairs = { { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1, 0 }, 4 };
	struct daemon *d = own_daemon("steer", "null:queues=2");
	struct guest *g = open_guest(d, STEER);

	for (unsigned i = 0; i < 30; i++) {
		must(g, &good, "RSS");
		pairs.bytes[2] = (uint8_t)(1 + i % PAIRS);
		must(g, &pairs, "pairs");
	}
	CHECK(counter_reaches(d, "rss_configs", 30), "not all of them were put in force");
	/* Whoever comes next has said nothing. */
	guest_hang_up(g);
	must(open_guest(d, STEER), &good, "RSS of the next driver");
}

static void hash_config(const void *arg)
{
	struct command c = { { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_HASH_CONFIG }, 2 };
	struct daemon *d = own_daemon("steer", "null:queues=2");
	struct guest *g = open_guest(d, STEER);
	uint8_t ack;

	put(&c, 4, 0x1ff);
	put(&c, 8, 0);
	put(&c, 1, 40);
	for (unsigned i = 0; i < 40; i++)
		put(&c, 1, i);
	must(g, &c, "HASH_CONFIG");
	c.bytes[14] = 39;
	ack = run(g, &c);
	CHECK(ack == VIRTIO_NET_ERR, "a key of 39: answered with %u", ack);
	c.bytes[14] = 40;
	must(g, &c, "HASH_CONFIG again");
}

/* ---- filters ---- */

struct filter {
	const char *id, *what;
	struct command c;
	uint8_t ack;
};

static const struct filter filters[] = {
	{ "C11", "promiscuous off", { { 0, 0, 0 }, 3 }, VIRTIO_NET_OK },
	{ "C11", "no broadcast", { { 0, 5, 1 }, 3 }, VIRTIO_NET_OK },
	{ "C11", "receive mode of 2", { { 0, 0, 2 }, 3 }, VIRTIO_NET_ERR },
	{ "C11", "receive mode without data", { { 0, 0 }, 2 }, VIRTIO_NET_ERR },
	{ "C11", "unknown receive mode 6", { { 0, 6, 1 }, 3 }, VIRTIO_NET_ERR },
	{ "C12", "MAC tables, empty", { { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 10 }, VIRTIO_NET_OK },
	{ "C12", "MAC table of 2^32-1 entries", { { 1, 0, 255, 255, 255, 255 }, 6 }, VIRTIO_NET_ERR },
	{ "C12", "MAC table of 0x2aaaaaab entries, times 6 is 2",
	  { { 1, 0, 0xab, 0xaa, 0xaa, 0x2a, 1, 2 }, 8 }, VIRTIO_NET_ERR },
	{ "C12", "second MAC table longer than the data",
	  { { 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4, 5, 6 }, 16 }, VIRTIO_NET_ERR },
	{ "C12", "MAC address", { { 1, 1, 2, 3, 4, 5, 6, 7 }, 8 }, VIRTIO_NET_OK },
	{ "C12", "MAC address of a group", { { 1, 1, 3, 3, 4, 5, 6, 7 }, 8 }, VIRTIO_NET_ERR },
	{ "C12", "MAC address of 5 bytes", { { 1, 1, 2, 3, 4, 5, 6 }, 7 }, VIRTIO_NET_ERR },
	{ "C12", "VLAN 4095", { { 2, 0, 255, 15 }, 4 }, VIRTIO_NET_OK },
	{ "C12", "VLAN 4096", { { 2, 0, 0, 16 }, 4 }, VIRTIO_NET_ERR },
	{ "C12", "VLAN of a byte", { { 2, 1, 1 }, 3 }, VIRTIO_NET_ERR },
};

static void filter(const void *arg)
{
	const struct filter *f = arg;
	const struct command promisc = { { 0, 0, 1 }, 3 };
	struct daemon *d = own_daemon("steer", "null:queues=2");
	struct guest *g = open_guest(d, FILTER);
	uint8_t ack = run(g, &f->c);

	CHECK(ack == f->ack, "answered with %u", ack);
	must(g, &promisc, "promiscuous again");
}

/* ---- what is taken of received packets ---- */

static void guest_offloads(const void *arg)
{
	struct command c = { { VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET }, 2 };
	struct guest *g = open_guest(own_daemon("steer", "null:queues=2"), OFFLOADS);
	uint8_t ack;

	put(&c, 8, BIT(VIRTIO_NET_F_GUEST_CSUM));
	must(g, &c, "unfinished checksums");
	for (unsigned bit = 2; bit < 64; bit++) {
		for (unsigned i = 0; i < 8; i++)
			c.bytes[2 + i] = (uint8_t)(BIT(bit) >> 8 * i);
		ack = run(g, &c);
		CHECK(ack == VIRTIO_NET_ERR, "bit %u, which was not accepted: answered with %u", bit, ack);
	}
	memset(c.bytes + 2, 0, 8);
	must(g, &c, "nothing");
	c.n--;
	ack = run(g, &c);
	CHECK(ack == VIRTIO_NET_ERR, "seven bytes: answered with %u", ack);
}

void add_steer_cases(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(lies); i++)
		add_case(rss_lie, &lies[i], lies[i].id, "RSS, accepted: %s: ERR", lies[i].what);
	add_case(rss_then_pairs, NULL, "C7", "RSS and VQ_PAIRS_SET in turns");
	add_case(hash_config, NULL, "C3", "hash configuration");
	add_case(guest_offloads, NULL, "C11", "guest offloads, accepted");
	for (unsigned i = 0; i < ARRAY_SIZE(filters); i++)
		add_case(filter, &filters[i], filters[i].id, "filters, accepted: %s: %s",
			 filters[i].what, filters[i].ack ? "ERR" : "OK");
}
