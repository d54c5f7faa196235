/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vhost-user protocol on the wire (QEMU docs/interop/vhost-user.rst), little-endian
 * hosts. A message is a header of 12 bytes and `size` bytes of payload, sent over a
 * stream socket of AF_UNIX; file descriptors travel beside its first byte.
 *
 *	front end (VMM)                          back end (we)
 *	request ------------------------------->
 *	         <------------------------------ reply, same number, XN_VU_REPLY set
 *	                                         (requests that have one, or NEED_REPLY)
 *	a second socket, for requests the other way round: SET_BACKEND_REQ_FD
 */
#ifndef XN_VHOST_PROTO_H
#define XN_VHOST_PROTO_H

#include <stdint.h>

#define XN_VU_VERSION       1u          /* low two bits of flags */
#define XN_VU_VERSION_MASK  3u
#define XN_VU_REPLY         (1u << 2)
#define XN_VU_NEED_REPLY    (1u << 3)

#define XN_VU_MAX_FDS       8u          /* of one message: regions of SET_MEM_TABLE */
#define XN_VU_MAX_REGIONS   8u          /* of SET_MEM_TABLE */
#define XN_VU_CONFIG_BYTES  256u        /* longest configuration space */

enum xn_vu_request {
	XN_VU_GET_FEATURES = 1,
	XN_VU_SET_FEATURES = 2,
	XN_VU_SET_OWNER = 3,
	XN_VU_RESET_OWNER = 4,
	XN_VU_SET_MEM_TABLE = 5,
	XN_VU_SET_LOG_BASE = 6,
	XN_VU_SET_LOG_FD = 7,
	XN_VU_SET_VRING_NUM = 8,
	XN_VU_SET_VRING_ADDR = 9,
	XN_VU_SET_VRING_BASE = 10,
	XN_VU_GET_VRING_BASE = 11,
	XN_VU_SET_VRING_KICK = 12,
	XN_VU_SET_VRING_CALL = 13,
	XN_VU_SET_VRING_ERR = 14,
	XN_VU_GET_PROTOCOL_FEATURES = 15,
	XN_VU_SET_PROTOCOL_FEATURES = 16,
	XN_VU_GET_QUEUE_NUM = 17,
	XN_VU_SET_VRING_ENABLE = 18,
	XN_VU_SEND_RARP = 19,
	XN_VU_NET_SET_MTU = 20,
	XN_VU_SET_BACKEND_REQ_FD = 21,
	XN_VU_IOTLB_MSG = 22,
	XN_VU_SET_VRING_ENDIAN = 23,
	XN_VU_GET_CONFIG = 24,
	XN_VU_SET_CONFIG = 25,
	XN_VU_POSTCOPY_ADVISE = 28,
	XN_VU_POSTCOPY_LISTEN = 29,
	XN_VU_POSTCOPY_END = 30,
	XN_VU_GET_INFLIGHT_FD = 31,
	XN_VU_SET_INFLIGHT_FD = 32,
	XN_VU_GPU_SET_SOCKET = 33,
	XN_VU_RESET_DEVICE = 34,
	XN_VU_VRING_KICK = 35,
	XN_VU_GET_MAX_MEM_SLOTS = 36,
	XN_VU_ADD_MEM_REG = 37,
	XN_VU_REM_MEM_REG = 38,
	XN_VU_SET_STATUS = 39,
	XN_VU_GET_STATUS = 40,
	XN_VU_REQUEST_END = 41,
};

/* Requests of the back end, on its own socket. */
enum xn_vu_back_request {
	XN_VU_BACK_IOTLB_MSG = 1,
	XN_VU_BACK_CONFIG_CHANGE_MSG = 2,
	XN_VU_BACK_VRING_HOST_NOTIFIER_MSG = 3,
	XN_VU_BACK_VRING_CALL = 4,
	XN_VU_BACK_VRING_ERR = 5,
};

/* Bits of the features that are vhost's own. */
#define XN_VU_F_LOG_ALL            26u
#define XN_VU_F_PROTOCOL_FEATURES  30u

/* Protocol features. */
enum xn_vu_protocol_feature {
	XN_VU_P_MQ = 0,
	XN_VU_P_LOG_SHMFD = 1,
	XN_VU_P_RARP = 2,
	XN_VU_P_REPLY_ACK = 3,
	XN_VU_P_MTU = 4,
	XN_VU_P_BACKEND_REQ = 5,
	XN_VU_P_CROSS_ENDIAN = 6,
	XN_VU_P_CRYPTO_SESSION = 7,
	XN_VU_P_PAGEFAULT = 8,
	XN_VU_P_CONFIG = 9,
	XN_VU_P_BACKEND_SEND_FD = 10,
	XN_VU_P_HOST_NOTIFIER = 11,
	XN_VU_P_INFLIGHT_SHMFD = 12,
	XN_VU_P_RESET_DEVICE = 13,
	XN_VU_P_INBAND_NOTIFICATIONS = 14,
	XN_VU_P_CONFIGURE_MEM_SLOTS = 15,
	XN_VU_P_STATUS = 16,
};

struct xn_vu_header {
	uint32_t request, flags, size;
};

struct xn_vu_vring_state { uint32_t index, num; };

#define XN_VU_VRING_LOG (1u << 0)
struct xn_vu_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail;     /* user addresses of the front end */
	uint64_t log;                   /* guest address of the used ring, for the dirty log */
};

struct xn_vu_region {
	uint64_t gpa, size;             /* bytes */
	uint64_t user_addr;             /* of the front end */
	uint64_t mmap_offset;           /* of the first byte in the file */
};
struct xn_vu_mem_table {
	uint32_t nregions, padding;
	struct xn_vu_region regions[XN_VU_MAX_REGIONS];
};
struct xn_vu_mem_reg {              /* ADD_MEM_REG, REM_MEM_REG */
	uint64_t padding;
	struct xn_vu_region region;
};

struct xn_vu_log { uint64_t mmap_size, mmap_offset; };

/* SET_VRING_KICK, _CALL, _ERR: a u64 of these. */
#define XN_VU_VRING_INDEX 0xffu
#define XN_VU_VRING_NOFD  (1u << 8)

struct xn_vu_config {
	uint32_t offset, size, flags;
	uint8_t  data[XN_VU_CONFIG_BYTES];
};

struct xn_vu_inflight {
	uint64_t mmap_size, mmap_offset;
	uint16_t num_queues, queue_size;
};

/* Status bits (VIRTIO 1.2, 2.1). */
#define XN_VU_STATUS_NEEDS_RESET 0x40u

union xn_vu_payload {
	uint64_t u64;
	struct xn_vu_vring_state state;
	struct xn_vu_vring_addr  addr;
	struct xn_vu_mem_table   mem;
	struct xn_vu_mem_reg     reg;
	struct xn_vu_log         log;
	struct xn_vu_config      config;
	struct xn_vu_inflight    inflight;
};
_Static_assert(sizeof(struct xn_vu_header) == 12, "as on the wire");
_Static_assert(sizeof(struct xn_vu_vring_addr) == 40, "as on the wire");
_Static_assert(sizeof(struct xn_vu_mem_table) == 8 + 8 * 32, "as on the wire");

#endif
