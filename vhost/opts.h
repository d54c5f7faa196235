/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's command line. */
#ifndef XN_VHOST_OPTS_H
#define XN_VHOST_OPTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vhost/worker.h"

#define XN_CPUS_MAX      64u
#define XN_SPARES_A_PAIR 512u

enum xn_sandboxing { XN_SANDBOX_ON, XN_SANDBOX_OFF, XN_SANDBOX_LOG };

struct xn_daemon_opts {
	/* Where front ends come from: one of these; or neither, with socket activation. */
	const char *socket;
	int fd;                         /* -1: not given */
	bool client;                    /* socket is the front end's: connect there */
	const char *port;
	const char *ctl;                /* NULL: no statistics socket */
	uint16_t mtu;                   /* 0: the port's */
	unsigned gro;                   /* XN_PUT_ */
	const char *rss_key, *rss_table;   /* as xn_dev_set_rss has them */
	bool mac_given;
	uint8_t mac[6];
	unsigned cpus[XN_CPUS_MAX], n_cpus;
	enum xn_poll poll;
	unsigned spares_a_pair;
	const char *user;
	gid_t group;                    /* (gid_t)-1: the process's own */
	mode_t mode;
	enum xn_sandboxing sandbox;
};

/* 0: go on; 1 + status: that was all (--help, --version, ...), or a mistake, which has been
 * told on stderr. */
int xn_daemon_opts_parse(struct xn_daemon_opts *o, int argc, char **argv);

#endif
