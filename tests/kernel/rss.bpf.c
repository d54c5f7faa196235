// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * What the kernel makes of rss/: hash and report of a frame, for the tests to read. The steering
 * program shows of them only the queue.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "rss/image.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xn_rss_image);
} image SEC(".maps");

__u32 hash, report, queue;

SEC("xdp")
int classify(struct xdp_md *ctx)
{
	const __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, h = 0;
	const struct xn_rss_image *img = bpf_map_lookup_elem(&image, &zero);

	if (!img)
		return XDP_ABORTED;
	report = xn_rss_hash(img, data, end, &h);
	hash = h;
	queue = report ? xn_rss_queue(img, h) : img->unclassified;
	return XDP_PASS;
}

/* What a run costs at least. */
SEC("xdp")
int nothing(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}
