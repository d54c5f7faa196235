/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's side of AF_XDP on plain memory, in copy mode; and a host around it. Theory in
 * tests/fake/kernel.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fake/ring.h"
#include "tests/fake/rss.h"

/* ---- rings ---- */

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static void ring_init(struct fk_ring *r, uint32_t size, size_t entry_bytes)
{
	*r = (struct fk_ring){ .size = size, .mask = size - 1 };
	r->entries = must(calloc(size, entry_bytes));
}

static void prod_init(struct xsk_ring_prod *p, struct fk_ring *r)
{
	*p = (struct xsk_ring_prod){
		.cached_cons = r->size, .mask = r->mask, .size = r->size,
		.producer = &r->producer, .consumer = &r->consumer, .flags = &r->flags,
		.ring = r->entries,
	};
}

static void cons_init(struct xsk_ring_cons *c, struct fk_ring *r)
{
	*c = (struct xsk_ring_cons){
		.mask = r->mask, .size = r->size,
		.producer = &r->producer, .consumer = &r->consumer, .flags = &r->flags,
		.ring = r->entries,
	};
}

/* ---- life cycle ---- */

static void read_statistics(const struct xn_xsk *x, struct xdp_statistics *st)
{
	*st = XN_CONTAINER_OF(x->tx.producer, struct fk, tx.producer)->stat;
}

void fk_init(struct fk *k, struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	const uint32_t chunk_bytes = cfg->chunk_bytes ? cfg->chunk_bytes : XN_CHUNK_BYTES;

	*k = (struct fk){
		.umem = cfg->mem->base, .umem_bytes = cfg->mem->umem_bytes,
		.chunk_bytes = chunk_bytes, .frame_bytes = cfg->frame_bytes,
		.land = chunk_bytes - cfg->frame_bytes,
		.zero_copy = cfg->mode == XN_XSK_ZERO_COPY, .sg = cfg->sg,
		.capture = true, .budget = cfg->tx_budget ? cfg->tx_budget : FK_BUDGET,
		.random = 0x9e3779b97f4a7c15ull,
	};
	ring_init(&k->fill, cfg->fill_size, sizeof(uint64_t));
	ring_init(&k->comp, cfg->comp_size, sizeof(uint64_t));
	ring_init(&k->rx, cfg->rx_size, sizeof(struct xdp_desc));
	ring_init(&k->tx, cfg->tx_size, sizeof(struct xdp_desc));
	k->flying = must(calloc(cfg->comp_size, sizeof(*k->flying)));
	k->tx.flags = XDP_RING_NEED_WAKEUP;   /* always, in copy mode */

	*x = (struct xn_xsk){
		.send = k->zero_copy ? fk_nic_send : fk_send, .statistics = read_statistics,
		.zero_copy = k->zero_copy,
		.chunk_bytes = chunk_bytes, .frame_bytes = k->frame_bytes, .land = k->land,
		.fd = cfg->spare_fd >= 0 ? cfg->spare_fd : eventfd(0, EFD_CLOEXEC),
	};
	prod_init(&x->fill, &k->fill);
	prod_init(&x->tx, &k->tx);
	cons_init(&x->rx, &k->rx);
	cons_init(&x->comp, &k->comp);
}

void fk_fini(struct fk *k, struct xn_xsk *x)
{
	fk_forget(k);
	free(k->packets);
	free(k->flying);
	free(k->fill.entries);
	free(k->comp.entries);
	free(k->rx.entries);
	free(k->tx.entries);
	free(k->away.entries);
	*k = (struct fk){ 0 };
	xn_xsk_close(x);
}

/* xorshift64: any order will do, and the same in each run. */
uint64_t fk_random(struct fk *k)
{
	k->random ^= k->random << 13;
	k->random ^= k->random >> 7;
	k->random ^= k->random << 17;
	return k->random;
}

/* ---- receive ---- */

/* xp_check_unaligned: the chunk has to be wholly inside, the frame alone is not enough. */
static inline bool chunk_valid(const struct fk *k, uint64_t addr)
{
	return addr < k->umem_bytes && k->umem_bytes - addr >= k->chunk_bytes;
}

