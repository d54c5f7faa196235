/* SPDX-License-Identifier: BSD-2-Clause */
/* cmocka, with what it wants to have included before. */
#ifndef XN_TESTS_CMOCKA_H
#define XN_TESTS_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#endif
