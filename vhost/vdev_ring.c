/* SPDX-License-Identifier: BSD-2-Clause */
/* What a front end says of its rings, checked, and kept until their pair starts. States in
 * vhost/vdev.h. */
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "vhost/discard.h"
#include "vhost/fds.h"
#include "vhost/peerlog.h"
#include "vhost/proto.h"
#include "vhost/vdev_priv.h"

#define MAX_RING_SIZE 32768u   /* VIRTIO 1.2, 2.7 */

void xn_vring_init(struct xn_vring_state *r)
{
	*r = (struct xn_vring_state){ .kick_fd = -1, .call_fd = -1, .err_fd = -1 };
}

void xn_vring_fini(struct xn_vring_state *r)
{
	xn_fd_close(r->kick_fd);
	xn_fd_close(r->call_fd);
	xn_fd_close(r->err_fd);
	xn_vring_init(r);
}

bool xn_vdev_is_ctrl(const struct xn_vdev *v, unsigned index)
{
	return xn_vdev_has(v, VIRTIO_NET_F_CTRL_VQ) && index == xn_vdev_ctrl_index(v);
}

bool xn_vdev_ring_ready(const struct xn_vdev *v, unsigned index)
{
	const struct xn_vring_state *r = &v->rings[index];
	struct xn_vring at;

	/* Behind the pairs there is only the control queue, or nothing that is served. */
	if (index >= 2 * v->opts.pairs && !xn_vdev_is_ctrl(v, index))
		return false;
	return r->started && r->size && r->has_addr && v->features_said &&
	       xn_vring_translate(r, xn_vdev_packed(v), v->regions, v->n_regions, &at);
}

static int check_stopped(const struct xn_vdev *v, unsigned index, const char *what)
{
	if (!xn_vdev_ring_ready(v, index))
		return 0;
	return xn_fail(EBUSY, "vring %u runs: its %s cannot change", index, what);
}

/* ---- where it lies ---------------------------------------------------------------- */

bool xn_vring_translate(const struct xn_vring_state *r, bool packed,
			const struct xn_region_state *regions, unsigned n, struct xn_vring *out)
{
	/* A ring whose size is not known yet has at least these. */
	const uint64_t size = XN_MAX(r->size, 1u);
	/* VIRTIO 1.3, 2.7, with the event words at the ends; 2.8.10.1. */
	const uint64_t avail = packed ? 4 : 6 + 2 * size, used = packed ? 4 : 6 + 8 * size;

	return xn_vdev_to_gpa(regions, n, r->desc, 16 * size, &out->desc_gpa) &&
	       xn_vdev_to_gpa(regions, n, r->avail, avail, &out->avail_gpa) &&
	       xn_vdev_to_gpa(regions, n, r->used, used, &out->used_gpa);
}

static int check_place(const struct xn_vdev *v, unsigned index, const struct xn_vring_state *r)
{
	struct xn_vring at;

	if (!v->mem)
		return xn_fail(EINVAL, "vring %u has addresses before there is memory", index);
	if (!xn_vring_translate(r, xn_vdev_packed(v), v->regions, v->n_regions, &at))
		return xn_fail(EINVAL, "vring %u: %u descriptors at %#" PRIx64 ", available ring at %#"
			       PRIx64 ", used ring at %#" PRIx64 " do not each lie inside one memory "
			       "region", index, r->size, r->desc, r->avail, r->used);
	return 0;
}

/* ---- what is said of it ------------------------------------------------------------- */

int xn_vdev_ring_size(struct xn_vdev *v, unsigned index, uint32_t size)
{
	int err = check_stopped(v, index, "size");

	if (err)
		return err;
	if (!size || size > MAX_RING_SIZE || (!xn_is_pow2(size) && !xn_vdev_packed(v)))
		return xn_fail(EINVAL, "vring %u of %u descriptors: must be %s, up to %u", index, size,
			       xn_vdev_packed(v) ? "one or more" : "a power of two", MAX_RING_SIZE);
	if (v->inflight.at && index < v->inflight_rings && size > v->inflight_size)
		return xn_fail(EINVAL, "vring %u of %u descriptors: its inflight area is for %u",
			       index, size, v->inflight_size);
	v->rings[index].size = size;
	xn_vdev_look_again(v);
	return 0;
}

