/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Life cycle of a programmed NIC. Theory in rss/nic.h.
 *
 * The record in the file is what is needed to put everything back, and nothing else: it is
 * written before the first change, so it may speak of a rule or a context that was never
 * made; what is there is found by what it is, not by its number. A context whose number did
 * not get into the record before its owner died is known by its table, which leads to queues that
 * only its owner had.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "rss/config.h"
#include "rss/keeper.h"
#include "rss/nic.h"
#include "rss/program.h"
#include "rss/saved.h"

#define CONTEXTS_MAX  256u    /* numbers among which one is looked for */
#define LAST_OWNER_MS 2000u   /* for the keeper of one that has just died, to put back */

enum how { WHOLE, CONTEXT, RING };

struct record {
	char ifname[IF_NAMESIZE];
	uint32_t ifindex, how;
	struct xn_mac_rule rule;         /* its context: ours; XN_NO_CONTEXT: not known yet, or none */
	bool ntuple_was_off;
	bool rule_was_there;             /* RING: somebody else's */
	bool default_table;              /* WHOLE */
	struct xn_nic_setup setup;       /* WHOLE: what was before; CONTEXT: what it is to be */
};

struct xn_nic {
	struct xn_nic_cfg cfg;           /* its name and address: ours, */
	char ifname[IF_NAMESIZE];
	uint8_t mac[6];
	bool kept;                       /* by a keeper: then nothing but its socket is used, */
	int keeper;                      /* which is -1 once it has gone */
	struct xn_ethtool own, *e;
	struct xn_saved saved;           /* fd -1: none is kept */
	enum how how;
	struct record rec;
	bool recorded;                   /* something may have been changed, */
	bool half;                       /* and not to the end: a set failed */
	struct xn_rss_config rss;
	bool has_rss, set_once, anyway;  /* anyway: set what seems to be there, too */
	struct xn_nic_setup now, plan, result;   /* result: as read after the last set */
	struct xn_nic_told told, no_context;     /* no_context: RING: why not */
};

/* ---- putting back ---- */

static bool is_context(struct xn_ethtool *e, uint32_t id, const struct xn_nic_setup *plan,
		       struct xn_eth_rss *r)
{
	return !xn_eth_rss_get(e, id, r) && r->table_len == plan->rss.table_len &&
	       !memcmp(r->table, plan->rss.table, r->table_len * sizeof(r->table[0]));
}

/* The context of a record that does not know its number. */
static uint32_t find_context(struct xn_ethtool *e, const struct record *rec)
{
	struct xn_eth_rss *r = malloc(sizeof(*r));
	uint32_t id = 1;

	while (r && id < CONTEXTS_MAX && !is_context(e, id, &rec->setup, r))
		id++;
	free(r);
	return r && id < CONTEXTS_MAX ? id : XN_NO_CONTEXT;
}

static void drop_context(struct xn_ethtool *e, struct record *rec)
{
	int err;

	if (rec->rule.context == XN_NO_CONTEXT)
		rec->rule.context = find_context(e, rec);
	if (rec->rule.context == XN_NO_CONTEXT)
		return;
	xn_prog_drop_rules(e, &rec->rule);
	err = xn_eth_context_delete(e, rec->rule.context);
	if (err && err != -ENOENT)
		xn_log(XN_LOG_WARN, "%s: RSS context %u cannot be deleted: %s (ethtool -X %s context %u delete)",
		       e->ifname, rec->rule.context, strerror(-err), e->ifname, rec->rule.context);
}

/* Rules were off: off again, unless somebody has some by now. */
static void ntuple_off(struct xn_ethtool *e)
{
	struct xn_eth_rules rules;

	if (!xn_eth_rules_get(e, &rules) && !rules.n)
		xn_eth_ntuple_set(e, false);
	free(rules.at);
}

static void put_back(struct xn_ethtool *e, struct record *rec)
{
	if (rec->how == WHOLE)
		xn_prog_restore(e, &rec->setup, rec->default_table);
	else if (rec->how == CONTEXT)
		drop_context(e, rec);
	else if (!rec->rule_was_there)
		xn_prog_drop_rules(e, &rec->rule);
	if (rec->ntuple_was_off)
		ntuple_off(e);
}

/* ---- what dead owners left ---- */

