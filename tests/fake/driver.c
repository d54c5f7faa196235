/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtio-net driver for tests. Contract in driver.h. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fake/driver.h"

#define MASK (DRV_SIZE - 1)
#define WRAP 0x8000u
#define P_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define P_USED  (1u << VRING_PACKED_DESC_F_USED)

struct vring_desc *drv_desc(const struct drv *d, unsigned q)
{
	return (struct vring_desc *)(d->ram + drv_vring(q).desc_gpa);
}

struct vring_avail *drv_avail(const struct drv *d, unsigned q)
{
	return (struct vring_avail *)(d->ram + drv_vring(q).avail_gpa);
}

struct vring_used *drv_used_ring(const struct drv *d, unsigned q)
{
	return (struct vring_used *)(d->ram + drv_vring(q).used_gpa);
}

struct xn_vring drv_vring(unsigned i)
{
	uint64_t at = (uint64_t)i * DRV_RING_BYTES;

	return (struct xn_vring){ .size = DRV_SIZE, .desc_gpa = at, .avail_gpa = at + 0x1000,
				  .used_gpa = at + 0x2000, .kick_fd = -1, .call_fd = -1 };
}

void drv_fill_pattern(struct drv *d, uint64_t from, uint64_t to)
{
	for (uint64_t x = from; x < to; x++)
		d->ram[x] = drv_pattern(x);
}

uint64_t drv_first_changed(const struct drv *d, uint64_t from, uint64_t to)
{
	while (from < to && d->ram[from] == drv_pattern(from))
		from++;
	return from;
}

void drv_reset_ring(struct drv *d, unsigned q)
{
	memset(&d->q[q], 0, sizeof(d->q[q]));
	memset(d->ram + q * DRV_RING_BYTES, 0, DRV_RING_BYTES);
	for (uint32_t i = 0; i < d->size; i++)
		d->q[q].free[d->q[q].n_free++] = (uint16_t)(d->size - 1 - i);
	if (d->packed)
		d->q[q].avail = d->q[q].seen = WRAP;
}

void drv_reset_rings(struct drv *d, unsigned pairs)
{
	memset(d->q, 0, sizeof(d->q));
	for (unsigned q = 0; q < 2 * pairs; q++)
		drv_reset_ring(d, q);
}

void drv_use_packed(struct drv *d, unsigned pairs, uint32_t size)
{
	d->packed = true;
	d->size = size;
	drv_reset_rings(d, pairs);
}

/* ---- packed rings: VIRTIO 1.3, 2.8 ---- */

static struct vring_packed_desc *slot(const struct drv *d, unsigned q, uint16_t at)
{
	return (struct vring_packed_desc *)drv_desc(d, q) + (at & ~WRAP);
}

static struct vring_packed_desc_event *driver_event(const struct drv *d, unsigned q)
{
	return (struct vring_packed_desc_event *)drv_avail(d, q);
}

static const struct vring_packed_desc_event *device_event(const struct drv *d, unsigned q)
{
	return (const struct vring_packed_desc_event *)drv_used_ring(d, q);
}

static uint16_t forth(const struct drv *d, uint16_t at, unsigned n)
{
	const unsigned i = (at & ~WRAP) + n;

	return (uint16_t)(i < d->size ? at + n : ((at ^ WRAP) & WRAP) | (i - d->size));
}

static uint16_t flags_at(uint16_t at)
{
	return at & WRAP ? P_AVAIL : P_USED;
}

/* A chain of these, with descriptors' flags as they are but for what says that they are
 * available; its id. */
static uint16_t post_slots(struct drv *d, unsigned q, const struct vring_packed_desc *c, unsigned n)
{
	const uint16_t first = d->q[q].avail;
	uint16_t at = first, id = 0;

	assert(n && n <= d->q[q].n_free);
	/* As many ids are taken as slots: when one is used up, so is the other. */
	for (unsigned i = 0; i < n; i++) {
		const uint16_t next = id;

		id = d->q[q].free[--d->q[q].n_free];
		d->q[q].next[id] = next;
	}
	for (unsigned i = 0; i < n; i++, at = forth(d, at, 1)) {
		struct vring_packed_desc *g = slot(d, q, at);
		const uint16_t more = i + 1 < n ? VRING_DESC_F_NEXT : 0;

		g->addr = c[i].addr;
		g->len = c[i].len;
		g->id = id;
		if (i)
			g->flags = c[i].flags | more | flags_at(at);
	}
	d->q[q].chain[id] = (uint16_t)n;
	d->q[q].avail = at;
	d->q[q].n_pending++;
	__atomic_store_n(&slot(d, q, first)->flags,
			 (uint16_t)(c[0].flags | (n > 1 ? VRING_DESC_F_NEXT : 0) | flags_at(first)),
			 __ATOMIC_RELEASE);
	return id;
}

