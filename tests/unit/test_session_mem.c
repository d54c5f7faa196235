/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of a vhost-user session what it says of shared memory: guest memory as a table or in slots,
 * replaced in traffic, refused and taken away; the dirty log; the inflight area.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "engine/dev.h"
#include "tests/unit/session_rig.h"

/* ---- memory ---- */

static int new_memory(uint64_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static const struct xn_mem *mem_of(struct rig *r)
{
	const struct xn_mem *mem;

	pthread_mutex_lock(&r->lock);
	mem = xn_vdev_dev(r->v)->mem;
	pthread_mutex_unlock(&r->lock);
	return mem;
}

static void bad_memory_tables_change_nothing(void **state)
{
	const struct {
		unsigned n;
		struct front_region r[2];
	} bad[] = {
		{ 1, { { .size = 0 } } },
		{ 1, { { .size = 1 } } },
		{ 1, { { .size = RAM - 1 } } },
		{ 1, { { .size = RAM + 4096 } } },
		{ 1, { { .size = UINT64_MAX } } },
		{ 1, { { .size = ~4095ull } } },
		{ 1, { { .size = 4096, .gpa = 1 } } },
		{ 1, { { .size = 4096, .gpa = ~4095ull, .user_addr = 1 } } },
		{ 1, { { .size = 8192, .gpa = ~4095ull } } },
		{ 1, { { .size = 8192, .user_addr = ~4095ull } } },
		{ 1, { { .size = 4096, .user_addr = 5 } } },
		{ 1, { { .size = 4096, .offset = 12 } } },
		{ 1, { { .size = 4096, .offset = RAM } } },
		{ 1, { { .size = 8192, .offset = ~4095ull } } },
		{ 1, { { .size = 4096, .offset = 1ull << 63 } } },
		{ 2, { { .size = 8192 }, { .size = 8192, .user_addr = USER } } },
		{ 2, { { .size = 8192 }, { .size = 4096, .gpa = 4096, .user_addr = USER } } },
		{ 2, { { .size = 8192 }, { .size = 8192, .gpa = RAM, .user_addr = 4096 } } },
		{ 2, { { .size = 8192 }, { .size = 8192, .gpa = RAM, .user_addr = 0 } } },
	};
	struct rig r;
	unsigned before;

	rig_run(&r, "loopback");
	before = open_fds();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++) {
		const struct xn_mem *mem = mem_of(&r);
		struct front_region t[2] = { bad[i].r[0], bad[i].r[1] };

		t[0].fd = t[1].fd = r.drv.fd;
		if (front_set_mem(&r.f, t, bad[i].n) != -EREMOTEIO)
			fail_msg("table %u", i);
		assert_ptr_equal(mem_of(&r), mem);
		assert_int_equal(open_fds(), before);
	}
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void bad_counts_of_regions_are_refused(void **state)
{
	const uint32_t counts[] = { 0, 2, 7, 8, 9, 0x10001, 0xffffffff };
	struct xn_vu_mem_table t = { .nregions = 1, .regions = { { 0, RAM, USER, 0 } } };
	struct rig r;
	int fds[8];

	rig_open(&r, "null", 1);
	rig_negotiate(&r);
	for (unsigned k = 0; k < 8; k++)
		fds[k] = r.drv.fd;
	for (unsigned i = 0; i < XN_ARRAY_SIZE(counts); i++) {
		t.nregions = counts[i];
		assert_false(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 1));
	}
	t.nregions = 1;
	assert_false(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 0));
	assert_false(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 2));
	t.nregions = 2;
	assert_false(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, 40, fds, 2));
	t.nregions = 1;
	assert_true(rig_says_yes(&r, XN_VU_SET_MEM_TABLE, &t, sizeof(t), fds, 1));
	rig_close(&r);
}

/* Every kind of fd that is none of ours. */
struct zoo {
	int fd[16];
	unsigned n;
};

