/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of virtio/inflight.c and of virtio/vq.c with it: a back end may be killed at any
 * moment, and each head is used exactly once.
 *
 * The two files are compiled into this one, with their stores to shared memory
 * replaced by stores that count: "killed" is a jump out of the n-th of them, after
 * which everything private is thrown away, and a new queue starts on what is left in
 * memory. The driver lives on, and is the oracle: it knows what it has offered, and
 * refuses to see a head twice. Between two counted stores nothing becomes visible but
 * used entries behind the used index, which nobody looks at.
 *
 *   - every moment of thousands of random schedules: taking, using in any order, un-taking,
 *     refusing, publishing, and the repair itself
 *   - every moment twice over, for small rings: killed again while it recovers
 *   - what is taken again comes in the order in which it had been offered, first
 *   - every instruction, with a real process and a real SIGKILL
 *   - after an orderly stop nothing is out, and the base is the used index
 *   - whatever the region holds, the queue touches nothing but its own ring
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomics.h"

/* ---- stores that may be the last ---- */

static struct {
	jmp_buf out;
	long left;          /* stores until the end; < 0: none */
	long done;          /* stores so far */
} life = { .left = -1 };

static void stored(void)
{
	life.done++;
	if (life.left > 0 && !--life.left) {
		life.left = -1;
		longjmp(life.out, 1);
	}
}

#define xn_store_once16(p, v)    (xn_store_once16(p, v), stored())
#define xn_store_once64(p, v)    (xn_store_once64(p, v), stored())
#define xn_store_release8(p, v)  (xn_store_release8(p, v), stored())
#define xn_store_release16(p, v) (xn_store_release16(p, v), stored())
#define xn_store_release64(p, v) (xn_store_release64(p, v), stored())
#define xn_count_add(p, v)       (*(p) += (v))   /* private: dies with the process */

/* NOLINTBEGIN(bugprone-suspicious-include): that is the point */
#include "virtio/inflight.c"
#include "virtio/vq.c"
/* NOLINTEND(bugprone-suspicious-include) */

#undef xn_store_release16   /* the driver's stores are not counted */

#include "base/log.h"
#include "tests/unit/vq_rig.h"

#define MAX_SIZE 64u
#define REGION_AT 0x1c0000ull   /* of A: inflight memory, in what is shared anyway */

static struct rig r;
static struct xn_vq_cfg cfg;
static uint64_t seed;

static uint32_t pick(uint32_t n)
{
	return rig_random(&seed) % n;
}

static struct xn_inflight_ring *region(void)
{
	return rig_at(&r, A_GPA + REGION_AT);
}

/* ---- the driver, which lives on: what it offered, in order ---- */

static struct {
	bool out[MAX_SIZE];              /* offered, and not seen as used */
	uint16_t at[MAX_SIZE];           /* available index of the last offer */
	uint32_t offered, used;
} drv;

static bool drv_offer(void)
{
	uint32_t head = pick(r.size);

	for (uint32_t i = 0; i < r.size && drv.out[head]; i++)
		head = (head + 1) % r.size;
	if (drv.out[head])
		return false;
	drv.out[head] = true;
	drv.at[head] = r.next_avail;
	drv.offered++;
	/* One in eight is wrong, and is given back by pop. */
	rig_desc(&r, head, pick(8) ? BUF_GPA + 2048ull * head : HOLE, 1 + pick(2000),
		 r.vq.expect_flags, 0);
	rig_offer(&r, (uint16_t)head);
	return true;
}

static void drv_reap(void)
{
	uint32_t head, len;

	while (rig_used(&r, &head, &len)) {
		assert_in_range(head, 0, r.size - 1);
		assert_true(drv.out[head]);      /* offered, and not used before */
		drv.out[head] = false;
		drv.used++;
	}
}

/* ---- the back end: what one process holds ---- */

static struct {
	struct xn_chain held[2 * MAX_SIZE];
	unsigned n;
	bool up;
} be;

static void be_start(void)
{
	be.n = 0;
	be.up = false;
	assert_int_equal(xn_vq_init(&r.vq, &r.mem, &r.ctr, &cfg), 0);
	be.up = true;
	assert_int_equal(r.ctr.v[XN_C_inflight_ignored], 0);
}

/* What a process that is killed leaves: nothing. */
static void be_die(void)
{
	if (be.up)
		xn_vq_fini(&r.vq);
	be.up = false;
}

/* Heads that are taken again come in the order of their offers. */
static void check_order(unsigned n, bool again)
{
	for (unsigned i = 1; again && i < n; i++)
		assert_true((int16_t)(drv.at[r.chains[i].head] - drv.at[r.chains[i - 1].head]) > 0);
}

