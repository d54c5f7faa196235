/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session in a thread of its own, as in the daemon, and a front end with a guest's driver on
 * the other end of a socket pair. No root, no network: loopback and null ports.
 */
#ifndef XN_TESTS_UNIT_SESSION_RIG_H
#define XN_TESTS_UNIT_SESSION_RIG_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "bench/front.h"
#include "tests/cmocka.h"
#include "tests/fake/driver.h"
#include "vhost/session.h"
#include "vhost/sigbus.h"

#define RAM        (8u << 20)
#define USER       0x7f1200000000ull         /* where the front end has guest address 0 */
#define BIT(n)     (1ull << (n))
#define VERSION    BIT(VIRTIO_F_VERSION_1)
#define PROTOCOL   BIT(XN_VU_F_PROTOCOL_FEATURES)
#define LOG_ALL    BIT(XN_VU_F_LOG_ALL)
#define ALL        (~0ull)
#define MAX_RINGS  9u
#define WAIT_NS    20000000000ull            /* what comes at all has come by then */
#define AGAIN_NS   100000000ull              /* a frame that takes longer found no buffer */

static const uint8_t rig_mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

struct rig {
	struct xn_port *port;
	struct xn_vdev *v;
	struct xn_session *s;
	struct front f;
	struct drv drv;
	pthread_t loop;
	pthread_mutex_t lock;                 /* held by the loop, but for when it waits */
	int stop_fd;
	int result;                           /* how the session ended */
	int option;                           /* SO_...: of sockets of later sessions */
	int kick[MAX_RINGS], call[MAX_RINGS], err[MAX_RINGS];
};

/* ---- the daemon's main loop ---- */

static inline void *rig_loop(void *arg)
{
	struct rig *r = arg;

	pthread_mutex_lock(&r->lock);
	while (!r->result) {
		struct pollfd p[] = { { .fd = r->stop_fd, .events = POLLIN },
				      { .fd = xn_session_fd(r->s), .events = POLLIN },
				      { .fd = xn_session_ctrl_fd(r->s), .events = POLLIN } };

		const int timeout_ms = xn_session_timeout_ms(r->s);

		pthread_mutex_unlock(&r->lock);
		poll(p, XN_ARRAY_SIZE(p), timeout_ms);
		pthread_mutex_lock(&r->lock);
		if (p[0].revents)
			break;
		r->result = xn_session_handle(r->s);
	}
	xn_session_close(r->s);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* A front end that has just connected. */
static inline void rig_connect(struct rig *r)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	if (r->option)
		(void)setsockopt(pair[1], SOL_SOCKET, r->option, &(int){ 1 }, sizeof(int));
	memset(&r->f, 0, sizeof(r->f));
	r->f.fd = pair[0];
	assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
	r->result = 0;
	assert_int_equal(xn_session_open(&r->s, pair[1], r->v), 0);
	assert_int_equal(pthread_create(&r->loop, NULL, rig_loop, r), 0);
}

/* The session has ended, or ends now; what its last call said. */
static inline int rig_end(struct rig *r)
{
	static const uint64_t one = 1;
	uint64_t v;

	/* What was sent before is handled before: the loop looks at its stop first. */
	(void)!write(r->stop_fd, &one, sizeof(one));
	pthread_join(r->loop, NULL);
	(void)!read(r->stop_fd, &v, sizeof(v));
	front_close(&r->f);
	return r->result;
}

/* The session ends by itself. */
static inline int rig_ends(struct rig *r)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += WAIT_NS / 1000000000;
	assert_int_equal(pthread_timedjoin_np(r->loop, NULL, &t), 0);
	front_close(&r->f);
	return r->result;
}

