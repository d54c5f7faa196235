/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A configuration of RSS: read from what a driver sends, or from options; checked; made
 * into the image by which frames are steered (rss/image.h).
 *
 *	VIRTIO_NET_CTRL_MQ_RSS_CONFIG ----+
 *	VIRTIO_NET_CTRL_MQ_HASH_CONFIG ---+--> struct xn_rss_config --> image
 *	--rss-key, --rss-table, defaults -+
 *
 * A configuration that was refused changes nothing: the one before stays in force.
 */
#ifndef XN_RSS_CONFIG_H
#define XN_RSS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "rss/image.h"

/* VIRTIO_NET_RSS_HASH_TYPE_*: one bit for each class of rss/flow.h but NONE. */
#define XN_RSS_TYPE(class)  (1u << ((class) - 1))
#define XN_RSS_TYPES_ALL    ((1u << (XN_FLOW_CLASSES - 1)) - 1)

#define XN_RSS_KEY_MAX      64u    /* longest key that can be kept; the hash uses 40 bytes */
#define XN_RSS_PAIRS_MAX    256u
#define XN_RSS_TABLE_USUAL  128u

struct xn_rss_config {
	uint32_t types;                      /* XN_RSS_TYPE() of what is hashed */
	uint16_t entries;                    /* of table; a power of two */
	uint16_t unclassified;               /* guest queue of frames without a hash */
	uint16_t max_tx;                     /* pairs that the driver sends on */
	uint16_t key_bytes;
	uint16_t table[XN_RSS_TABLE_MAX];    /* guest queues */
	uint8_t key[XN_RSS_KEY_MAX];
};

/*
 * What the device offers: rss_max_key_size, rss_max_indirection_table_length and
 * supported_hash_types of its configuration space (VIRTIO 1.3, 5.1.4), and its queue pairs.
 *
 * Usual is the least that the specification allows, 128 entries and a key of 40 bytes: Linux
 * guests have arrays of these sizes (5.18 and newer, virtio_net.c, struct
 * virtio_net_ctrl_rss). Offered a longer key they give up the whole device; a longer table
 * they write beyond the array's end, until the kernel that allocates it (6.10).
 */
struct xn_rss_limits {
	uint32_t types;
	uint16_t entries;      /* 1..XN_RSS_TABLE_MAX */
	uint16_t key_bytes;    /* 40..XN_RSS_KEY_MAX */
	uint16_t pairs;        /* 1..XN_RSS_PAIRS_MAX */
};
#define XN_RSS_LIMITS(n_pairs) ((struct xn_rss_limits){ .types = XN_RSS_TYPES_ALL, \
	.entries = XN_RSS_TABLE_USUAL, .key_bytes = XN_RSS_KEY_BYTES, .pairs = (n_pairs) })

/* ---- what a driver sends ---- */

/* Every way in which it can be wrong. X(name, meaning) */
#define XN_RSS_ERRORS(X) \
X(rss_short,        "the command ends before its last field") \
X(rss_long,         "the command goes on behind its last field") \
X(rss_types,        "hash types that the device does not offer") \
X(rss_mask,         "the number of table entries is not a power of two") \
X(rss_entries,      "more table entries than the device offers") \
X(rss_unclassified, "frames without a hash go to a queue pair that there is not") \
X(rss_queue,        "a table entry is a queue pair that there is not") \
X(rss_max_tx,       "no transmit queue, or more than there are queue pairs") \
X(rss_key,          "key shorter than 40 bytes, or longer than the device offers")

enum xn_rss_error {
	XN_RSS_OK,
#define XN_X(name, text) XN_R_##name,
	XN_RSS_ERRORS(XN_X)
#undef XN_X
	XN_RSS_ERROR_COUNT,
};

/* e < XN_RSS_ERROR_COUNT. Never NULL. */
const char *xn_rss_error_name(enum xn_rss_error e);
const char *xn_rss_error_text(enum xn_rss_error e);

/* Longest data of the two commands (that which follows class and command). */
#define XN_RSS_COMMAND_BYTES (8u + 2 * XN_RSS_TABLE_MAX + 3 + 255)

/*
 * The data of a command, n bytes of them in `data`, which nobody else can change any more.
 * On an error *out stays as it was.
 */
enum xn_rss_error xn_rss_read_config(struct xn_rss_config *out, const uint8_t *data, uint64_t n,
				     const struct xn_rss_limits *limits);
/* Likewise VIRTIO_NET_CTRL_MQ_HASH_CONFIG: key and hash types; all frames go to queue 0. */
enum xn_rss_error xn_rss_read_hash(struct xn_rss_config *out, const uint8_t *data, uint64_t n,
				   const struct xn_rss_limits *limits);

/* ---- what nobody sent ---- */

/* All hash types, Microsoft's key, the pairs in turns; 1..XN_RSS_PAIRS_MAX. */
void xn_rss_default(struct xn_rss_config *cfg, unsigned pairs);

/*
 * --rss-key: 40..64 bytes in hex, "6d:5a:..." as ethtool -x prints them or without colons;
 * "symmetric" (both directions of a flow have one hash); "random". 0 or -EINVAL; -EIO: there
 * are no random numbers. cfg stays as it was then.
 */
int xn_rss_set_key(struct xn_rss_config *cfg, const char *text);
/*
 * --rss-table: guest queues, "0,1,2,3" (a power of two of them, up to XN_RSS_TABLE_MAX), or
 * "equal:N": the first N queues in turns. 0 or -EINVAL, and cfg stays as it was.
 */
int xn_rss_set_table(struct xn_rss_config *cfg, const char *text, unsigned pairs);

/* ---- use ---- */

/* For a configuration that came out of the calls above. */
void xn_rss_image_make(struct xn_rss_image *img, const struct xn_rss_config *cfg);

/*
 * Guest queue of a frame, its hash, and *report, VIRTIO_NET_HASH_REPORT_*: 0, and *hash 0,
 * if it has none. What the XDP program does, for ports without one and for hash reports.
 */
static inline unsigned xn_rss_steer(const struct xn_rss_image *img, const void *frame,
				    uint32_t bytes, uint32_t *hash, unsigned *report)
{
	*hash = 0;
	*report = xn_rss_hash(img, frame, (const uint8_t *)frame + bytes, hash);
	return *report ? xn_rss_queue(img, *hash) : img->unclassified;
}

#endif
