/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A NIC that distributes frames as a guest wants it: programming it, finding out what came of
 * it, and putting everything back.
 *
 *	xn_nic_open     nothing is changed, but for what an owner left that died
 *	xn_nic_set      the guest's configuration: what the NIC was like is written to a file
 *	                (rss/saved.h), then key, table and hash fields are set, read back, and
 *	                judged (rss/plan.h). As often as the guest changes its mind
 *	xn_nic_check    is it still so? Set again what a driver has forgotten (link down, ethtool -L)
 *	xn_nic_repeat   set again without asking: a driver may not know what its NIC has forgotten
 *	xn_nic_close    put back, file removed
 *
 * What of a NIC is programmed depends on whose it is:
 *
 *	the guest's alone     the interface's own key and table: all frames, on our queues
 *	shared, by its MAC    an RSS context of our own, with a rule that leads the guest's MAC
 *	                      there (ethtool's ntuple). Drivers without contexts: the rule leads
 *	                      to the first of our queues, from where frames are copied
 *
 * A NIC of which the guest has all queues is its own though it is shared: nobody else has a
 * socket there, and frames of the host's go to the host's stack from whatever queue. Frames to
 * all (broadcast) follow the interface's own table, not the rule.
 *
 * What sets needs CAP_NET_ADMIN: a process that gives it up has this done by one that keeps it
 * (cfg.keeper). Changes of others meanwhile: xn_nic_check overwrites them, since the
 * interface was given to the guest; xn_nic_close leaves them as they are.
 *
 * One thread at a time for each xn_nic.
 */
#ifndef XN_RSS_NIC_H
#define XN_RSS_NIC_H

#include "rss/plan.h"

struct xn_rss_config;
struct xn_nic;

#define XN_NIC_STATE_DIR "/run/xsknet"

struct xn_nic_cfg {
	const char *ifname;
	unsigned start, queues;      /* host queues start..start + queues - 1 are the guest's */
	const uint8_t *mac;          /* the interface is shared: frames to this address; NULL: not */
	/* Where it is kept what the NIC was like (xn_saved_dir); borrowed. -1: nowhere, then a
	 * NIC stays as it is when the process dies. */
	int state_dir;
	/* Nothing is changed: xn_nic_set and the others only tell how near the NIC comes as it is. */
	bool keep;
	/* A process of its own does it, which keeps CAP_NET_ADMIN, for as long as this one lives
	 * (rss/keeper.h). Then: before there are threads, and fds that must not stay open. */
	bool keeper;
	/* NULL: the kernel's. Else borrowed; ifindex and netns are the caller's then. */
	struct xn_ethtool *ethtool;
	unsigned ifindex;
	uint64_t netns;
};

/*
 * In the network namespace of the calling thread. Puts back, for all interfaces of this
 * namespace, what is kept in state_dir of owners that died.
 * -ENODEV no such interface; -EBUSY another process has programmed it, and lives; -EPERM
 * state_dir holds files of others; -ENOMEM, ... with a message.
 */
int xn_nic_open(struct xn_nic **n, const struct xn_nic_cfg *cfg);

/*
 * rss: copied. NULL: the guest has no RSS, frames are spread over its queues.
 * What the NIC cannot do is no failure, but told. -EPERM CAP_NET_ADMIN is missing, -ENODEV,
 * -ENOMEM, -ENOSPC (state cannot be kept), ... with a message, which is in told->why too (as
 * unsupported); then the NIC may be half programmed, and is put back by xn_nic_close.
 */
int xn_nic_set(struct xn_nic *n, const struct xn_rss_config *rss, struct xn_nic_told *told);

/* Cheap enough for each change of the link. *again (may be NULL): had to be set again. -EINVAL
 * nothing was set yet; else as xn_nic_set. */
int xn_nic_check(struct xn_nic *n, struct xn_nic_told *told, bool *again);

/*
 * For frames that come on wrong queues though the NIC is told as exact, and after an XDP program
 * was attached: a virtio NIC whose number of queues is set (which virtio_net does then, Linux
 * 7.2, virtnet_xdp_set) ends RSS (VIRTIO 1.3, 5.1.6.5.6.1), and the driver goes on to tell what
 * it was. So the program is attached first, then this set. Errors as above.
 */
int xn_nic_repeat(struct xn_nic *n, struct xn_nic_told *told);

/* NULL is taken. */
void xn_nic_close(struct xn_nic *n);

/* What xn_nic_set would tell, as far as that is known without changing anything. rss: NULL:
 * a guest that hashes everything, with a table as long as the NIC's. */
int xn_nic_foresee(const struct xn_nic_cfg *cfg, const struct xn_rss_config *rss,
		   struct xn_nic_told *told);

#endif
