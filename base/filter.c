/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in base/filter.h. */
#include <string.h>

#include "base/filter.h"

#define HEAD_BYTES 14u
#define TAG_BYTES  4u

static bool is_among(const struct xn_rx_filter *f, unsigned first, unsigned n, const uint8_t *mac)
{
	for (unsigned i = first; i < first + n; i++)
		if (!memcmp(f->macs[i], mac, 6))
			return true;
	return false;
}

/* IEEE 802.1Q, 9.4.2: a tag is 0x8100 and 16 bits, the lower 12 of them the identifier. */
static bool takes_vlan(const struct xn_rx_filter *f, const uint8_t *frame, uint32_t bytes)
{
	if (!f->vlan || bytes < HEAD_BYTES + TAG_BYTES || frame[12] != 0x81 || frame[13] != 0)
		return true;
	return xn_filter_has_vlan(f, (frame[14] << 8 | frame[15]) & 4095u);
}

bool xn_filter_takes(const struct xn_rx_filter *f, const uint8_t *frame, uint32_t bytes)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (f->promisc || bytes < HEAD_BYTES)
		return true;
	if (!takes_vlan(f, frame, bytes))
		return false;
	if (!memcmp(frame, all, sizeof(all)))
		return !f->nobcast;
	if (frame[0] & 1)
		return !f->nomulti && (f->allmulti || f->many_multi ||
				       is_among(f, f->n_uni, f->n_multi, frame));
	return !f->nouni && (f->alluni || f->many_uni || !memcmp(frame, f->mac, 6) ||
			     is_among(f, 0, f->n_uni, frame));
}
