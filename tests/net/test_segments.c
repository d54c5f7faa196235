/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that what port/segment.h and port/gather.h make of a guest's packet is, byte by
 * byte, what Linux makes of it: the same packet with the same virtio-net header is given to
 * a packet socket (PACKET_VNET_HDR) on a veth without any offload, so that the kernel cuts
 * it and finishes checksums in software; at the far end the frames are compared. And that a
 * kernel with offloads sends checksums that port/rx_csum.h recognises and finishes. And that what
 * engine/gro.h makes of frames is what Linux takes, which is a guest's way to look at it as well
 * (virtio_net_hdr_to_skb), and cuts into the frames that had come.
 */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/gro.h"
#include "port/rx_csum.h"
#include "port/segment.h"
#include "tests/cmocka.h"
#include "tests/fake/packet.h"
#include "tests/net/rig.h"
#include "virtio/offload.h"

#define MTU     1500u
#define SOON_MS RIG_SOON_MS
#define BACKLOG 900u     /* frames that may wait on veth: net.core.netdev_max_backlog, 1000 */

static struct {
	struct xn_lab lab;
	int near, far;       /* packet sockets */
} bed;

static struct pkt pkt;
static struct pkt_spec spec;
static struct xn_offload off;
static uint8_t ours[PKT_MAX], theirs[PKT_MAX];

static int ethtool(uint32_t cmd, uint32_t value)
{
	struct ethtool_value v = { .cmd = cmd, .data = value };
	struct ifreq r = { .ifr_data = (char *)&v };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	strcpy(r.ifr_name, XN_LAB_NEAR);
	err = ioctl(fd, SIOCETHTOOL, &r) ? -errno : 0;
	close(fd);
	return err;
}

static void open_bed(bool offload)
{
	struct sockaddr_ll sa = { .sll_family = AF_PACKET };
	const struct xn_lab_cfg cfg = { .queues = 1, .mtu = MTU };
	int one = 1, big = 8 << 20;

	assert_int_equal(xn_lab_create(&bed.lab, &cfg), 0);
	bed.far = rig_far_socket(&bed.lab);
	assert_int_equal(setsockopt(bed.far, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)), 0);

	assert_int_equal(xn_lab_enter_near(&bed.lab), 0);
	assert_int_equal(ethtool(ETHTOOL_STSO, 0), 0);
	if (!offload)    /* without it no segmentation is left to the device either */
		assert_int_equal(ethtool(ETHTOOL_STXCSUM, 0), 0);
	bed.near = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(bed.near >= 0);
	assert_int_equal(setsockopt(bed.near, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)), 0);
	setsockopt(bed.near, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof(big));
	sa.sll_ifindex = (int)bed.lab.near_ifindex;
	assert_int_equal(bind(bed.near, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(xn_lab_leave(&bed.lab), 0);
}

static void close_bed(void)
{
	close(bed.near);
	close(bed.far);
	xn_lab_destroy(&bed.lab);
}

/* The kernel's error, 0 if it takes the packet. */
static int send_to_kernel(void)
{
	struct iovec iov[2] = { { &pkt.hdr, sizeof(pkt.hdr) }, { pkt.data, pkt.bytes } };

	return writev(bed.near, iov, 2) == (ssize_t)(sizeof(pkt.hdr) + pkt.bytes) ? 0 : -errno;
}

/* The kernel takes the outer VLAN tag out of a frame that arrives. */
static uint32_t with_tag(struct msghdr *m, uint32_t n)
{
	struct tpacket_auxdata aux = { 0 };

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA)
			memcpy(&aux, CMSG_DATA(c), sizeof(aux));
	if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
		return n;
	memmove(theirs + 16, theirs + 12, n - 12);
	xn_put_be16(theirs + 12, aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid :
									     ETH_P_8021Q);
	xn_put_be16(theirs + 14, aux.tp_vlan_tci);
	return n + 4;
}

