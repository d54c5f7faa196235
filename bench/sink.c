/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sink's user side. Its program hangs on xn1 by a bpf_link that only our fd
 * holds, so it goes with the process; in the stack by a queueing discipline, which goes
 * with the interface. Counters are the program's own memory, mapped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "bench/lab.h"
#include "bench/sink.h"
#include "bench/sink.skel.h"

struct xn_sink {
	struct sink_bpf *bpf;
	struct bpf_link *link;
	const struct xn_lab *lab;     /* borrowed, while it is attached to the stack */
	struct bpf_tc_hook hook;
	bool in_stack;
	unsigned queues;
};

static int attach_xdp(struct xn_sink *s, const struct xn_lab *lab)
{
	s->link = bpf_program__attach_xdp(s->bpf->progs.sink, (int)lab->far_ifindex);
	if (s->link)
		return 0;
	return xn_fail(errno, "cannot attach the sink to %s: %s%s", lab->far_name, strerror(errno),
		       errno == EBUSY || errno == EEXIST ? " (another XDP program is there)" : "");
}

static int attach_stack(struct xn_sink *s, const struct xn_lab *lab)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = bpf_program__fd(s->bpf->progs.sink_stack));
	int err;

	s->hook = (struct bpf_tc_hook){ .sz = sizeof(s->hook), .ifindex = (int)lab->far_ifindex,
					.attach_point = BPF_TC_INGRESS };
	err = bpf_tc_hook_create(&s->hook);
	if (!err)
		err = bpf_tc_attach(&s->hook, &opts);
	s->in_stack = !err;
	return err ? xn_fail(-err, "cannot attach the sink to the ingress of %s: %s; the kernel needs "
			     "NET_SCH_INGRESS and NET_CLS_BPF", lab->far_name, strerror(-err)) : 0;
}

static int attach(struct xn_sink *s, const struct xn_lab *lab, bool stack)
{
	int err, back;

	s->bpf = sink_bpf__open_and_load();
	if (!s->bpf)
		return xn_fail(errno, "cannot load the sink's BPF program: %s; CAP_BPF and CAP_NET_ADMIN "
			       "are needed, and Linux 5.18", strerror(errno));
	err = xn_lab_visit(lab->far_ns, &back);
	if (err)
		return err;
	err = stack ? attach_stack(s, lab) : attach_xdp(s, lab);
	xn_lab_return(back);
	return err;
}

int xn_sink_attach(struct xn_sink **out, const struct xn_lab *lab, enum xn_sink_mode mode)
{
	struct xn_sink *s;
	int err;

	*out = NULL;
	if (lab->cfg.queues > XN_SINK_MAX_QUEUES)
		return xn_fail(EINVAL, "a sink takes up to %u queues", XN_SINK_MAX_QUEUES);
	s = calloc(1, sizeof(*s));
	if (!s)
		return xn_fail(ENOMEM, "no memory for a sink");
	s->queues = lab->cfg.queues;
	s->lab = lab;
	err = attach(s, lab, mode == XN_SINK_STACK);
	if (err) {
		xn_sink_detach(s);
		return err;
	}
	s->bpf->bss->task.reflect = mode == XN_SINK_REFLECT;
	*out = s;
	return 0;
}

void xn_sink_detach(struct xn_sink *s)
{
	int back;

	if (!s)
		return;
	/* This one hangs on the interface, and would go with it. */
	if (s->in_stack && !xn_lab_visit(s->lab->far_ns, &back)) {
		s->hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
		bpf_tc_hook_destroy(&s->hook);
		xn_lab_return(back);
	}
	bpf_link__destroy(s->link);
	sink_bpf__destroy(s->bpf);
	free(s);
}

void xn_sink_reset(struct xn_sink *s, uint32_t run_tag)
{
	struct sink_bpf__bss *bss = s->bpf->bss;

	/* No stream is ours while they are emptied: the frames of an old run that are
	 * still on their way cannot leave anything behind. */
	xn_store_release32(&bss->task.streams, 0);
	memset(bss->streams, 0, sizeof(bss->streams));
	memset(bss->strays, 0, sizeof(bss->strays));
	for (unsigned i = 0; i < s->queues; i++)
		bss->streams[i].check.stream = run_tag + i;
	xn_store_once32(&bss->task.run_tag, run_tag);
	xn_store_release32(&bss->task.streams, s->queues);
}

void xn_sink_read(struct xn_sink *s, struct xn_sink_counts *out)
{
	const struct sink_bpf__bss *bss = s->bpf->bss;

	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < s->queues; i++) {
		const struct xn_check *c = &bss->streams[i].check;

		out->frames += xn_load_once64(&c->frames);
		out->bytes += xn_load_once64(&bss->streams[i].bytes);
		out->lost += xn_load_once64(&c->lost);
		out->reordered += xn_load_once64(&c->reordered);
		out->duplicate += xn_load_once64(&c->duplicate);
		out->corrupt += xn_load_once64(&c->corrupt) + xn_load_once64(&bss->strays[i].corrupt);
		out->foreign += xn_load_once64(&c->foreign) + xn_load_once64(&bss->strays[i].foreign);
	}
}
