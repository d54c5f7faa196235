/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hash reports (VIRTIO_NET_F_HASH_REPORT): what is written behind the virtio-net header of a
 * frame that is received.
 *
 *	control queue                            queue threads, each with its own
 *	config --lock--> dev->hash.cfg ------>   report: image
 *	generation + 1   ------------------->    looked at once a batch; another one: made anew
 *
 * So a frame sees one configuration, whole, and no thread waits for another but while a
 * configuration is copied. A frame that has arrived is the guest's memory already: what is hashed is
 * a copy of its headers.
 */
#ifndef XN_ENGINE_HASH_H
#define XN_ENGINE_HASH_H

#include <pthread.h>

#include "base/atomics.h"
#include "base/types.h"
#include "rss/config.h"

/* The headers of a frame without IPv6 extension headers: Ethernet, two VLAN tags, the longest
 * IPv4 header and a TCP header are 102 bytes. */
#define XN_HASH_USUAL 128u
/* As far as rss/flow.h looks: the last header that it enters, with the ports behind it. */
#define XN_HASH_REACH (XN_ETH_BYTES + 2 * XN_VLAN_BYTES + XN_FLOW_REACH + 256 * 8 + XN_TCP_BYTES)

/* The device's. */
struct xn_dev_hash {
	pthread_mutex_t lock;            /* of cfg */
	struct xn_rss_config cfg;
	uint32_t generation;             /* of cfg; 0: as it was made */
};

/* A queue's. */
struct xn_hash_report {
	struct xn_dev_hash *dev;
	uint32_t generation;             /* of img; 0: as the device's was made, no image */
	struct xn_rss_image img;
	uint8_t head[XN_HASH_REACH];     /* a frame's first bytes */
};

/* From now on hashes are reported like this. Any one thread at a time. */
void xn_hash_set(struct xn_dev_hash *h, const struct xn_rss_config *cfg);

/* Makes the image anew. */
void xn_hash_renew(struct xn_hash_report *r);

/* Once a batch. */
static inline void xn_hash_look(struct xn_hash_report *r)
{
	/* Acquire: nothing hangs on it but the lock that follows; a batch that begins after the
	 * driver was answered sees the generation of before the answer. */
	if (XN_UNLIKELY(xn_load_acquire32(&r->dev->generation) != r->generation))
		xn_hash_renew(r);
}

/* Does a frame that goes on behind its first XN_HASH_USUAL bytes have headers there? */
bool xn_hash_goes_on(const uint8_t head[XN_HASH_USUAL]);

/* Of a frame whose first n bytes are in r->head; *report is VIRTIO_NET_HASH_REPORT_*. */
static inline uint32_t xn_hash_of(const struct xn_hash_report *r, uint32_t n, uint16_t *report)
{
	uint32_t hash = 0;

	*report = 0;
	if (XN_LIKELY(r->generation != 0))
		*report = (uint16_t)xn_rss_hash(&r->img, r->head, r->head + n, &hash);
	return *report ? hash : 0;
}

#endif
