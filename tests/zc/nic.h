/* SPDX-License-Identifier: BSD-2-Clause */
/* What the programs of tests/zc/rss share: verdicts, and a NIC's queues and key. */
#ifndef XN_TESTS_ZC_NIC_H
#define XN_TESTS_ZC_NIC_H

#include <stdbool.h>

#include "rss/config.h"
#include "rss/ethtool.h"
#include "rss/program.h"

/* Says that this is so, or that it is not, which is counted. */
void zc_check(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
unsigned zc_wrong(void);

void zc_set_channels(struct xn_ethtool *eth, unsigned n);
/* `text`, or the kernel's key where the NIC can have no other. */
void zc_take_key(struct xn_rss_config *rss, const struct xn_nic_setup *nic, const char *text);

#endif
