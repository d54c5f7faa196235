/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: words to struct xn_opts, and one clear line where they make no
 * sense. */
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "base/types.h"
#include "bench/bench.h"
#include "bench/frame.h"

const char *const xn_dir_names[XN_DIR_COUNT] = { "rx", "tx", "fwd", "rtt" };
const char *const xn_dir_words[XN_DIR_COUNT] = { "receive", "transmit", "forward", "round trip" };
const char *const xn_kind_names[XN_KIND_COUNT] = {
	"zero-copy", "copy", "bounce", "packed", "xsknetd", "xsknetd-busy", "xsknetd-sleep", "backend", "raw",
};

const char *const xn_guest_on_names[] = {
	[XN_GUEST_AUTO] = "auto", [XN_GUEST_NEAR] = "near", [XN_GUEST_FAR] = "far",
};

/* Words of --path and --poll. */
enum { P_ZERO_COPY, P_COPY, P_BOUNCE, P_XSKNETD, P_BACKEND, P_RAW, P_COUNT };
static const char *const path_words[P_COUNT] = {
	"zero-copy", "copy", "bounce", "xsknetd", "backend", "raw",
};
enum { R_SPLIT, R_PACKED, R_COUNT };
static const char *const ring_words[R_COUNT] = { "split", "packed" };
enum { POLL_COUNT = 3 };
static const char *const poll_words[POLL_COUNT] = { "adaptive", "busy", "sleep" };

/* Of --dir: those of enum xn_dir, and of enum xn_tcp_dir. */
enum { D_COUNT = XN_DIR_COUNT + XN_TCP_DIRS };
static const char *const dir_words[D_COUNT] = { "rx", "tx", "fwd", "rtt", "tcp-tx", "tcp-rx" };

const char *const xn_ask_names[XN_ASK_COUNT] = { "csum", "tso", "uso" };

static const char usage_text[] =
"usage: xsknet-bench [options]\n"
"\n"
"Measures packets in and out of guest memory over a veth pair: zero-copy, forced\n"
"bounce, through xsknetd, and the raw AF_XDP loop without virtio, in turns. Needs\n"
"root.\n"
"\n"
"  --dir rx|tx|fwd|rtt|tcp-tx|tcp-rx|all   what to measure: receive, transmit, forward,\n"
"                             round trip (default these; a list is fine: rx,tx); a TCP\n"
"                             connection between a guest and this kernel\n"
"  --size LIST                frame lengths in bytes (default 64,512,1514; with a longer\n"
"                             MTU 1514,9014,64000, as far as they fit)\n"
"  --mtu N                    of both ends, 1500 to 65535 (default 1500)\n"
"  --piece BYTES|one          pieces in which guests send large packets (default 32768)\n"
"  --path zero-copy|copy|bounce|xsknetd|backend|raw|all   which paths (default all that\n"
"                             differ)\n"
"  --poll adaptive|busy|sleep|all    how xsknetd polls (default adaptive; round trips\n"
"                             all)\n"
"  --ring split|packed|all    the guest's rings (default split); with both, a path of its\n"
"                             own for packed ones, zero-copy too\n"
"  --backend COMMAND          path \"backend\": any vhost-user back end; {socket}, {if}\n"
"                             and {cpus} in it are replaced\n"
"  --ifname IF [--peer FAR]   use this interface instead of a veth pair; FAR is the other\n"
"                             end of its wire: IF, or IF@NETNS (a name or a file). Without\n"
"                             it only tx and rx, without judging what nobody answers for\n"
"  --socket PATH --peer FAR   only that path, through a back end that listens at PATH\n"
"                             already, and whose wire's far end is FAR\n"
"  --guest-cpu near|far|auto  where the guest of another process runs (default auto)\n"
"  --secs S                   seconds for one path in one round (default 0.2)\n"
"  --rounds N                 rounds; medians are over rounds (default 7)\n"
"  --pps LIST                 frames a second to offer (default: all that go)\n"
"  --idle S                   seconds for which an idle path is looked at (default 0.1)\n"
"  --queues LIST              queue pairs, a thread each (default 1); with several numbers\n"
"                             all are measured in turns, and compared with the first\n"
"  --missteer                 receive: frames arrive on other queues than RSS names\n"
"  --wait spin|sleep          what a near end in this process does when there is nothing\n"
"                             to do (default spin; not for round trips)\n"
"  --buf BYTES                length of the guest's receive buffers (default: 1536, or as\n"
"                             the MTU wants)\n"
"  --hugepages yes|no|auto    2 MiB pages for the guest's RAM (default auto)\n"
"  --json FILE|-              results as JSON; - : on stdout, the table on stderr\n"
"  --svg FILE                 results as a bar chart (needs gnuplot)\n"
"  --offload csum,tso,uso     transmit only: packets that ask for checksums and segments\n"
"  --footprint                print what registering 1 and 4 GiB guests costs\n"
"  --help, --version\n"
"\n"
"The manual page xsknet-bench(1) says how each figure is measured.\n";

