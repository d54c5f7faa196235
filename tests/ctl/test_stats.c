/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that `xsknetctl stats` shows what a daemon says, with the right rates, and that no
 * daemon can hold it up, fill its memory, or write to the terminal what it likes: a fake
 * one answers with whatever a test wants.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "ctl/client.h"
#include "ctl/show.h"
#include "tests/cmocka.h"
#include "tests/ctl/run.h"
#include "xsknet.h"

#define MS 1000000ull
#define SOON_MS 20000u   /* what comes at all has come by then, on a busy machine too */

static char dir[64], path[96], front[96];

static const char *const used[] = {
	"rx_packets", "rx_bytes", "rx_lent", "tx_packets", "tx_bytes", "tx_lent", "tx_chained",
	"rx_vanished", "tx_vanished", "queue_restarts", "rx_bounce_kept",
	"tx_gathered", "rx_bounce_short", "tx_bounce_window", "dirty_log_missed",
};

/* ---- a daemon ---- */

struct daemon {
	const char *answer;       /* to each line that is asked */
	unsigned piece;           /* bytes a send; 0: all at once */
	unsigned pause_ms;        /* between them */
	bool endless;             /* again and again */
	bool quits;               /* closes behind the answer */
	bool deaf;                /* never accepts */
};

static int listen_at(const char *where)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sa.sun_path, where);
	unlink(where);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static bool was_asked(int fd)
{
	char c = 0;

	while (c != '\n')
		if (recv(fd, &c, 1, 0) != 1)
			return false;
	return true;
}

static bool give(int fd, const struct daemon *d)
{
	size_t bytes = strlen(d->answer), at = 0;

	do {
		for (at = 0; at < bytes; ) {
			size_t n = d->piece && d->piece < bytes - at ? d->piece : bytes - at;

			if (send(fd, d->answer + at, n, MSG_NOSIGNAL) != (ssize_t)n)
				return false;
			at += n;
			poll(NULL, 0, (int)d->pause_ms);
		}
	} while (d->endless);
	return !d->quits;
}

static void serve(int fd, const struct daemon *d)
{
	alarm(3 * RUN_S);
	for (;;) {
		int c = d->deaf ? poll(NULL, 0, -1) : accept(fd, NULL, NULL);

		while (c >= 0 && was_asked(c) && give(c, d))
			;
		close(c);
	}
}

static pid_t start(const struct daemon *d)
{
	int fd = listen_at(path);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		serve(fd, d);
		_exit(0);
	}
	close(fd);
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
}

static const char usual[] =
"{\"version\":\"0.2.0\",\"port\":{\"kind\":\"xdp\",\"spec\":\"xdp:eth0\",\"attach\":\"native\","
"\"mode\":\"copy\",\"mtu\":1500,\"mac\":\"02:00:00:00:00:01\",\"link\":true,\"speed\":10000,"
"\"spare_sockets\":255},\"guest\":{\"connected\":true,\"features\":\"0x1\",\"bytes\":1073741824,"
"\"regions\":2,\"pairs\":1,\"running\":1,\"broken\":0,\"logging\":false,\"inflight\":true},"
"\"counters\":{\"rx_packets\":{\"value\":1000,\"unit\":\"packets\",\"text\":\"t\"},"
"\"rx_bytes\":{\"value\":1250000,\"unit\":\"bytes\"},\"rx_lent\":{\"value\":900},"
"\"tx_packets\":{\"value\":500},\"tx_bytes\":{\"value\":62500},\"tx_lent\":{\"value\":250},"
"\"tx_chained\":{\"value\":125},"
"\"rx_bounce_short\":{\"value\":7,\"unit\":\"buffers\",\"text\":\"too short\"},"
"\"rx_bounce_window\":{\"value\":0,\"unit\":\"buffers\",\"text\":\"outside\"},"
"\"rx_drop_too_small\":{\"value\":3,\"unit\":\"packets\",\"text\":\"does not fit\"},"
"\"tx_drop_runt\":{\"value\":0,\"unit\":\"packets\",\"text\":\"runt\"},"
"\"fault_loop\":{\"value\":1,\"unit\":\"chains\",\"text\":\"goes round\"}},"
"\"pairs\":[],\"workers\":[{\"turns\":1000,\"empty_turns\":500,\"sleeps\":20,\"gathers\":10,"
"\"cpu_ns\":150000}],\"messages\":12,\"refused\":1,\"uptime_ns\":10000000000}\n";

