/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that a NIC, of whatever kind, is programmed as the guest wants it as far as it can be;
 * that it is told as exact only if each frame then arrives where the guest computes it; and that
 * all is put back, however the process that programmed it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/nic_rig.h"

/* ---- what is set ---- */

static void frames_arrive_where_the_guest_computes_them(void **state)
{
	const struct fnic_kind kinds[] = {
		good, KIND(k_.key_len = 52), KIND(k_.table_len = 512), KIND(k_.table_len = 2048),
		KIND(k_.table_len = 16), KIND(k_.hfuncs = 3), KIND(k_.xfrms = 1),
		KIND(k_.whole_ip_resets = true), KIND(k_.contexts = k_.rules = false),
	};

	for (unsigned k = 0; k < XN_ARRAY_SIZE(kinds); k++) {
		struct fnic *n = a_nic(kinds[k]);
		struct fnic before = *n;
		struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
		struct xn_rss_config rss = a_guest(4);
		struct xn_nic *x = opened(&cfg);
		struct xn_nic_told told = set(x, &rss);

		expect_exact(n, &told, &rss, 0, 4);
		/* The guest changes its mind. */
		assert_int_equal(xn_rss_set_table(&rss, "0,3", 4), 0);
		assert_int_equal(xn_rss_set_key(&rss, "symmetric"), 0);
		told = set(x, &rss);
		expect_exact(n, &told, &rss, 0, 4);
		xn_nic_close(x);
		assert_true(fnic_same(n, &before));
		assert_true(is_clean());
	}
}

static void longer_tables_that_repeat_themselves_fit_shorter_ones(void **state)
{
	struct fnic *n = a_nic(KIND(k_.table_len = 16));
	struct xn_nic_cfg cfg = cfg_of(n, 0, 8);
	struct xn_nic *x = opened(&cfg);
	struct xn_rss_config rss = a_guest(8);
	struct xn_nic_told told;

	assert_int_equal(rss.entries, 128);
	told = set(x, &rss);
	expect_exact(n, &told, &rss, 0, 8);
	/* One entry far behind is different: 16 cannot say that. */
	rss.table[100] = 7;
	told = set(x, &rss);
	expect_told(&told, XN_NIC_CORRECTED, "guest's table has 128 entries that differ, and the NIC's 16");
	assert_int_equal(count(n, &rss, 0, 8).outside, 0);
	/* 24 is no multiple of 16, but of 8. */
	n->kind.table_len = 24;
	told = set(x, &rss);
	expect_told(&told, XN_NIC_CORRECTED, "the NIC's 24");
	rss = a_guest(8);
	told = set(x, &rss);
	expect_exact(n, &told, &rss, 0, 8);
	xn_nic_close(x);
}

static void guest_of_one_queue_needs_no_hash(void **state)
{
	struct fnic *n = a_nic(KIND((k_.key_set = k_.fields_get = false, k_.hfuncs = 2)));
	struct xn_nic_cfg cfg = cfg_of(n, 0, 1);
	struct xn_nic *x = opened(&cfg);
	struct xn_rss_config rss = a_guest(1);
	struct xn_nic_told told = set(x, &rss);
	struct fnic before = *n;

	expect_exact(n, &told, &rss, 0, 1);
	xn_nic_close(x);
	/* And of a NIC of one queue nothing. */
	n = a_nic((struct fnic_kind){ .driver = "simple", .rings = 1 });
	before = *n;
	cfg = cfg_of(n, 0, 1);
	x = opened(&cfg);
	told = set(x, &rss);
	expect_exact(n, &told, &rss, 0, 1);
	assert_int_equal(n->changes, 0);
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
}

static void guest_without_rss_has_frames_spread_over_its_queues(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = cfg_of(n, 2, 3);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, NULL);

	assert_int_equal(told.status, XN_NIC_EXACT);
	for (unsigned i = 0; i < n->kind.table_len; i++)
		assert_int_equal(n->ctx[0].table[i], 2 + i % 3);
	assert_memory_equal(n->ctx[0].key, before.ctx[0].key, 40);
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
}

