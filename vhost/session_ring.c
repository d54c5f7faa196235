/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests about vrings. */
#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "vhost/session_priv.h"

/* The whole number as it came, not cut to 16 bits. */
static int check_index(const struct xn_session *s, uint64_t index)
{
	if (index >= xn_vdev_rings(s->v))
		return xn_fail(EINVAL, "vring %" PRIu64 ": there are %u (%u queue pairs, and a control "
			       "queue): give the VMM as many queues as --port has", index,
			       xn_vdev_rings(s->v), xn_vdev_opts(s->v)->pairs);
	return 0;
}

int xn_vu_set_vring_num(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	int err = check_index(s, m->p.state.index);

	return err ? err : xn_vdev_ring_size(s->v, m->p.state.index, m->p.state.num);
}

int xn_vu_set_vring_base(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	int err = check_index(s, m->p.state.index);

	return err ? err : xn_vdev_ring_base(s->v, m->p.state.index, m->p.state.num);
}

/* The log address of the used ring is the used ring's own, without an IOMMU, which is not
 * offered; whether it is logged goes with VHOST_F_LOG_ALL. */
int xn_vu_set_vring_addr(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	const struct xn_vu_vring_addr *r = &m->p.addr;
	int err = check_index(s, r->index);

	if (err)
		return err;
	if (r->flags & ~XN_VU_VRING_LOG)
		return xn_fail(EINVAL, "vring %u: flags %#x are not known", r->index, r->flags);
	return xn_vdev_ring_addr(s->v, r->index, r->desc, r->avail, r->used);
}

int xn_vu_set_vring_enable(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	int err = check_index(s, m->p.state.index);

	if (err)
		return err;
	if (m->p.state.num > 1)
		return xn_fail(EINVAL, "vring %u: enable is 0 or 1, not %u", m->p.state.index,
			       m->p.state.num);
	err = xn_vdev_ring_enable(s->v, m->p.state.index, m->p.state.num);
	a->forgiven = err == -EIO;
	return err;
}

int xn_vu_get_vring_base(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	int err = check_index(s, m->p.state.index);

	if (err)
		return err;
	a->p.state.index = m->p.state.index;
	a->p.state.num = xn_vdev_ring_stop(s->v, m->p.state.index);
	return 0;
}

/* ---- eventfds ---- */

/* Which ring, and whether there is an fd. */
static int check_event(const struct xn_session *s, const struct xn_msg *m, unsigned *index)
{
	const uint64_t word = m->p.u64;
	const bool no_fd = word & XN_VU_VRING_NOFD;

	if (word & ~(uint64_t)(XN_VU_VRING_INDEX | XN_VU_VRING_NOFD))
		return xn_fail(EINVAL, "vring %#" PRIx64 ": bits beyond index and \"no fd\"", word);
	if (no_fd != !m->n_fds)
		return xn_fail(EINVAL, "vring %#" PRIx64 " with %u fds", word, m->n_fds);
	*index = (unsigned)(word & XN_VU_VRING_INDEX);
	return check_index(s, *index);
}

/* From now on the callee's. -1: none came. */
static int take_fd(struct xn_msg *m)
{
	int fd = m->n_fds ? m->fds[0] : -1;

	m->fds[0] = -1;
	return fd;
}

int xn_vu_set_vring_kick(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	unsigned index = 0;
	int err = check_event(s, m, &index);

	if (err)
		return err;
	err = xn_vdev_ring_kick(s->v, index, take_fd(m));
	a->forgiven = err == -EIO;
	return err;
}

int xn_vu_set_vring_call(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	unsigned index = 0;
	int err = check_event(s, m, &index);

	return err ? err : xn_vdev_ring_call(s->v, index, take_fd(m));
}

int xn_vu_set_vring_err(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	unsigned index = 0;
	int err = check_event(s, m, &index);

	return err ? err : xn_vdev_ring_err(s->v, index, take_fd(m));
}
