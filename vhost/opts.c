/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: words to struct xn_daemon_opts, and one clear line where they make no
 * sense. */
#include <getopt.h>
#include <grp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"
#include "base/types.h"
#include "vhost/opts.h"

#define USAGE              2
#define FIRST_ACTIVATED_FD 3    /* sd_listen_fds(3) */

static const char usage_text[] =
"usage: xsknetd --socket PATH|--fd N --port SPEC [options]\n"
"\n"
"Gives one virtual machine a network card (vhost-user) on an interface of the host\n"
"(AF_XDP). Stays in the foreground.\n"
"\n"
"  --socket PATH          where the VMM connects (also --socket-path)\n"
"  --fd N                 the same as an fd that is open already, listening or connected\n"
"  --client               the VMM listens on PATH; connect to it, again and again\n"
"  --port SPEC            xdp:IFNAME[,queues=N,start=K,mode=auto|zero-copy|copy|bounce,...],\n"
"                         loopback or null\n"
"  --ctl PATH             statistics socket\n"
"  --mtu N                what the guest is told (default: the interface's)\n"
"  --mac MAC              the guest's address (default: the interface's)\n"
"  --cpus LIST            processors for the queues' threads: 2,3 or 4-7\n"
"  --poll adaptive|busy|sleep   what threads do when there is nothing to do\n"
"                         (default adaptive)\n"
"  --spare-sockets N      AF_XDP sockets in store for each queue pair (default 512);\n"
"                         each start of a guest's queue takes one\n"
"  --rss-key KEY          how frames find the guest's queues, if its driver does not say: 40\n"
"                         to 64 bytes in hex, symmetric or random\n"
"  --rss-table LIST       likewise: queue pairs by hash, 0,1,2,3 or equal:N\n"
"  --gro on|tcp|udp|off   segments of a TCP connection, datagrams of a UDP flow that arrive\n"
"                         together are given to the guest as one packet, if its driver takes\n"
"                         that (on: both; default off)\n"
"  --user NAME            become this user\n"
"  --socket-group GROUP   who may connect (default: the group of this process)\n"
"  --socket-mode MODE     mode of the sockets (default 0660)\n"
"  --sandbox on|off|log   off: for debugging only; log: what is not allowed is logged by\n"
"                         the kernel and fails (default on)\n"
"  --print-capabilities   for management software (QEMU docs/interop/vhost-user.rst)\n"
"  --help, --version\n"
"\n"
"Started by systemd's socket activation it needs neither --socket nor --fd. See xsknetd(8).\n";

enum {
	O_SOCKET = 256, O_FD, O_CLIENT, O_PORT, O_CTL, O_MTU, O_MAC, O_CPUS, O_POLL, O_SPARES,
	O_RSS_KEY, O_RSS_TABLE, O_GRO, O_USER, O_GROUP, O_MODE, O_SANDBOX, O_HELP, O_VERSION,
};

static const struct option long_opts[] = {
	{ "socket", required_argument, NULL, O_SOCKET },
	{ "socket-path", required_argument, NULL, O_SOCKET },
	{ "fd", required_argument, NULL, O_FD },
	{ "client", no_argument, NULL, O_CLIENT },
	{ "port", required_argument, NULL, O_PORT },
	{ "ctl", required_argument, NULL, O_CTL },
	{ "mtu", required_argument, NULL, O_MTU },
	{ "mac", required_argument, NULL, O_MAC },
	{ "cpus", required_argument, NULL, O_CPUS },
	{ "poll", required_argument, NULL, O_POLL },
	{ "spare-sockets", required_argument, NULL, O_SPARES },
	{ "rss-key", required_argument, NULL, O_RSS_KEY },
	{ "rss-table", required_argument, NULL, O_RSS_TABLE },
	{ "gro", required_argument, NULL, O_GRO },
	{ "user", required_argument, NULL, O_USER },
	{ "socket-group", required_argument, NULL, O_GROUP },
	{ "socket-mode", required_argument, NULL, O_MODE },
	{ "sandbox", required_argument, NULL, O_SANDBOX },
	{ "help", no_argument, NULL, O_HELP },
	{ "version", no_argument, NULL, O_VERSION },
	{ NULL, 0, NULL, 0 },
};

