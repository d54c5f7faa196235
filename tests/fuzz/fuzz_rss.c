/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RSS: what a hostile driver sends as a configuration, and a hostile network as a frame.
 *
 * An input: what it is (bit 0: HASH_CONFIG, else RSS_CONFIG), queue pairs and length of the
 * key that the device offers, two bytes of length, a command, a frame. A command that is
 * accepted must be one that can be used, and one that is refused must change nothing; then the
 * frame has to have the hash of the slow model (tests/fake/rss.h), by this configuration or
 * by the default one. The same bytes are tried as options, too.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/types.h"
#include "tests/fake/rss.h"

#define CHECK(x) do { if (!(x)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* In memory that ends where they end. */
static uint8_t *copy(const uint8_t *p, size_t n)
{
	uint8_t *c = malloc(n + !n);

	CHECK(c);
	memcpy(c, p, n);
	return c;
}

static void is_usable(const struct xn_rss_config *c, const struct xn_rss_limits *l)
{
	CHECK(!(c->types & ~l->types));
	CHECK(xn_is_pow2(c->entries) && c->entries <= l->entries);
	CHECK(c->unclassified < l->pairs);
	CHECK(c->max_tx && c->max_tx <= l->pairs);
	CHECK(c->key_bytes >= XN_RSS_KEY_BYTES && c->key_bytes <= l->key_bytes);
	for (unsigned i = 0; i < c->entries; i++)
		CHECK(c->table[i] < l->pairs);
}

static void command(struct xn_rss_config *c, const uint8_t *data, size_t n, bool hash,
		    const struct xn_rss_limits *l)
{
	struct xn_rss_config before = *c;
	uint8_t *p = copy(data, n);
	enum xn_rss_error e = hash ? xn_rss_read_hash(c, p, n, l) : xn_rss_read_config(c, p, n, l);

	free(p);
	if (e)
		CHECK(!memcmp(c, &before, sizeof(before)));
	else
		is_usable(c, l);
}

static void frame(const struct xn_rss_config *c, const uint8_t *data, size_t n)
{
	static struct xn_rss_image img;
	uint32_t hash, want;
	unsigned report, queue;
	uint8_t *f = copy(data, n);

	xn_rss_image_make(&img, c);
	queue = xn_rss_steer(&img, f, (uint32_t)n, &hash, &report);
	CHECK(report == rss_model_hash(c, f, (unsigned)n, &want));
	CHECK(hash == want);
	CHECK(queue == rss_model_queue(c, f, (unsigned)n));
	free(f);
}

static void options(const uint8_t *data, size_t n, const struct xn_rss_limits *l)
{
	const struct xn_rss_limits most = { XN_RSS_TYPES_ALL, XN_RSS_TABLE_MAX, XN_RSS_KEY_MAX,
					    l->pairs };
	struct xn_rss_config c, before;
	char *text = malloc(n + 1);
	bool quiet = xn_fail_silently(true);

	CHECK(text);
	memcpy(text, data, n);
	text[n] = '\0';
	xn_rss_default(&c, l->pairs);
	before = c;
	if (xn_rss_set_key(&c, text))
		CHECK(!memcmp(&c, &before, sizeof(before)));
	before = c;
	if (xn_rss_set_table(&c, text, l->pairs))
		CHECK(!memcmp(&c, &before, sizeof(before)));
	is_usable(&c, &most);
	xn_fail_silently(quiet);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct xn_rss_limits l = XN_RSS_LIMITS(1);
	struct xn_rss_config c;
	size_t n;

	if (bytes < 5)
		return 0;
	l.pairs = 1 + data[1];
	l.key_bytes += data[2] % (XN_RSS_KEY_MAX - XN_RSS_KEY_BYTES + 1);
	l.entries = data[0] & 2 ? XN_RSS_TABLE_MAX : XN_RSS_TABLE_USUAL;
	n = XN_MIN(bytes - 5, data[3] | (size_t)data[4] << 8);
	xn_rss_default(&c, l.pairs);
	command(&c, data + 5, n, data[0] & 1, &l);
	frame(&c, data + 5 + n, bytes - 5 - n);
	options(data + 5, bytes - 5, &l);
	return 0;
}
