/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's driver with large frames: driver_large.c, for driver.c. */
#ifndef XN_BENCH_DRIVER_LARGE_H
#define XN_BENCH_DRIVER_LARGE_H

#include "bench/path.h"

void     xn_driver_large_guest(struct xn_guest_cfg *cfg, const struct xn_opts *o);
unsigned xn_driver_large_rx(struct xn_near *w, struct xn_guest *g);
unsigned xn_driver_large_tx(struct xn_near *w, struct xn_guest *g, unsigned n);

#endif
