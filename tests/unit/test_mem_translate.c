/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of umem/:
 *
 *   - translation agrees with a linear search over the original regions, on random
 *     maps, addresses and lengths, with and without cache, up to the end of 2^64
 *   - bounce frames are unique, the engine's own, and surrounded by guard memory
 */
#include "tests/unit/mem_rig.h"

/* ---- translation against an oracle -------------------------------------------------- */

/*
 * The oracle knows the regions as the caller gave them, and nothing of spans: it
 * looks at all of them, one after the other. Every page of the file holds its own
 * offset, so what a translation leads to can be read off.
 */
#define TAGGED_BYTES (48 * MIB)

struct oracle {
	struct xn_region r[XN_MEM_MAX_REGIONS];
	unsigned n;
	bool windowed;
	uint64_t first, last;    /* window, whole pages */
};

static int oracle_region(const struct oracle *o, uint64_t gpa)
{
	for (unsigned i = 0; i < o->n; i++)
		if (gpa >= o->r[i].gpa && gpa <= o->r[i].gpa + (o->r[i].size - 1))
			return (int)i;
	return -1;
}

static bool oracle_in_window(const struct oracle *o, uint64_t gpa)
{
	return !o->windowed || (gpa >= o->first && gpa <= o->last);
}

/* Bytes from gpa on that surely lie side by side: to the end of the region or of
 * this side of the window. */
static uint64_t oracle_run(const struct oracle *o, uint64_t gpa)
{
	int i = oracle_region(o, gpa);
	uint64_t last;

	if (i < 0)
		return 0;
	last = o->r[i].gpa + (o->r[i].size - 1);
	if (o->windowed && gpa < o->first && last >= o->first)
		last = o->first - 1;
	if (o->windowed && gpa >= o->first && gpa <= o->last && last > o->last)
		last = o->last;
	return last - gpa + 1;   /* no region is 2^64 bytes */
}

/* Are [gpa, gpa + len) and what lies at `at` the same, page for page? */
static void check_same_bytes(const struct oracle *o, const struct xn_mem *m, uint64_t gpa,
			     uint64_t len, xn_uoff at)
{
	for (uint64_t done = 0; done < len;) {
		int i = oracle_region(o, gpa + done);
		uint64_t step = PAGE - (gpa + done) % PAGE, tag;

		assert_true(i >= 0);
		memcpy(&tag, m->base + (at.v + done) / PAGE * PAGE, sizeof(tag));
		assert_int_equal(tag, o->r[i].fd_offset + (gpa + done - o->r[i].gpa) / PAGE * PAGE);
		assert_int_equal((at.v + done) % PAGE, (gpa + done) % PAGE);
		assert_int_equal(xn_mem_registered(m, XN_UOFF(at.v + done), 1),
				 oracle_in_window(o, gpa + done));
		done += step;
	}
}

static void compare(const struct oracle *o, const struct xn_mem *m, struct xn_mem_hit *hit,
		    uint64_t gpa, uint64_t len)
{
	struct xn_mem_hit miss = { 0 };
	uint64_t run = oracle_run(o, gpa), some;
	xn_uoff at = { 1 }, cold = { 2 }, part = { 3 };
	bool found = xn_mem_find(m, hit, XN_GPA(gpa), len, &at);

	assert_int_equal(xn_mem_find(m, &miss, XN_GPA(gpa), len, &cold), found);
	some = xn_mem_find_some(m, XN_GPA(gpa), len, &part);
	assert_int_equal(some == len, found);
	assert_true(some >= XN_MIN(run, len));
	assert_int_equal(!some, !run);
	if (some) {
		int s = xn_mem_span_of(m, part);

		check_same_bytes(o, m, gpa, some, part);
		assert_true(s >= 0 && m->spans[s].uoff + (gpa - m->spans[s].gpa) == part.v);
	}
	if (found) {
		assert_int_equal(at.v, cold.v);
		assert_int_equal(at.v, part.v);
		assert_ptr_equal(xn_mem_ptr(m, gpa, len), m->base + at.v);
	} else {
		assert_null(xn_mem_ptr(m, gpa, len));
	}
}