/* The next frame at the far end; 0 if none comes. */
static uint32_t receive(int timeout_ms)
{
	union { struct cmsghdr align; char bytes[256]; } control;
	struct iovec iov = { theirs, sizeof(theirs) - 4 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &control, .msg_controllen = sizeof(control) };
	struct pollfd p = { .fd = bed.far, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, timeout_ms) != 1)
		return 0;
	n = recvmsg(bed.far, &m, 0);
	return n > 0 ? with_tag(&m, (uint32_t)n) : 0;
}

/* Sends a frame that is like no other; how many came before it: all that the kernel has made of
 * what it was given before. (In order, since all of it is sent on one processor: main.) */
static unsigned frames_until_mark(void)
{
	static const struct virtio_net_hdr none;
	uint8_t mark[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb6 };
	struct iovec iov[2] = { { (void *)&none, sizeof(none) }, { mark, sizeof(mark) } };
	unsigned frames = 0;
	uint32_t n;

	assert_int_equal(writev(bed.near, iov, 2), sizeof(none) + sizeof(mark));
	while ((n = receive(SOON_MS)) != sizeof(mark) || memcmp(theirs, mark, sizeof(mark)) != 0) {
		assert_int_not_equal(n, 0);
		frames++;
	}
	return frames;
}

/* Of what kind the packet is, for messages. */
static const char *kind(void)
{
	static char text[160];

	snprintf(text, sizeof(text),
		 "IPv%u at %u, %s at %u, payload at %u, %u bytes, tags %u, ext %x, flags %02x, "
		 "gso %u",
		 spec.version, pkt.ip_at, spec.udp ? "UDP" : "TCP", pkt.l4_at, pkt.payload_at,
		 pkt.bytes, spec.tags, spec.ip6_ext, spec.tcp_flags, spec.gso_size);
	return text;
}

static void assert_frame(uint32_t i, uint32_t n)
{
	const uint32_t got = receive(SOON_MS);

	if (got != n)
		fail_msg("frame %u has %u bytes, the kernel's %u: %s", i, n, got, kind());
	for (uint32_t k = 0; k < n; k++)
		if (ours[k] != theirs[k])
			fail_msg("frame %u of %u, byte %u of %u: %02x, the kernel's is %02x: %s", i,
				 off.segs, k, n, ours[k], theirs[k], kind());
}

static enum xn_offload_fault take(void)
{
	const struct xn_offload_rules r = { .features = ~0ull, .max_frame = MTU + 18 };

	memcpy(off.head, pkt.data, xn_offload_wants(&pkt.hdr, pkt.bytes));
	return xn_offload_check(&r, &pkt.hdr, pkt.bytes, &off);
}

static void assert_same_as_kernel(void)
{
	const struct xn_piece piece = { .len = pkt.bytes };
	uint8_t *dst = ours;
	const struct xn_chunks to = { &dst, sizeof(ours) };
	struct xn_segs s;

	if (off.gso == XN_GSO_NONE) {
		xn_gather_csum(&off, pkt.data, &piece, &to);
		assert_frame(0, pkt.bytes);
		return;
	}
	xn_segs_begin(&s, &off, pkt.data, &piece);
	for (uint32_t i = 0; !xn_segs_done(&s); i++)
		assert_frame(i, xn_segs_gather(&s, &to));
}

