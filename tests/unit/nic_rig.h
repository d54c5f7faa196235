/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest on a NIC of any kind: what the unit tests of rss/nic.h and of its keeper share. The NIC is
 * in memory that children share, and what it was like is kept in a directory of this test.
 */
#ifndef XN_TESTS_UNIT_NIC_RIG_H
#define XN_TESTS_UNIT_NIC_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/types.h"
#include "rss/config.h"
#include "rss/nic.h"
#include "rss/saved.h"
#include "tests/cmocka.h"
#include "tests/fake/ethtool.h"
#include "tests/fake/rss.h"
#include "xsknet.h"

#define FRAMES 300u

/* What NICs with server drivers are like (mlx5, ice). */
static const struct fnic_kind good = {
	.driver = "acme", .rings = 8, .table_len = 128, .key_len = 40, .rss = true, .table_set = true,
	.key_set = true, .fields_get = true, .fields_set = true, .contexts = true, .context_key = true,
	.rules = true,
};
#define KIND(change) ({ struct fnic_kind k_ = good; change; k_; })

static const uint8_t mac[6] = { 2, 2, 2, 2, 2, 2 };   /* of rss_plain_frame */

/* In memory that children share, so that what one did to the NIC stays when it dies. */
static struct fnic *nic;
static char dir_path[64];
static int dir_fd = -1;

static inline struct fnic *a_nic(struct fnic_kind kind)
{
	fnic_init(nic, &kind);
	return nic;
}

static inline struct xn_nic_cfg cfg_of(struct fnic *n, unsigned start, unsigned queues)
{
	return (struct xn_nic_cfg){ .ifname = "fake0", .start = start, .queues = queues, .state_dir = dir_fd,
				    .ethtool = &n->e, .ifindex = 7, .netns = 4026531840 };
}

static inline struct xn_nic_cfg shared_of(struct fnic *n, unsigned start, unsigned queues)
{
	struct xn_nic_cfg cfg = cfg_of(n, start, queues);

	cfg.mac = mac;
	return cfg;
}

static inline struct xn_rss_config a_guest(unsigned pairs)
{
	struct xn_rss_config rss;

	xn_rss_default(&rss, pairs);
	return rss;
}

static inline struct xn_nic *opened(const struct xn_nic_cfg *cfg)
{
	struct xn_nic *x;

	if (xn_nic_open(&x, cfg))
		fail_msg("open: %s", xn_last_error());
	return x;
}

static inline struct xn_nic_told set(struct xn_nic *x, const struct xn_rss_config *rss)
{
	struct xn_nic_told told;

	if (xn_nic_set(x, rss, &told))
		fail_msg("set: %s", xn_last_error());
	return told;
}

/* Is nothing left in the directory? */
static inline bool is_clean(void)
{
	char command[128];

	snprintf(command, sizeof(command), "test -z \"$(ls -A %s)\"", dir_path);
	return !system(command);
}

/* A frame of any class without extension headers, tagged or not. */
static inline unsigned a_frame(uint64_t *seed, uint8_t *frame)
{
	static const unsigned classes[] = {
		XN_FLOW_NONE, XN_FLOW_IPV4, XN_FLOW_TCPV4, XN_FLOW_UDPV4, XN_FLOW_IPV6, XN_FLOW_TCPV6,
		XN_FLOW_UDPV6,
	};

	rss_plain_frame(frame, 128, classes[rss_below(seed, XN_ARRAY_SIZE(classes))], rss_below(seed, 3),
			rss_random(seed));
	return 128;
}

struct arrivals { unsigned right, wrong, outside; };

static inline struct arrivals count(const struct fnic *n, const struct xn_rss_config *rss, unsigned start,
			     unsigned queues)
{
	struct arrivals a = { 0 };
	uint64_t seed = 4711;
	uint8_t frame[128];

	for (unsigned i = 0; i < FRAMES; i++) {
		unsigned bytes = a_frame(&seed, frame), got = fnic_receive(n, frame, bytes);

		if (got - start >= queues)
			a.outside++;
		else if (got == start + rss_model_queue(rss, frame, bytes))
			a.right++;
		else
			a.wrong++;
	}
	return a;
}

static inline void expect_exact(const struct fnic *n, const struct xn_nic_told *told,
			 const struct xn_rss_config *rss, unsigned start, unsigned queues)
{
	struct arrivals a = count(n, rss, start, queues);

	if (told->status != XN_NIC_EXACT || told->why[0])
		fail_msg("%s: %s", xn_nic_status_name(told->status), told->why);
	if (a.right != FRAMES)
		fail_msg("%u right, %u wrong, %u outside", a.right, a.wrong, a.outside);
}

static inline void expect_told(const struct xn_nic_told *told, enum xn_nic_status status, const char *why)
{
	if (told->status != status || !strstr(told->why, why))
		fail_msg("%s: \"%s\", not %s: \"%s\"", xn_nic_status_name(told->status), told->why,
			 xn_nic_status_name(status), why);
}

static inline int setup(void **state)
{
	snprintf(dir_path, sizeof(dir_path), "/tmp/xsknet-test-nic-%d", (int)getpid());
	nic = mmap(NULL, sizeof(*nic), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return nic == MAP_FAILED || xn_saved_dir(&dir_fd, dir_path);
}

static inline int teardown(void **state)
{
	close(dir_fd);
	munmap(nic, sizeof(*nic));
	return rmdir(dir_path);
}

#endif
