/* SPDX-License-Identifier: BSD-2-Clause */
/* A fuzzer's guest. Picture and promise in tests/fuzz/guest.h. */
#include <assert.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/hold.h"
#include "port/port.h"
#include "tests/fake/kernel.h"
#include "tests/fuzz/guest.h"
#include "xsknet.h"

#define RINGS_END  0x1000u
#define DESC_AT    0x0000u     /* 16 bytes x size <= 0x400 */
#define AVAIL_AT   0x0400u
#define USED_AT    0x0600u
#define TURNS      6u
#define OFFLOADS   XN_SOFT_FEATURES
#define LONGEST    2048u       /* more than a used length can be: header and frame */

/* The first bytes of an input: how the device is set up. */
struct setup {
	uint8_t size_log2;         /* of the ring: 2^(0..6); packed: 1..64 */
	uint8_t features;
	uint8_t frames;            /* that arrive each turn */
	uint8_t frame_len;         /* of them: 14 + 6 * this */
	uint8_t modes;             /* of the fake kernel and the port */
	uint8_t turns;
	uint16_t base;
};

static struct {
	uint8_t *ram, *before, *may;   /* may: bytes that the device may change */
	int fd;
	struct xn_mem *mem;
} rig;

static bool may_write(void *arg, uint64_t at, uint32_t bytes);

static void on_open(struct fk *k, unsigned queue)
{
	(void)queue;
	k->may_write = may_write;
}

static void rig_init(void)
{
	struct xn_region region = { .size = FUZZ_RAM };
	struct xn_mem_opts opts = { .sz = sizeof(opts), .bounce_frames = 64 };

	if (rig.mem)
		return;
	if (xn_ram_create(&rig.fd, FUZZ_RAM, XN_HUGE_NO, NULL))
		abort();
	region.fd = rig.fd;
	if (xn_mem_create(&rig.mem, &region, 1, &opts))
		abort();
	rig.ram = mmap(NULL, FUZZ_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, rig.fd, 0);
	rig.before = malloc(FUZZ_RAM);
	rig.may = malloc(FUZZ_RAM);
	if (rig.ram == MAP_FAILED || !rig.before || !rig.may)
		abort();
}

/* ---- the oracle: which bytes were offered as device-writable? ---- */

static bool inside(uint64_t addr, uint64_t len)
{
	return addr < FUZZ_RAM && len <= FUZZ_RAM - addr;
}

static void allow(uint64_t addr, uint32_t len)
{
	if (len && inside(addr, len))
		memset(rig.may + addr, 1, len);
}

/* A descriptor in RAM, of either kind. */
static struct vring_desc desc_at(uint64_t at, bool packed)
{
	struct vring_desc d;
	struct vring_packed_desc p;

	memcpy(&d, rig.ram + at, sizeof(d));
	memcpy(&p, rig.ram + at, sizeof(p));
	if (packed)
		d = (struct vring_desc){ .addr = p.addr, .len = p.len, .flags = p.flags };
	return d;
}

/* Of a packed ring the device writes over slots, with lengths and flags of its own; only inside
 * of a chain are such slots ever looked at again. */
static bool has_chains(uint32_t size, bool packed)
{
	for (uint32_t i = 0; i < size; i++)
		if (desc_at(DESC_AT + 16 * i, packed).flags & VRING_DESC_F_NEXT)
			return true;
	return false;
}

/* More than a walk would allow: every entry of the table, reachable or not, and of
 * every table that an entry points to. */
static void allow_writable(uint32_t size, bool packed)
{
	const bool rewritten = packed && has_chains(size, packed);

	for (uint32_t i = 0; i < size; i++) {
		const struct vring_desc d = desc_at(DESC_AT + 16 * i, packed);

		if (rewritten)
			allow(d.addr, LONGEST);
		if (!(d.flags & VRING_DESC_F_INDIRECT)) {
			if (d.flags & VRING_DESC_F_WRITE)
				allow(d.addr, d.len);
			continue;
		}
		for (uint32_t k = 0; k < d.len / 16 && inside(d.addr + 16ull * k, 16); k++) {
			const struct vring_desc e = desc_at(d.addr + 16ull * k, packed);

			if (e.flags & VRING_DESC_F_WRITE)
				allow(e.addr, e.len);
		}
	}
}

