/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves on a real veth with a large MTU that what a guest sends leaves as it should, byte by
 * byte: frames up to 65535 + 14 bytes in any pieces, to a packet socket and (with checksums,
 * which the kernel looks at) to a UDP socket of the peer's; segments longer than a chunk; what
 * was to be cut, whole. And what becomes of frames that are longer than the peer's MTU.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/offload.h"
#include "tests/cmocka.h"
#include "tests/fake/packet.h"
#include "tests/net/rig.h"

#define F(n)    (1ull << (n))
#define IND     F(VIRTIO_RING_F_INDIRECT_DESC)
#define OFFLOAD (F(VIRTIO_NET_F_CSUM) | F(VIRTIO_NET_F_HOST_TSO4) | F(VIRTIO_NET_F_HOST_TSO6) | \
		 F(XN_NET_F_HOST_USO) | IND)
#define DATA_AT  0x200000u
#define TABLE_AT 0x1f0000u
#define FRAME_MAX 65600u
#define TX 1u

static uint8_t frame[FRAME_MAX], got[FRAME_MAX + 64];
static struct virtio_net_hdr hdr;
static unsigned seed = 3;

/* ---- the guest ---- */

/* Header, then `bytes` bytes of the frame in pieces of this length (and the last); waits until
 * the chain is back. */
static void send_frame(struct rig *r, uint32_t bytes, uint32_t first, uint32_t piece)
{
	struct drv_seg segs[200];
	uint64_t at = DATA_AT + 4096 + (uint64_t)rand_r(&seed) % 4096;
	uint16_t head, back;
	uint32_t used;
	unsigned n = 1;

	memset(r->drv.ram + DATA_AT, 0, DRV_HDR);
	memcpy(r->drv.ram + DATA_AT, &hdr, sizeof(hdr));
	segs[0] = (struct drv_seg){ DATA_AT, DRV_HDR };
	for (uint32_t done = 0; done < bytes; n++) {
		const uint32_t len = XN_MIN(n == 1 ? first : piece, bytes - done);

		assert_true(n < XN_ARRAY_SIZE(segs));
		segs[n] = (struct drv_seg){ at, len };
		memcpy(r->drv.ram + at, frame + done, len);
		done += len;
		at += len + 100;
	}
	assert_true(at < RIG_RAM);
	head = drv_post_indirect(&r->drv, TX, TABLE_AT, segs, n);
	assert_true(rig_wait_used(r, TX, &back, &used));
	assert_int_equal(back, head);
}

/* The next frame from the guest at the far end; 0 if none comes. */
static uint32_t far_recv(struct rig *r, int timeout_ms)
{
	struct pollfd p = { .fd = r->far, .events = POLLIN };

	while (poll(&p, 1, timeout_ms) == 1) {
		const ssize_t n = recv(r->far, got, sizeof(got), MSG_TRUNC);

		assert_true(n <= (ssize_t)sizeof(got));
		if (n >= 14 && !memcmp(got + 6, frame + 6, 6))
			return (uint32_t)n;
	}
	return 0;
}

static void assert_arrived(struct rig *r, const uint8_t *want, uint32_t bytes)
{
	assert_int_equal(far_recv(r, RIG_SOON_MS), bytes);
	if (memcmp(got, want, bytes))
		for (uint32_t i = 0; i < bytes; i++)
			if (got[i] != want[i])
				fail_msg("of %u bytes, byte %u is %02x, not %02x", bytes, i, got[i], want[i]);
}

static uint64_t sum_of(const struct rig *r)
{
	uint64_t h = 14695981039346656037ull;

	for (uint32_t i = DATA_AT; i < RIG_RAM; i++)
		h = (h ^ r->drv.ram[i]) * 1099511628211ull;
	return h;
}

static void set_mtu(const char *ifname, int mtu)
{
	struct ifreq req = { .ifr_mtu = mtu };
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(req.ifr_name, ifname);
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &req), 0);
	close(fd);
}

/* ---- frames ---- */

static const struct { uint32_t first, piece; } pieces[] = {
	{ 65600, 65600 }, { 54, 65600 }, { 42, 4096 }, { 3800, 3800 }, { 1, 33000 }, { 2049, 2049 },
	{ 400, 400 },
};

