/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Black-box tests of xsknetd: what comes over its socket, against the real program.
 *
 *	this process                                   xsknetd --port loopback:queues=2
 *	 case --- guest (RAM, rings) --- front end ====== socket
 *	   \------------- statistics ==================== ctl socket
 *	   \------------- /proc/PID: fds, mappings, memory
 *
 * What is expected is written from the specifications (QEMU docs/interop/vhost-user.rst,
 * VIRTIO 1.2), in four words:
 *
 *	DROP1    a chain comes back exactly once with length 0, under a counter's name, and the
 *	         queue lives
 *	BROKEN   this queue stops, its error eventfd and NEEDS_RESET say so, and a new set-up
 *	         makes it work again
 *	NACK     a message is answered with a failure or the session ends, what was set before
 *	         stays, nothing leaks
 *	SURVIVE  the daemon lives, answers, serves the next guest
 *
 * After each case main.c asks for SURVIVE and looks for leaked fds and mappings of guest
 * memory. So a case says only what is its own.
 */
#ifndef XN_TESTS_VHOST_RIG_H
#define XN_TESTS_VHOST_RIG_H

#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/front.h"

/* AddressSanitizer keeps what is freed, and looks for leaks at the end with system calls that
 * the sandbox kills for. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* What comes at all has come by then, on a slow machine that is busy with other things too. No time
 * that is measured here decides more than that: how fast something is, other programs tell. */
#define SOON_MS 20000u
#define LOST_MS 1000u           /* for what need not come */

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1ull << (n))
#define F_VQ_NOTF_COAL 52       /* Linux headers before 6.6 do not have it */

/* ---- cases (main.c) ---- */

typedef void (*case_fn)(const void *arg);

/* arg has to live on. id: of the class that the case stands for. */
void add_case(case_fn run, const void *arg, const char *id, const char *name, ...)
	__attribute__((format(printf, 4, 5)));

/* Each file's own. */
void add_front_cases(void);
void add_msg_cases(void);
void add_mem_cases(void);
void add_ring_cases(void);
void add_guest_cases(void);
void add_ctrl_cases(void);
void add_steer_cases(void);
void add_coal_cases(void);
void add_gro_cases(void);
void add_inflight_cases(void);
void add_fault_cases(void);
void add_wait_cases(void);
void add_mutate_cases(void);

/* Ends the case. Main thread only. */
void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void skip(const char *why) __attribute__((noreturn));
#define CHECK(cond, ...) do { if (!(cond)) fail(__VA_ARGS__); } while (0)

/* Closed when the case has ended. Returns fd; fails if it is none. */
int  own_fd(int fd);
/* Called, last one first, when the case has ended, however. */
void at_end(void (*undo)(void *arg), void *arg);

/* A process of its own that runs fn, which need not end: killed when the case has ended. */
pid_t spawn(case_fn fn, const void *arg);
/* Kills it before, and waits until it is gone; false if it had ended already. */
bool  spawn_kill(pid_t pid);

/* Rounds of cases that repeat something at random: those of make check, or -n. */
unsigned rounds(unsigned usual);
/* Pseudo random, seeded anew for each case (-s). */
uint64_t rnd(void);
uint32_t rnd_below(uint32_t n);

uint64_t now_ms(void);
void     nap_ms(unsigned ms);
/* Until cond is true, at most so long: "while (waiting(&w, 500) && !cond);" */
struct wait { uint64_t until; };
bool waiting(struct wait *w, unsigned ms);

/* One of the case's own, which ends with it (case_fault.c). */
struct daemon *own_daemon(const char *name, const char *port);

/* ---- the daemon (daemon.c) ---- */

struct daemon {
	pid_t pid;                      /* 0: has ended */
	int status;                     /* then, as waitpid has it */
	char sock[100], ctl[100], log[100];
};

/* The one that all cases share, with --port loopback and two queue pairs; its program. */
extern struct daemon the_daemon;
extern const char *daemon_program;

/* Starts one and waits until it listens. name: of its sockets. more: words for the
 * command line, ends with NULL; or NULL. False: it has ended. */
bool daemon_start(struct daemon *d, const char *name, const char *port, const char *const *more);
bool daemon_alive(struct daemon *d);
/* Runs the program with these words (up to NULL), which is expected to end by itself: its
 * exit status, -1 not within ten seconds, -2 a signal; and what it said. */