enum {
	O_DIR = 256, O_SIZE, O_PATH, O_SECS, O_ROUNDS, O_PACE, O_QUEUES, O_IFNAME, O_HUGE,
	O_JSON, O_SVG, O_FOOTPRINT, O_HELP, O_VERSION, O_POLL, O_BACKEND, O_SOCKET, O_PEER,
	O_GUEST_CPU, O_IDLE, O_BUF, O_WAIT, O_MISSTEER, O_RING,
	O_OFFLOAD, O_MTU, O_PIECE,
};

static const struct option long_opts[] = {
	{ "dir", required_argument, NULL, O_DIR },
	{ "size", required_argument, NULL, O_SIZE },
	{ "mtu", required_argument, NULL, O_MTU },
	{ "piece", required_argument, NULL, O_PIECE },
	{ "path", required_argument, NULL, O_PATH },
	{ "secs", required_argument, NULL, O_SECS },
	{ "rounds", required_argument, NULL, O_ROUNDS },
	{ "pps", required_argument, NULL, O_PACE },
	{ "pace", required_argument, NULL, O_PACE },     /* its older name */
	{ "poll", required_argument, NULL, O_POLL },
	{ "ring", required_argument, NULL, O_RING },
	{ "backend", required_argument, NULL, O_BACKEND },
	{ "socket", required_argument, NULL, O_SOCKET },
	{ "peer", required_argument, NULL, O_PEER },
	{ "guest-cpu", required_argument, NULL, O_GUEST_CPU },
	{ "idle", required_argument, NULL, O_IDLE },
	{ "buf", required_argument, NULL, O_BUF },
	{ "wait", required_argument, NULL, O_WAIT },
	{ "queues", required_argument, NULL, O_QUEUES },
	{ "missteer", no_argument, NULL, O_MISSTEER },
	{ "ifname", required_argument, NULL, O_IFNAME },
	{ "hugepages", required_argument, NULL, O_HUGE },
	{ "json", required_argument, NULL, O_JSON },
	{ "svg", required_argument, NULL, O_SVG },
	{ "offload", required_argument, NULL, O_OFFLOAD },
	{ "footprint", no_argument, NULL, O_FOOTPRINT },
	{ "help", no_argument, NULL, O_HELP },
	{ "version", no_argument, NULL, O_VERSION },
	{ NULL, 0, NULL, 0 },
};

__attribute__((format(printf, 1, 2)))
static bool bad(const char *fmt, ...)
{
	va_list ap;

	fputs("xsknet-bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (see --help)\n", stderr);
	return false;
}

/* One word of `names`, or "all", or several with commas; `on` has n entries. */
static bool take_words(const char *opt, const char *arg, const char *const *names, bool *on,
		       unsigned n)
{
	const char *at = arg;

	memset(on, 0, n * sizeof(*on));
	for (;;) {
		size_t len = strcspn(at, ",");
		bool known = len == 3 && !strncmp(at, "all", 3);

		for (unsigned i = 0; i < n && known; i++)
			on[i] = true;
		for (unsigned i = 0; i < n && !known; i++)
			if (strlen(names[i]) == len && !strncmp(at, names[i], len))
				known = on[i] = true;
		if (!known)
			return bad("--%s %s: '%.*s' is not known", opt, arg, (int)len, at);
		if (!at[len])
			return true;
		at += len + 1;
	}
}

