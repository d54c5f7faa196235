/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RSS with real frames: a veth pair of four queues. The far end chooses the queue on which a
 * frame arrives (an AF_XDP socket on its transmit queue of the same number); the near end has
 * a socket for each pair of host and guest queue. Each frame has to come out of the
 * socket that the slow model names, in a buffer of the queue that it came on, once, and whole.
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/cmocka.h"
#include "base/atomics.h"
#include "base/log.h"
#include "tests/fake/rss.h"
#include "tests/kernel/bed.h"

#define ALL_S   900u
#define QUEUES  4u
#define BUFS    32u               /* of a row; the bed's fill ring has twice as many entries */
#define BATCH   16u               /* frames under way on a queue */
#define FRAMES  4000u
#define BYTES   120u
#define SEQ_AT  (BYTES - 8)
#define SWAPS   60u
#define FAR_RAM (1u << 20)

/* The RX ring of a socket that has no other: it shares the fill ring of S(h, h). */
struct rx_socket {
	int fd;
	void *map;
	size_t bytes;
	struct xsk_ring_cons rx;
};

static struct {
	struct bed bed;
	struct xn_xsk own[QUEUES];                    /* the diagonal */
	struct rx_socket other[QUEUES][QUEUES];       /* [host queue][guest queue] */
	struct xn_mem far_mem;
	struct xn_xsk far[QUEUES];
	struct xn_rss_config cfg;
	uint64_t seed, sent;
	/* Of the frame with this number: what it is, and where it came from. */
	struct { uint8_t bytes[BYTES]; uint8_t from, seen; } frames[FRAMES];
} t;

static void must(int err, const char *what)
{
	if (err)
		fail_msg("%s: %s", what, xn_last_error());
}

/* ---- sockets ---- */

