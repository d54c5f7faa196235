/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a driver in zero-copy mode does with memory is watched: before anything of the guest's
 * is lent to it, and as long as something is.
 *
 *	proof    all is bounced. Bounce frames are painted around the place where a frame may
 *	         be written; each that comes back has its frame there, and the paint is whole.
 *	         What is sent goes out of arena frames, which are as they were afterwards
 *	trial    at most half of the receive buffers are lent, until as many have come back:
 *	         if they do not, the others still come
 *	service  what may be lent is lent; but one buffer at least is always bounced, so that
 *	         reception never starves
 *
 * A driver that fails the proof, or puts a frame elsewhere later, is lent nothing any more
 * for as long as the port lives. Measured ones have a short proof: it notices a device that
 * differs from those that were measured (virtio_net with longer headers).
 *
 * Buffers that vanish. Fill entries are taken in order, and a NIC fills its buffers in order,
 * so an entry is overtaken by later ones only when its frame was dropped: then it goes to the
 * end of the NIC's ring, and is overtaken by as many as there are at most. In the shadow of the fill ring the entry that was posted first is in
 * front (find_lent), and so the number of entries that have overtaken it is rx_taken - its
 * own number, which is never negative for the one in front. If there are many, and no frame was dropped meanwhile, it has vanished.
 *
 * To give its head back to the guest takes certainty that nobody writes to it. So the engine
 * is asked to stop this queue, which proves that (xn_zc_close), and to start it again, with
 * less lent: first nothing that crosses a page any more; then nothing. It is asked at most
 * once for each.
 *
 * In transmit nothing is written, and completions come in the order of the ring. One that
 * does not come is given up when many later ones have, or after a while; descriptors that
 * the kernel has refused, though none should be, are found by its count.
 */
#include <errno.h>
#include <stdlib.h>

#include "port/xdp.h"

#define PROOF_MEASURED 16u
#define PROOF_READ     256u
#define PAINT          0xa5
#define TX_PATIENCE    32u      /* completions behind one that is missing */

static struct xn_xdp_port *xdp_port(const struct xn_xdpq *x)
{
	return XN_CONTAINER_OF(x->q.port, struct xn_xdp_port, port);
}

/* ---- what is lent ---- */

void xn_xdp_set_rule(struct xn_xdpq *x)
{
	const uint32_t hdr = x->q.cfg.hdr_bytes;
	const bool open = !x->bounce && !x->watch.rx_proof && !x->watch.trial;

	x->rule = (struct xn_lend_rule){
		.min_len = hdr + x->reach,
		/* No guest memory is at offset 0: nothing passes, however long it says it is. */
		.last_at = open ? x->mem->umem_bytes - hdr - x->reach : 0,
		.fill_before = x->xsk.land - hdr,
	};
}

static void paint(const struct xn_xdpq *x)
{
	for (uint32_t i = 0; i < x->all_rx_frames; i++)
		memset(xn_mem_at(x->mem, x->rx_all[i]), PAINT, XN_CHUNK_BYTES);
}

int xn_xdp_watch_begin(struct xn_xdpq *x)
{
	const bool measured = x->known && xdp_port(x)->mode.driver->trust == XN_ZC_MEASURED;
	struct xn_xdp_watch *w = &x->watch;

	*w = (struct xn_xdp_watch){ .patience = INT32_MAX, .tx_looked = x->tx_posted };
	if (x->known) {
		w->rx_proof = measured ? PROOF_MEASURED : PROOF_READ;
		w->tx_proof = measured ? 0 : PROOF_READ;
		w->trial = (x->q.cfg.rx_heads + 1) / 2;
		w->patience = x->q.cfg.rx_heads + x->keep;
		w->refused = x->refused;
		w->tx_sums = calloc(x->all_tx_frames, sizeof(*w->tx_sums));
		if (!w->tx_sums)
			return xn_fail(ENOMEM, "out of memory for a queue");
		paint(x);
		xn_xdp_heed(x);
	}
	xn_xdp_set_rule(x);
	return 0;
}

void xn_xdp_watch_end(struct xn_xdpq *x)
{
	free(x->watch.tx_sums);
	x->watch.tx_sums = NULL;
}

