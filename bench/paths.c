/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all paths have in common: a laboratory of their own with generators and a
 * sink at its far end, or a wire that is there already (--peer), or an interface that is
 * there already and has no far end.
 */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/types.h"
#include "bench/frame.h"
#include "bench/path.h"

#define UP_MS    10000     /* a card may reset its link for each program and each socket */
#define LOOK_MS  10
#define CALM_MS  100       /* a link that is up loses frames for a while */

/* ---- far ends ---- */

int xn_far_create(struct xn_far **out, const struct xn_opts *o, unsigned queues)
{
	const struct xn_lab_cfg cfg = { .queues = queues, .mtu = o->mtu };
	struct xn_far *f = calloc(1, sizeof(*f));
	int err;

	*out = NULL;
	if (!f)
		return xn_fail(ENOMEM, "out of memory");
	f->queues = queues;
	f->sink_mode = o->mtu > XN_MTU_DEFAULT ? XN_SINK_STACK : XN_SINK_COUNT;
	err = o->peer ? xn_lab_adopt(&f->lab, o->ifname, o->peer, o->peer_ns, &cfg) :
			xn_lab_create(&f->lab, &cfg);
	if (err) {
		free(f);
		return err;
	}
	*out = f;
	return 0;
}

static void far_close(struct xn_far *f)
{
	for (unsigned i = 0; i < f->queues; i++) {
		xn_gen_destroy(f->gen[i]);
		f->gen[i] = NULL;
	}
	xn_sink_detach(f->sink);
	f->sink = NULL;
}

void xn_far_destroy(struct xn_far *f)
{
	if (!f)
		return;
	far_close(f);
	xn_lab_destroy(&f->lab);
	free(f);
}

/* Generators and sink, unless it has them. */
static int far_open(struct xn_far *f, bool bound)
{
	int err = 0;

	if (!f->sink)
		err = xn_sink_attach(&f->sink, &f->lab, f->sink_mode);
	/* What the usual generator makes has to fit a page. */
	bound |= f->lab.cfg.mtu > XN_MTU_DEFAULT;
	for (unsigned i = 0; i < f->queues && !err; i++)
		if (!f->gen[i])
			err = xn_gen_create(&f->gen[i], &f->lab, bound ? (int)i : -1);
	return err;
}

enum xn_sink_mode xn_path_counting(const struct xn_path *p)
{
	return xn_path_is_large(p) ? XN_SINK_STACK : XN_SINK_COUNT;
}

int xn_path_set_sink(struct xn_path *p, enum xn_sink_mode mode)
{
	struct xn_far *f = p->far;
	int err;

	if (!f || (f->sink && f->sink_mode == mode))
		return 0;
	xn_sink_detach(f->sink);
	f->sink = NULL;
	f->sink_mode = mode;
	err = xn_sink_attach(&f->sink, &f->lab, mode);
	return err ? err : xn_path_settle(p);
}

/* ---- wires that are there already ---- */

static int get_flags(int ns, const char *ifname, short *flags)
{
	struct ifreq ifr = { 0 };
	int back, err = xn_lab_visit(ns, &back), fd;

	if (err)
		return err;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	memcpy(ifr.ifr_name, ifname, strnlen(ifname, IFNAMSIZ - 1));
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		err = xn_fail(errno, "interface %s: %s", ifname, strerror(errno));
	if (fd >= 0)
		close(fd);
	xn_lab_return(back);
	*flags = ifr.ifr_flags;
	return err;
}

int xn_path_settle(const struct xn_path *p)
{
	const struct xn_lab *l = p->far ? &p->far->lab : NULL;
	bool was_down = false;

	if (!l || !p->opts->ifname)
		return 0;
	for (int waited = 0; !xn_stop; waited += LOOK_MS) {
		short near = 0, far = 0;
		int err = get_flags(l->near_ns, p->ifname, &near);

		if (!err)
			err = get_flags(l->far_ns, l->far_name, &far);
		if (err)
			return err;
		if (near & far & IFF_RUNNING)
			break;
		was_down = true;
		if (waited >= UP_MS)
			return xn_fail(ENETDOWN, "%s has no carrier: is it up, and its other end?",
				       near & IFF_RUNNING ? l->far_name : p->ifname);
		poll(NULL, 0, LOOK_MS);
	}
	if (was_down)
		poll(NULL, 0, CALM_MS);
	return 0;
}

