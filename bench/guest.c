/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side of split and packed virtqueues (VIRTIO 1.3, 2.7 and 2.8) for virtio-net.
 *
 * Receive. Descriptor i always describes receive buffer i, so posting is one word in
 * the available ring:
 *
 *	posted --device--> used --xn_guest_rx--> caller --rx_done--> posted
 *	                                            \--forward--> in tx --reap--> posted
 *
 * Transmit. Packets take slots. A slot is one descriptor, or two that are always
 * chained (header, data); slot s has transmit buffer s, unless it forwards a receive
 * buffer. Free slots are a stack: the buffer used last is the one still in cache.
 * The device may return slots in any order.
 *
 * What the two sides share, and the order in which it has to be seen:
 *
 *	driver                                  device
 *	 write descriptor, avail->ring[]
 *	 store-release avail->idx       (A)      load-acquire avail->idx
 *	 full fence                     (B)      full fence
 *	 load used->flags                        load avail->idx once more
 *	 load-acquire used->idx         (C)      store-release used->idx
 *	 read used->ring[], the frame
 *
 * (A) and (C) let whoever sees the index see what it covers. (B) is for sleepers
 * only: either the device sees the new index, or we see that it wants a kick. The same
 * the other way round in xn_guest_arm: either we see the used element that came, or the
 * device sees that we want a call.
 *
 * With EVENT_IDX (2.7.7, 2.7.10) each side names the index that it wants to be told of,
 * behind its ring, instead of a flag. A driver that wants no calls names the one that has
 * just gone by: 65535 more would have to come.
 *
 * Packed rings. What is described is the same, in a table of our own; to offer it copies its
 * descriptors into the ring, the first one's flags last, which are (A) then. The device's flags
 * in the next slot are (C). Where every chain of a ring is equally long, the event that
 * stands for an element further on is known; chains of any length: guest_chain.c.
 *
 * Deliberately not here: indirect descriptors, offloads, and any distrust:
 * this is the guest, and the device is the engine under test.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "bench/guest_priv.h"

/* ---- where things are in RAM ---------------------------------------------- */

static uint64_t take(uint64_t *at, uint64_t bytes, uint64_t align)
{
	uint64_t here = XN_ALIGN_UP(*at, align);

	*at = here + bytes;
	return here;
}

static void place_ring(struct ring *r, uint32_t n, uint64_t *at)
{
	r->at = take(at, n * sizeof(struct vring_desc), XN_PAGE_SIZE);
	/* The parts that different sides write are apart by a cache line or more. */
	r->avail_at = take(at, 6 + 2ull * n, XN_CACHE_LINE);
	r->used_at = take(at, 6 + 8ull * n, XN_CACHE_LINE);
	r->mask = (uint16_t)(n - 1);
	r->size = n;
}

#define FRAG_BYTES 32768u   /* Linux net/core/sock.c, SKB_FRAG_PAGE_ORDER */

/* The next one from a block of 32 KiB; what is left of a block is not used ... */
static uint64_t place_as_linux(const struct xn_guest *g, uint64_t *at)
{
	const uint32_t bytes = g->cfg.rx_buf_bytes;
	const uint64_t in_block = *at % FRAG_BYTES;
	const uint64_t here = in_block + bytes <= FRAG_BYTES ? *at : *at - in_block + FRAG_BYTES;

	*at = here + bytes;
	return here;
}

/* ... but by the last buffer, which has it too (Linux drivers/net/virtio_net.c,
 * add_recvbuf_mergeable). */
static uint32_t rx_buf_len(const struct xn_guest *g, const uint8_t *buf)
{
	const uint32_t in_block = (uint32_t)((uint64_t)(buf - g->ram) % FRAG_BYTES);
	const uint32_t bytes = g->cfg.rx_buf_bytes;

	return g->cfg.rx_as_linux && in_block + 2 * bytes > FRAG_BYTES ? FRAG_BYTES - in_block : bytes;
}

/*
 * Where receive buffer i begins, behind the one before it. Linux cuts them off a
 * page_frag one after the other, so that they cross page borders; the odd gap after
 * each eighth lets them begin at every remainder, odd ones too.
 */
