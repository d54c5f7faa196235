/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a driver in zero-copy mode does with buffers of each geometry: one line for each, in
 * transmit and receive. Runs in the machine of tests/zc/run.
 *
 *	geometry PAGES FRAMES SHAPE...   PAGES: 4k or 2M, of the memory that is lent
 *	                                 SHAPE: u4096/1536 (unaligned), a2048/1792 (aligned)
 *
 * A buffer lies in a place of its own, with canaries before and behind. Frames are numbered,
 * have lengths of all kinds, and are compared to the last byte. Never more of them are on
 * their way than find room, since beside the buffers of a class a reserve of good ones is
 * posted again and again: nothing is lost for lack of time or room, and no ring runs dry
 * (xsk/zc.h).
 *
 *	sent got lost   frames
 *	twice wrong     frames that came twice; whose bytes or length are not as sent
 *	alien           came in a buffer that was not posted, or elsewhere in one
 *	bufs gone want  buffers posted; never seen again; how many should be, by the rule
 *	                (transmit: descriptors refused, and how many should be)
 *	front behind    the most bytes changed before a frame, and behind its end
 *	liar            completions of frames that were not sent
 *
 * The rule. Each page of a UMEM has a bit: the next one follows at the next DMA address. The
 * product has read them (xn_zc_map_read); here they are compared with those that are asked one
 * by one (tests/zc/contig.c), and with what happens. A fill entry whose chunk - all of it, not the frame - crosses
 * into a page that does not follow is gone; a TX descriptor whose bytes do is refused, counted
 * in tx_invalid_descs, and completed as if it were sent. Nothing else is lost, but with a
 * driver that sends nothing across pages (xn_zc_driver.tx_in_page). Status 1 if anything is
 * otherwise; lines with a "-" are told and not judged: there the driver has rounded the
 * buffer's length down to less than a frame of MTU 1500.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "base/log.h"
#include "bpf/steer.h"
#include "tests/zc/zc.h"
#include "xsk/zc.h"

#define UMEM_BYTES  (64ull * ZC_HUGE)
#define SLOTS       512u          /* buffers of a class, at most */
#define FRONT       128u          /* canaries looked at before a frame */
#define BEHIND      256u          /* and behind the longest one */
#define WINDOW      32u
#define QUIET_US    500000u       /* so long without a frame: those on their way are lost */
#define CLASS_US    200000000u
#define FRAME_MAX   1514u         /* MTU 1500 */
#define OVERSIZE_US 50000u        /* to wait for what comes of a frame that is too long */
#define HEADER      12u           /* of virtio-net, before each frame */
#define NO_SLOT     UINT16_MAX
#define RESERVE     240u          /* buffers that are always posted, */
#define RESERVE_AT  (63ull * ZC_HUGE)   /* and where the first is */
#define LOST_GOAL   1000u         /* frames for a class that has no buffer left */
#define ONE_BY_ONE  4000u         /* pages that are asked for in this way */
#define PATIENCE_MS 5000u

static const uint32_t lengths[] = { 60, 61, 127, 128, 129, 511, 1023, 1024, 1025, 1400, 1513, 1514 };
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

/* ---- classes: where buffers lie ---- */

struct class {
	const char *name;
	unsigned from, to;        /* huge pages of the UMEM that are the class's own */
	/* Where frame i lands, or begins, in this memory. Each has a page of its own for its
	 * first byte, and one for its fill address: by these it is found again. */
	uint64_t (*place)(const struct zc_umem *m, uint64_t from, unsigned i);
};

/* The chunk inside a page, at odd offsets too. */
static uint64_t in_page(const struct zc_umem *m, uint64_t from, unsigned i)
{
	static const uint16_t small[] = { 0, 77, 1023, 2048 };

	return from + i * 2 * ZC_PAGE + m->land + (m->chunk == ZC_PAGE || !m->unaligned ? 0 : small[i % 4]);
}

/* The header at the beginning of a page: buffers of 4096 bytes. */
static uint64_t page_start(const struct zc_umem *m, uint64_t from, unsigned i)
{
	return from + ZC_PAGE + i * 2 * ZC_PAGE + HEADER;
}

