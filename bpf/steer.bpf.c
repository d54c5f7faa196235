/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * The XDP program: each frame goes to the AF_XDP socket of the queue it came on.
 *
 *	filter=mac and not to the guest ------> XDP_PASS      steer_not_ours
 *	longer than the guest's buffers ------> XDP_DROP      steer_too_long
 *	no socket on this queue --------------> XDP_DROP      steer_no_socket
 *	else ---------------------------------> XDP_REDIRECT  steer_to_guest
 *
 * It runs on the core that bounds the receive rate, so it does as little as that.
 * The settings are read-only data: the verifier knows their values and removes the
 * branches that are not taken. The map is looked up once, by the redirect itself.
 *
 * It never calls bpf_xdp_adjust_meta or bpf_xdp_adjust_head: the kernel copies
 * metadata in front of the frame (Linux net/xdp/xsk.c, __xsk_rcv), and there lies
 * guest memory that was not offered for it.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#include "bpf/steer.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, XN_STEER_MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct counts {
	__u64 v[XN_E_COUNT];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} exits SEC(".maps");

const volatile __u32 frame_bytes;
const volatile __u8 filter_mac;
const volatile __u8 mac[8] __attribute__((aligned(4)));   /* 6, and padding */

/* To our address, to all, or to a group (bit 0 of the first byte, IEEE 802.3, 3.2.3). */
static __always_inline int is_ours(const __u8 *dst)
{
	return dst[0] & 1 || (*(const __u32 *)dst == *(const volatile __u32 *)mac &&
			      *(const __u16 *)(dst + 4) == *(const volatile __u16 *)(mac + 4));
}

static __always_inline int leave(enum xn_steer_exit exit, int action)
{
	__u32 zero = 0;
	struct counts *c = bpf_map_lookup_elem(&exits, &zero);

	if (c)
		c->v[exit]++;
	return action;
}

SEC("xdp")
int xn_steer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int action;

	if (filter_mac && (data + ETH_HLEN > end || !is_ours(data)))
		return leave(XN_E_steer_not_ours, XDP_PASS);
	if (end - data > frame_bytes)
		return leave(XN_E_steer_too_long, XDP_DROP);
	action = (int)bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_DROP);
	return leave(action == XDP_REDIRECT ? XN_E_steer_to_guest : XN_E_steer_no_socket, action);
}
