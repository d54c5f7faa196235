/* SPDX-License-Identifier: BSD-2-Clause */
/* xsk/zc.h: shapes of a bind; and the map, read from kernels that are played here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/cmocka.h"
#include "xsk/zc.h"

/* ---- a kernel's TX ring ---- */

enum kernel {
	KERNEL_72,       /* takes a packet whole, as far as it has room for completions */
	KERNEL_OLD,      /* a piece a call, completes nothing */
	KERNEL_DEAF,     /* takes nothing */
	KERNEL_LIAR,     /* refuses what it likes */
	KERNEL_SILENT,   /* refuses without counting */
};

#define PAGES_MAX 5000u
#define RING      256u

static struct {
	enum kernel kind;
	bool follows[PAGES_MAX];
	uint64_t refused, sent, calls;
	bool drain;
	uint32_t tx_prod, tx_cons, tx_flags, comp_prod, comp_cons, comp_flags;
	struct xdp_desc tx[RING];
	uint64_t comp[2 * RING];
} k;

static bool valid(const struct xdp_desc *d)
{
	uint64_t first = d->addr / XN_PAGE_SIZE, last = (d->addr + d->len - 1) / XN_PAGE_SIZE;

	if (!d->len)
		return false;
	assert_true(last < PAGES_MAX && last - first <= 1);
	return first == last || k.follows[first];
}

static void count_refused(void)
{
	if (k.kind != KERNEL_SILENT)
		k.refused += k.kind == KERNEL_LIAR ? (uint64_t)rand() % 3 : 1;
}

/* Linux 7.2, xskq_cons_read_desc_batch with xdp_zc_max_segs 1. */
static void take_packet(void)
{
	uint32_t room = 2 * RING - (k.comp_prod - k.comp_cons);

	while (k.tx_cons != k.tx_prod && room--) {
		struct xdp_desc d = k.tx[k.tx_cons++ % RING];

		if (!valid(&d)) {
			count_refused();
			k.drain = true;
		}
		k.comp[k.comp_prod++ % (2 * RING)] = d.addr;
		if (d.options & XDP_PKT_CONTD) {
			k.drain = true;
			continue;
		}
		k.sent += !k.drain;
		k.drain = false;
		break;
	}
}

/* Before: a piece that has a next one is thrown away alone. */
static void take_piece(void)
{
	struct xdp_desc d = k.tx[k.tx_cons++ % RING];

	if (!valid(&d))
		count_refused();
	else
		k.sent += !(d.options & XDP_PKT_CONTD);
}

static int fake_send(struct xn_xsk *x)
{
	(void)x;
	k.calls++;
	if (k.kind == KERNEL_DEAF || k.tx_cons == k.tx_prod)
		return -EAGAIN;
	if (k.kind == KERNEL_OLD)
		take_piece();
	else
		take_packet();
	return 0;
}

static void fake_statistics(const struct xn_xsk *x, struct xdp_statistics *st)
{
	(void)x;
	*st = (struct xdp_statistics){ .tx_invalid_descs = k.refused };
}

static struct xn_xsk socket_of(enum kernel kind)
{
	memset(&k, 0, sizeof(k));
	k.kind = kind;
	k.refused = 7;   /* of whoever had the ring before */
	k.tx_prod = k.tx_cons = k.comp_prod = k.comp_cons = UINT32_MAX - 100;   /* wraps soon */
	return (struct xn_xsk){
		.tx = { .cached_prod = k.tx_prod, .cached_cons = k.tx_cons + RING, .mask = RING - 1,
			.size = RING, .producer = &k.tx_prod, .consumer = &k.tx_cons, .ring = k.tx,
			.flags = &k.tx_flags },
		.comp = { .cached_prod = k.comp_prod, .cached_cons = k.comp_cons,
			  .mask = 2 * RING - 1, .size = 2 * RING, .producer = &k.comp_prod,
			  .consumer = &k.comp_cons, .ring = k.comp, .flags = &k.comp_flags },
		.send = fake_send, .statistics = fake_statistics, .zero_copy = true, .fd = -1,
	};
}

