/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets over descriptors. Theory in port/layout.h. */
#include "port/layout.h"

/* Parts from `first` on that may still become one copy, with what comes. */
struct group {
	unsigned first;
	unsigned slices;          /* 0: there is none; the head counts as one */
	uint32_t bytes;
	bool head;                /* its first part is copied in any case */
};

/* The next bytes of a piece that one descriptor can take, `left` of them there. */
static uint32_t slice(const struct xn_layout_rules *r, uint64_t at, uint32_t left)
{
	const uint32_t n = XN_MIN(left, r->chunk);
	const uint32_t border = XN_PAGE_SIZE - (uint32_t)(at % XN_PAGE_SIZE);

	if (n <= border || (!r->in_page && (!r->map || xn_zc_whole_for_device(r->map, at, n))))
		return n;
	return border;
}

/*
 * The first of a piece. Behind a group: if that takes what does not fill whole chunks, then the
 * rest does. Of the packet: not more than is good, if the rest has room for it.
 */
static uint32_t first_slice(const struct xn_layout *l, const struct xn_layout_rules *r,
			    const struct group *g, uint64_t at, uint32_t left)
{
	const bool begins = !l->n && left > r->chunk;
	uint32_t odd;

	if ((!g->slices && !begins) || r->in_page || r->map)
		return slice(r, at, left);
	odd = left <= r->chunk ? left : left % r->chunk;
	if (begins)
		return odd && odd <= r->first ? r->first : r->chunk;
	return odd && g->bytes + odd <= r->chunk ? odd : XN_MIN(left, r->chunk);
}

/* Bytes of the group that are not copied so far. */
static uint32_t lent_in(const struct xn_layout *l, const struct group *g)
{
	return g->bytes - (g->head ? l->part[g->first].len : 0);
}

/* Makes one copy of the group's parts. */
static void merge(struct xn_layout *l, struct group *g)
{
	l->copied += lent_in(l, g);
	l->frames += !g->head;
	l->part[g->first] = (struct xn_part){ .len = g->bytes, .copy = true };
	l->n = g->first + 1;
	g->slices = 1;
	g->head = true;
}

/* It ends here: is it cheaper as one copy, or as it is? */
static void close_group(struct xn_layout *l, struct group *g, const struct xn_layout_rules *r)
{
	if (g->slices > 1 && (uint64_t)(l->n - g->first - 1) * r->desc_bytes > lent_in(l, g))
		merge(l, g);
	g->slices = 0;
	g->bytes = 0;
	g->head = false;
}

/* One slice more. False: there is no room for it. */
static bool add(struct xn_layout *l, struct group *g, const struct xn_layout_rules *r,
		uint64_t at, uint32_t n)
{
	if (g->slices && g->bytes + n > r->chunk)
		close_group(l, g, r);
	if (l->n == r->max) {
		/* What is open becomes one, with this, if it is the last that has a place. */
		if (!g->slices)
			return false;
		g->bytes += n;
		merge(l, g);
		return true;
	}
	if (!g->slices)
		g->first = l->n;
	g->slices++;
	g->bytes += n;
	l->part[l->n++] = (struct xn_part){ .at = XN_UOFF(at), .len = n };
	return true;
}

/* All slices of one piece's bytes. */
static bool add_piece(struct xn_layout *l, struct group *g, const struct xn_layout_rules *r,
		      uint64_t at, uint32_t left)
{
	uint32_t n = first_slice(l, r, g, at, left);

	for (;;) {
		if (!add(l, g, r, at, n))
			return false;
		at += n;
		left -= n;
		if (!left)
			return true;
		n = slice(r, at, left);
	}
}

/* May the first part leave as it is? Drivers stumble over one without the whole Ethernet
 * header. */
static bool begins_well(const struct xn_layout *l)
{
	return l->part[0].len >= XN_ETH_HDR_BYTES;
}

static uint64_t cost(const struct xn_layout_rules *r, unsigned descs, uint32_t copied)
{
	return (uint64_t)descs * r->desc_bytes + copied;
}

bool xn_layout(struct xn_layout *l, const struct xn_layout_rules *r, struct xn_cursor c,
	       uint32_t bytes, uint32_t head)
{
	const uint32_t all = head + bytes, gathered = xn_chunks_for(all, r->chunk);
	struct group g = { 0 };
	uint32_t left = bytes;

	/* Often enough it is seen at once that nothing can be cheaper; nor with so long a head. */
	if ((gathered == 1 && head && bytes < r->desc_bytes) || head > r->chunk)
		return false;
	l->n = l->frames = 0;
	l->copied = head;
	if (head) {
		l->frames = 1;
		l->part[l->n++] = (struct xn_part){ .len = head, .copy = true };
		g = (struct group){ .slices = 1, .bytes = head, .head = true };
	}
	for (; left; c.piece++, c.into = 0) {
		const uint32_t here = XN_MIN(left, c.piece->len - c.into);

		if (here && !add_piece(l, &g, r, c.piece->at.v + c.into, here))
			return false;
		left -= here;
	}
	close_group(l, &g, r);
	return begins_well(l) &&
	       (gathered > r->max || cost(r, l->n, l->copied) <= cost(r, gathered, all));
}

xn_sum xn_layout_fill(const struct xn_layout *l, struct xn_cursor *c, uint8_t *const *frames,
		      uint32_t from, uint32_t sum_from)
{
	xn_sum sum = XN_SUM(0), more;
	uint32_t begin = 0, at = from;

	for (const struct xn_part *p = l->part; p < l->part + l->n; begin += p->len, p++) {
		const struct xn_chunks to = { frames, p->len };
		const uint32_t end = begin + p->len;

		while (at < end) {
			const bool plain = at < sum_from;
			const uint32_t n = (plain ? XN_MIN(end, sum_from) : end) - at;

			if (plain && p->copy)
				xn_gather(c, &to, at - begin, n);
			else if (plain)
				xn_cursor_skip(c, n);
			more = plain ? XN_SUM(0) :
			       p->copy ? xn_gather_sum(c, &to, at - begin, n) : xn_cursor_sum(c, n);
			sum = xn_sum_add(sum, xn_sum_at(more, at - sum_from));
			at += n;
		}
		frames += p->copy;
	}
	return sum;
}
