/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several queues: each frame to the guest queue that RSS names, whatever host queue it came on.
 *
 * The XDP program chooses the socket (bpf/steer.bpf.c tells why this cannot be all). Each host
 * queue h has two of them on its one fill ring, which guest queue h lends its buffers to:
 *
 *	host queue h --+-- own socket:  frames for guest queue h
 *	               +-- away socket: frames for all others, "missteered"
 *
 *	        thread of h                              thread of g
 *	own  -> guest, as without RSS
 *	away -> which g? -> cross[h][g] ---------------> copied to held buffers -> guest
 *	fill <- the same entry again <------------------ done
 *
 * Own frames pass as they do without RSS. Of those on the away socket the configuration is
 * asked once more, in a copy that each queue has of it, looked for once a turn. Their buffers
 * belong to h all the time: while g's thread copies them they are only not in the fill ring, and
 * h's guest never sees that a frame was in them. In copy mode the frames of both RX rings
 * together come in the order of the fill ring, so they are read as a merge of both; a frame
 * that is seen before one in front of it finds its entry by a search (port/xdp_rx.c).
 *
 * The reserve. A missteered frame has to be copied into a buffer of g's, and those that are lent
 * cannot be called back. So each queue holds back some of them, an eighth at first; more, if
 * frames were dropped for want of them, until the next configuration. Nothing is lent in their
 * place, unless the guest has nothing else. It has to be more than a driver may keep before it
 * posts buffers again (Linux, virtnet_receive: 32): else the day comes when the driver waits for
 * frames in buffers that are lent, and all frames for it want one that is not.
 *
 * Stopping, whichever side stops (port/cross.h): h takes its away socket out of the program, and
 * its buffers out of the rings, before they are the guest's again; g does not listen any more. A
 * queue that is off, or stopped, is disabled in the program: frames for it are dropped and
 * counted there (steer_disabled), and never go elsewhere. Its host queue still has to take what
 * comes there for others: one that is off, and may have no guest buffers, lends bounce frames
 * for that (so does one that was started without rings, to stand by). One that is stopped has
 * no socket, and what comes there is dropped (steer_disabled). Without a configuration a frame
 * goes to the queue that it came on, and one that is off has an empty place in the map
 * (steer_no_socket).
 *
 * Where the kernel or a driver does not take the second socket, missteered frames stay where
 * they came (steer_unfixed), and xn_port_get_rss tells.
 */
#include <errno.h>
#include <stdlib.h>

#include "bpf/flows.h"
#include "port/cross.h"
#include "port/xdp_rx.h"
#include "rss/config.h"

#define RESERVE_PART  8u      /* this part of the buffers is held back ... */
#define RESERVE_MOST  2u      /* ... and this at most, */
#define RESERVE_LEAST 64u     /* but so many at least, as far as three quarters go */
#define OFF_FRAMES    64u     /* that a queue lends which is off */
#define LOOK_BYTES    256u    /* of a frame, if that is enough */
#define RECLAIM_BATCH 32u

struct xn_xdp_rss {
	pthread_mutex_t turn;            /* one configuration after the other */
	struct xn_cross *cross;          /* [from][to] */
	struct xn_mail *mail;            /* by queue */
	/* Under the port's lock: */
	uint64_t unmended;
	char why[160];
	bool steered;
	unsigned in_force;               /* which of the two */
	struct xn_rss_image image[2];
	uint32_t generation;             /* changes with each configuration. Any thread */
};

static uint32_t first_reserve(const struct xn_xdpq *x)
{
	const uint32_t heads = x->q.cfg.rx_heads;
	/* What is lent has to take the longest frame. */
	const uint32_t most = XN_MIN(heads / 4 * 3, heads > x->pieces ? heads - x->pieces : 0);

	return XN_MIN(XN_MAX(heads / RESERVE_PART, RESERVE_LEAST), most);
}

static struct xn_xdp_port *xdp_port(const struct xn_xdpq *x)
{
	return XN_CONTAINER_OF(x->q.port, struct xn_xdp_port, port);
}

static unsigned queues(const struct xn_xdpq *x)
{
	return xdp_port(x)->spec.queues;
}

static struct xn_cross *cross(const struct xn_xdpq *x, unsigned from, unsigned to)
{
	return &xdp_port(x)->rss->cross[from * queues(x) + to];
}

static struct xn_mail *mail(const struct xn_xdpq *x, unsigned queue)
{
	return &xdp_port(x)->rss->mail[queue];
}

