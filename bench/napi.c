/* SPDX-License-Identifier: BSD-2-Clause */
/* See napi.h. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/napi.h"

#define COMM_BYTES 16u    /* TASK_COMM_LEN: longer names are cut */

static void read_comm(const char *path, char comm[COMM_BYTES])
{
	FILE *f = fopen(path, "re");

	comm[0] = 0;
	if (!f)
		return;
	if (!fgets(comm, COMM_BYTES, f))
		comm[0] = 0;
	comm[strcspn(comm, "\n")] = 0;
	fclose(f);
}

void xn_napi_find(struct xn_napi *napi, const char *ifname)
{
	char want[COMM_BYTES], comm[COMM_BYTES];
	glob_t g = { 0 };

	napi->n = 0;
	/* Linux net/core/dev.c, napi_kthread_create */
	snprintf(want, sizeof(want), strlen(ifname) < 10 ? "napi/%s-" : "napi/%.10s", ifname);
	if (glob("/proc/[0-9]*/comm", GLOB_NOSORT, NULL, &g))
		g.gl_pathc = 0;
	for (size_t i = 0; i < g.gl_pathc && napi->n < XN_NAPI_MAX; i++) {
		const int pid = atoi(g.gl_pathv[i] + strlen("/proc/"));

		read_comm(g.gl_pathv[i], comm);
		if (!strncmp(comm, want, strlen(want)) && !clock_getcpuclockid(pid, &napi->clock[napi->n]))
			napi->n++;
	}
	globfree(&g);
}

uint64_t xn_napi_ns(const struct xn_napi *napi)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < napi->n; i++) {
		struct timespec t;

		if (!clock_gettime(napi->clock[i], &t))
			sum += (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	}
	return sum;
}
