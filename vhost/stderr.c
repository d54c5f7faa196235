/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines to stderr. To the journal (sd-daemon(3)) a line says "<4>what"; to a person
 * "xsknetd: warning: what". One write a line, so that lines of threads do not mix.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/types.h"
#include "vhost/stderr.h"

static const struct { const char *journal, *person; } prefix[] = {
	[XN_LOG_ERROR] = { "<3>", "xsknetd: " },
	[XN_LOG_WARN]  = { "<4>", "xsknetd: warning: " },
	[XN_LOG_INFO]  = { "<6>", "xsknetd: " },
	[XN_LOG_DEBUG] = { "<7>", "xsknetd: " },
};

static void put(const char *before, const char *line)
{
	char text[640];     /* the library's lines are shorter */
	size_t n = (size_t)snprintf(text, sizeof(text), "%s%s\n", before, line);

	(void)!write(STDERR_FILENO, text, XN_MIN(n, sizeof(text) - 1));
}

static void to_journal(void *arg, enum xn_log_level level, const char *line)
{
	put(prefix[level].journal, line);
}

static void to_person(void *arg, enum xn_log_level level, const char *line)
{
	put(prefix[level].person, line);
}

/* JOURNAL_STREAM says which file the journal reads (systemd.exec(5)); stderr may have been
 * sent elsewhere since. */
static bool is_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return s && sscanf(s, "%llu:%llu", &dev, &ino) == 2 && !fstat(STDERR_FILENO, &st) &&
	       st.st_dev == dev && st.st_ino == ino;
}

void xn_stderr_open(enum xn_log_level level)
{
	xn_set_log(is_journal() ? to_journal : to_person, NULL, level);
}
