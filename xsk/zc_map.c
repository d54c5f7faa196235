/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages of a UMEM follow each other for the device, asked of the kernel.
 *
 * No call tells the kernel's bits (xsk/zc.h), but they decide whether a TX descriptor that
 * crosses a border is refused, and refused ones are counted (XDP_STATISTICS,
 * tx_invalid_descs). So descriptors across borders are posted as the pieces of one packet
 * that is never whole, its last piece having no bytes. The kernel judges each piece, counts
 * the refused ones, and throws the packet away:
 *
 *	piece   0         1         2      ...   n
 *	      across    across    across       0 bytes     refused = borders that do not
 *	     border a  border b  border c      (refused)             follow + 1
 *
 * One question for many borders is enough where all of them follow, or none does. Where
 * few do not, as in huge pages, the half is asked where they are, and so on. Where many do
 * not, groups of a few borders, the k-th in 2^k pieces: the count then is their bits.
 *
 * Linux 7.2 takes such a packet whole, in one call (net/xdp/xsk_queue.h,
 * xskq_cons_read_desc_batch, drain_cont). Older ones throw away a piece a call, which comes
 * to the same, in drivers that take packets in batches and know packets of one piece only;
 * with others a first piece could be sent as a packet of its own. Those are not asked.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/atomics.h"
#include "base/log.h"
#include "xsk/zc.h"

#define SIDE          64u          /* bytes of a piece on each side of a border */
#define GROUP_WHOLE   8u           /* borders whose bits one count tells, where a packet is
				    * taken in one call, which may cost an interrupt */
#define GROUP_PIECES  4u           /* ... where each piece costs a call */
#define RANGE_MAX     1024u        /* pieces of one question */
#define FEW           16u          /* one of so many: halves are asked, not groups */
#define PATIENCES     2u           /* all questions together */
#define NS_PER_MS     1000000ull
#define PAUSE_NS      1000000l
#define EAGER         64u          /* calls without a pause */
#define POLL_US       50           /* any that is not 0: a call polls once */
#define LATE_NS       (20 * NS_PER_MS)   /* to wait for the last completions, if any come */

struct asking {
	struct xn_xsk *x;
	struct xn_zc_map *map;
	uint64_t refused;        /* by the kernel's count, before the question */
	uint64_t posted, completed;   /* pieces */
	uint32_t range, group;   /* borders in one question: the first, and a weighted one */
	uint64_t patience_ns, until;
	bool sensible, late;     /* late: there was no time for all */
};

/* Does a kernel of this release take broken packets whole? */
static bool takes_whole(const char *release)
{
	unsigned major, minor;

	return sscanf(release, "%u.%u", &major, &minor) == 2 &&
	       (major > 7 || (major == 7 && minor >= 2));
}

bool xn_zc_map_askable(const struct xn_zc_driver *d, const char *release)
{
	return d && d->batch && (d->segments == 1 || takes_whole(release));
}

static uint64_t refused_so_far(const struct xn_xsk *x)
{
	struct xdp_statistics st;

	x->statistics(x, &st);
	return st.tx_invalid_descs;
}

/* Has send() run the driver in its own call, without an interrupt, which igb holds back for a
 * millisecond. Where that cannot be had, the interrupt is waited for. */
static void poll_driver(const struct xn_xsk *x, int us)
{
	(void)setsockopt(x->fd, SOL_SOCKET, SO_BUSY_POLL, &us, sizeof(us));
}

/* ---- one question ---- */

/* What it has completed is of no interest: nothing was sent. */
static void drop_completions(struct asking *a)
{
	struct xn_xsk *x = a->x;
	uint32_t at, n = xsk_ring_cons__peek(&x->comp, x->comp.size, &at);

	if (n)
		xsk_ring_cons__release(&x->comp, n);
	a->completed += n;
}

/* Completions come behind the index of the TX ring, and who goes on too early takes them for
 * those of frames. Kernels that complete no refused pieces are not waited for for long. */