/* The frame across a page border. */
static uint64_t page_end(const struct zc_umem *m, uint64_t from, unsigned i)
{
	return from + i * 2 * ZC_PAGE + 3000 + i % 3;
}

/* The header at a 2 MiB border. */
static uint64_t huge_start(const struct zc_umem *m, uint64_t from, unsigned i)
{
	return from + (i + 1) * 2 * (uint64_t)ZC_HUGE + HEADER;
}

/* The frame across a 2 MiB border. */
static uint64_t huge_end(const struct zc_umem *m, uint64_t from, unsigned i)
{
	return from + (i + 1) * 2 * (uint64_t)ZC_HUGE - 700 + i % 3;
}

/* Buffers of 2048 bytes at multiples of 2048: every third, as neighbours have to be apart. */
static uint64_t linux_2048(const struct zc_umem *m, uint64_t from, unsigned i)
{
	return from + ZC_PAGE + i * 3 * 2048 + HEADER;
}

/* Buffers of 1536 bytes, as Linux guests cut them from 32 KiB: every third, each time others. */
static uint64_t linux_1536(const struct zc_umem *m, uint64_t from, unsigned i)
{
	unsigned block = i / 6;

	return from + (block + 1) * 32768 + (i % 6 * 3 + block % 3) * 1536 + HEADER;
}

static const struct class classes[] = {
	{ "page",        0,  4, in_page },
	{ "page-start",  4,  8, page_start },
	{ "page-end",    8, 12, page_end },
	{ "linux-2048", 12, 16, linux_2048 },
	{ "linux-1536", 16, 20, linux_1536 },
	{ "huge-start", 20, 63, huge_start },
	{ "huge-end",   21, 63, huge_end },
};
#define CLASSES (sizeof(classes) / sizeof(classes[0]))

/* ---- the bed ---- */

struct slot {
	uint64_t land;            /* where a frame lands or begins */
	uint64_t lo, hi;          /* what is looked at */
	bool posted, ours;        /* ours: of the class that is measured now */
	bool reserve;
	uint64_t border;          /* of the page that the chunk (frame, in transmit) begins in */
	bool broken;              /* the page behind it does not follow for the device */
	uint32_t bytes;           /* transmit: of the frame */
};

struct result {
	uint64_t sent, got, twice, wrong, alien;
	unsigned bufs, gone, want, across;   /* across: sent, in two pages that follow */
	uint32_t front, behind, stray;   /* stray: sent buffers that were changed */
	uint64_t completed;
};

struct bed {
	struct zc_umem m;
	struct zc_sock s;
	struct zc_wire w;
	struct slot slots[CLASSES * SLOTS + RESERVE];
	unsigned n_slots;
	uint16_t of_page[UMEM_BYTES / ZC_PAGE];   /* slot by the page of its fill address */
	uint64_t seq, goal;
	uint8_t *seen;            /* one bit for each number */
	uint64_t numbers;         /* how many there are */
	const struct xn_zc_driver *d;
	struct xn_zc_map map;     /* the product's; aligned chunks: all 0 */
	bool judged, ok;
};

static uint64_t fill_of(const struct zc_umem *m, uint64_t land)
{
	return land - m->land;
}

static bool follows(const struct bed *b, uint64_t border)
{
	uint64_t page = border / ZC_PAGE - 1;

	return b->map.bits[page / 64] >> page % 64 & 1;
}

static struct slot *add_slot(struct bed *b, uint64_t land, uint64_t key)
{
	struct slot *s = &b->slots[b->n_slots];

	*s = (struct slot){ .land = land, .lo = land - FRONT, .hi = land + b->m.frame + BEHIND,
			    .ours = true, .border = key / ZC_PAGE * ZC_PAGE + ZC_PAGE };
	s->broken = !follows(b, s->border);
	if (b->of_page[key / ZC_PAGE] != NO_SLOT)
		zc_die("two buffers in page %llu", (unsigned long long)(key / ZC_PAGE));
	b->of_page[key / ZC_PAGE] = (uint16_t)b->n_slots++;
	memset(b->m.base + s->lo, ZC_CANARY, s->hi - s->lo);
	return s;
}

