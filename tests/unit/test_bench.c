/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves of xsknet-bench, without a packet:
 *
 *   - options: what is measured by default and by each word, what makes no sense is refused
 *   - pacing: a generator that was late never sends a long burst
 *   - a command's words are replaced, and only those that are known
 *   - a back end is frozen, thawed and ended, with all that it has forked, whoever ends first;
 *     nothing of it is left in /tmp
 *   - the guest's buffers lie where Linux's do
 *   - ratios are medians over rounds, against the right path and number of queues
 *   - the flow of a queue is one that RSS names it for
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/virtio_ring.h>

#include "tests/cmocka.h"

#include "base/log.h"
#include "base/types.h"
#include "bench/backend.h"
#include "bench/bench.h"
#include "bench/gen.h"
#include "bench/guest.h"
#include "bench/path.h"
#include "rss/config.h"

#define MAX_WORDS 12
#define WAIT_MS   20000

/* ---- options ---- */

/* What main would do: 0 to go on. */
static int parse(struct xn_opts *o, const char *line)
{
	char *argv[MAX_WORDS + 2] = { (char *)"xsknet-bench" }, words[200], *save = NULL;
	int argc = 1;

	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok_r(words, " ", &save); w && argc <= MAX_WORDS;
	     w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	optind = 0;
	return xn_opts_parse(o, argc, argv);
}

static void accepts(struct xn_opts *o, const char *line)
{
	assert_int_equal(parse(o, line), 0);
}

static void refuses(const char *line)
{
	struct xn_opts o;

	if (parse(&o, line) != 1 + XN_EXIT_USAGE)
		fail_msg("%s: taken", line);
}

static void by_default_all_is_measured(void **state)
{
	struct xn_opts o;

	accepts(&o, "");
	assert_true(o.kind[XN_KIND_ZERO_COPY] && o.kind[XN_KIND_BOUNCE] && o.kind[XN_KIND_RAW]);
	assert_false(o.kind[XN_KIND_BACKEND]);
	for (unsigned d = 0; d < XN_DIR_COUNT; d++)
		assert_true(o.dir[d]);
	assert_int_equal(o.n_paces, 1);
	assert_int_equal(o.pace_pps[0], 0);
	/* Beside a unit test there is no xsknetd: left out, and said so. */
	assert_null(o.xsknetd);
	assert_true(o.missed_xsknetd);
	assert_false(o.kind[XN_KIND_XSKNETD]);
}

static void lists_are_taken(void **state)
{
	struct xn_opts o;

	accepts(&o, "--pps 100000,300000,500000 --size 64,1514 --dir rx --idle 10");
	assert_int_equal(o.n_paces, 3);
	assert_int_equal(o.pace_pps[2], 500000);
	assert_int_equal(o.n_sizes, 2);
	assert_int_equal(o.size[1], 1514);
	assert_true(o.idle_secs == 10);
	assert_false(o.ask[XN_ASK_CSUM] || o.ask[XN_ASK_TSO] || o.ask[XN_ASK_USO]);
	accepts(&o, "--offload uso,csum");
	assert_true(o.ask[XN_ASK_CSUM] && o.ask[XN_ASK_USO] && !o.ask[XN_ASK_TSO]);
	refuses("--offload tso,ufo");
	accepts(&o, "--pace 7");
	assert_int_equal(o.pace_pps[0], 7);
	refuses("--pps 0");
	refuses("--pps 1,");
	refuses("--pps 1,,2");
	refuses("--pps x");
	refuses("--pps 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17");
	refuses("--size 61");
	refuses("--size 1515");
	refuses("--idle 0");
	refuses("--guest-cpu here");
	refuses("--poll never");
}

static void numbers_of_queues_are_compared(void **state)
{
	struct xn_opts o;

	accepts(&o, "");
	assert_int_equal(o.n_counts, 1);
	assert_int_equal(o.count[0], 1);
	accepts(&o, "--queues 1,4,2");
	assert_int_equal(o.n_counts, 3);
	assert_int_equal(o.count[1], 4);
	assert_int_equal(o.queues, 4);
	accepts(&o, "--queues 2 --missteer");
	assert_true(o.dir[XN_DIR_RX] && !o.dir[XN_DIR_TX] && !o.dir[XN_DIR_RTT]);
	refuses("--queues 1,1");
	refuses("--queues 0");
	refuses("--queues 17");
	refuses("--queues 1,2 --missteer");
	refuses("--queues 2 --missteer --dir tx");
	refuses("--queues 2 --missteer --ifname e0");
}

