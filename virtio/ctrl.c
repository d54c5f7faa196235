/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands of the control queue. Layout in virtio/ctrl.h. */
#include "virtio/ctrl.h"
#include "virtio/net.h"

/* A class: what it makes of a command and its data. */
typedef uint8_t (*class_fn)(const struct xn_ctrl_rules *rules, uint8_t command, const uint8_t *data,
			    uint32_t bytes, unsigned *pairs);

/* VIRTIO 1.2, 5.1.6.5.5 */
static uint8_t mq(const struct xn_ctrl_rules *rules, uint8_t command, const uint8_t *data,
		  uint32_t bytes, unsigned *pairs)
{
	unsigned want;

	if (!rules->mq || command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || bytes != 2)
		return VIRTIO_NET_ERR;
	want = data[0] | (unsigned)data[1] << 8;
	if (want < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || want > rules->max_pairs)
		return VIRTIO_NET_ERR;
	*pairs = want;
	return VIRTIO_NET_OK;
}

/* VIRTIO 1.2, 5.1.6.5.4: the driver has told the network where it is. */
static uint8_t announce(const struct xn_ctrl_rules *rules, uint8_t command, const uint8_t *data,
			uint32_t bytes, unsigned *pairs)
{
	if (!rules->announce || command != VIRTIO_NET_CTRL_ANNOUNCE_ACK || bytes)
		return VIRTIO_NET_ERR;
	return VIRTIO_NET_OK;
}

uint8_t xn_ctrl_answer(const struct xn_ctrl_rules *rules, const uint8_t *cmd, uint64_t bytes,
		       unsigned *pairs)
{
	static const class_fn classes[] = {
		[VIRTIO_NET_CTRL_ANNOUNCE] = announce,
		[VIRTIO_NET_CTRL_MQ] = mq,
	};

	*pairs = 0;
	if (bytes < 2 || bytes > XN_CTRL_MAX_BYTES)
		return VIRTIO_NET_ERR;
	if (cmd[0] >= XN_ARRAY_SIZE(classes) || !classes[cmd[0]])
		return VIRTIO_NET_ERR;
	return classes[cmd[0]](rules, cmd[1], cmd + 2, (uint32_t)bytes - 2, pairs);
}