static void random_regions(struct oracle *o, int fd)
{
	uint64_t gpa = pick(3) ? pick(1000) * PAGE : 0, off = pick(8) * PAGE;
	unsigned n = 1 + (unsigned)pick(XN_MEM_MAX_REGIONS);
	bool at_the_top = !pick(4);

	o->n = 0;
	for (unsigned i = 0; i < n; i++) {
		uint64_t size = pick(12) ? (1 + pick(9)) * PAGE : HUGE + pick(300) * PAGE;

		if (off + size > TAGGED_BYTES)
			break;
		o->r[o->n++] = fd_region(gpa, size, fd, off);
		gpa += size + (pick(2) ? 0 : pick(2) ? pick(20) * PAGE : pick(64) << 32);
		off += size + pick(4) * PAGE;
	}
	/* Move all of them, so that the last one ends where addresses end. */
	for (unsigned i = 0; at_the_top && i < o->n; i++)
		o->r[i].gpa -= o->r[o->n - 1].gpa + o->r[o->n - 1].size;
	for (unsigned i = 1; i < o->n; i++) {   /* shuffle */
		unsigned j = (unsigned)pick(i + 1);
		struct xn_region t = o->r[i];

		o->r[i] = o->r[j];
		o->r[j] = t;
	}
}

static void random_window(struct oracle *o, struct xn_mem_opts *opts)
{
	const struct xn_region *r = &o->r[pick(o->n)];
	uint64_t room, want;

	o->windowed = !pick(2);
	if (!o->windowed)
		return;
	opts->window_gpa = r->gpa + pick(r->size);
	room = ~0ull - opts->window_gpa;
	want = pick(3) ? pick(40 * PAGE) : pick(HIGH_GPA * 3);
	opts->window_bytes = 1 + XN_MIN(want, room);
	o->first = opts->window_gpa / PAGE * PAGE;
	o->last = (opts->window_gpa + (opts->window_bytes - 1)) | (PAGE - 1);
}

/* An address near something: an edge of a region, of the window, or of 2^64. */
static uint64_t random_gpa(const struct oracle *o)
{
	const struct xn_region *r = &o->r[pick(o->n)];
	uint64_t near = pick(20) - 10;

	switch (pick(8)) {
	case 0: return near;
	case 1: return r->gpa + near;
	case 2: return r->gpa + r->size + near;
	case 3: return o->first + near;
	case 4: return o->last + near;
	case 5: return ((uint64_t)random32() << 32) | random32();
	default: return r->gpa + pick(r->size);
	}
}

static uint64_t random_len(const struct oracle *o, uint64_t gpa)
{
	uint64_t run = oracle_run(o, gpa);

	switch (pick(8)) {
	case 0: return 1;
	case 1: return 1 + pick(70000);
	case 2: return -gpa ? -gpa : 1;             /* to the end of all addresses */
	case 3: return -gpa + 1 ? -gpa + 1 : 1;     /* and one more */
	case 4: return ~0ull - pick(3);
	case 5: return run ? run : 1;
	case 6: return run + 1;
	default: return 1 + pick(2000);
	}
}

static void translation_agrees_with_a_search_over_all_regions(void **state)
{
	int fd = memfd(TAGGED_BYTES, 0);
	uint8_t *tagged = map(fd, TAGGED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED);

	for (uint64_t at = 0; at < TAGGED_BYTES; at += PAGE)
		memcpy(tagged + at, &at, sizeof(at));
	for (unsigned i = 0; i < 400; i++) {
		struct xn_mem_opts opts = small_opts();
		struct xn_mem_hit hit = { 0 };
		struct oracle o = { 0 };
		struct xn_mem *m;

		random_regions(&o, fd);
		random_window(&o, &opts);
		m = make(o.r, o.n, &opts);
		check_layout(m);
		for (unsigned k = 0; k < 250; k++) {
			uint64_t gpa = random_gpa(&o);

			compare(&o, m, &hit, gpa, random_len(&o, gpa));
		}
		xn_mem_destroy(m);
	}
	munmap(tagged, TAGGED_BYTES);
	close(fd);
}

