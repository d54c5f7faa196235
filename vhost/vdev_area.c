/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that is shared with the front end beside the guest's: the dirty log, which it
 * gives, and the inflight area, which we make and it keeps, so that another process can
 * go on where this one died.
 *
 *	inflight area:  | ring 0 | ring 1 | ...   xn_inflight_bytes(size) each; packed rings:
 *	                                          xn_inflight_packed_bytes(size)
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "vhost/fds.h"
#include "vhost/proto.h"
#include "vhost/vdev_priv.h"

#define LOG_PAGE       0x1000u             /* guest memory that a bit of the log stands for */
#define MAX_RING_SIZE  32768u

/* ---- dirty log ------------------------------------------------------------------ */

static void log_to(struct xn_vdev *v, const struct xn_area *a)
{
	xn_vdev_park(v);
	xn_dev_set_dirty_log(v->dev, a->at, a->bytes);
	xn_vdev_unpark(v);
}

void xn_vdev_apply_log(struct xn_vdev *v)
{
	static const struct xn_area none;

	log_to(v, xn_vdev_has(v, XN_VU_F_LOG_ALL) ? &v->log : &none);
}

/* A log of so many bytes, and memory like this: pages behind its end would be lost to a migration. */
static int check_reach(uint64_t bytes, const struct xn_region_state *regions, unsigned n)
{
	uint64_t top = 0;

	for (unsigned i = 0; i < n; i++)
		top = XN_MAX(top, regions[i].r.gpa + (regions[i].r.size - 1));
	if (!n || bytes > top / LOG_PAGE / 8)
		return 0;
	return xn_fail(EINVAL, "dirty log of %" PRIu64 " bytes: guest memory reaches to %#" PRIx64, bytes,
		       top);
}

/* Before rings run the log of a migration that is over may still be there, until the front end
 * gives another. */
int xn_vdev_check_log(const struct xn_vdev *v, const struct xn_region_state *regions, unsigned n)
{
	return v->log.at && xn_vdev_any_ready(v) ? check_reach(v->log.bytes, regions, n) : 0;
}

int xn_vdev_set_log(struct xn_vdev *v, int fd, uint64_t offset, uint64_t bytes)
{
	struct xn_area a, old = v->log;
	int err = check_reach(bytes, v->regions, v->n_regions);

	if (err)
		return err;
	err = xn_area_map(&a, fd, offset, bytes, "dirty log");
	if (err)
		return err;
	v->log = a;
	xn_vdev_apply_log(v);
	xn_area_unmap(&old);
	return 0;
}

/* ---- inflight area ---------------------------------------------------------------- */

/* One ring's, of so many descriptors; where it is not yet known which kind: the larger one's. */
static uint64_t ring_bytes(const struct xn_vdev *v, unsigned size)
{
	return xn_vdev_packed(v) || !v->features_said ? xn_inflight_packed_bytes(size) :
							xn_inflight_bytes(size);
}

static int check_inflight(struct xn_vdev *v, unsigned n, unsigned size, uint64_t *bytes)
{
	if (!n || n > xn_vdev_rings(v) || !size || size > MAX_RING_SIZE)
		return xn_fail(EINVAL, "inflight area for %u rings of %u: there are %u, of up to %u",
			       n, size, xn_vdev_rings(v), MAX_RING_SIZE);
	*bytes = XN_ALIGN_UP(n * ring_bytes(v, size), XN_PAGE_SIZE);
	return 0;
}

static int check_sizes(const struct xn_vdev *v, unsigned n, unsigned size)
{
	for (unsigned i = 0; i < n; i++)
		if (v->rings[i].size > size)
			return xn_fail(EINVAL, "inflight area for rings of %u: vring %u has %u",
				       size, i, v->rings[i].size);
	return 0;
}

static void use_inflight(struct xn_vdev *v, const struct xn_area *a, unsigned n, unsigned size)
{
	xn_area_unmap(&v->inflight);
	v->inflight = *a;
	v->inflight_rings = n;
	v->inflight_size = size;
}

int xn_vdev_set_inflight(struct xn_vdev *v, int fd, uint64_t offset, uint64_t bytes,
			 unsigned n, unsigned size)
{
	struct xn_area a;
	uint64_t needed = 0;
	int err = check_inflight(v, n, size, &needed);

	if (!err)
		err = check_sizes(v, n, size);
	if (err)
		return err;
	if (xn_vdev_runs(v))
		return xn_fail(EBUSY, "inflight area cannot change while rings run");
	/* Before features are known it may be that of split rings, the smaller one. */
	if (bytes < n * (v->features_said ? ring_bytes(v, size) : xn_inflight_bytes(size)))
		return xn_fail(EINVAL, "inflight area of %" PRIu64 " bytes: %" PRIu64 " are needed",
			       bytes, needed);
	err = xn_area_map(&a, fd, offset, bytes, "inflight area");
	if (!err)
		use_inflight(v, &a, n, size);
	return err;
}

int xn_vdev_new_inflight(struct xn_vdev *v, unsigned n, unsigned size, int *fd, uint64_t *bytes)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	struct xn_area a;
	int err = check_inflight(v, n, size, bytes);

	*fd = -1;
	if (err)
		return err;
	*fd = memfd_create("xsknet-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return xn_fail(errno, "cannot make an inflight area: %s", strerror(errno));
	if (ftruncate(*fd, (off_t)*bytes) || fcntl(*fd, F_ADD_SEALS, seals)) {
		err = xn_fail(errno, "cannot make an inflight area of %" PRIu64 " bytes: %s", *bytes,
			      strerror(errno));
		goto out_fd;
	}
	/* From the start, if it can be: not every front end gives it back at once. */
	if (xn_vdev_runs(v) || check_sizes(v, n, size))
		return 0;
	err = xn_area_map(&a, *fd, 0, *bytes, "inflight area");
	if (err)
		goto out_fd;
	use_inflight(v, &a, n, size);
	return 0;

out_fd:
	close(*fd);
	*fd = -1;
	return err;
}

int xn_vdev_inflight_of(const struct xn_vdev *v, unsigned index, void **at)
{
	const uint64_t each = ring_bytes(v, v->inflight_size);

	*at = NULL;
	if (!v->inflight.at || index >= v->inflight_rings)
		return 0;
	if (v->rings[index].size > v->inflight_size)
		return xn_fail(EINVAL, "vring %u of %u descriptors: its inflight area is for %u", index,
			       v->rings[index].size, v->inflight_size);
	/* Features came after the area. */
	if (v->inflight.bytes < v->inflight_rings * each)
		return xn_fail(EINVAL, "inflight area of %" PRIu64 " bytes: %u packed rings of %u "
			       "need %" PRIu64, v->inflight.bytes, v->inflight_rings, v->inflight_size,
			       v->inflight_rings * each);
	*at = (char *)v->inflight.at + index * each;
	return 0;
}

void xn_vdev_forget_areas(struct xn_vdev *v)
{
	static const struct xn_area none;

	log_to(v, &none);
	xn_area_unmap(&v->log);
	xn_area_unmap(&v->inflight);
	v->inflight_rings = v->inflight_size = 0;
}
