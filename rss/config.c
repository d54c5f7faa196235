/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads, checks and prepares configurations of RSS (contract in rss/config.h).
 *
 * What a driver sends (VIRTIO 1.3, 5.1.6.5.7.1), little endian:
 *
 *	hash_types | table mask | unclassified | table ...      | max_tx_vq | key length | key ...
 *	4 bytes    | 2          | 2            | 2 * (mask + 1) | 2         | 1          | length
 *
 * Where a field lies depends on those before it, so each is checked before the next is
 * looked for. A receive queue is named by its pair: bits 1 to 16 of the virtqueue's index,
 * of which the uppermost stays 0, since there are not so many pairs.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/types.h"
#include "rss/config.h"

/* Microsoft, "Verifying the RSS hash calculation"; what DPDK and many NICs begin with. */
static const uint8_t default_key[XN_RSS_KEY_BYTES] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

static const struct {
	const char *name, *text;
} errors[XN_RSS_ERROR_COUNT] = {
	[XN_RSS_OK] = { "rss_ok", "nothing is wrong" },
#define XN_X(name, text) [XN_R_##name] = { #name, text },
	XN_RSS_ERRORS(XN_X)
#undef XN_X
};

const char *xn_rss_error_name(enum xn_rss_error e) { return errors[e].name; }
const char *xn_rss_error_text(enum xn_rss_error e) { return errors[e].text; }

/* ---- what a driver sends ---- */

static uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p)
{
	return le16(p) | (uint32_t)le16(p + 2) << 16;
}

/*
 * Linux since 6.15 (and stable kernels that took its struct virtio_net_rss_config_trailer, whose
 * size counts padding) sends a byte more than the key has, behind it; those before the struct
 * was put right (7.0) in front of it: the padding, 0. What they tell their users is the key
 * without it, and that is the one that is meant. A key whose own first byte is 0, and whose last
 * one is not followed by a 0, is taken for one of these: 1 of 65536 says so wrongly.
 */
static const uint8_t *padded_key(const uint8_t *p, unsigned bytes)
{
	return p[0] == 0 && p[bytes] != 0 ? p + 1 : p;
}

/* The end of both commands, from the key's length on. */
static enum xn_rss_error read_key(struct xn_rss_config *c, const uint8_t *p, uint64_t n,
				  const struct xn_rss_limits *limits)
{
	if (n < 1)
		return XN_R_rss_short;
	c->key_bytes = p[0];
	if (c->key_bytes < XN_RSS_KEY_BYTES || c->key_bytes > limits->key_bytes)
		return XN_R_rss_key;
	if (n - 1 < c->key_bytes)
		return XN_R_rss_short;
	if (n - 1 > c->key_bytes + 1u)
		return XN_R_rss_long;
	p = n - 1 == c->key_bytes ? p + 1 : padded_key(p + 1, c->key_bytes);
	memcpy(c->key, p, c->key_bytes);
	return XN_RSS_OK;
}

static enum xn_rss_error read_table(struct xn_rss_config *c, const uint8_t *p,
				    const struct xn_rss_limits *limits)
{
	for (unsigned i = 0; i < c->entries; i++) {
		c->table[i] = le16(p + 2 * i);
		if (c->table[i] >= limits->pairs)
			return XN_R_rss_queue;
	}
	return XN_RSS_OK;
}

static void check_limits(const struct xn_rss_limits *l)
{
	assert(l->pairs && l->pairs <= XN_RSS_PAIRS_MAX);
	assert(l->entries && l->entries <= XN_RSS_TABLE_MAX);
	assert(l->key_bytes >= XN_RSS_KEY_BYTES && l->key_bytes <= XN_RSS_KEY_MAX);
}

