/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RSS in the kernel: frame by frame (BPF_PROG_TEST_RUN) the programs do what the slow model
 * says; every way out of the steering program; a configuration that is swapped under frames;
 * and what all this costs. Needs no traffic: the sockets are bound nowhere.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "tests/cmocka.h"
#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "bench/lab.h"
#include "bpf/flows.h"
#include "bpf/steer.h"
#include "tests/fake/rss.h"
#include "tests/kernel/bed.h"
#include "tests/kernel/rss.skel.h"

#define ALL_S   900u       /* for all cases together */
#define FRAMES  100000u
#define PAIRS   16u
#define LONGEST 2000u

static struct bed_prog t;
static struct rss_bpf *skel;

/* ---- set-up ---- */

static int setup(void **state)
{
	bed_prog_open(&t, PAIRS);
	return 0;
}

static int teardown(void **state)
{
	rss_bpf__destroy(skel);
	skel = NULL;
	bed_prog_close(&t);
	return 0;
}

static struct xn_steer_cfg steer_cfg(unsigned first, unsigned pairs)
{
	return (struct xn_steer_cfg){
		.ifindex = t.lab.near_ifindex, .ifname = XN_LAB_NEAR, .frame_bytes = LONGEST,
		.rss_pairs = pairs, .first_queue = first,
	};
}

static void open_steer(unsigned first, unsigned pairs)
{
	const struct xn_steer_cfg cfg = steer_cfg(first, pairs);

	bed_prog_attach(&t, &cfg);
}

static void set_all(unsigned first, unsigned pairs)
{
	for (unsigned h = 0; h < pairs; h++)
		for (unsigned g = 0; g < pairs; g++)
			bed_must(xn_steer_set_at(t.steer, first + h, g, t.xsk), "xn_steer_set_at");
}

/* ---- runs ---- */

static uint32_t run(int prog, const uint8_t *frame, unsigned bytes, unsigned queue,
		    unsigned repeat, uint32_t *ns)
{
	return bed_run(&t, prog, frame, bytes, queue, repeat, ns);
}

static uint64_t exits(enum xn_steer_exit e)
{
	uint64_t v[XN_E_COUNT];

	xn_steer_counters(t.steer, v);
	return v[e];
}

static uint64_t queue_count(unsigned g, enum xn_steer_queue_counter c)
{
	uint64_t v[XN_Q_COUNT];

	xn_steer_queue_counters(t.steer, g, v);
	return v[c];
}

/* All frames that RSS has steered. */
static uint64_t steered(void)
{
	return exits(XN_E_steer_to_guest) + exits(XN_E_steer_missteered) +
	       exits(XN_E_steer_unfixed) + exits(XN_E_steer_disabled);
}

/* ---- cases ---- */

static void kernel_hashes_100000_frames_as_the_model_does(void **state)
{
	static struct xn_rss_image img;
	unsigned seen[XN_FLOW_CLASSES] = { 0 };
	struct xn_rss_config cfg;
	uint64_t seed = 21;
	uint32_t zero = 0;
	int map;

	skel = rss_bpf__open_and_load();
	assert_non_null(skel);
	map = bpf_map__fd(skel->maps.image);
	for (unsigned i = 0; i < FRAMES; i++) {
		uint8_t frame[RSS_FRAME_MAX];
		unsigned n = rss_random_frame(&seed, frame), report;
		uint32_t hash;

		if (i % 500 == 0) {
			rss_random_config(&seed, &cfg, PAIRS);
			xn_rss_image_make(&img, &cfg);
			assert_int_equal(bpf_map_update_elem(map, &zero, &img, BPF_ANY), 0);
		}
		assert_int_equal(run(bpf_program__fd(skel->progs.classify), frame, n, 0, 1, NULL),
				 XDP_PASS);
		report = rss_model_hash(&cfg, frame, n, &hash);
		if (report != skel->bss->report || hash != skel->bss->hash ||
		    rss_model_queue(&cfg, frame, n) != skel->bss->queue)
			fail_msg("frame %u: report %u, hash %08x; the model says %u, %08x", i,
				 skel->bss->report, skel->bss->hash, report, hash);
		seen[report]++;
	}
	for (unsigned r = 0; r < XN_FLOW_CLASSES; r++)
		assert_true(seen[r] > FRAMES / 200);
}

