/* SPDX-License-Identifier: BSD-2-Clause */
/* How drivers from before virtio 1.0 lay out a ring, for VMMs that only hear where it begins. */
#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "base/types.h"
#include "virtio/vq.h"
#include "xsknet.h"

/*
 *	gpa       descriptor table    16 bytes x size
 *	behind    available ring      flags, idx, heads, used_event: 2 bytes x (3 + size)
 *	align     used ring           at the next multiple of align
 */
int xn_vring_legacy(struct xn_vring *ring, uint64_t gpa, uint32_t size, uint32_t align)
{
	const uint64_t avail = gpa + 16ull * size;

	if (!size || !xn_is_pow2(size) || size > XN_VQ_MAX_SIZE || !align || !xn_is_pow2(align) ||
	    gpa % align)
		return xn_fail(EINVAL, "ring of %u descriptors at gpa %#" PRIx64 ", alignment %u: want a "
			       "power of two, up to %u, at a multiple of a power of two", size, gpa,
			       align, XN_VQ_MAX_SIZE);
	ring->size = size;
	ring->desc_gpa = gpa;
	ring->avail_gpa = avail;
	ring->used_gpa = XN_ALIGN_UP(avail + 2ull * (3 + size), (uint64_t)align);
	return 0;
}
