/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsknetd as a process, for tests: started with any arguments in a directory of its own,
 * asked for its statistics, ended; and a guest that connects to it and talks to itself
 * through a loopback port, or to a real far end.
 *
 * The program is found beside the test: ../../xsknetd. With sanitizers, which need system
 * calls of their own, it runs with --sandbox off.
 */
#ifndef XN_TESTS_NET_XD_H
#define XN_TESTS_NET_XD_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "bench/front.h"
#include "bench/lab.h"
#include "tests/fake/driver.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define XD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define XD_SANITIZED 1
#endif
#endif
#ifndef XD_SANITIZED
#define XD_SANITIZED 0
#endif

/* What comes at all has come by then, on a slow machine that is busy with other things too. */
#define XD_SOON_MS 20000

/* Left open for it by mistake: whoever starts daemons does that. */
#define XD_LEAKED_FD 50

struct xd {
	char dir[64];           /* of its sockets */
	char sock[96], ctl[96];
	char log[96];           /* file with what it says */
	pid_t pid;              /* 0: does not run */
};

/* Once in main(): finds the program by argv[0]. False: it is not there. */
bool xd_find(const char *argv0);
const char *xd_program(void);

/* Makes the directory. */
void xd_init(struct xd *d);
/* Kills what runs, removes the directory. */
void xd_fini(struct xd *d);

/* What happens in the child before exec, in order. */
struct xd_how {
	const struct xn_lab *lab;       /* in its near namespace */
	bool as_unit;                   /* as nobody, with what the systemd unit gives */
	int fd3;                        /* becomes fd 3; 0: none */
	bool activated;                 /* LISTEN_FDS=1 */
	const char *const *env;         /* NAME=value, NULL at the end */
};
/* Starts it with these arguments (NULL at the end; "@S" and "@C" stand for the paths of its
 * sockets). Does not wait. how may be NULL. */
void xd_spawn(struct xd *d, const struct xd_how *how, const char *const *args);
#define XD_ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })
/* --socket, --ctl, --port and more arguments; until it says "ready". */
void xd_start(struct xd *d, const struct xd_how *how, const char *port, const char *const *more);

/* Waits until the log has `part`; false after ms. */
bool xd_said(const struct xd *d, const char *part, unsigned ms);
/* Lines of the log that have `part`. */
unsigned xd_count(const struct xd *d, const char *part);
/* Waits for it to end, up to ms: its exit status, 1000 + signal, or -1: it runs on. */
int  xd_wait(struct xd *d, unsigned ms);
/* SIGTERM, and it ends with status 0 (fails the test else). */
void xd_stop(struct xd *d);
bool xd_alive(const struct xd *d);

/* One line to the statistics socket, and the answer; NULL: none, or turned away. */
json_t *xd_ask(const struct xd *d, const char *line);
/* A number of the statistics by its path ("guest.running", "counters.rx_packets"). */
uint64_t xd_stat(const struct xd *d, const char *path);
/* Until it is `v`; fails the test if it does not come to that. */
void xd_wait_stat(const struct xd *d, const char *path, uint64_t v);

/* CPU time of all its threads, ns. */
uint64_t xd_cpu_ns(const struct xd *d);
unsigned xd_fds(const struct xd *d);

/* ---- a guest ---- */

#define XD_RAM   (2u << 20)
#define XD_RX_AT 0x40000u
#define XD_TX_AT 0x100000u
#define XD_BASE  0x7f0000000000ull      /* user addresses: guest address + this */

struct xd_guest {
	struct front f;
	struct drv drv;
	int kick[2], call[2];
	uint64_t got, sent;             /* frames; receive buffers are posted again */
};

/* Memory and rings; not connected. */
void xd_guest_init(struct xd_guest *g);
void xd_guest_fini(struct xd_guest *g);
/* Connects (or goes on with a socket, fd >= 0) and starts both rings, enabled. Fails the
 * test if it cannot. Rings go on where they were. */
void xd_guest_plug(struct xd_guest *g, const char *path, int fd);
/* The same; 0 or -errno of the first thing that failed. */
int  xd_guest_try(struct xd_guest *g, const char *path, int fd);
void xd_guest_unplug(struct xd_guest *g);
/* Posts n receive buffers. Best before it is plugged: a turn of the device looks for buffers before it
 * looks for packets, and a first packet that it finds with the first buffers has none. */
void xd_guest_feed(struct xd_guest *g, unsigned n);
/* Sends a frame of `bytes` and notifies, if a descriptor is free. */
bool xd_guest_send(struct xd_guest *g, uint32_t bytes);
/* Takes what has come and what was sent; counts it. */
void xd_guest_reap(struct xd_guest *g);
/* n frames to itself, one after the other; false if one does not come back. */
bool xd_guest_ping(struct xd_guest *g, unsigned n);

#endif
