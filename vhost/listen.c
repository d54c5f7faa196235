/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets with a name. Contract in vhost/listen.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "vhost/listen.h"

#define BACKLOG      16
#define LOCK_WAIT_NS 2000000000ull

static int address_of(struct sockaddr_un *a, const char *path)
{
	size_t n = strlen(path);

	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!n || n >= sizeof(a->sun_path))
		return -ENAMETOOLONG;
	memcpy(a->sun_path, path, n);
	return 0;
}

int xn_listen_dial(const char *path)
{
	struct sockaddr_un a;
	int err = address_of(&a, path), fd;

	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Of who starts beside us, that is not long. Whoever may read a directory may also lock it, and
 * need not let go. */
static int lock_dir(int dir)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	const uint64_t until = xn_now_ns() + LOCK_WAIT_NS;

	while (flock(dir, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK || xn_now_ns() > until)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Opens and locks the directory, and keeps the name in it. */
static int open_dir(struct xn_listen *l, const char *path)
{
	char copy[108], *slash;
	int err;

	strcpy(copy, path);
	slash = strrchr(copy, '/');
	strcpy(l->name, slash ? slash + 1 : copy);
	if (slash)
		slash[slash == copy] = '\0';
	if (!*l->name)
		return xn_fail(EISDIR, "%s: names a directory, and not the socket in it", path);
	l->dir = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->dir < 0)
		return xn_fail(errno, "%s: the directory cannot be opened: %s", path,
			       strerror(errno));
	err = lock_dir(l->dir);
	if (err == -EWOULDBLOCK)
		return xn_fail(EAGAIN, "%s: another process has locked the directory, and does not let "
			       "go of it (lslocks shows who): give the socket a directory of its own", path);
	if (err)
		return xn_fail(-err, "%s: the directory cannot be locked: %s", path, strerror(-err));
	return 0;
}

/* Takes away what a process that died has left; refuses what is alive, or is no socket. */
static int clear_name(const struct xn_listen *l, const char *path)
{
	struct stat st;
	int fd;

	if (fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)
			return 0;
		return xn_fail(errno, "%s: %s", path, strerror(errno));
	}
	if (!S_ISSOCK(st.st_mode))
		return xn_fail(EEXIST, "%s exists and is no socket: choose another name, or remove "
			       "it", path);
	fd = xn_listen_dial(path);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 || fd == -EAGAIN)       /* its queue of connections may be full */
		return xn_fail(EADDRINUSE, "%s: another process listens there: stop it, or choose "
			       "another name", path);
	if (fd != -ECONNREFUSED)
		return xn_fail(-fd, "%s exists, and cannot be asked whether it is in use: %s", path,
			       strerror(-fd));
	if (unlinkat(l->dir, l->name, 0))
		return xn_fail(errno, "%s is left over, and cannot be removed: %s", path,
			       strerror(errno));
	return 0;
}

static int bind_and_listen(struct xn_listen *l, const struct xn_listen_cfg *cfg)
{
	struct sockaddr_un a;
	struct stat st;
	mode_t old;
	int err;

	address_of(&a, cfg->path);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return xn_fail(errno, "socket: %s", strerror(errno));
	old = umask(0777 & ~cfg->mode);     /* it never has another mode */
	err = bind(l->fd, (struct sockaddr *)&a, sizeof(a)) ? errno : 0;
	umask(old);
	if (err)
		return xn_fail(err, "%s cannot be made: %s", cfg->path, strerror(err));
	/* From here on the name is ours, and taken away by xn_listen_close. */
	if (fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW))
		return xn_fail(errno, "%s: %s", cfg->path, strerror(errno));
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (cfg->group != (gid_t)-1 &&
	    fchownat(l->dir, l->name, (uid_t)-1, cfg->group, AT_SYMLINK_NOFOLLOW))
		return xn_fail(errno, "%s cannot be given to group %u: %s", cfg->path,
			       (unsigned)cfg->group, strerror(errno));
	if (listen(l->fd, BACKLOG))
		return xn_fail(errno, "%s: listen: %s", cfg->path, strerror(errno));
	return 0;
}

int xn_listen_open(struct xn_listen *l, const struct xn_listen_cfg *cfg)
{
	struct sockaddr_un a;
	int err;

	*l = XN_LISTEN_NONE;
	if (address_of(&a, cfg->path))
		return xn_fail(ENAMETOOLONG, "'%s': the path of a socket has 1 to %zu bytes",
			       cfg->path, sizeof(a.sun_path) - 1);
	err = open_dir(l, cfg->path);
	if (!err)
		err = clear_name(l, cfg->path);
	if (!err)
		err = bind_and_listen(l, cfg);
	if (l->dir >= 0)
		flock(l->dir, LOCK_UN);
	if (err)
		xn_listen_close(l);
	return err;
}

void xn_listen_adopt(struct xn_listen *l, int fd)
{
	*l = XN_LISTEN_NONE;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	l->fd = fd;
}

void xn_listen_close(struct xn_listen *l)
{
	struct stat st;

	if (l->ino && !fstatat(l->dir, l->name, &st, AT_SYMLINK_NOFOLLOW) &&
	    st.st_dev == l->dev && st.st_ino == l->ino)
		(void)unlinkat(l->dir, l->name, 0);
	if (l->fd >= 0)
		close(l->fd);
	if (l->dir >= 0)
		close(l->dir);
	*l = XN_LISTEN_NONE;
}

int xn_listen_accept(const struct xn_listen *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}
