/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Verdicts on zero-copy: what the driver's own zero-copy mode would lend of a guest's memory.
 * They follow from the table of drivers (xsk/drivers.h), whose lines have their source, and
 * from the shape that a bind would have (xsk/zc.h): by the code that the port uses, so that
 * they agree. Only which pages follow each other for the device is not known beforehand.
 *
 * An interface without zero-copy has one line; it works, and the kernel copies.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/types.h"
#include "ctl/judge.h"
#include "ctl/lend.h"

#define ASKABLE_SINCE "7.2"  /* of drivers that send packets of several pieces (xsk/zc_map.c) */
#define HUGE_PAGES 512u      /* pages of 4096 bytes in one of 2 MiB */
/* Beside the MTU, in copy mode: virtio header, Ethernet header, VLAN tag. */
#define COPY_MODE_MORE 30u

static const struct xn_zc_driver *driver_of(const struct xn_facts *f)
{
	return xn_zc_driver_find(f->nic.driver);
}

/* A virtio device without these has no zero-copy; with this one it writes before the header. */
static bool is_made_right(const struct xn_device_facts *d)
{
	const uint64_t needs = XN_VIRTIO_ACCESS_PLATFORM | XN_VIRTIO_RING_RESET;

	return !d->virtio || ((d->virtio_features & needs) == needs &&
			      !(d->virtio_features & XN_VIRTIO_HASH_REPORT));
}

/* Does the driver have zero-copy mode, and would anything be lent in it? */
static bool may_lend(const struct xn_facts *f)
{
	const struct xn_zc_driver *d = driver_of(f);

	return f->nic.xdp_told && f->nic.xdp_features & XN_XDP_XSK_ZEROCOPY && d &&
	       d->trust != XN_ZC_DENIED && is_made_right(&f->dev);
}

static bool shape_of(const struct xn_facts *f, struct xn_zc_shape *s)
{
	return may_lend(f) && !xn_zc_shape_choose(s, driver_of(f), f->nic.mtu, f->nic.name);
}

uint32_t xn_judge_chunk(const struct xn_facts *f)
{
	struct xn_zc_shape s;

	return shape_of(f, &s) && xn_zc_map_askable(s.driver, f->host.release) ? s.chunk_bytes :
		XN_CHUNK_BYTES;
}

/* ---- the driver ---- */

static void judge_virtio(const struct xn_device_facts *d, struct xn_verdict *v)
{
	const uint64_t bits = d->virtio_features;

	if (bits & XN_VIRTIO_HASH_REPORT) {
		xn_say(v, XN_LEVEL_WARN, "virtio_net: the device writes a header of 20 bytes before each frame "
		       "(VIRTIO_NET_F_HASH_REPORT), and a guest's has 12: nothing can be lent");
		xn_mend(v, "-device virtio-net-pci,hash=off in the VMM that makes the interface");
		return;
	}
	xn_say(v, XN_LEVEL_WARN, "virtio_net: no zero-copy without VIRTIO_F_%s: the kernel copies each frame "
	       "once", bits & XN_VIRTIO_ACCESS_PLATFORM ? "RING_RESET" : "ACCESS_PLATFORM");
	xn_mend(v, "-device virtio-net-pci,iommu_platform=on,queue_reset=on in the VMM that makes the "
		"interface");
}

static void judge_known(const struct xn_zc_driver *d, struct xn_verdict *v)
{
	if (d->trust == XN_ZC_DENIED)
		xn_say(v, XN_LEVEL_OK, "nothing can be lent to %s (Linux drivers/net/%s); mode=auto: the kernel "
		       "copies each frame once", d->name, d->source);
	else if (d->trust == XN_ZC_MEASURED)
		xn_say(v, XN_LEVEL_OK, "%s, measured%s; Linux drivers/net/%s", d->name,
		       d->tx_in_page ? "; packets to send that cross a page are bounced" : "", d->source);
	else
		xn_say(v, XN_LEVEL_OK, "%s, read in its source and not tried: at each start it has to prove itself on "
		       "frames of the engine's own; Linux drivers/net/%s", d->name, d->source);
}

