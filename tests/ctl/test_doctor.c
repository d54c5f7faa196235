/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that `xsknetctl doctor` finds what keeps a guest from its network: on facts of any
 * machine (each verdict has facts that make it appear, and lets good ones pass), and on
 * real interfaces that have the fault, in network namespaces of this test.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <jansson.h>

#include "base/types.h"
#include "bench/lab.h"
#include "bench/netlink.h"
#include "ctl/judge.h"
#include "ctl/lend.h"
#include "ctl/try.h"
#include "tests/cmocka.h"
#include "tests/ctl/run.h"
#include "xsknet.h"

#define GIB (1ull << 30)
#define CAP(c) (1ull << CAP_##c)

/* ---- facts that are made up ---- */

/* A machine with which all is well. */
static struct xn_facts good(void)
{
	return (struct xn_facts){
		.nic = { .name = "eth0", .ifindex = 2, .driver = "ice", .bus = "0000:03:00.0", .mtu = 1500,
			 .up = true, .carrier = true, .rx_queues = 1, .tx_queues = 1, .xdp_told = true,
			 .xdp_features = XN_XDP_BASIC | XN_XDP_REDIRECT, .own.gro = true, .own.tx_csum = true },
		.host = { .release = "6.18.44", .kernel = { 6, 18, 44 }, .built_year = 2026,
			  .built_month = 10, .caps = UINT64_MAX, .memlock_bytes = UINT64_MAX,
			  .available_bytes = 8 * GIB, .huge_free = 1024, .huge_total = 1024,
			  .numa_nodes = 1, .nic_node = -1 },
		.guest_ram = 2 * GIB,
	};
}

static struct xn_facts good_veth(void)
{
	struct xn_facts f = good();

	strcpy(f.nic.driver, "veth");
	f.nic.bus[0] = 0;
	f.nic.xdp_features = 0x23;
	f.nic.peer = XN_PEER_HERE;
	strcpy(f.nic.peer_name, "veth1");
	f.nic.peer_mtu = 1500;
	f.nic.peer_tx_queues = 1;
	return f;
}

/* A card with zero-copy, of which Linux's usual buffers can be lent. */
static struct xn_facts good_zc(void)
{
	struct xn_facts f = good();

	f.nic.xdp_features |= XN_XDP_XSK_ZEROCOPY;
	f.nic.mtu = 1382;
	strcpy(f.host.release, "7.2.12");
	f.dev = (struct xn_device_facts){ .pci = true, .driver = "ice", .dma_bits = 64 };
	return f;
}

/* The same in a virtual machine. */
static struct xn_facts good_virtio(void)
{
	struct xn_facts f = good_zc();

	strcpy(f.nic.driver, "virtio_net");
	strcpy(f.dev.driver, "virtio-pci");
	f.dev.virtio = true;
	f.dev.virtio_features = XN_VIRTIO_ACCESS_PLATFORM | XN_VIRTIO_RING_RESET;
	return f;
}

static const struct xn_verdict *find(const struct xn_verdict *v, unsigned n, const char *subject)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(v[i].subject, subject))
			return &v[i];
	fail_msg("no verdict about %s", subject);
	return NULL;
}

static void expect(const struct xn_facts *f, const char *subject, enum xn_level level,
		   const char *found, const char *mend)
{
	struct xn_verdict v[XN_VERDICTS_MAX];
	unsigned n = xn_judge(f, v);
	const struct xn_verdict *x = find(v, n, subject);

	if (x->level != level || !strstr(x->found, found) || !strstr(x->mend, mend))
		fail_msg("%s: %s \"%s\" (%s), not %s \"%s\" (%s)", subject, xn_level_word(x->level),
			 x->found, x->mend, xn_level_word(level), found, mend);
	/* Nothing else may change its mind, except by what goes together. */
	for (unsigned i = 0; i < n; i++)
		assert_true(v[i].found[0] && (v[i].level == XN_LEVEL_OK || v[i].mend[0] ||
			    !strcmp(v[i].subject, "driver") || !strcmp(v[i].subject, "kernel") ||
			    !strcmp(v[i].subject, "locked memory")));
}

static void machine_with_which_all_is_well_has_no_complaint(void **state)
{
	const struct xn_facts all[] = { good(), good_veth(), good_zc(), good_virtio() };
	struct xn_verdict v[XN_VERDICTS_MAX];

	for (unsigned k = 0; k < XN_ARRAY_SIZE(all); k++) {
		unsigned n = xn_judge(&all[k], v);

		assert_true(n >= 14);
		for (unsigned i = 0; i < n; i++)
			if (v[i].level != XN_LEVEL_OK)
				fail_msg("%s: %s", v[i].subject, v[i].found);
	}
}

#define WITH(base, change) ({ struct xn_facts f_ = base(); change; f_; })
#define EXPECT(base, change, ...) do { \
		const struct xn_facts f__ = WITH(base, change); \
		expect(&f__, __VA_ARGS__); \
	} while (0)

