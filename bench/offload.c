/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --offload: what a guest's packets cost that ask for checksums and segments, next to frames
 * that ask for nothing, and to the raw AF_XDP loop: all of them 1514 bytes on the wire.
 *
 *	raw    one descriptor each, sent again and again
 *	plain  a guest's frames, lent
 *	csum   the same, each asking for its TCP checksum
 *	tso    64 KiB of TCP in a chain, which leave as 45 frames
 *	uso    64 KiB of UDP, likewise
 *
 * The paths take turns of --secs, --rounds times; medians are over rounds, ratios within a
 * round. Each has a veth pair of its own, whose far end drops what arrives, and counts: what
 * has not arrived makes the run fail. What frames have in them is for the tests.
 *
 * The guest's packets lie in RAM, made before: its driver only offers them again, each as
 * one descriptor. So figures have no guest in them, but its rings.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/packet.h"
#include "base/types.h"
#include "bench/path.h"

#define SLOTS       64u                 /* packets in the guest's RAM */
#define SLOT_BYTES  (17u * XN_PAGE_SIZE)
#define BUFS_AT     (1u << 20)
#define RAM_BYTES   (8u << 20)
#define RING        256u
#define AVAIL_AT    0x2000u
#define USED_AT     0x3000u
#define FRAME_BYTES 1514u
#define GSO_UDP_L4  5u
#define WARM_NS     50000000ull
#define F_BASE      (1ull << 32)        /* VIRTIO_F_VERSION_1 */
#define F_OFFLOAD   (1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << 56)

enum { RAW, PLAIN, CSUM, TSO, USO, WAYS };

static const char *const names[WAYS] = { "raw", "plain", "csum", "tso", "uso" };

struct side {
	struct xn_lab lab;
	bool has_lab;
	struct xn_sink *sink;
	struct xn_port *port;
	struct xn_mem *mem;
	struct xn_dev *dev;
	struct xn_queue *q;
	int ram_fd;
	uint8_t *ram;
	struct vring_desc *desc;
	struct vring_avail *avail;
	const struct vring_used *used;
	uint16_t offered, seen;             /* free running */
};

struct figures {
	double fps[XN_ROUNDS_MAX], ns[XN_ROUNDS_MAX], engine_ns[XN_ROUNDS_MAX], ratio[XN_ROUNDS_MAX];
	double gathered, mixed, chained, lent, frames;   /* packets and frames, of all rounds */
};

/* ---- the guest ---- */

static void put_ip4(uint8_t *ip, uint8_t proto, uint32_t bytes)
{
	static const uint8_t head[20] = { 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 0, 0, 0,
					  10, 0, 0, 1, 10, 0, 0, 2 };

	memcpy(ip, head, sizeof(head));
	xn_put_be16(ip + 2, (uint16_t)bytes);
	ip[9] = proto;
	xn_put_be16(ip + 10, 0);            /* the far end drops it */
}

/* Header and packet of this way, at p. Returns the length of both. */
static uint32_t make_packet(int way, const struct side *s, uint8_t *p)
{
	const bool udp = way == USO, cut = way == TSO || way == USO;
	const uint32_t l4 = udp ? 8 : 32, at = ETH_HLEN + 20;
	const uint32_t payload = cut ? 65535 - 20 - l4 : FRAME_BYTES - at - l4;
	struct virtio_net_hdr_v1 h = { 0 };
	uint8_t *f = p + sizeof(h);

	if (way != PLAIN)
		h = (struct virtio_net_hdr_v1){
			.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = (uint16_t)at,
			.csum_offset = udp ? 6 : 16,
			.gso_type = !cut ? 0 : udp ? GSO_UDP_L4 : VIRTIO_NET_HDR_GSO_TCPV4,
			.gso_size = cut ? (uint16_t)(FRAME_BYTES - at - l4) : 0,
		};
	memcpy(p, &h, sizeof(h));
	memset(f, 0x5a, at + l4 + payload);
	memcpy(f, s->lab.far_mac, ETH_ALEN);
	memcpy(f + ETH_ALEN, s->lab.near_mac, ETH_ALEN);
	xn_put_be16(f + 2 * ETH_ALEN, ETH_P_IP);
	put_ip4(f + ETH_HLEN, udp ? 17 : 6, 20 + l4 + payload);
	memset(f + at, 0, l4);
	xn_put_be16(f + at, 4000);
	xn_put_be16(f + at + 2, 9);
	if (udp) {
		xn_put_be16(f + at + 4, (uint16_t)(l4 + payload));
	} else {
		f[at + 12] = 0x80;          /* 8 words */
		f[at + 13] = 0x18;
		memset(f + at + 20, 1, 12); /* no-operation */
	}
	return (uint32_t)sizeof(h) + at + l4 + payload;
}

