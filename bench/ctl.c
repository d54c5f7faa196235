/* SPDX-License-Identifier: BSD-2-Clause */
/* See ctl.h. One request, one answer, each a line of JSON. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/ctl.h"

#define ANSWER_MAX (1u << 20)
#define WAIT_S     1

static int dial(const char *path)
{
	const struct timeval wait = { .tv_sec = WAIT_S };
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(a.sun_path))
		return fd;
	strcpy(a.sun_path, path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Up to the end of the line. NULL: none came. To be freed. */
static char *ask(int fd, const char *request)
{
	char *answer = malloc(ANSWER_MAX + 1);
	size_t at = 0;
	ssize_t n;

	if (!answer || send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
		free(answer);
		return NULL;
	}
	while (at < ANSWER_MAX && (n = recv(fd, answer + at, ANSWER_MAX - at, 0)) > 0) {
		at += (size_t)n;
		if (answer[at - 1] == '\n')
			break;
	}
	answer[at] = 0;
	return answer;
}

static double member(const json_t *o, const char *name)
{
	return (double)json_integer_value(json_object_get(o, name));
}

static void read_stats(const json_t *root, struct xn_copies *out)
{
	json_t *counters = json_object_get(root, "counters"), *v;
	json_t *workers = json_object_get(root, "workers");
	const char *name;
	size_t i;

	json_object_foreach(counters, name, v)
		xn_copies_count(out, name, (uint64_t)member(v, "value"));
	json_array_foreach(workers, i, v) {
		out->turns += member(v, "turns") - member(v, "empty_turns");
		out->sleeps += member(v, "sleeps") + member(v, "gathers");
	}
}

static void read_word(const json_t *root, const char *name, char *out, size_t room)
{
	const char *word = json_string_value(json_object_get(json_object_get(root, "port"), name));

	snprintf(out, room, "%s", word ? word : "");
}

static json_t *stats(const char *path)
{
	int fd = dial(path);
	char *answer = fd < 0 ? NULL : ask(fd, "{\"cmd\":\"stats\"}\n");
	json_t *root = answer ? json_loads(answer, 0, NULL) : NULL;

	free(answer);
	if (fd >= 0)
		close(fd);
	return root;
}

void xn_ctl_copies(const char *path, struct xn_copies *out)
{
	json_t *root = stats(path);

	if (root)
		read_stats(root, out);
	json_decref(root);
}

void xn_ctl_place(const char *path, char attach[16], char mode[16])
{
	json_t *root = stats(path);

	read_word(root, "attach", attach, 16);
	read_word(root, "mode", mode, 16);
	json_decref(root);
}