static void any_frame(const char *options, uint32_t mtu)
{
	const uint32_t lens[] = { 1514, 4000, 4096, 4097, 8192, 9000, 9014, 16000, 36000, 64000, 65549 };
	uint64_t sent = 0;
	struct rig r;

	hdr = (struct virtio_net_hdr){ 0 };
	rig_open(&r, &(struct rig_cfg){ .mtu = mtu, .features = IND, .options = options });
	for (unsigned i = 0; i < XN_ARRAY_SIZE(lens) && lens[i] <= mtu + 14; i++)
		for (unsigned k = 0; k < XN_ARRAY_SIZE(pieces); k++) {
			if (lens[i] / pieces[k].piece > 180)
				continue;
			rig_frame(&r, frame, lens[i], i * 16 + k);
			send_frame(&r, lens[i], pieces[k].first, pieces[k].piece);
			assert_arrived(&r, frame, lens[i]);
			sent++;
		}
	assert_int_equal(rig_stat(&r, "tx_packets"), sent);
	assert_int_equal(rig_stat(&r, "kernel_tx_invalid"), 0);
	rig_frame(&r, frame, mtu + 15, 1);
	send_frame(&r, mtu + 15, 65600, 65600);
	assert_int_equal(rig_stat(&r, "tx_drop_too_long"), 1);
	assert_int_equal(far_recv(&r, 50), 0);
	rig_close(&r);
}

static void frames_of_any_length_arrive_in_any_pieces(void **state)
{
	any_frame(NULL, 65535);
	any_frame(NULL, 9000);
}

static void the_same_with_descriptors_for_nothing_and_at_any_price(void **state)
{
	any_frame(",tx=chain", 65535);
	any_frame(",tx=gather", 65535);
	any_frame(",mode=bounce", 65535);
}

/* Many in a row, so that a system call ends inside of packets. */
static void many_frames_arrive_whole_and_in_order(void **state)
{
	enum { N = 40, SLOT = 0x8000 };
	struct rig r;

	hdr = (struct virtio_net_hdr){ 0 };
	rig_open(&r, &(struct rig_cfg){ .mtu = 65535, .features = IND, .options = ",budget=32" });
	for (unsigned round = 0; round < 20; round++) {
		unsigned back = 0;

		for (unsigned i = 0; i < N; i++) {
			const uint64_t at = DATA_AT + i * SLOT;
			const struct drv_seg seg = { at, DRV_HDR + 20000 + i };

			memset(r.drv.ram + at, 0, DRV_HDR);
			rig_frame(&r, r.drv.ram + at + DRV_HDR, 20000 + i, round * N + i);
			drv_post(&r.drv, TX, &seg, 1);
		}
		for (uint32_t used; back < N; back++) {
			uint16_t head;

			assert_true(rig_wait_used(&r, TX, &head, &used));
		}
		for (unsigned i = 0; i < N; i++) {
			rig_frame(&r, frame, 20000 + i, round * N + i);
			assert_arrived(&r, frame, 20000 + i);
		}
	}
	assert_true(rig_stat(&r, "tx_kick_again") > 0);
	rig_close(&r);
}

/* ---- UDP, whose checksum the peer's kernel looks at ---- */

static int udp_socket(const struct xn_lab *lab, const char *address, uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct ifreq req = { .ifr_addr.sa_family = AF_INET };
	int big = 8 << 20, fd;

	assert_int_equal(xn_lab_enter_far(lab), 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	strcpy(req.ifr_name, XN_LAB_FAR);
	assert_int_equal(inet_pton(AF_INET, address, &((struct sockaddr_in *)&req.ifr_addr)->sin_addr), 1);
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &req), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	assert_int_equal(xn_lab_leave(lab), 0);
	return fd;
}

#define UDP_HEADERS 42u

