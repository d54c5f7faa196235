/* SPDX-License-Identifier: BSD-2-Clause */
/* Zero-copy mode: the shape of a bind, and its end. Theory in xsk/zc.h. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "xsk/zc.h"

/* What Linux wants to have room for beside the MTU: Ethernet header, two VLAN tags, and a
 * checksum (net/xdp/xsk_buff_pool.c, xp_assign_dev; stable kernels since April 2026). */
#define BIND_OVERHEAD  26u
/* The longest frame that the engine takes: Ethernet header and one tag. */
#define FRAME_OVERHEAD 18u
#define FRAME_UNIT     128u
#define SMALL_CHUNK    2048u

/* Do frames of this MTU come whole, and does bind take it? Where longer ones come in pieces,
 * each like a frame (unit), a whole frame has to be shorter than a piece: that tells them
 * apart (port/xdp_mode.c). */
static bool fits(const struct xn_zc_driver *d, uint32_t frame_bytes, uint32_t mtu)
{
	const bool pieces = !d->rounds_up && d->unit > FRAME_UNIT;

	return frame_bytes >= mtu + BIND_OVERHEAD && frame_bytes >= d->frame_min &&
	       frame_bytes >= XN_FRAME_BYTES_MIN &&
	       xn_zc_whole(d, frame_bytes) >= mtu + FRAME_OVERHEAD + pieces;
}

int xn_zc_shape_choose(struct xn_zc_shape *s, const struct xn_zc_driver *d, uint32_t mtu,
		       const char *ifname)
{
	uint32_t frame = FRAME_UNIT;

	*s = (struct xn_zc_shape){ .driver = d };
	if (!d)
		return xn_fail(EOPNOTSUPP, "%s: what its driver does with memory in zero-copy mode is "
			       "not known, so nothing is lent to it", ifname);
	if (d->trust == XN_ZC_DENIED)
		return xn_fail(EOPNOTSUPP, "%s: nothing can be lent to driver %s (Linux drivers/net/%s)",
			       ifname, d->name, d->source);
	while (frame <= XN_FRAME_BYTES_MAX && !fits(d, frame, mtu))
		frame += FRAME_UNIT;
	if (frame > XN_FRAME_BYTES_MAX)
		return xn_fail(EMSGSIZE, "%s: driver %s takes no frames of MTU %u whole in a chunk of "
			       "4096 bytes: ip link set %s mtu 1500", ifname, d->name, mtu, ifname);
	s->frame_bytes = frame;
	s->chunk_bytes = frame + XN_XDP_HEADROOM <= SMALL_CHUNK ? SMALL_CHUNK : XN_CHUNK_BYTES;
	s->whole = xn_zc_whole(d, frame);
	s->reach = xn_zc_reach(d, frame);
	s->front = d->front;
	s->keep = d->keep;
	s->tx_in_page = d->tx_in_page;
	return 0;
}

/* ---- the end ---- */

#define BARRIER_BYTES (4u * XN_CHUNK_BYTES)
#define BARRIER_RING  64u

/* Binds another socket, with memory of its own, to the queue: that succeeds only when the
 * kernel has taken the queue from the driver (xp_clear_dev: the driver is told to leave it,
 * which waits for its DMA to end, and only then is the queue free). */
static int rebind(const struct xn_xsk_cfg *what, struct xn_mem *own)
{
	struct xn_xsk_cfg cfg = *what;
	struct xn_xsk x;
	int err;

	own->umem_bytes = BARRIER_BYTES;
	own->base = mmap(NULL, BARRIER_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (own->base == MAP_FAILED) {
		if (cfg.spare_fd >= 0)
			close(cfg.spare_fd);
		return xn_fail(ENOMEM, "%s queue %u: no memory to find out whether it is free",
			       cfg.ifname, cfg.queue);
	}
	cfg.mem = own;
	err = xn_xsk_open(&x, &cfg);
	if (!err)
		xn_xsk_close(&x);
	munmap(own->base, BARRIER_BYTES);
	return err;
}

int xn_zc_close(struct xn_xsk *x, unsigned ifindex, unsigned queue, const char *ifname, int fd,
		uint32_t ms)
{
	/* In whatever mode the kernel likes: the queue has to be free for any. */
	const struct xn_xsk_cfg cfg = {
		.ifindex = ifindex, .queue = queue, .ifname = ifname, .mode = XN_XSK_COPY,
		.frame_bytes = XN_FRAME_BYTES_MAX, .fill_size = BARRIER_RING,
		.rx_size = 2 * BARRIER_RING, .tx_size = BARRIER_RING, .comp_size = BARRIER_RING,
		.share_fd = -1, .spare_fd = fd, .busy_ms = ms,
	};
	struct xn_mem own = { 0 };
	char why[256];
	int err;

	xn_xsk_close(x);
	err = rebind(&cfg, &own);
	/* Without its interface there is nobody left who writes: it went behind a stop of its
	 * queues, and bind has found that out behind our close. */
	if (!err || err == -ENODEV)
		return 0;
	snprintf(why, sizeof(why), "%s", xn_last_error());
	return xn_fail(err == -EBUSY ? ETIMEDOUT : -err, "%s queue %u: the driver has not given the "
		       "queue back%s%s: guest memory may still be written", ifname, queue,
		       err == -EBUSY ? "" : ", or it cannot be found out: ", err == -EBUSY ? "" : why);
}