static uint64_t place_rx_buf(const struct xn_guest *g, uint32_t i, uint64_t *at)
{
	uint64_t here = *at;

	if (g->cfg.rx_as_linux)
		return place_as_linux(g, at);
	*at += g->cfg.rx_buf_bytes + (i % 8 == 7 ? i / 8 % 32 * 2 + 1 : 0);
	return here;
}

/* With `ram` NULL only measures. Returns the end of what is used. */
static uint64_t place_pair(struct xn_guest *g, struct pair *p, uint64_t at)
{
	uint32_t n = g->cfg.queue_size;
	uint64_t tx;

	place_ring(&p->rx, n, &at);
	place_ring(&p->tx, n, &at);
	tx = take(&at, (uint64_t)g->tx_slots * g->tx_buf_bytes, XN_PAGE_SIZE);
	at = g->cfg.rx_as_linux ? XN_ALIGN_UP(at, FRAG_BYTES) : XN_ALIGN_UP(at, XN_PAGE_SIZE) + 1;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t rx = place_rx_buf(g, i, &at);

		if (g->ram)
			p->rx_buf[i] = g->ram + rx;
	}
	if (g->ram)
		p->tx_buf = g->ram + tx;
	return at;
}

static void map_ring(const struct xn_guest *g, struct ring *r)
{
	if (r->packed) {
		r->slots = (uint64_t *)(g->ram + r->at);
		r->driver_event = (uint32_t *)(g->ram + r->avail_at);
		r->device_event = (const uint32_t *)(g->ram + r->used_at);
		return;
	}
	r->desc = (struct vring_desc *)(g->ram + r->at);
	r->avail = (struct vring_avail *)(g->ram + r->avail_at);
	r->used = (const struct vring_used *)(g->ram + r->used_at);
	r->used_event = &r->avail->ring[g->cfg.queue_size];
	r->avail_event = (const uint16_t *)&r->used->ring[g->cfg.queue_size];
}

/* Goes through the same steps twice: first how much RAM, then what is where. */
static uint64_t place_all(struct xn_guest *g)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < g->cfg.pairs; i++) {
		at = place_pair(g, &g->pairs[i], at);
		if (g->ram) {
			map_ring(g, &g->pairs[i].rx);
			map_ring(g, &g->pairs[i].tx);
		}
	}
	if (g->cfg.data_bytes) {
		const uint64_t here = take(&at, g->cfg.data_bytes, XN_PAGE_SIZE);

		if (g->ram)
			g->data = g->ram + here;
	}
	return at;
}

/* ---- life ------------------------------------------------------------------ */

static int make_fds(struct xn_guest *g)
{
	for (unsigned i = 0; i < 2 * g->cfg.pairs; i++) {
		struct pair *p = &g->pairs[i / 2];
		struct ring *r = i % 2 ? &p->tx : &p->rx;

		if (!g->cfg.kicks)
			continue;
		r->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (r->kick_fd < 0 || r->call_fd < 0)
			return xn_fail(errno, "cannot make an eventfd: %s", strerror(errno));
	}
	return 0;
}

/* chain: 0: they differ. */
static bool make_tables(const struct xn_guest *g, struct ring *r, uint16_t chain)
{
	r->packed = g->cfg.packed;
	r->chain = chain;
	if (r->packed)
		r->desc = calloc(g->cfg.queue_size, sizeof(*r->desc));
	if (!chain)
		r->chain_of = calloc(g->cfg.queue_size, 1);
	return (!r->packed || r->desc) && (chain || r->chain_of);
}

static int make_pairs(struct xn_guest *g)
{
	uint32_t n = g->cfg.queue_size;
	bool tables = true;

	g->pairs = aligned_alloc(64, g->cfg.pairs * sizeof(*g->pairs));
	if (!g->pairs)
		return xn_fail(ENOMEM, "no memory for a guest");
	memset(g->pairs, 0, g->cfg.pairs * sizeof(*g->pairs));
	for (unsigned i = 0; i < g->cfg.pairs; i++) {
		struct pair *p = &g->pairs[i];

		p->rx.kick_fd = p->rx.call_fd = p->tx.kick_fd = p->tx.call_fd = -1;
		p->rx_buf = calloc(n, sizeof(*p->rx_buf));
		p->free = calloc(n, sizeof(*p->free));
		p->rx_of_slot = calloc(n, sizeof(*p->rx_of_slot));
		tables &= make_tables(g, &p->rx, 1) &&
			  make_tables(g, &p->tx, g->cfg.tx_pieces ? 0 : g->per_slot);
	}
	for (unsigned i = 0; i < g->cfg.pairs; i++)
		if (!tables || !g->pairs[i].rx_buf || !g->pairs[i].free || !g->pairs[i].rx_of_slot)
			return xn_fail(ENOMEM, "no memory for a guest");
	return make_fds(g);
}