static void what_is_right_already_is_left_alone(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, &rss);
	unsigned changes = n->changes;

	assert_true(changes > 0);
	told = set(x, &rss);
	expect_exact(n, &told, &rss, 0, 4);
	assert_int_equal(n->changes, changes);
	xn_nic_close(x);
}

/* ---- what is told ---- */

static void what_a_nic_cannot_do_is_told_with_its_reason(void **state)
{
	const struct { struct fnic_kind kind; enum xn_nic_status status; const char *why; } cases[] = {
		{ KIND(k_.key_set = false), XN_NIC_CORRECTED,
		  "the driver refuses the hash key (Operation not supported)" },
		{ KIND(k_.key_len = 0), XN_NIC_CORRECTED, "acme does not tell or take the hash key" },
		{ KIND(k_.key_len = 16), XN_NIC_CORRECTED, "hash key has 16 bytes, and the guest's types need 40" },
		{ KIND(k_.keeps_old_key = true), XN_NIC_CORRECTED, "the NIC has another hash key" },
		{ KIND(k_.fields_set = false), XN_NIC_CORRECTED, "hashes other fields than the guest of: udp4 udp6" },
		{ KIND(k_.fields_get = false), XN_NIC_CORRECTED,
		  "acme does not tell which fields it hashes of: tcp4 udp4" },
		{ KIND(k_.table_set = false), XN_NIC_UNSUPPORTED, "ethtool -L fake0 combined 4" },
		{ KIND(k_.rss = false), XN_NIC_UNSUPPORTED, "acme has no RSS table" },
		{ KIND(k_.rings = 3), XN_NIC_UNSUPPORTED,
		  "3 receive queues, and the guest's are 0..3: ethtool -L fake0 combined 4" },
	};
	struct xn_rss_config rss = a_guest(4);

	for (unsigned i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		struct fnic *n = a_nic(cases[i].kind);
		struct fnic before = *n;
		struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
		struct xn_nic *x = opened(&cfg);
		struct xn_nic_told told = set(x, &rss);

		expect_told(&told, cases[i].status, cases[i].why);
		if (told.status == XN_NIC_CORRECTED)
			assert_int_equal(count(n, &rss, 0, 4).outside, 0);
		xn_nic_close(x);
		assert_true(fnic_same(n, &before));
	}
}

static void short_key_is_enough_for_short_inputs(void **state)
{
	struct fnic *n = a_nic(KIND(k_.key_len = 16));
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told;

	rss.types = XN_RSS_TYPE(XN_FLOW_TCPV4) | XN_RSS_TYPE(XN_FLOW_IPV4);
	told = set(x, &rss);
	/* All but what it hashes though the guest does not. */
	expect_told(&told, XN_NIC_CORRECTED, "hashes other fields than the guest of: tcp6 udp6 ip6");
	assert_null(strstr(told.why, "key"));
	xn_nic_close(x);
}

static void veth_is_told_what_makes_it_exact(void **state)
{
	struct fnic *n = a_nic((struct fnic_kind){ .driver = "veth", .rings = 4 });
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, &rss);

	expect_told(&told, XN_NIC_CORRECTED, "xsknetctl steer-peer");
	xn_nic_close(x);
	/* Some of its queues are not the guest's. */
	cfg.queues = 2;
	rss = a_guest(2);
	x = opened(&cfg);
	told = set(x, &rss);
	expect_told(&told, XN_NIC_UNSUPPORTED, "xsknetctl steer-peer");
	xn_nic_close(x);
}

static void frames_without_a_hash_are_looked_after(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told;

	rss.unclassified = 3;
	told = set(x, &rss);
	expect_told(&told, XN_NIC_CORRECTED, "frames without a hash (ARP) may come on queue 0, and the guest "
		    "wants them on 3");
	xn_nic_close(x);
	rss.unclassified = 0;
	cfg = cfg_of(n, 4, 4);
	x = opened(&cfg);
	told = set(x, &rss);
	expect_told(&told, XN_NIC_CORRECTED, "may come on queue 0, which is not the guest's, and be lost");
	xn_nic_close(x);
}

