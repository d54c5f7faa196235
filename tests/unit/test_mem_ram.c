/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of umem/: guest memory on huge pages is mapped so, and guest RAM made by xn_ram_create is
 * sealed and, if asked for, on huge pages. Reserves some if none are free, and puts the
 * number back.
 */
#include "tests/unit/mem_rig.h"

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
	/* After a while of use memory is in small pieces, which the kernel moves together when told to. */
	for (unsigned tries = 0; tries < 5 && free_now < TEST_HUGE; tries++) {
		if (tries)
			write_number("/proc/sys/vm/compact_memory", 1);
		write_number(NR_HUGE, meminfo("HugePages_Total:") + TEST_HUGE - free_now);
		free_now = huge_free();
	}
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