static void interface_faults_are_found(void **state)
{
	EXPECT(good, f_.nic.up = false, "link", XN_LEVEL_BAD, "down", "ip link set dev eth0 up");
	EXPECT(good, f_.nic.carrier = false, "link", XN_LEVEL_WARN, "carrier", "cable");
	EXPECT(good_veth, f_.nic.carrier = false, "link", XN_LEVEL_WARN, "carrier",
	       "ip link set dev veth1 up");
	EXPECT(good, f_.nic.mtu = 3822, "mtu", XN_LEVEL_OK, "3822", "");
	EXPECT(good, f_.nic.mtu = 65535, "mtu", XN_LEVEL_OK, "copy mode", "");
	EXPECT(good, f_.nic.mtu = 65536, "mtu", XN_LEVEL_BAD, "65536", "ip link set dev eth0 mtu 65535");
	EXPECT(good_veth, f_.nic.mtu = 9000, "mtu", XN_LEVEL_OK, "9000", "");
	EXPECT(good_veth, f_.nic.mtu = f_.nic.peer_mtu = 9000, "mtu", XN_LEVEL_OK, "9000", "");
	EXPECT(good_veth, f_.nic.peer_mtu = 9000, "mtu", XN_LEVEL_WARN, "9000", "dev veth1 mtu 1500");
	EXPECT(good, f_.nic.driver[0] = 0, "driver", XN_LEVEL_WARN, "name", "");
	EXPECT(good, f_.nic.xdp_told = false, "native XDP", XN_LEVEL_WARN, "does not tell",
	       "attach=native");
	EXPECT(good, f_.nic.xdp_features = XN_XDP_BASIC, "native XDP", XN_LEVEL_WARN, "generic", "driver");
	EXPECT(good_veth, f_.nic.xdp_features = 0, "native XDP", XN_LEVEL_WARN, "more queues",
	       "ethtool -L veth1 tx 1");
	EXPECT(good_veth, (f_.nic.xdp_features = 0, f_.nic.peer = XN_PEER_ELSEWHERE), "native XDP",
	       XN_LEVEL_WARN, "more queues", "there: ethtool -L PEER tx 1");
	EXPECT(good, f_.nic.xdp_features = 0, "offloads", XN_LEVEL_WARN, "GRO", "ethtool -K eth0 gro off");
	EXPECT(good, f_.nic.own.lro = true, "offloads", XN_LEVEL_WARN, "LRO", "ethtool -K eth0 lro off");
	EXPECT(good, f_.nic.own.rx_vlan = true, "offloads", XN_LEVEL_WARN, "VLAN",
	       "ethtool -K eth0 rxvlan off");
}

/* ---- zero-copy ---- */

static void zero_copy_drivers_are_told_by_the_table(void **state)
{
	EXPECT(good, (void)0, "zero-copy driver", XN_LEVEL_OK, "none: the kernel copies", "");
	EXPECT(good, f_.nic.xdp_told = false, "zero-copy driver", XN_LEVEL_OK, "not told", "");
	EXPECT(good_zc, (void)0, "zero-copy driver", XN_LEVEL_OK, "has to prove itself on frames of the engine's own; "
	       "Linux drivers/net/ethernet/intel/ice/ice_base.c", "");
	EXPECT(good_virtio, (void)0, "zero-copy driver", XN_LEVEL_OK, "virtio_net, measured; Linux "
	       "drivers/net/virtio_net.c", "");
	EXPECT(good_zc, strcpy(f_.nic.driver, "igb"), "zero-copy driver", XN_LEVEL_OK,
	       "igb, measured; packets to send that cross a page are bounced; Linux drivers/net/", "");
	EXPECT(good_zc, strcpy(f_.nic.driver, "gve"), "zero-copy driver", XN_LEVEL_OK,
	       "nothing can be lent to gve (Linux drivers/net/ethernet/google/gve/", "");
	EXPECT(good_zc, strcpy(f_.nic.driver, "new"), "zero-copy driver", XN_LEVEL_OK,
	       "what new does with memory is not known", "");
	EXPECT(good_virtio, f_.dev.virtio_features &= ~XN_VIRTIO_ACCESS_PLATFORM, "zero-copy driver",
	       XN_LEVEL_WARN, "VIRTIO_F_ACCESS_PLATFORM", "iommu_platform=on");
	EXPECT(good_virtio, f_.dev.virtio_features &= ~XN_VIRTIO_RING_RESET, "zero-copy driver",
	       XN_LEVEL_WARN, "VIRTIO_F_RING_RESET", "queue_reset=on");
	EXPECT(good_virtio, f_.dev.virtio_features |= XN_VIRTIO_HASH_REPORT, "zero-copy driver",
	       XN_LEVEL_WARN, "20 bytes", "hash=off");
}

static void assert_silent(const struct xn_facts *f, const char *subject)
{
	struct xn_verdict v[XN_VERDICTS_MAX];

	for (unsigned i = 0, n = xn_judge(f, v); i < n; i++)
		if (!strcmp(v[i].subject, subject))
			fail_msg("%s: %s", subject, v[i].found);
}

static void without_zero_copy_one_line_says_so(void **state)
{
	static const char *const subjects[] = { "zero-copy MTU", "zero-copy buffers", "zero-copy pages",
						"zero-copy filter" };
	struct xn_facts f[4] = { good(), good_zc(), good_zc(), good_virtio() };

	strcpy(f[1].nic.driver, "gve");
	strcpy(f[2].nic.driver, "new");
	f[3].dev.virtio_features |= XN_VIRTIO_HASH_REPORT;
	for (unsigned k = 0; k < XN_ARRAY_SIZE(f); k++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(subjects); i++)
			assert_silent(&f[k], subjects[i]);
}