static int make_ram(struct xn_guest *g)
{
	uint64_t need = place_all(g);
	uint64_t bytes = g->cfg.ram_bytes ? g->cfg.ram_bytes :
			 XN_ALIGN_UP(need, g->cfg.huge == XN_HUGE_NO ? XN_PAGE_SIZE : XN_HUGE_SIZE);
	void *ram;
	int err;

	if (bytes < need)
		return xn_fail(EINVAL, "the guest needs %llu bytes of RAM for its rings and buffers",
			       (unsigned long long)need);
	err = xn_ram_create(&g->fd, bytes, g->cfg.huge, &g->got_huge);
	if (err)
		return err;
	ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, g->fd, 0);
	if (ram == MAP_FAILED)
		return xn_fail(errno, "cannot map the guest's RAM of %llu bytes: %s",
			       (unsigned long long)bytes, strerror(errno));
	g->ram = ram;
	g->ram_bytes = bytes;
	place_all(g);
	return 0;
}

static int check_cfg(const struct xn_guest_cfg *cfg)
{
	if (!cfg->pairs || cfg->pairs > XN_MAX_PAIRS)
		return xn_fail(EINVAL, "a guest has 1 to %u queue pairs, not %u", XN_MAX_PAIRS, cfg->pairs);
	if ((!cfg->packed && !xn_is_pow2(cfg->queue_size)) || cfg->queue_size > MAX_QUEUE ||
	    cfg->queue_size < 2)
		return xn_fail(EINVAL, "queue size is a power of two (packed: any number), 2 to %u, not %u",
			       MAX_QUEUE, cfg->queue_size);
	if (cfg->tx_pieces > cfg->queue_size || cfg->tx_pieces > UINT8_MAX)
		return xn_fail(EINVAL, "packets of up to %u pieces in a queue of %u", cfg->tx_pieces,
			       cfg->queue_size);
	if (cfg->rx_buf_bytes && cfg->rx_buf_bytes <= HDR_BYTES)
		return xn_fail(EINVAL, "receive buffers need more than the %u bytes of the header",
			       HDR_BYTES);
	return 0;
}

int xn_guest_create(struct xn_guest **out, const struct xn_guest_cfg *cfg)
{
	struct xn_guest *g;
	int err = check_cfg(cfg);

	*out = NULL;
	if (err)
		return err;
	g = calloc(1, sizeof(*g));
	if (!g)
		return xn_fail(ENOMEM, "no memory for a guest");
	g->cfg = *cfg;
	g->fd = -1;
	if (!g->cfg.rx_buf_bytes)
		g->cfg.rx_buf_bytes = RX_BUF_BYTES;
	g->per_slot = cfg->tx_pieces ? cfg->tx_pieces : cfg->split_tx_header ? 2 : 1;
	g->tx_slots = cfg->queue_size / g->per_slot;
	g->tx_buf_bytes = (uint32_t)XN_ALIGN_UP(g->cfg.rx_buf_bytes + TX_SPLIT_AT, 64);
	g->tx_buf_bytes = cfg->tx_slot_bytes ? cfg->tx_slot_bytes : XN_MAX(TX_BUF_BYTES, g->tx_buf_bytes);
	err = make_pairs(g);
	if (!err)
		err = make_ram(g);
	if (err) {
		xn_guest_destroy(g);
		return err;
	}
	for (unsigned i = 0; i < cfg->pairs; i++)
		xn_guest_start(g, i);
	*out = g;
	return 0;
}

static void close_ring(struct ring *r)
{
	if (r->packed)
		free(r->desc);
	free(r->chain_of);
	if (r->kick_fd >= 0)
		close(r->kick_fd);
	if (r->call_fd >= 0)
		close(r->call_fd);
}

