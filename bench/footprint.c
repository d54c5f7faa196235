/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What it costs to register a guest: memory of the kernel and of this process, and
 * the time of start and stop. The guest's RAM is touched before, so that what is
 * counted is the registration's own.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "bench/path.h"

#define GIB (1ull << 30)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23   /* Linux 5.14 */
#endif

/* One "Name:  value kB" of a file in /proc, in bytes; 0 if it is not there. */
static double proc_bytes(const char *file, const char *name)
{
	FILE *f = fopen(file, "re");
	char line[256];
	double kb = 0;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			kb = strtod(line + strlen(name) + 1, NULL);
	if (f)
		fclose(f);
	return kb * 1024;
}

struct usage {
	double available, slab, vmalloc, percpu, tables;
	double pinned, locked, own, shared;
};

static void look(struct usage *u)
{
	static const char *const mi = "/proc/meminfo", *const st = "/proc/self/status";

	u->available = proc_bytes(mi, "MemAvailable");
	u->slab = proc_bytes(mi, "Slab");
	u->vmalloc = proc_bytes(mi, "VmallocUsed");
	u->percpu = proc_bytes(mi, "Percpu");
	u->tables = proc_bytes(mi, "PageTables");
	u->pinned = proc_bytes(st, "VmPin");
	u->locked = proc_bytes(st, "VmLck");
	u->own = proc_bytes(st, "RssAnon");
	u->shared = proc_bytes(st, "RssShmem");
}

struct subject {
	struct xn_lab lab;
	bool has_lab;
	struct xn_port *port;
	struct xn_guest *guest;
	struct xn_mem *mem;
	struct xn_dev *dev;
	void *map;
	uint64_t bytes;
	bool huge;
};

static int touch(struct subject *s, const struct xn_region *r)
{
	s->map = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		      (off_t)r->fd_offset);
	if (s->map == MAP_FAILED) {
		s->map = NULL;
		return xn_fail(errno, "cannot map guest RAM: %s", strerror(errno));
	}
	s->bytes = r->size;
	if (!madvise(s->map, r->size, MADV_POPULATE_WRITE))
		return 0;
	for (uint64_t i = 0; i < r->size; i += XN_PAGE_SIZE)
		((volatile uint8_t *)s->map)[i] = ((volatile uint8_t *)s->map)[i];
	return 0;
}

static int build(struct subject *s, const struct xn_opts *o, uint64_t ram_bytes)
{
	const struct xn_guest_cfg gc = {
		.pairs = o->queues, .queue_size = XN_RING_SIZE, .huge = o->huge,
		.ram_bytes = ram_bytes,
	};
	const struct xn_dev_opts dopts = { .sz = sizeof(dopts), .pairs = o->queues };
	struct xn_region region;
	struct xn_vring ring;
	int err = xn_guest_create(&s->guest, &gc);

	if (err)
		return err;
	xn_guest_region(s->guest, &region);
	s->huge = xn_guest_got_huge(s->guest);
	err = touch(s, &region);
	if (!err)
		err = xn_mem_create(&s->mem, &region, 1, NULL);
	if (!err)
		err = xn_dev_create(&s->dev, s->mem, s->port, &dopts);
	if (!err)
		err = xn_dev_set_features(s->dev, xn_port_features(s->port) &
						  (1ull << 32 | 1ull << 15));
	for (unsigned i = 0; i < 2 * o->queues && !err; i++) {
		xn_guest_vring(s->guest, i, &ring);
		err = xn_dev_set_vring(s->dev, i, &ring);
	}
	for (unsigned i = 0; i < o->queues && !err; i++)
		xn_guest_start(s->guest, i);
	return err;
}

/* Leaves the thread in the near end's namespace: sockets are made at the start. */
static int open_port(struct subject *s, const struct xn_opts *o)
{
	const struct xn_lab_cfg lc = { .queues = o->queues };
	char spec[64];
	int err = xn_lab_create(&s->lab, &lc);

	if (err)
		return err;
	s->has_lab = true;
	snprintf(spec, sizeof(spec), "xdp:%s,queues=%u", XN_LAB_NEAR, o->queues);
	err = xn_lab_enter_near(&s->lab);
	if (err)
		return err;
	return xn_port_open(&s->port, spec, NULL);
}