/* 12 bytes of header, and frames in units of 128 (virtio_net) or 1024 (igb): sums by hand. */
static void buffers_that_are_too_short_come_with_the_mtu_that_mends_it(void **state)
{
	EXPECT(good_virtio, f_.nic.mtu = 1500, "zero-copy MTU", XN_LEVEL_OK,
	       "1500: frames come whole, in chunks of 2048 bytes with room for 1536", "");
	EXPECT(good_virtio, f_.nic.mtu = 1500, "zero-copy buffers", XN_LEVEL_WARN,
	       "1548 bytes and more are long enough (header, and the frame's room of 1536): Linux's usual "
	       "1536 no, 2048 yes, 4096 yes", "ip link set dev eth0 mtu 1382");
	EXPECT(good_virtio, f_.nic.mtu = 1383, "zero-copy buffers", XN_LEVEL_WARN, "1536 no", "mtu 1382");
	EXPECT(good_virtio, (void)0, "zero-copy buffers", XN_LEVEL_OK, "1420 bytes and more are long enough: "
	       "Linux's usual 1536 yes, 2048 yes, 4096 yes", "");
	EXPECT(good_zc, (strcpy(f_.nic.driver, "igb"), f_.nic.mtu = 1500), "zero-copy MTU", XN_LEVEL_OK,
	       "chunks of 4096 bytes with room for 2048", "");
	EXPECT(good_zc, (strcpy(f_.nic.driver, "igb"), f_.nic.mtu = 1500), "zero-copy buffers",
	       XN_LEVEL_WARN, "2060 bytes and more", "mtu 989");
	/* No room of igc's is shorter than 1522, so none fits behind 12 bytes in 1536. */
	EXPECT(good_zc, strcpy(f_.nic.driver, "igc"), "zero-copy buffers", XN_LEVEL_WARN, "1536 no",
	       "mode=copy, which lends buffers of 1412 bytes");
	EXPECT(good_virtio, f_.nic.mtu = 3800, "zero-copy MTU", XN_LEVEL_OK, "room for 3840", "");
	EXPECT(good_zc, (strcpy(f_.nic.driver, "igb"), f_.nic.mtu = 3800), "zero-copy MTU", XN_LEVEL_WARN,
	       "3800: igb takes such frames in pieces, or not at all; at most 3037", "mtu 3037");
}

static void pages_are_judged_by_what_translates(void **state)
{
	EXPECT(good_virtio, f_.nic.mtu = 1500, "zero-copy pages", XN_LEVEL_OK, "on pages of 2 MiB: 4.8 % "
	       "of those of 1536, 99.9 % of those of 2048, 99.8 % of those of 4096 bytes; on pages of 4 KiB, at "
	       "worst: 4.8 % of those of 1536, 50.0 % of those of 2048, 0.0 % of those of 4096 bytes",
	       "hugetlbsize=2M");
	EXPECT(good_virtio, strcpy(f_.dev.iommu, "identity"), "zero-copy pages", XN_LEVEL_OK, "2 MiB", "");
	EXPECT(good_virtio, (strcpy(f_.dev.iommu, "DMA-FQ"), f_.dev.iommu_group = 3, f_.dev.iommu_members = 1),
	       "zero-copy pages", XN_LEVEL_WARN, "page by page",
	       "cd /sys/bus/pci/drivers/virtio-pci && echo 0000:03:00.0 > unbind && echo identity > "
	       "/sys/kernel/iommu_groups/3/type && echo 0000:03:00.0 > bind");
	EXPECT(good_virtio, (strcpy(f_.dev.iommu, "DMA"), f_.dev.iommu_members = 2), "zero-copy pages",
	       XN_LEVEL_WARN, "page by page", "boot with iommu.passthrough=1");
	EXPECT(good_zc, strcpy(f_.host.release, "7.1.9"), "zero-copy pages", XN_LEVEL_WARN,
	       "cannot be asked of ice in this kernel", "boot Linux 7.2 or newer");
	EXPECT(good_zc, strcpy(f_.nic.driver, "mlx5_core"), "zero-copy pages", XN_LEVEL_WARN,
	       "cannot be asked of mlx5_core: mode=auto takes copy mode", "mode=zero-copy");
	EXPECT(good_zc, f_.host.swiotlb_forced = true, "zero-copy pages", XN_LEVEL_WARN, "swiotlb", "mode=copy");
	EXPECT(good_zc, (f_.dev.dma_bits = 32, f_.host.memory_end = 8 * GIB), "zero-copy pages",
	       XN_LEVEL_WARN, "swiotlb", "mode=copy");
	EXPECT(good_zc, (f_.dev.dma_bits = 32, f_.host.memory_end = 4 * GIB), "zero-copy pages", XN_LEVEL_OK,
	       "2 MiB", "");
	EXPECT(good_zc, (f_.dev.dma_bits = 32, f_.host.memory_end = 8 * GIB, strcpy(f_.dev.iommu, "DMA")),
	       "zero-copy pages", XN_LEVEL_WARN, "page by page", "");
	EXPECT(good_zc, (void)0, "zero-copy filter", XN_LEVEL_OK, "filter=mac", "");
	EXPECT(good_zc, (strcpy(f_.dev.iommu, "DMA-FQ"), f_.dev.iommu_group = 7), "IOMMU", XN_LEVEL_OK,
	       "group 7, DMA-FQ", "");
}

static void smaller_chunks_cost_the_kernel_more(void **state)
{
	EXPECT(good_zc, (void)0, "kernel memory", XN_LEVEL_OK, "200 MiB more a queue, in zero-copy mode", "");
	EXPECT(good_zc, f_.guest_ram = 0, "kernel memory", XN_LEVEL_OK, "82 MB of kernel memory", "");
	EXPECT(good_zc, (strcpy(f_.nic.driver, "igb"), f_.nic.mtu = 1500), "kernel memory", XN_LEVEL_OK,
	       "128 MiB more a queue", "");
	EXPECT(good_zc, strcpy(f_.nic.driver, "mlx5_core"), "kernel memory", XN_LEVEL_OK,
	       "128 MiB more a queue", "");
	EXPECT(good_zc, f_.host.available_bytes = 150 << 20, "kernel memory", XN_LEVEL_BAD,
	       "need 200 MiB a queue", "smaller guest");
}

