/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of RSS on the control queue, and of what steers frames (engine/ctrl_mq.c,
 * engine/steer.c): what the driver says reaches the port, and the VMM hears of the pairs before the
 * driver is answered; what is wrong changes nothing, and is counted by its name; of driver, VMM
 * and nobody the first that has a say decides, and frames never go to pairs that are not in use.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/ctrl_rig.h"

#define RSS   (1ull << VIRTIO_NET_F_RSS)
#define WITH_RSS (ALL | RSS)
#define CONFIG   VIRTIO_NET_CTRL_MQ_RSS_CONFIG

/* ---- the driver's side ---- */

/* The data of a command, as it is sent. */
struct command {
	uint8_t data[2048];
	uint32_t bytes;
};

static void put(struct command *c, unsigned width, uint32_t v)
{
	for (unsigned i = 0; i < width; i++)
		c->data[c->bytes++] = (uint8_t)(v >> 8 * i);
}

struct fields {
	uint32_t types;
	uint16_t mask, unclassified;
	uint16_t table[XN_RSS_TABLE_MAX];
	unsigned entries;             /* of table, that are sent */
	uint16_t max_tx;
	uint8_t key_len;              /* as it says, */
	unsigned key_sent;            /* and as it is */
};

/* All pairs in turns: right. */
static struct fields good_fields(void)
{
	struct fields f = { .types = XN_RSS_TYPES_ALL, .mask = 127, .entries = 128, .max_tx = PAIRS,
			    .key_len = 40, .key_sent = 40 };

	for (unsigned i = 0; i < 128; i++)
		f.table[i] = (uint16_t)(i % PAIRS);
	return f;
}

static struct command make(const struct fields *f)
{
	struct command c = { .bytes = 0 };

	put(&c, 4, f->types);
	put(&c, 2, f->mask);
	put(&c, 2, f->unclassified);
	for (unsigned i = 0; i < f->entries; i++)
		put(&c, 2, f->table[i]);
	put(&c, 2, f->max_tx);
	put(&c, 1, f->key_len);
	for (unsigned i = 0; i < f->key_sent; i++)
		put(&c, 1, 0xa0 + i);
	return c;
}

static uint8_t ask_rss(const struct fields *f)
{
	struct command c = make(f);

	return ask(VIRTIO_NET_CTRL_MQ, CONFIG, c.data, c.bytes);
}

static void start_pair(unsigned pair)
{
	for (unsigned i = 2 * pair; i < 2 * pair + 2; i++) {
		struct xn_vring v = drv_vring(i);

		assert_int_equal(xn_dev_set_vring(r.dev, i, &v), 0);
	}
	assert_int_equal(xn_queue_start(xn_dev_queue(r.dev, pair)), 0);
}

static struct xn_dev_rss in_force(void)
{
	struct xn_dev_rss rss = { .sz = sizeof(rss) };

	assert_int_equal(xn_dev_get_rss(r.dev, &rss), 0);
	return rss;
}

/* ---- what is right ---- */

static void configuration_reaches_port_and_vmm(void **state)
{
	struct fields f = good_fields();
	struct xn_dev_rss now;

	open_rig_on(WITH_RSS, true);
	f.unclassified = 2;
	f.table[5] = 2;
	f.max_tx = 1;
	assert_int_equal(ask_rss(&f), VIRTIO_NET_OK);
	assert_int_equal(r.told.calls, 1);
	assert_true(r.told.any);
	assert_int_equal(r.told.cfg.types, f.types);
	assert_int_equal(r.told.cfg.entries, 128);
	assert_int_equal(r.told.cfg.unclassified, 2);
	assert_int_equal(r.told.cfg.max_tx, 1);
	assert_int_equal(r.told.cfg.key_bytes, 40);
	assert_memory_equal(r.told.cfg.table, f.table, 128 * 2);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(r.told.cfg.key[i], 0xa0 + i);
	assert_int_equal(r.pairs_events, 1);
	assert_int_equal(r.pairs, 3);
	assert_int_equal(count("rss_configs"), 1);

	now = in_force();
	assert_int_equal(now.from, XN_RSS_FROM_DRIVER);
	assert_int_equal(now.pairs, 3);
	assert_int_equal(now.hash_types, f.types);
	assert_int_equal(now.unclassified, 2);
	assert_int_equal(now.max_tx, 1);
	assert_int_equal(now.table_entries, 128);
	assert_int_equal(now.key_bytes, 40);
	assert_memory_equal(now.table, f.table, 128 * 2);
	assert_memory_equal(now.key, r.told.cfg.key, 40);

	/* The same once more: the driver is answered, the port has nothing to do. */
	assert_int_equal(ask_rss(&f), VIRTIO_NET_OK);
	assert_int_equal(r.told.calls, 1);
	close_rig();
}

