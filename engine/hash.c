/* SPDX-License-Identifier: BSD-2-Clause */
/* Configurations of hash reports, from one thread to others. Theory in engine/hash.h. */
#include "engine/hash.h"

void xn_hash_set(struct xn_dev_hash *h, const struct xn_rss_config *cfg)
{
	uint32_t next = h->generation + 1;

	pthread_mutex_lock(&h->lock);
	h->cfg = *cfg;
	/* Release: pairs with xn_hash_look. 0 stays what nobody has ever set. */
	xn_store_release32(&h->generation, next ? next : 1);
	pthread_mutex_unlock(&h->lock);
}

void xn_hash_renew(struct xn_hash_report *r)
{
	struct xn_rss_config cfg;

	pthread_mutex_lock(&r->dev->lock);
	cfg = r->dev->cfg;
	r->generation = r->dev->generation;
	pthread_mutex_unlock(&r->dev->lock);
	xn_rss_image_make(&r->img, &cfg);
}

bool xn_hash_goes_on(const uint8_t head[XN_HASH_USUAL])
{
	const uint8_t *type = head + 12;

	for (unsigned tags = 0; tags < 2 && xn_flow_is_vlan(xn_flow_raw16(type)); tags++)
		type += XN_VLAN_BYTES;
	/* The type is followed by the IPv6 header, whose seventh byte says what is next. */
	return xn_flow_be16(type) == 0x86dd && xn_flow_is_ext(type[2 + 6]);
}
