/* SPDX-License-Identifier: BSD-2-Clause */
/* Loading and attaching peer.bpf.c. Contract in bpf/peer.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/log.h"
#include "bpf/peer.h"
#include "bpf/peer.skel.h"
#include "rss/image.h"

/* enum bpf_attach_type, Linux 6.6; distributions' headers may be older. */
#define TCX_EGRESS ((enum bpf_attach_type)47)
#define MAX_PROGS  64u    /* as many as the kernel allows at one place (BPF_MPROG_MAX) */
#define PROG_NAME  "xn_steer_peer"
#define MAP_NAME   "counts"

__attribute__((format(printf, 2, 0)))
static int print_debug(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[256];

	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	xn_log(XN_LOG_DEBUG, "libbpf: %s", line);
	return 0;
}

static int fail(int err, const char *ifname, const char *what)
{
	if (err == EPERM || err == EACCES)
		return xn_fail(EPERM, "%s: not allowed to %s (needs CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON)",
			       ifname, what);
	if (err == EINVAL || err == EOPNOTSUPP)
		return xn_fail(EOPNOTSUPP, "%s: the kernel does not %s: it has no tcx (Linux 6.6 or newer, "
			       "with NET_XGRESS)", ifname, what);
	return xn_fail(err, "%s: cannot %s: %s", ifname, what, strerror(err));
}

/* ---- what is there ---- */

struct found {
	int fd;                  /* of our program; -1: not there */
	uint32_t maps[8], n_maps;
	unsigned others;
};

/* The program's fd if it is ours; -1 else. */
static int open_ours(uint32_t id, struct found *f)
{
	struct bpf_prog_info info = { 0 };
	uint32_t bytes = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	info.nr_map_ids = 8;
	info.map_ids = (uint64_t)(uintptr_t)f->maps;
	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &bytes) && !strcmp(info.name, PROG_NAME)) {
		f->n_maps = info.nr_map_ids < 8 ? info.nr_map_ids : 8;
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

/* 0 or -errno; no message. */
static int find(struct found *f, unsigned ifindex)
{
	uint32_t ids[MAX_PROGS], n = MAX_PROGS, flags = 0;

	*f = (struct found){ .fd = -1 };
	if (bpf_prog_query((int)ifindex, TCX_EGRESS, 0, &flags, ids, &n))
		return -errno;
	for (uint32_t i = 0; i < n; i++) {
		int fd = f->fd < 0 ? open_ours(ids[i], f) : -1;

		if (fd >= 0)
			f->fd = fd;
		else
			f->others++;
	}
	return 0;
}

static void read_counts(int map, uint64_t out[XN_PEER_COUNTS])
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *v = cpus < 0 ? NULL : calloc((size_t)cpus * XN_PEER_COUNTS, sizeof(*v));
	uint32_t zero = 0;

	if (v && !bpf_map_lookup_elem(map, &zero, v))
		for (unsigned i = 0; i < (unsigned)cpus * XN_PEER_COUNTS; i++)
			out[i % XN_PEER_COUNTS] += v[i];
	free(v);
}

static void find_counts(const struct found *f, uint64_t out[XN_PEER_COUNTS])
{
	for (uint32_t i = 0; i < f->n_maps; i++) {
		struct bpf_map_info info = { 0 };
		uint32_t bytes = sizeof(info);
		int fd = bpf_map_get_fd_by_id(f->maps[i]);

		if (fd < 0)
			continue;
		if (!bpf_obj_get_info_by_fd(fd, &info, &bytes) && !strcmp(info.name, MAP_NAME))
			read_counts(fd, out);
		close(fd);
	}
}

int xn_peer_look(unsigned ifindex, const char *ifname, struct xn_peer_state *st)
{
	struct found f;
	int err = find(&f, ifindex);

	*st = (struct xn_peer_state){ 0 };
	if (err)
		return fail(-err, ifname, "tell its programs");
	st->on = f.fd >= 0;
	st->others = f.others;
	if (f.fd < 0)
		return 0;
	find_counts(&f, st->count);
	close(f.fd);
	return 0;
}

/* ---- on and off ---- */

/* 0 or -errno; no message. */
static int load_as(struct peer_bpf *skel, const struct xn_rss_image *image, unsigned first_queue)
{
	uint32_t zero = 0;
	int err;

	skel->rodata->first_queue = first_queue;
	err = peer_bpf__load(skel);
	if (err)
		return err;
	return bpf_map_update_elem(bpf_map__fd(skel->maps.image), &zero, image, BPF_ANY) ? -errno : 0;
}

static int load(struct peer_bpf **skel, const struct xn_rss_image *image, unsigned first_queue)
{
	libbpf_print_fn_t before = libbpf_set_print(print_debug);
	int err;

	*skel = peer_bpf__open();
	err = *skel ? load_as(*skel, image, first_queue) : -errno;
	libbpf_set_print(before);
	return err;
}

static int attach(unsigned ifindex, int prog, int instead_of)
{
	LIBBPF_OPTS(bpf_prog_attach_opts, opts);

	if (instead_of >= 0) {
		opts.flags = BPF_F_REPLACE;
		opts.replace_prog_fd = instead_of;
	}
	return bpf_prog_attach_opts(prog, (int)ifindex, TCX_EGRESS, &opts) ? -errno : 0;
}

int xn_peer_attach(unsigned ifindex, const char *ifname, const struct xn_rss_image *image,
		   unsigned first_queue)
{
	struct peer_bpf *skel;
	struct found f = { .fd = -1 };
	int err = load(&skel, image, first_queue);

	if (err) {
		fail(-err, ifname, "take the program");
		goto out_destroy;
	}
	err = find(&f, ifindex);
	if (!err)
		err = attach(ifindex, bpf_program__fd(skel->progs.xn_steer_peer), f.fd);
	if (err)
		fail(-err, ifname, "attach the program");
out_destroy:
	if (f.fd >= 0)
		close(f.fd);
	peer_bpf__destroy(skel);
	return err;
}

int xn_peer_detach(unsigned ifindex, const char *ifname)
{
	struct found f;
	int err = find(&f, ifindex);

	if (err)
		return fail(-err, ifname, "tell its programs");
	if (f.fd < 0)
		return -ENOENT;
	if (bpf_prog_detach2(f.fd, (int)ifindex, TCX_EGRESS))
		err = fail(errno, ifname, "take the program off");
	close(f.fd);
	return err;
}