/* Next valid entry of the fill ring; invalid ones are gone. False: the ring is empty. */
static inline bool fill_take(struct fk *k, uint32_t *level, uint64_t *addr)
{
	const uint64_t *fill = k->fill.entries;

	while (*level) {
		--*level;
		*addr = fill[k->fill.at++ & k->fill.mask] & XSK_UNALIGNED_BUF_ADDR_MASK;
		if (chunk_valid(k, *addr))
			return true;
		k->fill_invalid++;
	}
	return false;
}

bool fk_fill_take(struct fk *k, uint32_t *level, uint64_t *addr)
{
	return fill_take(k, level, addr);
}

/* As xp_alloc: what lies on the free list first. With `reorder` the list is kept
 * filled, and any of it is taken. */
bool fk_entry_take(struct fk *k, uint64_t *addr)
{
	unsigned want = XN_MIN(XN_MAX(k->reorder, 1u), FK_AHEAD_MAX), pick;
	uint32_t level = fk_ring_level(&k->fill);

	while (k->n_ahead < want && level && fill_take(k, &level, &k->ahead[k->n_ahead]))
		k->n_ahead++;
	fk_ring_publish(&k->fill, &k->fill.consumer);
	if (!k->n_ahead) {
		k->stat.rx_fill_ring_empty_descs++;
		return false;
	}
	pick = k->reorder ? (unsigned)(fk_random(k) % k->n_ahead) : k->n_ahead - 1;
	*addr = k->ahead[pick];
	k->ahead[pick] = k->ahead[--k->n_ahead];
	return true;
}

bool fk_rx_room(struct fk *k)
{
	if (fk_ring_room(fk_rx_ring(k)))
		return true;
	if (fk_rx_ring(k) == &k->rx)
		k->stat.rx_ring_full++;
	else
		k->away_full++;
	return false;
}

static inline void rx_put(struct fk *k, struct fk_ring *r, uint64_t fill, uint64_t at, uint32_t bytes)
{
	struct xdp_desc *rx = r->entries;

	/* xp_get_handle: the entry's address below, the way to the data above. */
	rx[r->at++ & r->mask] = (struct xdp_desc){
		.addr = fill | (at - fill) << XSK_UNALIGNED_BUF_OFFSET_SHIFT,
		.len = bytes,
	};
}

void fk_rx_put(struct fk *k, uint64_t fill, uint64_t at, uint32_t bytes)
{
	struct fk_ring *r = fk_rx_ring(k);

	rx_put(k, r, fill, at, bytes);
	fk_ring_publish(r, &r->producer);
}

int fk_rx(struct fk *k, const void *frame, uint32_t bytes)
{
	uint64_t fill, at;

	if (bytes > k->frame_bytes && k->sg)
		return fk_sg_rx(k, frame, bytes);
	if (bytes > k->frame_bytes) {   /* xsk_rcv_check */
		k->stat.rx_dropped++;
		return -ENOSPC;
	}
	if (!fk_entry_take(k, &fill)) {
		k->stat.rx_dropped++;
		return -ENOMEM;
	}
	at = fill + k->land;
	assert(!k->may_write || k->may_write(k->arg, at, k->frame_bytes));
	memcpy(k->umem + at, frame, bytes);
	if (!fk_rx_room(k)) {              /* __xsk_rcv_zc fails: xsk_buff_free */
		k->ahead[k->n_ahead++] = fill;
		return -ENOBUFS;
	}
	fk_rx_put(k, fill, at, bytes);
	k->rx_frames++;
	return 0;
}

unsigned fk_rx_many(struct fk *k, unsigned n, uint32_t bytes)
{
	uint32_t level = fk_ring_level(&k->fill);
	uint64_t fill;
	unsigned i;

	assert(!k->n_ahead && bytes <= k->frame_bytes);
	n = XN_MIN(n, fk_ring_room(&k->rx));
	for (i = 0; i < n && fill_take(k, &level, &fill); i++)
		rx_put(k, &k->rx, fill, fill + k->land, bytes);
	fk_ring_publish(&k->fill, &k->fill.consumer);
	fk_ring_publish(&k->rx, &k->rx.producer);
	k->rx_frames += i;
	return i;
}

uint32_t fk_fill_level(const struct fk *k)
{
	return fk_ring_level(&k->fill);
}

/* ---- completion ---- */

