/* SPDX-License-Identifier: LGPL-3.0-or-later */
#include <string.h>

#include "tool.h"

static const char usage[] =
    "usage: spool ps [--json] [PID]        processes that use spool, or the channels of one\n"
    "       spool top [-d SECONDS] [-n TIMES] [--json] PID\n"
    "                                      the same, live, with rates\n"
    "       spool dump [--json] PID        who waits for whom, and what is wrong; exit status 1 if something is\n"
    "       spool trace [-o FILE] [--json] -p PID\n"
    "       spool trace [-o FILE] [--json] -- COMMAND [ARGUMENT ...]\n"
    "                                      strace, with the names of channels\n"
    "Looks into a process from outside; it is not stopped and need not help (trace stops it as strace does).\n";

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"ps", ps_main}, {"top", top_main}, {"dump", dump_main}, {"trace", trace_main}};
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        printf("spool %d.%d.%d\n", SPOOL_VERSION_MAJOR, SPOOL_VERSION_MINOR, SPOOL_VERSION_PATCH);
        return 0;
    }
    fputs(usage, stderr);
    return EXIT_FAILED;
}
