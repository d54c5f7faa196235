/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands of the control queue (VIRTIO 1.2, 5.1.6.5): what one means.
 *
 *	| class | command | data ...          | result ... | ack |
 *	|<------- the driver's, copied ------>|<-- ours ------->|
 *
 * Knows no queue and no device: bytes in, answer out.
 */
#ifndef XN_VIRTIO_CTRL_H
#define XN_VIRTIO_CTRL_H

#include <stdbool.h>
#include <stdint.h>

/* Longer commands are none that we know. */
#define XN_CTRL_MAX_BYTES 64u

/* What was negotiated. */
struct xn_ctrl_rules {
	bool mq, announce;
	unsigned max_pairs;
};

/*
 * Judges a command of `bytes` bytes, of which cmd holds the first
 * min(bytes, XN_CTRL_MAX_BYTES). Returns VIRTIO_NET_OK or VIRTIO_NET_ERR. *pairs: how
 * many queue pairs the driver wants from now on, 0: nothing was said about them.
 */
uint8_t xn_ctrl_answer(const struct xn_ctrl_rules *rules, const uint8_t *cmd, uint64_t bytes,
		       unsigned *pairs);

#endif