static struct fnic_kind random_kind(uint64_t *s)
{
	static const unsigned tables[] = { 0, 1, 16, 48, 64, 128, 512, 2048 }, keys[] = { 0, 16, 40, 52 };

	return (struct fnic_kind){
		.driver = "random", .rings = 1 + rss_below(s, 16), .table_len = tables[rss_below(s, 8)],
		.key_len = keys[rss_below(s, 4)], .rss = rss_below(s, 10), .table_set = rss_below(s, 8),
		.key_set = rss_below(s, 4), .fields_get = rss_below(s, 8), .fields_set = rss_below(s, 4),
		.contexts = rss_below(s, 2), .context_key = rss_below(s, 2), .rules = rss_below(s, 4),
		.any_place = rss_below(s, 2), .rules_off = rss_below(s, 2), .hfuncs = (uint8_t)(rss_below(s, 2) * 3),
		.xfrms = (uint8_t)!rss_below(s, 4), .whole_ip_resets = !rss_below(s, 4),
		.keeps_old_key = !rss_below(s, 8),
	};
}

static void random_guest(uint64_t *s, struct xn_rss_config *rss, unsigned pairs)
{
	rss_random_config(s, rss, pairs);
	if (rss_below(s, 2))        /* what most guests are like */
		xn_rss_default(rss, pairs);
}

static void exact_is_told_only_of_what_is_exact(void **state)
{
	unsigned told_as[3] = { 0 }, pessimistic = 0;
	uint64_t s = 1;

	for (unsigned i = 0; i < 4000; i++) {
		struct fnic *n = a_nic(random_kind(&s));
		struct fnic before = *n;
		unsigned start = rss_below(&s, 3) ? 0 : rss_below(&s, 4), queues = 1 + rss_below(&s, 8);
		struct xn_nic_cfg cfg = rss_below(&s, 2) ? cfg_of(n, start, queues) : shared_of(n, start, queues);
		struct xn_nic *x = opened(&cfg);
		struct xn_rss_config rss;
		struct xn_nic_told told;
		struct arrivals a;

		for (unsigned again = 0; again < 2; again++) {
			random_guest(&s, &rss, queues);
			told = set(x, &rss);
			a = count(n, &rss, start, queues);
			told_as[told.status]++;
			if ((told.status == XN_NIC_EXACT) != !told.why[0])
				fail_msg("%u: %s \"%s\"", i, xn_nic_status_name(told.status), told.why);
			if (told.status == XN_NIC_EXACT && a.right != FRAMES)
				fail_msg("%u: exact, but %u wrong, %u outside", i, a.wrong, a.outside);
			/* What may be lost is told. */
			if (told.status == XN_NIC_CORRECTED && a.outside && !strstr(told.why, "lost"))
				fail_msg("%u: %u outside: %s", i, a.outside, told.why);
			pessimistic += told.status == XN_NIC_CORRECTED && a.right == FRAMES;
		}
		xn_nic_close(x);
		if (!fnic_same(n, &before))
			fail_msg("%u: not as it was", i);
		assert_true(is_clean() || i % 500);
	}
	printf("%u exact, %u corrected (%u of them for nothing), %u unsupported\n", told_as[0], told_as[1],
	       pessimistic, told_as[2]);
	assert_true(told_as[0] > 500 && told_as[1] > 500 && told_as[2] > 500);
	assert_true(pessimistic < told_as[1] / 5);
}

static void what_is_foreseen_comes_true_and_changes_nothing(void **state)
{
	unsigned came_true = 0, all = 0;
	uint64_t s = 2;

	for (unsigned i = 0; i < 1000; i++) {
		struct fnic *n = a_nic(random_kind(&s));
		unsigned queues = 1 + rss_below(&s, 8);
		struct xn_nic_cfg cfg = cfg_of(n, 0, queues);
		struct xn_rss_config rss = a_guest(queues);
		struct xn_nic_told foreseen, told;
		struct xn_nic *x;

		assert_int_equal(xn_nic_foresee(&cfg, NULL, &foreseen), 0);
		assert_int_equal(n->changes, 0);
		x = opened(&cfg);
		told = set(x, &rss);
		xn_nic_close(x);
		/* It may be better than what comes: a driver that refuses cannot be told before. */
		if (foreseen.status > told.status)
			fail_msg("%u: %s (%s), then %s", i, xn_nic_status_name(foreseen.status), foreseen.why,
				 xn_nic_status_name(told.status));
		came_true += foreseen.status == told.status;
		all++;
	}
	assert_true(came_true > all / 2);
}

