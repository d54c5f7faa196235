/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See ctl/try.h. The guest of the trial has one ring of receive buffers and never looks at
 * what arrives in them:
 *
 *	RAM   | rings | ............. buffers of three sizes, one after the other ......... |
 *
 * Of each size as many are offered as fit the ring, at places spread over all of the memory,
 * each where Linux could have put it. Sizes overlap, which does no harm here: what arrives in
 * these seconds is read by nobody.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "ctl/try.h"

#define RX_RING     16384u
#define TX_RING     256u
#define OFFERED     4096u            /* of each size */
#define FRAMES      2048u            /* of the engine's own */
#define BUFFERS_AT  XN_HUGE_SIZE     /* rings in front of it */
#define PATIENCE_NS 2000000000ull
#define F_MRG_RXBUF (1ull << 15)     /* VIRTIO 1.2, 5.1.3 */
#define F_VERSION_1 (1ull << 32)     /* VIRTIO 1.2, 6 */
#define STATS_MAX   512u
#define ALL_BUT     0.99             /* in pages of 2 MiB, one border in 512 is one of theirs */

_Static_assert(XN_LEND_SIZES * OFFERED <= RX_RING, "one ring for all");

struct trial {
	const struct xn_try_cfg *cfg;
	const char *mode;            /* of the port */
	int fd;
	uint8_t *ram;
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;
	struct xn_queue *q;
	struct vring_desc *desc;
	struct vring_avail *avail;
	uint16_t posted;
	uint32_t seed;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- what a VMM does ---- */

static int make_ram(struct trial *t, bool *huge)
{
	int err = xn_ram_create(&t->fd, t->cfg->ram_bytes, t->cfg->huge, huge);
	void *ram;

	if (err)
		return err;
	ram = mmap(NULL, BUFFERS_AT, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
	if (ram == MAP_FAILED)
		return xn_fail(errno, "cannot map memory for a trial: %s", strerror(errno));
	t->ram = ram;
	return 0;
}

static uint64_t ring_bytes(uint32_t n)
{
	return XN_ALIGN_UP(vring_size(n, XN_PAGE_SIZE), XN_PAGE_SIZE);
}

static struct xn_vring ring_at(struct trial *t, uint64_t at, uint32_t n)
{
	struct vring v;

	vring_init(&v, n, t->ram + at, XN_PAGE_SIZE);
	return (struct xn_vring){
		.size = n, .desc_gpa = at, .avail_gpa = (uint64_t)((uint8_t *)v.avail - t->ram),
		.used_gpa = (uint64_t)((uint8_t *)v.used - t->ram), .kick_fd = -1, .call_fd = -1,
	};
}

static int set_rings(struct trial *t)
{
	const struct xn_vring rx = ring_at(t, 0, RX_RING);
	const struct xn_vring tx = ring_at(t, ring_bytes(RX_RING), TX_RING);
	int err = xn_dev_set_vring(t->dev, 0, &rx);

	t->desc = (struct vring_desc *)(t->ram + rx.desc_gpa);
	t->avail = (struct vring_avail *)(t->ram + rx.avail_gpa);
	return err ? err : xn_dev_set_vring(t->dev, 1, &tx);
}

static int make_device(struct trial *t, bool *huge)
{
	const struct xn_mem_opts mo = { .sz = sizeof(mo), .bounce_frames = FRAMES };
	struct xn_region region = { .size = t->cfg->ram_bytes };
	char spec[IF_NAMESIZE + 64];
	int err;

	snprintf(spec, sizeof(spec), "xdp:%s,mode=%s", t->cfg->ifname, t->mode);
	err = xn_port_open(&t->port, spec, NULL);
	if (!err)
		err = make_ram(t, huge);
	region.fd = t->fd;
	if (!err)
		err = xn_mem_create(&t->mem, &region, 1, &mo);
	if (!err)
		err = xn_dev_create(&t->dev, t->mem, t->port, NULL);
	if (!err)
		err = xn_dev_set_features(t->dev, F_VERSION_1 | F_MRG_RXBUF);
	return err ? err : set_rings(t);
}

static int start(struct trial *t, struct xn_try *out)
{
	struct xn_port_mode mode = { .sz = sizeof(mode) };
	struct xn_port_info info;
	uint64_t from = now_ns();
	int err = xn_dev_start(t->dev);

	if (err)
		return err;
	out->start_secs = (double)(now_ns() - from) / 1e9;
	xn_port_get_info(t->port, &info);
	snprintf(out->mode, sizeof(out->mode), "%s", info.mode);
	if (!strcmp(t->mode, "auto") && !xn_port_get_mode(t->port, &mode)) {
		snprintf(out->auto_mode, sizeof(out->auto_mode), "%s", info.mode);
		snprintf(out->auto_why, sizeof(out->auto_why), "%s", mode.why);
	} else if (xn_port_get_mode(t->port, &mode)) {
		return -EINVAL;
	}
	out->following_permille = mode.pages_following;
	out->min_buf_bytes = mode.min_buf_bytes;
	t->q = xn_dev_queue(t->dev, 0);
	return 0;
}

/* ---- what a guest's driver does ---- */

/* Even steps would meet the same places in each page: so anywhere (a linear congruence;
 * Numerical Recipes, 7.1). */
static uint64_t below(struct trial *t, uint64_t n)
{
	t->seed = t->seed * 1664525u + 1013904223u;
	return ((uint64_t)t->seed * n) >> 32;
}

/* The i-th of OFFERED buffers: somewhere in the i-th part of all that there is room for. */
static struct vring_desc choose(struct trial *t, uint32_t bytes, unsigned i)
{
	const uint64_t all = xn_lend_count(bytes, t->cfg->ram_bytes - BUFFERS_AT);
	const uint64_t from = i * all / OFFERED, to = (i + 1) * all / OFFERED;

	const uint64_t k = from + below(t, XN_MAX(to - from, (uint64_t)1));

	return (struct vring_desc){ .addr = BUFFERS_AT + xn_lend_place(bytes, k),
				    .len = xn_lend_length(bytes, k), .flags = VRING_DESC_F_WRITE };
}

static void offer(struct trial *t, uint32_t bytes)
{
	for (unsigned i = 0; i < OFFERED; i++) {
		const uint16_t head = t->posted++;

		t->desc[head] = choose(t, bytes, i);
		t->avail->ring[head] = head;
	}
	/* Descriptors before the index that covers them; pairs with the engine's load-acquire. */
	xn_store_release16(&t->avail->idx, t->posted);
}

/* ---- what became of them ---- */

struct counts {
	struct xn_stat of[STATS_MAX];
	unsigned n;
};

static void look(const struct trial *t, struct counts *c)
{
	c->n = XN_MIN(xn_dev_stats(t->dev, 0, c->of, STATS_MAX), STATS_MAX);
}

static bool is_reason(const struct xn_stat *s)
{
	return !strncmp(s->name, "rx_bounce_", 10);
}

/* Buffers that the engine has decided on. */
static uint64_t decided(const struct counts *c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < c->n; i++)
		if (is_reason(&c->of[i]) || !strcmp(c->of[i].name, "rx_buf_lent"))
			n += c->of[i].value;
	return n;
}

/* Nothing is in the way of lending these: the driver has to prove itself first, on frames that
 * arrive, or a few buffers are kept for those in frames of the engine's own (port/xdp_rx.c,
 * judge_watched). */
static bool could_be_lent(const char *name)
{
	static const char *const names[] = { "rx_buf_lent", "rx_bounce_probe", "rx_bounce_sentinel",
					     "rx_bounce_kept" };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

static void name_reason(struct xn_try_size *s, const char *name, uint64_t count)
{
	snprintf(s->why[s->n_why].name, sizeof(s->why[0].name), "%s", name);
	s->why[s->n_why++].count = count;
}

static void note(struct xn_try_size *s, const struct counts *then, const struct counts *now)
{
	for (unsigned i = 0; i < now->n; i++) {
		const struct xn_stat *c = &now->of[i];
		const uint64_t n = c->value - then->of[i].value;

		if (could_be_lent(c->name))
			s->lent += n;
		else if (n && is_reason(c) && s->n_why < XN_TRY_REASONS)
			name_reason(s, c->name, n);
	}
}

static int one_size(struct trial *t, struct xn_try_size *s)
{
	static struct counts then, now;
	const uint64_t give_up = now_ns() + PATIENCE_NS;

	look(t, &then);
	offer(t, s->bytes);
	s->offered = OFFERED;
	do {
		xn_queue_run(t->q, 256);
		look(t, &now);
		if (now_ns() > give_up)
			return xn_fail(ETIMEDOUT, "of %u buffers of %" PRIu32 " bytes only %" PRIu64 " were taken",
				       OFFERED, s->bytes, decided(&now) - decided(&then));
	} while (decided(&now) - decided(&then) < OFFERED);
	note(s, &then, &now);
	return 0;
}

static void one_trial(struct xn_try *out, const struct xn_try_cfg *cfg, const char *mode)
{
	struct trial t = { .cfg = cfg, .mode = mode, .fd = -1 };
	bool huge = false;
	int err = make_device(&t, &huge);

	if (!err)
		err = start(&t, out);
	for (unsigned i = 0; i < XN_LEND_SIZES; i++) {
		out->size[i] = (struct xn_try_size){ .bytes = xn_lend_sizes[i] };
		if (!err)
			err = one_size(&t, &out->size[i]);
	}
	out->huge = huge;
	out->err = err;
	if (err)
		snprintf(out->why_not, sizeof(out->why_not), "%s", xn_last_error());
	xn_dev_destroy(t.dev);
	xn_mem_destroy(t.mem);
	xn_port_close(t.port);
	if (t.ram)
		munmap(t.ram, BUFFERS_AT);
	if (t.fd >= 0)
		close(t.fd);
}

void xn_try_run(struct xn_try *out, const struct xn_try_cfg *cfg)
{
	*out = (struct xn_try){ .ram_bytes = cfg->ram_bytes };
	one_trial(out, cfg, cfg->mode ? cfg->mode : "auto");
	if (!cfg->mode && !out->err && strcmp(out->mode, "zero-copy") != 0)
		one_trial(out, cfg, "zero-copy");
}

/* ---- verdicts ---- */

static double share(const struct xn_try_size *s)
{
	return s->offered ? (double)s->lent / (double)s->offered : 0;
}

static void judge_size(const struct xn_try_size *s, struct xn_verdict *v)
{
	static const char *const subjects[XN_LEND_SIZES] = { "try 1536", "try 2048", "try 4096" };
	char why[160] = "";

	for (unsigned i = 0; i < s->n_why; i++)
		snprintf(why + strlen(why), sizeof(why) - strlen(why), "%s%s %.1f %%", i ? ", " : "; ",
			 s->why[i].name, 100 * (double)s->why[i].count / (double)s->offered);
	*v = (struct xn_verdict){ .subject = "try" };
	for (unsigned i = 0; i < XN_LEND_SIZES; i++)
		if (xn_lend_sizes[i] == s->bytes)
			v->subject = subjects[i];
	xn_say(v, share(s) >= ALL_BUT ? XN_LEVEL_OK : XN_LEVEL_WARN, "%.1f %% can be lent%s", 100 * share(s), why);
}

static void judge_mode(const struct xn_try *t, struct xn_verdict *v)
{
	const bool other = t->auto_mode[0] && strcmp(t->auto_mode, t->mode) != 0;
	char following[64] = "", takes[224] = "";

	if (!strcmp(t->mode, "zero-copy"))
		snprintf(following, sizeof(following), ", %" PRIu32 " of 1000 pages are followed by the next",
			 t->following_permille);
	if (other)
		snprintf(takes, sizeof(takes), "; mode=auto took %s mode: %s", t->auto_mode, t->auto_why);
	else if (t->auto_mode[0])
		snprintf(takes, sizeof(takes), "; mode=auto took it");
	xn_say(v, other ? XN_LEVEL_WARN : XN_LEVEL_OK, "%s mode, memory of %" PRIu64 " MiB on pages of %s%s; started "
	       "in %.2f s%s", t->mode, t->ram_bytes >> 20, t->huge ? "2 MiB" : "4 KiB", following, t->start_secs,
	       takes);
}

unsigned xn_try_judge(const struct xn_try *t, struct xn_verdict *v, unsigned n)
{
	v[n] = (struct xn_verdict){ .subject = "try" };
	if (t->err) {
		xn_say(&v[n], XN_LEVEL_WARN, "not to be had: %s", t->why_not);
		return n + 1;
	}
	judge_mode(t, &v[n++]);
	for (unsigned i = 0; i < XN_LEND_SIZES; i++)
		judge_size(&t->size[i], &v[n++]);
	return n;
}
