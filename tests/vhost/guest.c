/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest: RAM, rings and what a driver does with them, and the front end before it.
 * Contract in rig.h.
 *
 *	RAM   rings of each queue | receive buffers | transmit buffers | free for the case
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomics.h"
#include "tests/vhost/rig.h"

#define LOOP_BUFS  256u         /* buffers of guest_loop, each way */
#define CASE_BYTES 0x40000u     /* what is the case's own */
#define PAGE       4096u
#define WRAP       0x8000u      /* packed: of a position */
#define NEW_PACKED 0x80008000u  /* base of a packed ring that begins */
#define P_AVAIL    (1u << VRING_PACKED_DESC_F_AVAIL)
#define P_USED     (1u << VRING_PACKED_DESC_F_USED)

static uint64_t page_up(uint64_t x) { return (x + PAGE - 1) & ~(uint64_t)(PAGE - 1); }

/* ---- memory ---- */

void *guest_at(const struct guest *g, uint64_t gpa)
{
	for (unsigned i = 0; i < g->n_regions; i++) {
		const struct front_region *r = &g->regions[i];

		if (gpa - r->gpa < r->size)
			return g->ram + r->offset + (gpa - r->gpa);
	}
	fail("the case uses guest address %#llx, which is nowhere", (unsigned long long)gpa);
}

uint64_t user_of(const struct guest *g, uint64_t gpa)
{
	for (unsigned i = 0; i < g->n_regions; i++)
		if (gpa - g->regions[i].gpa < g->regions[i].size)
			return g->regions[i].user_addr + (gpa - g->regions[i].gpa);
	return GUEST_USER + gpa;
}

static void make_ram(struct guest *g, uint64_t bytes)
{
	g->bytes = (bytes + (1u << 20)) & ~(uint64_t)((1u << 20) - 1);
	g->fd = memfd_create("guest", MFD_CLOEXEC);
	CHECK(g->fd >= 0 && !ftruncate(g->fd, (off_t)g->bytes), "memfd: %s", strerror(errno));
	g->ram = mmap(NULL, g->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, g->fd, 0);
	CHECK(g->ram != MAP_FAILED, "mmap: %s", strerror(errno));
	g->n_regions = g->cfg.n_regions ? g->cfg.n_regions : 1;
	memcpy(g->regions, g->cfg.regions, sizeof(g->cfg.regions));
	if (!g->cfg.n_regions)
		g->regions[0] = (struct front_region){ .gpa = GUEST_GPA, .size = g->bytes,
						       .user_addr = GUEST_USER };
	for (unsigned i = 0; i < g->n_regions; i++)
		g->regions[i].fd = g->fd;
}

/* ---- rings ---- */

static uint64_t ring_bytes(uint32_t size)
{
	return page_up(16ull * size) + page_up(6 + 2ull * size) + page_up(6 + 8ull * size);
}

static void place_ring(struct guest *g, unsigned i, uint64_t gpa, uint32_t size)
{
	struct ring *r = &g->ring[i];

	*r = (struct ring){ .index = i, .size = size, .kick = -1, .call = -1, .err = -1 };
	r->desc_gpa = gpa;
	r->avail_gpa = r->desc_gpa + page_up(16ull * size);
	r->used_gpa = r->avail_gpa + page_up(6 + 2ull * size);
	r->desc = guest_at(g, r->desc_gpa);
	r->avail = guest_at(g, r->avail_gpa);
	r->used = guest_at(g, r->used_gpa);
	r->free = calloc(size, sizeof(*r->free));
	r->next = calloc(size, sizeof(*r->next));
	r->out = calloc(size, 1);
	r->slots = calloc(size, sizeof(*r->slots));
	r->packed = g->cfg.features & BIT(VIRTIO_F_RING_PACKED);
	r->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(r->free && r->next && r->out && r->slots && r->err >= 0, "out of memory or fds");
}