/* ---- NICs that are shared ---- */

static void guests_that_share_a_nic_have_a_context_each(void **state)
{
	static const uint8_t other[6] = { 2, 2, 2, 2, 2, 3 };
	struct fnic *n = a_nic(KIND(k_.rules_off = true)), before = *n;
	struct xn_nic_cfg cfg_a = shared_of(n, 0, 4), cfg_b = shared_of(n, 4, 4);
	struct xn_rss_config rss_a = a_guest(4), rss_b = a_guest(4);
	struct xn_nic *a = opened(&cfg_a), *b;
	struct xn_nic_told told_a, told_b;
	struct arrivals there;

	for (unsigned f = 0; f < FNIC_FLOWS; f++)
		n->fields[f] = before.fields[f] = f < 2 ? RXH_IP_SRC | RXH_IP_DST :
			       RXH_IP_SRC | RXH_IP_DST | RXH_L4_B_0_1 | RXH_L4_B_2_3;
	cfg_b.mac = other;
	b = opened(&cfg_b);
	assert_int_equal(xn_rss_set_key(&rss_b, "random"), 0);
	told_a = set(a, &rss_a);
	told_b = set(b, &rss_b);
	assert_int_equal(told_b.status, XN_NIC_EXACT);
	expect_exact(n, &told_a, &rss_a, 0, 4);
	assert_memory_equal(&n->ctx[0], &before.ctx[0], sizeof(n->ctx[0]));
	/* One changes its mind, and goes: the other has what it had. */
	assert_int_equal(xn_rss_set_table(&rss_b, "3,2,1,0", 4), 0);
	told_b = set(b, &rss_b);
	expect_told(&told_b, XN_NIC_CORRECTED, "frames without a hash");
	expect_exact(n, &told_a, &rss_a, 0, 4);
	xn_nic_close(b);
	expect_exact(n, &told_a, &rss_a, 0, 4);
	xn_nic_close(a);
	there = count(n, &rss_a, 0, 8);
	assert_int_equal(there.outside, 0);
	assert_true(fnic_same(n, &before));
	assert_true(is_clean());
}

static void without_contexts_a_rule_leads_to_the_first_queue(void **state)
{
	struct fnic *n = a_nic(KIND(k_.contexts = false)), before = *n;
	struct xn_nic_cfg cfg = shared_of(n, 4, 4);
	struct xn_rss_config rss = a_guest(4), single = a_guest(1);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, &rss);
	struct arrivals a = count(n, &rss, 4, 4);

	expect_told(&told, XN_NIC_CORRECTED, "all frames come on queue 4, since the driver refuses an RSS context "
		    "(Operation not supported): give the guest");
	assert_int_equal(a.outside, 0);
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
	/* Which is all that a guest of one queue wants. */
	cfg = shared_of(n, 4, 1);
	x = opened(&cfg);
	told = set(x, &single);
	expect_exact(n, &told, &single, 4, 1);
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
	/* Somebody's rule of the same kind stays his. */
	n->rule[2].used = true;
	n->rule[2].c = (struct ethtool_rxnfc){ .fs.flow_type = ETHER_FLOW, .fs.location = 2, .fs.ring_cookie = 4 };
	memcpy(n->rule[2].c.fs.h_u.ether_spec.h_dest, mac, 6);
	memset(n->rule[2].c.fs.m_u.ether_spec.h_dest, 0xff, 6);
	before = *n;
	x = opened(&cfg);
	told = set(x, &single);
	expect_exact(n, &told, &single, 4, 1);
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
}

static void one_key_for_all_contexts_is_told(void **state)
{
	struct fnic *n = a_nic(KIND(k_.context_key = false)), before = *n;
	struct xn_nic_cfg cfg = shared_of(n, 4, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, &rss);

	expect_told(&told, XN_NIC_CORRECTED, "the NIC has another hash key, one for all its contexts");
	expect_told(&told, XN_NIC_CORRECTED, "ethtool -N fake0 rx-flow-hash udp4 sdfn");
	assert_int_equal(count(n, &rss, 4, 4).outside, 0);
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
}

