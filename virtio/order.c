/* SPDX-License-Identifier: BSD-2-Clause */
/* Buffers used in order. Picture in virtio/order.h. */
#include <stdlib.h>

#include "virtio/order.h"

struct xn_order *xn_order_create(uint32_t mask)
{
	const size_t n = mask + 1u;
	struct xn_order *o = calloc(1, sizeof(*o) + n * sizeof(o->taken[0]));

	if (!o)
		return NULL;
	o->mask = mask;
	o->ready = calloc(n, sizeof(*o->ready));
	o->times = calloc(n, sizeof(*o->times));
	o->len = calloc(n, sizeof(*o->len));
	if (o->ready && o->times && o->len)
		return o;
	xn_order_destroy(o);
	return NULL;
}

void xn_order_destroy(struct xn_order *o)
{
	if (!o)
		return;
	free(o->ready);
	free(o->times);
	free(o->len);
	free(o);
}

uint32_t xn_order_emit(struct xn_order *o)
{
	uint32_t n = 0;

	for (; o->first != o->next; o->first++) {
		const uint16_t head = o->taken[o->first & o->mask];

		if (!o->times[head])
			break;
		o->times[head]--;
		o->ready[n++] = (struct vring_used_elem){ .id = head, .len = o->len[head] };
	}
	return n;
}
