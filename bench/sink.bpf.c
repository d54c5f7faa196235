// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * The far end: judges each frame by stamp and tail, counts it, and then
 *
 *	good, and mode is reflect ----> XDP_TX, addresses swapped
 *	all else ---------------------> XDP_DROP
 *
 * or the same, without reflection, at the network stack's door (sink_stack), where an interface
 * has no XDP program.
 *
 * On veth this runs inside of the sender's own system call, so it is short: one
 * stream state of two cache lines, no map lookup. Frames may have fragments (an MTU
 * above 3.5 KB); then the tail is fetched by a helper.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "bench/sink.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct xn_sink_task task;
struct xn_sink_stream streams[XN_SINK_MAX_QUEUES];
struct xn_sink_stray strays[XN_SINK_MAX_QUEUES];

/* The verifier wants to see every offset bounded; no veth frame is longer. */
#define FRAME_MAX 0x1ffffu

static __always_inline int read_tail(struct xdp_md *ctx, __u32 bytes, __u32 *tail)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 at = bytes - XN_TAIL_BYTES;

	if (at < 0x7fff && data + at + XN_TAIL_BYTES <= end) {
		*tail = *(__u32 *)(data + at);
		return 0;
	}
	return bpf_xdp_load_bytes(ctx, at & FRAME_MAX, tail, XN_TAIL_BYTES);
}

static __always_inline void swap_addresses(struct ethhdr *eth)
{
	__u8 dst[ETH_ALEN];

	__builtin_memcpy(dst, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, dst, ETH_ALEN);
}

/* One writer each: by the queue, or the processor, on which they come. */
static __always_inline void stray(__u32 where, int damaged)
{
	struct xn_sink_stray *s = &strays[where % XN_SINK_MAX_QUEUES];

	if (damaged)
		s->corrupt++;
	else
		s->foreign++;
}

/* The stream of a frame with this stamp; NULL: none of ours, which is counted. */
static __always_inline struct xn_sink_stream *find_stream(const struct xn_stamp *stamp, __u32 tail,
							  __u32 bytes, __u32 where)
{
	const __u32 index = stamp->stream - task.run_tag;
	struct xn_sink_stream *s;

	if (index >= task.streams || index >= XN_SINK_MAX_QUEUES) {
		stray(where, task.streams && xn_check_damaged(~stamp->stream, stamp, tail, bytes));
		return NULL;
	}
	s = &streams[index];
	/* The sink takes every length: stamp and tail were made from it. */
	s->check.bytes = bytes;
	return s;
}

SEC("xdp.frags")
int sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 bytes = bpf_xdp_get_buff_len(ctx), tail;
	struct xn_sink_stream *s;
	struct xn_stamp *stamp;

	if (data + XN_STAMP_AT + XN_STAMP_BYTES > end || bytes < XN_FRAME_MIN ||
	    read_tail(ctx, bytes, &tail)) {
		stray(ctx->rx_queue_index, 0);
		return XDP_DROP;
	}
	/* The helper above may have made the verifier forget what it knew. */
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + XN_STAMP_AT + XN_STAMP_BYTES > end)
		return XDP_DROP;
	stamp = data + XN_STAMP_AT;
	s = find_stream(stamp, tail, bytes, ctx->rx_queue_index);
	if (!s || !xn_check_stamp(&s->check, stamp, tail, bytes))
		return XDP_DROP;
	s->bytes += bytes;
	if (!task.reflect)
		return XDP_DROP;
	swap_addresses(data);
	return XDP_TX;
}

/* The same in the stack, of packets that may lie in many pieces. */
SEC("tc")
int sink_stack(struct __sk_buff *skb)
{
	const __u32 bytes = skb->len, where = bpf_get_smp_processor_id();
	unsigned char filler[XN_FILLER_BYTES];
	struct xn_sink_stream *s;
	struct xn_stamp stamp;
	__u32 tail, at;

	if (bytes < XN_FRAME_MIN ||
	    bpf_skb_load_bytes(skb, XN_STAMP_AT, &stamp, sizeof(stamp)) ||
	    bpf_skb_load_bytes(skb, bytes - XN_TAIL_BYTES, &tail, sizeof(tail))) {
		stray(where, 0);
		return TC_ACT_SHOT;
	}
	s = find_stream(&stamp, tail, bytes, where);
	if (!s)
		return TC_ACT_SHOT;
	if (bytes >= XN_FRAME_MIN + XN_FILLER_BYTES) {
		at = xn_filler_at(stamp.seq, bytes);
		if (bpf_skb_load_bytes(skb, at, filler, sizeof(filler)) || !xn_filler_good(filler, at)) {
			s->check.corrupt++;
			return TC_ACT_SHOT;
		}
	}
	if (xn_check_stamp(&s->check, &stamp, tail, bytes))
		s->bytes += bytes;
	return TC_ACT_SHOT;
}
