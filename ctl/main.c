/* SPDX-License-Identifier: BSD-2-Clause */
/* xsknetctl: which command. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctl/ctl.h"
#include "xsknet.h"

static const char usage_text[] =
"usage: xsknetctl stats [--ctl PATH|NAME] [--watch[=SECS]] [--json]\n"
"       xsknetctl doctor IFNAME [--guest-ram SIZE] [--try [--pages 4k|2M]] [--json]\n"
"       xsknetctl drivers [--mtu N]\n"
"       xsknetctl steer-peer IFNAME [--queues N [--start K] [--rss-key KEY]\n"
"                            [--rss-table LIST] | --ctl PATH|NAME | --off]\n"
"       xsknetctl --help | --version\n"
"\n"
"  stats    what a running xsknetd counts: rates, drops, copies and their reasons\n"
"  doctor   what stands between an interface and a guest on it, and how to mend it\n"
"  drivers  what is known of drivers with zero-copy\n"
"  steer-peer  the other end of a guest's veth sends each frame on the queue that\n"
"              the guest's RSS says\n"
"\n"
"  --ctl PATH|NAME    the daemon's statistics socket, or the NAME of xsknetd@NAME\n"
"                     (default: the only one below /run/xsknetd)\n"
"  --watch[=SECS]     again and again, every SECS (default 1), with rates since the\n"
"                     last look\n"
"  --guest-ram SIZE   the guest's memory: 512M, 4G, ...\n"
"  --try              takes the interface for a moment, and says what zero-copy would lend\n"
"  --pages 4k|2M      of the memory for that (default: 2M, if enough are free)\n"
"  --json             for programs\n"
"\n"
"See xsknetctl(8).\n";

int xn_bad_usage(const char *fmt, ...)
{
	va_list ap;

	fputs("xsknetctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (--help shows how)\n", stderr);
	return XN_EXIT_USAGE;
}

/* Status of the process: what was printed may not have got to where it should. */
static int flushed(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		perror("xsknetctl: cannot write");
		return XN_EXIT_BAD;
	}
	return status;
}

int main(int argc, char **argv)
{
	const char *cmd = argc > 1 ? argv[1] : "";

	if (!strcmp(cmd, "stats"))
		return flushed(xn_cmd_stats(argc - 1, argv + 1));
	if (!strcmp(cmd, "doctor"))
		return flushed(xn_cmd_doctor(argc - 1, argv + 1));
	if (!strcmp(cmd, "drivers"))
		return flushed(xn_cmd_drivers(argc - 1, argv + 1));
	if (!strcmp(cmd, "steer-peer"))
		return flushed(xn_cmd_steer_peer(argc - 1, argv + 1));
	if (!strcmp(cmd, "--help") || !strcmp(cmd, "-h")) {
		fputs(usage_text, stdout);
		return flushed(XN_EXIT_OK);
	}
	if (!strcmp(cmd, "--version")) {
		printf("xsknetctl %s\n", xn_version());
		return flushed(XN_EXIT_OK);
	}
	if (!*cmd)
		return xn_bad_usage("which command? stats, doctor, drivers or steer-peer");
	return xn_bad_usage("\"%s\" is not a command: stats, doctor, drivers and steer-peer are", cmd);
}