static inline void comp_put(struct fk *k, const uint64_t *addr, unsigned n, bool exact)
{
	uint64_t *comp = k->comp.entries;

	/* Linux 6.18.44, xsk_skb_destructor_set_addr: bit 0 of the first is a tag. */
	comp[k->comp.at++ & k->comp.mask] = exact ? addr[0] : addr[0] & ~1ull;
	for (unsigned i = 1; i < n; i++)
		comp[k->comp.at++ & k->comp.mask] = addr[i];
	k->comp_reserved -= n;
}

/* The packet in k->chain is done with: its addresses go to the ring, or are held. */
static inline void chain_complete(struct fk *k)
{
	struct fk_flying *f = &k->flying[k->n_flying];

	for (unsigned i = 0; i < k->n_chain; i++)
		f->addr[i] = k->chain[i].addr;
	f->n = k->n_chain;
	if (k->hold)
		k->n_flying++;
	else if (f->n)
		comp_put(k, f->addr, f->n, k->keep_bit0);
	k->n_chain = 0;
}

void fk_finish(struct fk *k, const struct fk_flying *f)
{
	if (k->zero_copy && !f->refused) {
		k->tx_packets++;
		for (unsigned i = 0; i < f->n; i++)
			k->tx_bytes += f->len[i];
		if (k->capture)
			fk_capture(k, f->addr, f->len, f->n);
	}
	comp_put(k, f->addr, f->n, k->zero_copy || k->keep_bit0);
}

unsigned fk_complete(struct fk *k, unsigned n)
{
	n = XN_MIN(n, k->n_flying);
	for (unsigned i = 0; i < n; i++) {
		unsigned pick = k->shuffle ? (unsigned)(fk_random(k) % k->n_flying) : 0;
		struct fk_flying f = k->flying[pick];

		memmove(&k->flying[pick], &k->flying[pick + 1],
			(--k->n_flying - pick) * sizeof(f));
		fk_finish(k, &f);
	}
	fk_ring_publish(&k->comp, &k->comp.producer);
	return n;
}

/* ---- transmit ---- */

/* xp_unaligned_validate_desc, without metadata. */
bool fk_desc_valid(const struct fk *k, const struct xdp_desc *d)
{
	uint64_t addr = xsk_umem__add_offset_to_addr(d->addr);

	return d->len && d->len <= k->chunk_bytes && addr < k->umem_bytes &&
	       d->len <= k->umem_bytes - addr && !(d->options & ~(uint32_t)XDP_PKT_CONTD);
}

void fk_capture(struct fk *k, const uint64_t *addr, const uint32_t *len, unsigned n)
{
	struct fk_packet *p;
	uint32_t bytes = 0, at = 0;

	if (k->n_packets == k->max_packets) {
		k->max_packets = k->max_packets ? 2 * k->max_packets : 64;
		k->packets = must(realloc(k->packets, k->max_packets * sizeof(*p)));
	}
	for (unsigned i = 0; i < n; i++)
		bytes += len[i];
	p = &k->packets[k->n_packets++];
	*p = (struct fk_packet){ must(malloc(bytes)), bytes, n };
	for (unsigned i = 0; i < n; i++) {
		memcpy(p->data + at, k->umem + xsk_umem__add_offset_to_addr(addr[i]), len[i]);
		at += len[i];
	}
}

static void capture_chain(struct fk *k)
{
	uint64_t addr[XN_TX_PIECES_MAX];
	uint32_t len[XN_TX_PIECES_MAX];

	for (unsigned i = 0; i < k->n_chain; i++) {
		addr[i] = k->chain[i].addr;
		len[i] = k->chain[i].len;
	}
	fk_capture(k, addr, len, k->n_chain);
}

/* All pieces are there: sends the packet or loses it. 0 or -EBUSY. */
static inline int packet_send(struct fk *k)
{
	uint32_t bytes = 0;
	bool lost = k->drop != 0;

	for (unsigned i = 0; i < k->n_chain; i++)
		bytes += k->chain[i].len;
	if (lost) {
		k->drop--;
		k->tx_lost++;
	} else {
		k->tx_packets++;
		k->tx_bytes += bytes;
		if (k->capture)
			capture_chain(k);
	}
	chain_complete(k);
	return lost ? -EBUSY : 0;
}

/* The packet that is being put together is dropped. */
static void chain_drop(struct fk *k)
{
	k->stat.tx_invalid_descs += k->n_chain;
	chain_complete(k);
}