int  daemon_run(const char *const *words, char *said, size_t room);
/* Exit status after this signal; -1 not within wait_ms, -2 it died of a signal. */
int  daemon_end(struct daemon *d, int sig, unsigned wait_ms);
/* For at_end: SIGKILL if it lives. */
void daemon_undo(void *d);

struct footprint {
	unsigned fds, maps;
	unsigned memfd_maps;            /* of guest memory, inflight, log */
	uint64_t rss_kb, cpu_ms;
};
/* What it holds; all 0: it has ended. */
void daemon_footprint(const struct daemon *d, struct footprint *f);
/* Does it hold more than a, after n of something, and go on to? (Of memory: `kb` more.) b: what it
 * holds now. */
bool daemon_grew(const struct daemon *d, const struct footprint *a, struct footprint *b, unsigned kb);
/* Waits until its fds and memfd_maps are no more than those. */
bool daemon_settled(const struct daemon *d, const struct footprint *idle);
/* Waits until there are `ms` in which it takes at most so many of 1000 parts of a processor; false:
 * it takes more, again and again. */
bool daemon_quiet(const struct daemon *d, unsigned ms, unsigned permille);
/* A line of /proc/PID/status: "CapEff:\t...". */
bool daemon_status(const struct daemon *d, const char *field, char *value, size_t room);
/* Lines that it wrote to stderr so far. */
unsigned daemon_log_lines(const struct daemon *d);

/* Numbers of the statistics socket: path is "guest.broken", "counters.rx_packets.value".
 * Fails the case when it does not answer. */
uint64_t daemon_number(const struct daemon *d, const char *path);
uint64_t counter(const struct daemon *d, const char *name);
/* The same, false if it does not answer or there is no such number. */
bool daemon_try_number(const struct daemon *d, const char *path, uint64_t *v);
/* Waits until the counter is at least v. */
bool counter_reaches(const struct daemon *d, const char *name, uint64_t v);
/* fd of a connection to the statistics socket. */
int  daemon_ctl_connect(const struct daemon *d);

struct guest;

/* ---- attacks (case_mutate.c) ---- */

/* Rewrites rings, descriptors and headers of the guest, at full speed, until the case
 * has ended; and one turn of what its front end does meanwhile: kicks, sets up again what
 * broke. The number of set-ups so far is returned. */
void     mutate_start(struct guest *g, uint64_t seed);
unsigned mutate_turn(struct guest *g);

/* ---- a file system that does not answer (mute.c) ---- */

/* fd of a file of it; closed when the case has ended, and with it the server: whoever waited
 * is answered then (with an error). Skips the case if it cannot be had. */
int mute_file(void);

/* ---- a guest behind a front end (guest.c) ---- */

#define GUEST_GPA      0x100000ull
#define GUEST_USER     0x7f1200000000ull
#define BUF_BYTES      2048u
#define HDR            12u
#define MAX_RINGS      5u           /* two pairs and a control queue */
#define RX             0u
#define TX             1u

struct ring {
	unsigned index;
	uint32_t size;
	bool packed;                    /* then only ring_post, ring_used and ring_wait know it */
	uint64_t desc_gpa, avail_gpa, used_gpa;
	struct vring_desc *desc;
	uint16_t *avail;                /* flags, idx, heads, used_event */
	uint16_t *used;                 /* flags, idx, pairs of u32, avail_event */
	uint16_t avail_next, seen;      /* free running; packed: positions, wrap counter in bit 15 */
	int kick, call, err;
	uint16_t *free, *next;          /* descriptors; what follows in a chain of ours */
	uint32_t n_free;
	uint8_t *out;                   /* of a head: how often it was made available */
	uint16_t *slots;                /* packed: of a head's chain */
	uint32_t pending;               /* all of these together */
	unsigned twice;                 /* used although it was not available */
};

/* How far guest_open goes. */
enum stage { ENABLED, STARTED, MEMORY, NEGOTIATED, CONNECTED };

struct guest_cfg {
	const struct daemon *daemon;    /* NULL: the_daemon */
	enum stage stage;
	uint64_t features;              /* beside VERSION_1; those not offered are left out */
	uint64_t without_protocol;      /* protocol features not to use */
	bool no_reply_ack;
	uint32_t size;                  /* of rings, default 256 */
	uint16_t base;
	unsigned pairs;                 /* default 1 */
	bool ctrl;                      /* with a control queue: CTRL_VQ is accepted */
	bool inflight;                  /* GET_INFLIGHT_FD and SET_INFLIGHT_FD */
	bool polled;                    /* no kick fds */
	uint64_t more_ram;              /* bytes behind what the guest needs */
	unsigned n_regions;             /* default: one. Else offsets and sizes of these, which
					   cover RAM; gpa and user_addr as given */
	struct front_region regions[4];
};