static void zoo_open(struct zoo *z)
{
	const char name[] = "/tmp/xsknet-test-XXXXXX";
	char path[sizeof(name)];
	int p[2], s[2];

	memcpy(path, name, sizeof(name));
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	*z = (struct zoo){ .n = 0 };
	z->fd[z->n++] = p[0];
	z->fd[z->n++] = p[1];
	z->fd[z->n++] = s[0];
	z->fd[z->n++] = s[1];
	z->fd[z->n++] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	z->fd[z->n++] = open("/dev/null", O_RDWR | O_CLOEXEC);
	z->fd[z->n++] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	z->fd[z->n++] = open("/", O_PATH | O_CLOEXEC);
	z->fd[z->n++] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	z->fd[z->n++] = mkostemp(path, O_CLOEXEC);
	unlink(path);
	z->fd[z->n++] = epoll_create1(EPOLL_CLOEXEC);
	z->fd[z->n++] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	z->fd[z->n++] = (int)syscall(SYS_pidfd_open, getpid(), 0);
	for (unsigned i = 0; i < z->n; i++)
		assert_true(z->fd[i] >= 0);
}

static void zoo_close(const struct zoo *z)
{
	for (unsigned i = 0; i < z->n; i++)
		close(z->fd[i]);
}

static void fds_of_the_wrong_kind_are_refused(void **state)
{
	const uint32_t events[] = { XN_VU_SET_VRING_KICK, XN_VU_SET_VRING_CALL,
				    XN_VU_SET_VRING_ERR };
	const struct xn_vu_log log = { 4096, 0 };
	const struct xn_vu_inflight inflight = { 1 << 16, 0, 2, 256 };
	const uint64_t index = 0;
	struct xn_vu_mem_reg reg = { .region = { 0x10000000, 4096, 0x1000, 0 } };
	struct front_region region;
	struct zoo z;
	struct rig r;
	unsigned before;
	int ro;

	rig_run(&r, "loopback");
	zoo_open(&z);
	z.fd[z.n++] = r.kick[5];   /* none of memory */
	before = open_fds();
	for (unsigned i = 0; i < z.n; i++) {
		if (z.fd[i] == r.kick[5])
			z.fd[i] = r.drv.fd;   /* none of events */
		for (unsigned k = 0; k < XN_ARRAY_SIZE(events); k++)
			if (rig_says_yes(&r, events[k], &index, 8, &z.fd[i], 1))
				fail_msg("event %u of kind %u", k, i);
		if (z.fd[i] == r.drv.fd)
			z.fd[i] = r.kick[5];
		region = rig_region(&r);
		region.fd = z.fd[i];
		assert_int_equal(front_set_mem(&r.f, &region, 1), -EREMOTEIO);
		assert_false(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &reg, sizeof(reg), &z.fd[i], 1));
		assert_false(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &log, sizeof(log), &z.fd[i], 1));
		assert_false(rig_says_yes(&r, XN_VU_SET_INFLIGHT_FD, &inflight, sizeof(inflight),
					  &z.fd[i], 1));
		if (i != 2 && i != 3)
			assert_false(rig_says_yes(&r, XN_VU_SET_BACKEND_REQ_FD, NULL, 0, &z.fd[i], 1));
	}
	assert_int_equal(open_fds(), before);
	z.n--;
	zoo_close(&z);

	/* Memory that may only be read. */
	ro = memfd_create("ro", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(ro, RAM), 0);
	assert_int_equal(fcntl(ro, F_ADD_SEALS, F_SEAL_WRITE), 0);
	region.fd = ro;
	assert_int_equal(front_set_mem(&r.f, &region, 1), -EREMOTEIO);
	assert_false(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &log, sizeof(log), &ro, 1));
	close(ro);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void the_same_table_again_keeps_the_memory(void **state)
{
	const struct xn_mem *mem;
	struct rig r;
	unsigned before;

	rig_run(&r, "loopback");
	before = open_fds();
	mem = mem_of(&r);
	rig_set_mem(&r);
	assert_ptr_equal(mem_of(&r), mem);
	assert_int_equal(open_fds(), before);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

static void memory_is_replaced_in_traffic(void **state)
{
	struct front_region whole, half[2];
	struct guest g = { .stop = 0 };
	pthread_t guest;
	struct rig r;

	rig_run(&r, "loopback");
	g.r = &r;
	whole = half[0] = half[1] = rig_region(&r);
	half[0].size = half[1].size = RAM / 2;
	half[1].gpa = half[1].offset = RAM / 2;
	half[1].user_addr = 0x10000000;
	assert_int_equal(pthread_create(&guest, NULL, ping_on, &g), 0);
	for (unsigned i = 0; i < 30; i++) {
		const struct xn_mem *mem = mem_of(&r);

		assert_int_equal(front_set_mem(&r.f, i & 1 ? &whole : half, i & 1 ? 1 : 2), 0);
		assert_ptr_not_equal(mem_of(&r), mem);
		assert_int_equal(rig_info(&r).running, 1);
		usleep(2000);
	}
	await_pings(&g, 31);
	xn_store_release32(&g.stop, 1);
	pthread_join(guest, NULL);
	assert_false(g.failed);
	assert_int_equal(rig_stat(&r, 0, "rx_packets"), g.pings);
	assert_int_equal(rig_stat(&r, 0, "tx_packets"),
			 g.pings + rig_stat(&r, 0, "rx_drop_no_buffer"));
	rig_close(&r);
}

/* A table without the rings that run, or with memory that their start cannot use. */
static void rings_that_run_keep_their_memory(void **state)
{
	struct front_region other;
	struct rig r;

	rig_run(&r, "loopback");
	other = rig_region(&r);
	other.user_addr += RAM;
	assert_int_equal(front_set_mem(&r.f, &other, 1), -EREMOTEIO);
	other = rig_region(&r);
	other.size = 0x3000;   /* ends inside of ring 0 */
	assert_int_equal(front_set_mem(&r.f, &other, 1), -EREMOTEIO);
	rig_ping(&r, 0, 100);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	assert_int_equal(front_set_mem(&r.f, &other, 1), 0);
	rig_close(&r);
}

/* The kernel cannot pin the new memory, say. */
static void a_table_that_cannot_be_started_with_changes_nothing(void **state)
{
	struct front_region half[2];
	const struct xn_mem *mem;
	struct rig r;
	unsigned before;

	rig_run(&r, "loopback");
	before = open_fds();
	mem = mem_of(&r);
	half[0] = half[1] = rig_region(&r);
	half[0].size = half[1].size = RAM / 2;
	half[1].gpa = half[1].offset = RAM / 2;
	half[1].user_addr = USER + RAM / 2;
	fail_starts(1);
	assert_int_equal(front_set_mem(&r.f, half, 2), -EREMOTEIO);
	assert_ptr_equal(mem_of(&r), mem);
	assert_int_equal(rig_info(&r).regions, 1);
	assert_int_equal(rig_info(&r).running, 1);
	assert_int_equal(open_fds(), before);
	rig_ping(&r, 0, 100);
	assert_false(signalled(r.err[0]));

	/* Nor in the old, now: tried once more after a while. */
	fail_starts(2);
	assert_int_equal(front_set_mem(&r.f, half, 2), -EREMOTEIO);
	assert_int_equal(rig_info(&r).running, 0);
	rig_wait_running(&r, 1);
	rig_ping(&r, 0, 100);
	/* And told, if that is in vain. */
	fail_starts(3);
	assert_int_equal(front_set_mem(&r.f, half, 2), -EREMOTEIO);
	assert_true(rig_wait_signal(r.err[0]));
	assert_true(rig_wait_signal(r.err[1]));
	assert_int_equal(rig_info(&r).running, 0);
	assert_int_equal(front_set_mem(&r.f, half, 2), 0);
	rig_wait_running(&r, 1);
	rig_ping(&r, 0, 100);
	rig_close(&r);
}

/* Whoever shares memory can take it away. */
static void memory_that_is_cut_off_harms_its_guest_only(void **state)
{
	struct pollfd p = { .events = POLLIN };
	struct front_region region;
	struct rig r;
	uint64_t features;
	int fd;

	assert_int_equal(xn_sigbus_init(), 0);
	xn_sigbus_take();
	rig_open(&r, "loopback", 1);
	fd = new_memory(RAM);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	rig_negotiate(&r);
	region = rig_region(&r);
	region.fd = fd;
	assert_int_equal(front_set_mem(&r.f, &region, 1), 0);
	rig_start_pair(&r, 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	rig_kick(&r, 0);
	rig_kick(&r, 1);
	p.fd = xn_sigbus_fd();
	assert_int_equal(poll(&p, 1, WAIT_NS / 1000000), 1);
	/* It answers, and stops rings as ever. */
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_FEATURES, &features), 0);
	assert_int_equal(front_set_mem(&r.f, &region, 1), -EREMOTEIO);
	/* The memory is back: it begins anew. */
	assert_int_equal(ftruncate(fd, RAM), 0);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	assert_int_equal(front_set_mem(&r.f, &region, 1), 0);
	rig_start_pair(&r, 0);
	assert_int_equal(rig_info(&r).running, 1);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	rig_set_mem(&r);
	rig_start_pair(&r, 0);
	rig_ping(&r, 0, 100);
	close(fd);
	rig_close(&r);
}

