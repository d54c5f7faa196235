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
 *
 * A ring, in the words of the vhost-user specification
 *
 *	stopped ---xn_vdev_ring_kick---> started ---xn_vdev_ring_stop---> stopped
 *
 * is *ready* when it is started and size, addresses, guest memory and features are
 * there. A queue pair runs while one of its rings is ready:
 *
 *	both are ready        it is started as soon as both are enabled, else after the grace
 *	one is ready          it is started with this one alone when XN_VDEV_GRACE_MS have
 *	                      gone by: a start registers guest memory with the kernel, and
 *	                      front ends tell of the second ring just after the first
 *	one is stopped        the pair is stopped; the other goes on after the same grace
 *	none is               while other pairs run, it stands by after that grace: started without
 *	                      a ring, and disabled. What comes on its host queue is for those others
 *	                      (of a guest, or its firmware, that knows of one pair only), and
 *	                      somebody has to take it there
 *
 * Whether a ring that runs is enabled is a state of its own (xn_queue_enable). One that is
 * not drops what it takes, so a pair whose rings are about to be enabled is waited for.
 */
#ifndef XN_VHOST_VDEV_H
#define XN_VHOST_VDEV_H

#include "vhost/worker.h"
#include "xsknet.h"

struct xn_vdev;

/* What is put together for guests, and offered to them. */
#define XN_PUT_TCP 1u   /* GUEST_TSO4, _TSO6 and _ECN */
#define XN_PUT_UDP 2u   /* GUEST_USO4, _USO6 */

struct xn_vdev_opts {
	unsigned pairs;                 /* 1..the port's queues */
	uint8_t  mac[6];                /* of the guest's configuration space */
	uint16_t mtu;                   /* likewise */
	unsigned gro;                   /* XN_PUT_ */
	struct xn_worker_opts worker;   /* polling, processors */
};

/* port is borrowed. Makes the device without memory, and the threads, parked.
 * 0 or -errno with a message. */
int  xn_vdev_create(struct xn_vdev **v, struct xn_port *port, const struct xn_vdev_opts *opts);
/* Stops everything: heads are returned, packets drained. NULL is allowed. */
void xn_vdev_destroy(struct xn_vdev *v);

/* Stops everything and forgets what a front end said: features, memory, rings, log,
 * inflight. Ready for the next one. */
void xn_vdev_reset(struct xn_vdev *v);

/* For statistics (xn_dev_stats) and events: when xn_dev_event_fd is readable the main loop
 * calls xn_dev_handle_events; the session of the moment hears of them. */
struct xn_dev *xn_vdev_dev(struct xn_vdev *v);
/* Worker of pair i < pairs, for its statistics. */
const struct xn_worker *xn_vdev_worker(const struct xn_vdev *v, unsigned i);

/* For the statistics socket: what there is to say beyond xn_dev_stats. */
struct xn_vdev_info {
	uint64_t guest_bytes;           /* memory that the front end shared */
	unsigned regions;
	unsigned pairs, running;        /* queue pairs in all; started ones */
	unsigned standing_by;           /* started without rings, for frames of the others */
	unsigned broken;                /* vrings stopped by a fault */
	bool     logging;               /* dirty log on */
	bool     inflight;
	uint64_t features;              /* accepted */
};
void xn_vdev_get_info(const struct xn_vdev *v, struct xn_vdev_info *info);

/* ---- what a front end says: for sessions ------------------------------------ */

/*
 * Results: 0; -errno with a message in xn_last_error() for what is refused, and then
 * nothing has changed. fds are borrowed, and duplicated where they are kept, unless it says
 * "taken". index is a vring's, below xn_vdev_rings(v).
 */

/* Who hears of events (xsknet.h): QUEUE_BROKEN in any thread, others in the main
 * thread. NULL: nobody. */
void xn_vdev_listen(struct xn_vdev *v, void (*fn)(void *arg, const struct xn_event *e), void *arg);