static void program_steers_100000_frames_where_the_model_does(void **state)
{
	struct xn_rss_config cfg;
	uint64_t seed = 22;

	open_steer(0, PAIRS);
	set_all(0, PAIRS);
	for (unsigned i = 0; i < FRAMES; i++) {
		uint8_t frame[RSS_FRAME_MAX];
		unsigned n = rss_random_frame(&seed, frame), from = rss_below(&seed, PAIRS), to;
		enum xn_steer_queue_counter c;
		uint64_t before;

		if (i % 2000 == 0) {   /* a swap takes as long as some thousand frames */
			rss_random_config(&seed, &cfg, PAIRS);
			bed_must(xn_steer_set_rss(t.steer, &cfg), "xn_steer_set_rss");
		}
		to = rss_model_queue(&cfg, frame, n);
		c = to == from ? XN_Q_exact : XN_Q_missteered;
		before = queue_count(to, c);
		assert_int_equal(run(t.prog, frame, n, from, 1, NULL), XDP_REDIRECT);
		if (queue_count(to, c) != before + 1)
			fail_msg("frame %u on queue %u did not go to guest queue %u", i, from, to);
	}
	assert_int_equal(steered(), FRAMES);
	assert_int_equal(exits(XN_E_steer_no_socket), 0);
}

static void open_by_flow(unsigned pairs)
{
	struct xn_steer_cfg cfg = steer_cfg(0, pairs);

	cfg.by_flow = true;
	bed_prog_attach(&t, &cfg);
	set_all(0, pairs);
}

static const unsigned plain_classes[] = {
	XN_FLOW_IPV4, XN_FLOW_TCPV4, XN_FLOW_UDPV4, XN_FLOW_IPV6, XN_FLOW_TCPV6, XN_FLOW_UDPV6,
};

/* The frame comes on queue `from`, and goes to guest queue `to`. */
static void expect_to(const uint8_t *frame, unsigned bytes, unsigned from, unsigned to)
{
	const enum xn_steer_queue_counter c = to == from ? XN_Q_exact : XN_Q_missteered;
	const uint64_t before = queue_count(to, c);

	assert_int_equal(run(t.prog, frame, bytes, from, 1, NULL), XDP_REDIRECT);
	if (queue_count(to, c) != before + 1)
		fail_msg("a frame on queue %u did not go to guest queue %u", from, to);
}

static void answers_come_where_their_flow_is_sent(void **state)
{
	const struct xn_flows *flows;
	uint64_t seed = 23;
	uint8_t frame[128];

	open_by_flow(PAIRS);
	flows = xn_steer_flows(t.steer);
	assert_non_null(flows);
	assert_true(flows->on);
	for (unsigned i = 0; i < FRAMES / 5; i++) {
		unsigned class = plain_classes[rss_below(&seed, 6)], vlans = rss_below(&seed, 3);
		unsigned on = rss_below(&seed, PAIRS), from = rss_below(&seed, PAIRS);

		rss_plain_frame(frame, sizeof(frame), class, vlans, rss_random(&seed));
		xn_flows_learn(flows, frame, sizeof(frame), on);
		rss_turn_round(frame, class, vlans);
		assert_int_equal(xn_flows_steer(flows, frame, sizeof(frame), from, PAIRS), on);
		expect_to(frame, sizeof(frame), from, on);
	}
	assert_int_equal(exits(XN_E_steer_no_socket), 0);
}

static void unknown_flows_and_bad_slots_go_where_they_came(void **state)
{
	const struct xn_flows *flows;
	struct xn_rss_config cfg;
	uint64_t seed = 24;
	uint8_t f[128];

	open_by_flow(4);
	flows = xn_steer_flows(t.steer);
	for (unsigned i = 0; i < 200; i++) {
		uint8_t any[RSS_FRAME_MAX];
		unsigned n = rss_random_frame(&seed, any);

		expect_to(any, n, i % 4, i % 4);
	}
	/* A slot that names no queue. */
	memset(flows->slot, 77, XN_FLOW_SLOTS);
	rss_plain_frame(f, sizeof(f), XN_FLOW_TCPV4, 0, 1);
	expect_to(f, sizeof(f), 3, 3);
	/* A queue that is disabled is not waited for. */
	memset(flows->slot, 1 + 2, XN_FLOW_SLOTS);
	expect_to(f, sizeof(f), 3, 2);
	xn_steer_enable(t.steer, 2, false);
	expect_to(f, sizeof(f), 3, 3);
	assert_int_equal(run(t.prog, f, sizeof(f), 2, 1, NULL), XDP_DROP);
	assert_int_equal(exits(XN_E_steer_disabled), 1);
	xn_steer_enable(t.steer, 2, true);
	/* RSS does not ask them; without it they are asked again. */
	xn_rss_default(&cfg, 4);
	bed_must(xn_steer_set_rss(t.steer, &cfg), "xn_steer_set_rss");
	assert_false(flows->on);
	expect_to(f, sizeof(f), 3, rss_model_queue(&cfg, f, sizeof(f)));
	bed_must(xn_steer_set_rss(t.steer, NULL), "xn_steer_set_rss");
	assert_true(flows->on);
	expect_to(f, sizeof(f), 3, 2);
	/* ARP has no flow. */
	rss_plain_frame(f, sizeof(f), XN_FLOW_NONE, 0, 0);
	expect_to(f, sizeof(f), 1, 1);
	assert_int_equal(queue_count(1, XN_Q_unclassified), 0);
}