void guest_reset_ring(struct guest *g, unsigned i)
{
	struct ring *r = &g->ring[i];

	memset(r->desc, 0, 16ull * r->size);
	memset(r->avail, 0, 6 + 2ull * r->size);
	memset(r->used, 0, 6 + 8ull * r->size);
	memset(r->out, 0, r->size);
	r->avail_next = r->seen = g->cfg.base;
	if (r->packed)
		r->avail_next = r->seen = WRAP;
	else
		r->avail[1] = r->used[1] = g->cfg.base;
	r->twice = r->pending = 0;
	r->n_free = 0;
	while (r->n_free < r->size) {
		r->free[r->n_free] = (uint16_t)(r->size - 1 - r->n_free);
		r->n_free++;
	}
}

void ring_desc(struct ring *r, uint16_t i, uint64_t addr, uint32_t len, unsigned flags, uint16_t next)
{
	r->desc[i] = (struct vring_desc){ .addr = addr, .len = len, .flags = (uint16_t)flags,
					  .next = next };
}

uint16_t ring_take(struct ring *r)
{
	CHECK(r->n_free, "the case needs more descriptors than the ring has");
	r->next[r->free[r->n_free - 1]] = UINT16_MAX;
	return r->free[--r->n_free];
}

void ring_offer(struct ring *r, uint16_t head)
{
	r->avail[2 + (r->avail_next++ & (r->size - 1))] = head;
	if (head < r->size) {
		r->out[head]++;
		r->pending++;
	}
	/* Descriptors and entry before the index; pairs with the device's acquire. */
	xn_store_release16(&r->avail[1], r->avail_next);
}

/* ---- packed ones ---- */

static struct vring_packed_desc *slot(const struct ring *r, uint16_t at)
{
	return (struct vring_packed_desc *)r->desc + (at & ~WRAP);
}

static uint16_t forth(const struct ring *r, uint16_t at, uint32_t n)
{
	const uint32_t i = (at & ~WRAP) + n;

	return (uint16_t)(i < r->size ? at + n : ((at ^ WRAP) & WRAP) | (i - r->size));
}

static uint16_t post_packed(struct ring *r, const struct seg *s, unsigned n, unsigned flags)
{
	const uint16_t first = r->avail_next;
	uint16_t id = UINT16_MAX, at = first, first_flags = 0;

	/* As many ids as slots: when one is used up, so is the other. */
	for (unsigned i = 0; i < n; i++) {
		const uint16_t before = id;

		id = ring_take(r);
		r->next[id] = before;
	}
	for (unsigned i = 0; i < n; i++, at = forth(r, at, 1)) {
		const uint16_t f = (uint16_t)(flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0) |
					      (at & WRAP ? P_AVAIL : P_USED));

		slot(r, at)->addr = s[i].at;
		slot(r, at)->len = s[i].len;
		slot(r, at)->id = id;
		if (i)
			slot(r, at)->flags = f;
		else
			first_flags = f;
	}
	r->slots[id] = (uint16_t)n;
	r->out[id]++;
	r->pending++;
	r->avail_next = at;
	/* All of it before the first one's flags; pairs with the device's acquire. */
	xn_store_release16(&slot(r, first)->flags, first_flags);
	return id;
}

static void recycle(struct ring *r, uint16_t head);

static bool used_packed(struct ring *r, uint32_t *head, uint32_t *len)
{
	const struct vring_packed_desc *g = slot(r, r->seen);
	/* Flags before the rest; pairs with the device's release. */
	const uint16_t flags = xn_load_acquire16(&g->flags);

	if ((flags & (P_AVAIL | P_USED)) != (r->seen & WRAP ? P_AVAIL | P_USED : 0))
		return false;
	*head = g->id;
	*len = flags & VRING_DESC_F_WRITE ? g->len : 0;
	if (*head >= r->size || !r->out[*head]) {
		r->seen = forth(r, r->seen, 1);
		r->twice++;
		return true;
	}
	r->seen = forth(r, r->seen, r->slots[*head]);
	r->out[*head]--;
	r->pending--;
	recycle(r, (uint16_t)*head);
	return true;
}

/* ---- both ---- */