/* ---- what is shown ---- */

static void shown(char *buf, size_t bytes, const struct xn_snap *now, const struct xn_snap *then)
{
	FILE *f = fmemopen(buf, bytes, "w");

	assert_non_null(f);
	xn_show(f, now, then);
	fclose(f);
}

static void read_text(struct xn_snap *s, const char *text)
{
	json_t *o = json_loads(text, 0, NULL);

	assert_non_null(o);
	xn_snap_read(s, o);
	json_decref(o);
}

static void first_look_is_since_the_start(void **state)
{
	static const char want[] =
"xsknetd   0.2.0, up 10 s, 12 messages, 1 refused\n"
"port      xdp:eth0 (native, copy), MTU 1500, MAC 02:00:00:00:00:01, link up, 10 Gbit/s, "
"255 spare sockets\n"
"guest     1024 MiB in 2 regions, 1 of 1 queue pairs running\n"
"\n"
"so far       packets/s     Gbit/s  zero-copy %     packets in all\n"
"receive          100.0      0.001         90.0               1000\n"
"transmit          50.0      0.000         75.0                500\n"
"CPU                100 ns a packet\n"
"\n"
"lost                          /s         in all\n"
"rx_drop_too_small            0.3              3  packets: does not fit\n"
"\n"
"copied, because               /s         in all\n"
"rx_bounce_short              0.7              7  buffers: too short\n"
"\n"
"faults of the guest           /s         in all\n"
"fault_loop                   0.1              1  chains: goes round\n"
"\n"
"worker       CPU %      turns/s  empty %   sleeps/s   gathers/s\n"
"0              0.0        100.0     50.0        2.0         1.0\n";
	static struct xn_snap now;
	char got[4096];

	read_text(&now, usual);
	shown(got, sizeof(got), &now, NULL);
	assert_string_equal(got, want);
}

static void mode_is_shown_with_its_reason(void **state)
{
	static const char zero_copy[] =
"{\"port\":{\"attach\":\"native\",\"mode\":\"zero-copy\",\"mode_why\":\"most pages follow\","
"\"pages_following_permille\":998,\"min_buf_bytes\":1548,\"driver_verdict\":\"it lost buffers\"}}";
	static const char copy[] =
"{\"port\":{\"attach\":\"native\",\"mode\":\"copy\",\"mode_why\":\"too few pages\","
"\"pages_following_permille\":0,\"min_buf_bytes\":1530,\"driver_verdict\":\"\"}}";
	static struct xn_snap now;
	char got[4096];

	read_text(&now, zero_copy);
	shown(got, sizeof(got), &now, NULL);
	assert_non_null(strstr(got, "\nmode      zero-copy: most pages follow; 998 of 1000 pages are followed by the "
			       "next; buffers of 1548 bytes and more\ndriver    it lost buffers\nguest "));
	read_text(&now, copy);
	shown(got, sizeof(got), &now, NULL);
	assert_non_null(strstr(got, "\nmode      copy: too few pages; buffers of 1530 bytes and more\nguest "));
}

static void what_a_driver_has_lost_is_among_the_lost(void **state)
{
	static const char text[] =
"{\"counters\":{\"rx_vanished\":{\"value\":1},\"tx_vanished\":{\"value\":2},\"queue_restarts\":{\"value\":3},"
"\"rx_bounce_kept\":{\"value\":4}}}";
	static struct xn_snap now;
	char got[4096];
	char *lost, *copied;

	read_text(&now, text);
	shown(got, sizeof(got), &now, NULL);
	lost = strstr(got, "\nlost ");
	copied = strstr(got, "\ncopied, because ");
	assert_true(lost && copied && lost < copied);
	assert_true(strstr(lost, "rx_vanished ") < copied && strstr(lost, "tx_vanished ") < copied);
	assert_true(strstr(lost, "queue_restarts ") && strstr(lost, "queue_restarts ") < copied);
	assert_true(strstr(got, "rx_bounce_kept ") > copied);
}

