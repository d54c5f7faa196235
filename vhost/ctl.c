/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients of the statistics socket. Contract in vhost/ctl.h.
 *
 * A client is either asking (its line is being collected) or being answered (nothing is
 * read from it until all has been written): so it costs one line and one answer of memory,
 * and one answer's time a turn of the main loop, whatever it does.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "vhost/ctl.h"

#define SOCKET_BYTES   65536
#define ACCEPT_WAIT_NS 100000000ull     /* out of fds: not at full speed */

struct client {
	int fd;                         /* -1: free */
	char line[XN_CTL_LINE_BYTES];
	size_t have;
	char *answer;                   /* NULL: asking */
	size_t bytes, sent;
	uint64_t until_ns;              /* for the answer to be read; 0: not said yet */
	uint64_t heard_ns;              /* when it last said or read something */
};

struct xn_ctl {
	struct xn_listen listen;
	json_t *(*stats)(void *arg);
	void *arg;
	struct xn_log_limit limit;
	uint64_t accept_ns;             /* nobody is let in before; 0: at any time */
	struct client client[XN_CTL_CLIENTS];
};

int xn_ctl_open(struct xn_ctl **out, struct xn_listen *l, json_t *(*stats)(void *arg), void *arg)
{
	struct xn_ctl *c = calloc(1, sizeof(*c));

	*out = c;
	if (!c) {
		xn_listen_close(l);
		return xn_fail(ENOMEM, "out of memory for the statistics socket");
	}
	c->listen = *l;
	*l = XN_LISTEN_NONE;
	c->stats = stats;
	c->arg = arg;
	for (unsigned i = 0; i < XN_CTL_CLIENTS; i++)
		c->client[i].fd = -1;
	return 0;
}

static void drop(struct client *k)
{
	close(k->fd);
	free(k->answer);
	k->fd = -1;
	k->answer = NULL;
	k->have = 0;
	k->until_ns = 0;
}

void xn_ctl_close(struct xn_ctl *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < XN_CTL_CLIENTS; i++)
		if (c->client[i].fd >= 0)
			drop(&c->client[i]);
	xn_listen_close(&c->listen);
	free(c);
}

const struct xn_listen *xn_ctl_listen(const struct xn_ctl *c)
{
	return &c->listen;
}

static const char *line_end(const struct client *k)
{
	return memchr(k->line, '\n', k->have);
}

static bool waits_to_answer(const struct client *k)
{
	return k->answer || line_end(k);
}

unsigned xn_ctl_fds(const struct xn_ctl *c, struct pollfd *fds)
{
	unsigned n = 0;

	fds[n++] = (struct pollfd){ .fd = c->accept_ns ? -1 : c->listen.fd, .events = POLLIN };
	for (unsigned i = 0; i < XN_CTL_CLIENTS; i++)
		if (c->client[i].fd >= 0)
			fds[n++] = (struct pollfd){ .fd = c->client[i].fd,
						    .events = waits_to_answer(&c->client[i]) ?
							      POLLOUT : POLLIN };
	return n;
}

/* ---- answers ---- */

static json_t *answer_to(const struct xn_ctl *c, const char *line, size_t bytes)
{
	json_t *ask = json_loadb(line, bytes, 0, NULL);
	const char *cmd = json_string_value(json_object_get(ask, "cmd"));
	json_t *answer;

	if (!cmd)
		answer = json_pack("{s:s}", "error", "a line is an object: {\"cmd\":\"stats\"}");
	else if (!strcmp(cmd, "stats"))
		answer = c->stats(c->arg);
	else
		answer = json_pack("{s:s}", "error", "there is no such command; there is: stats");
	json_decref(ask);
	return answer;
}

/* Makes the answer to the line that ends at `end`, and takes that line away. */
static bool answer_line(const struct xn_ctl *c, struct client *k, const char *end)
{
	size_t line = (size_t)(end - k->line);
	json_t *answer = answer_to(c, k->line, line);

	k->answer = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	json_decref(answer);
	if (!k->answer)
		return false;
	k->bytes = strlen(k->answer);
	k->answer[k->bytes++] = '\n';   /* in the place of its end */
	k->sent = 0;
	k->have -= line + 1;
	memmove(k->line, end + 1, k->have);
	return true;
}