static void segments_and_checksums_are_those_of_linux(void **state)
{
	unsigned cut[2][2] = { { 0 } }, whole = 0;
	uint32_t rnd = 808;

	open_bed(false);
	for (unsigned i = 0; i < 3000; i++) {
		pkt_spec_random(&spec, &rnd, i % 30 ? 5000 : 64000);
		pkt_build(&pkt, &spec);
		if (i % 8 == 0 && spec.payload >= 2)
			pkt_make_zero(&pkt, &spec);
		if (take() != XN_OFFLOAD_OK || (off.gso != XN_GSO_NONE && off.segs > BACKLOG))
			continue;
		/* What is one segment is one here; Linux counts TCP's options as payload first, and
		 * drops it when it finds out (virtio_net_hdr_to_skb, tcp_gso_segment). */
		if (off.gso == XN_GSO_NONE &&
		    (pkt.bytes - pkt.l4_at - (spec.udp ? 8u : 20u) > spec.gso_size ||
		     pkt.bytes > MTU + 14 + 4u * !!spec.tags))
			continue;
		if (send_to_kernel())
			fail_msg("the kernel does not take what we do: %s", kind());
		assert_same_as_kernel();
		if (off.gso != XN_GSO_NONE)
			cut[spec.version == 6][spec.udp]++;
		else
			whole++;
	}
	assert_int_equal(frames_until_mark(), 0);
	for (unsigned v = 0; v < 2; v++)
		for (unsigned u = 0; u < 2; u++)
			assert_true(cut[v][u] > 100);
	assert_true(whole > 100);
	close_bed();
}

/* What is refused here makes no frame there either. (Not the other way round: some of what
 * Linux takes is not negotiated, or bounded, or legal.) */
static void what_linux_takes_and_sends_is_not_refused(void **state)
{
	unsigned both = 0, refused = 0;
	uint32_t rnd = 909;

	open_bed(false);
	for (unsigned i = 0; i < 3000; i++) {
		enum xn_offload_fault f;
		unsigned frames = 0;

		pkt_spec_random(&spec, &rnd, 3000);
		pkt_build(&pkt, &spec);
		((uint8_t *)&pkt.hdr)[pkt_random(&rnd) % sizeof(pkt.hdr)] ^= (uint8_t)pkt_random(&rnd);
		pkt.hdr.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
		f = take();
		if (f == XN_OFFLOAD_OK) {
			both++;
			continue;
		}
		refused++;
		/* A negotiation's and bounds: Linux has none, or others. (In an untagged frame it lets
		 * a tag's 4 bytes be used for more payload than the MTU allows.) */
		if (f == XN_OFFLOAD_gso_csum || f == XN_OFFLOAD_gso_size ||
		    f == XN_OFFLOAD_gso_segments || f == XN_OFFLOAD_gso_too_long)
			continue;
		if (!send_to_kernel())
			frames = frames_until_mark();
		/* One may be a packet that is short enough to be none to be cut: there Linux does not
		 * look at headers. */
		if (frames > 1)
			fail_msg("%s, and Linux makes %u frames of it (type %u, size %u, start %u, "
				 "offset %u): %s", xn_offload_fault_name(f), frames, pkt.hdr.gso_type,
				 pkt.hdr.gso_size, pkt.hdr.csum_start, pkt.hdr.csum_offset, kind());
	}
	assert_true(both > 500 && refused > 500);
	close_bed();
}

static void assert_good(const struct xn_rx_csum *c)
{
	assert_true(xn_rx_csum_good(c, xn_sum_bytes(theirs + c->start, c->end - c->start)));
}

static void checksums_that_linux_leaves_unfinished_are_recognised(void **state)
{
	uint32_t rnd = 707;

	open_bed(true);
	for (unsigned i = 0; i < 1000; i++) {
		struct xn_rx_csum c[2];
		uint32_t n;

		pkt_spec_random(&spec, &rnd, 1300);
		spec.gso_size = 0;
		pkt_build(&pkt, &spec);
		assert_int_equal(take(), XN_OFFLOAD_OK);
		assert_int_equal(send_to_kernel(), 0);
		n = receive(SOON_MS);
		assert_int_equal(n, pkt.bytes);
		assert_memory_equal(theirs, pkt.data, n);      /* veth left it as it was */
		assert_int_equal(xn_rx_csum_unfinished(c, theirs, XN_MIN(n, XN_HEAD_BYTES), n), 1);
		assert_int_equal(c->start, pkt.hdr.csum_start);
		assert_int_equal(c->at, pkt.hdr.csum_start + pkt.hdr.csum_offset);
		xn_rx_csum_finish(c, theirs);
		assert_good(c);
	}
	close_bed();
}

