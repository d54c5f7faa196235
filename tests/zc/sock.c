/* SPDX-License-Identifier: BSD-2-Clause */
/* A UMEM of any shape and an AF_XDP socket on it (zc.h). */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/zc/zc.h"

#define BUSY_US 100000000u

void zc_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stdout, fmt, ap);
	va_end(ap);
	fputc('\n', stdout);
	exit(1);
}

uint64_t zc_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void zc_umem_map(struct zc_umem *m, uint64_t bytes, bool huge)
{
	int fd = memfd_create("ram", huge ? MFD_HUGETLB : 0);

	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		zc_die("memfd of %llu bytes: %s", (unsigned long long)bytes, strerror(errno));
	m->base = mmap(NULL, bytes + ZC_HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->base == MAP_FAILED)
		zc_die("addresses for %llu bytes: %s", (unsigned long long)bytes, strerror(errno));
	m->base += ZC_HUGE - (uintptr_t)m->base % ZC_HUGE;
	/* Touched in one order and mapped in the other: pages that were reserved at boot are
	 * side by side, and no border between those of a guest can count on that. */
	for (uint64_t at = 0; at < bytes; at += ZC_HUGE) {
		void *p = mmap(m->base + bytes - ZC_HUGE - at, ZC_HUGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, fd, (off_t)at);

		if (p == MAP_FAILED)
			zc_die("memory of %llu bytes: %s", (unsigned long long)bytes, strerror(errno));
		memset(p, ZC_CANARY, ZC_HUGE);
	}
	close(fd);
	m->bytes = bytes;
	m->huge = huge;
}

void zc_umem_shape(struct zc_umem *m, uint32_t chunk, uint32_t frame, bool unaligned)
{
	m->chunk = chunk;
	m->frame = frame;
	m->unaligned = unaligned;
	m->land = chunk - frame;
}

static int umem_register(int fd, const struct zc_umem *m)
{
	struct xdp_umem_reg reg;

	memset(&reg, 0, sizeof(reg));
	reg.addr = (uintptr_t)m->base;
	reg.len = m->bytes;
	reg.chunk_size = m->chunk;
	reg.headroom = m->chunk - 256 - m->frame;
	reg.flags = m->unaligned ? XDP_UMEM_UNALIGNED_CHUNK_FLAG : 0;
	return setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg));
}

/* As map_rings numbers them. */
static uint32_t entries(unsigned ring)
{
	return ring == 2 ? ZC_RX_RING : ZC_RING;
}

static int size_rings(int fd)
{
	static const int opts[] = { XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING,
				    XDP_TX_RING };

	for (unsigned i = 0; i < 4; i++) {
		uint32_t n = entries(i);

		if (setsockopt(fd, SOL_XDP, opts[i], &n, sizeof(n)))
			return -1;
	}
	return 0;
}

static uint8_t *map_ring(struct zc_sock *s, unsigned i, uint64_t pgoff, uint64_t desc, size_t entry)
{
	size_t bytes = desc + entries(i) * entry;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, s->fd,
		       (off_t)pgoff);

	if (p == MAP_FAILED)
		zc_die("mapping ring %u: %s", i, strerror(errno));
	s->maps[i].p = p;
	s->maps[i].bytes = bytes;
	return p;
}

static void map_prod(struct zc_sock *s, struct xsk_ring_prod *r, unsigned i, uint64_t pgoff,
		     const struct xdp_ring_offset *off, size_t entry)
{
	uint8_t *p = map_ring(s, i, pgoff, off->desc, entry);

	*r = (struct xsk_ring_prod){ .size = ZC_RING, .mask = ZC_RING - 1, .cached_cons = ZC_RING,
		.producer = (uint32_t *)(p + off->producer), .consumer = (uint32_t *)(p + off->consumer),
		.flags = (uint32_t *)(p + off->flags), .ring = p + off->desc };
}

static void map_cons(struct zc_sock *s, struct xsk_ring_cons *r, unsigned i, uint64_t pgoff,
		     const struct xdp_ring_offset *off, size_t entry)
{
	uint8_t *p = map_ring(s, i, pgoff, off->desc, entry);

	*r = (struct xsk_ring_cons){ .size = entries(i), .mask = entries(i) - 1,
		.producer = (uint32_t *)(p + off->producer), .consumer = (uint32_t *)(p + off->consumer),
		.flags = (uint32_t *)(p + off->flags), .ring = p + off->desc };
}

