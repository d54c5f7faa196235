/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest RAM for VMMs that have no allocator of their own: a sealed memfd.
 *
 * Sealed, because the kernel pins the pages of a UMEM: a file that shrinks
 * under it would leave the kernel and the guest with different pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif
#define FREE_HUGE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"

/*
 * Are there huge pages enough? Mapping a hugetlb file reserves all of its pages
 * or fails; the reservation belongs to the file, and outlives this mapping.
 */
static int reserve_huge(int fd, uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, bytes);
	return 0;
}

/* Says nothing: whether a failure is one is for the caller to judge. */
static int make_ram(int *out, uint64_t bytes, bool huge)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd, err;

	if (huge)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	fd = memfd_create("xsknet-ram", flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) {
		err = -errno;
		goto out_close;
	}
	err = huge ? reserve_huge(fd, bytes) : 0;
	if (err)
		goto out_close;
	*out = fd;
	return 0;

out_close:
	close(fd);
	return err;
}

static unsigned long free_huge_pages(void)
{
	FILE *f = fopen(FREE_HUGE_PAGES, "re");
	unsigned long n = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%lu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

static int fail_huge(int err, uint64_t bytes)
{
	uint64_t pages = bytes / XN_HUGE_SIZE;

	if (err == -EMFILE || err == -ENFILE)
		return xn_fail(-err, "guest RAM: %s", strerror(-err));
	return xn_fail(ENOMEM, "guest RAM: needs %" PRIu64 " huge pages of 2 MiB, %lu are free "
		       "(%s): reserve more with 'sysctl vm.nr_hugepages=N'",
		       pages, free_huge_pages(), strerror(-err));
}

static int check_ram(uint64_t bytes, enum xn_huge huge)
{
	uint64_t page = huge == XN_HUGE_YES ? XN_HUGE_SIZE : XN_PAGE_SIZE;

	if (huge != XN_HUGE_NO && huge != XN_HUGE_YES && huge != XN_HUGE_AUTO)
		return xn_fail(EINVAL, "guest RAM: unknown kind of huge pages (%d)", (int)huge);
	if (!bytes || bytes % page)
		return xn_fail(EINVAL, "guest RAM: size %#" PRIx64 " is not a multiple of the page "
			       "(%#" PRIx64 " bytes), or 0", bytes, page);
	return 0;
}

int xn_ram_create(int *fd, uint64_t bytes, enum xn_huge huge, bool *got_huge)
{
	bool got = false;
	int err;

	*fd = -1;
	if (got_huge)
		*got_huge = false;
	err = check_ram(bytes, huge);
	if (err)
		return err;
	if (huge == XN_HUGE_YES || (huge == XN_HUGE_AUTO && bytes % XN_HUGE_SIZE == 0)) {
		err = make_ram(fd, bytes, true);
		if (err && huge == XN_HUGE_YES)
			return fail_huge(err, bytes);
		if (err)
			xn_log(XN_LOG_INFO, "guest RAM: no huge pages for %" PRIu64 " MiB (%s), "
			       "using small ones", bytes >> 20, strerror(-err));
		got = !err;
	}
	if (!got) {
		err = make_ram(fd, bytes, false);
		if (err)
			return xn_fail(-err, "guest RAM: memfd of %#" PRIx64 " bytes: %s", bytes,
				       strerror(-err));
	}
	if (got_huge)
		*got_huge = got;
	return 0;
}