struct recovery {
	const struct xn_nic_cfg *cfg;
	char prefix[32];
};

/* The interface that a record speaks of, if it is still that one. */
static bool open_recorded(struct xn_ethtool *own, struct xn_ethtool **e, const struct record *rec,
			  const struct xn_nic_cfg *cfg)
{
	own->fd = -1;
	*e = cfg->ethtool ? cfg->ethtool : own;
	if (cfg->ethtool)
		return rec->ifindex == cfg->ifindex;
	return if_nametoindex(rec->ifname) == rec->ifindex && !xn_ethtool_open(own, rec->ifname);
}

static void recover(void *arg, const char *name)
{
	struct recovery *v = arg;
	struct record *rec = malloc(sizeof(*rec));
	struct xn_ethtool own, *e;
	bool silently = xn_fail_silently(true);
	struct xn_saved s;

	if (rec && !xn_saved_open(&s, v->cfg->state_dir, name, 0)) {
		if (xn_saved_read(&s, rec, sizeof(*rec)) && open_recorded(&own, &e, rec, v->cfg)) {
			xn_log(XN_LOG_WARN, "%s: its last owner left it programmed: putting it back", rec->ifname);
			put_back(e, rec);
			xn_ethtool_close(&own);
		}
		xn_saved_close(&s, false);
	}
	xn_fail_silently(silently);
	free(rec);
}

/* ---- life cycle ---- */

static uint64_t this_netns(void)
{
	struct stat st;

	return stat("/proc/thread-self/ns/net", &st) ? 0 : (uint64_t)st.st_ino;
}

static int open_kernel(struct xn_nic *n)
{
	int err = xn_ethtool_open(&n->own, n->cfg.ifname);

	n->e = &n->own;
	n->cfg.ifindex = if_nametoindex(n->cfg.ifname);
	n->cfg.netns = this_netns();
	if (!n->cfg.ifindex)
		err = -ENODEV;
	return err ? xn_fail(-err, "%s: %s", n->cfg.ifname, strerror(-err)) : 0;
}

/* The whole interface is programmed by one owner; a range of queues by one, too. */
static int open_state(struct xn_nic *n)
{
	struct recovery v = { .cfg = &n->cfg };
	char name[XN_SAVED_NAME];
	int err;

	if (n->cfg.state_dir < 0 || n->cfg.keep)
		return 0;
	snprintf(v.prefix, sizeof(v.prefix), "nic-%" PRIu64 "-", n->cfg.netns);
	err = xn_saved_each(n->cfg.state_dir, v.prefix, recover, &v);
	if (err)
		return xn_fail(-err, "the directory for what is to be put back cannot be read: %s",
			       strerror(-err));
	snprintf(name, sizeof(name), "%s%u-%s%u", v.prefix, n->cfg.ifindex, n->how == WHOLE ? "all" : "q",
		 n->how == WHOLE ? 0 : n->cfg.start);
	return xn_saved_open(&n->saved, n->cfg.state_dir, name, LAST_OWNER_MS);
}

static int open_here(struct xn_nic *n)
{
	int err = 0;

	n->e = n->cfg.ethtool;
	if (!n->e)
		err = open_kernel(n);
	if (err)
		return err;
	err = xn_prog_read(n->e, 0, &n->now);
	if (err)
		return xn_fail(-err, "%s: %s", n->cfg.ifname, strerror(-err));
	n->how = !n->cfg.mac || (!n->cfg.start && n->cfg.queues >= n->now.rings) ? WHOLE : CONTEXT;
	return open_state(n);
}

int xn_nic_open(struct xn_nic **out, const struct xn_nic_cfg *cfg)
{
	struct xn_nic *n = calloc(1, sizeof(*n));
	int err = 0;

	*out = NULL;
	if (!n) {
		xn_fail(ENOMEM, "%s: out of memory", cfg->ifname);
		return -ENOMEM;
	}
	n->cfg = *cfg;
	n->kept = cfg->keeper;
	snprintf(n->ifname, sizeof(n->ifname), "%s", cfg->ifname);
	n->cfg.ifname = n->ifname;
	n->keeper = n->saved.fd = n->own.fd = -1;
	if (cfg->mac) {
		memcpy(n->mac, cfg->mac, sizeof(n->mac));
		n->cfg.mac = n->mac;
	}
	err = cfg->keeper ? xn_keeper_start(&n->keeper, &n->cfg) : open_here(n);
	if (err)
		xn_nic_close(n);
	else
		*out = n;
	return err;
}

