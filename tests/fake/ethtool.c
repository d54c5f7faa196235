/* SPDX-License-Identifier: BSD-2-Clause */
/* A NIC for tests. Contract in tests/fake/ethtool.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fake/ethtool.h"

#define NO_CHANGE  0xffffffffu
#define ADDRESSES  (uint64_t)(RXH_IP_SRC | RXH_IP_DST)
#define WITH_PORTS (ADDRESSES | RXH_L4_B_0_1 | RXH_L4_B_2_3)
#define XFRM(h)    (*(&(h)->hfunc + 1))

static const uint32_t flow_types[FNIC_FLOWS] = {
	IPV4_FLOW, IPV6_FLOW, TCP_V4_FLOW, UDP_V4_FLOW, TCP_V6_FLOW, UDP_V6_FLOW,
};

/* ---- receiving ---- */

uint32_t fnic_toeplitz(const uint8_t *key, unsigned key_len, const uint8_t *input, unsigned n)
{
	uint32_t hash = 0;

	for (unsigned i = 0; i < n * 8; i++) {
		if (!(input[i / 8] >> (7 - i % 8) & 1))
			continue;
		for (unsigned b = 0; b < 32; b++) {
			unsigned bit = i + b;

			if (bit / 8 < key_len && key[bit / 8] >> (7 - bit % 8) & 1)
				hash ^= 1u << (31 - b);
		}
	}
	return hash;
}

/* Which flow a frame is of, where its addresses and its ports are; -1: none that is hashed.
 * No extension headers: the tests send none here. */
static int parse(const uint8_t *f, unsigned bytes, const uint8_t **addr, unsigned *addr_len,
		 const uint8_t **ports)
{
	unsigned at = 12, l4;
	bool v6, fragment = false;
	uint8_t proto;

	while (bytes >= at + 4 && ((f[at] == 0x81 && !f[at + 1]) || (f[at] == 0x88 && f[at + 1] == 0xa8)))
		at += 4;
	if (bytes < at + 2 + 20)
		return -1;
	v6 = f[at] == 0x86 && f[at + 1] == 0xdd;
	if (!v6 && !(f[at] == 8 && f[at + 1] == 0))
		return -1;
	at += 2;
	proto = v6 ? f[at + 6] : f[at + 9];
	*addr = f + at + (v6 ? 8 : 12);
	*addr_len = v6 ? 32 : 8;
	l4 = at + (v6 ? 40 : (f[at] & 15u) * 4);
	if (!v6)
		fragment = (f[at + 6] & 0x3f) || f[at + 7];
	*ports = f + l4;
	if (fragment || bytes < l4 + 8 || (proto != 6 && proto != 17))
		return v6;
	return (v6 ? 4 : 2) + (proto == 17);
}

/* The queue within a context; frames that are not hashed take queue 0. */
static unsigned distribute(const struct fnic *n, const struct fnic_context *c, const uint8_t *f,
			   unsigned bytes)
{
	const struct fnic_context *k = n->kind.context_key ? c : &n->ctx[0];
	const uint8_t *addr, *ports;
	uint8_t input[36];
	unsigned addr_len, len;
	int flow = parse(f, bytes, &addr, &addr_len, &ports);
	uint32_t hash;

	if (!n->kind.table_len)
		return 0;
	if (n->amnesia)
		return f[20] % n->kind.rings;
	if (flow < 0 || !n->fields[flow])
		return c == &n->ctx[0] ? 0 : c->table[0];
	memcpy(input, addr, addr_len);
	len = addr_len;
	if (n->fields[flow] & RXH_L4_B_0_1) {
		memcpy(input + len, ports, 4);
		len += 4;
	}
	if (k->xfrm)             /* symmetric: source and destination are one */
		for (unsigned i = 0; i < addr_len / 2; i++)
			input[i] = input[addr_len / 2 + i] ^= input[i];
	hash = k->hfunc == XN_ETH_TOEPLITZ ? fnic_toeplitz(k->key, n->kind.key_len, input, len) :
	       fnic_toeplitz((const uint8_t *)"another function", 16, input, len);
	return c->table[hash % n->kind.table_len];
}