/* A descriptor of no packet: bad itself, or what follows after too many pieces. */
static void desc_drop(struct fk *k, const struct xdp_desc *d)
{
	const uint64_t addr = d->addr;

	k->stat.tx_invalid_descs++;
	comp_put(k, &addr, 1, true);
}

static inline int desc_take(struct fk *k, const struct xdp_desc *d)
{
	bool last = !(d->options & XDP_PKT_CONTD);

	if (k->n_chain == XN_TX_PIECES_MAX) {
		chain_drop(k);
		k->chain_bad = true;
	}
	if (k->chain_bad) {
		desc_drop(k, d);
		k->chain_bad = !last;
		return 0;
	}
	k->chain[k->n_chain++] = *d;
	return last ? packet_send(k) : 0;
}

/* Takes what is in the ring until a reason to stop, as __xsk_generic_xmit. */
static int xmit(struct fk *k)
{
	const struct xdp_desc *tx = k->tx.entries;
	uint32_t level = fk_ring_level(&k->tx), left = k->budget ? k->budget : level;
	int err = 0;

	while (level-- && !err) {
		const struct xdp_desc d = tx[k->tx.at & k->tx.mask];

		if (!left-- || fk_ring_room(&k->comp) <= k->comp_reserved)
			return -EAGAIN;
		k->tx.at++;
		k->comp_reserved++;
		if (!fk_desc_valid(k, &d)) {
			chain_drop(k);
			desc_drop(k, &d);
			return 0;
		}
		err = desc_take(k, &d);
	}
	return err;
}

int fk_send(struct xn_xsk *x)
{
	struct fk *k = XN_CONTAINER_OF(x->tx.producer, struct fk, tx.producer);
	int err;

	k->sends++;
	if (k->send_error)
		return k->send_error;
	err = xmit(k);
	fk_ring_publish(&k->tx, &k->tx.consumer);
	fk_ring_publish(&k->comp, &k->comp.producer);
	return err;
}

uint32_t fk_tx_level(const struct fk *k)
{
	return fk_ring_level(&k->tx);
}

void fk_forget(struct fk *k)
{
	for (size_t i = 0; i < k->n_packets; i++)
		free(k->packets[i].data);
	k->n_packets = 0;
}

/* ---- a host ---- */

struct fk_host fk_host;

/* Programs in the kernel, and what waits for them. Callbacks of tests may come back. */
static pthread_mutex_t world = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void enter(void)
{
	pthread_mutex_lock(&world);
}

static void leave(void)
{
	pthread_mutex_unlock(&world);
}

void fk_host_reset(void)
{
	for (unsigned i = 0; i < FK_QUEUES; i++)
		free(fk_host.ghost[i].k);

	fk_host = (struct fk_host){
		.info = { .ifindex = 7, .mtu = 1500, .mac = { 2, 0, 0, 0, 0, 7 }, .up = true,
			  .driver = "veth", .netns = 1, .speed = 10000, .full_duplex = true,
			  .release = "7.2.0" },
		.eth_state = -1,
	};
	for (unsigned i = 0; i < FK_QUEUES; i++)
		fk_host.steered[i] = -1;
	memset(fk_host.grid, 0xff, sizeof(fk_host.grid));
}

/* ---- the XDP program, bpf/steer.bpf.c ---- */

static const uint8_t *on_wire;      /* the frame that it looks at */

static int drop(enum xn_steer_exit why)
{
	fk_host.exits[why]++;
	return -ENXIO;
}

/* To a socket of this queue, if this is one. */
static bool redirect(struct fk *k, unsigned queue, int fd)
{
	const struct xn_xsk *x = fk_host.xsk[queue], *away = fk_host.away[queue];

	if (fd < 0 || !x || (fd != x->fd && (!away || fd != away->fd)))
		return false;
	k->to = fd == x->fd ? &k->rx : &k->away;
	return true;
}

static int plain(struct fk *k, unsigned queue)
{
	if (!redirect(k, queue, fk_host.steered[queue]))
		return drop(XN_E_steer_no_socket);
	fk_host.exits[XN_E_steer_to_guest]++;
	return 0;
}

static int correct(struct fk *k, unsigned queue, unsigned from, unsigned to)
{
	uint64_t *c = fk_host.queue_exits[to];

	if (redirect(k, queue, fk_host.grid[queue][to])) {
		c[XN_Q_missteered]++;
		return 0;
	}
	if (fk_host.disabled[from]) {
		c[XN_Q_disabled]++;
		return -ENXIO;
	}
	if (!redirect(k, queue, fk_host.steered[queue]))
		return drop(XN_E_steer_no_socket);
	c[XN_Q_unfixed]++;
	return 0;
}

