/* SPDX-License-Identifier: BSD-2-Clause */
/* Behind the code under test, in front of the driver, whose stores are not counted: life.h. */
#undef calloc
#undef free
#undef xn_store_once8
#undef xn_store_once16
#undef xn_store_once32
#undef xn_store_once64
#undef xn_store_release8
#undef xn_store_release16
#undef xn_store_release32
#undef xn_store_release64
#undef xn_count_add
