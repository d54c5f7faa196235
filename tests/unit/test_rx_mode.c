/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/rx_mode.c: each command changes what it names and nothing else; what is not
 * negotiated, too short, too long, or makes no sense is refused and changes nothing; tables
 * that are longer than what is kept open the filter for their kind, and no wider.
 */
#include <linux/virtio_net.h>
#include <string.h>

#include "tests/cmocka.h"
#include "base/types.h"
#include "virtio/rx_mode.h"

static const struct xn_rx_mode_rules all = { true, true, true, true };
static const uint8_t own[6] = { 2, 0, 0, 0, 0, 9 };

static struct xn_rx_filter fresh(void)
{
	struct xn_rx_filter f;

	xn_rx_mode_reset(&f, &all, own);
	return f;
}

static bool same(const struct xn_rx_filter *a, const struct xn_rx_filter *b)
{
	return a->promisc == b->promisc && a->alluni == b->alluni && a->allmulti == b->allmulti &&
	       a->nouni == b->nouni && a->nomulti == b->nomulti && a->nobcast == b->nobcast &&
	       a->many_uni == b->many_uni && a->many_multi == b->many_multi && a->vlan == b->vlan &&
	       a->n_uni == b->n_uni && a->n_multi == b->n_multi && !memcmp(a->mac, b->mac, 6) &&
	       !memcmp(a->macs, b->macs, sizeof(a->macs)) &&
	       !memcmp(a->vlans, b->vlans, sizeof(a->vlans));
}

static void a_device_that_was_told_nothing_takes_everything(void **state)
{
	const struct xn_rx_filter f = fresh();
	uint8_t frame[60] = { 1 };

	assert_true(xn_filter_takes(&f, frame, sizeof(frame)));
	assert_memory_equal(f.mac, own, 6);
	assert_true(f.vlan);
}

static void each_mode_has_its_flag(void **state)
{
	const size_t at[] = {
		offsetof(struct xn_rx_filter, promisc), offsetof(struct xn_rx_filter, allmulti),
		offsetof(struct xn_rx_filter, alluni), offsetof(struct xn_rx_filter, nomulti),
		offsetof(struct xn_rx_filter, nouni), offsetof(struct xn_rx_filter, nobcast),
	};

	for (unsigned c = 0; c < XN_ARRAY_SIZE(at); c++)
		for (uint8_t on = 0; on < 2; on++) {
			struct xn_rx_filter f = fresh(), want = f;
			struct xn_rx_mode_rules rules = all;
			uint8_t data[2] = { on, 0 };

			((bool *)&want)[at[c]] = on;
			assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_RX, (uint8_t)c, data, 1), VIRTIO_NET_OK);
			assert_true(same(&f, &want));
			assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_RX, (uint8_t)c, data, 0), VIRTIO_NET_ERR);
			assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_RX, (uint8_t)c, data, 2), VIRTIO_NET_ERR);
			data[0] = 2;
			assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_RX, (uint8_t)c, data, 1), VIRTIO_NET_ERR);
			data[0] = !on;
			rules.rx_extra = false;
			assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_RX, (uint8_t)c, data, 1),
					 c > 1 ? VIRTIO_NET_ERR : VIRTIO_NET_OK);
			rules.rx = false;
			assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_RX, (uint8_t)c, data, 1), VIRTIO_NET_ERR);
		}
	for (unsigned c = XN_ARRAY_SIZE(at); c < 256; c++) {
		struct xn_rx_filter f = fresh();

		assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_RX, (uint8_t)c, (uint8_t[]){ 1 }, 1),
				 VIRTIO_NET_ERR);
	}
}

/* A command of so many unicast and group addresses; returns its length. */
static uint32_t make_tables(uint8_t *to, uint32_t uni, uint32_t multi)
{
	uint8_t *p = to;

	for (unsigned kind = 0; kind < 2; kind++) {
		const uint32_t n = kind ? multi : uni;

		memcpy(p, &n, 4);
		p += 4;
		for (uint32_t i = 0; i < n; i++, p += 6)
			memcpy(p, (uint8_t[]){ (uint8_t)(2 | kind), 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i }, 6);
	}
	return (uint32_t)(p - to);
}

static bool takes(const struct xn_rx_filter *f, uint8_t first, unsigned i)
{
	uint8_t frame[60] = { first, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i };

	return xn_filter_takes(f, frame, sizeof(frame));
}