/* A datagram to 10.9.0.2, its checksum unfinished. Returns the frame's length. */
static uint32_t make_udp(const struct rig *r, uint32_t payload, uint32_t what)
{
	static const uint8_t addresses[] = { 10, 9, 0, 1, 10, 9, 0, 2 };
	uint8_t *ip = frame + 14, *udp = frame + 34;
	const uint32_t l4 = 8 + payload;
	uint16_t sum;

	memset(frame, 0, UDP_HEADERS);
	memcpy(frame, r->lab.far_mac, 6);
	memcpy(frame + 6, r->lab.near_mac, 6);
	frame[12] = 8;
	ip[0] = 0x45;
	xn_put_be16(ip + 2, (uint16_t)(20 + l4));
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, addresses, sizeof(addresses));
	sum = (uint16_t)~pkt_sum(ip, 20);
	xn_put_be16(ip + 10, sum);
	xn_put_be16(udp, 1000);
	xn_put_be16(udp + 2, 2000);
	xn_put_be16(udp + 4, (uint16_t)l4);
	for (uint32_t i = 0; i < payload; i++)
		udp[8 + i] = (uint8_t)(what + i * 5 + (i >> 8));
	/* The pseudo-header's sum: all of it, less that of what follows. */
	sum = pkt_sum_l4(ip, ip + 16, IPPROTO_UDP, udp, 0);
	sum = (uint16_t)((sum + l4) % 0xffff);
	xn_put_be16(udp + 6, sum);
	hdr = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6 };
	return UDP_HEADERS + payload;
}

static void datagrams_with_unfinished_checksums_reach_a_socket(void **state)
{
	static const uint32_t payloads[] = { 1472, 4054, 4055, 8958, 30001, 63958, 65507 };
	uint64_t hash, sent = 0;
	struct rig r;
	int fd;

	rig_open(&r, &(struct rig_cfg){ .mtu = 65535, .features = OFFLOAD });
	fd = udp_socket(&r.lab, "10.9.0.2", 2000);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(payloads); i++)
		for (unsigned k = 0; k < XN_ARRAY_SIZE(pieces); k++) {
			struct pollfd p = { .fd = fd, .events = POLLIN };
			uint32_t bytes;

			if (payloads[i] / pieces[k].piece > 180)
				continue;
			bytes = make_udp(&r, payloads[i], i * 16 + k);
			memset(r.drv.ram + DATA_AT, 0, RIG_RAM - DATA_AT);
			send_frame(&r, bytes, pieces[k].first, pieces[k].piece);
			hash = sum_of(&r);
			if (poll(&p, 1, RIG_SOON_MS) != 1)
				fail_msg("%u bytes in pieces of %u: nothing came", bytes, pieces[k].piece);
			assert_int_equal(recv(fd, got, sizeof(got), 0), payloads[i]);
			assert_memory_equal(got, frame + UDP_HEADERS, payloads[i]);
			assert_true(hash == sum_of(&r));
			sent++;
		}
	assert_int_equal(rig_stat(&r, "tx_csum"), sent);
	assert_true(rig_stat(&r, "tx_mixed") > sent / 4);
	close(fd);
	rig_close(&r);
}

/* ---- segments ---- */

static void segments(const char *options, uint32_t mtu, uint16_t gso_size, bool whole)
{
	static struct pkt pkt;
	static uint8_t want[PKT_MAX];
	struct rig r;

	rig_open(&r, &(struct rig_cfg){ .mtu = mtu, .features = OFFLOAD, .options = options });
	for (unsigned i = 0; i < 40; i++) {
		const unsigned k = i % XN_ARRAY_SIZE(pieces);
		const struct pkt_spec spec = {
			.version = i & 1 ? 6 : 4, .udp = i % 5 == 0, .tcp_options = 3, .tcp_flags = 0x18,
			.gso_size = gso_size, .payload = 30000 + 1234 * (i % 20), .seed = i + 1,
		};
		uint32_t n, bytes;

		pkt_build(&pkt, &spec);
		memcpy(frame, pkt.data, pkt.bytes);
		hdr = pkt.hdr;
		send_frame(&r, pkt.bytes, pieces[k].first, pieces[k].piece);
		n = whole ? 1 : (spec.payload + gso_size - 1) / gso_size;
		for (uint32_t s = 0; s < n; s++) {
			bytes = pkt_segment(pkt.data, pkt.bytes, pkt.ip_at, pkt.l4_at, pkt_dst_at(&pkt, &spec),
					    spec.udp, whole ? spec.payload : gso_size, s, want);
			assert_arrived(&r, want, bytes);
		}
	}
	assert_int_equal(rig_stat(&r, "tx_segmented"), whole ? 0 : 40);
	assert_int_equal(rig_stat(&r, "tx_whole"), whole ? 40 : 0);
	assert_int_equal(far_recv(&r, 50), 0);
	rig_close(&r);
}

