/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In what mode the queues of an AF_XDP port are bound, and why.
 *
 *	mode=copy, bounce   copy mode
 *	mode=zero-copy      zero-copy mode, or the start fails. Where nothing can be lent to
 *	                    the driver, all is bounced
 *	mode=auto           zero-copy mode where most buffers can be lent in it, else copy mode,
 *	                    in which all of them can
 *
 * What can be lent in zero-copy mode stands in xsk/zc.h and xsk/drivers.h. It is known only
 * after a bind which pages follow each other for the device; then a bind may be undone, and
 * the queue bound again in copy mode: nothing has been lent yet. XDP_OPTIONS tells in which
 * mode a socket is, and that decides.
 *
 * Zero-copy mode is only for an interface that is the guest's alone (filter=all). There
 * the card writes each frame of the queue into a lent buffer, and the XDP program runs
 * behind that: frames that it passed to the host, or to another guest, would have been
 * seen by this one, and could be changed by it while the host's stack reads them.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "port/xdp.h"

#define ENOUGH_PERMILLE 875u   /* pages that follow each other, for mode=auto */
#define NO_CARRIER_MS   100u   /* how long to wait for an answer where none is to be expected */
#define SHORT_PIECE     1524u  /* with a header of 12 bytes, in a buffer of 1536 */
#define FEW_PIECES      8u
#define KEPT_RX_RING    64u    /* RX ring, where buffers have to be kept (xsk/zc.h) */

const char *xn_xdp_why(enum xn_mode_why why)
{
	static const char *const text[] = {
#define XN_X(name, t) t,
		XN_MODE_WHYS(XN_X)
#undef XN_X
	};

	return text[why];
}

static struct xn_xdp_port *xdp_port(const struct xn_xdpq *x)
{
	return XN_CONTAINER_OF(x->q.port, struct xn_xdp_port, port);
}

/* Frames that are received: longer ones the XDP program drops, or the port. */
static uint32_t longest(const struct xn_xdp_port *p)
{
	return XN_MAX(p->port.max_frame, XN_FRAME_BYTES_MIN);
}

/*
 * Copy mode: what a chunk takes, a frame or a piece of one. Short pieces, if they are not too
 * many: buffers of 1536 bytes, as Linux guests post them until they have seen longer frames, can
 * be lent then. But each piece costs the kernel 55 ns, which is nothing of a frame of 9000 bytes,
 * and 9 % of one of 64000; and a fill ring of short ones holds fewer frames.
 */
static uint32_t chunk_takes(const struct xn_xdp_port *p)
{
	if (!p->sg)
		return longest(p);
	return longest(p) <= FEW_PIECES * SHORT_PIECE ? SHORT_PIECE : XN_FRAME_BYTES_MAX;
}

uint32_t xn_xdp_mode_pieces(const struct xn_xdp_port *p)
{
	return (longest(p) + chunk_takes(p) - 1) / chunk_takes(p);
}

/* Bytes that the NIC puts into one buffer, if what is longer comes in pieces of which each
 * looks like a frame; else 0 (xsk/drivers.h: unit). */
static uint32_t piece_bytes(const struct xn_zc_shape *s)
{
	if (!s->driver || s->driver->rounds_up || s->driver->unit <= 128)
		return 0;
	return s->whole + s->driver->shift;
}

static uint32_t verdict(const struct xn_xdp_port *p)
{
	return xn_load_once32(&p->mode.verdict);
}

/* ---- when the port is opened ---- */