static void memory_slots_come_and_go(void **state)
{
	struct xn_vu_mem_reg reg = { .region = { 0, RAM / 2, USER, 0 } };
	struct xn_vu_mem_reg small = { .region = { 1ull << 32, 4096, 1ull << 32, RAM / 2 } };
	struct rig r;
	uint64_t slots;
	unsigned before;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	before = open_fds();
	assert_int_equal(front_get_u64(&r.f, XN_VU_GET_MAX_MEM_SLOTS, &slots), 0);
	assert_int_equal(slots, XN_MEM_MAX_REGIONS);
	assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &reg, sizeof(reg), &r.drv.fd, 1));
	assert_false(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &reg, sizeof(reg), &r.drv.fd, 1));
	rig_start_pair(&r, 0);
	for (unsigned i = 1; i < slots; i++, small.region.gpa += 8192, small.region.user_addr += 4096) {
		assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &small, sizeof(small), &r.drv.fd, 1));
		if (i % 8 == 0)
			rig_ping(&r, 0, 100);
	}
	assert_int_equal(rig_info(&r).regions, slots);
	assert_false(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &small, sizeof(small), &r.drv.fd, 1));
	/* Never there. */
	assert_false(rig_says_yes(&r, XN_VU_REM_MEM_REG, &small, sizeof(small), NULL, 0));
	for (unsigned i = 1; i < slots; i++) {
		small.region.gpa -= 8192;
		small.region.user_addr -= 4096;
		small.region.mmap_offset = 77;   /* is not looked at */
		assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &small, sizeof(small), &r.drv.fd,
					 i & 1));
	}
	rig_ping(&r, 0, 200);
	assert_int_equal(front_stop_ring(&r.f, 0, NULL), 0);
	assert_int_equal(front_stop_ring(&r.f, 1, NULL), 0);
	assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &reg, sizeof(reg), NULL, 0));
	assert_int_equal(rig_info(&r).regions, 0);
	assert_null(mem_of(&r));
	/* Call and error eventfds of two rings stay. */
	assert_int_equal(open_fds(), before + 4);
	rig_close(&r);
}