/* The rule byte by byte: a chunk ends where its frame's room does, behind the header. */
static double share_by_bytes(const struct xn_zc_shape *s, uint32_t buf_bytes, uint32_t run_pages)
{
	const uint64_t base = XN_HUGE_SIZE;
	uint64_t all = 0, lent = 0, at;

	while ((at = xn_lend_place(buf_bytes, all)) < 64 * XN_HUGE_SIZE) {
		const uint64_t end = base + at + 12 + s->frame_bytes;
		bool last = at % 32768 + 2 * buf_bytes > 32768;
		bool ok = (last ? 32768 - at % 32768 : buf_bytes) >= 12 + s->reach;

		for (uint64_t b = end - s->chunk_bytes + 1; b < end && ok; b++)
			ok = b / 4096 == (b - 1) / 4096 || b / 4096 / run_pages == (b - 1) / 4096 / run_pages;
		lent += ok;
		all++;
	}
	return (double)lent / (double)all;
}

static void share_that_is_foretold_is_that_of_the_rule(void **state)
{
	static const char *const names[] = { "virtio_net", "igb", "i40e" };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(names); i++)
		for (unsigned k = 0; k < XN_LEND_SIZES; k++)
			for (uint32_t mtu = 900; mtu <= 1500; mtu += 200) {
				const uint32_t bytes = xn_lend_sizes[k];
				struct xn_zc_shape s;

				assert_int_equal(xn_zc_shape_choose(&s, xn_zc_driver_find(names[i]), mtu, ""), 0);
				assert_true(xn_lend_share(&s, bytes, 512) == share_by_bytes(&s, bytes, 512));
				assert_true(xn_lend_share(&s, bytes, 1) == share_by_bytes(&s, bytes, 1));
			}
}

static void buffers_lie_as_linux_cuts_them(void **state)
{
	assert_int_equal(xn_lend_place(4096, 3), 3 * 4096);
	assert_int_equal(xn_lend_place(2048, 17), 17 * 2048);
	assert_int_equal(xn_lend_place(1536, 20), 20 * 1536);
	assert_int_equal(xn_lend_place(1536, 21), 32768);   /* 21 * 1536 + 512 = 32768 */
	assert_int_equal(xn_lend_length(1536, 19), 1536);
	assert_int_equal(xn_lend_length(1536, 20), 2048);
	assert_int_equal(xn_lend_length(4096, 7), 4096);
}

static void queues_that_nobody_serves_are_found(void **state)
{
	EXPECT(good, f_.nic.rx_queues = f_.nic.tx_queues = 8, "queues", XN_LEVEL_WARN,
	       "8 receive", "queues=8, or ethtool -L eth0 combined 1");
	EXPECT(good, f_.nic.rx_queues = 0, "queues", XN_LEVEL_OK, "does not tell", "");
	EXPECT(good_veth, f_.nic.peer_tx_queues = 2, "queues", XN_LEVEL_WARN, "no native XDP",
	       "ethtool -L veth1 tx 1");
	EXPECT(good_veth, f_.nic.rx_queues = f_.nic.peer_tx_queues = 2, "queues", XN_LEVEL_WARN,
	       "2 receive", "ethtool -L eth0 rx 1");
}

static struct xn_facts several_queues(struct xn_facts f, enum xn_nic_status status, const char *why)
{
	f.nic.rx_queues = f.nic.tx_queues = f.nic.peer_tx_queues = 4;
	f.nic.rss_told = true;
	f.nic.rss.status = status;
	snprintf(f.nic.rss.why, sizeof(f.nic.rss.why), "%s", why);
	return f;
}

static void how_exactly_frames_find_their_queue_is_told(void **state)
{
	struct xn_facts f = several_queues(good(), XN_NIC_EXACT, "");

	expect(&f, "RSS", XN_LEVEL_OK, "exact: a guest of 4 queues", "");
	f = several_queues(good(), XN_NIC_CORRECTED, "the NIC has another hash key");
	expect(&f, "RSS", XN_LEVEL_OK, "corrected: frames on another queue than the guest computes are copied "
	       "(steer_missteered); the NIC has another hash key", "");
	f = several_queues(good(), XN_NIC_UNSUPPORTED, "acme has no RSS table");
	expect(&f, "RSS", XN_LEVEL_WARN, "unsupported: acme has no RSS table",
	       "ethtool -L eth0 combined 1, and xsknetd --port xdp:eth0,queues=1");
	f = several_queues(good_veth(), XN_NIC_CORRECTED, "");
	expect(&f, "RSS", XN_LEVEL_WARN, "corrected: veth has no RSS", "xsknetctl steer-peer veth1 --queues 4");
	f.nic.peer = XN_PEER_ELSEWHERE;
	expect(&f, "RSS", XN_LEVEL_WARN, "veth has no RSS", "there: xsknetctl steer-peer PEER --queues 4");
}

static void peers_that_send_unfinished_frames_are_found(void **state)
{
	EXPECT(good_veth, f_.nic.peer_has.tx_csum = true, "peer", XN_LEVEL_BAD, "checksums",
	       "ethtool -K veth1 tx off");
	EXPECT(good_veth, f_.nic.peer_has.tx_csum = f_.nic.peer_has.tx_vlan = true, "peer",
	       XN_LEVEL_BAD, "checksums", "tx off txvlan off");
	EXPECT(good_veth, f_.nic.peer_has.tx_vlan = true, "peer", XN_LEVEL_WARN, "VLAN",
	       "ethtool -K veth1 txvlan off");
	EXPECT(good_veth, f_.nic.peer = XN_PEER_ELSEWHERE, "peer", XN_LEVEL_WARN, "another network",
	       "there: ethtool -K PEER tx off txvlan off");
}