static void map_rings(struct zc_sock *s)
{
	struct xdp_mmap_offsets off;
	socklen_t n = sizeof(off);

	if (getsockopt(s->fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &n))
		zc_die("XDP_MMAP_OFFSETS: %s", strerror(errno));
	map_prod(s, &s->fill, 0, XDP_UMEM_PGOFF_FILL_RING, &off.fr, sizeof(uint64_t));
	map_cons(s, &s->comp, 1, XDP_UMEM_PGOFF_COMPLETION_RING, &off.cr, sizeof(uint64_t));
	map_cons(s, &s->rx, 2, XDP_PGOFF_RX_RING, &off.rx, sizeof(struct xdp_desc));
	map_prod(s, &s->tx, 3, XDP_PGOFF_TX_RING, &off.tx, sizeof(struct xdp_desc));
}

static int bind_retrying(struct zc_sock *s, unsigned ifindex, unsigned flags)
{
	struct sockaddr_xdp a = { .sxdp_family = AF_XDP, .sxdp_ifindex = ifindex,
				  .sxdp_flags = (uint16_t)(flags | XDP_USE_NEED_WAKEUP) };
	uint64_t from = zc_now_us();
	int err;

	while ((err = bind(s->fd, (struct sockaddr *)&a, sizeof(a)) ? -errno : 0) == -EBUSY &&
	       zc_now_us() - from < BUSY_US) {
		s->ebusy++;
		usleep(200);
	}
	s->bind_us = zc_now_us() - from;
	return err;
}

int zc_open(struct zc_sock *s, const struct zc_umem *m, unsigned ifindex, unsigned flags)
{
	struct xdp_options opt = { 0 };
	socklen_t n = sizeof(opt);
	int err;

	memset(s, 0, sizeof(*s));
	s->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		zc_die("AF_XDP socket: %s", strerror(errno));
	if (umem_register(s->fd, m) || size_rings(s->fd)) {
		err = -errno;
	} else {
		map_rings(s);
		err = bind_retrying(s, ifindex, flags);
	}
	if (err) {
		zc_close(s);
		return err;
	}
	if (getsockopt(s->fd, SOL_XDP, XDP_OPTIONS, &opt, &n))
		zc_die("XDP_OPTIONS: %s", strerror(errno));
	s->zero_copy = opt.flags & XDP_OPTIONS_ZEROCOPY;
	return 0;
}

void zc_close(struct zc_sock *s)
{
	for (unsigned i = 0; i < 4; i++)
		if (s->maps[i].p)
			munmap(s->maps[i].p, s->maps[i].bytes);
	close(s->fd);
	memset(s, 0, sizeof(*s));
	s->fd = -1;
}

uint32_t zc_consumed(const struct xsk_ring_prod *r)
{
	return *(const volatile uint32_t *)r->consumer;
}

void zc_fill(struct zc_sock *s, const uint64_t *addr, unsigned n)
{
	uint32_t at;

	if (!n)
		return;
	if (xsk_ring_prod__reserve(&s->fill, n, &at) != n)
		zc_die("the fill ring has no room for %u entries", n);
	for (unsigned i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&s->fill, at + i) = addr[i];
	xsk_ring_prod__submit(&s->fill, n);
}

void zc_tx(struct zc_sock *s, const struct xdp_desc *d, unsigned n)
{
	uint32_t at;

	if (!n)
		return;
	if (xsk_ring_prod__reserve(&s->tx, n, &at) != n)
		zc_die("the TX ring has no room for %u descriptors", n);
	for (unsigned i = 0; i < n; i++)
		*xsk_ring_prod__tx_desc(&s->tx, at + i) = d[i];
	xsk_ring_prod__submit(&s->tx, n);
	zc_kick(s);
}

void zc_kick(struct zc_sock *s)
{
	if (xsk_ring_prod__needs_wakeup(&s->fill))
		(void)recvfrom(s->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
	if (xsk_ring_prod__needs_wakeup(&s->tx))
		(void)sendto(s->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
}

uint64_t zc_tx_invalid(const struct zc_sock *s)
{
	struct xdp_statistics st = { 0 };
	socklen_t n = sizeof(st);

	if (getsockopt(s->fd, SOL_XDP, XDP_STATISTICS, &st, &n))
		zc_die("XDP_STATISTICS: %s", strerror(errno));
	return st.tx_invalid_descs;
}
