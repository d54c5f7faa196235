/* SPDX-License-Identifier: BSD-2-Clause */
/* Steps that ask and change a NIC. Contract in rss/program.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "rss/program.h"

/* What no other request would change. */
static bool is_final(int err)
{
	return err == -EPERM || err == -ENODEV || err == -ENOMEM;
}

static int fail(const struct xn_ethtool *e, int err, const char *what)
{
	if (err == -EPERM)
		return xn_fail(EPERM, "%s: not allowed to set %s (needs CAP_NET_ADMIN)", e->ifname, what);
	return xn_fail(-err, "%s: cannot set %s: %s", e->ifname, what, strerror(-err));
}

/* A step was answered with err. */
static int refused(const struct xn_ethtool *e, int err, const char *what, struct xn_nic_told *told)
{
	if (is_final(err))
		return fail(e, err, what);
	if (err && told)
		xn_nic_say(told, XN_NIC_CORRECTED, "the driver refuses %s (%s)", what, strerror(-err));
	return 0;
}

/* ---- asking ---- */

/*
 * Drivers that set a key of the kernel's, and tell it to nobody: igb (Linux 7.2, igb_main.c,
 * igb_setup_mrqc). It is to be had elsewhere, as "fa:cf:5b:...".
 */
static bool read_host_key(uint8_t key[40])
{
	static const char path[] = "/proc/sys/net/core/netdev_rss_key";
	char text[3 * XN_ETH_KEY_MAX + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	char *at = text, *end;

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	for (unsigned i = 0; i < 40; i++, at = end + 1) {
		key[i] = (uint8_t)strtoul(at, &end, 16);
		if (end != at + 2 || (*end != ':' && i < 39))
			return false;
	}
	return true;
}

/* It stays what it is; and whoever asks may be allowed to open files only at first. */
static void ask_host_key(struct xn_ethtool *e, struct xn_nic_setup *s)
{
	if (!e->has_host_key)
		e->has_host_key = read_host_key(e->host_key);
	if (!e->has_host_key)
		return;
	memcpy(s->rss.key, e->host_key, sizeof(e->host_key));
	s->rss.key_len = sizeof(e->host_key);
	s->key_fixed = true;
}

static void ask_fields(struct xn_ethtool *e, struct xn_nic_setup *s)
{
	for (unsigned f = 0; f < XN_NIC_FLOWS; f++)
		s->fields_told[f] = !xn_eth_fields_get(e, xn_nic_flow_type(f), &s->fields[f]);
}

/* The key of a context that has none of its own is the interface's. */
static int ask_shared_key(struct xn_ethtool *e, struct xn_eth_rss *r)
{
	struct xn_eth_rss *main = malloc(sizeof(*main));
	int err = main ? xn_eth_rss_get(e, 0, main) : -ENOMEM;

	if (!err) {
		r->key_len = main->key_len;
		r->hfunc = main->hfunc;
		memcpy(r->key, main->key, sizeof(r->key));
	}
	free(main);
	return err;
}

int xn_prog_read(struct xn_ethtool *e, uint32_t context, struct xn_nic_setup *s)
{
	int err;

	memset(s, 0, sizeof(*s));
	memcpy(s->ifname, e->ifname, sizeof(s->ifname));
	if (xn_eth_driver(e, s->driver))
		strcpy(s->driver, "the driver");
	s->shared = context != 0;
	err = xn_eth_rss_get(e, context, &s->rss);
	if (!err && context && !s->rss.key_len) {
		err = ask_shared_key(e, &s->rss);
		s->key_fixed = true;
	}
	if (err == -ENODEV || err == -ENOMEM || err == -ENOENT)
		return err;
	s->fixed = err || !s->rss.table_len;
	/* Drivers of one queue tell nothing, not even that. */
	if (xn_eth_rings(e, &s->rings))
		s->rings = s->fixed ? 0 : 1;
	if (s->fixed && s->rings == 1)
		s->rss.table_len = 1;
	if (!s->fixed && !s->rss.key_len && !strcmp(s->driver, "igb"))
		ask_host_key(e, s);
	ask_fields(e, s);
	return 0;
}

static bool same_rss(const struct xn_eth_rss *a, const struct xn_eth_rss *b)
{
	return a->table_len == b->table_len && a->key_len == b->key_len && a->hfunc == b->hfunc &&
	       a->xfrm == b->xfrm && !memcmp(a->key, b->key, a->key_len) &&
	       !memcmp(a->table, b->table, a->table_len * sizeof(a->table[0]));
}

bool xn_prog_same(const struct xn_nic_setup *a, const struct xn_nic_setup *b)
{
	for (unsigned f = 0; f < XN_NIC_FLOWS; f++)
		if (a->fields_told[f] && b->fields_told[f] && a->fields[f] != b->fields[f])
			return false;
	return same_rss(&a->rss, &b->rss);
}

bool xn_prog_is_default(const struct xn_nic_setup *s)
{
	for (unsigned i = 0; i < s->rss.table_len; i++)
		if (!s->rings || s->rss.table[i] != i % s->rings)
			return false;
	return true;
}

/* ---- the interface's own ---- */

/*
 * Fields first, since a driver may use the new ones only with the next table (virtio_net without
 * rxhash). One may change another, so each is asked for just before, and all of them twice.
 */
static int set_fields(struct xn_ethtool *e, const struct xn_nic_setup *plan, bool *changed,
		      struct xn_nic_told *told)
{
	int err = 0;

	for (unsigned i = 0; i < 2 * XN_NIC_FLOWS && !err; i++) {
		unsigned f = i % XN_NIC_FLOWS;
		uint64_t now;

		if (!plan->fields_told[f] || xn_eth_fields_get(e, xn_nic_flow_type(f), &now) ||
		    now == plan->fields[f])
			continue;
		err = xn_eth_fields_set(e, xn_nic_flow_type(f), plan->fields[f]);
		*changed |= !err;
		err = refused(e, err, "the fields that are hashed", told);
	}
	return err;
}

/* Key and table together, and if that is refused each alone: one of the two is better than none. */
static int set_both(struct xn_ethtool *e, uint32_t context, struct xn_eth_rss *r,
		    enum xn_eth_table table, struct xn_nic_told *told)
{
	const uint32_t key_len = r->key_len;
	const uint8_t hfunc = r->hfunc;
	int err = xn_eth_rss_set(e, context, r, table);

	if (!err || is_final(err) || (!key_len && !hfunc))
		return refused(e, err, "the table", told);
	r->key_len = 0;
	r->hfunc = 0;
	err = xn_eth_rss_set(e, context, r, table);
	if (err)
		return refused(e, err, "the table", told);
	r->key_len = key_len;
	r->hfunc = hfunc;
	err = xn_eth_rss_set(e, context, r, XN_ETH_TABLE_KEEP);
	return refused(e, err, key_len ? "the hash key" : "Toeplitz as hash function", told);
}

/* What of key and function is as it should be, is not set. */
static void only_changes(struct xn_eth_rss *r, const struct xn_nic_setup *now)
{
	if (now->key_fixed || (r->key_len == now->rss.key_len && !memcmp(r->key, now->rss.key, r->key_len)))
		r->key_len = 0;
	if (r->hfunc == now->rss.hfunc)
		r->hfunc = 0;
}

int xn_prog_whole(struct xn_ethtool *e, const struct xn_nic_setup *now,
		  const struct xn_nic_setup *plan, bool anyway, struct xn_nic_told *told)
{
	struct xn_eth_rss *r;
	bool changed = false;
	int err;

	if (now->fixed)
		return 0;
	/* What it hashes instead is told by who reads it. */
	err = set_fields(e, plan, &changed, NULL);
	if (err || (!changed && !anyway && same_rss(&now->rss, &plan->rss)))
		return err;
	r = malloc(sizeof(*r));
	if (!r)
		return fail(e, -ENOMEM, "key and table");
	*r = plan->rss;
	if (now->key_fixed)
		r->key_len = 0;
	else if (!anyway)
		only_changes(r, now);
	err = set_both(e, 0, r, XN_ETH_TABLE_SET, told);
	free(r);
	return err;
}

static bool same_place(const struct xn_nic_setup *a, const struct xn_nic_setup *b)
{
	return a->rss.table_len == b->rss.table_len &&
	       !memcmp(a->rss.table, b->rss.table, a->rss.table_len * sizeof(a->rss.table[0]));
}

/* A table of another length, or that the driver does not take any more (fewer queues now): its
 * own is then the best that can be had. */
static int restore_rss(struct xn_ethtool *e, const struct xn_nic_setup *now,
		       const struct xn_nic_setup *before, bool default_table, struct xn_nic_told *told)
{
	enum xn_eth_table table = default_table || now->rss.table_len != before->rss.table_len ?
				  XN_ETH_TABLE_RESET : same_place(now, before) ? XN_ETH_TABLE_KEEP :
				  XN_ETH_TABLE_SET;
	struct xn_eth_rss *r = malloc(sizeof(*r));
	int err;

	if (!r)
		return fail(e, -ENOMEM, "key and table");
	*r = before->rss;
	only_changes(r, now);
	if (now->rss.key_len != before->rss.key_len)
		r->key_len = 0;
	err = 0;
	if (table != XN_ETH_TABLE_KEEP || r->key_len || r->hfunc || r->xfrm != now->rss.xfrm)
		err = xn_eth_rss_set(e, 0, r, table);
	if (err && table == XN_ETH_TABLE_SET)
		err = set_both(e, 0, r, XN_ETH_TABLE_RESET, told);
	else
		err = refused(e, err, "key and table", told);
	free(r);
	return err;
}

void xn_prog_restore(struct xn_ethtool *e, const struct xn_nic_setup *before, bool default_table)
{
	struct xn_nic_setup *now = malloc(sizeof(*now));
	struct xn_nic_told told = { 0 };
	bool changed = false;
	int err = now ? xn_prog_read(e, 0, now) : -ENOMEM;

	if (!err && !now->fixed) {
		err = set_fields(e, before, &changed, &told);
		if (!err)
			err = restore_rss(e, now, before, default_table, &told);
	}
	if (err && err != -ENODEV)
		xn_log(XN_LOG_WARN, "%s: hash key and table are not as they were before: %s (ethtool -X %s "
		       "default; ethtool -x %s shows them)", e->ifname, xn_last_error(), e->ifname, e->ifname);
	else if (told.why[0])
		xn_log(XN_LOG_WARN, "%s: not all is as it was before: %s (ethtool -x %s shows it)", e->ifname,
		       told.why, e->ifname);
	free(now);
}

/* ---- contexts ---- */

/* A driver may have one key for all contexts, and refuse one here. */
static int new_context(struct xn_ethtool *e, uint32_t *context, struct xn_eth_rss *r)
{
	int err = xn_eth_context_create(e, r, context);

	if (err && !is_final(err)) {
		r->key_len = r->hfunc = r->xfrm = 0;
		err = xn_eth_context_create(e, r, context);
	}
	if (err)
		*context = XN_NO_CONTEXT;
	return err;
}

int xn_prog_context(struct xn_ethtool *e, uint32_t *context, const struct xn_nic_setup *plan,
		    struct xn_nic_told *told)
{
	struct xn_eth_rss *r = malloc(sizeof(*r));
	int err;

	if (!r)
		return fail(e, -ENOMEM, "a context");
	*r = plan->rss;
	if (plan->key_fixed)
		r->key_len = r->hfunc = r->xfrm = 0;
	if (*context == XN_NO_CONTEXT)
		err = refused(e, new_context(e, context, r), "an RSS context", told);
	else
		err = set_both(e, *context, r, XN_ETH_TABLE_SET, told);
	free(r);
	return err;
}

/* ---- rules ---- */

static bool is_rule(const struct ethtool_rxnfc *c, const struct xn_mac_rule *r)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	const bool rss = r->context != XN_NO_CONTEXT;

	if ((c->fs.flow_type & ~(uint32_t)FLOW_RSS) != ETHER_FLOW ||
	    memcmp(c->fs.h_u.ether_spec.h_dest, r->mac, 6) != 0 ||
	    memcmp(c->fs.m_u.ether_spec.h_dest, all, 6) != 0 ||
	    rss != !!(c->fs.flow_type & FLOW_RSS))
		return false;
	return rss ? c->rss_context == r->context : c->fs.ring_cookie == r->queue;
}

