/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a VMM links xsknet: guest memory, a port, a device, a thread for its queue.
 *
 *	vmm PORT IP            e.g.  vmm xdp:veth0 10.0.0.2
 *
 * The "guest" (guest.c) is a driver in a few lines that answers ARP and ping, so
 * `ping 10.0.0.2` at the other end of the link shows that it works. Ctrl-C ends it.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xsknet.h>

#include "guest.h"

static volatile sig_atomic_t ended;

static void on_signal(int sig)
{
	(void)sig;
	ended = 1;
}

static void on_log(void *arg, enum xn_log_level level, const char *line)
{
	(void)arg;
	fprintf(stderr, "vmm: %s%s\n", level == XN_LOG_ERROR ? "error: " : "", line);
}

static void on_event(void *arg, const struct xn_event *e)
{
	(void)arg;
	printf("%s: %s\n", e->name,
	       e->kind == XN_EVENT_LINK_UP ? "link up" :
	       e->kind == XN_EVENT_LINK_DOWN ? "link down" :
	       e->kind == XN_EVENT_PORT_GONE ? "interface gone" : "queue stopped");
}

/* What the guest's driver and the VMM agree on in the device's registers. */
static int set_rings(struct xn_dev *dev)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct xn_vring ring = {
			.size = GUEST_RING_SIZE, .desc_gpa = GUEST_DESC(i),
			.avail_gpa = GUEST_AVAIL(i), .used_gpa = GUEST_USED(i),
			/* A real guest has eventfds here (ioeventfd, irqfd); this one shares
			 * our thread, and needs none. */
			.kick_fd = -1, .call_fd = -1,
		};

		if (xn_dev_set_vring(dev, i, &ring))
			return -1;
	}
	return 0;
}

/* The thread of the queue pair; the guest runs in between, having no CPU of its own. */
static void serve(struct xn_dev *dev, struct guest *guest)
{
	struct xn_queue *q = xn_dev_queue(dev, 0);
	struct pollfd fds[8];

	while (!ended) {
		unsigned n, work = xn_queue_run(q, 64);

		work += guest_run(guest);
		if (work || !xn_queue_arm(q))
			continue;
		n = xn_queue_wait_fds(q, fds, 7);
		fds[n++] = (struct pollfd){ .fd = xn_dev_event_fd(dev), .events = POLLIN };
		poll(fds, n, -1);
		xn_dev_handle_events(dev);
	}
}

static void print_stats(struct xn_dev *dev)
{
	struct xn_stat s[256];
	unsigned n = xn_dev_stats(dev, XN_ALL_PAIRS, s, 256);

	for (unsigned i = 0; i < n && i < 256; i++)
		if (s[i].value)
			printf("  %-20s %10llu %s\n", s[i].name, (unsigned long long)s[i].value,
			       s[i].unit);
}

int main(int argc, char **argv)
{
	int ram_fd, status = 1;
	struct xn_region region = { .size = GUEST_RAM_BYTES };
	struct xn_dev_opts opts = { .sz = sizeof(opts), .event = on_event };
	struct xn_port_info info;
	struct xn_mem *mem = NULL;
	struct xn_port *port = NULL;
	struct xn_dev *dev = NULL;
	struct guest guest;
	uint8_t ip[4];
	void *ram;

	if (argc != 3 || inet_pton(AF_INET, argv[2], ip) != 1) {
		fprintf(stderr, "usage: vmm PORT IP    e.g. vmm xdp:veth0 10.0.0.2\n");
		return 2;
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	setvbuf(stdout, NULL, _IOLBF, 0);
	xn_set_log(on_log, NULL, XN_LOG_WARN);

	if (xn_ram_create(&ram_fd, GUEST_RAM_BYTES, XN_HUGE_NO, NULL))
		return 1;
	region.fd = ram_fd;
	ram = mmap(NULL, GUEST_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ram_fd, 0);
	if (ram == MAP_FAILED || xn_mem_create(&mem, &region, 1, NULL) ||
	    xn_port_open(&port, argv[1], NULL) || xn_dev_create(&dev, mem, port, &opts))
		goto out;
	xn_port_get_info(port, &info);
	guest_boot(&guest, ram, info.mac, ip);
	/* Here a VMM would offer xn_port_features() and wait for the driver. */
	if (xn_dev_set_features(dev, 1ull << 32 /* VERSION_1 */) || set_rings(dev) ||
	    xn_dev_start(dev))
		goto out;

	printf("guest %s on %s (%s %s), ready\n", argv[2], argv[1], info.attach, info.mode);
	serve(dev, &guest);
	xn_dev_stop(dev);
	printf("the guest answered %llu requests\n", (unsigned long long)guest.answered);
	print_stats(dev);
	status = 0;
out:
	xn_dev_destroy(dev);
	xn_port_close(port);
	xn_mem_destroy(mem);
	return status;
}