unsigned fnic_receive(const struct fnic *n, const uint8_t *frame, unsigned bytes)
{
	for (unsigned i = 0; i < FNIC_RULES; i++) {
		const struct ethtool_rx_flow_spec *fs = &n->rule[i].c.fs;

		if (!n->rule[i].used || memcmp(fs->h_u.ether_spec.h_dest, frame, 6) != 0)
			continue;
		return fs->flow_type & FLOW_RSS ?
			distribute(n, &n->ctx[n->rule[i].c.rss_context], frame, bytes) :
			(unsigned)fs->ring_cookie;
	}
	return distribute(n, &n->ctx[0], frame, bytes);
}

/* ---- requests: key and table ---- */

static void default_table(struct fnic *n, struct fnic_context *c)
{
	for (unsigned i = 0; i < n->kind.table_len; i++)
		c->table[i] = i % n->kind.rings;
}

static int get_rss(struct fnic *n, struct ethtool_rxfh *h)
{
	const uint32_t want_table = h->indir_size, want_key = h->key_size;
	const struct fnic_context *c;
	bool own_key;

	if (!n->kind.rss)
		return -EOPNOTSUPP;
	if (h->rss_context && !n->kind.contexts)
		return -EOPNOTSUPP;
	h->indir_size = n->kind.table_len;
	h->key_size = n->kind.key_len;
	if ((want_table && want_table != n->kind.table_len) || (want_key && want_key != n->kind.key_len))
		return -EINVAL;
	if (h->rss_context >= FNIC_CONTEXTS || !n->ctx[h->rss_context].used)
		return -ENOENT;
	c = &n->ctx[h->rss_context];
	own_key = !h->rss_context || n->kind.context_key;
	if (!own_key)
		h->key_size = 0;
	h->hfunc = own_key ? c->hfunc : 0;
	XFRM(h) = c->xfrm;
	if (want_table)
		memcpy(h->rss_config, c->table, want_table * sizeof(uint32_t));
	if (want_key && own_key)
		memcpy(h->rss_config + want_table, c->key, want_key);
	return 0;
}

/* What the kernel looks at before it asks the driver. */
static int check_set(const struct fnic *n, const struct ethtool_rxfh *h)
{
	bool table = h->indir_size && h->indir_size != NO_CHANGE;

	if (!n->kind.rss || (h->rss_context && !n->kind.contexts))
		return -EOPNOTSUPP;
	if (XFRM(h) & ~n->kind.xfrms)
		return -EOPNOTSUPP;
	if ((table && h->indir_size != n->kind.table_len) || (h->key_size && h->key_size != n->kind.key_len))
		return -EINVAL;
	if (h->rss_context && !n->kind.context_key && (h->key_size || h->hfunc || XFRM(h)))
		return -EOPNOTSUPP;
	for (unsigned i = 0; table && i < h->indir_size; i++)
		if (h->rss_config[i] >= n->kind.rings)
			return -EINVAL;
	return 0;
}

static int delete_context(struct fnic *n, uint32_t id)
{
	for (unsigned i = 0; i < FNIC_RULES; i++)
		if (n->rule[i].used && n->rule[i].c.fs.flow_type & FLOW_RSS && n->rule[i].c.rss_context == id)
			return -EBUSY;
	n->ctx[id].used = false;
	return 0;
}

static int new_context(struct fnic *n, uint32_t *id)
{
	for (*id = 1; *id < FNIC_CONTEXTS; (*id)++)
		if (!n->ctx[*id].used) {
			n->ctx[*id] = n->ctx[0];
			return 0;
		}
	return -ENOSPC;
}

static int set_rss(struct fnic *n, struct ethtool_rxfh *h)
{
	const bool table = h->indir_size && h->indir_size != NO_CHANGE;
	const uint8_t *key = (const uint8_t *)(h->rss_config + (table ? h->indir_size : 0));
	struct fnic_context *c;
	int err = check_set(n, h);

	if (err)
		return err;
	if ((h->indir_size != NO_CHANGE && !n->kind.table_set) || (h->key_size && !n->kind.key_set) ||
	    (h->hfunc && !(h->hfunc & (n->kind.hfuncs | XN_ETH_TOEPLITZ))))
		return -EOPNOTSUPP;
	if (h->rss_context == NO_CHANGE) {
		err = new_context(n, &h->rss_context);
		if (err)
			return err;
	}
	if (h->rss_context >= FNIC_CONTEXTS || (h->rss_context && !n->ctx[h->rss_context].used &&
						n->ctx[h->rss_context].table[0] == NO_CHANGE))
		return -ENOENT;
	n->amnesia = false;
	c = &n->ctx[h->rss_context];
	if (h->rss_context && !h->indir_size)
		return delete_context(n, h->rss_context);
	c->used = true;
	if (table)
		memcpy(c->table, h->rss_config, h->indir_size * sizeof(uint32_t));
	else if (!h->indir_size)
		default_table(n, c);
	if (!h->rss_context && h->indir_size != NO_CHANGE)
		n->table_chosen = table;
	if (h->key_size && !n->kind.keeps_old_key)
		memcpy(c->key, key, h->key_size);
	if (h->hfunc)
		c->hfunc = h->hfunc;
	c->xfrm = XFRM(h);
	return 0;
}

