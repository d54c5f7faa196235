/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xsknet: a virtual machine's virtio-net device on AF_XDP, with the guest's own
 * RAM as UMEM.
 *
 *	guest RAM      xn_mem  ---+
 *	                          +--> xn_dev --> xn_queue (one per queue pair)
 *	network        xn_port ---+
 *
 * A VMM creates the three from the bottom up, tells the device where the
 * guest's rings are, starts it, and drives each queue pair from a thread of
 * its own choice:
 *
 *	xn_mem_create(&mem, regions, n, NULL);
 *	xn_port_open(&port, "xdp:eth0", NULL);
 *	xn_dev_create(&dev, mem, port, &opts);
 *	xn_dev_set_features(dev, acked_by_the_driver);
 *	xn_dev_set_vring(dev, 0, &rx);  xn_dev_set_vring(dev, 1, &tx);
 *	xn_dev_start(dev);
 *	q = xn_dev_queue(dev, 0);
 *	for (;;) {
 *		if (xn_queue_run(q, 64) || !xn_queue_arm(q))
 *			continue;
 *		poll(fds, xn_queue_wait_fds(q, fds, 7), -1);
 *	}
 *
 * Conventions of every call
 *
 *   Result   int: 0, or -errno for a reason of the environment; then
 *            xn_last_error() holds one line that says what to do, which the
 *            log callback has also been given. `unsigned` counts cannot fail.
 *   Objects  a create call that fails leaves *out NULL and nothing behind. A
 *            destroy call takes NULL.
 *   Options  pointers to option structs may be NULL. Set .sz = sizeof(struct);
 *            a member that is 0 means its default. Unknown bytes that are not
 *            0, from a caller newer than the library, are refused with -E2BIG.
 *   fds      stay the caller's. What the library keeps, it duplicates.
 *   Guests   nothing that a guest writes makes a call fail, exit or log. It is
 *            counted under a name (xn_dev_stats) and, where a queue has to stop,
 *            told by the event callback.
 *   Threads  each call says one of: any thread; set-up (one thread at a time
 *            for this object, none of its queues running); queue thread (one
 *            thread at a time for this queue). The library has no threads and
 *            no signal handlers.
 */
#ifndef XSKNET_H
#define XSKNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define XN_VERSION_MAJOR 0
#define XN_VERSION_MINOR 2
#define XN_VERSION_PATCH 0

/* "0.2.0". Any thread. */
const char *xn_version(void);

/* ---- log ------------------------------------------------------------- */

enum xn_log_level { XN_LOG_ERROR, XN_LOG_WARN, XN_LOG_INFO, XN_LOG_DEBUG };

/* `line` has no newline and is valid during the call only. Called from the
 * thread that does the call that speaks; must not call the library. */
typedef void (*xn_log_fn)(void *arg, enum xn_log_level level, const char *line);

/* For the whole process: lines up to `level` go to fn (NULL: none, the
 * default). Once at start, before other threads use the library. */
void xn_set_log(xn_log_fn fn, void *arg, enum xn_log_level level);

/* Why the last call of the calling thread failed. Valid until its next failure. */
const char *xn_last_error(void);

/* ---- guest memory ------------------------------------------------------ */

struct xn_mem;

#define XN_MEM_MAX_REGIONS 32u

/*
 * A run of guest RAM. Either `host` is NULL and (fd, fd_offset) name a memfd,
 * hugetlbfs or tmpfs file that is open for reading and writing; or `host` is
 * where this process has the memory mapped already with MAP_SHARED (a private
 * mapping cannot be seen twice). All numbers are multiples of 4096; on hugetlb,
 * of the huge page's size.
 */
struct xn_region {
	uint64_t gpa;        /* guest physical address of the first byte */
	uint64_t size;       /* bytes */
	int      fd;
	uint64_t fd_offset;  /* bytes */
	void    *host;
};

struct xn_mem_opts {
	size_t   sz;
	/* Only [window_gpa, window_gpa + window_bytes) is registered with the
	 * kernel; buffers elsewhere are bounced. Registration pins the memory and
	 * costs about 4 % of it in kernel memory per queue. 0 bytes: all of it. */
	uint64_t window_gpa, window_bytes;
	/* Frames of 4096 bytes that belong to the engine, for bounced receive
	 * buffers and gathered packets; shared by all queues. Default 8192, less
	 * makes sense for small rings: each queue pair takes as many as it has
	 * descriptors in both rings, up to what is left. */
	uint32_t bounce_frames;
	/* With XN_MEM_NUMA: the node that the engine's frames are allocated on. */
	uint32_t flags;
	uint32_t numa_node;
};
#define XN_MEM_NUMA (1u << 0)

