/* SPDX-License-Identifier: BSD-2-Clause */
/* A device on the AF_XDP port over the fake kernel, with a test driver as guest: what
 * the tests of that port share. */
#ifndef XN_TESTS_UNIT_PORT_RIG_H
#define XN_TESTS_UNIT_PORT_RIG_H

#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cmocka.h"
#include "tests/fake/driver.h"
#include "tests/fake/kernel.h"

#define RAM      (8u << 20)
#define VERSION  (1ull << 32)
#define MRG      (1ull << VIRTIO_NET_F_MRG_RXBUF)
#define IND      (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define RX       0u
#define TX       1u
#define RX_AT    0x100001u
#define TX_AT    0x500003u
#define FRAME_MAX 1518u
#define SEGS_MAX 8u

struct buffer { struct drv_seg segs[SEGS_MAX]; unsigned n; };

struct rig {
	struct drv drv;
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;
	struct xn_queue *q;
	uint64_t ram_uoff;                   /* UMEM offset of guest address 0 */
	struct buffer offered[DRV_SIZE];     /* receive buffers, by head; n 0: not offered */
};

/* Do the offered buffers cover [gpa, gpa + bytes)? Slow and obvious: byte by byte. */
static inline bool is_offered(const struct rig *r, uint64_t gpa, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++) {
		bool found = false;

		for (unsigned h = 0; h < DRV_SIZE && !found; h++)
			for (unsigned s = 0; s < r->offered[h].n && !found; s++) {
				const struct drv_seg *seg = &r->offered[h].segs[s];

				found = gpa + i >= seg->at && gpa + i < seg->at + seg->len;
			}
		if (!found)
			return false;
	}
	return true;
}

static inline bool may_write(void *arg, uint64_t at, uint32_t bytes)
{
	const struct rig *r = arg;
	uint64_t guest = r->mem->window_bytes ? r->mem->window_bytes : RAM;

	if (at + bytes <= r->ram_uoff || at >= r->ram_uoff + guest)
		return at + bytes <= r->mem->umem_bytes;   /* the arena is ours */
	return is_offered(r, at - r->ram_uoff, bytes);
}

static struct rig *rig_of_host;
static unsigned preset;      /* ring indices begin here */

static inline void on_open(struct fk *k, unsigned queue)
{
	struct fk_ring *rings[] = { &k->fill, &k->rx, &k->tx, &k->comp };
	struct xn_xsk *x = fk_host.xsk[queue];

	k->may_write = may_write;
	k->arg = rig_of_host;
	if (!preset)
		return;
	for (unsigned i = 0; i < 4; i++)
		rings[i]->producer = rings[i]->consumer = rings[i]->at = preset;
	x->fill.cached_prod = x->tx.cached_prod = preset;
	x->fill.cached_cons = preset + x->fill.size;
	x->tx.cached_cons = preset + x->tx.size;
	x->rx.cached_prod = x->rx.cached_cons = preset;
	x->comp.cached_prod = x->comp.cached_cons = preset;
}

static inline struct fk *fk(void)
{
	return &fk_host.q[0];
}

struct rig_opts {
	const char *options, *driver;
	uint64_t features, window_bytes;
	uint32_t bounce_frames, spare_sockets, mtu;
	uint32_t packed;                     /* packed rings of this size; 0: split ones */
	const struct fk_nic *nic;            /* its zero-copy mode; NULL: it has none */
	const struct xn_dev_opts *dev;
};

static inline unsigned rig_pairs(const struct rig_opts *o)
{
	return o->dev && o->dev->pairs ? o->dev->pairs : 1;
}

/* All but the port: rig_open_port, and then rig_start. */
static inline void rig_prepare(struct rig *r, const struct rig_opts *o)
{
	struct xn_region region = { .size = RAM };
	struct xn_mem_opts mo = { .sz = sizeof(mo), .window_bytes = o->window_bytes,
				  .bounce_frames = o->bounce_frames ? o->bounce_frames : 1024 };

	memset(r, 0, sizeof(*r));
	drv_init(&r->drv, RAM, rig_pairs(o));
	if (o->packed)
		drv_use_packed(&r->drv, rig_pairs(o), o->packed);
	region.fd = r->drv.fd;
	assert_int_equal(xn_mem_create(&r->mem, &region, 1, &mo), 0);
	r->ram_uoff = (uint64_t)((uint8_t *)xn_mem_ptr(r->mem, 0, 1) - r->mem->base);
	fk_host_reset();
	fk_host.on_open = on_open;
	rig_of_host = r;
	if (o->driver)
		strcpy(fk_host.info.driver, o->driver);
	if (o->mtu)
		fk_host.info.mtu = o->mtu;
	if (o->nic)
		fk_host.nic = *o->nic;
}