/* A frame that the configuration sends to this guest queue. */
static void frame_for(const struct xn_rss_config *cfg, unsigned g, uint8_t *frame, unsigned bytes)
{
	uint64_t flow = 0;

	do
		rss_plain_frame(frame, bytes, XN_FLOW_TCPV4, 0, ++flow);
	while (rss_model_queue(cfg, frame, bytes) != g);
}

static void each_way_out_is_taken_when_it_should_be(void **state)
{
	const unsigned first = 3, pairs = 4;
	uint64_t v[XN_Q_COUNT];
	struct xn_rss_config cfg;
	uint8_t f[60], arp[60];

	xn_rss_default(&cfg, pairs);
	cfg.unclassified = 1;
	open_steer(first, pairs);
	frame_for(&cfg, 2, f, sizeof(f));
	rss_plain_frame(arp, sizeof(arp), XN_FLOW_NONE, 0, 0);

	/* No configuration yet: as without RSS. */
	assert_int_equal(run(t.prog, f, sizeof(f), first, 1, NULL), XDP_DROP);
	assert_int_equal(exits(XN_E_steer_no_socket), 1);
	for (unsigned h = 0; h < pairs; h++)
		bed_must(xn_steer_set(t.steer, first + h, t.xsk), "xn_steer_set");
	assert_int_equal(run(t.prog, f, sizeof(f), first, 1, NULL), XDP_REDIRECT);
	assert_int_equal(exits(XN_E_steer_to_guest), 1);
	assert_int_equal(queue_count(0, XN_Q_exact), 0);

	/* Its own host queue; another one without and with a socket for it. */
	bed_must(xn_steer_set_rss(t.steer, &cfg), "xn_steer_set_rss");
	assert_int_equal(run(t.prog, f, sizeof(f), first + 2, 1, NULL), XDP_REDIRECT);
	assert_int_equal(exits(XN_E_steer_to_guest), 2);
	assert_int_equal(run(t.prog, f, sizeof(f), first, 1, NULL), XDP_REDIRECT);
	assert_int_equal(exits(XN_E_steer_unfixed), 1);
	bed_must(xn_steer_set_at(t.steer, first, 2, t.xsk), "xn_steer_set_at");
	assert_int_equal(run(t.prog, f, sizeof(f), first, 1, NULL), XDP_REDIRECT);
	assert_int_equal(exits(XN_E_steer_missteered), 1);
	xn_steer_clear_at(t.steer, first, 2);
	assert_int_equal(run(t.prog, f, sizeof(f), first, 1, NULL), XDP_REDIRECT);
	assert_int_equal(exits(XN_E_steer_unfixed), 2);

	/* A queue that is disabled: not for its own frames, */
	xn_steer_enable(t.steer, 2, false);
	assert_int_equal(run(t.prog, f, sizeof(f), first + 2, 1, NULL), XDP_DROP);
	assert_int_equal(run(t.prog, f, sizeof(f), first + 1, 1, NULL), XDP_DROP);
	assert_int_equal(exits(XN_E_steer_disabled), 2);
	xn_steer_enable(t.steer, 2, true);
	/* ... and not for those that it would stand in for; with a socket it need not. */
	xn_steer_enable(t.steer, 0, false);
	assert_int_equal(run(t.prog, f, sizeof(f), first, 1, NULL), XDP_DROP);
	assert_int_equal(exits(XN_E_steer_disabled), 3);
	bed_must(xn_steer_set_at(t.steer, first, 2, t.xsk), "xn_steer_set_at");
	assert_int_equal(run(t.prog, f, sizeof(f), first, 1, NULL), XDP_REDIRECT);
	assert_int_equal(exits(XN_E_steer_missteered), 2);

	/* No socket at all on the queue it came on. */
	xn_steer_clear(t.steer, first + 2);
	assert_int_equal(run(t.prog, f, sizeof(f), first + 2, 1, NULL), XDP_DROP);
	xn_steer_clear_at(t.steer, first + 1, 1);   /* the same call, on the diagonal */
	assert_int_equal(run(t.prog, f, sizeof(f), first + 1, 1, NULL), XDP_DROP);
	assert_int_equal(exits(XN_E_steer_no_socket), 3);
	bed_must(xn_steer_set_at(t.steer, first + 1, 1, t.xsk), "xn_steer_set_at");

	/* Without a hash. */
	assert_int_equal(run(t.prog, arp, sizeof(arp), first + 1, 1, NULL), XDP_REDIRECT);
	assert_int_equal(exits(XN_E_steer_to_guest), 3);
	assert_int_equal(queue_count(1, XN_Q_unclassified), 1);

	/* A host queue that is none of the guest's, on either side. */
	assert_int_equal(run(t.prog, f, sizeof(f), first - 1, 1, NULL), XDP_DROP);
	assert_int_equal(run(t.prog, f, sizeof(f), first + pairs, 1, NULL), XDP_DROP);
	assert_int_equal(exits(XN_E_steer_no_socket), 5);

	/* Guest queue 2 in all. */
	xn_steer_queue_counters(t.steer, 2, v);
	assert_int_equal(v[XN_Q_exact], 1);
	assert_int_equal(v[XN_Q_missteered], 2);
	assert_int_equal(v[XN_Q_unfixed], 2);
	assert_int_equal(v[XN_Q_disabled], 3);
	assert_int_equal(v[XN_Q_unclassified], 0);

	/* And without RSS again. */
	bed_must(xn_steer_set_rss(t.steer, NULL), "xn_steer_set_rss");
	bed_must(xn_steer_set_rss(t.steer, NULL), "xn_steer_set_rss");
	assert_int_equal(run(t.prog, f, sizeof(f), first + 1, 1, NULL), XDP_REDIRECT);
	assert_int_equal(exits(XN_E_steer_to_guest), 4);
	assert_int_equal(queue_count(2, XN_Q_exact), 1);
}

