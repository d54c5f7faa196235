/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The statistics socket: a stream of lines, each a JSON object, answered by one line.
 *
 *	-> {"cmd":"stats"}
 *	<- {"version":"0.2.0", ...}
 *	-> {"cmd":"quit"}
 *	<- {"error":"..."}
 *
 * Whoever may connect may read, and nothing else. Nobody can hold up the daemon: there are
 * XN_CTL_CLIENTS at most, each with one answer in hand, and who does not read it is
 * dropped. Nor can anybody keep others out: who has been silent for longest makes room.
 */
#ifndef XN_VHOST_CTL_H
#define XN_VHOST_CTL_H

#include <jansson.h>
#include <stdint.h>

#include "vhost/listen.h"

#define XN_CTL_CLIENTS    8u
#define XN_CTL_LINE_BYTES 4096u     /* longer ones end the connection */
#define XN_CTL_PATIENCE_NS 1000000000ull    /* with an answer not read; with silence, when full */
#define XN_CTL_FDS        (1 + XN_CTL_CLIENTS)

struct xn_ctl;
struct pollfd;

/* l: taken over, and closed with it, also on failure. stats: makes the answer to "stats"; NULL
 * when there is no memory. 0 or -errno with a message. */
int  xn_ctl_open(struct xn_ctl **c, struct xn_listen *l, json_t *(*stats)(void *arg), void *arg);
/* NULL is allowed. */
void xn_ctl_close(struct xn_ctl *c);

const struct xn_listen *xn_ctl_listen(const struct xn_ctl *c);

/* Fills what to poll, XN_CTL_FDS at most; how many. */
unsigned xn_ctl_fds(const struct xn_ctl *c, struct pollfd *fds);
/* After poll, with the same entries. How long until it has to be called again, in ns;
 * UINT64_MAX: only when one is ready. Never blocks. */
uint64_t xn_ctl_handle(struct xn_ctl *c, const struct pollfd *fds, unsigned n, uint64_t now_ns);

#endif