/* The class's buffers: as many as find room. Their first bytes: of chunks, or of frames. */
static unsigned make_slots(struct bed *b, const struct class *c, bool tx)
{
	const uint64_t from = (uint64_t)c->from * ZC_HUGE, to = (uint64_t)c->to * ZC_HUGE;
	unsigned n = 0;

	for (; n < SLOTS; n++) {
		uint64_t land = c->place(&b->m, from, n);

		if (land + b->m.frame + BEHIND > to)
			break;
		add_slot(b, land, tx ? land : fill_of(&b->m, land));
	}
	return n;
}

/* The rule: does the kernel refuse these bytes? */
static bool refused(const struct slot *s, uint64_t at, uint32_t bytes)
{
	return s->broken && at + bytes > s->border;
}

/* ---- receive ---- */

static void look(struct bed *b, struct slot *s, uint64_t data, uint32_t bytes, struct result *r)
{
	for (uint64_t at = s->lo; at < data; at++)
		if (b->m.base[at] != ZC_CANARY) {
			r->front = data - at > r->front ? (uint32_t)(data - at) : r->front;
			break;
		}
	for (uint64_t at = s->hi; at > data + bytes; at--)
		if (b->m.base[at - 1] != ZC_CANARY) {
			r->behind = at - data - bytes > r->behind ? (uint32_t)(at - data - bytes) : r->behind;
			break;
		}
	memset(b->m.base + s->lo, ZC_CANARY, s->hi - s->lo);
}

static void came(struct bed *b, const struct xdp_desc *d, struct result *r)
{
	uint64_t base = b->m.unaligned ? d->addr & XSK_UNALIGNED_BUF_ADDR_MASK :
			d->addr / b->m.chunk * b->m.chunk;
	uint64_t data = b->m.unaligned ? base + (d->addr >> XSK_UNALIGNED_BUF_OFFSET_SHIFT) : d->addr;
	uint16_t i = base < b->m.bytes ? b->of_page[base / ZC_PAGE] : NO_SLOT;
	struct slot *s = i == NO_SLOT ? NULL : &b->slots[i];
	struct result elsewhere = { 0 };
	uint64_t seq;

	if (!s || !s->posted || fill_of(&b->m, s->land) != base || data != s->land) {
		r->alien++;     /* a buffer that is not posted, or a frame elsewhere in it */
		return;
	}
	seq = zc_frame_seq(b->m.base + data, d->len);
	if (seq == UINT64_MAX || seq >= b->seq)
		r->wrong++;
	else if (zc_seen_twice(b->seen, seq))
		r->twice++;
	else
		r->got++;
	look(b, s, data, d->len, s->ours ? r : &elsewhere);
	s->posted = s->ours || s->reserve;
	if (s->posted)
		zc_fill(&b->s, &base, 1);
}

static unsigned receive(struct bed *b, struct result *r)
{
	uint32_t at;
	unsigned n = (unsigned)xsk_ring_cons__peek(&b->s.rx, 64, &at);

	for (unsigned i = 0; i < n; i++) {
		struct xdp_desc d = *xsk_ring_cons__rx_desc(&b->s.rx, at + i);

		came(b, &d, r);
	}
	if (n)
		xsk_ring_cons__release(&b->s.rx, n);
	zc_kick(&b->s);
	return n;
}

/* One window of frames, and what comes of it. */
static unsigned volley(struct bed *b, unsigned n, struct result *r)
{
	uint32_t bytes[WINDOW];
	unsigned all = 0;
	uint64_t quiet;

	for (unsigned i = 0; i < n; i++)
		bytes[i] = lengths[(b->seq + i) % LENGTHS];
	b->seq += n;
	zc_peer_send(&b->w, b->seq - n, bytes, n);
	r->sent += n;
	for (quiet = zc_now_us(); all < n && zc_now_us() - quiet < QUIET_US;) {
		unsigned got = receive(b, r);

		all += got;
		if (got)
			quiet = zc_now_us();
	}
	return all;
}

