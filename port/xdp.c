/* SPDX-License-Identifier: BSD-2-Clause */
/* The AF_XDP port: spec, open, close, what it tells. Theory in port/xdp.h. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/number.h"
#include "port/announce.h"
#include "port/xdp.h"

/* Up to here drivers run a program that knows no frames of several parts (ice: 3046, veth: 3506;
 * others in between). */
#define ONE_PAGE_MTU 3000u

/* ---- the spec: IFNAME[,name=value...] ---- */

static int parse_number(unsigned *out, const char *name, const char *value, unsigned min, unsigned max)
{
	uint64_t v;

	if (!xn_number(value, 10, min, max, &v))
		return xn_fail(EINVAL, "xdp: %s=%s: want a number from %u to %u", name, value, min, max);
	*out = (unsigned)v;
	return 0;
}

/* Index of value in the list of words; -EINVAL with the list in the message. */
static int parse_word(const char *name, const char *value, const char *const *words, unsigned n)
{
	char list[80] = "";

	for (unsigned i = 0; i < n; i++) {
		if (!strcmp(value, words[i]))
			return (int)i;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", words[i]);
	}
	return xn_fail(EINVAL, "xdp: %s=%s: want one of %s", name, value, list);
}
#define WORD(name, value, ...) \
	parse_word(name, value, (const char *const[]){ __VA_ARGS__ }, \
		   XN_ARRAY_SIZE(((const char *const[]){ __VA_ARGS__ })))

static int parse_option(struct xn_xdp_spec *s, const char *name, const char *value)
{
	int w;

	if (!strcmp(name, "queues"))
		return parse_number(&s->queues, name, value, 1, XN_STEER_MAX_QUEUES);
	if (!strcmp(name, "start"))
		return parse_number(&s->start, name, value, 0, XN_STEER_MAX_QUEUES - 1);
	if (!strcmp(name, "budget"))
		return parse_number(&s->budget, name, value, 0, 65536);
	if (!strcmp(name, "mode")) {
		w = WORD(name, value, "auto", "copy", "zero-copy", "bounce");
		s->mode = w == 0 ? XN_XSK_AUTO : w == 2 ? XN_XSK_ZERO_COPY : XN_XSK_COPY;
		s->bounce = w == 3;
	} else if (!strcmp(name, "attach")) {
		w = WORD(name, value, "auto", "native", "generic");
		s->attach = w == 1 ? XN_ATTACH_NATIVE : w == 2 ? XN_ATTACH_GENERIC : XN_ATTACH_AUTO;
	} else if (!strcmp(name, "filter")) {
		w = WORD(name, value, "all", "mac");
		s->filter_mac = w == 1;
	} else if (!strcmp(name, "tx")) {
		w = WORD(name, value, "auto", "gather", "chain");
		s->tx = w == 1 ? XN_TX_GATHER : w == 2 ? XN_TX_CHAIN : XN_TX_AUTO;
	} else if (!strcmp(name, "gso")) {
		w = WORD(name, value, "cut", "whole");
		s->whole = w == 1;
	} else if (!strcmp(name, "nic")) {
		w = WORD(name, value, "auto", "keep");
		s->nic_keep = w == 1;
	} else if (!strcmp(name, "flows")) {
		w = WORD(name, value, "follow", "arrival");
		s->by_arrival = w == 1;
	} else {
		return xn_fail(EINVAL, "xdp: option \"%s\" is not known: queues, start, mode, "
			       "attach, filter, tx, gso, nic, flows, budget are", name);
	}
	return w < 0 ? w : 0;
}

int xn_xdp_spec_parse(struct xn_xdp_spec *s, const char *rest)
{
	char words[256], *save, *word;
	int err;

	*s = (struct xn_xdp_spec){ .queues = 1, .budget = 1024, .mode = XN_XSK_AUTO };
	if (strlen(rest) >= sizeof(words))
		return xn_fail(EINVAL, "xdp: options are longer than %zu characters", sizeof(words) - 1);
	strcpy(words, rest);
	word = strtok_r(words, ",", &save);
	if (!word || *rest == ',')
		return xn_fail(EINVAL, "xdp: which interface? write xdp:IFNAME");
	if (strlen(word) >= sizeof(s->ifname))
		return xn_fail(EINVAL, "xdp: \"%s\" is too long for an interface's name", word);
	strcpy(s->ifname, word);

	while ((word = strtok_r(NULL, ",", &save))) {
		char *value = strchr(word, '=');

		if (!value)
			return xn_fail(EINVAL, "xdp: \"%s\": want name=value", word);
		*value++ = 0;
		err = parse_option(s, word, value);
		if (err)
			return err;
	}
	if (s->start + s->queues > XN_STEER_MAX_QUEUES)
		return xn_fail(EINVAL, "xdp: start=%u,queues=%u: the last queue must be below %u",
			       s->start, s->queues, XN_STEER_MAX_QUEUES);
	return 0;
}

