/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of umem/: the map of guest memory is what umem/mem.h draws.
 *
 *   - every mistake a caller can make has its errno, and a message that names the
 *     region by the caller's index; no failure leaves a mapping or an fd behind
 *   - translation agrees with a linear search over the original regions, on random
 *     maps, addresses and lengths, with and without cache, up to the end of 2^64
 *   - the registered range is aligned and has no hole; every byte of the VMM's
 *     mapping is seen through the engine's, wherever it was placed
 *   - bounce frames are unique, the engine's own, and surrounded by guard memory
 *   - guest RAM made by xn_ram_create is sealed and, if asked for, on huge pages
 *
 * Tests on huge pages reserve some if none are free, and put the number back.
 */
#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/magic.h>

#include "umem/mem.h"

#define PAGE      ((uint64_t)XN_PAGE_SIZE)
#define MIB       (1ull << 20)
#define HUGE      ((uint64_t)XN_HUGE_SIZE)
#define LOW_GPA   0x100000ull
#define HIGH_GPA  0x100000000ull

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

/* An address sanitizer maps memory as it likes: then mappings cannot be counted. */
#if defined(__SANITIZE_ADDRESS__)
#define COUNT_MAPPINGS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COUNT_MAPPINGS 0
#endif
#endif
#ifndef COUNT_MAPPINGS
#define COUNT_MAPPINGS 1
#endif

/* ---- helpers --------------------------------------------------------------- */

static int memfd(uint64_t bytes, unsigned flags)
{
	int fd = memfd_create("xn-test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static void *map(int fd, uint64_t bytes, int prot, int how)
{
	void *p = mmap(NULL, bytes, prot, how, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static struct xn_region fd_region(uint64_t gpa, uint64_t size, int fd, uint64_t off)
{
	return (struct xn_region){ .gpa = gpa, .size = size, .fd = fd, .fd_offset = off };
}

static struct xn_region host_region(uint64_t gpa, uint64_t size, void *host)
{
	return (struct xn_region){ .gpa = gpa, .size = size, .fd = -1, .host = host };
}

static struct xn_mem_opts small_opts(void)
{
	return (struct xn_mem_opts){ .sz = sizeof(struct xn_mem_opts), .bounce_frames = 16 };
}

static struct xn_mem *make(const struct xn_region *r, unsigned n, const struct xn_mem_opts *opts)
{
	struct xn_mem_opts small = small_opts();
	struct xn_mem *m = NULL;
	int err = xn_mem_create(&m, r, n, opts ? opts : &small);

	if (err)
		fail_msg("xn_mem_create: %d, %s", err, xn_last_error());
	assert_non_null(m);
	return m;
}

/* What a failed create might leave: mappings with addresses of guest memory or
 * arena (counted in bytes, since lines may merge), and fds. */
static uint64_t mapped_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages * PAGE;
}

static unsigned count_lines(const char *with)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[600];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, with) != NULL;
	fclose(f);
	return n;
}

static int lowest_free_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static void expect_opts_error(int err, const char *words, const struct xn_region *r, unsigned n,
			      const struct xn_mem_opts *opts)
{
	struct xn_mem *m = (void *)1;
	struct xn_mem_opts small = small_opts();
	uint64_t bytes = mapped_bytes();
	unsigned lines = count_lines("-");
	int fd = lowest_free_fd(), got;

	got = xn_mem_create(&m, r, n, opts ? opts : &small);
	if (got != -err || !strstr(xn_last_error(), words))
		fail_msg("got %d (%s), wanted %d with '%s'", got, xn_last_error(), -err, words);
	assert_null(m);
	assert_int_equal(lowest_free_fd(), fd);
	if (COUNT_MAPPINGS) {
		assert_int_equal(mapped_bytes(), bytes);
		assert_int_equal(count_lines("-"), lines);
	}
}

/* The bad region stands at index 2 behind two good ones, with the lowest address:
 * messages speak of the caller's order, not of the sorted one. */
static void expect_region_error(int err, struct xn_region bad)
{
	int fd = memfd(2 * MIB, 0);
	struct xn_region r[3] = { fd_region(HIGH_GPA, MIB, fd, 0),
				  fd_region(HIGH_GPA + 4 * MIB, MIB, fd, MIB), bad };

	expect_opts_error(err, "region 2: ", r, 3, NULL);
	close(fd);
}

static uint32_t random32(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 32);
}

static uint64_t pick(uint64_t n)
{
	return (((uint64_t)random32() << 32) | random32()) % n;
}

/* ---- mistakes of the caller ---------------------------------------------------- */

static void number_of_regions_must_be_1_to_32(void **state)
{
	struct xn_region r[XN_MEM_MAX_REGIONS + 1] = { 0 };

	expect_opts_error(EINVAL, "0 regions", r, 0, NULL);
	expect_opts_error(EINVAL, "33 regions", r, 33, NULL);
	expect_opts_error(EINVAL, "regions", NULL, 1, NULL);
}

static void sizes_of_zero_and_crooked_numbers_are_refused(void **state)
{
	int fd = memfd(MIB, 0);
	void *host = map(fd, MIB, PROT_READ | PROT_WRITE, MAP_SHARED);

	expect_region_error(EINVAL, fd_region(LOW_GPA, 0, fd, 0));
	expect_region_error(EINVAL, fd_region(LOW_GPA + 1, PAGE, fd, 0));
	expect_region_error(EINVAL, fd_region(LOW_GPA, PAGE + 2048, fd, 0));
	expect_region_error(EINVAL, fd_region(LOW_GPA, PAGE, fd, 512));
	expect_region_error(EINVAL, host_region(LOW_GPA, PAGE, (char *)host + 64));
	munmap(host, MIB);
	close(fd);
}

static void numbers_that_wrap_around_are_refused(void **state)
{
	int fd = memfd(MIB, 0);

	expect_region_error(EINVAL, fd_region(-PAGE, 2 * PAGE, fd, 0));
	expect_region_error(EINVAL, fd_region(LOW_GPA, 2 * PAGE, fd, -PAGE));
	expect_region_error(EINVAL, fd_region(0, -PAGE, fd, MIB));
	expect_region_error(EINVAL, host_region(LOW_GPA, PAGE, (void *)(uintptr_t)-PAGE));
	expect_region_error(EINVAL, host_region(LOW_GPA, 2 * PAGE, (void *)(uintptr_t)-PAGE));
	close(fd);
}

static void regions_that_overlap_are_refused(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r[2] = { fd_region(LOW_GPA, 4 * PAGE, fd, 0) };
	const uint64_t starts[] = { LOW_GPA, LOW_GPA + 3 * PAGE, LOW_GPA - 3 * PAGE,
				    LOW_GPA + PAGE };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(starts); i++) {
		r[1] = fd_region(starts[i], i == 3 ? PAGE : 4 * PAGE, fd, 8 * PAGE);
		expect_opts_error(EINVAL, "region 1: overlaps region 0", r, 2, NULL);
	}
	r[0] = fd_region(-4 * PAGE, 4 * PAGE, fd, 0);
	r[1] = fd_region(-PAGE, PAGE, fd, 0);
	expect_opts_error(EINVAL, "region 1: overlaps region 0", r, 2, NULL);
	close(fd);
}

