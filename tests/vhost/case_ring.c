/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a hostile driver writes into split rings (VIRTIO 1.2, 2.7). A fault of one chain:
 * DROP1. A fault of the ring: BROKEN, and it can be set up again.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/atomics.h"
#include "tests/vhost/rig.h"

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define MIB (1ull << 20)

/* A guest for a case: rings running, and what the case writes lies at free_at. */
#define DATA(g)  ((g)->free_at)
#define TABLE(g) ((g)->free_at + 0x10000)

/* ---- DROP1 ---- */

struct chain_case {
	const char *id, *what;
	unsigned ring;
	/* Writes a chain; its head. */
	uint16_t (*make)(struct guest *g, struct ring *r);
	const char *fault;              /* counter; NULL: any, or delivered whole */
	uint64_t features;
	uint64_t more_ram;
};

/* Marks what must not be written; and is it as it was? */
static void mark(struct guest *g)
{
	memset(guest_at(g, DATA(g)), 0xa5, 0x10000);
}

static bool unmarked(struct guest *g)
{
	const uint8_t *p = guest_at(g, DATA(g));

	for (unsigned i = 0; i < 0x10000; i++)
		if (p[i] != 0xa5)
			return true;
	return false;
}

static void drop1(const void *arg)
{
	const struct chain_case *c = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .features = c->features,
							  .more_ram = c->more_ram });
	struct ring *r = &g->ring[c->ring];
	uint64_t before = c->fault ? counter(&the_daemon, c->fault) : 0;
	uint32_t head, len;
	uint16_t bad;

	mark(g);
	bad = c->make(g, r);
	ring_offer(r, bad);
	ring_kick(r);
	CHECK(ring_wait(r, &head, &len, SOON_MS), "the chain does not come back");
	CHECK(head == bad && !r->twice, "head %u comes back instead of %u", head, bad);
	if (c->fault) {
		CHECK(!len, "it comes back with length %u", len);
		CHECK(counter_reaches(&the_daemon, c->fault, before + 1), "%s does not count it",
		      c->fault);
		CHECK(!unmarked(g), "guest memory was written");
	}
	CHECK(!daemon_number(&the_daemon, "guest.broken"), "the queue has stopped");
	if (!c->fault)
		return;
	check_loop(g, 8);
	CHECK(!ring_used(r, &head, &len) || c->ring == RX, "a head comes back twice");
	CHECK(counter(&the_daemon, c->fault) == before + 1, "%s counts it more than once", c->fault);
}

static uint16_t one(struct guest *g, struct ring *r, uint64_t addr, uint32_t len, unsigned flags,
		    uint16_t next)
{
	uint16_t id = ring_take(r);

	ring_desc(r, id, addr, len, flags | (r->index == RX ? WRITE : 0), next);
	return id;
}

static uint16_t next_is_size(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), 100, NEXT, 256);
}

static uint16_t next_is_max(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), 100, NEXT, 65535);
}

static uint16_t self_loop(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), 100, NEXT, r->free[r->n_free - 1]);
}

static uint16_t empty_loop(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), 0, NEXT, r->free[r->n_free - 1]);
}

static uint16_t two_cycle(struct guest *g, struct ring *r)
{
	uint16_t a = ring_take(r), b = one(g, r, DATA(g), 50, NEXT, a);

	ring_desc(r, a, DATA(g), 50, NEXT | (r->index == RX ? WRITE : 0), b);
	return a;
}

/* All descriptors, the last of which goes on with the second. */
static uint16_t longer_than_queue(struct guest *g, struct ring *r)
{
	for (unsigned i = 0; i < 256; i++)
		ring_desc(r, (uint16_t)i, DATA(g) + i, 1, NEXT | (r->index == RX ? WRITE : 0),
			  (uint16_t)(i == 255 ? 1 : i + 1));
	ring_take(r);
	return 0;
}

static uint16_t only_empty(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), 0, 0, 0);
}

static uint16_t empty_at_max(struct guest *g, struct ring *r)
{
	return one(g, r, UINT64_MAX, 0, 0, 0);
}

static uint16_t len_max(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), UINT32_MAX, 0, 0);
}

/* Sums beyond 2^32: needs 2 GiB of (sparse) memory. */
static uint16_t sum_wraps(struct guest *g, struct ring *r)
{
	uint16_t c = one(g, r, g->free_at, 0x80000000u, 0, 0);
	uint16_t b = one(g, r, g->free_at, 0x80000000u, NEXT, c);

	return one(g, r, DATA(g), 100, NEXT, b);
}

