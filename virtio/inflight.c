/* SPDX-License-Identifier: BSD-2-Clause */
/* Which heads are out, in shared memory. Layout, order of stores and trust: inflight.h. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "virtio/inflight.h"
#include "xsknet.h"

#define VERSION 1u

size_t xn_inflight_bytes(uint32_t size)
{
	return XN_ALIGN_UP(sizeof(struct xn_inflight_ring) +
			   (uint64_t)size * sizeof(struct xn_inflight_desc), XN_CACHE_LINE);
}

/* ---- the start ---- */

/*
 * Makes a region of it in which nothing is out. It is not one as long as the version
 * is 0: whoever is killed meanwhile leaves a region to be made new again.
 */
static void make_new(struct xn_inflight *f, uint16_t used_idx)
{
	struct xn_inflight_ring *g = f->g;

	xn_store_once16(&g->version, 0);
	for (uint32_t i = 0; i < f->size; i++)
		xn_store_release8(&g->desc[i].inflight, 0);
	xn_store_release64(&g->features, 0);
	xn_store_release16(&g->last_batch_head, 0);
	xn_store_release16(&g->used_idx, used_idx);
	xn_store_release16(&g->desc_num, (uint16_t)f->size);
	xn_store_release16(&g->version, VERSION);   /* orders all that in front */
}

/*
 * Killed inside a publication: the used index is further than the region knows. The
 * marks of that batch go; doing it again does no harm, so used_idx is last. False: a
 * batch that cannot be.
 */
static bool repair(struct xn_inflight *f, uint16_t used_idx)
{
	struct xn_inflight_ring *g = f->g;
	uint16_t batch = (uint16_t)(used_idx - xn_load_once16(&g->used_idx));
	uint16_t i = xn_load_once16(&g->last_batch_head);

	if (batch > f->size)
		return false;
	for (; batch; batch--) {
		if (i >= f->size)
			return false;
		xn_inflight_unmark(f, i);
		i = xn_load_once16(&g->desc[i].next);
	}
	xn_store_release16(&g->used_idx, used_idx);
	return true;
}

struct out {
	uint64_t counter;
	uint16_t head;
};

static bool earlier(const struct out *a, const struct out *b)
{
	return a->counter != b->counter ? a->counter < b->counter : a->head < b->head;
}

/* Moves o[i] down to its place in the heap of n, whose latest is on top. */
static void sift_down(struct out *o, uint32_t i, uint32_t n)
{
	for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
		struct out x = o[i];

		if (child + 1 < n && earlier(&o[child], &o[child + 1]))
			child++;
		if (!earlier(&x, &o[child]))
			return;
		o[i] = o[child];
		o[child] = x;
	}
}

/* Not qsort(): glibc's asks the system how much memory there is, which a process in a
 * sandbox may not be allowed to (SIGSYS), and takes some. */
static void sort(struct out *o, uint32_t n)
{
	for (uint32_t i = n / 2; i--;)
		sift_down(o, i, n);
	while (n > 1) {
		struct out latest = o[0];

		o[0] = o[--n];
		o[n] = latest;
		sift_down(o, 0, n);
	}
}

/* Heads that are marked, in the order in which they were taken. */
static void collect(struct xn_inflight *f, struct out *out)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->size; i++)
		if (xn_load_once8(&f->g->desc[i].inflight) == 1)
			out[n++] = (struct out){ xn_load_once64(&f->g->desc[i].counter), (uint16_t)i };
	sort(out, n);
	for (uint32_t i = 0; i < n; i++)
		f->again[i] = out[i].head;
	f->n_again = n;
	f->counter = n ? out[n - 1].counter + 1 : 0;
}

/* Is it a region, and of a ring of this size? */
static bool is_ours(const struct xn_inflight *f)
{
	return xn_load_once16(&f->g->version) == VERSION &&
	       xn_load_once16(&f->g->desc_num) == f->size;
}

static void take_over(struct xn_inflight *f, struct out *out, uint16_t used_idx,
		      uint16_t avail_idx, uint64_t *ignored)
{
	if (!is_ours(f)) {
		*ignored += xn_load_once16(&f->g->version) != 0;   /* else it is zeroed: new */
		make_new(f, used_idx);
	} else if (!repair(f, used_idx)) {
		*ignored += 1;
		make_new(f, used_idx);
	}
	collect(f, out);
	/* More are out than the driver has ever offered: it has begun anew without the
	 * region, or the region is wrong. */
	if (f->n_again > (uint16_t)(avail_idx - used_idx)) {
		*ignored += f->n_again;
		f->n_again = 0;
		make_new(f, used_idx);
	}
	f->last = xn_load_once16(&f->g->last_batch_head);   /* ours from now on; no index */
}

int xn_inflight_open(struct xn_inflight **out, void *region, uint32_t size, uint16_t used_idx,
		     uint16_t avail_idx, uint64_t *ignored)
{
	struct xn_inflight *f = calloc(1, sizeof(*f) + 2ull * size * sizeof(f->again[0]));
	struct out *room = calloc(size, sizeof(*room));

	*out = NULL;
	*ignored = 0;
	if (!f || !room) {
		free(f);
		free(room);
		return xn_fail(ENOMEM, "out of memory to track a ring of %u descriptors", size);
	}
	f->g = region;
	f->size = size;
	f->batch = &f->again[size];
	take_over(f, room, used_idx, avail_idx, ignored);
	free(room);
	*out = f;
	return 0;
}

void xn_inflight_close(struct xn_inflight *f)
{
	free(f);
}

/* ---- a publication ---- */

void xn_inflight_batch(struct xn_inflight *f, const struct vring_used_elem *list, uint32_t mask,
		       uint16_t from, uint16_t to)
{
	/* A guest that offers heads again before they are used can make a batch longer than
	 * the ring, which holds the last of it. */
	if ((uint16_t)(to - from) > f->size)
		from = (uint16_t)(to - f->size);
	f->n_batch = 0;
	for (; from != to; from++) {
		uint32_t head = xn_load_once32(&list[from & mask].id);

		if (head >= f->size)
			continue;
		head &= f->size - 1;
		/* All before the used index: the list is whole when somebody has to follow it. */
		xn_store_release16(&f->g->desc[head].next, f->last);
		xn_store_release16(&f->g->last_batch_head, (uint16_t)head);
		f->last = (uint16_t)head;
		f->batch[f->n_batch++] = (uint16_t)head;
	}
}

void xn_inflight_batch_done(struct xn_inflight *f, uint16_t used_idx)
{
	for (uint32_t i = 0; i < f->n_batch; i++)
		xn_inflight_unmark(f, f->batch[i]);
	/* Orders the marks in front: pairs, as they do, with the end of this process. */
	xn_store_release16(&f->g->used_idx, used_idx);
}
