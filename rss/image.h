/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A configuration as frames need it: worked out once, looked up for each frame. Compiles
 * for user space and for BPF; xn_rss_image_make (rss/config.h) fills it.
 *
 *	frame --flow.h--> class --apply[]--> what is hashed --z--> hash --queue[]--> guest queue
 *	                  NONE, or not enabled ----------------> unclassified queue
 */
#ifndef XN_RSS_IMAGE_H
#define XN_RSS_IMAGE_H

#include "rss/flow.h"

#define XN_RSS_TABLE_MAX 512u   /* entries of an indirection table; a power of two */

/* What applies to a class: VIRTIO_NET_HASH_REPORT_* of the type (0: none), and */
#define XN_RSS_REPORT 0x0fu
#define XN_RSS_PORTS  0x10u     /* ports are hashed too */
#define XN_RSS_HOME   0x20u     /* addresses of extension headers take the place of others */

struct xn_rss_image {
	__u8 apply[16];                   /* by class */
	__u8 unclassified;                /* guest queue */
	__u8 by_flow;                     /* queues are those of bpf/flows.h; not of `queue` */
	__u8 pad[42];
	__u32 zero;                       /* 0: see rss/flow.h */
	__u8 queue[XN_RSS_TABLE_MAX];     /* guest queue by hash; a shorter table is repeated */
	struct xn_toeplitz z;
};
_Static_assert(XN_FLOW_CLASSES <= 16, "apply[] has an entry for each class");
_Static_assert(!(XN_RSS_TABLE_MAX & (XN_RSS_TABLE_MAX - 1)), "a mask chooses the entry");

/* `back` (a constant): as if addresses and ports were exchanged, as in the answer to it. */
XN_RSS_INLINE unsigned xn_rss_hash_way(const struct xn_rss_image *img, const __u8 *frame,
				       const __u8 *end, __u32 *hash, const int back)
{
	const __u8 *src, *dst, *ports;
	struct xn_flow f;
	unsigned apply;
	__u32 h;

	xn_flow_parse(&f, frame, end, img->zero);
	apply = img->apply[f.class & 15];
	if (!f.class || !apply)
		return 0;
	if (f.class <= XN_FLOW_UDPV4) {
		h = xn_toeplitz_part(&img->z, f.ip + 12, back ? 4 : 0, 4) ^
		    xn_toeplitz_part(&img->z, f.ip + 16, back ? 0 : 4, 4);
		if (apply & XN_RSS_PORTS) {
			ports = f.ip + f.ports;
			if (!xn_flow_has(ports, 4, end))
				return 0;
			h ^= xn_toeplitz_part(&img->z, ports, back ? 10 : 8, 2) ^
			     xn_toeplitz_part(&img->z, ports + 2, back ? 8 : 10, 2);
		}
		*hash = h;
		return apply & XN_RSS_REPORT;
	}
	src = f.ip + (apply & XN_RSS_HOME && f.home ? f.home : 8);
	dst = f.ip + (apply & XN_RSS_HOME && f.route ? f.route : 24);
	if (!xn_flow_has(src, 16, end) || !xn_flow_has(dst, 16, end))
		return 0;
	h = xn_toeplitz_part(&img->z, src, back ? 16 : 0, 16) ^
	    xn_toeplitz_part(&img->z, dst, back ? 0 : 16, 16);
	if (apply & XN_RSS_PORTS) {
		ports = f.ip + f.ports;
		if (!xn_flow_has(ports, 4, end))
			return 0;
		h ^= xn_toeplitz_part(&img->z, ports, back ? 34 : 32, 2) ^
		     xn_toeplitz_part(&img->z, ports + 2, back ? 32 : 34, 2);
	}
	*hash = h;
	return apply & XN_RSS_REPORT;
}

/* The report (VIRTIO_NET_HASH_REPORT_*); with 0 there is no hash. */
XN_RSS_INLINE unsigned xn_rss_hash(const struct xn_rss_image *img, const __u8 *frame,
				   const __u8 *end, __u32 *hash)
{
	return xn_rss_hash_way(img, frame, end, hash, 0);
}

/* Likewise of the answer to this frame. */
XN_RSS_INLINE unsigned xn_rss_hash_back(const struct xn_rss_image *img, const __u8 *frame,
					const __u8 *end, __u32 *hash)
{
	return xn_rss_hash_way(img, frame, end, hash, 1);
}

/* The guest queue of a hash that xn_rss_hash has made. */
XN_RSS_INLINE unsigned xn_rss_queue(const struct xn_rss_image *img, __u32 hash)
{
	return img->queue[hash & (XN_RSS_TABLE_MAX - 1)];
}

#endif