/*
 * Maps the regions side by side into one reservation, with the engine's arenas
 * at both ends, ready to be registered as UMEM. Set-up.
 *
 * 1..32 regions that do not overlap. The VMM keeps its own mappings; after
 * this call the fds may be closed. The memory must stay where it is while the
 * xn_mem lives: a hole punched later (balloon, free page reporting) or a file
 * that is truncated is not seen by the kernel, which goes on with old pages.
 *
 * -EINVAL   no region, too many, overlapping, wrapping, not aligned, empty;
 *           host mapping that is private or has a hole; window outside; no
 *           such NUMA node
 * -EACCES   region's fd or host mapping not for reading and writing, or sealed
 * -EBADF    region's fd is not an fd
 * -ENXIO    region reaches past the end of its file
 * -ENOTSUP  region's file is on a file system that AF_XDP cannot pin
 *           (only memfd, tmpfs and hugetlbfs can; Linux mm/gup.c); hugetlb given
 *           by host (Linux cannot map it twice: give the fd)
 * -ENOMEM   address space, memory or huge pages are short
 * -E2BIG    opts has members or flags that this library does not know
 * The message names the region's index.
 */
int xn_mem_create(struct xn_mem **mem, const struct xn_region *regions, unsigned n,
		  const struct xn_mem_opts *opts);

/* Unmaps. No device may use it any more (asserted). Set-up. */
void xn_mem_destroy(struct xn_mem *mem);

/* Where this process sees guest memory [gpa, gpa + len), in the engine's own
 * mapping; NULL unless all of it lies in one region, on one side of the window's
 * edges (neighbours that could be joined count as one). Any thread. */
void *xn_mem_ptr(const struct xn_mem *mem, uint64_t gpa, uint64_t len);

struct xn_mem_info {
	uint64_t guest_bytes;       /* all regions */
	uint64_t umem_bytes;        /* what is registered with the kernel, and pinned */
	uint64_t arena_bytes;       /* of these, the engine's own */
	uint32_t bounce_frames;     /* engine frames in all */
	uint32_t bounce_frames_free;
	uint32_t regions;
	uint32_t hugetlb_regions;
};
/* Not during a set-up call of a device that uses it. */
void xn_mem_get_info(const struct xn_mem *mem, struct xn_mem_info *info);

/*
 * For a SIGBUS handler (async-signal-safe): a file behind guest memory was truncated
 * by whoever else holds it, and an access to it faulted at `addr` (si_addr). If that
 * lies in this memory, puts zeroed pages of this process's own in place of all guest
 * memory and returns true: the access then goes on, devices find rings that make no
 * sense, and the queues stop (XN_EVENT_QUEUE_BROKEN) or are silent. False: the fault is
 * somebody else's. What the kernel has pinned is not touched by a truncation.
 */
bool xn_mem_poison(struct xn_mem *mem, const void *addr);
/* Has xn_mem_poison replaced it? Any thread. */
bool xn_mem_poisoned(const struct xn_mem *mem);

enum xn_huge { XN_HUGE_NO, XN_HUGE_YES, XN_HUGE_AUTO };

/*
 * An fd of `bytes` of anonymous memory, fit for a region: a memfd, sealed
 * against shrinking and growing; on 2 MiB huge pages with YES, or with AUTO
 * where enough are free. *got_huge (may be NULL) tells. Owned by the caller.
 * Any thread. -EINVAL size 0 or not a multiple of the page; -ENOMEM huge pages
 * short (message says how to reserve them); -EMFILE.
 */
int xn_ram_create(int *fd, uint64_t bytes, enum xn_huge huge, bool *got_huge);

/* ---- ports: ways to a network ------------------------------------------ */

struct xn_port;

struct xn_port_opts {
	size_t  sz;
	/* Pre-set MAC for filter=mac; all 0: the interface's own. */
	uint8_t mac[6];
	/* AF_XDP sockets to open now, with what only the privileged may set, for later
	 * starts: each start of a queue pair takes one for good; in zero-copy mode two (the
	 * second is for its stop), and two where mode=auto tries it in vain; one more where the
	 * port has several queues (for frames that RSS names another of them for). With enough of
	 * them a process may drop all capabilities once its ports are open. When they are used up
	 * a start opens its own (CAP_NET_RAW). Ports without a network ignore it. */
	uint32_t spare_sockets;
};

