// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0)
/*
 * One frame of the generator. The kernel runs this once for each frame of a
 * BPF_PROG_TEST_RUN with live frames (bench/gen.c):
 *
 *	stopped, not allowed, not due > XDP_DROP      the page is used again
 *	else stamp, count ------------> XDP_REDIRECT  into the far end of the pair
 *
 * The kernel writes the rest of the frame into each page once, and then uses the
 * pages again and again, so that stamp and tail are all that there is to write.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bench/frame.h"
#include "bench/gen.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} way_out SEC(".maps");

/* User space writes one of them before a run, and `stop` to end it. */
struct xn_gen_task task;
struct xn_gen_state state;

/*
 * The n-th frame of a run is due at start + n * period, so that the rate is exact
 * over a run however the single frames jitter. What a generator that was held up for
 * long does not catch up is never offered.
 */
static __always_inline int is_due(void)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 late;

	if (!state.due_ns)
		state.due_ns = now;
	if (now < state.due_ns)
		return 0;
	late = now - state.due_ns;
	if (late > task.catch_up_ns)
		state.due_ns = now - task.catch_up_ns;
	state.fraction += task.period_q32 & 0xffffffff;
	state.due_ns += (task.period_q32 >> 32) + (state.fraction >> 32);
	state.fraction &= 0xffffffff;
	return 1;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 tail_at = task.bytes - XN_TAIL_BYTES;
	struct xn_stamp *stamp = data + XN_STAMP_AT;
	__u32 check, *tail;

	if (task.stop) {
		state.idle++;
		return XDP_DROP;
	}
	if (task.limit && state.seq >= task.limit)
		return XDP_DROP;
	if (task.period_q32 && !is_due())
		return XDP_DROP;
	if (tail_at > XN_GEN_BYTES_MAX)
		return XDP_ABORTED;
	tail = data + tail_at;
	if ((void *)(stamp + 1) > end || (void *)(tail + 1) > end)
		return XDP_ABORTED;
	check = xn_stamp_check(task.stream, state.seq, task.bytes);
	if (!state.seq)
		state.first_ns = bpf_ktime_get_ns();
	stamp->stream = task.stream;
	stamp->seq = state.seq++;
	stamp->check = check;
	*tail = ~check;
	return bpf_redirect_map(&way_out, 0, XDP_DROP);
}
