/* SPDX-License-Identifier: BSD-2-Clause */
/* Hostile receive ring, a packed one. See tests/fuzz/guest.h. */
#include "tests/fuzz/guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_guest(data, bytes, FUZZ_RX | FUZZ_PACKED);
	return 0;
}
