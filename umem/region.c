/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One region of guest RAM.
 *
 * With an fd, the region is mapped a second time from its file. What can go
 * wrong is asked for beforehand, because the kernel's own answer comes late and
 * says little: registering a UMEM on an ext4 file, say, fails with EFAULT
 * (Linux >= 6.5, mm/gup.c, writable_file_mapping_allowed).
 *
 * Without an fd, mremap(old_size = 0) makes a second mapping of what is mapped
 * at `host`. It asks for the first page only and goes on from there in that
 * page's *file* (measured on Linux 6.18): it does not see a hole, another file
 * or a read-only stretch behind it, and maps past the end of the mapping and of
 * the file without an error. So the list of mappings (/proc/self/maps) is
 * checked, and each of them duplicated by itself. For private memory mremap
 * says EINVAL (such a copy would not be seen by the guest), and the same for
 * hugetlb, whose mappings must not grow.
 *
 * The order, checks first, has a second reason: where mmap or mremap with a fixed
 * address fails, what was mapped there is gone all the same (measured with
 * hugetlb on Linux 6.18). Another thread's memory could come to lie in that hole
 * of the reservation, and go with it. So whatever can be foreseen is tried out
 * elsewhere, before there is a reservation.
 *
 * Not done: looking for changes afterwards. The file may be truncated or punched
 * later by whoever holds it; xn_ram_create seals against the first.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/log.h"
#include "umem/region.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22   /* Linux >= 5.14 */
#endif

/* More than any user address on x86-64 with 4-level tables. */
#define MAX_REGION_BYTES (1ull << 47)

int xn_region_check(const struct xn_region *r, unsigned i)
{
	uint64_t at = r->host ? (uint64_t)(uintptr_t)r->host : r->fd_offset;

	if (!r->size)
		return xn_fail(EINVAL, "region %u: size is 0", i);
	if ((r->gpa | r->size | at) % XN_PAGE_SIZE)
		return xn_fail(EINVAL, "region %u: gpa %#" PRIx64 ", size %#" PRIx64 " and %s %#"
			       PRIx64 " must be multiples of %u", i, r->gpa, r->size,
			       r->host ? "host" : "fd_offset", at, XN_PAGE_SIZE);
	if (r->size - 1 > UINT64_MAX - r->gpa)
		return xn_fail(EINVAL, "region %u: gpa %#" PRIx64 " + size %#" PRIx64 " wraps "
			       "around", i, r->gpa, r->size);
	if (r->size > UINT64_MAX - at)
		return xn_fail(EINVAL, "region %u: %s %#" PRIx64 " + size %#" PRIx64 " wraps "
			       "around", i, r->host ? "host" : "fd_offset", at, r->size);
	if (r->size > MAX_REGION_BYTES)
		return xn_fail(ENOMEM, "region %u: size %#" PRIx64 " is more than the address "
			       "space", i, r->size);
	return 0;
}

/* ---- regions with an fd --------------------------------------------------- */

static int check_access(int fd, unsigned i)
{
	int flags = fcntl(fd, F_GETFL), seals;

	if (flags < 0)
		return xn_fail(EBADF, "region %u: fd %d is not an open file", i, fd);
	if ((flags & O_ACCMODE) != O_RDWR || (flags & O_PATH))
		return xn_fail(EACCES, "region %u: fd %d must be open for reading and writing "
			       "(O_RDWR)", i, fd);
	seals = fcntl(fd, F_GET_SEALS);
	if (seals >= 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return xn_fail(EACCES, "region %u: fd %d is sealed against writing", i, fd);
	return 0;
}

static bool can_be_pinned(const struct stat *st, const struct statfs *fs)
{
	return S_ISREG(st->st_mode) &&
	       (fs->f_type == TMPFS_MAGIC || fs->f_type == HUGETLBFS_MAGIC);
}

static int fail_not_pinnable(unsigned i, const char *what)
{
	return xn_fail(ENOTSUP, "region %u: %s is not a file that AF_XDP can pin: use a memfd, or "
		       "a file on tmpfs or hugetlbfs", i, what);
}

static int check_huge_numbers(const struct xn_region *r, unsigned i, uint64_t page)
{
	if (!((r->gpa | r->size | r->fd_offset) & (page - 1)))
		return 0;
	return xn_fail(EINVAL, "region %u: gpa %#" PRIx64 ", size %#" PRIx64 " and fd_offset %#"
		       PRIx64 " must be multiples of its huge page, %" PRIu64 " KiB", i, r->gpa,
		       r->size, r->fd_offset, page >> 10);
}

/*
 * Are there huge pages enough? Mapping reserves them or fails; the reservation
 * belongs to the file, and outlives this mapping.
 */
static int try_huge(const struct xn_region *r, unsigned i)
{
	void *p = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		       (off_t)r->fd_offset);

	if (p == MAP_FAILED)
		return xn_fail(ENOMEM, "region %u: cannot map %#" PRIx64 " bytes of hugetlbfs: %s: "
			       "reserve more huge pages (vm.nr_hugepages)", i, r->size,
			       strerror(errno));
	munmap(p, r->size);
	return 0;
}

