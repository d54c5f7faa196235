/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loads and attaches steer.bpf.c (contract in bpf/steer.h).
 *
 *	open:   settings -> load -> bpf_link on the interface     close: the reverse
 *
 * The link is an fd of this process and is pinned nowhere: when the process ends,
 * however it ends, the interface is free again. A program that somebody else has
 * attached is never replaced: the kernel refuses (Linux net/core/dev.c,
 * dev_xdp_attach), and the message says whose it is and how to remove it.
 *
 * libbpf 1.0 and later raises RLIMIT_MEMLOCK by itself where the kernel still
 * charges maps to it (before Linux 5.11), so nothing of that is found here.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <net/if.h>
#include <linux/if_link.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "base/filter.h"
#include "bpf/filter.h"
#include "bpf/flows.h"
#include "bpf/steer.h"
#include "bpf/steer.skel.h"
#include "rss/config.h"

struct xn_steer {
	struct steer_bpf *skel;
	int link_fd;
	int xsks_fd, exits_fd;
	int n_cpus;
	bool native;
	struct bpf_program *prog;
	/* -- RSS -- */
	unsigned pairs, first_queue;
	struct xn_rss_image *image;      /* where the next one is made */
	uint32_t last_image;             /* what image_now was last, but for 0 */
	uint32_t unread;                 /* places behind the one in force that no program reads */
	struct xn_flows flows;           /* image NULL: not by_flow */
	struct xn_rss_image *flow_image;
};

static const struct {
	const char *name, *text;
} exits[XN_E_COUNT] = {
#define XN_X(name, text) { #name, text },
	XN_STEER_EXITS(XN_X)
#undef XN_X
};

static const struct {
	const char *name, *text;
} queue_counters[XN_Q_COUNT] = {
#define XN_X(name, text) { #name, text },
	XN_STEER_QUEUE_COUNTERS(XN_X)
#undef XN_X
};

const char *xn_steer_queue_counter_name(unsigned i) { return queue_counters[i].name; }
const char *xn_steer_queue_counter_text(unsigned i) { return queue_counters[i].text; }
const char *xn_steer_exit_name(unsigned i) { return exits[i].name; }
const char *xn_steer_exit_text(unsigned i) { return exits[i].text; }

/* ---- libbpf's own lines become our debug lines ---- */

/* Line by line: the verifier's log comes as one string. */
__attribute__((format(printf, 2, 0)))
static int print_debug(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char *text, *rest, *line;

	if (level == LIBBPF_DEBUG || vasprintf(&text, fmt, ap) < 0)
		return 0;
	rest = text;
	while ((line = strsep(&rest, "\n")))
		if (*line)
			xn_log(XN_LOG_DEBUG, "%s", line);
	free(text);
	return 0;
}

/* ---- messages ---- */

static int fail_perm(const struct xn_steer_cfg *cfg)
{
	return xn_fail(EPERM, "%s: loading and attaching an XDP program needs CAP_BPF, "
		       "CAP_PERFMON and CAP_NET_ADMIN (before Linux 5.8: CAP_SYS_ADMIN)", cfg->ifname);
}

/* An index alone is not enough: every network namespace has its own. */
uint32_t xn_steer_link_of(unsigned ifindex, uint32_t prog)
{
	uint32_t id = 0;

	while (!bpf_link_get_next_id(id, &id)) {
		struct bpf_link_info info = { 0 };
		uint32_t bytes = sizeof(info);
		int fd = bpf_link_get_fd_by_id(id), err;

		if (fd < 0)
			continue;
		err = bpf_obj_get_info_by_fd(fd, &info, &bytes);
		close(fd);
		if (!err && info.type == BPF_LINK_TYPE_XDP && info.prog_id == prog &&
		    info.xdp.ifindex == ifindex)
			return id;
	}
	return 0;
}