/* Lowest of the bits; there is one. */
static unsigned first_bit(uint64_t bits)
{
	return (unsigned)__builtin_ctzll(bits);
}

/* ---- the port ---- */

/* Zeroed, on lines of their own. */
static void *alloc_lines(size_t n, size_t bytes)
{
	void *p = aligned_alloc(XN_CACHE_LINE, n * bytes);

	return p ? memset(p, 0, n * bytes) : NULL;
}

int xn_xdp_rss_open(struct xn_xdp_port *p)
{
	const unsigned n = p->spec.queues;
	struct xn_xdp_rss *r;
	int err = 0;

	if (n == 1)
		return 0;
	p->rss = r = calloc(1, sizeof(*r));
	if (!r)
		return xn_fail(ENOMEM, "%s: out of memory", p->spec.ifname);
	pthread_mutex_init(&r->turn, NULL);
	r->cross = alloc_lines((size_t)n * n, sizeof(*r->cross));
	r->mail = alloc_lines(n, sizeof(*r->mail));
	if (!r->cross || !r->mail)
		return xn_fail(ENOMEM, "%s: out of memory for %u queues", p->spec.ifname, n);
	for (unsigned i = 0; i < n; i++)
		r->mail[i].fd = -1;
	for (unsigned i = 0; i < n && !err; i++)
		err = xn_mail_open(&r->mail[i]);
	return err ? xn_fail(-err, "%s: cannot make an eventfd: raise the limit of open files",
			     p->spec.ifname) : 0;
}

void xn_xdp_rss_close(struct xn_xdp_port *p)
{
	struct xn_xdp_rss *r = p->rss;

	if (!r)
		return;
	for (unsigned i = 0; r->mail && i < p->spec.queues; i++)
		xn_mail_close(&r->mail[i]);
	pthread_mutex_destroy(&r->turn);
	free(r->mail);
	free(r->cross);
	free(r);
}

void xn_xdp_rss_begin(struct xn_xdp_port *p)
{
	for (unsigned g = 0; p->rss && g < p->spec.queues; g++)
		p->sys->steer_enable(p->steer, g, false);
}

/* For the queues, which look at the generation once a turn. Under r->turn. */
static void publish(struct xn_xdp_port *p, const struct xn_rss_config *cfg)
{
	struct xn_xdp_rss *r = p->rss;
	const unsigned next = !r->in_force;

	if (cfg)
		xn_rss_image_make(&r->image[next], cfg);
	pthread_mutex_lock(&p->lock);
	r->steered = cfg != NULL;
	r->in_force = next;
	xn_store_once32(&r->generation, r->generation + 1);
	pthread_mutex_unlock(&p->lock);
}

/*
 * First the program, then the queues: a frame in between was steered by the new configuration,
 * and if it came out of an away socket, it is delivered by the one before. That is as if it had
 * come a little earlier.
 */
int xn_xdp_set_rss(struct xn_port *port, const struct xn_rss_config *cfg)
{
	struct xn_xdp_port *p = XN_CONTAINER_OF(port, struct xn_xdp_port, port);
	int err;

	if (!p->rss)   /* all frames go to the one queue, whatever is said */
		return 0;
	pthread_mutex_lock(&p->rss->turn);
	err = p->sys->steer_set_rss(p->steer, cfg);
	if (!err) {
		publish(p, cfg);
		xn_xdp_nic_set(p, cfg);
	}
	pthread_mutex_unlock(&p->rss->turn);
	return err;
}

uint64_t xn_xdp_unclassified(const struct xn_xdp_port *p)
{
	uint64_t sum = 0, v[XN_Q_COUNT];

	for (unsigned g = 0; p->rss && g < p->spec.queues; g++) {
		p->sys->steer_queue_counters(p->steer, g, v);
		sum += v[XN_Q_unclassified];
	}
	return sum;
}

uint64_t xn_xdp_unmended(const struct xn_xdp_port *p, const char **why)
{
	*why = p->rss ? p->rss->why : "";
	return p->rss ? p->rss->unmended : 0;
}

/* ---- a queue: life cycle ---- */

int xn_xdp_steer_on(struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	int err = p->sys->steer_set(p->steer, x->host_queue, x->xsk.fd);

	if (err || !x->away)
		return err;
	xn_store_once8(&x->away->off, 0);
	p->sys->steer_enable(p->steer, x->q.cfg.index, true);
	return 0;
}