static uint16_t addr_wraps(struct guest *g, struct ring *r)
{
	return one(g, r, -8ull, 100, 0, 0);
}

static uint16_t addr_at_max(struct guest *g, struct ring *r)
{
	return one(g, r, UINT64_MAX, 100, 0, 0);
}

static uint16_t addr_zero(struct guest *g, struct ring *r)
{
	return one(g, r, 0, 100, 0, 0);
}

static uint16_t addr_below(struct guest *g, struct ring *r)
{
	return one(g, r, GUEST_GPA - 50, 100, 0, 0);
}

static uint16_t addr_behind(struct guest *g, struct ring *r)
{
	return one(g, r, GUEST_GPA + g->bytes, 100, 0, 0);
}

static uint16_t addr_over_end(struct guest *g, struct ring *r)
{
	return one(g, r, GUEST_GPA + g->bytes - 99, 100, 0, 0);
}

static uint16_t addr_user(struct guest *g, struct ring *r)
{
	return one(g, r, user_of(g, DATA(g)), 100, 0, 0);
}

static uint16_t second_unmapped(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), 40, NEXT, one(g, r, 1ull << 40, 100, 0, 0));
}

/* ---- indirect ---- */

static uint16_t table(struct guest *g, struct ring *r, unsigned n, uint32_t bytes)
{
	struct vring_desc *t = guest_at(g, TABLE(g));
	uint16_t id = ring_take(r);

	for (unsigned i = 0; i < n; i++)
		t[i] = (struct vring_desc){ .addr = DATA(g) + 64 * i, .len = 64,
			.flags = (uint16_t)((i + 1 < n ? NEXT : 0) | (r->index == RX ? WRITE : 0)),
			.next = (uint16_t)(i + 1 < n ? i + 1 : 0) };
	ring_desc(r, id, TABLE(g), bytes, INDIRECT, 0);
	return id;
}

static struct vring_desc *in_table(struct guest *g, unsigned i)
{
	return (struct vring_desc *)guest_at(g, TABLE(g)) + i;
}

static uint16_t indirect(struct guest *g, struct ring *r) { return table(g, r, 2, 32); }
static uint16_t indirect_8(struct guest *g, struct ring *r) { return table(g, r, 2, 8); }
static uint16_t indirect_17(struct guest *g, struct ring *r) { return table(g, r, 2, 17); }
static uint16_t indirect_0(struct guest *g, struct ring *r) { return table(g, r, 2, 0); }
static uint16_t indirect_257(struct guest *g, struct ring *r) { return table(g, r, 2, 16 * 257); }
static uint16_t indirect_64k(struct guest *g, struct ring *r) { return table(g, r, 2, 16 * 65537); }
static uint16_t indirect_max(struct guest *g, struct ring *r) { return table(g, r, 2, UINT32_MAX & ~15u); }

static uint16_t indirect_nested(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	in_table(g, 1)->flags |= INDIRECT;
	return id;
}

static uint16_t indirect_self(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 1, 16);

	*in_table(g, 0) = (struct vring_desc){ .addr = TABLE(g), .len = 16, .flags = INDIRECT };
	return id;
}

static uint16_t indirect_and_next(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	r->desc[id].next = one(g, r, DATA(g), 64, 0, 0);
	r->desc[id].flags |= NEXT;
	return id;
}

static uint16_t indirect_next_range(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	in_table(g, 0)->next = 2;
	return id;
}

static uint16_t indirect_next_max(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	in_table(g, 0)->next = 65535;
	return id;
}

static uint16_t indirect_loop(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	in_table(g, 1)->flags |= NEXT;
	in_table(g, 1)->next = 0;
	return id;
}

static uint16_t indirect_self_loop(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	in_table(g, 0)->next = 0;
	return id;
}

static uint16_t indirect_unmapped(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	r->desc[id].addr = 1ull << 40;
	return id;
}

static uint16_t indirect_over_end(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	r->desc[id].addr = GUEST_GPA + g->bytes - 16;
	return id;
}

static uint16_t indirect_wraps(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	r->desc[id].addr = -16ull;
	return id;
}

static uint16_t indirect_odd(struct guest *g, struct ring *r)
{
	uint16_t id = table(g, r, 2, 32);

	memmove((char *)in_table(g, 0) + 3, in_table(g, 0), 32);
	r->desc[id].addr += 3;
	return id;
}

/* ---- direction ---- */

static uint16_t tx_writable(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), 100, WRITE, 0);
}