static int fail_busy(const struct xn_steer_cfg *cfg)
{
	struct bpf_xdp_query_opts q = { .sz = sizeof(q) };
	uint32_t prog, link;

	if (bpf_xdp_query((int)cfg->ifindex, 0, &q))
		return xn_fail(EBUSY, "%s: another XDP program is attached", cfg->ifname);
	prog = q.prog_id ? q.prog_id : q.drv_prog_id ? q.drv_prog_id :
	       q.skb_prog_id ? q.skb_prog_id : q.hw_prog_id;
	if (!prog)
		return xn_fail(EBUSY, "%s: an XDP program is attached to the interface above it "
			       "(bond, team), or was removed just now", cfg->ifname);
	link = xn_steer_link_of(cfg->ifindex, prog);
	if (link)
		return xn_fail(EBUSY, "%s: XDP program id %u is attached by a process (bpf_link "
			       "%u); end it, or remove the program: bpftool link detach id %u",
			       cfg->ifname, prog, link, link);
	return xn_fail(EBUSY, "%s: XDP program id %u is attached; to remove it: ip link set dev %s "
		       "%s off", cfg->ifname, prog, cfg->ifname,
		       q.skb_prog_id == prog ? "xdpgeneric" : "xdp");
}

static int fail_load(int err, const struct xn_steer_cfg *cfg)
{
	/* EACCES is the verifier's: without CAP_PERFMON it forbids what the program does. */
	if (err == EPERM || err == EACCES)
		return fail_perm(cfg);
	if (err == ENOMEM)
		return xn_fail(ENOMEM, "%s: no memory for the XDP program", cfg->ifname);
	return xn_fail(EOPNOTSUPP, "%s: the kernel does not take the XDP program: %s (needs Linux "
		       "%s or newer with BPF_SYSCALL and XDP_SOCKETS; the debug log has libbpf's "
		       "words)", cfg->ifname, strerror(err), cfg->frags ? "5.18 for this MTU, 5.9 else," : "5.9");
}

static int fail_attach(int err, const struct xn_steer_cfg *cfg)
{
	if (err == EBUSY || err == EEXIST)
		return fail_busy(cfg);
	if (err == EPERM)
		return fail_perm(cfg);
	if (err == ENOMEM)
		return xn_fail(ENOMEM, "%s: no memory to attach the XDP program", cfg->ifname);
	/* What drivers say: EOPNOTSUPP, ERANGE or EINVAL (MTU), ENOSPC (veth's queues), ... */
	return xn_fail(EOPNOTSUPP, "%s: the driver does not take %s XDP program: %s (XDP not "
		       "supported, MTU too long for it, or fewer receive queues than it wants)",
		       cfg->ifname, cfg->attach == XN_ATTACH_NATIVE ? "a native" : "an",
		       strerror(err));
}

/* ---- life cycle ---- */

/* Which of the two programs, with what maps. 0 or -errno; no message. */
static int choose(struct xn_steer *s)
{
	struct bpf_map *rss_maps[] = {
		s->skel->maps.grid, s->skel->maps.queues, s->skel->maps.images,
		s->skel->maps.empty, s->skel->maps.grace,
	};
	int err;

	s->prog = s->pairs ? s->skel->progs.xn_steer_rss : s->skel->progs.xn_steer;
	err = bpf_program__set_autoload(s->pairs ? s->skel->progs.xn_steer :
					s->skel->progs.xn_steer_rss, false);
	if (!s->pairs) {
		for (unsigned i = 0; i < XN_ARRAY_SIZE(rss_maps) && !err; i++)
			err = bpf_map__set_autocreate(rss_maps[i], false);
		return err;
	}
	s->image = malloc(sizeof(*s->image));
	if (!s->image)
		return -ENOMEM;
	if (!err)
		err = bpf_map__set_max_entries(s->skel->maps.grid, s->pairs * s->pairs);
	return err ? err : bpf_map__set_max_entries(s->skel->maps.queues, s->pairs);
}