int xn_vdev_ring_base(struct xn_vdev *v, unsigned index, uint32_t base)
{
	int err = check_stopped(v, index, "base");

	if (err)
		return err;
	if (base > UINT16_MAX && !xn_vdev_packed(v))
		return xn_fail(EINVAL, "vring %u: base %u is no index of a split ring", index, base);
	v->rings[index].base = base;
	v->rings[index].has_base = true;
	return 0;
}

/* Of a ring that nobody has told of: as a driver begins. */
static uint32_t first_base(const struct xn_vdev *v)
{
	return xn_vdev_packed(v) ? XN_VRING_NEW_PACKED : 0;
}

uint32_t xn_vdev_base(const struct xn_vdev *v, unsigned index)
{
	return v->rings[index].has_base ? v->rings[index].base : first_base(v);
}

/* Front ends that say only bits 0 to 15 of a packed ring's base mean the others to be the same. */
bool xn_vdev_ring_is_new(const struct xn_vdev *v, unsigned index)
{
	const uint32_t base = xn_vdev_base(v, index), first = first_base(v);

	return base == first || base == (first & UINT16_MAX);
}

int xn_vdev_ring_addr(struct xn_vdev *v, unsigned index, uint64_t desc, uint64_t avail,
		      uint64_t used)
{
	const unsigned align = xn_vdev_packed(v) ? 4 : 2;
	struct xn_vring_state *r = &v->rings[index];
	struct xn_vring_state next = *r;
	int err;

	/* QEMU sends the same addresses to a ring that runs when dirty logging goes on or off. */
	if (r->has_addr && r->desc == desc && r->avail == avail && r->used == used)
		return check_place(v, index, r);
	err = check_stopped(v, index, "place");
	if (err)
		return err;
	if (desc % 16 || avail % align || used % 4)
		return xn_fail(EINVAL, "vring %u: descriptors at %#" PRIx64 ", available ring at %#"
			       PRIx64 ", used ring at %#" PRIx64 " must be multiples of 16, %u and 4",
			       index, desc, avail, used, align);
	next.desc = desc;
	next.avail = avail;
	next.used = used;
	err = check_place(v, index, &next);
	if (err)
		return err;
	next.has_addr = true;
	*r = next;
	xn_vdev_look_again(v);
	return 0;
}

/* Puts fd, checked, in the place of *mine. Taken. */
static int take_event(struct xn_vdev *v, unsigned index, int *mine, int fd, const char *what)
{
	char name[40];
	int err = 0;

	snprintf(name, sizeof(name), "vring %u: %s", index, what);
	if (fd >= 0)
		err = xn_fd_check_event(fd, false, name);
	if (err) {
		xn_discard(fd);
		return err;
	}
	/* Its worker may be about to signal it. */
	xn_vdev_park_ring(v, index);
	xn_fd_close(*mine);
	*mine = fd;
	xn_vdev_unpark_ring(v, index);
	return 0;
}

int xn_vdev_ring_call(struct xn_vdev *v, unsigned index, int fd)
{
	static const uint64_t one = 1;
	struct xn_vring_state *r = &v->rings[index];
	const bool was_polled = r->call_fd < 0;
	int err = take_event(v, index, &r->call_fd, fd, "call");

	/* A driver that has polled until now may have gone to sleep since it looked last. */
	if (!err && was_polled && fd >= 0 && xn_vdev_ring_runs(v, index))
		(void)!write(fd, &one, sizeof(one));
	return err;
}

int xn_vdev_ring_err(struct xn_vdev *v, unsigned index, int fd)
{
	return take_event(v, index, &v->rings[index].err_fd, fd, "err");
}

int xn_vdev_ring_enable(struct xn_vdev *v, unsigned index, bool on)
{
	if (v->rings[index].enabled == on)
		return 0;
	v->rings[index].enabled = on;
	if (index >= 2 * v->opts.pairs)
		return 0;
	xn_vdev_apply_enable(v, index / 2);
	return xn_vdev_start_whole(v, index / 2) ? -EIO : 0;
}