static void further_looks_are_since_the_last(void **state)
{
	static struct xn_snap now, then;
	char got[4096];

	read_text(&then, usual);
	now = then;
	now.uptime_ns += 2000000000;
	now.counters[0].value += 2000000;        /* rx_packets */
	now.counters[1].value += 2500000000;     /* rx_bytes */
	now.counters[2].value += 1000000;        /* rx_lent */
	now.workers[0].cpu_ns += 1000000000;
	now.workers[0].turns += 2000;
	shown(got, sizeof(got), &now, &then);
	assert_non_null(strstr(got, "receive      1000000.0     10.000         50.0            2001000\n"));
	assert_non_null(strstr(got, "transmit           0.0      0.000            -                500\n"));
	assert_non_null(strstr(got, "CPU                500 ns a packet\n"));
	assert_non_null(strstr(got, "rx_drop_too_small            0.0              3"));
	assert_non_null(strstr(got, "0             50.0       1000.0      0.0        0.0         0.0\n"));
}

static void counters_that_ran_backwards_are_no_rate(void **state)
{
	static struct xn_snap now, then;

	read_text(&then, usual);
	now = then;
	now.uptime_ns = 1000000000;
	now.counters[0].value = 10;
	assert_int_equal(xn_snap_since(&now, &then, "rx_packets"), 0);
	assert_true(xn_snap_seconds(&now, &then) == 1.0);
	now.uptime_ns = 0;
	assert_true(xn_snap_seconds(&now, NULL) > 0);
}

static void missing_and_odd_members_are_shown_as_nothing(void **state)
{
	static const char *const odd[] = {
		"{}", "{\"port\":[],\"guest\":7,\"counters\":\"x\",\"workers\":{},\"uptime_ns\":\"1\"}",
		("{\"counters\":{\"rx_packets\":5,\"rx_drop_x\":{\"value\":-3},\"\":{\"value\":1e9}},"
		"\"workers\":[1,null,{\"turns\":-1}],\"version\":{},\"guest\":{\"connected\":true}}"),
		"{\"new\":{\"deep\":[[[1]]]},\"counters\":{\"of_later_versions\":{\"value\":1}}}",
	};
	static struct xn_snap now;
	char got[4096];

	for (unsigned i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		read_text(&now, odd[i]);
		shown(got, sizeof(got), &now, NULL);
		assert_non_null(strstr(got, "xsknetd   ?, up 0 s"));
		assert_null(strstr(got, "nan"));
		assert_null(strstr(got, "inf"));
	}
}

static void more_counters_and_workers_than_there_is_room_for_are_cut(void **state)
{
	static struct xn_snap now;
	json_t *o = json_object(), *c = json_object(), *w = json_array();
	char name[200];

	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "rx_drop_%u_%0150u", i, i);
		json_object_set_new(c, name, json_pack("{s:i, s:s}", "value", 1, "text", name));
		json_array_append_new(w, json_pack("{s:i}", "turns", 1));
	}
	json_object_set_new(o, "counters", c);
	json_object_set_new(o, "workers", w);
	xn_snap_read(&now, o);
	json_decref(o);
	assert_int_equal(now.n_counters, XN_SNAP_COUNTERS);
	assert_int_equal(now.n_workers, XN_SNAP_WORKERS);
	assert_int_equal(strlen(now.counters[0].name), sizeof(now.counters[0].name) - 1);
}

/* ---- the program and a daemon ---- */

static void program_shows_and_passes_on(void **state)
{
	struct run r;
	pid_t pid = start(&(struct daemon){ .answer = usual, .piece = 100 });

	RUN(&r, "stats", "--ctl", path);
	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "so far       packets/s"));
	assert_non_null(strstr(r.out, "rx_bounce_short"));
	RUN(&r, "stats", "--json", "--ctl", path);
	assert_int_equal(r.status, 0);
	assert_string_equal(r.out, usual);
	stop(pid);
}

