/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Facts that only netlink tells: what a driver can do with XDP (generic netlink, family
 * "netdev", Linux 6.3), and where the peer of a veth is (rtnetlink).
 */
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>

#include "ctl/facts.h"

/* Linux include/uapi/linux/netdev.h; distributions' headers may be older. */
#define NETDEV_FAMILY     "netdev"
#define NETDEV_DEV_GET    1
#define NETDEV_A_IFINDEX  1
#define NETDEV_A_FEATURES 3

#define MSG_BYTES    512
#define ANSWER_BYTES 32768    /* one link with all its attributes is some KiB */

/* One request, and its answer to `take`. False: the kernel said no. */
static bool transact(int bus, struct nlmsghdr *nlh, mnl_cb_t take, void *arg)
{
	struct mnl_socket *nl = mnl_socket_open2(bus, SOCK_CLOEXEC);
	char answer[ANSWER_BYTES];
	bool ok = false;
	ssize_t n;

	if (!nl)
		return false;
	nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = (uint32_t)time(NULL);
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		goto out_close;
	while ((n = mnl_socket_recvfrom(nl, answer, sizeof(answer))) > 0) {
		int more = mnl_cb_run(answer, (size_t)n, nlh->nlmsg_seq, mnl_socket_get_portid(nl),
				      take, arg);

		if (more > MNL_CB_STOP)
			continue;
		ok = more == MNL_CB_STOP;
		break;
	}
out_close:
	mnl_socket_close(nl);
	return ok;
}

static struct nlmsghdr *generic(char *buf, uint16_t family, uint8_t cmd)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	nlh->nlmsg_type = family;
	g->cmd = cmd;
	g->version = 1;
	return nlh;
}

static int take_family(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a;
	uint16_t *family = arg;

	mnl_attr_for_each(a, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(a) == CTRL_ATTR_FAMILY_ID &&
		    mnl_attr_validate(a, MNL_TYPE_U16) >= 0)
			*family = mnl_attr_get_u16(a);
	return MNL_CB_OK;
}

static int take_features(const struct nlmsghdr *nlh, void *arg)
{
	struct xn_nic_facts *n = arg;
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(a) == NETDEV_A_FEATURES &&
		    mnl_attr_validate(a, MNL_TYPE_U64) >= 0) {
			n->xdp_told = true;
			n->xdp_features = mnl_attr_get_u64(a);
		}
	return MNL_CB_OK;
}

static void ask_features(struct xn_nic_facts *n)
{
	char buf[MSG_BYTES];
	struct nlmsghdr *nlh = generic(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	uint16_t family = 0;

	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY);
	if (!transact(NETLINK_GENERIC, nlh, take_family, &family) || !family)
		return;
	nlh = generic(buf, family, NETDEV_DEV_GET);
	mnl_attr_put_u32(nlh, NETDEV_A_IFINDEX, n->ifindex);
	transact(NETLINK_GENERIC, nlh, take_features, n);
}

struct link { uint32_t peer; bool elsewhere; };

static int take_link(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a;
	struct link *l = arg;

	mnl_attr_for_each(a, nlh, sizeof(struct ifinfomsg)) {
		if (mnl_attr_get_type(a) == IFLA_LINK && mnl_attr_validate(a, MNL_TYPE_U32) >= 0)
			l->peer = mnl_attr_get_u32(a);
		l->elsewhere |= mnl_attr_get_type(a) == IFLA_LINK_NETNSID;
	}
	return MNL_CB_OK;
}

static void ask_link(struct xn_nic_facts *n)
{
	char buf[MSG_BYTES];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	struct link l = { 0 };

	nlh->nlmsg_type = RTM_GETLINK;
	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = (int)n->ifindex;
	if (!transact(NETLINK_ROUTE, nlh, take_link, &l) || !l.peer)
		return;
	n->peer = !l.elsewhere && if_indextoname(l.peer, n->peer_name) ? XN_PEER_HERE :
		  XN_PEER_ELSEWHERE;
}

void xn_nic_ask_netlink(struct xn_nic_facts *n)
{
	ask_features(n);
	if (!strcmp(n->driver, "veth"))
		ask_link(n);
}
