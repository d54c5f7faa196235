/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bounce frames: a stack of the free ones.
 *
 * A queue pair takes what it needs when it starts and gives it back when it has
 * stopped; in between it keeps its frames in lists of its own. So nothing here
 * is on the data path, and nothing is locked (set-up calls only).
 */
#include "umem/mem.h"

unsigned xn_mem_take_frames(struct xn_mem *m, xn_uoff *out, unsigned n)
{
	unsigned got = XN_MIN(n, m->n_free);

	for (unsigned i = 0; i < got; i++)
		out[i].v = m->frames_at + (uint64_t)m->free_frames[--m->n_free] * XN_CHUNK_BYTES;
	return got;
}

void xn_mem_give_frames(struct xn_mem *m, const xn_uoff *frames, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t into = frames[i].v - m->frames_at;

		/* Not one of ours, or given twice: a mistake in this library. */
		assert(into / XN_CHUNK_BYTES < m->n_frames && into % XN_CHUNK_BYTES == 0);
		assert(m->n_free < m->n_frames);
		m->free_frames[m->n_free++] = (uint32_t)(into / XN_CHUNK_BYTES);
	}
}