static void what_cannot_be_steered_is_refused(void **state)
{
	struct xn_steer_cfg bad[] = { steer_cfg(0, XN_STEER_MAX_QUEUES + 1),
				      steer_cfg(1, XN_STEER_MAX_QUEUES), steer_cfg(~0u, 2) };
	struct xn_rss_config cfg;
	struct xn_steer *s;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		assert_int_equal(xn_steer_open(&s, &bad[i]), -EINVAL);
		assert_null(s);
	}
	xn_rss_default(&cfg, 4);
	open_steer(0, 3);
	assert_int_equal(xn_steer_set_rss(t.steer, &cfg), -EINVAL);
	xn_rss_default(&cfg, 3);
	cfg.unclassified = 3;
	assert_int_equal(xn_steer_set_rss(t.steer, &cfg), -EINVAL);
	assert_int_equal(xn_steer_set_at(t.steer, 3, 0, t.xsk), -EINVAL);
	assert_int_equal(xn_steer_set_at(t.steer, 0, 3, t.xsk), -EINVAL);
	assert_int_equal(xn_steer_set_at(t.steer, 0, 1, -1), -EBADF);
	close(t.prog);
	xn_steer_close(t.steer);

	/* Opened without RSS. */
	open_steer(0, 0);
	cfg.unclassified = 0;
	assert_int_equal(xn_steer_set_rss(t.steer, &cfg), -EINVAL);
	assert_int_equal(xn_steer_set_rss(t.steer, NULL), -EINVAL);
	assert_int_equal(xn_steer_set_at(t.steer, 0, 0, t.xsk), -EINVAL);
}

/* ---- swapping ---- */

#define SWAPS 1000u

struct swapper {
	const struct xn_rss_config *a, *b;
	uint32_t done;
	int err;
	uint64_t ns;       /* all swaps together */
};

