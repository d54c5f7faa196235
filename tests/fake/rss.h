/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RSS once more: slow, obvious, and written from the specifications without a look at rss/.
 * And frames by the hundred thousand to compare the two on.
 */
#ifndef XN_TESTS_FAKE_RSS_H
#define XN_TESTS_FAKE_RSS_H

#include "rss/config.h"

#define RSS_FRAME_MAX 400u   /* bytes of a random frame, at most */

/* The definition: for each bit of the input that is set, a window of the key. */
uint32_t rss_model_toeplitz(const uint8_t *key, const uint8_t *input, unsigned bytes);

/* VIRTIO_NET_HASH_REPORT_* and hash of a frame; 0 and 0: it has none. */
unsigned rss_model_hash(const struct xn_rss_config *cfg, const uint8_t *frame, unsigned bytes,
			uint32_t *hash);
/* The guest queue it goes to. */
unsigned rss_model_queue(const struct xn_rss_config *cfg, const uint8_t *frame, unsigned bytes);

/* splitmix64: the same numbers on every machine. */
uint64_t rss_random(uint64_t *state);
unsigned rss_below(uint64_t *state, unsigned n);
/* 40 bytes of key, any hash types, a table of any length with queues below `pairs`. */
void rss_random_config(uint64_t *state, struct xn_rss_config *cfg, unsigned pairs);
/*
 * A frame that RSS has to think about: VLAN tags, IPv4 options, fragments, IPv6 extension
 * headers with home addresses and routing headers; wrong lengths, cut off anywhere, bytes
 * that are something else. Its length.
 */
unsigned rss_random_frame(uint64_t *state, uint8_t frame[RSS_FRAME_MAX]);

/* A frame without tricks of `bytes` bytes: class is one of rss/flow.h up to UDPV6, or NONE
 * for an ARP request; addresses and ports come from `flow`. */
void rss_plain_frame(uint8_t *frame, unsigned bytes, unsigned class, unsigned vlans, uint64_t flow);
/* Makes such a frame the answer to itself: addresses and ports change places. */
void rss_turn_round(uint8_t *frame, unsigned class, unsigned vlans);

#endif
