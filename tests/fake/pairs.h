/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queue pairs of a device, each with a thread that runs it, sleeps where there is nothing to
 * do, and plays its guest: it posts all buffers that it has, and looks whether each frame that
 * comes is one that may come there, once, whole, and in the order of its flow.
 *
 *	pairs_frame --> the test sends it on `from`     ...     pairs_got, pairs_dropped
 */
#ifndef XN_TESTS_FAKE_PAIRS_H
#define XN_TESTS_FAKE_PAIRS_H

#include <pthread.h>

#include "rss/config.h"
#include "tests/fake/driver.h"

#define PAIRS        4u
#define PAIRS_BYTES  300u      /* of a frame */
#define PAIRS_FRAMES 2000000u  /* at most */
#define PAIRS_LATE_MS 30000    /* a thread that sleeps so long was not woken */

struct pairs;

struct pair {
	struct pairs *all;
	pthread_t thread;
	bool runs;
	unsigned index;
	uint32_t restarts, restarted;    /* asked for; done */
	uint32_t got, failed;
	uint8_t posted[DRV_SIZE];
	uint8_t seen[PAIRS_FRAMES];
	uint64_t last[PAIRS];            /* by queue of arrival: newest number + 1 */
};

struct pairs {
	struct xn_dev *dev;
	struct drv *drv;                 /* with 4 MiB and more */
	void (*enter)(void *arg);        /* called by each thread first; NULL: nothing */
	void *arg;
	int sleep_ms;                    /* at most; 0: PAIRS_LATE_MS */
	struct xn_rss_config cfg[2];     /* one of these is in force, the test says */
	bool ordered;                    /* only cfg[0] is */
	uint64_t seed, sent;
	uint32_t stop;
	int stop_fd;                     /* wakes up who sleeps, at the end */
	struct pair pair[PAIRS];
};

/* The device runs. Posts the first buffers, then starts the threads. */
void pairs_start(struct pairs *p);
void pairs_stop(struct pairs *p);

/* Makes the next frame: of some flow, on the queue that it is named for or on any. Which. */
unsigned pairs_frame(struct pairs *p, uint8_t frame[PAIRS_BYTES], bool exact);

/* So many frames have come so far; -1: one that should not. */
int64_t  pairs_got(struct pairs *p);
/* What was counted as dropped. Not while a pair is being restarted. */
uint64_t pairs_dropped(struct pairs *p);
/* Have all that were sent come (or are counted, if some may be dropped)? False after ms. */
bool     pairs_wait(struct pairs *p, bool may_drop, unsigned ms);

/* Its thread stops it, and starts it again; in between the test goes on. */
void pairs_restart(struct pairs *p, unsigned i);
bool pairs_restarted(struct pairs *p, unsigned i, unsigned ms);

#endif