static void contexts_run_out(void **state)
{
	struct fnic *n = a_nic(good), before;
	struct xn_nic_cfg cfg = shared_of(n, 4, 2);
	struct xn_rss_config rss = a_guest(2);
	struct xn_nic_told told;
	struct xn_nic *x;

	for (unsigned i = 1; i < FNIC_CONTEXTS; i++)
		n->ctx[i] = n->ctx[0];
	before = *n;
	x = opened(&cfg);
	told = set(x, &rss);
	expect_told(&told, XN_NIC_CORRECTED, "the driver refuses an RSS context (No space left on device)");
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
}

static void guest_that_has_all_queues_needs_no_context(void **state)
{
	struct fnic *n = a_nic(KIND(k_.contexts = k_.rules = false));
	struct xn_nic_cfg cfg = shared_of(n, 0, 8);
	struct xn_rss_config rss = a_guest(8);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, &rss);

	expect_exact(n, &told, &rss, 0, 8);
	xn_nic_close(x);
	cfg = shared_of(n, 0, 4);
	x = opened(&cfg);
	rss = a_guest(4);
	told = set(x, &rss);
	expect_told(&told, XN_NIC_UNSUPPORTED, "acme has no rules by address");
	expect_told(&told, XN_NIC_UNSUPPORTED, "filter=all");
	xn_nic_close(x);
}

/* ---- others, and drivers that forget ---- */

static void what_a_driver_forgot_is_set_again(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, &rss);
	bool again;

	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_false(again);
	fnic_forget(n, 8);
	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_true(again);
	expect_exact(n, &told, &rss, 0, 4);
	/* Fewer queues than the guest has: nothing helps until there are more. */
	fnic_forget(n, 2);
	assert_int_equal(xn_nic_check(x, &told, NULL), 0);
	expect_told(&told, XN_NIC_UNSUPPORTED, "ethtool -L fake0 combined 4");
	fnic_forget(n, 8);
	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_true(again);
	expect_exact(n, &told, &rss, 0, 4);
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
}

static void what_a_driver_does_not_know_it_forgot_is_set_again(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told;
	bool again;

	assert_int_equal(xn_nic_repeat(x, &told), -EINVAL);
	assert_int_equal(xn_nic_check(x, &told, &again), -EINVAL);
	told = set(x, &rss);
	n->amnesia = true;
	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_false(again);
	assert_true(count(n, &rss, 0, 4).right < FRAMES / 2);
	assert_int_equal(xn_nic_repeat(x, &told), 0);
	expect_exact(n, &told, &rss, 0, 4);
	/* Another number of queues is a sign. */
	n->amnesia = true;
	n->kind.rings = 6;
	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_true(again);
	expect_exact(n, &told, &rss, 0, 4);
	n->kind.rings = 8;
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
}

static void context_and_rule_that_somebody_deleted_are_made_again(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = shared_of(n, 4, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);
	struct xn_nic_told told = set(x, &rss);
	enum xn_nic_status first = told.status;
	bool again;

	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_false(again);
	for (unsigned i = 0; i < FNIC_RULES; i++)
		n->rule[i].used = false;
	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_true(again);
	assert_int_equal(told.status, first);
	assert_int_equal(count(n, &rss, 4, 4).outside, 0);
	for (unsigned i = 0; i < FNIC_RULES; i++)
		n->rule[i].used = false;
	n->ctx[1].used = false;
	assert_int_equal(xn_nic_check(x, &told, &again), 0);
	assert_true(again);
	assert_int_equal(count(n, &rss, 4, 4).outside, 0);
	xn_nic_close(x);
	assert_true(fnic_same(n, &before));
}

static void what_somebody_else_has_set_meanwhile_stays_his(void **state)
{
	struct fnic *n = a_nic(good), his;
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic *x = opened(&cfg);

	set(x, &rss);
	for (unsigned i = 0; i < n->kind.table_len; i++)
		n->ctx[0].table[i] = 7;
	his = *n;
	xn_nic_close(x);
	assert_true(fnic_same(n, &his));
	assert_true(is_clean());
}

