/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One AF_XDP socket: set-up and end (contract in xsk/xsk.h).
 *
 *	socket -> UMEM registered -> ring sizes -> options -> rings mapped -> bind
 *	   |      (not when shared)                                |
 *	 close  <-------------------- unmap -----------------------+
 *
 * Everything between socket and close is undone by unmapping the rings and closing:
 * xn_xsk_close is the one way back from every step. A ring that stays mapped keeps
 * the whole socket alive, and its queue taken, after close() (Linux net/xdp/xsk.c,
 * xsk_mmap: the mapping holds the file).
 *
 * After that the rings are memory, and the accessors of xdp/xsk.h all there is. The
 * order of accesses on them is theirs (Linux net/xdp/xsk_queue.h):
 *
 *	producer                            consumer
 *	load-acquire consumer: room?        load-acquire producer: entries?
 *	write entries                       read entries
 *	store-release producer  ----------> ^
 *	^  <------------------------------- store-release consumer
 *
 * Not done here: steering (bpf/steer.c), and any decision about buffers (port/).
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "xsk/xsk.h"

#define BUSY_MS_DEFAULT  2000u
#define UNPIN_MS         500u
#define BUSY_PAUSE_NS    1000000
#define NS_PER_MS        1000000ull
#define TX_BUDGET_MIN    32u          /* Linux net/xdp/xsk.c, TX_BATCH_SIZE */
#define SNDBUF_BYTES     (1 << 29)    /* the kernel doubles it; the limit is INT_MAX */

enum { MAP_FILL, MAP_COMP, MAP_RX, MAP_TX };

/* ---- messages ---- */

static int fail_socket(int err, const char *ifname, uint32_t spares_spent)
{
	switch (err) {
	case EPERM:
	case EACCES:
		if (spares_spent)
			return xn_fail(EPERM, "%s: the spare sockets are used up (%u starts), and a new "
				       "one needs CAP_NET_RAW: restart this program, and open more of "
				       "them", ifname, spares_spent);
		return xn_fail(EPERM, "%s: opening an AF_XDP socket needs CAP_NET_RAW in this "
			       "network namespace", ifname);
	case EAFNOSUPPORT:
		return xn_fail(EOPNOTSUPP, "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)");
	case EMFILE:
		return xn_fail(EMFILE, "%s: no AF_XDP socket: raise the limit of open files "
			       "(ulimit -n, systemd LimitNOFILE=)", ifname);
	}
	return xn_fail(err, "%s: AF_XDP socket: %s", ifname, strerror(err));
}

static int fail_memlock(const struct xn_mem *mem)
{
	/* What the limit is now is not said: a program that has shut itself in may not ask. */
	return xn_fail(ENOBUFS, "guest memory: %" PRIu64 " bytes have to be pinned, and the limit "
		       "of locked memory (RLIMIT_MEMLOCK, all processes of the user together) is "
		       "less: raise it (ulimit -l %" PRIu64 ", systemd LimitMEMLOCK=) or give "
		       "CAP_IPC_LOCK", mem->umem_bytes,
		       XN_ALIGN_UP(mem->umem_bytes, 1024) / 1024);
}

static int fail_bind(int err, const struct xn_xsk_cfg *cfg)
{
	const char *why = strerror(err);

	switch (err) {
	case EBUSY:
		why = "the queue is taken by another AF_XDP socket (ss --xdp shows whose)";
		break;
	case EOPNOTSUPP:
		if (cfg->mode == XN_XSK_ZERO_COPY)
			why = "the driver has no zero-copy AF_XDP (mode=copy works with all)";
		break;
	case ENODEV:
		why = "there is no such interface";
		break;
	case EINVAL:
		if (cfg->sg)
			why = "no such queue (ethtool -l shows how many there are), or the kernel has no "
			      "frames of several pieces for AF_XDP, which is since Linux 6.6: a smaller MTU";
		else
			why = cfg->mode == XN_XSK_ZERO_COPY ?
			      "no such queue, or the driver refuses zero-copy for this MTU and frame size" :
			      "no such queue (ethtool -l shows how many there are)";
		break;
	case ENOMEM:
		why = "no memory for the kernel's tables (3.3 % of the memory registered)";
		break;
	}
	return xn_fail(err, "%s queue %u: %s", cfg->ifname, cfg->queue, why);
}

/* ---- UMEM ---- */