/* flags: of each descriptor. */
uint16_t ring_post(struct ring *r, const struct seg *s, unsigned n, unsigned flags)
{
	uint16_t head = 0, id, prev = 0;

	if (r->packed)
		return post_packed(r, s, n, flags);
	for (unsigned i = 0; i < n; i++, prev = id) {
		id = ring_take(r);
		ring_desc(r, id, s[i].at, s[i].len, flags, 0);
		if (!i)
			head = id;
		else
			r->desc[prev].next = id;
		if (i)
			r->desc[prev].flags |= VRING_DESC_F_NEXT;
		if (i)
			r->next[prev] = id;
	}
	ring_offer(r, head);
	return head;
}

void ring_kick(struct ring *r)
{
	const uint64_t one = 1;

	if (r->kick >= 0 && write(r->kick, &one, sizeof(one)) < 0 && errno != EAGAIN)
		fail("kick: %s", strerror(errno));
}

uint16_t ring_used_idx(const struct ring *r)
{
	/* Index before entries and buffers; pairs with the device's release. */
	return xn_load_acquire16(&r->used[1]);
}

static void recycle(struct ring *r, uint16_t head)
{
	for (uint32_t n = 0; head < r->size && n < r->size && r->n_free < r->size; n++) {
		r->free[r->n_free++] = head;
		head = r->next[head];
	}
}

bool ring_used(struct ring *r, uint32_t *head, uint32_t *len)
{
	const uint32_t *e;

	if (r->packed)
		return used_packed(r, head, len);
	if (ring_used_idx(r) == r->seen)
		return false;
	e = (const uint32_t *)(r->used + 2) + 2 * (r->seen++ & (r->size - 1));
	*head = e[0];
	*len = e[1];
	if (*head >= r->size || !r->out[*head]) {
		r->twice++;
		return true;
	}
	r->out[*head]--;
	r->pending--;
	recycle(r, (uint16_t)*head);
	return true;
}

bool ring_wait(struct ring *r, uint32_t *head, uint32_t *len, unsigned ms)
{
	struct wait w = { 0 };

	while (waiting(&w, ms)) {
		if (ring_used(r, head, len))
			return true;
		poll(&(struct pollfd){ .fd = r->call, .events = POLLIN }, 1, 1);
		event_taken(r->call);
	}
	return ring_used(r, head, len);
}

