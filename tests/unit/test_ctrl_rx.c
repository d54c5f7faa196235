/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of receive mode, MAC addresses and VLANs on the control queue (engine/ctrl_rx.c): what
 * the driver says reaches the port before it is answered; what is wrong changes nothing; a
 * driver that begins anew gets every frame, at the device's address; ports that cannot filter,
 * or whose address is fixed, do not offer it.
 */
#include <stdlib.h>

#include "base/log.h"
#include "tests/unit/ctrl_rig.h"

#define RX       (1ull << VIRTIO_NET_F_CTRL_RX)
#define EXTRA    (1ull << VIRTIO_NET_F_CTRL_RX_EXTRA)
#define VLAN     (1ull << VIRTIO_NET_F_CTRL_VLAN)
#define MAC_ADDR (1ull << VIRTIO_NET_F_CTRL_MAC_ADDR)
#define FILTERS  (RX | EXTRA | VLAN | MAC_ADDR)

static uint8_t ask_mode(uint8_t command, uint8_t on)
{
	return ask(VIRTIO_NET_CTRL_RX, command, &on, 1);
}

static void what_the_driver_wants_reaches_the_port(void **state)
{
	static const uint8_t mac[6] = { 2, 3, 4, 5, 6, 7 };
	static const uint8_t tables[] = { 1, 0, 0, 0, 2, 0, 0, 0, 0, 8, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1 };
	const uint16_t vlan = 77;
	uint8_t now[6];

	open_rig_on(ALL | FILTERS, true);
	assert_false(r.told.filters_on);
	assert_int_equal(ask_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	assert_true(r.told.filters_on);
	assert_false(r.told.filter.promisc);
	assert_int_equal(ask_mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1), VIRTIO_NET_OK);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, sizeof(tables)), VIRTIO_NET_OK);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6), VIRTIO_NET_OK);
	assert_int_equal(ask(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2), VIRTIO_NET_OK);
	assert_true(r.told.filter.nobcast && r.told.filter.vlan && xn_filter_has_vlan(&r.told.filter, 77));
	assert_int_equal(r.told.filter.n_uni, 1);
	assert_int_equal(r.told.filter.n_multi, 1);
	assert_memory_equal(r.told.filter.macs[0], tables + 4, 6);
	assert_memory_equal(r.told.filter.mac, mac, 6);
	xn_dev_get_mac(r.dev, now);
	assert_memory_equal(now, mac, 6);
	assert_int_equal(count("ctrl_errors"), 0);
	close_rig();
}

static void what_is_wrong_changes_nothing(void **state)
{
	static const uint8_t lie[] = { 255, 255, 255, 255, 2, 0, 0, 0, 0, 8, 0, 0, 0, 0 };
	static uint8_t long_table[4 + 6 * 1365 + 4];
	const uint32_t many = 1365;
	unsigned told;

	open_rig_on(ALL | FILTERS, true);
	told = r.told.filters;
	assert_int_equal(ask_mode(VIRTIO_NET_CTRL_RX_PROMISC, 2), VIRTIO_NET_ERR);
	assert_int_equal(ask_mode(6, 1), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, lie, sizeof(lie)), VIRTIO_NET_ERR);
	/* Longer than what is copied of any command. */
	memcpy(long_table, &many, 4);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, long_table, sizeof(long_table)),
			 VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_VLAN, 0, lie, 2), VIRTIO_NET_ERR);
	assert_int_equal(r.told.filters, told);
	assert_int_equal(count("ctrl_errors"), 5);
	queue_still_answers();
	close_rig();
}

static void what_was_not_accepted_is_refused(void **state)
{
	open_rig_on(ALL | RX, true);
	assert_int_equal(ask_mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1), VIRTIO_NET_OK);
	assert_int_equal(ask_mode(VIRTIO_NET_CTRL_RX_NOUNI, 1), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, (uint8_t[6]){ 2 }, 6), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_VLAN, 0, (uint8_t[2]){ 1 }, 2), VIRTIO_NET_ERR);
	close_rig();
	open_rig_on(ALL, true);
	assert_int_equal(ask_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_ERR);
	assert_false(r.told.filters_on);
	close_rig();
}