static int umem_register(int fd, const uint8_t *addr, uint64_t bytes, uint32_t chunk_bytes,
			 uint32_t frame_bytes)
{
	/* memset, not an initialiser: newer kernels read what is padding in older headers. */
	struct xdp_umem_reg reg;

	memset(&reg, 0, sizeof(reg));
	reg.addr = (uintptr_t)addr;
	reg.len = bytes;
	reg.chunk_size = chunk_bytes;
	reg.headroom = chunk_bytes - XN_XDP_HEADROOM - frame_bytes;
	reg.flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG;
	return setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)) ? -errno : 0;
}

static int xdp_socket(void)
{
	return socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
}

/* Can this part be pinned? No, if the kernel says EFAULT, or `also`. Asked on a
 * socket of its own; nothing stays. */
static bool can_pin(const struct xn_mem *mem, uint64_t at, uint64_t bytes, int also)
{
	int fd = xdp_socket(), err;

	if (fd < 0)
		return true;
	err = umem_register(fd, mem->base + at, bytes, XN_CHUNK_BYTES, XN_FRAME_BYTES_MAX);
	close(fd);
	return err != -EFAULT && err != also;
}

/*
 * The first page that cannot be pinned. The kernel does not say which it is: EFAULT
 * if it is the first of all, ENOMEM if some before it could be (Linux
 * net/xdp/xdp_umem.c, xdp_umem_pin_pages). Each step halves what is in question.
 */
static uint64_t find_unpinnable(const struct xn_mem *mem)
{
	uint64_t good = 0, bad = mem->umem_bytes / XN_PAGE_SIZE;

	while (bad - good > 1) {
		uint64_t half = (bad - good) / 2;

		if (can_pin(mem, good * XN_PAGE_SIZE, half * XN_PAGE_SIZE, -ENOMEM))
			good += half;
		else
			bad = good + half;
	}
	return good * XN_PAGE_SIZE;
}

static int fail_pin(const struct xn_mem *mem, int err, bool may_open)
{
	uint64_t at;

	/* Which page it is can be found out only with sockets to try it on. Who brings
	 * spare ones has given up the right to open others. */
	if (!may_open || !xn_probe_af_xdp())
		return xn_fail(err, "guest memory cannot be pinned (it has to be writable, and "
			       "memfd, tmpfs or hugetlbfs), or memory is short for the kernel's "
			       "tables of its %" PRIu64 " bytes", mem->umem_bytes);
	at = find_unpinnable(mem);
	if (can_pin(mem, at, XN_PAGE_SIZE, -EFAULT))   /* then it is memory that is short */
		return xn_fail(ENOMEM, "no memory for the kernel's tables of %" PRIu64 " bytes of "
			       "guest memory", mem->umem_bytes);
	for (unsigned i = 0; i < mem->n_spans; i++) {
		const struct xn_span *s = &mem->spans[i];

		if (at - s->uoff < s->bytes)
			return xn_fail(EFAULT, "guest memory at 0x%" PRIx64 " cannot be pinned: it "
				       "has to be writable, and memfd, tmpfs, hugetlbfs or "
				       "anonymous (not a file on a disk)", s->gpa + (at - s->uoff));
	}
	return xn_fail(EFAULT, "memory of the engine cannot be pinned");
}

/*
 * What a socket had pinned counts for some ms after it was closed, or its process was
 * killed, since the kernel unpins it from a work queue (Linux net/xdp/xdp_umem.c,
 * xdp_umem_release_deferred): under a limit that fits a guest once, a restart has to wait.
 */
static int register_retrying(const struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	const struct timespec pause = { .tv_nsec = BUSY_PAUSE_NS };
	uint64_t deadline = xn_now_ns() + UNPIN_MS * NS_PER_MS;
	int err;

	for (;;) {
		err = umem_register(x->fd, cfg->mem->base, cfg->mem->umem_bytes, x->chunk_bytes,
				    x->frame_bytes);
		if (err != -ENOBUFS || xn_now_ns() >= deadline)
			return err;
		nanosleep(&pause, NULL);
	}
}

static int add_umem(const struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	const struct xn_mem *mem = cfg->mem;
	int err = register_retrying(x, cfg);

	switch (-err) {
	case 0:
		return 0;
	case ENOBUFS:
		return fail_memlock(mem);
	case EFAULT:
	case ENOMEM:
		return fail_pin(mem, -err, cfg->spare_fd < 0);
	}
	return xn_fail(-err, "guest memory (%" PRIu64 " bytes) as UMEM: %s%s", mem->umem_bytes,
		       strerror(-err), err == -EINVAL ? " (unaligned chunks need Linux 5.4)" : "");
}

