/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What this kernel, this process and this interface can do. Each probe tries the
 * thing itself instead of comparing version numbers (distributions backport), on a
 * socket of its own, and leaves nothing behind.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <linux/ethtool.h>
#include <linux/membarrier.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "xsk/xsk.h"

#define PROBE_UMEM_BYTES (2 * XN_PAGE_SIZE)
/* Not a power of two: only a kernel that really knows unaligned chunks takes it,
 * older ones overlook the flag (Linux net/xdp/xdp_umem.c, xdp_umem_reg). */
#define PROBE_CHUNK_BYTES 3000u
#define PROBE_TX_ENTRIES  64u
#define PROBE_TX_BUDGET   32u

static int xdp_socket(void)
{
	return socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
}

bool xn_probe_af_xdp(void)
{
	int fd = xdp_socket();

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

bool xn_probe_tx_budget(void)
{
	const uint32_t entries = PROBE_TX_ENTRIES, budget = PROBE_TX_BUDGET;
	int fd = xdp_socket();
	bool can;

	if (fd < 0)
		return false;
	/* The kernel compares with the size of the TX ring, so that comes first. */
	can = !setsockopt(fd, SOL_XDP, XDP_TX_RING, &entries, sizeof(entries)) &&
	      !setsockopt(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
	close(fd);
	return can;
}

bool xn_probe_membarrier(void)
{
	long cmds = syscall(__NR_membarrier, MEMBARRIER_CMD_QUERY, 0);

	/* The query does not know of nohz_full, with which GLOBAL is refused. */
	return cmds > 0 && cmds & MEMBARRIER_CMD_GLOBAL && !xn_xsk_barrier();
}

bool xn_probe_unaligned(void)
{
	struct xdp_umem_reg reg;
	int fd = xdp_socket();
	bool can = false;
	void *p;

	if (fd < 0)
		return false;
	p = mmap(NULL, PROBE_UMEM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		goto out_close;
	memset(&reg, 0, sizeof(reg));
	reg.addr = (uintptr_t)p;
	reg.len = PROBE_UMEM_BYTES;
	reg.chunk_size = PROBE_CHUNK_BYTES;
	reg.flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG;
	can = !setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg));
out_close:
	/* The kernel lets the pages go later, from a work queue: they are pinned, so
	 * that unmapping them first is safe. */
	close(fd);
	if (p != MAP_FAILED)
		munmap(p, PROBE_UMEM_BYTES);
	return can;
}

/*
 * Copy mode copies a packet when it takes the descriptor, except for devices with
 * IFF_TX_SKB_NO_LINEAR, which get skbs made of the UMEM's pages (Linux net/xdp/xsk.c,
 * xsk_build_skb). In Linux 6.18 only virtio_net sets it, but the flag cannot be read
 * from user space: so only drivers that were looked at are on the list.
 */
bool xn_probe_tx_copies(const char *driver)
{
	static const char *const copies[] = {
		"veth", "tun", "dummy", "e1000", "e1000e", "igb", "igbvf", "igc", "ixgbe",
		"ixgbevf", "i40e", "iavf", "ice", "mlx4_en", "mlx5_core", "bnxt_en", "ena", "r8169",
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(copies); i++)
		if (!strcmp(driver, copies[i]))
			return true;
	return false;
}

/* Any socket carries the ioctl. */
static int ethtool(const char *ifname, void *cmd)
{
	struct ifreq req = { .ifr_data = cmd };
	int fd, err;

	if (strlen(ifname) >= sizeof(req.ifr_name))
		return -ENODEV;
	strcpy(req.ifr_name, ifname);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = ioctl(fd, SIOCETHTOOL, &req) ? -errno : 0;
	close(fd);
	return err;
}

int xn_probe_driver(const char *ifname, char *out, size_t bytes)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	int err = ethtool(ifname, &info);

	if (err)
		return err;
	if (strnlen(info.driver, sizeof(info.driver)) >= bytes)
		return -ENAMETOOLONG;
	strcpy(out, info.driver);
	return 0;
}

int xn_probe_speed(const char *ifname, uint32_t *mbps, bool *full_duplex)
{
	/* Behind the struct: three masks of so many words as the kernel says, an s8. */
	union {
		struct ethtool_link_settings s;
		uint8_t room[sizeof(struct ethtool_link_settings) + 3 * 127 * sizeof(uint32_t)];
	} u = { .s.cmd = ETHTOOL_GLINKSETTINGS };
	int err;

	*mbps = 0;
	*full_duplex = false;
	/* Asked with none, the kernel answers with their number, negative, and nothing else
	 * (Linux net/ethtool/ioctl.c, ethtool_get_link_ksettings). */
	err = ethtool(ifname, &u.s);
	if (err)
		return err;
	if (u.s.link_mode_masks_nwords >= 0)
		return -EPROTO;
	u.s.link_mode_masks_nwords = (int8_t)-u.s.link_mode_masks_nwords;
	u.s.cmd = ETHTOOL_GLINKSETTINGS;
	err = ethtool(ifname, &u.s);
	if (err)
		return err;
	*mbps = u.s.speed == (uint32_t)SPEED_UNKNOWN ? 0 : u.s.speed;
	*full_duplex = u.s.duplex == DUPLEX_FULL;
	return 0;
}