static uint16_t tx_writable_first(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), 40, WRITE | NEXT, one(g, r, DATA(g) + 100, 60, 0, 0));
}

static uint16_t tx_writable_last(struct guest *g, struct ring *r)
{
	return one(g, r, DATA(g), 40, NEXT, one(g, r, DATA(g) + 100, 60, WRITE, 0));
}

static uint16_t rx_readable(struct guest *g, struct ring *r)
{
	uint16_t id = one(g, r, DATA(g), 2000, 0, 0);

	r->desc[id].flags = 0;
	return id;
}

static uint16_t rx_readable_first(struct guest *g, struct ring *r)
{
	uint16_t id = one(g, r, DATA(g), 1000, NEXT, one(g, r, DATA(g) + 2000, 1000, 0, 0));

	r->desc[id].flags = NEXT;
	return id;
}

static uint16_t rx_readable_last(struct guest *g, struct ring *r)
{
	uint16_t last = one(g, r, DATA(g) + 2000, 1000, 0, 0);

	r->desc[last].flags = 0;
	return one(g, r, DATA(g), 1000, NEXT, last);
}

static uint16_t rx_1(struct guest *g, struct ring *r) { return one(g, r, DATA(g), 1, 0, 0); }
static uint16_t rx_11(struct guest *g, struct ring *r) { return one(g, r, DATA(g), 11, 0, 0); }

