/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Front ends as they are: the messages of real VMMs in their order, through two lives of a
 * guest's driver, with traffic in each. From their sources:
 *
 *	QEMU              hw/virtio/vhost-user.c, hw/virtio/vhost.c, hw/net/vhost_net.c
 *	Cloud Hypervisor  virtio-devices/src/vhost_user/{net,vu_common_ctrl}.rs
 *	crosvm            devices/src/virtio/vhost_user_frontend/mod.rs
 *	DPDK              drivers/net/virtio/virtio_user/{virtio_user_dev,vhost_user}.c
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/vhost/rig.h"

#define LIVES 2u

static uint64_t get(struct guest *g, uint32_t request)
{
	uint64_t v = 0;

	CHECK(!front_get_u64(&g->front, request, &v), "%s", g->front.error);
	return v;
}

static void set(struct guest *g, uint32_t request, const void *payload, size_t bytes, const int *fd)
{
	CHECK(!front_set(&g->front, request, payload, bytes, fd, fd ? 1 : 0), "request %u: %s", request,
	      g->front.error);
}

static void set_u64(struct guest *g, uint32_t request, uint64_t v)
{
	set(g, request, &v, sizeof(v), NULL);
}

static void set_state(struct guest *g, uint32_t request, uint32_t index, uint32_t num)
{
	const struct xn_vu_vring_state s = { index, num };

	set(g, request, &s, sizeof(s), NULL);
}

static void set_event(struct guest *g, uint32_t request, uint32_t index, int fd)
{
	const uint64_t v = index;

	set(g, request, &v, sizeof(v), &fd);
}

static void set_addr(struct guest *g, unsigned i)
{
	const struct front_ring r = guest_front_ring(g, i);
	const struct xn_vu_vring_addr a = { .index = i, .desc = r.desc, .used = r.used, .avail = r.avail };

	set(g, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL);
}

static uint32_t get_base(struct guest *g, unsigned i)
{
	const struct xn_vu_vring_state s = { i, 0 };
	struct xn_vu_vring_state back;
	size_t got;

	CHECK(!front_get(&g->front, XN_VU_GET_VRING_BASE, &s, sizeof(s), &back, sizeof(back), &got, NULL) &&
	      back.index == i, "%s", g->front.error);
	return back.num;
}

/* Features of the device that this front end uses, of those offered; others do not change. */
static uint64_t negotiate(struct guest *g, uint64_t features, uint64_t protocol)
{
	uint64_t both = get(g, XN_VU_GET_FEATURES) & (features | BIT(VIRTIO_F_VERSION_1) |
						      BIT(XN_VU_F_PROTOCOL_FEATURES));

	protocol &= get(g, XN_VU_GET_PROTOCOL_FEATURES);
	set_u64(g, XN_VU_SET_PROTOCOL_FEATURES, protocol);
	return both;
}

static void back_channel(struct guest *g)
{
	int p[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), "socketpair");
	own_fd(p[0]);
	own_fd(p[1]);
	set(g, XN_VU_SET_BACKEND_REQ_FD, NULL, 0, &p[1]);
}

/* A driver begins: empty rings. */
static void fresh(struct guest *g)
{
	for (unsigned i = 0; i < g->n_rings; i++)
		guest_reset_ring(g, i);
	g->sent = g->received = 0;
}

/* ---- QEMU, queues=2 ---- */

static void qemu_start(struct guest *g, uint64_t features, bool first)
{
	for (unsigned pair = 0; pair < 2; pair++) {
		set_u64(g, XN_VU_SET_FEATURES, features);
		if (!pair && first) {
			struct xn_vu_mem_reg m = { .region = {
				g->regions[0].gpa, g->regions[0].size, g->regions[0].user_addr, 0 } };

			g->front.need_reply = true;
			set(g, XN_VU_ADD_MEM_REG, &m, sizeof(m), &g->fd);
			g->front.need_reply = false;
		}
		for (unsigned i = 2 * pair; i < 2 * pair + 2; i++) {
			set_state(g, XN_VU_SET_VRING_NUM, i, g->ring[i].size);
			set_state(g, XN_VU_SET_VRING_BASE, i, 0);
			set_addr(g, i);
			set_event(g, XN_VU_SET_VRING_KICK, i, g->ring[i].kick);
			set_event(g, XN_VU_SET_VRING_CALL, i, g->ring[i].call);
		}
		set_state(g, XN_VU_SET_VRING_ENABLE, 2 * pair, 1);
		set_state(g, XN_VU_SET_VRING_ENABLE, 2 * pair + 1, 1);
	}
	/* With the last one. */
	set_u64(g, XN_VU_SET_STATUS, get(g, XN_VU_GET_STATUS) | 1 | 2 | 4);
	CHECK(get(g, XN_VU_GET_STATUS) == 7, "status");
}

