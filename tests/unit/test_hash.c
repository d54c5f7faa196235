/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of hash reports (engine/hash.c, engine/rx.c, a header of 20 bytes): whatever way a frame
 * came into the guest's buffers, and however these lie, its header says what a slow model says
 * of hash and type; of two configurations each frame sees one, whole; packets with the longer
 * header leave without it (H4).
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "port/port.h"
#include "tests/cmocka.h"
#include "tests/fake/driver.h"
#include "tests/fake/kernel.h"
#include "tests/fake/rss.h"

#define RAM      (8u << 20)
#define HDR      20u
#define RX       0u
#define TX       1u
#define CTRL     2u        /* of one pair */
#define RX_AT    0x100000u
#define TX_AT    0x400000u
#define CMD_AT   0x500000u
#define ACK_AT   0x510000u
#define BIT(n)   (1ull << (n))
#define FEATURES (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_CTRL_VQ) | \
		  BIT(VIRTIO_NET_F_HASH_REPORT) | BIT(VIRTIO_RING_F_INDIRECT_DESC))
#define MRG      BIT(VIRTIO_NET_F_MRG_RXBUF)
#define RSS      BIT(VIRTIO_NET_F_RSS)

static struct {
	struct drv drv;
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;
	struct xn_queue *q;
	uint16_t commands;
} r;

static void set_rings(void)
{
	for (unsigned i = 0; i < 3; i++) {
		struct xn_vring v = drv_vring(i);

		assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
	}
}

/* A spec of the fake kernel's interface ("fake0,..."), or another port's. */
static void open_rig(const char *spec, uint64_t features)
{
	struct xn_region region = { .size = RAM };
	struct xn_mem_opts mo = { .sz = sizeof(mo), .bounce_frames = 1024 };
	const struct xn_port_opts none = { 0 };

	memset(&r, 0, sizeof(r));
	fk_host_reset();
	drv_init(&r.drv, RAM, 2);
	region.fd = r.drv.fd;
	assert_int_equal(xn_mem_create(&r.mem, &region, 1, &mo), 0);
	if (!strncmp(spec, "fake0", 5))
		assert_int_equal(xn_port_open_xdp_on(&r.port, spec, &none, &fk_host_sys), 0);
	else
		assert_int_equal(xn_port_open(&r.port, spec, NULL), 0);
	assert_int_equal(xn_dev_create(&r.dev, r.mem, r.port, NULL), 0);
	assert_int_equal(xn_dev_set_features(r.dev, FEATURES | features), 0);
	set_rings();
	assert_int_equal(xn_dev_start(r.dev), 0);
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
	r.q = xn_dev_queue(r.dev, 0);
}

static void close_rig(void)
{
	xn_dev_destroy(r.dev);
	xn_port_close(r.port);
	xn_mem_destroy(r.mem);
	drv_fini(&r.drv);
}

/* ---- the driver's side ---- */

static void put(uint8_t **p, unsigned width, uint32_t v)
{
	for (unsigned i = 0; i < width; i++)
		*(*p)++ = (uint8_t)(v >> 8 * i);
}

/* A command whose bytes end at `end`: written, offered, answered; the verdict. */
static uint8_t ask(const uint8_t *end)
{
	struct vring_desc *d = drv_desc(&r.drv, CTRL);
	struct vring_avail *a = drv_avail(&r.drv, CTRL);

	d[0] = (struct vring_desc){ CMD_AT, (uint32_t)(end - r.drv.ram - CMD_AT), VRING_DESC_F_NEXT, 1 };
	d[1] = (struct vring_desc){ ACK_AT, 1, VRING_DESC_F_WRITE, 0 };
	r.drv.ram[ACK_AT] = 0xee;
	a->ring[r.commands++ % DRV_SIZE] = 0;
	xn_store_release16(&a->idx, r.commands);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 1);
	assert_int_equal(drv_used_ring(&r.drv, CTRL)->idx, r.commands);
	return r.drv.ram[ACK_AT];
}