static bool used_slot(struct drv *d, unsigned q, uint16_t *id, uint32_t *len)
{
	const uint16_t at = d->q[q].seen, want = at & WRAP ? P_AVAIL | P_USED : 0;
	const struct vring_packed_desc *g = slot(d, q, at);
	const uint16_t flags = __atomic_load_n(&g->flags, __ATOMIC_ACQUIRE);
	uint16_t free_id;

	if ((flags & (P_AVAIL | P_USED)) != want)
		return false;
	*id = g->id;
	/* 2.8.5: a length that counts has WRITE. */
	*len = flags & VRING_DESC_F_WRITE ? g->len : 0;
	assert(*id < d->size && d->q[q].chain[*id]);   /* it is out */
	d->q[q].seen = forth(d, at, d->q[q].chain[*id]);
	d->q[q].n_pending--;
	free_id = *id;
	for (unsigned n = d->q[q].chain[*id]; n; n--, free_id = d->q[q].next[free_id])
		d->q[q].free[d->q[q].n_free++] = free_id;
	d->q[q].chain[*id] = 0;
	return true;
}

/* ---- split ones ---- */

void drv_init(struct drv *d, uint64_t bytes, unsigned pairs)
{
	int err = xn_ram_create(&d->fd, bytes, XN_HUGE_NO, NULL);

	assert(!err && bytes > DRV_FREE_AT && pairs <= DRV_PAIRS);
	(void)err;
	d->bytes = bytes;
	d->size = DRV_SIZE;
	d->packed = false;
	d->ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, 0);
	assert(d->ram != MAP_FAILED);
	drv_fill_pattern(d, 0, bytes);
	drv_reset_rings(d, pairs);
}

void drv_fini(struct drv *d)
{
	munmap(d->ram, d->bytes);
	close(d->fd);
}

static uint16_t post_packed(struct drv *d, unsigned q, const struct drv_seg *segs, unsigned n)
{
	struct vring_packed_desc c[DRV_SIZE];

	for (unsigned i = 0; i < n; i++)
		c[i] = (struct vring_packed_desc){ .addr = segs[i].at, .len = segs[i].len,
						   .flags = q & 1 ? 0 : VRING_DESC_F_WRITE };
	return post_slots(d, q, c, n);
}

/* All entries of a table count, one after the other: 2.8.7. */
static uint16_t post_packed_table(struct drv *d, unsigned q, uint64_t table,
				  const struct drv_seg *segs, unsigned n)
{
	struct vring_packed_desc *t = (struct vring_packed_desc *)(d->ram + table);
	const struct vring_packed_desc c = { .addr = table, .len = 16 * n,
					     .flags = VRING_DESC_F_INDIRECT };

	for (unsigned i = 0; i < n; i++)
		t[i] = (struct vring_packed_desc){ .addr = segs[i].at, .len = segs[i].len,
						   .flags = q & 1 ? 0 : VRING_DESC_F_WRITE };
	return post_slots(d, q, &c, 1);
}

static void make_available(struct drv *d, unsigned q, uint16_t head)
{
	drv_avail(d, q)->ring[d->q[q].avail++ & MASK] = head;
	__atomic_store_n(&drv_avail(d, q)->idx, d->q[q].avail, __ATOMIC_RELEASE);
}

uint16_t drv_post(struct drv *d, unsigned q, const struct drv_seg *segs, unsigned n)
{
	uint16_t write = q & 1 ? 0 : VRING_DESC_F_WRITE, head = 0, prev = 0;

	assert(n && n <= d->q[q].n_free);
	if (d->packed)
		return post_packed(d, q, segs, n);
	for (unsigned i = 0; i < n; i++) {
		uint16_t id = d->q[q].free[--d->q[q].n_free];

		drv_desc(d, q)[id] = (struct vring_desc){ .addr = segs[i].at, .len = segs[i].len,
							  .flags = write };
		if (!i)
			head = id;
		else
			drv_desc(d, q)[prev].next = id;
		if (i)
			drv_desc(d, q)[prev].flags |= VRING_DESC_F_NEXT;
		prev = id;
	}
	d->q[q].chain[head] = (uint16_t)n;
	make_available(d, q, head);
	return head;
}

