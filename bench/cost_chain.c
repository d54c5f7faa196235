/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What it costs to take chains of several descriptors out of a transmit ring and to give them back:
 * nanoseconds a chain, of batches of 56 from the bench's guest, in the same thread. Split and packed
 * rings take turns; figures are medians of the rounds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/clock.h"
#include "bench/guest.h"
#include "virtio/vq.h"

#define RING    1024u
#define MOST    18u               /* descriptors of a chain: as many for 64 KiB in pages */
#define BATCH   (RING / MOST)
#define PAGE    4096u
#define HEAD    76u               /* bytes of the first piece */
#define ROUNDS  41u
#define BATCHES 500u              /* a round */

struct side {
	struct xn_guest *guest;
	struct xn_mem *mem;
	struct xn_vq vq;
	struct xn_counters ctr;
	double pop[ROUNDS], publish[ROUNDS];
};

static int make_side(struct side *s, bool packed)
{
	const struct xn_guest_cfg gc = { .pairs = 1, .queue_size = RING, .huge = XN_HUGE_AUTO,
					 .packed = packed, .tx_pieces = MOST, .tx_slot_bytes = MOST * PAGE };
	struct xn_region region;
	struct xn_vring v;
	struct xn_vq_cfg cfg;
	int err = xn_guest_create(&s->guest, &gc);

	if (err)
		return err;
	xn_guest_region(s->guest, &region);
	err = xn_mem_create(&s->mem, &region, 1, NULL);
	if (err)
		return err;
	xn_guest_vring(s->guest, 1, &v);
	cfg = (struct xn_vq_cfg){ .size = v.size, .desc = XN_GPA(v.desc_gpa), .avail = XN_GPA(v.avail_gpa),
				  .used = XN_GPA(v.used_gpa), .base = v.base, .packed = packed,
				  .dir = XN_VQ_FROM_GUEST };
	return xn_vq_init(&s->vq, s->mem, &s->ctr, &cfg);
}

static void unmake_side(struct side *s)
{
	xn_vq_fini(&s->vq);
	xn_mem_destroy(s->mem);
	xn_guest_destroy(s->guest);
}

/* Pages of which no two are neighbours, as those of a running system. */
static void offer(struct side *s, unsigned pieces)
{
	struct xn_guest_piece p[MOST];

	for (unsigned i = 0; i < BATCH; i++) {
		uint8_t *slot = xn_guest_chain_begin(s->guest, 0);

		p[0] = (struct xn_guest_piece){ slot, HEAD };
		for (unsigned k = 1; k < pieces; k++)
			p[k] = (struct xn_guest_piece){ slot + (pieces - k) * PAGE, PAGE };
		xn_guest_chain_add(s->guest, 0, p, pieces);
	}
	xn_guest_chain_push(s->guest, 0);
}

static void batch(struct side *s, unsigned pieces, uint64_t *pop, uint64_t *publish)
{
	static struct xn_piece piece[BATCH * MOST];
	static struct xn_chain chain[BATCH];
	uint64_t t, popped;
	unsigned n;

	offer(s, pieces);
	t = xn_ticks();
	n = xn_vq_pop(&s->vq, chain, BATCH, piece, BATCH * MOST);
	popped = xn_ticks();
	if (n != BATCH) {
		fprintf(stderr, "cost_chain: took %u chains of %u\n", n, BATCH);
		exit(1);
	}
	for (unsigned i = 0; i < n; i++)
		xn_vq_push(&s->vq, chain[i].head, 0);
	xn_vq_publish(&s->vq);
	*publish += xn_ticks() - popped;
	*pop += popped - t;
	xn_guest_tx_reap(s->guest, 0);
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), by_value);
	return v[ROUNDS / 2];
}

static void measure(struct side *sides, unsigned pieces)
{
	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned k = 0; k < 2; k++) {
			uint64_t pop = 0, publish = 0;

			for (unsigned i = 0; i < BATCHES; i++)
				batch(&sides[k], pieces, &pop, &publish);
			sides[k].pop[r] = xn_ticks_ns(pop) / (BATCHES * BATCH);
			sides[k].publish[r] = xn_ticks_ns(publish) / (BATCHES * BATCH);
		}
	printf("%11u", pieces);
	for (unsigned k = 0; k < 2; k++)
		printf("  %10.1f  %9.1f", median(sides[k].pop), median(sides[k].publish));
	printf("\n");
}

int main(void)
{
	static struct side sides[2];

	xn_clock_init();
	if (make_side(&sides[0], false) || make_side(&sides[1], true)) {
		fprintf(stderr, "cost_chain: %s\n", xn_last_error());
		return 1;
	}
	printf("descriptors  split: take, give back  packed: take, give back   (ns a chain)\n");
	for (unsigned i = 0; i < 4; i++)
		measure(sides, (const unsigned[]){ 2, 4, 10, 17 }[i]);
	unmake_side(&sides[0]);
	unmake_side(&sides[1]);
	return 0;
}