static void be_take(void)
{
	bool again = r.vq.again_left > 0;
	unsigned n = rig_pop(&r, 1 + pick(r.size)), back = n && !pick(3) ? pick(n + 1) : 0;

	check_order(n, again);
	for (unsigned i = 0; i < n; i++)
		assert_true(drv.out[r.chains[i].head]);
	if (back)
		xn_vq_unpop(&r.vq, r.chains + n - back, back);
	for (unsigned i = 0; i < n - back; i++)
		be.held[be.n++] = r.chains[i];
}

/* Gives back one of those that are held, any. */
static void be_use(void)
{
	unsigned i = pick(be.n);
	uint16_t head = be.held[i].head;

	be.held[i] = be.held[--be.n];
	if (pick(4))
		xn_vq_push(&r.vq, head, pick(1500));
	else
		xn_vq_refuse(&r.vq, head, XN_FAULT_rx_header);
}

static void step(void)
{
	uint32_t what = pick(10);

	if (what < 3)
		drv_offer();
	else if (what < 5)
		be_take();
	else if (what < 8 && be.n)
		be_use();
	else if (what < 9)
		xn_vq_publish(&r.vq);
	else
		drv_reap();
}

/* Everything that is there is taken and used; then nothing is out anywhere. */
static void finish(void)
{
	do {
		be_take();
		while (be.n)
			be_use();
		xn_vq_publish(&r.vq);
		drv_reap();
	} while (drv.offered != drv.used);
	assert_int_equal(r.used->idx, r.next_avail);
	assert_int_equal(r.vq.outstanding, 0);
	assert_int_equal(r.vq.again_left, 0);
	assert_int_equal(r.vq.avail_next, r.vq.used_next);
	for (uint32_t i = 0; i < r.size; i++)
		assert_int_equal(region()->desc[i].inflight, 0);
}

static void open_rig(uint32_t size, enum xn_vq_dir dir)
{
	const uint16_t base = (uint16_t)(0 - pick(8));   /* the wrap is near */

	rig_open(&r, size, dir, 0, base);
	xn_vq_fini(&r.vq);
	memset(&drv, 0, sizeof(drv));
	cfg = rig_cfg(size, dir, 0, (uint16_t)pick(65536));   /* the base is not asked */
	cfg.inflight = region();
}

/*
 * One schedule, made of `s`, in which the process dies behind its kill-th store; and
 * the next one, that finds its traces, behind its second-th (0: it does not). False: there
 * were not so many stores before the end.
 */
static bool one_schedule(uint64_t s, uint32_t size, unsigned steps, long kill, long second)
{
	static volatile int died;

	seed = s;
	died = 0;
	open_rig(size, s & 1 ? XN_VQ_TO_GUEST : XN_VQ_FROM_GUEST);
	life.left = kill;
	if (setjmp(life.out)) {
		be_die();
		/* What follows is another history for each moment of death. */
		seed = s * 77 + (uint64_t)kill * 1001 + (uint64_t)second + 1;
		died++;
		if (pick(2))
			drv_reap();
		while (pick(3) && drv_offer())
			;
		if (died == 1 && second)
			life.left = second;
	}
	be_start();
	for (unsigned i = 0; i < steps; i++)
		step();
	life.left = -1;
	finish();
	be_die();
	rig_close(&r);
	return died > (second ? 1 : 0);
}

static void killed_at_any_store_each_head_is_used_once(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 4, 8, 64 };
	unsigned kills = 0;

	for (uint64_t s = 1; s <= 400; s++)
		for (unsigned i = 0; i < XN_ARRAY_SIZE(sizes); i++)
			for (long kill = 1; one_schedule(s * 0x9e3779b97f4a7c15ull, sizes[i], 60, kill, 0);
			     kill++)
				kills++;
	assert_true(kills > 50000);
}

static void killed_again_while_it_recovers(void **state)
{
	unsigned kills = 0;

	for (uint64_t s = 1; s <= 40; s++)
		for (uint32_t size = 1; size <= 4; size *= 2)
			for (long kill = 1; one_schedule(s * 0xd1342543de82ef95ull, size, 16, kill, 0); kill++)
				for (long second = 1; one_schedule(s * 0xd1342543de82ef95ull, size, 16,
								   kill, second); second++)
					kills++;
	assert_true(kills > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_any_store_each_head_is_used_once),
		cmocka_unit_test(killed_again_while_it_recovers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
