/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's inside, shared by its files:
 *
 *	vdev.c        life, features, events
 *	vdev_mem.c    memory regions, and addresses in them
 *	vdev_ring.c   what a front end says of rings
 *	vdev_pair.c   when pairs run
 *	vdev_ctrl.c   when the control queue runs
 *	vdev_area.c   dirty log and inflight area
 *
 * The library knows of a vring only while its pair runs: it is set just before a
 * start and unset after the stop. So memory, inflight area and eventfds belong to nobody
 * else while a pair is stopped.
 */
#ifndef XN_VHOST_VDEV_PRIV_H
#define XN_VHOST_VDEV_PRIV_H

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <sys/types.h>

#include "vhost/fds.h"
#include "vhost/vdev.h"

#define XN_VDEV_MAX_RINGS (2 * XN_MAX_PAIRS + 1)

/* As the front end said. */
struct xn_vring_state {
	uint32_t size;                      /* 0: not told yet */
	uint32_t base;                      /* where to go on, while the ring does not run */
	bool     has_base, has_addr, started, enabled;
	uint8_t  broken;                    /* by a fault; written by the queue's thread, */
	const char *fault;                  /* and this before */
	uint64_t desc, avail, used;         /* user addresses */
	int      kick_fd, call_fd, err_fd;  /* ours; -1: none */
};

struct xn_region_state {
	struct xn_vdev_region r;            /* fd is ours */
	dev_t dev;
	ino_t ino;
};

struct xn_pair {
	struct xn_worker *worker;
	unsigned running;                   /* bit 0, 1: with its receive, transmit ring */
	bool stands_by;                     /* runs without any */
	uint64_t due_ns;                    /* starts then with what is ready; 0: nothing due */
};

struct xn_ctrl_state {
	bool running;
	bool more;                          /* commands, than were answered in one go */
	bool began;                         /* since the ring was set up anew */
	uint64_t due_ns;                    /* starts then; 0: nothing due */
	uint32_t futile;                    /* kicks in a row for nothing */
	uint64_t rest_ns;                   /* nobody looks at its kick fd until then */
};

struct xn_vdev {
	struct xn_port *port;
	struct xn_dev *dev;
	struct xn_vdev_opts opts;
	bool made;                          /* all of it, by xn_vdev_create */
	void (*listener)(void *arg, const struct xn_event *e);
	void *listener_arg;

	uint64_t features;                  /* accepted, with vhost's own */
	bool features_said;

	struct xn_mem *mem;                 /* of all regions; NULL: none */
	struct xn_region_state regions[XN_MEM_MAX_REGIONS];
	unsigned n_regions;

	struct xn_vring_state rings[XN_VDEV_MAX_RINGS];
	struct xn_pair pairs[XN_MAX_PAIRS];
	struct xn_ctrl_state ctrl;
	unsigned active;                    /* pairs that the driver asked for (control queue) */
	unsigned used;                      /* pairs in use, as the library was told */
	uint64_t stand_due_ns;              /* pairs without rings stand by from then on; 0: nothing due */
	uint64_t used_due_ns;               /* it is told that there are others; 0: nothing due */

	struct xn_area log, inflight;
	unsigned inflight_rings, inflight_size;
};

#define XN_BIT(n) (1ull << (n))

static inline bool xn_vdev_has(const struct xn_vdev *v, unsigned feature)
{
	return v->features & XN_BIT(feature);
}

static inline bool xn_vdev_packed(const struct xn_vdev *v)
{
	return xn_vdev_has(v, VIRTIO_F_RING_PACKED);
}

/* Does the driver know of more than one pair? VIRTIO 1.3, 5.1.2 */
static inline bool xn_vdev_many_pairs(const struct xn_vdev *v)
{
	return v->features & (XN_BIT(VIRTIO_NET_F_MQ) | XN_BIT(VIRTIO_NET_F_RSS));
}

/* ---- vdev_mem.c ---- */

/* Guest address of [user, user + bytes) if it lies in one region of these. */
bool xn_vdev_to_gpa(const struct xn_region_state *regions, unsigned n, uint64_t user,
		    uint64_t bytes, uint64_t *gpa);
void xn_vdev_forget_mem(struct xn_vdev *v);

/* ---- vdev_ring.c ---- */

void xn_vring_init(struct xn_vring_state *r);
/* Closes what it holds. */
void xn_vring_fini(struct xn_vring_state *r);
/* Its control queue, with the features of now. */
bool xn_vdev_is_ctrl(const struct xn_vdev *v, unsigned index);
/* A ring of a pair, or of the control queue, that is to run. */
bool xn_vdev_ring_ready(const struct xn_vdev *v, unsigned index);
bool xn_vdev_any_ready(const struct xn_vdev *v);
/* Guest addresses of a ring whose size and addresses are known, in these regions. False: a part
 * of it does not lie in one region. */