/* The pairs in use are those that a frame may be for, and those that are sent on. */
static void pairs_in_use_are_those_that_are_named(void **state)
{
	static const struct { uint16_t table, unclassified, max_tx, pairs; } cases[] = {
		{ 0, 0, 1, 1 }, { 1, 0, 1, 2 }, { 0, 2, 1, 3 }, { 0, 0, 2, 2 }, { 2, 1, 1, 3 },
		{ 0, 0, 3, 3 },
	};

	open_rig_on(WITH_RSS, true);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		struct fields f = { .max_tx = cases[i].max_tx, .unclassified = cases[i].unclassified,
				    .table = { cases[i].table }, .entries = 1, .key_len = 40, .key_sent = 40 };

		assert_int_equal(ask_rss(&f), VIRTIO_NET_OK);
		assert_int_equal(r.pairs, cases[i].pairs);
		assert_int_equal(r.pairs_events, i + 1);
	}
	close_rig();
}

/* A pair takes frames before the first one is for it, and until the last one was. */
static void pairs_are_on_while_frames_may_be_for_them(void **state)
{
	struct fields all = good_fields(), one = { .max_tx = 1, .entries = 1, .key_len = 40, .key_sent = 40 };

	open_rig_on(WITH_RSS, true);
	assert_int_equal(ask_rss(&one), VIRTIO_NET_OK);
	assert_int_equal(r.told.pairs_events, 0);   /* fewer: the port first */
	assert_int_equal(r.pairs_events, 1);
	assert_int_equal(ask_rss(&all), VIRTIO_NET_OK);
	assert_int_equal(r.told.pairs_events, 2);   /* more: the VMM first */
	assert_int_equal(r.pairs_events, 2);
	assert_int_equal(ask_pairs(2), VIRTIO_NET_OK);
	assert_int_equal(r.told.pairs_events, 2);
	assert_int_equal(r.pairs_events, 3);
	assert_int_equal(ask_pairs(3), VIRTIO_NET_OK);
	assert_int_equal(r.told.pairs_events, 4);
	assert_int_equal(r.pairs_events, 4);
	close_rig();
}

/* ---- what is wrong (C1 to C5) ---- */

enum wrong {
	ENTRY_OF_NO_PAIR, ENTRY_65535, ENTRY_OF_TX, ENTRY_LAST, MASK_5, MASK_126, MASK_SHORT_TABLE,
	MASK_65535_SHORT, ENTRIES_256, TABLE_ONE_SHORT, TABLE_ONE_LONG, KEY_0, KEY_39, KEY_41, KEY_255,
	KEY_NOT_SENT, KEY_TOO_LONG_SENT, NO_KEY_LEN, UNCLASSIFIED, UNCLASSIFIED_MAX, MAX_TX_0,
	MAX_TX_MORE, MAX_TX_65535, TYPES, NOTHING, HEADER_ONLY, WRONG_END,
};

static struct command make_wrong(enum wrong what)
{
	struct fields f = good_fields();
	struct command c;

