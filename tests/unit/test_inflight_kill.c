/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of the machine code of virtio/vq.c and virtio/packed.c, with their inflight memory, as
 * it is in the library: a process that is killed in front of any instruction leaves memory from
 * which the next goes on so that each chain is used exactly once.
 *
 * A back end of its own process is walked through its life instruction by instruction
 * (ptrace). After each the memory that it shares is looked at; every state that it
 * is ever in is kept, and a new back end is started on each of them.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/inflight_rig.h"

#define MAX_STATES 4096u
#define MAX_STEPS  2000000u

static uint32_t size;   /* of the ring: 8, or 7 */

/* All that a back end writes: used ring, or packed ring; and region. */
struct shared {
	uint8_t ring[16 * 8];
	uint8_t region[32 + 32 * 8];
};

static struct shared states[MAX_STATES];
static unsigned n_states;

static void *written(void)
{
	return ring->chained ? (void *)r.used : (void *)p.ring;
}

static size_t written_bytes(void)
{
	const size_t bytes = ring->chained ? 6 + 8 * size : 16 * size;

	assert_true(bytes <= sizeof(states->ring) && region_bytes(size) <= sizeof(states->region));
	return bytes;
}

static void look(struct shared *s)
{
	memset(s, 0, sizeof(*s));
	memcpy(s->ring, written(), written_bytes());
	memcpy(s->region, region(), region_bytes(size));
}

static void put_back(const struct shared *s)
{
	memcpy(written(), s->ring, written_bytes());
	memcpy(region(), s->region, region_bytes(size));
}

static void note_state(void)
{
	struct shared *next = &states[n_states];

	assert_true(n_states + 1 < MAX_STATES);
	look(next);
	if (!n_states || memcmp(next, next - 1, sizeof(*next)))
		n_states++;
}

/* A back end's life: nothing of it may need the driver. */
static void live(uint64_t s)
{
	seed = s;
	be_start();
	for (unsigned i = 0; i < 12; i++) {
		be_take();
		for (unsigned k = pick(4); k && be.n; k--)
			be_use();
		if (pick(2))
			xn_vq_publish(&r.vq);
	}
	if (pick(2))
		xn_vq_reclaim_all(&r.vq);
}

/* Walks a child through live(). False: this machine lets nobody trace. */
static bool walk(uint64_t s)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(77);
		raise(SIGSTOP);
		live(s);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		return WEXITSTATUS(status) != 77;
	n_states = 0;
	for (unsigned i = 0; i < MAX_STEPS && WIFSTOPPED(status); i++) {
		note_state();
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL))
			break;
		assert_int_equal(waitpid(pid, &status, 0), pid);
	}
	if (WIFSTOPPED(status)) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		fail_msg("no end after %u instructions", MAX_STEPS);
	}
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	note_state();
	return true;
}

static void killed_at_any_instruction_each_chain_is_used_once(void **state)
{
	unsigned all = 0;

	size = ring->any_size ? 7 : 8;
	for (uint64_t s = 1; s <= 36; s++) {
		uint16_t next_used;
		struct place next;

		seed = s;
		open_rig(size, s & 1 ? XN_VQ_TO_GUEST : XN_VQ_FROM_GUEST);
		/* Every other begins on what another one that died has left. */
		for (unsigned i = 0; i < 5; i++)
			drv_offer();
		if (s % 4 > 1) {
			be_start();
			be_take();
			be_take();
			be_die();
		}
		drv_offer();
		drv_offer();
		if (!walk(s * 0x9e3779b97f4a7c15ull)) {
			rig_close(&r);
			skip();
		}
		next_used = r.next_used;
		next = p.used;
		all += n_states;
		assert_true(n_states > 10);
		for (unsigned i = 0; i < n_states; i++) {
			static uint8_t drv_before[sizeof(drv)];

			memcpy(drv_before, &drv, sizeof(drv));
			put_back(&states[i]);
			seed = s + i;
			if (pick(2))
				drv_reap();
			be_start();
			finish();
			be_die();
			/* As the driver was, for the next state. */
			memcpy(&drv, drv_before, sizeof(drv));
			r.next_used = next_used;
			p.used = next;
		}
		rig_close(&r);
	}
	print_message("%u states\n", all);
	assert_true(all > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING_TESTS(killed_at_any_instruction_each_chain_is_used_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
