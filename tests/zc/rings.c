/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sets the length of an interface's rings (as ethtool -G). Runs in the machine of
 * tests/zc/run, which says why.
 *
 *	rings INTERFACE DESCRIPTORS
 */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/zc/zc.h"

int main(int argc, char **argv)
{
	struct ethtool_ringparam rings = { .cmd = ETHTOOL_GRINGPARAM };
	struct ifreq r = { .ifr_data = (void *)&rings };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 3)
		zc_die("usage: rings INTERFACE DESCRIPTORS");
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", argv[1]);
	if (ioctl(fd, SIOCETHTOOL, &r))
		zc_die("%s: length of rings: %s", argv[1], strerror(errno));
	rings.cmd = ETHTOOL_SRINGPARAM;
	rings.rx_pending = rings.tx_pending = (unsigned)atoi(argv[2]);
	if (ioctl(fd, SIOCETHTOOL, &r))
		zc_die("%s: rings of %s: %s", argv[1], argv[2], strerror(errno));
	close(fd);
	return 0;
}