/* 0 or -errno; no message. */
static int load(struct xn_steer *s, const struct xn_steer_cfg *cfg)
{
	int err;

	s->skel = steer_bpf__open();
	if (!s->skel)
		return -errno;
	s->skel->rodata->frame_bytes = cfg->frame_bytes;
	s->skel->rodata->frags = cfg->frags;
	s->skel->rodata->filter_mac = cfg->filter_mac;
	memcpy(s->skel->rodata->mac, cfg->mac, sizeof(cfg->mac));
	s->skel->rodata->rss_pairs = cfg->rss_pairs;
	s->skel->rodata->first_queue = cfg->first_queue;
	err = choose(s);
	if (!err && cfg->frags)
		err = bpf_program__set_flags(s->prog, BPF_F_XDP_HAS_FRAGS);
	if (err)
		return err;
	err = steer_bpf__load(s->skel);
	if (err)
		return err;
	s->xsks_fd = bpf_map__fd(s->skel->maps.xsks);
	s->exits_fd = bpf_map__fd(s->skel->maps.exits);
	s->n_cpus = libbpf_num_possible_cpus();
	return s->n_cpus < 0 ? s->n_cpus : 0;
}

/* Returns when all programs that run now have ended. 0 or -errno; no message. */
static int wait_for_programs(const struct xn_steer *s)
{
	const int empty = bpf_map__fd(s->skel->maps.empty);
	const uint32_t zero = 0;

	return bpf_map_update_elem(bpf_map__fd(s->skel->maps.grace), &zero, &empty, BPF_ANY) ? -errno : 0;
}

/* For all frames from now on. 0 or -errno; no message. */
static int swap_in(struct xn_steer *s, const struct xn_rss_image *image)
{
	const uint32_t next = s->last_image % XN_STEER_IMAGES;
	int err = s->unread ? 0 : wait_for_programs(s);

	if (err)
		return err;
	if (!s->unread)
		s->unread = XN_STEER_IMAGES - 1;
	if (bpf_map_update_elem(bpf_map__fd(s->skel->maps.images), &next, image, BPF_ANY))
		return -errno;
	s->unread--;
	s->last_image = next + 1;
	/* Behind the image: who finds its place finds it whole (a dependent load, so that nothing
	 * is needed on the program's side). */
	xn_store_release32(&s->skel->bss->image_now, next + 1);
	return 0;
}

/* By flow, from the first frame on. 0 or -errno; no message. */
static int begin_flows(struct xn_steer *s)
{
	struct xn_rss_config cfg;
	int err;

	xn_rss_default(&cfg, 1);
	/* As a frame is addressed; not by what stands in extension headers, which its answer
	 * does not have. */
	cfg.types = XN_RSS_TYPE(XN_FLOW_IPV4) | XN_RSS_TYPE(XN_FLOW_TCPV4) | XN_RSS_TYPE(XN_FLOW_UDPV4) |
		    XN_RSS_TYPE(XN_FLOW_IPV6) | XN_RSS_TYPE(XN_FLOW_TCPV6) | XN_RSS_TYPE(XN_FLOW_UDPV6);
	err = xn_rss_set_key(&cfg, "random");
	if (err)
		return err;
	s->flow_image = calloc(1, sizeof(*s->flow_image));
	if (!s->flow_image)
		return -ENOMEM;
	xn_rss_image_make(s->flow_image, &cfg);
	s->flow_image->by_flow = 1;
	s->flows = (struct xn_flows){ .on = 1, .slot = s->skel->bss->flows, .image = s->flow_image };
	return swap_in(s, s->flow_image);
}

/* 0 or -errno; no message. */
static int attach_as(struct xn_steer *s, const struct xn_steer_cfg *cfg, uint32_t flags)
{
	const struct bpf_link_create_opts opts = { .sz = sizeof(opts), .flags = flags };
	int fd = bpf_link_create(bpf_program__fd(s->prog), (int)cfg->ifindex,
				 BPF_XDP, &opts);

	if (fd < 0)
		return fd;
	s->link_fd = fd;
	s->native = flags == XDP_FLAGS_DRV_MODE;
	return 0;
}

/* Reasons that generic mode would meet as well, or that it would only hide. */
static bool is_final(int err)
{
	return err == -EBUSY || err == -EEXIST || err == -EPERM || err == -ENOMEM;
}

