/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receive filter in the kernel: frame by frame (BPF_PROG_TEST_RUN) the steering program
 * does what the slow model (base/filter.c) says, with and without RSS; what it costs; and the
 * model itself, line by line of the specification.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/cmocka.h"
#include "base/filter.h"
#include "base/log.h"
#include "base/types.h"
#include "bench/lab.h"
#include "bpf/filter.h"
#include "bpf/steer.h"
#include "tests/fake/rss.h"
#include "tests/kernel/bed.h"

#define ALL_S   900u       /* for all cases together */
#define FRAMES  40000u
#define REPEAT  100000u

static struct bed_prog t;

/* ---- set-up ---- */

static int setup(void **state)
{
	bed_prog_open(&t, 1);
	return 0;
}

static int teardown(void **state)
{
	bed_prog_close(&t);
	return 0;
}

static void open_steer(unsigned pairs)
{
	const struct xn_steer_cfg cfg = {
		.ifindex = t.lab.near_ifindex, .ifname = XN_LAB_NEAR, .frame_bytes = 2000,
		.rss_pairs = pairs,
	};

	bed_prog_attach(&t, &cfg);
	bed_must(xn_steer_set(t.steer, 0, t.xsk), "xn_steer_set");
}

static uint32_t run(const uint8_t *frame, unsigned bytes, unsigned repeat, uint32_t *ns)
{
	return bed_run(&t, t.prog, frame, bytes, 0, repeat, ns);
}

static uint64_t unwanted(void)
{
	uint64_t v[XN_E_COUNT];

	xn_steer_counters(t.steer, v);
	return v[XN_E_steer_unwanted];
}

/* ---- the model ---- */

struct line {
	const char *what;
	struct xn_rx_filter f;
	bool own, other, listed, broadcast, multicast, group;
};

/* A frame to each kind of address, and what is said of it. */
static void model_does_what_the_specification_says(void **state)
{
#define OWN   .mac = { 2, 0, 0, 0, 0, 1 }
#define TABLE OWN, .n_uni = 1, .n_multi = 1, .macs = { { 2, 0, 0, 0, 0, 7 }, { 1, 0, 0x5e, 0, 0, 7 } }
	static const struct line lines[] = {
		{ "its own address",  { OWN },                       1, 0, 0, 1, 0, 0 },
		{ "tables",           { TABLE },                     1, 0, 1, 1, 0, 1 },
		{ "promiscuous",      { .promisc = 1, .nouni = 1 },  1, 1, 1, 1, 1, 1 },
		{ "all unicast",      { OWN, .alluni = 1 },          1, 1, 1, 1, 0, 0 },
		{ "all multicast",    { OWN, .allmulti = 1 },        1, 0, 0, 1, 1, 1 },
		{ "many unicast",     { OWN, .many_uni = 1 },        1, 1, 1, 1, 0, 0 },
		{ "many multicast",   { OWN, .many_multi = 1 },      1, 0, 0, 1, 1, 1 },
		{ "no unicast",       { TABLE, .nouni = 1, .alluni = 1 },     0, 0, 0, 1, 0, 1 },
		{ "no multicast",     { TABLE, .nomulti = 1, .allmulti = 1 }, 1, 0, 1, 1, 0, 0 },
		{ "no broadcast",     { TABLE, .nobcast = 1, .allmulti = 1 }, 1, 0, 1, 0, 1, 1 },
	};
	static const uint8_t to[6][6] = {
		{ 2, 0, 0, 0, 0, 1 }, { 2, 0, 0, 0, 0, 2 }, { 2, 0, 0, 0, 0, 7 },
		{ 255, 255, 255, 255, 255, 255 }, { 1, 0, 0x5e, 0, 0, 1 }, { 1, 0, 0x5e, 0, 0, 7 },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(lines); i++) {
		const struct line *l = &lines[i];
		const bool want[] = { l->own, l->other, l->listed, l->broadcast, l->multicast, l->group };

		for (unsigned k = 0; k < XN_ARRAY_SIZE(to); k++) {
			uint8_t frame[60] = { 0 };

			memcpy(frame, to[k], 6);
			if (xn_filter_takes(&l->f, frame, sizeof(frame)) != want[k])
				fail_msg("%s: address %u", l->what, k);
		}
	}
}