	switch (what) {
	case ENTRY_OF_NO_PAIR: f.table[0] = PAIRS; break;
	case ENTRY_65535:      f.table[64] = 65535; break;
	case ENTRY_OF_TX:      f.table[1] = 2 * PAIRS - 1; break;
	case ENTRY_LAST:       f.table[127] = PAIRS; break;
	case MASK_5:           f.mask = 5; break;
	case MASK_126:         f.mask = 126; break;
	case MASK_SHORT_TABLE: f.entries = 1; f.key_sent = 0; break;
	case MASK_65535_SHORT: f.mask = 65535; break;
	case ENTRIES_256:      f.mask = 255; f.entries = 256; break;
	/* What should be the last entry is a length then, and so on: 2 queues, a key of 40. */
	case TABLE_ONE_SHORT:  f.entries = 127; break;
	case TABLE_ONE_LONG:   f.entries = 129; f.table[128] = 1; break;
	case KEY_0:            f.key_len = 0; f.key_sent = 0; break;
	case KEY_39:           f.key_len = f.key_sent = 39; break;
	case KEY_41:           f.key_len = f.key_sent = 41; break;
	case KEY_255:          f.key_len = f.key_sent = 255; break;
	case KEY_NOT_SENT:     f.key_sent = 39; break;
	case KEY_TOO_LONG_SENT: f.key_sent = 42; break;
	case UNCLASSIFIED:     f.unclassified = PAIRS; break;
	case UNCLASSIFIED_MAX: f.unclassified = 65535; break;
	case MAX_TX_0:         f.max_tx = 0; break;
	case MAX_TX_MORE:      f.max_tx = PAIRS + 1; break;
	case MAX_TX_65535:     f.max_tx = 65535; break;
	case TYPES:            f.types = 0x200; break;
	default:               break;
	}
	c = make(&f);
	if (what == NO_KEY_LEN)
		c.bytes -= 41;
	if (what == NOTHING)
		c.bytes = 0;
	if (what == HEADER_ONLY)
		c.bytes = 8;
	return c;
}

static void wrong_configurations_change_nothing_and_are_counted_by_name(void **state)
{
	static const char *const names[WRONG_END] = {
		[ENTRY_OF_NO_PAIR] = "rss_queue", [ENTRY_65535] = "rss_queue",
		[ENTRY_OF_TX] = "rss_queue", [ENTRY_LAST] = "rss_queue",
		[MASK_5] = "rss_mask", [MASK_126] = "rss_mask", [MASK_SHORT_TABLE] = "rss_short",
		[MASK_65535_SHORT] = "rss_entries", [ENTRIES_256] = "rss_entries",
		[TABLE_ONE_SHORT] = "rss_queue", [TABLE_ONE_LONG] = "rss_key",
		[KEY_0] = "rss_key", [KEY_39] = "rss_key", [KEY_41] = "rss_key", [KEY_255] = "rss_key",
		[KEY_NOT_SENT] = "rss_short", [KEY_TOO_LONG_SENT] = "rss_long",
		[NO_KEY_LEN] = "rss_short", [UNCLASSIFIED] = "rss_unclassified",
		[UNCLASSIFIED_MAX] = "rss_unclassified", [MAX_TX_0] = "rss_max_tx",
		[MAX_TX_MORE] = "rss_max_tx", [MAX_TX_65535] = "rss_max_tx", [TYPES] = "rss_types",
		[NOTHING] = "rss_short", [HEADER_ONLY] = "rss_short",
	};
	const struct fields good = good_fields();
	struct xn_dev_rss before, after;

	open_rig_on(WITH_RSS, true);
	assert_int_equal(ask_rss(&good), VIRTIO_NET_OK);
	before = in_force();
	for (unsigned i = 0; i < WRONG_END; i++) {
		const struct command c = make_wrong((enum wrong)i);
		uint64_t n = count(names[i]);

		assert_int_equal(ask(VIRTIO_NET_CTRL_MQ, CONFIG, c.data, c.bytes), VIRTIO_NET_ERR);
		assert_int_equal(count(names[i]), n + 1);
		after = in_force();
		assert_memory_equal(&before, &after, sizeof(before));
		assert_int_equal(r.told.calls, 1);
		assert_int_equal(r.pairs_events, 1);
	}
	assert_int_equal(count("ctrl_errors"), WRONG_END);
	assert_int_equal(count("rss_configs"), 1);
	for (unsigned e = 1; e < XN_RSS_ERROR_COUNT; e++)       /* none was left out */
		assert_true(count(xn_rss_error_name((enum xn_rss_error)e)) > 0);
	assert_int_equal(ask_rss(&good), VIRTIO_NET_OK);
	close_rig();
}

