/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verdict on several queues: does a guest get each frame on the queue that it computes, as
 * the interface is now? What the NIC would do is foreseen by the code that programs it
 * (rss/nic.h), for a guest that has all its queues.
 */
#include <string.h>

#include "base/log.h"
#include "base/types.h"
#include "ctl/judge.h"
#include "rss/nic.h"

void xn_rss_gather(struct xn_nic_facts *n)
{
	const struct xn_nic_cfg cfg = { .ifname = n->name, .queues = XN_MIN(n->rx_queues, n->tx_queues),
					.state_dir = -1 };
	bool silently = xn_fail_silently(true);

	n->rss_told = cfg.queues > 1 && !xn_nic_foresee(&cfg, NULL, &n->rss);
	xn_fail_silently(silently);
}

void xn_judge_rss(const struct xn_facts *f, struct xn_verdict *v)
{
	const struct xn_nic_facts *n = &f->nic;
	const unsigned queues = XN_MIN(n->rx_queues, n->tx_queues);
	const char *status = xn_nic_status_name(n->rss.status);

	if (queues < 2 || !n->rss_told)
		return;
	if (n->rss.status == XN_NIC_EXACT) {
		xn_say(v, XN_LEVEL_OK, "%s: a guest of %u queues gets each frame on the one that it computes", status,
		       queues);
	} else if (!strcmp(n->driver, "veth")) {
		xn_say(v, XN_LEVEL_WARN, "%s: veth has no RSS, the sender's queue decides; frames on another than the "
		       "guest computes are copied (steer_missteered)", status);
		xn_mend(v, "%sxsknetctl steer-peer %s --queues %u", n->peer == XN_PEER_HERE ? "" : "there: ",
			n->peer == XN_PEER_HERE ? n->peer_name : "PEER", queues);
	} else if (n->rss.status == XN_NIC_CORRECTED) {
		xn_say(v, XN_LEVEL_OK, "%s: frames on another queue than the guest computes are copied "
		       "(steer_missteered); %s", status, n->rss.why);
	} else {
		xn_say(v, XN_LEVEL_WARN, "%s: %s", status, n->rss.why);
		xn_mend(v, "ethtool -L %s combined 1, and xsknetd --port xdp:%s,queues=1", n->name, n->name);
	}
}
