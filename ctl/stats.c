/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsknetctl stats. One look, or with --watch one after the other; a daemon that is away
 * meanwhile (it may be restarted under a living guest) is waited for.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/show.h"

#define SECS_MAX 86400.0

struct opts {
	const char *ctl;
	double secs;      /* 0: once */
	bool json;
};

static int parse(struct opts *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "ctl", required_argument, NULL, 'c' }, { "watch", optional_argument, NULL, 'w' },
		{ "json", no_argument, NULL, 'j' },      { NULL, 0, NULL, 0 },
	};
	char *end;
	int c;

	*o = (struct opts){ 0 };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "+:", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->ctl = optarg;
			break;
		case 'j':
			o->json = true;
			break;
		case 'w':
			/* --watch 2 is as good as --watch=2. */
			if (!optarg && optind < argc && argv[optind][0] >= '0' && argv[optind][0] <= '9')
				optarg = argv[optind++];
			o->secs = optarg ? strtod(optarg, &end) : 1;
			if (optarg && (*end || end == optarg || !(o->secs >= 0.1 && o->secs <= SECS_MAX)))
				return xn_bad_usage("--watch %s: want seconds, from 0.1 on", optarg);
			break;
		case ':':
			return xn_bad_usage("%s needs a value", argv[optind - 1]);
		default:
			return xn_bad_usage("stats: \"%s\" is not known", argv[optind - 1]);
		}
	}
	if (optind < argc)
		return xn_bad_usage("stats: \"%s\" is one word too many", argv[optind]);
	return 0;
}

/* ---- looks ---- */

struct watch {
	int fd;                     /* -1: not connected */
	struct xn_snap now, then;
	bool again;                 /* `then` is a look at the same daemon */
};

/* Connects if need be. 0 or -errno, and not connected. */
static int look(struct watch *w, const char *path, json_t **answer)
{
	int err;

	*answer = NULL;
	if (w->fd < 0) {
		w->fd = xn_client_connect(path);
		if (w->fd < 0) {
			err = w->fd;
			w->fd = -1;
			return err;
		}
	}
	err = xn_client_stats(w->fd, answer);
	if (err) {
		close(w->fd);
		w->fd = -1;
	}
	return err;
}

static void print(struct watch *w, const struct opts *o, const json_t *answer)
{
	if (o->json) {
		json_dumpf(answer, stdout, JSON_COMPACT);
		fputc('\n', stdout);
		return;
	}
	w->then = w->now;
	xn_snap_read(&w->now, answer);
	if (w->now.uptime_ns <= w->then.uptime_ns)
		w->again = false;   /* it was started anew */
	if (o->secs > 0 && isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	else if (w->again)
		fputc('\n', stdout);
	xn_show(stdout, &w->now, w->again ? &w->then : NULL);
	w->again = true;
}

static void pause_for(double secs)
{
	struct timespec t = { .tv_sec = (time_t)secs };

	t.tv_nsec = (long)((secs - floor(secs)) * 1e9);
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* A new connection may find what an old one did not: the daemon has ended in between. */
static bool worth_waiting(int err)
{
	return err == -EPIPE || err == -ENOENT || err == -ECONNREFUSED || err == -ETIMEDOUT ||
	       err == -EAGAIN;
}

int xn_cmd_stats(int argc, char **argv)
{
	static struct watch w = { .fd = -1 };
	struct opts o;
	char path[256];
	bool seen = false;
	int err = parse(&o, argc, argv);

	if (err)
		return err;
	err = xn_client_find(path, sizeof(path), o.ctl, XN_CLIENT_DIR);
	if (err)
		goto out_error;
	for (;;) {
		json_t *answer;

		err = look(&w, path, &answer);
		if (!err) {
			print(&w, &o, answer);
			json_decref(answer);
			seen = true;
		} else if (!seen || !(o.secs > 0) || !worth_waiting(err)) {
			goto out_error;
		} else {
			fprintf(stderr, "xsknetctl: %s; trying again\n", xn_last_error());
			w.again = false;
		}
		if (!(o.secs > 0))
			break;
		if (fflush(stdout))
			return XN_EXIT_BAD;
		pause_for(o.secs);
	}
	close(w.fd);
	return XN_EXIT_OK;

out_error:
	fprintf(stderr, "xsknetctl: %s\n", xn_last_error());
	return XN_EXIT_BAD;
}
