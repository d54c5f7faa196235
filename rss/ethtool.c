/* SPDX-License-Identifier: BSD-2-Clause */
/* ethtool requests about receive-side scaling. Contract in rss/ethtool.h. */
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/types.h"
#include "rss/ethtool.h"

#define NO_CHANGE 0xffffffffu    /* ETH_RXFH_INDIR_NO_CHANGE, ETH_RXFH_CONTEXT_ALLOC */

/* ---- the socket ---- */

static int call_kernel(struct xn_ethtool *e, void *request)
{
	struct ifreq req = { .ifr_data = request };

	memcpy(req.ifr_name, e->ifname, sizeof(req.ifr_name));
	return ioctl(e->fd, SIOCETHTOOL, &req) ? -errno : 0;
}

int xn_ethtool_open(struct xn_ethtool *e, const char *ifname)
{
	*e = (struct xn_ethtool){ .call = call_kernel, .fd = -1 };
	if (strlen(ifname) >= sizeof(e->ifname))
		return -ENODEV;
	strcpy(e->ifname, ifname);
	/* Any socket takes these requests; a service may have no other. */
	e->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return e->fd < 0 ? -errno : 0;
}

void xn_ethtool_close(struct xn_ethtool *e)
{
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
}

/* ---- key and table ---- */

/* input_xfrm (Linux 6.8) stands where headers of before have the first reserved byte, which had
 * to be 0: in both cases 0 is "addresses as they are". */
static uint8_t *xfrm_of(struct ethtool_rxfh *h)
{
	return &h->hfunc + 1;
}
_Static_assert(offsetof(struct ethtool_rxfh, rss_config) ==
	       offsetof(struct ethtool_rxfh, hfunc) + 8, "hfunc, xfrm, 2 reserved, 4 reserved");

/* A request with room for a table and a key behind it. */
static struct ethtool_rxfh *new_request(uint32_t cmd, uint32_t context, uint32_t table_len,
					uint32_t key_len)
{
	struct ethtool_rxfh *h = calloc(1, sizeof(*h) + table_len * sizeof(uint32_t) + key_len);

	if (!h)
		return NULL;
	h->cmd = cmd;
	h->rss_context = context;
	h->indir_size = table_len;
	h->key_size = key_len;
	return h;
}

static int ask_lengths(struct xn_ethtool *e, uint32_t context, uint32_t *table_len,
		       uint32_t *key_len)
{
	struct ethtool_rxfh h = { .cmd = ETHTOOL_GRSSH, .rss_context = context };
	int err = e->call(e, &h);

	*table_len = h.indir_size;
	*key_len = h.key_size;
	if (!err && (h.indir_size > XN_ETH_TABLE_MAX || h.key_size > XN_ETH_KEY_MAX))
		return -E2BIG;
	return err;
}

int xn_eth_rss_get(struct xn_ethtool *e, uint32_t context, struct xn_eth_rss *r)
{
	struct ethtool_rxfh *h;
	uint32_t table_len, key_len;
	int err = ask_lengths(e, context, &table_len, &key_len);

	*r = (struct xn_eth_rss){ 0 };
	if (err)
		return err;
	h = new_request(ETHTOOL_GRSSH, context, table_len, key_len);
	if (!h)
		return -ENOMEM;
	err = e->call(e, h);
	if (err)
		goto out_free;
	/* A key that belongs to all contexts has length 0 in each of them. */
	r->table_len = table_len;
	r->key_len = XN_MIN(h->key_size, key_len);
	r->hfunc = h->hfunc;
	/* In a context of a driver that knows nothing of it: 255. */
	r->xfrm = *xfrm_of(h) == 0xff ? 0 : *xfrm_of(h);
	memcpy(r->table, h->rss_config, table_len * sizeof(uint32_t));
	memcpy(r->key, h->rss_config + table_len, r->key_len);
out_free:
	free(h);
	return err;
}

static int set(struct xn_ethtool *e, uint32_t *context, const struct xn_eth_rss *r,
	       enum xn_eth_table table)
{
	uint32_t table_len = table == XN_ETH_TABLE_SET ? r->table_len : 0;
	struct ethtool_rxfh *h = new_request(ETHTOOL_SRSSH, *context, table_len, r->key_len);
	int err;

	if (!h)
		return -ENOMEM;
	if (table == XN_ETH_TABLE_KEEP)
		h->indir_size = NO_CHANGE;
	h->hfunc = r->hfunc;
	*xfrm_of(h) = r->xfrm;
	memcpy(h->rss_config, r->table, table_len * sizeof(uint32_t));
	memcpy(h->rss_config + table_len, r->key, r->key_len);
	err = e->call(e, h);
	*context = h->rss_context;
	free(h);
	return err;
}

int xn_eth_rss_set(struct xn_ethtool *e, uint32_t context, const struct xn_eth_rss *r,
		   enum xn_eth_table table)
{
	return set(e, &context, r, table);
}