/* ---- the interface ---- */

/* A socket knows its namespace, and tells a number that no other ever has (Linux 5.14);
 * a path in /proc is not always to be had. */
static uint64_t netns_linux(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t bytes = sizeof(uint64_t);
	uint64_t cookie = 0;

	if (fd < 0)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &bytes))
		cookie = 0;
	close(fd);
	return cookie;
}

/* How many queues there are each way; left at 0 where the driver does not tell. */
static void read_channels(int fd, const char *ifname, struct xn_if_info *info)
{
	struct ethtool_channels ch = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq req = { .ifr_data = (char *)&ch };

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
	if (ioctl(fd, SIOCETHTOOL, &req))
		return;
	info->rx_queues = ch.combined_count + ch.rx_count;
	info->tx_queues = ch.combined_count + ch.tx_count;
}

static int if_info_linux(const char *ifname, struct xn_if_info *info)
{
	struct ifreq req = { 0 };
	struct utsname u;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	*info = (struct xn_if_info){ 0 };
	if (fd < 0)
		return xn_fail(errno, "cannot open a socket: %s", strerror(errno));
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", ifname);
	if (ioctl(fd, SIOCGIFINDEX, &req)) {
		err = errno == ENODEV ?
		      xn_fail(ENODEV, "%s: no such interface in this network namespace "
			      "(ip link lists them)", ifname) :
		      xn_fail(errno, "%s: %s", ifname, strerror(errno));
		goto out;
	}
	info->ifindex = (unsigned)req.ifr_ifindex;
	info->netns = netns_linux();
	if (!ioctl(fd, SIOCGIFMTU, &req))
		info->mtu = (uint32_t)req.ifr_mtu;
	if (!ioctl(fd, SIOCGIFHWADDR, &req))
		memcpy(info->mac, req.ifr_hwaddr.sa_data, sizeof(info->mac));
	if (!ioctl(fd, SIOCGIFFLAGS, &req))
		info->up = req.ifr_flags & IFF_UP;
	read_channels(fd, ifname, info);
	if (xn_probe_driver(ifname, info->driver, sizeof(info->driver)))
		info->driver[0] = 0;
	if (!uname(&u))
		snprintf(info->release, sizeof(info->release), "%.*s", (int)sizeof(info->release) - 1, u.release);
	(void)xn_probe_speed(ifname, &info->speed, &info->full_duplex);   /* many do not know */
out:
	close(fd);
	return err;
}

const struct xn_xdp_sys xn_xdp_sys_linux = {
	.if_info = if_info_linux, .netns = netns_linux,
	.steer_open = xn_steer_open, .steer_close = xn_steer_close,
	.steer_set = xn_steer_set, .steer_clear = xn_steer_clear,
	.steer_native = xn_steer_native, .steer_filter = xn_steer_set_filter,
	 .steer_counters = xn_steer_counters,
	.steer_flows = xn_steer_flows, .steer_set_rss = xn_steer_set_rss, .steer_enable = xn_steer_enable,
	.steer_set_at = xn_steer_set_at, .steer_clear_at = xn_steer_clear_at,
	.steer_queue_counters = xn_steer_queue_counters,
	.xsk_socket = xn_xsk_socket, .xsk_open = xn_xsk_open, .xsk_open_rx = xn_xsk_open_rx,
	.xsk_close = xn_xsk_close,
	.xsk_statistics = xn_xsk_statistics, .zc_close = xn_zc_close, .barrier = xn_xsk_barrier,
	.ask_ms = 6000, .close_ms = 2000, .late_ms = 1000,
	.link_open = xn_link_open, .announce_open = xn_announce_open,
	.nic_open = xn_xdp_nic_open_linux,
};

/* ---- what it tells ---- */

static struct xn_xdp_port *xdp_port(const struct xn_port *port)
{
	return XN_CONTAINER_OF(port, struct xn_xdp_port, port);
}

