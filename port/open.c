/* SPDX-License-Identifier: BSD-2-Clause */
/* From a word like "xdp:eth0" to a port. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/opts.h"
#include "port/port.h"

static const struct {
	const char *kind;
	int (*open)(struct xn_port **, const char *rest, const struct xn_port_opts *);
} kinds[] = {
	{ "xdp",      xn_port_open_xdp },
	{ "null",     xn_port_open_null },
	{ "loopback", xn_port_open_loopback },
};

int xn_port_open(struct xn_port **port, const char *spec, const struct xn_port_opts *in)
{
	size_t len = strcspn(spec, ":");
	const char *rest = spec[len] ? spec + len + 1 : "";
	struct xn_port_opts opts;

	*port = NULL;
	if (!xn_opts_take(&opts, sizeof(opts), in))
		return xn_fail(E2BIG, "xn_port_opts: members that this library does not know "
			       "(set .sz = sizeof(struct xn_port_opts), the rest to 0)");
	for (unsigned i = 0; i < XN_ARRAY_SIZE(kinds); i++)
		if (strlen(kinds[i].kind) == len && !strncmp(spec, kinds[i].kind, len))
			return kinds[i].open(port, rest, &opts);
	return xn_fail(EINVAL, "port \"%.*s\" is not known: use xdp:IFNAME, null or loopback",
		       (int)len, spec);
}

void xn_port_close(struct xn_port *port)
{
	if (!port)
		return;
	assert(!port->in_use);
	port->ops->close(port);
}

void xn_port_get_info(const struct xn_port *port, struct xn_port_info *info)
{
	*info = (struct xn_port_info){ .kind = port->ops->kind, .attach = "", .mode = "",
				       .queues = port->n_queues, .max_frame = port->max_frame };
	port->ops->get_info(port, info);
}

int xn_port_get_mode(const struct xn_port *port, struct xn_port_mode *mode)
{
	struct xn_port_mode m = { .sz = mode->sz, .why = "", .verdict = "" };

	if (m.sz < offsetof(struct xn_port_mode, chunk_bytes))
		return xn_fail(EINVAL, "xn_port_mode: set .sz = sizeof(struct xn_port_mode)");
	if (port->ops->get_mode)
		port->ops->get_mode(port, &m);
	memset(mode, 0, m.sz);
	memcpy(mode, &m, XN_MIN(m.sz, sizeof(m)));
	return 0;
}

int xn_port_get_rss(const struct xn_port *port, struct xn_port_rss *rss)
{
	struct xn_port_rss r = { .sz = rss->sz, .status = "", .why = "" };

	if (r.sz < offsetof(struct xn_port_rss, why) + sizeof(r.why))
		return xn_fail(EINVAL, "xn_port_rss: set .sz = sizeof(struct xn_port_rss)");
	if (port->ops->get_rss)
		port->ops->get_rss(port, &r);
	memset(rss, 0, r.sz);
	memcpy(rss, &r, XN_MIN(r.sz, sizeof(r)));
	return 0;
}

int xn_port_announce(struct xn_port *port, const uint8_t mac[6])
{
	return port->ops->announce ? port->ops->announce(port, mac) : 0;
}
