/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guarded ranges and the handler. Contract in vhost/sigbus.h.
 *
 * The handler runs in whichever thread faulted, in the middle of anything: it may only read
 * this table, map pages and write to an eventfd. The main thread changes the table, one slot
 * at a time, and only slots whose memory nobody is using (contract). So a fault is
 * never in the slot that is being changed: the handler passes over a slot whose `turn`
 * is odd, or has moved on between its first and last look, and never waits.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomics.h"
#include "base/log.h"
#include "base/types.h"
#include "vhost/sigbus.h"

#define SLOTS 8u    /* log, inflight area, and what replaces them while they are exchanged */

/* A process has one table, as it has one handler. */
static struct {
	struct {
		uint32_t turn;              /* odd: being changed */
		uint64_t addr, bytes;       /* 0 bytes: free */
	} slot[SLOTS];
	uint64_t mem;                       /* struct xn_mem * */
	int fd;                             /* eventfd */
	bool on;
} guard = { .fd = -1 };

/* ---- the handler's side ---- */

/* Zeroed pages over one guarded range, if the fault lies in it. */
static bool replace_slot(unsigned i, uint64_t at)
{
	uint32_t turn = xn_load_acquire32(&guard.slot[i].turn);
	uint64_t addr = xn_load_once64(&guard.slot[i].addr);
	uint64_t bytes = xn_load_once64(&guard.slot[i].bytes);
	void *p;

	/* Orders the two reads before that of `turn`; pairs with the fence in set_slot. */
	xn_fence_full();
	if (turn % 2 || xn_load_once32(&guard.slot[i].turn) != turn || at - addr >= bytes)
		return false;
	p = (void *)(uintptr_t)addr;
	return mmap(p, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p;
}

static bool replace(const void *addr)
{
	uint64_t mem = xn_load_acquire64(&guard.mem);

	if (mem && xn_mem_poison((struct xn_mem *)(uintptr_t)mem, addr))
		return true;
	for (unsigned i = 0; i < SLOTS; i++)
		if (replace_slot(i, (uintptr_t)addr))
			return true;
	return false;
}

static void on_sigbus(int sig, siginfo_t *si, void *context)
{
	static const uint64_t one = 1;
	int saved = errno;

	/* Nothing has faulted: somebody sent the signal; or a page has gone bad that nobody uses now
	 * (memory failure, "action optional"). */
	if (si->si_code <= 0 || si->si_code == BUS_MCEERR_AO)
		return;
	if (replace(si->si_addr))
		(void)!write(guard.fd, &one, sizeof(one));
	else
		signal(sig, SIG_DFL);   /* the access is repeated, and ends the process */
	errno = saved;
}

/* ---- the main thread's side ---- */

int xn_sigbus_init(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	if (guard.on)
		return 0;
	guard.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (guard.fd < 0)
		return xn_fail(errno, "eventfd: %s", strerror(errno));
	sigemptyset(&sa.sa_mask);
	sigaction(SIGBUS, &sa, NULL);
	guard.on = true;
	return 0;
}

static void set_slot(unsigned i, uint64_t addr, uint64_t bytes)
{
	uint32_t turn = xn_load_once32(&guard.slot[i].turn);

	xn_store_once32(&guard.slot[i].turn, turn + 1);
	/* Orders the odd turn before what changes; pairs with the handler's fence. */
	xn_fence_full();
	xn_store_once64(&guard.slot[i].addr, addr);
	xn_store_once64(&guard.slot[i].bytes, bytes);
	/* Orders what has changed before the even turn; pairs with the handler's acquire. */
	xn_store_release32(&guard.slot[i].turn, turn + 2);
}

void xn_sigbus_guard(void *addr, size_t bytes)
{
	unsigned i = 0;

	while (i < SLOTS && guard.slot[i].bytes)
		i++;
	assert(i < SLOTS && bytes);
	set_slot(i, (uintptr_t)addr, XN_ALIGN_UP(bytes, XN_PAGE_SIZE));
}

void xn_sigbus_unguard(void *addr)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (guard.slot[i].bytes && guard.slot[i].addr == (uintptr_t)addr)
			set_slot(i, 0, 0);
}

void xn_sigbus_guard_mem(struct xn_mem *mem)
{
	xn_store_release64(&guard.mem, (uintptr_t)mem);
}

int xn_sigbus_fd(void)
{
	return guard.fd;
}

bool xn_sigbus_take(void)
{
	uint64_t n;

	return guard.fd >= 0 && read(guard.fd, &n, sizeof(n)) == sizeof(n);
}
