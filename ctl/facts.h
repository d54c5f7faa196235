/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What there is: an interface, its device, and the host under it. Gathered once (nic.c,
 * netlink.c, device.c, host.c), then judged (judge.h): so the judging can be tested with any machine.
 */
#ifndef XN_CTL_FACTS_H
#define XN_CTL_FACTS_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "rss/plan.h"

/* Bits of NETDEV_A_DEV_XDP_FEATURES (Linux include/uapi/linux/netdev.h, 6.3). */
#define XN_XDP_BASIC        1u
#define XN_XDP_REDIRECT     2u
#define XN_XDP_XSK_ZEROCOPY 8u

enum xn_peer { XN_PEER_NONE, XN_PEER_HERE, XN_PEER_ELSEWHERE };

struct xn_offloads {
	bool gro, lro, tx_csum, tx_vlan, rx_vlan;
};

struct xn_nic_facts {
	char name[IF_NAMESIZE];
	unsigned ifindex;
	char driver[32], bus[32];       /* bus: of PCI devices, their address */
	unsigned mtu;
	bool up, carrier;
	unsigned rx_queues, tx_queues;  /* 0: not told */
	bool xdp_told;                  /* does the kernel tell xdp_features? */
	uint64_t xdp_features;
	uint32_t prog_id, prog_link;    /* XDP program that is attached, and its bpf_link; 0: none */
	char prog_name[16];             /* "": not allowed to know */
	bool prog_generic;
	struct xn_offloads own;
	enum xn_peer peer;              /* of a veth */
	char peer_name[IF_NAMESIZE];    /* when it is here */
	unsigned peer_mtu, peer_tx_queues;
	struct xn_offloads peer_has;
	bool rss_told;
	struct xn_nic_told rss;         /* of all its queues, for a guest that has set nothing */
};

/* The device behind an interface, on its bus (ctl/device.c); of a virtio device, its PCI parent. */
struct xn_device_facts {
	bool pci;
	char driver[32];                /* on the PCI bus: "igb", "virtio-pci"; "": none */
	char iommu[16];                 /* type of its group's domain: "identity", "DMA", "DMA-FQ"; "": none */
	unsigned iommu_group, iommu_members;
	unsigned dma_bits;              /* of the addresses that it can reach; 0: not told */
	bool virtio;
	uint64_t virtio_features;       /* accepted by its driver */
};

/* VIRTIO 1.2, 5.1.3 and 6. */
#define XN_VIRTIO_HASH_REPORT     (1ull << 57)
#define XN_VIRTIO_ACCESS_PLATFORM (1ull << 33)
#define XN_VIRTIO_RING_RESET      (1ull << 40)

struct xn_host_facts {
	char release[65];
	unsigned kernel[3];             /* 6, 18, 44; 0: not understood */
	unsigned built_year, built_month;   /* 0: not told */
	int af_xdp_error;               /* of opening an AF_XDP socket */
	uint64_t caps;                  /* effective capabilities */
	uint64_t memlock_bytes;         /* UINT64_MAX: no limit */
	uint64_t available_bytes;       /* memory; 0: not told */
	uint64_t huge_free, huge_total; /* pages of 2 MiB */
	unsigned numa_nodes;            /* 0: not told */
	int nic_node;                   /* -1: none */
	unsigned iommu_groups;
	uint64_t memory_end;            /* of physical addresses; 0: not told */
	bool swiotlb_forced;            /* every DMA through bounce buffers of the kernel's */
};

struct xn_facts {
	struct xn_nic_facts nic;
	struct xn_device_facts dev;
	struct xn_host_facts host;
	uint64_t guest_ram;             /* bytes, as asked; 0: not said */
};

/* -ENODEV: no such interface; else -errno with a message. */
int xn_nic_gather(struct xn_nic_facts *n, const char *ifname);
/* bus: of the interface, here and below. What cannot be had stays 0. */
void xn_host_gather(struct xn_host_facts *h, const char *bus);

void xn_device_gather(struct xn_device_facts *d, const char *bus);

/* What rss/ foresees (ctl/judge_rss.c). */
void xn_rss_gather(struct xn_nic_facts *n);
/* What netlink tells: features for XDP, and whose peer it is. */
void xn_nic_ask_netlink(struct xn_nic_facts *n);

#endif