/* Somebody else has changed it since: then it is his. */
static bool is_still_ours(struct xn_nic *n)
{
	if (n->how != WHOLE || n->half)
		return true;
	if (!xn_prog_read(n->e, 0, &n->now) && xn_prog_same(&n->now, &n->result))
		return true;
	xn_log(XN_LOG_INFO, "%s: hash key and table were changed meanwhile, and stay as they are", n->cfg.ifname);
	return false;
}

void xn_nic_close(struct xn_nic *n)
{
	if (!n)
		return;
	if (n->keeper >= 0)
		xn_keeper_ask(&n->keeper, XN_KEEPER_CLOSE, NULL, NULL, NULL);
	if (n->keeper >= 0)
		close(n->keeper);
	if (n->recorded && is_still_ours(n))
		put_back(n->e, &n->rec);
	xn_saved_close(&n->saved, false);
	xn_ethtool_close(&n->own);
	free(n);
}

/* ---- programming ---- */

/* From here on there is something to put back. */
static int write_record(struct xn_nic *n)
{
	int err = n->saved.fd < 0 ? 0 : xn_saved_write(&n->saved, &n->rec, sizeof(n->rec));

	n->recorded |= !err;
	return err;
}

static int first_record(struct xn_nic *n)
{
	if (n->recorded)
		return 0;
	memset(&n->rec, 0, sizeof(n->rec));
	memcpy(n->rec.ifname, n->now.ifname, sizeof(n->rec.ifname));
	n->rec.ifindex = n->cfg.ifindex;
	n->rec.how = n->how;
	n->rec.setup = n->now;
	n->rec.default_table = xn_prog_is_default(&n->now);
	memcpy(n->rec.rule.mac, n->mac, sizeof(n->mac));
	n->rec.rule.context = XN_NO_CONTEXT;
	n->rec.rule.queue = n->cfg.start;
	return n->how == WHOLE ? write_record(n) : 0;
}

static int set_whole(struct xn_nic *n)
{
	int err;

	if (n->now.fixed || (!n->anyway && xn_prog_same(&n->now, &n->plan)))
		return 0;
	err = first_record(n);
	if (!err)
		err = xn_prog_whole(n->e, &n->now, &n->plan, n->anyway, &n->told);
	return err ? err : xn_prog_read(n->e, 0, &n->now);
}

/* Many drivers take rules only when they are switched on. */
static int switch_rules_on(struct xn_nic *n)
{
	bool on = true;
	int err;

	if (xn_eth_ntuple_get(n->e, &on) || on)
		return 0;
	n->rec.ntuple_was_off = true;
	err = write_record(n);
	if (!err && xn_eth_ntuple_set(n->e, true) == -EPERM)
		err = xn_fail(EPERM, "%s: not allowed to set rules (needs CAP_NET_ADMIN)", n->cfg.ifname);
	return err;
}

/* The rule that leads to our context, or queue; makes it. *done: it is there. */
static int have_rule(struct xn_nic *n, bool *done)
{
	int err = xn_prog_find_rule(n->e, &n->rec.rule, done);

	if (err) {
		xn_nic_say(&n->told, XN_NIC_CORRECTED, "%s has no rules by address", n->now.driver);
		*done = false;
		return 0;
	}
	return *done ? 0 : xn_prog_add_rule(n->e, &n->rec.rule, done, &n->told);
}

/* One queue for all frames: they are copied from there. */
static void become_ring(struct xn_nic *n)
{
	n->now.shared = true;
	n->now.fixed = true;
	n->now.rss.table_len = 1;
	n->now.rss.table[0] = n->cfg.start;
}

static int set_ring(struct xn_nic *n)
{
	bool done;
	int err;

	if (n->how != RING) {
		n->how = n->rec.how = RING;
		n->rec.rule.context = XN_NO_CONTEXT;
		xn_prog_find_rule(n->e, &n->rec.rule, &n->rec.rule_was_there);
	}
	err = write_record(n);
	if (!err)
		err = have_rule(n, &done);
	if (err)
		return err;
	if (!done) {
		xn_nic_say(&n->told, XN_NIC_UNSUPPORTED, "nothing leads the guest's frames to its queues: give it "
			   "the whole interface (filter=all), or a virtual function of its own");
		return 0;
	}
	become_ring(n);
	return 0;
}