/* ---- put together, and cut up by Linux ---- */

#define FRAMES 44u
#define PLACE  2048u    /* of a buffer */
#define HDR    12u

static struct xn_rx_buf bufs[FRAMES];
static uint8_t ram[FRAMES * PLACE], came[FRAMES][PLACE];
static uint32_t came_bytes[FRAMES];

/* The packet `spec` as a network brings it, in buffers of one frame each. */
static unsigned lay_frames(struct xn_gro *c, struct xn_rx_done *done)
{
	unsigned n = 0;

	pkt_build(&pkt, &spec);
	for (uint32_t at = 0; at < spec.payload; at += spec.gso_size, n++) {
		const struct xn_chain buf = { .at = XN_UOFF((uint64_t)n * PLACE), .bytes = PLACE, .n_pieces = 1,
					      .head = (uint16_t)n };

		came_bytes[n] = pkt_segment(pkt.data, pkt.bytes, pkt.ip_at, pkt.l4_at, pkt_dst_at(&pkt, &spec),
					    spec.udp, spec.gso_size, n, came[n]);
		memcpy(ram + buf.at.v + HDR, came[n], came_bytes[n]);
		done[n] = (struct xn_rx_done){ .at = buf.at, .len = came_bytes[n], .id = buf.head };
		xn_gro_note(c, &buf, 1);
	}
	return n;
}

/* As the guest gets it: into `pkt`. */
static void take_packet(const struct xn_rx_done *d, unsigned entries)
{
	uint32_t skip = HDR;

	pkt.hdr = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = d->gso_type,
					   .hdr_len = d->headers, .gso_size = d->gso_size,
					   .csum_start = d->csum_start, .csum_offset = d->csum_offset };
	pkt.bytes = 0;
	for (unsigned i = 0; i < entries; i++, skip = 0) {
		memcpy(pkt.data + pkt.bytes, ram + d[i].at.v + skip, d[i].len);
		pkt.bytes += d[i].len;
	}
}

static void what_is_put_together_linux_cuts_into_what_had_come(void **state)
{
	const struct xn_mem mem = { .base = ram };
	struct xn_gro *c = xn_gro_create(&mem, bufs, HDR, FRAMES, FRAMES);
	struct xn_rx_done done[FRAMES];
	uint32_t rnd = 505;

	assert_non_null(c);
	open_bed(false);
	c->tcp4 = c->tcp6 = c->udp4 = c->udp6 = true;
	for (unsigned i = 0; i < 800; i++) {
		const struct xn_rx_done *out;
		unsigned n;

		spec = (struct pkt_spec){ .version = i & 1 ? 4 : 6, .udp = i & 2, .tcp_options = 3 * (i & 4) / 4,
					  .tcp_flags = 0x18, .seed = i + 1,
					  .gso_size = (uint16_t)(100 + pkt_random(&rnd) % 1300) };
		spec.payload = spec.gso_size + 1 + pkt_random(&rnd) % (spec.gso_size * (FRAMES - 1));
		c->n_spares = 0;
		n = lay_frames(c, done);
		/* Short ones of TCP are left alone. */
		if (!spec.udp && came_bytes[n - 1] < XN_GRO_LEAST)
			continue;
		out = xn_gro_batch(c, done, n);
		assert_int_equal(c->packets, 1);
		assert_int_equal(c->joined, n - 1);
		take_packet(out, c->entries);
		if (send_to_kernel())
			fail_msg("Linux does not take it: %s", kind());
		for (unsigned k = 0; k < n; k++)
			if (receive(SOON_MS) != came_bytes[k] || memcmp(theirs, came[k], came_bytes[k]))
				fail_msg("frame %u of %u is not what had come: %s", k, n, kind());
	}
	assert_int_equal(frames_until_mark(), 0);
	xn_gro_destroy(c);
	close_bed();
}

/* ---- in a tunnel ---- */

#define OUTER 50u    /* Ethernet, IPv4, UDP, VXLAN */