void xn_guest_destroy(struct xn_guest *g)
{
	if (!g)
		return;
	if (g->ram)
		munmap(g->ram, g->ram_bytes);
	if (g->fd >= 0)
		close(g->fd);
	for (unsigned i = 0; g->pairs && i < g->cfg.pairs; i++) {
		struct pair *p = &g->pairs[i];

		close_ring(&p->rx);
		close_ring(&p->tx);
		free(p->rx_buf);
		free(p->free);
		free(p->rx_of_slot);
	}
	free(g->pairs);
	free(g);
}

/* ---- what the VMM is told --------------------------------------------------- */

void xn_guest_region(const struct xn_guest *g, struct xn_region *r)
{
	*r = (struct xn_region){ .gpa = g->cfg.gpa_base, .size = g->ram_bytes, .fd = g->fd };
}

void xn_guest_vring(const struct xn_guest *g, unsigned index, struct xn_vring *v)
{
	const struct pair *p = &g->pairs[index / 2];
	const struct ring *r = index % 2 ? &p->tx : &p->rx;

	*v = (struct xn_vring){
		.size = g->cfg.queue_size, .base = r->packed ? XN_VRING_NEW_PACKED : 0,
		.desc_gpa = g->cfg.gpa_base + r->at,
		.avail_gpa = g->cfg.gpa_base + r->avail_at,
		.used_gpa = g->cfg.gpa_base + r->used_at,
		.kick_fd = r->kick_fd, .call_fd = r->call_fd,
	};
}

struct xn_merge *xn_guest_merge(struct xn_guest *g, unsigned pair)
{
	return &g->pairs[pair].merge;
}

uint8_t *xn_guest_data(const struct xn_guest *g)
{
	return g->data;
}

bool xn_guest_got_huge(const struct xn_guest *g)
{
	return g->got_huge;
}

/* ---- rings ------------------------------------------------------------------- */

static void reset_ring(struct xn_guest *g, struct ring *r)
{
	/* The three parts lie behind one another, up to the end of the used ring. */
	memset(g->ram + r->at, 0, r->used_at + 6 + 8ull * g->cfg.queue_size - r->at);
	r->next_avail = r->published = r->next_used = r->used_idx = r->packed ? WRAP : 0;
	if (r->packed) {
		*r->driver_event = r->call_fd >= 0 ? 0 : VRING_PACKED_EVENT_FLAG_DISABLE << 16;
		return;
	}
	r->avail->flags = r->call_fd >= 0 ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
}

void xn_guest_start(struct xn_guest *g, unsigned pair)
{
	struct pair *p = &g->pairs[pair];

	reset_ring(g, &p->rx);
	reset_ring(g, &p->tx);
	p->continuations = 0;
	p->merge = (struct xn_merge){ 0 };
	for (uint32_t i = 0; i < g->cfg.queue_size; i++) {
		p->rx.desc[i] = (struct vring_desc){
			.addr = gpa_of(g, p->rx_buf[i]), .len = rx_buf_len(g, p->rx_buf[i]),
			.flags = VRING_DESC_F_WRITE,
		};
		offer(&p->rx, (uint16_t)i);
	}
	p->n_free = g->tx_slots;
	for (uint32_t i = 0; i < g->tx_slots; i++) {
		/* Lowest on top, so that a run begins at the first buffer. */
		p->free[i] = (uint16_t)(g->tx_slots - 1 - i);
		p->rx_of_slot[i] = NO_RX;
		memset(p->tx_buf + (uint64_t)i * g->tx_buf_bytes, 0, HDR_BYTES);
	}
	publish(g, &p->rx);
}

/* ---- sleeping -------------------------------------------------------------------- */

/* Wants to be called when `more` further elements have been used after the next one. */
static bool arm_slots(const struct xn_guest *g, struct ring *r, uint32_t more)
{
	/* No further than what is out. Of chains that differ it is not known where they end. */
	const uint16_t at = forth(r, r->next_used, more * r->chain);
	const uint32_t flags = g->cfg.event_idx ? VRING_PACKED_EVENT_FLAG_DESC :
						  VRING_PACKED_EVENT_FLAG_ENABLE;

	xn_store_once32(r->driver_event, flags << 16 | at);
	/* As in arm. */
	xn_fence_full();
	return !used_at(r, g->cfg.event_idx ? at : r->next_used);
}

