/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A generator that is bound to a transmit queue of the far end: on veth that is the receive
 * queue of the near end, too (Linux drivers/net/veth.c, veth_xmit), whatever processor sends.
 * An AF_XDP socket in copy mode, so that each frame is a packet of the kernel's: one processor
 * makes about a million a second, a fifth of what the other generator does (bench/gen.c). It is
 * for more queues than there are processors.
 */
#ifndef XN_BENCH_SENDER_H
#define XN_BENCH_SENDER_H

#include "bench/lab.h"

struct xn_sender;

/* As xn_gen_*, which call these. */
int  xn_sender_create(struct xn_sender **s, const struct xn_lab *lab, unsigned queue);
void xn_sender_destroy(struct xn_sender *s);
int  xn_sender_start(struct xn_sender *s, const struct xn_gen_cfg *cfg);
void xn_sender_allow(struct xn_sender *s, uint64_t arrived);
uint64_t xn_sender_offered(const struct xn_sender *s);
void xn_sender_stop(struct xn_sender *s, struct xn_gen_counts *out);

#endif