static void post(struct bed *b, struct slot *s)
{
	uint64_t fill = fill_of(&b->m, s->land);

	s->posted = true;
	zc_fill(&b->s, &fill, 1);
}

static void post_reserve(struct bed *b)
{
	const uint64_t until = zc_now_us() + CLASS_US;
	struct result first = { 0 };

	for (unsigned i = 0; i < RESERVE; i++) {
		uint64_t land = in_page(&b->m, RESERVE_AT + 16 * ZC_PAGE, i);
		struct slot *s = add_slot(b, land, fill_of(&b->m, land));

		s->ours = false;
		s->reserve = true;
		post(b, s);
	}
	zc_kick(&b->s);
	/* The driver takes them when it gets to it: until then the NIC throws frames away. */
	while (!volley(b, 1, &first))
		if (zc_now_us() > until)
			zc_die("not one of %llu frames comes", (unsigned long long)first.sent);
}

static void rx_class(struct bed *b, const struct class *c, struct result *r)
{
	unsigned first = b->n_slots, silent = 0;
	uint64_t end = zc_now_us() + CLASS_US, goal;

	*r = (struct result){ .bufs = make_slots(b, c, false) };
	for (unsigned i = first; i < first + r->bufs; i++) {
		struct slot *s = &b->slots[i];

		r->want += refused(s, fill_of(&b->m, s->land), b->m.chunk);
		post(b, s);
	}
	zc_kick(&b->s);
	goal = r->want == r->bufs && b->goal > LOST_GOAL ? LOST_GOAL : b->goal;
	while (r->sent < goal && zc_now_us() < end && silent < 4)
		silent = volley(b, WINDOW, r) ? 0 : silent + 1;
	for (unsigned i = first; i < first + r->bufs; i++)
		b->slots[i].ours = false;
}

/* What still waits for a frame gets one, and is not posted again. Who does not come is gone. */
static void recall(struct bed *b)
{
	struct result r = { 0 };
	uint64_t end = zc_now_us() + CLASS_US;

	for (unsigned silent = 0; silent < 4 && zc_now_us() < end;) {
		unsigned left = 0;

		for (unsigned i = 0; i < b->n_slots; i++) {
			const struct slot *s = &b->slots[i];

			left += s->posted && !s->reserve && !refused(s, fill_of(&b->m, s->land), b->m.chunk);
		}
		if (!left)
			return;
		silent = volley(b, WINDOW, &r) ? 0 : silent + 1;
	}
}

static unsigned gone_of(const struct bed *b, unsigned first, unsigned n)
{
	unsigned gone = 0;

	for (unsigned i = first; i < first + n; i++)
		gone += b->slots[i].posted;
	return gone;
}

/* ---- transmit ---- */

static unsigned at_peer(struct bed *b, struct result *r)
{
	static uint8_t buf[64][ZC_MAX_FRAME];
	uint32_t bytes[64];
	unsigned n = zc_peer_recv(&b->w, buf[0], bytes, 64);

	for (unsigned i = 0; i < n; i++) {
		uint64_t seq = zc_frame_seq(buf[i], bytes[i]);

		if (seq == UINT64_MAX || seq >= b->seq)
			r->wrong++;
		else if (zc_seen_twice(b->seen, seq))
			r->twice++;
		else
			r->got++;
	}
	return n;
}

/* Completions: the buffer has to be as it was; then it is scribbled over, so that a NIC
 * that reads on would send something else. */
