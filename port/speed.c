/* SPDX-License-Identifier: BSD-2-Clause */
/* An interface's speed by ethtool netlink. Theory in port/speed.h. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>
#include <string.h>

#include "port/speed.h"

#define TURNS 16u   /* messages read for one answer: others are of questions given up before */

static struct nlmsghdr *begin(char *buf, uint16_t family, uint8_t cmd, uint32_t seq)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	nlh->nlmsg_type = family;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = seq;
	g->cmd = cmd;
	g->version = 1;
	return nlh;
}

/* Asks, and hands the answer's attributes to `take`. The kernel answers before sending returns. */
static bool ask(const struct xn_speed *s, const struct nlmsghdr *request, mnl_attr_cb_t take, void *arg)
{
	char buf[16384];
	ssize_t n;

	if (mnl_socket_sendto(s->nl, request, request->nlmsg_len) < 0)
		return false;
	for (unsigned i = 0; i < TURNS; i++) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)buf;

		n = mnl_socket_recvfrom(s->nl, buf, sizeof(buf));
		if (n < 0 && errno == ENOBUFS)
			continue;
		if (n <= 0 || !mnl_nlmsg_ok(nlh, (int)n))
			return false;
		if (nlh->nlmsg_seq != request->nlmsg_seq)
			continue;
		return nlh->nlmsg_type == request->nlmsg_type &&
		       mnl_attr_parse(nlh, sizeof(struct genlmsghdr), take, arg) >= MNL_CB_STOP;
	}
	return false;
}

static int take_family(const struct nlattr *a, void *arg)
{
	if (mnl_attr_get_type(a) == CTRL_ATTR_FAMILY_ID && mnl_attr_get_payload_len(a) >= sizeof(uint16_t))
		*(uint16_t *)arg = mnl_attr_get_u16(a);
	return MNL_CB_OK;
}

void xn_speed_open(struct xn_speed *s)
{
	char buf[256];
	struct nlmsghdr *nlh = begin(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);

	*s = (struct xn_speed){ .nl = mnl_socket_open2(NETLINK_GENERIC, SOCK_NONBLOCK | SOCK_CLOEXEC) };
	if (!s->nl)
		return;
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, ETHTOOL_GENL_NAME);
	if (mnl_socket_bind(s->nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    !ask(s, nlh, take_family, &s->family) || !s->family)
		xn_speed_close(s);
}

void xn_speed_close(struct xn_speed *s)
{
	if (s->nl)
		mnl_socket_close(s->nl);
	s->nl = NULL;
}

struct answer {
	uint32_t mbps;
	uint8_t duplex;
};

static int take_speed(const struct nlattr *a, void *arg)
{
	struct answer *out = arg;

	if (mnl_attr_get_type(a) == ETHTOOL_A_LINKMODES_SPEED && mnl_attr_get_payload_len(a) >= 4)
		out->mbps = mnl_attr_get_u32(a);
	if (mnl_attr_get_type(a) == ETHTOOL_A_LINKMODES_DUPLEX && mnl_attr_get_payload_len(a) >= 1)
		out->duplex = mnl_attr_get_u8(a);
	return MNL_CB_OK;
}

bool xn_speed_read(struct xn_speed *s, unsigned ifindex, uint32_t *mbps, bool *full_duplex)
{
	struct answer got = { (uint32_t)SPEED_UNKNOWN, DUPLEX_UNKNOWN };
	struct nlmsghdr *nlh;
	struct nlattr *nest;
	char buf[256];

	if (!s->nl)
		return false;
	nlh = begin(buf, s->family, ETHTOOL_MSG_LINKMODES_GET, ++s->seq);
	nest = mnl_attr_nest_start(nlh, ETHTOOL_A_LINKMODES_HEADER);
	mnl_attr_put_u32(nlh, ETHTOOL_A_HEADER_DEV_INDEX, ifindex);
	mnl_attr_nest_end(nlh, nest);
	if (!ask(s, nlh, take_speed, &got))
		return false;
	*mbps = got.mbps == (uint32_t)SPEED_UNKNOWN ? 0 : got.mbps;
	*full_duplex = got.duplex == DUPLEX_FULL;
	return true;
}
