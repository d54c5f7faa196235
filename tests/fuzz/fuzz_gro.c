/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile networks, and guests with odd buffers, against receive coalescing (engine/gro.h): frames as
 * tests/fake/segments.h makes them, by dice that are the input, with any byte of their headers
 * changed. What comes of them has to be what the slow model says, and no byte beside the buffers
 * may be written.
 *
 * An input is dice for the frames of a batch, then again and again three bytes: a frame, a place
 * in its first 144 bytes, and what is changed there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fake/segments.h"

#define DICE_MOST 600u   /* bytes; those behind them are changes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct seg_batch batch;
	const size_t dice = bytes < 4 ? bytes : XN_MIN(bytes - 1 - data[0] % 4 * (bytes / 4), DICE_MOST);
	struct seg_dice d = { .roll = seg_roll_bytes, .at = data + !!bytes, .end = data + dice };
	struct xn_mem mem = { .base = malloc(SEG_RAM) };
	struct xn_gro *g = xn_gro_create(&mem, seg_bufs, SEG_HDR, SEG_HEADS, SEG_FRAMES);
	const char *wrong;

	if (!mem.base || !g)
		abort();
	batch.mutations = bytes && data[0] & 4;
	seg_make(&batch, &d, 1 + (bytes ? data[0] / 8 % 16 : 0));
	for (size_t i = dice; i + 3 <= bytes; i += 3) {
		struct seg_frame *f = &batch.f[data[i] % batch.n];

		f->bytes[data[i + 1] % XN_MIN(f->len, 144u)] ^= data[i + 2];
	}
	wrong = seg_play(g, mem.base, &batch, &d);
	if (wrong) {
		fprintf(stderr, "%s\n", wrong);
		abort();
	}
	xn_gro_destroy(g);
	free(mem.base);
	return 0;
}
