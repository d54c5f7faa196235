/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests about what the guest sees of the network, and the way back to the front end. */
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/types.h"
#include "vhost/fds.h"
#include "vhost/session_priv.h"

#define MIN_MTU        68u              /* RFC 791; VIRTIO 1.2, 5.1.4.1 */
#define SPEED_UNKNOWN  0xffffffffu
#define DUPLEX_UNKNOWN 0xffu
#define FULL_DUPLEX    1u

/* VIRTIO 1.2, 5.1.4; zeros behind. */
static void fill_config(const struct xn_session *s, uint8_t out[XN_VU_CONFIG_BYTES])
{
	struct virtio_net_config c = { .duplex = DUPLEX_UNKNOWN, .speed = SPEED_UNKNOWN };
	struct xn_rss_limits_info rss = { .sz = sizeof(rss) };
	struct xn_port_info port;

	xn_port_get_info(xn_vdev_port(s->v), &port);
	/* It may have shrunk since the daemon was started. */
	c.mtu = (uint16_t)XN_MIN(s->mtu, port.mtu);
	(void)xn_dev_get_rss_limits(xn_vdev_dev(s->v), &rss);
	c.rss_max_key_size = (uint8_t)rss.key_bytes;
	c.rss_max_indirection_table_length = rss.table_entries;
	c.supported_hash_types = rss.hash_types;
	xn_dev_get_mac(xn_vdev_dev(s->v), c.mac);
	c.max_virtqueue_pairs = (uint16_t)xn_vdev_opts(s->v)->pairs;
	c.status = xn_dev_get_status(xn_vdev_dev(s->v));
	if (port.speed) {
		c.speed = port.speed;
		c.duplex = port.full_duplex ? FULL_DUPLEX : 0;
	}
	memset(out, 0, XN_VU_CONFIG_BYTES);
	memcpy(out, &c, sizeof(c));
}

static int check_config(const struct xn_msg *m)
{
	const struct xn_vu_config *c = &m->p.config;

	if (c->size > XN_VU_CONFIG_BYTES || c->offset > XN_VU_CONFIG_BYTES - c->size)
		return xn_fail(EINVAL, "configuration space has %u bytes, not %u at %u",
			       XN_VU_CONFIG_BYTES, c->size, c->offset);
	if (m->h.size != offsetof(struct xn_vu_config, data) + c->size)
		return xn_fail(EINVAL, "%u bytes of configuration space in %u bytes of payload",
			       c->size, m->h.size);
	return 0;
}

int xn_vu_get_config(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	uint8_t all[XN_VU_CONFIG_BYTES];

	a->refused = check_config(m);
	if (a->refused) {
		a->size = 0;
		return 0;
	}
	fill_config(s, all);
	a->p.config.offset = m->p.config.offset;
	a->p.config.size = m->p.config.size;
	a->p.config.flags = m->p.config.flags;
	memcpy(a->p.config.data, all + m->p.config.offset, m->p.config.size);
	a->size = m->h.size;
	return 0;
}

/* A driver of virtio 1.0 may write nothing there (VIRTIO 1.2, 5.1.4.2). That one tries is the
 * guest's doing, not the front end's. */
int xn_vu_set_config(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	int err = check_config(m);

	if (err)
		return err;
	a->forgiven = true;
	return xn_fail(EROFS, "configuration space is read-only");
}

int xn_vu_net_set_mtu(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	struct xn_port_info port;

	xn_port_get_info(xn_vdev_port(s->v), &port);
	if (m->p.u64 < MIN_MTU || m->p.u64 > port.mtu)
		return xn_fail(EINVAL, "MTU %" PRIu64 ": %u to %u are possible on this port",
			       m->p.u64, MIN_MTU, port.mtu);
	s->mtu = (uint16_t)m->p.u64;
	return 0;
}

int xn_vu_send_rarp(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	uint8_t mac[6];
	int err;

	memcpy(mac, &m->p, sizeof(mac));
	if (mac[0] & 1 || !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]))
		return xn_fail(EINVAL, "%#" PRIx64 " is no station's MAC address", m->p.u64);
	err = xn_port_announce(xn_vdev_port(s->v), mac);
	a->forgiven = true;
	return err;
}

/* ---- the way back ---------------------------------------------------------------------- */

int xn_vu_set_backend_req_fd(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	int err = xn_fd_check_stream(m->fds[0], "back channel");

	if (err)
		return err;
	xn_fd_close(s->back_fd);
	s->back_fd = m->fds[0];
	m->fds[0] = -1;
	return 0;
}

/*
 * Nothing is asked that has an answer; so nothing is read. (Reading could wait, even with
 * MSG_DONTWAIT, for somebody else who is reading from this socket: the front end has it, too, and
 * may read into memory whose page faults it does not answer.)
 */
void xn_session_config_changed(struct xn_session *s)
{
	const struct xn_vu_header h = { .request = XN_VU_BACK_CONFIG_CHANGE_MSG,
					.flags = XN_VU_VERSION };

	if (s->back_fd < 0 || !xn_session_has(s, XN_VU_P_CONFIG))
		return;
	/* Full: it has not read the last one, which says the same. */
	if (xn_io_send(s->back_fd, &h, NULL, -1) != -ENOTCONN)
		return;
	xn_fd_close(s->back_fd);
	s->back_fd = -1;
}
