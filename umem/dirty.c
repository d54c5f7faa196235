/* SPDX-License-Identifier: BSD-2-Clause */
/* The dirty page log. Theory in umem/dirty.h. */
#include "base/atomics.h"
#include "umem/dirty.h"

void xn_dirty_mark(const struct xn_dirty *d, xn_gpa gpa, uint64_t len, uint64_t *missed)
{
	uint64_t page = gpa.v / XN_PAGE_SIZE, last;

	if (!len)
		return;
	last = (gpa.v + (len - 1)) / XN_PAGE_SIZE;
	for (; page <= last; page++) {
		if (page / 8 < d->bytes)
			xn_or_full8(&d->map[page / 8], (uint8_t)(1u << page % 8));
		else
			xn_count_add(missed, 1);
	}
}

void xn_dirty_mark_at(const struct xn_dirty *d, const struct xn_mem *m, xn_uoff at, uint64_t len,
		      uint64_t *missed)
{
	while (len) {
		xn_gpa gpa = { 0 };
		uint64_t part = xn_mem_gpa_of(m, at, len, &gpa);

		if (!part)
			return;
		xn_dirty_mark(d, gpa, part, missed);
		at.v += part;
		len -= part;
	}
}
