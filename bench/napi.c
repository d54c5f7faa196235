/* SPDX-License-Identifier: BSD-2-Clause */
/* See napi.h. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/napi.h"

#define COMM_BYTES 16u    /* TASK_COMM_LEN: longer names are cut */

static void read_comm(const char *pid, char comm[COMM_BYTES])
{
	char path[300];
	FILE *f;

	comm[0] = 0;
	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
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
	DIR *dir = opendir("/proc");
	const struct dirent *e;

	napi->n = 0;
	/* Linux net/core/dev.c, napi_kthread_create */
	snprintf(want, sizeof(want), "napi/%.10s", ifname);
	if (strlen(ifname) < 10)
		strcat(want, "-");
	while (dir && napi->n < XN_NAPI_MAX && (e = readdir(dir))) {
		const int pid = atoi(e->d_name);

		if (pid <= 0)
			continue;
		read_comm(e->d_name, comm);
		if (!strncmp(comm, want, strlen(want)) && !clock_getcpuclockid(pid, &napi->clock[napi->n]))
			napi->n++;
	}
	if (dir)
		closedir(dir);
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
