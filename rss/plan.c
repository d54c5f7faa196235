/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's RSS in the terms of a NIC. Theory in rss/plan.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/types.h"
#include "rss/config.h"
#include "rss/plan.h"

#define ADDRESSES ((uint64_t)(RXH_IP_SRC | RXH_IP_DST))
#define PORTS     ((uint64_t)(RXH_L4_B_0_1 | RXH_L4_B_2_3))

/* Hash types of whole addresses of IPv6: an _EX type is the plain one, where there is no
 * extension header that matters. */
#define T(class)  XN_RSS_TYPE(XN_FLOW_##class)
#define ANY_IPV6  (T(IPV6) | T(IPV6_EX))

/* A hash over an input of n bytes uses n + 4 bytes of the key. */
#define KEY_OF(n) ((n) + 4u)

static const struct {
	uint32_t type;
	const char *name;
	uint32_t whole, ports;       /* hash types of the guest: addresses only, ports too */
	unsigned key_whole, key_ports;
} flows[XN_NIC_FLOWS] = {
	[XN_NIC_IP4]  = { IPV4_FLOW, "ip4", T(IPV4), 0, KEY_OF(8), 0 },
	[XN_NIC_IP6]  = { IPV6_FLOW, "ip6", ANY_IPV6, 0, KEY_OF(32), 0 },
	[XN_NIC_TCP4] = { TCP_V4_FLOW, "tcp4", T(IPV4), T(TCPV4), KEY_OF(8), KEY_OF(12) },
	[XN_NIC_UDP4] = { UDP_V4_FLOW, "udp4", T(IPV4), T(UDPV4), KEY_OF(8), KEY_OF(12) },
	[XN_NIC_TCP6] = { TCP_V6_FLOW, "tcp6", ANY_IPV6, T(TCPV6) | T(TCPV6_EX), KEY_OF(32), KEY_OF(36) },
	[XN_NIC_UDP6] = { UDP_V6_FLOW, "udp6", ANY_IPV6, T(UDPV6) | T(UDPV6_EX), KEY_OF(32), KEY_OF(36) },
};

uint32_t xn_nic_flow_type(enum xn_nic_flow flow)
{
	return flows[flow].type;
}

const char *xn_nic_status_name(enum xn_nic_status s)
{
	static const char *const names[] = { "exact", "corrected", "unsupported" };

	return names[s];
}

void xn_nic_say(struct xn_nic_told *told, enum xn_nic_status status, const char *fmt, ...)
{
	size_t at = strlen(told->why);
	va_list ap;

	told->status = XN_MAX(told->status, status);
	if (at && at + 3 < sizeof(told->why)) {
		strcpy(told->why + at, "; ");
		at += 2;
	}
	va_start(ap, fmt);
	vsnprintf(told->why + at, sizeof(told->why) - at, fmt, ap);
	va_end(ap);
}

/* ---- the guest's side ---- */

/*
 * Which queue a hash leads to, as simply as it can be said: q[hash % period], all below the
 * number of queues. period 1: the hash does not matter.
 */
struct view {
	unsigned period;
	const uint16_t *q;
};

static bool repeats(const uint16_t *q, unsigned entries, unsigned period)
{
	for (unsigned i = period; i < entries; i++)
		if (q[i] != q[i - period])
			return false;
	return true;
}

static struct view view_of(const struct xn_rss_config *rss)
{
	struct view v = { 1, rss->table };

	/* Without a hash every frame is unclassified. */
	if (!rss->types)
		v.q = &rss->unclassified;
	else
		while (v.period < rss->entries && !repeats(rss->table, rss->entries, v.period))
			v.period *= 2;
	return v;
}

static uint64_t wanted_fields(const struct xn_rss_config *rss, enum xn_nic_flow f)
{
	return rss->types & flows[f].ports ? ADDRESSES | PORTS :
	       rss->types & flows[f].whole ? ADDRESSES : 0;
}

/* Bytes of the key that take part in hashes of this guest. */
static unsigned wanted_key(const struct xn_rss_config *rss)
{
	unsigned n = 0;

	for (unsigned f = 0; f < XN_NIC_FLOWS; f++) {
		uint64_t fields = wanted_fields(rss, f);

		if (fields)
			n = XN_MAX(n, fields & PORTS ? flows[f].key_ports : flows[f].key_whole);
	}
	return n;
}

/* ---- what to set ---- */

void xn_plan_make(struct xn_nic_setup *plan, const struct xn_nic_want *w,
		  const struct xn_nic_setup *now)
{
	const struct xn_rss_config *rss = w->rss;
	struct view v;

	*plan = *now;
	for (unsigned i = 0; i < now->rss.table_len && !rss; i++)
		plan->rss.table[i] = w->start + i % w->queues;
	if (!rss)
		return;
	v = view_of(rss);
	for (unsigned i = 0; i < now->rss.table_len; i++)
		plan->rss.table[i] = w->start + v.q[i % v.period];
	if (v.period == 1)
		return;
	/* A longer key than the guest's takes part in nothing that is hashed here. */
	memset(plan->rss.key, 0, sizeof(plan->rss.key));
	memcpy(plan->rss.key, rss->key, XN_MIN(now->rss.key_len, rss->key_bytes));
	plan->rss.hfunc = XN_ETH_TOEPLITZ;
	plan->rss.xfrm = 0;
	for (unsigned f = 0; f < XN_NIC_FLOWS; f++)
		plan->fields[f] = wanted_fields(rss, f);
}

