/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsknet-bench: what its parts tell each other.
 *
 *	opts.c   words of the command line     --> struct xn_opts
 *	paths.c  the ways to drive packets     --> struct xn_path (path.h)
 *	run.c    rounds, interleaved           --> struct xn_sample, one a round
 *	summary.c medians over rounds          --> struct xn_summary
 *	report.c json.c chart.c                    table, JSON, picture
 *
 * A cell is one direction at one size, pace and number of queues; in it each path has one sample a round. A
 * figure that was not or cannot be measured is NAN, and null in JSON.
 */
#ifndef XN_BENCH_BENCH_H
#define XN_BENCH_BENCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "xsknet.h"

#define XN_EXIT_BAD_FRAMES  1     /* corrupt frames were seen */
#define XN_EXIT_ENVIRONMENT 1
#define XN_EXIT_USAGE       2
#define XN_EXIT_INTERRUPTED 130

enum xn_dir { XN_DIR_RX, XN_DIR_TX, XN_DIR_FWD, XN_DIR_RTT, XN_DIR_COUNT };
/* The engine in this process, lending (in the driver's zero-copy mode, if it has one; in copy
 * mode) or bouncing, or lending with packed rings where others are split; in xsknetd, by how that polls; any other
 * back end; and the plain loop. */
enum xn_kind {
	XN_KIND_ZERO_COPY, XN_KIND_COPY, XN_KIND_BOUNCE, XN_KIND_PACKED,
	XN_KIND_XSKNETD, XN_KIND_XSKNETD_BUSY, XN_KIND_XSKNETD_SLEEP, XN_KIND_BACKEND,
	XN_KIND_RAW, XN_KIND_COUNT,
};

extern const char *const xn_dir_names[XN_DIR_COUNT];    /* "rx" */
extern const char *const xn_dir_words[XN_DIR_COUNT];    /* "receive" */
extern const char *const xn_kind_names[XN_KIND_COUNT];  /* "zero-copy" */
extern const char *const xn_guest_on_names[3];          /* "auto" */

#define XN_SIZES_MAX   16u
#define XN_ETH_BYTES   14u      /* in front of what an MTU counts */
#define XN_MTU_DEFAULT 1500u
#define XN_MTU_MAX     65535u
#define XN_ROUNDS_MAX  1000u
#define XN_QUEUES_MAX  16u
#define XN_PACES_MAX   16u
#define XN_COUNTS_MAX  8u
#define XN_REASONS_MAX 16u
#define XN_BUF_MIN     1526u    /* of a receive buffer: header, and the longest frame */
#define XN_BUF_MAX     32768u
#define XN_PIECE_LINUX 32768u   /* what a Linux guest's TCP cuts its data from (net/core/sock.c, SKB_FRAG_PAGE_ORDER) */
#define XN_PIECE_MIN   4096u    /* 64 KiB in as many pieces as Linux has: 17 */
#define XN_PIECE_MAX   65536u

/* --dir tcp-tx and tcp-rx: bench/tcp_bench.c. */
enum xn_tcp_dir { XN_TCP_TX, XN_TCP_RX, XN_TCP_DIRS };

/* What packets ask for: bench/offload.c. */
enum xn_ask { XN_ASK_CSUM, XN_ASK_TSO, XN_ASK_USO, XN_ASK_COUNT };
extern const char *const xn_ask_names[XN_ASK_COUNT];    /* "csum" */

/* Which processor the guest of another process's device runs on. */
enum xn_guest_on { XN_GUEST_AUTO, XN_GUEST_NEAR, XN_GUEST_FAR };

