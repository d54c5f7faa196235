/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The yardstick: AF_XDP as it is, driven as well as we can, with no virtio.
 *
 * What the engine is compared with has to be on equal terms: the same kind of
 * memory, the same XDP program, the same ring sizes and batch, and frames that land
 * at the same odd places. So the addresses come from a guest's receive rings: its
 * driver is asked once where its buffers lie, and never runs. Ring 2i gives the
 * buffers that queue i receives into, ring 2i + 1 those that it sends from. In a driver's
 * zero-copy mode (xsk/zc.h) no chunk may cross a page border, so there they lie as AF_XDP
 * programs put them: a chunk each, side by side.
 *
 *	rx   peek, check, put the same address back on the fill ring
 *	tx   stamp, post, one system call a batch, drain completions
 *	fwd  received descriptor to TX ring; to the fill ring when it is completed
 *	rtt  one frame; look; poll(); look
 *
 * Completions are counted, not matched: they lose bit 0 of odd addresses (Linux
 * 6.18, xsk_skb_destructor), and the kernel takes descriptors in order. So what is
 * on its way is a fifo. Free transmit buffers are a stack, as the guest's driver has
 * one: the buffer used last is the one still in cache.
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/raw.h"

#define TX_BUDGET 1024u     /* as the engine's default (xsknet.h, budget=) */
/* Above it drivers, veth too, want a program that takes frames in several parts (port/xdp.c). */
#define ONE_PAGE_MTU 3000u
#define FCS_AND_VLAN 18u    /* beyond the MTU: Ethernet header and a VLAN tag */

/* Entries of the RX ring: more than buffers; in zero-copy mode few, where some have to stay
 * with the driver (xsk/zc.h: a ring that runs dry). */
#define RX_RING      (2 * XN_RING_SIZE)
#define RX_RING_KEEP 256u

/* ---- making it ---- */

/* VIRTIO 1.2, 2.7.5 */
struct g_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* Where the frames of a guest's receive ring land: behind the virtio header. */
static int read_places(struct xn_raw_path *r, unsigned pair, uint64_t *places)
{
	struct xn_vring ring;
	struct xn_mem_hit hit = { 0 };
	const struct g_desc *g_descs;

	xn_guest_start(r->guest, pair);
	xn_guest_vring(r->guest, 2 * pair, &ring);
	g_descs = xn_mem_ptr(r->mem, ring.desc_gpa, XN_RING_SIZE * sizeof(*g_descs));
	for (unsigned i = 0; i < XN_RING_SIZE; i++) {
		xn_uoff uoff;

		if (!g_descs || !xn_mem_find(r->mem, &hit, XN_GPA(g_descs[i].addr),
					     g_descs[i].len, &uoff))
			return xn_fail(EIO, "guest model: receive buffer %u lies nowhere", i);
		places[i] = uoff.v + XN_VNET_HDR;
	}
	return 0;
}

/* The same number of places, each in a chunk of its own; the guest's RAM is used for nothing
 * else. */
static int make_places(struct xn_raw_path *r, unsigned list, uint64_t *places)
{
	const uint64_t chunk = r->shape.chunk_bytes, bytes = XN_RING_SIZE * chunk;
	struct xn_mem_hit hit = { 0 };
	xn_uoff first;

	if (!xn_mem_find(r->mem, &hit, XN_GPA(list * bytes), bytes, &first))
		return xn_fail(EIO, "guest model: no room for %u chunks", XN_RING_SIZE);
	for (unsigned i = 0; i < XN_RING_SIZE; i++)
		places[i] = first.v + (i + 1) * chunk - r->shape.frame_bytes;
	return 0;
}

static int choose_places(struct xn_raw_path *r, unsigned list, uint64_t *places)
{
	return r->in_chunks ? make_places(r, list, places) : read_places(r, list, places);
}

static int make_memory(struct xn_raw_path *r)
{
	const uint32_t room = XN_VNET_HDR + XN_MAX(r->shape.frame_bytes, r->in_chunks * XN_CHUNK_BYTES);
	const struct xn_guest_cfg cfg = {
		.pairs = 2 * r->p.queues, .queue_size = XN_RING_SIZE, .huge = r->p.opts->huge,
		.rx_buf_bytes = room <= 1536 ? 0 : (uint32_t)XN_ALIGN_UP(room, 64),
	};
	const struct xn_mem_opts mo = { .sz = sizeof(mo), .bounce_frames = 16 };
	struct xn_region region;
	int err = xn_guest_create(&r->guest, &cfg);

	if (err)
		return err;
	xn_guest_region(r->guest, &region);
	r->p.huge = xn_guest_got_huge(r->guest);
	err = xn_mem_create(&r->mem, &region, 1, &mo);
	for (unsigned i = 0; i < r->p.queues && !err; i++) {
		err = choose_places(r, 2 * i, r->q[i].rx_at);
		if (!err)
			err = choose_places(r, 2 * i + 1, r->q[i].tx_at);
		r->q[i].n_free = XN_RING_SIZE;
	}
	return err;
}