static void a_driver_that_begins_anew_gets_everything(void **state)
{
	uint8_t mac[6], first[6];

	open_rig_on(ALL | FILTERS, true);
	xn_dev_get_mac(r.dev, first);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, (uint8_t[6]){ 6 }, 6), VIRTIO_NET_OK);
	assert_int_equal(ask_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	assert_true(r.told.filters_on);
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_reset(r.dev), 0);
	assert_false(r.told.filters_on);
	xn_dev_get_mac(r.dev, mac);
	assert_memory_equal(mac, first, 6);
	close_rig();
}

static void only_ports_that_filter_offer_it(void **state)
{
	open_rig_on(ALL, false);
	assert_int_equal(xn_port_features(r.port) & FILTERS, 0);
	close_rig();
	open_rig_on(ALL, true);
	assert_int_equal(xn_port_features(r.port) & FILTERS, FILTERS);
	r.port->fixed_mac = true;
	assert_int_equal(xn_port_features(r.port) & FILTERS, FILTERS & ~MAC_ADDR);
	close_rig();
}

static uint64_t slow_calls;

static void slow_set_rx_filter(struct xn_port *port, const struct xn_rx_filter *f)
{
	const uint64_t end = xn_now_ns() + 15000000;

	while (xn_now_ns() < end)
		;
	slow_calls++;
}

/* Whoever serves the queue has other things to do. */
static void many_commands_that_take_long_are_not_answered_at_once(void **state)
{
	uint64_t took;

	open_rig_on(ALL | FILTERS, true);
	r.ops.set_rx_filter = slow_set_rx_filter;
	slow_calls = 0;
	memcpy(r.drv.ram + CMD_AT, (uint8_t[]){ VIRTIO_NET_CTRL_RX, 0, 1 }, 3);
	for (unsigned i = 0; i < 20; i++) {
		desc(2 * i, CMD_AT, 3, NEXT, 2 * i + 1);
		desc(2 * i + 1, ACK_AT, 1, W, 0);
		offer((uint16_t)(2 * i));
	}
	assert_int_equal(xn_dev_ctrl_run(r.dev), 64);
	took = slow_calls;
	assert_in_range(took, 1, 2);
	for (unsigned i = 0; i < 40 && slow_calls < 20; i++)
		xn_dev_ctrl_run(r.dev);
	assert_int_equal(slow_calls, 20);
	r.ops.set_rx_filter = port_set_rx_filter;
	close_rig();
}

/* 1364 addresses: as many as fit. */
static void longest_table_is_read_whole(void **state)
{
	static uint8_t table[4 + 4 + 6 * 1364];
	const uint32_t n = 1364;

	open_rig_on(ALL | FILTERS, true);
	memcpy(table + 4, &n, 4);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table)),
			 VIRTIO_NET_OK);
	assert_true(r.told.filter.many_multi);
	close_rig();
}

static void vlans_are_not_filtered_for_a_driver_that_came_from_elsewhere(void **state)
{
	const uint16_t vlan = 100;
	struct xn_vring v;

	open_rig_on(ALL | FILTERS, true);
	for (unsigned elsewhere = 0; elsewhere < 2; elsewhere++) {
		assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
		if (elsewhere)
			assert_int_equal(xn_dev_reset(r.dev), 0);
		v = drv_vring(r.ring);
		v.base = 7;
		drv_avail(&r.drv, r.ring)->idx = r.avail = 7;
		drv_used_ring(&r.drv, r.ring)->idx = r.seen = 7;
		assert_int_equal(xn_dev_set_vring(r.dev, r.ring, &v), 0);
		assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
		assert_int_equal(ask_mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
		assert_int_equal(ask(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2), VIRTIO_NET_OK);
		assert_int_equal(r.told.filter.vlan, !elsewhere);
	}
	close_rig();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_driver_wants_reaches_the_port),
		cmocka_unit_test(what_is_wrong_changes_nothing),
		cmocka_unit_test(longest_table_is_read_whole),
		cmocka_unit_test(vlans_are_not_filtered_for_a_driver_that_came_from_elsewhere),
		cmocka_unit_test(what_was_not_accepted_is_refused),
		cmocka_unit_test(a_driver_that_begins_anew_gets_everything),
		cmocka_unit_test(only_ports_that_filter_offer_it),
		cmocka_unit_test(many_commands_that_take_long_are_not_answered_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
