/* SPDX-License-Identifier: BSD-2-Clause */
/* Inflight memory as a hostile front end gives it, under a receive ring. See tests/fuzz/guest.h. */
#include "tests/fuzz/guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_guest(data, bytes, FUZZ_RX | FUZZ_INFLIGHT);
	return 0;
}
