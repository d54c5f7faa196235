/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bounce frames: a stack of the free ones.
 *
 * A queue pair takes what it needs when it starts and gives it back when it has
 * stopped; in between it keeps its frames in lists of its own. So nothing here
 * is on the data path. One lock for all: a queue that restarts by itself may meet set-up
 * calls of others.
 */
#include <pthread.h>

#include "umem/mem.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

uint32_t xn_mem_free_frames(const struct xn_mem *m)
{
	uint32_t n;

	pthread_mutex_lock(&lock);
	n = m->n_free;
	pthread_mutex_unlock(&lock);
	return n;
}

unsigned xn_mem_take_frames(struct xn_mem *m, xn_uoff *out, unsigned n)
{
	unsigned got;

	pthread_mutex_lock(&lock);
	got = XN_MIN(n, m->n_free);
	for (unsigned i = 0; i < got; i++)
		out[i].v = m->frames_at + (uint64_t)m->free_frames[--m->n_free] * XN_CHUNK_BYTES;
	pthread_mutex_unlock(&lock);
	return got;
}

void xn_mem_give_frames(struct xn_mem *m, const xn_uoff *frames, unsigned n)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < n; i++) {
		uint64_t into = frames[i].v - m->frames_at;

		/* Not one of ours, or given twice: a mistake in this library. */
		assert(into / XN_CHUNK_BYTES < m->n_frames && into % XN_CHUNK_BYTES == 0);
		assert(m->n_free < m->n_frames);
		m->free_frames[m->n_free++] = (uint32_t)(into / XN_CHUNK_BYTES);
	}
	pthread_mutex_unlock(&lock);
}
