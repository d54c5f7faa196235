/* SPDX-License-Identifier: BSD-2-Clause */
/* xsknetctl: the commands, and how they complain. Each takes its own words; status of the
 * process. */
#ifndef XN_CTL_CTL_H
#define XN_CTL_CTL_H

enum { XN_EXIT_OK = 0, XN_EXIT_BAD = 1, XN_EXIT_USAGE = 2 };

int xn_cmd_stats(int argc, char **argv);
int xn_cmd_doctor(int argc, char **argv);
int xn_cmd_drivers(int argc, char **argv);
int xn_cmd_steer_peer(int argc, char **argv);

/* One line on stderr, behind "xsknetctl: ". Returns XN_EXIT_USAGE. */
int xn_bad_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