/* As QEMU tells of a hole in the guest's memory map: away with it, then its parts. */
static void rings_wait_for_memory_that_was_removed(void **state)
{
	struct xn_vu_mem_reg all = { .region = { 0, RAM, USER, 0 } };
	struct xn_vu_mem_reg low = { .region = { 0, 0xa0000, USER, 0 } };
	struct xn_vu_mem_reg high = { .region = { 0xc0000, RAM - 0xc0000, USER + 0xc0000, 0xc0000 } };
	struct rig r;
	uint32_t base;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &all, sizeof(all), &r.drv.fd, 1));
	rig_start_pair(&r, 0);
	for (unsigned i = 0; i < 5; i++) {
		rig_ping(&r, 0, 100);
		assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &all, sizeof(all), NULL, 0));
		assert_int_equal(rig_info(&r).running, 0);
		assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &low, sizeof(low), &r.drv.fd, 1));
		assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &high, sizeof(high), &r.drv.fd, 1));
		rig_wait_running(&r, 1);
		rig_ping(&r, 0, 100);
		/* Both parts of it; the rings lie in the lower. */
		assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &high, sizeof(high), NULL, 0));
		assert_int_equal(rig_info(&r).running, 1);
		assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &low, sizeof(low), NULL, 0));
		assert_int_equal(rig_info(&r).running, 0);
		assert_true(rig_says_yes(&r, XN_VU_ADD_MEM_REG, &all, sizeof(all), &r.drv.fd, 1));
	}
	/* It may be stopped while it waits, and knows where it was. */
	assert_true(rig_says_yes(&r, XN_VU_REM_MEM_REG, &all, sizeof(all), NULL, 0));
	assert_int_equal(front_stop_ring(&r.f, 0, &base), 0);
	assert_int_equal(base, 10);
	assert_int_equal(front_stop_ring(&r.f, 1, &base), 0);
	assert_int_equal(base, 10);
	rig_close(&r);
}