static void interface_has_one_owner(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4), range = shared_of(n, 4, 4), elsewhere = cfg;
	struct xn_nic *x = opened(&cfg), *y;

	elsewhere.ifindex++;
	assert_int_equal(xn_nic_open(&y, &cfg), -EBUSY);
	assert_null(y);
	assert_non_null(strstr(xn_last_error(), "another process has programmed this NIC"));
	y = opened(&elsewhere);
	xn_nic_close(y);
	y = opened(&range);
	xn_nic_close(y);
	xn_nic_close(x);
	y = opened(&cfg);
	xn_nic_close(y);
	assert_true(is_clean());
}

/* ---- faults ---- */

/* Which guests on which NICs: whole, context, one queue. */
static const struct { struct fnic_kind kind; unsigned start; bool shared; } places[] = {
	{ { .driver = "acme", .rings = 8, .table_len = 128, .key_len = 40, .rss = true, .table_set = true,
	    .key_set = true, .fields_get = true, .fields_set = true, .hfuncs = 3, .xfrms = 1 }, 0, false },
	{ { .driver = "acme", .rings = 8, .table_len = 128, .key_len = 40, .rss = true, .table_set = true,
	    .key_set = true, .fields_get = true, .fields_set = true, .contexts = true, .context_key = true,
	    .rules = true, .rules_off = true }, 4, true },
	{ { .driver = "acme", .rings = 8, .table_len = 128, .key_len = 40, .rss = true, .table_set = true,
	    .key_set = true, .fields_get = true, .fields_set = true, .contexts = true, .rules = true,
	    .any_place = true }, 4, true },
	{ { .driver = "acme", .rings = 8, .table_len = 128, .key_len = 40, .rss = true, .table_set = true,
	    .rules = true, .rules_off = true }, 4, true },
};

static struct xn_nic_cfg place(struct fnic *n, unsigned i)
{
	return places[i].shared ? shared_of(n, places[i].start, 4) : cfg_of(n, places[i].start, 4);
}

/* Programs twice, in a process of its own that dies in front of change `at`. False: it did not
 * get that far, and ended as it should. */
static bool dies_at(struct fnic *n, unsigned i, unsigned at)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		struct xn_nic_cfg cfg = place(n, i);
		struct xn_rss_config rss = a_guest(4);
		struct xn_nic_told told;
		struct xn_nic *x;

		n->die_at = n->changes + at;
		if (xn_nic_open(&x, &cfg) || xn_nic_set(x, &rss, &told) || xn_rss_set_table(&rss, "0,1,3,2", 4) ||
		    xn_nic_set(x, &rss, &told))
			_exit(2);
		xn_nic_close(x);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 2)
		fail_msg("place %u, change %u: status %x", i, at, (unsigned)status);
	n->die_at = 0;
	return WEXITSTATUS(status) == FNIC_DEAD;
}

static void death_at_any_point_is_put_back_by_the_next_owner(void **state)
{
	unsigned deaths = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(places); i++)
		for (unsigned at = 1;; at++) {
			struct fnic *n = a_nic(places[i].kind), before = *n;
			struct xn_nic_cfg cfg = place(n, i);

			if (!dies_at(n, i, at))
				break;
			deaths++;
			xn_nic_close(opened(&cfg));
			if (!fnic_same(n, &before))
				fail_msg("place %u, death in front of change %u: not as it was", i, at);
			assert_true(is_clean());
		}
	assert_true(deaths > 15);
}

static void other_owners_put_back_too_what_the_dead_left(void **state)
{
	struct fnic *n = a_nic(places[1].kind), before = *n;
	struct xn_nic_cfg cfg = shared_of(n, 0, 2);

	assert_true(dies_at(n, 1, 4));
	assert_false(fnic_same(n, &before));
	xn_nic_close(opened(&cfg));
	assert_true(fnic_same(n, &before));
	assert_true(is_clean());
	/* An interface that has gone, or another one with its number, is not touched. */
	assert_true(dies_at(n, 1, 4));
	before = *n;
	cfg.ifindex++;
	xn_nic_close(opened(&cfg));
	assert_true(fnic_same(n, &before));
	assert_true(is_clean());
}