static inline int rig_open_port(struct rig *r, const struct rig_opts *o)
{
	const struct xn_port_opts po = { .spare_sockets = o->spare_sockets };
	char spec[64] = "fake0";

	strcat(spec, o->options ? o->options : "");
	return xn_port_open_xdp_on(&r->port, spec, &po, &fk_host_sys);
}

static inline int rig_start(struct rig *r, const struct rig_opts *o)
{
	const uint64_t ring = o->packed ? 1ull << VIRTIO_F_RING_PACKED : 0;

	assert_int_equal(xn_dev_create(&r->dev, r->mem, r->port, o->dev), 0);
	assert_int_equal(xn_dev_set_features(r->dev, VERSION | ring | o->features), 0);
	for (unsigned i = 0; i < 2 * rig_pairs(o); i++) {
		struct xn_vring v = drv_vring(i);

		if (o->packed) {
			v.size = o->packed;
			v.base = XN_VRING_NEW_PACKED;
		}
		assert_int_equal(xn_dev_set_vring(r->dev, i, &v), 0);
	}
	r->q = xn_dev_queue(r->dev, 0);
	return xn_dev_start(r->dev);
}

static inline void rig_open(struct rig *r, const struct rig_opts *o)
{
	rig_prepare(r, o);
	assert_int_equal(rig_open_port(r, o), 0);
	assert_int_equal(rig_start(r, o), 0);
}

static inline void rig_close(struct rig *r)
{
	struct xn_mem_info before, after;

	xn_mem_get_info(r->mem, &before);
	xn_dev_destroy(r->dev);
	xn_port_close(r->port);
	xn_mem_get_info(r->mem, &after);
	assert_int_equal(after.bounce_frames_free, after.bounce_frames);   /* all came back */
	xn_mem_destroy(r->mem);
	drv_fini(&r->drv);
	assert_int_equal(fk_host.opened, fk_host.closed);
}

static inline uint64_t stat(struct rig *r, const char *name)
{
	return drv_stat(r->dev, XN_ALL_PAIRS, name);
}

static inline void offer(struct rig *r, const struct drv_seg *segs, unsigned n)
{
	uint16_t head = drv_post(&r->drv, RX, segs, n);

	memcpy(r->offered[head].segs, segs, n * sizeof(*segs));
	r->offered[head].n = n;
}

static inline void make_frame(uint8_t *f, uint32_t len, uint32_t seed)
{
	for (uint32_t i = 0; i < len; i++)
		f[i] = (uint8_t)(seed * 29 + i * 3 + (i >> 6));
}

/* Takes one received frame off the used ring into got; its length, 0: there is none. */
static inline uint32_t take_frame(struct rig *r, uint8_t *got)
{
	uint32_t used, sum = 0, skip = DRV_HDR;
	uint16_t head, buffers = 1;

	for (unsigned k = 0; k < buffers; k++) {
		const struct buffer *b;
		uint32_t left;
		uint8_t flat[70000];

		if (!drv_used(&r->drv, RX, &head, &used)) {
			assert_int_equal(k, 0);
			return 0;
		}
		b = &r->offered[head];
		assert_true(b->n);                 /* it was out: comes back once */
		if (!used) {                       /* by a stop, empty */
			assert_int_equal(k, 0);
			r->offered[head].n = 0;
			k--;
			continue;
		}
		left = 0;
		for (unsigned s = 0; s < b->n; s++) {
			memcpy(flat + left, r->drv.ram + b->segs[s].at, b->segs[s].len);
			left += b->segs[s].len;
		}
		assert_true(used <= left);
		if (!k)
			memcpy(&buffers, flat + 10, 2);
		memcpy(got + sum, flat + skip, used - skip);
		sum += used - skip;
		skip = 0;
		r->offered[head].n = 0;
	}
	return sum;
}

#endif
