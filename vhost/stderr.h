/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the daemon's lines go: to stderr, with a level for the journal if that is there. */
#ifndef XN_VHOST_STDERR_H
#define XN_VHOST_STDERR_H

#include "xsknet.h"

/* Once, first of all: from here on xn_log writes there, up to this level. */
void xn_stderr_open(enum xn_log_level level);

#endif
