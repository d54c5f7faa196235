/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory as a front end shares it: a table of regions, each with its file, its
 * place in the guest, and its place in the front end's own address space, in which
 * front ends give addresses of rings.
 *
 * Each change makes a whole new map of all regions before anything else is touched, so
 * that a table that cannot be used changes nothing. Then what runs is stopped (not a byte
 * of the old memory changes any more), moved, and started again; the kernel pins the new
 * memory in that start, and if that fails, all goes back to the old.
 *
 * That is why the files are kept: one region more means mapping all of them again.
 *
 * A ring whose memory is removed is not ready any more: it stops, and goes on at the same
 * place when memory for it is there again. (QEMU removes a region and adds its two halves
 * when the guest's memory map gets a hole.)
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/types.h"
#include "vhost/fds.h"
#include "vhost/proto.h"
#include "vhost/sigbus.h"
#include "vhost/vdev_priv.h"

struct table {
	struct xn_region_state r[XN_MEM_MAX_REGIONS];
	unsigned n;
};

bool xn_vdev_to_gpa(const struct xn_region_state *regions, unsigned n, uint64_t user,
		    uint64_t bytes, uint64_t *gpa)
{
	for (unsigned i = 0; i < n; i++) {
		const struct xn_vdev_region *r = &regions[i].r;

		if (user < r->user_addr || user - r->user_addr >= r->size ||
		    bytes > r->size - (user - r->user_addr))
			continue;
		*gpa = r->gpa + (user - r->user_addr);
		return true;
	}
	return false;
}

/* ---- a table -------------------------------------------------------------- */

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a - b < b_bytes || b - a < a_bytes;
}

/* What xn_mem_create does not look at: the front end's addresses. Both kinds of wrapping here,
 * so that the sums above can be made. */
static int check_region(const struct xn_vdev_region *r, unsigned i)
{
	char what[32];

	if (!r->size || (r->gpa | r->size | r->user_addr | r->offset) % XN_PAGE_SIZE)
		return xn_fail(EINVAL, "memory region %u: gpa %#" PRIx64 ", size %#" PRIx64
			       ", address %#" PRIx64 " and offset %#" PRIx64 " must be multiples of "
			       "%u, and not empty", i, r->gpa, r->size, r->user_addr, r->offset,
			       XN_PAGE_SIZE);
	if (r->size - 1 > UINT64_MAX - r->user_addr || r->size - 1 > UINT64_MAX - r->gpa)
		return xn_fail(EINVAL, "memory region %u: gpa %#" PRIx64 " or address %#" PRIx64
			       " with size %#" PRIx64 " wraps around", i, r->gpa, r->user_addr,
			       r->size);
	snprintf(what, sizeof(what), "memory region %u", i);
	return xn_fd_check_memory(r->fd, what);
}

static int check_table(const struct table *t)
{
	for (unsigned i = 0; i < t->n; i++) {
		const struct xn_vdev_region *a = &t->r[i].r;
		int err = check_region(a, i);

		if (err)
			return err;
		for (unsigned j = 0; j < i; j++) {
			const struct xn_vdev_region *b = &t->r[j].r;

			if (overlap(a->user_addr, a->size, b->user_addr, b->size))
				return xn_fail(EINVAL, "memory regions %u and %u overlap in the "
					       "front end's addresses", j, i);
		}
	}
	return 0;
}

/* A duplicate of the fd, and which file it is. */
static int take_region(struct table *t, const struct xn_vdev_region *r)
{
	struct xn_region_state *to = &t->r[t->n];
	struct stat st;
	int fd;

	if (fstat(r->fd, &st))
		return xn_fail(EINVAL, "memory region %u: %s", t->n, strerror(errno));
	fd = xn_fd_dup(r->fd);
	if (fd < 0)
		return fd;
	*to = (struct xn_region_state){ .r = *r, .dev = st.st_dev, .ino = st.st_ino };
	to->r.fd = fd;
	t->n++;
	return 0;
}

static void close_table(struct table *t)
{
	for (unsigned i = 0; i < t->n; i++)
		xn_fd_close(t->r[i].r.fd);
	t->n = 0;
}

static bool same_region(const struct xn_region_state *a, const struct xn_region_state *b)
{
	return a->r.gpa == b->r.gpa && a->r.size == b->r.size &&
	       a->r.user_addr == b->r.user_addr && a->r.offset == b->r.offset &&
	       a->dev == b->dev && a->ino == b->ino;
}

/* QEMU sends the table again whenever the guest's driver starts. */
static bool same_as_now(const struct xn_vdev *v, const struct table *t)
{
	if (!v->mem || v->n_regions != t->n || xn_mem_poisoned(v->mem))
		return false;
	for (unsigned i = 0; i < t->n; i++)
		if (!same_region(&v->regions[i], &t->r[i]))
			return false;
	return true;
}

/* ---- from one to the other -------------------------------------------------- */