static inline void rig_open(struct rig *r, const char *port, unsigned pairs)
{
	struct xn_vdev_opts opts = { .pairs = pairs, .mtu = 1500,
				     .worker = { .poll = XN_POLL_SLEEP } };

	memset(r, 0, sizeof(*r));
	memcpy(opts.mac, rig_mac, sizeof(opts.mac));
	drv_init(&r->drv, RAM, pairs);
	pthread_mutex_init(&r->lock, NULL);
	r->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned i = 0; i < MAX_RINGS; i++) {
		r->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r->err[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	assert_int_equal(xn_port_open(&r->port, port, NULL), 0);
	assert_int_equal(xn_vdev_create(&r->v, r->port, &opts), 0);
	rig_connect(r);
}

static inline void rig_close_device(struct rig *r)
{
	xn_vdev_destroy(r->v);
	xn_port_close(r->port);
	for (unsigned i = 0; i < MAX_RINGS; i++) {
		close(r->kick[i]);
		close(r->call[i]);
		close(r->err[i]);
	}
	close(r->stop_fd);
	pthread_mutex_destroy(&r->lock);
	drv_fini(&r->drv);
}

static inline void rig_close(struct rig *r)
{
	assert_int_equal(rig_end(r), 0);
	rig_close_device(r);
}

/* ---- the front end's usual words ---- */

static inline void rig_negotiate(struct rig *r)
{
	assert_int_equal(front_negotiate(&r->f, 0, VERSION, ALL), 0);
	assert_true(r->f.need_reply);
}

static inline struct front_region rig_region(const struct rig *r)
{
	return (struct front_region){ .size = RAM, .user_addr = USER, .fd = r->drv.fd };
}

static inline void rig_set_mem(struct rig *r)
{
	const struct front_region one = rig_region(r);

	assert_int_equal(front_set_mem(&r->f, &one, 1), 0);
}

static inline struct front_ring rig_ring(const struct rig *r, unsigned i, uint16_t base)
{
	const struct xn_vring v = drv_vring(i);

	return (struct front_ring){ .index = i, .size = v.size, .desc = USER + v.desc_gpa,
				    .avail = USER + v.avail_gpa, .used = USER + v.used_gpa,
				    .base = base, .kick_fd = r->kick[i], .call_fd = r->call[i],
				    .err_fd = r->err[i] };
}

static inline void rig_start_ring(struct rig *r, unsigned i, uint16_t base)
{
	const struct front_ring ring = rig_ring(r, i, base);

	assert_int_equal(front_start_ring(&r->f, &ring), 0);
}

static inline void rig_start_pair(struct rig *r, unsigned p)
{
	for (unsigned i = 2 * p; i < 2 * p + 2; i++) {
		rig_start_ring(r, i, 0);
		assert_int_equal(front_enable_ring(&r->f, i, true), 0);
	}
}

/* Open, negotiated, with memory, the first pair running. */
static inline void rig_run(struct rig *r, const char *port)
{
	rig_open(r, port, 1);
	rig_negotiate(r);
	rig_set_mem(r);
	rig_start_pair(r, 0);
}

/* What was sent is done when this is answered. */
static inline void rig_settle(struct rig *r)
{
	uint64_t v;

	assert_int_equal(front_get_u64(&r->f, XN_VU_GET_FEATURES, &v), 0);
}

static inline struct xn_vdev_info rig_info(struct rig *r)
{
	struct xn_vdev_info info;

	rig_settle(r);
	pthread_mutex_lock(&r->lock);
	xn_vdev_get_info(r->v, &info);
	pthread_mutex_unlock(&r->lock);
	return info;
}

static inline struct xn_session_info rig_session_info(struct rig *r)
{
	struct xn_session_info info;

	rig_settle(r);
	pthread_mutex_lock(&r->lock);
	xn_session_get_info(r->s, &info);
	pthread_mutex_unlock(&r->lock);
	return info;
}

static inline void rig_config_changed(struct rig *r)
{
	pthread_mutex_lock(&r->lock);
	xn_session_config_changed(r->s);
	pthread_mutex_unlock(&r->lock);
}

static inline uint64_t rig_stat(struct rig *r, unsigned pair, const char *name)
{
	uint64_t v;

	pthread_mutex_lock(&r->lock);
	v = drv_stat(xn_vdev_dev(r->v), pair, name);
	pthread_mutex_unlock(&r->lock);
	return v;
}

/* Waits until so many pairs run. */
static inline void rig_wait_running(struct rig *r, unsigned pairs)
{
	const uint64_t until = xn_now_ns() + WAIT_NS;

	while (rig_info(r).running != pairs) {
		assert_true(xn_now_ns() < until);
		usleep(1000);
	}
}

/* With NEED_REPLY: true: done; false: refused. */
static inline bool rig_says_yes(struct rig *r, unsigned request, const void *payload, size_t bytes,
			 const int *fds, unsigned n_fds)
{
	int rc = front_set(&r->f, request, payload, bytes, fds, n_fds);

	if (rc && rc != -EREMOTEIO)
		fail_msg("request %u: %s", request, r->f.error);
	return !rc;
}

static inline bool state_says_yes(struct rig *r, unsigned request, uint32_t index, uint32_t num)
{
	const struct xn_vu_vring_state s = { index, num };

	return rig_says_yes(r, request, &s, sizeof(s), NULL, 0);
}

/* ---- the guest ---- */

static inline void rig_kick(struct rig *r, unsigned i)
{
	static const uint64_t one = 1;

	assert_int_equal(write(r->kick[i], &one, sizeof(one)), sizeof(one));
}

static inline bool signalled(int fd)
{
	uint64_t v;

	return read(fd, &v, sizeof(v)) == sizeof(v);
}

static inline bool rig_wait_signal(int fd)
{
	const uint64_t until = xn_now_ns() + WAIT_NS;

	while (!signalled(fd)) {
		if (xn_now_ns() > until)
			return false;
		usleep(200);
	}
	return true;
}

static inline bool rig_used_within(struct rig *r, unsigned q, uint16_t *head, uint32_t *len, uint64_t ns)
{
	const uint64_t until = xn_now_ns() + ns;

	while (!drv_used(&r->drv, q, head, len)) {
		if (xn_now_ns() > until)
			return false;
		usleep(100);
	}
	return true;
}

static inline bool rig_wait_used(struct rig *r, unsigned q, uint16_t *head, uint32_t *len)
{
	return rig_used_within(r, q, head, len, WAIT_NS);
}

/*
 * Sends a frame of `bytes` on pair p; does it come back (loopback), byte for byte? A turn looks
 * for buffers before it looks for packets: when both are posted in between, the frame finds
 * no buffer, is dropped by name (rx_drop_no_buffer), and sent again.
 */
static inline bool rig_try_ping(struct rig *r, unsigned p, uint32_t bytes)
{
	const uint64_t rx_at = 0x100000 + 0x10000 * p, tx_at = rx_at + 0x8000;
	bool back = false;
	uint16_t head;
	uint32_t len = 0;

	drv_fill_pattern(&r->drv, tx_at, tx_at + DRV_HDR + bytes);
	memset(r->drv.ram + tx_at, 0, DRV_HDR);
	memset(r->drv.ram + rx_at, 0xee, 2048);
	drv_post1(&r->drv, 2 * p, rx_at, 2048);
	rig_kick(r, 2 * p);
	for (unsigned i = 0; i < 200 && !back; i++) {
		drv_post1(&r->drv, 2 * p + 1, tx_at, DRV_HDR + bytes);
		rig_kick(r, 2 * p + 1);
		if (!rig_wait_used(r, 2 * p + 1, &head, &len))
			return false;
		back = rig_used_within(r, 2 * p, &head, &len, AGAIN_NS);
	}
	return back && len == DRV_HDR + bytes &&
	       !memcmp(r->drv.ram + rx_at + DRV_HDR, r->drv.ram + tx_at + DRV_HDR, bytes);
}

static inline void rig_ping(struct rig *r, unsigned p, uint32_t bytes)
{
	assert_true(rig_try_ping(r, p, bytes));
}

/* A packet that goes nowhere; is its head given back? */
static inline bool rig_send(struct rig *r, unsigned p)
{
	const uint64_t at = 0x300000;
	uint16_t head;
	uint32_t len;

	memset(r->drv.ram + at, 0, DRV_HDR + 60);
	drv_post1(&r->drv, 2 * p + 1, at, DRV_HDR + 60);
	rig_kick(r, 2 * p + 1);
	return rig_wait_used(r, 2 * p + 1, &head, &len);
}

/* ---- starts that fail ---- */

/* By the linker in the place of xn_queue_start. */
int __real_xn_queue_start(struct xn_queue *q);
int __wrap_xn_queue_start(struct xn_queue *q);

static uint32_t starts_to_fail;

int __wrap_xn_queue_start(struct xn_queue *q)
{
	const uint32_t left = xn_load_once32(&starts_to_fail);

	if (!left)
		return __real_xn_queue_start(q);
	xn_store_once32(&starts_to_fail, left - 1);
	return xn_fail(ENOBUFS, "memory cannot be pinned, says the test");
}

static inline void fail_starts(uint32_t n)
{
	xn_store_once32(&starts_to_fail, n);
}

/* ---- stops, pair by pair ---- */

/* By the linker in the place of xn_queue_stop, where the daemon calls it. */
int __real_xn_queue_stop(struct xn_queue *q);
int __wrap_xn_queue_stop(struct xn_queue *q);

static uint32_t stops_one_by_one;

int __wrap_xn_queue_stop(struct xn_queue *q)
{
	xn_store_once32(&stops_one_by_one, xn_load_once32(&stops_one_by_one) + 1);
	return __real_xn_queue_stop(q);
}

/* ---- a guest that goes on and on ---- */

struct guest {
	struct rig *r;
	uint32_t stop;
	uint32_t pings;             /* others read it */
	bool failed;
};

static inline void *ping_on(void *arg)
{
	struct guest *g = arg;

	while (!xn_load_acquire32(&g->stop) && !g->failed) {
		g->failed = !rig_try_ping(g->r, 0, 60 + g->pings % 1000);
		xn_store_once32(&g->pings, g->pings + 1);
	}
	return NULL;
}

static inline void await_pings(struct guest *g, uint32_t n)
{
	const uint64_t until = xn_now_ns() + WAIT_NS;

	while (xn_load_once32(&g->pings) < n) {
		assert_true(xn_now_ns() < until);
		usleep(1000);
	}
}

/* ---- accounts ---- */

static inline unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
