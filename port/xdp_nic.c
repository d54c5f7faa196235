/* SPDX-License-Identifier: BSD-2-Clause */
/* Programming the port's NIC. Contract in port/xdp_nic.h. */
#include <stdio.h>
#include <unistd.h>

#include "port/xdp.h"
#include "rss/saved.h"

int xn_xdp_nic_open_linux(struct xn_nic **n, const struct xn_nic_cfg *given)
{
	struct xn_nic_cfg cfg = *given;
	int err;

	/* The keeper puts back what it has set, even if this process is killed. The directory is for
	 * when both are; a service may have no right to it. */
	if (!cfg.keep && xn_saved_dir(&cfg.state_dir, XN_NIC_STATE_DIR))
		xn_log(XN_LOG_INFO, "%s: what the NIC was like is kept in no file: %s", cfg.ifname, xn_last_error());
	cfg.keeper = true;
	err = xn_nic_open(n, &cfg);
	if (cfg.state_dir >= 0)
		close(cfg.state_dir);
	return err;
}

/* ---- what is told ---- */

static void note(struct xn_xdp_port *p, const struct xn_nic_told *told)
{
	struct xn_xdp_nic *w = &p->nic;
	const enum xn_log_level level = told->status == XN_NIC_UNSUPPORTED ? XN_LOG_WARN : XN_LOG_INFO;
	bool log;

	pthread_mutex_lock(&w->look);
	w->told = *told;
	w->known = true;
	log = !(w->logged >> told->status & 1);
	w->logged |= 1u << told->status;
	pthread_mutex_unlock(&w->look);
	/* A guest may change its mind as often as it likes. */
	if (log)
		xn_log(level, "%s: the NIC's part in RSS: %s%s%s", p->spec.ifname, xn_nic_status_name(told->status),
		       *told->why ? ": " : "", told->why);
}

static void note_failure(struct xn_xdp_port *p)
{
	struct xn_nic_told told = { .status = XN_NIC_UNSUPPORTED };

	snprintf(told.why, sizeof(told.why), "%s", xn_last_error());
	note(p, &told);
}

/* Frames so far that the NIC has brought elsewhere than RSS says, and that stayed there. */
static uint64_t missteered(const struct xn_xdp_port *p, uint64_t *stayed)
{
	uint64_t exits[XN_E_COUNT];

	p->sys->steer_counters(p->steer, exits);
	*stayed = exits[XN_E_steer_unfixed];
	return exits[XN_E_steer_missteered] + exits[XN_E_steer_unfixed];
}

/* What a NIC does not do is mended by the port, as long as it has sockets for that. */
static void say_what_stayed(struct xn_xdp_port *p, struct xn_nic_told *told)
{
	uint64_t stayed, all = missteered(p, &stayed);
	const char *why;

	pthread_mutex_lock(&p->lock);
	if (told->status == XN_NIC_CORRECTED && xn_xdp_unmended(p, &why))
		xn_nic_say(told, XN_NIC_UNSUPPORTED, "%s", why);
	pthread_mutex_unlock(&p->lock);

	if (told->status == XN_NIC_CORRECTED && stayed > all / 2)
		xn_nic_say(told, XN_NIC_UNSUPPORTED, "and most of what comes on a wrong queue stays there (steer_unfixed)");
}

void xn_xdp_get_rss(const struct xn_port *port, struct xn_port_rss *r)
{
	struct xn_xdp_port *p = XN_CONTAINER_OF(port, struct xn_xdp_port, port);
	struct xn_nic_told told;
	bool known;

	pthread_mutex_lock(&p->nic.look);
	known = p->nic.known;
	told = p->nic.told;
	pthread_mutex_unlock(&p->nic.look);
	if (!known || port->n_queues < 2)
		return;
	say_what_stayed(p, &told);
	r->status = xn_nic_status_name(told.status);
	if (p->spec.nic_keep && told.status != XN_NIC_EXACT)
		xn_nic_say(&told, told.status, "it is not changed (nic=keep)");
	memcpy(r->why, told.why, sizeof(r->why));
}
_Static_assert(sizeof(((struct xn_port_rss *)0)->why) == sizeof(((struct xn_nic_told *)0)->why),
	       "a reason of the NIC's fits");

/* ---- life ---- */

void xn_xdp_nic_begin(struct xn_xdp_nic *w)
{
	pthread_mutex_init(&w->call, NULL);
	pthread_mutex_init(&w->look, NULL);
}

void xn_xdp_nic_open(struct xn_xdp_port *p)
{
	const struct xn_nic_cfg cfg = {
		.ifname = p->spec.ifname, .start = p->spec.start, .queues = p->spec.queues,
		.mac = p->spec.filter_mac ? p->info.mac : NULL, .state_dir = -1, .keep = p->spec.nic_keep,
	};

	if (p->spec.queues > 1 && p->sys->nic_open(&p->nic.nic, &cfg))
		note_failure(p);
}

void xn_xdp_nic_end(struct xn_xdp_nic *w)
{
	xn_nic_close(w->nic);
	pthread_mutex_destroy(&w->call);
	pthread_mutex_destroy(&w->look);
}

/* ---- what it does ---- */

void xn_xdp_nic_set(struct xn_xdp_port *p, const struct xn_rss_config *rss)
{
	struct xn_xdp_nic *w = &p->nic;
	struct xn_nic_told told;
	uint64_t stayed;
	int err;

	if (!w->nic)
		return;
	pthread_mutex_lock(&w->call);
	err = xn_nic_set(w->nic, rss, &told);
	if (!err && !w->asked && told.status != XN_NIC_UNSUPPORTED)
		err = xn_nic_repeat(w->nic, &told);
	w->asked = true;
	w->missteered = missteered(p, &stayed);
	if (err)
		note_failure(p);
	else
		note(p, &told);
	pthread_mutex_unlock(&w->call);
}

/* A NIC that says that all is as it was, and brings frames elsewhere, has forgotten it. */
static int check(struct xn_xdp_port *p, struct xn_nic_told *told)
{
	const uint64_t before = p->nic.missteered;
	uint64_t stayed, now = missteered(p, &stayed);
	bool again;
	int err = xn_nic_check(p->nic.nic, told, &again);

	p->nic.missteered = now;
	if (err || again || told->status != XN_NIC_EXACT || now == before)
		return err;
	return xn_nic_repeat(p->nic.nic, told);
}

void xn_xdp_nic_check(struct xn_xdp_port *p)
{
	struct xn_xdp_nic *w = &p->nic;
	struct xn_nic_told told;

	if (!w->nic)
		return;
	pthread_mutex_lock(&w->call);
	if (w->asked) {
		if (check(p, &told))
			note_failure(p);
		else
			note(p, &told);
	}
	pthread_mutex_unlock(&w->call);
}