/* A VXLAN device over the near end, its far end the far end. False: this kernel has none. */
static bool open_tunnel(const char *udpcsum)
{
	struct sockaddr_ll sa = { .sll_family = AF_PACKET };
	const uint8_t *m = bed.lab.far_mac;
	char cmd[512];
	bool ok;

	snprintf(cmd, sizeof(cmd),
		 "{ ip addr add 192.0.2.1/24 dev " XN_LAB_NEAR
		 " && ip neigh add 192.0.2.2 lladdr %02x:%02x:%02x:%02x:%02x:%02x dev " XN_LAB_NEAR
		 " && ip link add t0 mtu 1450 type vxlan id 7 remote 192.0.2.2 dstport 4789 dev "
		 XN_LAB_NEAR " %s && ip link set t0 up; } > /dev/null 2>&1",
		 m[0], m[1], m[2], m[3], m[4], m[5], udpcsum);
	assert_int_equal(xn_lab_enter_near(&bed.lab), 0);
	ok = system(cmd) == 0;    /* NOLINT(cert-env33-c): of fixed words */
	if (ok) {
		sa.sll_ifindex = (int)if_nametoindex("t0");
		assert_int_equal(bind(bed.near, (struct sockaddr *)&sa, sizeof(sa)), 0);
	}
	assert_int_equal(xn_lab_leave(&bed.lab), 0);
	return ok;
}

/* What Linux leaves unfinished is the inner checksum; an outer one is right once that is. */
static void unfinished_checksums_in_tunnels_of_linux_are_recognised(void **state)
{
	static const char *const ways[] = { "noudpcsum", "udpcsum" };
	uint32_t rnd = 606;

	for (unsigned w = 0; w < XN_ARRAY_SIZE(ways); w++) {
		open_bed(true);
		if (!open_tunnel(ways[w])) {
			close_bed();
			print_message("skipped: this kernel, or ip, makes no VXLAN device\n");
			skip();
		}
		for (unsigned i = 0; i < 300; i++) {
			struct xn_rx_csum c[2], outer;
			unsigned k;
			uint32_t n;

			pkt_spec_random(&spec, &rnd, 1000);
			spec.gso_size = 0;
			pkt_build(&pkt, &spec);
			if (OUTER + pkt.l4_at + 20 > XN_HEAD_BYTES)
				continue;
			pkt.data[0] = 2;      /* to one station; from one */
			pkt.data[6] = 2;
			assert_int_equal(send_to_kernel(), 0);
			n = receive(SOON_MS);
			assert_int_equal(n, OUTER + pkt.bytes);
			assert_memory_equal(theirs + OUTER, pkt.data, pkt.bytes);
			/* (2: an outer one that looks unfinished by chance.) */
			k = xn_rx_csum_unfinished(c, theirs, XN_MIN(n, XN_HEAD_BYTES), n);
			assert_in_range(k, 1, 1 + w);
			assert_int_equal(c->start, OUTER + pkt.l4_at);
			assert_int_equal(c->at, c->start + pkt.hdr.csum_offset);
			assert_int_equal(c->end, n);
			xn_rx_csum_finish(c, theirs);
			assert_good(c);
			assert_int_equal(xn_rx_csum_find(&outer, theirs, XN_HEAD_BYTES, n), w);
			if (w)
				assert_good(&outer);
		}
		close_bed();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_and_checksums_are_those_of_linux),
		cmocka_unit_test(what_linux_takes_and_sends_is_not_refused),
		cmocka_unit_test(checksums_that_linux_leaves_unfinished_are_recognised),
		cmocka_unit_test(what_is_put_together_linux_cuts_into_what_had_come),
		cmocka_unit_test(unfinished_checksums_in_tunnels_of_linux_are_recognised),
	};
	cpu_set_t here;

	/* veth hands frames to the receiver's stack by processor: from one they stay in order. */
	CPU_ZERO(&here);
	CPU_SET((size_t)sched_getcpu(), &here);
	sched_setaffinity(0, sizeof(here), &here);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
