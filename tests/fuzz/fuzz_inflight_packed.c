/* SPDX-License-Identifier: BSD-2-Clause */
/* Inflight memory of a packed ring as a hostile front end gives it. See tests/fuzz/guest.h. */
#include "tests/fuzz/guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_guest(data, bytes, FUZZ_RX | FUZZ_INFLIGHT | FUZZ_PACKED);
	return 0;
}