#define RELEASE (k.kind == KERNEL_OLD ? "6.18.1" : "7.2.1")

static const struct xn_zc_driver asked = { .name = "asked", .trust = XN_ZC_MEASURED, .unit = 128,
					   .segments = 1, .batch = true, .source = "test" };

/* ---- the map ---- */

static void read_and_compare(enum kernel kind, uint64_t pages, unsigned percent)
{
	struct xn_xsk x = socket_of(kind);
	struct xn_zc_map map;
	uint64_t following = 0;

	for (uint64_t i = 0; i < pages; i++)
		k.follows[i] = (unsigned)rand() % 100 < percent;
	assert_int_equal(xn_zc_map_read(&map, &x, pages * XN_PAGE_SIZE, &asked, 2000, RELEASE), 0);
	assert_true(map.read);
	for (uint64_t i = 0; i < pages; i++) {
		const uint64_t border = (i + 1) * XN_PAGE_SIZE;
		bool may = i + 1 < pages && k.follows[i];

		assert_int_equal(map.bits[i / 64] >> i % 64 & 1, may);
		following += may;
		assert_true(xn_zc_whole_for_device(&map, border - XN_PAGE_SIZE, XN_PAGE_SIZE));
		assert_true(xn_zc_whole_for_device(&map, border - 1, 1));
		if (i + 1 == pages)
			continue;
		assert_int_equal(xn_zc_whole_for_device(&map, border - 1, 2), may);
		assert_int_equal(xn_zc_whole_for_device(&map, border - XN_PAGE_SIZE + 1,
							XN_PAGE_SIZE), may);
	}
	assert_int_equal(map.following, following);
	assert_int_equal(map.pages, pages);
	assert_int_equal(k.sent, 0);
	/* All rings idle, so that what is posted next finds them as if they were new. */
	assert_int_equal(k.tx_cons, k.tx_prod);
	assert_int_equal(k.comp_cons, k.comp_prod);
	assert_int_equal(x.tx.cached_prod, k.tx_prod);
	xn_zc_map_free(&map);
	assert_null(map.bits);
}

static void the_map_is_the_kernels(void **state)
{
	static const uint64_t pages[] = { 1, 2, 3, 4, 5, 17, 64, 65, 255, 256, 257, 511, 4999 };
	static const unsigned percent[] = { 0, 1, 50, 99, 100 };

	(void)state;
	srand(4);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(pages); i++)
		for (unsigned j = 0; j < XN_ARRAY_SIZE(percent); j++) {
			read_and_compare(KERNEL_72, pages[i], percent[j]);
			read_and_compare(KERNEL_OLD, pages[i], percent[j]);
		}
}

static void one_question_is_enough_where_all_pages_follow_or_none(void **state)
{
	(void)state;
	for (unsigned all = 0; all < 2; all++) {
		struct xn_xsk x = socket_of(KERNEL_72);
		struct xn_zc_map map;

		memset(k.follows, (int)all, sizeof(k.follows));
		assert_int_equal(xn_zc_map_read(&map, &x, (uint64_t)PAGES_MAX * XN_PAGE_SIZE, &asked, 2000, RELEASE), 0);
		assert_int_equal(map.following, all ? PAGES_MAX - 1 : 0);
		assert_true(k.calls <= PAGES_MAX / (RING - 1) + 1);
		xn_zc_map_free(&map);
	}
}

static void nothing_may_cross(const struct xn_zc_map *map, uint64_t pages)
{
	assert_false(map->read);
	assert_int_equal(map->following, 0);
	for (uint64_t i = 0; i + 1 < pages; i++)
		assert_false(xn_zc_whole_for_device(map, (i + 1) * XN_PAGE_SIZE - 1, 2));
}