/* C11: 1 MiB of data, in one descriptor. */
static void long_command_is_refused(void **state)
{
	const struct fields f = good_fields();
	const struct command c = make(&f);
	uint32_t len;

	open_rig_on(WITH_RSS, true);
	memset(r.drv.ram + CMD_AT, 0, 1u << 20);
	r.drv.ram[CMD_AT] = VIRTIO_NET_CTRL_MQ;
	r.drv.ram[CMD_AT + 1] = CONFIG;
	memcpy(r.drv.ram + CMD_AT + 2, c.data, c.bytes);
	desc(0, CMD_AT, 1u << 20, NEXT, 1);
	desc(1, ACK_AT, 1, W, 0);
	offer(0);
	assert_int_equal(xn_dev_ctrl_run(r.dev), 1);
	back(&len);
	assert_int_equal(r.drv.ram[ACK_AT], VIRTIO_NET_ERR);
	assert_int_equal(count("rss_long"), 1);
	queue_still_answers();
	close_rig();
}

/* However a command is cut, it means what the reader of rss/config.h makes of the whole. */
static void random_commands_mean_what_they_mean_in_one_piece(void **state)
{
	const struct xn_rss_limits limits = XN_RSS_LIMITS(PAIRS);
	unsigned seed = 5, good = 0, bad = 0;

	open_rig_on(WITH_RSS, true);
	for (unsigned round = 0; round < 20000; round++) {
		struct fields f = good_fields();
		struct xn_rss_config want;
		struct command c;
		uint64_t at = CMD_AT;
		uint32_t done = 0, len;
		unsigned d = 0;
		bool ok;

		f.mask = f.entries = 1u << rand_r(&seed) % 8;
		f.mask--;
		c = make(&f);
		for (unsigned i = (unsigned)rand_r(&seed) % 3; i--;)
			c.data[(unsigned)rand_r(&seed) % c.bytes] ^= (uint8_t)(1u << rand_r(&seed) % 8);
		ok = !xn_rss_read_config(&want, c.data, c.bytes, &limits);
		memmove(c.data + 2, c.data, c.bytes);
		c.data[0] = VIRTIO_NET_CTRL_MQ;
		c.data[1] = CONFIG;
		for (c.bytes += 2; done < c.bytes; done += len, at += len + 5) {
			len = 1 + (uint32_t)rand_r(&seed) % 60;
			len = XN_MIN(len, c.bytes - done);
			memcpy(r.drv.ram + at, c.data + done, len);
			desc(d, at, len, NEXT, d + 1);
			d++;
		}
		desc(d, ACK_AT, 1, W, 0);
		offer(0);
		assert_int_equal(xn_dev_ctrl_run(r.dev), 1);
		assert_int_equal(back(&len), 0);
		assert_int_equal(r.drv.ram[ACK_AT], ok ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
		if (ok)
			assert_memory_equal(&r.told.cfg, &want, sizeof(want));
		good += ok;
		bad += !ok;
	}
	assert_true(good > 1000 && bad > 1000);
	close_rig();
}

static void port_that_cannot_do_it_keeps_what_was(void **state)
{
	const struct fields all = good_fields();
	struct fields one = { .max_tx = 1, .entries = 1, .key_len = 40, .key_sent = 40 };
	struct xn_dev_rss before, after;

	open_rig_on(WITH_RSS, true);
	assert_int_equal(ask_rss(&one), VIRTIO_NET_OK);
	before = in_force();
	r.told.answer = -EIO;
	assert_int_equal(ask_rss(&all), VIRTIO_NET_ERR);
	after = in_force();
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(count("rss_port"), 1);
	assert_int_equal(r.pairs, 1);              /* they were on for a moment */
	assert_int_equal(ask_pairs(3), VIRTIO_NET_ERR);
	assert_int_equal(r.pairs, 1);
	assert_int_equal(in_force().from, XN_RSS_FROM_DRIVER);
	r.told.answer = 0;
	assert_int_equal(ask_rss(&all), VIRTIO_NET_OK);
	assert_int_equal(r.pairs, 3);
	close_rig();
}

/* ---- features ---- */

static void without_the_feature_there_is_no_rss(void **state)
{
	const struct fields f = good_fields();

	open_rig_on(ALL, true);
	assert_true(xn_port_features(r.port) & RSS);
	assert_int_equal(ask_rss(&f), VIRTIO_NET_ERR);
	assert_int_equal(r.told.calls, 0);
	close_rig();
	open_rig(ALL);              /* a port that does not steer */
	assert_false(xn_port_features(r.port) & RSS);
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_set_features(r.dev, VERSION | WITH_RSS), -EINVAL);
	close_rig();
}