static int attach(struct xn_steer *s, const struct xn_steer_cfg *cfg)
{
	char name[IF_NAMESIZE];
	int err = -EOPNOTSUPP;

	/* The kernel would say EINVAL, as it says for much else. */
	if (!if_indextoname(cfg->ifindex, name))
		return xn_fail(ENODEV, "%s: there is no such interface", cfg->ifname);
	if (cfg->attach != XN_ATTACH_GENERIC)
		err = attach_as(s, cfg, XDP_FLAGS_DRV_MODE);
	if (err && cfg->attach != XN_ATTACH_NATIVE && !is_final(err)) {
		if (cfg->attach == XN_ATTACH_AUTO)
			xn_log(XN_LOG_WARN, "%s: no native XDP (%s): generic XDP instead, which is "
			       "slower", cfg->ifname, strerror(-err));
		err = attach_as(s, cfg, XDP_FLAGS_SKB_MODE);
	}
	return err ? fail_attach(-err, cfg) : 0;
}

int xn_steer_open(struct xn_steer **out, const struct xn_steer_cfg *cfg)
{
	libbpf_print_fn_t before;
	struct xn_steer *s;
	int err;

	*out = NULL;
	if (cfg->rss_pairs > XN_STEER_MAX_QUEUES ||
	    cfg->first_queue > XN_STEER_MAX_QUEUES - cfg->rss_pairs)
		return xn_fail(EINVAL, "%s: %u queues from queue %u on: only queues 0..%u can be "
			       "steered", cfg->ifname, cfg->rss_pairs, cfg->first_queue,
			       XN_STEER_MAX_QUEUES - 1);
	s = calloc(1, sizeof(*s));
	if (!s)
		return xn_fail(ENOMEM, "%s: out of memory", cfg->ifname);
	s->link_fd = -1;
	s->pairs = cfg->rss_pairs;
	s->first_queue = cfg->first_queue;
	s->unread = XN_STEER_IMAGES;
	/* libbpf has one print function for the process: it may be the VMM's. */
	before = libbpf_set_print(print_debug);
	err = load(s, cfg);
	if (!err && cfg->by_flow && s->pairs)
		err = begin_flows(s);
	err = err ? fail_load(-err, cfg) : attach(s, cfg);
	libbpf_set_print(before);
	if (err)
		xn_steer_close(s);
	else
		*out = s;
	return err;
}

void xn_steer_close(struct xn_steer *s)
{
	if (!s)
		return;
	if (s->link_fd >= 0)
		close(s->link_fd);
	steer_bpf__destroy(s->skel);
	free(s->image);
	free(s->flow_image);
	free(s);
}

/* ---- use ---- */

int xn_steer_set(struct xn_steer *s, unsigned queue, int xsk_fd)
{
	if (queue >= XN_STEER_MAX_QUEUES)
		return xn_fail(EINVAL, "queue %u: only queues 0..%u can be steered", queue,
			       XN_STEER_MAX_QUEUES - 1);
	if (bpf_map_update_elem(s->xsks_fd, &queue, &xsk_fd, BPF_ANY))
		return xn_fail(errno, "steering queue %u to its socket: %s", queue,
			       strerror(errno));
	return 0;
}

void xn_steer_clear(struct xn_steer *s, unsigned queue)
{
	/* An empty slot is what we want: that it was empty before is no failure. */
	bpf_map_delete_elem(s->xsks_fd, &queue);
}

void xn_steer_set_filter(struct xn_steer *s, const struct xn_rx_filter *f)
{
	uint32_t next = 0;

	if (f && !f->promisc) {
		next = s->skel->bss->filter_now == 1 ? 2 : 1;
		xn_filter_image_make(&s->skel->bss->filters[next - 1], f);
	}
	/* The image is there before it is named: programs on other processors look at this first
	 * (a dependent load, so that nothing is needed on their side). */
	xn_store_release32(&s->skel->bss->filter_now, next);
}

bool xn_steer_native(const struct xn_steer *s)
{
	return s->native;
}

/* Adds up element `key` of a map that has one for each processor, of `n` numbers. */
static void sum_cpus(const struct xn_steer *s, int map, uint32_t key, uint64_t *out, unsigned n)
{
	uint64_t *v = calloc((size_t)s->n_cpus * n, sizeof(*v));

	memset(out, 0, n * sizeof(*out));
	if (v && !bpf_map_lookup_elem(map, &key, v))
		for (unsigned i = 0; i < (unsigned)s->n_cpus * n; i++)
			out[i % n] += v[i];
	free(v);
}