static bool take_number(const char *opt, const char *arg, uint64_t min, uint64_t max, uint64_t *v)
{
	if (!xn_number(arg, 10, min, max, v))
		return bad("--%s %s: must be a whole number from %llu to %llu", opt, arg,
			   (unsigned long long)min, (unsigned long long)max);
	return true;
}

/* Numbers with commas; *n of them. */
static bool take_numbers(const char *opt, const char *arg, uint64_t min, uint64_t max,
			 uint64_t *v, unsigned room, unsigned *n)
{
	const char *at = arg;

	for (*n = 0;;) {
		char word[24] = "";
		size_t len = strcspn(at, ",");

		if (len >= sizeof(word))
			return bad("--%s %s: not a list of numbers", opt, arg);
		if (*n == room)
			return bad("--%s %s: at most %u numbers", opt, arg, room);
		memcpy(word, at, len);
		if (!take_number(opt, word, min, max, &v[*n]))
			return false;
		++*n;
		if (!at[len])
			return true;
		at += len + 1;
	}
}

static bool take_sizes(struct xn_opts *o, const char *arg)
{
	uint64_t v[XN_SIZES_MAX];

	if (!take_numbers("size", arg, XN_FRAME_MIN, XN_MTU_MAX + XN_ETH_BYTES, v, XN_SIZES_MAX,
			  &o->n_sizes))
		return false;
	for (unsigned i = 0; i < o->n_sizes; i++)
		o->size[i] = (uint32_t)v[i];
	return true;
}

/* Different ones: a path is known by how many it has. */
static bool take_queues(struct xn_opts *o, const char *arg)
{
	uint64_t v[XN_COUNTS_MAX];

	if (!take_numbers("queues", arg, 1, XN_QUEUES_MAX, v, XN_COUNTS_MAX, &o->n_counts))
		return false;
	o->queues = 0;
	for (unsigned i = 0; i < o->n_counts; i++) {
		for (unsigned k = 0; k < i; k++)
			if (v[k] == v[i])
				return bad("--queues %s: twice the same", arg);
		o->count[i] = (unsigned)v[i];
		o->queues = XN_MAX(o->queues, o->count[i]);
	}
	return true;
}

static bool take_secs(const char *opt, const char *arg, double *secs)
{
	char *end;

	*secs = strtod(arg, &end);
	if (end == arg || *end || !isfinite(*secs) || *secs < 0.01 || *secs > 3600)
		return bad("--%s %s: must be a number from 0.01 to 3600", opt, arg);
	return true;
}

static bool take_huge(struct xn_opts *o, const char *arg)
{
	if (!strcmp(arg, "yes"))
		o->huge = XN_HUGE_YES;
	else if (!strcmp(arg, "no"))
		o->huge = XN_HUGE_NO;
	else if (!strcmp(arg, "auto"))
		o->huge = XN_HUGE_AUTO;
	else
		return bad("--hugepages %s: must be yes, no or auto", arg);
	return true;
}

static bool take_ifname(const char *opt, const char *arg, const char **ifname)
{
	if (!arg[0] || strlen(arg) >= IFNAMSIZ || strchr(arg, ','))
		return bad("--%s %s: not the name of an interface", opt, arg);
	*ifname = arg;
	return true;
}

/* "eth1", "eth1@blue", "eth1@/run/peer": arg is cut in two. */
static bool take_peer(struct xn_opts *o, char *arg)
{
	char *at = strchr(arg, '@');

	if (at)
		*at++ = 0;
	o->peer_ns = at;
	if (at && !*at)
		return bad("--peer %s@: in which network namespace?", arg);
	return take_ifname("peer", arg, &o->peer);
}

static bool take_wait(struct xn_opts *o, const char *arg)
{
	o->sleeps = !strcmp(arg, "sleep");
	return o->sleeps || !strcmp(arg, "spin") || bad("--wait %s: must be spin or sleep", arg);
}