static void drop_late_completions(struct asking *a)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS / 10 };
	const uint64_t until = xn_now_ns() + LATE_NS;

	for (drop_completions(a); a->completed < a->posted && xn_now_ns() < until; drop_completions(a))
		nanosleep(&pause, NULL);
}

/* Has the kernel take all that is posted. False: for so long it has taken nothing. */
static bool taken(struct asking *a, uint64_t patience_ns)
{
	struct xn_xsk *x = a->x;
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	const uint32_t upto = *x->tx.producer;
	uint64_t give_up = xn_now_ns() + patience_ns;
	uint32_t last = *x->tx.consumer;

	for (unsigned idle = 0;; idle++) {
		/* Acquire: the count is read behind it. Pairs with the kernel's barrier in
		 * __xskq_cons_release. */
		uint32_t now = xn_load_acquire32(x->tx.consumer);

		drop_completions(a);
		if (now == upto)
			return true;
		if (now != last) {
			last = now;
			idle = 0;
			give_up = xn_now_ns() + patience_ns;
		}
		if (idle > EAGER) {
			if (xn_now_ns() > give_up)
				return false;
			nanosleep(&pause, NULL);
		}
		(void)x->send(x);   /* whatever it says: what counts is whether it takes them */
	}
}

static void piece(struct xn_xsk *x, uint32_t at, uint64_t addr, uint32_t bytes, uint32_t options)
{
	*xsk_ring_prod__tx_desc(&x->tx, at) =
		(struct xdp_desc){ .addr = addr, .len = bytes, .options = options };
}

/*
 * How many pieces are refused: one across each of n borders, from the one behind page
 * `from` on; weighted: 2^k across the k-th. 0, or -EAGAIN.
 */
static int ask(struct asking *a, uint64_t from, uint32_t n, bool weighted, uint32_t *refused)
{
	const uint32_t pieces = weighted ? (1u << n) - 1 : n;
	uint32_t at, k = 0;
	uint64_t count;

	if (xsk_ring_prod__reserve(&a->x->tx, pieces + 1, &at) != pieces + 1)
		return -EAGAIN;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t times = weighted ? 1u << i : 1; times; times--)
			piece(a->x, at + k++, (from + i + 1) * XN_PAGE_SIZE - SIDE, 2 * SIDE,
			      XDP_PKT_CONTD);
	piece(a->x, at + k, 0, 0, 0);
	/* Store-release of the producer index behind the pieces; pairs with the kernel's
	 * load-acquire in xskq_cons_nb_entries. */
	xsk_ring_prod__submit(&a->x->tx, pieces + 1);
	a->posted += pieces + 1;
	if (!taken(a, a->patience_ns))
		return -EAGAIN;
	count = refused_so_far(a->x) - a->refused;
	a->refused += count;
	if (!count || count > pieces + 1)   /* not even the last one, or more than there were */
		a->sensible = false;
	*refused = a->sensible ? (uint32_t)count - 1 : 0;
	return 0;
}

/* ---- all pages ---- */

static void note(struct xn_zc_map *map, uint64_t page)
{
	map->bits[page / 64] |= 1ull << page % 64;
	map->following++;
}

/* What there is no time left for stays 0. */
static bool go_on(struct asking *a)
{
	a->late = a->late || xn_now_ns() >= a->until;
	return a->sensible && !a->late;
}

static int ask_groups(struct asking *a, uint64_t from, uint32_t n)
{
	for (uint32_t i = 0; i < n && go_on(a); i += a->group) {
		uint32_t k = XN_MIN(n - i, a->group), refused = 0;
		int err = ask(a, from + i, k, true, &refused);

		if (err)
			return err;
		for (uint32_t j = 0; j < k; j++)
			if (!(refused >> j & 1))
				note(a->map, from + i + j);
	}
	return 0;
}

