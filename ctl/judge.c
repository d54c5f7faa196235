/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Verdicts: a table of subjects, each with a function that looks at the facts. `bad` is what
 * keeps a guest from its network, `warn` what costs speed or works only for some; the
 * command that mends it is one that can be typed as it stands.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/types.h"
#include "ctl/judge.h"
#include "ctl/lend.h"

#define MIB ((uint64_t)1 << 20)

/* What the library takes. */
#define MTU_MAX       65535u
/* Longest of which a frame fits a chunk of 4096: headroom of 256, Ethernet header, VLAN tag. */
#define MTU_CHUNK     3822u
/* Longest for which veth takes a native program that knows no frames of several parts (Linux
 * drivers/net/veth.c, veth_xdp_set); the library's does if its own interface's is longer. */
#define MTU_VETH      3506u
/* Arena of the library with its default number of frames, and some more. */
#define ENGINE_BYTES  (36 * MIB)
/* Kernel memory for each GiB registered, for each queue (xsknet-bench --footprint). */
#define KERNEL_BYTES_A_GIB (46 * MIB)
/* The same with chunks of 2048 bytes: twice as many, each of 136 bytes (Linux
 * net/xdp/xsk_buff_pool.c, xp_create_and_assign_umem), and 8 bytes a page of DMA addresses. */
#define KERNEL_BYTES_A_GIB_2048 (82 * MIB)

#define CAP(c) (1ull << CAP_##c)

void xn_say(struct xn_verdict *v, enum xn_level level, const char *fmt, ...)
{
	va_list ap;

	v->level = level;
	va_start(ap, fmt);
	vsnprintf(v->found, sizeof(v->found), fmt, ap);
	va_end(ap);
}

void xn_mend(struct xn_verdict *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->mend, sizeof(v->mend), fmt, ap);
	va_end(ap);
}

const char *xn_level_word(enum xn_level level)
{
	static const char *const words[] = { "ok", "warn", "bad" };

	return words[level];
}

/* ---- the kernel ---- */

struct release { unsigned major, minor, patch; };

/* Holes that matter to AF_XDP in copy mode, and the releases of kernel.org without them. */
static const struct {
	const char *cve, *what;
	struct release mainline, stable[3];
} holes[] = {
	{ "CVE-2024-35976", "set-up of rings reads beyond its argument",
	  { 6, 9, 0 }, { { 6, 6, 28 }, { 6, 8, 7 } } },
	{ "CVE-2025-21997", "guests above 4 GiB: frames land in the wrong place",
	  { 6, 14, 0 }, { { 6, 6, 85 }, { 6, 12, 21 }, { 6, 13, 9 } } },
	{ "CVE-2025-37920", "several queues: sockets race for receive buffers",
	  { 6, 15, 0 }, { { 6, 12, 28 }, { 6, 14, 6 } } },
};

static bool is_fixed(const unsigned k[3], const struct release *mainline,
		     const struct release *stable, unsigned n)
{
	if (k[0] > mainline->major || (k[0] == mainline->major && k[1] >= mainline->minor))
		return true;
	for (unsigned i = 0; i < n; i++)
		if (stable[i].major && k[0] == stable[i].major && k[1] == stable[i].minor)
			return k[2] >= stable[i].patch;
	return false;
}

static void judge_kernel(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_host_facts *h = &f->host;
	char list[256] = "";

	xn_say(v, XN_LEVEL_OK, "Linux %s", h->release);
	if (h->af_xdp_error == EAFNOSUPPORT) {
		xn_say(v, XN_LEVEL_BAD, "Linux %s was built without AF_XDP (CONFIG_XDP_SOCKETS)", h->release);
		xn_mend(v, "boot a kernel that has it; those of distributions do");
		return;
	}
	if (!h->kernel[0]) {
		xn_say(v, XN_LEVEL_WARN, "release \"%s\" is not understood", h->release);
		return;
	}
	if (h->kernel[0] < 6 || (h->kernel[0] == 6 && h->kernel[1] < 6)) {
		xn_say(v, XN_LEVEL_BAD, "Linux %s is older than 6.6", h->release);
		xn_mend(v, "boot a newer kernel");
		return;
	}
	for (unsigned i = 0; i < XN_ARRAY_SIZE(holes); i++)
		if (!is_fixed(h->kernel, &holes[i].mainline, holes[i].stable,
			      XN_ARRAY_SIZE(holes[i].stable)))
			snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s (%s)",
				 *list ? ", " : "", holes[i].cve, holes[i].what);
	if (*list) {
		xn_say(v, XN_LEVEL_WARN, "Linux %s has, by its number: %s", h->release, list);
		xn_mend(v, "update it, unless the distribution says that the fixes are in");
	}
}

