/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of VIRTIO_NET_CTRL_GUEST_OFFLOADS (engine/guest_offloads.c): what the driver has
 * negotiated it may switch off and on again, with the next frame; nothing else; and whoever does
 * not know what it said gives it what every driver takes.
 */
#include "engine/dev.h"
#include "tests/unit/ctrl_rig.h"

#define GUEST_CSUM (1ull << VIRTIO_NET_F_GUEST_CSUM)
#define OFFLOADS   (1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)
#define RX_AT      0x400000u
#define TX_AT      0x500000u
#define IP_AT      (DRV_HDR + 14)
#define FRAME      (14 + 20 + 8 + 40)

static uint8_t set(uint64_t offloads)
{
	return ask(VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &offloads, 8);
}

static uint32_t add_words(const uint8_t *p, unsigned n, uint32_t sum)
{
	for (unsigned i = 0; i < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The pseudo header's sum of the UDP packet at ip. */
static uint32_t pseudo(const uint8_t *ip)
{
	return add_words(ip + 12, 8, 17 + 8 + 40);
}

/* UDP whose checksum is unfinished, as a stack in this machine sends it. */
static void write_unfinished(uint8_t *p)
{
	static const uint8_t head[] = {
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
		0x45, 0, 0, 68, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		0x12, 0x34, 0x56, 0x78, 0, 48, 0, 0,
	};
	uint8_t *ip = p + IP_AT;
	uint16_t sum;

	memset(p, 0, DRV_HDR);
	memcpy(p + DRV_HDR, head, sizeof(head));
	for (unsigned i = 0; i < 40; i++)
		p[DRV_HDR + sizeof(head) + i] = (uint8_t)(i * 7 + 1);
	sum = (uint16_t)~fold(add_words(ip, 20, 0));
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
	sum = fold(pseudo(ip));
	ip[26] = (uint8_t)(sum >> 8);
	ip[27] = (uint8_t)sum;
}

/* Such a frame goes round. Does it come as it was sent, to be finished by the driver? */
static bool comes_unfinished(void)
{
	struct xn_queue *q = xn_dev_queue(r.dev, 0);
	const struct virtio_net_hdr_v1 *h;
	uint16_t head;
	uint32_t len;
	uint8_t *p = r.drv.ram + RX_AT;

	write_unfinished(r.drv.ram + TX_AT);
	drv_post1(&r.drv, 0, RX_AT, 1536);
	xn_queue_run(q, 64);
	drv_post1(&r.drv, 1, TX_AT, DRV_HDR + FRAME);
	while (xn_queue_run(q, 64))
		;
	assert_true(drv_used(&r.drv, 1, &head, &len));
	assert_true(drv_used(&r.drv, 0, &head, &len));
	assert_int_equal(len, DRV_HDR + FRAME);
	h = (const struct virtio_net_hdr_v1 *)p;
	if (h->flags) {
		assert_int_equal(h->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(h->csum_start, 34);
		assert_int_equal(h->csum_offset, 6);
		return true;
	}
	assert_int_equal(fold(add_words(p + IP_AT + 20, 48, pseudo(p + IP_AT))), 0xffff);
	return false;
}

static void open_pair(uint64_t features)
{
	open_rig(CTRL_VQ | features);
	for (unsigned i = 0; i < 2; i++) {
		struct xn_vring v = drv_vring(i);

		assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
		drv_want_calls(&r.drv, i, false);
	}
	assert_int_equal(xn_queue_start(xn_dev_queue(r.dev, 0)), 0);
}

static void unfinished_checksums_can_be_switched_off(void **state)
{
	open_pair(GUEST_CSUM | OFFLOADS);
	assert_true(comes_unfinished());
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(set(0), VIRTIO_NET_OK);
		assert_false(comes_unfinished());
		assert_int_equal(set(GUEST_CSUM), VIRTIO_NET_OK);
		assert_true(comes_unfinished());
	}
	assert_int_equal(set(0), VIRTIO_NET_OK);
	/* Another start of the pair changes nothing, a reset of the driver does. */
	assert_int_equal(xn_queue_stop(xn_dev_queue(r.dev, 0)), 0);
	assert_int_equal(xn_queue_start(xn_dev_queue(r.dev, 0)), 0);
	assert_false(comes_unfinished());
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_reset(r.dev), 0);
	assert_true(comes_unfinished());
	close_rig();
}

static void only_what_was_negotiated_is_switched(void **state)
{
	static const uint8_t zeros[100];
	static const uint32_t lens[] = { 0, 1, 7, 9, 16, 100 };

	open_pair(GUEST_CSUM | OFFLOADS);
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(set(GUEST_CSUM | 1ull << bit),
				 bit == VIRTIO_NET_F_GUEST_CSUM ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
	assert_int_equal(set(UINT64_MAX), VIRTIO_NET_ERR);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(lens); i++)
		assert_int_equal(ask(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, zeros, lens[i]), VIRTIO_NET_ERR);
	for (unsigned command = 1; command < 256; command++)
		assert_int_equal(ask(VIRTIO_NET_CTRL_GUEST_OFFLOADS, (uint8_t)command, zeros, 8),
				 VIRTIO_NET_ERR);
	assert_true(comes_unfinished());
	close_rig();

	open_pair(OFFLOADS);                            /* the offload itself was not */
	assert_int_equal(set(GUEST_CSUM), VIRTIO_NET_ERR);
	assert_int_equal(set(0), VIRTIO_NET_OK);
	assert_false(comes_unfinished());
	close_rig();

	open_pair(GUEST_CSUM);
	assert_int_equal(set(0), VIRTIO_NET_ERR);
	assert_true(comes_unfinished());
	close_rig();
}

/* A driver that has spoken to another back end may have switched them off there. */
static void what_was_said_elsewhere_is_not_guessed(void **state)
{
	struct xn_vring v;

	open_pair(GUEST_CSUM | OFFLOADS);
	assert_int_equal(set(GUEST_CSUM), VIRTIO_NET_OK);
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);  /* heard all of it */
	assert_true(comes_unfinished());
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_reset(r.dev), 0);
	v = drv_vring(r.ring);
	v.base = 1;                                     /* has not */
	assert_int_equal(xn_dev_set_vring(r.dev, r.ring, &v), 0);
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
	assert_false(comes_unfinished());
	assert_int_equal(set(GUEST_CSUM), VIRTIO_NET_OK);
	assert_true(comes_unfinished());
	close_rig();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unfinished_checksums_can_be_switched_off),
		cmocka_unit_test(only_what_was_negotiated_is_switched),
		cmocka_unit_test(what_was_said_elsewhere_is_not_guessed),
	};

	return cmocka_run_group_tests_name("ctrl_offloads", tests, NULL, NULL);
}