/* False: the client has to go. */
static bool send_answer(struct client *k)
{
	ssize_t n = send(k->fd, k->answer + k->sent, k->bytes - k->sent,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	k->sent += (size_t)n;
	if (k->sent == k->bytes) {
		free(k->answer);
		k->answer = NULL;
		k->until_ns = 0;
	}
	return true;
}

/* One step: part of an answer, or one question. */
static bool serve(const struct xn_ctl *c, struct client *k)
{
	if (!k->answer && !line_end(k)) {
		ssize_t n = recv(k->fd, k->line + k->have, sizeof(k->line) - k->have, MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (!n)
			return false;
		k->have += (size_t)n;
	}
	if (!k->answer) {
		if (!line_end(k))
			return k->have < sizeof(k->line);
		if (!answer_line(c, k, line_end(k)))
			return false;
	}
	return send_answer(k);
}

/* ---- clients ---- */

/* A place for one more: that of a client that has been silent for longest, if there is no other;
 * nobody keeps the others out by saying nothing. NULL: all are busy. */
static struct client *make_room(struct xn_ctl *c, uint64_t now_ns)
{
	struct client *silent = NULL;

	for (unsigned i = 0; i < XN_CTL_CLIENTS; i++) {
		struct client *k = &c->client[i];

		if (k->fd < 0)
			return k;
		if (!waits_to_answer(k) && (!silent || k->heard_ns < silent->heard_ns))
			silent = k;
	}
	if (!silent || now_ns - silent->heard_ns < XN_CTL_PATIENCE_NS)
		return NULL;
	drop(silent);
	return silent;
}

static void let_in(struct xn_ctl *c, uint64_t now_ns)
{
	static const int room = SOCKET_BYTES;
	int fd = xn_listen_accept(&c->listen);
	struct client *k;

	if (fd < 0) {
		if (fd != -EAGAIN)
			c->accept_ns = now_ns + ACCEPT_WAIT_NS;
		return;
	}
	k = make_room(c, now_ns);
	if (k) {
		/* What the kernel keeps for a client that does not read, whatever the default is. */
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
		k->fd = fd;
		k->heard_ns = now_ns;
		return;
	}
	close(fd);
	if (xn_log_allowed(&c->limit, now_ns))
		xn_log(XN_LOG_WARN, "statistics socket: %u clients at most, another was turned away",
		       XN_CTL_CLIENTS);
}

static short events_of(const struct pollfd *fds, unsigned n, int fd)
{
	for (unsigned i = 0; i < n; i++)
		if (fds[i].fd == fd)
			return fds[i].revents;
	return 0;
}

/* Its turn. How long it waits for something else than its fd. */
static uint64_t client_turn(const struct xn_ctl *c, struct client *k, bool ready, uint64_t now_ns)
{
	if (ready) {
		k->heard_ns = now_ns;
		if (!serve(c, k)) {
			drop(k);
			return UINT64_MAX;
		}
	}
	if (!waits_to_answer(k))
		return UINT64_MAX;
	if (!k->until_ns)
		k->until_ns = now_ns + XN_CTL_PATIENCE_NS;
	if (now_ns < k->until_ns)
		return k->until_ns - now_ns;
	drop(k);
	return UINT64_MAX;
}

uint64_t xn_ctl_handle(struct xn_ctl *c, const struct pollfd *fds, unsigned n, uint64_t now_ns)
{
	uint64_t wait_ns = UINT64_MAX;

	for (unsigned i = 0; i < XN_CTL_CLIENTS; i++) {
		struct client *k = &c->client[i];

		if (k->fd >= 0) {
			uint64_t ns = client_turn(c, k, events_of(fds, n, k->fd), now_ns);

			wait_ns = XN_MIN(wait_ns, ns);
		}
	}
	if (c->accept_ns && now_ns >= c->accept_ns)
		c->accept_ns = 0;
	if (events_of(fds, n, c->listen.fd))
		let_in(c, now_ns);
	return c->accept_ns ? XN_MIN(wait_ns, c->accept_ns - now_ns) : wait_ns;
}