/* Only who has more than one queue misses the others. */
static void say_no_context(struct xn_nic *n)
{
	if (n->told.status != XN_NIC_CORRECTED)
		return;
	xn_nic_say(&n->told, XN_NIC_CORRECTED, "all frames come on queue %u, since %s: give the guest the whole "
		   "interface (filter=all), or a virtual function", n->cfg.start, n->no_context.why);
}

static int set_context(struct xn_nic *n)
{
	uint32_t *id = &n->rec.rule.context;
	struct xn_nic_told why = { 0 };
	bool done;
	int err = first_record(n);

	if (!err)
		err = switch_rules_on(n);
	if (err)
		return err;
	n->rec.setup = n->plan;
	err = write_record(n);
	if (!err)
		err = xn_prog_context(n->e, id, &n->plan, &why);
	if (err)
		return err;
	n->no_context = why;
	if (*id == XN_NO_CONTEXT)
		return set_ring(n);
	n->told = why;
	err = write_record(n);
	if (!err)
		err = have_rule(n, &done);
	if (err)
		return err;
	if (!done) {
		drop_context(n->e, &n->rec);
		n->no_context = n->told;
		n->told = (struct xn_nic_told){ 0 };
		return set_ring(n);
	}
	return xn_prog_read(n->e, *id, &n->now);
}

/* What the NIC is now; of a context, once there is one. */
static int read_now(struct xn_nic *n)
{
	uint32_t context = n->how == CONTEXT && n->recorded ? n->rec.rule.context : 0;
	int err = xn_prog_read(n->e, context == XN_NO_CONTEXT ? 0 : context, &n->now);

	/* Somebody has deleted it. */
	if (err == -ENOENT) {
		n->rec.rule.context = XN_NO_CONTEXT;
		err = xn_prog_read(n->e, 0, &n->now);
	}
	return err;
}

/* If all its queues are the guest's, frames cannot come elsewhere. */
static void say_no_rss(struct xn_nic_told *told, const struct xn_nic_setup *s, const struct xn_nic_cfg *cfg)
{
	const bool inside = s->rings && !cfg->start && s->rings <= cfg->queues;
	const enum xn_nic_status status = inside ? XN_NIC_CORRECTED : XN_NIC_UNSUPPORTED;

	if (!strcmp(s->driver, "veth"))
		xn_nic_say(told, status, "veth has no RSS, the sender's transmit queue decides: at the "
			   "peer, xsknetctl steer-peer makes it exact");
	else
		xn_nic_say(told, status, "%s has no RSS table that can be set, and frames come on %u "
			   "queues: ethtool -L %s combined 1", s->driver, s->rings, s->ifname);
}

/* Can it be programmed at all? If not, that is told. */
static bool is_able(struct xn_nic_told *told, const struct xn_nic_setup *s, const struct xn_nic_cfg *cfg)
{
	const unsigned need = cfg->start + cfg->queues;

	if (s->fixed && s->rings != 1)
		say_no_rss(told, s, cfg);
	else if (s->rings && s->rings < need)
		xn_nic_say(told, XN_NIC_UNSUPPORTED, "the interface has %u receive queues, and the guest's are "
			   "%u..%u: ethtool -L %s combined %u", s->rings, cfg->start, need - 1, s->ifname, need);
	else
		return true;
	return false;
}

static int program(struct xn_nic *n)
{
	const struct xn_nic_want want = { n->has_rss ? &n->rss : NULL, n->cfg.start, n->cfg.queues };
	int err = n->how == RING ? 0 : read_now(n);

	if (err)
		return xn_fail(-err, "%s: %s", n->cfg.ifname, strerror(-err));
	if (n->how != RING && !is_able(&n->told, &n->now, &n->cfg))
		return 0;
	xn_plan_make(&n->plan, &want, &n->now);
	if (!n->cfg.keep)
		err = n->how == WHOLE ? set_whole(n) : n->how == CONTEXT ? set_context(n) : set_ring(n);
	if (!err && n->told.status != XN_NIC_UNSUPPORTED)
		xn_plan_judge(&n->told, &want, &n->now);
	if (n->how == RING)
		say_no_context(n);
	n->result = n->now;
	return err;
}

