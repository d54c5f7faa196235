/* SPDX-License-Identifier: BSD-2-Clause */
/* A client of the statistics socket. Contract in ctl/client.h. */
#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "ctl/client.h"

#define READ_BYTES 65536u

static const char question[] = "{\"cmd\":\"stats\"}\n";

const char *xn_client_clean(char *out, size_t bytes, const char *text)
{
	size_t n = 0;

	for (; text && *text && n + 1 < bytes; text++)
		out[n++] = *text >= ' ' && *text <= '~' ? *text : '?';
	out[n] = 0;
	return out;
}

/* ---- which socket ---- */

static int take(char *path, size_t bytes, const char *from)
{
	if (strlen(from) >= bytes)
		return xn_fail(ENAMETOOLONG, "%s: too long for the name of a socket", from);
	strcpy(path, from);
	return 0;
}

/* One is taken; more are named. */
static int choose(char *path, size_t bytes, const glob_t *g, const char *dir)
{
	char list[512] = "";

	if (g->gl_pathc == 1)
		return take(path, bytes, g->gl_pathv[0]);
	for (size_t i = 0; i < g->gl_pathc; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), " %s", g->gl_pathv[i]);
	return g->gl_pathc ?
	       xn_fail(EINVAL, "several xsknetd run; say which with --ctl:%s", list) :
	       xn_fail(ENOENT, "no xsknetd with a statistics socket below %s: say where it is with "
		       "--ctl, as was said to xsknetd", dir);
}

int xn_client_find(char *path, size_t bytes, const char *given, const char *dir)
{
	char pattern[256];
	glob_t g;
	int err;

	if (given && strchr(given, '/'))
		return take(path, bytes, given);
	if (given && !*given)
		return xn_fail(EINVAL, "--ctl: want a path or a name");
	if (snprintf(pattern, sizeof(pattern), "%s/%s/ctl.sock", dir, given ? given : "*") >=
	    (int)sizeof(pattern))
		return xn_fail(ENAMETOOLONG, "%s: too long for a name", given ? given : dir);
	if (given)
		return take(path, bytes, pattern);
	err = glob(pattern, 0, NULL, &g);
	if (err == GLOB_NOSPACE)
		return xn_fail(ENOMEM, "out of memory");
	err = choose(path, bytes, &g, dir);
	globfree(&g);
	return err;
}

int xn_client_connect(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd, err;

	err = take(sa.sun_path, sizeof(sa.sun_path), path);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return xn_fail(errno, "cannot open a socket: %s", strerror(errno));
	if (!connect(fd, (const struct sockaddr *)&sa, sizeof(sa)))
		return fd;
	err = errno;
	close(fd);
	switch (err) {
	case ENOENT:
	case ECONNREFUSED:
		return xn_fail(err, "%s: nobody listens there: is xsknetd running, and was it started "
			       "with --ctl %s?", path, path);
	case EAGAIN:
		return xn_fail(err, "%s: too many others are connecting; try again", path);
	case EACCES:
		return xn_fail(err, "%s: not allowed: be root, or in the group that the socket "
			       "belongs to", path);
	}
	return xn_fail(err, "%s: %s", path, strerror(err));
}

/* ---- ask and answer ---- */

/* 0 when fd is ready, or has an end to tell; -ETIMEDOUT. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t now = xn_now_ns();

	while (now < deadline_ns) {
		/* Rounded up, so that it is not asked again and again in the last ms. */
		int n = poll(&p, 1, (int)((deadline_ns - now) / 1000000 + 1));

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return xn_fail(errno, "poll: %s", strerror(errno));
		now = xn_now_ns();
	}
	return xn_fail(ETIMEDOUT, "xsknetd has not answered for %u ms: it hangs, or is stopped",
		       XN_CLIENT_WAIT_MS);
}

static int gone(void)
{
	return xn_fail(EPIPE, "xsknetd has closed the connection");
}

static int ask(int fd, uint64_t deadline_ns)
{
	const size_t bytes = sizeof(question) - 1;
	size_t sent = 0;

	while (sent < bytes) {
		ssize_t n = send(fd, &question[sent], bytes - sent, MSG_NOSIGNAL);
		int err;

		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return gone();
		err = wait_for(fd, POLLOUT, deadline_ns);
		if (err)
			return err;
	}
	return 0;
}

struct line {
	char *text;
	size_t bytes, room;
};

static int make_room(struct line *l)
{
	size_t room = 2 * l->room;
	char *more;

	if (l->bytes < l->room)
		return 0;
	if (room > XN_CLIENT_MAX_BYTES)
		return xn_fail(EMSGSIZE, "the answer is longer than %u bytes: that is not xsknetd",
			       XN_CLIENT_MAX_BYTES);
	more = realloc(l->text, room);
	if (!more)
		return xn_fail(ENOMEM, "out of memory");
	l->text = more;
	l->room = room;
	return 0;
}

/* One line, which ends the answer. 0 or -errno; l->text is the caller's in any case. */
static int read_line(int fd, struct line *l, uint64_t deadline_ns)
{
	for (;;) {
		int err = make_room(l);
		const char *from;
		ssize_t n;

		if (!err)
			err = wait_for(fd, POLLIN, deadline_ns);
		if (err)
			return err;
		from = l->text + l->bytes;
		n = recv(fd, l->text + l->bytes, l->room - l->bytes, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return gone();
		l->bytes += (size_t)n;
		if (memchr(from, '\n', (size_t)n))
			return 0;
	}
}

static int understand(json_t **answer, const struct line *l)
{
	const char *end = memchr(l->text, '\n', l->bytes);
	const char *said;
	char words[200];
	json_error_t e;

	*answer = json_loadb(l->text, (size_t)(end - l->text), 0, &e);
	if (!*answer)
		return xn_fail(EPROTO, "the answer is not JSON (%s): that is not xsknetd",
			       xn_client_clean(words, sizeof(words), e.text));
	said = json_string_value(json_object_get(*answer, "error"));
	if (said)
		return xn_fail(EREMOTEIO, "xsknetd says: %s",
			       xn_client_clean(words, sizeof(words), said));
	if (!json_is_object(*answer))
		return xn_fail(EPROTO, "the answer is not an object: that is not xsknetd");
	return 0;
}

int xn_client_stats(int fd, json_t **answer)
{
	uint64_t deadline = xn_now_ns() + XN_CLIENT_WAIT_MS * 1000000ull;
	struct line l = { malloc(READ_BYTES), 0, READ_BYTES };
	int err;

	*answer = NULL;
	if (!l.text)
		return xn_fail(ENOMEM, "out of memory");
	err = ask(fd, deadline);
	if (!err)
		err = read_line(fd, &l, deadline);
	if (!err)
		err = understand(answer, &l);
	free(l.text);
	if (err) {
		json_decref(*answer);
		*answer = NULL;
	}
	return err;
}
