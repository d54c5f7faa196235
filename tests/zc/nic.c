/* SPDX-License-Identifier: BSD-2-Clause */
/* Contract in nic.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/zc/nic.h"
#include "tests/zc/zc.h"

static unsigned wrong;

void zc_check(bool ok, const char *fmt, ...)
{
	va_list ap;

	wrong += !ok;
	printf(ok ? "ok: " : "FAILED: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

unsigned zc_wrong(void)
{
	return wrong;
}

void zc_set_channels(struct xn_ethtool *eth, unsigned n)
{
	struct ethtool_channels c = { .cmd = ETHTOOL_GCHANNELS };

	if (eth->call(eth, &c))
		zc_die("channels: %s", strerror(errno));
	c.cmd = ETHTOOL_SCHANNELS;
	c.combined_count = n;
	if (eth->call(eth, &c))
		zc_die("%u channels: %s", n, strerror(errno));
}

void zc_take_key(struct xn_rss_config *rss, const struct xn_nic_setup *nic, const char *text)
{
	char line[1024] = "";
	int fd = nic->key_fixed ? open("/proc/sys/net/core/netdev_rss_key", O_RDONLY) : -1;

	if (nic->key_fixed && (fd < 0 || read(fd, line, sizeof(line) - 1) < 120))
		zc_die("netdev_rss_key: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	line[3 * 40 - 1] = '\0';
	if (xn_rss_set_key(rss, nic->key_fixed ? line : text))
		zc_die("key \"%s\" is none", nic->key_fixed ? line : text);
}
