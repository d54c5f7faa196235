/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which receive buffers of a Linux guest could be lent in zero-copy mode: where such buffers
 * lie, and what the rule of xsk/zc.h says of them. It foretells; `doctor --try` asks the
 * kernel.
 */
#ifndef XN_CTL_LEND_H
#define XN_CTL_LEND_H

#include "xsk/zc.h"

/* What guests post: Linux by default, and the two usual larger sizes. */
#define XN_LEND_SIZES 3u
extern const uint32_t xn_lend_sizes[XN_LEND_SIZES];

/*
 * Where the i-th buffer of this size lies in memory that has nothing else: powers of two at
 * multiples of their size; others cut one after the other from blocks of 32 KiB (Linux
 * net/core/sock.c, skb_page_frag_refill; SKB_FRAG_PAGE_ORDER).
 */
uint64_t xn_lend_place(uint32_t buf_bytes, uint64_t i);
/* How long it is: the last of a block has what is left of it, too (Linux drivers/net/
 * virtio_net.c, add_recvbuf_mergeable). */
uint32_t xn_lend_length(uint32_t buf_bytes, uint64_t i);

/* How many of them find room in so many bytes. */
uint64_t xn_lend_count(uint32_t buf_bytes, uint64_t bytes);

/* Has a buffer room for what this driver may write? It has from this length on. */
uint32_t xn_lend_from(const struct xn_zc_shape *s);
bool xn_lend_long_enough(const struct xn_zc_shape *s, uint32_t buf_bytes);

/* Share of such buffers that can be lent where pages follow each other for the device in
 * runs: 512 pages, in huge pages of 2 MiB; 1: no page follows another. */
double xn_lend_share(const struct xn_zc_shape *s, uint32_t buf_bytes, uint32_t run_pages);

/* The longest MTU, up to the one that is, at which buffers of this size can be lent; 0: none. */
uint32_t xn_lend_mtu(const struct xn_zc_driver *d, uint32_t mtu, uint32_t buf_bytes);

#endif
