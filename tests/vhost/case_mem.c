/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory as a front end describes it: tables, regions, fds, where the rings lie,
 * and the dirty log.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/vhost/rig.h"

#define MIB (1ull << 20)

/* ---- tables ---- */

struct table_arg {
	uint32_t nregions, in_payload, n_fds;
};

/* Regions that are good each; their number, payload and fds do not agree. To a guest
 * that runs: its memory has to stay. */
static void refused_count(const void *arg)
{
	const struct table_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct { uint32_t n, padding; struct xn_vu_region r[16]; } t = { .n = a->nregions };
	int fds[16];

	for (unsigned i = 0; i < 16; i++) {
		t.r[i] = (struct xn_vu_region){ GUEST_GPA + i * MIB, MIB, GUEST_USER + i * MIB, 0 };
		fds[i] = g->fd;
	}
	check_loop(g, 4);
	check_nack(g, ask(g, XN_VU_SET_MEM_TABLE, &t, 8 + a->in_payload * sizeof(t.r[0]), fds,
			  a->n_fds));
}

struct region_arg {
	const char *what;
	struct xn_vu_region r[2];       /* the second: used if its size is not 0 */
};

/* One or two regions of a file of 2 MiB, by SET_MEM_TABLE and by ADD_MEM_REG. */
static void refused_region(const void *arg)
{
	const struct region_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct xn_vu_mem_table t = { .nregions = a->r[1].size ? 2 : 1,
				     .regions = { a->r[0], a->r[1] } };
	const int fds[2] = { g->fd, g->fd };

	CHECK(g->bytes == 2 * MIB, "the guest has %llu bytes", (unsigned long long)g->bytes);
	check_nack(g, ask(g, XN_VU_SET_MEM_TABLE, &t, 8 + t.nregions * sizeof(t.regions[0]), fds,
			  t.nregions));
}

static void refused_slot(const void *arg)
{
	const struct region_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = NEGOTIATED });
	struct xn_vu_mem_reg m = { .region = a->r[0] };

	if (!(g->front.protocol_acked & BIT(XN_VU_P_CONFIGURE_MEM_SLOTS)))
		skip("CONFIGURE_MEM_SLOTS is not offered");
	if (a->r[1].size) {
		check_accepted(ask(g, XN_VU_ADD_MEM_REG, &m, sizeof(m), &g->fd, 1));
		m.region = a->r[1];
	}
	check_nack(g, ask(g, XN_VU_ADD_MEM_REG, &m, sizeof(m), &g->fd, 1));
}

static const struct region_arg bad_regions[] = {
	{ "of no byte", { { GUEST_GPA, 0, GUEST_USER, 0 } } },
	{ "of one byte", { { GUEST_GPA, 1, GUEST_USER, 0 } } },
	{ "of 4095 bytes", { { GUEST_GPA, 4095, GUEST_USER, 0 } } },
	{ "of 4097 bytes", { { GUEST_GPA, 4097, GUEST_USER, 0 } } },
	{ "of 2^64-1 bytes", { { 0, UINT64_MAX, 0, 0 } } },
	{ "of 2^64-4096 bytes", { { 0, -4096ull, 0, 0 } } },
	{ "of 2^63 bytes", { { 0, 1ull << 63, 0, 0 } } },
	{ "of 2^47 bytes", { { 0, 1ull << 47, 0, 0 } } },
	{ "at file offset 1", { { GUEST_GPA, MIB, GUEST_USER, 1 } } },
	{ "at file offset 2048", { { GUEST_GPA, MIB, GUEST_USER, 2048 } } },
	{ "whose offset and size wrap", { { GUEST_GPA, MIB, GUEST_USER, -4096ull } } },
	{ "that is longer than its file", { { GUEST_GPA, 2 * MIB + 4096, GUEST_USER, 0 } } },
	{ "that ends behind its file", { { GUEST_GPA, MIB, GUEST_USER, MIB + 4096 } } },
	{ "that begins behind its file", { { GUEST_GPA, MIB, GUEST_USER, 1ull << 40 } } },
	{ "whose guest address wraps", { { -4096ull, MIB, GUEST_USER, 0 } } },
	{ "whose guest address is odd", { { GUEST_GPA + 1, MIB, GUEST_USER, 0 } } },
	{ "whose user address wraps", { { GUEST_GPA, MIB, -4096ull, 0 } } },
	{ "twice", { { GUEST_GPA, MIB, GUEST_USER, 0 }, { GUEST_GPA, MIB, GUEST_USER, 0 } } },
	{ "that overlaps another in guest memory",
	  { { GUEST_GPA, MIB, GUEST_USER, 0 }, { GUEST_GPA + MIB - 4096, MIB, GUEST_USER + 4 * MIB, MIB } } },
	{ "that lies inside another in guest memory",
	  { { GUEST_GPA, 2 * MIB, GUEST_USER, 0 }, { GUEST_GPA + 4096, 4096, GUEST_USER + 4 * MIB, 0 } } },
	{ "that overlaps another in user addresses",
	  { { GUEST_GPA, MIB, GUEST_USER, 0 }, { GUEST_GPA + 4 * MIB, MIB, GUEST_USER + 4096, MIB } } },
};

