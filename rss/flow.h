/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What of a frame RSS looks at. Compiles for user space and for BPF.
 *
 *	| Ethernet | 0..2 VLAN tags | IPv4, options       | TCP or UDP
 *	                            | IPv6, ext. headers  |
 *
 * A frame falls into one class; the classes have the numbers that the device reports
 * (VIRTIO_NET_HASH_REPORT_*, VIRTIO 1.3, 5.1.6.4.4), as if every hash type were enabled. Which
 * type applies then is rss/image.h's.
 *
 * What a header has to be, so that it counts as being there:
 *
 * - It lies wholly in the frame, and in the packet as long as that says it is: what an
 *   Ethernet frame has behind it is padding. A packet that was cut off is taken as far
 *   as it goes: addresses without ports.
 * - A fragment has no TCP or UDP header, the first one neither: all fragments of a
 *   packet have to arrive at one queue. (Not so an IPv6 packet with a fragment header that
 *   is not fragmented, RFC 6946: it is whole.)
 * - The home address is that of the first home address option (RFC 6275, 6.3) in a
 *   destination options header, the other address that of the first routing header of
 *   type 2 with the length and the one segment left that RFC 6275, 6.4 demands.
 * - Extension headers are those of IANA's list (RFC 8200, 4.1). Behind an ESP header all
 *   is encrypted.
 *
 * Everything else has no class: ARP, a third VLAN tag, 802.3 lengths, an IPv4 header
 * shorter than 20 bytes or longer than its packet, ...
 *
 * For the verifier: one bounded loop; addresses that depend on the frame are made anew from
 * `ip` and checked where they are used; distances are computed as numbers, for which a
 * program needs CAP_PERFMON. Seen to be accepted by Linux 6.1, 6.12, 6.18 and 7.2, compiled by
 * clang 14, 16 and 19: 0.1 million instructions of the million that are looked at.
 */
#ifndef XN_RSS_FLOW_H
#define XN_RSS_FLOW_H

#include "rss/toeplitz.h"

enum xn_flow_class {
	XN_FLOW_NONE,
	XN_FLOW_IPV4,    XN_FLOW_TCPV4,    XN_FLOW_UDPV4,
	XN_FLOW_IPV6,    XN_FLOW_TCPV6,    XN_FLOW_UDPV6,
	XN_FLOW_IPV6_EX, XN_FLOW_TCPV6_EX, XN_FLOW_UDPV6_EX,
	XN_FLOW_CLASSES,
};

struct xn_flow {
	const __u8 *ip;     /* IP header; of every class but NONE */
	__u32 class;
	/* Distances from `ip`, of bytes that lie in the frame: */
	__u32 ports;        /* TCP or UDP header */
	__u32 home, route;  /* IPv6: home address, address of the routing header; 0: none */
};

/* Extension headers and options of them (paddings included) that are looked at, and how far
 * behind the start of the IPv6 header they may begin. What is behind that is not there. */
#define XN_FLOW_STEPS 24u
#define XN_FLOW_REACH 4096u

#define XN_ETH_BYTES  14u
#define XN_VLAN_BYTES 4u
#define XN_IPV4_BYTES 20u
#define XN_IPV6_BYTES 40u
#define XN_TCP_BYTES  20u
#define XN_UDP_BYTES  8u

/* Two bytes as they lie there. BPF's compiler wants to be told that it may. */
XN_RSS_INLINE __u16 xn_flow_raw16(const __u8 *p)
{
#ifdef __bpf__
	return *(const __u16 *)p;
#else
	__u16 v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
#endif
}

XN_RSS_INLINE __u32 xn_flow_be16(const __u8 *p)
{
	return __builtin_bswap16(xn_flow_raw16(p));
}

/* Are there n bytes at p? The verifier knows this form, and remembers it for p. */
XN_RSS_INLINE int xn_flow_has(const __u8 *p, unsigned n, const __u8 *end)
{
#ifdef __bpf__
	return p + n <= end;
#else
	return (__u64)(end - p) >= n;
#endif
}

