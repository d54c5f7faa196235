/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ethtool requests that receive-side scaling needs: hash key, indirection table, hash
 * fields, RSS contexts, rules by address.
 *
 * All of them are ioctls. Linux 6.17 has ETHTOOL_MSG_RSS_SET beside them, which calls the same
 * functions of the driver; but it leaves out the driver when it finds no change, and up to some
 * 7.x looks for one only in the first quarter of the table (net/ethtool/rss.c,
 * rss_set_prep_indir). The ioctl always asks the driver, and exists everywhere; rules exist
 * nowhere else.
 *
 * Each call returns 0 or -errno as the kernel or the driver gave it (-EOPNOTSUPP: the driver
 * has no such thing), and leaves the words to the caller. What asks needs no privileges, what
 * sets needs CAP_NET_ADMIN in the interface's network namespace.
 */
#ifndef XN_RSS_ETHTOOL_H
#define XN_RSS_ETHTOOL_H

#include <linux/ethtool.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/* Longest that drivers have: mlx5 has 4096 entries, Linux hands out keys of 256 bytes. */
#define XN_ETH_TABLE_MAX 4096u
#define XN_ETH_KEY_MAX   256u
#define XN_ETH_RULES_MAX 8192u
#define XN_ETH_TOEPLITZ  1u      /* of hfunc (Linux include/linux/ethtool.h, ETH_RSS_HASH_TOP) */

struct xn_ethtool {
	/* One request of SIOCETHTOOL. Tests put a NIC of their own here. */
	int (*call)(struct xn_ethtool *e, void *request);
	char ifname[IF_NAMESIZE];
	int fd;
	uint8_t host_key[40];            /* of the kernel, once asked for; rss/program.c */
	bool has_host_key;
};

/* Any thread; the interface is looked for in its network namespace. */
int  xn_ethtool_open(struct xn_ethtool *e, const char *ifname);
void xn_ethtool_close(struct xn_ethtool *e);

/* ---- key and table ---- */

struct xn_eth_rss {
	uint32_t table_len, key_len;     /* 0: the driver has none, or does not tell it */
	uint8_t hfunc;                   /* one bit: XN_ETH_TOEPLITZ or another; 0: not told */
	uint8_t xfrm;                    /* what is done to addresses before; 0: nothing */
	uint32_t table[XN_ETH_TABLE_MAX];
	uint8_t key[XN_ETH_KEY_MAX];
};

enum xn_eth_table { XN_ETH_TABLE_KEEP, XN_ETH_TABLE_SET, XN_ETH_TABLE_RESET };

/* Context 0 is the interface's own. -E2BIG: longer than above; -ENOENT no such context. */
int xn_eth_rss_get(struct xn_ethtool *e, uint32_t context, struct xn_eth_rss *r);
/* Sets hfunc (0: not), xfrm, the table as `table` says, and the key unless its length is 0.
 * The lengths have to be the driver's. RESET: the driver's default, as long as nobody sets
 * one, changed with the number of queues. */
int xn_eth_rss_set(struct xn_ethtool *e, uint32_t context, const struct xn_eth_rss *r,
		   enum xn_eth_table table);
int xn_eth_context_create(struct xn_ethtool *e, const struct xn_eth_rss *r, uint32_t *context);
int xn_eth_context_delete(struct xn_ethtool *e, uint32_t context);

/* What of a frame goes into the hash: RXH_* of one flow type (TCP_V4_FLOW, ...). */
int xn_eth_fields_get(struct xn_ethtool *e, uint32_t flow, uint64_t *fields);
int xn_eth_fields_set(struct xn_ethtool *e, uint32_t flow, uint64_t fields);

/* ---- rules ---- */

struct xn_eth_rules {
	uint32_t n, places;              /* places: 0, if the driver does not tell */
	bool any_place;                  /* the driver can choose one itself */
	uint32_t *at;                    /* n of them; free() it */
};

int xn_eth_rules_get(struct xn_ethtool *e, struct xn_eth_rules *rules);
int xn_eth_rule_get(struct xn_ethtool *e, uint32_t at, struct ethtool_rxnfc *rule);
/* rule->fs.location: where, or RX_CLS_LOC_ANY; then where it got to. */
int xn_eth_rule_insert(struct xn_ethtool *e, struct ethtool_rxnfc *rule);
int xn_eth_rule_delete(struct xn_ethtool *e, uint32_t at);

/* Are rules switched on (ethtool -K IFNAME ntuple on)? Many drivers refuse them else. */
int xn_eth_ntuple_get(struct xn_ethtool *e, bool *on);
int xn_eth_ntuple_set(struct xn_ethtool *e, bool on);

/* ---- the interface ---- */

/* Receive queues that are in use. */
int xn_eth_rings(struct xn_ethtool *e, unsigned *n);
int xn_eth_driver(struct xn_ethtool *e, char name[32]);

#endif
