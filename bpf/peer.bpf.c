/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * The program of `xsknetctl steer-peer`, at the far end of a veth pair: what leaves there
 * arrives at the guest's end on the queue that the guest's RSS says.
 *
 *	peer's stack --> this program --> peer's TX queue n ==== guest's end, RX queue n
 *	                 queue_mapping = n + 1
 *
 * A recorded receive queue is what the kernel takes for a transmit queue, if XPS does not
 * choose one (Linux net/core/dev.c, netdev_pick_tx, skb_tx_hash). It asks only for the first
 * packet of a connection, and again when that has been idle: sockets remember.
 *
 * The hash is that of the XDP program at the other end (rss/image.h), on a frame that may lie
 * in pieces here and has no VLAN tag yet if the interface puts them in: tags are not hashed.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "bpf/peer.h"
#include "rss/image.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xn_rss_image);
} image SEC(".maps");

struct counts {
	__u64 v[XN_PEER_COUNTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counts SEC(".maps");

const volatile __u32 first_queue;      /* receive queue of the guest's queue 0 */

/* Go on to other programs, or to the queue (TCX_NEXT, Linux 6.6). */
#define NEXT (-1)

/* What is hashed of a frame without extension headers lies in its first bytes: Ethernet, two
 * tags, the longest IPv4 header, TCP. */
#define HEAD_BYTES (XN_ETH_BYTES + 2 * XN_VLAN_BYTES + 60 + XN_TCP_BYTES)
/* Of one with extension headers, all that is looked at. */
#define EXT_BYTES  (HEAD_BYTES + XN_IPV6_BYTES + XN_FLOW_REACH)

/* Is this an IPv6 packet with extension headers? */
static __always_inline int has_ext(const __u8 *frame, const __u8 *end)
{
	const __u8 *ip = frame + XN_ETH_BYTES;

	for (int tags = 0; tags < 2; tags++)
		if (xn_flow_has(ip, 0, end) && xn_flow_is_vlan(xn_flow_raw16(ip - 2)))
			ip += XN_VLAN_BYTES;
	return xn_flow_has(ip, XN_IPV6_BYTES, end) &&
	       xn_flow_raw16(ip - 2) == __builtin_bswap16(ETH_P_IPV6) && xn_flow_is_ext(ip[6]);
}

/* Has the first n bytes of the frame lie together, if they do not. */
static __always_inline void pull(struct __sk_buff *skb, __u32 n)
{
	n = n < skb->len ? n : skb->len;
	if (skb->data_end - skb->data < n)
		bpf_skb_pull_data(skb, n);
}

SEC("tc")
int xn_steer_peer(struct __sk_buff *skb)
{
	__u32 zero = 0, queue, hash, hashed;
	const struct xn_rss_image *img = bpf_map_lookup_elem(&image, &zero);
	struct counts *c = bpf_map_lookup_elem(&counts, &zero);

	if (!img || !c)
		return NEXT;
	pull(skb, HEAD_BYTES);
	if (has_ext((void *)(long)skb->data, (void *)(long)skb->data_end))
		pull(skb, EXT_BYTES);
	hashed = xn_rss_hash(img, (void *)(long)skb->data, (void *)(long)skb->data_end, &hash);
	queue = hashed ? xn_rss_queue(img, hash) : img->unclassified;
	c->v[hashed ? XN_PEER_hashed : XN_PEER_unclassified]++;
	skb->queue_mapping = first_queue + queue + 1;
	return NEXT;
}
