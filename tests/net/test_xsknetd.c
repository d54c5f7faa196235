/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves, with the program as it is installed: xsknetd says what is wrong with its options;
 * takes its place and nobody else's; serves one front end after the other, in both
 * directions of connecting; tells its statistics whoever asks how; is nobody while it
 * serves; survives memory that is taken away; and ends in order.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/types.h"
#include "tests/cmocka.h"
#include "tests/net/xd.h"
#include "vhost/sandbox.h"

#define NS_PER_MS 1000000ull
#define STATS     "{\"cmd\":\"stats\"}"

static void pause_ms(unsigned ms)
{
	poll(NULL, 0, (int)ms);
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strcpy(a.sun_path, path);
	return a;
}

static int listen_at(const char *path, int type)
{
	struct sockaddr_un a = address(path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static int dial(const char *path)
{
	struct sockaddr_un a = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* The other end has closed: read says so within ms. */
static bool is_closed(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	return poll(&p, 1, ms) == 1 && recv(fd, &c, 1, MSG_DONTWAIT) <= 0;
}

static bool exists(const char *path)
{
	return !access(path, F_OK);
}

/* ---- options ---- */

static void wrong_options_are_told(void **state)
{
	static const struct { const char *args[8], *said; } cases[] = {
		{ { NULL }, "--port is missing" },
		{ { "--port", "null" }, "--socket PATH is missing" },
		{ { "--port", "null", "--socket", "@S", "--fd", "5" }, "leave out one" },
		{ { "--port", "null", "--fd", "5", "--client" }, "--client needs --socket" },
		{ { "--port", "null", "--fd", "2" }, "standard" },
		{ { "--port", "null", "--fd", "x" }, "whole number" },
		{ { "--port", "null", "--socket", "@S", "--mtu", "67" }, "from 68 to 65535" },
		{ { "--port", "null", "--socket", "@S", "--mtu", "-1" }, "from 68 to 65535" },
		{ { "--port", "null", "--socket", "@S", "--mtu", "1500x" }, "from 68 to 65535" },
		{ { "--port", "null", "--socket", "@S", "--mac", "52:54:00:12:34" }, "look like" },
		{ { "--port", "null", "--socket", "@S", "--mac", "52:54:00:12:34:5" }, "look like" },
		{ { "--port", "null", "--socket", "@S", "--mac", "53:54:00:12:34:56" }, "one station" },
		{ { "--port", "null", "--socket", "@S", "--mac", "00:00:00:00:00:00" }, "one station" },
		{ { "--port", "null", "--socket", "@S", "--cpus", "" }, "a list like" },
		{ { "--port", "null", "--socket", "@S", "--cpus", "1," }, "a list like" },
		{ { "--port", "null", "--socket", "@S", "--cpus", "3-2" }, "a list like" },
		{ { "--port", "null", "--socket", "@S", "--cpus", "0-4096" }, "below 1024" },
		{ { "--port", "null", "--socket", "@S", "--cpus", "0-999" }, "at most 64" },
		{ { "--port", "null", "--socket", "@S", "--poll", "lazy" }, "must be adaptive, busy or sleep" },
		{ { "--port", "null", "--socket", "@S", "--sandbox", "maybe" }, "must be on, off or log" },
		{ { "--port", "null", "--socket", "@S", "--socket-mode", "888" }, "octal" },
		{ { "--port", "null", "--socket", "@S", "--socket-group", "no-such-group" }, "no such group" },
		{ { "--port", "null", "--socket", "@S", "--spare-sockets", "70000" }, "65536" },
		{ { "--port", "null", "--nonsense" }, "--nonsense: no such option" },
		{ { "--port", "null", "-xh" }, "-x: no such option" },
		{ { "--port", "null", "--socket", "@S", "--ctl", "@S" }, "two names" },
		{ { "--port" }, "needs a value" },
		{ { "--port", "null", "--socket", "@S", "word" }, "not an option" },
	};
	struct xd d;

	xd_init(&d);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		xd_spawn(&d, NULL, cases[i].args);
		assert_int_equal(xd_wait(&d, XD_SOON_MS), 2);
		assert_true(xd_said(&d, cases[i].said, 0));
		assert_true(xd_said(&d, "see --help", 0));
		assert_int_equal(xd_count(&d, "\n"), 1);
		assert_false(exists(d.sock));
	}
	xd_fini(&d);
}

static void questions_are_answered(void **state)
{
	struct xd d;

	xd_init(&d);
	xd_spawn(&d, NULL, XD_ARGS("--help"));
	assert_int_equal(xd_wait(&d, XD_SOON_MS), 0);
	assert_true(xd_said(&d, "usage: xsknetd", 0));
	xd_spawn(&d, NULL, XD_ARGS("--version"));
	assert_int_equal(xd_wait(&d, XD_SOON_MS), 0);
	assert_true(xd_said(&d, xn_version(), 0));
	/* Whatever else is there (QEMU docs/interop/vhost-user.rst). */
	xd_spawn(&d, NULL, XD_ARGS("--mtu", "x", "--print-capabilities", "--fd"));
	assert_int_equal(xd_wait(&d, XD_SOON_MS), 0);
	assert_true(xd_said(&d, "{ \"type\": \"net\" }", 0));
	xd_fini(&d);
}

static void what_cannot_be_had_is_told_and_leaves_nothing(void **state)
{
	static const struct { const char *args[12], *said; } cases[] = {
		{ { "--port", "xdp:nosuchif", "--socket", "@S", "--ctl", "@C" }, "nosuchif" },
		{ { "--port", "nosuchport", "--socket", "@S", "--ctl", "@C" }, "nosuchport" },
		{ { "--port", "null", "--socket", "/nonexistent/s", "--ctl", "@C" }, "/nonexistent" },
		{ { "--port", "null", "--socket", "@S", "--ctl", "/nonexistent/c" }, "/nonexistent" },
		{ { "--port", "null", "--socket", "@S", "--ctl", "@C", "--mtu", "9000" }, "raise that" },
		{ { "--port", "null", "--fd", "77", "--ctl", "@C" }, "fd 77 is not open" },
		{ { "--port", "null", "--fd", "4", "--ctl", "@C" }, "fd 4 is not open" },
		{ { "--port", "null", "--socket", "/tmp/", "--ctl", "@C" }, "names a directory" },
		{ { "--port", "null", "--socket", "@S", "--ctl", "@C", "--cpus", "1023" }, "1023" },
		{ { "--port", "null", "--socket",
		    "/tmp/0123456789012345678901234567890123456789012345678901234567890123456789"
		    "0123456789012345678901234567890123456789" }, "107 bytes" },
	};
	struct xd d;

	xd_init(&d);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		xd_spawn(&d, NULL, cases[i].args);
		assert_int_equal(xd_wait(&d, XD_SOON_MS), 1);
		assert_true(xd_said(&d, cases[i].said, 0));
		assert_false(exists(d.sock));
		assert_false(exists(d.ctl));
	}
	if (!XD_SANITIZED) {
		xd_spawn(&d, NULL, XD_ARGS("--port", "null", "--socket", "@S", "--user", "no-such-user"));
		assert_int_equal(xd_wait(&d, XD_SOON_MS), 1);
		assert_true(xd_said(&d, "no such user", 0));
		assert_false(exists(d.sock));
	}
	xd_fini(&d);
}

/* ---- its place ---- */

static void a_second_instance_fails_and_the_first_goes_on(void **state)
{
	struct xd_guest g;
	struct xd d, e;

	xd_init(&d);
	xd_start(&d, NULL, "loopback", NULL);
	xd_init(&e);
	rmdir(e.dir);
	strcpy(e.sock, d.sock);
	strcpy(e.ctl, d.ctl);
	strcpy(e.log, d.log);
	strcat(e.log, "2");
	xd_spawn(&e, NULL, XD_ARGS("--port", "loopback", "--socket", "@S"));
	assert_int_equal(xd_wait(&e, XD_SOON_MS), 1);
	assert_true(xd_said(&e, "another process listens", 0));
	strcat(e.sock, "2");
	xd_spawn(&e, NULL, XD_ARGS("--port", "loopback", "--socket", "@S", "--ctl", "@C"));
	assert_int_equal(xd_wait(&e, XD_SOON_MS), 1);
	assert_true(xd_said(&e, "another process listens", 0));
	assert_false(exists(e.sock));

	xd_guest_init(&g);
	xd_guest_feed(&g, 32);
	xd_guest_plug(&g, d.sock, -1);
	assert_true(xd_guest_ping(&g, 10));
	xd_guest_fini(&g);
	xd_stop(&d);
	xd_fini(&d);
}

static void a_name_left_over_is_replaced(void **state)
{
	struct xd d;

	xd_init(&d);
	for (unsigned i = 0; i < 3; i++) {
		xd_start(&d, NULL, "loopback", NULL);
		assert_int_equal(kill(d.pid, SIGKILL), 0);
		assert_int_equal(xd_wait(&d, XD_SOON_MS), 1000 + SIGKILL);
		assert_true(exists(d.sock));
		assert_true(exists(d.ctl));
	}
	xd_start(&d, NULL, "loopback", NULL);
	xd_stop(&d);
	assert_false(exists(d.sock));
	assert_false(exists(d.ctl));
	xd_fini(&d);
}

static void only_our_own_names_are_taken_away(void **state)
{
	struct stat st;
	struct xd d;
	int fd;

	xd_init(&d);
	fd = open(d.sock, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	xd_spawn(&d, NULL, XD_ARGS("--port", "loopback", "--socket", "@S"));
	assert_int_equal(xd_wait(&d, XD_SOON_MS), 1);
	assert_true(xd_said(&d, "is no socket", 0));
	assert_int_equal(stat(d.sock, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	unlink(d.sock);

	/* Somebody took its name away, and gave it to another. */
	xd_start(&d, NULL, "loopback", NULL);
	unlink(d.sock);
	fd = listen_at(d.sock, SOCK_STREAM);
	xd_stop(&d);
	assert_true(exists(d.sock));
	assert_false(exists(d.ctl));
	close(fd);
	xd_fini(&d);
}

static void sockets_have_the_mode_and_group_that_were_asked_for(void **state)
{
	const struct group *g = getgrgid(1);
	struct stat st;
	struct xd d;

	assert_non_null(g);
	xd_init(&d);
	xd_start(&d, NULL, "loopback", NULL);
	assert_int_equal(stat(d.sock, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(stat(d.ctl, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	xd_stop(&d);
	xd_start(&d, NULL, "loopback", XD_ARGS("--socket-mode", "600", "--socket-group", g->gr_name));
	assert_int_equal(stat(d.sock, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_gid, 1);
	xd_stop(&d);
	xd_fini(&d);
}

/* ---- front ends come and go ---- */

static void a_guest_talks_to_itself(const char *poll)
{
	struct xd_guest g;
	char cpu[16];
	struct xd d;

	xd_init(&d);
	snprintf(cpu, sizeof(cpu), "%d", sched_getcpu());      /* one that it may use */
	xd_start(&d, NULL, "loopback", XD_ARGS("--poll", poll, "--cpus", cpu));
	xd_guest_init(&g);
	xd_guest_feed(&g, 64);
	xd_guest_plug(&g, d.sock, -1);
	assert_true(xd_guest_ping(&g, 500));
	assert_int_equal(xd_stat(&d, "guest.connected"), 1);
	assert_int_equal(xd_stat(&d, "guest.running"), 1);
	assert_int_equal(xd_stat(&d, "guest.bytes"), XD_RAM);
	/* Counted at the end of a turn, which the guest may see before that. */
	xd_wait_stat(&d, "counters.rx_packets", 500);
	xd_wait_stat(&d, "pairs.0.counters.tx_packets", 500);
	assert_true(xd_stat(&d, "workers.0.cpu_ns") > 0);
	assert_true(xd_stat(&d, "messages") > 10);
	xd_guest_fini(&g);
	xd_wait_stat(&d, "guest.connected", 0);
	assert_int_equal(xd_stat(&d, "guest.running"), 0);
	xd_stop(&d);
	xd_fini(&d);
}

static void a_guest_talks_to_itself_adaptive(void **state) { a_guest_talks_to_itself("adaptive"); }
static void a_guest_talks_to_itself_busy(void **state) { a_guest_talks_to_itself("busy"); }
static void a_guest_talks_to_itself_sleep(void **state) { a_guest_talks_to_itself("sleep"); }

static void a_second_front_end_is_turned_away(void **state)
{
	struct xd_guest g;
	struct xd d;

	xd_init(&d);
	xd_start(&d, NULL, "loopback", NULL);
	xd_guest_init(&g);
	xd_guest_feed(&g, 64);
	xd_guest_plug(&g, d.sock, -1);
	for (unsigned i = 0; i < 50; i++) {
		int fd = dial(d.sock);

		assert_true(is_closed(fd, XD_SOON_MS));
		close(fd);
		assert_true(xd_guest_ping(&g, 2));
	}
	assert_true(xd_said(&d, "second front end", 0));
	assert_in_range(xd_count(&d, "second front end"), 1, 20);
	xd_guest_fini(&g);
	xd_stop(&d);
	xd_fini(&d);
}

static void front_ends_come_and_go_and_leave_nothing(void **state)
{
	struct xd_guest g;
	unsigned fds = 0;
	struct xd d;

	xd_init(&d);
	xd_start(&d, NULL, "loopback", NULL);
	xd_guest_init(&g);
	for (unsigned i = 0; i < 100; i++) {
		if (!i)
			xd_guest_feed(&g, 64);
		xd_guest_plug(&g, d.sock, -1);
		assert_true(xd_guest_ping(&g, 3));
		xd_guest_unplug(&g);
		xd_wait_stat(&d, "guest.connected", 0);
		if (i == 10)
			fds = xd_fds(&d);
	}
	/* Either time that of the last question may be among them, for a moment. */
	for (uint64_t until = xn_now_ns() + XD_SOON_MS * NS_PER_MS; xd_fds(&d) > fds && xn_now_ns() < until;)
		pause_ms(10);
	assert_in_range(xd_fds(&d), fds - 1, fds);
	assert_int_equal(xd_stat(&d, "sessions"), 100);
	assert_int_equal(xd_stat(&d, "counters.rx_packets"), 300);
	assert_true(xd_count(&d, "\n") < 40);
	xd_guest_fini(&g);
	xd_stop(&d);
	xd_fini(&d);
}

static void a_socket_may_be_given(void **state)
{
	struct xd_guest g;
	struct xd d;
	int fd, pair[2];

	/* Listening, by systemd. */
	xd_init(&d);
	fd = listen_at(d.sock, SOCK_STREAM);
	xd_spawn(&d, &(struct xd_how){ .fd3 = fd, .activated = true },
		 XD_ARGS("--port", "loopback", "--ctl", "@C"));
	xd_guest_init(&g);
	xd_guest_feed(&g, 64);
	xd_guest_plug(&g, d.sock, -1);
	assert_true(xd_guest_ping(&g, 5));
	xd_guest_unplug(&g);
	xd_guest_plug(&g, d.sock, -1);
	assert_true(xd_guest_ping(&g, 5));
	xd_guest_unplug(&g);
	xd_stop(&d);
	assert_true(exists(d.sock));            /* systemd's */
	assert_false(exists(d.ctl));

	/* Listening, by number. */
	xd_spawn(&d, &(struct xd_how){ .fd3 = fd }, XD_ARGS("--port", "loopback", "--fd", "3"));
	xd_guest_plug(&g, d.sock, -1);
	assert_true(xd_guest_ping(&g, 5));
	xd_guest_unplug(&g);
	xd_stop(&d);
	close(fd);

	/* Connected: it is needed as long as that. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	xd_spawn(&d, &(struct xd_how){ .fd3 = pair[1] }, XD_ARGS("--port", "loopback", "--fd", "3"));
	close(pair[1]);
	xd_guest_plug(&g, NULL, pair[0]);
	assert_true(xd_guest_ping(&g, 5));
	xd_guest_unplug(&g);
	assert_int_equal(xd_wait(&d, XD_SOON_MS), 0);
	xd_guest_fini(&g);
	xd_fini(&d);
}

static void what_is_given_has_to_be_such_a_socket(void **state)
{
	struct xd d;
	int fd;

	xd_init(&d);
	fd = listen_at(d.sock, SOCK_DGRAM);
	xd_spawn(&d, &(struct xd_how){ .fd3 = fd }, XD_ARGS("--port", "loopback", "--fd", "3"));
	assert_int_equal(xd_wait(&d, XD_SOON_MS), 1);
	assert_true(xd_said(&d, "stream socket", 0));
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	xd_spawn(&d, &(struct xd_how){ .fd3 = fd }, XD_ARGS("--port", "loopback", "--fd", "3"));
	assert_int_equal(xd_wait(&d, XD_SOON_MS), 1);
	assert_true(xd_said(&d, "neither listens nor is connected", 0));
	close(fd);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	xd_spawn(&d, &(struct xd_how){ .fd3 = fd, .activated = true }, XD_ARGS("--port", "loopback"));
	assert_int_equal(xd_wait(&d, XD_SOON_MS), 1);
	assert_true(xd_said(&d, "no socket", 0));
	xd_spawn(&d, &(struct xd_how){ .fd3 = fd, .activated = true },
		 XD_ARGS("--port", "loopback", "--socket", "@S"));
	assert_int_equal(xd_wait(&d, XD_SOON_MS), 2);
	assert_true(xd_said(&d, "leave out --socket", 0));
	close(fd);
	xd_fini(&d);
}

/* With --client: the next connection of the daemon, or -1 after ms. */
static int accept_within(int listener, int ms)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };

	return poll(&p, 1, ms) == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
}

static void it_dials_the_front_end_again_and_again(void **state)
{
	struct xd_guest g;
	struct xd d;
	int fd, conn;

	xd_init(&d);
	xd_start(&d, NULL, "loopback", XD_ARGS("--client"));
	assert_true(xd_said(&d, "nobody listens", XD_SOON_MS));
	pause_ms(300);
	xd_guest_init(&g);
	for (unsigned i = 0; i < 3; i++) {
		fd = listen_at(d.sock, SOCK_STREAM);
		for (unsigned j = 0; j < 3; j++) {
			conn = accept_within(fd, XD_SOON_MS);
			assert_true(conn >= 0);
			if (!i && !j)
				xd_guest_feed(&g, 64);
			xd_guest_plug(&g, NULL, conn);
			assert_true(xd_guest_ping(&g, 5));
			xd_guest_unplug(&g);
		}
		/* The VMM ends, and comes back later. */
		close(fd);
		unlink(d.sock);
		pause_ms(50);
	}
	assert_int_equal(xd_count(&d, "nobody listens"), 1);
	xd_stop(&d);
	xd_guest_fini(&g);
	xd_fini(&d);
}

/* ---- statistics ---- */

static void bad_readers_of_statistics_disturb_nobody(void **state)
{
	int idle[8], fd, room = 2048;
	char big[5000];
	json_t *j;
	struct xd d;

	xd_init(&d);
	xd_start(&d, NULL, "loopback", NULL);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const wrong[] = { "{\"cmd\":\"quit\"}", "stats", "{\"cmd\":1}" };

		j = xd_ask(&d, wrong[i]);
		assert_non_null(json_string_value(json_object_get(j, "error")));
		json_decref(j);
	}
	/* A line that never ends. */
	memset(big, 'x', sizeof(big));
	fd = dial(d.ctl);
	assert_int_equal(send(fd, big, sizeof(big), MSG_NOSIGNAL), (int)sizeof(big));
	assert_true(is_closed(fd, XD_SOON_MS));
	close(fd);
	/* As many as may be, saying nothing: the next is turned away, and when one goes there is
	 * room again. */
	for (unsigned i = 0; i < XN_ARRAY_SIZE(idle); i++)
		idle[i] = dial(d.ctl);
	fd = dial(d.ctl);
	assert_true(is_closed(fd, XD_SOON_MS));
	close(fd);
	assert_true(xd_said(&d, "turned away", XD_SOON_MS));
	close(idle[0]);
	for (uint64_t until = xn_now_ns() + XD_SOON_MS * NS_PER_MS; !(j = xd_ask(&d, STATS));) {
		assert_true(xn_now_ns() < until);
		pause_ms(5);
	}
	assert_true(json_integer_value(json_object_get(j, "uptime_ns")) > 0);
	json_decref(j);
	for (unsigned i = 1; i < XN_ARRAY_SIZE(idle); i++)
		close(idle[i]);
	/* Asks a hundred times and reads nothing: dropped after a second, and meanwhile
	 * others are answered. */
	fd = dial(d.ctl);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(send(fd, STATS "\n", strlen(STATS "\n"), MSG_NOSIGNAL),
				 (int)strlen(STATS "\n"));
	for (unsigned i = 0; i < 25; i++) {
		assert_true(xd_stat(&d, "uptime_ns") > 0);
		pause_ms(60);
	}
	while (recv(fd, big, sizeof(big), MSG_DONTWAIT) > 0)
		;
	assert_true(is_closed(fd, XD_SOON_MS));
	close(fd);
	/* Several questions at once are answered one by one. */
	fd = dial(d.ctl);
	assert_int_equal(send(fd, "{\"cmd\":\"a\"}\n{\"cmd\":\"b\"}\n", 24, MSG_NOSIGNAL), 24);
	for (unsigned lines = 0; lines < 2;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		assert_int_equal(poll(&p, 1, XD_SOON_MS), 1);
		assert_int_equal(recv(fd, big, 1, 0), 1);
		lines += big[0] == '\n';
	}
	close(fd);
	xd_stop(&d);
	xd_fini(&d);
}

/* ---- systemd ---- */

/* The next notification, or "" after ms. */
static const char *notification(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	static char text[512];
	ssize_t n = poll(&p, 1, ms) == 1 ? recv(fd, text, sizeof(text) - 1, 0) : 0;

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void systemd_is_told(void **state)
{
	char env[160], path[128];
	const char *const all[] = { env, "WATCHDOG_USEC=200000", NULL };
	unsigned dogs = 0;
	uint64_t from, until;
	struct xd d;
	int fd;

	xd_init(&d);
	snprintf(path, sizeof(path), "%s/notify", d.dir);
	snprintf(env, sizeof(env), "NOTIFY_SOCKET=%s", path);
	fd = listen_at(path, SOCK_DGRAM);
	from = xn_now_ns();
	xd_start(&d, &(struct xd_how){ .env = all }, "loopback", NULL);
	assert_non_null(strstr(notification(fd, XD_SOON_MS), "READY=1\nSTATUS="));
	/* It goes on, and not much oftener than every 100 ms. */
	for (until = xn_now_ns() + XD_SOON_MS * NS_PER_MS; dogs < 10 && xn_now_ns() < until;)
		dogs += !strcmp(notification(fd, XD_SOON_MS), "WATCHDOG=1");
	assert_int_equal(dogs, 10);
	assert_true(xn_now_ns() - from >= 450 * NS_PER_MS);
	xd_stop(&d);
	for (const char *s = ""; strcmp(s, "STOPPING=1");) {
		s = notification(fd, 100);
		assert_true(*s);
	}
	close(fd);
	xd_fini(&d);
}

static void front_ends_that_come_and_go_are_told_once_a_second(void **state)
{
	char env[160], path[128], last[512] = "";
	const char *const all[] = { env, NULL };
	uint64_t from, until;
	unsigned told = 0;
	struct xd d;
	int fd;

	xd_init(&d);
	snprintf(path, sizeof(path), "%s/notify", d.dir);
	snprintf(env, sizeof(env), "NOTIFY_SOCKET=%s", path);
	fd = listen_at(path, SOCK_DGRAM);
	xd_start(&d, &(struct xd_how){ .env = all }, "loopback", NULL);
	assert_non_null(strstr(notification(fd, XD_SOON_MS), "READY=1"));
	from = xn_now_ns();
	for (unsigned i = 0; i < 500; i++)
		close(dial(d.sock));
	until = from + XD_SOON_MS * NS_PER_MS;
	for (const char *s; *(s = notification(fd, 1500)) ||
	     (strcmp(last, "STATUS=Waiting for a front end.") && xn_now_ns() < until); told += *s != 0)
		if (*s)
			strcpy(last, s);
	assert_in_range(told, 1, 3 + (xn_now_ns() - from) / (1000 * NS_PER_MS));
	assert_string_equal(last, "STATUS=Waiting for a front end.");
	close(fd);
	xd_stop(&d);
	xd_fini(&d);
}

/* ---- the end ---- */

static void sigterm_in_traffic_ends_it_in_order(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	for (unsigned i = 0; i < XN_ARRAY_SIZE(signals); i++) {
		struct xd_guest g;
		uint64_t taken;
		struct xd d;

		xd_init(&d);
		xd_start(&d, NULL, "loopback", NULL);
		xd_guest_init(&g);
		xd_guest_feed(&g, 128);
		xd_guest_plug(&g, d.sock, -1);
		assert_true(xd_guest_ping(&g, 10));
		for (uint64_t until = xn_now_ns() + 50 * NS_PER_MS; xn_now_ns() < until;) {
			while (xd_guest_send(&g, 60))
				;
			xd_guest_reap(&g);
		}
		assert_int_equal(kill(d.pid, signals[i]), 0);
		while (xd_guest_send(&g, 60))
			;
		assert_int_equal(xd_wait(&d, XD_SOON_MS), 0);
		/* What it had taken it gave back; what it had not is still there, and the next
		 * takes it: nothing is lost, nothing comes twice. */
		xd_guest_reap(&g);
		taken = g.sent;
		assert_true(taken > 10);
		assert_false(exists(d.sock));
		xd_start(&d, NULL, "loopback", NULL);
		xd_guest_plug(&g, d.sock, -1);
		for (uint64_t until = xn_now_ns() + XD_SOON_MS * NS_PER_MS;
		     drv_pending(&g.drv, 1) && xn_now_ns() < until;)
			xd_guest_reap(&g);
		assert_int_equal(drv_pending(&g.drv, 1), 0);
		pause_ms(20);
		xd_guest_reap(&g);
		assert_true(xd_guest_ping(&g, 10));
		assert_int_equal(drv_pending(&g.drv, 0), 128);
		/* Those that come before the ring is enabled are taken and dropped. */
		xd_wait_stat(&d, "counters.tx_packets",
			     g.sent - taken - xd_stat(&d, "counters.tx_drop_disabled"));
		xd_guest_fini(&g);
		xd_stop(&d);
		xd_fini(&d);
	}
}

static void it_is_stopped_and_goes_on(void **state)
{
	struct xd_guest g;
	struct xd d;

	xd_init(&d);
	xd_start(&d, NULL, "loopback", NULL);
	xd_guest_init(&g);
	xd_guest_feed(&g, 64);
	xd_guest_plug(&g, d.sock, -1);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(xd_guest_ping(&g, 5));
		assert_int_equal(kill(d.pid, SIGSTOP), 0);
		pause_ms(30);
		assert_int_equal(kill(d.pid, SIGCONT), 0);
	}
	assert_true(xd_guest_ping(&g, 5));
	xd_guest_fini(&g);
	xd_stop(&d);
	xd_fini(&d);
}

/* ---- what it costs ---- */

static void a_connected_silent_guest_costs_no_processor(void **state)
{
	uint64_t cpu, from, ns;
	struct xd_guest g;
	struct xd d;

	xd_init(&d);
	xd_start(&d, NULL, "loopback", NULL);
	xd_guest_init(&g);
	xd_guest_feed(&g, 64);
	xd_guest_plug(&g, d.sock, -1);
	assert_true(xd_guest_ping(&g, 5));
	pause_ms(100);
	cpu = xd_cpu_ns(&d);
	assert_true(cpu > 0);                   /* it is counted at all */
	from = xn_now_ns();
	pause_ms(2000);
	cpu = xd_cpu_ns(&d) - cpu;
	ns = xn_now_ns() - from;
	print_message("idle: %.4f %% of a processor\n", 100.0 * (double)cpu / (double)ns);
	assert_true(cpu * 200 < ns);
	assert_true(xd_guest_ping(&g, 5));
	xd_guest_fini(&g);
	xd_stop(&d);
	xd_fini(&d);
}

/* ---- memory that is taken away ---- */

static void truncated_memory_ends_the_session_and_nothing_else(void **state)
{
	struct xd d;

	xd_init(&d);
	xd_start(&d, NULL, "loopback", NULL);
	for (unsigned i = 0; i < 5; i++) {
		struct xd_guest g;
		int sealed, fd = memfd_create("ram", MFD_CLOEXEC);
		char c;

		xd_guest_init(&g);
		/* The test driver's own memory is sealed against this: another file for it. */
		sealed = g.drv.fd;
		assert_int_equal(ftruncate(fd, XD_RAM), 0);
		assert_ptr_equal(mmap(g.drv.ram, XD_RAM, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_FIXED, fd, 0), g.drv.ram);
		g.drv.fd = fd;
		drv_reset_rings(&g.drv, 1);
		xd_guest_feed(&g, 64);
		xd_guest_plug(&g, d.sock, -1);
		assert_true(xd_guest_ping(&g, 10));
		assert_int_equal(ftruncate(fd, 0), 0);
		eventfd_write(g.kick[i & 1], 1);    /* it looks, and finds no memory */
		assert_true(is_closed(g.f.fd, XD_SOON_MS));
		assert_int_equal(recv(g.f.fd, &c, 1, 0), 0);
		g.drv.fd = sealed;
		close(fd);
		xd_guest_fini(&g);
		xd_wait_stat(&d, "guest.connected", 0);
	}
	assert_true(xd_said(&d, "truncated", XD_SOON_MS));

	{
		struct xd_guest g;

		xd_guest_init(&g);
		xd_guest_feed(&g, 64);
		xd_guest_plug(&g, d.sock, -1);
		assert_true(xd_guest_ping(&g, 10));
		xd_guest_fini(&g);
	}
	xd_stop(&d);
	xd_fini(&d);
}

/* ---- the sandbox ---- */

static void skip_if_sanitized(void)
{
	if (!XD_SANITIZED)
		return;
	print_message("skipped: sanitizers need system calls that the sandbox does not allow\n");
	skip();
}

static char *file_text(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, room - 1);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

static void is_nobody(const struct xd *d, unsigned threads, bool may_pin)
{
	static const char *const none[] = {
		"CapInh:\t0000000000000000", "CapBnd:\t0000000000000000",
		"CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
	};
	struct dirent *e;
	unsigned seen = 0;
	char dir[64];
	DIR *tasks;

	snprintf(dir, sizeof(dir), "/proc/%d/task", (int)d->pid);
	tasks = opendir(dir);
	assert_non_null(tasks);
	while ((e = readdir(tasks))) {
		char path[400], text[4096];

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s/status", dir, e->d_name);
		assert_true(*file_text(path, text, sizeof(text)));
		seen++;
		for (unsigned i = 0; i < XN_ARRAY_SIZE(none); i++)
			assert_non_null(strstr(text, none[i]));
		if (may_pin)    /* the limit of locked memory cannot be raised here */
			assert_non_null(strstr(text, "CapEff:\t0000000000004000"));
		else
			assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
		if (!may_pin)
			assert_non_null(strstr(text, "CapPrm:\t0000000000000000"));
	}
	closedir(tasks);
	assert_int_equal(seen, threads);    /* main, one that closes files, the workers */
}

static void every_thread_is_nobody(void **state)
{
	char text[4096], path[64];
	struct xd_guest g;
	struct stat st;
	struct xd d;

	skip_if_sanitized();
	xd_init(&d);
	chmod(d.dir, 0777);
	xd_start(&d, NULL, "loopback", XD_ARGS("--user", "nobody"));
	xd_guest_init(&g);
	xd_guest_feed(&g, 64);
	xd_guest_plug(&g, d.sock, -1);
	assert_true(xd_guest_ping(&g, 10));
	is_nobody(&d, 3, false);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)d.pid);
	assert_non_null(strstr(file_text(path, text, sizeof(text)), "Uid:\t65534\t65534\t65534\t65534"));
	assert_non_null(strstr(text, "Groups:\t \n"));
	snprintf(path, sizeof(path), "/proc/%d/limits", (int)d.pid);
	assert_non_null(strstr(file_text(path, text, sizeof(text)), "Max core file size        0 "));
	/* What its parent has left open is not there. */
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)d.pid, XD_LEAKED_FD);
	assert_int_equal(readlink(path, text, sizeof(text)), -1);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)d.pid, STDERR_FILENO);
	assert_true(readlink(path, text, sizeof(text)) > 0);
	/* Not dumpable: its files in /proc are root's. */
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)d.pid);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	xd_guest_fini(&g);
	xd_stop(&d);
	assert_false(exists(d.sock));
	assert_false(exists(d.ctl));
	xd_fini(&d);
}