/* ---- requests: fields and rules ---- */

static int set_fields(struct fnic *n, unsigned flow, uint64_t fields)
{
	bool ip = flow < 2;

	if (!n->kind.fields_set || (fields != ADDRESSES && (ip || fields != WITH_PORTS)))
		return n->kind.fields_set ? -EINVAL : -EOPNOTSUPP;
	if (ip && n->kind.whole_ip_resets)
		for (unsigned i = 0; i < FNIC_FLOWS; i++)
			n->fields[i] = 0;
	if (!ip && n->kind.whole_ip_resets)
		n->fields[flow / 2 - 1] = ADDRESSES;
	n->fields[flow] = fields;
	return 0;
}

static int fields_request(struct fnic *n, struct ethtool_rxnfc *c)
{
	unsigned flow = 0;

	while (flow < FNIC_FLOWS && flow_types[flow] != c->flow_type)
		flow++;
	if (flow == FNIC_FLOWS)
		return -EINVAL;
	if (c->cmd == ETHTOOL_SRXFH)
		return set_fields(n, flow, c->data);
	if (!n->kind.fields_get)
		return -EOPNOTSUPP;
	c->data = n->fields[flow];
	return 0;
}

static int insert_rule(struct fnic *n, struct ethtool_rxnfc *c)
{
	uint32_t at = c->fs.location;

	if (!n->ntuple)
		return -EOPNOTSUPP;
	if (c->fs.flow_type & FLOW_RSS &&
	    (!n->kind.contexts || c->rss_context >= FNIC_CONTEXTS || !n->ctx[c->rss_context].used))
		return -EINVAL;
	if (!(c->fs.flow_type & FLOW_RSS) && c->fs.ring_cookie >= n->kind.rings)
		return -EINVAL;
	if (n->kind.any_place != (at == RX_CLS_LOC_ANY))
		return -EINVAL;
	for (unsigned i = 0; at == RX_CLS_LOC_ANY && i < FNIC_RULES; i++)
		if (!n->rule[i].used)
			at = i;
	if (at >= FNIC_RULES)
		return -ENOSPC;
	c->fs.location = at;
	n->rule[at].used = true;
	n->rule[at].c = *c;
	return 0;
}

static int rules_request(struct fnic *n, struct ethtool_rxnfc *c)
{
	uint32_t used = 0, at = c->fs.location;

	if (!n->kind.rules)
		return -EOPNOTSUPP;
	switch (c->cmd) {
	case ETHTOOL_GRXCLSRLCNT:
		c->rule_cnt = 0;
		for (unsigned i = 0; i < FNIC_RULES; i++)
			c->rule_cnt += n->rule[i].used;
		c->data = n->kind.any_place ? RX_CLS_LOC_SPECIAL : FNIC_RULES;
		return 0;
	case ETHTOOL_GRXCLSRLALL:
		for (unsigned i = 0; i < FNIC_RULES; i++) {
			if (!n->rule[i].used)
				continue;
			if (used == c->rule_cnt)
				return -EMSGSIZE;
			c->rule_locs[used++] = i;
		}
		c->rule_cnt = used;
		c->data = FNIC_RULES;
		return 0;
	case ETHTOOL_SRXCLSRLINS:
		return insert_rule(n, c);
	default:
		break;
	}
	if (at >= FNIC_RULES || !n->rule[at].used)
		return -ENOENT;
	if (c->cmd == ETHTOOL_SRXCLSRLDEL) {
		n->rule[at].used = false;
		return 0;
	}
	*c = n->rule[at].c;
	c->cmd = ETHTOOL_GRXCLSRULE;
	return 0;
}

/* ---- requests ---- */

static bool is_change(uint32_t cmd)
{
	return cmd == ETHTOOL_SRSSH || cmd == ETHTOOL_SRXFH || cmd == ETHTOOL_SRXCLSRLINS ||
	       cmd == ETHTOOL_SRXCLSRLDEL || cmd == ETHTOOL_SFLAGS;
}