static void other_programs_are_found_with_the_way_out(void **state)
{
	EXPECT(good, f_.nic.prog_id = 7, "XDP program", XN_LEVEL_BAD, "a program (id 7)",
	       "ip link set dev eth0 xdp off");
	EXPECT(good, (f_.nic.prog_id = 7, f_.nic.prog_generic = true), "XDP program", XN_LEVEL_BAD,
	       "id 7", "xdpgeneric off");
	EXPECT(good, (f_.nic.prog_id = 7, f_.nic.prog_link = 9, strcpy(f_.nic.prog_name, "xn_steer")),
	       "XDP program", XN_LEVEL_BAD, "xsknetd has this interface", "bpftool link detach id 9");
	EXPECT(good, (f_.nic.prog_id = 7, f_.nic.prog_link = 9, strcpy(f_.nic.prog_name, "xdp_dispatcher")),
	       "XDP program", XN_LEVEL_BAD, "xdp_dispatcher", "xdp-loader unload eth0 --all");
}

static void kernels_are_told_by_number_and_date(void **state)
{
	static const struct { unsigned k[3]; enum xn_level level; const char *found; } cases[] = {
		{ { 6, 6, 0 }, XN_LEVEL_WARN, "CVE-2024-35976" },
		{ { 6, 6, 28 }, XN_LEVEL_WARN, "CVE-2025-21997" },
		{ { 6, 6, 84 }, XN_LEVEL_WARN, "CVE-2025-21997" },
		{ { 6, 6, 85 }, XN_LEVEL_WARN, "has, by its number: CVE-2025-37920" },
		{ { 6, 7, 12 }, XN_LEVEL_WARN, "CVE-2024-35976" },
		{ { 6, 12, 27 }, XN_LEVEL_WARN, "CVE-2025-37920" },
		{ { 6, 12, 28 }, XN_LEVEL_OK, "Linux" },
		{ { 6, 13, 9 }, XN_LEVEL_WARN, "CVE-2025-37920" },
		{ { 6, 14, 5 }, XN_LEVEL_WARN, "CVE-2025-37920" },
		{ { 6, 14, 6 }, XN_LEVEL_OK, "Linux" },
		{ { 6, 15, 0 }, XN_LEVEL_OK, "Linux" },
		{ { 7, 0, 0 }, XN_LEVEL_OK, "Linux" },
		{ { 6, 5, 13 }, XN_LEVEL_BAD, "older than 6.6" },
		{ { 5, 15, 200 }, XN_LEVEL_BAD, "older than 6.6" },
		{ { 0, 0, 0 }, XN_LEVEL_WARN, "not understood" },
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(cases); i++)
		EXPECT(good, memcpy(f_.host.kernel, cases[i].k, sizeof(cases[i].k)), "kernel",
		       cases[i].level, cases[i].found, "");
	EXPECT(good, f_.host.af_xdp_error = EAFNOSUPPORT, "kernel", XN_LEVEL_BAD, "CONFIG_XDP_SOCKETS",
	       "kernel");
	EXPECT(good_veth, f_.host.built_month = 7, "veth crash", XN_LEVEL_WARN, "CVE-2026-74476", "update");
	EXPECT(good_veth, f_.host.built_year = 2025, "veth crash", XN_LEVEL_WARN, "2025-10", "update");
	EXPECT(good_veth, f_.host.built_month = 8, "veth crash", XN_LEVEL_OK, "after the fix", "");
}

static void privileges_and_memory_are_compared(void **state)
{
	const uint64_t none = ~(CAP(IPC_LOCK) | CAP(SYS_RESOURCE));

	EXPECT(good, f_.host.caps &= ~CAP(BPF), "privileges", XN_LEVEL_BAD, "lacks CAP_BPF", "root");
	EXPECT(good, f_.host.caps = 0, "privileges", XN_LEVEL_BAD,
	       "CAP_NET_ADMIN CAP_NET_RAW CAP_BPF", "root");
	EXPECT(good, (f_.host.memlock_bytes = 8 << 20, f_.host.caps = none), "locked memory",
	       XN_LEVEL_BAD, "8 MiB may be locked, and the guest and the engine are 2084 MiB",
	       "ulimit -l 2134016");
	EXPECT(good, (f_.host.memlock_bytes = 3 * GIB, f_.host.caps = none), "locked memory",
	       XN_LEVEL_OK, "enough for this guest", "");
	EXPECT(good, (f_.host.memlock_bytes = 8 << 20, f_.host.caps = CAP(IPC_LOCK)), "locked memory",
	       XN_LEVEL_OK, "CAP_IPC_LOCK", "");
	EXPECT(good, (f_.host.memlock_bytes = GIB, f_.host.caps = none, f_.guest_ram = 0),
	       "locked memory", XN_LEVEL_WARN, "smaller than that", "");
	EXPECT(good, f_.host.available_bytes = 100 << 20, "kernel memory", XN_LEVEL_BAD,
	       "need 128 MiB a queue", "smaller guest");
	EXPECT(good, (void)0, "kernel memory", XN_LEVEL_OK, "128 MiB more a queue", "");
	EXPECT(good, f_.host.huge_free = 1023, "huge pages", XN_LEVEL_WARN, "would use 1024",
	       "sysctl vm.nr_hugepages=1025");
	EXPECT(good, (f_.host.huge_free = 0, f_.guest_ram = 0), "huge pages", XN_LEVEL_OK, "0 of 1024", "");
	EXPECT(good, (f_.host.numa_nodes = 2, f_.host.nic_node = 1), "NUMA", XN_LEVEL_WARN, "node 1 of 2",
	       "node1/cpulist");
	EXPECT(good, (f_.host.numa_nodes = 2), "NUMA", XN_LEVEL_OK, "belongs to none", "");
	EXPECT(good, f_.host.iommu_groups = 12, "IOMMU", XN_LEVEL_OK, "12 groups, and the interface is in none",
	       "");
}