XN_RSS_INLINE int xn_flow_is_vlan(__u16 raw_type)
{
	return raw_type == __builtin_bswap16(0x8100) || raw_type == __builtin_bswap16(0x88a8);
}

/* How much of a TCP or UDP header there has to be; 0: it is neither. */
XN_RSS_INLINE __u32 xn_flow_l4_bytes(__u32 protocol)
{
	return protocol == 6 ? XN_TCP_BYTES : protocol == 17 ? XN_UDP_BYTES : 0;
}

XN_RSS_INLINE void xn_flow_ipv4(struct xn_flow *f, const __u8 *ip, const __u8 *end)
{
	__u32 header, total, protocol, l4;

	if (!xn_flow_has(ip, XN_IPV4_BYTES, end))
		return;
	header = (ip[0] & 15u) * 4;
	total = xn_flow_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header < XN_IPV4_BYTES || total < header ||
	    (__u64)(end - ip) < header)
		return;
	f->ip = ip;
	f->class = XN_FLOW_IPV4;
	/* More fragments, or a place that is not the first. */
	if (xn_flow_raw16(ip + 6) & __builtin_bswap16(0x3fff))
		return;
	protocol = ip[9];
	l4 = xn_flow_l4_bytes(protocol);
	if (!l4 || header + l4 > total || (__u64)(end - ip) < header + l4)
		return;
	f->class = protocol == 6 ? XN_FLOW_TCPV4 : XN_FLOW_UDPV4;
	f->ports = header;
}

/* Hop-by-hop, routing, fragment, ESP, AH, destination; mobility, HIP, shim6. */
XN_RSS_INLINE int xn_flow_is_ext(__u32 next)
{
	return next < 64 ? (1ull << 0 | 1ull << 43 | 1ull << 44 | 1ull << 50 | 1ull << 51 |
			    1ull << 60) >> next & 1 :
			   next == 135 || next == 139 || next == 140;
}

#define XN_NEXT_ROUTING  43u
#define XN_NEXT_FRAGMENT 44u
#define XN_NEXT_ESP      50u
#define XN_NEXT_AH       51u
#define XN_NEXT_NONE     59u
#define XN_NEXT_DEST     60u
#define XN_OPTION_PAD1   0u
#define XN_OPTION_HOME   0xc9u

/*
 * The verifier follows every path through a loop with every value that it knows, unless
 * two paths are alike. It is made to forget: `zero` is 0 in a map, which it cannot know.
 */
#define XN_FLOW_FORGET(x, mask) ((x) = ((x) + zero) & (mask))
#define XN_FLOW_FAR (2 * XN_FLOW_REACH - 1)
_Static_assert(XN_FLOW_REACH + 256 * 8 + 2 < XN_FLOW_FAR, "the mask changes no place of a walk");

/*
 * Behind an IPv6 header: `bytes` bytes of packet, from its first byte on, are in the frame.
 * Returns what is behind the extension headers, and where: XN_NEXT_NONE if that is nothing
 * that could have ports. `at` is at a header or, while it is below `options`, at an option.
 *
 * (The loop's condition is at its end, where the compiler makes a jump of it: Linux 6.1
 * refuses a loop that is closed by an instruction which is none, kernel/bpf/verifier.c,
 * push_insn.)
 */
