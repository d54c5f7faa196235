/* SPDX-License-Identifier: BSD-2-Clause */
/* From facts to verdicts, one for each thing that was looked at. */
#ifndef XN_CTL_JUDGE_H
#define XN_CTL_JUDGE_H

#include "ctl/facts.h"

enum xn_level { XN_LEVEL_OK, XN_LEVEL_WARN, XN_LEVEL_BAD };

struct xn_verdict {
	enum xn_level level;
	const char *subject;      /* static */
	char found[400];
	char mend[240];           /* "": nothing to do */
};
#define XN_VERDICTS_MAX 32u

/* How many it filled in. */
unsigned xn_judge(const struct xn_facts *f, struct xn_verdict out[XN_VERDICTS_MAX]);
/* There is no such interface: why it could not be looked at. */
void xn_judge_missing(struct xn_verdict *v, const char *ifname, const char *why);

const char *xn_level_word(enum xn_level level);

void xn_say(struct xn_verdict *v, enum xn_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The command that mends it, as it can be typed. */
void xn_mend(struct xn_verdict *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ctl/judge_zc.c: one for each subject about zero-copy. Each leaves v as it is if there is
 * nothing to say. */
void xn_judge_zc_driver(const struct xn_facts *f, struct xn_verdict *v);
void xn_judge_zc_mtu(const struct xn_facts *f, struct xn_verdict *v);
void xn_judge_zc_buffers(const struct xn_facts *f, struct xn_verdict *v);
void xn_judge_zc_pages(const struct xn_facts *f, struct xn_verdict *v);
void xn_judge_zc_filter(const struct xn_facts *f, struct xn_verdict *v);
/* ctl/judge_rss.c */
void xn_judge_rss(const struct xn_facts *f, struct xn_verdict *v);
/* Bytes of a chunk in the mode that mode=auto is going to have: 2048 or 4096. */
uint32_t xn_judge_chunk(const struct xn_facts *f);

#endif