static void fds_that_are_none_are_refused(void **state)
{
	int fd = memfd(MIB, 0);

	close(fd);
	expect_region_error(EBADF, fd_region(LOW_GPA, PAGE, 10000, 0));
	expect_region_error(EBADF, fd_region(LOW_GPA, PAGE, -1, 0));
}

static void fds_that_cannot_write_are_refused(void **state)
{
	int fd = memfd(MIB, 0), other, sealed = memfd(MIB, 0);
	const int how[] = { O_RDONLY, O_WRONLY, O_PATH };
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(how); i++) {
		other = open(path, how[i]);
		assert_true(other >= 0);
		expect_region_error(EACCES, fd_region(LOW_GPA, PAGE, other, 0));
		close(other);
	}
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	expect_region_error(EACCES, fd_region(LOW_GPA, PAGE, sealed, 0));
	assert_non_null(strstr(xn_last_error(), "sealed"));
	close(sealed);
	close(fd);
}

static void regions_past_the_end_of_their_file_are_refused(void **state)
{
	int fd = memfd(MIB, 0), empty = memfd(0, 0);

	expect_region_error(ENXIO, fd_region(LOW_GPA, MIB + PAGE, fd, 0));
	expect_region_error(ENXIO, fd_region(LOW_GPA, PAGE, fd, MIB));
	expect_region_error(ENXIO, fd_region(LOW_GPA, PAGE, fd, 1ull << 63));
	expect_region_error(ENXIO, fd_region(LOW_GPA, PAGE, empty, 0));
	close(empty);
	close(fd);
}

static void things_that_are_no_files_are_refused(void **state)
{
	int zero = open("/dev/zero", O_RDWR), fds[2];

	assert_int_equal(pipe(fds), 0);
	/* A pipe's ends are not read-write; a socket or a device is. */
	expect_region_error(EACCES, fd_region(LOW_GPA, PAGE, fds[1], 0));
	expect_region_error(ENOTSUP, fd_region(LOW_GPA, PAGE, zero, 0));
	close(fds[0]);
	close(fds[1]);
	close(zero);
}