/*
 * spec   "xdp:IFNAME[,option...]"  an interface, through AF_XDP
 *          queues=N      queue pairs (default 1), on host queues start..start+N-1
 *          start=K       first host queue (default 0)
 *          mode=copy     guest buffers are lent; the kernel copies once, user
 *                        space never. Works with every driver
 *               zero-copy  the driver's zero-copy mode, or fail. Guest buffers
 *                        are lent to it as far as that is safe, and else bounced;
 *                        only with filter=all
 *               auto     zero-copy if most buffers can be lent in it, else copy
 *                        (default); xn_port_get_info tells, after a start
 *               bounce   copy mode, and every packet is copied in user space too
 *          attach=auto|native|generic   the XDP program; auto tries native first
 *          filter=all    the whole interface belongs to the guest (default): a
 *                        frame that the guest's queue cannot take is dropped
 *                 mac    only the guest's MAC, broadcast and multicast; all
 *                        else goes to the host's stack
 *          tx=auto       packets of several pieces, or longer than a chunk, leave as is
 *                        cheapest: lent, or copied together, or both (default)
 *             gather     in as few descriptors as can be, chain  copied as little as can be
 *          gso=cut       what the guest wants cut into segments is cut (default)
 *              whole     it leaves as one long frame, with its checksum, where the MTU
 *                        allows that. Right only where all whom the guest talks to are
 *                        in this machine behind an interface of an MTU as large: the
 *                        segments' length, which guest and peer agreed upon, is lost, and
 *                        whoever forwards such a frame to a shorter link drops it
 *          nic=auto      with several queues: hash key, table and rules of the NIC
 *                        become what the guest's RSS says, and are put back when
 *                        the port is closed, or its process ends (default). A
 *                        process of its own does it (a fork), which keeps
 *                        CAP_NET_ADMIN and nothing else
 *              keep      they stay as they are: what is wrong is copied
 *          flows=follow  with several queues, and no RSS of anybody's: a flow comes
 *                        on the queue pair on which the guest sends it, if need be
 *                        by a copy (default)
 *                arrival on the pair of the host queue on which it comes: no copies
 *          budget=N      packets a system call may send (default 1024; needs
 *                        Linux 6.17, else the kernel's 32)
 *        "null[:queues=N]"      takes what the guest sends, never sends anything
 *        "loopback[:queues=N]"  gives back to the guest what it sends
 *
 * In the calling thread's network namespace; needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF
 * and CAP_PERFMON for xdp; what comes later (start, stop, events, statistics) needs none,
 * but for spare_sockets, and locked memory (RLIMIT_MEMLOCK). Set-up.
 *
 * -EINVAL   spec not understood (message names the word)
 * -ENODEV   no such interface        -EPERM  privileges (message says which)
 * -EBUSY    another XDP program is attached, or queue taken
 * -EOPNOTSUPP  attach asked for cannot be had (mode: xn_dev_start tells)
 * -EMSGSIZE interface's MTU is above 65535, or with mode=zero-copy longer than a chunk takes
 */
int xn_port_open(struct xn_port **port, const char *spec, const struct xn_port_opts *opts);

/* Detaches and frees. No device may use it any more (asserted). Set-up. */
void xn_port_close(struct xn_port *port);

struct xn_port_info {
	const char *kind;       /* "xdp", "null", "loopback" */
	const char *attach;     /* "native", "generic" or "" */
	const char *mode;       /* "zero-copy", "copy", "bounce" or "" */
	uint32_t queues;        /* queue pairs it can serve */
	uint32_t max_frame;     /* longest frame without FCS, bytes */
	uint16_t mtu;           /* of the interface now, but at most as when the port was opened */
	uint8_t  mac[6];
	bool     link_up;
	bool     full_duplex;
	uint32_t speed;         /* Mbit/s when the link came up last; 0: not known */
	uint32_t spare_sockets; /* left */
};
/* The thread that handles the port's events (xn_dev_handle_events). */
void xn_port_get_info(const struct xn_port *port, struct xn_port_info *info);

