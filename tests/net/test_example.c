/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proves that the example VMM works as its comment says: started on an interface, its
 * guest answers ping from the host's own stack at the other end of the link, with
 * every packet lent; SIGTERM ends it cleanly.
 *
 * The program is found beside this one: ../../examples/vmm.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/lab.h"
#include "tests/cmocka.h"

#define HOST_IP  "10.99.0.1"
#define GUEST_IP "10.99.0.2"
#define PINGS    50
#define ANSWER_MS 20000

static char vmm[4096];

static struct sockaddr_in addr(const char *ip)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

/* Gives the far interface an address in a /24, in the calling thread's namespace. */
static void set_address(void)
{
	struct ifreq req = { 0 };
	struct sockaddr_in ip = addr(HOST_IP), mask = addr("255.255.255.0");
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(req.ifr_name, XN_LAB_FAR);
	memcpy(&req.ifr_addr, &ip, sizeof(ip));
	assert_int_equal(ioctl(fd, SIOCSIFADDR, &req), 0);
	memcpy(&req.ifr_netmask, &mask, sizeof(mask));
	assert_int_equal(ioctl(fd, SIOCSIFNETMASK, &req), 0);
	close(fd);
}

static pid_t start_vmm(const struct xn_lab *lab, int *out)
{
	int p[2];
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(240);
		dup2(p[1], STDOUT_FILENO);
		if (xn_lab_enter_near(lab))
			_exit(100);
		execl(vmm, "vmm", "xdp:" XN_LAB_NEAR, GUEST_IP, (char *)NULL);
		_exit(101);
	}
	close(p[1]);
	*out = p[0];
	return pid;
}

/* Reads what the program prints until it contains `part` or ends. */
static void read_until(int fd, char *buf, size_t size, const char *part)
{
	size_t n = 0;
	ssize_t got;

	buf[0] = 0;
	while (n + 1 < size && (!part || !strstr(buf, part))) {
		got = read(fd, buf + n, size - 1 - n);
		if (got <= 0)
			break;
		n += (size_t)got;
		buf[n] = 0;
	}
	if (part && !strstr(buf, part))
		fail_msg("the example printed \"%s\", not \"%s\"", buf, part);
}

static unsigned checksum(const uint8_t *p, size_t n)
{
	unsigned sum = 0;

	for (size_t i = 0; i < n; i += 2)
		sum += (unsigned)p[i] << 8 | p[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16)) & 0xffff;
}

/* One echo request of `bytes` data bytes; is it answered with the same data? */
static bool ping(int fd, uint16_t seq, size_t bytes)
{
	uint8_t req[8 + 1400] = { ICMP_ECHO, 0, 0, 0, 0x12, 0x34, (uint8_t)(seq >> 8), (uint8_t)seq };
	uint8_t got[2048];
	struct sockaddr_in to = addr(GUEST_IP);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	unsigned sum;

	for (size_t i = 8; i < 8 + bytes; i++)
		req[i] = (uint8_t)(i * 7 + seq);
	sum = checksum(req, 8 + bytes);
	req[2] = (uint8_t)(sum >> 8);
	req[3] = (uint8_t)sum;
	if (sendto(fd, req, 8 + bytes, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		return false;
	while (poll(&p, 1, ANSWER_MS) == 1) {
		ssize_t n = recv(fd, got, sizeof(got), 0);

		if (n == (ssize_t)(20 + 8 + bytes) && got[20] == ICMP_ECHOREPLY &&
		    !memcmp(got + 24, req + 4, 4 + bytes))
			return true;
	}
	return false;
}

static void guest_of_the_example_answers_ping(void **state)
{
	struct xn_lab lab;
	char text[8192];
	int out, fd, status;
	pid_t pid;

	assert_int_equal(xn_lab_create(&lab, &(struct xn_lab_cfg){ .queues = 1 }), 0);
	pid = start_vmm(&lab, &out);
	read_until(out, text, sizeof(text), "ready");

	assert_int_equal(xn_lab_enter_far(&lab), 0);
	set_address();
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	assert_true(fd >= 0);
	for (uint16_t i = 0; i < PINGS; i++)
		if (!ping(fd, i, (size_t)(i * 28) & ~1u))
			fail_msg("no answer to ping %u", i);
	close(fd);
	xn_lab_leave(&lab);

	kill(pid, SIGTERM);
	read_until(out, text, sizeof(text), NULL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_non_null(strstr(text, "rx_lent"));
	assert_non_null(strstr(text, "tx_lent"));
	assert_null(strstr(text, "bounce"));
	close(out);
	xn_lab_destroy(&lab);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_of_the_example_answers_ping),
	};
	char self[2048];

	(void)argc;
	snprintf(self, sizeof(self), "%s", argv[0]);
	snprintf(vmm, sizeof(vmm), "%s/../../examples/vmm", dirname(self));
	return cmocka_run_group_tests_name("example", tests, NULL, NULL);
}
