/* SPDX-License-Identifier: BSD-2-Clause */
/* Small looks into /sys and /proc. What is not there is nothing. */
#ifndef XN_CTL_SYSFS_H
#define XN_CTL_SYSFS_H

#include <stddef.h>
#include <stdint.h>

/* The first line, cut, without its newline; else "". */
void xn_sysfs_line(char *out, size_t bytes, const char *path);
/* The number that the first line begins with; else 0. */
uint64_t xn_sysfs_number(const char *path);
/* What a link points at, without the folders before it; else "". */
void xn_sysfs_target(char *out, size_t bytes, const char *path);
/* How many paths match. */
unsigned xn_sysfs_count(const char *pattern);

#endif