/* The guest queue that sends this flow; from: none. */
static unsigned sender(uint32_t bytes, unsigned from)
{
	uint32_t hash;
	unsigned to = from;

	if (rss_model_hash(&fk_host.flow_rss, on_wire, bytes, &hash) && fk_host.slots[hash % XN_FLOW_SLOTS])
		to = fk_host.slots[hash % XN_FLOW_SLOTS] - 1u;
	return to >= fk_host.steer.rss_pairs || fk_host.disabled[to] ? from : to;
}

static int by_rss(struct fk *k, unsigned queue, uint32_t bytes)
{
	const unsigned from = queue - fk_host.steer.first_queue;
	unsigned to;
	uint32_t hash;

	if (from >= fk_host.steer.rss_pairs)
		return plain(k, queue);
	to = fk_host.rss_on ? rss_model_queue(&fk_host.rss, on_wire, bytes) : sender(bytes, from);
	if (fk_host.rss_on && !rss_model_hash(&fk_host.rss, on_wire, bytes, &hash))
		fk_host.queue_exits[to][XN_Q_unclassified]++;
	if (fk_host.disabled[to]) {
		fk_host.queue_exits[to][XN_Q_disabled]++;
		return -ENXIO;
	}
	if (from != to)
		return correct(k, queue, from, to);
	if (!redirect(k, queue, fk_host.steered[queue]))
		return drop(XN_E_steer_no_socket);
	fk_host.queue_exits[to][XN_Q_exact]++;
	return 0;
}

static int steer(void *arg, uint32_t bytes)
{
	struct fk *k = arg;
	const unsigned queue = (unsigned)(k - fk_host.q);

	if (bytes > fk_host.steer.frame_bytes) {
		fk_host.exits[XN_E_steer_too_long]++;
		return -EMSGSIZE;
	}
	return fk_host.rss_on || fk_host.flows.on ? by_rss(k, queue, bytes) : plain(k, queue);
}

/* The NIC writes on, though its socket is closed. */
static int ghost_rx(struct fk *k, const void *frame, uint32_t bytes)
{
	uint64_t land;

	if (!k->n_nic)
		return -ENOMEM;
	land = k->nic_ring[0] + k->land;
	memmove(k->nic_ring, k->nic_ring + 1, --k->n_nic * sizeof(k->nic_ring[0]));
	memcpy(k->umem + land, frame, XN_MIN(bytes, k->frame_bytes));
	return 1;
}

static int host_rx(unsigned queue, const void *frame, uint32_t bytes)
{
	struct fk *k = &fk_host.q[queue];
	int err;

	on_wire = frame;
	if (fk_host.ghost[queue].k)
		return ghost_rx(fk_host.ghost[queue].k, frame, bytes);
	if (k->zero_copy)
		return fk_nic_rx(k, frame, bytes, steer, k);
	err = steer(k, bytes);
	return err ? err : fk_rx(k, frame, bytes);
}

int fk_host_rx(unsigned queue, const void *frame, uint32_t bytes)
{
	int err;

	enter();
	err = host_rx(queue, frame, bytes);
	leave();
	return err;
}

static int host_if_info(const char *ifname, struct xn_if_info *info)
{
	if (strcmp(ifname, "fake0"))
		return -ENODEV;
	*info = fk_host.info;
	return 0;
}

/* Key and types as the loader chooses them (bpf/steer.c), but for chance. */
static void begin_flows(void)
{
	static struct xn_rss_image image;
	uint64_t seed = 5;

	rss_random_config(&seed, &fk_host.flow_rss, 1);
	fk_host.flow_rss.types = 0x3f;   /* IPv4, IPv6, and TCP's and UDP's over them */
	xn_rss_image_make(&image, &fk_host.flow_rss);
	fk_host.flows = (struct xn_flows){ .on = 1, .slot = fk_host.slots, .image = &image };
}

static int host_steer_open(struct xn_steer **s, const struct xn_steer_cfg *cfg)
{
	fk_host.steer = *cfg;
	if (cfg->by_flow && cfg->rss_pairs)
		begin_flows();
	*s = (struct xn_steer *)(void *)&fk_host;   /* opaque for the port */
	return 0;
}