static bool arm(const struct xn_guest *g, struct ring *r, uint16_t more)
{
	if (r->packed)
		return arm_slots(g, r, more);
	if (g->cfg.event_idx)
		xn_store_once16(r->used_event, (uint16_t)(r->next_used + more));
	else
		xn_store_once16(&r->avail->flags, 0);
	/* Our wish before its index; pairs with the device's fence before it looks for it. */
	xn_fence_full();
	r->used_idx = xn_load_acquire16(&r->used->idx);
	return (uint16_t)(r->used_idx - r->next_used) <= more;
}

bool xn_guest_arm(struct xn_guest *g, unsigned pair, bool tx)
{
	struct pair *p = &g->pairs[pair];

	/* A driver that waits for room is called once for many, as Linux's is. */
	return tx ? arm(g, &p->tx, (uint16_t)(xn_guest_tx_pending(g, pair) * 3 / 4)) :
		    arm(g, &p->rx, 0);
}

void xn_guest_disarm(struct xn_guest *g, unsigned pair, bool tx)
{
	struct ring *r = tx ? &g->pairs[pair].tx : &g->pairs[pair].rx;
	uint64_t calls;

	if (r->packed)
		xn_store_once32(r->driver_event, VRING_PACKED_EVENT_FLAG_DISABLE << 16);
	else if (g->cfg.event_idx)
		xn_store_once16(r->used_event, (uint16_t)(r->next_used - 1));
	else
		xn_store_once16(&r->avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	if (r->call_fd >= 0 && read(r->call_fd, &calls, sizeof(calls)) < 0)
		return;     /* none has come */
}

int xn_guest_call_fd(const struct xn_guest *g, unsigned pair, bool tx)
{
	return tx ? g->pairs[pair].tx.call_fd : g->pairs[pair].rx.call_fd;
}

/* ---- receive ------------------------------------------------------------------ */

/* Fills in one frame; false: the buffer came back without one. */
static inline bool take_frame(struct pair *p, const struct vring_used_elem *e,
			      struct xn_guest_frame *f)
{
	uint16_t id = (uint16_t)e->id;
	const uint8_t *buf = p->rx_buf[id];
	uint16_t buffers;

	f->id = id;
	if (XN_UNLIKELY(p->continuations)) {
		p->continuations--;
		f->data = buf;
		f->bytes = e->len;
		f->buffers = 0;
		return true;
	}
	if (XN_UNLIKELY(e->len < HDR_BYTES))
		return false;
	memcpy(&buffers, buf + NUM_BUFFERS_AT, sizeof(buffers));
	f->data = buf + HDR_BYTES;
	f->bytes = e->len - HDR_BYTES;
	f->buffers = buffers;
	if (XN_UNLIKELY(buffers > 1))
		p->continuations = (uint16_t)(buffers - 1);
	return true;
}

unsigned xn_guest_rx(struct xn_guest *g, unsigned pair, struct xn_guest_frame *f, unsigned n)
{
	struct pair *p = &g->pairs[pair];
	struct vring_used_elem e;
	unsigned taken = 0, got = 0;

	for (; taken < n && take_used(&p->rx, &e); taken++) {
		assert(e.id < p->rx.size && "device returned a descriptor that does not exist");
		if (XN_LIKELY(take_frame(p, &e, &f[got])))
			got++;
		else
			offer(&p->rx, f[got].id);
	}
	if (XN_UNLIKELY(got < taken))
		publish(g, &p->rx);
	return got;
}

void xn_guest_rx_done(struct xn_guest *g, unsigned pair, const struct xn_guest_frame *f, unsigned n)
{
	struct pair *p = &g->pairs[pair];

	if (!n)
		return;
	for (unsigned i = 0; i < n; i++)
		offer(&p->rx, f[i].id);
	publish(g, &p->rx);
}

/* ---- transmit ------------------------------------------------------------------ */

/* Describes and offers `bytes` of frame at `data`, whose header is at `hdr`. */
static inline void send_slot(struct xn_guest *g, struct pair *p, uint16_t slot, const uint8_t *hdr,
			     const uint8_t *data, uint32_t bytes)
{
	uint16_t head = slot;

	if (XN_LIKELY(!g->cfg.split_tx_header)) {
		p->tx.desc[head] = (struct vring_desc){ .addr = gpa_of(g, hdr), .len = HDR_BYTES + bytes };
	} else {
		head = (uint16_t)(2 * slot);
		p->tx.desc[head] = (struct vring_desc){
			.addr = gpa_of(g, hdr), .len = HDR_BYTES,
			.flags = VRING_DESC_F_NEXT, .next = (uint16_t)(head + 1),
		};
		p->tx.desc[head + 1] = (struct vring_desc){ .addr = gpa_of(g, data), .len = bytes };
	}
	offer(&p->tx, head);
}

unsigned xn_guest_tx_reap(struct xn_guest *g, unsigned pair)
{
	struct pair *p = &g->pairs[pair];
	unsigned n = 0, reposted = 0;
	struct vring_used_elem e;

	for (; n < g->cfg.queue_size && take_used(&p->tx, &e); n++) {
		uint32_t head = e.id;
		uint16_t slot = (uint16_t)(XN_LIKELY(g->per_slot == 1) ? head : head / g->per_slot);

		assert(head < p->tx.size && "device returned a descriptor that does not exist");
		assert(p->n_free < g->tx_slots && "device returned more than it was given");
		p->free[p->n_free++] = slot;
		if (p->rx_of_slot[slot] == NO_RX)
			continue;
		offer(&p->rx, p->rx_of_slot[slot]);
		p->rx_of_slot[slot] = NO_RX;
		reposted++;
	}
	if (reposted)
		publish(g, &p->rx);
	return n;
}

static unsigned free_slots(struct xn_guest *g, unsigned pair, unsigned n)
{
	struct pair *p = &g->pairs[pair];

	if (p->n_free < n)
		xn_guest_tx_reap(g, pair);
	return XN_MIN(p->n_free, n);
}

unsigned xn_guest_tx_reserve(struct xn_guest *g, unsigned pair, uint8_t **data, unsigned n)
{
	struct pair *p = &g->pairs[pair];
	uint32_t at = g->cfg.split_tx_header ? TX_SPLIT_AT : HDR_BYTES;

	n = free_slots(g, pair, n);
	/* The slots stay on the stack; submit takes them off in the same order. */
	for (unsigned i = 0; i < n; i++)
		data[i] = p->tx_buf + (uint64_t)p->free[p->n_free - 1 - i] * g->tx_buf_bytes + at;
	return n;
}

void xn_guest_tx_submit(struct xn_guest *g, unsigned pair, const uint32_t *bytes, unsigned n)
{
	struct pair *p = &g->pairs[pair];
	uint32_t at = g->cfg.split_tx_header ? TX_SPLIT_AT : HDR_BYTES;

	assert(n <= p->n_free && "submits more than was reserved");
	if (!n)
		return;
	for (unsigned i = 0; i < n; i++) {
		uint16_t slot = p->free[--p->n_free];
		uint8_t *buf = p->tx_buf + (uint64_t)slot * g->tx_buf_bytes;

		assert(at + bytes[i] <= g->tx_buf_bytes && "frame is longer than the buffer");
		send_slot(g, p, slot, buf, buf + at, bytes[i]);
	}
	publish(g, &p->tx);
}

unsigned xn_guest_tx_pending(const struct xn_guest *g, unsigned pair)
{
	return g->tx_slots - g->pairs[pair].n_free;
}

unsigned xn_guest_forward(struct xn_guest *g, unsigned pair, const struct xn_guest_frame *f,
			  unsigned n)
{
	struct pair *p = &g->pairs[pair];
	unsigned i;

	n = free_slots(g, pair, n);
	for (i = 0; i < n && f[i].buffers == 1; i++) {
		uint16_t slot = p->free[--p->n_free];
		uint8_t *hdr = p->rx_buf[f[i].id];

		/* What the device said of the frame is not what we ask of it. */
		memset(hdr, 0, HDR_BYTES);
		p->rx_of_slot[slot] = f[i].id;
		send_slot(g, p, slot, hdr, f[i].data, f[i].bytes);
	}
	if (i)
		publish(g, &p->tx);
	return i;
}