/* ---- rings ---- */

/* Of size 0: none. */
static int size_rings(const struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	const struct { int opt; uint32_t entries; const char *name; } rings[] = {
		{ XDP_UMEM_FILL_RING, cfg->fill_size, "fill" },
		{ XDP_UMEM_COMPLETION_RING, cfg->comp_size, "completion" },
		{ XDP_RX_RING, cfg->rx_size, "rx" },
		{ XDP_TX_RING, cfg->tx_size, "tx" },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(rings); i++)
		if (rings[i].entries && setsockopt(x->fd, SOL_XDP, rings[i].opt, &rings[i].entries,
			       sizeof(rings[i].entries)))
			return xn_fail(errno, "%s queue %u: %s ring of %u entries: %s", cfg->ifname,
				       cfg->queue, rings[i].name, rings[i].entries,
				       strerror(errno));
	return 0;
}

/* Maps one ring. NULL: failed, errno is set. */
static uint8_t *map_ring(struct xn_xsk *x, unsigned i, uint64_t pgoff, uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, x->fd,
		       (off_t)pgoff);

	if (p == MAP_FAILED)
		return NULL;
	x->maps[i].p = p;
	x->maps[i].bytes = bytes;
	return p;
}

/* Both kinds of ring have the same members; p: where it is mapped. */
#define RING_AT(type, p, off, entries) (type){ \
		.size = (entries), .mask = (entries) - 1, \
		.producer = (uint32_t *)((p) + (off)->producer), \
		.consumer = (uint32_t *)((p) + (off)->consumer), \
		.flags = (uint32_t *)((p) + (off)->flags), \
		.ring = (p) + (off)->desc, \
	}

static int map_prod(struct xn_xsk *x, struct xsk_ring_prod *r, unsigned i, uint64_t pgoff,
		    const struct xdp_ring_offset *off, uint32_t entries, size_t entry_bytes)
{
	uint8_t *p = map_ring(x, i, pgoff, off->desc + entries * entry_bytes);

	if (!p)
		return -errno;
	*r = RING_AT(struct xsk_ring_prod, p, off, entries);
	r->cached_prod = *r->producer;
	/* Of a producer's ring it is `size` ahead: saves an addition for each reserve. */
	r->cached_cons = *r->consumer + entries;
	return 0;
}

static int map_cons(struct xn_xsk *x, struct xsk_ring_cons *r, unsigned i, uint64_t pgoff,
		    const struct xdp_ring_offset *off, uint32_t entries, size_t entry_bytes)
{
	uint8_t *p = map_ring(x, i, pgoff, off->desc + entries * entry_bytes);

	if (!p)
		return -errno;
	*r = RING_AT(struct xsk_ring_cons, p, off, entries);
	r->cached_prod = *r->producer;
	r->cached_cons = *r->consumer;
	return 0;
}

static int map_rx_only(struct xn_xsk *x, const struct xn_xsk_cfg *cfg,
		       const struct xdp_mmap_offsets *off)
{
	return map_cons(x, &x->rx, MAP_RX, XDP_PGOFF_RX_RING, &off->rx, cfg->rx_size,
			sizeof(struct xdp_desc));
}

static int map_rings(struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	struct xdp_mmap_offsets off;
	socklen_t bytes = sizeof(off);
	int err;

	if (getsockopt(x->fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &bytes))
		err = -errno;
	else if (bytes != sizeof(off))     /* before Linux 5.4: no flags words */
		err = -EOPNOTSUPP;
	else if (!cfg->fill_size)
		err = map_rx_only(x, cfg, &off);
	else if (!(err = map_prod(x, &x->fill, MAP_FILL, XDP_UMEM_PGOFF_FILL_RING, &off.fr,
				  cfg->fill_size, sizeof(uint64_t))) &&
		 !(err = map_cons(x, &x->comp, MAP_COMP, XDP_UMEM_PGOFF_COMPLETION_RING, &off.cr,
				  cfg->comp_size, sizeof(uint64_t))) &&
		 !(err = map_rx_only(x, cfg, &off)))
		err = map_prod(x, &x->tx, MAP_TX, XDP_PGOFF_TX_RING, &off.tx,
			       cfg->tx_size, sizeof(struct xdp_desc));
	return err ? xn_fail(-err, "%s queue %u: mapping the rings: %s", cfg->ifname, cfg->queue,
			     strerror(-err)) : 0;
}