/* ---- the verdict ---- */

void xn_xdp_heed(struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	uint32_t verdict = xn_load_once32(&p->mode.verdict);

	x->watch.verdict = verdict;
	if (verdict == XN_VERDICT_ALL || !x->known)
		return;
	x->map = x->tx_map = x->lay.map = &p->mode.none;
	if (verdict == XN_VERDICT_NONE) {
		x->bounce = true;
		x->tx_lends = false;
		xn_xdp_set_rule(x);
		/* What it has of the guest's it may still write to. */
		if (xn_xdp_guests_lent(x, x->rx_posted))
			x->q.restart = xn_xdp_why(XN_WHY_DENIED);
	}
	/* Copy mode is better than that. */
	if (p->spec.mode == XN_XSK_AUTO)
		x->q.restart = xn_xdp_why(verdict == XN_VERDICT_NONE ? XN_WHY_DENIED : XN_WHY_LOST);
}

/* Told once: by who makes it worse. */
static void judge(struct xn_xdpq *x, enum xn_verdict verdict, const char *did)
{
	static const char *const what[] = { "", "nothing that crosses a page", "nothing" };
	struct xn_xdp_port *p = xdp_port(x);
	bool worse;

	pthread_mutex_lock(&p->lock);
	worse = p->mode.verdict < (uint32_t)verdict;
	if (worse)
		xn_store_once32(&p->mode.verdict, (uint32_t)verdict);
	pthread_mutex_unlock(&p->lock);
	if (worse)
		xn_log(XN_LOG_WARN, "%s queue %u: driver %s %s: %s is lent to it any more",
		       p->spec.ifname, x->host_queue, p->info.driver, did, what[verdict]);
	xn_xdp_heed(x);
}

/* ---- proof ---- */

static bool painted(const uint8_t *from, const uint8_t *to)
{
	while (from < to)
		if (*from++ != PAINT)
			return false;
	return true;
}

void xn_xdp_prove_rx(struct xn_xdpq *x, uint64_t fill)
{
	const uint8_t *frame = xn_mem_at(x->mem, XN_UOFF(fill)), *land = frame + x->xsk.land;

	if (!painted(frame, land - x->front) || !painted(land + x->reach, frame + XN_CHUNK_BYTES)) {
		judge(x, XN_VERDICT_NONE, "wrote beside a buffer");
		return;
	}
	if (!--x->watch.rx_proof)
		xn_xdp_set_rule(x);
}

void xn_xdp_misplaced(struct xn_xdpq *x)
{
	judge(x, XN_VERDICT_NONE, "put a frame where none should be");
}

void xn_xdp_trial_rx(struct xn_xdpq *x, uint32_t frames)
{
	x->watch.trial -= XN_MIN(x->watch.trial, frames);
	if (!x->watch.trial)
		xn_xdp_set_rule(x);
}

/* Of a whole arena frame, so that a byte behind the packet counts too. */
static uint64_t sum_of(const struct xn_xdpq *x, uint32_t frame)
{
	const uint64_t *p = xn_mem_at(x->mem, x->tx_frames[frame]);
	uint64_t sum = 14695981039346656037ull;   /* FNV-1a, of words */

	for (unsigned i = 0; i < XN_CHUNK_BYTES / sizeof(*p); i++)
		sum = (sum ^ p[i]) * 1099511628211ull;
	return sum;
}

void xn_xdp_tx_leaves(struct xn_xdpq *x, uint32_t frame)
{
	x->watch.tx_sums[frame] = sum_of(x, frame);
}

void xn_xdp_tx_back(struct xn_xdpq *x, uint32_t frame)
{
	if (sum_of(x, frame) != x->watch.tx_sums[frame])
		judge(x, XN_VERDICT_NONE, "wrote to a packet that it sent");
	else
		x->watch.tx_proof--;
}

/* ---- what vanishes ---- */