struct xn_opts {
	bool dir[XN_DIR_COUNT];
	bool kind[XN_KIND_COUNT];
	bool rtt_only[XN_KIND_COUNT];   /* of these */
	uint32_t size[XN_SIZES_MAX];    /* bytes of a frame, without FCS */
	unsigned n_sizes;
	double secs;                    /* of one round of one path */
	unsigned rounds;
	uint64_t pace_pps[XN_PACES_MAX];   /* 0: as fast as it goes */
	unsigned n_paces;
	unsigned queues;                /* the most of ... */
	unsigned count[XN_COUNTS_MAX];  /* queue pairs, measured in turns */
	unsigned n_counts;
	bool bound;                     /* generators are, to queues (bench/sender.h): there are
					 * more than processors */
	bool missteer;                  /* frames arrive on other queues than RSS names */
	const char *ifname;             /* NULL: laboratories of our own */
	const char *backend;            /* command of the path "backend"; NULL: none */
	const char *socket;             /* or: where one listens */
	const char *peer, *peer_ns;     /* the wire's far end, and its namespace; NULL: this one */
	bool packed;                    /* rings of all guests */
	bool sleeps;                    /* near ends in this process, when there is nothing to do */
	uint32_t buf_bytes;             /* of the guest's receive buffers; 0: as the MTU wants */
	const char *xsknetd;            /* the program; NULL: not there, or not wanted */
	bool missed_xsknetd;            /* not there, though wanted */
	enum xn_guest_on guest_on;
	double idle_secs;               /* how long an idle path is looked at */
	enum xn_huge huge;
	const char *json, *svg;         /* NULL: none; "-": stdout */
	bool footprint;
	unsigned mtu;                   /* of both ends */
	bool tcp[XN_TCP_DIRS];
	uint32_t piece_bytes;           /* of large packets that guests send; 0: all in one */
	bool large;                     /* measures large packets besides (bench/large.c) */
	bool ask[XN_ASK_COUNT];         /* what the guest's packets ask for; none: not measured */
};

/* 0: go on; else what main returns + 1 (help and version end with 1: status 0).
 * Says what is wrong on stderr. */
int xn_opts_parse(struct xn_opts *o, int argc, char **argv);

/* One path in one round. */
struct xn_sample {
	double pps;              /* good frames at the receiving end a second; rtt: round trips */
	double offered_pps;
	double cpu_ns, engine_ns;        /* a packet */
	double napi_ns;                  /* of cpu_ns: the driver's, in threads of the kernel */
	double copies, zero_copy_share;
	double missteered;               /* share of the frames received */
	double backend_ns, backend_cpu;  /* another process's: a packet, share of a processor */
	double frames_per_turn, sleeps_per_frame;   /* xsknetd's workers */
	double sleep_p50_us, sleep_p99_us, spin_p50_us, spin_p99_us;   /* rtt */
	double quiet_p50_us, quiet_p99_us;   /* rtt: each after 500 us without a frame */
	double idle_cpu;                 /* rtt: share of a processor used while nothing arrives */
	double offered, lost, corrupt, reordered, duplicate;   /* frames */
};

/* Why buffers and packets were copied or dropped: counters of the engine, summed over rounds. */
struct xn_reasons {
	struct { char name[32]; double count; } of[XN_REASONS_MAX];
	unsigned n;
};

struct xn_cell {
	enum xn_dir dir;
	uint32_t bytes;          /* 0: any (rx of what arrives on --ifname) */
	uint64_t pace_pps;       /* 0: none */
	unsigned queues;
	const struct xn_cell *first;   /* the same with as many queues as are compared with */
	unsigned rounds;         /* complete ones */
	struct xn_sample *s[XN_KIND_COUNT];   /* NULL: path not measured */
	struct xn_reasons why[XN_KIND_COUNT];
};

/* What the paths found out about the machine. */
struct xn_place {
	char ifname[32];
	char attach[16];                 /* of the zero-copy path if there is one */
	char mode[XN_KIND_COUNT][16];    /* as the kernel tells it; "": not told */
	bool huge;
	int gen_cpu, near_cpu;           /* of queue 0 */
};

/* Figures of a TCP connection, medians over rounds; NAN where they make no sense. */
enum xn_tcp_figure {
	XN_TCP_GBPS,           /* of payload */
	XN_TCP_SEGS,           /* segments a second; raw: frames */
	XN_TCP_RATIO,          /* of raw's frames in the same round */
	XN_TCP_ENGINE_NS, XN_TCP_CPU_NS,   /* a segment: without sendto(), and with it */
	XN_TCP_CHAINS,         /* packets of the guest for 64 KiB of payload */
	XN_TCP_LENT, XN_TCP_CHAINED, XN_TCP_MIXED, XN_TCP_GATHERED,   /* shares of these */
	XN_TCP_AGAIN,          /* bytes sent again, of those that arrived */
	XN_TCP_MERGED,         /* rx: segments in a frame that the guest got */
	XN_TCP_FIGURES
};
struct xn_tcp_line {
	const char *dir, *way;
	unsigned mtu, rounds;
	uint64_t bad;          /* bytes that arrived wrong */
	double v[XN_TCP_FIGURES];
};
#define XN_TCP_LINES_MAX 16u

