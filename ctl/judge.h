/* SPDX-License-Identifier: BSD-2-Clause */
/* From facts to verdicts, one for each thing that was looked at. */
#ifndef XN_CTL_JUDGE_H
#define XN_CTL_JUDGE_H

#include "ctl/facts.h"

enum xn_level { XN_LEVEL_OK, XN_LEVEL_WARN, XN_LEVEL_BAD };

struct xn_verdict {
	enum xn_level level;
	const char *subject;      /* static */
	char found[320];
	char mend[200];           /* "": nothing to do */
};
#define XN_VERDICTS_MAX 20u

/* How many it filled in. */
unsigned xn_judge(const struct xn_facts *f, struct xn_verdict out[XN_VERDICTS_MAX]);
/* There is no such interface: why it could not be looked at. */
void xn_judge_missing(struct xn_verdict *v, const char *ifname, const char *why);

const char *xn_level_word(enum xn_level level);

#endif