/* ---- dirty log, inflight area ---- */

static void bad_logs_are_refused(void **state)
{
	const struct xn_vu_log bad[] = {
		{ 0, 0 }, { 255, 0 }, { 4097, 0 }, { 4096, 4096 }, { 4096, 8 }, { 4096, 1ull << 63 },
		{ UINT64_MAX - 4095, 8192 }, { UINT64_MAX, 0 }, { 4096, ~4095ull },
	};
	struct rig r;
	unsigned before;
	int fd;

	rig_run(&r, "loopback");
	fd = new_memory(4096);
	before = open_fds();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(bad); i++)
		assert_false(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &bad[i], sizeof(bad[i]), &fd, 1));
	assert_true(rig_says_yes(&r, XN_VU_SET_LOG_FD, NULL, 0, &r.kick[5], 1));
	assert_int_equal(open_fds(), before);
	close(fd);
	rig_close(&r);
}

static void pages_that_are_written_are_logged(void **state)
{
	const uint64_t logged = VERSION | PROTOCOL | LOG_ALL, not_logged = VERSION | PROTOCOL;
	const struct xn_vu_log log = { RAM / 4096 / 8, 4096 };
	const unsigned page = 0x100000 / 4096, used_page = 0x2000 / 4096;
	struct rig r;
	uint8_t *bits;
	int fd;

	rig_run(&r, "loopback");
	fd = new_memory(8192);
	bits = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(bits, MAP_FAILED);
	assert_true(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &log, sizeof(log), &fd, 1));
	rig_ping(&r, 0, 100);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(bits[i], 0);
	assert_true(rig_says_yes(&r, XN_VU_SET_FEATURES, &logged, 8, NULL, 0));
	assert_true(rig_info(&r).logging);
	rig_ping(&r, 0, 100);
	assert_true(bits[4096 + page / 8] >> page % 8 & 1);
	assert_true(bits[4096 + used_page / 8] >> used_page % 8 & 1);
	/* The next log, in traffic. */
	memset(bits, 0, 8192);
	assert_true(rig_says_yes(&r, XN_VU_SET_LOG_BASE, &log, sizeof(log), &fd, 1));
	rig_ping(&r, 0, 100);
	assert_true(bits[4096 + page / 8] >> page % 8 & 1);
	memset(bits, 0, 8192);
	assert_true(rig_says_yes(&r, XN_VU_SET_FEATURES, &not_logged, 8, NULL, 0));
	assert_false(rig_info(&r).logging);
	rig_ping(&r, 0, 100);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(bits[i], 0);
	munmap(bits, 8192);
	close(fd);
	rig_close(&r);
}

static int get_inflight(struct rig *r, struct xn_vu_inflight *i)
{
	int fd = -1;

	assert_int_equal(front_get(&r->f, XN_VU_GET_INFLIGHT_FD, i, sizeof(*i), i, sizeof(*i), NULL,
				   &fd), 0);
	return fd;
}

static void inflight_areas_are_made_as_asked(void **state)
{
	const struct { uint16_t n, size; } bad[] = { { 0, 256 }, { 4, 256 }, { 129, 256 },
						     { 65535, 256 }, { 2, 0 }, { 2, 32769 },
						     { 2, 65535 } };
	struct xn_vu_inflight i;
	struct rig r;
	unsigned before, maps;
	int fd;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	before = open_fds();
	for (unsigned k = 0; k < XN_ARRAY_SIZE(bad); k++) {
		i = (struct xn_vu_inflight){ .num_queues = bad[k].n, .queue_size = bad[k].size };
		assert_int_equal(get_inflight(&r, &i), -1);
		assert_int_equal(i.mmap_size, 0);
	}
	for (maps = 0; maps < 1000; maps++) {
		i = (struct xn_vu_inflight){ .num_queues = 2, .queue_size = 256 };
		fd = get_inflight(&r, &i);
		assert_true(fd >= 0);
		assert_true(i.mmap_size >= 2 * xn_inflight_bytes(256));
		assert_int_equal(i.mmap_offset, 0);
		assert_int_equal(ftruncate(fd, 0), -1);   /* sealed */
		close(fd);
	}
	assert_true(rig_info(&r).inflight);
	assert_int_equal(open_fds(), before);
	rig_close(&r);
}

