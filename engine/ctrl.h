/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands of the control queue (VIRTIO 1.3, 5.1.6.5): what one is, and who carries it out.
 *
 *	| class | command | data ...          | result ... | ack |
 *	|<------- the driver's, copied ------>|<-- ours ------->|
 *
 * A class is a file (engine/ctrl_*.c), a line here, and a number in the table of engine/ctrl.c.
 * It sees nothing of queues and chains: bytes in, yes or no. Whether the driver has accepted the
 * feature that a command belongs to, the class asks itself.
 */
#ifndef XN_ENGINE_CTRL_H
#define XN_ENGINE_CTRL_H

#include "engine/dev.h"

/* So many bytes of an answer are ours at most, verdict included. */
#define XN_CTRL_RESULT_MAX 64u

_Static_assert(XN_CTRL_DATA_MAX >= XN_RSS_COMMAND_BYTES, "an RSS configuration is copied whole");

struct xn_ctrl_cmd {
	uint8_t command;
	uint64_t bytes;        /* of data, as the driver has sent them; of which there are, */
	const uint8_t *data;   /* here, the first XN_CTRL_DATA_MAX, with zeros behind */
	uint8_t *result;       /* XN_CTRL_RESULT_MAX - 1 zeros, to be written to */
};

/*
 * Carries a command out. False: it is answered with VIRTIO_NET_ERR, and nothing has changed.
 * In the thread of xn_dev_ctrl_run; queues may be running. It may sleep.
 */
typedef bool xn_ctrl_fn(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd);

/* Linux headers before 6.0 do not have it. */
#ifndef VIRTIO_NET_CTRL_NOTF_COAL
#define VIRTIO_NET_CTRL_NOTF_COAL 6
#endif

xn_ctrl_fn xn_ctrl_announce;   /* engine/ctrl_announce.c */
xn_ctrl_fn xn_ctrl_coal;       /* engine/ctrl_coal.c */
xn_ctrl_fn xn_ctrl_guest_offloads;   /* engine/guest_offloads.c */
xn_ctrl_fn xn_ctrl_mq;         /* engine/ctrl_mq.c */
xn_ctrl_fn xn_ctrl_rx, xn_ctrl_mac, xn_ctrl_vlan;   /* engine/ctrl_rx.c */

static inline uint16_t xn_ctrl_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

#endif
