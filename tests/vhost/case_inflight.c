/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which heads are out, in memory that outlives the daemon (vhost-user, "Inflight I/O
 * tracking"): its messages, a region full of lies, and what it is for.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/vhost/rig.h"

/* As the specification has it, for a split ring. */
struct desc_state { uint8_t inflight, padding[5]; uint16_t next; uint64_t counter; };
struct queue_region {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct desc_state desc[];
};

static void need_inflight(const struct guest *g)
{
	if (!(g->front.protocol_acked & BIT(XN_VU_P_INFLIGHT_SHMFD)))
		skip("INFLIGHT_SHMFD is not offered");
}

struct get_arg { uint16_t queues, size; bool good; };

static void get(const void *arg)
{
	const struct get_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	const struct xn_vu_inflight want = { .num_queues = a->queues, .queue_size = a->size };
	struct xn_vu_inflight got = { 0 };
	size_t bytes;
	int fd, rc;

	need_inflight(g);
	rc = front_get(&g->front, XN_VU_GET_INFLIGHT_FD, &want, sizeof(want), &got, sizeof(got), &bytes,
		       &fd);
	if (fd >= 0)
		own_fd(fd);
	if (!a->good) {
		CHECK(rc == -ECONNRESET || (!rc && !got.mmap_size && fd < 0), "should be refused");
		return;
	}
	CHECK(!rc && fd >= 0, "refused: %s", g->front.error);
	CHECK(got.mmap_size >= (uint64_t)a->queues * a->size * sizeof(struct desc_state) &&
	      got.mmap_size < 64u << 20, "a region of %llu bytes", (unsigned long long)got.mmap_size);
	check_accepted(ask(g, XN_VU_SET_INFLIGHT_FD, &got, sizeof(got), &fd, 1));
}

static void get_short(const void *arg)
{
	/* Without the padding that a C compiler puts behind the numbers. */
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	const struct xn_vu_inflight want = { .num_queues = 2, .queue_size = 256 };

	need_inflight(g);
	check_accepted(ask(g, XN_VU_GET_INFLIGHT_FD, &want, 20, NULL, 0));
}

static void get_over_and_over(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	const struct xn_vu_inflight want = { .num_queues = 2, .queue_size = 256 };
	unsigned n = rounds(2000);
	struct footprint a = { 0 }, b;

	need_inflight(g);
	for (unsigned i = 0; i < n; i++) {
		if (i == 20)
			daemon_footprint(&the_daemon, &a);
		check_accepted(ask(g, XN_VU_GET_INFLIGHT_FD, &want, sizeof(want), NULL, 0));
	}
	/* It closes its own copy behind its answer: behind the next one it is gone. */
	check_in_step(g);
	CHECK(!daemon_grew(&the_daemon, &a, &b, 512),
	      "%u fds, %u mappings, %llu KiB became %u, %u, %llu", a.fds, a.maps,
	      (unsigned long long)a.rss_kb, b.fds, b.maps, (unsigned long long)b.rss_kb);
}

struct set_arg { const char *what; struct xn_vu_inflight f; unsigned n_fds; };

/* A file of 64 KiB, which is enough for two queues of 256. */
static void refused_set(const void *arg)
{
	const struct set_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	int fd = own_fd(memfd_create("inflight", MFD_CLOEXEC)), fds[2] = { fd, fd };

	need_inflight(g);
	CHECK(!ftruncate(fd, 65536), "ftruncate");
	check_nack(g, ask(g, XN_VU_SET_INFLIGHT_FD, &a->f, sizeof(a->f), fds, a->n_fds));
}

/* The queue grows behind the region's back (CVE-2026-86565). */
static void larger_than_region(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY, .size = 1024 });
	struct xn_vu_inflight want = { .num_queues = 2, .queue_size = 16 }, got;
	size_t bytes;
	int fd, rc;

	need_inflight(g);
	CHECK(!front_get(&g->front, XN_VU_GET_INFLIGHT_FD, &want, sizeof(want), &got, sizeof(got),
			 &bytes, &fd), "%s", g->front.error);
	own_fd(fd);
	got.num_queues = 2;
	got.queue_size = 16;
	check_accepted(ask(g, XN_VU_SET_INFLIGHT_FD, &got, sizeof(got), &fd, 1));
	rc = guest_start_rings(g);
	if (!rc)
		rc = guest_enable(g);
	g->wait_ms = LOST_MS;
	if (!rc)
		guest_loop(g, 64);
	check_in_step(g);
}

