/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of umem/: the map of guest memory is what umem/mem.h draws. (Addresses:
 * test_mem_translate.c; huge pages and guest RAM: test_mem_ram.c.)
 *
 *   - every mistake a caller can make has its errno, and a message that names the
 *     region by the caller's index; no failure leaves a mapping or an fd behind
 *   - the registered range is aligned and has no hole; every byte of the VMM's
 *     mapping is seen through the engine's, wherever it was placed
 */
#include "tests/unit/mem_rig.h"

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