void xn_vdev_rings_disable(struct xn_vdev *v)
{
	for (unsigned i = 0; i < xn_vdev_rings(v); i++)
		(void)xn_vdev_ring_enable(v, i, false);
}

/* ---- start and stop ------------------------------------------------------------------ */

static int check_kick(const struct xn_vdev *v, unsigned index)
{
	const struct xn_vring_state *r = &v->rings[index];

	return r->size && r->has_addr && v->mem ? check_place(v, index, r) : 0;
}

static int kick(struct xn_vdev *v, unsigned index, int fd)
{
	struct xn_vring_state *r = &v->rings[index];
	char name[40];
	int err = check_kick(v, index);

	snprintf(name, sizeof(name), "vring %u: kick", index);
	if (!err && fd >= 0)
		err = xn_fd_check_event(fd, true, name);
	if (err) {
		xn_discard(fd);
		return err;
	}
	/* Another kick fd while it runs: the pair starts again with it. */
	if (xn_vdev_ring_runs(v, index))
		xn_vdev_ring_halt(v, index);
	xn_fd_close(r->kick_fd);
	r->kick_fd = fd;
	r->started = true;
	xn_store_once8(&r->broken, 0);
	if (!xn_vdev_ring_ready(v, index) || !xn_vdev_ring_is_ready(v, index))
		return 0;
	xn_fd_close(r->kick_fd);
	r->kick_fd = -1;
	r->started = false;
	return -EIO;
}

int xn_vdev_ring_kick(struct xn_vdev *v, unsigned index, int fd)
{
	int err = kick(v, index, fd);

	if (err == -EIO)
		xn_vdev_ring_error(v, index);
	return err;
}

uint32_t xn_vdev_ring_stop(struct xn_vdev *v, unsigned index)
{
	struct xn_vring_state *r = &v->rings[index];

	xn_vdev_ring_halt(v, index);
	xn_fd_close(r->kick_fd);
	r->kick_fd = -1;
	r->started = false;
	if (xn_vdev_is_ctrl(v, index))
		v->ctrl.began = false;
	if (xn_load_once8(&r->broken))
		xn_peer_log(XN_LOG_WARN, "vring %u was stopped by a fault of the guest's driver (%s) "
			    "and begins anew", index, r->fault);
	xn_store_once8(&r->broken, 0);
	return xn_vdev_base(v, index);
}

void xn_vdev_rings_reset(struct xn_vdev *v)
{
	struct xn_vdev_ran ran;

	xn_vdev_stop_all(v, &ran);
	for (unsigned i = 0; i < xn_vdev_rings(v); i++)
		(void)xn_vdev_ring_stop(v, i);
	for (unsigned i = 0; i < xn_vdev_rings(v); i++) {
		struct xn_vring_state *r = &v->rings[i];
		const int call_fd = r->call_fd, err_fd = r->err_fd;

		xn_vring_init(r);
		r->call_fd = call_fd;
		r->err_fd = err_fd;
	}
	v->active = v->opts.pairs;
	v->ctrl.due_ns = 0;
	for (unsigned p = 0; p < v->opts.pairs; p++)
		v->pairs[p].due_ns = 0;
}

/* ---- faults --------------------------------------------------------------------------- */

void xn_vdev_ring_error(struct xn_vdev *v, unsigned index)
{
	static const uint64_t one = 1;

	/* It does not block (xn_fd_check_event). */
	if (v->rings[index].err_fd >= 0)
		(void)!write(v->rings[index].err_fd, &one, sizeof(one));
}

void xn_vdev_ring_broken(struct xn_vdev *v, unsigned index, const char *fault)
{
	v->rings[index].fault = fault;
	xn_store_once8(&v->rings[index].broken, 1);
	xn_vdev_ring_error(v, index);
}

bool xn_vdev_needs_reset(const struct xn_vdev *v)
{
	for (unsigned i = 0; i < xn_vdev_rings(v); i++)
		if (xn_load_once8(&v->rings[i].broken))
			return true;
	return false;
}