int xn_eth_context_create(struct xn_ethtool *e, const struct xn_eth_rss *r, uint32_t *context)
{
	*context = NO_CHANGE;
	return set(e, context, r, XN_ETH_TABLE_SET);
}

int xn_eth_context_delete(struct xn_ethtool *e, uint32_t context)
{
	const struct xn_eth_rss none = { 0 };

	return set(e, &context, &none, XN_ETH_TABLE_RESET);
}

int xn_eth_fields_get(struct xn_ethtool *e, uint32_t flow, uint64_t *fields)
{
	struct ethtool_rxnfc c = { .cmd = ETHTOOL_GRXFH, .flow_type = flow };
	int err = e->call(e, &c);

	*fields = err ? 0 : c.data;
	return err;
}

int xn_eth_fields_set(struct xn_ethtool *e, uint32_t flow, uint64_t fields)
{
	struct ethtool_rxnfc c = { .cmd = ETHTOOL_SRXFH, .flow_type = flow, .data = fields };

	return e->call(e, &c);
}

/* ---- rules ---- */

static int list_rules(struct xn_ethtool *e, struct xn_eth_rules *rules, uint32_t n)
{
	struct ethtool_rxnfc *c = calloc(1, sizeof(*c) + n * sizeof(uint32_t));
	int err;

	if (!c)
		return -ENOMEM;
	c->cmd = ETHTOOL_GRXCLSRLALL;
	c->rule_cnt = n;
	err = e->call(e, c);
	if (err)
		goto out_free;
	rules->places = (uint32_t)c->data & ~RX_CLS_LOC_SPECIAL;
	rules->n = XN_MIN(c->rule_cnt, n);
	rules->at = calloc(n + 1, sizeof(uint32_t));
	if (!rules->at)
		err = -ENOMEM;
	else
		memcpy(rules->at, c->rule_locs, rules->n * sizeof(uint32_t));
out_free:
	free(c);
	return err;
}

int xn_eth_rules_get(struct xn_ethtool *e, struct xn_eth_rules *rules)
{
	struct ethtool_rxnfc c = { .cmd = ETHTOOL_GRXCLSRLCNT };
	int err = e->call(e, &c);

	*rules = (struct xn_eth_rules){ .any_place = c.data & RX_CLS_LOC_SPECIAL };
	if (err)
		return err;
	return c.rule_cnt > XN_ETH_RULES_MAX ? -E2BIG : list_rules(e, rules, c.rule_cnt);
}

int xn_eth_rule_get(struct xn_ethtool *e, uint32_t at, struct ethtool_rxnfc *rule)
{
	*rule = (struct ethtool_rxnfc){ .cmd = ETHTOOL_GRXCLSRULE, .fs.location = at };
	return e->call(e, rule);
}

int xn_eth_rule_insert(struct xn_ethtool *e, struct ethtool_rxnfc *rule)
{
	rule->cmd = ETHTOOL_SRXCLSRLINS;
	return e->call(e, rule);
}

int xn_eth_rule_delete(struct xn_ethtool *e, uint32_t at)
{
	struct ethtool_rxnfc c = { .cmd = ETHTOOL_SRXCLSRLDEL, .fs.location = at };

	return e->call(e, &c);
}

static int get_flags(struct xn_ethtool *e, uint32_t *flags)
{
	struct ethtool_value v = { .cmd = ETHTOOL_GFLAGS };
	int err = e->call(e, &v);

	*flags = v.data;
	return err;
}

int xn_eth_ntuple_get(struct xn_ethtool *e, bool *on)
{
	uint32_t flags = 0;
	int err = get_flags(e, &flags);

	*on = flags & ETH_FLAG_NTUPLE;
	return err;
}

int xn_eth_ntuple_set(struct xn_ethtool *e, bool on)
{
	struct ethtool_value v = { .cmd = ETHTOOL_SFLAGS };
	uint32_t flags = 0;
	int err = get_flags(e, &flags);

	v.data = on ? flags | ETH_FLAG_NTUPLE : flags & ~(uint32_t)ETH_FLAG_NTUPLE;
	return err ? err : e->call(e, &v);
}

/* ---- the interface ---- */

int xn_eth_rings(struct xn_ethtool *e, unsigned *n)
{
	struct ethtool_rxnfc c = { .cmd = ETHTOOL_GRXRINGS };
	struct ethtool_channels ch = { .cmd = ETHTOOL_GCHANNELS };
	int err = e->call(e, &c);

	*n = err ? 0 : (unsigned)c.data;
	if (!err || e->call(e, &ch))
		return err;
	/* Drivers without RSS (veth) do not count rings where RSS looks for them. */
	*n = ch.rx_count + ch.combined_count;
	return *n ? 0 : err;
}

int xn_eth_driver(struct xn_ethtool *e, char name[32])
{
	struct ethtool_drvinfo d = { .cmd = ETHTOOL_GDRVINFO };
	int err = e->call(e, &d);

	snprintf(name, 32, "%.31s", d.driver);
	return err;
}