static void host_steer_close(struct xn_steer *s)
{
	fk_host.steer = (struct xn_steer_cfg){ 0 };
}

static int host_steer_set(struct xn_steer *s, unsigned queue, int xsk_fd)
{
	assert(queue < FK_QUEUES);
	enter();
	fk_host.steered[queue] = xsk_fd;
	leave();
	return 0;
}

static void host_steer_clear(struct xn_steer *s, unsigned queue)
{
	enter();
	fk_host.steered[queue] = -1;
	leave();
}

static bool host_steer_native(const struct xn_steer *s)
{
	return true;
}

static void host_steer_filter(struct xn_steer *s, const struct xn_rx_filter *f)
{
	fk_host.filters = f != NULL;
	if (f)
		fk_host.filter = *f;
}

static void host_steer_counters(const struct xn_steer *s, uint64_t out[XN_E_COUNT])
{
	enter();
	memcpy(out, fk_host.exits, sizeof(fk_host.exits));
	for (unsigned g = 0; g < FK_QUEUES; g++) {
		const uint64_t *c = fk_host.queue_exits[g];

		out[XN_E_steer_to_guest] += c[XN_Q_exact];
		out[XN_E_steer_missteered] += c[XN_Q_missteered];
		out[XN_E_steer_unfixed] += c[XN_Q_unfixed];
		out[XN_E_steer_disabled] += c[XN_Q_disabled];
	}
	leave();
}

static const struct xn_flows *host_steer_flows(const struct xn_steer *s)
{
	return fk_host.flows.image ? &fk_host.flows : NULL;
}

static int host_steer_set_rss(struct xn_steer *s, const struct xn_rss_config *cfg)
{
	assert(fk_host.steer.rss_pairs);
	enter();
	fk_host.swaps++;
	fk_host.rss_on = cfg != NULL;
	fk_host.flows.on = !cfg && fk_host.flows.image;
	if (cfg)
		fk_host.rss = *cfg;
	leave();
	return 0;
}

static int host_steer_set_at(struct xn_steer *s, unsigned host_queue, unsigned guest_queue, int xsk_fd)
{
	const unsigned first = fk_host.steer.first_queue;

	assert(host_queue - first < fk_host.steer.rss_pairs && guest_queue < fk_host.steer.rss_pairs);
	assert(host_queue != first + guest_queue && "that is steer_set");
	enter();
	fk_host.grid[host_queue][guest_queue] = xsk_fd;
	leave();
	return 0;
}

static void host_steer_clear_at(struct xn_steer *s, unsigned host_queue, unsigned guest_queue)
{
	assert(guest_queue < fk_host.steer.rss_pairs);
	assert(host_queue != fk_host.steer.first_queue + guest_queue && "that is steer_clear");
	enter();
	fk_host.grid[host_queue][guest_queue] = -1;
	leave();
}

static void host_steer_enable(struct xn_steer *s, unsigned guest_queue, bool on)
{
	assert(guest_queue < fk_host.steer.rss_pairs);
	enter();
	fk_host.disabled[guest_queue] = !on;
	leave();
}

static void host_steer_queue_counters(const struct xn_steer *s, unsigned guest_queue,
				      uint64_t out[XN_Q_COUNT])
{
	enter();
	memcpy(out, fk_host.queue_exits[guest_queue], sizeof(fk_host.queue_exits[guest_queue]));
	leave();
}

static int may_open_socket(void)
{
	if (fk_host.socket_error && !fk_host.sockets_left)
		return fk_host.socket_error;
	fk_host.sockets_left -= fk_host.socket_error != 0;
	return 0;
}

static int host_xsk_socket(int *fd, const char *ifname)
{
	int err = may_open_socket();

	*fd = err ? -1 : eventfd(0, EFD_CLOEXEC);
	return err;
}

/* One attempt to bind; a ghost that has been refused often enough is gone. */
static bool queue_is_free(unsigned queue)
{
	unsigned *left = &fk_host.ghost[queue].refusals;

	if (!fk_host.ghost[queue].k)
		return true;
	if (fk_host.on_attempt)
		fk_host.on_attempt(queue);
	if (*left) {
		*left -= *left != FK_FOR_EVER;
		return false;
	}
	free(fk_host.ghost[queue].k);
	fk_host.ghost[queue].k = NULL;
	return true;
}