__attribute__((format(printf, 1, 2)))
static bool bad(const char *fmt, ...)
{
	va_list ap;

	fputs("xsknetd: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (see --help)\n", stderr);
	return false;
}

static bool take_number(const char *opt, const char *arg, int base, unsigned min, unsigned max,
			unsigned *v)
{
	uint64_t x;

	if (!xn_number(arg, base, min, max, &x)) {
		if (base == 8)
			return bad("--%s %s: must be an octal number up to %o", opt, arg, max);
		return bad("--%s %s: must be a whole number from %u to %u", opt, arg, min, max);
	}
	*v = (unsigned)x;
	return true;
}

/* words: up to a NULL. */
static bool take_word(const char *opt, const char *arg, const char *const *words, unsigned *v)
{
	char all[100] = "";

	for (*v = 0; words[*v]; ++*v) {
		if (!strcmp(arg, words[*v]))
			return true;
		strcat(all, *v ? words[*v + 1] ? ", " : " or " : "");
		strcat(all, words[*v]);
	}
	return bad("--%s %s: must be %s", opt, arg, all);
}

static bool take_mac(struct xn_daemon_opts *o, const char *arg)
{
	unsigned b[6];
	int end = 0;

	if (sscanf(arg, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &end) != 6 || arg[end] || strlen(arg) != 17)
		return bad("--mac %s: must look like 52:54:00:12:34:56", arg);
	for (unsigned i = 0; i < 6; i++)
		o->mac[i] = (uint8_t)b[i];
	if (o->mac[0] & 1 || !(b[0] | b[1] | b[2] | b[3] | b[4] | b[5]))
		return bad("--mac %s: is no address of one station (its first byte must be even, and "
			   "not all may be 0)", arg);
	o->mac_given = true;
	return true;
}

/* 0,2-3 */
static bool take_cpus(struct xn_daemon_opts *o, const char *arg)
{
	const char *at = arg;

	for (o->n_cpus = 0; ; at++) {
		unsigned long from, to;
		char *end;

		if (*at < '0' || *at > '9')
			return bad("--cpus %s: must be a list like 0,2-3", arg);
		from = to = strtoul(at, &end, 10);
		if (*end == '-' && end[1] >= '0' && end[1] <= '9')
			to = strtoul(end + 1, &end, 10);
		if ((*end && *end != ',') || to < from)
			return bad("--cpus %s: must be a list like 0,2-3", arg);
		if (to >= CPU_SETSIZE)
			return bad("--cpus %s: processors have numbers below %d", arg, CPU_SETSIZE);
		for (; from <= to; from++) {
			if (o->n_cpus == XN_CPUS_MAX)
				return bad("--cpus %s: at most %u processors", arg, XN_CPUS_MAX);
			o->cpus[o->n_cpus++] = (unsigned)from;
		}
		at = end;
		if (!*at)
			return true;
	}
}

static bool take_group(struct xn_daemon_opts *o, const char *arg)
{
	const struct group *g = getgrnam(arg);

	if (!g)
		return bad("--socket-group %s: there is no such group", arg);
	o->group = g->gr_gid;
	return true;
}

/* Where an option goes whose value is taken as it is; NULL: it is another. */
static const char **text_of(struct xn_daemon_opts *o, int c)
{
	switch (c) {
	case O_SOCKET: return &o->socket;
	case O_PORT:   return &o->port;
	case O_CTL:    return &o->ctl;
	case O_USER:   return &o->user;
	case O_RSS_KEY:   return &o->rss_key;
	case O_RSS_TABLE: return &o->rss_table;
	default:       return NULL;
	}
}

