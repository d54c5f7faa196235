/* SPDX-License-Identifier: BSD-2-Clause */
/* On which receive queue of an interface does a frame arrive? Asked by an XDP program. */
#ifndef XN_TESTS_NET_QUEUES_H
#define XN_TESTS_NET_QUEUES_H

#include <linux/types.h>

#define QUEUES_NUMBERS 65536u
#define QUEUES_MAGIC   0x71756575u

/* The last bytes of a frame that wants to be known by its number. */
struct queues_tail {
	__u32 magic, number;
};

#ifndef __bpf__
#include <stdbool.h>

struct queues;

/* In the calling thread's namespace. native: the driver's XDP, or fail. 0 or -errno. */
int  queues_open(struct queues **q, unsigned ifindex, bool native);
void queues_close(struct queues *q);
void queues_forget(struct queues *q);
/* Where the frame with this number arrived; -1: not yet. */
int queues_of(struct queues *q, unsigned number);
/* The same, waiting for it; -1: it does not come. */
int queues_wait(struct queues *q, unsigned number);
/* Bits of the queues on which frames with this source port arrived. */
unsigned queues_of_port(struct queues *q, unsigned port);
#endif
#endif