/* A file where AF_XDP cannot pin it; -1: there is only tmpfs here. */
static int disk_file(uint64_t bytes)
{
	const char *dirs[] = { ".", "/var/tmp", "/tmp" };
	struct statfs fs;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(dirs); i++) {
		int fd = open(dirs[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

		if (fd >= 0 && !fstatfs(fd, &fs) && fs.f_type != TMPFS_MAGIC &&
		    !ftruncate(fd, (off_t)bytes))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

static void files_on_a_disk_are_refused(void **state)
{
	int fd = disk_file(MIB);
	void *host;

	if (fd < 0) {
		print_message("skipped: no directory on a disk's file system\n");
		skip();
	}
	host = map(fd, MIB, PROT_READ | PROT_WRITE, MAP_SHARED);
	expect_region_error(ENOTSUP, fd_region(LOW_GPA, PAGE, fd, 0));
	expect_region_error(ENOTSUP, host_region(LOW_GPA, PAGE, host));
	munmap(host, MIB);
	close(fd);
}

static void tmpfs_files_are_taken(void **state)
{
	int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct xn_region r;

	if (fd < 0) {
		print_message("skipped: no /dev/shm\n");
		skip();
	}
	assert_int_equal(ftruncate(fd, MIB), 0);
	r = fd_region(0, MIB, fd, 0);
	xn_mem_destroy(make(&r, 1, NULL));
	close(fd);
}

static void holes_in_a_host_mapping_are_refused(void **state)
{
	int fd = memfd(MIB, 0);
	char *host = map(fd, MIB, PROT_READ | PROT_WRITE, MAP_SHARED);

	munmap(host + 5 * PAGE, PAGE);
	expect_region_error(EINVAL, host_region(LOW_GPA, 6 * PAGE, host));
	expect_region_error(EINVAL, host_region(LOW_GPA, 8 * PAGE, host + 5 * PAGE));
	munmap(host, MIB);
	expect_region_error(EINVAL, host_region(LOW_GPA, MIB, host));
	close(fd);
}

static void private_host_mappings_are_refused(void **state)
{
	int fd = memfd(MIB, 0);
	char *file = map(fd, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *anon = map(-1, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);

	expect_region_error(EINVAL, host_region(LOW_GPA, PAGE, file));
	assert_non_null(strstr(xn_last_error(), "MAP_SHARED"));
	expect_region_error(EINVAL, host_region(LOW_GPA, PAGE, anon));
	munmap(anon, MIB);
	munmap(file, MIB);
	close(fd);
}

static void read_only_pages_in_a_host_mapping_are_refused(void **state)
{
	int fd = memfd(MIB, 0);
	char *host = map(fd, MIB, PROT_READ | PROT_WRITE, MAP_SHARED);

	assert_int_equal(mprotect(host + 7 * PAGE, PAGE, PROT_READ), 0);
	expect_region_error(EACCES, host_region(LOW_GPA, MIB, host));
	munmap(host, MIB);
	close(fd);
}

static void host_mappings_past_the_end_of_their_file_are_refused(void **state)
{
	int fd = memfd(MIB, 0);
	char *host = map(fd, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct xn_region r = host_region(LOW_GPA, MIB, host);

	expect_region_error(ENXIO, host_region(LOW_GPA, MIB + PAGE, host));
	xn_mem_destroy(make(&r, 1, NULL));
	munmap(host, 2 * MIB);
	close(fd);
}

static void windows_without_memory_are_refused(void **state)
{
	int fd = memfd(2 * MIB, 0);
	struct xn_region r[2] = { fd_region(LOW_GPA, MIB, fd, 0),
				  fd_region(HIGH_GPA, MIB, fd, MIB) };
	struct xn_mem_opts o = small_opts();

	o.window_gpa = LOW_GPA + MIB;
	o.window_bytes = HIGH_GPA - LOW_GPA - MIB;
	expect_opts_error(EINVAL, "window", r, 2, &o);
	o.window_gpa = HIGH_GPA + MIB;
	o.window_bytes = ~0ull;
	expect_opts_error(EINVAL, "wraps", r, 2, &o);
	o.window_bytes = -o.window_gpa;
	expect_opts_error(EINVAL, "window", r, 2, &o);
	close(fd);
}

static void unknown_options_are_refused(void **state)
{
	struct { struct xn_mem_opts o; uint64_t unknown; } newer = { .o = small_opts() };
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(0, MIB, fd, 0);

	newer.o.sz = sizeof(newer);
	xn_mem_destroy(make(&r, 1, &newer.o));
	newer.unknown = 1;
	expect_opts_error(E2BIG, "xn_mem_opts", &r, 1, &newer.o);
	newer.unknown = 0;
	newer.o.flags = 1u << 31;
	expect_opts_error(E2BIG, "flags", &r, 1, &newer.o);
	newer.o.flags = 0;
	newer.o.sz = 0;
	expect_opts_error(E2BIG, "sz", &r, 1, &newer.o);
	close(fd);
}

static void more_than_the_address_space_is_refused(void **state)
{
	int fd = memfd(1ull << 62, 0);
	struct xn_region r[2] = { fd_region(0, 1ull << 46, fd, 0),
				  fd_region(1ull << 46, 1ull << 46, fd, 1ull << 46) };

	expect_region_error(ENOMEM, fd_region(0, 1ull << 48, fd, 0));
	expect_opts_error(ENOMEM, "reserve", r, 2, NULL);
	close(fd);
}

/* ---- NUMA ------------------------------------------------------------------------ */

static void a_numa_node_that_does_not_exist_is_refused(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(0, MIB, fd, 0);
	struct xn_mem_opts o = small_opts();
	const unsigned nodes[] = { 1023, 1024, ~0u };

	o.flags = XN_MEM_NUMA;
	if (get_mempolicy(NULL, NULL, 0, NULL, 0)) {
		print_message("skipped: kernel without NUMA\n");
		skip();
	}
	for (unsigned i = 0; i < XN_ARRAY_SIZE(nodes); i++) {
		o.numa_node = nodes[i];
		expect_opts_error(EINVAL, "NUMA node", &r, 1, &o);
	}
	/* A node that is not asked for is not looked at. */
	o.flags = 0;
	xn_mem_destroy(make(&r, 1, &o));
	close(fd);
}

static int policy_of(void *at, unsigned long *mask)
{
	int mode = -1;

	mask[0] = 0;
	assert_int_equal(get_mempolicy(&mode, mask, 1025, at, MPOL_F_ADDR), 0);
	return mode;
}

static void frames_are_bound_to_the_numa_node_guest_ram_is_not(void **state)
{
	unsigned long mask[17];
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(0, MIB, fd, 0);
	struct xn_mem_opts o = small_opts();
	struct xn_mem *m;

	if (get_mempolicy(NULL, NULL, 0, NULL, 0)) {
		print_message("skipped: kernel without NUMA\n");
		skip();
	}
	o.flags = XN_MEM_NUMA;
	m = make(&r, 1, &o);
	assert_int_equal(policy_of(m->base, mask), MPOL_BIND);
	assert_int_equal(policy_of(m->base + m->frames_at, mask), MPOL_BIND);
	assert_int_equal(mask[0], 1);
	assert_int_equal(policy_of(xn_mem_ptr(m, 0, 1), mask), MPOL_DEFAULT);
	xn_mem_destroy(m);
	close(fd);
}

/* ---- layout ------------------------------------------------------------------------- */

static uint64_t touch(const struct xn_mem *m)
{
	uint64_t sum = 0;

	for (uint64_t at = 0; at < m->umem_bytes; at += PAGE)
		sum += *(volatile uint8_t *)(m->base + at);
	return sum;
}

/* What must hold of every map. */
static void check_layout(const struct xn_mem *m)
{
	struct xn_mem_info info;
	uint64_t guest = 0;

	xn_mem_get_info(m, &info);
	assert_int_equal((uintptr_t)m->base % HUGE, 0);
	assert_int_equal(m->umem_bytes % PAGE, 0);
	assert_true(m->umem_bytes <= m->map_bytes);
	for (unsigned i = 0; i < m->n_spans; i++) {
		const struct xn_span *s = &m->spans[i];

		assert_true(s->uoff >= XN_ARENA_GUARD);
		assert_true(s->uoff + s->bytes + XN_ARENA_GUARD <= m->frames_at ||
			    s->uoff >= m->umem_bytes);
		assert_true(s->uoff + s->bytes <= m->map_bytes);
		assert_true(!i || m->spans[i - 1].gpa + m->spans[i - 1].bytes <= s->gpa);
		guest += s->uoff < m->umem_bytes ? s->bytes : 0;
		for (unsigned j = 0; j < i; j++)
			assert_true(s->uoff >= m->spans[j].uoff + m->spans[j].bytes ||
				    s->uoff + s->bytes <= m->spans[j].uoff);
	}
	assert_int_equal(info.arena_bytes, m->umem_bytes - guest);
	assert_true(m->frames_at + (uint64_t)m->n_frames * XN_CHUNK_BYTES + XN_ARENA_GUARD <=
		    m->umem_bytes);
	touch(m);
}

static void one_region_is_one_span_between_two_arenas(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(LOW_GPA, MIB, fd, 0);
	struct xn_mem *m = make(&r, 1, NULL);
	struct xn_mem_info info;

	check_layout(m);
	xn_mem_get_info(m, &info);
	assert_int_equal(m->n_spans, 1);
	assert_int_equal(info.guest_bytes, MIB);
	assert_int_equal(info.umem_bytes, m->umem_bytes);
	assert_int_equal(info.regions, 1);
	assert_int_equal(info.hugetlb_regions, 0);
	assert_int_equal(info.bounce_frames, 16);
	assert_int_equal(info.bounce_frames_free, 16);
	xn_mem_destroy(m);
	close(fd);
}

static void no_options_mean_8192_frames(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(LOW_GPA, MIB, fd, 0);
	struct xn_mem_info info;
	struct xn_mem *m;

	assert_int_equal(xn_mem_create(&m, &r, 1, NULL), 0);
	close(fd);
	xn_mem_get_info(m, &info);
	assert_int_equal(info.bounce_frames, 8192);
	check_layout(m);
	xn_mem_destroy(m);
	xn_mem_destroy(NULL);
}

static void guest_bytes_are_the_same_in_both_mappings(void **state)
{
	int fd = memfd(8 * MIB, 0);
	uint8_t *vmm = map(fd, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct xn_region r[2] = { fd_region(HIGH_GPA, 3 * MIB, fd, MIB + 3 * PAGE),
				  fd_region(LOW_GPA, MIB, fd, 0) };
	struct xn_mem *m = make(r, 2, NULL);
	uint8_t *p;

	close(fd);   /* the map keeps what it needs */
	for (uint64_t at = 0; at < 3 * MIB; at += 777) {
		p = xn_mem_ptr(m, HIGH_GPA + at, 1);
		assert_non_null(p);
		vmm[MIB + 3 * PAGE + at] = (uint8_t)(at * 7);
		assert_int_equal(*p, (uint8_t)(at * 7));
		*p = (uint8_t)~*p;
		assert_int_equal(vmm[MIB + 3 * PAGE + at], (uint8_t)~(at * 7));
	}
	p = xn_mem_ptr(m, LOW_GPA + MIB - 1, 1);
	*p = 0x5a;
	assert_int_equal(vmm[MIB - 1], 0x5a);
	assert_null(xn_mem_ptr(m, LOW_GPA + MIB - 1, 2));
	assert_null(xn_mem_ptr(m, LOW_GPA - 1, 2));
	check_layout(m);
	xn_mem_destroy(m);
	munmap(vmm, 8 * MIB);
}

static void large_regions_agree_with_their_file_modulo_2_mib(void **state)
{
	int fd = memfd(32 * MIB, 0);
	const uint64_t off[] = { 0, HUGE + 5 * PAGE, 3 * HUGE - PAGE };
	struct xn_region r[3];
	struct xn_mem *m;

	for (unsigned i = 0; i < 3; i++)
		r[i] = fd_region(HIGH_GPA * i, 5 * HUGE / 2, fd, off[i]);
	m = make(r, 3, NULL);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal((m->spans[i].uoff - off[i]) % HUGE, 0);
	check_layout(m);
	xn_mem_destroy(m);
	close(fd);
}

static void host_regions_agree_with_their_file_modulo_2_mib(void **state)
{
	int fd = memfd(8 * MIB, 0);
	uint8_t *vmm = map(fd, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct xn_region r = host_region(0, 6 * MIB, vmm + 9 * PAGE);
	struct xn_mem *m = make(&r, 1, NULL);

	assert_int_equal(m->spans[0].uoff % HUGE, 9 * PAGE);
	xn_mem_destroy(m);
	munmap(vmm, 8 * MIB);
	close(fd);
}

static void neighbours_become_one_span_whatever_files_they_come_from(void **state)
{
	int a = memfd(4 * HUGE, 0), b = memfd(MIB, 0), c = memfd(4 * HUGE, 0);
	/* Like a PC: low memory in one file, the rest right behind; order mixed. */
	struct xn_region r[4] = { fd_region(2 * HUGE + MIB, 2 * PAGE, b, 4 * PAGE),
				  fd_region(0, 2 * HUGE, a, 0),
				  fd_region(2 * HUGE, MIB, c, 0),
				  fd_region(HIGH_GPA, 2 * HUGE, c, 2 * HUGE) };
	struct xn_mem *m = make(r, 4, NULL);
	struct xn_mem_hit hit = { 0 };
	xn_uoff at;

	assert_int_equal(m->n_spans, 2);
	assert_int_equal(m->spans[0].bytes, 2 * HUGE + MIB + 2 * PAGE);
	assert_true(xn_mem_find(m, &hit, XN_GPA(2 * HUGE - 10), 20, &at));
	assert_true(xn_mem_find(m, &hit, XN_GPA(PAGE), 2 * HUGE + MIB, &at));
	check_layout(m);
	xn_mem_destroy(m);
	close(a);
	close(b);
	close(c);
}

static void thirty_two_regions_cut_by_a_window_are_thirty_four_spans(void **state)
{
	int fd = memfd(XN_MEM_MAX_REGIONS * 4 * PAGE, 0);
	struct xn_region r[XN_MEM_MAX_REGIONS];
	struct xn_mem_opts o = small_opts();
	struct xn_mem *m;

	for (unsigned i = 0; i < XN_MEM_MAX_REGIONS; i++)
		r[i] = fd_region(8 * PAGE * (i + 1), 4 * PAGE, fd, 4 * PAGE * i);
	m = make(r, XN_MEM_MAX_REGIONS, NULL);
	assert_int_equal(m->n_spans, 32);
	check_layout(m);
	xn_mem_destroy(m);
	o.window_gpa = r[3].gpa + 2 * PAGE;
	o.window_bytes = r[20].gpa + PAGE - o.window_gpa;
	m = make(r, XN_MEM_MAX_REGIONS, &o);
	assert_int_equal(m->n_spans, 34);
	check_layout(m);
	xn_mem_destroy(m);
	close(fd);
}

static void memory_may_end_at_the_last_address(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r[2] = { fd_region(-4 * PAGE, 4 * PAGE, fd, 0),
				  fd_region(0, 4 * PAGE, fd, 4 * PAGE) };
	struct xn_mem *m = make(r, 2, NULL);

	assert_int_equal(m->n_spans, 2);   /* the last address is no neighbour of the first */
	assert_non_null(xn_mem_ptr(m, -4 * PAGE, 4 * PAGE));
	assert_non_null(xn_mem_ptr(m, ~0ull, 1));
	assert_null(xn_mem_ptr(m, ~0ull, 2));
	assert_null(xn_mem_ptr(m, -PAGE, 2 * PAGE));
	assert_null(xn_mem_ptr(m, -PAGE, ~0ull));
	check_layout(m);
	xn_mem_destroy(m);
	close(fd);
}

static void what_lies_outside_of_the_window_is_mapped_but_not_registered(void **state)
{
	int fd = memfd(16 * MIB, 0);
	uint8_t *vmm = map(fd, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED), *p;
	struct xn_region r = fd_region(LOW_GPA, 16 * MIB, fd, 0);
	struct xn_mem_opts o = small_opts();
	struct xn_mem_hit hit = { 0 };
	struct xn_mem *m;
	xn_uoff at;

	/* Crooked edges: the window covers the pages that they lie in. */
	o.window_gpa = LOW_GPA + 5 * MIB + 100;
	o.window_bytes = 4 * MIB;
	m = make(&r, 1, &o);
	assert_int_equal(m->n_spans, 3);
	assert_int_equal(m->spans[1].gpa, LOW_GPA + 5 * MIB);
	assert_int_equal(m->spans[1].bytes, 4 * MIB + PAGE);
	assert_int_equal(m->window_gpa, LOW_GPA + 5 * MIB);
	assert_int_equal(m->window_bytes, 4 * MIB + PAGE);
	assert_true(m->umem_bytes < 8 * MIB);
	for (uint64_t off = 0; off < 16 * MIB; off += PAGE) {
		bool in = off >= 5 * MIB && off < 9 * MIB + PAGE;

		assert_true(xn_mem_find(m, &hit, XN_GPA(LOW_GPA + off), PAGE, &at));
		assert_int_equal(xn_mem_registered(m, at, PAGE), in);
		p = xn_mem_at(m, at);
		vmm[off] = (uint8_t)(off >> 12);
		assert_int_equal(*p, (uint8_t)(off >> 12));
	}
	/* A buffer across the edge is two pieces. */
	assert_false(xn_mem_find(m, &hit, XN_GPA(LOW_GPA + 5 * MIB - 8), 16, &at));
	assert_int_equal(xn_mem_find_some(m, XN_GPA(LOW_GPA + 5 * MIB - 8), 16, &at), 8);
	assert_int_equal((m->spans[0].uoff) % HUGE, 0);
	assert_int_equal((m->spans[1].uoff - 5 * MIB) % HUGE, 0);
	assert_int_equal((m->spans[2].uoff - 9 * MIB - PAGE) % HUGE, 0);
	check_layout(m);
	xn_mem_destroy(m);
	munmap(vmm, 16 * MIB);
	close(fd);
}

static void a_window_over_everything_is_no_window(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(-MIB, MIB, fd, 0);
	struct xn_mem_opts o = small_opts();
	struct xn_mem *m;

	o.window_bytes = ~0ull;
	m = make(&r, 1, &o);
	assert_int_equal(m->n_spans, 1);
	assert_true(m->spans[0].uoff < m->umem_bytes);
	xn_mem_destroy(m);
	close(fd);
}

static void host_regions_of_several_mappings_are_duplicated_piece_by_piece(void **state)
{
	int a = memfd(MIB, 0), b = memfd(MIB, 0);
	uint8_t *vmm = map(-1, 3 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
	struct xn_region r = host_region(0, 3 * MIB, vmm);
	struct xn_mem *m;
	uint8_t *p;

	/* mremap alone would take all 3 MiB from the first file, beyond its end. */
	assert_ptr_equal(mmap(vmm, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, a, 0), vmm);
	assert_ptr_equal(mmap(vmm + MIB, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, b, 0),
			 vmm + MIB);
	assert_ptr_equal(mmap(vmm + 2 * MIB, MIB, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), vmm + 2 * MIB);
	m = make(&r, 1, NULL);
	assert_int_equal(m->n_spans, 1);
	for (uint64_t at = 0; at < 3 * MIB; at += PAGE) {
		p = xn_mem_ptr(m, at, PAGE);
		vmm[at] = (uint8_t)(1 + at / PAGE);
		assert_int_equal(*p, (uint8_t)(1 + at / PAGE));
		p[9] = (uint8_t)(3 + at / PAGE);
		assert_int_equal(vmm[at + 9], (uint8_t)(3 + at / PAGE));
	}
	/* The VMM may unmap its own. */
	munmap(vmm, 3 * MIB);
	assert_int_equal(*(uint8_t *)xn_mem_ptr(m, PAGE, 1), 2);
	check_layout(m);
	xn_mem_destroy(m);
	close(a);
	close(b);
}

static void host_regions_may_be_cut_by_a_window(void **state)
{
	int fd = memfd(8 * MIB, 0);
	uint8_t *vmm = map(fd, 8 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct xn_region r = host_region(HIGH_GPA, 8 * MIB, vmm);
	struct xn_mem_opts o = small_opts();
	struct xn_mem *m;

	o.window_gpa = HIGH_GPA + 3 * MIB;
	o.window_bytes = MIB;
	m = make(&r, 1, &o);
	for (uint64_t at = 0; at < 8 * MIB; at += PAGE) {
		vmm[at] = (uint8_t)(at / PAGE);
		assert_int_equal(*(uint8_t *)xn_mem_ptr(m, HIGH_GPA + at, PAGE),
				 (uint8_t)(at / PAGE));
	}
	check_layout(m);
	xn_mem_destroy(m);
	munmap(vmm, 8 * MIB);
	close(fd);
}

static void destroy_gives_every_mapping_back(void **state)
{
	int fd = memfd(16 * MIB, 0);
	uint8_t *vmm = map(fd, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED);
	struct xn_region r[3] = { fd_region(0, 5 * MIB, fd, PAGE),
				  fd_region(HIGH_GPA, 3 * MIB, fd, 8 * MIB),
				  host_region(2 * HIGH_GPA, MIB, vmm + 5 * MIB) };
	struct xn_mem_opts o = small_opts();
	unsigned guest = count_lines("memfd:xn-test"), all;
	int free_fd = lowest_free_fd();
	uint64_t bytes;

	o.window_gpa = MIB;
	o.window_bytes = HIGH_GPA;
	xn_mem_destroy(make(r, 3, &o));
	all = count_lines("-");
	bytes = mapped_bytes();
	for (unsigned i = 0; i < 50; i++) {
		struct xn_mem *m = make(r, 3, &o);

		assert_true(count_lines("memfd:xn-test") > guest);
		xn_mem_destroy(m);
	}
	assert_int_equal(count_lines("memfd:xn-test"), guest);
	assert_int_equal(lowest_free_fd(), free_fd);
	if (COUNT_MAPPINGS) {
		assert_int_equal(count_lines("-"), all);
		assert_int_equal(mapped_bytes(), bytes);
	}
	munmap(vmm, 16 * MIB);
	close(fd);
}

static void a_forked_child_has_neither_arena_nor_guest_memory(void **state)
{
	int fd = memfd(MIB, 0), status;
	struct xn_region r = fd_region(0, MIB, fd, 0);
	struct xn_mem *m = make(&r, 1, NULL);
	unsigned char in_core;
	pid_t child;

	touch(m);
	child = fork();
	if (!child) {
		bool gone = mincore(m->base, PAGE, &in_core) && errno == ENOMEM &&
			    mincore(m->base + m->frames_at, PAGE, &in_core) && errno == ENOMEM &&
			    mincore(xn_mem_ptr(m, 0, 1), PAGE, &in_core) && errno == ENOMEM;

		_exit(!gone);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	xn_mem_destroy(m);
	close(fd);
}

/* ---- translation against an oracle -------------------------------------------------- */

/*
 * The oracle knows the regions as the caller gave them, and nothing of spans: it
 * looks at all of them, one after the other. Every page of the file holds its own
 * offset, so what a translation leads to can be read off.
 */
#define TAGGED_BYTES (48 * MIB)

struct oracle {
	struct xn_region r[XN_MEM_MAX_REGIONS];
	unsigned n;
	bool windowed;
	uint64_t first, last;    /* window, whole pages */
};

static int oracle_region(const struct oracle *o, uint64_t gpa)
{
	for (unsigned i = 0; i < o->n; i++)
		if (gpa >= o->r[i].gpa && gpa <= o->r[i].gpa + (o->r[i].size - 1))
			return (int)i;
	return -1;
}

static bool oracle_in_window(const struct oracle *o, uint64_t gpa)
{
	return !o->windowed || (gpa >= o->first && gpa <= o->last);
}

/* Bytes from gpa on that surely lie side by side: to the end of the region or of
 * this side of the window. */
static uint64_t oracle_run(const struct oracle *o, uint64_t gpa)
{
	int i = oracle_region(o, gpa);
	uint64_t last;

	if (i < 0)
		return 0;
	last = o->r[i].gpa + (o->r[i].size - 1);
	if (o->windowed && gpa < o->first && last >= o->first)
		last = o->first - 1;
	if (o->windowed && gpa >= o->first && gpa <= o->last && last > o->last)
		last = o->last;
	return last - gpa + 1;   /* no region is 2^64 bytes */
}

/* Are [gpa, gpa + len) and what lies at `at` the same, page for page? */
static void check_same_bytes(const struct oracle *o, const struct xn_mem *m, uint64_t gpa,
			     uint64_t len, xn_uoff at)
{
	for (uint64_t done = 0; done < len;) {
		int i = oracle_region(o, gpa + done);
		uint64_t step = PAGE - (gpa + done) % PAGE, tag;

		assert_true(i >= 0);
		memcpy(&tag, m->base + (at.v + done) / PAGE * PAGE, sizeof(tag));
		assert_int_equal(tag, o->r[i].fd_offset + (gpa + done - o->r[i].gpa) / PAGE * PAGE);
		assert_int_equal((at.v + done) % PAGE, (gpa + done) % PAGE);
		assert_int_equal(xn_mem_registered(m, XN_UOFF(at.v + done), 1),
				 oracle_in_window(o, gpa + done));
		done += step;
	}
}

static void compare(const struct oracle *o, const struct xn_mem *m, struct xn_mem_hit *hit,
		    uint64_t gpa, uint64_t len)
{
	struct xn_mem_hit miss = { 0 };
	uint64_t run = oracle_run(o, gpa), some;
	xn_uoff at = { 1 }, cold = { 2 }, part = { 3 };
	bool found = xn_mem_find(m, hit, XN_GPA(gpa), len, &at);

	assert_int_equal(xn_mem_find(m, &miss, XN_GPA(gpa), len, &cold), found);
	some = xn_mem_find_some(m, XN_GPA(gpa), len, &part);
	assert_int_equal(some == len, found);
	assert_true(some >= XN_MIN(run, len));
	assert_int_equal(!some, !run);
	if (some) {
		int s = xn_mem_span_of(m, part);

		check_same_bytes(o, m, gpa, some, part);
		assert_true(s >= 0 && m->spans[s].uoff + (gpa - m->spans[s].gpa) == part.v);
	}
	if (found) {
		assert_int_equal(at.v, cold.v);
		assert_int_equal(at.v, part.v);
		assert_ptr_equal(xn_mem_ptr(m, gpa, len), m->base + at.v);
	} else {
		assert_null(xn_mem_ptr(m, gpa, len));
	}
}

static void random_regions(struct oracle *o, int fd)
{
	uint64_t gpa = pick(3) ? pick(1000) * PAGE : 0, off = pick(8) * PAGE;
	unsigned n = 1 + (unsigned)pick(XN_MEM_MAX_REGIONS);
	bool at_the_top = !pick(4);

	o->n = 0;
	for (unsigned i = 0; i < n; i++) {
		uint64_t size = pick(12) ? (1 + pick(9)) * PAGE : HUGE + pick(300) * PAGE;

		if (off + size > TAGGED_BYTES)
			break;
		o->r[o->n++] = fd_region(gpa, size, fd, off);
		gpa += size + (pick(2) ? 0 : pick(2) ? pick(20) * PAGE : pick(64) << 32);
		off += size + pick(4) * PAGE;
	}
	/* Move all of them, so that the last one ends where addresses end. */
	for (unsigned i = 0; at_the_top && i < o->n; i++)
		o->r[i].gpa -= o->r[o->n - 1].gpa + o->r[o->n - 1].size;
	for (unsigned i = 1; i < o->n; i++) {   /* shuffle */
		unsigned j = (unsigned)pick(i + 1);
		struct xn_region t = o->r[i];

		o->r[i] = o->r[j];
		o->r[j] = t;
	}
}

static void random_window(struct oracle *o, struct xn_mem_opts *opts)
{
	const struct xn_region *r = &o->r[pick(o->n)];
	uint64_t room, want;

	o->windowed = !pick(2);
	if (!o->windowed)
		return;
	opts->window_gpa = r->gpa + pick(r->size);
	room = ~0ull - opts->window_gpa;
	want = pick(3) ? pick(40 * PAGE) : pick(HIGH_GPA * 3);
	opts->window_bytes = 1 + XN_MIN(want, room);
	o->first = opts->window_gpa / PAGE * PAGE;
	o->last = (opts->window_gpa + (opts->window_bytes - 1)) | (PAGE - 1);
}

/* An address near something: an edge of a region, of the window, or of 2^64. */
static uint64_t random_gpa(const struct oracle *o)
{
	const struct xn_region *r = &o->r[pick(o->n)];
	uint64_t near = pick(20) - 10;

	switch (pick(8)) {
	case 0: return near;
	case 1: return r->gpa + near;
	case 2: return r->gpa + r->size + near;
	case 3: return o->first + near;
	case 4: return o->last + near;
	case 5: return ((uint64_t)random32() << 32) | random32();
	default: return r->gpa + pick(r->size);
	}
}

static uint64_t random_len(const struct oracle *o, uint64_t gpa)
{
	uint64_t run = oracle_run(o, gpa);

	switch (pick(8)) {
	case 0: return 1;
	case 1: return 1 + pick(70000);
	case 2: return -gpa ? -gpa : 1;             /* to the end of all addresses */
	case 3: return -gpa + 1 ? -gpa + 1 : 1;     /* and one more */
	case 4: return ~0ull - pick(3);
	case 5: return run ? run : 1;
	case 6: return run + 1;
	default: return 1 + pick(2000);
	}
}

static void translation_agrees_with_a_search_over_all_regions(void **state)
{
	int fd = memfd(TAGGED_BYTES, 0);
	uint8_t *tagged = map(fd, TAGGED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);

	for (uint64_t at = 0; at < TAGGED_BYTES; at += PAGE)
		memcpy(tagged + at, &at, sizeof(at));
	for (unsigned i = 0; i < 400; i++) {
		struct xn_mem_opts opts = small_opts();
		struct xn_mem_hit hit = { 0 };
		struct oracle o = { 0 };
		struct xn_mem *m;

		random_regions(&o, fd);
		random_window(&o, &opts);
		m = make(o.r, o.n, &opts);
		check_layout(m);
		for (unsigned k = 0; k < 250; k++) {
			uint64_t gpa = random_gpa(&o);

			compare(&o, m, &hit, gpa, random_len(&o, gpa));
		}
		xn_mem_destroy(m);
	}
	munmap(tagged, TAGGED_BYTES);
	close(fd);
}

static void a_hit_is_remembered_and_replaced_across_spans(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r[2] = { fd_region(0, PAGE, fd, 0), fd_region(HIGH_GPA, PAGE, fd, PAGE) };
	struct xn_mem *m = make(r, 2, NULL);
	struct xn_mem_hit hit = { 0 };
	xn_uoff a, b;

	for (unsigned i = 0; i < 10; i++) {
		assert_true(xn_mem_find(m, &hit, XN_GPA(i), 1, &a));
		assert_int_equal(hit.gpa, 0);
		/* What is not found does not disturb what was. */
		assert_false(xn_mem_find(m, &hit, XN_GPA(2 * PAGE), 1, &b));
		assert_false(xn_mem_find(m, &hit, XN_GPA(0), PAGE + 1, &b));
		assert_int_equal(hit.gpa, 0);
		assert_int_equal(hit.bytes, PAGE);
		assert_true(xn_mem_find(m, &hit, XN_GPA(HIGH_GPA + i), 1, &b));
		assert_int_equal(hit.gpa, HIGH_GPA);
		assert_int_equal(b.v - a.v, PAGE);
	}
	assert_int_equal(xn_mem_span_of(m, a), 0);
	assert_int_equal(xn_mem_span_of(m, b), 1);
	assert_int_equal(xn_mem_span_of(m, XN_UOFF(0)), -1);
	assert_int_equal(xn_mem_span_of(m, XN_UOFF(m->frames_at)), -1);
	assert_int_equal(xn_mem_find_some(m, XN_GPA(0), 0, &a), 0);
	assert_false(xn_mem_registered(m, XN_UOFF(m->umem_bytes - 1), 2));
	assert_false(xn_mem_registered(m, XN_UOFF(1), ~0ull));
	xn_mem_destroy(m);
	close(fd);
}

/* ---- bounce frames ------------------------------------------------------------------- */

static void frames_are_unique_and_the_engines_with_guards_around(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(0, MIB, fd, 0);
	struct xn_mem_opts o = small_opts();
	xn_uoff f[300];
	struct xn_mem *m;

	o.bounce_frames = 300;
	m = make(&r, 1, &o);
	assert_int_equal(xn_mem_take_frames(m, f, 300), 300);
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(xn_mem_span_of(m, f[i]), -1);
		assert_int_equal(xn_mem_span_of(m, XN_UOFF(f[i].v - XN_CHUNK_BYTES)), -1);
		assert_true(f[i].v >= XN_CHUNK_BYTES);
		assert_true(xn_mem_registered(m, f[i], 2 * XN_CHUNK_BYTES));
		assert_int_equal(f[i].v % PAGE, 0);
		assert_true(!i || f[i].v == f[i - 1].v + XN_CHUNK_BYTES);
		memset(xn_mem_at(m, f[i]), (int)i, XN_CHUNK_BYTES);
	}
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(*((uint8_t *)xn_mem_at(m, f[i]) + XN_CHUNK_BYTES - 1), i & 0xff);
	xn_mem_give_frames(m, f, 300);
	xn_mem_destroy(m);
	close(fd);
}

static void frames_taken_are_gone_until_they_are_given_back(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(0, MIB, fd, 0);
	struct xn_mem *m = make(&r, 1, NULL);
	struct xn_mem_info info;
	xn_uoff a[16], b[16];

	assert_int_equal(xn_mem_take_frames(m, a, 10), 10);
	xn_mem_get_info(m, &info);
	assert_int_equal(info.bounce_frames_free, 6);
	assert_int_equal(xn_mem_take_frames(m, b, 16), 6);
	assert_int_equal(xn_mem_take_frames(m, b + 6, 1), 0);
	for (unsigned i = 0; i < 10; i++)
		for (unsigned j = 0; j < 6; j++)
			assert_int_not_equal(a[i].v, b[j].v);
	xn_mem_give_frames(m, a + 3, 4);
	assert_int_equal(xn_mem_take_frames(m, b + 6, 10), 4);
	xn_mem_give_frames(m, b, 10);
	xn_mem_give_frames(m, a, 3);
	xn_mem_give_frames(m, a + 7, 3);
	xn_mem_get_info(m, &info);
	assert_int_equal(info.bounce_frames_free, 16);
	xn_mem_destroy(m);
	close(fd);
}

/* ---- huge pages ----------------------------------------------------------------------- */

#define NR_HUGE   "/proc/sys/vm/nr_hugepages"
#define TEST_HUGE 8ul

static unsigned long huge_before;   /* as the machine had it when this program began */
static bool huge_raised;

static unsigned long meminfo(const char *name)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	unsigned long v = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			v = strtoul(line + strlen(name), NULL, 10);
	fclose(f);
	return v;
}

static bool read_number(const char *path, unsigned long *n)
{
	FILE *f = fopen(path, "r");
	bool ok;

	if (!f)
		return false;
	ok = fscanf(f, "%lu", n) == 1;
	fclose(f);
	return ok;
}

static bool write_number(const char *path, unsigned long n)
{
	FILE *f = fopen(path, "w");
	bool ok;

	if (!f)
		return false;
	ok = fprintf(f, "%lu\n", n) > 0;
	return !fclose(f) && ok;
}

static unsigned long huge_free(void)
{
	return meminfo("HugePages_Free:") - meminfo("HugePages_Rsvd:");
}

/* Tests with huge pages need 8 that are free; raises the number if it may. */
static int need_huge(void **state)
{
	unsigned long free_now = huge_free();

	if (meminfo("Hugepagesize:") != 2048 || free_now >= TEST_HUGE)
		return 0;
	/* The number is read once: a test that failed may hold pages until the end. */
	if (!huge_raised && !read_number(NR_HUGE, &huge_before))
		return 0;
	huge_raised = true;
	write_number(NR_HUGE, meminfo("HugePages_Total:") + TEST_HUGE - free_now);
	return 0;
}

static int restore_huge(void **state)
{
	if (huge_raised)
		write_number(NR_HUGE, huge_before);
	return 0;
}

static void skip_without_huge(void)
{
	if (meminfo("Hugepagesize:") == 2048 && huge_free() >= TEST_HUGE)
		return;
	print_message("skipped: fewer than %lu free huge pages of 2 MiB, and none to be had\n",
		      TEST_HUGE);
	skip();
}

static void hugetlb_regions_lie_at_multiples_of_their_huge_page(void **state)
{
	int fd, small = memfd(MIB, 0);
	struct xn_region r[3];
	struct xn_mem_info info;
	struct xn_mem *m;
	uint8_t *vmm;

	skip_without_huge();
	fd = memfd(4 * HUGE, MFD_HUGETLB | MFD_HUGE_2MB);
	vmm = map(fd, 4 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	r[0] = fd_region(0, 3 * PAGE, small, 0);
	r[1] = fd_region(HUGE, 2 * HUGE, fd, 2 * HUGE);
	r[2] = fd_region(3 * HUGE, 2 * HUGE, fd, 0);
	m = make(r, 3, NULL);
	xn_mem_get_info(m, &info);
	assert_int_equal(info.hugetlb_regions, 2);
	assert_int_equal(m->n_spans, 2);
	assert_int_equal(m->spans[1].uoff % HUGE, 0);
	vmm[3 * HUGE + 5] = 0x77;
	vmm[5] = 0x66;
	assert_int_equal(*(uint8_t *)xn_mem_ptr(m, 2 * HUGE + 5, 1), 0x77);
	assert_int_equal(*(uint8_t *)xn_mem_ptr(m, 3 * HUGE + 5, 1), 0x66);
	check_layout(m);
	xn_mem_destroy(m);
	munmap(vmm, 4 * HUGE);
	close(fd);
	close(small);
}

static void a_window_covers_whole_huge_pages(void **state)
{
	struct xn_mem_opts o = small_opts();
	struct xn_region r;
	struct xn_mem *m;
	int fd;

	skip_without_huge();
	fd = memfd(4 * HUGE, MFD_HUGETLB | MFD_HUGE_2MB);
	r = fd_region(HIGH_GPA, 4 * HUGE, fd, 0);
	o.window_gpa = HIGH_GPA + HUGE + 5 * PAGE;
	o.window_bytes = HUGE;
	m = make(&r, 1, &o);
	assert_int_equal(m->n_spans, 3);
	assert_int_equal(m->spans[1].gpa, HIGH_GPA + HUGE);
	assert_int_equal(m->spans[1].bytes, 2 * HUGE);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(m->spans[i].uoff % HUGE, 0);
	check_layout(m);
	xn_mem_destroy(m);
	close(fd);
}

static void crooked_numbers_on_hugetlb_are_refused(void **state)
{
	int fd;

	skip_without_huge();
	fd = memfd(4 * HUGE, MFD_HUGETLB | MFD_HUGE_2MB);
	expect_region_error(EINVAL, fd_region(PAGE, HUGE, fd, 0));
	expect_region_error(EINVAL, fd_region(0, HUGE + PAGE, fd, 0));
	expect_region_error(EINVAL, fd_region(0, HUGE, fd, PAGE));
	expect_region_error(ENXIO, fd_region(0, 5 * HUGE, fd, 0));
	close(fd);
}

static void too_few_huge_pages_are_said(void **state)
{
	uint64_t bytes = (meminfo("HugePages_Total:") + 8) * HUGE;
	int fd;

	skip_without_huge();
	fd = memfd(bytes, MFD_HUGETLB | MFD_HUGE_2MB);
	expect_region_error(ENOMEM, fd_region(0, bytes, fd, 0));
	assert_non_null(strstr(xn_last_error(), "nr_hugepages"));
	close(fd);
}

static void hugetlb_mappings_without_fd_are_refused(void **state)
{
	void *vmm;
	int fd;

	skip_without_huge();
	fd = memfd(2 * HUGE, MFD_HUGETLB | MFD_HUGE_2MB);
	vmm = map(fd, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	expect_region_error(ENOTSUP, host_region(0, 2 * HUGE, vmm));
	assert_non_null(strstr(xn_last_error(), "fd"));
	munmap(vmm, 2 * HUGE);
	close(fd);
}

/* ---- guest RAM ------------------------------------------------------------------------- */

static void check_sealed(int fd, uint64_t bytes)
{
	assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
	assert_int_equal(ftruncate(fd, (off_t)(bytes / 2)), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, (off_t)(bytes * 2)), -1);
	assert_int_equal(errno, EPERM);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void ram_is_sealed_and_fit_for_a_region(void **state)
{
	struct xn_region r;
	bool huge = true;
	int fd = -1;

	assert_int_equal(xn_ram_create(&fd, MIB + PAGE, XN_HUGE_NO, &huge), 0);
	assert_false(huge);
	check_sealed(fd, MIB);
	r = fd_region(0, MIB + PAGE, fd, 0);
	xn_mem_destroy(make(&r, 1, NULL));
	close(fd);
	assert_int_equal(xn_ram_create(&fd, PAGE, XN_HUGE_NO, NULL), 0);
	close(fd);
}

static void ram_of_no_or_crooked_size_is_refused(void **state)
{
	bool huge = true;
	int fd = 5;

	assert_int_equal(xn_ram_create(&fd, 0, XN_HUGE_NO, &huge), -EINVAL);
	assert_int_equal(fd, -1);
	assert_false(huge);
	assert_int_equal(xn_ram_create(&fd, PAGE + 1, XN_HUGE_AUTO, NULL), -EINVAL);
	assert_int_equal(xn_ram_create(&fd, HUGE + PAGE, XN_HUGE_YES, NULL), -EINVAL);
	assert_int_equal(xn_ram_create(&fd, PAGE, (enum xn_huge)9, NULL), -EINVAL);
	assert_int_equal(fd, -1);
}

static void ram_on_huge_pages_is_theirs_before_it_is_used(void **state)
{
	unsigned long before;
	struct xn_region r;
	struct xn_mem *m;
	bool huge = false;
	int fd, free_fd = lowest_free_fd();

	skip_without_huge();
	before = huge_free();
	for (unsigned i = 0; i < 2; i++) {
		enum xn_huge kind = i ? XN_HUGE_AUTO : XN_HUGE_YES;

		assert_int_equal(xn_ram_create(&fd, 3 * HUGE, kind, &huge), 0);
		assert_true(huge);
		check_sealed(fd, 4 * HUGE);
		/* Nobody else can take them any more: the file holds the reservation. */
		assert_int_equal(huge_free(), before - 3);
		r = fd_region(0, 3 * HUGE, fd, 0);
		m = make(&r, 1, NULL);
		memset(xn_mem_ptr(m, 0, 3 * HUGE), 1, 3 * HUGE);
		xn_mem_destroy(m);
		close(fd);
		assert_int_equal(huge_free(), before);
	}
	assert_int_equal(lowest_free_fd(), free_fd);
}

static void ram_without_enough_huge_pages_fails_or_falls_back(void **state)
{
	uint64_t bytes = (meminfo("HugePages_Total:") + 8) * HUGE;
	int fd, free_fd = lowest_free_fd();
	bool huge = true;

	assert_int_equal(xn_ram_create(&fd, bytes, XN_HUGE_YES, &huge), -ENOMEM);
	assert_non_null(strstr(xn_last_error(), "nr_hugepages"));
	assert_int_equal(fd, -1);
	assert_false(huge);
	assert_int_equal(lowest_free_fd(), free_fd);
	assert_int_equal(xn_ram_create(&fd, bytes, XN_HUGE_AUTO, &huge), 0);
	assert_false(huge);
	check_sealed(fd, bytes);
	close(fd);
	/* A size that huge pages do not fit: AUTO takes small ones. */
	assert_int_equal(xn_ram_create(&fd, HUGE + PAGE, XN_HUGE_AUTO, &huge), 0);
	assert_false(huge);
	close(fd);
}

static void ram_without_a_free_fd_fails(void **state)
{
	struct rlimit old, none;
	int fd;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){ (rlim_t)lowest_free_fd(), old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(xn_ram_create(&fd, HUGE, XN_HUGE_NO, NULL), -EMFILE);
	assert_int_equal(xn_ram_create(&fd, HUGE, XN_HUGE_YES, NULL), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(number_of_regions_must_be_1_to_32),
		cmocka_unit_test(sizes_of_zero_and_crooked_numbers_are_refused),
		cmocka_unit_test(numbers_that_wrap_around_are_refused),
		cmocka_unit_test(regions_that_overlap_are_refused),
		cmocka_unit_test(fds_that_are_none_are_refused),
		cmocka_unit_test(fds_that_cannot_write_are_refused),
		cmocka_unit_test(regions_past_the_end_of_their_file_are_refused),
		cmocka_unit_test(things_that_are_no_files_are_refused),
		cmocka_unit_test(files_on_a_disk_are_refused),
		cmocka_unit_test(tmpfs_files_are_taken),
		cmocka_unit_test(holes_in_a_host_mapping_are_refused),
		cmocka_unit_test(private_host_mappings_are_refused),
		cmocka_unit_test(read_only_pages_in_a_host_mapping_are_refused),
		cmocka_unit_test(host_mappings_past_the_end_of_their_file_are_refused),
		cmocka_unit_test(windows_without_memory_are_refused),
		cmocka_unit_test(unknown_options_are_refused),
		cmocka_unit_test(more_than_the_address_space_is_refused),
		cmocka_unit_test(a_numa_node_that_does_not_exist_is_refused),
		cmocka_unit_test(frames_are_bound_to_the_numa_node_guest_ram_is_not),
		cmocka_unit_test(one_region_is_one_span_between_two_arenas),
		cmocka_unit_test(no_options_mean_8192_frames),
		cmocka_unit_test(guest_bytes_are_the_same_in_both_mappings),
		cmocka_unit_test(large_regions_agree_with_their_file_modulo_2_mib),
		cmocka_unit_test(host_regions_agree_with_their_file_modulo_2_mib),
		cmocka_unit_test(neighbours_become_one_span_whatever_files_they_come_from),
		cmocka_unit_test(thirty_two_regions_cut_by_a_window_are_thirty_four_spans),
		cmocka_unit_test(memory_may_end_at_the_last_address),
		cmocka_unit_test(what_lies_outside_of_the_window_is_mapped_but_not_registered),
		cmocka_unit_test(a_window_over_everything_is_no_window),
		cmocka_unit_test(host_regions_of_several_mappings_are_duplicated_piece_by_piece),
		cmocka_unit_test(host_regions_may_be_cut_by_a_window),
		cmocka_unit_test(destroy_gives_every_mapping_back),
		cmocka_unit_test(a_forked_child_has_neither_arena_nor_guest_memory),
		cmocka_unit_test(translation_agrees_with_a_search_over_all_regions),
		cmocka_unit_test(a_hit_is_remembered_and_replaced_across_spans),
		cmocka_unit_test(frames_are_unique_and_the_engines_with_guards_around),
		cmocka_unit_test(frames_taken_are_gone_until_they_are_given_back),
		cmocka_unit_test_setup_teardown(hugetlb_regions_lie_at_multiples_of_their_huge_page,
						need_huge, restore_huge),
		cmocka_unit_test_setup_teardown(a_window_covers_whole_huge_pages, need_huge,
						restore_huge),
		cmocka_unit_test_setup_teardown(crooked_numbers_on_hugetlb_are_refused, need_huge,
						restore_huge),
		cmocka_unit_test_setup_teardown(too_few_huge_pages_are_said, need_huge,
						restore_huge),
		cmocka_unit_test_setup_teardown(hugetlb_mappings_without_fd_are_refused, need_huge,
						restore_huge),
		cmocka_unit_test(ram_is_sealed_and_fit_for_a_region),
		cmocka_unit_test(ram_of_no_or_crooked_size_is_refused),
		cmocka_unit_test_setup_teardown(ram_on_huge_pages_is_theirs_before_it_is_used,
						need_huge, restore_huge),
		cmocka_unit_test(ram_without_enough_huge_pages_fails_or_falls_back),
		cmocka_unit_test(ram_without_a_free_fd_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
