/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the guest's driver does in a turn, whoever is at the other end of its rings: the
 * engine in the same thread (guest_path.c), or another process (vhost_path.c).
 */
#ifndef XN_BENCH_DRIVER_H
#define XN_BENCH_DRIVER_H

#include "bench/path.h"

/*
 * What the guest is like: with a longer MTU than usual it sends packets of several pieces (their
 * head apart, the rest in pages), and has receive buffers of a page, over which frames are spread,
 * as Linux's driver does.
 * max_frame: 0: as the MTU has it.
 */
void xn_driver_guest(struct xn_guest_cfg *cfg, const struct xn_path *p, uint32_t max_frame);

/* As the slots of struct xn_path_ops; the frames that they moved. */
unsigned xn_driver_rx(struct xn_near *w, struct xn_guest *g);
unsigned xn_driver_tx(struct xn_near *w, struct xn_guest *g, unsigned n);
unsigned xn_driver_fwd(struct xn_near *w, struct xn_guest *g);
uint64_t xn_driver_send_one(struct xn_near *w, struct xn_guest *g);
uint64_t xn_driver_look(struct xn_near *w, struct xn_guest *g);

#endif
