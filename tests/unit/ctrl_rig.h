/* SPDX-License-Identifier: BSD-2-Clause */
/* The control queue of a device of three pairs, and a driver that asks it. */
#ifndef XN_TESTS_CTRL_RIG_H
#define XN_TESTS_CTRL_RIG_H

#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/filter.h"
#include "base/types.h"
#include "port/port.h"
#include "rss/config.h"
#include "tests/cmocka.h"
#include "tests/fake/driver.h"

#define RAM      (8u << 20)
#define PAIRS    3u
#define CTRL     (2 * PAIRS)
#define VERSION  (1ull << 32)
#define CTRL_VQ  (1ull << VIRTIO_NET_F_CTRL_VQ)
#define MQ       (1ull << VIRTIO_NET_F_MQ)
#define ANNOUNCE (1ull << VIRTIO_NET_F_GUEST_ANNOUNCE)
#define IND      (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define ALL      (CTRL_VQ | MQ | ANNOUNCE | IND)
#define CMD_AT   0x100000u
#define ACK_AT   0x200ff0u
#define TABLE_AT 0x300000u
#define HOLE     0x40000000u
#define UNTOUCHED 0xee     /* no verdict */
#define W        VRING_DESC_F_WRITE
#define NEXT     VRING_DESC_F_NEXT

/* What a port that steers was told. */
struct told {
	unsigned calls;
	int answer;                /* of the next ones */
	bool any;                  /* a configuration, the last time */
	struct xn_rss_config cfg;
	unsigned pairs_events;     /* before the last one */
	unsigned filters;          /* told of a receive filter so often */
	bool filters_on;           /* there was one, the last time */
	struct xn_rx_filter filter;
};

static struct {
	struct drv drv;
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;
	unsigned ring;             /* the control queue's vring */
	uint16_t avail, seen;
	unsigned irqs, pairs_events, pairs, broken, broken_ring;
	const char *broken_why;
	struct xn_port_ops ops;    /* of the port, if it steers */
	struct told told;
} r;

static void on_irq(void *arg, unsigned index)
{
	assert_int_equal(index, r.ring);
	r.irqs++;
}

static void on_event(void *arg, const struct xn_event *e)
{
	if (e->kind == XN_EVENT_PAIRS) {
		/* Before the driver hears of it. */
		assert_int_equal(drv_used_ring(&r.drv, r.ring)->idx, r.seen);
		r.pairs_events++;
		r.pairs = e->index;
	} else if (e->kind == XN_EVENT_QUEUE_BROKEN) {
		r.broken++;
		r.broken_ring = e->index;
		r.broken_why = e->name;
	}
}

static int port_set_rss(struct xn_port *port, const struct xn_rss_config *cfg)
{
	assert_ptr_equal(port, r.port);
	r.told.calls++;
	r.told.pairs_events = r.pairs_events;
	if (r.told.answer)
		return r.told.answer;
	r.told.any = cfg;
	if (cfg)
		r.told.cfg = *cfg;
	return 0;
}

static void port_set_rx_filter(struct xn_port *port, const struct xn_rx_filter *f)
{
	assert_ptr_equal(port, r.port);
	r.told.filters++;
	r.told.filters_on = f;
	if (f)
		r.told.filter = *f;
}

/* The port becomes one that steers and filters, and sends nothing back. */
static void let_port_steer(void)
{
	r.ops = *r.port->ops;
	r.ops.set_rss = port_set_rss;
	r.ops.set_rx_filter = port_set_rx_filter;
	r.port->ops = &r.ops;
}

static void open_rig_on(uint64_t features, bool steers)
{
	struct xn_region region = { .size = RAM };
	struct xn_mem_opts mo = { .sz = sizeof(mo), .bounce_frames = 64 };
	struct xn_dev_opts opts = { .sz = sizeof(opts), .pairs = PAIRS, .irq = on_irq,
				    .event = on_event };
	struct xn_vring v;

	memset(&r, 0, sizeof(r));
	drv_init(&r.drv, RAM, 4);
	region.fd = r.drv.fd;
	assert_int_equal(xn_mem_create(&r.mem, &region, 1, &mo), 0);
	assert_int_equal(xn_port_open(&r.port, "loopback:queues=3", NULL), 0);
	if (steers)
		let_port_steer();
	assert_int_equal(xn_dev_create(&r.dev, r.mem, r.port, &opts), 0);
	assert_int_equal(xn_dev_set_features(r.dev, VERSION | features), 0);
	r.ring = xn_dev_ctrl_index(r.dev);
	v = drv_vring(r.ring);
	assert_int_equal(xn_dev_set_vring(r.dev, r.ring, &v), 0);
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
}

static __attribute__((unused)) void open_rig(uint64_t features)
{
	open_rig_on(features, false);
}

static void close_rig(void)
{
	xn_dev_destroy(r.dev);
	xn_port_close(r.port);
	xn_mem_destroy(r.mem);
	drv_fini(&r.drv);
}

static __attribute__((unused)) uint64_t count(const char *name)
{
	return drv_stat(r.dev, XN_ALL_PAIRS, name);
}

/* ---- the driver's side ---- */

static void desc(unsigned i, uint64_t at, uint32_t len, unsigned flags, unsigned next)
{
	drv_desc(&r.drv, r.ring)[i] = (struct vring_desc){ at, len, (uint16_t)flags, (uint16_t)next };
}

static void offer(uint16_t head)
{
	struct vring_avail *a = drv_avail(&r.drv, r.ring);

	a->ring[r.avail++ % DRV_SIZE] = head;
	xn_store_release16(&a->idx, r.avail);
}

/* The head that came back, with the length in *len; one has to. */
static uint32_t back(uint32_t *len)
{
	const struct vring_used *u = drv_used_ring(&r.drv, r.ring);
	const struct vring_used_elem *e = &u->ring[r.seen % DRV_SIZE];

	assert_int_equal((uint16_t)(u->idx - r.seen), 1);
	r.seen++;
	*len = e->len;
	return e->id;
}

/* A command as Linux sends it: two descriptors or three; its verdict. */
static uint8_t ask(uint8_t class, uint8_t command, const void *data, uint32_t bytes)
{
	uint8_t *cmd = r.drv.ram + CMD_AT;
	unsigned last = bytes ? 2 : 1;
	uint32_t len;

	cmd[0] = class;
	cmd[1] = command;
	if (bytes)
		memcpy(cmd + 0x1000, data, bytes);
	r.drv.ram[ACK_AT] = UNTOUCHED;
	desc(5, CMD_AT, 2, NEXT, last == 2 ? 6 : 7);
	desc(6, CMD_AT + 0x1000, bytes, NEXT, 7);
	desc(7, ACK_AT, 1, W, 0);
	offer(5);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 1);
	assert_int_equal(back(&len), 5);
	assert_int_equal(len, 1);
	assert_int_not_equal(r.drv.ram[ACK_AT], UNTOUCHED);
	return r.drv.ram[ACK_AT];
}

static uint8_t ask_pairs(uint16_t pairs)
{
	return ask(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2);
}

static __attribute__((unused)) void queue_still_answers(void)
{
	unsigned before = r.pairs_events;

	assert_int_equal(ask_pairs(2), VIRTIO_NET_OK);
	assert_int_equal(r.pairs_events, before + 1);
	assert_int_equal(r.pairs, 2);
}

#endif