/* ---- interfaces that are real ---- */

struct scene {
	struct xn_lab lab;      /* xn0 here, xn1 in another namespace */
	struct run r;
};

static int scene_open(void **state)
{
	static struct scene s;
	const uint8_t mac[2][6] = { { 2, 0, 0, 0, 1, 0 }, { 2, 0, 0, 0, 1, 1 } };
	const struct xn_nl_veth a = { "one", mac[0], -1 }, b = { "two", mac[1], -1 };

	*state = &s;
	if (xn_lab_create(&s.lab, &(struct xn_lab_cfg){ .queues = 1 }) || xn_lab_enter_near(&s.lab))
		return -1;
	/* And a pair that is here with both its ends. */
	return xn_nl_veth_create(&a, &b, 1, 1500) || xn_link_set("one", true) || xn_link_set("two", true);
}

static int scene_close(void **state)
{
	struct scene *s = *state;

	xn_lab_leave(&s->lab);
	xn_lab_destroy(&s->lab);
	return 0;
}

static void assert_says(struct scene *s, const char *subject_line)
{
	char word[64], line[512];

	/* Up to the subject's colon it finds the line, then the whole is compared. */
	snprintf(word, sizeof(word), "%.*s", (int)(strchr(subject_line + 6, ':') - subject_line),
		 subject_line);
	if (strcmp(run_line(&s->r, word, line, sizeof(line)), subject_line) != 0)
		fail_msg("\"%s\", not \"%s\" in:\n%s", line, subject_line, s->r.out);
}

static void set_offloads_of_two(bool on)
{
	struct ethtool_value csum = { ETHTOOL_STXCSUM, on }, flags = { ETHTOOL_GFLAGS, 0 };
	struct ifreq req = { .ifr_name = "two" };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	req.ifr_data = (void *)&csum;
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &req), 0);
	req.ifr_data = (void *)&flags;
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &req), 0);
	flags.cmd = ETHTOOL_SFLAGS;
	flags.data = on ? flags.data | ETH_FLAG_TXVLAN : flags.data & ~(uint32_t)ETH_FLAG_TXVLAN;
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &req), 0);
	close(fd);
}

static void set_mtu(const char *ifname, int mtu)
{
	struct ifreq req = { .ifr_mtu = mtu };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(req.ifr_name, ifname);
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &req), 0);
	close(fd);
}

static void good_veth_has_nothing_bad(void **state)
{
	struct scene *s = *state;

	set_offloads_of_two(false);
	RUN(&s->r, "doctor", "one");
	if (s->r.status || strstr(s->r.out, "\nbad "))
		fail_msg("status %d:\n%s", s->r.status, s->r.out);
	assert_says(s, "ok    driver: veth");
	assert_says(s, "ok    link: up");
	assert_says(s, "ok    mtu: 1500: guest buffers of 1530 bytes and more are lent");
	assert_says(s, "ok    XDP program: no other program is attached");
	assert_says(s, "ok    queues: 1 receive, 1 transmit");
	assert_says(s, "ok    offloads: nothing joins frames or takes VLAN tags off");
	assert_says(s, "ok    peer: the peer two sends whole checksums and VLAN tags");
	/* Linux 6.3 and newer tell, and veth has both or the test of the port would not run. */
	assert_says(s, "ok    native XDP: the driver takes native programs, with redirect");
}

static void offloads_of_a_peer_here_are_bad_and_elsewhere_a_hint(void **state)
{
	struct scene *s = *state;

	set_offloads_of_two(true);
	RUN(&s->r, "doctor", "one");
	assert_int_equal(s->r.status, 1);
	assert_says(s, "bad   peer: the peer two leaves checksums to hardware that is not there: the guest "
		    "drops what this host sends; what to do: ethtool -K two tx off txvlan off");
	RUN(&s->r, "doctor", XN_LAB_NEAR);
	assert_int_equal(s->r.status, 0);
	assert_says(s, "warn  peer: the peer is in another network namespace: what it sends from its own "
		    "stack has no checksum, and VLAN tags apart, unless that is off; what to do: there: "
		    "ethtool -K PEER tx off txvlan off");
	set_offloads_of_two(false);
}

static void mtu_that_is_long_is_judged_with_the_peers(void **state)
{
	struct scene *s = *state;

	set_mtu("one", 9000);
	RUN(&s->r, "doctor", "one");
	assert_says(s, "ok    mtu: 9000; copy mode; frames longer than a chunk of 4096 bytes are put together");
	set_mtu("one", 1500);
	set_mtu("two", 9000);
	RUN(&s->r, "doctor", "one");
	set_mtu("two", 1500);
	assert_says(s, "warn  mtu: 1500 here, 9000 at the peer; veth takes no native XDP program then; "
		    "what to do: ip link set dev two mtu 1500");
}

static void link_that_is_down_is_bad(void **state)
{
	struct scene *s = *state;

	assert_int_equal(xn_link_set("one", false), 0);
	RUN(&s->r, "doctor", "one");
	assert_int_equal(s->r.status, 1);
	assert_says(s, "bad   link: set down; what to do: ip link set dev one up");
	assert_int_equal(xn_link_set("one", true), 0);
	assert_int_equal(xn_link_set("two", false), 0);
	RUN(&s->r, "doctor", "one");
	assert_int_equal(xn_link_set("two", true), 0);
	assert_int_equal(s->r.status, 0);
	assert_says(s, "warn  link: no carrier: the other end is down or not there; what to do: "
		    "ip link set dev two up");
}

