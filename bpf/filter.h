/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What base/filter.h says, in the form in which the XDP program asks for each frame: addresses
 * in a hash table of bounded probes. Compiles for user space and for BPF.
 *
 *	slot = hash(mac), and the next PROBES - 1; an address that finds none of them free makes
 *	the filter take all of its kind
 */
#ifndef XN_BPF_FILTER_H
#define XN_BPF_FILTER_H

#include <linux/types.h>

#define XN_FILTER_SLOTS  256u            /* a power of two */
#define XN_FILTER_PROBES 8u
#define XN_FILTER_USED   (1ull << 48)    /* beside the 6 bytes of the address */
#define XN_FILTER_ALL    0xffffffffffffull

#define XN_FILTER_ALLUNI   1u
#define XN_FILTER_ALLMULTI 2u
#define XN_FILTER_NOUNI    4u
#define XN_FILTER_NOMULTI  8u
#define XN_FILTER_NOBCAST  16u
#define XN_FILTER_VLAN     32u

struct xn_filter_image {
	__u32 flags, pad;
	__u64 mac;                       /* as xn_filter_mac */
	__u64 vlans[64];
	__u64 slots[XN_FILTER_SLOTS];    /* 0: free */
};

#define XN_FILTER_INLINE static inline __attribute__((always_inline))

XN_FILTER_INLINE __u64 xn_filter_mac(const __u8 *b)
{
	return b[0] | (__u64)b[1] << 8 | (__u64)b[2] << 16 | (__u64)b[3] << 24 | (__u64)b[4] << 32 |
	       (__u64)b[5] << 40;
}

XN_FILTER_INLINE __u32 xn_filter_slot(__u64 mac, __u32 probe)
{
	return ((__u32)(mac * 0x9e3779b97f4a7c15ull >> 40) + probe) & (XN_FILTER_SLOTS - 1);
}

XN_FILTER_INLINE int xn_filter_among(const struct xn_filter_image *img, __u64 mac)
{
	for (__u32 i = 0; i < XN_FILTER_PROBES; i++)
		if (img->slots[xn_filter_slot(mac, i)] == (mac | XN_FILTER_USED))
			return 1;
	return 0;
}

/* Of a frame that reaches from `frame` to `end`. */
XN_FILTER_INLINE int xn_filter_image_takes(const struct xn_filter_image *img, const __u8 *frame,
					   const __u8 *end)
{
	const __u32 flags = img->flags;
	__u64 mac;

	if (frame + 14 > end)
		return 1;
	if (flags & XN_FILTER_VLAN && frame + 18 <= end && frame[12] == 0x81 && frame[13] == 0) {
		const __u32 id = (__u32)(frame[14] << 8 | frame[15]) & 4095;

		if (!(img->vlans[id >> 6] >> (id & 63) & 1))
			return 0;
	}
	mac = xn_filter_mac(frame);
	if (mac == XN_FILTER_ALL)
		return !(flags & XN_FILTER_NOBCAST);
	if (mac & 1) {
		if (flags & XN_FILTER_NOMULTI)
			return 0;
		return flags & XN_FILTER_ALLMULTI || xn_filter_among(img, mac);
	}
	if (flags & XN_FILTER_NOUNI)
		return 0;
	return flags & XN_FILTER_ALLUNI || mac == img->mac || xn_filter_among(img, mac);
}

#ifndef __bpf__
struct xn_rx_filter;

/* f is not promiscuous: then there is no image. */
void xn_filter_image_make(struct xn_filter_image *img, const struct xn_rx_filter *f);
#endif
#endif
