/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that a port of several queues learns from what the guest sends on which queue a flow
 * belongs: any flow that is quiet, soon one that is busy; and that nothing else is learnt,
 * whatever the guest sends. What the XDP program makes of it: tests/kernel/test_rss.c.
 */
#include "tests/fake/rss.h"
#include "tests/unit/port_rig.h"

#define PAIRS 4u
#define BYTES 100u
#define SLOTS 64u     /* packets that are made at a time */

static struct rig r;
static bool asks;     /* packets want a checksum, somewhere behind their headers */
static struct { unsigned class, vlans; uint64_t flow; } flows[256];

static void open_it(const char *options)
{
	const struct xn_dev_opts dev = { .sz = sizeof(dev), .pairs = strstr(options, "queues") ? PAIRS : 1 };

	rig_open(&r, &(struct rig_opts){ .features = MRG | (asks ? 1ull << VIRTIO_NET_F_CSUM : 0), .dev = &dev, .options = options });
	for (unsigned i = 0; i < XN_ARRAY_SIZE(flows); i++) {
		flows[i].class = XN_FLOW_NONE + 1 + i % 6;
		flows[i].vlans = i / 6 % 3;
		flows[i].flow = i * 7919ull;
	}
}

/* The guest puts a packet of this flow into its ring; `cut`: into pieces of so many bytes. */
static void put(unsigned pair, unsigned flow, unsigned slot, unsigned cut)
{
	const uint64_t at = TX_AT + ((uint64_t)pair * SLOTS + slot % SLOTS) * 2048;
	struct drv_seg segs[8];
	unsigned n = 0, done = 0;

	memset(r.drv.ram + at, 0, DRV_HDR);
	if (asks)
		memcpy(r.drv.ram + at, &(struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
								 .csum_start = 96 }, 10);
	rss_plain_frame(r.drv.ram + at + DRV_HDR, BYTES, flows[flow].class, flows[flow].vlans, flows[flow].flow);
	for (; done < DRV_HDR + BYTES; done += segs[n++].len)
		segs[n] = (struct drv_seg){ at + done, XN_MIN(cut ? cut : 2048, DRV_HDR + BYTES - done) };
	drv_post(&r.drv, 2 * pair + 1, segs, n);
}

/* ... and what is there is sent, in one batch. */
static void turn(unsigned pair)
{
	uint16_t head;
	uint32_t len;

	while (xn_queue_run(xn_dev_queue(r.dev, pair), 64))
		;
	while (drv_used(&r.drv, 2 * pair + 1, &head, &len))
		;
}

/* Where an answer comes: by the slow model. PAIRS: wherever it arrives. */
static unsigned learnt(unsigned flow)
{
	uint8_t frame[BYTES];
	uint32_t hash;

	rss_plain_frame(frame, BYTES, flows[flow].class, flows[flow].vlans, flows[flow].flow);
	rss_turn_round(frame, flows[flow].class, flows[flow].vlans);
	assert_true(rss_model_hash(&fk_host.flow_rss, frame, BYTES, &hash));
	return fk_host.slots[hash % XN_FLOW_SLOTS] ? fk_host.slots[hash % XN_FLOW_SLOTS] - 1u : PAIRS;
}

static unsigned slots_used(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < XN_FLOW_SLOTS; i++)
		n += fk_host.slots[i] != 0;
	return n;
}

static void quiet_flows_are_learnt_with_their_first_packet(void **state)
{
	open_it(",queues=4");
	for (unsigned i = 0; i < 256; i++) {
		put(i % PAIRS, i, 0, i % 3 * 24);
		turn(i % PAIRS);
		assert_int_equal(learnt(i), i % PAIRS);
	}
	/* Another queue sends it: from its next packet on. */
	put(2, 5, 0, 0);
	turn(2);
	assert_int_equal(learnt(5), 2);
	assert_int_equal(stat(&r, "tx_packets"), 257);
	rig_close(&r);
}

static void flows_whose_packets_ask_for_something_are_learnt_too(void **state)
{
	asks = true;
	quiet_flows_are_learnt_with_their_first_packet(state);
	asks = false;
}

static void flow_among_busy_ones_is_met_within_as_many_batches_as_packets(void **state)
{
	const unsigned batch = 32, place = 21;
	unsigned batches = 0;

	open_it(",queues=4");
	while (learnt(200) != 3 && batches < 1000) {
		for (unsigned i = 0; i < batch; i++)
			put(3, i == place ? 200 : i % 3, i, 0);
		turn(3);
		batches++;
	}
	assert_in_range(batches, 1, batch);
	rig_close(&r);
}

static void nothing_is_learnt_of_rubbish_nor_while_rss_decides(void **state)
{
	struct xn_rss_config rss;
	uint64_t seed = 3;

	open_it(",queues=4");
	/* Whatever a guest sends: slots name queues of its own. */
	for (unsigned i = 0; i < 5000; i++) {
		const uint64_t at = TX_AT + (uint64_t)(i % SLOTS) * 2048;
		unsigned n = rss_random_frame(&seed, r.drv.ram + at + DRV_HDR);

		memset(r.drv.ram + at, 0, DRV_HDR);
		drv_post1(&r.drv, 2 * (i % PAIRS) + 1, at, DRV_HDR + n);
		turn(i % PAIRS);
	}
	assert_true(slots_used() > 100);
	for (unsigned i = 0; i < XN_FLOW_SLOTS; i++)
		assert_in_range(fk_host.slots[i], 0, PAIRS);
	memset(fk_host.slots, 0, sizeof(fk_host.slots));
	xn_rss_default(&rss, PAIRS);
	assert_int_equal(r.port->ops->set_rss(r.port, &rss), 0);
	put(1, 9, 0, 0);
	turn(1);
	assert_int_equal(slots_used(), 0);
	assert_int_equal(r.port->ops->set_rss(r.port, NULL), 0);
	put(1, 9, 0, 0);
	turn(1);
	assert_int_equal(learnt(9), 1);
	rig_close(&r);
}

static void one_queue_and_flows_that_stay_are_not_looked_at(void **state)
{
	static const char *const options[] = { "", ",queues=4,flows=arrival" };

	for (unsigned k = 0; k < 2; k++) {
		open_it(options[k]);
		put(0, 1, 0, 0);
		turn(0);
		assert_int_equal(stat(&r, "tx_packets"), 1);
		assert_int_equal(slots_used(), 0);
		assert_null(fk_host.flows.image);
		rig_close(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quiet_flows_are_learnt_with_their_first_packet),
		cmocka_unit_test(flows_whose_packets_ask_for_something_are_learnt_too),
		cmocka_unit_test(flow_among_busy_ones_is_met_within_as_many_batches_as_packets),
		cmocka_unit_test(nothing_is_learnt_of_rubbish_nor_while_rss_decides),
		cmocka_unit_test(one_queue_and_flows_that_stay_are_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
