/* SPDX-License-Identifier: BSD-2-Clause */
/* Facts about an interface: ioctls and BPF; netlink is in ctl/netlink.c. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/log.h"
#include "bpf/steer.h"
#include "ctl/facts.h"

static int ask(int fd, unsigned long what, const char *ifname, struct ifreq *req)
{
	snprintf(req->ifr_name, sizeof(req->ifr_name), "%s", ifname);
	return ioctl(fd, what, req) ? -errno : 0;
}

static int ethtool(int fd, const char *ifname, void *cmd)
{
	struct ifreq req = { .ifr_data = cmd };

	return ask(fd, SIOCETHTOOL, ifname, &req);
}

static uint32_t ethtool_value(int fd, const char *ifname, uint32_t cmd)
{
	struct ethtool_value v = { .cmd = cmd };

	return ethtool(fd, ifname, &v) ? 0 : v.data;
}

static void ask_offloads(int fd, const char *ifname, struct xn_offloads *o)
{
	uint32_t flags = ethtool_value(fd, ifname, ETHTOOL_GFLAGS);

	o->gro = ethtool_value(fd, ifname, ETHTOOL_GGRO);
	o->tx_csum = ethtool_value(fd, ifname, ETHTOOL_GTXCSUM);
	o->lro = flags & ETH_FLAG_LRO;
	o->tx_vlan = flags & ETH_FLAG_TXVLAN;
	o->rx_vlan = flags & ETH_FLAG_RXVLAN;
}

static void ask_queues(int fd, const char *ifname, unsigned *rx, unsigned *tx)
{
	struct ethtool_channels c = { .cmd = ETHTOOL_GCHANNELS };

	if (ethtool(fd, ifname, &c))
		return;
	*rx = c.rx_count + c.combined_count;
	*tx = c.tx_count + c.combined_count;
}

static unsigned ask_mtu(int fd, const char *ifname)
{
	struct ifreq req = { 0 };

	return ask(fd, SIOCGIFMTU, ifname, &req) ? 0 : (unsigned)req.ifr_mtu;
}

static void ask_program(struct xn_nic_facts *n)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);
	struct bpf_prog_info info = { 0 };
	uint32_t bytes = sizeof(info);
	int fd;

	if (bpf_xdp_query((int)n->ifindex, 0, &q))
		return;
	n->prog_id = q.prog_id ? q.prog_id : q.drv_prog_id ? q.drv_prog_id :
		     q.skb_prog_id ? q.skb_prog_id : q.hw_prog_id;
	if (!n->prog_id)
		return;
	n->prog_generic = q.skb_prog_id == n->prog_id;
	n->prog_link = xn_steer_link_of(n->ifindex, n->prog_id);
	fd = bpf_prog_get_fd_by_id(n->prog_id);
	if (fd < 0)
		return;
	if (!bpf_obj_get_info_by_fd(fd, &info, &bytes))
		snprintf(n->prog_name, sizeof(n->prog_name), "%s", info.name);
	close(fd);
}

static void ask_peer(int fd, struct xn_nic_facts *n)
{
	unsigned rx = 0;

	n->peer_mtu = ask_mtu(fd, n->peer_name);
	ask_queues(fd, n->peer_name, &rx, &n->peer_tx_queues);
	ask_offloads(fd, n->peer_name, &n->peer_has);
}

static void ask_driver(int fd, struct xn_nic_facts *n)
{
	struct ethtool_drvinfo d = { .cmd = ETHTOOL_GDRVINFO };

	if (ethtool(fd, n->name, &d))
		return;
	snprintf(n->driver, sizeof(n->driver), "%.31s", d.driver);
	snprintf(n->bus, sizeof(n->bus), "%.31s", d.bus_info);
}

static int silent(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

int xn_nic_gather(struct xn_nic_facts *n, const char *ifname)
{
	struct ifreq req = { 0 };
	int fd, err;

	*n = (struct xn_nic_facts){ 0 };
	if (strlen(ifname) >= sizeof(n->name))
		return xn_fail(ENODEV, "\"%s\" is too long for an interface's name", ifname);
	strcpy(n->name, ifname);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return xn_fail(errno, "cannot open a socket: %s", strerror(errno));
	err = ask(fd, SIOCGIFINDEX, ifname, &req);
	if (err) {
		xn_fail(-err, "%s", strerror(-err));
		goto out_close;
	}
	n->ifindex = (unsigned)req.ifr_ifindex;
	if (!ask(fd, SIOCGIFFLAGS, ifname, &req)) {
		n->up = req.ifr_flags & IFF_UP;
		n->carrier = req.ifr_flags & IFF_RUNNING;
	}
	n->mtu = ask_mtu(fd, ifname);
	ask_driver(fd, n);
	ask_queues(fd, ifname, &n->rx_queues, &n->tx_queues);
	ask_offloads(fd, ifname, &n->own);
	xn_nic_ask_netlink(n);
	if (n->peer == XN_PEER_HERE)
		ask_peer(fd, n);
	xn_rss_gather(n);
	libbpf_set_print(silent);
	ask_program(n);
out_close:
	close(fd);
	return err;
}