/* In generic mode what arrives has been a socket buffer, whatever the driver. */
bool xn_xdp_soft_peer(const struct xn_xdp_port *p)
{
	return !strcmp(p->info.driver, "veth") || !strcmp(p->info.driver, "tun") ||
	       !p->sys->steer_native(p->steer);
}

static void get_info(const struct xn_port *port, struct xn_port_info *info)
{
	struct xn_xdp_port *p = xdp_port(port);

	info->attach = p->sys->steer_native(p->steer) ? "native" : "generic";
	pthread_mutex_lock(&p->lock);
	info->mode = p->spec.bounce ? "bounce" : p->mode.zero_copy ? "zero-copy" : "copy";
	pthread_mutex_unlock(&p->lock);
	/* Now, and what the port was opened for. */
	info->mtu = (uint16_t)(p->link.mtu ? XN_MIN(p->link.mtu, p->info.mtu) : p->info.mtu);
	memcpy(info->mac, p->info.mac, sizeof(info->mac));
	info->link_up = p->link.nl ? p->link.up : p->info.up;
	info->speed = p->info.speed;
	info->full_duplex = p->info.full_duplex;
	info->spare_sockets = p->n_spares;
}

void xn_xdp_add_statistics(struct xdp_statistics *sum, const struct xn_xdpq *x)
{
	struct xdp_statistics st;

	xdp_port(x->q.port)->sys->xsk_statistics(&x->xsk, &st);
	sum->rx_dropped += st.rx_dropped;
	sum->rx_invalid_descs += st.rx_invalid_descs;
	sum->tx_invalid_descs += st.tx_invalid_descs - XN_MIN(st.tx_invalid_descs, x->refused);
	sum->rx_ring_full += st.rx_ring_full;
	sum->rx_fill_ring_empty_descs += st.rx_fill_ring_empty_descs;
	sum->tx_ring_empty_descs += st.tx_ring_empty_descs;
	if (!x->away || x->away->xsk.fd < 0)
		return;
	/* (Of the fill ring, which is the same, it tells the same.) */
	xdp_port(x->q.port)->sys->xsk_statistics(&x->away->xsk, &st);
	sum->rx_dropped += st.rx_dropped;
	sum->rx_ring_full += st.rx_ring_full;
}

static unsigned stats(struct xn_port *port, struct xn_stat *out, unsigned n)
{
	struct xn_xdp_port *p = xdp_port(port);
	struct xdp_statistics st;
	uint64_t exits[XN_E_COUNT], unclassified;
	unsigned k = 0;

	pthread_mutex_lock(&p->lock);
	st = p->past;
	for (unsigned i = 0; i < port->n_queues; i++)
		if (p->queues[i])
			xn_xdp_add_statistics(&st, p->queues[i]);
	pthread_mutex_unlock(&p->lock);
	/* In copy mode a frame without a receive buffer is in both (Linux net/xdp/xsk.c,
	 * __xsk_rcv; xsk_buff_pool.c, __xp_alloc). */
	st.rx_dropped -= XN_MIN(st.rx_dropped, st.rx_fill_ring_empty_descs);
	unclassified = xn_xdp_unclassified(p);
	p->sys->steer_counters(p->steer, exits);
	for (unsigned i = 0; i < XN_E_COUNT; i++, k++)
		if (k < n)
			out[k] = (struct xn_stat){ xn_steer_exit_name(i), "packets",
						   xn_steer_exit_text(i), exits[i] };

	const struct xn_stat kernel[] = {
		{ "steer_unclassified", "packets", "of those that RSS steered, frames without a hash, "
		  "wherever they ended", unclassified },
		{ "kernel_rx_dropped", "packets", "dropped by the kernel: longer than a chunk takes, "
		  "or no room", st.rx_dropped },
		{ "kernel_rx_ring_full", "packets", "dropped by the kernel: the RX ring was full",
		  st.rx_ring_full },
		{ "kernel_fill_empty", "packets", "dropped by the kernel: no receive buffer was lent",
		  st.rx_fill_ring_empty_descs },
		{ "kernel_rx_invalid", "descriptors", "refused by the kernel in the RX ring: always 0",
		  st.rx_invalid_descs },
		{ "kernel_tx_invalid", "descriptors", "refused by the kernel in the TX ring: always 0",
		  st.tx_invalid_descs },
	};
	for (unsigned i = 0; i < XN_ARRAY_SIZE(kernel); i++, k++)
		if (k < n)
			out[k] = kernel[i];
	return k;
}