/* ---- options: none of them is vital ---- */

/*
 * Each packet on its way counts about 800 bytes and more of SO_SNDBUF, whose default
 * lets 256 small ones be under way (Linux net/core/sock.c, sock_alloc_send_pskb).
 */
static void raise_sndbuf(int fd, const char *ifname)
{
	int bytes = SNDBUF_BYTES;

	if (!setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
		return;
	if (!setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)))
		xn_log(XN_LOG_DEBUG, "%s: no CAP_NET_ADMIN: send buffer limited by "
		       "net.core.wmem_max", ifname);
}

static void set_budget(const struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	uint32_t n = XN_MAX(XN_MIN(cfg->tx_budget, cfg->tx_size), TX_BUDGET_MIN);

	if (!cfg->tx_budget || cfg->tx_size < TX_BUDGET_MIN)
		return;
	if (setsockopt(x->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &n, sizeof(n)))
		xn_log(XN_LOG_DEBUG, "%s queue %u: a system call sends %u packets (more needs "
		       "Linux 6.17): %s", cfg->ifname, cfg->queue, TX_BUDGET_MIN, strerror(errno));
}

/* ---- bind ---- */

/* A queue stays taken for some 10 ms after its last socket was closed: the kernel
 * gives it back from a work queue (Linux net/xdp/xsk_buff_pool.c, xp_put_pool). */
