/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two namespaces without names and a veth pair between them. Theory in lab.h.
 *
 * A namespace is made by unshare() in the calling thread, kept by an fd of
 * /proc/thread-self/ns/net, and left again with setns(): other threads of the
 * process never notice. veth, the near end's namespace and the far end's go when
 * the last fd, socket and thread that refers to them goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "bench/lab.h"
#include "bench/netlink.h"

#define DEFAULT_MTU 1500u
#define SELF_NS     "/proc/thread-self/ns/net"

/* Locally administered (bit 1 of the first byte), "xn", and the end's number. */
static const uint8_t NEAR_MAC[6] = { 0x02, 'x', 'n', 0, 0, 0 };
static const uint8_t FAR_MAC[6]  = { 0x02, 'x', 'n', 0, 0, 1 };

static int open_ns(int *fd)
{
	*fd = open(SELF_NS, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		return xn_fail(errno, "cannot open " SELF_NS ": %s; is /proc mounted?", strerror(errno));
	return 0;
}

static int enter(int fd)
{
	if (fd < 0)
		return xn_fail(EINVAL, "the laboratory has not been made: call xn_lab_create first");
	if (setns(fd, CLONE_NEWNET))
		return xn_fail(errno, "cannot enter a network namespace: %s; CAP_SYS_ADMIN is needed",
			       strerror(errno));
	return 0;
}

/*
 * Interfaces that are made in this namespace from now on have no IPv6: it would
 * send neighbour and multicast messages of its own. A kernel without IPv6 has no
 * such file, and needs none.
 */
static int ipv6_off(void)
{
	static const char PATH[] = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
	int fd = open(PATH, O_WRONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		err = errno == ENOENT ? 0 : errno;
	else if (write(fd, "1", 1) != 1)
		err = errno;
	if (fd >= 0)
		close(fd);
	if (err)
		return xn_fail(err, "cannot write %s: %s; /proc/sys has to be writable", PATH,
			       strerror(err));
	return 0;
}

/* The calling thread ends up in the new namespace. */
static int new_ns(int *fd)
{
	int err;

	if (unshare(CLONE_NEWNET))
		return xn_fail(errno, "cannot make a network namespace: %s; CAP_SYS_ADMIN is needed",
			       strerror(errno));
	err = open_ns(fd);
	return err ? err : ipv6_off();
}

static int bring_up(const char *ifname, unsigned *ifindex)
{
	int err = xn_nl_link_index(ifname, ifindex);

	if (err)
		return xn_fail(-err, "%s vanished: %s", ifname, strerror(-err));
	return xn_link_set(ifname, true);
}

static int make_pair(struct xn_lab *lab)
{
	struct xn_nl_veth near = { XN_LAB_NEAR, lab->near_mac, -1 };
	struct xn_nl_veth far = { XN_LAB_FAR, lab->far_mac, lab->far_ns };
	int err = xn_lab_enter_near(lab);

	if (err)
		return err;
	err = xn_nl_veth_create(&near, &far, lab->cfg.queues, lab->cfg.mtu);
	if (err)
		return xn_fail(-err, "cannot make a veth pair of %u queues, MTU %u: %s; the kernel needs "
			       "CONFIG_VETH, this process CAP_NET_ADMIN", lab->cfg.queues, lab->cfg.mtu,
			       strerror(-err));
	err = bring_up(XN_LAB_NEAR, &lab->near_ifindex);
	if (!err)
		err = xn_lab_enter_far(lab);
	if (!err)
		err = bring_up(XN_LAB_FAR, &lab->far_ifindex);
	return err;
}

int xn_lab_create(struct xn_lab *lab, const struct xn_lab_cfg *cfg)
{
	int err, back;

	*lab = (struct xn_lab){ .home_ns = -1, .near_ns = -1, .far_ns = -1, .cfg = *cfg,
				.far_name = XN_LAB_FAR };
	memcpy(lab->near_mac, NEAR_MAC, 6);
	memcpy(lab->far_mac, FAR_MAC, 6);
	if (!lab->cfg.mtu)
		lab->cfg.mtu = DEFAULT_MTU;
	if (!lab->cfg.queues)
		return xn_fail(EINVAL, "a laboratory needs at least one queue");
	err = open_ns(&lab->home_ns);
	if (err)
		return err;
	err = new_ns(&lab->near_ns);
	if (!err)
		err = new_ns(&lab->far_ns);
	if (!err)
		err = make_pair(lab);
	back = xn_lab_leave(lab);
	if (!err)
		err = back;
	if (err)
		xn_lab_destroy(lab);
	return err;
}

static void close_ns(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A word without a slash is a name of `ip netns`. */
static int open_named_ns(const char *name, int *fd)
{
	char path[256];

	if (!name)
		return open_ns(fd);
	snprintf(path, sizeof(path), "%s%s", strchr(name, '/') ? "" : "/run/netns/", name);
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	return *fd < 0 ? xn_fail(errno, "network namespace %s: %s", path, strerror(errno)) : 0;
}

int xn_lab_mac(const char *ifname, uint8_t mac[6])
{
	struct ifreq ifr = { 0 };
	int err = 0, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return xn_fail(errno, "socket: %s", strerror(errno));
	memcpy(ifr.ifr_name, ifname, strnlen(ifname, IFNAMSIZ - 1));
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
		err = xn_fail(errno, "interface %s: %s (ip link shows what there is)", ifname,
			      strerror(errno));
	else
		memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
	close(fd);
	return err;
}

static int look_at_far(struct xn_lab *lab, bool mac)
{
	int err = xn_nl_link_index(lab->far_name, &lab->far_ifindex);

	if (err)
		return xn_fail(-err, "interface %s: %s (ip link shows what there is)", lab->far_name,
			       strerror(-err));
	return mac ? xn_lab_mac(lab->far_name, lab->far_mac) : 0;
}

int xn_lab_adopt(struct xn_lab *lab, const char *near, const char *peer, const char *peer_ns,
		 const struct xn_lab_cfg *cfg)
{
	int err, back;

	*lab = (struct xn_lab){ .home_ns = -1, .near_ns = -1, .far_ns = -1, .cfg = *cfg,
				.far_name = peer, .adopted = true };
	memcpy(lab->near_mac, NEAR_MAC, 6);
	memcpy(lab->far_mac, FAR_MAC, 6);
	err = near ? xn_lab_mac(near, lab->near_mac) : 0;
	if (!err)
		err = open_ns(&lab->home_ns);
	if (!err)
		err = open_ns(&lab->near_ns);
	if (!err)
		err = open_named_ns(peer_ns, &lab->far_ns);
	if (!err)
		err = xn_lab_visit(lab->far_ns, &back);
	if (!err) {
		err = look_at_far(lab, near != NULL);
		xn_lab_return(back);
	}
	if (err)
		xn_lab_destroy(lab);
	return err;
}

void xn_lab_destroy(struct xn_lab *lab)
{
	int back;

	/* Without this the pair would stay until the kernel's clean-up worker comes by. */
	if (lab->near_ifindex && !xn_lab_visit(lab->near_ns, &back)) {
		xn_nl_link_delete(XN_LAB_NEAR);
		xn_lab_return(back);
	}
	lab->near_ifindex = lab->far_ifindex = 0;
	close_ns(&lab->near_ns);
	close_ns(&lab->far_ns);
	close_ns(&lab->home_ns);
}

int xn_lab_enter_near(const struct xn_lab *lab)
{
	return enter(lab->near_ns);
}

int xn_lab_enter_far(const struct xn_lab *lab)
{
	return enter(lab->far_ns);
}

int xn_lab_leave(const struct xn_lab *lab)
{
	return enter(lab->home_ns);
}

int xn_lab_visit(int ns, int *back)
{
	int err = open_ns(back);

	if (!err)
		err = enter(ns);
	if (err)
		close_ns(back);
	return err;
}

void xn_lab_return(int back)
{
	enter(back);
	close(back);
}

int xn_link_set(const char *ifname, bool up)
{
	int err = xn_nl_link_set(ifname, up);

	return err ? xn_fail(-err, "cannot set %s %s: %s", ifname, up ? "up" : "down", strerror(-err)) : 0;
}

int xn_link_delete(const char *ifname)
{
	int err = xn_nl_link_delete(ifname);

	return err ? xn_fail(-err, "cannot delete %s: %s", ifname, strerror(-err)) : 0;
}