struct xn_port *xn_vdev_port(const struct xn_vdev *v);
const struct xn_vdev_opts *xn_vdev_opts(const struct xn_vdev *v);
/* Vrings that there may be: two a pair, and the control queue. */
unsigned xn_vdev_rings(const struct xn_vdev *v);

/* Those of the driver that this device offers, and VHOST_F_LOG_ALL and
 * VHOST_USER_F_PROTOCOL_FEATURES. */
uint64_t xn_vdev_offered(const struct xn_vdev *v);
/* -EINVAL: not offered. -EBUSY: others than before (but for LOG_ALL) while a ring runs. */
int  xn_vdev_set_features(struct xn_vdev *v, uint64_t features);

/* A region of guest memory, as in SET_MEM_TABLE, and its file. */
struct xn_vdev_region {
	uint64_t gpa, size, user_addr, offset;
	int fd;
};
/* Replaces all memory. Queues that run are stopped, and go on in the new memory at the
 * place where they were. -EINVAL and errors of xn_mem_create and xn_queue_start; -EBUSY: a
 * ring that is ready lies elsewhere. */
int  xn_vdev_set_mem(struct xn_vdev *v, const struct xn_vdev_region *r, unsigned n);
int  xn_vdev_add_region(struct xn_vdev *v, const struct xn_vdev_region *r);
/* By address and size. -ENOENT: no such region. Rings that lie there stop, and go on when
 * there is memory again. */
int  xn_vdev_remove_region(struct xn_vdev *v, const struct xn_vdev_region *r);

/* Dirty log: `bytes` at `offset` of the file. In use while LOG_ALL is accepted. */
int  xn_vdev_set_log(struct xn_vdev *v, int fd, uint64_t offset, uint64_t bytes);

/* Inflight area for n rings of `size` descriptors. -EBUSY: a ring runs. */
int  xn_vdev_set_inflight(struct xn_vdev *v, int fd, uint64_t offset, uint64_t bytes,
			  unsigned n, unsigned size);
/* A new area, zeroed: the fd is the caller's; used from now on if no ring runs. */
int  xn_vdev_new_inflight(struct xn_vdev *v, unsigned n, unsigned size, int *fd,
			  uint64_t *bytes);

int  xn_vdev_ring_size(struct xn_vdev *v, unsigned index, uint32_t size);
int  xn_vdev_ring_base(struct xn_vdev *v, unsigned index, uint32_t base);
/* User addresses of the front end. */
int  xn_vdev_ring_addr(struct xn_vdev *v, unsigned index, uint64_t desc, uint64_t avail,
		       uint64_t used);
/* fd: an eventfd, taken (closed on failure too); -1: none. */
int  xn_vdev_ring_call(struct xn_vdev *v, unsigned index, int fd);
int  xn_vdev_ring_err(struct xn_vdev *v, unsigned index, int fd);
/* Starts the ring. -EIO and nothing else: all that was said is right, but its pair cannot be
 * started; the ring stays stopped, its error eventfd has been signalled. */
int  xn_vdev_ring_kick(struct xn_vdev *v, unsigned index, int fd);
int  xn_vdev_ring_enable(struct xn_vdev *v, unsigned index, bool on);
/* Stops the ring; where to go on. Any number of times. */
uint32_t xn_vdev_ring_stop(struct xn_vdev *v, unsigned index);
/* Stops all rings and forgets them, but for call and error eventfds, which front ends set once
 * for several lives of a driver. Memory and features stay. */
void xn_vdev_rings_reset(struct xn_vdev *v);
/* RESET_OWNER */
void xn_vdev_rings_disable(struct xn_vdev *v);

/* A fault has stopped a ring (its error eventfd was signalled). */
bool xn_vdev_needs_reset(const struct xn_vdev *v);

/* To be called when something is due: in so many ms (-1: nothing), or, for the control
 * queue, when this fd is readable (-1: none). */
int  xn_vdev_timeout_ms(const struct xn_vdev *v);
int  xn_vdev_ctrl_fd(const struct xn_vdev *v);
void xn_vdev_handle(struct xn_vdev *v);

#define XN_VDEV_GRACE_MS 20

#endif