static const struct chain_case chains[] = {
	{ "G3", "next is the queue's size", TX, next_is_size, "fault_next_range", 0, 0 },
	{ "G3", "next is the queue's size", RX, next_is_size, "fault_next_range", 0, 0 },
	{ "G3", "next is 65535", TX, next_is_max, "fault_next_range", 0, 0 },
	{ "G3", "next is 65535", RX, next_is_max, "fault_next_range", 0, 0 },
	{ "G6", "descriptor that follows itself", TX, self_loop, "fault_chain_loop", 0, 0 },
	{ "G6", "descriptor that follows itself", RX, self_loop, "fault_chain_loop", 0, 0 },
	{ "G6", "two descriptors in a circle", TX, two_cycle, "fault_chain_loop", 0, 0 },
	{ "G6", "two descriptors in a circle", RX, two_cycle, "fault_chain_loop", 0, 0 },
	{ "G6", "empty descriptor that follows itself", TX, empty_loop, "fault_chain_loop", 0, 0 },
	{ "G6", "empty descriptor that follows itself", RX, empty_loop, "fault_chain_loop", 0, 0 },
	{ "G8", "chain longer than the queue", TX, longer_than_queue, "fault_chain_loop", 0, 0 },
	{ "G8", "chain longer than the queue", RX, longer_than_queue, "fault_chain_loop", 0, 0 },
	{ "G9", "one empty descriptor", TX, only_empty, "fault_chain_empty", 0, 0 },
	{ "G9", "one empty descriptor", RX, only_empty, "fault_chain_empty", 0, 0 },
	{ "G9", "one empty descriptor at 2^64-1", TX, empty_at_max, "fault_chain_empty", 0, 0 },
	{ "G9", "one empty descriptor at 2^64-1", RX, empty_at_max, "fault_chain_empty", 0, 0 },
	{ "G10", "length 2^32-1", TX, len_max, "fault_addr_unmapped", 0, 0 },
	{ "G10", "length 2^32-1", RX, len_max, "fault_addr_unmapped", 0, 0 },
	{ "G10", "lengths sum up to more than 2^32", TX, sum_wraps, "fault_chain_bytes", 0, 2200 * MIB },
	{ "G10", "lengths sum up to more than 2^32", RX, sum_wraps, "fault_chain_bytes", 0, 2200 * MIB },
	{ "G11", "address and length wrap", TX, addr_wraps, "fault_addr_wrap", 0, 0 },
	{ "G11", "address and length wrap", RX, addr_wraps, "fault_addr_wrap", 0, 0 },
	{ "G11", "address 2^64-1", TX, addr_at_max, "fault_addr_wrap", 0, 0 },
	{ "G12", "address 0, which is no memory", TX, addr_zero, "fault_addr_unmapped", 0, 0 },
	{ "G12", "address 0, which is no memory", RX, addr_zero, "fault_addr_unmapped", 0, 0 },
	{ "G12", "begins before a region", TX, addr_below, "fault_addr_unmapped", 0, 0 },
	{ "G12", "begins before a region", RX, addr_below, "fault_addr_unmapped", 0, 0 },
	{ "G12", "begins behind the last region", TX, addr_behind, "fault_addr_unmapped", 0, 0 },
	{ "G12", "begins behind the last region", RX, addr_behind, "fault_addr_unmapped", 0, 0 },
	{ "G12", "ends a byte behind a region", TX, addr_over_end, "fault_addr_unmapped", 0, 0 },
	{ "G12", "ends a byte behind a region", RX, addr_over_end, "fault_addr_unmapped", 0, 0 },
	{ "G12", "the front end's user address", TX, addr_user, "fault_addr_unmapped", 0, 0 },
	{ "G12", "second descriptor is no memory", TX, second_unmapped, "fault_addr_unmapped", 0, 0 },
	{ "G12", "second descriptor is no memory", RX, second_unmapped, "fault_addr_unmapped", 0, 0 },
	{ "G18", "indirect, not negotiated", TX, indirect, "fault_indirect_off", 0, 0 },
	{ "G18", "indirect, not negotiated", RX, indirect, "fault_indirect_off", 0, 0 },
#define IND BIT(VIRTIO_RING_F_INDIRECT_DESC), 0
	{ "G19", "indirect table of 8 bytes", TX, indirect_8, "fault_indirect_size", IND },
	{ "G19", "indirect table of 17 bytes", TX, indirect_17, "fault_indirect_size", IND },
	{ "G19", "indirect table longer than the queue", TX, indirect_257, "fault_indirect_size", IND },
	{ "G19", "indirect table longer than the queue", RX, indirect_257, "fault_indirect_size", IND },
	{ "G19", "indirect table of 65537 descriptors", TX, indirect_64k, "fault_indirect_size", IND },
	{ "G19", "indirect table of 2^32-16 bytes", TX, indirect_max, "fault_indirect_size", IND },
	{ "G20", "indirect table of no byte", TX, indirect_0, "fault_indirect_size", IND },
	{ "G20", "indirect table of no byte", RX, indirect_0, "fault_indirect_size", IND },
	{ "G21", "indirect inside an indirect table", TX, indirect_nested, "fault_indirect_nested", IND },
	{ "G21", "indirect inside an indirect table", RX, indirect_nested, "fault_indirect_nested", IND },
	{ "G21", "indirect table that names itself", TX, indirect_self, "fault_indirect_nested", IND },
	{ "G22", "indirect and next", TX, indirect_and_next, "fault_indirect_next", IND },
	{ "G22", "indirect and next", RX, indirect_and_next, "fault_indirect_next", IND },
	{ "G25", "next just behind the indirect table", TX, indirect_next_range, "fault_indirect_range", IND },
	{ "G25", "next just behind the indirect table", RX, indirect_next_range, "fault_indirect_range", IND },
	{ "G25", "next 65535 in an indirect table", TX, indirect_next_max, "fault_indirect_range", IND },
	{ "G25", "a circle in an indirect table", TX, indirect_loop, "fault_chain_loop", IND },
	{ "G25", "a circle in an indirect table", RX, indirect_loop, "fault_chain_loop", IND },
	{ "G25", "indirect descriptor that follows itself", TX, indirect_self_loop, "fault_chain_loop", IND },
	{ "G24", "indirect table that is no memory", TX, indirect_unmapped, "fault_indirect_unmapped", IND },
	{ "G24", "indirect table that ends behind memory", TX, indirect_over_end, "fault_indirect_unmapped", IND },
	{ "G24", "indirect table whose end wraps", TX, indirect_wraps, "fault_indirect_unmapped", IND },
	{ "G24", "indirect table at an odd address", TX, indirect_odd, NULL, IND },
	{ "G26", "writable packet", TX, tx_writable, "fault_writable", 0, 0 },
	{ "G26", "writable before readable", TX, tx_writable_first, "fault_writable", 0, 0 },
	{ "G26", "writable behind readable", TX, tx_writable_last, "fault_writable", 0, 0 },
	{ "G26", "readable buffer", RX, rx_readable, "fault_readable", 0, 0 },
	{ "G26", "readable before writable", RX, rx_readable_first, "fault_readable", 0, 0 },
	{ "G26", "readable behind writable", RX, rx_readable_last, "fault_readable", 0, 0 },
	{ "H11", "buffer of 1 byte", RX, rx_1, "fault_rx_header", 0, 0 },
	{ "H11", "buffer of 11 bytes", RX, rx_11, "fault_rx_header", 0, 0 },
};

