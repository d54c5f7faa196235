/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in bpf/filter.h. */
#include <assert.h>
#include <string.h>

#include "base/filter.h"
#include "bpf/filter.h"

static bool put(struct xn_filter_image *img, const uint8_t *bytes)
{
	const uint64_t mac = xn_filter_mac(bytes);

	for (uint32_t i = 0; i < XN_FILTER_PROBES; i++) {
		__u64 *slot = &img->slots[xn_filter_slot(mac, i)];

		if (!*slot)
			*slot = mac | XN_FILTER_USED;
		if (*slot == (mac | XN_FILTER_USED))
			return true;
	}
	return false;
}

void xn_filter_image_make(struct xn_filter_image *img, const struct xn_rx_filter *f)
{
	assert(!f->promisc && f->n_uni + f->n_multi <= XN_FILTER_MACS);
	memset(img, 0, sizeof(*img));
	img->flags = (f->alluni || f->many_uni) * XN_FILTER_ALLUNI |
		     (f->allmulti || f->many_multi) * XN_FILTER_ALLMULTI |
		     f->nouni * XN_FILTER_NOUNI | f->nomulti * XN_FILTER_NOMULTI |
		     f->nobcast * XN_FILTER_NOBCAST | f->vlan * XN_FILTER_VLAN;
	img->mac = xn_filter_mac(f->mac);
	memcpy(img->vlans, f->vlans, sizeof(img->vlans));
	for (unsigned i = 0; i < (unsigned)f->n_uni + f->n_multi; i++)
		if (!put(img, f->macs[i]))
			img->flags |= i < f->n_uni ? XN_FILTER_ALLUNI : XN_FILTER_ALLMULTI;
}
