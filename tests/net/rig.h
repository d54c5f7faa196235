/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device on a real veth pair, with a test driver as guest, and a raw socket at the
 * far end that sends and receives any frame.
 */
#ifndef XN_TESTS_NET_RIG_H
#define XN_TESTS_NET_RIG_H

#include "base/types.h"
#include "bench/lab.h"
#include "tests/fake/driver.h"

struct rig_cfg {
	const char *options;        /* of the port, behind the interface: ",tx=chain" */
	unsigned pairs;             /* 0: 1 */
	unsigned mtu;               /* of both ends; 0: 1500 */
	uint64_t features;          /* beside VERSION_1 */
	struct xn_mem_opts mem;
	unsigned n_regions;         /* 0: one, all of RAM */
	struct xn_region regions[4];
	void (*event)(void *arg, const struct xn_event *e);
	void *arg;
};

#define RIG_RAM (4u << 20)
/* What comes at all has come by then, on a slow machine that is busy with other things too. */
#define RIG_SOON_MS 20000

struct rig {
	struct xn_lab lab;
	struct drv drv;
	struct xn_mem *mem;
	struct xn_port *port;
	struct xn_dev *dev;
	int far;                    /* AF_PACKET socket in the far namespace */
	unsigned pairs;
};

/* Fails the test (cmocka) when something does not come up. Starts the device. */
void rig_open(struct rig *r, const struct rig_cfg *cfg);
void rig_close(struct rig *r);

/* A raw socket in the far namespace; it sees what arrives there. */
int rig_far_socket(const struct xn_lab *lab);

/* Turns all queues, once at least, until they have been idle for `ms` of wall time: takes over what
 * the driver has posted. What the kernel has yet to bring is waited for by the calls below. */
void rig_settle(struct rig *r, unsigned ms);
/* Turns all queues until vring q has a used entry; false if none comes (RIG_SOON_MS). */
bool rig_wait_used(struct rig *r, unsigned q, uint16_t *head, uint32_t *len);
uint64_t rig_stat(struct rig *r, const char *name);
/* Turns all queues until the statistic is at least v; fails the test if it is not v then. */
void rig_wait_stat(struct rig *r, const char *name, uint64_t v);

/* Fills a frame with bytes that depend on seed and place; Ethernet type 0x88b5. */
void rig_frame(const struct rig *r, uint8_t *f, uint32_t len, uint32_t seed);
void rig_far_send(struct rig *r, const uint8_t *f, uint32_t len);
/* Next frame of type 0x88b5 (or VLAN-tagged) that arrives far; its length, 0 if none comes
 * (RIG_SOON_MS). */
uint32_t rig_far_recv(struct rig *r, uint8_t *f, uint32_t max);

#endif
