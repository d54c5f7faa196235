/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of bench/pieces.c: a frame that is stamped in pieces is the one that would have been
 * built in one, wherever it is cut; and the judgement of pieces tells what is wrong with them:
 * order, a piece of another frame, a length, a tail.
 */
#include <string.h>

#include "base/types.h"
#include "bench/pieces.h"
#include "tests/cmocka.h"

#define STREAM 0x5eed0000u
#define MOST   (XN_MTU_MAX + XN_ETH_BYTES)

static uint8_t whole[MOST], memory[2 * MOST];
static const struct xn_opts opts = { .mtu = XN_MTU_MAX };
static struct xn_path path = { .opts = &opts, .near_mac = { 2, 0, 0, 0, 0, 1 },
			       .far_mac = { 2, 0, 0, 0, 0, 2 } };

/* Pieces of this length each, from the end of memory to its beginning. */
static unsigned cut(struct xn_guest_piece *p, uint32_t bytes, uint32_t first, uint32_t each)
{
	uint8_t *end = memory + sizeof(memory);
	unsigned n = 0;

	for (uint32_t at = 0; at < bytes; n++) {
		const uint32_t len = XN_MIN(bytes - at, n ? each : first);

		end -= len + 1;
		p[n] = (struct xn_guest_piece){ end, len };
		at += len;
	}
	return n;
}

static void join(const struct xn_guest_piece *p, unsigned n, uint8_t *out)
{
	for (unsigned i = 0; i < n; i++) {
		memcpy(out, p[i].data, p[i].bytes);
		out += p[i].bytes;
	}
}

static void a_frame_in_pieces_is_the_frame(void **state)
{
	static const struct { uint32_t bytes, first, each; } ways[] = {
		{ 9014, 64, 4096 }, { MOST, 64, 4096 }, { MOST, 3642, 3642 }, { 1600, 1600, 1 },
		/* The tail lies in two pieces, in four, and behind one of a byte. */
		{ 4162, 64, 4096 }, { 1516, 1512, 1 }, { 4161, 64, 4096 }, { 200, 58, 7 },
	};
	static uint8_t joined[MOST];
	struct xn_guest_piece p[64];

	for (unsigned i = 0; i < XN_ARRAY_SIZE(ways); i++) {
		struct xn_near w = { .path = &path, .bytes = ways[i].bytes, .stream = STREAM + i };
		const unsigned n = cut(p, ways[i].bytes, ways[i].first, ways[i].each);

		for (uint64_t seq = 0; seq < 3; seq++) {
			xn_pieces_stamp(&w, p, n);
			xn_frame_build(whole, w.bytes, path.far_mac, path.near_mac, w.stream, seq);
			join(p, n, joined);
			assert_memory_equal(joined, whole, w.bytes);
			assert_int_equal(w.seq, seq + 1);
		}
	}
}

static void good_frames_are_good(void **state)
{
	static const uint32_t bytes[] = { 62, 65, 66, 67, 1514, 1515, 9014, 64000, MOST };
	struct xn_guest_piece p[64];

	for (unsigned i = 0; i < XN_ARRAY_SIZE(bytes); i++) {
		struct xn_near w = { .path = &path, .bytes = bytes[i], .stream = STREAM };
		const unsigned n = cut(p, bytes[i], 62, 4096);
		struct xn_check c;

		xn_check_reset(&c, STREAM, bytes[i]);
		for (unsigned k = 0; k < 1000; k++) {
			xn_pieces_stamp(&w, p, n);
			xn_pieces_check(&c, p, n);
		}
		assert_int_equal(c.frames, 1000);
		assert_int_equal(c.corrupt + c.foreign + c.lost + c.duplicate, 0);
	}
}

/* Of 1000 frames with this fault, how many are found? */
static unsigned found(void (*fault)(struct xn_guest_piece *p, unsigned *n))
{
	struct xn_near w = { .path = &path, .bytes = 9014, .stream = STREAM };
	struct xn_guest_piece p[64];
	struct xn_check c;

	xn_check_reset(&c, STREAM, w.bytes);
	for (unsigned k = 0; k < 1000; k++) {
		struct xn_guest_piece q[64];
		unsigned n = cut(p, w.bytes, 64, 4090);

		xn_pieces_stamp(&w, p, n);
		memcpy(q, p, sizeof(q));
		fault(q, &n);
		xn_pieces_check(&c, q, n);
	}
	return (unsigned)(c.corrupt + c.foreign);
}

static void swapped(struct xn_guest_piece *p, unsigned *n)
{
	const struct xn_guest_piece one = p[1];

	p[1] = p[2];
	p[2] = one;
}

static void missing(struct xn_guest_piece *p, unsigned *n)
{
	p[1] = p[2];
	p[2] = p[3];
	--*n;
}

static void shifted(struct xn_guest_piece *p, unsigned *n)
{
	p[1].data += 12;
}

static void cut_short(struct xn_guest_piece *p, unsigned *n)
{
	p[*n - 1].bytes--;
}

static void wrong_pieces_are_found(void **state)
{
	/* Two pieces of a length are found where the filler is looked at in them: 9 of 10. */
	assert_in_range(found(swapped), 800, 1000);
	assert_in_range(found(shifted), 350, 1000);
	assert_int_equal(found(missing), 1000);
	assert_int_equal(found(cut_short), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_in_pieces_is_the_frame),
		cmocka_unit_test(good_frames_are_good),
		cmocka_unit_test(wrong_pieces_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