/* With a header that asks for nothing, so that the length is what is wrong. */
static void too_long(const void *arg)
{
	const uint32_t *bytes = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .more_ram = MIB });
	struct ring *r = &g->ring[TX];
	uint64_t before = counter(&the_daemon, "tx_drop_too_long");
	uint32_t head, len;

	memset(guest_at(g, DATA(g)), 0, HDR);
	ring_offer(r, one(g, r, DATA(g), HDR + *bytes, 0, 0));
	ring_kick(r);
	CHECK(ring_wait(r, &head, &len, SOON_MS) && !len, "the chain does not come back");
	CHECK(counter_reaches(&the_daemon, "tx_drop_too_long", before + 1), "not counted");
	check_loop(g, 8);
}

/* ---- BROKEN ---- */

struct broken_case {
	const char *id, *what;
	uint16_t head, jump;            /* jump: idx moves by this; 0: head is offered */
	const char *fault;
};

static const struct broken_case broken_rings[] = {
	{ "G1", "available index jumps by the size and one", 0, 257, "fault_avail_jump" },
	{ "G1", "available index jumps by 32768", 0, 32768, "fault_avail_jump" },
	{ "G1", "available index jumps by 65535", 0, 65535, "fault_avail_jump" },
	{ "G2", "head is the queue's size", 256, 0, "fault_head_range" },
	{ "G2", "head is the queue's size and one", 257, 0, "fault_head_range" },
	{ "G2", "head is 65535", 65535, 0, "fault_head_range" },
};

struct broken_arg { const struct broken_case *c; unsigned ring; };

static void break_ring(struct guest *g, const struct broken_case *c, unsigned ring)
{
	struct ring *r = &g->ring[ring];

	if (c->jump)
		xn_store_release16(&r->avail[1], (uint16_t)(r->avail_next + c->jump));
	else
		ring_offer(r, c->head);
	ring_kick(r);
}

static void check_broken(struct guest *g, const struct broken_case *c, unsigned ring, uint64_t before)
{
	struct wait w = { 0 };
	uint64_t told = 0, status;

	while (waiting(&w, SOON_MS) && !(told = event_taken(g->ring[ring].err)))
		nap_ms(1);
	CHECK(told, "the error eventfd is not signalled");
	CHECK(told == 1, "the error eventfd is signalled %llu times", (unsigned long long)told);
	CHECK(counter(&the_daemon, c->fault) == before + 1, "%s does not count it once", c->fault);
	CHECK(daemon_number(&the_daemon, "guest.broken") == 1, "guest.broken is not 1");
	if (g->front.protocol_acked & BIT(XN_VU_P_STATUS)) {
		CHECK(!front_get_u64(&g->front, XN_VU_GET_STATUS, &status), "%s", g->front.error);
		CHECK(status & XN_VU_STATUS_NEEDS_RESET, "status %#llx has no NEEDS_RESET",
		      (unsigned long long)status);
	}
}

static void broken(const void *arg)
{
	const struct broken_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t before = counter(&the_daemon, a->c->fault);
	struct footprint f0, f1;
	uint64_t from;

	check_loop(g, 8);
	break_ring(g, a->c, a->ring);
	check_broken(g, a->c, a->ring, before);
	/* It stays so without work. */
	from = now_ms();
	daemon_footprint(&the_daemon, &f0);
	for (unsigned i = 0; i < 50; i++) {
		ring_kick(&g->ring[a->ring]);
		nap_ms(2);
	}
	daemon_footprint(&the_daemon, &f1);
	CHECK((f1.cpu_ms - f0.cpu_ms) * 10 < (now_ms() - from) * 6,
	      "a broken queue costs %llu ms of processor in %llu ms",
	      (unsigned long long)(f1.cpu_ms - f0.cpu_ms), (unsigned long long)(now_ms() - from));
	CHECK(!event_taken(g->ring[a->ring].err), "the error eventfd is signalled again");
	CHECK(!guest_restart_rings(g), "cannot be set up again: %s", g->front.error);
	check_loop(g, 16);
	CHECK(!daemon_number(&the_daemon, "guest.broken"), "guest.broken stays");
}

static void broken_reset_device(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t before = counter(&the_daemon, "fault_avail_jump"), status;

	if (!(g->front.protocol_acked & BIT(XN_VU_P_RESET_DEVICE)))
		skip("RESET_DEVICE is not offered");
	check_loop(g, 8);
	break_ring(g, &broken_rings[0], TX);
	check_broken(g, &broken_rings[0], TX, before);
	check_accepted(ask(g, XN_VU_RESET_DEVICE, NULL, 0, NULL, 0));
	CHECK(!front_get_u64(&g->front, XN_VU_GET_STATUS, &status) &&
	      !(status & XN_VU_STATUS_NEEDS_RESET), "NEEDS_RESET stays behind RESET_DEVICE");
	CHECK(!front_set_u64(&g->front, XN_VU_SET_FEATURES, g->front.acked) && !guest_set_mem(g) &&
	      !guest_restart_rings(g), "cannot be set up again: %s", g->front.error);
	check_loop(g, 16);
}