static bool wait_for_queue(unsigned queue, uint32_t ms)
{
	while (!queue_is_free(queue))
		if (!ms--)
			return false;
	return true;
}

static int may_bind(const struct xn_xsk_cfg *cfg)
{
	if (fk_host.xsk[cfg->queue] || !wait_for_queue(cfg->queue, cfg->busy_ms ? cfg->busy_ms : 2000))
		return -EBUSY;
	if (fk_host.open_error || cfg->mode != XN_XSK_ZERO_COPY)
		return fk_host.open_error;
	return fk_host.nic.zero_copy ? fk_host.zc_error : -EOPNOTSUPP;
}

static int open_host(struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	int err = cfg->spare_fd < 0 ? may_open_socket() : 0;

	assert(cfg->queue < FK_QUEUES);
	*x = (struct xn_xsk){ .fd = -1 };
	if (!err)
		err = may_bind(cfg);
	if (err) {
		if (cfg->spare_fd >= 0)
			close(cfg->spare_fd);
		return err;
	}
	fk_init(&fk_host.q[cfg->queue], x, cfg);
	fk_host.q[cfg->queue].nic = fk_host.nic;
	fk_host.xsk[cfg->queue] = x;
	fk_host.opened++;
	if (fk_host.on_open)
		fk_host.on_open(&fk_host.q[cfg->queue], cfg->queue);
	return 0;
}

static int host_xsk_open(struct xn_xsk *x, const struct xn_xsk_cfg *cfg)
{
	int err;

	enter();
	err = open_host(x, cfg);
	leave();
	return err;
}

static int open_away(struct xn_xsk *x, const struct xn_xsk *of, const struct xn_xsk_cfg *cfg)
{
	struct fk *k = &fk_host.q[cfg->queue];
	int err = cfg->spare_fd < 0 ? may_open_socket() : 0;

	assert(fk_host.xsk[cfg->queue] == of && !fk_host.away[cfg->queue]);
	*x = (struct xn_xsk){ .fd = -1 };
	if (!err)
		err = fk_host.away_error;
	if (err) {
		if (cfg->spare_fd >= 0)
			close(cfg->spare_fd);
		return err;
	}
	assert(cfg->rx_size > k->fill.size || k->zero_copy);
	ring_init(&k->away, cfg->rx_size, sizeof(struct xdp_desc));
	*x = (struct xn_xsk){
		.send = of->send, .statistics = of->statistics, .zero_copy = of->zero_copy,
		.chunk_bytes = of->chunk_bytes, .frame_bytes = of->frame_bytes, .land = of->land,
		.fd = cfg->spare_fd >= 0 ? cfg->spare_fd : eventfd(0, EFD_CLOEXEC),
	};
	cons_init(&x->rx, &k->away);
	fk_host.away[cfg->queue] = x;
	return 0;
}

static int host_xsk_open_rx(struct xn_xsk *x, const struct xn_xsk *of, const struct xn_xsk_cfg *cfg)
{
	int err;

	enter();
	err = open_away(x, of, cfg);
	leave();
	return err;
}

/* Is x a second socket? Its queue, or FK_QUEUES. */
static unsigned away_of(const struct xn_xsk *x)
{
	unsigned i = 0;

	while (i < FK_QUEUES && fk_host.away[i] != x)
		i++;
	return i;
}

static void close_away(struct xn_xsk *x, unsigned queue)
{
	struct fk *k = &fk_host.q[queue];

	fk_host.away[queue] = NULL;
	for (unsigned g = 0; g < FK_QUEUES; g++)   /* xsk_delete_from_maps */
		if (fk_host.grid[queue][g] == x->fd)
			fk_host.grid[queue][g] = -1;
	free(k->away.entries);
	k->away = (struct fk_ring){ 0 };
	xn_xsk_close(x);
}

static unsigned queue_of(const struct xn_xsk *x)
{
	unsigned i = 0;

	while (i < FK_QUEUES && fk_host.xsk[i] != x)
		i++;
	assert(i < FK_QUEUES);
	return i;
}

