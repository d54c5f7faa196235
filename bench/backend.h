/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vhost-user back end as a process of ours.
 *
 *	bench ---leash (a socket)--- keeper ---parent of--- back end, a group of its own
 *
 * Between the two stands a keeper, forked of the bench, that holds on to the back end: it
 * freezes and thaws it on request, and when the leash ends, because the bench lets go or
 * because it was killed, it ends the back end's whole group, waits for it, and removes
 * the sockets. Nobody else signals by number, so that no other process is ever meant.
 */
#ifndef XN_BENCH_BACKEND_H
#define XN_BENCH_BACKEND_H

#include <stdbool.h>
#include <sys/types.h>

struct xn_backend {
	pid_t keeper;            /* 0: none */
	int leash;
	int out;                 /* what it said on stdout and stderr; -1: none */
	char dir[64];            /* private: for its sockets */
	char socket[96], ctl[96];
};

/*
 * What a command means: words in braces are replaced. {socket}: where it has to listen;
 * {ctl}: for statistics; {if}: its interface; {cpus}: the processors for its queues; {queues};
 * {program}: xsknetd.
 * -EINVAL: braces around something else; -E2BIG.
 */
struct xn_backend_words {
	const char *socket, *ctl, *ifname, *program;
	const char *cpus;        /* 1 or 1,0 */
	unsigned queues;
};
int xn_backend_expand(const char *command, const struct xn_backend_words *w, char *out,
		      size_t room);

/* Runs it in a shell, in the calling thread's network namespace. The socket's and ctl's names
 * among the words are not looked at: b has them. 0 or -errno (xn_last_error). */
int xn_backend_start(struct xn_backend *b, const char *command,
		     const struct xn_backend_words *words);
/* Ends it; shows what it said if it had ended by itself, or with `show`. Half-made ones
 * are fine. */
void xn_backend_stop(struct xn_backend *b, bool show);
/* Still there? */
bool xn_backend_alive(struct xn_backend *b);
/* Not a step until thawed: back ends that spin would disturb the others' turns. */
void xn_backend_freeze(struct xn_backend *b, bool frozen);

#endif