/* ---- fds that are no memory ---- */

static int memfd(uint64_t bytes, unsigned flags, unsigned seals)
{
	int fd = memfd_create("case", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) || (seals && fcntl(fd, F_ADD_SEALS, seals))) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* A temporary file in this folder, open as flags say. */
static int file_in(const char *dir, int flags)
{
	char path[64];
	int fd, again;

	snprintf(path, sizeof(path), "%s/xnv-file.XXXXXX", dir);
	fd = mkstemp(path);
	if (fd < 0 || ftruncate(fd, 2 * MIB))
		return fd;
	again = open(path, flags | O_CLOEXEC);
	unlink(path);
	close(fd);
	return again;
}

static int one_of(int made, const int *pair, unsigned keep)
{
	if (made)
		return -1;
	close(pair[!keep]);
	return pair[keep];
}

static int kind_socket(void)
{
	int p[2];

	return one_of(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), p, 0);
}

static int kind_pipe_write(void)
{
	int p[2];

	return one_of(pipe2(p, O_CLOEXEC), p, 1);
}

static int kind_pipe_read(void)
{
	int p[2];

	return one_of(pipe2(p, O_CLOEXEC), p, 0);
}

static int kind_readonly_memfd(void)
{
	char path[40];
	int fd = memfd(2 * MIB, 0, 0), ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return ro;
}

static int kind_directory(void) { return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }
static int kind_path(void) { return open("/dev/null", O_PATH | O_CLOEXEC); }
static int kind_null(void) { return open("/dev/null", O_RDWR | O_CLOEXEC); }
static int kind_zero(void) { return open("/dev/zero", O_RDWR | O_CLOEXEC); }
static int kind_readonly(void) { return file_in("/tmp", O_RDONLY); }
static int kind_writeonly(void) { return file_in("/dev/shm", O_WRONLY); }
static int kind_eventfd(void) { return eventfd(0, EFD_CLOEXEC); }
static int kind_epoll(void) { return epoll_create1(EPOLL_CLOEXEC); }
static int kind_timer(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC); }
static int kind_pidfd(void) { return (int)syscall(SYS_pidfd_open, getpid(), 0); }
static int kind_empty(void) { return memfd(0, 0, 0); }
static int kind_sealed_write(void) { return memfd(2 * MIB, 0, F_SEAL_WRITE); }
static int kind_future_write(void) { return memfd(2 * MIB, 0, F_SEAL_FUTURE_WRITE); }
static int kind_proc(void) { return open("/proc/self/status", O_RDONLY | O_CLOEXEC); }

static const struct kind {
	const char *name;
	int (*make)(void);
	bool no_event;          /* plainly no eventfd or pipe, by its file type */
} kinds[] = {
	{ "a socket", kind_socket, true }, { "a pipe's end to read", kind_pipe_read, false },
	{ "a pipe's end to write", kind_pipe_write, false },
	{ "a directory", kind_directory, true }, { "an O_PATH fd", kind_path, true },
	{ "/dev/null", kind_null, true }, { "/dev/zero", kind_zero, true },
	{ "a file that is read-only", kind_readonly, true },
	{ "a file that is write-only", kind_writeonly, true },
	{ "an eventfd", kind_eventfd, false }, { "an epoll fd", kind_epoll, false },
	{ "a timerfd", kind_timer, false }, { "a pidfd", kind_pidfd, false },
	{ "an empty memfd", kind_empty, true }, { "a read-only memfd", kind_readonly_memfd, true },
	{ "a memfd sealed against writing", kind_sealed_write, true },
	{ "a memfd sealed against new writers", kind_future_write, true },
	{ "a file of /proc", kind_proc, true },
};

static int make_kind(const struct kind *k)
{
	int fd = k->make();

	if (fd < 0)
		skip("this kind of fd cannot be had here");
	return own_fd(fd);
}

