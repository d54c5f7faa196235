/* SPDX-License-Identifier: BSD-2-Clause */
/* A NIC and its driver in zero-copy mode, on plain memory. Theory in tests/fake/kernel.h,
 * struct fk_nic. */
#include <errno.h>
#include <string.h>

#include "tests/fake/ring.h"

#define RING_DEFAULT 64u

/* May [at, at + bytes) be given to the NIC? xp_desc_crosses_non_contig_pg. */
static bool whole(const struct fk *k, uint64_t at, uint32_t bytes)
{
	const uint64_t first = at / XN_PAGE_SIZE, last = (at + bytes - 1) / XN_PAGE_SIZE;

	return first == last || !k->nic.follows || k->nic.follows(first);
}

/* ---- receive ---- */

/* xp_alloc_batch: the free list first, the newest of it at the front; then the fill ring. */
void fk_nic_refill(struct fk *k)
{
	const unsigned size = k->nic.ring ? XN_MIN(k->nic.ring, FK_NIC_RING) : RING_DEFAULT;
	uint32_t level = fk_ring_level(&k->fill);
	uint64_t addr;

	while (k->n_nic < size && k->n_ahead)
		k->nic_ring[k->n_nic++] = k->ahead[--k->n_ahead];
	while (k->n_nic < size && fk_fill_take(k, &level, &addr)) {
		if (!whole(k, addr, k->chunk_bytes) || (k->nic.loses && k->nic.loses(addr))) {
			k->fill_lost++;
			continue;
		}
		k->nic_ring[k->n_nic++] = addr;
		k->taken++;
	}
	fk_ring_publish(&k->fill, &k->fill.consumer);
	/* Whoever adds buffers has to say so, while it has too few. */
	k->fill.flags = k->n_nic < size ? XDP_RING_NEED_WAKEUP : 0;
}

/* What the NIC writes: header, timestamp, frame, and whatever it likes up to its reach. */
static void dma(struct fk *k, uint64_t land, const uint8_t *frame, uint32_t bytes)
{
	const uint32_t shift = k->nic.shift, reach = XN_MAX(k->nic.reach, bytes + shift);
	uint8_t *p = k->umem + land;

	assert(!k->may_write || k->may_write(k->arg, land - k->nic.front, k->nic.front + reach));
	memset(p - k->nic.front, 0x11, k->nic.front);
	memset(p, 0x22, reach);
	memcpy(p + shift, frame, bytes);
}

static int piece_rx(struct fk *k, const uint8_t *frame, uint32_t bytes, fk_program *program, void *arg)
{
	uint64_t fill;
	int err;

	fk_nic_refill(k);
	assert(!k->nic.keep || xn_load_acquire32(&k->fill.producer) -
	       xn_load_acquire32(&k->rx.consumer) - xn_load_acquire32(&k->away.consumer) >=
	       k->rx.size + k->away.size + k->nic.keep);
	if (!k->n_nic) {
		k->stat.rx_fill_ring_empty_descs++;
		return -ENOMEM;
	}
	fill = k->nic_ring[0];
	memmove(k->nic_ring, k->nic_ring + 1, --k->n_nic * sizeof(k->nic_ring[0]));
	dma(k, fill + k->land, frame, bytes);
	err = program(arg, bytes);
	if (!err && !fk_rx_room(k))
		err = -ENOBUFS;
	if (err) {
		assert(k->n_ahead < FK_AHEAD_MAX);
		k->ahead[k->n_ahead++] = fill;
		fk_nic_refill(k);
		return err;
	}
	fk_rx_put(k, fill, fill + k->land + k->nic.shift, bytes);
	k->rx_frames++;
	fk_nic_refill(k);
	return 0;
}

int fk_nic_rx(struct fk *k, const void *frame, uint32_t bytes, fk_program *program, void *arg)
{
	const uint32_t most = k->nic.piece ? k->nic.piece : k->frame_bytes;
	const uint8_t *p = frame;
	int err = 0;

	if (bytes + k->nic.shift > most && !k->nic.piece)
		return -ENOSPC;
	for (uint32_t part; bytes; bytes -= part, p += part) {
		part = XN_MIN(bytes, most - k->nic.shift);
		err = piece_rx(k, p, part, program, arg);
	}
	return err;
}

/* ---- transmit ---- */

static bool valid(const struct fk *k, const struct xdp_desc *d)
{
	return fk_desc_valid(k, d) && whole(k, xsk_umem__add_offset_to_addr(d->addr), d->len);
}

/* The packet in k->chain is the NIC's, or was refused: both are completed. */
static void leave(struct fk *k, bool refused)
{
	struct fk_flying f = { .n = k->n_chain, .refused = refused };

	for (unsigned i = 0; i < f.n; i++) {
		f.addr[i] = k->chain[i].addr;
		f.len[i] = k->chain[i].len;
	}
	k->n_chain = 0;
	if (k->nic.scribbles && !refused)
		k->umem[xsk_umem__add_offset_to_addr(f.addr[0]) + f.len[0]]++;
	/* Forgotten, or gone: never completed. */
	if (refused ? k->nic.by_piece : k->nic.forgets && ++k->left % k->nic.forgets == 0)
		k->comp_reserved -= f.n;
	else if (k->hold)
		k->flying[k->n_flying++] = f;
	else
		fk_finish(k, &f);
}

/* A piece of a packet that is not sent. */
static void drain(struct fk *k, const struct xdp_desc *d)
{
	if (k->n_chain == XN_TX_PIECES_MAX)
		leave(k, true);
	k->chain[k->n_chain++] = *d;
}

/* xskq_cons_read_desc_batch of Linux 7.2. False: nothing more is taken in this call. */
static bool take(struct fk *k, const struct xdp_desc *d)
{
	const unsigned segments = k->nic.segments ? k->nic.segments : 1;
	const bool goes_on = d->options & XDP_PKT_CONTD;

	if (!valid(k, d)) {
		k->stat.tx_invalid_descs++;
		k->draining = true;
	}
	drain(k, d);
	if (goes_on && k->n_chain == segments)
		k->draining = true;
	/* Before 7.2 each piece that cannot be sent is thrown away alone. */
	if (goes_on && !(k->nic.by_piece && k->draining))
		return true;
	leave(k, k->draining);
	k->draining = false;
	return !k->nic.by_piece || !goes_on;
}

int fk_nic_send(struct xn_xsk *x)
{
	struct fk *k = XN_CONTAINER_OF(x->tx.producer, struct fk, tx.producer);
	const struct xdp_desc *tx = k->tx.entries;
	uint32_t level;

	k->sends++;
	if (k->send_error)
		return k->send_error;
	if (k->nic.deaf || xn_now_ns() < k->nic.wakes_ns)
		return 0;
	for (level = fk_ring_level(&k->tx); level--;) {
		const struct xdp_desc d = tx[k->tx.at & k->tx.mask];

		if (fk_ring_room(&k->comp) <= k->comp_reserved)
			break;
		k->tx.at++;
		k->comp_reserved++;
		if (!take(k, &d))
			break;
	}
	fk_ring_publish(&k->tx, &k->tx.consumer);
	fk_ring_publish(&k->comp, &k->comp.producer);
	return 0;
}