/* Calls `take` with each rule that is like r; *rules as they were. 0 or -errno. */
static int each_rule(struct xn_ethtool *e, const struct xn_mac_rule *r,
		     void (*take)(struct xn_ethtool *e, uint32_t at, void *arg), void *arg)
{
	struct xn_eth_rules rules;
	int err = xn_eth_rules_get(e, &rules);

	for (unsigned i = 0; !err && i < rules.n; i++) {
		struct ethtool_rxnfc c;

		if (!xn_eth_rule_get(e, rules.at[i], &c) && is_rule(&c, r))
			take(e, rules.at[i], arg);
	}
	free(rules.at);
	return err;
}

static void note(struct xn_ethtool *e, uint32_t at, void *arg)
{
	*(bool *)arg = true;
}

static void drop(struct xn_ethtool *e, uint32_t at, void *arg)
{
	int err = xn_eth_rule_delete(e, at);

	if (err)
		xn_log(XN_LOG_WARN, "%s: rule %u cannot be deleted: %s (ethtool -N %s delete %u)", e->ifname,
		       at, strerror(-err), e->ifname, at);
}

int xn_prog_find_rule(struct xn_ethtool *e, const struct xn_mac_rule *r, bool *there)
{
	*there = false;
	return each_rule(e, r, note, there);
}