static void qemu(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED, .pairs = 2 });
	uint64_t features = negotiate(g, BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ) |
				      BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_NET_F_MRG_RXBUF),
				      BIT(XN_VU_P_MQ) | BIT(XN_VU_P_LOG_SHMFD) | BIT(XN_VU_P_RARP) |
				      BIT(XN_VU_P_REPLY_ACK) | BIT(XN_VU_P_MTU) | BIT(XN_VU_P_BACKEND_REQ) |
				      BIT(XN_VU_P_CONFIG) | BIT(XN_VU_P_INFLIGHT_SHMFD) |
				      BIT(XN_VU_P_RESET_DEVICE) | BIT(XN_VU_P_CONFIGURE_MEM_SLOTS) |
				      BIT(XN_VU_P_STATUS));

	CHECK(get(g, XN_VU_GET_QUEUE_NUM) >= 2, "queues=2 is refused");
	back_channel(g);
	CHECK(get(g, XN_VU_GET_MAX_MEM_SLOTS) >= 8, "few memory slots");
	set(g, XN_VU_SET_OWNER, NULL, 0, NULL);
	get(g, XN_VU_GET_FEATURES);
	for (unsigned i = 0; i < 4; i++) {
		set_event(g, XN_VU_SET_VRING_CALL, i, g->ring[i].call);
		set_event(g, XN_VU_SET_VRING_ERR, i, g->ring[i].err);
	}
	for (unsigned life = 0; life < LIVES; life++) {
		fresh(g);
		qemu_start(g, features, !life);
		check_loop(g, 100);
		for (unsigned i = 0; i < 4; i++)
			get_base(g, i);
		set_u64(g, XN_VU_SET_STATUS, 0);
	}
}

/* ---- Cloud Hypervisor, num_queues=4: NEED_REPLY in everything ---- */

static void cloud_hypervisor_inflight(struct guest *g)
{
	struct xn_vu_inflight want = { .num_queues = 4, .queue_size = 256 }, got;
	size_t bytes;

	if (g->inflight_fd < 0) {
		CHECK(!front_get(&g->front, XN_VU_GET_INFLIGHT_FD, &want, 20, &got, sizeof(got), &bytes,
				 &g->inflight_fd) && bytes == 20 && g->inflight_fd >= 0, "%s", g->front.error);
		g->inflight = got;
	}
	set(g, XN_VU_SET_INFLIGHT_FD, &g->inflight, 20, &g->inflight_fd);
}

static void cloud_hypervisor(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED, .pairs = 2 });
	struct xn_vu_config config = { .size = 24, .flags = 1 }, back;
	uint64_t features;
	size_t got;

	set(g, XN_VU_SET_OWNER, NULL, 0, NULL);
	features = negotiate(g, BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_RING_F_EVENT_IDX) |
			     BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_MTU),
			     BIT(XN_VU_P_MQ) | BIT(XN_VU_P_CONFIGURE_MEM_SLOTS) | BIT(XN_VU_P_REPLY_ACK) |
			     BIT(XN_VU_P_INFLIGHT_SHMFD) | BIT(XN_VU_P_LOG_SHMFD) | BIT(XN_VU_P_CONFIG));
	g->front.need_reply = true;
	CHECK(get(g, XN_VU_GET_QUEUE_NUM) >= 4, "num_queues=4 is refused");
	CHECK(!front_get(&g->front, XN_VU_GET_CONFIG, &config, 12 + 24, &back, sizeof(back), &got, NULL) &&
	      got == 12 + 24 && back.flags == 1, "%s", g->front.error);
	for (unsigned life = 0; life < LIVES; life++) {
		fresh(g);
		set_u64(g, XN_VU_SET_FEATURES, features);
		CHECK(!guest_set_mem(g), "%s", g->front.error);
		for (unsigned i = 0; i < 4; i++)
			set_state(g, XN_VU_SET_VRING_NUM, i, g->ring[i].size);
		cloud_hypervisor_inflight(g);
		for (unsigned i = 0; i < 4; i++) {
			set_addr(g, i);
			set_state(g, XN_VU_SET_VRING_BASE, i, 0);
			set_event(g, XN_VU_SET_VRING_CALL, i, g->ring[i].call);
			set_event(g, XN_VU_SET_VRING_KICK, i, g->ring[i].kick);
		}
		for (unsigned i = 0; i < 4; i++)
			set_state(g, XN_VU_SET_VRING_ENABLE, i, 1);
		check_loop(g, 100);
		/* The guest is paused, and goes on. */
		for (unsigned i = 0; i < 8; i++)
			set_state(g, XN_VU_SET_VRING_ENABLE, i % 4, i / 4);
		check_loop(g, 100);
		for (unsigned i = 0; i < 4; i++) {
			set_state(g, XN_VU_SET_VRING_ENABLE, i, 0);
			get_base(g, i);
		}
	}
}

