/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A NIC behind ethtool's ioctl, as rss/ethtool.h sees it: what the kernel checks first (Linux
 * net/ethtool/ioctl.c), then what a driver of this kind does. And it receives frames: with the
 * key, table, fields and rules that it has, on a queue.
 */
#ifndef XN_TESTS_FAKE_ETHTOOL_H
#define XN_TESTS_FAKE_ETHTOOL_H

#include "rss/ethtool.h"

#define FNIC_CONTEXTS 4u     /* the interface's own is number 0 */
#define FNIC_RULES    8u
#define FNIC_FLOWS    6u     /* ip4 ip6 tcp4 udp4 tcp6 udp6 */

struct fnic_context {
	bool used;
	uint32_t table[XN_ETH_TABLE_MAX];
	uint8_t key[XN_ETH_KEY_MAX];
	uint8_t hfunc, xfrm;
};

/* Kinds of NICs: what is false cannot be done. */
struct fnic_kind {
	const char *driver;
	unsigned rings, table_len, key_len;
	bool rss;                /* key and table can be asked for */
	bool table_set, key_set, fields_get, fields_set;
	bool contexts, context_key;      /* context_key: each has a key of its own */
	bool rules, any_place;           /* any_place: only without saying where */
	bool rules_off;                  /* ethtool -K ntuple off, which refuses rules */
	uint8_t hfuncs, xfrms;           /* that can be chosen; 0: only Toeplitz, only none */
	bool whole_ip_resets;            /* virtio_net: fields of IPv4 make it forget all others */
	bool keeps_old_key;              /* says that it took a key, and did not */
};

struct fnic {
	struct xn_ethtool e;
	struct fnic_kind kind;
	struct fnic_context ctx[FNIC_CONTEXTS];
	bool table_chosen;               /* by somebody: the driver's default is gone */
	/* The hardware has forgotten table and key, and the driver does not know: as it tells them,
	 * they are there again with the next that is set. */
	bool amnesia;
	uint64_t fields[FNIC_FLOWS];
	struct { bool used; struct ethtool_rxnfc c; } rule[FNIC_RULES];
	bool ntuple;
	unsigned requests, changes;      /* so far */
	int pid;                         /* of who made the last one */
	volatile bool hangs;             /* requests take as long as this is so */
	/* The change with this number (from 1) fails with this error; or the process ends in front
	 * of it, with status FNIC_DEAD. 0: none. */
	unsigned fail_at, die_at;
	int fail_with;
};
#define FNIC_DEAD 77

/* All is as a driver has it at first: key of its own, queues in turn, fields with ports. */
void fnic_init(struct fnic *n, const struct fnic_kind *kind);
/* Bit-serial, whatever the key's length: bits that it does not have are 0. */
uint32_t fnic_toeplitz(const uint8_t *key, unsigned key_len, const uint8_t *input, unsigned n);
/* The queue on which a frame arrives. */
unsigned fnic_receive(const struct fnic *n, const uint8_t *frame, unsigned bytes);
/* What a driver that forgets does when the link goes down, or queues are changed. */
void fnic_forget(struct fnic *n, unsigned rings);
/* Is everything that can be asked for as in `before`? (Not: counters, faults.) */
bool fnic_same(const struct fnic *n, const struct fnic *before);

#endif