static void destroy(struct subject *s)
{
	xn_dev_destroy(s->dev);
	xn_port_close(s->port);
	xn_mem_destroy(s->mem);
	if (s->map)
		munmap(s->map, s->bytes);
	xn_guest_destroy(s->guest);
	if (s->has_lab) {
		xn_lab_leave(&s->lab);
		xn_lab_destroy(&s->lab);
	}
}

static double mb(double bytes)
{
	return bytes / 1e6;
}

static void show(const struct subject *s, const struct xn_opts *o, const struct usage *a,
		 const struct usage *b, const struct usage *c, const double secs[2])
{
	const double slab = b->slab - a->slab, vmalloc = b->vmalloc - a->vmalloc;
	const double percpu = b->percpu - a->percpu, tables = b->tables - a->tables;
	const double kernel = slab + vmalloc + percpu + tables;
	struct xn_mem_info info;

	xn_mem_get_info(s->mem, &info);
	printf("guest of %.0f GiB on %s pages, %u queue pair%s\n",
	       (double)info.guest_bytes / (double)GIB, s->huge ? "2 MiB" : "4 KiB", o->queues,
	       o->queues > 1 ? "s" : "");
	printf("  kernel memory             %8.1f MB   %.1f MB a queue pair, %.2f %% of the RAM each\n",
	       mb(kernel), mb(kernel) / o->queues,
	       100 * kernel / o->queues / (double)info.guest_bytes);
	printf("    vmalloc %.1f MB, slab %.1f MB, percpu %.1f MB, page tables %.1f MB\n",
	       mb(vmalloc), mb(slab), mb(percpu), mb(tables));
	printf("  the engine's own frames   %8.1f MB   bounce frames and arenas\n",
	       mb((double)info.arena_bytes));
	printf("  fall of MemAvailable      %8.1f MB   an estimate of the kernel's, give or take 40 MB\n",
	       mb(a->available - b->available));
	printf("  registered and pinned     %8.1f MB   RAM and the engine's frames\n",
	       mb((double)info.umem_bytes));
	printf("    VmPin %+.1f MB, VmLck %+.1f MB (AF_XDP counts by user, against RLIMIT_MEMLOCK)\n",
	       mb(b->pinned - a->pinned), mb(b->locked - a->locked));
	printf("  process, memory of its own%8.1f MB   RssAnon; %+.1f MB by the start\n", mb(b->own),
	       mb(b->own - a->own));
	printf("    RssShmem %+.1f MB: the same RAM, seen through the engine's mapping\n",
	       mb(b->shared - a->shared));
	printf("  start %.3f s, stop %.3f s; after it vmalloc %+.1f MB\n\n", secs[0], secs[1],
	       mb(c->vmalloc - a->vmalloc));
}

/* Freed in the background (Linux xsk_destruct: a work item after an RCU period). */
static void settle(struct usage *u)
{
	const struct timespec nap = { .tv_nsec = 300000000 };

	nanosleep(&nap, NULL);
	look(u);
}

static int measure(const struct xn_opts *o, uint64_t ram_bytes)
{
	struct subject s = { .lab = { .home_ns = -1, .near_ns = -1, .far_ns = -1 } };
	struct usage before, started, stopped;
	double secs[2];
	uint64_t t;
	int err = open_port(&s, o);

	if (!err)
		err = build(&s, o, ram_bytes);
	if (!err) {
		settle(&before);
		t = xn_now_ns();
		err = xn_dev_start(s.dev);
		secs[0] = (double)(xn_now_ns() - t) / 1e9;
	}
	if (!err) {
		settle(&started);
		t = xn_now_ns();
		err = xn_dev_stop(s.dev);
		secs[1] = (double)(xn_now_ns() - t) / 1e9;
		settle(&stopped);
		if (!err)
			show(&s, o, &before, &started, &stopped, secs);
	}
	destroy(&s);
	return err;
}

int xn_footprint(const struct xn_opts *o)
{
	static const uint64_t sizes[] = { 1 * GIB, 4 * GIB };
	int err = 0;

	printf("What registering a guest's RAM costs (chunks of 4096 bytes); 1 MB = 10^6 bytes.\n\n");
	for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes) && !err && !xn_stop; i++) {
		const double needed = (double)sizes[i] * (1 + 0.04 * o->queues) + 256e6;

		if (proc_bytes("/proc/meminfo", "MemAvailable") < needed)
			printf("guest of %llu GiB: not measured, needs %.1f GB of free memory\n\n",
			       (unsigned long long)(sizes[i] / GIB), needed / 1e9);
		else
			err = measure(o, sizes[i]);
	}
	return err;
}