void xn_xdp_steer_off(struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);

	if (x->away)
		p->sys->steer_enable(p->steer, x->q.cfg.index, false);
	p->sys->steer_clear(p->steer, x->host_queue);
	if (!x->away)
		return;
	xn_store_once8(&x->away->off, 1);
	xn_mail_send(mail(x, x->q.cfg.index), x->q.cfg.index);   /* its thread lends frames */
}

/* The second socket is not to be had: the queue runs without it. */
static void note_unmended(const struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);

	pthread_mutex_lock(&p->lock);
	p->rss->unmended |= 1ull << x->q.cfg.index;
	snprintf(p->rss->why, sizeof(p->rss->why), "%s", xn_last_error());
	pthread_mutex_unlock(&p->lock);
	xn_log(XN_LOG_WARN, "%s queue %u: no second socket, frames of other queues that come there "
	       "stay there: %s", p->spec.ifname, x->host_queue, xn_last_error());
}

static void open_away(struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	struct xn_xsk_cfg cfg = {
		.ifindex = p->info.ifindex, .queue = x->host_queue, .ifname = p->spec.ifname,
		.mem = x->mem, .rx_size = x->xsk.rx.size, .spares_spent = p->spares_spent,
	};
	bool loud = xn_fail_silently(true);
	int err = xn_xdp_take_spare(p, &cfg.spare_fd);

	if (!err)
		err = p->sys->xsk_open_rx(&x->away->xsk, &x->xsk, &cfg);
	xn_fail_silently(loud);
	if (err) {
		x->away->xsk.fd = -1;
		note_unmended(x);
	}
}

/* Frames of all other guest queues that come on x's host queue go to its second socket. */
static int set_row(const struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	int err = 0;

	for (unsigned g = 0; g < queues(x) && !err; g++)
		if (g != x->q.cfg.index)
			err = p->sys->steer_set_at(p->steer, x->host_queue, g, x->away->xsk.fd);
	return err;
}

int xn_xdp_rss_start(struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	const unsigned me = x->q.cfg.index;

	if (!p->rss)
		return 0;
	x->away = calloc(1, sizeof(*x->away));
	if (!x->away)
		return xn_fail(ENOMEM, "%s: out of memory", p->spec.ifname);
	x->away->xsk.fd = -1;
	x->away->off = x->q.cfg.rx_off;
	x->away->reserve = first_reserve(x);
	pthread_mutex_lock(&p->lock);
	x->away->generation = p->rss->generation - 1;
	p->rss->unmended &= ~(1ull << me);
	pthread_mutex_unlock(&p->lock);
	for (unsigned h = 0; h < queues(x); h++)
		XN_COUNT(x->q.cfg.ctr, rx_drop_stopped, xn_cross_listen(cross(x, h, me), true));
	open_away(x);
	return x->away->xsk.fd >= 0 ? set_row(x) : 0;
}

void xn_xdp_rss_quiesce(const struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);

	for (unsigned g = 0; x->away && g < queues(x); g++)
		if (g != x->q.cfg.index)
			p->sys->steer_clear_at(p->steer, x->host_queue, g);
}

void xn_xdp_rss_stop(struct xn_xdpq *x)
{
	const unsigned me = x->q.cfg.index;
	struct xn_cross_frame back[RECLAIM_BATCH];
	uint64_t dropped = 0;

	if (!x->away)
		return;
	xn_xdp_rss_quiesce(x);
	for (unsigned h = 0; h < queues(x); h++) {
		dropped += xn_cross_listen(cross(x, h, me), false);
		dropped += xn_cross_withdraw(cross(x, me, h));
		while (xn_cross_reclaim(cross(x, me, h), back, RECLAIM_BATCH, &dropped))
			;
		if (h != me)   /* what it had given us is its own again */
			xn_mail_send(mail(x, h), me);
	}
	if (x->away->xsk.fd >= 0)
		dropped += xn_xdp_frames_in(&x->away->xsk.rx);
	XN_COUNT(x->q.cfg.ctr, rx_drop_stopped, dropped);
}

void xn_xdp_rss_end(struct xn_xdpq *x)
{
	if (!x->away)
		return;
	if (x->away->xsk.fd >= 0)
		xdp_port(x)->sys->xsk_close(&x->away->xsk);
	free(x->away);
	x->away = NULL;
}

/* ---- sleep ---- */