static void the_list_of_calls_is_short_and_says_why(void **state)
{
	const char *why;

	assert_in_range(xn_sandbox_calls() + 1, 20, 40);
	for (unsigned i = 0; i < xn_sandbox_calls(); i++) {
		assert_non_null(xn_sandbox_call(i, &why));
		assert_true(strlen(why) > 2);
	}
}

/* How a child ends that does this in the sandbox: 0, or the signal; 100 + exit status. */
static int in_sandbox(bool log_only, int (*what)(void))
{
	const struct xn_sandbox box = { .log_only = log_only };
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		alarm(120);
		if (xn_sandbox_drop(&box) || xn_sandbox_seal(&box))
			_exit(99);
		_exit(what());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WEXITSTATUS(status) ? 100 + WEXITSTATUS(status) : 0;
}

static int harmless(void)
{
	int fd[2] = { memfd_create("x", MFD_CLOEXEC), 0 };
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char c = 1;

	return !(fd[0] >= 0 && p != MAP_FAILED && !ftruncate(fd[0], 4096) &&
		 write(fd[0], &c, 1) == 1 && !close(fd[0]) && !munmap(p, 4096));
}

static int opens(void)     { return open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0; }
static int creates(void)   { return open("/tmp/xsknetd-test-new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0; }
static int executes(void)  { return execl("/bin/true", "true", (char *)NULL); }
static int forks(void)     { return fork() < 0; }
static int unix_socket(void) { return socket(AF_UNIX, SOCK_STREAM, 0) < 0; }
static int inet_socket(void) { return socket(AF_INET, SOCK_STREAM, 0) < 0; }
static int xdp_socket(void) { return socket(44 /* AF_XDP */, SOCK_RAW, 0) < 0; }
static int connects(void)  { struct sockaddr_un a = address("/x"); return connect(0, (struct sockaddr *)&a, sizeof(a)); }
static int kills(void)     { return kill(getppid(), 0); }
static int ptraces(void)   { return (int)syscall(SYS_ptrace, 0, 0, 0, 0); }
static int rings(void)     { return (int)syscall(425 /* io_uring_setup */, 1, NULL); }
static int unshares(void)  { return (int)syscall(SYS_unshare, 0); }
static int ioctls(void)    { return (int)syscall(SYS_ioctl, 0, 0x5413, NULL); }
static int prctls(void)    { return (int)syscall(SYS_prctl, 38, 0, 0, 0, 0); }
static int loads_bpf(void) { return (int)syscall(SYS_bpf, 5, NULL, 0); }
static int makes_map(void) { return (int)syscall(SYS_bpf, 0, NULL, 0); }
static int signals(void)   { return (int)syscall(SYS_rt_sigaction, SIGSEGV, NULL, NULL, 8); }
static int unlinks(void)   { return unlink("/tmp/xsknetd-test-none"); }
static int tcp_option(void) { int v = 1; return setsockopt(0, 6, 1, &v, sizeof(v)); }
static int owns(void)      { return (int)syscall(SYS_fcntl, 0, F_SETOWN, 1); }
static int stats(void)     { struct stat st; return stat("/etc/passwd", &st); }

static int executable_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int makes_executable(void)
{
	static char page[8192];

	return mprotect((void *)XN_ALIGN_UP((uintptr_t)page, 4096), 4096, PROT_READ | PROT_EXEC);
}

static void what_is_not_on_the_list_kills(void **state)
{
	static const struct { const char *name; int (*what)(void); } cases[] = {
		{ "open", opens }, { "create", creates }, { "exec", executes }, { "fork", forks },
		{ "connect", connects },
		{ "kill", kills }, { "ptrace", ptraces }, { "io_uring", rings },
		{ "unshare", unshares }, { "ioctl", ioctls }, { "prctl", prctls },
		{ "BPF_PROG_LOAD", loads_bpf }, { "BPF_MAP_CREATE", makes_map },
		{ "sigaction", signals }, { "unlink", unlinks }, { "TCP option", tcp_option },
		{ "F_SETOWN", owns }, { "stat", stats }, { "mmap PROT_EXEC", executable_memory },
		{ "mprotect", makes_executable },
	};

	skip_if_sanitized();
	assert_int_equal(in_sandbox(false, harmless), 0);
	/* Sockets are only refused: the store of them may be empty. */
	assert_int_equal(in_sandbox(false, xdp_socket), 101);
	assert_int_equal(in_sandbox(false, unix_socket), 101);
	assert_int_equal(in_sandbox(false, inet_socket), SIGSYS);
	for (unsigned i = 0; i < XN_ARRAY_SIZE(cases); i++) {
		int how = in_sandbox(false, cases[i].what);

		if (how != SIGSYS)
			fail_msg("%s: ended with %d, not SIGSYS", cases[i].name, how);
		how = in_sandbox(true, cases[i].what);      /* --sandbox log: EPERM */
		if (how < 100)
			fail_msg("%s: ended with %d, did not fail", cases[i].name, how);
	}
}

/* Landlock alone: without the list of calls. */
static void no_path_can_be_opened(void **state)
{
	const struct xn_sandbox box = { 0 };
	int status;
	pid_t pid;

	if (syscall(444 /* landlock_create_ruleset */, NULL, 0, 1) < 1) {
		print_message("skipped: this kernel has no Landlock\n");
		skip();
	}
	pid = fork();
	if (!pid) {
		bool ok = !xn_sandbox_drop(&box) &&
			  open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES &&
			  open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) < 0 && errno == EACCES &&
			  open("/dev/null", O_WRONLY | O_CLOEXEC) < 0 && errno == EACCES &&
			  mkdir("/tmp/xsknetd-test-dir", 0700) < 0 && errno == EACCES &&
			  execl("/bin/true", "true", (char *)NULL) < 0 && errno == EACCES;

		_exit(!ok);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- the binary ---- */

static void the_binary_is_hardened(void **state)
{
	static const char *const want[] = {
		"DYN (", "GNU_RELRO", "BIND_NOW", "Flags: NOW PIE", "__stack_chk_fail", "_chk@",
	};
	static char text[1u << 20];
	char cmd[4200];
	size_t n;
	FILE *p;

	if (XD_SANITIZED) {
		print_message("skipped: sanitizers do without hardening\n");
		skip();
	}
	snprintf(cmd, sizeof(cmd), "readelf -W -h -l -d -s '%s'", xd_program());
	p = popen(cmd, "re");
	assert_non_null(p);
	n = fread(text, 1, sizeof(text) - 1, p);
	assert_int_equal(pclose(p), 0);
	text[n] = '\0';
	for (unsigned i = 0; i < XN_ARRAY_SIZE(want); i++)
		if (!strstr(text, want[i]))
			fail_msg("readelf does not say %s", want[i]);
	/* The stack is not executable. */
	assert_non_null(strstr(text, "GNU_STACK"));
	assert_null(strstr(strstr(text, "GNU_STACK"), "RWE"));
}

/* ---- on an interface ---- */

/* A tap in the calling thread's namespace, set up; says of itself what it is told to. */
static int open_tap(const char *name)
{
	struct ifreq req = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -1;
	strcpy(req.ifr_name, name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &req), 0);
	assert_int_equal(xn_link_set(name, true), 0);
	return fd;
}

static void set_speed(const char *name, uint32_t mbps, bool full)
{
	union {
		struct ethtool_link_settings s;
		uint8_t room[sizeof(struct ethtool_link_settings) + 3 * 127 * sizeof(uint32_t)];
	} u = { .s.cmd = ETHTOOL_GLINKSETTINGS };
	struct ifreq req = { .ifr_data = (void *)&u };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(req.ifr_name, name);
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &req), 0);
	u.s.link_mode_masks_nwords = (int8_t)-u.s.link_mode_masks_nwords;
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &req), 0);
	u.s.cmd = ETHTOOL_SLINKSETTINGS;
	u.s.speed = mbps;
	u.s.duplex = full ? DUPLEX_FULL : DUPLEX_HALF;
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &req), 0);
	close(fd);
}