static void answers_without_sense_are_not_believed(void **state)
{
	static const enum kernel kinds[] = { KERNEL_LIAR, KERNEL_SILENT };

	(void)state;
	srand(5);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(kinds); i++) {
		struct xn_xsk x = socket_of(kinds[i]);
		struct xn_zc_map map;

		for (unsigned p = 0; p < 1000; p++)
			k.follows[p] = p % 3;
		assert_int_equal(xn_zc_map_read(&map, &x, 1000 * XN_PAGE_SIZE, &asked, 2000, RELEASE), 0);
		nothing_may_cross(&map, 1000);
		assert_int_equal(k.tx_cons, k.tx_prod);
		xn_zc_map_free(&map);
	}
}

static void a_kernel_that_takes_nothing_is_given_up(void **state)
{
	struct xn_xsk x = socket_of(KERNEL_DEAF);
	struct xn_zc_map map;

	(void)state;
	xn_fail_silently(true);
	assert_int_equal(xn_zc_map_read(&map, &x, 100 * XN_PAGE_SIZE, &asked, 20, RELEASE), -EAGAIN);
	nothing_may_cross(&map, 100);
	xn_zc_map_free(&map);
}

static void count_line(void *arg, enum xn_log_level level, const char *line)
{
	unsigned *lines = arg;

	*lines += level == XN_LOG_WARN && strstr(line, "answers slowly");
}

static void what_there_is_no_time_for_may_not_cross(void **state)
{
	struct xn_xsk x = socket_of(KERNEL_72);
	struct xn_zc_map map;
	unsigned told = 0;

	(void)state;
	xn_set_log(count_line, &told, XN_LOG_WARN);
	memset(k.follows, true, sizeof(k.follows));
	assert_int_equal(xn_zc_map_read(&map, &x, (uint64_t)PAGES_MAX * XN_PAGE_SIZE, &asked, 0, RELEASE), 0);
	assert_true(map.read);
	nothing_may_cross(&(struct xn_zc_map){ .bits = map.bits, .following = map.following }, PAGES_MAX);
	assert_int_equal(told, 1);
	xn_set_log(NULL, NULL, XN_LOG_INFO);
	xn_zc_map_free(&map);
}

static void who_could_send_a_piece_is_not_asked(void **state)
{
	struct xn_zc_driver one_by_one = asked, chains = asked;
	struct xn_xsk x = socket_of(KERNEL_72);
	struct xn_zc_map map;

	(void)state;
	one_by_one.batch = false;
	chains.segments = 8;
	assert_true(xn_zc_map_askable(&asked, "6.12.1"));
	assert_false(xn_zc_map_askable(NULL, "7.2.1"));
	assert_false(xn_zc_map_askable(&one_by_one, "7.2.1"));
	assert_false(xn_zc_map_askable(&chains, "6.18.44"));
	assert_false(xn_zc_map_askable(&chains, "7.1.9-amd64"));
	assert_false(xn_zc_map_askable(&chains, "a release"));
	assert_true(xn_zc_map_askable(&chains, "7.2.0-rc1"));
	assert_true(xn_zc_map_askable(&chains, "10.0"));
	assert_int_equal(xn_zc_map_read(&map, &x, 100 * XN_PAGE_SIZE, &one_by_one, 20, RELEASE), 0);
	nothing_may_cross(&map, 100);
	assert_int_equal(k.calls, 0);
	xn_zc_map_free(&map);
	x.zero_copy = false;   /* in copy mode nothing is refused: the answer would be "all" */
	assert_int_equal(xn_zc_map_read(&map, &x, 100 * XN_PAGE_SIZE, &asked, 2000, RELEASE), 0);
	nothing_may_cross(&map, 100);
	assert_int_equal(k.calls, 0);
	xn_zc_map_free(&map);
}

/* ---- shapes ---- */

static void check_shape(const char *driver, uint32_t mtu, uint32_t chunk, uint32_t frame, uint32_t reach)
{
	const struct xn_zc_driver *d = xn_zc_driver_find(driver);
	struct xn_zc_shape s;

	assert_int_equal(xn_zc_shape_choose(&s, d, mtu, "eth0"), 0);
	assert_ptr_equal(s.driver, d);
	assert_int_equal(s.chunk_bytes, chunk);
	assert_int_equal(s.frame_bytes, frame);
	assert_int_equal(s.reach, reach);
	assert_int_equal(s.front, d->front);
}

