/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of the control queue (engine/ctrl*.c, chains of both directions in virtio/vq.c): commands that are known are carried out within what was negotiated,
 * all others answered with an error; whatever the chain looks like, nothing but the room for
 * the answer is written, each head comes back once, and the next good command is answered.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/ctrl_rig.h"
#include "virtio/inflight.h"

/* ---- commands ---- */

static void pairs_are_set_within_what_there_is(void **state)
{
	static const uint16_t wrong[] = { 0, PAIRS + 1, 64, 0x8000, 0x8001, 65535 };
	const uint8_t three[3] = { 1 };

	open_rig(ALL);
	for (uint16_t n = 1; n <= PAIRS; n++) {
		assert_int_equal(ask_pairs(n), VIRTIO_NET_OK);
		assert_int_equal(r.pairs, n);
	}
	assert_int_equal(r.pairs_events, PAIRS);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(wrong); i++)
		assert_int_equal(ask_pairs(wrong[i]), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MQ, 0, three, 1), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MQ, 0, three, 3), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MQ, 0, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(r.pairs_events, PAIRS);
	assert_int_equal(count("ctrl_commands"), PAIRS + 9);
	assert_int_equal(count("ctrl_errors"), 9);
	close_rig();
}

static void nothing_but_what_is_known_and_negotiated_is_granted(void **state)
{
	const uint16_t one = 1;

	open_rig(ALL);
	for (unsigned class = 0; class < 256; class++)
		for (unsigned command = 0; command < 256; command++) {
			bool ack = class == VIRTIO_NET_CTRL_ANNOUNCE && !command;
			bool mq = class == VIRTIO_NET_CTRL_MQ && !command;

			assert_int_equal(ask((uint8_t)class, (uint8_t)command, NULL, 0),
					 ack ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
			assert_int_equal(ask((uint8_t)class, (uint8_t)command, &one, 2),
					 mq ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
		}
	close_rig();

	open_rig(CTRL_VQ | MQ);
	assert_int_equal(ask(VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_ERR);
	close_rig();
	open_rig(CTRL_VQ | ANNOUNCE);
	assert_int_equal(ask(VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_OK);
	assert_int_equal(ask_pairs(1), VIRTIO_NET_ERR);
	assert_int_equal(r.pairs_events, 0);
	close_rig();
}

/* ---- layouts ---- */

/* Byte by byte over descriptors or through a table, the command means the same. */
static void any_layout_means_the_same(void **state)
{
	static const uint8_t cmd[] = { VIRTIO_NET_CTRL_MQ, 0, 3, 0 };
	struct vring_desc *t;
	uint32_t len;

	open_rig(ALL);
	memcpy(r.drv.ram + CMD_AT, cmd, sizeof(cmd));
	for (unsigned indirect = 0; indirect < 2; indirect++) {
		r.drv.ram[ACK_AT] = UNTOUCHED;
		for (unsigned i = 0; i < 4; i++)
			desc(10 + i, CMD_AT + i, 1, NEXT, 11 + i);
		desc(14, HOLE, 0, NEXT, 15);       /* nothing, wherever it is */
		desc(15, ACK_AT, 1, W, 0);
		t = (struct vring_desc *)(r.drv.ram + TABLE_AT);
		memcpy(t, drv_desc(&r.drv, r.ring) + 10, 6 * sizeof(*t));
		for (unsigned i = 0; i < 5; i++)
			t[i].next = (uint16_t)(i + 1);
		if (indirect)
			desc(10, TABLE_AT, 6 * 16, VRING_DESC_F_INDIRECT, 0);
		offer(10);
		assert_int_equal(xn_dev_ctrl_run(r.dev), 1);
		assert_int_equal(back(&len), 10);
		assert_int_equal(len, 1);
		assert_int_equal(r.drv.ram[ACK_AT], VIRTIO_NET_OK);
		assert_int_equal(r.pairs, 3);
		assert_int_equal(r.pairs_events, indirect + 1);
	}
	close_rig();
}

/* The verdict is the last writable byte; of a large room only the end is written. */
static void verdict_is_the_last_byte_of_the_room(void **state)
{
	static const uint8_t cmd[] = { VIRTIO_NET_CTRL_MQ, 0, 1, 0 };

	open_rig(ALL);
	memcpy(r.drv.ram + CMD_AT, cmd, sizeof(cmd));
	for (uint32_t room = 1; room <= 200; room++)
		for (uint32_t first = 1; first <= room; first += 1 + room / 5) {
			const uint32_t written = room < 64 ? room : 64;
			uint8_t *at = r.drv.ram + ACK_AT;
			uint32_t len;

			drv_fill_pattern(&r.drv, ACK_AT - 64, ACK_AT + 300);
			desc(0, CMD_AT, 4, NEXT, 1);
			desc(1, ACK_AT, first, first < room ? W | NEXT : W, 2);
			desc(2, ACK_AT + first, room - first, W, 0);
			offer(0);
			assert_int_equal(xn_dev_ctrl_run(r.dev), 1);
			back(&len);
			assert_int_equal(len, room <= 64 ? room : 0);
			assert_int_equal(at[room - 1], VIRTIO_NET_OK);
			for (uint32_t i = room - written; i + 1 < room; i++)
				assert_int_equal(at[i], 0);
			assert_int_equal(drv_first_changed(&r.drv, ACK_AT - 64, ACK_AT + room - written),
					 ACK_AT + room - written);
			assert_int_equal(drv_first_changed(&r.drv, ACK_AT + room, ACK_AT + 300),
					 ACK_AT + 300);
		}
	close_rig();
}

/* ---- chains that are wrong (C8, C9, C11) ---- */

static void refused(const char *fault)
{
	uint64_t before = count(fault);
	uint32_t len;

	drv_fill_pattern(&r.drv, CMD_AT, RAM);
	offer(0);
	/* Chains that pop refuses are no commands; one without room for an answer is seen. */
	xn_dev_ctrl_run(r.dev);
	assert_int_equal(back(&len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(count(fault), before + 1);
	assert_int_equal(drv_first_changed(&r.drv, CMD_AT, RAM), RAM);
	queue_still_answers();
}

static void wrong_chains_come_back_empty_and_once(void **state)
{
	open_rig(ALL & ~IND);
	desc(0, CMD_AT, 4, NEXT, DRV_SIZE);                 /* C8 */
	refused("fault_next_range");
	desc(0, CMD_AT, 4, NEXT, 65535);
	refused("fault_next_range");
	desc(0, CMD_AT, 4, NEXT, 0);                        /* C9 */
	refused("fault_chain_loop");
	desc(0, CMD_AT, 4, NEXT, 1);
	desc(1, ACK_AT, 1, W | NEXT, 1);
	refused("fault_chain_loop");
	desc(0, CMD_AT, 4, 0, 0);                           /* C11: no answer */
	refused("fault_ctrl_no_ack");
	desc(0, CMD_AT, 4, NEXT, 1);
	desc(1, ACK_AT, 1, 0, 0);                           /* readable */
	refused("fault_ctrl_no_ack");
	desc(1, ACK_AT, 0, W, 0);                           /* 0 bytes */
	refused("fault_ctrl_no_ack");
	desc(0, ACK_AT, 1, W | NEXT, 1);
	desc(1, CMD_AT, 4, 0, 0);                           /* the wrong way round */
	refused("fault_order");
	desc(0, CMD_AT, 4, NEXT, 1);
	desc(1, ACK_AT, 1, W | NEXT, 2);
	desc(2, CMD_AT, 1, 0, 0);
	refused("fault_order");
	desc(0, HOLE, 4, NEXT, 1);
	desc(1, ACK_AT, 1, W, 0);
	refused("fault_addr_unmapped");
	desc(0, CMD_AT, 4, NEXT, 1);
	desc(1, HOLE, 1, W, 0);
	refused("fault_addr_unmapped");
	desc(0, TABLE_AT, 32, VRING_DESC_F_INDIRECT, 0);
	refused("fault_indirect_off");
	desc(0, CMD_AT, 0, 0, 0);
	refused("fault_chain_empty");
	close_rig();
}

static void commands_that_are_too_long_or_short_are_errors(void **state)
{
	static const uint32_t lens[] = { 0, 1, 5, 64, 65, 4096, 1u << 20 };
	uint32_t len;

	open_rig(ALL);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(lens); i++) {
		memset(r.drv.ram + CMD_AT, 0, 4);
		r.drv.ram[CMD_AT] = VIRTIO_NET_CTRL_MQ;
		r.drv.ram[CMD_AT + 2] = 1;
		r.drv.ram[ACK_AT] = UNTOUCHED;
		desc(0, CMD_AT, lens[i], NEXT, 1);
		desc(1, ACK_AT, 1, W, 0);
		offer(0);
		assert_int_equal(xn_dev_ctrl_run(r.dev), 1);
		assert_int_equal(back(&len), 0);
		assert_int_equal(len, 1);
		assert_int_equal(r.drv.ram[ACK_AT], VIRTIO_NET_ERR);
		queue_still_answers();
	}
	close_rig();
}

static void broken_ring_is_told_once_and_lives_again_after_a_start(void **state)
{
	struct xn_vring v;

	open_rig(ALL);
	offer(DRV_SIZE);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 0);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 0);
	assert_int_equal(r.broken, 1);
	assert_int_equal(r.broken_ring, CTRL);
	assert_string_equal(r.broken_why, "fault_head_range");
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);

	drv_reset_rings(&r.drv, 4);
	r.avail = r.seen = 0;
	v = drv_vring(r.ring);
	assert_int_equal(xn_dev_set_vring(r.dev, r.ring, &v), 0);
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
	queue_still_answers();
	close_rig();
}

/* Chains of any pieces in any directions, and what a slow reader says of them. */
struct random_chain {
	uint64_t room_at[6];
	uint32_t room_len[6], rooms;     /* writable pieces */
	uint32_t readable, room;         /* bytes */
	const char *fault;
	uint8_t want;
};

/* The bytes of VQ_PAIRS_SET 2, with the pattern behind them. */
static void put_command(struct random_chain *c, uint64_t at, uint32_t bytes)
{
	static const uint8_t cmd[] = { VIRTIO_NET_CTRL_MQ, 0, 2, 0 };

	for (; bytes; bytes--, at++, c->readable++)
		if (c->readable < sizeof(cmd))
			r.drv.ram[at] = cmd[c->readable];
}

static void make_random(struct random_chain *c, unsigned *seed)
{
	unsigned n = 1 + (unsigned)rand_r(seed) % 6, turn = (unsigned)rand_r(seed) % (n + 1);
	uint64_t at = CMD_AT;
	bool order = false;

	*c = (struct random_chain){ .rooms = 0 };
	for (unsigned i = 0; i < n; i++) {
		bool w = rand_r(seed) % 12 ? i >= turn : i < turn;
		uint32_t bytes = (uint32_t)rand_r(seed) % 5;

		if (w) {
			c->room_at[c->rooms] = at;
			c->room_len[c->rooms++] = bytes;
			c->room += bytes;
		} else {
			order |= c->rooms > 0;
			put_command(c, at, bytes);
		}
		desc(i, at, bytes, (w ? W : 0) | (i + 1 < n ? NEXT : 0), i + 1);
		at += bytes + 3;
	}
	c->want = c->readable == 4 ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	if (order)
		c->fault = "fault_order";
	else if (!c->room)
		c->fault = c->readable ? "fault_ctrl_no_ack" : "fault_chain_empty";
}

/* The room holds the answer; puts back what was there. */
static void check_room(const struct random_chain *c, const uint8_t *before)
{
	uint32_t left = c->room;

	for (uint32_t i = 0; i < c->rooms && !c->fault; i++)
		for (uint64_t x = c->room_at[i]; x < c->room_at[i] + c->room_len[i]; x++) {
			left--;
			assert_int_equal(r.drv.ram[x], left ? 0 : c->want);
			r.drv.ram[x] = before[x - CMD_AT];
		}
}

static void random_chains_touch_only_the_room_for_the_answer(void **state)
{
	unsigned seed = 3, verdicts[4] = { 0 };
	struct random_chain c;
	uint8_t before[256];
	uint32_t len;

	open_rig(ALL);
	for (unsigned round = 0; round < 20000; round++) {
		uint64_t faults;

		drv_fill_pattern(&r.drv, CMD_AT, CMD_AT + sizeof(before));
		make_random(&c, &seed);
		faults = c.fault ? count(c.fault) : 0;
		memcpy(before, r.drv.ram + CMD_AT, sizeof(before));
		offer(0);
		xn_dev_ctrl_run(r.dev);
		assert_int_equal(back(&len), 0);
		assert_int_equal(len, c.fault ? 0 : c.room);
		if (c.fault)
			assert_int_equal(count(c.fault), faults + 1);
		verdicts[c.fault ? 2 + (c.rooms > 0) : c.want]++;
		check_room(&c, before);
		assert_memory_equal(r.drv.ram + CMD_AT, before, sizeof(before));
	}
	for (unsigned i = 0; i < 4; i++)
		assert_true(verdicts[i] > 100);
	close_rig();
}

/* ---- notifications, batches, life ---- */

static void a_call_answers_64_and_then_asks_for_a_kick(void **state)
{
	int kick = eventfd(0, EFD_CLOEXEC), call = eventfd(0, EFD_CLOEXEC);
	struct xn_vring v;
	uint64_t n;

	open_rig(ALL);
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_ctrl_fd(r.dev), -1);
	v = drv_vring(r.ring);
	v.kick_fd = kick;
	v.call_fd = call;
	assert_int_equal(xn_dev_set_vring(r.dev, r.ring, &v), 0);
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
	assert_true(xn_dev_ctrl_fd(r.dev) >= 0);
	assert_int_not_equal(xn_dev_ctrl_fd(r.dev), kick);

	r.drv.ram[CMD_AT] = VIRTIO_NET_CTRL_ANNOUNCE;
	r.drv.ram[CMD_AT + 1] = 0;
	for (unsigned i = 0; i < 100; i++) {
		desc(2 * i, CMD_AT, 2, NEXT, 2 * i + 1);
		desc(2 * i + 1, ACK_AT, 1, W, 0);
		offer((uint16_t)(2 * i));
	}
	assert_int_equal(eventfd_write(kick, 1), 0);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 64);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 36);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 0);
	assert_int_equal(drv_used_ring(&r.drv, r.ring)->idx, 100);
	assert_int_equal(drv_used_ring(&r.drv, r.ring)->flags, 0);
	assert_int_equal(read(xn_dev_ctrl_fd(r.dev), &n, sizeof(n)), -1);   /* emptied */
	assert_int_equal(r.irqs, 2);
	assert_int_equal(read(call, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 2);
	close(kick);
	close(call);
	close_rig();
}

