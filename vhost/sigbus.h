/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that a front end shares is a file, which it may truncate at any time: the next
 * access would end this process (SIGBUS). Ranges that are told here are, when that happens,
 * replaced by zeroed pages of our own; whoever shared them has harmed only himself.
 */
#ifndef XN_VHOST_SIGBUS_H
#define XN_VHOST_SIGBUS_H

#include <stdbool.h>
#include <stddef.h>

#include "xsknet.h"

/* Once, before there is anything to guard. 0 or -errno with a message. Until then, and
 * outside of what is guarded, a fault ends the process as ever. */
int  xn_sigbus_init(void);

/* A mapping that may fault: the dirty log, the inflight area. Whole pages. Main thread. */
void xn_sigbus_guard(void *addr, size_t bytes);
/* Before it is unmapped; no thread uses it any more. Main thread. */
void xn_sigbus_unguard(void *addr);

/* Guest memory (xn_mem_poison), of which there is one at a time: replaces the last; NULL: none
 * any more. Main thread. */
void xn_sigbus_guard_mem(struct xn_mem *mem);

/* Readable when something was replaced; -1 before xn_sigbus_init. */
int  xn_sigbus_fd(void);
/* Was something replaced since the last call? */
bool xn_sigbus_take(void);

#endif