static enum xn_rss_error read_config(struct xn_rss_config *c, const uint8_t *p, uint64_t n,
				     const struct xn_rss_limits *limits)
{
	enum xn_rss_error err;
	uint32_t entries;

	if (n < 8)
		return XN_R_rss_short;
	c->types = le32(p);
	if (c->types & ~limits->types)
		return XN_R_rss_types;
	entries = le16(p + 4) + 1u;
	if (!xn_is_pow2(entries))
		return XN_R_rss_mask;
	if (entries > limits->entries)
		return XN_R_rss_entries;
	c->entries = (uint16_t)entries;
	c->unclassified = le16(p + 6);
	if (c->unclassified >= limits->pairs)
		return XN_R_rss_unclassified;
	p += 8;
	n -= 8;
	if (n < 2 * entries + 2)
		return XN_R_rss_short;
	err = read_table(c, p, limits);
	if (err)
		return err;
	c->max_tx = le16(p + 2 * entries);
	if (!c->max_tx || c->max_tx > limits->pairs)
		return XN_R_rss_max_tx;
	return read_key(c, p + 2 * entries + 2, n - 2 * entries - 2, limits);
}

enum xn_rss_error xn_rss_read_config(struct xn_rss_config *out, const uint8_t *data, uint64_t n,
				     const struct xn_rss_limits *limits)
{
	struct xn_rss_config c = { 0 };
	enum xn_rss_error err;

	check_limits(limits);
	err = read_config(&c, data, n, limits);
	if (!err)
		*out = c;
	return err;
}

/*
 * The 8 bytes between types and key are reserved, and ignored: Linux 5.18 to 6.8 leaves
 * a 1 in the last of them (virtnet_init_default_rss, max_tx_vq).
 */
enum xn_rss_error xn_rss_read_hash(struct xn_rss_config *out, const uint8_t *data, uint64_t n,
				   const struct xn_rss_limits *limits)
{
	struct xn_rss_config c = { .entries = 1, .max_tx = 1 };
	enum xn_rss_error err;

	check_limits(limits);
	if (n < 12)
		return XN_R_rss_short;
	c.types = le32(data);
	if (c.types & ~limits->types)
		return XN_R_rss_types;
	err = read_key(&c, data + 12, n - 12, limits);
	if (!err)
		*out = c;
	return err;
}

/* ---- what nobody sent ---- */

static void fill_equal(struct xn_rss_config *cfg, unsigned queues)
{
	/* More than two of each, so that no queue gets much more than another. */
	cfg->entries = queues > XN_RSS_TABLE_USUAL / 4 ? XN_RSS_TABLE_MAX : XN_RSS_TABLE_USUAL;
	for (unsigned i = 0; i < cfg->entries; i++)
		cfg->table[i] = (uint16_t)(i % queues);
}

void xn_rss_default(struct xn_rss_config *cfg, unsigned pairs)
{
	assert(pairs && pairs <= XN_RSS_PAIRS_MAX);
	*cfg = (struct xn_rss_config){ .types = XN_RSS_TYPES_ALL, .max_tx = (uint16_t)pairs,
				       .key_bytes = XN_RSS_KEY_BYTES };
	memcpy(cfg->key, default_key, sizeof(default_key));
	fill_equal(cfg, pairs);
}

static int fail_key(const char *text)
{
	return xn_fail(EINVAL, "RSS key '%s': give %u to %u bytes in hex (6d:5a:...), symmetric or "
		       "random", text, XN_RSS_KEY_BYTES, XN_RSS_KEY_MAX);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	       c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Returns how many bytes, 0 if it is something else. */
static unsigned parse_hex(uint8_t key[XN_RSS_KEY_MAX], const char *text)
{
	unsigned n = 0;

	while (*text) {
		int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);

		if (low < 0 || n == XN_RSS_KEY_MAX)
			return 0;
		key[n++] = (uint8_t)(high << 4 | low);
		text += 2;
		if (*text == ':' && *++text == '\0')
			return 0;
	}
	return n;
}

