/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs xsknetctl. Contract in run.h. */
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cmocka.h"
#include "tests/ctl/run.h"

static char folder[2048];

void run_init(const char *self)
{
	char copy[2048];

	snprintf(copy, sizeof(copy), "%s", self);
	snprintf(folder, sizeof(folder), "%.2000s/../..", dirname(copy));
}

void run_exec_other(const char *name, const char *const *words, int out, int err)
{
	const char *argv[RUN_ARGS + 2] = { name };
	char program[4096];

	snprintf(program, sizeof(program), "%s/%s", folder, name);
	for (unsigned i = 0; words[i] && i < RUN_ARGS; i++)
		argv[i + 1] = words[i];
	alarm(RUN_S);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	execv(program, (char *const *)argv);
	_exit(127);
}

void run_exec(const char *const *words, int out, int err)
{
	run_exec_other("xsknetctl", words, out, err);
}

void run(struct run *r, const char *const *words)
{
	size_t have = 0;
	int p[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		run_exec(words, p[1], p[1]);
	close(p[1]);
	while ((n = read(p[0], r->out + have, sizeof(r->out) - 1 - have)) > 0)
		have += (size_t)n;
	r->out[have] = 0;
	close(p[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	r->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	assert_int_not_equal(r->status, 127);
}

const char *run_line(const struct run *r, const char *begins, char *buf, size_t bytes)
{
	const char *p = r->out;

	buf[0] = 0;
	while (p && strncmp(p, begins, strlen(begins)) != 0) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	if (p)
		snprintf(buf, bytes, "%.*s", (int)strcspn(p, "\n"), p);
	return buf;
}
