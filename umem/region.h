/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One region of guest RAM: what stands behind it, and how to map a part of it.
 * Private to umem/. Every message names the region by its index in the
 * caller's array.
 */
#ifndef XN_UMEM_REGION_H
#define XN_UMEM_REGION_H

#include "base/types.h"
#include "xsknet.h"

/* A line of /proc/self/maps. */
struct xn_vma {
	uint64_t lo, hi;        /* addresses [lo, hi) */
	uint64_t offset;        /* in its file, of lo */
	unsigned major;         /* of its file's device */
	bool read, write, shared;
};

/* All of them, in address order. Needed only for regions given by `host`. */
struct xn_vmas {
	struct xn_vma *v;
	size_t n;
};
int xn_vmas_load(struct xn_vmas *vmas);
void xn_vmas_free(struct xn_vmas *vmas);

struct xn_backing {
	uint64_t page;          /* bytes: unit of mapping; > 4096 on hugetlb */
	uint64_t offset;        /* in its file, of the region's first byte */
};

/* Numbers that cannot be right whatever stands behind the region. -EINVAL, -ENOMEM. */
int xn_region_check(const struct xn_region *r, unsigned i);

/* What stands behind the region, and whether AF_XDP can use it. Errors as in
 * xn_mem_create. */
int xn_region_probe(const struct xn_region *r, unsigned i, const struct xn_vmas *vmas,
		    struct xn_backing *b);

/* Maps bytes [from, from + bytes) of the region at `at`, in place of what is
 * there. After a failure there may be a hole at `at`. */
int xn_region_map(const struct xn_region *r, unsigned i, const struct xn_vmas *vmas,
		  uint64_t from, uint64_t bytes, void *at);

#endif