/* The frame's own bytes decide, and each queue's flow is its own. */
static void each_queue_has_a_flow(void **state)
{
	for (unsigned pairs = 1; pairs <= XN_QUEUES_MAX; pairs++)
		for (unsigned q = 0; q < pairs; q++) {
			struct xn_rss_config cfg;
			uint8_t frame[128], key[40], *tuple;
			uint32_t hash = 0, window;

			xn_rss_default(&cfg, pairs);
			memcpy(key, cfg.key, sizeof(key));
			xn_frame_build(frame, sizeof(frame), key, key, 1, 2);
			xn_frame_set_port(frame, xn_flow_port(pairs, q));
			/* Bit by bit over addresses and ports, which follow each other here. */
			tuple = frame + 26;
			for (unsigned bit = 0; bit < 96; bit++) {
				window = 0;
				for (unsigned i = 0; i < 32; i++)
					window = window << 1 | (key[(bit + i) / 8] >> (7 - (bit + i) % 8) & 1);
				if (tuple[bit / 8] >> (7 - bit % 8) & 1)
					hash ^= window;
			}
			assert_int_equal(cfg.table[hash % cfg.entries], q);
		}
}

static void another_back_end_is_a_path(void **state)
{
	struct xn_opts o;

	accepts(&o, "--backend cmd");
	assert_string_equal(o.backend, "cmd");
	assert_true(o.kind[XN_KIND_BACKEND] && o.kind[XN_KIND_RAW]);
	accepts(&o, "--backend cmd --path backend");
	assert_true(o.kind[XN_KIND_BACKEND]);
	assert_false(o.kind[XN_KIND_RAW] || o.kind[XN_KIND_ZERO_COPY]);
	accepts(&o, "--backend cmd --path raw");
	assert_false(o.kind[XN_KIND_BACKEND]);
	refuses("--path backend");
	refuses("--path xsknetd");
	refuses("--ifname e0 --backend cmd");
}

static void a_running_back_end_is_the_only_path(void **state)
{
	struct xn_opts o;

	accepts(&o, "--socket /s --peer e0");
	for (unsigned k = 0; k < XN_KIND_COUNT; k++)
		assert_int_equal(o.kind[k], k == XN_KIND_BACKEND);
	refuses("--socket /s");
	refuses("--peer e0");
	refuses("--socket /s --peer nameislongerthan15");
	refuses("--socket /s --peer e0 --path raw");
	refuses("--socket /s --peer e0 --ifname e1");
	refuses("--socket /s --peer e0 --backend cmd");
	refuses("--socket /s --peer e0 --poll busy");
}

static void an_interface_is_measured_alone_or_with_its_peer(void **state)
{
	struct xn_opts o;

	accepts(&o, "--ifname e0");
	assert_true(o.dir[XN_DIR_RX] && o.dir[XN_DIR_TX] && !o.dir[XN_DIR_FWD] && !o.dir[XN_DIR_RTT]);
	assert_true(o.kind[XN_KIND_ZERO_COPY] && o.kind[XN_KIND_COPY] && o.kind[XN_KIND_RAW]);
	assert_null(o.peer);
	refuses("--ifname e0 --dir fwd");
	accepts(&o, "--ifname e0 --peer e1");
	for (unsigned d = 0; d < XN_DIR_COUNT; d++)
		assert_true(o.dir[d]);
	assert_string_equal(o.peer, "e1");
	assert_null(o.peer_ns);
	assert_true(o.kind[XN_KIND_COPY] && o.kind[XN_KIND_BOUNCE] && !o.kind[XN_KIND_XSKNETD]);
	accepts(&o, "--ifname e0 --peer e1@/run/peer --dir rtt --path copy");
	assert_string_equal(o.peer, "e1");
	assert_string_equal(o.peer_ns, "/run/peer");
	assert_true(o.kind[XN_KIND_COPY] && !o.kind[XN_KIND_ZERO_COPY]);
	accepts(&o, "--socket /s --peer e1@blue");
	assert_string_equal(o.peer_ns, "blue");
	refuses("--ifname e0 --peer e1@");
	refuses("--ifname e0 --peer @ns");
	/* On veth it is the same as zero-copy, unless somebody wants to see that. */
	accepts(&o, "");
	assert_false(o.kind[XN_KIND_COPY]);
	accepts(&o, "--path copy");
	assert_true(o.kind[XN_KIND_COPY]);
}

