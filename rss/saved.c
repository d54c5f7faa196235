/* SPDX-License-Identifier: BSD-2-Clause */
/* Records that outlive their process. Theory in rss/saved.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "rss/saved.h"

#define MAGIC     0x584e4e49u    /* "XNNI" */
#define NS_PER_MS 1000000ull
#define LOOK_NS   (5 * NS_PER_MS)

struct head {
	uint32_t magic, bytes, seq, pad;
	uint64_t sum;        /* of the record, and of this head with sum 0 */
};

/* FNV-1a, 64 bits: against what was not written to its end, not against malice. */
static uint64_t add_sum(uint64_t sum, const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		sum = (sum ^ b[i]) * 0x100000001b3ull;
	return sum;
}

static uint64_t sum_of(struct head h, const void *record)
{
	h.sum = 0;
	return add_sum(add_sum(0xcbf29ce484222325ull, &h, sizeof(h)), record, h.bytes);
}

/* Ours, or root's; and nobody else may write it. */
static bool is_trusted(const struct stat *st)
{
	return (st->st_uid == geteuid() || st->st_uid == 0) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

int xn_saved_dir(int *fd, const char *path)
{
	struct stat st;

	*fd = -1;
	if (mkdir(path, 0700) && errno != EEXIST)
		return xn_fail(errno, "%s: cannot be made: %s", path, strerror(errno));
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0)
		return xn_fail(errno, "%s: cannot be opened: %s", path, strerror(errno));
	if (!fstat(*fd, &st) && is_trusted(&st))
		return 0;
	close(*fd);
	*fd = -1;
	return xn_fail(EPERM, "%s belongs to somebody else, or others may write there: chmod 0700, or "
		       "another directory", path);
}

/* ---- the file ---- */

static int lock(int fd, uint64_t until_ns)
{
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (xn_now_ns() >= until_ns)
			return -EBUSY;
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
	return 0;
}

/* A locked file may be one that its last owner has just removed: then another is made. */
static int open_locked(struct xn_saved *s, struct stat *st, unsigned wait_ms)
{
	const uint64_t until_ns = xn_now_ns() + wait_ms * NS_PER_MS;
	int err;

	for (;;) {
		s->fd = openat(s->dir, s->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (s->fd < 0)
			return -errno;
		err = lock(s->fd, until_ns);
		if (!err && fstat(s->fd, st))
			err = -errno;
		if (err || st->st_nlink)
			return err;
		close(s->fd);
	}
}

int xn_saved_open(struct xn_saved *s, int dir, const char *name, unsigned wait_ms)
{
	struct stat st = { 0 };
	int err;

	*s = (struct xn_saved){ .fd = -1, .dir = dir };
	snprintf(s->name, sizeof(s->name), "%s", name);
	err = open_locked(s, &st, wait_ms);
	if (err == -EBUSY)
		xn_fail(EBUSY, "%s is locked: another process has programmed this NIC and still runs",
			name);
	else if (err)
		xn_fail(-err, "%s: cannot be opened: %s", name, strerror(-err));
	else if (!S_ISREG(st.st_mode) || !is_trusted(&st))
		err = xn_fail(EPERM, "%s belongs to somebody else, or others may write it: remove it",
			      name);
	if (err && s->fd >= 0) {
		close(s->fd);
		s->fd = -1;
	}
	return err;
}

/* Reads one slot into `record`: its number, 0 if it is not whole. */
static unsigned read_slot(const struct xn_saved *s, unsigned slot, void *record, size_t bytes)
{
	off_t at = (off_t)(slot * (sizeof(struct head) + bytes));
	struct head h;

	if (pread(s->fd, &h, sizeof(h), at) != (ssize_t)sizeof(h) || h.magic != MAGIC ||
	    h.bytes != bytes || !h.seq)
		return 0;
	if (pread(s->fd, record, bytes, at + (off_t)sizeof(h)) != (ssize_t)bytes)
		return 0;
	return sum_of(h, record) == h.sum ? h.seq : 0;
}

bool xn_saved_read(struct xn_saved *s, void *record, size_t bytes)
{
	void *other = malloc(bytes);
	unsigned seq[2] = { 0, 0 };
	struct stat st;

	if (other) {
		seq[0] = read_slot(s, 0, record, bytes);
		seq[1] = read_slot(s, 1, other, bytes);
	}
	if (seq[1] > seq[0])
		memcpy(record, other, bytes);
	free(other);
	s->seq = seq[1] > seq[0] ? seq[1] : seq[0];
	if (!s->seq && !fstat(s->fd, &st) && st.st_size)
		xn_log(XN_LOG_WARN, "%s: what is in it cannot be put back: another version wrote it, or it was "
		       "not finished, and then nothing was changed (ethtool -x shows key and table)", s->name);
	return s->seq != 0;
}

int xn_saved_write(struct xn_saved *s, const void *record, size_t bytes)
{
	struct head h = { .magic = MAGIC, .bytes = (uint32_t)bytes, .seq = s->seq + 1 };
	const size_t slot_bytes = sizeof(h) + bytes;
	uint8_t *slot = malloc(slot_bytes);
	ssize_t n;

	if (!slot)
		return xn_fail(ENOMEM, "%s: out of memory", s->name);
	h.sum = sum_of(h, record);
	memcpy(slot, &h, sizeof(h));
	memcpy(slot + sizeof(h), record, bytes);
	/* Slots are numbered as records are: 1 is in slot 0, 2 in slot 1, ... */
	n = pwrite(s->fd, slot, slot_bytes, (off_t)(s->seq % 2 * slot_bytes));
	free(slot);
	if (n != (ssize_t)slot_bytes)
		return xn_fail(n < 0 ? errno : ENOSPC, "%s: cannot be written: %s", s->name,
			       strerror(n < 0 ? errno : ENOSPC));
	s->seq++;
	return 0;
}

void xn_saved_close(struct xn_saved *s, bool keep)
{
	if (s->fd < 0)
		return;
	if (!keep) {
		/* Empty first: that may be all that is allowed. */
		if (ftruncate(s->fd, 0))
			xn_log(XN_LOG_WARN, "%s: cannot be emptied: %s", s->name, strerror(errno));
		unlinkat(s->dir, s->name, 0);
	}
	close(s->fd);
	s->fd = -1;
}

int xn_saved_each(int dir, const char *prefix, void (*fn)(void *arg, const char *name), void *arg)
{
	struct dirent **list;
	int n = scandirat(dir, ".", &list, NULL, alphasort);

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		if (!strncmp(list[i]->d_name, prefix, strlen(prefix)))
			fn(arg, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return 0;
}