static bool take_guest_cpu(struct xn_opts *o, const char *arg)
{
	for (unsigned i = 0; i < XN_ARRAY_SIZE(xn_guest_on_names); i++)
		if (!strcmp(arg, xn_guest_on_names[i])) {
			o->guest_on = i;
			return true;
		}
	return bad("--guest-cpu %s: must be near, far or auto", arg);
}

static bool take_dirs(struct xn_opts *o, const char *arg)
{
	bool on[D_COUNT];

	if (!take_words("dir", arg, dir_words, on, D_COUNT))
		return false;
	memcpy(o->dir, on, sizeof(o->dir));
	memcpy(o->tcp, on + XN_DIR_COUNT, sizeof(o->tcp));
	return true;
}

static bool take_piece(struct xn_opts *o, const char *arg)
{
	uint64_t v = 0;

	if (strcmp(arg, "one") != 0 && !take_number("piece", arg, XN_PIECE_MIN, XN_PIECE_MAX, &v))
		return false;
	o->piece_bytes = (uint32_t)v;
	return true;
}

/* Everything as it was said; settle() makes sense of it. */
struct said {
	bool dir, size, mtu, path, poll;
	bool paths[P_COUNT], polls[POLL_COUNT], rings[R_COUNT];
};

static bool take(struct xn_opts *o, struct said *said, int c, char *arg)
{
	uint64_t v = 0;

	switch (c) {
	case O_POLL:
		said->poll = true;
		return take_words("poll", arg, poll_words, said->polls, POLL_COUNT);
	case O_RING:
		return take_words("ring", arg, ring_words, said->rings, R_COUNT);
	case O_OFFLOAD:
		return take_words("offload", arg, xn_ask_names, o->ask, XN_ASK_COUNT);
	case O_BACKEND:
		o->backend = arg;
		return true;
	case O_SOCKET:
		o->socket = arg;
		return true;
	case O_PEER:
		return take_peer(o, arg);
	case O_WAIT:
		return take_wait(o, arg);
	case O_BUF:
		if (!take_number("buf", arg, XN_BUF_MIN, XN_BUF_MAX, &v))
			return false;
		o->buf_bytes = (uint32_t)v;
		return true;
	case O_GUEST_CPU:
		return take_guest_cpu(o, arg);
	case O_IDLE:
		return take_secs("idle", arg, &o->idle_secs);
	case O_DIR:
		said->dir = true;
		return take_dirs(o, arg);
	case O_MTU:
		said->mtu = true;
		if (!take_number("mtu", arg, XN_MTU_DEFAULT, XN_MTU_MAX, &v))
			return false;
		o->mtu = (unsigned)v;
		return true;
	case O_PIECE:
		return take_piece(o, arg);
	case O_PATH:
		said->path = true;
		return take_words("path", arg, path_words, said->paths, P_COUNT);
	case O_SIZE:
		said->size = true;
		return take_sizes(o, arg);
	case O_SECS:
		return take_secs("secs", arg, &o->secs);
	case O_ROUNDS:
		if (!take_number("rounds", arg, 1, XN_ROUNDS_MAX, &v))
			return false;
		o->rounds = (unsigned)v;
		return true;
	case O_PACE:
		return take_numbers("pps", arg, 1, 1000000000, o->pace_pps, XN_PACES_MAX,
				    &o->n_paces);
	case O_QUEUES:
		return take_queues(o, arg);
	case O_MISSTEER:
		o->missteer = true;
		return true;
	case O_IFNAME:
		return take_ifname("ifname", arg, &o->ifname);
	case O_HUGE:
		return take_huge(o, arg);
	case O_JSON:
		o->json = arg;
		return true;
	case O_SVG:
		o->svg = arg;
		return strcmp(arg, "-") ? true : bad("--svg -: needs the name of a file");
	default:
		o->footprint = true;
		return true;
	}
}

