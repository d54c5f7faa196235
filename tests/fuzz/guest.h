/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest whose rings, descriptors and buffers are whatever the fuzzer says, on a device
 * with the AF_XDP port over the fake kernel (tests/fake/kernel.h).
 *
 *	RAM  0x0000  rings as the input has them (first 4 KiB)
 *	     0x1000  indirect tables, headers, payload: input, then a pattern
 *	     end     FUZZ_RAM
 *
 * What must hold, whatever the input: nobody but the ring's own device side writes
 * outside of used rings and buffers that are device-writable; each head comes back at most as
 * often as it was offered; a stop gets everything back; no sanitizer speaks.
 */
#ifndef XN_TESTS_FUZZ_GUEST_H
#define XN_TESTS_FUZZ_GUEST_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_RAM 0x10000u

enum fuzz_side { FUZZ_RX, FUZZ_TX, FUZZ_CTRL };

/* Plays one input: the side's ring is hostile, the others are missing. With FUZZ_INFLIGHT
 * its inflight memory (xn_vring.inflight) is the front of the input, too. */
#define FUZZ_INFLIGHT 0x100
/* Its ring is a packed one, of any size up to 64. */
#define FUZZ_PACKED   0x200
void fuzz_guest(const uint8_t *data, size_t bytes, unsigned what);

#endif