static void while_running(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .inflight = true });

	check_loop(g, 8);
	ask(g, XN_VU_SET_INFLIGHT_FD, &g->inflight, sizeof(g->inflight), &g->inflight_fd, 1);
	check_in_step(g);
	g->wait_ms = LOST_MS;
	if (g->front.fd >= 0)
		guest_loop(g, 8);
}

static void tracked(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .inflight = true });
	const struct queue_region *q;
	unsigned out = 0;
	void *map;

	check_loop(g, 300);
	map = mmap(NULL, g->inflight.mmap_size, PROT_READ, MAP_SHARED, g->inflight_fd,
		   (off_t)g->inflight.mmap_offset);
	CHECK(map != MAP_FAILED, "mmap: %s", strerror(errno));
	q = map;
	for (unsigned i = 0; i < 256; i++)
		out += q->desc[i].inflight == 1;
	CHECK(q->version == 1 && q->desc_num == 256, "version %u, %u descriptors", q->version,
	      q->desc_num);
	/* What is posted for receive and not used. */
	nap_ms(5);
	CHECK(out == g->ring[RX].pending, "%u heads are in flight, %u are posted", out,
	      g->ring[RX].pending);
	CHECK(q->used_idx == ring_used_idx(&g->ring[RX]), "used index %u, is %u", q->used_idx,
	      ring_used_idx(&g->ring[RX]));
	munmap(map, g->inflight.mmap_size);
}

/* ---- a region of lies ---- */

enum lie { NOISE, ALL_ONES, VERSION, DESC_NUM, USED_IDX, BATCH_HEAD, NEXT, ALL_INFLIGHT, COUNTERS,
	   TRUNCATED, CHANGING };
static const char *const lies[] = {
	"noise", "all bits set", "version 7", "65535 descriptors", "a used index that is far off",
	"a last batch head that is none", "next that is none", "all heads in flight",
	"counters that are all the same", "truncated", "that changes all the time",
};

static void tell_lies(struct queue_region *q, size_t bytes, enum lie how)
{
	uint8_t *p = (uint8_t *)q;

	switch (how) {
	case NOISE:
	case CHANGING:
		for (size_t i = 0; i < bytes; i++)
			p[i] = (uint8_t)rnd();
		break;
	case ALL_ONES: memset(q, 0xff, bytes); break;
	case VERSION: q->version = 7; break;
	case DESC_NUM: q->desc_num = 65535; break;
	case USED_IDX: q->used_idx = (uint16_t)(q->used_idx + 20000); break;
	case BATCH_HEAD: q->last_batch_head = 60000; q->used_idx--; break;
	case NEXT:
		q->used_idx = (uint16_t)(q->used_idx - 3);
		for (unsigned i = 0; i < 256; i++)
			q->desc[i].next = 0xfff0;
		break;
	case ALL_INFLIGHT:
		for (unsigned i = 0; i < 256; i++)
			q->desc[i].inflight = 1;
		break;
	case COUNTERS:
		for (unsigned i = 0; i < 256; i++)
			q->desc[i] = (struct desc_state){ .inflight = 1, .counter = 5 };
		break;
	case TRUNCATED: break;
	}
}

/* One that is not sealed: a front end may well make it by itself. */
static void own_region(struct guest *g)
{
	close(g->inflight_fd);
	g->inflight_fd = memfd_create("inflight", MFD_CLOEXEC);
	g->inflight.mmap_offset = 0;
	CHECK(g->inflight_fd >= 0 && !ftruncate(g->inflight_fd, (off_t)g->inflight.mmap_size),
	      "memfd: %s", strerror(errno));
}