/* Of these borders `refused` do not follow. Where they are few, the halves are asked first,
 * of which one answer tells the other. */
static int ask_part(struct asking *a, uint64_t from, uint32_t n, uint32_t refused)
{
	const uint64_t before = a->map->following;
	const uint32_t half = n / 2;
	uint32_t left = 0;
	int err;

	for (uint32_t i = 0; !refused && i < n; i++)
		note(a->map, from + i);
	if (!refused || refused == n || !go_on(a))
		return 0;
	if (n <= a->group || refused * FEW >= n) {
		err = ask_groups(a, from, n);
		/* Asked twice, the same has to come out. */
		if (!err && go_on(a) && a->map->following - before != n - refused)
			a->sensible = false;
		return err;
	}
	err = ask(a, from, half, false, &left);
	if (left > refused || refused - left > n - half)
		a->sensible = false;
	if (err || !a->sensible)
		return err;
	err = ask_part(a, from, half, left);
	return err ? err : ask_part(a, from + half, n - half, refused - left);
}

static int ask_range(struct asking *a, uint64_t from, uint32_t n)
{
	uint32_t refused = 0;
	int err = ask(a, from, n, false, &refused);

	return err || !a->sensible ? err : ask_part(a, from, n, refused);
}

static int ask_all(struct asking *a)
{
	const uint64_t borders = a->map->pages - 1;   /* behind the last page is nothing */
	int err = 0;

	for (uint64_t at = 0; at < borders && go_on(a) && !err; at += a->range)
		err = ask_range(a, at, (uint32_t)XN_MIN(borders - at, (uint64_t)a->range));
	return err;
}

static void clear(struct xn_zc_map *map)
{
	memset(map->bits, 0, (map->pages + 63) / 64 * sizeof(*map->bits));
	map->following = 0;
}

int xn_zc_map_read(struct xn_zc_map *map, struct xn_xsk *x, uint64_t umem_bytes,
		   const struct xn_zc_driver *d, uint32_t patience_ms, const char *release)
{
	/* A ring holds a question; completions of all its pieces find room too. */
	const uint32_t room = XN_MIN(XN_MIN(x->tx.size, x->comp.size), RANGE_MAX);
	struct asking a = { .x = x, .map = map, .range = room - 1, .sensible = true,
			    .patience_ns = patience_ms * NS_PER_MS };
	struct utsname u;
	int err;

	*map = (struct xn_zc_map){ .pages = umem_bytes / XN_PAGE_SIZE };
	map->bits = calloc((map->pages + 63) / 64 + 1, sizeof(*map->bits));
	if (!map->bits)
		return xn_fail(ENOMEM, "no memory for a bit for each of %" PRIu64 " pages", map->pages);
	if (!release)
		release = uname(&u) ? "" : u.release;
	if (!x->zero_copy || !xn_zc_map_askable(d, release))
		return 0;
	a.group = takes_whole(release) ? GROUP_WHOLE : GROUP_PIECES;
	while (1u << a.group > room)
		a.group--;
	poll_driver(x, POLL_US);
	a.until = xn_now_ns() + PATIENCES * a.patience_ns;
	a.refused = refused_so_far(x);
	err = ask_all(&a);
	drop_late_completions(&a);
	poll_driver(x, 0);
	map->read = !err && a.sensible;
	if (!map->read)
		clear(map);
	else if (a.late)
		xn_log(XN_LOG_WARN, "the driver answers slowly: in %" PRIu32 " s it has told of %" PRIu64 " of %" PRIu64
		       " pages that the next one follows; what is not known is bounced",
		       PATIENCES * patience_ms / 1000, map->following, map->pages);
	return err ? xn_fail(EAGAIN, "the driver takes nothing from the TX ring: is there no carrier?") : 0;
}

void xn_zc_map_free(struct xn_zc_map *map)
{
	free(map->bits);
	*map = (struct xn_zc_map){ 0 };
}