static int probe_fd(const struct xn_region *r, unsigned i, struct xn_backing *b)
{
	struct statfs fs;
	struct stat st;
	char name[32];
	int err = check_access(r->fd, i);

	if (err)
		return err;
	snprintf(name, sizeof(name), "fd %d", r->fd);
	if (fstat(r->fd, &st) || fstatfs(r->fd, &fs) || !can_be_pinned(&st, &fs))
		return fail_not_pinnable(i, name);
	if (r->fd_offset + r->size > (uint64_t)st.st_size)
		return xn_fail(ENXIO, "region %u: reaches to byte %#" PRIx64 " of its file, which "
			       "ends at %#" PRIx64 ": make the file longer (ftruncate)", i,
			       r->fd_offset + r->size, (uint64_t)st.st_size);
	b->page = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : XN_PAGE_SIZE;
	b->offset = r->fd_offset;
	if (b->page == XN_PAGE_SIZE)
		return 0;
	err = check_huge_numbers(r, i, b->page);
	return err ? err : try_huge(r, i);
}

static int map_fd(const struct xn_region *r, unsigned i, uint64_t from, uint64_t bytes, void *at)
{
	void *p = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->fd,
		       (off_t)(r->fd_offset + from));

	if (p != MAP_FAILED)
		return 0;
	if (errno == EACCES || errno == EPERM)
		return xn_fail(EACCES, "region %u: fd %d cannot be mapped for writing: %s", i,
			       r->fd, strerror(errno));
	return xn_fail(ENOMEM, "region %u: cannot map %#" PRIx64 " bytes of fd %d: %s", i, bytes,
		       r->fd, strerror(errno));
}

/* ---- regions that are mapped already ---------------------------------------- */

static bool parse_vma(const char *line, struct xn_vma *v)
{
	char perms[5];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:", &v->lo, &v->hi, perms,
		   &v->offset, &v->major) != 5)
		return false;
	v->read = perms[0] == 'r';
	v->write = perms[1] == 'w';
	v->shared = perms[3] == 's';
	return true;
}

static bool append_vma(struct xn_vmas *vmas, const struct xn_vma *v)
{
	/* Room doubles whenever the count reaches a power of two. */
	if (!vmas->n || xn_is_pow2(vmas->n)) {
		struct xn_vma *more = realloc(vmas->v, (vmas->n ? 2 * vmas->n : 1) * sizeof(*v));

		if (!more)
			return false;
		vmas->v = more;
	}
	vmas->v[vmas->n++] = *v;
	return true;
}

int xn_vmas_load(struct xn_vmas *vmas)
{
	FILE *f = fopen("/proc/self/maps", "re");
	struct xn_vma v;
	char *line = NULL;
	size_t room = 0;
	int err = 0;

	*vmas = (struct xn_vmas){ 0 };
	if (!f)
		return xn_fail(ENOMEM, "cannot read /proc/self/maps, which regions with `host` "
			       "need: %s", strerror(errno));
	while (!err && getline(&line, &room, f) > 0)
		if (parse_vma(line, &v) && !append_vma(vmas, &v))
			err = xn_fail(ENOMEM, "no memory for the list of this process's mappings");
	free(line);
	fclose(f);
	if (err)
		xn_vmas_free(vmas);
	return err;
}

void xn_vmas_free(struct xn_vmas *vmas)
{
	free(vmas->v);
	*vmas = (struct xn_vmas){ 0 };
}

/* The mapping that holds address `at`; NULL: a hole. */
static const struct xn_vma *vma_at(const struct xn_vmas *vmas, uint64_t at)
{
	size_t lo = 0, hi = vmas->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (at < vmas->v[mid].lo)
			hi = mid;
		else if (at >= vmas->v[mid].hi)
			lo = mid + 1;
		else
			return &vmas->v[mid];
	}
	return NULL;
}

/*
 * Is the file behind a mapping one that can be pinned? /proc/self/map_files leads
 * to it, for the privileged. For others only a file system with a block device
 * gives itself away; the rest shows when the UMEM is registered.
 */