void xn_judge_zc_driver(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_zc_driver *d = driver_of(f);

	if (!f->nic.xdp_told)
		xn_say(v, XN_LEVEL_OK, "not told by this kernel; without it the kernel copies each frame once, "
		       "and user space never");
	else if (!(f->nic.xdp_features & XN_XDP_XSK_ZEROCOPY))
		xn_say(v, XN_LEVEL_OK, "none: the kernel copies each frame once, and user space never");
	else if (!d)
		xn_say(v, XN_LEVEL_OK, "there is one, but what %s does with memory is not known, so nothing is "
		       "lent to it; mode=auto: the kernel copies each frame once", f->nic.driver);
	else if (!is_made_right(&f->dev))
		judge_virtio(&f->dev, v);
	else
		judge_known(d, v);
}

/* ---- frames and buffers ---- */

void xn_judge_zc_mtu(const struct xn_facts *f, struct xn_verdict *v)
{
	struct xn_zc_shape s;
	uint32_t mtu;

	if (!may_lend(f))
		return;
	if (shape_of(f, &s)) {
		xn_say(v, XN_LEVEL_OK, "%u: frames come whole, in chunks of %" PRIu32 " bytes with room for "
		       "%" PRIu32, f->nic.mtu, s.chunk_bytes, s.frame_bytes);
		return;
	}
	mtu = xn_lend_mtu(driver_of(f), f->nic.mtu, XN_CHUNK_BYTES);
	xn_say(v, XN_LEVEL_WARN, "%u: %s takes such frames in pieces, or not at all; at most %" PRIu32
	       " comes whole", f->nic.mtu, f->nic.driver, mtu);
	xn_mend(v, "ip link set dev %s mtu %" PRIu32, f->nic.name, mtu);
}

void xn_judge_zc_buffers(const struct xn_facts *f, struct xn_verdict *v)
{
	const uint32_t usual = xn_lend_sizes[0];
	char larger[64] = "";
	struct xn_zc_shape s;
	uint32_t mtu;

	if (!shape_of(f, &s))
		return;
	for (unsigned i = 1; i < XN_LEND_SIZES; i++)
		snprintf(larger + strlen(larger), sizeof(larger) - strlen(larger), "%s%" PRIu32 " %s",
			 i > 1 ? ", " : "", xn_lend_sizes[i],
			 xn_lend_long_enough(&s, xn_lend_sizes[i]) ? "yes" : "no");
	if (xn_lend_long_enough(&s, usual)) {
		xn_say(v, XN_LEVEL_OK, "receive buffers of %" PRIu32 " bytes and more are long enough: Linux's usual "
		       "%" PRIu32 " yes, %s", xn_lend_from(&s), usual, larger);
		return;
	}
	xn_say(v, XN_LEVEL_WARN, "receive buffers of %" PRIu32 " bytes and more are long enough (header, and the "
	       "frame's room of %" PRIu32 "): Linux's usual %" PRIu32 " no, %s; what is too short is bounced, which takes "
	       "about as much CPU as copy mode, while sending takes less: mode=auto does not mind",
	       xn_lend_from(&s), s.reach, usual, larger);
	mtu = xn_lend_mtu(s.driver, f->nic.mtu, usual);
	if (mtu)
		xn_mend(v, "ip link set dev %s mtu %" PRIu32, f->nic.name, mtu);
	else
		xn_mend(v, "xsknetd --port xdp:%s,mode=copy, which lends buffers of %u bytes and more",
			f->nic.name, f->nic.mtu + COPY_MODE_MORE);
}

/* ---- pages ---- */

static bool is_translated(const struct xn_device_facts *d)
{
	return !strncmp(d->iommu, "DMA", 3);
}