static void open_rx(struct rx_socket *s, unsigned queue, int owner)
{
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP, .sxdp_ifindex = t.bed.lab.near_ifindex,
		.sxdp_queue_id = queue, .sxdp_flags = XDP_SHARED_UMEM,
		.sxdp_shared_umem_fd = (uint32_t)owner,
	};
	struct xdp_mmap_offsets off;
	socklen_t len = sizeof(off);
	uint32_t entries = BED_RX;

	s->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(s->fd >= 0);
	assert_int_equal(setsockopt(s->fd, SOL_XDP, XDP_RX_RING, &entries, sizeof(entries)), 0);
	assert_int_equal(getsockopt(s->fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &len), 0);
	s->bytes = off.rx.desc + entries * sizeof(struct xdp_desc);
	s->map = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, s->fd,
		      XDP_PGOFF_RX_RING);
	assert_true(s->map != MAP_FAILED);
	s->rx = (struct xsk_ring_cons){
		.size = entries, .mask = entries - 1, .ring = (char *)s->map + off.rx.desc,
		.producer = (uint32_t *)(void *)((char *)s->map + off.rx.producer),
		.consumer = (uint32_t *)(void *)((char *)s->map + off.rx.consumer),
		.flags = (uint32_t *)(void *)((char *)s->map + off.rx.flags),
	};
	assert_int_equal(bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void open_near(void)
{
	const struct xn_steer_cfg steer = {
		.ifindex = t.bed.lab.near_ifindex, .ifname = XN_LAB_NEAR, .frame_bytes = 2000,
		.rss_pairs = QUEUES,
	};

	must(xn_steer_open(&t.bed.steer, &steer), "xn_steer_open");
	for (unsigned h = 0; h < QUEUES; h++) {
		struct xn_xsk_cfg c = bed_cfg(&t.bed);

		c.queue = h;
		c.share_fd = h ? t.own[0].fd : -1;
		must(xn_xsk_open(&t.own[h], &c), "xn_xsk_open near");
		must(xn_steer_set(t.bed.steer, h, t.own[h].fd), "xn_steer_set");
		for (unsigned g = 0; g < QUEUES; g++) {
			if (g == h)
				continue;
			open_rx(&t.other[h][g], h, t.own[h].fd);
			must(xn_steer_set_at(t.bed.steer, h, g, t.other[h][g].fd),
			     "xn_steer_set_at");
		}
		for (unsigned i = 0; i < BUFS; i++)
			bed_fill(&t.own[h], &(uint64_t){ (h * BUFS + i) * XN_CHUNK_BYTES }, 1);
	}
}

static void open_far(void)
{
	t.far_mem = (struct xn_mem){ .umem_bytes = FAR_RAM, .map_bytes = FAR_RAM, .n_spans = 0 };
	t.far_mem.base = mmap(NULL, FAR_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			      -1, 0);
	assert_true(t.far_mem.base != MAP_FAILED);
	must(xn_lab_enter_far(&t.bed.lab), "enter far");
	for (unsigned q = 0; q < QUEUES; q++) {
		struct xn_xsk_cfg c = bed_cfg(&t.bed);

		c.ifindex = t.bed.lab.far_ifindex;
		c.ifname = XN_LAB_FAR;
		c.mem = &t.far_mem;
		c.queue = q;
		c.share_fd = q ? t.far[0].fd : -1;
		must(xn_xsk_open(&t.far[q], &c), "xn_xsk_open far");
	}
	must(xn_lab_enter_near(&t.bed.lab), "enter near");
}

static int setup(void **state)
{
	memset(&t, 0, sizeof(t));
	for (unsigned i = 0; i < QUEUES; i++) {
		t.own[i].fd = t.far[i].fd = -1;
		for (unsigned g = 0; g < QUEUES; g++)
			t.other[i][g].fd = -1;
	}
	bed_open(&t.bed, QUEUES);
	open_near();
	open_far();
	t.seed = 31;
	return 0;
}

static int teardown(void **state)
{
	for (unsigned h = 0; h < QUEUES; h++) {
		for (unsigned g = 0; g < QUEUES; g++) {
			struct rx_socket *s = &t.other[h][g];

			if (s->map && s->map != MAP_FAILED)
				munmap(s->map, s->bytes);
			if (s->fd >= 0)
				close(s->fd);
		}
		xn_xsk_close(&t.own[h]);
		xn_xsk_close(&t.far[h]);
	}
	if (t.far_mem.base)
		munmap(t.far_mem.base, FAR_RAM);
	bed_close(&t.bed);
	return 0;
}

/* ---- frames ---- */

/* One frame of a random flow on a random queue of the far end. */
static void send_one(unsigned *under_way)
{
	static const uint8_t classes[] = { XN_FLOW_TCPV4, XN_FLOW_UDPV4, XN_FLOW_TCPV6,
					   XN_FLOW_UDPV6, XN_FLOW_IPV4, XN_FLOW_NONE };
	unsigned class = classes[rss_below(&t.seed, sizeof(classes))], from;
	uint64_t n = t.sent++, addr = n % 64 * XN_CHUNK_BYTES, done[64];
	uint8_t *f = t.frames[n].bytes;

	do
		from = rss_below(&t.seed, QUEUES);
	while (under_way[from] == BATCH);
	under_way[from]++;
	rss_plain_frame(f, BYTES, class, rss_below(&t.seed, 3), rss_random(&t.seed));
	memcpy(f + SEQ_AT, &n, sizeof(n));
	t.frames[n].from = (uint8_t)from;
	memcpy(t.far_mem.base + addr, f, BYTES);
	bed_tx(&t.far[from], &(struct xdp_desc){ .addr = addr, .len = BYTES }, 1);
	assert_int_equal(bed_send(&t.far[from], NULL), 0);
	bed_comp(&t.far[from], done, 64, 0);
}

/* A frame came out of S(h, g): checks that it may, and posts the buffer again. */
static void take(const struct xdp_desc *d, unsigned h)
{
	uint64_t base = d->addr & XSK_UNALIGNED_BUF_ADDR_MASK, n;
	const uint8_t *f = t.bed.ram + base + xsk_umem__extract_offset(d->addr);

	assert_int_equal(d->len, BYTES);
	memcpy(&n, f + SEQ_AT, sizeof(n));
	assert_true(n < t.sent);
	assert_memory_equal(f, t.frames[n].bytes, BYTES);
	assert_int_equal(t.frames[n].from, h);
	assert_int_equal(t.frames[n].seen++, 0);
	assert_in_range(base / XN_CHUNK_BYTES, h * BUFS, h * BUFS + BUFS - 1);
	bed_fill(&t.own[h], &base, 1);
}

/* The guest queue that a frame in this descriptor is for. */
static unsigned queue_of(const struct xdp_desc *d, const struct xn_rss_config *cfg)
{
	const uint8_t *f = t.bed.ram + (d->addr & XSK_UNALIGNED_BUF_ADDR_MASK) +
			   xsk_umem__extract_offset(d->addr);

	return rss_model_queue(cfg, f, d->len);
}

/* Everything that has arrived: `got` grows by S(h, g). May it come out of S(h, g)? `other`:
 * a second configuration that may have been in force. */
static void receive(unsigned got[QUEUES][QUEUES], const struct xn_rss_config *other)
{
	for (unsigned h = 0; h < QUEUES; h++)
		for (unsigned g = 0; g < QUEUES; g++) {
			struct xsk_ring_cons *rx = h == g ? &t.own[h].rx : &t.other[h][g].rx;
			uint32_t at, n = rx->ring ? xsk_ring_cons__peek(rx, BED_RX, &at) : 0;

			for (uint32_t i = 0; i < n; i++) {
				const struct xdp_desc *d = xsk_ring_cons__rx_desc(rx, at + i);

				if (queue_of(d, &t.cfg) != g && (!other || queue_of(d, other) != g))
					fail_msg("a frame for guest queue %u came to %u",
						 queue_of(d, &t.cfg), g);
				take(d, h);
			}
			xsk_ring_cons__release(rx, n);
			got[h][g] += n;
		}
}

static unsigned sum(unsigned got[QUEUES][QUEUES])
{
	unsigned n = 0;

	for (unsigned i = 0; i < QUEUES * QUEUES; i++)
		n += got[i / QUEUES][i % QUEUES];
	return n;
}

/* veth delivers in the sender's context, or in ksoftirqd's a little later. */
static void receive_until(unsigned got[QUEUES][QUEUES], unsigned want,
			  const struct xn_rss_config *other)
{
	uint64_t end = xn_now_ns() + BED_WAIT_MS * 1000000ull;

	do
		receive(got, other);
	while (sum(got) < want && xn_now_ns() < end);
	if (sum(got) != want)
		fail_msg("%u frames of %u arrived", sum(got), want);
}

static uint64_t exits(enum xn_steer_exit e)
{
	uint64_t v[XN_E_COUNT];

	xn_steer_counters(t.bed.steer, v);
	return v[e];
}

/* ---- cases ---- */

static void every_frame_comes_to_the_socket_of_its_guest_queue(void **state)
{
	unsigned got[QUEUES][QUEUES] = { { 0 } }, exact = 0;

	xn_rss_default(&t.cfg, QUEUES);
	must(xn_steer_set_rss(t.bed.steer, &t.cfg), "xn_steer_set_rss");
	while (t.sent < FRAMES) {
		unsigned under_way[QUEUES] = { 0 };

		for (unsigned i = 0; i < 2 * BATCH && t.sent < FRAMES; i++)
			send_one(under_way);
		receive_until(got, (unsigned)t.sent, NULL);
	}
	for (unsigned q = 0; q < QUEUES; q++)
		exact += got[q][q];
	assert_int_equal(exits(XN_E_steer_to_guest), exact);
	assert_int_equal(exits(XN_E_steer_missteered), FRAMES - exact);
	/* All 16 sockets were needed. */
	for (unsigned i = 0; i < QUEUES * QUEUES; i++)
		assert_true(got[i / QUEUES][i % QUEUES] > FRAMES / 64);
}

static void frames_of_a_disabled_queue_are_dropped_and_come_nowhere_else(void **state)
{
	unsigned got[QUEUES][QUEUES] = { { 0 } }, under_way[QUEUES], lost = 0;

	xn_rss_default(&t.cfg, QUEUES);
	must(xn_steer_set_rss(t.bed.steer, &t.cfg), "xn_steer_set_rss");
	xn_steer_enable(t.bed.steer, 2, false);
	while (t.sent < FRAMES / 4) {
		memset(under_way, 0, sizeof(under_way));
		for (unsigned i = 0; i < BATCH; i++) {
			send_one(under_way);
			lost += rss_model_queue(&t.cfg, t.frames[t.sent - 1].bytes, BYTES) == 2;
		}
		receive_until(got, (unsigned)t.sent - lost, NULL);
	}
	for (unsigned h = 0; h < QUEUES; h++)
		assert_int_equal(got[h][2], 0);
	assert_true(lost > FRAMES / 32);
	assert_int_equal(exits(XN_E_steer_disabled), lost);
	xn_steer_enable(t.bed.steer, 2, true);
	memset(under_way, 0, sizeof(under_way));
	for (unsigned i = 0; i < BATCH; i++)
		send_one(under_way);
	receive_until(got, (unsigned)t.sent - lost, NULL);
	assert_int_equal(exits(XN_E_steer_disabled), lost);
}

/* ---- swaps under traffic ---- */

struct swapper {
	struct xn_rss_config a, b;
	uint32_t stop, swaps, failed;
};

static void *swap_run(void *arg)
{
	struct swapper *s = arg;

	while (!xn_load_acquire32(&s->stop) && !s->failed) {
		if (xn_steer_set_rss(t.bed.steer, s->swaps & 1 ? &s->a : &s->b))
			xn_store_once32(&s->failed, 1);
		xn_store_release32(&s->swaps, s->swaps + 1);
	}
	return NULL;
}

static void nothing_is_lost_while_configurations_are_swapped(void **state)
{
	struct swapper s = { .stop = 0 };
	uint64_t frames = 0;
	pthread_t thread;

	xn_rss_default(&s.a, QUEUES);
	xn_rss_default(&s.b, QUEUES);
	must(xn_rss_set_key(&s.b, "symmetric"), "xn_rss_set_key");
	must(xn_rss_set_table(&s.b, "3,2,1,0,0,0,1,1", QUEUES), "xn_rss_set_table");
	t.cfg = s.a;
	must(xn_steer_set_rss(t.bed.steer, &s.a), "xn_steer_set_rss");
	assert_int_equal(pthread_create(&thread, NULL, swap_run, &s), 0);
	while (xn_load_acquire32(&s.swaps) < SWAPS && !xn_load_once32(&s.failed)) {
		unsigned got[QUEUES][QUEUES] = { { 0 } };

		memset(t.frames, 0, sizeof(t.frames));
		for (t.sent = 0; t.sent < FRAMES; frames += BATCH) {
			unsigned under_way[QUEUES] = { 0 };

			for (unsigned i = 0; i < BATCH; i++)
				send_one(under_way);
			receive_until(got, (unsigned)t.sent, &s.b);
		}
	}
	xn_store_release32(&s.stop, 1);
	pthread_join(thread, NULL);
	assert_int_equal(s.failed, 0);
	assert_int_equal(exits(XN_E_steer_to_guest) + exits(XN_E_steer_missteered), frames);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(every_frame_comes_to_the_socket_of_its_guest_queue),
		CASE(frames_of_a_disabled_queue_are_dropped_and_come_nowhere_else),
		CASE(nothing_is_lost_while_configurations_are_swapped),
	};

	alarm(ALL_S);
	return cmocka_run_group_tests_name("rss", tests, NULL, NULL);
}