static void both_kinds_of_rings_are_two_paths_one_kind_is_none(void **state)
{
	struct xn_opts o;

	accepts(&o, "");
	assert_false(o.packed || o.kind[XN_KIND_PACKED]);
	accepts(&o, "--ring packed");
	assert_true(o.packed && !o.kind[XN_KIND_PACKED]);
	accepts(&o, "--ring split,packed");
	assert_true(!o.packed && o.kind[XN_KIND_PACKED]);
	accepts(&o, "--ring all --path raw");
	assert_false(o.kind[XN_KIND_PACKED]);
	refuses("--ring round");
}

static void buffers_hold_the_longest_frame(void **state)
{
	struct xn_opts o;

	accepts(&o, "");
	assert_int_equal(o.buf_bytes, 0);
	assert_false(o.sleeps);
	accepts(&o, "--buf 1536 --wait sleep");
	assert_int_equal(o.buf_bytes, 1536);
	assert_true(o.sleeps);
	accepts(&o, "--wait spin");
	assert_false(o.sleeps);
	refuses("--buf 1525");
	refuses("--buf 32769");
	refuses("--wait");
	refuses("--wait never");
}

/* ---- the guest's buffers ---- */

/* Where they lie is read out of its descriptors, as a device reads them. */
static void buffers_lie_as_linux_cuts_them(void **state)
{
	static const uint32_t sizes[] = { 1536, 2048, 4096 };

	for (unsigned k = 0; k < XN_ARRAY_SIZE(sizes); k++) {
		const struct xn_guest_cfg cfg = { .pairs = 1, .queue_size = 64, .huge = XN_HUGE_NO,
						  .rx_buf_bytes = sizes[k], .rx_as_linux = true };
		const uint32_t each = 32768 / sizes[k];
		const struct vring_desc *desc;
		struct xn_guest *g;
		struct xn_vring ring;
		struct xn_region r;
		uint64_t first;
		void *ram;

		assert_int_equal(xn_guest_create(&g, &cfg), 0);
		xn_guest_region(g, &r);
		xn_guest_vring(g, 0, &ring);
		ram = mmap(NULL, r.size, PROT_READ, MAP_SHARED, r.fd, 0);
		assert_ptr_not_equal(ram, MAP_FAILED);
		desc = (const struct vring_desc *)((const char *)ram + ring.desc_gpa);
		first = desc[0].addr;
		assert_int_equal(first % 32768, 0);
		for (unsigned i = 0; i < 64; i++) {
			/* What is left of a block is the last one's. */
			assert_int_equal(desc[i].len, (i + 1) % each ? sizes[k] :
					 32768 - (each - 1) * sizes[k]);
			assert_int_equal(desc[i].addr - first, i / each * 32768 + i % each * sizes[k]);
		}
		munmap(ram, r.size);
		xn_guest_destroy(g);
	}
}

/* ---- reasons ---- */

static void reasons_are_summed_by_name(void **state)
{
	struct xn_reasons r = { 0 };
	char name[48];

	xn_reasons_add(&r, "rx_bounce_short", 5);
	xn_reasons_add(&r, "tx_bounce_window", 1);
	xn_reasons_add(&r, "rx_bounce_short", -2);
	assert_int_equal(r.n, 2);
	assert_true(r.of[0].count == 3 && r.of[1].count == 1);
	assert_true(xn_reasons_count(&r, "tx_bounce_window") == 1);
	assert_true(xn_reasons_count(&r, "tx_bounce") == 0);
	xn_reasons_add(&r, "a_name_that_is_longer_than_there_is_room_for", 1);
	assert_int_equal(r.n, 2);
	for (unsigned i = 0; i < 2 * XN_REASONS_MAX; i++) {
		snprintf(name, sizeof(name), "rx_bounce_%u", i);
		xn_reasons_add(&r, name, i);
	}
	assert_int_equal(r.n, XN_REASONS_MAX);
}

/* ---- pacing ---- */

