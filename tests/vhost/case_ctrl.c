/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control queue, where the front end forwards it (VIRTIO 1.2, 5.1.6.5): VQ_PAIRS_SET
 * and announcements are understood, all else is answered with an error. A command is a
 * chain of class, command, data, which are read, and a byte that is written.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/vhost/rig.h"

#define CTRL  4u                /* behind two pairs */
#define UNTOUCHED 0x5a
#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE

struct command {
	const char *id, *what;
	uint8_t bytes[64];
	uint32_t len;
	uint8_t ack;                    /* expected; UNTOUCHED: either answer */
};

static struct guest *open_ctrl(void)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	uint64_t offered = g->front.features;

	guest_close(g);
	if (!(offered & BIT(VIRTIO_NET_F_CTRL_VQ)))
		skip("CTRL_VQ is not offered");
	return guest_open(&(struct guest_cfg){
		.pairs = 2, .ctrl = true, .features = BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
					  BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) });
}

/* The command in one descriptor, the answer in another. */
static uint8_t run(struct guest *g, const uint8_t *bytes, uint32_t n)
{
	struct ring *r = &g->ring[CTRL];
	uint8_t *p = guest_at(g, g->free_at);
	uint16_t a = ring_take(r), b = ring_take(r);
	uint32_t head, len;

	memcpy(p, bytes, n);
	p[4096] = UNTOUCHED;
	ring_desc(r, a, g->free_at, n, NEXT, b);
	ring_desc(r, b, g->free_at + 4096, 1, WRITE, 0);
	ring_offer(r, a);
	ring_kick(r);
	CHECK(ring_wait(r, &head, &len, SOON_MS), "the command is not answered");
	CHECK(head == a && !r->twice, "head %u comes back instead of %u", head, a);
	CHECK(len <= 1, "length %u", len);
	return p[4096];
}

static void command(const void *arg)
{
	const struct command *c = arg;
	struct guest *g = open_ctrl();
	uint8_t ack = run(g, c->bytes, c->len);

	if (c->ack != UNTOUCHED)
		CHECK(ack == c->ack, "answered with %u, not %u", ack, c->ack);
	else
		CHECK(ack == VIRTIO_NET_OK || ack == VIRTIO_NET_ERR, "answered with %u", ack);
	check_loop(g, 8);
}