static void what_a_daemon_says_cannot_drive_the_terminal(void **state)
{
	struct run r;
	pid_t pid = start(&(struct daemon){ .answer =
		"{\"version\":\"\\u001b[2J\\u0007\",\"counters\":{\"x_drop\\n\\u001b]0;a\":{\"value\":1,"
		"\"text\":\"\\u009b31m\"}}}\n" });

	RUN(&r, "stats", "--ctl", path);
	assert_int_equal(r.status, 0);
	for (const char *p = r.out; *p; p++)
		assert_true(*p == '\n' || (*p >= ' ' && *p <= '~'));
	stop(pid);
	pid = start(&(struct daemon){ .answer = "{\"error\":\"no \\u001b[1msuch\\u0000\"}\n" });
	RUN(&r, "stats", "--ctl", path);
	assert_int_equal(r.status, 1);
	for (const char *p = r.out; *p; p++)
		assert_true(*p == '\n' || (*p >= ' ' && *p <= '~'));
	stop(pid);
}

/* What a bad daemon leads to, and how long it may take. */
static void wrong_answers_are_named_in_bounded_time(void **state)
{
	static char deep[200002], endless[100000], slow[1001];
	static const struct { struct daemon d; const char *says; unsigned min_ms, max_ms; } bad[] = {
		{ { .answer = "\x80\xff garbage \x01\n" }, "not JSON", 0, SOON_MS },
		{ { .answer = "\n" }, "not JSON", 0, SOON_MS },
		{ { .answer = "{\"version\":\"0.2\"\n" }, "not JSON", 0, SOON_MS },
		{ { .answer = deep }, "not JSON", 0, SOON_MS },
		{ { .answer = "[1,2]\n" }, "not an object", 0, SOON_MS },
		{ { .answer = "{\"a\":99999999999999999999999}\n" }, "not JSON", 0, SOON_MS },
		{ { .answer = "{\"error\":\"busy\"}\n" }, "xsknetd says: busy", 0, SOON_MS },
		{ { .answer = "{\"version\":", .quits = true }, "closed the connection", 0, SOON_MS },
		{ { .answer = "", .quits = true }, "closed the connection", 0, SOON_MS },
		{ { .answer = endless, .endless = true }, "longer than", 0, SOON_MS },
		/* Of this one the last byte would come after 100 s. */
		{ { .answer = slow, .piece = 1, .pause_ms = 100 }, "has not answered", 1900, SOON_MS },
		{ { .answer = "" }, "has not answered", 1900, SOON_MS },
		{ { .answer = "", .deaf = true }, "has not answered", 1900, SOON_MS },
	};
	struct run r;

	memset(endless, 'x', sizeof(endless) - 1);
	memset(slow, 'x', sizeof(slow) - 1);
	memset(deep, '[', sizeof(deep) - 2);
	deep[sizeof(deep) - 2] = '\n';
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		pid_t pid = start(&bad[i].d);
		uint64_t from = xn_now_ns(), ms;

		RUN(&r, "stats", "--ctl", path);
		ms = (xn_now_ns() - from) / MS;
		stop(pid);
		if (r.status != 1 || !strstr(r.out, bad[i].says))
			fail_msg("case %u: status %d, \"%s\", not \"%s\"", i, r.status, r.out, bad[i].says);
		if (ms < bad[i].min_ms || ms > bad[i].max_ms)
			fail_msg("case %u: took %u ms", i, (unsigned)ms);
	}
}