static bool vma_can_be_pinned(const struct xn_vma *v)
{
	struct statfs fs;
	struct stat st;
	char path[80];

	snprintf(path, sizeof(path), "/proc/self/map_files/%" PRIx64 "-%" PRIx64, v->lo, v->hi);
	if (stat(path, &st) || statfs(path, &fs))
		return v->major == 0;
	return can_be_pinned(&st, &fs);
}

/* Behind the end of its file, a mapping has addresses but no memory (SIGBUS). */
static bool ends_inside_file(uint64_t end)
{
	void *last = (void *)(uintptr_t)(end - XN_PAGE_SIZE);

	return !madvise(last, XN_PAGE_SIZE, MADV_POPULATE_READ) || errno != EFAULT;
}

/* Huge pages, and what its owner has sealed (mseal), cannot be mapped twice. */
static bool can_be_duplicated(uint64_t at)
{
	void *p = mremap((void *)(uintptr_t)at, 0, XN_PAGE_SIZE, MREMAP_MAYMOVE);

	if (p == MAP_FAILED)
		return errno != EINVAL && errno != EPERM;
	munmap(p, XN_PAGE_SIZE);
	return true;
}

static int check_vma(const struct xn_vma *v, unsigned i, uint64_t at, uint64_t end)
{
	if (!v)
		return xn_fail(EINVAL, "region %u: nothing is mapped at host address %#" PRIx64, i,
			       at);
	if (!v->shared)
		return xn_fail(EINVAL, "region %u: host address %#" PRIx64 " is mapped "
			       "MAP_PRIVATE: guest RAM must be MAP_SHARED, best from a memfd",
			       i, at);
	if (!v->read || !v->write)
		return xn_fail(EACCES, "region %u: host address %#" PRIx64 " is not mapped for "
			       "reading and writing", i, at);
	if (!vma_can_be_pinned(v))
		return fail_not_pinnable(i, "what is mapped at `host`");
	if (!can_be_duplicated(at))
		return xn_fail(ENOTSUP, "region %u: the kernel cannot map twice what is at host "
			       "address %#" PRIx64 " (huge pages?): give the region's fd instead",
			       i, at);
	if (!ends_inside_file(XN_MIN(v->hi, end)))
		return xn_fail(ENXIO, "region %u: host mapping reaches past the end of its file",
			       i);
	return 0;
}

static int probe_host(const struct xn_region *r, unsigned i, const struct xn_vmas *vmas,
		      struct xn_backing *b)
{
	uint64_t host = (uint64_t)(uintptr_t)r->host, end = host + r->size, at = host;

	while (at < end) {
		const struct xn_vma *v = vma_at(vmas, at);
		int err = check_vma(v, i, at, end);

		if (err)
			return err;
		if (at == host)
			b->offset = v->offset + (at - v->lo);
		at = v->hi;
	}
	b->page = XN_PAGE_SIZE;
	return 0;
}

static int duplicate(unsigned i, uint64_t from, uint64_t bytes, void *at)
{
	void *p = mremap((void *)(uintptr_t)from, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at);

	if (p != MAP_FAILED)
		return 0;
	return xn_fail(ENOMEM, "region %u: cannot map %#" PRIx64 " bytes at host address %#" PRIx64
		       " a second time: %s", i, bytes, from, strerror(errno));
}

static int map_host(const struct xn_region *r, unsigned i, const struct xn_vmas *vmas,
		    uint64_t from, uint64_t bytes, void *to)
{
	uint64_t start = (uint64_t)(uintptr_t)r->host + from, end = start + bytes, at = start;

	while (at < end) {
		const struct xn_vma *v = vma_at(vmas, at);
		uint64_t part;
		int err;

		if (!v)   /* cannot be: probe_host has walked the same list */
			return check_vma(v, i, at, end);
		part = XN_MIN(v->hi, end) - at;
		err = duplicate(i, at, part, (uint8_t *)to + (at - start));
		if (err)
			return err;
		at += part;
	}
	return 0;
}

/* ---- either ---------------------------------------------------------------- */

int xn_region_probe(const struct xn_region *r, unsigned i, const struct xn_vmas *vmas,
		    struct xn_backing *b)
{
	return r->host ? probe_host(r, i, vmas, b) : probe_fd(r, i, b);
}

int xn_region_map(const struct xn_region *r, unsigned i, const struct xn_vmas *vmas,
		  uint64_t from, uint64_t bytes, void *at)
{
	int err = r->host ? map_host(r, i, vmas, from, bytes, at) : map_fd(r, i, from, bytes, at);

	if (err)
		return err;
	/* Whether these work makes no difference to what is right: RAM stays out of
	 * core dumps, and a fork cannot make the kernel copy pinned pages. */
	(void)madvise(at, bytes, MADV_DONTDUMP);
	(void)madvise(at, bytes, MADV_DONTFORK);
	return 0;
}
