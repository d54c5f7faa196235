/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs xsknetctl, which is found beside the test: ../../xsknetctl. */
#ifndef XN_TESTS_CTL_RUN_H
#define XN_TESTS_CTL_RUN_H

#include <stddef.h>

#define RUN_ARGS 8u
#define RUN_S    120    /* then a program that was started ends, whatever it does */

/* With argv[0] of the test. */
void run_init(const char *self);

struct run {
	int status;             /* -1: killed, or longer than 20 s */
	char out[65536];        /* what it wrote, to stdout and stderr */
};

/* Words up to NULL, without the program's name. In a child: becomes the program. */
void run_exec(const char *const *words, int out, int err) __attribute__((noreturn));
/* The same with another program that lies beside xsknetctl. */
void run_exec_other(const char *name, const char *const *words, int out, int err)
	__attribute__((noreturn));
/* Runs it in a child, to its end. */
void run(struct run *r, const char *const *words);
#define RUN(r, ...) run((r), (const char *const[]){ __VA_ARGS__, NULL })

/* The line that begins like this, without its newline, in buf; "" if there is none. */
const char *run_line(const struct run *r, const char *begins, char *buf, size_t bytes);

#endif
