/* SPDX-License-Identifier: BSD-2-Clause */
/* A test bed for kernel facts. Contract in bed.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "tests/cmocka.h"
#include "base/log.h"
#include "tests/kernel/bed.h"

#define TEST_TYPE  0x88b5   /* IEEE 802 local experimental */
#define NS_PER_MS  1000000ull
#define CHILD_S    120u
#define STEER_MAX  70000u   /* longer than anything here: the program drops nothing */
#define FRAGS_MTU  3000u    /* above it the program takes frames of several parts */

void bed_must(int err, const char *what)
{
	if (err)
		fail_msg("%s: %s", what, xn_last_error());
}

static void pause_a_little(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

/* ---- life cycle ---- */

static void open_far(struct bed *b)
{
	struct sockaddr_ll sa = { .sll_family = AF_PACKET, .sll_protocol = htons(TEST_TYPE),
				  .sll_ifindex = (int)b->lab.far_ifindex };
	int one = 1;

	bed_must(xn_lab_enter_far(&b->lab), "enter far");
	b->far = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(TEST_TYPE));
	assert_true(b->far >= 0);
	assert_int_equal(bind(b->far, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(b->far, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
}

void bed_open(struct bed *b, unsigned queues)
{
	bed_open_mtu(b, queues, 0);
}

void bed_open_mtu(struct bed *b, unsigned queues, unsigned mtu)
{
	*b = (struct bed){ .x.fd = -1, .far = -1 };
	b->lab = (struct xn_lab){ .home_ns = -1, .near_ns = -1, .far_ns = -1 };
	bed_must(xn_lab_create(&b->lab, &(struct xn_lab_cfg){ .queues = queues, .mtu = mtu }), "xn_lab_create");
	b->ram = mmap(NULL, BED_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	b->want = malloc(BED_RAM);
	assert_true(b->ram != MAP_FAILED && b->want);
	for (uint32_t i = 0; i < BED_RAM; i++)
		b->want[i] = (uint8_t)(i * 167u + (i >> 8) * 13u + 1);
	memcpy(b->ram, b->want, BED_RAM);
	b->mem = (struct xn_mem){
		.base = b->ram, .umem_bytes = BED_RAM, .map_bytes = BED_RAM, .n_spans = 1,
		.spans = { { .gpa = 0x40000000, .bytes = BED_RAM } },
	};
	open_far(b);
	bed_must(xn_lab_enter_near(&b->lab), "enter near");
}

void bed_close(struct bed *b)
{
	xn_steer_close(b->steer);
	xn_xsk_close(&b->x);
	if (b->far >= 0)
		close(b->far);
	if (b->lab.home_ns >= 0)
		xn_lab_leave(&b->lab);
	xn_lab_destroy(&b->lab);
	if (b->ram && b->ram != MAP_FAILED)
		munmap(b->ram, BED_RAM);
	free(b->want);
	*b = (struct bed){ .x.fd = -1, .far = -1 };
}

struct xn_xsk_cfg bed_cfg(const struct bed *b)
{
	return (struct xn_xsk_cfg){
		.ifindex = b->lab.near_ifindex, .ifname = XN_LAB_NEAR, .mem = &b->mem,
		.frame_bytes = BED_FRAME, .mode = XN_XSK_COPY, .share_fd = -1, .spare_fd = -1,
		.fill_size = BED_FILL, .rx_size = BED_RX, .tx_size = BED_TX, .comp_size = BED_COMP,
		.tx_budget = BED_TX,
	};
}

void bed_socket(struct bed *b, const struct xn_xsk_cfg *cfg)
{
	const struct xn_xsk_cfg usual = bed_cfg(b);
	const struct xn_steer_cfg steer = { .ifindex = b->lab.near_ifindex, .ifname = XN_LAB_NEAR,
					    .frame_bytes = STEER_MAX, .frags = b->lab.cfg.mtu > FRAGS_MTU };

	bed_must(xn_xsk_open(&b->x, cfg ? cfg : &usual), "xn_xsk_open");
	bed_must(xn_steer_open(&b->steer, &steer), "xn_steer_open");
	bed_must(xn_steer_set(b->steer, 0, b->x.fd), "xn_steer_set");
}

/* ---- rings ---- */

void bed_fill(struct xn_xsk *x, const uint64_t *addr, unsigned n)
{
	uint32_t idx = 0;

	assert_int_equal(xsk_ring_prod__reserve(&x->fill, n, &idx), n);
	for (unsigned i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&x->fill, idx + i) = addr[i];
	xsk_ring_prod__submit(&x->fill, n);
}

static bool rx_next(struct xn_xsk *x, struct xdp_desc *d, unsigned ms)
{
	uint64_t end = xn_now_ns() + ms * NS_PER_MS;
	uint32_t idx;

	do {
		if (xsk_ring_cons__peek(&x->rx, 1, &idx)) {
			*d = *xsk_ring_cons__rx_desc(&x->rx, idx);
			xsk_ring_cons__release(&x->rx, 1);
			return true;
		}
		pause_a_little();
	} while (xn_now_ns() < end);
	return false;
}

struct xdp_desc bed_rx(struct xn_xsk *x)
{
	struct xdp_desc d = { 0 };

	if (!rx_next(x, &d, BED_WAIT_MS))
		fail_msg("no frame came");
	return d;
}

bool bed_rx_none(struct xn_xsk *x, unsigned ms)
{
	struct xdp_desc d;

	return !rx_next(x, &d, ms);
}

void bed_wait_full(struct xn_xsk *x, unsigned frames)
{
	uint64_t end = xn_now_ns() + BED_WAIT_MS * NS_PER_MS;
	struct xdp_statistics st;

	do {
		xn_xsk_statistics(x, &st);
		if (xn_now_ns() > end)
			fail_msg("the RX ring was full for %llu frames, and should be for %u",
				 (unsigned long long)st.rx_ring_full, frames);
	} while (st.rx_ring_full < frames);
}

void bed_tx(struct xn_xsk *x, const struct xdp_desc *d, unsigned n)
{
	uint32_t idx = 0;

	assert_int_equal(xsk_ring_prod__reserve(&x->tx, n, &idx), n);
	for (unsigned i = 0; i < n; i++)
		*xsk_ring_prod__tx_desc(&x->tx, idx + i) = d[i];
	xsk_ring_prod__submit(&x->tx, n);
}

int bed_send(struct xn_xsk *x, unsigned *calls)
{
	uint64_t end = xn_now_ns() + BED_WAIT_MS * NS_PER_MS;
	unsigned n = 0;
	int err;

	do {
		err = x->send(x);
		n++;
	} while (err == -EAGAIN && xn_now_ns() < end);
	if (calls)
		*calls = n;
	return err;
}

unsigned bed_comp(struct xn_xsk *x, uint64_t *addr, unsigned max, unsigned least)
{
	uint64_t end = xn_now_ns() + BED_WAIT_MS * NS_PER_MS;
	unsigned got = 0;
	uint32_t idx;

	do {
		unsigned n = xsk_ring_cons__peek(&x->comp, max - got, &idx);

		for (unsigned i = 0; i < n; i++)
			addr[got++] = *xsk_ring_cons__comp_addr(&x->comp, idx + i);
		xsk_ring_cons__release(&x->comp, n);
		if (!n && got < least)
			pause_a_little();
	} while (got < least && xn_now_ns() < end);
	return got;
}

/* ---- frames ---- */

void bed_frame(const struct bed *b, uint8_t *f, uint32_t bytes, uint32_t seed)
{
	static const uint8_t type[2] = { TEST_TYPE >> 8, TEST_TYPE & 0xff };
	uint8_t head[14];

	memcpy(head, b->lab.near_mac, 6);
	memcpy(head + 6, b->lab.far_mac, 6);
	memcpy(head + 12, type, 2);
	for (uint32_t i = 0; i < bytes; i++)
		f[i] = i < sizeof(head) ? head[i] : (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

void bed_far_send(const struct bed *b, const uint8_t *f, uint32_t bytes)
{
	if (send(b->far, f, bytes, 0) != (ssize_t)bytes)
		fail_msg("far end cannot send %u bytes: %s", bytes, strerror(errno));
}

uint32_t bed_far_recv(const struct bed *b, uint8_t *f, uint32_t max, unsigned ms)
{
	struct pollfd p = { .fd = b->far, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, (int)ms) != 1)
		return 0;
	n = recv(b->far, f, max, 0);
	return n > 0 ? (uint32_t)n : 0;
}

/* ---- memory ---- */

void bed_wrote(struct bed *b, uint64_t at, const void *bytes, uint32_t n)
{
	memcpy(b->want + at, bytes, n);
}

void bed_put(struct bed *b, uint64_t at, const void *bytes, uint32_t n)
{
	memcpy(b->ram + at, bytes, n);
	memcpy(b->want + at, bytes, n);
}

void bed_check(const struct bed *b)
{
	for (uint32_t i = 0; i < BED_RAM; i++)
		if (b->ram[i] != b->want[i])
			fail_msg("byte 0x%x of the UMEM is 0x%02x, and should be 0x%02x", i,
				 b->ram[i], b->want[i]);
}

/* ---- the steering program alone ---- */

/* The least that an XSKMAP takes: a UMEM, a fill and an RX ring. */
static void open_socket(struct bed_prog *b)
{
	static const int rings[] = { XDP_UMEM_FILL_RING, XDP_RX_RING };
	struct xdp_umem_reg reg;
	int entries = 64;

	b->umem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(b->umem != MAP_FAILED);
	memset(&reg, 0, sizeof(reg));
	reg.addr = (uintptr_t)b->umem;
	reg.len = reg.chunk_size = 4096;
	b->xsk = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(b->xsk >= 0);
	assert_int_equal(setsockopt(b->xsk, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)), 0);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(rings); i++)
		assert_int_equal(setsockopt(b->xsk, SOL_XDP, rings[i], &entries, sizeof(entries)), 0);
}

void bed_prog_open(struct bed_prog *b, unsigned queues)
{
	*b = (struct bed_prog){ .prog = -1, .xsk = -1,
				.lab = { .home_ns = -1, .near_ns = -1, .far_ns = -1 } };
	bed_must(xn_lab_create(&b->lab, &(struct xn_lab_cfg){ .queues = queues }), "xn_lab_create");
	bed_must(xn_lab_enter_near(&b->lab), "enter near");
	open_socket(b);
}

void bed_prog_close(struct bed_prog *b)
{
	if (b->prog >= 0)
		close(b->prog);
	xn_steer_close(b->steer);
	b->steer = NULL;
	if (b->xsk >= 0)
		close(b->xsk);
	munmap(b->umem, 4096);
	xn_lab_leave(&b->lab);
	xn_lab_destroy(&b->lab);
}

int bed_program_of(unsigned ifindex)
{
	uint32_t id = 0;
	int fd;

	assert_int_equal(bpf_xdp_query_id((int)ifindex, 0, &id), 0);
	fd = bpf_prog_get_fd_by_id(id);
	assert_true(fd >= 0);
	return fd;
}

void bed_prog_attach(struct bed_prog *b, const struct xn_steer_cfg *cfg)
{
	bed_must(xn_steer_open(&b->steer, cfg), "xn_steer_open");
	b->prog = bed_program_of(b->lab.near_ifindex);
}

uint32_t bed_run(const struct bed_prog *b, int prog, const uint8_t *frame, unsigned bytes,
		 unsigned queue, unsigned repeat, uint32_t *ns)
{
	struct xdp_md ctx = { .data_end = bytes, .ingress_ifindex = b->lab.near_ifindex,
			      .rx_queue_index = queue };
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = bytes,
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = (int)repeat);

	if (bpf_prog_test_run_opts(prog, &o))
		fail_msg("BPF_PROG_TEST_RUN, %u bytes on queue %u: %s", bytes, queue, strerror(errno));
	if (ns)
		*ns = o.duration;
	return o.retval;
}

/* ---- processes ---- */

static void drop_capabilities(uint64_t drop)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		_exit(98);
	for (unsigned i = 0; i < 2; i++) {
		data[i].effective &= ~(uint32_t)(drop >> 32 * i);
		data[i].permitted &= ~(uint32_t)(drop >> 32 * i);
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &head, data))
		_exit(98);
}

int bed_child(int (*fn)(void *arg), void *arg, uint64_t drop_caps)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(CHILD_S);
		drop_capabilities(drop_caps);
		_exit(fn(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
