/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in tests/net/queues.h. */
#include <errno.h>
#include <linux/if_link.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "tests/net/queues.h"
#include "tests/net/queues.skel.h"

struct queues {
	struct queues_bpf *skel;
	int link;
};

int queues_open(struct queues **out, unsigned ifindex, bool native)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	struct queues *q = calloc(1, sizeof(*q));
	int err = -ENOMEM;

	*out = NULL;
	if (!q)
		return err;
	q->skel = queues_bpf__open_and_load();
	q->link = q->skel ? bpf_link_create(bpf_program__fd(q->skel->progs.xn_queues), (int)ifindex,
					    BPF_XDP, &opts) : -errno;
	err = q->link < 0 ? q->link : 0;
	if (err)
		queues_close(q);
	else
		*out = q;
	return err;
}

void queues_close(struct queues *q)
{
	if (!q)
		return;
	if (q->link >= 0)
		close(q->link);
	queues_bpf__destroy(q->skel);
	free(q);
}

void queues_forget(struct queues *q)
{
	for (uint32_t i = 0, none = 0; i < QUEUES_NUMBERS; i++) {
		bpf_map_update_elem(bpf_map__fd(q->skel->maps.by_number), &i, &none, BPF_ANY);
		bpf_map_update_elem(bpf_map__fd(q->skel->maps.by_port), &i, &none, BPF_ANY);
	}
}

int queues_of(struct queues *q, unsigned number)
{
	uint32_t seen = 0;

	bpf_map_lookup_elem(bpf_map__fd(q->skel->maps.by_number), &number, &seen);
	return (int)seen - 1;
}

int queues_wait(struct queues *q, unsigned number)
{
	for (unsigned ms = 0; ms < 20000 && queues_of(q, number) < 0; ms++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	return queues_of(q, number);
}

unsigned queues_of_port(struct queues *q, unsigned port)
{
	uint32_t seen = 0;

	bpf_map_lookup_elem(bpf_map__fd(q->skel->maps.by_port), &port, &seen);
	return seen;
}
