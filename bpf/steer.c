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

#include "base/log.h"
#include "base/types.h"
#include "bpf/steer.h"
#include "bpf/steer.skel.h"

struct xn_steer {
	struct steer_bpf *skel;
	int link_fd;
	int xsks_fd, exits_fd;
	int n_cpus;
	bool native;
};

static const struct {
	const char *name, *text;
} exits[XN_E_COUNT] = {
#define XN_X(name, text) { #name, text },
	XN_STEER_EXITS(XN_X)
#undef XN_X
};

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

/* Id of the bpf_link that holds this interface's XDP program; 0: attached by netlink. */
/* The link that holds this program there. An index alone is not enough: every network
 * namespace has its own. */
static uint32_t find_link(unsigned ifindex, uint32_t prog)
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
	link = find_link(cfg->ifindex, prog);
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
		       "5.9 or newer with BPF_SYSCALL and XDP_SOCKETS; the debug log has libbpf's "
		       "words)", cfg->ifname, strerror(err));
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

/* 0 or -errno; no message. */
static int load(struct xn_steer *s, const struct xn_steer_cfg *cfg)
{
	int err;

	s->skel = steer_bpf__open();
	if (!s->skel)
		return -errno;
	s->skel->rodata->frame_bytes = cfg->frame_bytes;
	s->skel->rodata->filter_mac = cfg->filter_mac;
	memcpy(s->skel->rodata->mac, cfg->mac, sizeof(cfg->mac));
	err = steer_bpf__load(s->skel);
	if (err)
		return err;
	s->xsks_fd = bpf_map__fd(s->skel->maps.xsks);
	s->exits_fd = bpf_map__fd(s->skel->maps.exits);
	s->n_cpus = libbpf_num_possible_cpus();
	return s->n_cpus < 0 ? s->n_cpus : 0;
}

/* 0 or -errno; no message. */
static int attach_as(struct xn_steer *s, const struct xn_steer_cfg *cfg, uint32_t flags)
{
	const struct bpf_link_create_opts opts = { .sz = sizeof(opts), .flags = flags };
	int fd = bpf_link_create(bpf_program__fd(s->skel->progs.xn_steer), (int)cfg->ifindex,
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
	s = calloc(1, sizeof(*s));
	if (!s)
		return xn_fail(ENOMEM, "%s: out of memory", cfg->ifname);
	s->link_fd = -1;
	/* libbpf has one print function for the process: it may be the VMM's. */
	before = libbpf_set_print(print_debug);
	err = load(s, cfg);
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

bool xn_steer_native(const struct xn_steer *s)
{
	return s->native;
}

void xn_steer_counters(const struct xn_steer *s, uint64_t out[XN_E_COUNT])
{
	uint64_t *v = calloc((size_t)s->n_cpus * XN_E_COUNT, sizeof(*v));
	uint32_t zero = 0;

	memset(out, 0, XN_E_COUNT * sizeof(*out));
	if (v && !bpf_map_lookup_elem(s->exits_fd, &zero, v))
		for (unsigned i = 0; i < (unsigned)s->n_cpus * XN_E_COUNT; i++)
			out[i % XN_E_COUNT] += v[i];
	free(v);
}