/* With two pairs: the other one does not notice. */
static void broken_spares_the_other(const void *arg)
{
	struct guest *g;

	g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	if (daemon_number(&the_daemon, "guest.pairs") < 2)
		skip("the daemon has one pair");
	guest_close(g);
	g = guest_open(&(struct guest_cfg){ .pairs = 2, .features = BIT(VIRTIO_NET_F_MQ) });
	check_loop(g, 8);
	break_ring(g, &broken_rings[0], 2);
	break_ring(g, &broken_rings[3], 3);
	check_loop(g, 64);
}

/* ---- single rules ---- */

static void busy_head(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct ring *r = &g->ring[RX];
	uint64_t before = counter(&the_daemon, "fault_head_busy");
	const struct seg s = { g->rx_at, BUF_BYTES };
	uint16_t head = ring_post(r, &s, 1, WRITE);

	ring_offer(r, head);
	ring_kick(r);
	CHECK(counter_reaches(&the_daemon, "fault_head_busy", before + 1), "head_busy does not count it");
	r->out[head] = 1;
	r->pending--;
	check_loop(g, 8);
	CHECK(!r->twice, "the head came back twice");
}

/* Index 0 is offered again and again while a packet with it is under way. */
static void same_tx_head(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct ring *r = &g->ring[TX];
	uint16_t id = ring_take(r);
	uint32_t head, len;
	unsigned n = 0;

	memset(guest_at(g, DATA(g)), 0, HDR);
	frame_write(guest_at(g, DATA(g) + HDR), 60, 0);
	ring_desc(r, id, DATA(g), HDR + 60, 0, 0);
	for (unsigned i = 0; i < 200; i++)
		ring_offer(r, id);
	ring_kick(r);
	while (ring_wait(r, &head, &len, n ? 20 : SOON_MS))
		n++;
	CHECK(n && n <= 200, "%u used entries for one head, 200 times available", n);
	check_in_step(g);
}

struct rx_arg { unsigned n; uint32_t bytes; uint64_t features; };

/* Receive buffers too small for a frame: counted, no spin, and then all is well. */
static void small_rx(const void *arg)
{
	const struct rx_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .features = a->features });

	for (unsigned i = 0; i < a->n; i++) {
		const struct seg s = { DATA(g) + 256 * i, a->bytes };

		ring_post(&g->ring[RX], &s, 1, WRITE);
	}
	ring_kick(&g->ring[RX]);
	for (unsigned i = 0; i < 50; i++) {
		const struct seg s = { g->tx_at + BUF_BYTES * i, HDR + 1514 };

		memset(guest_at(g, s.at), 0, HDR);
		frame_write(guest_at(g, s.at + HDR), 1514, i);
		ring_post(&g->ring[TX], &s, 1, 0);
	}
	ring_kick(&g->ring[TX]);
	nap_ms(20);
	CHECK(daemon_quiet(&the_daemon, 100, 100), "more than 10 ms of processor in 100 ms");
	CHECK(!guest_restart_rings(g), "%s", g->front.error);
	check_loop(g, 8);
}

/* A frame over several buffers, one of which is no memory. */
static void merge_with_unmapped(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .features = BIT(VIRTIO_NET_F_MRG_RXBUF) });
	uint64_t faults = counter(&the_daemon, "fault_addr_unmapped");
	struct ring *r = &g->ring[RX];
	const struct seg bufs[] = {
		{ DATA(g), 600 }, { 1ull << 40, 600 }, { DATA(g) + 4096, 600 }, { DATA(g) + 8192, 600 },
	}, s = { g->tx_at, HDR + 1514 };
	uint32_t head, len;
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(bufs); i++)
		ring_post(r, &bufs[i], 1, WRITE);
	ring_kick(r);
	CHECK(counter_reaches(&the_daemon, "fault_addr_unmapped", faults + 1), "the fault is not counted");
	memset(guest_at(g, s.at), 0, HDR);
	frame_write(guest_at(g, s.at + HDR), 1514, 0);
	ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	while (n < 4 && ring_wait(r, &head, &len, SOON_MS))
		n++;
	CHECK(n == 4 && !r->twice, "%u of 4 heads came back", n);
	check_in_step(g);
}