/* ---- what came of it ---- */

/* Are all entries in our range? That is what keeps frames from being lost. */
static bool in_range(const struct xn_nic_want *w, const struct xn_nic_setup *now)
{
	for (unsigned i = 0; i < now->rss.table_len; i++)
		if (now->rss.table[i] - w->start >= w->queues)
			return false;
	return true;
}

static void judge_table(struct xn_nic_told *told, const struct xn_nic_want *w, const struct view *v,
			const struct xn_nic_setup *now)
{
	bool same = true;

	if (now->rss.table_len % v->period) {
		xn_nic_say(told, XN_NIC_CORRECTED, "the guest's table has %u entries that differ, and the "
			   "NIC's %u", v->period, now->rss.table_len);
		return;
	}
	for (unsigned i = 0; i < now->rss.table_len; i++)
		same &= now->rss.table[i] == w->start + v->q[i % v->period];
	if (!same)
		xn_nic_say(told, XN_NIC_CORRECTED, "the NIC has another table");
}

static void judge_key(struct xn_nic_told *told, const struct xn_rss_config *rss,
		      const struct xn_nic_setup *now)
{
	unsigned need = wanted_key(rss);

	if (!now->rss.key_len)
		xn_nic_say(told, XN_NIC_CORRECTED, "%s does not tell or take the hash key", now->driver);
	else if (now->rss.key_len < need)
		xn_nic_say(told, XN_NIC_CORRECTED, "the NIC's hash key has %u bytes, and the guest's types "
			   "need %u", now->rss.key_len, need);
	else if (!memcmp(now->rss.key, rss->key, need))
		return;
	else if (now->key_fixed && now->shared)
		xn_nic_say(told, XN_NIC_CORRECTED, "the NIC has another hash key, one for all its contexts");
	else if (now->key_fixed)
		xn_nic_say(told, XN_NIC_CORRECTED, "%s takes no hash key, and has the kernel's: for a guest that "
			   "sets none, --rss-key $(cut -c-119 /proc/sys/net/core/netdev_rss_key)", now->driver);
	else
		xn_nic_say(told, XN_NIC_CORRECTED, "the NIC has another hash key");
}

static void judge_function(struct xn_nic_told *told, const struct xn_nic_setup *now)
{
	if (now->rss.hfunc && now->rss.hfunc != XN_ETH_TOEPLITZ)
		xn_nic_say(told, XN_NIC_CORRECTED, "the NIC's hash is not Toeplitz's, and stays so");
	if (now->rss.xfrm)
		xn_nic_say(told, XN_NIC_CORRECTED, "the NIC's hash is symmetric, and stays so");
}

static void judge_fields(struct xn_nic_told *told, const struct xn_rss_config *rss,
			 const struct xn_nic_setup *now)
{
	char differ[64] = "", silent[64] = "";

	for (unsigned f = 0; f < XN_NIC_FLOWS; f++) {
		char *list = now->fields_told[f] ? differ : silent;

		if (now->fields_told[f] && now->fields[f] == wanted_fields(rss, f))
			continue;
		strcat(list, *list ? " " : "");
		strcat(list, flows[f].name);
	}
	if (*differ && now->shared)
		xn_nic_say(told, XN_NIC_CORRECTED, "the NIC hashes other fields than the guest of: %s; they "
			   "are not the guest's alone (ethtool -N %s rx-flow-hash udp4 sdfn)", differ,
			   now->ifname);
	else if (*differ)
		xn_nic_say(told, XN_NIC_CORRECTED, "the NIC hashes other fields than the guest of: %s", differ);
	if (*silent)
		xn_nic_say(told, XN_NIC_CORRECTED, "%s does not tell which fields it hashes of: %s",
			   now->driver, silent);
}

/* Frames that are not hashed: the NIC's first queue, or where hash 0 leads. */
static void judge_unclassified(struct xn_nic_told *told, const struct xn_nic_want *w,
			       const struct xn_nic_setup *now)
{
	const unsigned here = w->start + w->rss->unclassified;
	const unsigned first = now->shared ? now->rss.table[0] : 0;

	if (first - w->start >= w->queues)
		xn_nic_say(told, XN_NIC_CORRECTED, "frames without a hash (ARP) may come on queue %u, which "
			   "is not the guest's, and be lost: start=0 mends it", first);
	else if (here != first || here != now->rss.table[0])
		xn_nic_say(told, XN_NIC_CORRECTED, "frames without a hash (ARP) may come on queue %u, and the "
			   "guest wants them on %u", here != first ? first : now->rss.table[0], here);
}

void xn_plan_judge(struct xn_nic_told *told, const struct xn_nic_want *w,
		   const struct xn_nic_setup *now)
{
	struct view v;

	if (!in_range(w, now)) {
		xn_nic_say(told, XN_NIC_UNSUPPORTED, "the NIC spreads frames over queues that are not the "
			   "guest's: ethtool -L %s combined %u, and queues=%u,start=0", now->ifname, w->queues,
			   w->queues);
		return;
	}
	if (!w->rss)
		return;
	v = view_of(w->rss);
	judge_table(told, w, &v, now);
	if (v.period > 1) {
		judge_function(told, now);
		judge_key(told, w->rss, now);
		judge_fields(told, w->rss, now);
	}
	judge_unclassified(told, w, now);
}