uint64_t event_taken(int fd)
{
	uint64_t v = 0;

	return fd >= 0 && read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

/* ---- the life of a guest ---- */

static uint64_t all_protocol(const struct guest_cfg *c)
{
	uint64_t p = BIT(XN_VU_P_MQ) | BIT(XN_VU_P_LOG_SHMFD) | BIT(XN_VU_P_RARP) |
		     BIT(XN_VU_P_REPLY_ACK) | BIT(XN_VU_P_MTU) | BIT(XN_VU_P_BACKEND_REQ) |
		     BIT(XN_VU_P_CONFIG) | BIT(XN_VU_P_INFLIGHT_SHMFD) |
		     BIT(XN_VU_P_RESET_DEVICE) | BIT(XN_VU_P_CONFIGURE_MEM_SLOTS) |
		     BIT(XN_VU_P_STATUS);

	return p & ~c->without_protocol & ~(c->no_reply_ack ? BIT(XN_VU_P_REPLY_ACK) : 0);
}

static int connect_to(struct guest *g)
{
	const struct daemon *d = g->cfg.daemon ? g->cfg.daemon : &the_daemon;
	int rc = front_connect(&g->front, d->sock, FRONT_WAIT_MS);
	uint64_t want = g->cfg.features | (g->cfg.ctrl ? BIT(VIRTIO_NET_F_CTRL_VQ) : 0);

	if (!rc && g->cfg.stage < CONNECTED)
		rc = front_negotiate(&g->front, want, BIT(VIRTIO_F_VERSION_1),
				     all_protocol(&g->cfg));
	return rc;
}

int guest_set_mem(struct guest *g)
{
	return front_set_mem(&g->front, g->regions, g->n_regions);
}

static int set_inflight(struct guest *g)
{
	const struct xn_vu_inflight want = { .num_queues = (uint16_t)g->n_rings,
					     .queue_size = (uint16_t)g->ring[0].size };
	size_t got;
	int rc = 0;

	if (g->inflight_fd < 0)
		rc = front_get(&g->front, XN_VU_GET_INFLIGHT_FD, &want, sizeof(want), &g->inflight,
			       sizeof(g->inflight), &got, &g->inflight_fd);
	g->inflight.num_queues = want.num_queues;
	g->inflight.queue_size = want.queue_size;
	if (!rc)
		rc = front_set(&g->front, XN_VU_SET_INFLIGHT_FD, &g->inflight, sizeof(g->inflight),
			       &g->inflight_fd, 1);
	return rc;
}

/* Goes on where the used ring says, as QEMU does behind a back end that was gone. A packed
 * one does not say: it begins, or its inflight memory says. */
struct front_ring guest_front_ring(const struct guest *g, unsigned i)
{
	const struct ring *r = &g->ring[i];

	return (struct front_ring){
		.index = r->index, .size = r->size, .desc = user_of(g, r->desc_gpa),
		.avail = user_of(g, r->avail_gpa), .used = user_of(g, r->used_gpa),
		.base = r->packed ? NEW_PACKED : ring_used_idx(r), .kick_fd = g->cfg.polled ? -1 : r->kick,
		.call_fd = r->call, .err_fd = r->err,
	};
}

int guest_start_ring(struct guest *g, unsigned i)
{
	const struct front_ring fr = guest_front_ring(g, i);

	return front_start_ring(&g->front, &fr);
}

int guest_start_rings(struct guest *g)
{
	int rc = 0;

	for (unsigned i = 0; i < g->n_rings && !rc; i++)
		rc = guest_start_ring(g, i);
	/* A ring starts when its kick is readable. */
	for (unsigned i = 0; i < g->n_rings && !rc; i++)
		ring_kick(&g->ring[i]);
	return rc;
}

int guest_enable(struct guest *g)
{
	int rc = 0;

	for (unsigned i = 0; i < g->n_rings && !rc; i++)
		rc = front_enable_ring(&g->front, i, true);
	return rc;
}

int guest_restart_rings(struct guest *g)
{
	int rc = 0;

	for (unsigned i = 0; i < g->n_rings && !rc; i++)
		rc = front_stop_ring(&g->front, i, NULL);
	for (unsigned i = 0; i < g->n_rings; i++) {
		guest_reset_ring(g, i);
		event_taken(g->ring[i].err);
	}
	g->sent = g->received = 0;
	if (!rc)
		rc = guest_start_rings(g);
	return rc ? rc : guest_enable(g);
}

void guest_hang_up(struct guest *g)
{
	front_close(&g->front);
}

int guest_connect_again(struct guest *g)
{
	int rc = connect_to(g);

	if (!rc)
		rc = guest_set_mem(g);
	return !rc && g->cfg.inflight ? set_inflight(g) : rc;
}

static void place_all(struct guest *g)
{
	const struct guest_cfg *c = &g->cfg;
	uint64_t rings, at;

	g->n_rings = 2 * c->pairs + c->ctrl;
	rings = g->n_rings * ring_bytes(c->size);
	make_ram(g, rings + 2 * LOOP_BUFS * BUF_BYTES + CASE_BYTES + c->more_ram);
	at = g->regions[0].gpa;
	for (unsigned i = 0; i < g->n_rings; i++, at += ring_bytes(c->size)) {
		place_ring(g, i, at, c->size);
		guest_reset_ring(g, i);
	}
	g->rx_at = at;
	g->tx_at = g->rx_at + LOOP_BUFS * BUF_BYTES;
	g->free_at = g->tx_at + LOOP_BUFS * BUF_BYTES;
	g->buf_bytes = BUF_BYTES;
	g->wait_ms = SOON_MS;
}

static void close_it(void *arg)
{
	struct guest *g = arg;

	guest_close(g);
	free(g);
}

struct guest *guest_open(const struct guest_cfg *cfg)
{
	struct guest *g = calloc(1, sizeof(*g));
	int rc;

	CHECK(g, "out of memory");
	*g = (struct guest){ .cfg = *cfg, .fd = -1, .inflight_fd = -1, .front.fd = -1 };
	g->cfg.size = cfg->size ? cfg->size : 256;
	g->cfg.pairs = cfg->pairs ? cfg->pairs : 1;
	for (unsigned i = 0; i < MAX_RINGS; i++)
		g->ring[i].kick = g->ring[i].call = g->ring[i].err = -1;
	at_end(close_it, g);
	place_all(g);
	rc = connect_to(g);
	if (!rc && cfg->stage < NEGOTIATED)
		rc = guest_set_mem(g);
	if (!rc && cfg->stage < NEGOTIATED && cfg->inflight)
		rc = set_inflight(g);
	if (!rc && cfg->stage < MEMORY)
		rc = guest_start_rings(g);
	if (!rc && cfg->stage < STARTED)
		rc = guest_enable(g);
	CHECK(!rc, "a good guest is refused: %s", g->front.error);
	if (g->ring[0].packed && cfg->stage < CONNECTED && !(g->front.acked & BIT(VIRTIO_F_RING_PACKED)))
		fail("packed rings are not offered");
	return g;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void guest_close(struct guest *g)
{
	front_close(&g->front);
	for (unsigned i = 0; i < MAX_RINGS; i++) {
		struct ring *r = &g->ring[i];

		close_fd(&r->kick);
		close_fd(&r->call);
		close_fd(&r->err);
		free(r->free);
		free(r->next);
		free(r->out);
		free(r->slots);
		r->free = r->next = NULL;
		r->out = NULL;
		r->slots = NULL;
	}
	if (g->ram && g->ram != MAP_FAILED)
		munmap(g->ram, g->bytes);
	g->ram = NULL;
	close_fd(&g->fd);
	close_fd(&g->inflight_fd);
}

/* ---- frames ---- */

/* Broadcast, from a local address, a type for experiments; number; filler. */
void frame_write(uint8_t *p, uint32_t len, uint32_t seq)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i < 6 ? 0xff : i < 12 ? 0x02 + i : i == 12 ? 0x88 : i == 13 ? 0xb5 :
				 i < 18 ? seq >> 8 * (i - 14) : seq * 7 + i * 13);
}

