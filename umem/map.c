/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's memory map: layout, mapping, translation.
 *
 * Creating one takes four steps, each of which can be read by itself:
 *
 *   check   every region's numbers, what stands behind it, no overlap
 *   cut     regions -> parts: a window's edge cuts a region in two
 *   place   parts -> UMEM offsets (picture in umem/mem.h)
 *   map     one reservation of addresses, then every piece of it with MAP_FIXED
 *
 * Placing. A part goes right behind the one before it, so that neighbours in
 * guest addresses are neighbours in the UMEM and become one span, across which
 * a buffer may lie. Two things come first:
 *   - hugetlb files can only be mapped at multiples of their huge page;
 *   - the kernel maps 2 MiB of a tmpfs file with one entry only where address
 *     and file offset agree modulo 2 MiB (mm/huge_memory.c,
 *     thp_vma_suitable_order), so parts that are large enough for it are placed
 *     like this.
 * What stays free in the registered range is filled with memory of the engine.
 *
 * The window is a matter of cost only (registering pins memory): what lies
 * outside is mapped all the same, behind the registered range.
 *
 * Nothing here changes after xn_mem_create, but for the stack of bounce frames;
 * so translation needs no lock.
 */
#include <errno.h>
#include <inttypes.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/opts.h"
#include "umem/mem.h"
#include "umem/region.h"

#define DEFAULT_BOUNCE_FRAMES 8192u
#define MAX_NUMA_NODES        1024u   /* Linux: CONFIG_NODES_SHIFT <= 10 */

/* A region, or what a window's edge has cut of one. */
struct part {
	unsigned region;       /* index in the caller's array */
	uint64_t gpa, bytes;
	uint64_t from;         /* of its first byte, in the region */
	uint64_t uoff;
	bool     outside;      /* of the window */
};

struct plan {
	const struct xn_region *regions;
	unsigned n;
	struct xn_mem_opts opts;
	struct xn_vmas vmas;
	struct xn_backing backing[XN_MEM_MAX_REGIONS];
	uint64_t base_align;            /* bytes: the largest page among the regions */
	unsigned n_parts;
	struct part parts[XN_MEM_MAX_SPANS];   /* by gpa */
};

/* ---- check ----------------------------------------------------------------- */

static int take_opts(struct plan *p, const struct xn_mem_opts *opts)
{
	if (!xn_opts_take(&p->opts, sizeof(p->opts), opts) || (p->opts.flags & ~XN_MEM_NUMA))
		return xn_fail(E2BIG, "xn_mem_opts: members or flags that this library does not "
			       "know (set .sz = sizeof(struct xn_mem_opts), the rest to 0)");
	if (!p->opts.bounce_frames)
		p->opts.bounce_frames = DEFAULT_BOUNCE_FRAMES;
	if ((p->opts.flags & XN_MEM_NUMA) && p->opts.numa_node >= MAX_NUMA_NODES)
		return xn_fail(EINVAL, "NUMA node %u does not exist", p->opts.numa_node);
	return 0;
}

static int probe_regions(struct plan *p)
{
	p->base_align = XN_HUGE_SIZE;
	for (unsigned i = 0; i < p->n; i++) {
		int err = xn_region_check(&p->regions[i], i);

		if (!err && p->regions[i].host && !p->vmas.v)
			err = xn_vmas_load(&p->vmas);
		if (!err)
			err = xn_region_probe(&p->regions[i], i, &p->vmas, &p->backing[i]);
		if (err)
			return err;
		p->base_align = XN_MAX(p->base_align, p->backing[i].page);
	}
	return 0;
}