static uint8_t *begin(uint8_t command)
{
	uint8_t *p = r.drv.ram + CMD_AT;

	*p++ = VIRTIO_NET_CTRL_MQ;
	*p++ = command;
	return p;
}

static uint8_t *put_key(uint8_t *p, const struct xn_rss_config *cfg, unsigned bytes)
{
	*p++ = (uint8_t)bytes;
	memcpy(p, cfg->key, XN_MIN(bytes, (unsigned)sizeof(cfg->key)));
	return p + bytes;
}

static uint8_t ask_hash(const struct xn_rss_config *cfg)
{
	uint8_t *p = begin(VIRTIO_NET_CTRL_MQ_HASH_CONFIG);

	put(&p, 4, cfg->types);
	put(&p, 4, 0);
	put(&p, 4, 0);
	return ask(put_key(p, cfg, 40));
}

static uint8_t ask_rss(const struct xn_rss_config *cfg)
{
	uint8_t *p = begin(VIRTIO_NET_CTRL_MQ_RSS_CONFIG);

	put(&p, 4, cfg->types);
	put(&p, 2, 0);                    /* one entry, queue 0 */
	put(&p, 2, 0);
	put(&p, 2, 0);
	put(&p, 2, 1);
	return ask(put_key(p, cfg, 40));
}

static uint8_t ask_pairs(void)
{
	uint8_t *p = begin(VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET);

	put(&p, 2, 1);
	return ask(p);
}

static struct xn_rss_config some_config(uint64_t *seed)
{
	struct xn_rss_config cfg;

	rss_random_config(seed, &cfg, 1);
	cfg.key_bytes = 40;
	return cfg;
}

/* A frame as the network has it: no shorter than a header. */
static unsigned some_frame(uint64_t *seed, uint8_t frame[RSS_FRAME_MAX])
{
	unsigned n;

	do
		n = rss_random_frame(seed, frame);
	while (n < XN_ETH_HDR_BYTES);
	return n;
}

static void run_dry(void)
{
	while (xn_queue_run(r.q, 64))
		fk_complete(&fk_host.q[0], 1000);
}

static void check_header(const uint8_t *hdr, unsigned buffers, const struct xn_rss_config *cfg,
			 const uint8_t *frame, unsigned bytes)
{
	struct virtio_net_hdr_v1_hash want = { 0 };
	uint32_t hash = 0;

	want.hdr.num_buffers = (uint16_t)buffers;
	if (cfg)
		want.hash_report = (uint16_t)rss_model_hash(cfg, frame, bytes, &hash);
	want.hash_value = hash;
	assert_memory_equal(hdr, &want, HDR);
}

/* ---- received ---- */

/* Of buffers of one piece the frame lies there, or is copied; both for the fake kernel's sake. */
static void frames_have_the_hash_of_the_model(void **state)
{
	static const char *const specs[] = { "fake0", "fake0,mode=bounce" };
	uint64_t seed = 11;

	for (unsigned s = 0; s < XN_ARRAY_SIZE(specs); s++) {
		struct xn_rss_config cfg;
		unsigned reports[10] = { 0 };

		open_rig(specs[s], 0);
		for (unsigned i = 0; i < 20000; i++) {
			uint8_t frame[RSS_FRAME_MAX];
			unsigned n = some_frame(&seed, frame);
			uint16_t head;
			uint32_t used;

			if (i % 100 == 0) {
				cfg = some_config(&seed);
				if (i % 200 == 0)
					cfg.types = XN_RSS_TYPES_ALL;
				assert_int_equal(ask_hash(&cfg), VIRTIO_NET_OK);
			}
			drv_post1(&r.drv, RX, RX_AT + rss_below(&seed, 4000), 1560);
			run_dry();
			assert_int_equal(fk_host_rx(0, frame, n), 0);
			run_dry();
			assert_true(drv_used(&r.drv, RX, &head, &used));
			assert_int_equal(used, HDR + n);
			check_header(r.drv.ram + drv_desc(&r.drv, RX)[head].addr, 1, &cfg, frame, n);
			assert_memory_equal(r.drv.ram + drv_desc(&r.drv, RX)[head].addr + HDR, frame, n);
			reports[rss_model_hash(&cfg, frame, n, &used)]++;
		}
		for (unsigned i = 0; i < 10; i++)
			assert_true(reports[i] > 20);
		assert_int_equal(drv_stat(r.dev, 0, s ? "rx_bounced" : "rx_lent"), 20000);
		close_rig();
	}
}