bool frame_good(const uint8_t *p, uint32_t len, uint32_t seq)
{
	uint8_t want[BUF_BYTES];

	if (len > sizeof(want))
		return false;
	frame_write(want, len, seq);
	return !memcmp(p, want, len);
}

/* Lengths from the shortest to the longest, each its turn. */
static uint32_t loop_len(uint32_t seq)
{
	static const uint16_t lens[] = { 60, 1514, 64, 14, 1000, 15, 128, 777, 61, 1513, 256 };

	return lens[seq % ARRAY_SIZE(lens)];
}

static const char *why(struct guest *g, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static const char *why(struct guest *g, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(g->why, sizeof(g->why), fmt, ap);
	va_end(ap);
	return g->why;
}

static unsigned loop_bufs(const struct guest *g)
{
	return g->ring[RX].size < LOOP_BUFS ? g->ring[RX].size : LOOP_BUFS;
}

static uint64_t rx_buf(const struct guest *g, uint32_t head)
{
	return g->rx_at + (uint64_t)(head % LOOP_BUFS) * BUF_BYTES;
}

/* A buffer for each descriptor that is free, as far as there are buffers. */
static void post_rx(struct guest *g)
{
	struct ring *r = &g->ring[RX];
	bool any = false;

	while (r->n_free && r->size - r->n_free < loop_bufs(g)) {
		uint16_t id = r->free[r->n_free - 1];
		const struct seg s = { rx_buf(g, id), g->buf_bytes };

		memset(guest_at(g, s.at), 0xee, HDR);
		ring_post(r, &s, 1, VRING_DESC_F_WRITE);
		any = true;
	}
	if (any)
		ring_kick(r);
}

static void post_tx(struct guest *g, unsigned n)
{
	struct ring *r = &g->ring[TX];

	for (unsigned i = 0; i < n && r->n_free; i++, g->sent++) {
		uint16_t id = r->free[r->n_free - 1];
		const struct seg s = { g->tx_at + (uint64_t)(id % LOOP_BUFS) * BUF_BYTES,
				       HDR + loop_len(g->sent) };
		uint8_t *p = guest_at(g, s.at);

		memset(p, 0, HDR);
		frame_write(p + HDR, s.len - HDR, g->sent);
		ring_post(r, &s, 1, 0);
	}
	ring_kick(r);
}

static uint64_t found_no_buffer(const struct guest *g)
{
	const struct daemon *d = g->cfg.daemon ? g->cfg.daemon : &the_daemon;
	uint64_t a = 0, b = 0;

	daemon_try_number(d, "counters.rx_drop_no_buffer.value", &a);
	daemon_try_number(d, "counters.rx_drop_error.value", &b);
	return a + b;
}

/*
 * The first buffer of a frame. A turn of the device looks for buffers before it looks for packets:
 * when the first of both are posted in between, the packet finds no buffer, is dropped by name,
 * and sent again here.
 */
static bool first_buffer(struct guest *g, uint32_t *head, uint32_t *len)
{
	struct wait w = { 0 };

	while (waiting(&w, g->wait_ms)) {
		if (ring_wait(&g->ring[RX], head, len, 100))
			return true;
		if (!g->ahead || found_no_buffer(g) == g->lost)
			continue;
		if (!ring_wait(&g->ring[TX], head, len, g->wait_ms))
			return false;
		g->lost = found_no_buffer(g);
		g->sent--;
		post_tx(g, 1);
	}
	return false;
}

/* One frame, of all its buffers. */
static const char *take_frame(struct guest *g)
{
	struct ring *r = &g->ring[RX];
	const struct virtio_net_hdr_mrg_rxbuf *h;
	uint8_t frame[BUF_BYTES];
	uint32_t head, len, got = 0, buffers = 1;

	for (uint32_t i = 0; i < buffers; i++) {
		const uint8_t *p;
		uint32_t skip_bytes = i ? 0 : HDR;

		if (!i ? !first_buffer(g, &head, &len) : !ring_wait(r, &head, &len, g->wait_ms))
			return why(g, "frame %u of %u did not come back", g->received, g->sent);
		if (r->twice)
			return why(g, "receive head %u was used without being available (%u times)", head,
				   r->twice);
		if (len < skip_bytes || len > g->buf_bytes || got + len > sizeof(frame))
			return why(g, "frame %u: used length %u", g->received, len);
		p = guest_at(g, rx_buf(g, head));
		h = (const struct virtio_net_hdr_mrg_rxbuf *)p;
		if (!i && (h->hdr.flags || h->hdr.gso_type || !h->num_buffers))
			return why(g, "a header with flags or gso %#x, num_buffers %u",
				   h->hdr.flags | h->hdr.gso_type, h->num_buffers);
		if (!i)
			buffers = h->num_buffers;
		memcpy(frame + got, p + skip_bytes, len - skip_bytes);
		got += len - skip_bytes;
	}
	if (got != loop_len(g->received) || !frame_good(frame, got, g->received))
		return why(g, "frame %u came back changed (%u bytes)", g->received, got);
	g->received++;
	return NULL;
}

const char *guest_loop(struct guest *g, unsigned n)
{
	const uint32_t until = g->sent + n;
	uint32_t head, len;
	const char *bad = NULL;

	while (!bad && g->received < until) {
		/* No more under way than fit into what is posted. */
		unsigned room = loop_bufs(g) * g->buf_bytes / (2 * BUF_BYTES);

		g->ahead = !g->ring[RX].pending;
		if (g->ahead)
			g->lost = found_no_buffer(g);
		post_rx(g);
		if (!room || g->ahead)
			room = 1;
		if (g->sent < until)
			post_tx(g, until - g->sent < room ? until - g->sent : room);
		while (!bad && g->received < g->sent)
			bad = take_frame(g);
		while (!bad && g->ring[TX].pending && ring_wait(&g->ring[TX], &head, &len, g->wait_ms))
			if (g->ring[TX].twice || len)
				bad = why(g, "transmit head %u was used wrongly (length %u)", head, len);
		if (!bad && g->ring[TX].pending)
			bad = why(g, "%u transmit heads did not come back", g->ring[TX].pending);
	}
	return bad;
}

void check_loop(struct guest *g, unsigned n)
{
	const char *bad = guest_loop(g, n);

	CHECK(!bad, "%s", bad);
}

/* ---- messages and their answers ---- */

static bool has_reply(uint32_t request)
{
	switch (request) {
	case XN_VU_GET_FEATURES:
	case XN_VU_GET_PROTOCOL_FEATURES:
	case XN_VU_GET_VRING_BASE:
	case XN_VU_GET_QUEUE_NUM:
	case XN_VU_GET_CONFIG:
	case XN_VU_GET_INFLIGHT_FD:
	case XN_VU_GET_MAX_MEM_SLOTS:
	case XN_VU_GET_STATUS:
		return true;
	default:
		return false;
	}
}

/* What a reply says about success. */
static enum answer judge(uint32_t request, const struct xn_vu_header *h,
			 const union xn_vu_payload *p, unsigned n_fds)
{
	if (h->request != request || !(h->flags & XN_VU_REPLY))
		return SILENT;
	if (request == XN_VU_GET_INFLIGHT_FD)
		return h->size >= 20 && p->inflight.mmap_size && n_fds ? ACCEPTED : REFUSED;
	if (has_reply(request))
		return h->size ? ACCEPTED : REFUSED;
	return h->size == 8 && !p->u64 ? ACCEPTED : REFUSED;
}

enum answer ask_raw(struct guest *g, uint32_t request, uint32_t flags, uint32_t size,
		    const void *payload, size_t bytes, const int *fds, unsigned n_fds)
{
	struct xn_vu_header h = { request, flags, size };
	union xn_vu_payload p;
	int got[XN_VU_MAX_FDS];
	unsigned n = ARRAY_SIZE(got);
	int rc = front_send(&g->front, &h, payload, bytes, fds, n_fds);
	enum answer a;

	memset(&p, 0, sizeof(p));
	if (!rc && !(flags & XN_VU_NEED_REPLY) && !has_reply(request))
		return SILENT;
	if (!rc)
		rc = front_recv(&g->front, &h, &p, sizeof(p), got, &n, SOON_MS);
	if (rc)
		return rc == -ETIMEDOUT ? SILENT : CLOSED;
	a = judge(request, &h, &p, n);
	while (n)
		close(got[--n]);
	return a;
}

enum answer ask(struct guest *g, uint32_t request, const void *payload, size_t bytes,
		const int *fds, unsigned n_fds)
{
	return ask_raw(g, request, XN_VU_VERSION | XN_VU_NEED_REPLY, (uint32_t)bytes, payload, bytes,
		       fds, n_fds);
}

const char *answer_name(enum answer a)
{
	static const char *const names[] = { "accepted", "refused", "closed", "not answered" };

	return names[a];
}

void check_accepted(enum answer a)
{
	CHECK(a == ACCEPTED, "should be accepted, is %s", answer_name(a));
}

#define FORWARDED \
	(BIT(VIRTIO_NET_F_RSS) | BIT(VIRTIO_NET_F_HASH_REPORT) | BIT(VIRTIO_NET_F_CTRL_RX) | \
	 BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT(VIRTIO_NET_F_CTRL_VLAN) | \
	 BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | \
	 BIT(VIRTIO_NET_F_SPEED_DUPLEX) | BIT(F_VQ_NOTF_COAL) | BIT(VIRTIO_NET_F_NOTF_COAL))

void check_in_step(struct guest *g)
{
	uint64_t features;
	int rc = front_get_u64(&g->front, XN_VU_GET_FEATURES, &features);

	CHECK(!rc || rc == -ECONNRESET || rc == -EPIPE,
	      "the session is out of step: %s", g->front.error);
	/* What needs a control queue and a configuration space that are forwarded is not offered
	 * any more to a front end that has agreed on others of the protocol than CONFIG. */
	CHECK(rc || !g->front.features || !((features ^ g->front.features) & ~FORWARDED),
	      "the features offered have changed");
	CHECK(rc || !g->front.features || !(features & ~g->front.features),
	      "more features are offered than before");
}

void check_nack(struct guest *g, enum answer a)
{
	CHECK(a == REFUSED || a == CLOSED, "should be refused, is %s", answer_name(a));
	if (a == CLOSED)
		return;
	check_in_step(g);
	if (g->cfg.stage == ENABLED && !g->cfg.polled)
		check_loop(g, 4);
}
