/* SPDX-License-Identifier: BSD-2-Clause */
/* A device on a real veth pair. Contract in rig.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/cmocka.h"
#include "base/log.h"
#include "tests/net/rig.h"

#define TEST_TYPE 0x88b5   /* IEEE 802 local experimental */

static void must(int err, const char *what)
{
	if (err)
		fail_msg("%s: %s", what, xn_last_error());
}

int rig_far_socket(const struct xn_lab *lab)
{
	struct sockaddr_ll sa = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = (int)lab->far_ifindex };
	int one = 1, big = 8 << 20, fd;

	must(xn_lab_enter_far(lab), "enter far");
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	must(xn_lab_leave(lab), "leave far");
	return fd;
}

static void make_mem(struct rig *r, const struct rig_cfg *cfg)
{
	struct xn_region regions[4];
	struct xn_mem_opts opts = cfg->mem;
	unsigned n = cfg->n_regions;

	memcpy(regions, cfg->regions, sizeof(regions));
	if (!n) {
		regions[0] = (struct xn_region){ .size = RIG_RAM };
		n = 1;
	}
	for (unsigned i = 0; i < n; i++)
		regions[i].fd = r->drv.fd;
	opts.sz = sizeof(opts);
	if (!opts.bounce_frames)
		opts.bounce_frames = 2048;
	must(xn_mem_create(&r->mem, regions, n, &opts), "xn_mem_create");
}

void rig_open(struct rig *r, const struct rig_cfg *cfg)
{
	struct xn_dev_opts opts = { .sz = sizeof(opts), .event = cfg->event, .arg = cfg->arg };
	char spec[128];

	memset(r, 0, sizeof(*r));
	r->pairs = cfg->pairs ? cfg->pairs : 1;
	must(xn_lab_create(&r->lab, &(struct xn_lab_cfg){ .queues = r->pairs, .mtu = cfg->mtu }), "xn_lab_create");
	drv_init(&r->drv, RIG_RAM, r->pairs);
	make_mem(r, cfg);
	r->far = rig_far_socket(&r->lab);

	snprintf(spec, sizeof(spec), "xdp:" XN_LAB_NEAR ",queues=%u%s", r->pairs,
		 cfg->options ? cfg->options : "");
	must(xn_lab_enter_near(&r->lab), "enter near");
	must(xn_port_open(&r->port, spec, NULL), "xn_port_open");
	opts.pairs = r->pairs;
	must(xn_dev_create(&r->dev, r->mem, r->port, &opts), "xn_dev_create");
	must(xn_dev_set_features(r->dev, cfg->features | 1ull << 32), "features");
	for (unsigned i = 0; i < 2 * r->pairs; i++) {
		struct xn_vring v = drv_vring(i);

		must(xn_dev_set_vring(r->dev, i, &v), "vring");
	}
	must(xn_dev_start(r->dev), "xn_dev_start");
	must(xn_lab_leave(&r->lab), "leave near");
}

void rig_close(struct rig *r)
{
	xn_dev_destroy(r->dev);
	xn_port_close(r->port);
	xn_mem_destroy(r->mem);
	drv_fini(&r->drv);
	close(r->far);
	xn_lab_destroy(&r->lab);
}

static unsigned turn(struct rig *r)
{
	unsigned work = 0;

	for (unsigned i = 0; i < r->pairs; i++)
		work += xn_queue_run(xn_dev_queue(r->dev, i), 64);
	return work;
}

void rig_settle(struct rig *r, unsigned ms)
{
	uint64_t end = xn_now_ns() + ms * 1000000ull;

	do
		if (turn(r))
			end = xn_now_ns() + ms * 1000000ull;
	while (xn_now_ns() < end);
}

bool rig_wait_used(struct rig *r, unsigned q, uint16_t *head, uint32_t *len)
{
	uint64_t end = xn_now_ns() + RIG_SOON_MS * 1000000ull;

	do {
		if (drv_used(&r->drv, q, head, len))
			return true;
		turn(r);
	} while (xn_now_ns() < end);
	return drv_used(&r->drv, q, head, len);
}

uint64_t rig_stat(struct rig *r, const char *name)
{
	return drv_stat(r->dev, XN_ALL_PAIRS, name);
}

void rig_wait_stat(struct rig *r, const char *name, uint64_t v)
{
	uint64_t end = xn_now_ns() + RIG_SOON_MS * 1000000ull, now;

	do {
		turn(r);
		now = rig_stat(r, name);
	} while (now < v && xn_now_ns() < end);
	if (now != v)
		fail_msg("%s is %llu, not %llu", name, (unsigned long long)now, (unsigned long long)v);
}

void rig_frame(const struct rig *r, uint8_t *f, uint32_t len, uint32_t seed)
{
	memcpy(f, r->lab.near_mac, 6);
	memcpy(f + 6, r->lab.far_mac, 6);
	f[12] = TEST_TYPE >> 8;
	f[13] = TEST_TYPE & 0xff;
	for (uint32_t i = 14; i < len; i++)
		f[i] = (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

void rig_far_send(struct rig *r, const uint8_t *f, uint32_t len)
{
	ssize_t n;

	turn(r);   /* lends what the driver has posted */
	n = send(r->far, f, len, 0);
	if (n != (ssize_t)len)
		fail_msg("far end cannot send %u bytes: %s", len, strerror(errno));
}

uint32_t rig_far_recv(struct rig *r, uint8_t *f, uint32_t max)
{
	struct pollfd p = { .fd = r->far, .events = POLLIN };
	ssize_t n;

	while (poll(&p, 1, RIG_SOON_MS) == 1) {
		n = recv(r->far, f, max, 0);
		if (n >= 14 && ((f[12] << 8 | f[13]) == TEST_TYPE || f[12] == 0x81))
			return (uint32_t)n;
	}
	return 0;
}