static void nobody_there_is_said(void **state)
{
	static const struct { const char *where, *says; } cases[] = {
		{ "/nonexistent/x.sock", "nobody listens there" },
		{ "/dev/null", "nobody listens there" },
		{ "/very/long/" "0123456789012345678901234567890123456789012345678901234567890123456789"
		  "0123456789012345678901234567890123456789", "too long" },
	};
	struct run r;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		RUN(&r, "stats", "--ctl", cases[i].where);
		assert_int_equal(r.status, 1);
		if (!strstr(r.out, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", r.out, cases[i].says);
	}
}

static void wrong_words_are_refused_with_status_2(void **state)
{
	static const struct { const char *words[4], *says; } bad[] = {
		{ { NULL }, "which command" },
		{ { "stat" }, "\"stat\" is not a command" },
		{ { "stats", "--clt" }, "\"--clt\" is not known" },
		{ { "stats", "--ctl" }, "--ctl needs a value" },
		{ { "stats", "more" }, "one word too many" },
		{ { "stats", "--watch=0" }, "want seconds" },
		{ { "stats", "--watch=x" }, "want seconds" },
		{ { "stats", "--watch=nan" }, "want seconds" },
		{ { "doctor" }, "which interface" },
		{ { "doctor", "a", "b" }, "one word too many" },
		{ { "doctor", "a", "--guest-ram" }, "--guest-ram needs a value" },
		{ { "doctor", "a", "--guest-ram=0" }, "want a size" },
		{ { "doctor", "a", "--guest-ram=4X" }, "want a size" },
		{ { "doctor", "a", "--guest-ram=-1" }, "want a size" },
		{ { "doctor", "a", "--guest-ram=99999999T" }, "want a size" },
	};
	struct run r;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		run(&r, bad[i].words);
		if (r.status != 2 || !strstr(r.out, bad[i].says))
			fail_msg("case %u: status %d, \"%s\"", i, r.status, r.out);
	}
}

/* Lines that come until there are `want`. */
static unsigned count_lines(int fd, unsigned have, unsigned want)
{
	uint64_t end = xn_now_ns() + SOON_MS * MS;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	while (have < want && xn_now_ns() < end)
		if (poll(&p, 1, 100) == 1) {
			if (read(fd, &c, 1) != 1)
				break;
			have += c == '\n';
		}
	return have;
}

static void watching_goes_on_when_the_daemon_is_started_anew(void **state)
{
	static const char *const words[] = { "stats", "--watch", "0.1", "--json", "--ctl", path, NULL };
	pid_t daemon = start(&(struct daemon){ .answer = usual }), watcher;
	unsigned before, after;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	watcher = fork();
	assert_true(watcher >= 0);
	if (!watcher)
		run_exec(words, p[1], open("/dev/null", O_WRONLY));
	close(p[1]);
	before = count_lines(p[0], 0, 3);
	stop(daemon);
	poll(NULL, 0, 300);
	daemon = start(&(struct daemon){ .answer = usual });
	after = count_lines(p[0], before, before + 5);
	kill(watcher, SIGKILL);
	waitpid(watcher, NULL, 0);
	stop(daemon);
	close(p[0]);
	assert_int_equal(before, 3);
	assert_int_equal(after, 8);
}

static void output_that_cannot_be_written_is_status_1(void **state)
{
	static const char *const words[] = { "stats", "--ctl", path, NULL };
	pid_t daemon = start(&(struct daemon){ .answer = usual }), pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		run_exec(words, open("/dev/full", O_WRONLY), open("/dev/null", O_WRONLY));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	stop(daemon);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
}

/* Its name is there a little earlier. */
static bool listens(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes;

	assert_true(fd >= 0);
	strcpy(a.sun_path, name);
	yes = !connect(fd, (struct sockaddr *)&a, sizeof(a));
	close(fd);
	return yes;
}

/* The real daemon, without a network; its parent ends it. */
static pid_t start_xsknetd(void)
{
	static const char *const words[] = { "--port", "loopback", "--socket", front, "--ctl", path,
					     NULL };
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		run_exec_other("xsknetd", words, open("/dev/null", O_WRONLY),
			       open("/dev/null", O_WRONLY));
	for (unsigned ms = 0; ms < SOON_MS && !listens(path); ms += 10)
		poll(NULL, 0, 10);
	return pid;
}