/* In what mode a port's queues are bound, and why: known when one has been started. */
struct xn_port_mode {
	size_t   sz;
	const char *why;           /* of xn_port_info's mode; "": not known yet */
	const char *verdict;       /* what its driver did wrong in zero-copy mode since; "": nothing */
	uint32_t chunk_bytes, frame_bytes;   /* of an AF_XDP buffer, and of a frame in it */
	uint32_t pages_following;  /* zero-copy mode: of 1000 pages, how many are followed by the next
				    * one for the device, so that a buffer may lie across the border */
	uint32_t min_buf_bytes;    /* shortest receive buffer that can be lent; 0: none is */
};
/*
 * Fills *mode up to its .sz, which the caller has set. Any thread, but not during a set-up
 * call. -EINVAL .sz is too small to be of any version.
 */
int xn_port_get_mode(const struct xn_port *port, struct xn_port_mode *mode);

/* How near a port comes to it that each frame arrives on the queue which the guest's RSS
 * configuration names for it. */
struct xn_port_rss {
	size_t   sz;
	/* "exact"        the interface does it: nothing is copied
	 * "corrected"    frames come on others of the guest's queues too, and are copied over
	 * "unsupported"  they come where they come
	 * ""             one queue, or not known yet */
	const char *status;
	char     why[512];         /* one line: what is not as it should be, and what to do; or "" */
};
/* As xn_port_get_mode. */
int xn_port_get_rss(const struct xn_port *port, struct xn_port_rss *rss);

/*
 * Tells the network where a guest with this MAC is now (after a migration): broadcasts
 * one RARP request (RFC 903) from it. Never blocks. Any one thread at a time.
 * 0, also for ports without a network; -ENETDOWN down or deleted, -ENOBUFS: try again later.
 */
int xn_port_announce(struct xn_port *port, const uint8_t mac[6]);

/* ---- the device -------------------------------------------------------- */

struct xn_dev;
struct xn_queue;

#define XN_MAX_PAIRS 64u

/* What happened that the VMM should know of. */
enum xn_event_kind {
	XN_EVENT_QUEUE_BROKEN,  /* vring `index` stopped by fault `name`: wants a reset */
	XN_EVENT_LINK_DOWN,     /* the interface lost its carrier or was set down */
	XN_EVENT_LINK_UP,
	XN_EVENT_PORT_GONE,     /* the interface was deleted; the device stays, silent */
	XN_EVENT_PAIRS,         /* the driver wants `index` pairs from now on (control queue) */
	/* Pair `index` was stopped, and started again, by xn_queue_run itself, because of `name`:
	 * its wait fds are new ones. */
	XN_EVENT_QUEUE_RESTARTED,
	/* ... and could not be started again: as after an xn_queue_stop, which may still be
	 * called, and says whether its memory is still written. */
	XN_EVENT_QUEUE_STOPPED,
	/* Configuration space says something else than before, and it is not the link
	 * (xn_dev_get_status, and the port's mtu). */
	XN_EVENT_CONFIG,
};
struct xn_event {
	enum xn_event_kind kind;
	unsigned    index;
	const char *name;
};

struct xn_dev_opts {
	size_t sz;
	unsigned pairs;         /* queue pairs, 1..port's queues (default 1) */
	/* Tells the guest that vring `index` has used buffers. NULL: only call_fd. */
	void (*irq)(void *arg, unsigned index);
	/* Called in the queue thread for QUEUE_BROKEN, QUEUE_RESTARTED and QUEUE_STOPPED, in that
	 * of xn_dev_ctrl_run for PAIRS and the control queue's QUEUE_BROKEN, in that of xn_dev_ctrl_start
	 * too for CONFIG, else in that of xn_dev_handle_events. */
	void (*event)(void *arg, const struct xn_event *e);
	void *arg;
	/* The guest's address, which the driver's receive filter begins with; all 0: the port's. */
	uint8_t mac[6];
};

