/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that the AF_XDP port programs its NIC as the guest's RSS says, tells what came of it, and
 * puts everything back; and that what a NIC cannot do is no failure of the port. The NIC is
 * tests/fake/ethtool.c, programmed by rss/nic.h.
 */
#include <errno.h>

#include "tests/fake/kernel.h"
#include "tests/unit/nic_rig.h"

static unsigned lines;

static void count_lines(void *arg, enum xn_log_level level, const char *line)
{
	lines++;
}

static struct xn_port *open_port(struct fnic *n, const char *spec)
{
	const struct xn_port_opts opts = { .mac = { 2, 2, 2, 2, 2, 2 } };
	struct xn_port *p;

	fk_host_reset();
	fk_host.eth = n ? &n->e : NULL;
	fk_host.eth_state = dir_fd;
	if (xn_port_open_xdp_on(&p, spec, &opts, &fk_host_sys))
		fail_msg("%s: %s", spec, xn_last_error());
	return p;
}

static struct xn_xdp_port *xdp_of(struct xn_port *p)
{
	return XN_CONTAINER_OF(p, struct xn_xdp_port, port);
}

/* What a guest that sets this is told in the end. */
static struct xn_port_rss port_set(struct xn_port *p, const struct xn_rss_config *rss)
{
	struct xn_port_rss r = { .sz = sizeof(r) };

	assert_int_equal(p->ops->set_rss(p, rss), 0);
	assert_int_equal(xn_port_get_rss(p, &r), 0);
	return r;
}

static void expect_arrivals(const struct fnic *n, const struct xn_rss_config *rss, unsigned queues)
{
	struct arrivals a = count(n, rss, 0, queues);

	if (a.right != FRAMES)
		fail_msg("%u right, %u wrong, %u outside", a.right, a.wrong, a.outside);
}

static void expect_port(const struct xn_port_rss *r, const char *status, const char *why)
{
	if (strcmp(r->status, status) != 0 || !strstr(r->why, why) || (!*why && *r->why))
		fail_msg("\"%s\": \"%s\", not \"%s\": \"%s\"", r->status, r->why, status, why);
}

static void guests_rss_becomes_the_nics_until_the_port_is_closed(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_port *p = open_port(n, "fake0,queues=4");
	struct xn_rss_config rss = a_guest(4);
	struct xn_port_rss r = { .sz = sizeof(r) };

	assert_int_equal(xn_port_get_rss(p, &r), 0);
	expect_port(&r, "", "");
	assert_int_equal(n->changes, 0);
	r = port_set(p, &rss);
	expect_port(&r, "exact", "");
	expect_arrivals(n, &rss, 4);
	assert_int_equal(xn_rss_set_key(&rss, "random"), 0);
	assert_int_equal(xn_rss_set_table(&rss, "0,3,1,2", 4), 0);
	r = port_set(p, &rss);
	expect_port(&r, "exact", "");
	expect_arrivals(n, &rss, 4);
	/* Without RSS frames stay on the guest's queues, at least. */
	port_set(p, NULL);
	assert_int_equal(count(n, &rss, 0, 4).outside, 0);
	xn_port_close(p);
	assert_true(fnic_same(n, &before));
	assert_true(is_clean());
}

static void one_queue_leaves_the_nic_alone(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_port *p = open_port(n, "fake0");
	struct xn_rss_config rss = a_guest(1);
	struct xn_port_rss r = port_set(p, &rss);

	expect_port(&r, "", "");
	xn_xdp_nic_check(xdp_of(p));
	xn_port_close(p);
	assert_int_equal(n->requests, 0);
}

static void nic_that_is_to_be_kept_is_kept(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_port *p = open_port(n, "fake0,queues=8,nic=keep");
	struct xn_rss_config rss = a_guest(8);
	struct xn_port_rss r = port_set(p, &rss);

	expect_port(&r, "corrected", "another hash key");
	expect_port(&r, "corrected", "nic=keep");
	xn_xdp_nic_check(xdp_of(p));
	xn_port_close(p);
	assert_int_equal(n->changes, 0);
	assert_true(is_clean());
}

static void what_the_link_made_it_forget_is_set_again(void **state)
{
	struct fnic *n = a_nic(good), before = *n;
	struct xn_port *p = open_port(n, "fake0,queues=4");
	struct xn_rss_config rss = a_guest(4);
	struct xn_port_rss r;
	unsigned changes;

	/* Nobody has asked for anything yet. */
	xn_xdp_nic_check(xdp_of(p));
	assert_int_equal(n->changes, 0);
	r = port_set(p, &rss);
	changes = n->changes;
	xn_xdp_nic_check(xdp_of(p));
	assert_int_equal(n->changes, changes);
	fnic_forget(n, 8);
	assert_true(count(n, &rss, 0, 4).right < FRAMES);
	xn_xdp_nic_check(xdp_of(p));
	expect_arrivals(n, &rss, 4);
	assert_int_equal(xn_port_get_rss(p, &r), 0);
	expect_port(&r, "exact", "");
	xn_port_close(p);
	assert_true(fnic_same(n, &before));
}