static int set_flags(struct fnic *n, uint32_t flags)
{
	if (!n->kind.rules)
		return -EOPNOTSUPP;
	n->ntuple = flags & ETH_FLAG_NTUPLE;
	return 0;
}

static int answer(struct fnic *n, void *request)
{
	uint32_t cmd = *(uint32_t *)request;

	switch (cmd) {
	case ETHTOOL_GRSSH:
		return get_rss(n, request);
	case ETHTOOL_SRSSH:
		return set_rss(n, request);
	case ETHTOOL_GRXFH:
	case ETHTOOL_SRXFH:
		return fields_request(n, request);
	case ETHTOOL_GRXRINGS:
		if (!n->kind.rings || !n->kind.rss)   /* veth: not there */
			return -EOPNOTSUPP;
		((struct ethtool_rxnfc *)request)->data = n->kind.rings;
		return 0;
	case ETHTOOL_GCHANNELS:
		if (!n->kind.rings)
			return -EOPNOTSUPP;
		((struct ethtool_channels *)request)->combined_count = n->kind.rings;
		return 0;
	case ETHTOOL_GDRVINFO:
		snprintf(((struct ethtool_drvinfo *)request)->driver, 32, "%s", n->kind.driver);
		return 0;
	case ETHTOOL_GFLAGS:
		((struct ethtool_value *)request)->data = n->ntuple ? ETH_FLAG_NTUPLE : 0;
		return 0;
	case ETHTOOL_SFLAGS:
		return set_flags(n, ((struct ethtool_value *)request)->data);
	default:
		return rules_request(n, request);
	}
}

static int call(struct xn_ethtool *e, void *request)
{
	struct fnic *n = (struct fnic *)e;     /* its first member */

	n->requests++;
	if (getpid() > 0)   /* a keeper may not ask */
		n->pid = (int)getpid();
	while (n->hangs)
		usleep(1000);
	if (is_change(*(uint32_t *)request)) {
		n->changes++;
		if (n->changes == n->die_at)
			_exit(FNIC_DEAD);
		if (n->changes == n->fail_at)
			return -n->fail_with;
	}
	return answer(n, request);
}

/* ---- life ---- */

void fnic_init(struct fnic *n, const struct fnic_kind *kind)
{
	memset(n, 0, sizeof(*n));
	n->kind = *kind;
	n->e.call = call;
	n->e.fd = -1;
	strcpy(n->e.ifname, "fake0");
	n->ctx[0].used = true;
	n->ctx[0].hfunc = kind->hfuncs & ~XN_ETH_TOEPLITZ ? kind->hfuncs & ~XN_ETH_TOEPLITZ :
			  XN_ETH_TOEPLITZ;
	n->ctx[0].xfrm = kind->xfrms;
	for (unsigned i = 0; i < kind->key_len; i++)
		n->ctx[0].key[i] = (uint8_t)(i * 37u + 11);
	if (kind->rings)
		default_table(n, &n->ctx[0]);
	for (unsigned i = 0; i < FNIC_FLOWS; i++)
		n->fields[i] = i == 2 || i == 4 ? WITH_PORTS : ADDRESSES;
	n->ntuple = kind->rules && !kind->rules_off;
}

void fnic_forget(struct fnic *n, unsigned rings)
{
	n->kind.rings = rings;
	n->table_chosen = false;
	default_table(n, &n->ctx[0]);
	for (unsigned i = 0; i < n->kind.key_len; i++)
		n->ctx[0].key[i] = (uint8_t)(i * 91u + 5);
}

bool fnic_same(const struct fnic *n, const struct fnic *before)
{
	for (unsigned i = 0; i < FNIC_CONTEXTS; i++) {
		const struct fnic_context *a = &n->ctx[i], *b = &before->ctx[i];

		if (a->used != b->used)
			return false;
		if (a->used && (memcmp(a->table, b->table, sizeof(a->table)) != 0 || a->hfunc != b->hfunc ||
				memcmp(a->key, b->key, sizeof(a->key)) != 0 || a->xfrm != b->xfrm))
			return false;
	}
	for (unsigned i = 0; i < FNIC_RULES; i++)
		if (n->rule[i].used != before->rule[i].used)
			return false;
	return !memcmp(n->fields, before->fields, sizeof(n->fields)) && n->ntuple == before->ntuple &&
	       n->table_chosen == before->table_chosen;
}