XN_RSS_INLINE __u32 xn_flow_walk(struct xn_flow *f, const __u8 *ip, const __u8 *end, __u32 bytes,
				 __u32 next, __u32 zero)
{
	__u32 at = XN_IPV6_BYTES, options = 0, home = 0, route = 0;

	for (unsigned i = 0; i < XN_FLOW_STEPS; i++) {
		const __u8 *p;
		__u32 n;

		XN_FLOW_FORGET(at, XN_FLOW_FAR);
		XN_FLOW_FORGET(options, XN_FLOW_FAR);
		XN_FLOW_FORGET(home, XN_FLOW_FAR);
		XN_FLOW_FORGET(route, XN_FLOW_FAR);
		XN_FLOW_FORGET(next, 0xff);
		if (at >= options && !xn_flow_is_ext(next))
			break;
		if (at > XN_FLOW_REACH)
			break;
		p = ip + at;
		if (at < options) {
			if (!xn_flow_has(p, 2, end)) {
				at = options;    /* the last byte of the frame: at most padding */
				continue;
			}
			n = p[0] == XN_OPTION_PAD1 ? 1 : 2u + p[1];
			if (p[0] == XN_OPTION_HOME && n == 18 && at + n <= options) {
				home = at + 2;
				n = options - at;   /* the others are not asked for */
			}
			at = at + n < options ? at + n : options;
			continue;
		}
		if (!xn_flow_has(p, 8, end) || next == XN_NEXT_ESP)
			break;
		n = next == XN_NEXT_AH ? (p[1] + 2u) * 4 :
		    next == XN_NEXT_FRAGMENT ? 8 : (p[1] + 1u) * 8;
		if (at + n > bytes)
			break;
		if (next == XN_NEXT_FRAGMENT &&
		    xn_flow_raw16(p + 2) & __builtin_bswap16(0xfff9))
			break;
		if (next == XN_NEXT_ROUTING && n == 24 && p[2] == 2 && p[3] == 1 && !route)
			route = at + 8;
		if (next == XN_NEXT_DEST && !home) {
			options = at + n;
			n = 2;
		}
		next = p[0];
		at += n;
	}
	f->home = XN_FLOW_FORGET(home, XN_FLOW_FAR);
	f->route = XN_FLOW_FORGET(route, XN_FLOW_FAR);
	f->ports = XN_FLOW_FORGET(at, XN_FLOW_FAR);
	XN_FLOW_FORGET(options, XN_FLOW_FAR);
	XN_FLOW_FORGET(next, 0xff);
	/* Still at an option, or at an extension header: it was not to be passed. */
	return at >= options && !xn_flow_is_ext(next) ? next : XN_NEXT_NONE;
}

XN_RSS_INLINE void xn_flow_ipv6(struct xn_flow *f, const __u8 *ip, const __u8 *end, __u32 zero)
{
	__u32 bytes, next, l4;

	if (!xn_flow_has(ip, XN_IPV6_BYTES, end) || ip[0] >> 4 != 6)
		return;
	bytes = XN_IPV6_BYTES + xn_flow_be16(ip + 4);
	if ((__u64)(end - ip) < bytes)
		bytes = (__u32)(end - ip);
	f->ip = ip;
	f->class = XN_FLOW_IPV6;
	f->ports = XN_IPV6_BYTES;
	next = ip[6];
	if (xn_flow_is_ext(next)) {
		f->class = XN_FLOW_IPV6_EX;
		next = xn_flow_walk(f, ip, end, bytes, next, zero);
	}
	l4 = xn_flow_l4_bytes(next);
	if (l4 && f->ports + l4 <= bytes)
		f->class += next == 6 ? 1 : 2;
}

XN_RSS_INLINE void xn_flow_parse(struct xn_flow *f, const __u8 *frame, const __u8 *end, __u32 zero)
{
	__u32 at = XN_ETH_BYTES;
	__u16 type;

	f->class = XN_FLOW_NONE;
	f->ports = f->home = f->route = 0;
	if (!xn_flow_has(frame, XN_ETH_BYTES, end))
		return;
	type = xn_flow_raw16(frame + 12);
	if (xn_flow_is_vlan(type)) {
		if (!xn_flow_has(frame, 18, end))
			return;
		type = xn_flow_raw16(frame + 16);
		at = 18;
		if (xn_flow_is_vlan(type)) {
			if (!xn_flow_has(frame, 22, end))
				return;
			type = xn_flow_raw16(frame + 20);
			at = 22;
		}
	}
	XN_FLOW_FORGET(at, 31);
	if (type == __builtin_bswap16(0x0800))
		xn_flow_ipv4(f, frame + at, end);
	else if (type == __builtin_bswap16(0x86dd))
		xn_flow_ipv6(f, frame + at, end, zero);
}

#endif
