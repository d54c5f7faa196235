/* SPDX-License-Identifier: BSD-2-Clause */
/* A look at a daemon as text for people. */
#ifndef XN_CTL_SHOW_H
#define XN_CTL_SHOW_H

#include <stdio.h>

#include "ctl/snapshot.h"

/* Rates are since `then`; NULL: since the daemon started. */
void xn_show(FILE *out, const struct xn_snap *now, const struct xn_snap *then);

#endif
