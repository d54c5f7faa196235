/* SPDX-License-Identifier: BSD-2-Clause */
/* Regions, maps of them, and what a process has mapped and open: for the test_mem*.c. */
#ifndef XN_TESTS_MEM_RIG_H
#define XN_TESTS_MEM_RIG_H

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

static inline int memfd(uint64_t bytes, unsigned flags)
{
	int fd = memfd_create("xn-test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static inline void *map(int fd, uint64_t bytes, int prot, int how)
{
	void *p = mmap(NULL, bytes, prot, how, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static inline struct xn_region fd_region(uint64_t gpa, uint64_t size, int fd, uint64_t off)
{
	return (struct xn_region){ .gpa = gpa, .size = size, .fd = fd, .fd_offset = off };
}

static inline struct xn_region host_region(uint64_t gpa, uint64_t size, void *host)
{
	return (struct xn_region){ .gpa = gpa, .size = size, .fd = -1, .host = host };
}

static inline struct xn_mem_opts small_opts(void)
{
	return (struct xn_mem_opts){ .sz = sizeof(struct xn_mem_opts), .bounce_frames = 16 };
}

static inline struct xn_mem *make(const struct xn_region *r, unsigned n, const struct xn_mem_opts *opts)
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
static inline uint64_t mapped_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages * PAGE;
}

static inline unsigned count_lines(const char *with)
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

static inline int lowest_free_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

static inline void expect_opts_error(int err, const char *words, const struct xn_region *r, unsigned n,
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
static inline void expect_region_error(int err, struct xn_region bad)
{
	int fd = memfd(2 * MIB, 0);
	struct xn_region r[3] = { fd_region(HIGH_GPA, MIB, fd, 0),
				  fd_region(HIGH_GPA + 4 * MIB, MIB, fd, MIB), bad };

	expect_opts_error(err, "region 2: ", r, 3, NULL);
	close(fd);
}

static inline uint32_t random32(void)
{
	static uint64_t x = 0x9e3779b97f4a7c15ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 32);
}

static inline uint64_t pick(uint64_t n)
{
	return (((uint64_t)random32() << 32) | random32()) % n;
}

static inline uint64_t touch(const struct xn_mem *m)
{
	uint64_t sum = 0;

	for (uint64_t at = 0; at < m->umem_bytes; at += PAGE)
		sum += *(volatile uint8_t *)(m->base + at);
	return sum;
}

/* What must hold of every map. */
static inline void check_layout(const struct xn_mem *m)
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

#endif
