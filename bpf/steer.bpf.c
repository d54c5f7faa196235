/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0) */
/*
 * The XDP program: each frame goes to an AF_XDP socket of the queue it came on.
 *
 *	filter=mac and not to the guest ------> XDP_PASS      steer_not_ours
 *	not what the guest's driver wants ----> XDP_DROP      steer_unwanted
 *	longer than the guest's buffers ------> XDP_DROP      steer_too_long
 *	RSS: see below
 *	no socket on this queue --------------> XDP_DROP      steer_no_socket
 *	else ---------------------------------> XDP_REDIRECT  steer_to_guest
 *
 * It runs on the core that bounds the receive rate, so it does as little as that.
 * The settings are read-only data: the verifier knows their values and removes the
 * branches that are not taken. The map is looked up once, by the redirect itself. RSS is
 * a program of its own.
 *
 * It never calls bpf_xdp_adjust_meta or bpf_xdp_adjust_head: the kernel copies
 * metadata in front of the frame (Linux net/xdp/xsk.c, __xsk_rcv), and there lies
 * guest memory that was not offered for it.
 *
 * RSS. The guest's configuration (rss/image.h) names a guest queue g for each frame. But a
 * frame that came on host queue h can only be given to sockets that are bound to h, and is
 * written into a buffer of h's one fill ring, whichever of them gets it. So the host has to
 * bring the frames of g on its own host queue, first_queue + g; those that come elsewhere are
 * missteered, and have to be copied once. There is a place for a socket for each pair:
 *
 *	                guest queue 0   1       2
 *	host queue 0    S(0,0)  S(0,1)  S(0,2)          each row: one fill ring, which belongs to
 *	           1    S(1,0)  S(1,1)  S(1,2)          the guest queue of its diagonal, and whose
 *	           2    S(2,0)  S(2,1)  S(2,2)          buffers are lent there
 *
 *	the diagonal: `xsks`, as without RSS; the others: `grid`, at h * rss_pairs + g
 *
 *	g disabled ---------------------------> XDP_DROP      steer_disabled
 *	h is g's own host queue: S(h, h) -----> XDP_REDIRECT  steer_to_guest
 *	S(h, g) is there ---------------------> XDP_REDIRECT  steer_missteered
 *	h's own guest queue is disabled ------> XDP_DROP      steer_disabled
 *	else S(h, h) -------------------------> XDP_REDIRECT  steer_unfixed
 *
 * What comes out of the diagonal needs no second look, and there no thread meets another.
 * Off it, one and the same socket may stand in all places of a row: then there are two for
 * each host queue, and whoever reads the second one asks rss/ once more which guest queue it
 * is for.
 *
 * Whose is the buffer of a missteered frame? It came out of h's fill ring, and only the thread
 * of h's guest queue puts anything there. So it is simplest if this thread reads all RX rings
 * of its row (in copy mode the frames of all of them together come in the order of the fill
 * ring), and lends a missteered frame to the thread of g, which copies it into a buffer of its
 * own guest queue and gives it back. Then the buffer is posted once more, as it was: h's guest
 * has not seen it in between.
 *
 * Without RSS, if the port was opened by_flow, g is the queue on which the guest sends this flow
 * (bpf/flows.h), or h's own if it does not. All else is as with RSS.
 *
 * To stop queue q, so that nothing reads or writes its buffers any more:
 *	1. xn_steer_enable(q, false); row q out of both maps; xn_xsk_barrier
 *	2. the RX rings of row q are read empty; what was lent to other threads is taken back
 *	3. all else that was posted is in the fill ring, which nobody reads now
 * While row q is out of the maps, frames of other queues that come on it have no socket either.
 *
 * Swapping configurations. `images` has room for several; image_now names the one in force, as
 * its place + 1 (0: none). The program reads that once for each frame, and uses what it found to
 * the end. User space writes a place that no program can be reading, then image_now; a place that
 * was in force may be written again when all programs that may have found it have ended: once
 * for XN_STEER_IMAGES - 1 swaps that is waited for. An update of a map of maps returns then
 * (Linux kernel/bpf/syscall.c, maybe_wait_bpf_programs), and `grace` is there for nothing else.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#include "bpf/filter.h"
#include "bpf/flows.h"
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

/* ---- RSS. The loader makes these maps only for it, as large as rss_pairs wants them. ---- */

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} grid SEC(".maps");

struct queue_counts {
	__u64 v[XN_Q_COUNT];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct queue_counts);
} queues SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XN_STEER_IMAGES);
	__type(key, __u32);
	__type(value, struct xn_rss_image);
} images SEC(".maps");

struct nothing {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} empty SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct nothing);
} grace SEC(".maps");

__u32 image_now;

/*
 * The guest's receive filter: filters[filter_now - 1] is in force, 0: none is. User space writes
 * the other one, and then filter_now. A frame that is looked at for longer than it takes to
 * change the filter twice may be judged by a mixture, which is no worse than either.
 */
struct xn_filter_image filters[2];
__u32 filter_now;