int xn_xdp_mode_choose(struct xn_xdp_port *p)
{
	struct xn_xdp_mode *m = &p->mode;
	const char *ifname = p->spec.ifname;
	bool loud;
	int err;

	m->cannot = XN_WHY_ASKED;
	if (p->spec.mode == XN_XSK_COPY)
		return 0;
	if (p->sg && p->spec.mode == XN_XSK_ZERO_COPY)
		return xn_fail(EMSGSIZE, "%s: mode=zero-copy with MTU %u: a frame has to fit one chunk of "
			       "4096 bytes there: mode=copy, or ip link set %s mtu %u", ifname, p->info.mtu,
			       ifname, XN_FRAME_BYTES_MAX - XN_ETH_HDR_BYTES - XN_VLAN_TAG_BYTES);
	if (p->sg) {
		m->cannot = XN_WHY_PIECES;
		return 0;
	}
	if (p->spec.filter_mac && p->spec.mode == XN_XSK_ZERO_COPY)
		return xn_fail(EINVAL, "%s: mode=zero-copy with filter=mac: the card would write frames "
			       "of others into guest memory, before the XDP program sees them: mode=copy",
			       ifname);
	if (p->spec.filter_mac) {
		m->cannot = XN_WHY_FILTER;
		return 0;
	}
	m->driver = xn_zc_driver_find(p->info.driver);
	loud = xn_fail_silently(true);
	err = xn_zc_shape_choose(&m->shape, m->driver, p->info.mtu, ifname);
	/* A whole frame has to be shorter than a piece of a longer one. */
	if (!err && piece_bytes(&m->shape) && m->shape.whole <= longest(p))
		err = xn_fail(EMSGSIZE, "%s: with driver %s, frames of MTU %u cannot be told from pieces of "
			      "longer ones", ifname, m->shape.driver->name, p->info.mtu);
	xn_fail_silently(loud);
	if (!err)
		return 0;
	m->shape.driver = NULL;
	m->cannot = err == -EMSGSIZE ? XN_WHY_FRAME : XN_WHY_DRIVER;
	if (p->spec.mode == XN_XSK_ZERO_COPY)
		xn_log(XN_LOG_WARN, "%s; mode=zero-copy: every packet is bounced", xn_last_error());
	return 0;
}

uint32_t xn_xdp_mode_keeps(const struct xn_xdp_port *p)
{
	const uint32_t rings = p->rss ? 2 : 1;   /* on one fill ring */

	return p->mode.driver && p->mode.driver->keep ? rings * KEPT_RX_RING + p->mode.driver->keep : 0;
}

uint32_t xn_xdp_mode_passes(const struct xn_xdp_port *p)
{
	/* The last piece of a longer frame looks like a frame. The port knows it by the pieces
	 * in front of it, which it has to see for that. */
	return XN_MAX(longest(p), piece_bytes(&p->mode.shape));
}

int xn_xdp_mode_attached(struct xn_xdp_port *p)
{
	struct xn_xdp_mode *m = &p->mode;

	m->attached_ns = xn_now_ns();
	if (p->spec.mode == XN_XSK_COPY || p->sys->steer_native(p->steer))
		return 0;
	/* Drivers in zero-copy mode run native programs only, and pass all frames to the host
	 * if there is none. */
	if (p->spec.mode == XN_XSK_ZERO_COPY)
		return xn_fail(EOPNOTSUPP, "%s: zero-copy mode needs an XDP program in native mode "
			       "(attach=native)", p->spec.ifname);
	m->shape.driver = NULL;
	m->cannot = XN_WHY_GENERIC;
	return 0;
}

/* ---- sockets ---- */

/* A socket of this port whose UMEM registration can be shared; -1: the first. */
static int shareable(const struct xn_xdp_port *p, const struct xn_xsk_cfg *cfg)
{
	for (unsigned i = 0; i < p->port.n_queues; i++) {
		const struct xn_xsk *s = p->queues[i] ? &p->queues[i]->xsk : NULL;

		if (s && s->zero_copy == (cfg->mode == XN_XSK_ZERO_COPY) &&
		    s->chunk_bytes == cfg->chunk_bytes && s->frame_bytes == cfg->frame_bytes)
			return s->fd;
	}
	return -1;
}

/* The namespace in which a socket would be opened now: is it the port's? */
static bool elsewhere(const struct xn_xdp_port *p)
{
	uint64_t here = p->info.netns ? p->sys->netns() : 0;

	return here && here != p->info.netns;   /* 0: cannot be told, and is trusted */
}