/* Frames over several buffers of several pieces each, of which none need hold the header. */
static void hash_does_not_ask_how_buffers_lie(void **state)
{
	struct xn_rss_config cfg;
	uint64_t seed = 12;

	open_rig("fake0", MRG);
	rss_random_config(&seed, &cfg, 1);
	cfg.types = XN_RSS_TYPES_ALL;
	cfg.key_bytes = 40;
	assert_int_equal(ask_hash(&cfg), VIRTIO_NET_OK);
	for (unsigned i = 0; i < 5000; i++) {
		uint8_t frame[RSS_FRAME_MAX], got[HDR + RSS_FRAME_MAX];
		unsigned n = some_frame(&seed, frame), off = 0, buffers = 0;
		uint64_t at = RX_AT, where[DRV_SIZE];
		uint16_t head, said;
		uint32_t used;

		for (unsigned room = 0; room < HDR + n; buffers++) {
			struct drv_seg segs[30];
			unsigned k = 0, bytes = 0;
			const uint64_t first = at;

			while (bytes < HDR || (k < 12 && rss_below(&seed, 3))) {
				segs[k].at = at;
				segs[k].len = 1 + rss_below(&seed, rss_below(&seed, 2) ? 3 : 90);
				bytes += segs[k].len;
				at += segs[k++].len;     /* in a row: to be compared at once */
			}
			head = drv_post_indirect(&r.drv, RX, 0x20000u + 0x400 * buffers, segs, k);
			where[head] = first;
			room += bytes;
		}
		run_dry();
		assert_int_equal(fk_host_rx(0, frame, n), 0);
		run_dry();
		for (unsigned b = 0; b < buffers; b++) {
			assert_true(drv_used(&r.drv, RX, &head, &used));
			memcpy(got + off, r.drv.ram + where[head], used);
			off += used;
		}
		assert_int_equal(off, HDR + n);
		memcpy(&said, got + 10, 2);
		assert_int_equal(said, buffers);
		check_header(got, buffers, &cfg, frame, n);
		assert_memory_equal(got + HDR, frame, n);
	}
	assert_true(drv_stat(r.dev, 0, "rx_merged") > 1000);
	close_rig();
}

/* Headers far behind the first bytes that are looked at. */
static void extension_headers_are_followed_as_far_as_they_reach(void **state)
{
	struct xn_rss_config cfg;
	uint8_t frame[1514] = { [12] = 0x86, [13] = 0xdd, [14] = 0x60 };
	uint16_t head;
	uint32_t used, hash;

	xn_rss_default(&cfg, 1);
	open_rig("fake0", 0);
	assert_int_equal(ask_hash(&cfg), VIRTIO_NET_OK);
	frame[18] = (sizeof(frame) - 54) >> 8;
	frame[19] = (sizeof(frame) - 54) & 0xff;
	for (unsigned i = 22; i < 54; i++)
		frame[i] = (uint8_t)i;
	/* Hop-by-hop of 1024 bytes, then UDP. */
	frame[20] = 0;
	frame[54] = 17;
	frame[55] = 1024 / 8 - 1;
	frame[54 + 1024 + 1] = 77;     /* a port */
	assert_int_equal(rss_model_hash(&cfg, frame, sizeof(frame), &hash),
			 VIRTIO_NET_HASH_REPORT_UDPv6_EX);
	drv_post1(&r.drv, RX, RX_AT, 1560);
	run_dry();
	assert_int_equal(fk_host_rx(0, frame, sizeof(frame)), 0);
	run_dry();
	assert_true(drv_used(&r.drv, RX, &head, &used));
	check_header(r.drv.ram + RX_AT, 1, &cfg, frame, sizeof(frame));
	close_rig();
}