static void memory_of_kind(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct xn_vu_mem_table t = { .nregions = 1, .regions = { { GUEST_GPA, 2 * MIB, GUEST_USER, 0 } } };
	int fd = make_kind(arg);

	check_loop(g, 2);
	check_nack(g, ask(g, XN_VU_SET_MEM_TABLE, &t, 40, &fd, 1));
}

static void slot_of_kind(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	struct xn_vu_mem_reg m = { .region = { 64 * MIB, 2 * MIB, GUEST_USER + 64 * MIB, 0 } };
	int fd = make_kind(arg);

	if (!(g->front.protocol_acked & BIT(XN_VU_P_CONFIGURE_MEM_SLOTS)))
		skip("CONFIGURE_MEM_SLOTS is not offered");
	check_nack(g, ask(g, XN_VU_ADD_MEM_REG, &m, sizeof(m), &fd, 1));
}

static void log_of_kind(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const struct xn_vu_log log = { 4096, 0 };
	int fd = make_kind(arg);

	check_nack(g, ask(g, XN_VU_SET_LOG_BASE, &log, sizeof(log), &fd, 1));
}

static void inflight_of_kind(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	const struct xn_vu_inflight f = { 64 * 1024, 0, 2, 256 };
	int fd = make_kind(arg);

	check_nack(g, ask(g, XN_VU_SET_INFLIGHT_FD, &f, sizeof(f), &fd, 1));
}

/* What may pass for an eventfd may be taken; but must not cost a processor. */
struct event_arg { uint32_t request; unsigned ring; const struct kind *kind; };

static void event_of_kind(const void *arg)
{
	const struct event_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const uint64_t v = a->ring;
	struct footprint before, after;
	int fd = make_kind(a->kind);
	uint64_t from;
	enum answer said;

	check_loop(g, 2);
	said = ask(g, a->request, &v, sizeof(v), &fd, 1);
	if (a->kind->no_event)
		CHECK(said == REFUSED || said == CLOSED, "should be refused, is %s", answer_name(said));
	check_in_step(g);
	from = now_ms();
	daemon_footprint(&the_daemon, &before);
	for (unsigned i = 0; i < 20 && g->front.fd >= 0; i++) {
		const struct seg s = { g->free_at, HDR + 60 };

		ring_post(&g->ring[TX], &s, 1, 0);
		ring_kick(&g->ring[TX]);
		nap_ms(5);
	}
	daemon_footprint(&the_daemon, &after);
	CHECK((after.cpu_ms - before.cpu_ms) * 10 < (now_ms() - from + 1) * 8,
	      "%llu ms of processor in %llu ms", (unsigned long long)(after.cpu_ms - before.cpu_ms),
	      (unsigned long long)(now_ms() - from));
}

/* ---- memory that is good ---- */

static void hugetlb_without_pages(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const uint64_t bytes = 1ull << 40;      /* more than any pool has */
	struct xn_vu_mem_table t = { .nregions = 1, .regions = { { 0, bytes, GUEST_USER, 0 } } };
	int fd = memfd(bytes, MFD_HUGETLB, 0);

	if (fd < 0)
		skip("no hugetlb here");
	own_fd(fd);
	check_nack(g, ask(g, XN_VU_SET_MEM_TABLE, &t, 40, &fd, 1));
}

static void tmpfs_file(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	struct xn_vu_mem_reg m = { .region = { 64 * MIB, 2 * MIB, GUEST_USER + 64 * MIB, 0 } };
	int fd = own_fd(file_in("/dev/shm", O_RDWR));

	check_accepted(ask(g, XN_VU_ADD_MEM_REG, &m, sizeof(m), &fd, 1));
}

static void table_again(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });

	for (unsigned i = 0; i < 20; i++) {
		check_loop(g, 8);
		CHECK(!guest_set_mem(g), "%s", g->front.error);
	}
	check_loop(g, 8);
}

static void table_without_rings(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct front_region r = { .gpa = 512 * MIB, .size = MIB, .user_addr = GUEST_USER + 512 * MIB,
				  .fd = g->fd };

	check_loop(g, 8);
	front_set_mem(&g->front, &r, 1);
	check_in_step(g);
}

/* A region in use disappears: whoever says so loses his rings, nobody else anything. */
static void slot_of_rings_removed(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct xn_vu_mem_reg m = { .region = { GUEST_GPA, g->bytes, GUEST_USER, 0 } };
	struct seg s = { g->free_at, HDR + 60 };

	check_loop(g, 8);
	ask(g, XN_VU_REM_MEM_REG, &m, sizeof(m), NULL, 0);
	for (unsigned i = 0; i < 10; i++)
		ring_post(&g->ring[TX], &s, 1, 0);
	ring_kick(&g->ring[TX]);
	check_in_step(g);
}