struct guest {
	struct guest_cfg cfg;
	struct front front;
	int fd;
	uint8_t *ram;
	uint64_t bytes;
	struct front_region regions[XN_VU_MAX_REGIONS];
	unsigned n_regions;
	struct ring ring[MAX_RINGS];
	unsigned n_rings;
	uint64_t rx_at, tx_at, free_at; /* gpa: buffers of the loop; what is the case's own */
	uint32_t buf_bytes;             /* of a receive buffer that guest_loop posts */
	uint32_t wait_ms;               /* a frame that is longer under way is lost: SOON_MS */
	uint32_t sent, received;        /* by guest_loop: sequence numbers */
	int inflight_fd;
	struct xn_vu_inflight inflight;
	bool ahead;                     /* its one frame may have come before the first buffers */
	uint64_t lost;                  /* then: frames that found none, so far */
	char why[200];                  /* guest_loop failed */
};

/* Fails the case if a step is refused; closed when the case has ended. */
struct guest *guest_open(const struct guest_cfg *cfg);
/* The steps by themselves; 0 or what front.h says. */
int  guest_set_mem(struct guest *g);
int  guest_start_ring(struct guest *g, unsigned i);
int  guest_start_rings(struct guest *g);
int  guest_enable(struct guest *g);
/* GET_VRING_BASE of all, then as new: rings empty, started and enabled. */
int  guest_restart_rings(struct guest *g);
/* Forgets what is on a ring, and zeroes it. */
void guest_reset_ring(struct guest *g, unsigned i);
/* Connection only; RAM and rings stay as they are. */
void guest_hang_up(struct guest *g);
int  guest_connect_again(struct guest *g);   /* negotiates, memory, inflight */
void guest_close(struct guest *g);
/* Where this process sees it; fails if it is in no region. */
void *guest_at(const struct guest *g, uint64_t gpa);
struct front_ring guest_front_ring(const struct guest *g, unsigned i);
uint64_t user_of(const struct guest *g, uint64_t gpa);

/*
 * n frames through the loopback port and back on pair 0: each has to come, whole, in
 * order, once, with a header that asks for nothing. NULL: all well; else g->why. (Where they need
 * not come, a case sets wait_ms to less.)
 */
const char *guest_loop(struct guest *g, unsigned n);
/* Fails the case if not. */
void check_loop(struct guest *g, unsigned n);

struct seg { uint64_t at; uint32_t len; };
void ring_desc(struct ring *r, uint16_t i, uint64_t addr, uint32_t len, unsigned flags, uint16_t next);
uint16_t ring_take(struct ring *r);          /* a free descriptor */
void ring_offer(struct ring *r, uint16_t head);   /* makes it available; no kick */
uint16_t ring_post(struct ring *r, const struct seg *s, unsigned n, unsigned flags);
void ring_kick(struct ring *r);
bool ring_used(struct ring *r, uint32_t *head, uint32_t *len);
bool ring_wait(struct ring *r, uint32_t *head, uint32_t *len, unsigned ms);
uint16_t ring_used_idx(const struct ring *r);
/* Has the eventfd been signalled? Takes what it says. */
uint64_t event_taken(int fd);

/* Writes a frame of the loop; and is it that? */
void frame_write(uint8_t *p, uint32_t len, uint32_t seq);
bool frame_good(const uint8_t *p, uint32_t len, uint32_t seq);

enum answer { ACCEPTED, REFUSED, CLOSED, SILENT };
/* Any message; with NEED_REPLY in flags (or a request that has a reply) waits for the
 * answer. size: what the header says. */
enum answer ask_raw(struct guest *g, uint32_t request, uint32_t flags, uint32_t size,
		    const void *payload, size_t bytes, const int *fds, unsigned n_fds);
/* In proper form, with NEED_REPLY. */
enum answer ask(struct guest *g, uint32_t request, const void *payload, size_t bytes,
		const int *fds, unsigned n_fds);
const char *answer_name(enum answer a);
/* NACK: refused or closed; and if not closed, all goes on as before. */
void check_nack(struct guest *g, enum answer a);
void check_accepted(enum answer a);
/* The session is in step (a question gets its answer), or closed. */
void check_in_step(struct guest *g);

#endif
