/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sized option structs: the caller says how large its struct is (.sz). A smaller
 * one (older caller) is filled up with zeros, which mean defaults; a larger one
 * (newer caller) is accepted as long as what we do not know is 0.
 */
#ifndef XN_BASE_OPTS_H
#define XN_BASE_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Copies *in (NULL: all defaults) to `out` of `bytes`. False: unknown bits set. */
static inline bool xn_opts_take(void *out, size_t bytes, const void *in)
{
	size_t sz;

	memset(out, 0, bytes);
	if (!in)
		return true;
	memcpy(&sz, in, sizeof(sz));
	if (sz < sizeof(sz))
		return false;
	memcpy(out, in, sz < bytes ? sz : bytes);
	for (size_t i = bytes; i < sz; i++)
		if (((const unsigned char *)in)[i])
			return false;
	return true;
}

#endif