static void slots_come_and_go(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	const uint64_t at = 64 * MIB;
	struct xn_vu_mem_reg m = { .region = { at, MIB, GUEST_USER + at, MIB } };
	int fd = own_fd(memfd(2 * MIB, 0, 0));
	uint8_t *p = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t before = counter(&the_daemon, "tx_packets");

	CHECK(p != MAP_FAILED, "mmap: %s", strerror(errno));
	for (unsigned i = 0; i < 10; i++) {
		const struct seg s = { at + 4096 * i, HDR + 60 };
		uint32_t head, len;

		check_loop(g, 8);
		check_accepted(ask(g, XN_VU_ADD_MEM_REG, &m, sizeof(m), &fd, 1));
		memset(p + MIB + 4096 * i, 0, HDR);
		frame_write(p + MIB + 4096 * i + HDR, 60, 0);
		ring_post(&g->ring[TX], &s, 1, 0);
		ring_kick(&g->ring[TX]);
		if (!ring_wait(&g->ring[TX], &head, &len, SOON_MS)) {
			munmap(p, 2 * MIB);
			fail("a packet in the new region is not sent");
		}
		CHECK(ring_wait(&g->ring[RX], &head, &len, SOON_MS), "and does not come back");
		check_accepted(ask(g, XN_VU_REM_MEM_REG, &m, sizeof(m), NULL, 0));
	}
	munmap(p, 2 * MIB);
	check_loop(g, 8);
	CHECK(counter(&the_daemon, "tx_packets") >= before + 98, "packets were not counted");
}

static void slot_fds(const void *arg)
{
	const unsigned *n = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct xn_vu_mem_reg m = { .region = { 64 * MIB, MIB, GUEST_USER + 64 * MIB, 0 } };
	int fds[8];

	for (unsigned i = 0; i < 8; i++)
		fds[i] = g->fd;
	check_nack(g, ask(g, XN_VU_ADD_MEM_REG, &m, sizeof(m), fds, *n));
}

static void too_many_slots(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t slots;
	unsigned i;

	CHECK(!front_get_u64(&g->front, XN_VU_GET_MAX_MEM_SLOTS, &slots), "%s", g->front.error);
	CHECK(slots >= 8 && slots <= 4096, "%llu slots", (unsigned long long)slots);
	for (i = 1; i < slots; i++) {
		struct xn_vu_mem_reg m = { .region = { (64 + 2 * i) * MIB, MIB,
						       GUEST_USER + (64 + 2 * i) * MIB, 0 } };

		CHECK(ask(g, XN_VU_ADD_MEM_REG, &m, sizeof(m), &g->fd, 1) == ACCEPTED,
		      "slot %u of %llu is refused", i + 1, (unsigned long long)slots);
	}
	for (i = 0; i < 2; i++) {
		struct xn_vu_mem_reg m = { .region = { (8192 + 2 * i) * MIB, MIB,
						       GUEST_USER + (8192 + 2 * i) * MIB, 0 } };

		check_nack(g, ask(g, XN_VU_ADD_MEM_REG, &m, sizeof(m), &g->fd, 1));
	}
}

struct rem_arg { const char *what; struct xn_vu_region r; };

static void refused_removal(const void *arg)
{
	const struct rem_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct xn_vu_mem_reg m = { .region = a->r };

	check_nack(g, ask(g, XN_VU_REM_MEM_REG, &m, sizeof(m), NULL, 0));
}

/* ---- where rings lie ---- */

struct place_arg {
	const char *what;
	int64_t desc, avail, used;      /* added to the good addresses */
	enum { MOVED, AS_AVAIL, AS_DESC, AVAIL_AS_DESC } how;
};

/* Behind the ring's end so that it begins in the region: the last page of it. */
#define LAST_PAGE INT64_MAX

static uint64_t place(uint64_t good, int64_t move, const struct guest *g)
{
	return move == LAST_PAGE ? GUEST_USER + g->bytes - 16 : good + (uint64_t)move;
}