static void make_packets(struct side *s, int way)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		const uint32_t at = BUFS_AT + i * SLOT_BYTES;

		s->desc[i] = (struct vring_desc){ .addr = at, .len = make_packet(way, s, s->ram + at) };
	}
}

/* Offers what has come back, again. */
static void offer(struct side *s)
{
	s->seen = xn_load_acquire16(&s->used->idx);
	while ((uint16_t)(s->offered - s->seen) < SLOTS) {
		/* In flight are the slots before it: it has come back. */
		s->avail->ring[s->offered % RING] = s->offered % SLOTS;
		s->offered++;
	}
	xn_store_release16(&s->avail->idx, s->offered);
}

/* ---- one side ---- */

static int open_side(struct side *s)
{
	const struct xn_lab_cfg lc = { .queues = 1 };
	const struct xn_region region = { .size = RAM_BYTES };
	const struct xn_vring ring = { .size = RING, .desc_gpa = 0, .avail_gpa = AVAIL_AT,
				       .used_gpa = USED_AT, .kick_fd = -1, .call_fd = -1 };
	struct xn_region r = region;
	int err = xn_lab_create(&s->lab, &lc);

	if (err)
		return err;
	s->has_lab = true;
	err = xn_sink_attach(&s->sink, &s->lab, XN_SINK_COUNT);
	if (!err)
		err = xn_ram_create(&s->ram_fd, RAM_BYTES, XN_HUGE_AUTO, NULL);
	if (err)
		return err;
	s->ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s->ram_fd, 0);
	if (s->ram == MAP_FAILED) {
		s->ram = NULL;
		xn_fail(errno, "cannot map guest RAM: %s", strerror(errno));
		return -ENOMEM;
	}
	s->desc = (struct vring_desc *)s->ram;
	s->avail = (struct vring_avail *)(s->ram + AVAIL_AT);
	s->used = (const struct vring_used *)(s->ram + USED_AT);
	r.fd = s->ram_fd;
	err = xn_lab_enter_near(&s->lab);
	if (!err)
		err = xn_port_open(&s->port, "xdp:" XN_LAB_NEAR, NULL);
	if (!err)
		err = xn_mem_create(&s->mem, &r, 1, NULL);
	if (!err)
		err = xn_dev_create(&s->dev, s->mem, s->port, NULL);
	if (!err)
		err = xn_dev_set_features(s->dev, F_BASE | F_OFFLOAD);
	if (!err)
		err = xn_dev_set_vring(s->dev, 1, &ring);
	if (!err) {
		s->q = xn_dev_queue(s->dev, 0);
		err = xn_queue_start(s->q);
	}
	xn_lab_leave(&s->lab);
	return err;
}

static void close_side(struct side *s)
{
	xn_dev_destroy(s->dev);
	xn_port_close(s->port);
	xn_mem_destroy(s->mem);
	if (s->ram)
		munmap(s->ram, RAM_BYTES);
	if (s->ram_fd >= 0)
		close(s->ram_fd);
	xn_sink_detach(s->sink);
	if (s->has_lab)
		xn_lab_destroy(&s->lab);
}

static uint64_t counter(const struct side *s, const char *name)
{
	struct xn_stat st[256];
	const unsigned n = XN_MIN(xn_dev_stats(s->dev, XN_ALL_PAIRS, st, XN_ARRAY_SIZE(st)),
				  (unsigned)XN_ARRAY_SIZE(st));

	for (unsigned i = 0; i < n; i++)
		if (!strcmp(st[i].name, name))
			return st[i].value;
	return 0;
}

static uint64_t frames_sent(const struct side *s)
{
	return counter(s, "tx_packets") - counter(s, "tx_segmented") + counter(s, "tx_segments");
}

