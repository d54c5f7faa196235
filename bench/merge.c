/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in merge.h. */
#include <string.h>

#include "base/types.h"
#include "bench/merge.h"

unsigned xn_merge_fetch(struct xn_merge *m, struct xn_guest *g, unsigned pair)
{
	const unsigned room = XN_MIN(XN_MERGE_FETCH, (unsigned)XN_ARRAY_SIZE(m->f) - m->n);

	m->n += xn_guest_rx(g, pair, m->f + m->n, room);
	return m->n;
}

bool xn_merge_next(struct xn_merge *m, struct xn_merged *out)
{
	const struct xn_guest_frame *f = m->f + m->at;
	const unsigned left = m->n - m->at;
	unsigned want;

	if (!left)
		return false;
	want = f->buffers;
	/* A continuation of nothing, or more buffers than there can be: taken as it is, so that
	 * whoever looks at it finds it wrong. */
	if (XN_UNLIKELY(!want || want > XN_MERGE_MOST)) {
		m->wrong++;
		want = 1;
	}
	if (want > left)
		return false;
	*out = (struct xn_merged){ .f = f, .n = want };
	for (unsigned i = 0; i < want; i++)
		out->bytes += f[i].bytes;
	m->at += want;
	return true;
}

void xn_merge_done(struct xn_merge *m, struct xn_guest *g, unsigned pair)
{
	xn_guest_rx_done(g, pair, m->f, m->at);
	m->n -= m->at;
	memmove(m->f, m->f + m->at, m->n * sizeof(m->f[0]));
	m->at = 0;
}