void xn_prog_drop_rules(struct xn_ethtool *e, const struct xn_mac_rule *r)
{
	each_rule(e, r, drop, NULL);
}

/* The last place that is free: rules of others come first. */
static uint32_t free_place(const struct xn_eth_rules *rules)
{
	uint32_t at = rules->places;

	if (rules->any_place)
		return RX_CLS_LOC_ANY;
	while (at--) {
		bool taken = false;

		for (unsigned i = 0; i < rules->n; i++)
			taken |= rules->at[i] == at;
		if (!taken)
			return at;
	}
	return RX_CLS_LOC_ANY;
}

int xn_prog_add_rule(struct xn_ethtool *e, const struct xn_mac_rule *r, bool *done,
		     struct xn_nic_told *told)
{
	struct ethtool_rxnfc c = { .fs.flow_type = ETHER_FLOW };
	struct xn_eth_rules rules;
	int err = xn_eth_rules_get(e, &rules);

	if (!err) {
		c.fs.location = free_place(&rules);
		memcpy(c.fs.h_u.ether_spec.h_dest, r->mac, 6);
		memset(c.fs.m_u.ether_spec.h_dest, 0xff, 6);
		c.fs.ring_cookie = r->queue;
		if (r->context != XN_NO_CONTEXT) {
			c.fs.flow_type |= FLOW_RSS;
			c.fs.ring_cookie = 0;
			c.rss_context = r->context;
		}
		err = xn_eth_rule_insert(e, &c);
	}
	free(rules.at);
	*done = !err;
	return refused(e, err, "a rule for the guest's address", told);
}
