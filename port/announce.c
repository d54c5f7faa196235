/* SPDX-License-Identifier: BSD-2-Clause */
/* RARP requests. Theory in port/announce.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "port/announce.h"

#define FRAME_BYTES 60u        /* shortest Ethernet frame, without FCS */
#define RARP_REQUEST 3u        /* "request reverse" */

/* RFC 903, and RFC 826 for the layout, on Ethernet and IPv4. */
struct rarp {
	struct ether_header eth;
	uint16_t htype, ptype;
	uint8_t  hlen, plen;
	uint16_t op;
	uint8_t  sender_mac[6], sender_ip[4], target_mac[6], target_ip[4];
} __attribute__((packed));
_Static_assert(sizeof(struct rarp) == 42, "as on the wire");

int xn_announce_open(int *fd, unsigned ifindex, const char *ifname)
{
	/* Protocol 0: no frame is ever delivered to it (packet(7)). */
	const struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_ifindex = (int)ifindex };
	int err;

	*fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return xn_fail(errno, "%s: cannot open a packet socket: %s%s", ifname, strerror(errno),
			       errno == EPERM ? ": needs CAP_NET_RAW" : "");
	if (!bind(*fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return 0;
	err = xn_fail(errno, "%s: cannot bind a packet socket: %s", ifname, strerror(errno));
	close(*fd);
	*fd = -1;
	return err;
}

int xn_announce_send(int fd, const uint8_t mac[6], const char *ifname)
{
	struct rarp r = {
		.eth.ether_type = htons(ETHERTYPE_REVARP),
		.htype = htons(ARPHRD_ETHER), .ptype = htons(ETHERTYPE_IP),
		.hlen = 6, .plen = 4, .op = htons(RARP_REQUEST),
	};
	uint8_t frame[FRAME_BYTES] = { 0 };
	int err;

	memset(r.eth.ether_dhost, 0xff, 6);
	memcpy(r.eth.ether_shost, mac, 6);
	memcpy(r.sender_mac, mac, 6);
	memcpy(r.target_mac, mac, 6);
	memcpy(frame, &r, sizeof(r));
	if (send(fd, frame, sizeof(frame), MSG_NOSIGNAL) >= 0)
		return 0;
	err = errno;
	if (err == ENXIO || err == ENODEV)     /* the interface was deleted */
		err = ENETDOWN;
	else if (err == EAGAIN)
		err = ENOBUFS;
	return xn_fail(err, "%s: cannot announce %02x:%02x:%02x:%02x:%02x:%02x: %s", ifname, mac[0],
		       mac[1], mac[2], mac[3], mac[4], mac[5], strerror(err));
}
