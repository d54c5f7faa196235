/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device: what the VMM said (features, rings), and its queue pairs.
 *
 *	created --set_features, set_vring--> ready --start--> running --stop--> ready
 *
 * A queue pair starts and stops by itself; the device runs while one of them does.
 */
#ifndef XN_ENGINE_DEV_H
#define XN_ENGINE_DEV_H

#include "engine/queue.h"

/* A ring as the VMM described it. */
struct xn_ring_setup {
	struct xn_vring v;     /* fds are our duplicates */
	bool set;
};

struct xn_dev {
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev_opts opts;
	uint64_t features;
	struct xn_ring_setup rings[2 * XN_MAX_PAIRS];
	struct xn_queue *queues[XN_MAX_PAIRS];
};

#endif