bool xn_vring_translate(const struct xn_vring_state *r, bool packed,
			const struct xn_region_state *regions, unsigned n, struct xn_vring *out);
/* Where it goes on, while it does not run; and whether that is the beginning. */
uint32_t xn_vdev_base(const struct xn_vdev *v, unsigned index);
bool xn_vdev_ring_is_new(const struct xn_vdev *v, unsigned index);

/* A fault has stopped it. The thread that the ring belongs to. */
void xn_vdev_ring_broken(struct xn_vdev *v, unsigned index, const char *fault);
/* Signals its error eventfd. The same. */
void xn_vdev_ring_error(struct xn_vdev *v, unsigned index);

/* ---- vdev_pair.c ---- */

/* What has to happen now that ring `index` is ready. 0 or -errno of a start. */
int  xn_vdev_ring_is_ready(struct xn_vdev *v, unsigned index);
/* When something is due that has nothing to wait for but the rest of it: XN_VDEV_GRACE_MS. */
uint64_t xn_vdev_in_a_while(void);
/* The library gets to know a ring, just before a start; and its base from it, after a stop. */
int  xn_vdev_give_ring(struct xn_vdev *v, unsigned index);
void xn_vdev_take_ring(struct xn_vdev *v, unsigned index);
/* Something that was missing has come: what is ready now is due. */
void xn_vdev_look_again(struct xn_vdev *v);
/* Stops what runs with ring `index`; others of the pair go on after the grace. Its base is in
 * the ring then. */
void xn_vdev_ring_halt(struct xn_vdev *v, unsigned index);
bool xn_vdev_ring_runs(const struct xn_vdev *v, unsigned index);
bool xn_vdev_runs(const struct xn_vdev *v);

/* All that runs, for a change of the whole device: stop, and start again what ran. */
struct xn_vdev_ran {
	unsigned pairs[XN_MAX_PAIRS];
	bool ctrl;
};
void xn_vdev_stop_all(struct xn_vdev *v, struct xn_vdev_ran *ran);
int  xn_vdev_start_again(struct xn_vdev *v, const struct xn_vdev_ran *ran);

/* Between these two no worker is in the library (or: that of this ring). */
void xn_vdev_park(struct xn_vdev *v);
void xn_vdev_unpark(struct xn_vdev *v);
void xn_vdev_park_ring(struct xn_vdev *v, unsigned index);
void xn_vdev_unpark_ring(struct xn_vdev *v, unsigned index);

/* Tells a pair which of its rings are enabled. */
void xn_vdev_apply_enable(struct xn_vdev *v, unsigned pair);
/* Starts a pair that is due and has nothing to wait for: both rings are ready and enabled.
 * (Front ends start rings first, then enable them. Between the two, a pair that ran would
 * drop what it takes.) 0 or -errno of the start. */
int  xn_vdev_start_whole(struct xn_vdev *v, unsigned pair);
/* Pairs that the driver uses; the others are disabled. */
void xn_vdev_set_active(struct xn_vdev *v, unsigned pairs);

/* ---- vdev_ctrl.c ---- */

unsigned xn_vdev_ctrl_index(const struct xn_vdev *v);
int  xn_vdev_ctrl_start(struct xn_vdev *v);
/* It runs. */
void xn_vdev_ctrl_stop(struct xn_vdev *v);
void xn_vdev_ctrl_look_again(struct xn_vdev *v);
/* When xn_vdev_ctrl_handle is to be called at the latest; 0: when xn_vdev_ctrl_fd is readable. */
uint64_t xn_vdev_ctrl_due_ns(const struct xn_vdev *v, uint64_t now_ns);
void xn_vdev_ctrl_handle(struct xn_vdev *v, uint64_t now_ns);

/* ---- vdev_area.c ---- */

void xn_vdev_apply_log(struct xn_vdev *v);
/* May this be the memory, if what runs in it is logged? 0 or -EINVAL. */
int  xn_vdev_check_log(const struct xn_vdev *v, const struct xn_region_state *regions, unsigned n);
void xn_vdev_forget_areas(struct xn_vdev *v);
/* Where ring `index` keeps its inflight state; NULL: nowhere. 0, or -EINVAL: the area has no
 * room for a ring of its size and kind. */
int  xn_vdev_inflight_of(const struct xn_vdev *v, unsigned index, void **at);

#endif
