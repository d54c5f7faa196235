/* SPDX-License-Identifier: BSD-2-Clause */
/* Hostile control queue: commands of any layout and content. See tests/fuzz/guest.h. */
#include "tests/fuzz/guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	fuzz_guest(data, bytes, FUZZ_CTRL);
	return 0;
}
