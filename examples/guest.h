/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest of 300 lines: a virtio-net driver that answers ARP and ping. */
#ifndef XN_EXAMPLES_GUEST_H
#define XN_EXAMPLES_GUEST_H

#include <stdint.h>

#define GUEST_RAM_BYTES (4u << 20)
#define GUEST_RING_SIZE 256u
/* Where the driver keeps its rings, as guest physical addresses: rx, tx. */
#define GUEST_DESC(i)   (0x0000u + (i) * 0x8000u)
#define GUEST_AVAIL(i)  (0x2000u + (i) * 0x8000u)
#define GUEST_USED(i)   (0x4000u + (i) * 0x8000u)

struct guest {
	uint8_t *ram;            /* the guest's view of its memory */
	uint8_t mac[6], ip[4];
	uint16_t rx_seen, tx_seen, rx_avail, tx_avail;
	uint16_t tx_free[GUEST_RING_SIZE], n_tx_free;
	uint64_t answered;
};

/* Empty rings, all receive buffers posted. */
void guest_boot(struct guest *g, void *ram, const uint8_t mac[6], const uint8_t ip[4]);
/* Looks at what has arrived, answers. Returns how many frames it looked at. */
unsigned guest_run(struct guest *g);

#endif
