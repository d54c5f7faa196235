/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small file that outlives its process: what a NIC was like before we changed it.
 *
 *	/run/xsknet/nic-NETNS-IFINDEX-NAME     locked (flock) as long as its owner lives
 *
 *	| head, record | head, record |        two slots: a record is written into the slot that
 *	    slot 0         slot 1              is not in use, with the higher number; one that was
 *	                                       not finished does not have the sum that it says
 *
 * A file that is not locked and has a record belongs to an owner that died. Only files of the
 * process's own user, or of root, that nobody else may write are believed.
 *
 * All paths are relative to a directory that was opened before (xn_saved_dir): so a process
 * that gives up file systems afterwards keeps what it needs, but for removing the file at the
 * end (it is emptied first, which says the same).
 */
#ifndef XN_RSS_SAVED_H
#define XN_RSS_SAVED_H

#include <stdbool.h>
#include <stddef.h>

#define XN_SAVED_NAME 64

struct xn_saved {
	int fd, dir;                 /* dir: borrowed */
	char name[XN_SAVED_NAME];
	unsigned seq;                /* of the last record; 0: none */
};

/* Opens the directory, and makes it (0700) if it is not there. *fd is the caller's. Set-up.
 * 0 or -errno with a message: -EPERM: others may write there. */
int xn_saved_dir(int *fd, const char *path);

/* Opens or makes the file, and locks it; an owner that is about to end has wait_ms for it. 0;
 * -EBUSY: its owner lives; -EPERM: not ours, or others may write it; else -errno. All with a
 * message. */
int xn_saved_open(struct xn_saved *s, int dir, const char *name, unsigned wait_ms);
/* The last whole record of exactly `bytes`: false, if there is none. */
bool xn_saved_read(struct xn_saved *s, void *record, size_t bytes);
/* After this returns 0, a later xn_saved_read finds it, however this process ends. -errno with
 * a message: then the one before is still there. */
int xn_saved_write(struct xn_saved *s, const void *record, size_t bytes);
/* keep: the record stays. Else the file is gone, or empty. */
void xn_saved_close(struct xn_saved *s, bool keep);

/* Calls fn for each name in the directory that begins with `prefix`. 0 or -errno. */
int xn_saved_each(int dir, const char *prefix, void (*fn)(void *arg, const char *name), void *arg);

#endif