/*
 * Feature bits (VIRTIO 1.2, 5.1.3 and 6) that a device on this port offers: those
 * of the data path (VERSION_1, INDIRECT_DESC, EVENT_IDX, RING_PACKED, IN_ORDER, MRG_RXBUF; CSUM,
 * GUEST_CSUM, HOST_TSO4, HOST_TSO6, HOST_ECN and HOST_USO; GUEST_TSO4, GUEST_TSO6 and GUEST_ECN,
 * with which segments of a TCP connection, GUEST_USO4 and GUEST_USO6, with which datagrams of a UDP flow
 * are given to the guest as one packet, if it has also accepted GUEST_CSUM and MRG_RXBUF, and not IN_ORDER: drivers without MRG_RXBUF would offer 64 KiB
 * for each frame, so a VMM that masks that one masks these), and those
 * that only concern config space and control queue, which are the VMM's to serve and to
 * mask: MAC, MTU, STATUS, SPEED_DUPLEX, CTRL_VQ, MQ, GUEST_ANNOUNCE, and RING_RESET (a ring that is reset is
 * set anew while its pair is stopped, the other goes on at its base); and HASH_REPORT, NOTF_COAL, VQ_NOTF_COAL,
 * CTRL_GUEST_OFFLOADS and, where the port can, RSS, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN and CTRL_MAC_ADDR, for VMMs that
 * leave the control queue to xn_dev_ctrl_run: others have to mask them.
 */
uint64_t xn_port_features(const struct xn_port *port);

/* mem and port are borrowed until xn_dev_destroy; a port carries one device. mem may be
 * NULL if xn_dev_set_mem follows.
 * Set-up. -EINVAL, -EBUSY (port has a device), -E2BIG, -ENOMEM. */
int xn_dev_create(struct xn_dev **dev, struct xn_mem *mem, struct xn_port *port,
		  const struct xn_dev_opts *opts);

/* Stops if needed, gives everything back, frees. Set-up. */
void xn_dev_destroy(struct xn_dev *dev);

/* Other guest memory from now on; the old is not used any more. Vrings stay as they
 * were set, and have to lie in the new memory when they start. Set-up, all queues stopped.
 * -EINVAL not stopped. */
int xn_dev_set_mem(struct xn_dev *dev, struct xn_mem *mem);

/* What the driver accepted. Set-up, stopped. -EINVAL: bits that are not
 * offered, or such as drivers without VIRTIO_F_VERSION_1 cannot know of.
 * Without it the driver is one from before virtio 1.0: in front of a frame it has 10 bytes,
 * where it did not accept MRG_RXBUF; its rings lie as xn_vring_legacy says. The guest has to
 * be little-endian. */
int xn_dev_set_features(struct xn_dev *dev, uint64_t features);

/*
 * The driver has reset the device, or a new one begins: what it has said on the control queue is
 * forgotten. xn_dev_set_features does that, too. Set-up as far as the control queue is
 * concerned, which is stopped (-EINVAL); pairs may run. Or as xn_dev_use_pairs.
 */
int xn_dev_reset(struct xn_dev *dev);

/* ---- which queue pair a frame is for -------------------------------------- */

/*
 * The driver may say (VIRTIO_NET_F_RSS, on the control queue); else the VMM, with xn_dev_set_rss;
 * else a flow comes on the pair on which the guest sends it, as far as the port can have it so.
 * Frames come only on pairs in use, from the first on: as many as the driver has said on the control
 * queue or, where the VMM serves that itself, the VMM (xn_dev_use_pairs); all of them at first. The
 * last one that speaks decides. xn_port_get_rss tells how near a port comes to it.
 *
 * None of these calls runs while another of them, or xn_dev_ctrl_run, does. Queues may be started
 * and running. Now and then they sleep for some 10 ms, and so may xn_dev_ctrl_run and the start of a queue.
 * Beside what they list, -errno of the port that cannot do it; then what was before stays.
 */

/* -EINVAL: none, or more than there are. */
int xn_dev_use_pairs(struct xn_dev *dev, unsigned pairs);

/*
 * For drivers that say nothing themselves.
 * key    "6d:5a:..."  40 to 64 bytes in hex, with or without colons
 *        "symmetric"  both directions of a flow have one hash
 *        "random"
 *        NULL         Microsoft's, which DPDK and many NICs have, too
 * table  "0,1,2,3"    pairs by hash: a power of two of them, up to 512; where one is not in use
 *                     another takes its place
 *        "equal:N"    the first N pairs in turns
 *        NULL         all pairs in use, in turns
 * Both NULL: nobody says. -EINVAL: not understood. -EOPNOTSUPP: a port that does not steer.
 */
int xn_dev_set_rss(struct xn_dev *dev, const char *key, const char *table);

enum xn_rss_from { XN_RSS_FROM_NOBODY, XN_RSS_FROM_VMM, XN_RSS_FROM_DRIVER };

