/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnetlink (by libmnl) and ethtool requests of a laboratory. Theory in netlink.h. */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>

#include "bench/netlink.h"

/* A link request is a few hundred bytes, its answer an error code. */
#define MSG_BYTES 4096

static int exchange(struct mnl_socket *nl, struct nlmsghdr *nlh)
{
	char answer[MSG_BYTES];
	ssize_t n;

	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(nl, answer, sizeof(answer));
	if (n < 0)
		return -errno;
	if (mnl_cb_run(answer, (size_t)n, nlh->nlmsg_seq, mnl_socket_get_portid(nl), NULL, NULL) < 0)
		return -errno;
	return 0;
}

/* Sends one request and waits for the kernel's verdict. */
static int transact(struct nlmsghdr *nlh)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int err;

	if (!nl)
		return -errno;
	nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = (uint32_t)time(NULL);
	err = exchange(nl, nlh);
	mnl_socket_close(nl);
	return err;
}

static struct nlmsghdr *link_request(char *buf, uint16_t type, bool up)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	nlh->nlmsg_type = type;
	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_change = IFF_UP;
	ifi->ifi_flags = up ? IFF_UP : 0;
	return nlh;
}

static void put_end(struct nlmsghdr *nlh, const struct xn_nl_veth *v, unsigned queues, unsigned mtu)
{
	mnl_attr_put_strz(nlh, IFLA_IFNAME, v->ifname);
	mnl_attr_put(nlh, IFLA_ADDRESS, 6, v->mac);
	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	mnl_attr_put_u32(nlh, IFLA_NUM_TX_QUEUES, queues);
	mnl_attr_put_u32(nlh, IFLA_NUM_RX_QUEUES, queues);
	if (v->ns >= 0)
		mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)v->ns);
}

int xn_nl_veth_create(const struct xn_nl_veth *a, const struct xn_nl_veth *b,
		      unsigned queues, unsigned mtu)
{
	char buf[MSG_BYTES];
	struct nlmsghdr *nlh = link_request(buf, RTM_NEWLINK, false);
	struct nlattr *info, *data, *peer;

	nlh->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	put_end(nlh, a, queues, mtu);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	/* The peer is described by a whole link message inside the attribute. */
	peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	put_end(nlh, b, queues, mtu);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return transact(nlh);
}

int xn_nl_link_index(const char *ifname, unsigned *ifindex)
{
	*ifindex = if_nametoindex(ifname);
	return *ifindex ? 0 : -errno;
}

int xn_nl_link_set(const char *ifname, bool up)
{
	char buf[MSG_BYTES];
	struct nlmsghdr *nlh = link_request(buf, RTM_NEWLINK, up);

	mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	return transact(nlh);
}

int xn_nl_link_delete(const char *ifname)
{
	char buf[MSG_BYTES];
	struct nlmsghdr *nlh = link_request(buf, RTM_DELLINK, false);

	mnl_attr_put_strz(nlh, IFLA_IFNAME, ifname);
	return transact(nlh);
}

/* ---- ethtool ------------------------------------------------------------- */

static int ethtool(int fd, const char *ifname, void *request)
{
	struct ifreq ifr = { 0 };

	strncpy(ifr.ifr_name, ifname, sizeof(ifr.ifr_name) - 1);
	ifr.ifr_data = request;
	return ioctl(fd, SIOCETHTOOL, &ifr) < 0 ? -errno : 0;
}

static int count_stats(int fd, const char *ifname, uint32_t *n)
{
	/* The answer is one number behind the request, for the one bit of the mask. */
	_Alignas(struct ethtool_sset_info) char buf[sizeof(struct ethtool_sset_info) + sizeof(*n)];
	struct ethtool_sset_info *q = (struct ethtool_sset_info *)buf;
	int err;

	memset(buf, 0, sizeof(buf));
	q->cmd = ETHTOOL_GSSET_INFO;
	q->sset_mask = 1ull << ETH_SS_STATS;
	err = ethtool(fd, ifname, q);
	*n = q->sset_mask ? q->data[0] : 0;
	return err;
}

static bool named(const char *name, const char *prefix, const char *suffix)
{
	size_t len = strnlen(name, ETH_GSTRING_LEN), p = strlen(prefix), s = strlen(suffix);

	return len >= p + s && !memcmp(name, prefix, p) && !memcmp(name + len - s, suffix, s);
}

static int sum_stats(int fd, const char *ifname, const char *prefix, const char *suffix,
		     uint64_t *sum)
{
	struct ethtool_gstrings *names = NULL;
	struct ethtool_stats *values = NULL;
	uint32_t n;
	int err = count_stats(fd, ifname, &n);

	if (err)
		return err;
	names = calloc(1, sizeof(*names) + (size_t)n * ETH_GSTRING_LEN);
	values = calloc(1, sizeof(*values) + n * sizeof(uint64_t));
	if (!names || !values) {
		err = -ENOMEM;
		goto out_free;
	}
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_STATS;
	names->len = n;
	values->cmd = ETHTOOL_GSTATS;
	values->n_stats = n;
	err = ethtool(fd, ifname, names);
	if (!err)
		err = ethtool(fd, ifname, values);
	for (uint32_t i = 0; !err && i < n; i++)
		if (named((char *)names->data + i * ETH_GSTRING_LEN, prefix, suffix))
			*sum += values->data[i];
out_free:
	free(names);
	free(values);
	return err;
}

int xn_nl_ethtool_sum(const char *ifname, const char *prefix, const char *suffix, uint64_t *sum)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err;

	*sum = 0;
	if (fd < 0)
		return -errno;
	err = sum_stats(fd, ifname, prefix, suffix, sum);
	close(fd);
	return err;
}