static uint64_t frames_arrived(const struct side *s)
{
	struct xn_sink_counts c;

	xn_sink_read(s->sink, &c);
	return c.foreign;
}

/* All that is on its way arrives. */
static int drain(struct side *s)
{
	const uint64_t end = xn_now_ns() + 1000000000ull;

	while (xn_load_acquire16(&s->used->idx) != s->offered && xn_now_ns() < end)
		xn_queue_run(s->q, XN_TURN);
	s->seen = xn_load_acquire16(&s->used->idx);
	return s->seen == s->offered ? 0 : xn_fail(EIO, "packets did not leave");
}

/* One turn of a way: frames a second, and what the near end takes for one, all in all and
 * without sendto(). */
static int run_guest(struct side *s, int way, double secs, double *fps, double *ns, double *engine_ns)
{
	uint64_t began, end, frames, arrived, ticks = 0, sending;

	make_packets(s, way);
	for (end = xn_now_ns() + WARM_NS; xn_now_ns() < end;) {
		offer(s);
		xn_queue_run(s->q, XN_TURN);
	}
	frames = frames_sent(s);
	sending = xn_send_ticks();
	began = xn_now_ns();
	end = began + (uint64_t)(secs * 1e9);
	while (xn_now_ns() < end) {
		uint64_t t;

		offer(s);
		t = xn_ticks();
		xn_queue_run(s->q, XN_TURN);
		ticks += xn_ticks() - t;
	}
	end = xn_now_ns();
	sending = xn_send_ticks() - sending;
	frames = frames_sent(s) - frames;
	*fps = (double)frames * 1e9 / (double)(end - began);
	*ns = frames ? xn_ticks_ns(ticks) / (double)frames : NAN;
	*engine_ns = frames ? xn_ticks_ns(ticks - XN_MIN(ticks, sending)) / (double)frames : NAN;
	if (drain(s))
		return -EIO;
	arrived = frames_arrived(s);
	if (arrived + counter(s, "tx_kick_drops") != frames_sent(s))
		return xn_fail(EIO, "%s: %llu frames were sent, %llu arrived", names[way],
			       (unsigned long long)frames_sent(s), (unsigned long long)arrived);
	return frames ? 0 : xn_fail(EIO, "%s: nothing was sent", names[way]);
}

static void run_raw(struct xn_path *p, double secs, double *fps, double *ns)
{
	struct xn_near w = { .path = p, .bytes = FRAME_BYTES };
	uint64_t began, end = xn_now_ns() + WARM_NS;

	while (xn_now_ns() < end)
		p->ops->tx(&w, XN_TURN);
	w.packets = w.own_ticks = 0;
	began = xn_now_ns();
	end = began + (uint64_t)(secs * 1e9);
	while (xn_now_ns() < end)
		p->ops->tx(&w, XN_TURN);
	*fps = (double)w.packets * 1e9 / (double)(xn_now_ns() - began);
	*ns = w.packets ? xn_ticks_ns(w.own_ticks) / (double)w.packets : NAN;
	while (p->ops->tx_pending(&w))
		p->ops->tx(&w, 0);
}

/* ---- all of them ---- */

static void keep(struct xn_bench *b, struct figures *f, const bool *wanted, unsigned rounds)
{
	for (int w = 0; w < WAYS && rounds; w++) {
		const double all = f[w].lent + f[w].chained + f[w].mixed + f[w].gathered;

		if (!wanted[w])
			continue;
		b->ask[b->n_ask++] = (struct xn_ask_line){
			.name = names[w], .fps = xn_median(f[w].fps, rounds),
			.ratio = xn_median(f[w].ratio, rounds), .ns = xn_median(f[w].ns, rounds),
			.engine_ns = xn_median(f[w].engine_ns, rounds),
			.lent = all > 0 ? f[w].lent / all : NAN,
			.chained = all > 0 ? f[w].chained / all : NAN,
			.mixed = all > 0 ? f[w].mixed / all : NAN,
			.gathered = all > 0 ? f[w].gathered / all : NAN,
			.chains = all > 0 ? all / f[w].frames : NAN,
		};
	}
}

/* A figure in its column; "-" where there is none. */
static void column(FILE *out, int width, int digits, double v)
{
	if (isnan(v))
		fprintf(out, " %*s", width, "-");
	else
		fprintf(out, " %*.*f", width, digits, v);
}