/* What is in force; of NOBODY: what would do for all pairs in use. */
struct xn_dev_rss {
	size_t   sz;
	enum xn_rss_from from;
	uint32_t pairs;            /* in use */
	uint32_t hash_types;       /* VIRTIO_NET_RSS_HASH_TYPE_* */
	uint16_t unclassified;     /* pair of frames without a hash */
	uint16_t max_tx;           /* pairs that the driver sends on */
	uint16_t table_entries;    /* a power of two */
	uint16_t key_bytes;
	uint16_t table[512];       /* pairs */
	uint8_t  key[64];
};
/* Fills *rss; its .sz is set by the caller (-EINVAL: too small to be of any version). */
int xn_dev_get_rss(const struct xn_dev *dev, struct xn_dev_rss *rss);

/* What config space says of it (VIRTIO 1.3, 5.1.4), for VMMs whose driver has a control queue that is
 * served by xn_dev_ctrl_run. */
struct xn_rss_limits_info {
	size_t   sz;
	uint32_t hash_types;       /* supported_hash_types */
	uint16_t table_entries;    /* rss_max_indirection_table_length */
	uint16_t key_bytes;        /* rss_max_key_size */
};
/* Likewise. */
int xn_dev_get_rss_limits(const struct xn_dev *dev, struct xn_rss_limits_info *info);

/* xn_vring.base of a packed ring that is new: position 0 in a lap with wrap counter 1, for
 * available and used. (Of a split one: 0.) */
#define XN_VRING_NEW_PACKED 0x80008000u

/*
 * A split ring (VIRTIO 1.3, 2.7), or a packed one where VIRTIO_F_RING_PACKED was accepted (2.8):
 *
 *	                  split                       packed
 *	size              power of two, 1..32768      any number, 1..32768
 *	desc_gpa          descriptor table, 16        descriptor ring, 16
 *	avail_gpa         available ring, 2           driver event suppression, 4
 *	used_gpa          used ring, 4                device event suppression, 4
 *	base              0..65535: the next          as vhost-user has it, positions 0..size-1 with
 *	                  available index             wrap counters: bits 0..14 the next one to take,
 *	                                              15 its wrap counter; 16..30 the next one to
 *	                                              use, 31 its wrap counter. 16..31 all 0: as the
 *	                                              lower ones
 *
 * The numbers behind the addresses are their alignment in bytes (2.7, 2.8.10.1).
 */
struct xn_vring {
	uint32_t size;           /* descriptors */
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint32_t base;           /* where to go on; 0 or XN_VRING_NEW_PACKED when new */
	int      kick_fd;        /* eventfd the guest signals, or -1: polled only */
	int      call_fd;        /* eventfd to signal to the guest, or -1 */
	/* Where this ring notes which heads are out, in memory that outlives the process
	 * (vhost-user, "Inflight I/O tracking"): xn_inflight_bytes(size) bytes, for a packed ring
	 * xn_inflight_packed_bytes(size), aligned to 64, zeroed when new; borrowed until the ring
	 * is unset. A start finds there what a back end that died had taken, takes those heads again, and goes on behind
	 * them instead of at `base`: each head is used exactly once. NULL: none. */
	void    *inflight;
};

/* Bytes that a ring of this size needs there: a multiple of 64. */
size_t xn_inflight_bytes(uint32_t size);
/* The same for a packed ring (VIRTIO_F_RING_PACKED accepted). */
size_t xn_inflight_packed_bytes(uint32_t size);

/*
 * index 2i is the receive queue of pair i, 2i + 1 its transmit queue (VIRTIO
 * 1.2, 5.1.2); xn_dev_ctrl_index() the control queue. Set-up, with this pair (or the control
 * queue) stopped. The fds are duplicated, and set to O_NONBLOCK (which their other
 * holders share).
 * -EINVAL index, size, alignment, base; a ring not wholly inside one region. All are those of
 * the kind of ring that the features say: they come first.
 */
int xn_dev_set_vring(struct xn_dev *dev, unsigned index, const struct xn_vring *ring);

/*
 * Where a driver from before virtio 1.0 has the three parts of a ring that begins at `gpa` (of
 * virtio-pci: 4096 times the number that it wrote to Queue Address, with align 4096): fills in
 * size and addresses of *ring (VIRTIO 1.3, 2.7.2). Any thread.
 * -EINVAL size or align is no power of two, or gpa no multiple of align.
 */
int xn_vring_legacy(struct xn_vring *ring, uint64_t gpa, uint32_t size, uint32_t align);

/* Forgets a ring, its fds and its inflight memory. Set-up, its pair stopped (-EINVAL). */
int xn_dev_unset_vring(struct xn_dev *dev, unsigned index);