static void segments_of_any_length_are_those_that_were_asked_for(void **state)
{
	segments(NULL, 9000, 8928, false);
	segments(NULL, 9000, 1448, false);
	segments(NULL, 65535, 16000, false);
	segments(",tx=chain", 9000, 8928, false);
	segments(",tx=chain", 9000, 1448, false);
}

static void what_was_to_be_cut_leaves_whole_on_request(void **state)
{
	segments(",gso=whole", 65535, 1448, true);
}

/* ---- too long for the peer ---- */

/* The kernel looks at the peer's MTU where it hands a frame over, and drops what is longer: it
 * is counted, the guest goes on, and nothing is tried again. */
static void a_frame_longer_than_the_peers_mtu_is_lost_and_the_next_arrives(void **state)
{
	struct rig r;

	hdr = (struct virtio_net_hdr){ 0 };
	rig_open(&r, &(struct rig_cfg){ .mtu = 9000, .features = IND });
	assert_int_equal(xn_lab_enter_far(&r.lab), 0);
	set_mtu(XN_LAB_FAR, 4000);
	assert_int_equal(xn_lab_leave(&r.lab), 0);
	for (unsigned i = 0; i < 10; i++) {
		rig_frame(&r, frame, 9000, i);
		send_frame(&r, 9000, 9000, 9000);
		rig_frame(&r, frame, 4000, i);
		send_frame(&r, 4000, 4000, 4000);
		assert_arrived(&r, frame, 4000);
	}
	assert_int_equal(rig_stat(&r, "tx_packets"), 20);
	assert_int_equal(rig_stat(&r, "tx_kick_errors"), 0);
	assert_int_equal(rig_stat(&r, "tx_kick_drops"), 10);    /* the kernel says so, Linux 6.18 */
	rig_close(&r);
}

/* The interface's own becomes less, and what it was again: frames have to keep to it. */
static void an_mtu_that_changes_is_heeded(void **state)
{
	static const struct { int mtu; uint32_t longest; } steps[] = {
		{ 4000, 4014 }, { 1500, 1514 }, { 9000, 9014 }, { 20000, 9014 },
	};
	struct rig r;

	hdr = (struct virtio_net_hdr){ 0 };
	rig_open(&r, &(struct rig_cfg){ .mtu = 9000, .features = IND });
	assert_int_equal(xn_lab_enter_far(&r.lab), 0);
	set_mtu(XN_LAB_FAR, 20000);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(steps); i++) {
		const uint64_t dropped = rig_stat(&r, "tx_drop_too_long");

		assert_int_equal(xn_lab_enter_near(&r.lab), 0);
		set_mtu(XN_LAB_NEAR, steps[i].mtu);
		assert_int_equal(xn_lab_leave(&r.lab), 0);
		xn_dev_handle_events(r.dev);
		rig_frame(&r, frame, steps[i].longest, i);
		send_frame(&r, steps[i].longest, 65600, 65600);
		assert_arrived(&r, frame, steps[i].longest);
		rig_frame(&r, frame, steps[i].longest + 1, i);
		send_frame(&r, steps[i].longest + 1, 65600, 65600);
		assert_int_equal(rig_stat(&r, "tx_drop_too_long"), dropped + 1);
		assert_int_equal(far_recv(&r, 20), 0);
	}
	rig_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_of_any_length_arrive_in_any_pieces),
		cmocka_unit_test(the_same_with_descriptors_for_nothing_and_at_any_price),
		cmocka_unit_test(many_frames_arrive_whole_and_in_order),
		cmocka_unit_test(datagrams_with_unfinished_checksums_reach_a_socket),
		cmocka_unit_test(segments_of_any_length_are_those_that_were_asked_for),
		cmocka_unit_test(what_was_to_be_cut_leaves_whole_on_request),
		cmocka_unit_test(a_frame_longer_than_the_peers_mtu_is_lost_and_the_next_arrives),
		cmocka_unit_test(an_mtu_that_changes_is_heeded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
