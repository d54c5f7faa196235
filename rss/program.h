/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The single steps by which a NIC is asked and changed. Nothing is remembered here; what was
 * there before is the caller's to keep.
 *
 * Drivers refuse what they do not have, each in its own way. A step that was refused is told in
 * words (`told`, may be NULL) and is no failure: what counts is what is read afterwards. Only
 * what no NIC could help ends a step with -errno: -EPERM, -ENODEV, -ENOMEM, with a message.
 */
#ifndef XN_RSS_PROGRAM_H
#define XN_RSS_PROGRAM_H

#include "rss/plan.h"

#define XN_NO_CONTEXT 0xffffffffu

/* What the interface, or one of its contexts, is like. Drivers without RSS: `fixed`, and with
 * one queue a table of one entry; else without a table. 0; -ENOENT: no such context; -errno. */
int xn_prog_read(struct xn_ethtool *e, uint32_t context, struct xn_nic_setup *s);

/* Do these mean the same to a NIC? */
bool xn_prog_same(const struct xn_nic_setup *a, const struct xn_nic_setup *b);

/* Has the interface's own setup become `plan`, as far as it can be; `now` is what it was. anyway:
 * sets what seems to be there, too. */
int xn_prog_whole(struct xn_ethtool *e, const struct xn_nic_setup *now,
		  const struct xn_nic_setup *plan, bool anyway, struct xn_nic_told *told);
/* Likewise key and table of a context. *context XN_NO_CONTEXT: a new one, whose number is
 * then there; it stays so, if the driver has none to give. */
int xn_prog_context(struct xn_ethtool *e, uint32_t *context, const struct xn_nic_setup *plan,
		    struct xn_nic_told *told);

/* Back to what it was. default_table: the driver's own table, which nobody had set. Whatever
 * goes wrong is logged, with the command that mends it. */
void xn_prog_restore(struct xn_ethtool *e, const struct xn_nic_setup *before, bool default_table);

/* Is this what a driver chooses if nobody sets a table? */
bool xn_prog_is_default(const struct xn_nic_setup *s);

/* ---- rules: frames to an address ---- */

struct xn_mac_rule {
	uint8_t mac[6];
	uint32_t context;        /* leads there; XN_NO_CONTEXT: to the queue */
	uint32_t queue;
};

/* *there: is it there already? */
int xn_prog_find_rule(struct xn_ethtool *e, const struct xn_mac_rule *r, bool *there);
/* *done: the driver took it. */
int xn_prog_add_rule(struct xn_ethtool *e, const struct xn_mac_rule *r, bool *done,
		     struct xn_nic_told *told);
/* All that are like this; context XN_NO_CONTEXT: those that lead to the queue. */
void xn_prog_drop_rules(struct xn_ethtool *e, const struct xn_mac_rule *r);

#endif