void xn_xdp_rss_arm(struct xn_xdpq *x)
{
	const bool few = x->away->crossing && rx_outstanding(x) < XN_MAX(x->away->crossing, x->pieces);

	xn_mail_arm(mail(x, x->q.cfg.index), x->away->in != 0,
		    few ? XN_MAIL_FOR_BUFFERS_TOO : XN_MAIL_FOR_FRAMES);
}

int xn_xdp_rss_fd(const struct xn_xdpq *x)
{
	return mail(x, x->q.cfg.index)->fd;
}

bool xn_xdp_away_waiting(struct xn_xdpq *x)
{
	bool any = x->away->xsk.fd >= 0 && xsk_cons_nb_avail(&x->away->xsk.rx, 1);

	for (unsigned h = 0; h < queues(x) && !any; h++)
		any = xn_cross_waiting(cross(x, h, x->q.cfg.index));
	return any;
}

/* ---- the owner's side: frames that came here for others ---- */

/* Reports that say that the whole frame may have to be looked at: a port may lie behind what
 * was (VIRTIO_NET_HASH_REPORT_*; 0: none). */
static bool may_go_on(unsigned report)
{
	return report == XN_FLOW_NONE || report == XN_FLOW_IPV6 || report == XN_FLOW_IPV6_EX;
}

/* What the program has asked: the report, and the guest queue, of x->away->frame. */
static unsigned ask(const struct xn_xdpq *x, uint32_t bytes, unsigned *to)
{
	const struct xn_xdp_away *a = x->away;
	const struct xn_flows *flows = x->learn.flows;
	const unsigned here = x->q.cfg.index;
	unsigned report;
	uint32_t hash;

	if (a->steered) {
		*to = xn_rss_steer(&a->image, a->frame, bytes, &hash, &report);
		return report;
	}
	*to = here;
	if (!flows)   /* there was a configuration a moment ago */
		return XN_FLOW_IPV4;
	report = xn_rss_hash(flows->image, a->frame, a->frame + bytes, &hash);
	if (report)
		*to = xn_flow_queue(xn_load_once8(&flows->slot[hash & (XN_FLOW_SLOTS - 1)]), here,
				    queues(x));
	return report;
}

/*
 * The frame lies in guest memory, perhaps: it is copied, and the copy looked at. Headers are in
 * its first bytes; only many extension headers are not.
 */
unsigned xn_xdp_named(struct xn_xdpq *x, uint64_t data, uint32_t bytes)
{
	struct xn_xdp_away *a = x->away;
	const uint32_t some = XN_MIN(bytes, LOOK_BYTES), whole = XN_MIN(bytes, sizeof(a->frame));
	const uint8_t *frame = xn_mem_at(x->mem, XN_UOFF(data));
	unsigned report, to;

	memcpy(a->frame, frame, some);
	report = ask(x, some, &to);
	if (XN_LIKELY(some == whole || !may_go_on(report)))
		return to;
	memcpy(a->frame, frame, whole);
	ask(x, whole, &to);
	return to;
}

/* A frame, in n pieces. */
static enum xn_counter push(struct xn_xdpq *x, unsigned to, const struct xn_cross_frame *f, unsigned n)
{
	struct xn_cross *c = cross(x, x->q.cfg.index, to);

	if (!xn_cross_push(c, f, n))
		return xn_load_once32(&c->open) ? XN_C_rx_drop_cross_full : XN_C_rx_drop_stopped;
	x->away->crossing += n;
	x->away->owed |= 1ull << to;
	x->away->tell |= 1ull << to;
	XN_COUNT(x->q.cfg.ctr, rss_handed_over, 1);
	return XN_C_rss_handed_over;
}

enum xn_counter xn_xdp_hand_over(struct xn_xdpq *x, unsigned to, uint64_t data, uint32_t bytes,
				 const struct xn_lent *l)
{
	const struct xn_cross_frame f = { .data = data, .len = bytes, .id_kind = l->id_kind,
					  .fill = l->fill, .buf_len = l->len };

	/* A driver that always has to have so many gets them before the others do. */
	if (x->keep && rx_outstanding(x) - 1 + x->n_rx_frames < x->keep)
		return XN_C_rx_drop_cross_full;
	if (XN_UNLIKELY(x->watch.rx_proof))
		xn_xdp_prove_rx(x, l->fill);
	return push(x, to, &f, 1);
}

