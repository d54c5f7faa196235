/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in ctl/sysfs.h. */
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/sysfs.h"

void xn_sysfs_line(char *out, size_t bytes, const char *path)
{
	FILE *f = fopen(path, "re");

	out[0] = 0;
	if (!f)
		return;
	if (!fgets(out, (int)bytes, f))
		out[0] = 0;
	out[strcspn(out, "\n")] = 0;
	fclose(f);
}

uint64_t xn_sysfs_number(const char *path)
{
	char line[64];

	xn_sysfs_line(line, sizeof(line), path);
	return strtoull(line, NULL, 10);
}

void xn_sysfs_target(char *out, size_t bytes, const char *path)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *slash;

	out[0] = 0;
	if (n <= 0)
		return;
	target[n] = 0;
	slash = strrchr(target, '/');
	snprintf(out, bytes, "%s", slash ? slash + 1 : target);
}

unsigned xn_sysfs_count(const char *pattern)
{
	unsigned n = 0;
	glob_t g;

	if (!glob(pattern, GLOB_NOSORT, NULL, &g))
		n = (unsigned)g.gl_pathc;
	globfree(&g);
	return n;
}
