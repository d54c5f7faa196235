/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all paths have in common: a laboratory of their own with generators and a
 * sink at its far end, or the far end of a wire that is there already (--peer), or an
 * interface that is there already and has no far end.
 */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/types.h"
#include "bench/frame.h"
#include "bench/path.h"

int xn_path_set_sink(struct xn_path *p, enum xn_sink_mode mode)
{
	int err;

	if (!p->has_lab || (p->sink && p->sink_mode == mode))
		return 0;
	xn_sink_detach(p->sink);
	p->sink = NULL;
	err = xn_sink_attach(&p->sink, &p->lab, mode);
	p->sink_mode = mode;
	return err;
}

/*
 * Frames that leave through somebody's real interface carry its own address as
 * destination, too: no switch sends them on to anybody.
 */
static int take_interface(struct xn_path *p, const char *ifname)
{
	struct ifreq ifr = { 0 };
	int err = 0, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return xn_fail(errno, "socket: %s", strerror(errno));
	memcpy(ifr.ifr_name, ifname, strnlen(ifname, IFNAMSIZ - 1));
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
		err = xn_fail(errno, "interface %s: %s (ip link shows what there is)", ifname,
			      strerror(errno));
	close(fd);
	p->ifname = ifname;
	memcpy(p->near_mac, ifr.ifr_hwaddr.sa_data, 6);
	memcpy(p->far_mac, ifr.ifr_hwaddr.sa_data, 6);
	return err;
}

static int make_lab(struct xn_path *p)
{
	const struct xn_lab_cfg cfg = { .queues = p->queues };
	const char *peer = p->opts->peer;
	int err = peer ? xn_lab_adopt(&p->lab, peer, &cfg) : xn_lab_create(&p->lab, &cfg);

	if (err)
		return err;
	p->has_lab = true;
	p->ifname = peer ? peer : XN_LAB_NEAR;
	memcpy(p->near_mac, p->lab.near_mac, 6);
	memcpy(p->far_mac, p->lab.far_mac, 6);
	return 0;
}

static int open_near(struct xn_path *p)
{
	int err;

	if (!p->has_lab)
		return p->ops->open(p);
	err = xn_lab_enter_near(&p->lab);
	if (err)
		return err;
	err = p->ops->open(p);
	if (xn_lab_leave(&p->lab) && !err)
		err = xn_fail(EIO, "cannot return to the network namespace we came from");
	return err;
}

static int make_far(struct xn_path *p)
{
	int err = xn_path_set_sink(p, XN_SINK_COUNT);

	for (unsigned i = 0; i < p->queues && !err && p->has_lab; i++)
		err = xn_gen_create(&p->gen[i], &p->lab);
	return err;
}

static struct xn_path *new_path(enum xn_kind kind)
{
	if (xn_kind_external(kind))
		return xn_vhost_path_new();
	return kind == XN_KIND_RAW ? xn_raw_path_new() : xn_guest_path_new();
}

int xn_path_create(struct xn_path **out, enum xn_kind kind, const struct xn_opts *o)
{
	struct xn_path *p = new_path(kind);
	int err;

	*out = NULL;
	if (!p)
		return xn_fail(ENOMEM, "out of memory");
	p->opts = o;
	p->kind = kind;
	p->queues = o->queues;
	p->lab.home_ns = p->lab.near_ns = p->lab.far_ns = -1;
	err = o->ifname ? take_interface(p, o->ifname) : make_lab(p);
	if (!err)
		err = open_near(p);
	if (!err)
		err = make_far(p);
	if (err) {
		xn_path_destroy(p);
		return err;
	}
	*out = p;
	return 0;
}

void xn_path_destroy(struct xn_path *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->queues; i++)
		xn_gen_destroy(p->gen[i]);
	xn_sink_detach(p->sink);
	p->ops->close(p);
	if (p->has_lab)
		xn_lab_destroy(&p->lab);
	free(p);
}

void xn_copies_count(struct xn_copies *c, const char *name, uint64_t value)
{
	static const struct { const char *name; bool tx, copied; } known[] = {
		{ "rx_lent", false, false }, { "rx_bounced", false, true },
		{ "tx_lent", true, false }, { "tx_chained", true, false },
		{ "tx_gathered", true, true }, { "tx_bounced", true, true },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(known); i++) {
		if (strcmp(name, known[i].name))
			continue;
		*(known[i].tx ? &c->tx : &c->rx) += value;
		if (known[i].copied)
			*(known[i].tx ? &c->tx_copied : &c->rx_copied) += value;
	}
}

/* IPv4 total length, in network order (RFC 791, 3.1). */
#define IP_LENGTH_AT 16u

void xn_near_stamp(struct xn_near *w, uint8_t *frame)
{
	uint32_t stream;
	uint16_t ip_bytes;

	memcpy(&stream, frame + XN_STAMP_AT, sizeof(stream));
	memcpy(&ip_bytes, frame + IP_LENGTH_AT, sizeof(ip_bytes));
	if (stream == w->stream && ip_bytes == __builtin_bswap16((uint16_t)(w->bytes - 14)))
		xn_frame_stamp(frame, w->bytes, w->stream, w->seq);
	else
		xn_frame_build(frame, w->bytes, w->path->far_mac, w->path->near_mac, w->stream,
			       w->seq);
	w->seq++;
}