/*
 * From here on guest buffers are lent to the kernel. Set-up; afterwards each
 * queue belongs to its thread. Needs all vrings of all pairs.
 * The thread is in the network namespace in which the port was opened.
 * -EINVAL   vrings missing or already started
 * -EXDEV    another network namespace, and no spare socket left
 * -ENOBUFS  RLIMIT_MEMLOCK too small (message: bytes needed), or no bounce frames left
 * -EOPNOTSUPP  the port's mode cannot be had
 * -EBUSY    host queue taken for longer than 2 s
 * -EFAULT   a region cannot be pinned (message: which)   -ENOMEM, -ENODEV, ...
 */
int xn_dev_start(struct xn_dev *dev);

/*
 * The same for one pair, while others run or not. Rings of it may be missing: nothing is then
 * received, or sent. A pair without any stands by: its thread takes what comes on its host queue
 * for other pairs, as a guest, or its firmware, wants it that uses only some of those that
 * the port has. What comes on the host queue of a pair that is not started is dropped
 * (steer_disabled). Set-up as far as this pair, and set-up calls for other pairs, are concerned.
 * -EINVAL runs already, no features, no memory; else as xn_dev_start.
 */
int xn_queue_start(struct xn_queue *q);

/*
 * After this returns 0, not a byte of guest memory changes any more, whatever
 * arrives. Frames that had arrived are still delivered; receive buffers that
 * were lent are taken back: the ring's base is rewound over them, so that
 * the next start (or another back end) lends them again, and the few that
 * cannot be rewound are returned with length 0. Set-up; no queue may be running.
 * -EINVAL not started.
 * -ETIMEDOUT, or another -errno (zero-copy mode): all is stopped, but a driver has not
 *          given up the memory within 2 s, or whether it has cannot be found out. Buffers that
 *          were lent to it may still be written, so none of them is given back to the
 *          guest: they are lost to it until its driver resets. The guest's memory must not
 *          be used for anything else, nor the guest be run on as if it were reset: call
 *          this again, at any time, until it returns 0. A start does the same first, and
 *          fails while it fails.
 */
int xn_dev_stop(struct xn_dev *dev);
/* The same for one pair. */
int xn_queue_stop(struct xn_queue *q);

/*
 * A pair that runs but is disabled (the driver uses fewer pairs; vhost-user
 * SET_VRING_ENABLE): without rx, frames for it are dropped (steer_no_socket, or
 * rx_drop_disabled) while its buffers stay lent; without tx, packets are taken and dropped
 * (tx_drop_disabled). Both are on when it is created. Set-up as far as this pair is
 * concerned, started or not.
 */
void xn_queue_enable(struct xn_queue *q, bool rx, bool tx);

/* Where to go on (xn_vring.base); valid when stopped. Set-up. */
uint32_t xn_dev_vring_base(const struct xn_dev *dev, unsigned index);

/*
 * Dirty page log for live migration: from now on a bit is set for each 4096-byte page of
 * guest memory (bit gpa / 4096 % 8 of byte gpa / 32768) that the kernel or the engine has
 * written, before the guest can learn of the write, and the used rings' pages with them.
 * `bitmap` may be shared with another process (bits are set atomically); borrowed until
 * it is replaced. NULL: off. What lies beyond `bytes` is not marked, and counted
 * (dirty_log_missed).
 * No thread may be in xn_queue_run or xn_dev_ctrl_run; queues may be started.
 */
void xn_dev_set_dirty_log(struct xn_dev *dev, void *bitmap, uint64_t bytes);

/* Pair i; NULL if there is none. Valid until xn_dev_destroy. Any thread. */
struct xn_queue *xn_dev_queue(struct xn_dev *dev, unsigned pair);

/*
 * The data path: one turn. Takes up to `budget` frames from the port and up to
 * `budget` packets from the guest, with at most one system call to send and one
 * notification a ring. Never blocks, but for a queue in zero-copy mode whose driver loses
 * buffers: that is stopped and started again here, at most twice in its port's life, which
 * takes as long as these calls take (XN_EVENT_QUEUE_RESTARTED). Returns what it moved, in
 * frames, packets and buffers; 0 means that there was nothing to do. Queue thread.
 * budget: 1..256; larger values count as 256.
 */
unsigned xn_queue_run(struct xn_queue *q, unsigned budget);

