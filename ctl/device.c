/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Facts about the device behind an interface, from sysfs. It is looked up by its address on
 * the PCI bus: /sys/class/net may show another network namespace.
 */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/facts.h"
#include "ctl/sysfs.h"

#define DEVICES "/sys/bus/pci/devices/"

static void ask_iommu(struct xn_device_facts *d, const char *bus)
{
	char path[128], word[32];

	snprintf(path, sizeof(path), DEVICES "%s/iommu_group/type", bus);
	xn_sysfs_line(d->iommu, sizeof(d->iommu), path);
	snprintf(path, sizeof(path), DEVICES "%s/iommu_group", bus);
	xn_sysfs_target(word, sizeof(word), path);
	d->iommu_group = (unsigned)strtoul(word, NULL, 10);
	snprintf(path, sizeof(path), DEVICES "%s/iommu_group/devices/*", bus);
	d->iommu_members = xn_sysfs_count(path);
}

/* One character for each feature bit, from bit 0 on: '1' was accepted. */
static uint64_t read_features(const char *path)
{
	char line[80];
	uint64_t bits = 0;

	xn_sysfs_line(line, sizeof(line), path);
	for (unsigned i = 0; i < 64 && line[i]; i++)
		bits |= (uint64_t)(line[i] == '1') << i;
	return bits;
}

static void ask_virtio(struct xn_device_facts *d, const char *bus)
{
	char pattern[128];
	glob_t g;

	snprintf(pattern, sizeof(pattern), DEVICES "%s/virtio[0-9]*/features", bus);
	if (!glob(pattern, 0, NULL, &g) && g.gl_pathc) {
		d->virtio = true;
		d->virtio_features = read_features(g.gl_pathv[0]);
	}
	globfree(&g);
}

void xn_device_gather(struct xn_device_facts *d, const char *bus)
{
	char path[128];

	*d = (struct xn_device_facts){ 0 };
	snprintf(path, sizeof(path), DEVICES "%.31s", bus);
	if (!*bus || strchr(bus, '/') || access(path, F_OK))
		return;
	d->pci = true;
	snprintf(path, sizeof(path), DEVICES "%.31s/driver", bus);
	xn_sysfs_target(d->driver, sizeof(d->driver), path);
	snprintf(path, sizeof(path), DEVICES "%.31s/dma_mask_bits", bus);
	d->dma_bits = (unsigned)xn_sysfs_number(path);
	ask_iommu(d, bus);
	ask_virtio(d, bus);
}
