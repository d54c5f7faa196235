/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtio-net driver for tests. Contract in driver.h. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fake/driver.h"

#define MASK (DRV_SIZE - 1)

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

void drv_reset_rings(struct drv *d, unsigned pairs)
{
	memset(d->q, 0, sizeof(d->q));
	memset(d->ram, 0, 2 * pairs * DRV_RING_BYTES);
	for (unsigned q = 0; q < 2 * pairs; q++)
		for (uint16_t i = 0; i < DRV_SIZE; i++)
			d->q[q].free[d->q[q].n_free++] = (uint16_t)(DRV_SIZE - 1 - i);
}

void drv_init(struct drv *d, uint64_t bytes, unsigned pairs)
{
	int err = xn_ram_create(&d->fd, bytes, XN_HUGE_NO, NULL);

	assert(!err && bytes > DRV_FREE_AT && pairs <= 4);
	(void)err;
	d->bytes = bytes;
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

static void make_available(struct drv *d, unsigned q, uint16_t head)
{
	drv_avail(d, q)->ring[d->q[q].avail++ & MASK] = head;
	__atomic_store_n(&drv_avail(d, q)->idx, d->q[q].avail, __ATOMIC_RELEASE);
}

uint16_t drv_post(struct drv *d, unsigned q, const struct drv_seg *segs, unsigned n)
{
	uint16_t write = q & 1 ? 0 : VRING_DESC_F_WRITE, head = 0, prev = 0;

	assert(n && n <= d->q[q].n_free);
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
	uint16_t head = d->q[q].free[--d->q[q].n_free];

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
	return (uint16_t)(d->q[q].avail - d->q[q].seen);
}

uint64_t drv_stat(struct xn_dev *dev, unsigned pair, const char *name)
{
	struct xn_stat s[128];
	unsigned n = xn_dev_stats(dev, pair, s, 128);

	assert(n <= 128);
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(s[i].name, name))
			return s[i].value;
	assert(!"no counter has this name");
	return 0;
}