static void a_late_generator_sends_no_long_burst(void **state)
{
	for (uint64_t pps = 1; pps < 20000000; pps = pps * 5 / 4 + 1) {
		const uint64_t ns = xn_gen_catch_up_ns(pps);

		assert_in_range(ns, XN_GEN_BATCH_NS, XN_GEN_LATE_NS);
		if (pps <= 500000)
			assert_true(ns * pps <= XN_GEN_BURST * 1000000000ull);
	}
	assert_int_equal(xn_gen_catch_up_ns(100000), 320000);
}

/* ---- a command's words ---- */

static const struct xn_backend_words words = {
	.socket = "/d/s", .ctl = "/d/c", .ifname = "xn0", .cpus = "1,0", .queues = 2,
};

static void words_in_braces_are_replaced(void **state)
{
	struct xn_backend_words with = words;
	char out[64];

	assert_int_equal(xn_backend_expand("a {socket}:{if},{cpus}{queues}", &words, out,
					   sizeof(out)), 0);
	assert_string_equal(out, "a /d/s:xn0,1,02");
	assert_int_equal(xn_backend_expand("{ctl}", &words, out, sizeof(out)), 0);
	assert_string_equal(out, "/d/c");
	assert_int_equal(xn_backend_expand("", &words, out, sizeof(out)), 0);
	assert_string_equal(out, "");
	assert_int_equal(xn_backend_expand("a {sock}", &words, out, sizeof(out)), -EINVAL);
	assert_non_null(strstr(xn_last_error(), "{sock}"));
	assert_int_equal(xn_backend_expand("{", &words, out, sizeof(out)), -EINVAL);
	assert_int_equal(xn_backend_expand("{program}", &words, out, sizeof(out)), -EINVAL);
	with.program = "/b/{if}";
	assert_int_equal(xn_backend_expand("{program}", &with, out, sizeof(out)), 0);
	assert_string_equal(out, "/b/{if}");
	assert_int_equal(xn_backend_expand("{socket}{if}", &words, out, 7), -E2BIG);
	assert_int_equal(xn_backend_expand("{socket}{if}", &words, out, 8), 0);
}

/* ---- a process ---- */

/* Field 3 of /proc/PID/stat; 0: there is no such process. */
static char state_of(int pid)
{
	char path[40], line[256] = "", *at;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	at = strrchr(line, ')');
	return at ? at[2] : 0;
}

static void await_state(int pid, const char *any_of)
{
	for (int waited = 0; waited < WAIT_MS; waited += 5) {
		const char s = state_of(pid);

		if (s ? strchr(any_of, s) != NULL : any_of[0] == 0)
			return;
		usleep(5000);
	}
	fail_msg("process %d: state %c, expected one of '%s'", pid, state_of(pid), any_of);
}

/* The number that the command has written into a file beside its socket. */
static int pid_in(const char *dir)
{
	char path[160];
	int pid = 0;

	snprintf(path, sizeof(path), "%s.pid", dir);
	for (int waited = 0; waited < WAIT_MS && pid <= 0; waited += 5) {
		FILE *f = fopen(path, "r");

		if (f && fscanf(f, "%d", &pid) != 1)
			pid = 0;
		if (f)
			fclose(f);
		usleep(5000);
	}
	unlink(path);
	assert_true(pid > 0);
	return pid;
}

/* Its child is in the file; itself waits for it. */
#define FAMILY "touch {socket} {ctl}; d=$(dirname {socket}); " \
	       "sleep 1000 & echo $! > $d.tmp; mv $d.tmp $d.pid; wait"

static void a_back_end_is_frozen_thawed_and_ended(void **state)
{
	struct xn_backend b;
	char dir[64];
	int child;

	assert_int_equal(xn_backend_start(&b, FAMILY, &words), 0);
	snprintf(dir, sizeof(dir), "%s", b.dir);
	child = pid_in(dir);
	assert_true(xn_backend_alive(&b));
	xn_backend_freeze(&b, true);
	await_state(child, "T");
	xn_backend_freeze(&b, false);
	await_state(child, "S");
	xn_backend_freeze(&b, true);
	xn_backend_stop(&b, false);
	await_state(child, "");
	assert_int_equal(access(dir, F_OK), -1);
	assert_false(xn_backend_alive(&b));
	xn_backend_stop(&b, false);
}