/* Either a message is refused, or the ring does not run; nothing is sent. */
static void bad_ring_place(const void *arg)
{
	const struct place_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ .stage = MEMORY });
	struct front_ring r = guest_front_ring(g, TX);
	const struct seg s = { g->free_at, HDR + 60 };
	uint64_t sent = counter(&the_daemon, "tx_packets");
	struct front_ring rx = guest_front_ring(g, RX);
	int rc;

	memset(guest_at(g, g->free_at), 0, 100);
	r.desc = a->how == AS_DESC ? r.desc : place(r.desc, a->desc, g);
	r.avail = a->how == AVAIL_AS_DESC ? r.desc : place(r.avail, a->avail, g);
	r.used = a->how == AS_AVAIL ? r.avail : a->how == AS_DESC ? r.desc : place(r.used, a->used, g);
	for (unsigned i = 0; i < 4; i++)
		ring_post(&g->ring[TX], &s, 1, 0);
	rc = front_start_ring(&g->front, &rx);
	CHECK(!rc, "the good ring is refused: %s", g->front.error);
	rc = front_start_ring(&g->front, &r);
	ring_kick(&g->ring[TX]);
	if (!rc)
		rc = guest_enable(g);
	nap_ms(10);
	CHECK(counter(&the_daemon, "tx_packets") == sent, "packets were sent from such a ring");
	if (rc)
		return;
	CHECK(daemon_number(&the_daemon, "guest.broken") ||
	      daemon_number(&the_daemon, "guest.running") == 0,
	      "accepted, and the ring counts as running");
}

static const struct place_arg bad_places[] = {
	{ "descriptors outside of memory", 1ll << 40, 0, 0, MOVED },
	{ "available ring outside of memory", 0, 1ll << 40, 0, MOVED },
	{ "used ring outside of memory", 0, 0, 1ll << 40, MOVED },
	{ "descriptors that end behind memory", LAST_PAGE, 0, 0, MOVED },
	{ "available ring that ends behind memory", 0, LAST_PAGE, 0, MOVED },
	{ "used ring that ends behind memory", 0, 0, LAST_PAGE, MOVED },
	{ "descriptors before memory", -(1ll << 20), 0, 0, MOVED },
	{ "descriptors at an odd address", 1, 0, 0, MOVED },
	{ "descriptors aligned to 8", 8, 0, 0, MOVED },
	{ "available ring at an odd address", 0, 1, 0, MOVED },
	{ "used ring at an odd address", 0, 0, 1, MOVED },
	{ "used ring aligned to 2", 0, 0, 2, MOVED },
	{ "descriptors whose end wraps", -(int64_t)(GUEST_USER + GUEST_GPA), 0, 0, MOVED },
	{ "used ring whose end wraps", 0, 0, -(int64_t)GUEST_USER - (1ll << 30), MOVED },
	{ "used ring on the available ring", 0, 0, 0, AS_AVAIL },
	{ "used ring on the descriptors", 0, 0, 0, AS_DESC },
	{ "available ring on the descriptors", 0, 0, 0, AVAIL_AS_DESC },
};

/* Two regions; the ring begins in the one and ends in the other, or in a hole. */
static void ring_over_an_edge(const void *arg)
{
	const bool *hole = arg;
	const uint64_t half = MIB, gap = *hole ? MIB : 0;
	struct guest_cfg cfg = { .stage = MEMORY, .n_regions = 2, .regions = {
		{ .gpa = GUEST_GPA, .size = half, .user_addr = GUEST_USER },
		{ .gpa = GUEST_GPA + half + gap, .size = MIB, .user_addr = GUEST_USER + half + gap,
		  .offset = half },
	} };
	struct guest *g = guest_open(&cfg);
	struct front_ring r = guest_front_ring(g, TX);
	int rc;

	r.desc = GUEST_USER + half - 2048;
	rc = front_start_ring(&g->front, &r);
	ring_kick(&g->ring[TX]);
	if (!rc)
		guest_enable(g);
	nap_ms(5);
	if (*hole)
		CHECK(rc || daemon_number(&the_daemon, "guest.broken") ||
		      !daemon_number(&the_daemon, "guest.running"), "accepted, and the ring runs");
	check_in_step(g);
}

/* ---- dirty log ---- */

struct log_arg { const char *what; struct xn_vu_log log; unsigned n_fds; };

static void refused_log(const void *arg)
{
	const struct log_arg *a = arg;
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	int fds[2];

	if (!(g->front.protocol_acked & BIT(XN_VU_P_LOG_SHMFD)))
		skip("LOG_SHMFD is not offered");
	fds[0] = fds[1] = own_fd(memfd(8192, 0, 0));
	check_nack(g, ask(g, XN_VU_SET_LOG_BASE, &a->log, sizeof(a->log), fds, a->n_fds));
}