uint16_t drv_post1(struct drv *d, unsigned q, uint64_t at, uint32_t len)
{
	const struct drv_seg s = { at, len };

	return drv_post(d, q, &s, 1);
}

uint16_t drv_post_indirect(struct drv *d, unsigned q, uint64_t table, const struct drv_seg *segs,
			   unsigned n)
{
	struct vring_desc *t = (struct vring_desc *)(d->ram + table);
	uint16_t head;

	if (d->packed)
		return post_packed_table(d, q, table, segs, n);
	head = d->q[q].free[--d->q[q].n_free];
	for (unsigned i = 0; i < n; i++) {
		bool last = i + 1 == n;

		t[i] = (struct vring_desc){
			.addr = segs[i].at, .len = segs[i].len,
			.flags = (uint16_t)((q & 1 ? 0 : VRING_DESC_F_WRITE) | (last ? 0 : VRING_DESC_F_NEXT)),
			.next = (uint16_t)(last ? 0 : i + 1),
		};
	}
	drv_desc(d, q)[head] = (struct vring_desc){ .addr = table, .len = 16 * n,
						    .flags = VRING_DESC_F_INDIRECT };
	d->q[q].chain[head] = 1;
	make_available(d, q, head);
	return head;
}

bool drv_used(struct drv *d, unsigned q, uint16_t *head, uint32_t *len)
{
	const struct vring_used_elem *e;
	uint16_t id;

	if (d->packed)
		return used_slot(d, q, head, len);
	if (d->q[q].seen == __atomic_load_n(&drv_used_ring(d, q)->idx, __ATOMIC_ACQUIRE))
		return false;
	e = &drv_used_ring(d, q)->ring[d->q[q].seen++ & MASK];
	*head = id = (uint16_t)e->id;
	*len = e->len;
	for (unsigned n = d->q[q].chain[*head]; n; n--) {
		d->q[q].free[d->q[q].n_free++] = id;
		id = drv_desc(d, q)[id].next;
	}
	return true;
}

unsigned drv_pending(const struct drv *d, unsigned q)
{
	return d->packed ? d->q[q].n_pending : (uint16_t)(d->q[q].avail - d->q[q].seen);
}

void drv_want_calls(struct drv *d, unsigned q, bool want)
{
	if (d->packed)
		driver_event(d, q)->flags = want ? VRING_PACKED_EVENT_FLAG_ENABLE :
						   VRING_PACKED_EVENT_FLAG_DISABLE;
	else
		drv_avail(d, q)->flags = want ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
}

void drv_want_call_after(struct drv *d, unsigned q, unsigned more)
{
	if (!d->packed) {
		/* used_event lies behind the available ring's heads. */
		drv_avail(d, q)->ring[DRV_SIZE] = (uint16_t)(d->q[q].seen + more);
		return;
	}
	driver_event(d, q)->off_wrap = forth(d, d->q[q].seen, more);
	driver_event(d, q)->flags = VRING_PACKED_EVENT_FLAG_DESC;
}

void drv_break(struct drv *d, unsigned q)
{
	if (!d->packed) {
		drv_avail(d, q)->idx = (uint16_t)(d->q[q].avail + 30000);
		return;
	}
	/* A chain that has no end. */
	for (unsigned i = 0; i < d->size; i++) {
		const uint16_t at = forth(d, d->q[q].avail, i);

		slot(d, q, at)->flags = VRING_DESC_F_NEXT | flags_at(at);
	}
}

bool drv_is_to_kick(const struct drv *d, unsigned q)
{
	if (d->packed)
		return device_event(d, q)->flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	return !(drv_used_ring(d, q)->flags & VRING_USED_F_NO_NOTIFY);
}

uint64_t drv_stat(struct xn_dev *dev, unsigned pair, const char *name)
{
	struct xn_stat s[256];
	unsigned n = xn_dev_stats(dev, pair, s, 256);

	assert(n <= 256);
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(s[i].name, name))
			return s[i].value;
	assert(!"no counter has this name");
	return 0;
}