/* Nothing posted: what is sent is dropped, and counted. */
static void no_rx_buffers(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t drops[] = { counter(&the_daemon, "rx_drop_no_buffer"),
			     counter(&the_daemon, "rx_drop_error") };
	uint32_t head, len;

	for (unsigned i = 0; i < 100; i++) {
		const struct seg s = { g->tx_at + BUF_BYTES * i, HDR + 60 };

		memset(guest_at(g, s.at), 0, HDR);
		frame_write(guest_at(g, s.at + HDR), 60, i);
		ring_post(&g->ring[TX], &s, 1, 0);
	}
	ring_kick(&g->ring[TX]);
	for (unsigned i = 0; i < 100; i++)
		CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS), "%u of 100 packets came back", i);
	CHECK(counter(&the_daemon, "rx_drop_no_buffer") + counter(&the_daemon, "rx_drop_error") ==
	      drops[0] + drops[1] + 100, "drops are not all counted");
	check_loop(g, 8);
}

/* ---- regions ---- */

/* Three regions: two neighbours, one behind a hole; in the file in reverse order. */
static struct guest *patchwork(void)
{
	struct guest_cfg cfg = { .n_regions = 3, .more_ram = 2 * MIB, .regions = {
		{ .gpa = GUEST_GPA, .size = 2 * MIB, .user_addr = GUEST_USER, .offset = 2 * MIB },
		{ .gpa = GUEST_GPA + 2 * MIB, .size = MIB, .user_addr = GUEST_USER + 16 * MIB,
		  .offset = MIB },
		{ .gpa = GUEST_GPA + 4 * MIB, .size = MIB, .user_addr = GUEST_USER + 8 * MIB },
	} };

	return guest_open(&cfg);
}

struct edge_arg { const char *what; uint64_t at; bool whole; };

/* A packet across this address: sent whole (or dropped) where there is memory on both
 * sides, dropped where there is not. */
static void packet_over_edge(const void *arg)
{
	const struct edge_arg *a = arg;
	struct guest *g = patchwork();
	uint32_t head, len, bytes = 400;
	uint64_t lost = counter(&the_daemon, "heads_dropped") + counter(&the_daemon, "fault_addr_unmapped");
	const struct seg s = { a->at - 100, HDR + bytes }, in = { g->rx_at, BUF_BYTES };
	uint8_t frame[HDR + 400];
	struct wait w = { 0 };
	bool came;

	memset(frame, 0, HDR);
	frame_write(frame + HDR, bytes, 5);
	memcpy(guest_at(g, s.at), frame, 100);
	if (a->whole)
		memcpy(guest_at(g, a->at), frame + 100, HDR + bytes - 100);
	ring_post(&g->ring[RX], &in, 1, WRITE);
	ring_kick(&g->ring[RX]);
	nap_ms(2);
	ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS) && !len, "the head does not come back");
	while (!(came = ring_wait(&g->ring[RX], &head, &len, 20)) && waiting(&w, SOON_MS) &&
	       counter(&the_daemon, "heads_dropped") + counter(&the_daemon, "fault_addr_unmapped") <= lost)
		;
	if (came) {
		CHECK(a->whole, "sent, although a part of it is no memory");
		CHECK(len == HDR + bytes && frame_good((uint8_t *)guest_at(g, in.at) + HDR, bytes, 5),
		      "it arrives changed");
	} else {
		CHECK(counter(&the_daemon, "heads_dropped") +
		      counter(&the_daemon, "fault_addr_unmapped") > lost, "neither sent nor counted");
	}
	check_in_step(g);
}

/* The same for a receive buffer. */
static void buffer_over_edge(const void *arg)
{
	const struct edge_arg *a = arg;
	struct guest *g = patchwork();
	const struct seg in = { a->at - 100, BUF_BYTES }, s = { g->tx_at, HDR + 1000 };
	uint64_t faults = counter(&the_daemon, "fault_addr_unmapped");
	uint8_t got[HDR + 1000];
	uint32_t head, len;

	ring_post(&g->ring[RX], &in, 1, WRITE);
	ring_kick(&g->ring[RX]);
	memset(guest_at(g, s.at), 0, HDR);
	frame_write(guest_at(g, s.at + HDR), 1000, 9);
	nap_ms(2);
	ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	CHECK(ring_wait(&g->ring[RX], &head, &len, SOON_MS), "the buffer does not come back");
	if (!a->whole) {
		CHECK(!len && counter(&the_daemon, "fault_addr_unmapped") == faults + 1,
		      "used, although a part of it is no memory");
		return;
	}
	if (!len)
		return;         /* refused: allowed */
	memcpy(got, guest_at(g, in.at), 100);
	memcpy(got + 100, guest_at(g, a->at), sizeof(got) - 100);
	CHECK(len == sizeof(got) && frame_good(got + HDR, 1000, 9), "the frame arrives changed");
}