static bool any_allowed(uint64_t from, uint64_t to)
{
	return memchr(rig.may + from, 1, to - from) != NULL;
}

/* Do writable buffers lie where descriptors are read? Then the guest rewrites its own
 * descriptors, and what was offered before says nothing. */
static bool modifies_itself(uint32_t size, bool packed)
{
	if (any_allowed(DESC_AT, DESC_AT + 16 * size) || any_allowed(AVAIL_AT, RINGS_END))
		return true;
	for (uint32_t i = 0; i < size; i++) {
		const struct vring_desc d = desc_at(DESC_AT + 16 * i, packed);
		const uint64_t len = XN_MIN(d.len, FUZZ_RAM);

		if ((d.flags & VRING_DESC_F_INDIRECT) && inside(d.addr, 1) &&
		    any_allowed(d.addr, XN_MIN(d.addr + len, FUZZ_RAM)))
			return true;
	}
	return false;
}

static bool check_writes;

/* What the kernel could write for a fill entry: offered bytes, or the engine's own. */
static bool may_write(void *arg, uint64_t at, uint32_t bytes)
{
	uint64_t ram = (uint64_t)((uint8_t *)xn_mem_ptr(rig.mem, 0, 1) - rig.mem->base);
	uint64_t end = at + bytes;

	(void)arg;
	if (end <= ram || at >= ram + FUZZ_RAM)
		return true;
	if (at < ram || end > ram + FUZZ_RAM)
		return false;
	return !check_writes || !memchr(rig.may + (at - ram), 0, bytes);
}

static void check_ram(void)
{
	for (uint32_t block = 0; block < FUZZ_RAM; block += 256) {
		if (!memcmp(rig.ram + block, rig.before + block, 256))
			continue;
		for (uint32_t i = block; i < block + 256; i++)
			if (rig.ram[i] != rig.before[i] && !rig.may[i])
				abort();
	}
}

/* What the device itself may write of a ring. */
static void allow_ring(uint32_t size, bool packed)
{
	if (!packed) {
		memset(rig.may + USED_AT, 1, 4 + 8 * size + 2);   /* flags, idx, entries, avail_event */
		return;
	}
	memset(rig.may + USED_AT, 1, 4);
	for (uint32_t i = 0; i < size; i++)
		memset(rig.may + DESC_AT + 16 * i + 8, 1, 8);    /* length, id, flags */
}

/* ---- the play ---- */

static void load(const uint8_t *data, size_t bytes)
{
	size_t n = XN_MIN(bytes, (size_t)FUZZ_RAM);

	memset(rig.ram, 0, RINGS_END);
	memset(rig.ram + RINGS_END, 0x5a, FUZZ_RAM - RINGS_END);
	memcpy(rig.ram, data, n);
	memcpy(rig.before, rig.ram, FUZZ_RAM);
	memset(rig.may, 0, FUZZ_RAM);
}

static void set_ring(struct xn_dev *dev, unsigned index, uint32_t size, uint32_t base,
		     void *inflight)
{
	const struct xn_vring v = {
		.inflight = inflight, .size = size, .desc_gpa = DESC_AT, .avail_gpa = AVAIL_AT, .used_gpa = USED_AT,
		.base = base, .kick_fd = -1, .call_fd = -1,
	};

	if (xn_dev_set_vring(dev, index, &v))
		abort();
}

/* Nothing is out, at any place. */
static uint32_t packed_base(uint32_t size, uint16_t at)
{
	const uint32_t pos = (at & 0x7fffu) % size | (at & 0x8000u);

	return pos << 16 | pos;
}

static void frames_arrive(const struct setup *s)
{
	uint8_t frame[2048];

	memset(frame, 0xa5, sizeof(frame));
	for (unsigned i = 0; i < s->frames % 32u; i++)
		fk_host_rx(0, frame, 14 + 6u * s->frame_len);
}

static void turn(struct xn_dev *dev, const struct setup *s, enum fuzz_side side)
{
	struct xn_queue *q = xn_dev_queue(dev, 0);

	if (side == FUZZ_CTRL) {
		xn_dev_ctrl_run(dev);
		return;
	}
	if (side == FUZZ_RX)
		frames_arrive(s);
	xn_queue_run(q, 1 + s->turns);
	/* What the kernel would refuse is never posted. */
	if (fk_host.q[0].stat.tx_invalid_descs)
		abort();
	fk_complete(&fk_host.q[0], 100);
	if (s->modes & 1)
		xn_queue_arm(q);
	fk_forget(&fk_host.q[0]);
}