/* The guest that lies may lose its queue; the daemon and the next guest nothing. */
static void lie(const void *arg)
{
	const enum lie how = *(const enum lie *)arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .inflight = true });
	uint8_t *map;

	check_loop(g, 50);
	guest_hang_up(g);
	map = mmap(NULL, g->inflight.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->inflight_fd,
		   (off_t)g->inflight.mmap_offset);
	CHECK(map != MAP_FAILED, "mmap: %s", strerror(errno));
	nap_ms(20);
	tell_lies((struct queue_region *)map, g->inflight.mmap_size, how);
	if (how == TRUNCATED)
		own_region(g);
	if (!guest_connect_again(g) && !guest_start_rings(g) && !guest_enable(g)) {
		if (how == TRUNCATED && ftruncate(g->inflight_fd, 0))
			fail("ftruncate: %s", strerror(errno));
		for (unsigned i = 0; i < (how == CHANGING ? 20 : 1); i++) {
			if (how == CHANGING)
				tell_lies((struct queue_region *)map, g->inflight.mmap_size, how);
			/* Not guest_loop: heads may come back that are not ours. */
			for (unsigned q = 0; q < 2; q++)
				for (unsigned n = 0; n < 50 && g->ring[q].n_free; n++) {
					const struct seg s = { g->free_at, 1000 };

					ring_post(&g->ring[q], &s, 1, q == RX ? VRING_DESC_F_WRITE : 0);
				}
			ring_kick(&g->ring[RX]);
			ring_kick(&g->ring[TX]);
			nap_ms(5);
		}
	}
	munmap(map, g->inflight.mmap_size);
	CHECK(daemon_number(&the_daemon, "messages"), "no statistics");
}

/* ---- what it is for ---- */

/* Traffic, without waiting for the end of anything. */
static void push(struct guest *g, struct ring *r)
{
	while (r->n_free && r->pending < 128) {
		uint16_t id = r->free[r->n_free - 1];
		const struct seg s = { (r->index == RX ? g->rx_at : g->tx_at) + id * BUF_BYTES,
				       r->index == RX ? BUF_BYTES : HDR + 100 };

		if (r->index == TX) {
			memset(guest_at(g, s.at), 0, HDR);
			frame_write(guest_at(g, s.at + HDR), 100, g->sent++);
		}
		ring_post(r, &s, 1, r->index == RX ? VRING_DESC_F_WRITE : 0);
	}
	ring_kick(r);
}

static unsigned pull(struct guest *g, struct ring *r)
{
	uint32_t head, len;
	unsigned n = 0;

	while (ring_used(r, &head, &len)) {
		CHECK(!r->twice, "head %u of ring %u was used twice", head, r->index);
		n++;
	}
	return n;
}

static void exchange_for(struct guest *g, unsigned us)
{
	uint64_t until = now_ms() * 1000 + us;

	do {
		for (unsigned q = 0; q < 2; q++) {
			push(g, &g->ring[q]);
			pull(g, &g->ring[q]);
		}
	} while (now_ms() * 1000 < until);
}

/*
 * SIGKILL in traffic, a new daemon, the same rings: each head is used once, none is
 * forgotten, and traffic comes back.
 */
static void killed(const void *arg)
{
	const uint64_t *features = arg;
	static struct daemon d;
	unsigned n = rounds(20), worst = 0;
	struct guest *g;

	if (!daemon_start(&d, "killed", "loopback", NULL))
		fail("does not start: %s", d.log);
	at_end(daemon_undo, &d);
	g = guest_open(&(struct guest_cfg){ .daemon = &d, .inflight = true, .features = *features });
	need_inflight(g);
	for (unsigned i = 0; i < n; i++) {
		struct wait w = { 0 };
		uint64_t from;
		unsigned back = 0;

		exchange_for(g, 2000 + rnd_below(20000));
		daemon_end(&d, SIGKILL, SOON_MS);
		guest_hang_up(g);
		CHECK(daemon_start(&d, "killed", "loopback", NULL),
		      "round %u: does not start again: %s", i, d.log);
		from = now_ms();
		CHECK(!guest_connect_again(g) && !guest_start_rings(g) && !guest_enable(g),
		      "round %u: %s", i, g->front.error);
		/* All that was sent before comes back, and new packets with it. */
		for (unsigned q = 0; q < 2; q++)
			push(g, &g->ring[q]);
		while (waiting(&w, SOON_MS) && (g->ring[TX].pending || back < 100)) {
			pull(g, &g->ring[TX]);
			back += pull(g, &g->ring[RX]);
			push(g, &g->ring[RX]);
			if (back < 100)
				push(g, &g->ring[TX]);
		}
		CHECK(!g->ring[TX].pending, "round %u: %u heads never come back", i,
		      g->ring[TX].pending);
		CHECK(back >= 100, "round %u: no traffic after the restart", i);
		if (now_ms() - from > worst)
			worst = (unsigned)(now_ms() - from);
	}
	printf(" (%u rounds, at most %u ms)", n, worst);
}