int xn_rss_set_key(struct xn_rss_config *cfg, const char *text)
{
	uint8_t key[XN_RSS_KEY_MAX] = { 0 };
	unsigned n = XN_RSS_KEY_BYTES;

	if (!strcmp(text, "symmetric")) {
		/* Each 16 bits as the 16 before: whatever changes places by 16 or by 32 bits,
		 * as ports and addresses do, makes the same hash. */
		for (unsigned i = 0; i < n; i++)
			key[i] = i & 1 ? 0x5a : 0x6d;
	} else if (!strcmp(text, "random")) {
		if (getrandom(key, n, 0) != (ssize_t)n)
			return xn_fail(EIO, "no random numbers for the RSS key: %s",
				       strerror(errno));
	} else {
		n = parse_hex(key, text);
		if (n < XN_RSS_KEY_BYTES)
			return fail_key(text);
	}
	memcpy(cfg->key, key, sizeof(key));
	cfg->key_bytes = (uint16_t)n;
	return 0;
}

/* A number at the start of *text, which is moved behind it. -1: there is none below limit. */
static int parse_number(const char **text, unsigned limit)
{
	unsigned v = 0;
	const char *p = *text;

	if (*p < '0' || *p > '9')
		return -1;
	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (unsigned)(*p - '0');
		if (v >= limit)
			return -1;
	}
	*text = p;
	return (int)v;
}

static int fail_table(const char *text, unsigned pairs)
{
	return xn_fail(EINVAL, "RSS table '%s': give queues as 0,1,2,3 (as many as a power of two, "
		       "%u at most, each below %u) or equal:N (N from 1 to %u)", text,
		       XN_RSS_TABLE_MAX, pairs, pairs);
}

int xn_rss_set_table(struct xn_rss_config *cfg, const char *text, unsigned pairs)
{
	struct xn_rss_config c = *cfg;
	const char *p = text;
	unsigned n = 0;
	int v;

	assert(pairs && pairs <= XN_RSS_PAIRS_MAX);
	if (!strncmp(p, "equal:", 6)) {
		p += 6;
		v = parse_number(&p, pairs + 1);
		if (v <= 0 || *p)
			return fail_table(text, pairs);
		fill_equal(cfg, (unsigned)v);
		return 0;
	}
	do {
		v = parse_number(&p, pairs);
		if (v < 0 || n == XN_RSS_TABLE_MAX || (*p && *p != ','))
			return fail_table(text, pairs);
		c.table[n++] = (uint16_t)v;
	} while (*p++ == ',');
	if (!xn_is_pow2(n))
		return fail_table(text, pairs);
	c.entries = (uint16_t)n;
	*cfg = c;
	return 0;
}

/* ---- use ---- */

/* VIRTIO 1.3, 5.1.6.4.3: the first enabled type for a class decides. */
static uint8_t applies(enum xn_flow_class class, uint32_t types)
{
	/* Of a class with ports, the one without; of one with extension headers, that which
	 * skips them. */
	unsigned addresses = class - (class - 1u) % 3;
	const unsigned row[] = {
		class, addresses,
		class >= XN_FLOW_IPV6_EX ? class - 3u : XN_FLOW_NONE,
		class >= XN_FLOW_IPV6_EX ? XN_FLOW_IPV6 : XN_FLOW_NONE,
	};

	for (unsigned i = 0; i < XN_ARRAY_SIZE(row) && row[i]; i++)
		if (types & XN_RSS_TYPE(row[i]))
			return (uint8_t)(row[i] | ((row[i] - 1) % 3 ? XN_RSS_PORTS : 0) |
					 (row[i] >= XN_FLOW_IPV6_EX ? XN_RSS_HOME : 0));
	return 0;
}

void xn_rss_image_make(struct xn_rss_image *img, const struct xn_rss_config *cfg)
{
	memset(img, 0, offsetof(struct xn_rss_image, z));
	for (unsigned c = XN_FLOW_NONE + 1; c < XN_FLOW_CLASSES; c++)
		img->apply[c] = applies(c, cfg->types);
	img->unclassified = (uint8_t)cfg->unclassified;
	for (unsigned i = 0; i < XN_RSS_TABLE_MAX; i++)
		img->queue[i] = (uint8_t)cfg->table[i & (cfg->entries - 1u)];
	xn_toeplitz_make(&img->z, cfg->key);
}