static void close_own(struct xn_xsk *x)
{
	unsigned i = queue_of(x);
	struct fk *k = &fk_host.q[i];

	assert(!fk_host.away[i] && "the queue is free only when both sockets are closed");
	fk_host.xsk[i] = NULL;
	fk_host.steered[i] = -1;   /* xsk_delete_from_maps */
	fk_host.closed++;
	if (k->zero_copy) {
		fk_host.ghost[i].k = must(aligned_alloc(XN_CACHE_LINE, sizeof(*k)));
		*fk_host.ghost[i].k = *k;
		fk_host.ghost[i].refusals = k->nic.refusals;
	}
	fk_fini(k, x);
}

static void host_xsk_close(struct xn_xsk *x)
{
	enter();
	if (away_of(x) < FK_QUEUES)
		close_away(x, away_of(x));
	else
		close_own(x);
	leave();
}

static int host_zc_close(struct xn_xsk *x, unsigned ifindex, unsigned queue, const char *ifname, int fd,
			 uint32_t ms)
{
	int err = fd < 0 ? may_open_socket() : 0;

	assert(ifindex == fk_host.info.ifindex);
	if (x->fd >= 0) {
		assert(queue_of(x) == queue);
		host_xsk_close(x);
	}
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	if (!wait_for_queue(queue, ms))
		return xn_fail(ETIMEDOUT, "%s queue %u: the fake driver keeps the queue", ifname, queue);
	fk_host.proofs++;
	return 0;
}

static void host_xsk_statistics(const struct xn_xsk *x, struct xdp_statistics *st)
{
	const unsigned away = away_of(x);

	enter();
	if (away < FK_QUEUES)   /* that of the fill ring is of both */
		*st = (struct xdp_statistics){
			.rx_ring_full = fk_host.q[away].away_full,
			.rx_fill_ring_empty_descs = fk_host.q[away].stat.rx_fill_ring_empty_descs,
		};
	else
		*st = fk_host.q[queue_of(x)].stat;
	leave();
}

static int host_barrier(void)
{
	enter();   /* whoever was inside has left */
	fk_host.barriers++;
	leave();
	return 0;
}

static int host_link_open(struct xn_link *l, unsigned ifindex, const char *ifname)
{
	*l = (struct xn_link){ .ifindex = ifindex, .up = fk_host.info.up };
	return 0;
}

static int announce_far = -1;   /* of a pair of sockets; the near one is the port's */

static int host_announce_open(int *fd, unsigned ifindex, const char *ifname)
{
	int pair[2];

	if (announce_far >= 0)
		close(announce_far);
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		abort();
	*fd = pair[0];
	announce_far = pair[1];
	return 0;
}

uint32_t fk_host_announced(void *frame, uint32_t max)
{
	ssize_t n = recv(announce_far, frame, max, 0);

	return n < 0 ? 0 : (uint32_t)n;
}

static uint64_t host_netns(void)
{
	return fk_host.info.netns;
}

static int host_nic_open(struct xn_nic **n, const struct xn_nic_cfg *given)
{
	struct xn_nic_cfg cfg = *given;

	if (!fk_host.eth)
		return xn_fail(EOPNOTSUPP, "%s: the fake has no NIC", cfg.ifname);
	cfg.ethtool = fk_host.eth;
	cfg.ifindex = fk_host.info.ifindex;
	cfg.state_dir = fk_host.eth_state;
	return xn_nic_open(n, &cfg);
}

const struct xn_xdp_sys fk_host_sys = {
	.netns = host_netns,
	.if_info = host_if_info,
	.steer_open = host_steer_open, .steer_close = host_steer_close,
	.steer_set = host_steer_set, .steer_clear = host_steer_clear,
	.steer_native = host_steer_native, .steer_filter = host_steer_filter,
	.steer_counters = host_steer_counters,
	.xsk_open_rx = host_xsk_open_rx,
	.steer_flows = host_steer_flows, .steer_set_rss = host_steer_set_rss, .steer_enable = host_steer_enable,
	.steer_set_at = host_steer_set_at, .steer_clear_at = host_steer_clear_at,
	.steer_queue_counters = host_steer_queue_counters,
	.xsk_socket = host_xsk_socket, .xsk_open = host_xsk_open, .xsk_close = host_xsk_close,
	.xsk_statistics = host_xsk_statistics, .zc_close = host_zc_close, .barrier = host_barrier,
	.ask_ms = 500, .close_ms = 20, .late_ms = 20,
	.link_open = host_link_open, .announce_open = host_announce_open,
	.nic_open = host_nic_open,
};
