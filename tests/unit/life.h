/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stores that may be the last. To be included in front of the code under test, which is
 * compiled into the test, with its stores to shared memory replaced by stores that count:
 * "killed" is a jump out of the n-th of them, after which everything private is thrown away.
 * Behind the code: life_end.h.
 */
#ifndef XN_TESTS_LIFE_H
#define XN_TESTS_LIFE_H

#include <setjmp.h>
#include <stdlib.h>

#include "base/atomics.h"

static struct {
	jmp_buf out;
	long left;          /* stores until the end; < 0: none */
	long done;          /* stores so far */
} life = { .left = -1 };

static inline void stored(void)
{
	life.done++;
	if (life.left > 0 && !--life.left) {
		life.left = -1;
		longjmp(life.out, 1);
	}
}

/* What it has allocated dies with it. */
static void *owned[16];

static inline void *life_calloc(size_t n, size_t size)
{
	unsigned i = 0;

	while (owned[i])
		i++;
	owned[i] = calloc(n, size);
	return owned[i];
}

static inline void life_free(void *p)
{
	for (unsigned i = 0; p && i < sizeof(owned) / sizeof(owned[0]); i++)
		if (owned[i] == p)
			owned[i] = NULL;
	free(p);
}

static inline void life_free_all(void)
{
	for (unsigned i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
		life_free(owned[i]);
}

#define calloc life_calloc
#define free   life_free
#define xn_store_once8(p, v)     (xn_store_once8(p, v), stored())
#define xn_store_once16(p, v)    (xn_store_once16(p, v), stored())
#define xn_store_once32(p, v)    (xn_store_once32(p, v), stored())
#define xn_store_once64(p, v)    (xn_store_once64(p, v), stored())
#define xn_store_release8(p, v)  (xn_store_release8(p, v), stored())
#define xn_store_release16(p, v) (xn_store_release16(p, v), stored())
#define xn_store_release32(p, v) (xn_store_release32(p, v), stored())
#define xn_store_release64(p, v) (xn_store_release64(p, v), stored())
#define xn_count_add(p, v)       (*(p) += (v))   /* private: dies with the process */

#endif
