/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other end of the wire: a thread that sends numbered frames and compares those that come.
 *
 *	guest's thread                     peer's thread
 *	 credit: it may send so many  -->   sent
 *	                                    got, twice, wrong
 *
 * Each word has one writer; got is stored behind what it counts, and sent in front of it.
 *
 * To measure what the guest's side costs, the peer has to cost little: then it sends the same
 * frames again and again, by AF_XDP in zero-copy mode, and what comes is counted and dropped
 * by an XDP program.
 */
#ifndef XN_TESTS_ZC_PEER_H
#define XN_TESTS_ZC_PEER_H

#include <pthread.h>

#include "bpf/steer.h"
#include "tests/zc/zc.h"

struct zp {
	const struct zc_wire *w;
	pthread_t thread;
	uint8_t *seen;            /* a bit for each number */
	/* -- guest's thread -- */
	uint64_t credit;          /* frames in all that may be sent: more, step by step */
	uint32_t light;           /* as for measurements, and all below is ready */
	uint32_t ends;
	struct zc_umem m;
	struct zc_sock s;
	struct xn_steer *steer;
	uint64_t got_before;      /* of got, when it became light */
	int mtu;                  /* of its interface, before that */
	/* -- peer's thread -- */
	uint64_t sent, got, twice, wrong;
	uint64_t posted, done;    /* light: TX descriptors */
};

void zp_start(struct zp *p, const struct zc_wire *w);
/* For measurements, from now on. Nothing is on its way. */
void zp_go_light(struct zp *p);
/* Its interface is as it was. */
void zp_stop(struct zp *p);

#endif
