/* SPDX-License-Identifier: BSD-2-Clause */
/* xsknetd's statistics, asked for over its --ctl socket. */
#ifndef XN_BENCH_CTL_H
#define XN_BENCH_CTL_H

#include "bench/path.h"

/* All queues' packets, copies and turns so far; 0 if there is no answer that makes sense. */
void xn_ctl_copies(const char *path, struct xn_copies *out);
/* How its XDP program is attached, and the mode of its sockets; "" if not known. */
void xn_ctl_place(const char *path, char attach[16], char mode[16]);

#endif
