/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program outside of this tree: has the installed header and library, nothing
 * else. It is also compiled as C++.
 */
#include <xsknet.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	char want[32];
	struct xn_port *port = NULL;
	int err;

	/* The library that is loaded is the one that the header belongs to. */
	snprintf(want, sizeof(want), "%u.%u.%u", (unsigned)XN_VERSION_MAJOR,
		 (unsigned)XN_VERSION_MINOR, (unsigned)XN_VERSION_PATCH);
	if (strcmp(want, xn_version())) {
		fprintf(stderr, "header %s, library %s\n", want, xn_version());
		return 1;
	}
	err = xn_port_open(&port, "null", NULL);
	if (err) {
		fprintf(stderr, "null port: %d, %s\n", err, xn_last_error());
		return 1;
	}
	xn_port_close(port);
	return 0;
}