/* It does not listen to reason, either. */
static void a_killed_bench_leaves_nothing(void **state)
{
	char dir[64] = "";
	int tell[2], child;
	pid_t bench;

	assert_int_equal(pipe(tell), 0);
	bench = fork();
	if (!bench) {
		struct xn_backend b;

		if (xn_backend_start(&b, FAMILY, &words))
			_exit(1);
		(void)!write(tell[1], b.dir, sizeof(b.dir));
		pause();
	}
	assert_int_equal(read(tell[0], dir, sizeof(dir)), sizeof(dir));
	child = pid_in(dir);
	kill(bench, SIGKILL);
	assert_int_equal(waitpid(bench, NULL, 0), bench);
	await_state(child, "");
	for (int waited = 0; waited < WAIT_MS && !access(dir, F_OK); waited += 5)
		usleep(5000);
	assert_int_equal(access(dir, F_OK), -1);
	close(tell[0]);
	close(tell[1]);
}

static void a_back_end_that_ends_is_noticed(void **state)
{
	struct xn_backend b;

	assert_int_equal(xn_backend_start(&b, "exit 3", &words), 0);
	for (int waited = 0; waited < WAIT_MS && xn_backend_alive(&b); waited += 5)
		usleep(5000);
	assert_false(xn_backend_alive(&b));
	xn_backend_freeze(&b, true);
	xn_backend_stop(&b, false);
	assert_int_equal(xn_backend_start(&b, "{nonsense}", &words), -EINVAL);
	xn_backend_stop(&b, false);
}

/* ---- rounds to figures ---- */

static void ratios_compare_within_a_round(void **state)
{
	struct xn_sample here[3], daemon[3];
	struct xn_cell c = { .dir = XN_DIR_RX, .bytes = 64, .rounds = 3, .first = &c };
	struct xn_cell more = c;
	static const double rates[3][2] = { { 1e6, 9e5 }, { 2e6, 1e6 }, { 4e6, 3.8e6 } };
	struct xn_summary s;

	for (unsigned i = 0; i < 3; i++) {
		for (unsigned k = 0; k < sizeof(*here) / sizeof(double); k++)
			((double *)&here[i])[k] = ((double *)&daemon[i])[k] = NAN;
		here[i].pps = rates[i][0];
		daemon[i].pps = rates[i][1];
		daemon[i].backend_ns = 100 + i;
	}
	c.s[XN_KIND_ZERO_COPY] = here;
	c.s[XN_KIND_XSKNETD] = daemon;
	assert_true(xn_summarize(&c, XN_KIND_XSKNETD, &s));
	assert_true(fabs(s.process_ratio - 0.9) < 1e-9);
	assert_true(s.backend_ns == 101);
	assert_true(isnan(s.raw_ratio) && isnan(s.backend_cpu));
	assert_true(xn_summarize(&c, XN_KIND_ZERO_COPY, &s));
	assert_true(isnan(s.process_ratio) && isnan(s.backend_ns) && isnan(s.scale));
	more.first = &c;
	more.s[XN_KIND_ZERO_COPY] = daemon;
	assert_true(xn_summarize(&more, XN_KIND_ZERO_COPY, &s));
	assert_true(fabs(s.scale - 0.9) < 1e-9);
	assert_false(xn_summarize(&c, XN_KIND_RAW, &s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_default_all_is_measured),
		cmocka_unit_test(lists_are_taken),
		cmocka_unit_test(numbers_of_queues_are_compared),
		cmocka_unit_test(each_queue_has_a_flow),
		cmocka_unit_test(another_back_end_is_a_path),
		cmocka_unit_test(a_running_back_end_is_the_only_path),
		cmocka_unit_test(an_interface_is_measured_alone_or_with_its_peer),
		cmocka_unit_test(both_kinds_of_rings_are_two_paths_one_kind_is_none),
		cmocka_unit_test(buffers_hold_the_longest_frame),
		cmocka_unit_test(buffers_lie_as_linux_cuts_them),
		cmocka_unit_test(reasons_are_summed_by_name),
		cmocka_unit_test(a_late_generator_sends_no_long_burst),
		cmocka_unit_test(words_in_braces_are_replaced),
		cmocka_unit_test(a_back_end_is_frozen_thawed_and_ended),
		cmocka_unit_test(a_killed_bench_leaves_nothing),
		cmocka_unit_test(a_back_end_that_ends_is_noticed),
		cmocka_unit_test(ratios_compare_within_a_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