static void program_of_somebody_else_is_bad(void **state)
{
	/* r0 = XDP_PASS; exit */
	const struct bpf_insn pass[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	const int ifindex = (int)if_nametoindex("one");
	struct bpf_prog_info info = { 0 };
	uint32_t bytes = sizeof(info);
	struct scene *s = *state;
	char want[256];
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "passes", "BSD", pass, 2, NULL);

	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &bytes), 0);
	assert_int_equal(bpf_xdp_attach(ifindex, fd, XDP_FLAGS_SKB_MODE, NULL), 0);
	close(fd);
	RUN(&s->r, "doctor", "one");
	assert_int_equal(bpf_xdp_detach(ifindex, XDP_FLAGS_SKB_MODE, NULL), 0);
	assert_int_equal(s->r.status, 1);
	snprintf(want, sizeof(want), "bad   XDP program: passes (id %u) is attached; what to do: "
		 "ip link set dev one xdpgeneric off", info.id);
	assert_says(s, want);
}

static void interface_that_another_port_has_is_bad(void **state)
{
	struct scene *s = *state;
	struct xn_port *port;
	char line[512];

	assert_int_equal(xn_port_open(&port, "xdp:one", NULL), 0);
	RUN(&s->r, "doctor", "one");
	xn_port_close(port);
	assert_int_equal(s->r.status, 1);
	run_line(&s->r, "bad   XDP program: xn_steer (id ", line, sizeof(line));
	assert_non_null(strstr(line, "an xsknetd has this interface already"));
	assert_non_null(strstr(line, "bpftool link detach id "));
}

static void missing_interface_is_bad(void **state)
{
	struct scene *s = *state;

	RUN(&s->r, "doctor", "none");
	assert_int_equal(s->r.status, 1);
	assert_says(s, "bad   interface: none: No such device, in this network namespace; what to do: "
		    "ip link (in the namespace: ip netns exec NAME xsknetctl doctor none)");
	RUN(&s->r, "doctor", "a-name-that-is-too-long-for-any");
	assert_int_equal(s->r.status, 1);
	assert_non_null(strstr(s->r.out, "too long"));
}

/* ---- the trial ---- */

/* In copy mode, as no veth has another one: what is counted is the same. */
static void trial_counts_what_the_library_lends(void **state)
{
	static const struct { const char *mode; double share; const char *why; } cases[] = {
		{ "copy", 1, NULL }, { "bounce", 0, "rx_bounce_forced" },
	};
	static struct xn_try t;

	for (unsigned k = 0; k < XN_ARRAY_SIZE(cases); k++) {
		const struct xn_try_cfg cfg = { .ifname = "one", .mode = cases[k].mode,
						.ram_bytes = XN_TRY_RAM_MIN, .huge = XN_HUGE_NO };

		xn_try_run(&t, &cfg);
		if (t.err)
			fail_msg("%s", t.why_not);
		assert_false(t.huge);
		assert_string_equal(t.mode, cases[k].mode);
		for (unsigned i = 0; i < XN_LEND_SIZES; i++) {
			assert_int_equal(t.size[i].bytes, xn_lend_sizes[i]);
			assert_true(t.size[i].offered >= 1000);
			assert_true((double)t.size[i].lent == cases[k].share * (double)t.size[i].offered);
			assert_int_equal(t.size[i].n_why, cases[k].why != NULL);
			if (cases[k].why) {
				assert_string_equal(t.size[i].why[0].name, cases[k].why);
				assert_int_equal(t.size[i].why[0].count, t.size[i].offered);
			}
		}
	}
}

/* Linux's 1536 bytes are too short for MTU 1700, the others are not. */
static void trial_tells_short_buffers_apart(void **state)
{
	const struct xn_try_cfg cfg = { .ifname = "one", .mode = "copy", .ram_bytes = XN_TRY_RAM_MIN,
					.huge = XN_HUGE_NO };
	struct xn_verdict v[XN_VERDICTS_MAX];
	static struct xn_try t;

	set_mtu("one", 1700);
	xn_try_run(&t, &cfg);
	set_mtu("one", 1500);
	assert_int_equal(t.err, 0);
	/* Of 21, only the last of a block is longer. */
	assert_in_range(t.size[0].lent, t.size[0].offered / 25, t.size[0].offered / 18);
	assert_string_equal(t.size[0].why[0].name, "rx_bounce_short");
	assert_int_equal(t.size[0].why[0].count, t.size[0].offered - t.size[0].lent);
	assert_int_equal(t.size[1].lent, t.size[1].offered);
	assert_int_equal(xn_try_judge(&t, v, 1), 1 + 1 + XN_LEND_SIZES);
	assert_string_equal(v[1].subject, "try");
	assert_string_equal(v[2].subject, "try 1536");
	assert_non_null(strstr(v[2].found, " % can be lent; rx_bounce_short 9"));
	assert_int_equal(v[2].level, XN_LEVEL_WARN);
	assert_string_equal(v[3].subject, "try 2048");
	assert_string_equal(v[3].found, "100.0 % can be lent");
	assert_int_equal(v[3].level, XN_LEVEL_OK);
}

static void trial_without_zero_copy_says_why_not(void **state)
{
	struct scene *s = *state;
	json_t *o;

	RUN(&s->r, "doctor", "one", "--try", "--guest-ram", "16M");
	assert_int_equal(s->r.status, 0);
	assert_says(s, "warn  try: not to be had: one queue 0: the driver has no zero-copy AF_XDP (mode=copy "
		    "works with all)");
	RUN(&s->r, "doctor", "one", "--try", "--pages=4k", "--json");
	o = json_loads(s->r.out, 0, NULL);
	assert_non_null(json_string_value(json_object_get(json_object_get(o, "try"), "error")));
	json_decref(o);
	/* And nothing is left of it. */
	RUN(&s->r, "doctor", "one");
	assert_says(s, "ok    XDP program: no other program is attached");
	RUN(&s->r, "doctor", "one", "--json");
	o = json_loads(s->r.out, 0, NULL);
	assert_null(json_object_get(o, "try"));
	json_decref(o);
}