enum xn_counter xn_xdp_hand_over_pieces(struct xn_xdpq *x, unsigned to, const struct xn_xdp_frame *f,
					const struct xn_lent *lent)
{
	struct xn_cross_frame pieces[XN_RX_PIECES_MAX];

	for (unsigned i = 0; i < f->n; i++)
		pieces[i] = (struct xn_cross_frame){
			.data = (uint64_t)(f->p[i].at - x->mem->base),
			.len = f->p[i].len | (i + 1 < f->n ? XN_CROSS_MORE : 0),
			.id_kind = lent[i].id_kind, .fill = lent[i].fill, .buf_len = lent[i].len,
		};
	return push(x, to, pieces, f->n);
}

void xn_xdp_rss_tell(struct xn_xdpq *x)
{
	for (; x->away->tell; x->away->tell &= x->away->tell - 1)
		xn_mail_send(mail(x, first_bit(x->away->tell)), x->q.cfg.index);
}

/* What guest queue g is done with goes into the fill ring again. */
static void reclaim_from(struct xn_xdpq *x, struct fill *f, unsigned g)
{
	struct xn_cross *c = cross(x, x->q.cfg.index, g);
	struct xn_cross_frame back[RECLAIM_BATCH];
	uint64_t dropped = 0;
	unsigned n, most;

	do {
		most = XN_MIN(fill_room(x, f), RECLAIM_BATCH);
		n = xn_cross_reclaim(c, back, most, &dropped);
		for (unsigned i = 0; i < n; i++) {
			fill_put(f, back[i].fill, (uint16_t)back[i].id_kind, (uint16_t)(back[i].id_kind >> 16));
			if (x->sg)
				fill_last(f)->len = back[i].buf_len;
		}
		x->away->crossing -= n;
	} while (n == RECLAIM_BATCH);
	if (c->pushed == c->reclaimed)
		x->away->owed &= ~(1ull << g);
	XN_COUNT(x->q.cfg.ctr, rx_drop_stopped, dropped);
}

/* A queue that is off has frames for others to receive, and perhaps no buffers. */
static void lend_off_frames(struct xn_xdpq *x, struct fill *f)
{
	const uint32_t most = OFF_FRAMES * x->pieces;

	while (f->posted - x->rx_taken < most && x->n_rx_frames && fill_room(x, f)) {
		fill_put(f, x->rx_frames[--x->n_rx_frames].v, 0, XN_LENT_BOUNCE);
		x->bounce_posted++;
	}
}

static void read_configuration(struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	const struct xn_xdp_rss *r = p->rss;
	struct xn_xdp_away *a = x->away;

	pthread_mutex_lock(&p->lock);
	a->generation = r->generation;
	a->steered = r->steered;
	if (a->steered)
		a->image = r->image[r->in_force];
	pthread_mutex_unlock(&p->lock);
	a->reserve = first_reserve(x);
}

void xn_xdp_rss_turn(struct xn_xdpq *x)
{
	const unsigned me = x->q.cfg.index;
	struct xn_xdp_away *a = x->away;
	struct fill f = fill_begin(x);

	xn_mail_awake(mail(x, me));
	a->in |= xn_mail_take(mail(x, me)) & ~(1ull << me);
	for (uint64_t owed = a->owed; owed; owed &= owed - 1)
		reclaim_from(x, &f, first_bit(owed));
	if (XN_UNLIKELY(xn_load_once8(&a->off)))
		lend_off_frames(x, &f);
	fill_end(x, &f);
	if (XN_UNLIKELY(xn_load_once32(&xdp_port(x)->rss->generation) != a->generation))
		read_configuration(x);
}

/* ---- the reader's side: frames that came elsewhere, for this queue ---- */

uint32_t xn_xdp_reserve_lacks(const struct xn_xdpq *x, uint32_t posted, uint32_t n)
{
	const struct xn_xdp_away *a = x->away;
	const uint32_t held = xn_id_fifo_count(&x->held);
	/* Of the guest's, the port will have so many: it shares out what there is. */
	const uint64_t all = (uint64_t)xn_xdp_guests_lent(x, posted) + held + n;
	uint32_t want = (uint32_t)XN_MIN(all * a->reserve / x->q.cfg.rx_heads, (uint64_t)a->reserve);

	/* Bounce frames that are lent already want a buffer each. */
	want = XN_MAX(want, x->bounce_posted);
	return want > held ? want - held : 0;
}