static int map_table(const struct table *t, struct xn_mem **mem)
{
	struct xn_region r[XN_MEM_MAX_REGIONS] = { 0 };

	*mem = NULL;
	for (unsigned i = 0; i < t->n; i++)
		r[i] = (struct xn_region){ .gpa = t->r[i].r.gpa, .size = t->r[i].r.size,
					   .fd = t->r[i].r.fd, .fd_offset = t->r[i].r.offset };
	return t->n ? xn_mem_create(mem, r, t->n, NULL) : 0;
}

/* A whole table that forgets a ring is a mistake. */
static int check_rings(const struct xn_vdev *v, const struct table *t)
{
	struct xn_vring gone;

	for (unsigned i = 0; i < xn_vdev_rings(v); i++)
		if (xn_vdev_ring_ready(v, i) &&
		    !xn_vring_translate(&v->rings[i], xn_vdev_packed(v), t->r, t->n, &gone))
			return xn_fail(EBUSY, "vring %u runs, and does not lie in the new memory: it "
				       "has to be stopped first", i);
	return 0;
}

static void swap_table(struct xn_vdev *v, struct table *t, struct xn_mem **mem)
{
	struct table old = { .n = v->n_regions };
	struct xn_mem *old_mem = v->mem;

	memcpy(old.r, v->regions, sizeof(old.r));
	memcpy(v->regions, t->r, sizeof(v->regions));
	v->n_regions = t->n;
	v->mem = *mem;
	*t = old;
	*mem = old_mem;
	xn_sigbus_guard_mem(v->mem);
	/* Nothing runs: this cannot fail. */
	(void)xn_dev_set_mem(v->dev, v->mem);
}

/* The table and its fds are used up. */
static int replace(struct xn_vdev *v, struct table *t)
{
	struct xn_vdev_ran ran;
	struct xn_mem *mem = NULL;
	int err = check_table(t);

	if (!err && xn_vdev_has(v, XN_VU_F_LOG_ALL))
		err = xn_vdev_check_log(v, t->r, t->n);
	if (err || same_as_now(v, t))
		goto out;
	err = map_table(t, &mem);
	if (err)
		goto out;
	xn_vdev_stop_all(v, &ran);
	swap_table(v, t, &mem);
	err = xn_vdev_start_again(v, &ran);
	if (err) {
		struct xn_vdev_ran some;

		xn_vdev_stop_all(v, &some);
		swap_table(v, t, &mem);
		/* It ran there before. If it does not now, its error eventfds have told. */
		(void)xn_vdev_start_again(v, &ran);
	}
	xn_mem_destroy(mem);
	xn_vdev_look_again(v);
out:
	close_table(t);
	return err;
}

/* The regions of now, but for one (or none: n_regions). */
static int copy_now(const struct xn_vdev *v, struct table *t, unsigned but)
{
	for (unsigned i = 0; i < v->n_regions; i++) {
		int err = i == but ? 0 : take_region(t, &v->regions[i].r);

		if (err)
			return err;
	}
	return 0;
}

int xn_vdev_set_mem(struct xn_vdev *v, const struct xn_vdev_region *r, unsigned n)
{
	struct table t = { .n = 0 };
	int err = 0;

	if (!n || n > XN_MEM_MAX_REGIONS)
		return xn_fail(EINVAL, "%u memory regions: 1 to %u are possible", n,
			       XN_MEM_MAX_REGIONS);
	for (unsigned i = 0; i < n && !err; i++) {
		err = check_region(&r[i], i);
		if (!err)
			err = take_region(&t, &r[i]);
	}
	if (!err)
		err = check_rings(v, &t);
	if (!err)
		return replace(v, &t);
	close_table(&t);
	return err;
}

int xn_vdev_add_region(struct xn_vdev *v, const struct xn_vdev_region *r)
{
	struct table t = { .n = 0 };
	int err;

	if (v->n_regions == XN_MEM_MAX_REGIONS)
		return xn_fail(EINVAL, "all %u memory slots are taken", XN_MEM_MAX_REGIONS);
	err = check_region(r, v->n_regions);
	if (!err)
		err = copy_now(v, &t, v->n_regions);
	if (!err)
		err = take_region(&t, r);
	if (!err)
		return replace(v, &t);
	close_table(&t);
	return err;
}

int xn_vdev_remove_region(struct xn_vdev *v, const struct xn_vdev_region *r)
{
	struct table t = { .n = 0 };
	unsigned i = 0;
	int err;

	while (i < v->n_regions && (v->regions[i].r.gpa != r->gpa || v->regions[i].r.size != r->size ||
				    v->regions[i].r.user_addr != r->user_addr))
		i++;
	if (i == v->n_regions)
		return xn_fail(ENOENT, "no memory region has gpa %#" PRIx64 ", size %#" PRIx64
			       " and address %#" PRIx64, r->gpa, r->size, r->user_addr);
	err = copy_now(v, &t, i);
	if (!err)
		return replace(v, &t);
	close_table(&t);
	return err;
}

void xn_vdev_forget_mem(struct xn_vdev *v)
{
	struct table none = { .n = 0 };
	struct xn_mem *mem = NULL;

	swap_table(v, &none, &mem);
	xn_mem_destroy(mem);
	close_table(&none);
}