int xn_xdp_take_spare(struct xn_xdp_port *p, int *fd)
{
	*fd = -1;
	if (p->n_spares) {
		*fd = p->spares[--p->n_spares];
		p->spares_spent++;
	} else if (elsewhere(p)) {
		/* A socket belongs to the namespace of the thread that makes it; in another
		 * one the index names another interface. */
		return xn_fail(EXDEV, "%s: start the device in the network namespace that the "
			       "port was opened in", p->spec.ifname);
	}
	return 0;
}

static int open_socket(struct xn_xdpq *x, uint32_t fill_size, uint32_t tx_size, enum xn_xsk_mode mode)
{
	struct xn_xdp_port *p = xdp_port(x);
	const struct xn_zc_shape *s = &p->mode.shape;
	struct xn_xsk_cfg cfg = {
		.ifindex = p->info.ifindex, .queue = x->host_queue, .ifname = p->spec.ifname,
		.mem = x->mem, .chunk_bytes = XN_CHUNK_BYTES,
		.frame_bytes = chunk_takes(p), .sg = p->sg,
		/* Strictly more RX slots than fill entries: see xsk/xsk.h. */
		.fill_size = fill_size, .rx_size = 2 * fill_size,
		.tx_size = tx_size, .comp_size = 2 * tx_size,
		.mode = mode, .tx_budget = p->spec.budget, .spares_spent = p->spares_spent,
	};
	int err;

	if (mode == XN_XSK_ZERO_COPY) {
		/* Drivers want MTU + 26 to fit. If nothing is lent, a chunk may take all it can. */
		cfg.frame_bytes = s->driver ? s->frame_bytes : XN_FRAME_BYTES_MAX;
		cfg.chunk_bytes = s->driver ? s->chunk_bytes : XN_CHUNK_BYTES;
		if (xn_xdp_mode_keeps(p))
			cfg.rx_size = KEPT_RX_RING;
	}
	cfg.share_fd = shareable(p, &cfg);
	err = xn_xdp_take_spare(p, &cfg.spare_fd);
	return err ? err : p->sys->xsk_open(&x->xsk, &cfg);
}

/* ---- copy mode ---- */

/* Of a bind in zero-copy mode that was given up. */
static void forget_zero_copy(struct xn_xdpq *x)
{
	x->map = x->tx_map = NULL;
	x->known = x->ordered = x->tx_lends = false;
	x->keep = x->front = x->shift = x->cut_at = 0;
}

static int bind_copy(struct xn_xdpq *x, uint32_t fill_size, uint32_t tx_size)
{
	struct xn_xdp_port *p = xdp_port(x);
	int err = open_socket(x, fill_size, tx_size, XN_XSK_COPY);

	if (err)
		return err;
	forget_zero_copy(x);
	x->collect = p->sg && (!x->q.cfg.merge || x->q.cfg.in_order);
	x->bounce = p->spec.bounce || x->collect;
	x->tx_copies = xn_probe_tx_copies(p->info.driver);
	x->chain_tx = p->spec.tx == XN_TX_CHAIN;
	x->tx_pieces = XN_TX_PIECES_MAX;
	x->reach = x->xsk.frame_bytes;
	x->sg = p->sg;
	x->pieces = xn_xdp_mode_pieces(p);
	return 0;
}

/* ---- zero-copy mode ---- */

static void drop_map(struct xn_xdp_mode *m)
{
	if (--m->map_users)
		return;
	xn_zc_map_free(&m->map);
	xn_zc_map_free(&m->none);
}

/* A carrier that was there comes back, if this bind has taken it away, or the last one. And
 * igb's is away just when the port is opened, as it is reset for the XDP program. */
static uint32_t patience_ms(const struct xn_xdp_port *p)
{
	const uint64_t open_ms = (xn_now_ns() - p->mode.attached_ns) / 1000000;

	if (xn_load_once8(&p->had_carrier))
		return p->sys->ask_ms;
	return open_ms + NO_CARRIER_MS < p->sys->ask_ms ? p->sys->ask_ms - (uint32_t)open_ms : NO_CARRIER_MS;
}

