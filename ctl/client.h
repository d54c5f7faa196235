/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client of xsknetd's statistics socket: a stream of AF_UNIX, a line of JSON each way.
 *
 * The daemon is not trusted to be well: whatever comes, an answer takes XN_CLIENT_WAIT_MS
 * at most, and XN_CLIENT_MAX_BYTES.
 */
#ifndef XN_CTL_CLIENT_H
#define XN_CTL_CLIENT_H

#include <jansson.h>
#include <stddef.h>

#define XN_CLIENT_WAIT_MS   2000u
#define XN_CLIENT_MAX_BYTES (8u << 20)
#define XN_CLIENT_DIR       "/run/xsknetd"

/*
 * The socket's path from what was given: a path (with a slash), a NAME below `dir`, or NULL:
 * the only one there is. 0, or -errno with a message that says which there are.
 */
int xn_client_find(char *path, size_t bytes, const char *given, const char *dir);

/* A connected socket, or -errno with a message. */
int xn_client_connect(const char *path);

/*
 * Asks for the statistics. 0 and an object that is the caller's; or -errno with a message:
 * -ETIMEDOUT, -EMSGSIZE too long, -EPIPE the daemon has gone, -EPROTO not an answer, -EREMOTEIO
 * an answer that tells an error. After any of them the connection is of no use.
 */
int xn_client_stats(int fd, json_t **answer);

/* Words of the other side, for a terminal: in `out`, cut, without control characters. */
const char *xn_client_clean(char *out, size_t bytes, const char *text);

#endif