static void *swap_run(void *arg)
{
	struct swapper *s = arg;
	uint64_t from = xn_now_ns();

	for (unsigned i = 0; i < SWAPS && !s->err; i++)
		s->err = xn_steer_set_rss(t.steer, i & 1 ? s->a : s->b);
	s->ns = xn_now_ns() - from;
	xn_store_release32(&s->done, 1);
	return NULL;
}

/* Sees the whole of the one before, or the whole of the new one: a frame that the key of one and
 * the table of the other send to queues 2 and 3 never gets there. */
static void frame_sees_one_configuration_and_never_parts_of_two(void **state)
{
	struct xn_rss_config a, b, ab, ba;
	uint64_t seed = 23, frames = 0;
	struct swapper s = { &a, &b, 0, 0, 0 };
	pthread_t thread;
	uint8_t f[60];

	xn_rss_default(&a, 4);
	xn_rss_default(&b, 4);
	for (unsigned i = 0; i < a.entries; i++) {
		a.table[i] = (uint16_t)rss_below(&seed, 4);
		b.table[i] = (uint16_t)rss_below(&seed, 4);
	}
	bed_must(xn_rss_set_key(&b, "symmetric"), "xn_rss_set_key");
	ab = b;
	memcpy(ab.key, a.key, sizeof(a.key));
	ba = a;
	memcpy(ba.key, b.key, sizeof(b.key));
	do
		rss_plain_frame(f, sizeof(f), XN_FLOW_TCPV4, 0, ++seed);
	while (rss_model_queue(&a, f, sizeof(f)) != 0 || rss_model_queue(&b, f, sizeof(f)) != 1 ||
	       rss_model_queue(&ab, f, sizeof(f)) != 2 || rss_model_queue(&ba, f, sizeof(f)) != 3);

	open_steer(0, 4);
	set_all(0, 4);
	bed_must(xn_steer_set_rss(t.steer, &a), "xn_steer_set_rss");
	assert_int_equal(pthread_create(&thread, NULL, swap_run, &s), 0);
	while (!xn_load_acquire32(&s.done)) {
		run(t.prog, f, sizeof(f), 0, 20000, NULL);
		frames += 20000;
	}
	pthread_join(thread, NULL);
	assert_int_equal(s.err, 0);
	assert_int_equal(steered(), frames);
	assert_true(queue_count(0, XN_Q_exact) > frames / 20);
	assert_true(queue_count(1, XN_Q_missteered) > frames / 20);
	assert_int_equal(queue_count(2, XN_Q_missteered), 0);
	assert_int_equal(queue_count(3, XN_Q_missteered), 0);
	print_message(">> rss: a configuration is swapped in %.2f ms, under %llu frames\n",
		      (double)s.ns / SWAPS / 1e6, (unsigned long long)frames);
	/* What is in force when a call has returned is the new one, for all. */
	for (unsigned i = 0; i < 6; i++) {
		enum xn_steer_queue_counter c = i & 1 ? XN_Q_missteered : XN_Q_exact;
		uint64_t before = queue_count(i & 1, c);

		bed_must(xn_steer_set_rss(t.steer, i & 1 ? &b : &a), "xn_steer_set_rss");
		run(t.prog, f, sizeof(f), 0, 1000, NULL);
		assert_int_equal(queue_count(i & 1, c), before + 1000);
	}
}

static int swap_unprivileged(void *arg)
{
	struct xn_rss_config cfg;

	xn_rss_default(&cfg, 4);
	if (xn_steer_set_rss(t.steer, &cfg) || xn_steer_set_at(t.steer, 0, 1, t.xsk))
		return 1;
	xn_steer_enable(t.steer, 3, false);
	xn_steer_clear_at(t.steer, 0, 1);
	return xn_steer_set_rss(t.steer, NULL) ? 2 : 0;
}

static void all_of_it_works_without_any_capability(void **state)
{
	uint8_t f[60];
	struct xn_rss_config cfg;

	open_steer(0, 4);
	set_all(0, 4);
	assert_int_equal(bed_child(swap_unprivileged, NULL, ~0ull), 0);
	/* The child's bytes are the program's: its queue 3 is disabled. */
	xn_rss_default(&cfg, 4);
	bed_must(xn_steer_set_rss(t.steer, &cfg), "xn_steer_set_rss");
	frame_for(&cfg, 3, f, sizeof(f));
	assert_int_equal(run(t.prog, f, sizeof(f), 0, 1, NULL), XDP_DROP);
	assert_int_equal(exits(XN_E_steer_disabled), 1);
}

/* ---- cost ---- */