/* ---- crosvm: one pair and a control queue, no answers are asked for ---- */

static void crosvm(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED, .pairs = 2, .ctrl = true });
	uint64_t features;

	set(g, XN_VU_SET_OWNER, NULL, 0, NULL);
	features = negotiate(g, BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_RING_F_EVENT_IDX),
			     BIT(XN_VU_P_CONFIG) | BIT(XN_VU_P_MQ) | BIT(XN_VU_P_BACKEND_REQ) |
			     BIT(XN_VU_P_REPLY_ACK));
	back_channel(g);
	CHECK(get(g, XN_VU_GET_QUEUE_NUM) == g->n_rings, "another number of vrings");
	for (unsigned life = 0; life < LIVES; life++) {
		fresh(g);
		set_u64(g, XN_VU_SET_FEATURES, features);
		CHECK(!guest_set_mem(g), "%s", g->front.error);
		for (unsigned i = 0; i < g->n_rings; i++) {
			set_state(g, XN_VU_SET_VRING_NUM, i, g->ring[i].size);
			set_addr(g, i);
			set_state(g, XN_VU_SET_VRING_BASE, i, 0);
			set_event(g, XN_VU_SET_VRING_CALL, i, g->ring[i].call);
			set_event(g, XN_VU_SET_VRING_KICK, i, g->ring[i].kick);
			set_state(g, XN_VU_SET_VRING_ENABLE, i, 1);
		}
		check_loop(g, 100);
		for (unsigned i = 0; i < g->n_rings; i++) {
			set_state(g, XN_VU_SET_VRING_ENABLE, i, 0);
			get_base(g, i);
		}
	}
}

/* ---- DPDK's virtio-user ---- */

static void dpdk(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = CONNECTED, .pairs = 2 });
	uint64_t features;

	set(g, XN_VU_SET_OWNER, NULL, 0, NULL);
	features = negotiate(g, BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_MRG_RXBUF),
			     BIT(XN_VU_P_MQ) | BIT(XN_VU_P_REPLY_ACK) | BIT(XN_VU_P_STATUS));
	for (unsigned life = 0; life < LIVES; life++) {
		fresh(g);
		for (unsigned i = 0; i < 4; i++)
			set_event(g, XN_VU_SET_VRING_CALL, i, g->ring[i].call);
		set_u64(g, XN_VU_SET_FEATURES, features);
		g->front.need_reply = true;
		CHECK(!guest_set_mem(g), "%s", g->front.error);
		g->front.need_reply = false;
		for (unsigned k = 0; k < 4; k++) {
			const unsigned i = k < 2 ? 2 * k : 2 * (k - 2) + 1;    /* receive rings first */

			set_state(g, XN_VU_SET_VRING_NUM, i, g->ring[i].size);
			set_state(g, XN_VU_SET_VRING_BASE, i, 0);
			set_addr(g, i);
			set_event(g, XN_VU_SET_VRING_KICK, i, g->ring[i].kick);
		}
		set_state(g, XN_VU_SET_VRING_ENABLE, 0, 1);
		set_state(g, XN_VU_SET_VRING_ENABLE, 1, 1);
		check_loop(g, 100);
		/* Its memory has changed: paused, told, and on. */
		set_state(g, XN_VU_SET_VRING_ENABLE, 0, 0);
		set_state(g, XN_VU_SET_VRING_ENABLE, 1, 0);
		CHECK(!guest_set_mem(g), "%s", g->front.error);
		set_state(g, XN_VU_SET_VRING_ENABLE, 0, 1);
		set_state(g, XN_VU_SET_VRING_ENABLE, 1, 1);
		get(g, XN_VU_GET_FEATURES);     /* what is sent before it is enabled is dropped */
		check_loop(g, 100);
		set_state(g, XN_VU_SET_VRING_ENABLE, 0, 0);
		set_state(g, XN_VU_SET_VRING_ENABLE, 1, 0);
		for (unsigned i = 0; i < 4; i++)
			get_base(g, i);
	}
}

void add_front_cases(void)
{
	add_case(qemu, NULL, "V7", "as QEMU does it: two lives of a driver");
	add_case(cloud_hypervisor, NULL, "V7", "as Cloud Hypervisor does it: two lives of a driver, a pause");
	add_case(crosvm, NULL, "V7", "as crosvm does it: two lives of a driver");
	add_case(dpdk, NULL, "V7", "as DPDK's virtio-user does it: two lives, other memory");
}