static bool take(struct xn_daemon_opts *o, int c, const char *arg)
{
	static const char *const polls[] = { "adaptive", "busy", "sleep", NULL };
	/* Index: of XN_PUT_. */
	static const char *const gathered[] = { "off", "tcp", "udp", "on", NULL };
	static const char *const boxes[] = { "on", "off", "log", NULL };
	const char **text = text_of(o, c);
	unsigned v = 0;
	bool good;

	if (text) {
		*text = arg;
		return true;
	}
	switch (c) {
	case O_CLIENT:
		o->client = true;
		return true;
	case O_MAC:
		return take_mac(o, arg);
	case O_CPUS:
		return take_cpus(o, arg);
	case O_GROUP:
		return take_group(o, arg);
	case O_SPARES:
		return take_number("spare-sockets", arg, 10, 0, 65536, &o->spares_a_pair);
	case O_FD:
		good = take_number("fd", arg, 10, 0, 1u << 20, &v);
		o->fd = (int)v;
		return good;
	case O_MTU:
		good = take_number("mtu", arg, 10, 68, 65535, &v);      /* VIRTIO 1.2, 5.1.4.1 */
		o->mtu = (uint16_t)v;
		return good;
	case O_MODE:
		good = take_number("socket-mode", arg, 8, 0, 0777, &v);
		o->mode = (mode_t)v;
		return good;
	case O_POLL:
		good = take_word("poll", arg, polls, &v);
		o->poll = (enum xn_poll)v;
		return good;
	case O_GRO:
		good = take_word("gro", arg, gathered, &v);
		o->gro = v;
		return good;
	default:
		good = take_word("sandbox", arg, boxes, &v);
		o->sandbox = (enum xn_sandboxing)v;
		return good;
	}
}

/* An fd that systemd has opened for us (sd_listen_fds(3)). */
static bool take_activation(struct xn_daemon_opts *o)
{
	const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");

	if (!fds || !pid || strtol(pid, NULL, 10) != getpid())
		return true;
	if (strcmp(fds, "1"))
		return bad("LISTEN_FDS=%s: one socket is expected, for one guest", fds);
	if (o->socket || o->fd >= 0)
		return bad("systemd has opened the socket: leave out --socket and --fd");
	o->fd = FIRST_ACTIVATED_FD;
	return true;
}

static bool settle(struct xn_daemon_opts *o)
{
	if (!take_activation(o))
		return false;
	if (!o->port)
		return bad("--port is missing: --port xdp:IFNAME");
	if (!o->socket && o->fd < 0)
		return bad("--socket PATH is missing: where the VMM connects");
	if (o->socket && o->fd >= 0)
		return bad("--socket and --fd are two ways to say the same: leave out one");
	if (o->client && !o->socket)
		return bad("--client needs --socket PATH: where the VMM listens");
	if (o->user && o->sandbox == XN_SANDBOX_OFF)
		return bad("--user is a part of the sandbox: leave out --sandbox off");
	if (o->ctl && o->socket && !strcmp(o->ctl, o->socket))
		return bad("--ctl and --socket are two sockets: give them two names");
	if ((o->rss_key || o->rss_table) && !strstr(o->port, "queues="))
		return bad("--rss-key and --rss-table need a port of several queues: queues=N in --port %s",
			   o->port);
	if (o->fd >= 0 && o->fd <= STDERR_FILENO)
		return bad("--fd %d: is standard input, output or error", o->fd);
	return true;
}

int xn_daemon_opts_parse(struct xn_daemon_opts *o, int argc, char **argv)
{
	int c;

	*o = (struct xn_daemon_opts){
		.fd = -1, .poll = XN_POLL_ADAPTIVE, .spares_a_pair = XN_SPARES_A_PAIR,
		.group = (gid_t)-1, .mode = 0660,
	};
	/* Then all else is to be ignored (QEMU docs/interop/vhost-user.rst). */
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--print-capabilities")) {
			puts("{ \"type\": \"net\" }");
			return 1 + EXIT_SUCCESS;
		}
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":h", long_opts, NULL)) != -1) {
		switch (c) {
		case 'h':
		case O_HELP:
			fputs(usage_text, stdout);
			return 1 + EXIT_SUCCESS;
		case O_VERSION:
			printf("xsknetd %s\n", xn_version());
			return 1 + EXIT_SUCCESS;
		case '?':
			/* Of a row of short ones getopt names only the letter. */
			if (optopt && optopt < O_SOCKET)
				bad("-%c: no such option", optopt);
			else
				bad("%s: no such option", argv[optind - 1]);
			return 1 + USAGE;
		case ':':
			bad("%s: needs a value", argv[optind - 1]);
			return 1 + USAGE;
		default:
			if (!take(o, c, optarg))
				return 1 + USAGE;
		}
	}
	if (optind < argc) {
		bad("'%s': not an option", argv[optind]);
		return 1 + USAGE;
	}
	return settle(o) ? 0 : 1 + USAGE;
}
