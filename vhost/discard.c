/* SPDX-License-Identifier: BSD-2-Clause */
/* The thread that closes. Theory in vhost/discard.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "vhost/discard.h"
#include "vhost/fds.h"

#define PLACES 64u

/* A process has one table of fds. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool on;                    /* there is a thread */
	int fds[PLACES];            /* a ring */
	unsigned first, n;          /* fds[first] is being closed */
} waiting = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void *close_them(void *arg)
{
	pthread_setname_np(pthread_self(), "xn-close");
	pthread_mutex_lock(&waiting.lock);
	waiting.on = true;
	pthread_cond_broadcast(&waiting.changed);
	for (;;) {
		int fd;

		while (!waiting.n)
			pthread_cond_wait(&waiting.changed, &waiting.lock);
		fd = waiting.fds[waiting.first];
		pthread_mutex_unlock(&waiting.lock);
		close(fd);
		pthread_mutex_lock(&waiting.lock);
		waiting.first = (waiting.first + 1) % PLACES;
		waiting.n--;
	}
	return NULL;
}

int xn_discard_start(void)
{
	sigset_t all, old;
	pthread_t t;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&t, NULL, close_them, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return xn_fail(err, "thread that closes files: %s", strerror(err));
	pthread_detach(t);
	/* What it does before its first rest needs system calls that are not on the
	 * sandbox's list. */
	pthread_mutex_lock(&waiting.lock);
	while (!waiting.on)
		pthread_cond_wait(&waiting.changed, &waiting.lock);
	pthread_mutex_unlock(&waiting.lock);
	return 0;
}

unsigned xn_discard_room(void)
{
	unsigned n;

	pthread_mutex_lock(&waiting.lock);
	n = PLACES - waiting.n;
	pthread_mutex_unlock(&waiting.lock);
	return n;
}

/* Memory, eventfds and their like, AF_UNIX: nobody is asked. Nor is anybody for this. */
static bool closes_at_once(int fd)
{
	int domain = 0;
	socklen_t bytes = sizeof(domain);

	return fcntl(fd, F_GET_SEALS) >= 0 || xn_fd_is_anonymous(fd) ||
	       (!getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) && domain == AF_UNIX);
}

void xn_discard(int fd)
{
	if (fd < 0)
		return;
	if (!waiting.on || closes_at_once(fd)) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&waiting.lock);
	assert(waiting.n < PLACES);     /* xn_discard_room() was asked */
	waiting.fds[(waiting.first + waiting.n++) % PLACES] = fd;
	pthread_cond_broadcast(&waiting.changed);
	pthread_mutex_unlock(&waiting.lock);
}
