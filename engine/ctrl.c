/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control queue: commands of the driver, one at a time (VIRTIO 1.3, 5.1.6.5).
 *
 * A chain is a command to read and room for an answer behind it. The command is copied
 * once, as far as any that is known reaches, and carried out by its class (engine/ctrl.h); the
 * answer's last byte is the verdict. The VMM hears of what the driver wants before the driver hears
 * that it was granted. Nothing is held from one call to the next: a queue that stops
 * owes no answer.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/ctrl.h"

#define MAX_COMMANDS 64u       /* a call */
#define MAX_NS       20000000ull

unsigned xn_dev_ctrl_index(const struct xn_dev *dev)
{
	return xn_dev_many_pairs(dev) ? 2 * dev->opts.pairs : 2;
}

/* A driver that came from elsewhere (a migration) may have spoken of VLANs there, of which each
 * command tells of one: those that were not heard are not dropped. And of what it does not take
 * any more: until it speaks of that again it gets what every driver takes. */
static void from_elsewhere(struct xn_dev *dev)
{
	dev->filter.vlan = false;
	if (xn_dev_has(dev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
		xn_store_once64(&dev->guest_offloads, 0);
	xn_dev_ask_to_announce(dev);
}

static void note_beginning(struct xn_dev *dev, const struct xn_ring_setup *r)
{
	if (!dev->ctrl.came && !xn_ring_is_new(dev, r))
		from_elsewhere(dev);
	dev->ctrl.came = true;
}

int xn_dev_ctrl_start(struct xn_dev *dev)
{
	struct xn_ctrl *c = &dev->ctrl;
	struct xn_ring_setup *r = &dev->rings[XN_CTRL_RING];
	int err;

	if (c->running)
		return xn_fail(EINVAL, "the control queue runs already");
	err = xn_dev_check_start(dev);
	if (err)
		return err;
	if (!r->set)
		return xn_fail(EINVAL, "vring %u is not set (xn_dev_set_vring)",
			       xn_dev_ctrl_index(dev));
	/* As many as pop asks for all chains that do not cross spans. */
	c->max_pieces = 2 * r->v.size + 2;
	c->pieces = calloc(c->max_pieces, sizeof(*c->pieces));
	if (!c->pieces)
		return xn_fail(ENOMEM, "out of memory for the control queue");
	c->side.index = xn_dev_ctrl_index(dev);
	err = xn_ring_start(dev, &c->side, r, &c->ctr);
	if (err) {
		free(c->pieces);
		c->pieces = NULL;
		return err;
	}
	note_beginning(dev, r);
	c->running = true;
	return 0;
}

int xn_dev_ctrl_stop(struct xn_dev *dev)
{
	struct xn_ctrl *c = &dev->ctrl;

	if (!c->running)
		return xn_fail(EINVAL, "the control queue does not run");
	c->running = false;
	xn_ring_take_back(dev, &c->side);
	xn_ring_end(&c->side, &dev->rings[XN_CTRL_RING]);
	free(c->pieces);
	c->pieces = NULL;
	return 0;
}

int xn_dev_ctrl_fd(const struct xn_dev *dev)
{
	return dev->ctrl.running ? dev->ctrl.side.kick_fd : -1;
}

/* ---- one command ---- */

/* Copies the first n bytes of a chain that has them. */
static void copy_front(const struct xn_dev *dev, const struct xn_chain *c, uint8_t *to, uint32_t n)
{
	struct xn_piece one;
	const struct xn_piece *p = xn_chain_pieces(c, dev->ctrl.pieces, &one);

	for (; n; p++) {
		uint32_t part = XN_MIN(p->len, n);

		memcpy(to, xn_mem_at(dev->mem, p->at), part);
		to += part;
		n -= part;
	}
}

/* Writes n bytes from byte `at` of a chain on, which has them. */
static void write_at(struct xn_dev *dev, const struct xn_chain *c, uint32_t at, const uint8_t *from,
		     uint32_t n)
{
	struct xn_ctrl *ctrl = &dev->ctrl;
	struct xn_piece one;
	const struct xn_piece *p = xn_chain_pieces(c, ctrl->pieces, &one);

	for (; at >= p->len; p++)
		at -= p->len;
	for (; n; at = 0, p++) {
		uint32_t part = XN_MIN(p->len - at, n);
		xn_uoff to = XN_UOFF(p->at.v + at);

		memcpy(xn_mem_at(dev->mem, to), from, part);
		if (ctrl->side.vq.log)
			xn_dirty_mark_at(ctrl->side.vq.log, dev->mem, to, part,
					 &ctrl->ctr.v[XN_C_dirty_log_missed]);
		from += part;
		n -= part;
	}
}

/*
 * The verdict, behind the result. Of a room that is larger than any answer only the end is
 * written, and none of it promised. Returns how many bytes count as written.
 */
static uint32_t write_answer(struct xn_dev *dev, const struct xn_chain *c, uint32_t room,
			     uint8_t answer[XN_CTRL_RESULT_MAX], uint8_t verdict)
{
	uint32_t n = XN_MIN(room, XN_CTRL_RESULT_MAX);

	assert(n);   /* a chain without room was refused */
	answer[n - 1] = verdict;
	write_at(dev, c, c->bytes - n, answer, n);
	return n == room ? room : 0;
}

/* By the number of the class (VIRTIO 1.3, 5.1.6.5). */
static xn_ctrl_fn *const classes[] = {
	[VIRTIO_NET_CTRL_RX] = xn_ctrl_rx,
	[VIRTIO_NET_CTRL_MAC] = xn_ctrl_mac,
	[VIRTIO_NET_CTRL_VLAN] = xn_ctrl_vlan,
	[VIRTIO_NET_CTRL_ANNOUNCE] = xn_ctrl_announce,
	[VIRTIO_NET_CTRL_MQ] = xn_ctrl_mq,
	[VIRTIO_NET_CTRL_GUEST_OFFLOADS] = xn_ctrl_guest_offloads,
	[VIRTIO_NET_CTRL_NOTF_COAL] = xn_ctrl_coal,
};

/* `readable` bytes of the chain are the driver's. */
static uint8_t judge(struct xn_dev *dev, const struct xn_chain *c, uint32_t readable,
		     uint8_t result[XN_CTRL_RESULT_MAX])
{
	uint8_t *const copy = dev->ctrl.copy;
	struct xn_ctrl_cmd cmd;

	if (readable < 2)
		return VIRTIO_NET_ERR;
	memset(copy, 0, sizeof(dev->ctrl.copy));
	copy_front(dev, c, copy, XN_MIN(readable, (uint32_t)sizeof(dev->ctrl.copy)));
	if (copy[0] >= XN_ARRAY_SIZE(classes) || !classes[copy[0]])
		return VIRTIO_NET_ERR;
	cmd = (struct xn_ctrl_cmd){ .command = copy[1], .bytes = readable - 2u, .data = copy + 2,
				    .result = result };
	return classes[copy[0]](dev, &cmd) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
}

/* Answers the next command. False: there is none. */
static bool answer_one(struct xn_dev *dev)
{
	struct xn_ctrl *ctrl = &dev->ctrl;
	struct xn_vq *vq = &ctrl->side.vq;
	uint8_t answer[XN_CTRL_RESULT_MAX] = { 0 }, verdict;
	struct xn_chain c;
	uint32_t room;

	if (!xn_vq_pop_command(vq, &c, ctrl->pieces, ctrl->max_pieces))
		return false;
	room = c.bytes - vq->readable;
	if (!room) {
		xn_vq_refuse(vq, c.head, XN_FAULT_ctrl_no_ack);
		return true;
	}
	verdict = judge(dev, &c, vq->readable, answer);
	xn_vq_push(vq, c.head, write_answer(dev, &c, room, answer, verdict));
	XN_COUNT(&ctrl->ctr, ctrl_commands, 1);
	XN_COUNT(&ctrl->ctr, ctrl_errors, verdict != VIRTIO_NET_OK);
	return true;
}

unsigned xn_dev_ctrl_run(struct xn_dev *dev)
{
	struct xn_ring_side *side = &dev->ctrl.side;
	const uint64_t end_ns = xn_now_ns() + MAX_NS;
	unsigned n = 0;
	bool idle = true;

	if (!dev->ctrl.running)
		return 0;
	/* First emptied, then asked for: a kick that comes after is not lost. A guest that
	 * offers one wrong chain after the other keeps us no longer than one that does not. */
	xn_ring_drain_kick(side);
	for (unsigned turns = 0; turns < MAX_COMMANDS && n < MAX_COMMANDS; turns++) {
		while (n < MAX_COMMANDS && !(n && xn_now_ns() > end_ns) && answer_one(dev))
			n++;
		xn_ring_flush(dev, side);
		idle = n < MAX_COMMANDS && xn_vq_enable_kick(&side->vq);
		if (idle || xn_now_ns() > end_ns)
			break;
	}
	if (side->vq.broken)
		xn_ring_tell_broken(dev, side);
	return idle ? n : MAX_COMMANDS;
}