static void what_is_refused_at_any_point_is_put_back(void **state)
{
	static const int errors[] = { EOPNOTSUPP, EINVAL, EBUSY, EPERM, ENOMEM, ENODEV };
	unsigned failures = 0;

	for (unsigned e = 0; e < XN_ARRAY_SIZE(errors); e++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(places); i++)
			for (unsigned at = 1; at < 40; at++) {
				struct fnic *n = a_nic(places[i].kind), before = *n;
				struct xn_nic_cfg cfg = place(n, i);
				struct xn_rss_config rss = a_guest(4);
				struct xn_nic *x = opened(&cfg);
				struct xn_nic_told told;
				int err;

				n->fail_at = at;
				n->fail_with = errors[e];
				err = xn_nic_set(x, &rss, &told);
				if (n->changes < at) {
					xn_nic_close(x);
					break;
				}
				failures++;
				if (err && (err != -errors[e] || told.status != XN_NIC_UNSUPPORTED || !told.why[0]))
					fail_msg("%d: %s", err, told.why);
				if (told.status == XN_NIC_EXACT)
					assert_int_equal(count(n, &rss, cfg.start, 4).right, FRAMES);
				xn_nic_close(x);
				if (!fnic_same(n, &before))
					fail_msg("place %u, %s at change %u: not as it was", i, strerror(errors[e]), at);
			}
	assert_true(failures > 50);
	assert_true(is_clean());
}

static void table_that_no_longer_fits_becomes_the_drivers_own(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_nic_cfg cfg = cfg_of(n, 0, 2);
	struct xn_rss_config rss = a_guest(2);
	struct xn_nic *x;

	for (unsigned i = 0; i < n->kind.table_len; i++)
		n->ctx[0].table[i] = 7;
	x = opened(&cfg);
	set(x, &rss);
	n->kind.rings = 4;
	xn_nic_close(x);
	for (unsigned i = 0; i < n->kind.table_len; i++)
		assert_int_equal(n->ctx[0].table[i], i % 4);
}

/* ---- the file ---- */

struct note { unsigned number; char text[5000]; };

static void records_are_whole_or_those_of_before(void **state)
{
	struct note in = { .number = 1 }, out;
	struct xn_saved s;
	char path[128];
	off_t bytes;
	int fd;

	snprintf(path, sizeof(path), "%s/a", dir_path);
	assert_int_equal(xn_saved_open(&s, dir_fd, "a", 0), 0);
	assert_false(xn_saved_read(&s, &out, sizeof(out)));
	for (; in.number <= 3; in.number++)
		assert_int_equal(xn_saved_write(&s, &in, sizeof(in)), 0);
	xn_saved_close(&s, true);
	/* The third was not finished: any byte of it. */
	fd = open(path, O_RDWR);
	bytes = lseek(fd, 0, SEEK_END) / 2;
	for (off_t at = 0; at < bytes; at += 37) {
		uint8_t was, other;

		assert_int_equal(pread(fd, &was, 1, at), 1);
		other = (uint8_t)~was;
		assert_int_equal(pwrite(fd, &other, 1, at), 1);
		assert_int_equal(xn_saved_open(&s, dir_fd, "a", 0), 0);
		assert_true(xn_saved_read(&s, &out, sizeof(out)));
		assert_int_equal(out.number, 2);
		xn_saved_close(&s, true);
		assert_int_equal(pwrite(fd, &was, 1, at), 1);
	}
	assert_int_equal(xn_saved_open(&s, dir_fd, "a", 0), 0);
	assert_true(xn_saved_read(&s, &out, sizeof(out)));
	assert_int_equal(out.number, 3);
	/* Of another length: of another version. */
	assert_false(xn_saved_read(&s, &out, sizeof(out) - 8));
	xn_saved_close(&s, false);
	close(fd);
	assert_true(is_clean());
}