uint32_t xn_xdp_beside_reserve(const struct xn_xdpq *x, uint32_t posted, uint32_t frames)
{
	const struct xn_xdp_away *a = x->away;
	const uint32_t held = xn_id_fifo_count(&x->held);

	if (held > a->reserve)
		return XN_MAX((uint32_t)((uint64_t)frames * (held - a->reserve) / held), 1u);
	/* Nothing of the guest's is lent: what there is, both kinds share. */
	return xn_xdp_guests_lent(x, posted) ? 0 : (frames + 1) / 2;
}

struct copied {
	unsigned out;
	uint64_t frames, no_buffer, too_small;
};

/* The frame that begins with the i-th that waits: in how many pieces it is, all of which are there;
 * `used` entries of done have it, if it is OK. */
static uint32_t spread(struct xn_xdpq *x, const struct xn_cross *c, uint32_t i, struct xn_rx_done *done,
		       unsigned n, unsigned *used, enum xn_spread *how)
{
	const struct xn_cross_frame *f = xn_cross_at(c, i);
	struct xn_xdp_frame pieces = { 0 };

	if (XN_LIKELY(!(f->len & XN_CROSS_MORE))) {
		*how = xn_xdp_spread(x, f->data, f->len, done, n, used);
		return 1;
	}
	for (;; f = xn_cross_at(c, ++i)) {
		xn_xdp_frame_add(&pieces, x->mem, f->data, f->len & ~XN_CROSS_MORE);
		if (!(f->len & XN_CROSS_MORE))
			break;
	}
	i = pieces.n;
	*how = xn_xdp_spread_pieces(x, &pieces, done, n, used);
	return i;
}

/* Frames of one ring, of which we have the claim. How many of its slots are done with. */
static uint32_t copy_in(struct xn_xdpq *x, const struct xn_cross *c, struct xn_rx_done *done, unsigned n,
			unsigned frames, struct copied *k)
{
	const uint32_t waiting = xn_cross_waiting(c);
	uint32_t i = 0, next;

	for (; i < waiting && frames; i = next, frames--) {
		enum xn_spread how;
		unsigned used = 0;

		next = i + spread(x, c, i, done + k->out, n - k->out, &used, &how);
		k->out += used;
		switch (how) {
		case XN_SPREAD_OK:
			k->frames++;
			break;
		case XN_SPREAD_NO_BUFFER:
			k->no_buffer++;
			break;
		case XN_SPREAD_TOO_SMALL:
			k->too_small++;
			break;
		case XN_SPREAD_NO_ROOM:
			return i;
		}
	}
	return i;
}

/* Frames that came on host queue h. Are there more? */
static bool cross_from(struct xn_xdpq *x, unsigned h, struct xn_rx_done *done, unsigned n,
		       unsigned frames, struct copied *k)
{
	struct xn_cross *c = cross(x, h, x->q.cfg.index);
	uint32_t taken;

	if (!xn_cross_waiting(c))
		return false;
	if (!xn_cross_claim(c))
		return true;
	taken = copy_in(x, c, done, n, frames, k);
	xn_cross_done(c, taken);
	xn_cross_unclaim(c);
	if (taken)
		xn_mail_send_back(mail(x, h), x->q.cfg.index);
	return xn_cross_waiting(c);
}

unsigned xn_xdp_cross_in(struct xn_xdpq *x, struct xn_rx_done *done, unsigned n, unsigned frames)
{
	struct xn_xdp_away *a = x->away;
	struct xn_counters *ctr = x->q.cfg.ctr;
	struct copied k = { 0 };
	uint64_t part[2];

	if (XN_LIKELY(!a->in))
		return 0;
	/* Each of them comes first one time: nobody waits for ever. */
	part[0] = a->in & ~0ull << (a->turn / 2 % queues(x));
	part[1] = a->in & ~part[0];
	for (unsigned i = 0; i < 2; i++)
		for (; part[i] && k.out < frames; part[i] &= part[i] - 1) {
			const unsigned h = first_bit(part[i]);

			if (!cross_from(x, h, done, n, frames - k.out, &k))
				a->in &= ~(1ull << h);
		}
	XN_COUNT(ctr, rss_missteered, k.frames);
	XN_COUNT(ctr, rx_drop_too_small, k.too_small);
	if (k.no_buffer) {
		XN_COUNT(ctr, rx_drop_missteered, k.no_buffer);
		a->reserve = XN_MAX(a->reserve, XN_MIN(2 * a->reserve,
							x->q.cfg.rx_heads / RESERVE_MOST));
	}
	return k.out;
}