static void set_log(struct guest *g, int fd, uint64_t bytes, uint64_t offset)
{
	const struct xn_vu_log log = { bytes, offset };
	uint64_t v = g->front.acked | BIT(XN_VU_F_LOG_ALL);

	CHECK(g->front.features & BIT(XN_VU_F_LOG_ALL), "LOG_ALL is not offered");
	check_accepted(ask(g, XN_VU_SET_LOG_BASE, &log, sizeof(log), &fd, 1));
	check_accepted(ask(g, XN_VU_SET_FEATURES, &v, sizeof(v), NULL, 0));
}

static bool dirty(const uint8_t *log, uint64_t gpa)
{
	return log[gpa >> 15] >> (gpa >> 12 & 7) & 1;
}

/* Logging switched on and off in traffic: what is received is marked, and only while on. */
static void log_marks(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t v = g->front.acked;
	int fd = own_fd(memfd(8192, 0, 0));
	uint8_t *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *log = map + 4096;
	struct xn_vu_vring_addr a;
	bool rx = false, used, tx = false, late = false;

	CHECK(map != MAP_FAILED, "mmap: %s", strerror(errno));
	check_loop(g, 8);
	set_log(g, fd, 4096, 4096);
	for (unsigned i = 0; i < 2; i++) {
		const struct ring *r = &g->ring[i];

		a = (struct xn_vu_vring_addr){ i, XN_VU_VRING_LOG, user_of(g, r->desc_gpa),
					       user_of(g, r->used_gpa), user_of(g, r->avail_gpa),
					       r->used_gpa };
		check_accepted(ask(g, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
	}
	memset(map, 0, 8192);
	check_loop(g, 64);
	for (uint64_t at = g->rx_at; at < g->tx_at; at += 4096)
		rx |= dirty(log, at);
	used = dirty(log, g->ring[RX].used_gpa) && dirty(log, g->ring[TX].used_gpa);
	for (uint64_t at = g->tx_at; at < g->free_at; at += 4096)
		tx |= dirty(log, at);
	check_accepted(ask(g, XN_VU_SET_FEATURES, &v, sizeof(v), NULL, 0));
	memset(map, 0, 8192);
	check_loop(g, 16);
	for (unsigned i = 0; i < 8192; i++)
		late |= map[i];
	munmap(map, 8192);
	CHECK(rx, "no receive buffer was marked");
	CHECK(used, "the used rings were not marked");
	CHECK(!tx, "transmit buffers were marked");
	CHECK(!late, "pages were marked although logging is off");
}

/* QEMU waits for an answer to SET_LOG_BASE also where it does not ask for one. */
static void log_is_answered(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ .no_reply_ack = true });
	const struct xn_vu_header h = { XN_VU_SET_LOG_BASE, XN_VU_VERSION, 16 };
	const struct xn_vu_log log = { 4096, 0 };
	int fd = own_fd(memfd(8192, 0, 0));
	struct xn_vu_header back;
	uint64_t v;

	CHECK(!front_send(&g->front, &h, &log, sizeof(log), &fd, 1), "%s", g->front.error);
	CHECK(!front_recv(&g->front, &back, &v, sizeof(v), NULL, NULL, SOON_MS), "no answer: %s",
	      g->front.error);
	CHECK(back.request == XN_VU_SET_LOG_BASE, "answered with %u", back.request);
	check_in_step(g);
}