/* Is there memory that the device cannot reach, so that the kernel has to copy it? */
static bool is_copied(const struct xn_facts *f)
{
	const unsigned bits = f->dev.dma_bits;

	if (f->host.swiotlb_forced)
		return true;
	return f->dev.pci && !is_translated(&f->dev) && bits && bits < 64 && f->host.memory_end > 1ull << bits;
}

static void put_shares(char *out, size_t bytes, const struct xn_zc_shape *s, uint32_t run_pages)
{
	out[0] = 0;
	for (unsigned i = 0; i < XN_LEND_SIZES; i++)
		snprintf(out + strlen(out), bytes - strlen(out), "%s%.1f %% of those of %" PRIu32,
			 i ? ", " : "", 100 * xn_lend_share(s, xn_lend_sizes[i], run_pages),
			 xn_lend_sizes[i]);
}

/* The driver cannot be asked which pages follow each other. */
static void judge_silent(const struct xn_facts *f, const struct xn_zc_driver *d, const char *small,
			 struct xn_verdict *v)
{
	xn_say(v, XN_LEVEL_WARN, "which pages follow each other cannot be asked of %s%s: mode=auto takes copy mode, "
	       "mode=zero-copy lends what lies inside a page: %s bytes", d->name,
	       d->batch ? " in this kernel" : "", small);
	if (d->batch)
		xn_mend(v, "boot Linux %s or newer", ASKABLE_SINCE);
	else
		xn_mend(v, "xsknetd --port xdp:%s,mode=zero-copy, if half of it is worth more", f->nic.name);
}

void xn_judge_zc_pages(const struct xn_facts *f, struct xn_verdict *v)
{
	char huge[96], small[96];
	struct xn_zc_shape s;

	if (!shape_of(f, &s))
		return;
	put_shares(huge, sizeof(huge), &s, HUGE_PAGES);
	put_shares(small, sizeof(small), &s, 1);
	if (!xn_zc_map_askable(s.driver, f->host.release)) {
		judge_silent(f, s.driver, small, v);
		return;
	}
	if (is_copied(f)) {
		xn_say(v, XN_LEVEL_WARN, "the device does not reach all memory, so the kernel copies what it reads "
		       "and writes (swiotlb): zero-copy in name only");
		xn_mend(v, "xsknetd --port xdp:%s,mode=copy, or an IOMMU", f->nic.name);
	} else if (is_translated(&f->dev)) {
		xn_say(v, XN_LEVEL_WARN, "the IOMMU maps the guest's memory page by page, huge or not: which pages "
		       "follow each other differs from start to start (--try tells); mode=auto takes copy mode "
		       "where fewer than 7 of 8 do. Of receive buffers at worst are lent %s bytes", small);
		if (f->dev.iommu_members == 1)
			xn_mend(v, "boot with iommu.passthrough=1, or: cd /sys/bus/pci/drivers/%s && echo %s > unbind "
				"&& echo identity > /sys/kernel/iommu_groups/%u/type && echo %s > bind",
				f->dev.driver, f->nic.bus, f->dev.iommu_group, f->nic.bus);
		else
			xn_mend(v, "boot with iommu.passthrough=1");
	} else {
		xn_say(v, XN_LEVEL_OK, "of receive buffers are lent, on pages of 2 MiB: %s bytes; on pages of 4 KiB, "
		       "at worst: %s bytes (mode=auto: copy mode then)", huge, small);
		xn_mend(v, "-object memory-backend-memfd,hugetlb=on,hugetlbsize=2M,... for the guest's memory");
	}
}

void xn_judge_zc_filter(const struct xn_facts *f, struct xn_verdict *v)
{
	if (may_lend(f))
		xn_say(v, XN_LEVEL_OK, "only with filter=all (the default): the card writes a frame into guest memory "
		       "before anybody can see whose it is; with filter=mac the kernel copies each frame once");
}