/* No number of a release is known for this one, so the date of the kernel has to do. */
static void judge_veth_crash(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_host_facts *h = &f->host;

	if (strcmp(f->nic.driver, "veth") != 0 || !h->built_year)
		return;
	if (h->built_year > 2026 || (h->built_year == 2026 && h->built_month >= 8)) {
		xn_say(v, XN_LEVEL_OK, "kernel built %u-%02u, after the fix of CVE-2026-74476",
		       h->built_year, h->built_month);
		return;
	}
	xn_say(v, XN_LEVEL_WARN, "kernel built %u-%02u, before CVE-2026-74476 was fixed (August 2026): "
	       "frames from the peer can crash the host", h->built_year, h->built_month);
	xn_mend(v, "update the kernel");
}

static void judge_privileges(const struct xn_facts *f, struct xn_verdict *v)
{
	static const struct { uint64_t cap; const char *name; } needs[] = {
		{ CAP(NET_ADMIN), "CAP_NET_ADMIN" }, { CAP(NET_RAW), "CAP_NET_RAW" },
		{ CAP(BPF), "CAP_BPF" },
	};
	char lacking[64] = "";

	for (unsigned i = 0; i < XN_ARRAY_SIZE(needs); i++)
		if (!(f->host.caps & needs[i].cap))
			snprintf(lacking + strlen(lacking), sizeof(lacking) - strlen(lacking), " %s",
				 needs[i].name);
	xn_say(v, XN_LEVEL_OK, "CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF are here (to start; then all are "
	       "given up)");
	if (!*lacking)
		return;
	xn_say(v, XN_LEVEL_BAD, "whoever starts xsknetd like this lacks%s", lacking);
	xn_mend(v, "be root, or systemctl start xsknetd@NAME");
}

/* ---- the interface ---- */

static void judge_driver(const struct xn_facts *f, struct xn_verdict *v)
{
	if (f->nic.driver[0])
		xn_say(v, XN_LEVEL_OK, "%s", f->nic.driver);
	else
		xn_say(v, XN_LEVEL_WARN, "the driver does not tell its name: buffers that the guest sends go "
		       "back to it later than they could");
}

static void judge_link(const struct xn_facts *f, struct xn_verdict *v)
{
	if (!f->nic.up) {
		xn_say(v, XN_LEVEL_BAD, "set down");
		xn_mend(v, "ip link set dev %s up", f->nic.name);
	} else if (!f->nic.carrier) {
		xn_say(v, XN_LEVEL_WARN, "no carrier: the other end is down or not there");
		if (f->nic.peer == XN_PEER_HERE)
			xn_mend(v, "ip link set dev %s up", f->nic.peer_name);
		else
			xn_mend(v, "set the other end up, or plug in the cable");
	} else {
		xn_say(v, XN_LEVEL_OK, "up");
	}
}

static void judge_mtu(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_nic_facts *n = &f->nic;
	bool veth = !strcmp(n->driver, "veth");

	if (n->mtu > MTU_MAX) {
		xn_say(v, XN_LEVEL_BAD, "%u; at most %u can be told to a guest", n->mtu, MTU_MAX);
		xn_mend(v, "ip link set dev %s mtu %u", n->name, MTU_MAX);
	} else if (veth && n->peer == XN_PEER_HERE && n->peer_mtu > MTU_VETH && n->mtu <= MTU_VETH) {
		xn_say(v, XN_LEVEL_WARN, "%u here, %u at the peer; veth takes no native XDP program then",
		       n->mtu, n->peer_mtu);
		xn_mend(v, "ip link set dev %s mtu %u", n->peer_name, n->mtu);
	} else if (n->mtu > MTU_CHUNK) {
		xn_say(v, XN_LEVEL_OK, "%u; copy mode; frames longer than a chunk of 4096 bytes are put "
		       "together", n->mtu);
	} else {
		xn_say(v, XN_LEVEL_OK, "%u: guest buffers of %u bytes and more are lent", n->mtu, n->mtu + 30);
	}
}

