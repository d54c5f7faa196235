/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * Notes on which receive queue frames arrive, and lets them through. Frames of tests end with a
 * magic number and a number of their own; frames of TCP and UDP are noted by source port too.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#include "tests/net/queues.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Queue + 1; 0: not seen. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUEUES_NUMBERS);
	__type(key, __u32);
	__type(value, __u32);
} by_number SEC(".maps");

/* A bit for each queue. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32);
} by_port SEC(".maps");

static __always_inline void note_port(const __u8 *p, const __u8 *end, __u32 queue)
{
	__u32 at, port;
	__u32 *seen;

	if (p + ETH_HLEN + 44 > end)
		return;
	if (p[12] == 8 && p[13] == 0 && p[14] == 0x45)
		at = ETH_HLEN + 20;
	else if (p[12] == 0x86 && p[13] == 0xdd)
		at = ETH_HLEN + 40;
	else
		return;
	port = (__u32)p[at] << 8 | p[at + 1];
	seen = bpf_map_lookup_elem(&by_port, &port);
	/* Not atomic: tests send one after the other. */
	if (seen)
		*seen |= 1u << (queue & 31);
}

SEC("xdp")
int xn_queues(struct xdp_md *ctx)
{
	const __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 queue = ctx->rx_queue_index, bytes = (__u32)(end - data);
	struct queues_tail tail = { 0 };
	__u32 *at;

	note_port(data, end, queue);
	if (bytes < sizeof(tail) || bpf_xdp_load_bytes(ctx, bytes - sizeof(tail), &tail, sizeof(tail)) ||
	    tail.magic != QUEUES_MAGIC)
		return XDP_PASS;
	at = bpf_map_lookup_elem(&by_number, &tail.number);
	if (at)
		*at = queue + 1;
	return XDP_PASS;
}
