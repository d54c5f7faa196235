/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What zero-copy drivers do with memory that is lent to them.
 *
 * AF_XDP's contract ends at the driver: how long a buffer the NIC is told, what it writes
 * before and behind a frame, and what becomes of a frame that is too long, is each driver's
 * own. Lending guest memory is safe only where that is known, so a driver that is not in the
 * table, or is denied by it, gets bounce frames and nothing of the guest's.
 *
 *	landing                                        landing + frame size
 *	|<- front ->|------------- frame --------------|<- behind ->|
 *	            |<- shift ->| the frame, where the NIC has put a timestamp first
 *
 * frame size: chunk - headroom - 256, of which drivers get a multiple of 128 (rounded down
 * by Linux 7.1 and later, xsk_pool_get_rx_frame_size). Sources: Linux 7.2.12, paths below
 * drivers/net/; "measured" with the programs of tests/zc, on emulated NICs. What is not
 * measured is what the source says, of hardware that nobody here has tried: for those,
 * a start-up probe has to pass.
 */
#ifndef XN_XSK_DRIVERS_H
#define XN_XSK_DRIVERS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/types.h"

enum xn_zc_trust {
	XN_ZC_DENIED,             /* nothing is lent, and source says why */
	XN_ZC_IF_PROBED,          /* read in its source: only after a probe of this very bind */
	XN_ZC_MEASURED,           /* tests/zc has measured it */
};

struct xn_zc_driver {
	const char *name;         /* as ethtool tells it: xn_probe_driver */
	enum xn_zc_trust trust;
	uint16_t unit;            /* the NIC counts the length of buffers in these, bytes ... */
	bool rounds_up;           /* ... and rounds up, so that it may write behind; or down, and
				     * frames longer than that come in pieces, each like a frame */
	uint16_t front;           /* bytes that are written before the frame */
	uint16_t shift;           /* how much later a frame may begin; needs as much more room */
	uint16_t frame_min;       /* bind is refused below, whatever the MTU */
	uint8_t segments;         /* xdp_zc_max_segs: descriptors of one packet in transmit */
	bool batch;               /* takes TX descriptors by xsk_tx_peek_release_desc_batch: a
				     * broken packet of two pieces is then never sent, and tells
				     * whether pages follow each other (tests/zc/contig.c) */
	uint16_t keep;            /* so many receive buffers have to be with the driver at any time,
				     * or it hands out old ones (xsk/zc.h: a ring that runs dry) */
	bool tx_in_page;          /* what it sends must not cross pages, even where the next follows */
	const char *source;
};

/* QinQ frame: what some drivers want to have room for. */
#define XN_ZC_QINQ 1522u