static unsigned completed(struct bed *b, struct result *r)
{
	uint32_t at;
	unsigned got = (unsigned)xsk_ring_cons__peek(&b->s.comp, 64, &at);

	for (unsigned i = 0; i < got; i++) {
		uint64_t addr = *xsk_ring_cons__comp_addr(&b->s.comp, at + i);
		uint16_t k = addr < b->m.bytes ? b->of_page[addr / ZC_PAGE] : NO_SLOT;
		struct slot *s = k == NO_SLOT ? NULL : &b->slots[k];

		if (!s || !s->posted || s->land != addr) {
			r->alien++;
			continue;
		}
		if (zc_frame_seq(b->m.base + s->land, s->bytes) == UINT64_MAX)
			r->stray++;
		look(b, s, s->land, s->bytes, r);
		s->posted = false;
	}
	r->completed += got;
	if (got)
		xsk_ring_cons__release(&b->s.comp, got);
	return got;
}

static void tx_class(struct bed *b, const struct class *c, struct result *r)
{
	unsigned first = b->n_slots, n, next = 0;
	uint64_t end = zc_now_us() + CLASS_US, invalid;

	*r = (struct result){ 0 };
	n = make_slots(b, c, true);
	invalid = zc_tx_invalid(&b->s);
	r->bufs = n;
	while (r->sent < b->goal && zc_now_us() < end) {
		struct xdp_desc d[WINDOW];
		unsigned k = 0, here = 0, done = 0, bad = 0;
		uint64_t quiet, patience;

		for (; k < WINDOW && k < n; k++, next = (next + 1) % n) {
			struct slot *s = &b->slots[first + next];

			if (s->posted)
				break;
			s->bytes = lengths[b->seq % LENGTHS];
			zc_frame(&b->w, b->m.base + s->land, s->bytes, b->seq++, true);
			s->posted = true;
			d[k] = (struct xdp_desc){ .addr = s->land, .len = s->bytes };
			bad += refused(s, s->land, s->bytes);
			r->across += !s->broken && s->land + s->bytes > s->border;
		}
		r->want += bad;
		zc_tx(&b->s, d, k);
		r->sent += k;
		patience = b->d->tx_in_page && r->across ? QUIET_US / 25 : QUIET_US;
		for (quiet = zc_now_us(); done < k || here < k - bad;) {
			uint64_t us = zc_now_us() - quiet;
			unsigned h = at_peer(b, r), g = completed(b, r);

			here += h;
			done += g;
			zc_kick(&b->s);
			if (h || g)
				quiet = zc_now_us();
			else if (us > (done < k ? QUIET_US : patience))
				break;
		}
		if (!k && !done)
			break;
	}
	r->gone = (unsigned)(zc_tx_invalid(&b->s) - invalid);
}

/* ---- frames longer than the buffer ---- */

/* How many of the frames that come now are as long; *all counts every one of them. */
static unsigned came_of_length(struct bed *b, uint32_t bytes, uint64_t *all)
{
	unsigned as_long = 0;
	uint32_t at;

	for (uint64_t until = zc_now_us() + OVERSIZE_US; zc_now_us() < until; zc_kick(&b->s))
		if (xsk_ring_cons__peek(&b->s.rx, 1, &at)) {
			as_long += xsk_ring_cons__rx_desc(&b->s.rx, at)->len == bytes;
			++*all;
			xsk_ring_cons__release(&b->s.rx, 1);
		}
	return as_long;
}

/*
 * The peer may send what this side's MTU does not allow. Whatever becomes of such frames,
 * nothing may be written outside of [front, longest frame) of any buffer.
 */
static void oversize(struct bed *b)
{
	static const uint32_t bytes[] = { 1515, 1530, 1536, 1537, 1792, 1793, 2048, 2049, 3000, 4000 };
	unsigned whole = 0;
	uint64_t came = 0, outside = 0;

	for (unsigned i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		zc_peer_send(&b->w, b->seq++, &bytes[i], 1);
		whole += came_of_length(b, bytes[i], &came);
	}
	for (unsigned i = 0; i < b->n_slots; i++)
		if (b->slots[i].reserve)
			memset(b->m.base + b->slots[i].land - b->d->front, ZC_CANARY, b->d->front + b->m.frame);
	for (uint64_t at = 0; at < b->m.bytes; at++)
		outside += b->m.base[at] != ZC_CANARY;
	if (outside)
		b->ok = false;
	printf("rx %zu frames of 1515 to 4000 bytes: %u came whole, %llu came in pieces or cut, "
	       "%llu bytes written outside of buffers%s\n", sizeof(bytes) / sizeof(bytes[0]), whole,
	       (unsigned long long)(came - whole), (unsigned long long)outside, outside ? " FAILED" : "");
}