/* Class, command, data. */
static const struct command commands[] = {
	{ "C7", "VQ_PAIRS_SET 1: OK", { 4, 0, 1, 0 }, 4, VIRTIO_NET_OK },
	{ "C7", "VQ_PAIRS_SET 2: OK", { 4, 0, 2, 0 }, 4, VIRTIO_NET_OK },
	{ "C7", "VQ_PAIRS_SET 0: ERR", { 4, 0, 0, 0 }, 4, VIRTIO_NET_ERR },
	{ "C7", "VQ_PAIRS_SET 65: ERR", { 4, 0, 65, 0 }, 4, VIRTIO_NET_ERR },
	{ "C7", "VQ_PAIRS_SET 3 of 2: ERR", { 4, 0, 3, 0 }, 4, VIRTIO_NET_ERR },
	{ "C7", "VQ_PAIRS_SET 0x8000: ERR", { 4, 0, 0, 0x80 }, 4, VIRTIO_NET_ERR },
	{ "C7", "VQ_PAIRS_SET 65535: ERR", { 4, 0, 255, 255 }, 4, VIRTIO_NET_ERR },
	{ "C7", "VQ_PAIRS_SET without data: ERR", { 4, 0 }, 2, VIRTIO_NET_ERR },
	{ "C7", "VQ_PAIRS_SET with a byte of data: ERR", { 4, 0, 1 }, 3, VIRTIO_NET_ERR },
	{ "C7", "VQ_PAIRS_SET with more data than there is", { 4, 0, 1, 0, 7 }, 5, UNTOUCHED },
	{ "C11", "command of one byte: ERR", { 4 }, 1, VIRTIO_NET_ERR },
	{ "C11", "unknown class 6: ERR", { 6, 0, 0, 0 }, 4, VIRTIO_NET_ERR },
	{ "C11", "unknown class 255: ERR", { 255, 255, 0, 0 }, 4, VIRTIO_NET_ERR },
	{ "C11", "unknown command 9 of MQ: ERR", { 4, 9, 1, 0 }, 4, VIRTIO_NET_ERR },
	{ "C11", "receive mode: ERR", { 0, 0, 1 }, 3, VIRTIO_NET_ERR },
	{ "C11", "VLAN add: ERR", { 2, 0, 1, 0 }, 4, VIRTIO_NET_ERR },
	{ "C11", "announcement acknowledged", { 3, 0 }, 2, UNTOUCHED },
	{ "C11", "unknown command of announcements: ERR", { 3, 1 }, 2, VIRTIO_NET_ERR },
	{ "C11", "guest offloads: ERR", { 5, 0, 255, 255, 255, 255, 0, 0, 0, 0 }, 10, VIRTIO_NET_ERR },
	{ "C12", "MAC table of 2^32-1 entries: ERR", { 1, 0, 255, 255, 255, 255 }, 6, VIRTIO_NET_ERR },
	{ "C12", "MAC table of 0x2aaaaaab entries, times 6 is 2: ERR",
	  { 1, 0, 0xab, 0xaa, 0xaa, 0x2a, 1, 2 }, 8, VIRTIO_NET_ERR },
	{ "C12", "MAC table with more entries than data: ERR", { 1, 0, 10, 0, 0, 0, 1, 2, 3 }, 9,
	  VIRTIO_NET_ERR },
	{ "C12", "MAC address of 5 bytes: ERR", { 1, 1, 2, 3, 4, 5, 6 }, 7, VIRTIO_NET_ERR },
	/* RSS_CONFIG: hash types, mask, unclassified, table, max_tx, key length, key. */
	{ "C1", "RSS with a table entry of 65535: ERR",
	  { 4, 1, 7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 0, 0 }, 15, VIRTIO_NET_ERR },
	{ "C1", "RSS with an odd queue: ERR", { 4, 1, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0 }, 15,
	  VIRTIO_NET_ERR },
	{ "C2", "RSS with mask 5: ERR", { 4, 1, 7, 0, 0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 0 }, 15,
	  VIRTIO_NET_ERR },
	{ "C2", "RSS with mask 65535 and a short table: ERR",
	  { 4, 1, 7, 0, 0, 0, 255, 255, 0, 0, 0, 0, 1, 0, 0 }, 15, VIRTIO_NET_ERR },
	{ "C3", "RSS with a key of 255 bytes that are not there: ERR",
	  { 4, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 255 }, 15, VIRTIO_NET_ERR },
	{ "C3", "RSS with a key of 39 bytes: ERR", { 4, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 39 }, 54,
	  VIRTIO_NET_ERR },
	{ "C4", "RSS with unclassified queue 64: ERR",
	  { 4, 1, 7, 0, 0, 0, 0, 0, 128, 0, 0, 0, 1, 0, 0 }, 15, VIRTIO_NET_ERR },
	{ "C5", "RSS with max_tx 0: ERR", { 4, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 15,
	  VIRTIO_NET_ERR },
	{ "C5", "RSS with max_tx 65535: ERR", { 4, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0 }, 15,
	  VIRTIO_NET_ERR },
	{ "C3", "hash configuration: ERR", { 4, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40 }, 55,
	  VIRTIO_NET_ERR },
};

/* Chains that are no command. The head comes back once; the queue lives. */
struct shape {
	const char *id, *what;
	uint16_t (*make)(struct guest *g, struct ring *r);
	bool answered;                  /* there is a byte for the answer: it says ERR or OK */
};

static void write_command(struct guest *g)
{
	const uint8_t pairs[] = { 4, 0, 1, 0 };
	uint8_t *p = guest_at(g, g->free_at);

	memcpy(p, pairs, sizeof(pairs));
	memset(p + 4096, UNTOUCHED, 128);
}

static uint16_t two(struct guest *g, struct ring *r, struct vring_desc first, struct vring_desc second)
{
	uint16_t a = ring_take(r), b = ring_take(r);

	ring_desc(r, a, first.addr, first.len, first.flags, first.next ? first.next : b);
	ring_desc(r, b, second.addr, second.len, second.flags, second.next);
	return a;
}

#define CMD(g, n, f) (struct vring_desc){ .addr = (g)->free_at, .len = (n), .flags = (f) }
#define ACK(g, n, f) (struct vring_desc){ .addr = (g)->free_at + 4096, .len = (n), .flags = (f) }

static uint16_t no_ack(struct guest *g, struct ring *r)
{
	return two(g, r, CMD(g, 4, 0), ACK(g, 1, WRITE));
}

static uint16_t ack_readable(struct guest *g, struct ring *r)
{
	return two(g, r, CMD(g, 4, NEXT), ACK(g, 1, 0));
}

static uint16_t ack_empty(struct guest *g, struct ring *r)
{
	return two(g, r, CMD(g, 4, NEXT), ACK(g, 0, WRITE));
}

static uint16_t ack_long(struct guest *g, struct ring *r)
{
	return two(g, r, CMD(g, 4, NEXT), ACK(g, 64, WRITE));
}

static uint16_t only_ack(struct guest *g, struct ring *r)
{
	return two(g, r, ACK(g, 1, WRITE), CMD(g, 4, 0));
}

static uint16_t ack_first(struct guest *g, struct ring *r)
{
	return two(g, r, ACK(g, 1, WRITE | NEXT), CMD(g, 4, 0));
}

static uint16_t long_data(struct guest *g, struct ring *r)
{
	return two(g, r, CMD(g, 1u << 19, NEXT), ACK(g, 1, WRITE));
}

static uint16_t unmapped_data(struct guest *g, struct ring *r)
{
	return two(g, r, (struct vring_desc){ .addr = 1ull << 40, .len = 4, .flags = NEXT },
		   ACK(g, 1, WRITE));
}

static uint16_t unmapped_ack(struct guest *g, struct ring *r)
{
	return two(g, r, CMD(g, 4, NEXT), (struct vring_desc){ .addr = 1ull << 40, .len = 1, .flags = WRITE });
}

static uint16_t next_range(struct guest *g, struct ring *r)
{
	return two(g, r, (struct vring_desc){ .addr = g->free_at, .len = 4, .flags = NEXT, .next = 65535 },
		   ACK(g, 1, WRITE));
}

static uint16_t loop(struct guest *g, struct ring *r)
{
	uint16_t a = two(g, r, CMD(g, 4, NEXT), ACK(g, 1, NEXT));

	r->desc[r->desc[a].next].next = a;
	return a;
}

static uint16_t indirect(struct guest *g, struct ring *r)
{
	struct vring_desc *t = guest_at(g, g->free_at + 8192);
	uint16_t a = ring_take(r);

	t[0] = (struct vring_desc){ .addr = g->free_at, .len = 4, .flags = NEXT, .next = 1 };
	t[1] = (struct vring_desc){ .addr = g->free_at + 4096, .len = 1, .flags = WRITE };
	ring_desc(r, a, g->free_at + 8192, 32, VRING_DESC_F_INDIRECT, 0);
	return a;
}

static uint16_t one_byte_each(struct guest *g, struct ring *r)
{
	uint16_t id = ring_take(r);

	ring_desc(r, id, g->free_at + 4096, 1, WRITE, 0);
	for (unsigned i = 4; i--;) {
		uint16_t before = ring_take(r);

		ring_desc(r, before, g->free_at + i, 1, NEXT, id);
		id = before;
	}
	return id;
}

static const struct shape shapes[] = {
	{ "C11", "no byte for the answer: DROP1", no_ack, false },
	{ "C11", "readable byte for the answer: DROP1", ack_readable, false },
	{ "C11", "empty descriptor for the answer: DROP1", ack_empty, false },
	{ "C11", "64 bytes for the answer", ack_long, true },
	{ "C11", "only a byte for the answer", only_ack, false },
	{ "C11", "the answer before the command", ack_first, false },
	{ "C11", "data of 512 KiB", long_data, false },
	{ "C8", "data that is no memory: DROP1", unmapped_data, false },
	{ "C8", "answer that is no memory: DROP1", unmapped_ack, false },
	{ "C8", "next is 65535: DROP1", next_range, false },
	{ "C9", "a circle: DROP1", loop, false },
	{ "C11", "indirect: OK", indirect, true },
	{ "C11", "a descriptor for each byte: OK", one_byte_each, true },
};

static void shape(const void *arg)
{
	const struct shape *s = arg;
	struct guest *g = open_ctrl();
	struct ring *r = &g->ring[CTRL];
	const uint8_t one_pair[] = { 4, 0, 1, 0 };
	uint8_t *p = guest_at(g, g->free_at);
	uint32_t head, len;
	uint16_t want;

	write_command(g);
	want = s->make(g, r);
	ring_offer(r, want);
	ring_kick(r);
	CHECK(ring_wait(r, &head, &len, SOON_MS), "the chain does not come back");
	CHECK(head == want && !r->twice, "head %u comes back instead of %u", head, want);
	CHECK(len <= 64, "length %u", len);
	/* The answer is the last byte, behind results that no command here has. */
	if (s->answered)
		CHECK(p[4096 + (len ? len - 1 : 0)] == VIRTIO_NET_OK, "answered with %u",
		      p[4096 + (len ? len - 1 : 0)]);
	CHECK(p[4096 + 64] == UNTOUCHED, "a byte behind the room for the answer is written");
	CHECK(run(g, one_pair, sizeof(one_pair)) == VIRTIO_NET_OK, "the next command fails");
	check_loop(g, 8);
}

static void many_commands(const void *arg)
{
	struct guest *g = open_ctrl();
	const uint8_t one_pair[] = { 4, 0, 1, 0 };

	for (unsigned i = 0; i < 1000; i++) {
		struct ring *r = &g->ring[CTRL];

		CHECK(run(g, one_pair, sizeof(one_pair)) == VIRTIO_NET_OK, "command %u fails", i);
		r->n_free = 0;
		while (r->n_free < r->size) {
			r->free[r->n_free] = (uint16_t)(r->size - 1 - r->n_free);
			r->n_free++;
		}
	}
	check_loop(g, 8);
}

/* The queue full of commands at once, and commands while the data rings are off. */
static void full_queue(const void *arg)
{
	struct guest *g = open_ctrl();
	struct ring *r = &g->ring[CTRL];
	uint32_t head, len;

	write_command(g);
	for (unsigned i = 0; i < 128; i++)
		ring_offer(r, two(g, r, CMD(g, 4, NEXT), ACK(g, 1, WRITE)));
	ring_kick(r);
	for (unsigned i = 0; i < 128; i++)
		CHECK(ring_wait(r, &head, &len, SOON_MS), "%u of 128 commands were answered", i);
	check_loop(g, 8);
}

static void while_disabled(const void *arg)
{
	struct guest *g = open_ctrl();
	const uint8_t one_pair[] = { 4, 0, 1, 0 }, none[] = { 4, 0, 0, 0 };

	CHECK(!front_enable_ring(&g->front, RX, false) && !front_enable_ring(&g->front, TX, false), "%s",
	      g->front.error);
	CHECK(run(g, one_pair, 4) == VIRTIO_NET_OK, "not answered with OK");
	CHECK(run(g, none, 4) == VIRTIO_NET_ERR, "not answered with ERR");
	CHECK(!front_enable_ring(&g->front, RX, true) && !front_enable_ring(&g->front, TX, true), "%s",
	      g->front.error);
	check_loop(g, 8);
}

static void broken_ctrl(const void *arg)
{
	const uint16_t *head = arg;
	struct guest *g = open_ctrl();
	const uint8_t one_pair[] = { 4, 0, 1, 0 };
	struct wait w = { 0 };
	uint64_t told = 0;

	ring_offer(&g->ring[CTRL], *head);
	ring_kick(&g->ring[CTRL]);
	while (waiting(&w, SOON_MS) && !(told = event_taken(g->ring[CTRL].err)))
		nap_ms(1);
	CHECK(told == 1, "the error eventfd is signalled %llu times", (unsigned long long)told);
	/* The data queues do not notice. */
	check_loop(g, 16);
	CHECK(!guest_restart_rings(g), "%s", g->front.error);
	CHECK(run(g, one_pair, 4) == VIRTIO_NET_OK, "does not work when set up again");
}

/* A driver whose control queue goes on elsewhere than at its beginning was somewhere else: it is
 * to announce itself, until it says that it has. */
static bool is_asked_to_announce(struct guest *g)
{
	const struct xn_vu_config m = { .size = 24 };
	struct xn_vu_config back;
	struct virtio_net_config c;
	size_t got;

	CHECK(!front_get(&g->front, XN_VU_GET_CONFIG, &m, 12 + 24, &back, sizeof(back), &got, NULL) &&
	      got == 12 + 24, "GET_CONFIG: %s", g->front.error);
	memcpy(&c, back.data, 24);
	CHECK(c.status & VIRTIO_NET_S_LINK_UP, "no link");
	return c.status & VIRTIO_NET_S_ANNOUNCE;
}

static void came_from_elsewhere(const void *arg)
{
	const uint8_t acked[] = { 3, 0 };
	struct guest *g = guest_open(&(struct guest_cfg){
		.stage = MEMORY, .pairs = 2, .ctrl = true, .base = 7,
		.features = BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) });
	struct xn_vu_header h;
	struct pollfd p;
	int back[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, back), "socketpair");
	own_fd(back[0]);
	check_accepted(ask(g, XN_VU_SET_BACKEND_REQ_FD, NULL, 0, &back[1], 1));
	close(back[1]);
	CHECK(!is_asked_to_announce(g), "asked before its rings are there");
	CHECK(!guest_start_rings(g) && !guest_enable(g), "%s", g->front.error);
	p = (struct pollfd){ .fd = back[0], .events = POLLIN };
	CHECK(poll(&p, 1, SOON_MS) == 1 && read(back[0], &h, sizeof(h)) == sizeof(h) &&
	      h.request == XN_VU_BACK_CONFIG_CHANGE_MSG, "nobody says that the configuration has changed");
	CHECK(is_asked_to_announce(g), "not asked");
	CHECK(run(g, acked, 2) == VIRTIO_NET_OK, "the driver may not answer");
	CHECK(!is_asked_to_announce(g), "asked on");
	check_loop(g, 8);
	/* Neither is one that begins here. */
	guest_close(g);
	CHECK(!is_asked_to_announce(open_ctrl()), "a new driver is asked");
}

void add_ctrl_cases(void)
{
	static const uint16_t heads[] = { 256, 65535 };

	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		add_case(command, &commands[i], commands[i].id, "control: %s", commands[i].what);
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++)
		add_case(shape, &shapes[i], shapes[i].id, "control chain: %s", shapes[i].what);
	add_case(many_commands, NULL, "C7", "control: 1000 commands");
	add_case(full_queue, NULL, "C7", "control: 128 commands at once");
	add_case(while_disabled, NULL, "C7", "control: commands while the rings are disabled");
	add_case(came_from_elsewhere, NULL, "C11", "control: a driver that comes from elsewhere announces itself");
	for (unsigned i = 0; i < ARRAY_SIZE(heads); i++)
		add_case(broken_ctrl, &heads[i], "C8", "control: head %u: BROKEN", heads[i]);
}