static const struct xn_zc_driver xn_zc_drivers[] = {
	/* The device writes the virtio-net header itself before the frame: 12 bytes, which are
	 * the guest's header; with VIRTIO_NET_F_HASH_REPORT 20, and 8 of them before the buffer. */
	{ "virtio_net", XN_ZC_MEASURED, 128, false, 12, 0, 0, 1, true, 0, false,
	  "virtio_net.c: virtnet_add_recvbuf_xsk; needs VIRTIO_F_ACCESS_PLATFORM" },
	/* Frames longer than the unit are not recognised as pieces (no test of EOP). A NIC with
	 * timestamps in the packet (82580 and later, when they are asked for) shifts by 16.
	 * keep: a poll takes up to 64 frames (NAPI), and buffers are refilled only when 16 are
	 * missing (IGB_RX_BUFFER_WRITE). Measured, beside those in the RX ring: with 2, 36 and 61
	 * buffers it goes wrong at once, with 81 and more it never did in a million frames.
	 * tx_in_page: QEMU's igb (10.0; hw/net/net_tx_pkt.c, net_tx_pkt_add_raw_fragment_pci) does
	 * not send what lies in two pages that follow each other behind an IOMMU only, and
	 * completes it as if it had; and nothing tells it from a real one. */
	{ "igb", XN_ZC_MEASURED, 1024, false, 0, 16, 0, 1, true, 80, true,
	  "ethernet/intel/igb/igb_main.c: igb_setup_srrctl; igb_xsk.c: igb_clean_rx_irq_zc" },
	{ "igc", XN_ZC_IF_PROBED, 1024, false, 0, 16, XN_ZC_QINQ, 1, false, 0, false,
	  "ethernet/intel/igc/igc_main.c: igc_configure_rx_ring, igc_clean_rx_irq_zc; "
	  "igc_xdp.c: igc_xdp_enable_pool" },
	/* RXDCTL.RLPML drops what is longer, to the byte; 82599EB has no such limit and counts
	 * in units of 1024, which ethtool's name does not tell apart: hence the unit. */
	{ "ixgbe", XN_ZC_IF_PROBED, 1024, false, 0, 0, 0, 1, false, 0, false,
	  "ethernet/intel/ixgbe/ixgbe_main.c: ixgbe_configure_srrctl, ixgbe_configure_rx_ring" },
	{ "i40e", XN_ZC_IF_PROBED, 128, true, 0, 0, 0, 8, true, 0, false,
	  "ethernet/intel/i40e/i40e_main.c: i40e_configure_rx_ring (dbuff)" },
	{ "ice", XN_ZC_IF_PROBED, 128, true, 0, 0, 0, 8, true, 0, false,
	  "ethernet/intel/ice/ice_base.c: ice_setup_rx_ctx (dbuf)" },
	{ "idpf", XN_ZC_IF_PROBED, 128, false, 0, 0, 0, 1, false, 0, false,
	  "ethernet/intel/idpf/xsk.c: idpf_xsk_pool_setup; libeth/xsk.c: libeth_xskfq_create" },
	/* A frame longer than the interface's MTU allows may reach it where another function of
	 * the port has a larger one: it is dropped after it was written (rx.c: hw_mtu). */
	{ "mlx5_core", XN_ZC_IF_PROBED, 1, false, 0, 0, 0, 1, false, 0, false,
	  "ethernet/mellanox/mlx5/core/en/xsk/setup.c: mlx5e_validate_xsk_param" },
	/* DMA_RBSZ: the hardware ignores the lowest bits, as many as its bus has bytes. */
	{ "st_gmac", XN_ZC_IF_PROBED, 128, false, 0, 0, XN_ZC_QINQ, 1, false, 0, false,
	  "ethernet/stmicro/stmmac/stmmac_xdp.c: stmmac_xdp_enable_pool; dwmac4_dma.c: set_bfsize" },
	{ "st_xgmac", XN_ZC_IF_PROBED, 128, false, 0, 0, XN_ZC_QINQ, 1, false, 0, false,
	  "ethernet/stmicro/stmmac/stmmac_xdp.c: stmmac_xdp_enable_pool; dwxgmac2_dma.c: set_bfsize" },
	/* 16 bytes of metadata before each frame, behind the landing: every frame is shifted. */
	{ "tsnep", XN_ZC_DENIED, 4, false, 0, 16, 1544, 1, true, 0, false,
	  "ethernet/engleder/tsnep_main.c: TSNEP_RX_INLINE_METADATA_SIZE: no frame begins behind "
	  "a virtio header" },
	/* The length that the NIC is told is not the pool's frame size. */
	{ "gve", XN_ZC_DENIED, 1, false, 0, 0, 0, 1, false, 0, false,
	  "ethernet/google/gve/gve_buffer_mgmt_dqo.c: gve_rx_post_buffer posts an address and no "
	  "length" },
	{ "nfp", XN_ZC_DENIED, 1, false, 64, 0, 0, 1, false, 0, false,
	  "ethernet/netronome/nfp/nfd3/xsk.c: the firmware writes metadata before the frame" },
	/* The kernel's own pointer to a buffer lies in the buffer: a guest could change it. */
	{ "fsl_dpaa2_eth", XN_ZC_DENIED, 1, false, 256, 0, 0, 1, true, 0, false,
	  "ethernet/freescale/dpaa2/dpaa2-xsk.c: dpaa2_xsk_run_xdp reads a pointer from the chunk" },
	{ "fec", XN_ZC_DENIED, 64, false, 0, 0, 0, 1, true, 0, false,
	  "ethernet/freescale/fec_main.c: fec_alloc_rxq_buffers_pp: addresses of some chips have "
	  "to be multiples of 64" },
	{ "icssg-prueth", XN_ZC_DENIED, 1, false, 0, 0, 1536, 1, false, 0, false,
	  "ethernet/ti/icssg/icssg_common.c: prueth_dma_rx_push_mapped: not looked into" },
};

/* NULL: nobody has looked into it, so nothing may be lent. */
static inline const struct xn_zc_driver *xn_zc_driver_find(const char *name)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(xn_zc_drivers); i++)
		if (!strcmp(xn_zc_drivers[i].name, name))
			return &xn_zc_drivers[i];
	return NULL;
}

/* Of chunks with room for frame_bytes: the longest frame that comes whole. */
static inline uint32_t xn_zc_whole(const struct xn_zc_driver *d, uint32_t frame_bytes)
{
	uint32_t told = XN_ALIGN_DOWN(frame_bytes, 128u);

	told = d->rounds_up ? told : told / d->unit * d->unit;
	return told > d->shift ? told - d->shift : 0;
}

/* How many bytes from the landing on may be written. The lend rule: a buffer has so many
 * behind its header, and the header is at least `front` bytes. */
static inline uint32_t xn_zc_reach(const struct xn_zc_driver *d, uint32_t frame_bytes)
{
	return d->rounds_up ? (frame_bytes + d->unit - 1) / d->unit * d->unit : frame_bytes;
}

#endif
