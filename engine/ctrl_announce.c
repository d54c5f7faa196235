/* SPDX-License-Identifier: BSD-2-Clause */
/* VIRTIO_NET_CTRL_ANNOUNCE: the driver has told the network where it is (VIRTIO 1.3, 5.1.6.5.4). */
#include "engine/ctrl.h"

bool xn_ctrl_announce(struct xn_dev *dev, const struct xn_ctrl_cmd *cmd)
{
	return xn_dev_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE) &&
	       cmd->command == VIRTIO_NET_CTRL_ANNOUNCE_ACK && !cmd->bytes;
}