static void judge_xdp(const struct xn_facts *f, struct xn_verdict *v)
{
	const uint64_t want = XN_XDP_BASIC | XN_XDP_REDIRECT;

	if (!f->nic.xdp_told) {
		xn_say(v, XN_LEVEL_WARN, "this kernel does not tell what the driver can do");
		xn_mend(v, "xsknetd --port xdp:%s,attach=native fails at its start if it cannot", f->nic.name);
	} else if ((f->nic.xdp_features & want) == want) {
		xn_say(v, XN_LEVEL_OK, "the driver takes native programs, with redirect");
	} else if (!strcmp(f->nic.driver, "veth")) {
		/* Linux drivers/net/veth.c, veth_set_xdp_features */
		xn_say(v, XN_LEVEL_WARN, "veth takes no native program while its peer sends on more queues than "
		       "the %u that receive here: generic XDP, which is slower", f->nic.rx_queues);
		xn_mend(v, "%sethtool -L %s tx %u", f->nic.peer == XN_PEER_HERE ? "" : "there: ",
		        f->nic.peer == XN_PEER_HERE ? f->nic.peer_name : "PEER", f->nic.rx_queues);
	} else {
		xn_say(v, XN_LEVEL_WARN, "the driver takes no native programs that redirect: generic XDP, which "
		       "is slower");
		xn_mend(v, "use an interface whose driver does");
	}
}

static void judge_program(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_nic_facts *n = &f->nic;

	if (!n->prog_id) {
		xn_say(v, XN_LEVEL_OK, "no other program is attached");
		return;
	}
	xn_say(v, XN_LEVEL_BAD, "%s (id %" PRIu32 ") is attached%s",
	       n->prog_name[0] ? n->prog_name : "a program", n->prog_id,
	       !strncmp(n->prog_name, "xn_steer", 8) ? ": an xsknetd has this interface already" : "");
	if (!strcmp(n->prog_name, "xdp_dispatcher"))
		xn_mend(v, "xdp-loader unload %s --all", n->name);
	else if (n->prog_link)
		xn_mend(v, "end the process that holds it, or: bpftool link detach id %" PRIu32, n->prog_link);
	else
		xn_mend(v, "ip link set dev %s %s off", n->name, n->prog_generic ? "xdpgeneric" : "xdp");
}

static void judge_queues(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_nic_facts *n = &f->nic;
	unsigned both = XN_MIN(n->rx_queues, n->tx_queues);

	if (!n->rx_queues || !n->tx_queues) {
		xn_say(v, XN_LEVEL_OK, "the driver does not tell how many it has: queues=1");
	} else if (n->peer == XN_PEER_HERE && n->peer_tx_queues > n->rx_queues) {
		xn_say(v, XN_LEVEL_WARN, "the peer %s sends on %u queues and %u receive: no native XDP program",
		       n->peer_name, n->peer_tx_queues, n->rx_queues);
		xn_mend(v, "ethtool -L %s tx %u", n->peer_name, n->rx_queues);
	} else if (n->rx_queues > 1) {
		xn_say(v, XN_LEVEL_WARN, "%u receive, %u transmit; frames on queues that no guest has are "
		       "dropped (steer_no_socket)", n->rx_queues, n->tx_queues);
		xn_mend(v, "xsknetd --port xdp:%s,queues=%u, or ethtool -L %s %s 1", n->name, both, n->name,
		        n->peer == XN_PEER_NONE ? "combined" : "rx");
	} else {
		xn_say(v, XN_LEVEL_OK, "%u receive, %u transmit", n->rx_queues, n->tx_queues);
	}
}

/* ---- offloads ---- */

static void judge_own_offloads(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_nic_facts *n = &f->nic;
	bool native = n->xdp_told && n->xdp_features & XN_XDP_BASIC;

	if (n->own.lro) {
		xn_say(v, XN_LEVEL_WARN, "LRO is on: frames are joined until they are too long, or the driver "
		       "takes no program");
		xn_mend(v, "ethtool -K %s lro off", n->name);
	} else if (strcmp(n->driver, "veth") != 0 && n->own.rx_vlan) {
		xn_say(v, XN_LEVEL_WARN, "VLAN tags are taken off in hardware: the guest does not see them");
		xn_mend(v, "ethtool -K %s rxvlan off", n->name);
	} else if (n->own.gro && n->xdp_told && !native) {
		xn_say(v, XN_LEVEL_WARN, "GRO is on: generic XDP gets frames that are joined and too long");
		xn_mend(v, "ethtool -K %s gro off", n->name);
	} else {
		xn_say(v, XN_LEVEL_OK, "nothing joins frames or takes VLAN tags off");
	}
}