/* ---- all classes on one socket ---- */

static bool as_ruled(const struct bed *b, bool tx, const struct result *r)
{
	const uint64_t unsent = b->d->tx_in_page ? r->across : 0, lost = r->sent - r->got;

	if (r->twice || r->wrong || r->alien || r->behind || r->stray || r->gone != r->want)
		return false;
	if (tx)
		return !r->front && lost >= r->want && lost <= r->want + unsent && r->completed == r->sent;
	return r->front <= b->d->front && !lost;
}

static void say(struct bed *b, bool tx, const char *name, const struct result *r)
{
	bool ok = as_ruled(b, tx, r);
	char shape[24];

	snprintf(shape, sizeof(shape), "%c%u/%u", b->m.unaligned ? 'u' : 'a', b->m.chunk, b->m.frame);
	printf("%-2s %-10s %-10s %7llu %7llu %6lld %5llu %6llu %5llu %5u %6u %6u %5u %6u %6lld %s\n", tx ? "tx" : "rx",
	       shape, name, (unsigned long long)r->sent, (unsigned long long)r->got,
	       (long long)(r->sent - r->got), (unsigned long long)r->twice,
	       (unsigned long long)r->wrong, (unsigned long long)r->alien, r->bufs, r->gone, r->want,
	       r->front, r->behind, tx ? (long long)(r->completed - r->got) : 0,
	       ok ? "ok" : b->judged ? "FAILED" : "-");
	fflush(stdout);
	if (!ok && b->judged)
		b->ok = false;
}

static void measure(struct bed *b)
{
	static struct result res[CLASSES];
	unsigned first[CLASSES], count[CLASSES], n = b->m.unaligned ? CLASSES : 1;

	printf("%-2s %-10s %-10s %7s %7s %6s %5s %6s %5s %5s %6s %6s %5s %6s %6s\n", "", "shape", "class", "sent",
	       "got", "lost", "twice", "wrong", "alien", "bufs", "gone", "want", "front", "behind", "liar");
	for (unsigned i = 0; i < n; i++) {
		tx_class(b, &classes[i], &res[i]);
		say(b, true, classes[i].name, &res[i]);
	}
	b->n_slots = 0;
	memset(b->of_page, 0xff, sizeof(b->of_page));
	memset(b->m.base, ZC_CANARY, b->m.bytes);
	post_reserve(b);
	for (unsigned i = 0; i < n; i++) {
		first[i] = b->n_slots;
		rx_class(b, &classes[i], &res[i]);
		count[i] = b->n_slots - first[i];
	}
	recall(b);
	for (unsigned i = 0; i < n; i++) {
		res[i].gone = gone_of(b, first[i], count[i]);
		say(b, false, classes[i].name, &res[i]);
	}
	oversize(b);
}

/* ---- the map ---- */