#define COST_REPEAT 300000u
#define COST_ROUNDS 30u
#define COST_MOST   2u       /* times what it takes without RSS: in ns each machine has its own */

struct cost {
	const char *what;
	unsigned class, vlans, bytes;
	uint32_t plain, rss;     /* ns, the least of all rounds */
};

static void least(uint32_t *ns, int prog, const uint8_t *f, unsigned bytes, unsigned queue)
{
	uint32_t now;

	run(prog, f, bytes, queue, COST_REPEAT, &now);
	*ns = XN_MIN(*ns, now);
}

/* Both programs in turns, so that a slow moment of the machine meets both; as many rounds as it
 * takes, since others may be using it. */
static void rss_at_most_doubles_what_a_tcp_frame_takes(void **state)
{
	struct cost c[] = {
		{ "TCP/IPv4", XN_FLOW_TCPV4, 0, 60, ~0u, ~0u },
		{ "UDP/IPv4", XN_FLOW_UDPV4, 0, 60, ~0u, ~0u },
		{ "TCP/IPv4 in a VLAN", XN_FLOW_TCPV4, 1, 64, ~0u, ~0u },
		{ "UDP/IPv6", XN_FLOW_UDPV6, 0, 78, ~0u, ~0u },
		{ "no hash (ARP)", XN_FLOW_NONE, 0, 60, ~0u, ~0u },
	};
	/* The interface takes one program, and loopback the other, which runs nowhere but here. */
	const struct xn_steer_cfg lo = { .ifindex = 1, .ifname = "lo", .frame_bytes = LONGEST,
					 .attach = XN_ATTACH_GENERIC };
	uint32_t nothing = ~0u, waiting = ~0u;
	struct xn_rss_config cfg;
	struct xn_steer *plain;
	unsigned rounds = 0;
	uint8_t f[100];
	int plain_prog;

	xn_rss_default(&cfg, PAIRS);
	open_steer(0, PAIRS);
	set_all(0, PAIRS);
	bed_must(xn_steer_open(&plain, &lo), "xn_steer_open");
	plain_prog = bed_program_of(1);
	for (unsigned h = 0; h < PAIRS; h++)
		bed_must(xn_steer_set(plain, h, t.xsk), "xn_steer_set");
	skel = rss_bpf__open_and_load();
	assert_non_null(skel);
	do {
		rss_plain_frame(f, 60, XN_FLOW_TCPV4, 0, 5);
		least(&nothing, bpf_program__fd(skel->progs.nothing), f, 60, 0);
		bed_must(xn_steer_set_rss(t.steer, NULL), "xn_steer_set_rss");
		least(&waiting, t.prog, f, 60, 0);
		bed_must(xn_steer_set_rss(t.steer, &cfg), "xn_steer_set_rss");
		for (unsigned i = 0; i < XN_ARRAY_SIZE(c); i++) {
			unsigned q;

			rss_plain_frame(f, c[i].bytes, c[i].class, c[i].vlans, 5);
			q = rss_model_queue(&cfg, f, c[i].bytes);
			least(&c[i].plain, plain_prog, f, c[i].bytes, q);
			least(&c[i].rss, t.prog, f, c[i].bytes, q);
		}
	} while (++rounds < 3 || (c[0].rss > c[0].plain * COST_MOST && rounds < COST_ROUNDS));
	close(plain_prog);
	xn_steer_close(plain);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(c); i++)
		print_message(">> rss: %u ns for %s, %u without RSS\n", c[i].rss - nothing,
			      c[i].what, c[i].plain - nothing);
	print_message(">> rss: %u ns while no guest has configured it (all less the %u of an empty "
		      "program)\n", waiting - nothing, nothing);
	assert_true(c[0].rss <= c[0].plain * COST_MOST);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(kernel_hashes_100000_frames_as_the_model_does),
		CASE(program_steers_100000_frames_where_the_model_does),
		CASE(answers_come_where_their_flow_is_sent),
		CASE(unknown_flows_and_bad_slots_go_where_they_came),
		CASE(each_way_out_is_taken_when_it_should_be),
		CASE(what_cannot_be_steered_is_refused),
		CASE(frame_sees_one_configuration_and_never_parts_of_two),
		CASE(all_of_it_works_without_any_capability),
		CASE(rss_at_most_doubles_what_a_tcp_frame_takes),
	};

	alarm(ALL_S);
	return cmocka_run_group_tests_name("rss in the kernel", tests, NULL, NULL);
}
