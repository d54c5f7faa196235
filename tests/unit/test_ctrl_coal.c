/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of the commands of notification coalescing (engine/ctrl_coal.c): the last one counts for
 * a ring, whichever it was; what was set is told again as it was; and what was not negotiated, is
 * of another length, or names a ring that is not enabled changes nothing.
 */
#include "engine/dev.h"
#include "tests/unit/ctrl_rig.h"

#define NOTF_COAL    (1ull << XN_NET_F_NOTF_COAL)
#define VQ_NOTF_COAL (1ull << XN_NET_F_VQ_NOTF_COAL)
#define CLASS 6
enum { TX_SET, RX_SET, VQ_SET, VQ_GET };

struct coal { uint32_t packets, usecs; };
struct coal_vq { uint16_t index, reserved; struct coal coal; };

static void open_with_rings(uint64_t features)
{
	open_rig(CTRL_VQ | features);
	for (unsigned i = 0; i < CTRL; i++) {
		struct xn_vring v = drv_vring(i);

		if (i != r.ring)
			assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
	}
}

static uint8_t set_all(uint8_t command, uint32_t packets, uint32_t usecs)
{
	return ask(CLASS, command, &(struct coal){ packets, usecs }, 8);
}

static uint8_t set_ring(unsigned index, uint32_t packets, uint32_t usecs)
{
	return ask(CLASS, VQ_SET, &(struct coal_vq){ (uint16_t)index, 0xffff, { packets, usecs } }, 12);
}

/* The verdict of a VQ_GET; what came with it in *c. */
static uint8_t get_ring(unsigned index, struct coal *c)
{
	uint8_t *cmd = r.drv.ram + CMD_AT, *answer = r.drv.ram + ACK_AT - 8;
	uint32_t len;

	cmd[0] = CLASS;
	cmd[1] = VQ_GET;
	memcpy(cmd + 2, &(struct coal_vq){ .index = (uint16_t)index }, 4);
	memset(answer, UNTOUCHED, 9);
	desc(5, CMD_AT, 6, NEXT, 6);
	desc(6, ACK_AT - 8, 9, W, 0);
	offer(5);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 1);
	assert_int_equal(back(&len), 5);
	assert_int_equal(len, 9);
	memcpy(c, answer, sizeof(*c));
	return answer[8];
}

static void is_set(unsigned index, uint32_t packets, uint32_t usecs)
{
	struct coal c;

	assert_int_equal(get_ring(index, &c), VIRTIO_NET_OK);
	assert_int_equal(c.packets, packets);
	assert_int_equal(c.usecs, usecs);
}

static void the_last_command_counts(void **state)
{
	open_with_rings(MQ | NOTF_COAL | VQ_NOTF_COAL);
	for (unsigned i = 0; i < CTRL; i++)
		is_set(i, 0, 0);
	assert_int_equal(set_all(RX_SET, 10, 20), VIRTIO_NET_OK);
	assert_int_equal(set_all(TX_SET, 30, UINT32_MAX), VIRTIO_NET_OK);
	assert_int_equal(set_ring(2, UINT32_MAX, 60), VIRTIO_NET_OK);
	assert_int_equal(set_ring(5, 70, 80), VIRTIO_NET_OK);
	is_set(0, 10, 20);
	is_set(1, 30, UINT32_MAX);
	is_set(2, UINT32_MAX, 60);
	is_set(3, 30, UINT32_MAX);
	is_set(4, 10, 20);
	is_set(5, 70, 80);
	assert_int_equal(set_all(RX_SET, 1, 2), VIRTIO_NET_OK);
	for (unsigned i = 0; i < CTRL; i += 2)
		is_set(i, 1, 2);
	is_set(5, 70, 80);
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_reset(r.dev), 0);
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
	for (unsigned i = 0; i < CTRL; i++)
		is_set(i, 0, 0);
	close_rig();
}

static void nothing_else_changes_anything(void **state)
{
	static const uint32_t lens[] = { 0, 1, 4, 7, 9, 11, 13, 64, 9000 };
	static const uint8_t zeros[9000];
	struct coal c;

	open_with_rings(MQ | NOTF_COAL | VQ_NOTF_COAL);
	assert_int_equal(set_all(RX_SET, 1, 2), VIRTIO_NET_OK);
	assert_int_equal(set_all(TX_SET, 3, 4), VIRTIO_NET_OK);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(lens); i++)
		for (unsigned command = 0; command < 256; command++)
			if (command != VQ_GET || lens[i] != 4)
				assert_int_equal(ask(CLASS, (uint8_t)command, zeros, XN_MIN(lens[i], 4000u)),
						 VIRTIO_NET_ERR);
	for (unsigned index = CTRL; index < 65536; index += 1 + index / 3) {
		assert_int_equal(set_ring(index, 5, 6), VIRTIO_NET_ERR);
		assert_int_equal(get_ring(index, &c), VIRTIO_NET_ERR);
		assert_int_equal(c.packets | c.usecs, 0);
	}
	assert_int_equal(xn_dev_unset_vring(r.dev, 3), 0);      /* not enabled */
	assert_int_equal(set_ring(3, 5, 6), VIRTIO_NET_ERR);
	for (unsigned i = 0; i < CTRL; i++)
		if (i != 3)
			is_set(i, 1 + i % 2 * 2, 2 + i % 2 * 2);
	close_rig();
}

static void commands_belong_to_their_features(void **state)
{
	struct coal c;

	open_with_rings(MQ | NOTF_COAL);
	assert_int_equal(set_all(RX_SET, 1, 2), VIRTIO_NET_OK);
	assert_int_equal(set_all(TX_SET, 1, 2), VIRTIO_NET_OK);
	assert_int_equal(set_ring(0, 1, 2), VIRTIO_NET_ERR);
	assert_int_equal(get_ring(0, &c), VIRTIO_NET_ERR);
	close_rig();

	open_with_rings(VQ_NOTF_COAL);
	assert_int_equal(set_all(RX_SET, 1, 2), VIRTIO_NET_ERR);
	assert_int_equal(set_all(TX_SET, 1, 2), VIRTIO_NET_ERR);
	assert_int_equal(set_ring(0, 1, 2), VIRTIO_NET_OK);
	is_set(0, 1, 2);
	assert_int_equal(set_ring(1, 3, 4), VIRTIO_NET_OK);
	is_set(1, 3, 4);
	for (unsigned i = 2; i < CTRL; i++)     /* without MQ 2 is the control queue, and the last */
		assert_int_equal(set_ring(i, 1, 2), VIRTIO_NET_ERR);
	close_rig();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_command_counts),
		cmocka_unit_test(nothing_else_changes_anything),
		cmocka_unit_test(commands_belong_to_their_features),
	};

	return cmocka_run_group_tests_name("ctrl_coal", tests, NULL, NULL);
}