/* VIRTIO 1.3, 5.1.2: RSS alone makes several pairs, too. */
static void rss_without_mq_has_its_control_queue_behind_all_pairs(void **state)
{
	const struct fields f = good_fields();

	open_rig_on(WITH_RSS & ~MQ, true);
	assert_int_equal(r.ring, CTRL);
	assert_int_equal(ask_rss(&f), VIRTIO_NET_OK);
	assert_int_equal(ask_pairs(2), VIRTIO_NET_OK);
	close_rig();
}

/* VIRTIO 1.3, 5.1.6.5.6.1: of the two ways the one that was asked for last counts. */
static void pairs_set_ends_rss(void **state)
{
	const struct fields f = good_fields();

	open_rig_on(WITH_RSS, true);
	assert_int_equal(ask_rss(&f), VIRTIO_NET_OK);
	assert_int_equal(ask_pairs(PAIRS), VIRTIO_NET_OK);
	assert_false(r.told.any);
	assert_int_equal(in_force().from, XN_RSS_FROM_NOBODY);
	assert_int_equal(ask_rss(&f), VIRTIO_NET_OK);
	assert_true(r.told.any);
	/* Fewer: none is for a pair that is not used. */
	assert_int_equal(ask_pairs(2), VIRTIO_NET_OK);
	assert_true(r.told.any);
	for (unsigned i = 0; i < r.told.cfg.entries; i++)
		assert_int_equal(r.told.cfg.table[i], i % 2);
	assert_int_equal(r.told.cfg.unclassified, 0);
	assert_int_equal(in_force().from, XN_RSS_FROM_NOBODY);
	assert_int_equal(in_force().pairs, 2);
	close_rig();
}

static void new_driver_begins_with_nothing(void **state)
{
	const struct fields f = good_fields();

	open_rig_on(WITH_RSS, true);
	assert_int_equal(ask_rss(&f), VIRTIO_NET_OK);
	assert_int_equal(xn_dev_reset(r.dev), -EINVAL);            /* its queue runs */
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(in_force().from, XN_RSS_FROM_DRIVER);     /* a stop is no reset */
	assert_int_equal(xn_dev_reset(r.dev), 0);
	assert_int_equal(in_force().from, XN_RSS_FROM_NOBODY);
	assert_int_equal(in_force().pairs, PAIRS);
	assert_false(r.told.any);
	assert_int_equal(r.told.calls, 2);

	assert_int_equal(xn_dev_ctrl_start(r.dev), 0);
	assert_int_equal(ask_rss(&f), VIRTIO_NET_OK);
	assert_int_equal(xn_dev_ctrl_stop(r.dev), 0);
	assert_int_equal(xn_dev_set_features(r.dev, VERSION | ALL), 0);
	assert_int_equal(in_force().from, XN_RSS_FROM_NOBODY);
	start_pair(0);                                             /* now the port hears of it */
	assert_false(r.told.any);
	assert_int_equal(r.told.calls, 4);
	close_rig();
}