/*
 * Before sleeping: asks the guest to notify. True: sleep on the fds of
 * xn_queue_wait_fds. False: work came in meanwhile, call xn_queue_run first.
 * The next xn_queue_run that moves something turns notifications off again.
 * Queue thread.
 */
bool xn_queue_arm(struct xn_queue *q);

/* Fills up to n (7 are always enough) of struct pollfd (fd, events); returns how many.
 * After any of them is ready, call xn_queue_run. They stay the same until stop, or
 * XN_EVENT_QUEUE_RESTARTED. With NOTF_COAL or VQ_NOTF_COAL accepted a timer is among them: used
 * buffers of which the guest wants to hear later are told of in the turn that follows it. (That
 * is no work: xn_queue_run may return 0.) Queue thread. */
struct pollfd;
unsigned xn_queue_wait_fds(struct xn_queue *q, struct pollfd *fds, unsigned n);

/* What the pair has moved since it was created: frames given to the guest, packets that
 * it sent. Tells a loop that polls which way the traffic goes. Queue thread. */
void xn_queue_moved(const struct xn_queue *q, uint64_t *rx_frames, uint64_t *tx_pkts);

/* ---- the control queue: for VMMs that do not serve it themselves ---- */

/* Its vring index: 2 * pairs with VIRTIO_NET_F_MQ or _RSS accepted, else 2 (VIRTIO 1.3, 5.1.2). */
unsigned xn_dev_ctrl_index(const struct xn_dev *dev);
/* Start and stop like a pair's. -EINVAL ring not set, or runs already; not started. */
int xn_dev_ctrl_start(struct xn_dev *dev);
int xn_dev_ctrl_stop(struct xn_dev *dev);
/*
 * Answers the commands that wait, at most 64; then asks the guest to notify its kick_fd.
 * Returns how many; call again while it is 64, else when the kick fd is readable. It
 * understands VQ_PAIRS_SET and RSS_CONFIG (XN_EVENT_PAIRS, in front of the answer; the VMM
 * enables pairs), HASH_CONFIG, ANNOUNCE_ACK, GUEST_OFFLOADS_SET, those of notification coalescing, and of
 * receive mode, MAC addresses and VLANs: frames that the driver does not want are dropped
 * (steer_unwanted). All else is answered with VIRTIO_NET_ERR. Some commands take 10 ms and more; after 20 ms it returns 64, however many
 * there were. Any one thread at a time, and none in a start of a pair; queues may be running.
 */
unsigned xn_dev_ctrl_run(struct xn_dev *dev);
/* The address that the driver has now: its own choice (VIRTIO_NET_CTRL_MAC_ADDR_SET) until it is
 * reset, else xn_dev_opts.mac. What configuration space should say. The thread of
 * xn_dev_ctrl_run. */
void xn_dev_get_mac(const struct xn_dev *dev, uint8_t mac[6]);
/* `status` of configuration space (VIRTIO 1.3, 5.1.4): LINK_UP (1); ANNOUNCE (2), if the driver is
 * to announce itself and has not said that it has: one with GUEST_ANNOUNCE whose control queue
 * begins elsewhere than at its beginning has come from elsewhere (a migration). The thread of
 * xn_dev_handle_events; and of xn_dev_ctrl_run, or later. */
uint16_t xn_dev_get_status(const struct xn_dev *dev);
/* The kick fd of the control queue, in its duplicate; -1: not started, or none. */
int xn_dev_ctrl_fd(const struct xn_dev *dev);

/* Readable when something happened to the port; -1 if it never does. Owned by
 * the device. Any thread. */
int xn_dev_event_fd(const struct xn_dev *dev);

/* Handles what made the event fd readable: calls the event callback. Never
 * blocks. Any one thread at a time; queues may be running. */
void xn_dev_handle_events(struct xn_dev *dev);

/* ---- statistics -------------------------------------------------------- */

struct xn_stat {
	const char *name, *unit, *text;   /* static strings */
	uint64_t value;
};
#define XN_ALL_PAIRS (~0u)

/*
 * Counters of one pair, or the sums of all; with XN_ALL_PAIRS also what the
 * kernel and the XDP program counted. Fills up to n, returns how many there
 * are. Values only grow while the device lives. Any thread, but not during a
 * set-up call.
 */
unsigned xn_dev_stats(struct xn_dev *dev, unsigned pair, struct xn_stat *out, unsigned n);

#ifdef __cplusplus
}
#endif
#endif