/* Which pages follow each other: all queues that share a registration share its mapping
 * for the device too (Linux xp_dma_map), so one of them is asked. 0, -EAGAIN or -ENOMEM. */
static int ask_for_map(struct xn_xdpq *x, bool ask)
{
	struct xn_xdp_port *p = xdp_port(x);
	struct xn_xdp_mode *m = &p->mode;
	const uint64_t bytes = x->mem->umem_bytes;
	bool loud;
	int err;

	if (m->map_users++)
		return 0;
	m->none = (struct xn_zc_map){ .pages = bytes / XN_PAGE_SIZE };
	m->none.bits = calloc(m->none.pages / 64 + 1, sizeof(*m->none.bits));
	loud = xn_fail_silently(true);
	err = xn_zc_map_read(&m->map, &x->xsk, bytes, ask ? m->shape.driver : NULL, patience_ms(p),
			     p->info.release);
	xn_fail_silently(loud);
	if (m->none.bits && (!err || err == -EAGAIN))
		return err;
	drop_map(m);
	return xn_fail(ENOMEM, "%s: no memory for a bit for each page", p->spec.ifname);
}

static uint32_t permille(const struct xn_zc_map *map)
{
	return map->pages > 1 ? (uint32_t)(map->following * 1000 / (map->pages - 1)) : 1000;
}

/* A socket to prove with, at the stop, that the driver has left the memory. Taken now: a stop
 * must not fail for lack of one. */
static int take_end(struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	int err = xn_xdp_take_spare(p, &x->end_fd);

	if (!err && x->end_fd < 0)
		err = p->sys->xsk_socket(&x->end_fd, p->spec.ifname);
	return err;
}

/* What can be lent in the mode in which x is bound. 0; -EAGAIN, *why: for mode=auto that is
 * too little, or the socket is of no use any more; or another -errno. */
static int judge_map(struct xn_xdpq *x, bool ask, enum xn_mode_why *why)
{
	struct xn_xdp_port *p = xdp_port(x);
	struct xn_xdp_mode *m = &p->mode;
	int err = ask_for_map(x, ask);

	if (err && err != -EAGAIN)
		return err;
	*why = err ? XN_WHY_SILENT : XN_WHY_PAGES;
	if (p->spec.mode == XN_XSK_AUTO && permille(&m->map) < ENOUGH_PERMILLE)
		err = -EAGAIN;   /* also one that keeps silent: no bit is set */
	if (err)
		drop_map(m);
	return err;
}

/* As much of x as belongs to zero-copy mode, once its socket is open. */
static int lend_what_can_be(struct xn_xdpq *x, bool ask, enum xn_mode_why *why)
{
	struct xn_xdp_port *p = xdp_port(x);
	const struct xn_zc_shape *s = &p->mode.shape;
	struct xdp_statistics st;
	int err;

	x->tx_copies = false;
	x->tx_pieces = 1;
	x->reach = x->xsk.frame_bytes;
	x->keep = xn_xdp_mode_keeps(p);
	x->known = s->driver && s->front <= x->q.cfg.hdr_bytes;
	x->bounce = !x->known || verdict(p) == XN_VERDICT_NONE;
	x->ordered = !x->bounce && x->q.cfg.in_order;   /* one is always held */
	x->tx_lends = x->ordered;
	x->bounce |= x->ordered;
	err = judge_map(x, ask && (!x->bounce || x->tx_lends), why);
	if (err)
		return err;
	p->sys->xsk_statistics(&x->xsk, &st);
	x->refused = st.tx_invalid_descs;
	x->map = x->tx_map = &p->mode.map;
	if (!x->known)
		return 0;
	assert(s->driver);
	if (s->tx_in_page)
		x->tx_map = &p->mode.none;
	x->reach = s->reach;
	x->front = s->front;
	x->shift = s->driver->shift;
	x->cut_at = piece_bytes(s) ? x->xsk.land + piece_bytes(s) : 0;
	x->tx_pieces = s->driver->segments;
	x->chain_tx = x->tx_pieces > 1 && p->spec.tx != XN_TX_GATHER;
	return 0;
}