static void carrier_comes_with(const struct xd *d, const struct xn_lab *lab, int tap, uint32_t mbps, bool full)
{
	int on = 0;

	assert_int_equal(ioctl(tap, TUNSETCARRIER, &on), 0);
	xd_wait_stat(d, "port.link", 0);
	assert_int_equal(xn_lab_enter_near(lab), 0);
	set_speed("tap0", mbps, full);
	assert_int_equal(xn_lab_leave(lab), 0);
	on = 1;
	assert_int_equal(ioctl(tap, TUNSETCARRIER, &on), 0);
	xd_wait_stat(d, "port.speed", mbps);
	assert_int_equal(xd_stat(d, "port.link"), 1);
	assert_int_equal(xd_stat(d, "port.full_duplex"), full);
}

/* Asked for behind the sandbox, too. */
static void speed_is_that_of_the_last_carrier(void **state)
{
	struct xn_lab lab;
	struct xd d;
	int tap;

	assert_int_equal(xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	assert_int_equal(xn_lab_enter_near(&lab), 0);
	tap = open_tap("tap0");
	if (tap < 0) {
		xn_lab_leave(&lab);
		xn_lab_destroy(&lab);
		print_message("skipped: /dev/net/tun: %s\n", strerror(errno));
		skip();
	}
	set_speed("tap0", 2500, true);
	assert_int_equal(xn_lab_leave(&lab), 0);
	xd_init(&d);
	xd_start(&d, &(struct xd_how){ .lab = &lab }, "xdp:tap0", XD_ARGS("--spare-sockets", "8"));
	assert_int_equal(xd_stat(&d, "port.speed"), 2500);
	carrier_comes_with(&d, &lab, tap, 100, false);
	carrier_comes_with(&d, &lab, tap, 40000, true);
	/* Gone and back before anybody looks. */
	assert_int_equal(kill(d.pid, SIGSTOP), 0);
	assert_int_equal(ioctl(tap, TUNSETCARRIER, &(int){ 0 }), 0);
	assert_int_equal(xn_lab_enter_near(&lab), 0);
	set_speed("tap0", 1000, true);
	assert_int_equal(xn_lab_leave(&lab), 0);
	pause_ms(100);
	assert_int_equal(ioctl(tap, TUNSETCARRIER, &(int){ 1 }), 0);
	pause_ms(100);
	assert_int_equal(kill(d.pid, SIGCONT), 0);
	xd_wait_stat(&d, "port.speed", 1000);
	xd_stop(&d);
	close(tap);
	xn_lab_destroy(&lab);
	xd_fini(&d);
}

static void it_serves_an_interface_as_nobody(void **state)
{
	struct xn_lab lab;
	struct xd_guest g;
	struct xd d;

	assert_int_equal(xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	xd_init(&d);
	xd_start(&d, &(struct xd_how){ .lab = &lab }, "xdp:" XN_LAB_NEAR, XD_ARGS("--spare-sockets", "8"));
	assert_int_equal(xd_stat(&d, "port.link"), 1);
	xd_guest_init(&g);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t until = xn_now_ns() + XD_SOON_MS * NS_PER_MS;

		if (!i)
			xd_guest_feed(&g, 64);
		xd_guest_plug(&g, d.sock, -1);
		for (unsigned j = 0; j < 20; j++)
			assert_true(xd_guest_send(&g, 60));
		for (g.sent = 0; g.sent < 20 && xn_now_ns() < until;)
			xd_guest_reap(&g);
		assert_int_equal(g.sent, 20);
		xd_guest_unplug(&g);
		xd_wait_stat(&d, "guest.connected", 0);
	}
	assert_int_equal(xd_stat(&d, "counters.tx_packets"), 60);
	if (!XD_SANITIZED) {
		assert_int_equal(xd_stat(&d, "port.spare_sockets"), 5);
		is_nobody(&d, 3, xd_count(&d, "CAP_IPC_LOCK is kept") == 1);
	}
	/* The link goes and comes back. */
	assert_int_equal(xn_lab_enter_far(&lab), 0);
	assert_int_equal(xn_link_set(XN_LAB_FAR, false), 0);
	assert_true(xd_said(&d, "link down", XD_SOON_MS));
	assert_int_equal(xn_link_set(XN_LAB_FAR, true), 0);
	assert_int_equal(xn_lab_leave(&lab), 0);
	assert_true(xd_said(&d, "link up", XD_SOON_MS));
	xd_guest_plug(&g, d.sock, -1);
	assert_true(xd_guest_send(&g, 60));
	xd_wait_stat(&d, "counters.tx_packets", 61);
	xd_guest_fini(&g);
	xd_stop(&d);
	/* Nothing of it is left at the interface: the next may have it. */
	xd_start(&d, &(struct xd_how){ .lab = &lab }, "xdp:" XN_LAB_NEAR, NULL);
	xd_stop(&d);
	xn_lab_destroy(&lab);
	xd_fini(&d);
}

static void without_sockets_in_store_it_says_so_and_lives(void **state)
{
	struct xn_lab lab;
	struct xd_guest g;
	struct xd d;

	assert_int_equal(xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	xd_init(&d);
	xd_start(&d, &(struct xd_how){ .lab = &lab }, "xdp:" XN_LAB_NEAR, XD_ARGS("--spare-sockets", "1"));
	xd_guest_init(&g);
	xd_guest_plug(&g, d.sock, -1);
	assert_true(xd_guest_send(&g, 60));
	xd_wait_stat(&d, "counters.tx_packets", 1);
	xd_guest_unplug(&g);
	xd_wait_stat(&d, "guest.connected", 0);
	if (!XD_SANITIZED) {            /* those may open more */
		assert_int_equal(xd_guest_try(&g, d.sock, -1), -EREMOTEIO);
		assert_true(xd_said(&d, "spare sockets are used up", XD_SOON_MS));
		xd_guest_unplug(&g);
		xd_wait_stat(&d, "guest.connected", 0);
	}
	xd_guest_fini(&g);
	xd_stop(&d);
	xn_lab_destroy(&lab);
	xd_fini(&d);
}

static void an_interface_that_goes_is_told(void **state)
{
	struct xn_lab lab;
	struct xd d;

	assert_int_equal(xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	xd_init(&d);
	xd_start(&d, &(struct xd_how){ .lab = &lab }, "xdp:" XN_LAB_NEAR, XD_ARGS("--spare-sockets", "2"));
	assert_int_equal(xn_lab_enter_near(&lab), 0);
	assert_int_equal(xn_link_delete(XN_LAB_NEAR), 0);
	assert_int_equal(xn_lab_leave(&lab), 0);
	assert_true(xd_said(&d, "the interface is gone", XD_SOON_MS));
	assert_int_equal(xd_stat(&d, "port.link"), 0);
	xd_stop(&d);
	xn_lab_destroy(&lab);
	xd_fini(&d);
}

static void it_starts_with_what_the_unit_gives(void **state)
{
	struct rlimit limit = { 0 };
	struct xn_lab lab;
	struct xd_guest g;
	struct xd d;

	skip_if_sanitized();
	assert_int_equal(xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	xd_init(&d);
	chmod(d.dir, 0777);
	xd_start(&d, &(struct xd_how){ .lab = &lab, .as_unit = true }, "xdp:" XN_LAB_NEAR, NULL);
	is_nobody(&d, 3, false);
	/* The unit also lifts the limit of locked memory, which not every root may. */
	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (limit.rlim_max >= 64u << 20) {
		xd_guest_init(&g);
		xd_guest_feed(&g, 64);
		xd_guest_plug(&g, d.sock, -1);
		assert_true(xd_guest_send(&g, 60));
		xd_wait_stat(&d, "counters.tx_packets", 1);
		xd_guest_fini(&g);
	}
	xd_stop(&d);
	assert_false(exists(d.sock));
	assert_false(exists(d.ctl));
	xn_lab_destroy(&lab);
	xd_fini(&d);
}

/* ---- the unit ---- */

/* Status of a shell command; what it said is printed if it failed. */
static int shell(const char *cmd)
{
	static char text[1u << 16];
	FILE *p = popen(cmd, "re");
	size_t n;
	int rc;

	assert_non_null(p);
	n = fread(text, 1, sizeof(text) - 1, p);
	text[n] = '\0';
	rc = pclose(p);
	if (rc)
		print_message("%s:\n%s", cmd, text);
	return rc;
}

static void the_unit_is_understood_and_exposes_little(void **state)
{
	char cmd[4800];
	struct xd d;

	xd_init(&d);
	snprintf(cmd, sizeof(cmd), "sed 's|@SBINDIR@/xsknetd|%s|' dist/xsknetd@.service > %s/xsknetd@vm.service",
		 xd_program(), d.dir);
	assert_int_equal(shell(cmd), 0);
	snprintf(cmd, sizeof(cmd), "systemd-analyze verify --man=no %s/xsknetd@vm.service 2>&1 | "
		 "awk '/xsknetd/ { print; bad = 1 } END { exit bad }'", d.dir);
	assert_int_equal(shell(cmd), 0);
	/* 30: "exposure 3.0" in its scale from 0 to 10. (1.9 for systemd 252; others ask for more.) */
	snprintf(cmd, sizeof(cmd), "systemd-analyze security --no-pager --offline=true --threshold=30 "
		 "%s/xsknetd@vm.service 2>&1", d.dir);
	assert_int_equal(shell(cmd), 0);
	xd_fini(&d);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_options_are_told),
		cmocka_unit_test(questions_are_answered),
		cmocka_unit_test(what_cannot_be_had_is_told_and_leaves_nothing),
		cmocka_unit_test(a_second_instance_fails_and_the_first_goes_on),
		cmocka_unit_test(a_name_left_over_is_replaced),
		cmocka_unit_test(only_our_own_names_are_taken_away),
		cmocka_unit_test(sockets_have_the_mode_and_group_that_were_asked_for),
		cmocka_unit_test(a_guest_talks_to_itself_adaptive),
		cmocka_unit_test(a_guest_talks_to_itself_busy),
		cmocka_unit_test(a_guest_talks_to_itself_sleep),
		cmocka_unit_test(a_second_front_end_is_turned_away),
		cmocka_unit_test(front_ends_come_and_go_and_leave_nothing),
		cmocka_unit_test(a_socket_may_be_given),
		cmocka_unit_test(what_is_given_has_to_be_such_a_socket),
		cmocka_unit_test(it_dials_the_front_end_again_and_again),
		cmocka_unit_test(bad_readers_of_statistics_disturb_nobody),
		cmocka_unit_test(systemd_is_told),
		cmocka_unit_test(front_ends_that_come_and_go_are_told_once_a_second),
		cmocka_unit_test(sigterm_in_traffic_ends_it_in_order),
		cmocka_unit_test(it_is_stopped_and_goes_on),
		cmocka_unit_test(a_connected_silent_guest_costs_no_processor),
		cmocka_unit_test(truncated_memory_ends_the_session_and_nothing_else),
		cmocka_unit_test(every_thread_is_nobody),
		cmocka_unit_test(the_list_of_calls_is_short_and_says_why),
		cmocka_unit_test(what_is_not_on_the_list_kills),
		cmocka_unit_test(no_path_can_be_opened),
		cmocka_unit_test(the_binary_is_hardened),
		cmocka_unit_test(it_serves_an_interface_as_nobody),
		cmocka_unit_test(speed_is_that_of_the_last_carrier),
		cmocka_unit_test(without_sockets_in_store_it_says_so_and_lives),
		cmocka_unit_test(an_interface_that_goes_is_told),
		cmocka_unit_test(it_starts_with_what_the_unit_gives),
		cmocka_unit_test(the_unit_is_understood_and_exposes_little),
	};

	if (!xd_find(argv[0])) {
		fprintf(stderr, "xsknetd is not beside this test: make xsknetd first\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