/*
 * Frames that leave through somebody's real interface carry its own address as
 * destination, too: no switch sends them on to anybody.
 */
static int take_interface(struct xn_path *p, const char *ifname)
{
	int err = xn_lab_mac(ifname, p->near_mac);

	p->ifname = ifname;
	memcpy(p->far_mac, p->near_mac, 6);
	return err;
}

/* ---- paths ---- */

static int take_far(struct xn_path *p, struct xn_far *far)
{
	const struct xn_opts *o = p->opts;
	int err = 0;

	p->own_far = !far;
	if (p->own_far)
		err = xn_far_create(&far, o, p->queues);
	if (err || !far)
		return err;
	p->far = far;
	p->ifname = o->ifname ? o->ifname : o->peer ? o->peer : XN_LAB_NEAR;
	memcpy(p->near_mac, far->lab.near_mac, 6);
	memcpy(p->far_mac, far->lab.far_mac, 6);
	return 0;
}

static int open_near(struct xn_path *p)
{
	int err;

	if (!p->far)
		return p->ops->open(p);
	err = xn_lab_enter_near(&p->far->lab);
	if (err)
		return err;
	err = p->ops->open(p);
	if (xn_lab_leave(&p->far->lab) && !err)
		err = xn_fail(EIO, "cannot return to the network namespace we came from");
	return err;
}

static struct xn_path *new_path(enum xn_kind kind)
{
	if (xn_kind_external(kind))
		return xn_vhost_path_new();
	return kind == XN_KIND_RAW ? xn_raw_path_new() : xn_guest_path_new();
}

int xn_path_create(struct xn_path **out, enum xn_kind kind, const struct xn_opts *o,
		   unsigned queues, struct xn_far *far)
{
	struct xn_path *p = new_path(kind);
	int err;

	*out = NULL;
	if (!p)
		return xn_fail(ENOMEM, "out of memory");
	p->opts = o;
	p->kind = kind;
	p->queues = queues;
	err = o->ifname && !o->peer ? take_interface(p, o->ifname) : take_far(p, far);
	if (!err)
		err = open_near(p);
	if (!err && p->far)
		err = far_open(p->far, o->bound);
	if (!err)
		err = xn_path_settle(p);
	if (err) {
		xn_path_destroy(p);
		return err;
	}
	*out = p;
	return 0;
}

void xn_path_destroy(struct xn_path *p)
{
	struct xn_far *own;

	if (!p)
		return;
	own = p->own_far ? p->far : NULL;
	if (own)
		far_close(own);
	p->ops->close(p);
	xn_far_destroy(own);
	free(p);
}

void xn_copies_count(struct xn_copies *c, const char *name, uint64_t value)
{
	static const struct { const char *name; bool tx, copied; } known[] = {
		{ "rx_lent", false, false }, { "rx_bounced", false, true }, { "rx_shifted", false, true },
		{ "tx_lent", true, false }, { "tx_chained", true, false }, { "tx_mixed", true, false },
		{ "tx_mixed", true, false }, { "tx_gathered", true, true }, { "tx_bounced", true, true },
		{ "rss_missteered", false, true },
	};

	if (!strcmp(name, "rss_missteered"))
		c->missteered += value;
	if (value && (strstr(name, "_bounce_") || strstr(name, "_drop_") || strstr(name, "_vanished") ||
		      !strcmp(name, "queue_restarts") || !strcmp(name, "steer_no_socket")))
		xn_reasons_add(&c->why, name, (double)value);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(known); i++) {
		if (strcmp(name, known[i].name))
			continue;
		*(known[i].tx ? &c->tx : &c->rx) += value;
		if (known[i].copied)
			*(known[i].tx ? &c->tx_copied : &c->rx_copied) += value;
	}
}