/* ask: which pages follow each other; or none does. */
static int bind_zero_copy(struct xn_xdpq *x, uint32_t fill_size, uint32_t tx_size, bool ask,
			  enum xn_mode_why *why)
{
	int err = open_socket(x, fill_size, tx_size, XN_XSK_ZERO_COPY);

	*why = XN_WHY_BIND;
	if (err)
		return err;
	err = lend_what_can_be(x, ask, why);
	if (!err)
		err = take_end(x);
	if (err) {
		if (x->map)
			drop_map(&xdp_port(x)->mode);
		x->map = NULL;
		xdp_port(x)->sys->xsk_close(&x->xsk);
	}
	return err;
}

/* Would copy mode fail for the same reason? */
static bool final(int err)
{
	static const int reasons[] = { EBUSY, EPERM, EMFILE, ENODEV, ENETDOWN, ENOBUFS, EFAULT, EXDEV };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(reasons); i++)
		if (err == -reasons[i])
			return true;
	return false;
}

/* ---- which of them ---- */

/* Notes it for those who ask, and says it once. */
static void tell(struct xn_xdp_port *p, const struct xn_xdpq *x, enum xn_mode_why why)
{
	struct xn_xdp_mode *m = &p->mode;
	bool again;

	pthread_mutex_lock(&p->lock);
	again = m->told && m->why == why && m->zero_copy == x->xsk.zero_copy;
	m->told = true;
	m->why = why;
	m->zero_copy = x->xsk.zero_copy;
	m->chunk_bytes = x->xsk.chunk_bytes;
	m->frame_bytes = x->xsk.frame_bytes;
	m->reach = x->reach;
	m->permille = x->map ? permille(x->map) : 0;
	m->lends = !x->bounce;
	m->hdr_bytes = x->q.cfg.hdr_bytes;
	pthread_mutex_unlock(&p->lock);
	if (again)
		return;
	if (x->map && !x->bounce)
		xn_log(XN_LOG_INFO, "%s: zero-copy mode: %s; %u of 1000 pages follow each other, buffers "
		       "of %u bytes and more are lent", p->spec.ifname, xn_xdp_why(why),
		       m->permille, m->hdr_bytes + m->reach);
	else
		xn_log(XN_LOG_INFO, "%s: %s mode: %s%s%s", p->spec.ifname,
		       m->zero_copy ? "zero-copy" : "copy", xn_xdp_why(why),
		       why == XN_WHY_BIND ? ": " : "", why == XN_WHY_BIND ? xn_last_error() : "");
}

static bool others_copy(const struct xn_xdp_port *p)
{
	for (unsigned i = 0; i < p->port.n_queues; i++)
		if (p->queues[i] && !p->queues[i]->xsk.zero_copy)
			return true;
	return false;
}

/* mode=auto: 0, or -EAGAIN: copy mode, *why. */
static int try_zero_copy(struct xn_xdpq *x, uint32_t fill_size, uint32_t tx_size, enum xn_mode_why *why)
{
	struct xn_xdp_port *p = xdp_port(x);
	bool loud;
	int err;

	*why = p->mode.cannot;
	if (*why == XN_WHY_ASKED)
		*why = verdict(p) == XN_VERDICT_NONE ? XN_WHY_DENIED :
		       verdict(p) ? XN_WHY_LOST : p->mode.why;
	if (!p->mode.shape.driver || verdict(p) || others_copy(p))
		return -EAGAIN;
	if (x->q.cfg.in_order) {
		*why = XN_WHY_ORDER;
		return -EAGAIN;
	}
	if (x->all_rx_frames < xn_xdp_mode_keeps(p)) {
		*why = XN_WHY_FRAMES;
		return -EAGAIN;
	}
	loud = xn_fail_silently(true);
	err = bind_zero_copy(x, fill_size, tx_size, true, why);
	xn_fail_silently(loud);
	if (!err)
		*why = XN_WHY_LENDS;
	else if (final(err))
		xn_log(XN_LOG_ERROR, "%s", xn_last_error());
	return !err || final(err) ? err : -EAGAIN;
}

