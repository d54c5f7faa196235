/* SPDX-License-Identifier: BSD-2-Clause */
/* xsknetd: see xsknetd(8), and vhost/daemon.c. */
#include "vhost/daemon.h"
#include "vhost/stderr.h"

int main(int argc, char **argv)
{
	struct xn_daemon_opts o;
	int done = xn_daemon_opts_parse(&o, argc, argv);

	if (done)
		return done - 1;
	xn_stderr_open(XN_LOG_INFO);
	return xn_daemon_run(&o);
}