/* The same with the front end's end, which keeps its region: the daemon lives on. */
static void hung_up(const void *arg)
{
	const uint64_t *features = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .inflight = true, .features = *features });

	need_inflight(g);
	for (unsigned i = 0; i < 10; i++) {
		struct wait w = { 0 };

		exchange_for(g, 5000);
		guest_hang_up(g);
		CHECK(!guest_connect_again(g) && !guest_start_rings(g) && !guest_enable(g), "%s",
		      g->front.error);
		while (waiting(&w, SOON_MS) && g->ring[TX].pending)
			for (unsigned q = 0; q < 2; q++)
				pull(g, &g->ring[q]);
		CHECK(!g->ring[TX].pending, "round %u: %u heads never come back", i,
		      g->ring[TX].pending);
	}
}

void add_inflight_cases(void)
{
	static const struct get_arg gets[] = {
		{ 2, 256, true }, { 2, 1, true }, { 2, 32768, true }, { 0, 256, false },
		{ 129, 256, false }, { 65535, 256, false }, { 2, 0, false },
		{ 2, 65535, false }, { 65535, 65535, false },
	};
	static const struct set_arg sets[] = {
		{ "of no byte", { 0, 0, 2, 256 }, 1 },
		{ "of 16 bytes", { 16, 0, 2, 256 }, 1 },
		{ "shorter than its queues", { 4096, 0, 2, 256 }, 1 },
		{ "longer than its file", { 1 << 20, 0, 2, 256 }, 1 },
		{ "that begins behind its file", { 16384, 1 << 20, 2, 256 }, 1 },
		{ "whose size and offset wrap", { -4096ull, 8192, 2, 256 }, 1 },
		{ "of 2^63 bytes", { 1ull << 63, 0, 2, 256 }, 1 },
		{ "for no queue", { 65536, 0, 0, 256 }, 1 },
		{ "for 129 queues", { 65536, 0, 129, 256 }, 1 },
		{ "for 65535 queues", { 65536, 0, 65535, 256 }, 1 },
		{ "for queues of 0", { 65536, 0, 2, 0 }, 1 },
		{ "for queues of 65535", { 65536, 0, 2, 65535 }, 1 },
		{ "without an fd", { 65536, 0, 2, 256 }, 0 },
		{ "with two fds", { 65536, 0, 2, 256 }, 2 },
	};
	static const uint64_t kinds[] = { 0, BIT(VIRTIO_F_RING_PACKED) };
	static const enum lie how[] = { NOISE, ALL_ONES, VERSION, DESC_NUM, USED_IDX, BATCH_HEAD, NEXT,
					ALL_INFLIGHT, COUNTERS, TRUNCATED, CHANGING };

	for (unsigned i = 0; i < ARRAY_SIZE(gets); i++)
		add_case(get, &gets[i], "V28", "GET_INFLIGHT_FD of %u queues of %u: %s", gets[i].queues,
			 gets[i].size, gets[i].good ? "works" : "NACK");
	add_case(get_short, NULL, "V28", "GET_INFLIGHT_FD of 20 bytes, as specified");
	add_case(get_over_and_over, NULL, "V27", "GET_INFLIGHT_FD over and over: nothing grows");
	for (unsigned i = 0; i < ARRAY_SIZE(sets); i++)
		add_case(refused_set, &sets[i], "V28", "SET_INFLIGHT_FD, a region %s: NACK", sets[i].what);
	add_case(larger_than_region, NULL, "V29", "queues larger than the inflight region");
	add_case(while_running, NULL, "V29", "SET_INFLIGHT_FD while running");
	add_case(tracked, NULL, "V28", "inflight region says what is posted");
	for (unsigned i = 0; i < ARRAY_SIZE(how); i++)
		add_case(lie, &how[i], "V28", "inflight region: %s", lies[how[i]]);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		const char *kind = kinds[i] ? "packed" : "split";

		add_case(hung_up, &kinds[i], "V31", "reconnect ten times in traffic, with inflight region, "
			 "%s rings", kind);
		add_case(killed, &kinds[i], "F1", "SIGKILL in traffic, restart: each head is used once, "
			 "%s rings", kind);
	}
}
