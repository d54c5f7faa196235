/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers that somebody has typed. */
#ifndef XN_BASE_NUMBER_H
#define XN_BASE_NUMBER_H

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* All of `text` is one number of this base, without a sign, from min to max: *v, which is left
 * alone if not. */
static inline bool xn_number(const char *text, int base, uint64_t min, uint64_t max, uint64_t *v)
{
	unsigned long long x;
	char *end;

	/* strtoull takes space and signs in front: "-1" is large. */
	if (!isalnum((unsigned char)*text))
		return false;
	errno = 0;
	x = strtoull(text, &end, base);
	if (errno || end == text || *end || x < min || x > max)
		return false;
	*v = x;
	return true;
}

#endif
