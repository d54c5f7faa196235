/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One AF_XDP socket on one (interface, queue), with the guest's memory as UMEM.
 *
 *	        user produces              kernel produces
 *	rx      fill: free addresses  -->  rx: addresses with frames
 *	tx      tx: descriptors       -->  comp: addresses that were sent
 *
 * Set-up is our own (libxdp 1.3 knows neither unaligned chunks of any offset nor
 * the newer flags); the rings then are libxdp's structs, driven by the accessors
 * of xdp/xsk.h. They are plain memory: tests play the kernel on them.
 *
 * Where a frame lands (Linux net/xdp/xsk_buff_pool.c, unaligned mode):
 *
 *	fill_addr           + headroom   + 256         fill_addr + chunk_bytes
 *	|--- not touched ---|- XDP room -|---- frame_bytes ----|
 *
 * with headroom = chunk_bytes - 256 - frame_bytes: the chunk ends exactly where the
 * longest allowed frame ends, so the kernel cannot write behind it. To land a
 * frame at offset P: fill_addr = P - (chunk_bytes - frame_bytes). In copy mode chunks
 * are 4096 bytes, which costs the kernel the least memory; in zero-copy mode a smaller
 * one crosses fewer borders of pages (xsk/zc.h).
 *
 * With `sg` a frame longer than frame_bytes fills as many chunks as it needs, in the order of
 * the fill ring, each as above; all its RX descriptors but the last have XDP_PKT_CONTD. They
 * are published together, or, if the fill ring has not enough, the frame is dropped and takes
 * none (Linux 6.6 and later, __xsk_rcv). Never with zero-copy mode: there the kernel keeps the
 * list of pieces (skb_shared_info) at the end of the first chunk, which is guest memory.
 *
 * The rest of the contract: the RX ring is larger than the fill ring, strictly,
 * so that in copy mode no fill entry can stick in the kernel's free list (then
 * frames come back in the order of the fill ring); an invalid fill entry or TX
 * descriptor is never posted, since the kernel swallows it.
 */
#ifndef XN_XSK_XSK_H
#define XN_XSK_XSK_H

#include <linux/if_xdp.h>
#include <xdp/xsk.h>

#include "umem/mem.h"
#include "xsk/compat.h"

#define XN_XDP_HEADROOM    256u   /* XDP_PACKET_HEADROOM, Linux include/uapi/linux/bpf.h */
#define XN_FRAME_BYTES_MAX (XN_CHUNK_BYTES - XN_XDP_HEADROOM)
/* Since Linux 7.0 (and stable kernels of April 2026) headroom <= chunk - 256 - 320 - 128. */
#define XN_FRAME_BYTES_MIN 448u
#define XN_TX_PIECES_MAX   18u    /* MAX_SKB_FRAGS + 1: descriptors of one packet in copy mode */

enum xn_xsk_mode { XN_XSK_AUTO, XN_XSK_ZERO_COPY, XN_XSK_COPY };

struct xn_xsk_cfg {
	unsigned ifindex, queue;
	const char *ifname;             /* for messages */
	const struct xn_mem *mem;
	uint32_t chunk_bytes;           /* 2048 or 4096; 0: XN_CHUNK_BYTES */
	uint32_t frame_bytes;           /* XN_FRAME_BYTES_MIN..chunk - XN_XDP_HEADROOM */
	uint32_t fill_size, rx_size, tx_size, comp_size;  /* powers of two; rx_size > fill_size,
					 * but for XN_XSK_ZERO_COPY */
	enum xn_xsk_mode mode;
	bool sg;                        /* longer frames come in pieces; never in zero-copy mode */
	uint32_t tx_budget;             /* packets a sendto may send; 0: the kernel's default */
	int share_fd;                   /* bound socket of the same mem, or -1: register mem */
	int spare_fd;                   /* of xn_xsk_socket, or -1: open one */
	uint32_t spares_spent;          /* how many have been used up, for the message */
	uint32_t busy_ms;               /* how long to retry on EBUSY; 0: 2000 */
};