static int insist(struct xn_xdpq *x, uint32_t fill_size, uint32_t tx_size, enum xn_mode_why *why)
{
	struct xn_xdp_port *p = xdp_port(x);
	int err;

	if (x->all_rx_frames < xn_xdp_mode_keeps(p))
		return xn_fail(ENOBUFS, "%s: driver %s has to have %u buffers at any time: raise "
			       "xn_mem_opts.bounce_frames", p->spec.ifname, p->info.driver,
			       xn_xdp_mode_keeps(p));
	err = bind_zero_copy(x, fill_size, tx_size, !verdict(p), why);
	if (err != -EAGAIN)
		return err;
	xn_log(XN_LOG_WARN, "%s: its driver takes nothing to send, and so does not tell which pages "
	       "follow each other (is there a carrier?): only what lies inside a page is lent",
	       p->spec.ifname);
	return bind_zero_copy(x, fill_size, tx_size, false, why);
}

int xn_xdp_bind(struct xn_xdpq *x, uint32_t fill_size, uint32_t tx_size)
{
	struct xn_xdp_port *p = xdp_port(x);
	enum xn_mode_why why = XN_WHY_ASKED, unused;
	int err = -EAGAIN;

	if (p->spec.mode == XN_XSK_AUTO)
		err = try_zero_copy(x, fill_size, tx_size, &why);
	else if (p->spec.mode == XN_XSK_ZERO_COPY)
		err = insist(x, fill_size, tx_size, &unused);
	if (err == -EAGAIN)
		err = bind_copy(x, fill_size, tx_size);
	if (err)
		return err;
	x->longest = x->sg ? x->xsk.frame_bytes : longest(p);
	tell(p, x, why);
	return 0;
}

void xn_xdp_get_mode(const struct xn_port *port, struct xn_port_mode *out)
{
	struct xn_xdp_port *p = XN_CONTAINER_OF(port, struct xn_xdp_port, port);
	const struct xn_xdp_mode *m = &p->mode;

	pthread_mutex_lock(&p->lock);
	if (m->told) {
		out->why = xn_xdp_why(m->why);
		out->chunk_bytes = m->chunk_bytes;
		out->frame_bytes = m->frame_bytes;
		out->pages_following = m->permille;
		out->min_buf_bytes = m->lends && verdict(p) != XN_VERDICT_NONE ? m->hdr_bytes + m->reach : 0;
		out->verdict = verdict(p) == XN_VERDICT_NONE ? xn_xdp_why(XN_WHY_DENIED) :
			       verdict(p) ? xn_xdp_why(XN_WHY_LOST) : "";
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- the end ---- */

int xn_xdp_unbind(struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	int err = 0;

	if (x->xsk.fd >= 0 && x->xsk.zero_copy) {
		err = p->sys->zc_close(&x->xsk, p->info.ifindex, x->host_queue, p->spec.ifname, x->end_fd,
				       p->sys->close_ms);
		x->end_fd = -1;
	} else if (x->xsk.fd >= 0) {
		p->sys->xsk_close(&x->xsk);
	}
	if (x->map)
		drop_map(&p->mode);
	x->map = NULL;
	if (err)
		p->unproven |= 1ull << x->q.cfg.index;
	return err;
}

int xn_xdp_settle(struct xn_xdp_port *p, unsigned index)
{
	struct xn_xsk none = { .fd = -1 };
	int fd, err = xn_xdp_take_spare(p, &fd);

	if (!err)
		err = p->sys->zc_close(&none, p->info.ifindex, p->spec.start + index, p->spec.ifname, fd,
				       p->sys->close_ms);
	if (!err)
		p->unproven &= ~(1ull << index);
	return err;
}