static void model_filters_tagged_frames_by_their_vlan(void **state)
{
	struct xn_rx_filter f = { .mac = { 2 }, .vlan = true };
	uint8_t frame[60] = { 2 };

	assert_true(xn_filter_takes(&f, frame, sizeof(frame)));      /* without a tag */
	frame[12] = 0x81;
	frame[14] = 0xe1;               /* priority 7, 0x123 */
	frame[15] = 0x23;
	assert_false(xn_filter_takes(&f, frame, sizeof(frame)));
	f.vlans[0x123 / 64] |= 1ull << 0x123 % 64;
	assert_true(xn_filter_takes(&f, frame, sizeof(frame)));
	frame[15] = 0x22;
	assert_false(xn_filter_takes(&f, frame, sizeof(frame)));
	assert_true(xn_filter_takes(&f, frame, 17));                  /* half a tag is none */
	f.promisc = true;
	assert_true(xn_filter_takes(&f, frame, sizeof(frame)));
}

/* ---- the program ---- */

static void random_mac(uint64_t *seed, uint8_t *mac, bool group)
{
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)rss_below(seed, 256);
	mac[0] = (uint8_t)((mac[0] & ~1u) | group);
}

static void random_filter(uint64_t *seed, struct xn_rx_filter *f)
{
	*f = (struct xn_rx_filter){
		.promisc = !rss_below(seed, 16), .alluni = !rss_below(seed, 6),
		.allmulti = !rss_below(seed, 4), .nouni = !rss_below(seed, 8),
		.nomulti = !rss_below(seed, 8), .nobcast = !rss_below(seed, 4),
		.many_uni = !rss_below(seed, 16), .many_multi = !rss_below(seed, 16),
		.vlan = rss_below(seed, 2), .n_uni = (uint16_t)rss_below(seed, 33),
		.n_multi = (uint16_t)rss_below(seed, 32),
	};
	random_mac(seed, f->mac, false);
	for (unsigned i = 0; i < (unsigned)f->n_uni + f->n_multi; i++)
		random_mac(seed, f->macs[i], i >= f->n_uni);
	for (unsigned i = 0; i < 64; i++)
		f->vlans[i] = (uint64_t)rss_below(seed, 1u << 31) << 32 | rss_below(seed, 1u << 31);
}

/* To somebody whom the filter knows, mostly. */
static unsigned random_frame(uint64_t *seed, const struct xn_rx_filter *f, uint8_t *frame)
{
	const unsigned known = f->n_uni + f->n_multi;

	memset(frame, 0, 64);
	switch (rss_below(seed, 5)) {
	case 0:
		memcpy(frame, f->mac, 6);
		break;
	case 1:
		memset(frame, 0xff, 6);
		break;
	case 2:
		random_mac(seed, frame, rss_below(seed, 2));
		break;
	default:
		if (known)
			memcpy(frame, f->macs[rss_below(seed, known)], 6);
		if (!rss_below(seed, 8))
			frame[5] ^= 1;
	}
	if (rss_below(seed, 2)) {
		frame[12] = 0x81;
		frame[14] = (uint8_t)rss_below(seed, 256);
		frame[15] = (uint8_t)rss_below(seed, 256);
	}
	return 14 + rss_below(seed, 50);
}

/* One in which each address finds a slot. */
static void random_filter_that_fits(uint64_t *seed, struct xn_rx_filter *f)
{
	struct xn_filter_image img;

	do {
		random_filter(seed, f);
		if (f->promisc)
			return;
		xn_filter_image_make(&img, f);
	} while ((img.flags & XN_FILTER_ALLUNI && !f->alluni && !f->many_uni) ||
		 (img.flags & XN_FILTER_ALLMULTI && !f->allmulti && !f->many_multi));
}