static void shapes_are_the_smallest_that_hold_a_frame(void **state)
{
	(void)state;
	check_shape("virtio_net", 1500, 2048, 1536, 1536);
	check_shape("virtio_net", 1382, 2048, 1408, 1408);
	check_shape("virtio_net", 1383, 2048, 1536, 1536);
	check_shape("virtio_net", 1766, 2048, 1792, 1792);
	check_shape("virtio_net", 1767, 4096, 1920, 1920);
	check_shape("virtio_net", 68, 2048, 512, 512);
	check_shape("igb", 1500, 4096, 2048, 2048);
	/* 16 bytes may be a timestamp's, and 1008 are a piece of a longer frame. */
	check_shape("igb", 989, 2048, 1024, 1024);
	check_shape("igb", 990, 4096, 2048, 2048);
	check_shape("ice", 1500, 2048, 1536, 1536);
	check_shape("mlx5_core", 1500, 2048, 1536, 1536);
}

/* The slow way: each frame size, by what the table says of it. */
static void shapes_hold_at_every_mtu(void **state)
{
	(void)state;
	xn_fail_silently(true);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(xn_zc_drivers); i++) {
		const struct xn_zc_driver *d = &xn_zc_drivers[i];
		const bool pieces = !d->rounds_up && d->unit > 128;

		for (uint32_t mtu = 68; mtu < 4100; mtu++) {
			struct xn_zc_shape s;
			int err = xn_zc_shape_choose(&s, d, mtu, "eth0");

			if (d->trust == XN_ZC_DENIED) {
				assert_int_equal(err, -EOPNOTSUPP);
				continue;
			}
			if (err) {
				assert_int_equal(err, -EMSGSIZE);
				assert_true(mtu + 26 > 3840 || xn_zc_whole(d, 3840) < mtu + 18 + pieces);
				continue;
			}
			assert_true(s.whole >= mtu + 18 + pieces);
			assert_true(s.frame_bytes >= mtu + 26 && s.frame_bytes % 128 == 0);
			assert_true(s.reach >= s.whole && s.reach <= s.frame_bytes);
			assert_true(s.chunk_bytes == 2048 || s.chunk_bytes == 4096);
			assert_true(s.frame_bytes + 256 <= s.chunk_bytes);
			assert_true(s.chunk_bytes == 2048 || s.frame_bytes > 1792);
		}
	}
}

static void nothing_is_chosen_for_a_driver_that_nobody_knows(void **state)
{
	struct xn_zc_shape s;

	(void)state;
	xn_fail_silently(true);
	assert_int_equal(xn_zc_shape_choose(&s, xn_zc_driver_find("nosuch"), 1500, "eth7"), -EOPNOTSUPP);
	assert_non_null(strstr(xn_last_error(), "eth7"));
	assert_int_equal(xn_zc_shape_choose(&s, xn_zc_driver_find("gve"), 1500, "eth7"), -EOPNOTSUPP);
	assert_non_null(strstr(xn_last_error(), "gve_rx_post_buffer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_map_is_the_kernels),
		cmocka_unit_test(one_question_is_enough_where_all_pages_follow_or_none),
		cmocka_unit_test(answers_without_sense_are_not_believed),
		cmocka_unit_test(a_kernel_that_takes_nothing_is_given_up),
		cmocka_unit_test(what_there_is_no_time_for_may_not_cross),
		cmocka_unit_test(who_could_send_a_piece_is_not_asked),
		cmocka_unit_test(shapes_are_the_smallest_that_hold_a_frame),
		cmocka_unit_test(shapes_hold_at_every_mtu),
		cmocka_unit_test(nothing_is_chosen_for_a_driver_that_nobody_knows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