/* ---- what nobody has said; what the VMM says ---- */

static void port_is_told_before_the_first_pair_starts(void **state)
{
	open_rig_on(ALL, true);
	assert_int_equal(r.told.calls, 0);
	start_pair(0);
	assert_int_equal(r.told.calls, 1);
	assert_false(r.told.any);
	start_pair(1);
	assert_int_equal(r.told.calls, 1);
	assert_int_equal(xn_dev_use_pairs(r.dev, 2), 0);
	assert_int_equal(r.told.calls, 2);
	assert_true(r.told.any);
	for (unsigned i = 0; i < r.told.cfg.entries; i++)
		assert_int_equal(r.told.cfg.table[i], i % 2);
	assert_int_equal(xn_dev_use_pairs(r.dev, 2), 0);
	assert_int_equal(r.told.calls, 2);
	assert_int_equal(xn_dev_use_pairs(r.dev, 0), -EINVAL);
	assert_int_equal(xn_dev_use_pairs(r.dev, PAIRS + 1), -EINVAL);
	r.told.answer = -ENOMEM;
	assert_int_equal(xn_dev_use_pairs(r.dev, 3), -ENOMEM);
	assert_int_equal(in_force().pairs, 2);
	r.told.answer = 0;
	assert_int_equal(xn_dev_use_pairs(r.dev, 3), 0);
	assert_false(r.told.any);
	close_rig();
}

/* A start whose port cannot steer: frames come as before, and the next start tries again. */
static void start_does_not_fail_for_it(void **state)
{
	open_rig_on(ALL, true);
	r.told.answer = -EIO;
	start_pair(0);
	r.told.answer = 0;
	start_pair(1);
	assert_int_equal(r.told.calls, 2);
	close_rig();
}

static void vmm_decides_where_the_driver_does_not(void **state)
{
	const struct fields f = good_fields();

	open_rig_on(WITH_RSS, true);
	assert_int_equal(xn_dev_set_rss(r.dev, "symmetric", "2,2,1,0"), 0);
	assert_int_equal(r.told.calls, 0);                 /* nothing runs */
	start_pair(0);
	assert_int_equal(r.told.calls, 1);
	assert_int_equal(r.told.cfg.entries, 4);
	assert_int_equal(r.told.cfg.table[0], 2);
	assert_int_equal(r.told.cfg.table[3], 0);
	assert_int_equal(r.told.cfg.key[0], 0x6d);
	assert_int_equal(r.told.cfg.key[2], 0x6d);
	assert_int_equal(r.told.cfg.types, XN_RSS_TYPES_ALL);
	assert_int_equal(in_force().from, XN_RSS_FROM_VMM);

	assert_int_equal(ask_rss(&f), VIRTIO_NET_OK);      /* the driver's goes before */
	assert_int_equal(in_force().from, XN_RSS_FROM_DRIVER);
	assert_int_equal(xn_dev_set_rss(r.dev, NULL, "1,0"), 0);
	assert_int_equal(in_force().from, XN_RSS_FROM_DRIVER);
	assert_int_equal(r.told.calls, 2);
	assert_int_equal(ask_pairs(PAIRS), VIRTIO_NET_OK); /* and then ours */
	assert_int_equal(r.told.cfg.entries, 2);
	assert_int_equal(r.told.cfg.key[2], 0x56);         /* Microsoft's again */
	assert_int_equal(xn_dev_set_rss(r.dev, NULL, NULL), 0);
	assert_false(r.told.any);
	close_rig();
}

