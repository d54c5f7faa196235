/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls of xsknet.h that the library gets next; the linker takes its own as soon as they exist. */
#include <errno.h>

#include "xsknet.h"

#define PENDING __attribute__((weak))

PENDING int xn_port_announce(struct xn_port *port, const uint8_t mac[6]) { return 0; }
PENDING void xn_dev_set_dirty_log(struct xn_dev *dev, void *bitmap, uint64_t bytes) { }
PENDING unsigned xn_dev_ctrl_index(const struct xn_dev *dev) { return ~0u; }
PENDING int xn_dev_ctrl_start(struct xn_dev *dev) { return -ENOTSUP; }
PENDING int xn_dev_ctrl_stop(struct xn_dev *dev) { return -EINVAL; }
PENDING unsigned xn_dev_ctrl_run(struct xn_dev *dev) { return 0; }
PENDING int xn_dev_ctrl_fd(const struct xn_dev *dev) { return -1; }
