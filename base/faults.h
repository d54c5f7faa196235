/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every way in which a guest's driver can be wrong on a virtqueue.
 *
 * CHAIN: the damage is confined to one chain and its head is known. The head is
 * given back once with length 0, the queue goes on. (head_busy: not for this entry;
 * the head is given back once, by the chain in flight.)
 * QUEUE: the ring itself is wrong, or the head is not known. Only this queue
 * stops; it wants a reset from the driver (DEVICE_NEEDS_RESET).
 *
 * Section numbers are those of VIRTIO 1.2.
 */
#ifndef XN_BASE_FAULTS_H
#define XN_BASE_FAULTS_H

#include <stdbool.h>

/* X(name, CHAIN or QUEUE, section, meaning) */
#define XN_FAULTS(X) \
X(avail_jump,        QUEUE, "2.7.6",     "available index moved by more than the queue size") \
X(head_range,        QUEUE, "2.7.6",     "available ring names a descriptor beyond the table") \
X(head_busy,         CHAIN, "2.7.13",    "descriptor made available again before it was used") \
X(next_range,        CHAIN, "2.7.5",     "next points beyond the descriptor table") \
X(chain_loop,        CHAIN, "2.7.5.2",   "chain has more descriptors than the queue: a loop") \
X(chain_bytes,       CHAIN, "2.7.5.2",   "chain is longer than 2^32 - 1 bytes") \
X(chain_pieces,      CHAIN, "2.7.5.2",   "chain has more pieces than can be kept") \
X(chain_empty,       CHAIN, "2.7.4",     "chain has no byte that the device can use") \
X(addr_unmapped,     CHAIN, "2.7.5",     "buffer is not wholly inside guest memory") \
X(addr_wrap,         CHAIN, "2.7.5",     "buffer address and length wrap around") \
X(indirect_off,      CHAIN, "2.7.5.3.1", "indirect descriptor without VIRTIO_F_INDIRECT_DESC") \
X(indirect_next,     CHAIN, "2.7.5.3.1", "descriptor both indirect and chained") \
X(indirect_nested,   CHAIN, "2.7.5.3.1", "indirect descriptor inside an indirect table") \
X(indirect_size,     CHAIN, "2.7.5.3.1", "indirect table empty, not a multiple of 16 bytes, or longer than the queue") \
X(indirect_range,    CHAIN, "2.7.5.3",   "next points beyond the indirect table") \
X(indirect_unmapped, CHAIN, "2.7.5.3",   "indirect table is not wholly inside guest memory") \
X(readable,          CHAIN, "5.1.6.3",   "device-readable descriptor in a receive buffer") \
X(writable,          CHAIN, "5.1.6.2",   "device-writable descriptor in a transmit packet") \
X(rx_header,         CHAIN, "5.1.6.3.1", "receive buffer too short for the virtio-net header") \
X(order,             CHAIN, "2.7.4.2",   "device-readable descriptor behind a device-writable one") \
X(ctrl_no_ack,       CHAIN, "5.1.6.5",   "control command without a byte for the answer")

/*
 * Why a packet's virtio-net header is refused (virtio/offload.h): the packet is dropped, its
 * head given back once with length 0. X(name, section, meaning)
 */
#define XN_OFFLOAD_FAULTS(X) \
X(csum_feature,  "5.1.6.2.1", "checksum asked for, which was not negotiated") \
X(csum_range,    "5.1.6.2.1", "checksum field is not inside the packet") \
X(gso_feature,   "5.1.6.2.1", "segmentation asked for, which was not negotiated") \
X(gso_type,      "5.1.6",     "segmentation of an unknown kind") \
X(gso_csum,      "5.1.6.2.1", "segmentation without checksum, or with the field of another protocol") \
X(gso_headers,   "5.1.6.2.1", "headers are not those of the kind of segmentation, not whole, or longer than 256 bytes") \
X(gso_fragment,  "5.1.6.2.1", "fragment of an IP packet cannot be segmented") \
X(gso_size,      "5.1.6.2.1", "segments are empty or shorter than any TCP makes") \
X(gso_segments,  "5.1.6.2.1", "more segments than one packet may have") \
X(gso_too_long,  "5.1.6.2.1", "packet to be segmented is longer than IP allows, or its segments than the port does")

enum xn_offload_fault {
	XN_OFFLOAD_OK,
#define XN_X(name, section, text) XN_OFFLOAD_##name,
	XN_OFFLOAD_FAULTS(XN_X)
#undef XN_X
	XN_OFFLOAD_FAULT_COUNT,
};

/* "tx_bad_hdr_csum_range" and so on; f < XN_OFFLOAD_FAULT_COUNT. Never NULL. */
const char *xn_offload_fault_name(enum xn_offload_fault f);
const char *xn_offload_fault_text(enum xn_offload_fault f);

enum xn_fault {
	XN_FAULT_NONE,
#define XN_X(name, scope, section, text) XN_FAULT_##name,
	XN_FAULTS(XN_X)
#undef XN_X
	XN_FAULT_COUNT,
};

/* f < XN_FAULT_COUNT. Never NULL. */
const char *xn_fault_name(enum xn_fault f);
const char *xn_fault_section(enum xn_fault f);
const char *xn_fault_text(enum xn_fault f);

/* Does this fault stop the queue (true) or only end one chain (false)? */
bool xn_fault_stops_queue(enum xn_fault f);

#endif