/* Which guest queue sends the flow; user space writes it. */
__u8 flows[XN_FLOW_SLOTS];

/* By guest queue; user space writes it. */
__u8 disabled[XN_STEER_MAX_QUEUES];

/* ---- settings ---- */

const volatile __u32 frame_bytes;
const volatile __u8 frags;         /* loaded with BPF_F_XDP_HAS_FRAGS */
const volatile __u32 rss_pairs, first_queue;
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

static __always_inline int to_own_socket(__u32 host_queue)
{
	return (int)bpf_redirect_map(&xsks, host_queue, XDP_DROP);
}

static __always_inline int plain(const struct xdp_md *ctx)
{
	int action = to_own_socket(ctx->rx_queue_index);

	return leave(action == XDP_REDIRECT ? XN_E_steer_to_guest : XN_E_steer_no_socket, action);
}

/* The configuration in force. */
static __always_inline const struct xn_rss_image *image(void)
{
	__u32 at = *(const volatile __u32 *)&image_now - 1;   /* 0: no such place */

	return bpf_map_lookup_elem(&images, &at);
}

static __always_inline int is_disabled(__u32 guest_queue)
{
	return disabled[guest_queue & (XN_STEER_MAX_QUEUES - 1)];
}

/* By flow: no queue is better than that on which it came, if it may not go to the other. */
static __always_inline __u32 to_sender(__u32 known, __u32 hash, __u32 from)
{
	__u32 to = from;

	if (known)
		to = xn_flow_queue(*(volatile __u8 *)&flows[hash & (XN_FLOW_SLOTS - 1)], from, rss_pairs);
	return is_disabled(to) ? from : to;
}

/* A frame for guest queue `to` that came on host queue `from`, its own one being another. */
static __always_inline int correct(struct queue_counts *c, __u32 from, __u32 to)
{
	int action = (int)bpf_redirect_map(&grid, from * rss_pairs + to, XDP_DROP);

	if (action == XDP_REDIRECT) {
		c->v[XN_Q_missteered]++;
		return action;
	}
	if (is_disabled(from)) {
		c->v[XN_Q_disabled]++;
		return XDP_DROP;
	}
	action = to_own_socket(first_queue + from);
	if (action != XDP_REDIRECT)
		return leave(XN_E_steer_no_socket, action);
	c->v[XN_Q_unfixed]++;
	return action;
}

static __always_inline int by_rss(const struct xdp_md *ctx, const struct xn_rss_image *img)
{
	const __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 from = ctx->rx_queue_index - first_queue, to = img->unclassified;
	struct queue_counts *c;
	__u32 hash = 0, known;
	int action;

	if (from >= rss_pairs)
		return plain(ctx);
	known = xn_rss_hash(img, data, end, &hash);
	if (img->by_flow)
		to = to_sender(known, hash, from);
	else if (known)
		to = xn_rss_queue(img, hash);
	c = bpf_map_lookup_elem(&queues, &to);
	if (!c)   /* no configuration names such a queue */
		return leave(XN_E_steer_no_socket, XDP_DROP);
	if (!known && !img->by_flow)
		c->v[XN_Q_unclassified]++;
	if (is_disabled(to)) {
		c->v[XN_Q_disabled]++;
		return XDP_DROP;
	}
	if (from != to)
		return correct(c, from, to);
	action = to_own_socket(first_queue + from);
	if (action != XDP_REDIRECT)
		return leave(XN_E_steer_no_socket, action);
	c->v[XN_Q_exact]++;
	return action;
}

/* Of all parts of a frame. Headers lie in the first one, which data and data_end show; drivers
 * put hundreds of bytes there at least, and all else is taken for a frame that ends there. */
static __always_inline __u64 length(const struct xdp_md *ctx)
{
	return frags ? bpf_xdp_get_buff_len((struct xdp_md *)ctx) : ctx->data_end - ctx->data;
}

/* What comes before the choice of a socket: true, and the action, if there is none to make. */
static __always_inline int decided(const struct xdp_md *ctx, int *action)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 now;

	if (filter_mac && (data + ETH_HLEN > end || !is_ours(data))) {
		*action = leave(XN_E_steer_not_ours, XDP_PASS);
		return 1;
	}
	now = *(const volatile __u32 *)&filter_now;
	if (now && !xn_filter_image_takes(&filters[(now - 1) & 1], data, end)) {
		*action = leave(XN_E_steer_unwanted, XDP_DROP);
		return 1;
	}
	if (length(ctx) > frame_bytes) {
		*action = leave(XN_E_steer_too_long, XDP_DROP);
		return 1;
	}
	return 0;
}

/* One of the two is loaded: this one, which knows nothing of RSS, */
SEC("xdp")
int xn_steer(struct xdp_md *ctx)
{
	int action;

	return decided(ctx, &action) ? action : plain(ctx);
}

/* ... or this one. */
SEC("xdp")
int xn_steer_rss(struct xdp_md *ctx)
{
	const struct xn_rss_image *img;
	int action;

	if (decided(ctx, &action))
		return action;
	img = image();
	return img ? by_rss(ctx, img) : plain(ctx);
}