static int set_again(struct xn_nic *n, struct xn_nic_told *told)
{
	int err;

	n->told = (struct xn_nic_told){ 0 };
	err = program(n);
	n->set_once = true;
	n->half = err;
	if (err) {
		n->told = (struct xn_nic_told){ .status = XN_NIC_UNSUPPORTED };
		snprintf(n->told.why, sizeof(n->told.why), "%s", xn_last_error());
	}
	*told = n->told;
	return err;
}

int xn_nic_set(struct xn_nic *n, const struct xn_rss_config *rss, struct xn_nic_told *told)
{
	if (n->kept)
		return xn_keeper_ask(&n->keeper, XN_KEEPER_SET, rss, told, NULL);
	n->has_rss = rss;
	if (rss)
		n->rss = *rss;
	return set_again(n, told);
}

static bool is_as_set(struct xn_nic *n)
{
	bool there = true;

	if (n->told.status == XN_NIC_UNSUPPORTED || n->cfg.keep)
		return false;
	if (n->how != WHOLE && (xn_prog_find_rule(n->e, &n->rec.rule, &there) || !there))
		return false;
	if (n->how == RING)
		return true;
	/* Whose queues have changed, has forgotten more than it says (xn_nic_repeat). */
	return !read_now(n) && n->now.rings == n->result.rings && xn_prog_same(&n->now, &n->result);
}

int xn_nic_repeat(struct xn_nic *n, struct xn_nic_told *told)
{
	int err;

	if (n->kept)
		return xn_keeper_ask(&n->keeper, XN_KEEPER_REPEAT, NULL, told, NULL);
	*told = n->told;
	if (!n->set_once)
		return xn_fail(EINVAL, "%s: nothing was set yet", n->cfg.ifname);
	n->anyway = true;
	err = set_again(n, told);
	n->anyway = false;
	return err;
}

int xn_nic_check(struct xn_nic *n, struct xn_nic_told *told, bool *again)
{
	bool same;

	if (n->kept)
		return xn_keeper_ask(&n->keeper, XN_KEEPER_CHECK, NULL, told, again);
	*told = n->told;
	if (!n->set_once)
		return xn_fail(EINVAL, "%s: nothing was set yet", n->cfg.ifname);
	same = is_as_set(n);
	if (again)
		*again = !same;
	return same ? 0 : xn_nic_repeat(n, told);
}

/* ---- without changing anything ---- */

int xn_nic_foresee(const struct xn_nic_cfg *cfg, const struct xn_rss_config *rss,
		   struct xn_nic_told *told)
{
	const struct xn_nic_cfg look = { .ifname = cfg->ifname, .start = cfg->start, .queues = cfg->queues,
					 .mac = cfg->mac, .state_dir = -1, .ethtool = cfg->ethtool,
					 .ifindex = cfg->ifindex, .netns = cfg->netns };
	struct xn_rss_config usual;
	struct xn_nic_want want = { rss, cfg->start, cfg->queues };
	struct xn_eth_rules rules = { 0 };
	struct xn_nic *n;
	int err = xn_nic_open(&n, &look);

	*told = (struct xn_nic_told){ 0 };
	if (err)
		return err;
	if (!rss) {
		xn_rss_default(&usual, cfg->queues);
		want.rss = &usual;
	}
	if (!is_able(told, &n->now, cfg))
		goto out_close;
	n->now.shared = n->how == CONTEXT;
	xn_plan_make(&n->plan, &want, &n->now);
	if (n->now.fixed || n->now.key_fixed)
		memcpy(n->plan.rss.key, n->now.rss.key, sizeof(n->plan.rss.key));
	if (n->now.fixed)
		n->plan = n->now;
	if (n->how == CONTEXT && xn_eth_rules_get(n->e, &rules))
		xn_nic_say(told, XN_NIC_UNSUPPORTED, "%s has no rules by address: give the guest the whole interface "
			   "(filter=all), or a virtual function", n->now.driver);
	else
		xn_plan_judge(told, &want, &n->plan);
	free(rules.at);
out_close:
	xn_nic_close(n);
	return 0;
}
