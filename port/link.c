/* SPDX-License-Identifier: BSD-2-Clause */
/* Watches one interface by rtnetlink. Theory in port/link.h. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "base/log.h"
#include "port/link.h"

/* IFF_LOWER_UP lives in linux/if.h, which clashes with net/if.h. */
#define LOWER_UP (1u << 16)

/* Asks for the state of our interface: at the start, and after an overflow. */
static int ask(struct xn_link *l)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi;

	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = (int)l->ifindex;
	return mnl_socket_sendto(l->nl, nlh, nlh->nlmsg_len) < 0 ? -errno : 0;
}

int xn_link_open(struct xn_link *l, unsigned ifindex, const char *ifname)
{
	int err;

	*l = (struct xn_link){ .ifindex = ifindex };
	l->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (!l->nl)
		return xn_fail(errno, "%s: cannot open a netlink socket: %s", ifname, strerror(errno));
	if (mnl_socket_bind(l->nl, RTMGRP_LINK, MNL_SOCKET_AUTOPID) < 0) {
		err = xn_fail(errno, "%s: cannot watch the link: %s", ifname, strerror(errno));
		goto out_socket;
	}
	err = ask(l);
	if (err) {
		xn_fail(-err, "%s: cannot ask for the link's state: %s", ifname, strerror(-err));
		goto out_socket;
	}
	xn_link_read(l);
	return 0;

out_socket:
	xn_link_close(l);
	return err;
}

void xn_link_close(struct xn_link *l)
{
	if (l->nl)
		mnl_socket_close(l->nl);
	l->nl = NULL;
}

int xn_link_fd(const struct xn_link *l)
{
	return l->nl ? mnl_socket_get_fd(l->nl) : -1;
}

/* Its MTU, if the message has it; else what it was. */
static uint32_t mtu_of(const struct nlmsghdr *nlh, uint32_t was)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct ifinfomsg))
		if (mnl_attr_get_type(a) == IFLA_MTU && mnl_attr_validate(a, MNL_TYPE_U32) >= 0)
			return mnl_attr_get_u32(a);
	return was;
}

static void take(struct xn_link *l, const struct nlmsghdr *nlh)
{
	const struct ifinfomsg *ifi;
	const struct nlmsgerr *err;
	bool up;

	switch (nlh->nlmsg_type) {
	case NLMSG_ERROR:     /* the answer to ask(), if the interface is gone */
		err = mnl_nlmsg_get_payload(nlh);
		l->gone = l->gone || err->error == -ENODEV;
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		ifi = mnl_nlmsg_get_payload(nlh);
		/* Bridges announce their ports under another family: not for us. */
		if ((unsigned)ifi->ifi_index != l->ifindex || ifi->ifi_family != AF_UNSPEC)
			break;
		l->told++;
		up = (ifi->ifi_flags & IFF_UP) && (ifi->ifi_flags & LOWER_UP);
		l->ups += up && !l->up;
		l->up = up;
		l->mtu = mtu_of(nlh, l->mtu);
		/* Also sent when the interface moves to another namespace: gone from here. */
		l->gone = l->gone || nlh->nlmsg_type == RTM_DELLINK;
		break;
	}
}

void xn_link_read(struct xn_link *l)
{
	char buf[16384];   /* MNL_SOCKET_BUFFER_SIZE is not a constant */
	ssize_t n;

	while ((n = mnl_socket_recvfrom(l->nl, buf, sizeof(buf))) != 0) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)buf;
		int left = (int)n;

		if (n < 0) {
			/* ENOBUFS: messages were lost. Ask again, and read on. */
			if (errno == ENOBUFS && !ask(l))
				continue;
			break;
		}
		for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			take(l, nlh);
	}
	if (l->gone)
		l->up = false;
}