static void judge_peer(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_nic_facts *n = &f->nic;

	if (n->peer == XN_PEER_ELSEWHERE) {
		xn_say(v, XN_LEVEL_WARN, "the peer is in another network namespace: what it sends from its own "
		       "stack has no checksum, and VLAN tags apart, unless that is off");
		xn_mend(v, "there: ethtool -K PEER tx off txvlan off");
	} else if (n->peer == XN_PEER_HERE && n->peer_has.tx_csum) {
		xn_say(v, XN_LEVEL_BAD, "the peer %s leaves checksums to hardware that is not there: the guest "
		       "drops what this host sends", n->peer_name);
		xn_mend(v, "ethtool -K %s tx off%s", n->peer_name, n->peer_has.tx_vlan ? " txvlan off" : "");
	} else if (n->peer == XN_PEER_HERE && n->peer_has.tx_vlan) {
		xn_say(v, XN_LEVEL_WARN, "the peer %s sends VLAN tags apart from the frame: the guest does not "
		       "see them", n->peer_name);
		xn_mend(v, "ethtool -K %s txvlan off", n->peer_name);
	} else if (n->peer == XN_PEER_HERE) {
		xn_say(v, XN_LEVEL_OK, "the peer %s sends whole checksums and VLAN tags", n->peer_name);
	}
}

/* ---- memory ---- */

static void judge_memlock(const struct xn_facts *f, struct xn_verdict *v)
{
	const uint64_t need = f->guest_ram + ENGINE_BYTES, limit = f->host.memlock_bytes;
	uint64_t kib = XN_ALIGN_UP(need, 1024) / 1024;

	if (limit == UINT64_MAX)
		xn_say(v, XN_LEVEL_OK, "no limit");
	else if (f->host.caps & (CAP(IPC_LOCK) | CAP(SYS_RESOURCE)))
		xn_say(v, XN_LEVEL_OK, "%" PRIu64 " MiB, which does not bind CAP_%s", limit / MIB,
		       f->host.caps & CAP(SYS_RESOURCE) ? "SYS_RESOURCE (xsknetd raises it)" : "IPC_LOCK");
	else if (limit >= need)
		xn_say(v, f->guest_ram ? XN_LEVEL_OK : XN_LEVEL_WARN, "%" PRIu64 " MiB: enough for %s",
		       limit / MIB, f->guest_ram ? "this guest" : "a guest that is smaller than that");
	else {
		xn_say(v, XN_LEVEL_BAD, "%" PRIu64 " MiB may be locked, and the guest and the engine are %" PRIu64
		       " MiB", limit / MIB, need / MIB);
		xn_mend(v, "LimitMEMLOCK=infinity in the unit, or as root: ulimit -l %" PRIu64, kib);
	}
}

static void judge_memory(const struct xn_facts *f, struct xn_verdict *v)
{
	const uint32_t chunk = xn_judge_chunk(f);
	const uint64_t a_gib = chunk == XN_CHUNK_BYTES ? KERNEL_BYTES_A_GIB : KERNEL_BYTES_A_GIB_2048;
	const uint64_t cost = f->guest_ram / MIB * a_gib / 1024 + ENGINE_BYTES;
	char why[64] = "";

	if (chunk != XN_CHUNK_BYTES)
		snprintf(why, sizeof(why), ", in zero-copy mode; with mode=copy half of it");
	if (!f->guest_ram) {
		xn_say(v, XN_LEVEL_OK, "expect %" PRIu64 " MB of kernel memory for each GiB of the guest and each "
		       "queue%s (--guest-ram SIZE tells more)", a_gib / MIB, why);
	} else if (f->host.available_bytes && cost > f->host.available_bytes) {
		xn_say(v, XN_LEVEL_BAD, "the kernel will need %" PRIu64 " MiB a queue%s, and %" PRIu64 " MiB are "
		       "available", cost / MIB, why, f->host.available_bytes / MIB);
		xn_mend(v, "a smaller guest, or more memory");
	} else {
		xn_say(v, XN_LEVEL_OK, "the guest's %" PRIu64 " MiB are pinned; expect %" PRIu64 " MiB more a queue%s",
		       f->guest_ram / MIB, cost / MIB, why);
	}
}