static void table_over_edge(const void *arg)
{
	const struct edge_arg *a = arg;
	struct guest_cfg cfg = { 0 };
	struct guest *g = patchwork();
	struct vring_desc *low, *high;
	uint32_t head, len;
	uint16_t id;

	/* Again, with indirect descriptors. */
	cfg = g->cfg;
	cfg.features = BIT(VIRTIO_RING_F_INDIRECT_DESC);
	guest_hang_up(g);
	g = guest_open(&cfg);
	low = guest_at(g, a->at - 16);
	*low = (struct vring_desc){ .addr = DATA(g), .len = HDR, .flags = NEXT, .next = 1 };
	if (a->whole) {
		high = guest_at(g, a->at);
		*high = (struct vring_desc){ .addr = DATA(g) + 100, .len = 60 };
	}
	memset(guest_at(g, DATA(g)), 0, 200);
	id = ring_take(&g->ring[TX]);
	ring_desc(&g->ring[TX], id, a->at - 16, 32, INDIRECT, 0);
	ring_offer(&g->ring[TX], id);
	ring_kick(&g->ring[TX]);
	CHECK(ring_wait(&g->ring[TX], &head, &len, SOON_MS) && head == id && !len,
	      "the head does not come back");
	check_loop(g, 8);
}

void add_ring_cases(void)
{
	static struct broken_arg args[2 * ARRAY_SIZE(broken_rings)];
	static const struct edge_arg edges[] = {
		{ "neighbouring regions", GUEST_GPA + 2 * MIB, true },
		{ "a region's end, before a hole", GUEST_GPA + 3 * MIB, false },
		{ "the last region's end", GUEST_GPA + 5 * MIB, false },
	};
	static const uint32_t lengths[] = { 65535, 65536, 65537, 1u << 20 };
	static const struct rx_arg rx[] = {
		{ 100, 12, 0 }, { 100, 13, 0 }, { 100, 100, 0 },
		{ 100, 12, BIT(VIRTIO_NET_F_MRG_RXBUF) }, { 100, 13, BIT(VIRTIO_NET_F_MRG_RXBUF) },
		{ 2, 200, BIT(VIRTIO_NET_F_MRG_RXBUF) },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(chains); i++)
		add_case(drop1, &chains[i], chains[i].id, "%s chain, %s: DROP1",
			 chains[i].ring == TX ? "tx" : "rx", chains[i].what);
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++)
		add_case(too_long, &lengths[i], "G10", "tx chain, header and %u bytes: DROP1", lengths[i]);
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(broken_rings); i++) {
		args[i] = (struct broken_arg){ &broken_rings[i / 2], i & 1 };
		add_case(broken, &args[i], args[i].c->id, "%s ring, %s: BROKEN", i & 1 ? "tx" : "rx",
			 args[i].c->what);
	}
	add_case(broken_reset_device, NULL, "G1", "a broken queue is mended by RESET_DEVICE");
	add_case(broken_spares_the_other, NULL, "G1", "a broken pair does not disturb another");
	add_case(busy_head, NULL, "G4", "receive head available twice: used once");
	add_case(same_tx_head, NULL, "G4", "transmit head available 200 times");
	for (unsigned i = 0; i < ARRAY_SIZE(rx); i++)
		add_case(small_rx, &rx[i], "G27", "%u receive buffers of %u bytes%s", rx[i].n, rx[i].bytes,
			 rx[i].features ? ", merged" : "");
	add_case(merge_with_unmapped, NULL, "G17", "merged receive, second buffer is no memory");
	add_case(no_rx_buffers, NULL, "G28", "no receive buffers: dropped and counted");
	for (unsigned i = 0; i < ARRAY_SIZE(edges); i++) {
		add_case(packet_over_edge, &edges[i], "G14", "packet over %s", edges[i].what);
		add_case(buffer_over_edge, &edges[i], "G16", "receive buffer over %s", edges[i].what);
		add_case(table_over_edge, &edges[i], "G15", "indirect table over %s", edges[i].what);
	}
}