static void a_hit_is_remembered_and_replaced_across_spans(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r[2] = { fd_region(0, PAGE, fd, 0), fd_region(HIGH_GPA, PAGE, fd, PAGE) };
	struct xn_mem *m = make(r, 2, NULL);
	struct xn_mem_hit hit = { 0 };
	xn_uoff a, b;

	for (unsigned i = 0; i < 10; i++) {
		assert_true(xn_mem_find(m, &hit, XN_GPA(i), 1, &a));
		assert_int_equal(hit.gpa, 0);
		/* What is not found does not disturb what was. */
		assert_false(xn_mem_find(m, &hit, XN_GPA(2 * PAGE), 1, &b));
		assert_false(xn_mem_find(m, &hit, XN_GPA(0), PAGE + 1, &b));
		assert_int_equal(hit.gpa, 0);
		assert_int_equal(hit.bytes, PAGE);
		assert_true(xn_mem_find(m, &hit, XN_GPA(HIGH_GPA + i), 1, &b));
		assert_int_equal(hit.gpa, HIGH_GPA);
		assert_int_equal(b.v - a.v, PAGE);
	}
	assert_int_equal(xn_mem_span_of(m, a), 0);
	assert_int_equal(xn_mem_span_of(m, b), 1);
	assert_int_equal(xn_mem_span_of(m, XN_UOFF(0)), -1);
	assert_int_equal(xn_mem_span_of(m, XN_UOFF(m->frames_at)), -1);
	assert_int_equal(xn_mem_find_some(m, XN_GPA(0), 0, &a), 0);
	assert_false(xn_mem_registered(m, XN_UOFF(m->umem_bytes - 1), 2));
	assert_false(xn_mem_registered(m, XN_UOFF(1), ~0ull));
	xn_mem_destroy(m);
	close(fd);
}

/* ---- bounce frames ------------------------------------------------------------------- */

static void frames_are_unique_and_the_engines_with_guards_around(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(0, MIB, fd, 0);
	struct xn_mem_opts o = small_opts();
	xn_uoff f[300];
	struct xn_mem *m;

	o.bounce_frames = 300;
	m = make(&r, 1, &o);
	assert_int_equal(xn_mem_take_frames(m, f, 300), 300);
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(xn_mem_span_of(m, f[i]), -1);
		assert_int_equal(xn_mem_span_of(m, XN_UOFF(f[i].v - XN_CHUNK_BYTES)), -1);
		assert_true(f[i].v >= XN_CHUNK_BYTES);
		assert_true(xn_mem_registered(m, f[i], 2 * XN_CHUNK_BYTES));
		assert_int_equal(f[i].v % PAGE, 0);
		assert_true(!i || f[i].v == f[i - 1].v + XN_CHUNK_BYTES);
		memset(xn_mem_at(m, f[i]), (int)i, XN_CHUNK_BYTES);
	}
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(*((uint8_t *)xn_mem_at(m, f[i]) + XN_CHUNK_BYTES - 1), i & 0xff);
	xn_mem_give_frames(m, f, 300);
	xn_mem_destroy(m);
	close(fd);
}

static void frames_taken_are_gone_until_they_are_given_back(void **state)
{
	int fd = memfd(MIB, 0);
	struct xn_region r = fd_region(0, MIB, fd, 0);
	struct xn_mem *m = make(&r, 1, NULL);
	struct xn_mem_info info;
	xn_uoff a[16], b[16];

	assert_int_equal(xn_mem_take_frames(m, a, 10), 10);
	xn_mem_get_info(m, &info);
	assert_int_equal(info.bounce_frames_free, 6);
	assert_int_equal(xn_mem_take_frames(m, b, 16), 6);
	assert_int_equal(xn_mem_take_frames(m, b + 6, 1), 0);
	for (unsigned i = 0; i < 10; i++)
		for (unsigned j = 0; j < 6; j++)
			assert_int_not_equal(a[i].v, b[j].v);
	xn_mem_give_frames(m, a + 3, 4);
	assert_int_equal(xn_mem_take_frames(m, b + 6, 10), 4);
	xn_mem_give_frames(m, b, 10);
	xn_mem_give_frames(m, a, 3);
	xn_mem_give_frames(m, a + 7, 3);
	xn_mem_get_info(m, &info);
	assert_int_equal(info.bounce_frames_free, 16);
	xn_mem_destroy(m);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(translation_agrees_with_a_search_over_all_regions),
		cmocka_unit_test(a_hit_is_remembered_and_replaced_across_spans),
		cmocka_unit_test(frames_are_unique_and_the_engines_with_guards_around),
		cmocka_unit_test(frames_taken_are_gone_until_they_are_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
