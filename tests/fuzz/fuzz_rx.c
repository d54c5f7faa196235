/* SPDX-License-Identifier: BSD-2-Clause */
/* Hostile receive ring: buffers posted, frames landing in them, completion. See tests/fuzz/guest.h. */
#include "tests/fuzz/guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_guest(data, bytes, FUZZ_RX);
	return 0;
}