/* The inflight memory is as long as it has to be, for the sanitizer to see what is behind it. */
static void *take_inflight(uint32_t size, bool packed, const uint8_t **data, size_t *bytes)
{
	size_t n = packed ? xn_inflight_packed_bytes(size) : xn_inflight_bytes(size), have = XN_MIN(n, *bytes);
	uint8_t *p = aligned_alloc(64, n);

	if (!p)
		abort();
	memset(p, 0, n);
	memcpy(p, *data, have);
	*data += have;
	*bytes -= have;
	return p;
}

void fuzz_guest(const uint8_t *data, size_t bytes, unsigned what)
{
	const enum fuzz_side side = what & 0xffu;
	const bool packed = what & FUZZ_PACKED;
	void *inflight = NULL;
	static const char *const options[] = { "fake0", "fake0,tx=chain", "fake0,mode=bounce",
					       "fake0,tx=gather" };
	static const uint32_t mtus[] = { 1500, 9000, 65535, 4079 };
	const struct xn_port_opts none = { 0 };
	struct xn_port *port;
	struct xn_dev *dev;
	struct setup s;
	uint32_t size;

	if (bytes < sizeof(s))
		return;
	memcpy(&s, data, sizeof(s));
	size = packed ? 1u + s.size_log2 % 64 : 1u << s.size_log2 % 7;
	rig_init();
	data += sizeof(s);
	bytes -= sizeof(s);
	if (what & FUZZ_INFLIGHT)
		inflight = take_inflight(size, packed, &data, &bytes);
	load(data, bytes);
	allow_writable(size, packed);
	check_writes = !modifies_itself(size, packed);
	allow_ring(size, packed);

	fk_host_reset();
	fk_host.on_open = on_open;
	if (s.modes & 2)
		strcpy(fk_host.info.driver, "unknown");   /* heads go back at completion */
	if (side == FUZZ_TX)
		fk_host.info.mtu = mtus[s.modes >> 4 & 3];
	if (xn_port_open_xdp_on(&port, options[s.modes >> 2 & 3], &none, &fk_host_sys) ||
	    xn_dev_create(&dev, rig.mem, port, NULL) ||
	    xn_dev_set_features(dev, 1ull << VIRTIO_F_VERSION_1 |
				(s.features & 1 ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0) |
				(s.features & 2 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0) |
				(s.features & 4 ? 1ull << VIRTIO_NET_F_MRG_RXBUF : 0) |
				(packed ? 1ull << VIRTIO_F_RING_PACKED : 0) |
				(s.features & 32 ? OFFLOADS : 0) |
				(s.features & 16 ? 1ull << VIRTIO_F_IN_ORDER : 0) |
				(s.features & 8 ? 1ull << VIRTIO_NET_F_GUEST_ANNOUNCE : 0) |
				(side == FUZZ_CTRL ? 1ull << VIRTIO_NET_F_CTRL_VQ |
				 1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_CTRL_RX |
				 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA | 1ull << VIRTIO_NET_F_CTRL_VLAN |
				 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR |
				 1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS | 1ull << VIRTIO_NET_F_GUEST_CSUM |
				 1ull << XN_NET_F_NOTF_COAL | 1ull << XN_NET_F_VQ_NOTF_COAL |
				 (s.features & 64 ? 1ull << VIRTIO_NET_F_RSS : 0) : 0)))
		abort();
	/* 2: the control queue of one pair. */
	set_ring(dev, side, size, packed ? packed_base(size, s.base) : s.base, inflight);
	if (side == FUZZ_CTRL ? xn_dev_ctrl_start(dev) : xn_queue_start(xn_dev_queue(dev, 0)))
		abort();
	for (unsigned i = 0; i < TURNS; i++)
		turn(dev, &s, side);
	if (side == FUZZ_CTRL ? xn_dev_ctrl_stop(dev) : xn_queue_stop(xn_dev_queue(dev, 0)))
		abort();
	if (check_writes)
		check_ram();
	xn_dev_destroy(dev);
	xn_port_close(port);
	free(inflight);
}