static void files_that_others_may_write_are_not_believed(void **state)
{
	struct xn_saved s;
	char path[128], link[128];
	int fd;

	snprintf(path, sizeof(path), "%s/b", dir_path);
	snprintf(link, sizeof(link), "%s/c", dir_path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0 && !fchmod(fd, 0666));
	assert_int_equal(xn_saved_open(&s, dir_fd, "b", 0), -EPERM);
	assert_int_equal(fchmod(fd, 0600), 0);
	if (!geteuid()) {
		assert_int_equal(fchown(fd, 65534, 65534), 0);
		assert_int_equal(xn_saved_open(&s, dir_fd, "b", 0), -EPERM);
		assert_int_equal(fchown(fd, 0, 0), 0);
	}
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(xn_saved_open(&s, dir_fd, "c", 0), -ELOOP);
	assert_int_equal(xn_saved_open(&s, dir_fd, "b", 0), 0);
	xn_saved_close(&s, false);
	close(fd);
	unlink(link);
	assert_int_equal(chmod(dir_path, 0777), 0);
	assert_int_equal(xn_saved_dir(&fd, dir_path), -EPERM);
	assert_int_equal(fd, -1);
	assert_int_equal(chmod(dir_path, 0700), 0);
	assert_int_equal(xn_saved_dir(&fd, "/dev/null"), -ENOTDIR);
}

static void state_that_cannot_be_kept_stops_programming(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_nic_cfg cfg = cfg_of(n, 0, 4);
	struct xn_rss_config rss = a_guest(4);
	struct xn_nic_told told;
	struct xn_nic *x;
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		/* The file is opened; then nothing can be written any more. */
		if (xn_nic_open(&x, &cfg))
			_exit(1);
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 100, 100 });
		status = xn_nic_set(x, &rss, &told);
		if (status >= 0 || n->changes || told.status != XN_NIC_UNSUPPORTED)
			_exit(2);
		xn_nic_close(x);
		_exit(n->changes ? 3 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(fnic_same(n, &before));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_arrive_where_the_guest_computes_them),
		cmocka_unit_test(longer_tables_that_repeat_themselves_fit_shorter_ones),
		cmocka_unit_test(guest_of_one_queue_needs_no_hash),
		cmocka_unit_test(guest_without_rss_has_frames_spread_over_its_queues),
		cmocka_unit_test(what_is_right_already_is_left_alone),
		cmocka_unit_test(what_a_nic_cannot_do_is_told_with_its_reason),
		cmocka_unit_test(short_key_is_enough_for_short_inputs),
		cmocka_unit_test(veth_is_told_what_makes_it_exact),
		cmocka_unit_test(frames_without_a_hash_are_looked_after),
		cmocka_unit_test(exact_is_told_only_of_what_is_exact),
		cmocka_unit_test(what_is_foreseen_comes_true_and_changes_nothing),
		cmocka_unit_test(guests_that_share_a_nic_have_a_context_each),
		cmocka_unit_test(without_contexts_a_rule_leads_to_the_first_queue),
		cmocka_unit_test(one_key_for_all_contexts_is_told),
		cmocka_unit_test(contexts_run_out),
		cmocka_unit_test(guest_that_has_all_queues_needs_no_context),
		cmocka_unit_test(what_a_driver_forgot_is_set_again),
		cmocka_unit_test(what_a_driver_does_not_know_it_forgot_is_set_again),
		cmocka_unit_test(context_and_rule_that_somebody_deleted_are_made_again),
		cmocka_unit_test(what_somebody_else_has_set_meanwhile_stays_his),
		cmocka_unit_test(interface_has_one_owner),
		cmocka_unit_test(death_at_any_point_is_put_back_by_the_next_owner),
		cmocka_unit_test(other_owners_put_back_too_what_the_dead_left),
		cmocka_unit_test(what_is_refused_at_any_point_is_put_back),
		cmocka_unit_test(table_that_no_longer_fits_becomes_the_drivers_own),
		cmocka_unit_test(records_are_whole_or_those_of_before),
		cmocka_unit_test(files_that_others_may_write_are_not_believed),
		cmocka_unit_test(state_that_cannot_be_kept_stops_programming),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
