/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Contract in bench/sender.h. A thread lives from start to stop of a run; the socket and its
 * memory as long as the sender. Completions come in the order of the descriptors, and are
 * only counted: frame i lies in the chunks i modulo the frames that there is room for.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "bench/bench.h"
#include "bench/clock.h"
#include "bench/sender.h"
#include "xsk/xsk.h"

#define CHUNKS   256u      /* in flight, and of the ring; of large frames ... */
#define CHUNKS_LARGE 1024u
#define BATCH    32u
#define BUDGET   64u       /* frames of one system call */
#define NAP_NS   100000    /* nothing is due: others may have the processor */
#define END_NS   100e6     /* how long frames may take to leave */

struct xn_sender {
	const struct xn_lab *lab;
	unsigned queue;
	struct xn_mem *mem;
	xn_uoff first;              /* chunk */
	uint32_t chunks;            /* each a descriptor of a frame's at most */
	uint32_t pieces, frames;    /* of a frame in this run; frames that the chunks have room for */
	struct xn_xsk x;

	struct xn_gen_cfg cfg;
	pthread_t thread;
	bool running;
	uint32_t stop;              /* set by who stops */
	uint64_t limit;             /* as struct xn_gen_task */
	uint64_t seq;               /* frames stamped; the thread's */
	uint32_t posted, done;      /* descriptors, free running */
	uint32_t next;              /* frame, of frames */
	uint64_t begin, end;        /* ticks: first frame, last one */
};

/* ---- the thread ---- */

static void settle(struct xn_sender *s)
{
	uint32_t idx, n = xsk_ring_cons__peek(&s->x.comp, s->chunks, &idx);

	if (n)
		xsk_ring_cons__release(&s->x.comp, n);
	s->done += n;
}

/* How many frames may leave now? */
static uint32_t allowance(const struct xn_sender *s, uint64_t now)
{
	uint64_t n = XN_MIN(BATCH, (s->chunks - (s->posted - s->done)) / s->pieces);

	if (s->cfg.window) {
		const uint64_t limit = xn_load_once64(&s->limit);

		n = XN_MIN(n, limit > s->seq ? limit - s->seq : 0);
	}
	if (s->cfg.pace_pps) {
		const double due = xn_ticks_ns(now - s->begin) * (double)s->cfg.pace_pps / 1e9 -
				   (double)s->seq + 1;

		n = XN_MIN(n, due > 0 ? (uint64_t)due : 0);
	}
	return (uint32_t)n;
}

/* Frame i of the memory: in chunks one behind the other. */
static xn_uoff frame_at(const struct xn_sender *s, uint32_t i)
{
	return XN_UOFF(s->first.v + (uint64_t)i * s->pieces * XN_CHUNK_BYTES);
}

/* Its descriptors, equally long; a packet's all but the last say that more follows. */
static void describe(struct xn_sender *s, xn_uoff at, uint32_t idx)
{
	const uint32_t len = (s->cfg.bytes + s->pieces - 1) / s->pieces;

	for (uint32_t k = 0; k < s->pieces; k++)
		*xsk_ring_prod__tx_desc(&s->x.tx, idx + k) = (struct xdp_desc){
			.addr = at.v + k * len, .len = XN_MIN(len, s->cfg.bytes - k * len),
			.options = k + 1 < s->pieces ? XDP_PKT_CONTD : 0,
		};
}

static void post(struct xn_sender *s, uint32_t n)
{
	uint32_t idx;

	if (!n || !xsk_ring_prod__reserve(&s->x.tx, n * s->pieces, &idx))
		return;
	if (!s->seq)
		s->begin = xn_ticks();
	for (uint32_t i = 0; i < n; i++) {
		const xn_uoff at = frame_at(s, s->next);

		xn_frame_stamp(xn_mem_at(s->mem, at), s->cfg.bytes, s->cfg.run_tag, s->seq);
		xn_store_once64(&s->seq, s->seq + 1);
		describe(s, at, idx + i * s->pieces);
		s->next = s->next + 1 < s->frames ? s->next + 1 : 0;
	}
	s->posted += n * s->pieces;
	xsk_ring_prod__submit(&s->x.tx, n * s->pieces);
}

static void nap(void)
{
	const struct timespec t = { .tv_nsec = NAP_NS };

	nanosleep(&t, NULL);
}

static void *sender_thread(void *arg)
{
	struct xn_sender *s = arg;
	uint64_t now = s->begin = xn_ticks();

	while (!xn_load_acquire32(&s->stop)) {
		uint32_t n = allowance(s, now);

		post(s, n);
		if (s->posted != s->done)
			(void)s->x.send(&s->x);
		settle(s);
		now = xn_ticks();
		if (!n && s->posted == s->done)
			nap();
	}
	s->end = now;
	while (s->posted != s->done && xn_ticks() - now < xn_ns_ticks(END_NS)) {
		(void)s->x.send(&s->x);
		settle(s);
	}
	return NULL;
}

/* ---- a run ---- */

