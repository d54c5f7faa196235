/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vhost-user front end: connects to a back end, gives it memory and rings. The bench
 * plays a VMM with it, the tests a well-behaved or a hostile one.
 *
 * Two layers: messages as such (raw: anything can be sent, also nonsense), and the
 * usual life of a VMM on top. All calls are bounded in time (FRONT_WAIT_MS).
 */
#ifndef XN_BENCH_FRONT_H
#define XN_BENCH_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost/proto.h"

#define FRONT_WAIT_MS 20000

struct front {
	int fd;                         /* -1: not connected */
	uint64_t features;              /* offered by the back end */
	uint64_t protocol_features;     /* likewise */
	uint64_t acked, protocol_acked;
	bool need_reply;                /* REPLY_ACK was agreed: every set is confirmed */
	char error[160];                /* why the last call failed */
};

/* ---- messages ---- */

/* Connects, trying for up to wait_ms. 0 or -errno. */
int  front_connect(struct front *f, const char *path, int wait_ms);
void front_close(struct front *f);

/* Sends header, `bytes` of payload and fds as they are; header.size need not fit. 0 or -errno. */
int  front_send(struct front *f, const struct xn_vu_header *h, const void *payload, size_t bytes,
		const int *fds, unsigned n_fds);
/* One message; fds beyond *n_fds are closed, *n_fds is set (NULL: none is kept). Payload
 * longer than room is cut. 0, -ETIMEDOUT, -ECONNRESET (the back end closed); then nothing
 * is kept. */
int  front_recv(struct front *f, struct xn_vu_header *h, void *payload, size_t room,
		int *fds, unsigned *n_fds, int wait_ms);

/* ---- requests, in their proper form ---- */

/* Sends a request that has no reply of its own. With need_reply: waits for the
 * confirmation; 0, or -EREMOTEIO when the back end says that it failed. */
int  front_set(struct front *f, unsigned request, const void *payload, size_t bytes,
	       const int *fds, unsigned n_fds);
/* A request that is answered; the reply's payload must be of `room` bytes, or (got) at most,
 * *got says how many. fd: receives the first fd of the answer, or -1; NULL: none is expected. */
int  front_get(struct front *f, unsigned request, const void *payload, size_t bytes,
	       void *reply, size_t room, size_t *got, int *fd);

int  front_set_u64(struct front *f, unsigned request, uint64_t v);
int  front_get_u64(struct front *f, unsigned request, uint64_t *v);

/* ---- the life of a VMM ---- */

/* Owner, features (offered & want, want must be there in `must`), protocol features. */
int  front_negotiate(struct front *f, uint64_t want, uint64_t must, uint64_t protocol_want);

struct front_region {
	uint64_t gpa, size, user_addr, offset;
	int fd;
};
/* By SET_MEM_TABLE. user_addr: any number, the same as in front_ring. */
int  front_set_mem(struct front *f, const struct front_region *r, unsigned n);

struct front_ring {
	unsigned index;
	uint32_t size;
	uint64_t desc, avail, used;     /* user addresses */
	uint32_t base;
	int kick_fd, call_fd, err_fd;   /* -1: none */
};
/* NUM, BASE, ADDR, CALL, ERR, KICK: the ring is started. Not yet enabled. */
int  front_start_ring(struct front *f, const struct front_ring *r);
int  front_enable_ring(struct front *f, unsigned index, bool on);
/* GET_VRING_BASE: the ring is stopped. */
int  front_stop_ring(struct front *f, unsigned index, uint32_t *base);

#endif