static void set_rx_filter(struct xn_port *port, const struct xn_rx_filter *f)
{
	struct xn_xdp_port *p = xdp_port(port);

	p->sys->steer_filter(p->steer, f);
}

static int event_fd(const struct xn_port *port)
{
	return xn_link_fd(&xdp_port(port)->link);
}

/*
 * The longest frame is what it was when the port was opened: the XDP program drops what is
 * longer, before anything is written, and the sockets are bound for that. Shorter ones only are
 * fine: from now on the guest sends no others.
 */
static void heed_mtu(struct xn_xdp_port *p)
{
	const uint32_t mtu = XN_MIN(p->link.mtu, p->info.mtu);

	xn_store_once32(&p->port.tx_frame, mtu + XN_ETH_HDR_BYTES + XN_VLAN_TAG_BYTES);
	if (p->link.mtu > p->info.mtu)
		xn_log(XN_LOG_WARN, "%s: its MTU is %u now; until the port is opened again, the guest "
		       "gets no frames of an MTU above %u (steer_too_long counts them)", p->spec.ifname,
		       p->link.mtu, p->info.mtu);
	else
		xn_log(XN_LOG_INFO, "%s: its MTU is %u now", p->spec.ifname, p->link.mtu);
}

/* Something has happened to the link: is its speed another one now? */
static bool look_at_speed(struct xn_xdp_port *p)
{
	const uint32_t mbps = p->info.speed;
	const bool full = p->info.full_duplex;

	return xn_speed_read(&p->speed, p->info.ifindex, &p->info.speed, &p->info.full_duplex) &&
	       (p->info.speed != mbps || p->info.full_duplex != full);
}

static void handle_events(struct xn_port *port, void (*event)(void *, const struct xn_event *),
			  void *arg)
{
	struct xn_xdp_port *p = xdp_port(port);
	bool was_up = p->link.up, was_gone = p->link.gone;
	const uint32_t mtu = p->link.mtu;
	const unsigned ups = p->link.ups, told = p->link.told;
	bool changed = false;
	struct xn_event e = { .name = p->spec.ifname };

	if (!p->link.nl)
		return;
	xn_link_read(&p->link);
	if (p->link.up)
		xn_store_once8(&p->had_carrier, 1);
	if (p->link.ups != ups)
		xn_xdp_nic_check(p);
	/* A carrier that was gone for less than a second may not have been told of (linkwatch). */
	if (p->link.up && p->link.told != told)
		changed = look_at_speed(p);
	if (p->link.mtu != mtu) {
		heed_mtu(p);
		changed = true;
	}
	if (changed && event)
		event(arg, &(struct xn_event){ .kind = XN_EVENT_CONFIG, .name = p->spec.ifname });
	if (p->link.gone && !was_gone) {
		xn_log(XN_LOG_ERROR, "%s: the interface was deleted or moved away; the device "
		       "stays without a network until it is made again", p->spec.ifname);
		e.kind = XN_EVENT_PORT_GONE;
	} else if (p->link.up != was_up) {
		xn_log(XN_LOG_INFO, "%s: link %s", p->spec.ifname, p->link.up ? "up" : "down");
		e.kind = p->link.up ? XN_EVENT_LINK_UP : XN_EVENT_LINK_DOWN;
	} else {
		return;
	}
	if (event)
		event(arg, &e);
}

static int announce(struct xn_port *port, const uint8_t mac[6])
{
	struct xn_xdp_port *p = xdp_port(port);

	return xn_announce_send(p->announce_fd, mac, p->spec.ifname);
}

/* ---- open and close ---- */

