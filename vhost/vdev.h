/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon's one device: a port, guest memory as the front end gave it, rings, and a
 * thread for each queue pair. A thin adapter: everything below is xsknet.h.
 *
 *	xsknetd (main thread)      sockets, signals, timers
 *	   |        \
 *	session      ctl           vhost-user messages     statistics
 *	   |        /
 *	 vdev  ------------ workers (a thread each) ---> xn_queue_run
 *	   |
 *	 xn_mem, xn_dev, xn_port
 *
 * All calls are the main thread's. Set-up calls of xsknet.h are only made with the
 * workers concerned parked (vhost/worker.h).
 */
#ifndef XN_VHOST_VDEV_H
#define XN_VHOST_VDEV_H

#include "vhost/worker.h"
#include "xsknet.h"

struct xn_vdev;

struct xn_vdev_opts {
	unsigned pairs;                 /* 1..the port's queues */
	uint8_t  mac[6];                /* of the guest's configuration space */
	uint16_t mtu;                   /* likewise */
	struct xn_worker_opts worker;   /* polling, processors */
};

/* port is borrowed. Makes the device without memory, and the threads, parked.
 * 0 or -errno with a message. */
int  xn_vdev_create(struct xn_vdev **v, struct xn_port *port, const struct xn_vdev_opts *opts);
/* Stops everything: heads are returned, packets drained. */
void xn_vdev_destroy(struct xn_vdev *v);

/* Stops everything and forgets what a front end said: features, memory, rings, log,
 * inflight. Ready for the next one. */
void xn_vdev_reset(struct xn_vdev *v);

struct xn_dev *xn_vdev_dev(struct xn_vdev *v);

/* For the statistics socket: what there is to say beyond xn_dev_stats. */
struct xn_vdev_info {
	uint64_t guest_bytes;           /* memory that the front end shared */
	unsigned regions;
	unsigned pairs, running;        /* queue pairs in all; started ones */
	unsigned broken;                /* vrings stopped by a fault */
	bool     logging;               /* dirty log on */
	bool     inflight;
	uint64_t features;              /* accepted */
};
void xn_vdev_get_info(const struct xn_vdev *v, struct xn_vdev_info *info);

#endif
