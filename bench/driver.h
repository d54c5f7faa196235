/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the guest's driver does in a turn, whoever is at the other end of its rings: the
 * engine in the same thread (guest_path.c), or another process (vhost_path.c).
 */
#ifndef XN_BENCH_DRIVER_H
#define XN_BENCH_DRIVER_H

#include "bench/path.h"

/* As the slots of struct xn_path_ops; the frames that they moved. */
unsigned xn_driver_rx(struct xn_near *w, struct xn_guest *g);
unsigned xn_driver_tx(struct xn_near *w, struct xn_guest *g, unsigned n);
unsigned xn_driver_fwd(struct xn_near *w, struct xn_guest *g);
uint64_t xn_driver_send_one(struct xn_near *w, struct xn_guest *g);
uint64_t xn_driver_look(struct xn_near *w, struct xn_guest *g);

#endif