static int start_thread(struct xn_sender *s)
{
	pthread_attr_t attr;
	cpu_set_t set;
	int err;

	pthread_attr_init(&attr);
	CPU_ZERO(&set);
	if (s->cfg.cpu >= 0) {
		CPU_SET((unsigned)s->cfg.cpu, &set);
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	err = pthread_create(&s->thread, &attr, sender_thread, s);
	pthread_attr_destroy(&attr);
	return err ? xn_fail(err, "cannot start a sender on CPU %d: %s", s->cfg.cpu, strerror(err)) : 0;
}

int xn_sender_start(struct xn_sender *s, const struct xn_gen_cfg *cfg)
{
	int err;

	if (cfg->bytes > s->lab->cfg.mtu + XN_ETH_BYTES)
		return xn_fail(EINVAL, "frames of %u bytes are longer than the MTU of %u allows", cfg->bytes,
			       s->lab->cfg.mtu);
	s->cfg = *cfg;
	s->stop = 0;
	s->next = 0;
	s->pieces = (cfg->bytes + XN_CHUNK_BYTES - 1) / XN_CHUNK_BYTES;
	s->frames = s->chunks / s->pieces;
	s->seq = 0;
	s->limit = cfg->window;
	for (uint32_t i = 0; i < s->frames; i++) {
		uint8_t *frame = xn_mem_at(s->mem, frame_at(s, i));

		xn_frame_build(frame, cfg->bytes, s->lab->near_mac, s->lab->far_mac, cfg->run_tag, 0);
		if (cfg->port)
			xn_frame_set_port(frame, cfg->port);
	}
	err = start_thread(s);
	s->running = !err;
	return err;
}

void xn_sender_stop(struct xn_sender *s, struct xn_gen_counts *out)
{
	*out = (struct xn_gen_counts){ 0 };
	if (!s->running)
		return;
	s->running = false;
	xn_store_release32(&s->stop, 1);
	pthread_join(s->thread, NULL);
	/* What has not left by now never will, and counts as lost. */
	out->offered = s->seq;
	out->sent = s->seq - (s->posted - s->done) / s->pieces;
	out->seconds = xn_ticks_ns(s->end - s->begin) / 1e9;
}

void xn_sender_allow(struct xn_sender *s, uint64_t arrived)
{
	xn_store_once64(&s->limit, arrived + s->cfg.window);
}

uint64_t xn_sender_offered(const struct xn_sender *s)
{
	return xn_load_once64(&s->seq);
}

/* ---- life ---- */

static int make_memory(struct xn_sender *s)
{
	const struct xn_mem_opts mo = { .sz = sizeof(mo), .bounce_frames = 1 };
	struct xn_region r = { .size = (uint64_t)s->chunks * XN_CHUNK_BYTES };
	struct xn_mem_hit hit = { 0 };
	int err = xn_ram_create(&r.fd, r.size, XN_HUGE_NO, NULL);

	if (err)
		return err;
	err = xn_mem_create(&s->mem, &r, 1, &mo);
	close(r.fd);
	if (!err && !xn_mem_find(s->mem, &hit, XN_GPA(0), r.size, &s->first))
		err = xn_fail(EIO, "sender: its memory lies nowhere");
	return err;
}

static int open_socket(struct xn_sender *s)
{
	const struct xn_xsk_cfg cfg = {
		.ifindex = s->lab->far_ifindex, .ifname = s->lab->far_name, .queue = s->queue,
		.mem = s->mem, .frame_bytes = XN_FRAME_BYTES_MAX,
		.fill_size = 64, .rx_size = 128, .tx_size = s->chunks, .comp_size = 2 * s->chunks,
		.mode = XN_XSK_COPY, .tx_budget = BUDGET, .share_fd = -1, .spare_fd = -1,
	};
	int back, err = xn_lab_visit(s->lab->far_ns, &back);

	if (err)
		return err;
	err = xn_xsk_open(&s->x, &cfg);
	xn_lab_return(back);
	return err;
}

int xn_sender_create(struct xn_sender **out, const struct xn_lab *lab, unsigned queue)
{
	struct xn_sender *s = calloc(1, sizeof(*s));
	int err;

	*out = NULL;
	if (!s)
		return xn_fail(ENOMEM, "no memory for a sender");
	s->lab = lab;
	s->queue = queue;
	s->chunks = lab->cfg.mtu > XN_MTU_DEFAULT ? CHUNKS_LARGE : CHUNKS;
	s->pieces = 1;
	s->x.fd = -1;
	err = make_memory(s);
	if (!err)
		err = open_socket(s);
	if (err) {
		xn_sender_destroy(s);
		return err;
	}
	*out = s;
	return 0;
}

void xn_sender_destroy(struct xn_sender *s)
{
	struct xn_gen_counts counts;

	if (!s)
		return;
	xn_sender_stop(s, &counts);
	xn_xsk_close(&s->x);
	xn_mem_destroy(s->mem);
	free(s);
}