static int send_for_map(struct xn_xsk *x)
{
	(void)sendto(x->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
	return 0;
}

static void statistics_for_map(const struct xn_xsk *x, struct xdp_statistics *st)
{
	socklen_t n = sizeof(*st);

	if (getsockopt(x->fd, SOL_XDP, XDP_STATISTICS, st, &n))
		zc_die("XDP_STATISTICS: %s", strerror(errno));
}

/* The product reads it; it has to agree with what is asked page by page. */
static void read_map(struct bed *b)
{
	struct xn_xsk x = { .tx = b->s.tx, .comp = b->s.comp, .fd = b->s.fd, .zero_copy = true,
			    .send = send_for_map, .statistics = statistics_for_map };
	const uint64_t pages = b->m.bytes / ZC_PAGE;
	uint64_t us = zc_now_us();
	unsigned differ = 0;

	if (xn_zc_map_read(&b->map, &x, b->m.bytes, b->d, PATIENCE_MS, NULL))
		zc_die("%s", xn_last_error());
	us = zc_now_us() - us;
	b->s.tx = x.tx;
	b->s.comp = x.comp;
	for (unsigned i = 0; i < ONE_BY_ONE; i++) {
		uint64_t border = (pages * i / ONE_BY_ONE + 1) * ZC_PAGE;

		differ += border < b->m.bytes && zc_contiguous(&b->s, border) != follows(b, border);
	}
	printf("map: %llu of %llu pages are followed by the next, read in %llu us; of %u asked one by one %u "
	       "differ%s\n", (unsigned long long)b->map.following, (unsigned long long)pages,
	       (unsigned long long)us, ONE_BY_ONE, differ, differ || !b->map.read ? " FAILED" : "");
	if (differ || !b->map.read)
		b->ok = false;
}

/* Aligned chunks cross nothing. */
static void no_map(struct bed *b)
{
	b->map = (struct xn_zc_map){ .bits = calloc(b->m.bytes / ZC_PAGE / 64, sizeof(uint64_t)) };
	if (!b->map.bits)
		zc_die("no memory");
}

static void one_shape(struct bed *b, struct xn_steer *steer, const char *shape)
{
	unsigned chunk, frame;
	char kind;
	int err;

	if (sscanf(shape, "%c%u/%u", &kind, &chunk, &frame) != 3)
		zc_die("no shape: %s", shape);
	zc_umem_shape(&b->m, chunk, frame, kind == 'u');
	memset(b->m.base, ZC_CANARY, b->m.bytes);
	memset(b->of_page, 0xff, sizeof(b->of_page));
	memset(b->seen, 0, b->numbers / 8);
	b->n_slots = 0;
	b->seq = 0;
	b->judged = xn_zc_whole(b->d, frame) >= FRAME_MAX;
	err = zc_open(&b->s, &b->m, b->w.ifindex, XDP_ZEROCOPY);
	if (err || !b->s.zero_copy)
		zc_die("%s: bind for zero-copy: %s", shape, strerror(-err));
	err = xn_steer_set(steer, 0, b->s.fd);
	if (err)
		zc_die("XSKMAP: %s", strerror(-err));
	zc_wire_settle(&b->w);
	printf("%s: bind took %llu us, refused %u times\n", shape, (unsigned long long)b->s.bind_us, b->s.ebusy);
	if (b->m.unaligned)
		read_map(b);
	else
		no_map(b);
	measure(b);
	xn_zc_map_free(&b->map);
	xn_steer_clear(steer, 0);
	zc_close(&b->s);
}

int main(int argc, char **argv)
{
	static struct bed b = { .ok = true };
	struct xn_steer_cfg sc = { .ifname = ZC_DEV, .attach = XN_ATTACH_NATIVE, .frame_bytes = 65535 };
	struct xn_steer *steer;
	char driver[32];

	if (argc < 4)
		zc_die("usage: geometry 4k|2M FRAMES SHAPE...");
	b.goal = strtoull(argv[2], NULL, 0);
	b.numbers = (b.goal + 100000) * 2 * CLASSES;
	b.seen = calloc(1, b.numbers / 8 + 1);
	if (!b.seen || xn_probe_driver(ZC_DEV, driver, sizeof(driver)))
		zc_die("no memory, or no driver");
	b.d = xn_zc_driver_find(driver);
	if (!b.d || b.d->trust != XN_ZC_MEASURED)
		zc_die("%s: not among the drivers that are measured (xsk/drivers.h)", driver);
	zc_wire_open(&b.w);
	sc.ifindex = b.w.ifindex;
	zc_umem_map(&b.m, UMEM_BYTES, !strcmp(argv[1], "2M"));
	if (xn_steer_open(&steer, &sc))
		zc_die("%s", xn_last_error());
	for (int i = 3; i < argc; i++)
		one_shape(&b, steer, argv[i]);
	xn_steer_close(steer);
	return !b.ok;
}
