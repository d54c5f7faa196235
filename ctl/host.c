/* SPDX-License-Identifier: BSD-2-Clause */
/* Facts about the host: kernel, memory, privileges. */
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/types.h"
#include "ctl/facts.h"
#include "ctl/sysfs.h"

#ifndef AF_XDP
#define AF_XDP 44
#endif
#define HUGE "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static uint64_t available_memory(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	uint64_t kib = 0;

	if (!f)
		return 0;
	while (!kib && fgets(line, sizeof(line), f))
		if (!strncmp(line, "MemAvailable:", 13))
			kib = strtoull(line + 13, NULL, 10);
	fclose(f);
	return kib << 10;
}

/*
 * When the kernel was built, as far as its version tells: "... Nov 20 10:00:00 UTC 2026" or
 * Debian's "... (2026-11-20)".
 */
static void read_build(struct xn_host_facts *h, const char *version)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const char *paren = strrchr(version, '('), *last = strrchr(version, ' ');
	unsigned year, month;

	if (paren && sscanf(paren, "(%4u-%2u-", &year, &month) == 2) {
		h->built_year = year;
		h->built_month = month;
		return;
	}
	year = last ? (unsigned)strtoul(last, NULL, 10) : 0;
	if (year < 2000 || year > 2999)
		return;
	for (unsigned m = 0; m < 12; m++) {
		char word[6] = { ' ', months[3 * m], months[3 * m + 1], months[3 * m + 2], ' ', 0 };

		if (strstr(version, word)) {
			h->built_year = year;
			h->built_month = m + 1;
		}
	}
}

static void ask_kernel(struct xn_host_facts *h)
{
	struct utsname u;
	int fd;

	if (!uname(&u)) {
		snprintf(h->release, sizeof(h->release), "%.64s", u.release);
		(void)sscanf(u.release, "%u.%u.%u", &h->kernel[0], &h->kernel[1], &h->kernel[2]);
		read_build(h, u.version);
	}
	fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	h->af_xdp_error = fd < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
}

static void ask_privileges(struct xn_host_facts *h)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct now[2] = { { 0 } };
	struct rlimit l = { 0 };

	if (!syscall(SYS_capget, &head, now))
		h->caps = (uint64_t)now[1].effective << 32 | now[0].effective;
	if (!getrlimit(RLIMIT_MEMLOCK, &l))
		h->memlock_bytes = l.rlim_max == RLIM_INFINITY ? UINT64_MAX : l.rlim_max;
}

/* The end of the highest zone: "Node 0, zone Normal", "spanned N", "start_pfn: N". */
static uint64_t read_memory_end(void)
{
	FILE *f = fopen("/proc/zoneinfo", "re");
	uint64_t spanned = 0, start, end = 0;
	char line[256];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " spanned %" SCNu64, &spanned) == 1)
			continue;
		if (sscanf(line, " start_pfn: %" SCNu64, &start) == 1 && spanned)
			end = XN_MAX(end, (start + spanned) * XN_PAGE_SIZE);
	}
	fclose(f);
	return end;
}

/* Linux Documentation/admin-guide/kernel-parameters.txt: swiotlb=N,force or swiotlb=force */
static bool is_swiotlb_forced(void)
{
	char line[4096];
	bool forced = false;

	xn_sysfs_line(line, sizeof(line), "/proc/cmdline");
	for (const char *at = line; !forced && (at = strstr(at, "swiotlb=")); at++) {
		const char *force = strstr(at, "force");

		forced = force && (size_t)(force - at) < strcspn(at, " ");
	}
	return forced;
}

static void ask_place(struct xn_host_facts *h, const char *bus)
{
	char path[128];
	FILE *f;

	h->nic_node = -1;
	h->numa_nodes = xn_sysfs_count("/sys/devices/system/node/node[0-9]*");
	h->iommu_groups = xn_sysfs_count("/sys/kernel/iommu_groups/[0-9]*");
	if (!*bus || strchr(bus, '/'))
		return;
	/* By its address: /sys/class/net may show another network namespace. */
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/numa_node", bus);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fscanf(f, "%d", &h->nic_node) != 1)
		h->nic_node = -1;
	fclose(f);
}

void xn_host_gather(struct xn_host_facts *h, const char *bus)
{
	*h = (struct xn_host_facts){ 0 };
	ask_kernel(h);
	ask_privileges(h);
	ask_place(h, bus);
	h->available_bytes = available_memory();
	h->memory_end = read_memory_end();
	h->swiotlb_forced = is_swiotlb_forced();
	h->huge_free = xn_sysfs_number(HUGE "free_hugepages");
	h->huge_total = xn_sysfs_number(HUGE "nr_hugepages");
}
