/* SPDX-License-Identifier: BSD-2-Clause */
/* Kinds of fds. Contract in vhost/fds.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "vhost/fds.h"
#include "vhost/sigbus.h"

void xn_fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

int xn_fd_dup(int fd)
{
	int mine = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (mine < 0)
		return xn_fail(errno, "cannot duplicate an fd: %s", strerror(errno));
	return mine;
}

int xn_fd_check_memory(int fd, const char *what)
{
	int flags = fcntl(fd, F_GETFL);

	/* Only files of memory know seals; this asks no file system, which might not answer. */
	if (flags < 0 || flags & O_PATH || fcntl(fd, F_GET_SEALS) < 0)
		return xn_fail(EINVAL, "%s: the fd is not a memfd or a file on tmpfs or hugetlbfs",
			       what);
	if ((flags & O_ACCMODE) != O_RDWR)
		return xn_fail(EINVAL, "%s: the fd is not open for reading and writing", what);
	return 0;
}

/*
 * Such files have no type. They are asked with AT_STATX_DONT_SYNC: FUSE tells then what it knows,
 * instead of asking its server. (Others that ask somebody, network file systems, are mounted
 * by those that we trust.)
 */
bool xn_fd_is_anonymous(int fd)
{
	struct statx st;

	return !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) &&
	       st.stx_mask & STATX_TYPE && !(st.stx_mode & S_IFMT);
}

/*
 * Of those that have no type an eventfd is the only kind that takes 8
 * bytes of zeros, which do not change it but wake up who waits: at the other end of a call
 * eventfd that is the guest, for which it is an interrupt. So those are asked whether they can
 * be written to; what else says yes does no harm when it is.
 *
 * (Pipes were for systems without eventfds; one whose other end is closed would be
 * readable for ever.)
 */
static bool takes_events(int fd, bool we_wait)
{
	static const uint64_t zero;
	static const struct timespec now;
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return (!we_wait && ppoll(&p, 1, &now, NULL) == 1 && p.revents == POLLOUT) ||
	       write(fd, &zero, sizeof(zero)) == sizeof(zero);
}

int xn_fd_check_event(int fd, bool we_wait, const char *what)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || flags & O_PATH || !xn_fd_is_anonymous(fd) ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) || !takes_events(fd, we_wait))
		return xn_fail(EINVAL, "%s: the fd is not an eventfd", what);
	return 0;
}

static int socket_option(int fd, int option)
{
	int v = -1;
	socklen_t bytes = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, option, &v, &bytes) ? -1 : v;
}

int xn_fd_check_stream(int fd, const char *what)
{
	if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM)
		return xn_fail(EINVAL, "%s: the fd is not a stream socket of AF_UNIX", what);
	return 0;
}

/*
 * The kernel maps huge pages as a whole, and then lets go of them, or puts others in their place
 * (vhost/sigbus.c), only as a whole. So that is what is asked for. Of other files st_blksize is a
 * page or more, and mapping some addresses behind their end does no harm.
 */
int xn_area_map(struct xn_area *a, int fd, uint64_t offset, uint64_t bytes, const char *what)
{
	struct stat st;
	int err = xn_fd_check_memory(fd, what);
	void *at;

	*a = (struct xn_area){ 0 };
	if (err)
		return err;
	if (!bytes || offset % XN_PAGE_SIZE || bytes > UINT64_MAX - offset)
		return xn_fail(EINVAL, "%s: %" PRIu64 " bytes at offset %" PRIu64 " make no sense",
			       what, bytes, offset);
	if (fstat(fd, &st) || st.st_size < 0 || offset + bytes > (uint64_t)st.st_size)
		return xn_fail(EINVAL, "%s: reaches to byte %" PRIu64 " of its file, which ends "
			       "before", what, offset + bytes);
	a->mapped = XN_ALIGN_UP(bytes, XN_MAX((uint64_t)st.st_blksize, XN_PAGE_SIZE));
	at = mmap(NULL, a->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	if (at == MAP_FAILED) {
		a->mapped = 0;
		return xn_fail(ENOMEM, "%s: cannot map %" PRIu64 " bytes at offset %" PRIu64 ": %s",
			       what, bytes, offset, strerror(errno));
	}
	a->at = at;
	a->bytes = bytes;
	xn_sigbus_guard(at, a->mapped);
	return 0;
}

void xn_area_unmap(struct xn_area *a)
{
	if (a->at) {
		xn_sigbus_unguard(a->at);
		munmap(a->at, a->mapped);
	}
	*a = (struct xn_area){ 0 };
}