static int bind_retrying(int fd, const struct sockaddr_xdp *addr, uint32_t busy_ms)
{
	const struct timespec pause = { .tv_nsec = BUSY_PAUSE_NS };
	uint64_t deadline = xn_now_ns() + busy_ms * NS_PER_MS;

	while (bind(fd, (const struct sockaddr *)addr, sizeof(*addr))) {
		if (errno != EBUSY || xn_now_ns() >= deadline)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static int bind_queue(struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP,
		.sxdp_ifindex = cfg->ifindex,
		.sxdp_queue_id = cfg->queue,
		.sxdp_flags = XDP_USE_NEED_WAKEUP,
	};
	int err;

	if (cfg->share_fd >= 0) {   /* takes no other flag: all is as on the first socket */
		addr.sxdp_flags = XDP_SHARED_UMEM;
		addr.sxdp_shared_umem_fd = (uint32_t)cfg->share_fd;
	} else if (cfg->mode == XN_XSK_COPY) {
		addr.sxdp_flags |= XDP_COPY;
	} else if (cfg->mode == XN_XSK_ZERO_COPY) {
		addr.sxdp_flags |= XDP_ZEROCOPY;
	}
	if (cfg->sg && cfg->share_fd < 0)
		addr.sxdp_flags |= XDP_USE_SG;
	err = bind_retrying(x->fd, &addr, cfg->busy_ms ? cfg->busy_ms : BUSY_MS_DEFAULT);
	return err ? fail_bind(-err, cfg) : 0;
}

/* Asked for neither, the kernel chooses, and falls back without a word. */
static int read_mode(struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	struct xdp_options opt = { 0 };
	socklen_t bytes = sizeof(opt);

	if (getsockopt(x->fd, SOL_XDP, XDP_OPTIONS, &opt, &bytes))
		return xn_fail(errno, "%s queue %u: XDP_OPTIONS: %s", cfg->ifname, cfg->queue,
			       strerror(errno));
	x->zero_copy = opt.flags & XDP_OPTIONS_ZEROCOPY;
	if (cfg->mode != XN_XSK_AUTO && x->zero_copy != (cfg->mode == XN_XSK_ZERO_COPY))
		return xn_fail(EOPNOTSUPP, "%s queue %u: %s mode asked for, but the queue whose "
			       "UMEM it shares is in %s mode", cfg->ifname, cfg->queue,
			       x->zero_copy ? "copy" : "zero-copy",
			       x->zero_copy ? "zero-copy" : "copy");
	return 0;
}

/* ---- the socket ---- */

static int send_socket(struct xn_xsk *x)
{
	return sendto(x->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 ? -errno : 0;
}

static void check_cfg(const struct xn_xsk_cfg *cfg, uint32_t chunk_bytes)
{
	assert(chunk_bytes == 2048 || chunk_bytes == 4096);   /* powers of two: any driver takes */
	assert(cfg->frame_bytes >= XN_FRAME_BYTES_MIN);
	assert(cfg->frame_bytes <= chunk_bytes - XN_XDP_HEADROOM);
	assert(xn_is_pow2(cfg->fill_size) && xn_is_pow2(cfg->rx_size));
	assert(xn_is_pow2(cfg->tx_size) && xn_is_pow2(cfg->comp_size));
	assert(!cfg->sg || cfg->mode == XN_XSK_COPY);   /* skb_shared_info: xsk/xsk.h */
	assert(cfg->rx_size > cfg->fill_size || cfg->mode == XN_XSK_ZERO_COPY);
}

static int open_socket(int *fd, const char *ifname, uint32_t spares_spent)
{
	*fd = xdp_socket();
	if (*fd < 0)
		return fail_socket(errno, ifname, spares_spent);
	raise_sndbuf(*fd, ifname);
	return 0;
}

int xn_xsk_socket(int *fd, const char *ifname)
{
	return open_socket(fd, ifname, 0);
}

int xn_xsk_open(struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	const uint32_t chunk_bytes = cfg->chunk_bytes ? cfg->chunk_bytes : XN_CHUNK_BYTES;
	int err;

	check_cfg(cfg, chunk_bytes);
	*x = (struct xn_xsk){
		.send = send_socket, .statistics = xn_xsk_statistics,
		.chunk_bytes = chunk_bytes, .frame_bytes = cfg->frame_bytes,
		.land = chunk_bytes - cfg->frame_bytes,
		.fd = cfg->spare_fd,
	};
	if (x->fd < 0) {
		err = open_socket(&x->fd, cfg->ifname, cfg->spares_spent);
		if (err)
			goto out_close;
	}
	if (cfg->share_fd < 0) {
		err = add_umem(x, cfg);
		if (err)
			goto out_close;
	}
	err = size_rings(x, cfg);
	if (err)
		goto out_close;
	set_budget(x, cfg);
	err = map_rings(x, cfg);
	if (err)
		goto out_close;
	err = bind_queue(x, cfg);
	if (err)
		goto out_close;
	err = read_mode(x, cfg);
	if (!err)
		return 0;
out_close:
	xn_xsk_close(x);
	return err;
}

int xn_xsk_open_rx(struct xn_xsk *x, const struct xn_xsk *of, const struct xn_xsk_cfg *cfg)
{
	const struct xn_xsk_cfg rx = {
		.ifindex = cfg->ifindex, .queue = cfg->queue, .ifname = cfg->ifname,
		.rx_size = cfg->rx_size, .mode = of->zero_copy ? XN_XSK_ZERO_COPY : XN_XSK_COPY,
		.share_fd = of->fd, .spare_fd = cfg->spare_fd, .spares_spent = cfg->spares_spent,
	};
	int err = 0;

	assert(xn_is_pow2(rx.rx_size));
	*x = (struct xn_xsk){
		.send = of->send, .statistics = of->statistics, .chunk_bytes = of->chunk_bytes,
		.frame_bytes = of->frame_bytes, .land = of->land, .fd = rx.spare_fd,
	};
	if (x->fd < 0)
		err = open_socket(&x->fd, rx.ifname, rx.spares_spent);
	if (!err)
		err = size_rings(x, &rx);
	if (!err)
		err = map_rings(x, &rx);
	if (!err)
		err = bind_queue(x, &rx);
	if (!err)
		err = read_mode(x, &rx);
	if (err)
		xn_xsk_close(x);
	return err;
}

void xn_xsk_close(struct xn_xsk *x)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(x->maps); i++)
		if (x->maps[i].p)
			munmap(x->maps[i].p, x->maps[i].bytes);
	if (x->fd >= 0)
		close(x->fd);
	*x = (struct xn_xsk){ .fd = -1 };
}

void xn_xsk_statistics(const struct xn_xsk *x, struct xdp_statistics *st)
{
	socklen_t bytes = sizeof(*st);

	memset(st, 0, sizeof(*st));
	if (x->fd >= 0 && getsockopt(x->fd, SOL_XDP, XDP_STATISTICS, st, &bytes))
		memset(st, 0, sizeof(*st));
}

int xn_xsk_error(const struct xn_xsk *x)
{
	socklen_t bytes = sizeof(int);
	int err = 0;

	if (x->fd < 0)
		return 0;
	return getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &err, &bytes) ? -errno : -err;
}

int xn_xsk_barrier(void)
{
	return syscall(__NR_membarrier, MEMBARRIER_CMD_GLOBAL, 0) ? -errno : 0;
}