/* Frames that were dropped behind the NIC: their buffers go to its end again. */
static uint64_t drops(const struct xn_xdpq *x)
{
	struct xn_xdp_port *p = xdp_port(x);
	uint64_t exits[XN_E_COUNT], sum;
	struct xdp_statistics st;

	p->sys->steer_counters(p->steer, exits);
	p->sys->xsk_statistics(&x->xsk, &st);
	sum = st.rx_dropped + st.rx_ring_full;
	if (x->away && x->away->xsk.fd >= 0) {
		p->sys->xsk_statistics(&x->away->xsk, &st);
		sum += st.rx_dropped + st.rx_ring_full;
	}
	for (unsigned i = 0; i < XN_E_COUNT; i++)
		sum += i == XN_E_steer_to_guest || i == XN_E_steer_missteered || i == XN_E_steer_unfixed ?
		       0 : exits[i];
	return sum;
}

static struct xn_lent *outstanding(const struct xn_xdpq *x, uint32_t no)
{
	return &x->lent[no & x->lent_mask];
}

static bool crosses(const struct xn_xdpq *x, const struct xn_lent *l)
{
	return l->fill / XN_PAGE_SIZE != (l->fill + x->xsk.chunk_bytes - 1) / XN_PAGE_SIZE;
}

/* From now on they are counted anew. */
static void begin_anew(const struct xn_xdpq *x)
{
	for (uint32_t no = x->rx_taken; no != x->rx_posted; no++)
		outstanding(x, no)->no = no;
}

void xn_xdp_overtaken(struct xn_xdpq *x)
{
	struct xn_xdp_watch *w = &x->watch;
	const uint64_t dropped = drops(x);
	uint32_t all = 0, across = 0;

	if (dropped != w->drops) {
		w->drops = dropped;
		begin_anew(x);
		return;
	}
	for (uint32_t no = x->rx_taken; no != x->rx_posted; no++) {
		const struct xn_lent *l = outstanding(x, no);

		/* Some were posted later than it. */
		if ((int32_t)(x->rx_taken - l->no) <= (int32_t)w->patience ||
		    XN_LENT_KIND(l) == XN_LENT_BOUNCE)
			continue;
		all++;
		across += crosses(x, l);
	}
	begin_anew(x);
	if (!all)      /* frames of our own: nothing of the guest's is missing */
		return;
	XN_COUNT(x->q.cfg.ctr, rx_vanished, all);
	judge(x, across == all ? XN_VERDICT_IN_PAGE : XN_VERDICT_NONE, "loses receive buffers");
	x->q.restart = xn_xdp_why(XN_WHY_LOST);
}

/* Those that are done with, and those that never will be, up to the next that may be. */
static uint64_t give_up(struct xn_xdpq *x, uint32_t n)
{
	uint64_t lost = 0;

	for (uint32_t no = x->tx_done; n--; no++) {
		uint64_t *s = &x->sent[no & x->xsk.tx.mask];

		lost += !(*s & XN_SENT_DONE);
		*s |= XN_SENT_DONE;
	}
	return lost;
}

void xn_xdp_tx_overtaken(struct xn_xdpq *x, uint32_t ahead)
{
	struct xn_xdp_watch *w = &x->watch;
	const uint64_t now = xn_now_ns();

	if (w->tx_late_ns && w->tx_late != x->tx_done)
		w->tx_late_ns = 0;
	if (!w->tx_late_ns) {
		w->tx_late = x->tx_done;
		w->tx_late_ns = now + xdp_port(x)->sys->late_ms * 1000000ull;
	}
	if (ahead <= TX_PATIENCE && now < w->tx_late_ns)
		return;
	w->tx_late_ns = 0;
	XN_COUNT(x->q.cfg.ctr, tx_vanished,
		 give_up(x, ahead > TX_PATIENCE ? ahead - TX_PATIENCE : ahead));
	if (x->known)
		judge(x, XN_VERDICT_IN_PAGE, "loses packets");
}

void xn_xdp_tx_look(struct xn_xdpq *x)
{
	struct xdp_statistics st;

	x->watch.tx_looked = x->tx_posted;
	xdp_port(x)->sys->xsk_statistics(&x->xsk, &st);
	if (st.tx_invalid_descs == x->watch.refused)
		return;
	x->watch.refused = st.tx_invalid_descs;
	judge(x, XN_VERDICT_IN_PAGE, "refuses packets");
}