/* With an interface of the user's, only what one end alone can see makes sense. */
static bool settle_ifname(struct xn_opts *o, const struct said *said)
{
	if (o->footprint)
		return bad("--footprint measures on a veth pair of its own: leave out --ifname");
	if (o->peer)
		return true;
	if (!said->dir)
		o->dir[XN_DIR_FWD] = o->dir[XN_DIR_RTT] = false;
	if (o->dir[XN_DIR_FWD] || o->dir[XN_DIR_RTT])
		return bad("--ifname %s: fwd and rtt need a far end: say --peer, or --dir rx,tx",
			   o->ifname);
	if ((said->path && said->paths[P_XSKNETD]) || o->backend)
		return bad("--ifname %s: other processes are measured on veth, or with --peer",
			   o->ifname);
	return true;
}

/* A back end that runs already: nothing else can be on its wire. */
static bool settle_socket(const struct xn_opts *o, const struct said *said)
{
	if (!o->socket)
		return bad("--peer %s: of which wire? Say --ifname or --socket", o->peer);
	if (!o->peer)
		return bad("--socket %s: where does its wire end? Say --peer", o->socket);
	if (o->backend || o->ifname || said->path || said->poll)
		return bad("--socket %s: is the only path: leave out --backend, --ifname, --path "
			   "and --poll", o->socket);
	return true;
}