static void table_of_the_vmm_names_only_pairs_in_use(void **state)
{
	open_rig_on(ALL, true);
	assert_int_equal(xn_dev_set_rss(r.dev, NULL, "2,2,1,2"), 0);
	start_pair(0);
	assert_int_equal(xn_dev_use_pairs(r.dev, 2), 0);
	assert_int_equal(r.told.cfg.entries, 4);
	assert_int_equal(r.told.cfg.table[0], 0);
	assert_int_equal(r.told.cfg.table[1], 1);
	assert_int_equal(r.told.cfg.table[2], 1);
	assert_int_equal(r.told.cfg.table[3], 1);
	assert_int_equal(xn_dev_use_pairs(r.dev, 3), 0);
	assert_int_equal(r.told.cfg.table[0], 2);
	close_rig();
}

static void what_the_vmm_says_wrong_changes_nothing(void **state)
{
	static const struct { const char *key, *table; } wrong[] = {
		{ "6d:5a", NULL }, { "", NULL }, { NULL, "" }, { NULL, "0,1,2" }, { NULL, "3" },
		{ NULL, "equal:4" }, { NULL, "equal:0" }, { "random", "x" }, { "symmetry", "0" },
	};
	struct xn_dev_rss before, after;

	open_rig_on(ALL, true);
	assert_int_equal(xn_dev_set_rss(r.dev, "random", "0,1"), 0);
	before = in_force();
	for (unsigned i = 0; i < XN_ARRAY_SIZE(wrong); i++) {
		assert_int_equal(xn_dev_set_rss(r.dev, wrong[i].key, wrong[i].table), -EINVAL);
		assert_non_null(strstr(xn_last_error(), wrong[i].key && strcmp(wrong[i].key, "random") ?
				       "key" : "table"));
		after = in_force();
		assert_memory_equal(&before, &after, sizeof(before));
	}
	start_pair(0);
	r.told.answer = -ENOMEM;
	assert_int_equal(xn_dev_set_rss(r.dev, NULL, NULL), -ENOMEM);
	after = in_force();
	assert_memory_equal(&before, &after, sizeof(before));
	close_rig();
	open_rig(ALL);
	assert_int_equal(xn_dev_set_rss(r.dev, NULL, "0,1"), -EOPNOTSUPP);
	close_rig();
}

static void limits_are_what_linux_drivers_have_arrays_for(void **state)
{
	struct xn_rss_limits_info info = { .sz = sizeof(info) };
	struct xn_dev_rss rss = { .sz = sizeof(rss) - 1 };

	open_rig_on(ALL, true);
	assert_int_equal(xn_dev_get_rss_limits(r.dev, &info), 0);
	assert_int_equal(info.sz, sizeof(info));
	assert_int_equal(info.key_bytes, 40);
	assert_int_equal(info.table_entries, 128);
	assert_int_equal(info.hash_types, 0x1ff);
	assert_int_equal(xn_dev_get_rss(r.dev, &rss), -EINVAL);
	info.sz--;
	assert_int_equal(xn_dev_get_rss_limits(r.dev, &info), -EINVAL);
	close_rig();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_reaches_port_and_vmm),
		cmocka_unit_test(pairs_in_use_are_those_that_are_named),
		cmocka_unit_test(pairs_are_on_while_frames_may_be_for_them),
		cmocka_unit_test(wrong_configurations_change_nothing_and_are_counted_by_name),
		cmocka_unit_test(long_command_is_refused),
		cmocka_unit_test(random_commands_mean_what_they_mean_in_one_piece),
		cmocka_unit_test(port_that_cannot_do_it_keeps_what_was),
		cmocka_unit_test(without_the_feature_there_is_no_rss),
		cmocka_unit_test(rss_without_mq_has_its_control_queue_behind_all_pairs),
		cmocka_unit_test(pairs_set_ends_rss),
		cmocka_unit_test(new_driver_begins_with_nothing),
		cmocka_unit_test(port_is_told_before_the_first_pair_starts),
		cmocka_unit_test(start_does_not_fail_for_it),
		cmocka_unit_test(vmm_decides_where_the_driver_does_not),
		cmocka_unit_test(table_of_the_vmm_names_only_pairs_in_use),
		cmocka_unit_test(what_the_vmm_says_wrong_changes_nothing),
		cmocka_unit_test(limits_are_what_linux_drivers_have_arrays_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