static void port_close(struct xn_port *port)
{
	struct xn_xdp_port *p = xdp_port(port);

	while (p->n_spares)
		close(p->spares[--p->n_spares]);
	free(p->spares);
	if (p->announce_fd >= 0)
		close(p->announce_fd);
	xn_link_close(&p->link);
	xn_speed_close(&p->speed);
	xn_xdp_nic_end(&p->nic);
	if (p->steer)
		p->sys->steer_close(p->steer);
	xn_xdp_rss_close(p);
	pthread_mutex_destroy(&p->setup);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static const struct xn_port_ops port_ops = {
	.kind = "xdp", .start = xn_xdp_queue_start, .settle = xn_xdp_queue_settle,
	.set_rx_filter = set_rx_filter,
	.get_info = get_info, .get_mode = xn_xdp_get_mode, .stats = stats, .set_rss = xn_xdp_set_rss,
	.event_fd = event_fd, .handle_events = handle_events, .announce = announce,
	.get_rss = xn_xdp_get_rss, .close = port_close,
};

/* The longest frame: MTU, Ethernet header, one VLAN tag. */
static int choose_frame(struct xn_xdp_port *p)
{
	uint32_t longest = p->info.mtu + XN_ETH_HDR_BYTES + XN_VLAN_TAG_BYTES;

	if (p->info.mtu > XN_MTU_MAX)
		return xn_fail(EMSGSIZE, "%s: MTU %u is more than %u: ip link set %s mtu %u",
			       p->spec.ifname, p->info.mtu, XN_MTU_MAX, p->spec.ifname, XN_MTU_MAX);
	p->port.max_frame = p->port.tx_frame = longest;
	p->port.whole = p->spec.whole;
	p->sg = longest > XN_FRAME_BYTES_MAX;
	return 0;
}

static int attach(struct xn_xdp_port *p, const struct xn_port_opts *opts)
{
	static const uint8_t none[6];
	struct xn_steer_cfg cfg = {
		.ifindex = p->info.ifindex, .ifname = p->spec.ifname, .attach = p->spec.attach,
		.frame_bytes = xn_xdp_mode_passes(p), .frags = p->info.mtu > ONE_PAGE_MTU, .filter_mac = p->spec.filter_mac,
		.rss_pairs = p->rss ? p->spec.queues : 0, .first_queue = p->spec.start,
		.by_flow = !p->spec.by_arrival,
	};

	if (memcmp(opts->mac, none, sizeof(none)))
		memcpy(p->info.mac, opts->mac, sizeof(p->info.mac));
	memcpy(cfg.mac, p->info.mac, sizeof(cfg.mac));
	return p->sys->steer_open(&p->steer, &cfg);
}

static int open_spares(struct xn_xdp_port *p, uint32_t n)
{
	int err = 0;

	p->spares = calloc(n, sizeof(*p->spares));
	if (!p->spares && n)
		return xn_fail(ENOMEM, "%s: no memory for %u spare sockets", p->spec.ifname, n);
	while (!err && p->n_spares < n) {
		err = p->sys->xsk_socket(&p->spares[p->n_spares], p->spec.ifname);
		p->n_spares += !err;
	}
	return err;
}

int xn_port_open_xdp_on(struct xn_port **port, const char *rest, const struct xn_port_opts *opts,
			const struct xn_xdp_sys *sys)
{
	struct xn_xdp_port *p = calloc(1, sizeof(*p));
	int err;

	*port = NULL;
	if (!p)
		return xn_fail(ENOMEM, "xdp: out of memory");
	p->sys = sys;
	pthread_mutex_init(&p->setup, NULL);
	pthread_mutex_init(&p->lock, NULL);
	p->announce_fd = -1;
	xn_xdp_nic_begin(&p->nic);
	p->port.ops = &port_ops;
	err = xn_xdp_spec_parse(&p->spec, rest);
	if (!err)
		err = sys->if_info(p->spec.ifname, &p->info);
	if (!err)
		err = choose_frame(p);
	if (!err)
		err = xn_xdp_mode_choose(p);
	if (!err)
		err = xn_xdp_rss_open(p);
	if (!err)
		err = attach(p, opts);
	if (!err)
		err = xn_xdp_mode_attached(p);
	if (!err)
		err = sys->link_open(&p->link, p->info.ifindex, p->spec.ifname);
	if (!err)
		err = sys->announce_open(&p->announce_fd, p->info.ifindex, p->spec.ifname);
	if (!err)
		err = open_spares(p, opts->spare_sockets);
	if (err) {
		port_close(&p->port);
		return err;
	}
	if (p->link.nl)
		xn_speed_open(&p->speed);
	if (p->link.mtu && p->link.mtu != p->info.mtu)   /* since it was asked for */
		heed_mtu(p);
	xn_xdp_nic_open(p);
	p->had_carrier = p->link.up;
	p->port.n_queues = p->spec.queues;
	p->port.fixed_mac = p->spec.filter_mac;
	xn_xdp_rss_begin(p);
	p->port.features = XN_SOFT_FEATURES;
	*port = &p->port;
	return 0;
}

int xn_port_open_xdp(struct xn_port **port, const char *rest, const struct xn_port_opts *opts)
{
	return xn_port_open_xdp_on(port, rest, opts, &xn_xdp_sys_linux);
}