/* Beside us, or where an installation has it. To be freed by nobody: it lasts. */
static const char *find_xsknetd(void)
{
	static const char *const places[] = { "xsknetd", "../sbin/xsknetd" };
	static char path[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	char *name;

	path[XN_MAX(n, 0)] = 0;
	name = strrchr(path, '/');
	for (unsigned i = 0; name && i < XN_ARRAY_SIZE(places); i++) {
		strcpy(name + 1, places[i]);
		if (!access(path, X_OK))
			return path;
	}
	return NULL;
}

static bool settle_paths(struct xn_opts *o, const struct said *said)
{
	const bool all = !said->path;
	bool *kind = o->kind;

	if (said->path && said->paths[P_BACKEND] && !o->backend && !said->paths[P_RAW])
		return bad("--path backend: which one? Say --backend COMMAND");
	kind[XN_KIND_ZERO_COPY] = all || said->paths[P_ZERO_COPY];
	/* Where no driver has zero-copy, as veth has not, the path zero-copy is this already. */
	kind[XN_KIND_COPY] = said->path ? said->paths[P_COPY] : o->ifname != NULL;
	kind[XN_KIND_BOUNCE] = all || said->paths[P_BOUNCE];
	kind[XN_KIND_PACKED] = said->rings[R_SPLIT] && said->rings[R_PACKED] && kind[XN_KIND_ZERO_COPY];
	kind[XN_KIND_RAW] = all || said->paths[P_RAW];
	kind[XN_KIND_BACKEND] = o->backend && (all || said->paths[P_BACKEND]);
	if (!said->paths[P_XSKNETD] && (o->ifname || !all))
		return true;
	o->xsknetd = find_xsknetd();
	o->missed_xsknetd = !o->xsknetd;
	for (unsigned i = 0; i < POLL_COUNT && o->xsknetd; i++) {
		kind[XN_KIND_XSKNETD + i] = !said->poll || said->polls[i];
		o->rtt_only[XN_KIND_XSKNETD + i] = !said->poll && i;
	}
	if (o->xsknetd || all)
		return true;
	return bad("--path xsknetd: there is no xsknetd beside this program");
}

/* Frames that go astray are of the receive direction, and of an engine that mends it. */
static bool settle_missteer(struct xn_opts *o, const struct said *said)
{
	for (unsigned i = 0; i < o->n_counts; i++)
		if (o->count[i] < 2)
			return bad("--missteer: needs --queues 2 and more");
	if (o->ifname || o->socket || o->backend)
		return bad("--missteer: only on a veth pair of its own");
	if (!said->dir)
		o->dir[XN_DIR_TX] = o->dir[XN_DIR_FWD] = o->dir[XN_DIR_RTT] = false;
	if (o->dir[XN_DIR_TX] || o->dir[XN_DIR_FWD] || o->dir[XN_DIR_RTT])
		return bad("--missteer: only --dir rx");
	return true;
}

/* Those that make sense, and lengths that fit; what was said has to do both. */
static bool settle_mtu(struct xn_opts *o, const struct said *said)
{
	static const uint32_t usual[] = { 1514, 9014, 64000 };
	const uint32_t most = o->mtu + XN_ETH_BYTES;

	if (said->mtu && (o->ifname || o->peer || o->socket))
		return bad("--mtu %u: only on a veth pair of its own", o->mtu);
	for (unsigned i = 0; i < o->n_sizes && said->size; i++)
		if (o->size[i] > most)
			return bad("--size %u: longer than --mtu %u has room for (%u with its "
				   "Ethernet header)", o->size[i], o->mtu, most);
	if (o->mtu == XN_MTU_DEFAULT)
		return true;
	if (!said->dir)
		o->dir[XN_DIR_FWD] = o->dir[XN_DIR_RTT] = false;
	if (o->dir[XN_DIR_FWD] || o->dir[XN_DIR_RTT])
		return bad("--mtu %u: only --dir rx, tx, tcp-tx and tcp-rx", o->mtu);
	for (unsigned i = o->n_sizes = said->size ? o->n_sizes : 0; i < XN_ARRAY_SIZE(usual) &&
	     !said->size && usual[i] <= most; i++)
		o->size[o->n_sizes++] = usual[i];
	return true;
}

static bool settle_tcp(const struct xn_opts *o)
{
	if (!o->tcp[XN_TCP_TX] && !o->tcp[XN_TCP_RX])
		return true;
	if (o->ifname || o->peer || o->socket)
		return bad("--dir tcp-tx, tcp-rx: only on a veth pair of its own");
	return o->queues == 1 || bad("--dir tcp-tx, tcp-rx: only with one queue");
}

/* Nothing was said that narrows down what to measure. */
static bool is_whole(const struct xn_opts *o, const struct said *said)
{
	return !said->dir && !said->size && !said->mtu && !said->path && !o->ifname && !o->peer &&
	       !o->backend && !o->missteer && !o->buf_bytes && o->queues == 1 && !o->pace_pps[0];
}

static bool settle(struct xn_opts *o, const struct said *said)
{
	o->large = is_whole(o, said);
	if (!settle_mtu(o, said) || !settle_tcp(o))
		return false;
	o->packed = said->rings[R_PACKED] && !said->rings[R_SPLIT];
	o->bound = !o->peer && (long)o->queues > sysconf(_SC_NPROCESSORS_ONLN);
	if (o->missteer && !settle_missteer(o, said))
		return false;
	if (o->ifname && !settle_ifname(o, said))
		return false;
	if (!o->socket && (o->ifname || !o->peer))
		return settle_paths(o, said);
	o->kind[XN_KIND_BACKEND] = true;
	return settle_socket(o, said);
}

int xn_opts_parse(struct xn_opts *o, int argc, char **argv)
{
	struct said said = { 0 };
	int c;

	*o = (struct xn_opts){
		.dir = { true, true, true, true },
		.size = { 64, 512, 1514 }, .n_sizes = 3, .n_paces = 1,
		.mtu = XN_MTU_DEFAULT, .piece_bytes = XN_PIECE_LINUX,
		.secs = 0.2, .rounds = 7, .queues = 1, .count = { 1 }, .n_counts = 1, .huge = XN_HUGE_AUTO, .idle_secs = 0.1,
	};
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", long_opts, NULL)) != -1) {
		switch (c) {
		case 'h':
		case O_HELP:
			fputs(usage_text, stdout);
			return 1;
		case O_VERSION:
			printf("xsknet-bench %s\n", xn_version());
			return 1;
		case '?':
			bad("%s: no such option", argv[optind - 1]);
			return 1 + XN_EXIT_USAGE;
		case ':':
			bad("%s: needs a value", argv[optind - 1]);
			return 1 + XN_EXIT_USAGE;
		}
		if (!take(o, &said, c, optarg))
			return 1 + XN_EXIT_USAGE;
	}
	if (optind < argc) {
		bad("%s: not understood", argv[optind]);
		return 1 + XN_EXIT_USAGE;
	}
	return settle(o, &said) ? 0 : 1 + XN_EXIT_USAGE;
}