static bool set_inflight(struct rig *r, uint64_t size, uint64_t offset, uint16_t n, uint16_t rings,
			 int fd)
{
	const struct xn_vu_inflight i = { size, offset, n, rings };

	return rig_says_yes(r, XN_VU_SET_INFLIGHT_FD, &i, sizeof(i), &fd, 1);
}

static void bad_inflight_areas_are_refused(void **state)
{
	const uint64_t needed = 2 * xn_inflight_bytes(256), all = 0x4000;
	struct rig r;
	unsigned before;
	int fd;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	rig_set_mem(&r);
	fd = new_memory(all);
	before = open_fds();
	assert_false(set_inflight(&r, all, 0, 0, 256, fd));
	assert_false(set_inflight(&r, all, 0, 4, 256, fd));
	assert_false(set_inflight(&r, all, 0, 65535, 256, fd));
	assert_false(set_inflight(&r, all, 0, 2, 0, fd));
	assert_false(set_inflight(&r, all, 0, 2, 65535, fd));
	assert_false(set_inflight(&r, all, 0, 2, 32768, fd));
	assert_false(set_inflight(&r, needed - 1, 0, 2, 256, fd));
	assert_false(set_inflight(&r, 0, 0, 2, 256, fd));
	assert_false(set_inflight(&r, all + 4096, 0, 2, 256, fd));
	assert_false(set_inflight(&r, all, 4096, 2, 256, fd));
	assert_false(set_inflight(&r, needed, 64, 2, 256, fd));
	assert_false(set_inflight(&r, ~4095ull, 8192, 2, 256, fd));
	assert_int_equal(open_fds(), before);
	assert_true(set_inflight(&r, needed, 0, 2, 256, fd));
	/* Rings that do not fit it; it does not fit rings. */
	assert_false(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 512));
	assert_true(state_says_yes(&r, XN_VU_SET_VRING_NUM, 0, 256));
	assert_false(set_inflight(&r, all, 0, 2, 128, fd));
	rig_start_pair(&r, 0);
	assert_false(set_inflight(&r, needed, 0, 2, 256, fd));
	rig_ping(&r, 0, 100);
	close(fd);
	rig_close(&r);
}

/* The process that had the rings is gone; what it had taken is in the area. */
static void rings_go_on_behind_what_was_in_flight(void **state)
{
	struct xn_vu_inflight i = { .num_queues = 2, .queue_size = DRV_SIZE };
	struct rig r;
	int fd;

	rig_open(&r, "loopback", 1);
	rig_negotiate(&r);
	fd = get_inflight(&r, &i);
	assert_true(fd >= 0);
	rig_set_mem(&r);
	rig_start_pair(&r, 0);
	for (unsigned k = 0; k < 5; k++)
		rig_ping(&r, 0, 100);
	shutdown(r.f.fd, SHUT_RDWR);
	assert_int_equal(rig_ends(&r), -ENOTCONN);
	rig_connect(&r);
	rig_negotiate(&r);
	rig_set_mem(&r);
	assert_true(set_inflight(&r, i.mmap_size, i.mmap_offset, 2, DRV_SIZE, fd));
	rig_start_pair(&r, 0);            /* the base says 0; the area knows better */
	for (unsigned k = 0; k < 5; k++)
		rig_ping(&r, 0, 100);
	assert_int_equal(drv_pending(&r.drv, 0), 0);
	close(fd);
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_memory_tables_change_nothing),
		cmocka_unit_test(bad_counts_of_regions_are_refused),
		cmocka_unit_test(fds_of_the_wrong_kind_are_refused),
		cmocka_unit_test(the_same_table_again_keeps_the_memory),
		cmocka_unit_test(memory_is_replaced_in_traffic),
		cmocka_unit_test(rings_that_run_keep_their_memory),
		cmocka_unit_test(a_table_that_cannot_be_started_with_changes_nothing),
		cmocka_unit_test(memory_that_is_cut_off_harms_its_guest_only),
		cmocka_unit_test(memory_slots_come_and_go),
		cmocka_unit_test(rings_wait_for_memory_that_was_removed),
		cmocka_unit_test(bad_logs_are_refused),
		cmocka_unit_test(pages_that_are_written_are_logged),
		cmocka_unit_test(inflight_areas_are_made_as_asked),
		cmocka_unit_test(bad_inflight_areas_are_refused),
		cmocka_unit_test(rings_go_on_behind_what_was_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