static void it_starts_and_stops_by_itself(void **state)
{
	struct xn_vring v = drv_vring(CTRL);

	open_rig(ALL);
	assert_int_equal(r.ring, CTRL);
	assert_int_equal(xn_dev_ctrl_start(r.dev), -EINVAL);
	assert_int_equal(xn_dev_set_vring(r.dev, CTRL, &v), -EINVAL);
	assert_int_equal(xn_dev_unset_vring(r.dev, CTRL), -EINVAL);
	assert_int_equal(xn_dev_set_features(r.dev, VERSION), -EINVAL);
	assert_int_equal(xn_dev_set_mem(r.dev, r.mem), -EINVAL);
	assert_int_equal(xn_dev_stop(r.dev), -EINVAL);          /* of the pairs none runs */
	for (unsigned i = 0; i < CTRL; i++) {
		v = drv_vring(i);
		assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
	}
	assert_int_equal(xn_dev_start(r.dev), 0);
	queue_still_answers();
	assert_int_equal(xn_dev_stop(r.dev), 0);
	queue_still_answers();
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_ctrl_stop(r.dev), -EINVAL);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 0);
	assert_int_equal(xn_dev_vring_base(r.dev, CTRL), 2);
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);          /* goes on from there */
	queue_still_answers();
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_unset_vring(r.dev, CTRL), 0);
	assert_int_equal(xn_dev_ctrl_start(r.dev), -EINVAL);
	close_rig();
}