static void log_beyond(const void *arg)
{
	/* A used ring that says it is logged far behind the log's end. */
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	int fd = own_fd(memfd(8192, 0, 0));
	const struct ring *r = &g->ring[RX];
	struct xn_vu_vring_addr a = { RX, XN_VU_VRING_LOG, user_of(g, r->desc_gpa),
				      user_of(g, r->used_gpa), user_of(g, r->avail_gpa),
				      *(const uint64_t *)arg };

	set_log(g, fd, 4096, 0);
	ask(g, XN_VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	check_in_step(g);
	g->wait_ms = LOST_MS;
	if (g->front.fd >= 0)
		guest_loop(g, 16);
}

static void log_truncated(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	int fd = own_fd(memfd(8192, 0, 0));

	set_log(g, fd, 8192, 0);
	check_loop(g, 8);
	CHECK(!ftruncate(fd, 0), "ftruncate: %s", strerror(errno));
	g->wait_ms = LOST_MS;
	guest_loop(g, 64);
}

/* Memory that the log does not reach to: its pages would be missing where the guest goes. */
static void memory_behind_the_log(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	uint64_t v = g->front.acked;
	const struct xn_vu_mem_reg far = { .region = { 1ull << 30, MIB, GUEST_USER + (1ull << 32), 0 } };
	int log = own_fd(memfd(8192, 0, 0)), more = own_fd(memfd(MIB, 0, 0));

	set_log(g, log, 4096, 0);
	check_loop(g, 8);
	check_nack(g, ask(g, XN_VU_ADD_MEM_REG, &far, sizeof(far), &more, 1));
	check_loop(g, 8);
	check_accepted(ask(g, XN_VU_SET_FEATURES, &v, sizeof(v), NULL, 0));
	check_accepted(ask(g, XN_VU_ADD_MEM_REG, &far, sizeof(far), &more, 1));
	v |= BIT(XN_VU_F_LOG_ALL);
	check_nack(g, ask(g, XN_VU_SET_FEATURES, &v, sizeof(v), NULL, 0));
	check_loop(g, 8);
}

#define NR_HUGE "/proc/sys/vm/nr_hugepages"

static bool read_number(const char *path, long *v)
{
	FILE *f = fopen(path, "re");
	const bool ok = f && fscanf(f, "%ld", v) == 1;

	return f && !fclose(f) && ok;
}

/* False: it has not changed. */
static bool add_to_number(const char *path, long n)
{
	long before, after;
	FILE *f = read_number(path, &before) ? fopen(path, "we") : NULL;

	if (!f)
		return false;
	fprintf(f, "%ld\n", before + n);
	return !fclose(f) && read_number(path, &after) && after == before + n;
}

static void take_huge_page_back(void *arg)
{
	add_to_number(NR_HUGE, -1);
}

/*
 * On huge pages, and not a multiple of them: the kernel maps whole ones, and unmaps nothing
 * less. Each log replaces the one before; the last is truncated in traffic.
 */
static void log_on_huge_pages(const void *arg)
{
	struct guest *g = guest_open(&(struct guest_cfg){ 0 });
	struct footprint before, after;
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	void *p;

	if (fd < 0 || ftruncate(own_fd(fd), 2 << 20))
		skip("no huge pages of 2 MiB");
	p = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED && add_to_number(NR_HUGE, 1)) {
		at_end(take_huge_page_back, NULL);
		p = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	if (p == MAP_FAILED)
		skip("no huge page of 2 MiB is free");
	munmap(p, 2 << 20);
	set_log(g, fd, 4096, 0);
	daemon_footprint(&the_daemon, &before);
	for (unsigned i = 0; i < 20; i++)
		set_log(g, fd, 4096 * (i + 1), 0);
	daemon_footprint(&the_daemon, &after);
	CHECK(after.memfd_maps <= before.memfd_maps, "%u mappings became %u", before.memfd_maps,
	      after.memfd_maps);
	check_loop(g, 8);
	CHECK(!ftruncate(fd, 0), "ftruncate: %s", strerror(errno));
	g->wait_ms = LOST_MS;
	guest_loop(g, 64);
}

/* ---- registration ---- */

static void add_table_cases(void)
{
	static const struct table_arg counts[] = {
		{ 0, 0, 0 }, { 0, 1, 1 }, { 9, 9, 8 }, { 9, 9, 9 }, { UINT32_MAX, 1, 1 },
		{ 0x10000001, 1, 1 }, { 1, 1, 0 }, { 1, 1, 2 }, { 2, 2, 1 }, { 2, 1, 2 }, { 2, 1, 1 },
		{ 8, 2, 8 },
	};
	static const unsigned slot_n[] = { 0, 2, 8 };
	static const struct rem_arg rems[] = {
		{ "that was never there", { 64 * MIB, MIB, GUEST_USER + 64 * MIB, 0 } },
		{ "with another size", { GUEST_GPA, MIB, GUEST_USER, 0 } },
		{ "with another user address", { GUEST_GPA, 2 * MIB, GUEST_USER + 4096, 0 } },
		{ "with another guest address", { 2 * GUEST_GPA, 2 * MIB, GUEST_USER, 0 } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++)
		add_case(refused_count, &counts[i], "V9",
			 "SET_MEM_TABLE of %u regions, %u in the payload, %u fds: NACK",
			 counts[i].nregions, counts[i].in_payload, counts[i].n_fds);
	for (unsigned i = 0; i < ARRAY_SIZE(bad_regions); i++)
		add_case(refused_region, &bad_regions[i], "V10", "SET_MEM_TABLE, a region %s: NACK",
			 bad_regions[i].what);
	for (unsigned i = 0; i < ARRAY_SIZE(bad_regions); i++)
		add_case(refused_slot, &bad_regions[i], "V15", "ADD_MEM_REG, a region %s: NACK",
			 bad_regions[i].what);
	for (unsigned i = 0; i < ARRAY_SIZE(slot_n); i++)
		add_case(slot_fds, &slot_n[i], "V15", "ADD_MEM_REG with %u fds: NACK", slot_n[i]);
	add_case(too_many_slots, NULL, "V15", "ADD_MEM_REG: as many as are told of, and no more");
	for (unsigned i = 0; i < ARRAY_SIZE(rems); i++)
		add_case(refused_removal, &rems[i], "V15", "REM_MEM_REG of a region %s: NACK",
			 rems[i].what);
	add_case(slots_come_and_go, NULL, "V15", "slots come and go in traffic");
	add_case(slot_of_rings_removed, NULL, "V15", "the slot with the rings is removed");
	add_case(table_again, NULL, "V21", "the same memory table again, in traffic");
	add_case(table_without_rings, NULL, "V21", "a memory table in which the rings are not");
	add_case(tmpfs_file, NULL, "V20", "a file of tmpfs is memory");
	add_case(hugetlb_without_pages, NULL, "V20", "hugetlb without pages: NACK");
}

static void add_kind_cases(void)
{
	static const struct { uint32_t request; const char *name; } events[] = {
		{ XN_VU_SET_VRING_KICK, "SET_VRING_KICK" }, { XN_VU_SET_VRING_CALL, "SET_VRING_CALL" },
		{ XN_VU_SET_VRING_ERR, "SET_VRING_ERR" },
	};
	static struct event_arg args[3 * ARRAY_SIZE(kinds)];

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		add_case(memory_of_kind, &kinds[i], "V20", "SET_MEM_TABLE with %s: NACK", kinds[i].name);
		add_case(slot_of_kind, &kinds[i], "V20", "ADD_MEM_REG with %s: NACK", kinds[i].name);
		add_case(log_of_kind, &kinds[i], "V24", "SET_LOG_BASE with %s: NACK", kinds[i].name);
		add_case(inflight_of_kind, &kinds[i], "V28", "SET_INFLIGHT_FD with %s: NACK",
			 kinds[i].name);
	}
	for (unsigned e = 0; e < ARRAY_SIZE(events); e++)
		for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
			struct event_arg *a = &args[e * ARRAY_SIZE(kinds) + i];

			*a = (struct event_arg){ events[e].request, TX, &kinds[i] };
			add_case(event_of_kind, a, "V4", "%s with %s%s", events[e].name, kinds[i].name,
				 kinds[i].no_event ? ": NACK" : "");
		}
}