static int get_mtu(const char *ifname, uint32_t *mtu)
{
	struct ifreq ifr = { 0 };
	int err = 0, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(ifr.ifr_name, ifname, strnlen(ifname, IFNAMSIZ - 1));
	if (fd < 0 || ioctl(fd, SIOCGIFMTU, &ifr) < 0)
		err = xn_fail(errno, "MTU of %s: %s", ifname, strerror(errno));
	if (fd >= 0)
		close(fd);
	*mtu = (uint32_t)ifr.ifr_mtu;
	return err;
}

/* A driver in zero-copy mode sleeps when it has run out of buffers. */
static void fill_submit(struct xn_raw_queue *q, unsigned n)
{
	xsk_ring_prod__submit(&q->x.fill, n);
	if (q->x.zero_copy && xsk_ring_prod__needs_wakeup(&q->x.fill))
		(void)recvfrom(q->x.fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

static void post_all(struct xn_raw_queue *q)
{
	uint32_t idx, n = xsk_ring_prod__reserve(&q->x.fill, XN_RING_SIZE, &idx);

	for (uint32_t i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&q->x.fill, idx + i) = q->rx_at[i] - q->x.land;
	fill_submit(q, n);
}

/*
 * The driver's own shape if it has zero-copy and would be lent anything, which is taken in
 * copy mode too; else a chunk that ends where the longest frame does.
 */
static int choose_shape(struct xn_raw_path *r)
{
	char driver[32] = "";
	uint32_t mtu;
	int err = get_mtu(r->p.ifname, &mtu);

	if (err)
		return err;
	(void)xn_probe_driver(r->p.ifname, driver, sizeof(driver));
	r->in_chunks = xn_zc_driver_find(driver) &&
		       !xn_zc_shape_choose(&r->shape, xn_zc_driver_find(driver), mtu, r->p.ifname);
	if (r->in_chunks)
		return 0;
	r->shape.chunk_bytes = XN_CHUNK_BYTES;
	r->shape.frame_bytes = XN_MAX(mtu + FCS_AND_VLAN, XN_FRAME_BYTES_MIN);
	r->longest = r->shape.frame_bytes;
	r->frags = mtu > ONE_PAGE_MTU;
	r->sg = r->longest > XN_FRAME_BYTES_MAX;
	if (r->sg || xn_path_is_large(&r->p))
		r->shape.frame_bytes = XN_FRAME_BYTES_MAX;
	return 0;
}

static int open_socket(struct xn_raw_path *r, unsigned i, enum xn_xsk_mode mode)
{
	const uint32_t keep = mode == XN_XSK_ZERO_COPY ? r->shape.keep : 0;
	const struct xn_xsk_cfg cfg = {
		.ifindex = if_nametoindex(r->p.ifname), .ifname = r->p.ifname, .queue = i,
		.mem = r->mem, .chunk_bytes = r->shape.chunk_bytes, .frame_bytes = r->shape.frame_bytes,
		.fill_size = XN_RING_SIZE, .rx_size = keep ? RX_RING_KEEP : RX_RING,
		.tx_size = XN_RING_SIZE, .comp_size = 2 * XN_RING_SIZE,
		.mode = mode, .sg = r->sg, .tx_budget = TX_BUDGET,
		.share_fd = i ? r->q[0].x.fd : -1,
		.spare_fd = -1,
	};

	r->q[i].held_max = keep ? XN_RING_SIZE - RX_RING_KEEP - keep : XN_RING_SIZE;
	return xn_xsk_open(&r->q[i].x, &cfg);
}

/* All queues in the mode of the first: they share its memory. */
static int open_queue(struct xn_raw_path *r, unsigned i)
{
	const bool driver = i ? r->q[0].x.zero_copy : r->in_chunks;
	int err = driver ? open_socket(r, i, XN_XSK_ZERO_COPY) : -EOPNOTSUPP;

	if (err && (!driver || !i))
		err = open_socket(r, i, XN_XSK_COPY);
	if (err)
		return err;
	r->n_open++;
	post_all(&r->q[i]);
	return xn_steer_set(r->steer, i, r->q[i].x.fd);
}

static int raw_open(struct xn_path *p)
{
	struct xn_raw_path *r = xn_raw_of(p);
	struct xn_steer_cfg sc = { .ifindex = if_nametoindex(p->ifname), .ifname = p->ifname };
	int err = choose_shape(r);

	if (err)
		return err;
	sc.frame_bytes = r->sg ? r->longest : r->shape.frame_bytes;
	sc.frags = r->frags;
	r->q = calloc(p->queues, sizeof(*r->q));
	if (!r->q)
		return xn_fail(ENOMEM, "out of memory");
	for (unsigned i = 0; i < p->queues; i++)
		r->q[i].x.fd = -1;
	err = make_memory(r);
	if (!err)
		err = xn_steer_open(&r->steer, &sc);
	for (unsigned i = 0; i < p->queues && !err; i++)
		err = open_queue(r, i);
	if (err)
		return err;
	snprintf(p->attach, sizeof(p->attach), "%s",
		 xn_steer_native(r->steer) ? "native" : "generic");
	snprintf(p->mode, sizeof(p->mode), "%s", r->q[0].x.zero_copy ? "zero-copy" : "copy");
	return 0;
}

static void raw_close(struct xn_path *p)
{
	struct xn_raw_path *r = xn_raw_of(p);

	for (unsigned i = r->n_open; i-- > 0;) {
		xn_steer_clear(r->steer, i);
		xn_xsk_close(&r->q[i].x);
	}
	if (r->steer)
		xn_steer_close(r->steer);
	free(r->q);
	xn_mem_destroy(r->mem);
	xn_guest_destroy(r->guest);
}

/* ---- driving it ---- */

/* Takes up to n received descriptors; the caller releases them. */
static unsigned take(struct xn_raw_queue *q, struct xdp_desc *d, unsigned n)
{
	uint32_t idx;

	n = XN_MIN(n, q->held_max - q->held);
	n = xsk_ring_cons__peek(&q->x.rx, n, &idx);
	q->held += n;
	for (unsigned i = 0; i < n; i++)
		d[i] = *xsk_ring_cons__rx_desc(&q->x.rx, idx + i);
	xsk_ring_cons__release(&q->x.rx, n);
	return n;
}

/* There is always room: the fill ring has as many entries as there are buffers. */
void xn_raw_give_back(struct xn_raw_queue *q, const struct xdp_desc *d, unsigned n)
{
	uint32_t idx;

	if (!n || !xsk_ring_prod__reserve(&q->x.fill, n, &idx))
		return;
	for (unsigned i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&q->x.fill, idx + i) = xsk_umem__extract_addr(d[i].addr);
	q->held -= n;
	fill_submit(q, n);
}

static void check(struct xn_near *w, const struct xdp_desc *d, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		xn_check_frame(&w->check, xn_raw_at(w, xsk_umem__add_offset_to_addr(d[i].addr)), d[i].len);
}

static unsigned short_rx(struct xn_near *w)
{
	struct xn_raw_queue *q = xn_raw_queue_of(w);
	struct xdp_desc d[XN_TURN];
	const uint64_t t0 = xn_ticks();
	const unsigned n = take(q, d, XN_TURN);

	if (!n)
		return 0;
	check(w, d, n);
	xn_raw_give_back(q, d, n);
	w->own_ticks += xn_ticks() - t0;
	w->packets += n;
	return n;
}

/* What was sent is free again, each buffer for what it was before; returns how many. */
static unsigned settle(struct xn_raw_queue *q)
{
	uint64_t back[4 * XN_TURN];
	uint32_t idx, k = 0, n = xsk_ring_cons__peek(&q->x.comp, XN_ARRAY_SIZE(back), &idx);

	if (!n)
		return 0;
	xsk_ring_cons__release(&q->x.comp, n);
	for (uint32_t i = 0; i < n; i++) {
		const struct xn_raw_flight *f = &q->flight[q->done++ % XN_RAW_FLIGHT_MAX];

		if (f->rx)
			back[k++] = f->addr;
		else
			q->tx_at[q->n_free++] = f->addr;
	}
	if (k && xsk_ring_prod__reserve(&q->x.fill, k, &idx)) {
		for (uint32_t i = 0; i < k; i++)
			*xsk_ring_prod__fill_addr(&q->x.fill, idx + i) = back[i];
		q->held -= k;
		fill_submit(q, k);
	}
	return n;
}

static inline void post(struct xn_raw_queue *q, uint32_t idx, uint64_t addr, uint32_t bytes,
			struct xn_raw_flight f)
{
	*xsk_ring_prod__tx_desc(&q->x.tx, idx) = (struct xdp_desc){ .addr = addr, .len = bytes };
	q->flight[q->posted++ % XN_RAW_FLIGHT_MAX] = f;
}

/* One system call if something waits. */
void xn_raw_push(struct xn_raw_queue *q, unsigned n)
{
	if (n)
		xsk_ring_prod__submit(&q->x.tx, n);
	if (q->posted != q->done)
		q->x.send(&q->x);
}

static unsigned short_tx(struct xn_near *w, unsigned n)
{
	struct xn_raw_queue *q = xn_raw_queue_of(w);
	const uint64_t t0 = xn_ticks();
	const unsigned done = settle(q);
	uint32_t idx;

	n = XN_MIN(n, XN_MIN(XN_TURN, q->n_free));
	if (n && !xsk_ring_prod__reserve(&q->x.tx, n, &idx))
		n = 0;
	for (unsigned i = 0; i < n; i++) {
		const uint64_t addr = q->tx_at[--q->n_free];

		xn_near_stamp(w, xn_raw_at(w, addr));
		post(q, idx + i, addr, w->bytes, (struct xn_raw_flight){ addr, false });
	}
	xn_raw_push(q, n);
	if (n || done)
		w->own_ticks += xn_ticks() - t0;
	w->packets += n;
	return n + done;
}

static unsigned raw_fwd(struct xn_near *w)
{
	struct xn_raw_queue *q = xn_raw_queue_of(w);
	struct xdp_desc d[XN_TURN];
	const uint64_t t0 = xn_ticks();
	unsigned done = settle(q), n = take(q, d, XN_TURN);
	uint32_t idx;

	if (n && !xsk_ring_prod__reserve(&q->x.tx, n, &idx)) {
		xn_raw_give_back(q, d, n);
		n = 0;
	}
	for (unsigned i = 0; i < n; i++) {
		const uint64_t frame = xsk_umem__add_offset_to_addr(d[i].addr);

		xn_near_turn_round(w, xn_raw_at(w, frame));
		post(q, idx + i, frame, d[i].len,
		     (struct xn_raw_flight){ xsk_umem__extract_addr(d[i].addr), true });
	}
	xn_raw_push(q, n);
	if (n || done)
		w->own_ticks += xn_ticks() - t0;
	w->packets += n;
	return n + done;
}

static unsigned raw_tx_pending(const struct xn_near *w)
{
	const struct xn_raw_queue *q = xn_raw_queue_of(w);

	return q->posted - q->done;
}

/* ---- round trip ---- */

static uint64_t raw_send_one(struct xn_near *w)
{
	struct xn_raw_queue *q = xn_raw_queue_of(w);
	uint64_t addr, t;
	uint32_t idx;

	settle(q);
	if (!q->n_free || !xsk_ring_prod__reserve(&q->x.tx, 1, &idx))
		return 0;
	addr = q->tx_at[--q->n_free];
	xn_near_stamp(w, xn_raw_at(w, addr));
	t = xn_ticks();
	post(q, idx, addr, w->bytes, (struct xn_raw_flight){ addr, false });
	xn_raw_push(q, 1);
	return t;
}

static uint64_t raw_look(struct xn_near *w)
{
	struct xn_raw_queue *q = xn_raw_queue_of(w);
	const uint64_t good = w->check.frames;
	struct xdp_desc d[XN_TURN];
	const unsigned n = take(q, d, XN_TURN);
	uint64_t t;

	if (!n)
		return 0;
	t = xn_ticks();
	check(w, d, n);
	xn_raw_give_back(q, d, n);
	return w->check.frames > good ? t : 0;
}

static void raw_sleep(struct xn_near *w, int ms)
{
	struct pollfd fd = { .fd = xn_raw_queue_of(w)->x.fd, .events = POLLIN };

	poll(&fd, 1, ms);
}

static unsigned raw_rx(struct xn_near *w)
{
	return xn_raw_of(w->path)->sg ? xn_raw_large_rx(w) : short_rx(w);
}

static unsigned raw_tx(struct xn_near *w, unsigned n)
{
	return xn_path_is_large(w->path) ? xn_raw_large_tx(w, n) : short_tx(w, n);
}

static const struct xn_path_ops raw_ops = {
	.open = raw_open, .close = raw_close,
	.rx = raw_rx, .tx = raw_tx, .fwd = raw_fwd, .tx_pending = raw_tx_pending,
	.send_one = raw_send_one, .look = raw_look, .sleep = raw_sleep,
};

struct xn_path *xn_raw_path_new(void)
{
	struct xn_raw_path *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->p.ops = &raw_ops;
	return &r->p;
}