static void receive_one(const struct xn_rss_config *cfg)
{
	uint8_t frame[100];
	uint16_t head;
	uint32_t used;

	rss_plain_frame(frame, sizeof(frame), XN_FLOW_TCPV4, 0, 99);
	drv_post1(&r.drv, RX, RX_AT, 1560);
	run_dry();
	assert_int_equal(fk_host_rx(0, frame, sizeof(frame)), 0);
	run_dry();
	assert_true(drv_used(&r.drv, RX, &head, &used));
	assert_int_equal(used, HDR + sizeof(frame));
	check_header(r.drv.ram + RX_AT, 1, cfg, frame, sizeof(frame));
}

/* RSS's key and types while it is in force, else those of HASH_CONFIG; none at first. */
static void command_in_force_decides(void **state)
{
	struct xn_rss_config hash, rss;
	uint64_t seed = 13;

	xn_rss_default(&hash, 1);
	rss_random_config(&seed, &rss, 1);
	rss.types = XN_RSS_TYPES_ALL;
	open_rig("fake0", RSS);
	receive_one(NULL);
	assert_int_equal(ask_rss(&rss), VIRTIO_NET_OK);
	receive_one(&rss);
	assert_int_equal(ask_hash(&hash), VIRTIO_NET_OK);
	receive_one(&rss);
	assert_int_equal(ask_pairs(), VIRTIO_NET_OK);
	receive_one(&hash);
	assert_int_equal(ask_rss(&rss), VIRTIO_NET_OK);
	receive_one(&rss);
	/* Stopped and started again by whoever: the driver has not said anything new. */
	assert_int_equal(xn_dev_stop(r.dev), 0);
	drv_reset_rings(&r.drv, 1);
	for (unsigned i = 0; i < 2; i++) {
		struct xn_vring v = drv_vring(i);

		assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
	}
	assert_int_equal(xn_dev_start(r.dev), 0);
	receive_one(&rss);
	/* A new driver. */
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_reset(r.dev), 0);
	receive_one(NULL);
	close_rig();
}

/* C3, C2 for HASH_CONFIG: what is wrong changes nothing. */
static void wrong_hash_configurations_change_nothing(void **state)
{
	static const unsigned lens[] = { 0, 39, 41, 255 };
	struct xn_rss_config good, other;
	uint8_t *p;

	xn_rss_default(&good, 1);
	other = good;
	other.key[0] ^= 1;
	open_rig("fake0", 0);
	assert_int_equal(ask_hash(&good), VIRTIO_NET_OK);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(lens); i++) {
		p = begin(VIRTIO_NET_CTRL_MQ_HASH_CONFIG);
		put(&p, 4, other.types);
		put(&p, 4, 0);
		put(&p, 4, 0);
		assert_int_equal(ask(put_key(p, &other, lens[i])), VIRTIO_NET_ERR);
	}
	other.types = 0x200;
	assert_int_equal(ask_hash(&other), VIRTIO_NET_ERR);
	p = begin(VIRTIO_NET_CTRL_MQ_HASH_CONFIG);
	assert_int_equal(ask(p), VIRTIO_NET_ERR);
	assert_int_equal(drv_stat(r.dev, XN_ALL_PAIRS, "rss_key"), 4);
	assert_int_equal(drv_stat(r.dev, XN_ALL_PAIRS, "rss_types"), 1);
	assert_int_equal(drv_stat(r.dev, XN_ALL_PAIRS, "rss_short"), 1);
	receive_one(&good);
	close_rig();
	/* Not negotiated. */
	open_rig("fake0", 0);
	assert_int_equal(xn_dev_stop(r.dev), 0);
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_set_features(r.dev, FEATURES & ~BIT(VIRTIO_NET_F_HASH_REPORT)), 0);
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
	assert_int_equal(ask_hash(&good), VIRTIO_NET_ERR);
	close_rig();
}