static void judge_huge(const struct xn_facts *f, struct xn_verdict *v)
{
	const uint64_t want = XN_ALIGN_UP(f->guest_ram, XN_HUGE_SIZE) / XN_HUGE_SIZE;
	const struct xn_host_facts *h = &f->host;

	xn_say(v, XN_LEVEL_OK, "%" PRIu64 " of %" PRIu64 " pages of 2 MiB are free%s", h->huge_free,
	       h->huge_total, want ? "" : " (--guest-ram SIZE has them compared)");
	if (h->huge_free >= want)
		return;
	xn_say(v, XN_LEVEL_WARN, "%" PRIu64 " pages of 2 MiB are free, and the guest would use %" PRIu64
	       ": small pages work, and cost the processor more", h->huge_free, want);
	xn_mend(v, "sysctl vm.nr_hugepages=%" PRIu64, h->huge_total - h->huge_free + want);
}

static void judge_numa(const struct xn_facts *f, struct xn_verdict *v)
{
	int node = f->host.nic_node;

	if (f->host.numa_nodes < 2 || node < 0) {
		xn_say(v, XN_LEVEL_OK, "%s", f->host.numa_nodes < 2 ? "one node" :
		       "the interface belongs to none");
		return;
	}
	xn_say(v, XN_LEVEL_WARN, "the card is at node %d of %u: memory of the guest, its processors and "
	       "xsknetd's threads belong there", node, f->host.numa_nodes);
	xn_mend(v, "xsknetd --cpus $(cat /sys/devices/system/node/node%d/cpulist)", node);
}

static void judge_iommu(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_device_facts *d = &f->dev;

	if (d->iommu[0])
		xn_say(v, XN_LEVEL_OK, "group %u, %s: matters to zero-copy only", d->iommu_group, d->iommu);
	else if (f->host.iommu_groups)
		xn_say(v, XN_LEVEL_OK, "%u groups, and the interface is in none", f->host.iommu_groups);
	else
		xn_say(v, XN_LEVEL_OK, "none");
}

/* ---- all ---- */

static const struct {
	const char *subject;
	/* Leaves v as it is if there is nothing to say. */
	void (*judge)(const struct xn_facts *f, struct xn_verdict *v);
} subjects[] = {
	{ "kernel", judge_kernel },           { "veth crash", judge_veth_crash },
	{ "privileges", judge_privileges },   { "driver", judge_driver },
	{ "link", judge_link },               { "mtu", judge_mtu },
	{ "native XDP", judge_xdp },          { "zero-copy driver", xn_judge_zc_driver },
	{ "zero-copy MTU", xn_judge_zc_mtu }, { "zero-copy buffers", xn_judge_zc_buffers },
	{ "zero-copy pages", xn_judge_zc_pages }, { "zero-copy filter", xn_judge_zc_filter },
	{ "XDP program", judge_program },     { "queues", judge_queues },
	{ "RSS", xn_judge_rss },              { "offloads", judge_own_offloads },
	{ "peer", judge_peer },
	{ "locked memory", judge_memlock },   { "kernel memory", judge_memory },
	{ "huge pages", judge_huge },         { "NUMA", judge_numa },
	{ "IOMMU", judge_iommu },
};
_Static_assert(XN_ARRAY_SIZE(subjects) <= XN_VERDICTS_MAX, "one verdict each");

unsigned xn_judge(const struct xn_facts *f, struct xn_verdict out[XN_VERDICTS_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i < XN_ARRAY_SIZE(subjects); i++) {
		out[n] = (struct xn_verdict){ .subject = subjects[i].subject };
		subjects[i].judge(f, &out[n]);
		n += out[n].found[0] != 0;
	}
	return n;
}

void xn_judge_missing(struct xn_verdict *v, const char *ifname, const char *why)
{
	*v = (struct xn_verdict){ .subject = "interface" };
	xn_say(v, XN_LEVEL_BAD, "%s: %s, in this network namespace", ifname, why);
	xn_mend(v, "ip link (in the namespace: ip netns exec NAME xsknetctl doctor %.15s)", ifname);
}