struct xn_xsk {
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons rx, comp;
	/* One system call to send; 0 or -errno. sendto() on the socket; in tests the
	 * fake kernel. */
	int (*send)(struct xn_xsk *x);
	/* The kernel's counters for this socket, or zeros: getsockopt, or the fake kernel. */
	void (*statistics)(const struct xn_xsk *x, struct xdp_statistics *st);
	int fd;                          /* -1: none */
	uint32_t land;                   /* fill_addr = where the frame lands - land */
	uint32_t chunk_bytes, frame_bytes;
	bool zero_copy;                  /* what the kernel says (XDP_OPTIONS), not what we asked */
	struct { void *p; size_t bytes; } maps[4];   /* of the rings, for close */
};

/*
 * A socket for xn_xsk_open to use later, with all that needs privileges done: it is
 * open (CAP_NET_RAW), and SO_SNDBUF is raised by force (CAP_NET_ADMIN). It belongs to
 * the network namespace of the thread that calls. -1 in *fd on failure.
 * -EPERM, -EOPNOTSUPP no AF_XDP in this kernel, -EMFILE, ... with a message each
 */
int xn_xsk_socket(int *fd, const char *ifname);

/*
 * Takes spare_fd, which is x's from here on, also on failure, or opens a socket (needs
 * CAP_NET_RAW); registers (or shares), makes the rings, binds. On failure x is as after
 * xn_xsk_close.
 * -EBUSY    queue taken for longer than busy_ms
 * -ENOBUFS  memory lock limit (message: bytes)
 * -EFAULT   memory cannot be pinned
 * -EOPNOTSUPP zero-copy asked for and not to be had
 * -ENODEV, -ENETDOWN, -EINVAL, -EPERM, -ENOMEM   with a message each
 */
int xn_xsk_open(struct xn_xsk *x, const struct xn_xsk_cfg *cfg);

/*
 * A further socket on the queue of `of`, which is bound: it has an RX ring of cfg->rx_size
 * entries and nothing else. Frames that the XDP program gives to it lie in buffers that
 * `of` has posted, and go back there. Of cfg it takes ifindex, queue, ifname, rx_size (again
 * more than fill_size), spare_fd and spares_spent. The queue is free when both are closed.
 * Errors as xn_xsk_open.
 */
int xn_xsk_open_rx(struct xn_xsk *x, const struct xn_xsk *of, const struct xn_xsk_cfg *cfg);

/*
 * Unmaps all rings (a mapped ring keeps the socket alive) and closes. In copy
 * mode nothing is written to the UMEM after it returns (Linux xsk_release calls
 * synchronize_net). Accepts a half-made or zeroed-with-fd--1 object.
 */
void xn_xsk_close(struct xn_xsk *x);

/* x->statistics of a real socket. */
void xn_xsk_statistics(const struct xn_xsk *x, struct xdp_statistics *st);

/* SO_ERROR of the socket: 0 or -errno (ENETDOWN after the interface vanished). */
int xn_xsk_error(const struct xn_xsk *x);

/*
 * Waits until no kernel section that began before the call is still running
 * (membarrier GLOBAL = synchronize_rcu): afterwards nobody sends to a socket that
 * was taken out of the XSKMAP before. 0, or -errno where the kernel cannot.
 */
int xn_xsk_barrier(void);

/* ---- capability probes, each one function; none leaves anything behind ---- */
bool xn_probe_af_xdp(void);            /* can this process open AF_XDP sockets? */
bool xn_probe_tx_budget(void);         /* XDP_MAX_TX_SKB_BUDGET, Linux 6.17 */
bool xn_probe_membarrier(void);        /* MEMBARRIER_CMD_GLOBAL works here */
bool xn_probe_unaligned(void);         /* unaligned chunks: Linux 5.4 */
/* Does this driver keep UMEM pages until completion even in copy mode? Only
 * drivers that are known not to (default-deny) may return at consumption. */
bool xn_probe_tx_copies(const char *driver);
/* Name of the interface's driver into out (ethtool GDRVINFO); 0 or -errno. */
int xn_probe_driver(const char *ifname, char *out, size_t bytes);
/* Speed in Mbit/s (0: not known) and whether it is full duplex (ethtool GLINKSETTINGS);
 * 0 or -errno. */
int xn_probe_speed(const char *ifname, uint32_t *mbps, bool *full_duplex);

#endif