void xn_report_offload(const struct xn_bench *b, FILE *out)
{
	xn_report_machine(out);
	fprintf(out, "frames of %u bytes on veth; medians of %u rounds of %.3g s, in turns%s\n\n"
		"                             of   engine      cpu  chains    lent  chained   mixed  gathered\n"
		"ask for   frames/s Gbit/s    raw ns/frame ns/frame  /frame       %%        %%       %%         %%\n",
		FRAME_BYTES, b->opts.rounds, b->opts.secs,
		b->partial ? "; PARTIAL: stopped by a signal" : "");
	for (unsigned i = 0; i < b->n_ask; i++) {
		const struct xn_ask_line *l = &b->ask[i];

		fprintf(out, "%-8s", l->name);
		column(out, 9, 0, l->fps);
		column(out, 6, 2, l->fps * FRAME_BYTES * 8 / 1e9);
		column(out, 6, 3, l->ratio);
		column(out, 8, 1, l->engine_ns);
		column(out, 8, 0, l->ns);
		column(out, 7, 3, l->chains);
		column(out, 7, 1, l->lent * 100);
		column(out, 8, 1, l->chained * 100);
		column(out, 7, 1, l->mixed * 100);
		column(out, 9, 1, l->gathered * 100);
		fputc('\n', out);
	}
	fputs("\nof raw: frames of the raw AF_XDP loop in the same round. engine: inside the engine without\n"
	      "sendto(), its copies and checksums included; cpu: with the kernel's part. chains: packets of the\n"
	      "guest for a frame on the wire.\n", out);
}

static int run_round(struct side *s, struct xn_path *raw, const struct xn_opts *o,
		     const bool *wanted, struct figures *f, unsigned round)
{
	for (int w = 0; w < WAYS && !xn_stop; w++) {
		const double lent = (double)counter(s, "tx_lent");
		const double gathered = (double)counter(s, "tx_gathered");
		const double mixed = (double)counter(s, "tx_mixed");
		const double chained = (double)counter(s, "tx_chained");
		const double frames = (double)frames_sent(s);
		int err = 0;

		f[w].engine_ns[round] = NAN;
		if (!wanted[w])
			continue;
		if (w == RAW)
			run_raw(raw, o->secs, &f[w].fps[round], &f[w].ns[round]);
		else
			err = run_guest(s, w, o->secs, &f[w].fps[round], &f[w].ns[round],
					&f[w].engine_ns[round]);
		if (err)
			return err;
		f[w].ratio[round] = f[w].fps[round] / f[RAW].fps[round];
		f[w].lent += (double)counter(s, "tx_lent") - lent;
		f[w].gathered += (double)counter(s, "tx_gathered") - gathered;
		f[w].mixed += (double)counter(s, "tx_mixed") - mixed;
		f[w].chained += (double)counter(s, "tx_chained") - chained;
		f[w].frames += (double)frames_sent(s) - frames;
	}
	return 0;
}

int xn_offload_bench(struct xn_bench *b)
{
	const struct xn_opts *o = &b->opts;
	const bool wanted[WAYS] = { true, true, o->ask[XN_ASK_CSUM], o->ask[XN_ASK_TSO],
				    o->ask[XN_ASK_USO] };
	struct side s = { .lab = { .home_ns = -1, .near_ns = -1, .far_ns = -1 }, .ram_fd = -1 };
	struct figures *f = calloc(WAYS, sizeof(*f));
	struct xn_path *raw = NULL;
	unsigned round = 0;
	int err;

	if (!f) {
		xn_fail(ENOMEM, "out of memory");
		return -ENOMEM;
	}
	err = xn_path_create(&raw, XN_KIND_RAW, o, 1, NULL);
	if (!err)
		err = xn_path_set_sink(raw, XN_SINK_COUNT);
	if (!err)
		err = open_side(&s);
	for (; round < o->rounds && !err && !xn_stop; round++)
		err = run_round(&s, raw, o, wanted, f, round);
	/* A round that was cut short compares nothing. */
	if (!err)
		keep(b, f, wanted, xn_stop ? round - (round > 0) : round);
	b->partial = xn_stop;
	close_side(&s);
	xn_path_destroy(raw);
	free(f);
	return err;
}
