/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests about features, owner, status and reset. */
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_net.h>

#include "base/log.h"
#include "vhost/session_priv.h"

#define BIT(n) (1ull << (n))
/* Linux headers before 6.6 do not have it. */
#define F_VQ_NOTF_COAL 52
#ifndef VIRTIO_NET_F_NOTF_COAL   /* 6.0 */
#define VIRTIO_NET_F_NOTF_COAL 53
#endif

static const uint64_t protocol_offered =
	BIT(XN_VU_P_MQ) | BIT(XN_VU_P_LOG_SHMFD) | BIT(XN_VU_P_RARP) | BIT(XN_VU_P_REPLY_ACK) |
	BIT(XN_VU_P_MTU) | BIT(XN_VU_P_BACKEND_REQ) | BIT(XN_VU_P_CONFIG) |
	BIT(XN_VU_P_INFLIGHT_SHMFD) | BIT(XN_VU_P_RESET_DEVICE) |
	BIT(XN_VU_P_CONFIGURE_MEM_SLOTS) | BIT(XN_VU_P_STATUS);

/* What only a driver can use whose control queue and configuration space are ours to serve. Front
 * ends that serve them (QEMU's net/vhost-user.c, for one) would offer it, and have no message for what
 * the driver says. They have no use for CONFIG; what they ask for before they say so, they ask
 * for again. */
#define FORWARDED (BIT(VIRTIO_NET_F_RSS) | BIT(VIRTIO_NET_F_HASH_REPORT) | \
		   BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | \
		   BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | \
		   BIT(VIRTIO_NET_F_NOTF_COAL) | BIT(F_VQ_NOTF_COAL) | \
		   BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT(VIRTIO_NET_F_SPEED_DUPLEX))

int xn_vu_get_features(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	a->p.u64 = xn_vdev_offered(s->v);
	if (s->protocol && !xn_session_has(s, XN_VU_P_CONFIG))
		a->p.u64 &= ~FORWARDED;
	return 0;
}

int xn_vu_set_features(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	return xn_vdev_set_features(s->v, m->p.u64);
}

int xn_vu_get_protocol_features(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	a->p.u64 = protocol_offered;
	return 0;
}

int xn_vu_set_protocol_features(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	if (m->p.u64 & ~protocol_offered)
		return xn_fail(EINVAL, "protocol features %#" PRIx64 " were not offered",
			       m->p.u64 & ~protocol_offered);
	s->protocol = m->p.u64;
	return 0;
}

/* More than once is no harm: QEMU has several devices on one socket. */
int xn_vu_set_owner(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	s->owner = true;
	return 0;
}

int xn_vu_reset_owner(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	s->owner = false;
	xn_vdev_rings_disable(s->v);
	return 0;
}

/*
 * Vrings, the control queue among them. The specification says "queues"; QEMU's own back ends, Cloud
 * Hypervisor and crosvm take that as vrings: the second refuses a back end with fewer than it
 * wants, the third makes a device with so many. QEMU's net/vhost-user.c and DPDK take it as pairs:
 * for them it is an upper limit, which is too high now, and vrings that are not there are refused.
 */
int xn_vu_get_queue_num(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	a->p.u64 = xn_vdev_rings(s->v);
	return 0;
}

/*
 * The rings begin anew. What front ends do not say again after a reset stays: features of the
 * protocol, memory slots, call and error eventfds.
 */
int xn_vu_reset_device(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	xn_vdev_rings_reset(s->v);
	s->status = 0;
	return 0;
}

int xn_vu_set_status(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	if (m->p.u64 > UINT8_MAX)
		return xn_fail(EINVAL, "status %#" PRIx64 " has 8 bits", m->p.u64);
	if (!m->p.u64)
		return xn_vu_reset_device(s, m, a);
	/* Who reads the status and adds to it sends this bit back; it is the device's. */
	s->status = (uint8_t)m->p.u64 & (uint8_t)~XN_VU_STATUS_NEEDS_RESET;
	return 0;
}

int xn_vu_get_status(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	a->p.u64 = s->status;
	if (xn_vdev_needs_reset(s->v))
		a->p.u64 |= XN_VU_STATUS_NEEDS_RESET;
	return 0;
}