static void tables_of_any_length_take_what_they_list(void **state)
{
	static const uint32_t lengths[] = { 0, 1, 31, 32, 33, 63, 64, 65, 200 };

	for (unsigned u = 0; u < XN_ARRAY_SIZE(lengths); u++)
		for (unsigned m = 0; m < XN_ARRAY_SIZE(lengths); m++) {
			struct xn_rx_filter f = fresh();
			uint8_t data[4096];
			uint32_t bytes = make_tables(data, lengths[u], lengths[m]);

			f.promisc = false;
			assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
							    data, bytes), VIRTIO_NET_OK);
			for (unsigned i = 0; i < lengths[u]; i++)
				assert_true(takes(&f, 2, i));
			for (unsigned i = 0; i < lengths[m]; i++)
				assert_true(takes(&f, 3, i));
			/* What is not listed comes only where the table was too long. */
			assert_int_equal(takes(&f, 2, 4000), lengths[u] > 32);
			assert_int_equal(takes(&f, 3, 4000), f.many_multi);
			assert_int_equal(f.many_multi, lengths[m] > 64 - (lengths[u] > 32 ? 0 : lengths[u]));
			/* The next table takes the place of this one. */
			bytes = make_tables(data, 0, 0);
			assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
							    data, bytes), VIRTIO_NET_OK);
			assert_false(takes(&f, 2, 0) || takes(&f, 3, 0));
		}
}

static void lies_about_tables_change_nothing(void **state)
{
	static const uint32_t counts[] = { 3, 0x2aaaaaab, 0x80000000, UINT32_MAX };
	struct xn_rx_filter f = fresh(), before = f;
	uint8_t data[64];
	const uint32_t bytes = make_tables(data, 2, 2);

	for (uint32_t n = 0; n < bytes; n++)
		assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
						    data, n), VIRTIO_NET_ERR);
	assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data,
					    bytes + 1), VIRTIO_NET_ERR);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(counts); i++)
		for (unsigned table = 0; table < 2; table++) {
			make_tables(data, 2, 2);
			memcpy(data + 16 * table, &counts[i], 4);
			assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_MAC,
							    VIRTIO_NET_CTRL_MAC_TABLE_SET, data, bytes),
					 VIRTIO_NET_ERR);
		}
	assert_true(same(&f, &before));
}

static void address_is_one_of_a_single_station(void **state)
{
	struct xn_rx_filter f = fresh(), before = f;
	struct xn_rx_mode_rules rules = all;
	uint8_t mac[7] = { 6, 1, 2, 3, 4, 5 };

	mac[0] |= 1;
	assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
			 VIRTIO_NET_ERR);
	mac[0] = 6;
	assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 5),
			 VIRTIO_NET_ERR);
	assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 7),
			 VIRTIO_NET_ERR);
	rules.mac_addr = false;
	assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
			 VIRTIO_NET_ERR);
	assert_true(same(&f, &before));
	assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
			 VIRTIO_NET_OK);
	assert_memory_equal(f.mac, mac, 6);
}

static void vlans_come_and_go_one_by_one(void **state)
{
	struct xn_rx_filter f = fresh(), before = f;
	struct xn_rx_mode_rules rules = all;

	for (unsigned id = 0; id < 4096; id += 13) {
		const uint8_t data[2] = { (uint8_t)id, (uint8_t)(id >> 8) };

		assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, data, 2),
				 VIRTIO_NET_OK);
	}
	for (unsigned id = 0; id < 4096; id++)
		assert_int_equal(xn_filter_has_vlan(&f, id), id % 13 == 0);
	for (unsigned id = 0; id < 4096; id++) {
		const uint8_t data[2] = { (uint8_t)id, (uint8_t)(id >> 8) };

		assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, data, 2),
				 VIRTIO_NET_OK);
	}
	assert_true(same(&f, &before));
	assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_VLAN, 0, (uint8_t[]){ 0, 16 }, 2), VIRTIO_NET_ERR);
	assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_VLAN, 2, (uint8_t[]){ 0, 0 }, 2), VIRTIO_NET_ERR);
	assert_int_equal(xn_rx_mode_command(&f, &all, VIRTIO_NET_CTRL_VLAN, 0, (uint8_t[]){ 0, 0 }, 1), VIRTIO_NET_ERR);
	rules.vlan = false;
	assert_int_equal(xn_rx_mode_command(&f, &rules, VIRTIO_NET_CTRL_VLAN, 0, (uint8_t[]){ 0, 0 }, 2), VIRTIO_NET_ERR);
	assert_true(same(&f, &before));
}

static void other_classes_are_not_its_business(void **state)
{
	struct xn_rx_filter f = fresh(), before = f;

	for (unsigned class = 3; class < 256; class++)
		assert_int_equal(xn_rx_mode_command(&f, &all, (uint8_t)class, 0, (uint8_t[8]){ 1 }, 1), VIRTIO_NET_ERR);
	assert_true(same(&f, &before));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_that_was_told_nothing_takes_everything),
		cmocka_unit_test(each_mode_has_its_flag),
		cmocka_unit_test(tables_of_any_length_take_what_they_list),
		cmocka_unit_test(lies_about_tables_change_nothing),
		cmocka_unit_test(address_is_one_of_a_single_station),
		cmocka_unit_test(vlans_come_and_go_one_by_one),
		cmocka_unit_test(other_classes_are_not_its_business),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
