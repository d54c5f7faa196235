/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that goes on to program a NIC when its maker may not any more.
 *
 *	maker                           keeper, a child of nobody
 *	xn_nic_set ----- request -----> xn_nic_set      CAP_NET_ADMIN and nothing else, no fd
 *	          <---- answer, log --                  but the socket and state_dir; no system
 *	                                                call but those that this takes
 *	ends, however --- (EOF) ------> xn_nic_close, _exit
 *
 * xsknetd gives up all capabilities and nearly all system calls before it reads the first byte
 * from a front end; but a guest may change its RSS at any time, and what was set has to be put
 * back at the end. So rss/nic.h (cfg.keeper) has it done here: what comes from the maker is
 * checked again, and whoever has taken over the maker can choose key and table of this
 * NIC's own queues, and nothing else.
 *
 * It outlives its maker by the time that putting back takes, and does not hear SIGTERM, SIGINT
 * and SIGHUP, which go to whole groups of processes.
 */
#ifndef XN_RSS_KEEPER_H
#define XN_RSS_KEEPER_H

#include "rss/nic.h"

enum xn_keeper_request { XN_KEEPER_SET, XN_KEEPER_CHECK, XN_KEEPER_REPEAT, XN_KEEPER_CLOSE };

/* Makes it, with this NIC opened, and a socket to it. By the only thread there is, before there
 * are fds that must not stay open. 0 or what xn_nic_open says; -EMFILE, -ENOMEM, ... */
int xn_keeper_start(int *fd, const struct xn_nic_cfg *cfg);

/*
 * One request and its answer: what the call of the same name returns, and its message. rss: of
 * SET; NULL as there. -EPIPE it has gone; -ETIMEDOUT no answer for 10 s: then *fd is closed, and
 * -1, and the keeper puts back what it has set, once it can. One thread at a time.
 */
int xn_keeper_ask(int *fd, enum xn_keeper_request what, const struct xn_rss_config *rss,
		  struct xn_nic_told *told, bool *again);

#endif
