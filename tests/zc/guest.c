/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest that looks at every byte of its RAM (guest.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "base/types.h"
#include "tests/zc/guest.h"

#define BLOCK       32768u
#define FIRST_BLOCK 5u            /* pair of blocks: the rings are before it */
#define PAIRS       1019u         /* of blocks; a prime */
#define RX 0u
#define TX 1u

static uint8_t canary[65536];

static bool clean(const uint8_t *p, uint64_t n)
{
	while (n > sizeof(canary)) {
		if (memcmp(p, canary, sizeof(canary)))
			return false;
		p += sizeof(canary);
		n -= sizeof(canary);
	}
	return !memcmp(p, canary, n);
}

static void paint(uint8_t *p, uint64_t n)
{
	memset(p, ZC_CANARY, n);
}

void zg_map(struct zg *g, const struct zc_wire *w, bool huge)
{
	struct drv *d = &g->d;

	memset(g, 0, sizeof(*g));
	paint(canary, sizeof(canary));
	g->w = w;
	g->seen = calloc(1, ZG_NUMBERS / 8);
	d->size = DRV_SIZE;
	d->bytes = ZG_RAM_BYTES;
	d->fd = memfd_create("guest", huge ? MFD_HUGETLB : 0);
	if (!g->seen || d->fd < 0 || ftruncate(d->fd, (off_t)d->bytes))
		zc_die("guest RAM: %s", strerror(errno));
	d->ram = mmap(NULL, d->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, 0);
	if (d->ram == MAP_FAILED)
		zc_die("guest RAM: %s", strerror(errno));
	/* Touched backwards, so that no border of huge pages is none for a device. */
	for (uint64_t at = d->bytes; at; at -= ZC_HUGE)
		paint(d->ram + at - ZC_HUGE, ZC_HUGE);
}

/* ---- where buffers lie ---- */

static uint64_t block(unsigned way, unsigned k)
{
	return (FIRST_BLOCK + k * 617ull % PAIRS) * 2 * BLOCK + way * BLOCK;
}

static void lay_out(struct zg_way *y, unsigned way, uint32_t size)
{
	const unsigned in_block = BLOCK / size;

	memset(y, 0, sizeof(*y));
	for (unsigned i = 0; i < ZG_BUFS; i++) {
		struct zg_buf *b = &y->bufs[i];
		unsigned k = i % in_block;

		b->at = block(way, i / in_block) + k * size;
		b->len = k == in_block - 1 ? BLOCK - k * size : size;
		/* Transmit: behind the header room of a Linux guest, or anywhere. */
		if (size == 2048)
			b->off = 64 - ZG_HDR;
		else if (size == 4096)
			b->off = i * 97 % (4096 - ZC_FRAME_LONG - ZG_HDR);
	}
	y->n = ZG_BUFS;
	for (unsigned i = 0; i < ZG_BUFS; i++)
		y->turn[y->end++ % ZG_BUFS] = (uint16_t)(i * 37 % ZG_BUFS);
}

void zg_reset(struct zg *g, uint32_t size)
{
	drv_reset_rings(&g->d, 1);
	paint(g->d.ram + DRV_FREE_AT, g->d.bytes - DRV_FREE_AT);
	lay_out(&g->rx, RX, size);
	lay_out(&g->tx, TX, size);
	g->sent = g->done;
}

/* The next buffer whose turn it is, still clean; NULL: none. */
static struct zg_buf *take(struct zg *g, struct zg_way *y)
{
	struct zg_buf *b;

	if (y->first == y->end)
		return NULL;
	b = &y->bufs[y->turn[y->first++ % ZG_BUFS]];
	if (!g->light && !clean(g->d.ram + b->at, b->len)) {
		g->bad.late++;
		paint(g->d.ram + b->at, b->len);
	}
	b->lent = true;
	return b;
}

static void lend(struct zg_way *y, const struct zg_buf *b, uint16_t head)
{
	y->of_head[head] = (uint16_t)(b - y->bufs);
}

static void back(struct zg_way *y, struct zg_buf *b)
{
	b->lent = false;
	y->turn[y->end++ % ZG_BUFS] = (uint16_t)(b - y->bufs);
}

/* The buffer that came back; NULL: it was not away. */
static struct zg_buf *returned(struct zg *g, struct zg_way *y, uint16_t head)
{
	struct zg_buf *b = &y->bufs[y->of_head[head]];

	if (b->lent)
		return b;
	g->bad.alien++;
	return NULL;
}

/* ---- receive ---- */

void zg_post(struct zg *g)
{
	while (g->d.q[RX].n_free) {
		struct zg_buf *b = take(g, &g->rx);

		if (!b)
			return;
		lend(&g->rx, b, drv_post1(&g->d, RX, b->at, b->len));
	}
}

static bool header_is_plain(const uint8_t *p)
{
	static const uint8_t plain[ZG_HDR] = { [10] = 1 };   /* num_buffers */

	return !memcmp(p, plain, sizeof(plain));
}

static void look(struct zg *g, const struct zg_buf *b, uint32_t len)
{
	uint8_t *p = g->d.ram + b->at;
	uint64_t seq = UINT64_MAX;
	uint32_t end;

	if (len > ZG_HDR && len <= b->len && header_is_plain(p))
		seq = zc_frame_seq(p + ZG_HDR, len - ZG_HDR);
	if (seq >= ZG_NUMBERS) {
		g->bad.wrong++;
		paint(p, b->len);
		return;
	}
	g->bad.twice += zc_seen_twice(g->seen, seq);
	end = clean(p + len, b->len - len) ? len : b->len;
	while (end > len && p[end - 1] == ZC_CANARY)
		end--;
	g->behind = XN_MAX(g->behind, end - len);
	paint(p, end);
}

unsigned zg_receive(struct zg *g)
{
	unsigned n = 0;
	uint16_t head;
	uint32_t len;

	for (; drv_used(&g->d, RX, &head, &len); n++) {
		struct zg_buf *b = returned(g, &g->rx, head);

		if (!b)
			continue;
		if (!len)
			g->unused++;
		else
			g->got++;
		if (!g->light && len)
			look(g, b, len);
		else if (!g->light)   /* a frame may have come that was dropped, or that nobody took */
			paint(g->d.ram + b->at, b->len);
		back(&g->rx, b);
	}
	return n;
}

/* ---- transmit ---- */

/* In one piece; or the header apart; or the frame in two pieces. */
static unsigned cut(const struct zg_buf *b, struct drv_seg s[2])
{
	uint64_t at = b->at + b->off;
	uint32_t first = b->seq % 8 == 3 ? ZG_HDR : b->seq % 128 == 7 ? ZG_HDR + 40 : 0;

	s[0] = (struct drv_seg){ at, first ? first : ZG_HDR + b->bytes };
	s[1] = (struct drv_seg){ at + first, ZG_HDR + b->bytes - first };
	return first ? 2 : 1;
}

static void write_frame(const struct zg *g, struct zg_buf *b)
{
	uint8_t *p = g->d.ram + b->at + b->off;

	b->bytes = zg_length(g->w, b->seq);
	memset(p, 0, ZG_HDR);
	zc_frame(g->w, p + ZG_HDR, b->bytes, b->seq, true);
}

unsigned zg_send(struct zg *g, unsigned n)
{
	struct drv_seg s[2];
	unsigned k = 0;

	for (; k < n && g->d.q[TX].n_free >= 2; k++) {
		struct zg_buf *b = take(g, &g->tx);
		unsigned pieces;

		if (!b)
			break;
		b->seq = g->sent++;
		if (!g->light || !b->bytes)
			write_frame(g, b);
		pieces = cut(b, s);
		lend(&g->tx, b, drv_post(&g->d, TX, s, pieces));
	}
	return k;
}

static void look_sent(struct zg *g, const struct zg_buf *b)
{
	static const uint8_t none[ZG_HDR];
	uint8_t *p = g->d.ram + b->at + b->off;

	if (memcmp(p, none, ZG_HDR) || zc_frame_seq(p + ZG_HDR, b->bytes) != b->seq)
		g->bad.written++;
	/* So that what is read later shows at the peer. */
	paint(p, ZG_HDR + b->bytes);
}

unsigned zg_reap(struct zg *g)
{
	unsigned n = 0;
	uint16_t head;
	uint32_t len;

	for (; drv_used(&g->d, TX, &head, &len); n++) {
		struct zg_buf *b = returned(g, &g->tx, head);

		if (!b)
			continue;
		g->done++;
		if (!g->light)
			look_sent(g, b);
		back(&g->tx, b);
	}
	return n;
}

/* ---- all of RAM ---- */

static uint64_t scan_piece(uint8_t *p, uint64_t n)
{
	uint64_t changed = 0;

	if (clean(p, n))
		return 0;
	for (uint64_t i = 0; i < n; i++)
		changed += p[i] != ZC_CANARY;
	paint(p, n);
	return changed;
}

static int by_place(const void *a, const void *b)
{
	const struct zg_buf *const *x = a, *const *y = b;

	return (*x)->at < (*y)->at ? -1 : (*x)->at > (*y)->at;
}

uint64_t zg_scan(struct zg *g)
{
	static const struct zg_buf *lent[2 * ZG_BUFS];
	uint64_t at = DRV_FREE_AT, changed = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < ZG_BUFS; i++) {
		if (g->rx.bufs[i].lent)
			lent[n++] = &g->rx.bufs[i];
		if (g->tx.bufs[i].lent)
			lent[n++] = &g->tx.bufs[i];
	}
	qsort(lent, n, sizeof(struct zg_buf *), by_place);
	for (unsigned i = 0; i < n; i++) {
		changed += scan_piece(g->d.ram + at, lent[i]->at - at);
		at = lent[i]->at + lent[i]->len;
	}
	changed += scan_piece(g->d.ram + at, g->d.bytes - at);
	g->bad.stray += changed;
	return changed;
}

bool zg_well(const struct zg_faults *f)
{
	return !(f->wrong || f->twice || f->alien || f->late || f->written || f->stray);
}
