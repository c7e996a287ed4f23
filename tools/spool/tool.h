/* SPDX-License-Identifier: LGPL-3.0-or-later */
#ifndef SPOOL_TOOL_H
#define SPOOL_TOOL_H

#include <stdio.h>

#include "look.h"

/* What the files of the command share. */

#define EXIT_VERDICT 1 /* something is wrong with the process */
#define EXIT_FAILED 2  /* it could not be looked at, or the arguments are bad */

/* Says why on stderr and ends. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* ---- find.c --------------------------------------------------------------------------------------------------- */

#define REGISTRIES_MAX 8

/* Where in the process the registries are, one for each copy of the library; how many, or a negative errno. */
int find_registries(pid_t pid, uintptr_t ret[REGISTRIES_MAX]);
/* The name of a process; "?" if it has gone. buf at least 16 bytes. */
const char *process_name(pid_t pid, char *buf, size_t bytes);
/* The number in an argument, or ends. */
pid_t parse_pid(const char *arg);
/* A look at each copy of the library in the process; ends with a message if there is none. How many. */
int look_at(pid_t pid, struct spool__look ret[REGISTRIES_MAX]);
/* The same, but returns a negative errno with the message in why. */
int try_look_at(pid_t pid, struct spool__look ret[REGISTRIES_MAX], char *why, size_t bytes);
void free_looks(struct spool__look *looks, int n);

/* ---- where.c -------------------------------------------------------------------------------------------------- */

/* The file and line, or else the module and offset, of an address in a process. Valid until the next 1000 calls. */
const char *where(pid_t pid, uintptr_t address);

/* ---- text.c --------------------------------------------------------------------------------------------------- */

/* "jobs", or "#3"; of a pair's lane "jobs:a". In one of some static buffers. */
const char *chan_name(const struct spool__look *l, int chan);
const char *lane_name(const struct spool__look *l, int lane);
/* Three digits. */
const char *short_time(int64_t ns);
const char *short_count(double n);
/* What nobody had to be woken for; what had to. */
uint64_t lane_wakes(const struct spool__seen_lane *lane);
uint64_t lane_saved(const struct spool__seen_lane *lane);
/* The number that /proc/PID/fdinfo gives an eventfd, or -1. */
long eventfd_id(pid_t pid, int fd);

/* ---- json.c --------------------------------------------------------------------------------------------------- */

void json_string(FILE *out, const char *s);
void print_json(const struct spool__look *l, FILE *out);

/* ---- The subcommands, with the arguments that are theirs ------------------------------------------------------ */

int ps_main(int argc, char **argv);
int top_main(int argc, char **argv);
int dump_main(int argc, char **argv);
int trace_main(int argc, char **argv);

#endif
