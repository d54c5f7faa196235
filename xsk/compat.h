/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What distributions' older kernel headers lack (Debian 12 ships those of Linux
 * 6.1). Values from include/uapi/linux/if_xdp.h of Linux 6.18; each stands under
 * #ifndef, so newer headers win.
 */
#ifndef XN_XSK_COMPAT_H
#define XN_XSK_COMPAT_H

#include <linux/if_xdp.h>

#ifndef XDP_USE_SG                       /* Linux 6.6: bind flag */
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD                    /* Linux 6.6: descriptor option */
#define XDP_PKT_CONTD (1 << 0)
#endif
#ifndef XDP_TX_METADATA                  /* Linux 6.8: descriptor option */
#define XDP_TX_METADATA (1 << 1)
#endif
#ifndef XDP_MAX_TX_SKB_BUDGET            /* Linux 6.17: socket option */
#define XDP_MAX_TX_SKB_BUDGET 9
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif
#ifndef AF_XDP
#define AF_XDP 44
#endif

#endif
