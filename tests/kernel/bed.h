/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A test bed for kernel facts: an AF_XDP socket on the near end of a veth pair, on
 * memory that the test knows byte by byte, and a packet socket at the far end.
 *
 *	b.ram   1 MiB, filled with a pattern; b.want: what it has to be now
 *	b.x     socket on queue 0 of xn0, in copy mode; fed by the steering program
 *	b.far   packet socket on xn1: sends and sees frames of type 0x88b5
 *
 * The calling thread is in the near namespace from bed_open to bed_close. All that
 * the bed makes goes with the process at the latest. Failures end the test (cmocka).
 */
#ifndef XN_TESTS_KERNEL_BED_H
#define XN_TESTS_KERNEL_BED_H

#include "bench/lab.h"
#include "bpf/steer.h"
#include "xsk/xsk.h"

#define BED_RAM   (1u << 20)
#define BED_FILL  64u
#define BED_RX    128u
#define BED_TX    256u
#define BED_COMP  512u
#define BED_FRAME 1518u    /* frame_bytes where a test does not ask for others */
#define BED_WAIT_MS 20000  /* for what has to come, on a slow machine that is busy, too */
#define BED_NONE_MS 50     /* for what must not come */

struct bed {
	struct xn_lab lab;
	uint8_t *ram, *want;
	struct xn_mem mem;
	struct xn_xsk x;
	struct xn_steer *steer;
	int far;
};

/* Lab of `queues`, memory, packet socket; no AF_XDP socket and no program yet. */
void bed_open(struct bed *b, unsigned queues);
void bed_open_mtu(struct bed *b, unsigned queues, unsigned mtu);
/* Accepts what bed_open could not finish. */
void bed_close(struct bed *b);

/* What to give to xn_xsk_open for the near end; may be changed before. */
struct xn_xsk_cfg bed_cfg(const struct bed *b);
/* Opens b->x with this (NULL: bed_cfg), attaches the program, steers queue 0. */
void bed_socket(struct bed *b, const struct xn_xsk_cfg *cfg);

/* ---- rings ---- */
void bed_fill(struct xn_xsk *x, const uint64_t *addr, unsigned n);
/* Next descriptor of the RX ring within BED_WAIT_MS, or the test fails. */
struct xdp_desc bed_rx(struct xn_xsk *x);
bool bed_rx_none(struct xn_xsk *x, unsigned ms);
/* Waits until the kernel has found the RX ring full so often. */
void bed_wait_full(struct xn_xsk *x, unsigned frames);
void bed_tx(struct xn_xsk *x, const struct xdp_desc *d, unsigned n);
/* Calls send until it does not say EAGAIN (a second at most); its last answer. */
int bed_send(struct xn_xsk *x, unsigned *calls);
/* Completions that are there within BED_WAIT_MS, at least `least`. */
unsigned bed_comp(struct xn_xsk *x, uint64_t *addr, unsigned max, unsigned least);

/* ---- frames ---- */
/* A frame from far to near whose bytes depend on seed and place. */
void bed_frame(const struct bed *b, uint8_t *f, uint32_t bytes, uint32_t seed);
void bed_far_send(const struct bed *b, const uint8_t *f, uint32_t bytes);
/* Next frame at the far end; its length, 0 after `ms`. */
uint32_t bed_far_recv(const struct bed *b, uint8_t *f, uint32_t max, unsigned ms);

/* ---- memory ---- */
/* These bytes are meant to have been written. */
void bed_wrote(struct bed *b, uint64_t at, const void *bytes, uint32_t n);
/* The test writes itself. */
void bed_put(struct bed *b, uint64_t at, const void *bytes, uint32_t n);
/* Fails unless ram is what it has to be, to the last byte. */
void bed_check(const struct bed *b);

/* ---- the steering program alone: sockets are bound nowhere, frames are run through it ---- */

struct bed_prog {
	struct xn_lab lab;
	struct xn_steer *steer;
	int prog;              /* fd of the steering program */
	int xsk;               /* a socket that maps take */
	void *umem;
};

/* Lab of `queues` and a socket; no program yet. As bed_open and bed_close. */
void bed_prog_open(struct bed_prog *b, unsigned queues);
void bed_prog_close(struct bed_prog *b);
/* b->steer with this, and b->prog. */
void bed_prog_attach(struct bed_prog *b, const struct xn_steer_cfg *cfg);
/* An fd of the program that is attached to an interface. */
int bed_program_of(unsigned ifindex);
/* Runs a frame through `prog` as if it came on this queue of the near end, `repeat` times; the
 * program's answer, and how long once takes (NULL: no matter). */
uint32_t bed_run(const struct bed_prog *b, int prog, const uint8_t *frame, unsigned bytes,
		 unsigned queue, unsigned repeat, uint32_t *ns);
/* Fails with the last message of the library, unless err is 0. */
void bed_must(int err, const char *what);

/* ---- processes ---- */
/* Runs fn in a child, without these capabilities; what it returned (0..99), or -1
 * if it did not end by itself within 10 s. */
int bed_child(int (*fn)(void *arg), void *arg, uint64_t drop_caps);

#endif
