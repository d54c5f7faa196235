/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests about shared memory: the guest's, the dirty log, the inflight area. */
#include <errno.h>
#include <stddef.h>

#include "base/log.h"
#include "vhost/session_priv.h"

static struct xn_vdev_region region(const struct xn_vu_region *r, int fd)
{
	return (struct xn_vdev_region){ .gpa = r->gpa, .size = r->size, .user_addr = r->user_addr,
					.offset = r->mmap_offset, .fd = fd };
}

int xn_vu_set_mem_table(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	const struct xn_vu_mem_table *t = &m->p.mem;
	struct xn_vdev_region r[XN_VU_MAX_REGIONS];

	if (!t->nregions || t->nregions > XN_VU_MAX_REGIONS || t->nregions != m->n_fds)
		return xn_fail(EINVAL, "%u memory regions and %u fds: 1 to %u of both, as many",
			       t->nregions, m->n_fds, XN_VU_MAX_REGIONS);
	if (m->h.size < offsetof(struct xn_vu_mem_table, regions) +
			t->nregions * sizeof(t->regions[0]))
		return xn_fail(EINVAL, "%u memory regions in %u bytes", t->nregions, m->h.size);
	for (unsigned i = 0; i < t->nregions; i++)
		r[i] = region(&t->regions[i], m->fds[i]);
	return xn_vdev_set_mem(s->v, r, t->nregions);
}

int xn_vu_get_max_mem_slots(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	a->p.u64 = XN_MEM_MAX_REGIONS;
	return 0;
}

int xn_vu_add_mem_reg(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	const struct xn_vdev_region r = region(&m->p.reg.region, m->fds[0]);

	return xn_vdev_add_region(s->v, &r);
}

/* An fd may come along, and is not used. */
int xn_vu_rem_mem_reg(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	const struct xn_vdev_region r = region(&m->p.reg.region, -1);

	return xn_vdev_remove_region(s->v, &r);
}

int xn_vu_set_log_base(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	return xn_vdev_set_log(s->v, m->fds[0], m->p.log.mmap_offset, m->p.log.mmap_size);
}

/* An eventfd for "the log has changed", which nobody waits for: front ends read the log when
 * they want to know. */
int xn_vu_set_log_fd(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	return 0;
}

int xn_vu_get_inflight_fd(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	const struct xn_vu_inflight *want = &m->p.inflight;
	uint64_t bytes;

	a->p.inflight = (struct xn_vu_inflight){ .num_queues = want->num_queues,
						 .queue_size = want->queue_size };
	a->size = m->h.size;
	/* Size 0 says no. */
	a->refused = xn_vdev_new_inflight(s->v, want->num_queues, want->queue_size, &a->fd, &bytes);
	a->p.inflight.mmap_size = a->refused ? 0 : bytes;
	return 0;
}

int xn_vu_set_inflight_fd(struct xn_session *s, struct xn_msg *m, struct xn_answer *a)
{
	const struct xn_vu_inflight *i = &m->p.inflight;

	return xn_vdev_set_inflight(s->v, m->fds[0], i->mmap_offset, i->mmap_size, i->num_queues,
				    i->queue_size);
}
