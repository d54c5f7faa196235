/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other end of the wire: a thread that sends numbered frames and compares those that come.
 *
 *	guest's thread                     peer's thread
 *	 credit: it may send so many  -->   sent
 *	 valid: so many were sent           got, twice, wrong
 *
 * Each word has one writer; got and sent are stored behind what they count.
 */
#ifndef XN_TESTS_ZC_PEER_H
#define XN_TESTS_ZC_PEER_H

#include <pthread.h>

#include "tests/zc/zc.h"

struct zp {
	const struct zc_wire *w;
	pthread_t thread;
	uint8_t *seen;            /* a bit for each number */
	/* -- guest's thread -- */
	uint64_t credit;          /* frames in all that may be sent: more, step by step */
	uint32_t light;           /* the same frames again and again, and those that come unseen */
	uint32_t ends;
	/* -- peer's thread -- */
	uint64_t sent, got, twice, wrong;
};

void zp_start(struct zp *p, const struct zc_wire *w);
void zp_stop(struct zp *p);

#endif