/* Fills `order` with the regions' indices by rising gpa. */
static void sort_regions(const struct plan *p, unsigned *order)
{
	for (unsigned i = 0; i < p->n; i++) {
		unsigned at = i;

		for (; at && p->regions[order[at - 1]].gpa > p->regions[i].gpa; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}

static int check_overlap(const struct plan *p, const unsigned *order)
{
	for (unsigned k = 1; k < p->n; k++) {
		const struct xn_region *a = &p->regions[order[k - 1]], *b = &p->regions[order[k]];

		/* As a difference: a.gpa + a.size may be 2^64. */
		if (b->gpa - a->gpa < a->size)
			return xn_fail(EINVAL, "region %u: overlaps region %u at gpa %#" PRIx64,
				       XN_MAX(order[k - 1], order[k]),
				       XN_MIN(order[k - 1], order[k]), b->gpa);
	}
	return 0;
}

static int check_window(const struct plan *p)
{
	const struct xn_mem_opts *o = &p->opts;

	if (o->window_bytes && o->window_bytes - 1 > UINT64_MAX - o->window_gpa)
		return xn_fail(EINVAL, "window: gpa %#" PRIx64 " + %#" PRIx64 " bytes wraps around",
			       o->window_gpa, o->window_bytes);
	return 0;
}

/* ---- cut ------------------------------------------------------------------- */

static void add_part(struct plan *p, unsigned region, uint64_t from, uint64_t to, bool outside)
{
	if (from == to)
		return;
	assert(p->n_parts < XN_ARRAY_SIZE(p->parts));
	p->parts[p->n_parts++] = (struct part){
		.region = region,
		.gpa = p->regions[region].gpa + from,
		.bytes = to - from,
		.from = from,
		.outside = outside,
	};
}

/*
 * The window's share of a region, [*from, *to) counted from its start, aligned
 * outwards to the region's page; empty if the window lies elsewhere.
 */
static void window_in_region(const struct plan *p, unsigned i, uint64_t *from, uint64_t *to)
{
	const struct xn_region *r = &p->regions[i];
	uint64_t page = p->backing[i].page;
	uint64_t first = p->opts.window_gpa, last = first + (p->opts.window_bytes - 1);

	*from = 0;
	*to = r->size;
	if (!p->opts.window_bytes)
		return;
	if (last < r->gpa || first > r->gpa + (r->size - 1)) {
		*to = 0;
		return;
	}
	if (first > r->gpa)
		*from = XN_ALIGN_DOWN(first - r->gpa, page);
	if (last < r->gpa + (r->size - 1))
		*to = XN_ALIGN_UP(last - r->gpa + 1, page);
}

static int cut_regions(struct plan *p, const unsigned *order)
{
	bool any = false;

	for (unsigned k = 0; k < p->n; k++) {
		unsigned i = order[k];
		uint64_t from, to;

		window_in_region(p, i, &from, &to);
		if (from == to) {
			add_part(p, i, 0, p->regions[i].size, true);
			continue;
		}
		any = true;
		add_part(p, i, 0, from, true);
		add_part(p, i, from, to, false);
		add_part(p, i, to, p->regions[i].size, true);
	}
	if (!any)
		return xn_fail(EINVAL, "window: no region has memory in gpa %#" PRIx64 " + %#"
			       PRIx64, p->opts.window_gpa, p->opts.window_bytes);
	return 0;
}

/* ---- place ------------------------------------------------------------------ */

/* The first offset >= at that suits the part. */
static uint64_t place_part(const struct plan *p, const struct part *part, uint64_t at)
{
	const struct xn_backing *b = &p->backing[part->region];

	if (b->page > XN_PAGE_SIZE)
		return XN_ALIGN_UP(at, b->page);
	if (part->bytes >= XN_HUGE_SIZE)
		return at + ((b->offset + part->from - at) & (XN_HUGE_SIZE - 1));
	return at;
}

/* Places the parts inside of the window, or those outside, from `at` on; returns
 * the end of the last. */
static uint64_t place_parts(struct plan *p, bool outside, uint64_t at)
{
	for (unsigned k = 0; k < p->n_parts; k++) {
		struct part *part = &p->parts[k];

		if (part->outside != outside)
			continue;
		part->uoff = place_part(p, part, at);
		at = part->uoff + part->bytes;
	}
	return at;
}

/* arena_hi is: guard, bounce frames, guard. So a frame has neither guest memory
 * next to it nor the end of the UMEM. */
static void place(struct plan *p, struct xn_mem *m)
{
	m->frames_at = place_parts(p, false, XN_ARENA_GUARD) + XN_ARENA_GUARD;
	m->umem_bytes = m->frames_at + (uint64_t)p->opts.bounce_frames * XN_CHUNK_BYTES +
			XN_ARENA_GUARD;
	m->map_bytes = place_parts(p, true, m->umem_bytes);
}

/* ---- map -------------------------------------------------------------------- */

/* Addresses for the whole, without memory, aligned. */
static int reserve(struct xn_mem *m, uint64_t align)
{
	uint64_t room = m->map_bytes + align;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint8_t *p = mmap(NULL, room, PROT_NONE, flags, -1, 0);
	uint64_t skip;

	if (p == MAP_FAILED)
		return xn_fail(ENOMEM, "cannot reserve %#" PRIx64 " bytes of addresses for guest "
			       "memory: %s (ulimit -v?)", room, strerror(errno));
	skip = -(uint64_t)(uintptr_t)p & (align - 1);
	if (skip)
		munmap(p, skip);
	if (skip != align)
		munmap(p + skip + m->map_bytes, align - skip);
	m->base = p + skip;
	return 0;
}

static int bind_to_node(void *at, uint64_t bytes, unsigned node)
{
	unsigned long mask[MAX_NUMA_NODES / (8 * sizeof(long))] = { 0 };

	mask[node / (8 * sizeof(long))] = 1ul << node % (8 * sizeof(long));
	/* + 1: the kernel looks at one bit less than it is told (mm/mempolicy.c, get_nodes). */
	if (!mbind(at, bytes, MPOL_BIND, mask, MAX_NUMA_NODES + 1, 0))
		return 0;
	if (errno == EINVAL)
		return xn_fail(EINVAL, "NUMA node %u does not exist, or has no memory that this "
			       "process may use (see numactl --hardware)", node);
	return xn_fail(errno == ENOSYS ? ENOTSUP : errno, "cannot bind memory to NUMA node %u: %s",
		       node, strerror(errno));
}

/* Memory of the engine in [from, to). */
static int map_arena(const struct plan *p, struct xn_mem *m, uint64_t from, uint64_t to)
{
	void *at = m->base + from;

	if (from == to)
		return 0;
	if (mmap(at, to - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0) == MAP_FAILED)
		return xn_fail(ENOMEM, "no memory for %" PRIu64 " KiB of arena (%u bounce frames): "
			       "%s", (to - from) >> 10, p->opts.bounce_frames, strerror(errno));
	/* A fork would make the pinned pages copy-on-write: the kernel would go on
	 * with the old ones, and this process see new ones. */
	if (madvise(at, to - from, MADV_DONTFORK))
		return xn_fail(errno, "arena: madvise(MADV_DONTFORK): %s", strerror(errno));
	if (p->opts.flags & XN_MEM_NUMA)
		return bind_to_node(at, to - from, p->opts.numa_node);
	return 0;
}

static int map_part(const struct plan *p, struct xn_mem *m, const struct part *part)
{
	return xn_region_map(&p->regions[part->region], part->region, &p->vmas, part->from,
			     part->bytes, m->base + part->uoff);
}

static int map_all(const struct plan *p, struct xn_mem *m)
{
	uint64_t filled = 0;   /* registered range, up to here */
	int err = 0;

	for (unsigned k = 0; k < p->n_parts && !err; k++) {
		const struct part *part = &p->parts[k];

		if (!part->outside) {
			err = map_arena(p, m, filled, part->uoff);
			filled = part->uoff + part->bytes;
		}
		if (!err)
			err = map_part(p, m, part);
	}
	return err ? err : map_arena(p, m, filled, m->umem_bytes);
}

/* ---- describe ---------------------------------------------------------------- */

/* Parts that touch in both address spaces are one span. */
static void make_spans(const struct plan *p, struct xn_mem *m)
{
	for (unsigned k = 0; k < p->n_parts; k++) {
		const struct part *part = &p->parts[k];
		struct xn_span *s = m->n_spans ? &m->spans[m->n_spans - 1] : NULL;

		m->guest_bytes += part->bytes;
		if (s && s->gpa + s->bytes == part->gpa && s->uoff + s->bytes == part->uoff) {
			s->bytes += part->bytes;
			continue;
		}
		m->spans[m->n_spans++] = (struct xn_span){ part->gpa, part->bytes, part->uoff };
	}
}

/* Frames leave in rising order: the last on the stack is frame 0. */
static int make_frames(struct xn_mem *m, uint32_t n)
{
	m->free_frames = calloc(n, sizeof(*m->free_frames));
	if (!m->free_frames)
		return xn_fail(ENOMEM, "no memory for a list of %u bounce frames", n);
	for (uint32_t i = 0; i < n; i++)
		m->free_frames[i] = n - 1 - i;
	m->n_frames = m->n_free = n;
	return 0;
}

static void describe(const struct plan *p, struct xn_mem *m)
{
	make_spans(p, m);
	m->n_regions = p->n;
	for (unsigned i = 0; i < p->n; i++)
		m->n_hugetlb += p->backing[i].page > XN_PAGE_SIZE;
	if (!p->opts.window_bytes)
		return;
	/* A window over all 2^64 addresses wraps to 0 bytes, which means the same. */
	m->window_gpa = XN_ALIGN_DOWN(p->opts.window_gpa, XN_PAGE_SIZE);
	m->window_bytes = ((p->opts.window_gpa + (p->opts.window_bytes - 1)) | (XN_PAGE_SIZE - 1)) -
			  m->window_gpa + 1;
}

/* ---- create and destroy -------------------------------------------------------- */

static int make_plan(struct plan *p)
{
	unsigned order[XN_MEM_MAX_REGIONS];
	int err = probe_regions(p);

	if (err)
		return err;
	sort_regions(p, order);
	err = check_overlap(p, order);
	if (!err)
		err = check_window(p);
	if (!err)
		err = cut_regions(p, order);
	return err;
}

static int build(const struct plan *p, struct xn_mem *m)
{
	int err = reserve(m, p->base_align);

	if (!err)
		err = map_all(p, m);
	if (!err)
		err = make_frames(m, p->opts.bounce_frames);
	if (!err)
		describe(p, m);
	return err;
}

int xn_mem_create(struct xn_mem **out, const struct xn_region *regions, unsigned n,
		  const struct xn_mem_opts *opts)
{
	struct plan p = { .regions = regions, .n = n };
	struct xn_mem *m = NULL;
	int err;

	*out = NULL;
	if (!regions || !n || n > XN_MEM_MAX_REGIONS)
		return xn_fail(EINVAL, "%u regions of guest memory: there must be 1 to %u", n,
			       XN_MEM_MAX_REGIONS);
	err = take_opts(&p, opts);
	if (!err)
		err = make_plan(&p);
	if (err)
		goto out_vmas;
	m = calloc(1, sizeof(*m));
	if (!m) {
		err = xn_fail(ENOMEM, "no memory for the guest's memory map");
		goto out_vmas;
	}
	place(&p, m);
	err = build(&p, m);
	if (err)
		goto out_mem;
	*out = m;
	m = NULL;
out_mem:
	xn_mem_destroy(m);
out_vmas:
	xn_vmas_free(&p.vmas);
	return err;
}

void xn_mem_destroy(struct xn_mem *m)
{
	if (!m)
		return;
	assert(!m->users);
	free(m->free_frames);
	if (m->base)
		munmap(m->base, m->map_bytes);
	free(m);
}

/* ---- a file that was truncated ---- */

/*
 * In a signal handler: nothing but mmap, and the tables that nobody changes. A span is
 * replaced as a whole, since the file is as short for all of its pages, and a page at a
 * time would be one signal for each.
 */
bool xn_mem_poison(struct xn_mem *m, const void *addr)
{
	uint64_t at = (uint64_t)(uintptr_t)addr - (uint64_t)(uintptr_t)m->base;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
	const int saved = errno;

	if (at >= m->map_bytes || xn_mem_span_of(m, XN_UOFF(at)) < 0)
		return false;
	for (unsigned i = 0; i < m->n_spans; i++)
		if (mmap(m->base + m->spans[i].uoff, m->spans[i].bytes, PROT_READ | PROT_WRITE,
			 flags, -1, 0) == MAP_FAILED) {
			errno = saved;
			return false;
		}
	xn_store_release32(&m->poisoned, 1);
	errno = saved;
	return true;
}

bool xn_mem_poisoned(const struct xn_mem *m)
{
	return xn_load_acquire32(&m->poisoned);
}

/* ---- translate ------------------------------------------------------------------- */

static const struct xn_span *span_at(const struct xn_mem *m, xn_gpa gpa)
{
	unsigned lo = 0, hi = m->n_spans;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct xn_span *s = &m->spans[mid];

		if (gpa.v < s->gpa)
			hi = mid;
		else if (gpa.v - s->gpa >= s->bytes)
			lo = mid + 1;
		else
			return s;
	}
	return NULL;
}

bool xn_mem_search(const struct xn_mem *m, struct xn_mem_hit *hit, xn_gpa gpa, uint64_t len,
		   xn_uoff *at)
{
	const struct xn_span *s = span_at(m, gpa);

	if (!s || len > s->bytes - (gpa.v - s->gpa))
		return false;
	*hit = (struct xn_mem_hit){ .gpa = s->gpa, .bytes = s->bytes, .delta = s->uoff - s->gpa };
	at->v = gpa.v + hit->delta;
	return true;
}

uint64_t xn_mem_find_some(const struct xn_mem *m, xn_gpa gpa, uint64_t len, xn_uoff *at)
{
	const struct xn_span *s = span_at(m, gpa);
	uint64_t into;

	if (!s || !len)
		return 0;
	into = gpa.v - s->gpa;
	at->v = s->uoff + into;
	return XN_MIN(len, s->bytes - into);
}

int xn_mem_span_of(const struct xn_mem *m, xn_uoff at)
{
	for (unsigned i = 0; i < m->n_spans; i++)
		if (at.v - m->spans[i].uoff < m->spans[i].bytes)
			return (int)i;
	return -1;
}

uint64_t xn_mem_gpa_of(const struct xn_mem *m, xn_uoff at, uint64_t len, xn_gpa *gpa)
{
	int i = xn_mem_span_of(m, at);
	uint64_t into;

	if (i < 0)
		return 0;
	into = at.v - m->spans[i].uoff;
	gpa->v = m->spans[i].gpa + into;
	return XN_MIN(len, m->spans[i].bytes - into);
}

void *xn_mem_ptr(const struct xn_mem *m, uint64_t gpa, uint64_t len)
{
	struct xn_mem_hit miss = { 0 };
	xn_uoff at;

	return xn_mem_search(m, &miss, XN_GPA(gpa), len, &at) ? xn_mem_at(m, at) : NULL;
}

void xn_mem_get_info(const struct xn_mem *m, struct xn_mem_info *info)
{
	*info = (struct xn_mem_info){
		.guest_bytes = m->guest_bytes,
		.umem_bytes = m->umem_bytes,
		.arena_bytes = m->umem_bytes,
		.bounce_frames = m->n_frames,
		.bounce_frames_free = xn_mem_free_frames(m),
		.regions = m->n_regions,
		.hugetlb_regions = m->n_hugetlb,
	};
	for (unsigned i = 0; i < m->n_spans; i++)
		if (m->spans[i].uoff < m->umem_bytes)
			info->arena_bytes -= m->spans[i].bytes;
}