static void xsknetd_itself_is_understood(void **state)
{
	struct run r;
	pid_t pid = start_xsknetd();
	static struct xn_snap s;
	json_t *o;

	RUN(&r, "stats", "--ctl", path, "--json");
	assert_int_equal(r.status, 0);
	o = json_loads(r.out, 0, NULL);
	assert_non_null(o);
	xn_snap_read(&s, o);
	json_decref(o);
	assert_string_equal(s.version, xn_version());
	assert_string_equal(s.port.kind, "loopback");
	assert_string_equal(s.port.spec, "loopback");
	assert_int_equal(s.port.mtu, 1500);
	assert_true(s.port.link);
	assert_true(s.uptime_ns > 0);
	assert_int_equal(s.n_workers, 1);
	assert_int_equal(s.guest.pairs, 1);
	assert_true(s.n_counters > 40);
	/* Names that the text is made of: none may be misspelt or gone. */
	for (unsigned i = 0; i < sizeof(used) / sizeof(*used); i++) {
		bool there = false;

		for (unsigned k = 0; k < s.n_counters; k++)
			there |= !strcmp(s.counters[k].name, used[i]);
		if (!there)
			fail_msg("xsknetd counts no %s", used[i]);
	}
	RUN(&r, "stats", "--ctl", path);
	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "guest     not connected"));
	kill(pid, SIGTERM);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- which socket ---- */

static void the_only_socket_is_found_and_several_are_named(void **state)
{
	char base[96], one[160], two[160], got[256];

	snprintf(base, sizeof(base), "%s/run", dir);
	mkdir(base, 0700);
	assert_int_equal(xn_client_find(got, sizeof(got), NULL, base), -ENOENT);
	snprintf(one, sizeof(one), "%s/vm1", base);
	mkdir(one, 0700);
	assert_int_equal(xn_client_find(got, sizeof(got), NULL, base), -ENOENT);
	strcat(one, "/ctl.sock");
	close(listen_at(one));
	assert_int_equal(xn_client_find(got, sizeof(got), NULL, base), 0);
	assert_string_equal(got, one);
	snprintf(two, sizeof(two), "%s/vm2", base);
	mkdir(two, 0700);
	strcat(two, "/ctl.sock");
	close(listen_at(two));
	assert_int_equal(xn_client_find(got, sizeof(got), NULL, base), -EINVAL);
	assert_non_null(strstr(xn_last_error(), one));
	assert_non_null(strstr(xn_last_error(), two));
	assert_int_equal(xn_client_find(got, sizeof(got), "vm2", base), 0);
	assert_string_equal(got, two);
	assert_int_equal(xn_client_find(got, sizeof(got), "/a/b", base), 0);
	assert_string_equal(got, "/a/b");
	assert_int_equal(xn_client_find(got, sizeof(got), "", base), -EINVAL);
}

static int remove_dir(void **state)
{
	static const char *const names[] = { "run/vm1/ctl.sock", "run/vm2/ctl.sock", "run/vm1",
					     "run/vm2", "run", "ctl.sock", "vhost.sock" };
	char name[128];

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(name, sizeof(name), "%s/%s", dir, names[i]);
		(void)remove(name);
	}
	return rmdir(dir);
}

static int make_dir(void **state)
{
	strcpy(dir, "/tmp/xsknet-ctl-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/ctl.sock", dir);
	snprintf(front, sizeof(front), "%s/vhost.sock", dir);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_look_is_since_the_start),
		cmocka_unit_test(mode_is_shown_with_its_reason),
		cmocka_unit_test(what_a_driver_has_lost_is_among_the_lost),
		cmocka_unit_test(further_looks_are_since_the_last),
		cmocka_unit_test(counters_that_ran_backwards_are_no_rate),
		cmocka_unit_test(missing_and_odd_members_are_shown_as_nothing),
		cmocka_unit_test(more_counters_and_workers_than_there_is_room_for_are_cut),
		cmocka_unit_test(program_shows_and_passes_on),
		cmocka_unit_test(what_a_daemon_says_cannot_drive_the_terminal),
		cmocka_unit_test(wrong_answers_are_named_in_bounded_time),
		cmocka_unit_test(nobody_there_is_said),
		cmocka_unit_test(wrong_words_are_refused_with_status_2),
		cmocka_unit_test(watching_goes_on_when_the_daemon_is_started_anew),
		cmocka_unit_test(output_that_cannot_be_written_is_status_1),
		cmocka_unit_test(xsknetd_itself_is_understood),
		cmocka_unit_test(the_only_socket_is_found_and_several_are_named),
	};

	(void)argc;
	run_init(argv[0]);
	return cmocka_run_group_tests_name("stats", tests, make_dir, remove_dir);
}