void xn_steer_counters(const struct xn_steer *s, uint64_t out[XN_E_COUNT])
{
	sum_cpus(s, s->exits_fd, 0, out, XN_E_COUNT);
	/* What RSS has steered is counted by queue only: one counter for each frame. */
	for (unsigned g = 0; g < s->pairs; g++) {
		uint64_t q[XN_Q_COUNT];

		xn_steer_queue_counters(s, g, q);
		out[XN_E_steer_to_guest] += q[XN_Q_exact];
		out[XN_E_steer_missteered] += q[XN_Q_missteered];
		out[XN_E_steer_unfixed] += q[XN_Q_unfixed];
		out[XN_E_steer_disabled] += q[XN_Q_disabled];
	}
}

/* ---- RSS ---- */

void xn_steer_queue_counters(const struct xn_steer *s, unsigned guest_queue,
			     uint64_t out[XN_Q_COUNT])
{
	assert(guest_queue < s->pairs);
	sum_cpus(s, bpf_map__fd(s->skel->maps.queues), guest_queue, out, XN_Q_COUNT);
}

static int check_queues(const struct xn_steer *s, const struct xn_rss_config *cfg)
{
	bool good = cfg->unclassified < s->pairs;

	for (unsigned i = 0; i < cfg->entries; i++)
		good = good && cfg->table[i] < s->pairs;
	return good ? 0 : xn_fail(EINVAL, "RSS: only queue pairs 0..%u can be steered to",
				  s->pairs - 1);
}

int xn_steer_set_rss(struct xn_steer *s, const struct xn_rss_config *cfg)
{
	const struct xn_rss_image *image = cfg ? s->image : s->flows.image;
	int err = 0;

	if (!s->pairs)
		return xn_fail(EINVAL, "RSS: the port was opened without it");
	if (cfg) {
		err = check_queues(s, cfg);
		if (err)
			return err;
		xn_rss_image_make(s->image, cfg);
	}
	if (image)
		err = swap_in(s, image);
	else
		xn_store_once32(&s->skel->bss->image_now, 0);
	if (err)
		return xn_fail(-err, "RSS: giving the configuration to the kernel: %s", strerror(-err));
	xn_store_once8(&s->flows.on, image && image == s->flows.image);
	return 0;
}

const struct xn_flows *xn_steer_flows(const struct xn_steer *s)
{
	return s->flows.image ? &s->flows : NULL;
}

int xn_steer_set_at(struct xn_steer *s, unsigned host_queue, unsigned guest_queue, int xsk_fd)
{
	unsigned from = host_queue - s->first_queue;
	uint32_t at = from * s->pairs + guest_queue;

	if (guest_queue >= s->pairs || from >= s->pairs)
		return xn_fail(EINVAL, "RSS: queue %u cannot be steered to guest queue %u",
			       host_queue, guest_queue);
	if (from == guest_queue)
		return xn_steer_set(s, host_queue, xsk_fd);
	if (bpf_map_update_elem(bpf_map__fd(s->skel->maps.grid), &at, &xsk_fd, BPF_ANY))
		return xn_fail(errno, "RSS: steering queue %u to guest queue %u: %s", host_queue,
			       guest_queue, strerror(errno));
	return 0;
}

void xn_steer_clear_at(struct xn_steer *s, unsigned host_queue, unsigned guest_queue)
{
	unsigned from = host_queue - s->first_queue;
	uint32_t at = from * s->pairs + guest_queue;

	assert(guest_queue < s->pairs && from < s->pairs);
	if (from == guest_queue)
		xn_steer_clear(s, host_queue);
	else
		bpf_map_delete_elem(bpf_map__fd(s->skel->maps.grid), &at);
}

void xn_steer_enable(struct xn_steer *s, unsigned guest_queue, bool on)
{
	assert(guest_queue < s->pairs);
	/* Read by programs on other processors, at any time; xn_xsk_barrier says until when they
	 * may still have seen the old value. */
	xn_store_once8(&s->skel->bss->disabled[guest_queue], !on);
}