static void program_takes_what_the_model_takes(unsigned pairs)
{
	uint64_t seed = 77, dropped = 0, taken = 0;
	struct xn_rx_filter f;

	open_steer(pairs);
	for (unsigned i = 0; i < FRAMES; i++) {
		uint8_t frame[64];
		unsigned n;
		bool want;

		if (i % 50 == 0) {
			random_filter_that_fits(&seed, &f);
			xn_steer_set_filter(t.steer, &f);
		}
		n = random_frame(&seed, &f, frame);
		want = xn_filter_takes(&f, frame, n);
		if ((run(frame, n, 1, NULL) == XDP_REDIRECT) != want)
			fail_msg("frame %u of %u bytes: the model %s it", i, n, want ? "takes" : "drops");
		dropped += !want;
		taken += want;
	}
	assert_true(dropped > FRAMES / 5 && taken > FRAMES / 5);
	assert_int_equal(unwanted(), dropped);
	xn_steer_set_filter(t.steer, NULL);
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t frame[64];
		unsigned n = random_frame(&seed, &f, frame);

		assert_int_equal(run(frame, n, 1, NULL), XDP_REDIRECT);
	}
}

static void program_filters_40000_frames_as_the_model_does(void **state)
{
	program_takes_what_the_model_takes(0);
}

static void program_with_rss_filters_as_the_model_does(void **state)
{
	program_takes_what_the_model_takes(1);
}

static void addresses_without_a_slot_open_the_filter_for_their_kind(void **state)
{
	struct xn_rx_filter f = { .mac = { 2 } };
	struct xn_filter_image img;
	uint64_t seed = 5;
	uint8_t mac[6], other[60] = { 4 }, group[60] = { 5 };
	uint32_t slot;

	/* More addresses of one slot than there are probes. */
	random_mac(&seed, mac, false);
	slot = xn_filter_slot(xn_filter_mac(mac), 0);
	while (f.n_uni <= XN_FILTER_PROBES) {
		random_mac(&seed, mac, false);
		if (xn_filter_slot(xn_filter_mac(mac), 0) == slot)
			memcpy(f.macs[f.n_uni++], mac, 6);
	}
	xn_filter_image_make(&img, &f);
	for (unsigned i = 0; i < f.n_uni; i++) {
		memcpy(mac, f.macs[i], 6);
		memcpy(other, mac, 6);
		assert_true(xn_filter_image_takes(&img, other, other + sizeof(other)));
	}
	memset(other, 4, 6);
	assert_true(xn_filter_image_takes(&img, other, other + sizeof(other)));
	assert_false(xn_filter_image_takes(&img, group, group + sizeof(group)));
}

/* Printed, not judged. */
static void what_it_costs(void **state)
{
	struct xn_rx_filter f;
	uint64_t seed = 9;
	uint8_t frame[64] = { 0 };
	uint32_t without, own, listed;

	open_steer(0);
	random_filter(&seed, &f);
	f.promisc = f.nouni = f.nomulti = f.alluni = f.allmulti = false;
	f.n_uni = f.n_multi = 32;
	memcpy(frame, f.mac, 6);
	run(frame, sizeof(frame), REPEAT, &without);
	xn_steer_set_filter(t.steer, &f);
	run(frame, sizeof(frame), REPEAT, &own);
	memcpy(frame, f.macs[20], 6);
	run(frame, sizeof(frame), REPEAT, &listed);
	print_message(">> filter: %d ns a frame to the device's address, %d to one of the table\n",
	       (int)(own - without), (int)(listed - without));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(model_does_what_the_specification_says),
		cmocka_unit_test(model_filters_tagged_frames_by_their_vlan),
		cmocka_unit_test(addresses_without_a_slot_open_the_filter_for_their_kind),
		cmocka_unit_test_setup_teardown(program_filters_40000_frames_as_the_model_does, setup, teardown),
		cmocka_unit_test_setup_teardown(program_with_rss_filters_as_the_model_does, setup, teardown),
		cmocka_unit_test_setup_teardown(what_it_costs, setup, teardown),
	};

	if (geteuid()) {
		printf("skipped: filter: needs root (BPF)\n");
		return 0;
	}
	alarm(ALL_S);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
