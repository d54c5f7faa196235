/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every number that a queue pair counts, in one list, with its unit and meaning.
 *
 * Two rules stand behind the list. Fallback is never silent (I8): each reason
 * for which a buffer is not lent has a line. Nothing disappears (I3): each way
 * in which a packet or a chain ends has a line. So for every queue pair
 *
 *   frames that reached the port = rx_packets + every rx_drop_* line
 *     (with RSS: of all pairs together; what a pair hands over another one gets or drops)
 *   chains taken from the tx ring = tx_packets + every tx_drop_* line + faults
 *   chains taken from either ring = heads given back + heads still lent
 *
 * Guest faults are lines of the same table, made from base/faults.h.
 */
#ifndef XN_BASE_COUNTERS_H
#define XN_BASE_COUNTERS_H

#include <stdint.h>
#include "base/faults.h"

/* X(name, unit, meaning) */
#define XN_COUNTERS(X) \
X(rx_packets,           "packets", "frames given to the guest") \
X(rx_bytes,             "bytes",   "bytes of those frames, without virtio header") \
X(rx_lent,              "packets", "frames that the kernel wrote straight into guest memory") \
X(rx_bounced,           "packets", "frames copied once in user space, from a bounce frame into guest memory") \
X(rx_buf_lent,          "buffers", "receive buffers lent to the kernel") \
X(rx_bounce_short,      "buffers", "not lent: fewer contiguous bytes behind the header than may be written") \
X(rx_bounce_window,     "buffers", "not lent: outside of the registered window of guest memory") \
X(rx_bounce_page,       "buffers", "not lent: the chunk crosses into a page that does not follow for the device (zero-copy)") \
X(rx_bounce_probe,      "buffers", "not lent yet: the driver has to prove itself first, on bounce frames (zero-copy)") \
X(rx_bounce_sentinel,   "buffers", "not lent: one at least is always bounced, in case that lent ones are lost (zero-copy)") \
X(rx_bounce_kept,       "buffers", "not lent: for a frame that comes in one of those that this driver always has to have (zero-copy)") \
X(rx_vanished,          "buffers", "lent to the driver, and never seen again: the queue is restarted with less lent (zero-copy)") \
X(rx_bounce_pieces,     "buffers", "not lent: frames come in pieces (MTU above 3822), and the guest takes each in one buffer, or all in order") \
X(rx_bounce_order,      "buffers", "not lent: the guest has buffers back in order (IN_ORDER), and an earlier one could not be lent") \
X(rx_bounce_few,        "buffers", "not lent: too few for the pieces of the longest frame (MTU above 3822), so that bounce frames complete them") \
X(rx_bounce_reserve,    "buffers", "not lent: held back for frames that come on other pairs' host queues (RSS)") \
X(rx_bounce_forced,     "buffers", "not lent: bounce mode, or nothing may be lent to this driver (zero-copy)") \
X(rx_moved,             "packets", "of the frames in lent buffers, moved by user space: they began behind a timestamp (zero-copy)") \
X(rx_pieces,            "pieces",  "of frames longer than a chunk (MTU above 3822) that were given to the guest") \
X(rx_shifted,           "packets", "such frames, all of whose pieces the kernel wrote into guest memory: moved together there") \
X(rss_missteered,       "packets", "of those given to the guest, came on another pair's host queue, and were copied once (RSS)") \
X(rss_handed_over,      "packets", "came on this pair's host queue for another pair, which got them: not of rx_packets here (RSS)") \
X(rx_merged,            "packets", "frames spread over more than one receive buffer") \
X(rx_coalesced,         "packets", "of the frames given to the guest, segments of TCP and datagrams that were put together with others") \
X(rx_coalesced_packets, "packets", "what the guest got them as") \
X(rx_csum_handed,       "packets", "their checksums, which the sender left unfinished, were handed on as such (NEEDS_CSUM)") \
X(rx_csum_finished,     "packets", "the same, finished here: the guest does not take them so, or not from such frames") \
X(rx_drop_no_buffer,    "packets", "dropped: bounced frame, and no guest buffer to put it in") \
X(rx_drop_too_small,    "packets", "dropped: longer than the guest's buffer, and buffers may not be merged; in order (IN_ORDER) the buffer comes back empty (heads_dropped)") \
X(rx_drop_too_long,     "packets", "dropped: longer than the interface's longest frame, or a piece of such a frame (zero-copy)") \
X(rx_drop_missteered,   "packets", "dropped: came on another pair's host queue, and no buffer was left to copy it to (RSS)") \
X(rx_drop_cross_full,   "packets", "dropped: came on this pair's host queue for another pair, for which too many waited (RSS)") \
X(rx_drop_stopped,      "packets", "dropped: arrived while the queue was being stopped") \
X(rx_drop_disabled,     "packets", "dropped: the queue pair was disabled by driver or VMM (loopback; else steer_no_socket)") \
X(rx_drop_error,        "packets", "dropped: the port could not receive into the buffer (loopback: no buffer posted)") \
X(tx_packets,           "packets", "guest packets given to the port") \
X(tx_bytes,             "bytes",   "bytes of those packets, without virtio header") \
X(tx_lent,              "packets", "sent as one piece straight from guest memory") \
X(tx_chained,           "packets", "sent as several descriptors straight from guest memory") \
X(tx_mixed,             "packets", "sent as several descriptors, some of them copies (headers, short pieces), the others straight from guest memory") \
X(tx_gathered,          "packets", "copied together out of their pieces, or with their checksum, or into segments") \
X(tx_bounced,           "packets", "single piece copied into an arena chunk before sending") \
X(tx_copied_bytes,      "bytes",   "of packets that were sent, copied by user space before") \
X(tx_descs,             "descriptors", "that packets took which did not leave as one piece straight from guest memory") \
X(tx_bounce_window,     "packets", "copied because a piece lies outside of the registered window") \
X(tx_bounce_page,       "packets", "copied because a piece crosses into a page that does not follow for the device (zero-copy)") \
X(tx_bounce_probe,      "packets", "copied because the driver has to prove itself first (zero-copy)") \
X(tx_vanished,          "packets", "of those sent, given up: the driver never said that it was done with them (zero-copy)") \
X(tx_bounce_forced,     "packets", "copied because bounce mode was asked for, or nothing may be lent to this driver (zero-copy)") \
X(tx_csum,              "packets", "sent with a checksum that the guest asked for, segments counted as one") \
X(tx_segmented,         "packets", "cut into segments, as the guest asked for") \
X(tx_segments,          "packets", "frames that were made of these") \
X(tx_whole,             "packets", "to be cut into segments, and sent as one long frame instead (gso=whole)") \
X(tx_drop_runt,         "packets", "dropped: shorter than an Ethernet header") \
X(tx_drop_too_long,     "packets", "dropped: longer than the interface's longest frame") \
X(tx_drop_bad_header,   "packets", "dropped: virtio-net header asks for what cannot be (VIRTIO 1.2, 5.1.6.2): tx_bad_hdr_*") \
X(tx_drop_segments,     "packets", "dropped: segments of which more has to be copied than the engine ever has frames for (xn_mem_opts.bounce_frames)") \
X(tx_drop_frames,       "packets", "dropped: more of it has to be copied than the engine ever has frames for (xn_mem_opts.bounce_frames)") \
X(tx_drop_short_chain,  "packets", "dropped: chain not longer than the virtio-net header") \
X(tx_drop_disabled,     "packets", "dropped: the queue pair was disabled by driver or VMM") \
X(tx_drop_down,         "packets", "dropped: the port is down or gone") \
X(tx_kicks,             "calls",   "system calls that told the kernel of packets to send") \
X(tx_kick_again,        "calls",   "of these, how many the kernel answered with 'call again' (EAGAIN)") \
X(tx_kick_stuck,        "calls",   "of these, how many took nothing, though the kernel said that all was well") \
X(tx_kick_errors,       "calls",   "of these, how many the kernel answered with an error that has no line of its own") \
X(tx_kick_drops,        "packets", "lost on the way out: the kernel said that a packet was dropped (EBUSY)") \
X(rx_out_of_order,      "buffers", "came back from the kernel in another order than lent (several queues: or before one that is on the other socket)") \
X(irqs_sent,            "events",  "used-buffer notifications sent to the guest") \
X(irqs_suppressed,      "events",  "batches for which the guest wanted no notification") \
X(irqs_held,            "events",  "batches whose notification was put off, as the driver asked for (NOTF_COAL)") \
X(heads_dropped,        "chains",  "chains given back unused with length 0 after a fault or a drop") \
X(inflight_resumed,     "chains",  "chains that a back end which died had taken, taken again at a start") \
X(inflight_ignored,     "entries", "what inflight memory said at a start, and cannot be: ignored") \
X(dirty_log_missed,     "pages",   "pages written while logging, beyond the end of the dirty page log: not marked") \
X(queue_restarts,       "events",  "stopped and started again by itself: the driver did not do what it should (zero-copy)") \
X(ctrl_commands,        "chains",  "commands of the control queue that were answered") \
X(ctrl_errors,          "chains",  "of these, how many were answered with VIRTIO_NET_ERR") \
X(rss_configs,          "commands", "RSS configurations of the driver that were put in force") \
X(rss_port,             "commands", "RSS configurations refused: the port could not do it") \
X(rss_short,            "commands", "RSS configurations refused: the command ends before its last field") \
X(rss_long,             "commands", "RSS configurations refused: the command goes on behind its last field") \
X(rss_types,            "commands", "RSS configurations refused: hash types that the device does not offer") \
X(rss_mask,             "commands", "RSS configurations refused: the number of table entries is not a power of two") \
X(rss_entries,          "commands", "RSS configurations refused: more table entries than the device offers") \
X(rss_unclassified,     "commands", "RSS configurations refused: frames without a hash go to a queue pair that there is not") \
X(rss_queue,            "commands", "RSS configurations refused: a table entry is a queue pair that there is not") \
X(rss_max_tx,           "commands", "RSS configurations refused: no transmit queue, or more than there are queue pairs") \
X(rss_key,              "commands", "RSS configurations refused: key shorter than 40 bytes, or longer than the device offers")

enum xn_counter {
#define XN_X(name, unit, text) XN_C_##name,
	XN_COUNTERS(XN_X)
#undef XN_X
	XN_C_FAULTS,   /* first guest fault: XN_C_FAULTS + fault - 1 */
	/* First refused header: XN_C_BAD_HEADERS + fault - 1 */
	XN_C_BAD_HEADERS = XN_C_FAULTS + XN_FAULT_COUNT - 1,
	XN_C_COUNT = XN_C_BAD_HEADERS + XN_OFFLOAD_FAULT_COUNT - 1,
};

struct xn_counters {
	uint64_t v[XN_C_COUNT];
};

/* Names, units and meanings; i < XN_C_COUNT. Never NULL. */
const char *xn_counter_name(unsigned i);
const char *xn_counter_unit(unsigned i);
const char *xn_counter_text(unsigned i);

#endif