/* --offload: one kind of packets; medians over rounds, shares over all. */
struct xn_ask_line {
	const char *name;
	double fps, ratio;           /* frames on the wire; of raw's in the same round */
	double ns, engine_ns;        /* a frame: all that the near end does, without sendto() */
	double lent, chained, mixed, gathered;
	double chains;               /* packets of the guest for a frame */
};
#define XN_ASK_LINES_MAX 8u

struct xn_bench {
	struct xn_opts opts;
	struct xn_place place;
	struct xn_cell *cells;
	unsigned n_cells;
	struct xn_tcp_line tcp[XN_TCP_LINES_MAX];
	unsigned n_tcp;
	struct xn_ask_line ask[XN_ASK_LINES_MAX];
	unsigned n_ask;
	struct xn_bench *large;  /* NULL: not measured */
	double seconds;          /* the whole run took */
	bool partial;
};

/* Set by SIGINT and SIGTERM: everybody comes to an end soon. */
extern volatile sig_atomic_t xn_stop;

/* Everything asked for. 0 or -errno (xn_last_error); with xn_stop set, 0 and what
 * there is. */
int  xn_bench_run(struct xn_bench *b);
void xn_bench_free(struct xn_bench *b);

/* ---- summary.c ---- */

struct xn_summary {
	const struct xn_cell *cell;
	enum xn_kind kind;
	double pps, pps_min, pps_max, gbps, offered_pps, raw_ratio;
	double ratio_min, ratio_max;
	double process_ratio;    /* against the engine in this process, zero-copy, split rings */
	double lost, lost_share, corrupt, reordered, duplicate;   /* sums */
	double scale;            /* against the first number of queues */
	double missteered;
	double copies, zero_copy_share, engine_ns, cpu_ns, napi_ns, backend_ns, backend_cpu;
	double frames_per_turn, sleeps_per_frame;
	double sleep_p50_us, sleep_p99_us, spin_p50_us, spin_p99_us, idle_cpu;
	double quiet_p50_us, quiet_p99_us;
};
/* False: this path has no complete round in this cell. */
bool xn_summarize(const struct xn_cell *c, enum xn_kind kind, struct xn_summary *out);
/* "64" or "any"; returns word. */
const char *xn_size_word(const struct xn_cell *c, char word[8]);
/* Its figures are compared with those of the path zero-copy. */
static inline bool xn_kind_compared(enum xn_kind k)
{
	return k >= XN_KIND_PACKED && k <= XN_KIND_BACKEND;
}
/* Another process works on it. */
static inline bool xn_kind_external(enum xn_kind k)
{
	return k >= XN_KIND_XSKNETD && k <= XN_KIND_BACKEND;
}
/* Adds to the reason of that name; what finds no room is left out. */
void xn_reasons_add(struct xn_reasons *r, const char *name, double count);
double xn_reasons_count(const struct xn_reasons *r, const char *name);
/* Median of n values without the NANs; sorts v. NAN if there is none. */
double xn_median(double *v, unsigned n);

/* ---- report.c, json.c, chart.c, footprint.c ---- */

struct xn_machine {
	char kernel[160], arch[80], cpu[128], date[32];
	unsigned cpus;
};
void xn_machine_get(struct xn_machine *m);

/* Whose figures they are: the first lines of each report. */
void xn_report_machine(FILE *out);
void xn_report_table(const struct xn_bench *b, FILE *out);
void xn_report_large(const struct xn_bench *large, FILE *out);
void xn_report_tcp(const struct xn_bench *b, FILE *out);
/* 0 or -errno. */
int  xn_report_json(const struct xn_bench *b, const char *file);
int  xn_report_svg(const struct xn_bench *b, const char *file);
int  xn_footprint(const struct xn_opts *o);
/* Fills b->ask with what b->opts.ask asks for. 0 or -errno. */
int  xn_offload_bench(struct xn_bench *b);
void xn_report_offload(const struct xn_bench *b, FILE *out);
/* Adds to b->tcp what b->opts.tcp asks for. 0 or -errno. */
int  xn_tcp_bench(struct xn_bench *b);
/* A short run of large packets, in b->large, and of TCP, if b->opts.large. 0 or -errno. */
int  xn_large_bench(struct xn_bench *b);

#endif