/* virtio_net: the number of queues is set with a program, which ends RSS; nobody tells. */
static void what_the_driver_does_not_know_is_found_by_where_frames_come(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_port *p = open_port(n, "fake0,queues=4");
	struct xn_rss_config rss = a_guest(4);
	unsigned changes;

	/* Attaching did it: the first set is a set of everything, twice asked or not. */
	for (unsigned i = 0; i < 40; i++)
		n->ctx[0].key[i] = rss.key[i];
	for (unsigned i = 0; i < n->kind.table_len; i++)
		n->ctx[0].table[i] = i % 4;
	n->amnesia = true;
	port_set(p, &rss);
	assert_false(n->amnesia);
	expect_arrivals(n, &rss, 4);
	/* It says that all is well, and nothing speaks against it. */
	n->amnesia = true;
	changes = n->changes;
	xn_xdp_nic_check(xdp_of(p));
	assert_int_equal(n->changes, changes);
	fk_host.exits[XN_E_steer_missteered] += 100;
	xn_xdp_nic_check(xdp_of(p));
	assert_false(n->amnesia);
	expect_arrivals(n, &rss, 4);
	/* Once is enough. */
	changes = n->changes;
	xn_xdp_nic_check(xdp_of(p));
	assert_int_equal(n->changes, changes);
	xn_port_close(p);
}

static void shared_nic_is_programmed_for_the_guests_address(void **state)
{
	struct fnic *n = a_nic(good), before;
	struct xn_rss_config rss = a_guest(4);
	struct xn_port_rss r;
	struct arrivals a;
	struct xn_port *p;
	unsigned rules = 0;

	n->fields[3] = n->fields[2];     /* of UDP as of TCP: these are everybody's */
	n->fields[5] = n->fields[4];
	before = *n;
	p = open_port(n, "fake0,queues=4,start=4,filter=mac");
	r = port_set(p, &rss);
	a = count(n, &rss, 4, 4);
	expect_port(&r, "exact", "");
	assert_int_equal(a.right, FRAMES);       /* frames of the rig are for `mac` */
	assert_memory_equal(n->ctx[0].key, before.ctx[0].key, 40);
	for (unsigned i = 0; i < FNIC_RULES; i++)
		rules += n->rule[i].used;
	assert_int_equal(rules, 1);
	xn_port_close(p);
	assert_true(fnic_same(n, &before));
}

static void what_cannot_be_is_told_and_no_failure(void **state)
{
	struct fnic *n = a_nic((struct fnic_kind){ .driver = "veth", .rings = 4 });
	struct xn_port *p = open_port(n, "fake0,queues=4");
	struct xn_rss_config rss = a_guest(4);
	struct xn_port_rss r = port_set(p, &rss);

	expect_port(&r, "corrected", "steer-peer");
	/* Nobody copies them over. */
	fk_host.exits[XN_E_steer_unfixed] = 100;
	assert_int_equal(xn_port_get_rss(p, &r), 0);
	expect_port(&r, "unsupported", "steer_unfixed");
	xn_port_close(p);
	/* No NIC that could be asked. */
	p = open_port(NULL, "fake0,queues=4");
	r = port_set(p, &rss);
	expect_port(&r, "unsupported", "the fake has no NIC");
	xn_xdp_nic_check(xdp_of(p));
	xn_port_close(p);
	/* One that refuses everything, since it may not be changed. */
	n = a_nic(good);
	p = open_port(n, "fake0,queues=4");
	n->fail_at = 1;
	n->fail_with = EPERM;
	r = port_set(p, &rss);
	expect_port(&r, "unsupported", "CAP_NET_ADMIN");
	/* ... and then may. */
	r = port_set(p, &rss);
	expect_port(&r, "exact", "");
	expect_arrivals(n, &rss, 4);
	xn_port_close(p);
}

static void guest_that_changes_its_mind_fills_no_log(void **state)
{
	struct fnic *n = a_nic(good);
	struct xn_port *p = open_port(n, "fake0,queues=4");
	struct xn_rss_config one = a_guest(4), other = a_guest(4);

	other.unclassified = 1;          /* corrected: ARP comes on the first */
	lines = 0;
	xn_set_log(count_lines, NULL, XN_LOG_DEBUG);
	for (unsigned i = 0; i < 200; i++)
		port_set(p, i % 2 ? &other : &one);
	xn_set_log(NULL, NULL, XN_LOG_WARN);
	assert_in_range(lines, 2, 3);
	xn_port_close(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_rss_becomes_the_nics_until_the_port_is_closed),
		cmocka_unit_test(one_queue_leaves_the_nic_alone),
		cmocka_unit_test(nic_that_is_to_be_kept_is_kept),
		cmocka_unit_test(what_the_link_made_it_forget_is_set_again),
		cmocka_unit_test(what_the_driver_does_not_know_is_found_by_where_frames_come),
		cmocka_unit_test(shared_nic_is_programmed_for_the_guests_address),
		cmocka_unit_test(what_cannot_be_is_told_and_no_failure),
		cmocka_unit_test(guest_that_changes_its_mind_fills_no_log),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