void add_mem_cases(void)
{
	static const bool hole = true, no_hole = false;
	static const struct log_arg logs[] = {
		{ "of no byte", { 0, 0 }, 1 },
		{ "whose size and offset wrap", { -4096ull, 8192 }, 1 },
		{ "that begins behind the file", { 4096, 1 << 20 }, 1 },
		{ "that ends behind the file", { 8192, 4096 }, 1 },
		{ "of 2^63 bytes", { 1ull << 63, 0 }, 1 },
		{ "shorter than the guest", { 1, 0 }, 1 },
		{ "without an fd", { 4096, 0 }, 0 },
		{ "with two fds", { 4096, 0 }, 2 },
	};
	static const uint64_t far[] = { 1ull << 40, UINT64_MAX, 4096ull << 15 };

	add_table_cases();
	add_kind_cases();
	for (unsigned i = 0; i < ARRAY_SIZE(bad_places); i++)
		add_case(bad_ring_place, &bad_places[i], i < 14 ? "V14" : "G29", "ring: %s",
			 bad_places[i].what);
	add_case(ring_over_an_edge, &hole, "V14", "ring: descriptors that end in a hole");
	add_case(ring_over_an_edge, &no_hole, "V14", "ring: descriptors in two neighbouring regions");
	for (unsigned i = 0; i < ARRAY_SIZE(logs); i++)
		add_case(refused_log, &logs[i], "V24", "SET_LOG_BASE, a log %s: NACK", logs[i].what);
	add_case(log_marks, NULL, "V24", "dirty log: what is received is marked, while it is on");
	add_case(log_is_answered, NULL, "V24", "SET_LOG_BASE is answered without REPLY_ACK");
	for (unsigned i = 0; i < ARRAY_SIZE(far); i++)
		add_case(log_beyond, &far[i], "V25", "dirty log: used ring logged at %#llx",
			 (unsigned long long)far[i]);
	add_case(log_truncated, NULL, "V24", "dirty log truncated in traffic");
	add_case(memory_behind_the_log, NULL, "V24", "ADD_MEM_REG behind the end of the dirty log: NACK");
	add_case(log_on_huge_pages, NULL, "V24", "dirty log on huge pages, truncated in traffic");
}