/* VIRTIO 1.2, 5.1.2: without MQ there is one pair, and the control queue follows it. */
static void without_mq_it_is_vring_2(void **state)
{
	struct xn_vring v = drv_vring(CTRL);

	open_rig(CTRL_VQ | ANNOUNCE);
	assert_int_equal(r.ring, 2);
	assert_int_equal(ask(VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_OK);
	assert_int_equal(xn_dev_set_vring(r.dev, CTRL, &v), -EINVAL);
	v = drv_vring(2);
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	/* A driver without it: vring 2 is that of a pair. */
	assert_int_equal(xn_dev_set_features(r.dev, VERSION), 0);
	assert_int_equal(xn_dev_set_vring(r.dev, 2, &v), 0);
	assert_int_equal(xn_queue_start(xn_dev_queue(r.dev, 1)), 0);
	close_rig();
}

static void answers_are_in_the_dirty_log(void **state)
{
	uint8_t log[RAM / 32768];

	open_rig(ALL);
	memset(log, 0, sizeof(log));
	xn_dev_set_dirty_log(r.dev, log, sizeof(log));
	memset(log, 0, sizeof(log));
	assert_int_equal(ask_pairs(1), VIRTIO_NET_OK);
	for (uint64_t page = 0; page < RAM / 4096; page++) {
		bool ack = page == ACK_AT / 4096, used = page == drv_vring(CTRL).used_gpa / 4096;

		assert_int_equal(log[page / 8] >> page % 8 & 1, ack || used);
	}
	xn_dev_set_dirty_log(r.dev, NULL, 0);
	memset(log, 0, sizeof(log));
	assert_int_equal(ask_pairs(1), VIRTIO_NET_OK);
	for (unsigned i = 0; i < sizeof(log); i++)
		assert_int_equal(log[i], 0);
	close_rig();
}

/* A back end that died had taken two commands: they are answered, in their order. */
static void commands_that_were_out_at_a_crash_are_answered(void **state)
{
	static union {
		struct xn_inflight_ring ring;
		uint8_t bytes[16 + 16 * DRV_SIZE + 48];
	} mem XN_CACHE_ALIGNED;
	struct xn_inflight_desc *d = mem.ring.desc;
	struct xn_vring v;

	open_rig(ALL);
	assert_true(xn_inflight_bytes(DRV_SIZE) <= sizeof(mem));
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	memset(&mem, 0, sizeof(mem));
	mem.ring.version = 1;
	mem.ring.desc_num = DRV_SIZE;
	d[4] = (struct xn_inflight_desc){ .inflight = 1, .counter = 1 };
	d[0] = (struct xn_inflight_desc){ .inflight = 1, .counter = 2 };
	memcpy(r.drv.ram + CMD_AT, (uint8_t[]){ VIRTIO_NET_CTRL_MQ, 0, 1, 0 }, 4);
	memcpy(r.drv.ram + CMD_AT + 4, (uint8_t[]){ VIRTIO_NET_CTRL_MQ, 0, 3, 0 }, 4);
	desc(4, CMD_AT, 4, NEXT, 5);
	desc(0, CMD_AT + 4, 4, NEXT, 1);
	desc(5, ACK_AT, 1, W, 0);
	desc(1, ACK_AT + 1, 1, W, 0);
	offer(4);
	offer(0);
	v = drv_vring(r.ring);
	v.inflight = &mem.bytes[8];
	assert_int_equal(xn_dev_set_vring(r.dev, r.ring, &v), -EINVAL);   /* not aligned */
	v.inflight = &mem;
	assert_int_equal(xn_dev_set_vring(r.dev, r.ring, &v), 0);
	assert_int_equal(d[4].inflight, 1);                     /* until it starts */
	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 2);
	assert_int_equal(drv_used_ring(&r.drv, r.ring)->idx, 2);
	assert_int_equal(drv_used_ring(&r.drv, r.ring)->ring[0].id, 4);
	assert_int_equal(r.pairs, 3);
	assert_int_equal(d[4].inflight | d[0].inflight, 0);
	assert_int_equal(mem.ring.used_idx, 2);
	assert_int_equal(count("inflight_resumed"), 2);
	r.seen = 2;
	queue_still_answers();
	close_rig();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_are_set_within_what_there_is),
		cmocka_unit_test(nothing_but_what_is_known_and_negotiated_is_granted),
		cmocka_unit_test(any_layout_means_the_same),
		cmocka_unit_test(verdict_is_the_last_byte_of_the_room),
		cmocka_unit_test(wrong_chains_come_back_empty_and_once),
		cmocka_unit_test(commands_that_are_too_long_or_short_are_errors),
		cmocka_unit_test(broken_ring_is_told_once_and_lives_again_after_a_start),
		cmocka_unit_test(random_chains_touch_only_the_room_for_the_answer),
		cmocka_unit_test(a_call_answers_64_and_then_asks_for_a_kick),
		cmocka_unit_test(it_starts_and_stops_by_itself),
		cmocka_unit_test(without_mq_it_is_vring_2),
		cmocka_unit_test(answers_are_in_the_dirty_log),
		cmocka_unit_test(commands_that_were_out_at_a_crash_are_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