static void words_of_the_trial_that_make_no_sense_are_refused(void **state)
{
	struct scene *s = *state;

	RUN(&s->r, "doctor", "one", "--pages", "2M");
	assert_int_equal(s->r.status, 2);
	RUN(&s->r, "doctor", "one", "--try", "--pages", "1G");
	assert_int_equal(s->r.status, 2);
	RUN(&s->r, "doctor", "one", "--try", "--guest-ram", "15M");
	assert_int_equal(s->r.status, 2);
}

/* ---- drivers ---- */

static void drivers_are_listed_with_their_sources(void **state)
{
	struct scene *s = *state;
	char line[512], begins[32];

	RUN(&s->r, "drivers");
	assert_int_equal(s->r.status, 0);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(xn_zc_drivers); i++) {
		snprintf(begins, sizeof(begins), "%s ", xn_zc_drivers[i].name);
		run_line(&s->r, begins, line, sizeof(line));
		if (!strstr(line, xn_zc_drivers[i].source))
			fail_msg("%s: \"%s\"", xn_zc_drivers[i].name, line);
	}
	run_line(&s->r, "virtio_net ", line, sizeof(line));
	assert_int_equal(strncmp(line, "virtio_net     measured     yes   2048          1548            1382  ", 69), 0);
	run_line(&s->r, "gve ", line, sizeof(line));
	assert_int_equal(strncmp(line, "gve            denied         -      -             -               -  ", 69), 0);
	RUN(&s->r, "drivers", "--mtu", "1382");
	run_line(&s->r, "virtio_net ", line, sizeof(line));
	assert_int_equal(strncmp(line, "virtio_net     measured     yes   2048          1420            1382  ", 69), 0);
	RUN(&s->r, "drivers", "--mtu", "67");
	assert_int_equal(s->r.status, 2);
	RUN(&s->r, "drivers", "ice");
	assert_int_equal(s->r.status, 2);
	RUN(&s->r, "drivers", "--json");
	assert_int_equal(s->r.status, 2);
}

static void json_has_the_same_verdicts(void **state)
{
	struct scene *s = *state;
	static struct run text;
	json_t *o, *list, *v;
	size_t i;

	RUN(&text, "doctor", "one", "--guest-ram", "1G");
	RUN(&s->r, "doctor", "one", "--guest-ram=1024MiB", "--json");
	assert_int_equal(text.status, s->r.status);
	o = json_loads(s->r.out, 0, NULL);
	assert_non_null(o);
	assert_string_equal(json_string_value(json_object_get(o, "interface")), "one");
	assert_int_equal(json_integer_value(json_object_get(o, "bad")), 0);
	list = json_object_get(o, "verdicts");
	assert_true(json_array_size(list) >= 14);
	json_array_foreach(list, i, v) {
		char want[512];

		snprintf(want, sizeof(want), "%-4s  %s: ", json_string_value(json_object_get(v, "level")),
			 json_string_value(json_object_get(v, "subject")));
		if (!strstr(text.out, want))
			fail_msg("\"%s\" is not in the text", want);
	}
	json_decref(o);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machine_with_which_all_is_well_has_no_complaint),
		cmocka_unit_test(interface_faults_are_found),
		cmocka_unit_test(zero_copy_drivers_are_told_by_the_table),
		cmocka_unit_test(without_zero_copy_one_line_says_so),
		cmocka_unit_test(buffers_that_are_too_short_come_with_the_mtu_that_mends_it),
		cmocka_unit_test(pages_are_judged_by_what_translates),
		cmocka_unit_test(smaller_chunks_cost_the_kernel_more),
		cmocka_unit_test(share_that_is_foretold_is_that_of_the_rule),
		cmocka_unit_test(buffers_lie_as_linux_cuts_them),
		cmocka_unit_test(queues_that_nobody_serves_are_found),
		cmocka_unit_test(how_exactly_frames_find_their_queue_is_told),
		cmocka_unit_test(peers_that_send_unfinished_frames_are_found),
		cmocka_unit_test(other_programs_are_found_with_the_way_out),
		cmocka_unit_test(kernels_are_told_by_number_and_date),
		cmocka_unit_test(privileges_and_memory_are_compared),
	};
	const struct CMUnitTest real[] = {
		cmocka_unit_test(good_veth_has_nothing_bad),
		cmocka_unit_test(offloads_of_a_peer_here_are_bad_and_elsewhere_a_hint),
		cmocka_unit_test(mtu_that_is_long_is_judged_with_the_peers),
		cmocka_unit_test(link_that_is_down_is_bad),
		cmocka_unit_test(program_of_somebody_else_is_bad),
		cmocka_unit_test(interface_that_another_port_has_is_bad),
		cmocka_unit_test(missing_interface_is_bad),
		cmocka_unit_test(trial_counts_what_the_library_lends),
		cmocka_unit_test(trial_tells_short_buffers_apart),
		cmocka_unit_test(trial_without_zero_copy_says_why_not),
		cmocka_unit_test(words_of_the_trial_that_make_no_sense_are_refused),
		cmocka_unit_test(drivers_are_listed_with_their_sources),
		cmocka_unit_test(json_has_the_same_verdicts),
	};
	int failed;

	(void)argc;
	run_init(argv[0]);
	failed = cmocka_run_group_tests_name("judge", tests, NULL, NULL);
	return failed + cmocka_run_group_tests_name("doctor", real, scene_open, scene_close);
}