/* ---- while frames come ---- */

struct changer {
	struct xn_rss_config cfg[2];
	uint32_t stop;
};

static void *keep_changing(void *arg)
{
	struct changer *c = arg;

	for (unsigned i = 0; !xn_load_once32(&c->stop); i++)
		if (ask_hash(&c->cfg[i & 1]) != VIRTIO_NET_OK)
			abort();
	return NULL;
}

/* Two keys: each frame has the hash of one of them, and both are seen. */
static void each_frame_sees_one_configuration(void **state)
{
	struct changer c = { .stop = 0 };
	unsigned seen[2] = { 0 };
	uint64_t seed = 14;
	pthread_t t;

	for (unsigned i = 0; i < 2; i++) {
		rss_random_config(&seed, &c.cfg[i], 1);
		c.cfg[i].types = XN_RSS_TYPES_ALL;
	}
	open_rig("fake0", 0);
	assert_int_equal(ask_hash(&c.cfg[0]), VIRTIO_NET_OK);
	assert_int_equal(pthread_create(&t, NULL, keep_changing, &c), 0);
	for (unsigned i = 0; i < 200000 && (i < 5000 || !seen[0] || !seen[1]); i++) {
		uint32_t hash[2], used, got;
		uint8_t frame[100];
		uint16_t head;

		rss_plain_frame(frame, sizeof(frame), XN_FLOW_UDPV6, 1, i);
		drv_post1(&r.drv, RX, RX_AT, 1560);
		run_dry();
		assert_int_equal(fk_host_rx(0, frame, sizeof(frame)), 0);
		run_dry();
		assert_true(drv_used(&r.drv, RX, &head, &used));
		memcpy(&got, r.drv.ram + RX_AT + 12, 4);
		for (unsigned k = 0; k < 2; k++)
			rss_model_hash(&c.cfg[k], frame, sizeof(frame), &hash[k]);
		assert_true(got == hash[0] || got == hash[1]);
		seen[got == hash[1]]++;
	}
	xn_store_once32(&c.stop, 1);
	pthread_join(t, NULL);
	assert_true(seen[0] && seen[1]);
	close_rig();
}

/* ---- sent (H4) ---- */

static void longer_header_is_cut_wherever_it_lies(void **state)
{
	static const char *const specs[] = { "loopback", "fake0" };
	uint64_t seed = 15;

	for (unsigned s = 0; s < 2; s++) {
		open_rig(specs[s], 0);
		for (unsigned i = 0; i < 3000; i++) {
			uint8_t frame[RSS_FRAME_MAX];
			unsigned n = some_frame(&seed, frame), total = HDR + n, k = 0;
			struct drv_seg segs[8];
			uint16_t head;
			uint32_t used;

			/* What the driver writes behind the first 12 bytes is nothing to us. */
			memset(r.drv.ram + TX_AT, 0, 12);
			memset(r.drv.ram + TX_AT + 12, 0xff, 8);
			memcpy(r.drv.ram + TX_AT + HDR, frame, n);
			for (uint64_t at = TX_AT; total; k++) {
				uint32_t len = k == 7 ? total :
					       1 + rss_below(&seed, rss_below(&seed, 2) ? 24 : total);

				segs[k] = (struct drv_seg){ at, XN_MIN(len, total) };
				at += segs[k].len;
				total -= segs[k].len;
			}
			drv_post1(&r.drv, RX, RX_AT, 1560);
			drv_post(&r.drv, TX, segs, k);
			run_dry();
			run_dry();
			assert_true(drv_used(&r.drv, TX, &head, &used));
			assert_int_equal(used, 0);
			if (s == 0) {
				assert_true(drv_used(&r.drv, RX, &head, &used));
				assert_int_equal(used, HDR + n);
				assert_memory_equal(r.drv.ram + RX_AT + HDR, frame, n);
				continue;
			}
			assert_int_equal(fk_host.q[0].n_packets, 1);
			assert_int_equal(fk_host.q[0].packets[0].bytes, n);
			assert_memory_equal(fk_host.q[0].packets[0].data, frame, n);
			fk_forget(&fk_host.q[0]);
			fk_host_rx(0, frame, 60);
			run_dry();
			assert_true(drv_used(&r.drv, RX, &head, &used));
		}
		close_rig();
	}
}

