/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which frames a guest's driver wants (VIRTIO 1.3, 5.1.6.5.1 to 5.1.6.5.3: receive mode, MAC
 * table, VLANs), and whether it wants one. Ports that see each frame anyway ask here; the
 * XDP program has its own form of it (bpf/filter.h), for which this is the oracle.
 *
 * In doubt the frame is wanted: a filter takes work off the driver, it is no firewall.
 */
#ifndef XN_BASE_FILTER_H
#define XN_BASE_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#define XN_FILTER_MACS 64u

struct xn_rx_filter {
	bool promisc;                      /* everything, whatever the rest says */
	bool alluni, allmulti;
	bool nouni, nomulti, nobcast;      /* stronger than all* */
	bool many_uni, many_multi;         /* more addresses than are kept: all of that kind */
	bool vlan;                         /* of tagged frames only those in vlans */
	uint8_t mac[6];                    /* the device's */
	uint16_t n_uni, n_multi;           /* entries of macs: unicast first */
	uint8_t macs[XN_FILTER_MACS][6];
	uint64_t vlans[4096 / 64];         /* by VLAN identifier, a bit each */
};

static inline bool xn_filter_has_vlan(const struct xn_rx_filter *f, unsigned id)
{
	return f->vlans[id % 4096 / 64] >> id % 64 & 1;
}

bool xn_filter_takes(const struct xn_rx_filter *f, const uint8_t *frame, uint32_t bytes);

#endif
