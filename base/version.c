/* SPDX-License-Identifier: BSD-2-Clause */
/* The version as a string, made from the numbers in xsknet.h. */
#include "xsknet.h"

#define STR_(x) #x
#define STR(x)  STR_(x)

const char *xn_version(void)
{
	return STR(XN_VERSION_MAJOR) "." STR(XN_VERSION_MINOR) "." STR(XN_VERSION_PATCH);
}