static void packets_without_a_whole_header_are_dropped(void **state)
{
	uint16_t head;
	uint32_t used;

	open_rig("loopback", 0);
	memset(r.drv.ram + TX_AT, 0, 64);
	for (uint32_t n = 1; n <= HDR; n++) {
		const struct drv_seg two[] = { { TX_AT, 1 }, { TX_AT + 1, n - 1 } };

		drv_post(&r.drv, TX, two, n > 1 ? 2 : 1);
		drv_post1(&r.drv, TX, TX_AT, n);
		run_dry();
		for (unsigned i = 0; i < 2; i++) {
			assert_true(drv_used(&r.drv, TX, &head, &used));
			assert_int_equal(used, 0);
		}
	}
	assert_int_equal(drv_stat(r.dev, 0, "tx_drop_short_chain"), 2 * HDR);
	/* And buffers that do not hold one. */
	for (uint32_t n = 1; n < HDR; n++)
		drv_post1(&r.drv, RX, RX_AT, n);
	run_dry();
	for (uint32_t n = 1; n < HDR; n++) {
		assert_true(drv_used(&r.drv, RX, &head, &used));
		assert_int_equal(used, 0);
	}
	assert_int_equal(drv_stat(r.dev, 0, "fault_rx_header"), HDR - 1);
	close_rig();
}

/* All 20 bytes, and no others, are in the dirty log. */
static void whole_header_is_in_the_dirty_log(void **state)
{
	uint8_t log[RAM / 32768] = { 0 };
	struct xn_rss_config cfg;

	xn_rss_default(&cfg, 1);
	open_rig("fake0", 0);
	assert_int_equal(ask_hash(&cfg), VIRTIO_NET_OK);
	xn_dev_set_dirty_log(r.dev, log, sizeof(log));
	for (unsigned i = 0; i < 2; i++) {
		uint8_t frame[60];
		uint16_t head;
		uint32_t used;
		/* The header alone crosses into the second page; then the frame alone ends there. */
		const uint64_t at = RX_AT + 4096 - (i ? HDR + 60 : 16);

		rss_plain_frame(frame, sizeof(frame), XN_FLOW_UDPV4, 0, 1);
		drv_post1(&r.drv, RX, at, 1560);
		run_dry();
		memset(log, 0, sizeof(log));
		assert_int_equal(fk_host_rx(0, frame, sizeof(frame)), 0);
		run_dry();
		assert_true(drv_used(&r.drv, RX, &head, &used));
		assert_true(log[RX_AT / 32768] >> RX_AT / 4096 % 8 & 1);
		assert_int_equal(log[(RX_AT + 4096) / 32768] >> (RX_AT / 4096 + 1) % 8 & 1, !i);
	}
	close_rig();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_have_the_hash_of_the_model),
		cmocka_unit_test(hash_does_not_ask_how_buffers_lie),
		cmocka_unit_test(extension_headers_are_followed_as_far_as_they_reach),
		cmocka_unit_test(command_in_force_decides),
		cmocka_unit_test(wrong_hash_configurations_change_nothing),
		cmocka_unit_test(each_frame_sees_one_configuration),
		cmocka_unit_test(longer_header_is_cut_wherever_it_lies),
		cmocka_unit_test(packets_without_a_whole_header_are_dropped),
		cmocka_unit_test(whole_header_is_in_the_dirty_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
